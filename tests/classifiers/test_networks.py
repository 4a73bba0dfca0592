"""Networks: published losses, numeric gradients, the order of draws, dtypes, spellings, files."""

import functools
import tracemalloc
import zipfile

import numpy as np
import pytest
from networks import assert_gradients_are_numeric, batch_of, slope_along

from cs231n.classifiers import ConvNet, FullyConnectedNet, ThreeLayerConvNet, TwoLayerNet, fc_net
from cs231n.kernels import workspace

FC = {"input_dim": 12, "num_classes": 5, "weight_scale": 0.3}
CONV = {"input_dim": (3, 6, 5), "num_filters": 4, "filter_size": 3, "hidden_dim": 7}
EVERYTHING = "conv4-conv6x5s2-pool-conv4x1-gmax-fc6-fc5"
DEEP = {"input_dim": (2, 9, 8), "label_smoothing": 0.1}

# One small network of each form: constructor, its arguments, and the shape of one sample.
NETWORKS = {
    "two-layer": (TwoLayerNet, {"input_dim": 12, "hidden_dim": 7, "num_classes": 5}, (3, 2, 2)),
    "fully-connected": (FullyConnectedNet, {"hidden_dims": [7, 6], **FC}, (12,)),
    "batchnorm": (
        FullyConnectedNet,
        {"hidden_dims": [7], "normalization": "batchnorm", **FC},
        (12,),
    ),
    "layernorm": (
        FullyConnectedNet,
        {"hidden_dims": [7], "normalization": "layernorm", **FC},
        (12,),
    ),
    "dropout": (
        FullyConnectedNet,
        {"hidden_dims": [7], "dropout_keep_ratio": 0.6, "seed": 5, **FC},
        (12,),
    ),
    "convnet": (ConvNet, {"architecture": EVERYTHING, **DEEP}, (2, 9, 8)),
    "convnet, batchnorm": (
        ConvNet,
        {"architecture": EVERYTHING, "normalization": "batchnorm", **DEEP},
        (2, 9, 8),
    ),
    "convnet, groupnorm": (
        ConvNet,
        {"architecture": EVERYTHING, "normalization": "groupnorm", "num_groups": 2, **DEEP},
        (2, 9, 8),
    ),
    "conv": (ThreeLayerConvNet, {**CONV, "num_classes": 5, "weight_scale": 0.2}, (3, 6, 5)),
}


@pytest.fixture(params=NETWORKS)
def network(request):
    """Return a function of more arguments that builds a network, and a sample's shape."""
    build, arguments, sample_shape = NETWORKS[request.param]
    np.random.seed(231)
    return functools.partial(build, **arguments), sample_shape


def test_two_layer_scores_and_losses_are_the_published_ones():
    N, D, H, C = 3, 5, 50, 7
    model = TwoLayerNet(input_dim=D, hidden_dim=H, num_classes=C)
    model.params["W1"] = np.linspace(-0.7, 0.3, D * H).reshape(D, H)
    model.params["b1"] = np.linspace(-0.1, 0.9, H)
    model.params["W2"] = np.linspace(-0.3, 0.4, H * C).reshape(H, C)
    model.params["b2"] = np.linspace(-0.9, 0.1, C)
    X = np.linspace(-5.5, 4.5, N * D).reshape(D, N).T
    scores = model.loss(X)
    published = [
        [11.53165108, 12.2917344, 13.05181771, 13.81190102, 14.57198434, 15.33206765, 16.09215096],
        [12.05769098, 12.74614105, 13.43459113, 14.1230412, 14.81149128, 15.49994135, 16.18839143],
        [12.58373087, 13.20054771, 13.81736455, 14.43418138, 15.05099822, 15.66781506, 16.2846319],
    ]
    assert scores == pytest.approx(np.array(published), abs=5e-9)
    y = np.array([0, 5, 1])
    assert model.loss(X, y)[0] == pytest.approx(3.4702243556, abs=5e-11)
    model.reg = 1.0
    assert model.loss(X, y)[0] == pytest.approx(26.5948426952, abs=5e-11)


def test_conv_net_initial_loss_is_the_published_one():
    """The published network holds float32 weights and computes in float64."""
    np.random.seed(231)
    for shape in ((2, 3, 8, 8), (3, 3, 3, 3), (3,), (2, 3, 8, 8)):
        np.random.randn(*shape)  # what the cells before draw
    model = ThreeLayerConvNet(dtype=np.float64)
    X, y = np.random.randn(50, 3, 32, 32), np.random.randint(10, size=50)
    for name, w in model.params.items():
        model.params[name] = w.astype(np.float32).astype(np.float64)
    assert model.loss(X, y)[0] == pytest.approx(2.302586071243987, rel=1e-14)
    model.reg = 0.5
    # Published with 2.50825564 and 2.50825563: float32 sums of squares.
    assert model.loss(X, y)[0] == pytest.approx(2.50825563, abs=3e-8)


