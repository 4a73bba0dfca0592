"""Data for training: CIFAR-10, the built-in glyphs, and the course's ImageNet excerpts.

Official CIFAR-10 batches are pickles, and pickles are programs; `safe_pickle` reads them without
running anything. Nothing here downloads unless a function named so is called.
"""

from __future__ import annotations

import functools
import math
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from cs231n.core import checks
from cs231n.data import imagenet
from cs231n.data.cifar10 import (
    FIX,
    TEST_BATCHES,
    TRAINING_BATCHES,
    data_folders,
    find_cifar10,
    is_altered,
)
from cs231n.data.dataset import Dataset, mean_of_images, normalized
from cs231n.data.download import (
    IMAGENET_VAL,
    IMAGENET_VAL_URLS,
    DownloadError,
    download_cifar10,
    download_imagenet_val,
)
from cs231n.data.folder import load_image_folder
from cs231n.data.glyphs import BUILTIN_CLASSES, draw_glyphs
from cs231n.data.load import load_data
from cs231n.data.normalization import BLOCK, Normalization
from cs231n.data.sets import (
    data_from_arrays,
    get_CIFAR100_data,
    get_MNIST_data,
    get_SVHN_data,
    load_npz,
)
from cs231n.files.safe_pickle import DataError, load_pickle

