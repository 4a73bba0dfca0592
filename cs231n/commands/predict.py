"""Tell what a trained network sees in pictures."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cs231n.commands import trained
from cs231n.commands.surroundings import printable, tell
from cs231n.data import pictures

__all__ = ["add_options", "run"]

WHERE = "predict"
_FIRST = 3  # classes that are shown
_BATCH = 100  # pictures that are decoded at once


class _Answer(NamedTuple):
    """Names and probabilities of the first classes for a picture."""

    picture: Path
    names: list[str]
    probabilities: list[float]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    trained.add_run(parser)
    parser.add_argument(
        "pictures",
        nargs="+",
        type=Path,
        metavar="PICTURE",
        help="picture, or folder of pictures at any depth",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON, a list with each picture")
    form.add_argument("--csv", action="store_true", help="print CSV, a row for each picture")


def run(options: argparse.Namespace) -> int:
    """Print the first classes for each picture; the status is 1 if one could not be read."""
    network = trained.load(options.run)
    if network.inputs.image_shape[0] not in (1, 3):
        raise ValueError(
            f"{options.run} takes images {network.inputs.image_shape}; expected a network for"
            f" pictures, of 3 channels or 1"
        )
    unread: list[str] = []
    with pictures.quiet():
        answers = list(_answers(network, _found(options.pictures), unread))
    if answers or options.json:
        write = _print_json if options.json else _print_csv if options.csv else _print_table
        write(answers)
    sys.stdout.flush()
    for line in unread:
        tell(f"cs231n predict: {printable(line)}")
    return 1 if unread else 0


def _found(given: Iterable[Path]) -> Iterator[Path | str]:
    """Yield the files that are meant, and a line in place of what is none."""
    for path in given:
        if path.is_dir():
            found = list(_in_folder(path))
            yield from found
            if not found:
                yield f"there are no pictures in {path}"
        elif path.exists():
            yield path
        else:
            yield f"there is no picture {path}"


def _in_folder(folder: Path) -> Iterator[Path]:
    """Yield the files in a folder that are pictures by their names, in order, at any depth."""
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if Path(name).suffix.lower() in pictures.SUFFIXES and not name.startswith("."):
                yield Path(place, name)


def _answers(
    network: trained.Trained, paths: Iterator[Path | str], unread: list[str]
) -> Iterator[_Answer]:
    """Yield what the network says about each picture; a line for each that cannot be read."""

    def decoded(path: Path | str) -> np.ndarray | str:
        if isinstance(path, str):
            return path
        try:
            return pictures.read_image(WHERE, path, network.inputs.image_shape)  # type: ignore[arg-type]
        except (ValueError, OSError) as error:
            return str(error).removeprefix(f"{WHERE}: ")

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        while batch := list(islice(paths, _BATCH)):
            results = list(pool.map(decoded, batch))
            unread += [line for line in results if isinstance(line, str)]
            good = [(path, X) for path, X in zip(batch, results) if not isinstance(X, str)]
            if good:
                yield from _of_batch(
                    network, [Path(path) for path, _ in good], [X for _, X in good]
                )


def _of_batch(
    network: trained.Trained, paths: Sequence[Path], images: Sequence[np.ndarray]
) -> Iterator[_Answer]:
    """Yield what the network says about images."""
    for path, row in zip(paths, network.model.predict_proba(np.stack(images))):
        first = np.argsort(-row, kind="stable")[:_FIRST]
        yield _Answer(
            path, [network.inputs.name(int(c)) for c in first], [float(row[c]) for c in first]
        )


def _print_json(answers: Sequence[_Answer]) -> None:
    """Print the answers as JSON."""
    content = [
        {
            "picture": os.fsencode(answer.picture).decode(errors="replace"),
            "classes": [
                {"class": name, "probability": part}
                for name, part in zip(answer.names, answer.probabilities)
            ],
        }
        for answer in answers
    ]
    print(json.dumps(content, indent=2))


def _print_csv(answers: Sequence[_Answer]) -> None:
    """Print the answers as CSV."""
    count = len(answers[0].names)
    file = io.StringIO()
    rows = csv.writer(file, lineterminator="\n")
    heads = [(f"class {k}", f"probability {k}") for k in range(1, count + 1)]
    rows.writerow(["picture", *(head for pair in heads for head in pair)])
    for answer in answers:
        cells: list[Any] = [answer.picture]
        for pair in zip(answer.names, answer.probabilities):
            cells += pair
        rows.writerow(cells)
    print(file.getvalue(), end="")


def _print_table(answers: Sequence[_Answer]) -> None:
    """Print the answers in columns."""
    lines = [
        [
            printable(str(answer.picture)),
            *(f"{printable(n)} {p:.3f}" for n, p in zip(answer.names, answer.probabilities)),
        ]
        for answer in answers
    ]
    widths = [max(map(len, column)) for column in zip(*lines)]
    for line in lines:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths)).rstrip())
