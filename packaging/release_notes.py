"""Print the notes of the release that is prepared, or say what does not agree about it.

    python packaging/release_notes.py [TAG]    # such as v1.0.0

The version stands in `cs231n/__init__.py`, with its date in `CITATION.cff`, and with both in
`CHANGELOG.md`, whose section is the notes.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]


def main(arguments: Sequence[str], top: Path = TOP) -> int:
    """Compare, and print."""
    version = only(top / "cs231n" / "__init__.py", r'^__version__ = "(.*)"$')
    for tag in arguments:
        if tag != f"v{version}":
            raise SystemExit(f"release_notes: the tag is {tag}; expected v{version}")
    cited = only(top / "CITATION.cff", r"^version: (.*)$")
    date = only(top / "CITATION.cff", r"^date-released: (.*)$")
    if cited != version:
        raise SystemExit(f"release_notes: CITATION.cff has {cited}; expected {version}")
    heading = re.escape(f"## [{version}] - {date}")
    print(only(top / "CHANGELOG.md", rf"(?s)^{heading}\n(.*?)(?=^## |\Z)").strip())
    return 0


def only(path: Path, pattern: str) -> str:
    """Return what a pattern finds once in a file."""
    found = re.findall(pattern, path.read_text(encoding="utf-8"), re.M)
    if len(found) != 1:
        raise SystemExit(f"release_notes: {path.name} has {len(found)} of {pattern}; expected one")
    return found[0]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
