"""Draw `architecture.svg`, the house in a picture, from the imports that stand in the sources.

    python docs/draw_architecture.py

A box is a module at the top of the package or a wing (a folder), an arrow an import.  A box stands
above all that it imports, so that every arrow points down; where modules import each other in a
circle there is no such picture, and the script says so.
"""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path
from xml.sax.saxutils import escape

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent / "cs231n"
PICTURE = HERE / "architecture.svg"

SUBJECTS = {
    "commands": "train, search, check, bench",
    "search": "trials on any executor",
    "parallel": "ranks, sums of gradients",
    "searching": "space, study, workers",
    "notebook": "what our notebooks share",
    "relaid": "other layouts' names",
    "callbacks": "what watches a run",
    "learning_rate": "a search for it",
    "solver": "the training loop",
    "training": "state, checkpoints, callbacks",
    "classifiers": "networks",
    "torch_bridge": "weights to PyTorch",
    "onnx_bridge": "networks as ONNX",
    "gradient_check": "numeric gradients",
    "checking": "check_layer, table of layers",
    "measuring": "fair times",
    "net_visualization": "saliency, class images",
    "net_visualization_pytorch": "the same for PyTorch",
    "layer_utils": "stages, sandwiches",
    "fast_layers": "the fast twins",
    "layers": "the reference",
    "modern_layers": "younger ones",
    "im2col": "columns of windows",
    "kernels": "C and NumPy, threads",
    "data_utils": "data sets",
    "data": "downloads, readers, glyphs",
    "image_utils": "pictures",
    "files": "safe, whole files",
    "optim": "update rules",
    "schedules": "learning rates",
    "augment": "other images each step",
    "vis_utils": "pictures",
    "visual": "grids, curves, mistakes",
    "core": "checks, contract, windows",
}
WIDTH, ROW, BOX_HEIGHT, MARGIN = 1180, 96, 46, 16
STYLE = """
  text { font-family: sans-serif; text-anchor: middle; fill: #1a1a1a }
  .name { font-size: 14px; font-weight: bold }
  .subject { font-size: 11px; fill: #444 }
  .door { fill: #fdf3dc; stroke: #b8860b }
  .wing { fill: #dfeaf7; stroke: #33639c }
  .import { fill: none; stroke: #999; stroke-width: 1.2; marker-end: url(#tip) }
"""


def import_graph() -> dict[str, set[str]]:
    """Return the modules that each module of the package imports, wherever the import stands."""
    files = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        files[".".join(parts).removesuffix(".__init__")] = path
    return {name: _imported_by(path, set(files)) - {name} for name, path in files.items()}


def _imported_by(path: Path, names: set[str]) -> set[str]:
    """Return the modules of the package that a file names in its imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"{path} has a relative import; expected the whole name")
            # `from package import name` imports a module of this name, or what is in the package.
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & names or {str(node.module)}
    return found & names


def houses() -> dict[str, set[str]]:
    """Return which modules at the top and wings import which."""
    graph: dict[str, set[str]] = {}
    for name, others in import_graph().items():
        own = _box(name)
        if own:
            graph.setdefault(own, set()).update({_box(other) for other in others} - {own, ""})
    return graph


def _box(module: str) -> str:
    """Return the box that a module is in; the package itself and the build script have none."""
    box = module.removeprefix("cs231n").lstrip(".").partition(".")[0]
    return {"__main__": "commands", "setup": ""}.get(box, box)


def levels(graph: dict[str, set[str]]) -> dict[str, int]:
    """Return how high each box stands, one above the highest that it imports."""
    found: dict[str, int] = {}
    for name in TopologicalSorter(graph).static_order():
        found[name] = 1 + max((found[other] for other in graph[name]), default=-1)
    return found


def essential(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Return the imports that do not follow from others, which would hide the picture."""
    below: dict[str, set[str]] = {}
    for name in TopologicalSorter(graph).static_order():
        below[name] = graph[name].union(*(below[other] for other in graph[name]))
    return {
        name: {o for o in others if not any(o in below[other] for other in others)}
        for name, others in graph.items()
    }


def places(graph: dict[str, set[str]]) -> dict[str, tuple[float, float]]:
    """Return the middle of each box; boxes of a row are ordered by what they stand upon."""
    level = levels(graph)
    top, found = max(level.values()), dict[str, tuple[float, float]]()
    for height in range(top + 1):
        row = sorted(name for name in graph if level[name] == height)
        row.sort(key=lambda name: _mean([found[other][0] for other in graph[name]]))
        for index, name in enumerate(row):
            x = WIDTH * (index + 0.5) / len(row)
            found[name] = x, MARGIN + BOX_HEIGHT / 2 + ROW * (top - height)
    return found


def _mean(numbers: list[float]) -> float:
    """Return the mean, or the middle of the picture where there is nothing."""
    return sum(numbers) / len(numbers) if numbers else WIDTH / 2


def draw() -> str:
    """Return the picture."""
    graph = houses()
    arrows = {name: sorted(others) for name, others in sorted(essential(graph).items())}
    place = places({name: set(others) for name, others in arrows.items()})
    height = max(y for _, y in place.values()) + BOX_HEIGHT / 2 + MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}"'
        f' role="img" aria-label="What imports what in cs231n">',
        f"<style>{STYLE}</style>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7"'
        ' markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="#999"/></marker></defs>',
        f'<rect width="{WIDTH}" height="{height:.0f}" fill="#fff"/>',
        *(_arrow(place[name], place[other]) for name in arrows for other in arrows[name]),
        *(_drawn(name, *place[name]) for name in sorted(place)),
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _arrow(above: tuple[float, float], below: tuple[float, float]) -> str:
    """Return a curve from the bottom of a box to the top of another."""
    (x, y), (to_x, to_y) = above, below
    y, to_y = y + BOX_HEIGHT / 2, to_y - BOX_HEIGHT / 2
    bend = min(ROW, to_y - y) / 2
    curve = f"C{x:.0f} {y + bend:.0f} {to_x:.0f} {to_y - bend:.0f} {to_x:.0f} {to_y:.0f}"
    return f'<path class="import" d="M{x:.0f} {y:.0f} {curve}"/>'


def _drawn(name: str, x: float, y: float) -> str:
    """Return a box with its name and what it is about."""
    is_wing = (PACKAGE / name).is_dir()
    subject = SUBJECTS.get(name, "")
    width = max(8.6 * len(name) + 20, 6.2 * len(subject) + 16)
    return (
        f'<rect class="{"wing" if is_wing else "door"}" x="{x - width / 2:.0f}"'
        f' y="{y - BOX_HEIGHT / 2:.0f}" width="{width:.0f}" height="{BOX_HEIGHT}" rx="5"/>'
        f'<text class="name" x="{x:.0f}" y="{y - 3:.0f}">{name}{"/" if is_wing else ""}</text>'
        f'<text class="subject" x="{x:.0f}" y="{y + 14:.0f}">{escape(subject)}</text>'
    )


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
