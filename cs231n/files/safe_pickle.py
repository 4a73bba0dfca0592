"""Read pickles of plain values and uint8 arrays without running anything they say.

A guard around ``pickle.Unpickler`` would not be enough. Its memo grows to whatever index a file
names (nine bytes claim gigabytes), a deeply nested key overflows the C stack when it is hashed,
and BUILD can rewrite the attributes of the very functions that the guard hands out. So this is a
machine of our own for the few opcodes that data files use. The names numpy._reconstruct,
numpy.ndarray and numpy.dtype are markers here, never the real objects, and every length is
checked against the bytes that are there.
"""

import math
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Any, BinaryIO, NoReturn

import numpy as np

__all__ = ["DataError", "load_pickle", "parse_pickle"]

MAX_BYTES = 256 * 2**20  # an official batch has 31 million bytes
MAX_OPCODES = 250_000  # an official batch takes 30,000, and one may allocate some 100 bytes
MAX_TEXT = 2**16  # a longer Python 2 string is array data and stays bytes
MAX_DIMENSIONS = 4


class DataError(ValueError):
    """A data file is truncated, altered, or not what its name says."""


class _Name(Enum):
    """The three names that a pickled array mentions; NumPy 2 renamed the first one's module."""

    RECONSTRUCT = "_reconstruct"
    NDARRAY = "ndarray"
    DTYPE = "dtype"


_NAMES = {
    ("numpy.core.multiarray", "_reconstruct"): _Name.RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _Name.RECONSTRUCT,
    ("numpy", "ndarray"): _Name.NDARRAY,
    ("numpy", "dtype"): _Name.DTYPE,
}


@dataclass(eq=False)
class _Array:
    """An array between its _reconstruct call, which says nothing, and its state."""

    value: Any = None


@dataclass(eq=False)
class _Dtype:
    """The element type of an array: bytes, or (only for parse_pickle's label maps) objects."""

    objects: bool


def load_pickle(f: BinaryIO) -> Any:
    """Read one pickle from an open binary file, running nothing.

    Parameters
    ----------
    f : binary file
        Open for reading and seekable. Read to its end.

    Returns
    -------
    object
        Made of None, bool, int (of 32 bits), str, bytes, list, tuple, dict (keys str, bytes or
        int) and uint8 arrays. Strings written by Python 2 are decoded as latin-1. Bytes, and
        Python 2 strings, of more than 64 KiB are memoryviews.

    Raises
    ------
    DataError
        If the pickle names anything but the three NumPy names that an array needs, is
        truncated or altered, or is larger than 256 MB.
    TypeError
        If f was opened in text mode.
    """
    name = str(getattr(f, "name", "pickle"))
    return parse_pickle(_read_whole(f, name), name)


def parse_pickle(data: Any, name: str, object_scalar: bool = False) -> Any:
    """Return a pickle's value; object_scalar lets an object array of shape () give its item."""
    return _Machine(memoryview(data), name, object_scalar).run()


def _read_whole(f: BinaryIO, name: str) -> bytearray:
    """All bytes of f in one writable buffer that arrays then share."""
    try:
        is_text = isinstance(f.read(0), str)
        start = f.tell()
        size = f.seek(0, os.SEEK_END) - start
        f.seek(start)
    except (AttributeError, OSError, ValueError) as error:
        raise TypeError(
            f"load_pickle: f is {f!r}; expected a file, open for reading and seekable ({error})"
        ) from error
    if is_text:
        raise TypeError(f"load_pickle: {name} is open in text mode; open it with mode 'rb'")
    if size > MAX_BYTES:
        raise DataError(f"{name}: {size} bytes; a data file has at most {MAX_BYTES}")
    data = bytearray(size)
    filled = 0
    while filled < size:
        count = f.readinto(memoryview(data)[filled:])  # type: ignore[attr-defined]
        if not count:
            raise DataError(f"{name}: ends after {filled} of {size} bytes")
        filled += count
    return data


