"""Networks on the reference layers: the same results, and a change to `layers` shows."""

import functools

import numpy as np
import pytest
from conftest import assert_close

from cs231n import fast_layers, layer_utils, layers
from cs231n.classifiers import ConvNet, FullyConnectedNet, ThreeLayerConvNet
from cs231n.kernels import backend, numpy_kernels

NETWORKS = {
    "fully connected": lambda: FullyConnectedNet([9, 8], 3 * 8 * 8, dtype=np.float64),
    "batch norm and dropout": lambda: FullyConnectedNet(
        [9, 8], 3 * 8 * 8, 10, 0.7, "batchnorm", dtype=np.float64, seed=3
    ),
    "layer norm": lambda: FullyConnectedNet(
        [9, 8], 3 * 8 * 8, normalization="layernorm", dtype=np.float64
    ),
    "three layers": lambda: ThreeLayerConvNet((3, 8, 8), 4, 3, 9, dtype=np.float64),
    "batch norm": lambda: ConvNet(
        "conv4-pool-conv6-gavg-fc10", (3, 8, 8), normalization="batchnorm", dtype=np.float64
    ),
    "group norm": lambda: ConvNet(
        "conv8-conv16-gmax-fc10", (3, 8, 8), normalization="groupnorm", dtype=np.float64
    ),
}


@pytest.fixture
def reference():
    """Select the reference layers."""
    previous = fast_layers.backend()
    assert fast_layers.backend("reference") == "reference"
    yield
    backend.select(previous)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_compute_the_same_on_the_reference(name, rng):
    np.random.seed(231)
    model = NETWORKS[name]()
    X, y = rng.standard_normal((4, 3, 8, 8)), np.array([1, 0, 9, 3])
    loss, grads = model.loss(X, y, need_dx=True)
    scores = model.loss(X)
    np.random.seed(231)
    twin = NETWORKS[name]()
    previous = backend.select("reference")
    try:
        found, gradients = twin.loss(X, y, need_dx=True)
        assert_close(twin.loss(X), scores, looser=10)
    finally:
        backend.select(previous)
    assert_close(found, loss, looser=10)
    assert gradients.keys() == grads.keys()
    for key, gradient in grads.items():
        assert_close(gradients[key], gradient, looser=100, scale=max(1.0, np.abs(gradient).max()))


@pytest.mark.parametrize("name", NETWORKS)
def test_no_kernel_is_called(reference, name, rng, monkeypatch):
    np.random.seed(231)
    model = NETWORKS[name]()
    for kernel in numpy_kernels.__all__:
        monkeypatch.delattr(numpy_kernels, kernel)
    loss, _ = model.loss(rng.standard_normal((4, 3, 8, 8)), np.array([1, 0, 9, 3]))
    assert np.isfinite(loss)


def test_a_change_to_layers_changes_a_network_and_its_gradients(reference, rng, monkeypatch):
    np.random.seed(231)
    model = FullyConnectedNet([9], 12, weight_scale=0.5, dtype=np.float64)
    X, y = rng.standard_normal((4, 12)), np.array([1, 0, 9, 3])
    before = model.loss(X, y)[0]

    def leaky_forward(x):
        return np.where(x > 0, x, 0.5 * x), x

    def leaky_backward(dout, cache):
        return np.where(cache > 0, dout, 0.5 * dout)

    monkeypatch.setattr(layers, "relu_forward", leaky_forward)
    monkeypatch.setattr(layers, "relu_backward", leaky_backward)
    after, grads = model.loss(X, y)
    assert after != before
    w = model.params["W1"]
    old, h = w[2, 3], 1e-6
    w[2, 3] = old + h
    up = model.loss(X, y)[0]
    w[2, 3] = old - h
    slope = (up - model.loss(X, y)[0]) / (2 * h)
    assert slope == pytest.approx(grads["W1"][2, 3], rel=1e-6, abs=1e-9)
    backend.select("auto")
    assert model.loss(X, y)[0] == pytest.approx(before) != pytest.approx(after)


def test_what_stood_there_without_a_name_is_called_itself():
    for function in (lambda x: x, functools.partial(max, 0)):
        assert layer_utils._as_it_is_now(function) is function


def test_sandwiches_are_those_of_the_reference(reference, rng, monkeypatch):
    x, w, b = rng.standard_normal((2, 3, 6, 6)), rng.standard_normal((4, 3, 3, 3)), np.zeros(4)
    conv, pool = {"stride": 1, "pad": 1}, {"pool_height": 2, "pool_width": 2, "stride": 2}
    out, cache = layer_utils.conv_relu_pool_forward(x, w, b, conv, pool)
    a, _ = layers.conv_forward_naive(x, w, b, conv)
    expected, _ = layers.max_pool_forward_naive(layers.relu_forward(a)[0], pool)
    np.testing.assert_array_equal(out, expected)
    dout = rng.standard_normal(out.shape)
    dx, dw, db = layer_utils.conv_relu_pool_backward(dout, cache)
    backend.select("auto")
    out, cache = layer_utils.conv_relu_pool_forward(x, w, b, conv, pool)
    for found, other in zip((dx, dw, db), layer_utils.conv_relu_pool_backward(dout, cache)):
        assert_close(found, other, looser=10)
