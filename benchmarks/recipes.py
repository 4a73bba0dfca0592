"""Train by the recipes, record what came out, and tell it in the README.

    python benchmarks/recipes.py train quick --seed 0 --output RUN  # trains and records
    python benchmarks/recipes.py record RUN ...                     # records runs that were made
    python benchmarks/recipes.py show                               # writes it into the README

A line of `cs231n/commands/recipes/measured.csv` is recorded for each recipe and seed, and in
`benchmarks/results` its curve and what it takes for what.  Beside the time of training stands the
rate of a large matrix product, measured in the same command, and the time that the steps would take
at it.  Runs with other options than the recipe has, or that were not finished, are refused.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from recorded import MEASURED, RESULTS, Spread, flops, options_of, product_rate, read, write

import cs231n
from cs231n.commands import evaluation
from cs231n.commands.recipes import files
from cs231n.commands.train.run_folder import read_configuration, read_machine
from cs231n.files import storage

TOP = Path(__file__).resolve().parents[1]
README, FIGURE = TOP / "README.md", TOP / "docs" / "recipes.svg"
BEGIN, END = "<!-- written by python benchmarks/recipes.py show -->", "<!-- end of recipes -->"
COLUMNS = (
    *("recipe", "seed", "test_accuracy", "test_accuracy_augmented", "train_seconds"),
    *("steps_per_second", "gflops_per_second", "product_gflops_per_second"),
    *("seconds_at_product_rate", "processor"),
)
_COPIES = "test_accuracy_augmented"
CURVE = ("iteration", "epoch", "seconds", "loss", "train_acc", "val_acc", "test_acc")
# What a run may have otherwise than its recipe: nothing that its numbers depend on.
_FREE = ("seed", "output", "data_dir", "print_every", "checkpoint_every", "draw_ahead")
_FREE += ("test_curve", "csv_log", "tensorboard", "recipe", "resume", "mpi")


_PROSE = """\
### Recipes

CIFAR-10 by `python -m cs231n train --recipe NAME`: mean and standard deviation over the seeds, of
all 10,000 test images; the settings were chosen by held-out training images. PyTorch's time is ours
times the ratio of steps of the same recipe (`python benchmarks/recipe_steps.py`), by the fastest of
its ways. GFLOP/s count a convolution as its direct sum; beside them stands the rate of a large
matrix product, measured in the same command, and the time that the steps would take at it. In the
figure a line is a run, and its point the end, with changed copies where the recipe has them; a run
of one epoch is its point. The machine: {machine}."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one of the commands."""
    options = _parser().parse_args(words)
    if options.command == "train":
        train(options.recipe, options.seed, options.output)
    elif options.command == "record":
        rate = product_rate()
        for folder in options.runs:
            record(folder, rate)
    else:
        show()
    return 0


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train", help="train by a recipe, and record the run")
    training.add_argument("recipe", choices=files.names())
    training.add_argument("--seed", type=int, default=0)
    training.add_argument("--output", type=Path, required=True, help="new run folder")
    recording = commands.add_parser("record", help="record runs that were made")
    recording.add_argument("runs", type=Path, nargs="+", help="run folders")
    commands.add_parser("show", help="write table and figure of the README")
    return parser


def train(recipe: str, seed: int, output: Path) -> None:
    """Train in a process of its own, between two measurements of the rate of products."""
    words = ["train", "--recipe", recipe, "--seed", str(seed), "--test-curve"]
    before = product_rate()
    command = [sys.executable, "-m", "cs231n", *words, "--output", str(output)]
    subprocess.run(command, check=True)
    record(output, fmean((before, product_rate())))


def record(folder: Path, rate: float) -> dict[str, Any]:
    """Record a run: its line, its curve and its confusions.

    Parameters
    ----------
    folder : Path
        Of a finished run by a recipe.
    rate : float
        Of a large matrix product, in GFLOP/s.

    Returns
    -------
    row : dict
        The line.

    Raises
    ------
    ValueError
        If the run is not one by its recipe, or was not finished.
    """
    options, history = _options(folder), read(folder / "history.csv")
    results = json.loads(storage.read_text("recipes", folder / "results.json"))
    if not history or float(history[-1]["epoch"]) < options["epochs"]:
        raise ValueError(f"{folder} was not finished; expected {options['epochs']} epochs")
    row = _row(folder, options, results, rate)
    key = str(row["recipe"]), str(row["seed"])
    rows = [one for one in read(MEASURED) if (one["recipe"], one["seed"]) != key]
    write(
        MEASURED, COLUMNS, sorted([*rows, row], key=lambda one: (one["recipe"], int(one["seed"])))
    )
    name = f"{key[0]}-{key[1]}.csv"
    write(RESULTS / f"curve-{name}", CURVE, _curve(folder, history, results))
    _record_confusion(folder, RESULTS / f"confusion-{name}")
    print(", ".join(f"{column} {value}" for column, value in row.items() if value != ""))
    return row


