"""The fast layers agree with the reference in every case, on every set of kernels."""

import copy
import functools
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from cases import (
    CONV_CASES,
    DTYPES,
    FAST_LAYERS,
    LAYOUTS,
    POOL_CASES,
    SCORES,
    TWINS,
    ConvCase,
    PoolCase,
    conv_by_definition,
    conv_by_kernels,
    max_pool_by_definition,
)
from conftest import KERNELS, assert_close

from cs231n import fast_layers, layers
from cs231n.fast_layers import (
    affine_forward_fast,
    conv_backward_fast,
    conv_forward_fast,
    max_pool_backward_fast,
    max_pool_forward_fast,
    softmax_loss_fast,
)
from cs231n.kernels import backend, workspace
from cs231n.layers import (
    conv_backward_naive,
    conv_forward_naive,
    max_pool_backward_naive,
    max_pool_forward_naive,
    softmax_loss,
)


def conv(x, w, b, dout, param, twin="fast"):
    """Return out, dx, dw and db of the fast or the naive convolution."""
    if twin == "naive":
        out, cache = conv_forward_naive(x, w, b, param)
        return out, *conv_backward_naive(dout, cache)
    out, cache = conv_forward_fast(x, w, b, param)
    return out, *conv_backward_fast(dout, cache)


def max_pool(x, dout, param, twin="fast"):
    """Return out and dx of the fast or the naive max pooling."""
    if twin == "naive":
        out, cache = max_pool_forward_naive(x, param)
        return out, max_pool_backward_naive(dout, cache)
    out, cache = max_pool_forward_fast(x, param)
    return out, max_pool_backward_fast(dout, cache)


def run_twin(layer, arrays, layout=np.asarray):
    """Return out and all gradients, and the options as the layer leaves them."""
    options = copy.deepcopy(layer.options)
    out, cache = layer.forward(*map(layout, arrays), *options)
    dout = np.random.default_rng(7).standard_normal(out.shape).astype(out.dtype)
    return [out, *layer.gradients(layout(dout), cache)], options


def assert_twins_agree(found, expected, precision="float64"):
    """Compare what `run_twin` returns for the two twins, to the digits of the coarser dtype."""
    for one, other in zip(found[0], expected[0], strict=True):
        assert one.dtype == other.dtype
        # A gradient may be the small rest of large numbers of the size of dout.
        scale = max(1.0, np.abs(other).max(initial=0))
        assert_close(one, other.astype(min(other.dtype.name, precision)), scale=scale)
    precision = min(precision, found[0][0].dtype.name)
    for one, other in zip(found[1], expected[1], strict=True):
        if not isinstance(one, dict):
            continue
        assert one.keys() == other.keys()
        for name in one.keys() & {"running_mean", "running_var"}:
            assert one[name].dtype == other[name].dtype
            assert_close(one[name], other[name].astype(min(other[name].dtype.name, precision)))


@functools.cache
def drawn(name, dtype, odd=None, odd_dtype=None):
    """Return arrays, one of them of another dtype if asked for, and what the reference gives."""
    case = TWINS[name]
    arrays = case.fast.draw(np.random.default_rng(231), dtype)
    if odd is not None:
        arrays[odd] = (3 * np.abs(arrays[odd])).astype(odd_dtype)
    return arrays, run_twin(case.reference, arrays)


twins = pytest.mark.parametrize("name", TWINS)
# A single number has no layout and is no batch.
twins_of_arrays = pytest.mark.parametrize(
    "name", [name for name, case in TWINS.items() if () not in case.fast.shapes]
)


@twins
@pytest.mark.parametrize("dtype", DTYPES)
def test_twins_agree(name, dtype, backend_name):
    arrays, expected = drawn(name, dtype)
    assert_twins_agree(run_twin(TWINS[name].fast, arrays), expected)


@pytest.mark.sampled(5)
@twins_of_arrays
def test_twins_agree_in_any_layout(name, backend_name):
    arrays, expected = drawn(name, "float32")
    for layout in LAYOUTS.values():
        assert_twins_agree(run_twin(TWINS[name].fast, arrays, layout), expected)


