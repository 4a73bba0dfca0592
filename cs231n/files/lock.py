"""Locks between processes, so that two of them do not write the same files.

The lock is one that the operating system holds for an open file (flock): it ends with its process,
however that ends, so a killed run never leaves a folder locked.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # a system without flock, such as Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["LockedError", "hold"]

_CANNOT = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}


class LockedError(OSError):
    """Another process holds the lock."""


@contextmanager
def hold(path: str | os.PathLike[str], what: str) -> Iterator[None]:
    """Hold a lock while the body runs.

    Parameters
    ----------
    path : str or path
        File that stands for the lock; it is there as long as somebody holds it.
    what : str
        What is locked, for the message, such as "the run folder runs/a".

    Yields
    ------
    None

    Raises
    ------
    LockedError
        If another process (or another caller in this one) holds the lock; names it.
    OSError
        If the file cannot be made.

    Notes
    -----
    Systems and file systems without flock lock nothing.
    """
    if fcntl is None:
        yield
        return
    descriptor = _locked(Path(path), what)
    try:
        yield
    finally:
        with suppress(OSError):  # the folder may be gone
            os.unlink(path)
        os.close(descriptor)


def _locked(path: Path, what: str) -> int:
    """Return a descriptor of the file that stands for the lock, with the lock on it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _lock(descriptor, what)
            # Its holder may have removed the file after it was opened here: that lock is nobody's.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    _sign(descriptor)
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _lock(descriptor: int, what: str) -> None:
    """Lock an open file, or say who holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
        raise LockedError(
            f"{what} is in use by {holder}; wait until it has ended, or choose another place"
        ) from None
    except OSError as error:
        if error.errno not in _CANNOT:
            raise


def _sign(descriptor: int) -> None:
    """Write into the file who holds the lock; a full disk is no reason to do without it."""
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
