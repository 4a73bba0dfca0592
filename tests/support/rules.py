"""Update rules by definition, as sums over all gradients so far."""

import numpy as np


def by_definition(rule, w, gradients, learning_rate, dampening=0, **config):
    """Return w after these gradients, one number at a time, from the sums that the rules unroll to.

    A running mean after t steps is a sum over all gradients so far, weighted by powers.
    """
    for t in range(1, len(gradients) + 1):
        past = np.array(gradients[:t])
        age = np.arange(t)[::-1].reshape(-1, *[1] * w.ndim)
        if rule == "sgd":
            step = past[-1]
        elif rule == "sgd_momentum":
            step = (1 - dampening) * np.sum(config["momentum"] ** age * past, axis=0)
        elif rule == "nesterov_momentum":
            step = past[-1] + np.sum(config["momentum"] ** (age + 1) * past, axis=0)
            step *= 1 - dampening
        elif rule == "muon":
            step = past[-1] + np.sum(config["momentum"] ** (age + 1) * past, axis=0)
            step = near_orthogonal(step) if w.ndim > 1 else step
        elif rule == "rmsprop":
            decay = config["decay_rate"]
            mean = (1 - decay) * np.sum(decay**age * past**2, axis=0)
            step = past[-1] / (np.sqrt(mean) + config["epsilon"])
        else:
            one, two = config["beta1"] ** age, config["beta2"] ** age
            m = np.sum(one * past, axis=0) / one.sum()
            v = np.sum(two * past**2, axis=0) / two.sum()
            step = m / (np.sqrt(v) + config["epsilon"])
        w = w - learning_rate * step
    return w


def near_orthogonal(matrix):
    """Return Muon's step from the decomposition that it does without."""
    rows = matrix.reshape(len(matrix), -1)
    u, values, v = np.linalg.svd(rows, full_matrices=False)
    values = values / (np.linalg.norm(values) + 1e-7)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    scale = np.sqrt(max(1, rows.shape[0] / rows.shape[1]))
    return scale * ((u * values) @ v).reshape(matrix.shape)
