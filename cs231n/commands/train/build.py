"""Network, data and Solver, built from the options."""

from __future__ import annotations

import argparse
import functools
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from cs231n import data_utils
from cs231n.augment import FlipAndShift
from cs231n.callbacks import Callback, CSVLog, EarlyStopping, TensorBoard
from cs231n.classifiers import ConvNet, FullyConnectedNet, Network, ThreeLayerConvNet, TwoLayerNet
from cs231n.commands.train import test_curve
from cs231n.commands.train.options import (
    ARCHITECTURE,
    DEEP,
    OF_AVERAGE,
    OF_SCHEDULE,
    SCHEDULES,
    flag,
    refuse_unsuited,
)
from cs231n.commands.train.test_curve import TestCurve
from cs231n.data import sets
from cs231n.data.dataset import Dataset
from cs231n.data.load import holds_cifar10
from cs231n.parallel.ranks import Ranks
from cs231n.schedules import Schedule
from cs231n.solver import Solver
from cs231n.training import checkpoint

__all__ = [
    "data_name",
    "ending_in",
    "fit_groups",
    "load_data",
    "network",
    "refuse_beyond_images",
    "settings_of_search",
    "solver",
    "title_of",
]


_CIFAR10 = 50_000  # images to train and to validate on
_WHITENING = 5000  # images that whitening filters are made from
_OF_IMAGES = ("three-layer-conv", "convnet")  # the others see a vector
_TITLES = {
    "builtin": "the built-in glyphs (not CIFAR-10)",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "mnist": "MNIST",
    "fashion-mnist": "Fashion-MNIST",
    "svhn": "SVHN",
}


def refuse_beyond_images(options: argparse.Namespace, data: Dataset) -> None:
    """Raise a ValueError for an option in pixels that the images do not have.

    What only the test needs is looked at before training, too, which a mistake there would lose.
    """
    H, W = data["X_train"].shape[2:]
    # An image has no more pixels to reflect where it is shifted by all of its own.
    most = {"test_shift": min(H, W) - 1}
    if options.augment:
        most |= {"shift": min(H, W) - 1, "cutout": min(H, W)}
    for name, pixels in most.items():
        found = getattr(options, name)
        if not 0 <= found <= pixels:
            raise ValueError(
                f"{flag(name)} is {found} for images of {H}x{W}; expected 0 to {pixels} pixels"
            )


def network(options: argparse.Namespace, data: Dataset) -> Network:
    """Return the network that the options describe, for images and classes of these data."""
    image = data["X_train"].shape[1:]
    common: dict[str, Any] = {
        "input_dim": image if options.model in _OF_IMAGES else int(np.prod(image)),
        "reg": options.reg,
        "dtype": np.dtype(options.dtype),
    }
    classes = len(data.class_names)
    if options.model not in DEEP:
        return _shallow(options, {**common, "num_classes": classes})
    model = _deep(options, common, classes)
    _require_classes(model, classes)
    if isinstance(model, ConvNet) and model.is_whitening:
        model.whiten(data["X_train"][:_WHITENING])
    return model


def _deep(options: argparse.Namespace, common: dict[str, Any], classes: int) -> Network:
    """Return a network of any depth."""
    common["normalization"] = None if options.normalization == "none" else options.normalization
    common["dropout_keep_ratio"] = options.dropout
    scale = options.weight_scale
    if options.model == "fully-connected":
        return FullyConnectedNet(
            options.hidden_dims,
            num_classes=classes,
            weight_scale=0.01 if scale is None else scale,
            **common,
        )
    given = options.architecture
    common["architecture"] = ending_in(ARCHITECTURE, classes) if given is None else given
    return ConvNet(
        weight_scale=scale,
        label_smoothing=options.label_smoothing,
        activation=options.activation,
        learn_scale=not options.fixed_scale,
        bn_momentum=options.bn_momentum,
        init=options.init,
        **common,
    )


def _shallow(options: argparse.Namespace, common: dict[str, Any]) -> Network:
    """Return a network with one hidden affine layer."""
    common["weight_scale"] = 0.001 if options.weight_scale is None else options.weight_scale
    common["hidden_dim"] = options.hidden_dims[0]
    if options.model == "two-layer":
        return TwoLayerNet(**common)
    return ThreeLayerConvNet(
        num_filters=options.num_filters, filter_size=options.filter_size, **common
    )


def ending_in(architecture: str, classes: int) -> str:
    """Return an architecture with so many scores at its end, divided as they were."""
    return re.sub(r"fc[0-9]+(/[0-9]+)?$", rf"fc{classes}\g<1>", architecture)


