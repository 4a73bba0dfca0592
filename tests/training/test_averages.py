"""Averages of the parameters, and groups of parameters with rates and decay of their own."""

import numpy as np
import pytest
from runs import SHAPE, images, network
from test_resume import assert_goes_on

from cs231n.callbacks import CSVLog
from cs231n.classifiers import ConvNet
from cs231n.schedules import cosine
from cs231n.solver import Solver
from cs231n.training import checkpoint

AVERAGES = {
    "ema": {"average": "ema", "average_config": {"decay": 0.7}},
    "lookahead": {"average": "lookahead", "average_config": {"every": 4, "decay": 0.9}},
}


class Line:
    """A model of one number, which steps of sgd with rate 1 move by a given gradient."""

    def __init__(self, gradients):
        self.params = {"w": np.zeros(1)}
        self.gradients, self.bn_params = list(gradients), [{"running_mean": np.zeros(1)}]
        self.seen = []

    def loss(self, X, y=None):
        """Give the next gradient, or scores that tell the number and the statistic."""
        if y is None:
            self.seen.append((float(self.params["w"][0]), float(self.statistic[0])))
            return np.tile([0.0, 1.0], (len(X), 1))
        gradient = self.gradients.pop(0)
        self.bn_params[0]["running_mean"] = self.statistic + gradient
        return 1.0, {"w": np.array([gradient])}

    @property
    def statistic(self):
        return self.bn_params[0]["running_mean"]


def line(gradients, **arguments):
    """Return the trained solver of such a model: two steps are an epoch."""
    X, y = np.arange(4.0)[:, None], np.ones(4, int)
    data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    settings = {"batch_size": 2, "optim_config": {"learning_rate": 1.0}, "verbose": False}
    epochs = len(gradients) // 2
    solver = Solver(Line(gradients), data, num_epochs=epochs, **{**settings, **arguments})
    solver.train()
    return solver


def test_an_exponential_average_is_tested_and_ends_in_the_model():
    gradients = [-1.0, -2.0, 3.0, -4.0, 0.5, -1.0]
    found = line(gradients, **AVERAGES["ema"], keep="last")
    w, average, statistic, mean, tested = 0.0, 0.0, 0.0, None, []
    for step, gradient in enumerate(gradients, start=1):
        share = min(0.7, step / (step + 9))
        w, statistic = w - gradient, statistic + gradient
        average = share * average + (1 - share) * w
        mean = share * (statistic if mean is None else mean) + (1 - share) * statistic
        if step == 1 or step % 2 == 0:
            tested += [(average, mean)] * 2
    np.testing.assert_allclose(found.model.seen, tested, rtol=1e-12)
    assert found.model.params["w"] == pytest.approx(average)
    assert found.model.statistic == pytest.approx(mean)


def test_lookahead_puts_the_parameters_where_the_average_is():
    gradients = [-1.0, -2.0, 3.0, -4.0, 0.5, -1.0, 2.0, 1.0, -1.0, 7.0]
    config = {"every": 3, "decay": 0.9, "power": 2.0}
    found = line(gradients, average="lookahead", average_config=config, keep="last")
    w, average = 0.0, 0.0
    for step, gradient in enumerate(gradients, start=1):
        w -= gradient
        if step % 3 == 0:
            share = 0.9**3 * (step / 10) ** 2
            w = average = share * average + (1 - share) * w
    # After the last step only the average is left; the gradient of 7 does nothing.
    assert found.model.params["w"] == pytest.approx(average)
    assert average != pytest.approx(w)


def test_the_best_parameters_are_averages_and_the_model_has_its_own_while_it_trains(rng):
    np.random.seed(3)
    solver = Solver(
        network(),
        images(),
        "sgd_momentum",
        {"learning_rate": 0.5},
        batch_size=8,
        num_epochs=4,
        num_train_samples=None,
        verbose=False,
        **AVERAGES["ema"],
    )
    solver.train()
    best = solver.best_params
    assert all(np.array_equal(w, best[name]) for name, w in solver.model.params.items())
    assert solver.check_accuracy(solver.X_val, solver.y_val) == solver.best_val_acc
    assert not np.array_equal(best["W1"], solver.state.average["W1"])  # the best were earlier ones


@pytest.mark.parametrize("kind", AVERAGES)
@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_run_with_averages_and_groups_goes_on_bit_for_bit(kind, keep, tmp_path):
    def arguments():
        return {
            **AVERAGES[kind],
            "update_rule": "nesterov_momentum",
            "optim_config": {"learning_rate": 0.1},
            "lr_decay": 0.9,
            "groups": {"beta*": {"rate": 8, "weight_decay": 0.001}, "b1": {"until": 0.4}},
            "weight_decay": 0.02,
            "keep": keep,
        }

    assert_goes_on(lambda: network(reg=0.0), arguments, tmp_path, steps=(7, 5))


