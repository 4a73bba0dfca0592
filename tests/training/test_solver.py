"""The Solver: arguments, printed lines, draws, histories, the best parameters, and mishaps."""

import copy
import inspect
import math
import re
import sys

import numpy as np
import pytest

from cs231n import optim
from cs231n.classifiers import FullyConnectedNet, ThreeLayerConvNet, TwoLayerNet
from cs231n.data_utils import get_builtin_data
from cs231n.files import storage
from cs231n.kernels import backend, fast_optim
from cs231n.solver import DivergedError, Solver
from cs231n.training import checkpoint


class Scripted:
    """A model that plays given losses, and whose accuracies on given labels are known.

    Sample i of the data is the number i, so that `batches` tells which samples were asked for.
    The parameter counts the updates: its gradient is always -1.  At its n-th evaluation of the
    validation samples (those from 100 on) the model knows `right[n]` of them.
    """

    def __init__(self, losses, right=(), on_step=None):
        self.params = {"w": np.zeros(1)}
        self.losses, self.right = list(losses), list(right)
        self.on_step = on_step
        self.batches, self.checked = [], []

    def loss(self, X, y=None):
        """Play the next loss, or give scores."""
        numbers = X[:, 0].astype(int).tolist()
        if y is None:
            self.checked.append(numbers)
            return self.scores(numbers)
        self.batches.append(numbers)
        if self.on_step is not None:
            self.on_step(self, len(self.batches))
        return self.losses[len(self.batches) - 1], {"w": np.array([-1.0])}

    def scores(self, numbers):
        """Return scores (N, 2); the labels are all 1."""
        known = len(numbers)
        if numbers[0] >= 100 and self.right:
            known = self.right[sum(one[0] >= 100 for one in self.checked) - 1]
        return np.array(
            [[0.0, 1.0] if place < known else [1.0, 0.0] for place in range(len(numbers))]
        )


def numbered(N=6, N_val=4):
    """Return data whose samples are numbers: training from 0, validation from 100 on."""
    return {
        "X_train": np.arange(N, dtype=float)[:, None],
        "y_train": np.ones(N, int),
        "X_val": 100 + np.arange(N_val, dtype=float)[:, None],
        "y_val": np.ones(N_val, int),
    }


def scripted_solver(losses, right=(), on_step=None, data=None, **arguments):
    """Return a Solver of a scripted model; sgd with rate 1 makes the parameter count updates."""
    model = Scripted(losses, right, on_step)
    arguments = {"batch_size": 2, "optim_config": {"learning_rate": 1.0}, **arguments}
    return Solver(model, data or numbered(), **arguments)


def images(rng, N=60, N_val=20, D=12, C=3):
    """Return a small data set that can be learnt."""
    centres = rng.standard_normal((C, D))
    y, y_val = rng.integers(C, size=N), rng.integers(C, size=N_val)
    return {
        "X_train": centres[y] + 0.5 * rng.standard_normal((N, D)),
        "y_train": y,
        "X_val": centres[y_val] + 0.5 * rng.standard_normal((N_val, D)),
        "y_val": y_val,
    }


def small_net(normalization=None, dtype=np.float64, **arguments):
    """Return a small network, the same at each call."""
    np.random.seed(5)
    return FullyConnectedNet(
        [8], 12, 3, normalization=normalization, weight_scale=0.1, dtype=dtype, **arguments
    )


def test_the_constructor_is_the_published_one():
    parameters = inspect.signature(Solver).parameters
    published = {
        "update_rule": "sgd",
        "lr_decay": 1.0,
        "batch_size": 100,
        "num_epochs": 10,
        "num_train_samples": 1000,
        "num_val_samples": None,
        "checkpoint_name": None,
        "print_every": 10,
        "verbose": True,
    }
    assert list(parameters)[:4] == ["model", "data", "update_rule", "optim_config"]
    assert {name: parameters[name].default for name in published} == published
    solver = Solver(Scripted([]), numbered())
    assert {name: getattr(solver, name) for name in published} == published
    assert solver.optim_configs == {"w": {}}
    assert (solver.loss_history, solver.train_acc_history, solver.val_acc_history) == ([], [], [])
    assert (solver.epoch, solver.best_val_acc, solver.best_params) == (0, -math.inf, {})


