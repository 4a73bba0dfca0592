"""Layers that see the whole minibatch while each rank has its share of it.

They are stages like those that they stand for: batch normalisation takes its statistics over all
ranks, dropout draws for all samples and takes its share, and every layer hands its gradients on as
soon as it has them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from cs231n.layer_utils import DROPOUT, Stage
from cs231n.parallel.ranks import Ranks

__all__ = ["Share", "SharedStage", "shared"]

Announce = Callable[[str, np.ndarray], None]
_BLOCK = 1 << 18  # bytes, of which a few fit into the cache of a processor


class Share(NamedTuple):
    """Which samples of a minibatch are this rank's."""

    ranks: Ranks
    rows: slice
    samples: int

    @property
    def weight(self) -> float:
        """What part of all samples it is."""
        return (self.rows.stop - self.rows.start) / self.samples


class SharedStage(Stage):
    """A stage that announces the gradients of its weights."""

    share: Share
    names: tuple[str, ...]
    announce: Announce

    def gradients(
        self, dout: np.ndarray, cache: Any, need_dx: bool = True, skipped: Sequence[str] = ()
    ) -> tuple[Any, tuple[np.ndarray, ...]]:
        """Return dx and the gradients of the weights; those that learn are announced."""
        dx, dweights = self._gradients(dout, cache, need_dx, skipped)
        for name, role, gradient in zip(self.names, self.weights, dweights):
            if role not in skipped:
                self.announce(name, gradient)
        return dx, dweights

    def _gradients(
        self, dout: np.ndarray, cache: Any, need_dx: bool, skipped: Sequence[str] = ()
    ) -> Any:
        """Return dx and the gradients of the weights, as the stage alone does."""
        return super().gradients(dout, cache, need_dx, skipped)


class _SharedDropout(SharedStage):
    """Dropout that draws for the whole minibatch."""

    def run(self, x: np.ndarray, values: Sequence[Any]) -> tuple[np.ndarray, Any]:
        """Return out and the cache."""
        param = values[0]
        source = param.get("rng")
        draws = _Draws(np.random if source is None else source, self.share)
        return super().run(x, [{**param, "rng": draws}])


class _Draws(np.random.Generator):
    """Draws for all samples, and returns those of a share."""

    def __init__(self, source: Any, share: Share) -> None:
        super().__init__(np.random.PCG64(0))  # of which nothing is drawn
        self._source, self._share = source, share

    def random(self, size: Any = None, *others: Any, **settings: Any) -> Any:
        """Return the share of the numbers that a whole minibatch draws."""
        return self._source.random((self._share.samples, *size[1:]))[self._share.rows]


class _SharedBatchNorm(SharedStage):
    """Batch normalisation with the statistics of all ranks.

    Each rank finds its own statistics by the layer itself, all of them are put together, and the
    layer normalises by these, as in test mode.  What the gradient lacks then is what comes through
    the statistics: with the sums of all ranks it is one more step.
    """

    def run(self, x: np.ndarray, values: Sequence[Any]) -> tuple[np.ndarray, Any]:
        """Return out and the cache."""
        gamma, beta, param, *activation = values
        if param["mode"] != "train":
            return super().run(x, values)
        count, mean, var = self._statistics(x, values)
        momentum = param.get("momentum", 0.9)
        known = {**param, "mode": "test", "running_mean": mean, "running_var": var}
        if len(x):
            out, cache = super().run(x, [gamma, beta, known, *activation])
        else:
            out, cache = x.copy(), None
        for name, found in (("running_mean", mean), ("running_var", var)):
            before = param.get(name, np.zeros_like(found))
            param[name] = (momentum * before + (1 - momentum) * found).astype(found.dtype)
        return out, (x, gamma, mean, var, float(param.get("eps", 1e-5)), count, cache)

    def _statistics(
        self, x: np.ndarray, values: Sequence[Any]
    ) -> tuple[float, np.ndarray, np.ndarray]:
        """Return how many numbers a channel has on all ranks, their mean and their variance."""
        gamma, beta, param, *activation = values
        C = len(gamma)
        own = {**param, "momentum": 0.0}  # so that the running statistics are this batch's
        mine = np.zeros(1 + 2 * C)
        if len(x):
            super().run(x, [gamma, beta, own, *activation])
            mine[:] = x.size / C, *own["running_mean"], *own["running_var"]
        found = self.share.ranks.gather(mine)
        counts, means, variances = found[:, :1], found[:, 1 : 1 + C], found[:, 1 + C :]
        total = counts.sum()
        mean = (counts * means).sum(axis=0) / total
        var = (counts * (variances + (means - mean) ** 2)).sum(axis=0) / total
        return float(total), mean.astype(x.dtype), var.astype(x.dtype)

    def _gradients(
        self, dout: np.ndarray, cache: Any, need_dx: bool, skipped: Sequence[str] = ()
    ) -> Any:
        """Return dx and the gradients of scale and shift, for dx needs the sums of both."""
        x, gamma, mean, var, eps, count, own = cache
        C = len(gamma)
        dx, dgamma, dbeta = dout.copy(), np.zeros_like(gamma), np.zeros_like(gamma)
        if len(x):
            dx, (dgamma, dbeta) = super()._gradients(dout, own, need_dx)
        weight = self.share.weight
        sums = self.share.ranks.gather(weight * np.concatenate([dgamma, dbeta], dtype=np.float64))
        dgammas, dbetas = sums[:, :C].sum(axis=0), sums[:, C:].sum(axis=0)
        if len(x):
            std = np.sqrt(var.astype(np.float64) + eps)
            factor = gamma / (std * count * weight)
            slope = -factor * dgammas / std
            shift = -factor * dbetas - slope * mean
            _add_line(dx, x, slope.astype(x.dtype), shift.astype(x.dtype))
        return dx, (dgamma, dbeta)


def _add_line(dx: np.ndarray, x: np.ndarray, slope: np.ndarray, shift: np.ndarray) -> None:
    """Add ``slope * x + shift`` to dx, channel by channel, in blocks that stay in a cache."""
    form = (-1,) + (1,) * (x.ndim - 2)
    slope, shift = slope.reshape(form), shift.reshape(form)
    count = max(_BLOCK * len(x) // max(x.nbytes, 1), 1)
    for start in range(0, len(x), count):
        some = slice(start, start + count)
        line = x[some] * slope
        line += shift
        dx[some] += line


def shared(
    stage: Stage, names: tuple[str, ...], share: Share, announce: Announce, statistics: bool
) -> SharedStage:
    """Return the stage that sees the whole minibatch.

    Parameters
    ----------
    stage : Stage
    names : tuple of str
        Of its weights in the network.
    share : Share
    announce : callable
        Called with name and gradient of each weight.
    statistics : bool
        Whether batch normalisation takes them over all ranks.

    Returns
    -------
    stage : SharedStage
    """
    kind: type[SharedStage] = SharedStage
    if stage.forward is DROPOUT.forward:
        kind = _SharedDropout
    elif "bn_param" in stage.options and statistics:
        kind = _SharedBatchNorm
    found = kind(*stage)
    found.share, found.names, found.announce = share, names, announce
    return found
