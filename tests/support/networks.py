"""Batches for networks, and the check of all their gradients."""

import numpy as np
import pytest


def slope_along(model, X, y, w, direction, h):
    """Return the central difference of the loss as the array w moves along a direction."""
    start = w.copy()
    w[...] = start + h * direction
    above = model.loss(X, y)[0]
    w[...] = start - h * direction
    below = model.loss(X, y)[0]
    w[...] = start
    return (above - below) / (2 * h)


def batch_of(rng, sample_shape, N=6, C=5):
    """Return random samples and labels."""
    return rng.standard_normal((N, *sample_shape)), rng.integers(C, size=N)


def assert_gradients_are_numeric(model, X, y, rng, h=1e-6):
    """Compare each gradient with central differences along two random directions."""
    _, grads = model.loss(X, y)
    assert list(grads) == list(model.params)
    for name, w in model.params.items():
        for _ in range(2):
            direction = rng.standard_normal(w.shape)
            numeric = slope_along(model, X, y, w, direction, h)
            analytic = np.sum(grads[name] * direction)
            assert analytic == pytest.approx(numeric, rel=1e-5, abs=1e-7), name
