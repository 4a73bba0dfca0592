"""The checker of layers: what it accepts, rejects and explains."""

import numpy as np
import pytest

from cs231n import layers
from cs231n.gradient_check import GradientPrecisionWarning, check_layer

POOL = {"pool_height": 2, "pool_width": 2, "stride": 2}


def right_layers(rng):
    """Return, for each name, forward, backward, arrays and options of a right layer."""
    draw = rng.standard_normal
    labels = rng.integers(10, size=20)
    train = {"mode": "train"}
    affine = (layers.affine_forward, layers.affine_backward)
    norm = (layers.batchnorm_forward, layers.batchnorm_backward)
    return {
        "affine": (*affine, [draw((6, 2, 5)), draw((10, 30)), draw(30)], ()),
        "affine, tiny": (*affine, [draw((6, 10)), 1e-4 * draw((10, 7)), np.zeros(7)], ()),
        "relu": (layers.relu_forward, layers.relu_backward, [draw((40, 50))], ()),
        "batchnorm": (*norm, [5 * draw((14, 9)) + 12, draw(9), draw(9)], train),
        "batchnorm, offset": (*norm, [draw((14, 9)) + 1e4, draw(9), draw(9)], train),
        "batchnorm, alt": (
            layers.batchnorm_forward,
            layers.batchnorm_backward_alt,
            [draw((4, 5)), draw(5), draw(5)],
            train,
        ),
        "layernorm": (
            layers.layernorm_forward,
            layers.layernorm_backward,
            [draw((4, 50)), draw(50), draw(50)],
            {},
        ),
        "groupnorm": (
            layers.spatial_groupnorm_forward,
            layers.spatial_groupnorm_backward,
            [draw((2, 6, 4, 5)), draw((1, 6, 1, 1)), draw((1, 6, 1, 1))],
            (2, {}),
        ),
        "dropout": (
            layers.dropout_forward,
            layers.dropout_backward,
            [draw((20, 10))],
            {"mode": "train", "p": 0.6, "seed": 3},
        ),
        "max pool": (
            layers.max_pool_forward_naive,
            layers.max_pool_backward_naive,
            [draw((2, 3, 6, 6))],
            POOL,
        ),
        "conv": (
            layers.conv_forward_naive,
            layers.conv_backward_naive,
            [draw((2, 3, 4, 4)), draw((4, 3, 3, 3)), draw(4)],
            {"stride": 1, "pad": 1},
        ),
        "softmax": (layers.softmax_loss, None, [draw((20, 10))], labels),
        "softmax, small scores": (layers.softmax_loss, None, [1e-3 * draw((20, 10))], labels),
        "svm": (layers.svm_loss, None, [draw((20, 10))], labels),
        "affine, batchnorm, relu": (*AFFINE_BN_RELU, [*bn_arrays(draw)], train),
        "empty batch": (*affine, [draw((0, 10)), draw((10, 7)), draw(7)], ()),
    }


def bn_arrays(draw):
    """Return x, small weights, a bias whose gradient is zero, gamma and beta."""
    return draw((30, 20)), 1e-3 * draw((20, 15)), np.zeros(15), np.ones(15), np.zeros(15)


def affine_bn_relu_forward(x, w, b, gamma, beta, bn_param):
    out, first = layers.affine_forward(x, w, b)
    out, second = layers.batchnorm_forward(out, gamma, beta, bn_param)
    out, third = layers.relu_forward(out)
    return out, (first, second, third)


def affine_bn_relu_backward(dout, cache):
    first, second, third = cache
    dout, dgamma, dbeta = layers.batchnorm_backward(layers.relu_backward(dout, third), second)
    return *layers.affine_backward(dout, first), dgamma, dbeta


AFFINE_BN_RELU = affine_bn_relu_forward, affine_bn_relu_backward
LAYERS = list(right_layers(np.random.default_rng(0)))
OFFSET = "batchnorm, offset"  # rounding hides errors below 3e-6 of the norm, and the report says so


@pytest.mark.parametrize("name", LAYERS)
def test_right_gradients_are_accepted(name, rng):
    forward, backward, arrays, options = right_layers(rng)[name]
    for seed in range(3):
        report = check_layer(forward, backward, *arrays, options=options, rng=seed)
        assert report, report
        assert report.worst is None
        assert report.kinks == ()
        assert report.tolerance == 1e-8


