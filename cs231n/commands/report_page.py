"""A page of HTML that needs nothing but itself: no network, no script, no other file.

Whatever stands in it came from a file, and a file may come from a stranger: every text is escaped,
and the page forbids the browser to load or run anything.
"""

from __future__ import annotations

import base64
import html
import io
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from cs231n.commands.surroundings import printable

__all__ = ["code", "escaped", "figure", "number_table", "page", "png", "section", "tiles"]

_LONGEST = 120  # characters of a text that is no code
_STYLE = """
:root { color-scheme: light dark; --text: #1c1d21; --soft: #5b5f69; --paper: #fff; --card: #f5f6f8;
  --line: #d9dce2; --bar: #3b76c4 }
@media (prefers-color-scheme: dark) { :root { --text: #e8e9ec; --soft: #a5a9b3; --paper: #16181c;
  --card: #20232a; --line: #3a3f49; --bar: #6ea3ea } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 4rem; background: var(--paper);
  color: var(--text); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; padding-top: .75rem;
  border-top: 1px solid var(--line) }
p { margin: .5rem 0 }
.soft, figcaption, th { color: var(--soft) }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .75rem;
  margin: 1.25rem 0 }
dl div { background: var(--card); border-radius: .5rem; padding: .6rem .8rem }
dt { color: var(--soft); font-size: .85rem }
dd { margin: 0; font-size: 1.3rem; font-variant-numeric: tabular-nums }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .75rem .25rem 0; text-align: left; font-weight: normal;
  border-bottom: 1px solid var(--line); min-width: 4rem }
td.number, th.number { text-align: right }
meter { width: 8rem; height: .8rem; accent-color: var(--bar) }
img { max-width: 100%; height: auto; border-radius: .4rem; background: #fff }
figure { margin: 0 }
.chart { overflow-x: auto }
.chart img { min-width: min(34rem, 100%); max-width: none; width: 100% }
@media (max-width: 40rem) { .chart img { width: 34rem } }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(7.5rem, 1fr)); gap: 1rem }
.tiles img { width: 7.5rem; height: 7.5rem; object-fit: contain; image-rendering: pixelated;
  background: var(--card) }
.tiles figcaption { font-size: .85rem; line-height: 1.3 }
pre { background: var(--card); border-radius: .5rem; padding: .8rem 1rem; overflow-x: auto;
  white-space: pre; overflow-wrap: normal; font-size: .85rem }
pre.command { white-space: pre-wrap; overflow-wrap: anywhere }
"""
_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
"""


def escaped(text: Any) -> str:
    """Return a text from outside as HTML shows it, cut where it is very long."""
    shown = printable(str(text))
    return html.escape(shown if len(shown) <= _LONGEST else f"{shown[: _LONGEST - 1]}…")


def page(title: str, parts: Iterable[str]) -> str:
    """Return a whole page.

    Parameters
    ----------
    title : str
        Plain text.
    parts : iterable of str
        HTML.

    Returns
    -------
    page : str
    """
    head = _HEAD.format(title=escaped(title), style=_STYLE)
    return f"{head}<main>\n{''.join(parts)}</main>\n</body>\n</html>\n"


def section(title: str, *parts: str) -> str:
    """Return HTML under a heading, or nothing where there is none."""
    inner = "".join(parts)
    return f"<section>\n<h2>{escaped(title)}</h2>\n{inner}</section>\n" if inner else ""


def code(text: str, kind: str = "") -> str:
    """Return lines of plain text in fixed width; of kind 'command' they are broken anywhere."""
    lines = "\n".join(printable(line) for line in text.splitlines())
    return f'<pre class="{kind}" tabindex="0">{html.escape(lines)}</pre>\n'


def png(pixels: np.ndarray) -> str:
    """Return the address of an image (C, H, W) of bytes, which holds the image itself."""
    from PIL import Image

    array = pixels[0] if len(pixels) == 1 else pixels[:3].transpose(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(array)).save(file, "PNG")
    return _address(file)


def figure(drawn: Any, text: str) -> str:
    """Return a Matplotlib figure as HTML, with a text for whoever does not see it."""
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that the font has not are told by nobody
        drawn.savefig(file, format="png", dpi=130)
    image = f'<img src="{_address(file)}" alt="{escaped(text)}">'
    width, height = drawn.get_size_inches()
    kind = ' class="chart" tabindex="0"' if width > 1.5 * height else ""
    return f"<figure{kind}>{image}</figure>\n"


def _address(file: io.BytesIO) -> str:
    """Return the address that holds a PNG file."""
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def tiles(images: Iterable[tuple[str, str]]) -> str:
    """Return images, given by address and plain caption, side by side."""
    inner = "".join(
        f'<figure><img src="{address}" alt="">'
        f"<figcaption>{escaped(caption)}</figcaption></figure>\n"
        for address, caption in images
    )
    return f'<div class="tiles">\n{inner}</div>\n'


def number_table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table of texts and numbers; a float is a part of one, and gets a bar."""
    kinds: list[str] = []
    lines = []
    for row in rows:
        kinds = [' class="number"' if isinstance(cell, int) else "" for cell in row]
        cells = "".join(f"<td{kind}>{_cell(cell)}</td>" for kind, cell in zip(kinds, row))
        lines.append(f"<tr>{cells}</tr>\n")
    kinds = kinds or [""] * len(heads)
    top = "".join(f'<th scope="col"{k}>{escaped(h)}</th>' for k, h in zip(kinds, heads))
    return (
        f'<div class="wide" tabindex="0"><table>\n<thead><tr>{top}</tr></thead>\n'
        f"<tbody>\n{''.join(lines)}</tbody>\n</table></div>\n"
    )


def _cell(cell: Any) -> str:
    """Return what stands in a cell."""
    if isinstance(cell, float):
        return f'<meter min="0" max="1" value="{cell:.4f}"></meter> {cell:.3f}'
    return escaped(cell)
