"""Published numbers: what the course's own checks print must come out here as well.

Each function follows the recipe of one entry of known_answers.json: the same seeds, the same order
of draws.  Means and standard deviations were printed with eight decimals.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import KERNELS

from cs231n import fast_layers, layers, optim
from cs231n.classifiers.cnn import ThreeLayerConvNet
from cs231n.classifiers.fc_net import FullyConnectedNet
from cs231n.gradient_check import (
    eval_numerical_gradient,
    eval_numerical_gradient_array,
    rel_error,
)
from cs231n.kernels import backend, fast_optim
from cs231n.layer_utils import (
    conv_relu_backward,
    conv_relu_forward,
    conv_relu_pool_backward,
    conv_relu_pool_forward,
)

_FILE = json.loads((Path(__file__).parent / "known_answers.json").read_text())
ANSWERS, GRADIENT_CHECKS = _FILE["answers"], _FILE["gradient_checks"]

CONV = {
    "naive": (layers.conv_forward_naive, layers.conv_backward_naive),
    "fast": (fast_layers.conv_forward_fast, fast_layers.conv_backward_fast),
}
POOL = {
    "naive": (layers.max_pool_forward_naive, layers.max_pool_backward_naive),
    "fast": (fast_layers.max_pool_forward_fast, fast_layers.max_pool_backward_fast),
}
PAD_1, HALVE = {"stride": 1, "pad": 1}, {"pool_height": 2, "pool_width": 2, "stride": 2}


@pytest.fixture(params=["naive", *KERNELS])
def path(request):
    """Run the test with the naive layers, and with the fast ones on each set of kernels."""
    previous = backend.select("auto" if request.param == "naive" else request.param)
    yield "naive" if request.param == "naive" else "fast"
    backend.select(previous)


def answer(name):
    """Return what is expected, and the tolerance."""
    entry = ANSWERS[name]
    return entry["expected"], entry["tolerance"]


def assert_means_and_stds(rows, axis, expected, tolerance, prefix=""):
    """Compare means and standard deviations along an axis with the printed ones."""
    for name, found in [("means", rows.mean(axis)), ("stds", rows.std(axis))]:
        if prefix + name in expected:
            wanted = expected[prefix + name]
            np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance)


def assert_gradients(name, forward, arrays, gradients, dout, h=1e-5):
    """Compare gradients with numeric ones; the error may be twice the published one."""
    bounds = GRADIENT_CHECKS[name]
    for array, gradient, (label, bound) in zip(arrays, gradients, bounds.items(), strict=True):
        numeric = eval_numerical_gradient_array(lambda _: forward()[0], array, dout, h)
        assert rel_error(gradient, numeric) <= 2 * bound, label


def test_every_answer_has_its_test():
    names = [f"test_{name}" for name in ANSWERS]
    names += [f"test_{name}_gradients" for name in GRADIENT_CHECKS]
    assert [name for name in names if name not in globals()] == []


def test_conv_forward(path):
    x = np.linspace(-0.1, 0.5, 96).reshape(2, 3, 4, 4)
    w = np.linspace(-0.2, 0.3, 144).reshape(3, 3, 4, 4)
    b = np.linspace(-0.1, 0.2, 3)
    conv_forward, _ = CONV[path]
    out, _ = conv_forward(x, w, b, {"stride": 2, "pad": 1})
    expected, tolerance = answer("conv_forward")
    assert rel_error(out, expected) <= tolerance


def test_max_pool_forward(path):
    x = np.linspace(-0.3, 0.4, 96).reshape(2, 3, 4, 4)
    max_pool_forward, _ = POOL[path]
    out, _ = max_pool_forward(x, HALVE)
    expected, tolerance = answer("max_pool_forward")
    assert rel_error(out, expected) <= tolerance


@pytest.fixture(params=["reference", *KERNELS])
def step(request):
    """Return a function like an update rule, by the reference or by the twin on each kernels."""
    if request.param == "reference":
        yield lambda rule, w, dw, config: optim.RULES[rule](w, dw, config)
        return
    previous = backend.select(request.param)
    yield lambda rule, w, dw, config: (fast_optim.update(rule, w, dw, config), config)
    backend.select(previous)


def assert_update(rule, step, config):
    """Make one step of the notebook's parameter, and compare it and the state."""
    w, dw = np.linspace(-0.4, 0.6, 20).reshape(4, 5), np.linspace(-0.6, 0.4, 20).reshape(4, 5)
    next_w, config = step(rule, w, dw, config)
    expected, tolerance = answer(rule)
    found = {"next_w": next_w, **{f"config.{name}": value for name, value in config.items()}}
    for name, value in expected.items():
        assert rel_error(found[name], value) <= tolerance, name


