"""Doors to the C kernels in `csrc`: arrays in, one call without the GIL, nothing else.

`cs231n.fast_layers` sees to it that the arrays are checked, C-contiguous, of one dtype and not
empty.  The kernels are compiled once for each instruction set, and `select` chooses among those
that the processor has.  `cs231n.kernels.numpy_kernels` has the same functions in NumPy, where there is no
choice of a `path`: a convolution takes the faster of two ways, which tests and benchmarks may set.
"""

from libc.stdint cimport int64_t

from cython cimport floating

from cs231n.kernels import workspace
from cs231n.kernels.threads import get_num_threads

__all__ = [
    "adam",
    "add_scaled",
    "batch_norm_backward",
    "batch_norm_forward",
    "conv_dw",
    "conv_dx",
    "conv_forward",
    "group_norm_backward",
    "group_norm_forward",
    "instruction_sets",
    "max_pool_backward",
    "max_pool_forward",
    "nesterov_momentum",
    "product",
    "relu_backward",
    "relu_forward",
    "rmsprop",
    "select",
    "sgd",
    "sgd_momentum",
    "softmax_loss",
]

cdef extern from "csrc/doors.h" nogil:
    ctypedef struct window_shape:
        Py_ssize_t N, C, H, W, F, HH, WW, OH, OW, stride, pad
        int path

    enum:
        BY_RULE
        DIRECT
        FILTERED

    ctypedef struct product_shape:
        Py_ssize_t M, N, K, am, ak, bk, bn

    const char *instruction_set_name(int index)
    int select_kernels(const char *name)
    # Declared with open argument lists, for these are macros that serve float and double.
    Py_ssize_t call_conv_forward_bytes(const window_shape *s, ...)
    Py_ssize_t call_conv_dx_bytes(const window_shape *s, ...)
    Py_ssize_t call_conv_dw_bytes(const window_shape *s, ...)
    void call_conv_forward(const window_shape *s, ...)
    void call_conv_dx(const window_shape *s, ...)
    void call_conv_dw(const window_shape *s, ...)
    void call_max_pool2_forward(const window_shape *s, ...)
    void call_max_pool2_backward(const window_shape *s, ...)
    void call_max_pool_forward(const window_shape *s, ...)
    void call_max_pool_backward(const window_shape *s, ...)
    void call_sgd(Py_ssize_t n, ...)
    void call_momentum(Py_ssize_t n, ...)
    void call_rmsprop(Py_ssize_t n, ...)
    void call_adam(Py_ssize_t n, ...)
    void call_relu_forward(Py_ssize_t n, ...)
    void call_relu_backward(Py_ssize_t n, ...)
    void call_column_norm_forward(Py_ssize_t N, Py_ssize_t D, ...)
    void call_column_norm_backward(Py_ssize_t N, Py_ssize_t D, ...)
    void call_channel_norm_forward(Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, ...)
    void call_channel_norm_backward(Py_ssize_t N, Py_ssize_t C, Py_ssize_t D, ...)
    Py_ssize_t call_group_norm_bytes(Py_ssize_t N, Py_ssize_t C, ...)
    void call_group_norm_forward(Py_ssize_t N, Py_ssize_t G, Py_ssize_t C, Py_ssize_t D, ...)
    void call_group_norm_backward(Py_ssize_t N, Py_ssize_t G, Py_ssize_t C, Py_ssize_t D, ...)
    void call_softmax_loss(Py_ssize_t N, Py_ssize_t C, ...)
    Py_ssize_t call_product_bytes(const product_shape *s, ...)
    void call_product(const product_shape *s, ...)


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
cdef dict _PATHS = {"rule": BY_RULE, "direct": DIRECT, "filtered": FILTERED}


cdef window_shape _shape(const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] out,
                         window, path) except *:
    """Describe a convolution of images x to the kernels."""
    cdef window_shape s
    s.N, s.C, s.H, s.W = x.shape[0], x.shape[1], x.shape[2], x.shape[3]
    s.F, s.OH, s.OW = out.shape[1], out.shape[2], out.shape[3]
    s.HH, s.WW, s.stride, s.pad = window
    if path not in _PATHS:
        raise ValueError(f"native: path is {path!r}; expected one of {[*_PATHS]}")
    s.path = _PATHS[path]
    return s


