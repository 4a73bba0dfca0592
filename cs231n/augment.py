"""Data augmentation: random changes of training images that leave what they show as it is.

An augmentation is a function of a batch of images that returns another batch; the Solver calls it
on each minibatch: ``Solver(..., augment=FlipAndShift(pad=4))``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cs231n.core import checks

__all__ = [
    *("FlipAndShift", "alternating_flip", "augmented_scores", "mirrored_scores", "random_cutout"),
    *("random_flip", "random_shift"),
]

_PADDING = {"reflect": "reflect", "zero": "constant"}


class FlipAndShift:
    """Flips half of the images from left to right and shifts each by a few pixels.

    Parameters
    ----------
    flip : bool or 'alternating'
        Whether images are flipped at random; 'alternating' flips each every other epoch, see
        `alternating_flip`, for which the Solver tells which samples the images are.
    pad : int
        Largest shift, in pixels; 0 shifts nothing.
    mode : {'reflect', 'zero'}
        What comes in at the edge: the image mirrored at its last row or column, or zeros.
    rng : numpy.random.Generator, optional
        Source of the random draws, instead of NumPy's global generator.
    cutout : int
        Side of a square of each image that is blotted out, see `random_cutout`; 0 blots nothing.

    Raises
    ------
    ValueError, TypeError
        If pad or cutout is no integer >= 0, flip or the mode is unknown or rng no generator.
    """

    def __init__(
        self,
        flip: bool | str = True,
        pad: int = 4,
        mode: str = "reflect",
        rng: np.random.Generator | None = None,
        cutout: int = 0,
    ) -> None:
        if isinstance(flip, str):
            self.flip = checks.choice("FlipAndShift", "flip", flip, (True, False, "alternating"))
        else:
            self.flip = checks.flag("FlipAndShift", "flip", flip)
        self.cutout = checks.integer("FlipAndShift", "cutout", cutout, least=0)
        self.pad = checks.integer("FlipAndShift", "pad", pad, least=0)
        self.mode = checks.choice("FlipAndShift", "mode", mode, _PADDING)
        checks.generator("FlipAndShift", rng)
        self.rng = rng

    def __call__(self, X: np.ndarray) -> np.ndarray:
        """Return new images (N, C, H, W), the shift drawn before the flip."""
        if self.flip == "alternating":
            raise ValueError(
                "FlipAndShift: alternating flips depend on the samples and the epoch; expected a"
                " call of of_samples(X, samples, epoch), as the Solver makes it"
            )
        X = random_shift(X, self.pad, self.mode, self.rng)
        return self._blotted(random_flip(X, self.rng) if self.flip else X)

    def of_samples(self, X: np.ndarray, samples: np.ndarray, epoch: int) -> np.ndarray:
        """Return new images, of the samples of these numbers in this epoch; the Solver calls it.

        Parameters
        ----------
        X : ndarray of shape (N, C, H, W)
            Images, which are left alone.
        samples : ndarray of shape (N,)
            Their numbers among all training images.
        epoch : int
            Epochs done.

        Returns
        -------
        changed : ndarray of shape (N, C, H, W)
        """
        if self.flip != "alternating":
            return self(X)
        X = random_shift(X, self.pad, self.mode, self.rng)
        return self._blotted(alternating_flip(X, samples, epoch))

    def _blotted(self, X: np.ndarray) -> np.ndarray:
        """Return the images with a square of each blotted out, if that is wanted."""
        return random_cutout(X, self.cutout, self.rng) if self.cutout else X

    def __repr__(self) -> str:
        cutout = f", cutout={self.cutout}" if self.cutout else ""  # older checkpoints have none
        return f"FlipAndShift(flip={self.flip!r}, pad={self.pad}, mode={self.mode!r}{cutout})"


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


def alternating_flip(X: np.ndarray, samples: np.ndarray, epoch: int, seed: int = 0) -> np.ndarray:
    """Flip each image from left to right in every other epoch.

    Half of the samples, chosen by the seed once and for all, are flipped in even epochs, the others
    in odd ones: two epochs show both sides of each image, where random flips would show the same
    one twice in half of the cases.

    Parameters
    ----------
    X : ndarray of shape (N, C, H, W)
        Images, which are left alone.
    samples : ndarray of int of shape (N,)
        Which of all training images they are.
    epoch : int
        Epochs done.
    seed : int
        Gives another half.

    Returns
    -------
    flipped : ndarray of shape (N, C, H, W)

    Raises
    ------
    ValueError, TypeError
        If X does not have four axes, samples are not as many integers >= 0, or epoch or seed are no
        integer >= 0.

    Notes
    -----
    Nothing is drawn: a sample's half is the top bit of a mixed number (splitmix64), so that a run
    that is resumed flips what it would have flipped.

    References
    ----------
    Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, 2024 (arXiv:2404.00498).

    Steele, Lea and Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014.
    """
    where = "alternating_flip"
    X = _images(where, X)
    samples = checks.any_array(where, "samples", samples)
    if samples.dtype.kind not in "iu" or (samples.size and samples.min() < 0):
        raise TypeError(f"{where}: samples are {samples.dtype}; expected integers >= 0")
    checks.exact_shape(where, "samples", samples, X.shape[:1])
    epoch = checks.integer(where, "epoch", epoch, least=0)
    first = np.uint64(checks.integer(where, "seed", seed, least=0))
    z = (samples.astype(np.uint64) + first + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    chosen = (z >> np.uint64(63)).astype(bool) ^ bool(epoch % 2)
    flipped = X.copy()
    flipped[chosen] = X[chosen, ..., ::-1]
    return flipped


def random_cutout(
    X: np.ndarray, size: int = 8, rng: np.random.Generator | None = None
) -> np.ndarray:
    """Blot out a square of each image: its pixels become zero, the mean of normalised images.

    Parameters
    ----------
    X : ndarray of shape (N, C, H, W)
        Images, which are left alone.
    size : int
        Side of the square in pixels; its centre may be any pixel, so that parts of it may lie
        outside.
    rng : numpy.random.Generator, optional
        Source of the random draws, instead of NumPy's global generator.

    Returns
    -------
    blotted : ndarray of shape (N, C, H, W)

    Raises
    ------
    ValueError, TypeError
        If X does not have four axes, size is no integer >= 0 or rng is no generator.

    References
    ----------
    DeVries and Taylor, Improved Regularization of Convolutional Neural Networks with Cutout, 2017
    (arXiv:1708.04552).
    """
    where = "random_cutout"
    X = _images(where, X)
    N, _, H, W = X.shape
    size = checks.integer(where, "size", size, least=0)
    generator = checks.generator(where, rng)
    if X.size == 0:
        return X.copy()
    inside = [_is_inside(generator.choice(length, N), size, length) for length in (H, W)]
    square = inside[0][:, None, :, None] & inside[1][:, None, None, :]  # (N, 1, H, W)
    return np.where(square, X.dtype.type(0), X)


def _is_inside(centres: np.ndarray, size: int, length: int) -> np.ndarray:
    """Tell of each of `length` pixels (N, length) whether it is less than so far from a centre."""
    distance = np.arange(length) - (centres[:, None] - size // 2)
    return (distance >= 0) & (distance < size)


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


def augmented_scores(
    model: Any, X: np.ndarray, shift: int = 1, weight: float = 0.5, batch_size: int = 100
) -> np.ndarray:
    """Return weighted means of the scores of each image, its mirror image and shifted copies.

    Parameters
    ----------
    model : object
        With a method ``loss(X)`` that returns scores (N, classes).
    X : ndarray of shape (N, C, H, W)
        Images.
    shift : int
        Pixels by which a copy is shifted up and to the left, and another one down and to the right;
        what comes in at the edge is the image mirrored at its last row or column.  0 makes none.
    weight : float
        Share of the shifted copies in the scores, in [0, 1].
    batch_size : int
        Images scored at once, to bound the memory.

    Returns
    -------
    scores : ndarray of shape (N, classes)
        ``(1 - weight) * mean(image, mirror image)`` plus ``weight`` times the mean of the same of
        both shifted copies.

    Raises
    ------
    ValueError, TypeError
        If X does not have four axes, there are no images, or an argument is out of its range.
    """
    where = "augmented_scores"
    X = _images(where, X)
    shift = checks.integer(where, "shift", shift, least=0)
    weight = checks.number(where, "weight", weight, 0, 1)
    if shift and shift >= min(X.shape[2:]):
        raise ValueError(f"{where}: shift is {shift} for images {X.shape}; expected less")
    scores = mirrored_scores(model, X, batch_size) / 2
    if not shift or not weight:
        return scores
    padded = np.pad(X, ((0, 0), (0, 0), (shift, shift), (shift, shift)), mode="reflect")
    up, down = slice(2 * shift, None), slice(None, -2 * shift)
    copies = (padded[:, :, place, place] for place in (up, down))
    moved = sum(mirrored_scores(model, one, batch_size) for one in copies) / 4
    return (1 - weight) * scores + weight * moved


def _images(where: str, X: Any) -> np.ndarray:
    """Return X as an array of shape (N, C, H, W)."""
    X = checks.real_array(where, "X", X)
    checks.shapes(where, X=(X, "N C H W"))
    return X
