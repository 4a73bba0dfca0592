"""A data set for the Solver: a dict of arrays that also knows its classes and its normalisation."""

from __future__ import annotations

import contextlib
import copy
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cs231n.core import checks
from cs231n.data.normalization import Normalization

__all__ = [
    "PARTS",
    "Dataset",
    "arrays_to_dataset",
    "mean_of_images",
    "normalized",
    "reserve",
    "split_indices",
]

PARTS = ("train", "val", "test")


class Dataset(dict[str, Any]):
    """The dict that the Solver takes, with what `predict` needs to know as attributes.

    Iterating over it meets arrays only (``X_train, y_train, X_val, y_val, X_test, y_test``), as
    notebooks that print shapes expect. The attributes can be had like keys as well:
    ``data["class_names"]``.

    Parameters
    ----------
    arrays : dict
        The images and labels by name.
    class_names : sequence of str
        Name of each label.
    normalization : Normalization
        What was done to the images.
    skipped : sequence of str, optional
        What was left out, a line for each file.

    Attributes
    ----------
    class_names : tuple of str
    normalization : Normalization
    skipped : tuple of str
    changed : bool
        Whether images were exchanged, or reckoned with in place by ``data[name] /= 2``, so that
        they may be no longer normalised as `normalization` says.  Views of them are not.
    """

    _EXTRA = ("class_names", "normalization", "skipped")

    def __init__(
        self,
        arrays: Mapping[str, Any],
        class_names: Sequence[str],
        normalization: Normalization,
        skipped: Sequence[str] = (),
    ) -> None:
        super().__init__(arrays)
        self.class_names = tuple(class_names)
        self.normalization = normalization
        self.skipped = tuple(skipped)
        self.changed = False

    def __setitem__(self, key: str, value: Any) -> None:
        """Take an array, and note whether the images are others than those that were loaded."""
        before = self.get(key)
        if key.startswith("X_") and isinstance(before, np.ndarray):
            is_view = isinstance(value, np.ndarray) and np.may_share_memory(value, before)
            self.changed |= value is before or not is_view
        super().__setitem__(key, value)

    def keep(self, part: str, indices: np.ndarray) -> None:
        """Keep the samples of these indices of a part, 'train', 'val' or 'test'."""
        for name in (f"X_{part}", f"y_{part}"):
            super().__setitem__(name, self[name][indices])

    def __missing__(self, key: object) -> Any:
        """Return an attribute that is asked for like a key."""
        if key in self._EXTRA:
            return getattr(self, str(key))
        raise KeyError(key)

    def copy(self) -> Dataset:
        """Return a data set with the same arrays."""
        return copy.copy(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle, and so copy deeply, with the attributes."""
        parts = (dict(self), self.class_names, self.normalization, self.skipped)
        return Dataset, parts, {"changed": self.changed}

    def __repr__(self) -> str:
        """Say how many images of what size and how many classes there are."""
        sizes = [f"{len(self[f'X_{part}'])} {part}" for part in PARTS if f"X_{part}" in self]
        shape = self["X_train"].shape[1:] if "X_train" in self else "?"
        return (
            f"Dataset({', '.join(sizes)} images {shape} of {len(self.class_names)} classes,"
            f" {self.normalization})"
        )


def reserve(where: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Return an empty array; a ValueError where it would not fit into the machine's memory."""
    size = np.prod(shape, dtype=object) * np.dtype(dtype).itemsize
    memory = math.inf
    with contextlib.suppress(AttributeError, ValueError, OSError):  # of a system that does not tell
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        if size > memory:
            raise MemoryError
        return np.empty(shape, dtype)
    except (MemoryError, ValueError) as error:
        raise ValueError(
            f"{where}: {shape[0]} images {shape[1:]} of {np.dtype(dtype)} take"
            f" {size / 1e9:.1f} GB, more than there is; expected a smaller size or fewer images"
        ) from error


def split_indices(
    labels: np.ndarray, names: Sequence[str], fractions: tuple[float, float], seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the indices of training, validation and test samples, each class split alike.

    Each class draws from a generator of its own, made of the seed and its name, so that another
    class more or less leaves the others' parts as they are.  A class with three samples or more
    gives at least one to each part that is to have any, and training keeps at least one.
    """
    parts: tuple[list[np.ndarray], ...] = ([], [], [])
    order = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels, minlength=len(names)))
    for name, members in zip(names, np.split(order, ends[:-1])):
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        mixed = members[rng.permutation(len(members))]
        shares = _shares(len(mixed), fractions)
        for part, piece in zip(
            parts, np.split(mixed, [len(mixed) - sum(shares), len(mixed) - shares[1]])
        ):
            part.append(piece)
    train, val, test = (np.sort(np.concatenate(part)) for part in parts)
    return train, val, test


def _shares(count: int, fractions: tuple[float, float]) -> tuple[int, int]:
    """Return how many of a class's samples go into validation and test."""
    least = 1 if count >= 3 else 0
    val, test = (max(round(count * part), least) if part > 0 else 0 for part in fractions)
    while val + test >= max(count, 1) and val + test > 0:  # training keeps one
        val, test = (val - 1, test) if val >= test else (val, test - 1)
    return val, test


def mean_of_images(X: np.ndarray) -> np.ndarray:
    """Return the mean of images, float64: of whole values, for sums below 2**53 are exact."""
    return X.sum(axis=0, dtype=np.float64) / len(X)


def normalized(
    arrays: dict[str, Any],
    class_names: Sequence[str],
    subtract_mean: bool,
    white: float = 255.0,
    skipped: Sequence[str] = (),
) -> Dataset:
    """Subtract the mean training image from all images, in place, and return the data set."""
    mean = mean_of_images(arrays["X_train"]) if subtract_mean else None
    normalization = Normalization(mean, white=white)
    normalization.apply_in_place(*(arrays[f"X_{part}"] for part in PARTS if f"X_{part}" in arrays))
    return Dataset(arrays, class_names, normalization, skipped)


def arrays_to_dataset(
    where: str,
    given: Mapping[str, Any],
    class_names: Sequence[str] | None,
    fractions: tuple[float, float],
    seed: int,
    subtract_mean: bool,
    dtype: np.dtype,
    layout: str,
) -> Dataset:
    """Check arrays, split off what is not there, bring images into (N, C, H, W), and normalise."""
    images = {part: given.get(f"X_{part}") for part in PARTS}
    labels = {part: given.get(f"y_{part}") for part in PARTS}
    if images["train"] is None:
        raise ValueError(f"{where}: X_train is missing; expected images")
    found = {
        part: (_images(where, f"X_{part}", images[part], layout), labels[part])
        for part in PARTS
        if images[part] is not None
    }
    checked = {part: (X, _labels(where, f"y_{part}", y, len(X))) for part, (X, y) in found.items()}
    names = _names(where, class_names, [y for _, y in checked.values()])
    for part, (X, y) in checked.items():
        if X.shape[1:] != checked["train"][0].shape[1:]:
            raise ValueError(
                f"{where}: X_{part} has images {X.shape[1:]} but X_train"
                f" {checked['train'][0].shape[1:]}"
            )
        checked[part] = (X, _indices(where, f"y_{part}", y, names))
    parts = _split(checked, names, fractions, seed)
    arrays: dict[str, Any] = {}
    for part, (X, y, indices) in parts.items():
        arrays[f"X_{part}"] = _copied(where, X, indices, dtype)
        arrays[f"y_{part}"] = y[indices]
    if not len(arrays["X_train"]):
        raise ValueError(f"{where}: there are no training images")
    return normalized(arrays, names, subtract_mean, _white(checked["train"][0]))


Part = tuple[np.ndarray, np.ndarray]


def _split(
    parts: dict[str, Part], names: Sequence[str], fractions: tuple[float, float], seed: int
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return images, labels and indices into them for each part, split off where missing."""
    X, y = parts["train"]
    wanted = [0.0 if name in parts else part for name, part in zip(PARTS[1:], fractions)]
    pieces = split_indices(y, names, (wanted[0], wanted[1]), seed)
    return {
        part: (*parts[part], np.arange(len(parts[part][1])))
        if part in parts and part != "train"
        else (X, y, piece)
        for part, piece in zip(PARTS, pieces)
    }


def _copied(where: str, X: np.ndarray, indices: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return the images with these indices as new floats, without a copy in between."""
    out = reserve(where, (len(indices), *X.shape[1:]), dtype)
    for start in range(0, len(indices), 256):
        out[start : start + 256] = X[indices[start : start + 256]]
    return out


def _images(where: str, name: str, value: Any, layout: str) -> np.ndarray:
    """Return images as a view (N, C, H, W); grey ones may lack their channel."""
    X = checks.real_array(where, name, value)
    if X.dtype.kind == "f" and not np.isfinite(X).all():
        raise ValueError(f"{where}: {name} has pixels that are not finite; expected numbers")
    if X.ndim == 3:
        return X[:, None]
    if X.ndim != 4 or 0 in X.shape[1:]:
        raise ValueError(
            f"{where}: {name} has shape {X.shape}; expected images (N, H, W), (N, H, W, C) or"
            " (N, C, H, W)"
        )
    first, last = X.shape[1] in (1, 3, 4), X.shape[3] in (1, 3, 4)
    if layout == "auto" and first == last:
        raise ValueError(
            f"{where}: {name} has shape {X.shape}, where the channels may be"
            ' the second axis or the last; expected layout="NCHW" or "NHWC" to say it'
        )
    return X.transpose(0, 3, 1, 2) if layout == "NHWC" or (layout == "auto" and last) else X


def _labels(where: str, name: str, value: Any, N: int) -> np.ndarray:
    """Return labels (N,), numbers or text; Keras keeps some as a column."""
    if value is None:
        raise ValueError(f"{where}: {name} is missing; expected a label for each of {N} images")
    y = checks.any_array(where, name, value)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if y.shape != (N,):
        raise ValueError(f"{where}: {name} has shape {y.shape}; expected ({N},), a label each")
    if y.dtype.kind not in "iuU":
        raise TypeError(f"{where}: {name} has dtype {y.dtype}; expected integers or text")
    return y


def _names(
    where: str, class_names: Sequence[str] | None, labels: Sequence[np.ndarray]
) -> tuple[str, ...]:
    """Return the name of each class: as given, or the labels themselves."""
    if class_names is not None:
        names = tuple(str(name) for name in checks.sequence(where, "class_names", class_names))
    elif all(y.dtype.kind == "U" for y in labels):
        names = tuple(str(name) for name in np.unique(np.concatenate(labels)))
    else:
        most = max((int(y.max()) for y in labels if len(y) and y.dtype.kind != "U"), default=0)
        if most >= 2**20:
            raise ValueError(f"{where}: there is a label {most}; expected 0 to C - 1")
        names = tuple(str(number) for number in range(most + 1))
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(
            f"{where}: the classes are {', '.join(names[:5]) or 'none'}; expected at least two,"
            " of different names"
        )
    return names


def _indices(where: str, name: str, y: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return labels as int64 from 0 to C - 1."""
    if y.dtype.kind != "U":
        checks.labels(where, y, len(y), len(names))
        return y.astype(np.int64)
    known = {text: label for label, text in enumerate(names)}
    unknown = sorted({str(text) for text in y} - known.keys())
    if unknown:
        raise ValueError(
            f"{where}: {name} has the class {unknown[0]!r}; expected one of"
            f" {', '.join(map(repr, names[:10]))}"
        )
    return np.array([known[str(text)] for text in y], np.int64)


def _white(X: np.ndarray) -> float:
    """Return what stands for white: 1 in floats that do not exceed it, else 255."""
    is_unit = X.dtype.kind == "b" or (X.dtype.kind == "f" and X.size and -1 <= X.min())
    return 1.0 if is_unit and X.max() <= 1 else 255.0
