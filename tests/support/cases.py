"""The cases that the tests of the layers share: shapes, layouts, layers, and the definitions.

A twin must agree on every case; adding a line here adds it to every test that uses the table.
"""

import copy
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from cs231n import fast_layers, layers
from cs231n.checking.layer_table import LAYERS as LAYER_TABLE
from cs231n.checking.layer_table import SANDWICHES as SANDWICH_TABLE
from cs231n.kernels import backend
from cs231n.layer_utils import Stage, sandwich

DTYPES = ["float32", "float64"]


class ConvCase(NamedTuple):
    """Shapes of the images x (N, C, H, W) and the filters w (F, C, HH, WW), and the options."""

    x: tuple[int, int, int, int]
    w: tuple[int, int, int, int]
    stride: int = 1
    pad: int = 0

    @property
    def param(self):
        """Return the options as the layers take them."""
        return {"stride": self.stride, "pad": self.pad}

    @property
    def out(self):
        """Return the shape of the output, counting the positions one by one."""
        (N, _, *image), (F, _, *filters) = self.x, self.w
        return (
            N,
            F,
            *(
                len(range(0, size + 2 * self.pad - length + 1, self.stride))
                for size, length in zip(image, filters)
            ),
        )

    def draw(self, rng, dtype):
        """Return random x, w, b and dout."""
        shapes = self.x, self.w, self.w[:1], self.out
        return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


CONV_CASES = {
    "notebook forward": ConvCase((2, 3, 4, 4), (3, 3, 4, 4), stride=2, pad=1),
    "notebook backward": ConvCase((4, 3, 5, 5), (2, 3, 3, 3), pad=1),
    "seven by seven filter": ConvCase((1, 3, 8, 8), (2, 3, 7, 7), pad=3),
    "no padding": ConvCase((2, 3, 5, 6), (4, 3, 3, 3)),
    "tall filter": ConvCase((2, 2, 7, 6), (3, 2, 5, 3), pad=1),
    "wide filter": ConvCase((2, 2, 6, 7), (3, 2, 3, 5), pad=1),
    "tall filter, stride 2": ConvCase((2, 2, 8, 7), (3, 2, 5, 3), stride=2, pad=2),
    "wide filter, stride 2": ConvCase((2, 2, 7, 8), (3, 2, 3, 5), stride=2, pad=2),
    "column filter": ConvCase((2, 2, 6, 5), (3, 2, 3, 1)),
    "row filter": ConvCase((2, 2, 5, 6), (3, 2, 1, 3)),
    "tall image": ConvCase((2, 2, 11, 4), (3, 2, 3, 3), pad=1),
    "wide image": ConvCase((2, 2, 4, 11), (3, 2, 3, 3), pad=1),
    "last window does not fit": ConvCase((2, 2, 8, 6), (3, 2, 3, 3), stride=2),
    "windows miss by one and two": ConvCase((2, 2, 7, 8), (3, 2, 3, 3), stride=3),
    "last window does not fit, padded": ConvCase((2, 2, 5, 7), (3, 2, 3, 2), stride=3, pad=1),
    "padding beyond the filter": ConvCase((2, 2, 4, 5), (3, 2, 2, 3), pad=4),
    "padding beyond the filter, stride 3": ConvCase((2, 2, 4, 5), (3, 2, 2, 3), stride=3, pad=5),
    "filter as large as the image": ConvCase((2, 2, 4, 5), (3, 2, 4, 5)),
    "filter larger than the image": ConvCase((2, 2, 3, 2), (3, 2, 5, 4), pad=1),
    "stride beyond the window": ConvCase((2, 2, 9, 8), (3, 2, 2, 3), stride=4),
    "stride beyond the image": ConvCase((2, 2, 4, 4), (3, 2, 2, 2), stride=7, pad=1),
    "one by one filter": ConvCase((2, 3, 4, 5), (4, 3, 1, 1)),
    "one by one filter, stride 2": ConvCase((2, 3, 4, 5), (4, 3, 1, 1), stride=2),
    "single pixel": ConvCase((2, 3, 1, 1), (4, 3, 1, 1)),
    "single pixel, padded": ConvCase((2, 3, 1, 1), (4, 3, 3, 3), pad=1),
    "one channel": ConvCase((2, 1, 5, 5), (3, 1, 3, 3), pad=1),
    "one filter": ConvCase((2, 3, 5, 5), (1, 3, 3, 3), pad=1),
    "one image": ConvCase((1, 3, 5, 5), (2, 3, 3, 3), pad=1),
    "empty batch": ConvCase((0, 3, 5, 5), (2, 3, 3, 3), pad=1),
    # What Winograd's convolution, which works on tiles of 4x4 or 3x3 pixels, has to divide.
    "many channels": ConvCase((2, 17, 6, 7), (18, 17, 3, 3), pad=1),
    "many filters": ConvCase((9, 16, 4, 4), (70, 16, 3, 3), pad=1),
    "many small images": ConvCase((19, 2, 3, 4), (3, 2, 3, 3), pad=1),
    "bands of odd sizes": ConvCase((3, 2, 13, 5), (3, 2, 3, 3), pad=1),
    "many channels of maps of 3x3": ConvCase((19, 17, 3, 3), (18, 17, 3, 3), pad=1),
    "many filters of maps of 6x6": ConvCase((3, 16, 6, 6), (35, 16, 3, 3), pad=1),
    "bands of tiles of 3x3": ConvCase((2, 9, 33, 3), (5, 9, 3, 3), pad=1),
    "bands of tiles of 4x4": ConvCase((3, 2, 29, 7), (3, 2, 3, 3), pad=1),
    "bands of its gradient": ConvCase((2, 3, 100, 15), (4, 3, 3, 3), pad=1),
    "more padding than pixels": ConvCase((2, 16, 3, 2), (16, 16, 3, 3), pad=4),
}


