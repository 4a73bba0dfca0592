"""The search for the entries of an array at which a gradient and the numeric slopes disagree."""

from __future__ import annotations

import heapq

import numpy as np

from cs231n.checking.report import Entry, is_fault
from cs231n.checking.slopes import Layer, Slopes

__all__ = ["check_argument"]

_SMALL = 128  # entries of an array that is searched one by one; a larger one is halved
_SUSPECTS = 16  # entries looked at in one search,
_FAULTS_ENOUGH = 4  # or fewer, if so many are wrong
_ROUNDS = 8  # searches, each without the kinks that those before it found
_HALVINGS = (1.0, 0.5, 0.25)  # multiples of h that tell a kink from a curve


def check_argument(
    layer: Layer, k: int, name: str, directions: list[np.ndarray]
) -> tuple[float, list[Entry]]:
    """Return argument k's largest error along the directions, and the entries that were found."""
    open_entries = np.ones_like(layer.arrays[k])
    largest, entries = 0.0, []
    for direction in directions:
        for _ in range(_ROUNDS):
            error = layer.error(k, direction * open_entries)
            if error <= layer.tolerance:
                break
            found = _search(layer, k, name, direction * open_entries)
            entries += found
            for entry in found:
                open_entries[entry.index] = 0
            if not found or any(is_fault(entry) for entry in found):
                return error, entries
        else:
            return error, entries  # kinks, more than are worth looking for
        largest = max(largest, error)
    return largest, entries


def _search(layer: Layer, k: int, name: str, direction: np.ndarray) -> list[Entry]:
    """Return entries of argument k that disagree along a direction, about the worst first.

    Groups of entries are halved until single ones are left, always the group that disagrees most
    for its size: that leads straight to an entry that stands out, and to some entry soon where all
    are wrong.
    """
    heap: list[tuple[float, int, np.ndarray]] = []  # first indices differ: arrays never compare

    def push(group: np.ndarray) -> None:
        part = np.zeros_like(direction)
        part.flat[group] = direction.flat[group]
        slopes = layer.slopes(k, part)
        if not slopes.error(layer.tolerance) <= layer.tolerance:
            heapq.heappush(heap, (-slopes.difference / group.size**0.5, int(group[0]), group))

    moved = np.flatnonzero(direction)
    for group in np.array_split(moved, moved.size if moved.size <= _SMALL else 1):
        push(group)
    found: list[Entry] = []
    while heap and len(found) < _SUSPECTS and sum(map(is_fault, found)) < _FAULTS_ENOUGH:
        group = heapq.heappop(heap)[-1]
        if group.size == 1:
            found.append(_entry(layer, k, name, int(group[0])))
        else:
            for half in np.array_split(group, 2):
                push(half)
    return found


def _entry(layer: Layer, k: int, name: str, position: int) -> Entry:
    """Look closely at one entry of argument k."""
    array, h = layer.arrays[k], layer.steps[k]
    index = tuple(int(i) for i in np.unravel_index(position, array.shape))
    direction = np.zeros_like(array)
    direction[index] = 1
    slopes = [layer.slopes(k, direction, factor) for factor in _HALVINGS]
    causes = ["a ReLU at zero"] if abs(array[index]) <= h else []
    causes += ["a tied maximum"] if np.count_nonzero(array == array[index]) > 1 else []
    first = slopes[0]
    return Entry(
        argument=name,
        index=index,
        value=float(array[index]),
        verdict=_verdict(slopes, layer.tolerance),
        analytic=float(layer.gradients[k][index]),
        numeric=first.numeric,
        left=first.left,
        right=first.right,
        cause=" or ".join(causes) or "a corner of the function",
    )


def _verdict(slopes: list[Slopes], tolerance: float) -> str:
    """Tell a wrong gradient from a kink, a jump, and a slope that can't be measured.

    As the step shrinks, the gap between the right and the left slope shrinks with it on a smooth
    curve, stays at a kink, and grows at a jump.  'near' is no fault: a smaller step agrees, or what
    disagrees is within the noise.
    """
    if any(s.error(tolerance) <= tolerance for s in slopes):
        return "near"
    first, last = slopes[0], slopes[-1]
    noise = 2 * first.noise / _HALVINGS[-1]
    if last.gap > 2 * first.gap + noise:
        return "jump"
    slack = 0.01 * first.gap + first.noise + tolerance * first.norm
    low, high = min(first.left, first.right) - slack, max(first.left, first.right) + slack
    curve = all(
        abs(s.gap - factor * first.gap) <= 0.1 * first.gap + noise
        for s, factor in zip(slopes, _HALVINGS)
    )
    if low <= first.analytic <= high and (not curve or first.gap <= 10 * noise):
        return "near" if curve else "kink"
    scatter = max(abs(s.numeric - first.numeric) for s in slopes)
    steady = scatter <= 0.1 * abs(first.numeric) + noise
    if not steady or not first.difference > 2 * scatter:
        return "unclear"
    return "wrong" if curve else "outside"