def test_unknown_arguments_are_named_with_a_suggestion():
    with pytest.raises(TypeError, match=r"Solver: .*'lr_deacy' \(did you mean 'lr_decay'\?\)"):
        Solver(Scripted([]), numbered(), lr_deacy=0.9)
    with pytest.raises(TypeError, match=r"'zzz', 'num_epoch' .*'num_epochs'.* batch_size"):
        Solver(Scripted([]), numbered(), zzz=1, num_epoch=3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"update_rule": "adm"}, "unknown update rule 'adm'; known rules: adam, .*sgd"),
        ({"optim_config": {"learning_rate": "x"}}, "learning_rate is 'x'"),
        ({"update_rule": "adam", "optim_config": {"beta1": math.nan}}, "beta1 is nan"),
        ({"update_rule": "muon", "optim_config": {"momentum": 2}}, r"momentum is 2.0; .*1\]"),
        ({"optim_config": {"lr": 1e-3}}, "optim_config has 'lr', which no .*; sgd takes learning_"),
        ({"optim_config": {"momentun": 0.9}}, r"'momentun' \(did you mean 'momentum'\?\)"),
        ({"optim_config": {"learning_rate": -1}}, "learning_rate is -1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 2.5}, r"batch_size is 2\.5"),
        ({"num_epochs": -1}, "num_epochs is -1"),
        ({"print_every": 0}, "print_every is 0"),
        ({"lr_decay": -1}, "lr_decay is -1"),
        ({"lr_decay": "x"}, "lr_decay is 'x'"),
        ({"num_train_samples": 0}, "num_train_samples is 0"),
        ({"num_val_samples": -3}, "num_val_samples is -3"),
        ({"checkpoint_every": 0}, "checkpoint_every is 0"),
        ({"checkpoint_name": 5}, "checkpoint_name is 5"),
        ({"checkpoint_name": ""}, "checkpoint_name is ''; expected the name of a file"),
        ({"rng": np.random.RandomState(1)}, "rng is a RandomState; expected .*Generator"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises((ValueError, TypeError), match=f"(Solver|sgd|adam|muon): .*{message}"):
        Solver(Scripted([]), numbered(), **arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X_val": None}, "data lacks X_val; found .*X_train"),
        ({"y_train": np.ones(5, int)}, r"X_train has shape \(6, 1\) and y_train \(5,\)"),
        ({"y_val": np.ones((4, 1), int)}, r"y_val \(4, 1\)"),
        ({"X_train": np.empty((0, 1)), "y_train": np.empty(0, int)}, r"\(0, 1\) .*N >= 1"),
    ],
)
def test_wrong_data_are_named(change, message):
    changed = {**numbered(), **change}
    data = {name: array for name, array in changed.items() if array is not None}
    with pytest.raises(ValueError, match=f"Solver: .*{message}"):
        Solver(Scripted([]), data)


def test_all_labels_are_checked_at_the_start(rng):
    for name, label in [("y_train", 3), ("y_train", -1), ("y_val", 3), ("y_val", -2)]:
        data = images(rng)
        data[name][5] = label
        shown = rf"Solver: {name} has labels .*{name}\[5\] = {label}; expected 0 to 2, .* 3 classes"
        with pytest.raises(ValueError, match=shown):
            Solver(small_net(), data)
        with pytest.raises(
            TypeError, match=rf"Solver: {name} has dtype float64; expected integers"
        ):
            Solver(small_net(), {**images(rng), name: images(rng)[name] + 0.5})


def test_labels_of_a_model_of_ones_own_are_checked_by_its_first_scores():
    data = {**numbered(), "y_val": np.array([1, 1, 2, 1])}
    with pytest.raises(ValueError, match=r"y_val\[2\] = 2; expected 0 to 1"):
        scripted_solver([1.0], data=data, verbose=False).train()


@pytest.mark.parametrize("name", ["X_train", "X_val"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_images_that_are_no_numbers_are_refused(name, dtype, rng):
    data = {key: x.astype(dtype) if key[0] == "X" else x for key, x in images(rng).items()}
    for wrong in (np.nan, np.inf):
        X = data[name].copy()
        X[7, 3] = wrong
        message = rf"Solver: {name} has NaN or infinity in 1 of \d+ samples, first in {name}\[7\]"
        with pytest.raises(ValueError, match=message):
            Solver(small_net(), {**data, name: X})
    huge = np.full_like(data[name], np.finfo(dtype).max)  # their sum overflows, they do not
    Solver(small_net(), {**data, name: huge})


def test_labels_and_images_are_checked_without_a_draw_or_a_call(rng):
    model, data = small_net(dropout_keep_ratio=0.5, seed=3), images(rng)
    np.random.seed(1)
    before = np.random.get_state()[1].tolist()
    model.loss = lambda *args: pytest.fail("was called")
    Solver(model, data)
    assert np.random.get_state()[1].tolist() == before


def test_data_must_be_a_dict():
    with pytest.raises(TypeError, match="data is a list"):
        Solver(Scripted([]), [1, 2])


LOSSES = [2.302585093, 2.0, 1.5, 0.25, 1e-7, 123456.7]
TRANSCRIPT = """\
(Iteration 1 / 6) loss: 2.302585
(Epoch 0 / 2) train acc: 1.000000; val_acc: 0.250000
(Iteration 3 / 6) loss: 1.500000
(Epoch 1 / 2) train acc: 1.000000; val_acc: 0.750000
(Iteration 5 / 6) loss: 0.000000
(Epoch 2 / 2) train acc: 1.000000; val_acc: 0.500000
"""


@pytest.mark.parametrize("progress", [None, False, True])
def test_the_printed_lines(progress, capsys):
    solver = scripted_solver(LOSSES, [1, 3, 2], num_epochs=2, print_every=2, progress=progress)
    solver.train()
    printed = capsys.readouterr()
    assert printed.out == TRANSCRIPT
    assert bool(printed.err) == bool(progress)
    if progress:
        assert "6/6" in printed.err
        assert "loss=" in printed.err


def test_the_last_iteration_prints_its_loss_where_it_is_due(capsys):
    scripted_solver(LOSSES, [1, 3], num_epochs=1, print_every=1).train()
    assert capsys.readouterr().out.splitlines() == [
        "(Iteration 1 / 3) loss: 2.302585",
        "(Epoch 0 / 1) train acc: 1.000000; val_acc: 0.250000",
        "(Iteration 2 / 3) loss: 2.000000",
        "(Iteration 3 / 3) loss: 1.500000",
        "(Epoch 1 / 1) train acc: 1.000000; val_acc: 0.750000",
    ]


def test_an_epoch_of_one_iteration_is_checked_once(capsys):
    scripted_solver(LOSSES, [1, 3], num_epochs=2, batch_size=50).train()
    assert capsys.readouterr().out.splitlines() == [
        "(Iteration 1 / 2) loss: 2.302585",
        "(Epoch 1 / 2) train acc: 1.000000; val_acc: 0.250000",
        "(Epoch 2 / 2) train acc: 1.000000; val_acc: 0.750000",
    ]


def test_lines_of_a_real_run_have_the_published_form(rng, capsys):
    Solver(small_net(), images(rng), num_epochs=3, batch_size=7, print_every=4).train()
    iteration = r"\(Iteration \d+ / 24\) loss: \d+\.\d{6}"
    epoch = r"\(Epoch \d / 3\) train acc: [01]\.\d{6}; val_acc: [01]\.\d{6}"
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6 + 4
    for line in lines:
        assert re.fullmatch(f"{iteration}|{epoch}", line), line


def test_nothing_is_printed_unless_verbose(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    scripted_solver(LOSSES, [1, 3, 2], num_epochs=2, print_every=1, verbose=False).train()
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_a_progress_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    scripted_solver(LOSSES, [1, 3, 2], num_epochs=2, print_every=2).train()
    printed = capsys.readouterr()
    assert printed.out == TRANSCRIPT
    assert "6/6" in printed.err


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_the_progress_bar_is_ended_before_an_error_goes_on(error, capsys):
    def stop(model, step):
        if step == 3:
            raise error

    solver = scripted_solver(LOSSES, [1, 3, 2], stop, num_epochs=2, progress=True)
    with pytest.raises(error) as _:
        solver.train()
    assert capsys.readouterr().err.endswith("\n")


@pytest.mark.parametrize(
    ("N", "batch_size", "replace", "iterations"),
    [
        (10, 3, True, 3),
        (10, 5, True, 2),
        (10, 100, True, 1),
        (10, 3, False, 4),
        (10, 5, False, 2),
        (10, 100, False, 1),
    ],
)
def test_iterations_and_lengths_of_the_histories(N, batch_size, replace, iterations):
    solver = scripted_solver(
        [1.0] * 12,
        data=numbered(N),
        batch_size=batch_size,
        num_epochs=3,
        replace=replace,
        verbose=False,
    )
    solver.train()
    assert len(solver.loss_history) == 3 * iterations
    assert solver.epoch == 3
    checks = 3 if iterations == 1 else 4
    assert len(solver.train_acc_history) == len(solver.val_acc_history) == checks
    assert all(isinstance(loss, float) for loss in solver.loss_history)
    full = min(batch_size, N) if not replace else batch_size
    assert len(solver.model.batches[0]) == full


def test_no_epochs_do_nothing(capsys):
    solver = scripted_solver([], num_epochs=0)
    solver.train()
    assert (solver.loss_history, solver.best_params, solver.model.params["w"]) == ([], {}, [0])
    assert capsys.readouterr().out == ""


@pytest.fixture
def choices(monkeypatch):
    """Record the calls of np.random.choice, and refuse every other draw."""
    calls = []
    choice = np.random.choice

    def recorded(*args, **kwargs):
        calls.append((*args, *kwargs.items()))
        return choice(*args, **kwargs)

    monkeypatch.setattr(np.random, "choice", recorded)
    for name in ("permutation", "shuffle", "rand", "randn", "randint", "random", "seed"):
        monkeypatch.delattr(np.random, name)
    return calls


def test_order_of_the_draws(choices):
    solver = scripted_solver(
        LOSSES, num_epochs=2, num_train_samples=5, num_val_samples=3, verbose=False
    )
    solver.train()
    step, check = (6, 2), [(6, 5), (4, 3)]
    assert choices == [step, *check, step, step, *check, step, step, step, *check]


def test_a_check_draws_nothing_from_sets_that_are_no_larger(choices):
    solver = scripted_solver(
        LOSSES, num_epochs=2, num_train_samples=6, num_val_samples=3, verbose=False
    )
    solver.train()
    step, check = (6, 2), (4, 3)
    assert choices == [step, check, step, step, check, step, step, step, check]
    choices.clear()
    default = scripted_solver(LOSSES, num_epochs=2, verbose=False)
    default.train()
    assert choices == [step] * 6


def test_minibatches_are_the_drawn_samples():
    np.random.seed(3)
    solver = scripted_solver(LOSSES, num_epochs=2, num_train_samples=5, verbose=False)
    solver.train()
    np.random.seed(3)
    for step, batch in enumerate(solver.model.batches, start=1):
        assert batch == np.random.choice(6, 2).tolist()
        if step in (1, 3, 6):
            np.random.choice(6, 5)


def test_the_training_set_is_checked_before_the_validation_set():
    solver = scripted_solver([1.0] * 6, num_epochs=2, verbose=False)
    solver.train()
    assert solver.model.checked == [[0, 1, 2, 3, 4, 5], [100, 101, 102, 103]] * 3


def test_the_learning_rate_decays_after_an_epochs_last_step_and_before_its_check():
    seen = []

    class Watched(Scripted):
        def scores(self, numbers):
            seen.append((self.params["w"][0], solver.optim_configs["w"]["learning_rate"]))
            return super().scores(numbers)

    solver = Solver(
        Watched([1.0] * 6),
        numbered(),
        batch_size=2,
        num_epochs=2,
        lr_decay=0.5,
        optim_config={"learning_rate": 1.0},
        verbose=False,
    )
    solver.train()
    # After steps of 1, 1, 1, then 0.5, 0.5, 0.5; training and validation set each time.
    assert seen == [(1, 1)] * 2 + [(3, 0.5)] * 2 + [(4.5, 0.25)] * 2


def test_the_best_accuracy_starts_below_everything():
    solver = scripted_solver([1.0] * 6, right=[0, 0, 0], num_epochs=2, verbose=False)
    solver.train()
    assert solver.best_val_acc == 0
    assert solver.val_acc_history == [0, 0, 0]
    assert solver.best_params["w"] == [1]
    assert solver.model.params["w"] == [1]


@pytest.mark.parametrize(
    ("right", "best", "updates"),
    [([1, 3, 2], 0.75, 3), ([4, 3, 4], 1, 1), ([1, 2, 3], 0.75, 6), ([0, 0, 1], 0.25, 6)],
)
def test_the_best_parameters_end_in_the_model(right, best, updates):
    solver = scripted_solver([1.0] * 6, right, num_epochs=2, verbose=False)
    solver.train()
    assert solver.val_acc_history == [known / 4 for known in right]
    assert solver.best_val_acc == best
    assert solver.best_params["w"] == [updates]
    assert solver.model.params["w"] == [updates]
    solver.model.params["w"] += 1
    assert solver.best_params["w"] == [updates]


def test_the_best_parameters_come_with_their_running_statistics(rng):
    class Watched(FullyConnectedNet):
        def loss(self, X, y=None):
            result = super().loss(X, y)
            if y is None and len(X) == 20:
                seen.append((copy.deepcopy(self.bn_params), result.copy()))
            return result

    seen = []
    np.random.seed(5)
    model = Watched([8], 12, 3, normalization="batchnorm", weight_scale=0.1, dtype=np.float64)
    data = images(rng)
    # A rate that spoils what the first epochs have learnt.
    config = {"learning_rate": 3.0}
    solver = Solver(
        model, data, optim_config=config, num_epochs=6, batch_size=10, lr_decay=2, verbose=False
    )
    solver.train()
    best = int(np.argmax(solver.val_acc_history))
    assert best < len(solver.val_acc_history) - 1, "the case must be one that gets worse again"
    statistics, scores = seen[best]
    for key in ("running_mean", "running_var"):
        np.testing.assert_array_equal(model.bn_params[0][key], statistics[0][key])
    np.testing.assert_array_equal(model.loss(data["X_val"]), scores)
    assert solver.check_accuracy(data["X_val"], data["y_val"]) == solver.best_val_acc


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_a_loss_that_is_no_number_stops_the_training(loss, capsys):
    losses = [1.0, 1.0, 1.0, 1.0, loss, 1.0]
    solver = scripted_solver(
        losses, right=[1, 3, 2], num_epochs=2, print_every=1, on_divergence="raise"
    )
    with pytest.raises(
        DivergedError, match=r"Solver: the loss is -?(nan|inf) at iteration 5 .*[Tt]ry .*rate"
    ):
        solver.train()
    assert solver.loss_history == [1.0] * 4
    assert solver.model.params["w"] == [3]
    assert solver.best_params["w"] == [3]
    assert "nan" not in capsys.readouterr().out
    assert issubclass(DivergedError, ArithmeticError)


def test_a_step_with_such_a_loss_updates_nothing():
    solver = scripted_solver([1.0, math.nan], update_rule="adam", on_divergence="raise")
    solver._step()
    w, config = solver.model.params["w"].copy(), copy.deepcopy(solver.optim_configs)
    with pytest.raises(DivergedError, match="at iteration 2"):
        solver._step()
    assert solver.model.params["w"] == w
    assert solver.optim_configs == config
    assert solver.loss_history == [1.0]


def test_a_first_loss_that_is_no_number_leaves_the_parameters(rng):
    model = small_net("batchnorm")
    before = {name: w.copy() for name, w in model.params.items()}
    solver = Solver(
        model, images(rng), verbose=False, on_divergence="raise", augment=lambda X: X * np.nan
    )
    with pytest.raises(DivergedError, match="at iteration 1"):
        solver.train()
    for name, w in before.items():
        np.testing.assert_array_equal(model.params[name], w)


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf, np.float32("nan")])
def test_by_default_a_loss_that_is_no_number_is_told_once_and_training_goes_on(loss, capsys):
    losses = [1.0, 1.0, 1.0, loss, loss, 1.0]
    solver = scripted_solver(losses, right=[1, 3, 2], num_epochs=2, print_every=1)
    with pytest.warns(RuntimeWarning) as told:
        solver.train()
    assert len(told) == 1
    assert re.match(
        r"Solver: the loss is -?(nan|inf) at iteration 4 .*not updated", str(told[0].message)
    )
    np.testing.assert_array_equal(solver.loss_history, losses)
    assert len(solver.val_acc_history) == 3
    assert solver.model.params["w"] == [3]  # the best; the last are those of four updates
    assert f"(Iteration 5 / 6) loss: {loss:f}" in capsys.readouterr().out
    with pytest.warns(RuntimeWarning, match="at iteration 7"):
        scripted_again(solver, [math.nan] * 6).train()


def scripted_again(solver, losses):
    """Let a scripted model play further losses."""
    solver.model.losses += losses
    solver.model.right += [1] * 9
    return solver


def test_training_may_stop_at_a_loss_that_is_no_number():
    losses = [1.0, 1.0, 1.0, 1.0, math.nan, 1.0]
    solver = scripted_solver(
        losses, right=[1, 3], num_epochs=2, on_divergence="stop", verbose=False
    )
    with pytest.warns(RuntimeWarning, match="at iteration 5"):
        solver.train()
    assert solver.loss_history == [1.0] * 4
    assert solver.model.params["w"] == [3]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_diverging_run_ends_with_finite_parameters_and_statistics(rng):
    data = images(rng)
    for rate in (1e9, 1e200):
        model = small_net("batchnorm")
        config = {"learning_rate": rate}
        solver = Solver(model, data, "sgd", config, batch_size=10, num_epochs=3, verbose=False)
        solver.train()
        assert len(solver.loss_history) == 18
        assert len(solver.val_acc_history) == 4
        for array in (*model.params.values(), *model.bn_params[0].values()):
            assert not isinstance(array, np.ndarray) or np.isfinite(array).all()


def test_nothing_but_finite_parameters_can_be_the_best():
    def overflow(model, step):
        if step > 3:
            model.params["w"] = np.array([np.inf])

    solver = scripted_solver([1.0] * 6, [1, 2, 4], overflow, num_epochs=2, verbose=False)
    solver.train()
    assert (solver.best_val_acc, solver.model.params["w"]) == (0.5, [3])


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_real_divergence_leaves_the_best_parameters(rng):
    model = ThreeLayerConvNet((3, 2, 2), 3, 1, 5, 3, weight_scale=1.0, reg=0.5)
    data = images(rng)
    for name in ("X_train", "X_val"):
        data[name] = data[name].reshape(-1, 3, 2, 2)
    solver = Solver(
        model, data, optim_config={"learning_rate": 1e9}, verbose=False, on_divergence="raise"
    )
    with pytest.raises(DivergedError, match=r"learning rate 1e\+09"):
        solver.train()
    assert solver.best_val_acc > -math.inf
    for name, w in solver.best_params.items():
        np.testing.assert_array_equal(model.params[name], w)


@pytest.mark.parametrize(("step", "updates"), [(1, 0), (2, 1), (3, 2), (4, 3), (6, 3)])
def test_an_interruption_leaves_the_best_parameters(step, updates):
    def interrupt(model, at):
        if at == step:
            raise KeyboardInterrupt

    solver = scripted_solver([1.0] * 6, [1, 3, 2], interrupt, num_epochs=2, verbose=False)
    with pytest.raises(KeyboardInterrupt):
        solver.train()
    assert solver.model.params["w"] == [updates]
    assert solver.loss_history == [1.0] * (step - 1)


def test_training_goes_on_after_an_interruption():
    def interrupt(model, at):
        if at == 5:
            raise KeyboardInterrupt

    right = [1, 3, 2, 2, 4, 1]  # the third is measured at the interrupt
    solver = scripted_solver([1.0] * 20, right, interrupt, num_epochs=2, verbose=False)
    with pytest.raises(KeyboardInterrupt):
        solver.train()
    solver.train()
    assert len(solver.loss_history) == 4 + 6
    assert solver.best_val_acc == 1


RULES = ["sgd", "sgd_momentum", "nesterov_momentum", "rmsprop", "adam", "muon"]


def trained_by_hand(model, data, rule, config, steps, batch_size, iterations, decay):
    """Return the losses of plain gradient descent with the reference rules."""
    configs = {name: dict(config) for name in model.params}
    losses = []
    for step in range(1, steps + 1):
        batch = np.random.choice(len(data["X_train"]), batch_size)
        loss, grads = model.loss(data["X_train"][batch], data["y_train"][batch])
        losses.append(loss)
        for name, w in model.params.items():
            model.params[name], configs[name] = optim.RULES[rule](w, grads[name], configs[name])
        if step % iterations == 0:
            for one in configs.values():
                one["learning_rate"] *= decay
    return losses


@pytest.mark.parametrize("rule", RULES)
def test_the_steps_are_those_of_the_update_rule(rule, backend_name, rng):
    data, config = images(rng), {"learning_rate": 0.03}
    expected_model, model = small_net(reg=0.1), small_net(reg=0.1)
    np.random.seed(1)
    expected = trained_by_hand(expected_model, data, rule, config, 20, 15, 4, 0.8)
    np.random.seed(1)
    solver = Solver(
        model,
        data,
        rule,
        config,
        lr_decay=0.8,
        batch_size=15,
        num_epochs=5,
        num_train_samples=None,
        verbose=False,
    )
    solver.train()
    np.testing.assert_allclose(solver.loss_history, expected, rtol=1e-9)
    assert solver.loss_history[-1] < solver.loss_history[0]
    assert config == {"learning_rate": 0.03}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", RULES)
def test_fast_and_reference_rules_give_the_same_run(rule, dtype, rng):
    data = images(rng)
    runs = []
    previous = backend.backend()
    for name in ("auto", "numpy"):
        backend.select(name)
        model = small_net(dtype=dtype, reg=0.1)
        np.random.seed(1)
        solver = Solver(model, data, rule, {"learning_rate": 0.03}, batch_size=15, verbose=False)
        solver.train()
        runs.append((solver, model))
    backend.select(previous)
    (fast, fast_model), (reference, reference_model) = runs
    # Adam and RMSProp divide by small roots, which makes more of float32's rounding.
    close = {"rtol": 1e-3, "atol": 2e-5} if dtype == np.float32 else {"rtol": 1e-9, "atol": 1e-12}
    np.testing.assert_allclose(fast.loss_history, reference.loss_history, **close)
    for name, w in reference_model.params.items():
        assert fast_model.params[name].dtype == dtype
        np.testing.assert_allclose(fast_model.params[name], w, **close)


@pytest.mark.parametrize("rule", RULES)
def test_the_state_of_the_rule_can_be_read(rule, rng):
    model = small_net()
    solver = Solver(model, images(rng), rule, num_epochs=2, batch_size=20, verbose=False)
    solver.train()
    names = {
        "sgd": {"learning_rate"},
        "sgd_momentum": {"learning_rate", "momentum", "dampening", "velocity"},
        "nesterov_momentum": {"learning_rate", "momentum", "dampening", "velocity"},
        "rmsprop": {"learning_rate", "decay_rate", "epsilon", "cache"},
        "muon": {"learning_rate", "momentum", "velocity"},
        "adam": {"learning_rate", "beta1", "beta2", "epsilon", "m", "v", "t"},
    }[rule]
    assert solver.optim_configs.keys() == model.params.keys()
    for name, config in solver.optim_configs.items():
        assert set(config) == names
        for key in {"velocity", "cache", "m", "v"} & names:
            assert config[key].shape == model.params[name].shape
    if rule == "adam":
        assert solver.optim_configs["W1"]["t"] == 6


def test_arrays_that_the_user_holds_are_not_overwritten(backend_name, rng):
    model = small_net("batchnorm")
    params, data = dict(model.params), images(rng)
    velocity = {name: np.zeros_like(w) for name, w in params.items()}
    copies = copy.deepcopy((params, data, velocity))
    solver = Solver(model, data, "sgd_momentum", num_epochs=2, batch_size=20, verbose=False)
    for name, config in solver.optim_configs.items():
        config["velocity"] = velocity[name].copy()
    solver.train()
    after_first = {name: w.copy() for name, w in model.params.items()}
    held, best = dict(model.params), dict(solver.best_params)
    solver.train()
    for found, expected in zip((params, data), copies):
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)
    for name, w in after_first.items():
        np.testing.assert_array_equal(held[name], w)
        np.testing.assert_array_equal(best[name], w)


@pytest.mark.parametrize("rule", ["sgd_momentum", "adam"])
def test_the_users_config_is_not_written_to(rule, backend_name):
    state = {"velocity": np.full(1, 0.5), "m": np.full(1, 0.5), "v": np.full(1, 0.5)}
    config = {"learning_rate": 0.1, **state}
    solver = scripted_solver(
        [1.0] * 6, update_rule=rule, optim_config=config, lr_decay=0.5, num_epochs=2, verbose=False
    )
    solver.train()
    assert config == {"learning_rate": 0.1, "velocity": [0.5], "m": [0.5], "v": [0.5]}
    assert config["velocity"] is state["velocity"]
    assert solver.optim_configs["w"]["velocity" if rule == "sgd_momentum" else "m"] != [0.5]


def test_each_parameter_has_a_config_of_its_own(rng):
    solver = Solver(small_net(), images(rng), "adam", {"learning_rate": 0.1}, verbose=False)
    first, *others = solver.optim_configs.values()
    first["learning_rate"] = 7
    assert [config["learning_rate"] for config in others] == [0.1] * len(others)


def test_read_only_data_and_parameters_work(rng):
    model, data = small_net(), images(rng)
    for array in (*data.values(), *model.params.values()):
        array.flags.writeable = False
    Solver(model, data, "adam", num_epochs=1, batch_size=20, verbose=False).train()


def test_fortran_ordered_parameters_are_trained_alike(rng):
    data, losses = images(rng), []
    for order in "CF":
        model = small_net()
        for name, w in model.params.items():
            model.params[name] = np.array(w, order=order)
        np.random.seed(1)
        solver = Solver(model, data, "adam", batch_size=20, num_epochs=3, verbose=False)
        solver.train()
        losses.append(solver.loss_history)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-10)


