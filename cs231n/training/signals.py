"""Signals that come while a run is trained: they wait where something must not be cut in two."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Signals", "Terminated"]


class Terminated(SystemExit):
    """SIGTERM came; whoever does not catch this ends with the status of that signal."""


class Signals:
    """Lets SIGINT and SIGTERM wait during ``with signals.held:``, while a run is trained.

    ``with signals:`` around the training puts handlers in front of those that are there, which are
    called as ever, though later by what was held.  Where nobody handles SIGTERM, it raises
    `Terminated`.  The old handlers come back at the end.  Outside of the main thread, where signals
    never arrive, nothing is done.
    """

    def __init__(self) -> None:
        self.held = _Held()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.getsignal(number)
            if callable(before) or (number == signal.SIGTERM and before == signal.SIG_DFL):
                self._before[number] = before
                signal.signal(number, self._arrive)

    def __exit__(self, *error: object) -> None:
        for number, before in self._before.items():
            if signal.getsignal(number) == self._arrive:  # else somebody has put another one there
                signal.signal(number, before)
        self._before = {}

    def _arrive(self, number: int, frame: FrameType | None) -> None:
        """Hand a signal on, or keep it until it may come."""
        before = self._before.get(number)
        handler = before if callable(before) else _terminate
        if self.held.depth:
            self.held.waiting.append(lambda: handler(number, frame))
        else:
            handler(number, frame)


class _Held:
    """The time in which signals wait; they arrive at its end."""

    def __init__(self) -> None:
        self.depth = 0
        self.waiting: list[Any] = []

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self.depth -= 1
        while self.waiting and not self.depth:
            self.waiting.pop(0)()


def _terminate(number: int, frame: FrameType | None) -> None:
    """End the process as this signal does, once everything that is under way has been ended."""
    atexit.register(_die, os.getpid())
    raise Terminated(128 + number)


def _die(process: int) -> None:
    """End this process by SIGTERM, so that its parent sees the usual status."""
    if os.getpid() != process or os.name != "posix":
        return
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # there is none, or it is closed
            continue
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(process, signal.SIGTERM)
