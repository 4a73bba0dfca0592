"""Time reference and fast layers, and PyTorch where installed: course shapes, and tiny ones."""

from __future__ import annotations

import argparse
import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from cs231n import fast_layers
from cs231n.checking.layer_table import LAYERS
from cs231n.core import checks
from cs231n.measuring.competitors import Passes, Problem, kernels_alone, ours, torch_passes
from cs231n.measuring.machine import describe
from cs231n.measuring.timing import load_torch, measure, measure_calls, require_agreement

__all__ = ["add_options", "run"]

_TOLERANCE = {"float32": 1e-4, "float64": 1e-10}
_DIRECTIONS = ("forward", "backward")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    add = parser.add_argument
    add(
        "--dtype",
        choices=("float32", "float64"),
        default="float32",
        help="precision (default: %(default)s)",
    )
    add("--rounds", type=int, default=15, help="times that each is run (default: %(default)s)")
    add("--batch", type=int, default=100, help="images in the batch (default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    """Check that the competitors agree, time them in turn and print medians and ratios."""
    torch = load_torch()
    rounds = checks.integer("bench", "--rounds", options.rounds, least=1)
    batch = checks.integer("bench", "--batch", options.batch, least=1)
    for name, fact in describe().items():
        print(f"{name:<8} {fact}")
    if torch is None:
        print("torch    not installed")
    else:
        print(f"torch    {torch.__version__}, {torch.get_num_threads()} threads")
    dtype = np.dtype(options.dtype)
    print(f"\nmedian milliseconds, batch of {batch}, {dtype}")
    _print_course(_course(dtype, batch), rounds, torch)
    print(f"\nmicroseconds of a call, tiny arrays, {dtype}, one thread")
    with _one_thread(torch):
        _print_small(dtype, rounds, torch)
    return 0


def _print_course(problems: list[Problem], rounds: int, torch: Any) -> None:
    """Print a line for each pass at the course's shapes."""
    names = ["naive", "fast", *(["torch"] if torch is not None else [])]
    rivals = [name for name in names if name != "fast"]
    ratios = "".join(f"{f'{name}/fast':>12}" for name in rivals)
    print(f"{'':<18}{''.join(f'{name:>10}' for name in names)}{ratios}")
    for problem in problems:
        for title, contest in _contests(problem, names, torch):
            require_agreement(title, contest, _TOLERANCE[problem.arrays[0].dtype.name])
            median = {name: times.median for name, times in measure(contest, rounds).items()}
            times = "".join(f"{1e3 * median[name]:>10.3f}" for name in names)
            ratios = "".join(f"{median[name] / median['fast']:>12.2f}" for name in rivals)
            print(f"{title:<18}{times}{ratios}", flush=True)


def _print_small(dtype: np.dtype, rounds: int, torch: Any) -> None:
    """Print a line for each pass of each layer at the tiny shapes of the table of layers.

    'kernels' are the calls of kernels in the fast layer, so many as 'calls' says, and 'around' is
    what it does beside them all; a layer that is left to NumPy for being so small has none.
    """
    names = ["reference", "fast", *(["torch"] if torch is not None else [])]
    columns = [*names, "kernels", "calls", "around"]
    print(f"{'':<42}{''.join(f'{name:>10}' for name in columns)}")
    for problem in _tiny(dtype):
        for title, contest in _contests(problem, names, torch):
            require_agreement(title, contest, _TOLERANCE[dtype.name])
            cells = {name: f"{cell:.1f}" for name, cell in _microseconds(contest, rounds).items()}
            if "kernels" in cells:
                cells["calls"] = str(len(kernels_alone(contest["fast"])))
            line = "".join(f"{cells.get(name, ''):>10}" for name in columns)
            print(f"{title:<42}{line}".rstrip(), flush=True)


def _microseconds(contest: dict[str, Any], rounds: int) -> dict[str, float]:
    """Return what a call of each competitor takes, and of what the fast one's consists."""
    calls = kernels_alone(contest["fast"]) if "fast" in contest else []

    def kernels() -> None:
        for call in calls:
            call()

    seconds = measure_calls({**contest, "kernels": kernels} if calls else contest, rounds)
    if calls:
        seconds["around"] = max(seconds["fast"] - seconds["kernels"], 0.0)
    return {name: 1e6 * one for name, one in seconds.items()}


def _contests(
    problem: Problem, names: list[str], torch: Any
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a title for each pass of a layer, and the competitors that there are."""
    row, competitors = LAYERS[problem.layer], dict[str, Passes]()
    for name in names:
        if name == "torch":
            if row.counterpart is not None and row.counterpart.function is not None:
                competitors[name] = torch_passes(problem, torch)
        elif name == "fast" and row.fast is not None:
            competitors[name] = ours(problem, "fast")
        elif name != "fast" and row.reference is not None:
            competitors[name] = ours(problem, "reference")
    for index in range(1 if problem.dout is None else 2):
        title = problem.layer if problem.dout is None else f"{problem.layer} {_DIRECTIONS[index]}"
        yield title, {name: passes[index] for name, passes in competitors.items()}


def _course(dtype: np.dtype, N: int) -> list[Problem]:
    """Return the course's comparisons: a strided convolution and a 2x2 pooling."""
    rng = np.random.default_rng(231)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(dtype)

    conv = draw(N, 3, 31, 31), draw(25, 3, 3, 3), draw(25)
    conv_param = {"stride": 2, "pad": 1}
    pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}
    return [
        Problem("conv", conv, (conv_param,), draw(N, 25, 16, 16)),
        Problem("max_pool", (draw(N, 3, 32, 32),), (pool_param,), draw(N, 3, 16, 16)),
    ]


def _tiny(dtype: np.dtype) -> Iterator[Problem]:
    """Yield each layer with the usual example of the table."""
    for name, row in LAYERS.items():
        rng, passes = np.random.default_rng(231), next(row.passes)
        arrays = tuple(row.example.draw(rng, dtype))
        out = passes.forward(*arrays, *copy.deepcopy(row.example.options))[0]
        is_loss = passes.backward is None
        dout = None if is_loss else rng.standard_normal(out.shape).astype(dtype)
        yield Problem(name, arrays, row.example.options, dout)


@contextlib.contextmanager
def _one_thread(torch: Any) -> Iterator[None]:
    """Let ours and PyTorch use one thread."""
    before = fast_layers.get_num_threads(), torch and torch.get_num_threads()
    try:
        fast_layers.set_num_threads(1)
        if torch is not None:
            torch.set_num_threads(1)
        yield
    finally:
        fast_layers.set_num_threads(before[0])
        if torch is not None:
            torch.set_num_threads(before[1])
