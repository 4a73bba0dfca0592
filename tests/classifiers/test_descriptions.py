"""What descriptions of ConvNets say beyond plain convolutions, and filters that are not drawn."""

import copy
import pickle

import numpy as np
import pytest
from conftest import assert_close

import cs231n
from cs231n import layers
from cs231n.classifiers import ConvNet
from cs231n.classifiers.architecture import parse
from cs231n.classifiers.initial import whitening_filters
from cs231n.kernels import backend
from cs231n.solver import Solver

NETS = {
    "valid, even filters": ("conv4x2v-conv3x4s2v-fc5", {}),
    "pool before the norm": ("conv4p-conv3p-fc5", {"normalization": "batchnorm"}),
    "pool without a norm": ("conv4p-pool3-fc5", {"activation": "gelu"}),
    "no scale": ("conv4-fc5", {"normalization": "batchnorm", "learn_scale": False}),
    "groups without a scale": (
        "conv4-gavg-fc5",
        {"normalization": "groupnorm", "num_groups": 2, "learn_scale": False},
    ),
    "scores by 9": ("conv4s2-fc6-fc5/9", {}),
    "frozen filters": ("conv4f-conv3f-fc5", {"activation": "silu"}),
    "whitening": ("whiten2-conv4p-fc5", {"normalization": "batchnorm", "activation": "gelu"}),
    "residual": ("conv4-res(conv4-conv4)x2-gavg-fc5", {"normalization": "batchnorm"}),
    "residual that halves": ("conv3-res(conv5s2-conv6)-fc5", {"activation": "gelu_tanh"}),
    "residual of one": ("conv3-res(conv3)-res(conv4x5)-fc5", {"activation": "leaky_relu"}),
    "leaky": ("conv4-fc6-fc5", {"normalization": "batchnorm", "activation": "leaky_relu"}),
    "silu": ("conv4p-fc5", {"normalization": "batchnorm", "activation": "silu"}),
    "groups and gelu": (
        "conv4-res(conv4-conv4)-fc5",
        {"normalization": "groupnorm", "num_groups": 2, "activation": "gelu"},
    ),
}
nets = pytest.mark.parametrize("name", NETS)


def net(name, dtype=np.float64):
    """Return a network of the table with weights of a seed, and none of them at its first value."""
    architecture, options = NETS[name]
    rng = np.random.default_rng(3)
    model = ConvNet(architecture, (2, 7, 7), dtype=dtype, rng=rng, reg=0.1, **options)
    for weight in model.params.values():
        weight += 0.1 * rng.standard_normal(weight.shape).astype(dtype)
    return model


def batch(N=3):
    """Return images and labels."""
    rng = np.random.default_rng(5)
    return rng.standard_normal((N, 2, 7, 7)), rng.integers(5, size=N)


@pytest.mark.sampled(5)
@nets
def test_gradients_are_numerical_ones_and_frozen_parameters_have_none(name, backend_name, rng):
    model = net(name)
    X, y = batch()
    _, grads = model.loss(X, y, need_dx=True)
    assert grads.keys() == (model.params.keys() | {"X"}) - model.frozen
    for key, gradient in grads.items():
        w = X if key == "X" else model.params[key]
        for _ in range(2):  # along random directions, which see an error in any number
            direction, h = rng.standard_normal(w.shape), 1e-6
            losses = []
            for step in (h, -2 * h, h):
                w += step * direction
                losses.append(model.loss(X, y)[0])
            slope = (losses[0] - losses[1]) / (2 * h)
            assert np.sum(gradient * direction) == pytest.approx(slope, rel=1e-5, abs=1e-7)


@nets
def test_reference_layers_give_the_same(name):
    X, y = batch()
    model = net(name)
    (loss, grads), scores = model.loss(X, y), model.loss(X)
    previous, twin = backend.select("reference"), net(name)
    (expected, expected_grads), expected_scores = twin.loss(X, y), twin.loss(X)
    backend.select(previous)
    assert loss == pytest.approx(expected, rel=1e-10)
    assert grads.keys() == expected_grads.keys()
    for key, gradient in grads.items():
        assert_close(gradient, expected_grads[key], scale=1.0)
    assert_close(scores, expected_scores, scale=1.0)


