"""What a network is a list of."""

from __future__ import annotations

from typing import Any, NamedTuple

from cs231n.layer_utils import Stage

__all__ = ["Layer"]


class Layer(NamedTuple):
    """A stage of a network, the names of its weights in `params`, and its options."""

    stage: Stage
    weights: tuple[str, ...]
    options: tuple[Any, ...]
