"""The NumPy passage between images and columns.

A convolution slides a window of HH x WW pixels over a padded image (`cs231n.core.window`).  Laying
the pixels of every position side by side turns the convolution into one matrix product: that is
im2col; col2im, its transpose, adds columns back into an image.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cs231n.core import checks
from cs231n.core.window import Window, add_windows

# Window and add_windows are at home in `cs231n.core.window`; old pickles look for them here.
__all__ = [
    "Window",
    "add_windows",
    "col2im",
    "col2im_indices",
    "field_coords",
    "get_im2col_indices",
    "get_num_fields",
    "im2col_indices",
    "im2col_naive",
]


def get_im2col_indices(
    x_shape: tuple[int, int, int, int],
    field_height: int,
    field_width: int,
    padding: int = 1,
    stride: int = 1,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Index arrays that pick the columns out of a padded batch of images.

    Parameters
    ----------
    x_shape : tuple (N, C, H, W)
        Shape of the images before padding.
    field_height, field_width : int
        Height HH and width WW of the window in pixels.
    padding, stride : int
        Zeros added on each side, and step between positions, in pixels.

    Returns
    -------
    k : ndarray of shape (C * HH * WW, 1)
        Channel of each element of a column.
    i, j : ndarray of shape (C * HH * WW, OH * OW)
        Row and column in the padded image: ``x_padded[:, k, i, j]`` is (N, C * HH * WW, OH * OW).

    Raises
    ------
    ValueError
        If the window does not fit into the padded image.
    """
    where = "get_im2col_indices"
    window = Window.checked(where, field_height, field_width, stride, padding)
    _, C, H, W = checks.batch_shape(where, "x_shape", x_shape)
    OH, OW = window.output_size(where, H, W)
    window.require_room_for_columns(where, (1, C, H, W), OH, OW)
    HH, WW = window.HH, window.WW
    k, hh, ww = (index.reshape(-1, 1) for index in np.indices((C, HH, WW)))
    oh, ow = (index.reshape(1, -1) for index in np.indices((OH, OW)))
    return k, hh + stride * oh, ww + stride * ow


def im2col_indices(
    x: np.ndarray, field_height: int, field_width: int, padding: int = 1, stride: int = 1
) -> np.ndarray:
    """Lay the pixels under every window position side by side.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W)
        Images.
    field_height, field_width : int
        Height HH and width WW of the window in pixels.
    padding, stride : int
        Zeros added on each side, and step between positions, in pixels.

    Returns
    -------
    cols : ndarray of shape (C * HH * WW, OH * OW * N)
        One column for each position, position-major with the image index fastest.

    Raises
    ------
    ValueError
        If x does not have four axes or the window does not fit into the padded image.
    """
    where = "im2col_indices"
    (x,) = checks.float_arrays(where, x=x)
    sizes = checks.shapes(where, x=(x, "N C H W"))
    window = Window.checked(where, field_height, field_width, stride, padding)
    OH, OW = window.output_size(where, sizes["H"], sizes["W"])
    window.require_room_for_columns(where, x.shape, OH, OW)
    windows = window.view(window.pad_image(x, where))  # (N, C, OH, OW, HH, WW)
    rows = sizes["C"] * window.HH * window.WW
    cols = windows.transpose(1, 4, 5, 2, 3, 0).copy()  # for one-pixel windows this may be x itself
    return cols.reshape(rows, OH * OW * sizes["N"])


def col2im_indices(
    cols: np.ndarray,
    x_shape: tuple[int, int, int, int],
    field_height: int = 3,
    field_width: int = 3,
    padding: int = 1,
    stride: int = 1,
) -> np.ndarray:
    """Add columns back into images, the transpose of `im2col_indices`.

    Parameters
    ----------
    cols : ndarray of shape (C * HH * WW, OH * OW * N)
        Columns in the order of `im2col_indices`.
    x_shape : tuple (N, C, H, W)
        Shape of the images.
    field_height, field_width, padding, stride : int
        As for `im2col_indices`.

    Returns
    -------
    x : ndarray of shape (N, C, H, W)
        Each pixel is the sum of the column elements that were taken from it.

    Raises
    ------
    ValueError
        If cols does not have the shape that these windows give.
    """
    where = "col2im_indices"
    (cols,) = checks.float_arrays(where, cols=cols)
    window = Window.checked(where, field_height, field_width, stride, padding)
    N, C, H, W = checks.batch_shape(where, "x_shape", x_shape)
    OH, OW = window.output_size(where, H, W)
    checks.exact_shape(where, "cols", cols, (C * window.HH * window.WW, OH * OW * N))
    windows = cols.reshape(C, window.HH, window.WW, OH, OW, N).transpose(5, 0, 1, 2, 3, 4)
    padded = window.padded_zeros(where, (N, C, H, W), cols.dtype)
    add_windows(windows, padded, window)
    return window.crop(padded).copy()


