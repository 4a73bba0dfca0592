"""Sandwiches are the chain of their layers, whatever they are made of."""

import copy
import inspect
import pickle

import numpy as np
import pytest
from cases import CONV, FILTERS, LAYERS, POOL, SANDWICHES, LayerCase
from conftest import assert_close

from cs231n import layer_utils, layers
from cs231n.checking.layer_table import LAYERS as LAYER_TABLE
from cs231n.checking.layer_table import SANDWICHES as SANDWICH_TABLE
from cs231n.layer_utils import (
    AFFINE,
    BATCHNORM,
    LAYERNORM,
    RELU,
    SPATIAL_BATCHNORM,
    SPATIAL_GROUPNORM,
    Stage,
    sandwich,
)
from cs231n.layer_utils import (
    CONV as CONV_STAGE,
)


def layer(row):
    """Return a layer's slow functions, and how many weights and options they take."""
    return *row.reference, len(row.stage.weights), len(row.stage.options)


def chain(name):
    """Return the layers of a sandwich."""
    return [layer(LAYER_TABLE[part]) for part in SANDWICH_TABLE[name].parts]


def run_chain(parts, x, weights, options, dout):
    """Run layers one after another, forward and back; return out, dx and the dweights in order."""
    weights, options, caches = list(weights), list(options), []
    for forward, _, weight_count, option_count in parts:
        arguments = weights[:weight_count] + options[:option_count]
        del weights[:weight_count], options[:option_count]
        x, cache = forward(x, *arguments)
        caches.append(cache)
    dweights = []
    for (_, backward, weight_count, _), cache in zip(reversed(parts), reversed(caches)):
        result = backward(dout, cache)
        dout, *own = result if weight_count else (result,)
        dweights = own + dweights
    return x, dout, *dweights


def assert_same(case, parts, rng):
    """Compare a sandwich with the chain of its layers, forward and back."""
    x, *weights = case.draw(rng)
    out, cache = case.run(x, *weights)
    dout = rng.standard_normal(out.shape)
    options = [dict(option) if isinstance(option, dict) else option for option in case.options]
    expected = run_chain(parts, x, weights, options, dout)
    for found, wanted in zip((out, *case.gradients(dout, cache)), expected, strict=True):
        assert_close(found, wanted, scale=1.0)


@pytest.mark.parametrize("name", SANDWICHES)
def test_a_sandwich_is_the_chain_of_its_layers(name, backend_name, rng):
    assert_same(SANDWICHES[name], chain(name), rng)


