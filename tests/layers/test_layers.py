"""What each reference layer computes: definitions, properties, and values worked out by hand."""

import numpy as np
import pytest
from cases import (
    CONV_CASES,
    DTYPES,
    FAST_LOSSES,
    LOSSES,
    POOL_CASES,
    conv_by_definition,
    max_pool_by_definition,
)
from conftest import KERNELS, assert_close

from cs231n import fast_layers, layers, modern_layers
from cs231n.kernels import backend
from cs231n.layers import (
    affine_backward,
    affine_forward,
    batchnorm_backward,
    batchnorm_backward_alt,
    batchnorm_forward,
    conv_backward_naive,
    conv_forward_naive,
    dropout_backward,
    dropout_forward,
    layernorm_backward,
    layernorm_forward,
    max_pool_backward_naive,
    max_pool_forward_naive,
    relu_backward,
    relu_forward,
    softmax_loss,
    spatial_batchnorm_backward,
    spatial_batchnorm_forward,
    spatial_groupnorm_backward,
    spatial_groupnorm_forward,
    svm_loss,
)


def test_affine_of_two_samples_by_hand():
    x = np.array([[[1.0, 2.0]], [[0.0, -1.0]]])  # (2, 1, 2)
    w = np.array([[1.0, 0.0, 2.0], [3.0, -1.0, 0.5]])
    b = np.array([0.5, 0.0, -1.0])
    out, cache = affine_forward(x, w, b)
    np.testing.assert_array_equal(out, [[7.5, -2.0, 2.0], [-2.5, 1.0, -1.5]])
    dx, dw, db = affine_backward(np.array([[1.0, 0.0, 2.0], [0.0, 3.0, -1.0]]), cache)
    np.testing.assert_array_equal(dx, [[[5.0, 4.0]], [[-2.0, -3.5]]])
    np.testing.assert_array_equal(dw, [[1.0, 0.0, 2.0], [2.0, -3.0, 5.0]])
    np.testing.assert_array_equal(db, [1.0, 3.0, 1.0])


def test_relu_passes_no_gradient_where_the_input_is_zero_or_less():
    out, cache = relu_forward(np.array([-2.0, -0.0, 0.0, 1e-300, 3.0]))
    np.testing.assert_array_equal(out, [0, 0, 0, 1e-300, 3])
    dx = relu_backward(np.array([5.0, 6.0, 7.0, 8.0, 9.0]), cache)
    np.testing.assert_array_equal(dx, [0, 0, 0, 8, 9])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CONV_CASES.values(), ids=CONV_CASES)
def test_conv_naive_agrees_with_the_definition(case, dtype, rng):
    x, w, b, dout = case.draw(rng, dtype)
    out, cache = conv_forward_naive(x, w, b, case.param)
    expected = conv_by_definition(x, w, b, dout, case.stride, case.pad)
    for found, wanted in zip((out, *conv_backward_naive(dout, cache)), expected, strict=True):
        assert found.dtype == dtype
        assert_close(found, wanted)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("draw", ["draw", "draw_ties"])
@pytest.mark.parametrize("case", POOL_CASES.values(), ids=POOL_CASES)
def test_max_pool_naive_agrees_with_the_definition(case, draw, dtype, rng):
    x, dout = getattr(case, draw)(rng, dtype)
    out, cache = max_pool_forward_naive(x, case.param)
    expected, expected_dx = max_pool_by_definition(x, dout, case.HH, case.WW, case.stride)
    assert out.dtype == dtype
    np.testing.assert_array_equal(out, expected)
    assert_close(max_pool_backward_naive(dout, cache), expected_dx)


