"""Computational graphs as figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

from cs231n.core import checks
from cs231n.visual.figures import COLORS, finish, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_graph"]


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
    gradients = {
        str(name): text
        for name, text in checks.mapping("plot_graph", "gradients", gradients or {}).items()
    }
    nodes, edges = _checked_graph("plot_graph", nodes, edges, gradients)
    columns, rows = zip(*nodes.values())
    width, height = max(columns) - min(columns) + 1, max(rows) - min(rows) + 1
    figure = new_figure(10, 10 * height / width)
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
    return finish(figure, title, path)


def _checked_graph(
    where: str, nodes: Any, edges: Any, gradients: Mapping[str, str]
) -> tuple[dict[str, Any], list[Any]]:
    """Return the nodes with their places, and the edges, each a pair of nodes; names are text."""
    places = {}
    for name, place in checks.mapping(where, "nodes", nodes).items():
        numbers = checks.sequence(where, f"nodes[{name!r}]", place)
        places[str(name)] = [checks.number(where, "place", number, -1e3, 1e3) for number in numbers]
    pairs = [
        [str(name) for name in checks.sequence(where, "edges", edge)]
        for edge in checks.sequence(where, "edges", edges)
    ]
    if {*map(len, places.values()), *map(len, pairs)} != {2}:
        raise ValueError(f"{where}: found {nodes} and {edges}; expected nodes and pairs of them")
    named = [*gradients, *(name for pair in pairs for name in pair)]
    unknown = sorted({name for name in named if name not in places})
    if unknown:
        raise ValueError(
            f"{where}: {', '.join(unknown)} are no nodes; expected some of {', '.join(places)}"
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
