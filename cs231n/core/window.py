"""Window arithmetic: where a window of HH x WW pixels stands as it slides over a padded image.

`Window` is the only place in the package that knows how many positions that gives and which pixels
a position covers.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from cs231n.core import checks

__all__ = ["Window", "add_windows"]

_MOST = checks.MOST
# Padding may make so many numbers (512 MB of float64), or so many times those that there are.
MOST_PADDED, MOST_TIMES = 2**26, 16


class Window(NamedTuple):
    """A window of HH x WW pixels that slides over an image in steps of stride.

    Positions that do not fit completely into the padded image are dropped.
    """

    HH: int
    WW: int
    stride: int = 1
    pad: int = 0

    @classmethod
    def for_conv(cls, w: np.ndarray, conv_param: Mapping[str, Any], where: str = "") -> Window:
        """Return the window of filters w (F, C, HH, WW) with the options 'stride' and 'pad'."""
        conv_param = checks.options(where, "conv_param", conv_param)
        _, _, HH, WW = w.shape
        stride, pad = conv_param.get("stride"), conv_param.get("pad")
        if type(stride) is int and type(pad) is int:
            return _known(where, HH, WW, stride, pad)
        checks.required(where, conv_param, "stride", "pad")
        return cls.checked(where, HH, WW, stride, pad)

    @classmethod
    def for_pool(cls, pool_param: Mapping[str, Any], where: str = "") -> Window:
        """Return the window of the options 'pool_height', 'pool_width' and 'stride'."""
        pool_param = checks.options(where, "pool_param", pool_param)
        HH, WW = pool_param.get("pool_height"), pool_param.get("pool_width")
        stride = pool_param.get("stride")
        if type(HH) is int and type(WW) is int and type(stride) is int:
            return _known(where, HH, WW, stride, 0)
        checks.required(where, pool_param, "pool_height", "pool_width", "stride")
        return cls.checked(where, HH, WW, stride, 0)

    @classmethod
    def checked(cls, where: str, HH: Any, WW: Any, stride: Any, pad: Any) -> Window:
        """Return the window of these sizes; an error of `where` if one is no sensible integer."""
        return cls(
            checks.integer(where, "window height", HH, least=1),
            checks.integer(where, "window width", WW, least=1),
            checks.integer(where, "stride", stride, least=1),
            checks.integer(where, "pad", pad, least=0),
        )

    def output_size(self, where: str, H: int, W: int) -> tuple[int, int]:
        """Return the number of positions (OH, OW) in an image of H x W."""
        HH, WW, stride, pad = self
        rows, columns = H + 2 * pad, W + 2 * pad
        if rows < HH or columns < WW or rows * columns > _MOST:
            raise self._size_error(where, H, W)
        return (rows - HH) // stride + 1, (columns - WW) // stride + 1

    def _size_error(self, where: str, H: int, W: int) -> ValueError:
        """Return the error of an image that is too small for the window, or beyond all memory."""
        HH, WW, _, pad = self
        rows, columns = H + 2 * pad, W + 2 * pad
        padding = f" with padding {pad}" if pad else ""
        if rows < HH or columns < WW:
            return ValueError(
                f"{where}: a window of {HH}x{WW} does not fit into an image of {H}x{W}{padding};"
                f" expected HH <= H + 2 * pad and WW <= W + 2 * pad"
            )
        return ValueError(
            f"{where}: an image of {H}x{W}{padding} has {rows}x{columns} pixels;"
            f" expected at most {_MOST}"
        )

    def over(self, x: np.ndarray) -> tuple[int, int]:
        """Return the number of positions (OH, OW) in each of a layer's images x (..., H, W)."""
        OH, OW = _positions(self, *x.shape[-2:])
        HH, WW, _, pad = self
        if pad > HH or pad > WW:  # else there are not many more than pixels
            self.require_room("", x.shape, math.prod(x.shape[:-2]) * OH * OW, 1)
        return OH, OW

    def require_room(self, where: str, shape: tuple[int, ...], numbers: int, times: int) -> None:
        """Refuse to make so many numbers of images of this shape if they come from the padding.

        Columns may be `times` larger than the images, for each pixel lies in many of them.
        """
        if numbers > max(MOST_PADDED, MOST_TIMES * times * math.prod(shape)) and self.pad:
            raise ValueError(
                f"{where}: padding {self.pad} makes {numbers} numbers of images of shape {shape};"
                f" expected at most {MOST_PADDED}, or {MOST_TIMES} times as many as there are"
            )

    def pixels(self, i: int, j: int) -> tuple[slice, slice]:
        """Return the rows and columns of the padded image that position (i, j) covers."""
        top, left = i * self.stride, j * self.stride
        return slice(top, top + self.HH), slice(left, left + self.WW)

    def positions(self, hh: int, ww: int, OH: int, OW: int) -> tuple[slice, slice]:
        """Return the padded image's pixels that lie at (hh, ww) of the windows, one of each."""
        rows = slice(hh, hh + (OH - 1) * self.stride + 1, self.stride)
        columns = slice(ww, ww + (OW - 1) * self.stride + 1, self.stride)
        return rows, columns

    def pad_image(self, x: np.ndarray, where: str = "") -> np.ndarray:
        """Return x (..., H, W) with `pad` rows and columns of zeros on each side."""
        if self.pad == 0:
            return x
        padded = self.padded_zeros(where, x.shape, x.dtype)
        self.crop(padded)[...] = x
        return padded

    def padded_zeros(self, where: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Return zeros for images of this shape (..., H, W) and their padding."""
        H, W = (size + 2 * self.pad for size in shape[-2:])
        self.require_room(where, shape, math.prod(shape[:-2]) * H * W, 1)
        return np.zeros((*shape[:-2], H, W), dtype)

    def require_room_for_columns(
        self, where: str, shape: tuple[int, int, int, int], OH: int, OW: int
    ) -> None:
        """Refuse to make columns of images of this shape that are mostly padding."""
        inside = min(self.HH, shape[2]) * min(self.WW, shape[3])
        numbers = math.prod(shape[:2]) * OH * OW * self.HH * self.WW
        self.require_room(where, shape, numbers, inside)

    def crop(self, padded: np.ndarray) -> np.ndarray:
        """Return the view of a padded image without its padding."""
        H, W = (size - 2 * self.pad for size in padded.shape[-2:])
        return padded[..., self.pad : self.pad + H, self.pad : self.pad + W]

    def view(self, padded: np.ndarray) -> np.ndarray:
        """Return a view (..., OH, OW, HH, WW) of all windows of a padded image."""
        windows = sliding_window_view(padded, (self.HH, self.WW), axis=(-2, -1))
        return windows[..., :: self.stride, :: self.stride, :, :]


# A network asks for the same at each step.
_known = functools.lru_cache(maxsize=1000)(Window.checked)


@functools.lru_cache(maxsize=1000)
def _positions(window: Window, H: int, W: int) -> tuple[int, int]:
    """Return the number of positions, remembered as well."""
    return window.output_size("", H, W)


def add_windows(windows: np.ndarray, padded: np.ndarray, window: Window) -> None:
    """Add windows (..., HH, WW, OH, OW) into the padded image (..., H, W) that they cover."""
    OH, OW = windows.shape[-2:]
    for hh in range(window.HH):
        for ww in range(window.WW):
            rows, columns = window.positions(hh, ww, OH, OW)
            padded[..., rows, columns] += windows[..., hh, ww, :, :]