def get_num_fields(
    x_shape: tuple[int, int, int, int],
    field_height: int,
    field_width: int,
    padding: int,
    stride: int,
) -> tuple[int, int]:
    """Count the positions of a window.

    Parameters
    ----------
    x_shape, field_height, field_width, padding, stride
        As for `get_im2col_indices`.

    Returns
    -------
    OH, OW : int
        Positions from top to bottom and from left to right.

    Raises
    ------
    ValueError
        If the window does not fit into the padded image.
    """
    where = "get_num_fields"
    window = Window.checked(where, field_height, field_width, stride, padding)
    return window.output_size(where, *checks.batch_shape(where, "x_shape", x_shape)[2:])


def field_coords(
    H: int, W: int, field_height: int, field_width: int, padding: int, stride: int
) -> Iterator[tuple[int, int, int, int]]:
    """Go through the positions of a window, row by row.

    Parameters
    ----------
    H, W : int
        Size of the image before padding.
    field_height, field_width, padding, stride : int
        As for `get_im2col_indices`.

    Returns
    -------
    iterator of tuple (top, bottom, left, right)
        The window covers ``padded[top:bottom, left:right]``.

    Raises
    ------
    ValueError
        If the window does not fit into the padded image.
    """
    where = "field_coords"
    window = Window.checked(where, field_height, field_width, stride, padding)
    OH, OW = window.output_size(where, *checks.batch_shape(where, "(1, 1, H, W)", (1, 1, H, W))[2:])
    spans = (window.pixels(i, j) for i in range(OH) for j in range(OW))
    return ((rows.start, rows.stop, cols.start, cols.stop) for rows, cols in spans)


def im2col_naive(
    x: np.ndarray, field_height: int = 3, field_width: int = 3, padding: int = 1, stride: int = 1
) -> np.ndarray:
    """Lay the pixels under every window position side by side, one position after the other.

    Parameters and result are those of `im2col_indices`.
    """
    where = "im2col_naive"
    (x,) = checks.float_arrays(where, x=x)
    N, C, H, W = checks.shapes(where, x=(x, "N C H W")).values()
    window = Window.checked(where, field_height, field_width, stride, padding)
    OH, OW = window.output_size(where, H, W)
    window.require_room_for_columns(where, x.shape, OH, OW)
    padded = window.pad_image(x, where)
    cols = np.empty((C * window.HH * window.WW, OH * OW, N), x.dtype)
    fields = field_coords(H, W, field_height, field_width, padding, stride)
    for position, (top, bottom, left, right) in enumerate(fields):
        cols[:, position] = padded[:, :, top:bottom, left:right].reshape(N, len(cols)).T
    return cols.reshape(len(cols), OH * OW * N)


def col2im(
    cols: np.ndarray,
    x_shape: tuple[int, int, int, int],
    field_height: int = 3,
    field_width: int = 3,
    padding: int = 1,
    stride: int = 1,
) -> np.ndarray:
    """Add columns back into images, one position after the other.

    Parameters and result are those of `col2im_indices`.
    """
    where = "col2im"
    (cols,) = checks.float_arrays(where, cols=cols)
    window = Window.checked(where, field_height, field_width, stride, padding)
    N, C, H, W = checks.batch_shape(where, "x_shape", x_shape)
    OH, OW = window.output_size(where, H, W)
    rows = C * window.HH * window.WW
    checks.exact_shape(where, "cols", cols, (rows, OH * OW * N))
    padded = window.padded_zeros(where, (N, C, H, W), cols.dtype)
    fields = field_coords(H, W, field_height, field_width, padding, stride)
    for (top, bottom, left, right), columns in zip(
        fields, cols.reshape(rows, OH * OW, N).transpose(1, 2, 0)
    ):
        padded[:, :, top:bottom, left:right] += columns.reshape(N, C, window.HH, window.WW)
    return window.crop(padded).copy()
