"""Doors to the C kernels in `csrc`: arrays in, a call or two without the GIL, little else.

Beside an array `x` stands `x_`, what C sees of it: where its numbers are, and its shape.

`cs231n.fast_layers` sees to it that the arrays are checked, C-contiguous, of one dtype and not
empty, and has the messages for users.  That their sizes belong together is seen here once more, in
what the kernels get: whatever a caller has missed is an error and never a crash.

The kernels are compiled once for each instruction set, and `select` chooses among those that the
processor has.  `cs231n.kernels.numpy_kernels` has those of the layers in NumPy, where there is no
choice of a `path`: a convolution takes the faster of two ways, which tests and benchmarks may set.
"""

from cpython.buffer cimport (PyBUF_C_CONTIGUOUS, PyBUF_FORMAT, PyBUF_STRIDES, PyBUF_WRITABLE,
                             PyBuffer_Release, PyObject_GetBuffer)
from libc.stdint cimport int32_t, int64_t, uint64_t
from libc.string cimport memcpy, strchr, strlen

import numpy as np

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
        bytes_of_workspace groupnorm_bytes, matmul_bytes
        kernel conv_forward, conv_dx, conv_dw
        kernel max_pool2_forward, max_pool2_backward, max_pool_forward, max_pool_backward
        kernel batchnorm_forward, batchnorm_backward, groupnorm_forward, groupnorm_backward
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


ctypedef Py_buffer *View  # what C sees of an array

cdef enum:
    ANY_AXES = -1
    MOST_ARRAYS = 12  # of one call, its scratch memory among them


cdef class _Arrays:
    """The arrays of one call, whose memory is held until it ends; floats are all of one type.

    A typed memoryview does the same for one array, but takes three times as long, and where images
    are few and small the arrays are most of a call.
    """

    cdef Py_buffer held[MOST_ARRAYS]
    cdef int count
    cdef Py_ssize_t bytes  # of an element of type float

    def __dealloc__(self):
        """Let go of the arrays."""
        while self.count > 0:
            self.count -= 1
            PyBuffer_Release(&self.held[self.count])

    cdef View read(self, array, int axes, int layout=PyBUF_C_CONTIGUOUS) except NULL:
        """Return the view of an array of floats that is not written to."""
        cdef View view = self.hold(array, axes, b"fdg", layout)  # g is d for some C compilers
        if not self.bytes:
            _require(view.itemsize == sizeof(float) or view.itemsize == sizeof(double))
            self.bytes = view.itemsize
        _require(view.itemsize == self.bytes)
        return view

    cdef View write(self, array, int axes) except NULL:
        """Return the view of an array of floats that is written to."""
        return self.read(array, axes, PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)

    cdef View integers(self, array, int axes, const char *types, Py_ssize_t bytes,
                       int access=0) except NULL:
        """Return the view of an array of integers of one of the types, and of so many bytes."""
        cdef View view = self.hold(array, axes, types, PyBUF_C_CONTIGUOUS | access)
        _require(view.itemsize == bytes)
        return view

    cdef void *scratch(self, Py_ssize_t size) except NULL:
        """Return so many bytes of memory that nobody else uses now."""
        return self.hold(workspace.scratch(size), 1, b"B", PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE).buf

    cdef View hold(self, array, int axes, const char *types, int flags) except NULL:
        """Return the view of one more array, whose type is one letter of `types`.

        Other byte orders, and numbers that are not aligned, have a sign before the letter.
        """
        _require(self.count < MOST_ARRAYS)
        cdef View view = &self.held[self.count]
        PyObject_GetBuffer(array, view, flags | PyBUF_FORMAT)
        self.count += 1
        if axes not in (view.ndim, ANY_AXES):
            raise ValueError(f"native: found an array of {view.ndim} axes; expected {axes}")
        if strlen(view.format) != 1 or strchr(types, view.format[0]) == NULL:
            raise ValueError(f"native: found an array of type {view.format.decode()!r}; expected"
                             f" one of {types.decode()!r}")
        return view


