"""A folder of one's own pictures as a data set: a folder for each class."""

from __future__ import annotations

import os
import threading
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from cs231n.core import checks
from cs231n.data import pictures
from cs231n.data.dataset import PARTS, Dataset, normalized, reserve, split_indices
from cs231n.files.safe_pickle import DataError

__all__ = ["load_image_folder"]

WHERE = "load_image_folder"
CHUNK = 16  # pictures that a thread takes at once
NAMED = 3  # files that a warning names
FITS = ("cover", "letterbox")
_PART_OF = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_NO_DATA = ("thumbs.db", "desktop.ini", "__macosx")  # what systems leave in folders


class _Found(NamedTuple):
    """What a folder holds: pictures of each class, and what was left out, with the reason."""

    classes: dict[str, list[Path]]
    left_out: list[str]


class _How(NamedTuple):
    """How a picture becomes an image."""

    height: int
    width: int
    fit: str
    grey: bool
    background: tuple[int, int, int]
    max_pixels: int


def load_image_folder(
    path: str | os.PathLike[str],
    size: int | tuple[int, int] = 32,
    *,
    fit: str = "cover",
    grey: bool = False,
    background: tuple[int, int, int] = pictures.WHITE,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    subtract_mean: bool = True,
    dtype: DTypeLike = np.float32,
    strict: bool = False,
    max_pixels: int = pictures.MAX_PIXELS,
    workers: int | None = None,
    progress: bool | None = None,
) -> Dataset:
    """Load pictures from a folder that has a folder for each class, as `get_CIFAR10_data` does.

    Parameters
    ----------
    path : path
        Folder with a folder for each class; or with ``train`` and, if you like, ``val`` (or
        ``valid``, ``validation``) and ``test``, each with such folders.
    size : int or tuple of int, optional
        Height and width of the images.
    fit : {"cover", "letterbox"}, optional
        Fill the image with the middle of the picture, or show all of the picture between bars of
        the background. Proportions are kept.
    grey : bool, optional
        Give images of one channel instead of three.
    background : tuple of int, optional
        Red, green and blue, from 0 to 255, behind transparent pixels and of the bars.
    validation, test : float, optional
        The part of each class that is split off the training pictures where there is no such
        folder. A class of three pictures or more gives at least one.
    seed : int, optional
        Another seed splits otherwise. NumPy's global generator is not used.
    subtract_mean : bool, optional
        Subtract the mean of the training images from all images.
    dtype : dtype, optional
        A float type for the images.
    strict : bool, optional
        Raise for the first file that cannot be used, instead of leaving it out with a warning.
    max_pixels : int, optional
        The most pixels of a picture to decode; large JPEGs are decoded at reduced size.
    workers : int, optional
        Threads that decode; by default as many as there are processors.
    progress : bool, optional
        Whether to draw a progress bar on standard error; by default if that is a terminal.

    Returns
    -------
    Dataset
        The dict ``X_train, y_train, X_val, y_val, X_test, y_test``: images (N, 3, H, W) with
        pixels from 0 to 255 less the mean, labels (N,) int64; with the attributes `class_names`,
        `normalization` and `skipped` (a line for each file that was left out).

    Raises
    ------
    FileNotFoundError, NotADirectoryError
        If there is no such folder.
    ValueError
        If there are fewer than two classes, a class has no picture that can be used, the folders
        are of no known form, or the images would not fit into memory; if strict, for every file
        that is no whole picture.

    Notes
    -----
    Classes are numbered in the order of their names as text, so that "10" comes before "2"; names
    are brought into Unicode's composed form (NFC), so that the same folder gives the same names on
    every system. Pictures in folders below a class's folder belong to the class. Hidden files and
    folders, and what systems leave behind (``Thumbs.db``, ``__MACOSX``), are passed over. Links to
    folders are not followed, and links to files only where they stay inside of ``path``. Files
    with the ending of a picture, or with none, are opened; JPEG, PNG, WebP, BMP, GIF and TIFF
    (their first frame), PPM are known by their content. A test folder without classes is left out.

    Each thread writes its images where they belong in the result, so that the peak of memory is
    the result and a few decoded pictures.
    """
    subtract_mean = checks.flag(WHERE, "subtract_mean", subtract_mean)
    strict = checks.flag(WHERE, "strict", strict)
    progress = checks.optional_flag(WHERE, "progress", progress)
    grey = checks.flag(WHERE, "grey", grey)
    root = _existing(checks.path(WHERE, "path", path))
    how = _how(size, fit, grey, background, max_pixels)
    fractions = _fractions(WHERE, validation, test)
    seed = checks.integer(WHERE, "seed", seed, least=0)
    dtype = checks.float_dtype(WHERE, dtype)
    workers = checks.integer(WHERE, "workers", workers or os.cpu_count() or 1, least=1, most=1024)
    folders, left_out = _parts(root)
    found = {part: _classes(folder, root) for part, folder in folders.items()}
    left_out += [line for each in found.values() for line in each.left_out]
    names = _class_names(root, found)
    files = _split(found, names, fractions, seed)
    reader = _Reader(root, how, dtype, workers, progress, strict)
    if strict and left_out:
        raise DataError(f"{WHERE}: {root / left_out[0]}")
    arrays = reader.read(files)
    _require_training(root, arrays["y_train"], names)
    total = sum(len(paths) for paths, _ in files.values()) + len(left_out)
    left_out += reader.broken
    _warn(left_out, total)
    return normalized(arrays, names, subtract_mean, skipped=left_out)


