"""What the scripts around the recipes share: options, tables in files, the rate of products."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np

from cs231n.classifiers import Network, summary
from cs231n.commands.recipes import files
from cs231n.commands.train import add_options, recipe
from cs231n.files import storage

__all__ = ["MEASURED", "RESULTS", "Spread", "flops", "options_of", "product_rate", "read", "write"]

RESULTS = Path(__file__).resolve().parent / "results"
MEASURED = Path(files.__file__).parent / "measured.csv"

_PRODUCT = """
import json
from cs231n.measuring.timing import load_torch, measure
import numpy as np
a, b, out = np.ones((3, 768, 768), np.float32)
contest = {"NumPy": lambda: np.matmul(a, b, out=out)}
torch = load_torch()
if torch is not None:
    tensors = [torch.from_numpy(array) for array in (a, b, out)]
    contest["PyTorch"] = lambda: torch.mm(*tensors[:2], out=tensors[2])
print(json.dumps(2e-9 * 768**3 / min(times.median for times in measure(contest, 7).values())))
"""


class Spread(NamedTuple):
    """Mean and standard deviation of some values; the latter is None for a single one."""

    mean: float
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return those of at least one value."""
        return cls(fmean(values), stdev(values) if len(values) > 1 else None, len(values))

    def percent(self, sign: str = "") -> str:
        """Return a part of a whole, or with the sign '+' a difference of two, in per cent."""
        spread = "" if self.deviation is None else f" ± {100 * self.deviation:.2f}"
        return f"{100 * self.mean:{sign}.2f}{spread}"


def options_of(words: Sequence[str]) -> argparse.Namespace:
    """Return the options of `train`, as the command line has them."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    return recipe.followed(parser.parse_args(words))


def read(path: Path) -> list[dict[str, str]]:
    """Return the lines of a table, none where there is no table; one that was cut off is none."""
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if None not in row.values()]


def write(path: Path, columns: Sequence[str], rows: Iterable[dict[str, Any]]) -> None:
    """Write a table as a whole."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    storage.write_text(path, text.getvalue())


def flops(model: Network) -> int:
    """Return the operations of a training step for one sample: three times the forward pass.

    A multiplication with its addition counts as two, a convolution as its direct sum.
    """
    sample = np.zeros((1, *model.input_shape), model.dtype)
    return 6 * sum(row.multiply_adds for row in summary.rows(model._layers, model.params, sample))


def product_rate() -> float:
    """Return the GFLOP/s of a large matrix product in float32, the faster of NumPy and PyTorch.

    It is measured in a process of its own, on all processors.
    """
    threads = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, threads)}
    words = [sys.executable, "-c", _PRODUCT]
    done = subprocess.run(words, env=environment, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout))
