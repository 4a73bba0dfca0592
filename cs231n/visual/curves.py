"""Training curves of one run, or of several runs in one figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from cs231n.visual.figures import COLORS, finish, label, new_figure, shown, styles
from cs231n.visual.history import History, of_runs, read_history

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["compare_runs", "plot_history"]

Corner = Literal["upper right", "upper left", "lower left", "lower right"]
_CORNERS: tuple[Corner, ...] = get_args(Corner)

_START = 0.05  # the part of a run whose losses do not decide the scale
_NEAR = 1.6  # times the range of the rest: first losses in it are shown all the same
_APART = 2.0  # times the typical top of several runs: a diverging one does not flatten the others


def plot_history(
    history: Any,
    title: str | None = None,
    path: str | PathLike[str] | None = None,
) -> Figure:
    """Draw the training curves of one run, or of several runs for comparison.

    Parameters
    ----------
    history : Solver, run folder, or mapping of str to these
        Anything with the lists ``loss_history`` (a loss for each iteration), ``train_acc_history``
        and ``val_acc_history`` (accuracies at the epochs 0, 1, ...); where there is a
        ``val_loss_history``, too, it is drawn beside the loss.  Several runs are given with their
        names, as to `compare_runs`.
    title : str, optional
        Heading of the figure.
    path : str or path, optional
        Where to save the figure; the ending (.png, .svg, .pdf) decides the format.

    Returns
    -------
    figure : matplotlib.figure.Figure
        For one run, the loss and the accuracies side by side; for several, the losses above the
        training and the validation accuracies.  Dots are single minibatches, the line through them
        is their moving average.  The scale is that of the losses after the first twentieth of a
        run; where this cuts first losses off, the panel says how far up they go.
        ``figure.axes`` are there to be adjusted, for instance with ``set_yscale("log")``.

    Raises
    ------
    TypeError
        If a history is not there.
    ValueError
        If there is nothing to draw yet.
    OSError
        If a run folder has no history.
    """
    if isinstance(history, Mapping):
        figure = _compare("plot_history", of_runs("plot_history", history))
    else:
        figure = _show_run(read_history("plot_history", history))
    return finish(figure, title, path)


def compare_runs(
    runs: Any, title: str | None = None, path: str | PathLike[str] | None = None
) -> Figure:
    """Draw the training curves of several runs in one figure.

    Parameters
    ----------
    runs : mapping of str to Solver or run folder, or sequence of run folders
        Solvers, anything with their histories, or folders that ``python -m cs231n train`` wrote;
        the folders of a sequence are called by their last names.
    title : str, optional
        Heading of the figure.
    path : str or path, optional
        Where to save the figure; the ending (.png, .svg, .pdf) decides the format.

    Returns
    -------
    figure : matplotlib.figure.Figure
        Each run has a colour and a line style; see `plot_history`.

    Raises
    ------
    TypeError, ValueError, OSError
        As `plot_history`.
    """
    return finish(_compare("compare_runs", of_runs("compare_runs", runs)), title, path)


def _show_run(run: History) -> Figure:
    """Draw one run: loss, and training against validation accuracy."""
    figure = new_figure(10, 3.8)
    loss, accuracy = figure.subplots(1, 2)
    _draw_loss(loss, run.loss, COLORS[0], "-")
    if len(run.val_loss):
        style = {"color": COLORS[1], "marker": "o", "markersize": 4}
        loss.plot(run.val_iterations, run.val_loss, "-", label="validation", **style)
    _explain_dots(loss, [run], _scale_losses(loss, [run]))
    _draw_accuracy(accuracy, run.train, COLORS[0], "--", "training")
    _draw_accuracy(accuracy, run.val, COLORS[1], "-", f"validation{_best(run.val)}")
    label(loss, "Loss" if len(run.val_loss) else "Training loss", "iteration", "loss")
    label(accuracy, "Accuracy", "epoch", "accuracy")
    accuracy.legend(edgecolor="none", fontsize=9)
    return figure


def _compare(where: str, runs: Sequence[History]) -> Figure:
    """Draw several runs: their losses, training and validation accuracies."""
    if not runs:
        raise ValueError(f"{where}: no runs to compare; expected at least one")
    figure = new_figure(10, 7)
    axes = figure.subplot_mosaic([["loss", "loss"], ["train", "val"]])
    axes["val"].sharey(axes["train"])
    for (color, line), run in zip(styles(), runs):
        _draw_loss(axes["loss"], run.loss, color, line)
        _draw_accuracy(axes["train"], run.train, color, line)
        _draw_accuracy(axes["val"], run.val, color, line, f"{shown(run.name)}{_best(run.val)}")
    _explain_dots(axes["loss"], runs, _scale_losses(axes["loss"], runs))
    label(axes["loss"], "Training loss", "iteration", "loss")
    label(axes["train"], "Training accuracy", "epoch", "accuracy")
    label(axes["val"], "Validation accuracy", "epoch", "accuracy")
    axes["val"].set_ylabel("")
    axes["val"].tick_params(labelleft=False)
    figure.legend(
        title="runs, with their best validation accuracy",
        handles=axes["val"].lines,
        loc="outside lower center",
        ncols=min(len(runs), 3),
        frameon=False,
        fontsize=9,
        handlelength=3,  # long enough for a whole period of each line style
    )
    return figure


def _draw_loss(axes: Axes, losses: np.ndarray, color: str, line: str) -> None:
    """Draw a dot for each minibatch, and a line through their moving average."""
    iterations = np.arange(len(losses))
    losses = np.where(np.isfinite(losses), losses, np.nan)
    faint = float(np.clip(400 / len(losses), 0.15, 0.5))
    axes.plot(iterations, losses, ".", color=color, alpha=faint, markersize=3, markeredgewidth=0)
    axes.plot(iterations, _smooth(losses), line, color=color, linewidth=1.8)


def _half_width(count: int) -> int:
    """Return over how many iterations to each side so many losses are averaged."""
    return min(count // 40, 500)


def _smooth(values: np.ndarray) -> np.ndarray:
    """Return a centred moving average with a bell-shaped window; nan is left out of it."""
    half = _half_width(len(values))
    window = np.hanning(2 * half + 3)[1:-1]  # without the zeros at its ends
    known = np.isfinite(values)
    inside = slice(half, half + len(values))
    total = np.convolve(np.where(known, values, 0), window)[inside]
    weight = np.convolve(known, window)[inside]
    return np.divide(total, weight, out=np.full(len(values), np.nan), where=weight > 1e-9)


def _explain_dots(axes: Axes, runs: Sequence[History], above: float | None) -> None:
    """Say what the dots and the line through them are, and how far up those go that are cut off."""
    from matplotlib.lines import Line2D

    widths = sorted({2 * _half_width(len(run.loss)) + 1 for run in runs})
    color = COLORS[0] if len(runs) == 1 else "0.35"
    over = str(widths[0]) if len(widths) == 1 else f"{widths[0]} to {widths[-1]}"
    smoothed = f"moving average over {over} of them" if widths[-1] > 1 else "the same, joined"
    handles = [
        Line2D([], [], linestyle="", marker=".", color=color, alpha=0.5, label="one minibatch"),
        Line2D([], [], color=color, label=smoothed),
        *(line for line in axes.lines if line.get_label() == "validation"),
    ]
    if above is not None:
        text = f"(losses up to {above:.3g} lie above)"
        handles.append(Line2D([], [], linestyle="", label=text))
    axes.legend(handles=handles, loc=_free_corner(axes), edgecolor="none", fontsize=8)


def _free_corner(axes: Axes) -> Corner:
    """Return the corner with the least of the lines; dots, which are faint, may be behind."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    lines = [np.array(line.get_data(), float) for line in axes.lines if line.get_marker() != "."]
    covered = dict.fromkeys(_CORNERS, 0.0)
    for x, y in lines:
        across, along = (x - left) / (right - left), (y - low) / (high - low)
        for corner in covered:
            beside = across > 0.5 if corner.endswith("right") else across < 0.5
            within = (along > 0.7) & (along < 1) if corner.startswith("upper") else along < 0.3
            covered[corner] += float(np.mean(beside & within))
    return min(covered, key=lambda corner: covered[corner])