def _require_classes(model: Network, classes: int) -> None:
    """Raise a ValueError for a network with fewer scores than there are classes."""
    scores = len(list(model.params.values())[-1])  # the biases of the last layer
    if classes > scores:
        raise ValueError(
            f"the network ends in {scores} scores, but there are {classes} classes;"
            f" expected an architecture that ends in fc{classes}"
        )


def solver(
    options: argparse.Namespace,
    model: Network,
    data: dict[str, np.ndarray],
    path: Path,
    ranks: Ranks | None = None,
) -> Solver:
    """Return the Solver that the options describe, or the one that goes on from a checkpoint."""
    _fit_batch_size(options, len(data["X_train"]))
    fixed, changeable = _fixed_settings(options), _changeable_settings(options)
    first = ranks is None or ranks.is_first
    changeable["callbacks"] = _callbacks(options, path.parent, data) if first else []
    changeable["communicator"] = ranks
    goes_on = options.resume is not None and checkpoint.exists(path)
    if ranks is not None:
        goes_on = ranks.from_first(lambda: goes_on)
    # A run that was stopped before its first checkpoint starts anew, and comes to the same.
    if not goes_on:
        return Solver(model, data, checkpoint_name=str(path), **fixed, **changeable)
    resumed = Solver.resume(path, model, data, **changeable)
    for name, value in fixed.items():
        if getattr(resumed, name) != value:
            raise ValueError(
                f"{path} is that of a run with {name} {getattr(resumed, name)}; its configuration"
                f" says {value}"
            )
    return resumed


def _fit_batch_size(options: argparse.Namespace, N: int) -> None:
    """See to it that a new run has no more samples in a minibatch than there are."""
    if options.batch_size <= N or options.resume is not None:
        return
    if "batch_size" in getattr(options, "given", ()):
        raise ValueError(
            f"--batch-size is {options.batch_size}, but there are {N} training images;"
            f" expected at most as many"
        )
    options.batch_size = N


def fit_groups(options: argparse.Namespace, model: Network) -> None:
    """Leave out the groups of a recipe that no parameter would follow; refuse such of one's own."""
    words = [word for word in options.groups or () if word != "none"]
    for word in words:
        if ":" not in word:
            raise _no_group(word)
    learning = [name for name in model.params if name not in model.frozen]
    idle = [word for word in words if not _fits(word, learning)]
    if not idle:
        return
    if "groups" not in getattr(options, "of_recipe", ()):
        raise ValueError(
            f"--groups {idle[0]} fits no parameter that learns; expected some of"
            f" {', '.join(learning)}"
        )
    options.groups = [word for word in words if word not in idle] or ["none"]
    print(
        f"--recipe {options.recipe}: left out of its groups {' '.join(idle)}, for no parameter that"
        f" learns is called so",
        flush=True,
    )


def _fits(word: str, names: Sequence[str]) -> bool:
    """Tell whether a group is one of parameters of these names."""
    return any(fnmatchcase(name, word.partition(":")[0]) for name in names)


def _fixed_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the Solver's arguments that a checkpoint holds, and that must stay."""
    return {
        "update_rule": options.update_rule,
        "optim_config": _hyperparameters(options),
        "lr_decay": options.lr_decay,
        "batch_size": options.batch_size,
        "replace": not options.every_sample,
        "weight_decay": options.weight_decay,
        "clip_norm": options.clip_norm,
        "groups": groups(options.groups or []),
        "average": None if options.average == "none" else options.average,
        "average_config": {
            key: getattr(options, name)
            for name, key in OF_AVERAGE.items()
            if getattr(options, name) is not None
        },
        "keep": options.keep,
    }


def _hyperparameters(options: argparse.Namespace) -> dict[str, float]:
    """Return the hyperparameters of the update rule."""
    names = ("learning_rate", "momentum", "dampening")
    return {name: found for name in names if (found := getattr(options, name)) is not None}


