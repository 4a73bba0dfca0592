"""Pictures: grids of images and filters as arrays, training curves and filters as figures.

The functions that draw return a `matplotlib.figure.Figure` of their own.  They touch neither pyplot
nor any other global state, need no display, and matplotlib is loaded when the first one is called.
In a notebook the figure shows itself as the value of a cell.
"""

from __future__ import annotations

import functools
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from cs231n.core import checks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_filters", "plot_graph", "plot_history", "vis_grid", "vis_nn", "visualize_grid"]

# Okabe and Ito's colours, which people with any kind of colour vision can tell apart.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_PAPER = 0.75  # grey between filters: black and white pixels at their edges both show
_LINES = ("-", "--", ":", "-.")  # one for each round through the colours


def visualize_grid(Xs: np.ndarray, ubound: float = 255.0, padding: int = 1) -> np.ndarray:
    """Lay out images in a square, each scaled to its own range.

    Parameters
    ----------
    Xs : array_like of shape (N, H, W, C)
        Images, or filters with their channels last.
    ubound : float
        The largest value of each tile; the smallest is 0.  An image of one colour becomes 0.
    padding : int
        Width of the black lines between the tiles.

    Returns
    -------
    grid : ndarray of shape (A * H + (A - 1) * padding, A * W + (A - 1) * padding, C), float64
        A * A is the smallest square that holds N; unused tiles are black.

    Raises
    ------
    TypeError
        If Xs does not hold real numbers.
    ValueError
        If Xs has another number of axes, an empty axis, or values that are not finite.
    """
    where = "visualize_grid"
    padding = checks.integer(where, "padding", padding, 0)
    ubound = checks.number(where, "ubound", ubound, 0)
    images = _images(where, "Xs", Xs).astype(np.float64)
    side = math.ceil(math.sqrt(len(images)))
    grid = _mosaic(_own_range(images, ubound), side, side, padding, background=0.0)
    return grid[: len(grid) - padding, : grid.shape[1] - padding]


def vis_grid(Xs: np.ndarray) -> np.ndarray:
    """Lay out images in a square, all scaled together to 0 ... 1.

    Parameters
    ----------
    Xs : array_like of shape (N, H, W, C)
        Images.

    Returns
    -------
    grid : ndarray of shape (A * (H + 1), A * (W + 1), C)
        A * A is the smallest square that holds N.  A line of the smallest value follows each tile,
        to its right and below.  float32 stays float32, all else becomes float64.

    Raises
    ------
    TypeError, ValueError
        As `visualize_grid`.
    """
    images = _images("vis_grid", "Xs", Xs)
    side = math.ceil(math.sqrt(len(images)))
    return _unit_range(_mosaic(images, side, side, 1, background=images.min()))


def vis_nn(rows: Sequence[Sequence[np.ndarray]], per_tile: bool = False) -> np.ndarray:
    """Lay out rows of images, such as images and their nearest neighbours, scaled to 0 ... 1.

    Parameters
    ----------
    rows : array_like of shape (R, K, H, W, C)
        R rows of K images.
    per_tile : bool
        Whether to scale each image to its own range; by default all are scaled together, so that
        brightness can be compared.

    Returns
    -------
    grid : ndarray of shape (R * (H + 1), K * (W + 1), C)
        A line of the value 1 (taken before the images are scaled) follows each image, to its right
        and below.  float32 stays float32, all else becomes float64.

    Raises
    ------
    TypeError, ValueError
        If the images do not have one shape or the rows not one length, and as `visualize_grid`.
    """
    where = "vis_nn"
    rows = [checks.sequence(where, "rows", row) for row in checks.sequence(where, "rows", rows)]
    lengths = sorted({len(row) for row in rows})
    if len(lengths) != 1:
        raise ValueError(f"{where}: rows have lengths {lengths}; expected rows of one length")
    images = _images(where, "rows", [image for row in rows for image in row])
    if per_tile:
        images = _own_range(images, 1.0)
    return _unit_range(_mosaic(images, len(rows), lengths[0], 1, background=1.0))