def _scale_losses(axes: Axes, runs: Sequence[History]) -> float | None:
    """Let the losses after the first ones decide the scale; return the largest, if cut off."""
    ranges = [found for run in runs if (found := _range_of(run)) is not None]
    if not ranges:
        return None
    low = min(bottom for bottom, _ in ranges)
    high = max(top for _, top in ranges)
    high = min(high, _APART * float(np.median([top for _, top in ranges])))
    most = max(np.max(run.loss, where=np.isfinite(run.loss), initial=low) for run in runs)
    if most <= low + _NEAR * (high - low):
        high = most
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
    axes.set_ylim(max(low - margin, low / 2) if low > 0 else low - margin, high + margin)
    return most if most > high else None


def _range_of(run: History) -> tuple[float, float] | None:
    """Return the smallest loss, and the largest that matters after the first ones of a run."""
    later = run.loss[int(_START * len(run.loss)) :]
    kept = np.concatenate([later, run.val_loss[run.val_iterations > _START * len(run.loss)]])
    kept = kept[np.isfinite(kept)]
    if not len(kept):
        return None
    return float(kept.min()), float(np.quantile(kept, 0.98))


def _draw_accuracy(
    axes: Axes, values: np.ndarray, color: str, line: str, name: str | None = None
) -> None:
    """Draw an accuracy at the epochs 0, 1, ..."""
    marker = "o" if len(values) <= 30 else ""
    epochs = np.arange(len(values))
    axes.plot(epochs, values, line, color=color, marker=marker, markersize=4, label=name)


def _best(values: np.ndarray) -> str:
    """Say where the best accuracy was reached."""
    if not np.any(np.isfinite(values)):
        return ""
    epoch = int(np.nanargmax(values))
    return f" (best {values[epoch]:.1%}, epoch {epoch})"
