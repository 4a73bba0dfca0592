"""What the benchmarks share: options, a clean start, the roofline and the table.

Competitors must agree before they are timed; a mismatch ends the script with status 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from cs231n import fast_layers
from cs231n.core import checks
from cs231n.measuring.machine import describe
from cs231n.measuring.timing import Contest, Times, load_torch, measure, require_agreement

__all__ = ["PROCESS", "TOLERANCE", "Bench", "Work", "run_script", "threads_of"]

TOLERANCE = {"float32": 2e-4, "float64": 1e-10}
# The environment of a process that is timed: memory that is freed stays with it and large pages are
# allowed, so that PyTorch, too, works in memory used before.
PROCESS = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(1 << 40),
    "MALLOC_TOP_PAD_": str(1 << 28),
    "THP_MEM_ALLOC_ENABLE": "1",
}
_QUICK_ROUNDS = 3
_GEMM_SIZE = 768
_TITLE_WIDTH, _CELL_WIDTH = 50, 17


class Work(NamedTuple):
    """What a computation cannot do without: an amount of floating point operations or of bytes.

    unit is 'GFLOP/s' or 'GB/s', and tells whether a matrix product or a pass over memory bounds it.
    in_place tells whether what is written has been read, which costs much less than a copy.
    """

    amount: float
    unit: str
    in_place: bool = False


class Bench:
    """One run of a script: its options, PyTorch or None, and the table that it prints.

    Parameters
    ----------
    options : argparse.Namespace
        From the command line.
    competitors : sequence of str
        Columns of the table; 'ours' is among them.

    Attributes
    ----------
    torch : module or None
    competitors : list of str
        Those that take part, if they are installed; a quick run does without 'naive'.
    dtypes : tuple of str
    threads : int
        Of each competitor.
    cpu_time : bool
        Whether processor time is measured, which says nothing about several threads.
    """

    def __init__(self, options: argparse.Namespace, competitors: Sequence[str]) -> None:
        self.torch = load_torch()
        self.competitors = [name for name in competitors if name != "naive" or not options.quick]
        self.dtypes = tuple(TOLERANCE) if options.dtype == "both" else (options.dtype,)
        rounds = _QUICK_ROUNDS if options.quick else options.rounds
        self.rounds = checks.integer("benchmarks", "--rounds", rounds, least=1)
        self._markdown: bool = options.markdown
        if options.cpu_time and options.threads > 1:
            raise ValueError("--cpu-time adds up the times of all threads; expected --threads 1")
        self.cpu_time: bool = options.cpu_time
        self._clock = time.process_time if self.cpu_time else time.perf_counter
        self._threads_of_roof = options.threads
        self.use_threads(options.threads)
        self._gemm = {dtype: self._faster_gemm(dtype) for dtype in self.dtypes}
        self._print_facts()
        self._print_head()

    def use_threads(self, threads: int) -> None:
        """Give ours and PyTorch this number of threads."""
        self.threads = threads
        fast_layers.set_num_threads(threads)
        if self.torch is not None:
            self.torch.set_num_threads(threads)

    def compare(
        self,
        title: str,
        dtype: str,
        contest: Contest,
        work: Work | None = None,
        checked: Contest | None = None,
        slack: float = 1.0,
    ) -> None:
        """Check that the competitors agree, time them beside the roof, and print a row.

        Parameters
        ----------
        title, dtype : str
            First cells of the row.
        contest : mapping of str to callable
            Competitors by name, without arguments, each of which returns its results.
        work : Work, optional
            For the achieved rate, and its share of that of the roof.
        checked : mapping of str to callable, optional
            Competitors whose results are compared, if not those of the contest.
        slack : float
            Factor on the tolerance.

        Raises
        ------
        ArithmeticError
            If the competitors do not agree.
        """
        require_agreement(f"{title}, {dtype}", checked or contest, slack * TOLERANCE[dtype])
        # The threads of BLAS stay as they were when it was loaded.
        roofs = {}
        if work is not None and self.threads == self._threads_of_roof:
            roofs = {"roof": self._roof(work, dtype)}
        self.show(title, dtype, measure({**contest, **roofs}, self.rounds, self._clock), work)

    def show(
        self, title: str, dtype: str, times: dict[str, Times], work: Work | None = None
    ) -> None:
        """Print a row of times and ratios, and the rate of the work done if it is given."""
        others = [name for name in self.competitors if name != "ours"]
        ratios = [_ratio(times.get(name), times["ours"]) for name in others]
        medians = [_milliseconds(times.get(name)) for name in self.competitors]
        self._print_row([title, dtype, *medians, *ratios, *_rates(work, times)])

    def _roof(self, work: Work, dtype: str) -> Callable[[], Any]:
        """Return the computation that bounds this work."""
        if work.unit == "GFLOP/s":
            return self._gemm[dtype]
        return _pass(int(work.amount) // 2, self.threads, work.in_place)

    def _faster_gemm(self, dtype: str) -> Callable[[], Any]:
        """Return a matrix product by NumPy or by PyTorch, whichever is faster here."""
        shape = (3, _GEMM_SIZE, _GEMM_SIZE)
        a, b, out = np.random.default_rng(231).standard_normal(shape).astype(dtype)
        contest: dict[str, Callable[[], Any]] = {"NumPy": lambda: np.matmul(a, b, out=out)}
        if self.torch is not None:
            torch = self.torch
            tensors = [torch.from_numpy(array) for array in (a, b, out)]
            contest["PyTorch"] = lambda: torch.mm(*tensors[:2], out=tensors[2])
        times = measure(contest, _QUICK_ROUNDS, self._clock)
        return contest[min(times, key=lambda name: times[name].median)]

    def _print_facts(self) -> None:
        """Print what the figures are measured on, and how."""
        roofs = self._roofs()
        times = measure({name: run for name, (_, run) in roofs.items()}, self.rounds, self._clock)
        facts = {
            "command": " ".join(["python", *sys.argv]),
            **describe(),
            "torch": "not installed" if self.torch is None else self.torch.__version__,
            "threads": f"{self.threads} each",
            "rounds": self.rounds,
            "clock": "processor time" if self.cpu_time else "wall time",
        }
        for name, (work, _) in roofs.items():
            facts[name] = f"{work.amount / times[name].median / 1e9:.4g} {work.unit}"
        for name, fact in facts.items():
            print(f"- {name}: {fact}" if self._markdown else f"{name:<16}{fact}")
        print("\nMedian (minimum) in milliseconds, and ratios of them.\n", flush=True)

    def _roofs(self) -> dict[str, tuple[Work, Callable[[], Any]]]:
        """Return the matrix products and the passes over memory that the facts tell of."""
        product = Work(2.0 * _GEMM_SIZE**3, "GFLOP/s")
        copy, in_place = Work(256e6, "GB/s"), Work(256e6, "GB/s", in_place=True)
        products = {f"GEMM {dtype}": (product, self._gemm[dtype]) for dtype in self.dtypes}
        passes = {"copy 128 MB": copy, "negate in place": in_place}
        return {**products, **{name: (work, self._roof(work, "")) for name, work in passes.items()}}

    def _print_head(self) -> None:
        """Print the heads of the columns."""
        ratios = [f"{name}/ours" for name in self.competitors if name != "ours"]
        heads = ["", "dtype", *self.competitors, *ratios, "rate", "of roof"]
        self._print_row(heads)
        if self._markdown:
            self._print_row(["---", "---", *["---:"] * (len(heads) - 2)])

    def _print_row(self, cells: Sequence[str]) -> None:
        """Print a row of the table."""
        if self._markdown:
            print(f"| {' | '.join(cells)} |", flush=True)
        else:
            rest = "".join(f"{cell:>{_CELL_WIDTH}}" for cell in cells[2:])
            print(f"{cells[0]:<{_TITLE_WIDTH}}{cells[1]:<9}{rest}", flush=True)


def _milliseconds(times: Times | None) -> str:
    """Return the cell of a competitor, which may not have taken part."""
    if times is None:
        return ""
    return f"{1000 * times.median:.4g} ({1000 * times.least:.4g})"


def _ratio(other: Times | None, ours: Times) -> str:
    """Return the cell that compares a competitor with ours."""
    if other is None:
        return ""
    ratios = other.median / ours.median, other.least / ours.least
    median, least = (f"{ratio:.0f}" if ratio >= 100 else f"{ratio:.3g}" for ratio in ratios)
    return f"{median} ({least})"


def _rates(work: Work | None, times: dict[str, Times]) -> tuple[str, str]:
    """Return the cells of our rate and its share of the roof's."""
    if work is None:
        return "", ""
    rate = work.amount / times["ours"].median
    if "roof" not in times:
        return f"{rate / 1e9:.4g} {work.unit}", ""
    amount = 2 * _GEMM_SIZE**3 if work.unit == "GFLOP/s" else work.amount
    return f"{rate / 1e9:.4g} {work.unit}", f"{rate * times['roof'].median / amount:.0%}"


