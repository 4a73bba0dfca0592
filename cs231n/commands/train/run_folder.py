"""The folder of a run: made, locked, and its configuration written and read back."""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from cs231n.commands.train.options import FREE, add_options, flag
from cs231n.files import lock, storage
from cs231n.measuring.machine import describe

__all__ = ["locked", "new_folder", "read_options", "write_configuration", "write_json"]

_LOCK = "run.lock"


class _Parser(argparse.ArgumentParser):
    """A parser whose mistakes are errors like all others."""

    def error(self, message: str) -> NoReturn:
        """Raise a ValueError instead of ending the process."""
        raise ValueError(message)


def new_folder(options: argparse.Namespace) -> Path:
    """Return the folder of a new run, which must not hold anything yet."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    data = re.sub(r"[^\w.-]+", "-", Path(options.data).stem)  # it may be a path
    folder = options.output or Path("runs", f"{stamp}-{options.model}-{data}")
    _refuse_used(folder)
    return folder


@contextmanager
def locked(folder: Path, new: bool) -> Iterator[None]:
    """Make a run folder if it is not there, and hold its lock while the body runs.

    Parameters
    ----------
    folder : Path
        Run folder.
    new : bool
        Whether it must be empty.

    Raises
    ------
    FileExistsError
        If it is not.
    LockedError
        If another process holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with lock.hold(folder / _LOCK, f"the run folder {folder}"):
        if new:
            _refuse_used(folder)  # another run may have been faster
        yield


def _refuse_used(folder: Path) -> None:
    """Raise a FileExistsError for a folder that holds something, except for a lock."""
    if folder.exists() and any(path.name != _LOCK for path in folder.iterdir()):
        raise FileExistsError(
            f"{folder} is not empty; expected a new folder for --output,"
            f" or --resume {folder} to go on with the run in it"
        )


def write_configuration(folder: Path, options: argparse.Namespace) -> None:
    """Write the options, and what the run is made on."""
    chosen = {
        name: str(value) if isinstance(value, Path) else value
        for name, value in vars(options).items()
        if name not in ("resume", "given")
    }
    write_json(folder / "config.json", {"options": chosen, **describe()})


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
    FileNotFoundError
        If the folder has no configuration.
    ValueError
        If the configuration is damaged, or an option is given that cannot change.
    """
    parser = _Parser(add_help=False, allow_abbrev=False)
    add_options(parser)
    changes = dict(_given(options, vars(parser.parse_args([]))))
    fixed = [flag(name) for name in changes if name not in FREE]
    if fixed:
        raise ValueError(
            f"--resume takes the options from {folder}; found {', '.join(fixed)} too,"
            f" expected none but {', '.join(map(flag, FREE))}"
        )
    earlier = parser.parse_args(_words(folder), argparse.Namespace(command="train"))
    for name, value in {**changes, "resume": folder, "output": folder}.items():
        setattr(earlier, name, value)
    return earlier


def _given(options: argparse.Namespace, defaults: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the options that stood on the command line, but for --resume itself."""
    remembered = getattr(options, "given", ())
    for name, default in defaults.items():
        value = getattr(options, name)
        if name != "resume" and (name in remembered or value != default):
            yield name, value


def _words(folder: Path) -> list[str]:
    """Return the command line of an earlier run."""
    path = folder / "config.json"
    try:
        stored = json.loads(storage.read_text("train", path))["options"].items()
    except FileNotFoundError:
        raise FileNotFoundError(f"{folder} is no run folder: there is no {path}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error!r}); expected what train wrote") from error
    words: list[str] = []
    for name, value in stored:
        if name not in ("command", "resume", "output"):
            words += _words_of(flag(name), value)
    return words


def _words_of(flag: str, value: Any) -> list[str]:
    """Return the words of one option; those that are off or not given have none."""
    if value is None or value is False:
        return []
    if value is True:
        return [flag]
    if isinstance(value, list):
        return [flag, *map(str, value)]
    return [f"{flag}={value}"]


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a dict as readable JSON."""
    with storage.replacing(path) as file:
        file.write((json.dumps(content, indent=2) + "\n").encode())
