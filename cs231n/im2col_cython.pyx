"""Compiled loops behind `cs231n.fast_layers` and `cs231n.fast_optim`.

A kernel gets checked, C-contiguous arrays of one dtype, allocates nothing, checks nothing and runs
without the GIL; `cs231n.numpy_kernels` has the same functions in NumPy.  N samples, C channels,
H, W image, HH, WW window, OH, OW output map; windows step by `stride` over an image with `pad`
zeros on each side.  `im2col_cython` and `col2im_cython` are the names that notebooks call.

Compiler directives are set by setup.py, so that one switch builds a checked version.
"""

from libc.math cimport sqrt

from cython cimport floating

import numpy as np

from cs231n import checks
from cs231n.im2col import Window

__all__ = ["col2im_cython", "im2col_cython"]


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
        If x is no batch of images or the window does not fit into the padded image.
    """
    where = "im2col_cython"
    (x,) = checks.float_arrays(where, x=x)
    N, C, H, W = checks.shapes(where, x=(x, "N C H W")).values()
    window = Window.checked(where, field_height, field_width, stride, padding)
    OH, OW = window.output_size(where, H, W)
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
    OH, OW = window.output_size(where, H, W)
    rows = C * window.HH * window.WW
    checks.exact_shape(where, "cols", cols, (rows, OH * OW * N))
    cols = np.ascontiguousarray(cols.reshape(rows, OH * OW, N).transpose(2, 0, 1))
    x = np.empty((N, C, H, W), cols.dtype)
    for columns, image in zip(cols, x):
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


def max_pool_forward(const floating[:, :, ::1] x, floating[:, :, ::1] out,
                     int[:, :, ::1] argmax, Py_ssize_t HH, Py_ssize_t WW, Py_ssize_t stride):
    """Write each window's largest pixel, and its place hh * WW + ww in the window.

    x (planes, H, W), out and argmax (planes, OH, OW).  The first of equal pixels counts, and a
    NaN counts as larger than any number.
    """
    cdef Py_ssize_t planes = out.shape[0], OH = out.shape[1], OW = out.shape[2]
    cdef Py_ssize_t p, oh, ow, hh, ww, h, w
    cdef int best
    cdef floating largest, value
    with nogil:
        for p in range(planes):
            for oh in range(OH):
                h = oh * stride
                for ow in range(OW):
                    w = ow * stride
                    largest = x[p, h, w]
                    best = 0
                    for hh in range(HH):
                        for ww in range(WW):
                            value = x[p, h + hh, w + ww]
                            if value > largest or (value != value and largest == largest):
                                largest = value
                                best = <int>(hh * WW + ww)
                    out[p, oh, ow] = largest
                    argmax[p, oh, ow] = best


def max_pool_backward(const floating[:, :, ::1] dout, const int[:, :, ::1] argmax,
                      floating[:, :, ::1] dx, Py_ssize_t HH, Py_ssize_t WW, Py_ssize_t stride):
    """Write the gradient dx (planes, H, W) of max pooling: dout goes to the places in argmax."""
    cdef Py_ssize_t planes = dout.shape[0], OH = dout.shape[1], OW = dout.shape[2]
    cdef Py_ssize_t p, oh, ow, h, w, place
    with nogil:
        for p in range(planes):
            for h in range(dx.shape[1]):
                for w in range(dx.shape[2]):
                    dx[p, h, w] = 0
            for oh in range(OH):
                for ow in range(OW):
                    place = argmax[p, oh, ow]
                    h = oh * stride + place // WW
                    w = ow * stride + place % WW
                    dx[p, h, w] += dout[p, oh, ow]


def add_scaled(floating[::1] y, double a, const floating[::1] x):
    """Add a * x to y."""
    cdef floating factor = <floating>a
    cdef Py_ssize_t i
    with nogil:
        for i in range(y.shape[0]):
            y[i] += factor * x[i]


def sgd(floating[::1] w, const floating[::1] dw, double learning_rate):
    """Step w by stochastic gradient descent."""
    add_scaled(w, -learning_rate, dw)


def sgd_momentum(floating[::1] w, const floating[::1] dw, floating[::1] velocity,
                 double learning_rate, double momentum):
    """Step w and velocity by gradient descent with momentum."""
    cdef floating rate = <floating>learning_rate, decay = <floating>momentum
    cdef Py_ssize_t i
    with nogil:
        for i in range(w.shape[0]):
            velocity[i] = decay * velocity[i] - rate * dw[i]
            w[i] += velocity[i]


def nesterov_momentum(floating[::1] w, const floating[::1] dw, floating[::1] velocity,
                      double learning_rate, double momentum):
    """Step w and velocity by gradient descent with Nesterov momentum."""
    cdef floating rate = <floating>learning_rate, decay = <floating>momentum
    cdef Py_ssize_t i
    with nogil:
        for i in range(w.shape[0]):
            velocity[i] = decay * velocity[i] - rate * dw[i]
            w[i] += decay * velocity[i] - rate * dw[i]


def rmsprop(floating[::1] w, const floating[::1] dw, floating[::1] cache, double learning_rate,
            double decay_rate, double epsilon):
    """Step w and cache by RMSProp."""
    cdef floating rate = <floating>learning_rate, small = <floating>epsilon
    cdef floating keep = <floating>decay_rate, add = <floating>(1 - decay_rate)
    cdef Py_ssize_t i
    with nogil:
        for i in range(w.shape[0]):
            cache[i] = keep * cache[i] + add * dw[i] * dw[i]
            w[i] -= rate * dw[i] / (<floating>sqrt(cache[i]) + small)


def adam(floating[::1] w, const floating[::1] dw, floating[::1] m, floating[::1] v,
         double learning_rate, double beta1, double beta2, double epsilon, Py_ssize_t t):
    """Step w, m and v by Adam; t counts this step from one."""
    cdef floating rate = <floating>(learning_rate / (1 - beta1 ** t))
    cdef floating root = <floating>(1 / sqrt(1 - beta2 ** t)), small = <floating>epsilon
    cdef floating keep1 = <floating>beta1, add1 = <floating>(1 - beta1)
    cdef floating keep2 = <floating>beta2, add2 = <floating>(1 - beta2)
    cdef Py_ssize_t i
    with nogil:
        for i in range(w.shape[0]):
            m[i] = keep1 * m[i] + add1 * dw[i]
            v[i] = keep2 * v[i] + add2 * dw[i] * dw[i]
            w[i] -= rate * m[i] / (<floating>sqrt(v[i]) * root + small)
