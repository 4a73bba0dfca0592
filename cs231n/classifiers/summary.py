"""Networks as a table: what each layer gives, holds and costs."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cs231n.classifiers.chain import forward_steps
from cs231n.classifiers.layer import FORK, Layer  # pickled networks find it here, too
from cs231n.core.tables import html_table
from cs231n.core.window import Window

__all__ = ["Layer", "html", "layer_name", "outputs", "rows", "table"]

_HEADINGS = ("layer", "output shape", "parameters", "multiply-adds", "memory")


class Row(NamedTuple):
    """What the table says about a layer; memory is that of its output, in bytes."""

    name: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    memory: int


class _Told(NamedTuple):
    """How the table names an option, unless it has its usual value."""

    text: str
    usual: Any = None


_TOLD = {
    "dropout_param": _Told("keep {0[p]:g}"),
    "factor": _Told("factor {:.3g}"),
    "form": _Told("{}", "exact"),
    "G": _Told("{} groups"),
    "slope": _Told("slope {:g}", 0.01),
    "stride": _Told("stride {}", 1),
}


def table(
    layers: Sequence[Layer],
    params: Mapping[str, np.ndarray],
    input_shape: tuple[int, ...],
    dtype: np.dtype,
    frozen: Collection[str] = (),
) -> str:
    """Describe a network's layers in a table.

    Parameters
    ----------
    layers : sequence of Layer
        In forward order.
    params : mapping of str to ndarray
        Their weights by name.
    input_shape : tuple of int
        Shape of one sample.
    dtype : dtype
        In which the network computes.
    frozen : collection of str
        Names of the weights that do not learn, which are marked.

    Returns
    -------
    table : str
        A line for each layer, with the options that are not the usual ones, and one of sums;
        multiply-adds and memory are for one sample.
    """
    rows, note = _cells_of(layers, params, input_shape, dtype, frozen)
    lines = [_HEADINGS, *rows]
    widths = [max(map(len, column)) for column in zip(*lines)]
    text = [_line(cells, widths) for cells in lines]
    rule = "-" * len(text[0])
    return "\n".join([text[0], rule, *text[1:-1], rule, text[-1], note])


def html(
    layers: Sequence[Layer],
    params: Mapping[str, np.ndarray],
    input_shape: tuple[int, ...],
    dtype: np.dtype,
    frozen: Collection[str] = (),
) -> str:
    """Describe a network's layers in a table for a notebook; see `table`."""
    rows, note = _cells_of(layers, params, input_shape, dtype, frozen)
    return html_table(_HEADINGS, rows, note)


def _cells_of(
    layers: Sequence[Layer],
    params: Mapping[str, np.ndarray],
    input_shape: tuple[int, ...],
    dtype: np.dtype,
    frozen: Collection[str],
) -> tuple[list[tuple[str, ...]], str]:
    """Return the cells of all rows, the last of them the sums, and a note."""
    found = list(rows(layers, params, np.zeros((1, *input_shape), dtype), frozen))
    total = Row("total", (), *(sum(column) for column in list(zip(*found))[2:]))
    size = dtype.itemsize * total.parameters
    cells = [_cells(row) for row in [Row("input", input_shape, 0, 0, 0), *found, total]]
    note = f"{dtype}, one sample; the parameters take {_bytes(size)}"
    if frozen:
        fixed = sum(params[name].size for name in frozen)
        note += f"; {fixed:,} of them are frozen (*)"
    return cells, note


def rows(
    layers: Sequence[Layer],
    params: Mapping[str, np.ndarray],
    x: np.ndarray,
    frozen: Collection[str] = (),
) -> Iterator[Row]:
    """Yield a row for each layer, whose output's shape is found by running it on a sample."""
    for layer, out in zip(layers, outputs(layers, params, x)):
        weights = {name: params[name] for name in layer.weights}
        # Each weight meets each position of its layer's map once; an affine layer has one.
        positions = math.prod(out.shape[2:])
        used = [w.size for w, role in zip(weights.values(), layer.stage.weights) if role == "w"]
        yield Row(
            ", ".join([layer_name(layer, frozen), *_unusual(layer, params)]),
            out.shape[1:],
            sum(w.size for w in weights.values()),
            sum(used) * positions,
            0 if layer.stage == FORK else out.nbytes,
        )


def layer_name(layer: Layer, frozen: Collection[str] = ()) -> str:
    """Return what a layer does, and the names of its weights; frozen ones have an asterisk."""
    names = (f"{name}*" if name in frozen else name for name in layer.weights)
    return " ".join([layer.stage.name, *names])


def _unusual(layer: Layer, params: Mapping[str, np.ndarray]) -> Iterator[str]:
    """Yield the options of a layer that one would not guess from its name."""
    for name, option in zip(layer.stage.options, layer.options):
        if name == "conv_param":
            yield from _of_filters(Window.for_conv(params[layer.weights[0]], option))
        elif name == "pool_param":
            yield from _of_pooling(Window.for_pool(option))
        elif name in _TOLD and option != _TOLD[name].usual:
            yield _TOLD[name].text.format(option)


def _of_filters(window: Window) -> Iterator[str]:
    """Yield what is not usual of filters: they are 3x3, go in steps of 1 and keep the size."""
    if window[:2] != (3, 3):
        yield f"{window.HH}x{window.WW}"
    if window.stride != 1:
        yield f"stride {window.stride}"
    if any(2 * window.pad != side - 1 for side in window[:2]):
        yield f"pad {window.pad}"


def _of_pooling(window: Window) -> Iterator[str]:
    """Yield what is not usual of pooling: its windows are 2x2 and stand side by side."""
    if window[:2] != (2, 2):
        yield f"{window.HH}x{window.WW}"
    if window[:2] != (window.stride, window.stride):
        yield f"stride {window.stride}"


def outputs(
    layers: Sequence[Layer], params: Mapping[str, np.ndarray], x: np.ndarray
) -> Iterator[np.ndarray]:
    """Return what each layer gives in test mode; nothing is drawn, and no statistic changes.

    Parameters
    ----------
    layers : sequence of Layer
        In forward order.
    params : mapping of str to ndarray
        Their weights by name.
    x : ndarray of shape (N, d1, ..., dk)
        Samples.

    Returns
    -------
    outputs : iterator of ndarray of shape (N, ...)
    """
    return (step.out for step in forward_steps(layers, params, x, _test_option))


def _test_option(option: Any) -> Any:
    """Return a copy of an option that runs its layer in test mode, without reseeding anything."""
    if not isinstance(option, dict):
        return option
    return {**{name: value for name, value in option.items() if name != "seed"}, "mode": "test"}


def _cells(row: Row) -> tuple[str, ...]:
    """Return a row as text; what is nothing stays empty."""
    shape = " x ".join(map(str, row.shape))
    numbers = (f"{count:,}" if count else "" for count in (row.parameters, row.multiply_adds))
    return row.name, shape, *numbers, _bytes(row.memory) if row.memory else ""


def _bytes(size: int) -> str:
    """Return a number of bytes as people write it."""
    return f"{size / 1024:,.1f} KiB"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Return a line of the table: names to the left, numbers to the right."""
    name, *rest = zip(cells, widths)
    first = f"{name[0]:<{name[1]}}"
    return "  ".join([first, *(f"{cell:>{width}}" for cell, width in rest)]).rstrip()
