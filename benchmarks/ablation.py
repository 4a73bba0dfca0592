"""Take the tricks out of a recipe one at a time, or put them in one after the other.

    python benchmarks/ablation.py                      # go on where it was stopped
    python benchmarks/ablation.py --seeds 0 --kind out # only these runs
    python benchmarks/ablation.py --kind out -- --num-training 12800  # shorter ones
    python benchmarks/ablation.py --list               # the commands, and nothing else
    python benchmarks/ablation.py --table              # what was measured so far

Each run is one of `python -m cs231n train` with all 10,000 test images, and its line is appended to
benchmarks/results/ablation.csv when it is at its end.  Runs that have a line are left out, so the
script may be killed and started again at any moment.  A line knows the settings that it was made
by: when the recipe changes, the runs are made again, and tables take the newest settings.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import functools
import hashlib
import io
import json
import re
import shlex
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure
from recorded import RESULTS, Spread, options_of, read

from cs231n.commands.recipes import files
from cs231n.commands.train import build, train
from cs231n.commands.train.options import actions
from cs231n.solver import DivergedError

TABLE = RESULTS / "ablation.csv"
RECIPE = "quick"
SEEDS = (0, 1, 2)
COLUMNS = (
    *("without", "seed", "test_accuracy", "test_accuracy_augmented", "val_accuracy"),
    *("iterations", "train_seconds", "settings", "command"),
)


class Trick(NamedTuple):
    """A trick, and the option that takes it out: its words, or what it edits in a description.

    An edit is a pattern and what stands in its place in the recipe's ``--architecture``.
    """

    name: str
    title: str
    words: tuple[str, ...] = ()
    edit: tuple[str, str] | None = None


# In the order in which they are put in, as far as the recipe has them.
_KNOWN = (
    Trick("every-sample", "each image once an epoch", ("--no-every-sample",)),
    Trick("nesterov", "Nesterov's momentum", ("--update-rule", "sgd_momentum")),
    Trick("muon", "Muon", ("--update-rule", "nesterov_momentum")),
    Trick("schedule", "a falling rate", ("--schedule", "constant")),
    Trick("scores", "scores divided by nine", edit=(r"(fc\d+)/\d+", r"\1")),
    Trick("smoothing", "label smoothing", ("--label-smoothing", "0")),
    Trick("decay", "weight decay", ("--weight-decay", "0")),
    Trick("whitening", "whitening filters", edit=(r"^whiten(\d+)", r"conv24x\1v")),
    Trick("dirac", "identity filters", ("--init", "he")),
    Trick("gelu", "GELU", ("--activation", "relu")),
    Trick("scale", "batch norm without a scale", ("--no-fixed-scale",)),
    Trick("statistics", "young running statistics", ("--bn-momentum", "0.9")),
    Trick("groups", "rates by group", ("--groups", "none")),
    Trick("average", "Lookahead", ("--average", "none")),
    Trick("augment", "flips and shifts", ("--no-augment",)),
    Trick("alternating", "alternating flips", ("--flip", "random")),
)
# Muon's rate is none for steps along the gradient: this is how these do with numbers of their own.
_RIVAL = Trick(
    "rival",
    "Nesterov, numbers of its own",
    (
        *("--update-rule", "nesterov_momentum", "--momentum", "0.85", "--learning-rate", "0.75"),
        *("--schedule", "one-cycle", "--warmup", "0.23", "--first-factor", "0.2"),
        *("--final-factor", "0.07", "--weight-decay", "0.0089"),
        *("--groups", "beta*:rate=64:weight_decay=0.00014"),
    ),
)


def tricks() -> tuple[Trick, ...]:
    """Return the tricks that the recipe has: those whose option changes something."""
    return tuple(trick for trick in _KNOWN if _is_had(trick))


@functools.cache
def _is_had(trick: Trick) -> bool:
    """Tell whether the recipe has a trick."""
    if trick.edit is not None:
        return re.search(trick.edit[0], _architecture()) is not None
    whole, without = (vars(options_of(["--recipe", RECIPE, *words])) for words in ((), trick.words))
    rules = {"muon": "muon", "nesterov": "nesterov_momentum"}  # each is out of its own kind alone
    if trick.name in rules:
        return bool(whole["update_rule"] == rules[trick.name])
    return any(whole[name] != without[name] for name in whole.keys() - {"given", "of_recipe"})


def rivals() -> tuple[Trick, ...]:
    """Return what stands beside the tricks, to be compared with the whole recipe."""
    return (_RIVAL,) if any(trick.name == "muon" for trick in tricks()) else ()


class Run(NamedTuple):
    """A training run without some of the tricks."""

    without: tuple[str, ...]
    seed: int


def main(words: Sequence[str] | None = None) -> int:
    """Make the runs that are missing, or tell what was measured."""
    options = _parser().parse_args(words)
    if options.table:
        print("\n".join(table(read(options.results))))
        return 0
    for run in runs(options.kind, options.seeds, options.tricks):
        command = shlex.join(["python", "-m", "cs231n", *words_of(run, options.more)])
        if options.list:
            print(command)
        elif not _is_done(run, options):
            print(f"{time.strftime('%H:%M:%S')} {command}", flush=True)
            found = measured(run, options.more)
            append(options.results, found)
            print(f"{'':<8} test accuracy {found['test_accuracy'] or 'none: diverged'}", flush=True)
    return 0


def _parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--kind", choices=("out", "in", "both"), default="both", help="one out, or one after other")
    known = [trick.name for trick in (*tricks(), *rivals())]
    add("--tricks", nargs="+", choices=known, default=known, help="of those that are taken out")
    add("--seeds", type=int, nargs="+", default=SEEDS)
    add("--results", type=Path, default=TABLE)
    add("--list", action="store_true", help="print the commands")
    add("--table", action="store_true", help="print what was measured")
    add("more", nargs="*", help="behind --: options for every run, such as --num-training 10000")
    return parser


def runs(kind: str, seeds: Sequence[int], taken_out: Sequence[str]) -> Iterator[Run]:
    """Yield the runs, all those of a seed before those of the next one."""
    names = [trick.name for trick in tricks()]
    out = [(), *((name,) for name in taken_out)]
    ladder = [tuple(names[count:]) for count in range(len(names) + 1)]
    for chosen in [{"out": [out], "in": [ladder], "both": [out, ladder]}[kind]]:
        for part in chosen:
            for seed in seeds:
                yield from (Run(without, seed) for without in part)


def words_of(run: Run, more: Sequence[str] = ()) -> list[str]:
    """Return the words behind ``python -m cs231n``; each trick that is out is one option."""
    words, architecture = [], _architecture()
    for trick in (*_KNOWN, *rivals()):
        if trick.name in run.without:
            words += trick.words
            if trick.edit is not None:
                architecture = re.sub(*trick.edit, architecture)
    if architecture != _architecture():
        words += ["--architecture", architecture]
    if not run.without:
        words += ["--test-shift", "1"]  # which changes no training
    return ["train", "--recipe", RECIPE, *words, "--seed", str(run.seed), *more]


@functools.cache
def _architecture() -> str:
    """Return the description of the recipe's network."""
    words = files.words(RECIPE)
    return words[words.index("--architecture") + 1]


