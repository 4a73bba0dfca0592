"""What a stranger may put in the place of a file: links, pipes, devices, folders, holes."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["KINDS", "plant"]

KINDS = ("link", "link to nothing", "hard link", "pipe", "socket", "device", "folder", "hole")


@contextmanager
def plant(kind: str, path: Path, victim: Path) -> Iterator[None]:
    """Put one of these in the place of a file; links lead to the victim."""
    if kind == "socket":
        # The address of a socket is short, and temporary folders have long names.
        folder = os.open(path.parent, os.O_RDONLY)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{folder}/{path.name}")
            os.close(folder)
            yield
        return
    if kind in ("link", "link to nothing"):
        path.symlink_to(victim)
    elif kind == "hard link":
        os.link(victim, path)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(2**40)
    yield
