"""Checkpoint files: nested state in one `.npz`, which is whole or not there.

The state is a tree of dicts, lists and tuples whose leaves are numbers, texts, None or arrays.  In
the file the arrays are members of their own, named by their place in the tree
(``params/W1``), and the rest is JSON text: no pickle, nothing that could run.  A SHA-256 digest of
all contents tells a whole file from a damaged one.

A checkpoint is written beside its target, flushed to the disk, read back and compared.  Only then
it gets the target's name, and what had that name becomes ``<name>.previous.npz``, if it is whole:
at any moment at least one whole checkpoint is on the disk.

Checkpoints bear the identity of their run.  What another run has left under the same name is never
overwritten and never the answer: it is kept aside under a name with the date of its last change.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cs231n import __version__
from cs231n.files import lock, storage
from cs231n.files.npz import KINDS
from cs231n.training.state import identity

__all__ = ["FORMAT", "alone", "exists", "load", "save", "take_over", "tidy"]

FORMAT = 1  # of the files; another number is another layout

_OLDER = ("previous", "part")  # looked for where the last one is missing or damaged
_COUNT = range(2, 10_000)
_CHUNK = 1 << 20  # bytes read back at once
# Members that no array of the state may be; the first is an argument of np.savez.
_RESERVED = ("file", "format", "version", "state", "digest")


def save(path: str | os.PathLike[str], state: Mapping[str, Any]) -> Path:
    """Write a checkpoint; the one before is kept beside it.

    Parameters
    ----------
    path : str or path
        Target; `.npz` is added where it is missing.
    state : mapping of str to anything
        Dicts with text keys, lists and tuples of numbers, texts, None and arrays of numbers or
        text, nested at will.

    Returns
    -------
    path : Path
        The file written.

    Raises
    ------
    TypeError
        If the state holds anything else; says where.
    OSError
        If the file cannot be written or does not read back as it was written; the last good
        checkpoint is then still there.
    """
    target = storage.npz_path(path, "checkpoint.save")
    content = _content(state)
    part = _beside(target, "part")
    _refuse_folders(target)
    with storage.explaining(target):
        _replace(target, part, content, identity(state))
    storage.sync_folder(target.parent)
    return target


def _replace(target: Path, part: Path, content: memoryview, run: str) -> None:
    """Write a part, and give it the target's name once it is whole on the disk."""
    try:
        _write(part, content)
        _compare(part, content)
        _make_way(target, run)
        os.replace(part, target)
    except BaseException:
        # Not in a finally: what a kill leaves behind `load` still finds, whole or not.
        _remove(part)
        raise


def _refuse_folders(target: Path) -> None:
    """Raise an IsADirectoryError for a folder that has the name of one of the files."""
    for path in (target, _beside(target, "previous"), _beside(target, "part")):
        if path.is_dir() and not path.is_symlink():
            raise IsADirectoryError(f"{path} is a folder; expected a file or none")


def _make_way(target: Path, run: str) -> None:
    """Let the checkpoint that is there become the previous one, if it is whole and of this run.

    A damaged one is left to be replaced: the good one before it stays.
    """
    found = _run_in(target)
    if found == run:
        os.replace(target, _beside(target, "previous"))
    elif found is not None:
        _keep_aside([path for path in _files(target) if _run_in(path) not in (None, run)], target)


def take_over(path: str | os.PathLike[str], run: str) -> None:
    """Keep aside what other runs have left under a name, before a run begins to write there.

    Parameters
    ----------
    path : str or path
        File; `.npz` is added where it is missing.
    run : str
        Identity of the run that begins, or goes on.

    Raises
    ------
    OSError
        If a file cannot be moved, or a folder has its name.

    Notes
    -----
    A small file, ``<name>.owner.npz``, says whose the name is until all others have been moved: if
    this is killed halfway, `load` does not take what is left of them for the run that begins.
    """
    target = storage.npz_path(path, "checkpoint.take_over")
    _refuse_folders(target)
    found = {path: _run_in(path) for path in _files(target) if os.path.lexists(path)}
    # Where nothing is of this run, what cannot be read is not of this run either.
    others = [path for path, owner in found.items() if owner not in (None, run)]
    if run not in found.values():
        others = list(found)
    owner = _beside(target, "owner")
    if others:
        _write(owner, _content({"run": run}))
        storage.sync_folder(target.parent)
        _keep_aside(others, target)
    if others or os.path.lexists(owner):
        owner.unlink()
        storage.sync_folder(target.parent)


def _files(target: Path) -> list[Path]:
    """Return the paths that checkpoints of one name may have, the one before last."""
    return [_beside(target, "part"), _beside(target, "previous"), target]


