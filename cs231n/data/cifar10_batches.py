"""CIFAR-10 as arrays, read from the official batches.

These are pickles, and pickles are programs; `safe_pickle` reads them without running anything.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from cs231n.core import checks
from cs231n.data.cifar10 import FIX, TEST_BATCHES, TRAINING_BATCHES, find_cifar10, is_altered
from cs231n.data.dataset import Dataset, mean_of_images, normalized
from cs231n.files.safe_pickle import DataError, load_pickle

__all__ = [
    "CIFAR10_CLASSES",
    "cifar10_mean_image",
    "get_CIFAR10_data",
    "load_CIFAR10",
    "load_CIFAR_batch",
]

CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
BATCH_IMAGES = 10_000
IMAGE_SHAPE = (3, 32, 32)

PathLike = str | os.PathLike[str]


def _folder_first(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a path come before all other positional arguments, as some notebooks have it."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if args and isinstance(args[0], (str, os.PathLike)):
            folder, *rest = args
            return function(*rest, cifar10_dir=folder, **kwargs)
        return function(*args, **kwargs)

    return wrapper


@_folder_first
def get_CIFAR10_data(  # noqa: N802
    num_training: int = 49000,
    num_validation: int = 1000,
    num_test: int = 1000,
    subtract_mean: bool = True,
    dtype: DTypeLike = np.float32,
    cifar10_dir: PathLike | None = None,
) -> Dataset:
    """Load CIFAR-10 as training, validation and test data with the mean image subtracted.

    A path as first positional argument is taken as `cifar10_dir`, and the others follow it.

    Parameters
    ----------
    num_training, num_validation : int, optional
        How many of the 50000 training images to train on, and how many of the next ones to
        validate on.
    num_test : int, optional
        How many of the 10000 test images to take.
    subtract_mean : bool, optional
        Subtract the mean of the training images (`cifar10_mean_image`) from all images.
    dtype : dtype, optional
        A float type for the images.
    cifar10_dir : path, optional
        Folder of the batches, or the one that holds ``cifar-10-batches-py``. Defaults to what
        the environment variable CS231N_DATA names, then ``datasets`` beside the package, in it,
        in the working directory, ``cs231n/datasets`` there, and the user's data folder (on Linux
        ``~/.local/share/cs231n/datasets``).  One of these folders stands for all of them.

    Returns
    -------
    Dataset
        The dict ``X_train, y_train, X_val, y_val, X_test, y_test``: images (N, 3, 32, 32), labels
        (N,) int64; with the attributes `class_names` and `normalization`.

    Raises
    ------
    FileNotFoundError
        If the batches are not there; says where it looked and how to get them.
    DataError
        If a batch is truncated, altered or no batch; names the file.
    ValueError
        If there are fewer images than asked for.

    Notes
    -----
    The results are allocated once and filled from one batch at a time, so that the peak of
    memory is what is returned and one batch file.
    """
    where = "get_CIFAR10_data"
    num_training = checks.integer(where, "num_training", num_training, least=1)
    num_validation = checks.integer(where, "num_validation", num_validation, least=0)
    num_test = checks.integer(where, "num_test", num_test, least=0)
    subtract_mean = checks.flag(where, "subtract_mean", subtract_mean)
    dtype = checks.float_dtype(where, dtype)
    folder = _folder(where, cifar10_dir)
    X, y = _load_images(where, folder, TRAINING_BATCHES, num_training + num_validation, dtype)
    X_test, y_test = _load_images(where, folder, TEST_BATCHES, num_test, dtype)
    arrays = {
        "X_train": X[:num_training],
        "y_train": y[:num_training],
        "X_val": X[num_training:],
        "y_val": y[num_training:],
        "X_test": X_test,
        "y_test": y_test,
    }
    return normalized(arrays, CIFAR10_CLASSES, subtract_mean)


def cifar10_mean_image(
    num_training: int = 49000, cifar10_dir: PathLike | None = None
) -> np.ndarray:
    """Compute the mean image that `get_CIFAR10_data` subtracts, for images of one's own.

    Parameters
    ----------
    num_training : int, optional
        Over how many of the training images.
    cifar10_dir : path, optional
        As in `get_CIFAR10_data`.

    Returns
    -------
    ndarray of shape (3, 32, 32)
        float64, from exact sums.
    """
    where = "cifar10_mean_image"
    num_training = checks.integer(where, "num_training", num_training, least=1)
    X, _ = _load_images(
        where, _folder(where, cifar10_dir), TRAINING_BATCHES, num_training, np.dtype(np.uint8)
    )
    return mean_of_images(X)


def load_CIFAR10(ROOT: PathLike) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # noqa: N802
    """Load all of CIFAR-10 as it is, channels last.

    Parameters
    ----------
    ROOT : path
        Folder of the batches, or the one that holds ``cifar-10-batches-py``.  A usual place, such
        as ``cs231n/datasets/cifar-10-batches-py``, stands for all that `get_CIFAR10_data` knows.

    Returns
    -------
    Xtr : ndarray of shape (50000, 32, 32, 3)
        Training images, float32 from 0 to 255.
    Ytr : ndarray of shape (50000,)
        Their labels, int64.
    Xte : ndarray of shape (10000, 32, 32, 3)
        Test images.
    Yte : ndarray of shape (10000,)
        Their labels.

    Raises
    ------
    FileNotFoundError, DataError
        As `get_CIFAR10_data`.
    """
    folder = find_cifar10(checks.path("load_CIFAR10", "ROOT", ROOT))
    return (
        *_channels_last([_read_batch(folder / name) for name in TRAINING_BATCHES]),
        *_channels_last([_read_batch(folder / name) for name in TEST_BATCHES]),
    )


def load_CIFAR_batch(filename: PathLike) -> tuple[np.ndarray, np.ndarray]:  # noqa: N802
    """Load one CIFAR-10 batch file as it is, channels last.

    Parameters
    ----------
    filename : path
        One of the files ``data_batch_1`` to ``data_batch_5`` or ``test_batch``.

    Returns
    -------
    X : ndarray of shape (N, 32, 32, 3)
        Images, float32 from 0 to 255.
    Y : ndarray of shape (N,)
        Labels, int64.

    Raises
    ------
    FileNotFoundError, DataError
        As `get_CIFAR10_data`.
    """
    return _channels_last([_read_batch(checks.path("load_CIFAR_batch", "filename", filename))])


def _folder(where: str, cifar10_dir: PathLike | None) -> Path:
    """Return the folder of batches: the named one, else the first found."""
    if cifar10_dir is not None:
        cifar10_dir = checks.path(where, "cifar10_dir", cifar10_dir)
    return find_cifar10(cifar10_dir)


def _read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """One batch file: images (n, 3, 32, 32) uint8 and labels (n,) int64."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; {FIX}")
    if is_altered(path):
        raise DataError(f"{path}: altered (its MD5 is not the official one); {FIX}")
    try:
        with open(path, "rb") as file:
            return _check_batch(load_pickle(file), path)
    except DataError as error:
        raise DataError(f"{error}; {FIX}") from error


