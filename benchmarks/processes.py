"""Time layers, forward passes and training steps, each competitor in processes of its own.

    python benchmarks/processes.py                        # all rows, which takes half an hour
    python benchmarks/processes.py step --rounds 5        # those with this word in their name

Competitors that take turns within a process hold each other up: a worker of OpenMP that waits
spins on for milliseconds.  Here every turn is a process, and the ways go in turns, forwards and
backwards.  That all agree is seen first.  PyTorch competes as it comes, with channels_last, and
compiled where a row is a network.  Printed are the medians, how many times ours they are (the
median of the rounds' ratios), and for a step what memory it needs beyond what the process had.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from common import PROCESS, TOLERANCE, threads_of
from kernels import batchnorm, convolution
from recipe_steps import peak, resident, solver_of
from recorded import product_rate
from step import TorchTraining, competitors

from cs231n import fast_layers
from cs231n.classifiers import ConvNet, Network
from cs231n.core import checks
from cs231n.measuring.competitors import Problem, ours, torch_passes
from cs231n.measuring.machine import describe
from cs231n.measuring.timing import Contest, load_torch, require_agreement

HERE = Path(__file__).resolve()
WAYS = ("ours", "torch", "torch nhwc", "torch compile")
_DEEP = "conv32-conv32-pool-conv64-conv64-pool-conv128-conv128-gmax-fc10"
_RULE = "nesterov_momentum"
_LEAST_CALLS, _MOST_SECONDS = 5, 3600
# A network makes more of a rounding error with each layer.
_SLACK = 10.0


def layer(problem: Callable[[], Problem], index: int) -> Contest:
    """Return the forward (0) or backward (1) pass of a layer by each way."""
    given, torch = problem(), load_torch()
    found = {"ours": ours(given, "fast")[index]}
    if torch is not None:
        found["torch"] = torch_passes(given, torch)[index]
        found["torch nhwc"] = torch_passes(given, torch, channels_last=True)[index]
    return found


def deep() -> Network:
    """Return the deep ConvNet with batch normalisation."""
    np.random.seed(231)
    return ConvNet(_DEEP, normalization="batchnorm", dtype=np.float32)


def speedrun() -> Network:
    """Return the network of the recipe speedrun94."""
    return solver_of("speedrun94", 10).model


def scores(network: Callable[[], Network], batch: int) -> Contest:
    """Return the forward pass of a network in test mode by each way."""
    model, torch = network(), load_torch()
    images = np.random.default_rng(231).standard_normal((batch, 3, 32, 32)).astype(np.float32)
    found: dict[str, Callable[[], Any]] = {"ours": lambda: model.loss(images)}
    if torch is not None:
        for way in WAYS[1:]:
            found[way] = _torch_scores(torch, model, images, way)
    return found


def _torch_scores(torch: Any, model: Network, images: np.ndarray, way: str) -> Callable[[], Any]:
    """Return the forward pass in test mode by one of PyTorch's ways."""
    from cs231n.torch_bridge import to_torch

    layout = torch.contiguous_format if way == "torch" else torch.channels_last
    net = to_torch(model).eval().to(memory_format=layout)
    called = torch.compile(net) if way == "torch compile" else net
    tensor = torch.from_numpy(images).to(memory_format=layout)

    def run() -> Any:
        with torch.no_grad():
            return called(tensor)

    return run


def step(batch: int) -> Contest:
    """Return a training step of the deep ConvNet by each way, which returns the loss."""
    rng = np.random.default_rng(231)
    images = rng.standard_normal((batch, 3, 32, 32)).astype(np.float32)
    labels, rows = rng.integers(10, size=batch), rng.permutation(batch)
    torch = load_torch()
    trainings = competitors(torch, deep(), _RULE, images, labels)
    if torch is not None:
        own = trainings["ours"]
        trainings["torch compile"] = TorchTraining(torch, own, _RULE, True, compiled=True)
    return {way: partial(_loss, training, rows) for way, training in trainings.items()}


def _loss(training: Callable[[np.ndarray], float], rows: np.ndarray) -> np.ndarray:
    """Step once, and return the loss as an array."""
    return np.array(training(rows), np.float32)