@pytest.mark.parametrize("name", [n for n in LAYERS if n not in ("empty batch", "relu", "conv")])
def test_right_gradients_are_accepted_in_float32(name, rng):
    forward, backward, arrays, options = right_layers(rng)[name]
    arrays = [array.astype(np.float32) for array in arrays]
    with pytest.warns(GradientPrecisionWarning):
        report = check_layer(forward, backward, *arrays, options=options)
    assert report, report


def spoil(gradients, number, index, factor):
    """Return the gradients with one entry of one of them multiplied."""
    several = isinstance(gradients, tuple)
    copies = [np.array(gradient) for gradient in (gradients if several else [gradients])]
    copies[number][index] *= factor
    return tuple(copies) if several else copies[0]


def spoiled_layer(forward, backward, number, index, factor=1.0005):
    """Return the layer with one entry of one gradient multiplied."""
    if backward:
        return forward, lambda dout, cache: spoil(backward(dout, cache), number, index, factor)

    def loss(x, y):
        value, dx = forward(x, y)
        return value, spoil(dx, number, index, factor)

    return loss, None


@pytest.mark.parametrize("name", [n for n in LAYERS if n not in ("empty batch", OFFSET)])
def test_one_entry_off_by_a_twentieth_of_a_percent_is_found(name, rng):
    forward, backward, arrays, options = right_layers(rng)[name]
    for number in (0, len(arrays) - 1):
        gradients = gradients_of(forward, backward, arrays, options)[number]
        order = np.argsort(np.abs(gradients), axis=None)
        typical = np.flatnonzero(gradients.ravel()[order])  # not a large one: one of the middle
        index = np.unravel_index(order[typical[len(typical) // 2]], gradients.shape)
        wrong = spoiled_layer(forward, backward, number, index)
        report = check_layer(
            *wrong, *arrays, options=options, names=[f"array {n}" for n in range(len(arrays))]
        )
        assert not report.ok
        assert not report
        assert (report.worst.argument, report.worst.index) == (f"array {number}", index)
        assert report.worst.verdict == "wrong"
        assert report.worst.analytic / report.worst.numeric == pytest.approx(1.0005, rel=1e-5)
        assert report.worst.error == pytest.approx(2.5e-4, rel=1e-2)
        others = [error for key, error in report.errors.items() if key != f"array {number}"]
        assert all(error <= report.tolerance for error in others)


def gradients_of(forward, backward, arrays, options):
    """Return the layer's gradients for some upstream gradient."""
    options = options if isinstance(options, tuple) else (options,)
    out, cache = forward(*arrays, *options)
    gradients = cache
    if backward:
        gradients = backward(np.random.default_rng(5).standard_normal(out.shape), cache)
    return gradients if isinstance(gradients, tuple) else (gradients,)


def test_one_wrong_weight_of_a_hundred_thousand_is_found(rng):
    arrays = [rng.standard_normal(shape) for shape in ((8, 1000), (1000, 100), (100,))]
    calls = []

    def forward(x, w, b):
        calls.append(1)
        return layers.affine_forward(x, w, b)

    wrong = spoiled_layer(forward, layers.affine_backward, 1, (437, 21))
    report = check_layer(*wrong, *arrays)
    assert (report.worst.argument, report.worst.index) == ("w", (437, 21))
    assert len(calls) < 200  # against 200,000 for all differences
    calls.clear()
    assert check_layer(forward, layers.affine_backward, *arrays)
    assert len(calls) < 60


WRONG = {
    "x1.01": lambda g: 1.01 * g,
    "zero": lambda g: 0 * g,
    "sign": lambda g: -g,
    "shifted": lambda g: np.roll(g, 1),
    "huge": lambda g: 1e8 * g,
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("shape", [(4, 5), (60, 50)])
def test_gradients_that_are_wrong_everywhere(change, shape, rng):
    calls = []

    def forward(x):
        calls.append(1)
        return np.tanh(x), x

    report = check_layer(
        forward,
        lambda dout, x: change(dout / np.cosh(x) ** 2),
        rng.standard_normal(shape),
        names=["scores"],
    )
    assert not report
    assert report.worst.argument == "scores"
    assert report.worst.verdict == "wrong"
    assert report.problems == ()
    assert len(calls) < 300  # the search stops at what it finds first


def test_the_worst_of_many_wrong_entries_is_reported(rng):
    x = rng.uniform(1, 2, (60, 50))
    factors = np.ones(x.shape)
    factors.flat[rng.choice(x.size, 100, replace=False)] = 1.001
    factors[41, 7] = 1.5
    report = check_layer(square, lambda dout, x: 2 * x * dout * factors, x)
    assert report.worst.index == (41, 7)


def test_tiny_values_that_are_added_to_large_ones(rng):
    x, w, b = (
        rng.standard_normal((4, 5)),
        rng.standard_normal((5, 3)),
        1e-8 * rng.standard_normal(3),
    )
    assert check_layer(layers.affine_forward, layers.affine_backward, x, w, b)
    wrong = spoiled_layer(layers.affine_forward, layers.affine_backward, 2, (1,))
    report = check_layer(*wrong, x, w, b)
    assert (report.worst.argument, report.worst.index) == ("b", (1,))


def test_steps_that_rounding_swallows_are_not_taken_for_agreement():
    x = np.linspace(9999, 10001, 7, dtype=np.float32)  # a 64th of this h changes none of them
    with pytest.warns(GradientPrecisionWarning):
        assert not check_layer(lambda x: (3 * x, x), lambda dout, x: 30 * dout, x, h=0.03)


def test_backward_that_forgets_the_mask_of_relu_is_no_kink(rng):
    report = check_layer(layers.relu_forward, lambda dout, cache: dout, rng.standard_normal((5, 6)))
    assert not report
    assert report.worst.value < 0
    assert report.worst.numeric == 0
    assert report.worst.verdict == "wrong"


def test_relu_at_zero_is_named_and_is_no_error(rng):
    x = rng.standard_normal((4, 5))
    x[1, 2] = 0
    report = check_layer(layers.relu_forward, layers.relu_backward, x)
    assert report, report
    (kink,) = report.kinks
    assert (kink.argument, kink.index, kink.verdict) == ("x", (1, 2), "kink")
    assert kink.left == 0
    assert kink.right != 0
    assert kink.analytic == 0
    assert "x[1, 2] = 0 lies on a kink (a ReLU at zero)" in str(report)


def test_tied_maximum_is_named_and_is_no_error(rng):
    x = rng.standard_normal((2, 3, 6, 6))  # 216 entries, searched by halving
    x[0, 1, 2, 2] = x[0, 1, 3, 3] = 5
    report = check_layer(
        layers.max_pool_forward_naive, layers.max_pool_backward_naive, x, options=POOL
    )
    assert report, report
    assert sorted(kink.index for kink in report.kinks) == [(0, 1, 2, 2), (0, 1, 3, 3)]
    assert "x[0, 1, 3, 3] = 5 lies on a kink (a tied maximum)" in str(report)


def test_a_kink_does_not_hide_a_wrong_entry(rng):
    x = rng.standard_normal((20, 30))
    x[3, 4] = x[7, 8] = 0
    x[10, 11] = 1.5
    wrong = spoiled_layer(layers.relu_forward, layers.relu_backward, 0, (10, 11))
    report = check_layer(*wrong, x)
    assert report.worst.index == (10, 11)
    report = check_layer(
        layers.relu_forward, lambda dout, cache: 2 * dout * (cache > 0), x[3:4, 4:5] + 1
    )
    assert report.worst.index == (0, 0)


def test_a_gradient_outside_the_slopes_of_a_kink_is_an_error():
    report = check_layer(
        layers.relu_forward,
        lambda dout, cache: dout * np.where(cache > 0, 1, 3),
        np.zeros((1, 1)),
    )
    assert not report
    assert report.worst.verdict == "outside"
    assert "a kink, with slope 0 to the left" in str(report)


def test_a_kink_closer_than_the_step_is_no_error():
    x = np.array([2e-6, -1e-7, 1.0, -1.0])  # the step is about 6e-6
    assert check_layer(layers.relu_forward, layers.relu_backward, x)
    x32 = np.linspace(-2, 2, 2001, dtype=np.float32)  # several within the step of float32
    with pytest.warns(GradientPrecisionWarning):
        assert check_layer(layers.relu_forward, layers.relu_backward, x32)


def test_more_kinks_than_can_be_searched_are_explained():
    report = check_layer(layers.relu_forward, layers.relu_backward, np.zeros((30, 40)))
    assert not report
    assert "so many kinks" in report.problems[0]
    assert "check at random values" in report.problems[0]
    assert str(report).count("lies on a kink") == 5
    assert check_layer(layers.relu_forward, layers.relu_backward, np.zeros((4, 5)))


def test_a_jump_and_a_steep_slope_are_told_from_a_wrong_gradient():
    def step(x):
        return x + (x > 0), x

    report = check_layer(step, lambda dout, x: dout, np.array([1.0, 0.0, -1.0]))
    assert (report.worst.index, report.worst.verdict) == ((1,), "jump")
    for h in (None, 1e-5):
        report = check_layer(
            lambda x: (np.sqrt(np.abs(x)), x),
            lambda dout, x: dout * np.sign(x) / (2 * np.sqrt(np.abs(x))),
            np.array([1.0, 1e-7, -2.0]),
            h=h,
        )
        assert (report.worst.index, report.worst.verdict) == ((1,), "unclear")
    report = check_layer(
        lambda x: (np.where(x > 1, np.nan, x), x), lambda dout, x: dout, np.ones(2)
    )
    assert report.worst.verdict == "unclear"


def square(x):
    return x**2, x


def square_backward(dout, x):
    return 2 * x * dout


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool])
def test_integers_are_refused_with_the_reason(dtype):
    with pytest.raises(TypeError, match=r"check_layer: x has dtype .*rounded away.*x\.astype"):
        check_layer(square, square_backward, np.ones((2, 2), dtype))
    with pytest.raises(TypeError, match="check_layer: w has dtype"):
        check_layer(
            layers.affine_forward, layers.affine_backward, np.ones((2, 2)), np.ones((2, 2), dtype)
        )


def test_coarse_floats_are_warned_of_with_the_error_to_expect():
    x = np.array([1.0, 2.0], dtype=np.float32)
    with pytest.warns(GradientPrecisionWarning, match=r"\(x\) in float32: expect .* about 5e-05"):
        report = check_layer(square, square_backward, x)
    assert report
    assert report.tolerance == pytest.approx(9.7e-4, rel=1e-2)
    with pytest.warns(GradientPrecisionWarning, match="1e-05 is rounding .* and 1e-04 truncation"):
        check_layer(square, square_backward, x, h=1e-2)
    with pytest.warns(GradientPrecisionWarning, match="float32"):
        assert not check_layer(square, lambda dout, x: 2.02 * x * dout, x)


def test_what_rounding_hides_is_said():
    x = 1e4 + np.linspace(-1, 1, 20)
    report = check_layer(square, square_backward, x)
    assert report
    assert "for rounding hides less" in str(report)
    assert not check_layer(square, lambda dout, x: 2.0001 * x * dout, x)


def test_bad_arguments_of_the_check_itself():
    x = np.ones(3)
    with pytest.raises(ValueError, match=r"names is \['a', 'b'\]; expected 1 different names"):
        check_layer(square, square_backward, x, names=["a", "b"])
    with pytest.raises(ValueError, match="x holds nan or infinity"):
        check_layer(square, square_backward, np.array([1, np.nan]))
    with pytest.raises(ValueError, match="tolerance is 0"):
        check_layer(square, square_backward, x, tolerance=0)
    with pytest.raises(ValueError, match="directions is 0"):
        check_layer(square, square_backward, x, directions=0)
    with pytest.raises(ValueError, match=r"h is 1e-17; expected a number in \(3\.5"):
        check_layer(square, square_backward, x, h=1e-17)  # lost in rounding: it would see 0 = 0


def in_place(x):
    x *= 2
    return x.copy(), None


def writes_cache(dout, x):
    dout = 2 * x * dout
    x += 1
    return dout


def writes_dout(dout, x):
    dout *= 2 * x
    return dout


def eats_cache(dout, cache):
    return dout * 2 * cache.pop() if cache else dout


SHARED = np.zeros(3)


def shared_cache(x):
    np.copyto(SHARED, x)
    return x**2, SHARED


def shared_out(x):
    return np.square(x, out=SHARED), x


GENERATOR = np.random.default_rng(0)
CONTRACT = {
    "no pair": (lambda x: x, square_backward, "returned a value of type ndarray; expected"),
    "triple": (lambda x: (x, x, x), square_backward, r"a tuple of 3; expected \(out, cache\)"),
    "count": (square, lambda d, x: (d, d), "returned 2 gradients; expected 1, for x"),
    "none": (square, lambda d, x: None, "the gradient of x is None"),
    "shape": (square, lambda d, x: d[:2], r"of x has shape \(2,\); expected \(3,\)"),
    "dtype": (square, lambda d, x: d.astype("f4"), "has dtype float32; expected float64"),
    "out dtype": (lambda x: (x.astype("f4"), x), square_backward, "output of dtype float32"),
    "integer out": (lambda x: (np.arange(3), x), square_backward, "output of dtype int64"),
    "nan": (square, lambda d, x: d * np.nan, "the gradient of x holds nan"),
    "nan out": (lambda x: (x * np.nan, x), square_backward, "output that holds nan"),
    "in place": (in_place, square_backward, "in_place writes to x, which belong"),
    "writes cache": (square, writes_cache, "writes_cache writes to x"),
    "writes dout": (square, writes_dout, "writes_dout writes to dout"),
    "second call": (lambda x: (x**2, [x]), eats_cache, "another gradient of x when it is called"),
    "shared cache": (shared_cache, square_backward, "another gradient .* share a buffer"),
    "shared out": (shared_out, square_backward, "overwrites the output of an earlier call"),
    "random": (lambda x: (x * GENERATOR.random(3), x), square_backward, "another output.*'seed'"),
    "loss": (lambda x: (x, x), None, r"a loss of shape \(3,\); expected a scalar"),
    "loss pair": (lambda x: 1.0, None, r"expected \(loss, gradient\)"),
}


@pytest.mark.parametrize("case", CONTRACT.values(), ids=CONTRACT)
def test_broken_contracts_are_named(case):
    forward, backward, message = case
    x = np.array([1.0, 2.0, 3.0])
    report = check_layer(forward, backward, x)
    assert not report
    assert report.errors == {}
    assert len(report.problems) == 1
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(str(report))
    np.testing.assert_array_equal(x, [1.0, 2.0, 3.0])


def test_several_gradients_of_the_wrong_form_are_all_named(rng):
    x, w, b = rng.standard_normal((2, 3)), rng.standard_normal((3, 4)), rng.standard_normal(4)
    report = check_layer(layers.affine_forward, lambda d, c: (None, w.T, b), x, w, b)
    assert len(report.problems) == 2
    assert "gradient of x is None" in report.problems[0]
    assert "gradient of w has shape (4, 3); expected (3, 4)" in report.problems[1]


def test_dropout_without_seed_is_advised(rng):
    arguments = layers.dropout_forward, layers.dropout_backward, rng.standard_normal((4, 5))
    report = check_layer(*arguments, options={"mode": "train", "p": 0.5})
    assert "put a 'seed' into the options" in str(report)
    draw = np.random.default_rng(0)  # copied for each call, so that each draws the same mask
    assert check_layer(*arguments, options={"mode": "train", "p": 0.5, "rng": draw})


def test_arguments_and_options_are_left_alone(rng):
    x, gamma, beta = rng.standard_normal((6, 4)), np.ones(4), np.zeros(4)
    for array in (x, gamma, beta):
        array.setflags(write=False)
    bn_param = {"mode": "train", "running_mean": np.zeros(4)}
    report = check_layer(
        layers.batchnorm_forward, layers.batchnorm_backward, x, gamma, beta, options=bn_param
    )
    assert report, report
    assert list(bn_param) == ["mode", "running_mean"]
    assert not bn_param["running_mean"].any()


def test_the_report_reads_well_and_is_repeatable(capsys, rng):
    x, w, b = rng.standard_normal((2, 3)), rng.standard_normal((3, 4)), rng.standard_normal(4)
    wrong = spoiled_layer(layers.affine_forward, layers.affine_backward, 1, (2, 1), 1.1)
    report = check_layer(*wrong, x, w, b, verbose=True)
    assert capsys.readouterr().out == f"{report.message}\n"
    head, *errors, worst = str(report).splitlines()
    assert head == "affine_forward and <lambda>: FAILED"
    assert [line.split(":")[0].strip() for line in errors] == list(report.errors) == ["x", "w", "b"]
    assert worst.startswith(f"  w[2, 1] = {w[2, 1]:.6g}: analytic ")
    assert worst.endswith("relative error 4.8e-02: the gradient is wrong")
    assert check_layer(*wrong, x, w, b).message == report.message
    assert check_layer(*wrong, x, w, b, rng=7).message != report.message


def test_names_come_from_the_signature_where_there_is_one():
    class Doubling:
        def __call__(self, scores, *rest):
            return scores * 2 + sum(rest), None

    report = check_layer(
        Doubling(), lambda dout, _: (2 * dout, dout, dout), np.ones(2), np.ones(2), np.ones(2)
    )
    assert list(report.errors) == ["scores", "argument 1", "argument 2"]
    assert str(report).startswith("Doubling and <lambda>: the gradients agree")


@pytest.mark.parametrize(("gradient", "right"), [(1e-16, True), (1e-9, False)])
def test_a_gradient_that_cancels_to_rounding_is_right(gradient, right, rng):
    """The output does not change at all, as with a bias that batch norm subtracts again."""
    x, b = rng.standard_normal((4, 3)), rng.standard_normal(3)
    report = check_layer(
        lambda x, b: (x.copy(), None), lambda dout, _: (dout, np.full(3, gradient)), x, b
    )
    assert report.ok is right, report