def _check_batch(batch: Any, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the images and labels of an unpickled batch of whatever size."""
    data, labels = (batch.get("data"), batch.get("labels")) if isinstance(batch, dict) else (0, 0)
    if not isinstance(data, np.ndarray) or data.ndim != 2 or data.shape[1] != 3072:
        raise DataError(f"{path}: no batch, for it has no array 'data' (n, 3072) of uint8")
    if (
        not isinstance(labels, list)
        or len(labels) != len(data)
        or not all(type(label) is int and 0 <= label < len(CIFAR10_CLASSES) for label in labels)
    ):
        raise DataError(
            f"{path}: no CIFAR-10 batch, for it has no list 'labels' of {len(data)} "
            "integers from 0 to 9"
        )
    return data.reshape(-1, *IMAGE_SHAPE), np.array(labels, np.int64)


def _load_images(
    where: str, folder: Path, names: Sequence[str], num: int, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first num images and labels, reading no more batches than it takes."""
    if num > BATCH_IMAGES * len(names):
        raise ValueError(
            f"{where}: {num} images asked for; {', '.join(names)} have {BATCH_IMAGES * len(names)}"
        )
    X, y = np.empty((num, *IMAGE_SHAPE), dtype), np.empty(num, np.int64)
    filled = 0
    for name in names:
        if filled < num:
            images, labels = _read_batch(folder / name)
            end = min(filled + len(images), num)
            X[filled:end], y[filled:end] = images[: end - filled], labels[: end - filled]
            filled = end
            del images, labels  # before the next batch comes in
    if filled < num:
        raise ValueError(
            f"{where}: {num} images asked for; {', '.join(names)} in {folder} have {filled}"
        )
    return X, y


def _channels_last(
    batches: Sequence[tuple[np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """Return the batches as one float32 array (N, 32, 32, 3) and one of labels (N,)."""
    labels = np.concatenate([labels for _, labels in batches])
    images = np.empty((len(labels), 32, 32, 3), np.float32)
    np.concatenate([images.transpose(0, 2, 3, 1) for images, _ in batches], out=images)
    return images, labels
