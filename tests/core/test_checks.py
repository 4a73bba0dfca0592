"""Bad input gets a message that names the function, what was found, and what is expected."""

import re

import numpy as np
import pytest
from cases import FAST_LAYERS, LAYERS, REFERENCE_LAYERS, SANDWICHES

from cs231n import fast_layers, layers
from cs231n.core import checks

CONV = {"stride": 1, "pad": 1}
POOL = {"pool_height": 2, "pool_width": 2, "stride": 2}
CONVS = [layers.conv_forward_naive, fast_layers.conv_forward_fast]
POOLS = [layers.max_pool_forward_naive, fast_layers.max_pool_forward_fast]
NORMS = {
    layers.batchnorm_forward: ((4, 3), (3,)),
    layers.spatial_batchnorm_forward: ((2, 3, 4, 5), (3,)),
}
LOSSES = [layers.softmax_loss, layers.svm_loss]
SINGLE_LAYERS = {**REFERENCE_LAYERS, **FAST_LAYERS}


def assert_refused(error, function, *args, found, expected):
    """Call the function, and look for its name and both parts in the message, in this order."""
    with pytest.raises(error) as caught:
        function(*args)
    message = str(caught.value)
    assert message.startswith(f"{function.__name__}: ")
    assert found in message
    assert expected in message[message.index(found) + len(found) :]


# Shapes


@pytest.mark.parametrize("conv", CONVS)
@pytest.mark.parametrize(
    ("w", "b", "found", "expected"),
    [
        (
            (4, 3, 3, 3),
            (4,),
            "x has 2 channels but w has 3 (x (2, 2, 7, 7), w (4, 3, 3, 3);",
            "x (N, C, H, W), w (F, C, HH, WW)",
        ),
        ((4, 2, 3, 3), (3,), "w has 4 filters but b has 3 (w (4, 2, 3, 3), b (3,);", "b (F,)"),
        ((4, 2, 3), (4,), "w has shape (4, 2, 3)", "(F, C, HH, WW)"),
        ((4, 2, 3, 3), (4, 1), "b has shape (4, 1)", "(F,)"),
        ((4, 2, 10, 3), (4,), "window of 10x3 does not fit into an image of 7x7 with padding 1",
         "HH <= H + 2 * pad"),
        ((4, 2, 3, 10), (4,), "window of 3x10 does not fit into an image of 7x7 with padding 1",
         "WW <= W + 2 * pad"),
    ],
)  # fmt: skip
def test_conv_shapes(conv, w, b, found, expected):
    arrays = np.ones((2, 2, 7, 7)), np.ones(w), np.ones(b)
    assert_refused(ValueError, conv, *arrays, CONV, found=found, expected=expected)


@pytest.mark.parametrize("conv", CONVS)
@pytest.mark.parametrize("shape", [(2, 7, 7), (7,), (2, 2, 7, 7, 1)])
def test_images_have_four_axes(conv, shape):
    arrays = np.ones(shape), np.ones((4, 2, 3, 3)), np.ones(4)
    found, expected = f"x has shape {shape}", "expected (N, C, H, W)"
    assert_refused(ValueError, conv, *arrays, CONV, found=found, expected=expected)
    for pool in POOLS:
        assert_refused(ValueError, pool, arrays[0], POOL, found=found, expected=expected)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("size", [(1, 5), (5, 1)])
def test_a_pool_larger_than_the_image(pool, size):
    found = f"a window of 2x2 does not fit into an image of {size[0]}x{size[1]}"
    assert_refused(ValueError, pool, np.ones((1, 1, *size)), POOL, found=found, expected="HH <= H")


