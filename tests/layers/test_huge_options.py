"""What a call costs follows its arrays, whatever numbers its options hold.

Memory is counted by tracemalloc, work by the places that NumPy's loops go through; compiled kernels
get their scratch memory from `workspace`.  Numbers that cost something would take hours here.
"""

import tracemalloc

import numpy as np
import pytest
from conftest import KERNELS, assert_close

from cs231n import fast_layers, im2col, layers
from cs231n.core import window
from cs231n.kernels import backend, workspace

LITTLE = 2**20  # bytes: the arrays of a call here have some hundreds of numbers
HUGE_CONVS = {
    "stride 10**4": (3, 10**4, 0),
    "stride 10**9": (3, 10**9, 1),
    "stride 2**31 - 1": (2, 2**31 - 1, 1),
    "one window": (4, 10**6, 0),
    "stride and pad 10**3": (3, 10**3, 10**3),
    "stride and pad 2 * 10**4": (3, 20_000, 20_000),
    "stride 2 * 10**4, nothing but padding": (3, 30_000, 20_003),
}
HUGE_POOLS = {"stride 10**4": (2, 10**4), "one window": (5, 10**9), "2x2": (2, 2**31 - 1)}


def most_memory(function, *args):
    """Return the most memory that Python and NumPy held during a call, and its result."""
    workspace.clear()
    tracemalloc.start()
    try:
        result = function(*args)
        return tracemalloc.get_traced_memory()[1], result
    finally:
        tracemalloc.stop()


def conv_at_windows(x, w, b, dout, stride, pad):
    """Return out, dx, dw and db of a convolution, pixel by pixel of the few windows."""
    out = np.zeros(dout.shape) + b[:, None, None]
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    for i, j, hh, ww in np.ndindex(*dout.shape[2:], *w.shape[2:]):
        row, column = i * stride + hh - pad, j * stride + ww - pad
        if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
            out[:, :, i, j] += x[:, :, row, column] @ w[:, :, hh, ww].T
            dx[:, :, row, column] += dout[:, :, i, j] @ w[:, :, hh, ww]
            dw[:, :, hh, ww] += dout[:, :, i, j].T @ x[:, :, row, column]
    return out, dx, dw, dout.sum(axis=(0, 2, 3))


@pytest.mark.parametrize("name", HUGE_CONVS)
def test_a_convolution_costs_what_its_arrays_are(name, backend_name, rng):
    size, stride, pad = HUGE_CONVS[name]
    x, w, b = (rng.standard_normal(s) for s in [(2, 3, 4, 5), (2, 3, size, size), (2,)])
    param = {"stride": stride, "pad": pad}
    most, (out, cache) = most_memory(fast_layers.conv_forward_fast, x, w, b, param)
    assert most < LITTLE
    dout = rng.standard_normal(out.shape)
    most, gradients = most_memory(fast_layers.conv_backward_fast, dout, cache)
    assert most < LITTLE
    expected = conv_at_windows(x, w, b, dout, stride, pad)
    for found, wanted in zip((out, *gradients), expected, strict=True):
        assert_close(found, wanted, scale=1.0)


@pytest.mark.parametrize("name", HUGE_POOLS)
def test_a_pooling_costs_what_its_arrays_are(name, backend_name, rng):
    size, stride = HUGE_POOLS[name]
    x, param = rng.standard_normal((2, 3, 5, 5)), {"pool_height": size, "pool_width": size}
    param["stride"] = stride
    most, (out, cache) = most_memory(fast_layers.max_pool_forward_fast, x, param)
    more, dx = most_memory(fast_layers.max_pool_backward_fast, out, cache)
    assert max(most, more) < LITTLE
    np.testing.assert_array_equal(out[..., 0, 0], x[..., :size, :size].max(axis=(2, 3)))
    np.testing.assert_array_equal(dx.sum(axis=(2, 3)), out[..., 0, 0])


