"""Every layer, loss and update rule against PyTorch, where it is installed.

With CS231N_REQUIRE_TORCH=1 a missing PyTorch is a failure, so that a test run can't do without it
unnoticed.
"""

import os

import numpy as np
import pytest
from cases import CONV_CASES, DTYPES, POOL_CASES
from conftest import KERNELS, assert_close

from cs231n import layer_utils, layers
from cs231n.fast_layers import (
    conv_backward_fast,
    conv_forward_fast,
    max_pool_backward_fast,
    max_pool_forward_fast,
    softmax_loss_fast,
)
from cs231n.kernels import backend
from cs231n.optim import RULES

if os.environ.get("CS231N_REQUIRE_TORCH") == "1":
    import torch
else:
    torch = pytest.importorskip("torch")

from torch.nn import functional

CONV = {
    "naive": (layers.conv_forward_naive, layers.conv_backward_naive),
    "fast": (conv_forward_fast, conv_backward_fast),
}
POOL = {
    "naive": (layers.max_pool_forward_naive, layers.max_pool_backward_naive),
    "fast": (max_pool_forward_fast, max_pool_backward_fast),
}


@pytest.fixture(params=["naive", *KERNELS])
def path(request):
    """Run the test with the naive layers, and with the fast ones on each set of kernels."""
    previous = backend.select("auto" if request.param == "naive" else request.param)
    yield "naive" if request.param == "naive" else "fast"
    backend.select(previous)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Keep PyTorch to one thread: for arrays this small more of them only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def by_torch(function, dout, *arrays):
    """Return the output of a function of tensors, and its gradients with respect to them."""
    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    out = function(*tensors)
    out.backward(torch.tensor(dout))
    return [tensor.detach().numpy() for tensor in (out, *(tensor.grad for tensor in tensors))]


def assert_all_close(found, expected):
    """Compare an output and gradients one by one."""
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        assert_close(one, other)


def draw(rng, dtype, *shapes):
    """Return random arrays of these shapes."""
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", DTYPES)
def test_affine(dtype, rng):
    x, w, b, dout = draw(rng, dtype, (4, 2, 3), (6, 5), 5, (4, 5))
    out, cache = layers.affine_forward(x, w, b)
    expected = by_torch(lambda x, w, b: functional.linear(x.flatten(1), w.T, b), dout, x, w, b)
    assert_all_close((out, *layers.affine_backward(dout, cache)), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_relu_also_at_zero(dtype, rng):
    x, dout = draw(rng, dtype, (4, 5), (4, 5))
    x[:2, :2] = 0
    out, cache = layers.relu_forward(x)
    expected = by_torch(functional.relu, dout, x)
    assert_all_close((out, layers.relu_backward(dout, cache)), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1, 100])
@pytest.mark.parametrize("smoothing", [0, 0.1, 1])
@pytest.mark.parametrize("loss_of", [layers.softmax_loss, softmax_loss_fast])
def test_softmax_loss(loss_of, smoothing, scale, dtype, rng):
    (x,), y = draw(rng, dtype, (7, 4)), rng.integers(4, size=7)
    x *= scale
    loss, dx = loss_of(x, y, smoothing)
    expected, expected_dx = by_torch(
        lambda x: functional.cross_entropy(x, torch.tensor(y), label_smoothing=smoothing),
        np.asarray(1, dtype),
        x,
    )
    assert_close(np.asarray(loss, dtype), expected)
    assert_close(dx, expected_dx)


@pytest.mark.parametrize("dtype", DTYPES)
def test_svm_loss(dtype, rng):
    (x,), y = draw(rng, dtype, (7, 4)), rng.integers(4, size=7)
    loss, dx = layers.svm_loss(x, y)
    # PyTorch takes the mean over the classes where the course takes the sum.
    expected, expected_dx = by_torch(
        lambda x: 4 * functional.multi_margin_loss(x, torch.tensor(y)), np.asarray(1, dtype), x
    )
    assert_close(np.asarray(loss, dtype), expected)
    assert_close(dx, expected_dx)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", ["train", "test"])