@pytest.mark.parametrize(("N", "batch_size"), [(10, 3), (10, 5), (10, 1), (10, 40)])
def test_without_replacement_an_epoch_takes_every_sample_once(N, batch_size):
    solver = scripted_solver(
        [1.0] * 30,
        data=numbered(N),
        batch_size=batch_size,
        num_epochs=3,
        replace=False,
        verbose=False,
    )
    solver.train()
    iterations = math.ceil(N / batch_size)
    batches = solver.model.batches
    assert len(batches) == 3 * iterations
    samples = [sample for batch in batches for sample in batch]
    epochs = [samples[start : start + N] for start in range(0, 3 * N, N)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(N))
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert {len(batch) for batch in batches} == {
        min(batch_size, N),
        N - (iterations - 1) * batch_size,
    }


def test_a_generator_leaves_the_global_one_alone(rng):
    data, runs = images(rng), []
    for replace in (True, True, False, False):
        np.random.seed(4)
        solver = Solver(
            small_net(),
            data,
            num_epochs=2,
            batch_size=20,
            num_train_samples=7,
            replace=replace,
            rng=np.random.default_rng(9),
            verbose=False,
        )
        np.random.seed(4)
        solver.train()
        after = np.random.rand()
        np.random.seed(4)
        assert after == np.random.rand()
        runs.append((solver.loss_history, solver.train_acc_history))
    assert runs[0] == runs[1]
    assert runs[2] == runs[3]
    assert runs[0] != runs[2]


