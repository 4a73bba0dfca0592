"""Every function that reads a file, with good files to damage and what it may raise for bad ones.

A new reader gets an entry in `READERS`; the mutation tests and the fuzzer then cover it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
from batches import batch_pickle, random_batch
from formats import cifar100_pickle, idx_bytes, mat_bytes
from PIL import Image

from cs231n import data_utils, image_utils
from cs231n.classifiers import ConvNet, FullyConnectedNet, load_model
from cs231n.data import cifar10, cifar100, download, idx, pictures, sets
from cs231n.files import storage
from cs231n.training import checkpoint


class Reader(NamedTuple):
    """A function of a path, the name that its files have, and some of them as bytes by name.

    Reading gives what it read; `check` fails where that is none of what may come out.
    """

    name: str
    read: Callable[[Path], Any]
    files: Callable[[], dict[str, bytes]]
    check: Callable[[Any], bool]


def saved(save: Callable[..., Any], *args: Any, **kwargs: Any) -> bytes:
    """Return what a function writes into its first argument, a file."""
    file = io.BytesIO()
    save(file, *args, **kwargs)
    return file.getvalue()


def npz_files() -> dict[str, bytes]:
    """Return archives of arrays as NumPy writes them."""
    arrays = {
        "W1": np.arange(60.0).reshape(3, 4, 5).T,
        "b1": np.ones(3, np.float32),
        "text": np.array("epoch 3"),
        "step": np.array(7),
        "none": np.empty((0, 4)),
    }
    return {"stored": saved(np.savez, **arrays), "deflated": saved(np.savez_compressed, **arrays)}


def only_plain_arrays(arrays: dict[str, np.ndarray]) -> bool:
    """Tell whether these are arrays of numbers and text, with memory behind every element."""
    return all(
        array.dtype.kind in "biufcSU" and array.copy().tolist() is not None
        for array in arrays.values()
    )


def network() -> FullyConnectedNet:
    """Return a small network that keeps running statistics."""
    return FullyConnectedNet([4], input_dim=6, num_classes=3, normalization="batchnorm")


def network_files() -> dict[str, bytes]:
    """Return what a trained network saves."""
    model = network()
    model.loss(np.ones((5, 6)), np.zeros(5, int))
    with tempfile.TemporaryDirectory() as folder:
        return {"network": model.save(Path(folder) / "model").read_bytes()}


def load_network(path: Path) -> FullyConnectedNet:
    """Load a network, and see to it that a refused file leaves it as it was."""
    model = network()
    before = {name: array.copy() for name, array in model.params.items()}
    try:
        model.load(path)
    except BaseException:
        for name, array in model.params.items():
            np.testing.assert_array_equal(array, before[name])
        raise
    return model


def works(model: FullyConnectedNet) -> bool:
    """Tell whether a network that was loaded gives scores."""
    with np.errstate(all="ignore"):
        return model.loss(np.ones((2, 6))).shape == (2, 3)


def model_files() -> dict[str, bytes]:
    """Return files that describe a network, and the data it was trained on."""
    X, y = np.arange(180, dtype=np.uint8).reshape(15, 3, 4), np.arange(15) % 3
    model = ConvNet("conv2-pool-fc3", (1, 3, 4), normalization="batchnorm")
    model.remember(data_utils.data_from_arrays(X, y, class_names=["cat", "dog", "emu"]))
    with tempfile.TemporaryDirectory() as folder:
        return {"described": model.save(Path(folder) / "model").read_bytes()}


def predicts(model: ConvNet) -> bool:
    """Tell whether a network that was loaded says something about a picture."""
    with np.errstate(all="ignore"):
        return 0 <= model.predict(np.ones((1, 3, 4), np.uint8))[0] < model.num_classes


def checkpoint_files() -> dict[str, bytes]:
    """Return a checkpoint with every kind of content."""
    state = {
        "params": {"W1": np.arange(6.0).reshape(2, 3), "b1": np.ones(3, np.float32)},
        "history": [0.5, float("nan"), 3],
        "place": ("epoch", 3, None, True, np.float32(2)),
    }
    with tempfile.TemporaryDirectory() as folder:
        return {"checkpoint": checkpoint.save(Path(folder, "run"), state).read_bytes()}


def is_undamaged(state: dict[str, Any]) -> bool:
    """Tell whether a checkpoint holds what was saved: its digest lets nothing else through."""
    return repr(state["place"]) == "('epoch', 3, None, True, np.float32(2.0))" and (
        state["params"]["W1"].tolist() == [[0, 1, 2], [3, 4, 5]]
    )


def batch_files() -> dict[str, bytes]:
    """Return small batches as Python 2 and Python 3 pickle them."""
    pixels, labels = random_batch(np.random.default_rng(3), 1)
    content = {"labels": labels, "data": pixels, "filenames": ["picture.png"]}
    return {
        "Python 2": batch_pickle(pixels, labels),
        "protocol 3": pickle.dumps(content, 3),
        "protocol 4": pickle.dumps(content, 4),
    }


def is_batch(read: tuple[np.ndarray, np.ndarray]) -> bool:
    """Tell whether these are images and labels of CIFAR-10."""
    X, y = read
    return X.shape == (len(y), 32, 32, 3) and set(y.tolist()) <= set(range(10))


def imagenet_files() -> dict[str, bytes]:
    """Return archives like imagenet_val_25.npz, with a label map in a pickle."""
    arrays = {
        "X": np.arange(2 * 5 * 5 * 3, dtype=np.uint8).reshape(2, 5, 5, 3),
        "y": np.array([3, 5]),
        "label_map": np.array({0: "tench", 999: "toilet tissue"}),
    }
    return {"stored": saved(np.savez, **arrays), "deflated": saved(np.savez_compressed, **arrays)}


def load_imagenet(path: Path) -> Any:
    """Let the loader find its file in the folder of this one."""
    with mock.patch.object(data_utils, "data_folders", return_value=[path.parent]):
        return data_utils.load_imagenet_val()


def is_imagenet(read: tuple[np.ndarray, np.ndarray, dict[int, str]]) -> bool:
    """Tell whether these are images, labels and names."""
    X, y, names = read
    return X.ndim == 4 and y.shape == (len(X),) and isinstance(names, dict)


def image_files() -> dict[str, bytes]:
    """Return a small picture in each format."""
    down, along = np.mgrid[:12, :15]
    pixels = np.stack([20 * down, 17 * along, down + along], axis=-1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a picture"
    picture = Image.fromarray(pixels)
    options: dict[str, dict[str, Any]] = {"PNG": {"exif": exif}, "JPEG": {"exif": exif}}
    files = {name: saved(picture.save, name, **options.get(name, {})) for name in pictures.FORMATS}
    return {**files, "TIFF, LZW": saved(picture.save, "TIFF", compression="tiff_lzw")}


MOST_PIXELS = 10**6  # the real limit, too, is looked at before a picture is decoded


def load_image(path: Path) -> np.ndarray:
    """Load a picture, with a limit that an unlucky bit does not turn into seconds of decoding."""
    return image_utils.load_image(path, max_pixels=MOST_PIXELS)


def is_picture(pixels: np.ndarray) -> bool:
    """Tell whether these are RGB pixels."""
    return pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8


MEMBERS = {name: name.encode() * 50 for name in cifar10.MD5}


def archive_files() -> dict[str, bytes]:
    """Return archives, not yet compressed, with the names that CIFAR-10 has."""
    return {name: saved(tar_of, form) for name, form in FORMS.items()}


FORMS = {"ustar": tarfile.USTAR_FORMAT, "GNU": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def tar_of(file: io.BytesIO, form: int) -> None:
    """Write the members into a tar file of this form, with one long name for its headers."""
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for name, data in {**MEMBERS, "n" * (90 if form == 0 else 150): b"x"}.items():
            member = tarfile.TarInfo(f"{cifar10.FOLDER}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def unpack(path: Path) -> Path:
    """Unpack an archive that lies in the folder, as if its hash were the known one."""
    data = gzip.compress(path.read_bytes(), compresslevel=1)
    path.write_bytes(data)
    return unpack_compressed(path, data)


def unpack_compressed(path: Path, data: bytes | None = None) -> Path:
    """Unpack a compressed archive; only its own folder may get files."""
    data = path.read_bytes() if data is None else data
    digests = {name: hashlib.md5(content).hexdigest() for name, content in MEMBERS.items()}
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        (Path(folder) / download.ARCHIVE).write_bytes(data)
        known = hashlib.sha256(data).hexdigest()
        try:
            target = download.download_cifar10(folder, [], known, False, digests)
        except download.DataError as error:
            if download.ARCHIVE not in str(error):
                raise RuntimeError("an error that does not name the archive") from error
            raise
        found = {file.name: file.read_bytes() for file in target.iterdir()}
        assert sorted(file.name for file in Path(folder).iterdir()) == sorted(
            (download.ARCHIVE, cifar10.FOLDER)
        )
    return found


def is_unpacked(found: dict[str, bytes]) -> bool:
    """Tell whether exactly the known files are there."""
    return found == MEMBERS


def compressed_files() -> dict[str, bytes]:
    """Return an archive as it is handed out."""
    return {"tar.gz": gzip.compress(archive_files()["ustar"], mtime=0)}


TABLES = {
    "wnids.txt": b"n01\nn02\n",
    "words.txt": b"n01\tgoldfish\nn02\tnewt, eft\n",
    "val/val_annotations.txt": b"a.png\tn01\t0\t0\t9\t9\nb.png\tn02\t0\t0\t9\t9\n",
}


def load_tables(path: Path) -> dict[str, Any]:
    """Load a Tiny ImageNet one of whose tables is the file, told by the file's first line."""
    which, _, content = path.read_bytes().partition(b"\n")
    root = path.parent / "folder" / path.name
    if not root.exists():
        for place in ("train/n01/images", "train/n02/images", "val/images", "test/images"):
            (root / place).mkdir(parents=True)
        for place in ("train/n01/images/a.png", "val/images/a.png", "val/images/b.png"):
            (root / place).write_bytes(PICTURE)
    for name, good in TABLES.items():
        changed = which.decode("latin-1") == name
        (root / name).write_bytes(content if changed else good)
    return data_utils.load_tiny_imagenet(root)


