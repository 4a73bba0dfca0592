"""Where trials run: executors that exist, under the protocol of `concurrent.futures`."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager, suppress

from cs231n.core import extras

__all__ = ["Dask", "Given", "Local", "Mpi", "Workers"]

_PATIENCE = 20  # seconds that a worker may still write a checkpoint before it is killed
_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


class Workers:
    """An executor, how many trials it takes at once, and how it is renewed and stopped.

    Attributes
    ----------
    executor : concurrent.futures.Executor
    """

    executor: Executor

    def width(self) -> int:
        """Return how many trials run at once."""
        raise NotImplementedError

    def renew(self) -> bool:
        """Start new workers where the old ones have died; False where that cannot be done."""
        return False

    def stop(self) -> None:
        """Call off what waits; trials that run end at their next check, or at once."""
        self.executor.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Let the workers end."""
        self.executor.shutdown(wait=True)


class Given(Workers):
    """An executor of the user's, who started it and will close it.

    Parameters
    ----------
    executor : concurrent.futures.Executor
    jobs : int
        Trials at once.
    """

    def __init__(self, executor: Executor, jobs: int) -> None:
        self.executor = executor
        self._jobs = jobs

    def width(self) -> int:
        """Return how many trials run at once."""
        return self._jobs

    def stop(self) -> None:
        """Leave the executor to its owner."""

    def close(self) -> None:
        """Leave the executor to its owner."""


class Local(Workers):
    """Processes on this machine, started anew (by spawn) with one BLAS thread each.

    Parameters
    ----------
    jobs : int
        Processes.
    """

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._others = set(multiprocessing.active_children())
        self._environment = {name: os.environ.get(name) for name in _THREADS}
        for name in _THREADS:
            os.environ.setdefault(name, "1")
        self.executor = self._start()

    def _start(self) -> Executor:
        """Start the processes; Ctrl-C is this process's alone, which tells them."""
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._jobs, mp_context=context, initializer=_obey_the_first)

    def width(self) -> int:
        """Return how many trials run at once."""
        return self._jobs

    def renew(self) -> bool:
        """Start new processes; the executor ends the rest of them when one has died."""
        self.executor.shutdown(wait=True, cancel_futures=True)
        self.executor = self._start()
        return True

    def stop(self) -> None:
        """End the processes; their trials go on from the last checkpoint another time."""
        self.executor.shutdown(wait=False, cancel_futures=True)
        ours = [one for one in multiprocessing.active_children() if one not in self._others]
        for process in ours:
            process.terminate()
        for process in ours:
            process.join(_PATIENCE)
        for process in ours:
            if process.is_alive():
                process.kill()

    def close(self) -> None:
        """Let the processes end, and put the environment back."""
        self.executor.shutdown(wait=True)
        for name, value in self._environment.items():
            if value is None:
                os.environ.pop(name, None)


def _obey_the_first() -> None:
    """Leave Ctrl-C to the process that started this one, and end at once where that says so.

    An exception would end the trial alone: the pool catches it, and waits for the next one, and
    where another process has died the pool waits for this one, for ever.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda number, frame: os._exit(128 + number))


class Dask(Workers):
    """The workers of a Dask cluster.

    Parameters
    ----------
    address : str
        Of its scheduler, such as tcp://scheduler:8786.
    timeout : float
        Seconds to wait for it.
    """

    def __init__(self, address: str, timeout: float = 20) -> None:
        distributed = extras.need("distributed", "dask", "--dask")
        try:
            self._client = distributed.Client(address, timeout=timeout)
        except (OSError, ValueError) as error:
            raise OSError(f"no Dask scheduler answers at {address} ({error})") from error
        self.executor = self._client.get_executor(pure=False)

    def width(self) -> int:
        """Return how many trials run at once: a thread of a worker takes one, of which one runs."""
        return max(len(self._client.scheduler_info(n_workers=-1)["workers"]), 1)

    def stop(self) -> None:
        """Call off what waits; what runs ends at its next check."""
        with suppress(Exception):
            self.executor.shutdown(wait=False)

    def close(self) -> None:
        """Leave the cluster."""
        with suppress(Exception):  # it may be gone
            self.executor.shutdown(wait=False)
            self._client.close()


class Mpi(Workers):
    """The ranks of an MPI job but the first, which gives them work.

    Parameters
    ----------
    jobs : int or None
        Trials at once; None for all ranks.
    """

    def __init__(self, jobs: int | None) -> None:
        try:
            futures = extras.need("mpi4py.futures", "mpi", "--mpi")
            pool = futures.MPIPoolExecutor(jobs)
            pool.bootup(wait=True)
        except RuntimeError as error:  # mpi4py without an MPI library raises it
            raise OSError(
                f"--mpi: mpi4py finds no MPI library ({error});"
                " install one with: pip install 'cs231n[mpi]'"
            ) from error
        self.executor, self._jobs = pool, jobs or max(int(pool.num_workers), 1)

    def width(self) -> int:
        """Return how many trials run at once."""
        return self._jobs

    def stop(self) -> None:
        """Call off what waits; what runs ends at its next check."""
        self.executor.shutdown(wait=False, cancel_futures=True)


@contextmanager
def closing(make: Callable[[], Workers]) -> Iterator[Workers]:
    """Start workers for the body; they are stopped at Ctrl-C and after an error."""
    workers = make()
    try:
        yield workers
    except BaseException:
        workers.stop()
        raise
    finally:
        workers.close()