class _Machine:
    """A pickle machine: a stack, the stacks below each mark, a memo, a position in the data."""

    def __init__(self, data: memoryview, name: str, object_scalar: bool) -> None:
        self.data = data
        self.name = name
        self.object_scalar = object_scalar
        self.position = 0
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.copied = 0

    def run(self) -> Any:
        """Execute until STOP and return the one value that is left."""
        try:
            for _ in range(MAX_OPCODES):
                code = self.take(1)[0]
                if code == _STOP:
                    return self.result()
                handler = _HANDLERS.get(code)
                if handler is None:
                    self.refuse(f"opcode {bytes([code])!r}, which data files do not use")
                handler(self)
        except (IndexError, KeyError, TypeError, ValueError, OverflowError) as error:
            if isinstance(error, DataError):
                raise
            raise DataError(f"{self.name}: broken pickle at byte {self.position}") from error
        self.refuse(f"more than {MAX_OPCODES} opcodes")

    def result(self) -> Any:
        """Return the only value on the stack, at the end of the data."""
        if self.below or len(self.stack) != 1:
            self.refuse("a stop before the value is complete")
        if self.position != len(self.data):
            self.refuse(f"{len(self.data) - self.position} bytes after its end")
        return self.stack[0]

    def refuse(self, found: str) -> NoReturn:
        """Raise the error that names the file, the place and what was found there."""
        raise DataError(f"{self.name}: the pickle has {found} (near byte {self.position})")

    def take(self, count: int) -> memoryview:
        """Return the next count bytes."""
        left = len(self.data) - self.position
        if count > left:
            raise DataError(
                f"{self.name}: the pickle is truncated (byte {self.position} promises "
                f"{count} more bytes, {left} are there)"
            )
        self.position += count
        return self.data[self.position - count : self.position]

    def number(self, form: str) -> int:
        """Return the next little-endian integer, in struct's notation."""
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))[0]

    def line(self) -> str:
        """Return the ASCII text up to the next newline; a name has at most 200 characters."""
        text, newline, _ = bytes(self.data[self.position : self.position + 200]).partition(b"\n")
        if not newline:
            self.refuse("a name without end")
        self.position += len(text) + 1
        return text.decode("ascii")

    def pop_mark(self) -> list[Any]:
        """Return the values above the last mark."""
        items, self.stack = self.stack, self.below.pop()
        return items


def _push(value: Callable[[_Machine], Any]) -> Callable[[_Machine], None]:
    """Return the handler that pushes what value makes."""
    return lambda machine: machine.stack.append(value(machine))


def _unicode(form: str) -> Callable[[_Machine], None]:
    """Return the handler of a UTF-8 string whose length is a number of the form."""

    def value(machine: _Machine) -> str:
        length = machine.number(form)
        if length > MAX_TEXT:
            machine.refuse(f"text of {length} bytes; expected at most {MAX_TEXT}")
        return str(machine.take(length), "utf-8", "surrogatepass")

    return _push(value)


def _bytes(form: str) -> Callable[[_Machine], None]:
    """Return the handler of a bytes object; array data is not copied."""
    return _push(lambda m: _short_or_view(m.take(m.number(form))))


def _python2_string(form: str) -> Callable[[_Machine], None]:
    """Return the handler of a Python 2 string: text, unless it is as long as only array data is."""

    def value(machine: _Machine) -> str | bytes | memoryview:
        data = _short_or_view(machine.take(machine.number(form)))
        return data.decode("latin-1") if isinstance(data, bytes) else data

    return _push(value)


def _short_or_view(data: memoryview) -> bytes | memoryview:
    """Return a copy of short data, the data itself where a copy would cost memory."""
    return bytes(data) if len(data) <= MAX_TEXT else data


def _tuple(count: int) -> Callable[[_Machine], None]:
    """Return the handler that makes the top count values a tuple."""

    def handler(machine: _Machine) -> None:
        items = [machine.stack.pop() for _ in range(count)]
        machine.stack.append(tuple(reversed(items)))

    return handler


def _protocol(machine: _Machine) -> None:
    """PROTO: versions 2 to 5 share the opcodes below."""
    version = machine.number("B")
    if not 2 <= version <= 5:
        machine.refuse(f"protocol {version}; expected 2 to 5")


def _frame(machine: _Machine) -> None:
    """FRAME: its length only helps a reader that reads ahead."""
    machine.take(8)


def _mark(machine: _Machine) -> None:
    """MARK: set the stack aside and start a new one."""
    machine.below.append(machine.stack)
    machine.stack = []


def _marked_tuple(machine: _Machine) -> None:
    """TUPLE: make the values above the last mark a tuple."""
    items = machine.pop_mark()
    machine.stack.append(tuple(items))


def _extend(machine: _Machine, items: list[Any]) -> None:
    """APPEND, APPENDS: add the items to the list below them."""
    target = machine.stack[-1]
    if not isinstance(target, list):
        machine.refuse("an append to something that is no list")
    target.extend(items)