def _images(where: str, name: str, value: Any) -> np.ndarray:
    """Return images (N, H, W, C) as finite float32 or float64, or raise."""
    try:
        images = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{where}: {name} holds images of different shapes ({error})") from error
    if images.dtype.kind not in "biuf":
        raise TypeError(f"{where}: {name} has dtype {images.dtype}; expected real numbers")
    if images.ndim != 4 or images.size == 0:
        raise ValueError(
            f"{where}: {name} has shape {images.shape}; expected (N, H, W, C), no axis empty"
        )
    if images.dtype != np.float32:
        images = images.astype(np.float64)
    if not np.all(np.isfinite(images)):
        bad = int(np.argmin(np.isfinite(images).all(axis=(1, 2, 3))))
        raise ValueError(f"{where}: image {bad} of {name} holds nan or infinity; expected numbers")
    return images


def _own_range(images: np.ndarray, upper: float) -> np.ndarray:
    """Scale each image (H, W, C) so that its values run from 0 to upper."""
    low = images.min(axis=(1, 2, 3), keepdims=True)
    high = images.max(axis=(1, 2, 3), keepdims=True)
    span = high - low
    varied = span > 0
    scaled = upper * (images - low) / np.where(varied, span, 1)
    scaled[(images == high) & varied] = upper  # rounding may end just below or above
    return scaled


def _unit_range(image: np.ndarray) -> np.ndarray:
    """Scale an image so that its values run from 0 to 1."""
    return _own_range(image[np.newaxis], 1.0)[0]


def _mosaic(
    images: np.ndarray, rows: int, columns: int, padding: int, background: float
) -> np.ndarray:
    """Lay out images row by row, with padding to the right of and below each."""
    N, H, W, C = images.shape
    tiles = np.full((rows * columns, H + padding, W + padding, C), background, dtype=images.dtype)
    tiles[:N, :H, :W] = images
    tiles = tiles.reshape(rows, columns, H + padding, W + padding, C).transpose(0, 2, 1, 3, 4)
    return tiles.reshape(rows * (H + padding), columns * (W + padding), C)


def plot_history(
    history: Any,
    title: str | None = None,
    path: str | PathLike[str] | None = None,
) -> Figure:
    """Draw the training curves of one run, or of several runs for comparison.

    Parameters
    ----------
    history : Solver, or mapping of str to Solver
        Anything with the lists ``loss_history`` (a loss for each iteration), ``train_acc_history``
        and ``val_acc_history`` (accuracies at the epochs 0, 1, ...).  Several runs are given with
        their names.
    title : str, optional
        Heading of the figure.
    path : str or path, optional
        Where to save the figure; the ending (.png, .svg, .pdf) decides the format.

    Returns
    -------
    figure : matplotlib.figure.Figure
        For one run, the loss and the accuracies side by side; for several, the losses above the
        training and the validation accuracies.  Dots are single minibatches, the line through them
        is their moving average.  ``figure.axes`` are there to be adjusted, for instance with
        ``set_yscale("log")``.

    Raises
    ------
    TypeError
        If a history is not there.
    ValueError
        If there is nothing to draw yet.
    """
    if isinstance(history, Mapping):
        curves = [_curves(name, run) for name, run in history.items()]
        figure = _compare_runs(curves)
    else:
        figure = _show_run(_curves("", history))
    return _finish(figure, title, path)


class _Curves(NamedTuple):
    """What is drawn of one run; accuracies are those at epochs 0, 1, ..."""

    name: str
    loss: np.ndarray
    train: np.ndarray
    val: np.ndarray


def _curves(name: Any, run: Any) -> _Curves:
    """Read a run's histories."""
    where = "plot_history"
    attributes = ("loss_history", "train_acc_history", "val_acc_history")
    missing = [attribute for attribute in attributes if not hasattr(run, attribute)]
    if missing:
        raise TypeError(
            f"{where}: a {type(run).__name__} has no {', '.join(missing)}; expected a Solver,"
            f" or a dict of names and Solvers"
        )
    loss, train, val = (np.asarray(getattr(run, a), dtype=np.float64) for a in attributes)
    if loss.size == 0:
        of = f" of {name!r}" if name else ""
        raise ValueError(f"{where}: the loss_history{of} is empty; expected a run that was trained")
    return _Curves(str(name), loss, train, val)


