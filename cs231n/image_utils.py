"""Load single pictures and prepare them for networks that were trained on ImageNet."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cs231n.core import checks
from cs231n.data import pictures

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "SQUEEZENET_MEAN",
    "SQUEEZENET_STD",
    "blur_image",
    "deprocess_image",
    "image_from_url",
    "load_image",
    "preprocess_image",
]

SQUEEZENET_MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
SQUEEZENET_STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)


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
    if checks.flag("deprocess_image", "rescale", rescale) and img.size:
        # A flat image stays flat: rounding errors are not worth the whole range.
        img = (img - img.min()) / max(img.max() - img.min(), 1e-3)
    return np.rint(255 * img).clip(0, 255).astype(np.uint8)


def load_image(
    filename: str | os.PathLike[str], size: int | None = None, max_pixels: int = pictures.MAX_PIXELS
) -> np.ndarray:
    """Load a picture from a file, and resize it so that its shortest side has size pixels.

    Parameters
    ----------
    filename : path
        A JPEG, PNG, GIF (its first frame), BMP, PPM, TIFF or WebP file. Not an address: download
        it first.
    size : int, optional
        Length of the shortest side; the other keeps the proportions.
    max_pixels : int, optional
        The most pixels to decode. A larger JPEG still loads where a small size is asked for, since
        it is decoded at reduced size then. Pillow itself refuses more than 179 million.

    Returns
    -------
    ndarray of shape (H, W, 3)
        uint8 RGB pixels, turned upright as the camera noted. Transparent ones are laid over white;
        16-bit pixels are scaled, and so are floats from 0 to 1.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no picture, is truncated, is (or would become) larger than max_pixels, or
        holds 32-bit integers or other floats, which no format says how to scale; if filename is
        an address; if size is less than 1.
    """
    path = checks.path("load_image", "filename", filename)
    if "://" in os.fspath(filename):
        raise ValueError(
            f"load_image: {filename!s} is an address; download it and give the file's name"
        )
    if size is not None:
        size = checks.integer("load_image", "size", size, least=1)
    max_pixels = checks.integer("load_image", "max_pixels", max_pixels, least=1)
    with pictures.quiet():
        picture = pictures.open_picture("load_image", path, size, max_pixels)
    return np.array(picture if size is None else _resize(str(path), picture, size, max_pixels))


def image_from_url(url: str) -> np.ndarray:
    """Load a picture from an address.

    Parameters
    ----------
    url : str
        Of http or https.

    Returns
    -------
    ndarray of shape (H, W, 3)
        As `load_image` returns it.

    Raises
    ------
    ValueError
        If this is no such address, or what it gives no picture of sensible size.
    OSError
        If nothing can be had from there.
    """
    from urllib.request import Request, urlopen

    where = "image_from_url"
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        raise ValueError(f"{where}: url is {url!r}; expected an address http://... or https://...")
    request = Request(url, headers={"User-Agent": "cs231n"})  # some servers refuse Python's own
    with urlopen(request, timeout=30) as answer:
        content = answer.read(pictures.MAX_BYTES + 1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture"
        path.write_bytes(content)
        with pictures.quiet():
            return np.array(pictures.open_picture(where, path))


def _channels_last(where: str, img: np.ndarray) -> np.ndarray:
    """Return images, which here end in their three channels."""
    img = checks.real_array(where, "img", img)
    if img.ndim < 3 or img.shape[-1] != 3:
        raise ValueError(f"{where}: img has shape {img.shape}; expected (H, W, 3)")
    return img


def _resize(name: str, picture: Image, size: int, max_pixels: int) -> Image:
    """Scale so that the shortest side has size pixels."""
    shortest = min(picture.size)
    width, height = (max(1, round(side * size / shortest)) for side in picture.size)
    if width * height > max_pixels:
        raise ValueError(
            f"load_image: {name} with size {size} would have {width} x {height} "
            f"pixels; expected at most {max_pixels}"
        )
    return picture.resize((width, height))