def conv_forward(const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] w,
                 const floating[::1] b, floating[:, :, :, ::1] out, window, bint relu=False,
                 path="rule"):
    """Write the output (N, F, OH, OW) of a convolution, with the relu applied if asked for."""
    cdef window_shape s = _shape(x, out, window, path)
    cdef int threads = get_num_threads()
    cdef unsigned char[::1] scratch = workspace.scratch(
        call_conv_forward_bytes(&s, threads, &x[0, 0, 0, 0]))
    with nogil:
        call_conv_forward(&s, &x[0, 0, 0, 0], &w[0, 0, 0, 0], &b[0], &out[0, 0, 0, 0],
                          <int>relu, <void *>&scratch[0], threads)


def conv_dx(const floating[:, :, :, ::1] w, const floating[:, :, :, ::1] dout,
            floating[:, :, :, ::1] dx, window, path="rule"):
    """Write the gradient of the images."""
    cdef window_shape s = _shape(dx, dout, window, path)
    cdef int threads = get_num_threads()
    cdef unsigned char[::1] scratch = workspace.scratch(
        call_conv_dx_bytes(&s, threads, &dx[0, 0, 0, 0]))
    with nogil:
        call_conv_dx(&s, &dout[0, 0, 0, 0], &w[0, 0, 0, 0], &dx[0, 0, 0, 0],
                     <void *>&scratch[0], threads)


def conv_dw(const floating[:, :, :, ::1] x, const floating[:, :, :, ::1] dout,
            floating[:, :, :, ::1] dw, floating[::1] db, window, path="rule"):
    """Write the gradients of the filters and biases."""
    cdef window_shape s = _shape(x, dout, window, path)
    cdef int threads = get_num_threads()
    cdef unsigned char[::1] scratch = workspace.scratch(
        call_conv_dw_bytes(&s, threads, &x[0, 0, 0, 0]))
    with nogil:
        call_conv_dw(&s, &x[0, 0, 0, 0], &dout[0, 0, 0, 0], &dw[0, 0, 0, 0], &db[0],
                     <void *>&scratch[0], threads)


cdef window_shape _plane_shape(const floating[:, :, ::1] x, const floating[:, :, ::1] out,
                               window) except *:
    """Describe a pooling of planes x (planes, H, W) to the kernels."""
    cdef window_shape s
    s.N, s.C, s.H, s.W = x.shape[0], 1, x.shape[1], x.shape[2]
    s.F, s.OH, s.OW = 1, out.shape[1], out.shape[2]
    s.HH, s.WW, s.stride, s.pad = window
    s.path = BY_RULE
    return s


def max_pool_forward(const floating[:, :, ::1] x, floating[:, :, ::1] out, argmax, window):
    """Write each window's largest pixel, and its offset from the window's first pixel.

    x (planes, H, W), out and argmax (planes, OH, OW).  Windows of 2x2 with stride 2 store the
    offset in bytes, as a number from 0 to 3.
    """
    cdef window_shape s = _plane_shape(x, out, window)
    cdef int threads = get_num_threads()
    cdef unsigned char[:, :, ::1] place
    cdef int[:, :, ::1] offset
    if argmax.itemsize == 1:
        place = argmax
        with nogil:
            call_max_pool2_forward(&s, &x[0, 0, 0], &out[0, 0, 0], &place[0, 0, 0], threads)
    else:
        offset = argmax
        with nogil:
            call_max_pool_forward(&s, &x[0, 0, 0], &out[0, 0, 0], &offset[0, 0, 0], threads)


