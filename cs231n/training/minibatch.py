"""Minibatches: samples drawn at random, and their images changed; also ahead, in a thread.

A thread of its own draws from copies of the generators.  What it has made is taken only where the
generators still are where the copies began, and then they are put where the copies have ended: the
numbers of a run are those of one without a thread, to the last bit.  Where a step draws at random
itself, as dropout does, or a check has, the minibatch is drawn anew.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from cs231n.augment import FlipAndShift
from cs231n.kernels import workspace
from cs231n.training import generators, inputs

__all__ = ["Ahead", "Drawn", "Wanted", "can_be_ahead", "drawn"]

_MOST_IN_VAIN = 3  # minibatches in a row that were drawn ahead for nothing


class Wanted(NamedTuple):
    """What a minibatch is made from.

    Parameters
    ----------
    X, y : ndarray
        All samples and labels.
    order : ndarray of int
        What is left of the epoch's order.
    size : int
        Samples of a minibatch.
    replace : bool
        Whether it is drawn from all samples each time.
    epoch : int
        Epochs done.
    augment : callable or None
    rng : Generator or numpy.random
    share : callable
        From the number of samples to the slice of them that is needed.
    """

    X: np.ndarray
    y: np.ndarray
    order: np.ndarray
    size: int
    replace: bool
    epoch: int
    augment: Any
    rng: Any
    share: Callable[[int], slice] = lambda count: slice(None)


class Drawn(NamedTuple):
    """A minibatch, how many samples it has on all ranks, and what is left of the order."""

    X: np.ndarray
    y: np.ndarray
    samples: int
    order: np.ndarray


def drawn(wanted: Wanted) -> Drawn:
    """Draw a minibatch, and change its images as the user wants.

    Of several ranks each takes its share; an augmentation draws for all samples.

    Parameters
    ----------
    wanted : Wanted

    Returns
    -------
    drawn : Drawn
    """
    batch, order = _indices(wanted)
    count = len(batch)
    share = wanted.share(count)
    if wanted.augment is None:
        batch = batch[share]
    X, y = _take(wanted.X, batch), wanted.y[batch]
    if wanted.augment is not None:
        changed = _augmented(wanted.augment, X, batch, wanted.epoch)
        X, y = inputs.checked_images(wanted.augment, changed, X)[share], y[share]
    return Drawn(X, y, count, order)


def _indices(wanted: Wanted) -> tuple[np.ndarray, np.ndarray]:
    """Draw the indices of a minibatch; return what is left of the order, too."""
    N, order = len(wanted.X), wanted.order
    if wanted.replace:
        return wanted.rng.choice(N, wanted.size), order
    if len(order) == 0:
        order = wanted.rng.permutation(N)
    batch, order = np.split(order, [wanted.size])
    return batch, order


def _take(X: np.ndarray, batch: np.ndarray) -> np.ndarray:
    """Return the samples of a batch, in memory that is used again."""
    out = workspace.empty((len(batch), *X.shape[1:]), X.dtype)
    # "clip" lets NumPy write straight into out; the indices are in range.
    return np.take(X, batch, axis=0, out=out, mode="clip")


def _augmented(augment: Any, X: np.ndarray, batch: np.ndarray, epoch: int) -> Any:
    """Return what the augmentation makes of images; some want to know which ones they are."""
    of_samples = getattr(augment, "of_samples", None)
    return augment(X) if of_samples is None else of_samples(X, batch, epoch)


def can_be_ahead(augment: Any) -> bool:
    """Tell whether all that an augmentation draws from can be copied: of ours that is known."""
    return augment is None or type(augment) is FlipAndShift


class Ahead:
    """Draws one minibatch ahead in a thread, until it is closed."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cs231n-minibatch")
        self._task: Future[Drawn] | None = None
        self._wanted: Wanted | None = None
        self._copies: list[tuple[Any, _Copy]] = []
        self._in_vain = 0

    def begin(self, wanted: Wanted) -> None:
        """Begin to draw the minibatch that will be wanted, if that was of use so far."""
        if self._in_vain == _MOST_IN_VAIN:
            return
        sources = [wanted.rng]
        if wanted.augment is not None:
            sources.append(np.random if wanted.augment.rng is None else wanted.augment.rng)
        copies = {id(source): (source, _Copy(source)) for source in sources}
        self._copies = list(copies.values())
        self._wanted, augment = wanted, copy.copy(wanted.augment)
        if augment is not None:
            augment.rng = copies[id(sources[1])][1].rng
        own = wanted._replace(augment=augment, rng=copies[id(wanted.rng)][1].rng)
        self._task = self._thread.submit(drawn, own)

    def take(self, wanted: Wanted) -> Drawn | None:
        """Return the minibatch if it was drawn ahead; None where it must be drawn now."""
        task, self._task = self._task, None
        if task is None:
            return None
        is_same = _is_same(wanted, self._wanted)
        if not is_same or not all(made.began_at(source) for source, made in self._copies):
            self._in_vain += 1
            return None
        self._in_vain = 0
        found = task.result()
        for source, made in self._copies:
            made.put_into(source)
        return found

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()


def _is_same(wanted: Wanted, begun: Wanted | None) -> bool:
    """Tell whether a minibatch was drawn from what it is wanted from: the very same arrays."""
    if begun is None or wanted.epoch != begun.epoch:
        return False
    return all(one is other for one, other in zip(wanted, begun._replace(epoch=wanted.epoch)))


class _Copy:
    """A copy of a source of draws, and where that was."""

    def __init__(self, source: Any) -> None:
        self._start = _state(source)
        self._own: Any = np.random.RandomState() if source is np.random else copy.deepcopy(source)
        if source is np.random:
            self._own.set_state(self._start)
        self.rng = _Legacy(self._own) if source is np.random else self._own

    def began_at(self, source: Any) -> bool:
        """Tell whether a source still is where this copy began."""
        return _are_equal(self._start, _state(source))

    def put_into(self, source: Any) -> None:
        """Put a source where this copy is now."""
        end = generators.Sources([("own", self._own)], [])
        generators.put_back(generators.Sources([("own", source)], []), generators.states(end))


class _Legacy(np.random.Generator):
    """A generator that draws as `numpy.random` does, from a copy of its state."""

    def __init__(self, source: np.random.RandomState) -> None:
        super().__init__(np.random.PCG64(0))  # of which nothing is drawn
        self._source = source

    def random(self, *arguments: Any, **settings: Any) -> Any:
        """Draw as `numpy.random.random`."""
        return self._source.random(*arguments, **settings)

    def choice(self, *arguments: Any, **settings: Any) -> Any:
        """Draw as `numpy.random.choice`."""
        return self._source.choice(*arguments, **settings)

    def permutation(self, *arguments: Any, **settings: Any) -> Any:
        """Draw as `numpy.random.permutation`."""
        return self._source.permutation(*arguments, **settings)


def _state(source: Any) -> dict[str, Any]:
    """Return the state of a source."""
    return generators.states(generators.Sources([("own", source)], []))["own"]


def _are_equal(one: Any, other: Any) -> bool:
    """Tell whether two states are equal."""
    if isinstance(one, dict):
        return all(_are_equal(value, other[key]) for key, value in one.items())
    return np.array_equal(one, other)