def settings_of(more: Sequence[str]) -> str:
    """Return what tells the recipe, as it is now, and the options of all runs from others."""
    text = shlex.join([*files.words(RECIPE), "--", *more])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _is_done(run: Run, options: argparse.Namespace) -> bool:
    """Tell whether the run has a line by now; another process may have written it."""
    settings = settings_of(options.more)
    return any(
        row["without"] == " ".join(run.without)
        and row["seed"] == str(run.seed)
        and row["settings"] == settings
        for row in read(options.results)
    )


def measured(run: Run, more: Sequence[str]) -> dict[str, Any]:
    """Train, and return the line of the run; one that diverged has no accuracies."""
    words = words_of(run, more)
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "run")
        options = options_of([*words[1:], "--output", str(output)])
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                train(options, _load)
            found = json.loads((output / "results.json").read_text(encoding="utf-8"))
        except DivergedError:
            found = {}
    return {
        "without": " ".join(run.without),
        "seed": run.seed,
        "test_accuracy": found.get("test_acc", ""),
        "test_accuracy_augmented": found.get("test_acc_augmented", ""),
        "val_accuracy": found.get("best_val_acc", ""),
        "iterations": found.get("iterations", ""),
        "train_seconds": found.get("train_seconds", ""),
        "settings": settings_of(more),
        "command": shlex.join(["python", "-m", "cs231n", *words]),
    }


def _load(options: argparse.Namespace) -> Any:
    """Return the data, which are read once for all runs."""
    names = ("data", "data_dir", "num_training", "num_test", "standardize", "dtype")
    return _loaded(tuple((name, getattr(options, name)) for name in names))


@functools.cache
def _loaded(chosen: tuple[tuple[str, Any], ...]) -> Any:
    """Return the data of these options."""
    defaults = {name: action.default for name, action in actions().items()}
    return build.load_data(argparse.Namespace(**{**defaults, **dict(chosen)}))


def append(path: Path, row: dict[str, Any]) -> None:
    """Append a line to the table, in one write; one that was cut off before it stays alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    text = io.StringIO("" if old.endswith("\n") or not old else "\n")
    text.seek(0, io.SEEK_END)
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    if not old:
        writer.writeheader()
    writer.writerow(row)
    with open(path, "a", encoding="utf-8") as file:
        file.write(text.getvalue())


def newest(rows: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Return the lines by the settings of the last one."""
    return [row for row in rows if row["settings"] == rows[-1]["settings"]]


