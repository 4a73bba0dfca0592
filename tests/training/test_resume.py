"""Training that is interrupted and goes on from its checkpoint, bit for bit, or is refused."""

import functools
import os
import subprocess
import sys
import types

import numpy as np
import pytest
from children import environment
from runs import SHAPE, images, network, outcome

from cs231n import optim, schedules
from cs231n.augment import FlipAndShift, random_shift
from cs231n.classifiers import ConvNet, FullyConnectedNet, ThreeLayerConvNet, TwoLayerNet
from cs231n.solver import Solver
from cs231n.training import checkpoint


def smoothed(label_smoothing):
    """Return a network with label smoothing."""
    model = network()
    model.label_smoothing = label_smoothing
    return model


class InterruptedError(Exception):
    """What ends the first part of a run."""


def interrupt(model, after):
    """Let a model fail at the training step after so many."""
    loss, calls = model.loss, []

    @functools.wraps(loss)
    def failing(X, y=None, **options):
        calls.append(y is not None)
        if sum(calls) > after:
            raise InterruptedError
        return loss(X, y, **options)

    model.loss = failing
    return model


def whole_run(make, arguments):
    """Return the outcome of a run that nothing interrupts."""
    np.random.seed(7)
    solver = Solver(make(), images(), **arguments())
    solver.train()
    return outcome(solver)


def interrupted_run(make, arguments, folder, steps, again=lambda given: {}):
    """Return the outcome of the same run, interrupted after some steps, again and again."""
    path = folder / "run"
    np.random.seed(7)
    solver = Solver(interrupt(make(), steps[0]), images(), checkpoint_name=path, **arguments())
    for after in (*steps[1:], None):
        with pytest.raises(InterruptedError):
            solver.train()
        np.random.seed(99)  # another process would not know the state of the generator either
        model = make() if after is None else interrupt(make(), after)
        solver = Solver.resume(path, model, images(), **again(arguments()))
    solver.train()
    return outcome(solver)


def assert_goes_on(make, arguments, folder, steps=(7, 4), again=lambda given: {}):
    """Fail unless a run that is interrupted ends as one that is not."""
    settings = {"batch_size": 8, "num_epochs": 4, "num_train_samples": 30, "verbose": False}

    def complete():
        return {**settings, **arguments()}

    expected = whole_run(make, complete)
    found = interrupted_run(make, complete, folder, steps, again)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name] == value, name
    assert len(set(expected["loss_history"])) == len(expected["loss_history"])


@pytest.mark.sampled(5)
@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("rule", optim.RULES)
def test_every_rule_goes_on_bit_for_bit(rule, replace, tmp_path):
    def arguments():
        return {
            "update_rule": rule,
            "optim_config": {"learning_rate": 0.02},
            "lr_decay": 0.9,
            "replace": replace,
            "augment": FlipAndShift(pad=1),
            "schedule": functools.partial(schedules.one_cycle, peak=0.25),
            "weight_decay": 0.01,
            "clip_norm": 2.0,
        }

    def again(given):
        return {name: given[name] for name in ("augment", "schedule")}

    assert_goes_on(network, arguments, tmp_path, again=again)


NETWORKS = {
    "batchnorm float32": lambda: network(dtype=np.float32),
    "layernorm": lambda: network("layernorm"),
    "plain": lambda: network(None, 1),
    "two layers": lambda: TwoLayerNet(32, 8, 3, weight_scale=0.1),
    "label smoothing": lambda: smoothed(0.1),
    "deep": lambda: ConvNet("conv4-pool-conv5-gavg-fc6-fc3", SHAPE, "batchnorm", 0.8),
    "convolution": lambda: ThreeLayerConvNet(SHAPE, 4, 3, 8, 3, weight_scale=0.1),
}


@pytest.mark.sampled(5)
@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
def test_every_network_goes_on_bit_for_bit(make, tmp_path):
    assert_goes_on(make, lambda: {"update_rule": "adam"}, tmp_path)


