"""What the Solver is given, checked: data, numbers, functions, and what these return."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cs231n import optim
from cs231n.core import checks
from cs231n.files import storage
from cs231n.schedules import Schedule
from cs231n.training.arguments import SPLITS

__all__ = [
    "check_finite",
    "check_hyperparameters",
    "check_labelled",
    "check_labels",
    "checked_data",
    "checked_function",
    "checked_images",
    "checked_interval",
    "checked_name",
    "count_or_none",
    "cross_entropy",
    "positive",
    "require_gradients",
    "schedule_factor",
    "square_with_l2",
]

_LOOKED_AT = 1 << 31  # bytes of images that are looked through at the start


def checked_data(data: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Return X_train, y_train, X_val and y_val, which have as many labels as samples."""
    checks.mapping("Solver", "data", data)
    missing = [name for name in SPLITS if name not in data]
    if missing:
        raise ValueError(
            f"Solver: data lacks {', '.join(missing)}; found {sorted(map(str, data))},"
            f" expected {', '.join(SPLITS)}"
        )
    arrays = {name: checks.any_array("Solver", name, data[name]) for name in SPLITS}
    for split in ("train", "val"):
        check_labelled("Solver", **{name: arrays[name] for name in (f"X_{split}", f"y_{split}")})
        check_finite(f"X_{split}", arrays[f"X_{split}"])
    return list(arrays.values())


def check_labelled(where: str, **arrays: np.ndarray) -> None:
    """Raise a ValueError unless the arrays, samples and labels, are as many, and at least one."""
    (X_name, X), (y_name, y) = arrays.items()
    if X.ndim == 0 or y.shape != X.shape[:1] or len(X) == 0:
        raise ValueError(
            f"{where}: {X_name} has shape {X.shape} and {y_name} {y.shape};"
            f" expected (N, ...) and (N,) with N >= 1"
        )


def check_finite(name: str, X: np.ndarray) -> None:
    """Raise a ValueError for images with NaN or infinity; of a very large array, look at a part."""
    if X.dtype.kind != "f" or X.size == 0:
        return
    samples = X if X.nbytes <= _LOOKED_AT else X[:: X.nbytes // _LOOKED_AT + 1]
    with np.errstate(all="ignore"):
        if np.isfinite(samples.sum()):  # the cheap question first
            return
    wrong = [i for i, sample in enumerate(samples) if not np.isfinite(sample).all()]
    if wrong:
        step = len(X) // len(samples)
        raise ValueError(
            f"Solver: {name} has NaN or infinity in {len(wrong)} of {len(samples)} samples, first"
            f" in {name}[{wrong[0] * step}]; expected finite numbers"
        )


def check_labels(classes: Any, **labels: np.ndarray) -> None:
    """Raise an error that names the first label which is none of the classes."""
    for name, y in labels.items():
        if y.dtype.kind not in "iu":
            raise TypeError(f"Solver: {name} has dtype {y.dtype}; expected integers, class labels")
        wrong = np.flatnonzero((y < 0) | (y >= classes))
        if len(wrong):
            raise ValueError(
                f"Solver: {name} has labels from {y.min()} to {y.max()}, such as"
                f" {name}[{wrong[0]}] = {y[wrong[0]]}; expected 0 to {classes - 1}, for the model"
                f" has scores for {classes} classes"
            )


def checked_interval(print_every: Any) -> int:
    """Return the iterations between printed losses, negative for none."""
    number = checks.integer("Solver", "print_every", print_every, least=-checks.MOST)
    if number == 0:
        raise ValueError(
            "Solver: print_every is 0; expected an integer >= 1, or a negative one for no losses"
        )
    return number


def checked_images(augment: Any, found: Any, X: np.ndarray) -> np.ndarray:
    """Return what an augmentation made of images, which must be as many."""
    name = getattr(augment, "__name__", None) or repr(augment)
    if not isinstance(found, np.ndarray) or found.dtype.kind not in "biuf":
        kind = f"an array of {found.dtype}" if isinstance(found, np.ndarray) else repr(found)
        hint = " (is its return missing?)" if found is None else ""
        raise TypeError(
            f"Solver: the augmentation {name} returned {kind:.200}{hint}; expected an array of"
            f" images, as it was given: {X.dtype} {X.shape}"
        )
    if found.shape[:1] != X.shape[:1]:
        raise ValueError(
            f"Solver: the augmentation {name} returned images {found.shape} for {X.shape};"
            f" expected as many as it was given"
        )
    return found


def checked_name(checkpoint_name: Any) -> Any:
    """Return the name of a checkpoint, or None for none."""
    if checkpoint_name is not None:
        storage.npz_path(checkpoint_name, "Solver", "checkpoint_name")
    return checkpoint_name


def check_hyperparameters(rule: str, config: Mapping[str, Any]) -> None:
    """Raise an error for hyperparameters that are wrong, or that no rule knows.

    Those of other rules pass, so that one configuration may serve to compare rules.
    """
    known = {name for names in (*optim.DEFAULTS.values(), *optim.STATE.values()) for name in names}
    unknown = [name for name in config if name not in known | {"t"}]
    if unknown:
        raise ValueError(
            f"Solver: optim_config has {checks.hints(unknown, known)}, which no update rule knows;"
            f" {rule} takes {', '.join(optim.DEFAULTS[rule])}"
        )
    optim.hyperparameters(rule, dict(config))
    checks.number("Solver", "learning_rate", config.get("learning_rate", 0), low=0)


def checked_function(name: str, value: Any) -> Any:
    """Return a function, or None for none."""
    if value is None or callable(value):
        return value
    raise TypeError(f"Solver: {name} is {value!r}; expected a function or None")


def schedule_factor(schedule: Schedule, progress: float) -> float:
    """Return the factor that a schedule puts on the learning rate."""
    return checks.number("Solver", f"schedule({progress})", schedule(progress), low=0)


def require_gradients(grads: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Raise a ValueError where the model's loss gave no gradient of a parameter."""
    missing = [name for name in params if name not in grads]
    if missing:
        raise ValueError(
            f"Solver: model.loss gives gradients of {', '.join(map(str, grads)) or 'nothing'};"
            f" expected those of {', '.join(missing)} too, for they are in model.params"
        )


def positive(name: str, value: float) -> float:
    """Return a positive number."""
    return checks.number("Solver", name, value, low=0, low_open=True)


def count_or_none(name: str, value: int | None) -> int | None:
    """Return a positive number, or None for the default."""
    return None if value is None else checks.integer("Solver", name, value, least=1)


def square_with_l2(dw: np.ndarray, strength: float, w: np.ndarray) -> float:
    """Return the squared norm of ``dw + strength * w``, without making that array."""
    square = float(np.vdot(dw, dw))
    if strength:
        square += 2 * strength * float(np.vdot(dw, w)) + strength**2 * float(np.vdot(w, w))
    return square


def cross_entropy(batches: Sequence[np.ndarray], y: np.ndarray) -> float:
    """Return the mean cross-entropy of the softmax of scores, nan where labels are no classes."""
    if y.dtype.kind not in "iu" or any(scores.ndim != 2 for scores in batches):
        return math.nan
    total, start = 0.0, 0
    for scores in batches:
        labels = y[start : start + len(scores)]
        if ((labels < 0) | (labels >= scores.shape[1])).any():
            return math.nan
        with np.errstate(invalid="ignore", over="ignore"):
            rows = scores - scores.max(axis=1, keepdims=True).astype(np.float64)
            logs = np.log(np.exp(rows).sum(axis=1))
            total += float((logs - rows[np.arange(len(rows)), labels]).sum())
        start += len(scores)
    return total / len(y)
