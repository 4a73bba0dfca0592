"""The contract that every layer keeps: reference layers, fast layers and sandwiches."""

import copy
import pickle

import numpy as np
import pytest
from cases import DTYPES, FAST_LAYERS, LAYERS, LAYOUTS, REFERENCE_LAYERS, SANDWICHES
from conftest import KERNELS, assert_close

from cs231n import layers
from cs231n.gradient_check import eval_numerical_gradient_array
from cs231n.kernels import backend

RUNS = {name: (case, "auto") for name, case in REFERENCE_LAYERS.items()} | {
    f"{name}, {kernels}": (case, kernels)
    for name, case in (FAST_LAYERS | SANDWICHES).items()
    for kernels in KERNELS
}
# The shortcut of a residual block is a batch itself, and no weight.
ONE_BATCH = [name for name in RUNS if not name.startswith("shortcut")]
NEED_DX = [
    "affine",
    "affine fast",
    "conv naive",
    "conv fast",
    "conv_relu fast",
    "affine_relu",
    "conv_relu",
    "conv_bn_relu_pool",
]


@pytest.fixture(params=RUNS)
def layer(request):
    """Run the test once for each layer, and with each set of kernels if the layer uses them."""
    case, kernels = RUNS[request.param]
    previous = backend.select(kernels)
    yield case
    backend.select(previous)


def training_options(case):
    """Return the names in the dicts of options that say 'train'."""
    dicts = [option for option in case.options if isinstance(option, dict)]
    return [set(option) for option in dicts if option.get("mode") == "train"]


def averages_the_batch(case):
    """Tell whether the layer is batch normalisation in train mode, or has it inside."""
    return any("p" not in names for names in training_options(case))


def draws_a_mask(case):
    """Tell whether the layer is dropout in train mode, or has it inside."""
    return any("p" in names for names in training_options(case))


