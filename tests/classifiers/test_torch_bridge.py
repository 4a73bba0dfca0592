"""Networks carried to PyTorch and back: scores, gradients, running statistics, refusals."""

import os
import pickle
import sys

import numpy as np
import pytest
from conftest import assert_close

from cs231n.classifiers import (
    ConvNet,
    FullyConnectedNet,
    Network,
    ThreeLayerConvNet,
    TwoLayerNet,
)
from cs231n.layer_utils import (
    AFFINE,
    BATCHNORM,
    CONV,
    CONV_RELU,
    DROPOUT,
    LAYERNORM,
    POOL,
    RELU,
    SPATIAL_BATCHNORM,
    SPATIAL_GROUPNORM,
    Stage,
)
from cs231n.torch_bridge import copy_from_torch, copy_to_torch, to_torch

if os.environ.get("CS231N_REQUIRE_TORCH") == "1":
    import torch
else:
    torch = pytest.importorskip("torch")

IMAGE = (3, 8, 8)


class EveryLayer(Network):
    """A network with every kind of layer, and with options that are nobody's defaults."""

    def __init__(self, dtype=np.float64, keep=1.0):
        super().__init__(dtype=dtype)
        draw = np.random.default_rng(7).standard_normal
        first, second = ({"eps": 1e-3, "momentum": 0.8} for _ in range(2))
        self.bn_params += [first, {"eps": 1e-2}, {"eps": 1e-4}, second]
        self.dropout_param.update(mode="train", p=keep)
        self._add(CONV, {"stride": 1, "pad": 2}, W1=draw((4, 3, 3, 5)), b1=draw(4))
        self._add(SPATIAL_BATCHNORM, first, gamma1=draw(4), beta1=draw(4))
        self._add(RELU)
        self._add(CONV_RELU, {"stride": 2, "pad": 1}, W2=draw((6, 4, 3, 3)), b2=draw(6))
        scales = {name: draw((1, 6, 1, 1)) for name in ("gamma2", "beta2")}
        self._add(SPATIAL_GROUPNORM, 3, self.bn_params[1], **scales)
        self._add(POOL, {"pool_height": 2, "pool_width": 3, "stride": 1})
        self._add(AFFINE, W3=draw((6 * 4 * 2, 7)), b3=draw(7))
        self._add(LAYERNORM, self.bn_params[2], gamma3=draw(7), beta3=draw(7))
        self._add(RELU)
        self._add(DROPOUT, self.dropout_param)
        self._add(AFFINE, W4=draw((7, 5)), b4=draw(5))
        self._add(BATCHNORM, second, gamma4=draw(5), beta4=draw(5))


NETWORKS = {
    "three layers": lambda dtype: ThreeLayerConvNet(IMAGE, 4, 3, 6, weight_scale=0.3, dtype=dtype),
    "fully connected": lambda dtype: FullyConnectedNet(
        [9, 7], 192, dropout_keep_ratio=0.7, weight_scale=0.3, dtype=dtype
    ),
    "batch norm": lambda dtype: FullyConnectedNet(
        [9, 7], 192, normalization="batchnorm", weight_scale=0.3, dtype=dtype
    ),
    "layer norm": lambda dtype: FullyConnectedNet(
        [9, 7], 192, normalization="layernorm", weight_scale=0.3, dtype=dtype
    ),
    "mean at the end": lambda dtype: ConvNet(
        "conv4-conv6x5s2-pool-gavg-fc8-fc5", IMAGE, "batchnorm", 0.7, dtype=dtype
    ),
    "maximum at the end": lambda dtype: ConvNet(
        "conv4-pool-conv6-gmax-fc5", IMAGE, "groupnorm", dtype=dtype, num_groups=2
    ),
    "every layer": EveryLayer,
}


@pytest.fixture(autouse=True)
def seeded():
    """Let every network start from the same weights."""
    np.random.seed(231)
    torch.manual_seed(231)


def test_a_pickled_network_is_carried_over_as_well():
    model = pickle.loads(pickle.dumps(NETWORKS["every layer"](np.float64)))
    X = np.random.randn(2, *IMAGE)
    assert_close(to_torch(model)(torch.from_numpy(X)).detach().numpy(), model.loss(X), scale=1.0)


def images(rng, dtype=np.float64, N=6):
    """Return random images and labels."""
    return rng.standard_normal((N, *IMAGE)).astype(dtype), rng.integers(5, size=N)


def trained_a_little(model, rng):
    """Return the model after forward passes that made its running statistics."""
    for _ in range(3):
        model.forward(2 + 3 * images(rng)[0], "train")
    return model


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
def test_the_twin_gives_the_same_scores(build, dtype, rng):
    model = trained_a_little(build(np.dtype(dtype)), rng)
    X, _ = images(rng, dtype)
    scores = to_torch(model)(torch.from_numpy(X)).detach().numpy()
    assert scores.dtype == dtype
    assert_close(scores, model.loss(X))


