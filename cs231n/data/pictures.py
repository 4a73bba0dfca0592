"""Decode picture files that may come from anywhere: the one decoder of the package.

A picture is judged before it is decoded: a few kilobytes may declare gigabytes, or keep a decoder
busy for minutes.  What comes out is upright, RGB, eight bits a channel, and means what the file
says: more bits are scaled, transparency is laid over a colour, and numbers whose range no format
states are refused instead of guessed.
"""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cs231n.core import checks

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = [
    "FORMATS",
    "MAX_BYTES",
    "MAX_PIXELS",
    "MAX_SCANS",
    "SUFFIXES",
    "WHITE",
    "count_scans",
    "fit_picture",
    "open_picture",
    "quiet",
    "read_image",
]

# Formats that Pillow decodes itself: for others it runs Ghostscript or guesses.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "PPM", "TIFF", "WEBP")
SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".gif", ".bmp", ".dib", ".ppm", ".pgm")
) | {".pbm", ".pnm", ".pfm", ".tif", ".tiff", ".webp"}
MAX_PIXELS = 25_000_000  # a photograph of 24 million; WebP takes 15 bytes for each meanwhile
MAX_BYTES = 2**29  # of a file
MAX_SCANS = 50  # of a JPEG: ten are usual, and each costs a pass over the whole picture
DRAFT_PIXELS = 16  # times max_pixels may a JPEG have that is decoded at reduced size
LARGE_PIXELS = 6_000_000  # of such pictures AT_ONCE are decoded at the same time
AT_ONCE = 4
WHITE = (255, 255, 255)

# A marker: neither an escaped byte of the picture, nor a restart, nor filling.
_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])", re.DOTALL)
_START_OF_SCAN, _END_OF_IMAGE, _ORIENTATION, _PHOTOMETRIC = 0xDA, 0xD9, 0x0112, 262
_ALPHA_MODES = ("RGBA", "LA", "PA", "La", "RGBa")
_LARGE = threading.BoundedSemaphore(AT_ONCE)
_TURNS = {  # what the camera noted: how the picture must be turned to stand upright
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}


class _RefusedError(ValueError):
    """A picture that is whole, but that nobody knows how to read as pixels from 0 to 255."""


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings, of a camera's tags for instance, in all threads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def open_picture(
    where: str,
    path: Path,
    least: int | None = None,
    max_pixels: int | None = None,
    background: tuple[int, int, int] = WHITE,
) -> Image:
    """Decode a file as an upright RGB picture; call it inside `quiet`.

    Parameters
    ----------
    where : str
        Name of the calling function, for messages.
    path : Path
    least : int, optional
        Length that the shortest side is to keep: a JPEG is decoded at an eighth, a quarter or
        half of its size where that leaves twice as much.
    max_pixels : int, optional
        The most pixels to decode; by default MAX_PIXELS.
    background : tuple of int, optional
        Colour behind transparent pixels.

    Returns
    -------
    PIL.Image.Image
        Of mode RGB.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no whole picture, too large, or holds numbers of unknown range; names the file.
    """
    from PIL import Image, UnidentifiedImageError

    most = MAX_PIXELS if max_pixels is None else max_pixels
    # From memory, for there a decoder that asks for 2 GB gets, and allocates, what is there.
    content = _content(where, path)
    try:
        scans = count_scans(content)
        with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
            _judge(picture, scans, least, most)
            with _room(picture):
                picture.load()
                return _upright(picture.getexif().get(_ORIENTATION), _rgb(picture, background))
    except _RefusedError as error:
        raise ValueError(f"{where}: {path} {error}") from error
    except Exception as error:  # broken files make Pillow's decoders raise almost anything
        unknown = isinstance(error, UnidentifiedImageError)
        reason = f"it is none of {', '.join(FORMATS)}" if unknown else error
        raise ValueError(
            f"{where}: {path} is not a whole picture of at most {most} pixels ({reason})"
        ) from error


def fit_picture(
    picture: Image, height: int, width: int, fit: str = "cover", background: tuple = WHITE
) -> Image:
    """Return a picture of exactly this size, its proportions kept.

    "cover" fills it and cuts off what stands out, equally on both sides; "letterbox" shows all of
    the picture between bars of the background.
    """
    from PIL import Image

    ratios = width / picture.width, height / picture.height
    scale = max(ratios) if fit == "cover" else min(ratios)
    if fit == "cover":
        left = (picture.width - width / scale) / 2
        top = (picture.height - height / scale) / 2
        return _resized(picture, width, height, (left, top, width / scale, height / scale))
    inner = _resized(
        picture, max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    )
    page = Image.new("RGB", (width, height), background)
    page.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
    return page


def read_image(
    where: str,
    path: Path,
    shape: tuple[int, int, int],
    fit: str = "cover",
    background: tuple[int, int, int] = WHITE,
    max_pixels: int | None = None,
) -> np.ndarray:
    """Decode a file as an image of this shape (C, H, W); call it inside `quiet`.

    Parameters
    ----------
    where : str
        Name of the calling function, for messages.
    path : Path
    shape : tuple (C, H, W)
        With one channel, grey, or three.
    fit, background
        As for `fit_picture`.
    max_pixels : int, optional
        As for `open_picture`.

    Returns
    -------
    ndarray of shape (C, H, W)
        uint8.

    Raises
    ------
    OSError, ValueError
        As `open_picture`.
    """
    channels, height, width = shape
    picture = open_picture(where, path, max(height, width), max_pixels, background)
    picture = fit_picture(picture, height, width, fit, background)
    if channels == 1:
        return np.asarray(picture.convert("L"))[None]
    return np.asarray(picture).transpose(2, 0, 1)