def _rows() -> dict[str, tuple[Callable[[], Contest], float]]:
    """Return how to make the ways of each row, and by how much they may differ."""
    rows: dict[str, tuple[Callable[[], Contest], float]] = {}
    single, double = TOLERANCE["float32"], TOLERANCE["float64"]
    for dtype, sizes in (
        ("float32", (256, 256, 7, 7, 256, 3, 3, 1, 1)),
        ("float32", (256, 256, 3, 3, 256, 3, 3, 1, 1)),
        ("float32", (64, 64, 16, 16, 64, 3, 3, 1, 1)),
        ("float32", (128, 128, 8, 8, 256, 3, 3, 1, 1)),
        ("float32", (1, 32, 16, 16, 32, 3, 3, 1, 1)),
        ("float32", (64, 32, 7, 7, 32, 3, 3, 1, 1)),
        ("float64", (100, 3, 31, 31, 25, 3, 3, 2, 1)),
    ):
        problem = partial(convolution, dtype, *sizes)
        name = f"conv {sizes[:4]} {(sizes[4], sizes[1], *sizes[5:7])} {dtype}".replace(", ", ",")
        rows[f"{name} forward"] = partial(layer, problem, 0), TOLERANCE[dtype]
        rows[f"{name} backward"] = partial(layer, problem, 1), TOLERANCE[dtype]
    rows["spatial batch norm float32 backward"] = (
        partial(layer, partial(batchnorm, "float32"), 1),
        single,
    )
    rows["spatial batch norm float64 forward"] = (
        partial(layer, partial(batchnorm, "float64"), 0),
        double,
    )
    for title, network in (("deep", deep), ("speed-run", speedrun)):
        for batch in (128, 1):
            name = f"scores in test mode, {title}, batch {batch}"
            rows[name] = partial(scores, network, batch), _SLACK * single
    for batch in (128, 512):
        rows[f"step, deep, batch {batch}"] = partial(step, batch), _SLACK * single
    return rows


ROWS = _rows()


def main(words: Sequence[str] | None = None) -> int:
    """Let the ways of each row take turns, or make the turn of one way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add(
        "rows", nargs="*", metavar="WORD", help="rows with one of these in their names; default all"
    )
    add("--threads", type=int, default=2, help="for each competitor (default 2)")
    add("--rounds", type=int, default=3, help="turns of each way (default 3)")
    add("--seconds", type=float, default=2.0, help="that a turn takes (default 2)")
    add("--turn", choices=(*WAYS, "all"), help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    try:
        checks.integer(parser.prog, "--threads", options.threads, 1)
        checks.integer(parser.prog, "--rounds", options.rounds, 1)
        checks.number(parser.prog, "--seconds", options.seconds, 0, _MOST_SECONDS)
    except ValueError as error:
        sys.exit(str(error))
    names = [row for row in ROWS if not options.rows or any(word in row for word in options.rows)]
    if not names:
        parser.error(f"no row has any of {options.rows} in its name; expected some of {[*ROWS]}")
    if options.turn is not None:
        print(json.dumps(turn(options.rows[0], options)))
        return 0
    print(f"{describe()['machine']}, {options.threads} threads each, {options.rounds} rounds")
    for name in names:
        compare(name, options)
    return 0


def turn(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Make the turn of a way, or see that all agree; return the seconds of the calls."""
    fast_layers.set_num_threads(options.threads)
    if load_torch() is not None:
        load_torch().set_num_threads(options.threads)
    make, tolerance = ROWS[name]
    contest = make()
    if options.turn == "all":
        for _ in range(2):  # the second step tells of the first one's gradients
            require_agreement(name, contest, tolerance)
        return {"ways": [*contest]}
    run, before = contest[options.turn], resident()
    run()
    run()
    seconds, end = list[float](), time.perf_counter() + options.seconds
    while len(seconds) < _LEAST_CALLS or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return {"seconds": median(seconds), "megabytes": peak() - before}


def compare(name: str, options: argparse.Namespace) -> None:
    """Let the ways take turns, and print what came out."""
    ways = _in_process(name, "all", options)["ways"]
    turns: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    rates = []
    for index in range(options.rounds):
        rates.append(product_rate())
        for way in ways[:: -1 if index % 2 else 1]:
            turns[way].append(_in_process(name, way, options))
    print(f"{name}; product {median(rates):.0f} GFLOP/s")
    medians = {way: median(one["seconds"] for one in some) for way, some in turns.items()}
    for way, some in turns.items():
        ratio = median(one["seconds"] / our["seconds"] for one, our in zip(some, turns["ours"]))
        line = f"  {way:<14}{1000 * medians[way]:>10.4g} ms{ratio:>8.2f}"
        if name.startswith("step"):  # by the system's own way with memory that is freed
            line += f"{_in_process(name, way, options, {})['megabytes']:>8.0f} MB"
        print(line, flush=True)


def _in_process(
    name: str, way: str, options: argparse.Namespace, memory: Mapping[str, str] = PROCESS
) -> dict[str, Any]:
    """Let a way have its turn in a process of its own."""
    words = [sys.executable, str(HERE), name, "--turn", way]
    words += ["--threads", str(options.threads), "--seconds", str(options.seconds)]
    environment = {**os.environ, **memory, **threads_of(options.threads)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    sys.exit(main())
