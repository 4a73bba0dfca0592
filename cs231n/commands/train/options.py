"""The options of `train`: how they are called, and which of them go together."""

from __future__ import annotations

import argparse
import functools
import inspect
import math
import os
import reprlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cs231n import optim
from cs231n.classifiers.cnn import ACTIVATIONS, ConvNet
from cs231n.commands.recipes import files as recipes
from cs231n.core import checks
from cs231n.data.load import NAMES
from cs231n.schedules import Schedule, cosine, one_cycle, step
from cs231n.training import averages

__all__ = [
    "ARCHITECTURE",
    "DEEP",
    "FREE",
    "OF_AVERAGE",
    "OF_NETWORK",
    "OF_NORMALIZATION",
    "OF_OTHER_RUN",
    "OF_SCHEDULE",
    "SCHEDULES",
    "Flag",
    "Remember",
    "actions",
    "add_data_options",
    "add_network_options",
    "add_options",
    "add_training_options",
    "adder",
    "drop_unowned",
    "drop_unsuited",
    "existing_path",
    "flag",
    "refuse_unsuited",
    "refuse_unsuited_to_ranks",
    "source",
    "stored_value",
    "unsuited",
]

DEEP = ("fully-connected", "convnet")  # of any depth
# What may be another value when a run goes on: nothing that its numbers depend on.
FREE = ("epochs", "print_every", "checkpoint_every", "data_dir", "mpi", "draw_ahead")
SCHEDULES: dict[str, Schedule | None] = {
    "constant": None,
    "step": step,
    "cosine": cosine,
    "one-cycle": one_cycle,
}
# What the options of a schedule are called there.
OF_SCHEDULE: dict[str, dict[str, str]] = {
    "cosine": {"warmup": "warmup", "final_factor": "final"},
    "one-cycle": {"warmup": "peak", "first_factor": "start", "final_factor": "final"},
}
# The defaults that their functions have.
_OF_SCHEDULE_BY_DEFAULT: dict[str, dict[str, float]] = {
    kind: {
        name: inspect.signature(function).parameters[key].default
        for name, key in OF_SCHEDULE.get(kind, {}).items()
    }
    for kind, function in SCHEDULES.items()
    if function is not None
}

