"""Numbers at the edge: huge scores, constant columns, one sample; the same bits on any threads."""

import copy

import numpy as np
import pytest
from cases import DTYPES, FAST_LAYERS, LAYERS, UNITS
from conftest import assert_close
from runs import SHAPE, images, outcome

from cs231n import fast_layers, layers
from cs231n.classifiers import ConvNet
from cs231n.solver import Solver

LOSSES = {
    "softmax": layers.softmax_loss,
    "softmax fast": fast_layers.softmax_loss_fast,
    "svm": layers.svm_loss,
}


@pytest.mark.parametrize("size", [1e4, 1e8, 1e30])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_huge_scores_are_right(name, dtype, size, backend_name):
    x = np.array([[1, -1, 0], [-1, 0, 1], [0, 0, 1]], dtype) * np.dtype(dtype).type(size)
    loss, dx = LOSSES[name](x, np.array([1, 1, 2]))
    # The best wrong class is ahead by 2 sizes, by 1 size, and behind.  The hinge loss counts a
    # second one, by 1 size, and a margin of 1 for each of the three.
    expected = 4 * size + 3 if name == "svm" else 3 * size
    assert loss == pytest.approx(expected / 3, rel=1e-6)
    assert np.isfinite(dx).all()
    assert_close(dx.sum(axis=1), np.zeros(3), scale=1.0)
    assert dx[0].argmin() == dx[1].argmin() == 1
    assert_close(dx[2], np.zeros(3), scale=1.0)


