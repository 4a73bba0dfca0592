"""Hypothesis draws sizes, options, dtypes, layouts and kernels; definitions say what is right.

The definitions are computed in float64, with loops or sums over whole axes, and share nothing with
the layers.
"""

import numpy as np
import pytest
from cases import (
    LAYOUTS,
    ConvCase,
    PoolCase,
    conv_by_definition,
    conv_by_kernels,
    max_pool_by_definition,
)
from conftest import KERNELS, assert_close
from hypothesis import given, settings
from hypothesis import strategies as st
from rules import by_definition

from cs231n import fast_layers, optim
from cs231n.kernels import backend, fast_optim, workspace

quick = settings(derandomize=True, max_examples=150, deadline=None, database=None)

sizes = st.integers(1, 9)
seeds = st.integers(0, 2**32 - 1)
dtypes = st.sampled_from(["float32", "float64"])
layouts = st.sampled_from([np.asarray, *LAYOUTS.values()])
kernels = st.sampled_from(KERNELS)
# Around the widths of vectors, and of the blocks of filters and channels.
channels = st.one_of(sizes, st.sampled_from([15, 16, 17, 31, 33]))
threads = st.integers(1, 3)


class Using:
    """The kernels and the number of threads in use, as a context."""

    def __init__(self, name, number):
        self.wanted = name, number

    def __enter__(self):
        name, number = self.wanted
        workspace.clear()  # new memory of just the size needed, whose end a sanitizer watches
        self.previous = backend.select(name), fast_layers.set_num_threads(number)

    def __exit__(self, *_):
        backend.select(self.previous[0])
        fast_layers.set_num_threads(self.previous[1])


using = st.builds(Using, kernels, threads)


@st.composite
def conv_cases(draw):
    """Draw a convolution of any sizes that are allowed."""
    N, H, W, pad = draw(st.integers(0, 3)), draw(sizes), draw(sizes), draw(st.integers(0, 4))
    HH = draw(st.integers(1, min(H + 2 * pad, 7)))
    WW = draw(st.integers(1, min(W + 2 * pad, 7)))
    C, F = draw(channels), draw(channels)
    return ConvCase((N, C, H, W), (F, C, HH, WW), draw(st.integers(1, 4)), pad)


@st.composite
def pool_cases(draw):
    """Draw a pooling of any sizes that are allowed, often the one that has kernels of its own."""
    shape = draw(st.integers(0, 3)), draw(sizes), *draw(st.tuples(st.integers(2, 19), sizes))
    if draw(st.booleans()) and shape[3] > 1:
        return PoolCase(shape, 2, 2, 2)
    HH, WW = draw(st.integers(1, min(shape[2], 5))), draw(st.integers(1, min(shape[3], 5)))
    return PoolCase(shape, HH, WW, draw(st.integers(1, 4)))


def draw_arrays(seed, dtype, *shapes):
    """Return random arrays of these shapes."""
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def in_float64(arrays):
    """Return the arrays as the definitions take them."""
    return [array.astype(np.float64) for array in arrays]


def assert_agree(found, expected, dtype):
    """Compare results with what the definition says, to the digits of the dtype."""
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype
        scale = max(1.0, np.abs(other).max(initial=0))
        assert_close(one, other.astype(dtype), scale=scale)


@quick
@given(conv_cases(), dtypes, layouts, using, seeds, st.booleans())
def test_conv(case, dtype, layout, context, seed, need_dx):
    arrays = draw_arrays(seed, dtype, case.x, case.w, case.w[:1], case.out)
    expected = conv_by_definition(*in_float64(arrays), case.stride, case.pad)
    x, w, b, dout = map(layout, arrays)
    with context:
        out, cache = fast_layers.conv_forward_fast(x, w, b, case.param)
        dx, dw, db = fast_layers.conv_backward_fast(dout, cache, need_dx)
    assert_agree([out, dw, db], [expected[0], *expected[2:]], dtype)
    assert (dx is not None) == need_dx
    if need_dx:
        assert_agree([dx], expected[1:2], dtype)


