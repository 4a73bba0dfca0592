"""Pictures: grids of images as arrays; curves, filters, confusions and mistakes as figures.

The functions that draw return a `matplotlib.figure.Figure` of their own.  They touch neither pyplot
nor any other global state, need no display, and matplotlib is loaded when the first one is called.
In a notebook the figure shows itself as the value of a cell.
"""

from cs231n.visual.curves import compare_runs, plot_history
from cs231n.visual.figures import COLORS
from cs231n.visual.filters import plot_activations, plot_filters
from cs231n.visual.graph import plot_graph
from cs231n.visual.grids import vis_grid, vis_nn, visualize_grid
from cs231n.visual.mistakes import plot_confusion, show_mistakes

__all__ = [
    "COLORS",
    "compare_runs",
    "plot_activations",
    "plot_confusion",
    "plot_filters",
    "plot_graph",
    "plot_history",
    "show_mistakes",
    "vis_grid",
    "vis_nn",
    "visualize_grid",
]
