"""Which kernels the fast layers use: the compiled extension, or NumPy where it was not built.

Two environment variables steer it.  ``CS231N_BACKEND`` names the kernels (``cython`` or
``numpy``); by default the compiled ones are taken if they are there.  With
``CS231N_REQUIRE_EXTENSION=1`` a missing extension is an ImportError, so that a test run cannot pass
by silently doing without it.
"""

from __future__ import annotations

import importlib
import os
import warnings
from types import ModuleType

from cs231n import checks, numpy_kernels

__all__ = ["BUILD_HINT", "NAMES", "backend", "kernels", "select"]

BUILD_HINT = (
    "cs231n: the compiled extension is missing, NumPy does its work more slowly."
    " Build it with: python setup.py build_ext --inplace (it takes a C compiler)"
)
NAMES = ("cython", "numpy")


def _import_compiled() -> ModuleType | None:
    """Return the compiled kernels, or None where the extension was not built."""
    try:
        return importlib.import_module("cs231n.im2col_cython")
    except ModuleNotFoundError as error:
        if os.environ.get("CS231N_REQUIRE_EXTENSION") == "1":
            raise ImportError(f"{BUILD_HINT}; CS231N_REQUIRE_EXTENSION=1 forbids that") from error
        return None


_COMPILED = _import_compiled()
_selected = "numpy"


def select(name: str) -> str:
    """Make the fast layers use the kernels of this name from now on.

    Parameters
    ----------
    name : {'auto', 'cython', 'numpy'}
        'auto' takes the compiled kernels if they are there.

    Returns
    -------
    previous : str
        The name of the kernels that were in use.

    Raises
    ------
    ValueError
        If there are no kernels of this name.
    ImportError
        If the compiled kernels are asked for but were not built.
    """
    global _selected
    checks.choice("backend.select", "name", name, ("auto", *NAMES))
    if name == "cython" and _COMPILED is None:
        raise ImportError(BUILD_HINT)
    previous = _selected
    _selected = name if name != "auto" else "numpy" if _COMPILED is None else "cython"
    return previous


def backend() -> str:
    """Return the name of the kernels in use: 'cython' (compiled) or 'numpy'."""
    return _selected


def kernels() -> ModuleType:
    """Return the module of the kernels in use."""
    return numpy_kernels if _selected == "numpy" or _COMPILED is None else _COMPILED


select(os.environ.get("CS231N_BACKEND", "auto"))
if _COMPILED is None and "CS231N_BACKEND" not in os.environ:
    warnings.warn(BUILD_HINT, stacklevel=2)
