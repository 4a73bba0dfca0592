"""A network's weights carried to PyTorch and back, so that both give the same scores.

`cs231n.checking.layer_table` names the counterpart of each layer.  What differs:

- An affine layer's w has shape (D, M), that of `torch.nn.Linear` (M, D).
- The momentum of batch normalisation is the share of the old statistics in ours, that of the new
  ones in PyTorch: one is 1 minus the other.
- In training PyTorch puts the unbiased variance of a minibatch (divided by N - 1) into the running
  variance, this library the biased one (divided by N).  What is carried over is carried as it is;
  networks that train on therefore drift apart by this factor.
- Before any training the running statistics are zeros in ours, and zeros and ones in PyTorch.
- Dropout's p is the probability of keeping a unit in ours, of dropping it in PyTorch.
- Scales and shifts of group normalisation have shape (1, C, 1, 1) in ours, (C,) in PyTorch.
- What does not learn stands in `Network.frozen` in ours, and requires no gradient in PyTorch.

PyTorch is optional: it is imported when a function first needs it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from cs231n.checking.counterparts import Counterpart
from cs231n.checking.layer_table import LAYERS
from cs231n.classifiers.layer import FORK, Layer
from cs231n.classifiers.network import Network
from cs231n.layer_utils import AFFINE, SHORTCUT, SPATIAL_GROUPNORM, Stage

__all__ = ["copy_from_torch", "copy_to_torch", "require_torch", "to_torch"]

_STATISTICS = ("running_mean", "running_var")
_COUNTERPARTS = {
    row.stage: row.counterpart
    for row in LAYERS.values()
    if row.stage is not None and row.counterpart is not None
}


def require_torch(where: str) -> Any:
    """Return the module `torch`.

    Parameters
    ----------
    where : str
        Name of the function that needs it, for the message.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    """
    try:
        return importlib.import_module("torch")
    except ImportError as error:
        raise ImportError(
            f"{where}: PyTorch is missing ({error}); it is optional, and"
            f" `pip install torch` installs it"
        ) from error


def to_torch(model: Network) -> Any:
    """Build the PyTorch twin of a network: the same layers with copies of its weights.

    Parameters
    ----------
    model : Network
        Any network of this package.

    Returns
    -------
    net : torch.nn.Sequential
        In the dtype of the model and in evaluation mode, so that ``net(X)`` gives the scores that
        ``model.loss(X)`` gives; ``net.train()`` prepares it for training, in which the parameters
        that are frozen in the model stay as they are: they have ``requires_grad=False``.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    TypeError, ValueError
        If model is no Network, or has a layer without a counterpart here.

    Examples
    --------
    >>> net = to_torch(model)  # doctest: +SKIP
    >>> copy_from_torch(net, model)  # after net was trained  # doctest: +SKIP
    """
    torch = require_torch("to_torch")
    _check_network("to_torch", model)
    modules: list[Any] = []
    outside: list[list[Any]] = []  # of the blocks that are being built
    for layer in model._layers:
        if layer.stage == FORK:
            outside.append(modules)
            modules = []
            continue
        counterpart = _counterpart("to_torch", layer.stage)
        if layer.stage == SHORTCUT:
            block = counterpart.modules(torch.nn, modules, *layer.options)
            modules = [*outside.pop(), *block]
            continue
        flat = any(isinstance(m, (torch.nn.Linear, torch.nn.Flatten)) for m in modules)
        if layer.stage == AFFINE and not flat:
            modules.append(torch.nn.Flatten())
        weights = [model.params[name] for name in layer.weights]
        modules += counterpart.modules(torch.nn, *weights, *layer.options)
    net = torch.nn.Sequential(*modules).to(getattr(torch, model.dtype.name))
    copy_to_torch(model, net)
    for layer, module in _pairs("to_torch", model, net):
        for name, tensor in zip(layer.weights, (module.weight, module.bias)):
            tensor.requires_grad_(name not in model.frozen)
    return net.eval()


def copy_to_torch(model: Network, net: Any) -> None:
    """Copy a network's weights and running statistics into a PyTorch net of the same form.

    Parameters
    ----------
    model : Network
        Left alone.
    net : torch.nn.Module
        Its modules with weights must be, in order, the counterparts of the model's layers.  Their
        options, such as stride, padding, groups and eps, are not compared, and which parameters
        require a gradient stays as it is.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    TypeError, ValueError
        If the two do not have the same form; net is then as it was.
    """
    torch = require_torch("copy_to_torch")
    copies = []
    for layer, module in _pairs("copy_to_torch", model, net):
        for name, tensor in zip(layer.weights, (module.weight, module.bias)):
            array = model.params[name]
            array = array.T if layer.stage == AFFINE else array.reshape(tensor.shape)
            copies.append((tensor, array))
        param = _statistics_of(layer)
        if param is not None:
            empty = np.zeros(module.num_features)
            copies += [(getattr(module, key), param.get(key, empty)) for key in _STATISTICS]
    with torch.no_grad():
        for tensor, array in copies:
            tensor.copy_(torch.from_numpy(np.array(array)))


def copy_from_torch(net: Any, model: Network) -> None:
    """Copy a PyTorch net's weights and running statistics into a network of the same form.

    Parameters
    ----------
    net : torch.nn.Module
        Left alone; its modules are as for `copy_to_torch`.
    model : Network
        Gets new arrays in ``params`` and in its running statistics, in its own dtype; ``frozen``
        stays as it is.

    Raises
    ------
    ImportError
        If PyTorch is not installed.
    TypeError, ValueError
        If the two do not have the same form; the model is then as it was.
    """
    for layer, module in _pairs("copy_from_torch", model, net):
        for name, tensor in zip(layer.weights, (module.weight, module.bias)):
            array = _array(tensor, model.dtype)
            array = array.T if layer.stage == AFFINE else array
            model.params[name] = np.array(array.reshape(model.params[name].shape), order="C")
        param = _statistics_of(layer)
        if param is not None:
            param.update((key, _array(getattr(module, key), model.dtype)) for key in _STATISTICS)


def _array(tensor: Any, dtype: np.dtype) -> np.ndarray:
    """Return a copy of a tensor as an array."""
    return np.array(tensor.detach().cpu().double().numpy(), dtype)  # NumPy has no bfloat16


def _check_network(where: str, model: Any) -> None:
    """Raise a TypeError unless model is a network of this package."""
    if not isinstance(model, Network):
        raise TypeError(
            f"{where}: model is a {type(model).__name__}; expected a Network of this package"
        )


def _counterpart(where: str, stage: Stage) -> Counterpart:
    """Return a layer's counterpart; raise a ValueError where there is none."""
    if stage not in _COUNTERPARTS:
        known = ", ".join(known.name for known in _COUNTERPARTS)
        raise ValueError(f"{where}: {stage.name!r} has no counterpart in PyTorch; expected {known}")
    return _COUNTERPARTS[stage]


