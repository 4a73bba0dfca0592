"""What a network knows of its images: their form, what was done to them, and the classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from cs231n.core import checks
from cs231n.data.normalization import Normalization

__all__ = ["Inputs", "arranged"]

_ROUNDING = 1e-4  # of white: that far beyond black a pixel may be rounded


class Inputs(NamedTuple):
    """What `predict` has to know of the data that a network was trained on.

    Parameters
    ----------
    image_shape : tuple (C, H, W)
        Shape of an image.
    normalization : Normalization
        What was done to the images before the network saw them.
    class_names : tuple of str
        Name of each label; a network may give more scores than there are names.
    """

    image_shape: tuple[int, ...]
    normalization: Normalization
    class_names: tuple[str, ...]

    def name(self, label: int) -> str:
        """Return the name of a label, which is its number where it has none."""
        return self.class_names[label] if label < len(self.class_names) else str(label)

    def checked(self, where: str, input_shape: Sequence[int], classes: int) -> Inputs:
        """Return these inputs, unless they cannot be those of a network."""
        if len(self.image_shape) != 3 or math.prod(self.image_shape) != math.prod(input_shape):
            raise ValueError(
                f"{where}: the images are {self.image_shape}; expected {tuple(input_shape)}, as"
                f" the network takes"
            )
        if len(input_shape) == 3 and tuple(input_shape) != tuple(self.image_shape):
            raise ValueError(
                f"{where}: the images are {self.image_shape}; expected {tuple(input_shape)}"
            )
        if not 0 < len(self.class_names) <= classes:
            raise ValueError(
                f"{where}: there are {len(self.class_names)} class names; expected at most"
                f" {classes}, as many as the network gives scores"
            )
        try:
            self.normalization.apply(np.zeros((0, *self.image_shape)))
        except ValueError as error:
            raise ValueError(f"{where}: the normalisation is of other images ({error})") from error
        return self

    def check_range(self, where: str, images: np.ndarray) -> None:
        """Raise a ValueError for images that cannot be pixels as they were before normalisation.

        Nothing else would tell of images that are normalised already, or of another range: a
        network says something to every input.
        """
        white = self.normalization.white
        if images.dtype.kind != "f" or not images.size or white not in (1, 255):
            return
        low, high = float(images.min()), float(images.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"{where}: images has pixels that are not finite; expected numbers")
        slack = _ROUNDING * white  # of images that a normalisation was undone of
        too_dark = white == 255 and slack < high <= 1
        if low < (-slack if white == 255 else -1) or too_dark or (white == 1 and high > 2):
            raise ValueError(
                f"{where}: images has floats from {low:g} to {high:g}; expected pixels from 0 to"
                f" {white:g}, as before normalisation, or normalized=True for images of a data set"
            )

    def prepared(self, images: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
        """Return pixels (N, C, H, W) as the network saw those of the training images."""
        if images.dtype.kind in "iu":
            return self.normalization.apply_pixels(images, dtype)
        return self.normalization.apply(images, dtype)


def arranged(where: str, images: Any, shape: Sequence[int]) -> np.ndarray:
    """Return images as a view of shape (N, *shape), wherever their channels stand.

    Parameters
    ----------
    where : str
        Name of the calling function, for messages.
    images : array_like of shape (N, C, H, W), (N, H, W, C), (N, H, W) or (N, D)
        Where the first two are one, channels come first.
    shape : sequence of int
        (C, H, W), or (D,) of images that are a vector.

    Returns
    -------
    images : ndarray of shape (N, *shape)

    Raises
    ------
    TypeError, ValueError
        If these are no images of this shape.
    """
    X = checks.real_array(where, "images", images)
    found, wanted = tuple(X.shape[1:]), tuple(shape)
    if X.ndim and found == wanted:
        return X
    if len(wanted) == 3 and found == (*wanted[1:], wanted[0]):
        return X.transpose(0, 3, 1, 2)
    is_grey, is_flat = wanted[0] == 1 and found == wanted[1:], found == (math.prod(wanted),)
    if X.ndim and (is_grey or is_flat or (len(wanted) == 1 and math.prod(found) == wanted[0])):
        return X.reshape(len(X), *wanted)
    forms = [("N", *wanted)]
    if len(wanted) == 3:
        forms.append(("N", *wanted[1:], wanted[0]))
    expected = " or ".join("(" + ", ".join(map(str, form)) + ")" for form in forms)
    single = "; one image is images[None]" if X.shape in (wanted, (*wanted[1:], wanted[0])) else ""
    raise ValueError(f"{where}: images has shape {X.shape}; expected {expected}{single}")