@pytest.mark.sampled(5)
@pytest.mark.parametrize("reg", [0, 0.7])
@pytest.mark.parametrize("keep", [1, 0.6])
@pytest.mark.parametrize("normalization", [None, "batchnorm", "layernorm"])
@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_fully_connected_gradients(depth, normalization, keep, reg, rng):
    np.random.seed(depth)
    model = FullyConnectedNet(
        [9, 8, 7, 6][: depth - 1],
        normalization=normalization,
        dropout_keep_ratio=keep,
        reg=reg,
        seed=11,
        dtype=np.float64,
        **FC,
    )
    assert model.num_layers == depth
    for name, w in model.params.items():
        if not name.startswith("W"):
            w += 0.3 * rng.standard_normal(w.shape)
    assert_gradients_are_numeric(model, *batch_of(rng, (12,)), rng)


@pytest.mark.parametrize("image", [(8, 8), (7, 5), (9, 4)])
@pytest.mark.parametrize("filter_size", [1, 2, 3, 4, 5])
def test_conv_net_gradients(filter_size, image, rng):
    np.random.seed(filter_size)
    model = ThreeLayerConvNet(
        input_dim=(2, *image),
        num_filters=3,
        filter_size=filter_size,
        hidden_dim=6,
        num_classes=4,
        weight_scale=0.3,
        reg=0.2,
        dtype=np.float64,
    )
    X, y = batch_of(rng, (2, *image), N=4, C=4)
    assert model.loss(X).shape == (4, 4)
    assert_gradients_are_numeric(model, X, y, rng)


@pytest.mark.parametrize(
    ("filter_size", "image", "pooled"),
    [
        *((1, (8, 8), (4, 4)), (3, (8, 8), (4, 4)), (5, (7, 9), (3, 4)), (7, (32, 32), (16, 16))),
        *((2, (8, 8), (3, 3)), (4, (8, 9), (3, 4)), (6, (5, 4), (2, 1))),
    ],
)
def test_the_convolution_pads_half_the_filter_rounded_down(filter_size, image, pooled):
    """Odd filters keep the image's size, even ones take a pixel; pooling drops an odd rest."""
    model = ThreeLayerConvNet((2, *image), 3, filter_size, hidden_dim=4)
    assert model.params["W2"].shape == (3 * pooled[0] * pooled[1], 4)
    assert model.loss(np.ones((1, 2, *image))).shape == (1, 10)


def test_two_layer_gradients(rng):
    np.random.seed(3)
    model = TwoLayerNet(12, 9, 5, weight_scale=0.3, reg=0.7)
    assert_gradients_are_numeric(model, *batch_of(rng, (3, 2, 2)), rng)


def test_conv_net_scores_against_written_out_loops(rng):
    model = ThreeLayerConvNet(**CONV, weight_scale=0.3, dtype=np.float64)
    w = model.params
    w["b1"] += rng.standard_normal(4)
    X = rng.standard_normal((2, 3, 6, 5))
    padded = np.pad(X, ((0, 0), (0, 0), (1, 1), (1, 1)))
    maps = np.empty((2, 4, 6, 5))
    for n, f, i, j in np.ndindex(maps.shape):
        maps[n, f, i, j] = np.sum(padded[n, :, i : i + 3, j : j + 3] * w["W1"][f]) + w["b1"][f]
    pooled = np.empty((2, 4, 3, 2))
    for n, f, i, j in np.ndindex(pooled.shape):
        pooled[n, f, i, j] = max(0, maps[n, f, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].max())
    hidden = np.maximum(0, pooled.reshape(2, -1) @ w["W2"] + w["b2"])
    assert model.loss(X) == pytest.approx(hidden @ w["W3"] + w["b3"], rel=1e-12)


@pytest.mark.parametrize("name", sorted(set(NETWORKS) - {"dropout"}))
def test_the_loss_ignores_the_order_of_the_batch(name, rng):
    build, arguments, shape = NETWORKS[name]
    np.random.seed(231)
    model = build(dtype=np.float64, reg=0.1, **arguments)
    X, y = batch_of(rng, shape)
    order = rng.permutation(len(X))
    loss, grads = model.loss(X, y)
    shuffled_loss, shuffled_grads = model.loss(X[order], y[order])
    assert shuffled_loss == pytest.approx(loss, rel=1e-12)
    for name, grad in grads.items():
        assert shuffled_grads[name] == pytest.approx(grad, rel=1e-9, abs=1e-12)


WEIGHT_SHAPES = {
    "two-layer": (
        lambda dtype: TwoLayerNet(12, 7, 5, weight_scale=0.2, dtype=dtype),
        {"W1": (12, 7), "b1": (7,), "W2": (7, 5), "b2": (5,)},
    ),
    "fully-connected": (
        lambda dtype: FullyConnectedNet(
            [7, 6], 12, 5, 0.5, "batchnorm", weight_scale=0.2, dtype=dtype
        ),
        {
            **{"W1": (12, 7), "b1": (7,), "gamma1": (7,), "beta1": (7,)},
            **{"W2": (7, 6), "b2": (6,), "gamma2": (6,), "beta2": (6,)},
            **{"W3": (6, 5), "b3": (5,)},
        },
    ),
    "conv": (
        lambda dtype: ThreeLayerConvNet((3, 8, 6), 4, 3, 7, 5, weight_scale=0.2, dtype=dtype),
        {
            **{"W1": (4, 3, 3, 3), "b1": (4,), "W2": (4 * 4 * 3, 7), "b2": (7,)},
            **{"W3": (7, 5), "b3": (5,)},
        },
    ),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("build", "shapes"), WEIGHT_SHAPES.values(), ids=WEIGHT_SHAPES)
