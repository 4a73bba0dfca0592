"""Files that are written whole or not at all, and arrays in `.npz` files.

What is written goes into a new file of its own beside the target, which then takes the target's
name.  Nobody else can have that file: its name is drawn, it must not exist, and no link is followed
to it, so that neither two writers with one process id nor a stranger's links do any harm.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import lock_descriptor

from cs231n.core import checks
from cs231n.files import npz
from cs231n.files.regular import NO_SURPRISE, explained, read_bytes, read_text

__all__ = [
    "read_bytes",
    "read_npz",
    "read_text",
    "replacing",
    "sweep",
    "write_bytes",
    "write_figure",
    "write_npz",
    "write_text",
]

_PART = re.compile(r"\.cs231n-[0-9a-f]{16}\.part")
_OPEN_FILES_MOVE = os.name != "nt"


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a new file beside the target for writing, and give it the target's name at the end.

    A reader sees the old file or the new one, never a part; an error leaves the old one alone.  A
    target that is a link is replaced, and what it points at stays as it is.

    Parameters
    ----------
    path : str or path
        Target.

    Yields
    ------
    file : binary file

    Raises
    ------
    OSError
        If the file cannot be written, or the target is a folder; names the target.
    """
    target = _named("replacing", path)
    with explaining(target):
        sweep(target.parent)
        part, descriptor = _new_part(target.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                if not _OPEN_FILES_MOVE:
                    file.close()
                os.replace(part, target)
        except BaseException:
            with suppress(OSError):  # the first error is the one to report
                part.unlink()
            raise
        sync_folder(target.parent)


@contextmanager
def explaining(target: Path) -> Iterator[None]:
    """Let errors of the system say which file could not be written, and why.

    Parameters
    ----------
    target : Path
        The file that the body writes, if only a part of it beside it.

    Yields
    ------
    None

    Raises
    ------
    OSError
        If there is no such folder, or a folder in the target's place; else what the body raises.
    """
    folder = target.parent
    try:
        _check_place(target)
        yield
    except FileNotFoundError as error:
        if error.errno is None:
            raise
        if not folder.is_dir():
            raise FileNotFoundError(f"cannot write {target}: {folder} has gone") from error
        # Some folders of the system answer so to whoever makes a file.
        raise PermissionError(f"cannot write {target}: {folder} takes no new files") from error
    except OSError as error:
        if error.filename is None or Path(os.fsdecode(error.filename)).parent == folder:
            raise explained(error, f"cannot write {target}") from error
        raise


def _check_place(target: Path) -> None:
    """Raise an OSError where no file can be, such as in a missing folder or in place of one."""
    folder = target.parent
    if not folder.exists():
        raise FileNotFoundError(f"cannot write {target}: there is no folder {folder}")
    if not folder.is_dir():
        raise NotADirectoryError(f"cannot write {target}: {folder} is a file; expected a folder")
    if target.is_dir() and not target.is_symlink():
        raise IsADirectoryError(f"cannot write {target}: it is a folder; expected a file or none")


def _new_part(folder: Path) -> tuple[Path, int]:
    """Return path and descriptor of a new file that nobody else has, with a lock on it."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_SURPRISE
    while True:
        part = folder / f".cs231n-{secrets.token_hex(8)}.part"
        with suppress(FileExistsError):
            descriptor = os.open(part, flags, 0o666)  # less what the umask takes, as any file
            if _is_mine(descriptor):
                return part, descriptor
            os.close(descriptor)  # `sweep` came between, and took it for left over


def _is_mine(descriptor: int) -> bool:
    """Lock a new part, and tell whether it was not taken for left over meanwhile."""
    try:
        return lock_descriptor(descriptor, blocking=False) and os.fstat(descriptor).st_nlink > 0
    except OSError:  # a file system without locks, where `sweep` takes nothing
        return True


def sweep(folder: Path) -> None:
    """Remove the parts that killed writers left in a folder: those that nobody has locked.

    Parameters
    ----------
    folder : Path
        Folder in which files are replaced.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _PART.fullmatch(entry.name):
                with suppress(OSError):
                    _remove_if_left(entry.path)


def _remove_if_left(path: str) -> None:
    """Remove a regular file whose lock is free."""
    descriptor = os.open(path, os.O_RDWR | NO_SURPRISE)
    try:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        left = regular and lock_descriptor(descriptor, blocking=False)
        if left and _OPEN_FILES_MOVE:
            os.unlink(path)
    finally:
        os.close(descriptor)
    if left and not _OPEN_FILES_MOVE:
        os.unlink(path)


def write_bytes(path: str | os.PathLike[str], content: bytes) -> Path:
    """Write bytes to a file, replacing it as a whole.

    Parameters
    ----------
    path : str or path
        File.
    content : bytes

    Returns
    -------
    path : Path
        The file written.

    Raises
    ------
    OSError
        As `replacing`.
    """
    with replacing(path) as file:
        file.write(content)
    return Path(path)


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write text in UTF-8 to a file, replacing it as a whole.

    Parameters
    ----------
    path : str or path
        File.
    text : str

    Returns
    -------
    path : Path
        The file written.

    Raises
    ------
    OSError
        As `replacing`.
    """
    return write_bytes(path, text.encode("utf-8"))


def write_figure(path: str | os.PathLike[str], figure: Any, **options: Any) -> Path:
    """Write a Matplotlib figure to a file, replacing it as a whole.

    Parameters
    ----------
    path : str or path
        File; its ending names the format.
    figure : matplotlib Figure
    **options
        For `Figure.savefig`.

    Returns
    -------
    path : Path
        The file written.

    Raises
    ------
    OSError
        As `replacing`.
    ValueError
        If Matplotlib does not know the format.
    """
    target = _named("write_figure", path)
    options.setdefault("format", target.suffix[1:] or "png")
    with replacing(target) as file:
        figure.savefig(file, **options)
    return target


def sync_folder(folder: Path) -> None:
    """Write a folder's entries to the disk, so that a new name outlives a power failure."""
    if not hasattr(os, "O_DIRECTORY"):  # some systems cannot open a folder
        return
    with suppress(
        OSError
    ):  # and some file systems cannot flush one: the file is there all the same
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _named(where: str, path: str | os.PathLike[str], name: str = "path") -> Path:
    """Return a path that ends in the name of a file."""
    found = checks.path(where, name, path)
    if not found.name:
        raise ValueError(f"{where}: {name} is {os.fspath(path)!r}; expected the name of a file")
    return found


def npz_path(path: str | os.PathLike[str], where: str, name: str = "path") -> Path:
    """Return the path with the ending `.npz`, which is added where it is missing."""
    path = _named(where, path, name)
    return path if path.suffix == ".npz" else path.with_name(f"{path.name}.npz")


def write_npz(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> Path:
    """Write named arrays to a `.npz` file, replacing it as a whole.

    Parameters
    ----------
    path : str or path
        File; `.npz` is added where it is missing.
    arrays : mapping of str to ndarray
        Of numbers or text.  A name may be anything that `read_npz` gives back.

    Returns
    -------
    path : Path
        The file written.

    Raises
    ------
    TypeError, ValueError
        If an array holds something else, or has a name that cannot stand in such a file.
    OSError
        If the file cannot be written; an old one is then still there.
    """
    content = npz.checked("write_npz", arrays)
    target = npz_path(path, "write_npz")
    with replacing(target) as file:
        npz.write(file, content)
    return target


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read all arrays of a `.npz` file; pickled objects are refused.

    Parameters
    ----------
    path : str or path
        File; `.npz` is added where it is missing.

    Returns
    -------
    arrays : dict of str to ndarray

    Raises
    ------
    OSError
        If there is no such file, or it cannot be read.
    ValueError
        If the file is damaged, or holds anything but arrays of numbers or text.
    """
    source = npz_path(path, "read_npz")
    with npz.open_npz("read_npz", source) as archive:
        return {name: archive.array(name) for name in archive.names}
