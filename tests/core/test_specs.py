"""The check of several arrays at once, and what it remembers of shapes that were right."""

import re

import numpy as np
import pytest

from cs231n.core import specs
from cs231n.core.specs import Specs

X, W = np.ones((2, 3)), np.ones((3, 4))


def test_what_is_right_is_returned_itself_at_each_call():
    checked, given = Specs({"x": "N D", "w": "D M"}).check, (X, W, {"mode": "train"})
    assert checked(given) is given
    assert checked(given) is given


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ((X, W.astype(np.float16)), TypeError),
        ((X, np.ones((3, 4), ">f4").astype(complex)), TypeError),
        ((X, W.T), ValueError),
        ((X[0], W), ValueError),
        ((X[None], W), ValueError),
        ((W, X), ValueError),
    ],
)
def test_shapes_that_were_right_let_nothing_else_pass(wrong, error):
    checked = Specs({"x": "N D", "w": "D M"}).check
    checked((X, W))
    for _ in range(2):
        with pytest.raises(error):
            checked(wrong)


def test_lists_and_integers_of_known_shapes_become_arrays_of_floats():
    checked = Specs({"x": "N D", "w": "D M"}).check
    checked((X, W))
    x, w, option = checked((X.tolist(), W.astype(int), 5))
    assert x.dtype == w.dtype == np.float64
    assert option == 5


def test_an_array_of_subclass_or_other_byte_order_becomes_a_plain_one():
    checked = Specs({"x": "N D"}).check
    checked((X,))
    for given in (np.ma.masked_array(X), X.astype(X.dtype.newbyteorder())):
        (x,) = checked((given,))
        assert type(x) is np.ndarray
        assert x.dtype.isnative


def test_what_may_be_empty_in_test_mode_may_not_be_in_train_mode():
    checked, empty = Specs({"x": "N* D"}).check, X[:0]
    assert checked((empty, {"mode": "test"}))[0] is empty
    with pytest.raises(ValueError, match="expected at least one sample"):
        checked((empty, {"mode": "train"}))


@pytest.mark.parametrize(
    ("shape", "unit"),
    [
        ((0, 3, 4, 5), "sample"),
        ((2, 0, 4, 5), "channel"),
        ((2, 3, 0, 5), "pixel"),
        ((2, 3, 4, 0), "pixel"),
    ],
)
def test_a_size_that_may_not_be_zero_is_named_by_what_it_counts(shape, unit):
    with pytest.raises(ValueError, match=rf"x has shape {re.escape(str(shape))}; .* one {unit}"):
        Specs({"x": "N+ C+ H+ W+"}).check((np.ones(shape),))


@pytest.mark.parametrize("G", [4, 5, 0, 12])
def test_a_size_that_must_divide_another_does(G):
    checked = Specs({"x": "N C", "mean": "N G|C"}).check
    x = np.ones((2, 6))
    for divisor in (1, 2, 3, 6):
        given = x, np.ones((2, divisor))
        assert checked(given) is given
    for _ in range(2):
        message = rf"^: mean has shape \(2, {G}\); expected G to be a divisor of the 6 channels$"
        with pytest.raises(ValueError, match=message):
            checked((x, np.ones((2, G))))


def test_labels_are_looked_at_although_the_shapes_are_known():
    checked, y = Specs({"x": "N C", "y": "in C"}).check, np.array([0, 2])
    assert checked((X, y, 0.1)) == (X, y, 0.1)
    for _ in range(2):
        with pytest.raises(ValueError, match="labels from 0 to 3"):
            checked((X, np.array([0, 3])))


def test_a_bounded_number_of_shapes_is_remembered(monkeypatch):
    monkeypatch.setattr(specs, "_MOST_KNOWN", 3)
    checked = Specs({"x": "N D"})
    for size in range(1, 20):
        checked.check((np.ones((size, 2)),))
        assert len(checked._known) <= 3
