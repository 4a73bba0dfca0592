"""Memory that is used again: large arrays of a training step without fresh pages.

The first touch of new memory costs a page fault for every 4 KiB, often more than the arithmetic.
`empty` therefore takes its memory from blocks that earlier arrays have given back.  A block is
given back when the last array (or view) that lives in it is gone, never before: an array that
somebody holds is never overwritten.

A gibibyte of free blocks is kept.  While a network is trained (`kept`) all are, for the next step
asks for the same again, as long as no more is held than an eighth beside what its fullest moment
used.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

__all__ = ["clear", "empty", "kept", "scratch"]

_ALIGNMENT = 64  # bytes: a cache line, and the widest vector register
_LEAST_BYTES = 1 << 18  # smaller arrays come from NumPy, whose allocator keeps such pages
_MOST_BLOCKS = 64  # free blocks kept; a network has a few for each layer

_MOST_BYTES = 1 << 30  # of memory in free blocks

_free: list[np.ndarray] = []
_total = 0  # bytes of all blocks, free or not
_keepers = 0  # blocks of code under `kept`
_fullest = 0  # bytes in use at most since the first of them began
_lock = threading.Lock()
_local = threading.local()


class _Lease(np.ndarray):
    """The right to use a block, of which it is a view; once nothing refers to it the block is free.

    It is an array because arrays can be made in its memory, and then refer to it; views and copies
    of a lease are none.
    """

    block: np.ndarray | None = None

    def __del__(self) -> None:
        """Give the block back."""
        if self.block is None:
            return
        # append is atomic, and the lock could be held by the very thread that collects garbage:
        # who holds it then trims, or the next who takes or gives back.
        _free.append(self.block)
        too_much = len(_free) > _MOST_BLOCKS or _total > _MOST_BYTES
        if too_much and _lock.acquire(blocking=False):
            try:
                _trim()
            finally:
                _lock.release()


def empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return a new C-contiguous array of arbitrary content, in memory used before if possible.

    Parameters
    ----------
    shape : tuple of int
    dtype : dtype

    Returns
    -------
    array : ndarray
        Nothing else refers to its memory.
    """
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < _LEAST_BYTES:
        return np.empty(shape, dtype)
    block = _take(size)
    lease = block.view(_Lease)
    lease.block = block
    # By a memoryview: of an array, NumPy would refer to the block behind it.
    return np.frombuffer(lease.data, dtype, size // dtype.itemsize).reshape(shape)


def _take(size: int) -> np.ndarray:
    """Return the smallest free block that holds `size` bytes without wasting half, or a new one."""
    global _total
    with _lock:
        fitting = [
            (block.nbytes, index)
            for index, block in enumerate(_free)
            if size <= block.nbytes <= 2 * size
        ]
        if fitting:
            return _used(_free.pop(min(fitting)[1]))
        _trim(size)
    size = _rounded(size)
    block = _aligned(size)  # counted afterwards: there may be no such memory
    with _lock:
        _total += size
        return _used(block)


def _used(block: np.ndarray) -> np.ndarray:
    """Return a block that is no longer free, and note how much is in use, under the lock."""
    global _fullest
    if _keepers:
        _fullest = max(_fullest, _in_use())
    return block


def _rounded(size: int) -> int:
    """Return the next of four sizes from one power of two to the next.

    Arrays of nearly one size then live in the same block, one after the other.  The end of a block
    that no array has reached is not there yet: it costs addresses only.
    """
    step = 1 << max(size.bit_length() - 3, 0)
    return -(-size // step) * step


def _in_use() -> int:
    """Return the bytes of the blocks that are not free, under the lock."""
    return _total - sum(block.nbytes for block in _free)


def _trim(wanted: int = 0) -> None:
    """Give the oldest free blocks back to the system while too much is kept, under the lock.

    Bytes that are wanted for a new block are no longer there for free ones.
    """
    most = _MOST_BYTES
    if _keepers:
        most = max(most, _fullest + _fullest // 8 - _in_use() - wanted)
    kept, keep = 0, 0
    for block in reversed(_free):
        kept += block.nbytes
        if keep == _MOST_BLOCKS or kept > most:
            break
        keep += 1
    _drop(len(_free) - keep)


def _drop(count: int) -> None:
    """Give the oldest free blocks, so many, back to the system, under the lock."""
    global _total
    _total -= sum(block.nbytes for block in _free[:count])
    del _free[:count]


def _aligned(size: int) -> np.ndarray:
    """Return new bytes that start at a cache line."""
    block = np.empty(size + _ALIGNMENT, np.uint8)
    start = -block.ctypes.data % _ALIGNMENT
    return block[start : start + size]


@contextmanager
def kept() -> Iterator[None]:
    """Keep free blocks of more than a gibibyte in the block of code, in which steps are repeated.

    Yields
    ------
    None
    """
    global _keepers, _fullest
    with _lock:
        _fullest = _fullest if _keepers else 0
        _keepers += 1
    try:
        yield
    finally:
        with _lock:
            _keepers -= 1
            _trim()


def scratch(size: int) -> np.ndarray:
    """Return at least `size` bytes for this thread's use until its next call.

    Parameters
    ----------
    size : int
        Bytes.

    Returns
    -------
    bytes : ndarray of uint8
        Aligned to a cache line; the same memory at every call of a thread.
    """
    block = getattr(_local, "block", None)
    if block is None or block.nbytes < size:
        _local.block = block = _aligned(size)
    return block


def clear() -> None:
    """Return the free blocks, and this thread's scratch memory, to the system."""
    with _lock:
        _drop(len(_free))
    _local.block = None


def _after_fork() -> None:
    """Replace the lock, which a thread may hold that a child process does not have."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