@pytest.mark.parametrize(
    ("x", "w", "b", "found", "expected"),
    [
        (
            (2, 3),
            (4, 5),
            (5,),
            "x has 3 inputs for each sample but w has 4 rows (x (2, 3), w (4, 5);",
            "w (d1 * ... * dk, M)",
        ),
        ((2, 3, 2), (5, 5), (5,), "x has 6 inputs for each sample but w has 5", "w (d1 * ..."),
        ((2, 3), (3, 5), (6,), "w has 5 outputs but b has 6 (w (3, 5), b (6,);", "b (M,)"),
        ((2, 3), (3, 5, 1), (5,), "w has shape (3, 5, 1)", "(D, M)"),
        ((), (1, 5), (5,), "x has shape ()", "(N, ...)"),
    ],
)
def test_affine_shapes(x, w, b, found, expected):
    arrays = np.ones(x), np.ones(w), np.ones(b)
    assert_refused(ValueError, layers.affine_forward, *arrays, found=found, expected=expected)


@pytest.mark.parametrize("norm", [*NORMS, layers.layernorm_forward])
@pytest.mark.parametrize("which", [0, 1])
def test_scale_and_shift_shapes(norm, which):
    x, (size,) = NORMS.get(norm, ((4, 3), (3,)))
    scales = [np.ones(size), np.ones(size)]
    scales[which] = np.ones(size + 1)
    found = (
        f"x has 3 {'channels' if len(x) == 4 else 'inputs'} but {['gamma', 'beta'][which]} has 4"
    )
    arrays = np.ones(x), *scales
    expected = "(C,)" if len(x) == 4 else "(D,)"
    option = {"mode": "train"}
    assert_refused(ValueError, norm, *arrays, option, found=found, expected=expected)
    arrays = np.ones(x[:1]), np.ones(size), np.ones(size)
    expected = "(N, C, H, W)" if len(x) == 4 else "(N, D)"
    assert_refused(
        ValueError, norm, *arrays, option, found=f"x has shape {x[:1]}", expected=expected
    )


@pytest.mark.parametrize(
    ("G", "scale", "found", "expected"),
    [
        (4, (1, 6, 1, 1), "x has shape (2, 6, 4, 5) and G is 4", "divisible by G"),
        (2, (6,), "gamma has shape (6,)", "(1, C, 1, 1)"),
        (2, (1, 6, 1, 2), "gamma has shape (1, 6, 1, 2)", "(1, C, 1, 1)"),
        (2, (1, 5, 1, 1), "x has 6 channels but gamma has 5", "gamma (1, C, 1, 1)"),
        (0, (1, 6, 1, 1), "G is 0", "an integer >= 1"),
    ],
)
def test_groups(G, scale, found, expected):
    arrays = np.ones((2, 6, 4, 5)), np.ones(scale), np.ones(scale)
    groupnorm = layers.spatial_groupnorm_forward
    assert_refused(ValueError, groupnorm, *arrays, G, {}, found=found, expected=expected)


@pytest.mark.parametrize("G", [2.0, "2", None])
def test_the_number_of_groups_is_an_integer(G):
    arrays = np.ones((2, 6, 4, 5)), np.ones((1, 6, 1, 1)), np.ones((1, 6, 1, 1))
    groupnorm, found = layers.spatial_groupnorm_forward, f"G is {G!r}"
    assert_refused(TypeError, groupnorm, *arrays, G, {}, found=found, expected="an integer >= 1")


@pytest.mark.parametrize("name", LAYERS)
def test_an_upstream_gradient_of_another_shape(name, backend_name, rng):
    case = LAYERS[name]
    out, cache = case.run(*case.draw(rng))
    for dout in (out[:-1], out[..., :-1], out[None], np.float64(1)):
        message = rf"_backward\w*: dout has shape {re.escape(str(dout.shape))}; expected "
        with pytest.raises(ValueError, match=message + re.escape(str(out.shape))):
            case.backward(dout, cache)


@pytest.mark.parametrize("name", SINGLE_LAYERS)
def test_the_message_about_an_upstream_gradient_names_the_layer(name, rng):
    case = SINGLE_LAYERS[name]
    out, cache = case.run(*case.draw(rng))
    found, expected = f"dout has shape {out[None].shape}", str(out.shape)
    assert_refused(ValueError, case.backward, out[None], cache, found=found, expected=expected)