@pytest.mark.sampled(7)
@pytest.mark.parametrize("every", [1, 2, 5, None])
@pytest.mark.parametrize("steps", [(1,), (2,), (6,), (7, 1), (24, 2)])
def test_after_any_number_of_steps(every, steps, tmp_path):
    # Without replacement an epoch has 7 steps, and a checkpoint knows the rest of its order.
    arguments = {"replace": False, "checkpoint_every": every, "update_rule": "sgd_momentum"}
    assert_goes_on(network, lambda: arguments, tmp_path, steps)


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    "kind", [np.random.PCG64, np.random.MT19937, np.random.Philox, np.random.SFC64]
)
def test_generators_go_on_bit_for_bit(kind, tmp_path):
    def arguments():
        return {"rng": np.random.Generator(kind(5)), "replace": False}

    assert_goes_on(network, arguments, tmp_path)


def test_generators_of_augmentation_and_dropout_go_on(tmp_path):
    def make():
        model = network()
        model.dropout_param["rng"] = np.random.default_rng(8)
        return model

    def arguments():
        return {"augment": FlipAndShift(pad=1, rng=np.random.default_rng(6))}

    def again(given):
        return {"augment": FlipAndShift(pad=1, rng=np.random.default_rng(1))}

    assert_goes_on(make, arguments, tmp_path, again=again)


def partly(rng):
    """Return an augmentation with a generator among its arguments."""
    return functools.partial(random_shift, pad=1, rng=rng)


def enclosing(rng):
    """Return an augmentation with a generator from the function around it."""
    return lambda X: random_shift(X, 1, rng=rng)


@pytest.mark.parametrize("make", [partly, enclosing])
def test_generators_that_functions_hold_go_on(make, tmp_path):
    def arguments():
        return {"augment": make(np.random.default_rng(6))}

    def again(given):
        return {"augment": make(np.random.default_rng(1))}

    assert_goes_on(network, arguments, tmp_path, again=again)


def test_a_shared_generator_must_be_shared_again(tmp_path):
    def arguments():
        rng = np.random.default_rng(5)
        return {"rng": rng, "augment": FlipAndShift(pad=1, rng=rng)}

    def apart(given):
        return {"augment": FlipAndShift(pad=1, rng=np.random.default_rng(5))}

    assert_goes_on(network, arguments, tmp_path, again=lambda given: given_again(given))
    with pytest.raises(ValueError, match=r"generators augment is PCG64, .* same as for solver"):
        assert_goes_on(network, arguments, tmp_path, again=apart)


def given_again(given):
    """Return the arguments that no checkpoint holds."""
    return {name: given[name] for name in ("rng", "augment", "update_rule") if name in given}


def counting_rule(w, dw, config=None):
    """Step with state of all kinds that a checkpoint can hold."""
    config["calls"] = config.get("calls", 0) + 1
    config["rate"] = np.float32(config.get("rate", 0.1)) * np.float32(0.99)
    past = config.setdefault("past", {"norms": (), "last": [None]})
    past["norms"] = (*past["norms"][-2:], float(np.linalg.norm(dw)))
    past["last"] = [dw.copy()]
    return w - config["rate"] * dw * (1 + 1e-3 * config["calls"]) / (1 + max(past["norms"])), config


def test_a_rule_of_ones_own_goes_on_with_its_state(tmp_path):
    def arguments():
        return {"update_rule": counting_rule}

    np.random.seed(7)
    settings = {"batch_size": 8, "num_epochs": 2, "verbose": False}
    whole = Solver(network(), images(), counting_rule, **settings)
    whole.train()
    np.random.seed(7)
    path = tmp_path / "run"
    model = interrupt(network(), 8)
    solver = Solver(model, images(), counting_rule, checkpoint_name=path, **settings)
    with pytest.raises(InterruptedError):
        solver.train()
    solver = Solver.resume(path, network(), images(), update_rule=counting_rule)
    config = solver.optim_configs["W1"]
    assert (config["calls"], type(config["rate"])) == (6, np.float32)
    assert type(config["past"]["norms"]) is tuple
    solver.train()
    assert solver.loss_history == whole.loss_history


