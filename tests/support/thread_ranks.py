"""A communicator whose ranks are threads of one process, with the methods that mpi4py's has.

NumPy's global generator is one for all threads, so networks and Solvers draw from their own.
"""

import queue
import threading

import numpy as np

_PATIENCE = 300  # seconds after which a test has hung, on the busiest machine


class _Request:
    def __init__(self, test):
        self._test, self._done = test, False

    def Test(self):  # noqa: N802 (as mpi4py has it)
        self._done = self._done or self._test()
        return self._done


class _Board:
    """What all ranks have put down in each of their calls."""

    def __init__(self, size):
        self.size, self.lock = size, threading.Lock()
        self.calls: dict[int, dict[int, np.ndarray]] = {}
        self.inboxes = [queue.SimpleQueue() for _ in range(size)]

    def put(self, call, rank, array):
        with self.lock:
            self.calls.setdefault(call, {})[rank] = np.array(array)

    def all_of(self, call):
        with self.lock:
            found = self.calls.get(call, {})
            return [found[rank] for rank in range(self.size)] if len(found) == self.size else None


class ThreadCommunicator:
    """One rank of several threads."""

    def __init__(self, board, rank):
        self._board, self._rank, self._calls = board, rank, 0
        self.sent = 0

    def Get_rank(self):  # noqa: N802
        return self._rank

    def Get_size(self):  # noqa: N802
        return self._board.size

    def Dup(self):  # noqa: N802
        return self

    def _collective(self, sent, take):
        call, self._calls = self._calls, self._calls + 1
        self.sent += np.asarray(sent).nbytes
        self._board.put(call, self._rank, sent)

        def test():
            everything = self._board.all_of(call)
            if everything is not None:
                take(everything)
            return everything is not None

        return _Request(test)

    def Iallgather(self, sent, found):  # noqa: N802
        shape = (self._board.size, -1)
        return self._collective(
            sent,
            lambda all_: found.reshape(shape).__setitem__(..., [one.reshape(-1) for one in all_]),
        )

    def Ialltoall(self, sent, found):  # noqa: N802
        return self._collective(
            sent, lambda all_: found.__setitem__(..., [one[self._rank] for one in all_])
        )

    def Ibcast(self, buffer, root):  # noqa: N802
        return self._collective(buffer, lambda all_: buffer.__setitem__(..., all_[root]))

    def isend(self, value, dest):
        self._board.inboxes[dest].put(value)

    def iprobe(self):
        return not self._board.inboxes[self._rank].empty()

    def recv(self):
        return self._board.inboxes[self._rank].get()


def run_ranks(size, function):
    """Call a function of a communicator on so many ranks; return what each returned or raised."""
    board, results = _Board(size), [None] * size

    def run(rank):
        try:
            results[rank] = function(ThreadCommunicator(board, rank))
        except BaseException as error:
            results[rank] = error

    threads = [threading.Thread(target=run, args=(rank,), daemon=True) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_PATIENCE)
        assert not thread.is_alive(), "a rank waits for ever"
    return results