def _new_figure(width: float, height: float) -> Figure:
    """Return an empty figure that belongs to nobody else."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    # Notebooks ask for this method.  Pyplot would teach them to show any figure, once imported.
    vars(figure)["_repr_png_"] = functools.partial(_png, figure)
    return figure


def _png(figure: Figure) -> bytes:
    """Return the figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _finish(figure: Figure, title: str | None, path: str | PathLike[str] | None) -> Figure:
    """Add the heading, and save the figure if asked to."""
    if title:
        figure.suptitle(title, fontweight="bold")
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def _show_run(curves: _Curves) -> Figure:
    """Draw one run: loss, and training against validation accuracy."""
    figure = _new_figure(10, 3.8)
    loss, accuracy = figure.subplots(1, 2)
    _draw_loss(loss, curves.loss, COLORS[0], "-")
    _draw_accuracy(accuracy, curves.train, COLORS[0], "--", "training")
    _draw_accuracy(accuracy, curves.val, COLORS[1], "-", f"validation{_best(curves.val)}")
    _label(loss, "Training loss", "iteration", "loss")
    _label(accuracy, "Accuracy", "epoch", "accuracy")
    accuracy.legend(edgecolor="none", fontsize=9)
    return figure


def _compare_runs(runs: Sequence[_Curves]) -> Figure:
    """Draw several runs: their losses, training and validation accuracies."""
    if not runs:
        raise ValueError("plot_history: no runs to compare; expected at least one")
    figure = _new_figure(10, 7)
    axes = figure.subplot_mosaic([["loss", "loss"], ["train", "val"]])
    axes["val"].sharey(axes["train"])
    for (color, line), run in zip(_styles(), runs):
        _draw_loss(axes["loss"], run.loss, color, line)
        _draw_accuracy(axes["train"], run.train, color, line)
        _draw_accuracy(axes["val"], run.val, color, line, f"{run.name}{_best(run.val)}")
    _label(axes["loss"], "Training loss", "iteration", "loss")
    _label(axes["train"], "Training accuracy", "epoch", "accuracy")
    _label(axes["val"], "Validation accuracy", "epoch", "accuracy")
    axes["val"].set_ylabel("")
    axes["val"].tick_params(labelleft=False)
    figure.legend(
        title="runs, with their best validation accuracy",
        loc="outside lower center",
        ncols=min(len(runs), 3),
        frameon=False,
        fontsize=9,
    )
    return figure


def _styles() -> Iterator[tuple[str, str]]:
    """Yield a colour and a line style for each run, without end."""
    while True:
        for line in _LINES:
            for color in COLORS:
                yield color, line