@nets
def test_files_describe_them(name, tmp_path):
    model = net(name, np.float32)
    X, y = batch()
    for _ in range(3):
        model.loss(X, y)
    path = model.save(tmp_path / "net")
    found = cs231n.load_model(path)
    assert found.form() == model.form()
    assert found.frozen == model.frozen
    np.testing.assert_array_equal(found.loss(X), model.loss(X))
    other = net(name, np.float32)
    other.load(path)
    np.testing.assert_array_equal(other.loss(X), model.loss(X))
    assert pickle.loads(pickle.dumps(model)).summary() == model.summary()


@nets
def test_pytorch_agrees(name):
    pytest.importorskip("torch")
    import torch

    from cs231n.torch_bridge import copy_from_torch, copy_to_torch, to_torch

    model = net(name)
    X, y = batch()
    for _ in range(3):  # running statistics
        model.loss(X, y)
    twin = to_torch(model)
    tensor = torch.tensor(X, requires_grad=True)
    scores = twin(tensor)
    assert_close(scores.detach().numpy(), model.loss(X), scale=1.0)
    own, caches = model.forward(X)
    scores.backward(torch.ones_like(scores) * torch.arange(1.0, 6.0))
    dX, _ = model.backward(np.ones_like(own) * np.arange(1, 6), caches, need_dx=True)
    assert_close(tensor.grad.numpy(), dX, scale=1.0)
    copied = net(name)
    for weight in copied.params.values():
        weight += 1
    copy_from_torch(twin, copied)
    assert_close(copied.loss(X), model.loss(X), scale=1.0)
    copy_to_torch(copied, twin)


@pytest.mark.sampled(5)
@nets
def test_training_goes_on_bit_for_bit(name, tmp_path):
    X, y = batch(12)
    data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    options = {"batch_size": 4, "verbose": False, "update_rule": "nesterov_momentum"}
    path = str(tmp_path / "run")
    np.random.seed(1)
    whole = Solver(net(name), data, num_epochs=2, **options)
    whole.train()
    np.random.seed(1)
    Solver(net(name), data, num_epochs=1, checkpoint_name=path, **options).train()
    resumed = Solver.resume(path, net(name), data, num_epochs=2, verbose=False)
    resumed.train()
    assert resumed.loss_history == whole.loss_history
    for key, weight in whole.model.params.items():
        np.testing.assert_array_equal(resumed.model.params[key], weight)
        if key in whole.model.frozen:
            np.testing.assert_array_equal(weight, net(name).params[key])


def test_a_residual_block_is_the_sum_of_its_input_and_its_layers(rng):
    model = ConvNet("res(conv3s2-conv4)-fc5", (2, 5, 6), dtype=np.float64, rng=rng)
    X = rng.standard_normal((3, 2, 5, 6))
    p = model.params
    a, _ = layers.conv_forward_naive(X, p["W1"], p["b1"], {"stride": 2, "pad": 1})
    a, _ = layers.conv_forward_naive(np.maximum(a, 0), p["W2"], p["b2"], {"stride": 1, "pad": 1})
    a[:, :2] += X[:, :, ::2, ::2]
    expected, _ = layers.affine_forward(np.maximum(a, 0), p["W3"], p["b3"])
    assert_close(model.loss(X), expected)


def test_resnet20_is_the_network_of_the_paper():
    model = ConvNet("resnet20-fc10", normalization="batchnorm")
    weights = [w for name, w in model.params.items() if name.startswith("W")]
    assert len(weights) == 20
    # 0.27 million: filters, scales and shifts, and the scores' 650; our convolutions have biases.
    biases = sum(model.params[f"b{n}"].size for n in range(1, 20))
    assert sum(w.size for w in model.params.values()) - biases == 269_722
    assert model.summary().count("shortcut") == 9