def test_an_array_that_is_not_rectangular():
    with pytest.raises(ValueError, match=r"relu_forward: x is not a rectangular array"):
        layers.relu_forward([[1.0, 2.0], [3.0]])


# Options


@pytest.mark.parametrize("conv", CONVS)
@pytest.mark.parametrize("missing", ["stride", "pad"])
def test_a_missing_conv_option(conv, missing):
    param = {name: value for name, value in CONV.items() if name != missing}
    arrays = np.ones((1, 1, 3, 3)), np.ones((1, 1, 3, 3)), np.ones(1)
    found, expected = f"option '{missing}' is missing; found {list(param)}", "'stride', 'pad'"
    assert_refused(ValueError, conv, *arrays, param, found=found, expected=expected)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("missing", POOL)
def test_a_missing_pool_option(pool, missing):
    param = {name: value for name, value in POOL.items() if name != missing}
    found, expected = f"option '{missing}' is missing", "'pool_height', 'pool_width', 'stride'"
    x = np.ones((1, 1, 4, 4))
    assert_refused(ValueError, pool, x, param, found=found, expected=expected)


BAD_SIZES = [
    ("stride", 0, ValueError, "stride is 0", ">= 1"),
    ("stride", -2, ValueError, "stride is -2", ">= 1"),
    ("stride", 1.5, TypeError, "stride is 1.5 (float)", "an integer >= 1"),
    ("stride", "2", TypeError, "stride is '2' (str)", "an integer >= 1"),
    ("stride", None, TypeError, "stride is None", "an integer >= 1"),
]
BAD_CONV_SIZES = [
    *BAD_SIZES,
    ("pad", -1, ValueError, "pad is -1", ">= 0"),
    ("pad", 1.0, TypeError, "pad is 1.0 (float)", "an integer >= 0"),
    ("pad", "same", TypeError, "pad is 'same' (str)", "an integer >= 0"),
]
BAD_POOL_SIZES = [
    *BAD_SIZES,
    ("pool_height", 0, ValueError, "window height is 0", ">= 1"),
    ("pool_width", 0.5, TypeError, "window width is 0.5", "an integer >= 1"),
]


@pytest.mark.parametrize("conv", CONVS)
@pytest.mark.parametrize(("name", "value", "error", "found", "expected"), BAD_CONV_SIZES)
def test_a_wrong_conv_option(conv, name, value, error, found, expected):
    arrays = np.ones((1, 1, 3, 3)), np.ones((1, 1, 3, 3)), np.ones(1)
    param = {**CONV, name: value}
    assert_refused(error, conv, *arrays, param, found=found, expected=expected)


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize(("name", "value", "error", "found", "expected"), BAD_POOL_SIZES)
def test_a_wrong_pool_option(pool, name, value, error, found, expected):
    x, param = np.ones((1, 1, 4, 4)), {**POOL, name: value}
    assert_refused(error, pool, x, param, found=found, expected=expected)


@pytest.mark.parametrize("integer", [np.int64, np.uint8, np.asarray])
def test_integers_of_numpy_are_sizes_too(integer, backend_name):
    x, w, b = np.ones((1, 1, 5, 5)), np.ones((1, 1, 3, 3)), np.ones(1)
    for conv in CONVS:
        param = {name: integer(value) for name, value in CONV.items()}
        np.testing.assert_array_equal(conv(x, w, b, param)[0], conv(x, w, b, CONV)[0])
    for pool in POOLS:
        param = {name: integer(value) for name, value in POOL.items()}
        np.testing.assert_array_equal(pool(x, param)[0], pool(x, POOL)[0])


