"""Reading files whose names somebody else may have chosen: regular ones only, of bounded size.

In a folder from a stranger a name may be a pipe that never answers, a device without end, or a
file of a terabyte that is one hole.
"""

from __future__ import annotations

import errno
import io
import os
import stat
from pathlib import Path

from cs231n.core import checks

__all__ = ["NO_SURPRISE", "bytes_there", "open_regular", "read_bytes", "read_text"]

# Flags with which no opening follows a link, waits for another process or takes a terminal.
NO_SURPRISE = (
    getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
_MAX_TEXT = 2**20  # bytes of a configuration or a table
_MAX_HOLES = 100_000  # that are looked for in a file


def open_regular(where: str, path: Path) -> io.FileIO:
    """Open a regular file for reading; links are followed to one.

    Parameters
    ----------
    where : str
        Name of the calling function, for messages.
    path : Path

    Returns
    -------
    file : io.FileIO

    Raises
    ------
    OSError
        If there is no such file, it is a folder, or it cannot be opened.
    ValueError
        If it is a pipe, a socket or a device.
    """
    flags = os.O_RDONLY | NO_SURPRISE & ~getattr(os, "O_NOFOLLOW", 0)
    try:
        checks.regular_file(where, path)  # before: opening alone may do something to a device
        if path.is_dir():  # which some systems do not even open
            raise IsADirectoryError(f"{where}: {path} is a folder; expected a file")
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        raise FileNotFoundError(f"{where}: there is no file {path}") from None
    except OSError as error:
        raise explained(error, f"{where}: cannot read {path}") from error
    file = io.FileIO(descriptor)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # after: it may be another one by now
        file.close()
        raise ValueError(f"{where}: {path} is a pipe, a socket or a device; expected a file")
    return file


def read_bytes(where: str, path: Path, most: int) -> bytes:
    """Return the content of a regular file.

    Parameters
    ----------
    where : str
        Name of the calling function, for messages.
    path : Path
    most : int
        Bytes that it may have.

    Returns
    -------
    content : bytes

    Raises
    ------
    OSError
        As `open_regular`.
    ValueError
        If it is no regular file, or larger.
    """
    with open_regular(where, path) as raw, io.BufferedReader(raw) as file:
        if os.fstat(raw.fileno()).st_size > most:
            raise ValueError(f"{where}: {path} has more than {most} bytes")
        try:
            content = file.read(most + 1)  # files of the kernel say 0, and a file may grow
        except OSError as error:
            raise explained(error, f"{where}: cannot read {path}") from error
    if content is None:
        raise ValueError(f"{where}: {path} does not give its content; expected a file")
    if len(content) > most:
        raise ValueError(f"{where}: {path} has more than {most} bytes")
    return content


def read_text(where: str, path: Path, most: int = _MAX_TEXT) -> str:
    """Return the content of a regular text file in UTF-8.

    Parameters
    ----------
    where : str
        Name of the calling function, for messages.
    path : Path
    most : int
        Bytes that it may have.

    Returns
    -------
    text : str

    Raises
    ------
    OSError
        As `open_regular`.
    ValueError
        If it is no regular file, larger, or not in UTF-8.
    """
    content = read_bytes(where, path, most)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: {path} is not text in UTF-8 ({error})") from error


def bytes_there(descriptor: int) -> int:
    """Return how many bytes of an open file are there: its size without its holes.

    Holes cost nothing on the disk but memory when they are read.
    """
    size = os.fstat(descriptor).st_size
    if not hasattr(os, "SEEK_DATA"):
        return size
    found = end = 0
    try:
        for _ in range(_MAX_HOLES):
            start = os.lseek(descriptor, end, os.SEEK_DATA)
            end = os.lseek(descriptor, start, os.SEEK_HOLE)
            found += end - start
    except OSError as error:
        if error.errno != errno.ENXIO:  # that is: no data from here on
            found = size
    os.lseek(descriptor, 0, os.SEEK_SET)
    return found


def explained(error: OSError, what: str) -> OSError:
    """Return an error of the same kind that says first what was tried, and why it failed."""
    if error.strerror is None:
        return error
    told = OSError(error.errno, "").__class__(f"{what} ({error.strerror})")
    told.errno = error.errno
    return told