def _pairs(where: str, model: Network, net: Any) -> Iterator[tuple[Layer, Any]]:
    """Return the layers with weights and their counterparts, after a check of form and shapes."""
    nn = require_torch(where).nn
    _check_network(where, model)
    if not isinstance(net, nn.Module):
        raise TypeError(f"{where}: net is a {type(net).__name__}; expected a torch.nn.Module")
    layers = [layer for layer in model._layers if layer.weights]
    kinds = [_counterpart(where, layer.stage).kind for layer in layers]
    modules = [m for m in net.modules() if next(m.parameters(recurse=False), None) is not None]
    ours = [_torch_shapes(layer, model) for layer in layers]
    theirs = [tuple(tuple(p.shape) for p in m.parameters(recurse=False)) for m in modules]
    if ours != theirs:
        raise ValueError(
            f"{where}: the PyTorch net has weights of shapes {theirs}; expected {ours}, those of"
            f" the counterparts of {[layer.stage.name for layer in layers]}"
        )
    for layer, module, kind in zip(layers, modules, kinds):
        if not isinstance(module, getattr(nn, kind)):
            raise ValueError(f"{where}: {layer.weights[0]} meets {module}; expected a {kind}")
        if _statistics_of(layer) is not None and module.running_mean is None:
            raise ValueError(f"{where}: {module} keeps no running statistics; expected some")
    return zip(layers, modules)


def _torch_shapes(layer: Layer, model: Network) -> tuple[tuple[int, ...], ...]:
    """Return the shapes that a layer's weights have in PyTorch."""
    arrays = [model.params[name] for name in layer.weights]
    if layer.stage == AFFINE:
        return (arrays[0].T.shape, arrays[1].shape)
    if layer.stage == SPATIAL_GROUPNORM:
        return tuple((array.size,) for array in arrays)
    return tuple(array.shape for array in arrays)


def _statistics_of(layer: Layer) -> dict[str, Any] | None:
    """Return the dict of a layer's running statistics, if it keeps any."""
    return dict(zip(layer.stage.options, layer.options)).get("bn_param")
