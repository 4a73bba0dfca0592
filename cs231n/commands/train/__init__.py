"""Train a network and write a run folder with parameters, history and pictures."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

import numpy as np

from cs231n.commands.train import build, results, run_folder
from cs231n.commands.train.options import add_options
from cs231n.solver import Solver

__all__ = ["add_options", "run", "train"]


def run(options: argparse.Namespace) -> int:
    """Train the network and write the run folder, also after an interruption."""
    train(options)
    return 0


def train(options: argparse.Namespace) -> Path:
    """Train the network that the options describe, and return its run folder."""
    if options.resume is not None:
        options = run_folder.read_options(options.resume, options)
    np.random.seed(options.seed)
    folder = options.resume or run_folder.new_folder(options)
    data = build.load_data(options)
    model = build.network(options, data)
    solver = build.solver(options, model, data, folder / "checkpoint.npz")
    # Made only now, so that a wrong option or missing data leave no folder in the next run's way.
    with run_folder.locked(folder, new=options.resume is None):
        run_folder.write_configuration(folder, options)
        _train(folder, options, solver, data)
    return folder


def _train(
    folder: Path, options: argparse.Namespace, solver: Solver, data: dict[str, np.ndarray]
) -> None:
    """Train, and write the results after it, whatever happens."""
    _announce(options, solver, data)
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
            results.write(folder, options, solver, data, seconds)
    if not solver.loss_history:
        print("no iteration was made: there are no results")


def _announce(options: argparse.Namespace, solver: Solver, data: dict[str, np.ndarray]) -> None:
    """Print what is trained on what."""
    print(
        f"{options.model} on {build.data_name(options)}: {len(data['X_train'])} training,"
        f" {len(data['X_val'])} validation and {len(data['X_test'])} test images",
        flush=True,
    )
    if solver.loss_history:
        print(f"going on after iteration {len(solver.loss_history)}", flush=True)