@pytest.mark.sampled(5)
@twins
@pytest.mark.parametrize("dtype", ["float64", "uint8"])
def test_twins_agree_on_mixed_dtypes_and_integers(name, dtype, backend_name):
    for odd in range(len(TWINS[name].fast.shapes)):
        arrays, expected = drawn(name, "float32", odd, dtype)
        assert_twins_agree(run_twin(TWINS[name].fast, arrays), expected, precision="float32")


@pytest.mark.sampled(5)
@twins_of_arrays
def test_twins_agree_on_an_empty_batch_or_refuse_it(name, backend_name, rng):
    case = TWINS[name]
    x, *weights = case.fast.draw(rng)
    try:
        expected = run_twin(case.reference, [x[:0], *weights])
    except ValueError as error:
        with pytest.raises(ValueError, match=re.escape(str(error).split(": ", 1)[1])):
            run_twin(case.fast, [x[:0], *weights])
        return
    assert_twins_agree(run_twin(case.fast, [x[:0], *weights]), expected)


@pytest.mark.parametrize("name", FAST_LAYERS)
def test_a_cache_of_another_layer_is_refused(name):
    backward = FAST_LAYERS[name].backward
    for other in FAST_LAYERS.values():
        if other.backward is backward:
            continue
        out, cache = other.run(*(np.ones(shape) for shape in other.shapes))
        with pytest.raises(TypeError, match=f"{backward.__name__}: cache is"):
            backward(out, cache)


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu_agrees_on_nan_and_infinity(dtype, backend_name):
    x = np.array([np.nan, -np.inf, np.inf, -0.0, 0.0, -1, 1] * 5, dtype)
    case = TWINS["relu fast, a vector"]
    for found, expected in zip(run_twin(case.fast, [x])[0], run_twin(case.reference, [x])[0]):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("few", [0, 10**9])
def test_small_arrays_take_numpy_and_others_the_kernels(few, dtype, backend_name, rng, monkeypatch):
    monkeypatch.setattr(fast_layers, "_FEW", few)
    x, w, b = (rng.standard_normal(shape).astype(dtype) for shape in ((4, 2, 3), (6, 5), (5,)))
    calls = []
    for name in ("relu_forward", "relu_backward", "matmul"):
        kernel = getattr(backend.kernels(), name)
        record = functools.partial(lambda kernel, *args: calls.append(kernel(*args)), kernel)
        monkeypatch.setattr(backend.kernels(), name, record)
    out, cache = fast_layers.affine_forward_fast(x, w, b)
    expected, expected_cache = layers.affine_forward(x, w, b)
    dout = rng.standard_normal(out.shape).astype(dtype)
    found = *fast_layers.affine_backward_fast(dout, cache), fast_layers.relu_forward_fast(x)[0]
    wanted = *layers.affine_backward(dout, expected_cache), layers.relu_forward(x)[0]
    found += (fast_layers.relu_backward_fast(dout, out),)
    wanted += (layers.relu_backward(dout, out),)
    for one, other in zip((out, *found), (expected, *wanted)):
        assert one.dtype == dtype
        assert_close(one, other)
    assert len(calls) == (5 if few == 0 else 0)


def test_running_statistics_over_several_steps_agree(backend_name, rng):
    case = TWINS["spatial batchnorm fast, train, odd sizes"]
    options = [{"mode": "train"}, {"mode": "train"}]
    for _ in range(3):
        x, gamma, beta = case.fast.draw(rng, "float32")
        for layer, option in zip(case, options):
            layer.forward(5 + 2 * x, gamma, beta, option)
    for name in ("running_mean", "running_var"):
        assert options[0][name].dtype == options[1][name].dtype
        assert_close(options[0][name], options[1][name])
    for option in options:
        option["mode"] = "test"
    found, expected = (
        layer.forward(x, gamma, beta, option)[0] for layer, option in zip(case, options)
    )
    assert_close(found, expected)


