"""Arrays out of `.npz` files that may come from a stranger.

NumPy's own reader believes what a file says: it allocates the shape that a header claims before it
looks for the numbers, unpacks whatever a member expands to, and parses the header as Python source.
Here a size is believed only when it agrees with the bytes that are there, and a header is read by
one regular expression.  Nothing is unpickled and no name in an archive is ever a path.
"""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from cs231n.core import checks
from cs231n.files.regular import bytes_there, open_regular

__all__ = ["KINDS", "Archive", "Member", "checked", "open_npz", "write"]

KINDS = "biufcSU"  # of dtypes, numbers and text: others hold objects, records or dates
MAX_GROWTH = 256 * 2**20  # bytes that a file may unpack to beyond its own size
MAX_READ = 2**20  # bytes read at once: also the largest directory, of some 10,000 members
MAX_HEADER = 10_000  # characters, as in NumPy
MAX_NAME = 1_000  # bytes
MAX_CODE_POINT = 0x10FFFF
_ENTRY = 128  # bytes of a member in the directory, at most, beside its name

_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others unpack to any size in one step
_LENGTH_FORMATS = {(1, 0): "<H", (2, 0): "<I"}  # of the header's length, by version
# What numpy.save writes; under Python 2 some lengths ended in L.
_HEADER = re.compile(
    r"\{'descr': '([<>|=]?[biufcSUO][0-9]{0,9})', 'fortran_order': (True|False), "
    r"'shape': \(((?:[0-9]{1,19}L?, ?)*(?:[0-9]{1,19}L?)?)\),? ?\}\s*"
)