@pytest.mark.parametrize(
    "backward", [layers.batchnorm_backward, layers.batchnorm_backward_alt], ids=["graph", "alt"]
)
def test_batchnorm(backward, mode, dtype, rng):
    N, D = 6, 5
    x, gamma, beta, dout, mean, var = draw(rng, dtype, (N, D), D, D, (N, D), D, D)
    var = np.abs(var)
    bn_param = {"mode": mode, "eps": 1e-3, "momentum": 0.8}
    bn_param.update(running_mean=mean, running_var=var)
    out, cache = layers.batchnorm_forward(x, gamma, beta, bn_param)
    new_mean, new_var = torch.tensor(mean), torch.tensor(var)
    expected = by_torch(
        lambda x, gamma, beta: functional.batch_norm(
            x, new_mean, new_var, gamma, beta, mode == "train", momentum=0.2, eps=1e-3
        ),
        dout,
        x,
        gamma,
        beta,
    )
    assert_all_close((out, *backward(dout, cache)), expected)
    assert_close(bn_param["running_mean"], new_mean.numpy())
    # PyTorch keeps the unbiased variance, the course the biased one.
    step, expected_step = bn_param["running_var"] - 0.8 * var, new_var.numpy() - 0.8 * var
    factor = (N - 1) / N if mode == "train" else 1
    assert_close(step, (factor * expected_step).astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_layernorm(dtype, rng):
    x, gamma, beta, dout = draw(rng, dtype, (6, 5), 5, 5, (6, 5))
    out, cache = layers.layernorm_forward(x, gamma, beta, {"eps": 1e-3})
    expected = by_torch(
        lambda x, gamma, beta: functional.layer_norm(x, (5,), gamma, beta, eps=1e-3),
        dout,
        x,
        gamma,
        beta,
    )
    assert_all_close((out, *layers.layernorm_backward(dout, cache)), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_with_the_mask_that_was_drawn(dtype, rng):
    x, dout = draw(rng, dtype, (6, 5), (6, 5))
    out, cache = layers.dropout_forward(x, {"mode": "train", "p": 0.7, "seed": 1})
    np.random.seed(1)
    kept = torch.tensor(np.random.rand(6, 5) < 0.7)
    expected = by_torch(lambda x: x * kept / 0.7, dout, x)
    assert_all_close((out, layers.dropout_backward(dout, cache)), expected)


@pytest.mark.sampled(5)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CONV_CASES.values(), ids=CONV_CASES)
def test_conv(case, dtype, path, rng):
    x, w, b, dout = case.draw(rng, dtype)
    forward, backward = CONV[path]
    out, cache = forward(x, w, b, case.param)
    expected = by_torch(
        lambda x, w, b: functional.conv2d(x, w, b, stride=case.stride, padding=case.pad),
        dout,
        x,
        w,
        b,
    )
    assert_all_close((out, *backward(dout, cache)), expected)


@pytest.mark.sampled(5)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("draw", ["draw", "draw_ties"])
@pytest.mark.parametrize("case", POOL_CASES.values(), ids=POOL_CASES)
def test_max_pool_also_of_ties(case, draw, dtype, path, rng):
    x, dout = getattr(case, draw)(rng, dtype)
    forward, backward = POOL[path]
    out, cache = forward(x, case.param)
    expected = by_torch(
        lambda x: functional.max_pool2d(x, (case.HH, case.WW), stride=case.stride), dout, x
    )
    assert_all_close((out, backward(dout, cache)), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(4, 3, 5, 6), (2, 3, 1, 1)])