def _existing(root: Path) -> Path:
    """Return the folder, with an error that says what it should hold where it is none."""
    expected = "expected a folder with a folder of pictures for each class"
    if not root.exists():
        raise FileNotFoundError(f"{WHERE}: {root} is not there; {expected}")
    if not root.is_dir():
        raise NotADirectoryError(f"{WHERE}: {root} is no folder; {expected}")
    return root


def _how(size: Any, fit: Any, grey: Any, background: Any, max_pixels: Any) -> _How:
    """Check what describes the images."""
    sizes = checks.sequence(WHERE, "size", size) if np.ndim(size) else [size, size]
    colour = checks.sequence(WHERE, "background", background)
    if len(sizes) != 2 or len(colour) != 3:
        raise ValueError(
            f"{WHERE}: size is {size!r} and background {background!r}; expected a number or"
            " (height, width), and (red, green, blue)"
        )
    height, width = (checks.integer(WHERE, "size", side, least=1, most=2**14) for side in sizes)
    red, green, blue = (checks.integer(WHERE, "background", v, least=0, most=255) for v in colour)
    checks.choice(WHERE, "fit", fit, FITS)
    most = checks.integer(WHERE, "max_pixels", max_pixels, least=1)
    return _How(height, width, fit, grey, (red, green, blue), most)


def _fractions(where: str, validation: Any, test: Any) -> tuple[float, float]:
    """Check the parts that are split off the training data."""
    val = checks.number(where, "validation", validation, 0, 1)
    rest = checks.number(where, "test", test, 0, 1)
    if val + rest >= 1:
        raise ValueError(
            f"{where}: validation is {val} and test {rest}; expected less than 1 together"
        )
    return val, rest


def _parts(root: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the folders of training, validation and test data; one folder may be all."""
    folders = _folders(root)
    known: dict[str, list[str]] = {}
    for name in folders:
        known.setdefault(_PART_OF.get(name.lower(), ""), []).append(name)
    divided = [name for name in known.get("train", []) if _folders(root / name)]
    if not divided:
        if folders and not known.get("") and "train" not in known:
            raise DataError(f"{WHERE}: {root} has {', '.join(folders)} but no train folder")
        return {"train": root}, []
    if "" in known or any(len(names) > 1 for names in known.values()):
        raise DataError(
            f"{WHERE}: {root} has {', '.join(folders[:6])}; expected train, val and test, or a"
            " folder for each class"
        )
    parts = {part: root / names[0] for part, names in known.items()}
    if "test" in parts and not _folders(parts["test"]):
        folder = parts.pop("test")
        return parts, [f"{folder.name}: has no folder for each class, so nobody knows its labels"]
    return parts, []


def _folders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder that are neither hidden nor links, sorted."""
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if entry.is_dir(follow_symlinks=False) and not _is_hidden(entry.name)
        )


