"""Check what `make_dist.py` made: look into it, install it, use it from another folder.

    python packaging/check_dist.py [WORD ...]    # only what is titled with one of the words

Each wheel and the sdist, with and without a compiler, goes into a fresh environment, in which the
main job and a sample of the tests run on the installed package; the wheel with kernels with the
oldest versions of what it needs, the others with the newest.  Two are tried at a time.
"""

from __future__ import annotations

import email
import fnmatch
import os
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
DIST = HERE.parent / "dist"

# What a wheel may hold, and what it may not even if that would allow it.
ALLOWED = (
    *("cs231n/*.py", "cs231n/py.typed", "cs231n/*.abi3.so"),
    *("cs231n-*.dist-info/METADATA", "cs231n-*.dist-info/WHEEL", "cs231n-*.dist-info/RECORD"),
    *("cs231n-*.dist-info/top_level.txt", "cs231n-*.dist-info/entry_points.txt"),
    *("cs231n-*.dist-info/LICENSE", "cs231n-*.dist-info/licenses/LICENSE"),
    "cs231n-*.dist-info/sboms/auditwheel.cdx.json",
)
FORBIDDEN = ("cs231n/setup.py", "*/test*", "*.pyx", "*/csrc/*")
NEEDED = ("cs231n/layers.py", "cs231n/py.typed", "cs231n/commands/train/options.py")
COMPILED = ("cs231n/im2col_cython.abi3.so", "cs231n/kernels/native.abi3.so")
IN_SDIST = (
    *("setup.py", "pyproject.toml", "LICENSE", "Makefile", "tests/conftest.py"),
    *("tests/layers/known_answers.json", "cs231n/kernels/native.pyx"),
    *("cs231n/kernels/csrc/all.h", "docs/architecture.svg", "cs231n/setup.py"),
)
MOST = 5e6  # bytes of a wheel
SAMPLE = (
    *("tests/layers/test_layers.py", "tests/layers/test_known_answers.py"),
    *("tests/training/test_optim.py", "tests/classifiers/test_networks.py"),
)


class Trial(NamedTuple):
    """One installation: what, with which options and variables, and whether it has kernels."""

    title: str
    artefact: Path
    compiled: bool
    options: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()


def main(words: Sequence[str]) -> int:
    """Run all checks; one that fails ends them."""
    sdist, compiled, pure = (find(pattern) for pattern in ("*.tar.gz", "*abi3*.whl", "*any.whl"))
    for wheel in (compiled, pure):
        check_contents(wheel, COMPILED if wheel == compiled else ())
        check_metadata(wheel)
    check_sdist(sdist)
    run([sys.executable, "-m", "twine", "check", "--strict", *map(str, (sdist, compiled, pure))])
    trials = all_trials(sdist, compiled, pure)
    chosen = [trial for trial in trials if not words or any(word in trial.title for word in words)]
    with ThreadPoolExecutor(2) as pool:
        for line in pool.map(lambda trial: try_out(trial, sdist), chosen):
            print(line, flush=True)
    print(f"cs231n: what would be released is in order ({len(chosen)} of {len(trials)} tried)")
    return 0


def all_trials(sdist: Path, compiled: Path, pure: Path) -> list[Trial]:
    """Return all installations, those that compile first, for they take longest."""
    oldest = ("--constraint", str(HERE / "oldest.txt"))
    required = (("CS231N_REQUIRE_EXTENSION", "1"),)
    return [
        Trial("the sdist, with a compiler", sdist, True, (), required),
        Trial("the wheel with kernels, with the oldest packages", compiled, True, oldest),
        Trial("the pure wheel, with the newest packages", pure, False),
        Trial("the sdist, without a compiler", sdist, False, (), (("CC", "/bin/false"),)),
    ]


def find(pattern: str) -> Path:
    """Return the one file in `dist` of a pattern."""
    found = sorted(DIST.glob(pattern))
    if len(found) != 1:
        raise SystemExit(f"check_dist: {DIST} has {len(found)} of {pattern}; run make dist first")
    return found[0]


