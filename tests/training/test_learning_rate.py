"""The search for a learning rate, and that it leaves no trace."""

import copy
import re

import numpy as np
import pytest
from PIL import Image
from runs import images, network, outcome

from cs231n.__main__ import main
from cs231n.augment import FlipAndShift
from cs231n.data_utils import get_builtin_data
from cs231n.learning_rate import RateSearch, find_learning_rate
from cs231n.solver import Solver


def test_the_model_and_all_draws_are_as_they_were():
    np.random.seed(3)
    model, data, rng = network(), images(), np.random.default_rng(1)
    model.loss(data["X_train"], data["y_train"])  # running statistics that are not the first
    arrays, before = dict(model.params), copy.deepcopy((model.params, model.bn_params))
    state, own = np.random.get_state(), copy.deepcopy(rng.bit_generator.state)
    search = find_learning_rate(
        model, data, 1e-4, 1.0, 40, batch_size=8, augment=FlipAndShift(pad=1, rng=rng)
    )
    assert len(search.rates) > 20
    assert all(model.params[name] is arrays[name] for name in arrays)
    for found, expected in zip((model.params, *model.bn_params), (before[0], *before[1])):
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            np.testing.assert_array_equal(found[name], value)
    np.testing.assert_equal(np.random.get_state(), state)
    assert rng.bit_generator.state == own


def test_a_training_after_a_search_is_as_without_it():
    ends = []
    for searches in (0, 2):
        np.random.seed(5)
        model = network()
        for _ in range(searches):
            find_learning_rate(model, images(), steps=10, update_rule="adam")
        solver = Solver(model, images(), num_epochs=2, batch_size=8, verbose=False)
        solver.train()
        ends.append(outcome(solver))
    assert ends[0] == ends[1]


def test_a_data_set_is_not_remembered_by_the_model():
    model = type("Rememberer", (), {})()
    model.params, seen = {"w": np.zeros((3072, 10))}, []
    model.remember = seen.append
    model.loss = lambda X, y=None: (
        np.zeros((len(X), 10)) if y is None else (1.0, {"w": np.ones((3072, 10))})
    )
    find_learning_rate(model, get_builtin_data(50, 20, 10), steps=10)
    assert seen == []


class Bowl:
    """A model whose loss is the square of its parameter: rates below 1 bring it down."""

    def __init__(self):
        self.params = {"w": np.array([3.0])}

    def loss(self, X, y=None):
        """Return scores, or loss and gradient."""
        if y is None:
            return np.zeros((len(X), 2))
        w = self.params["w"]
        return float(w[0] ** 2), {"w": 2 * w}


DATA = {name: np.zeros((4, 1)) for name in ("X_train", "X_val")}
DATA |= {name: np.zeros(4, int) for name in ("y_train", "y_val")}


def test_each_rate_makes_one_step_and_the_suggestion_is_where_the_loss_falls():
    model = Bowl()
    search = find_learning_rate(model, DATA, 1e-4, 100.0, 60)
    w = 3.0
    for rate, loss in zip(search.rates, search.losses):
        assert loss == pytest.approx(w**2)
        w *= 1 - 2 * rate
    assert 0.01 < search.suggestion < 1
    assert search.rates[-1] < 100  # it ends where the loss is lost
    assert model.params["w"] == [3.0]
    np.testing.assert_allclose(search.rates[1:] / search.rates[:-1], 10 ** (6 / 59))


def test_groups_multiply_each_rate_and_do_not_end():
    search = find_learning_rate(
        Bowl(), DATA, 1e-4, 100.0, 60, groups={"w": {"rate": 0.1, "until": 0.01}}
    )
    w = 3.0
    for rate, loss in zip(search.rates, search.losses):
        assert loss == pytest.approx(w**2)
        w *= 1 - 2 * 0.1 * rate


def test_the_picture_marks_the_suggestion(tmp_path):
    search = find_learning_rate(Bowl(), DATA, 1e-4, 100.0, 60)
    (axes,) = search.plot("T", tmp_path / "rates.png").axes
    dots, line, mark = axes.lines
    np.testing.assert_array_equal(dots.get_xdata(), search.rates)
    np.testing.assert_array_equal(line.get_ydata(), search.smoothed)
    assert mark.get_xdata()[0] == search.suggestion
    assert axes.get_xscale() == "log"
    assert axes.get_ylim()[1] < 2 * search.losses[0]
    with Image.open(tmp_path / "rates.png") as picture:
        assert picture.width > 500
    assert repr(search).startswith(f"RateSearch(suggestion={search.suggestion:.2g}, ")


def test_without_a_fall_there_is_no_suggestion():
    search = RateSearch(np.geomspace(1e-3, 1, 20), np.linspace(1, 2, 20))
    assert np.isnan(search.suggestion)
    assert len(search.plot().axes[0].lines) == 2


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"lowest": 0.0}, ValueError, "lowest is 0.0"),
        ({"lowest": 1.0, "highest": 0.5}, ValueError, "highest is 0.5"),
        ({"steps": 3}, ValueError, "steps is 3"),
        ({"schedule": lambda progress: 1.0}, TypeError, "schedule has no sense in a search"),
        ({"no_such": 1}, TypeError, "unrecognized arguments 'no_such'"),
        ({"callbacks": [1]}, TypeError, "callbacks has no sense"),
    ],
)
def test_wrong_arguments_are_named(given, error, message):
    with pytest.raises(error, match=message):
        find_learning_rate(Bowl(), DATA, **given)


def test_a_model_that_gives_no_number_is_an_error():
    model = Bowl()
    model.params["w"][0] = np.nan
    with pytest.raises(ValueError, match="find_learning_rate: the loss is no number"):
        find_learning_rate(model, DATA)


def test_the_command_draws_and_suggests_and_does_not_train(tmp_path, capsys):
    words = ["train", "--model", "two-layer", "--num-training", "200", "--num-test", "10"]
    words += ["--hidden-dims", "20", "--update-rule", "sgd_momentum", "--find-learning-rate"]
    assert main([*words, "--output", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert "(Iteration" not in out
    suggestion = re.search(r"suggestion: --learning-rate (\S+)", out)
    assert 1e-5 < float(suggestion[1]) < 1
    assert [path.name for path in (tmp_path / "run").glob("*.png")] == ["learning_rates.png"]
    assert main(["train", "--resume", str(tmp_path / "run"), "--find-learning-rate"]) != 0
