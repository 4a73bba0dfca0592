"""What the notebooks share: checks that raise, the short mode, data, times and the style."""

import matplotlib as mpl
import numpy as np
import pytest

from cs231n import notebook
from cs231n.data_utils import BUILTIN_CLASSES, CIFAR10_CLASSES


@pytest.fixture
def in_short_mode(monkeypatch):
    """Run the test in the short mode."""
    monkeypatch.setenv("CS231N_SHORT", "1")


@pytest.fixture
def in_full(monkeypatch):
    """Run the test outside the short mode, whatever mode the tests are run in."""
    monkeypatch.delenv("CS231N_SHORT", raising=False)


@pytest.fixture
def no_cifar10(monkeypatch, tmp_path):
    """Hide the real CIFAR-10."""
    monkeypatch.setattr("cs231n.data.cifar10.data_folders", lambda: [tmp_path])


def test_a_check_prints_error_and_bound(capsys):
    notebook.check("dx", 3.25e-9, 1e-7)
    assert capsys.readouterr().out == "dx: error 3.25e-09 (at most 1e-07)\n"
    notebook.check("equal", 0.5, 0.5)


@pytest.mark.parametrize("error", [2e-7, float("inf"), float("nan")])
def test_a_check_that_is_not_met_raises_and_names_both_numbers(error):
    with pytest.raises(notebook.CheckError, match=rf"dx: error {error:.2e} \(at most 1e-07\).*f"):
        notebook.check("dx", error, 1e-7)


def test_reach_prints_value_and_bound_and_raises_below_it(capsys):
    notebook.reach("validation accuracy", 0.561, 0.55)
    assert capsys.readouterr().out == "validation accuracy: 56.10% (at least 55.00%)\n"
    for value in (0.5499, float("nan")):
        with pytest.raises(notebook.CheckError, match="validation accuracy"):
            notebook.reach("validation accuracy", value, 0.55)


@pytest.mark.parametrize("value", ["1", "yes", "0", ""])
def test_short_chooses_by_the_environment(monkeypatch, value):
    brief = value in ("1", "yes")
    monkeypatch.setenv("CS231N_SHORT", value)
    assert notebook.is_short() is brief
    assert notebook.short(20, 2) == (2 if brief else 20)


@pytest.mark.usefixtures("in_full")
def test_short_gives_the_full_value_without_the_variable():
    assert notebook.short("full", "brief") == "full"


@pytest.mark.usefixtures("in_short_mode")
def test_the_short_mode_takes_few_of_the_built_in_images(monkeypatch, capsys):
    monkeypatch.setattr(notebook, "_has_cifar10", lambda: True)
    data = notebook.load_data(num_test=7)
    sizes = [len(data[f"X_{part}"]) for part in ("train", "val", "test")]
    assert sizes == [2000, 500, 7]
    assert "not CIFAR-10" in capsys.readouterr().out


@pytest.mark.usefixtures("in_full", "no_cifar10")
def test_without_cifar10_the_built_in_data_take_its_place(capsys):
    data = notebook.load_data(num_training=30, num_validation=20, num_test=10)
    assert data["X_train"].shape == (30, 3, 32, 32)
    said = capsys.readouterr().out
    assert said == (
        "the built-in glyphs (not CIFAR-10): 30 training, 20 validation and 10 test images\n"
    )


@pytest.mark.usefixtures("in_full")
def test_the_real_cifar10_is_taken_where_it_is_found(cifar10_dir, capsys):
    data = notebook.load_data(num_training=100)
    assert len(data["X_val"]) == len(data["X_test"]) == 1000
    assert capsys.readouterr().out.startswith("CIFAR-10: 100 training")


def test_setup_says_what_the_times_were_measured_on(capsys):
    with mpl.rc_context():
        notebook.setup()
        assert len(mpl.rcParams["axes.prop_cycle"]) == len(notebook.COLORS)
        assert mpl.rcParams["figure.figsize"] == [9.0, 3.6]
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert set(lines) == {"machine", "system", "numpy", "cs231n", "threads"}
    assert lines["numpy"] == np.__version__


def test_finish_prints_the_time_since_setup(monkeypatch, capsys):
    clock = iter([10.0, 112.4])
    monkeypatch.setattr(notebook.time, "perf_counter", lambda: next(clock))
    with mpl.rc_context():
        notebook.setup()
    notebook.finish()
    assert capsys.readouterr().out.splitlines()[-1] == "whole notebook: 102 s"


def test_seconds_prints_the_time_of_a_block(monkeypatch, capsys):
    clock = iter([10.0, 12.34])
    monkeypatch.setattr(notebook.time, "perf_counter", lambda: next(clock))
    with notebook.seconds("training"):
        pass
    assert capsys.readouterr().out == "training: 2.3 s\n"


def test_compare_times_measures_against_the_last(monkeypatch, capsys):
    from cs231n.measuring.timing import Times

    found = {"naive": Times(0.5, 0.4), "fast": Times(0.002, 0.001)}
    monkeypatch.setattr(notebook, "measure", lambda contest, rounds: found)
    medians = notebook.compare_times("convolution", dict.fromkeys(found, lambda: None))
    assert medians == {"naive": 0.5, "fast": 0.002}
    assert capsys.readouterr().out == (
        "convolution: naive 500 ms, fast 2 ms; fast is 250 times as fast as naive\n"
    )


def test_compare_times_runs_the_competitors():
    runs = {"one": 0, "other": 0}

    def count(name):
        runs[name] += 1

    times = notebook.compare_times("counting", {name: lambda n=name: count(n) for name in runs}, 1)
    assert list(times) == ["one", "other"]
    assert min(runs.values()) > 0


def test_progress_hands_everything_through_and_leaves_standard_error_alone(capsys):
    assert list(notebook.progress(iter("abc"), 3, "letters")) == ["a", "b", "c"]
    written = capsys.readouterr()
    assert "letters: 100%" in written.out
    assert written.err == ""


@pytest.mark.parametrize("short", ["", "1"])
@pytest.mark.parametrize("there", [True, False])
def test_the_names_are_those_of_the_classes_of_the_data(monkeypatch, there, short):
    monkeypatch.setenv("CS231N_SHORT", short)
    monkeypatch.setattr(notebook, "_has_cifar10", lambda: there)
    expected = CIFAR10_CLASSES if there and not short else BUILTIN_CLASSES
    assert notebook.class_names() == expected


def test_a_stored_notebook_shows_glyphs_where_others_see_cifar10(monkeypatch, capsys):
    monkeypatch.setattr(notebook, "_takes_cifar10", lambda: True)
    monkeypatch.setattr(notebook, "load_data", lambda *sizes: ("CIFAR-10", *sizes))
    assert not notebook.has_glyphs()
    assert notebook.may_show_data()
    assert notebook.showable_data(30, 20) == ("CIFAR-10", 30, 20)
    monkeypatch.setenv("CS231N_STORED", "1")
    data = notebook.showable_data(30, 20)
    assert data.class_names == notebook.data_utils.BUILTIN_CLASSES
    assert (len(data["X_train"]), len(data["X_val"])) == (30, 20)
    assert "glyphs (not CIFAR-10)" in capsys.readouterr().out
    assert not notebook.may_show_data()
    assert not notebook.has_glyphs()  # the training itself is that on CIFAR-10
