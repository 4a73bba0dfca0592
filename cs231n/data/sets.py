"""Data sets in the forms in which others hand them out, each as the dict that the Solver takes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from cs231n.core import checks
from cs231n.data import cifar100, idx
from cs231n.data.cifar10 import data_folders, not_there
from cs231n.data.dataset import Dataset, arrays_to_dataset, normalized, reserve
from cs231n.data.mat import read_mat
from cs231n.files.npz import open_npz
from cs231n.files.safe_pickle import DataError

__all__ = [
    "MNIST_NAMES",
    "SVHN_FILES",
    "data_from_arrays",
    "find_cifar100",
    "find_mnist",
    "find_svhn",
    "get_CIFAR100_data",
    "get_MNIST_data",
    "get_SVHN_data",
    "limited",
    "load_npz",
    "read_svhn",
]

PathLike = str | os.PathLike[str]
Images = tuple[np.ndarray, np.ndarray]

MNIST_NAMES = {"mnist": idx.MNIST_CLASSES, "fashion-mnist": idx.FASHION_CLASSES}
SVHN_FILES = ("train_32x32.mat", "test_32x32.mat")
SVHN_FOLDERS = ("", "SVHN", "svhn")
LAYOUTS = ("auto", "NCHW", "NHWC")
_NPZ_NAMES = tuple(f"{kind}_{part}" for part in ("train", "val", "test") for kind in "Xy")


def get_CIFAR100_data(  # noqa: N802
    num_training: int | None = None,
    num_validation: int = 1000,
    num_test: int | None = None,
    subtract_mean: bool = True,
    dtype: DTypeLike = np.float32,
    cifar100_dir: PathLike | None = None,
    labels: str = "fine",
) -> Dataset:
    """Load CIFAR-100, as `get_CIFAR10_data` loads CIFAR-10.

    Parameters
    ----------
    num_training : int, optional
        How many of the 50000 training images to train on; by default all that are not validated
        on.
    num_validation, num_test : int, optional
        How many of the next training images to validate on, and how many of the 10000 test images
        to take; by default all of these.
    subtract_mean : bool, optional
        Subtract the mean of the training images from all images.
    dtype : dtype, optional
        A float type for the images.
    cifar100_dir : path, optional
        Folder with the files ``train``, ``test`` and ``meta``, or the one that holds
        ``cifar-100-python``. Defaults to the places where CIFAR-10 is searched.
    labels : {"fine", "coarse"}, optional
        100 classes, or 20 groups of five.

    Returns
    -------
    Dataset
        The dict ``X_train, y_train, X_val, y_val, X_test, y_test``: images (N, 3, 32, 32), labels
        (N,) int64; with the attributes `class_names` and `normalization`.

    Raises
    ------
    FileNotFoundError
        If the files are not there; says where it looked.
    DataError
        If a file is damaged or altered; names it.
    ValueError
        If there are fewer images than asked for.
    """
    where = "get_CIFAR100_data"
    subtract_mean = checks.flag(where, "subtract_mean", subtract_mean)
    sizes = _sizes(where, num_training, num_validation, num_test)
    checks.choice(where, "labels", labels, cifar100.CLASSES)
    dtype = checks.float_dtype(where, dtype)
    folder = find_cifar100(_optional_path(where, "cifar100_dir", cifar100_dir))
    names = cifar100.read_names(folder / "meta", labels)
    training, test = (cifar100.read_part(folder / part, labels) for part in ("train", "test"))
    return _taken(where, training, test, sizes, names, subtract_mean, dtype)


def get_MNIST_data(  # noqa: N802
    num_training: int | None = None,
    num_validation: int = 1000,
    num_test: int | None = None,
    subtract_mean: bool = True,
    dtype: DTypeLike = np.float32,
    folder: PathLike | None = None,
    name: str = "mnist",
) -> Dataset:
    """Load MNIST or Fashion-MNIST from the four idx files, plain or gzipped.

    Parameters
    ----------
    num_training : int, optional
        How many images to train on; by default all that are not validated on.
    num_validation, num_test : int, optional
        How many of the next training images to validate on, and how many test images to take; by
        default all of these.
    subtract_mean : bool, optional
        Subtract the mean of the training images from all images.
    dtype : dtype, optional
        A float type for the images.
    folder : path, optional
        Folder of the files. Defaults to ``MNIST/raw`` or ``FashionMNIST/raw``, as torchvision has
        it, and the like, in the places where CIFAR-10 is searched.
    name : {"mnist", "fashion-mnist"}, optional
        Which of the two.

    Returns
    -------
    Dataset
        The dict ``X_train, y_train, X_val, y_val, X_test, y_test``: images (N, 1, 28, 28), labels
        (N,) int64; with the attributes `class_names` and `normalization`.

    Raises
    ------
    FileNotFoundError
        If the files are not there; says where it looked.
    DataError
        If a file is damaged; names it.
    ValueError
        If there are fewer images than asked for.
    """
    where = "get_MNIST_data"
    subtract_mean = checks.flag(where, "subtract_mean", subtract_mean)
    checks.choice(where, "name", name, MNIST_NAMES)
    sizes = _sizes(where, num_training, num_validation, num_test)
    dtype = checks.float_dtype(where, dtype)
    files = find_mnist(name, _optional_path(where, "folder", folder))
    names = MNIST_NAMES[name]
    training, test = (_read_pair(where, files[i], files[i + 1], names) for i in (0, 2))
    return _taken(where, training, test, sizes, names, subtract_mean, dtype)


def get_SVHN_data(  # noqa: N802
    num_training: int | None = None,
    num_validation: int = 1000,
    num_test: int | None = None,
    subtract_mean: bool = True,
    dtype: DTypeLike = np.float32,
    folder: PathLike | None = None,
) -> Dataset:
    """Load the street view house numbers, cropped to 32x32.

    Parameters
    ----------
    num_training, num_validation, num_test : int, optional
        As for `get_MNIST_data`.
    subtract_mean : bool, optional
        Subtract the mean of the training images from all images.
    dtype : dtype, optional
        A float type for the images.
    folder : path, optional
        Folder with ``train_32x32.mat`` and ``test_32x32.mat``, or the one that has them in
        ``SVHN``. Defaults to the places where CIFAR-10 is searched.

    Returns
    -------
    Dataset
        The dict ``X_train, y_train, X_val, y_val, X_test, y_test``: images (N, 3, 32, 32), labels
        (N,) int64, each the digit that it stands for; with `class_names` and `normalization`.

    Raises
    ------
    FileNotFoundError
        If the files are not there; says where it looked.
    DataError
        If a file is damaged; names it.
    ValueError
        If there are fewer images than asked for.
    """
    where = "get_SVHN_data"
    subtract_mean = checks.flag(where, "subtract_mean", subtract_mean)
    sizes = _sizes(where, num_training, num_validation, num_test)
    dtype = checks.float_dtype(where, dtype)
    place = find_svhn(_optional_path(where, "folder", folder))
    training, test = (read_svhn(where, place / name) for name in SVHN_FILES)
    return _taken(where, training, test, sizes, idx.MNIST_CLASSES, subtract_mean, dtype)


def load_npz(
    path: PathLike,
    *,
    class_names: Sequence[str] | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    subtract_mean: bool = True,
    dtype: DTypeLike = np.float32,
    layout: str = "auto",
) -> Dataset:
    """Load an `.npz` file of images and labels, such as the ``mnist.npz`` of Keras.

    Parameters
    ----------
    path : path
        File with the arrays ``x_train`` and ``y_train`` and, if you like, ``x_val``, ``y_val``,
        ``x_test``, ``y_test``, and ``class_names``; ``X`` may be large or small.
    class_names, validation, test, seed, subtract_mean, dtype, layout
        As for `data_from_arrays`.

    Returns
    -------
    Dataset
        As `data_from_arrays`.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is damaged, or does not hold such arrays; names it.
    """
    where = "load_npz"
    subtract_mean = checks.flag(where, "subtract_mean", subtract_mean)
    path = checks.path(where, "path", path)
    options = _array_options(where, validation, test, seed, dtype, layout)
    with open_npz(where, path) as archive:
        places = {name[:1].upper() + name[1:]: name for name in archive.names if name != "y"}
        places = {("y" + key[1:] if key[:1] == "Y" else key): name for key, name in places.items()}
        arrays = {name: archive.array(places[name]) for name in _NPZ_NAMES if name in places}
        if class_names is None and "Class_names" in places:
            class_names = [str(name) for name in archive.array(places["Class_names"]).ravel()]
    if "X_train" not in arrays:
        raise DataError(
            f"{where}: {path} has the arrays {', '.join(sorted(places.values())[:8]) or 'none'};"
            " expected x_train and y_train"
        )
    try:
        return arrays_to_dataset(where, arrays, class_names, subtract_mean=subtract_mean, **options)
    except (ValueError, TypeError) as error:
        reason = str(error).removeprefix(f"{where}: ")
        raise DataError(f"{where}: {path}: {reason}") from error


def data_from_arrays(
    X_train: Any,
    y_train: Any,
    X_val: Any = None,
    y_val: Any = None,
    X_test: Any = None,
    y_test: Any = None,
    *,
    class_names: Sequence[str] | None = None,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    subtract_mean: bool = True,
    dtype: DTypeLike = np.float32,
    layout: str = "auto",
) -> Dataset:
    """Make a data set of arrays: split off what is missing, normalise, check everything.

    Parameters
    ----------
    X_train : array_like of shape (N, H, W), (N, H, W, C) or (N, C, H, W)
        Images with pixels from 0 to 255, or floats from 0 to 1; stays as it is.
    y_train : array_like of shape (N,) or (N, 1)
        Labels from 0 to C - 1, or the names of the classes.
    X_val, y_val, X_test, y_test : array_like, optional
        The same for validation and test; what is not given is split off the training images.
    class_names : sequence of str, optional
        Name of each label; by default the labels themselves.
    validation, test : float, optional
        The part of each class that is split off.
    seed : int, optional
        Another seed splits otherwise. NumPy's global generator is not used.
    subtract_mean : bool, optional
        Subtract the mean of the training images from all images.
    dtype : dtype, optional
        A float type for the images.
    layout : {"auto", "NCHW", "NHWC"}, optional
        Where the channels are; needed only where both axes could hold them.

    Returns
    -------
    Dataset
        The dict ``X_train, y_train, X_val, y_val, X_test, y_test``: images (N, C, H, W), labels
        (N,) int64; with the attributes `class_names` and `normalization`.

    Raises
    ------
    ValueError, TypeError
        If shapes or labels do not fit together, or a pixel is not finite.
    """
    where = "data_from_arrays"
    subtract_mean = checks.flag(where, "subtract_mean", subtract_mean)
    given = {
        name: value
        for name, value in zip(_NPZ_NAMES, (X_train, y_train, X_val, y_val, X_test, y_test))
        if value is not None or name == "X_train"
    }
    options = _array_options(where, validation, test, seed, dtype, layout)
    return arrays_to_dataset(where, given, class_names, subtract_mean=subtract_mean, **options)


def _array_options(
    where: str, validation: Any, test: Any, seed: Any, dtype: Any, layout: Any
) -> dict[str, Any]:
    """Check the options of data that are split here."""
    parts = tuple(
        checks.number(where, name, value, 0, 1)
        for name, value in (("validation", validation), ("test", test))
    )
    if sum(parts) >= 1:
        raise ValueError(
            f"{where}: validation is {parts[0]} and test {parts[1]}; expected less than 1 together"
        )
    return {
        "fractions": parts,
        "seed": checks.integer(where, "seed", seed, least=0),
        "dtype": checks.float_dtype(where, dtype),
        "layout": checks.choice(where, "layout", layout, LAYOUTS),
    }


def find_cifar100(folder: Path | None = None) -> Path:
    """Return the folder of CIFAR-100: the named one (or the one in it), else the first found."""
    roots = data_folders() if folder is None else [folder]
    places = [place for root in roots for place in (root / cifar100.FOLDER, root)]
    return _first("CIFAR-100", "cifar100", roots, places, lambda place: (place / "meta").is_file())


def find_mnist(name: str, folder: Path | None = None) -> list[Path]:
    """Return the four files of MNIST or Fashion-MNIST."""
    roots = data_folders() if folder is None else [folder]
    places = [root / inner for root in roots for inner in idx.FOLDERS[name]]
    if folder is not None:
        places = [folder, folder / "raw", *places]
    place = _first(name, name, roots, places, lambda place: idx.find_idx(place) is not None)
    return idx.find_idx(place) or []


def find_svhn(folder: Path | None = None) -> Path:
    """Return the folder of SVHN's two files."""
    roots = data_folders() if folder is None else [folder]
    places = [root / inner for root in roots for inner in SVHN_FOLDERS]
    return _first("SVHN", "svhn", roots, places, _holds_svhn)