@pytest.mark.parametrize("mode", ["train", "test"])
@pytest.mark.parametrize("of_running", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_running_statistics_of_another_dtype_agree(dtype, of_running, mode, backend_name, rng):
    x, gamma, beta = (rng.standard_normal(shape).astype(dtype) for shape in [(6, 5), 5, 5])
    given = rng.random((2, 5)).astype(of_running) + 0.1
    given.flags.writeable = False
    options = [
        {"mode": mode, "momentum": 0.6, "running_mean": given[0], "running_var": given[1]}
        for _ in range(2)
    ]
    kept = given.copy()
    found, _ = fast_layers.batchnorm_forward_fast(x, gamma, beta, options[0])
    expected, _ = layers.batchnorm_forward(x, gamma, beta, options[1])
    assert found.dtype == expected.dtype == dtype
    shorter = min(dtype, of_running)  # to which the reference rounds on its way
    assert_close(found.astype(shorter), expected.astype(shorter))
    for name in ("running_mean", "running_var"):
        assert options[0][name].dtype == options[1][name].dtype
        assert_close(*(option[name].astype(shorter) for option in options))
    np.testing.assert_array_equal(given, kept)


@pytest.mark.parametrize("shape", [(3, 2, 5, 4), (2, 3, 40, 17), (2, 70, 1, 1)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradient_of_a_bias_alone_is_that_beside_the_filters(dtype, shape, backend_name, rng):
    x = rng.standard_normal((shape[0], 2, *shape[2:])).astype(dtype)
    w, b = (rng.standard_normal(s).astype(dtype) for s in [(shape[1], 2, 1, 1), shape[1]])
    dout, cache = conv_forward_fast(x, w, b, {"stride": 1, "pad": 0})
    dx, dw, db = conv_backward_fast(dout, cache, need_dw=False)
    expected, _, alone = conv_backward_naive(dout, tuple(cache))
    assert dw is None
    assert_close(dx, expected)
    assert_close(db, alone)


@pytest.mark.parametrize("offset", [100.0, -3000.0])
def test_variance_does_not_suffer_from_a_large_mean(offset, backend_name, rng):
    for name in ("batchnorm fast, train, many samples", "spatial batchnorm fast, train, odd sizes",
                 "spatial groupnorm fast, many pixels, one group",
                 "layernorm fast, many inputs"):  # fmt: skip
        case = TWINS[name]
        x, gamma, beta = case.fast.draw(rng, "float32")
        shifted = x + np.float32(offset)
        expected, _ = case.reference.run(shifted.astype(np.float64), gamma, beta)
        # The statistics are those of rounded numbers; their sum of squares would lose all digits.
        assert_close(case.fast.run(shifted, gamma, beta)[0], expected, looser=10)


@pytest.mark.sampled(5)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1, 30, 1e4])
@pytest.mark.parametrize("smoothing", [0, 0.1, 1])
@pytest.mark.parametrize("shape", SCORES.values(), ids=SCORES)
def test_softmax_loss_agrees_with_the_reference(shape, smoothing, scale, dtype, backend_name, rng):
    scores = (scale * rng.standard_normal(shape)).astype(dtype)
    y = rng.integers(shape[1], size=shape[0])
    expected, expected_dx = softmax_loss(scores.astype(np.float64), y, smoothing)
    for layout in (np.asarray, *LAYOUTS.values()):
        loss, dx = softmax_loss_fast(layout(scores), layout(y), smoothing)
        assert type(loss) is float
        assert dx.dtype == dtype
        # As good as the scores, whose last digits are what is left where they cancel.
        size = expected + np.abs(scores).max(initial=0)
        assert abs(loss - expected) <= 4 * np.finfo(dtype).eps * size
        assert_close(dx, expected_dx.astype(dtype))


@pytest.mark.sampled(5)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CONV_CASES.values(), ids=CONV_CASES)
def test_conv_agrees_with_naive(case, dtype, backend_name, rng):
    arrays = case.draw(rng, dtype)
    for found, expected in zip(conv(*arrays, case.param), conv(*arrays, case.param, "naive")):
        assert found.dtype == expected.dtype == dtype
        assert_close(found, expected)


