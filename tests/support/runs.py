"""Small training runs, which the tests of interruption share, and the numbers they end in."""

import hashlib

import numpy as np

from cs231n.classifiers import FullyConnectedNet

SHAPE = (2, 4, 4)  # of an image
HISTORIES = ("loss_history", "train_acc_history", "val_acc_history")


def images(N=50, N_val=20, seed=3, dtype=np.float64):
    """Return a small data set of images that can be learnt."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((3, *SHAPE))
    y, y_val = rng.integers(3, size=N), rng.integers(3, size=N_val)
    return {
        "X_train": (centres[y] + rng.standard_normal((N, *SHAPE))).astype(dtype),
        "y_train": y,
        "X_val": (centres[y_val] + rng.standard_normal((N_val, *SHAPE))).astype(dtype),
        "y_val": y_val,
    }


def network(normalization="batchnorm", keep=0.8, dtype=np.float64, reg=0.01):
    """Return a network that draws at random while it trains."""
    return FullyConnectedNet(
        [8, 7], 32, 3, keep, normalization, weight_scale=0.1, dtype=dtype, reg=reg
    )


def outcome(solver):
    """Return all numbers of a run, arrays as digests of their bytes, and the next random draw."""
    model = solver.model
    found = {name: getattr(solver, name) for name in (*HISTORIES, "best_val_acc", "epoch")}
    groups = {
        "params": model.params,
        "best": solver.best_params,
        **{f"optim {name}": config for name, config in solver.optim_configs.items()},
        **{f"bn {index}": param for index, param in enumerate(getattr(model, "bn_params", []))},
    }
    for group, content in groups.items():
        for name, value in content.items():
            found[f"{group} {name}"] = _digest(value) if isinstance(value, np.ndarray) else value
    found["next draw"] = np.random.rand()
    return found


def _digest(array):
    """Return dtype, shape and a digest of the bytes of an array."""
    return f"{array.dtype} {array.shape} {hashlib.sha256(array.tobytes()).hexdigest()}"