@st.composite
def patch_cases(draw):
    """Draw a convolution that the kernels can do by filtering."""
    N, C, F, pad = draw(st.tuples(st.integers(1, 19), channels, channels, st.integers(0, 3)))
    H, W = draw(st.tuples(*[st.integers(max(1, 3 - 2 * pad), 13)] * 2))
    return ConvCase((N, C, H, W), (F, C, 3, 3), 1, pad)


@pytest.mark.skipif(KERNELS == ["numpy"], reason="the extension is not built")
@quick
@given(patch_cases(), dtypes, st.sampled_from(KERNELS[:-1] or KERNELS), threads, seeds)
def test_winograd_conv(case, dtype, name, number, seed):
    arrays = draw_arrays(seed, dtype, case.x, case.w, case.w[:1], case.out)
    expected = conv_by_definition(*in_float64(arrays), case.stride, case.pad)
    with Using(name, number):
        found = conv_by_kernels(arrays, case.pad, "winograd")
    assert_agree(found, expected, dtype)


@quick
@given(conv_cases(), layouts, using, seeds)
def test_conv_relu(case, layout, context, seed):
    arrays = draw_arrays(seed, "float64", case.x, case.w, case.w[:1], case.out)
    x, w, b, dout = arrays
    linear = conv_by_definition(*arrays, case.stride, case.pad)[0]
    passed = dout * (linear > 0)
    expected = conv_by_definition(x, w, b, passed, case.stride, case.pad)
    with context:
        out, cache = fast_layers.conv_relu_forward_fast(*map(layout, (x, w, b)), case.param)
        gradients = fast_layers.conv_relu_backward_fast(layout(dout), cache)
    assert_agree([out, *gradients], [np.where(linear > 0, linear, 0), *expected[1:]], "float64")


@quick
@given(pool_cases(), dtypes, layouts, using, seeds)
def test_max_pool(case, dtype, layout, context, seed):
    _, dout = draw_arrays(seed, dtype, case.x, case.out)
    x, _ = case.draw_ties(np.random.default_rng(seed), dtype)
    out, dx = max_pool_by_definition(*in_float64([x, dout]), case.HH, case.WW, case.stride)
    with context:
        found, cache = fast_layers.max_pool_forward_fast(layout(x), case.param)
        found_dx = fast_layers.max_pool_backward_fast(layout(dout), cache)
    np.testing.assert_array_equal(found, out)
    assert_agree([found, found_dx], [out, dx], dtype)


def norm_by_definition(x, gamma, beta, dout, axes, eps):
    """Return out, dx, dgamma and dbeta of x normalised over these axes; axis 1 is that of gamma.

    dx is the gradient of out by the chain rule, number by number of one normalised group: the
    derivative of x_hat[i] to x[j] is (delta_ij - 1/n - x_hat[i] x_hat[j] / n) / std.
    """
    per_channel = (1, -1) + (1,) * (x.ndim - 2)
    scale, shift = gamma.reshape(per_channel), beta.reshape(per_channel)
    mean, var = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    x_hat = (x - mean) / np.sqrt(var + eps)
    g = dout * scale
    over = tuple(axis for axis in range(x.ndim) if axis != 1)
    dx = np.zeros_like(x)
    rest = [axis for axis in range(x.ndim) if axis not in axes]
    for index in np.ndindex(*(x.shape[axis] for axis in rest)):
        where = [slice(None)] * x.ndim
        for axis, position in zip(rest, index):
            where[axis] = position
        where = tuple(where)
        hat, up = x_hat[where].ravel(), g[where].ravel()
        n = hat.size
        jacobian = np.eye(n) - 1 / n - np.outer(hat, hat) / n
        dx[where] = (up @ jacobian / np.sqrt(x[where].var() + eps)).reshape(x[where].shape)
    return x_hat * scale + shift, dx, (dout * x_hat).sum(axis=over), dout.sum(axis=over)


