"""What to do where the compiled kernels are missing, by how the package was installed."""

from __future__ import annotations

import json
import shlex
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

__all__ = ["missing_extension"]

_MISSING = "cs231n: the compiled extension is missing, NumPy does its work more slowly. "


def missing_extension(package: Path | None = None) -> str:
    """Return one line: that the compiled kernels are missing, and how to get them.

    Parameters
    ----------
    package : pathlib.Path, optional
        Folder of the package; by default the one that was imported.

    Returns
    -------
    line : str
        In a source folder how to build in place, or which installed package with compiled kernels
        the folder stands before; for an installed package how to install it anew.
    """
    package = (package or Path(__file__).parents[1]).resolve()
    if not _is_source(package):
        return (
            f"{_MISSING}Install a C compiler, then run: python -m pip install"
            f" --force-reinstall --no-cache-dir {_installed_from(package)}"
        )
    for other in _others(package):
        return (
            f"{_MISSING}The source folder {package} comes before the installed package {other},"
            " which has it: run Python from another folder"
        )
    return (
        f"{_MISSING}Build it with: python setup.py build_ext --inplace"
        f" (in {package.parent}; it takes a C compiler)"
    )


def _is_source(package: Path) -> bool:
    """Whether the package lies in a source folder, from which it can be built."""
    setup, project = package.parent / "setup.py", package.parent / "pyproject.toml"
    try:
        return setup.is_file() and 'name = "cs231n"' in project.read_text(encoding="utf-8")
    except (OSError, UnicodeError):
        return False


def _installed_from(package: Path) -> str:
    """Return what to tell pip to install: the folder or sdist that it was given, else the name.

    pip keeps where a package came from in a file beside it (PEP 610), unless that was an index.
    """
    for record in sorted(package.parent.glob("cs231n-*.dist-info/direct_url.json")):
        try:
            url = urlsplit(json.loads(record.read_text(encoding="utf-8"))["url"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        if url.scheme == "file" and not url.path.endswith(".whl"):  # which would be no better again
            return f"--no-deps {shlex.quote(url2pathname(url.path))}"
    return "--no-binary cs231n cs231n"


def _others(package: Path) -> list[Path]:
    """Return the packages of this name on the path that have compiled kernels."""
    places = [Path(entry, "cs231n").resolve() for entry in sys.path if entry]
    return [place for place in places if place != package and _is_compiled(place)]


def _is_compiled(package: Path) -> bool:
    """Whether compiled kernels that this Python can load lie in a package."""
    kernels = package / "kernels"
    return any((kernels / f"native{suffix}").is_file() for suffix in EXTENSION_SUFFIXES)