def test_weights_are_drawn_in_order_in_float64_and_nothing_else_is(build, shapes, dtype):
    np.random.seed(17)
    params = build(dtype).params
    after = np.random.rand()
    np.random.seed(17)
    for layer in (1, 2, 3):
        if f"W{layer}" in shapes:
            expected = (0.2 * np.random.randn(*shapes[f"W{layer}"])).astype(dtype)
            np.testing.assert_array_equal(params[f"W{layer}"], expected)
    assert np.random.rand() == after
    assert {name: w.shape for name, w in params.items()} == shapes
    for name, w in params.items():
        assert w.dtype == dtype
        if not name.startswith("W"):
            np.testing.assert_array_equal(w, 1 if name.startswith("gamma") else 0)


def test_defaults_are_the_published_ones():
    model = FullyConnectedNet([3])
    assert (model.params["W1"].shape, model.params["W2"].shape) == ((3072, 3), (3, 10))
    assert model.params["W1"].dtype == np.float32
    assert model.params["W1"].std() == pytest.approx(1e-2, rel=0.05)
    assert (model.reg, model.normalization, model.use_dropout) == (0, None, False)
    conv = ThreeLayerConvNet()
    assert conv.params["W1"].shape == (32, 3, 7, 7)
    assert conv.params["W2"].shape == (32 * 16 * 16, 100)
    assert conv.params["W2"].std() == pytest.approx(1e-3, rel=0.05)
    assert conv.params["W3"].dtype == np.float32
    two = TwoLayerNet()
    assert (two.params["W1"].shape, two.params["W2"].shape) == ((3072, 100), (100, 10))
    assert two.params["W1"].std() == pytest.approx(1e-3, rel=0.05)


