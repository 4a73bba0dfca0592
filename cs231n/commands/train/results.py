"""What a run writes at its end: history, parameters, pictures and accuracies."""

from __future__ import annotations

import argparse
import functools
import itertools
import math
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cs231n import vis_utils
from cs231n.augment import augmented_scores, mirrored_scores
from cs231n.commands import evaluation, report
from cs231n.commands.first_layer import first_filters
from cs231n.commands.surroundings import tell
from cs231n.commands.train.build import data_name
from cs231n.commands.train.run_folder import CHECKPOINT, CONFIGURATION, write_json
from cs231n.data.load import holds_cifar
from cs231n.files import storage
from cs231n.solver import Solver
from cs231n.training import checkpoint

__all__ = ["write"]


def write(
    folder: Path, options: argparse.Namespace, solver: Solver, data: dict[str, np.ndarray]
) -> None:
    """Write parameters, history, results and pictures, and print accuracies and places.

    Parameters
    ----------
    folder : Path
        Run folder.
    options : argparse.Namespace
    solver : Solver
        After training, with the best parameters in its model.
    data : dict of str to ndarray

    Raises
    ------
    OSError
        If something cannot be written; what comes after it is, where that is possible.

    Notes
    -----
    What training has made is written first, for what comes after it may fail or be interrupted.
    """
    files = _Files(folder)
    results = _results_of_training(solver)
    files.write("parameters", "best_model.npz", solver.model.save)
    files.write("history", "history.csv", _write_history, solver)
    files.write("results", "results.json", write_json, results)
    found = _evaluated(options, solver, data)
    results["test_acc"] = found.accuracy if len(data["X_test"]) else None
    results.update(_with_copies(options, solver, data))
    files.write("results", "results.json", write_json, results)
    files.write("evaluation", evaluation.FILE, evaluation.write, found)
    _draw(files, f"{options.model} on {data_name(options)}", solver)
    files.try_to("report", report.FILE, lambda path: report.write(folder))
    files.places["configuration"] = folder / CONFIGURATION
    print("\n".join(_summary(solver, results)))
    for what, path in files.places.items():
        print(f"{what:<16} {path}")
    files.raise_first_error()
    if results["iterations"] >= solver.num_epochs * solver.iterations_per_epoch:
        _keep_what_is_needed(folder, solver.num_epochs)


