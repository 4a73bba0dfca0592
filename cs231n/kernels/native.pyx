"""Doors to the C kernels in `csrc`: arrays in, one call without the GIL, nothing else.

`cs231n.fast_layers` sees to it that the arrays are checked, C-contiguous, of one dtype and not
empty, and has the messages for users.  That their sizes belong together is seen here once more, in
what the kernels get: whatever a caller has missed is an error and never a crash.

The kernels are compiled once for each instruction set, and `select` chooses among those that the
processor has.  `cs231n.kernels.numpy_kernels` has the same functions in NumPy, where there is no
choice of a `path`: a convolution takes the faster of two ways, which tests and benchmarks may set.
"""

from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

import numpy as np

from cython cimport floating

from cs231n.kernels import workspace
from cs231n.kernels.threads import get_num_threads

cdef extern from "csrc/dispatch.h" nogil:
    ctypedef struct window_shape:
        Py_ssize_t N, C, H, W, F, HH, WW, OH, OW, stride, pad
        int path

    enum:
        BY_RULE
        DIRECT
        WINOGRAD

    ctypedef struct matmul_shape:
        Py_ssize_t M, N, K, am, ak, bk, bn

    ctypedef struct norm_shape:
        Py_ssize_t N, C, D, G
        double eps, momentum, slope, count
        int train, activation, part

    enum:
        WHOLE
        SUMS_ONLY
        REST

    enum:
        NO_ACTIVATION
        RELU
        LEAKY_RELU
        GELU
        GELU_TANH
        SILU

    # Open argument lists: the parameters are in csrc/kernels.h, which the C compiler reads.
    ctypedef void (*kernel)(...) noexcept nogil
    ctypedef double (*loss_kernel)(...) noexcept nogil
    ctypedef Py_ssize_t (*bytes_of_workspace)(...) noexcept nogil

    ctypedef struct kernel_table:
        bytes_of_workspace conv_forward_bytes, conv_dx_bytes, conv_dw_bytes
        bytes_of_workspace group_norm_bytes, matmul_bytes
        kernel conv_forward, conv_dx, conv_dw
        kernel max_pool2_forward, max_pool2_backward, max_pool_forward, max_pool_backward
        kernel batch_norm_forward, batch_norm_backward, group_norm_forward, group_norm_backward
        kernel relu_forward, relu_backward, activation_forward, activation_backward
        loss_kernel softmax_loss
        kernel matmul, sum_channels
        kernel sgd, momentum, rmsprop, adam

    const char *instruction_set_name(int index)
    int select_kernels(const char *name)
    const kernel_table *selected_kernels(size_t element_bytes)


def instruction_sets():
    """Return the names of the instruction sets that the processor has, the best one first."""
    names = []
    while instruction_set_name(len(names)) != NULL:
        names.append(instruction_set_name(len(names)).decode())
    return names


def select(name):
    """Use the kernels for one of `instruction_sets` from now on."""
    if not select_kernels(name.encode()):
        raise ValueError(f"native.select: {name!r} is none of {instruction_sets()}")


# The faster of the two ways to convolve, or one of them where the shape allows both.
cdef dict _PATHS = {"rule": BY_RULE, "direct": DIRECT, "winograd": WINOGRAD}


# Strides and pads up to here can be added without overflow.
cdef Py_ssize_t _FARTHEST = 1 << 60


cdef int _require(bint fit) except -1:
    """Refuse arrays beyond whose ends a kernel would read or write."""
    if not fit:
        raise ValueError("native: the arrays are empty, or their sizes do not belong together")
    return 0


cdef bint _same(const Py_ssize_t *one, const Py_ssize_t *other, int axes) noexcept:
    """Tell whether two shapes are equal, and of arrays that are not empty."""
    cdef int axis
    for axis in range(axes):
        if one[axis] != other[axis] or one[axis] == 0:
            return False
    return True


