"""Locks between processes, so that two of them do not write the same files.

The lock is one that the operating system holds for an open file (by filelock: flock, on Windows
LockFileEx).  It ends with its process, however that ends, so a killed run never leaves a folder
locked.  Its file is there for as long as somebody holds it, and says who.
"""

from __future__ import annotations

import errno
import os
import re
import socket
import stat
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import lock_descriptor

from cs231n.files.regular import NO_SURPRISE, explained

__all__ = ["Lock", "LockedError", "LostFolderError", "hold"]

_CANNOT = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}
_HOLDER = re.compile(r"process ([0-9]{1,19}) on ([\w.-]{1,99})\s*", re.ASCII)
_SHOWN = 5  # processes in a message


class LockedError(OSError):
    """Another process holds the lock."""


class LostFolderError(OSError):
    """What the lock stands for was removed or replaced meanwhile: it may be another run's."""


class Lock:
    """A lock that is held; see `hold`.

    Parameters
    ----------
    path : Path
        File that stands for the lock.
    what : str
        What is locked, for messages.
    descriptor : int
        The open file, with the lock on it where the file system has locks.
    has_lock : bool
        Whether it has.
    """

    def __init__(self, path: Path, what: str, descriptor: int, has_lock: bool) -> None:
        self._path, self._what, self._descriptor, self._has_lock = path, what, descriptor, has_lock
        # Without a lock the file says nothing: others may open it, and remove it at their end.
        self._place = path if has_lock else path.parent
        self._known = os.fstat(descriptor) if has_lock else os.stat(self._place)
        _held.add(self)

    def still_ours(self) -> bool:
        """Tell whether the place is still the one that was locked.

        Returns
        -------
        ours : bool
            False once the file has gone or is another one, by device and inode; where the file
            system has no locks, the same of the folder.
        """
        try:
            return self._descriptor >= 0 and os.path.samestat(os.stat(self._place), self._known)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def require(self) -> None:
        """Raise a LostFolderError unless the place is still the one that was locked.

        Raises
        ------
        LostFolderError
            Names what was locked.
        """
        if not self.still_ours():
            raise LostFolderError(
                f"{self._what} is no longer this run's: {self._place} was removed or replaced"
                f" while the run was writing there"
            )

    def release(self) -> None:
        """Give the lock back, and remove its file unless that is another's by now."""
        with suppress(OSError):
            if self._has_lock and self.still_ours() and _OPEN_FILES_GO:
                os.unlink(self._path)
        self.forget()
        if self._has_lock and not _OPEN_FILES_GO:
            with suppress(OSError):  # an open file stays, and so does that of the next holder
                os.unlink(self._path)

    def forget(self) -> None:
        """Close the file, and leave everything else as it is."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


_OPEN_FILES_GO = os.name != "nt"
_held: weakref.WeakSet[Lock] = weakref.WeakSet()


def _forget_all() -> None:
    """Leave all locks to the parent of this process: they end with it, and not with a child."""
    for held in list(_held):
        held.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)


@contextmanager
def hold(path: str | os.PathLike[str], what: str) -> Iterator[Lock]:
    """Hold a lock while the body runs.

    Parameters
    ----------
    path : str or path
        File that stands for the lock; it is there as long as somebody holds it.
    what : str
        What is locked, for the message, such as "the run folder runs/a".

    Yields
    ------
    lock : Lock
        Its `require` is to be called before each write.

    Raises
    ------
    LockedError
        If another process (or another caller in this one) holds the lock; names it.
    OSError
        If the file cannot be made, or is a link, a pipe or anything else than a file of its own.

    Notes
    -----
    File systems without locks lock nothing.  A process that is forked off does not share the lock.
    """
    lock = _locked(Path(path), what)
    try:
        yield lock
    finally:
        lock.release()


def _locked(path: Path, what: str) -> Lock:
    """Return the lock once its file is the one that has the name."""
    while True:
        descriptor, is_new = _open(path, what)
        try:
            has_lock = _lock(descriptor, what)
            lock = Lock(path, what, descriptor, has_lock)
            # Its holder may have removed the file after it was opened here: that lock is nobody's.
            if lock.still_ours():
                if has_lock:
                    _sign(descriptor)
                elif is_new:
                    os.unlink(path)
                return lock
        except BaseException:
            os.close(descriptor)
            raise
        lock.forget()


def _open(path: Path, what: str) -> tuple[int, bool]:
    """Return a descriptor of the file that stands for the lock, and whether it was made here."""
    flags = os.O_RDWR | NO_SURPRISE
    while True:
        try:
            return os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o644), True
        except FileExistsError:
            pass
        except OSError as error:
            raise explained(error, f"{what} cannot be locked by {path}") from error
        try:
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            if path.is_symlink():  # on a system that cannot refuse to follow it
                raise _odd_file_error(path, what) from None
            continue
        except OSError as error:
            if not path.is_file() or path.is_symlink():
                raise _odd_file_error(path, what) from error
            raise explained(error, f"{what} cannot be locked by {path}") from error
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode) and found.st_nlink <= 1:
            return descriptor, False
        os.close(descriptor)
        raise _odd_file_error(path, what)


def _odd_file_error(path: Path, what: str) -> OSError:
    """Return the error for a name that leads elsewhere, where nothing may be written."""
    return OSError(
        f"{what} cannot be locked: {path} is a link, a folder, a pipe or a device;"
        f" expected a file that a run made, or none"
    )


def _lock(descriptor: int, what: str) -> bool:
    """Lock an open file, or say who holds it; return whether the file system has locks."""
    try:
        if lock_descriptor(descriptor, blocking=False):
            return True
    except OSError as error:
        if error.errno in _CANNOT:
            return False
        raise explained(error, f"{what} cannot be locked") from error
    raise LockedError(
        f"{what} is in use by {_holder(descriptor)}; wait until it has ended, or choose another"
        f" place"
    )


def _sign(descriptor: int) -> None:
    """Write into the file who holds the lock; a full disk is no reason to do without it.

    The first byte is what Windows locks, and nobody else can read there.
    """
    with suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, f"\nprocess {os.getpid()} on {socket.gethostname()}\n".encode())


def _holder(descriptor: int) -> str:
    """Return who holds the lock on an open file, for a message."""
    text = ""
    with suppress(OSError):
        os.lseek(descriptor, 1, os.SEEK_SET)
        text = os.read(descriptor, 200).decode(errors="replace")
    signed = _HOLDER.fullmatch(text)
    if signed is None:
        return "another process"
    number, host = int(signed[1]), signed[2]
    seen = _processes_with_lock(descriptor) if host == socket.gethostname() else []
    if not seen or number in seen:
        return f"process {number} on {host}"
    numbers = ", ".join(map(str, seen[:_SHOWN]))
    return f"process {numbers} on {host}, to which process {number}, now ended, has left its lock"


def _processes_with_lock(descriptor: int) -> list[int]:
    """Return the processes that have the lock on an open file, as far as Linux shows them."""
    found = set()
    with suppress(OSError):
        name = os.readlink(f"/proc/self/fd/{descriptor}")
        for process in filter(str.isdigit, os.listdir("/proc")):
            with suppress(OSError):  # it has ended, or is another user's
                for number in os.listdir(f"/proc/{process}/fd"):
                    if _has_lock(process, number, name):
                        found.add(int(process))
    return sorted(found)


def _has_lock(process: str, number: str, name: str) -> bool:
    """Tell whether a process's descriptor is of a file of this name, with a lock on it."""
    if os.readlink(f"/proc/{process}/fd/{number}") != name:  # first: this never waits for a disk
        return False
    with open(f"/proc/{process}/fdinfo/{number}", encoding="ascii", errors="replace") as file:
        return "FLOCK" in file.read(10_000)
