"""The study: Optuna's storage, its samplers with a seed for each trial, and its pruners."""

from __future__ import annotations

import math
import os
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cs231n.core import extras
from cs231n.files.regular import open_regular
from cs231n.searching.space import Choice, Range, grid

__all__ = [
    *("PRUNERS", "SAMPLERS", "is_pruned", "opened", "optuna", "pruner", "report", "sampler"),
    "seed_of",
]

SAMPLERS = ("random", "tpe", "grid")
PRUNERS = ("median", "halving")
_JOURNAL = "study.journal"


def optuna() -> Any:
    """Import Optuna, which is silent but for warnings; it is an extra and takes a second."""
    with warnings.catch_warnings():
        # Optuna asks for the bars of notebooks, without which tqdm warns: the bar here is ours.
        warnings.filterwarnings("ignore", "IProgress not found")
        found = extras.need("optuna", "search", "a search")
    found.logging.set_verbosity(found.logging.WARNING)
    return found


def seed_of(seed: int, number: int) -> int:
    """Return the seed of a trial, which nothing but the search's seed and its number decide.

    Parameters
    ----------
    seed : int
        Of the search.
    number : int
        Of the trial.

    Returns
    -------
    seed : int
        From 0 to 2**32 - 1, as `numpy.random.seed` takes it.
    """
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def opened(folder: Path, storage: str | None, name: str, pruner: Any) -> Any:
    """Open a study, or begin it.

    Parameters
    ----------
    folder : Path
        Folder of the search, in which the study is a journal by default.
    storage : str or None
        Address of a database instead, as Optuna takes it.
    name : str
        Name of the study in it.
    pruner : optuna.pruners.BasePruner

    Returns
    -------
    study : optuna.Study
    """
    return optuna().create_study(
        storage=storage or _journal(folder / _JOURNAL),
        study_name=name,
        direction="maximize",
        load_if_exists=True,
        sampler=optuna().samplers.RandomSampler(),  # of use only where `sampler` is not set
        pruner=pruner,
    )


def _journal(path: Path) -> Any:
    """Return the storage in a journal file, which many processes may append to."""
    if os.path.lexists(path):  # a folder from a stranger may hold a link or a pipe of this name
        open_regular("search", path).close()
        if path.is_symlink():
            raise ValueError(f"search: {path} is a link; expected the journal of a search")
    storages = optuna().storages
    backend = extras.need("optuna.storages.journal", "search", "a search")
    lock = backend.JournalFileOpenLock(str(path))  # of links there may be none on some shares
    return storages.JournalStorage(backend.JournalFileBackend(str(path), lock_obj=lock))


def sampler(
    kind: str, seed: int, space: Mapping[str, Range | Choice], points: int, asked: int
) -> Any:
    """Return the sampler of a search.

    Parameters
    ----------
    kind : {'random', 'tpe', 'grid'}
    seed : int
    space : mapping of str to Range or Choice
    points : int
        Values of each range on a grid.
    asked : int
        Trials that there are already; a search that goes on must not draw the same again.

    Returns
    -------
    sampler : optuna.samplers.BaseSampler
    """
    samplers = optuna().samplers
    if kind == "tpe":
        return samplers.TPESampler(seed=seed_of(seed, asked), constant_liar=True)
    if kind == "grid":
        return samplers.GridSampler(grid(space, points), seed=seed)
    return _by_number(samplers, seed)


def _by_number(samplers: Any, seed: int) -> Any:
    """Return a random sampler whose draws depend on a trial's number alone, not on any order."""

    class ByNumber(samplers.BaseSampler):
        """Draws each number of each trial from a seed of its own, as Optuna draws at random."""

        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
            return {}

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
            return {}

        def sample_independent(self, study: Any, trial: Any, name: str, distribution: Any) -> Any:
            entropy = [seed, trial.number, zlib.crc32(name.encode())]
            own = int(np.random.SeedSequence(entropy).generate_state(1)[0])
            drawn = samplers.RandomSampler(seed=own)
            return drawn.sample_independent(study, trial, name, distribution)

    return ByNumber()


def pruner(kind: str | None) -> Any:
    """Return the pruner of a search, by median or by successive halving."""
    pruners = optuna().pruners
    if kind == "median":
        return pruners.MedianPruner(n_startup_trials=4)
    if kind == "halving":
        return pruners.SuccessiveHalvingPruner()
    return pruners.NopPruner()


def report(study: Any, trial_id: int, step: int, value: float) -> None:
    """Write down what a trial has reached after so many epochs; a second time nothing changes."""
    if not math.isnan(value):
        study._storage.set_trial_intermediate_value(trial_id, step, float(value))


def is_pruned(study: Any, trial_id: int) -> bool:
    """Tell whether a trial is hopeless, as the study's pruner sees it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of trials too few to tell
        return bool(study.pruner.prune(study, study._storage.get_trial(trial_id)))
