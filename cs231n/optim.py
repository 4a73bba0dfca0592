"""Update rules: how a parameter follows its gradient, one short function each.

A rule is ``next_w, config = rule(w, dw, config)``.  The dict `config` holds the hyperparameters,
missing ones are put into it with their defaults, and it carries the rule's state from one call to
the next.  A learning rate is any finite number.  w and dw are left alone.
`cs231n.kernels.fast_optim` holds the compiled twins that the Solver uses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from cs231n.core import checks
from cs231n.core.checks import keep_dtype

__all__ = [
    *("RULES", "adagrad", "adam", "clip_gradients", "find", "muon", "nesterov_momentum"),
    *("rmsprop", "sgd", "sgd_momentum"),
]

Config = dict[str, Any]
Rule = Callable[..., tuple[np.ndarray, Config]]

# Hyperparameters with their defaults, and the arrays of state, in the order in which the compiled
# twins take them.
DEFAULTS: dict[str, dict[str, float]] = {
    "sgd": {"learning_rate": 1e-2},
    "sgd_momentum": {"learning_rate": 1e-2, "momentum": 0.9, "dampening": 0.0},
    "nesterov_momentum": {"learning_rate": 1e-2, "momentum": 0.9, "dampening": 0.0},
    "muon": {"learning_rate": 2e-2, "momentum": 0.95},
    "rmsprop": {"learning_rate": 1e-2, "decay_rate": 0.99, "epsilon": 1e-8},
    "adagrad": {"learning_rate": 1e-2, "epsilon": 1e-8},
    "adam": {"learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8},
}
# What they may be.  A learning rate may be negative, which climbs; Adam divides by 1 - beta.
_SHARE = {"low": 0, "high": 1}
_RANGES: dict[str, dict[str, Any]] = {
    "learning_rate": {"low_open": True, "high_open": True},
    **dict.fromkeys(("momentum", "decay_rate", "dampening"), _SHARE),
    **{name: {**_SHARE, "high_open": True} for name in ("beta1", "beta2")},
    "epsilon": {"low": 0, "high_open": True},
}
STATE: dict[str, tuple[str, ...]] = {
    "sgd": (),
    "sgd_momentum": ("velocity",),
    "nesterov_momentum": ("velocity",),
    "muon": ("velocity",),
    "rmsprop": ("cache",),
    "adagrad": ("cache",),
    "adam": ("m", "v"),
}


def sgd(w: np.ndarray, dw: np.ndarray, config: Config | None = None) -> tuple[np.ndarray, Config]:
    """Step by stochastic gradient descent: ``w - learning_rate * dw``.

    Parameters
    ----------
    w, dw : ndarray of any shape
        Parameter, and the gradient of the loss with respect to it.
    config : dict, optional
        'learning_rate' : step size, default 1e-2.

    Returns
    -------
    next_w : ndarray of w's shape
    config : dict

    Raises
    ------
    ValueError, TypeError
        If w and dw differ in shape or a hyperparameter is out of its range.
    """
    w, dw, config = _checked("sgd", w, dw, config)
    (rate,) = hyperparameters("sgd", config)
    return keep_dtype(w - rate * dw, w), config


def sgd_momentum(
    w: np.ndarray, dw: np.ndarray, config: Config | None = None
) -> tuple[np.ndarray, Config]:
    """Step by gradient descent with momentum.

    Parameters
    ----------
    w, dw : ndarray of any shape
        Parameter, and the gradient of the loss with respect to it.
    config : dict, optional
        'learning_rate' : step size, default 1e-2;
        'momentum' : share of the velocity that is kept, in [0, 1], default 0.9;
        'dampening' : share of each gradient that is left out, in [0, 1], default 0; with that of
        the momentum the velocity is a mean of the gradients, not a sum;
        'velocity' : ndarray of w's shape, zeros at first.

    Returns
    -------
    next_w : ndarray of w's shape
    config : dict
        With the new 'velocity'.

    Raises
    ------
    ValueError, TypeError
        If w and dw differ in shape or a hyperparameter is out of its range.

    Notes
    -----
    ``velocity = momentum * velocity - rate * dw``, ``next_w = w + velocity`` with
    ``rate = learning_rate * (1 - dampening)``.

    References
    ----------
    Polyak, Some Methods of Speeding up the Convergence of Iteration Methods, 1964.
    """
    w, dw, config = _checked("sgd_momentum", w, dw, config)
    rate, momentum = damped("sgd_momentum", config)
    velocity = momentum * state("sgd_momentum", config, "velocity", w) - rate * dw
    config["velocity"] = keep_dtype(velocity, w)
    return keep_dtype(w + velocity, w), config


def nesterov_momentum(
    w: np.ndarray, dw: np.ndarray, config: Config | None = None
) -> tuple[np.ndarray, Config]:
    """Step by gradient descent with Nesterov momentum.

    Parameters
    ----------
    w, dw : ndarray of any shape
        Parameter, and the gradient of the loss with respect to it.
    config : dict, optional
        As for `sgd_momentum`.

    Returns
    -------
    next_w : ndarray of w's shape
    config : dict
        With the new 'velocity'.

    Raises
    ------
    ValueError, TypeError
        If w and dw differ in shape or a hyperparameter is out of its range.

    Notes
    -----
    ``velocity = momentum * velocity - rate * dw``,
    ``next_w = w + momentum * velocity - rate * dw``, with a rate as for `sgd_momentum`: w already
    stands where the velocity will carry it, so the gradient is taken one step ahead.

    References
    ----------
    Nesterov, A Method for Solving the Convex Programming Problem with Convergence Rate O(1/k^2),
    1983; Sutskever, Martens, Dahl and Hinton, On the Importance of Initialization and Momentum in
    Deep Learning, ICML 2013.
    """
    w, dw, config = _checked("nesterov_momentum", w, dw, config)
    rate, momentum = damped("nesterov_momentum", config)
    velocity = momentum * state("nesterov_momentum", config, "velocity", w) - rate * dw
    config["velocity"] = keep_dtype(velocity, w)
    return keep_dtype(w + momentum * velocity - rate * dw, w), config


def adagrad(
    w: np.ndarray, dw: np.ndarray, config: Config | None = None
) -> tuple[np.ndarray, Config]:
    """Step by AdaGrad, which divides by the root of the sum of all squared gradients so far.

    Parameters
    ----------
    w, dw : ndarray of any shape
        Parameter, and the gradient of the loss with respect to it.
    config : dict, optional
        'learning_rate' : step size, default 1e-2;
        'epsilon' : added to the root, at least 0, default 1e-8;
        'cache' : ndarray of w's shape, sum of dw ** 2, zeros at first.

    Returns
    -------
    next_w : ndarray of w's shape
    config : dict
        With the new 'cache'.

    Raises
    ------
    ValueError, TypeError
        If w and dw differ in shape or a hyperparameter is out of its range.

    Notes
    -----
    ``cache = cache + dw ** 2``, ``next_w = w - learning_rate * dw / (sqrt(cache) + epsilon)``.

    References
    ----------
    Duchi, Hazan and Singer, Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization, JMLR 12, 2011.
    """
    w, dw, config = _checked("adagrad", w, dw, config)
    rate, epsilon = hyperparameters("adagrad", config)
    cache = state("adagrad", config, "cache", w) + dw**2
    config["cache"] = keep_dtype(cache, w)
    return keep_dtype(w - rate * dw / (np.sqrt(cache) + epsilon), w), config


def rmsprop(
    w: np.ndarray, dw: np.ndarray, config: Config | None = None
) -> tuple[np.ndarray, Config]:
    """Step by RMSProp, which divides by a running root mean square of the gradient.

    Parameters
    ----------
    w, dw : ndarray of any shape
        Parameter, and the gradient of the loss with respect to it.
    config : dict, optional
        'learning_rate' : step size, default 1e-2;
        'decay_rate' : share of the running mean that is kept, in [0, 1], default 0.99;
        'epsilon' : added to the root, at least 0, default 1e-8;
        'cache' : ndarray of w's shape, running mean of dw ** 2, zeros at first.

    Returns
    -------
    next_w : ndarray of w's shape
    config : dict
        With the new 'cache'.

    Raises
    ------
    ValueError, TypeError
        If w and dw differ in shape or a hyperparameter is out of its range.

    Notes
    -----
    ``cache = decay_rate * cache + (1 - decay_rate) * dw ** 2``,
    ``next_w = w - learning_rate * dw / (sqrt(cache) + epsilon)``.

    References
    ----------
    Tieleman and Hinton, Lecture 6.5: RMSProp, Coursera, 2012.
    """
    w, dw, config = _checked("rmsprop", w, dw, config)
    rate, decay, epsilon = hyperparameters("rmsprop", config)
    cache = decay * state("rmsprop", config, "cache", w) + (1 - decay) * dw**2
    config["cache"] = keep_dtype(cache, w)
    return keep_dtype(w - rate * dw / (np.sqrt(cache) + epsilon), w), config


def adam(w: np.ndarray, dw: np.ndarray, config: Config | None = None) -> tuple[np.ndarray, Config]:
    """Step by Adam: momentum and RMSProp together, corrected for starting from zeros.

    Parameters
    ----------
    w, dw : ndarray of any shape
        Parameter, and the gradient of the loss with respect to it.
    config : dict, optional
        'learning_rate' : step size, default 1e-3;
        'beta1', 'beta2' : shares of the running means that are kept, in [0, 1), default 0.9 and
        0.999;
        'epsilon' : added to the root, at least 0, default 1e-8;
        'm', 'v' : ndarray of w's shape, running means of dw and dw ** 2, zeros at first;
        't' : number of steps done, 0 at first.

    Returns
    -------
    next_w : ndarray of w's shape
    config : dict
        With the new 'm', 'v' and 't'.

    Raises
    ------
    ValueError, TypeError
        If w and dw differ in shape or a hyperparameter is out of its range.

    Notes
    -----
    ``m = beta1 * m + (1 - beta1) * dw``, ``v = beta2 * v + (1 - beta2) * dw ** 2``,
    ``next_w = w - learning_rate * m_hat / (sqrt(v_hat) + epsilon)`` with
    ``m_hat = m / (1 - beta1 ** t)`` and ``v_hat = v / (1 - beta2 ** t)``.

    References
    ----------
    Kingma and Ba, Adam: A Method for Stochastic Optimization, ICLR 2015.
    """
    w, dw, config = _checked("adam", w, dw, config)
    rate, beta1, beta2, epsilon = hyperparameters("adam", config)
    t = count_step("adam", config)
    m = beta1 * state("adam", config, "m", w) + (1 - beta1) * dw
    v = beta2 * state("adam", config, "v", w) + (1 - beta2) * dw**2
    config["m"], config["v"] = keep_dtype(m, w), keep_dtype(v, w)
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return keep_dtype(w - rate * m_hat / (np.sqrt(v_hat) + epsilon), w), config


def muon(w: np.ndarray, dw: np.ndarray, config: Config | None = None) -> tuple[np.ndarray, Config]:
    """Step by Muon: Nesterov momentum whose update of a matrix is made nearly orthogonal.

    Parameters
    ----------
    w, dw : ndarray of any shape
        Parameter, and the gradient of the loss with respect to it.  Filters (F, C, HH, WW) are a
        matrix with a row for each filter; a vector, such as biases, is no matrix and steps as in
        `nesterov_momentum`.
    config : dict, optional
        'learning_rate' : step size, default 2e-2;
        'momentum' : share of the velocity that is kept, in [0, 1], default 0.95;
        'velocity' : ndarray of w's shape, zeros at first.

    Returns
    -------
    next_w : ndarray of w's shape
    config : dict
        With the new 'velocity'.

    Raises
    ------
    ValueError, TypeError
        If w and dw differ in shape or a hyperparameter is out of its range.

    Notes
    -----
    ``velocity = momentum * velocity + dw``, ``G = dw + momentum * velocity``, and
    ``next_w = w - learning_rate * sqrt(max(1, rows / columns)) * O``, where O is G with all its
    singular values brought near 1: each direction in which the matrix may turn is given a step of
    about the same length, also those that the gradient hardly has.

    O takes no decomposition.  An odd polynomial of a matrix, ``a*X + b*X X' X + c*X X' X X' X``,
    is the polynomial of its singular values.  With the published a, b, c of `orthogonalised`, five
    applications (Newton-Schulz) take what lies between about 0.01 and 1 to between 0.68 and 1.14.

    References
    ----------
    Jordan, Jin, Boza, You, Cesista, Newhouse and Bernstein, Muon: An Optimizer for Hidden Layers
    in Neural Networks, 2024, https://kellerjordan.github.io/posts/muon/

    Bernstein and Newhouse, Old Optimizer, New Norm: An Anthology, 2024 (arXiv:2409.20325).
    """
    w, dw, config = _checked("muon", w, dw, config)
    rate, momentum = hyperparameters("muon", config)
    velocity = momentum * state("muon", config, "velocity", w) + dw
    config["velocity"] = keep_dtype(velocity, w)
    step = dw + momentum * velocity
    if w.ndim > 1 and w.size:
        matrix = step.reshape(len(w), -1)
        rows, columns = matrix.shape
        step = math.sqrt(max(1, rows / columns)) * orthogonalised(matrix).reshape(w.shape)
    return keep_dtype(w - rate * step, w), config


def orthogonalised(matrix: np.ndarray) -> np.ndarray:
    """Return a matrix with its singular values near 1; zeros stay zeros."""
    X = matrix.T if len(matrix) > matrix.shape[1] else matrix  # so that X X' is the smaller product
    # The norm is no less than any singular value, so that all of them come into [0, 1].
    X = X / (math.hypot(*np.linalg.norm(X.astype(np.float64), axis=1)) + 1e-7)
    X = keep_dtype(X, matrix)
    for _ in range(5):
        A = X @ X.T
        X = 3.4445 * X + (-4.7750 * A + 2.0315 * A @ A) @ X
    return X.T if len(matrix) > matrix.shape[1] else X


def clip_gradients(grads: Mapping[str, np.ndarray], max_norm: float) -> dict[str, np.ndarray]:
    """Scale gradients down where all of them together have too large a norm.

    Parameters
    ----------
    grads : mapping of str to ndarray
        Gradients of a network's parameters, which are left alone.
    max_norm : float
        Largest norm.

    Returns
    -------
    clipped : dict of str to ndarray
        The gradients times ``max_norm / norm`` if their norm, the root of the sum of all squares,
        is above max_norm; the same gradients otherwise.

    Raises
    ------
    ValueError, TypeError
        If max_norm is no positive number.

    References
    ----------
    Pascanu, Mikolov and Bengio, On the Difficulty of Training Recurrent Neural Networks, ICML 2013.
    """
    where = "clip_gradients"
    max_norm = checks.number(where, "max_norm", max_norm, 0, low_open=True)
    grads = {
        name: checks.float_arrays(where, **{f"grads[{name!r}]": dw})[0]
        for name, dw in checks.mapping(where, "grads", grads).items()
    }
    # In float64: the squares of large float32 numbers would overflow.
    norm = math.hypot(*(np.linalg.norm(dw.astype(np.float64)) for dw in grads.values()))
    if norm <= max_norm:
        return grads
    return {name: dw * (max_norm / norm) for name, dw in grads.items()}


RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (adam, nesterov_momentum, rmsprop, sgd, sgd_momentum, adagrad, muon)
}


def find(where: str, rule: Any) -> str | Rule:
    """Return the update rule that an argument means.

    Parameters
    ----------
    where : str
        Name of the calling function, for the message.
    rule : str or callable
        Name of a rule of this module, also of one that was put into it (``optim.mine = f``), or a
        function of the same form.

    Returns
    -------
    rule : str or callable
        The name where it is a rule of ours, which may have a compiled twin, else the function.

    Raises
    ------
    ValueError
        If there is no such rule.
    """
    if callable(rule):
        return rule
    if isinstance(rule, str):
        found = globals().get(rule)
        if found is not _OURS.get(rule) and callable(found):  # the user's, added or in place of one
            return found
        if rule in RULES:
            return rule if rule in _OURS else RULES[rule]
    known = ", ".join(RULES)
    raise ValueError(f"{where}: unknown update rule {rule!r}; known rules: {known}")


def _checked(
    where: str, w: np.ndarray, dw: np.ndarray, config: Config | None
) -> tuple[np.ndarray, np.ndarray, Config]:
    """Return parameter and gradient as float arrays of one shape, and the config as a dict."""
    w, dw = checks.float_arrays(where, w=w, dw=dw)
    checks.exact_shape(where, "dw", dw, w.shape)
    if config is None:
        return w, dw, {}
    checks.options(where, "config", config)
    return w, dw, config


def hyperparameters(rule: str, config: Config) -> list[float]:
    """Return the rule's hyperparameters as Python floats; defaults are put into the config."""
    return [
        checks.number(rule, name, config.setdefault(name, default), **_RANGES[name])
        for name, default in DEFAULTS[rule].items()
    ]


def damped(rule: str, config: Config) -> list[float]:
    """Return the learning rate of dampened gradients, and the momentum."""
    rate, momentum, dampening = hyperparameters(rule, config)
    return [rate * (1 - dampening), momentum]


def count_step(rule: str, config: Config) -> int:
    """Increment the number of steps in the config, 0 at first, and return it."""
    config["t"] = checks.integer(rule, "t", config.get("t", 0), least=0) + 1
    return config["t"]


def state(where: str, config: Config, name: str, w: np.ndarray) -> np.ndarray:
    """Return an array of the rule's state, of the parameter's shape and zero at first."""
    if config.get(name) is None:
        return np.zeros_like(w)
    (array,) = checks.float_arrays(where, **{name: config[name]})
    checks.exact_shape(where, name, array, w.shape)
    return array


_OURS = dict(globals())  # what is here before a user puts rules into this module
