"""GELU, SiLU and leaky ReLU: known values, PyTorch, and inputs far from zero."""

import math

import numpy as np
import pytest
from cases import DTYPES
from conftest import assert_close

from cs231n import fast_layers, modern_layers

# (reference, fast twin), the option, and the activation of one number by its definition.
UNITS = {
    "leaky relu": ("leaky_relu", (0.2,), lambda x: x if x > 0 else 0.2 * x),
    "silu": ("silu", (), lambda x: x / (1 + math.exp(-x)) if x > -700 else 0.0),
    # erfc, for 1 + erf cancels where x is negative
    "gelu": ("gelu", ("exact",), lambda x: x * math.erfc(-x / math.sqrt(2)) / 2),
    "gelu, tanh": (
        "gelu",
        ("tanh",),
        lambda x: x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) / 2,
    ),
}
NUMBERS = [*np.linspace(-9, 9, 363), 0.0, 1e-30, -1e-30, 13.5, -13.5, 37.0, -37.0, 1e6, -1e6]


def passes(name, twin):
    """Return forward and backward pass of an activation and its option."""
    kind, options, _ = UNITS[name]
    module, ending = (fast_layers, "_fast") if twin == "fast" else (modern_layers, "")
    return [getattr(module, f"{kind}_{way}{ending}") for way in ("forward", "backward")], options


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("twin", ["reference", "fast"])
@pytest.mark.parametrize("name", UNITS)
def test_outputs_are_those_of_the_definition(name, twin, dtype, backend_name):
    (forward, _), options = passes(name, twin)
    x = np.array(NUMBERS, dtype)
    expected = np.array([UNITS[name][2](float(number)) for number in x])
    out, _ = forward(x, *options)
    assert out.dtype == dtype
    precision = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(out, expected, rtol=precision, atol=8 * precision)


@pytest.mark.parametrize("twin", ["reference", "fast"])
@pytest.mark.parametrize("name", UNITS)
def test_gradients_are_the_slopes_of_the_definition(name, twin, backend_name, rng):
    (forward, backward), options = passes(name, twin)
    x = rng.uniform(-6, 6, 301)
    x = x[np.abs(x) > 1e-3]  # where a leaky relu has its kink
    dout, step = rng.standard_normal(x.shape), 1e-5
    by_definition = np.vectorize(UNITS[name][2])
    slopes = (by_definition(x + step) - by_definition(x - step)) / (2 * step)
    dx = backward(dout, forward(x, *options)[1])
    np.testing.assert_allclose(dx, dout * slopes, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("twin", ["reference", "fast"])
@pytest.mark.parametrize("name", ["silu", "gelu", "gelu, tanh"])
def test_far_from_zero_units_are_off_or_the_identity(name, twin, dtype, backend_name):
    (forward, backward), options = passes(name, twin)
    far = np.array([-1e4, 1e4], dtype) * np.array([[1], [2], [300]], dtype)
    out, cache = forward(far, *options)
    np.testing.assert_array_equal(out, far * (far > 0))
    np.testing.assert_array_equal(backward(np.full_like(far, 3), cache), 3 * (far > 0))


@pytest.mark.parametrize("twin", ["reference", "fast"])
@pytest.mark.parametrize("name", UNITS)
def test_nan_passes(name, twin, backend_name):
    (forward, backward), options = passes(name, twin)
    x = np.linspace(-1, 1, 37)
    x[[3, 36]] = np.nan
    out, cache = forward(x, *options)
    assert np.flatnonzero(np.isnan(out)).tolist() == [3, 36]
    if name != "leaky relu":  # whose slope depends on the sign alone
        dx = backward(np.ones(37), cache)
        assert np.flatnonzero(np.isnan(dx)).tolist() == [3, 36]


@pytest.mark.parametrize("twin", ["reference", "fast"])
def test_wrong_options_are_named(twin):
    (gelu, gelu_back), _ = passes("gelu", twin)
    with pytest.raises(ValueError, match=r"gelu_forward\w*: form is 'erf'; expected 'exact' or"):
        gelu(np.ones(3), "erf")
    out, cache = gelu(np.ones(3))
    with pytest.raises(ValueError, match=r"gelu_backward\w*: form is None; expected 'exact' or"):
        gelu_back(out, cache._replace(form=None))
    (leaky, leaky_back), _ = passes("leaky relu", twin)
    with pytest.raises(TypeError, match=r"leaky_relu_forward\w*: slope is 'x'"):
        leaky(np.ones(3), "x")
    out, cache = leaky(np.ones(3))
    with pytest.raises(TypeError, match=r"leaky_relu_backward\w*: slope is None"):
        leaky_back(out, cache._replace(slope=None))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("twin", ["reference", "fast"])
@pytest.mark.parametrize("name", UNITS)
def test_pytorch_agrees(name, twin, dtype, backend_name, rng):
    torch = pytest.importorskip("torch")
    counterpart = {
        "leaky relu": lambda x: torch.nn.functional.leaky_relu(x, 0.2),
        "silu": torch.nn.functional.silu,
        "gelu": torch.nn.functional.gelu,
        "gelu, tanh": lambda x: torch.nn.functional.gelu(x, approximate="tanh"),
    }[name]
    (forward, backward), options = passes(name, twin)
    x, dout = (3 * rng.standard_normal((2, 5, 7, 11))).astype(dtype)
    x[0, 0] = 0
    tensor = torch.tensor(x, requires_grad=True)
    expected = counterpart(tensor)
    expected.backward(torch.tensor(dout))
    out, cache = forward(x, *options)
    assert_close(out, expected.detach().numpy())
    assert_close(backward(dout, cache), tensor.grad.numpy())
