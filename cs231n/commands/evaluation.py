"""What a network gets right and wrong: measured on images, kept in a file, told in a table."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cs231n.classifiers import Network
from cs231n.commands.surroundings import printable
from cs231n.files import storage
from cs231n.layers import softmax_loss

__all__ = ["FILE", "PICTURES", "Evaluation", "evaluated", "read", "table", "write"]

FILE = "evaluation.npz"  # in a run folder
_BATCH = 100
PICTURES = 24  # mistakes whose pictures are kept
_MATRIX = 15  # classes of which a terminal shows a confusion matrix
_LINES = 10  # mistakes, and confusions, that a terminal shows
_MOST_TEXT = 2**24  # characters of a file's description
_MOST_NAME = 1000


class Evaluation(NamedTuple):
    """Labels, and what a network made of the images.

    Parameters
    ----------
    title : str
        What the images are.
    class_names : tuple of str
        Name of each score of the network.
    y, predicted : ndarray of shape (N,)
        Labels of the images, and those that the network gives.
    probability : ndarray of shape (N,)
        That the network gives to its label.
    loss : float
        Mean of the cross-entropy, without regularisation.
    pictures : ndarray of shape (K, C, H, W) or None
        uint8, of the first `mistakes`; None where none may be kept.
    """

    title: str
    class_names: tuple[str, ...]
    y: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray
    loss: float
    pictures: np.ndarray | None = None

    @property
    def accuracy(self) -> float:
        """Part of the images that were recognised."""
        return float(np.mean(self.predicted == self.y))

    def mistakes(self, count: int) -> np.ndarray:
        """Return the indices of mistakes, those first of which the network is most certain."""
        wrong = np.flatnonzero(self.predicted != self.y)
        return wrong[np.argsort(-self.probability[wrong], kind="stable")][:count]

    def per_class(self) -> list[tuple[int, int, int]]:
        """Return label, number of images and of those recognised, for each class with images."""
        size = len(self.class_names)
        images = np.bincount(self.y, minlength=size)
        right = np.bincount(self.y[self.predicted == self.y], minlength=size)
        return [(int(c), int(images[c]), int(right[c])) for c in np.flatnonzero(images)]

    def pairs(self) -> list[tuple[int, int, int]]:
        """Return label, predicted label and how often, for each pair that occurs.

        Among 10,000 classes a matrix would have 100 million numbers.
        """
        size = len(self.class_names)
        codes = self.y.astype(np.int64) * size + self.predicted
        found, counts = np.unique(codes, return_counts=True)
        return [(int(code) // size, int(code) % size, int(n)) for code, n in zip(found, counts)]

    def confusions(self) -> list[tuple[int, int, int]]:
        """Return the pairs of different labels, the most frequent first."""
        return sorted((p for p in self.pairs() if p[0] != p[1]), key=lambda pair: -pair[2])

    def matrix(self) -> np.ndarray:
        """Return the confusion matrix (C, C): a row for each class, a column for each answer."""
        size = len(self.class_names)
        matrix = np.zeros((size, size), np.int64)
        for label, predicted, count in self.pairs():
            matrix[label, predicted] = count
        return matrix

    def content(self) -> dict[str, Any]:
        """Return everything but the pictures as JSON can hold it."""
        name = self.class_names
        return {
            "images": len(self.y),
            "title": self.title,
            "accuracy": self.accuracy,
            "loss": self.loss,
            "classes": [
                {"class": name[label], "images": images, "accuracy": right / images}
                for label, images, right in self.per_class()
            ],
            "confusion": [
                {"class": name[label], "predicted": name[predicted], "images": count}
                for label, predicted, count in self.pairs()
            ],
            "mistakes": [
                {"image": number, "class": true, "predicted": given, "probability": certainty}
                for number, true, given, certainty in self.told_mistakes(PICTURES)
            ],
        }

    def told_mistakes(self, count: int) -> Iterator[tuple[int, str, str, float]]:
        """Yield number, class, answer and probability of the most confident mistakes."""
        for index in self.mistakes(count):
            true, given = self.class_names[self.y[index]], self.class_names[self.predicted[index]]
            yield int(index), true, given, float(self.probability[index])


def evaluated(
    model: Network,
    X: np.ndarray,
    y: np.ndarray,
    title: str,
    normalized: bool,
    with_pictures: bool = True,
) -> Evaluation:
    """Measure what a network gets right and wrong.

    Parameters
    ----------
    model : Network
        With `inputs`.
    X : ndarray of shape (N, C, H, W)
        Images.
    y : ndarray of shape (N,)
        Their labels.
    title : str
        What they are.
    normalized : bool
        Whether the images are normalised as in training; else they are here.
    with_pictures : bool
        Whether pictures of mistakes may be kept.

    Returns
    -------
    evaluation : Evaluation
    """
    assured = _inputs(model)
    predicted, probability = np.empty(len(X), np.int32), np.empty(len(X), np.float32)
    loss = 0.0
    for start in range(0, len(X), _BATCH):
        place = slice(start, start + _BATCH)
        part = X[place] if normalized else assured.normalization.apply(X[place], model.dtype)
        scores = model.loss(part.reshape(-1, *model.input_shape))
        loss += softmax_loss(scores, y[place])[0] * len(part)
        best = predicted[place] = scores.argmax(axis=1)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        probability[place] = powers[np.arange(len(part)), best] / powers.sum(axis=1)
    names = tuple(assured.name(label) for label in range(model.num_classes))
    found = Evaluation(title, names, y.astype(np.int32), predicted, probability, loss / len(X))
    if not with_pictures:
        return found
    shown = X[found.mistakes(PICTURES)]
    if normalized:
        shown = assured.normalization.undo(shown)
    pixels = np.clip(np.rint(shown * (255 / assured.normalization.white)), 0, 255)
    return found._replace(pictures=pixels.astype(np.uint8))


def _inputs(model: Network) -> Any:
    """Return what a network knows of its images."""
    if model.inputs is None:
        raise ValueError(
            "the network does not know what its images were; expected one that was saved after"
            " training on a data set of load_data, or model.remember(data) before model.save"
        )
    return model.inputs


def write(path: Path, found: Evaluation) -> None:
    """Write an evaluation to a file."""
    text = {"title": found.title, "class_names": found.class_names, "loss": found.loss}
    arrays = {name: getattr(found, name) for name in ("y", "predicted", "probability")}
    if found.pictures is not None:
        arrays["pictures"] = found.pictures
    storage.write_npz(path, {"evaluation": np.array(json.dumps(text)), **arrays})


def read(path: Path) -> Evaluation:
    """Return the evaluation in a file, once every value is one that `write` may have written.

    Parameters
    ----------
    path : Path

    Returns
    -------
    evaluation : Evaluation

    Raises
    ------
    OSError
        If there is no such file, or it cannot be read.
    ValueError
        If it is damaged.
    """
    arrays = storage.read_npz(path)
    try:
        return _checked(arrays)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged ({error}); expected what train wrote") from error


def _checked(arrays: Mapping[str, np.ndarray]) -> Evaluation:
    """Return the evaluation that the arrays of a file are."""
    text = arrays["evaluation"]
    if text.shape != () or text.dtype.kind != "U" or text.dtype.itemsize > 4 * _MOST_TEXT:
        raise ValueError("its description is no text")
    content = json.loads(text.item())
    title, names, loss = content["title"], content["class_names"], content["loss"]
    texts = [title, *names] if isinstance(names, list) and names else [None]
    if not all(isinstance(one, str) and len(one) <= _MOST_NAME for one in texts):
        raise ValueError("its title or its class names are no names")
    if not isinstance(loss, float):
        raise ValueError(f"its loss is {loss!r:.40}")
    y, predicted, probability = (arrays[name] for name in ("y", "predicted", "probability"))
    for labels in (y, predicted):
        if labels.ndim != 1 or labels.dtype.kind != "i" or labels.shape != probability.shape:
            raise ValueError("its labels are none")
        if not labels.size or labels.min() < 0 or labels.max() >= len(names):
            raise ValueError("its labels are beyond the classes")
    if probability.dtype.kind != "f" or not ((probability >= 0) & (probability <= 1)).all():
        raise ValueError("its probabilities are none")
    found = Evaluation(title, tuple(names), y, predicted, probability, loss)
    return found._replace(pictures=_checked_pictures(arrays.get("pictures"), found))


def _checked_pictures(pictures: np.ndarray | None, found: Evaluation) -> np.ndarray | None:
    """Return pictures of mistakes, as many as there are mistakes at most."""
    if pictures is None:
        return None
    if pictures.ndim != 4 or pictures.dtype != np.uint8 or 0 in pictures.shape[1:]:
        raise ValueError("its pictures are none")
    if len(pictures) != len(found.mistakes(PICTURES)):
        raise ValueError("its pictures are not those of its mistakes")
    return pictures


def table(found: Evaluation) -> str:
    """Return an evaluation as text for a terminal."""
    lines = [
        f"{len(found.y)} {printable(found.title)}",
        f"accuracy {found.accuracy:.4f}, loss {found.loss:.4f}",
    ]
    return "\n".join([*lines, *_classes(found), *_confusions(found), *_mistakes(found)])


def _classes(found: Evaluation) -> Iterator[str]:
    """Yield a line for each class, the worst first where there are too many to show."""
    rows, often = found.per_class(), dict[int, tuple[int, int]]()
    for label, predicted, count in found.confusions():
        often.setdefault(label, (predicted, count))
    if len(rows) > 2 * _MATRIX:
        rows = sorted(rows, key=lambda row: row[2] / row[1])[: 2 * _MATRIX]
        yield f"\nthe {len(rows)} classes that are recognised least often"
    else:
        yield ""
    names = {label: _short(found.class_names[label]) for label, _, _ in rows}
    width = max(len("class"), *map(len, names.values()))
    yield f"{'class':<{width}}  images  accuracy  most often taken for"
    for label, images, right in rows:
        line = f"{names[label]:<{width}}  {images:>6}  {right / images:>8.3f}"
        if label in often:
            predicted, count = often[label]
            line += f"  {_short(found.class_names[predicted])} ({count})"
        yield line


def _confusions(found: Evaluation) -> Iterator[str]:
    """Yield the confusion matrix or, where it is too wide, the most frequent confusions."""
    if len(found.class_names) > _MATRIX:
        yield "\nmost frequent confusions"
        for label, predicted, count in found.confusions()[:_LINES]:
            true, given = (_short(found.class_names[one]) for one in (label, predicted))
            yield f"{count:>6}  {true} taken for {given}"
        return
    names = [_short(name, 12) for name in found.class_names]
    matrix = found.matrix()
    width = max(map(len, names))
    columns = [max(len(name), len(str(n))) for name, n in zip(names, matrix.max(axis=0))]
    heads = "  ".join(f"{name:>{size}}" for name, size in zip(names, columns))
    yield "\nconfusion matrix: a row for each class, a column for each answer"
    yield f"{'':<{width}}  {heads}"
    for name, row in zip(names, matrix):
        cells = "  ".join(f"{n or '.':>{size}}" for n, size in zip(row, columns))
        yield f"{name:<{width}}  {cells}"


def _mistakes(found: Evaluation) -> Iterator[str]:
    """Yield a line for each of the most confident mistakes."""
    yield "\nmost confident mistakes" if found.accuracy < 1 else "\nno mistakes"
    for number, true, given, certainty in found.told_mistakes(_LINES):
        yield f"{certainty:.3f}  image {number}: {_short(true)} taken for {_short(given)}"


def _short(name: str, most: int = 30) -> str:
    """Return a name as a terminal shows it, cut where it is very long."""
    name = printable(name)
    return name if len(name) <= most else f"{name[: most - 1]}…"
