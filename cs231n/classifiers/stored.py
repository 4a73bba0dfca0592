"""Networks out of files that describe them.  A description is data, and never code.

It names a class of this package and plain values for its arguments; nothing is imported, called or
allocated because a file says so, before it is seen to agree with the parameters that are there.
"""

from __future__ import annotations

import inspect
import math
import os
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from cs231n.classifiers import blank, description
from cs231n.classifiers.cnn import ConvNet, ThreeLayerConvNet
from cs231n.classifiers.fc_net import FullyConnectedNet, TwoLayerNet
from cs231n.classifiers.network import Network
from cs231n.core import checks
from cs231n.files import storage

__all__ = ["BEST", "load_model"]

BEST, CHECKPOINT = "best_model.npz", "checkpoint.npz"  # in the folder of a run
WHERE = "load_model"
_CLASSES: dict[str, type[Network]] = {
    known.__name__: known for known in (ConvNet, FullyConnectedNet, ThreeLayerConvNet, TwoLayerNet)
}
# Arguments of other kinds than plain data, of initial weights, and old spellings.
_NEVER = ("self", "rng", "weight_scale", "dropout", "use_batchnorm")
_MOST_WORDS, _MOST_CHARACTERS = 1000, 4096  # of an argument
_LONGEST_SIDE, _MOST_PIXELS = 2**14, 25_000_000  # of an image, as for pictures


def load_model(path: str | os.PathLike[str], statistics: str = "file") -> Network:
    """Return the network that a file or a run folder holds, ready to predict.

    Parameters
    ----------
    path : str or path
        Folder of a run of ``python -m cs231n train``, or a file that `Network.save` wrote.
    statistics : {'file', 'reset'}
        As for `Network.load`.

    Returns
    -------
    model : Network
        With `inputs` as in training, so that ``model.predict(images)`` takes pictures as they are.

    Raises
    ------
    FileNotFoundError
        If there is no such file, or no parameters in the folder.
    ValueError
        If the file is damaged, is a checkpoint, does not describe its network, describes one that
        its parameters do not fit, or lacks the running statistics of batch normalisation.

    Notes
    -----
    NumPy's global generator is left alone.

    Examples
    --------
    >>> model = cs231n.load_model("runs/pets")  # doctest: +SKIP
    >>> model.inputs.name(model.predict(pictures)[0])  # doctest: +SKIP
    'cat'
    """
    file = _file(checks.path(WHERE, "path", path))
    arrays = storage.read_npz(file)
    if {"digest", "state"} <= set(arrays):
        raise ValueError(
            f"{WHERE}: {file} is a checkpoint of training, which Solver.resume reads; expected"
            f" {BEST}, or a file that Network.save wrote"
        )
    found = description.split_off(f"{WHERE}: {file}", arrays)
    if found is None:
        raise ValueError(
            f"{WHERE}: {file} does not say what network it holds (an older version wrote it, or it"
            f" is a network of one's own); expected one that does, or build the network and call"
            f" its load(path)"
        )
    model = _built(f"{WHERE}: {file}", found, arrays)
    model.take(WHERE, file, arrays, statistics)
    if found.inputs is not None:
        model.inputs = found.inputs.checked(
            f"{WHERE}: {file}", model.input_shape, model.num_classes
        )
    return model


def _file(path: Path) -> Path:
    """Return the file that is meant by a path, which may be a run folder's."""
    if path.is_dir():
        file = path / BEST
        if not os.path.lexists(file):
            expected = "the folder of a run that was trained"
            if os.path.lexists(path / CHECKPOINT):
                expected += f": python -m cs231n train --resume {shlex.quote(str(path))} ends this"
            raise FileNotFoundError(f"{WHERE}: {path} has no {BEST}; expected {expected}")
        return file
    file = storage.npz_path(path, WHERE)
    if not os.path.lexists(file):
        raise FileNotFoundError(
            f"{WHERE}: there is no {path}; expected the folder of a run, or a file that"
            f" Network.save wrote"
        )
    return file


def _built(where: str, found: description.Description, arrays: dict[str, np.ndarray]) -> Network:
    """Return the network of a description, its parameters as they stand in the file."""
    known = _CLASSES.get(found.kind)
    if known is None:
        raise ValueError(
            f"{where} holds a network of class {found.kind[:80]!r}; expected one of"
            f" {', '.join(_CLASSES)}"
        )
    size = sum(array.size for array in arrays.values())
    arguments = _checked(where, known, found.arguments, size)
    try:
        with blank.given(arrays):
            return known(**arguments)
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        raise ValueError(f"{where} describes a network that it does not hold ({error})") from error


def _checked(where: str, known: type[Network], found: Any, size: int) -> dict[str, Any]:
    """Return the arguments for a class, none of them beyond what `size` numbers can belong to."""
    names = [name for name in inspect.signature(known).parameters if name not in _NEVER]
    unknown = [name for name in found if name not in names]
    if unknown:
        raise ValueError(
            f"{where}: {known.__name__} is described with {checks.hints(unknown, names)};"
            f" expected {', '.join(names)}"
        )
    for name, value in found.items():
        if not _is_plain(name, value, size):
            raise ValueError(f"{where}: {name} is {value!r:.80}, which its parameters do not fit")
    return dict(found)


def _is_plain(name: str, value: Any, size: int) -> bool:
    """Tell whether an argument is one that can be tried."""
    if name == "input_dim" and isinstance(value, list):
        return _is_image_shape(value, size)
    if name == "dtype":
        return value in ("float32", "float64")
    if name == "learn_scale":
        return isinstance(value, bool)
    if name == "seed":
        return value is None or (type(value) is int and 0 <= value < 2**32)
    if isinstance(value, list):
        return len(value) <= _MOST_WORDS and all(_is_number(item, size) for item in value)
    if isinstance(value, str):
        numbers = [int(text) for text in re.findall("[0-9]{1,18}", value)]
        return len(value) <= _MOST_CHARACTERS and all(number <= size for number in numbers)
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or _is_number(value, size)


def _is_image_shape(value: list[Any], size: int) -> bool:
    """Tell whether this is the shape of an image that a predicted picture may be brought to."""
    if len(value) != 3 or not all(_is_number(side, _LONGEST_SIDE) for side in value):
        return False
    return value[0] <= size and value[1] * value[2] <= _MOST_PIXELS


def _is_number(value: Any, most: int) -> bool:
    """Tell whether this is a whole number of things that are there."""
    return type(value) is int and 0 < value <= most