def _draw_loss(axes: Axes, losses: np.ndarray, color: str, line: str) -> None:
    """Draw a dot for each minibatch, and a line through their moving average."""
    iterations = np.arange(len(losses))
    losses = np.where(np.isfinite(losses), losses, np.nan)
    faint = float(np.clip(400 / len(losses), 0.15, 0.5))
    axes.plot(iterations, losses, ".", color=color, alpha=faint, markersize=3, markeredgewidth=0)
    axes.plot(iterations, _smooth(losses), line, color=color, linewidth=1.8)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Return a centred moving average with a bell-shaped window; nan is left out of it."""
    half = min(len(values) // 40, 500)
    window = np.hanning(2 * half + 3)[1:-1]  # without the zeros at its ends
    known = np.isfinite(values)
    inside = slice(half, half + len(values))
    total = np.convolve(np.where(known, values, 0), window)[inside]
    weight = np.convolve(known, window)[inside]
    return np.divide(total, weight, out=np.full(len(values), np.nan), where=weight > 1e-9)


def _draw_accuracy(
    axes: Axes, values: np.ndarray, color: str, line: str, name: str | None = None
) -> None:
    """Draw an accuracy at the epochs 0, 1, ..."""
    marker = "o" if len(values) <= 30 else ""
    epochs = np.arange(len(values))
    axes.plot(epochs, values, line, color=color, marker=marker, markersize=4, label=name)


def _best(values: np.ndarray) -> str:
    """Say where the best accuracy was reached."""
    if not np.any(np.isfinite(values)):
        return ""
    epoch = int(np.nanargmax(values))
    return f" (best {values[epoch]:.1%}, epoch {epoch})"


def _label(axes: Axes, title: str, x: str, y: str) -> None:
    """Add title, labels and a faint grid."""
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    axes.set_title(title, fontsize=11)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1, steps=[1, 2, 5, 10]))
    if y == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


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
    images = _own_range(_images(where, "w", w.transpose(0, 2, 3, 1)), 1.0)
    columns = math.ceil(math.sqrt(len(images)))
    rows = math.ceil(len(images) / columns)
    grid = _mosaic(images, rows, columns, 1, background=_PAPER)
    grid = np.pad(grid, ((1, 0), (1, 0), (0, 0)), constant_values=_PAPER)
    figure = _new_figure(6, 6 * grid.shape[0] / grid.shape[1] + (0.4 if title else 0))
    axes = figure.subplots()
    axes.imshow(grid[..., 0] if w.shape[1] == 1 else grid, cmap="gray", vmin=0, vmax=1)
    axes.set_axis_off()
    return _finish(figure, title, path)


def plot_graph(
    nodes: Mapping[str, tuple[float, float]],
    edges: Sequence[tuple[str, str]],
    gradients: Mapping[str, str] | None = None,
    title: str | None = None,
    path: str | PathLike[str] | None = None,
) -> Figure:
    """Draw a computational graph: values flow along the edges, gradients flow back.

    Parameters
    ----------
    nodes : mapping of str to tuple (column, row)
        Where each node lies, row 0 at the top.  The name is what the node shows; formulas stand
        between dollar signs.
    edges : sequence of tuple (from, to)
        Which node's value each node takes.
    gradients : mapping of str to str, optional
        What to write above a node, such as the gradient that arrives there.
    title : str, optional
        Heading of the figure.
    path : str or path, optional
        Where to save the figure; the ending (.png, .svg, .pdf) decides the format.

    Returns
    -------
    figure : matplotlib.figure.Figure

    Raises
    ------
    ValueError, TypeError
        If an edge or a gradient belongs to no node, or a place is no pair of numbers.
    """
    gradients = checks.mapping("plot_graph", "gradients", gradients or {})
    nodes, edges = _checked_graph("plot_graph", nodes, edges, gradients)
    columns, rows = zip(*nodes.values())
    width, height = max(columns) - min(columns) + 1, max(rows) - min(rows) + 1
    figure = _new_figure(10, 10 * height / width)
    axes = figure.subplots()
    axes.set(xlim=(min(columns) - 0.5, max(columns) + 0.5), aspect="equal")
    axes.set(ylim=(max(rows) + 0.5, min(rows) - 0.5))
    axes.set_axis_off()
    for edge in edges:
        _draw_edge(axes, *(nodes[name] for name in edge))
    box = {"boxstyle": "round,pad=0.4", "facecolor": "white", "edgecolor": COLORS[0]}
    for name, (column, row) in nodes.items():
        axes.text(column, row, name, ha="center", va="center", fontsize=12, bbox=box)
        above = gradients.get(name, "")
        axes.text(column, row - 0.2, above, ha="center", va="bottom", fontsize=10, color=COLORS[1])
    return _finish(figure, title, path)


def _checked_graph(
    where: str, nodes: Any, edges: Any, gradients: Mapping[str, str]
) -> tuple[dict[str, Any], list[Any]]:
    """Return the nodes with their places, and the edges, each a pair of nodes."""
    places = {}
    for name, place in checks.mapping(where, "nodes", nodes).items():
        numbers = checks.sequence(where, f"nodes[{name!r}]", place)
        places[name] = [checks.number(where, "place", number, -1e3, 1e3) for number in numbers]
    pairs = [
        checks.sequence(where, "edges", edge) for edge in checks.sequence(where, "edges", edges)
    ]
    if not places or any(len(pair) != 2 for pair in [*places.values(), *pairs]):
        raise ValueError(f"{where}: found {nodes} and {edges}; expected nodes and pairs of them")
    named = [*gradients, *(name for pair in pairs for name in pair)]
    unknown = sorted({str(name) for name in named if str(name) not in places})
    if unknown:
        raise ValueError(
            f"{where}: {', '.join(unknown)} are no nodes; expected some of"
            f" {', '.join(map(str, places))}"
        )
    return places, pairs


def _draw_edge(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw the way of a value, and dashed beside it the way of its gradient."""
    ways = [(start, end, COLORS[0], "-"), (end, start, COLORS[1], "--")]
    for tail, head, color, line in ways:
        arrow = {
            "arrowstyle": "->",
            "color": color,
            "linestyle": line,
            "connectionstyle": "arc3,rad=-0.12",
            "shrinkA": 22,
            "shrinkB": 22,
        }
        axes.annotate("", xy=head, xytext=tail, arrowprops=arrow)