def max_pool_backward(const floating[:, :, ::1] dout, argmax, floating[:, :, ::1] dx, window):
    """Write the gradient dx (planes, H, W) of max pooling: dout goes to the places in argmax."""
    cdef window_shape s = _plane_shape(dx, dout, window)
    cdef int threads = get_num_threads()
    cdef const unsigned char[:, :, ::1] place
    cdef const int[:, :, ::1] offset
    if argmax.itemsize == 1:
        place = argmax
        with nogil:
            call_max_pool2_backward(&s, &dout[0, 0, 0], &place[0, 0, 0], &dx[0, 0, 0], threads)
    else:
        offset = argmax
        with nogil:
            call_max_pool_backward(&s, &dout[0, 0, 0], &offset[0, 0, 0], &dx[0, 0, 0], threads)


def add_scaled(floating[::1] y, double a, const floating[::1] x):
    """Add a * x to y."""
    sgd(y, x, -a)


def sgd(floating[::1] w, const floating[::1] dw, double learning_rate, double l2=0):
    """Step w by stochastic gradient descent; as in all rules, l2 * w is added to dw."""
    cdef int threads = get_num_threads()
    with nogil:
        call_sgd(w.shape[0], &w[0], &dw[0], &w[0], learning_rate, l2, threads)


def sgd_momentum(floating[::1] w, const floating[::1] dw, floating[::1] velocity,
                 double learning_rate, double momentum, double l2=0, bint nesterov=False):
    """Step w and velocity by gradient descent with momentum."""
    cdef int threads = get_num_threads()
    with nogil:
        call_momentum(w.shape[0], &w[0], &dw[0], &w[0], &velocity[0], learning_rate, momentum,
                      <int>nesterov, l2, threads)


def nesterov_momentum(w, dw, velocity, learning_rate, momentum, l2=0):
    """Step w and velocity by gradient descent with Nesterov momentum."""
    sgd_momentum(w, dw, velocity, learning_rate, momentum, l2, True)


def rmsprop(floating[::1] w, const floating[::1] dw, floating[::1] cache, double learning_rate,
            double decay_rate, double epsilon, double l2=0):
    """Step w and cache by RMSProp."""
    cdef int threads = get_num_threads()
    with nogil:
        call_rmsprop(w.shape[0], &w[0], &dw[0], &w[0], &cache[0], learning_rate, decay_rate,
                     epsilon, l2, threads)


def adam(floating[::1] w, const floating[::1] dw, floating[::1] m, floating[::1] v,
         double learning_rate, double beta1, double beta2, double epsilon, double t,
         double l2=0):
    """Step w, m and v by Adam; t counts this step from one."""
    cdef int threads = get_num_threads()
    with nogil:
        call_adam(w.shape[0], &w[0], &dw[0], &w[0], &m[0], &v[0], learning_rate, beta1, beta2,
                  epsilon, t, l2, threads)


def relu_forward(const floating[::1] x, floating[::1] out):
    """Write max(x, 0)."""
    cdef int threads = get_num_threads()
    with nogil:
        call_relu_forward(x.shape[0], &x[0], &out[0], threads)


def relu_backward(const floating[::1] dout, const floating[::1] out, floating[::1] dx):
    """Write dout where out is positive, zero elsewhere."""
    cdef int threads = get_num_threads()
    with nogil:
        call_relu_backward(dout.shape[0], &dout[0], &out[0], &dx[0], threads)


def batch_norm_forward(const floating[:, :, ::1] x, const floating[::1] gamma,
                       const floating[::1] beta, floating[:, :, ::1] out, floating[::1] mean,
                       floating[::1] var, double eps, bint relu=False):
    """Write the output, mean and variance of x (N, C, pixels), normalised channel by channel.

    The relu is applied to the output if asked for.
    """
    cdef int threads = get_num_threads()
    with nogil:
        if x.shape[2] == 1 and not relu:
            call_column_norm_forward(x.shape[0], x.shape[1], &x[0, 0, 0], &gamma[0], &beta[0],
                                     &out[0, 0, 0], &mean[0], &var[0], eps, threads)
        else:
            call_channel_norm_forward(x.shape[0], x.shape[1], x.shape[2], &x[0, 0, 0], &gamma[0],
                                      &beta[0], &out[0, 0, 0], &mean[0], &var[0], eps, <int>relu,
                                      threads)


