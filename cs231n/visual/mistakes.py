"""What a classifier takes for what: the confusion matrix, and the most confident mistakes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np

from cs231n.core import checks
from cs231n.visual.figures import finish, new_figure, shown
from cs231n.visual.grids import as_images, own_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_confusion", "show_mistakes"]

_WITH_NUMBERS = 20  # classes; in the cells of more no number can be read
_WITH_NAMES = 40


def plot_confusion(
    matrix: np.ndarray,
    class_names: Sequence[str] | None = None,
    ax: Axes | None = None,
    title: str | None = None,
    path: str | PathLike[str] | None = None,
) -> Figure:
    """Draw a confusion matrix: which class is taken for which.

    Parameters
    ----------
    matrix : array_like of shape (C, C)
        How many samples of the class of the row were predicted to be of that of the column.
    class_names : sequence of str, optional
        Name of each class; its number by default.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.
    title : str, optional
        Heading of the figure.
    path : str or path, optional
        Where to save the figure; the ending (.png, .svg, .pdf) decides the format.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Colours are shares of each row, so that rare classes can be read like frequent ones; the
        numbers of up to 20 classes stand in the cells, the accuracy above.

    Raises
    ------
    TypeError, ValueError
        If the matrix is not square or holds anything but counts, or the names are not as many.
    """
    where = "plot_confusion"
    counts = _counts(where, matrix)
    names = _class_names(where, class_names, len(counts))
    if ax is None:
        size = float(np.clip(0.5 * len(counts) + 2, 4, 9))
        ax = new_figure(size, size).subplots()
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.where(totals == 0, 1, totals)
    ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if len(counts) <= _WITH_NUMBERS:
        _write_numbers(ax, counts, shares)
    _name_classes(ax, names)
    ax.set(xlabel="predicted class", ylabel="true class")
    right = np.trace(counts) / max(counts.sum(), 1)
    ax.set_title(f"{counts.sum():g} samples, {right:.1%} on the diagonal", fontsize=10)
    figure: Any = ax.get_figure()
    return finish(figure, title, path)


def _counts(where: str, matrix: Any) -> np.ndarray:
    """Return a square matrix of counts."""
    counts = checks.real_array(where, "matrix", matrix)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise ValueError(f"{where}: matrix has shape {counts.shape}; expected (C, C)")
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise ValueError(f"{where}: matrix holds {counts.min()}; expected counts, >= 0")
    return counts


def _class_names(where: str, names: Sequence[str] | None, C: int) -> list[str]:
    """Return a name for each of C classes."""
    if names is None:
        return [str(index) for index in range(C)]
    found = [str(name) for name in checks.sequence(where, "class_names", names)]
    if len(found) != C:
        raise ValueError(f"{where}: there are {len(found)} class_names; expected {C}")
    return found


def _write_numbers(axes: Axes, counts: np.ndarray, shares: np.ndarray) -> None:
    """Write each count into its cell, white on dark ones."""
    size = 9 if len(counts) <= 12 else 6
    for (row, column), count in np.ndenumerate(counts):
        if count:
            color = "white" if shares[row, column] > 0.5 else "black"
            cell: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": size}
            axes.text(column, row, f"{count:g}", color=color, **cell)


def _name_classes(axes: Axes, names: Sequence[str]) -> None:
    """Name the rows and columns; of very many classes every so manieth."""
    step = math.ceil(len(names) / _WITH_NAMES)
    ticks, texts = range(0, len(names), step), [shown(name, 20) for name in names[::step]]
    size = 9 if len(names) <= 12 else 6
    slant: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(ticks, texts, fontsize=size, **(slant if max(map(len, texts)) > 2 else {}))
    axes.set_yticks(ticks, texts, fontsize=size)


def show_mistakes(
    images: np.ndarray,
    labels: np.ndarray,
    predicted: np.ndarray,
    scores: np.ndarray,
    class_names: Sequence[str] | None = None,
    count: int = 25,
    title: str | None = None,
    path: str | PathLike[str] | None = None,
) -> Figure:
    """Show the images that were taken for another class with the greatest confidence.

    Parameters
    ----------
    images : array_like of shape (N, C, H, W) or (N, H, W, C)
        With 3 channels or 1.  Bytes and floats from 0 to 1 are shown as they are, others, such as
        normalised ones, each in its own range (`Normalization.undo` gives the pictures back).
    labels, predicted : array_like of shape (N,)
        True and predicted classes.
    scores : array_like of shape (N, K)
        Scores or probabilities of K classes; rows that are not negative and sum to 1 are
        probabilities.
    class_names : sequence of str, optional
        Name of each class; its number by default.
    count : int
        Images to show at most.
    title : str, optional
        Heading of the figure.
    path : str or path, optional
        Where to save the figure; the ending (.png, .svg, .pdf) decides the format.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Above each image the class that it was taken for with its probability, below the true one.

    Raises
    ------
    TypeError, ValueError
        If there are no images, the arrays do not fit together or hold what they cannot.
    """
    where = "show_mistakes"
    pictures = _pictures(where, images)
    scores = checks.real_array(where, "scores", scores)
    if scores.ndim != 2 or len(scores) != len(pictures) or not scores.size:
        raise ValueError(
            f"{where}: scores has shape {scores.shape}; expected (N, K) for {len(pictures)} images"
        )
    K = scores.shape[1]
    labels, predicted = (
        _classes(where, name, y, len(pictures), K)
        for name, y in {"labels": labels, "predicted": predicted}.items()
    )
    names = _class_names(where, class_names, K)
    sure = _probabilities(scores)[np.arange(len(scores)), predicted]
    wrong = np.flatnonzero(predicted != labels)
    worst = wrong[np.argsort(-sure[wrong], kind="stable")]
    worst = worst[: checks.integer(where, "count", count, 1)]
    said = [f"{shown(names[predicted[i]], 14)} ({sure[i]:.0%})" for i in worst]
    true = [f"is {shown(names[labels[i]], 14)}" for i in worst]
    figure = _tiles([pictures[i] for i in worst], said, true, len(pictures))
    return finish(figure, title, path)


def _classes(where: str, name: str, y: Any, N: int, K: int) -> np.ndarray:
    """Return labels (N,) from 0 to K - 1."""
    found = checks.any_array(where, name, y)
    if found.shape != (N,) or found.dtype.kind not in "iu":
        raise ValueError(
            f"{where}: {name} is {found.dtype} {found.shape}; expected a class number for each"
            f" of {N} images"
        )
    if ((found < 0) | (found >= K)).any():
        raise ValueError(
            f"{where}: {name} runs from {found.min()} to {found.max()}; expected 0 to {K - 1}"
        )
    return found.astype(np.intp)


def _pictures(where: str, images: Any) -> np.ndarray:
    """Return images (N, H, W, C) with values from 0 to 1."""
    given = checks.real_array(where, "images", images)
    if given.ndim == 4 and given.shape[3] not in (1, 3) and given.shape[1] in (1, 3):
        given = given.transpose(0, 2, 3, 1)
    found = as_images(where, "images", given)
    if found.shape[3] not in (1, 3):
        raise ValueError(f"{where}: images has shape {found.shape}; expected 3 channels or 1")
    if given.dtype == np.uint8:
        return found / 255
    return found if found.min() >= 0 and found.max() <= 1 else own_range(found, 1.0)


def _probabilities(scores: np.ndarray) -> np.ndarray:
    """Return probabilities (N, K), by softmax where the rows are none yet; nan stays nan."""
    rows = scores.astype(np.float64)
    if (rows >= 0).all() and np.allclose(rows.sum(axis=1), 1, atol=1e-3):
        return rows
    with np.errstate(invalid="ignore", over="ignore"):
        powers = np.exp(rows - rows.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def _tiles(pictures: list[np.ndarray], said: list[str], true: list[str], N: int) -> Figure:
    """Draw pictures with a line above and below each, or say that there are none."""
    columns = max(min(5, len(pictures)), 1)
    rows = max(math.ceil(len(pictures) / columns), 1)
    figure = new_figure(max(1.55 * columns, 4), 1.9 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in panels:
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    for axes, picture, above, below in zip(panels, pictures, said, true):
        axes.imshow(picture if picture.shape[2] == 3 else picture[..., 0], "gray", vmin=0, vmax=1)
        axes.set_title(above, fontsize=8, pad=3, color="#B34700")
        axes.set_xlabel(below, fontsize=8, labelpad=2)
    if not pictures:
        panels[0].text(0.5, 0.5, f"no mistakes among {N} images", ha="center", va="center")
    return figure
