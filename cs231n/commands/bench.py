"""Time naive against fast layers, and PyTorch where installed, at the course's shapes."""

from __future__ import annotations

import argparse

import numpy as np

from cs231n import fast_layers, layers
from cs231n.core import checks
from cs231n.measuring.competitors import Problem, ours, torch_passes
from cs231n.measuring.machine import describe
from cs231n.measuring.timing import Times, load_torch, measure, require_agreement

__all__ = ["add_options", "run"]

_TOLERANCE = {"float32": 1e-4, "float64": 1e-10}


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
    print(f"\nmedian milliseconds, batch of {batch}, {options.dtype}")
    print(f"{'':<18}{'naive':>10}{'fast':>10}{'torch':>10}{'naive/fast':>12}{'torch/fast':>12}")
    for problem in _problems(np.dtype(options.dtype), batch):
        competitors = {"naive": ours(problem, layers, "_naive")}
        competitors["fast"] = ours(problem, fast_layers, "_fast")
        if torch is not None:
            competitors["torch"] = torch_passes(problem, torch)
        for index, direction in enumerate(("forward", "backward")):
            contest = {name: passes[index] for name, passes in competitors.items()}
            title = f"{problem.layer} {direction}"
            require_agreement(title, contest, _TOLERANCE[options.dtype])
            print(_line(title, measure(contest, rounds)), flush=True)
    return 0


def _problems(dtype: np.dtype, N: int) -> list[Problem]:
    """Return the course's comparisons: a strided convolution and a 2x2 pooling."""
    rng = np.random.default_rng(231)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(dtype)

    conv = draw(N, 3, 31, 31), draw(25, 3, 3, 3), draw(25)
    pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}
    return [
        Problem("conv", conv, {"stride": 2, "pad": 1}, draw(N, 25, 16, 16)),
        Problem("max_pool", (draw(N, 3, 32, 32),), pool_param, draw(N, 3, 16, 16)),
    ]


def _line(title: str, times: dict[str, Times]) -> str:
    """Return a row of the table."""
    naive, fast = times["naive"].median, times["fast"].median
    torch = times["torch"].median if "torch" in times else float("nan")
    columns = "".join(f"{1000 * seconds:>10.3f}" for seconds in (naive, fast, torch))
    return f"{title:<18}{columns}{naive / fast:>12.0f}{torch / fast:>12.2f}"
