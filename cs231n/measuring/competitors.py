"""One layer as several competitors: ours, naive or fast, and PyTorch's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from cs231n.kernels import backend

__all__ = ["Passes", "Problem", "ours", "torch_passes"]


class Problem(NamedTuple):
    """A layer with its input arrays and option, and an upstream gradient."""

    layer: str
    arrays: tuple[np.ndarray, ...]
    param: dict[str, Any]
    dout: np.ndarray


Passes = tuple[Callable[[], Any], Callable[[], Any]]


def ours(problem: Problem, module: Any, suffix: str, kernels: str | None = None) -> Passes:
    """Return the forward and the backward pass of one of our implementations.

    Parameters
    ----------
    problem : Problem
        Layer and arrays.
    module : module
        Where the layer's functions are.
    suffix : str
        End of their names, such as '_fast'.
    kernels : str, optional
        A name that `cs231n.kernels.backend.select` knows; the kernels in use by default.

    Returns
    -------
    forward, backward : callable
        Without arguments; forward returns out, backward the gradients.
    """
    forward = getattr(module, f"{problem.layer}_forward{suffix}")
    backward = getattr(module, f"{problem.layer}_backward{suffix}")

    def using(run: Callable[[], Any]) -> Callable[[], Any]:
        if kernels is None:
            return run

        def switched() -> Any:
            previous = backend.select(kernels)
            try:
                return run()
            finally:
                backend.select(previous)

        return switched

    _, cache = using(lambda: forward(*problem.arrays, problem.param))()
    return (
        using(lambda: forward(*problem.arrays, problem.param)[0]),
        using(lambda: backward(problem.dout, cache)),
    )


def torch_passes(problem: Problem, torch: Any, channels_last: bool = False) -> Passes:
    """Return the forward pass, which keeps no graph, and the backward pass of PyTorch.

    Parameters
    ----------
    problem : Problem
        Layer, 'conv', 'max_pool' or 'spatial_batchnorm', and arrays.
    torch : module
        PyTorch.
    channels_last : bool
        Whether images and filters lie in memory as (N, H, W, C), which is not our layout but one
        in which PyTorch can be faster.

    Returns
    -------
    forward, backward : callable
        As from `ours`.
    """

    def tensor(array: np.ndarray) -> Any:
        last = channels_last and array.ndim == 4
        layout = torch.channels_last if last else torch.contiguous_format
        return torch.from_numpy(array).contiguous(memory_format=layout)

    def forward() -> Any:
        with torch.no_grad():
            return _torch_layer(problem, torch, tensors)

    tensors = [tensor(array) for array in problem.arrays]
    inputs = [array.clone().requires_grad_() for array in tensors]
    out, dout = _torch_layer(problem, torch, inputs), tensor(problem.dout)
    return forward, lambda: torch.autograd.grad(out, inputs, dout, retain_graph=True)


def _torch_layer(problem: Problem, torch: Any, tensors: Any) -> Any:
    """Return the layer's output by PyTorch."""
    functional, param = torch.nn.functional, problem.param
    if problem.layer == "conv":
        return functional.conv2d(*tensors, stride=param["stride"], padding=param["pad"])
    if problem.layer == "max_pool":
        size = param["pool_height"], param["pool_width"]
        return functional.max_pool2d(*tensors, size, param["stride"])
    x, gamma, beta = tensors
    return functional.batch_norm(x, None, None, gamma, beta, training=True)
