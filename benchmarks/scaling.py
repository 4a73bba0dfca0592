"""Time a 3x3 convolution over batch size, channels, image size and threads."""

from __future__ import annotations

import os

from common import Bench, run_script
from kernels import compare_convolution

COMPETITORS = ("numpy", "ours", "torch", "torch nhwc")
_BASE = {"N": 64, "C": 32, "H": 16}
_VALUES = {"N": (1, 4, 16, 64, 256), "C": (3, 16, 32, 64, 128), "H": (7, 8, 16, 32, 64)}


def run(bench: Bench) -> None:
    """Vary one size at a time about the same base: as many filters as channels, square images."""
    for dtype in bench.dtypes:
        for letter, values in _VALUES.items():
            for value in values:
                _compare(bench, dtype, f"{letter}={value} ", {**_BASE, letter: value})
        if bench.cpu_time:
            continue
        given = bench.threads
        for threads in range(1, (os.cpu_count() or 1) + 1):
            bench.use_threads(threads)
            _compare(bench, dtype, f"threads={threads} ", _BASE)
        bench.use_threads(given)


def _compare(bench: Bench, dtype: str, prefix: str, sizes: dict[str, int]) -> None:
    """Compare one size."""
    N, C, H = sizes.values()
    compare_convolution(bench, dtype, N, C, H, H, C, 3, 3, 1, 1, prefix=prefix)


if __name__ == "__main__":
    run_script(__doc__, COMPETITORS, run)
