"""Attacks on the files wing from outside: `python attack.py [SECONDS] [SEED]`, for each attack.

Writers that all believe to be process 1 meet in one file; writers are killed; links, pipes,
sockets, devices, folders and holes stand where a file should; arrays have any name.  Each attack
returns what it did and a list of failures, which is empty.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from plants import KINDS, plant

from cs231n.files import lock, regular, storage

Figures = dict[str, Any]
MOST_SECONDS = 10  # for one call, a generous bound: what hangs takes for ever
MORE_MEMORY = 2**30  # bytes of address space beyond what the process has at its start
LENGTHS = (1, 1_000, 200_000)  # of what is written, in bytes


def content(number: int, length: int) -> bytes:
    """Return bytes that are whole if all are equal and their first line tells the length."""
    return b"%d\n" % length + bytes([number % 256]) * length


def is_whole(data: bytes) -> bool:
    """Tell whether these are the bytes of one writer, all of them."""
    head, _, body = data.partition(b"\n")
    return head.isdigit() and len(body) == int(head) and len(set(body)) == 1


def write_something(path: Path, rng: random.Random) -> None:
    """Write a file in one of the ways that there are."""
    number, length = rng.randrange(256), rng.choice(LENGTHS)
    if path.suffix == ".npz":
        storage.write_npz(path, {"x": np.full(length, number), "sum": np.array(number * length)})
    else:
        storage.write_bytes(path, content(number, length))


def read_something(path: Path) -> bool:
    """Read such a file; tell whether it is whole."""
    if path.suffix == ".npz":
        found = storage.read_npz(path)
        return int(found["x"].sum()) == int(found["sum"])
    return is_whole(storage.read_bytes("attack", path, 2**20))


def one_id(folder: Path, rng: random.Random, seconds: float) -> Figures:
    """Let three threads and three processes, all of them process 1, write two files at once."""
    names = [folder / "a.npz", folder / "b.bin"]
    failures: list[str] = []
    reads, writes = 0, [0] * 3

    def write(index: int, own: random.Random) -> None:
        try:
            while time.monotonic() < end:
                write_something(own.choice(names), own)
                writes[index] += 1
        except Exception as error:
            failures.append(f"writing: {error!r}")

    with mock.patch("os.getpid", return_value=1), writing(names, rng, 3) as processes:
        end = time.monotonic() + seconds
        threads = [
            threading.Thread(target=write, args=(index, random.Random(rng.random())))
            for index in range(3)
        ]
        for thread in threads:
            thread.start()
        while time.monotonic() < end:
            path = names[reads % 2]
            try:
                if path.exists() and not read_something(path):
                    failures.append(f"{path.name} is of two writers")
            except (OSError, ValueError) as error:
                failures.append(f"reading: {error!r}")
            reads += 1
        for thread in threads:
            thread.join()
        failures += [f"a process ended with {p.returncode}" for p in processes if p.poll()]
    storage.sweep(folder)
    failures += [f"left over: {path.name}" for path in folder.glob(".*")]
    return {"reads": reads, "writes of threads": sum(writes), "failures": failures}


@contextmanager
def writing(
    names: list[Path], rng: random.Random, number: int
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Let so many processes write files while the body runs, then kill them wherever they are."""
    words = [sys.executable, __file__, "write"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    processes = [
        subprocess.Popen(
            [*words, str(rng.random()), *map(str, names)], env=environment, stdout=subprocess.PIPE
        )
        for _ in range(number)
    ]
    try:
        for process in processes:
            process.stdout.readline()  # each has written something
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def write_for_ever(seed: str, names: list[str]) -> None:
    """Write files until killed, and say once that it has begun: the body of a child."""
    rng = random.Random(seed)
    with mock.patch("os.getpid", return_value=1):
        write_something(Path(names[0]), rng)
        print(flush=True)
        while True:
            write_something(Path(rng.choice(names)), rng)


def kills(folder: Path, rng: random.Random, seconds: float) -> Figures:
    """Kill writers at any moment: what they leave is whole, and the next writer clears it up."""
    path, end = folder / "a.npz", time.monotonic() + seconds
    failures: list[str] = []
    rounds = parts = 0
    while time.monotonic() < end or (parts == 0 and rounds < 20):
        with writing([path], rng, 2):
            time.sleep(rng.random() / 10)
        parts += len(list(folder.glob(".*")))
        if not read_something(path):
            failures.append("a killed writer left a file that is not whole")
        write_something(path, rng)
        failures += [f"left over: {part.name}" for part in folder.glob(".*")]
        rounds += 1
    return {"kills": 2 * rounds, "parts left and removed": parts, "failures": failures}


def read_text(path: Path) -> str:
    """Read a configuration."""
    return regular.read_text("attack", path)


def locked(path: Path) -> None:
    """Take a lock and give it back."""
    with lock.hold(path, "the place"):
        pass


def draw(path: Path) -> None:
    """Write what stands for a figure."""
    figure = mock.Mock()
    figure.savefig = lambda file, **options: file.write(b"picture")
    storage.write_figure(path, figure)


USES: dict[str, Callable[[Path], Any]] = {
    "read_npz": storage.read_npz,
    "read_text": read_text,
    "write_npz": lambda path: storage.write_npz(path, {"x": np.ones(3)}),
    "write_text": lambda path: storage.write_text(path, "text"),
    "write_figure": draw,
    "lock": locked,
}


def strangers(folder: Path, rng: random.Random, seconds: float) -> Figures:
    """Put what a stranger may leave where each use of a file looks for it."""
    end, failures, counts = time.monotonic() + seconds, [], {"done": 0, "refused": 0}
    victim = folder / "victim"
    cases = [(use, kind) for use in USES for kind in KINDS]
    with little_memory():
        for index, (use, kind) in enumerate(endless(cases, rng)):
            if index >= len(cases) and time.monotonic() > end:
                break
            place = folder / str(index)
            place.mkdir()
            victim.unlink(missing_ok=True)
            if kind != "link to nothing":
                victim.write_bytes(b"precious")
            with plant(kind, place / "a.npz", victim):
                outcome = attempt(USES[use], place / "a.npz")
            if outcome in counts:
                counts[outcome] += 1
            else:
                failures.append(f"{use} of a {kind}: {outcome}")
            if victim.exists() != (kind != "link to nothing"):
                failures.append(f"{use} of a {kind} made or removed the victim")
            elif victim.exists() and victim.read_bytes() != b"precious":
                failures.append(f"{use} of a {kind} wrote over the victim")
    return {**counts, "failures": failures}


def endless(cases: list[Any], rng: random.Random) -> Iterator[Any]:
    """Yield the cases again and again, each time in another order."""
    while True:
        rng.shuffle(cases)
        yield from cases


@contextmanager
def little_memory() -> Iterator[None]:
    """Let the process have no more than MORE_MEMORY beyond what it has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + MORE_MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def attempt(use: Callable[[Path], Any], path: Path) -> str:
    """Use a file; say what came of it."""

    def stop(*_: object) -> None:
        raise TimeoutError("it hangs")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, MOST_SECONDS)
    try:
        try:
            use(path)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except TimeoutError:
        return "hangs"
    except (OSError, ValueError) as error:
        named = path.name in str(error) and "[Errno" not in str(error)
        return "refused" if named else f"an error that does not say what: {error}"
    except BaseException as error:
        return f"raised {error!r}"
    finally:
        signal.signal(signal.SIGALRM, previous)
    return "done"


LETTERS = (
    "a",
    "A",
    "b",
    ".",
    "..",
    "/",
    "\\",
    "\0",
    "",
    " ",
    "\n",
    "ä",
    "\U0001f600",
    "\ud800",
    "~",
)
WORDS = (
    "file", "allow_pickle", "FILE", ".npy", "x.npy", "/etc/passwd", "../../x", "C:\\x", "x" * 300,
)  # fmt: skip


def name_of(rng: random.Random) -> Any:
    """Return a name for an array, seldom a good one."""
    way = rng.randrange(8)
    if way == 0:
        return rng.choice([3, None, b"x", ("a",)])
    if way == 1:
        return rng.choice("xé\0") * rng.choice([999, 1000, 1001, 70_000])
    if way < 4:
        return rng.choice(WORDS)
    return "".join(rng.choices(LETTERS, k=rng.randrange(5)))


def load(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file as NumPy reads them."""
    with np.load(path) as archive:
        return {name: archive[name] for name in archive.files}


def names(folder: Path, rng: random.Random, seconds: float) -> Figures:
    """Write arrays of any name: all come back, to NumPy too, or the name is refused."""
    end, failures, counts = time.monotonic() + seconds, [], {"done": 0, "refused": 0}
    for index in itertools.count():
        if index >= 300 and time.monotonic() > end:
            break
        arrays = {name_of(rng): np.array(rng.random()) for _ in range(rng.randrange(1, 4))}
        try:
            path = storage.write_npz(folder / "names", arrays)
        except (TypeError, ValueError) as error:
            told = any(repr(name)[1:40] in str(error) for name in arrays)
            counts["refused"] += 1
            failures += [] if told else [f"{arrays}: {error}"]
            continue
        except Exception as error:
            failures.append(f"{arrays}: {error!r}")
            continue
        for read in (storage.read_npz, load):
            try:
                found = read(path)
            except ValueError as error:
                found = error
            if found != arrays:
                failures.append(f"{arrays} became {found}")
        counts["done"] += 1
    return {**counts, "failures": failures}


ATTACKS: dict[str, Callable[[Path, random.Random, float], Figures]] = {
    "one id": one_id,
    "kills": kills,
    "strangers": strangers,
    "names": names,
}


def run(name: str, seconds: float, seed: int = 0) -> Figures:
    """Run an attack in a folder of its own for so many seconds."""
    with tempfile.TemporaryDirectory() as folder:
        return ATTACKS[name](Path(folder), random.Random(seed), seconds)


def main(words: list[str]) -> int:
    """Run all attacks; return 1 if one of them got through."""
    if words[:1] == ["write"]:
        write_for_ever(words[1], words[2:])
    seconds, seed = float((words or ["60"])[0]), int((words[1:] or ["0"])[0])
    figures = {name: run(name, seconds, seed) for name in ATTACKS}
    print(json.dumps(figures, indent=2))
    return int(any(each["failures"] for each in figures.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
