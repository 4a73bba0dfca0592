"""Images side by side, as arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cs231n.core import checks

__all__ = ["as_images", "mosaic", "own_range", "vis_grid", "vis_nn", "visualize_grid"]


def visualize_grid(Xs: np.ndarray, ubound: float = 255.0, padding: int = 1) -> np.ndarray:
    """Lay out images in a square, each scaled to its own range.

    Parameters
    ----------
    Xs : array_like of shape (N, H, W, C)
        Images, or filters with their channels last.
    ubound : float
        The largest value of each tile; the smallest is 0.  An image of one colour becomes 0.
    padding : int
        Width of the black lines between the tiles.

    Returns
    -------
    grid : ndarray of shape (A * H + (A - 1) * padding, A * W + (A - 1) * padding, C), float64
        A * A is the smallest square that holds N; unused tiles are black.

    Raises
    ------
    TypeError
        If Xs does not hold real numbers.
    ValueError
        If Xs has another number of axes, an empty axis, or values that are not finite.
    """
    where = "visualize_grid"
    padding = checks.integer(where, "padding", padding, 0)
    ubound = checks.number(where, "ubound", ubound, 0)
    images = as_images(where, "Xs", Xs).astype(np.float64)
    side = math.ceil(math.sqrt(len(images)))
    grid = mosaic(own_range(images, ubound), side, side, padding, background=0.0)
    return grid[: len(grid) - padding, : grid.shape[1] - padding]


def vis_grid(Xs: np.ndarray) -> np.ndarray:
    """Lay out images in a square, all scaled together to 0 ... 1.

    Parameters
    ----------
    Xs : array_like of shape (N, H, W, C)
        Images.

    Returns
    -------
    grid : ndarray of shape (A * (H + 1), A * (W + 1), C)
        A * A is the smallest square that holds N.  A line of the smallest value follows each tile,
        to its right and below.  float32 stays float32, all else becomes float64.

    Raises
    ------
    TypeError, ValueError
        As `visualize_grid`.
    """
    images = as_images("vis_grid", "Xs", Xs)
    side = math.ceil(math.sqrt(len(images)))
    return _unit_range(mosaic(images, side, side, 1, background=images.min()))


def vis_nn(rows: Sequence[Sequence[np.ndarray]], per_tile: bool = False) -> np.ndarray:
    """Lay out rows of images, such as images and their nearest neighbours, scaled to 0 ... 1.

    Parameters
    ----------
    rows : array_like of shape (R, K, H, W, C)
        R rows of K images.
    per_tile : bool
        Whether to scale each image to its own range; by default all are scaled together, so that
        brightness can be compared.

    Returns
    -------
    grid : ndarray of shape (R * (H + 1), K * (W + 1), C)
        A line of the value 1 (taken before the images are scaled) follows each image, to its right
        and below.  float32 stays float32, all else becomes float64.

    Raises
    ------
    TypeError, ValueError
        If the images do not have one shape or the rows not one length, and as `visualize_grid`.
    """
    where = "vis_nn"
    per_tile = checks.flag(where, "per_tile", per_tile)
    rows = [checks.sequence(where, "rows", row) for row in checks.sequence(where, "rows", rows)]
    lengths = sorted({len(row) for row in rows})
    if len(lengths) != 1:
        raise ValueError(f"{where}: rows have lengths {lengths}; expected rows of one length")
    images = as_images(where, "rows", [image for row in rows for image in row])
    if per_tile:
        images = own_range(images, 1.0)
    return _unit_range(mosaic(images, len(rows), lengths[0], 1, background=1.0))


def as_images(where: str, name: str, value: Any) -> np.ndarray:
    """Return images (N, H, W, C) as finite float32 or float64, or raise."""
    try:
        images = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{where}: {name} holds images of different shapes ({error})") from error
    if images.dtype.kind not in "biuf":
        raise TypeError(f"{where}: {name} has dtype {images.dtype}; expected real numbers")
    if images.ndim != 4 or images.size == 0:
        raise ValueError(
            f"{where}: {name} has shape {images.shape}; expected (N, H, W, C), no axis empty"
        )
    if images.dtype != np.float32:
        images = images.astype(np.float64)
    if not np.all(np.isfinite(images)):
        bad = int(np.argmin(np.isfinite(images).all(axis=(1, 2, 3))))
        raise ValueError(f"{where}: image {bad} of {name} holds nan or infinity; expected numbers")
    return images


def own_range(images: np.ndarray, upper: float) -> np.ndarray:
    """Scale each image (H, W, C) so that its values run from 0 to upper."""
    low = images.min(axis=(1, 2, 3), keepdims=True)
    high = images.max(axis=(1, 2, 3), keepdims=True)
    span = high - low
    varied = span > 0
    scaled = upper * (images - low) / np.where(varied, span, 1)
    scaled[(images == high) & varied] = upper  # rounding may end just below or above
    return scaled


def _unit_range(image: np.ndarray) -> np.ndarray:
    """Scale an image so that its values run from 0 to 1."""
    return own_range(image[np.newaxis], 1.0)[0]


def mosaic(
    images: np.ndarray, rows: int, columns: int, padding: int, background: float
) -> np.ndarray:
    """Lay out images row by row, with padding to the right of and below each."""
    N, H, W, C = images.shape
    tiles = np.full((rows * columns, H + padding, W + padding, C), background, dtype=images.dtype)
    tiles[:N, :H, :W] = images
    tiles = tiles.reshape(rows, columns, H + padding, W + padding, C).transpose(0, 2, 1, 3, 4)
    return tiles.reshape(rows * (H + padding), columns * (W + padding), C)
