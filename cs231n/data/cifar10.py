"""Which files make up CIFAR-10, what they must hash to, and where they may lie."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import platformdirs

__all__ = [
    "BATCH_BYTES",
    "FIX",
    "FOLDER",
    "MD5",
    "TEST_BATCHES",
    "TRAINING_BATCHES",
    "data_folders",
    "find_cifar10",
    "is_altered",
    "md5",
    "not_there",
]

FOLDER = "cifar-10-batches-py"
TRAINING_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_BATCHES = ("test_batch",)
MD5 = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
}
BATCH_BYTES = {
    "data_batch_1": 31035704,
    "data_batch_2": 31035320,
    "data_batch_3": 31035999,
    "data_batch_4": 31035696,
    "data_batch_5": 31035623,
    "test_batch": 31035526,
}
FIX = "download CIFAR-10 again: python -m cs231n download"


def data_folders() -> list[Path]:
    """Return the folders that may hold data sets, in the order in which they are searched.

    The last one is the user's own, where downloads go that nobody has named a place for.
    """
    package = Path(__file__).resolve().parents[1]
    named = os.environ.get("CS231N_DATA")
    here = Path.cwd()
    folders = [package.parent / "datasets", package / "datasets"]
    folders += [here / "datasets", here / "cs231n" / "datasets"]
    folders.append(platformdirs.user_data_path("cs231n", appauthor=False) / "datasets")
    return list(dict.fromkeys([Path(named).expanduser(), *folders] if named else folders))


def find_cifar10(folder: str | os.PathLike[str] | None = None) -> Path:
    """Return the folder of batches: the named one (or the one in it), else the first found.

    A name of one of the usual places stands for all of them: notebooks name
    ``cs231n/datasets/cifar-10-batches-py`` wherever the download went.
    """
    roots = data_folders() if folder is None else [Path(folder).expanduser()]
    if folder is not None and _is_usual(roots[0]):
        roots += data_folders()
    places = [place for root in roots for place in (root / FOLDER, root)]
    for place in places:
        if any((place / name).is_file() for name in BATCH_BYTES):
            return place
    raise FileNotFoundError(not_there("CIFAR-10", f"{FOLDER}, or its files,", roots))


def not_there(title: str, files: str, folders: Sequence[Path], download: str = "") -> str:
    """Return a line on files that are in none of the folders, and one on how to get them."""
    looked = ", ".join(map(str, dict.fromkeys(folders)))
    return (
        f"{title} is not there: looked for {files} in {looked}{_on_named_folder()}\n"
        f"Get it with: python -m cs231n download{download}, or let the environment variable"
        " CS231N_DATA name the folder that holds it."
    )


def _on_named_folder() -> str:
    """Return what is to be said of CS231N_DATA: that it names no folder, if it does so."""
    named = os.environ.get("CS231N_DATA")
    if not named or Path(named).expanduser().is_dir():
        return ""
    return f"; CS231N_DATA is {named!r}, which is no folder"


def _is_usual(folder: Path) -> bool:
    """Whether a folder is one of those that are searched, or the batches' folder in it."""
    root = folder.absolute()
    root = Path(os.path.normpath(root.parent if root.name == FOLDER else root))
    return root in data_folders()


def md5(path: Path) -> str:
    """Return the MD5 of a file in hexadecimal: a mark of official files, no defence."""
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def is_altered(path: Path) -> bool:
    """Whether a file has the name and the size of an official batch, but not its contents."""
    return BATCH_BYTES.get(path.name) == path.stat().st_size and md5(path) != MD5[path.name]
