"""Read the two ImageNet excerpts that the course hands out: Tiny ImageNet and 25 images."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from cs231n.core import checks
from cs231n.data import pictures
from cs231n.data.dataset import Dataset, mean_of_images
from cs231n.data.normalization import Normalization
from cs231n.files.npz import Archive, open_npz
from cs231n.files.safe_pickle import DataError, parse_pickle

__all__ = [
    "Images",
    "class_words",
    "load_tiny_imagenet",
    "read_excerpt",
    "read_test",
    "read_training",
    "read_validation",
]

SIDE = 64
MAX_TABLE = 64 * 2**20  # bytes of a table; words.txt has 3 million
_PLAIN_KINDS = "iuf"

Images = tuple[np.ndarray, "np.ndarray | None"]


def load_tiny_imagenet(
    path: str | os.PathLike[str], dtype: DTypeLike = np.float32, subtract_mean: bool = True
) -> Dataset:
    """Load Tiny ImageNet (or TinyImageNet-100-A and the like) from its unpacked folder.

    Parameters
    ----------
    path : path
        Folder with ``wnids.txt``, ``words.txt``, ``train``, ``val`` and ``test``.
    dtype : dtype, optional
        A float type for the images.
    subtract_mean : bool, optional
        Subtract the mean of the training images from all images.

    Returns
    -------
    Dataset
        The dict ``class_names`` (a list of words for each label), ``X_train, y_train, X_val, y_val,
        X_test, y_test`` (images (N, 3, 64, 64), labels (N,) int64; ``y_test`` is None where the
        labels are not public), ``mean_image`` (3, 64, 64) float64.

    Raises
    ------
    FileNotFoundError
        If a file or folder is missing.
    ValueError
        If a table or an image is broken; names the file.
    """
    dtype = checks.float_dtype("load_tiny_imagenet", dtype)
    subtract_mean = checks.flag("load_tiny_imagenet", "subtract_mean", subtract_mean)
    root = checks.path("load_tiny_imagenet", "path", path)
    wnids = read_wnids(root)
    X_train, y_train = read_training(root, wnids, dtype)
    X_val, y_val = read_validation(root, wnids, dtype)
    X_test, y_test = read_test(root, wnids, dtype)
    if not len(X_train):
        raise DataError(f"{root}: has no training images")
    mean_image = mean_of_images(X_train)
    words = class_words(root, wnids)
    normalization = Normalization(mean_image if subtract_mean else None)
    normalization.apply_in_place(X_train, X_val, X_test)
    arrays = {
        "class_names": words,
        "X_train": X_train,
        "y_train": y_train,
        "X_val": X_val,
        "y_val": y_val,
        "X_test": X_test,
        "y_test": y_test,
        "mean_image": mean_image,
    }
    return Dataset(arrays, [names[0] for names in words], normalization)


def class_words(root: Path, wnids: Sequence[str]) -> list[list[str]]:
    """Return the words for each WordNet id, from words.txt."""
    table = (line.partition("\t") for line in _lines(root / "words.txt"))
    words = {wnid: text for wnid, _, text in table}
    return [[word.strip() for word in words.get(wnid, wnid).split(",")] for wnid in wnids]


def read_wnids(root: Path) -> list[str]:
    """Return the WordNet ids of the classes, from wnids.txt; a class's label is its place there."""
    return _lines(root / "wnids.txt")


def read_training(root: Path, wnids: Sequence[str], dtype: np.dtype) -> Images:
    """Every training image, class by class, in the order of the file names."""
    files = [_files(root / "train" / _plain(wnid, root) / "images") for wnid in wnids]
    labels = np.repeat(np.arange(len(wnids)), [len(names) for names in files])
    return _read_images([path for names in files for path in names], dtype), labels


def read_validation(root: Path, wnids: Sequence[str], dtype: np.dtype) -> Images:
    """Return the validation images and labels, in the order of val_annotations.txt."""
    annotations = _annotations(root / "val" / "val_annotations.txt", wnids)
    paths = [root / "val" / "images" / name for name in annotations]
    return _read_images(paths, dtype), np.array(list(annotations.values()), np.int64)


