"""Numerical gradients: what they give, refuse, and leave as it was."""

import random
import types

import numpy as np
import pytest

from cs231n import gradient_check
from cs231n.gradient_check import (
    eval_numerical_gradient,
    eval_numerical_gradient_array,
    eval_numerical_gradient_blobs,
    eval_numerical_gradient_net,
    grad_check_sparse,
    rel_error,
)


def strided(array):
    """Return a copy of the array in which each number stands two places after the one before."""
    return np.repeat(array, 2, axis=-1)[..., ::2]


LAYOUTS = {
    "C": lambda a: a,
    "Fortran": np.asfortranarray,
    "strided": strided,
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_gradient_of_a_scalar_function_that_ignores_its_argument(layout, dtype, rng):
    x = layout(rng.standard_normal((3, 4)).astype(dtype))
    before, bytes_before = x, x.tobytes()
    # In float32, a large step: the function is quadratic, so that truncation is no matter.
    gradient = eval_numerical_gradient(
        lambda _: np.sum(x.astype(np.float64) ** 2), x, verbose=False, h=1e-2
    )
    assert gradient.shape == x.shape
    assert gradient.dtype == dtype
    np.testing.assert_allclose(gradient, 2 * x, rtol=1e-6 if dtype == "float32" else 1e-10)
    assert x is before
    assert x.tobytes() == bytes_before


@pytest.mark.parametrize("h", [1e-3, 1e-5])
def test_float32_is_divided_by_the_step_that_was_made(h):
    x = np.array([3.0, 0.7, -5.0], dtype=np.float32)  # 3 + 1e-5 - 3 is not 1e-5 in float32
    slopes = eval_numerical_gradient(lambda x: 4.0 * np.sum(x.astype(np.float64)), x, False, h=h)
    np.testing.assert_allclose(slopes, 4.0, rtol=1e-6)


def test_a_step_lost_in_rounding_is_an_error():
    x = np.array([1000.0], dtype=np.float32)
    with pytest.raises(ValueError, match=r"h = 1e-05 does not change .* in float32"):
        eval_numerical_gradient(np.sum, x)
    assert x[0] == 1000.0


def test_scalars_empty_arrays_and_zero_dimensions():
    assert eval_numerical_gradient(lambda x: 5.0, np.zeros((0, 3)), verbose=False).shape == (0, 3)
    gradient = eval_numerical_gradient_array(lambda x: 2 * x, np.zeros((3, 0)), np.zeros((3, 0)))
    assert gradient.shape == (3, 0)
    assert eval_numerical_gradient(lambda x: 3 * x, np.array(2.0), verbose=False) == pytest.approx(
        3
    )


def test_verbose_prints_index_and_slope(capsys):
    eval_numerical_gradient(lambda x: float(np.sum(x * [[1.0, 2.0]])), np.zeros((1, 2)))
    lines = capsys.readouterr().out.splitlines()
    assert [line.rsplit(" ", 1)[0] for line in lines] == ["(0, 0)", "(0, 1)"]
    assert [float(line.rsplit(" ", 1)[1]) for line in lines] == pytest.approx([1.0, 2.0])


def test_gradient_of_an_array_function(rng):
    x, df = rng.standard_normal((3, 4)), rng.standard_normal((4, 3))
    gradient = eval_numerical_gradient_array(lambda x: np.tanh(x).T, x, df)
    np.testing.assert_allclose(gradient, df.T / np.cosh(x) ** 2, rtol=1e-8)


def test_a_function_may_return_one_buffer_or_the_input_itself(rng):
    x, df = rng.standard_normal(5), rng.standard_normal(5)
    buffer = np.empty(5)
    gradient = eval_numerical_gradient_array(lambda x: np.square(x, out=buffer), x, df)
    np.testing.assert_allclose(gradient, 2 * x * df, rtol=1e-8)
    np.testing.assert_allclose(eval_numerical_gradient_array(lambda x: x, x, df), df, rtol=1e-8)


def raises_at(call):
    """Return a function of an array that raises at the given call."""
    calls = iter(range(1, 1000))

    def f(x):
        if next(calls) == call:
            raise KeyError("stop")
        return float(np.sum(x))

    return f


@pytest.mark.parametrize("call", [1, 2, 5, 6])
def test_x_is_put_back_exactly_when_f_raises(call, rng):
    x = rng.standard_normal((2, 2)) * 1e-3 + 0.1
    before = x.copy()
    with pytest.raises(KeyError):
        eval_numerical_gradient(raises_at(call), x, verbose=False)
    np.testing.assert_array_equal(x, before)
    with pytest.raises(KeyError):
        eval_numerical_gradient_array(raises_at(call), x, 1.0)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.arange(3), TypeError, r"x has dtype int64.*rounded away.*astype\(float\)"),
        (np.ones(2, complex), TypeError, "x has dtype complex128; expected a real float"),
        ([1.0, 2.0], TypeError, "x is a list; expected an ndarray"),
        (np.broadcast_to(1.0, (2, 2)), ValueError, r"x is read-only.*x\.copy\(\)"),
    ],
)
def test_what_cannot_be_moved_is_refused(x, error, message):
    with pytest.raises(error, match=f"eval_numerical_gradient: {message}"):
        eval_numerical_gradient(np.sum, x)
    with pytest.raises(error, match=f"eval_numerical_gradient_array: {message}"):
        eval_numerical_gradient_array(np.sum, x, 1.0)
    with pytest.raises(error, match=f"grad_check_sparse: {message}"):
        grad_check_sparse(np.sum, x, x)


