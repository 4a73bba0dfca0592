"""Batch norm in two parts: sums of shares put together give what the whole batch gives."""

import numpy as np
import pytest
from cases import DTYPES
from conftest import assert_close

from cs231n.kernels.backend import kernels

UNITS = [("", 0.0), ("relu", 0.0), ("leaky_relu", 0.2), ("gelu", 0.0), ("silu", 0.0)]
EPS = 1e-3


SHAPES = [(6, 5, 12), (6, 5, 3, 4), (7, 3), (7, 3, 1), (5, 70, 1), (4, 2, 300), (4, 2, 3, 2, 50)]


@pytest.fixture(params=SHAPES, ids=str)
def shape(request):
    """Return N, C and pixels, in any number of axes: images, and rows in one strip and in two."""
    return request.param


@pytest.fixture(params=DTYPES)
def arrays(request, shape, rng):
    """Return dout, x, gamma and beta."""
    C = shape[1]
    found = [
        rng.standard_normal(size) + offset
        for size, offset in ((shape, 0), (shape, 2), (C, 1), (C, 0))
    ]
    return [one.astype(request.param) for one in found]


def test_statistics_are_those_of_the_whole_pass(backend_name, arrays):
    _, x, gamma, beta = arrays
    expected, found = np.empty((2, 2, len(gamma)), x.dtype)
    kernels().batchnorm_forward(x, gamma, beta, np.empty_like(x), *expected, EPS)
    kernels().batchnorm_statistics(x, *found)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("unit", UNITS, ids=str)
def test_shares_have_the_gradients_of_the_whole(backend_name, arrays, unit):
    dout, x, gamma, beta = arrays
    statistics, expected = np.empty((2, 2, len(gamma)), x.dtype)
    kernels().batchnorm_statistics(x, *statistics)
    dx = np.empty_like(x)
    kernels().batchnorm_backward(dout, x, gamma, beta, *statistics, dx, *expected, EPS, *unit)
    shares = [(np.ascontiguousarray(dout[rows]), np.ascontiguousarray(x[rows]))
              for rows in (slice(1), slice(1, None))]  # fmt: skip
    sums = np.zeros_like(expected)
    for share in shares:
        mine = np.empty_like(expected)
        kernels().batchnorm_sums(*share, gamma, beta, *statistics, *mine, EPS, *unit)
        sums += mine
    assert_close(sums, expected)
    count = x.size / len(gamma)
    found = [np.empty_like(share) for _, share in shares]
    for share, rest in zip(shares, found):
        given = *share, gamma, beta, *statistics, rest
        kernels().batchnorm_rest(*given, *sums, count, EPS, *unit)
    assert_close(np.concatenate(found), dx, looser=5)