class Plain:
    """A model that is no network of the package: logistic regression without a bias."""

    def __init__(self, D=32, C=3):
        self.params = {"w": 0.1 * np.random.randn(D, C)}

    def loss(self, X, y=None):
        """Return scores, or loss and gradients."""
        scores = X.reshape(len(X), -1) @ self.params["w"]
        if y is None:
            return scores
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        loss = -np.log(p[np.arange(len(y)), y]).mean()
        p[np.arange(len(y)), y] -= 1
        return loss, {"w": X.reshape(len(X), -1).T @ p / len(y)}


def test_a_model_of_ones_own_goes_on(tmp_path):
    assert_goes_on(Plain, lambda: {"update_rule": "rmsprop"}, tmp_path)


def stopped(folder, make=network, after=9, data=None, **arguments):
    """Return the path of the checkpoint of a run that was interrupted."""
    path = folder / "run"
    np.random.seed(7)
    settings = {"batch_size": 8, "num_epochs": 4, "verbose": False, **arguments}
    solver = Solver(interrupt(make(), after), data or images(), checkpoint_name=path, **settings)
    with pytest.raises(InterruptedError):
        solver.train()
    return path


def test_lines_go_on_where_they_stopped(tmp_path, capsys):
    np.random.seed(7)
    whole = Solver(network(), images(), batch_size=8, num_epochs=4, print_every=3)
    whole.train()
    expected = capsys.readouterr().out.splitlines()
    path = stopped(tmp_path, print_every=3, verbose=True)
    before = capsys.readouterr().out.splitlines()
    Solver.resume(path, network(), images()).train()
    after = capsys.readouterr()
    lines = [line for line in after.out.splitlines() if line.startswith("(")]
    assert lines == expected[-len(lines) :]
    # The checkpoint is that of epoch 1, after iteration 6; iteration 7 was done again.
    assert lines[0].startswith("(Iteration 7 / 24)")
    assert lines[0] in before
    assert after.err == ""


def test_the_progress_bar_goes_on_where_it_stopped(tmp_path, capsys):
    path = stopped(tmp_path)
    Solver.resume(path, network(), images(), progress=True).train()
    printed = capsys.readouterr().err
    assert "6/24" in printed
    assert "24/24" in printed


def test_a_finished_run_has_nothing_left_to_do_but_may_be_extended(tmp_path):
    path = tmp_path / "run"
    settings = {"batch_size": 8, "lr_decay": 0.9, "verbose": False}
    np.random.seed(7)
    longer = Solver(network(), images(), num_epochs=5, **settings)
    longer.train()
    np.random.seed(7)
    shorter = Solver(network(), images(), num_epochs=3, checkpoint_name=path, **settings)
    shorter.train()
    finished = Solver.resume(path, network(), images())
    finished.train()
    found, expected = outcome(finished), outcome(shorter)
    del found["next draw"], expected["next draw"]
    assert found == expected
    extended = Solver.resume(path, network(), images(), num_epochs=5)
    extended.train()
    assert extended.loss_history == longer.loss_history
    assert extended.best_val_acc == longer.best_val_acc
    for name, w in longer.model.params.items():
        np.testing.assert_array_equal(extended.model.params[name], w)


def test_training_again_after_a_resumed_run_starts_a_new_round(tmp_path):
    solver = Solver.resume(stopped(tmp_path), network(), images())
    solver.train()
    assert len(solver.loss_history) == 24
    solver.train()
    assert len(solver.loss_history) == 48
    assert solver.epoch == 8


def test_the_checkpoint_may_move_and_gets_the_next_ones(tmp_path):
    path = stopped(tmp_path)
    moved = tmp_path / "elsewhere" / "copy.npz"
    moved.parent.mkdir()
    os.rename(f"{path}.npz", moved)
    Solver.resume(moved, network(), images()).train()
    assert checkpoint.load(moved)["iteration"] == 24
    assert sorted(file.name for file in moved.parent.iterdir()) == [
        "copy.npz",
        "copy.previous.npz",
    ]


