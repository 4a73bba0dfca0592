"""The benchmark of the two ways of a convolution names ways that the kernels have."""

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import KERNELS, assert_close

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.skipif(KERNELS == ["numpy"], reason="NumPy has one way only")
def test_the_ways_that_are_compared_are_those_of_the_kernels(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    spec = importlib.util.spec_from_file_location("benchmark_of_paths", BENCHMARKS / "paths.py")
    paths = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(paths)
    monkeypatch.setattr(paths, "_SHAPES", ((2, 16, 4, 16),))
    compared = {}

    def compare(title, dtype, contest):
        compared[title] = {name: run() for name, run in contest.items()}

    paths.run(SimpleNamespace(dtypes=["float32"], compare=compare))
    assert len(compared) == 2
    for results in compared.values():
        assert tuple(results) == paths.COMPETITORS
        for found in results.values():
            assert np.isfinite(found).all()
            assert_close(found, results["direct"], looser=10)
    monkeypatch.delitem(sys.modules, "common")