def cells(rows: Sequence[dict[str, str]], column: str = "test_accuracy") -> dict[str, Spread]:
    """Return mean and deviation of a column, by the tricks that were out, of runs that have it."""
    found: dict[str, dict[str, float]] = {}
    for row in newest(rows):
        if row[column]:
            found.setdefault(row["without"], {})[row["seed"]] = float(row[column])
    return {without: Spread.of(list(values.values())) for without, values in found.items()}


def losses(rows: Sequence[dict[str, str]]) -> dict[str, Spread]:
    """Return what each trick is worth: what is lost without it, by runs of the same seed."""
    by_run = {(row["without"], row["seed"]): row["test_accuracy"] for row in newest(rows)}
    found: dict[str, list[float]] = {}
    one = {trick.name for trick in (*tricks(), *rivals())}
    for (without, seed), accuracy in by_run.items():
        whole = by_run.get(("", seed))
        if without in one and accuracy and whole:
            found.setdefault(without, []).append(float(whole) - float(accuracy))
    return {name: Spread.of(values) for name, values in found.items()}


def table(rows: Sequence[dict[str, str]]) -> Iterator[str]:
    """Yield the lines of a table of all tricks: what is lost without each, and the ladder."""
    found, lost = cells(rows) if rows else {}, losses(rows) if rows else {}
    diverged = {row["without"] for row in newest(rows) if not row["test_accuracy"]} if rows else ()
    augmented = cells(rows, "test_accuracy_augmented") if rows else {}
    yield f"{'with all of them':<28} {_told(found, diverged, '')}"
    yield f"{'and with changed copies':<28} {_told(augmented, diverged, '')}"
    yield ""
    yield f"{'trick':<28} {'lost without it, points':<32} with it and those above"
    names = [trick.name for trick in tricks()]
    yield f"{'none of them':<28} {'':<32} {_told(found, diverged, ' '.join(names))}"
    for place, trick in enumerate(tricks(), start=1):
        ladder = _told(found, diverged, " ".join(names[place:]))
        yield f"{trick.title:<28} {_lost(lost, diverged, trick.name):<32} {ladder}"
    for trick in rivals():
        yield f"{trick.title:<28} {_lost(lost, diverged, trick.name)}"


def _told(found: dict[str, Spread], diverged: Any, without: str) -> str:
    """Return a cell as text, or why there is none."""
    if without in found:
        return f"{found[without].percent()} % (seeds: {found[without].count})"
    return "diverges" if without in diverged else "not measured yet"


def _lost(lost: dict[str, Spread], diverged: Any, name: str) -> str:
    """Return what is lost without a trick, in points, as text, or why it is not known."""
    if name in lost:
        return f"{lost[name].percent('+')} (seeds: {lost[name].count})"
    return _told({}, diverged, name)


def worth(rows: Sequence[dict[str, str]], name: str) -> str:
    """Return in a line how a trick is taken out, and what is lost without it."""
    trick = next(trick for trick in _KNOWN if trick.name == name)
    if trick not in tricks():
        return f"{trick.title}: the recipe {RECIPE} does without it"
    words = words_of(Run((name,), 0))[3:-2]
    lost = losses(rows) if rows else {}
    diverged = {row["without"] for row in newest(rows) if not row["test_accuracy"]} if rows else ()
    text = f"{_lost(lost, diverged, name)}{' points lost' if name in lost else ''}"
    return f"{trick.title}: taken out by {shlex.join(words)}: {text}"


def draw(rows: Sequence[dict[str, str]]) -> Figure:
    """Draw what is lost without each trick, and the ladder, as far as they were measured."""
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    names = [trick.name for trick in tricks()]
    lost, found = (losses(rows), cells(rows)) if rows else ({}, {})
    ladder = {name: found.get(" ".join(names[i + 1 :])) for i, name in enumerate(names)}
    for axes, some, title in (
        (left, {name: lost.get(name) for name in names}, "points lost without it"),
        (right, ladder, "accuracy with it and those above, %"),
    ):
        for place, name in enumerate(names):
            cell = some[name]
            if cell is not None:
                axes.errorbar(
                    100 * cell.mean,
                    place,
                    xerr=None if cell.deviation is None else 100 * cell.deviation,
                    fmt="o",
                    color="C0",
                    capsize=3,
                )
        axes.set_title(title)
        axes.grid(axis="x", color="0.9")
    left.axvline(0, color="0.6", linewidth=1)
    left.set_yticks(range(len(names)), [trick.title for trick in tricks()])
    left.invert_yaxis()
    return figure


if __name__ == "__main__":
    raise SystemExit(main())