@pytest.mark.parametrize("given", ["uint8", "int64", "float32", "float64"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_samples_are_cast_to_the_dtype_of_the_network(network, dtype, given, rng):
    build, shape = network
    model = build(dtype=np.dtype(dtype), reg=0.5)
    X = (10 * rng.standard_normal((6, *shape))).clip(0, 200).astype(given)
    y = rng.integers(5, size=6)
    before = X.copy()
    loss, grads = model.loss(X, y, need_dx=True)
    cast_loss, cast_grads = model.loss(X.astype(dtype), y)
    scores, cast_scores = model.loss(X), model.loss(X.astype(dtype))
    assert scores.dtype == dtype
    np.testing.assert_array_equal(scores, cast_scores)
    assert isinstance(loss, float)
    assert loss == cast_loss
    assert set(grads) == {*model.params, "X"}
    for name, grad in cast_grads.items():
        assert grads[name].dtype == dtype
        assert grads[name].shape == model.params[name].shape
        np.testing.assert_array_equal(grads[name], grad)
    assert (grads["X"].dtype, grads["X"].shape) == (dtype, X.shape)
    np.testing.assert_array_equal(X, before)


def test_running_statistics_and_normalisation_stay_in_float32(rng):
    model = FullyConnectedNet([7], normalization="batchnorm", **FC)
    model.loss(*batch_of(rng, (12,)))
    assert model.bn_params[0]["running_mean"].dtype == np.float32
    assert model.bn_params[0]["running_var"].dtype == np.float32


def test_read_only_and_strided_samples_work(network, rng):
    build, shape = network
    model = build(dtype=np.float64)
    X, y = batch_of(rng, shape)
    strided = np.repeat(X, 2, axis=-1)[..., ::2]
    strided.flags.writeable = False
    expected, found = model.loss(X, y)[1], model.loss(strided, y)[1]
    for name, grad in expected.items():
        np.testing.assert_allclose(found[name], grad, rtol=1e-12, atol=1e-14)


def test_an_empty_batch_has_no_scores(network):
    build, shape = network
    assert build().loss(np.empty((0, *shape))).shape == (0, 5)


def test_parameters_may_be_replaced(network, rng):
    build, shape = network
    model, other = build(dtype=np.float64), build(dtype=np.float64)
    X, y = batch_of(rng, shape)
    expected = other.loss(X, y)[0]
    assert model.loss(X, y)[0] != expected
    for name, w in other.params.items():
        model.params[name] = np.asfortranarray(w.copy())
    assert model.loss(X, y)[0] == pytest.approx(expected, rel=1e-12)
    model.params = {name: w.copy() for name, w in other.params.items()}
    assert model.loss(X, y)[0] == expected


def test_fortran_ordered_parameters_give_the_same_gradients(network, rng):
    build, shape = network
    model = build(dtype=np.float64, reg=0.3)
    X, y = batch_of(rng, shape)
    _, expected = model.loss(X, y)
    for name, w in model.params.items():
        model.params[name] = np.asfortranarray(w)
    _, found = model.loss(X, y)
    for name, grad in expected.items():
        np.testing.assert_allclose(found[name], grad, rtol=1e-11, atol=1e-14)


def test_parameters_may_be_perturbed_in_place(network, rng):
    build, shape = network
    model = build(dtype=np.float64)
    X, y = batch_of(rng, shape)
    before = model.loss(X, y)[0]
    last = max(name for name in model.params if name.startswith("b") and name[1:].isdigit())
    model.params[last][y[0]] += 1
    assert model.loss(X, y)[0] != before
    model.params[last][y[0]] -= 1
    assert model.loss(X, y)[0] == pytest.approx(before, rel=1e-14)


def test_loss_leaves_the_parameters_alone(network, rng):
    build, shape = network
    model = build(reg=0.3)
    copies = {name: w.copy() for name, w in model.params.items()}
    arrays = dict(model.params)
    X, y = batch_of(rng, shape)
    _, first = model.loss(X, y)
    kept = {name: grad.copy() for name, grad in first.items()}
    model.loss(2 * X, y)
    for name, w in model.params.items():
        assert w is arrays[name]
        np.testing.assert_array_equal(w, copies[name])
        np.testing.assert_array_equal(first[name], kept[name])


def test_large_results_are_not_overwritten_by_later_calls(rng):
    """Small arrays come from NumPy anyway; memory that is used again serves large ones."""
    model = ThreeLayerConvNet(reg=0.1)
    X, y = rng.standard_normal((30, 3, 32, 32)), rng.integers(10, size=30)
    _, grads = model.loss(X, y, need_dx=True)
    held = {"scores": model.loss(X), **grads}
    copies = {name: array.copy() for name, array in held.items()}
    for scale in (2, 3):
        model.loss(scale * X, y, need_dx=True)
        model.loss(scale * X)
    for name, array in copies.items():
        np.testing.assert_array_equal(held[name], array, err_msg=name)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_reg_may_be_set_afterwards_and_acts_on_weights_only(network, dtype, rng):
    build, shape = network
    model = build(dtype=dtype)
    for name, w in model.params.items():
        if not name.startswith("W"):
            w += 0.5
    X, y = batch_of(rng, shape)
    plain_loss, plain = model.loss(X, y)
    model.reg = 0.8
    loss, grads = model.loss(X, y)
    weights = {name: w.astype(np.float64) for name, w in model.params.items() if name[0] == "W"}
    squares = sum(np.sum(w**2) for w in weights.values())
    close = {"rtol": 1e-5, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-11, "atol": 1e-12}
    np.testing.assert_allclose(loss - plain_loss, 0.5 * 0.8 * squares, **close)
    for name, grad in grads.items():
        np.testing.assert_allclose(grad - plain[name], 0.8 * weights.get(name, 0 * grad), **close)


def test_need_dx_gives_the_gradient_of_the_images(network, rng):
    build, shape = network
    model = build(dtype=np.float64, reg=0.3)
    X, y = batch_of(rng, shape)
    _, plain = model.loss(X, y)
    _, grads = model.loss(X, y, need_dx=True)
    assert "X" not in plain
    for name, grad in plain.items():
        np.testing.assert_array_equal(grads[name], grad)
    for _ in range(3):
        direction = rng.standard_normal(X.shape)
        numeric = slope_along(model, X, y, X, direction, 1e-6)
        assert np.sum(grads["X"] * direction) == pytest.approx(numeric, rel=1e-5, abs=1e-8)


def test_the_first_layer_computes_no_dx_unless_it_is_needed(network, rng):
    build, shape = network
    model = build()
    results = []
    first = model._layers[0]

    @functools.wraps(first.stage.backward)
    def spy(*args, **kwargs):
        results.append(first.stage.backward(*args, **kwargs))
        return results[-1]

    model._layers[0] = first._replace(stage=first.stage._replace(backward=spy))
    X, y = batch_of(rng, shape)
    model.loss(X, y)
    assert results[-1][0] is None
    model.loss(X, y, need_dx=True)
    assert results[-1][0].shape == X.shape
    assert len(results) == 2


@pytest.mark.parametrize("normalization", ["batchnorm", "layernorm"])
def test_bn_params_are_a_list_of_dicts_one_for_each_hidden_layer(normalization, rng):
    model = FullyConnectedNet([7, 6, 5], normalization=normalization, **FC)
    assert isinstance(model.bn_params, list)
    assert [type(param) for param in model.bn_params] == [dict] * 3
    X, y = batch_of(rng, (12,))
    model.loss(X, y)
    assert [param["mode"] for param in model.bn_params] == ["train"] * 3
    model.loss(X)
    assert [param["mode"] for param in model.bn_params] == ["test"] * 3


@pytest.mark.parametrize("name", ["two-layer", "fully-connected", "conv"])
def test_networks_without_normalisation_have_no_bn_params(name):
    build, arguments, _ = NETWORKS[name]
    assert build(**arguments).bn_params == []


def test_batchnorm_trains_with_batch_and_tests_with_running_statistics(rng):
    model = FullyConnectedNet([7], normalization="batchnorm", dtype=np.float64, **FC)
    X, y = batch_of(rng, (12,), N=40)
    model.loss(X, y)
    w, param = model.params, model.bn_params[0]
    a = X @ w["W1"] + w["b1"]
    np.testing.assert_allclose(param["running_mean"], 0.1 * a.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(param["running_var"], 0.1 * a.var(axis=0), rtol=1e-12)
    before = {key: np.copy(param[key]) for key in ("running_mean", "running_var")}
    scores = model.loss(X[:5])
    x_hat = (a[:5] - before["running_mean"]) / np.sqrt(before["running_var"] + 1e-5)
    np.testing.assert_allclose(scores, np.maximum(x_hat, 0) @ w["W2"] + w["b2"], rtol=1e-10)
    for key, statistic in before.items():
        np.testing.assert_array_equal(param[key], statistic)


def test_layernorm_works_alike_in_training_and_testing(rng):
    model = FullyConnectedNet([7], normalization="layernorm", dtype=np.float64, **FC)
    X = rng.standard_normal((5, 12))
    w = model.params
    a = X @ w["W1"] + w["b1"]
    x_hat = (a - a.mean(axis=1, keepdims=True)) / np.sqrt(a.var(axis=1, keepdims=True) + 1e-5)
    expected = np.maximum(x_hat, 0) @ w["W2"] + w["b2"]
    np.testing.assert_allclose(model.loss(X), expected, rtol=1e-10)
    np.testing.assert_allclose(model.forward(X, "train")[0], expected, rtol=1e-10)


def test_dropout_draws_its_mask_from_the_global_generator_in_training_only(rng):
    model = FullyConnectedNet([7], dropout_keep_ratio=0.4, dtype=np.float64, **FC)
    X, y = batch_of(rng, (12,))
    w = model.params
    hidden = np.maximum(X @ w["W1"] + w["b1"], 0)
    np.random.seed(8)
    scores, _ = model.forward(X, "train")
    after = np.random.rand()
    np.random.seed(8)
    mask = (np.random.rand(6, 7) < 0.4) / 0.4
    assert np.random.rand() == after
    np.testing.assert_allclose(scores, (hidden * mask) @ w["W2"] + w["b2"], rtol=1e-12)
    np.random.seed(8)
    np.testing.assert_allclose(model.loss(X), hidden @ w["W2"] + w["b2"], rtol=1e-12)
    assert np.random.rand() != after
    assert model.loss(X, y)[0] != model.loss(X, y)[0]  # a new mask each time


# The keep ratio that each spelling means; 1 is no dropout at all.
SPELLINGS = {
    "nothing": ({}, 1),
    "dropout_keep_ratio": ({"dropout_keep_ratio": 0.25}, 0.25),
    "dropout_keep_ratio=1": ({"dropout_keep_ratio": 1}, 1),
    "keep ratio of 2018": ({"dropout": 0.25}, 0.25),
    "keep ratio of 2018, normalization": ({"dropout": 0.25, "normalization": "batchnorm"}, 0.25),
    "keep ratio of 2018, off": ({"dropout": 1}, 1),
    "off": ({"dropout": 0}, 1),
    "drop probability of 2016": ({"dropout": 0.25, "use_batchnorm": True}, 0.75),
    "drop probability without batch norm": ({"dropout": 0.25, "use_batchnorm": False}, 0.75),
    "drop probability, off": ({"dropout": 0, "use_batchnorm": True}, 1),
    "keep ratio with use_batchnorm": ({"dropout_keep_ratio": 0.25, "use_batchnorm": True}, 0.25),
}


@pytest.mark.parametrize(("arguments", "keep"), SPELLINGS.values(), ids=SPELLINGS)
def test_spellings_of_dropout(arguments, keep):
    model = FullyConnectedNet([400], seed=3, input_dim=4, dtype=np.float64, **arguments)
    assert model.use_dropout == (keep != 1)
    if keep != 1:
        assert model.dropout_param["p"] == pytest.approx(keep)
    # Hidden units that are all 1 and are summed up: the scores count those that are kept.
    model.params["W1"][:] = 0
    model.params["b1"][:] = 1
    model.params["W2"][:] = 1 / 400
    if model.bn_params:
        model.params["beta1"][:] = 1
    scores, _ = model.forward(np.ones((50, 4)), "train")
    assert scores.mean() == pytest.approx(1, abs=0.02)
    assert scores.std() == pytest.approx(np.sqrt((1 - keep) / keep / 400), rel=0.2, abs=1e-12)


def test_the_keep_ratio_keeps_its_place_among_the_arguments():
    assert FullyConnectedNet([3], 4, 5, 0.25).dropout_param["p"] == 0.25
    assert FullyConnectedNet([3], 4, 5, 1, "layernorm", 0.5, 1e-3, np.float64, 9).reg == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dropout": 0.5, "dropout_keep_ratio": 0.5}, "dropout=0.5 and dropout_keep_ratio=0.5"),
        ({"dropout": 0, "dropout_keep_ratio": 0.5}, "dropout=0 and dropout_keep_ratio=0.5"),
        ({"dropout": 1, "use_batchnorm": True}, "dropout"),
        ({"dropout": 1.5}, r"dropout is 1\.5"),
        ({"dropout": -0.1}, r"dropout is -0\.1"),
        ({"dropout": -0.1, "use_batchnorm": True}, "dropout"),
        ({"dropout_keep_ratio": 0}, "dropout_keep_ratio is 0"),
        ({"dropout_keep_ratio": 1.1}, r"dropout_keep_ratio is 1\.1"),
        ({"dropout_keep_ratio": float("nan")}, "dropout_keep_ratio is nan"),
        ({"use_batchnorm": True, "normalization": "layernorm"}, "use_batchnorm .*'layernorm'"),
        ({"normalization": "batch"}, "normalization is 'batch'; expected None, 'batchnorm'"),
        ({"hidden_dims": [5, 0]}, "hidden_dims is 0"),
        ({"reg": -1}, "reg is -1"),
        ({"weight_scale": -1}, "weight_scale is -1"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"dtype": np.int64}, "dtype is 'int64'; expected 'float32' or 'float64'"),
    ],
)
def test_wrong_arguments_of_a_fully_connected_net(arguments, message):
    with pytest.raises(ValueError, match=f"FullyConnectedNet: .*{message}"):
        FullyConnectedNet(**{"hidden_dims": [5], **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_dim": (3, 32)}, r"input_dim is \(3, 32\); expected \(C, H, W\)"),
        ({"input_dim": 3072}, "input_dim is 3072"),
        ({"num_filters": 0}, "num_filters is 0"),
        ({"filter_size": 0}, "filter_size is 0"),
        ({"input_dim": (3, 1, 8)}, "window"),
        ({"dtype": np.float16}, "dtype is 'float16'"),
    ],
)
def test_wrong_arguments_of_a_conv_net(arguments, message):
    with pytest.raises(ValueError, match=f"ThreeLayerConvNet: .*{message}"):
        ThreeLayerConvNet(**arguments)