cdef bint _stands(const window_shape *s) noexcept:
    """Tell whether the windows cover the padded image, and end where it ends."""
    if not (0 < s.stride <= _FARTHEST and 0 <= s.pad <= _FARTHEST and s.HH > 0 and s.WW > 0):
        return False
    cdef Py_ssize_t rows = s.H + 2 * s.pad - s.HH, columns = s.W + 2 * s.pad - s.WW
    return (rows >= 0 and s.OH == rows // s.stride + 1
            and columns >= 0 and s.OW == columns // s.stride + 1)


cdef window_shape _shape(const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] w,
                         const floating[:, :, :, ::1] out, window, path) except *:
    """Describe a convolution of images x with filters w to the kernels."""
    cdef window_shape s
    s.N, s.C, s.H, s.W = x.shape[0], x.shape[1], x.shape[2], x.shape[3]
    s.F, s.OH, s.OW = out.shape[1], out.shape[2], out.shape[3]
    s.HH, s.WW, s.stride, s.pad = window
    _require(s.N > 0 and s.C > 0 and s.H > 0 and s.W > 0 and s.F > 0 and out.shape[0] == s.N
             and w.shape[0] == s.F and w.shape[1] == s.C and w.shape[2] == s.HH
             and w.shape[3] == s.WW and _stands(&s))
    if path not in _PATHS:
        raise ValueError(f"native: path is {path!r}; expected one of {[*_PATHS]}")
    s.path = _PATHS[path]
    return s


def conv_forward(const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] w,
                 const floating[::1] b, floating[:, :, :, ::1] out, window, bint relu=False,
                 path="rule"):
    """Write the output (N, F, OH, OW) of a convolution, with the relu applied if asked for."""
    cdef window_shape s = _shape(x, w, out, window, path)
    _require(b.shape[0] == s.F)
    cdef const kernel_table *kernels = selected_kernels(sizeof(floating))
    cdef int threads = get_num_threads()
    cdef Py_ssize_t size
    with nogil:
        size = kernels.conv_forward_bytes(&s, threads)
    cdef unsigned char[::1] scratch = workspace.scratch(size)
    with nogil:
        kernels.conv_forward(&s, &x[0, 0, 0, 0], &w[0, 0, 0, 0], &b[0], &out[0, 0, 0, 0],
                          <int>relu, <void *>&scratch[0], threads)


cdef object _FLOAT32 = np.dtype(np.float32), _FLOAT64 = np.dtype(np.float64)


cdef object _dtype(size_t bytes):
    """Return the dtype of floats of so many bytes."""
    return _FLOAT32 if bytes == 4 else _FLOAT64


def conv_backward(const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] w,
                  const floating[:, :, :, ::1] dout, floating[:, :, :, ::1] dx,
                  floating[:, :, :, ::1] dw, floating[::1] db, window,
                  const floating[:, :, :, ::1] relu=None, path="rule"):
    """Write the gradients of the images, of the filters and of the biases.

    Each of the first two may be None and is left out; that of the biases is then the sum over the
    pixels of their maps.  Where a relu follows the convolution, its output is given, too, and dout
    counts only where that is positive.
    """
    cdef window_shape s = _shape(x, w, dout, window, path)
    cdef bint with_dx = dx is not None, with_dw = dw is not None
    _require(db.shape[0] == s.F and (not with_dx or _same(dx.shape, x.shape, 4))
             and (not with_dw or _same(dw.shape, w.shape, 4))
             and (relu is None or _same(relu.shape, dout.shape, 4)))
    cdef const kernel_table *kernels = selected_kernels(sizeof(floating))
    cdef int threads = get_num_threads()
    cdef Py_ssize_t size = 1
    cdef const floating *gradient = &dout[0, 0, 0, 0]
    cdef floating[:, :, :, ::1] passed
    if relu is not None:
        passed = workspace.empty((s.N, s.F, s.OH, s.OW), _dtype(sizeof(floating)))
        with nogil:
            kernels.relu_backward(s.N * s.F * s.OH * s.OW, gradient, &relu[0, 0, 0, 0],
                                  &passed[0, 0, 0, 0], threads)
        gradient = &passed[0, 0, 0, 0]
    with nogil:
        if with_dx:
            size = max(size, kernels.conv_dx_bytes(&s, threads))
        if with_dw:
            size = max(size, kernels.conv_dw_bytes(&s, threads))
    cdef unsigned char[::1] scratch = workspace.scratch(size)
    with nogil:
        if with_dw:
            kernels.conv_dw(&s, &x[0, 0, 0, 0], gradient, &dw[0, 0, 0, 0], &db[0],
                            <void *>&scratch[0], threads)
        else:
            kernels.sum_channels(s.N, s.F, s.OH * s.OW, gradient, &db[0], threads)
        if with_dx:
            kernels.conv_dx(&s, gradient, &w[0, 0, 0, 0], &dx[0, 0, 0, 0],
                            <void *>&scratch[0], threads)


