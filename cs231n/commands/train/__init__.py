"""Train a network and write a run folder with parameters, history and pictures."""

from __future__ import annotations

import argparse
import inspect
import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cs231n import data_utils, optim, schedules, vis_utils
from cs231n.augment import FlipAndShift, mirrored_scores
from cs231n.classifiers import ConvNet, FullyConnectedNet, Network, ThreeLayerConvNet, TwoLayerNet
from cs231n.commands.train import run_folder
from cs231n.files import lock, storage
from cs231n.measuring.machine import describe
from cs231n.solver import Solver
from cs231n.training import checkpoint

__all__ = ["add_options", "run"]

_LOCK = "run.lock"
_MODELS = ("three-layer-conv", "fully-connected", "two-layer", "convnet")
_DEEP = ("fully-connected", "convnet")
_ARCHITECTURE = inspect.signature(ConvNet).parameters["architecture"].default
# Options that only some of the models have.
_OPTIONS_OF = {
    "architecture": ("convnet",),
    "label_smoothing": ("convnet",),
    "normalization": _DEEP,
    "dropout": _DEEP,
    "hidden_dims": _MODELS[:3],
    "num_filters": _MODELS[:1],
    "filter_size": _MODELS[:1],
}
_SCHEDULES = {
    "constant": None,
    "step": schedules.step,
    "cosine": schedules.cosine,
    "one-cycle": schedules.one_cycle,
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    _add_network_options(_adder(parser, "network"))
    _add_data_options(_adder(parser, "data"))
    _add_training_options(_adder(parser, "training"))
    add = _adder(parser, "run")
    add("--seed", type=int, default=231, help="seed of NumPy's global generator")
    add("--print-every", type=int, default=20, help="iterations between printed losses")
    add(
        "--mirror",
        action="store_true",
        help="also test with the scores of mirror images added to those of the images",
    )
    add("--checkpoint-every", type=int, help="iterations between checkpoints (default: an epoch's)")
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--output", type=Path, help="run folder (default: a new one in runs)")
    place.add_argument(
        "--resume",
        type=Path,
        metavar="RUN",
        help="go on with the run in this folder, with its options, from its last checkpoint",
    )


def _adder(parser: argparse.ArgumentParser, title: str) -> Callable[..., None]:
    """Return a function that adds an option, its default to be shown, to a group of this title."""
    group = parser.add_argument_group(title)

    def add(flag: str, **settings: Any) -> None:
        if settings.get("default") is not None:
            settings["help"] += " (default: %(default)s)"
        group.add_argument(flag, **{"action": run_folder.Remember, **settings})

    return add


def _add_network_options(add: Callable[..., None]) -> None:
    """Declare the options that the network is built from."""
    add("--model", choices=_MODELS, default=_MODELS[0], help="form of the network")
    add(
        "--architecture",
        help=f"convnet: its layers, fc10 at the end for ten classes (default: {_ARCHITECTURE})",
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
    add(
        "--label-smoothing",
        type=float,
        default=0.0,
        help="convnet: part of the target that all classes share",
    )
    add("--dtype", choices=("float32", "float64"), default="float32", help="precision")


def _add_data_options(add: Callable[..., None]) -> None:
    """Declare the options that say what to train and test on."""
    add(
        "--data",
        choices=("builtin", "cifar10"),
        default="builtin",
        help="the built-in glyphs, made on the fly, or the real CIFAR-10",
    )
    add(
        "--data-dir",
        type=Path,
        help="folder of the CIFAR-10 batches (default: where the download puts them, or what the"
        " environment variable CS231N_DATA names)",
    )
    add("--num-training", type=int, help="training samples (default: all)")
    add("--num-test", type=int, default=1000, help="test samples; CIFAR-10 has 10000")
    add(
        "--standardize",
        action="store_true",
        help="divide each colour by its standard deviation in the training images",
    )
    add(
        "--augment",
        action="store_true",
        help="flip and shift training images at random (glyphs do not look the same flipped)",
    )
    add("--shift", type=int, default=4, help="largest shift of --augment, in pixels")


def _add_training_options(add: Callable[..., None]) -> None:
    """Declare the options of the Solver."""
    add("--epochs", type=int, default=1, help="passes over the training samples")
    add("--batch-size", type=int, default=50, help="samples in a minibatch")
    add("--every-sample", action="store_true", help="epochs without replacement: each sample once")
    add("--update-rule", choices=sorted(optim.RULES), default="adam", help="how parameters step")
    add("--learning-rate", type=float, default=1e-3, help="step size")
    add("--lr-decay", type=float, default=1.0, help="factor on the step size after each epoch")
    add("--schedule", choices=_SCHEDULES, default="constant", help="course of the step size")
    add("--weight-decay", type=float, default=0.0, help="strength of decoupled weight decay")
    add(
        "--clip-norm", type=float, help="largest norm of all gradients together (default: no limit)"
    )


def run(options: argparse.Namespace) -> int:
    """Train the network and write the run folder, also after an interruption."""
    if options.resume is not None:
        options = run_folder.read_options(options.resume, options, add_options)
    np.random.seed(options.seed)
    model = build_model(options)
    folder = options.resume or new_folder(options)
    data = load_data(options)
    _require_classes(model, data["y_train"])
    solver = build_solver(options, model, data, folder / "checkpoint.npz")
    # Made only now, so that a wrong option or missing data leave no folder in the next run's way.
    folder.mkdir(parents=True, exist_ok=True)
    with lock.hold(folder / _LOCK, f"the run folder {folder}"):
        if options.resume is None:
            refuse_used(folder)  # another run may have been faster
        _train(folder, options, solver, data)
    return 0


def _train(
    folder: Path, options: argparse.Namespace, solver: Solver, data: dict[str, np.ndarray]
) -> None:
    """Train, and write the configuration before and the results after it."""
    write_configuration(folder, options)
    print(
        f"{options.model} on {_data_name(options)}: {len(data['X_train'])} training,"
        f" {len(data['X_val'])} validation and {len(data['X_test'])} test images",
        flush=True,
    )
    if solver.loss_history:
        print(f"going on after iteration {len(solver.loss_history)}", flush=True)
    start = time.perf_counter()
    try:
        solver.train()
    except KeyboardInterrupt:
        again = shlex.join(["python", "-m", "cs231n", "train", "--resume", str(folder)])
        print(f"To go on from the last checkpoint: {again}", file=sys.stderr)
        raise
    finally:
        seconds = time.perf_counter() - start
        if solver.loss_history:
            folder.mkdir(parents=True, exist_ok=True)  # it may have vanished meanwhile
            write_results(folder, options, solver, data, seconds)
    if not solver.loss_history:
        print("no iteration was made: there are no results")


def build_model(options: argparse.Namespace) -> Network:
    """Return the network that the options describe."""
    _refuse_unsuited(options)
    common: dict[str, Any] = {"reg": options.reg, "dtype": np.dtype(options.dtype)}
    scale = options.weight_scale
    if options.model in _DEEP:
        common["normalization"] = None if options.normalization == "none" else options.normalization
        common["dropout_keep_ratio"] = options.dropout
    if options.model == "convnet":
        if options.architecture is not None:
            common["architecture"] = options.architecture
        return ConvNet(weight_scale=scale, label_smoothing=options.label_smoothing, **common)
    if options.model == "fully-connected":
        return FullyConnectedNet(
            options.hidden_dims, weight_scale=0.01 if scale is None else scale, **common
        )
    common["weight_scale"] = 0.001 if scale is None else scale
    common["hidden_dim"] = options.hidden_dims[0]
    if options.model == "two-layer":
        return TwoLayerNet(**common)
    return ThreeLayerConvNet(
        num_filters=options.num_filters, filter_size=options.filter_size, **common
    )


def _refuse_unsuited(options: argparse.Namespace) -> None:
    """Raise a ValueError for an option that would do nothing."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    changed = [name for name, value in vars(options).items() if value != parser.get_default(name)]
    for name in changed:
        models = _OPTIONS_OF.get(name, _MODELS)
        if options.model not in models:
            raise ValueError(
                f"--model {options.model} has no {run_folder.flag(name)};"
                f" expected --model {' or '.join(models)} with it"
            )
    if options.model != "fully-connected" and len(options.hidden_dims) != 1:
        raise ValueError(
            f"--model {options.model} has one hidden layer; found --hidden-dims"
            f" {' '.join(map(str, options.hidden_dims))}"
        )
    if "data_dir" in changed and options.data != "cifar10":
        raise ValueError("--data-dir is the folder of CIFAR-10; expected --data cifar10 with it")
    if "shift" in changed and not options.augment:
        raise ValueError("--shift says how far --augment shifts; expected --augment with it")


def _require_classes(model: Network, y: np.ndarray) -> None:
    """Raise a ValueError for labels beyond the network's scores."""
    scores = len(list(model.params.values())[-1])  # the biases of the last layer
    if y.max() >= scores:
        raise ValueError(
            f"the network ends in {scores} scores, but there are {y.max() + 1} classes;"
            f" expected an architecture that ends in fc{y.max() + 1}"
        )


def build_solver(
    options: argparse.Namespace, model: Network, data: dict[str, np.ndarray], path: Path
) -> Solver:
    """Return the Solver that the options describe, or the one that goes on from a checkpoint."""
    fixed, changeable = _fixed_settings(options), _changeable_settings(options)
    # A run that was stopped before its first checkpoint starts anew, and comes to the same.
    if options.resume is None or not checkpoint.exists(path):
        return Solver(model, data, checkpoint_name=str(path), **fixed, **changeable)
    solver = Solver.resume(path, model, data, **changeable)
    for name, value in fixed.items():
        if getattr(solver, name) != value:
            raise ValueError(
                f"{path} is that of a run with {name} {getattr(solver, name)}; its configuration"
                f" says {value}"
            )
    return solver


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
        "schedule": _SCHEDULES[options.schedule],
    }
    return {
        "num_epochs": options.epochs,
        "print_every": options.print_every,
        "checkpoint_every": options.checkpoint_every,
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


def _data_name(options: argparse.Namespace) -> str:
    """Return the name of the data set for the reader."""
    return "CIFAR-10" if options.data == "cifar10" else "the built-in glyphs (not CIFAR-10)"


def new_folder(options: argparse.Namespace) -> Path:
    """Return the folder of a new run, which must not hold anything yet."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    folder = options.output or Path("runs", f"{stamp}-{options.model}-{options.data}")
    refuse_used(folder)
    return folder


def refuse_used(folder: Path) -> None:
    """Raise a FileExistsError for a folder that holds something, except for a lock."""
    if folder.exists() and any(path.name != _LOCK for path in folder.iterdir()):
        raise FileExistsError(
            f"{folder} is not empty; expected a new folder for --output,"
            f" or --resume {folder} to go on with the run in it"
        )


def write_configuration(folder: Path, options: argparse.Namespace) -> None:
    """Write the options, and what the run is made on."""
    chosen = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in vars(options).items()
        if name not in ("resume", "given")
    }
    _write_json(folder / "config.json", {"options": chosen, **describe()})


def write_results(
    folder: Path,
    options: argparse.Namespace,
    solver: Solver,
    data: dict[str, np.ndarray],
    seconds: float,
) -> None:
    """Write history, best parameters and pictures, and print the accuracies and the places."""
    test_acc = solver.check_accuracy(data["X_test"], data["y_test"])
    places = {
        "parameters": solver.model.save(folder / "best_model.npz"),
        "history": _write_history(folder / "history.csv", solver),
        **_draw(folder, f"{options.model} on {_data_name(options)}", solver),
        "configuration": folder / "config.json",
    }
    results = {
        "best_val_acc": solver.best_val_acc,
        "test_acc": test_acc,
        "iterations": len(solver.loss_history),
        "train_seconds": round(seconds, 2),
        **_mirror_results(options, solver, data),
    }
    _write_json(folder / "results.json", results)
    print(
        f"best validation accuracy {solver.best_val_acc:.4f}, test accuracy {test_acc:.4f},"
        f" {results['iterations']} iterations in {seconds:.1f} s"
    )
    if options.mirror:
        print(f"with mirror images: test accuracy {results['test_acc_mirror']:.4f}")
    for what, path in places.items():
        print(f"{what:<16} {path}")


def _draw(folder: Path, title: str, solver: Solver) -> dict[str, Path]:
    """Draw the training curves and, where they can be seen, the filters; return the places."""
    places = {"training curves": folder / "training_curves.png"}
    vis_utils.plot_history(solver, title=title).savefig(places["training curves"])
    filters = _first_filters(solver.model)
    if filters is not None:
        places["filters"] = folder / "filters.png"
        vis_utils.plot_filters(filters).savefig(places["filters"])
    return places


def _first_filters(model: Network) -> np.ndarray | None:
    """Return the first layer's weights as images, or None where it sees no image but a vector."""
    w = model.params["W1"]
    if w.ndim == 2 and len(w) == 3 * 32 * 32:
        w = w.T.reshape(-1, 3, 32, 32)
    return w if w.ndim == 4 else None


def _mirror_results(
    options: argparse.Namespace, solver: Solver, data: dict[str, np.ndarray]
) -> dict[str, Any]:
    """Return the accuracies with the scores of the mirror images added, if asked for."""
    if not options.mirror:
        return {}
    return {
        f"{split}_acc_mirror": float(np.mean(predicted == data[f"y_{split}"]))
        for split in ("val", "test")
        for predicted in [np.argmax(mirrored_scores(solver.model, data[f"X_{split}"]), axis=1)]
    }


def _write_history(path: Path, solver: Solver) -> Path:
    """Write a row for each iteration; accuracies stand in the rows at which they were measured."""
    per_epoch = solver.iterations_per_epoch
    measured = [1, *range(per_epoch, len(solver.loss_history) + 1, per_epoch)]
    if per_epoch == 1:
        measured = measured[1:]
    accuracies = dict(zip(measured, zip(solver.train_acc_history, solver.val_acc_history)))
    with storage.replacing(path) as file:
        rows: list[list[Any]] = [["iteration", "epoch", "loss", "train_acc", "val_acc"]]
        for iteration, loss in enumerate(solver.loss_history, start=1):
            accuracy = accuracies.get(iteration, ("", ""))
            rows.append([iteration, iteration / per_epoch, loss, *accuracy])
        lines = (",".join(map(str, row)) for row in rows)
        file.write("".join(f"{line}\n" for line in lines).encode())
    return path


def _write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a dict as readable JSON."""
    with storage.replacing(path) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())