def test_sgd_momentum(step):
    velocity = np.linspace(0.6, 0.9, 20).reshape(4, 5)
    assert_update("sgd_momentum", step, {"learning_rate": 1e-3, "velocity": velocity})


def test_rmsprop(step):
    cache = np.linspace(0.6, 0.9, 20).reshape(4, 5)
    assert_update("rmsprop", step, {"learning_rate": 1e-2, "cache": cache})


def test_adam(step):
    m, v = np.linspace(0.6, 0.9, 20).reshape(4, 5), np.linspace(0.7, 0.5, 20).reshape(4, 5)
    config = {"learning_rate": 1e-2, "m": m, "v": v, "t": 5}
    assert_update("adam", step, config)
    assert config["t"] == 6


def two_samples():
    """Seed the generator and draw the two samples of the notebook's fully connected nets."""
    np.random.seed(231)
    return np.random.randn(2, 15), np.random.randint(10, size=(2,))


def small_net(**options):
    """Return the notebook's fully connected net."""
    return FullyConnectedNet(
        [20, 30], input_dim=15, num_classes=10, weight_scale=5e-2, dtype=np.float64, **options
    )


def assert_losses(name, X, y, nets):
    """Compare the initial losses of nets that are built one after another."""
    expected, tolerance = answer(name)
    losses = [net.loss(X, y)[0] for net in nets]
    np.testing.assert_allclose(losses, expected, rtol=tolerance)


def test_fully_connected_initial_loss():
    X, y = two_samples()
    nets = (small_net(reg=reg) for reg in (0, 3.14))
    assert_losses("fully_connected_initial_loss", X, y, nets)


def test_fully_connected_batchnorm_initial_loss():
    X, y = two_samples()
    nets = (small_net(reg=reg, normalization="batchnorm") for reg in (0, 3.14))
    assert_losses("fully_connected_batchnorm_initial_loss", X, y, nets)


def test_fully_connected_dropout_initial_loss():
    X, y = two_samples()
    nets = (small_net(dropout_keep_ratio=ratio, seed=123) for ratio in (1, 0.75, 0.5))
    assert_losses("fully_connected_dropout_initial_loss", X, y, nets)


def test_fully_connected_gradients():
    X, y = two_samples()
    for reg in (0, 3.14):
        net = small_net(reg=reg)
        _, grads = net.loss(X, y)
        for name in net.params:
            numeric = eval_numerical_gradient(
                lambda _, net=net: net.loss(X, y)[0], net.params[name], verbose=False, h=1e-5
            )
            # Some gradients are so small that the last bit of the loss, divided by h, is seen.
            bound = 2 * GRADIENT_CHECKS["fully_connected"]["any"]
            np.testing.assert_allclose(numeric, grads[name], rtol=bound, atol=1e-10)


def test_dropout_forward():
    np.random.seed(231)
    x = np.random.randn(500, 500) + 10
    found = {"mean_x": x.mean(), "train_mean": [], "train_zero_fraction": []}
    for p in (0.25, 0.4, 0.7):
        out, _ = layers.dropout_forward(x, {"mode": "train", "p": p})
        test_out, _ = layers.dropout_forward(x, {"mode": "test", "p": p})
        found["train_mean"].append(out.mean())
        found["train_zero_fraction"].append((out == 0).mean())
        np.testing.assert_array_equal(test_out, x)
    expected, tolerance = answer("dropout_forward")
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=tolerance)


def activations(N, *weights):
    """Draw a batch and run it through the notebook's two affine layers."""
    W1, W2 = weights
    return np.maximum(0, np.random.randn(N, 50) @ W1) @ W2


