"""The folder of a run: made, locked, and its configuration written and read back.

A folder may come from a stranger: `cs231n.files` writes through no link and reads regular files of
bounded size only, and no value of a configuration is used before it was seen to be one that the
command line takes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cs231n.commands.train.options import (
    FREE,
    OF_NETWORK,
    OF_OTHER_RUN,
    actions,
    drop_unsuited,
    flag,
    stored_value,
)
from cs231n.files import lock, storage
from cs231n.files.regular import explained
from cs231n.measuring.machine import describe

__all__ = [
    "CHECKPOINT",
    "CONFIGURATION",
    "claimed",
    "place_for_results",
    "read_configuration",
    "read_machine",
    "read_options",
    "words",
    "write_configuration",
    "write_json",
]

CHECKPOINT = "checkpoint.npz"
CONFIGURATION = "config.json"
_LOCK = "run.lock"
_MOST_MACHINE = 500  # characters of a line about the machine
_NOT_STORED = ("command", "resume", "output", "given", "of_recipe", "mpi")


@contextmanager
def claimed(options: argparse.Namespace) -> Iterator[tuple[Path, lock.Lock]]:
    """Make the folder of a new run, or take that of an earlier one, for the body alone.

    Parameters
    ----------
    options : argparse.Namespace
        `resume` names the folder of an earlier run, `output` one for a new run; by default a new
        one in ``runs`` is named by the time.

    Yields
    ------
    folder : Path
    held : Lock
        Its `still_ours` tells whether the folder is still the one that was locked.

    Raises
    ------
    FileExistsError, NotADirectoryError
        If the folder of a new run holds something, or is a file.
    LockedError
        If another process is at it.
    OSError
        If the folder cannot be made or written.

    Notes
    -----
    Folders that were made here and are empty at the end, for an error came first, are removed: one
    would be in the next run's way, and those above it tell of a run that there was not.
    """
    folder, made_here = _folder(options)
    try:
        with lock.hold(folder / _LOCK, f"the run folder {folder}") as held:
            if options.resume is None:
                _refuse_used(folder)  # another run may have been faster
            yield folder, held
    finally:
        with suppress(OSError):  # one holds a run
            for made in made_here:
                made.rmdir()


def _folder(options: argparse.Namespace) -> tuple[Path, list[Path]]:
    """Return the folder of the run, and the folders that are made for it, itself first."""
    if options.resume is not None:
        return options.resume, []
    if options.output is None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        data = re.sub(r"[^\w.-]+", "-", Path(options.data).stem)  # it may be a path
        above = _absent(Path("runs"))
        folder = _made_anew(Path("runs", f"{stamp}-{options.model}-{data}"))
        return folder, [folder, *above]
    folder = options.output
    if os.path.isdir(folder):  # False also for a name that is too long
        _refuse_used(folder)
        return folder, []
    if os.path.lexists(folder):
        raise NotADirectoryError(f"--output {folder} is a file; expected a folder, or a new name")
    made = _absent(folder)
    _make(folder, exist_ok=True)
    return folder, made


def _absent(folder: Path) -> list[Path]:
    """Return what is missing of a folder and of those above it, the innermost first."""
    return [place for place in (folder, *folder.parents) if not os.path.lexists(place)]


def _made_anew(folder: Path) -> Path:
    """Make a folder that nobody else has, with a number behind its name if that is taken.

    Making a folder either succeeds or finds it there, also for processes that start at once.
    """
    made, number = folder, 1
    while True:
        try:
            _make(made, exist_ok=False)
            return made
        except FileExistsError:
            number += 1
            made = folder.with_name(f"{folder.name}-{number}")


def _make(folder: Path, exist_ok: bool) -> None:
    """Make a folder and those above it, or say why it cannot be made."""
    try:
        try:
            folder.mkdir(parents=True, exist_ok=exist_ok)
        except FileNotFoundError:  # another run has just removed an empty one above it
            folder.mkdir(parents=True, exist_ok=exist_ok)
    except FileExistsError:
        raise
    except OSError as error:
        raise explained(error, f"the run folder {folder} cannot be made") from error


def _refuse_used(folder: Path) -> None:
    """Raise a FileExistsError for a folder that holds something, except for a lock."""
    if any(path.name != _LOCK for path in folder.iterdir()):
        raise FileExistsError(
            f"{folder} is not empty; expected a new folder for --output,"
            f" or --resume {folder} to go on with the run in it"
        )


def place_for_results(folder: Path, held: lock.Lock) -> Path:
    """Return the run folder or, where it was taken away meanwhile, a new one beside it.

    Parameters
    ----------
    folder : Path
        Run folder.
    held : Lock
        Its lock.

    Returns
    -------
    place : Path
        A folder that no other run writes to.
    """
    return folder if held.still_ours() else _made_anew(folder)


def write_configuration(folder: Path, options: argparse.Namespace) -> None:
    """Write the options, and what the run is made on."""
    chosen = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in vars(options).items()
        if name not in _NOT_STORED
    }
    write_json(folder / CONFIGURATION, {"options": chosen, **describe()})


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a dict as readable JSON."""
    storage.write_text(path, json.dumps(content, indent=2) + "\n")