def test_the_twin_of_an_untrained_network_gives_the_same_scores(rng):
    X, _ = images(rng)
    model = EveryLayer()
    assert_close(to_torch(model)(torch.from_numpy(X)).detach().numpy(), model.loss(X))


def test_the_twin_has_the_same_gradients_and_statistics_in_training(rng):
    N = 6
    (X, y), model = images(rng, N=N), EveryLayer()
    net = to_torch(model).train()
    scores = net(torch.from_numpy(X))
    loss = torch.nn.functional.cross_entropy(scores, torch.from_numpy(y))
    loss.backward()
    ours, grads = model.loss(X, y)
    assert_close(loss.item(), ours)
    for grad, tensor in zip(grads.values(), net.parameters(), strict=True):
        expected = tensor.grad.numpy().T if grad.ndim == 2 else tensor.grad.numpy()
        # Normalisation cancels the biases before it, whose gradients are nothing but rounding.
        assert_close(grad.reshape(expected.shape), expected, scale=1 + np.abs(expected).max())
    last = net[-1]
    assert_close(model.bn_params[-1]["running_mean"], last.running_mean.numpy())
    # PyTorch takes the variance in, whose divisor is N - 1.
    unbiased = last.running_var.numpy() * (N - 1) / N
    assert_close(model.bn_params[-1]["running_var"], unbiased)


@pytest.mark.parametrize("build", NETWORKS.values(), ids=NETWORKS)
def test_weights_come_back_as_they_were(build, rng):
    model, other = trained_a_little(build(np.float64), rng), build(np.float64)
    other.params = {name: w + 1 for name, w in other.params.items()}
    copy_from_torch(to_torch(model), other)
    for name, w in model.params.items():
        np.testing.assert_array_equal(other.params[name], w)
        assert other.params[name].flags.c_contiguous
    for mine, theirs in zip(other.bn_params, model.bn_params, strict=True):
        for key in {"running_mean", "running_var"} & set(theirs):
            np.testing.assert_array_equal(mine[key], theirs[key])
    X, _ = images(rng)
    np.testing.assert_array_equal(other.loss(X), model.loss(X))


@pytest.mark.long
def test_weights_of_bfloat16_come_back():
    model, other = TwoLayerNet(6, 5, 3), TwoLayerNet(6, 5, 3)
    net = to_torch(model).bfloat16()
    copy_from_torch(net, other)
    for name, w in other.params.items():
        np.testing.assert_allclose(w, model.params[name], rtol=2**-8)


def test_what_pytorch_trained_gives_its_scores_here(rng):
    (X, y), model = images(rng, N=30), EveryLayer()
    net = to_torch(model).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    before = model.loss(X)
    for _ in range(5):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(torch.from_numpy(X)), torch.from_numpy(y)).backward()
        optimizer.step()
    np.testing.assert_array_equal(model.loss(X), before)  # the twin holds copies
    copy_from_torch(net, model)
    assert np.abs(model.loss(X) - before).max() > 0.1
    assert_close(model.loss(X), net.eval()(torch.from_numpy(X)).detach().numpy())


def frozen_in_part():
    """Return a network whose first filters and whose scales do not learn."""
    architecture = "whiten2-conv4-res(conv6f-conv6)-gmax-fc5"
    return ConvNet(architecture, IMAGE, "batchnorm", dtype=np.float64, learn_scale=False)


def test_what_is_frozen_does_not_learn_in_the_twin(rng):
    (X, y), model = images(rng), frozen_in_part()
    assert model.frozen == {"W1", "W3", "gamma2", "gamma3", "gamma4"}
    before = {name: w.copy() for name, w in model.params.items()}
    net = to_torch(model).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, weight_decay=0.1)
    torch.nn.functional.cross_entropy(net(torch.from_numpy(X)), torch.from_numpy(y)).backward()
    learning = [tensor for tensor in net.parameters() if tensor.requires_grad]
    for grad, tensor in zip(model.loss(X, y)[1].values(), learning, strict=True):
        expected = tensor.grad.numpy().T if grad.ndim == 2 else tensor.grad.numpy()
        assert_close(grad, expected, scale=1 + np.abs(expected).max())
    with torch.no_grad():
        for tensor in learning:
            tensor.add_(0.1)  # the biases in front of batch norm would hardly move
    optimizer.step()
    copy_from_torch(net, model)
    same = {name for name, w in model.params.items() if np.array_equal(w, before[name])}
    assert same == model.frozen == frozen_in_part().frozen