def test_the_network_of_the_speed_run_has_the_published_products():
    model = ConvNet(
        "whiten2-conv64p-conv64-conv256p-conv256-conv256p-conv256-pool3-fc10/9",
        normalization="batchnorm",
        activation="gelu",
        learn_scale=False,
        bn_momentum=0.6,
        init="dirac",
    )
    table = model.summary()
    assert "118,147,360" in table  # 118 million multiplications an image
    assert "conv W1* b1, 2x2, pad 0   24 x 31 x 31" in table
    assert "scale, factor 0.111 " in table
    assert "bn_gelu gamma7* beta7" in table
    assert model.bn_params[0]["momentum"] == 0.6
    np.testing.assert_array_equal(model.params["W3"][5, 5], np.eye(3) * [0, 1, 0])
    assert not model.params["W4"][63, :63].any()
    assert model.params["W4"][64].all()  # there are 64 channels
    assert np.std(model.params["W4"][64:]) == pytest.approx((3 * 64 * 9) ** -0.5, rel=0.02)


def test_whitening_filters_make_patches_uncorrelated(rng):
    mixed = rng.standard_normal((40, 3, 9, 9)) * np.array([1, 2, 0.5])[:, None, None]
    mixed[:, :, :, 1:] += mixed[:, :, :, :-1]
    filters = whitening_filters(mixed, 2, eps=1e-9)
    assert filters.shape == (24, 3, 2, 2)
    np.testing.assert_array_equal(filters[12:], -filters[:12])
    out, _ = layers.conv_forward_naive(mixed, filters, np.zeros(24), {"stride": 1, "pad": 0})
    flat = out[:, :12].swapaxes(0, 1).reshape(12, -1)
    np.testing.assert_allclose(np.cov(flat, bias=True), np.eye(12), atol=1e-6)
    lengths = np.linalg.norm(filters[:12].reshape(12, -1), axis=1)
    assert (np.diff(lengths) > 0).all()  # the largest variance first, which is divided by most


def test_whitening_a_network(rng):
    model = ConvNet("whiten2-conv4-fc3", (2, 6, 6), dtype=np.float32)
    images = rng.standard_normal((30, 2, 6, 6))
    model.whiten(images)
    assert model.is_whitening
    np.testing.assert_array_equal(
        model.params["W1"], whitening_filters(images, 2).astype(np.float32)
    )
    with pytest.raises(ValueError, match=r"ConvNet.whiten: images has shape .*; expected"):
        model.whiten(images[:, :1])
    with pytest.raises(ValueError, match=r"ConvNet.whiten: 'conv4-fc3' has no whitening layer"):
        ConvNet("conv4-fc3", (2, 6, 6)).whiten(images)
    for description in ("conv4x2v-whiten2-fc3", "whiten2-whiten2-gmax-fc3"):
        with pytest.raises(ValueError, match=r"whiten: W2 takes maps of .* at the beginning of"):
            ConvNet(description, (2, 6, 6)).whiten(images)
    ConvNet("pool-whiten2-gmax-fc3", (2, 6, 6)).whiten(images)


def test_frozen_filters_cost_no_gradient(monkeypatch):
    model = net("frozen filters")
    X, y = batch()
    _, grads = model.loss(X, y)
    calls = []
    kernels = backend.kernels()
    original = kernels.conv_backward

    def counted(x, w, dout, dx, dw, *rest):
        if dw is not None:
            calls.append(1)
        original(x, w, dout, dx, dw, *rest)

    monkeypatch.setattr(kernels, "conv_backward", counted)
    _, again = model.loss(X, y)
    assert not calls
    for key in grads:
        np.testing.assert_array_equal(again[key], grads[key])
    model.frozen = {*model.frozen, "b1"}  # then nothing of the first layer is walked
    _, fewer = model.loss(X, y)
    assert fewer.keys() == grads.keys() - {"b1"}
    model.frozen = set()
    _, all_grads = model.loss(X, y)
    assert len(calls) == 2
    assert all_grads.keys() == model.params.keys()


