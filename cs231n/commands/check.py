"""Check the gradients of every layer numerically and print a table."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from cs231n import fast_layers, layer_utils, layers
from cs231n.gradient_check import check_layer
from cs231n.kernels import backend

__all__ = ["add_options", "run"]


class Case(NamedTuple):
    """A layer with shapes to check it on; backward is None for a loss."""

    name: str
    forward: Callable[..., Any]
    backward: Callable[..., Any] | None
    shapes: tuple[tuple[int, ...], ...]
    options: tuple[Any, ...] = ()


_IMAGES, _FILTERS = (2, 3, 7, 6), ((4, 3, 3, 2), (4,))
_CONV = {"stride": 2, "pad": 1}
_POOL = {"pool_height": 3, "pool_width": 2, "stride": 2}
_BN = {"mode": "train"}
_NORM = ((6,), (6,))
_SPATIAL = ((4,), (4,))
_AFFINE = (5, 2, 3), (6, 4), (4,)
_DROPOUT = {"mode": "train", "p": 0.6, "seed": 231}
_LABELS = np.array([3, 0, 2, 2, 1])


def _cases() -> Iterator[Case]:
    """Yield every reference layer once."""
    L = layers
    images = (2, 4, 3, 5)
    yield Case("affine", L.affine_forward, L.affine_backward, _AFFINE)
    yield Case("relu", L.relu_forward, L.relu_backward, ((5, 6),))
    yield Case("softmax_loss", L.softmax_loss, None, ((5, 4),), (_LABELS,))
    yield Case("svm_loss", L.svm_loss, None, ((5, 4),), (_LABELS,))
    for suffix in ("", "_alt"):
        backward = getattr(L, f"batchnorm_backward{suffix}")
        yield Case(f"batchnorm{suffix}", L.batchnorm_forward, backward, ((5, 6), *_NORM), (_BN,))
    yield Case("layernorm", L.layernorm_forward, L.layernorm_backward, ((5, 6), *_NORM), ({},))
    yield Case("dropout", L.dropout_forward, L.dropout_backward, ((5, 6),), (_DROPOUT,))
    yield Case(
        "conv_naive", L.conv_forward_naive, L.conv_backward_naive, (_IMAGES, *_FILTERS), (_CONV,)
    )
    pool = L.max_pool_forward_naive, L.max_pool_backward_naive
    yield Case("max_pool_naive", *pool, (_IMAGES,), (_POOL,))
    for name in ("global_avg_pool", "global_max_pool"):
        yield Case(name, getattr(L, f"{name}_forward"), getattr(L, f"{name}_backward"), (_IMAGES,))
    yield Case(
        "spatial_batchnorm",
        L.spatial_batchnorm_forward,
        L.spatial_batchnorm_backward,
        (images, *_SPATIAL),
        (_BN,),
    )
    yield Case(
        "spatial_groupnorm",
        L.spatial_groupnorm_forward,
        L.spatial_groupnorm_backward,
        (images, (1, 4, 1, 1), (1, 4, 1, 1)),
        (2, {}),
    )


def _sandwich_cases() -> Iterator[Case]:
    """Yield every sandwich once."""
    sandwiches = {
        "affine_relu": (_AFFINE, ()),
        "affine_bn_relu": ((*_AFFINE, *_SPATIAL), (_BN,)),
        "affine_ln_relu": ((*_AFFINE, *_SPATIAL), ({},)),
        "affine_relu_dropout": (_AFFINE, (_DROPOUT,)),
        "affine_bn_relu_dropout": ((*_AFFINE, *_SPATIAL), (_BN, _DROPOUT)),
        "affine_ln_relu_dropout": ((*_AFFINE, *_SPATIAL), ({}, _DROPOUT)),
        "conv_relu": ((_IMAGES, *_FILTERS), (_CONV,)),
        "conv_bn_relu": ((_IMAGES, *_FILTERS, *_SPATIAL), (_CONV, _BN)),
        "conv_relu_pool": ((_IMAGES, *_FILTERS), (_CONV, _POOL)),
        "conv_bn_relu_pool": ((_IMAGES, *_FILTERS, *_SPATIAL), (_CONV, _BN, _POOL)),
    }
    for name, (shapes, options) in sandwiches.items():
        pair = getattr(layer_utils, f"{name}_forward"), getattr(layer_utils, f"{name}_backward")
        yield Case(name, *pair, shapes, options)
    name = "spatial_batchnorm_relu"  # there is only a fast one
    pair = tuple(getattr(fast_layers, f"{name}_{way}_fast") for way in ("forward", "backward"))
    yield Case(f"{name}_fast", *pair, ((2, 4, 3, 5), *_SPATIAL), (_BN,))


def _with_twins(cases: Iterable[Case]) -> Iterator[Case]:
    """Yield the cases, and after each one the fast twin of its layer, if there is one."""
    for case in cases:
        yield case
        name = case.name.removesuffix("_naive")
        backward = getattr(fast_layers, f"{name}_backward_fast", None)
        forward = getattr(fast_layers, f"{name}_{'forward_' if backward else ''}fast", None)
        if forward is not None:
            yield case._replace(name=f"{name}_fast", forward=forward, backward=backward)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument(
        "--seed", type=int, default=231, help="seed of the random inputs (default: %(default)s)"
    )


def run(options: argparse.Namespace) -> int:
    """Check every layer; the exit status is 1 if any gradient is wrong."""
    print(f"Gradients by random projection, float64, {backend.backend()} kernels")
    print(f"{'layer':<28} {'error':>9} {'bound':>9}  verdict")
    failures = 0
    for case in _with_twins(itertools.chain(_cases(), _sandwich_cases())):
        rng = np.random.default_rng(options.seed)
        arrays = [rng.standard_normal(shape) for shape in case.shapes]
        report = check_layer(case.forward, case.backward, *arrays, options=case.options, rng=rng)
        worst = max(report.errors.values(), default=float("nan"))
        verdict = "ok" if report.ok else "WRONG"
        print(f"{case.name:<28} {worst:>9.1e} {report.tolerance:>9.0e}  {verdict}")
        if not report.ok:
            failures += 1
            print(report.message)
    print(f"{failures} of the layers are wrong" if failures else "all gradients are right")
    return 1 if failures else 0