def test_global_pools(shape, dtype, rng):
    (dout,) = draw(rng, dtype, shape[:2])
    x = rng.integers(-2, 3, shape).astype(dtype)  # with ties for the maximum
    pools = {
        "avg": lambda x: functional.avg_pool2d(x, shape[2:]),
        "max": lambda x: functional.max_pool2d(x, shape[2:]),
    }
    for name, pool in pools.items():
        forward = getattr(layers, f"global_{name}_pool_forward")
        out, cache = forward(x)
        expected = by_torch(lambda x, pool=pool: pool(x)[:, :, 0, 0], dout, x)
        dx = getattr(layers, f"global_{name}_pool_backward")(dout, cache)
        assert_all_close((out, dx), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_spatial_batchnorm(dtype, rng):
    x, gamma, beta, dout = draw(rng, dtype, (3, 4, 2, 5), 4, 4, (3, 4, 2, 5))
    out, cache = layers.spatial_batchnorm_forward(x, gamma, beta, {"mode": "train"})
    expected = by_torch(
        lambda x, gamma, beta: functional.batch_norm(x, None, None, gamma, beta, training=True),
        dout,
        x,
        gamma,
        beta,
    )
    assert_all_close((out, *layers.spatial_batchnorm_backward(dout, cache)), expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("G", [1, 2, 6])
def test_spatial_groupnorm(G, dtype, rng):
    scale = (1, 6, 1, 1)
    x, gamma, beta, dout = draw(rng, dtype, (3, 6, 2, 5), scale, scale, (3, 6, 2, 5))
    out, cache = layers.spatial_groupnorm_forward(x, gamma, beta, G, {})
    expected = by_torch(
        lambda x, gamma, beta: functional.group_norm(x, G, gamma.flatten(), beta.flatten()),
        dout,
        x,
        gamma,
        beta,
    )
    assert_all_close((out, *layers.spatial_groupnorm_backward(dout, cache)), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sandwich_of_everything(dtype, backend_name, rng):
    shapes = (3, 2, 8, 8), (4, 2, 3, 3), 4, 4, 4, (3, 4, 4, 4)
    x, w, b, gamma, beta, dout = draw(rng, dtype, *shapes)
    conv_param, pool_param = {"stride": 1, "pad": 1}, POOL_CASES["notebook forward"].param
    out, cache = layer_utils.conv_bn_relu_pool_forward(
        x, w, b, gamma, beta, conv_param, {"mode": "train"}, pool_param
    )

    def expected_forward(x, w, b, gamma, beta):
        y = functional.conv2d(x, w, b, padding=1)
        y = functional.batch_norm(y, None, None, gamma, beta, training=True)
        return functional.max_pool2d(functional.relu(y), 2)

    expected = by_torch(expected_forward, dout, x, w, b, gamma, beta)
    found = (out, *layer_utils.conv_bn_relu_pool_backward(dout, cache))
    for one, other in zip(found, expected, strict=True):
        # Normalisation cancels the bias, whose gradient is nothing but rounding.
        assert_close(one, other, scale=max(1.0, np.abs(other).max()))


OPTIMIZERS = {
    "sgd": ({"learning_rate": 0.1}, lambda w: torch.optim.SGD(w, lr=0.1)),
    "sgd_momentum": (
        {"learning_rate": 0.1, "momentum": 0.8},
        lambda w: torch.optim.SGD(w, lr=0.1, momentum=0.8),
    ),
    "nesterov_momentum": (
        {"learning_rate": 0.1, "momentum": 0.8},
        lambda w: torch.optim.SGD(w, lr=0.1, momentum=0.8, nesterov=True),
    ),
    "adagrad": (
        {"learning_rate": 0.1, "epsilon": 1e-3},
        lambda w: torch.optim.Adagrad(w, lr=0.1, eps=1e-3),
    ),
    "rmsprop": (
        {"learning_rate": 0.1, "decay_rate": 0.9, "epsilon": 1e-3},
        lambda w: torch.optim.RMSprop(w, lr=0.1, alpha=0.9, eps=1e-3),
    ),
    "adam": (
        {"learning_rate": 0.1, "beta1": 0.8, "beta2": 0.95, "epsilon": 1e-3},
        lambda w: torch.optim.Adam(w, lr=0.1, betas=(0.8, 0.95), eps=1e-3),
    ),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "muon"])
def test_update_rules(rule, dtype, rng):
    config, build = OPTIMIZERS[rule]
    (w,) = draw(rng, dtype, (3, 4))
    tensor, config = torch.tensor(w, requires_grad=True), dict(config)
    optimizer = build([tensor])
    for _ in range(8):
        (dw,) = draw(rng, dtype, (3, 4))
        w, config = RULES[rule](w, dw, config)
        tensor.grad = torch.tensor(dw)
        optimizer.step()
        assert_close(w, tensor.detach().numpy())


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="PyTorch before 2.9 has no Muon")
@pytest.mark.parametrize("shape", [(3, 5), (6, 4)])
def test_muon_but_for_the_bfloat16_of_pytorch(shape, rng):
    (w,) = draw(rng, "float32", shape)
    tensor, config = torch.tensor(w, requires_grad=True), {"learning_rate": 0.1, "momentum": 0.8}
    optimizer = torch.optim.Muon([tensor], lr=0.1, momentum=0.8, weight_decay=0)
    for _ in range(4):
        (dw,) = draw(rng, "float32", shape)
        w, config = RULES["muon"](w, dw, config)
        tensor.grad = torch.tensor(dw)
        optimizer.step()
    np.testing.assert_allclose(w, tensor.detach().numpy(), atol=0.02)
