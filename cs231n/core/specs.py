"""The axes that arrays must have: what a spec such as ``"N C H W"`` says, and the check of it.

Equal letters are equal sizes, a digit 1 is an axis of length one, ``...`` stands for any further
axes and ``D...`` for axes that hold D numbers.  ``H+`` is a size that may not be zero, ``N*`` one
that may not where the options say 'train', ``G|C`` one that divides C, and ``in C`` are labels of
the rows of x.  In place of ``...?`` may be None, which stands for ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cs231n.core import checks

__all__ = ["Specs"]

_MOST_KNOWN = 1000  # shapes that are remembered; a network has a few for each of its layers


class Specs:
    """The specs of the first arguments of a function.

    Whether shapes agree depends on nothing else, so those that did are remembered, and arrays of
    floats that have them pass in a microsecond.
    """

    def __init__(self, specs: Mapping[str, str]) -> None:
        axes = {name: spec.split() for name, spec in specs.items() if "in " not in spec}
        self._labels, self._count = len(axes) < len(specs), len(axes)
        self._rows = any("D..." in letters for letters in axes.values())
        x = next(iter(axes.values()), [])
        self._filled = [(axis[0], axis[-1]) for axis in x if axis[-1] in "+*"]
        self._divisors = [
            (name, *axis.split("|"))
            for name, letters in axes.items()
            for axis in letters
            if "|" in axis
        ]
        # What `checks.shapes` reads.
        self._plain = {name: " ".join(map(_plain, letters)) for name, letters in axes.items()}
        self._known: set[tuple[tuple[int, ...], ...]] = set() if axes else {()}

    def check(self, given: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return the arguments with arrays in the first places; themselves if they are right."""
        values = given[: self._count]
        shapes = checks.shapes_of_floats(values)
        if shapes not in self._known:  # which has none of fewer arrays
            options = given[self._count :]
            arrays = self._arrays(values, options)
            if len(shapes) < self._count:
                given = (*arrays, *options)
            elif not any(0 in shape for shape in shapes):
                self._remember(shapes)
        if self._labels:
            x, y, *others = given
            return x, checks.labels("", y, *x.shape), *others
        return given

    def _arrays(self, values: tuple[Any, ...], options: tuple[Any, ...]) -> list[np.ndarray]:
        """Return float arrays, or say what is wrong with them."""
        arrays = checks.float_arrays("", **dict(zip(self._plain, values)))
        specs = dict(zip(self._plain, zip(arrays, self._plain.values())))
        sizes = checks.shapes("", **specs)
        if self._rows:
            checks.inputs("", *arrays[:2])
        trains = any(isinstance(one, Mapping) and one.get("mode") == "train" for one in options)
        for letter, mark in self._filled:
            if sizes[letter] == 0 and (mark == "+" or trains):
                raise checks.empty_error("", next(iter(specs)), arrays[0], letter)
        for name, G, C in self._divisors:
            if not sizes[G] or sizes[C] % sizes[G]:
                raise ValueError(
                    f": {name} has shape {specs[name][0].shape}; expected {G} to be a divisor of"
                    f" the {sizes[C]} {checks.WORDS.get(C, C)}"
                )
        return arrays

    def _remember(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        """Let arrays of these shapes pass from now on."""
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known.add(shapes)


def _plain(axis: str) -> str:
    """Return the letter of an axis without its marks."""
    return "..." if "..." in axis else axis.split("|")[0].rstrip("+*")
