"""What was done to images before training, to be done to every further one before a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cs231n.core import checks

__all__ = ["BLOCK", "Normalization"]

BLOCK = 256  # images that are normalised at once
_ARRAYS = ("mean", "deviation", "white")


class Normalization:
    """Subtract a mean from images and divide them by a deviation, as was done to the training data.

    Parameters
    ----------
    mean : array_like of shape (C, H, W), (C, 1, 1) or (C,), optional
        Mean image, or mean of each channel. Nothing is subtracted by default.
    deviation : array_like of shape (C,) or (C, 1, 1), optional
        Standard deviation of each channel. Nothing is divided by default.
    white : float, optional
        The value that white has in the images: 255, or 1 where they are floats from 0 to 1.

    Raises
    ------
    ValueError, TypeError
        If an argument has another shape, is not finite, or a deviation or white is not positive.

    Notes
    -----
    ``(X - mean) / deviation``, with the difference rounded once to the dtype of the result, which
    is bit for bit what the functions of `data_utils` do to their images.
    """

    def __init__(self, mean: Any = None, deviation: Any = None, white: float = 255.0) -> None:
        where = "Normalization"
        self.mean = _constants(where, "mean", mean, (1, 3))
        self.deviation = _constants(where, "deviation", deviation, (1,))
        self.white = checks.number(where, "white", white, 0, 1e30, low_open=True)
        if self.deviation is not None and not (self.deviation > 0).all():
            raise ValueError(f"{where}: deviation is not positive everywhere; expected > 0")
        sizes = {len(array) for array in (self.mean, self.deviation) if array is not None}
        if len(sizes) > 1:
            raise ValueError(
                f"{where}: mean has {len(self.mean)} channels but deviation"  # type: ignore[arg-type]
                f" {len(self.deviation)}"  # type: ignore[arg-type]
            )

    def apply(self, X: Any, dtype: Any = None) -> np.ndarray:
        """Normalise images whose pixels lie where those of the training data lay.

        Parameters
        ----------
        X : ndarray of shape (N, C, H, W)
            Images; stays as it is.
        dtype : dtype, optional
            Of the result; by default that of X if it is a float, else float32.

        Returns
        -------
        ndarray of shape (N, C, H, W)

        Raises
        ------
        ValueError
            If the images do not have the channels, or the size, of the mean.
        """
        where = "Normalization.apply"
        X = checks.real_array(where, "X", X)
        checks.shapes(where, X=(X, "N C H W"))
        self._check_images(where, X.shape)
        given = X.dtype if X.dtype.kind == "f" else np.dtype(np.float32)
        out = np.empty(X.shape, given if dtype is None else checks.float_dtype(where, dtype))
        for start in range(0, len(X), BLOCK):
            out[start : start + BLOCK] = X[start : start + BLOCK]
            self._block(out[start : start + BLOCK], X[start : start + BLOCK])
        return out

    def apply_pixels(self, pixels: Any, dtype: Any = np.float32) -> np.ndarray:
        """Normalise images with pixels from 0 to 255, such as a picture file gives.

        Parameters
        ----------
        pixels : ndarray of shape (N, C, H, W)
            Images with white at 255; stays as it is.
        dtype : dtype, optional
            Of the result.

        Returns
        -------
        ndarray of shape (N, C, H, W)
            As `apply`, of the pixels brought to the range of the training data.
        """
        if self.white != 255:
            pixels = checks.real_array("Normalization.apply_pixels", "pixels", pixels)
            pixels = pixels.astype(np.float64) * (self.white / 255)
        return self.apply(pixels, dtype)

    def apply_in_place(self, *parts: np.ndarray) -> None:
        """Normalise arrays of float images (N, C, H, W) where they are, block by block."""
        for X in parts:
            for start in range(0, len(X), BLOCK):
                self._block(X[start : start + BLOCK], X[start : start + BLOCK])

    def undo(self, X: Any) -> np.ndarray:
        """Return the images that were normalised, up to rounding, for pictures of them.

        Parameters
        ----------
        X : ndarray of shape (N, C, H, W)
            Normalised images; stays as it is.

        Returns
        -------
        ndarray of shape (N, C, H, W)
            ``X * deviation + mean``, of the dtype of X.
        """
        (X,) = checks.float_arrays("Normalization.undo", X=X)
        checks.shapes("Normalization.undo", X=(X, "N C H W"))
        self._check_images("Normalization.undo", X.shape)
        scale = np.float64(1) if self.deviation is None else _columns(self.deviation)
        offset = np.float64(0) if self.mean is None else _columns(self.mean)
        return (X * scale + offset).astype(X.dtype)

    def divided_by(self, deviation: Any) -> Normalization:
        """Return what also divides by these deviations (C,), after everything else.

        Parameters
        ----------
        deviation : ndarray of shape (C,)

        Returns
        -------
        Normalization
        """
        own = 1 if self.deviation is None else self.deviation
        return Normalization(self.mean, own * np.asarray(deviation), self.white)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return plain arrays to store, which `from_arrays` takes.

        Returns
        -------
        dict
            ``mean`` and ``deviation`` where there are any, and ``white``; float64.
        """
        found = {"mean": self.mean, "deviation": self.deviation, "white": np.float64(self.white)}
        return {name: np.array(value) for name, value in found.items() if value is not None}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> Normalization:
        """Return what `to_arrays` described; every value is checked, for files may say anything.

        Parameters
        ----------
        arrays : dict
            With some of ``mean``, ``deviation`` and ``white``.

        Returns
        -------
        Normalization

        Raises
        ------
        ValueError, TypeError
            If a name is unknown, or an array is not what `Normalization` takes.
        """
        where = "Normalization.from_arrays"
        arrays = checks.mapping(where, "arrays", arrays)
        unknown = [name for name in arrays if name not in _ARRAYS]
        if unknown:
            raise ValueError(
                f"{where}: unknown array {checks.hints(unknown, _ARRAYS)}; expected"
                f" {', '.join(_ARRAYS)}"
            )
        white = checks.any_array(where, "white", arrays.get("white", 255.0))
        if white.shape != () or white.dtype.kind not in "iuf":
            raise ValueError(f"{where}: white has shape {white.shape}; expected one number")
        return cls(arrays.get("mean"), arrays.get("deviation"), white.item())

    def _check_images(self, where: str, shape: tuple[int, ...]) -> None:
        """Raise a ValueError for images that the constants were not made of."""
        for array in (self.mean, self.deviation):
            own = () if array is None else _columns(array).shape
            if any(size not in (1, found) for size, found in zip(own, shape[1:])) or (
                own and own[0] != shape[1]
            ):
                raise ValueError(
                    f"{where}: X has images of {shape[1:]}; expected"
                    f" {own if own[1:] != (1, 1) else f'({own[0]}, H, W)'}, as in training"
                )

    def _block(self, out: np.ndarray, X: np.ndarray) -> None:
        """Normalise a few images into out, which may be X: the difference is rounded once."""
        if self.mean is not None:
            out[:] = X - _columns(self.mean)
        if self.deviation is not None:
            out /= _columns(self.deviation).astype(out.dtype)

    def __eq__(self, other: object) -> bool:
        """Tell whether the other does exactly the same."""
        if not isinstance(other, Normalization):
            return NotImplemented
        own, others = self.to_arrays(), other.to_arrays()
        return own.keys() == others.keys() and all(
            np.array_equal(own[name], others[name]) for name in own
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Say what is subtracted and divided."""
        done = []
        if self.mean is not None:
            kind = "image" if _columns(self.mean).shape[1:] != (1, 1) else "of each channel"
            done.append(f"mean {kind} {self.mean.shape}")
        if self.deviation is not None:
            done.append(f"deviation {np.round(self.deviation, 3).ravel().tolist()}")
        return f"Normalization({', '.join(done) or 'nothing'}, white={self.white:g})"


def _columns(constants: np.ndarray) -> np.ndarray:
    """Return constants (C, ...) as (C, H, W) or (C, 1, 1), to be combined with images."""
    return constants if constants.ndim == 3 else constants[:, None, None]


def _constants(where: str, name: str, value: Any, axes: tuple[int, ...]) -> np.ndarray | None:
    """Return a read-only float64 array with one of these numbers of axes, the first of them C."""
    if value is None:
        return None
    array = checks.real_array(where, name, value).astype(np.float64)
    if array.ndim == 3 and array.shape[1:] == (1, 1):
        array = array[:, 0, 0]
    if array.ndim not in axes or not array.size:
        raise ValueError(
            f"{where}: {name} has shape {array.shape}; expected"
            f" {' or '.join('(C,)' if count == 1 else '(C, H, W)' for count in axes)}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{where}: {name} is not finite everywhere")
    array.setflags(write=False)
    return array