eps = st.sampled_from([1e-5, 1e-2])


@quick
@given(st.integers(1, 20), channels, dtypes, layouts, using, seeds, eps)
def test_batchnorm(N, D, dtype, layout, context, seed, eps):
    arrays = draw_arrays(seed, dtype, (N, D), (D,), (D,), (N, D))
    expected = norm_by_definition(*in_float64(arrays), (0,), eps)
    x, gamma, beta, dout = map(layout, arrays)
    param = {"mode": "train", "eps": eps, "momentum": 0.25}
    with context:
        out, cache = fast_layers.batchnorm_forward_fast(x, gamma, beta, param)
        gradients = fast_layers.batchnorm_backward_fast(dout, cache)
    assert_agree([out, *gradients], expected, dtype)
    statistics = [0.75 * arrays[0].mean(axis=0), 0.75 * arrays[0].var(axis=0)]
    assert_agree([param["running_mean"], param["running_var"]], statistics, dtype)


images = st.tuples(st.integers(1, 3), channels, sizes, sizes)


@quick
@given(images, dtypes, layouts, using, seeds, eps)
def test_spatial_batchnorm(shape, dtype, layout, context, seed, eps):
    C = shape[1:2]
    arrays = draw_arrays(seed, dtype, shape, C, C, shape)
    expected = norm_by_definition(*in_float64(arrays), (0, 2, 3), eps)
    x, gamma, beta, dout = map(layout, arrays)
    with context:
        param = {"mode": "train", "eps": eps}
        out, cache = fast_layers.spatial_batchnorm_forward_fast(x, gamma, beta, param)
        gradients = fast_layers.spatial_batchnorm_backward_fast(dout, cache)
    assert_agree([out, *gradients], expected, dtype)


@quick
@given(images, layouts, using, seeds)
def test_spatial_batchnorm_relu(shape, layout, context, seed):
    C = shape[1:2]
    arrays = draw_arrays(seed, "float64", shape, C, C, shape)
    x, gamma, beta, dout = arrays
    linear = norm_by_definition(*arrays, (0, 2, 3), 1e-5)[0]
    expected = norm_by_definition(x, gamma, beta, dout * (linear > 0), (0, 2, 3), 1e-5)
    with context:
        x, gamma, beta, dout = map(layout, arrays)
        out, cache = fast_layers.spatial_batchnorm_relu_forward_fast(
            x, gamma, beta, {"mode": "train"}
        )
        gradients = fast_layers.spatial_batchnorm_relu_backward_fast(dout, cache)
    assert_agree([out, *gradients], [np.maximum(linear, 0), *expected[1:]], "float64")


@quick
@given(st.integers(1, 20), channels, dtypes, layouts, using, seeds, eps)
def test_layernorm(N, D, dtype, layout, context, seed, eps):
    arrays = draw_arrays(seed, dtype, (N, D), (D,), (D,), (N, D))
    expected = norm_by_definition(*in_float64(arrays), (1,), eps)
    x, gamma, beta, dout = map(layout, arrays)
    with context:
        out, cache = fast_layers.layernorm_forward_fast(x, gamma, beta, {"eps": eps})
        gradients = fast_layers.layernorm_backward_fast(dout, cache)
    assert_agree([out, *gradients], expected, dtype)


