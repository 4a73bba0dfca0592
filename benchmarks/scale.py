"""Compare ranks with threads, our ranks with PyTorch's, and two trials at once with one.

    python benchmarks/scale.py                 # everything that is installed, in one run
    python benchmarks/scale.py --steps 40 --rounds 7

All ways take turns, round by round, each in processes of its own; what is printed are the medians
of their times and the medians of the ratios within a round, for a machine that does other work too
slows them down together.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve()
ARCHITECTURE = "conv32-conv32-pool-conv64-conv64-pool-fc10"
BATCH = 128
_ROOT = dict.fromkeys(("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"), "1")


def main() -> None:
    """Run the part of a process, or all comparisons."""
    parser = argparse.ArgumentParser(description="Ranks against threads, trials against trials.")
    parser.add_argument("--steps", type=int, default=20, help="timed steps in a round")
    parser.add_argument("--rounds", type=int, default=5, help="times that each way has its turn")
    parser.add_argument("--trials", type=int, default=8, help="of the search; 0 for no search")
    parser.add_argument("--part", choices=("ours", "torch"), help=argparse.SUPPRESS)
    parser.add_argument("--per-rank", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part == "ours":
        print(json.dumps(time_ours(options.steps, not options.per_rank)))
    elif options.part == "torch":
        print(json.dumps(time_torch(options.steps)))
    else:
        compare(options)


def make_data() -> dict[str, Any]:
    """Return images and labels, the same in every process."""
    import numpy as np

    rng = np.random.default_rng(231)
    X = rng.standard_normal((4 * BATCH, 3, 32, 32)).astype(np.float32)
    y = rng.integers(10, size=len(X))
    return {"X_train": X, "y_train": y, "X_val": X[:10], "y_val": y[:10]}


def time_ours(steps: int, sync: bool) -> dict[str, float]:
    """Return seconds of a step, and those of them that go into communication, on the first rank."""
    import numpy as np

    from cs231n.classifiers import ConvNet
    from cs231n.parallel.ranks import Ranks
    from cs231n.solver import Solver

    communicator = None
    if "OMPI_COMM_WORLD_SIZE" in os.environ:
        from cs231n.parallel.mpi import world

        communicator = world()
    np.random.seed(231)
    model = ConvNet(ARCHITECTURE, normalization="batchnorm")
    solver = Solver(
        model,
        make_data(),
        "adam",
        {"learning_rate": 1e-3},
        batch_size=BATCH,
        verbose=False,
        communicator=communicator,
        sync_statistics=sync,
    )
    waited = count_waiting(Ranks)
    with solver._over_ranks():  # the steps alone, without accuracies
        for _ in range(5):
            solver._step()
        waited[0], start = 0.0, time.perf_counter()
        for _ in range(steps):
            solver._step()
        seconds = time.perf_counter() - start
    return {"step": seconds / steps, "waiting": waited[0] / steps, "loss": solver.loss_history[0]}


def count_waiting(ranks: Any) -> list[float]:
    """Add up the time that a rank spends in waiting for messages."""
    total, wait = [0.0], ranks.wait

    def timed(self: Any, request: Any) -> None:
        start = time.perf_counter()
        wait(self, request)
        total[0] += time.perf_counter() - start

    ranks.wait = timed
    return total


def time_torch(steps: int) -> dict[str, float]:
    """Return seconds of a step of the same network by DistributedDataParallel over gloo."""
    import torch
    from torch import distributed

    from cs231n.classifiers import ConvNet
    from cs231n.torch_bridge import to_torch

    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank, size = distributed.get_rank(), distributed.get_world_size()
    net = torch.nn.parallel.DistributedDataParallel(
        to_torch(ConvNet(ARCHITECTURE, normalization="batchnorm")).train()
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    data = make_data()
    X, y = torch.from_numpy(data["X_train"]), torch.from_numpy(data["y_train"])

    def step() -> None:
        rows = torch.randint(len(X), (BATCH // size,))
        loss = torch.nn.functional.cross_entropy(net(X[rows]), y[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        loss.item()

    for _ in range(5):
        step()
    start = time.perf_counter()
    for _ in range(steps):
        step()
    seconds = (time.perf_counter() - start) / steps
    distributed.destroy_process_group()
    return {"step": seconds, "waiting": 0.0, "rank": rank}


def run(words: list[str], threads: int, **changes: str) -> list[dict[str, float]]:
    """Run processes, and return what each prints as JSON."""
    environment = {**os.environ, **_ROOT, **changes}
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        environment[name] = str(threads)
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    found = re.findall(r"\{[^{}]*\}", done.stdout)  # lines of two ranks may run into each other
    if done.returncode or not found:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
    return [json.loads(text) for text in found]


def ways(steps: int) -> dict[str, Callable[[], dict[str, float]]]:
    """Return the ways to make a step on two processors, by name."""
    this = [sys.executable, str(HERE), "--steps", str(steps)]
    ours = [*this, "--part", "ours"]
    mpiexec = shutil.which("mpiexec", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    found = {"1 rank of 2 threads": lambda: run(ours, 2)[0]}
    if mpiexec is not None and find_spec("mpi4py") is not None:
        two = [mpiexec, "-n", "2", "--oversubscribe", "--bind-to", "none"]
        found["2 ranks of 1 thread"] = lambda: slowest(run([*two, *ours], 1))
        found["2 ranks, own statistics"] = lambda: slowest(run([*two, *ours, "--per-rank"], 1))
    if find_spec("torch") is not None:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
        torchrun += ["--master-addr", "127.0.0.1", "--master-port", "29517", *this[1:]]
        found["torch DDP, gloo"] = lambda: slowest(run([*torchrun, "--part", "torch"], 1))
    return found


def slowest(ranks: list[dict[str, float]]) -> dict[str, float]:
    """Return the times of the slowest rank."""
    return max(ranks, key=lambda one: one["step"])


def time_search(jobs: int, trials: int) -> float:
    """Return the seconds of a search with so many jobs, by the command line."""
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, "-m", "cs231n", "search", "--output", f"{folder}/search"]
        words += ["--model", "fully-connected", "--hidden-dims", "100", "100", "--epochs", "4"]
        words += ["--learning-rate", "1e-4:1e-2:log", "--trials", str(trials), "--jobs", str(jobs)]
        start = time.perf_counter()
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start


def compare(options: argparse.Namespace) -> None:
    """Let all ways have their turns, and print times and ratios."""
    taking = ways(options.steps)
    times: dict[str, list[dict[str, float]]] = {name: [] for name in taking}
    for _ in range(options.rounds):
        for name, way in taking.items():
            times[name].append(way())
    print(f"{ARCHITECTURE} with batch norm, batch {BATCH}, float32; medians of {options.rounds}")
    print(f"{'':<26}{'step':>10}{'of which waiting':>20}")
    for name, found in times.items():
        step, waiting = (median(one[key] for one in found) for key in ("step", "waiting"))
        print(f"{name:<26}{1e3 * step:>7.1f} ms{waiting / step:>18.1%}")
    base = times["1 rank of 2 threads"]
    for name in taking:
        ratio = median(one["step"] / other["step"] for one, other in zip(base, times[name]))
        print(f"speed of {name}: {ratio:.2f} of 1 rank of 2 threads")
    both = ("2 ranks, own statistics", "torch DDP, gloo")  # which has no others by default
    if all(name in times for name in both):
        pairs = zip(times[both[1]], times[both[0]])
        print(f"ours over torch: {median(t['step'] / o['step'] for t, o in pairs):.2f} times")
    if options.trials:
        compare_searches(options.trials, max(options.rounds // 2, 1))


def compare_searches(trials: int, rounds: int) -> None:
    """Time searches with one and with two jobs in turns."""
    pairs = [(time_search(1, trials), time_search(2, trials)) for _ in range(rounds)]
    one, two = (median(times) for times in zip(*pairs))
    ratio = median(first / second for first, second in pairs)
    print(
        f"search of {trials} trials: {one:.1f} s by one job, {two:.1f} s by two: {ratio:.2f} times"
    )


if __name__ == "__main__":
    main()