def test_a_rule_that_is_put_into_optim_trains_and_is_known_at_resume(monkeypatch, tmp_path, rng):
    def third(w, dw, config=None):
        return w - dw / 3, config

    monkeypatch.setattr(optim, "third", third, raising=False)
    solver = scripted_solver(
        [1.0] * 3, [1, 2], update_rule="third", num_epochs=1, verbose=False,
        checkpoint_name=tmp_path / "run",
    )  # fmt: skip
    solver.train()
    assert solver.update_rule == "third"
    assert solver.model.params["w"] == pytest.approx(1)
    again = Solver.resume(tmp_path / "run", Scripted([]), numbered())
    assert again.update_rule == "third"
    monkeypatch.setattr(optim, "third", lambda w, dw, config=None: (w - dw / 4, config))
    with pytest.raises(ValueError, match=r"rule is .*lambda.*, in the checkpoint .*third"):
        Solver.resume(tmp_path / "run", Scripted([]), numbered())


@pytest.mark.parametrize("new_dict", [False, True])
def test_an_update_rule_may_be_a_function(new_dict):
    def halving(w, dw, config=None):
        config = dict(config) if new_dict else config
        config["calls"] = config.get("calls", 0) + 1
        return w - 2.0 ** -config["calls"] * dw, config

    solver = scripted_solver([1.0] * 3, [1, 2], update_rule=halving, num_epochs=1, verbose=False)
    solver.train()
    assert solver.optim_configs["w"]["calls"] == 3
    assert solver.model.params["w"] == [0.5 + 0.25 + 0.125]


