"""Compiled im2col and col2im, under the names that notebooks call.

The loops get checked, C-contiguous arrays of one dtype, allocate nothing, check nothing and run
without the GIL.  N samples, C channels, H, W image, HH, WW window, OH, OW output map; windows step
by `stride` over an image with `pad` zeros on each side.

Compiler directives are set by setup.py, so that one switch builds a checked version.
"""

from cython cimport floating

import numpy as np

from cs231n.core import checks
from cs231n.core.window import Window

__all__ = ["col2im_6d_cython", "col2im_cython", "im2col_cython"]


def im2col_cython(x, field_height, field_width, padding, stride):
    """Lay the pixels under every window position side by side, position-major, image fastest.

    Parameters
    ----------
    x : ndarray of shape (N, C, H, W)
        Images.
    field_height, field_width, padding, stride : int
        Height and width of the window, zeros on each side, and step, in pixels.

    Returns
    -------
    cols : ndarray of shape (C * HH * WW, OH * OW * N)

    Raises
    ------
    ValueError, TypeError
        If x is no batch of images, the window does not fit into the padded image, or nearly all of
        the columns would be padding.
    """
    where = "im2col_cython"
    (x,) = checks.float_arrays(where, x=x)
    N, C, H, W = checks.shapes(where, x=(x, "N C H W")).values()
    window = Window.checked(where, field_height, field_width, stride, padding)
    OH, OW = window.output_size(where, H, W)
    window.require_room_for_columns(where, x.shape, OH, OW)
    x = np.ascontiguousarray(x)
    cols = np.empty((N, C * window.HH * window.WW, OH * OW), x.dtype)
    for image, columns in zip(x, cols):
        im2col(image, columns, *window, OH, OW)
    return cols.transpose(1, 2, 0).reshape(C * window.HH * window.WW, OH * OW * N)


def col2im_cython(cols, N, C, H, W, field_height, field_width, padding, stride):
    """Add columns back into images, the transpose of `im2col_cython`.

    Parameters
    ----------
    cols : ndarray of shape (C * HH * WW, OH * OW * N)
        Columns in the order of `im2col_cython`.
    N, C, H, W : int
        Shape of the images.
    field_height, field_width, padding, stride : int
        As for `im2col_cython`.

    Returns
    -------
    x : ndarray of shape (N, C, H, W)

    Raises
    ------
    ValueError, TypeError
        If cols does not have the shape that these windows give.
    """
    where = "col2im_cython"
    (cols,) = checks.float_arrays(where, cols=cols)
    window = Window.checked(where, field_height, field_width, stride, padding)
    N, C, H, W = checks.batch_shape(where, "(N, C, H, W)", (N, C, H, W))
    OH, OW = window.output_size(where, H, W)
    rows = C * window.HH * window.WW
    checks.exact_shape(where, "cols", cols, (rows, OH * OW * N))
    return _add(cols.reshape(rows, OH * OW, N).transpose(2, 0, 1), (N, C, H, W), window, OH, OW)


def col2im_6d_cython(cols, N, C, H, W, HH, WW, pad, stride):
    """Add columns back into images, from six axes.

    Parameters
    ----------
    cols : ndarray of shape (C, HH, WW, N, OH, OW)
        Columns, as ``w.reshape(F, -1).T @ dout.transpose(1, 0, 2, 3).reshape(F, -1)`` gives them.
    N, C, H, W : int
        Shape of the images.
    HH, WW, pad, stride : int
        Height and width of the window, zeros on each side, and step, in pixels.

    Returns
    -------
    x : ndarray of shape (N, C, H, W)

    Raises
    ------
    ValueError, TypeError
        If cols does not have the shape that these windows give.
    """
    where = "col2im_6d_cython"
    (cols,) = checks.float_arrays(where, cols=cols)
    window = Window.checked(where, HH, WW, stride, pad)
    N, C, H, W = checks.batch_shape(where, "(N, C, H, W)", (N, C, H, W))
    OH, OW = window.output_size(where, H, W)
    checks.exact_shape(where, "cols", cols, (C, window.HH, window.WW, N, OH, OW))
    columns = cols.transpose(3, 0, 1, 2, 4, 5).reshape(N, C * window.HH * window.WW, OH * OW)
    return _add(columns, (N, C, H, W), window, OH, OW)


