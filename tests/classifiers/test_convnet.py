"""ConvNet: descriptions, gradients, initial weights, what it refuses, and the summary."""

import copy
import importlib
import math
import pickle

import numpy as np
import pytest
from cases import DTYPES
from networks import assert_gradients_are_numeric, batch_of

from cs231n import classifiers, layers
from cs231n.classifiers import ConvNet, FullyConnectedNet, ThreeLayerConvNet
from cs231n.classifiers.layer import Layer
from cs231n.layer_utils import LEAKY_RELU
from cs231n.solver import Solver

# Every kind of layer, odd sizes, and each way to end the images.
ARCHITECTURES = {
    "scores alone": "fc5",
    "one convolution": "conv4-fc5",
    "filter sizes and strides": "conv4x5-conv6x1-conv4s2-conv2x5s3-fc5",
    "pools": "conv4-pool-conv6-pool-fc7-fc5",
    "global average": "conv4-pool-conv6-gavg-fc5",
    "global maximum": "conv4s2-conv6-gmax-fc6-fc5",
}
NORMS = [None, "batchnorm", "groupnorm"]


def small(architecture, normalization=None, **arguments):
    """Return a ConvNet for images of 2x9x8 in float64, the same at each call."""
    np.random.seed(231)
    arguments = {"input_dim": (2, 9, 8), "dtype": np.float64, "num_groups": 2, **arguments}
    return ConvNet(architecture, normalization=normalization, **arguments)


@pytest.mark.sampled(5)
@pytest.mark.parametrize("normalization", NORMS)
@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_gradients(architecture, normalization, backend_name, rng):
    model = small(architecture, normalization, reg=0.3, label_smoothing=0.2)
    for name, w in model.params.items():
        if not name.startswith("W"):
            w += 0.3 * rng.standard_normal(w.shape)
    assert_gradients_are_numeric(model, *batch_of(rng, (2, 9, 8)), rng)


def test_gradients_with_dropout(rng):
    model = small("conv4-pool-fc9-fc8-fc5", dropout_keep_ratio=0.6, seed=3)
    assert model.loss(np.ones((3, 2, 9, 8))).shape == (3, 5)
    assert_gradients_are_numeric(model, *batch_of(rng, (2, 9, 8)), rng)
    same = small("conv4-pool-fc9-fc8-fc5")
    X, y = batch_of(rng, (2, 9, 8))
    np.testing.assert_array_equal(model.loss(X), same.loss(X))
    assert model.loss(X, y)[0] != same.loss(X, y)[0]


def test_the_gradient_of_a_bias_before_batchnorm_is_zero(rng):
    model = small("conv4-conv3-gavg-fc5", "batchnorm")
    _, grads = model.loss(*batch_of(rng, (2, 9, 8)))
    for layer in (1, 2):
        assert np.abs(grads[f"b{layer}"]).max() < 1e-14
        assert np.abs(grads[f"W{layer}"]).max() > 1e-4


def test_scores_against_the_reference_layers(rng):
    model = small("conv4x5s2-pool-conv6-gmax-fc7-fc5", "groupnorm")
    for w in model.params.values():
        w += 0.2 * rng.standard_normal(w.shape)
    X, p = rng.standard_normal((3, 2, 9, 8)), model.params
    out, _ = layers.conv_forward_naive(X, p["W1"], p["b1"], {"stride": 2, "pad": 2})
    out, _ = layers.spatial_groupnorm_forward(out, p["gamma1"], p["beta1"], 2, {})
    pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}
    out, _ = layers.max_pool_forward_naive(np.maximum(out, 0), pool_param)
    out, _ = layers.conv_forward_naive(out, p["W2"], p["b2"], {"stride": 1, "pad": 1})
    out, _ = layers.spatial_groupnorm_forward(out, p["gamma2"], p["beta2"], 2, {})
    out = np.maximum(out, 0).max(axis=(2, 3))
    out = np.maximum(out @ p["W3"] + p["b3"], 0) @ p["W4"] + p["b4"]
    np.testing.assert_allclose(model.loss(X), out, rtol=1e-11)


