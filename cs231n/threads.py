"""How many threads the fast layers use.

By default as many as the process has processors to run on, or what the environment variable
``OMP_NUM_THREADS`` says.  The results do not depend on the number.

The BLAS library behind NumPy has threads of its own, which wait for work by spinning: between two
of its products they take the processors from our kernels, and on a busy machine they wait for one
another.  Training therefore holds BLAS to one thread and shares its products out itself.
"""

from __future__ import annotations

import functools
import importlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from cs231n import checks

__all__ = ["get_num_threads", "one_blas_thread", "run", "set_num_threads", "shares_blas"]


_MOST = 256  # the memory that a convolution needs grows with the number of threads


def _default() -> int:
    """Return OMP_NUM_THREADS, or the number of processors that this process may run on."""
    wanted = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if wanted.isdecimal() and int(wanted) > 0:
        return min(int(wanted), _MOST)
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), _MOST)
    return min(os.cpu_count() or 1, _MOST)


_num_threads = _default()


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
    global _num_threads
    previous = _num_threads
    wanted = checks.integer("set_num_threads", "num_threads", num_threads, least=1)
    _num_threads = min(wanted, _MOST)
    return previous


def run(tasks: Sequence[Callable[[], Any]]) -> None:
    """Run independent tasks, which release the GIL, on as many threads as are to be used."""
    if _num_threads == 1 or len(tasks) == 1:
        for task in tasks:
            task()
        return
    helpers = min(_num_threads, len(tasks)) - 1
    rest = iter(tasks)
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                task = next(rest, None)
            if task is None:
                return
            task()

    futures = [_helpers(helpers).submit(work) for _ in range(helpers)]
    work()
    for future in futures:
        future.result()


@functools.cache
def _helpers(count: int) -> ThreadPoolExecutor:
    """Return this many threads, which wait without spinning."""
    return ThreadPoolExecutor(count, thread_name_prefix="cs231n")


@functools.cache
def _blas() -> Any:
    """Return the switchboard of the BLAS libraries that are loaded, or None without threadpoolctl.

    A checkout may be used in place, with whatever packages are there; training is then slower.
    """
    try:
        return importlib.import_module("threadpoolctl").ThreadpoolController()
    except ModuleNotFoundError:
        return None


class _Holders:
    """How many callers hold BLAS to one thread, and what the first of them found."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.count = 0
        self.limit: Any = None


_holders = _Holders()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Hold BLAS to one thread; the last of several holders puts back what the first one found."""
    if _blas() is None:
        yield
        return
    with _holders.lock:
        if _holders.count == 0:
            _holders.limit = _blas().limit(limits=1, user_api="blas")
        _holders.count += 1
    try:
        yield
    finally:
        with _holders.lock:
            _holders.count -= 1
            if _holders.count == 0:
                _holders.limit.restore_original_limits()


def shares_blas() -> bool:
    """Tell whether BLAS is held to one thread, so that its products should be shared out."""
    return _holders.count > 0


def _after_fork() -> None:
    """Forget the threads that a child process does not have."""
    _helpers.cache_clear()
    _holders.lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