__all__ = [
    "BUILTIN_CLASSES",
    "CIFAR10_CLASSES",
    "DataError",
    "Dataset",
    "DownloadError",
    "Normalization",
    "cifar10_mean_image",
    "data_from_arrays",
    "download_cifar10",
    "download_imagenet_val",
    "get_CIFAR10_data",
    "get_CIFAR100_data",
    "get_MNIST_data",
    "get_SVHN_data",
    "get_builtin_data",
    "load_CIFAR10",
    "load_CIFAR_batch",
    "load_data",
    "load_image_folder",
    "load_imagenet_val",
    "load_models",
    "load_npz",
    "load_pickle",
    "load_tiny_imagenet",
    "standardize",
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
        in the working directory, and ``cs231n/datasets`` there.  One of these folders stands for
        all of them.

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


def get_builtin_data(
    num_training: int = 10000,
    num_validation: int = 1000,
    num_test: int = 1000,
    subtract_mean: bool = True,
    dtype: DTypeLike = np.float32,
    seed: int = 0,
) -> Dataset:
    """Draw the built-in data set: 32x32 images of the ten glyphs in BUILTIN_CLASSES.

    It stands in for CIFAR-10 where nothing can be downloaded, in the same form, and is easier.

    Parameters
    ----------
    num_training, num_validation, num_test : int, optional
        How many images to draw. The first ones stay the same when more are asked for, and no
        part depends on the size of another.
    subtract_mean : bool, optional
        Subtract the mean of the training images from all images.
    dtype : dtype, optional
        A float type for the images.
    seed : int, optional
        Another seed draws another data set. NumPy's global generator is not used. The same seed
        gives the same images with the same versions of NumPy, Pillow and matplotlib.

    Returns
    -------
    Dataset
        The dict ``X_train, y_train, X_val, y_val, X_test, y_test``: images (N, 3, 32, 32), labels
        (N,) int64; with the attributes `class_names` and `normalization`.

    Raises
    ------
    ValueError
        If a number or the seed is negative, or num_training is 0.
    """
    where = "get_builtin_data"
    sizes = {
        "train": checks.integer(where, "num_training", num_training, least=1),
        "val": checks.integer(where, "num_validation", num_validation, least=0),
        "test": checks.integer(where, "num_test", num_test, least=0),
    }
    seed = checks.integer(where, "seed", seed, least=0, most=math.inf)
    dtype = checks.float_dtype(where, dtype)
    data = {}
    for part, (name, size) in enumerate(sizes.items()):
        data[f"X_{name}"], data[f"y_{name}"] = draw_glyphs(size, seed, part, dtype)
    return normalized(data, BUILTIN_CLASSES, subtract_mean)


def standardize(data: dict[str, Any]) -> np.ndarray:
    """Divide all images, in place, by the deviation of each channel of the training images.

    Pixels are then of size 1, as the usual initial weights of networks expect, and not of size 60.

    Parameters
    ----------
    data : dict
        As `get_CIFAR10_data` and `get_builtin_data` return it; X_train, X_val and X_test change.

    Returns
    -------
    ndarray of shape (C,)
        The deviations, float64; 1 for a channel that is the same everywhere.

    Raises
    ------
    ValueError, TypeError
        If the images are missing, no floats (N, C, H, W) with N >= 1, or read-only.
    """
    for name in ("X_train", "X_val", "X_test"):
        _check_changeable("standardize", data, name)
    X = data["X_train"]
    starts = range(0, len(X), BLOCK)
    mean = X.mean(axis=(0, 2, 3), dtype=np.float64)[:, None, None]
    squares = [((X[i : i + BLOCK] - mean) ** 2).sum(axis=(0, 2, 3)) for i in starts]
    deviation = np.sqrt(np.sum(squares, axis=0) * X.shape[1] / X.size)  # (C,)
    deviation[deviation == 0] = 1
    for name in ("X_train", "X_val", "X_test"):
        data[name] /= deviation[:, None, None].astype(data[name].dtype)
    if isinstance(data, Dataset):
        data.normalization = data.normalization.divided_by(deviation)
    return deviation


def _check_changeable(where: str, data: Any, name: str) -> None:
    """Raise unless data holds images of this name that can be divided in place."""
    images = checks.option(where, checks.mapping(where, "data", data), name, (name,))
    if not isinstance(images, np.ndarray) or images.dtype.kind != "f":
        raise TypeError(f"{where}: {name} is no array of floats; expected images (N, C, H, W)")
    sizes = checks.shapes(where, **{name: (images, "N C H W")})
    if not images.flags.writeable or (name == "X_train" and 0 in sizes.values()):
        raise ValueError(
            f"{where}: {name} {images.shape} is read-only or empty; expected images (N, C, H, W)"
        )
    if sizes["C"] != data["X_train"].shape[1]:
        raise ValueError(
            f"{where}: {name} has {sizes['C']} channels but X_train {data['X_train'].shape[1]}"
        )


def load_tiny_imagenet(
    path: PathLike, dtype: DTypeLike = np.float32, subtract_mean: bool = True
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
    root = checks.path("load_tiny_imagenet", "path", path)
    wnids = imagenet.read_wnids(root)
    X_train, y_train = imagenet.read_training(root, wnids, dtype)
    X_val, y_val = imagenet.read_validation(root, wnids, dtype)
    X_test, y_test = imagenet.read_test(root, wnids, dtype)
    if not len(X_train):
        raise DataError(f"{root}: has no training images")
    mean_image = mean_of_images(X_train)
    words = imagenet.class_words(root, wnids)
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


def load_models(models_dir: PathLike) -> dict[str, Any]:
    """Load what the pickles of a folder hold under 'model', as far as that is plain data.

    Parameters
    ----------
    models_dir : path
        Folder of pickled dicts with a field 'model'.

    Returns
    -------
    dict
        For each file that could be read, its name and its model: numbers, text, arrays, and lists
        and dicts of them.  A pickled object of a class is none of these, and its file is left out
        with a warning, for unpickling it would run whatever it says; `Network.load` reads the
        files that `Network.save` writes.

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If there is no such folder.
    """
    models = {}
    for path in sorted(checks.path("load_models", "models_dir", models_dir).iterdir()):
        try:
            checks.regular_file("load_models", path)
            with open(path, "rb") as file:
                models[path.name] = load_pickle(file)["model"]
        except (DataError, ValueError, KeyError, TypeError) as error:
            warnings.warn(f"load_models: {path} is left out ({error})", stacklevel=2)
    return models


def load_imagenet_val(num: int | None = None) -> tuple[np.ndarray, np.ndarray, dict[int, str]]:
    """Load the 25 ImageNet validation images of ``imagenet_val_25.npz``.

    The file is searched in the folder that CS231N_DATA names, then in ``datasets`` beside the
    package, in it, and in the working directory, and in ``cs231n/datasets`` there.

    Parameters
    ----------
    num : int, optional
        How many of them; all by default.

    Returns
    -------
    X : ndarray of shape (num, 224, 224, 3)
        Pixels from 0 to 255.
    y : ndarray of shape (num,)
        Labels.
    class_names : dict
        Name of each of the 1000 labels.

    Raises
    ------
    FileNotFoundError
        If the file is not there; says where it looked and how to get it.
    DataError
        If the file is broken or holds anything else.
    """
    if num is not None:
        num = checks.integer("load_imagenet_val", "num", num, least=0)
    X, y, class_names = imagenet.read_excerpt(_find_imagenet_val())
    return X[:num], y[:num], class_names


def _find_imagenet_val() -> Path:
    """Return the file of 25 images in the first folder that has it."""
    places = [folder / IMAGENET_VAL for folder in data_folders()]
    for place in places:
        if place.is_file():
            return place
    looked = "\n  ".join(str(place) for place in places)
    raise FileNotFoundError(
        f"{IMAGENET_VAL} is not there. Looked for\n  {looked}\n"
        "Get it with: python -m cs231n download --imagenet-val\n"
        f"or download {IMAGENET_VAL_URLS[-1]} into one of these folders."
    )


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