class Member(NamedTuple):
    """Name, what the header says, and the bytes that follow it."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    is_fortran: bool
    data: np.ndarray

    def array(self) -> np.ndarray:
        """Return the array, in the memory of its bytes."""
        if self.dtype.kind not in KINDS:
            raise ValueError(f"{self.name} is an array of {self.dtype}, neither numbers nor text")
        if math.prod(self.shape) * self.dtype.itemsize != self.data.size:
            raise ValueError(
                f"{self.name} promises {self.shape} of {self.dtype}, {self.data.size} bytes"
                f" are there"
            )
        if self.dtype.kind == "U" and self.data.size:
            points = self.data.view(np.dtype(np.uint32).newbyteorder(self.dtype.byteorder))
            if points.max() > MAX_CODE_POINT:
                raise ValueError(f"{self.name} holds characters that are none")
        order: Any = "F" if self.is_fortran else "C"
        return np.ndarray(self.shape, self.dtype, buffer=self.data, order=order)


class Archive:
    """The members of an open `.npz` file by name, without the ending `.npy`."""

    def __init__(self, where: str, path: Path, archive: zipfile.ZipFile, size: int) -> None:
        self._where, self._path, self._archive = where, path, archive
        entries = archive.infolist()
        self._entries = {entry.filename.removesuffix(".npy"): entry for entry in entries}
        if len(self._entries) < len(entries):
            raise ValueError("two members of one name")
        if sum(entry.file_size for entry in entries) > size + MAX_GROWTH:
            raise ValueError(f"its {size} bytes unpack to more than {MAX_GROWTH} further ones")

    @property
    def names(self) -> list[str]:
        """The names in the order of the file."""
        return list(self._entries)

    def member(self, name: str) -> Member:
        """Return one member, whatever its dtype."""
        with _explained(self._where, self._path):
            return self._read(name)

    def array(self, name: str) -> np.ndarray:
        """Return one member that holds numbers or text."""
        with _explained(self._where, self._path):
            return self._read(name).array()

    def _read(self, name: str) -> Member:
        """Return one member, in new memory as large as the archive says that it is."""
        entry = self._entries.get(name)
        if entry is None:
            raise ValueError(f"there is no array {name}")
        if not entry.filename.endswith(".npy") or entry.compress_type not in _METHODS:
            raise ValueError(f"{entry.filename} is no array that NumPy wrote")
        with self._archive.open(entry) as file:
            shape, dtype, is_fortran, length = _read_header(name, file)
            data = np.empty(max(entry.file_size - length, 0), np.uint8)
            for start in range(0, data.size, MAX_READ):
                part = data[start : start + MAX_READ]
                part[:] = np.frombuffer(file.read(len(part)), np.uint8)
            if file.read(1):  # the checksum is compared at the end
                raise ValueError(f"{name} has more bytes than it should")
        return Member(name, shape, dtype, is_fortran, data)


@contextmanager
def _explained(where: str, path: Path) -> Iterator[None]:
    """Turn whatever broken bytes raise in zipfile and NumPy, a dozen kinds, into one error."""
    try:
        yield
    except Exception as error:
        raise ValueError(
            f"{where}: {path} is damaged or is no .npz file of plain arrays ({error})"
        ) from error


def _read_header(name: str, file: Any) -> tuple[tuple[int, ...], np.dtype, bool, int]:
    """Return shape, dtype, order and length of a `.npy` header."""
    magic = file.read(8)
    form = _LENGTH_FORMATS.get(tuple(magic[6:]))
    if magic[:6] != b"\x93NUMPY" or form is None:
        raise ValueError(f"{name} is no array of .npy version 1 or 2")
    (length,) = struct.unpack(form, file.read(struct.calcsize(form)))
    if length > MAX_HEADER:
        raise ValueError(f"{name} has a header of {length} bytes")
    found = _HEADER.fullmatch(file.read(length).decode("latin-1"))
    if found is None:
        raise ValueError(f"{name} has a header that numpy.save would not write")
    descr, is_fortran, lengths = found.groups()
    shape = tuple(int(number) for number in re.findall(r"[0-9]+", lengths))
    return shape, np.dtype(descr), is_fortran == "True", len(magic) + struct.calcsize(form) + length


class _Guarded(io.BufferedReader):
    """A file that is never read in large pieces: a zip's directory would come in one."""

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes; without a size, which zipfile leaves out at the end, a piece."""
        size = MAX_READ if size is None or size < 0 else size
        if size > MAX_READ:
            raise ValueError(f"its directory has {size} bytes; expected at most {MAX_READ}")
        return super().read(size)


@contextmanager
def open_npz(where: str, path: Path) -> Iterator[Archive]:
    """Open a `.npz` file for reading.

    Parameters
    ----------
    where : str
        Name of the calling function, for messages.
    path : Path

    Yields
    ------
    archive : Archive

    Raises
    ------
    OSError
        If the file cannot be opened.
    ValueError
        If the file is damaged, or holds anything but arrays of numbers or text; names the file.
    """
    with _Guarded(open_regular(where, path)) as file:
        with _explained(where, path):
            archive = Archive(where, path, zipfile.ZipFile(file), bytes_there(file.fileno()))
        yield archive


def checked(where: str, arrays: Any) -> dict[str, np.ndarray]:
    """Return named arrays as arrays, once a `.npz` file can hold them and give them back.

    Parameters
    ----------
    where : str
        Name of the calling function, for messages.
    arrays : mapping of str to ndarray

    Returns
    -------
    arrays : dict of str to ndarray

    Raises
    ------
    TypeError, ValueError
        If an array holds anything but numbers or text, or a name would not come back.
    """
    found = checks.mapping(where, "arrays", arrays)
    size = sum(_ENTRY + len(_checked_name(where, name)) for name in found)
    if size > MAX_READ:
        raise ValueError(f"{where}: {len(found)} names are too many or too long for one file")
    for name, array in found.items():
        dtype = checks.any_array(where, name, array).dtype
        if dtype.kind not in KINDS:
            raise TypeError(f"{where}: {name} is an array of {dtype}; expected numbers or text")
    return {str(name): np.asarray(array) for name, array in found.items()}


def _checked_name(where: str, name: Any) -> bytes:
    """Return a name in UTF-8; an error if a zip file would cut it or turn it into another."""
    if not isinstance(name, str):
        raise TypeError(f"{where}: a name is {name!r} ({type(name).__name__}); expected text")
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        encoded = b""
    if not 0 < len(encoded) <= MAX_NAME or "\0" in name or "\\" in name:
        shown = repr(name) if len(name) < 60 else f"{name[:50]!r}... ({len(name)} characters)"
        raise ValueError(
            f"{where}: an array has the name {shown}; expected 1 to {MAX_NAME} bytes in UTF-8"
            f" without backslashes and null characters"
        )
    return encoded


def write(file: BinaryIO, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays that `checked` gave to an open file, byte for byte as `numpy.savez` does.

    That takes names for its own arguments, and drops an array of the name allow_pickle.
    """
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