@pytest.mark.sampled(5)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("draw", ["draw", "draw_ties"])
@pytest.mark.parametrize("case", POOL_CASES.values(), ids=POOL_CASES)
def test_max_pool_agrees_with_naive(case, draw, dtype, backend_name, rng):
    x, dout = getattr(case, draw)(rng, dtype)
    out, dx = max_pool(x, dout, case.param)
    expected, expected_dx = max_pool(x, dout, case.param, "naive")
    assert out.dtype == dx.dtype == dtype
    np.testing.assert_array_equal(out, expected)
    assert_close(dx, expected_dx)


@pytest.mark.sampled(7)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("case", CONV_CASES.values(), ids=CONV_CASES)
def test_conv_agrees_with_naive_in_any_layout(case, layout, backend_name, rng):
    arrays = case.draw(rng, "float32")
    expected = conv(*arrays, case.param, "naive")
    for found, wanted in zip(conv(*map(layout, arrays), case.param), expected):
        assert_close(found, wanted)


@pytest.mark.sampled(7)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("case", POOL_CASES.values(), ids=POOL_CASES)
def test_max_pool_agrees_with_naive_in_any_layout(case, layout, backend_name, rng):
    arrays = case.draw(rng, "float32")
    expected = max_pool(*arrays, case.param, "naive")
    for found, wanted in zip(max_pool(*map(layout, arrays), case.param), expected):
        assert_close(found, wanted)


@pytest.mark.parametrize("odd", range(4), ids=["x", "w", "b", "dout"])
def test_conv_of_mixed_dtypes_agrees_with_naive(odd, backend_name, rng):
    case = CONV_CASES["tall filter"]
    arrays = case.draw(rng, "float32")
    arrays[odd] = arrays[odd].astype(np.float64)
    for found, expected in zip(conv(*arrays, case.param), conv(*arrays, case.param, "naive")):
        assert found.dtype == expected.dtype
        assert_close(found, expected.astype(np.float32))


def test_conv_of_bytes_agrees_with_naive(backend_name, rng):
    case = CONV_CASES["notebook backward"]
    x, w, b, dout = case.draw(rng, "float32")
    x = rng.integers(0, 256, x.shape, dtype=np.uint8)
    found = conv(x, w, b, dout, case.param)
    for one, other in zip(found, conv(x, w, b, dout, case.param, "naive")):
        assert one.dtype == other.dtype
        assert_close(one, other)


COMPILED = [name for name in KERNELS if name != "numpy"]
BY_WINOGRAD = {
    name: case
    for name, case in CONV_CASES.items()
    if case.w[2:] == (3, 3) and case.stride == 1 and case.x[0]
}
both_ways = pytest.mark.parametrize("path", ["direct", "winograd"])
compiled_only = pytest.mark.parametrize("backend_name", COMPILED, indirect=True)


@pytest.mark.sampled(5)
@pytest.mark.parametrize("dtype", DTYPES)
@both_ways
@compiled_only
@pytest.mark.parametrize("case", BY_WINOGRAD.values(), ids=BY_WINOGRAD)
def test_both_ways_of_the_kernels_agree_with_naive(case, path, dtype, backend_name, rng):
    arrays = case.draw(rng, dtype)
    expected = conv(*arrays, case.param, "naive")
    workspace.clear()  # new memory of just the size needed, whose end a sanitizer watches
    found = conv_by_kernels(arrays, case.pad, path)
    for one, other in zip(found, expected):
        assert_close(one, other)
    workspace.scratch(1).fill(0x41)  # what was there before, finite numbers, must not matter
    *others, dout = arrays
    out = np.maximum(found[0], 0)
    linear = conv_by_kernels((*others, np.where(out > 0, dout, 0)), case.pad, path)
    for one, other in zip(conv_by_kernels(arrays, case.pad, path, relu=True), (out, *linear[1:])):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", DTYPES)