def test_a_reference_rule_given_as_a_function_does_as_its_name_does(rng):
    data, losses = images(rng), []
    for rule in ("adam", optim.adam):
        np.random.seed(1)
        solver = Solver(small_net(), data, rule, batch_size=20, num_epochs=2, verbose=False)
        np.random.seed(1)
        solver.train()
        losses.append(solver.loss_history)
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-9)


def test_steps_by_hand(capsys, rng):
    model, data = small_net(), images(rng)
    before = {name: w.copy() for name, w in model.params.items()}
    solver = Solver(model, data, batch_size=20)
    np.random.seed(1)
    for _ in range(3):
        solver._step()
    assert len(solver.loss_history) == 3
    assert (solver.epoch, solver.best_params, solver.val_acc_history) == (0, {}, [])
    assert capsys.readouterr() == ("", "")
    for name, w in before.items():
        assert not np.array_equal(model.params[name], w)
    model = small_net()
    np.random.seed(1)
    expected = trained_by_hand(model, data, "sgd", {"learning_rate": 1e-2}, 3, 20, 99, 1)
    np.testing.assert_allclose(solver.loss_history, expected, rtol=1e-10)


def test_parameters_replaced_between_steps_are_the_ones_that_go_on():
    solver = scripted_solver([1.0] * 6)
    solver._step()
    mine = np.array([10.0])
    solver.model.params["w"] = mine
    solver._step()
    assert solver.model.params["w"] == [11]
    assert mine == [10]


