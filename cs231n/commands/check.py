"""Check the gradients of every layer numerically and print a table."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from cs231n import backend, fast_layers, layer_utils, layers
from cs231n.gradient_check import check_layer

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
_LABELS = np.array([3, 0, 2, 2, 1])


def _cases() -> Iterator[Case]:
    """Yield every layer once."""
    L, S = layers, layer_utils
    affine = (5, 2, 3), (6, 4), (4,)
    images = (2, 4, 3, 5)
    yield Case("affine", L.affine_forward, L.affine_backward, affine)
    yield Case("relu", L.relu_forward, L.relu_backward, ((5, 6),))
    yield Case("softmax_loss", L.softmax_loss, None, ((5, 4),), (_LABELS,))
    yield Case("svm_loss", L.svm_loss, None, ((5, 4),), (_LABELS,))
    for suffix in ("", "_alt"):
        backward = getattr(L, f"batchnorm_backward{suffix}")
        yield Case(f"batchnorm{suffix}", L.batchnorm_forward, backward, ((5, 6), *_NORM), (_BN,))
    yield Case("layernorm", L.layernorm_forward, L.layernorm_backward, ((5, 6), *_NORM), ({},))
    dropout = {"mode": "train", "p": 0.6, "seed": 231}
    yield Case("dropout", L.dropout_forward, L.dropout_backward, ((5, 6),), (dropout,))
    yield from _window_cases()
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
    sandwiches = {
        "affine_relu": (affine, ()),
        "affine_bn_relu": ((*affine, *_SPATIAL), (_BN,)),
        "affine_ln_relu": ((*affine, *_SPATIAL), ({},)),
        "affine_relu_dropout": (affine, (dropout,)),
        "affine_bn_relu_dropout": ((*affine, *_SPATIAL), (_BN, dropout)),
        "affine_ln_relu_dropout": ((*affine, *_SPATIAL), ({}, dropout)),
        "conv_relu": ((_IMAGES, *_FILTERS), (_CONV,)),
        "conv_bn_relu": ((_IMAGES, *_FILTERS, *_SPATIAL), (_CONV, _BN)),
        "conv_relu_pool": ((_IMAGES, *_FILTERS), (_CONV, _POOL)),
        "conv_bn_relu_pool": ((_IMAGES, *_FILTERS, *_SPATIAL), (_CONV, _BN, _POOL)),
    }
    for name, (shapes, options) in sandwiches.items():
        pair = getattr(S, f"{name}_forward"), getattr(S, f"{name}_backward")
        yield Case(name, *pair, shapes, options)


def _window_cases() -> Iterator[Case]:
    """Yield convolution and pooling, of which there are a naive and a fast one."""
    for suffix, module in (("naive", layers), ("fast", fast_layers)):
        for name, shapes, option in (
            ("conv", (_IMAGES, *_FILTERS), _CONV),
            ("max_pool", (_IMAGES,), _POOL),
        ):
            forward = getattr(module, f"{name}_forward_{suffix}")
            backward = getattr(module, f"{name}_backward_{suffix}")
            yield Case(f"{name}_{suffix}", forward, backward, shapes, (option,))


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    parser.add_argument("--seed", type=int, default=231, help="seed of the random inputs")


def run(options: argparse.Namespace) -> int:
    """Check every layer; the exit status is 1 if any gradient is wrong."""
    print(f"Gradients by random projection, float64, {backend.backend()} kernels")
    print(f"{'layer':<24} {'error':>9} {'bound':>9}  verdict")
    failures = 0
    for case in _cases():
        rng = np.random.default_rng(options.seed)
        arrays = [rng.standard_normal(shape) for shape in case.shapes]
        report = check_layer(case.forward, case.backward, *arrays, options=case.options, rng=rng)
        worst = max(report.errors.values(), default=float("nan"))
        verdict = "ok" if report.ok else "WRONG"
        print(f"{case.name:<24} {worst:>9.1e} {report.tolerance:>9.0e}  {verdict}")
        if not report.ok:
            failures += 1
            print(report.message)
    print(f"{failures} of the layers are wrong" if failures else "all gradients are right")
    return 1 if failures else 0
