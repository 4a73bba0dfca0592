"""The progress bar of the Solver: a widget in Jupyter, a line of text elsewhere."""

from __future__ import annotations

import sys
from threading import RLock
from typing import Any

from cs231n.training.bar import Bar

__all__ = ["in_notebook", "is_useful", "new"]


def is_useful() -> bool:
    """Tell whether somebody sees a bar that moves: a terminal, or a notebook that has widgets."""
    if in_notebook():
        return _widget() is not None
    return _is_terminal(sys.stderr)


def in_notebook() -> bool:
    """Tell whether this is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    find = getattr(ipython, "get_ipython", None)
    shell = find() if find is not None else None
    return shell is not None and "IPKernelApp" in getattr(shell, "config", {})


def new(**options: Any) -> Any:
    """Return a bar on standard error, in a notebook a widget.

    A notebook puts standard error into a red box; where it has no widgets the bar is written to
    standard output.  (`tqdm.auto` warns there, which is a red box, too.)

    Parameters
    ----------
    **options
        As tqdm takes them.

    Returns
    -------
    bar : tqdm
    """
    widget = _widget() if in_notebook() else None
    if widget is not None:
        bar: Any = type("Bar", (widget,), {})
        bar.set_lock(RLock())  # for threads alone, as that of Bar
        return bar(**options)
    return Bar(file=sys.stdout if in_notebook() else sys.stderr, **options)


def _widget() -> Any:
    """Return the bar that is a widget, or None where there are no widgets."""
    try:
        from tqdm import notebook
    except ImportError:
        return None
    return notebook.tqdm if getattr(notebook, "IProgress", None) is not None else None


def _is_terminal(stream: Any) -> bool:
    """Tell whether a stream is a terminal; there may be none, or a closed or a strange one."""
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError, OSError):
        return False