def _run_in(path: Path) -> str | None:
    """Return the identity of the run in a file, or None where it is missing or not whole."""
    state = _read_if_whole(path)
    return None if state is None else identity(state)


def _keep_aside(paths: list[Path], target: Path) -> None:
    """Give files of another run a name with the date at which the last of them was written."""
    last = max(path.lstat().st_mtime for path in paths)
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(last))
    names = (f"{target.stem}.{stamp}{suffix}.npz" for suffix in ("", *map("-{}".format, _COUNT)))
    new = next(path for path in map(target.with_name, names) if not any(_there(path)))
    for path in paths:
        os.replace(path, new.with_name(new.stem + path.name.removeprefix(target.stem)))
    print(
        f"{target}: another run has left checkpoints under this name, which are kept as {new}",
        file=sys.stderr,
    )


def _there(target: Path) -> Iterator[bool]:
    """Tell of each path that checkpoints of one name may have whether something is there."""
    return (os.path.lexists(path) for path in _files(target))


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint or, where that is damaged or missing, the one before.

    Parameters
    ----------
    path : str or path
        File; `.npz` is added where it is missing.

    Returns
    -------
    state : dict
        As given to `save`.

    Raises
    ------
    OSError
        If there is no such checkpoint, or the disk does not give it, and none before it.
    ValueError
        If there is no whole one, or it has another format.
    """
    target = storage.npz_path(path, "checkpoint.load")
    owner = _run_in(_beside(target, "owner"))
    try:
        return _of_run(owner, target, _read(target))
    except (OSError, ValueError) as error:
        found = {path: _read_if_whole(path) for path in (_beside(target, w) for w in _OLDER)}
        whole = {path: state for path, state in found.items() if state is not None}
        for path, state in whole.items():
            if owner in (None, identity(state)):
                print(f"{error}; going on from {path}", file=sys.stderr)
                return state
        raise


def _of_run(owner: str | None, path: Path, state: dict[str, Any]) -> dict[str, Any]:
    """Return a state, unless the name belongs to another run by now, which has none yet."""
    if owner in (None, identity(state)):
        return state
    raise FileNotFoundError(
        f"checkpoint.load: {path} is that of an older run, which a newer one was about to keep"
        f" aside when it was stopped; the newer one has no checkpoint yet. To go on with the older"
        f" one, remove {_beside(path, 'owner')}"
    )


@contextmanager
def alone(path: str | os.PathLike[str]) -> Iterator[lock.Lock | None]:
    """Let no other process write a checkpoint while the body runs.

    Parameters
    ----------
    path : str or path
        File; `.npz` is added where it is missing, and so is its folder.

    Yields
    ------
    held : Lock or None
        Its `require` tells, before each write, whether the place is still the same; None where no
        lock can be made, and then no checkpoint can be written either: `save` will tell.

    Raises
    ------
    LockedError
        If another process is at it already.
    """
    target = storage.npz_path(path, "checkpoint.alone")
    with ExitStack() as stack:
        held = None
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            name = target.with_suffix(".lock")
            held = stack.enter_context(lock.hold(name, f"the checkpoint {target}"))
        except lock.LockedError:
            raise
        except OSError:
            held = None
        yield held


def exists(path: str | os.PathLike[str]) -> bool:
    """Tell whether there is a checkpoint, or the one before.

    Parameters
    ----------
    path : str or path
        File; `.npz` is added where it is missing.

    Returns
    -------
    exists : bool
    """
    target = storage.npz_path(path, "checkpoint.exists")
    owner = _run_in(_beside(target, "owner"))
    if owner is not None:
        return any(_run_in(path) == owner for path in _files(target))
    return target.exists() or _beside(target, "previous").exists()


def tidy(path: str | os.PathLike[str]) -> int:
    """Remove the checkpoint before the last one, once a run is at its end and the last is whole.

    Parameters
    ----------
    path : str or path
        File; `.npz` is added where it is missing.

    Returns
    -------
    size : int
        Bytes of the checkpoint that is left, 0 if there is none.

    Notes
    -----
    What is not of the run in the last checkpoint stays, and so does everything where that is
    damaged.
    """
    target = storage.npz_path(path, "checkpoint.tidy")
    run = _run_in(target)
    if run is None:
        return 0
    for older in (_beside(target, word) for word in _OLDER):
        if _run_in(older) == run:
            _remove(older)
    return target.stat().st_size


def _beside(target: Path, word: str) -> Path:
    """Return the path of another file of a checkpoint, such as 'run.previous.npz'."""
    return target.with_name(f"{target.stem}.{word}.npz")


def _content(state: Mapping[str, Any]) -> memoryview:
    """Return the bytes of the `.npz` file that holds a state."""
    members: dict[str, Any] = {}
    text = json.dumps(_flatten(state, "", members))
    members.update(format=np.array(FORMAT), version=np.array(__version__), state=np.array(text))
    members["digest"] = np.array(_digest(members))
    file = io.BytesIO()
    np.savez(file, **members)
    return file.getbuffer()


def _write(path: Path, content: memoryview) -> None:
    """Write bytes to a file, and the file to the disk."""
    path.unlink(missing_ok=True)  # what a kill has left, or a link, which must not be followed
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):  # read back from the disk, not from memory
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _compare(path: Path, content: memoryview) -> None:
    """Raise an OSError unless a file holds these bytes."""
    with path.open("rb") as file:
        for start in range(0, len(content), _CHUNK):
            piece = content[start : start + _CHUNK]
            if file.read(len(piece)) != piece:
                raise OSError(f"{path} does not read back as it was written")
        if file.read(1):
            raise OSError(f"{path} is longer than what was written")


def _remove(part: Path) -> None:
    """Remove what an error left of a file, unless that is an error too."""
    try:
        part.unlink()
    except OSError:
        return  # the disk has gone, or nothing was written: the first error is the one to report


def _read(path: Path) -> dict[str, Any]:
    """Return the state in a file that is whole and of this format."""
    members = storage.read_npz(path)
    try:
        return _interpret(members)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"checkpoint.load: {path}: {error}") from error


def _interpret(members: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the state in the members of a file, once format and digest are right."""
    lacking = sorted({"format", "state", "digest"} - members.keys())
    if lacking:
        raise ValueError(f"no checkpoint of training, for it lacks {', '.join(lacking)}")
    found = members["format"].tolist()
    if found != FORMAT:
        raise ValueError(
            f"its format is {found!r}, that of version {members.get('version')};"
            f" expected format {FORMAT}"
        )
    digest = members.pop("digest").tolist()
    if digest != _digest(members):
        raise ValueError("damaged: its contents do not have the digest written with them")
    state = _restore(json.loads(members["state"].tolist()), members)
    if not isinstance(state, dict):
        raise ValueError(f"its state is a {type(state).__name__}; expected a dict")
    return state


