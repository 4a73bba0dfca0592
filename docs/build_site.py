"""Build the site: pages, notebooks as they are stored, a gallery, a page for each public name.

    python docs/build_site.py    # into build/docs/html; needs the extra `docs`, and no network

The pages of `docs/site` and the project's other texts are gathered in `build/docs/source`, with
their links to one another; what is no page of the site is named there without a link.  A warning of
Sphinx is an error, and the examples of the pages are run.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import draw_kernels

HERE = Path(__file__).resolve().parent
TOP = HERE.parent
BUILD = TOP / "build" / "docs"

# What lies elsewhere in the project, and its place in the site.
GATHERED = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "docs/architecture.md": "explanations/architecture.md",
    "docs/reliability.md": "explanations/reliability.md",
    "docs/scaling.md": "explanations/scaling.md",
    "benchmarks/README.md": "explanations/benchmarks.md",
    "cs231n/kernels/csrc/README.md": "explanations/sources.md",
    "notebooks/README.md": "notebooks/index.md",
}

# The doors, in the order in which one meets them.
DOORS = {
    "layers": "Layers to read",
    "modern_layers": "Younger layers to read",
    "fast_layers": "Their fast twins",
    "layer_utils": "Stages and sandwiches",
    "classifiers": "Networks",
    "solver": "Training",
    "callbacks": "Watching a run",
    "optim": "Update rules",
    "schedules": "Learning rates",
    "augment": "Augmentation",
    "learning_rate": "Finding a learning rate",
    "search": "Searches",
    "data_utils": "Data sets",
    "image_utils": "Pictures",
    "gradient_check": "Gradient checks",
    "vis_utils": "Figures",
    "net_visualization": "What a network sees",
    "net_visualization_pytorch": "What a PyTorch model sees",
    "torch_bridge": "To PyTorch and back",
    "onnx_bridge": "To ONNX",
    "im2col": "Windows as columns",
    "notebook": "For notebooks",
}

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)")


def main() -> int:
    """Gather the sources and build; return Sphinx's status."""
    from sphinx.cmd.build import main as sphinx

    os.environ.setdefault("OMP_NUM_THREADS", "2")
    source = BUILD / "source"
    gather(source)
    status = 0
    for builder in ("html", "doctest"):
        words = ["-b", builder, "-q", "-W", "--keep-going", "-d", str(BUILD / "doctrees")]
        status = status or sphinx([*words, str(source), str(BUILD / builder)])
    if status == 0:
        print(f"the site is in {BUILD / 'html' / 'index.html'}")
    return status


def gather(source: Path) -> None:
    """Put all that Sphinx reads into a fresh folder."""
    for old in (source, BUILD / "doctrees"):  # what is remembered of pages misses the new ones
        shutil.rmtree(old, ignore_errors=True)
    shutil.copytree(HERE / "site", source)
    shutil.copytree(HERE / "gallery", source.parent / "gallery", dirs_exist_ok=True)
    pages = sorted((HERE / "site").rglob("*.md"))
    places = {page: page.relative_to(HERE / "site") for page in pages}
    places |= {TOP / old: Path(new) for old, new in GATHERED.items() if (TOP / old).is_file()}
    for notebook in sorted((TOP / "notebooks").glob("*.ipynb")):
        places[notebook] = Path("notebooks", notebook.name)
    for old, new in places.items():
        target = source / new
        target.parent.mkdir(parents=True, exist_ok=True)
        text = old.read_text(encoding="utf-8")
        target.write_text(relinked(text, old, places) if old.suffix == ".md" else text, "utf-8")
    index = source / "notebooks" / "index.md"
    listed = "\n".join(page.stem for page in sorted(index.parent.glob("*.ipynb")))
    with open(index, "a", encoding="utf-8") as file:
        file.write(f"\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n")
    shutil.copy(HERE / "architecture.svg", source / "explanations")
    draw_kernels.main(source / "explanations")
    (source / "api").mkdir()
    for name, text in api_pages():
        (source / "api" / f"{name}.md").write_text(text, encoding="utf-8")


def relinked(text: str, old: Path, places: dict[Path, Path]) -> str:
    """Return a page whose links lead to the pages of the site, and nowhere else in the project."""

    def mended(match: re.Match[str]) -> str:
        """Return a link at its new place, or its words alone."""
        image, words, link, part = match.groups()
        if not link or "://" in link or image or old.is_relative_to(HERE / "site"):
            return match[0]
        target = Path(os.path.normpath(old.parent / link))
        if target not in places:
            return words if words.startswith("`") else f"`{words}`" if "/" in words else words
        new = os.path.relpath(places[target], places[old].parent)
        return f"[{words}]({Path(new).as_posix()}{part or ''})"

    return _LINK.sub(mended, text)


def api_pages() -> Iterator[tuple[str, str]]:
    """Yield name and text of the pages of the doors, which list all that is public."""
    listed = "\n".join(DOORS)
    yield (
        "index",
        f"# API\n\nA page for each public name, by the module that one imports it from.\n\n"
        f"```{{toctree}}\n:maxdepth: 1\n\n{listed}\n```\n",
    )
    for door, title in DOORS.items():
        names = "\n".join(f"    {name}" for name in public_names(door))
        yield (
            door,
            f"# {title}: `{door}`\n\n```{{eval-rst}}\n.. automodule:: cs231n.{door}\n"
            f"    :no-members:\n\n.. currentmodule:: cs231n.{door}\n\n.. autosummary::\n"
            f"    :toctree: generated\n    :template: name.rst\n\n{names}\n```\n",
        )


def public_names(door: str) -> list[str]:
    """Return the names of a module that get a page there: functions and classes of its own.

    The layers that it re-exports have theirs where they belong.
    """
    module = importlib.import_module(f"cs231n.{door}")
    first = list(DOORS)[: list(DOORS).index(door)]
    earlier = {name for other in first for name in _offered(other)}
    return [name for name in _offered(door) if name not in earlier and hasattr(module, name)]


def _offered(door: str) -> list[str]:
    """Return the functions and classes in the list of a module's public names."""
    module = importlib.import_module(f"cs231n.{door}")
    is_documented: Callable[[object], bool] = callable
    return sorted(name for name in module.__all__ if is_documented(getattr(module, name)))


if __name__ == "__main__":
    sys.exit(main())
