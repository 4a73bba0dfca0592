"""Measure what a trained network gets right and wrong."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from cs231n.classifiers.inputs import Inputs
from cs231n.commands import evaluation, trained
from cs231n.commands.train import build, run_folder
from cs231n.commands.train.options import source
from cs231n.data.dataset import PARTS, Dataset
from cs231n.data.folder import load_image_folder
from cs231n.data.load import NAMES, holds_set, load_data
from cs231n.data.sets import load_npz

__all__ = ["add_options", "run"]

_CALLED = {"train": "training", "val": "validation", "test": "test"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    trained.add_run(parser)
    parser.add_argument(
        "--data",
        type=source,
        help="images to evaluate on, as for train (default: what the run was trained on)",
    )
    parser.add_argument(
        "--part",
        choices=PARTS,
        help="part of the data (default: test if there is one, else val, else all)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print accuracy, loss, what is confused with what, and the most confident mistakes."""
    network = trained.load(options.run)
    data, name = _data(options, network.inputs)
    part = options.part or next(p for p in ("test", "val", "train") if len(data[f"X_{p}"]))
    X, y = data[f"X_{part}"], data[f"y_{part}"]
    if not len(X):
        raise ValueError(f"{name} has no {_CALLED[part]} images; expected another --part")
    if X.shape[1:] != network.inputs.image_shape:
        raise ValueError(
            f"the images of {name} are {X.shape[1:]}; expected {network.inputs.image_shape}, as"
            f" the network of {options.run} takes"
        )
    if data.normalization.white != network.inputs.normalization.white:
        X = X * np.float32(network.inputs.normalization.white / data.normalization.white)
    labels = _labels(y, data.class_names, network, name)
    divided = any(len(data[f"X_{other}"]) for other in PARTS if other != part)
    title = f"{_CALLED[part]} images of {name}" if divided else f"images of {name}"
    found = evaluation.evaluated(
        network.model, X, labels, title, normalized=False, with_pictures=False
    )
    print(json.dumps(found.content(), indent=2) if options.json else evaluation.table(found))
    return 0


def _data(options: argparse.Namespace, inputs: Inputs) -> tuple[Dataset, str]:
    """Return the data as they are before normalisation, and their name."""
    chosen = _configuration(options.run, options.data)
    if chosen is not None:
        return build.load_data(chosen, normalized=False), build.data_name(chosen)
    name, path = build.title_of(options.data), Path(options.data)
    C, H, W = inputs.image_shape
    common: dict[str, Any] = {"subtract_mean": False}
    if options.data in NAMES or holds_set(options.data) or not path.exists():
        return load_data(options.data, **common), name
    common.update(validation=0, test=0)  # all that is not divided is to be looked at
    if path.is_dir():
        return load_image_folder(path, (H, W), grey=C == 1, **common), name
    return load_npz(path, **common), name


def _configuration(folder: Path, data: str | None) -> argparse.Namespace | None:
    """Return the options that a run was trained with, if its data are meant.

    Its own data are divided as they were in training, lest it be judged by what it has learnt.
    """
    if folder.is_dir():
        try:
            chosen = run_folder.read_configuration(folder)
        except FileNotFoundError:
            chosen = None
        if chosen is not None and data in (None, chosen.data):
            return chosen
    if data is None:
        raise ValueError(
            f"{folder} does not tell what it was trained on; expected the folder of a run, or"
            f" --data"
        )
    return None


def _labels(
    y: np.ndarray, names: tuple[str, ...], network: trained.Trained, data: str
) -> np.ndarray:
    """Return labels as the network counts them: classes are the same if their names are."""
    known = {name: label for label, name in enumerate(network.inputs.class_names)}
    unknown = [name for name in names if name not in known]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        few = ", ".join(network.inputs.class_names[:10])
        raise ValueError(
            f"{data} has the class {unknown[0]!r}{more}, which the network does not know; it knows"
            f" {few}{', ...' if len(known) > 10 else ''}"
        )
    return np.array([known[name] for name in names], np.int64)[y]
