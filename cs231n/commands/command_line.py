"""Runs a command from the words of a command line; every way it may end has a status and a line."""

from __future__ import annotations

import argparse
import difflib
import importlib
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from cs231n import __version__
from cs231n.commands import COMMANDS
from cs231n.commands.surroundings import (
    call_off_broken_output,
    heeded_ctrl_c,
    prepared,
    tell,
)

__all__ = ["run"]

_FAILURES = (OSError, ValueError, ArithmeticError, MemoryError, ModuleNotFoundError)


class _Parser(argparse.ArgumentParser):
    """A parser that tells a mistake in a line, instead of after a page of all options."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and where help is, and exit with status 2."""
        self.exit(2, f"{self.prog}: {_hinted(message)}\nHelp: python -m {self.prog} --help\n")


def _hinted(message: str) -> str:
    """Return what argparse says, and which of the choices looks most like the word found."""
    found = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
    if found is None:
        return message
    choices = [choice.strip("'") for choice in found[2].split(", ")]  # some versions quote them
    near = difflib.get_close_matches(found[1], choices, n=1)
    return message + "".join(f"; did you mean {choice!r}?" for choice in near)


def run(words: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Parameters
    ----------
    words : sequence of str, optional
        Words of the command line; those that Python was started with by default.

    Returns
    -------
    status : int
        As `cs231n.__main__.main` lists them.
    """
    words = sys.argv[1:] if words is None else list(words)
    with prepared():
        try:
            return _flushed(words)
        except KeyboardInterrupt as stop:
            tell(f"cs231n: {str(stop) or 'interrupted'}")
            return getattr(stop, "status", 130)
        except BrokenPipeError:  # as after `| head`, where other programs end without a word
            return 141
        except OSError as error:
            tell(f"cs231n: standard output cannot be written ({error.strerror})")
            return 1
        finally:
            call_off_broken_output()


def _flushed(words: list[str]) -> int:
    """Run a command, and find out whether all that it printed has arrived."""
    try:
        return _run(words)
    finally:
        sys.stdout.flush()


def _run(words: list[str]) -> int:
    """Run a command and tell its mistakes, but for those of standard output."""
    if not words:
        _parsers({})[0].print_help()
        return 0
    try:
        with heeded_ctrl_c():
            modules = {name: _load(name) for name in COMMANDS if name in words}
    except (ImportError, ValueError, OSError) as error:
        tell(f"cs231n: {_missing(error) if isinstance(error, ModuleNotFoundError) else error}")
        return 2
    options = _parse(words, modules)
    try:
        return modules[options.command].run(options)
    except BrokenPipeError:
        raise
    except ModuleNotFoundError as error:  # what only the command itself imports
        tell(f"cs231n {options.command}: {_missing(error)}")
        return 2
    except _FAILURES as error:
        # A function's name stands before its mistakes, and may be the command's as well.
        mistake = str(error).removeprefix(f"{options.command}: ")
        tell(f"cs231n {options.command}: {mistake or type(error).__name__}")
        return 1


def _load(name: str) -> Any:
    """Import the module of a command."""
    return importlib.import_module(f"cs231n.commands.{name}")


def _missing(error: ModuleNotFoundError) -> str:
    """Return what this Python lacks, and which one has it or how to get it."""
    if not error.name or error.name.split(".")[0] == "cs231n":
        return str(error)
    top = Path(__file__).resolve().parents[2]
    lacks = f"{sys.executable or 'this Python'} lacks {error.name}"
    for python in (top / ".venv" / "bin" / "python", top / ".venv" / "Scripts" / "python.exe"):
        if python.exists():
            return f"{lacks}; use {python} instead, which `make setup` has made"
    if (top / "setup.py").is_file():
        return f"{lacks}; in {top} run `make setup` and use .venv/bin/python, or pip install ."
    return f"{lacks}; install it with: {sys.executable} -m pip install cs231n"


def _parsers(modules: dict[str, Any]) -> tuple[_Parser, dict[str, _Parser]]:
    """Return the parser of the line, and those of the commands, which modules give options."""
    parser = _Parser(
        prog="cs231n",
        description="Neural network layers to read, gradient-check and train.",
        epilog="The options of a command: python -m cs231n COMMAND --help",
    )
    parser.add_argument("--version", action="version", version=f"cs231n {__version__}")
    commands = parser.add_subparsers(
        title="commands", dest="command", required=True, metavar="COMMAND", parser_class=_Parser
    )
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
        if name in modules:
            modules[name].add_options(command)
    return parser, dict(commands.choices)


def _parse(words: list[str], modules: dict[str, Any]) -> argparse.Namespace:
    """Return the options, or exit with a word about the unknown ones."""
    parser, commands = _parsers(modules)
    options, unknown = parser.parse_known_args(words)
    if unknown:
        from cs231n.core import checks  # imports NumPy, as the command has by now

        flags = [f"--{name.replace('_', '-')}" for name in vars(options)]
        hints = checks.hints(_without_values(unknown), flags)
        commands[options.command].error(f"unrecognized arguments: {hints}")
    return options


def _without_values(unknown: list[str]) -> list[str]:
    """Return unknown words, but for those that follow an option and may be its value."""
    before = ["", *unknown]
    return [word for last, word in zip(before, unknown) if word.startswith("-") or last[:1] != "-"]