@compiled_only
def test_the_ways_are_two_and_the_kernels_take_one(dtype, backend_name, rng):
    for x, w in (((16, 33, 16, 18), (35, 33, 3, 3)), ((1, 33, 5, 6), (35, 33, 3, 3))):
        case = ConvCase(x, w, pad=1)
        arrays = case.draw(rng, dtype)
        direct, winograd, taken = (
            [result.tobytes() for result in conv_by_kernels(arrays, 1, path)[:3]]
            for path in ("direct", "winograd", "rule")
        )
        if backend_name != "baseline":  # which has no vectors, and one way, on some processors
            assert all(one != other for one, other in zip(direct, winograd))
        assert all(one in two for one, two in zip(taken, zip(direct, winograd)))


@pytest.mark.parametrize("side", [6, 7])
@compiled_only
def test_filtering_rounds_little(side, backend_name, rng):
    # At the points 0, 1, -1, 2, -2 and infinity, pixels of the larger maps would be off by 1e-5 of
    # the largest; at 0, 1, -1, -2 and infinity, those of the smaller by 1.7e-6 in the mean.
    case = ConvCase((3, 256, side, side), (32, 256, 3, 3), pad=1)
    arrays = case.draw(rng, "float32")
    exact = [array.astype("float64") for array in arrays]
    expected = conv_by_definition(*exact, case.stride, case.pad)
    found = conv_by_kernels(arrays, case.pad, "winograd")
    for one, other in zip(found, expected):
        assert_close(one, other, looser=0.02)
    for one, other, most in zip(found[:2], expected, (1.6e-6, 6.8e-7)):
        assert np.linalg.norm(one - other) < most * np.linalg.norm(other)


def test_an_unknown_way_is_refused():
    if COMPILED:
        arrays = CONV_CASES["many channels"].draw(np.random.default_rng(0), "float32")
        with pytest.raises(ValueError, match=r"path is 'fast'; expected one of .*'winograd'"):
            conv_by_kernels(arrays, 1, "fast")