def other_data(name, change):
    """Return the data with one array changed."""
    data = images()
    data[name] = change(data[name])
    return data


def one_label_changed(y):
    """Return labels of which one is another."""
    y = y.copy()
    y[17] = (y[17] + 1) % 3
    return y


REFUSALS = {
    "other widths": (
        lambda: FullyConnectedNet([8, 9], 32, 3, 0.8, "batchnorm", dtype=np.float64, reg=0.01),
        images,
        r"network params W2 is float64 \(8, 9\), in the checkpoint float64 \(8, 7\)",
    ),
    "fewer layers": (
        lambda: FullyConnectedNet([8], 32, 3, 0.8, "batchnorm", dtype=np.float64, reg=0.01),
        images,
        r"network params W3 is missing, in the checkpoint float64 \(7, 3\)",
    ),
    "other class": (
        lambda: TwoLayerNet(32, 8, 3),
        images,
        "network class is TwoLayerNet, in the checkpoint FullyConnectedNet",
    ),
    "other dtype": (
        lambda: network(dtype=np.float32),
        images,
        "network dtype is float32, in the checkpoint float64",
    ),
    "other label smoothing": (
        lambda: smoothed(0.1),
        images,
        r"network label_smoothing is 0\.1, in the checkpoint 0\.0",
    ),
    "other reg": (lambda: network(reg=0.5), images, r"reg is 0\.5, in the checkpoint 0\.01"),
    "other dropout": (
        lambda: network(keep=0.5),
        images,
        r"network layers 4 options 1 p is 0\.5, in the checkpoint 0\.8",
    ),
    "other normalization": (
        lambda: network("layernorm"),
        images,
        "layers 2 name is ln, in the checkpoint bn",
    ),
    "other images": (
        network,
        lambda: other_data("X_val", lambda X: X + 1e-9),
        r"data X_val is float64 \(20, 2, 4, 4\) with contents \w+, in the checkpoint float64",
    ),
    "one other label": (network, lambda: other_data("y_train", one_label_changed), "data y_train"),
    "other labels' dtype": (
        network,
        lambda: other_data("y_train", lambda y: y.astype(np.int32)),
        r"data y_train is int32 \(50,\)",
    ),
    "float32 images": (network, lambda: images(dtype=np.float32), "data X_train is float32"),
    "fewer images": (network, lambda: images(N=40), r"X_train is float64 \(40, 2, 4, 4\)"),
}


@pytest.mark.sampled(5)
@pytest.mark.parametrize(("make", "data", "message"), REFUSALS.values(), ids=REFUSALS)
def test_the_checkpoint_of_another_run_is_refused_with_what_differs(make, data, message, tmp_path):
    path = stopped(tmp_path)
    model = make()
    before = {name: w.copy() for name, w in model.params.items()}
    np.random.seed(1)
    with pytest.raises(ValueError, match=f"Solver.resume: the checkpoint is that .*{message}"):
        Solver.resume(path, model, data())
    for name, w in before.items():
        np.testing.assert_array_equal(model.params[name], w)
    draw = np.random.rand()
    np.random.seed(1)
    assert draw == np.random.rand()


def test_large_data_are_told_apart_by_samples_spread_over_them(tmp_path, rng):
    data = images(N=5000)
    path = stopped(tmp_path, data=data)
    changed = {**data, "X_train": data["X_train"] * (1 + 1e-12)}
    with pytest.raises(ValueError, match="data X_train"):
        Solver.resume(path, network(), changed)
    Solver.resume(path, network(), {name: array.copy() for name, array in data.items()})


def steady(progress, factor=1.0):
    """Return a schedule's factor, which is a default."""
    return factor


def steadier(factor):
    """Return the same schedule with another default."""
    return types.FunctionType(steady.__code__, {}, "steady", (factor,))


def scaled(factor):
    """Return a schedule from inside a function."""
    return lambda progress: factor * (1 - progress)


