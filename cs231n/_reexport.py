"""Names of one module that can be had from another, as notebooks with star imports expect."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

__all__ = ["reexport"]


def reexport(
    name: str, own: list[str], *modules: ModuleType
) -> tuple[list[str], Callable[[str], Any]]:
    """Return `__all__` and `__getattr__` for a module that offers the public names of others too.

    Looking names up on demand (PEP 562) instead of copying them keeps one list of them, the
    `__all__` of the module that they belong to.
    """
    home = {public: module for module in modules for public in module.__all__}

    def lookup(attribute: str) -> Any:
        if attribute in home:
            return getattr(home[attribute], attribute)
        raise AttributeError(f"module {name!r} has no attribute {attribute!r}")

    return sorted({*own, *home}), lookup
