"""The descriptions of networks, such as "conv32-conv32-pool-fc10", read into tokens."""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Token", "parse"]

_NUMBER = r"[1-9][0-9]{0,8}"  # no network has more of anything
_FORMS = {
    "conv": rf"conv(?P<units>{_NUMBER})(x(?P<size>{_NUMBER}))?(s(?P<stride>{_NUMBER}))?",
    "fc": rf"fc(?P<units>{_NUMBER})",
    **{word: word for word in ("pool", "gavg", "gmax")},
}


class Token(NamedTuple):
    """A layer of a description: its kind, how a message names it, and its numbers.

    The units of 'conv' are its filters, of this size and stride.
    """

    kind: str
    place: str
    units: int = 0
    size: int = 3
    stride: int = 1


def parse(architecture: str) -> list[Token]:
    """Return the tokens of a description, the last of which is an affine layer."""
    if not isinstance(architecture, str):
        raise TypeError(
            f"ConvNet: architecture is {architecture!r}; expected a string such as"
            f" 'conv32-pool-fc10'"
        )
    words = architecture.split("-")
    tokens = [
        _token(word, f"ConvNet: token {word!r} at position {position} of {architecture!r}")
        for position, word in enumerate(words, start=1)
    ]
    if tokens[-1].kind != "fc":
        raise ValueError(f"{tokens[-1].place} is the last; expected 'fc<classes>', the scores")
    return tokens


def _token(word: str, place: str) -> Token:
    """Return the token of a word; `place` begins what a message says about it."""
    for kind, form in _FORMS.items():
        match = re.fullmatch(form, word)
        if match:
            given = {name: int(number) for name, number in match.groupdict().items() if number}
            return Token(kind, place, **given)
    raise ValueError(
        f"{place} is no layer; expected conv<filters>, conv<filters>x<size>s<stride>, pool, gavg,"
        f" gmax or fc<units> with numbers from 1 to 999999999"
    )