@pytest.mark.parametrize("size", [1e4, 1e30])
@pytest.mark.parametrize("dtype", DTYPES)
def test_smoothed_losses_of_huge_scores_are_right(dtype, size, backend_name):
    x = np.array([[1, -1, 0]], dtype) * np.dtype(dtype).type(size)
    for loss_function in (layers.softmax_loss, fast_layers.softmax_loss_fast):
        loss, dx = loss_function(x, np.array([0]), label_smoothing=0.3)
        assert loss == pytest.approx(0.1 * 2 * size + 0.1 * size, rel=1e-6)
        assert_close(dx, np.array([[0.2, -0.1, -0.1]], dtype), scale=1.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_smoothed_loss_of_an_impossible_label_is_infinite(dtype, backend_name):
    x = np.array([[-np.inf, 0, 1], [0, -np.inf, 1], [-np.inf, -np.inf, 1]], dtype)
    for row in x:
        row = np.stack([row, x[0] + 1])
        expected, expected_dx = layers.softmax_loss(row, np.array([0, 1]), 0.3)
        loss, dx = fast_layers.softmax_loss_fast(row, np.array([0, 1]), 0.3)
        assert loss == expected == np.inf
        assert_close(dx, expected_dx)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_constant_statistics_let_no_spoilt_number_into_other_gradients(
    dtype, value, backend_name, rng
):
    """In test mode batch norm is a straight line, whose slope is the same everywhere."""
    dout = rng.standard_normal((3, 70, 5, 2)).astype(dtype)
    x = rng.standard_normal(dout.shape).astype(dtype)
    x[0, 1, 2, 0] = x[2, 69, 4, 1] = value
    gamma, beta, mean = rng.standard_normal((3, 70)).astype(dtype)
    statistics = {"running_mean": mean, "running_var": mean**2 + 1, "mode": "test"}
    slope = gamma / np.sqrt(mean**2 + 1 + 1e-5)
    for name, is_image in (("batchnorm", False), ("spatial_batchnorm", True)):
        found, upstream = (x, dout) if is_image else (x[:, :, 2, 0], dout[:, :, 2, 0])
        forward = getattr(fast_layers, f"{name}_forward_fast")
        _, cache = forward(found, gamma, beta, dict(statistics))
        dx, dgamma, _ = getattr(fast_layers, f"{name}_backward_fast")(upstream, cache)
        assert_close(dx, upstream * (slope[:, None, None] if is_image else slope))
        assert np.flatnonzero(~np.isfinite(dgamma)).tolist() == ([1, 69] if is_image else [1])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("pixels", [3, 9, 17, 49])
@pytest.mark.parametrize("unit", ["", "_relu", "_gelu", "_silu"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_in_test_mode_a_spoilt_pixel_spoils_no_other(dtype, unit, pixels, value, backend_name, rng):
    """Maps end with a part of a vector, which is read together with what is before it."""
    x, dout = rng.standard_normal((2, 3, 5, 1, pixels)).astype(dtype)
    gamma, beta, mean = rng.standard_normal((3, 5)).astype(dtype)
    statistics = {"running_mean": mean, "running_var": mean**2 + 1, "mode": "test"}
    forward = getattr(fast_layers, f"spatial_batchnorm{unit}_forward_fast")
    backward = getattr(fast_layers, f"spatial_batchnorm{unit}_backward_fast")
    for place in ((0, 1, 0, pixels - 1), (2, 4, 0, 0), (1, 0, 0, pixels // 2)):
        results = []
        for found in (x[place], value):
            x[place] = found
            with np.errstate(invalid="ignore"):
                out, cache = forward(x.copy(), gamma, beta, dict(statistics))
                results.append([out, backward(dout, cache)[0]])
        x[place] = 0.5
        for clean, spoilt in zip(*results, strict=True):
            spoilt[place] = clean[place]
            np.testing.assert_array_equal(spoilt, clean)


@pytest.mark.parametrize("is_image", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_running_mean_of_infinity_is_infinite(dtype, is_image, backend_name, rng):
    x = rng.standard_normal((4, 3, 2, 2)).astype(dtype)
    x[0, 0, 0, 0], x[2, 1, 0, 0] = np.inf, -np.inf
    x = x if is_image else x[:, :, 0, 0]
    twins = [
        (layers.spatial_batchnorm_forward, fast_layers.spatial_batchnorm_forward_fast),
        (layers.batchnorm_forward, fast_layers.batchnorm_forward_fast),
    ][not is_image]
    options = [{"mode": "train"} for _ in twins]
    with np.errstate(invalid="ignore"):
        for forward, bn_param in zip(twins, options):
            forward(x, np.ones(3, dtype), np.zeros(3, dtype), bn_param)
    reference, fast = (bn_param["running_mean"] for bn_param in options)
    assert reference[:2].tolist() == [np.inf, -np.inf]
    assert_close(fast, reference)


BATCH_NORMS = {
    name: case
    for name, case in LAYERS.items()
    if "batchnorm" in name and "train" in name
    # which hide the output
    if not any(unit in name for unit in UNITS)
}


def normalised(case, x, rng):
    """Return output, gradients and options of a batch normalisation of x, and its weights."""
    gamma, beta = rng.standard_normal((2, x.shape[1])).astype(x.dtype)
    options = copy.deepcopy(case.options)
    out, cache = case.forward(x, gamma, beta, *options)
    dout = rng.standard_normal(x.shape).astype(x.dtype)
    return out, dout, case.gradients(dout, cache), options[0], beta


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3, 12345.678])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BATCH_NORMS)
def test_batchnorm_maps_constant_columns_to_the_shift(name, dtype, value, backend_name, rng):
    shape = (37, 3, 5, 7) if "spatial" in name else (301, 3)
    x = rng.standard_normal(shape).astype(dtype)
    x[:, 1] = value
    out, _, gradients, option, beta = normalised(BATCH_NORMS[name], x, rng)
    # Rounding of the mean would be magnified by 1 / sqrt(eps): of 12345.678 to an output of 1.
    looser = 1000 if dtype == "float64" else 1  # float32 means are taken in float64, or exactly
    assert_close(out[:, 1], np.broadcast_to(beta[1], out[:, 1].shape), looser, scale=1.0)
    for gradient in gradients:
        assert np.isfinite(gradient).all()
    assert_close(option["running_mean"][1], np.asarray(0.1 * value, dtype), scale=max(value, 1))
    assert option["running_var"][1] < 1e-12


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BATCH_NORMS)
def test_batchnorm_of_one_number_for_each_channel(name, dtype, backend_name, rng):
    shape = (1, 3, 1, 1) if "spatial" in name else (1, 3)
    x = (1000 * rng.standard_normal(shape)).astype(dtype)
    out, dout, gradients, option, beta = normalised(BATCH_NORMS[name], x, rng)
    dx, dgamma, dbeta = gradients
    np.testing.assert_array_equal(out.reshape(3), beta)
    np.testing.assert_array_equal(dx, np.zeros_like(x))
    np.testing.assert_array_equal(dgamma, np.zeros(3))
    np.testing.assert_array_equal(dbeta, dout.reshape(3))
    np.testing.assert_array_equal(option["running_var"], np.zeros(3))
    assert_close(option["running_mean"], 0.1 * x.reshape(3))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("G", [1, 6, 48])
@pytest.mark.parametrize("name", [name for name in LAYERS if "groupnorm" in name])
def test_groups_of_one_number_have_no_gradient(name, G, dtype, backend_name, rng):
    case = LAYERS[name]
    x, dout = rng.standard_normal((2, 3, G, 1, 1)).astype(dtype)
    gamma, beta = rng.standard_normal((2, 1, G, 1, 1)).astype(dtype) * 1000
    out, cache = case.forward(x * 1000, gamma, beta, G, {"eps": 1e-5})
    np.testing.assert_array_equal(out, np.broadcast_to(beta, out.shape))
    dx, dgamma, dbeta = case.backward(dout, cache)
    np.testing.assert_array_equal(dx, np.zeros_like(x))
    np.testing.assert_array_equal(dgamma, np.zeros_like(gamma))
    assert_close(dbeta, dout.sum(axis=0, keepdims=True))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", [name for name in LAYERS if name.startswith("layernorm")])
def test_samples_of_one_number_have_no_gradient(name, dtype, backend_name, rng):
    case = LAYERS[name]
    x, dout = rng.standard_normal((2, 37, 1)).astype(dtype) * 1000
    gamma, beta = rng.standard_normal((2, 1)).astype(dtype) * 1000
    out, cache = case.forward(x, gamma, beta, {})
    np.testing.assert_array_equal(out, np.broadcast_to(beta, out.shape))
    dx, dgamma, _ = case.backward(dout, cache)
    np.testing.assert_array_equal(dx, np.zeros_like(x))
    np.testing.assert_array_equal(dgamma, [0])


@pytest.mark.sampled(5)
@pytest.mark.parametrize("replace", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_whole_run_gives_the_same_bits_on_any_number_of_threads(dtype, replace, backend_name):
    outcomes = []
    previous = fast_layers.get_num_threads()
    try:
        for number in (1, 2, 3):
            fast_layers.set_num_threads(number)
            np.random.seed(7)
            model = ConvNet(
                "conv16-conv16-pool-fc20-fc3", SHAPE, "batchnorm", 0.8, reg=0.01, dtype=dtype
            )
            solver = Solver(
                model, images(dtype=dtype), "adam", batch_size=25, num_epochs=4, replace=replace,
                verbose=False,
            )  # fmt: skip
            solver.train()
            outcomes.append(outcome(solver))
    finally:
        fast_layers.set_num_threads(previous)
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert len(set(outcomes[0]["loss_history"])) == 8


def test_fast_layers_are_among_those_tried():
    assert set(BATCH_NORMS) & set(FAST_LAYERS)
