"""What a command is started in: streams that may be closed, no display, signals that end it."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType
from typing import Any

__all__ = [
    "Stopped",
    "call_off_broken_output",
    "heeded_ctrl_c",
    "prepared",
    "printable",
    "tell",
]

_SIGNALS = {"SIGTERM": "terminated", "SIGHUP": "stopped, for its terminal was closed"}
_STREAMS = ("stdout", "stderr")
_UNUSABLE = (OSError, ValueError, AttributeError)  # what a closed, broken or odd stream raises


class Stopped(KeyboardInterrupt):
    """The process was asked to end by a signal other than Ctrl-C's.

    Parameters
    ----------
    number : int
        The signal.
    text : str
        What it means.
    """

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.status = 128 + number  # as a shell shows it


@contextmanager
def prepared() -> Iterator[None]:
    """Let the body run whatever the process was started with.

    Standard streams exist and take any text, figures need no display whatever ``MPLBACKEND`` says,
    a warning to the user is one line, pictures that are left out are told, and a signal to end
    becomes a `Stopped`, so that results can be written.
    """
    with ExitStack() as stack:
        stack.enter_context(_streams())
        stack.enter_context(_told_warnings())
        stack.enter_context(_no_display())
        stack.enter_context(_plain_warnings())
        stack.enter_context(_signals())
        yield


@contextmanager
def _streams() -> Iterator[None]:
    """See to it that standard output and error can be written to."""
    _open_descriptors()
    before = {name: getattr(sys, name) for name in _STREAMS}
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        for name, stream in before.items():
            if stream is None or getattr(stream, "closed", False):
                setattr(sys, name, nowhere)
            elif getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # a path may have any character
        try:
            yield
        finally:
            for name, stream in before.items():
                setattr(sys, name, stream)


def _open_descriptors() -> None:
    """Open what is closed of the first three descriptors, lest a file of ours gets its number.

    Whatever a library writes to standard error would else stand in a checkpoint.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free


@contextmanager
def _no_display() -> Iterator[None]:
    """Keep matplotlib from what a notebook or a desktop has set up for its own figures."""
    before = os.environ.get("MPLBACKEND")
    os.environ["MPLBACKEND"] = "agg"
    try:
        yield
    finally:
        if before is None:
            del os.environ["MPLBACKEND"]
        else:
            os.environ["MPLBACKEND"] = before


@contextmanager
def _told_warnings() -> Iterator[None]:
    """Print what is said of pictures that were left out as a line, without the line of the code."""
    with warnings.catch_warnings():
        warnings.filterwarnings("always", "load_image_folder: ", UserWarning)
        show = warnings.showwarning

        def told(message: Any, category: Any, *place: Any, **more: Any) -> None:
            text = str(message)
            if text.startswith("load_image_folder: "):
                tell(f"cs231n: {printable(text)}")
            else:
                show(message, category, *place, **more)

        warnings.showwarning = told
        yield


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Let a warning to the user be a line, without the file and the code that gave it."""
    before = warnings.formatwarning

    def plain(message: Warning | str, category: type[Warning], *place: Any, **line: Any) -> str:
        """Return the text of a warning; those to programmers tell their place as always."""
        if category is not UserWarning:
            return before(message, category, *place, **line)
        text = str(message)
        return f"{text}\n" if text.startswith("cs231n") else f"cs231n: {text}\n"

    warnings.formatwarning = plain
    try:
        yield
    finally:
        warnings.formatwarning = before


@contextmanager
def _signals() -> Iterator[None]:
    """Turn the signals that end a process into an exception, unless they are dealt with already."""
    changed = []
    if _is_main_thread():
        for name in _SIGNALS:
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, _stop)
                changed.append(number)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)


def _stop(number: int, frame: FrameType | None) -> None:
    """Raise the exception of a signal."""
    raise Stopped(number, _SIGNALS[signal.Signals(number).name])


@contextmanager
def heeded_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C end the body, though modules that are just being imported may hide it.

    Some answer it with an ImportError, and in callbacks Python would only print it.
    """
    seen, printed = [], sys.unraisablehook

    def note(number: int, frame: FrameType | None) -> None:
        """Remember the signal, and do what Python does by default."""
        seen.append(number)
        signal.default_int_handler(number, frame)

    def unraisable(found: sys.UnraisableHookArgs) -> None:
        """Print an error in a callback, unless it is what was noted."""
        if not (seen and isinstance(found.exc_value, KeyboardInterrupt)):
            printed(found)

    changed = signal.getsignal(signal.SIGINT) is signal.default_int_handler and _is_main_thread()
    if changed:
        signal.signal(signal.SIGINT, note)
        sys.unraisablehook = unraisable
    try:
        yield
    except Exception:
        if not seen:
            raise
    finally:
        if changed:
            sys.unraisablehook = printed
            signal.signal(signal.SIGINT, signal.default_int_handler)
    if seen:
        raise KeyboardInterrupt


def _is_main_thread() -> bool:
    """Tell whether this is the thread that gets the signals."""
    return threading.current_thread() is threading.main_thread()


def printable(text: str) -> str:
    """Return a text from outside as a terminal may get it: without codes that would move it.

    Parameters
    ----------
    text : str
        Such as the name of a file or a class.

    Returns
    -------
    text : str
        With escapes for what cannot be seen.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def tell(line: str) -> None:
    """Print a line to standard error or, where that is of no use, to standard output.

    Parameters
    ----------
    line : str
        What to say.
    """
    for stream in (sys.stderr, sys.stdout):
        if _leads_somewhere(stream):
            with suppress(*_UNUSABLE):
                print(line, file=stream, flush=True)
                return


def _leads_somewhere(stream: Any) -> bool:
    """Tell whether a stream is not the one that stands for a closed one."""
    return stream is not None and getattr(stream, "name", "") != os.devnull


def call_off_broken_output() -> None:
    """Lead the standard streams that nobody reads to nowhere, so that the end is silent.

    Python flushes them once more when it ends, and would complain.
    """
    for name in _STREAMS:
        stream = getattr(sys, name)
        try:
            stream.flush()
        except _UNUSABLE:
            with suppress(*_UNUSABLE):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)