def read_test(root: Path, wnids: Sequence[str], dtype: np.dtype) -> Images:
    """Return the test images in the order of their names, and their labels where known."""
    paths = _files(root / "test" / "images")
    table = root / "test" / "test_annotations.txt"
    labels = None
    if table.is_file():
        annotations = _annotations(table, wnids)
        missing = [path.name for path in paths if path.name not in annotations]
        if missing:
            raise DataError(f"{table}: has no line for {missing[0]}")
        labels = np.array([annotations[path.name] for path in paths], np.int64)
    return _read_images(paths, dtype), labels


def read_excerpt(path: Path) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Return the images, labels and class names of ``imagenet_val_25.npz``, of its form."""
    X, y, class_names = _read_arrays(path, ("X", "y", "label_map"))
    if not (np.ndim(X) == 4 and np.shape(y) == (len(X),) and isinstance(class_names, dict)):
        raise DataError(
            f"{path}: expected images X (N, H, W, 3), labels y (N,) and a dict label_map"
        )
    return X, y, class_names


def _read_arrays(path: Path, names: Sequence[str]) -> list[Any]:
    """Return the named members of an .npz file; an object array is read by the safe unpickler."""
    try:
        with open_npz("load_imagenet_val", path) as archive:
            return [_array(path, archive, name) for name in names]
    except DataError:
        raise
    except ValueError as error:
        raise DataError(str(error)) from error


def _array(path: Path, archive: Archive, name: str) -> Any:
    """Return the array of a member, or the one object that an object array holds."""
    member = archive.member(name)
    if member.dtype.hasobject:
        return parse_pickle(member.data, f"{path}: {name}", object_scalar=True)
    if member.dtype.kind not in _PLAIN_KINDS:
        raise DataError(f"{path}: {name} holds {member.dtype}; expected numbers")
    try:
        return member.array()
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def _lines(path: Path) -> list[str]:
    """Return the lines of a text file that are not empty."""
    checks.regular_file("load_tiny_imagenet", path)
    if path.stat().st_size > MAX_TABLE:
        raise DataError(f"{path}: has more than {MAX_TABLE} bytes")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is no text in UTF-8 ({error})") from error
    return [line for line in text.splitlines() if line.strip()]


def _plain(name: str, path: Path) -> str:
    """Return a name that is no path: what a table says stays inside its folder."""
    if Path(name).name != name or name in (os.curdir, os.pardir) or "\0" in name:
        raise DataError(f"{path}: {name!r} is not the name of a file in its folder")
    return name


def _files(folder: Path) -> list[Path]:
    """Return the files of a folder in the order of their names."""
    return sorted(path for path in folder.iterdir() if path.is_file())


def _annotations(path: Path, wnids: Sequence[str]) -> dict[str, int]:
    """File name to label, from the first two columns of a table."""
    labels = {wnid: label for label, wnid in enumerate(wnids)}
    annotations = {}
    for line in _lines(path):
        name, _, rest = line.partition("\t")
        wnid = rest.split("\t")[0].strip()
        if wnid not in labels:
            raise DataError(f"{path}: {name} has the class {wnid!r}, which wnids.txt does not")
        annotations[_plain(name, path)] = labels[wnid]
    return annotations


def _read_images(paths: Sequence[Path], dtype: np.dtype) -> np.ndarray:
    """Return the pictures as (N, 3, 64, 64)."""
    X = np.empty((len(paths), 3, SIDE, SIDE), dtype)
    with pictures.quiet():
        for image, path in zip(X, paths):
            pixels = np.asarray(pictures.open_picture("load_tiny_imagenet", path))
            if pixels.shape != (SIDE, SIDE, 3):
                raise DataError(f"{path}: has shape {pixels.shape}; expected ({SIDE}, {SIDE}, 3)")
            image[:] = pixels.transpose(2, 0, 1)
    return X
