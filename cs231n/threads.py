"""How many threads the compiled kernels use.

By default as many as the process has processors to run on, or what the environment variable
``OMP_NUM_THREADS`` says.  The results do not depend on the number.
"""

from __future__ import annotations

import os

from cs231n import checks

__all__ = ["get_num_threads", "set_num_threads"]


def _default() -> int:
    """Return OMP_NUM_THREADS, or the number of processors that this process may run on."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_num_threads = _default()


def get_num_threads() -> int:
    """Return the number of threads that the compiled kernels use."""
    return _num_threads


def set_num_threads(num_threads: int) -> int:
    """Set the number of threads that the compiled kernels use.

    Parameters
    ----------
    num_threads : int
        At least one.

    Returns
    -------
    previous : int

    Raises
    ------
    ValueError, TypeError
        If num_threads is no positive integer.
    """
    global _num_threads
    previous = _num_threads
    _num_threads = checks.integer("set_num_threads", "num_threads", num_threads, least=1)
    return previous


def _after_fork() -> None:
    """Use one thread in a child process: OpenMP's threads do not survive a fork."""
    global _num_threads
    _num_threads = 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
