"""Network, data and Solver, built from the options."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from cs231n import data_utils
from cs231n.augment import FlipAndShift
from cs231n.classifiers import ConvNet, FullyConnectedNet, Network, ThreeLayerConvNet, TwoLayerNet
from cs231n.commands.train.options import DEEP, SCHEDULES, refuse_unsuited
from cs231n.solver import Solver
from cs231n.training import checkpoint

__all__ = ["data_name", "load_data", "network", "solver"]


def network(options: argparse.Namespace) -> Network:
    """Return the network that the options describe, unless one of them would do nothing."""
    refuse_unsuited(options)
    common: dict[str, Any] = {"reg": options.reg, "dtype": np.dtype(options.dtype)}
    return _deep(options, common) if options.model in DEEP else _shallow(options, common)


def _deep(options: argparse.Namespace, common: dict[str, Any]) -> Network:
    """Return a network of any depth."""
    common["normalization"] = None if options.normalization == "none" else options.normalization
    common["dropout_keep_ratio"] = options.dropout
    scale = options.weight_scale
    if options.model == "fully-connected":
        return FullyConnectedNet(
            options.hidden_dims, weight_scale=0.01 if scale is None else scale, **common
        )
    if options.architecture is not None:
        common["architecture"] = options.architecture
    return ConvNet(weight_scale=scale, label_smoothing=options.label_smoothing, **common)


def _shallow(options: argparse.Namespace, common: dict[str, Any]) -> Network:
    """Return a network with one hidden affine layer."""
    common["weight_scale"] = 0.001 if options.weight_scale is None else options.weight_scale
    common["hidden_dim"] = options.hidden_dims[0]
    if options.model == "two-layer":
        return TwoLayerNet(**common)
    return ThreeLayerConvNet(
        num_filters=options.num_filters, filter_size=options.filter_size, **common
    )


def _require_classes(model: Network, y: np.ndarray) -> None:
    """Raise a ValueError for labels beyond the network's scores."""
    scores = len(list(model.params.values())[-1])  # the biases of the last layer
    if y.max() >= scores:
        raise ValueError(
            f"the network ends in {scores} scores, but there are {y.max() + 1} classes;"
            f" expected an architecture that ends in fc{y.max() + 1}"
        )


def solver(
    options: argparse.Namespace, model: Network, data: dict[str, np.ndarray], path: Path
) -> Solver:
    """Return the Solver that the options describe, or the one that goes on from a checkpoint."""
    _require_classes(model, data["y_train"])
    fixed, changeable = _fixed_settings(options), _changeable_settings(options)
    # A run that was stopped before its first checkpoint starts anew, and comes to the same.
    if options.resume is None or not checkpoint.exists(path):
        return Solver(model, data, checkpoint_name=str(path), **fixed, **changeable)
    resumed = Solver.resume(path, model, data, **changeable)
    for name, value in fixed.items():
        if getattr(resumed, name) != value:
            raise ValueError(
                f"{path} is that of a run with {name} {getattr(resumed, name)}; its configuration"
                f" says {value}"
            )
    return resumed


def _fixed_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the Solver's arguments that a checkpoint holds, and that must stay."""
    return {
        "update_rule": options.update_rule,
        "optim_config": {"learning_rate": options.learning_rate},
        "lr_decay": options.lr_decay,
        "batch_size": options.batch_size,
        "replace": not options.every_sample,
        "weight_decay": options.weight_decay,
        "clip_norm": options.clip_norm,
    }


def _changeable_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments that may change in a run, and the functions, which no file holds."""
    functions = {
        "augment": FlipAndShift(pad=options.shift) if options.augment else None,
        "schedule": SCHEDULES[options.schedule],
    }
    return {
        "num_epochs": options.epochs,
        "print_every": options.print_every,
        "checkpoint_every": options.checkpoint_every,
        "on_divergence": "raise",  # a command ends with a clear message
        **{name: function for name, function in functions.items() if function is not None},
    }


def load_data(options: argparse.Namespace) -> dict[str, np.ndarray]:
    """Return the data set that the options name."""
    sizes = {"num_test": options.num_test}
    if options.num_training is not None:
        sizes["num_training"] = options.num_training
    dtype = np.dtype(options.dtype)
    if options.data == "cifar10":
        data = data_utils.get_CIFAR10_data(cifar10_dir=options.data_dir, dtype=dtype, **sizes)
    else:
        data = data_utils.get_builtin_data(dtype=dtype, **sizes)
    if options.standardize:
        data_utils.standardize(data)
    return data


def data_name(options: argparse.Namespace) -> str:
    """Return the name of the data set for the reader."""
    return "CIFAR-10" if options.data == "cifar10" else "the built-in glyphs (not CIFAR-10)"
