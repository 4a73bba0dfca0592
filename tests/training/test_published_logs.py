"""Training runs on the real CIFAR-10 agree with the logs that public solutions print.

The runs take the published random draws in the published order.  A log of float64 arithmetic is
met to the last digit; in float32 the last digits depend on the machine and the differences grow,
so those logs are followed for a few epochs, within tolerances that a wrong draw would break.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from cs231n.classifiers import FullyConnectedNet, ThreeLayerConvNet
from cs231n.data_utils import get_CIFAR10_data
from cs231n.solver import Solver

LOGS = json.loads(Path(__file__).with_name("published_logs.json").read_text(encoding="utf-8"))
ITERATION = re.compile(r"\(Iteration (\d+) / (\d+)\) loss: (\d+\.\d{6})")
EPOCH = re.compile(r"\(Epoch (\d+) / (\d+)\) train acc: (\d\.\d{6}); val_acc: (\d\.\d{6})")
ONE_UNIT = 1.001e-6


@pytest.fixture(scope="module", params=["float32", "float64"])
def overfit_data(request, cifar10_dir):
    """Return 1000 training images and the validation images, less the mean of all 49000."""
    data = get_CIFAR10_data(cifar10_dir=cifar10_dir, dtype=np.dtype(request.param))
    return {name: array[:1000].copy() for name, array in data.items()}


def first(data, num_training):
    """Return the data with fewer training images."""
    small = {name: data[name][:num_training] for name in ("X_train", "y_train")}
    return {**data, **small}


def train(model, data, log, steps, **arguments):
    """Train for some steps with Adam and the settings of a log."""
    solver = Solver(
        model,
        data,
        update_rule="adam",
        num_epochs=log["num_epochs"],
        print_every=log["print_every"],
        **arguments,
    )
    assert solver.iterations_per_epoch == log["iterations_per_epoch"]
    step = solver._step

    def counted():
        if len(solver.loss_history) == steps:
            raise KeyboardInterrupt
        step()

    solver._step = counted
    if steps == log["num_epochs"] * log["iterations_per_epoch"]:
        solver.train()
    else:
        with pytest.raises(KeyboardInterrupt):
            solver.train()


def draw_minibatches(count, num_training, batch_size):
    """Take the draws of training steps that are left out."""
    for _ in range(count):
        np.random.choice(num_training, batch_size)


def assert_agrees(printed, log, loss, accuracy):
    """Compare printed lines with a log, whose numbers may differ by these tolerances."""
    iterations, epochs = ITERATION.findall(printed), EPOCH.findall(printed)
    assert len(iterations) + len(epochs) == len(printed.splitlines())
    every, last = log["print_every"], log["num_epochs"]
    total = last * log["iterations_per_epoch"]
    expected = [[1 + k * every, total, value] for k, value in enumerate(log["losses"])]
    found = np.array(iterations, dtype=float)[: len(expected)]
    assert found == pytest.approx(np.array(expected), abs=loss, rel=0)
    expected = [[epoch, last, *pair] for epoch, pair in enumerate(log["accuracies"])]
    found = np.array(epochs, dtype=float)[: len(expected)]
    assert found == pytest.approx(np.array(expected), abs=accuracy, rel=0)


def round_to_float32(model):
    """Make the weights those of the published runs, which keep them in float32 at first."""
    for name, w in model.params.items():
        model.params[name] = w.astype(np.float32).astype(np.float64)


@pytest.mark.long
def test_conv_net_overfits_a_hundred_images(overfit_data, capsys):
    log = LOGS["conv_overfit"]
    assert len(log["losses"]) + len(log["accuracies"]) == 46
    np.random.seed(231)
    model = ThreeLayerConvNet(weight_scale=1e-2, dtype=np.float64)
    train(
        model,
        first(overfit_data, 100),
        log,
        steps=30,
        batch_size=50,
        optim_config={"learning_rate": 1e-3},
    )
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == 46
    assert_agrees(printed, log, loss=ONE_UNIT, accuracy=1e-9)


@pytest.mark.long
def test_conv_net_begins_an_epoch(cifar10_dir, capsys):
    log = LOGS["conv_one_epoch"]
    np.random.seed(231)
    ThreeLayerConvNet(weight_scale=1e-2)
    draw_minibatches(30, 100, 50)
    model = ThreeLayerConvNet(weight_scale=0.001, hidden_dim=500, reg=0.001, dtype=np.float64)
    round_to_float32(model)
    data = get_CIFAR10_data(cifar10_dir=cifar10_dir)
    train(model, data, log, steps=21, batch_size=50, optim_config={"learning_rate": 1e-3})
    assert_agrees(capsys.readouterr().out, log, loss=ONE_UNIT, accuracy=1e-9)


@pytest.mark.long
def test_deep_nets_with_and_without_batchnorm(overfit_data, capsys):
    np.random.seed(231)
    nets = {
        "deep_batchnorm": FullyConnectedNet(
            [100] * 5, weight_scale=2e-2, normalization="batchnorm"
        ),
        "deep_plain": FullyConnectedNet([100] * 5, weight_scale=2e-2),
    }
    for name, model in nets.items():
        train(
            model,
            overfit_data,
            LOGS[name],
            steps=40,
            batch_size=50,
            optim_config={"learning_rate": 1e-3},
        )
        draw_minibatches(200 - 40, 1000, 50)
        # Rounding errors move the biases before a normalisation, which shows in test mode only.
        assert_agrees(capsys.readouterr().out, LOGS[name], loss=1e-3, accuracy=3e-2)


@pytest.mark.long
def test_dropout(overfit_data, capsys):
    np.random.seed(231)
    for name, keep in (("dropout_off", 1), ("dropout_on", 0.25)):
        model = FullyConnectedNet([500], dropout=keep)
        train(
            model,
            first(overfit_data, 500),
            LOGS[name],
            steps=25,
            batch_size=100,
            optim_config={"learning_rate": 5e-4},
        )
        draw_minibatches(125 - 25, 500, 100)
        assert_agrees(capsys.readouterr().out, LOGS[name], loss=1e-4, accuracy=1e-2)
