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
from cs231n.fast_layers import gelu_kernel
from cs231n.kernels import workspace
from cs231n.kernels.backend import kernels_for
from cs231n.layer_utils import (
    BATCHNORM,
    BEHIND_BATCHNORM,
    DROPOUT,
    GELU,
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
    """x (N, C, ...) of this rank, and what all ranks have of the whole minibatch."""

    x: np.ndarray
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
        unit = _unit(self, options)
        x, gamma, beta = (_laid_out(one, x.dtype) for one in (x, gamma, beta))
        count, mean, var = self._statistics(x)
        for name, before, now in zip(("running_mean", "running_var"), running, (mean, var)):
            param[name] = momentum * before + (1 - momentum) * now
        out = workspace.empty(x.shape, x.dtype)
        kernels_for(x).batchnorm_forward(x, gamma, beta, out, mean, var, eps, *unit, False)
        return out, _BatchNormCache(x, gamma, beta, mean, var, count, eps, unit)

    def _statistics(self, x: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        """Return how many numbers a channel has on all ranks, their mean and their variance."""
        N, C, *pixels = x.shape
        mine = np.zeros((3, C), x.dtype)
        if N:
            kernels_for(x).batchnorm_statistics(x, *mine[1:])
        mine[0] = N * math.prod(pixels)
        counts, means, variances = self.share.ranks.gather(mine.astype(np.float64)).swapaxes(0, 1)
        total = counts.sum(axis=0)
        mean = (counts * means).sum(axis=0) / total
        var = (counts * (variances + (means - mean) ** 2)).sum(axis=0) / total
        return float(total[0]), mean.astype(x.dtype), var.astype(x.dtype)

    def _gradients(
        self, dout: np.ndarray, cache: Any, need_dx: bool, skipped: Sequence[str] = ()
    ) -> Any:
        """Return dx and the gradients of scale and shift, for dx needs the sums of both."""
        if not isinstance(cache, _BatchNormCache):
            return super()._gradients(dout, cache, need_dx, skipped)
        x, gamma, beta, mean, var, count, eps, unit = cache
        given = _laid_out(dout, x.dtype), x, gamma, beta, mean, var
        kernels, mine = kernels_for(x), np.empty((2, len(gamma)), x.dtype)
        kernels.batchnorm_sums(*given, *mine, eps, *unit)
        if not need_dx:
            return None, tuple(mine)
        # The loss of this rank, as dout has it, is the mean of its share alone.
        weight = self.share.weight
        whole = self.share.ranks.gather(weight * mine.astype(np.float64)).sum(axis=0)
        sums = (whole / (weight or 1.0)).astype(x.dtype)
        dx = workspace.empty(x.shape, x.dtype)
        kernels.batchnorm_rest(*given, dx, *sums, count, eps, *unit)
        return dx, tuple(mine)


def _laid_out(array: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Return an array as the kernels read it, copied only where it is not."""
    return np.require(array, dtype, ["C", "A"])


def _unit(stage: Stage, options: Sequence[Any]) -> tuple[str, float]:
    """Return what the kernels call the activation behind a batch normalisation, and its slope."""
    unit = BEHIND_BATCHNORM.get(stage)
    if unit is None:
        return "", 0.0
    if unit == GELU:
        return gelu_kernel(options[0], stage.name), 0.0
    return unit.name, options[0] if unit == LEAKY_RELU else 0.0


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
