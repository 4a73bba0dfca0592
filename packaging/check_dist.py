"""Check what `make_dist.py` made: look into it, install it, use it from another folder.

    python packaging/check_dist.py [--quick]

Each wheel and the sdist, with and without a compiler, goes into a fresh environment, in which the
main job and a sample of the tests run on the installed package: the wheel with kernels with the
oldest versions of what it needs, the others with the newest, and on the other versions of Python
that are found; the sdist, once compiled, passes all its tests.  `--quick` makes the job and the
sample small, and leaves out what compiles anew: the wheel with kernels was made from the sdist.
Two are tried at a time.
"""

from __future__ import annotations

import email
import fnmatch
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from make_dist import DIST, UV, find_python

HERE = Path(__file__).resolve().parent
COMPILED = ("cs231n/im2col_cython.*.so", "cs231n/kernels/native.*.so")
# What a wheel may hold, and what it may not even if that would allow it.
ALLOWED = (
    *("cs231n/*.py", "cs231n/py.typed", *COMPILED),
    *("cs231n/commands/recipes/*.txt", "cs231n/commands/recipes/measured.csv"),
    *("cs231n-*.dist-info/METADATA", "cs231n-*.dist-info/WHEEL", "cs231n-*.dist-info/RECORD"),
    *("cs231n-*.dist-info/top_level.txt", "cs231n-*.dist-info/entry_points.txt"),
    *("cs231n-*.dist-info/LICENSE", "cs231n-*.dist-info/licenses/LICENSE"),
    "cs231n-*.dist-info/sboms/auditwheel.cdx.json",
)
FORBIDDEN = ("cs231n/setup.py", "*/tests/*", "*.pyx", "*/csrc/*")
NEEDED = (
    *("cs231n/layers.py", "cs231n/py.typed", "cs231n/commands/train/options.py"),
    *("cs231n/commands/recipes/quick.txt", "cs231n/commands/recipes/measured.csv"),
)
IN_SDIST = (
    *("setup.py", "pyproject.toml", "LICENSE", "Makefile", "tests/conftest.py"),
    *("tests/layers/known_answers.json", "cs231n/kernels/native.pyx"),
    *("cs231n/kernels/csrc/all.h", "docs/architecture.svg", "cs231n/setup.py", "kitten.jpg"),
)
MOST = 5e6  # bytes of a wheel
SAMPLE = (
    *("tests/layers/test_layers.py", "tests/classifiers/test_networks.py"),
    *("tests/layers/test_known_answers.py", "tests/training/test_optim.py"),
)
QUICK_SAMPLE = SAMPLE[:1]
NOT_INSTALLED = "not-the-installed-one"  # the sdist's package, out of the way of the installed one
QUICK_JOB = ("--num-training", "500", "--epochs", "1")
NEWER = ("3.12", "3.13", "3.14")  # than 3.11, for which the stable interface is


class Trial(NamedTuple):
    """One installation: what, with which options and variables, and whether it has kernels."""

    title: str
    artefact: Path
    compiled: bool
    options: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    python: str = sys.executable
    whole: bool = False  # whether all of the sdist's tests are run, beside its sources


def main(arguments: Sequence[str]) -> int:
    """Run all checks; one that fails ends them."""
    quick = "--quick" in arguments
    sdist, compiled, pure = (find(pattern) for pattern in ("*.tar.gz", "*abi3*.whl", "*any.whl"))
    for wheel in (compiled, pure, *other_wheels()):
        check_contents(wheel, wheel != pure)
        check_metadata(wheel)
    check_sdist(sdist)
    everything = (sdist, compiled, pure, *other_wheels())
    run([sys.executable, "-m", "twine", "check", "--strict", *map(str, everything)])
    trials = [*all_trials(sdist, compiled, pure), *([] if quick else more_trials(sdist, compiled))]
    with ThreadPoolExecutor(2) as pool:
        for line in pool.map(lambda trial: try_out(trial, sdist, quick), trials):
            print(line, flush=True)
    print("cs231n: what would be released is in order")
    return 0


def all_trials(sdist: Path, compiled: Path, pure: Path) -> list[Trial]:
    """Return the installations that nothing is compiled for."""
    oldest = ("--constraint", str(HERE / "oldest.txt"))
    return [
        Trial("the pure wheel, with the newest packages", pure, False),
        Trial("the wheel with kernels, with the oldest packages", compiled, True, options=oldest),
        Trial("the sdist, without a compiler", sdist, False, variables=(("CC", "/bin/false"),)),
    ]


