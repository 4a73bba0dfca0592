"""Window arithmetic, and the NumPy passage between images and columns.

A convolution slides a window of HH x WW pixels over a padded image with a given stride.  `Window`
is the only place in the package that knows how many positions that gives and which pixels a
position covers.  Laying the pixels of every position side by side turns the convolution into one
matrix product: that is im2col; col2im, its transpose, adds columns back into an image.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cs231n.core import checks

__all__ = [
    "Window",
    "col2im",
    "col2im_indices",
    "field_coords",
    "get_im2col_indices",
    "get_num_fields",
    "im2col_indices",
    "im2col_naive",
]


class Window(NamedTuple):
    """A window of HH x WW pixels that slides over an image in steps of stride.

    Positions that do not fit completely into the padded image are dropped.
    """

    HH: int
    WW: int
    stride: int = 1
    pad: int = 0

    @classmethod
    def for_conv(cls, where: str, w: np.ndarray, conv_param: Mapping[str, Any]) -> Window:
        """Return the window of filters w (F, C, HH, WW) with the options 'stride' and 'pad'."""
        known = ("stride", "pad")
        conv_param = checks.options(where, "conv_param", conv_param)
        stride, pad = (checks.option(where, conv_param, name, known) for name in known)
        return cls.checked(where, w.shape[2], w.shape[3], stride, pad)

    @classmethod
    def for_pool(cls, where: str, pool_param: Mapping[str, Any]) -> Window:
        """Return the window of the options 'pool_height', 'pool_width' and 'stride'."""
        known = ("pool_height", "pool_width", "stride")
        pool_param = checks.options(where, "pool_param", pool_param)
        HH, WW, stride = (checks.option(where, pool_param, name, known) for name in known)
        return cls.checked(where, HH, WW, stride, 0)

    @classmethod
    def checked(cls, where: str, HH: Any, WW: Any, stride: Any, pad: Any) -> Window:
        """Return the window of these sizes; an error of `where` if one is no sensible integer."""
        return cls(
            checks.integer(where, "window height", HH, least=1),
            checks.integer(where, "window width", WW, least=1),
            checks.integer(where, "stride", stride, least=1),
            checks.integer(where, "pad", pad, least=0),
        )

    def output_size(self, where: str, H: int, W: int) -> tuple[int, int]:
        """Return the number of positions (OH, OW) in an image of H x W."""
        spare_rows = H + 2 * self.pad - self.HH
        spare_columns = W + 2 * self.pad - self.WW
        if spare_rows < 0 or spare_columns < 0:
            raise checks.window_error(where, H, W, self.HH, self.WW, self.pad)
        return spare_rows // self.stride + 1, spare_columns // self.stride + 1

    def pixels(self, i: int, j: int) -> tuple[slice, slice]:
        """Return the rows and columns of the padded image that position (i, j) covers."""
        top, left = i * self.stride, j * self.stride
        return slice(top, top + self.HH), slice(left, left + self.WW)

    def positions(self, hh: int, ww: int, OH: int, OW: int) -> tuple[slice, slice]:
        """Return the padded image's pixels that lie at (hh, ww) of the windows, one of each."""
        rows = slice(hh, hh + (OH - 1) * self.stride + 1, self.stride)
        columns = slice(ww, ww + (OW - 1) * self.stride + 1, self.stride)
        return rows, columns

    def pad_image(self, x: np.ndarray) -> np.ndarray:
        """Return x (..., H, W) with `pad` rows and columns of zeros on each side."""
        if self.pad == 0:
            return x
        H, W = x.shape[-2:]
        padded = np.zeros((*x.shape[:-2], H + 2 * self.pad, W + 2 * self.pad), x.dtype)
        self.crop(padded)[...] = x
        return padded

    def crop(self, padded: np.ndarray) -> np.ndarray:
        """Return the view of a padded image without its padding."""
        H, W = (size - 2 * self.pad for size in padded.shape[-2:])
        return padded[..., self.pad : self.pad + H, self.pad : self.pad + W]

    def view(self, padded: np.ndarray) -> np.ndarray:
        """Return a view (..., OH, OW, HH, WW) of all windows of a padded image."""
        windows = sliding_window_view(padded, (self.HH, self.WW), axis=(-2, -1))
        return windows[..., :: self.stride, :: self.stride, :, :]


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
    _, C, H, W = checks.image_shape(where, "x_shape", x_shape)
    OH, OW = window.output_size(where, H, W)
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
    windows = window.view(window.pad_image(x))  # (N, C, OH, OW, HH, WW)
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
    N, C, H, W = checks.image_shape(where, "x_shape", x_shape)
    OH, OW = window.output_size(where, H, W)
    checks.exact_shape(where, "cols", cols, (C * window.HH * window.WW, OH * OW * N))
    windows = cols.reshape(C, window.HH, window.WW, OH, OW, N).transpose(5, 0, 1, 2, 3, 4)
    padded = np.zeros((N, C, H + 2 * window.pad, W + 2 * window.pad), cols.dtype)
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
    return window.output_size(where, *checks.image_shape(where, "x_shape", x_shape)[2:])


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
    OH, OW = window.output_size(where, *checks.image_shape(where, "(1, 1, H, W)", (1, 1, H, W))[2:])
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
    padded = Window.checked(where, field_height, field_width, stride, padding).pad_image(x)
    fields = list(field_coords(H, W, field_height, field_width, padding, stride))
    cols = np.empty((C * field_height * field_width, len(fields), N), x.dtype)
    for position, (top, bottom, left, right) in enumerate(fields):
        cols[:, position] = padded[:, :, top:bottom, left:right].reshape(N, len(cols)).T
    return cols.reshape(len(cols), len(fields) * N)


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
    N, C, H, W = checks.image_shape(where, "x_shape", x_shape)
    fields = list(field_coords(H, W, field_height, field_width, padding, stride))
    rows = C * window.HH * window.WW
    checks.exact_shape(where, "cols", cols, (rows, len(fields) * N))
    padded = np.zeros((N, C, H + 2 * window.pad, W + 2 * window.pad), cols.dtype)
    for (top, bottom, left, right), columns in zip(
        fields, cols.reshape(rows, len(fields), N).transpose(1, 2, 0)
    ):
        padded[:, :, top:bottom, left:right] += columns.reshape(N, C, window.HH, window.WW)
    return window.crop(padded).copy()


def add_windows(windows: np.ndarray, padded: np.ndarray, window: Window) -> None:
    """Add windows (..., HH, WW, OH, OW) into the padded image (..., H, W) that they cover."""
    OH, OW = windows.shape[-2:]
    for hh in range(window.HH):
        for ww in range(window.WW):
            rows, columns = window.positions(hh, ww, OH, OW)
            padded[..., rows, columns] += windows[..., hh, ww, :, :]
