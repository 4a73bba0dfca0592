"""Searches for hyperparameters: trials on any executor, with Optuna choosing their numbers.

A trial is a function of a `Job`, which has values, a seed and a folder; it trains something and
returns its Solver, or a number to be made large:

    def trial(job):
        np.random.seed(job.seed)
        model = FullyConnectedNet([100], weight_scale=job.values["weight_scale"])
        solver = Solver(model, job.data, checkpoint_name=str(job.folder / "checkpoint"))
        solver.on_check = job.report  # for pruning, and so that the search can be stopped
        solver.train()
        return solver

    search(trial, {"weight_scale": Range(1e-3, 1e-1, log=True)}, "runs/search", data=data)

On the command line ``python -m cs231n search`` does it with the options of ``train``.
"""

from __future__ import annotations

import math
import os
import secrets
import sys
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, wait
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cs231n.core import checks
from cs231n.files import lock
from cs231n.files import storage as files
from cs231n.files.lock import LockedError
from cs231n.files.regular import read_text
from cs231n.searching import pictures, study, table
from cs231n.searching.job import STOP, Job, Outcome, Stopped, store_data, work
from cs231n.searching.space import Choice, Range, checked, grid
from cs231n.searching.table import Row
from cs231n.searching.workers import Given, Local, Workers, closing
from cs231n.training.bar import Bar

__all__ = ["Choice", "Job", "Range", "Results", "Row", "search"]

_WHERE = "search"
_ATTEMPTS = 3  # of a trial whose worker died
_TABLE = "trials.csv"
_IDENTITY = "search.id"
_LOST = ("KilledWorker", "CommClosedError", "FutureCancelledError")  # what Dask says of a worker


class Results(NamedTuple):
    """What a search has come to.

    Parameters
    ----------
    rows : list of Row
        A row for each trial.
    best : Row or None
        The one with the highest validation accuracy among those that were done.
    folder : Path
        Of the search, with ``trials.csv``, the pictures, and a folder for each trial.
    """

    rows: list[Row]
    best: Row | None
    folder: Path