def more_trials(sdist: Path, compiled: Path) -> Iterator[Trial]:
    """Yield the installation that compiles, and those for other versions of Python."""
    required = (("CS231N_REQUIRE_EXTENSION", "1"),)
    yield Trial("the sdist, with a compiler", sdist, True, variables=required, whole=True)
    for wheel in other_wheels():
        version = "3." + wheel.name.split("-")[3].removeprefix("cp3")  # such as 3.10, and 3.14t
        python = find_python(version) or version
        yield Trial(f"its own wheel on Python {version}", wheel, True, python=python)
    for version in NEWER:
        if sys.version.startswith(f"{version}."):
            continue
        if python := find_python(version):
            title = f"the wheel with kernels on Python {version}"
            yield Trial(title, compiled, True, python=python)
        else:
            print(f"cs231n: nothing is tried on Python {version}, which is not found here")


def other_wheels() -> list[Path]:
    """Return the wheels that are for one version of Python."""
    return [path for path in sorted(DIST.glob("*-cp*.whl")) if "-abi3-" not in path.name]


def find(pattern: str) -> Path:
    """Return the one file in `dist` of a pattern."""
    found = sorted(DIST.glob(pattern))
    if len(found) != 1:
        raise SystemExit(f"check_dist: {DIST} has {len(found)} of {pattern}; run make dist first")
    return found[0]


def check_contents(wheel: Path, compiled: bool) -> None:
    """Compare the names in a wheel with what it may and must hold."""
    needed = (*NEEDED, *(COMPILED if compiled else ()))
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
    odd = [name for name in names if not matches(name, ALLOWED) or matches(name, FORBIDDEN)]
    missing = [pattern for pattern in needed if not fnmatch.filter(names, pattern)]
    extra = [name for name in names if name.endswith(".so") and not matches(name, needed)]
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


def try_out(trial: Trial, sdist: Path, quick: bool) -> str:
    """Install in a fresh environment, use what was installed from another folder, and tell."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name, "work")
        python = install(trial, Path(name))
        unpack_tests(sdist, work)
        script = "from cs231n import fast_layers; print(fast_layers.backend())"
        kernels = run([python, "-W", "ignore", "-c", script], work).strip()
        if (kernels == "numpy") == trial.compiled:
            raise SystemExit(f"check_dist: {trial.title}: the kernels are {kernels}")
        run([python, "-m", "cs231n", "info"], work)
        job = QUICK_JOB if quick else () if trial.compiled else ("--num-training", "2000")
        run([python, "-m", "cs231n", "train", "--output", "run", *job], work)
        tests = QUICK_SAMPLE if quick else SAMPLE
        if trial.whole:
            put_sources_back(work, python)
            tests = ("-m", "not long", "tests")
        told = run([python, "-m", "pytest", "-q", *tests], work).splitlines()[-1]
        took = f"{time.monotonic() - began:.0f} s in all"
        return f"{trial.title}: {kernels}; {told}; {took}"


def install(trial: Trial, folder: Path) -> str:
    """Install in a fresh environment in a folder; return the Python there."""
    run([*UV, "venv", "--quiet", "--python", trial.python, str(folder / "venv")])
    python = str(folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python")
    pip = [*UV, "pip", "install", "--quiet", "--python", python]
    # uv keeps what it builds of a file by the file's path: a copy is built by this trial alone,
    # even where another one builds the same sdist without a compiler at this moment.
    own = Path(shutil.copy(trial.artefact, folder))
    # Variables of the build stay out of what follows.
    run([*pip, *trial.options, f"cs231n[test] @ {own.as_uri()}"], variables=trial.variables)
    return python


def unpack_tests(sdist: Path, work: Path) -> None:
    """Unpack the sdist without its package, so that only the installed one is found."""
    shutil.unpack_archive(sdist, work.parent)
    (work.parent / sdist.name.removesuffix(".tar.gz")).rename(work)
    (work / "cs231n").rename(work.parent / NOT_INSTALLED)


def put_sources_back(work: Path, python: str) -> None:
    """Put the package beside its tests again, with the modules that its installation compiled."""
    code = "import cs231n; print(cs231n.__path__[0])"
    installed = Path(run([python, "-W", "ignore", "-c", code], work).strip())
    sources = (work.parent / NOT_INSTALLED).rename(work / "cs231n")
    for module in installed.rglob("*.so"):
        shutil.copy(module, sources / module.relative_to(installed))


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