def test_training_twice_goes_on(capsys):
    solver = scripted_solver([1.0] * 12, [1, 2, 3, 3, 4, 1], update_rule="adam", num_epochs=2)
    solver.train()
    first = solver.model.params["w"].copy()
    solver.train()
    assert len(solver.loss_history) == 12
    assert solver.optim_configs["w"]["t"] == 12
    assert solver.epoch == 4
    assert len(solver.val_acc_history) == 6
    assert solver.best_val_acc == 1
    assert solver.model.params["w"] > first
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "(Epoch 2 / 2) train acc: 1.000000; val_acc: 0.750000",
        "(Epoch 3 / 2) train acc: 1.000000; val_acc: 1.000000",
        "(Epoch 4 / 2) train acc: 1.000000; val_acc: 0.250000",
    ]


def test_check_accuracy_counts_in_batches(rng):
    model = small_net()
    X, y = rng.standard_normal((23, 12)), rng.integers(3, size=23)
    expected = np.mean(np.argmax(model.loss(X), axis=1) == y)
    solver = Solver(model, images(rng))
    for batch_size in (1, 7, 23, 100):
        assert solver.check_accuracy(X, y, batch_size=batch_size) == pytest.approx(expected)
    for num_samples in (None, 23, 24):
        np.random.seed(2)
        assert solver.check_accuracy(X, y, num_samples) == pytest.approx(expected)
        after = np.random.rand()
        np.random.seed(2)
        assert after == np.random.rand()
    assert isinstance(expected, float)


def test_check_accuracy_draws_its_samples(rng):
    solver = scripted_solver([])
    X = np.arange(50.0)[:, None]
    np.random.seed(2)
    solver.check_accuracy(X, np.ones(50, int), num_samples=8, batch_size=3)
    np.random.seed(2)
    drawn = np.random.choice(50, 8).tolist()
    assert solver.model.checked == [drawn[:3], drawn[3:6], drawn[6:]]


@pytest.mark.parametrize(("N", "labels"), [(0, (0,)), (3, (2,)), (3, (3, 1))])
def test_check_accuracy_of_what_does_not_fit(N, labels):
    expected = re.escape(f"check_accuracy: X has shape ({N}, 1) and y {labels}; expected")
    with pytest.raises(ValueError, match=expected):
        scripted_solver([]).check_accuracy(np.ones((N, 1)), np.ones(labels, int))


def test_scores_that_are_nan_are_no_reason_to_take_the_parameters_for_the_best():
    def fail_after_the_first_epoch(model, step):
        if step == 6:
            model.scores = lambda numbers: np.full((len(numbers), 2), np.nan)

    data = {**numbered(), "y_train": np.zeros(6, int), "y_val": np.zeros(4, int)}
    solver = scripted_solver(
        [1.0] * 6, [3, 3], fail_after_the_first_epoch, data, num_epochs=2, verbose=False
    )
    solver.train()
    assert solver.val_acc_history == [0.25, 0.25, 0.0]
    assert solver.model.params["w"] == 1  # from the first check, not from the last


class Linear:
    """A user's own model: parameters and a loss, nothing else."""

    def __init__(self):
        self.params = {"w": np.zeros((12, 3), np.float32)}

    def loss(self, X, y=None):
        """Return squared distances to the labels' unit vectors."""
        scores = X @ self.params["w"]
        if y is None:
            return scores
        difference = scores - np.eye(3)[y]
        return np.float32(np.mean(difference**2)), {"w": X.T @ difference / len(X)}


@pytest.mark.parametrize("rule", RULES)
def test_a_users_own_model_is_trained(rule, rng):
    data = images(rng, N=200)
    solver = Solver(Linear(), data, rule, {"learning_rate": 0.01}, batch_size=20, verbose=False)
    solver.train()
    assert solver.best_val_acc > 0.8
    assert all(type(loss) is float for loss in solver.loss_history)


def test_a_missing_gradient_is_named_before_anything_is_updated():
    solver = scripted_solver([1.0])
    solver.model.params["bias"] = np.zeros(1)
    solver.optim_configs["bias"] = {}
    with pytest.raises(ValueError, match=r"Solver: model\.loss gives gradients of w; .* bias too"):
        solver._step()
    assert (solver.model.params["w"], solver.loss_history) == (0, [])


def test_a_loss_that_is_put_on_the_model_itself_is_called(rng):
    model, plain = small_net(reg=0.1), small_net(reg=0.1)
    data, calls, losses = images(rng), [], []
    loss = model.loss

    def counted(X, y=None):
        calls.append(y)
        return loss(X, y)

    for one in (model, plain):
        solver = Solver(one, data, batch_size=20, num_epochs=2, verbose=False)
        if one is model:
            model.loss = counted
        np.random.seed(1)
        solver.train()
        losses.append(solver.loss_history)
    assert sum(y is not None for y in calls) == 6
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-10)


