"""Time an epoch of the course's ConvNet on CIFAR-10 (or the built-in glyphs), in turns.

Also what the Solver's measurement of accuracies after it costs.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import numpy as np
from common import Bench, run_script
from step import competitors

from cs231n import data_utils
from cs231n.classifiers import ThreeLayerConvNet
from cs231n.measuring.timing import Times
from cs231n.solver import Solver

COMPETITORS = ("ours", "torch", "torch nhwc")
_BATCH_SIZE = 50
_TURNS = 10
_CHUNKS = (100, 1000)  # the Solver's, and a set at once
Data = dict[str, np.ndarray]


def load(dtype: str) -> tuple[str, Data]:
    """Return the name and the arrays of the data set that is there."""
    try:
        data, name = data_utils.get_CIFAR10_data(dtype=np.dtype(dtype)), "CIFAR-10"
    except FileNotFoundError:
        data, name = data_utils.get_builtin_data(dtype=np.dtype(dtype)), "the built-in glyphs"
    return name, data


def time_turns(trainings: dict[str, Any], batches: np.ndarray) -> dict[str, Times]:
    """Return the times of all steps: each competitor makes a tenth of them, then the next one."""
    seconds: dict[str, list[float]] = {name: [] for name in trainings}
    for turn, part in enumerate(np.array_split(batches, _TURNS)):
        for name in list(trainings)[:: -1 if turn % 2 else 1]:
            trainings[name](part[0])  # not timed: it warms up
            start = time.perf_counter()
            for batch in part:
                trainings[name](batch)
            seconds[name].append(time.perf_counter() - start)
    return {name: Times(sum(all_), _TURNS * min(all_)) for name, all_ in seconds.items()}


def accuracy_share(model: ThreeLayerConvNet, data: Data, epoch: float) -> str:
    """Say what the accuracies of 1000 training and 1000 validation images cost, in turns."""
    solver = Solver(model, data, verbose=False)
    seconds: dict[int, list[float]] = {size: [] for size in _CHUNKS}
    for _ in range(_TURNS):
        for size, times in seconds.items():
            start = time.perf_counter()
            solver.check_accuracy(data["X_train"], data["y_train"], 1000, size)
            solver.check_accuracy(data["X_val"], data["y_val"], 1000, size)
            times.append(time.perf_counter() - start)
    return ", ".join(
        f"{median(times) / epoch:.2%} in chunks of {size}" for size, times in seconds.items()
    )


def run(bench: Bench) -> None:
    """Time an epoch in all dtypes; the columns are its time and ten times its best tenth."""
    for dtype in bench.dtypes:
        name, data = load(dtype)
        images, labels = data["X_train"], data["y_train"]
        np.random.seed(231)
        model = ThreeLayerConvNet(hidden_dim=500, reg=0.001, dtype=np.dtype(dtype))
        trainings = competitors(bench.torch, model, "adam", images, labels)
        steps = len(images) // _BATCH_SIZE
        batches = np.random.default_rng(231).integers(len(images), size=(steps, _BATCH_SIZE))
        title = f"epoch of {name}, {steps} steps of {_BATCH_SIZE}"
        times = time_turns(trainings, batches)
        bench.show(title, dtype, times)
        if "ours" in times:
            share = accuracy_share(model, data, times["ours"].median)
            print(f"accuracies after it, of our epoch: {share}")


if __name__ == "__main__":
    run_script(__doc__, COMPETITORS, run)