def test_use_batchnorm_is_an_older_spelling_of_normalization():
    assert FullyConnectedNet([4], use_batchnorm=True).normalization == "batchnorm"
    assert "gamma1" in FullyConnectedNet([4], use_batchnorm=True).params
    assert FullyConnectedNet([4], use_batchnorm=False).normalization is None


def test_wrong_samples_and_labels_are_named(network, rng):
    build, shape = network
    model = build()
    X, y = batch_of(rng, shape)
    with pytest.raises(TypeError, match="X has dtype float16"):
        model.loss(X.astype(np.float16))
    with pytest.raises(ValueError, match=r"labels from .* to 5; expected 0 to 4"):
        model.loss(X, np.array([5, *y[1:]]))
    with pytest.raises(ValueError, match="y has shape"):
        model.loss(X, y[:-1])
    with pytest.raises(ValueError, match="expected"):
        model.loss(rng.standard_normal((6, 3, 9, 9)), y)


@pytest.fixture
def trained(network, rng):
    """Return a function that builds the network, and one that has seen training batches."""
    build, shape = network
    model = build(dtype=np.float64)
    for _ in range(3):
        model.loss(*batch_of(rng, shape))
    return build, model, rng.standard_normal((5, *shape))


def test_load_restores_what_save_wrote(trained, tmp_path):
    build, model, X = trained
    scores = model.loss(X)
    path = model.save(tmp_path / "model.npz")
    assert path == tmp_path / "model.npz"
    other = build(dtype=np.float64)
    assert not np.array_equal(other.loss(X), scores)
    other.load(path)
    assert list(other.params) == list(model.params)
    np.testing.assert_array_equal(other.loss(X), scores)
    single = build(dtype=np.float32)
    single.load(str(path))
    assert {w.dtype.name for w in single.params.values()} == {"float32"}
    np.testing.assert_allclose(single.loss(X), scores, rtol=1e-4, atol=1e-5)


