"""Which kernels the fast layers use: the compiled ones, or NumPy where they were not built.

The compiled kernels exist once for each instruction set; the best one that the processor has is
taken.  Two environment variables steer the choice: ``CS231N_BACKEND`` names the kernels (an
instruction set, or ``numpy``), and with ``CS231N_REQUIRE_EXTENSION=1`` a missing extension is an
ImportError, so that a test run cannot pass by silently doing without it.
"""

from __future__ import annotations

import importlib
import os
import threading
import warnings
from types import ModuleType

import numpy as np

from cs231n.core import checks
from cs231n.kernels import numpy_kernels
from cs231n.kernels.advice import missing_extension

__all__ = [
    "REFERENCE",
    "available",
    "backend",
    "kernels",
    "kernels_for",
    "select",
]


def _import_compiled() -> ModuleType | None:
    """Return the compiled kernels, or None where the extension was not built."""
    try:
        return importlib.import_module("cs231n.kernels.native")
    except ModuleNotFoundError as error:
        if os.environ.get("CS231N_REQUIRE_EXTENSION") == "1":
            raise ImportError(
                f"{missing_extension()}; CS231N_REQUIRE_EXTENSION=1 forbids that"
            ) from error
        return None


REFERENCE = "reference"  # with which networks run on the functions of `cs231n.layers`
INSTRUCTION_SETS = ("avx512", "avx2", "neon", "baseline")  # whose kernels an extension may hold
_COMPILED = _import_compiled()
_selected, _in_use = "numpy", numpy_kernels
_lock = threading.Lock()  # what `backend` says and what the extension does change together


def available() -> list[str]:
    """Return the names of the kernels that work here, the fastest first and 'numpy' last."""
    return [*([] if _COMPILED is None else _COMPILED.instruction_sets()), "numpy"]


def select(name: str) -> str:
    """Make the fast layers use the kernels of this name from now on.

    Parameters
    ----------
    name : str
        One of `available`, or 'auto' for the fastest.  With 'reference' networks and sandwiches
        run on the functions that `cs231n.layers` holds at the time of each call, so that a change
        to one of them changes the networks; the fast layers themselves then use NumPy.

    Returns
    -------
    previous : str
        The name of the kernels that were in use.

    Raises
    ------
    ValueError
        If the processor cannot run kernels of this name, or there are none.
    ImportError
        If these are compiled kernels, and none were built.
    """
    global _selected, _in_use
    if _COMPILED is None and isinstance(name, str) and name in INSTRUCTION_SETS:
        raise ImportError(f"{missing_extension()}; found no kernels {name!r}")
    checks.choice("backend.select", "name", name, ("auto", *available(), REFERENCE))
    chosen = available()[0] if name == "auto" else name
    with _lock:
        if _COMPILED is None or chosen in ("numpy", REFERENCE):
            _in_use = numpy_kernels
        else:
            _COMPILED.select(chosen)
            _in_use = _COMPILED
        previous, _selected = _selected, chosen
    return previous


def backend(name: str | None = None) -> str:
    """Tell which kernels are in use, or choose others.

    Parameters
    ----------
    name : str, optional
        As for `select`: 'reference' lets networks run on `cs231n.layers`, 'auto' on the fastest
        kernels.

    Returns
    -------
    name : str
        The kernels now in use: an instruction set, 'numpy' or 'reference'.

    Raises
    ------
    ValueError, ImportError
        As `select`.
    """
    if name is not None:
        select(name)
    return _selected


def kernels_for(*arrays: np.ndarray) -> ModuleType:
    """Return the module of the kernels in use; NumPy's where an array is empty.

    Compiled kernels point to an array's first element, which an empty one does not have.
    """
    for array in arrays:
        if not array.size:
            return numpy_kernels
    return kernels()


def kernels() -> ModuleType:
    """Return the module of the kernels in use."""
    return _in_use


_wanted = os.environ.get("CS231N_BACKEND")  # an empty one, as some job scripts set, is none
select(_wanted or "auto")
if _COMPILED is None and not _wanted:
    warnings.warn(missing_extension(), stacklevel=2)
