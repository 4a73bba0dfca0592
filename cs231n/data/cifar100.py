"""Read the Python version of CIFAR-100: two pickles with fine and coarse labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cs231n.core import checks
from cs231n.data.cifar10 import md5
from cs231n.files.safe_pickle import DataError, load_pickle

__all__ = ["BYTES", "CLASSES", "FOLDER", "MD5", "read_names", "read_part"]

FOLDER = "cifar-100-python"
CLASSES = {"fine": 100, "coarse": 20}
MD5 = {
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}
BYTES = {"train": 155249918}
FIX = "download CIFAR-100 again: python -m cs231n download --data cifar100"


def read_part(path: Path, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the images (n, 3, 32, 32) uint8 and the fine or coarse labels (n,) of a file."""
    checks.regular_file("get_CIFAR100_data", path)
    if BYTES.get(path.name) == path.stat().st_size and md5(path) != MD5[path.name]:
        raise DataError(f"{path}: altered (its MD5 is not the official one); {FIX}")
    content = _read(path)
    data, labels = content.get("data"), content.get(f"{kind}_labels")
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != 3072:
        raise DataError(f"{path}: has no array 'data' (n, 3072) of uint8; {FIX}")
    if (
        not isinstance(labels, list)
        or len(labels) != len(data)
        or not all(type(label) is int and 0 <= label < CLASSES[kind] for label in labels)
    ):
        raise DataError(
            f"{path}: has no list '{kind}_labels' of {len(data)} integers from 0 to"
            f" {CLASSES[kind] - 1}; {FIX}"
        )
    return data.reshape(-1, 3, 32, 32), np.array(labels, np.int64)


def read_names(path: Path, kind: str) -> tuple[str, ...]:
    """Return the names of the classes, from the file meta."""
    names = _read(path).get(f"{kind}_label_names")
    if (
        not isinstance(names, list)
        or len(names) != CLASSES[kind]
        or not all(isinstance(name, str) and name.isprintable() for name in names)
    ):
        raise DataError(f"{path}: has no list of {CLASSES[kind]} names; {FIX}")
    return tuple(names)


def _read(path: Path) -> dict[Any, Any]:
    """Return the dict in a pickle."""
    checks.regular_file("get_CIFAR100_data", path)
    try:
        with open(path, "rb") as file:
            content = load_pickle(file)
    except DataError as error:
        raise DataError(f"{error}; {FIX}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path}: is no dict, as a file of CIFAR-100 is; {FIX}")
    return content
