"""Minibatches drawn ahead in a thread: the same run, to the last bit, and nothing drawn in vain."""

import copy
import threading

import numpy as np
import pytest
from runs import SHAPE, images, network, outcome
from test_resume import assert_goes_on

from cs231n.augment import FlipAndShift
from cs231n.classifiers import ConvNet
from cs231n.solver import Solver
from cs231n.training.minibatch import Ahead


def steady():
    """Return a network that draws nothing while it trains."""
    return network("batchnorm", 1)


def together():
    """Return arguments by which Solver and augmentation draw from one generator."""
    rng = np.random.default_rng(4)
    return {"rng": rng, "augment": FlipAndShift(pad=1, rng=rng)}


CASES = {
    "no augmentation": dict,
    "all from NumPy's global generator": lambda: {"augment": FlipAndShift(pad=1)},
    "alternating flips and cutout": lambda: {
        "augment": FlipAndShift("alternating", pad=1, cutout=2)
    },
    "a generator of the augmentation": lambda: {
        "augment": FlipAndShift(pad=1, rng=np.random.default_rng(2))
    },
    "a generator of the Solver": lambda: {
        "rng": np.random.Generator(np.random.MT19937(2)),
        "augment": FlipAndShift(pad=1),
    },
    "one generator for both": together,
    "checks that draw": lambda: {"augment": FlipAndShift(pad=1), "num_train_samples": 9},
}


def run(make, arguments, **more):
    """Return the outcome of a run."""
    np.random.seed(7)
    settings = {"batch_size": 8, "num_epochs": 3, "num_train_samples": None, "verbose": False}
    solver = Solver(make(), images(), **{**settings, **arguments, **more})
    solver.train()
    return outcome(solver)


@pytest.fixture
def taken(monkeypatch):
    """Return a list that tells of each minibatch whether it was drawn ahead."""
    found = []
    take = Ahead.take

    def watched(self, wanted):
        result = take(self, wanted)
        found.append(result is not None)
        return result

    monkeypatch.setattr(Ahead, "take", watched)
    return found


@pytest.mark.parametrize("make", [steady, network], ids=["steady", "dropout"])
@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_run_is_the_same_to_the_last_bit(case, replace, make, taken):
    expected = run(make, case(), replace=replace)
    assert not taken
    found = run(make, case(), replace=replace, draw_ahead=True)
    assert found == expected
    assert len(taken) == len(expected["loss_history"])
    assert len(set(expected["loss_history"])) > 10


@pytest.mark.parametrize("replace", [True, False])
def test_what_is_drawn_ahead_is_used_unless_something_else_was_drawn(replace, taken):
    run(steady, {"augment": FlipAndShift(pad=1)}, replace=replace, draw_ahead=True)
    assert taken == [False, *[True] * (len(taken) - 1)]
    del taken[:]
    run(steady, {"num_train_samples": 9}, replace=replace, draw_ahead=True)
    steps = len(taken) // 3
    missed = [index for index, is_ahead in enumerate(taken) if not is_ahead]
    assert missed == [0, 1, steps, 2 * steps]  # after each check


def test_where_steps_draw_nothing_is_drawn_ahead_for_long(taken, monkeypatch):
    begun = []
    submit = Ahead.begin
    monkeypatch.setattr(
        Ahead, "begin", lambda self, wanted: begun.append(self._in_vain) or submit(self, wanted)
    )
    run(network, {}, draw_ahead=True)
    assert not any(taken)
    assert begun[-1] == 3


@pytest.mark.parametrize("make", [steady, network], ids=["steady", "dropout"])
@pytest.mark.parametrize("replace", [True, False])
def test_a_run_that_draws_ahead_goes_on_bit_for_bit(make, replace, tmp_path):
    def arguments():
        return {
            "augment": FlipAndShift("alternating", pad=1),
            "replace": replace,
            "draw_ahead": True,
            "average": "lookahead",
            "groups": {"b*": {"rate": 3}},
            "optim_config": {"learning_rate": 0.02},
        }

    again = {"again": lambda given: {"augment": given["augment"]}}
    assert_goes_on(lambda: without_l2(make()), arguments, tmp_path, steps=(7, 4), **again)


def without_l2(model):
    """Return a network without L2 regularisation."""
    model.reg = 0.0
    return model


def test_the_thread_ends_with_the_training_and_is_in_no_copy():
    model = ConvNet("conv4-gmax-fc3", SHAPE)
    solver = Solver(model, images(), draw_ahead=True, num_epochs=1, batch_size=10)
    names = []

    def watch(solver):
        names.extend(thread.name for thread in threading.enumerate())
        copy.deepcopy(solver)

    solver.on_check = watch
    solver.train()
    assert any(name.startswith("cs231n-minibatch") for name in names)
    assert not any(thread.name.startswith("cs231n-mini") for thread in threading.enumerate())


def test_another_augmentation_is_refused():
    with pytest.raises(ValueError, match=r"Solver: draw_ahead is for .*FlipAndShift; found"):
        Solver(network(), images(), augment=lambda X: X, draw_ahead=True)
