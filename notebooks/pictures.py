"""Draw the kitten and the puppy that image-processing cells of public notebooks open.

``python notebooks/pictures.py`` draws both and stores each wherever such a notebook looks for it:
beside the notebooks and at the project's top, under ``notebook_images`` and under
``cs231n/notebook_images``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

NOTEBOOKS = Path(__file__).resolve().parent
FOLDERS = (
    NOTEBOOKS,
    NOTEBOOKS / "notebook_images",
    NOTEBOOKS / "cs231n" / "notebook_images",
    NOTEBOOKS.parent / "cs231n" / "notebook_images",
    NOTEBOOKS.parent / "notebook_images",
    NOTEBOOKS.parent,
)
WIDTH, HEIGHT = 400, 300
SCALE = 4  # each pixel is the mean of so many squared, which makes edges smooth

Colour = tuple[int, int, int]
Point = tuple[float, float]

CREAM, PINK, INK, WHITE = (250, 236, 214), (242, 158, 158), (46, 32, 30), (255, 255, 255)
GINGER, RUST, GINGER_PAW = (236, 160, 82), (190, 104, 44), (246, 190, 122)
BROWN, COCOA, MILK = (172, 116, 72), (112, 68, 42), (248, 240, 228)


class Canvas:
    """A picture in the making, in units of its final pixels."""

    def __init__(self, top: Colour, bottom: Colour) -> None:
        """Start with a sky, or a wall, that fades from one colour into another."""
        fade = np.linspace(0, 1, HEIGHT * SCALE)[:, None, None]
        column = (1 - fade) * np.array(top) + fade * np.array(bottom)
        pixels = np.broadcast_to(column, (HEIGHT * SCALE, WIDTH * SCALE, 3))
        self.image = Image.fromarray(pixels.astype(np.uint8))
        self.draw = ImageDraw.Draw(self.image)

    def oval(self, x: float, y: float, rx: float, ry: float, colour: Colour) -> None:
        """Fill the ellipse around (x, y) with these half axes."""
        box = [SCALE * side for side in (x - rx, y - ry, x + rx, y + ry)]
        self.draw.ellipse(box, fill=colour)

    def shape(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a closed outline that runs smoothly near its corners."""
        self.draw.polygon([(SCALE * x, SCALE * y) for x, y in smooth(points, closed=True)], colour)

    def line(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        """Draw a smooth line through these points, with round ends."""
        path = smooth(points, closed=False)
        scaled = [(SCALE * x, SCALE * y) for x, y in path]
        self.draw.line(scaled, fill=colour, width=round(SCALE * width), joint="curve")
        for x, y in (path[0], path[-1]):
            self.oval(x, y, width / 2, width / 2, colour)

    def fur(self, x: float, y: float, rx: float, ry: float, colour: Colour, seed: int) -> None:
        """Strew short hairs, a little lighter and darker, that point away from (x, y)."""
        rng = np.random.default_rng(seed)
        for radius, turn, shade, length in rng.random((int(rx * ry / 6), 4)):
            angle = 2 * np.pi * turn
            across, along = np.cos(angle), np.sin(angle)
            start = (x + 0.97 * radius**0.5 * rx * across, y + 0.97 * radius**0.5 * ry * along)
            end = (start[0] + (2 + 4 * length) * across, start[1] + (2 + 4 * length) * along + 1)
            tint = tuple(int(min(255, part * (0.86 + 0.24 * shade))) for part in colour)
            self.line([start, end], tint, 0.5)

    def eye(self, x: float, y: float, size: float, iris: Colour, slit: float) -> None:
        """Draw an eye with two glints; slit is the pupil's width over its height."""
        self.oval(x, y, size * 1.12, size * 1.18, INK)
        self.oval(x, y, size, size * 1.06, iris)
        self.oval(x, y + size * 0.3, size * 0.72, size * 0.6, lighter(iris))
        self.oval(x, y, size * 0.72 * slit, size * 0.78, INK)
        self.oval(x + size * 0.3, y - size * 0.38, size * 0.27, size * 0.27, WHITE)
        self.oval(x - size * 0.3, y + size * 0.36, size * 0.13, size * 0.13, WHITE)

    def finished(self) -> Image.Image:
        """Return the picture in its final size."""
        return self.image.resize((WIDTH, HEIGHT), Image.Resampling.BOX)


def lighter(colour: Colour) -> Colour:
    """Return a colour half way to white."""
    red, green, blue = ((part + 255) // 2 for part in colour)
    return red, green, blue


def smooth(points: Sequence[Point], closed: bool) -> list[Point]:
    """Return many points of the Catmull-Rom spline through these."""
    p = np.array(points, float)
    ends = (p[-1:], p[:2]) if closed else (p[:1], p[-1:])
    padded = np.concatenate([ends[0], p, ends[1]])
    t = np.linspace(0, 1, 12, endpoint=False)[:, None]
    path = []
    for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:]):
        bend = (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3
        path.append(b + 0.5 * ((c - a) * t + bend))
    path.append(padded[-2:-1])
    return [(float(x), float(y)) for x, y in np.concatenate(path)]


def draw_kitten() -> Image.Image:
    """Draw a ginger kitten on a rug, before a window, with a ball of wool."""
    canvas = Canvas((206, 190, 222), (168, 146, 190))
    _window(canvas)
    _rug(canvas)
    _kitten_body(canvas)
    _kitten_head(canvas)
    _kitten_face(canvas)
    _paws(canvas, 25, 267, GINGER_PAW, RUST)
    _wool(canvas, 102, 254, 26)
    return canvas.finished()


def _rug(canvas: Canvas) -> None:
    """Draw floorboards and a round rug."""
    canvas.draw.rectangle([0, SCALE * 236, SCALE * WIDTH, SCALE * HEIGHT], (134, 94, 74))
    for x in range(-40, 440, 48):  # floorboards
        canvas.line([(x, 236), (2 * x - 200, 300)], (112, 76, 60), 1.2)
    canvas.oval(200, 276, 168, 26, (92, 124, 140))
    canvas.oval(200, 273, 150, 21, (140, 176, 186))
    canvas.oval(200, 271, 130, 16, (186, 212, 214))


def _kitten_body(canvas: Canvas) -> None:
    """Draw the tail, and the body with its stripes."""
    tail = [(262, 262), (300, 258), (318, 228), (306, 196), (316, 176)]
    canvas.line(tail, RUST, 19)
    canvas.line(tail, GINGER, 15)
    canvas.line([(312, 186), (316, 176)], CREAM, 14)
    canvas.oval(200, 228, 70, 54, RUST)  # body
    canvas.oval(200, 228, 67, 51, GINGER)
    canvas.fur(200, 228, 63, 47, GINGER, 1)
    for side in (-1, 1):
        for y in (208, 224, 240):  # stripes
            canvas.line([(200 + side * 65, y), (200 + side * 50, y + 2)], RUST, 5)
    canvas.oval(200, 240, 36, 38, CREAM)
    canvas.fur(200, 238, 32, 34, CREAM, 2)


def _kitten_head(canvas: Canvas) -> None:
    """Draw the ears, and the head with its stripes."""
    for side in (-1, 1):
        canvas.shape(_mirrored(side, [(-78, 78), (-66, 18), (-18, 52), (-46, 92)]), RUST)
        canvas.shape(_mirrored(side, [(-74, 78), (-64, 24), (-22, 54), (-46, 90)]), GINGER)
        canvas.shape(_mirrored(side, [(-65, 72), (-59, 37), (-34, 58), (-50, 78)]), PINK)
    canvas.shape(_face(84, 66, 122), RUST)
    canvas.shape(_face(81, 63, 122), GINGER)
    canvas.fur(200, 122, 74, 57, GINGER, 3)
    canvas.line([(200, 62), (200, 88)], RUST, 6)
    for side in (-1, 1):
        canvas.line(_mirrored(side, [(-17, 64), (-15, 84)]), RUST, 5)
        for y in (120, 134, 148):
            canvas.line(_mirrored(side, [(-79, y), (-62, y + 2)]), RUST, 5)


def _kitten_face(canvas: Canvas) -> None:
    """Draw muzzle, cheeks, eyes, nose, mouth and whiskers."""
    for side in (-1, 1):
        canvas.oval(200 + side * 15, 152, 20, 16, CREAM)
        canvas.oval(200 + side * 52, 150, 12, 7, (244, 150, 110))
        canvas.eye(200 + side * 34, 116, 19, (92, 170, 110), 0.72)
    canvas.oval(200, 162, 12, 10, CREAM)
    canvas.shape([(191, 140), (209, 140), (200, 149)], PINK)
    for side in (-1, 1):
        canvas.line(_mirrored(side, [(0, 148), (-4, 156), (-12, 157), (-17, 152)]), INK, 1.8)
        for rise in (-7, 1, 9):
            start, end = (-26, 150 + rise / 3), (-84, 146 + 1.7 * rise)
            canvas.line(_mirrored(side, [start, (-56, 147 + rise), end]), WHITE, 1)


def _paws(canvas: Canvas, x: float, y: float, colour: Colour, outline: Colour) -> None:
    """Draw two forepaws with their toes."""
    for side in (-1, 1):
        middle = 200 + side * x
        canvas.oval(middle, y + 1, 23, 14.5, outline)
        canvas.oval(middle, y, 21, 12.5, colour)
        for toe in (-7.5, 0, 7.5):
            canvas.line([(middle + toe, y + 3), (middle + toe, y + 9.5)], outline, 1.5)


def _window(canvas: Canvas) -> None:
    """Draw a window with a hill, clouds and the sun outside, and a spotted wall around it."""
    for row, y in enumerate(range(14, 236, 26)):
        for x in range(10 + 13 * (row % 2), WIDTH, 26):
            canvas.oval(x, y, 2.2, 2.2, (222, 208, 234))
    canvas.draw.rectangle([SCALE * side for side in (20, 18, 148, 160)], (244, 240, 232))
    canvas.draw.rectangle([SCALE * side for side in (28, 26, 140, 152)], (140, 198, 236))
    canvas.oval(54, 54, 15, 15, (255, 226, 112))
    for x, y in ((92, 66), (106, 60), (118, 68), (106, 70)):
        canvas.oval(x, y, 13, 8, WHITE)
    hill = [(28, 152), (28, 122), (60, 108), (100, 120), (139, 104), (139, 152)]
    canvas.draw.polygon([(SCALE * x, SCALE * y) for x, y in hill], (112, 172, 96))
    canvas.draw.rectangle([SCALE * side for side in (81, 26, 87, 152)], (244, 240, 232))
    canvas.draw.rectangle([SCALE * side for side in (28, 86, 140, 92)], (244, 240, 232))


def _wool(canvas: Canvas, x: float, y: float, size: float) -> None:
    """Draw a ball of wool with its loose end."""
    red, shade = (214, 72, 92), (158, 40, 66)
    canvas.line([(x - 20, y + 20), (x - 44, y + 26), (x - 62, y + 16), (x - 82, y + 26)], red, 2.6)
    canvas.oval(x, y, size, size, shade)
    canvas.oval(x - 1.5, y - 1.5, size - 2, size - 2, red)
    for bend in (-16, -8, 0, 8, 16):
        for tilt in (-1, 1):
            reach = (size**2 - bend**2) ** 0.5 * 0.94
            middle = (x + bend * 0.9 + tilt * bend / 3, y + bend * 0.9)
            ends = [(x + bend - tilt * reach * 0.7, y + bend * 0.2 - reach * 0.6)]
            ends += [middle, (x + bend * 0.2 + tilt * reach * 0.7, y + bend * 0.5 + reach * 0.5)]
            inside = [p for p in smooth(ends, False) if np.hypot(p[0] - x, p[1] - y) < size - 1]
            if len(inside) > 1:
                canvas.line(inside[::4], (236, 116, 130) if tilt > 0 else shade, 1.3)


def _mirrored(side: int, points: Sequence[Point]) -> list[Point]:
    """Return points given from the middle of the picture, on its left (-1) or right (1) side."""
    return [(200 - side * x, y) for x, y in points]


def _face(width: float, height: float, y: float) -> list[Point]:
    """Return the outline of a head with cheeks."""
    left = [(-0.55, -0.86), (-0.93, -0.3), (-1, 0.25), (-0.72, 0.78), (-0.3, 0.97)]
    turned = [(0, -0.98), *((-x, y) for x, y in left), (0, 1), *left[::-1]]
    return [(200 + width * across, y + height * down) for across, down in turned]


def draw_puppy() -> Image.Image:
    """Draw a brown and white puppy on a meadow, with its tongue out and a bone before it."""
    canvas = Canvas((112, 180, 232), (206, 232, 244))
    _meadow(canvas)
    _puppy_body(canvas)
    _puppy_head(canvas)
    _puppy_face(canvas)
    _collar_and_tongue(canvas)
    _paws(canvas, 30, 273, MILK, COCOA)
    _bone(canvas)
    return canvas.finished()


def _puppy_body(canvas: Canvas) -> None:
    """Draw the tail, and the body with its white front."""
    tail = [(262, 250), (294, 232), (304, 204), (298, 190)]
    canvas.line(tail, COCOA, 15)
    canvas.line(tail, BROWN, 11)
    canvas.oval(200, 232, 66, 56, COCOA)  # body
    canvas.oval(200, 232, 63, 53, BROWN)
    canvas.fur(200, 232, 59, 49, BROWN, 4)
    canvas.shape([(172, 182), (228, 182), (236, 232), (200, 268), (164, 232)], MILK)
    canvas.fur(200, 226, 28, 34, MILK, 5)


def _puppy_head(canvas: Canvas) -> None:
    """Draw the head with its blaze, and the ears."""
    canvas.shape(_face(76, 70, 116), COCOA)
    canvas.shape(_face(73, 67, 116), BROWN)
    canvas.fur(200, 112, 66, 58, BROWN, 6)
    canvas.shape(
        [(191, 56), (209, 56), (216, 96), (238, 140), (200, 160), (162, 140), (184, 96)], MILK
    )
    canvas.oval(200, 146, 45, 33, MILK)
    canvas.fur(200, 140, 38, 26, MILK, 7)
    for side in (-1, 1):
        ear = [(-46, 58), (-86, 66), (-106, 112), (-98, 156), (-78, 158), (-66, 118)]
        canvas.shape(_mirrored(side, ear), (84, 48, 30))
        ear = [(-47, 61), (-84, 69), (-102, 112), (-95, 152), (-79, 154), (-69, 116)]
        canvas.shape(_mirrored(side, ear), COCOA)
        canvas.fur(200 + side * 85, 112, 13, 38, COCOA, 9 + side)


def _puppy_face(canvas: Canvas) -> None:
    """Draw eyebrows, eyes, nose and mouth."""
    for side in (-1, 1):
        canvas.line(_mirrored(side, [(-44, 78), (-34, 72), (-24, 76)]), COCOA, 4)
        canvas.eye(200 + side * 34, 102, 16, (116, 74, 40), 1.05)
        for x, y in ((-20, 146), (-28, 152), (-19, 155)):  # where whiskers would be
            canvas.oval(200 + side * x, y, 1.3, 1.3, (150, 120, 104))
    canvas.shape([(184, 128), (200, 123), (216, 128), (210, 140), (200, 144), (190, 140)], INK)
    canvas.oval(194, 129, 5, 2.4, (150, 140, 140))
    for side in (-1, 1):
        canvas.line(_mirrored(side, [(0, 144), (-2, 158), (-14, 165), (-28, 160)]), INK, 2.2)


def _collar_and_tongue(canvas: Canvas) -> None:
    """Draw the collar, the tongue before it and the tag."""
    collar = [(148, 188), (172, 199), (200, 203), (228, 199), (252, 188)]
    canvas.line(collar, (150, 30, 40), 11)
    canvas.line(collar, (214, 52, 58), 8)
    canvas.shape([(188, 162), (212, 162), (214, 184), (200, 194), (186, 184)], (198, 74, 92))
    canvas.shape([(190, 162), (210, 162), (212, 182), (200, 191), (188, 182)], (238, 118, 132))
    canvas.line([(200, 168), (200, 184)], (204, 84, 102), 1.6)
    canvas.oval(200, 213, 10, 10, (176, 128, 24))
    canvas.oval(200, 212, 8.5, 8.5, (250, 208, 82))
    canvas.oval(197, 209, 2.6, 2.6, (255, 240, 180))


def _bone(canvas: Canvas) -> None:
    """Draw a bone in the grass."""
    for x, y in ((78, 262), (80, 273), (128, 268), (126, 279)):
        canvas.oval(x, y, 9, 8, (208, 192, 160))
    canvas.line([(80, 268), (126, 273)], (208, 192, 160), 14)
    for x, y in ((78, 261), (80, 272), (128, 267), (126, 278)):
        canvas.oval(x, y, 7.5, 6.5, CREAM)
    canvas.line([(80, 267), (126, 272)], CREAM, 11)


def _meadow(canvas: Canvas) -> None:
    """Draw clouds, two hills, a fence, grass and daisies."""
    for x, y in ((56, 52), (76, 42), (98, 52), (312, 70), (334, 60), (356, 70)):
        canvas.oval(x, y, 24, 14, WHITE)
    canvas.oval(70, 262, 200, 92, (142, 192, 120))
    canvas.oval(330, 268, 210, 98, (120, 178, 104))
    for x in range(6, WIDTH, 34):
        post = [(x, 164), (x + 6, 157), (x + 12, 164), (x + 12, 220), (x, 220)]
        canvas.draw.polygon([(SCALE * a, SCALE * b) for a, b in post], (240, 230, 214))
    for y in (174, 196):
        canvas.draw.rectangle([0, SCALE * y, SCALE * WIDTH, SCALE * (y + 7)], (226, 212, 192))
    canvas.draw.rectangle([0, SCALE * 212, SCALE * WIDTH, SCALE * HEIGHT], (98, 162, 76))
    rng = np.random.default_rng(8)
    for across, down, lean, shade in rng.random((900, 4)):
        x, y = WIDTH * across, 210 + 92 * down
        green = (int(60 + 70 * shade), int(126 + 70 * shade), int(48 + 44 * shade))
        canvas.line([(x, y), (x + 6 * lean - 3, y - 7 - 6 * down)], green, 1)
    for x, y in ((28, 246), (56, 282), (330, 240), (362, 270), (318, 284), (384, 244), (14, 274)):
        for turn in np.arange(0, 2 * np.pi, np.pi / 3):
            canvas.oval(x + 4 * np.cos(turn), y + 4 * np.sin(turn), 2.6, 2.6, WHITE)
        canvas.oval(x, y, 2.6, 2.6, (250, 202, 60))


PICTURES = {"kitten": draw_kitten, "puppy": draw_puppy}


def main() -> None:
    """Draw both and store them in all folders."""
    for name, draw in PICTURES.items():
        picture = draw().filter(ImageFilter.UnsharpMask(radius=1, percent=40))
        for folder in FOLDERS:
            folder.mkdir(parents=True, exist_ok=True)
            picture.save(folder / f"{name}.jpg", quality=90)


if __name__ == "__main__":
    main()
