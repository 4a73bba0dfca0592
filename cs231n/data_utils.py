"""Data for training: CIFAR-10, the built-in glyphs, and the course's ImageNet excerpts.

Official CIFAR-10 batches are pickles, and pickles are programs; `safe_pickle` reads them without
running anything. Nothing here downloads unless a function named so is called.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from cs231n.core import checks
from cs231n.data import imagenet
from cs231n.data.builtin import get_builtin_data
from cs231n.data.cifar10 import data_folders
from cs231n.data.cifar10_batches import (
    CIFAR10_CLASSES,
    cifar10_mean_image,
    get_CIFAR10_data,
    load_CIFAR10,
    load_CIFAR_batch,
)
from cs231n.data.dataset import Dataset
from cs231n.data.download import (
    IMAGENET_VAL,
    IMAGENET_VAL_URLS,
    DownloadError,
    download_cifar10,
    download_imagenet_val,
)
from cs231n.data.download_sets import download_data
from cs231n.data.folder import load_image_folder
from cs231n.data.glyphs import BUILTIN_CLASSES
from cs231n.data.imagenet import load_tiny_imagenet
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
    "download_data",
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


PathLike = str | os.PathLike[str]


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
        images = data[name]
        images /= deviation[:, None, None].astype(images.dtype)
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
    package, in it, and in the working directory, in ``cs231n/datasets`` there, and in the user's
    data folder (on Linux ``~/.local/share/cs231n/datasets``).

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
    folders = data_folders()
    for place in (folder / IMAGENET_VAL for folder in folders):
        if place.is_file():
            return place
    looked = ", ".join(map(str, folders))
    raise FileNotFoundError(
        f"{IMAGENET_VAL} is not there: looked in {looked}\n"
        "Get it with: python -m cs231n download --imagenet-val,"
        f" or download {IMAGENET_VAL_URLS[-1]} into one of these folders."
    )