def _resized(
    picture: Image, width: int, height: int, part: tuple[float, float, float, float] | None = None
) -> Image:
    """Scale the part (left, top, width, height) of a picture, or all of it."""
    from PIL.Image import Resampling

    left, top, across, down = part or (0, 0, *picture.size)
    # Rounding must not lead outside of the picture.
    box = (
        max(left, 0),
        max(top, 0),
        min(left + across, picture.width),
        min(top + down, picture.height),
    )
    return picture.resize((width, height), Resampling.BICUBIC, box=box, reducing_gap=3.0)


def _content(where: str, path: Path) -> bytes:
    """Return the bytes of a file that may be a picture."""
    checks.regular_file(where, path)
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{where}: {path} has more than {MAX_BYTES} bytes")
    return path.read_bytes()


def count_scans(content: bytes) -> int:
    """Return the number of scans of a JPEG, 0 for anything else; past MAX_SCANS it stops.

    Segments are stepped over, for the picture in a camera's notes and the film behind a picture
    hold the same bytes.
    """
    scans, position = 0, 2
    if content[:2] != b"\xff\xd8":
        return 0
    while scans <= MAX_SCANS and (found := _MARKER.search(content, position)):
        code = found[1][0]
        if code == _END_OF_IMAGE:
            break
        scans += code == _START_OF_SCAN
        position = found.end() + int.from_bytes(content[found.end() : found.end() + 2], "big")
    return scans


def _judge(picture: Image, scans: int, least: int | None, most: int) -> None:
    """Raise a ValueError for a picture that is too large; let a JPEG be decoded reduced."""
    if scans > MAX_SCANS:
        raise ValueError(f"more than {MAX_SCANS} scans, which no camera and no program writes")
    declared = f"{picture.width} x {picture.height} pixels; max_pixels lets more in"
    full = picture.width * picture.height
    if full > DRAFT_PIXELS * most:
        raise ValueError(declared)
    if least is not None:
        picture.draft("RGB", (2 * least, 2 * least))
    # Of a JPEG with several scans all coefficients are held, however small it is to become.
    if (full if scans != 1 else picture.width * picture.height) > most:
        raise ValueError(declared)


def _room(picture: Image) -> AbstractContextManager[object]:
    """Let no more than a few large pictures be decoded at once, however many threads there are."""
    is_large = picture.width * picture.height > LARGE_PIXELS
    return _LARGE if is_large else nullcontext()


def _upright(orientation: object, picture: Image) -> Image:
    """Turn the picture as the camera noted."""
    from PIL.Image import Transpose

    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    return picture if turn is None else picture.transpose(Transpose[turn])


def _rgb(picture: Image, background: tuple[int, int, int]) -> Image:
    """Return a picture of any mode as RGB."""
    from PIL import Image

    if picture.mode in ("I", "F") or picture.mode.startswith("I;"):
        picture = Image.fromarray(_eight_bits(picture))
    if picture.mode in _ALPHA_MODES or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        page = Image.new("RGB", picture.size, background)
        page.paste(picture, mask=picture.getchannel("A"))
        return page
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _eight_bits(picture: Image) -> np.ndarray:
    """Scale pixels of more than eight bits to 0 to 255, by what the format says is white."""
    pixels = np.asarray(picture)  # (H, W)
    if picture.mode == "F":
        scaled = _scaled_floats(pixels)
    else:
        white = _white(picture)
        scaled = (np.minimum(pixels, white).astype(np.uint32) * 255 + white // 2) // white
    tags = getattr(picture, "tag_v2", {})  # of a TIFF: 0 is white there, if it says so
    return (255 - scaled if tags.get(_PHOTOMETRIC) == 0 else scaled).astype(np.uint8)


def _white(picture: Image) -> int:
    """Return the number that stands for white in a picture of integers."""
    if picture.mode.startswith("I;16"):
        bits = getattr(picture, "tag_v2", {}).get(258, (16,))  # a TIFF may have twelve
        return int(2 ** bits[0] - 1)
    if picture.format in ("PNG", "PPM"):  # which Pillow has scaled to sixteen bits
        return 2**16 - 1
    raise _RefusedError(
        "holds signed or 32-bit integers, and no format says which of them is white;"
        " expected 8 or 16 bits a channel"
    )


def _scaled_floats(pixels: np.ndarray) -> np.ndarray:
    """Return floats from 0 to 1, as programs write them by convention, as 0 to 255."""
    low, high = pixels.min(), pixels.max()
    if not (low >= 0 and high <= 1):  # NaN is neither
        raise _RefusedError(
            f"holds floats from {low:g} to {high:g}, and no format says which of them is white;"
            " expected 0 to 1, or integers of 8 or 16 bits"
        )
    return np.rint(pixels * 255)
