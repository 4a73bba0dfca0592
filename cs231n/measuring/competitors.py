"""One layer as several competitors: ours, reference or fast, and PyTorch's."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from cs231n.checking.layer_table import LAYERS
from cs231n.kernels import backend

__all__ = ["Passes", "Problem", "kernels_alone", "ours", "torch_passes"]


class Problem(NamedTuple):
    """A layer, by its name in `LAYERS`, with arrays, options and an upstream gradient.

    A loss has no upstream gradient.
    """

    layer: str
    arrays: tuple[np.ndarray, ...]
    options: tuple[Any, ...]
    dout: np.ndarray | None


Passes = tuple[Callable[[], Any], ...]


def ours(problem: Problem, way: Literal["reference", "fast"], kernels: str | None = None) -> Passes:
    """Return the forward and the backward pass of one of our implementations.

    Parameters
    ----------
    problem : Problem
        Layer and arrays.
    way : {'reference', 'fast'}
        Which implementation.
    kernels : str, optional
        A name that `cs231n.kernels.backend.select` knows; the kernels in use by default.

    Returns
    -------
    forward, backward : callable
        Without arguments; forward returns out, backward the gradients.  A loss has one pass, which
        returns loss and gradient.
    """
    forward, backward = getattr(LAYERS[problem.layer], way)
    arguments = (*problem.arrays, *copy.deepcopy(problem.options))

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

    if backward is None:
        return (using(lambda: forward(*arguments)),)
    _, cache = using(lambda: forward(*arguments))()
    return using(lambda: forward(*arguments)[0]), using(lambda: backward(problem.dout, cache))


def kernels_alone(run: Callable[[], Any]) -> list[Callable[[], Any]]:
    """Return the calls of kernels that a run makes, without what is around them.

    Parameters
    ----------
    run : callable
        Without arguments.

    Returns
    -------
    calls : list of callable
        In order; none where the run calls no kernel.
    """
    kernels, calls = backend.kernels, list[Callable[[], Any]]()
    recorder = _Recorder(kernels(), calls)
    try:
        setattr(backend, "kernels", lambda: recorder)  # noqa: B010 (a type checker knows better)
        run()
    finally:
        setattr(backend, "kernels", kernels)  # noqa: B010
    return calls


class _Recorder:
    """Kernels that write down how they are called."""

    def __init__(self, kernels: Any, calls: list[Callable[[], Any]]) -> None:
        self._kernels, self._calls = kernels, calls

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Return the kernel of this name; to call it is to write the call down, too."""
        kernel = getattr(self._kernels, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._calls.append(functools.partial(kernel, *args, **kwargs))
            return kernel(*args, **kwargs)

        return call


def torch_passes(problem: Problem, torch: Any, channels_last: bool = False) -> Passes:
    """Return the forward pass, which keeps no graph, and the backward pass of PyTorch.

    Parameters
    ----------
    problem : Problem
        Layer and arrays.
    torch : module
        PyTorch.
    channels_last : bool
        Whether images and filters lie in memory as (N, H, W, C), which is not our layout but one
        in which PyTorch can be faster.

    Returns
    -------
    forward, backward : callable
        As from `ours`.

    Raises
    ------
    ValueError
        If the layer has no counterpart that can be compared.
    """
    counterpart, functional = LAYERS[problem.layer].counterpart, torch.nn.functional
    if counterpart is None or counterpart.function is None:
        raise ValueError(f"torch_passes: {problem.layer} has no function to compare with")
    function = counterpart.function

    def tensor(array: np.ndarray) -> Any:
        last = channels_last and array.ndim == 4
        layout = torch.channels_last if last else torch.contiguous_format
        return torch.from_numpy(array).contiguous(memory_format=layout)

    def forward() -> Any:
        with torch.no_grad():
            return function(functional, *tensors, *options)

    tensors = [tensor(array) for array in problem.arrays]
    inputs = [array.clone().requires_grad_() for array in tensors]
    options = [tensor(o) if isinstance(o, np.ndarray) else o for o in problem.options]
    if problem.dout is None:
        return (lambda: _loss(torch, function(functional, *inputs, *options), inputs),)
    out, dout = function(functional, *inputs, *options), tensor(problem.dout)
    return forward, lambda: torch.autograd.grad(out, inputs, dout, retain_graph=True)


def _loss(torch: Any, loss: Any, inputs: Any) -> tuple[Any, Any]:
    """Return a loss and its gradient."""
    return loss.detach(), *torch.autograd.grad(loss, inputs)
