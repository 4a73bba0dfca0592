"""The progress bar."""

from __future__ import annotations

from threading import RLock

from tqdm import tqdm

__all__ = ["Bar"]


class Bar(tqdm):
    """A progress bar with a lock for threads alone.

    The one that tqdm makes for processes is a semaphore, which spawned pools report as leaked.
    """


Bar.set_lock(RLock())
