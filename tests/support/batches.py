"""Files of CIFAR-10 batches in the official form, written by the tests."""

import struct

import numpy as np

BATCHES = ("data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5")


def short(text):
    """Return the opcode of a Python 2 string."""
    return b"U" + bytes([len(text)]) + text


def array_pickle(pixels, module=b"numpy.core.multiarray"):
    """Return the opcodes of a uint8 array as NumPy under Python 2 wrote them."""
    rows, columns = pixels.shape
    return (
        b"c" + module + b"\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85U\x01b\x87Rq\x09"
        b"(K\x01J" + struct.pack("<i", rows) + b"J" + struct.pack("<i", columns) + b"\x86"
        b"cnumpy\ndtype\nq\x0aU\x02u1K\x00K\x01\x87Rq\x0b"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        b"T" + struct.pack("<I", pixels.nbytes) + pixels.tobytes() + b"tb"
    )


def batch_pickle(pixels, labels, module=b"numpy.core.multiarray"):
    """Return a batch file of the official form: protocol 2, strings of Python 2."""
    marks = b"".join(b"K" + bytes([label]) for label in labels)
    return (
        b"\x80\x02}q\x01(" + short(b"batch_label") + b"q\x02" + short(b"testing batch 1 of 1")
        + short(b"labels") + b"q\x04]q\x05(" + marks + b"e"
        + short(b"data") + b"q\x06" + array_pickle(pixels, module) + b"u."
    )  # fmt: skip


def random_batch(rng, num):
    """Return pixels (num, 3072) and a list of labels."""
    pixels = rng.integers(0, 256, (num, 3072), dtype=np.uint8)
    return pixels, rng.integers(0, 10, num).tolist()


def write_folder(folder, rng, num=12):
    """Write six small batches; return the pixels and labels of the training and test images."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for name in (*BATCHES, "test_batch"):
        pixels, labels = random_batch(rng, num)
        (folder / name).write_bytes(batch_pickle(pixels, labels))
        parts.append((pixels.reshape(-1, 3, 32, 32), labels))
    X = np.concatenate([images for images, _ in parts[:5]])
    y = np.concatenate([labels for _, labels in parts[:5]])
    return X, y, *parts[5]
