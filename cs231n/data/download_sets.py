"""Download the other data sets whose hashes are known, into the folders where torchvision looks."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from cs231n.core import checks
from cs231n.data import cifar100, idx
from cs231n.data.cifar10 import data_folders
from cs231n.data.download import (
    ARCHIVE,
    CIFAR10_URLS,
    Packed,
    default_root,
    download_cifar10,
    fetch_archive,
    fetch_files,
    is_complete,
)

__all__ = ["DOWNLOADS", "download_data"]

CIFAR100 = Packed("CIFAR-100", "cifar-100-python.tar.gz", cifar100.FOLDER)


class _Set(NamedTuple):
    """A data set of files: title, folder, addresses that end in a slash, and the MD5 of each."""

    title: str
    folder: str
    urls: Sequence[str]
    md5: Mapping[str, str]
    archive_hash: str = ""  # of the one archive that holds the files, if there is one


def _idx_md5(*digests: str) -> dict[str, str]:
    """Return the MD5 of each of the four gzipped files."""
    return {f"{name}.gz": digest for name, digest in zip(idx.FILES, digests)}


# The hashes are those that torchvision publishes.
DOWNLOADS = {
    "cifar100": _Set(
        CIFAR100.title,
        CIFAR100.folder,
        ("https://www.cs.toronto.edu/~kriz/",),
        cifar100.MD5,
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    ),
    "mnist": _Set(
        "MNIST",
        idx.FOLDERS["mnist"][0],
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        _idx_md5(
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    ),
    "fashion-mnist": _Set(
        "Fashion-MNIST",
        idx.FOLDERS["fashion-mnist"][0],
        (
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        ),
        _idx_md5(
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
    "svhn": _Set(
        "SVHN",
        "SVHN",
        ("http://ufldl.stanford.edu/housenumbers/",),
        {
            "train_32x32.mat": "e26dedcc434d2e4c54c9b2d4a06d8373",
            "test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3",
        },
    ),
}
_NAMES = ("cifar10", *DOWNLOADS)


def download_data(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    urls: Sequence[str] | None = None,
    progress: bool | None = None,
) -> Path:
    """Download a data set unless a good copy is already there.

    Parameters
    ----------
    name : {"cifar10", "cifar100", "mnist", "fashion-mnist", "svhn"}
        Which of them.
    folder : path, optional
        Folder of data sets, in which one of the set is made (``cifar-100-python``, ``MNIST/raw``,
        ``FashionMNIST/raw``, ``SVHN``), where `load_data` and torchvision find it. Defaults to one
        that has the set, else to the folder of CIFAR-10's download.
    urls : sequence of str, optional
        Addresses, each ending in a slash, behind which the files lie, tried in turn; by default
        the official ones and their mirrors.
    progress : bool, optional
        Whether to draw a progress bar on standard error; by default if that is a terminal.

    Returns
    -------
    pathlib.Path
        The folder of the files.

    Raises
    ------
    DownloadError
        If no address gave a file with the known hash; says what each one did.
    DataError
        If an archive does not hold the files it should.
    OSError
        If the folder cannot be written; names it.
    """
    where = "download_data"
    progress = checks.optional_flag(where, "progress", progress)
    checks.choice(where, "name", name, _NAMES)
    root = None if folder is None else checks.path(where, "folder", folder)
    if name == "cifar10":
        places = CIFAR10_URLS if urls is None else _addresses(where, urls, ARCHIVE)
        return download_cifar10(root, places, progress=progress)
    wanted = DOWNLOADS[name]
    target = (_home(wanted) if root is None else root) / wanted.folder
    bases = wanted.urls if urls is None else urls
    if not wanted.archive_hash:
        places = _addresses(where, bases, "")
        return fetch_files(where, wanted.title, target, places, progress, wanted.md5)
    places = _addresses(where, bases, CIFAR100.archive)
    return fetch_archive(where, CIFAR100, target, places, wanted.archive_hash, progress, wanted.md5)


def _addresses(where: str, bases: Sequence[str], name: str) -> list[str]:
    """Return the addresses of a file."""
    bases = [bases] if isinstance(bases, str) else checks.sequence(where, "urls", bases)
    return [f"{base}{name}" for base in bases]


def _home(wanted: _Set) -> Path:
    """Return the folder that has the set, else the one where data sets belong."""
    for root in data_folders():
        if is_complete(root / wanted.folder, wanted.md5):
            return root
    return default_root()