WRONG = {
    "conv4x2-fc3": r"token 'conv4x2' at position 1 .* filters of 2x2; expected an odd size, or a v",
    "fc4/2-fc3": r"'fc4/2' at position 1 .* is hidden; expected a divisor of the scores only",
    "res(pool)-fc3": r"'pool' stands in a residual block; expected convolutions only",
    "res()-fc3": r": '' is no layer",
    "res(conv4-conv4)x0-fc3": r"is no layer",
    "res(res(conv4))-fc3": r"is no layer",
    "res(conv1)-fc3": r"makes \(1, 6, 6\) of \(2, 6, 6\), which cannot be added",
    "res(conv4x3v)-fc3": r"makes \(4, 4, 4\) of \(2, 6, 6\), which cannot be added",
    "res(conv4p)-fc3": r"makes \(4, 3, 3\) of \(2, 6, 6\), which cannot be added",
    "conv4fv-fc3": r"is no layer; .* \(v, p and f may follow, in this order\)",
    "conv4pv-fc3": r"is no layer; .* in this order",
    "whiten9-fc3": r"whiten9",
    "resnet20": r"'gavg' is the last; expected 'fc<classes>'",
    "gavg-resnet20-fc3": r"'resnet20' at position 2 .*'conv16' needs an image",
}


@pytest.mark.parametrize("architecture", WRONG)
def test_wrong_descriptions_name_the_token(architecture):
    with pytest.raises(ValueError, match=WRONG[architecture]):
        ConvNet(architecture, (2, 6, 6))


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="ConvNet: activation is 'tanh'; expected 'relu',"):
        ConvNet(activation="tanh")
    with pytest.raises(ValueError, match="ConvNet: init is 'zeros'; expected 'he' or 'dirac'"):
        ConvNet(init="zeros")
    with pytest.raises(ValueError, match="ConvNet: bn_momentum is 2"):
        ConvNet(bn_momentum=2)


def test_words_in_parentheses_belong_together():
    tokens = parse("conv3-res(conv3-conv4s2)x2-fc5/3")
    assert [token.kind for token in tokens] == ["conv", "res", "res", "fc"]
    assert [inner.units for inner in tokens[1].inside] == [3, 4]
    assert tokens[1].inside[1].stride == 2
    assert tokens[-1].divisor == 3


def test_a_copy_of_a_network_is_another(rng):
    model = net("residual")
    twin = copy.deepcopy(model)
    twin.params["W1"] += 1
    X, _ = batch()
    assert not np.array_equal(twin.loss(X), model.loss(X))


@nets
def test_folded_filters_give_the_scores_of_the_layers_one_by_one(name, backend_name):
    model = net(name, np.float32)
    X, y = batch()
    for _ in range(2):
        for _ in range(3):
            model.loss(X, y)
        expected, _ = model.forward(X, "test")
        np.testing.assert_allclose(model.loss(X), expected, rtol=1e-5, atol=1e-5)
        for weight in model.params.values():  # in place: nothing tells of the change
            weight *= 1.25
        for param in model.bn_params:
            if "running_var" in param:
                param["running_var"] *= 1.5


@pytest.fixture
def normalisations(monkeypatch):
    kernels, calls = backend.kernels(), []
    original = kernels.batchnorm_forward
    monkeypatch.setattr(
        kernels, "batchnorm_forward", lambda *found: calls.append(1) or original(*found)
    )
    return calls


def test_a_convolution_with_batchnorm_is_one_layer_in_test_mode(normalisations):
    model = net("silu")
    model._layers = [layer for layer in model._layers if layer.stage.name != "pool"]
    model.params["W2"] = np.zeros((4 * 49, 5))
    X, y = batch()
    model.loss(X, y)
    normalisations.clear()
    model.loss(X)
    assert not normalisations
    model.forward(X, "test")
    assert normalisations


def test_filters_larger_than_the_maps_are_not_folded(normalisations, rng):
    model = ConvNet("conv16-conv4-gavg-fc3", (2, 6, 6), normalization="batchnorm")
    X = rng.standard_normal((3, 2, 6, 6))
    model.loss(X, np.arange(3))
    for count, maps in ((3, 0), (1, 1)):  # 144 numbers against so many times 64
        normalisations.clear()
        scores = model.loss(X[:count])
        assert len(normalisations) == maps
        expected, _ = model.forward(X[:count], "test")
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)