def _read_if_whole(path: Path) -> dict[str, Any] | None:
    """Return the state in a file, or None where it is missing or not whole."""
    try:
        return _read(path)
    except (OSError, ValueError):
        return None


def _digest(members: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of names, dtypes, shapes and contents, in the order of the names."""
    total = hashlib.sha256()
    for name, array in sorted(members.items()):
        total.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def _flatten(value: Any, name: str, members: dict[str, Any]) -> Any:
    """Return a tree as JSON can hold it, and put its arrays into members by their place."""
    if isinstance(value, (np.ndarray, np.generic)):
        if value.dtype.kind not in KINDS:
            raise TypeError(
                f"checkpoint.save: {name} is an array of {value.dtype}; expected numbers or text"
            )
        if name in members or name in _RESERVED:
            raise TypeError(f"checkpoint.save: the name {name} is taken; expected another one")
        members[name] = np.asarray(value)
        return {"$array" if isinstance(value, np.ndarray) else "$scalar": name}
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Mapping) and all(_is_key(key) for key in value):
        return {key: _flatten(item, _join(name, key), members) for key, item in value.items()}
    if type(value) in (list, tuple):
        items = [_flatten(item, _join(name, i), members) for i, item in enumerate(value)]
        return items if type(value) is list else {"$tuple": items}
    raise TypeError(
        f"checkpoint.save: {name} is a {type(value).__name__}; expected a number, text, None, an"
        f" array, or a list, a tuple or a dict with text keys of these"
    )


def _is_key(key: Any) -> bool:
    """Tell whether this can be the key of a dict in a checkpoint."""
    return type(key) is str and key not in _MARKS


def _join(name: str, key: str | int) -> str:
    """Return the name of a place in the tree."""
    return f"{name}/{key}" if name else str(key)


def _restore(value: Any, members: Mapping[str, np.ndarray]) -> Any:
    """Return the tree that `_flatten` took apart."""
    if isinstance(value, list):
        return [_restore(item, members) for item in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((key, item),) = value.items()
        if key in _MARKS:
            return _MARKS[key](item, members)
    return {key: _restore(item, members) for key, item in value.items()}


_MARKS: dict[str, Callable[[Any, Mapping[str, np.ndarray]], Any]] = {
    "$array": lambda name, members: members[name],
    "$scalar": lambda name, members: members[name][()],
    "$tuple": lambda items, members: tuple(_restore(items, members)),
}
