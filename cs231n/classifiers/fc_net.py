"""Fully connected networks.

Notebooks star-import this module and nothing else, so all of `cs231n.layers` and
`cs231n.layer_utils` can be imported from here too.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from cs231n import layer_utils
from cs231n.classifiers.network import Network, gaussian
from cs231n.core import checks

# Notebooks star-import this module and expect all layers.
from cs231n.layer_utils import *  # noqa: F403
from cs231n.layer_utils import AFFINE, BATCHNORM, DROPOUT, LAYERNORM, RELU

_told = False  # that dropout= alone has two readings

# As in `cs231n.layer_utils`.
globals()["__all__"] = ["FullyConnectedNet", "TwoLayerNet", *vars(layer_utils)["__all__"]]

_NORMALIZATIONS = {"batchnorm": BATCHNORM, "layernorm": LAYERNORM}


class TwoLayerNet(Network):
    """A network of the form affine - relu - affine - softmax.

    Parameters
    ----------
    input_dim : int
        Number of inputs D.
    hidden_dim : int
        Number of hidden units.
    num_classes : int
        Number of classes C.
    weight_scale : float
        Standard deviation of the initial weights.
    reg : float
        Strength of L2 regularisation, with the factor 0.5.
    dtype : dtype
        np.float64 or np.float32.

    Raises
    ------
    ValueError, TypeError
        If an argument is not sensible.
    """

    def __init__(
        self,
        input_dim: int = 3 * 32 * 32,
        hidden_dim: int = 100,
        num_classes: int = 10,
        weight_scale: float = 1e-3,
        reg: float = 0.0,
        dtype: Any = np.float64,
    ) -> None:
        super().__init__(reg, dtype)
        D = checks.integer("TwoLayerNet", "input_dim", input_dim, least=1)
        self.input_shape = (D,)
        M = checks.integer("TwoLayerNet", "hidden_dim", hidden_dim, least=1)
        C = checks.integer("TwoLayerNet", "num_classes", num_classes, least=1)
        draw = gaussian(checks.number("TwoLayerNet", "weight_scale", weight_scale, low=0))
        self._arguments = {"input_dim": D, "hidden_dim": M, "num_classes": C}
        checks.room_for_weight("TwoLayerNet", "input_dim and hidden_dim", D, M)
        checks.room_for_weight("TwoLayerNet", "hidden_dim and num_classes", M, C)
        self._add(AFFINE, W1=draw(D, M), b1=np.zeros(M))
        self._add(RELU)
        self._add(AFFINE, W2=draw(M, C), b2=np.zeros(C))


class FullyConnectedNet(Network):
    """A fully connected network of any depth.

    The form is {affine - [batch or layer norm] - relu - [dropout]} x (L - 1) - affine - softmax.

    Parameters
    ----------
    hidden_dims : sequence of int
        Number of units of each hidden layer.
    input_dim : int
        Number of inputs D.
    num_classes : int
        Number of classes C.
    dropout_keep_ratio : float
        Probability of keeping a unit, in (0, 1]; 1 is no dropout.
    normalization : {None, 'batchnorm', 'layernorm'}
        Normalisation before each relu.
    reg : float
        Strength of L2 regularisation, with the factor 0.5.
    weight_scale : float
        Standard deviation of the initial weights.
    dtype : dtype
        np.float32 or np.float64.
    seed : int, optional
        Given to `numpy.random.seed` at each dropout, so that a gradient check sees one mask.  Not
        for training, which would see one mask too; `rng` is.
    dropout : float, optional
        Older name of `dropout_keep_ratio`, 0 for off; together with `use_batchnorm` the still
        older drop probability.
    use_batchnorm : bool, optional
        Older spelling of ``normalization='batchnorm'``.
    rng : numpy.random.Generator, optional
        Source of the initial weights and of dropout's masks, instead of NumPy's global generator:
        with ``rng=np.random.default_rng(42)`` runs can be repeated, and every step has a new mask.

    Attributes
    ----------
    num_layers : int
        Number L of affine layers.

    Raises
    ------
    ValueError, TypeError
        If an argument is not sensible, or two spellings of one argument are given.
    """

    def __init__(
        self,
        hidden_dims: Sequence[int],
        input_dim: int = 3 * 32 * 32,
        num_classes: int = 10,
        dropout_keep_ratio: float = 1,
        normalization: str | None = None,
        reg: float = 0.0,
        weight_scale: float = 1e-2,
        dtype: Any = np.float32,
        seed: int | None = None,
        dropout: float | None = None,
        use_batchnorm: bool | None = None,
        rng: np.random.Generator | None = None,
    ) -> None:
        super().__init__(reg, dtype)
        where = "FullyConnectedNet"
        checks.generator(where, rng)
        use_batchnorm = checks.optional_flag(where, "use_batchnorm", use_batchnorm)
        self.normalization = _normalization(normalization, use_batchnorm)
        keep = _keep_ratio(dropout_keep_ratio, dropout, use_batchnorm)
        self.use_dropout = keep != 1
        if self.use_dropout:
            self.dropout_param = {"mode": "train", "p": keep}
            if seed is not None:
                self.dropout_param["seed"] = seed
            if rng is not None:
                self.dropout_param["rng"] = rng
        D = checks.integer(where, "input_dim", input_dim, least=1)
        self.input_shape = (D,)
        hidden = [
            checks.integer(where, "hidden_dims", M, least=1)
            for M in checks.sequence(where, "hidden_dims", hidden_dims)
        ]
        C = checks.integer(where, "num_classes", num_classes, least=1)
        draw = gaussian(checks.number(where, "weight_scale", weight_scale, low=0), rng)
        self.num_layers = len(hidden) + 1
        self._arguments = {
            **{"hidden_dims": hidden, "input_dim": D, "num_classes": C, "seed": seed},
            **{"dropout_keep_ratio": keep, "normalization": self.normalization},
        }

        for index, M in enumerate(hidden, start=1):
            checks.room_for_weight(where, "input_dim and hidden_dims", D, M)
            self._add(AFFINE, **{f"W{index}": draw(D, M), f"b{index}": np.zeros(M)})
            self._add_normalization(index, M)
            self._add(RELU)
            if self.use_dropout:
                self._add(DROPOUT, self.dropout_param)
            D = M
        last = self.num_layers
        checks.room_for_weight(where, "hidden_dims and num_classes", D, C)
        self._add(AFFINE, **{f"W{last}": draw(D, C), f"b{last}": np.zeros(C)})

    def _add_normalization(self, index: int, M: int) -> None:
        """Append the normalisation layer of M units, if the network has any."""
        if self.normalization is None:
            return
        self.bn_params.append({"mode": "train"})
        weights = {f"gamma{index}": np.ones(M), f"beta{index}": np.zeros(M)}
        self._add(_NORMALIZATIONS[self.normalization], self.bn_params[-1], **weights)


def _normalization(normalization: str | None, use_batchnorm: bool | None) -> str | None:
    """Return the kind of normalisation from the two spellings of the argument."""
    where = "FullyConnectedNet"
    checks.choice(where, "normalization", normalization, (None, *_NORMALIZATIONS))
    if not use_batchnorm:
        return normalization
    if normalization not in (None, "batchnorm"):
        raise ValueError(f"{where}: use_batchnorm contradicts normalization={normalization!r}")
    return "batchnorm"


def _keep_ratio(
    dropout_keep_ratio: float, dropout: float | None, use_batchnorm: bool | None
) -> float:
    """Return the probability of keeping a unit from the three spellings of the argument."""
    where = "FullyConnectedNet"
    dropout_keep_ratio, dropout = _one(dropout_keep_ratio), _one(dropout)
    if dropout is None:
        return checks.number(where, "dropout_keep_ratio", dropout_keep_ratio, 0, 1, low_open=True)
    if dropout_keep_ratio != 1:
        raise ValueError(
            f"{where}: dropout={dropout} and dropout_keep_ratio={dropout_keep_ratio} are two"
            f" spellings of one argument; expected one of them"
        )
    value = checks.number(where, "dropout", dropout, 0, 1)
    if value == 0:
        return 1.0
    if use_batchnorm is None:
        if value != 1:
            _tell_of_both_readings(value)
        return value
    return checks.number(where, "1 - dropout", 1 - value, 0, 1, low_open=True)


def _one(ratio: Any) -> Any:
    """Return 1 for what `np.arange` and the like make of it."""
    return 1.0 if isinstance(ratio, float) and 1 < ratio < 1 + 1e-12 else ratio


def _tell_of_both_readings(value: float) -> None:
    """Warn, once, that dropout= alone has meant two things."""
    global _told
    if not _told:
        _told = True
        warnings.warn(
            f"FullyConnectedNet: dropout={value} alone is read as the probability of keeping a"
            f" unit, as in 2018 and later: dropout_keep_ratio={value}. Notebooks of 2016 and 2017"
            f" mean that of dropping it: dropout_keep_ratio={1 - value:g}",
            stacklevel=4,
        )
