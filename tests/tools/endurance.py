"""Train for many steps, and see whether memory grows.

PYTHONPATH=tests/support python tests/tools/endurance.py --steps 10000
"""

import argparse
import gc
import os
import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
from runs import SHAPE, images

from cs231n.augment import FlipAndShift
from cs231n.classifiers import ConvNet
from cs231n.solver import Solver


class Meter:
    """Counts steps, and measures the memory once the run is warm and once at its end.

    What Python and NumPy hold is counted to the byte; what the process occupies, which counts the
    memory of the kernels too, goes in pages.  The histories grow by design: they are taken off.
    """

    def __init__(self, solver, warm, last):
        self.solver, self.at, self.seen = solver, (warm, last), []
        self.measure()  # what measuring loads is not what training takes

    def __call__(self, X):
        """Measure if it is time; the images stay as they are."""
        if len(self.solver.loss_history) + 1 in self.at:
            self.seen.append(self.measure())
        return self.solver.turned(X)

    def measure(self):
        """Return the bytes that are traced, and those that are resident."""
        gc.collect()
        solver = self.solver
        histories = (solver.loss_history, solver.train_acc_history, solver.val_acc_history)
        by_design = sum(sys.getsizeof(one) + 24 * len(one) for one in histories)
        return tracemalloc.get_traced_memory()[0] - by_design, resident() - by_design


def resident():
    """Return the bytes of memory that the process occupies."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def growth(steps, warm, folder):
    """Train for so many steps; return by how many bytes memory grew since the run was warm.

    The first number is what Python and NumPy hold, the second what the process occupies.
    """
    np.random.seed(1)
    model = ConvNet("conv8-pool-conv8-gavg-fc20-fc3", SHAPE, "batchnorm", 0.8)
    data = images(N=500, dtype=np.float32)
    solver = Solver(
        model, data, "adam", batch_size=10, num_epochs=steps // 50, replace=False, verbose=False,
        checkpoint_name=Path(folder) / "run", num_train_samples=100,
    )  # fmt: skip
    solver.turned = FlipAndShift(pad=1)
    meter = solver.augment = Meter(solver, warm, steps)
    tracemalloc.start()
    try:
        solver.train()
    finally:
        tracemalloc.stop()
    (traced, occupied), (traced_then, occupied_then) = meter.seen
    return traced_then - traced, occupied_then - occupied


def main():
    """Read the command line, and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10_000, help="a multiple of 50")
    parser.add_argument("--warm", type=int, default=1000, help="steps before memory is measured")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        traced, occupied = growth(options.steps, options.warm, folder)
    print(
        f"from step {options.warm} to step {options.steps} memory grew by {traced} bytes"
        f" (traced) and {occupied} bytes (resident), histories not counted"
    )


if __name__ == "__main__":
    main()
