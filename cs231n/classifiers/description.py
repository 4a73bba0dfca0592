"""The description of a network in the file of its parameters: JSON text, and plain arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from cs231n import __version__
from cs231n.classifiers.inputs import Inputs
from cs231n.data.normalization import Normalization

__all__ = ["Description", "split_off", "written"]

_MEMBER = "network"  # names in the file that no parameter has
_NORMALIZATION = "normalization/"
_FORMAT = 1  # another number is another layout
_MOST = 2**24  # characters of the text: 10,000 class names take some hundred thousand
_LONGEST_NAME, _LONGEST_SIDE = 1000, 2**14


class Description(NamedTuple):
    """Class and arguments of a network as a file names them, not yet believed, and its inputs."""

    kind: str
    arguments: dict[str, Any]
    inputs: Inputs | None


def written(kind: str, arguments: Mapping[str, Any], inputs: Inputs | None) -> dict[str, Any]:
    """Return the arrays that describe a network, for the file of its parameters.

    Parameters
    ----------
    kind : str
        Name of its class.
    arguments : mapping
        Of its constructor, plain values.
    inputs : Inputs or None
        What it was trained on.

    Returns
    -------
    arrays : dict of str to ndarray
    """
    content: dict[str, Any] = {
        "format": _FORMAT,
        "version": __version__,
        "class": kind,
        "arguments": dict(arguments),
    }
    arrays: dict[str, Any] = {}
    if inputs is not None:
        content["image_shape"] = list(inputs.image_shape)
        content["class_names"] = list(inputs.class_names)
        stored = inputs.normalization.to_arrays()
        arrays = {f"{_NORMALIZATION}{name}": array for name, array in stored.items()}
    return {_MEMBER: np.array(json.dumps(content)), **arrays}


def split_off(where: str, arrays: dict[str, np.ndarray]) -> Description | None:
    """Take the description out of the arrays of a file, and return it if there is one.

    Parameters
    ----------
    where : str
        Name of the calling function and the file, for messages.
    arrays : dict of str to ndarray
        Keeps parameters and running statistics.

    Returns
    -------
    description : Description or None

    Raises
    ------
    ValueError
        If there is one that `written` would not give.
    """
    names = [name for name in arrays if name.startswith(_NORMALIZATION)]
    normalization = {name.removeprefix(_NORMALIZATION): arrays.pop(name) for name in names}
    text = arrays.pop(_MEMBER, None)
    if text is None:
        return None
    try:
        return _read(text, normalization)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        reason = str(error) or type(error).__name__
        raise ValueError(
            f"{where}: the description of the network is damaged ({reason})"
        ) from error


def _read(text: np.ndarray, normalization: dict[str, np.ndarray]) -> Description:
    """Return the description in the text and the arrays of a file."""
    if text.shape != () or text.dtype.kind != "U" or text.dtype.itemsize > 4 * _MOST:
        raise ValueError(f"it is {text.dtype} of shape {text.shape}; expected one text")
    content = json.loads(text.item())
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        found = content.get("format") if isinstance(content, dict) else content
        raise ValueError(f"its format is {found!r:.40}; expected {_FORMAT}, that of this version")
    kind, arguments = content["class"], content["arguments"]
    if not isinstance(kind, str) or not isinstance(arguments, dict):
        raise ValueError("its class is no name, or its arguments are no names and values")
    if "image_shape" not in content:
        return Description(kind, arguments, None)
    shape, names = _image_shape(content["image_shape"]), _class_names(content["class_names"])
    return Description(
        kind, arguments, Inputs(shape, Normalization.from_arrays(normalization), names)
    )


def _image_shape(value: Any) -> tuple[int, ...]:
    """Return the shape of an image."""
    sides = value if isinstance(value, list) and len(value) == 3 else [0]
    if not all(type(side) is int and 0 < side <= _LONGEST_SIDE for side in sides):
        raise ValueError(f"image_shape is {value!r:.80}; expected [C, H, W]")
    return tuple(sides)


def _class_names(value: Any) -> tuple[str, ...]:
    """Return the names of the classes."""
    if not isinstance(value, list) or not all(
        isinstance(name, str) and len(name) <= _LONGEST_NAME for name in value
    ):
        raise ValueError(f"class_names are {value!r:.80}; expected a list of names")
    return tuple(value)