def search(
    trial: Callable[[Job], Any],
    space: Mapping[str, Any],
    folder: str | os.PathLike[str],
    *,
    trials: int = 20,
    seed: int = 231,
    data: Mapping[str, np.ndarray] | None = None,
    jobs: int = 1,
    threads: int | None = 1,
    executor: Executor | Callable[[], Workers] | None = None,
    sampler: str = "random",
    prune: str | None = None,
    points: int = 5,
    storage: str | None = None,
    study_name: str | None = None,
    resume: bool = False,
    verbose: bool = True,
    progress: bool | None = None,
) -> Results:
    """Try out numbers, and write a table, pictures and a folder for each trial.

    Parameters
    ----------
    trial : callable
        Function of a `Job`, as above; workers must be able to import it, unless the executor can
        send functions.
    space : mapping of str to Range, Choice or list
        What is searched.
    folder : str or path
        Folder of the search, new or without one in it; workers on other machines must see it under
        this name.
    trials : int
        How many there are in the end.
    seed : int
        With random sampling a trial's values and seed follow from this and its number alone.
    data : mapping of str to ndarray, optional
        For ``job.data``; written to the folder, from which each worker reads it once.
    jobs : int
        Trials at once.
    threads : int or None
        Kernel threads of a trial, None for the default.
    executor : concurrent.futures.Executor, optional
        Where trials run, by default in `jobs` new processes of this machine.
    sampler : {'random', 'tpe', 'grid'}
        Who chooses.
    prune : {'median', 'halving'}, optional
        Stop trials that are hopeless, from the accuracies that `Job.report` is told.
    points : int
        With 'grid', how many values of each range there are.
    storage : str, optional
        Database of the study, as Optuna takes it; by default a journal in the folder.
    study_name : str, optional
        Name of the study in it, by default that of the folder; searches with one name share it.
    resume : bool
        Go on with the search in the folder: trials that were not done go on from what they have
        written to theirs.
    verbose, progress : bool
        Whether a line is printed for each trial, and whether there is a progress bar; by default
        if standard error is a terminal.

    Returns
    -------
    results : Results

    Raises
    ------
    ValueError, TypeError
        If an argument is not sensible, or every trial has failed.
    FileExistsError
        If the folder holds a search and `resume` is off.
    ModuleNotFoundError
        If Optuna is not installed.
    LockedError
        If another process runs this search.

    Notes
    -----
    A trial that diverges keeps the best accuracy from before; one that raises an error has failed,
    and the search goes on.  Ctrl-C leaves the table so far.

    References
    ----------
    Bergstra and Bengio, Random Search for Hyper-Parameter Optimization, JMLR 13, 2012.

    Akiba, Sano, Yanase, Ohta and Koyama, Optuna: A Next-generation Hyperparameter Optimization
    Framework, KDD 2019.
    """
    settings = _Settings(
        space=checked(_WHERE, space),
        trials=checks.integer(_WHERE, "trials", trials, least=1),
        seed=checks.integer(_WHERE, "seed", seed, least=0, most=2**32 - 1),
        threads=None if threads is None else checks.integer(_WHERE, "threads", threads, least=1),
        sampler=checks.choice(_WHERE, "sampler", sampler, study.SAMPLERS),
        prune=None if prune is None else checks.choice(_WHERE, "prune", prune, study.PRUNERS),
        points=checks.integer(_WHERE, "points", points, least=1),
        storage=storage,
        name=study_name or os.path.basename(os.path.abspath(folder)),
        verbose=verbose,
        progress=progress,
    )
    checks.function(_WHERE, "trial", trial)
    jobs = checks.integer(_WHERE, "jobs", jobs, least=1)
    place = _claimed(checks.path(_WHERE, "folder", folder), resume)
    with lock.hold(place / "search.lock", f"the search in {place}"):
        # Only now: it may be what tells the workers of another process to end.
        (place / STOP).unlink(missing_ok=True)
        if data is not None:
            store_data(place, dict(checks.mapping(_WHERE, "data", data)))
        with closing(_workers(executor, jobs)) as workers:
            identity = _identity(place, settings.name, resume)
            return _Search(trial, settings, place, workers, identity).run()


class _Settings(NamedTuple):
    """The arguments of a search, once they are checked."""

    space: dict[str, Range | Choice]
    trials: int
    seed: int
    threads: int | None
    sampler: str
    prune: str | None
    points: int
    storage: str | None
    name: str
    verbose: bool
    progress: bool | None


def _claimed(folder: Path, resume: bool) -> Path:
    """Return the folder of a new search, or of one that goes on."""
    if resume:
        if not folder.is_dir():
            raise FileNotFoundError(f"{_WHERE}: there is no folder {folder} of a search to resume")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        found = sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")
        if any(name == _TABLE or name.startswith("trial-") for name in found):
            raise FileExistsError(
                f"{_WHERE}: {folder} holds a search already; expected a new folder, or resume"
            )
    return folder.absolute()


def _identity(folder: Path, name: str, resume: bool) -> str:
    """Return what tells this search's trials from those of others that share its study.

    Searches of version 1.0.0 told them by the study's name, which the others have, too.
    """
    path = folder / _IDENTITY
    if not resume:
        files.write_text(path, secrets.token_hex(16))
    return read_text(_WHERE, path) if path.exists() else name


def _workers(executor: Any, jobs: int) -> Callable[[], Workers]:
    """Return what makes the workers."""
    if executor is None:
        return lambda: Local(jobs)
    if isinstance(executor, Executor) or hasattr(executor, "submit"):
        return lambda: Given(executor, jobs)
    checks.function(_WHERE, "executor", executor)
    return executor