cdef window_shape _pool_shape(const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] out,
                              window) except *:
    """Describe a pooling of images x (N, C, H, W), plane by plane, to the kernels."""
    cdef window_shape s
    s.N, s.C, s.H, s.W = x.shape[0] * x.shape[1], 1, x.shape[2], x.shape[3]
    s.F, s.OH, s.OW = 1, out.shape[2], out.shape[3]
    s.HH, s.WW, s.stride, s.pad = window
    s.path = BY_RULE
    _require(s.N > 0 and s.H > 0 and s.W > 0 and s.pad == 0 and out.shape[0] == x.shape[0]
             and out.shape[1] == x.shape[1] and _stands(&s))
    return s


cdef bint _of_four(const window_shape *s) noexcept:
    """Tell whether the windows are those whose places are bytes."""
    return s.HH == 2 and s.WW == 2 and s.stride == 2


def max_pool_forward(const floating[:, :, :, ::1] x, floating[:, :, :, ::1] out, argmax, window):
    """Write each window's largest pixel, and its offset from the window's first pixel.

    x (N, C, H, W), out and argmax (N, C, OH, OW).  Windows of 2x2 with stride 2 store the
    offset in bytes, as a number from 0 to 3.
    """
    cdef window_shape s = _pool_shape(x, out, window)
    cdef const kernel_table *kernels = selected_kernels(sizeof(floating))
    cdef int threads = get_num_threads()
    cdef unsigned char[:, :, :, ::1] place
    cdef int[:, :, :, ::1] offset
    if argmax.itemsize == 1:
        place = argmax
        _require(_of_four(&s) and _same(place.shape, out.shape, 4))
        with nogil:
            kernels.max_pool2_forward(&s, &x[0, 0, 0, 0], &out[0, 0, 0, 0], &place[0, 0, 0, 0],
                                      threads)
    else:
        offset = argmax
        _require(_same(offset.shape, out.shape, 4))
        with nogil:
            kernels.max_pool_forward(&s, &x[0, 0, 0, 0], &out[0, 0, 0, 0], &offset[0, 0, 0, 0],
                                     threads)


cdef bint _are_numbers_of_four(const unsigned char[:, :, :, ::1] place) noexcept nogil:
    """Tell whether the places are those of windows of 2x2, eight at a time."""
    cdef const unsigned char *first = &place[0, 0, 0, 0]
    cdef Py_ssize_t i, size = place.shape[0] * place.shape[1] * place.shape[2] * place.shape[3]
    cdef uint64_t word, bits = 0
    for i in range(0, size - 7, 8):
        memcpy(&word, first + i, 8)
        bits |= word
    for i in range(size - size % 8, size):
        bits |= first[i]
    return bits & <uint64_t>0xFCFCFCFCFCFCFCFC == 0


cdef bint _are_in_windows(const window_shape *s, const int[:, :, :, ::1] offset) noexcept nogil:
    """Tell whether the offsets are those of pixels of a window."""
    cdef const int *first = &offset[0, 0, 0, 0]
    # Without its sign an offset below zero is a large one.
    cdef unsigned int end = s.HH * s.W, W = s.W, WW = s.WW, at
    cdef Py_ssize_t i
    for i in range(offset.shape[0] * offset.shape[1] * offset.shape[2] * offset.shape[3]):
        at = first[i]
        if at >= end or at % W >= WW:
            return False
    return True


def max_pool_backward(const floating[:, :, :, ::1] dout, argmax, floating[:, :, :, ::1] dx, window):
    """Write the gradient dx (N, C, H, W) of max pooling: dout goes to the places in argmax.

    Return whether each place is one of its window; if not, nothing is written.
    """
    cdef window_shape s = _pool_shape(dx, dout, window)
    cdef const kernel_table *kernels = selected_kernels(sizeof(floating))
    cdef int threads = get_num_threads()
    cdef const unsigned char[:, :, :, ::1] place
    cdef const int[:, :, :, ::1] offset
    cdef bint right
    if argmax.itemsize == 1:
        place = argmax
        _require(_of_four(&s) and _same(place.shape, dout.shape, 4))
        with nogil:
            right = _are_numbers_of_four(place)
            if right:
                kernels.max_pool2_backward(&s, &dout[0, 0, 0, 0], &place[0, 0, 0, 0],
                                           &dx[0, 0, 0, 0], threads)
    else:
        offset = argmax
        _require(_same(offset.shape, dout.shape, 4))
        with nogil:
            right = _are_in_windows(&s, offset)
            if right:
                kernels.max_pool_backward(&s, &dout[0, 0, 0, 0], &offset[0, 0, 0, 0],
                                          &dx[0, 0, 0, 0], threads)
    return right


