"""cs231n: neural network layers to read, gradient-check and train, in NumPy.

Start with `cs231n.layers` (the reference), `cs231n.fast_layers` (its fast twin),
`cs231n.classifiers` (networks) and `cs231n.solver` (training); `cs231n.load_model` gives a network
that was trained; ``python -m cs231n --help`` lists the commands.
"""

# Type checkers take it for true.  Nothing is imported here, for Ctrl-C would end in a traceback: it
# has an answer only when `main` runs.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from cs231n.classifiers.stored import load_model as load_model

__version__ = "1.0.0"


def __getattr__(name: str) -> "Any":
    """Return `load_model`, which is imported only when it is used: the package itself is light."""
    if name == "load_model":
        from cs231n.classifiers import stored

        return stored.load_model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the names for editors, `load_model` among them."""
    return sorted({*globals(), "load_model"})