def test_load_gives_arrays_of_its_own(trained, tmp_path):
    _, model, _ = trained
    held = dict(model.params)
    copies = {name: w.copy() for name, w in held.items()}
    model.save(tmp_path / "model")
    model.load(tmp_path / "model")
    for name, w in model.params.items():
        w += 1
        np.testing.assert_array_equal(held[name], copies[name])


def test_the_ending_is_added_where_it_is_missing(trained, tmp_path):
    _, model, _ = trained
    assert model.save(tmp_path / "run.1").name == "run.1.npz"
    model.load(tmp_path / "run.1")
    model.load(tmp_path / "run.1.npz")


def test_loading_an_untrained_network_forgets_the_running_statistics(tmp_path, rng):
    build = functools.partial(FullyConnectedNet, [7], normalization="batchnorm", **FC)
    fresh, used = build(), build()
    X, y = batch_of(rng, (12,))
    fresh.save(tmp_path / "fresh")
    used.loss(X, y)
    used.load(tmp_path / "fresh")
    np.testing.assert_array_equal(used.loss(X), fresh.loss(X))


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_parameters_without_running_statistics_are_refused_with_the_way_out(kept, tmp_path, rng):
    build = functools.partial(
        FullyConnectedNet, [7, 6], normalization="batchnorm", dtype=np.float64, **FC
    )
    model, other = build(), build()
    X, y = batch_of(rng, (12,))
    model.loss(X, y)
    with np.load(model.save(tmp_path / "whole")) as archive:
        statistics = [name for name in archive.files if name.startswith("bn_params")]
        some = {name: archive[name] for name in statistics[:kept]}
    assert len(statistics) == 4
    np.savez(tmp_path / "w.npz", **model.params, **some)
    before = snapshot(other)
    with pytest.raises(ValueError, match=r"w\.npz lacks .*running_var.*statistics='reset'"):
        other.load(tmp_path / "w.npz")
    after = snapshot(other)
    assert all(np.array_equal(after[name], array) for name, array in before.items())
    other.loss(X, y)
    other.load(tmp_path / "w.npz", statistics="reset")
    fresh = build()
    fresh.params = model.params
    np.testing.assert_array_equal(other.loss(X), fresh.loss(X))
    np.testing.assert_array_equal(other.loss(X, y)[0], fresh.loss(X, y)[0])
    with pytest.raises(ValueError, match=r"FullyConnectedNet\.load: statistics is 'no'"):
        other.load(tmp_path / "whole", statistics="no")


