"""What a run writes at its end: history, parameters, pictures and accuracies."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from cs231n import vis_utils
from cs231n.augment import mirrored_scores
from cs231n.classifiers import Network
from cs231n.commands.train.build import data_name
from cs231n.commands.train.run_folder import write_json
from cs231n.files import storage
from cs231n.solver import Solver

__all__ = ["write"]


def write(
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
        **_draw(folder, f"{options.model} on {data_name(options)}", solver),
        "configuration": folder / "config.json",
    }
    results = {
        "best_val_acc": solver.best_val_acc,
        "test_acc": test_acc,
        "iterations": len(solver.loss_history),
        "train_seconds": round(seconds, 2),
        **_mirror_results(options, solver, data),
    }
    write_json(folder / "results.json", results)
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
    curves = vis_utils.plot_history(solver, title=title)
    storage.write_figure(places["training curves"], curves)
    filters = _first_filters(solver.model)
    if filters is not None:
        places["filters"] = folder / "filters.png"
        storage.write_figure(places["filters"], vis_utils.plot_filters(filters))
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
    rows: list[list[Any]] = [["iteration", "epoch", "loss", "train_acc", "val_acc"]]
    for iteration, loss in enumerate(solver.loss_history, start=1):
        accuracy = accuracies.get(iteration, ("", ""))
        rows.append([iteration, iteration / per_epoch, loss, *accuracy])
    with storage.replacing(path) as file:
        file.write("".join(f"{','.join(map(str, row))}\n" for row in rows).encode())
    return path
