"""One function for every data set: by its name, or from a file or folder, whatever lies there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from cs231n.core import checks
from cs231n.data import idx, sets
from cs231n.data.builtin import get_builtin_data
from cs231n.data.cifar10 import find_cifar10
from cs231n.data.cifar10_batches import get_CIFAR10_data
from cs231n.data.dataset import Dataset
from cs231n.data.folder import load_image_folder
from cs231n.data.imagenet import load_tiny_imagenet

__all__ = ["NAMES", "holds_cifar", "holds_cifar10", "holds_set", "load_data"]

NAMES = ("builtin", "cifar10", "cifar100", "mnist", "fashion-mnist", "svhn")
WHERE = "load_data"


class _Wish(NamedTuple):
    """What was asked for beside the source."""

    num_training: int | None
    num_validation: int | None
    num_test: int | None
    size: int | tuple[int, int]
    seed: int
    subtract_mean: bool
    dtype: np.dtype
    progress: bool | None

    def counts(self) -> dict[str, int]:
        """Return the numbers that were given, for functions that have defaults of their own."""
        names = ("num_training", "num_validation", "num_test")
        return {name: value for name in names if (value := getattr(self, name)) is not None}

    def common(self) -> dict[str, Any]:
        """Return what every function takes."""
        return {"subtract_mean": self.subtract_mean, "dtype": self.dtype}


def load_data(
    source: str | os.PathLike[str],
    *,
    num_training: int | None = None,
    num_validation: int | None = None,
    num_test: int | None = None,
    size: int | tuple[int, int] = 32,
    seed: int = 0,
    subtract_mean: bool = True,
    dtype: DTypeLike = np.float32,
    progress: bool | None = None,
) -> Dataset:
    """Load a data set by its name, or from a file or folder.

    Parameters
    ----------
    source : str or path
        One of "builtin", "cifar10", "cifar100", "mnist", "fashion-mnist" and "svhn"; or a folder
        with the files of one of these, with Tiny ImageNet, or with a folder of pictures for each
        class; or an `.npz` file of arrays. A folder that is called like a set is ``./mnist``.
    num_training, num_validation, num_test : int, optional
        How many images of each part; by default what the function of that data set gives. From
        folders of pictures and arrays they are drawn at random, from the seed.
    size : int or tuple of int, optional
        Height and width of images from a folder of pictures.
    seed : int, optional
        Of the split of pictures and arrays, and of the built-in data.
    subtract_mean : bool, optional
        Subtract the mean of the training images from all images.
    dtype : dtype, optional
        A float type for the images.
    progress : bool, optional
        Whether to draw a progress bar; by default if standard error is a terminal.

    Returns
    -------
    Dataset
        The dict ``X_train, y_train, X_val, y_val, X_test, y_test``: images (N, C, H, W), labels
        (N,) int64; with the attributes `class_names` and `normalization`.

    Raises
    ------
    FileNotFoundError
        If there is no such file or folder, or the set of this name is not there.
    ValueError
        If the source is none of these, is damaged, or has fewer images than asked for.
    """
    counts = {"num_training": num_training, "num_validation": num_validation, "num_test": num_test}
    checked = {
        name: None if value is None else checks.integer(WHERE, name, value, name == "num_training")
        for name, value in counts.items()
    }
    wish = _Wish(
        **checked,
        size=size,
        seed=checks.integer(WHERE, "seed", seed, least=0),
        subtract_mean=checks.flag(WHERE, "subtract_mean", subtract_mean),
        dtype=checks.float_dtype(WHERE, dtype),
        progress=checks.optional_flag(WHERE, "progress", progress),
    )
    path = checks.path(WHERE, "source", source)
    name = str(source).lower().replace("_", "-") if isinstance(source, str) else ""
    if name in NAMES:
        return _by_name(name, None, wish)
    return _by_path(path, wish)


def _by_name(name: str, folder: Path | None, wish: _Wish) -> Dataset:
    """Load a set whose files lie in the folder, or where sets are searched."""
    given = {**wish.counts(), **wish.common()}
    if name == "builtin":
        return get_builtin_data(seed=wish.seed, **given)
    if name == "cifar10":
        return get_CIFAR10_data(cifar10_dir=folder, **given)
    if name == "cifar100":
        return sets.get_CIFAR100_data(cifar100_dir=folder, **given)
    if name == "svhn":
        return sets.get_SVHN_data(folder=folder, **given)
    return sets.get_MNIST_data(folder=folder, name=name, **given)


def _by_path(path: Path, wish: _Wish) -> Dataset:
    """Load what lies at the path."""
    if not path.exists():
        close = checks.hints([str(path)], NAMES)
        raise FileNotFoundError(
            f"{WHERE}: there is no data set and no file or folder {close}; expected"
            f" {', '.join(NAMES)}, or the path of a folder or an .npz file"
        )
    if path.is_dir():
        return _by_folder(path, wish)
    if path.suffix.lower() != ".npz":
        raise ValueError(
            f"{WHERE}: {path} is no .npz file; expected one, or a folder with the files of a data"
            " set or a folder of pictures for each class"
        )
    return _limited(sets.load_npz(path, seed=wish.seed, **wish.common()), wish)


def _by_folder(folder: Path, wish: _Wish) -> Dataset:
    """Load the one data set that a folder holds, else its pictures."""
    found = [name for name, holds in _HOLDS.items() if holds(folder)]
    if len(found) > 1:
        raise ValueError(
            f"{WHERE}: {folder} holds {' and '.join(found)}; expected the folder of one of them"
        )
    if found == ["tiny-imagenet"]:
        return _limited(load_tiny_imagenet(folder, **wish.common()), wish)
    if found:
        return _by_name(found[0], folder, wish)
    data = load_image_folder(
        folder, wish.size, seed=wish.seed, progress=wish.progress, **wish.common()
    )
    return _limited(data, wish)


def _limited(data: Dataset, wish: _Wish) -> Dataset:
    """Keep as many images of each part as were asked for."""
    counts = dict(zip(("train", "val", "test"), wish[:3]))
    return sets.limited(WHERE, data, counts, wish.seed)


def _is_there(find: Callable[[Path], object]) -> Callable[[Path], bool]:
    """Return a function that tells whether a search in a folder finds anything."""

    def holds(folder: Path) -> bool:
        try:
            find(folder)
        except FileNotFoundError:
            return False
        return True

    return holds


def holds_cifar10(source: str) -> bool:
    """Tell whether this is CIFAR-10 by name, or a folder that holds it."""
    return source == "cifar10" or (Path(source).is_dir() and _HOLDS["cifar10"](Path(source)))


def holds_cifar(source: str) -> bool:
    """Tell whether this is CIFAR-10 or CIFAR-100, by name or as a folder that holds it."""
    path = Path(source)
    return any(
        source == name or (path.is_dir() and _HOLDS[name](path)) for name in ("cifar10", "cifar100")
    )


def holds_set(source: str) -> bool:
    """Tell whether this is a folder with the files of a data set that has a name."""
    return Path(source).is_dir() and any(holds(Path(source)) for holds in _HOLDS.values())


def _holds_mnist(folder: Path) -> str:
    """Return which of the two a folder holds, told by the names of the folders above the files."""
    places = [folder, folder / "raw"]
    if not any(idx.find_idx(place) for place in places):
        return ""
    parts = [part.lower() for part in folder.resolve().parts[-2:]]
    return "fashion-mnist" if any("fashion" in part for part in parts) else "mnist"


_HOLDS: dict[str, Callable[[Path], bool]] = {
    "cifar10": _is_there(find_cifar10),
    "cifar100": _is_there(sets.find_cifar100),
    "svhn": _is_there(sets.find_svhn),
    "mnist": lambda folder: _holds_mnist(folder) == "mnist",
    "fashion-mnist": lambda folder: _holds_mnist(folder) == "fashion-mnist",
    "tiny-imagenet": lambda folder: (folder / "wnids.txt").is_file(),
}
