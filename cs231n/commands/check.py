"""Check the gradients of every layer numerically and print a table."""

from __future__ import annotations

import argparse

import numpy as np

from cs231n.checking.layer_table import LAYERS, SANDWICHES
from cs231n.core import checks
from cs231n.gradient_check import check_layer
from cs231n.kernels import backend

__all__ = ["add_options", "run"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "--seed", type=int, default=231, help="seed of the random inputs (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Check every layer; the exit status is 1 if any gradient is wrong."""
    seed = checks.integer("check", "--seed", options.seed, least=0, most=2**32 - 1)
    print(f"Gradients by random projection, float64, {backend.backend()} kernels")
    print(f"{'layer':<28} {'error':>9} {'bound':>9}  verdict")
    failures = 0
    for row in (*LAYERS.values(), *SANDWICHES.values()):
        for passes in row.passes:
            rng = np.random.default_rng(seed)
            arrays, settings = row.example.draw(rng), row.example.options
            report = check_layer(*passes, *arrays, options=settings, rng=rng)
            worst = max(report.errors.values(), default=float("nan"))
            verdict = "ok" if report.ok else "WRONG"
            print(f"{passes.name:<28} {worst:>9.1e} {report.tolerance:>9.0e}  {verdict}")
            if not report.ok:
                failures += 1
                print(report.message)
    print(f"{failures} of the layers are wrong" if failures else "all gradients are right")
    return 1 if failures else 0