def test_label_smoothing_is_in_the_loss(rng):
    X, y = batch_of(rng, (2, 9, 8))
    model = small("conv4-gavg-fc5", label_smoothing=0.3)
    scores = model.loss(X)
    assert model.loss(X, y)[0] == pytest.approx(layers.softmax_loss(scores, y, 0.3)[0], rel=1e-12)
    assert model.loss(X, y)[0] != pytest.approx(layers.softmax_loss(scores, y)[0], rel=1e-3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weight_scale", [None, 0.2])
@pytest.mark.parametrize("normalization", NORMS)
def test_weights_are_drawn_in_order_and_nothing_else_is(normalization, weight_scale, dtype):
    np.random.seed(231)
    model = ConvNet(
        "conv4-pool-conv6x5-gavg-fc7-fc5",
        (2, 9, 8),
        normalization,
        weight_scale=weight_scale,
        dtype=np.dtype(dtype),
        num_groups=2,
    )
    after = np.random.rand()
    np.random.seed(231)
    shapes = (4, 2, 3, 3), (6, 4, 5, 5), (6, 7), (7, 5)
    scales = [math.sqrt(2 / n) for n in (18, 100, 6)] + [math.sqrt(1 / 7)]
    for layer, (shape, scale) in enumerate(zip(shapes, scales), start=1):
        expected = (weight_scale or scale) * np.random.randn(*shape)
        np.testing.assert_array_equal(model.params[f"W{layer}"], expected.astype(dtype))
    assert np.random.rand() == after
    names = ["W1", "b1", "gamma1", "beta1", "W2", "b2", "gamma2", "beta2", "W3", "b3", "W4", "b4"]
    if normalization is None:
        names = [name for name in names if name[0] in "Wb" and not name.startswith("beta")]
    assert list(model.params) == names
    assert model.num_layers == 4
    for name, w in model.params.items():
        assert w.dtype == dtype
        if not name.startswith("W"):
            np.testing.assert_array_equal(w, 1 if name.startswith("gamma") else 0)
    gamma_shape = (1, 4, 1, 1) if normalization == "groupnorm" else (4,)
    assert normalization is None or model.params["gamma1"].shape == gamma_shape


def test_the_default_is_for_cifar10():
    model = ConvNet()
    assert model.params["W5"].shape == (64 * 8 * 8, 10)
    assert not ConvNet(weight_scale=0).params["W1"].any()
    assert model.loss(np.zeros((2, 3, 32, 32), np.uint8)).shape == (2, 10)


@pytest.mark.parametrize("normalization", NORMS)
def test_it_learns_and_comes_back_from_a_file(normalization, rng, tmp_path):
    y = np.arange(60) % 3
    X = rng.standard_normal((60, 2, 9, 8)) + rng.standard_normal((3, 2, 9, 8))[y]
    data = {"X_train": X[:45], "y_train": y[:45], "X_val": X[45:], "y_val": y[45:]}
    model = small("conv4-pool-conv4-gmax-fc3", normalization, dtype=np.float32)
    config = {"learning_rate": 0.05}
    solver = Solver(
        model, data, "nesterov_momentum", config, num_epochs=12, batch_size=15, verbose=False
    )
    solver.train()
    assert solver.best_val_acc > 0.8
    other = small("conv4-pool-conv4-gmax-fc3", normalization, dtype=np.float32)
    other.load(model.save(tmp_path / "net"))
    np.testing.assert_array_equal(other.loss(X), model.loss(X))


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ("conv4-cnv4-fc5", r"token 'cnv4' at position 2 of 'conv4-cnv4-fc5' is no layer; .*gmax"),
        ("", "token '' at position 1 of '' is no layer"),
        ("conv4--fc5", "token '' at position 2"),
        ("conv0-fc5", "token 'conv0' at position 1 .* from 1"),
        ("conv4s0-fc5", "token 'conv4s0' at position 1"),
        ("conv4s2x3-fc5", "token 'conv4s2x3'"),
        ("conv4-fc", "token 'fc' at position 2"),
        ("conv4-fc1000000000", "token 'fc1000000000' at position 2 .* from 1 to 999999999"),
        (f"conv{'9' * 5000}-fc3", "token 'conv9+' at position 1"),
        ("conv4-fc\u0663", "token 'fc.' at position 2"),
        ("Conv4-fc5", "token 'Conv4'"),
        ("conv4-pool", "token 'pool' at position 2 .* is the last; expected 'fc<classes>'"),
        ("conv4x4-fc5", "token 'conv4x4' at position 1 .* filters of 4x4; expected an odd size"),
        ("pool-fc3-pool-fc5", "token 'pool' at position 3 .* vector of 3 numbers; expected 'fc"),
        ("gavg-conv4-fc5", "token 'conv4' at position 2 .* vector of 2 numbers"),
        ("gmax-gavg-fc5", "token 'gavg' at position 2 .* vector of 2 numbers"),
        ("pool-pool-pool-pool-fc5", r"token 'pool' at position 4 .* 2x2 .* image of 1x1"),
    ],
)
def test_wrong_descriptions_name_the_token(architecture, message):
    with pytest.raises(ValueError, match=f"^ConvNet: {message}"):
        small(architecture)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"architecture": 10}, "architecture is 10; expected a string such as 'conv32"),
        ({"normalization": "layernorm"}, "normalization is 'layernorm'; .*'groupnorm'"),
        ({"normalization": "groupnorm", "num_groups": 3}, "'conv4' .* 4 filters .* is 3"),
        ({"num_groups": 0}, "num_groups is 0"),
        ({"input_dim": (3, 32)}, r"input_dim is \(3, 32\)"),
        ({"weight_scale": -1}, r"weight_scale is -1\.0"),
        ({"label_smoothing": 1.1}, r"label_smoothing is 1\.1"),
        ({"dropout_keep_ratio": 0}, r"dropout_keep_ratio is 0\.0"),
        ({"dropout_keep_ratio": 0.5}, r"is 0\.5 but 'conv4-gavg-fc5' has no hidden affine layer"),
        ({"dtype": np.float16}, "dtype is 'float16'"),
        ({"reg": "x"}, "reg is 'x'"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises((ValueError, TypeError), match=f"ConvNet: .*{message}"):
        ConvNet(**{"architecture": "conv4-gavg-fc5", **arguments})


SUMMARY = """\
layer                 output shape  parameters  multiply-adds   memory
----------------------------------------------------------------------
input                    2 x 9 x 8
conv W1 b1, stride 2     4 x 5 x 4          76          1,440  0.6 KiB
bn_relu gamma1 beta1     4 x 5 x 4           8                 0.6 KiB
pool                     4 x 2 x 2                             0.1 KiB
affine W2 b2                    50         850            800  0.4 KiB
relu                            50                             0.4 KiB
affine W3 b3                     5         255            250  0.0 KiB
----------------------------------------------------------------------
total                                    1,189          2,490  2.2 KiB
float64, one sample; the parameters take 9.3 KiB"""


def test_the_summary():
    assert small("conv4s2-pool-fc50-fc5", "batchnorm").summary() == SUMMARY


# What the table says of each layer, whose usual options it leaves out.
TOLD = {
    "whiten2-conv4-fc5": ({}, "conv_relu W1* b1, 2x2, pad 0; conv_relu W2 b2; affine W3 b3"),
    "conv4x5s2-conv4v-fc5": (
        {},
        "conv_relu W1 b1, 5x5, stride 2; conv_relu W2 b2, pad 0; affine W3 b3",
    ),
    "pool-pool3-fc5": ({}, "pool; pool, 3x3; affine W1 b1"),
    "res(conv4s2)-gmax-fc5/9": (
        {},
        "fork; conv W1 b1, stride 2; shortcut, stride 2; relu; gmax; affine W2 b2;"
        " scale, factor 0.111",
    ),
    "res(conv2)-fc5": ({}, "fork; conv W1 b1; shortcut; relu; affine W2 b2"),
    "conv4-fc5-fc3": (
        {"normalization": "groupnorm", "activation": "gelu_tanh", "dropout_keep_ratio": 0.5},
        "conv W1 b1; gn gamma1 beta1, 2 groups; gelu, tanh; affine W2 b2; gelu, tanh;"
        " dropout, keep 0.5; affine W3 b3",
    ),
    "conv4-fc5": (
        {"normalization": "batchnorm", "activation": "gelu"},
        "conv W1 b1; bn_gelu gamma1 beta1; affine W2 b2",
    ),
    "fc4-fc5": ({"activation": "leaky_relu"}, "affine W1 b1; leaky_relu; affine W2 b2"),
}


def first_cells(model):
    """Return what the table says of each layer."""
    lines = model.summary().splitlines()[3:-3]
    return "; ".join(line.split("  ")[0] for line in lines)


@pytest.mark.parametrize("architecture", TOLD)
def test_the_summary_tells_what_is_not_usual(architecture):
    arguments, told = TOLD[architecture]
    assert first_cells(small(architecture, **arguments)) == told


def test_the_summary_tells_the_options_of_layers_added_by_hand():
    model = ThreeLayerConvNet((3, 8, 8), filter_size=4)
    model._layers[1].options[0].update(stride=1, pool_width=1)
    model._layers[3] = Layer(LEAKY_RELU, (), (0.2,))
    model.params["W2"] = np.zeros((32 * 6 * 7, 100))
    assert first_cells(model) == (
        "conv_relu W1 b1, 4x4, pad 1; pool, 2x1, stride 1; affine W2 b2; leaky_relu, slope 0.2;"
        " affine W3 b3"
    )


def test_the_names_of_activations_tell_layers_alone(rng):
    model = small("conv4s2-fc5/9")
    names = ["1 conv_relu W1 b1", "2 affine W2 b2", "3 scale"]
    assert list(model.activations(rng.standard_normal((2, 2, 9, 8)))) == names


def test_the_summary_leaves_everything_as_it_is(rng):
    model = small("conv4-gmax-fc9-fc5", "batchnorm", dropout_keep_ratio=0.5, seed=3)
    model.loss(*batch_of(rng, (2, 9, 8)))
    before = copy.deepcopy((model.bn_params, model.dropout_param))
    np.random.seed(8)
    expected = np.random.rand()
    np.random.seed(8)
    assert "dropout" in model.summary()
    assert np.random.rand() == expected
    after = model.bn_params, model.dropout_param
    assert after[1] == before[1]
    for name, value in before[0][0].items():
        np.testing.assert_array_equal(after[0][0][name], value)


@pytest.mark.parametrize("build", [ThreeLayerConvNet, lambda: FullyConnectedNet([20, 30])])
def test_the_summary_of_another_network_counts_its_parameters(build):
    model = build()
    total = next(line for line in model.summary().splitlines() if line.startswith("total"))
    assert f" {sum(w.size for w in model.params.values()):,} " in total


def test_networks_pickled_by_earlier_versions_load():
    model = ConvNet("conv4-pool-fc5-fc3", (3, 8, 8), "batchnorm", 0.5)
    X = np.random.randn(2, 3, 8, 8)
    # Where the classes stood: protocol 0 writes their names as text.
    old = pickle.dumps(model, protocol=0)
    moved = {b"cnn\nConvNet": b"convnet\nConvNet", b"layer\nLayer": b"summary\nLayer"}
    for now, then in moved.items():
        assert now in old
        old = old.replace(now, then)
    np.testing.assert_array_equal(pickle.loads(old).loss(X), model.loss(X))


def test_the_earlier_name_of_the_module_is_there():
    earlier = importlib.import_module("cs231n.classifiers.convnet")
    assert earlier.ConvNet is ConvNet
    assert classifiers.convnet is earlier
