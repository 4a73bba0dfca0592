"""Thousands of damaged files, from a seed: `python mutations.py READER COUNT [SEED]`.

Each is read under a limit of memory while an audit hook watches what Python does: an error that
names the file is right, and so is a result that makes sense.  Anything else is a failure: another
exception, a warning, memory beyond the limit, a program or a connection that is started, a file
opened for writing that is not the reader's own.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Rng = np.random.Generator

EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1)
MAGICS = (
    b"PK\x03\x04", b"\x93NUMPY", b"\x80\x04", b"\x1f\x8b\x08", b"\x89PNG", b"GIF89a", b"\x7fELF",
    b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\xff\xd8\xff", b"BZh9", b"\0" * 8,
)  # fmt: skip
MORE_MEMORY = 512 * 2**20  # bytes of address space beyond what the process has at its start
MOST_TRACED = 24 * 2**20  # bytes that Python and NumPy may hold while they read a small file
MOST_SECONDS = 5.0  # for one file, a generous bound: what hangs takes for ever


def somewhere(data: bytes, rng: Rng) -> int:
    """Return a place in the file, often near its start or its end, where the structure is."""
    place = int(rng.integers(0, len(data)))
    return (place, place, place % 150, len(data) - 1 - place % 150)[rng.integers(4)] % len(data)


def truncated(data: bytes, rng: Rng) -> bytes:
    """Cut the end off: anywhere, after a power of two, or only the last bytes."""
    powers = [2**k for k in range(len(data).bit_length())]
    last = [len(data) - k for k in (1, 2, 4, 22)]
    return data[: max(0, int(rng.choice([*rng.integers(0, len(data), 4), 0, *powers, *last])))]


def bit_flipped(data: bytes, rng: Rng) -> bytes:
    """Flip one bit, or a few."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 4])):
        changed[somewhere(data, rng)] ^= 1 << rng.integers(8)
    return bytes(changed)


def number_set(data: bytes, rng: Rng) -> bytes:
    """Write an extreme number of one to eight bytes, in either byte order, over some place."""
    width = int(rng.choice([1, 2, 4, 8]))
    number = EXTREMES[rng.integers(len(EXTREMES))] & (2 ** (8 * width) - 1)
    place = min(somewhere(data, rng), max(0, len(data) - width))
    piece = number.to_bytes(width, "big" if rng.integers(2) else "little")
    return data[:place] + piece + data[place + width :]


def digits_set(data: bytes, rng: Rng) -> bytes:
    """Write another number over decimal digits, such as a length in a header."""
    runs = list(re.finditer(rb"[0-9]+", data))
    if not runs:
        return bit_flipped(data, rng)
    run = runs[rng.integers(len(runs))]
    number = rng.choice([b"0", b"-1", b"99", b"1000000000000000", b"9" * 30, b"1e9", b"7" * 4])
    return data[: run.start()] + bytes(number) + data[run.end() :]


def block_moved(data: bytes, rng: Rng) -> bytes:
    """Remove, repeat, clear or exchange a block."""
    start, middle, end = sorted(int(i) for i in rng.integers(0, len(data) + 1, 3))
    first, second = data[start:middle], data[middle:end]
    way = rng.integers(4)
    block = (second, first + first + second, bytes(len(first)) + second, second + first)[way]
    return data[:start] + block + data[end:]


def noise_added(data: bytes, rng: Rng) -> bytes:
    """Put random bytes before, into or behind the file."""
    place = (0, len(data), somewhere(data, rng))[rng.integers(3)]
    return data[:place] + rng.bytes(int(rng.choice([1, 3, 64]))) + data[place:]


def magic_changed(data: bytes, rng: Rng) -> bytes:
    """Begin as another kind of file does."""
    magic = MAGICS[rng.integers(len(MAGICS))]
    return magic + data[len(magic) :]


MUTATIONS: tuple[Callable[[bytes, Rng], bytes], ...] = (
    truncated, bit_flipped, number_set, digits_set, block_moved, noise_added, magic_changed,
)  # fmt: skip


