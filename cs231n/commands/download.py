"""Download CIFAR-10, check it and unpack it."""

from __future__ import annotations

import argparse
from pathlib import Path

from cs231n import data_utils

__all__ = ["add_options", "run"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        help="folder in which cifar-10-batches-py is made; by default one where the loader looks",
    )


def run(options: argparse.Namespace) -> int:
    """Download the data set unless it is there already, and say where it is."""
    print(f"CIFAR-10 is in {data_utils.download_cifar10(options.folder)}")
    return 0