def snapshot(model):
    """Return copies of the parameters and of the running statistics of a network."""
    arrays = {name: w.copy() for name, w in model.params.items()}
    for index, param in enumerate(model.bn_params):
        arrays.update({f"{index} {key}": np.copy(value) for key, value in param.items()})
    return arrays


def without(name):
    """Return a change that leaves an array out."""
    return lambda arrays: arrays.pop(name)


def with_array(name, array):
    """Return a change that puts an array into the file."""
    return lambda arrays: arrays.update({name: array})


# What is changed in the file of a batch-norm network, and what the message must name.
DAMAGES = {
    "missing parameter": (without("W2"), "W2"),
    "unknown parameter": (with_array("W9", np.ones(3)), "W9"),
    "wrong shape": (with_array("W1", np.ones((7, 12))), r"W1 .*\(7, 12\); expected \(12, 7\)"),
    "text": (with_array("b1", np.array(["x"] * 7)), "b1"),
    "complex numbers": (with_array("b1", np.ones(7) * 1j), "b1"),
    "statistic of another layer": (
        with_array("bn_params/1/running_mean", np.ones(7)),
        "bn_params/1",
    ),
    "statistic of no layer": (with_array("bn_params/-1/running_mean", np.ones(7)), "bn_params/-1"),
    "statistic without index": (with_array("bn_params/x/running_mean", np.ones(7)), "bn_params/x"),
    "statistic without name": (with_array("bn_params/0", np.ones(7)), "bn_params/0"),
    "unknown statistic": (with_array("bn_params/0/mode", np.ones(7)), "bn_params/0/mode"),
    "statistic of wrong shape": (
        with_array("bn_params/0/running_var", np.ones(6)),
        r"running_var .*\(6,\); expected \(7,\)",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_a_file_of_another_network_is_refused_and_changes_nothing(damage, message, tmp_path, rng):
    model = FullyConnectedNet([7], normalization="batchnorm", **FC)
    path = tmp_path / "model.npz"
    model.loss(*batch_of(rng, (12,)))
    model.save(path)
    with np.load(path) as archive:
        arrays = {name: 2 * archive[name] for name in archive.files if name != "network"}
    damage(arrays)
    np.savez(path, **arrays)
    before = snapshot(model)
    with pytest.raises(ValueError, match=rf"(?s)FullyConnectedNet\.load: .*{message}"):
        model.load(path)
    after = snapshot(model)
    assert after.keys() == before.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(after[name], array, err_msg=name)


def test_the_file_of_another_form_of_network_is_refused(tmp_path):
    path = TwoLayerNet(12, 7, 5).save(tmp_path / "two")
    model = FullyConnectedNet([7, 6], **FC)
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"two\.npz.* W3"):
        model.load(path)
    for name, array in before.items():
        np.testing.assert_array_equal(model.params[name], array)


def test_a_damaged_file_is_refused_and_changes_nothing(trained, tmp_path):
    _, model, X = trained
    path = model.save(tmp_path / "model")
    scores = model.loss(X)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-30], b"", b"no archive"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"model\.npz is damaged"):
            model.load(path)
    np.testing.assert_array_equal(model.loss(X), scores)