def conv_by_kernels(arrays, pad, path, relu=False):
    """Return out, dx, dw and db of a 3x3 convolution with stride 1 by one way of the kernels.

    A relu may follow.
    """
    x, w, b, dout = arrays
    kernels, window = backend.kernels(), (3, 3, 1, pad)
    out, dx, dw, db = results = [np.full_like(array, np.nan) for array in (dout, x, w, b)]
    kernels.conv_forward(x, w, b, out, window, relu=relu, path=path)
    kernels.conv_backward(x, w, dout, dx, dw, db, window, out if relu else None, path)
    return results


class PoolCase(NamedTuple):
    """Shape of the images x (N, C, H, W), and the options."""

    x: tuple[int, int, int, int]
    HH: int
    WW: int
    stride: int

    @property
    def param(self):
        """Return the options as the layers take them."""
        return {"pool_height": self.HH, "pool_width": self.WW, "stride": self.stride}

    @property
    def out(self):
        """Return the shape of the output, counting the positions one by one."""
        N, C, H, W = self.x
        rows, columns = H - self.HH + 1, W - self.WW + 1
        return N, C, len(range(0, rows, self.stride)), len(range(0, columns, self.stride))

    def draw(self, rng, dtype):
        """Return random x and dout."""
        return [rng.standard_normal(shape).astype(dtype) for shape in (self.x, self.out)]

    def draw_ties(self, rng, dtype):
        """Return x with few different values, so that most windows have ties, and dout."""
        _, dout = self.draw(rng, dtype)
        return rng.integers(-1, 1, self.x).astype(dtype), dout


