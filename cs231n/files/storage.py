"""Arrays in `.npz` files: written whole or not at all, and read without running anything."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from cs231n.core import checks
from cs231n.files.npz import KINDS, open_npz

__all__ = ["read_npz", "replacing", "write_npz"]


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file beside the target for writing, and move it onto the target when all went well.

    A reader sees the old file or the new one, never a part; an error leaves the old one alone.

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
        If the file cannot be written.
    """
    target = _named("replacing", path)
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
        sync_folder(target.parent)
    finally:
        part.unlink(missing_ok=True)


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
        Of numbers or text.

    Returns
    -------
    path : Path
        The file written.

    Raises
    ------
    TypeError
        If an array holds something else, which `read_npz` would refuse.
    OSError
        If the file cannot be written; an old one is then still there.
    """
    for name, array in checks.mapping("write_npz", "arrays", arrays).items():
        dtype = checks.any_array("write_npz", name, array).dtype
        if dtype.kind not in KINDS:
            raise TypeError(f"write_npz: {name} is an array of {dtype}; expected numbers or text")
    target = npz_path(path, "write_npz")
    # Any, for the stubs of savez take every keyword for its own option.
    named: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    with replacing(target) as file:
        np.savez(file, **named)
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
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is damaged, or holds anything but arrays of numbers or text.
    """
    source = npz_path(path, "read_npz")
    try:
        with open_npz("read_npz", source) as archive:
            return {name: archive.array(name) for name in archive.names}
    except FileNotFoundError:
        raise FileNotFoundError(f"read_npz: there is no file {source}") from None
