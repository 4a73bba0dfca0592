"""The processes of a run, by their numbers (ranks), and what they tell each other.

Any communicator will do that has the methods of mpi4py's: `Get_rank`, `Get_size`, `Dup`,
`Iallgather`, `Ialltoall`, `Ibcast`, and for messages about errors `isend`, `iprobe` and `recv`.
Nobody waits without looking out for such a message, so that an error on one rank ends them all.
"""

from __future__ import annotations

import atexit
import itertools
import os
import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

from cs231n.core import checks

__all__ = ["RankError", "Ranks"]

_METHODS = ("Get_rank", "Get_size", "Dup", "Iallgather", "Ialltoall", "Ibcast", "isend", "iprobe")
_PATIENCE = 60  # seconds that the first rank has to write results before others end the job
_LOOKS = 200  # for a message, about half a millisecond, before a rank that waits sleeps in between
_NAP = 5e-5  # seconds: short beside a step, long enough to leave the processor to who computes


class RankError(ConnectionError):
    """Another rank has failed; says which, and how."""


class Ranks:
    """All processes of a run, as one of them sees them.

    Parameters
    ----------
    communicator : mpi4py.MPI.Comm
        Such as ``MPI.COMM_WORLD``; all its ranks must make this object.

    Attributes
    ----------
    rank, size : int
        Number of this process, from 0, and how many there are.
    """

    def __init__(self, communicator: Any) -> None:
        checks.attributes("Solver", "communicator", communicator, *_METHODS)
        self.rank, self.size = int(communicator.Get_rank()), int(communicator.Get_size())
        self._world = communicator
        # Of our own, so that messages of the user's are not taken for ours.
        self._communicator = communicator.Dup() if self.size > 1 else communicator
        self._sent: list[Any] = []

    @classmethod
    def of(cls, communicator: Any) -> Ranks:
        """Return the ranks of a communicator, or these themselves."""
        return communicator if isinstance(communicator, cls) else cls(communicator)

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that prints and writes."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """Return which of so many samples are this rank's: as many as the others have, or one more.

        Parameters
        ----------
        count : int

        Returns
        -------
        share : slice
        """
        least, more = divmod(count, self.size)
        start = self.rank * least + min(self.rank, more)
        return slice(start, start + least + (self.rank < more))

    def gather(self, array: np.ndarray) -> np.ndarray:
        """Return the arrays of all ranks, which are alike, in a new first axis.

        Parameters
        ----------
        array : ndarray

        Returns
        -------
        arrays : ndarray of shape (size, ...)
        """
        mine = np.ascontiguousarray(array)
        found = np.empty((self.size, *mine.shape), mine.dtype)
        self.wait(self._communicator.Iallgather(mine, found))
        return found

    def gather_objects(self, value: Any) -> list[Any]:
        """Return a small object of each rank, in their order."""
        text = np.frombuffer(pickle.dumps(value), np.uint8)
        lengths = self.gather(np.array([len(text)], np.int64))[:, 0]
        padded = np.zeros(lengths.max(), np.uint8)
        padded[: len(text)] = text
        texts = self.gather(padded)
        return [pickle.loads(one[:length].tobytes()) for one, length in zip(texts, lengths)]

    def from_first(self, make: Callable[[], Any]) -> Any:
        """Return what the first rank makes, on all ranks; its error is an error of all.

        Parameters
        ----------
        make : callable
            Called on the first rank alone.

        Returns
        -------
        value : object
        """
        value: Any = None
        if self.is_first:
            try:
                value = make()
            except Exception as error:
                self.fail(error)
                raise
        content = pickle.dumps(value) if self.is_first else b""
        length = int(self.gather(np.array([len(content)], np.int64))[0, 0])
        buffer = np.empty(length, np.uint8)
        if self.is_first:
            buffer[:] = np.frombuffer(content, np.uint8)
        self.wait(self._communicator.Ibcast(buffer, 0))
        return value if self.is_first else pickle.loads(buffer.tobytes())

    def exchange(self, parts: np.ndarray) -> tuple[Any, np.ndarray]:
        """Begin to send each rank its part, and return the request and room for their parts.

        Parameters
        ----------
        parts : ndarray of shape (size, M)
            Must be left alone until the request is done.

        Returns
        -------
        request : object
        found : ndarray of shape (size, M)
        """
        found = np.empty_like(parts)
        return self._communicator.Ialltoall(parts, found), found

    def distribute(self, part: np.ndarray, whole: np.ndarray) -> Any:
        """Begin to gather the parts of all ranks into the whole, and return the request."""
        return self._communicator.Iallgather(part, whole)

    def wait(self, request: Any) -> None:
        """Wait for a request, or raise a `RankError` once another rank has failed."""
        for look in itertools.count():
            if request.Test():
                return
            self._look_out()
            time.sleep(_NAP if look >= _LOOKS else 0)

    def _look_out(self) -> None:
        """Raise a RankError where another rank says that it has failed."""
        if self._communicator.iprobe():
            rank, text = self._communicator.recv()
            self._end_soon()
            raise RankError(f"rank {rank} of {self.size}: {text}")

    def fail(self, error: BaseException) -> None:
        """Tell the others that this rank has failed; what they do next raises a RankError.

        Parameters
        ----------
        error : BaseException
        """
        if self.size == 1 or isinstance(error, RankError) or self._sent:
            return
        text = f"{error}" or ("interrupted" if not isinstance(error, Exception) else "")
        line = self.rank, f"{type(error).__name__}: {text}"
        for other in range(self.size):
            if other != self.rank:
                self._sent.append(self._communicator.isend(line, dest=other))
        self._end_soon()

    def _end_soon(self) -> None:
        """Let the end of this process end the job: nobody may wait for what will never come."""
        if hasattr(self._world, "Abort"):
            atexit.register(_abort, self._world, self.rank)

    @contextmanager
    def failing_together(self) -> Iterator[None]:
        """Tell the others of an error in the body."""
        try:
            yield
        except BaseException as error:
            self.fail(error)
            raise

    def require_same(self, where: str, found: Mapping[str, Any]) -> None:
        """Raise a ValueError on all ranks that says in what they differ.

        Parameters
        ----------
        where : str
            For the message.
        found : mapping of str to anything
            What must be the same everywhere.

        Raises
        ------
        ValueError
            If it is not.
        """
        everywhere = self.gather_objects(dict(found))
        first = everywhere[0]
        lines = [
            f"{name} is {one.get(name)} on rank {rank} and {first.get(name)} on rank 0"
            for rank, one in enumerate(everywhere)
            for name in sorted({*first, *one})
            if one.get(name) != first.get(name)
        ]
        if lines:
            raise ValueError(f"{where}: the ranks differ: {'; '.join(lines[:5])}")

    def neighbours(self) -> tuple[int, int]:
        """Return how many ranks there are on this machine, and processors that they may run on."""
        mine = self._place()
        here = [processors for name, processors in self.gather_objects(mine) if name == mine[0]]
        return len(here), len(set().union(*here)) or os.cpu_count() or 1

    def _place(self) -> tuple[str, list[int]]:
        """Return the name of this machine, and the processors that this process may run on."""
        name = os.uname().nodename if hasattr(os, "uname") else os.environ.get("COMPUTERNAME", "")
        return name, sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _abort(communicator: Any, rank: int) -> None:
    """End all ranks; the first one may still be writing, so the others leave it to that."""
    if rank:
        time.sleep(_PATIENCE)
    with suppress(Exception):
        communicator.Abort(1)