def _add(cols, shape, window, OH, OW):
    """Add columns (N, C * HH * WW, OH * OW) into images of this shape."""
    x = np.empty(shape, cols.dtype)
    for columns, image in zip(np.ascontiguousarray(cols), x):
        col2im(columns, image, *window, OH, OW)
    return x


cdef inline Py_ssize_t _first_inside(Py_ssize_t start, Py_ssize_t stride) noexcept nogil:
    """Return the smallest k >= 0 with start + k * stride >= 0."""
    return 0 if start >= 0 else (-start + stride - 1) // stride


cdef inline Py_ssize_t _end_inside(Py_ssize_t start, Py_ssize_t stride, Py_ssize_t size,
                                   Py_ssize_t positions) noexcept nogil:
    """Return the end of the k in [0, positions) with start + k * stride < size."""
    cdef Py_ssize_t end = 0 if start >= size else (size - 1 - start) // stride + 1
    return min(end, positions)


def im2col(const floating[:, :, ::1] x, floating[:, ::1] cols, Py_ssize_t HH, Py_ssize_t WW,
           Py_ssize_t stride, Py_ssize_t pad, Py_ssize_t OH, Py_ssize_t OW):
    """Write the columns (C * HH * WW, OH * OW) of one image x (C, H, W)."""
    cdef Py_ssize_t C = x.shape[0], H = x.shape[1], W = x.shape[2]
    cdef Py_ssize_t c, hh, ww, oh, ow, h, left, first, end, row = 0, at
    with nogil:
        for c in range(C):
            for hh in range(HH):
                for ww in range(WW):
                    left = ww - pad
                    first = _first_inside(left, stride)
                    end = _end_inside(left, stride, W, OW)
                    for oh in range(OH):
                        h = oh * stride + hh - pad
                        at = oh * OW
                        if h < 0 or h >= H or first >= end:
                            for ow in range(OW):
                                cols[row, at + ow] = 0
                            continue
                        for ow in range(first):
                            cols[row, at + ow] = 0
                        if stride == 1:
                            # Its own loop, because the compiler turns it into a block copy.
                            for ow in range(first, end):
                                cols[row, at + ow] = x[c, h, ow + left]
                        else:
                            for ow in range(first, end):
                                cols[row, at + ow] = x[c, h, ow * stride + left]
                        for ow in range(end, OW):
                            cols[row, at + ow] = 0
                    row += 1


def col2im(const floating[:, ::1] cols, floating[:, :, ::1] x, Py_ssize_t HH, Py_ssize_t WW,
           Py_ssize_t stride, Py_ssize_t pad, Py_ssize_t OH, Py_ssize_t OW):
    """Write the sums of the columns (C * HH * WW, OH * OW) over the pixels of x (C, H, W)."""
    cdef Py_ssize_t C = x.shape[0], H = x.shape[1], W = x.shape[2]
    cdef Py_ssize_t c, hh, ww, oh, ow, h, w, left, first, end, row = 0, at
    with nogil:
        for c in range(C):
            for h in range(H):
                for w in range(W):
                    x[c, h, w] = 0
            for hh in range(HH):
                for ww in range(WW):
                    left = ww - pad
                    first = _first_inside(left, stride)
                    end = _end_inside(left, stride, W, OW)
                    for oh in range(OH):
                        h = oh * stride + hh - pad
                        at = oh * OW
                        if h < 0 or h >= H:
                            continue
                        if stride == 1:
                            for ow in range(first, end):
                                x[c, h, ow + left] += cols[row, at + ow]
                        else:
                            for ow in range(first, end):
                                x[c, h, ow * stride + left] += cols[row, at + ow]
                    row += 1
