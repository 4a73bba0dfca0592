"""Let notebooks of a re-laid layout run unchanged: ``import cs231n.relaid`` in their first cell.

Some public courses put the same modules elsewhere: `layers.layers`, `utils.data_utils`,
`base.solver` and so on, beside the notebook.  Importing this module registers those names for the
modules of this package, so that ``from layers.fast_conv_layers import *`` finds `fast_layers`.
Names that belong to modules of one's own are not taken away from them: if one of these exists, the
import fails, says where it lies, and registers nothing.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType

__all__ = ["NAMES"]

#: The module of this package for each name of the other layout.
NAMES = {
    "base.optim": "optim",
    "base.solver": "solver",
    "classifiers.cnn": "classifiers.cnn",
    "classifiers.fc_net": "classifiers.fc_net",
    "layers.fast_conv_layers": "fast_layers",
    "layers.fast_layers": "fast_layers",
    "layers.im2col": "im2col",
    "layers.layer_utils": "layer_utils",
    "layers.layers": "layers",
    "optim": "optim",
    "utils.data_utils": "data_utils",
    "utils.gradient_check": "gradient_check",
    "utils.im2col": "im2col",
    "utils.image_utils": "image_utils",
    "utils.metrics_utils": "checking.rel_error",
    "utils.vis_utils": "vis_utils",
}
_MARK = "__relaid__"  # what tells our packages from others of the same name


def _register() -> None:
    """Register all names, or none."""
    tops = sorted({name.partition(".")[0] for name in NAMES})
    taken = {top: place for top in tops if (place := _place(top))}
    if taken:
        found = ", ".join(f"{top} ({place})" for top, place in taken.items())
        raise ImportError(
            f"cs231n.relaid: would hide modules that exist: {found}; expected none of"
            f" {', '.join(tops)}.  Rename them, or import from cs231n instead."
        )
    for name, home in NAMES.items():
        module = importlib.import_module(f"cs231n.{home}")
        package, _, last = name.rpartition(".")
        sys.modules[name] = module
        if package:
            setattr(_package(package), last, module)


def _place(top: str) -> str | None:
    """Return where a module of this name lies that is none of ours; None if there is none."""
    known = sys.modules.get(top)
    if known is not None:
        ours = hasattr(known, _MARK) or known.__name__ == f"cs231n.{NAMES.get(top)}"
        return None if ours else str(getattr(known, "__file__", None) or "already imported")
    spec = find_spec(top)
    if spec is None:
        return None
    if spec.loader is None or spec.origin is None:  # a folder; one without modules hides nothing
        folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
        return next((str(folder) for folder in folders if _has_modules(folder)), None)
    return spec.origin


def _has_modules(folder: Path) -> bool:
    """Whether there is anything in a folder that Python could import, other than more folders."""
    return any(PathFinder.find_spec(path.stem, [str(folder)]) for path in folder.glob("*.*"))


def _package(name: str) -> ModuleType:
    """Return the empty package that holds the registered modules."""
    if name not in sys.modules:
        package = module_from_spec(ModuleSpec(name, None, is_package=True))
        setattr(package, _MARK, True)
        sys.modules[name] = package
    return sys.modules[name]


_register()
