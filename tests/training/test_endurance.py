"""Memory does not grow with the number of steps; `tests/tools/endurance.py` runs the long form."""

import sys

import endurance
import pytest


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/statm")
def test_memory_does_not_grow(tmp_path):
    traced, occupied = endurance.growth(steps=600, warm=200, folder=tmp_path)
    # 400 steps: a leak of 100 bytes in each would show.
    assert traced < 40_000
    assert occupied < 4_000_000