def test_copies_leave_alone_what_learns():
    model, net = frozen_in_part(), to_torch(frozen_in_part())
    for tensor in net.parameters():
        tensor.requires_grad_(True)
    copy_to_torch(model, net)
    assert all(tensor.requires_grad for tensor in net.parameters())
    copy_from_torch(net, model)
    assert model.frozen == frozen_in_part().frozen


def test_weights_go_into_a_module_written_by_hand(rng):
    class ByHand(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3, padding=1)
            self.hidden = torch.nn.Linear(4 * 4 * 4, 6)
            self.scores = torch.nn.Linear(6, 10)

        def forward(self, x):
            x = torch.nn.functional.max_pool2d(self.conv(x).relu(), 2)
            return self.scores(self.hidden(x.flatten(1)).relu())

    model, net = NETWORKS["three layers"](np.float64), ByHand().double()
    copy_to_torch(model, net)
    X, _ = images(rng)
    assert_close(net(torch.from_numpy(X)).detach().numpy(), model.loss(X))


def test_dropout_drops_what_ours_does_not_keep():
    net = to_torch(EveryLayer(keep=0.7))
    (dropout,) = (module for module in net if isinstance(module, torch.nn.Dropout))
    assert dropout.p == pytest.approx(0.3)


@pytest.mark.parametrize("copy", ["to", "from"])
def test_another_form_is_refused_and_changes_nothing(copy):
    model, net = EveryLayer(), to_torch(NETWORKS["three layers"](np.float64))
    before = {name: w.copy() for name, w in model.params.items()}
    tensors = [tensor.clone() for tensor in net.parameters()]
    with pytest.raises(ValueError, match=rf"copy_{copy}_torch: .* shapes .* expected .*'conv'"):
        copy_to_torch(model, net) if copy == "to" else copy_from_torch(net, model)
    for name, w in model.params.items():
        np.testing.assert_array_equal(w, before[name])
    assert all(torch.equal(*pair) for pair in zip(net.parameters(), tensors, strict=True))


LIKE = {
    "layer norm for batch norm": (
        {"normalization": "batchnorm"},
        lambda: torch.nn.LayerNorm(5),
        r"gamma1 meets LayerNorm\(.*; expected a BatchNorm1d",
    ),
    "batch norm for layer norm": (
        {"normalization": "layernorm"},
        lambda: torch.nn.BatchNorm1d(5),
        r"gamma1 meets BatchNorm1d\(.*; expected a LayerNorm",
    ),
    "no statistics": (
        {"normalization": "batchnorm"},
        lambda: torch.nn.BatchNorm1d(5, track_running_stats=False),
        r"BatchNorm1d\(.* keeps no running statistics",
    ),
}


@pytest.mark.parametrize("copy", ["to", "from"])
@pytest.mark.parametrize(("options", "module", "message"), LIKE.values(), ids=LIKE)
def test_another_layer_with_weights_of_the_same_shapes_is_refused(options, module, message, copy):
    model = FullyConnectedNet([5], 6, 3, **options)
    net = torch.nn.Sequential(
        torch.nn.Linear(6, 5), module(), torch.nn.ReLU(), torch.nn.Linear(5, 3)
    )
    before = {name: w.copy() for name, w in model.params.items()}
    tensors = [tensor.clone() for tensor in net.parameters()]
    with pytest.raises(ValueError, match=rf"copy_{copy}_torch: {message}"):
        copy_to_torch(model, net) if copy == "to" else copy_from_torch(net, model)
    for name, w in model.params.items():
        np.testing.assert_array_equal(w, before[name])
    assert all(torch.equal(*pair) for pair in zip(net.parameters(), tensors, strict=True))


def test_a_layer_of_ones_own_meets_nothing():
    model = FullyConnectedNet([5], 6, 3)
    model._layers[0] = model._layers[0]._replace(stage=AFFINE._replace(name="own"))
    net = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.Linear(5, 3))
    with pytest.raises(ValueError, match="copy_to_torch: 'own' has no counterpart in PyTorch"):
        copy_to_torch(model, net)


def test_what_is_no_network_is_named():
    model = NETWORKS["three layers"](np.float64)
    net = to_torch(model)
    for call, message in (
        (lambda: to_torch(net), "to_torch: model is a Sequential; expected a Network"),
        (lambda: copy_to_torch(net, net), "copy_to_torch: model is a Sequential"),
        (lambda: copy_from_torch(model, model), "copy_from_torch: net is a ThreeLayerConvNet"),
    ):
        with pytest.raises(TypeError, match=message):
            call()


def test_a_layer_without_a_counterpart_is_named():
    model = EveryLayer()
    model._add(Stage("wobble", lambda x: (x, None), lambda dout, cache: dout))
    with pytest.raises(ValueError, match="'wobble' has no counterpart in PyTorch; expected affine"):
        to_torch(model)


def test_a_missing_pytorch_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"to_torch: PyTorch is missing .*pip install torch"):
        to_torch(EveryLayer())