@pytest.mark.parametrize(
    "name",
    # the last option of an activation is a number or a word
    [n for n, case in SINGLE_LAYERS.items() if case.options and isinstance(case.options[-1], dict)],
)
@pytest.mark.parametrize("wrong", [None, 3, "train", [("mode", "train")]])
def test_options_are_dicts(name, wrong, rng):
    case = SINGLE_LAYERS[name]
    arguments = *case.draw(rng), *case.options[:-1], wrong
    found, expected = f"_param is a {type(wrong).__name__}", "a dict of options"
    assert_refused(TypeError, case.forward, *arguments, found=found, expected=expected)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    ("param", "error", "found", "expected"),
    [
        ({}, ValueError, "option 'mode' is missing", "'mode'"),
        ({"mode": "Train"}, ValueError, "mode is 'Train'", "expected 'train' or 'test'"),
        ({"mode": None}, ValueError, "mode is None", "expected 'train' or 'test'"),
        ({"mode": "train", "eps": 0}, ValueError, "eps is 0", "a number in (0, inf]"),
        ({"mode": "train", "eps": "small"}, TypeError, "eps is 'small' (str)", "a number"),
        ({"mode": "train", "eps": np.nan}, ValueError, "eps is nan", "a number in (0, inf]"),
        ({"mode": "test", "momentum": 1.5}, ValueError, "momentum is 1.5", "[0, 1]"),
        (
            {"mode": "test", "running_mean": np.ones(2)},
            ValueError,
            "running_mean has shape (2,)",
            "(3,)",
        ),
        (
            {"mode": "train", "running_var": np.ones((3, 1))},
            ValueError,
            "running_var has shape (3, 1)",
            "(3,)",
        ),
        (
            {"mode": "train", "running_var": np.ones(3, complex)},
            TypeError,
            "running_var has dtype complex128",
            "float32, float64",
        ),
    ],
)
def test_batchnorm_options(norm, param, error, found, expected):
    x, scale = NORMS[norm]
    arrays = np.ones(x), np.ones(scale), np.ones(scale)
    assert_refused(error, norm, *arrays, param, found=found, expected=expected)


@pytest.mark.parametrize("norm", NORMS)
def test_a_batch_to_train_on_has_samples(norm):
    x, scale = NORMS[norm]
    arrays = np.ones((0, *x[1:])), np.ones(scale), np.ones(scale)
    found, expected = f"x has shape {(0, *x[1:])}", "at least one sample"
    assert_refused(ValueError, norm, *arrays, {"mode": "train"}, found=found, expected=expected)


@pytest.mark.parametrize(
    ("param", "error", "found", "expected"),
    [
        ({"p": 0.5}, ValueError, "option 'mode' is missing", "'mode'"),
        ({"p": 0.5, "mode": "training"}, ValueError, "mode is 'training'", "'train' or 'test'"),
        ({"mode": "train"}, ValueError, "option 'p' is missing", "'p', 'mode', 'seed', 'rng'"),
        ({"mode": "test"}, ValueError, "option 'p' is missing", "'p', 'mode', 'seed', 'rng'"),
        ({"p": 0, "mode": "train"}, ValueError, "p is 0", "a number in (0, 1]"),
        ({"p": 1.5, "mode": "train"}, ValueError, "p is 1.5", "a number in (0, 1]"),
        ({"p": -0.5, "mode": "test"}, ValueError, "p is -0.5", "a number in (0, 1]"),
        ({"p": "0.5", "mode": "train"}, TypeError, "p is '0.5' (str)", "a number in (0, 1]"),
        ({"p": np.nan, "mode": "train"}, ValueError, "p is nan", "a number in (0, 1]"),
    ],
)
def test_dropout_options(param, error, found, expected):
    dropout = layers.dropout_forward
    assert_refused(error, dropout, np.ones((2, 3)), param, found=found, expected=expected)


