"""The descriptions of networks, such as "conv32-conv32-pool-fc10", read into tokens."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

__all__ = ["NAMED", "Token", "parse"]

_NUMBER = r"[1-9][0-9]{0,8}"  # no network has more of anything
_FORMS = {
    "conv": (
        rf"conv(?P<units>{_NUMBER})(x(?P<size>{_NUMBER}))?(s(?P<stride>{_NUMBER}))?"
        r"(?P<valid>v)?(?P<early>p)?(?P<frozen>f)?"
    ),
    "whiten": rf"whiten(?P<size>{_NUMBER})",
    "fc": rf"fc(?P<units>{_NUMBER})(/(?P<divisor>{_NUMBER}))?",
    "pool": rf"pool(?P<size>{_NUMBER})?",
    **{word: word for word in ("gavg", "gmax")},
}
_BLOCK = r"res\((?P<inside>[^()]*)\)(x(?P<times>[1-9][0-9]{0,2}))?"

# Words that stand for others.
NAMED = {
    "resnet20": (
        "conv16-res(conv16-conv16)x3-res(conv32s2-conv32)-res(conv32-conv32)x2"
        "-res(conv64s2-conv64)-res(conv64-conv64)x2-gavg"
    ),
}


class Token(NamedTuple):
    """A layer of a description: its kind, how a message names it, and its numbers.

    The units of 'conv' are its filters, of this size and stride; `valid` is without padding,
    `early` with pooling before the normalisation, `frozen` without a gradient of the filters.  The
    scores of an 'fc' are divided by the divisor.  The kind 'res' has the tokens inside of it.
    """

    kind: str
    place: str
    units: int = 0
    size: int = 0
    stride: int = 1
    divisor: int = 1
    valid: bool = False
    early: bool = False
    frozen: bool = False
    inside: tuple[Token, ...] = ()


def parse(architecture: str) -> list[Token]:
    """Return the tokens of a description, the last of which is an affine layer."""
    if not isinstance(architecture, str):
        raise TypeError(
            f"ConvNet: architecture is {architecture!r}; expected a string such as"
            f" 'conv32-pool-fc10'"
        )
    tokens = []
    for position, word in enumerate(_words(architecture), start=1):
        place = f"ConvNet: token {word!r} at position {position} of {architecture!r}"
        if word in NAMED:
            named = _words(NAMED[word])
            tokens += [token for inner in named for token in _tokens(inner, f"{place}: {inner!r}")]
        else:
            tokens += _tokens(word, place)
    if tokens[-1].kind != "fc":
        raise ValueError(f"{tokens[-1].place} is the last; expected 'fc<classes>', the scores")
    return tokens


def _words(architecture: str) -> list[str]:
    """Return the words between hyphens; those in parentheses belong to one word."""
    return re.split(r"-(?![^()]*\))", architecture)


def _tokens(word: str, place: str) -> list[Token]:
    """Return the tokens of a word, which are several where a block is repeated."""
    match = re.fullmatch(_BLOCK, word)
    if match is None:
        return [_token(word, place)]
    words = match["inside"].split("-")
    inside = tuple(_token(inner, f"{place}: {inner!r}") for inner in words)
    wrong = [token.place for token in inside if token.kind != "conv"]
    if wrong:
        raise ValueError(f"{wrong[0]} stands in a residual block; expected convolutions only")
    return [Token("res", place, inside=inside)] * int(match["times"] or 1)


def _token(word: str, place: str) -> Token:
    """Return the token of a word; `place` begins what a message says about it."""
    for kind, form in _FORMS.items():
        match = re.fullmatch(form, word)
        if match:
            found = {name: text for name, text in match.groupdict().items() if text}
            given: dict[str, Any] = {"size": {"conv": 3, "pool": 2}.get(kind, 0)}
            given |= {name: int(text) if text.isdigit() else True for name, text in found.items()}
            return Token(kind, place, **given)
    raise ValueError(
        f"{place} is no layer; expected conv<filters>, conv<filters>x<size>s<stride> (v, p and f"
        f" may follow, in this order), whiten<size>, res(<convolutions>)x<times>, pool, pool<size>,"
        f" gavg, gmax, fc<units> or fc<units>/<divisor> with numbers from 1 to 999999999, or"
        f" {', '.join(NAMED)}"
    )