def _options(folder: Path) -> dict[str, Any]:
    """Return the options of a run, once they are seen to be those of its recipe."""
    found = vars(read_configuration(folder))
    name = found["recipe"]
    if name not in files.names():
        raise ValueError(f"{folder} is no run by a recipe; expected one by {files.names()}")
    wanted = vars(options_of(["--recipe", name]))
    other = [
        f"{option} {found[option]!r} instead of {wanted[option]!r}"
        for option in wanted
        if option in found and option not in _FREE and found[option] != wanted[option]
    ]
    if other:
        raise ValueError(f"{folder} has {'; '.join(other)}: it is no run by {name} as it is now")
    return found


def _row(
    folder: Path, options: dict[str, Any], results: dict[str, Any], rate: float
) -> dict[str, Any]:
    """Return the line of a run."""
    seconds, steps = results["train_seconds"], results["iterations"]
    work = 1e-9 * steps * options["batch_size"] * flops(cs231n.load_model(folder))
    augmented = results.get("test_acc_augmented", results.get("test_acc_mirror", ""))
    return {
        "recipe": options["recipe"],
        "seed": options["seed"],
        "test_accuracy": results["test_acc"],
        "test_accuracy_augmented": augmented,
        "train_seconds": seconds,
        "steps_per_second": round(steps / seconds, 3),
        "gflops_per_second": round(work / seconds, 1),
        "product_gflops_per_second": round(rate, 1),
        "seconds_at_product_rate": round(work / rate, 1),
        "processor": read_machine(folder).get("machine", ""),
    }