class _Search:
    """A search that goes on: what waits, what runs, and what is done.

    Parameters
    ----------
    trial : callable
    settings : _Settings
    folder : Path
    workers : Workers
    identity : str
        What its trials are marked with.
    """

    def __init__(
        self,
        trial: Callable[[Job], Any],
        settings: _Settings,
        folder: Path,
        workers: Workers,
        identity: str,
    ) -> None:
        self._trial, self._settings, self._folder, self._workers = trial, settings, folder, workers
        self._identity = identity
        pruner = study.pruner(settings.prune)
        self._study = study.opened(folder, settings.storage, settings.name, pruner)
        self._waiting = deque(self._unfinished())
        self._running: dict[Future[Outcome], Job] = {}
        self._attempts: dict[int, int] = {}
        self._last = self._most()

    def _most(self) -> int:
        """Return how many trials there are to be."""
        if self._settings.sampler != "grid":
            return self._settings.trials
        values = grid(self._settings.space, self._settings.points).values()
        return min(self._settings.trials, math.prod(map(len, values)))

    def run(self) -> Results:
        """Run all trials; the table is written after each, the pictures at the end."""
        self._write_table()
        try:
            with self._bar() as self._shown:
                self._loop()
        except BaseException:
            files.write_text(self._folder / STOP, "")
            raise
        finally:
            self._write_table()
        rows = self.rows()
        if all(row.state == "failed" for row in rows):
            raise ValueError(f"{_WHERE}: every trial has failed, the first by {rows[0].message}")
        self._draw(rows)
        return Results(rows, table.best(rows), self._folder)

    def _loop(self) -> None:
        """Keep the workers busy until every trial is done."""
        while True:
            while len(self._running) < self._workers.width():
                job = self._next()
                if job is None:
                    break
                self._submit(job)
            if not self._running:
                return
            done, _ = wait(self._running, timeout=5, return_when="FIRST_COMPLETED")
            self._finish(done)

    def _next(self) -> Job | None:
        """Return the next trial: one that waits, or a new one."""
        if self._waiting:
            return self._waiting.popleft()
        asked = len(self._study.get_trials(deepcopy=False))
        if asked >= self._last:
            return None
        settings = self._settings
        before = self._study.sampler
        self._study.sampler = study.sampler(
            settings.sampler, settings.seed, settings.space, settings.points, asked
        )
        try:
            return self._job(self._study.ask())
        finally:
            self._study.sampler = before

    def _job(self, trial: Any) -> Job:
        """Return the job of a trial, with its folder made."""
        settings = self._settings
        trial.set_user_attr("search", self._identity)
        values = {name: one.suggest(trial, name) for name, one in settings.space.items()}
        folder = self._folder / f"trial-{trial.number:04d}"
        folder.mkdir(exist_ok=True)
        seed = study.seed_of(settings.seed, trial.number)
        where = (settings.storage, settings.name, settings.prune)
        return Job(trial.number, seed, values, folder, trial._trial_id, where)

    def _unfinished(self) -> list[Job]:
        """Return the trials of this search that were begun and not ended."""
        settings, found = self._settings, []
        self._study.sampler = study.sampler(
            settings.sampler, settings.seed, settings.space, settings.points, 0
        )
        for one in self._study.get_trials(deepcopy=False):
            ours = settings.storage is None or one.user_attrs.get("search") == self._identity
            if ours and not one.state.is_finished():
                trial = study.optuna().trial.Trial(self._study, one._trial_id)
                found.append(self._job(trial))
        return found

    def _submit(self, job: Job) -> None:
        """Hand a job to a worker."""
        arguments = self._trial, job, self._settings.threads
        try:
            future = self._workers.executor.submit(work, *arguments)
        except BrokenExecutor:
            if not self._workers.renew():
                raise
            future = self._workers.executor.submit(work, *arguments)
        self._running[future] = job

    def _finish(self, done: set[Future[Outcome]]) -> None:
        """Take in the outcomes of trials; those whose worker has died are tried again."""
        for future in sorted(done, key=lambda one: self._running[one].number):
            job = self._running.pop(future)
            try:
                self._end(job, future.result())
            except Stopped as error:
                raise KeyboardInterrupt(str(error)) from None
            except Exception as error:
                self._fail(job, error)
            except CancelledError as error:  # of asyncio, which Dask raises: no Exception
                self._fail(job, error)

    def _fail(self, job: Job, error: BaseException) -> None:
        """Try a trial again whose worker has died; another error is its end."""
        attempts = self._attempts[job.number] = self._attempts.get(job.number, 0) + 1
        if _is_lost(error) and attempts < _ATTEMPTS:
            self._say(f"trial {job.number}: {_told(error)}; it goes on from its last checkpoint")
            self._waiting.append(job)
            return
        self._end(job, Outcome("failed", math.nan, message=_told(error)))

    def _end(self, job: Job, outcome: Outcome) -> None:
        """Write down what a trial has come to."""
        states = study.optuna().trial.TrialState
        kept = {**outcome._asdict(), "best": repr(outcome.best)}
        storage_of = self._study._storage
        storage_of.set_trial_user_attr(job._trial_id, "outcome", kept)
        has_value = math.isfinite(outcome.best)
        state = states.FAIL if not has_value else states.COMPLETE
        if outcome.state == "pruned":
            state = states.PRUNED
        values = [outcome.best] if has_value else None
        storage_of.set_trial_state_values(job._trial_id, state, values)
        self._write_table()
        rows = self.rows()
        self._say(str(next(row for row in rows if row.number == job.number)))
        self._advance(rows)

    def rows(self) -> list[Row]:
        """Return a row for each trial of the study."""
        trials = sorted(self._study.get_trials(deepcopy=False), key=lambda one: one.number)
        return [_row(one, self._settings) for one in trials]

    def _write_table(self) -> None:
        """Write the table so far."""
        table.write(self._folder / _TABLE, self.rows(), list(self._settings.space))

    def _bar(self) -> Any:
        """Return the progress bar, or none."""
        wanted, rows = self._settings.progress, self.rows()
        is_hidden = not self._settings.verbose if wanted is None else not wanted
        bar = Bar(total=self._last, unit="trial", disable=True if is_hidden else wanted or None)
        self._shown = bar
        self._advance(rows)
        return bar

    def _advance(self, rows: list[Row]) -> None:
        """Move the bar to where the search is, with the best so far."""
        best = table.best(rows)
        if best is not None:
            self._shown.set_postfix_str(f"best {best.best_val_acc:.4f} (trial {best.number})")
        ended = sum(row.state in table.ENDED for row in rows)
        self._shown.update(ended - self._shown.n)

    def _say(self, line: str) -> None:
        """Print a line, clear of the progress bar."""
        if self._settings.verbose:
            Bar.write(line, file=sys.stdout)
            sys.stdout.flush()

    def _draw(self, rows: list[Row]) -> None:
        """Draw the pictures; trials without an accuracy are in none."""
        space = self._settings.space
        drawn = [
            row
            for row in rows
            if math.isfinite(row.best_val_acc) and space.keys() <= row.values.keys()
        ]
        figures = {
            "accuracy.png": pictures.accuracies(drawn, space) if drawn else None,
            "parallel.png": pictures.parallel(drawn, space) if drawn else None,
            "importance.png": pictures.importance(self._study),
            "curves.png": pictures.curves(drawn) if any(row.epochs for row in drawn) else None,
        }
        for name, figure in figures.items():
            if figure is not None:
                files.write_figure(self._folder / name, figure)


def _row(trial: Any, settings: _Settings) -> Row:
    """Return the row of a trial of the study."""
    row = Row(
        number=trial.number,
        state="unfinished",
        seed=study.seed_of(settings.seed, trial.number),
        values={name: trial.params[name] for name in settings.space if name in trial.params},
        folder=f"trial-{trial.number:04d}",
    )
    kept = trial.user_attrs.get("outcome")
    if trial.state.is_finished() and kept is not None:
        row.state, row.best_val_acc = kept["state"], float(kept["best"])
        row.epochs, row.accuracies = kept["epochs"], kept["accuracies"]
        row.message = kept["message"]
    return row


def _is_lost(error: BaseException) -> bool:
    """Tell whether a worker was lost, or is at the trial still: no fault of the trial."""
    is_known = isinstance(error, (BrokenExecutor, CancelledError, LockedError))
    return is_known or type(error).__name__ in _LOST


def _told(error: BaseException) -> str:
    """Return what an error says, in one line."""
    if isinstance(error, BrokenExecutor):
        return "a worker process was killed"
    text = " ".join(f"{error}".split())
    return f"{type(error).__name__}: {text}"[:300]
