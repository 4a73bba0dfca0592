"""A figure that belongs to nobody else, and the look that all figures share."""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLORS", "finish", "label", "new_figure", "shown", "styles"]

# Okabe and Ito's colours, which people with any kind of colour vision can tell apart.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_LINES = ("-", "--", ":", "-.")


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of this size in inches, unknown to pyplot."""
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


def finish(figure: Figure, title: str | None, path: str | PathLike[str] | None) -> Figure:
    """Add the heading, and save the figure if asked to."""
    if title:
        figure.suptitle(title, fontweight="bold")
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure


def styles() -> Iterator[tuple[str, str]]:
    """Yield a colour and a line style for each run, without end.

    Neighbours differ in both, so that they can be told apart in print without colours, too; as
    the numbers of colours and of lines share no divisor, each pair comes before one comes again.
    """
    index = 0
    while True:
        yield COLORS[index % len(COLORS)], _LINES[index % len(_LINES)]
        index += 1


def shown(name: Any, most: int = 24) -> str:
    """Return a name as Matplotlib shows it as it is: no formula, no hidden entry of a legend."""
    text = str(name) if len(str(name)) <= most else f"{str(name)[: most - 1]}\u2026"
    return ("\u2009" if text.startswith("_") else "") + text.replace("$", r"\$")


def label(axes: Axes, title: str, x: str, y: str) -> None:
    """Add title, labels and a faint grid; an axis called accuracy is in percent."""
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