def read_options(folder: Path, options: argparse.Namespace) -> argparse.Namespace:
    """Return the options of the run in a folder, with those that are given now and may change.

    Parameters
    ----------
    folder : Path
        Run folder.
    options : argparse.Namespace
        Options of the command line.

    Returns
    -------
    options : argparse.Namespace

    Raises
    ------
    OSError
        If the folder has no configuration, or it cannot be read.
    ValueError
        If the configuration is damaged, or an option is given that cannot change.
    """
    changes = dict(_given(options))
    fixed = [flag(name) for name in changes if name not in FREE]
    if fixed:
        raise ValueError(
            f"--resume takes the options from {folder}; found {', '.join(fixed)} too,"
            f" expected none but {', '.join(map(flag, FREE))}"
        )
    earlier = read_configuration(folder)
    for name, value in {**changes, "resume": folder, "output": folder}.items():
        setattr(earlier, name, value)
    return earlier


def _given(options: argparse.Namespace) -> Iterator[tuple[str, Any]]:
    """Yield the options that stood on the command line, but for --resume itself."""
    remembered = getattr(options, "given", ())
    for name, action in actions().items():
        value = getattr(options, name)
        if name != "resume" and (name in remembered or value != action.default):
            yield name, value


def read_configuration(folder: Path) -> argparse.Namespace:
    """Return the options of the run in a folder, each one that the command line takes.

    Parameters
    ----------
    folder : Path
        Run folder.

    Returns
    -------
    options : argparse.Namespace
        What the configuration does not name has its default, and so has what would do nothing,
        which an older version took.

    Raises
    ------
    OSError
        If the folder has no configuration, or it cannot be read.
    ValueError
        If the configuration is damaged, or has a value that no option takes.
    """
    known, stored = actions(), _stored(folder)
    found = argparse.Namespace(**{name: action.default for name, action in known.items()})
    for name in stored.keys() - set(_NOT_STORED):
        if name not in known:
            raise ValueError(f"{folder / CONFIGURATION}: there is no option {name[:80]!r}")
        where = f"{folder / CONFIGURATION}: {name}"
        setattr(found, name, stored_value(where, known[name], stored[name]))
    drop_unsuited(found, stored)
    _take_as_before(found)
    return found


def _take_as_before(options: argparse.Namespace) -> None:
    """Take what older versions took: no architecture for the usual one, the last of two groups."""
    options.architecture = options.architecture or None
    if options.groups:
        options.groups = [*{word.partition(":")[0]: word for word in options.groups}.values()]


def words(options: argparse.Namespace) -> Iterator[str]:
    """Yield the words of a command line that give these options, but for places of runs.

    A recipe is not named, for its options are among these; it would also bring back those that
    were taken out by giving them their defaults.  Those that --from would bring otherwise are.
    """
    starts = options.start is not None
    for name, action in actions().items():
        value = getattr(options, name, action.default)
        if name in {*_NOT_STORED, "recipe"} or value is None or (starts and name in OF_NETWORK):
            continue
        if value == action.default and not (starts and name in OF_OTHER_RUN):
            continue
        if action.nargs == "+":
            yield flag(name)
            yield from map(str, value)
        elif action.nargs == 0:
            yield flag(name) if value else f"--no-{flag(name)[2:]}"
        elif str(value).startswith("-"):  # which else would be another option
            yield f"{flag(name)}={value}"
        else:
            yield from (flag(name), str(value))


def read_machine(folder: Path) -> dict[str, str]:
    """Return what a run was made on: machine, system, versions."""
    content = _content(folder)
    return {
        name: value
        for name, value in content.items()
        if name != "options" and isinstance(value, str) and len(value) <= _MOST_MACHINE
    }


def _stored(folder: Path) -> dict[str, Any]:
    """Return the options in the configuration of an earlier run, as they stand there."""
    content = _content(folder)
    try:
        return dict(content["options"].items())
    except (KeyError, AttributeError) as error:
        raise _damaged_error(folder / CONFIGURATION, error) from error


def _content(folder: Path) -> dict[str, Any]:
    """Return the configuration of an earlier run."""
    path = folder / CONFIGURATION
    if os.path.lexists(folder) and not os.path.isdir(folder):
        beside = (folder.parent / CONFIGURATION).is_file()
        hint = f", perhaps {folder.parent}" if beside else ""
        raise NotADirectoryError(f"{folder} is a file; expected the folder of a run{hint}")
    try:
        text = storage.read_text("train", path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{folder} is no run folder: there is no {path}") from None
    try:
        return dict(json.loads(text).items())
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged_error(path, error) from error


def _damaged_error(path: Path, error: Exception) -> ValueError:
    """Return the error for a configuration that is none."""
    return ValueError(f"{path} is damaged ({error!r}); expected what train wrote")
