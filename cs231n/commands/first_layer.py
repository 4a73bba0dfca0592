"""The first layer of a network as images, where these can be seen."""

from __future__ import annotations

import math

import numpy as np

from cs231n.classifiers import Network

__all__ = ["first_filters"]

_MOST_FILTERS = 1024  # that are drawn: more could not be told apart


def first_filters(model: Network) -> np.ndarray | None:
    """Return the first layer's weights as images, or None where they are none to be seen."""
    w = model.params["W1"]
    if w.ndim == 2 and model.inputs is not None and len(w) == math.prod(model.inputs.image_shape):
        w = w[:, :_MOST_FILTERS].T.reshape(-1, *model.inputs.image_shape)
    can_be_seen = w.ndim == 4 and w.shape[1] in (1, 3) and w[0, 0].size > 1
    return w[:_MOST_FILTERS] if can_be_seen and np.isfinite(w).all() else None