@pytest.mark.parametrize("schedule", [None, cosine])
def test_a_group_has_its_rate(schedule):
    moved = []
    for groups in ({}, {"b*": {"rate": 3.0}}):
        np.random.seed(5)
        model = network(None, 1)
        start = {name: w.copy() for name, w in model.params.items()}
        config = {"learning_rate": 0.1}
        Solver(model, images(), "sgd", config, groups=groups, schedule=schedule).step()
        moved.append({name: model.params[name] - w for name, w in start.items()})
    for name, plain in moved[0].items():
        factor = 3 if name.startswith("b") else 1
        np.testing.assert_allclose(moved[1][name], factor * plain, rtol=1e-9, atol=1e-15)
    assert np.abs(moved[0]["b1"]).max() > 0


def test_a_group_has_its_decay_and_later_groups_add_to_earlier_ones():
    ends = []
    groups = {"b*": {"weight_decay": 0.5, "rate": 2.0}, "b2": {"weight_decay": 0.0}}
    for decay in ({}, groups):
        np.random.seed(5)
        model = network(None, 1)
        for name in ("b1", "b2"):
            model.params[name] += 1
        rates = {name: {"rate": 2.0} for name in ("b1", "b2")}
        chosen = decay or {**rates, "b3": {"rate": 2.0}}
        config = {"learning_rate": 0.1}
        Solver(model, images(), "sgd", config, weight_decay=0.3, groups=chosen).step()
        ends.append(model.params)
    np.testing.assert_allclose(ends[1]["b1"], ends[0]["b1"] - 2 * 0.1 * 0.5, rtol=1e-12)
    for name in ("b2", "W1", "W2"):
        np.testing.assert_array_equal(ends[1][name], ends[0][name])


def test_a_group_rests_after_its_time_and_costs_no_gradient():
    asked = []

    class Watched(ConvNet):
        def backward(self, *arguments, **options):
            found = super().backward(*arguments, **options)
            asked.append((set(found[1]), self.params["b1"].copy()))
            return found

    np.random.seed(0)
    model = Watched("whiten2-conv4-fc3", SHAPE, "batchnorm", dtype=float)
    data = images()
    model.whiten(data["X_train"])
    settings = {"batch_size": 10, "num_epochs": 2, "verbose": False, "replace": False}
    Solver(model, data, "sgd_momentum", groups={"b1": {"until": 0.5}}, **settings).train()
    early, late = asked[:5], asked[5:]
    assert all("b1" in names for names, _ in early)
    assert not any("b1" in names for names, _ in late)
    assert all(np.array_equal(b, late[0][1]) for _, b in late)
    assert not np.array_equal(early[0][1], early[1][1])
    assert model.frozen == {"W1"}


def test_the_norm_of_the_gradient_is_that_of_what_learns(tmp_path):
    model = ConvNet("whiten2-fc3", SHAPE, dtype=float)
    solver = Solver(model, images(), num_epochs=1, callbacks=[CSVLog(tmp_path / "log.csv")])
    solver.train()
    assert np.isfinite(solver.gradient_norm)


WRONG = {
    "kind": ({"average": "mean"}, "average is 'mean'; expected"),
    "field": (
        {"average": "ema", "average_config": {"every": 2}},
        "average_config has every; ema takes decay",
    ),
    "decay": ({"average": "ema", "average_config": {"decay": 2}}, "decay is 2"),
    "every": ({"average": "lookahead", "average_config": {"every": 0}}, "every is 0"),
    "keep": ({"keep": "first"}, "keep is 'first'; expected"),
    "pattern": ({"groups": {"betta*": {"rate": 2}}}, r"groups has 'betta\*', which fits none"),
    "rate": ({"groups": {"b*": {"rate": -1}}}, r"groups\['b\*'\]\['rate'\] is -1"),
    "until": ({"groups": {"b*": {"until": 2}}}, r"\['until'\] is 2"),
    "number": ({"groups": {"b*": {"speed": 2}}}, "has 'speed'; expected some of rate"),
    "group": ({"groups": {"b*": 3}}, r"groups\['b\*'\] is"),
    "groups": ({"groups": 3}, "groups is a int; expected a dict"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_wrong_averages_and_groups_are_named(arguments, message):
    with pytest.raises((ValueError, TypeError), match=f"Solver: .*{message}"):
        Solver(network(), images(), **arguments)


def _shape(tree):
    tree["average"]["W1"] = tree["average"]["W1"][1:]


def _lacking(tree):
    del tree["average"]["W1"]


def _kind(tree):
    tree["average"] = [1]


def _statistics(tree):
    tree["average_bn_params"][0]["running_mean"] = np.zeros(3)


def _groups(tree):
    tree["configuration"]["arguments"]["groups"] = {"b*": {"rate": float("nan")}}


def _flat_groups(tree):
    tree["configuration"]["arguments"]["groups"] = {"b*": 1}


@pytest.mark.parametrize("spoil", [_shape, _lacking, _kind, _statistics, _groups, _flat_groups])
def test_averages_and_groups_of_a_checkpoint_are_checked(spoil, tmp_path):
    path = tmp_path / "run.npz"
    settings = {"batch_size": 10, "num_epochs": 1, "verbose": False, "checkpoint_name": path}
    Solver(network(), images(), groups={"b*": {"rate": 2}}, **AVERAGES["ema"], **settings).train()
    tree = checkpoint.load(path)
    spoil(tree)
    checkpoint.save(path, tree)
    with pytest.raises((ValueError, TypeError), match=r"Solver"):
        Solver.resume(path, network(), images())
