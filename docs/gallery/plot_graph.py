"""
Back through a layer
====================

An affine layer as a graph: values flow to the right, gradients back.
"""

from cs231n.vis_utils import plot_graph

nodes = {"$x$": (0, 0), "$w$": (0, 0.7), "$b$": (1, 0.7), "$x w$": (1, 0), "$x w + b$": (2, 0)}
edges = [("$x$", "$x w$"), ("$w$", "$x w$"), ("$x w$", "$x w + b$"), ("$b$", "$x w + b$")]
gradients = {
    "$x w + b$": "dout",
    "$x w$": "dout",
    "$b$": r"$\sum_n$ dout",
    "$x$": r"dout $w^\top$",
    "$w$": r"$x^\top$ dout",
}
figure = plot_graph(nodes, edges, gradients)