cdef bint _same(View one, View other) noexcept:
    """Tell whether two arrays have one shape, and are not empty."""
    cdef int axis
    if one.ndim != other.ndim:
        return False
    for axis in range(one.ndim):
        if one.shape[axis] != other.shape[axis] or one.shape[axis] == 0:
            return False
    return True


cdef bint _stands(const window_shape *s) noexcept:
    """Tell whether the windows cover the padded image, and end where it ends."""
    if not (0 < s.stride <= _FARTHEST and 0 <= s.pad <= _FARTHEST and s.HH > 0 and s.WW > 0):
        return False
    cdef Py_ssize_t rows = s.H + 2 * s.pad - s.HH, columns = s.W + 2 * s.pad - s.WW
    return (rows >= 0 and s.OH == rows // s.stride + 1
            and columns >= 0 and s.OW == columns // s.stride + 1)


cdef window_shape _shape(View x_, View w_, View out_, window, path) except *:
    """Describe a convolution of images x with filters w to the kernels."""
    cdef window_shape s
    s.N, s.C, s.H, s.W = x_.shape[0], x_.shape[1], x_.shape[2], x_.shape[3]
    s.F, s.OH, s.OW = out_.shape[1], out_.shape[2], out_.shape[3]
    s.HH, s.WW, s.stride, s.pad = window
    _require(s.N > 0 and s.C > 0 and s.H > 0 and s.W > 0 and s.F > 0 and out_.shape[0] == s.N
             and w_.shape[0] == s.F and w_.shape[1] == s.C and w_.shape[2] == s.HH
             and w_.shape[3] == s.WW and _stands(&s))
    if path not in _PATHS:
        raise ValueError(f"native: path is {path!r}; expected one of {[*_PATHS]}")
    s.path = _PATHS[path]
    return s


def conv_forward(x, w, b, out, window, bint relu=False, path="rule"):
    """Write the output (N, F, OH, OW) of a convolution, with the relu applied if asked for."""
    cdef _Arrays a = _Arrays()
    cdef View x_ = a.read(x, 4), w_ = a.read(w, 4), b_ = a.read(b, 1)
    cdef View out_ = a.write(out, 4)
    cdef window_shape s = _shape(x_, w_, out_, window, path)
    _require(b_.shape[0] == s.F)
    cdef const kernel_table *kernels = selected_kernels(a.bytes)
    cdef int threads = get_num_threads()
    cdef void *scratch = a.scratch(kernels.conv_forward_bytes(&s, threads))
    with nogil:
        kernels.conv_forward(&s, x_.buf, w_.buf, b_.buf, out_.buf, <int>relu, scratch, threads)


cdef object _FLOAT32 = np.dtype(np.float32), _FLOAT64 = np.dtype(np.float64)


cdef object _dtype(size_t bytes):
    """Return the dtype of floats of so many bytes."""
    return _FLOAT32 if bytes == 4 else _FLOAT64


def conv_backward(x, w, dout, dx, dw, db, window, relu=None, path="rule"):
    """Write the gradients of the images, of the filters and of the biases.

    Each of the first two may be None and is left out; that of the biases is then the sum over the
    pixels of their maps.  Where a relu follows the convolution, its output is given, too, and dout
    counts only where that is positive.
    """
    cdef _Arrays a = _Arrays()
    cdef View x_ = a.read(x, 4), w_ = a.read(w, 4), dout_ = a.read(dout, 4)
    cdef View dx_ = NULL if dx is None else a.write(dx, 4)
    cdef View dw_ = NULL if dw is None else a.write(dw, 4)
    cdef View db_ = a.write(db, 1), relu_ = NULL if relu is None else a.read(relu, 4)
    cdef window_shape s = _shape(x_, w_, dout_, window, path)
    _require(db_.shape[0] == s.F and (dx_ == NULL or _same(dx_, x_))
             and (dw_ == NULL or _same(dw_, w_)) and (relu_ == NULL or _same(relu_, dout_)))
    cdef const kernel_table *kernels = selected_kernels(a.bytes)
    cdef int threads = get_num_threads()
    cdef View passed_ = dout_
    if relu_ != NULL:
        passed_ = a.write(workspace.empty((s.N, s.F, s.OH, s.OW), _dtype(a.bytes)), 4)
        with nogil:
            kernels.relu_backward(s.N * s.F * s.OH * s.OW, dout_.buf, relu_.buf, passed_.buf,
                                  threads)
    cdef Py_ssize_t size = 1
    if dx_ != NULL:
        size = max(size, kernels.conv_dx_bytes(&s, threads))
    if dw_ != NULL:
        size = max(size, kernels.conv_dw_bytes(&s, threads))
    cdef void *scratch = a.scratch(size)
    with nogil:
        if dw_ != NULL:
            kernels.conv_dw(&s, x_.buf, passed_.buf, dw_.buf, db_.buf, scratch, threads)
        else:
            kernels.sum_channels(s.N, s.F, s.OH * s.OW, passed_.buf, db_.buf, threads)
        if dx_ != NULL:
            kernels.conv_dx(&s, passed_.buf, w_.buf, dx_.buf, scratch, threads)


cdef window_shape _pool_shape(View x_, View out_, window) except *:
    """Describe a pooling of images x (N, C, H, W), plane by plane, to the kernels."""
    cdef window_shape s
    s.N, s.C, s.H, s.W = x_.shape[0] * x_.shape[1], 1, x_.shape[2], x_.shape[3]
    s.F, s.OH, s.OW = 1, out_.shape[2], out_.shape[3]
    s.HH, s.WW, s.stride, s.pad = window
    s.path = BY_RULE
    _require(s.N > 0 and s.H > 0 and s.W > 0 and s.pad == 0 and out_.shape[0] == x_.shape[0]
             and out_.shape[1] == x_.shape[1] and _stands(&s))
    return s


cdef bint _of_four(const window_shape *s) noexcept:
    """Tell whether the windows are those whose places are bytes."""
    return s.HH == 2 and s.WW == 2 and s.stride == 2


cdef View _places(_Arrays a, argmax, const window_shape *s, View out_, int access) except NULL:
    """Return the view of the places of maxima: one for each output pixel, in bytes or ints."""
    cdef View argmax_
    if argmax.itemsize == 1:
        _require(_of_four(s))
        argmax_ = a.integers(argmax, 4, b"B", 1, access)
    else:
        argmax_ = a.integers(argmax, 4, b"il", sizeof(int32_t), access)
    _require(_same(argmax_, out_))
    return argmax_


def max_pool_forward(x, out, argmax, window):
    """Write each window's largest pixel, and its offset from the window's first pixel.

    x (N, C, H, W), out and argmax (N, C, OH, OW).  Windows of 2x2 with stride 2 store the
    offset in bytes, as a number from 0 to 3.
    """
    cdef _Arrays a = _Arrays()
    cdef View x_ = a.read(x, 4), out_ = a.write(out, 4)
    cdef window_shape s = _pool_shape(x_, out_, window)
    cdef View argmax_ = _places(a, argmax, &s, out_, PyBUF_WRITABLE)
    cdef const kernel_table *kernels = selected_kernels(a.bytes)
    cdef int threads = get_num_threads()
    with nogil:
        if argmax_.itemsize == 1:
            kernels.max_pool2_forward(&s, x_.buf, out_.buf, argmax_.buf, threads)
        else:
            kernels.max_pool_forward(&s, x_.buf, out_.buf, argmax_.buf, threads)


cdef bint _are_numbers_of_four(const unsigned char *place, Py_ssize_t size) noexcept nogil:
    """Tell whether the places are those of windows of 2x2, eight at a time."""
    cdef Py_ssize_t i
    cdef uint64_t word, bits = 0
    for i in range(0, size - 7, 8):
        memcpy(&word, place + i, 8)
        bits |= word
    for i in range(size - size % 8, size):
        bits |= place[i]
    return bits & <uint64_t>0xFCFCFCFCFCFCFCFC == 0


cdef bint _are_in_windows(const window_shape *s, const int32_t *offset,
                          Py_ssize_t size) noexcept nogil:
    """Tell whether the offsets are those of pixels of a window."""
    # Without its sign an offset below zero is a large one.
    cdef unsigned int end = s.HH * s.W, W = s.W, WW = s.WW, at
    cdef Py_ssize_t i
    for i in range(size):
        at = offset[i]
        if at >= end or at % W >= WW:
            return False
    return True


def max_pool_backward(dout, argmax, dx, window):
    """Write the gradient dx (N, C, H, W) of max pooling: dout goes to the places in argmax.

    Return whether each place is one of its window; if not, nothing is written.
    """
    cdef _Arrays a = _Arrays()
    cdef View dout_ = a.read(dout, 4), dx_ = a.write(dx, 4)
    cdef window_shape s = _pool_shape(dx_, dout_, window)
    cdef View argmax_ = _places(a, argmax, &s, dout_, 0)
    cdef const kernel_table *kernels = selected_kernels(a.bytes)
    cdef int threads = get_num_threads()
    cdef Py_ssize_t size = s.N * s.OH * s.OW
    cdef bint right
    with nogil:
        if argmax_.itemsize == 1:
            right = _are_numbers_of_four(<const unsigned char *>argmax_.buf, size)
            if right:
                kernels.max_pool2_backward(&s, dout_.buf, argmax_.buf, dx_.buf, threads)
        else:
            right = _are_in_windows(&s, <const int32_t *>argmax_.buf, size)
            if right:
                kernels.max_pool_backward(&s, dout_.buf, argmax_.buf, dx_.buf, threads)
    return right


def add_scaled(y, double a, x):
    """Add a * x to y."""
    sgd(y, x, -a)


def sgd(w, dw, double learning_rate, double l2=0):
    """Step w by stochastic gradient descent; as in all rules, l2 * w is added to dw."""
    cdef _Arrays a = _Arrays()
    cdef View w_ = a.write(w, 1), dw_ = a.read(dw, 1)
    _require(_same(w_, dw_))
    cdef const kernel_table *kernels = selected_kernels(a.bytes)
    cdef int threads = get_num_threads()
    with nogil:
        kernels.sgd(w_.shape[0], w_.buf, dw_.buf, w_.buf, learning_rate, l2, threads)


def sgd_momentum(w, dw, velocity, double learning_rate, double momentum, double l2=0,
                 bint nesterov=False):
    """Step w and velocity by gradient descent with momentum."""
    cdef _Arrays a = _Arrays()
    cdef View w_ = a.write(w, 1), dw_ = a.read(dw, 1), velocity_ = a.write(velocity, 1)
    _require(_same(w_, dw_) and _same(w_, velocity_))
    cdef const kernel_table *kernels = selected_kernels(a.bytes)
    cdef int threads = get_num_threads()
    with nogil:
        kernels.momentum(w_.shape[0], w_.buf, dw_.buf, w_.buf, velocity_.buf, learning_rate,
                         momentum, <int>nesterov, l2, threads)


def nesterov_momentum(w, dw, velocity, learning_rate, momentum, l2=0):
    """Step w and velocity by gradient descent with Nesterov momentum."""
    sgd_momentum(w, dw, velocity, learning_rate, momentum, l2, True)


def rmsprop(w, dw, cache, double learning_rate, double decay_rate, double epsilon, double l2=0):
    """Step w and cache by RMSProp."""
    cdef _Arrays a = _Arrays()
    cdef View w_ = a.write(w, 1), dw_ = a.read(dw, 1), cache_ = a.write(cache, 1)
    _require(_same(w_, dw_) and _same(w_, cache_))
    cdef const kernel_table *kernels = selected_kernels(a.bytes)
    cdef int threads = get_num_threads()
    with nogil:
        kernels.rmsprop(w_.shape[0], w_.buf, dw_.buf, w_.buf, cache_.buf, learning_rate,
                        decay_rate, epsilon, l2, threads)


def adam(w, dw, m, v, double learning_rate, double beta1, double beta2, double epsilon, double t,
         double l2=0):
    """Step w, m and v by Adam; t counts this step from one."""
    cdef _Arrays a = _Arrays()
    cdef View w_ = a.write(w, 1), dw_ = a.read(dw, 1)
    cdef View m_ = a.write(m, 1), v_ = a.write(v, 1)
    _require(_same(w_, dw_) and _same(w_, m_) and _same(w_, v_))
    cdef const kernel_table *kernels = selected_kernels(a.bytes)
    cdef int threads = get_num_threads()
    with nogil:
        kernels.adam(w_.shape[0], w_.buf, dw_.buf, w_.buf, m_.buf, v_.buf, learning_rate, beta1,
                     beta2, epsilon, t, l2, threads)


def relu_forward(x, out):
    """Write max(x, 0)."""
    cdef _Arrays a = _Arrays()
    cdef View x_ = a.read(x, 1), out_ = a.write(out, 1)
    _require(_same(x_, out_))
    cdef const kernel_table *kernels = selected_kernels(a.bytes)
    cdef int threads = get_num_threads()
    with nogil:
        kernels.relu_forward(x_.shape[0], x_.buf, out_.buf, threads)


def relu_backward(dout, out, dx):
    """Write dout where out is positive, zero elsewhere."""
    cdef _Arrays a = _Arrays()
    cdef View dout_ = a.read(dout, 1), out_ = a.read(out, 1), dx_ = a.write(dx, 1)
    _require(_same(dout_, out_) and _same(dout_, dx_))
    cdef const kernel_table *kernels = selected_kernels(a.bytes)
    cdef int threads = get_num_threads()
    with nogil:
        kernels.relu_backward(dout_.shape[0], dout_.buf, out_.buf, dx_.buf, threads)


cdef dict _ACTIVATIONS = {
    "": NO_ACTIVATION,
    "relu": RELU,
    "leaky_relu": LEAKY_RELU,
    "gelu": GELU,
    "gelu_tanh": GELU_TANH,
    "silu": SILU,
}


def activation_forward(x, out, activation, double slope=0):
    """Write what units of an activation make of x; the slope is that of a leaky relu."""
    cdef _Arrays a = _Arrays()
    cdef View x_ = a.read(x, 1), out_ = a.write(out, 1)
    _require(_same(x_, out_))
    cdef int kind = _ACTIVATIONS[activation]
    cdef const kernel_table *kernels = selected_kernels(a.bytes)
    cdef int threads = get_num_threads()
    with nogil:
        kernels.activation_forward(kind, slope, x_.shape[0], x_.buf, out_.buf, threads)


def activation_backward(dout, x, dx, activation, double slope=0):
    """Write dout times the slope of the activation at x."""
    cdef _Arrays a = _Arrays()
    cdef View dout_ = a.read(dout, 1), x_ = a.read(x, 1), dx_ = a.write(dx, 1)
    _require(_same(x_, dout_) and _same(x_, dx_))
    cdef int kind = _ACTIVATIONS[activation]
    cdef const kernel_table *kernels = selected_kernels(a.bytes)
    cdef int threads = get_num_threads()
    with nogil:
        kernels.activation_backward(kind, slope, x_.shape[0], dout_.buf, x_.buf, dx_.buf, threads)


cdef norm_shape _norm_shape(View x_, Py_ssize_t G, double eps, bint train=True,
                            activation="", double slope=0) except *:
    """Describe a normalisation of x (N, C, ...) to the kernels."""
    _require(x_.ndim >= 2)
    cdef norm_shape s
    cdef int axis
    s.N, s.C, s.D = x_.shape[0], x_.shape[1], 1
    for axis in range(2, x_.ndim):
        s.D *= x_.shape[axis]
    s.G, s.eps, s.momentum, s.train, s.part, s.count = G, eps, 0, train, WHOLE, s.N * s.D
    s.activation, s.slope = _ACTIVATIONS[activation], slope
    _require(s.N > 0 and s.C > 0 and s.D > 0)
    return s


cdef norm_shape _group_shape(View x_, View mean_, View var_, double eps) except *:
    """Describe a normalisation of groups of channels, with statistics (N, G), to the kernels."""
    cdef norm_shape s = _norm_shape(x_, mean_.shape[1], eps)
    _require(_same(mean_, var_) and mean_.shape[0] == s.N and s.C % s.G == 0)
    return s


cdef bint _hold(Py_ssize_t count, View one, View two,
                View three, View four) noexcept:
    """Tell whether four arrays have so many numbers each."""
    return (one.shape[0] == count and two.shape[0] == count and three.shape[0] == count
            and four.shape[0] == count)


def batchnorm_forward(x, gamma, beta, out, mean, var, double eps, activation="", double slope=0,
                       bint train=True, running_mean=None, running_var=None, double momentum=0):
    """Write the output of x (N, C, ...), normalised channel by channel.

    In train mode the mean and variance of the batch are written too, and the running ones follow
    them if they are given; else the mean and variance given are used.  The output passes the
    activation if there is one.
    """
    cdef _Arrays a = _Arrays()
    cdef View x_ = a.read(x, ANY_AXES), gamma_ = a.read(gamma, 1), beta_ = a.read(beta, 1)
    cdef View out_ = a.write(out, ANY_AXES), mean_ = a.write(mean, 1), var_ = a.write(var, 1)
    cdef norm_shape s = _norm_shape(x_, 1, eps, train, activation, slope)
    s.momentum = momentum
    _require(_same(x_, out_) and _hold(s.C, gamma_, beta_, mean_, var_))
    cdef void *running[2]
    running[0] = running[1] = NULL
    cdef View running_mean_, running_var_
    if running_mean is not None or running_var is not None:
        running_mean_, running_var_ = a.write(running_mean, 1), a.write(running_var, 1)
        _require(_hold(s.C, running_mean_, running_var_, mean_, var_))
        running[0], running[1] = running_mean_.buf, running_var_.buf
    cdef const kernel_table *kernels = selected_kernels(a.bytes)
    cdef int threads = get_num_threads()
    with nogil:
        kernels.batchnorm_forward(&s, x_.buf, gamma_.buf, beta_.buf, out_.buf, mean_.buf,
                                   var_.buf, running[0], running[1], threads)


def batchnorm_statistics(x, mean, var):
    """Write the mean and variance of each channel of x (N, C, ...)."""
    cdef _Arrays a = _Arrays()
    cdef View x_ = a.read(x, ANY_AXES), mean_ = a.write(mean, 1), var_ = a.write(var, 1)
    cdef norm_shape s = _norm_shape(x_, 1, 0)
    s.part = SUMS_ONLY
    _require(mean_.shape[0] == s.C and var_.shape[0] == s.C)
    cdef const kernel_table *kernels = selected_kernels(a.bytes)
    cdef int threads = get_num_threads()
    with nogil:
        kernels.batchnorm_forward(&s, x_.buf, NULL, NULL, NULL, mean_.buf, var_.buf, NULL, NULL,
                                   threads)


cdef int _batchnorm_backward(int part, double count, dout, x, gamma, beta, mean, var, dx, dgamma,
                              dbeta, double eps, activation, double slope,
                              bint train) except -1:
    """Run a part of the backward pass; the sums need no dx, and the rest writes nothing else."""
    cdef _Arrays a = _Arrays()
    cdef View dout_ = a.read(dout, ANY_AXES), x_ = a.read(x, ANY_AXES)
    cdef View dx_ = NULL if part == SUMS_ONLY else a.write(dx, ANY_AXES)
    cdef View gamma_ = a.read(gamma, 1), beta_ = a.read(beta, 1)
    cdef View mean_ = a.read(mean, 1), var_ = a.read(var, 1)
    cdef View dgamma_ = a.read(dgamma, 1) if part == REST else a.write(dgamma, 1)
    cdef View dbeta_ = a.read(dbeta, 1) if part == REST else a.write(dbeta, 1)
    cdef norm_shape s = _norm_shape(x_, 1, eps, train, activation, slope)
    s.part = part
    if part == REST:
        s.count = count
    _require(_same(x_, dout_) and (dx_ == NULL or _same(x_, dx_))
             and _hold(s.C, gamma_, beta_, mean_, var_)
             and dgamma_.shape[0] == s.C and dbeta_.shape[0] == s.C)
    cdef void *dx_numbers = NULL if dx_ == NULL else dx_.buf
    cdef const kernel_table *kernels = selected_kernels(a.bytes)
    cdef int threads = get_num_threads()
    with nogil:
        kernels.batchnorm_backward(&s, dout_.buf, x_.buf, gamma_.buf, beta_.buf, mean_.buf,
                                    var_.buf, dx_numbers, dgamma_.buf, dbeta_.buf, threads)
    return 0


def batchnorm_backward(dout, x, gamma, beta, mean, var, dx, dgamma, dbeta, double eps,
                        activation="", double slope=0, bint train=True):
    """Write the gradients of x (N, C, ...), gamma and beta.

    In train mode the mean and variance depend on x, else they are constants.
    """
    _batchnorm_backward(WHOLE, 0, dout, x, gamma, beta, mean, var, dx, dgamma, dbeta, eps,
                         activation, slope, train)


def batchnorm_sums(dout, x, gamma, beta, mean, var, dgamma, dbeta, double eps, activation="",
                    double slope=0):
    """Write the gradients of gamma and beta, as `batchnorm_backward` does."""
    _batchnorm_backward(SUMS_ONLY, 0, dout, x, gamma, beta, mean, var, None, dgamma, dbeta, eps,
                         activation, slope, True)


def batchnorm_rest(dout, x, gamma, beta, mean, var, dx, dgamma, dbeta, double count, double eps,
                    activation="", double slope=0):
    """Write the gradient of x, a part of a batch that has `count` numbers in each channel.

    mean, var, dgamma and dbeta are those of the whole batch.
    """
    _batchnorm_backward(REST, count, dout, x, gamma, beta, mean, var, dx, dgamma, dbeta, eps,
                         activation, slope, True)


def groupnorm_forward(x, gamma, beta, out, mean, var, double eps):
    """Write the output, mean and variance (N, G) of x (N, C, ...), normalised by groups."""
    cdef _Arrays a = _Arrays()
    cdef View x_ = a.read(x, ANY_AXES), gamma_ = a.read(gamma, 1), beta_ = a.read(beta, 1)
    cdef View out_ = a.write(out, ANY_AXES), mean_ = a.write(mean, 2), var_ = a.write(var, 2)
    cdef norm_shape s = _group_shape(x_, mean_, var_, eps)
    _require(_same(x_, out_) and gamma_.shape[0] == s.C and beta_.shape[0] == s.C)
    cdef const kernel_table *kernels = selected_kernels(a.bytes)
    cdef int threads = get_num_threads()
    with nogil:
        kernels.groupnorm_forward(&s, x_.buf, gamma_.buf, beta_.buf, out_.buf, mean_.buf,
                                   var_.buf, threads)


def groupnorm_backward(dout, x, gamma, mean, var, dx, dgamma, dbeta, double eps):
    """Write the gradients of x (N, C, ...), gamma and beta."""
    cdef _Arrays a = _Arrays()
    cdef View dout_ = a.read(dout, ANY_AXES), x_ = a.read(x, ANY_AXES), gamma_ = a.read(gamma, 1)
    cdef View mean_ = a.read(mean, 2), var_ = a.read(var, 2), dx_ = a.write(dx, ANY_AXES)
    cdef View dgamma_ = a.write(dgamma, 1), dbeta_ = a.write(dbeta, 1)
    cdef norm_shape s = _group_shape(x_, mean_, var_, eps)
    _require(_same(x_, dout_) and _same(x_, dx_) and _hold(s.C, gamma_, gamma_, dgamma_, dbeta_))
    cdef const kernel_table *kernels = selected_kernels(a.bytes)
    cdef int threads = get_num_threads()
    cdef void *scratch = a.scratch(kernels.groupnorm_bytes(&s))
    with nogil:
        kernels.groupnorm_backward(&s, dout_.buf, x_.buf, gamma_.buf, mean_.buf, var_.buf,
                                    dx_.buf, dgamma_.buf, dbeta_.buf, scratch, threads)


def softmax_loss(x, y, losses, dx, double label_smoothing=0):
    """Write the loss of each row of scores x (N, C), and the gradient dx of their mean.

    Returns the mean; the targets are smoothed labels if asked for.
    """
    cdef _Arrays a = _Arrays()
    cdef View x_ = a.read(x, 2), y_ = a.integers(y, 1, b"lq", sizeof(int64_t))
    cdef View losses_ = a.write(losses, 1), dx_ = a.write(dx, 2)
    _require(_same(x_, dx_) and x_.shape[0] == y_.shape[0] and x_.shape[0] == losses_.shape[0])
    cdef const kernel_table *kernels = selected_kernels(a.bytes)
    cdef int threads = get_num_threads()
    cdef double mean
    with nogil:
        mean = kernels.softmax_loss(x_.shape[0], x_.shape[1], x_.buf, y_.buf, label_smoothing,
                                    losses_.buf, dx_.buf, threads)
    return mean


def matmul(a, b, out, bias=None):
    """Write a @ b, plus bias to every row if there is one; a and b may be transposed views."""
    cdef _Arrays arrays = _Arrays()
    cdef View a_ = arrays.read(a, 2, PyBUF_STRIDES), b_ = arrays.read(b, 2, PyBUF_STRIDES)
    cdef View out_ = arrays.write(out, 2)
    cdef View bias_ = NULL if bias is None else arrays.read(bias, 1)
    cdef matmul_shape s
    s.M, s.K, s.N = a_.shape[0], a_.shape[1], b_.shape[1]
    _require(s.M > 0 and s.K > 0 and s.N > 0 and b_.shape[0] == s.K and out_.shape[0] == s.M
             and out_.shape[1] == s.N and (bias_ == NULL or bias_.shape[0] == s.N))
    s.am, s.ak = a_.strides[0] // arrays.bytes, a_.strides[1] // arrays.bytes
    s.bk, s.bn = b_.strides[0] // arrays.bytes, b_.strides[1] // arrays.bytes
    cdef const kernel_table *kernels = selected_kernels(arrays.bytes)
    cdef int threads = get_num_threads()
    cdef void *shift = NULL if bias_ == NULL else bias_.buf
    cdef void *scratch = arrays.scratch(kernels.matmul_bytes(&s, threads))
    with nogil:
        kernels.matmul(&s, a_.buf, b_.buf, shift, out_.buf, scratch, threads)


def sum_channels(a, out):
    """Write the sum of each channel of a (N, C, pixels)."""
    cdef _Arrays arrays = _Arrays()
    cdef View a_ = arrays.read(a, 3), out_ = arrays.write(out, 1)
    _require(_same(a_, a_) and out_.shape[0] == a_.shape[1])
    cdef const kernel_table *kernels = selected_kernels(arrays.bytes)
    cdef int threads = get_num_threads()
    with nogil:
        kernels.sum_channels(a_.shape[0], a_.shape[1], a_.shape[2], a_.buf, out_.buf, threads)


# Written out, it would name each kernel once more.
__all__ = sorted(name for name, value in globals().items()
                 if not name.startswith("_") and getattr(value, "__module__", None) == __name__)