def test_minibatches_that_a_model_keeps_are_not_overwritten():
    class Keeping(Scripted):
        def loss(self, X, y=None):
            if y is not None:
                kept.append((X, y))
            return super().loss(X, y)

    kept = []
    X = np.repeat(np.arange(40.0)[:, None], 4000, axis=1)  # large enough for memory used again
    data = {"X_train": X, "y_train": np.arange(40), "X_val": X[:4], "y_val": np.ones(4, int)}
    Solver(Keeping([1.0] * 9), data, batch_size=10, num_epochs=2, verbose=False).train()
    assert len(kept) == 8
    for batch, labels in kept:
        np.testing.assert_array_equal(batch, np.repeat(labels[:, None], 4000, axis=1))


def test_checkpoints_can_be_read(tmp_path, capsys, rng):
    name = tmp_path / "run"
    model = small_net("batchnorm")
    solver = Solver(
        model, images(rng), num_epochs=2, batch_size=20, checkpoint_name=str(name), print_every=99
    )
    solver.train()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["run.npz", "run.previous.npz"]
    assert capsys.readouterr().out.count(str(tmp_path / "run.npz")) == 3
    for file, steps, checks in (("run.previous.npz", 3, 2), ("run.npz", 6, 3)):
        with np.load(tmp_path / file, allow_pickle=False) as archive:
            np.testing.assert_array_equal(archive["loss_history"], solver.loss_history[:steps])
            accuracies = solver.val_acc_history[:checks]
            np.testing.assert_array_equal(archive["val_acc_history"], accuracies)
            for param, w in model.params.items():
                assert archive[f"params/{param}"].shape == w.shape
            assert archive["bn_params/0/running_var"].shape == (8,)
    np.testing.assert_array_equal(
        storage.read_npz(name)["best_params/W1"], solver.best_params["W1"]
    )


@pytest.mark.parametrize(
    ("every", "iterations"), [(None, [1, 3, 6]), (1, [1, 2, 3, 4, 5, 6]), (4, [1, 4, 6])]
)
def test_checkpoints_are_written_when_they_are_due(every, iterations, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(checkpoint, "save", lambda _, state: written.append(state["iteration"]))
    scripted_solver(
        [1.0] * 6, num_epochs=2, checkpoint_name=tmp_path / "x", checkpoint_every=every
    ).train()
    assert written == iterations


def test_a_checkpoint_is_no_part_of_the_published_lines(tmp_path, capsys):
    solver = scripted_solver(
        LOSSES, [1, 3, 2], num_epochs=2, print_every=2, checkpoint_name=tmp_path / "x"
    )
    solver.train()
    lines = capsys.readouterr().out.splitlines(keepends=True)
    assert "".join(line for line in lines if line.startswith("(")) == TRANSCRIPT


def test_a_compiled_rule_is_used_where_there_is_one(monkeypatch, rng):
    if backend.backend() == "numpy":
        pytest.skip("needs the compiled extension")
    compiled = [name for name in RULES if name != "muon"]  # which is matrix products in NumPy
    for name in compiled:
        monkeypatch.setitem(optim.RULES, name, None)
    w, dw = rng.standard_normal((2, 5, 4))
    for name in compiled:
        assert fast_optim.update(name, w, dw, {}) is w


def test_two_layer_net_learns(rng):
    np.random.seed(0)
    model = TwoLayerNet(12, 20, 3, weight_scale=0.1)
    solver = Solver(
        model, images(rng, N=300), optim_config={"learning_rate": 0.3}, num_epochs=10, verbose=False
    )
    solver.train()
    assert solver.best_val_acc > 0.9


def test_images_are_augmented_for_training_only(rng):
    solver = scripted_solver([1.0] * 3, num_epochs=1, augment=lambda X: X + 50, verbose=False)
    solver.train()
    assert {sample // 10 for batch in solver.model.batches for sample in batch} == {5}
    assert {sample // 100 for batch in solver.model.checked for sample in batch} == {0, 1}
    np.testing.assert_array_equal(solver.X_train, numbered()["X_train"])


def forgetful(X):
    """Flip images, and forget to return them."""
    X[:] = -X


AUGMENTATIONS = {
    "nothing": (
        forgetful,
        r"forgetful returned None \(is its return missing\?\); expected an array",
    ),
    "list": (lambda X: X.tolist(), r"<lambda> returned \[\["),
    "objects": (lambda X: X.astype(object), "<lambda> returned an array of object"),
    "fewer": (lambda X: X[:1], r"<lambda> returned images \(1, 1\) for \(2, 1\)"),
}


@pytest.mark.parametrize(("augment", "message"), AUGMENTATIONS.values(), ids=AUGMENTATIONS)
def test_an_augmentation_that_returns_no_images_is_named(augment, message):
    solver = scripted_solver([1.0] * 3, augment=augment, verbose=False)
    with pytest.raises((TypeError, ValueError), match=f"Solver: the augmentation {message}"):
        solver.train()


def test_a_negative_interval_prints_no_losses(capsys):
    scripted_solver(LOSSES, [1, 3, 2], num_epochs=2, print_every=-1).train()
    expected = [line for line in TRANSCRIPT.splitlines() if line.startswith("(Epoch")]
    assert capsys.readouterr().out.splitlines() == expected


def dropping(**options):
    """Return a network with dropout."""
    np.random.seed(5)
    return FullyConnectedNet([8], 12, 3, dropout_keep_ratio=0.5, weight_scale=0.1, **options)


def test_a_dropout_seed_is_warned_of_once_and_by_name(rng):
    for given, harm in [({}, "few minibatches"), ({"rng": rng}, "every step drops the same units")]:
        solver = Solver(dropping(seed=42), images(rng), verbose=False, **given)
        message = rf"Solver: model\.dropout_param has 'seed' 42.*{harm}.*del model.dropout_param"
        with pytest.warns(UserWarning, match=message):
            solver.train()
        solver.train()  # a second warning would be an error


def test_no_other_network_is_warned_of(rng):
    plain = dropping()
    plain.dropout_param["rng"] = np.random.default_rng(1)
    for model in (dropping(), dropping(rng=rng), small_net(seed=42), plain):
        Solver(model, images(rng), verbose=False, num_epochs=1).train()


def test_a_network_with_a_generator_of_its_own_is_repeatable_without_frozen_masks(rng):
    data, runs = images(rng), []
    for _ in range(2):
        source = np.random.default_rng(42)
        model = FullyConnectedNet([400], 12, 3, dropout_keep_ratio=0.5, rng=source)
        np.random.seed(int(np.random.rand() * 1000))  # the global one has no say
        solver = Solver(model, data, "adam", rng=source, verbose=False, num_epochs=2)
        solver.train()
        runs.append(solver.loss_history)
        scores = [model.forward(data["X_train"][:1], "train")[0] for _ in range(2)]
        assert not np.array_equal(*scores)
    assert runs[0] == runs[1]


def test_the_schedule_scales_the_learning_rate():
    seen = []

    def schedule(progress):
        seen.append(progress)
        return 1 - progress

    config = {"learning_rate": 2.0}
    solver = scripted_solver(
        [1.0] * 12,
        num_epochs=2,
        optim_config=config,
        schedule=schedule,
        lr_decay=0.5,
        verbose=False,
    )
    rates = []
    solver.model.on_step = lambda *_: rates.append(solver.optim_configs["w"]["learning_rate"])
    solver.train()
    expected = np.arange(6) / 6
    assert seen[1:] == pytest.approx(expected)  # the first call is the constructor's check
    assert rates == pytest.approx(2 * (1 - expected) * [1, 1, 1, 0.5, 0.5, 0.5])
    assert config == {"learning_rate": 2.0}
    solver.train()  # starts the schedule anew, and goes on with the decay
    assert rates[6:] == pytest.approx(2 * (1 - expected) * [0.25, 0.25, 0.25, 1 / 8, 1 / 8, 1 / 8])


def test_a_schedule_of_ones_changes_nothing(rng):
    data, ends = images(rng), []
    for schedule in (None, lambda progress: 1.0):
        np.random.seed(7)
        solver = Solver(small_net(), data, "adam", schedule=schedule, lr_decay=0.9, verbose=False)
        solver.train()
        ends.append(solver)
    assert ends[0].loss_history == pytest.approx(ends[1].loss_history, rel=1e-12)


@pytest.mark.parametrize("rule", sorted(optim.RULES))
def test_weights_decay_apart_from_their_gradients(rule, rng):
    data, rate, decay = images(rng, N=10), 0.02, 0.3
    nets = [small_net("batchnorm"), small_net("batchnorm")]
    start = {name: w.copy() for name, w in nets[0].params.items()}
    for net, strength in zip(nets, (0.0, decay)):
        np.random.seed(7)
        config = {"learning_rate": rate}
        Solver(net, data, rule, config, weight_decay=strength, verbose=False)._step()
    for name, w in nets[0].params.items():
        taken = rate * decay * start[name] if name.startswith("W") else 0.0
        np.testing.assert_allclose(nets[1].params[name], w - taken, rtol=0, atol=1e-15)
    assert nets[0].weight_names() == ["W1", "W2"]


def test_weights_of_another_model_decay_if_they_have_two_axes():
    model = Scripted([1.0])
    model.params = {"w": np.ones(1), "V": np.ones((2, 2))}
    model.loss = lambda X, y=None: (1.0, {name: np.zeros_like(w) for name, w in params.items()})
    params = model.params
    Solver(model, numbered(), optim_config={"learning_rate": 0.5}, weight_decay=0.2)._step()
    assert model.params["w"] == 1
    np.testing.assert_allclose(model.params["V"], 0.9)


@pytest.mark.parametrize("reg", [0.0, 0.5])
def test_the_norm_of_the_whole_gradient_is_clipped(reg, rng):
    data, rate, steps = images(rng), 1.0, []
    for clip_norm in (None, 1e9, 1e-3):
        np.random.seed(7)
        net = small_net(reg=reg)
        start = np.concatenate([w.ravel() for w in net.params.values()])
        Solver(net, data, "sgd", {"learning_rate": rate}, clip_norm=clip_norm)._step()
        steps.append(np.concatenate([w.ravel() for w in net.params.values()]) - start)
    free, loose, tight = steps
    np.testing.assert_allclose(loose, free, rtol=1e-10, atol=1e-14)
    assert np.linalg.norm(free) > 0.01
    assert np.linalg.norm(tight) == pytest.approx(1e-3)
    np.testing.assert_allclose(tight, free * 1e-3 / np.linalg.norm(free), atol=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"augment": 3}, "augment is 3; expected a function"),
        ({"schedule": "cosine"}, "schedule is 'cosine'; expected a function"),
        ({"schedule": lambda progress: -1.0}, r"schedule\(0\.0\) is -1\.0"),
        ({"schedule": lambda progress: None}, r"schedule\(0\.0\) is None"),
        ({"weight_decay": -1}, r"weight_decay is -1\.0"),
        ({"clip_norm": 0}, r"clip_norm is 0\.0"),
        ({"clip_norm": "x"}, "clip_norm is 'x'"),
        (
            {"update_rule": lambda w, dw, config: (w, config), "weight_decay": 0.1},
            r"optim_config has \[\]; expected 'learning_rate'",
        ),
    ],
)
def test_wrong_arguments_of_what_goes_with_the_steps_are_named(arguments, message):
    with pytest.raises((ValueError, TypeError), match=f"Solver: {message}"):
        Solver(Scripted([]), numbered(), **arguments)


