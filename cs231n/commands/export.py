"""Write a trained network in a form that other libraries take."""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cs231n.classifiers import Network
from cs231n.commands import trained
from cs231n.files import storage
from cs231n.onnx_bridge import to_onnx
from cs231n.torch_bridge import require_torch, to_torch

__all__ = ["add_options", "run"]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the command."""
    trained.add_run(parser)
    parser.add_argument(
        "--to",
        choices=_WRITERS,
        required=True,
        help="onnx (needs the package onnx), or torch (needs PyTorch; torch.export.load reads it)",
    )
    parser.add_argument(
        "--output", type=Path, help="file (default: model.onnx or model.pt2 in the run folder)"
    )


def run(options: argparse.Namespace) -> int:
    """Write the file, and say where it is and what it takes."""
    network = trained.load(options.run)
    ending, content = _WRITERS[options.to]
    folder = options.run if options.run.is_dir() else options.run.parent
    path = options.output or folder / f"model{ending}"
    try:
        written = content(network.model)
    except ImportError as error:
        raise ValueError(str(error)) from error
    storage.write_bytes(path, written)
    shape = ", ".join(map(str, network.inputs.image_shape))
    print(f"{path} takes images (N, {shape}) as float32, pixels from 0 to 255")
    return 0


def _as_onnx(model: Network) -> bytes:
    """Return a network as the bytes of an ONNX file."""
    return bytes(to_onnx(model).SerializeToString())


def _as_torch(model: Network) -> bytes:
    """Return a network as the bytes of a file of `torch.export`, for any number of images."""
    torch = require_torch("export")
    net = torch.nn.Sequential(_normalizer(torch, model), to_torch(model).float()).eval()
    shape = model.input_shape if model.inputs is None else model.inputs.image_shape
    example = torch.zeros((2, *shape), dtype=torch.float32)
    batch = torch.export.Dim("N")
    program = torch.export.export(net, (example,), dynamic_shapes=({0: batch},))
    file = io.BytesIO()
    torch.export.save(program, file)
    return file.getvalue()


def _normalizer(torch: Any, model: Network) -> Any:
    """Return a module that does to pixels from 0 to 255 what was done in training."""

    class Normalizer(torch.nn.Module):
        """Scale, subtract the mean and divide by the deviation."""

        def __init__(self, white: float, mean: Any, deviation: Any) -> None:
            super().__init__()
            self.scale = white / 255
            self.register_buffer("mean", _tensor(torch, mean, 0.0))
            self.register_buffer("deviation", _tensor(torch, deviation, 1.0))

        def forward(self, images: Any) -> Any:
            """Return normalised images."""
            return (images * self.scale - self.mean) / self.deviation

    if model.inputs is None:
        return Normalizer(255.0, None, None)
    done = model.inputs.normalization
    return Normalizer(done.white, done.mean, done.deviation)


def _tensor(torch: Any, constants: Any, otherwise: float) -> Any:
    """Return constants of images as a tensor, or a number where there are none."""
    if constants is None:
        return torch.tensor(otherwise)
    columns = constants if constants.ndim == 3 else constants[:, None, None]
    return torch.tensor(columns.tolist(), dtype=torch.float32)


_WRITERS: dict[str, tuple[str, Callable[[Network], bytes]]] = {
    "onnx": (".onnx", _as_onnx),
    "torch": (".pt2", _as_torch),
}
