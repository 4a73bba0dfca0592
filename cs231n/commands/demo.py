"""Train a small ConvNet on the built-in data in a few seconds, and say what comes next."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from cs231n.commands import train

__all__ = ["add_options", "run"]

_SMALL = (
    *("--num-filters", "16", "--filter-size", "5", "--hidden-dims", "100"),
    *("--weight-scale", "0.01", "--num-training", "3000", "--epochs", "4"),
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--output", type=Path, help="run folder (default: a new one in runs)")


def run(options: argparse.Namespace) -> int:
    """Train, and print what to do with the run and after it."""
    parser = argparse.ArgumentParser()
    train.add_options(parser)
    chosen = parser.parse_args(_SMALL, argparse.Namespace(command="train"))
    chosen.output = options.output
    folder = train.train(chosen)
    print(_next_steps(folder))
    return 0


def _next_steps(folder: Path) -> str:
    """Return what to look at and what to type next."""
    longer = shlex.join(["train", "--resume", str(folder), "--epochs", "8"])
    return f"""
A three-layer ConvNet has learned to tell ten letters and digits apart; guessing gives 0.1.

It learned like this           {folder / "training_curves.png"}
Its first layer looks for      {folder / "filters.png"}
Train it for longer            python -m cs231n {longer}
Train a deeper network         python -m cs231n train --model convnet --epochs 3
Get photographs (170 MB)       python -m cs231n download
Train on photographs           python -m cs231n train --data cifar10
Check gradients of all layers  python -m cs231n check
See all options                python -m cs231n train --help"""