def upstream(rng, out):
    """Return a random gradient for an output."""
    return rng.standard_normal(out.shape).astype(out.dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_and_shapes_stay(layer, dtype, rng):
    arrays = layer.draw(rng, dtype)
    out, cache = layer.run(*arrays)
    assert out.dtype == dtype
    gradients = layer.gradients(upstream(rng, out), cache)
    assert [gradient.shape for gradient in gradients] == list(layer.shapes)
    assert [gradient.dtype for gradient in gradients] == [dtype] * len(arrays)


def test_numpy_scalars_as_options_keep_float32(layer, rng):
    scalars = {"eps": np.float64(1e-3), "momentum": np.float64(0.8), "unknown to all": None}
    keep = {"p": np.float64(0.6)}
    options = [
        {**option, **scalars, **(keep if "p" in option else {})}
        if isinstance(option, dict)
        else option
        for option in layer.options
    ]
    out, cache = layer.forward(*layer.draw(rng, "float32"), *options)
    gradients = layer.gradients(upstream(rng, out), cache)
    assert {array.dtype.name for array in (out, *gradients)} == {"float32"}


def test_each_gradient_has_the_dtype_of_its_own_array(layer, rng):
    single = layer.draw(rng, "float32")
    for odd in range(len(single)):
        dtypes = ["float64" if k == odd else "float32" for k in range(len(single))]
        arrays = [array.astype(dtype) for array, dtype in zip(single, dtypes)]
        out, cache = layer.run(*arrays)
        gradients = layer.gradients(upstream(rng, out), cache)
        assert [gradient.dtype.name for gradient in gradients] == dtypes


def test_a_float64_upstream_gradient_leaves_float32(layer, rng):
    out, cache = layer.run(*layer.draw(rng, "float32"))
    gradients = layer.gradients(rng.standard_normal(out.shape), cache)
    assert {gradient.dtype.name for gradient in gradients} == {"float32"}


def test_integers_are_computed_in_float64(layer, rng):
    integers = [rng.integers(-3, 4, shape) for shape in layer.shapes]
    out, cache = layer.run(*integers)
    expected, expected_cache = layer.run(*(array.astype(np.float64) for array in integers))
    assert out.dtype == np.float64
    np.testing.assert_array_equal(out, expected)
    dout = rng.integers(-3, 4, out.shape)
    found = layer.gradients(dout, cache)
    for gradient, wanted in zip(found, layer.gradients(dout.astype(np.float64), expected_cache)):
        assert gradient.dtype == np.float64
        np.testing.assert_array_equal(gradient, wanted)


def test_integer_weights_leave_float32(layer, rng):
    x, *weights = layer.draw(rng, "float32")
    weights = [rng.integers(-3, 4, weight.shape) for weight in weights]
    out, cache = layer.run(x, *weights)
    expected, _ = layer.run(x, *(weight.astype(np.float32) for weight in weights))
    assert out.dtype == np.float32
    np.testing.assert_array_equal(out, expected)
    assert layer.gradients(upstream(rng, out), cache)[0].dtype == np.float32


def test_nothing_is_written_to(layer, rng):
    arrays = layer.draw(rng)
    options = copy.deepcopy(layer.options)
    copies = [array.copy() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    out, cache = layer.forward(*arrays, *options)
    dout = upstream(rng, out)
    dout_copy, cache_before = dout.copy(), pickle.dumps(cache)
    dout.flags.writeable = False
    layer.gradients(dout, cache)
    for array, before in zip([*arrays, dout], [*copies, dout_copy]):
        np.testing.assert_array_equal(array, before)
    assert pickle.dumps(cache) == cache_before
    for found, before in zip(options, layer.options):
        if isinstance(before, dict):
            found = {k: v for k, v in found.items() if not k.startswith("running_")}
            assert found == {k: v for k, v in before.items() if not k.startswith("running_")}


def test_results_are_new_memory(layer, rng):
    arrays = layer.draw(rng)
    out, cache = layer.run(*arrays)
    dout = upstream(rng, out)
    results = [out, *layer.gradients(dout, cache)]
    for position, result in enumerate(results):
        assert result.flags.writeable
        for other in (*arrays, dout, *results[:position]):
            assert not np.shares_memory(result, other)


def test_later_calls_leave_earlier_results(layer, rng):
    first = layer.run(*layer.draw(rng))
    dout = upstream(rng, first[0])
    results = [first[0], *layer.gradients(dout, first[1])]
    copies = [result.copy() for result in results]
    out, cache = layer.run(*layer.draw(rng))
    layer.gradients(upstream(rng, out), cache)
    for result, before in zip(results, copies):
        np.testing.assert_array_equal(result, before)


def test_backward_may_be_called_twice(layer, rng):
    out, cache = layer.run(*layer.draw(rng))
    dout = upstream(rng, out)
    first = [gradient.copy() for gradient in layer.gradients(dout, cache)]
    for gradient, again in zip(first, layer.gradients(dout, cache)):
        np.testing.assert_array_equal(gradient, again)


def test_caches_pickle_and_copy(layer, rng):
    out, cache = layer.run(*layer.draw(rng))
    assert isinstance(cache, (tuple, np.ndarray))
    dout = upstream(rng, out)
    expected = layer.gradients(dout, cache)
    copies = pickle.loads(pickle.dumps(cache)), copy.copy(cache), copy.deepcopy(cache)
    for twin in copies:
        assert type(twin) is type(cache)
        for gradient, wanted in zip(layer.gradients(dout, twin), expected):
            np.testing.assert_array_equal(gradient, wanted)


# What hand-outs and posts unpack, from api.md: arguments by their places, "out" for the output.
DOCUMENTED = {
    "affine": (0, 1, 2),
    "relu": 0,
    "conv": (0, 1, 2, 3),
    "max pool": (0, 1),
    "dropout": (1, "mask"),
}


@pytest.mark.parametrize(
    ("name", "form"),
    [(n, form) for n in LAYERS for kind, form in DOCUMENTED.items()
     if n.startswith(kind) and n not in SANDWICHES and "conv_relu" not in n],
)  # fmt: skip
def test_caches_unpack_to_what_the_course_documents(name, form, backend_name, rng):
    case = LAYERS[name]
    arguments = [*case.draw(rng), *copy.deepcopy(case.options)]
    out, cache = case.forward(*arguments)
    dout = upstream(rng, out)
    expected = case.gradients(dout, cache)
    if form == 0:
        assert cache is arguments[0]
        return
    parts = tuple(cache)
    for part, place in zip(parts, form, strict=True):
        if place == "mask":
            np.testing.assert_array_equal(part * arguments[0], out)
        elif isinstance(part, dict):
            assert part == arguments[place]
        else:
            assert part is arguments[place]
    for plain in (parts, type(cache)(*parts)):
        for gradient, wanted in zip(case.gradients(dout, plain), expected, strict=True):
            np.testing.assert_array_equal(gradient, wanted)


def test_a_cache_keeps_the_options_of_its_forward_pass(rng):
    for case in (LAYERS["conv naive"], LAYERS["conv fast"], LAYERS["max pool fast"]):
        *arrays, param = [*case.draw(rng), dict(case.options[0])]
        out, cache = case.forward(*arrays, param)
        expected = case.gradients(out, cache)
        param["stride"] = 17
        for gradient, wanted in zip(case.gradients(out, cache), expected):
            np.testing.assert_array_equal(gradient, wanted)


def test_dropout_takes_the_cache_of_a_learner_in_test_mode(rng):
    dout = rng.standard_normal((3, 4)).astype(np.float32)
    dx = layers.dropout_backward(dout, ({"mode": "test", "p": 0.5}, None))
    np.testing.assert_array_equal(dx, dout)
    assert dx.dtype == np.float32


@pytest.mark.sampled(7)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layout_in_memory_does_not_matter(layer, layout, dtype, rng):
    arrays = layer.draw(rng, dtype)
    expected, expected_cache = layer.run(*arrays)
    out, cache = layer.run(*map(layout, arrays))
    assert out.dtype == dtype
    assert_close(out, expected)
    dout = upstream(rng, out)
    wanted = layer.gradients(dout, expected_cache)
    for gradient, one in zip(layer.gradients(layout(dout), cache), wanted):
        assert gradient.dtype == dtype
        assert_close(gradient, one, scale=1.0)


@pytest.mark.parametrize("layer", ONE_BATCH, indirect=True)
def test_empty_batch(layer, rng):
    x, *weights = layer.draw(rng)
    whole, _ = layer.run(x, *weights)
    if averages_the_batch(layer):
        with pytest.raises(ValueError, match="at least one sample"):
            layer.run(x[:0], *weights)
        return
    out, cache = layer.run(x[:0], *weights)
    assert out.shape == (0, *whole.shape[1:])
    dx, *dweights = layer.gradients(out, cache)
    assert dx.shape == (0, *x.shape[1:])
    for gradient, weight in zip(dweights, weights):
        np.testing.assert_array_equal(gradient, np.zeros(weight.shape))


@pytest.mark.parametrize(
    "layer", [name for name in ONE_BATCH if not draws_a_mask(RUNS[name][0])], indirect=True
)
def test_permuting_the_batch_permutes_the_output(layer, rng):
    x, *weights = layer.draw(rng)
    out, cache = layer.run(x, *weights)
    order = rng.permutation(len(x))[::-1]
    permuted, permuted_cache = layer.run(x[order], *weights)
    assert_close(permuted, out[order])
    dout = upstream(rng, out)
    dx, *dweights = layer.gradients(dout, cache)
    permuted_dx, *permuted_dweights = layer.gradients(dout[order], permuted_cache)
    for found, expected in zip([permuted_dx, *permuted_dweights], [dx[order], *dweights]):
        assert_close(found, expected, scale=1.0)


def test_gradients_agree_with_numeric_ones(layer, rng):
    arrays = layer.draw(rng)
    out, cache = layer.run(*arrays)
    dout = upstream(rng, out)
    for array, gradient in zip(arrays, layer.gradients(dout, cache)):
        numeric = eval_numerical_gradient_array(lambda _: layer.run(*arrays)[0], array, dout)
        # A central difference with h = 1e-5 is right to about ten digits, not to fifteen.
        assert_close(gradient, numeric, looser=100, scale=max(1.0, np.abs(numeric).max()))


@pytest.mark.parametrize("name", NEED_DX)
def test_the_gradient_of_the_input_can_be_left_out(name, backend_name, rng):
    case = LAYERS[name]
    out, cache = case.run(*case.draw(rng))
    dout = upstream(rng, out)
    dx, *dweights = case.backward(dout, cache, need_dx=False)
    assert dx is None
    for gradient, expected in zip(dweights, case.gradients(dout, cache)[1:], strict=True):
        np.testing.assert_array_equal(gradient, expected)