def add_scaled(floating[::1] y, double a, const floating[::1] x):
    """Add a * x to y."""
    sgd(y, x, -a)


def sgd(floating[::1] w, const floating[::1] dw, double learning_rate, double l2=0):
    """Step w by stochastic gradient descent; as in all rules, l2 * w is added to dw."""
    _require(_same(w.shape, dw.shape, 1))
    cdef const kernel_table *kernels = selected_kernels(sizeof(floating))
    cdef int threads = get_num_threads()
    with nogil:
        kernels.sgd(w.shape[0], &w[0], &dw[0], &w[0], learning_rate, l2, threads)


def sgd_momentum(floating[::1] w, const floating[::1] dw, floating[::1] velocity,
                 double learning_rate, double momentum, double l2=0, bint nesterov=False):
    """Step w and velocity by gradient descent with momentum."""
    _require(_same(w.shape, dw.shape, 1) and _same(w.shape, velocity.shape, 1))
    cdef const kernel_table *kernels = selected_kernels(sizeof(floating))
    cdef int threads = get_num_threads()
    with nogil:
        kernels.momentum(w.shape[0], &w[0], &dw[0], &w[0], &velocity[0], learning_rate, momentum,
                      <int>nesterov, l2, threads)


def nesterov_momentum(w, dw, velocity, learning_rate, momentum, l2=0):
    """Step w and velocity by gradient descent with Nesterov momentum."""
    sgd_momentum(w, dw, velocity, learning_rate, momentum, l2, True)


def rmsprop(floating[::1] w, const floating[::1] dw, floating[::1] cache, double learning_rate,
            double decay_rate, double epsilon, double l2=0):
    """Step w and cache by RMSProp."""
    _require(_same(w.shape, dw.shape, 1) and _same(w.shape, cache.shape, 1))
    cdef const kernel_table *kernels = selected_kernels(sizeof(floating))
    cdef int threads = get_num_threads()
    with nogil:
        kernels.rmsprop(w.shape[0], &w[0], &dw[0], &w[0], &cache[0], learning_rate, decay_rate,
                     epsilon, l2, threads)


def adam(floating[::1] w, const floating[::1] dw, floating[::1] m, floating[::1] v,
         double learning_rate, double beta1, double beta2, double epsilon, double t,
         double l2=0):
    """Step w, m and v by Adam; t counts this step from one."""
    _require(_same(w.shape, dw.shape, 1) and _same(w.shape, m.shape, 1)
             and _same(w.shape, v.shape, 1))
    cdef const kernel_table *kernels = selected_kernels(sizeof(floating))
    cdef int threads = get_num_threads()
    with nogil:
        kernels.adam(w.shape[0], &w[0], &dw[0], &w[0], &m[0], &v[0], learning_rate, beta1, beta2,
                  epsilon, t, l2, threads)


def relu_forward(const floating[::1] x, floating[::1] out):
    """Write max(x, 0)."""
    _require(_same(x.shape, out.shape, 1))
    cdef const kernel_table *kernels = selected_kernels(sizeof(floating))
    cdef int threads = get_num_threads()
    with nogil:
        kernels.relu_forward(x.shape[0], &x[0], &out[0], threads)


def relu_backward(const floating[::1] dout, const floating[::1] out, floating[::1] dx):
    """Write dout where out is positive, zero elsewhere."""
    _require(_same(dout.shape, out.shape, 1) and _same(dout.shape, dx.shape, 1))
    cdef const kernel_table *kernels = selected_kernels(sizeof(floating))
    cdef int threads = get_num_threads()
    with nogil:
        kernels.relu_backward(dout.shape[0], &dout[0], &out[0], &dx[0], threads)


cdef dict _ACTIVATIONS = {
    "": NO_ACTIVATION,
    "relu": RELU,
    "leaky_relu": LEAKY_RELU,
    "gelu": GELU,
    "gelu_tanh": GELU_TANH,
    "silu": SILU,
}