# Labels


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    ("y", "error", "found", "expected"),
    [
        ([0, 4, 1], ValueError, "y has labels from 0 to 4", "0 to 3, for there are 4 classes"),
        ([0, -1, 1], ValueError, "y has labels from -1 to 1", "0 to 3"),
        ([0, 1], ValueError, "y has shape (2,)", "(3,)"),
        ([[0], [1], [2]], ValueError, "y has shape (3, 1)", "(3,)"),
        (np.eye(4, dtype=int)[:3], ValueError, "y has shape (3, 4)", "(3,)"),
        ([0.0, 1.0, 2.0], TypeError, "y has dtype float64", "integers"),
        ([True, False, True], TypeError, "y has dtype bool", "integers"),
        (["0", "1", "2"], TypeError, "y has dtype <U1", "integers"),
    ],
)
def test_labels(loss, y, error, found, expected):
    assert_refused(error, loss, np.ones((3, 4)), y, found=found, expected=expected)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", ["int64", "int8", "uint16"])
def test_labels_outside_are_found_among_many(loss, dtype):
    x, y = np.ones((300, 4)), np.arange(300).astype(dtype) % 4
    loss(x, y)
    for place, label in [(0, 4), (299, 100), *([] if dtype[0] == "u" else [(150, -1)])]:
        wrong = y.copy()
        wrong[place] = label
        found = f"y has labels from {min(label, 0)} to {max(label, 3)}"
        assert_refused(ValueError, loss, x, wrong, found=found, expected="0 to 3")


@pytest.mark.parametrize("loss", LOSSES)
def test_scores_have_two_axes(loss):
    found, expected = "x has shape (3, 4, 1)", "(N, C)"
    y = np.zeros(3, int)
    assert_refused(ValueError, loss, np.ones((3, 4, 1)), y, found=found, expected=expected)


# Caches


def caches(rng):
    """Return the caches of all layers, and things that are no caches, by the names of types."""
    found = [case.run(*case.draw(rng))[1] for case in LAYERS.values()]
    strays = [None, {}, np.ones(3), (np.ones((2, 3)), np.ones((3, 4))), ()]
    return {type(cache).__name__: cache for cache in found + strays}


@pytest.mark.parametrize("name", SINGLE_LAYERS)
def test_a_cache_of_another_layer_is_refused(name, rng):
    case = SINGLE_LAYERS[name]
    out, own = case.run(*case.draw(rng))
    for found, cache in caches(rng).items():
        if type(cache) is not type(own):
            assert_refused(
                TypeError,
                case.backward,
                out,
                cache,
                found=f"cache is a {found};",
                expected=f"the {type(own).__name__} ",
            )


@pytest.mark.parametrize("name", SANDWICHES)
def test_a_sandwich_refuses_the_cache_of_a_layer(name, rng):
    case = SANDWICHES[name]
    out, own = case.run(*case.draw(rng))
    for found, cache in caches(rng).items():
        if type(cache) is not type(own):
            form = rf"of 0; expected \(.*_cache\)|; expected the {type(own).__name__}"
            message = rf"{name}_backward: cache is a {found} ?({form})"
            with pytest.raises(TypeError, match=message):
                case.backward(out, cache)


# Dtypes


# The contract's tests try every place and dtype on one layer: one of them stands for each here.
BAD_DTYPES = ["float16", "complex64", "object", "datetime64[s]", "U3", np.longdouble]
SAMPLED_DTYPES = {name: BAD_DTYPES[k % len(BAD_DTYPES)] for k, name in enumerate(LAYERS)}


@pytest.mark.parametrize("name", LAYERS)
def test_other_dtypes_are_refused(name, rng):
    case = LAYERS[name]
    for k, argument in enumerate(["x", "w", "b"][: len(case.shapes)]):
        arrays = case.draw(rng)
        arrays[k] = np.ones(case.shapes[k]).astype(SAMPLED_DTYPES[name])
        with pytest.raises(TypeError) as caught:
            case.run(*arrays)
        message = str(caught.value)
        assert f" has dtype {np.dtype(arrays[k].dtype)}; expected float32, float64" in message
        if name in SINGLE_LAYERS:
            assert message.startswith(f"{case.forward.__name__}: ")
        if argument == "x":
            assert f": x has dtype {arrays[k].dtype}" in message


