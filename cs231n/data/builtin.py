"""The built-in data set, which stands in for CIFAR-10 where nothing can be downloaded."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike

from cs231n.core import checks
from cs231n.data.dataset import Dataset, normalized
from cs231n.data.glyphs import BUILTIN_CLASSES, draw_glyphs

__all__ = ["get_builtin_data"]


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
    subtract_mean = checks.flag(where, "subtract_mean", subtract_mean)
    dtype = checks.float_dtype(where, dtype)
    data = {}
    for part, (name, size) in enumerate(sizes.items()):
        data[f"X_{name}"], data[f"y_{name}"] = draw_glyphs(size, seed, part, dtype)
    return normalized(data, BUILTIN_CLASSES, subtract_mean)
