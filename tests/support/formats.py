"""Small data sets in the forms in which the official ones are handed out, written by the tests."""

import gzip
import struct
import zlib

import numpy as np
from batches import array_pickle, short


def idx_bytes(array):
    """Return an array of bytes as an idx file."""
    return struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_mnist(folder, rng, packed=False, dotted=False, num=(60, 20), side=28):
    """Write the four files; return images and labels of training and test."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for part, count in zip(("train", "t10k"), num):
        X = rng.integers(0, 256, (count, side, side), dtype=np.uint8)
        y = rng.integers(0, 10, count, dtype=np.uint8)
        for kind, array in (("images-idx3", X), ("labels-idx1", y)):
            name = f"{part}-{kind.replace('-', '.') if dotted else kind}-ubyte"
            data = idx_bytes(array)
            (folder / (name + ".gz" if packed else name)).write_bytes(
                gzip.compress(data) if packed else data
            )
        parts += [X, y]
    return parts


def text_list(names):
    """Return the opcodes of a list of Python 2 strings."""
    return b"](" + b"".join(short(name) for name in names) + b"e"


def cifar100_pickle(pixels, fine, coarse):
    """Return a file of CIFAR-100 of the official form: protocol 2, strings of Python 2."""

    def numbers(labels):
        return b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"

    names = [b"picture_s_%06d.png" % number for number in range(len(fine))]
    return (
        b"\x80\x02}q\x01(" + short(b"filenames") + text_list(names)
        + short(b"batch_label") + short(b"training batch 1 of 1")
        + short(b"fine_labels") + numbers(fine) + short(b"coarse_labels") + numbers(coarse)
        + short(b"data") + array_pickle(pixels) + b"u."
    )  # fmt: skip


def cifar100_meta():
    """Return the file meta, with names of our own."""
    fine = [b"fine %d" % number for number in range(100)]
    coarse = [b"coarse %d" % number for number in range(20)]
    return (
        b"\x80\x02}q\x01(" + short(b"fine_label_names") + text_list(fine)
        + short(b"coarse_label_names") + text_list(coarse) + b"u."
    )  # fmt: skip


def write_cifar100(folder, rng, num=(60, 20)):
    """Write train, test and meta; return pixels, fine and coarse labels of training and test."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meta").write_bytes(cifar100_meta())
    parts = []
    for part, count in zip(("train", "test"), num):
        pixels = rng.integers(0, 256, (count, 3072), dtype=np.uint8)
        fine, coarse = rng.integers(0, 100, count), rng.integers(0, 20, count)
        (folder / part).write_bytes(cifar100_pickle(pixels, fine.tolist(), coarse.tolist()))
        parts += [pixels.reshape(-1, 3, 32, 32), fine, coarse]
    return parts


def mat_element(kind, content, order="<"):
    """Return an element of a .mat file, padded as it must be."""
    return struct.pack(order + "2I", kind, len(content)) + content + bytes(-len(content) % 8)


def mat_array(name, array, order="<"):
    """Return a variable: its class, lengths, name (short ones lie in the tag) and numbers."""
    kind, matlab_class = {"u1": (2, 9), "f8": (9, 6)}[array.dtype.str[1:]]
    tag = struct.pack(order + "2H",
                      *((1, len(name)) if order == "<" else (len(name), 1)))  # fmt: skip
    parts = (
        mat_element(6, struct.pack(order + "2I", matlab_class, 0), order)
        + mat_element(5, struct.pack(f"{order}{array.ndim}i", *array.shape), order)
        + tag + name.encode().ljust(4, b"\0")
        + mat_element(kind, array.astype(array.dtype.newbyteorder(order)).tobytes("F"), order)
    )  # fmt: skip
    return mat_element(14, parts, order)


def mat_bytes(rng, num, compress=True, order="<"):
    """Return a file of SVHN, and its images (num, 3, 32, 32) and digits."""
    X = rng.integers(0, 256, (num, 3, 32, 32), dtype=np.uint8)
    y = rng.integers(0, 10, num)
    labels = np.where(y == 0, 10, y).astype(np.uint8)[:, None]
    variables = [
        mat_array("X", X.transpose(2, 3, 1, 0), order),
        mat_array("y", labels, order),
    ]
    if compress:
        packed = [zlib.compress(variable) for variable in variables]
        variables = [struct.pack(order + "2I", 15, len(data)) + data for data in packed]
    head = b"MATLAB 5.0 MAT-file, written by a test".ljust(124)
    return head + (b"\0\1IM" if order == "<" else b"\1\0MI") + b"".join(variables), X, y


def write_svhn(folder, rng, num=(60, 20)):
    """Write the two files; return images and digits of training and test."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for part, count in zip(("train", "test"), num):
        data, X, y = mat_bytes(rng, count)
        (folder / f"{part}_32x32.mat").write_bytes(data)
        parts += [X, y]
    return parts