class Cut:
    """An augmentation that says what it is."""

    def __init__(self, size):
        self.size = size

    def __call__(self, X):
        """Return the images as they are."""
        return X

    def __repr__(self):
        return f"Cut({self.size})"


FUNCTIONS = {
    "missing": ({"augment": Cut(2)}, {}, r"the run used augment=Cut\(2\); expected the same again"),
    "other settings": (
        {"augment": Cut(2)},
        {"augment": Cut(3)},
        r"functions augment is Cut\(3\), in the checkpoint Cut\(2\)",
    ),
    "other partial": (
        {"schedule": functools.partial(schedules.step, at=(0.5,))},
        {"schedule": functools.partial(schedules.step, at=(0.6,))},
        r"step\(at=\(0\.6,\)\), in the checkpoint cs231n\.schedules\.step\(at=\(0\.5,\)\)",
    ),
    "other function": (
        {"schedule": schedules.cosine},
        {"schedule": schedules.constant},
        r"schedules\.constant, in the checkpoint cs231n\.schedules\.cosine",
    ),
    "other settings inside": ({"schedule": scaled(1.0)}, {"schedule": scaled(2.0)}, r"\[2\.0\]"),
    "other default": ({"schedule": steadier(1.0)}, {"schedule": steadier(0.5)}, r"steady\[0\.5\]"),
    "other lambda": (
        {"schedule": lambda progress: 1 - progress},
        {"schedule": lambda progress: 1 - progress**2},
        r"<lambda> with code \w+, in the checkpoint test_resume\.<lambda> with code \w+",
    ),
    "other rule": (
        {"update_rule": counting_rule},
        {"update_rule": optim.adam},
        r"functions update_rule is cs231n\.optim\.adam, in the checkpoint .*counting_rule",
    ),
}