def _is_hidden(name: str) -> bool:
    """Tell whether users do not see a file, or did not make it."""
    return name.startswith(".") or name.lower() in _NO_DATA


def _classes(folder: Path, root: Path) -> _Found:
    """Return the pictures of each class in a folder, in the order of their names."""
    found = _Found({}, [])
    for name in _folders(folder):
        composed = unicodedata.normalize("NFC", name)
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
            raise DataError(f"{WHERE}: {root} has a folder named {name!a}; expected readable text")
        if composed in found.classes:
            raise DataError(f"{WHERE}: {folder} has two folders that are both named {composed}")
        found.classes[composed] = sorted(_pictures(folder / name, root, found.left_out))
    with os.scandir(folder) as entries:
        strays = [e.name for e in entries if not e.is_dir() or e.is_symlink()]
    found.left_out.extend(
        f"{_shown(folder / name, root)}: is in no class"
        for name in sorted(strays)
        if not _is_hidden(name)
        and ((folder / name).is_symlink() or Path(name).suffix.lower() in pictures.SUFFIXES)
    )
    return found._replace(classes=dict(sorted(found.classes.items())))


def _pictures(folder: Path, root: Path, left_out: list[str]) -> Iterator[Path]:
    """Yield the files at any depth that may be pictures; note the others."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = Path(entry.path)
            if _is_hidden(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _pictures(path, root, left_out)
            elif reason := _unfit(entry, path, root):
                left_out.append(f"{_shown(path, root)}: {reason}")
            else:
                yield path


def _unfit(entry: os.DirEntry[str], path: Path, root: Path) -> str:
    """Return why a file is not even opened, or nothing."""
    if entry.is_symlink():
        if entry.is_dir():
            return "is a link to a folder"
        if not path.resolve().is_relative_to(root.resolve()):
            return "is a link that leads out of the folder"
    if not entry.is_file():
        return "is no file"
    suffix = path.suffix.lower()
    if suffix and suffix not in pictures.SUFFIXES:
        return "is no picture by its name"
    return ""


def _shown(path: Path, root: Path) -> str:
    """Return a path inside the folder as text that can be printed."""
    return path.relative_to(root).as_posix().encode(errors="backslashreplace").decode()


def _class_names(root: Path, found: dict[str, _Found]) -> tuple[str, ...]:
    """Return the names of the classes, those of the training pictures; each must have some."""
    classes = found["train"].classes
    if len(classes) < 2:
        there = f"only the class {next(iter(classes))}" if classes else "no folders"
        raise DataError(
            f"{WHERE}: {root} has {there}; expected a folder of pictures for each of at least two"
            " classes"
        )
    for name, paths in classes.items():
        if not paths:
            raise DataError(
                f"{WHERE}: the class {name} in {root} has no pictures; expected some, or no folder"
            )
    for part, each in found.items():
        unknown = sorted(each.classes.keys() - classes.keys())
        if unknown:
            raise DataError(
                f"{WHERE}: the {part} folder of {root} has the class {unknown[0]}, which the"
                f" training pictures have not"
            )
    return tuple(classes)


Files = dict[str, tuple[list[Path], np.ndarray]]


def _split(
    found: dict[str, _Found], names: Sequence[str], fractions: tuple[float, float], seed: int
) -> Files:
    """Return the paths and labels of each part; parts without a folder come from training."""
    files: Files = {}
    for part, each in found.items():
        lists = [each.classes.get(name, []) for name in names]
        labels = np.repeat(np.arange(len(names)), [len(paths) for paths in lists])
        files[part] = [path for paths in lists for path in paths], labels
    paths, labels = files["train"]
    wanted = [0.0 if part in files else share for part, share in zip(PARTS[1:], fractions)]
    pieces = split_indices(labels, names, (wanted[0], wanted[1]), seed)
    for part, piece in zip(PARTS, pieces):
        if part == "train" or part not in files:
            files[part] = [paths[index] for index in piece], labels[piece]
    return {part: files[part] for part in PARTS}


class _Reader:
    """Decodes pictures in threads, each straight into its place."""

    def __init__(
        self,
        root: Path,
        how: _How,
        dtype: np.dtype,
        workers: int,
        progress: bool | None,
        strict: bool,
    ) -> None:
        self.root, self.how, self.dtype = root, how, dtype
        self.workers, self.progress, self.strict = workers, progress, strict
        self.broken: list[str] = []
        self._lock = threading.Lock()

    def read(self, files: Files) -> dict[str, np.ndarray]:
        """Return images and labels of all parts, without those that are broken."""
        shape = (1 if self.how.grey else 3, self.how.height, self.how.width)
        total = sum(len(paths) for paths, _ in files.values())
        reserve(WHERE, (total, *shape), self.dtype)  # before the first is decoded
        arrays: dict[str, np.ndarray] = {}
        with pictures.quiet(), _bar(total, self.progress) as bar:
            for part, (paths, labels) in files.items():
                X = reserve(WHERE, (len(paths), *shape), self.dtype)
                good = self._fill(X, paths, bar)
                arrays[f"X_{part}"], arrays[f"y_{part}"] = _kept(X, good), labels[good]
        self.broken.sort()
        return arrays

    def _fill(self, X: np.ndarray, paths: Sequence[Path], bar: Any) -> np.ndarray:
        """Decode each file into its image; return which of them are good."""
        good = np.zeros(len(paths), bool)

        def decode(start: int) -> int:
            for index in range(start, min(start + CHUNK, len(paths))):
                good[index] = self._decode(X[index], paths[index])
            return min(CHUNK, len(paths) - start)

        pool = ThreadPoolExecutor(self.workers)
        try:
            for count in pool.map(decode, range(0, len(paths), CHUNK)):
                bar.update(count)
        finally:
            pool.shutdown(cancel_futures=True)
        return good

    def _decode(self, image: np.ndarray, path: Path) -> bool:
        """Decode one file; tell whether it could be."""
        how = self.how
        shape = (1 if how.grey else 3, how.height, how.width)
        try:
            image[:] = pictures.read_image(
                WHERE, path, shape, how.fit, how.background, how.max_pixels
            )
        except (ValueError, OSError) as error:
            if self.strict:
                raise
            with self._lock:
                self.broken.append(f"{_shown(path, self.root)}: {_reason(error, path)}")
            return False
        return True


def _bar(total: int, progress: bool | None) -> Any:
    """Return a progress bar."""
    from tqdm import tqdm

    disable = None if progress is None else not progress
    return tqdm(total=total, desc="pictures", unit="", disable=disable)


def _reason(error: Exception, path: Path) -> str:
    """Return what is wrong with a file, without its name."""
    return str(error).removeprefix(f"{WHERE}: {path} ")


def _kept(X: np.ndarray, good: np.ndarray) -> np.ndarray:
    """Move the good images together, in place, and return them."""
    places = np.flatnonzero(good)
    for target, source in enumerate(places):
        if target != source:
            X[target] = X[source]
    return X[: len(places)]


def _require_training(root: Path, y: np.ndarray, names: Sequence[str]) -> None:
    """Raise an error for a class of which no training picture is left."""
    counts = np.bincount(y, minlength=len(names))
    if not counts.all():
        name = names[int(np.argmin(counts))]
        raise DataError(
            f"{WHERE}: no training picture of the class {name} in {root} is whole; expected one"
            " at least (strict=True says what is wrong with them)"
        )


def _warn(left_out: Sequence[str], total: int) -> None:
    """Say in one line what was left out."""
    if left_out:
        more = f", and {len(left_out) - NAMED} more" if len(left_out) > NAMED else ""
        warnings.warn(
            f"{WHERE}: left out {len(left_out)} of {total} files:"
            f" {'; '.join(left_out[:NAMED])}{more}",
            stacklevel=3,
        )
