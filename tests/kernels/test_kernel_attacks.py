"""Edited caches, arrays of wrong sizes at the kernels' doors, kernels exchanged during calls.

Short here, and in processes of their own, which may crash; `SECONDS=300 make attack` goes on.
"""

import attack_kernels
import pytest
from conftest import KERNELS

from cs231n import fast_layers
from cs231n.kernels import backend, fast_optim, numpy_kernels

RUNS = [("caches", KERNELS[0]), ("caches", "numpy"), ("doors", KERNELS[0]), ("switching", "auto")]


@pytest.mark.parametrize(("name", "kernels"), dict.fromkeys(RUNS))
def test_nothing_gets_through(name, kernels):
    status, told, error = attack_kernels.in_a_process(name, kernels, seconds=0.3)
    assert status == 0, f"{told}\n{error}"


class TestHarness:
    """The attacks see what they are there to see."""

    def test_places_that_are_believed(self, monkeypatch):
        monkeypatch.setattr(fast_layers, "_are_places", lambda *_: True)
        with pytest.raises((AssertionError, ValueError)):
            attack_kernels.attack("caches", "numpy", 0)

    def test_errors_that_name_no_function(self, monkeypatch):
        monkeypatch.setattr(fast_layers.FastConvReluCache, "out_shape", property(lambda _: 1 / 0))
        with pytest.raises(ZeroDivisionError):
            attack_kernels.attack("caches", "numpy", 0)

    def test_kernels_that_compute_something_else(self, monkeypatch):
        monkeypatch.setattr(numpy_kernels, "sum_rows", lambda a, out: out.fill(7))
        with pytest.raises(AssertionError, match="affine fast"):
            attack_kernels.attack("switching", "auto", 0.3)


def test_update_rules_run_where_networks_run_on_the_reference(rng):
    w, dw = rng.standard_normal((2, 5, 3)).astype("float32")
    previous = backend.select(backend.REFERENCE)
    try:
        stepped = fast_optim.update("sgd", w.copy(), dw, {"learning_rate": 0.5})
    finally:
        backend.select(previous)
    assert stepped == pytest.approx(w - 0.5 * dw)