@pytest.mark.sampled(5)
@pytest.mark.parametrize(("given", "again", "message"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_functions_must_be_given_again_and_be_the_same(given, again, message, tmp_path):
    path = stopped(tmp_path, **given)
    with pytest.raises(ValueError, match=f"Solver.resume: .*{message}"):
        Solver.resume(path, network(), images(), **again)
    Solver.resume(path, network(), images(), **given)


NAME = """
from cs231n.training.arguments import name_of
print(name_of(lambda word: word in {"step", "cosine", "one", ("two", frozenset("abc"))}))
"""


def test_a_function_has_the_same_name_in_every_process():
    found = {
        subprocess.check_output([sys.executable, "-c", NAME], env=environment(PYTHONHASHSEED=seed))
        for seed in "1234"
    }
    assert len(found) == 1


def test_what_the_numbers_depend_on_cannot_change(tmp_path):
    path = stopped(tmp_path)
    for changes in ({"batch_size": 9}, {"augment": Cut(1)}, {"update_rule": "adam"}):
        with pytest.raises(TypeError, match=f"{next(iter(changes))} cannot change in the middle"):
            Solver.resume(path, network(), images(), **changes)
    with pytest.raises(ValueError, match="generators solver is PCG64, in the checkpoint missing"):
        Solver.resume(path, network(), images(), rng=np.random.default_rng())
    with pytest.raises(TypeError, match="no_such cannot change"):
        Solver.resume(path, network(), images(), no_such=1)


def test_a_missing_checkpoint_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.npz"):
        Solver.resume(tmp_path / "nothing", network(), images())


def test_a_model_file_is_no_checkpoint(tmp_path):
    network().save(tmp_path / "model")
    with pytest.raises(ValueError, match=r"model\.npz: no checkpoint .* lacks digest, format"):
        Solver.resume(tmp_path / "model", network(), images())


def changed(state, place, value):
    """Return a state with another value in one place."""
    here = state
    for key in place[:-1]:
        here = here[key]
    here[place[-1]] = value
    return state


TAMPERED = [
    (("iteration",), -1),
    (("iteration",), "7"),
    (("epoch",), -2),
    (("order",), np.array([0, 50])),
    (("order",), np.array([-1])),
    (("order",), np.array([3, 3])),
    (("order",), np.zeros(4)),
    (("order",), []),
    (("params",), {}),
    (("params", "W1"), np.ones(3)),
    (("params", "b1"), "text"),
    (("params", "b1"), None),
    (("best_params", "b1"), np.ones(8, np.float32)),
    (("optim_configs",), {}),
    (("optim_configs", "W1"), 3),
    (("bn_params",), []),
    (("best_bn_params",), [1, 2]),
    (("best_val_acc",), None),
    (("loss_history",), np.ones((2, 2))),
    (("val_acc_history",), np.array(["a"])),
    (("generators", "global"), {}),
    (("generators", "global", "bit_generator"), "Evil"),
    (("generators", "global", "state", "key"), np.zeros(3)),
    (("generators", "solver"), None),
    (("generators",), None),
    (("configuration",), None),
    (("configuration", "network"), None),
    (("configuration", "generators", "solver"), "bit_generator"),
    (("configuration", "generators", "solver"), None),
    (("configuration", "generators", "solver"), ["x"]),
    (("configuration", "arguments"), [1]),
    (("configuration", "arguments", "batch_size"), "8"),
    (("configuration", "arguments", "replace"), None),
    (("configuration", "arguments", "optim_config"), 5),
    (("configuration", "functions"), {"model": "x"}),
    (("configuration", "arguments", "lr_decay"), 10**400),
    (("configuration", "arguments", "lr_decay"), np.ones(1)),
    (("configuration", "arguments", "batch_size"), np.array(8)),
    (("configuration", "arguments", "verbose"), np.ones(2)),
    (("configuration", "arguments", "optim_config"), {"learning_rate": np.array([0.1])}),
    (("configuration", "arguments", "optim_config"), {"learning_rate": np.array(0.1)}),
    (("configuration", "arguments", "optim_config"), {"learning_rate": 10**400}),
    (("configuration", "arguments", "optim_config"), {"learning_rate": [0.1]}),
    (("optim_configs", "W1", "learning_rate"), 10**400),
    (("optim_configs", "W1", "learning_rate"), np.array([0.1])),
    (("optim_configs", "W1", "learning_rate"), float("nan")),
    (("optim_configs", "W1", "t"), 10**400),
    (("optim_configs", "W1", "m"), 0.5),
    (("optim_configs", "W1", "velocity"), np.ones(3)),
    (("iteration",), 10**400),
    (("iteration",), 10),
    (("epoch",), 10**30),
    (("best_val_acc",), float("nan")),
    (("seconds",), float("nan")),
    (("seconds",), 10**400),
    (("pending",), ["anything"]),
    (("pending",), np.ones(3)),
    (("accuracy_iterations",), np.array([1, 99])),
    (("accuracy_iterations",), np.array([6, 1])),
    (("accuracy_iterations",), [1, 6]),
    (("generators", "global", "state", "pos"), 10**6),
]


@pytest.mark.sampled(7)
@pytest.mark.parametrize(("place", "value"), TAMPERED, ids=lambda item: str(item)[:40])
def test_a_tampered_state_is_refused_and_changes_nothing(place, value, tmp_path):
    path = stopped(tmp_path, rng=np.random.default_rng(2))
    checkpoint.save(path, changed(checkpoint.load(path), place, value))
    model = network()
    before = {name: w.copy() for name, w in model.params.items()}
    if place[-1] == "replace":  # any value has a truth
        Solver.resume(path, model, images())
        return
    with pytest.raises((ValueError, TypeError), match=r"Solver|optim_config"):
        Solver.resume(path, model, images())
    for name, w in before.items():
        np.testing.assert_array_equal(model.params[name], w)


def test_other_kernels_are_mentioned(tmp_path, capsys, monkeypatch):
    path = stopped(tmp_path)
    state = changed(checkpoint.load(path), ("configuration", "computed by", "kernels"), "other")
    checkpoint.save(path, state)
    Solver.resume(path, network(), images())
    assert "the last digits may differ from here on: kernels is" in capsys.readouterr().err