def activation_forward(const floating[::1] x, floating[::1] out, activation, double slope=0):
    """Write what units of an activation make of x; the slope is that of a leaky relu."""
    _require(x.shape[0] > 0 and _same(x.shape, out.shape, 1))
    cdef int kind = _ACTIVATIONS[activation]
    cdef const kernel_table *kernels = selected_kernels(sizeof(floating))
    cdef int threads = get_num_threads()
    with nogil:
        kernels.activation_forward(kind, slope, x.shape[0], &x[0], &out[0], threads)


def activation_backward(const floating[::1] dout, const floating[::1] x, floating[::1] dx,
                        activation, double slope=0):
    """Write dout times the slope of the activation at x."""
    _require(x.shape[0] > 0 and _same(x.shape, dout.shape, 1) and _same(x.shape, dx.shape, 1))
    cdef int kind = _ACTIVATIONS[activation]
    cdef const kernel_table *kernels = selected_kernels(sizeof(floating))
    cdef int threads = get_num_threads()
    with nogil:
        kernels.activation_backward(kind, slope, x.shape[0], &dout[0], &x[0], &dx[0], threads)


cdef norm_shape _norm_shape(const floating[:, :, ::1] x, Py_ssize_t G, double eps, bint train=True,
                            activation="", double slope=0) except *:
    """Describe a normalisation of x (N, C, pixels) to the kernels."""
    cdef norm_shape s
    s.N, s.C, s.D = x.shape[0], x.shape[1], x.shape[2]
    s.G, s.eps, s.momentum, s.train, s.part, s.count = G, eps, 0, train, WHOLE, s.N * s.D
    s.activation, s.slope = _ACTIVATIONS[activation], slope
    _require(s.N > 0 and s.C > 0 and s.D > 0)
    return s


cdef norm_shape _group_shape(const floating[:, :, ::1] x, const floating[:, ::1] mean,
                             const floating[:, ::1] var, double eps) except *:
    """Describe a normalisation of groups of channels, with statistics (N, G), to the kernels."""
    cdef norm_shape s = _norm_shape(x, mean.shape[1], eps)
    _require(_same(mean.shape, var.shape, 2) and mean.shape[0] == s.N and s.C % s.G == 0)
    return s


cdef bint _hold(Py_ssize_t count, const floating[::1] one, const floating[::1] two,
                const floating[::1] three, const floating[::1] four) noexcept:
    """Tell whether four arrays have so many numbers each."""
    return (one.shape[0] == count and two.shape[0] == count and three.shape[0] == count
            and four.shape[0] == count)


def batch_norm_forward(const floating[:, :, ::1] x, const floating[::1] gamma,
                       const floating[::1] beta, floating[:, :, ::1] out, floating[::1] mean,
                       floating[::1] var, double eps, activation="", double slope=0,
                       bint train=True, floating[::1] running_mean=None,
                       floating[::1] running_var=None, double momentum=0):
    """Write the output of x (N, C, pixels), normalised channel by channel.

    In train mode the mean and variance of the batch are written too, and the running ones follow
    them if they are given; else the mean and variance given are used.  The output passes the
    activation if there is one.
    """
    cdef norm_shape s = _norm_shape(x, 1, eps, train, activation, slope)
    s.momentum = momentum
    _require(_same(x.shape, out.shape, 3) and _hold(s.C, gamma, beta, mean, var))
    cdef floating *running[2]
    running[0] = running[1] = NULL
    if running_mean is not None or running_var is not None:
        _require(running_mean is not None and running_var is not None
                 and _hold(s.C, running_mean, running_var, mean, var))
        running[0], running[1] = &running_mean[0], &running_var[0]
    cdef const kernel_table *kernels = selected_kernels(sizeof(floating))
    cdef int threads = get_num_threads()
    with nogil:
        kernels.batch_norm_forward(&s, &x[0, 0, 0], &gamma[0], &beta[0], &out[0, 0, 0], &mean[0],
                                   &var[0], running[0], running[1], threads)


