"""The command line: ``python -m cs231n`` lists the commands."""

import sys

TYPE_CHECKING = False  # to Python; see the package's own lines
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: "Sequence[str] | None" = None) -> int:
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

        return command_line.run(arguments)
    # Before or after what the command line itself looks after.  Where a class is being made, Python
    # before 3.12 puts a RuntimeError in front.
    except (KeyboardInterrupt, RuntimeError) as error:
        if not any(isinstance(one, KeyboardInterrupt) for one in (error, error.__cause__)):
            raise
        print("cs231n: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