def _holds_svhn(place: Path) -> bool:
    """Whether both files of SVHN are in a folder."""
    return all((place / name).is_file() for name in SVHN_FILES)


def _first(
    title: str,
    name: str,
    roots: Sequence[Path],
    places: Sequence[Path],
    has: Callable[[Path], bool],
) -> Path:
    """Return the first place, in one of the roots, that has what is searched."""
    for place in places:
        if has(place):
            return place
    raise FileNotFoundError(not_there(title, "its files", roots, f" --data {name}"))


def _optional_path(where: str, name: str, value: Any) -> Path | None:
    """Return a path that need not be given."""
    return None if value is None else checks.path(where, name, value)


Sizes = tuple[int | None, int, int | None]


def _sizes(where: str, num_training: Any, num_validation: Any, num_test: Any) -> Sizes:
    """Check how many images are asked for."""
    training = (
        None
        if num_training is None
        else checks.integer(where, "num_training", num_training, least=1)
    )
    test = None if num_test is None else checks.integer(where, "num_test", num_test, least=0)
    return training, checks.integer(where, "num_validation", num_validation, least=0), test


def _taken(
    where: str,
    training: Images,
    test: Images,
    sizes: Sizes,
    names: Sequence[str],
    subtract_mean: bool,
    dtype: np.dtype,
) -> Dataset:
    """Return the first images as floats: training, then validation, and test."""
    num_training, num_val, num_test = sizes
    num_training = len(training[1]) - num_val if num_training is None else num_training
    num_test = len(test[1]) if num_test is None else num_test
    for asked, there, what in (
        (num_training + num_val, len(training[1]), "training and validation"),
        (num_test, len(test[1]), "test"),
    ):
        if asked > there or num_training < 1:
            raise ValueError(f"{where}: {asked} {what} images asked for; there are {there}")
    X = reserve(where, (num_training + num_val, *training[0].shape[1:]), dtype)
    X_test = reserve(where, (num_test, *test[0].shape[1:]), dtype)
    X[:], X_test[:] = training[0][: len(X)], test[0][:num_test]
    y = training[1]
    arrays = {
        "X_train": X[:num_training],
        "y_train": y[:num_training].copy(),
        "X_val": X[num_training:],
        "y_val": y[num_training : num_training + num_val].copy(),
        "X_test": X_test,
        "y_test": test[1][:num_test].copy(),
    }
    return normalized(arrays, names, subtract_mean)