_MOST_CHARACTERS, _MOST_WORDS = 4096, 1000  # of an option in a configuration
_KINDS = {bool: "boolean", int: "whole number", float: "number", str: "text", Path: "path"}
# What --from takes from the other run's network.
OF_NETWORK = (
    *("model", "architecture", "hidden_dims", "num_filters", "filter_size", "normalization"),
    *("activation", "fixed_scale", "bn_momentum", "init"),
)
# What else it takes from there, unless it is given.
OF_OTHER_RUN = ("dropout", "label_smoothing", "reg", "dtype", "standardize")
# Options of an average, as the Solver calls them.
OF_AVERAGE = {"average_decay": "decay", "average_every": "every", "average_power": "power"}
_MODELS = ("three-layer-conv", "fully-connected", "two-layer", "convnet")
ARCHITECTURE = inspect.signature(ConvNet).parameters["architecture"].default
# How layers are written; the docstring of ConvNet has it in full.
_LANGUAGE = (
    "its layers in forward order with hyphens between them: conv32 (32 filters of 3x3), conv32x5s2"
    " (of 5x5, with stride 2), conv32x2vpf (v without padding, p with 2x2 max pooling before the"
    " normalisation, f with frozen filters; some of these letters, in this order), whiten2"
    " (whitening filters of 2x2, as the first layer), res(conv64-conv64)x3 (three residual blocks),"
    " resnet20 (the convolutions of a ResNet-20), pool or pool3 (max pooling of 2x2 or 3x3), gavg"
    " or gmax (mean or maximum of each channel), fc100 (affine layer); at the end fc10 for ten"
    " classes, or fc10/9 with the scores divided by 9"
)
FLIPS = ("random", "alternating", "none")
# Options that only some of the models have.
_OPTIONS_OF = {
    "architecture": ("convnet",),
    "label_smoothing": ("convnet",),
    **dict.fromkeys(("activation", "fixed_scale", "bn_momentum", "init"), ("convnet",)),
    "normalization": DEEP,
    "dropout": DEEP,
    "hidden_dims": _MODELS[:3],
    "num_filters": _MODELS[:1],
    "filter_size": _MODELS[:1],
}
# Numbers that are called otherwise where they are taken: the least and the most.
_RANGES = {
    **dict.fromkeys(("warmup", "first_factor", "final_factor", "average_decay"), (0, 1)),
    "average_power": (0, math.inf),
}
# Options that only some of the normalisations have.
OF_NORMALIZATION = {
    "fixed_scale": ("batchnorm", "groupnorm"),
    "bn_momentum": ("batchnorm",),
}
# Options of a training, for which --find-learning-rate has no use.
_OF_TRAINING = (
    *("schedule", "warmup", "first_factor", "final_factor", "average", *OF_AVERAGE, "keep"),
    *("learning_rate", "lr_decay", "epochs", "early_stopping", "csv_log", "test_curve"),
    *("tensorboard", "draw_ahead", "print_every", "checkpoint_every", "mirror", "test_shift"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    add_network_options(adder(parser, "network"))
    add_data_options(adder(parser, "data"))
    add_training_options(adder(parser, "training"))
    _add_run_options(adder(parser, "run"))
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--output", type=Path, help="run folder (default: a new one in runs)")
    place.add_argument(
        "--resume",
        type=Path,
        metavar="RUN",
        help="go on with the run in this folder, with its options, from its last checkpoint",
    )


def _add_run_options(add: Callable[..., None]) -> None:
    """Declare what else is said of a run."""
    add(
        "--recipe",
        choices=recipes.names(),
        help="options from a file, see python -m cs231n recipes; those given here take precedence",
    )
    add("--seed", type=int, default=231, help="seed of NumPy's global generator")
    add(
        "--draw-ahead",
        action="store_true",
        help="draw and augment minibatches in a thread, while the step before is made",
    )
    add("--print-every", type=int, default=20, help="iterations between printed losses")
    add(
        "--mirror",
        action="store_true",
        help="also test with the scores of mirror images added to those of the images",
    )
    add(
        "--test-shift",
        type=int,
        default=0,
        metavar="PIXELS",
        help="also test with the scores of mirror images and of copies shifted so far",
    )
    add("--checkpoint-every", type=int, help="iterations between checkpoints (default: an epoch's)")
    add(
        "--from",
        dest="start",
        type=existing_path,
        metavar="RUN",
        help="start from the network of this run, and standardize as it did; the last layer is new"
        " where the classes are others",
    )
    add(
        "--mpi",
        action="store_true",
        help="train on all ranks together: mpiexec -n 2 python -m cs231n train --mpi",
    )
    add(
        "--statistics-per-rank",
        action="store_true",
        help="with --mpi, batch normalisation by the samples of each rank instead of all",
    )


def adder(parser: argparse.ArgumentParser, title: str) -> Callable[..., None]:
    """Return a function that adds an option, its default to be shown, to a group of this title."""
    group = parser.add_argument_group(title)

    def add(flag: str, **settings: Any) -> None:
        if settings.get("default") is not None:
            settings["help"] += " (default: %(default)s)"
        if settings.get("action") == "store_true":
            settings["action"] = Flag
        group.add_argument(flag, **{"action": Remember, **settings})

    return add


def add_network_options(add: Callable[..., None]) -> None:
    """Declare the options that the network is built from."""
    add("--model", choices=_MODELS, default=_MODELS[0], help="form of the network")
    add(
        "--architecture",
        help=f"convnet: {_LANGUAGE} (default: {ARCHITECTURE}, with as many at the end as there are"
        f" classes)",
    )
    add(
        "--hidden-dims",
        type=int,
        nargs="+",
        metavar="UNITS",
        default=[500],
        help="all but convnet: units of each hidden affine layer",
    )
    add("--num-filters", type=int, default=32, help="three-layer-conv: filters")
    add("--filter-size", type=int, default=7, help="three-layer-conv: pixels along a filter's side")
    add(
        "--normalization",
        choices=("none", "batchnorm", "layernorm", "groupnorm"),
        default="none",
        help="fully-connected: none, batchnorm or layernorm; convnet: none, batchnorm or groupnorm",
    )
    add(
        "--dropout",
        type=float,
        default=1.0,
        help="fully-connected, convnet: share of hidden affine units that dropout keeps",
    )
    add(
        "--weight-scale",
        type=float,
        help="standard deviation of the initial weights (default: 0.01 for fully-connected, that"
        " of He for a convnet, 0.001 for the others)",
    )
    add("--reg", type=float, default=0.001, help="strength of L2 regularisation")
    _add_convnet_options(add)
    add("--dtype", choices=("float32", "float64"), default="float32", help="precision")


def _add_convnet_options(add: Callable[..., None]) -> None:
    """Declare what ConvNet alone knows."""
    add(
        "--label-smoothing",
        type=float,
        default=0.0,
        help="convnet: part of the target that all classes share",
    )
    add(
        "--activation",
        choices=tuple(ACTIVATIONS),
        default="relu",
        help="convnet: what units make of their input",
    )
    add(
        "--fixed-scale",
        action="store_true",
        help="convnet: normalisation learns its shift alone",
    )
    add(
        "--bn-momentum",
        type=float,
        default=0.9,
        help="convnet: share of the running statistics that batch normalisation keeps at a step",
    )
    add(
        "--init",
        choices=("he", "dirac"),
        default="he",
        help="convnet: initial filters; dirac lets channels pass",
    )


def add_data_options(add: Callable[..., None]) -> None:
    """Declare the options that say what to train and test on."""
    add(
        "--data",
        type=source,
        default="builtin",
        help=f"{', '.join(NAMES)}; or a folder with the files of one of these, a folder with a"
        " folder of pictures for each class, or an .npz file with x_train and y_train",
    )
    add(
        "--image-size",
        type=int,
        default=32,
        help="height and width of the images made of a folder of pictures",
    )
    add(
        "--data-dir",
        type=existing_path,
        help="folder of the CIFAR-10 batches (default: where the download puts them, or what the"
        " environment variable CS231N_DATA names)",
    )
    add("--num-training", type=int, help="training samples (default: all)")
    add(
        "--num-validation",
        type=int,
        help="validation samples, of a named set those that are not trained on (default: 1000), of"
        " pictures and arrays at most those held back anyway",
    )
    add(
        "--num-test",
        type=int,
        default=1000,
        help="test samples, at most, 0 for no test; CIFAR-10 has 10000",
    )
    add(
        "--standardize",
        action="store_true",
        help="divide each colour by its standard deviation in the training images",
    )
    _add_augmentation(add)


def _add_augmentation(add: Callable[..., None]) -> None:
    """Declare how training images are changed."""
    add(
        "--augment",
        action="store_true",
        help="flip and shift training images at random (glyphs do not look the same flipped)",
    )
    add("--shift", type=int, default=4, help="largest shift of --augment, in pixels")
    add(
        "--flip",
        choices=FLIPS,
        default="random",
        help="flips of --augment; alternating flips each image every other epoch",
    )
    add(
        "--cutout",
        type=int,
        default=0,
        metavar="PIXELS",
        help="side of the square that --augment blots out of each image",
    )


def add_training_options(add: Callable[..., None]) -> None:
    """Declare the options of the Solver."""
    add("--epochs", type=int, default=1, help="passes over the training samples")
    add(
        "--batch-size", type=int, default=50, help="samples in a minibatch, where there are as many"
    )
    add("--every-sample", action="store_true", help="epochs without replacement: each sample once")
    add("--update-rule", choices=sorted(optim.RULES), default="adam", help="how parameters step")
    add("--learning-rate", type=float, default=1e-3, help="step size")
    for name, text in (
        ("momentum", "share of the velocity that the rule keeps at each step"),
        ("dampening", "share of each gradient that the rule leaves out"),
    ):
        add(f"--{name}", type=float, help=text + _defaults(optim.DEFAULTS, name))
    add("--lr-decay", type=float, default=1.0, help="factor on the step size after each epoch")
    add(
        "--find-learning-rate",
        action="store_true",
        help="do not train, but try rising step sizes, draw the loss over them and suggest one",
    )
    add("--schedule", choices=SCHEDULES, default="constant", help="course of the step size")
    _add_numbers_of_schedules(add)
    add("--weight-decay", type=float, default=0.0, help="strength of decoupled weight decay")
    _add_averages(add)
    add(
        "--clip-norm", type=float, help="largest norm of all gradients together (default: no limit)"
    )
    _add_callbacks(add)


def _add_numbers_of_schedules(add: Callable[..., None]) -> None:
    """Declare what only some of the schedules take."""
    for name, metavar, text in (
        ("warmup", "PART", "cosine, one-cycle: part of the training in which the step size rises"),
        ("first_factor", "FACTOR", "one-cycle: factor on the step size at the start"),
        ("final_factor", "FACTOR", "cosine, one-cycle: factor on the step size at the end"),
    ):
        text += _defaults(_OF_SCHEDULE_BY_DEFAULT, name)
        add(flag(name), type=float, metavar=metavar, help=text)


def _defaults(table: Mapping[str, Mapping[str, float]], name: str) -> str:
    """Return the default of a number in each of the kinds that have it, for the help."""
    found = {kind: numbers[name] for kind, numbers in table.items() if name in numbers}
    if len(found) == 1:
        return f" (default: {next(iter(found.values())):g})"
    return f" (default: {', '.join(f'{number:g} for {kind}' for kind, number in found.items())})"


def _add_averages(add: Callable[..., None]) -> None:
    """Declare groups of parameters, and which parameters are kept."""
    add(
        "--groups",
        nargs="+",
        metavar="GROUP",
        help="what is different for some parameters: beta*:rate=64:weight_decay=1e-4 b1:until=0.3;"
        " none is nothing",
    )
    add(
        "--average",
        choices=[*sorted(averages.DEFAULTS), "none"],
        help="average of the parameters that is tested and kept in place of them",
    )
    for name, text, settings in (
        ("decay", "share of the average that is kept at each step", {"type": float}),
        ("every", "lookahead: steps between two looks", {"type": int, "metavar": "STEPS"}),
        ("power", "lookahead: how the share grows over the training", {"type": float}),
    ):
        add(f"--average-{name}", help=text + _defaults(averages.DEFAULTS, name), **settings)
    add(
        "--keep",
        choices=("best", "last"),
        default="best",
        help="which parameters are kept: of the best validation accuracy, or the last ones",
    )


def _add_callbacks(add: Callable[..., None]) -> None:
    """Declare what watches a run."""
    add(
        "--early-stopping",
        type=int,
        metavar="PATIENCE",
        help="stop after so many epochs without a better validation accuracy",
    )
    add(
        "--csv-log",
        action="store_true",
        help="write log.csv while training: a line for each iteration, with learning rate, norm of"
        " the gradient and seconds",
    )
    add(
        "--test-curve",
        action="store_true",
        help="write test_curve.csv: the accuracy of all test images after each epoch, which nothing"
        " depends on and whose time does not count as training",
    )
    add(
        "--tensorboard",
        action="store_true",
        help="write event files for TensorBoard into the run folder (takes the extra tensorboard)",
    )


@functools.cache
def actions() -> dict[str, argparse.Action]:
    """Return the options by name, as argparse describes them: type, choices, default."""
    parser = argparse.ArgumentParser(add_help=False)
    add_options(parser)
    return {action.dest: action for action in parser._actions}


def stored_value(where: str, action: argparse.Action, value: Any) -> Any:
    """Return the value of an option from a file, where nothing but the command line wrote it.

    Parameters
    ----------
    where : str
        File and name of the option, for messages.
    action : argparse.Action
        The option.
    value : object
        From the file.

    Returns
    -------
    value : object
        As the command line gives it.

    Raises
    ------
    ValueError
        If no command line gives such a value.
    """
    if value is None and action.default is None:
        return None
    if action.nargs == "+" and isinstance(value, list) and 0 < len(value) <= _MOST_WORDS:
        return [_stored_word(where, action, word) for word in value]
    if action.nargs is None or (action.nargs == 0 and isinstance(value, bool)):
        return _stored_word(where, action, value)
    raise _odd_value_error(where, action, value)


def _stored_word(where: str, action: argparse.Action, value: Any) -> Any:
    """Return a single value of an option from a file."""
    kind = _kind(action)
    stored_as: Any = {float: (int, float), Path: str}.get(kind, kind)
    right = isinstance(value, stored_as) and (kind is bool or not isinstance(value, bool))
    if right and isinstance(value, str):
        right = len(value) <= _MOST_CHARACTERS and "\0" not in value
    if not right or (action.choices is not None and value not in action.choices):
        raise _odd_value_error(where, action, value)
    try:
        return action.type(value) if callable(action.type) else value
    except OverflowError:
        raise _odd_value_error(where, action, value) from None


def _kind(action: argparse.Action) -> Any:
    """Return the type of an option; one with a function of its own is a text."""
    if action.nargs == 0:
        return bool
    return action.type if action.type in _KINDS else str


def _odd_value_error(where: str, action: argparse.Action, value: Any) -> ValueError:
    """Return the error for a value that an option cannot have."""
    kind = _kind(action)
    expected = f"a {_KINDS[kind]}" if action.choices is None else ", ".join(action.choices)
    if action.nargs == "+":
        expected = f"a list of {_KINDS[kind]}s"
    return ValueError(f"{where} is {reprlib.repr(value)}; expected {expected}")


def refuse_unsuited(options: argparse.Namespace) -> None:
    """Raise a ValueError for an option that would do nothing, or a number out of its range."""
    known = actions()
    changed = {name for name in known if getattr(options, name) != known[name].default}
    _refuse_unsuited_to_model(options, changed)
    if "data_dir" in changed and options.data != "cifar10":
        raise ValueError("--data-dir is the folder of CIFAR-10; expected --data cifar10 with it")
    if "image_size" in changed and (options.data in NAMES or not Path(options.data).is_dir()):
        raise ValueError("--image-size is for a folder of pictures; expected --data FOLDER with it")
    if options.find_learning_rate and options.resume is not None:
        raise ValueError("--find-learning-rate is for a new network; expected no --resume with it")
    for *_, message in unsuited(options, changed):
        raise ValueError(message)
    for name in changed & _RANGES.keys():
        checks.number("train", flag(name), getattr(options, name), *_RANGES[name])
    if "average_every" in changed:
        checks.integer("train", flag("average_every"), options.average_every, least=1)


def refuse_unsuited_to_ranks(options: argparse.Namespace) -> None:
    """Raise a ValueError for an option of a new run that does not go with --mpi, or without."""
    if options.statistics_per_rank and not options.mpi:
        raise ValueError("--statistics-per-rank is for --mpi; expected --mpi with it")
    if options.find_learning_rate and options.mpi:
        raise ValueError("--find-learning-rate is for one process; expected no --mpi with it")


def drop_unsuited(options: argparse.Namespace, names: Collection[str]) -> None:
    """Take back those of the named options that would do nothing: they were not typed just now."""
    for name, *_ in list(unsuited(options, names)):
        setattr(options, name, actions()[name].default)


def drop_unowned(options: argparse.Namespace, owners: Collection[str]) -> None:
    """Take back options that do nothing with the values that these owners of theirs have by now."""
    known = actions()
    for found in (_unsuited_to_model, unsuited):  # in turn: what the first drops may be owners
        for name, owner, _ in list(found(options, known)):
            if owner in owners:
                setattr(options, name, known[name].default)


def unsuited(
    options: argparse.Namespace, changed: Collection[str]
) -> Iterator[tuple[str, str, str]]:
    """Yield the changed options that lack the one that they belong to.

    Parameters
    ----------
    options : argparse.Namespace
    changed : collection of str
        Names of the options that are not what they are by default.

    Yields
    ------
    name, owner, message : str
        The option that it belongs to, and what to say where it stood on the command line.
    """
    for name in _OF_TRAINING if options.find_learning_rate else ():
        if name in changed:
            message = f"--find-learning-rate has no use for {flag(name)}; expected it without"
            yield name, "find_learning_rate", message
    for name in ("shift", "flip", "cutout"):
        if name in changed and not options.augment:
            yield name, "augment", f"{flag(name)} is for --augment; expected --augment with it"
    for name in ("warmup", "first_factor", "final_factor"):
        fitting = [one for one, names in OF_SCHEDULE.items() if name in names]
        if name in changed and options.schedule not in fitting:
            yield _lack(options, "schedule", name, fitting)
    for name, key in OF_AVERAGE.items():
        if name in changed and key not in averages.DEFAULTS.get(options.average, ()):
            fitting = [one for one, names in averages.DEFAULTS.items() if key in names]
            yield name, "average", f"{flag(name)} is for --average {' or '.join(fitting)}"
    for name, kinds in OF_NORMALIZATION.items():
        if name in changed and options.normalization not in kinds:
            yield _lack(options, "normalization", name, kinds)
    if "test_shift" in changed and not options.num_test:
        message = "--test-shift is of test images; expected --num-test above 0 with it"
        yield "test_shift", "num_test", message
    for name in ("momentum", "dampening"):
        rules = [rule for rule, names in optim.DEFAULTS.items() if name in names]
        if name in changed and options.update_rule not in rules:
            yield _lack(options, "update_rule", name, rules)


def _lack(
    options: argparse.Namespace, owner: str, name: str, having: Iterable[str]
) -> tuple[str, str, str]:
    """Say that an option is none of what its owner names, and what has it."""
    message = (
        f"{flag(owner)} {getattr(options, owner)} has no {flag(name)};"
        f" expected {flag(owner)} {' or '.join(having)} with it"
    )
    return name, owner, message


def _refuse_unsuited_to_model(options: argparse.Namespace, changed: Collection[str]) -> None:
    """Raise a ValueError for an option that this form of network does not have."""
    for *_, message in _unsuited_to_model(options, changed):
        raise ValueError(message)
    if options.model != "fully-connected" and len(options.hidden_dims) != 1:
        raise ValueError(
            f"--model {options.model} has one hidden layer; found --hidden-dims"
            f" {' '.join(map(str, options.hidden_dims))}"
        )


def _unsuited_to_model(
    options: argparse.Namespace, changed: Collection[str]
) -> Iterator[tuple[str, str, str]]:
    """Yield the changed options that this form of network does not have, as `unsuited` does."""
    for name, models in _OPTIONS_OF.items():
        if name in changed and options.model not in models:
            yield _lack(options, "model", name, models)


def existing_path(text: str) -> str:
    """Return a path that still leads there from another folder."""
    return os.path.abspath(os.path.expanduser(text))


def source(text: str) -> str:
    """Return the name of a data set, or a path that still leads there from another folder."""
    name = text.lower().replace("_", "-")
    if name in NAMES:
        return name
    return os.path.abspath(os.path.expanduser(text)) if os.path.exists(text) else text


class Remember(argparse.Action):
    """Stores the value of an option, and in `given` that there was one, if only the default."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        """Store the value."""
        setattr(namespace, self.dest, values)
        namespace.given = {*getattr(namespace, "given", ()), self.dest}


class Flag(Remember):
    """An option without a value, which ``--no-`` before its name takes back from a recipe."""

    def __init__(self, option_strings: list[str], dest: str, help: str | None = None) -> None:
        names = [*option_strings, *(f"--no-{name[2:]}" for name in option_strings)]
        super().__init__(names, dest, nargs=0, default=False, help=help)

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        """Store whether it is on."""
        super().__call__(parser, namespace, not str(option_string).startswith("--no-"))


def flag(name: str) -> str:
    """Return how an option is written on the command line."""
    return "--from" if name == "start" else f"--{name.replace('_', '-')}"
