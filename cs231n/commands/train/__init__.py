"""Train a network and write a run folder with parameters, history and pictures."""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np

from cs231n.classifiers import Network
from cs231n.commands.surroundings import tell
from cs231n.commands.train import build, recipe, results, run_folder, start
from cs231n.commands.train.options import add_options, refuse_unsuited_to_ranks
from cs231n.core import checks
from cs231n.data.dataset import Dataset
from cs231n.files import storage
from cs231n.files.lock import Lock
from cs231n.learning_rate import find_learning_rate
from cs231n.parallel import mpi
from cs231n.parallel.ranks import Ranks
from cs231n.solver import Solver
from cs231n.training import checkpoint

__all__ = ["add_options", "run", "train"]


def run(options: argparse.Namespace) -> int:
    """Train the network and write the run folder, also after an interruption."""
    train(options)
    return 0


def train(
    options: argparse.Namespace,
    load: Callable[[argparse.Namespace], Dataset] = build.load_data,
    watch: Callable[[Solver], object] = lambda solver: None,
) -> Path:
    """Train the network that the options describe, and return the folder of its results.

    A search has its own way to load the data, once for many runs, and watches the Solver.
    """
    if options.resume is None:
        options = recipe.followed(options)
    if options.mpi:
        return _train_on_ranks(options)
    if options.resume is not None:
        options = run_folder.read_options(options.resume, options)
    return _train_in_folder(options, load, watch, None)


def _train_on_ranks(options: argparse.Namespace) -> Path:
    """Train on all ranks of MPI: the first one prints and writes, an error of one ends all."""
    ranks = Ranks(mpi.world())
    with _quiet(not ranks.is_first), ranks.failing_together():
        if options.resume is not None:
            given = options
            options = ranks.from_first(lambda: run_folder.read_options(given.resume, given))
        if ranks.is_first:
            return _train_in_folder(options, build.load_data, lambda solver: None, ranks)
        nowhere = Path(run_folder.CHECKPOINT)
        data, model = _begun(options, nowhere.parent, build.load_data, ranks)
        build.solver(options, model, data, nowhere, ranks).train()
        return nowhere


@contextmanager
def _quiet(wanted: bool) -> Iterator[None]:
    """Let the body print nothing, if that is wanted: one rank of many speaks for all."""
    if not wanted:
        yield
        return
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        try:
            yield
        except Exception as error:
            raise SystemExit(1) from error


def _train_in_folder(
    options: argparse.Namespace,
    load: Callable[[argparse.Namespace], Dataset],
    watch: Callable[[Solver], object],
    ranks: Ranks | None,
) -> Path:
    """Train in a folder that is claimed, and return it."""
    with run_folder.claimed(options) as (folder, held):
        data, model = _begun(options, folder, load, ranks)
        if options.find_learning_rate:
            return _find_rate(folder, options, model, data)
        solver = build.solver(options, model, data, folder / run_folder.CHECKPOINT, ranks)
        watch(solver)
        run_folder.write_configuration(folder, options)
        _announce(options, solver, data)
        return _train(folder, held, options, solver, data)


def _find_rate(
    folder: Path, options: argparse.Namespace, model: Network, data: dict[str, np.ndarray]
) -> Path:
    """Search for a learning rate, draw the search into the folder, and print the suggestion."""
    search = find_learning_rate(
        model, data, **build.settings_of_search(options, len(data["X_train"]))
    )
    path = folder / "learning_rates.png"
    storage.write_figure(path, search.plot(f"{options.model} on {build.data_name(options)}"))
    for rate, loss in zip(search.rates[::10], search.smoothed[::10]):
        print(f"learning rate {rate:.1e}: loss {loss:.4f}")
    if np.isfinite(search.suggestion):
        print(f"suggestion: --learning-rate {search.suggestion:.2g}")
    else:
        print("the loss does not fall at any of these rates: there is no suggestion")
    print(f"{'picture':<16} {path}")
    return path


def _begun(
    options: argparse.Namespace,
    folder: Path,
    load: Callable[[argparse.Namespace], Dataset],
    ranks: Ranks | None,
) -> tuple[Dataset, Network]:
    """Return the data and the network of a run, with the weights of another if it starts there."""
    if options.resume is None:  # --mpi may change when a run goes on
        refuse_unsuited_to_ranks(options)
    np.random.seed(checks.integer("train", "--seed", options.seed, least=0, most=2**32 - 1))
    is_new = options.resume is None or not checkpoint.exists(folder / run_folder.CHECKPOINT)
    if ranks is not None:  # others may not see the folder
        is_new = ranks.from_first(lambda: is_new)
    other = start.described(options) if is_new else None
    data = load(options)
    if other is not None:
        start.fit_classes(options, other, data)
    model = build.network(options, data)
    if is_new:  # what an older version took goes on
        build.refuse_beyond_images(options, data)
        build.fit_groups(options, model)
    if other is not None:
        start.take_weights(options, other, model, data)
    return data, model


def _train(
    folder: Path,
    held: Lock,
    options: argparse.Namespace,
    solver: Solver,
    data: dict[str, np.ndarray],
) -> Path:
    """Train, write the results after it, whatever happens, and return their folder."""
    try:
        solver.train()
    except BaseException as end:
        try:
            _write_results(folder, held, options, solver, data)
        except BaseException as error:  # told beside the first one, which matters more
            tell(f"cs231n train: {str(error) or type(error).__name__}")
        if isinstance(end, (KeyboardInterrupt, BrokenPipeError)):
            again = shlex.join(["python", "-m", "cs231n", "train", "--resume", str(folder)])
            tell(f"To go on from the last checkpoint: {again}")
        raise
    return _write_results(folder, held, options, solver, data)


def _write_results(
    folder: Path,
    held: Lock,
    options: argparse.Namespace,
    solver: Solver,
    data: dict[str, np.ndarray],
) -> Path:
    """Write the results into the run folder, or beside it where it is another run's by now."""
    if not solver.loss_history:
        print("no iteration was made: there are no results")
        return folder
    place = run_folder.place_for_results(folder, held)
    if not held.still_ours():
        tell(f"cs231n train: {folder} was taken away meanwhile; the results go to {place}")
        run_folder.write_configuration(place, options)
    results.write(place, options, solver, data)
    return place


def _announce(options: argparse.Namespace, solver: Solver, data: dict[str, np.ndarray]) -> None:
    """Print what is trained on what."""
    print(
        f"{options.model} on {build.data_name(options)}: {len(data['X_train'])} training,"
        f" {len(data['X_val'])} validation and {len(data['X_test'])} test images",
        flush=True,
    )
    if solver.loss_history:
        print(f"going on after iteration {len(solver.loss_history)}", flush=True)