def _curve(
    folder: Path, history: Sequence[dict[str, str]], results: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Yield a line for each time the accuracies were measured; the loss is the mean since then.

    Where no clock was read, seconds are a share of the whole.
    """
    tested = {row["iteration"]: row for row in read(folder / "test_curve.csv")}
    share = results["train_seconds"] / results["iterations"]
    losses: list[float] = []
    for row in history:
        losses.append(float(row["loss"]))
        if not row["val_acc"]:
            continue
        test = tested.get(row["iteration"], {})
        yield {
            "iteration": row["iteration"],
            "epoch": f"{float(row['epoch']):.4g}",
            "seconds": test.get("seconds", round(share * int(row["iteration"]), 2)),
            "loss": f"{fmean(losses):.5g}",
            "train_acc": row["train_acc"],
            "val_acc": row["val_acc"],
            "test_acc": test.get("test_acc", ""),
        }
        losses = []


def _record_confusion(folder: Path, path: Path) -> None:
    """Write a line for each class: how often it is taken for what, and how certainly."""
    found = evaluation.read(folder / evaluation.FILE)
    names, matrix = found.class_names, found.matrix()
    rows = [
        {
            "class": name,
            "certainty": f"{found.probability[found.y == label].mean():.4f}",
            **dict(zip(names, map(int, matrix[label]))),
        }
        for label, name in enumerate(names)
    ]
    write(path, ("class", "certainty", *names), rows)


class Confusion(NamedTuple):
    """What a recipe's networks take for what, summed over its runs.

    Parameters
    ----------
    class_names : list of str
    matrix : ndarray of shape (C, C)
        A row for each class, a column for each answer.
    certainty : ndarray of shape (C,)
        Mean probability that the networks give to their answers, by class of the image.
    runs : int
    """

    class_names: list[str]
    matrix: np.ndarray
    certainty: np.ndarray
    runs: int


def confusion(name: str, results: Path | None = None) -> Confusion | None:
    """Return what a recipe confuses, None where no run was recorded."""
    paths = sorted((results or RESULTS).glob(f"confusion-{name}-*.csv"))
    tables = [read(path) for path in paths]
    if not tables:
        return None
    names = [row["class"] for row in tables[0]]
    matrices = [[[int(row[name]) for name in names] for row in rows] for rows in tables]
    certainties = [[float(row["certainty"]) for row in rows] for rows in tables]
    return Confusion(names, np.sum(matrices, axis=0), np.mean(certainties, axis=0), len(tables))


def curves(results: Path) -> dict[str, list[list[dict[str, str]]]]:
    """Return the curves of all runs, by recipe."""
    found: dict[str, list[list[dict[str, str]]]] = {}
    for path in sorted(results.glob("curve-*.csv")):
        name = path.stem.removeprefix("curve-").rpartition("-")[0]
        found.setdefault(name, []).append(read(path))
    return found


def draw(results: Path | None = None, measured: Path | None = None) -> Figure | None:
    """Draw accuracy over time for all recipes in one figure; None where nothing was measured.

    Lines are test images where these were measured along the way, else, dashed, held-out training
    images; a point is the accuracy of the test images in the end, with changed copies if the
    recipe has any.
    """
    found, ends = curves(results or RESULTS), read(measured or MEASURED)
    if not found:
        return None
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    axes = figure.subplots()
    order = sorted(found, key=lambda name: float(found[name][0][-1]["seconds"]))
    for place, name in enumerate(order):
        for number, all_rows in enumerate(found[name]):
            rows = [row for row in all_rows if int(row["iteration"]) > 1]
            tested = [row for row in rows if row["test_acc"]]
            axes.plot(
                [float(row["seconds"]) / 60 for row in tested or rows],
                [100 * float(row["test_acc"] or row["val_acc"]) for row in tested or rows],
                "-" if tested else "--",
                color=f"C{place}",
                label=name if number == 0 else None,
                marker=".",
                linewidth=1,
            )
        points = [row for row in ends if row["recipe"] == name]
        axes.plot(
            [float(row["train_seconds"]) / 60 for row in points],
            [100 * float(row[_COPIES] or row["test_accuracy"]) for row in points],
            "o",
            color=f"C{place}",
        )
    axes.set(xscale="log", xlabel="minutes of training", ylabel="accuracy, %")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.axhline(94, color="0.6", linewidth=1, linestyle=":")
    axes.grid(color="0.9")
    axes.legend(frameon=False, loc="lower right")
    return figure


def table(measured: Path | None = None, results: Path | None = None) -> list[dict[str, str]]:
    """Return what was measured of each recipe, as texts by the heads of the columns."""
    rows, steps = read(measured or MEASURED), read((results or RESULTS) / "steps.csv")
    by_name = {name: [row for row in rows if row["recipe"] == name] for name in files.names()}
    order = sorted((name for name in by_name if by_name[name]), key=lambda n: _mean(by_name[n]))
    return [_told(name, by_name[name], steps) for name in order]


def _mean(rows: Sequence[dict[str, str]], column: str = "train_seconds") -> float:
    """Return the mean of a column."""
    return fmean(float(row[column]) for row in rows)


def _told(
    name: str, rows: Sequence[dict[str, str]], steps: Sequence[dict[str, str]]
) -> dict[str, str]:
    """Return the texts of a recipe."""
    accuracy = Spread.of([float(row["test_accuracy"]) for row in rows])
    copies = [float(row[_COPIES]) for row in rows if row[_COPIES]]
    seconds = _mean(rows)
    return {
        "recipe": f"`{name}`",
        "seeds": str(len(rows)),
        "test accuracy": f"{accuracy.percent()} %",
        "with changed copies": f"{Spread.of(copies).percent()} %" if copies else "",
        "training": _time(seconds),
        "PyTorch": _torch(name, seconds, steps),
        "steps a second": f"{_mean(rows, 'steps_per_second'):.3g}",
        "GFLOP/s": f"{_mean(rows, 'gflops_per_second'):.0f}",
        "of a product": f"{_mean(rows, 'product_gflops_per_second'):.0f}",
        "at its rate": _time(_mean(rows, "seconds_at_product_rate")),
    }


def _torch(name: str, seconds: float, steps: Sequence[dict[str, str]]) -> str:
    """Return the time by PyTorch's fastest way, from the ratio of steps, if that was measured."""
    ratios = [
        float(row["ratio"]) for row in steps if row["recipe"] == name and row["way"] != "ours"
    ]
    return f"{_time(seconds * min(ratios))} ({min(ratios):.2f} times)" if ratios else "not measured"


def _time(seconds: float) -> str:
    """Return a time as people say it."""
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.1f} min"


def _machines() -> str:
    """Return what the recorded runs were made on."""
    return "; ".join(sorted({row["processor"] for row in read(MEASURED) if row["processor"]}))


def show(readme: Path = README, figure: Path = FIGURE) -> None:
    """Write the table into the README, and the figure that it shows."""
    rows, drawn = table(), draw()
    if not rows or drawn is None:
        raise SystemExit("recipes: nothing was measured; expected runs that were recorded")
    with rc_context({"svg.hashsalt": "recipes"}):  # without one, no two files have the same names
        drawn.savefig(figure, metadata={"Date": None})
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads), *(list(row.values()) for row in rows)]
    text = "\n".join(
        [
            BEGIN,
            *_PROSE.format(machine=_machines()).splitlines(),
            "",
            *(f"| {' | '.join(cells)} |" for cells in lines),
            "",
            f"![accuracy over the time of training, by recipe](docs/{figure.name})",
            END,
        ]
    )
    old = readme.read_text(encoding="utf-8")
    head, found, rest = old.partition(BEGIN)
    if found:
        new = head + text + rest.partition(END)[2]
    else:
        head, found, rest = old.partition("## Troubleshooting\n")
        new = f"{head}{text}\n\n{found}{rest}"
    storage.write_text(readme, new)
    print(f"{readme}\n{figure}")


if __name__ == "__main__":
    sys.exit(main())
