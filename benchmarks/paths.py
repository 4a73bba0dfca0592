"""Time the two ways of a 3x3 convolution, direct and by Winograd, and the rule between them.

'ours' is the way that the kernels take by themselves.  Where their rule decides right, one ratio is
about 1 and the other one above it; a ratio well below 1 is what the wrong decision costs.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from common import Bench, run_script

from cs231n.kernels import backend

COMPETITORS = ("direct", "winograd", "ours")
_SHAPES = (  # N, C, H, F: images of H x H pixels
    *((N, 32, 16, 32) for N in (1, 2, 4, 16, 64)),
    *((64, C, 16, C) for C in (8, 16, 24, 64, 128)),
    *((64, 32, H, 32) for H in (4, 7, 8, 32)),
    *((N, 128, 8, 128) for N in (1, 4, 64)),
    *((1, 64, H, 64) for H in (16, 32, 64)),
    (64, 16, 32, 16),
    (64, 32, 16, 64),
    (128, 64, 8, 128),
    (128, 128, 4, 256),
    (128, 128, 8, 256),
)
_WINDOW = 3, 3, 1, 1  # height, width, stride, padding


def run(bench: Bench) -> None:
    """Compare the forward pass, which dx is like, and dw at each shape."""
    if backend.backend() == "numpy":
        raise SystemExit("benchmarks/paths.py: needs the compiled kernels; NumPy has one way only")
    for dtype in bench.dtypes:
        for N, C, H, F in _SHAPES:
            for name, kernel in _kernels(dtype, N, C, H, F).items():
                contest = {path: partial(kernel, path=path) for path in ("direct", "winograd")}
                contest["ours"] = kernel
                bench.compare(f"{name} ({N},{C},{H},{H}) ({F},{C},3,3)", dtype, contest)


def _kernels(dtype: str, N: int, C: int, H: int, F: int) -> dict[str, Callable[..., Any]]:
    """Return the kernels on random images, filters and upstream gradients."""
    rng = np.random.default_rng(231)
    shapes = ((N, C, H, H), (F, C, 3, 3), (F,), (N, F, H, H))
    x, w, b, dout = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
    kernels = backend.kernels()

    def forward(path: str = "rule") -> Any:
        out = np.empty_like(dout)
        kernels.conv_forward(x, w, b, out, _WINDOW, path=path)
        return out

    def backward(path: str = "rule") -> Any:
        dw, db = np.empty_like(w), np.empty_like(b)
        kernels.conv_backward(x, w, dout, None, dw, db, _WINDOW, path=path)
        return dw

    return {"forward": forward, "dw": backward}


if __name__ == "__main__":
    run_script(__doc__, COMPETITORS, run)
