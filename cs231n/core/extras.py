"""Optional packages: imported when they are needed, with one clear line where they are missing."""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = ["need"]


def need(module: str, extra: str, what: str) -> ModuleType:
    """Return a module that comes with one of the package's extras.

    Parameters
    ----------
    module : str
        Name of the module.
    extra : str
        Extra of this package that installs it.
    what : str
        What it is needed for, for the message.

    Returns
    -------
    module : module

    Raises
    ------
    ModuleNotFoundError
        If it is not installed; says what installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if (error.name or "").partition(".")[0] != top:
            raise
        # Without a name: the command line would take it for a package of every installation.
        raise ModuleNotFoundError(
            f"{what} needs {top}, which is not installed;"
            f" get it with: pip install 'cs231n[{extra}]'"
        ) from None
