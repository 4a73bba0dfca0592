"""Data augmentation: random changes of training images that leave what they show as it is.

An augmentation is a function of a batch of images that returns another batch; the Solver calls it
on each minibatch: ``Solver(..., augment=FlipAndShift(pad=4))``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cs231n.core import checks

__all__ = ["FlipAndShift", "mirrored_scores", "random_flip", "random_shift"]

_PADDING = {"reflect": "reflect", "zero": "constant"}


class FlipAndShift:
    """Flips half of the images from left to right and shifts each by a few pixels.

    Parameters
    ----------
    flip : bool
        Whether images are flipped.
    pad : int
        Largest shift, in pixels; 0 shifts nothing.
    mode : {'reflect', 'zero'}
        What comes in at the edge: the image mirrored at its last row or column, or zeros.
    rng : numpy.random.Generator, optional
        Source of the random draws, instead of NumPy's global generator.

    Raises
    ------
    ValueError, TypeError
        If pad is no integer >= 0, the mode is unknown or rng no generator.
    """

    def __init__(
        self,
        flip: bool = True,
        pad: int = 4,
        mode: str = "reflect",
        rng: np.random.Generator | None = None,
    ) -> None:
        self.flip = checks.flag("FlipAndShift", "flip", flip)
        self.pad = checks.integer("FlipAndShift", "pad", pad, least=0)
        self.mode = checks.choice("FlipAndShift", "mode", mode, _PADDING)
        checks.generator("FlipAndShift", rng)
        self.rng = rng

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """Return new images (N, C, H, W), the shift drawn before the flip."""
        X = random_shift(X, self.pad, self.mode, self.rng)
        return random_flip(X, self.rng) if self.flip else X

    def __repr__(self) -> str:
        return f"FlipAndShift(flip={self.flip}, pad={self.pad}, mode={self.mode!r})"


def random_flip(X: np.ndarray, rng: np.random.Generator | None = None) -> np.ndarray:
    """Flip each image from left to right, or not, with equal probability.

    Parameters
    ----------
    X : ndarray of shape (N, C, H, W)
        Images, which are left alone.
    rng : numpy.random.Generator, optional
        Source of the random draws, instead of NumPy's global generator.

    Returns
    -------
    flipped : ndarray of shape (N, C, H, W)

    Raises
    ------
    ValueError, TypeError
        If X does not have four axes or rng is no generator.
    """
    X = _images("random_flip", X)
    flipped = X.copy()
    chosen = checks.generator("random_flip", rng).random(len(X)) < 0.5
    flipped[chosen] = X[chosen, ..., ::-1]
    return flipped


def random_shift(
    X: np.ndarray,
    pad: int = 4,
    mode: str = "reflect",
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Shift each image by up to `pad` pixels: pad it on all sides and crop it anywhere.

    Parameters
    ----------
    X : ndarray of shape (N, C, H, W)
        Images, which are left alone.
    pad : int
        Largest shift, in pixels.
    mode : {'reflect', 'zero'}
        What comes in at the edge: the image mirrored at its last row or column, or zeros.
    rng : numpy.random.Generator, optional
        Source of the random draws, instead of NumPy's global generator.

    Returns
    -------
    shifted : ndarray of shape (N, C, H, W)

    Raises
    ------
    ValueError, TypeError
        If X does not have four axes, pad is no integer >= 0 or, with 'reflect', not less than the
        height and the width of the images, the mode is unknown or rng no generator.
    """
    where = "random_shift"
    X = _images(where, X)
    N, _, H, W = X.shape
    pad = checks.integer(where, "pad", pad, least=0)
    padding: Any = _PADDING[checks.choice(where, "mode", mode, _PADDING)]
    if mode == "reflect" and pad >= min(H, W):
        raise ValueError(
            f"{where}: pad is {pad} for images of {H}x{W}; expected less than height and width,"
            f" for an image has no more pixels to reflect"
        )
    padded = np.pad(X, ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode=padding)
    crops = sliding_window_view(padded, (H, W), axis=(2, 3))  # (N, C, 2 pad + 1, 2 pad + 1, H, W)
    rows, columns = checks.generator(where, rng).choice(2 * pad + 1, (2, N))
    return np.ascontiguousarray(crops[np.arange(N), :, rows, columns])


def mirrored_scores(model: Any, X: np.ndarray, batch_size: int = 100) -> np.ndarray:
    """Add the scores of each image and of its mirror image.

    A network that was trained on flipped images makes up its mind from two views at the price of
    a second forward pass, and is right more often.

    Parameters
    ----------
    model : object
        With a method ``loss(X)`` that returns scores (N, classes).
    X : ndarray of shape (N, C, H, W)
        Images.
    batch_size : int
        Images scored at once, to bound the memory.

    Returns
    -------
    scores : ndarray of shape (N, classes)

    Raises
    ------
    ValueError, TypeError
        If X does not have four axes, there are no images or batch_size is no integer >= 1.
    """
    where = "mirrored_scores"
    checks.attributes(where, "model", model, "loss")
    X = _images(where, X)
    if len(X) == 0:
        raise ValueError(f"{where}: X has shape {X.shape}; expected at least one image")
    size = checks.integer(where, "batch_size", batch_size, least=1)
    batches = (X[start : start + size] for start in range(0, len(X), size))
    return np.concatenate([model.loss(one) + model.loss(one[..., ::-1]) for one in batches])


def _images(where: str, X: Any) -> np.ndarray:
    """Return X as an array of shape (N, C, H, W)."""
    X = checks.real_array(where, "X", X)
    checks.shapes(where, X=(X, "N C H W"))
    return X