def _set_items(machine: _Machine, items: list[Any]) -> None:
    """SETITEM, SETITEMS: put key and value pairs into the dict below them."""
    target = machine.stack[-1]
    if not isinstance(target, dict) or len(items) % 2:
        machine.refuse("items for something that is no dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, (str, bytes, int)):
            machine.refuse(f"a dict key of type {type(key).__name__}")
        target[key] = value


def _pop_two(machine: _Machine) -> list[Any]:
    """Return the top two values, the lower one first."""
    upper = machine.stack.pop()
    return [machine.stack.pop(), upper]


def _remember(machine: _Machine, index: int) -> None:
    """BINPUT, LONG_BINPUT, MEMOIZE: keep the top value under an index."""
    machine.memo[index] = machine.stack[-1]


def _recall(machine: _Machine, index: int) -> None:
    """BINGET, LONG_BINGET: push a kept value; an array may have got its state meanwhile."""
    value = machine.memo[index]
    if isinstance(value, _Array) and value.value is not None:
        value = value.value
    machine.stack.append(value)


def _global(machine: _Machine, module: Any, name: Any) -> None:
    """GLOBAL, STACK_GLOBAL: push the marker of one of the three names, refuse all others."""
    if not isinstance(module, str) or not isinstance(name, str):
        machine.refuse("a name that is no text")
    if (module, name) not in _NAMES:
        machine.refuse(
            f"the name {module[:80]}.{name[:80]}; only NumPy's _reconstruct, ndarray "
            "and dtype are allowed"
        )
    machine.stack.append(_NAMES[module, name])


def _reduce(machine: _Machine) -> None:
    """REDUCE: the two calls that a pickled array makes, with the arguments it gives them."""
    function, arguments = _pop_two(machine)
    if function is _Name.RECONSTRUCT and arguments in (
        (_Name.NDARRAY, (0,), "b"),
        (_Name.NDARRAY, (0,), b"b"),
    ):
        machine.stack.append(_Array())
    elif function is _Name.DTYPE and _is_dtype_call(arguments, "u1"):
        machine.stack.append(_Dtype(objects=False))
    elif function is _Name.DTYPE and machine.object_scalar and _is_dtype_call(arguments, "O8"):
        machine.stack.append(_Dtype(objects=True))
    else:
        machine.refuse("a call that makes no uint8 array")


def _is_dtype_call(arguments: Any, code: str) -> bool:
    """Whether these are the arguments of dtype(code, align=False, copy=True)."""
    return isinstance(arguments, tuple) and arguments[1:] == (0, 1) and arguments[0] == code


def _build(machine: _Machine) -> None:
    """BUILD: give an array or its dtype the state that was pickled."""
    target, state = _pop_two(machine)
    if isinstance(target, _Array):
        target.value = _array_from_state(machine, state)
        machine.stack.append(target.value)
    elif (
        isinstance(target, _Dtype)
        and isinstance(state, tuple)
        and state[:5] == (3, "|", None, None, None)
    ):
        machine.stack.append(target)
    else:
        machine.refuse("a state for something that is no uint8 array")


def _array_from_state(machine: _Machine, state: Any) -> Any:
    """Return the array that a state (1, shape, dtype, is_fortran, data) describes."""
    if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], _Dtype):
        machine.refuse("an array whose state is not (version, shape, dtype, order, data)")
    _, shape, dtype, is_fortran, data = state
    if dtype.objects:
        if shape != () or not isinstance(data, list) or len(data) != 1:
            machine.refuse("an object array that is not one object")
        return data[0]
    if (
        not isinstance(shape, tuple)
        or len(shape) > MAX_DIMENSIONS
        or not all(isinstance(length, int) for length in shape)
    ):
        machine.refuse("an array whose shape is not a few lengths")
    data = _encoded(machine, data) if isinstance(data, str) else data
    if not isinstance(data, (bytes, memoryview)) or math.prod(shape) != len(data):
        machine.refuse(f"an array of shape {str(shape)[:80]} whose data does not fit")
    return np.ndarray(shape, np.uint8, buffer=data, order="F" if is_fortran else "C")


def _encoded(machine: _Machine, text: str) -> bytes:
    """Return Python 2 array data as bytes: copies, together no larger than the file.

    One string in the memo may be the data of many arrays.
    """
    machine.copied += len(text)
    if machine.copied > len(machine.data):
        machine.refuse("more arrays than data")
    return text.encode("latin-1")


_STOP = ord(".")
_HANDLERS: dict[int, Callable[[_Machine], None]] = {
    code[0]: handler
    for code, handler in {
        b"\x80": _protocol,
        b"\x95": _frame,
        b"N": _push(lambda m: None),
        b"\x88": _push(lambda m: True),
        b"\x89": _push(lambda m: False),
        b"K": _push(lambda m: m.number("B")),
        b"M": _push(lambda m: m.number("H")),
        b"J": _push(lambda m: m.number("i")),
        b"U": _python2_string("B"),
        b"T": _python2_string("I"),
        b"\x8c": _unicode("B"),
        b"X": _unicode("I"),
        b"\x8d": _unicode("Q"),
        b"C": _bytes("B"),
        b"B": _bytes("I"),
        b"\x8e": _bytes("Q"),
        b"]": _push(lambda m: []),
        b"}": _push(lambda m: {}),
        b")": _push(lambda m: ()),
        b"\x85": _tuple(1),
        b"\x86": _tuple(2),
        b"\x87": _tuple(3),
        b"(": _mark,
        b"t": _marked_tuple,
        b"a": lambda m: _extend(m, [m.stack.pop()]),
        b"e": lambda m: _extend(m, m.pop_mark()),
        b"s": lambda m: _set_items(m, _pop_two(m)),
        b"u": lambda m: _set_items(m, m.pop_mark()),
        b"q": lambda m: _remember(m, m.number("B")),
        b"r": lambda m: _remember(m, m.number("I")),
        b"\x94": lambda m: _remember(m, len(m.memo)),
        b"h": lambda m: _recall(m, m.number("B")),
        b"j": lambda m: _recall(m, m.number("I")),
        b"c": lambda m: _global(m, m.line(), m.line()),
        b"\x93": lambda m: _global(m, *_pop_two(m)),
        b"R": _reduce,
        b"b": _build,
    }.items()
}