@pytest.mark.parametrize("name", SINGLE_LAYERS)
def test_other_dtypes_of_the_upstream_gradient_are_refused(name, rng):
    case = SINGLE_LAYERS[name]
    out, cache = case.run(*case.draw(rng))
    dout = np.ones(out.shape).astype(SAMPLED_DTYPES[name])
    found, expected = f"dout has dtype {dout.dtype}", "expected float32, float64"
    assert_refused(TypeError, case.backward, dout, cache, found=found, expected=expected)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", BAD_DTYPES)
def test_other_dtypes_of_scores_are_refused(loss, dtype):
    x, y = np.ones((3, 4)).astype(dtype), np.zeros(3, int)
    found, expected = f"x has dtype {x.dtype}", "expected float32, float64"
    assert_refused(TypeError, loss, x, y, found=found, expected=expected)


@pytest.mark.parametrize("name", SINGLE_LAYERS)
def test_booleans_are_integers(name, rng):
    case = SINGLE_LAYERS[name]
    x, *weights = case.draw(rng)
    out, _ = case.run(x > 0, *weights)
    np.testing.assert_array_equal(out, case.run((x > 0).astype(np.float64), *weights)[0])


# The checks themselves


def test_float_arrays_copies_nothing_that_is_right_already():
    x, y = np.ones(3, np.float32), np.arange(3)
    found_x, found_y = checks.float_arrays("f", x=x, y=y)
    assert found_x is x
    assert found_y.dtype == np.float32
    view = np.ones((3, 4))[::2]
    assert checks.float_arrays("f", view=view)[0] is view


def test_shapes_returns_the_size_of_each_letter():
    x, y = np.ones((2, 3, 4)), np.ones((3, 1))
    assert checks.shapes("f", x=(x, "N C ..."), y=(y, "C 1")) == {"N": 2, "C": 3}


@pytest.mark.parametrize("value", [b"1", bytearray(b"1"), "1", None, [1], 1j])
def test_what_only_reads_like_a_number_is_none(value):
    with pytest.raises(TypeError, match=r"^f: p is .*; expected a number in \[0, 1\]$"):
        checks.number("f", "p", value, 0, 1)


def test_flags():
    for value in (True, np.bool_(True), 1, "yes", np.ones(1)):
        assert checks.flag("f", "flag", value) is True
    assert checks.flag("f", "flag", None) is False
    with pytest.raises(TypeError, match=r"^f: flag is a ndarray; expected True or False$"):
        checks.flag("f", "flag", np.ones(2))


@pytest.mark.parametrize("layer", CONVS)
@pytest.mark.parametrize("param", [{"stride": 1, "pad": 10**9}, {"stride": 10**9, "pad": 10**9}])
def test_padding_beyond_all_memory(layer, param):
    arrays = np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3)), np.ones(1)
    found = "an image of 4x4 with padding 1000000000 has 2000000004x2000000004 pixels"
    assert_refused(ValueError, layer, *arrays, param, found=found, expected="at most 2147483647")


@pytest.mark.parametrize("norm", [layers.layernorm_forward, fast_layers.layernorm_forward_fast])
def test_a_row_to_normalise_has_inputs(norm):
    arrays = np.ones((3, 0)), np.ones(0), np.ones(0)
    found, expected = "x has shape (3, 0)", "expected at least one input"
    assert_refused(ValueError, norm, *arrays, {}, found=found, expected=expected)
    with pytest.raises(ValueError, match=r"^((?!group|G is|channel).)*$"):
        norm(*arrays, {})


def test_numbers_become_plain_floats():
    for value in (np.float64(0.5), np.float32(0.5), np.array(0.5), 0.5):
        assert type(checks.number("f", "p", value)) is float


def test_choice_lists_what_is_known():
    with pytest.raises(ValueError, match=r"^f: rule is 'c'; expected 'a' or 'b'$"):
        checks.choice("f", "rule", "c", ("a", "b"))
    with pytest.raises(ValueError, match=r"^f: rule is 'c'; expected 'a'$"):
        checks.choice("f", "rule", "c", ("a",))