def batch_norm_backward(const floating[:, :, ::1] dout, const floating[:, :, ::1] x,
                        const floating[::1] gamma, const floating[::1] beta,
                        const floating[::1] mean, const floating[::1] var,
                        floating[:, :, ::1] dx, floating[::1] dgamma, floating[::1] dbeta,
                        double eps, activation="", double slope=0, bint train=True):
    """Write the gradients of x (N, C, pixels), gamma and beta.

    In train mode the mean and variance depend on x, else they are constants.
    """
    cdef norm_shape s = _norm_shape(x, 1, eps, train, activation, slope)
    _require(_same(x.shape, dout.shape, 3) and _same(x.shape, dx.shape, 3)
             and _hold(s.C, gamma, beta, mean, var) and _hold(s.C, gamma, beta, dgamma, dbeta))
    cdef const kernel_table *kernels = selected_kernels(sizeof(floating))
    cdef int threads = get_num_threads()
    with nogil:
        kernels.batch_norm_backward(&s, &dout[0, 0, 0], &x[0, 0, 0], &gamma[0], &beta[0],
                                    &mean[0], &var[0], &dx[0, 0, 0], &dgamma[0], &dbeta[0],
                                    threads)


def batch_norm_statistics(const floating[:, :, ::1] x, floating[::1] mean, floating[::1] var):
    """Write the mean and variance of each channel of x (N, C, pixels)."""
    cdef norm_shape s = _norm_shape(x, 1, 0)
    s.part = SUMS_ONLY
    _require(mean.shape[0] == s.C and var.shape[0] == s.C)
    cdef const kernel_table *kernels = selected_kernels(sizeof(floating))
    cdef int threads = get_num_threads()
    with nogil:
        kernels.batch_norm_forward(&s, &x[0, 0, 0], NULL, NULL, NULL, &mean[0], &var[0], NULL,
                                   NULL, threads)


def batch_norm_sums(const floating[:, :, ::1] dout, const floating[:, :, ::1] x,
                    const floating[::1] gamma, const floating[::1] beta,
                    const floating[::1] mean, const floating[::1] var, floating[::1] dgamma,
                    floating[::1] dbeta, double eps, activation="", double slope=0):
    """Write the gradients of gamma and beta, as `batch_norm_backward` does."""
    cdef norm_shape s = _norm_shape(x, 1, eps, True, activation, slope)
    s.part = SUMS_ONLY
    _require(_same(x.shape, dout.shape, 3) and _hold(s.C, gamma, beta, mean, var)
             and _hold(s.C, gamma, beta, dgamma, dbeta))
    cdef const kernel_table *kernels = selected_kernels(sizeof(floating))
    cdef int threads = get_num_threads()
    with nogil:
        kernels.batch_norm_backward(&s, &dout[0, 0, 0], &x[0, 0, 0], &gamma[0], &beta[0],
                                    &mean[0], &var[0], NULL, &dgamma[0], &dbeta[0], threads)


def batch_norm_rest(const floating[:, :, ::1] dout, const floating[:, :, ::1] x,
                    const floating[::1] gamma, const floating[::1] beta,
                    const floating[::1] mean, const floating[::1] var, floating[:, :, ::1] dx,
                    const floating[::1] dgamma, const floating[::1] dbeta, double count,
                    double eps, activation="", double slope=0):
    """Write the gradient of x, a part of a batch that has `count` numbers in each channel.

    mean, var, dgamma and dbeta are those of the whole batch.
    """
    cdef norm_shape s = _norm_shape(x, 1, eps, True, activation, slope)
    s.part, s.count = REST, count
    _require(_same(x.shape, dout.shape, 3) and _same(x.shape, dx.shape, 3)
             and _hold(s.C, gamma, beta, mean, var) and _hold(s.C, gamma, beta, dgamma, dbeta))
    cdef const kernel_table *kernels = selected_kernels(sizeof(floating))
    cdef int threads = get_num_threads()
    with nogil:
        kernels.batch_norm_backward(&s, &dout[0, 0, 0], &x[0, 0, 0], &gamma[0], &beta[0],
                                    &mean[0], &var[0], &dx[0, 0, 0], <floating *>&dgamma[0],
                                    <floating *>&dbeta[0], threads)


def group_norm_forward(const floating[:, :, ::1] x, const floating[::1] gamma,
                       const floating[::1] beta, floating[:, :, ::1] out, floating[:, ::1] mean,
                       floating[:, ::1] var, double eps):
    """Write the output, mean and variance (N, G) of x (N, C, pixels), normalised by groups."""
    cdef norm_shape s = _group_shape(x, mean, var, eps)
    _require(_same(x.shape, out.shape, 3) and gamma.shape[0] == s.C and beta.shape[0] == s.C)
    cdef const kernel_table *kernels = selected_kernels(sizeof(floating))
    cdef int threads = get_num_threads()
    with nogil:
        kernels.group_norm_forward(&s, &x[0, 0, 0], &gamma[0], &beta[0], &out[0, 0, 0],
                                   &mean[0, 0], &var[0, 0], threads)


