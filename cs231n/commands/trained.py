"""Networks that were trained, for the commands that use them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

from cs231n.classifiers import Network, load_model
from cs231n.classifiers.inputs import Inputs

__all__ = ["Trained", "add_run", "load"]


class Trained(NamedTuple):
    """A network, and what it knows of its images."""

    model: Network
    inputs: Inputs


def add_run(parser: argparse.ArgumentParser) -> None:
    """Declare the argument that names the run."""
    parser.add_argument(
        "run",
        type=Path,
        metavar="RUN",
        help="folder of a run of train, or a file that Network.save wrote",
    )


def load(run: Path) -> Trained:
    """Return the network of a run.

    Parameters
    ----------
    run : Path
        Folder of a run, or a file.

    Returns
    -------
    trained : Trained

    Raises
    ------
    OSError
        If there is no such run, or it cannot be read.
    ValueError
        If it is damaged, or does not know what its images were.
    """
    try:
        model = load_model(run)
    except FileNotFoundError as error:
        raise FileNotFoundError(str(error).removeprefix("load_model: ")) from None
    if model.inputs is None:
        raise ValueError(
            f"{run} does not tell what its images were; expected a run of train, or a network that"
            f" was saved after model.remember(data)"
        )
    return Trained(model, model.inputs)
