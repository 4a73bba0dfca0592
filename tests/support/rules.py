"""Update rules by definition, as sums over all gradients so far."""

import numpy as np


def by_definition(rule, w, gradients, learning_rate, **config):
    """Return w after these gradients, one number at a time, from the sums that the rules unroll to.

    A running mean after t steps is a sum over all gradients so far, weighted by powers.
    """
    for t in range(1, len(gradients) + 1):
        past = np.array(gradients[:t])
        age = np.arange(t)[::-1].reshape(-1, *[1] * w.ndim)
        if rule == "sgd":
            step = past[-1]
        elif rule == "sgd_momentum":
            step = np.sum(config["momentum"] ** age * past, axis=0)
        elif rule == "nesterov_momentum":
            step = past[-1] + np.sum(config["momentum"] ** (age + 1) * past, axis=0)
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
