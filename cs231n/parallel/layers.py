"""Layers that see the whole minibatch while each rank has its share of it.

They are stages like those that they stand for: batch normalisation takes its statistics over all
ranks, dropout draws for all samples and takes its share, and every layer hands its gradients on as
soon as it has them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from cs231n.core import checks
from cs231n.kernels import workspace
from cs231n.kernels.backend import kernels_for
from cs231n.layer_utils import (
    BATCHNORM,
    BEHIND_BATCHNORM,
    DROPOUT,
    LEAKY_RELU,
    SPATIAL_BATCHNORM,
    Stage,
)
from cs231n.parallel.ranks import Ranks

__all__ = ["Share", "SharedStage", "shared"]

_NORMALISATIONS = (BATCHNORM, SPATIAL_BATCHNORM, *BEHIND_BATCHNORM)
Announce = Callable[[str, np.ndarray], None]


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


class _BatchNormCache(NamedTuple):
    """planes (N, C, pixels) of this rank, and what all ranks have of the whole minibatch."""

    planes: np.ndarray
    gamma: np.ndarray
    beta: np.ndarray
    mean: np.ndarray
    var: np.ndarray
    numbers: float  # of a channel
    eps: float
    unit: tuple[str, float]


class _SharedBatchNorm(SharedStage):
    """Batch normalisation with the statistics of all ranks, and the activation behind it.

    Each rank sums up its share, the sums of all are put together, and each does the rest: once on
    the way forward, for the statistics, and once on the way back, for what comes through these.
    """

    def run(self, x: np.ndarray, values: Sequence[Any]) -> tuple[np.ndarray, Any]:
        """Return out and the cache."""
        gamma, beta, param, *options = values
        mode, eps, momentum, *running = checks.bn_options(param, x, self.name)
        if mode == "test":
            return super().run(x, values)
        planes = _planes(x, x.dtype)
        gamma, beta = (np.require(one, x.dtype, ["C", "A"]) for one in (gamma, beta))
        count, mean, var = self._statistics(planes)
        for name, before, now in zip(("running_mean", "running_var"), running, (mean, var)):
            param[name] = (momentum * before + (1 - momentum) * now).astype(now.dtype)
        unit = _unit(self, options)
        out = workspace.empty(planes.shape, planes.dtype)
        arrays = planes, gamma, beta, out, mean, var
        kernels_for(planes).batch_norm_forward(*arrays, eps, *unit, False)
        cache = _BatchNormCache(planes, gamma, beta, mean, var, count, eps, unit)
        return out.reshape(x.shape), cache

    def _statistics(self, planes: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return how many numbers a channel has on all ranks, their mean and their variance."""
        N, C, D = planes.shape
        mine = np.zeros((3, C), planes.dtype)
        if N:
            kernels_for(planes).batch_norm_statistics(planes, *mine[1:])
        mine[0] = N * D
        counts, means, variances = self.share.ranks.gather(mine.astype(np.float64)).swapaxes(0, 1)
        total = counts.sum(axis=0)
        mean = (counts * means).sum(axis=0) / total
        var = (counts * (variances + (means - mean) ** 2)).sum(axis=0) / total
        return float(total[0]), mean.astype(planes.dtype), var.astype(planes.dtype)

    def _gradients(
        self, dout: np.ndarray, cache: Any, need_dx: bool, skipped: Sequence[str] = ()
    ) -> Any:
        """Return dx and the gradients of scale and shift, for dx needs the sums of both."""
        if not isinstance(cache, _BatchNormCache):
            return super()._gradients(dout, cache, need_dx, skipped)
        planes, gamma, beta, mean, var, count, eps, unit = cache
        given = _planes(dout, planes.dtype), planes, gamma, beta, mean, var
        kernels, mine = kernels_for(planes), np.empty((2, len(gamma)), planes.dtype)
        kernels.batch_norm_sums(*given, *mine, eps, *unit)
        if not need_dx:
            return None, tuple(mine)
        # The loss of this rank, as dout has it, is the mean of its share alone.
        weight = self.share.weight
        whole = self.share.ranks.gather(weight * mine.astype(np.float64)).sum(axis=0)
        sums = (whole / (weight or 1.0)).astype(planes.dtype)
        dx = workspace.empty(planes.shape, planes.dtype)
        kernels.batch_norm_rest(*given, dx, *sums, count, eps, *unit)
        return dx.reshape(dout.shape), tuple(mine)


def _planes(x: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Return x (N, C, ...) as (N, C, pixels)."""
    N, C, *pixels = x.shape
    return np.require(x, dtype, ["C", "A"]).reshape(N, C, math.prod(pixels))


def _unit(stage: Stage, options: Sequence[Any]) -> tuple[str, float]:
    """Return what the kernels call the activation behind a batch normalisation, and its slope."""
    unit = BEHIND_BATCHNORM.get(stage)
    if unit is None:
        return "", 0.0
    if unit == LEAKY_RELU:
        return unit.name, options[0]
    return "gelu_tanh" if options == ["tanh"] else unit.name, 0.0


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
    elif stage in _NORMALISATIONS and statistics:
        kind = _SharedBatchNorm
    found = kind(*stage)
    found.share, found.names, found.announce = share, names, announce
    return found