def table_files() -> dict[str, bytes]:
    """Return the three tables behind their names."""
    return {name: name.encode() + b"\n" + content for name, content in TABLES.items()}


def is_tiny_imagenet(data: dict[str, Any]) -> bool:
    """Tell whether every label has a word and every image a label."""
    classes = len(data["class_names"])
    return all(len(data[f"X_{part}"]) == len(data[f"y_{part}"]) for part in ("train", "val")) and (
        max(data["y_val"], default=0) < classes
    )


def idx_files() -> dict[str, bytes]:
    """Return a small idx file, plain and gzipped."""
    data = idx_bytes(np.arange(60, dtype=np.uint8).reshape(3, 4, 5))
    return {"plain": data, "gzip": gzip.compress(data, mtime=0)}


def is_idx(found: np.ndarray) -> bool:
    """Tell whether these are images."""
    return found.dtype == np.uint8 and found.ndim == 3 and found.size > 0


def cifar100_files() -> dict[str, bytes]:
    """Return a small file of CIFAR-100."""
    pixels, labels = random_batch(np.random.default_rng(3), 1)
    return {"train": cifar100_pickle(pixels, labels, labels)}


def is_cifar100(found: tuple[np.ndarray, np.ndarray]) -> bool:
    """Tell whether these are images and fine labels."""
    X, y = found
    return X.shape == (len(y), 3, 32, 32) and set(y.tolist()) <= set(range(100))