def _pass(size: int, threads: int, in_place: bool) -> Callable[[], Any]:
    """Return a pass that reads and writes this many bytes each, by a number of threads."""
    source = np.ones(size // 4, np.float32)
    target = source if in_place else source.copy()
    function = np.negative if in_place else np.positive
    parts = np.array_split(source, threads), np.array_split(target, threads)
    if threads == 1:
        return lambda: function(source, target)
    pool = ThreadPoolExecutor(threads)
    return lambda: list(pool.map(function, *parts))


def run_script(text: str | None, competitors: Sequence[str], run: Callable[[Bench], None]) -> None:
    """Run a benchmark with the options of the command line, and leave Python.

    Parameters
    ----------
    text : str
        The script's docstring.
    competitors : sequence of str
        As for `Bench`.
    run : callable
        ``run(bench)``.
    """
    parser = argparse.ArgumentParser(description=text)
    parser.add_argument("--threads", type=int, default=1, help="for each competitor (default 1)")
    parser.add_argument("--dtype", choices=(*TOLERANCE, "both"), default="both")
    parser.add_argument("--rounds", type=int, default=15, help="times that each is run")
    parser.add_argument("--quick", action="store_true", help="three rounds, no naive layers")
    parser.add_argument(
        "--cpu-time", action="store_true", help="do not count what other processes take"
    )
    parser.add_argument("--markdown", action="store_true", help="print for a results page")
    options = parser.parse_args()
    _start_afresh(options.threads)
    try:
        run(Bench(options, competitors))
    except (ArithmeticError, ValueError) as error:
        sys.exit(f"{parser.prog}: {error}")


def _start_afresh(threads: int) -> None:
    """Start Python again where the environment is not the one that a benchmark needs.

    Libraries read their number of threads when they are loaded.
    """
    wanted = {**threads_of(threads), **PROCESS}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        os.execve(sys.executable, sys.orig_argv, {**os.environ, **wanted})


def threads_of(number: int) -> dict[str, str]:
    """Return the environment in which libraries use so many threads."""
    names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
    return dict.fromkeys(names, str(number))