def test_pickled_objects_are_refused(tmp_path):
    model = TwoLayerNet(12, 7, 5)
    path = tmp_path / "model.npz"
    hostile = {**model.params, "b1": np.array([{"a": 1}] * 7, dtype=object)}
    np.savez(path, **hostile)
    assert "b1.npy" in zipfile.ZipFile(path).namelist()
    before = snapshot(model)
    with pytest.raises(ValueError, match=r"model\.npz"):
        model.load(path)
    np.testing.assert_array_equal(model.params["W1"], before["W1"])
    model.params["b1"] = hostile["b1"]
    with pytest.raises(TypeError, match="b1 is an array of object"):
        model.save(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz"):
        TwoLayerNet(12, 7, 5).load(tmp_path / "nowhere")


HUGE = {
    "num_filters": lambda size: ThreeLayerConvNet(num_filters=size),
    "filter_size": lambda size: ThreeLayerConvNet(filter_size=size),
    "hidden_dim": lambda size: ThreeLayerConvNet(hidden_dim=size),
    "num_classes": lambda size: ThreeLayerConvNet(num_classes=size),
    "and hidden_dim": lambda size: TwoLayerNet(hidden_dim=size),
    "input_dim": lambda size: TwoLayerNet(input_dim=size),
    "hidden_dims": lambda size: FullyConnectedNet([3000, size]),
    "fc": lambda size: ConvNet(f"fc{size}-fc10"),
    "conv": lambda size: ConvNet(f"conv{size}x5-gavg-fc10"),
}


@pytest.mark.parametrize("size", [10**7 + 1, 10**9 - 1])
@pytest.mark.parametrize("name", HUGE)
def test_networks_beyond_all_memory_are_refused_by_name(name, size, monkeypatch):
    monkeypatch.setattr("numpy.random.randn", lambda *shape: np.zeros(shape[:0]))
    with pytest.raises(ValueError, match=rf"Net: .*{name}.*would make a weight of shape") as caught:
        HUGE[name](size)
    assert str(size) in str(caught.value)


@pytest.mark.parametrize("name", ["dropout_keep_ratio", "dropout"])
def test_a_ratio_that_rounding_took_past_one_is_one(name):
    ratio = float(np.arange(0.1, 1.05, 0.3)[-1])
    assert ratio > 1
    assert not FullyConnectedNet([5], **{name: ratio}).use_dropout
    with pytest.raises(ValueError, match=name):
        FullyConnectedNet([5], **{name: 1.001})


def test_dropout_alone_warns_once_of_its_two_readings(monkeypatch):
    monkeypatch.setattr(fc_net, "_told", False)
    for clear in (0, 1):
        FullyConnectedNet([5], dropout=clear)
    FullyConnectedNet([5], dropout=0.25, use_batchnorm=True)
    both = r"dropout_keep_ratio=0\.25.*dropout_keep_ratio=0\.75"
    with pytest.warns(UserWarning, match=both) as warned:
        kept = [FullyConnectedNet([5], dropout=p).dropout_param["p"] for p in (0.25, 0.5)]
    assert [warning.filename for warning in warned] == [__file__]
    assert kept == [0.25, 0.5]


def peak(run):
    """The most bytes that were held at a time while a function ran, which keeps none."""
    workspace.clear()
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        workspace.clear()


def test_a_step_frees_each_cache_when_it_has_been_used(rng):
    architecture = "conv8-conv8-pool-conv16-conv16-gavg-fc3"
    model = ConvNet(architecture, (3, 16, 16), normalization="batchnorm")
    X, y = rng.standard_normal((64, 3, 16, 16)).astype(np.float32), rng.integers(0, 3, 64)
    dscores = rng.standard_normal((64, 3)).astype(np.float32)

    def with_caches_held():
        _, caches = model.forward(X, "train")
        model.backward(dscores, caches)

    map_bytes = 64 * 8 * 16 * 16 * 4
    assert peak(lambda: model.loss(X, y)) < peak(with_caches_held) - map_bytes


def test_caches_serve_for_several_gradients(rng):
    model = ConvNet("conv4-res(conv4)-gavg-fc3", (2, 6, 6))
    X = rng.standard_normal((2, 2, 6, 6))
    _, caches = model.forward(X, "train")
    first, again = (model.backward(np.eye(2, 3), caches, need_dx=True) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    assert first[1].keys() == again[1].keys()
    for frozen, need_dx in ((set(), True), ({"W1", "b1"}, False)):
        model.frozen, held = frozen, [*caches]
        dx, grads = model.backward(np.eye(2, 3), held, need_dx)
        assert held == []
        assert (dx is None) != need_dx
        assert grads.keys() == first[1].keys() - frozen
        for name, dw in grads.items():
            np.testing.assert_array_equal(dw, first[1][name])


@pytest.mark.parametrize("X", [3.0, np.array(3.0), np.ones((2, 2, 6))])
def test_what_is_no_batch_of_images_is_refused_by_the_first_layer(X):
    model = ConvNet("conv4-gavg-fc3", (2, 6, 6), normalization="batchnorm")
    message = r"^conv_\w*forward_\w+: x has shape .*; expected \(N, C, H, W\)"
    with pytest.raises(ValueError, match=message):
        model.loss(X)


def test_filters_of_other_axes_are_refused_by_their_layer(rng):
    model = ConvNet("conv4-gavg-fc3", (2, 6, 6), normalization="batchnorm")
    model.params["W1"] = model.params["W1"].reshape(4, 18)
    with pytest.raises(ValueError, match=r"conv_forward_\w+: w has shape \(4, 18\)"):
        model.loss(rng.standard_normal((2, 2, 6, 6)))