POOL_CASES = {
    "notebook forward": PoolCase((2, 3, 4, 4), 2, 2, 2),
    "notebook backward": PoolCase((3, 2, 8, 8), 2, 2, 2),
    "tall window": PoolCase((2, 2, 8, 6), 4, 2, 2),
    "wide window": PoolCase((2, 2, 6, 8), 2, 4, 2),
    "column window": PoolCase((2, 2, 7, 4), 3, 1, 1),
    "row window": PoolCase((2, 2, 4, 7), 1, 3, 1),
    "tall image": PoolCase((2, 2, 10, 4), 2, 2, 2),
    "wide image": PoolCase((2, 2, 4, 10), 2, 2, 2),
    "last window does not fit": PoolCase((2, 2, 5, 7), 2, 2, 2),
    "windows miss by one and two": PoolCase((2, 2, 7, 8), 3, 3, 3),
    "overlapping": PoolCase((2, 2, 7, 7), 3, 3, 2),
    "overlapping, stride 1": PoolCase((2, 2, 5, 6), 3, 3, 1),
    "overlapping tall window": PoolCase((2, 2, 7, 5), 4, 2, 1),
    "overlapping wide window": PoolCase((2, 2, 5, 7), 2, 4, 1),
    "window as large as the image": PoolCase((2, 2, 4, 5), 4, 5, 1),
    "stride beyond the window": PoolCase((2, 2, 9, 8), 2, 2, 3),
    "stride beyond the image": PoolCase((2, 2, 4, 4), 2, 2, 7),
    "one by one window": PoolCase((2, 2, 3, 4), 1, 1, 1),
    "one by one window, stride 2": PoolCase((2, 2, 3, 4), 1, 1, 2),
    "single pixel": PoolCase((2, 3, 1, 1), 1, 1, 1),
    "one channel": PoolCase((2, 1, 4, 4), 2, 2, 2),
    "one image": PoolCase((1, 3, 4, 4), 2, 2, 2),
    "empty batch": PoolCase((0, 3, 4, 4), 2, 2, 2),
}


def _read_only(array):
    """Return a copy that can't be written to."""
    array = array.copy()
    array.flags.writeable = False
    return array


def _channels_last(array):
    """Return the array as a view of memory in which axis 1 varies fastest."""
    if array.ndim < 2:
        return array
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)


def _last_two_swapped(array):
    """Return the array as a view of memory in which its last two axes are transposed."""
    if array.ndim < 2:
        return array
    return np.ascontiguousarray(array.swapaxes(-1, -2)).swapaxes(-1, -2)


def _unaligned(array):
    """Return the array as the field of packed records, at an odd address."""
    records = np.zeros(array.shape, [("pad", "i1"), ("value", array.dtype)])
    records["value"] = array
    return records["value"]


def _odd_address(array):
    """Return the array in C order, but one byte behind an aligned address."""
    shifted = np.frombuffer(b"." + array.tobytes(), np.uint8)[1:]
    return shifted.view(array.dtype).reshape(array.shape)


# The same numbers, laid out in memory in other ways.
LAYOUTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "Fortran order": np.asfortranarray,
    "channels last": _channels_last,
    "transposed view": _last_two_swapped,
    "every other element": lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
    "reversed view": lambda array: array[..., ::-1].copy()[..., ::-1],
    "read-only": _read_only,
    "other byte order": lambda array: array.astype(array.dtype.newbyteorder("S")),
    "unaligned": _unaligned,
    "in order at an odd address": _odd_address,
}


class LayerCase(NamedTuple):
    """A layer with the shapes of its arrays, x and the weights, and its options in order."""

    forward: Callable[..., Any]
    backward: Callable[..., Any]
    shapes: tuple[tuple[int, ...], ...]
    options: tuple[Any, ...] = ()

    def draw(self, rng, dtype="float64"):
        """Return random arrays of these shapes."""
        return [rng.standard_normal(shape).astype(dtype) for shape in self.shapes]

    def run(self, *arrays):
        """Run the forward pass, with options of its own."""
        return self.forward(*arrays, *copy.deepcopy(self.options))

    def gradients(self, dout, cache):
        """Run the backward pass and return a tuple, also where dx stands alone."""
        result = self.backward(dout, cache)
        return result if isinstance(result, tuple) else (result,)


