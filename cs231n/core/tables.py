"""Tables for notebooks: HTML in which every text is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["html_table"]


def html_table(headings: Sequence[str], rows: Iterable[Sequence[str]], note: str = "") -> str:
    """Return a table; its first column is set to the left, the others to the right."""
    lines = [_row("th", headings), *(_row("td", row) for row in rows)]
    return f"<table>{''.join(lines)}</table>" + (f"<p>{escape(note)}</p>" if note else "")


def _row(tag: str, cells: Sequence[str]) -> str:
    """Return a row of cells."""
    sides = ("left", *("right",) * (len(cells) - 1))
    inside = "".join(
        f'<{tag} style="text-align:{side}">{escape(cell)}</{tag}>'
        for side, cell in zip(sides, cells)
    )
    return f"<tr>{inside}</tr>"