def groups(words: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the groups of parameters that words such as ``beta*:rate=64:until=0.3`` describe."""
    if "none" in words and len(words) > 1:
        raise ValueError(f"--groups none stands alone; found {' '.join(words)}")
    found: dict[str, dict[str, float]] = {}
    for word in words:
        pattern, *settings = word.split(":")
        if pattern in found:
            raise ValueError(f"--groups has {pattern} twice; expected its settings in one word")
        if word != "none":
            found[pattern] = _numbers(word, settings)
    return found


def _numbers(word: str, settings: Sequence[str]) -> dict[str, float]:
    """Return the numbers of a group by their names; none did nothing in older versions."""
    pairs = [one.partition("=") for one in settings]
    try:
        found = {name: float(value) for name, _, value in pairs}
    except ValueError:
        found = {}
    if len(found) < len(pairs):
        raise _no_group(word)
    return found


def _no_group(word: str) -> ValueError:
    """Return the error of a word that describes no group."""
    return ValueError(
        f"--groups {word} is no group; expected settings, each once, such as in"
        f" beta*:rate=64:weight_decay=1e-4"
    )


def _augmentation(options: argparse.Namespace) -> FlipAndShift | None:
    """Return the augmentation of training images, None for none."""
    if not options.augment:
        return None
    flip = {"random": True, "none": False}.get(options.flip, options.flip)
    return FlipAndShift(flip, options.shift, cutout=options.cutout)


def _schedule(options: argparse.Namespace) -> Schedule | None:
    """Return the course of the learning rate."""
    function = SCHEDULES[options.schedule]
    names = OF_SCHEDULE.get(options.schedule, {})
    given = {key: getattr(options, name) for name, key in names.items()}
    given = {key: value for key, value in given.items() if value is not None}
    return functools.partial(function, **given) if function is not None and given else function


def _changeable_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments that may change in a run, and the functions, which no file holds."""
    functions = {"augment": _augmentation(options), "schedule": _schedule(options)}
    return {
        "num_epochs": options.epochs,
        "print_every": options.print_every,
        "checkpoint_every": options.checkpoint_every,
        "draw_ahead": options.draw_ahead,
        "sync_statistics": not options.statistics_per_rank,
        "on_divergence": "raise",  # a command ends with a clear message
        **{name: function for name, function in functions.items() if function is not None},
    }


def settings_of_search(options: argparse.Namespace, N: int) -> dict[str, Any]:
    """Return the Solver's arguments that a search for the learning rate takes."""
    _fit_batch_size(options, N)
    fixed = _fixed_settings(options)
    names = ("update_rule", "optim_config", "batch_size", "replace", "weight_decay", "clip_norm")
    taken = {name: fixed[name] for name in (*names, "groups")}
    return {**taken, "augment": _augmentation(options)}


def _callbacks(
    options: argparse.Namespace, folder: Path, data: dict[str, np.ndarray]
) -> list[Callback]:
    """Return the callbacks that the options ask for."""
    found: list[Callback] = []
    if options.early_stopping is not None:
        found.append(EarlyStopping(options.early_stopping))
    if options.csv_log:
        found.append(CSVLog(folder / "log.csv"))
    if options.test_curve:
        found.append(TestCurve(folder / test_curve.FILE, data["X_test"], data["y_test"]))
    if options.tensorboard:
        if (folder / "tensorboard").is_symlink():
            raise ValueError(f"{folder / 'tensorboard'} is a link; expected a folder or none")
        found.append(TensorBoard(folder / "tensorboard"))
    return found


def load_data(options: argparse.Namespace, normalized: bool = True) -> Dataset:
    """Return the data set that the options name, unless an option would do nothing."""
    refuse_unsuited(options)
    dtype = np.dtype(options.dtype)
    sizes: dict[str, Any] = {"subtract_mean": normalized, **_sizes(options)}
    if holds_cifar10(options.data):
        folder = options.data_dir if options.data == "cifar10" else options.data
        data = data_utils.get_CIFAR10_data(
            cifar10_dir=folder, dtype=dtype, num_test=options.num_test, **sizes
        )
    elif options.data == "builtin":
        data = data_utils.get_builtin_data(dtype=dtype, num_test=options.num_test, **sizes)
    else:
        data = data_utils.load_data(options.data, size=options.image_size, dtype=dtype, **sizes)
        sets.limited("train", data, {"test": min(options.num_test, len(data["y_test"]))}, seed=0)
    if not len(data["X_val"]):
        raise ValueError(
            f"{data_name(options)} leaves no validation images: no class has three; expected more"
            f" images, or a val folder"
        )
    if options.standardize and normalized:
        data_utils.standardize(data)
    return data


def _sizes(options: argparse.Namespace) -> dict[str, int]:
    """Return how many images to train and to validate on, as far as the options say it."""
    names = ("num_training", "num_validation")
    sizes = {name: value for name in names if (value := getattr(options, name)) is not None}
    held_back = sizes.get("num_validation")
    if held_back is not None and held_back < 1:
        raise ValueError(f"--num-validation is {held_back}; expected at least one image")
    if held_back is not None and holds_cifar10(options.data):
        # Of one training image and too many of these the loader says how many there are.
        sizes.setdefault("num_training", max(_CIFAR10 - held_back, 1))
    return sizes


def data_name(options: argparse.Namespace) -> str:
    """Return the name of the data set for the reader."""
    return title_of(options.data)


def title_of(data: str) -> str:
    """Return the name of what --data names for the reader."""
    return _TITLES.get(data, Path(data).name)