def test_what_f_gives_must_fit():
    x = np.ones((2, 3))
    with pytest.raises(ValueError, match=r"array of shape \(2, 3\); expected a scalar"):
        eval_numerical_gradient(lambda x: x, x)
    with pytest.raises(TypeError, match=r"tuple of 2; .*lambda x: forward\(x\)\[0\]"):
        eval_numerical_gradient_array(lambda x: (x, x), x, x)
    with pytest.raises(ValueError, match=r"df has shape \(3, 2\) but f\(x\) has shape \(2, 3\)"):
        eval_numerical_gradient_array(lambda x: x, x, x.T)
    with pytest.raises(ValueError, match=r"h is 0\.0; expected a number in \(0, inf\]"):
        eval_numerical_gradient(np.sum, x, h=0)


def blob(vals, diffs=None):
    """Return an object with vals and diffs."""
    return types.SimpleNamespace(vals=vals, diffs=diffs)


def test_blobs_and_net(rng):
    x, w = blob(rng.standard_normal((2, 3))), blob(rng.standard_normal((3, 4)))
    out = blob(np.zeros((2, 4)), rng.standard_normal((2, 4)))

    def multiply(x, w, out):
        np.matmul(x.vals, w.vals, out=out.vals)  # always into the same array

    expected = [out.diffs @ w.vals.T, x.vals.T @ out.diffs]
    net = types.SimpleNamespace(forward=lambda: multiply(x, w, out))
    for found in (
        eval_numerical_gradient_blobs(multiply, (x, w), out),
        eval_numerical_gradient_blobs(multiply, [x, w], out, h=1e-4),
        eval_numerical_gradient_net(net, (x, w), out),
    ):
        assert [gradient.shape for gradient in found] == [(2, 3), (3, 4)]
        for gradient, right in zip(found, expected):
            np.testing.assert_allclose(gradient, right, rtol=1e-7)


def test_blobs_are_checked_before_anything_runs():
    whole, integer = blob(np.ones(2)), blob(np.arange(2))
    with pytest.raises(TypeError, match=r"inputs\[1\]\.vals has dtype int64"):
        eval_numerical_gradient_blobs(pytest.fail, (whole, integer), blob(None, 1.0))


def test_sparse_check_prints_in_the_published_form_and_returns_the_largest_error(capsys):
    x = np.array([[1.0, 2.0, 3.0]])
    analytic = np.array([[2.0, 4.0, 6.6]])
    random.seed(0)
    error = grad_check_sparse(lambda x: np.sum(x**2), x, analytic, num_checks=12)
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 12
    assert "numerical: 6.000000 analytic: 6.600000, relative error: 4.761905e-02" in printed
    assert error == pytest.approx(0.6 / 12.6, rel=1e-6)
    np.testing.assert_array_equal(x, [[1.0, 2.0, 3.0]])


def test_sparse_check_draws_from_python_or_from_a_generator(capsys):
    x = np.arange(1.0, 1001.0)
    state = np.random.get_state()[1].copy()
    runs = []
    for source in (1, 1, 2, np.random.default_rng(1), np.random.default_rng(1)):
        if isinstance(source, int):
            random.seed(source)
            grad_check_sparse(np.sum, x, x, num_checks=4)
        else:
            grad_check_sparse(np.sum, x, x, num_checks=4, rng=source)
        runs.append(capsys.readouterr().out)
    assert runs[0] == runs[1] != runs[2]
    assert runs[3] == runs[4] != runs[0]
    np.testing.assert_array_equal(np.random.get_state()[1], state)


def test_sparse_check_edge_cases(capsys):
    assert grad_check_sparse(lambda x: 0.0, np.zeros((0, 2)), np.zeros((0, 2))) == 0
    assert grad_check_sparse(lambda x: 0.0, np.ones(2), np.zeros(2)) == 0  # 0 / 0 is no error
    assert np.isnan(grad_check_sparse(np.sum, np.ones(2), np.full(2, np.nan)))
    with pytest.raises(ValueError, match=r"analytic_grad has shape \(2,\); expected \(2, 1\)"):
        grad_check_sparse(np.sum, np.ones((2, 1)), np.ones(2))


def test_rel_error():
    assert rel_error([1.0, 2.0], [1.0, 3.0]) == 0.2
    assert rel_error(1e-10, 0) == pytest.approx(1e-2)  # small numbers are measured against 1e-8
    assert rel_error(np.zeros(3), 0) == 0
    assert rel_error(np.uint8([1, 255]), np.uint8([2, 255])) == pytest.approx(1 / 3)
    assert rel_error(np.float16([0]), np.float16([0])) == 0
    assert rel_error([], []) == 0
    assert np.isnan(rel_error([1.0, np.nan], [1.0, 1.0]))
    assert type(rel_error(np.ones(2), np.ones(2))) is float
    for wrong, error in (("a", TypeError), ([1j], TypeError), ([[1], [1, 2]], ValueError)):
        with pytest.raises(error, match="rel_error: y "):
            rel_error(1, wrong)
    with pytest.raises(ValueError, match=r"x has shape \(3,\) but y has shape \(3, 1\)"):
        rel_error(np.ones(3), np.ones((3, 1)))


def test_public_names():
    assert set(gradient_check.__all__) >= {
        "check_layer",
        "eval_numerical_gradient",
        "eval_numerical_gradient_array",
        "eval_numerical_gradient_blobs",
        "eval_numerical_gradient_net",
        "grad_check_sparse",
        "rel_error",
    }
    assert all(hasattr(gradient_check, name) for name in gradient_check.__all__)