def _read_pair(where: str, images: Path, labels: Path, names: Sequence[str]) -> Images:
    """Return the images (N, 1, H, W) and labels of two idx files."""
    X, y = idx.read_idx(where, images, 3), idx.read_idx(where, labels, 1)
    if len(X) != len(y) or y.max() >= len(names):
        raise DataError(
            f"{where}: {labels} has {len(y)} labels up to {y.max()}; expected {len(X)} from 0 to"
            f" {len(names) - 1}"
        )
    return X[:, None], y.astype(np.int64)


def read_svhn(where: str, path: Path) -> Images:
    """Return the images (N, 3, 32, 32) and labels of a file of SVHN, where 10 stands for 0."""
    content = read_mat(where, path, ("X", "y"))
    X, y = content.get("X"), content.get("y")
    if (
        X is None
        or y is None
        or X.dtype != np.uint8
        or X.shape[:-1] != (32, 32, 3)
        or y.dtype.kind not in "iu"
        or y.shape not in ((X.shape[-1], 1), (X.shape[-1],))
        or not y.size
        or not (0 <= y.min() and y.max() <= 10)
    ):
        raise DataError(
            f"{where}: {path} does not hold images X (32, 32, 3, N) of uint8 and labels y (N, 1)"
            " from 1 to 10"
        )
    return X.transpose(3, 2, 0, 1), y.reshape(-1).astype(np.int64) % 10


def limited(where: str, data: Dataset, counts: Mapping[str, int | None], seed: int) -> Dataset:
    """Keep so many images of each part, drawn at random, in the order that they have."""
    for part, count in counts.items():
        there = len(data[f"y_{part}"])
        if count is not None and count > there:
            raise ValueError(f"{where}: {count} {part} images asked for; there are {there}")
        if count is not None and count < there:
            drawn = np.random.default_rng([seed, 1]).permutation(there)[:count]
            data.keep(part, np.sort(drawn))
    return data