def mutants(files: dict[str, bytes], count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Yield so many damaged files, all different, with histories; one in four is damaged twice."""
    rng = np.random.default_rng([231, seed])
    names, seen = list(files), set(files.values())
    for index in itertools.count():
        name = names[index % len(names)]
        data, history = files[name], name
        for _ in range(1 + (rng.random() < 0.25)):
            mutate = MUTATIONS[rng.integers(len(MUTATIONS))]
            data, history = mutate(data, rng) if data else data, f"{history}, {mutate.__name__}"
        if data not in seen:
            seen.add(data)
            yield f"{index}: {history}", data
            if len(seen) == len(names) + count:
                return


class Watch:
    """What happened meanwhile that no reading of a file should do."""

    FORBIDDEN = ("subprocess.", "os.exec", "os.system", "os.posix_spawn", "os.fork", "os.spawn",
                 "socket.", "pickle.", "ctypes.", "os.putenv", "os.chmod", "os.symlink", "os.link",
                 "shutil.", "urllib.", "webbrowser.", "os.kill")  # fmt: skip

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self.seen: list[str] = []
        self.on = False
        sys.addaudithook(self)

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        """Note an event that is forbidden."""
        if not self.on:
            return
        if event == "open":
            writes = args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            bad = writes and self.outside(args[0])
        elif event in ("os.mkdir", "os.rename", "os.remove"):
            # Beneath an open folder a temporary one is removed, in whose place none can be put.
            bad = args[-1] == -1 and self.outside(args[0])
        else:
            bad = event.startswith(self.FORBIDDEN) and event != "shutil.rmtree"
        if bad:
            self.seen.append(f"{event} {args}"[:200])

    def outside(self, path: Any) -> bool:
        """Tell whether a path is not in the reader's own folder."""
        return not os.path.abspath(os.fspath(path)).startswith(self.folder)


def verdict(reader: Any, path: Path, watch: Watch) -> str:
    """Read one file; return 'refused' or 'accepted', or what went wrong."""
    watch.seen.clear()
    watch.on = True
    start = time.perf_counter()
    tracemalloc.reset_peak()
    outcome = attempt(reader, path)
    watch.on = False
    if watch.seen:
        return f"did {watch.seen[:3]}"
    traced = tracemalloc.get_traced_memory()[1]
    if traced > MOST_TRACED:
        return f"held {traced} bytes"
    seconds = time.perf_counter() - start
    return f"took {seconds:.1f} s" if seconds > MOST_SECONDS else outcome


def attempt(reader: Any, path: Path) -> str:
    """Read one file; say what came of it."""
    try:
        result = reader.read(path)
    except (ValueError, OSError) as error:
        if any(isinstance(cause, MemoryError) for cause in causes(error)):
            return f"ran out of memory: {error}"
        return "refused" if named(error, path) else f"does not name the file: {error!r}"
    except BaseException as error:
        return f"raised {error!r}"
    try:
        return "accepted" if reader.check(result) else "accepted, but the result makes no sense"
    except Exception as error:
        return f"accepted, but checking it raised {error!r}"


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and what it came from."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def named(error: BaseException, path: Path) -> bool:
    """Tell whether the message names the file, or one that the reader made of it."""
    return path.name in str(error) or str(path.parent) in str(error)


def try_all(name: str, count: int, seed: int = 0) -> dict[str, Any]:
    """Read so many damaged files; return the figures and the failures."""
    from readers import READERS

    reader = READERS[name]
    files = reader.files()
    figures: dict[str, Any] = {"tried": 0, "refused": 0, "accepted": 0, "failures": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, reader.name)
        for content in files.values():  # good files are accepted, and load what is loaded late
            path.write_bytes(content)
            if not reader.check(reader.read(path)):
                raise SystemExit(f"{name}: the undamaged file is not accepted")
        watch = Watch(Path(folder))
        limit_memory()
        tracemalloc.start()
        for history, data in mutants(files, count, seed):
            path.write_bytes(data)
            found = verdict(reader, path, watch)
            figures["tried"] += 1
            if found in figures:
                figures[found] += 1
            else:
                figures["failures"].append(f"{name} {history} (seed {seed}): {found}")
    return figures


def limit_memory() -> None:
    """Let this process have a limited amount of further memory, where the system can do that."""
    try:
        import resource
    except ModuleNotFoundError:
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    if pages:
        most = pages * resource.getpagesize() + MORE_MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", "cs231n: the compiled extension is missing")
    figures = try_all(sys.argv[1], int(sys.argv[2]), *map(int, sys.argv[3:4]))
    print(json.dumps(figures, indent=1))
    sys.exit(bool(figures["failures"]))
