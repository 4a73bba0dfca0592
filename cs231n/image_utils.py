"""Load single pictures and prepare them for networks that were trained on ImageNet."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cs231n.core import checks

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "SQUEEZENET_MEAN",
    "SQUEEZENET_STD",
    "blur_image",
    "deprocess_image",
    "load_image",
    "preprocess_image",
]

SQUEEZENET_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
SQUEEZENET_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)

# Formats that Pillow decodes itself: for others it runs Ghostscript or guesses.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "TIFF", "WEBP")
MAX_PIXELS = 89_478_485  # Pillow's own limit: a quarter of a gigabyte of RGB
MAX_BYTES = 2**29  # of a file


def blur_image(X: np.ndarray) -> np.ndarray:
    """Blur images very gently, as a regulariser between the steps of image generation.

    Parameters
    ----------
    X : ndarray of shape (N, C, H, W)
        Images, each channel blurred by itself. Outside them is zero.

    Returns
    -------
    ndarray of shape (N, C, H, W)
        Of the dtype of X; integers become float64.

    Raises
    ------
    ValueError
        If X does not have four axes.

    Notes
    -----
    Convolution with ``[[1, 2, 1], [2, 188, 2], [1, 2, 1]] / 200``, which is 92 % of the image
    and 8 % of its binomial blur ``outer([1, 2, 1], [1, 2, 1]) / 16``.
    """
    (X,) = checks.float_arrays("blur_image", X=X)
    checks.shapes("blur_image", X=(X, "N C H W"))
    padded = np.pad(X, ((0, 0), (0, 0), (1, 1), (1, 1)))
    down = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]  # (N, C, H, W + 2)
    blurred = down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]  # (N, C, H, W)
    return 0.92 * X + 0.005 * blurred


def preprocess_image(img: np.ndarray) -> np.ndarray:
    """Turn pixels into the normalised values that SqueezeNet expects.

    Parameters
    ----------
    img : ndarray of shape (..., H, W, 3)
        Pixels from 0 to 255.

    Returns
    -------
    ndarray of shape (..., H, W, 3)
        float32, ``(img / 255 - SQUEEZENET_MEAN) / SQUEEZENET_STD``.

    Raises
    ------
    ValueError
        If the last axis does not have three channels.
    """
    img = _channels_last("preprocess_image", img)
    return (img.astype(np.float32) / 255 - SQUEEZENET_MEAN) / SQUEEZENET_STD


def deprocess_image(img: np.ndarray, rescale: bool = False) -> np.ndarray:
    """Undo `preprocess_image`: pixels from normalised values.

    Parameters
    ----------
    img : ndarray of shape (..., H, W, 3)
        Normalised values.
    rescale : bool, optional
        Stretch the values so that the least becomes 0 and the greatest 255.

    Returns
    -------
    ndarray of shape (..., H, W, 3)
        uint8 pixels, rounded and clipped.

    Raises
    ------
    ValueError
        If the last axis does not have three channels.
    """
    img = _channels_last("deprocess_image", img) * SQUEEZENET_STD + SQUEEZENET_MEAN
    if rescale and img.size:
        # A flat image stays flat: rounding errors are not worth the whole range.
        img = (img - img.min()) / max(img.max() - img.min(), 1e-3)
    return np.rint(255 * img).clip(0, 255).astype(np.uint8)


def load_image(filename: str | os.PathLike[str], size: int | None = None) -> np.ndarray:
    """Load a picture from a file, and resize it so that its shortest side has size pixels.

    Parameters
    ----------
    filename : path
        A JPEG, PNG, GIF, BMP, PPM, TIFF or WebP file. Not an address: download it first.
    size : int, optional
        Length of the shortest side; the other keeps the proportions.

    Returns
    -------
    ndarray of shape (H, W, 3)
        uint8 RGB pixels, turned upright as the camera noted.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no picture, is truncated, or is (or would become) larger than 89 million
        pixels; if filename is an address; if size is less than 1.
    """
    name = os.fspath(checks.path("load_image", "filename", filename))
    if "://" in os.fspath(filename):
        raise ValueError(
            f"load_image: {filename!s} is an address; download it and give the file's name"
        )
    if size is not None:
        size = checks.integer("load_image", "size", size, least=1)
    picture = _open(name)
    if size is not None:
        picture = _resize(name, picture, size)
    return np.array(picture)


def _channels_last(where: str, img: np.ndarray) -> np.ndarray:
    """Return images, which here end in their three channels."""
    img = checks.real_array(where, "img", img)
    if img.ndim < 3 or img.shape[-1] != 3:
        raise ValueError(f"{where}: img has shape {img.shape}; expected (H, W, 3)")
    return img


def _open(name: str) -> Image:
    """Decode the file as an upright RGB picture."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    # From memory, for there a decoder that asks for 2 GB gets, and allocates, what is there.
    content = io.BytesIO(_content(Path(name)))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a camera's tags, for instance
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(content, formats=FORMATS) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise ValueError(f"{picture.width} x {picture.height} pixels")
                return ImageOps.exif_transpose(picture).convert("RGB")
    except Exception as error:  # broken files make Pillow's decoders raise almost anything
        unknown = isinstance(error, UnidentifiedImageError)
        reason = f"it is none of {', '.join(FORMATS)}" if unknown else error
        raise ValueError(
            f"load_image: {name} is not a whole picture of at most {MAX_PIXELS} pixels ({reason})"
        ) from error


def _content(path: Path) -> bytes:
    """Return the bytes of a file that may be a picture."""
    checks.regular_file("load_image", path)
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"load_image: {path} has more than {MAX_BYTES} bytes")
    return path.read_bytes()


def _resize(name: str, picture: Image, size: int) -> Image:
    """Scale so that the shortest side has size pixels."""
    shortest = min(picture.size)
    width, height = (max(1, round(side * size / shortest)) for side in picture.size)
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"load_image: {name} with size {size} would have {width} x {height} "
            f"pixels; expected at most {MAX_PIXELS}"
        )
    return picture.resize((width, height))
