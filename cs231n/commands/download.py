"""Download CIFAR-10 or another data set, check it and unpack it."""

from __future__ import annotations

import argparse
from pathlib import Path

from cs231n import data_utils
from cs231n.data.download import link_cifar10
from cs231n.data.download_sets import DOWNLOADS

__all__ = ["add_options", "run"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "folder",
        nargs="?",
        type=Path,
        help="folder in which cifar-10-batches-py, MNIST/raw or the like is made; by default one"
        " where the loader looks",
    )
    parser.add_argument(
        "--data",
        choices=("cifar10", *DOWNLOADS),
        default="cifar10",
        help="the data set (default: %(default)s)",
    )
    parser.add_argument(
        "--link",
        type=Path,
        metavar="FOLDER",
        help="let this folder hold the batches as well, by a link (no second copy)",
    )
    parser.add_argument(
        "--imagenet-val",
        action="store_true",
        help="also get the 25 images of load_imagenet_val, whose hash nobody has published: their"
        " form is checked",
    )


def run(options: argparse.Namespace) -> int:
    """Download the data sets unless they are there already, and say where they are."""
    if options.data != "cifar10":
        if options.link is not None or options.imagenet_val:
            raise ValueError(
                "--link and --imagenet-val go with CIFAR-10; expected --data cifar10 with them"
            )
        place = data_utils.download_data(options.data, options.folder)
        print(f"{DOWNLOADS[options.data].title} is in {place}")
        return 0
    batches = data_utils.download_cifar10(options.folder)
    print(f"CIFAR-10 is in {batches}")
    if options.link is not None:
        print(_linked(options.link, batches))
    if options.imagenet_val:
        print(f"25 images of ImageNet are in {data_utils.download_imagenet_val(options.folder)}")
    return 0


def _linked(folder: Path, batches: Path) -> str:
    """Make the link, and say where it is, or what to do without one."""
    try:
        return f"and in {link_cifar10(folder, batches)}"
    except OSError as error:
        return (
            f"but not in {folder}, where no link can be made ({error.strerror or error});"
            f" give torchvision the folder {batches.parent}"
        )