def mat_files() -> dict[str, bytes]:
    """Return small files of SVHN, as MATLAB writes them."""
    rng = np.random.default_rng(3)
    return {str(packed): mat_bytes(rng, 2, packed)[0] for packed in (False, True)}


def is_svhn(found: tuple[np.ndarray, np.ndarray]) -> bool:
    """Tell whether these are images and digits."""
    X, y = found
    return X.shape == (len(y), 3, 32, 32) and set(y.tolist()) <= set(range(10))


def data_files() -> dict[str, bytes]:
    """Return arrays as Keras writes them."""
    X, y = np.arange(240, dtype=np.uint8).reshape(15, 4, 4), np.arange(15) % 3
    return {"keras": saved(np.savez, x_train=X, y_train=y, x_test=X[:6], y_test=y[:6])}


def is_dataset(data: Any) -> bool:
    """Tell whether every image has a label, and every label a name."""
    return all(
        len(data[f"X_{part}"]) == len(data[f"y_{part}"])
        and data[f"y_{part}"].max(initial=0) < len(data.class_names)
        and np.isfinite(data[f"X_{part}"]).all()
        for part in ("train", "val", "test")
    )


PICTURE = saved(Image.new("RGB", (64, 64), (9, 8, 7)).save, "PNG")

READERS = {
    "npz": Reader("a.npz", storage.read_npz, npz_files, only_plain_arrays),
    "network": Reader("model.npz", load_network, network_files, works),
    "model": Reader("best_model.npz", load_model, model_files, predicts),
    "checkpoint": Reader("run.npz", checkpoint.load, checkpoint_files, is_undamaged),
    "batch": Reader("data_batch_1", data_utils.load_CIFAR_batch, batch_files, is_batch),
    "imagenet": Reader("imagenet_val_25.npz", load_imagenet, imagenet_files, is_imagenet),
    "image": Reader("x.png", load_image, image_files, is_picture),
    "tar": Reader("archive", unpack, archive_files, is_unpacked),
    "tar.gz": Reader("archive", unpack_compressed, compressed_files, is_unpacked),
    "idx": Reader("x-ubyte", lambda path: idx.read_idx("f", path, 3), idx_files, is_idx),
    "cifar100": Reader(
        "train", lambda path: cifar100.read_part(path, "fine"), cifar100_files, is_cifar100
    ),
    "mat": Reader("x.mat", lambda path: sets.read_svhn("f", path), mat_files, is_svhn),
    "arrays": Reader("data.npz", data_utils.load_npz, data_files, is_dataset),
    "tables": Reader("tiny", load_tables, table_files, is_tiny_imagenet),
}
