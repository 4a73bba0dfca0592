"""Read plain arrays out of `.mat` files of MATLAB's version 5, such as SVHN's.

SciPy's reader ends in a segmentation fault on some damaged files. Here a size is believed only
when it agrees with the bytes that are there, and whatever is no array of numbers is passed over.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cs231n.core import checks
from cs231n.files.safe_pickle import DataError

__all__ = ["read_mat"]

MAX_BYTES = 512 * 2**20  # of a file; the larger one of SVHN has 182 million
MAX_GROWTH = 256 * 2**20  # bytes that a variable may unpack to beyond the file's size
BLOCK = 2**20  # bytes that are unpacked at once
MAX_AXES = 4

_HEADER = 128  # bytes, the last four of them version and byte order
_ORDERS = {b"\x00\x01IM": "<", b"\x01\x00MI": ">"}
_MATRIX, _COMPRESSED = 14, 15
_DTYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8",
           13: "u8"}  # fmt: skip
_NUMERIC_CLASSES = range(6, 16)  # of MATLAB: double to uint64; others are cells, structs, text
_COMPLEX = 0x0800


def read_mat(where: str, path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """Return those of the named variables that are arrays of real numbers.

    Parameters
    ----------
    where : str
        Name of the calling function, for messages.
    path : Path
    names : collection of str

    Returns
    -------
    dict of ndarray
        Read-only, in the memory of the file.

    Raises
    ------
    OSError
        If the file cannot be read.
    DataError
        If it is damaged or of another version; names it.
    """
    checks.regular_file(where, path)
    if path.stat().st_size > MAX_BYTES:
        raise DataError(f"{where}: {path} has more than {MAX_BYTES} bytes")
    data = memoryview(path.read_bytes())
    order = _ORDERS.get(bytes(data[124:128]))
    try:
        if order is None:
            raise ValueError("its header is another one")
        return dict(_variables(data, order, names))
    except (ValueError, struct.error, zlib.error) as error:
        raise DataError(f"{where}: {path} is no whole .mat file of version 5 ({error})") from error


def _variables(
    data: memoryview, order: str, names: Collection[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and array of each variable that is wanted."""
    position = _HEADER
    while position < len(data):
        kind, content, position = _element(data, position, order, padded=False)
        if kind == _COMPRESSED:
            kind, content, _ = _element(_inflated(content, len(data)), 0, order)
        if kind == _MATRIX:
            yield from _array(content, order, names)


def _element(
    data: memoryview, position: int, order: str, padded: bool = True
) -> tuple[int, memoryview, int]:
    """Return type and content of an element, and where the next one starts."""
    (first,) = struct.unpack_from(order + "I", data, position)
    if first >> 16:  # up to four bytes lie in the tag itself
        kind, size, start, end = first & 0xFFFF, first >> 16, position + 4, position + 8
    else:
        kind, size = struct.unpack_from(order + "2I", data, position)
        start = position + 8
        end = start + size + (-size % 8 if padded else 0)
    content = data[start : start + size]
    if len(content) < size or start + size > end:
        raise ValueError(f"byte {position} promises {size} bytes, {len(content)} are there")
    return kind, content, end


def _inflated(content: memoryview, size: int) -> memoryview:
    """Return what was compressed: its memory grows with what comes out, up to a limit."""
    unzip = zlib.decompressobj()
    blocks, left, rest = [], size + MAX_GROWTH, bytes(content)
    while not unzip.eof:
        blocks.append(unzip.decompress(rest, BLOCK))
        rest = unzip.unconsumed_tail
        left -= len(blocks[-1])
        if left < 0:
            raise ValueError(f"a variable unpacks to more than {MAX_GROWTH} bytes beyond the file")
        if not blocks[-1] and not unzip.eof:
            raise ValueError("a compressed variable breaks off")
    return memoryview(bytearray().join(blocks)).toreadonly()


def _array(
    content: memoryview, order: str, names: Collection[str]
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and array of a variable, if it is wanted and holds real numbers."""
    _, flags, position = _element(content, 0, order)
    _, lengths, position = _element(content, position, order)
    _, name, position = _element(content, position, order)
    text = bytes(name).decode("latin-1")
    (flag,) = struct.unpack_from(order + "I", flags)
    if text not in names or flag & 0xFF not in _NUMERIC_CLASSES or flag & _COMPLEX:
        return
    kind, numbers, _ = _element(content, position, order)
    shape = _shape(lengths, order)
    dtype: Any = np.dtype(order + _DTYPES[kind]) if kind in _DTYPES else None
    if dtype is None or math.prod(shape) * dtype.itemsize != len(numbers):
        raise ValueError(f"{text} promises {shape} numbers, {len(numbers)} bytes are there")
    yield text, np.ndarray(shape, dtype, buffer=numbers, order="F")


def _shape(lengths: memoryview, order: str) -> tuple[int, ...]:
    """Return the lengths of the axes."""
    count = len(lengths) // 4
    shape = struct.unpack_from(f"{order}{count}i", lengths)
    if not 2 <= count <= MAX_AXES or min(shape) < 0:
        raise ValueError(f"an array has {count} axes or a negative length")
    return shape