@pytest.mark.parametrize("mode", ["train", "test"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_both_batchnorm_backward_passes_agree(mode, dtype, rng):
    x, gamma, beta = (rng.standard_normal(shape).astype(dtype) for shape in [(6, 5), 5, 5])
    bn_param = {"mode": "train"}
    batchnorm_forward(3 * x + 1, gamma, beta, bn_param)
    out, cache = batchnorm_forward(x, gamma, beta, {**bn_param, "mode": mode})
    dout = rng.standard_normal(out.shape).astype(dtype)
    by_graph, by_formula = batchnorm_backward(dout, cache), batchnorm_backward_alt(dout, cache)
    for one, other in zip(by_graph, by_formula, strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("backward", [batchnorm_backward, batchnorm_backward_alt])
def test_batchnorm_gradient_sums_to_zero_over_the_batch(backward, rng):
    x, gamma, beta, dout = (rng.standard_normal(shape) for shape in [(7, 4), 4, 4, (7, 4)])
    dx, _, _ = backward(dout, batchnorm_forward(x, gamma, beta, {"mode": "train"})[1])
    assert_close(dx.sum(axis=0), np.zeros(4), scale=np.abs(dx).max())
    # A change of scale is normalised away too, but for eps.
    x *= 1e3
    dx, _, _ = backward(dout, batchnorm_forward(x, gamma, beta, {"mode": "train"})[1])
    assert_close((dx * x).sum(axis=0), np.zeros(4), scale=np.abs(dx * x).max())


def test_running_statistics_follow_their_recurrence(rng):
    bn_param = {"mode": "train", "momentum": 0.75}
    mean, var = np.zeros(3), np.zeros(3)
    for _ in range(4):
        x = rng.standard_normal((5, 3)) * 2 + 1
        batchnorm_forward(x, np.ones(3), np.zeros(3), bn_param)
        mean = 0.75 * mean + 0.25 * np.mean(x, axis=0)
        var = 0.75 * var + 0.25 * np.var(x, axis=0)
    assert_close(bn_param["running_mean"], mean)
    assert_close(bn_param["running_var"], var)


def test_running_statistics_start_at_zero_with_momentum_nine_tenths(rng):
    x, bn_param = rng.standard_normal((5, 3)), {"mode": "train"}
    batchnorm_forward(x, np.ones(3), np.zeros(3), bn_param)
    assert_close(bn_param["running_mean"], 0.1 * x.mean(axis=0))
    assert_close(bn_param["running_var"], 0.1 * x.var(axis=0))


@pytest.mark.parametrize("dtype", DTYPES)
def test_running_statistics_have_the_dtype_of_the_input(dtype, rng):
    x = rng.standard_normal((5, 3)).astype(dtype)
    bn_param = {"mode": "train", "momentum": np.float64(0.9)}
    batchnorm_forward(x, np.ones(3, dtype), np.zeros(3, dtype), bn_param)
    assert bn_param["running_mean"].dtype == bn_param["running_var"].dtype == dtype


def test_arrays_of_running_statistics_are_replaced_not_written_to(rng):
    mean, var = np.ones(3), np.ones(3)
    mean.flags.writeable = var.flags.writeable = False
    bn_param = {"mode": "train", "running_mean": mean, "running_var": var}
    batchnorm_forward(rng.standard_normal((5, 3)), np.ones(3), np.zeros(3), bn_param)
    np.testing.assert_array_equal([mean, var], np.ones((2, 3)))
    assert bn_param["running_mean"] is not mean
    assert bn_param["running_var"] is not var


def test_batchnorm_in_test_mode_uses_and_keeps_the_running_statistics():
    mean, var = np.array([1.0, -2.0]), np.array([4.0, 0.25])
    bn_param = {"mode": "test", "running_mean": mean, "running_var": var, "eps": 1e-12}
    x, gamma, beta = np.array([[3.0, -1.0], [1.0, -2.5]]), np.array([2.0, 3.0]), np.array([0.5, 1])
    out, cache = batchnorm_forward(x, gamma, beta, bn_param)
    assert_close(out, [[2.5, 7.0], [0.5, -2.0]])
    dx, dgamma, dbeta = batchnorm_backward(np.array([[1.0, 2.0], [-3.0, 0.5]]), cache)
    assert_close(dx, [[1.0, 12.0], [-3.0, 3.0]])
    assert_close(dgamma, [1.0, 3.5])
    assert_close(dbeta, [-2.0, 2.5])
    np.testing.assert_array_equal(bn_param["running_mean"], [1, -2])
    np.testing.assert_array_equal(bn_param["running_var"], [4, 0.25])


def test_eps_is_added_to_the_variance():
    x = np.array([[1.0], [3.0]])  # mean 2, variance 1
    out, _ = batchnorm_forward(x, np.ones(1), np.zeros(1), {"mode": "train", "eps": 3.0})
    np.testing.assert_array_equal(out, [[-0.5], [0.5]])
    out, _ = layernorm_forward(x.T, np.ones(2), np.zeros(2), {"eps": 3.0})
    np.testing.assert_array_equal(out, [[-0.5, 0.5]])
    images = x.reshape(1, 2, 1, 1)
    ones, zeros = np.ones((1, 2, 1, 1)), np.zeros((1, 2, 1, 1))
    out, _ = spatial_groupnorm_forward(images, ones, zeros, 1, {"eps": 3.0})
    np.testing.assert_array_equal(out.ravel(), [-0.5, 0.5])


def test_layernorm_is_batchnorm_of_the_transpose(rng):
    x, dout = rng.standard_normal((2, 4, 6))
    out, cache = layernorm_forward(x, np.ones(6), np.zeros(6), {"mode": "train"})
    expected, expected_cache = batchnorm_forward(x.T, np.ones(4), np.zeros(4), {"mode": "train"})
    assert_close(out, expected.T)
    dx, dgamma, dbeta = layernorm_backward(dout, cache)
    assert_close(dx, batchnorm_backward(dout.T, expected_cache)[0].T)
    assert_close(dgamma, np.einsum("nd,nd->d", dout, out))
    assert_close(dbeta, np.einsum("nd->d", dout))


def test_spatial_batchnorm_is_batchnorm_of_each_channel(rng):
    x, dout = rng.standard_normal((2, 3, 4, 2, 5))
    gamma, beta = rng.standard_normal((2, 4))
    bn_param = {"mode": "train"}
    out, cache = spatial_batchnorm_forward(x, gamma, beta, bn_param)
    dx, dgamma, dbeta = spatial_batchnorm_backward(dout, cache)
    for c in range(4):
        alone = {"mode": "train"}
        column, column_cache = batchnorm_forward(
            x[:, c].reshape(-1, 1), gamma[[c]], beta[[c]], alone
        )
        assert_close(out[:, c].reshape(-1, 1), column)
        gradients = batchnorm_backward(dout[:, c].reshape(-1, 1), column_cache)
        found = dx[:, c].reshape(-1, 1), dgamma[[c]], dbeta[[c]]
        for gradient, expected in zip(found, gradients, strict=True):
            assert_close(gradient, expected)
        assert_close(bn_param["running_mean"][[c]], alone["running_mean"])
        assert_close(bn_param["running_var"][[c]], alone["running_var"])


@pytest.mark.parametrize("G", [1, 2, 3, 6])
def test_groupnorm_is_layernorm_of_each_group(G, rng):
    N, C, H, W = shape = 2, 6, 3, 5
    x, dout = rng.standard_normal((2, *shape))
    ones, zeros = np.ones((1, C, 1, 1)), np.zeros((1, C, 1, 1))
    out, cache = spatial_groupnorm_forward(x, ones, zeros, G, {})
    dx, dgamma, dbeta = spatial_groupnorm_backward(dout, cache)
    D = C // G * H * W
    rows, rows_cache = layernorm_forward(x.reshape(N * G, D), np.ones(D), np.zeros(D), {})
    assert_close(out.reshape(N * G, D), rows)
    expected, _, _ = layernorm_backward(dout.reshape(N * G, D), rows_cache)
    assert_close(dx.reshape(N * G, D), expected)
    assert_close(dgamma[0, :, 0, 0], np.einsum("nchw,nchw->c", dout, out))
    assert_close(dbeta[0, :, 0, 0], np.einsum("nchw->c", dout))


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_draws_what_notebooks_expect(dtype, rng):
    x = rng.standard_normal((5, 4, 3)).astype(dtype)
    np.random.seed(7)
    mask = (np.random.rand(5, 4, 3) < 0.3) / 0.3
    after = np.random.rand()
    np.random.seed(7)
    out, cache = dropout_forward(x, {"mode": "train", "p": 0.3})
    assert np.random.rand() == after
    assert_close(out, (x * mask).astype(dtype))
    dout = rng.standard_normal(x.shape).astype(dtype)
    assert_close(dropout_backward(dout, cache), (dout * mask).astype(dtype))


def test_a_wrong_dout_is_named_where_dropout_has_no_mask():
    with pytest.raises(TypeError, match="dropout_backward: dout has dtype <U1; expected float32"):
        dropout_backward("a", ({"p": 0.5, "mode": "test"}, None))


def test_dropout_of_a_transposed_view_has_the_same_mask(rng):
    x, param = rng.standard_normal((4, 6)), {"mode": "train", "p": 0.5, "seed": 3}
    out, _ = dropout_forward(x, param)
    view = np.ascontiguousarray(x.T).T
    np.testing.assert_array_equal(dropout_forward(view, param)[0], out)


@pytest.mark.parametrize("mode", ["train", "test"])
def test_dropout_seeds_the_global_generator_at_every_call(mode):
    x = np.ones((3, 4))
    np.random.seed(11)
    if mode == "train":
        np.random.rand(3, 4)
    expected = np.random.rand()
    for _ in range(2):
        dropout_forward(x, {"mode": mode, "p": 0.5, "seed": 11})
        assert np.random.rand() == expected


@pytest.mark.parametrize("param", [{"p": 0.5, "mode": "test"}, {"p": 0.5, "seed": None}])
def test_dropout_without_a_seed_leaves_the_generator_running(param):
    np.random.seed(5)
    first = np.random.rand()
    if param.get("mode") != "test":
        np.random.rand(3)
    second = np.random.rand()
    np.random.seed(5)
    assert np.random.rand() == first
    dropout_forward(np.ones(3), {"mode": "train", **param})
    assert np.random.rand() == second


def test_dropout_in_test_mode_changes_nothing(rng):
    x, dout = rng.standard_normal((2, 3, 4))
    out, cache = dropout_forward(x, {"mode": "test", "p": 0.3})
    np.testing.assert_array_equal(out, x)
    np.testing.assert_array_equal(dropout_backward(dout, cache), dout)


def test_dropout_with_p_one_keeps_everything(rng):
    x = rng.standard_normal((3, 4))
    np.testing.assert_array_equal(dropout_forward(x, {"mode": "train", "p": 1})[0], x)


def test_dropout_draws_from_a_generator_that_is_given(rng):
    np.random.seed(5)
    expected_global = np.random.rand()
    np.random.seed(5)
    x, param = rng.standard_normal((30, 40)), {"mode": "train", "p": 0.6}
    out, _ = dropout_forward(x, {**param, "rng": np.random.default_rng(1)})
    again, _ = dropout_forward(x, {**param, "rng": np.random.default_rng(1)})
    other, _ = dropout_forward(x, {**param, "rng": np.random.default_rng(2)})
    np.testing.assert_array_equal(out, again)
    assert not np.array_equal(out, other)
    assert_close(out[out != 0], (x / 0.6)[out != 0])
    assert abs(np.mean(out != 0) - 0.6) < 0.05  # 3.5 standard deviations of 1200 draws
    assert np.random.rand() == expected_global


def test_softmax_loss_of_equal_scores_is_the_logarithm_of_their_number():
    loss, dx = softmax_loss(np.full((2, 4), 3.0), np.array([0, 3]))
    assert_close(loss, np.log(4))
    assert_close(dx, np.array([[-0.75, 0.25, 0.25, 0.25], [0.25, 0.25, 0.25, -0.75]]) / 2)


def test_softmax_loss_by_hand():
    probabilities = np.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]])
    loss, dx = softmax_loss(np.log(probabilities), np.array([1, 2]))
    assert_close(loss, -(np.log(0.25) + np.log(0.7)) / 2)
    assert_close(dx, np.array([[0.5, -0.75, 0.25], [0.1, 0.2, -0.3]]) / 2)


