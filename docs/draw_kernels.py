"""Draw the pictures that explain the kernels: blocks of a product, Winograd's tiles, threads.

python docs/draw_kernels.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

BLUE, ORANGE, GREEN, GREY = "#4477aa", "#ee7733", "#228833", "#dddddd"


def main(folder: Path) -> None:
    """Write the pictures into a folder."""
    for name, draw in (("blocks", blocks), ("winograd", winograd), ("threads", threads)):
        figure = Figure(figsize=(8, 3), layout="constrained")
        draw(figure)
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def blocks(figure: Figure) -> None:
    """Draw a product of matrices, and the blocks that lie in the caches at one moment."""
    left, right, out = figure.subplots(1, 3)
    _grid(left, 8, 8, "filters, packed in blocks", "F", "C·HH·WW")
    _fill(left, 2, 0, 2, 8, BLUE, "packed once,\nread again")
    _grid(right, 8, 8, "windows, read from the image", "C·HH·WW", "pixels")
    _fill(right, 0, 3, 8, 3, ORANGE, "a band stays\nin the cache")
    _grid(out, 8, 8, "output", "F", "pixels")
    _fill(out, 2, 3, 2, 3, GREEN, "in registers")


def winograd(figure: Figure) -> None:
    """Draw overlapping tiles of the input, and the tiles of the output that they give."""
    source, middle, out = figure.subplots(1, 3)
    _grid(source, 10, 10, "input: tiles of 6x6 overlap by 2", "", "")
    _fill(source, 0, 0, 6, 6, BLUE, "")
    _fill(source, 0, 4, 6, 6, ORANGE, "")
    _grid(middle, 6, 6, "transformed: 36 products\ninstead of 144", "", "")
    _fill(middle, 0, 0, 6, 6, GREEN, "tile times filter,\nsummed over C")
    _grid(out, 8, 8, "output: tiles of 4x4 side by side", "", "")
    _fill(out, 0, 0, 4, 4, BLUE, "")
    _fill(out, 0, 4, 4, 4, ORANGE, "")


def threads(figure: Figure) -> None:
    """Draw who writes which planes, and sums that are added in one order."""
    planes, sums = figure.subplots(1, 2)
    _grid(planes, 4, 8, "output planes: each has one writer", "image", "filter")
    for image in range(4):
        for plane in range(8):
            _fill(planes, image, plane, 1, 1, (BLUE, ORANGE)[(image * 8 + plane) // 16], "")
    _grid(sums, 1, 8, "gradient of a filter: a part for each group of images,", "", "")
    for part in range(8):
        _fill(sums, 0, part, 1, 1, (BLUE, ORANGE)[part // 4], f"{part + 1}")
    sums.set_xlabel("added from left to right, whoever made them:\nalways the same bits")


def _grid(axes: Axes, rows: int, columns: int, title: str, y: str, x: str) -> None:
    """Draw a matrix as a grid of cells."""
    for row in range(rows):
        for column in range(columns):
            axes.add_patch(Rectangle((column, row), 1, 1, fc="white", ec=GREY))
    axes.set(xlim=(0, columns), ylim=(rows, 0), aspect="equal", xticks=[], yticks=[])
    axes.set_title(title, fontsize=9)
    axes.set_xlabel(x, fontsize=9)
    axes.set_ylabel(y, fontsize=9)


def _fill(
    axes: Axes, row: float, column: float, height: float, width: float, color: str, text: str
) -> None:
    """Colour a block of cells, and write in it."""
    axes.add_patch(
        Rectangle((column, row), width, height, fc=color, ec=color, alpha=0.55, linewidth=2)
    )
    axes.text(column + width / 2, row + height / 2, text, ha="center", va="center", fontsize=8)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