def batch_norm_backward(const floating[:, :, ::1] dout, const floating[:, :, ::1] x,
                        const floating[::1] gamma, const floating[::1] beta, floating[::1] mean,
                        floating[::1] var, floating[:, :, ::1] dx, floating[::1] dgamma,
                        floating[::1] dbeta, double eps, bint relu=False):
    """Write the gradients of x (N, C, pixels), gamma and beta."""
    cdef int threads = get_num_threads()
    with nogil:
        if x.shape[2] == 1 and not relu:
            call_column_norm_backward(x.shape[0], x.shape[1], &dout[0, 0, 0], &x[0, 0, 0],
                                      &gamma[0], &mean[0], &var[0], &dx[0, 0, 0], &dgamma[0],
                                      &dbeta[0], eps, threads)
        else:
            call_channel_norm_backward(x.shape[0], x.shape[1], x.shape[2], &dout[0, 0, 0],
                                       &x[0, 0, 0], &gamma[0], &beta[0], &mean[0], &var[0],
                                       &dx[0, 0, 0], &dgamma[0], &dbeta[0], eps, <int>relu,
                                       threads)


def group_norm_forward(const floating[:, :, ::1] x, const floating[::1] gamma,
                       const floating[::1] beta, floating[:, :, ::1] out, floating[::1] mean,
                       floating[::1] var, double eps):
    """Write the output, mean and variance (N * G,) of x (N, C, pixels), normalised by groups."""
    cdef int threads = get_num_threads()
    cdef Py_ssize_t G = mean.shape[0] // x.shape[0]
    with nogil:
        call_group_norm_forward(x.shape[0], G, x.shape[1], x.shape[2], &x[0, 0, 0], &gamma[0],
                                &beta[0], &out[0, 0, 0], &mean[0], &var[0], eps, threads)


def group_norm_backward(const floating[:, :, ::1] dout, const floating[:, :, ::1] x,
                        const floating[::1] gamma, floating[::1] mean,
                        floating[::1] var, floating[:, :, ::1] dx, floating[::1] dgamma,
                        floating[::1] dbeta, double eps):
    """Write the gradients of x (N, C, pixels), gamma and beta."""
    cdef int threads = get_num_threads()
    cdef Py_ssize_t G = mean.shape[0] // x.shape[0]
    cdef unsigned char[::1] scratch = workspace.scratch(
        call_group_norm_bytes(x.shape[0], x.shape[1], &x[0, 0, 0]))
    with nogil:
        call_group_norm_backward(x.shape[0], G, x.shape[1], x.shape[2], &dout[0, 0, 0],
                                 &x[0, 0, 0], &gamma[0], &mean[0], &var[0], &dx[0, 0, 0],
                                 &dgamma[0], &dbeta[0], eps, <void *>&scratch[0], threads)


def softmax_loss(const floating[:, ::1] x, const long long[::1] y, floating[::1] losses,
                 floating[:, ::1] dx):
    """Write the loss of each row of scores x (N, C), and the gradient dx of their mean."""
    cdef int threads = get_num_threads()
    with nogil:
        call_softmax_loss(x.shape[0], x.shape[1], &x[0, 0], <const int64_t *>&y[0], &losses[0],
                          &dx[0, 0], threads)


def product(const floating[:, :] a, const floating[:, :] b, floating[:, ::1] out,
            const floating[::1] bias=None):
    """Write a @ b, plus bias to every row if there is one; a and b may be transposed views."""
    cdef product_shape s
    s.M, s.K, s.N = a.shape[0], a.shape[1], b.shape[1]
    cdef Py_ssize_t size = sizeof(floating)
    s.am, s.ak, s.bk, s.bn = [stride // size for stride in (
        a.strides[0], a.strides[1], b.strides[0], b.strides[1])]
    cdef int threads = get_num_threads()
    cdef const floating *shift = NULL
    if bias is not None:
        shift = &bias[0]
    cdef unsigned char[::1] scratch = workspace.scratch(call_product_bytes(&s, threads, &a[0, 0]))
    with nogil:
        call_product(&s, &a[0, 0], &b[0, 0], shift, &out[0, 0], <void *>&scratch[0], threads)
