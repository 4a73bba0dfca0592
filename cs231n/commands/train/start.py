"""A run that starts from the weights of another: its network, and a new last layer if need be."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from cs231n.classifiers import ConvNet, FullyConnectedNet, Network, ThreeLayerConvNet, TwoLayerNet
from cs231n.commands import trained
from cs231n.commands.train.build import ending_in
from cs231n.commands.train.options import OF_NETWORK, drop_unsuited, flag
from cs231n.core import checks
from cs231n.data.dataset import Dataset
from cs231n.data.normalization import Normalization

__all__ = ["described", "fit_classes", "refuse_another_network", "take_weights"]

# The options that describe a network, by its class: the argument that each stands for.
_OPTIONS: dict[type[Network], dict[str, str]] = {
    ConvNet: {
        "architecture": "architecture",
        "normalization": "normalization",
        "dropout": "dropout_keep_ratio",
        "label_smoothing": "label_smoothing",
        "activation": "activation",
        "fixed_scale": "learn_scale",
        "bn_momentum": "bn_momentum",
        "init": "init",
    },
    FullyConnectedNet: {
        "hidden_dims": "hidden_dims",
        "normalization": "normalization",
        "dropout": "dropout_keep_ratio",
    },
    ThreeLayerConvNet: {
        "num_filters": "num_filters",
        "filter_size": "filter_size",
        "hidden_dims": "hidden_dim",
    },
    TwoLayerNet: {"hidden_dims": "hidden_dim"},
}
_MODELS = {
    ConvNet: "convnet",
    FullyConnectedNet: "fully-connected",
    ThreeLayerConvNet: "three-layer-conv",
    TwoLayerNet: "two-layer",
}


def described(options: argparse.Namespace) -> trained.Trained | None:
    """Let the options describe the network of the run that this one starts from.

    Parameters
    ----------
    options : argparse.Namespace
        Those of a new run get what the network of the other is, so that the run needs it no more
        once it has a checkpoint.  One that goes on before it has one was given them already.

    Returns
    -------
    other : Trained or None
        The network and what its images were; None where no run is named.

    Raises
    ------
    OSError, ValueError
        If there is no such run, or an option asks for another network.
    """
    if options.start is None:
        return None
    other = trained.load(options.start)
    if options.resume is None:
        refuse_another_network(options)
        _take_options(options, other)
    return other


def refuse_another_network(options: argparse.Namespace) -> None:
    """Raise a ValueError where an option describes a network beside that of the other run."""
    given: set[str] = getattr(options, "given", set())
    fixed = sorted(name for name in OF_NETWORK if name in given)
    if options.start is not None and fixed:
        raise ValueError(
            f"--from {options.start} takes the network from there; found"
            f" {', '.join(map(flag, fixed))} too"
        )


def _take_options(options: argparse.Namespace, other: trained.Trained) -> None:
    """Let the options describe the network of the other run, and what its images were."""
    names = _OPTIONS[type(other.model)]
    given: set[str] = getattr(options, "given", set())
    arguments = other.model.arguments()
    if arguments.get("num_groups", 8) != 8:
        raise ValueError(f"--from {options.start} has groups of channels that no option describes")
    options.model = _MODELS[type(other.model)]
    for name, argument in names.items():
        if name not in given:
            setattr(options, name, _option(name, arguments[argument]))
    for name in ("reg", "dtype"):
        if name not in given:
            setattr(options, name, arguments[name])
    if "standardize" not in given:
        options.standardize = other.inputs.normalization.deviation is not None
    drop_unsuited(options, names.keys() - given)  # of arguments that did nothing
    _fit_images(options, other.inputs.image_shape)


def _option(name: str, value: Any) -> Any:
    """Return the value of an option for that of an argument."""
    if name == "fixed_scale":
        return not value
    if name == "hidden_dims":
        return list(value) if isinstance(value, list) else [value]
    return "none" if name == "normalization" and value is None else value


def _fit_images(options: argparse.Namespace, shape: tuple[int, ...]) -> None:
    """Bring pictures of a folder to the size that the network takes, if none was given."""
    if "image_size" not in getattr(options, "given", ()) and Path(options.data).is_dir():
        options.image_size = shape[1]


def fit_classes(options: argparse.Namespace, other: trained.Trained, data: Dataset) -> None:
    """Let a described network end in as many scores as there are classes, if they are others."""
    if options.architecture and tuple(data.class_names) != other.inputs.class_names:
        options.architecture = ending_in(options.architecture, len(data.class_names))


def take_weights(
    options: argparse.Namespace, other: trained.Trained, model: Network, data: Dataset
) -> None:
    """Give a new network the weights of another; the last layer only for the same classes.

    Parameters
    ----------
    options : argparse.Namespace
    other : Trained
        From `described`.
    model : Network
        For the images and classes of the data.
    data : Dataset

    Raises
    ------
    ValueError
        If the images or a layer of the network have another size.
    """
    old, shape = other.model, data["X_train"].shape[1:]
    if shape != other.inputs.image_shape:
        raise ValueError(
            f"--from {options.start} takes images {other.inputs.image_shape}; found {shape}"
        )
    _tell_of_normalization(options, other, data)
    last = set(old.last_weights())
    same = tuple(data.class_names) == other.inputs.class_names and all(
        model.params[name].shape == old.params[name].shape for name in last
    )
    for name in model.params:
        if same or name not in last:
            theirs, expected = old.params[name], model.params[name].shape
            checks.exact_shape(f"--from {options.start}", name, theirs, expected)
            model.params[name] = theirs.astype(model.dtype)
    for param, found in zip(model.bn_params, old.bn_params):
        param.update({key: np.array(v) for key, v in found.items() if key.startswith("running")})
    if same:
        print(f"starting from {options.start}", flush=True)
    else:
        print(
            f"starting from {options.start}, but for {' and '.join(sorted(last))}, which are new:"
            f" there are other classes",
            flush=True,
        )


def _tell_of_normalization(
    options: argparse.Namespace, other: trained.Trained, data: Dataset
) -> None:
    """Say so where the images are normalised otherwise than those that the weights are for."""
    theirs, ours = map(_kind, (other.inputs.normalization, data.normalization))
    if theirs != ours:
        print(f"--from {options.start} was trained on {theirs}; these are {ours}", flush=True)


def _kind(normalization: Normalization) -> str:
    """Say what was done to images, but not by which numbers: these are of other images anyway."""
    done = {
        "less their mean": normalization.mean,
        "divided by their deviation": normalization.deviation,
    }
    words = [word for word, constants in done.items() if constants is not None]
    return " ".join([f"images from 0 to {normalization.white:g}", *words])