def test_smoothed_softmax_loss_by_hand():
    log_p = np.log(np.array([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]))
    target = np.array([[0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    loss, dx = softmax_loss(log_p, np.array([1, 2]), label_smoothing=0.3)
    assert_close(loss, -(target * log_p).sum() / 2)
    assert_close(dx, (np.exp(log_p) - target) / 2)


@pytest.mark.parametrize("loss_of", [softmax_loss, fast_layers.softmax_loss_fast])
def test_label_smoothing_is_a_part(loss_of):
    for wrong in (-0.1, 1.5, "x"):
        with pytest.raises((ValueError, TypeError), match=f"{loss_of.__name__}: label_smoothing"):
            loss_of(np.zeros((2, 3)), np.array([0, 1]), wrong)


@pytest.mark.parametrize("loss_of", [softmax_loss, fast_layers.softmax_loss_fast])
def test_a_score_of_minus_infinity_is_a_class_left_out(loss_of):
    x = np.array([[1.0, 2.0, -np.inf]])
    loss, dx = loss_of(x, np.array([0]))
    expected, expected_dx = loss_of(x[:, :2], np.array([0]))
    assert loss == expected
    np.testing.assert_array_equal(dx, [[*expected_dx[0], 0]])


def test_images_without_pixels_have_no_global_pool():
    for forward in (layers.global_avg_pool_forward, layers.global_max_pool_forward):
        with pytest.raises(ValueError, match=rf"{forward.__name__}: x has shape \(2, 3, 0, 4\)"):
            forward(np.zeros((2, 3, 0, 4)))


def test_svm_loss_by_hand():
    scores = np.array([[3.0, 1.0, 3.5], [0.0, 5.0, 1.0]])
    loss, dx = svm_loss(scores, np.array([0, 1]))  # only 3.5 - 3 + 1 is a margin violated
    assert loss == 0.75
    np.testing.assert_array_equal(dx, [[-0.5, 0, 0.5], [0, 0, 0]])
    loss, dx = svm_loss(scores, np.array([1, 2]))  # 3 and 3.5; 0 and 5
    assert loss == 5.75
    np.testing.assert_array_equal(dx, [[0.5, -1.0, 0.5], [0, 0.5, -0.5]])


def test_svm_loss_has_no_gradient_where_a_margin_is_just_met():
    loss, dx = svm_loss(np.array([[2.0, 1.0]]), np.array([0]))
    assert loss == 0
    np.testing.assert_array_equal(dx, [[0, 0]])


LOSS_RUNS = {name: (loss, "auto") for name, loss in LOSSES.items()} | {
    f"{name}, {kernels}": (loss, kernels)
    for name, loss in FAST_LOSSES.items()
    for kernels in KERNELS
}


@pytest.fixture(params=LOSS_RUNS)
def loss_function(request):
    """Run the test once for each loss, and with each set of kernels if the loss uses them."""
    loss, kernels = LOSS_RUNS[request.param]
    previous = backend.select(kernels)
    yield loss
    backend.select(previous)


class TestAllLosses:
    def test_gradient_agrees_with_a_numeric_one(self, loss_function, rng):
        x, y, h = rng.standard_normal((5, 4)), rng.integers(4, size=5), 1e-5
        _, dx = loss_function(x, y)
        for index in np.ndindex(x.shape):
            step = np.zeros_like(x)
            step[index] = h
            slope = (loss_function(x + step, y)[0] - loss_function(x - step, y)[0]) / (2 * h)
            # The rounding of a loss of about 1, divided by h.
            assert_close(dx[index], slope, looser=10, scale=1.0)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_dtypes(self, loss_function, dtype, rng):
        x = rng.standard_normal((5, 4)).astype(dtype)
        loss, dx = loss_function(x, rng.integers(4, size=5))
        assert type(loss) is float
        assert dx.dtype == dtype
        assert dx.shape == x.shape

    def test_integer_scores_are_computed_in_float64(self, loss_function, rng):
        scores, y = rng.integers(-3, 4, (5, 4)), rng.integers(4, size=5)
        loss, dx = loss_function(scores, y)
        expected, expected_dx = loss_function(scores.astype(np.float64), y)
        assert loss == expected
        assert dx.dtype == np.float64
        np.testing.assert_array_equal(dx, expected_dx)

    @pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "uint64"])
    def test_labels_of_any_integer_type(self, loss_function, dtype, rng):
        x, y = rng.standard_normal((5, 4)), rng.integers(4, size=5)
        assert loss_function(x, y.astype(dtype))[0] == loss_function(x, list(y))[0]

    def test_a_shift_of_the_scores_changes_nothing(self, loss_function, rng):
        x, y = rng.standard_normal((6, 4)), rng.integers(4, size=6)
        loss, dx = loss_function(x, y)
        shifted_loss, shifted_dx = loss_function(x + rng.standard_normal((6, 1)), y)
        assert_close(shifted_loss, loss)
        assert_close(shifted_dx, dx)

    def test_gradient_of_each_sample_sums_to_zero(self, loss_function, rng):
        _, dx = loss_function(rng.standard_normal((6, 4)), rng.integers(4, size=6))
        assert_close(dx.sum(axis=1), np.zeros(6), scale=1.0)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_large_scores_stay_finite(self, loss_function, dtype):
        x = np.array([[1e4, -1e4, 0], [-1e4, 1e4, 1e4]], dtype)
        loss, dx = loss_function(x, np.array([1, 0]))
        assert loss >= 1.5e4
        assert np.isfinite(loss)
        assert np.isfinite(dx).all()

    def test_mean_over_many_float32_samples_loses_no_digits(self, loss_function, rng):
        x = (3 * rng.standard_normal((50_000, 10))).astype(np.float32)
        y = rng.integers(10, size=50_000)
        expected, _ = loss_function(x.astype(np.float64), y)
        # Float32 rounds each sample's loss in the seventh digit; the mean is better than that.
        assert abs(loss_function(x, y)[0] - expected) < 1e-7 * expected

    def test_no_samples(self, loss_function):
        loss, dx = loss_function(np.zeros((0, 4)), np.zeros(0, int))
        assert loss == 0
        assert dx.shape == (0, 4)

    def test_nothing_is_written_to(self, loss_function, rng):
        x, y = rng.standard_normal((5, 4)), rng.integers(4, size=5)
        copies = x.copy(), y.copy()
        x.flags.writeable = y.flags.writeable = False
        loss_function(x, y)
        np.testing.assert_array_equal(x, copies[0])
        np.testing.assert_array_equal(y, copies[1])

    def test_layout_in_memory_does_not_matter(self, loss_function, rng):
        x, y = rng.standard_normal((5, 4)), rng.integers(4, size=5)
        loss, dx = loss_function(x, y)
        found, found_dx = loss_function(np.asfortranarray(x), y)
        assert_close(found, loss)
        assert_close(found_dx, dx)

    def test_permuting_the_batch_permutes_the_gradient(self, loss_function, rng):
        x, y, order = rng.standard_normal((5, 4)), rng.integers(4, size=5), rng.permutation(5)
        loss, dx = loss_function(x, y)
        permuted, permuted_dx = loss_function(x[order], y[order])
        assert_close(permuted, loss)
        assert_close(permuted_dx, dx[order])


def test_a_shortcut_that_does_not_fit_is_named():
    x, shortcut = np.ones((2, 3, 4, 5)), np.ones((2, 3, 8, 10))
    with pytest.raises(
        ValueError, match=r"shortcut_forward: shortcut has shape \(2, 3, 8, 10\) and"
    ):
        modern_layers.shortcut_forward(x, shortcut)
    with pytest.raises(
        ValueError, match=r"stride 2; expected at most the 2 channels of x, and 4x5"
    ):
        modern_layers.shortcut_forward(x[:, :2], shortcut, 2)
    with pytest.raises(ValueError, match=r"shortcut_forward: stride is 0"):
        modern_layers.shortcut_forward(x, shortcut, 0)
