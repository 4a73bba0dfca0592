"""What is inside a network: filters, and what its layers give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from os import PathLike
from typing import TYPE_CHECKING

import numpy as np

from cs231n.core import checks
from cs231n.visual.figures import COLORS, finish, new_figure, shown
from cs231n.visual.grids import as_images, mosaic, own_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_activations", "plot_filters"]

_PAPER = 0.75  # grey between filters: black and white pixels at their edges both show
_COLUMNS = 4  # of histograms in a figure
_MOST = 1e100  # of an activation: sums of squares are finite


def plot_filters(
    w: np.ndarray, title: str | None = None, path: str | PathLike[str] | None = None
) -> Figure:
    """Draw the filters of a first convolution layer, each scaled to its own range.

    Parameters
    ----------
    w : array_like of shape (F, C, HH, WW)
        Filters; C is 3 (drawn in colour) or 1 (drawn in grey).
    title : str, optional
        Heading of the figure.
    path : str or path, optional
        Where to save the figure; the ending (.png, .svg, .pdf) decides the format.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Raises
    ------
    TypeError
        If w does not hold real numbers.
    ValueError
        If w has another number of axes or channels, or values that are not finite.
    """
    where = "plot_filters"
    w = checks.any_array(where, "w", w)
    if w.ndim != 4 or w.shape[1] not in (1, 3):
        raise ValueError(
            f"{where}: w has shape {w.shape}; expected (F, C, HH, WW) with 3 channels or 1,"
            f" the filters of a first layer"
        )
    images = own_range(as_images(where, "w", w.transpose(0, 2, 3, 1)), 1.0)
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    grid = mosaic(images, rows, columns, 1, background=_PAPER)
    grid = np.pad(grid, ((1, 0), (1, 0), (0, 0)), constant_values=_PAPER)
    figure = new_figure(6, 6 * grid.shape[0] / grid.shape[1] + (0.4 if title else 0))
    axes = figure.subplots()
    axes.imshow(grid[..., 0] if w.shape[1] == 1 else grid, cmap="gray", vmin=0, vmax=1)
    axes.set_axis_off()
    return finish(figure, title, path)


def plot_activations(
    activations: Mapping[str, np.ndarray],
    title: str | None = None,
    path: str | PathLike[str] | None = None,
    bins: int = 50,
) -> Figure:
    """Draw a histogram of what each layer gives, as one looks for dead or saturated units.

    Parameters
    ----------
    activations : mapping of str to ndarray of shape (N, ...)
        Outputs by the name of their layer, in forward order.
    title : str, optional
        Heading of the figure.
    path : str or path, optional
        Where to save the figure; the ending (.png, .svg, .pdf) decides the format.
    bins : int
        Bars of each histogram.

    Returns
    -------
    figure : matplotlib.figure.Figure
        A panel for each layer, headed by mean, standard deviation and, where there are any, the
        share of zeros.  The zeros have a bar of their own, which would hide all others if these
        shared its scale: it is drawn at the height of the tallest.

    Raises
    ------
    TypeError, ValueError
        If there are no activations, or they are no finite real numbers.
    """
    where = "plot_activations"
    arrays = {
        str(name): checks.real_array(where, f"activations[{name!r}]", values)
        .ravel()
        .astype(np.float64)
        for name, values in checks.mapping(where, "activations", activations).items()
    }
    bins = checks.integer(where, "bins", bins, 1, 10_000)
    for name, values in arrays.items():
        if not values.size or not np.abs(values).max() < _MOST:
            raise ValueError(
                f"{where}: {name} is empty, or not all below {_MOST:g}; expected finite numbers"
            )
    if not arrays:
        raise ValueError(f"{where}: there are no activations; expected at least one layer")
    columns = min(len(arrays), _COLUMNS)
    rows = math.ceil(len(arrays) / columns)
    figure = new_figure(2.6 * max(columns, 2), 2.2 * rows + 0.3)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (name, values) in zip(panels, arrays.items()):
        _histogram(axes, name, values, bins)
    for axes in panels[len(arrays) :]:
        axes.set_axis_off()
    return finish(figure, title, path)


def _histogram(axes: Axes, name: str, values: np.ndarray, bins: int) -> None:
    """Draw the values that are not zero, and the zeros as a bar of their own."""
    others = values[values != 0]
    zeros = 1 - len(others) / len(values)
    counts, edges = np.zeros(1), np.array([0.0, 1.0])
    if len(others):
        counts, edges = np.histogram(others, bins, _span(others))
    axes.stairs(counts / len(values), edges, fill=True, color=COLORS[0])
    text = f"mean {values.mean():.2g}, std {values.std():.2g}"
    if zeros:
        text += f"\n{zeros:.1%} zeros"
        height = counts.max() / len(values) if len(others) else zeros
        axes.bar(0, height, (edges[-1] - edges[0]) / 40, color=COLORS[1])
    axes.set_title(f"{shown(name)}\n{text}", fontsize=8)
    axes.tick_params(labelsize=7, labelleft=False, left=False)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _span(values: np.ndarray) -> tuple[float, float]:
    """Return the range of a histogram, wide enough to be divided also where all are one number."""
    low, high = float(values.min()), float(values.max())
    least = 1e-9 * max(abs(low), abs(high))
    return (low, high) if high - low > least else (low - least, high + least)
