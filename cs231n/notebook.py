"""What every notebook needs: a style for figures, data, checks that raise, and times.

The environment variable ``CS231N_SHORT`` puts a notebook into its short mode, in which it runs
within seconds on the built-in data: continuous integration executes the notebooks that way.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from tqdm import tqdm

from cs231n import data_utils
from cs231n.core import checks
from cs231n.data.cifar10 import find_cifar10
from cs231n.kernels.threads import get_num_threads
from cs231n.measuring.machine import describe
from cs231n.measuring.timing import measure
from cs231n.vis_utils import COLORS

__all__ = [
    "CheckError",
    "check",
    "class_names",
    "compare_times",
    "finish",
    "has_glyphs",
    "is_short",
    "load_data",
    "may_show_data",
    "progress",
    "reach",
    "seconds",
    "setup",
    "short",
    "showable_data",
]

Item = TypeVar("Item")

# Figures are as wide as a notebook's column, so that their letters keep their size.
_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "figure.constrained_layout.use": True,
    "figure.dpi": 100,
    "figure.figsize": (9.0, 3.6),
    "font.size": 10,
    "grid.color": "0.9",
    "image.cmap": "gray",
    "image.interpolation": "nearest",
    "legend.edgecolor": "none",
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
}
_BUILTIN_SIZES = 10000, 1000, 1000
_SHORT_SIZES = 2000, 500, 500

_clock = {"start": time.perf_counter()}  # when the notebook began


class CheckError(ArithmeticError):
    """A check of a notebook did not meet its bound."""


def is_short() -> bool:
    """Tell whether the environment variable CS231N_SHORT asks for the short mode."""
    return os.environ.get("CS231N_SHORT", "") not in ("", "0")


def short(full: Item, brief: Item) -> Item:
    """Choose between the full run and the short mode.

    Parameters
    ----------
    full, brief : object
        For instance numbers of epochs.

    Returns
    -------
    choice : object
        `brief` in the short mode, else `full`.
    """
    return brief if is_short() else full


def setup() -> None:
    """Set the style of figures, and print the machine, the versions and the number of threads.

    In the short mode warnings that Python hides by default are shown, so that whoever executes the
    notebook learns of them.
    """
    _clock["start"] = time.perf_counter()
    import matplotlib as mpl
    from cycler import cycler

    mpl.rcParams.update(_STYLE)
    mpl.rcParams["axes.prop_cycle"] = cycler(color=COLORS)
    if is_short():
        warnings.simplefilter("default")
    for name, fact in {**describe(), "threads": str(get_num_threads())}.items():
        print(f"{name:<8} {fact}")


def finish() -> None:
    """Print how long the notebook took since `setup`; the last thing it does."""
    print(f"whole notebook: {time.perf_counter() - _clock['start']:.0f} s")


def load_data(
    num_training: int = 49000, num_validation: int = 1000, num_test: int = 1000
) -> dict[str, np.ndarray]:
    """Load the real CIFAR-10 where it is found, else the built-in data, and say which.

    Parameters
    ----------
    num_training, num_validation, num_test : int
        How many images to take; of the built-in data at most 10000, 1000 and 1000, and in the
        short mode at most 2000, 500 and 500.

    Returns
    -------
    data : dict
        X_train, y_train, X_val, y_val, X_test, y_test as `data_utils.get_CIFAR10_data` gives them.
    """
    sizes = num_training, num_validation, num_test
    if _takes_cifar10():
        name, data = "CIFAR-10", data_utils.get_CIFAR10_data(*sizes)
    else:
        most = _SHORT_SIZES if is_short() else _BUILTIN_SIZES
        sizes = min(sizes[0], most[0]), min(sizes[1], most[1]), min(sizes[2], most[2])
        name, data = "the built-in glyphs (not CIFAR-10)", data_utils.get_builtin_data(*sizes)
    print(
        f"{name}: {len(data['X_train'])} training, {len(data['X_val'])} validation"
        f" and {len(data['X_test'])} test images"
    )
    return data


def class_names() -> tuple[str, ...]:
    """Return the names of the classes of the data that `load_data` loads."""
    return data_utils.CIFAR10_CLASSES if _takes_cifar10() else data_utils.BUILTIN_CLASSES


def _takes_cifar10() -> bool:
    """Tell whether the data are CIFAR-10, for which a run must be a full one."""
    return not is_short() and _has_cifar10()


def _has_cifar10() -> bool:
    """Tell whether the batches of CIFAR-10 are there."""
    try:
        find_cifar10()
    except FileNotFoundError:
        return False
    return True


def has_glyphs() -> bool:
    """Tell whether `load_data` loads the built-in glyphs, which no augmentation may mirror."""
    return not _takes_cifar10()


def may_show_data() -> bool:
    """Tell whether pictures of the data of `load_data` may be shown.

    Those of CIFAR-10 may not be passed on, so where the outputs are stored, as
    ``python notebooks/run.py --in-place`` says by the environment variable ``CS231N_STORED``, the
    built-in glyphs are shown in their place.
    """
    return has_glyphs() or not os.environ.get("CS231N_STORED")


def showable_data(num_training: int = 2000, num_validation: int = 500) -> dict[str, np.ndarray]:
    """Load data whose images may be shown: as `load_data`, but glyphs for a stored notebook.

    Whoever runs a notebook on CIFAR-10 sees that; see `may_show_data`.

    Parameters
    ----------
    num_training, num_validation : int
        How many images to take.

    Returns
    -------
    data : Dataset
        With its ``class_names`` and ``normalization``.
    """
    if _takes_cifar10() and may_show_data():
        return load_data(num_training, num_validation)
    print("the built-in glyphs (not CIFAR-10), whose pictures may be passed on")
    return data_utils.get_builtin_data(num_training, num_validation, 100)


def check(what: str, error: float, bound: float) -> None:
    """Print an error and the bound that it must meet.

    Parameters
    ----------
    what : str
        What is checked.
    error : float
        What was measured.
    bound : float
        The error must not be larger.

    Raises
    ------
    CheckError
        If it is larger, or nan.
    """
    _verdict(what, f"error {error:.2e}", f"at most {bound:.0e}", bool(error <= bound))


def reach(what: str, value: float, bound: float) -> None:
    """Print a share, such as an accuracy, and what it must reach.

    Parameters
    ----------
    what : str
        What is checked.
    value : float
        What was measured, 1 for all.
    bound : float
        The value must not be smaller.

    Raises
    ------
    CheckError
        If it is smaller, or nan.
    """
    _verdict(what, f"{value:.2%}", f"at least {bound:.2%}", bool(value >= bound))


def _verdict(what: str, found: str, expected: str, ok: bool) -> None:
    """Print the outcome of a check, or raise."""
    line = f"{what}: {found} ({expected})"
    if not ok:
        raise CheckError(f"{line}: the check failed")
    print(line)


@contextmanager
def seconds(what: str) -> Iterator[None]:
    """Print how long the block took.

    Parameters
    ----------
    what : str
        What is done in the block.

    Yields
    ------
    None
    """
    start = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - start:.1f} s")


def compare_times(
    what: str, contest: Mapping[str, Callable[[], Any]], rounds: int = 5
) -> dict[str, float]:
    """Time functions in turn, and print the medians and how they compare with the last one.

    Parameters
    ----------
    what : str
        What the functions do.
    contest : mapping of str to callable
        The competitors, called without arguments.
    rounds : int
        Turns of each; competitors called 'naive' or 'numpy' have three at most.

    Returns
    -------
    medians : dict of str to float
        Seconds.
    """
    rounds = checks.integer("compare_times", "rounds", rounds, least=1)
    medians = {name: times.median for name, times in measure(contest, rounds).items()}
    *_, last = medians
    shown = ", ".join(f"{name} {1000 * median:.4g} ms" for name, median in medians.items())
    ratios = ", ".join(
        f"{last} is {median / medians[last]:.3g} times as fast as {name}"
        for name, median in medians.items()
        if name != last
    )
    print(f"{what}: {shown}; {ratios}" if ratios else f"{what}: {shown}")
    return medians


def progress(items: Iterable[Item], total: int, what: str) -> Iterator[Item]:
    """Hand the items through, drawing a progress bar on standard output.

    Parameters
    ----------
    items : iterable
        For instance what a parallel computation yields.
    total : int
        How many there will be.
    what : str
        What they are.

    Yields
    ------
    item : object
    """
    # Standard error stays empty, so that there a warning is seen.
    with tqdm(items, total=total, desc=what, file=sys.stdout, ncols=79) as bar:
        yield from bar
