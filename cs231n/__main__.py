"""The command line: ``python -m cs231n`` lists the commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Words of the command line; those that Python was started with by default.

    Returns
    -------
    status : int
        0 if all went well, 1 if the command failed, 2 for a wrong command line or environment, 130
        after Ctrl-C, 143 after SIGTERM, 141 if nobody reads the output any more.
    """
    # Imported only here, where Ctrl-C and mistakes in the environment have an answer already.
    try:
        from cs231n.commands import command_line
    except KeyboardInterrupt:
        print("cs231n: interrupted", file=sys.stderr)
        return 130
    return command_line.run(arguments)


if __name__ == "__main__":
    sys.exit(main())