@pytest.mark.parametrize("wrong", [-1.0, math.nan, None])
def test_a_schedule_that_goes_wrong_later_stops_the_training(wrong):
    solver = scripted_solver(
        [1.0] * 3, num_epochs=1, schedule=lambda progress: wrong if progress > 0.5 else 1.0
    )
    with pytest.raises((ValueError, TypeError), match=r"Solver: schedule\(0\.6666.*\) is"):
        solver.train()
    assert solver.model.params["w"] == 1  # the best, which were checked after the first step
    assert len(solver.loss_history) == 2


def test_a_schedule_knows_the_rules_own_learning_rate():
    solver = Solver(Scripted([1.0]), numbered(), "adam", schedule=lambda progress: 0.5)
    solver._step()
    assert solver.optim_configs["w"]["learning_rate"] == 0.5e-3


@pytest.mark.parametrize(
    ("change", "model"),
    [
        (lambda X, y: (X.reshape(len(X), -1), y), TwoLayerNet(hidden_dim=4)),
        (lambda X, y: (X.reshape(len(X), -1)[:, :50], y), TwoLayerNet(input_dim=50, hidden_dim=4)),
        (lambda X, y: (X[y < 2], y[y < 2]), TwoLayerNet(hidden_dim=4, num_classes=2)),
        (lambda X, y: (X / 255, y), TwoLayerNet(hidden_dim=4)),
    ],
    ids=["flat", "features", "two classes", "divided"],
)
def test_a_data_set_that_was_changed_is_trained_on(change, model):
    data = get_builtin_data(num_training=60, num_validation=30, num_test=10)
    for split in ("train", "val"):
        data[f"X_{split}"], data[f"y_{split}"] = change(data[f"X_{split}"], data[f"y_{split}"])
    Solver(model, data, num_epochs=1, batch_size=10, verbose=False).train()
    assert model.inputs is None