@pytest.mark.parametrize("shape", [(2, 2, 5, 5), (0, 2, 5, 5), (2, 0, 5, 5)])
def test_a_convolution_may_have_no_filters(shape, backend_name, rng):
    x, w = rng.standard_normal(shape), np.ones((0, shape[1], 3, 2))
    arrays = x, w, np.ones(0), np.ones((shape[0], 0, 5, 6)), {"stride": 1, "pad": 1}
    for found, expected in zip(conv(*arrays), conv(*arrays, "naive"), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("mode", ["train", "test"])
@pytest.mark.parametrize("dtypes", ["fdd", "ddf", "fff", "dfd", "ffd", "dff"])
def test_batch_norm_of_mixed_dtypes_agrees_with_its_reference(dtypes, mode, backend_name, rng):
    """Of samples, weights and statistics some may be longer than the others."""
    x, gamma, mean = (
        rng.standard_normal(shape).astype(dtype)
        for shape, dtype in zip([(6, 3), 3, 3], dtypes, strict=True)
    )
    results = []
    for forward in (layers.batchnorm_forward, fast_layers.batchnorm_forward_fast):
        bn_param = {"mode": mode, "running_mean": mean, "running_var": mean**2}
        out, _ = forward(x, gamma, gamma, bn_param)
        fresh = {"mode": mode}
        forward(x, gamma, gamma, fresh)
        results.append(
            [out, *(p[f"running_{s}"] for p in (bn_param, fresh) for s in ("mean", "var"))]
        )
    for reference, fast in zip(*results, strict=True):
        assert fast.dtype == reference.dtype
        assert_close(fast.astype(x.dtype), reference.astype(x.dtype))


@pytest.mark.sampled(5)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", range(4), ids=["x", "w", "b", "dout"])
@pytest.mark.parametrize("name", ["many channels", "many channels of maps of 3x3"])
@both_ways
@compiled_only
def test_conv_keeps_nan_and_infinity_in_their_places(name, path, place, value, backend_name, rng):
    case = CONV_CASES[name]
    arrays = case.draw(rng, "float64")
    arrays[place].flat[arrays[place].size // 2] = value
    with np.errstate(invalid="ignore"):
        expected = conv(*arrays, case.param, "naive")
        found = conv_by_kernels(arrays, case.pad, path)
    for one, other in zip(found, expected):
        assert_close(one, other)


@pytest.mark.sampled(7)
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CONV_CASES.values(), ids=CONV_CASES)
def test_a_weight_that_is_no_number_spoils_the_pixels_that_it_meets_only(
    case, dtype, value, backend_name, rng
):
    x, w, b, dout = case.draw(rng, dtype)
    w.flat[rng.integers(w.size)] = value
    with np.errstate(invalid="ignore"):
        _, expected, _, _ = conv(x, w, b, dout, case.param, "naive")
        _, dx, _, _ = conv(x, w, b, dout, case.param)
    np.testing.assert_array_equal(np.isnan(dx), np.isnan(expected))
    assert_close(dx, expected)


def random_conv_case(rng):
    """Draw a convolution of any sizes that are allowed."""
    N, C, F, stride, pad = rng.integers([0, 1, 1, 1, 0], [4, 4, 5, 5, 5])
    H, W = rng.integers(1, 10, 2)
    HH, WW = rng.integers(1, np.minimum([H, W] + 2 * pad, 7) + 1)
    sizes = [int(size) for size in (N, C, H, W, F, C, HH, WW)]
    return ConvCase(tuple(sizes[:4]), tuple(sizes[4:]), int(stride), int(pad))


def test_conv_of_random_sizes_agrees_with_the_definition(backend_name, rng):
    for _ in range(100):
        case = random_conv_case(rng)
        arrays = case.draw(rng, "float64")
        expected = conv_by_definition(*arrays, case.stride, case.pad)
        for found, wanted in zip(conv(*arrays, case.param), expected):
            assert_close(found, wanted)


def random_pool_case(rng):
    """Draw a pooling of any sizes that are allowed."""
    N, C, stride = rng.integers([0, 1, 1], [4, 4, 5])
    H, W = rng.integers(1, 10, 2)
    HH, WW = rng.integers(1, np.minimum([H, W], 5) + 1)
    sizes = tuple(int(size) for size in (N, C, H, W))
    return PoolCase(sizes, int(HH), int(WW), int(stride))


def test_max_pool_of_random_sizes_agrees_with_the_definition(backend_name, rng):
    for _ in range(100):
        case = random_pool_case(rng)
        x, dout = case.draw_ties(rng, "float64")
        out, dx = max_pool(x, dout, case.param)
        expected, expected_dx = max_pool_by_definition(x, dout, case.HH, case.WW, case.stride)
        np.testing.assert_array_equal(out, expected)
        assert_close(dx, expected_dx)


@pytest.mark.parametrize("twin", ["naive", "fast"])
def test_gradient_of_a_tie_goes_to_the_first_maximum(twin, backend_name):
    x = np.array([[1.0, 2, 2], [2, 1, 2], [0, 2, 2]]).reshape(1, 1, 3, 3)
    dout = np.array([[1.0, 10], [100, 1000]]).reshape(1, 1, 2, 2)
    param = {"pool_height": 2, "pool_width": 2, "stride": 1}
    _, dx = max_pool(x, dout, param, twin)
    # The windows' first maxima: (0, 1), (0, 1), (1, 0) and (1, 2).
    np.testing.assert_array_equal(dx[0, 0], [[0, 11, 0], [100, 0, 1000], [0, 0, 0]])


@pytest.mark.parametrize("twin", ["naive", "fast"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_minus_infinity_can_be_a_maximum(twin, dtype, backend_name):
    x = np.full((1, 1, 2, 2), -np.inf, dtype)
    param = {"pool_height": 2, "pool_width": 2, "stride": 1}
    out, dx = max_pool(x, np.full((1, 1, 1, 1), 3, dtype), param, twin)
    assert out.item() == -np.inf
    np.testing.assert_array_equal(dx[0, 0], [[3, 0], [0, 0]])


@pytest.mark.parametrize("twin", ["naive", "fast"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("first", range(4))
def test_nan_is_the_maximum_and_takes_the_gradient(first, dtype, twin, backend_name):
    x = np.array([1.0, 3, 2, 3], dtype)
    x[first:] = np.where(np.arange(first, 4) % 2 == first % 2, np.nan, x[first:])
    param = {"pool_height": 2, "pool_width": 2, "stride": 2}
    dout = np.full((1, 1, 1, 1), 5, dtype)
    out, dx = max_pool(x.reshape(1, 1, 2, 2), dout, param, twin)
    assert np.isnan(out.item())
    np.testing.assert_array_equal(dx.ravel(), 5.0 * (np.arange(4) == first))


@pytest.mark.parametrize("twin", ["naive", "fast"])
def test_pixels_of_dropped_windows_get_no_gradient(twin, backend_name, rng):
    case = ConvCase((2, 2, 8, 6), (3, 2, 3, 3), stride=2)
    _, dx, _, _ = conv(*case.draw(rng, "float64"), case.param, twin)
    assert np.count_nonzero(dx[:, :, 7:]) == np.count_nonzero(dx[:, :, :, 5:]) == 0
    assert np.all(dx[:, :, :7, :5] != 0)
    pool_case = PoolCase((2, 2, 5, 7), 2, 2, 2)
    _, dx = max_pool(*pool_case.draw(rng, "float64"), pool_case.param, twin)
    assert np.count_nonzero(dx[:, :, 4:]) == np.count_nonzero(dx[:, :, :, 6:]) == 0


@pytest.mark.sampled(5)
@pytest.mark.parametrize("twin", ["naive", "fast"])
@pytest.mark.parametrize("case", CONV_CASES.values(), ids=CONV_CASES)
def test_conv_gradients_are_the_transpose_of_the_forward_pass(case, twin, backend_name, rng):
    x, w, b, dout = case.draw(rng, "float64")
    _, dx, dw, db = conv(x, w, b, dout, case.param, twin)
    # The output is linear in x, in w and in b, so <dout, f(v)> = <dv, v> holds without limits.
    for v, dv, arrays in [
        (x, dx, (x, w, 0 * b)),
        (w, dw, (x, w, 0 * b)),
        (b, db, (0 * x, w, b)),
    ]:
        forward = conv(*arrays, dout, case.param, twin)[0]
        assert_close(np.sum(dv * v), np.sum(dout * forward), looser=10, scale=1.0)


# Pieces along the inner size, blocks of rows, panels of columns and slabs: whole ones and rests.
MATMULS = {
    "one of each": (1, 1, 1),
    "less than a tile": (3, 5, 7),
    "whole tiles": (24, 512, 64),
    "rests everywhere": (61, 601, 77),
    "row": (1, 300, 200),
    "column": (300, 200, 1),
    "deep": (13, 3000, 33),
    "two slabs": (1500, 3000, 10),
}


@pytest.mark.sampled(5)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("columns_first", [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize("sizes", MATMULS.values(), ids=MATMULS)
def test_matmul_agrees_with_exact_sums(sizes, columns_first, dtype, backend_name, rng):
    M, K, N = sizes
    # Small integers: every sum is exact, whatever its order.
    a, b = (rng.integers(-3, 4, shape).astype(dtype) for shape in ((M, K), (K, N)))
    bias, out = rng.integers(-3, 4, N).astype(dtype), np.full((M, N), np.nan, dtype)
    expected = a.astype(np.int64) @ b.astype(np.int64)
    a, b = (np.asfortranarray(x) if turned else x for x, turned in zip((a, b), columns_first))
    backend.kernels().matmul(a, b, out, bias)
    np.testing.assert_array_equal(out, expected + bias.astype(np.int64))
    backend.kernels().matmul(a, b, out)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("place", ["x", "w"])
def test_matmul_keeps_nan_in_its_row_or_column(place, backend_name, rng):
    x, w = rng.standard_normal((30, 40)), rng.standard_normal((40, 50))
    expected = np.zeros((30, 50), bool)
    if place == "x":
        x[7, 3], expected[7] = np.nan, True
    else:
        w[3, 41], expected[:, 41] = np.inf, True
    out, _ = affine_forward_fast(x, w, np.zeros(50))
    np.testing.assert_array_equal(~np.isfinite(out), expected)


def test_other_names_are_the_same_functions():
    for implementation in ("im2col", "strides"):
        assert getattr(fast_layers, f"conv_forward_{implementation}") is conv_forward_fast
        assert getattr(fast_layers, f"conv_backward_{implementation}") is conv_backward_fast
    for implementation in ("im2col", "reshape"):
        assert getattr(fast_layers, f"max_pool_forward_{implementation}") is max_pool_forward_fast
        assert getattr(fast_layers, f"max_pool_backward_{implementation}") is max_pool_backward_fast


def test_backend_names_the_kernels_in_use(backend_name):
    assert fast_layers.backend() == backend_name


def test_select_returns_the_previous_kernels(backend_name):
    assert backend.select("numpy") == backend_name
    assert backend.select(backend_name) == "numpy"


def test_auto_takes_the_compiled_kernels_if_they_are_there(backend_name):
    backend.select("auto")
    assert backend.backend() == KERNELS[0]


@pytest.mark.skipif(KERNELS == ["numpy"], reason="the extension is not built")
def test_unknown_kernels_are_refused(backend_name):
    with pytest.raises(ValueError, match=r"name is 'blas'; expected 'auto', .*'numpy'"):
        backend.select("blas")
    assert backend.backend() == backend_name


POOL_A_TIE = """
import numpy as np
from cs231n import fast_layers, layers
param = {"pool_height": 2, "pool_width": 2, "stride": 2}
out, _ = fast_layers.max_pool_forward_fast(np.ones((1, 1, 2, 2)), param)
print(fast_layers.backend(), out.item())
"""
# It depends on how the package was installed; tests/kernels/test_advice.py has each case.
ADVICE = r"setup\.py build_ext --inplace|run Python from another folder|python -m pip install"
HIDE_THE_EXTENSION = "import sys; sys.modules['cs231n.kernels.native'] = None\n"


def run(code, **environment):
    """Run code in a new interpreter with these settings alone."""
    settings = {k: v for k, v in os.environ.items() if not k.startswith("CS231N_")}
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**settings, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_the_extension_numpy_works_and_one_line_says_how_to_build():
    result = run(HIDE_THE_EXTENSION + POOL_A_TIE)
    assert result.stdout.split() == ["numpy", "1.0"]
    assert len(re.findall(ADVICE, result.stderr)) == 1


def test_who_asks_for_numpy_gets_it_without_a_warning():
    for code in (POOL_A_TIE, HIDE_THE_EXTENSION + POOL_A_TIE):
        result = run(code, CS231N_BACKEND="numpy")
        assert result.stdout.split() == ["numpy", "1.0"]
        assert result.stderr == ""


def test_a_missing_extension_can_be_made_an_error():
    result = run(HIDE_THE_EXTENSION + POOL_A_TIE, CS231N_REQUIRE_EXTENSION="1")
    assert result.returncode != 0
    assert "ImportError: cs231n: the compiled extension is missing" in result.stderr
    assert re.search(ADVICE, result.stderr)


def test_asking_for_compiled_kernels_that_are_missing_is_an_error():
    result = run(HIDE_THE_EXTENSION + POOL_A_TIE, CS231N_BACKEND="avx2")
    assert result.returncode != 0
    assert "ImportError: cs231n: the compiled extension is missing" in result.stderr


@pytest.mark.skipif(KERNELS == ["numpy"], reason="the extension is not built")
def test_the_extension_is_taken_by_default_if_it_is_there():
    result = run(POOL_A_TIE)
    assert result.stdout.split() == [KERNELS[0], "1.0"]
    assert result.stderr == ""
