"""Print versions, kernels, processor and data found, as a bug report needs them."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import cs231n
from cs231n.data.cifar10 import find_cifar10
from cs231n.kernels import backend, threads
from cs231n.measuring.machine import describe

__all__ = ["add_options", "run"]

_PACKAGES = (
    "scipy",
    "matplotlib",
    "pillow",
    "imageio",
    "pooch",
    "tqdm",
    "filelock",
    "platformdirs",
)
_EXTRAS = ("torch", "jupyterlab", "optuna", "distributed", "mpi4py")
# Environment variables that change what is computed, how fast, or where things are looked for.
_VARIABLES = ("CS231N_", "OMP_", "OPENBLAS_", "MKL_", "BLIS_", "VECLIB_")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command, which has none."""


def run(options: argparse.Namespace) -> int:
    """Print a line for each fact."""
    for name, fact in _facts():
        print(f"{name:<12} {fact}")
    return 0


def _facts() -> Iterator[tuple[str, str]]:
    """Yield what a report of a fault or of a time needs, by name."""
    facts = describe()
    yield "cs231n", f"{cs231n.__version__} in {_shown(Path(cs231n.__file__).parent)}"
    yield "kernels", f"{backend.backend()} (of {', '.join(backend.available())})"
    yield "threads", f"{threads.get_num_threads()} for the kernels"
    yield "processor", facts["machine"]
    yield "system", facts["system"]
    yield "python", _shown(Path(sys.executable))
    yield "numpy", f"{np.__version__} with {_blas()}"
    yield "packages", _versions(_PACKAGES)
    yield "extras", _versions(_EXTRAS)
    yield "data", _data()
    yield "environment", ", ".join(_variables()) or "nothing that matters is set"


def _shown(path: str | os.PathLike[str]) -> str:
    """Return a path as one may publish it: without the name of the user's own folder."""
    full, home = os.path.abspath(path), os.path.expanduser("~")
    inside = full.startswith(home.rstrip(os.sep) + os.sep) and home.rstrip(os.sep)
    return f"~{full[len(home.rstrip(os.sep)) :]}" if inside else full


def _blas() -> str:
    """Return name and version of the library that multiplies matrices for NumPy."""
    try:
        parts: Any = np.show_config(mode="dicts")
        blas = parts["Build Dependencies"]["blas"]
        return f"{blas['name']} {blas['version']}"
    except (KeyError, TypeError):  # NumPy may change what it tells
        return "an unknown BLAS"


def _versions(names: Sequence[str]) -> str:
    """Return the versions of packages, which are not imported for that."""
    return ", ".join(f"{name} {_version(name)}" for name in names)


def _version(name: str) -> str:
    """Return the version of an installed package."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "-"


def _data() -> str:
    """Return where CIFAR-10 is, or how to get it."""
    try:
        return f"CIFAR-10 in {_shown(find_cifar10())}; the built-in glyphs"
    except FileNotFoundError:
        return "the built-in glyphs; no CIFAR-10 (get it with: python -m cs231n download)"


def _variables() -> list[str]:
    """Return the environment variables that matter, with their values."""
    names = sorted(name for name in os.environ if name.startswith(_VARIABLES))
    return [f"{name}={_shown_value(os.environ[name])}" for name in names]


def _shown_value(value: str) -> str:
    """Return the value of an environment variable, as `_shown` if it is a path."""
    return _shown(value) if os.path.isabs(value) else value