def _case(passes, example):
    """Return the case of an implementation on an example of the table of layers."""
    return LayerCase(*passes, *example)


def _label(name):
    """Return how a layer is called in the names of tests, such as 'max pool fast'."""
    return "_relu".join(part.replace("_", " ") for part in name.split("_relu"))


def _layer_cases(way):
    """Return a case for each example of each layer that has this implementation, by its label."""
    return {
        ", ".join(filter(None, (_label(passes.name), name))): _case(passes, example)
        for row in LAYER_TABLE.values()
        if (passes := getattr(row, way)) is not None and passes.backward is not None
        for name, example in row.examples.items()
    }


REFERENCE_LAYERS = _layer_cases("reference")
FAST_LAYERS = _layer_cases("fast")
SANDWICHES = {name: _case(row.fast, row.example) for name, row in SANDWICH_TABLE.items()}
LAYERS = {**REFERENCE_LAYERS, **FAST_LAYERS, **SANDWICHES}

FILTERS, (CONV, POOL) = SANDWICH_TABLE["conv_relu_pool"].example
AFFINE = LAYER_TABLE["affine"].example.shapes

# Sizes below, at and beyond what a vector register and a block of the kernels hold, and none.
ROW_SIZES = {
    "few": (4, 3),
    "one sample": (1, 5),
    "one input": (6, 1),
    "odd sizes": (7, 37),
    "whole vectors": (16, 64),
    "many samples": (301, 9),
    "many inputs": (3, 1030),
    "no inputs": (4, 0),
}
IMAGE_SIZES = {
    "few": (2, 4, 3, 5),
    "one image": (1, 2, 5, 4),
    "one pixel": (9, 6, 1, 1),
    "one number": (1, 2, 1, 1),
    "odd sizes": (3, 10, 7, 11),
    "whole vectors": (2, 8, 8, 8),
    "tall": (2, 2, 37, 1),
    "many channels": (2, 70, 3, 3),
    "many pixels": (2, 2, 40, 33),
}
AFFINE_SIZES = {
    "few": AFFINE,
    "rows": ((7, 37), (37, 5), (5,)),
    "one of each": ((1, 1), (1, 1), (1,)),
    "images": ((3, 2, 9, 7), (126, 17), (17,)),
    "no inputs": ((3, 0), (0, 2), (2,)),
    "no outputs": ((3, 2), (2, 0), (0,)),
}
UNITS = ("relu", "gelu", "silu")
RELU_SIZES = {
    "a number": ((),),
    "a vector": ((1,),),
    "odd sizes": ((3, 37),),
    "whole vectors": ((4, 8, 8, 8),),
    "many": ((3, 5, 41, 43),),
    "none": ((3, 0, 2),),
}


class TwinCase(NamedTuple):
    """A fast layer, and the reference layer that it must agree with on the same shapes."""

    fast: LayerCase
    reference: LayerCase


def _running(C):
    """Return options of batch norm with running statistics of C channels, none the default."""
    mean, var = np.linspace(-0.4, 0.7, C), np.linspace(0.6, 2.1, C)
    return {"running_mean": mean, "running_var": var, "momentum": 0.7, "eps": 1e-3}


def _norm_sizes(name, options):
    """Yield a name for each size of a normalisation, with the shapes and options."""
    for size, x in (IMAGE_SIZES if "spatial" in name else ROW_SIZES).items():
        C = x[1]
        weight = (1, C, 1, 1) if "group" in name else (C,)
        shapes = x, weight, weight
        if "batchnorm" in name:
            bn_param, *unit = options
            yield size, shapes, ({"mode": bn_param["mode"], **_running(C)}, *unit)
        elif "group" in name:
            yield f"{size}, one group", shapes, (1, {"eps": 1e-3})
            yield f"{size}, two groups", shapes, (2, {})
            yield f"{size}, groups of one channel", shapes, (C, {})
        elif C:  # layer norm refuses samples of no inputs
            yield size, shapes, ({"eps": 1e-3},)


