"""Fuzz a reader of files for so many seconds: `make fuzz`, or `python fuzz.py READER SECONDS`.

atheris steers the changes by the branches that they reach in the package, in zipfile, tarfile and
Pillow.  It is installed for this only: `make fuzz` does it.  The first failure is written to
`crash-...` in the working directory, and repeated by `python fuzz.py READER 0 FILE`.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["cs231n", "zipfile", "tarfile", "PIL"]):
    import zipfile  # noqa: F401

    import PIL.Image  # noqa: F401
    from mutations import attempt, limit_memory
    from readers import READERS


def main(name: str, seconds: int, *files: str) -> None:
    """Fuzz one reader, from its good files on."""
    reader = READERS[name]
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        for index, content in enumerate(reader.files().values()):
            (corpus / str(index)).write_bytes(content)
        path = Path(folder, reader.name)

        def one(data: bytes) -> None:
            path.write_bytes(data)
            found = attempt(reader, path)
            if found not in ("refused", "accepted"):
                raise RuntimeError(found)

        limits = "-max_len=20000", "-timeout=10", "-rss_limit_mb=2048"
        options = [f"-max_total_time={seconds}", *limits]
        atheris.Setup([sys.argv[0], *options, *(files or [str(corpus)])], one)
        limit_memory()
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
