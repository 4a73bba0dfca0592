"""How the modules hang together, and whether the picture of it is that of the sources."""

from graphlib import TopologicalSorter
from pathlib import Path

import draw_architecture


def test_no_modules_import_each_other_in_a_circle():
    # The package itself is there before its modules and imports none: all may read its version.
    graph = {name: others - {"cs231n"} for name, others in draw_architecture.import_graph().items()}
    assert len(graph) > 50
    assert list(TopologicalSorter(graph).static_order())  # a CycleError names the circle


def test_the_picture_of_the_house_is_that_of_the_sources():
    drawn, kept = draw_architecture.draw(), draw_architecture.PICTURE.read_text(encoding="utf-8")
    assert drawn == kept, "out of date; expected the output of python docs/draw_architecture.py"


def test_every_box_of_the_picture_says_what_it_is_about():
    assert set(draw_architecture.SUBJECTS) == set(draw_architecture.houses())


def test_nothing_but_the_command_line_imports_commands():
    above = {
        name: others
        for name, others in draw_architecture.import_graph().items()
        if not name.startswith("cs231n.commands") and name != "cs231n.__main__"
    }
    assert {
        name: found
        for name, others in above.items()
        if (found := {other for other in others if other.startswith("cs231n.commands")})
    } == {}


def test_no_two_test_files_have_one_name():
    """Pytest takes them for one module, and stops while it collects."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)