def group_norm_backward(const floating[:, :, ::1] dout, const floating[:, :, ::1] x,
                        const floating[::1] gamma, const floating[:, ::1] mean,
                        const floating[:, ::1] var, floating[:, :, ::1] dx,
                        floating[::1] dgamma, floating[::1] dbeta, double eps):
    """Write the gradients of x (N, C, pixels), gamma and beta."""
    cdef norm_shape s = _group_shape(x, mean, var, eps)
    _require(_same(x.shape, dout.shape, 3) and _same(x.shape, dx.shape, 3)
             and _hold(s.C, gamma, gamma, dgamma, dbeta))
    cdef const kernel_table *kernels = selected_kernels(sizeof(floating))
    cdef int threads = get_num_threads()
    cdef unsigned char[::1] scratch = workspace.scratch(kernels.group_norm_bytes(&s))
    with nogil:
        kernels.group_norm_backward(&s, &dout[0, 0, 0], &x[0, 0, 0], &gamma[0], &mean[0, 0],
                                    &var[0, 0], &dx[0, 0, 0], &dgamma[0], &dbeta[0],
                                    <void *>&scratch[0], threads)


def softmax_loss(const floating[:, ::1] x, const long long[::1] y, floating[::1] losses,
                 floating[:, ::1] dx, double label_smoothing=0):
    """Write the loss of each row of scores x (N, C), and the gradient dx of their mean.

    Returns the mean; the targets are smoothed labels if asked for.
    """
    _require(_same(x.shape, dx.shape, 2) and _same(x.shape, y.shape, 1)
             and _same(x.shape, losses.shape, 1))
    cdef const kernel_table *kernels = selected_kernels(sizeof(floating))
    cdef int threads = get_num_threads()
    cdef double mean
    with nogil:
        mean = kernels.softmax_loss(x.shape[0], x.shape[1], &x[0, 0], <const int64_t *>&y[0],
                                    label_smoothing, &losses[0], &dx[0, 0], threads)
    return mean


def matmul(const floating[:, :] a, const floating[:, :] b, floating[:, ::1] out,
           const floating[::1] bias=None):
    """Write a @ b, plus bias to every row if there is one; a and b may be transposed views."""
    cdef matmul_shape s
    cdef Py_ssize_t size = sizeof(floating)
    s.M, s.K, s.N = a.shape[0], a.shape[1], b.shape[1]
    _require(s.M > 0 and s.K > 0 and s.N > 0 and b.shape[0] == s.K and out.shape[0] == s.M
             and out.shape[1] == s.N and (bias is None or bias.shape[0] == s.N))
    s.am, s.ak = a.strides[0] // size, a.strides[1] // size
    s.bk, s.bn = b.strides[0] // size, b.strides[1] // size
    cdef const kernel_table *kernels = selected_kernels(sizeof(floating))
    cdef int threads = get_num_threads()
    cdef const floating *shift = NULL
    if bias is not None:
        shift = &bias[0]
    cdef unsigned char[::1] scratch = workspace.scratch(kernels.matmul_bytes(&s, threads))
    with nogil:
        kernels.matmul(&s, &a[0, 0], &b[0, 0], shift, &out[0, 0], <void *>&scratch[0], threads)


def sum_channels(const floating[:, :, ::1] a, floating[::1] out):
    """Write the sum of each channel of a (N, C, pixels)."""
    _require(a.shape[0] > 0 and a.shape[1] > 0 and a.shape[2] > 0 and out.shape[0] == a.shape[1])
    cdef const kernel_table *kernels = selected_kernels(sizeof(floating))
    cdef int threads = get_num_threads()
    with nogil:
        kernels.sum_channels(a.shape[0], a.shape[1], a.shape[2], &a[0, 0, 0], &out[0], threads)


# Written out, it would name each kernel once more.
__all__ = sorted(name for name, value in globals().items()
                 if not name.startswith("_") and getattr(value, "__module__", None) == __name__)
