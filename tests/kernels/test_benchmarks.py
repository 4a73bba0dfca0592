"""The benchmarks compare what the kernels have, and time nothing before all agree."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import KERNELS, assert_close

from cs231n import fast_layers

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


def imported(name, monkeypatch):
    """Yield a script as a module, and forget afterwards that it was imported."""
    before, threads = {*sys.modules}, fast_layers.get_num_threads()
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
    yield importlib.import_module(name)
    for module in {*sys.modules} - before:
        if Path(getattr(sys.modules[module], "__file__", None) or "").parent == BENCHMARKS:
            del sys.modules[module]
    fast_layers.set_num_threads(threads)


@pytest.fixture
def processes(monkeypatch):
    """Return the script whose competitors have processes of their own."""
    yield from imported("processes", monkeypatch)


@pytest.fixture
def twins(monkeypatch):
    """Return the script that times the cases of the tests."""
    yield from imported("twins", monkeypatch)


def test_a_turn_times_one_way_after_all_agree(processes, monkeypatch):
    options = SimpleNamespace(threads=1, seconds=0.0, turn="all")
    problem = processes.partial(processes.convolution, "float64", 2, 3, 5, 5, 4, 3, 3, 1, 1)
    for index in (0, 1):
        ways = lambda: processes.layer(problem, index)  # noqa: E731, B023 (called below)
        monkeypatch.setitem(processes.ROWS, "small", (ways, 1e-10))
        options.turn = "all"
        found = processes.turn("small", options)["ways"]
        assert found[0] == "ours"
        for options.turn in found:
            assert processes.turn("small", options)["seconds"] > 0


def test_ways_that_differ_are_not_timed(processes, monkeypatch):
    ways = {"ours": lambda: np.ones(2), "torch": lambda: np.zeros(2)}
    monkeypatch.setitem(processes.ROWS, "small", (lambda: ways, 1e-3))
    with pytest.raises(ArithmeticError, match=r"small: torch differs from ours"):
        processes.turn("small", SimpleNamespace(threads=1, seconds=0.0, turn="all"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["conf"], "no row has any of"),
        (["--rounds", "0"], "--rounds is 0; expected an integer >= 1"),
        (["--seconds", "nan"], "--seconds is nan"),
    ],
)
def test_a_wrong_word_or_number_is_told_in_one_line(processes, words, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        processes.main(words)
    assert message in capsys.readouterr().err + str(stopped.value.code)


def test_both_passes_of_twins_are_timed_after_they_agree(twins, monkeypatch, capsys):
    table = {name: twins.TWINS[name] for name in ("batchnorm fast, train, few", "relu fast, none")}
    for name, cases in (("TWINS", table), ("CONV_CASES", {}), ("POOL_CASES", {}), ("SCORES", {})):
        monkeypatch.setattr(twins, name, cases)
    twins.main(["--rounds", "1"])
    assert capsys.readouterr().out.splitlines()[-1].startswith("2 passes, median ")

    fast, reference = table["batchnorm fast, train, few"]
    forward = lambda *given: (reference.forward(*given)[0] + 1, None)  # noqa: E731 (wrong by one)
    table["batchnorm fast, train, few"] = fast, reference._replace(forward=forward)
    with pytest.raises(SystemExit, match="few, forward: reference differs from fast"):
        twins.main(["--rounds", "1"])
    with pytest.raises(SystemExit, match="--rounds is 0; expected an integer >= 1"):
        twins.main(["--rounds", "0"])


def test_all_cases_of_the_tests_are_compared(twins):
    found = {title for title, *_ in twins.compared("float64")}
    assert {"conv, one channel, backward", "max pool, overlapping, forward"} <= found
    assert {"softmax, few", "batchnorm fast, test, few, backward"} <= found
    assert len(found) > 500