def _sizes(name, options):
    """Yield a name for each size of a fast layer, with the shapes and options."""
    if "norm" in name:
        yield from _norm_sizes(name, options)
    elif "conv_relu" in name:
        for size, case in CONV_CASES.items():
            yield size, (case.x, case.w, case.w[:1]), (case.param,)
    else:
        sizes = RELU_SIZES if any(unit in name for unit in UNITS) else AFFINE_SIZES
        for size, shapes in sizes.items():
            yield size, shapes, options


def _chain(rows):
    """Return the passes of the reference layers of some rows in a row."""
    stages = (
        Stage(row.reference.name, *row.reference, row.stage.weights, row.stage.options)
        for row in rows
    )
    return sandwich(*stages)


def _twins():
    """Yield a name for each size of a fast layer, with the case of it and of its reference."""
    for name, row in LAYER_TABLE.items():
        if row.fast is None or row.fast.backward is None or name in ("conv", "max_pool"):
            continue  # losses, and what has a table of its own
        reference = row.reference or _chain(LAYER_TABLE[part] for part in row.parts)
        for mode, example in row.examples.items():
            label = ", ".join(filter(None, (_label(row.fast.name), mode)))
            for size, shapes, options in _sizes(label, example.options):
                cases = (LayerCase(*passes, shapes, options) for passes in (row.fast, reference))
                yield f"{label}, {size}", TwinCase(*cases)


TWINS = dict(_twins())
LOSSES = {
    "softmax": layers.softmax_loss,
    "softmax, smoothed": functools.partial(layers.softmax_loss, label_smoothing=0.3),
    "svm": layers.svm_loss,
}
FAST_LOSSES = {
    "softmax fast": fast_layers.softmax_loss_fast,
    "softmax fast, smoothed": functools.partial(fast_layers.softmax_loss_fast, label_smoothing=0.3),
}
SCORES = {
    "few": (4, 3),
    "one sample": (1, 10),
    "one class": (5, 1),
    "odd sizes": (7, 37),
    "whole vectors": (16, 16),
    "many samples": (1001, 10),
    "many classes": (3, 1030),
    "no samples": (0, 4),
}


def conv_by_definition(x, w, b, dout, stride, pad):
    """Return out, dx, dw and db of a convolution, pixel by pixel, without padding an image."""
    H, W = x.shape[2:]
    out = np.zeros(dout.shape) + b[:, None, None]
    dx, dw = np.zeros(x.shape), np.zeros(w.shape)
    for i, j, hh, ww in np.ndindex(*dout.shape[2:], *w.shape[2:]):
        row, column = i * stride + hh - pad, j * stride + ww - pad
        if not (0 <= row < H and 0 <= column < W):
            continue
        out[:, :, i, j] += x[:, :, row, column] @ w[:, :, hh, ww].T
        dx[:, :, row, column] += dout[:, :, i, j] @ w[:, :, hh, ww]
        dw[:, :, hh, ww] += dout[:, :, i, j].T @ x[:, :, row, column]
    return out, dx, dw, np.einsum("nfij->f", dout)


def max_pool_by_definition(x, dout, HH, WW, stride):
    """Return out and dx of max pooling, pixel by pixel; the first of equal pixels wins."""
    out, dx = np.zeros(dout.shape), np.zeros(x.shape)
    for n, c, i, j in np.ndindex(dout.shape):
        places = [(i * stride + hh, j * stride + ww) for hh in range(HH) for ww in range(WW)]
        best = places[0]
        for place in places[1:]:
            if x[n, c][place] > x[n, c][best]:
                best = place
        out[n, c, i, j] = x[n, c][best]
        dx[n, c][best] += dout[n, c, i, j]
    return out, dx