def test_batchnorm_train():
    np.random.seed(231)
    X, W1, W2 = np.random.randn(200, 50), np.random.randn(50, 60), np.random.randn(60, 3)
    a = np.maximum(0, X @ W1) @ W2
    out, _ = layers.batchnorm_forward(a, np.ones(3), np.zeros(3), {"mode": "train"})
    expected, tolerance = answer("batchnorm_train")
    assert_means_and_stds(a, 0, expected, tolerance, "before_")
    assert_means_and_stds(out, 0, expected, tolerance, "after_")
    np.testing.assert_allclose(out.mean(axis=0), 0, rtol=0, atol=1e-15)


def test_batchnorm_test_after_50_training_passes():
    np.random.seed(231)
    weights = np.random.randn(50, 60), np.random.randn(60, 3)
    gamma, beta, bn_param = np.ones(3), np.zeros(3), {"mode": "train"}
    for _ in range(50):
        layers.batchnorm_forward(activations(200, *weights), gamma, beta, bn_param)
    bn_param["mode"] = "test"
    out, _ = layers.batchnorm_forward(activations(200, *weights), gamma, beta, bn_param)
    assert_means_and_stds(out, 0, *answer("batchnorm_test_after_50_training_passes"))


def test_layernorm():
    np.random.seed(231)
    X, W1, W2 = np.random.randn(4, 50), np.random.randn(50, 60), np.random.randn(60, 3)
    a = np.maximum(0, X @ W1) @ W2
    out, _ = layers.layernorm_forward(a, np.ones(3), np.zeros(3), {})
    expected, tolerance = answer("layernorm")
    assert_means_and_stds(a, 1, expected, tolerance, "before_")
    assert_means_and_stds(out, 1, expected, tolerance, "after_")


def test_spatial_batchnorm_train():
    np.random.seed(231)
    x = 4 * np.random.randn(2, 3, 4, 5) + 10
    gamma, beta = np.asarray([3, 4, 5]), np.asarray([6, 7, 8])
    out, _ = layers.spatial_batchnorm_forward(x, gamma, beta, {"mode": "train"})
    expected, tolerance = answer("spatial_batchnorm_train")
    assert_means_and_stds(x, (0, 2, 3), expected, tolerance, "before_")
    assert_means_and_stds(out, (0, 2, 3), expected, tolerance, "after_")


def test_spatial_batchnorm_test():
    np.random.seed(231)
    gamma, beta, bn_param = np.ones(4), np.zeros(4), {"mode": "train"}
    for _ in range(50):
        x = 2.3 * np.random.randn(10, 4, 11, 12) + 13
        layers.spatial_batchnorm_forward(x, gamma, beta, bn_param)
    bn_param["mode"] = "test"
    x = 2.3 * np.random.randn(10, 4, 11, 12) + 13
    out, _ = layers.spatial_batchnorm_forward(x, gamma, beta, bn_param)
    assert_means_and_stds(out, (0, 2, 3), *answer("spatial_batchnorm_test"))


def test_spatial_groupnorm():
    np.random.seed(231)
    x = 4 * np.random.randn(2, 6, 4, 5) + 10
    gamma, beta = np.ones((1, 6, 1, 1)), np.zeros((1, 6, 1, 1))
    out, _ = layers.spatial_groupnorm_forward(x, gamma, beta, 2, {})
    expected, tolerance = answer("spatial_groupnorm")
    assert_means_and_stds(x.reshape(4, -1), 1, expected, tolerance, "before_")
    assert_means_and_stds(out.reshape(4, -1), 1, expected, tolerance, "after_")


def normals(*shapes):
    """Seed the generator and draw arrays of these shapes."""
    np.random.seed(231)
    return [np.random.randn(*shape) for shape in shapes]


def test_conv_gradients(path):
    conv_forward, conv_backward = CONV[path]
    x, w, b, dout = normals((4, 3, 5, 5), (2, 3, 3, 3), (2,), (4, 2, 5, 5))

    def forward():
        return conv_forward(x, w, b, PAD_1)

    gradients = conv_backward(dout, forward()[1])
    assert_gradients("conv", forward, [x, w, b], gradients, dout)


