"""Draw the report of a run from the files in its folder, one page of HTML that stands alone."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cs231n import vis_utils
from cs231n.classifiers import Network, load_model
from cs231n.commands import evaluation, report_page
from cs231n.commands.evaluation import Evaluation
from cs231n.commands.first_layer import first_filters
from cs231n.commands.surroundings import printable, tell
from cs231n.commands.train import build, run_folder
from cs231n.files import storage

__all__ = ["FILE", "add_options", "run", "write"]

FILE = "report.html"
_ROWS = 30  # classes, or confusions, that a table shows
_BESIDE = 10  # confusions that a table shows beside the matrix
_DRAWN = 60  # classes whose confusion matrix is drawn
_FIGURES = {
    "best_val_acc": ("best validation accuracy", "{:.2%}"),
    "test_acc": ("test accuracy", "{:.2%}"),
    "iterations": ("iterations", "{:,.0f}"),
    "train_seconds": ("seconds of training", "{:,.0f}"),
}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a run of train")


def run(options: argparse.Namespace) -> int:
    """Draw the report, and say where it is."""
    print(write(options.run))
    return 0


def write(folder: Path) -> Path:
    """Draw the report of a run and write it into its folder.

    Parameters
    ----------
    folder : Path
        Run folder; what is missing in it is left out.

    Returns
    -------
    path : Path
        The page.

    Raises
    ------
    OSError
        If there is no such run, or the report cannot be written.
    ValueError
        If the configuration of the run is damaged.
    """
    options = run_folder.read_configuration(folder)
    parts = _Parts(folder, options)
    title = f"{options.model} on {build.data_name(options)}"
    return storage.write_text(folder / FILE, report_page.page(title, parts.all(title)))


class _Parts:
    """The parts of the report, each made of the files that there are."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self._folder, self._options = folder, options
        self._model: Network | None = self._of("network", load_model, folder)
        self._judged: Evaluation | None = self._of(
            "mistakes", evaluation.read, folder / evaluation.FILE
        )

    def _of(self, what: str, make: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a function makes of files; None where they are missing, or told as unfit."""
        try:
            return make(*arguments)
        except FileNotFoundError:
            return None
        except Exception as error:  # of any kind: the rest of the report is of use without it
            tell(f"cs231n report: nothing is shown of the {what} ({error})")
            return None

    def all(self, title: str) -> Iterator[str]:
        """Yield the parts in order."""
        yield f"<h1>{report_page.escaped(title)}</h1>\n"
        yield self._of("results", self._results) or ""
        yield report_page.section("What was run", self._setting())
        yield report_page.section(
            "Training curves", self._of("training curves", self._curves) or ""
        )
        if self._judged is not None:
            yield from _of_evaluation(self._judged)
        yield report_page.section(
            "Filters of the first layer", self._of("filters", self._filters) or ""
        )
        yield report_page.section(
            "Make it again",
            report_page.code(again(self._options), "command"),
            "<p>This page was drawn from the files in its folder. To draw it anew:</p>\n",
            report_page.code(
                shlex.join(["python", "-m", "cs231n", "report", str(self._folder)]), "command"
            ),
        )

    def _results(self) -> str:
        """Return the figures of the run."""
        content = json.loads(storage.read_text("report", self._folder / "results.json"))
        shown = "".join(
            f"<div><dt>{name}</dt><dd>{form.format(float(content[key]))}</dd></div>\n"
            for key, (name, form) in _FIGURES.items()
            if isinstance(content.get(key), (int, float))
        )
        return f"<dl>\n{shown}</dl>\n"

    def _setting(self) -> str:
        """Return what was run and on what."""
        text = self._of("machine", run_folder.read_machine, self._folder) or {}
        lines = [_training(self._options), *(f"{name}: {value}" for name, value in text.items())]
        html = "".join(f'<p class="soft">{report_page.escaped(line)}</p>\n' for line in lines)
        if self._model is None:
            return html
        if self._model.inputs is not None:
            html = self._on_what() + html
        return html + report_page.code(self._model.summary())

    def _on_what(self) -> str:
        """Return what the images are."""
        if self._model is None or self._model.inputs is None:
            return ""
        shape, normalization, names = self._model.inputs
        few = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
        lines = [
            f"Images of {' x '.join(map(str, shape))} (channels, height, width),"
            f" {len(names)} classes",
            f"Done to the images: {normalization}",
        ]
        html = "".join(f"<p>{report_page.escaped(line)}</p>\n" for line in lines)
        return html + "".join(f'<p class="soft">{report_page.escaped(few)}</p>\n')

    def _curves(self) -> str:
        """Return loss and accuracies over the iterations."""
        drawn = vis_utils.plot_history(self._folder)
        return report_page.figure(drawn, "Loss and accuracies over the course of the training")

    def _filters(self) -> str:
        """Return the filters of the first layer, if they can be seen."""
        filters = None if self._model is None else first_filters(self._model)
        if filters is None:
            return ""
        drawn = vis_utils.plot_filters(filters)
        return report_page.figure(drawn, f"{len(filters)} filters, each in its own range")


def _training(options: argparse.Namespace) -> str:
    """Return how a run was trained, in a line."""
    return (
        f"{options.update_rule}, learning rate {options.learning_rate:g}, {options.schedule};"
        f" minibatches of {options.batch_size}, {options.epochs}"
        f" epoch{'s' if options.epochs != 1 else ''}"
    )


def again(options: argparse.Namespace) -> str:
    """Return the command that makes a run again."""
    return shlex.join(["python", "-m", "cs231n", "train", *run_folder.words(options)])


def _of_evaluation(judged: Evaluation) -> Iterator[str]:
    """Yield what the network gets right and wrong."""
    rows = [(judged.class_names[c], n, right / n) for c, n, right in judged.per_class()]
    note = f"{len(judged.y)} {judged.title}: accuracy {judged.accuracy:.4f}, loss {judged.loss:.4f}"
    if len(rows) > _ROWS:
        rows = sorted(rows, key=lambda row: row[2])[:_ROWS]
        note += f"; the {_ROWS} classes that are recognised least often"
    yield report_page.section(
        "Accuracy by class",
        f"<p>{report_page.escaped(note)}</p>\n",
        report_page.number_table(("class", "images", "accuracy"), rows),
    )
    yield report_page.section("Confusions", _confusions(judged))
    yield report_page.section("Most confident mistakes", _mistakes(judged))


def _confusions(judged: Evaluation) -> str:
    """Return the confusion matrix or, among too many classes, the most frequent confusions."""
    names = judged.class_names
    html = ""
    if len(names) <= _DRAWN:
        drawn = vis_utils.plot_confusion(judged.matrix(), [printable(name) for name in names])
        html = report_page.figure(drawn, "Confusion matrix; what is confused most follows")
    rows = [(names[true], names[given], count) for true, given, count in judged.confusions()]
    if not rows:
        return html + "<p>Nothing was taken for anything else.</p>\n"
    most = _BESIDE if html else _ROWS
    return html + report_page.number_table(("class", "taken for", "images"), rows[:most])


def _mistakes(judged: Evaluation) -> str:
    """Return pictures or, where none are kept, the numbers of the most confident mistakes."""
    told = list(judged.told_mistakes(evaluation.PICTURES))
    if not told:
        return "<p>There are none.</p>\n"
    if judged.pictures is not None and judged.pictures.shape[1] in (1, 3):
        return report_page.tiles(
            (report_page.png(pixels), f"{true} taken for {given}, {certainty:.3f} (image {number})")
            for pixels, (number, true, given, certainty) in zip(judged.pictures, told)
        )
    return report_page.number_table(
        ("image", "class", "taken for", "probability"),
        [(number, true, given, certainty) for number, true, given, certainty in told],
    )
