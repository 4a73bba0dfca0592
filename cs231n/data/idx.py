"""Read idx files, the format of MNIST and Fashion-MNIST, plain or gzipped."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from cs231n.core import checks
from cs231n.files.safe_pickle import DataError

__all__ = ["FASHION_CLASSES", "FILES", "FOLDERS", "MNIST_CLASSES", "find_idx", "read_idx"]

MAX_BYTES = 512 * 2**20  # of the numbers; MNIST's largest file has 47 million
BLOCK = 2**20  # bytes that are unpacked at once
UBYTE = 8  # the type of the numbers: idx knows others, no data set of images has them

MNIST_CLASSES = tuple("0123456789")
FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte",
         "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")  # fmt: skip
# Where torchvision and others put them, below a folder of data sets.
FOLDERS = {
    "mnist": ("MNIST/raw", "MNIST", "mnist"),
    "fashion-mnist": ("FashionMNIST/raw", "FashionMNIST", "fashion-mnist", "fashion"),
}


def find_idx(folder: Path) -> list[Path] | None:
    """Return the four files of a folder, images and labels of training and test, if all are there.

    Each may be gzipped, and named with a dot (``train-images.idx3-ubyte``) as some archives do.
    """
    found = []
    for name in FILES:
        dotted = name.replace("-idx", ".idx")
        places = [folder / (each + end) for each in (name, dotted) for end in ("", ".gz")]
        there = [place for place in places if place.is_file()]
        if not there:
            return None
        found.append(there[0])
    return found


def read_idx(where: str, path: Path, axes: int) -> np.ndarray:
    """Return the array of bytes in an idx file, checked against every byte that is there.

    Parameters
    ----------
    where : str
        Name of the calling function, for messages.
    path : Path
    axes : int
        How many axes the array must have.

    Returns
    -------
    ndarray of uint8

    Raises
    ------
    OSError
        If the file cannot be read.
    DataError
        If it is damaged, or no such file; names it.
    """
    checks.regular_file(where, path)
    try:
        with open(path, "rb") as file:
            is_packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            if not is_packed:
                return _read(path, file, axes)
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _read(path, unpacked, axes)  # type: ignore[arg-type]
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{where}: {path} is no whole gzip file ({error})") from error
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def _read(path: Path, file: BinaryIO, axes: int) -> np.ndarray:
    """Return the array of an open file; memory grows with what is there, not with what is said."""
    shape = _header(path, file, axes)
    size = math.prod(shape)
    blocks = []
    left = size
    while left > 0:
        block = file.read(min(left, BLOCK))
        if not block:
            raise DataError(f"{path} promises {size} numbers, {size - left} are there")
        blocks.append(block)
        left -= len(block)
    if file.read(1):
        raise DataError(f"{path} has more bytes than the {size} that it promises")
    return np.frombuffer(bytearray().join(blocks), np.uint8).reshape(shape)


def _header(path: Path, file: BinaryIO, axes: int) -> Sequence[int]:
    """Return the lengths of the axes."""
    head = file.read(4 + 4 * axes)
    if len(head) < 4 + 4 * axes or head[:4] != bytes([0, 0, UBYTE, axes]):
        raise DataError(f"{path} is no idx file of bytes with {axes} axes")
    shape = struct.unpack(f">{axes}I", head[4:])
    if math.prod(shape) > MAX_BYTES or 0 in shape:
        raise DataError(f"{path} promises {shape} numbers; expected some, at most {MAX_BYTES}")
    return shape
