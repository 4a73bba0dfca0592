"""What words and arguments describe a space, and which are mistakes."""

import pytest

from cs231n.searching.space import Choice, Range, checked, grid, parsed


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        ("1e-5:1e-1:log", float, Range(1e-5, 1e-1, True)),
        ("2:9", int, Range(2, 9)),
        ("0.5:1", float, Range(0.5, 1.0)),
        ("16,32,64", int, Choice((16, 32, 64))),
        ("adam,sgd", str, Choice(("adam", "sgd"))),
        ("3", int, 3),
        ("a:b", str, "a:b"),
    ],
)
def test_a_word_is_a_range_a_list_or_a_value(text, kind, expected):
    found = parsed(text, kind)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("1:2:lin", float, "no range"),
        ("1:2:log:3", float, "no range"),
        ("2:1", float, "below the high one"),
        ("1:1", int, "below the high one"),
        ("0:1:log", float, "above 0"),
        ("1:inf", float, "finite"),
        ("nan:1", float, "finite"),
        ("3,3", int, "each once"),
        ("1.5:2", int, "invalid literal"),
        ("1,b", float, "could not convert"),
    ],
)
def test_a_wrong_word_is_an_error(text, kind, message):
    with pytest.raises(ValueError, match=message):
        parsed(text, kind)


def test_a_space_has_ranges_and_choices():
    space = checked("f", {"a": Range(1, 3), "b": ["x", "y"], "c": Choice((True, False))})
    assert space["b"] == Choice(("x", "y"))
    assert grid(space, 5) == {"a": [1, 2, 3], "b": ["x", "y"], "c": [True, False]}
    assert grid({"a": Range(1e-4, 1.0, True)}, 3)["a"] == pytest.approx([1e-4, 1e-2, 1])
    for wrong, error in [({}, ValueError), ({"a": 3}, TypeError), ([1], TypeError)]:
        with pytest.raises(error, match=r"^f: "):
            checked("f", wrong)