class _Files:
    """Writes the files of a run; what cannot be written is no obstacle for those after it.

    Parameters
    ----------
    folder : Path
        Run folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._errors: list[Exception] = []
        self.places: dict[str, Path] = {}

    def write(self, what: str, name: str, writer: Callable[..., object], *arguments: Any) -> None:
        """Call a function that writes a file, with its path and arguments."""
        try:
            writer(self._folder / name, *arguments)
            self.places[what] = self._folder / name
        except (OSError, MemoryError) as error:
            self._errors.append(error)

    def draw(self, what: str, name: str, draw: Callable[..., Any], *arguments: Any) -> None:
        """Call a function that draws a figure, and write it; say so where that cannot be done."""
        self.try_to(
            f"picture of the {what}",
            name,
            lambda path: storage.write_figure(path, draw(*arguments)),
        )

    def try_to(self, what: str, name: str, make: Callable[[Path], object]) -> None:
        """Call a function that makes something to look at; say so where that cannot be done."""
        try:
            make(self._folder / name)
            self.places[what.removeprefix("picture of the ")] = self._folder / name
        except Exception as error:  # of any kind: no picture is worth a run
            tell(f"cs231n train: there is no {what} ({error!r})")

    def raise_first_error(self) -> None:
        """Raise the first error of writing, if there was one."""
        for error in self._errors:
            raise error


def _results_of_training(solver: Solver) -> dict[str, Any]:
    """Return what is known at the end of training."""
    return {
        "best_val_acc": solver.best_val_acc,
        "test_acc": None,
        "iterations": len(solver.loss_history),
        "train_seconds": round(solver.train_seconds, 2),
    }


def _evaluated(
    options: argparse.Namespace, solver: Solver, data: dict[str, np.ndarray]
) -> evaluation.Evaluation:
    """Return what the network makes of the test or, without any, of the validation images.

    No pictures of CIFAR are kept, for their owners are unknown.
    """
    part, word = ("test", "test") if len(data["X_test"]) else ("val", "validation")
    return evaluation.evaluated(
        solver.model,
        data[f"X_{part}"],
        data[f"y_{part}"],
        f"{word} images of {data_name(options)}",
        normalized=True,
        with_pictures=not holds_cifar(options.data),
    )


def _with_copies(
    options: argparse.Namespace, solver: Solver, data: dict[str, np.ndarray]
) -> dict[str, float]:
    """Return the accuracies by the scores of changed copies, too, if they are asked for."""
    scorers: dict[str, Callable[[Any, np.ndarray], np.ndarray]] = {}
    if options.mirror:
        scorers["mirror"] = mirrored_scores
    if options.test_shift:
        scorers["augmented"] = functools.partial(augmented_scores, shift=options.test_shift)
    splits = [split for split in ("val", "test") if len(data[f"X_{split}"])]
    found = {}
    for (name, scores), split in itertools.product(scorers.items(), splits):
        predicted = np.argmax(scores(solver.model, data[f"X_{split}"]), axis=1)
        found[f"{split}_acc_{name}"] = float(np.mean(predicted == data[f"y_{split}"]))
    return found


def _keep_what_is_needed(folder: Path, epochs: int) -> None:
    """Remove what a run that is at its end needs no more, and say what is left and what for."""
    left = checkpoint.tidy(folder / CHECKPOINT)
    if left:
        size = left + sum(path.stat().st_size for path in folder.glob("best_model.npz"))
        longer = shlex.join(["train", "--resume", str(folder), "--epochs", str(2 * epochs)])
        print(
            f"kept {size / 1e6:.1f} MB: best_model.npz to predict with, checkpoint.npz to go on"
            f" from (python -m cs231n {longer})"
        )


def _summary(solver: Solver, results: dict[str, Any]) -> Iterator[str]:
    """Yield the lines that tell how the run ended."""
    done = results["iterations"]
    last = solver.num_epochs * solver.iterations_per_epoch
    if done < last:
        why = f": {solver.stopped}" if solver.stopped else ""
        yield f"stopped after iteration {done} of {last}{_accuracy_at_the_end(solver)}{why}"
    yield (
        f"best validation accuracy {solver.best_val_acc:.4f}, {_test_text(results, 'test_acc')},"
        f" {done} iterations in {results['train_seconds']:.1f} s"
    )
    if "test_acc_mirror" in results:
        yield f"with mirror images: {_test_text(results, 'test_acc_mirror')}"
    if "test_acc_augmented" in results:
        text = _test_text(results, "test_acc_augmented")
        yield f"with mirror images and shifted copies: {text}"


def _accuracy_at_the_end(solver: Solver) -> str:
    """Return the accuracy of the parameters as they were in the end, if it was measured."""
    accuracy = solver.last_val_acc
    return "" if math.isnan(accuracy) else f" with validation accuracy {accuracy:.4f}"


def _test_text(results: dict[str, Any], name: str) -> str:
    """Return an accuracy on the test images as a text."""
    accuracy = results[name]
    return "no test images" if accuracy is None else f"test accuracy {accuracy:.4f}"


def _draw(files: _Files, title: str, solver: Solver) -> None:
    """Draw the training curves and, where they can be seen, the filters."""
    files.draw("training curves", "training_curves.png", vis_utils.plot_history, solver, title)
    filters = first_filters(solver.model)
    if filters is not None:
        files.draw("filters", "filters.png", vis_utils.plot_filters, filters)


def _write_history(path: Path, solver: Solver) -> None:
    """Write a row for each iteration; accuracies stand in the rows at which they were measured."""
    measured = zip(solver.train_acc_history, solver.val_acc_history, solver.val_loss_history)
    accuracies = dict(zip(solver.accuracy_iterations, measured))
    rows: list[list[Any]] = [["iteration", "epoch", "loss", "train_acc", "val_acc", "val_loss"]]
    for iteration, loss in enumerate(solver.loss_history, start=1):
        accuracy = accuracies.get(iteration, ("", "", ""))
        rows.append([iteration, iteration / solver.iterations_per_epoch, loss, *accuracy])
    storage.write_text(path, "".join(f"{','.join(map(str, row))}\n" for row in rows))
