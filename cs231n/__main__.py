"""The command line: ``python -m cs231n train | check | bench | download``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from cs231n import __version__
from cs231n.commands import bench, check, download, train
from cs231n.core import checks

__all__ = ["main"]

_COMMANDS = {"train": train, "check": check, "bench": bench, "download": download}


class _Parser(argparse.ArgumentParser):
    """A parser that tells a mistake in a line, instead of after a page of all options."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and where help is, and exit with status 2."""
        self.exit(2, f"{self.prog}: {message}\nHelp: python -m {self.prog} --help\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Words of the command line; those that Python was started with by default.

    Returns
    -------
    status : int
        0 if all went well, 1 if the command failed, 2 for a wrong command line, 130 after Ctrl-C.
    """
    parser = _Parser(
        prog="cs231n",
        description="Neural network layers to read, gradient-check and train.",
        epilog="The options of a command: python -m cs231n COMMAND --help",
    )
    parser.add_argument("--version", action="version", version=f"cs231n {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in _COMMANDS.items():
        text = (module.__doc__ or "").splitlines()[0]
        command = commands.add_parser(name, help=text, description=text)
        module.add_options(command)
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        flags = [f"--{name.replace('_', '-')}" for name in vars(options)]
        hints = checks.hints(unknown, flags)
        commands.choices[options.command].error(f"unrecognized arguments: {hints}")
    try:
        return _COMMANDS[options.command].run(options)
    except KeyboardInterrupt:
        print("cs231n: interrupted", file=sys.stderr)
        return 130
    except (OSError, ValueError, ArithmeticError, MemoryError) as error:
        print(f"cs231n {options.command}: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