@pytest.mark.skipif(len(KERNELS) == 1, reason="the extension is not built")
@pytest.mark.parametrize("pad", [1, 10, 10**3, 20_000])
def test_scratch_memory_does_not_grow_with_pad_and_stride(pad, rng, monkeypatch):
    sizes, scratch = [], workspace.scratch
    monkeypatch.setattr(workspace, "scratch", lambda size: sizes.append(size) or scratch(size))
    x, w, b = (rng.standard_normal(s) for s in [(2, 3, 4, 4), (2, 3, 3, 3), (2,)])
    previous = backend.select("auto")
    try:
        cost = {"stride": pad + 4, "pad": pad}
        out, cache = fast_layers.conv_forward_fast(x, w, b, cost)
        fast_layers.conv_backward_fast(out, cache)
    finally:
        backend.select(previous)
    assert len(sizes) >= 2  # of the forward and of the backward pass
    assert max(sizes) < 2**18


X = np.ones((2, 3, 4, 4), np.float32)
PADDED = {
    "conv_forward_naive": lambda pad, stride: layers.conv_forward_naive(
        X, np.ones((1, 3, 3, 3)), np.ones(1), {"stride": stride, "pad": pad}
    ),
    "conv_backward_naive": lambda pad, stride: layers.conv_backward_naive(
        np.ones((2, 1, *im2col.get_num_fields(X.shape, 3, 3, pad, stride))),
        (X, np.ones((1, 3, 3, 3)), np.ones(1), {"stride": stride, "pad": pad}),
    ),
    "im2col_indices": lambda pad, stride: im2col.im2col_indices(X, 3, 3, pad, stride),
    "im2col_naive": lambda pad, stride: im2col.im2col_naive(X, 3, 3, pad, stride),
    "col2im_indices": lambda pad, stride: im2col.col2im_indices(
        np.ones((27, 2 * np.prod(im2col.get_num_fields(X.shape, 3, 3, pad, stride)))),
        X.shape, 3, 3, pad, stride,
    ),
    "col2im": lambda pad, stride: im2col.col2im(
        np.ones((27, 2 * np.prod(im2col.get_num_fields(X.shape, 3, 3, pad, stride)))),
        X.shape, 3, 3, pad, stride,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PADDED)
def test_an_image_is_not_padded_beyond_all_measure(name):
    with pytest.raises(ValueError, match=rf"^{name}: padding 10000 makes \d+ numbers of images"):
        most_memory(PADDED[name], 10_000, 10_000)
    most_memory(PADDED[name], 20, 20)


@pytest.mark.parametrize(
    "call",
    [
        lambda pad: fast_layers.conv_forward_fast(
            X, np.ones((1, 3, 3, 3)), np.ones(1), {"stride": 1, "pad": pad}
        ),
        lambda pad: im2col.im2col_indices(X, 3, 3, pad, 1),
        lambda pad: im2col.get_im2col_indices(X.shape, 3, 3, pad, 1),
        lambda pad: im2col.im2col_naive(X, 3, 3, pad, 1),
        lambda pad: pytest.importorskip("cs231n.im2col_cython").im2col_cython(X, 3, 3, pad, 1),
        lambda pad: im2col.get_im2col_indices(X.shape, pad, pad, pad, pad),
    ],
)
def test_results_are_not_mostly_padding(call):
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"^\w+: padding 20000 makes \d+ numbers of images"):
            call(20_000)
        assert tracemalloc.get_traced_memory()[1] < LITTLE
    finally:
        tracemalloc.stop()


def test_images_that_are_large_themselves_may_be_padded(monkeypatch):
    monkeypatch.setattr(window, "MOST_PADDED", 50)
    one = window.Window(3, 3, 1, 1)
    assert one.pad_image(np.ones((5, 2, 2, 2))).shape == (5, 2, 4, 4)
    assert one.over(np.ones((5, 2, 2, 2))) == (2, 2)
    with pytest.raises(ValueError, match=r"padding 5 makes 1440 numbers of images of shape"):
        window.Window(3, 3, 1, 5).pad_image(np.ones((5, 2, 2, 2)))