def test_max_pool_gradients(path):
    max_pool_forward, max_pool_backward = POOL[path]
    x, dout = normals((3, 2, 8, 8), (3, 2, 4, 4))

    def forward():
        return max_pool_forward(x, HALVE)

    gradients = [max_pool_backward(dout, forward()[1])]
    assert_gradients("max_pool", forward, [x], gradients, dout)


def test_conv_relu_pool_gradients(backend_name):
    x, w, b, dout = normals((2, 3, 16, 16), (3, 3, 3, 3), (3,), (2, 3, 8, 8))

    def forward():
        return conv_relu_pool_forward(x, w, b, PAD_1, HALVE)

    gradients = conv_relu_pool_backward(dout, forward()[1])
    assert_gradients("conv_relu_pool", forward, [x, w, b], gradients, dout)


def test_conv_relu_gradients(backend_name):
    x, w, b, dout = normals((2, 3, 8, 8), (3, 3, 3, 3), (3,), (2, 3, 8, 8))

    def forward():
        return conv_relu_forward(x, w, b, PAD_1)

    gradients = conv_relu_backward(dout, forward()[1])
    assert_gradients("conv_relu", forward, [x, w, b], gradients, dout)


@pytest.mark.parametrize("backward", [layers.batchnorm_backward, layers.batchnorm_backward_alt])
def test_batchnorm_gradients(backward):
    x, gamma, beta, dout = normals((4, 5), (5,), (5,), (4, 5))
    x = 5 * x + 12

    def forward():
        return layers.batchnorm_forward(x, gamma, beta, {"mode": "train"})

    gradients = backward(dout, forward()[1])
    assert_gradients("batchnorm", forward, [x, gamma, beta], gradients, dout)


def test_layernorm_gradients():
    x, gamma, beta, dout = normals((4, 5), (5,), (5,), (4, 5))
    x = 5 * x + 12

    def forward():
        return layers.layernorm_forward(x, gamma, beta, {})

    gradients = layers.layernorm_backward(dout, forward()[1])
    assert_gradients("layernorm", forward, [x, gamma, beta], gradients, dout)


def test_spatial_batchnorm_gradients():
    x, gamma, beta, dout = normals((2, 3, 4, 5), (3,), (3,), (2, 3, 4, 5))
    x = 5 * x + 12

    def forward():
        return layers.spatial_batchnorm_forward(x, gamma, beta, {"mode": "train"})

    gradients = layers.spatial_batchnorm_backward(dout, forward()[1])
    assert_gradients("spatial_batchnorm", forward, [x, gamma, beta], gradients, dout)


def test_spatial_groupnorm_gradients():
    scale = (1, 6, 1, 1)
    x, gamma, beta, dout = normals((2, 6, 4, 5), scale, scale, (2, 6, 4, 5))
    x = 5 * x + 12

    def forward():
        return layers.spatial_groupnorm_forward(x, gamma, beta, 2, {})

    gradients = layers.spatial_groupnorm_backward(dout, forward()[1])
    assert_gradients("spatial_groupnorm", forward, [x, gamma, beta], gradients, dout)


def test_dropout_gradients():
    x, dout = normals((10, 10), (10, 10))
    x = x + 10

    def forward():
        return layers.dropout_forward(x, {"mode": "train", "p": 0.2, "seed": 123})

    gradients = [layers.dropout_backward(dout, forward()[1])]
    assert_gradients("dropout", forward, [x], gradients, dout)


@pytest.mark.long
def test_three_layer_conv_net_gradients():
    np.random.seed(231)
    X, y = np.random.randn(2, 3, 16, 16), np.random.randint(10, size=2)
    net = ThreeLayerConvNet(
        num_filters=3, filter_size=3, input_dim=(3, 16, 16), hidden_dim=7, dtype=np.float64
    )
    _, grads = net.loss(X, y)
    for name, bound in GRADIENT_CHECKS["three_layer_conv_net"].items():
        numeric = eval_numerical_gradient(
            lambda _: net.loss(X, y)[0], net.params[name], verbose=False, h=1e-6
        )
        assert rel_error(numeric, grads[name]) <= 2 * bound, name