@quick
@given(
    st.integers(0, 3), st.integers(1, 5), st.integers(1, 5), sizes, sizes, dtypes, layouts, using,
    seeds, eps,
)  # fmt: skip
def test_spatial_groupnorm(N, G, per_group, H, W, dtype, layout, context, seed, eps):
    C = G * per_group
    shape, weights = (N, C, H, W), (1, C, 1, 1)
    arrays = draw_arrays(seed, dtype, shape, weights, weights, shape)
    x, gamma, beta, dout = in_float64(arrays)
    out, dx = np.zeros(shape), np.zeros(shape)
    dgamma, dbeta = np.zeros(C), np.zeros(C)
    for group in range(G):
        part = slice(group * per_group, (group + 1) * per_group)
        numbers = x[:, part], gamma[0, part, 0, 0], beta[0, part, 0, 0], dout[:, part]
        results = norm_by_definition(*numbers, (1, 2, 3), eps)
        out[:, part], dx[:, part], dgamma[part], dbeta[part] = results
    x, gamma, beta, dout = map(layout, arrays)
    with context:
        found, cache = fast_layers.spatial_groupnorm_forward_fast(x, gamma, beta, G, {"eps": eps})
        gradients = fast_layers.spatial_groupnorm_backward_fast(dout, cache)
    expected = [out, dx, dgamma.reshape(weights), dbeta.reshape(weights)]
    assert_agree([found, *gradients], expected, dtype)


numbers = st.floats(0.05, 0.95)
CONFIGS = {
    "sgd": {},
    "sgd_momentum": {"momentum": numbers},
    "nesterov_momentum": {"momentum": numbers},
    "rmsprop": {"decay_rate": numbers, "epsilon": st.just(1e-3)},
    "adam": {"beta1": numbers, "beta2": numbers, "epsilon": st.just(1e-3)},
}
configs = st.one_of(
    *(
        st.tuples(st.just(rule), st.fixed_dictionaries({"learning_rate": numbers, **options}))
        for rule, options in CONFIGS.items()
    )
)
shapes = st.lists(st.integers(0, 9), max_size=3).map(tuple) | st.sampled_from([(1000,), (33, 65)])


@quick
@given(configs, shapes, st.integers(1, 4), dtypes, layouts, using, seeds)
def test_update_rules(rule_and_config, shape, steps, dtype, layout, context, seed):
    rule, config = rule_and_config
    w, *gradients = draw_arrays(seed, dtype, *[shape] * (steps + 1))
    expected = by_definition(rule, *in_float64([w]), in_float64(gradients), **config)
    config = dict(config)
    with context:
        for dw in gradients:
            w = fast_optim.update(rule, w, layout(dw) if shape else dw, config)
    assert_agree([w], [np.asarray(expected)], dtype)
    assert config.keys() >= set(optim.STATE[rule])


@quick
@given(st.lists(st.integers(0, 40), max_size=3).map(tuple), dtypes, layouts, using, seeds)
def test_relu(shape, dtype, layout, context, seed):
    x, dout = draw_arrays(seed, dtype, shape, shape)
    arrays = [layout(array) if shape else array for array in (x, dout)]
    with context:
        out, cache = fast_layers.relu_forward_fast(arrays[0])
        dx = fast_layers.relu_backward_fast(arrays[1], cache)
    np.testing.assert_array_equal(out, x * (x > 0))
    np.testing.assert_array_equal(dx, dout * (x > 0))


@quick
@given(st.integers(1, 30), st.integers(1, 40), dtypes, layouts, using, seeds, st.floats(0.1, 50))
def test_softmax_loss(N, C, dtype, layout, context, seed, size):
    (scores,) = draw_arrays(seed, dtype, (N, C))
    scores *= np.dtype(dtype).type(size)
    y = np.random.default_rng(seed).integers(C, size=N)
    with context:
        loss, dx = fast_layers.softmax_loss_fast(layout(scores), layout(y))
    x = scores.astype(np.float64)
    p = np.array([[1 / np.exp(row - score).sum() for score in row] for row in x])
    expected = -np.mean([np.log(row[label]) for row, label in zip(p, y)])
    assert_close(np.dtype(dtype).type(loss), expected, scale=max(1.0, size))
    assert_agree([dx], [(p - (np.arange(C) == y[:, None])) / N], dtype)