def test_the_sandwich_written_by_hand_equals_the_composed_one(rng):
    forward, backward = sandwich(AFFINE, RELU)
    arrays = LAYERS["affine_relu"].draw(rng)
    out, cache = forward(*arrays)
    expected, expected_cache = layer_utils.affine_relu_forward(*arrays)
    np.testing.assert_array_equal(out, expected)
    dout = rng.standard_normal(out.shape)
    by_hand = layer_utils.affine_relu_backward(dout, expected_cache)
    for found, wanted in zip(backward(dout, cache), by_hand, strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert list(inspect.signature(forward).parameters) == ["x", "w", "b"]
    assert forward.__name__ == "affine_relu_forward"


def test_options_of_one_stage_may_be_several(backend_name, rng):
    forward, backward = sandwich(layer_utils.CONV, SPATIAL_GROUPNORM, RELU)
    assert list(inspect.signature(forward).parameters) == [
        "x", "w", "b", "gamma", "beta", "conv_param", "G", "gn_param",
    ]  # fmt: skip
    weights = ((4, 2, 3, 2), (4,), (1, 4, 1, 1), (1, 4, 1, 1))
    case = LayerCase(forward, backward, (FILTERS[0], *weights), (CONV, 2, {}))
    parts = [layer(LAYER_TABLE[name]) for name in ("conv", "spatial_groupnorm", "relu")]
    assert_same(case, parts, rng)


def test_one_stage_alone_is_that_layer(rng):
    forward, backward = sandwich(RELU)
    x, dout = rng.standard_normal((2, 3, 4))
    out, cache = forward(x)
    np.testing.assert_array_equal(out, np.maximum(x, 0))
    np.testing.assert_array_equal(backward(dout, cache), np.where(x > 0, dout, 0))


def test_a_stage_of_ones_own_fits_in(rng):
    def scale_forward(x, s, factor):
        return factor * s * x, (x, s, factor)

    def scale_backward(dout, cache):
        x, s, factor = cache
        return factor * s * dout, np.array(np.sum(factor * x * dout))

    own = Stage("scale", scale_forward, scale_backward, weights=("s",), options=("factor",))
    forward, backward = sandwich(own, AFFINE)
    x, w, b = rng.standard_normal((4, 5)), rng.standard_normal((5, 3)), rng.standard_normal(3)
    out, cache = forward(x, np.array(2.0), w, b, 3.0)
    assert_close(out, 6 * x @ w + b)
    dout = rng.standard_normal(out.shape)
    dx, ds, _, db = backward(dout, cache)
    assert_close(dx, 6 * dout @ w.T)
    assert_close(ds, np.sum(dout * (3 * x @ w)))
    assert_close(db, dout.sum(axis=0))
    assert forward.__name__ == "scale_affine_forward"


def test_arguments_may_be_given_by_name(backend_name, rng):
    x, w, b = LAYERS["conv_relu_pool"].draw(rng)
    forward = layer_utils.conv_relu_pool_forward
    out, _ = forward(x, b=b, w=w, pool_param=POOL, conv_param=CONV)
    np.testing.assert_array_equal(out, forward(x, w, b, CONV, POOL)[0])


@pytest.mark.parametrize("name", SANDWICHES)
def test_sandwiches_carry_name_docstring_and_signature(name):
    for direction in ("forward", "backward"):
        function = getattr(layer_utils, f"{name}_{direction}")
        assert function.__name__ == f"{name}_{direction}"
        assert "Parameters\n" in inspect.getdoc(function)
        assert "Returns\n" in inspect.getdoc(function)
    backward = getattr(layer_utils, f"{name}_backward")
    assert list(inspect.signature(backward).parameters)[:2] == ["dout", "cache"]


def test_running_statistics_of_a_sandwich_stay_in_the_users_dict(backend_name, rng):
    bn_param = {"mode": "train"}
    arrays = LAYERS["conv_bn_relu"].draw(rng)
    layer_utils.conv_bn_relu_forward(*arrays, CONV, bn_param)
    convolved, _ = layers.conv_forward_naive(*arrays[:3], CONV)
    assert_close(bn_param["running_mean"], 0.1 * convolved.mean(axis=(0, 2, 3)))
    assert_close(bn_param["running_var"], 0.1 * convolved.var(axis=(0, 2, 3)))


def test_gradients_of_a_stage_are_always_a_pair(rng):
    x, dout = rng.standard_normal((2, 4, 3))
    _, cache = RELU.forward(x)
    dx, dweights = RELU.gradients(dout, cache)
    assert dx.shape == x.shape
    assert dweights == ()
    _, cache = LAYERNORM.forward(x, np.ones(3), np.zeros(3), {})
    dx, dweights = LAYERNORM.gradients(dout, cache)
    assert dx.shape == x.shape
    assert [gradient.shape for gradient in dweights] == [(3,), (3,)]
    _, cache = AFFINE.forward(x, np.ones((3, 3)), np.zeros(3))
    assert AFFINE.gradients(dout, cache, need_dx=False)[0] is None


def test_a_cache_of_another_sandwich_is_refused(backend_name, rng):
    case = LAYERS["conv_relu"]
    out, cache = case.run(*case.draw(rng))
    both = r"conv_bn_relu_backward: .*\(conv_relu_forward_fast\).*\(conv_forward_fast, spatial_"
    with pytest.raises(TypeError, match=both):
        layer_utils.conv_bn_relu_backward(out, cache)
    with pytest.raises(TypeError, match=r"affine_relu_backward: .*SandwichCache.*AffineReluCache"):
        layer_utils.affine_relu_backward(out, cache)
    _, affine_cache = layers.affine_forward(np.ones((2, 3)), np.ones((3, 2)), np.ones(2))
    with pytest.raises(TypeError, match=r"conv_relu_backward: .*AffineCache.*SandwichCache"):
        layer_utils.conv_relu_backward(out, affine_cache)


def test_sandwiches_of_one_title_tell_their_caches_apart(backend_name, rng):
    _, backward = sandwich(CONV_STAGE, SPATIAL_BATCHNORM, RELU)
    case = LAYERS["conv_bn_relu"]
    out, cache = case.run(*case.draw(rng))
    both = r"conv_bn_relu_backward: .*batchnorm_relu_forward_fast\).*relu_forward_fast\)"
    with pytest.raises(TypeError, match=both):
        backward(out, cache)
    forward, _ = sandwich(RELU, BATCHNORM)
    _, backward = sandwich(RELU, SPATIAL_BATCHNORM)
    out, cache = forward(rng.standard_normal((4, 3)), np.ones(3), np.zeros(3), {"mode": "train"})
    with pytest.raises(TypeError, match=r"relu_bn_backward: .* batchnorm_.* spatial_batchnorm_"):
        backward(out, cache)


def test_a_sandwich_made_again_takes_the_cache(rng):
    forward, _ = sandwich(AFFINE, RELU)
    _, backward = sandwich(AFFINE, RELU)
    out, cache = forward(*LAYERS["affine_relu"].draw(rng))
    assert len(backward(out, cache)) == 3


# What hand-outs unpack the cache to.
DOCUMENTED = {
    "affine_relu": ["affine", "relu"],
    "conv_relu": ["conv", "relu"],
    "conv_relu_pool": ["conv", "relu", "pool"],
}


@pytest.mark.parametrize("name", SANDWICHES)
def test_a_plain_tuple_of_the_caches_is_a_cache(name, backend_name, rng):
    case = SANDWICHES[name]
    out, cache = case.run(*case.draw(rng))
    dout = rng.standard_normal(out.shape)
    expected = case.gradients(dout, cache)
    for found, wanted in zip(case.gradients(dout, tuple(cache)), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_caches_unpack_to_those_of_the_layers(name, backend_name, rng):
    case, parts = SANDWICHES[name], DOCUMENTED[name]
    out, cache = case.run(*case.draw(rng))
    assert len(cache) == len(parts)
    form = ", ".join(f"{part}_cache" for part in parts)
    wrong = rf"{name}_backward: cache is a tuple of {len(parts) + 1}; expected \({form}\)"
    with pytest.raises(TypeError, match=wrong):
        case.backward(out, (*cache, None))


def first_layer(name, arrays):
    """Return the documented cache of a sandwich's first layer, and what it hands to the relu."""
    if name == "affine_relu":
        return tuple(arrays), layers.affine_forward(*arrays)[0]
    return (*arrays, CONV), layers.conv_forward_naive(*arrays, CONV)[0]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_caches_may_be_made_by_hand_from_the_arrays(name, backend_name, rng):
    """A learner who wrote the forward pass has plain tuples all the way down."""
    case = SANDWICHES[name]
    arrays = case.draw(rng)
    out, cache = case.run(*arrays)
    layer_cache, a = first_layer(name, arrays)
    by_hand = (layer_cache, a, (np.maximum(a, 0), POOL))[: len(DOCUMENTED[name])]
    dout = rng.standard_normal(out.shape)
    expected = case.gradients(dout, cache)
    for found, wanted in zip(case.gradients(dout, by_hand), expected, strict=True):
        assert_close(found, wanted, scale=1.0)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_caches_unpack_to_what_hand_outs_read(name, backend_name, rng):
    case = SANDWICHES[name]
    arrays = case.draw(rng)
    _, (layer_cache, relu_cache, *rest) = case.run(*arrays)
    wanted, a = first_layer(name, arrays)
    for found, expected in zip(layer_cache, wanted, strict=True):
        np.testing.assert_equal(found, expected)
    # Where relu is fused its output stands for its input: positive at the same places.
    np.testing.assert_array_equal(relu_cache > 0, a > 0)
    for x, pool_param in rest:
        np.testing.assert_array_equal(x > 0, a > 0)
        assert pool_param == POOL


@pytest.mark.parametrize("name", SANDWICHES)
def test_a_cache_can_be_copied_and_pickled(name, backend_name, rng):
    case = SANDWICHES[name]
    out, cache = case.run(*case.draw(rng))
    expected = case.gradients(out, cache)
    for twin in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
        assert type(twin) is type(cache)
        for found, wanted in zip(case.gradients(out, twin), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_a_wrong_number_of_arguments_lists_the_right_ones(rng):
    x, w, b = LAYERS["conv_relu"].draw(rng)
    with pytest.raises(TypeError, match=r"conv_relu_forward: .*expected x, w, b, conv_param"):
        layer_utils.conv_relu_forward(x, w, b)
    with pytest.raises(TypeError, match=r"conv_relu_forward: .*expected x, w, b, conv_param"):
        layer_utils.conv_relu_forward(x, w, b, CONV, stride=2)


@pytest.mark.parametrize("stages", [(), (AFFINE, RELU, AFFINE), (BATCHNORM, SPATIAL_BATCHNORM)])
def test_sandwiches_that_would_be_ambiguous_are_refused(stages):
    with pytest.raises(ValueError, match=r"sandwich: .*no name twice"):
        sandwich(*stages)


def test_a_sandwich_is_made_of_stages():
    with pytest.raises(TypeError, match="sandwich: found 'relu'; expected stages, such as AFFINE"):
        sandwich(AFFINE, "relu")
