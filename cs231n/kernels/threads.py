"""How many threads the fast layers use.

By default as many as the process has processors to run on, or what the environment variable
``OMP_NUM_THREADS`` says.  The results do not depend on the number.

The BLAS library behind NumPy has threads of its own, which wait for work by spinning and take the
processors from our kernels meanwhile.  The compiled kernels therefore multiply matrices themselves.
"""

from __future__ import annotations

import math
import os

from cs231n.core import checks

__all__ = ["get_num_threads", "set_num_threads", "share_processors"]

_MOST = 256  # the memory that a convolution needs grows with the number of threads


def _default() -> int:
    """Return OMP_NUM_THREADS, or the number of processors that this process may run on."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if wanted.isascii() and wanted.isdecimal() and wanted.strip("0"):
        return min(int(wanted.lstrip("0")[:4]), _MOST)  # Python refuses to read 5,000 digits
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), _MOST)
    return min(os.cpu_count() or 1, _MOST)


_num_threads = _default()
_is_chosen = "OMP_NUM_THREADS" in os.environ


def get_num_threads() -> int:
    """Return the number of threads that the compiled kernels use."""
    return _num_threads


def set_num_threads(num_threads: int) -> int:
    """Set the number of threads that the compiled kernels use.

    Parameters
    ----------
    num_threads : int
        At least one; more than 256 count as 256.

    Returns
    -------
    previous : int

    Raises
    ------
    ValueError, TypeError
        If num_threads is no positive integer.
    """
    global _num_threads, _is_chosen
    previous = _num_threads
    wanted = checks.integer("set_num_threads", "num_threads", num_threads, least=1, most=math.inf)
    _num_threads, _is_chosen = min(wanted, _MOST), True
    return previous


def share_processors(processes: int, processors: int) -> None:
    """Use the share of a machine's processors that is this process's, unless a number was chosen.

    Parameters
    ----------
    processes : int
        That compute on this machine together.
    processors : int
        That they may run on.
    """
    global _num_threads
    if not _is_chosen:
        _num_threads = min(max(processors // processes, 1), _MOST)
