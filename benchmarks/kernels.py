"""Time single layers and Adam: naive, NumPy (im2col and GEMM), ours, and PyTorch.

PyTorch competes twice: with images as (N, C, H, W), like ours, and as (N, H, W, C) in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from common import Bench, Work, run_script

from cs231n import optim
from cs231n.kernels import fast_optim
from cs231n.measuring.competitors import Problem, ours, torch_passes

COMPETITORS = ("naive", "numpy", "ours", "torch", "torch nhwc")

# N, C, H and W of the images; F, HH and WW of the filters; stride and pad.
CONVOLUTIONS = (
    (100, 3, 31, 31, 25, 3, 3, 2, 1),
    (50, 3, 32, 32, 32, 7, 7, 1, 3),
    (64, 32, 32, 32, 32, 3, 3, 1, 1),
    (64, 32, 16, 16, 64, 3, 3, 1, 1),
    (64, 64, 16, 16, 64, 3, 3, 1, 1),
    (128, 128, 8, 8, 256, 3, 3, 1, 1),
)
# A naive layer runs Python code for each output, of which this many take some seconds.
_MOST_NAIVE_OUTPUTS = 10**6


def run(bench: Bench) -> None:
    """Compare all kernels in all dtypes."""
    for dtype in bench.dtypes:
        for sizes in CONVOLUTIONS:
            compare_convolution(bench, dtype, *sizes)
        _compare_passes(bench, dtype, _pool(dtype))
        _compare_passes(bench, dtype, batchnorm(dtype))
        compare_adam(bench, dtype)


def compare_convolution(bench: Bench, dtype: str, *sizes: int, prefix: str = "") -> None:
    """Compare the two passes of a convolution with the sizes of a row of `CONVOLUTIONS`."""
    problem = convolution(dtype, *sizes)
    _, w, _ = problem.arrays
    _compare_passes(bench, dtype, problem, 2.0 * problem.dout.size * w[0].size, prefix)


def convolution(dtype: str, *sizes: int) -> Problem:
    """Return a convolution with the sizes of a row of `CONVOLUTIONS`."""
    N, C, H, W, F, HH, WW, stride, pad = sizes
    OH, OW = (H + 2 * pad - HH) // stride + 1, (W + 2 * pad - WW) // stride + 1
    x, w, b, dout = _draw(dtype, (N, C, H, W), (F, C, HH, WW), (F,), (N, F, OH, OW))
    return Problem("conv", (x, w, b), ({"stride": stride, "pad": pad},), dout)


def _pool(dtype: str) -> Problem:
    """Return a 2x2 max pooling."""
    x, dout = _draw(dtype, (64, 64, 32, 32), (64, 64, 16, 16))
    pool_param = {"pool_height": 2, "pool_width": 2, "stride": 2}
    return Problem("max_pool", (x,), (pool_param,), dout)


def batchnorm(dtype: str) -> Problem:
    """Return a spatial batch normalisation."""
    x, gamma, beta, dout = _draw(dtype, (64, 32, 32, 32), (32,), (32,), (64, 32, 32, 32))
    return Problem("spatial_batchnorm", (x, gamma, beta), ({"mode": "train"},), dout)


def _draw(dtype: str, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    """Return random arrays."""
    rng = np.random.default_rng(231)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def _compare_passes(
    bench: Bench,
    dtype: str,
    problem: Problem,
    operations: float | None = None,
    prefix: str = "",
) -> None:
    """Compare the forward and the backward pass of a layer.

    `operations` are those of the forward pass, if they bound it rather than the bytes; backward
    has twice as many.
    """
    competitors = dict(_competitors(bench, problem))
    x, dout = problem.arrays[0], problem.dout
    shapes = " ".join(str(a.shape).replace(" ", "") for a in problem.arrays if a.ndim == 4)
    # Backward, batch normalisation reads x again; pooling needs only the places of the maxima.
    again = x.nbytes if problem.layer == "spatial_batchnorm" else 0
    for index, direction in enumerate(("forward", "backward")):
        work = Work(x.nbytes + dout.nbytes + index * again, "GB/s")
        if operations is not None:
            work = Work(operations * (1 + index), "GFLOP/s")
        contest = {name: passes[index] for name, passes in competitors.items()}
        bench.compare(f"{prefix}{problem.layer} {direction} {shapes}", dtype, contest, work)


def _competitors(bench: Bench, problem: Problem) -> Iterator[tuple[str, Any]]:
    """Yield names and passes; those of the first are the reference."""
    in_loops = problem.layer != "spatial_batchnorm"
    feasible = not in_loops or problem.dout.size <= _MOST_NAIVE_OUTPUTS
    if feasible and "naive" in bench.competitors:
        yield "naive", ours(problem, "reference")
    yield "numpy", ours(problem, "fast", kernels="numpy")
    yield "ours", ours(problem, "fast")
    if bench.torch is not None:
        yield "torch", torch_passes(problem, bench.torch)
        yield "torch nhwc", torch_passes(problem, bench.torch, channels_last=True)


def compare_adam(bench: Bench, dtype: str) -> None:
    """Compare the update of a large weight by Adam, in the midst of a training run."""
    m, v, dw = _draw(dtype, *[(8192, 500)] * 3)
    v **= 2
    # From zero, what the first step adds is the whole result, and is compared as such.
    w = np.zeros_like(m)
    contest: dict[str, Callable[[], Any]] = {
        "numpy": _numpy_adam(w, dw, m, v),
        "ours": _our_adam(w.copy(), dw, m, v),
    }
    if bench.torch is not None:
        contest["torch"] = _torch_adam(bench.torch, w, dw, m, v)
    # Read and written: w, m and v; read: dw.
    work = Work(7 * w.nbytes, "GB/s", in_place=True)
    bench.compare("adam (8192,500)", dtype, contest, work)


def _numpy_adam(
    w: np.ndarray, dw: np.ndarray, m: np.ndarray, v: np.ndarray
) -> Callable[[], np.ndarray]:
    """Return a step of the reference rule, which makes new arrays; it starts anew every time."""
    return lambda: optim.adam(w, dw, {"m": m, "v": v, "t": 9})[0]


def _our_adam(
    w: np.ndarray, dw: np.ndarray, m: np.ndarray, v: np.ndarray
) -> Callable[[], np.ndarray]:
    """Return a step of our compiled rule, in place."""
    config = {"m": m.copy(), "v": v.copy(), "t": 9}
    return lambda: fast_optim.update("adam", w, dw, config)


def _torch_adam(
    torch: Any, w: np.ndarray, dw: np.ndarray, m: np.ndarray, v: np.ndarray
) -> Callable[[], Any]:
    """Return a step of PyTorch's fused Adam, in place."""
    parameter = torch.nn.Parameter(torch.tensor(w))
    parameter.grad = torch.from_numpy(dw)
    optimizer = torch.optim.Adam([parameter], lr=1e-3, fused=True)
    optimizer.state[parameter] = {
        "step": torch.tensor(9.0),
        "exp_avg": torch.tensor(m),
        "exp_avg_sq": torch.tensor(v),
    }

    def step() -> Any:
        optimizer.step()
        return parameter.detach()

    return step


if __name__ == "__main__":
    run_script(__doc__, COMPETITORS, run)
