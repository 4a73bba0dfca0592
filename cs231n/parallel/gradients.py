"""Loss and gradients of a whole minibatch, of which each rank has computed its share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from cs231n.parallel.layers import Share, shared
from cs231n.parallel.ranks import Ranks

__all__ = ["BUCKET_BYTES", "Buckets", "whole_loss"]

BUCKET_BYTES = 1 << 20  # of a bucket: large beside the latency of a message, small beside a network


class _Bucket(NamedTuple):
    """What is on its way: where each gradient stands, the request, what is sent, what comes."""

    places: list[tuple[str, tuple[int, ...], int]]
    request: Any
    sent: np.ndarray
    found: np.ndarray


class Buckets:
    """Adds up gradients over the ranks, bucket by bucket, while others are still computed.

    A bucket goes out when it is full: each rank gets a part of it from all others, adds these up in
    the order of the ranks, whatever order they come in, and in the end all ranks get all parts.
    That moves as few bytes as a ring does, and gives the same bits in every run.

    Parameters
    ----------
    ranks : Ranks
    weight : float
        This rank's share of the minibatch.
    capacity : int
        Bytes of a bucket.
    """

    def __init__(self, ranks: Ranks, weight: float, capacity: int = BUCKET_BYTES) -> None:
        self._ranks, self._weight, self._capacity = ranks, weight, capacity
        self._waiting: list[tuple[str, np.ndarray]] = []
        self._sent: list[_Bucket] = []
        self.names: set[str] = set()

    def add(self, name: str, gradient: np.ndarray) -> None:
        """Take in a gradient; all ranks must do so in the same order."""
        if self._waiting and self._waiting[0][1].dtype != gradient.dtype:
            self._send()
        self._waiting.append((name, gradient))
        self.names.add(name)
        if sum(one.nbytes for _, one in self._waiting) >= self._capacity:
            self._send()
        for bucket in self._sent:
            bucket.request.Test()  # lets a library that has no thread of its own go on

    def _send(self) -> None:
        """Let a bucket go out."""
        waiting, self._waiting = self._waiting, []
        length = sum(one.size for _, one in waiting)
        width = -(-length // self._ranks.size)
        parts = np.empty((self._ranks.size, width), waiting[0][1].dtype)
        flat, places, start = parts.reshape(-1), [], 0
        for name, gradient in waiting:
            end = start + gradient.size
            np.multiply(gradient.reshape(-1), self._weight, out=flat[start:end])
            places.append((name, gradient.shape, start))
            start = end
        flat[start:] = 0
        self._sent.append(_Bucket(places, *self._exchanged(parts)))

    def _exchanged(self, parts: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray]:
        """Send the parts; return the request, what is sent and what comes."""
        request, found = self._ranks.exchange(parts)
        return request, parts, found

    def sums(self) -> dict[str, np.ndarray]:
        """Return the sums of all gradients over the ranks, by name."""
        if self._waiting:
            self._send()
        wholes = []
        for bucket in self._sent:
            self._ranks.wait(bucket.request)
            part = functools.reduce(_added, bucket.found[1:], bucket.found[0].copy())
            whole = np.empty_like(bucket.sent)
            wholes.append((self._ranks.distribute(part, whole), whole, part))
        found: dict[str, np.ndarray] = {}
        for bucket, (request, whole, _) in zip(self._sent, wholes):
            self._ranks.wait(request)
            flat = whole.reshape(-1)
            for name, shape, start in bucket.places:
                found[name] = flat[start : start + int(np.prod(shape))].reshape(shape)
        return found


def _added(total: np.ndarray, part: np.ndarray) -> np.ndarray:
    """Add a part to a sum, in place."""
    total += part
    return total


def whole_loss(
    ranks: Ranks,
    model: Any,
    X: np.ndarray,
    y: np.ndarray,
    count: int,
    settings: Mapping[str, Any],
    statistics: bool,
) -> tuple[float, dict[str, np.ndarray]]:
    """Return loss and gradients of a minibatch of which this rank has its share.

    Parameters
    ----------
    ranks : Ranks
    model : object
        As the Solver takes it; its loss is the mean over the samples, and what does not depend on
        them.
    X, y : ndarray
        This rank's share of the images and labels.
    count : int
        Samples of all ranks.
    settings : mapping
        Further arguments of ``model.loss``.
    statistics : bool
        Whether batch normalisation takes its statistics over all ranks.

    Returns
    -------
    loss : float
    grads : dict of str to ndarray
    """
    share = Share(ranks, ranks.share(count), count)
    buckets = Buckets(ranks, share.weight)
    loss = _share_of_loss(model, X, y, settings, share, buckets, statistics)
    loss = sum(ranks.gather(np.array([share.weight * loss]))[:, 0].tolist())
    return loss, buckets.sums()


def _share_of_loss(
    model: Any,
    X: np.ndarray,
    y: np.ndarray,
    settings: Mapping[str, Any],
    share: Share,
    buckets: Buckets,
    statistics: bool,
) -> float:
    """Return the loss of a share; its gradients are in the buckets."""
    frozen = getattr(model, "frozen", ())
    learning = [name for name in model.params if name not in frozen]
    if not hasattr(model, "replaced"):  # no network of this package
        if len(X) == 0:
            loss, grads = 0.0, {name: np.zeros_like(model.params[name]) for name in learning}
        else:
            loss, grads = model.loss(X, y, **settings)
        for name in learning:  # an order that all ranks have
            buckets.add(name, np.asarray(grads[name]))
        return float(loss)
    announce: Callable[[str, np.ndarray], None] = buckets.add
    with model.replaced(lambda one: shared(one.stage, one.weights, share, announce, statistics)):
        loss, grads = model.loss(X, y, **settings)
    for name in learning:
        if name not in buckets.names:  # of a subclass that has weights beside its layers
            buckets.add(name, grads[name])
    return float(loss)
