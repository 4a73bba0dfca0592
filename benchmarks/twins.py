"""Time the fast layers beside their references at every size of the test table.

Each pass is run by one thread, in turns of a millisecond, after both agree; what is told is the
least that a call took.  A fast layer that is slower than its reference is timed once more, in ten
times as many turns, and printed with both times if it still is; at the end stands how many passes
were compared.  Arrays without numbers are left out.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from operator import itemgetter
from pathlib import Path

import numpy as np
from common import TOLERANCE

from cs231n import fast_layers, layers
from cs231n.checking.layer_table import LAYERS
from cs231n.core import checks
from cs231n.measuring.machine import describe
from cs231n.measuring.timing import Contest, measure_calls, require_agreement

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
from cases import CONV_CASES, POOL_CASES, SCORES, TWINS, LayerCase

Twins = dict[str, LayerCase]


def twins() -> Iterator[tuple[str, Twins]]:
    """Yield the name of a case, and the case by each of the two implementations."""
    for name, (fast, reference) in TWINS.items():
        yield name, {"fast": fast, "reference": reference}
    for name, conv in CONV_CASES.items():
        yield f"conv, {name}", _pair("conv", (conv.x, conv.w, conv.w[:1]), conv.param)
    for name, pool in POOL_CASES.items():
        yield f"max pool, {name}", _pair("max_pool", (pool.x,), pool.param)


def _pair(name: str, shapes: tuple[tuple[int, ...], ...], param: dict[str, int]) -> Twins:
    """Return a case of both implementations of a layer."""
    row = LAYERS[name]
    return {way: LayerCase(*getattr(row, way), shapes, (param,)) for way in ("fast", "reference")}


def contests(pair: Twins, dtype: str) -> Iterator[tuple[str, Contest, Contest]]:
    """Yield both passes: their name, what must agree, and what is timed."""
    rng = np.random.default_rng(231)
    arrays = pair["fast"].draw(rng, dtype)
    forward = {
        way: partial(case.forward, *arrays, *copy.deepcopy(case.options))
        for way, case in pair.items()
    }
    results = {way: run() for way, run in forward.items()}
    outputs = {way: partial(itemgetter(0), result) for way, result in results.items()}
    yield "forward", outputs, forward
    dout = rng.standard_normal(results["fast"][0].shape).astype(dtype)
    backward = {way: partial(case.backward, dout, results[way][1]) for way, case in pair.items()}
    yield "backward", backward, backward


def losses(dtype: str) -> Iterator[tuple[str, Contest]]:
    """Yield the softmax loss at each size."""
    rng = np.random.default_rng(231)
    for name, (N, C) in SCORES.items():
        if N:
            given = rng.standard_normal((N, C)).astype(dtype), rng.integers(0, C, N)
            ways = {"fast": fast_layers.softmax_loss_fast, "reference": layers.softmax_loss}
            yield f"softmax, {name}", {way: partial(run, *given) for way, run in ways.items()}


def compared(dtype: str) -> Iterator[tuple[str, Contest, Contest]]:
    """Yield all passes of arrays that hold numbers."""
    for name, pair in twins():
        if all(np.prod(shape) for shape in pair["fast"].shapes):
            for step, agree, timed in contests(pair, dtype):
                yield f"{name}, {step}", agree, timed
    for name, contest in losses(dtype):
        yield name, contest, contest


def compare(dtype: str, rounds: int) -> None:
    """Print the passes in which the fast layer is slower, and how many there are."""
    ratios = []
    for title, agree, timed in compared(dtype):
        require_agreement(title, agree, 5 * TOLERANCE[dtype])
        fast, reference = measure_calls(timed, rounds).values()
        if fast > reference:
            fast, reference = measure_calls(timed, 10 * rounds).values()
        if fast > reference:
            print(f"{title:70s} fast {fast * 1e6:6.1f}  reference {reference * 1e6:6.1f}")
        ratios.append(fast / reference)
    slower = sum(ratio > 1 for ratio in ratios)
    middle = f"median {np.median(ratios):.2f} of the reference's time"
    print(f"{len(ratios)} passes, {middle}; {slower} slower")


def main(words: Sequence[str] | None = None) -> None:
    """Compare by one thread."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dtype", choices=TOLERANCE, default="float32")
    parser.add_argument("--rounds", type=int, default=20, help="turns of a millisecond of each")
    options = parser.parse_args(words)
    fast_layers.set_num_threads(1)
    machine = ", ".join(f"{name} {fact}" for name, fact in describe().items())
    try:
        rounds = checks.integer(parser.prog, "--rounds", options.rounds, least=1)
        print(f"{machine}; microseconds, {options.dtype}")
        compare(options.dtype, rounds)
    except (ArithmeticError, ValueError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
