"""The options of an earlier run, read back from the configuration in its folder."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["FREE", "Remember", "flag", "read_options"]

# What may be another value when a run goes on: nothing that its numbers depend on.
FREE = ("epochs", "print_every", "checkpoint_every", "data_dir")


class Remember(argparse.Action):
    """Stores the value of an option, and in `given` that there was one, if only the default."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        """Store the value."""
        setattr(namespace, self.dest, values)
        namespace.given = {*getattr(namespace, "given", ()), self.dest}


class _Parser(argparse.ArgumentParser):
    """A parser whose mistakes are errors like all others."""

    def error(self, message: str) -> NoReturn:
        """Raise a ValueError instead of ending the process."""
        raise ValueError(message)


def read_options(
    folder: Path,
    options: argparse.Namespace,
    add_options: Callable[[argparse.ArgumentParser], None],
) -> argparse.Namespace:
    """Return the options of the run in a folder, with those that are given now and may change.

    Parameters
    ----------
    folder : Path
        Run folder.
    options : argparse.Namespace
        Options of the command line.
    add_options : callable
        Declares the options for a parser, those with a value with the action `Remember`.

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


def flag(name: str) -> str:
    """Return how an option is written on the command line."""
    return f"--{name.replace('_', '-')}"


def _words(folder: Path) -> list[str]:
    """Return the command line of an earlier run."""
    path = folder / "config.json"
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))["options"].items()
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