def check_contents(wheel: Path, compiled: Iterable[str]) -> None:
    """Compare the names in a wheel with what it may and must hold."""
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    odd = [name for name in names if not matches(name, ALLOWED) or matches(name, FORBIDDEN)]
    missing = [name for name in (*NEEDED, *compiled) if name not in names]
    extra = [name for name in names if name.endswith(".so") and name not in compiled]
    if odd or missing or extra or wheel.stat().st_size > MOST:
        raise SystemExit(
            f"check_dist: {wheel.name} of {wheel.stat().st_size} bytes holds {odd + extra}, and"
            f" lacks {missing}"
        )
    print(f"{wheel.name}: {len(names)} files, all of them expected")


def matches(name: str, patterns: Iterable[str]) -> bool:
    """Whether a name fits one of the patterns."""
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def check_metadata(wheel: Path) -> None:
    """See to it that the metadata say who, under what licence, and for what."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = fnmatch.filter(archive.namelist(), "*.dist-info/METADATA")
        data = email.message_from_bytes(archive.read(name))
    for field in ("Author", "License", "Project-URL", "Classifier", "Requires-Python", "Keywords"):
        if not data.get(field) and not data.get(f"{field}-Expression"):
            raise SystemExit(f"check_dist: the metadata of {wheel.name} lack {field}")
    if "Typing :: Typed" not in data.get_all("Classifier", []):
        raise SystemExit(f"check_dist: {wheel.name} does not say that it is typed")


def check_sdist(sdist: Path) -> None:
    """See to it that the sdist holds what the tests need, and nothing that was built."""
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    missing = [name for name in IN_SDIST if name not in names]
    built = fnmatch.filter(names, "*.so") + fnmatch.filter(names, "cs231n/kernels/native.c")
    if missing or built:
        raise SystemExit(f"check_dist: {sdist.name} lacks {missing}, and holds {built}")


def try_out(trial: Trial, sdist: Path) -> str:
    """Install in a fresh environment, and use what was installed from another folder."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        run([sys.executable, "-m", "venv", str(scratch / "venv")])
        python = str(scratch / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        tools = ["pytest>=8", "hypothesis>=6", "pytest-xdist>=3.6"]
        # Variables of the build stay out of the runs below.
        run([*pip, *trial.options, str(trial.artefact), *tools], variables=trial.variables)
        work = scratch / "work"
        unpack_tests(sdist, work)
        script = "from cs231n import fast_layers; print(fast_layers.backend())"
        kernels = run([python, "-W", "ignore", "-c", script], work).strip()
        if (kernels == "numpy") == trial.compiled:
            raise SystemExit(f"check_dist: {trial.title}: the kernels are {kernels}")
        run([python, "-m", "cs231n", "info"], work)
        job = ["--output", "run", *(() if trial.compiled else ("--num-training", "2000"))]
        run([python, "-m", "cs231n", "train", *job], work)
        tests = run([python, "-m", "pytest", "-q", *SAMPLE], work)
        took = f"{time.monotonic() - began:.0f} s in all"
        return f"{trial.title}: {kernels}; {tests.splitlines()[-1]}; {took}"


def unpack_tests(sdist: Path, work: Path) -> None:
    """Unpack the sdist without its package, so that only the installed one is found."""
    with tarfile.open(sdist) as archive:
        archive.extractall(work.parent, filter="data")
    (work.parent / sdist.name.removesuffix(".tar.gz")).rename(work)
    (work / "cs231n").rename(work.parent / "not-the-installed-one")


def run(
    command: list[str], folder: Path | None = None, variables: Iterable[tuple[str, str]] = ()
) -> str:
    """Run a command in a clean environment; return what it prints, or end with it if it fails."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CS231N_", "PYTHONPATH"))
    }
    done = subprocess.run(
        command, cwd=folder, env={**kept, **dict(variables)}, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(
            f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}\ncheck_dist: failed: {' '.join(command)}"
        )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
