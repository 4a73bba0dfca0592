"""The exercises: made from the sources, solvable with them, and not fooled by what is wrong."""

import importlib.util
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
pytest.importorskip("nbformat", reason="needs nbformat: pip install '.[execute]'")


def script():
    """Import the script that makes the exercises."""
    path = TOP / "notebooks" / "make_exercises.py"
    spec = importlib.util.spec_from_file_location("make_exercises", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_exercises"] = module
    spec.loader.exec_module(module)
    return module


make = script()
TASKS = [(name, task) for name, tasks in make.EXERCISES.items() for task in tasks]
IDS = [task.functions[0] for _, task in TASKS]


def start():
    """Return the names that the first cell makes."""
    lines = [line for line in make.START.splitlines() if not line.startswith("%")]
    names = {}
    exec("\n".join(lines), names)
    return names


@pytest.mark.parametrize("name", make.EXERCISES)
def test_the_stored_exercises_are_those_of_the_sources(name):
    stored = (TOP / "notebooks" / "exercises" / f"{name}.ipynb").read_text(encoding="utf-8")
    assert stored == make.text_of(make.build(name)), (
        "out of date; expected the output of python notebooks/make_exercises.py"
    )


@pytest.mark.parametrize(("name", "task"), TASKS, ids=IDS)
def test_the_solutions_pass_the_checks(name, task, capsys):
    names = start()
    for function in task.functions:
        exec(make.solution(function), names)
    exec(task.checks, names)
    assert "the gradients agree" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "task"), TASKS, ids=IDS)
def test_an_empty_body_is_named(name, task):
    names = start()
    for function in task.functions:
        exec(make.empty(function), names)
    with pytest.raises(NotImplementedError, match=f"{task.functions[0]} has no body yet"):
        exec(task.checks, names)


def scaled(function, which):
    """Return a layer, one of whose results is one per cent too large."""

    def wrong(*arguments, **options):
        found = function(*arguments, **options)
        parts = list(found) if isinstance(found, tuple) else [found]
        parts[which] = 1.01 * parts[which]
        return tuple(parts) if isinstance(found, tuple) else parts[0]

    return wrong


@pytest.mark.parametrize(("name", "task"), TASKS, ids=IDS)
def test_a_gradient_that_is_one_per_cent_off_fails(name, task):
    for which in (0, 1, 2):
        names = start()
        for function in task.functions:
            exec(make.solution(function), names)
        last = task.functions[-1]
        which = max(which, 1) if last.endswith("loss") else which
        names[last] = scaled(names[last], which)
        with pytest.raises((IndexError, ArithmeticError)) as caught:
            exec(task.checks, names)
        if caught.type is IndexError:
            break  # it has no more results
        assert "the check failed" in str(caught.value)


@pytest.mark.parametrize("name", make.EXERCISES)
def test_the_cells_tell_no_solution_before_it_is_unfolded(name):
    notebook = make.build(name)
    for cell in notebook.cells:
        if "Solution" in cell.source:
            assert cell.source.startswith("<details>\n<summary>Solution</summary>")
    written = [c.source for c in notebook.cells if c.cell_type == "code"]
    assert not any("Cache(" in source for source in written)
    assert not any("Notes" in source for source in written)
