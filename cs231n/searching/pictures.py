"""Pictures of a search: accuracy over each number, parallel coordinates, importance, curves."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cs231n.searching import study
from cs231n.searching.space import Choice, Range
from cs231n.searching.table import Row, shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["accuracies", "curves", "importance", "parallel"]

Space = Mapping[str, Range | Choice]
_COLOURS = "viridis"
_MOST_COLUMNS = 3
_FEWEST = 6  # trials that count as the best ones, by which the importance of a number is told


def accuracies(rows: Sequence[Row], space: Space) -> Figure:
    """Draw the best validation accuracy of each trial over each of its numbers.

    Parameters
    ----------
    rows : sequence of Row
        With an accuracy each.
    space : mapping of str to Range or Choice

    Returns
    -------
    figure : matplotlib.figure.Figure
        An axis is logarithmic where the number was searched so; trials that did not diverge and
        were not pruned are filled.
    """
    columns = min(len(space), _MOST_COLUMNS)
    height = math.ceil(len(space) / columns)
    figure = _figure(4 * columns, 3.2 * height)
    for index, (name, dimension) in enumerate(space.items(), start=1):
        axes = figure.add_subplot(height, columns, index)
        x = [_place(row.values[name], dimension) for row in rows]
        y = [row.best_val_acc for row in rows]
        face = ["C0" if row.state == "done" else "none" for row in rows]
        axes.scatter(x, y, s=28, facecolors=face, edgecolors="C0", clip_on=False)
        _label(axes.xaxis, dimension)
        axes.set(xlabel=name)
        if (index - 1) % columns == 0:
            axes.set(ylabel="best validation accuracy")
        axes.grid(alpha=0.3)
    if any(row.state != "done" for row in rows):
        figure.text(0.01, 0.005, "hollow: diverged or pruned", fontsize="small", color="0.4")
    return figure


def parallel(rows: Sequence[Row], space: Space) -> Figure:
    """Draw a line for each trial through its numbers to its accuracy, the best ones on top.

    Parameters
    ----------
    rows : sequence of Row
        With an accuracy each.
    space : mapping of str to Range or Choice

    Returns
    -------
    figure : matplotlib.figure.Figure
    """
    figure = _figure(max(2.2 * (len(space) + 1), 5), 4)
    axes = figure.add_subplot()
    reached = np.array([row.best_val_acc for row in rows])
    ends = Range(float(reached.min()), float(reached.max()))
    dimensions = [*space.items(), ("validation accuracy", ends)]
    low, spread = ends.low, (ends.high - ends.low) or 1.0
    colours = _colours()
    for index in np.argsort(reached):
        values = [*(rows[index].values[name] for name in space), float(reached[index])]
        heights = [_height(value, one) for value, (_, one) in zip(values, dimensions)]
        colour = colours((reached[index] - low) / spread)
        axes.plot(range(len(heights)), heights, color=colour, alpha=0.8, linewidth=1.4)
    for place, (_, dimension) in enumerate(dimensions):
        axes.axvline(place, color="0.3", linewidth=0.8)
        _ticks(axes, place, dimension)
    axes.set_xticks(range(len(dimensions)), [name for name, _ in dimensions])
    axes.set(yticks=[], ylim=(-0.05, 1.05), xlim=(-0.1, len(dimensions) - 0.6))
    axes.spines[:].set_visible(False)
    return figure


def importance(found: Any) -> Figure | None:
    """Draw how much each number matters for the accuracy.

    Parameters
    ----------
    found : optuna.Study

    Returns
    -------
    figure : matplotlib.figure.Figure or None
        None where the trials are too few, or all alike.

    References
    ----------
    Watanabe, Bansal and Hutter, PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in
    Arbitrary Subspaces, IJCAI 2023.
    """
    module = study.optuna()
    best = min(max(0.1, _FEWEST / max(len(found.get_trials(deepcopy=False)), 1)), 0.5)
    evaluator = module.importance.PedAnovaImportanceEvaluator(target_quantile=best)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # of trials that are too few
            shares = module.importance.get_param_importances(found, evaluator=evaluator)
    except (ValueError, RuntimeError, UserWarning):
        return None
    figure = _figure(5.5, 1.2 + 0.4 * len(shares))
    axes = figure.add_subplot()
    names = list(shares)[::-1]
    bars = axes.barh(names, [shares[name] for name in names])
    axes.bar_label(bars, fmt="%.2f", padding=3)
    axes.set(xlabel="share of the importance", xlim=(0, 1.12))
    return figure


def curves(rows: Sequence[Row]) -> Figure:
    """Draw the best validation accuracy so far of each trial over its epochs, in one figure.

    Parameters
    ----------
    rows : sequence of Row

    Returns
    -------
    figure : matplotlib.figure.Figure
        The colour says how good a trial was in the end; the three best have their numbers.
    """
    figure = _figure(6.5, 4)
    axes = figure.add_subplot()
    drawn = sorted((row for row in rows if row.epochs), key=lambda row: row.best_val_acc)
    colours = _colours()
    for index, row in enumerate(drawn):
        best = np.maximum.accumulate(row.accuracies)
        is_good = index >= len(drawn) - 3
        axes.plot(
            row.epochs,
            best,
            color=colours(index / max(len(drawn) - 1, 1)),
            linewidth=2 if is_good else 1,
            label=f"trial {row.number}: {row.best_val_acc:.3f}" if is_good else None,
        )
    axes.set(xlabel="epoch", ylabel="best validation accuracy so far")
    axes.grid(alpha=0.3)
    if drawn:
        handles, labels = axes.get_legend_handles_labels()
        axes.legend(handles[::-1], labels[::-1], loc="upper left")
    return figure


def _figure(width: float, height: float) -> Figure:
    """Return an empty figure."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _colours() -> Any:
    """Return the map from 0 to 1 to colours."""
    import matplotlib

    return matplotlib.colormaps[_COLOURS]


def _place(value: Any, dimension: Range | Choice) -> float:
    """Return where a value stands on an axis: a choice has places 0, 1, ..."""
    return dimension.values.index(value) if isinstance(dimension, Choice) else value


def _height(value: Any, dimension: Range | Choice) -> float:
    """Return where a value stands between 0 and 1."""
    if isinstance(dimension, Choice):
        return dimension.values.index(value) / max(len(dimension.values) - 1, 1)
    if dimension.high == dimension.low:
        return 0.5
    ends = np.array([dimension.low, value, dimension.high], dtype=float)
    low, place, high = np.log(ends) if dimension.log else ends
    return float((place - low) / (high - low))


def _label(axis: Any, dimension: Range | Choice) -> None:
    """Give an axis the scale, or the names, of what was searched."""
    if isinstance(dimension, Choice):
        count = len(dimension.values)
        axis.set_ticks(range(count), [f"{value}" for value in dimension.values])
        axis.axes.set_xlim(-0.6, count - 0.4)
        return
    if dimension.log:
        from matplotlib.ticker import NullFormatter

        axis.axes.set_xscale("log")
        axis.set_minor_formatter(NullFormatter())  # over a single decade they run together
    axis.axes.set_xlim(dimension.low, dimension.high)


def _ticks(axes: Axes, place: float, dimension: Range | Choice) -> None:
    """Write the ends of a range, or the values of a choice, beside a vertical line."""
    if isinstance(dimension, Choice):
        values = list(dimension.values)
    else:
        values = [dimension.low, dimension.high]
    for value in values:
        height = _height(value, dimension)
        axes.annotate(
            shown(value),
            (place, height),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
        )
