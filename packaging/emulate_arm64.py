"""Build the kernels for 64-bit Arm, and run the tests of agreement on them under emulation.

    python packaging/emulate_arm64.py [PYTEST-ARGUMENT ...]

For Debian and what descends from it, with the packages gcc-aarch64-linux-gnu and qemu-user-static
installed; without them it says so and succeeds.  The Python of the distribution and NumPy for Arm
are fetched into `build/arm64` once, and nothing is installed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
BUILD = TOP / "build" / "arm64"
ROOT, SITE, TREE = BUILD / "root", BUILD / "site", BUILD / "tree"
CC, QEMU = "aarch64-linux-gnu-gcc", "qemu-aarch64-static"
DEBIAN = ("python3-minimal", "libpython3-stdlib", "libpython3-dev", "libstdc++6", "zlib1g")
PACKAGES = ("numpy", "matplotlib", "imageio", "Pillow", "pooch", "tqdm", "filelock", "platformdirs")
TESTS = (
    *("tests/layers/test_fast_layers.py", "-k", "agree and not numpy and not layout"),
    *("-x", "-q", "-p", "no:cacheprovider"),
)
CHECK = "from cs231n.kernels import backend; assert backend.available()[0] == 'neon'"


def main(arguments: list[str]) -> int:
    """Fetch, build, and run."""
    missing = [tool for tool in (CC, QEMU, "apt-get", "dpkg") if not shutil.which(tool)]
    if missing:
        print(f"emulate_arm64: skipped, for there is no {', '.join(missing)}")
        return 0
    if not ROOT.is_dir():
        fetch_python()
    if not SITE.is_dir():
        fetch_packages()
    compile_kernels()
    emulate("-c", CHECK)
    return emulate("-m", "pytest", *(arguments or TESTS))


def fetch_python() -> None:
    """Unpack the distribution's Python for Arm, found by an apt of its own."""
    state, cache = BUILD / "apt", BUILD / "cache"
    for folder in (state / "lists" / "partial", cache / "archives" / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    settings = {
        "APT::Architecture": "arm64",
        "APT::Architectures": "arm64",
        "Dir::State": state,
        "Dir::State::status": state / "status",
        "Dir::Cache": cache,
        "APT::Sandbox::User": "root",  # else apt may not write here
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    run(["apt-get", *options, "-qq", "update"])
    only = ("--yes", "--download-only", "--no-install-recommends")
    run(["apt-get", *options, "-qq", *only, "install", *DEBIAN])
    for archive in sorted((cache / "archives").glob("*.deb")):
        run(["dpkg", "-x", str(archive), str(ROOT)])


def python() -> Path:
    """Return the Python for Arm, of which there is one version."""
    (found,) = (path for path in (ROOT / "usr/bin").glob("python3.*") if "-" not in path.name)
    return found


def fetch_packages() -> None:
    """Install the wheels for Arm that the package and its tests take."""
    run([
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--target", str(SITE), "--only-binary=:all:"),
        *("--python-version", python().name.removeprefix("python")),
        *("--platform", "manylinux2014_aarch64", "--platform", "manylinux_2_28_aarch64"),
        *(*PACKAGES, "pytest", "hypothesis"),
    ])  # fmt: skip


def compile_kernels() -> None:
    """Compile what setup.py compiles, with its flags, beside a copy of the committed package."""
    shutil.rmtree(TREE, ignore_errors=True)
    TREE.mkdir(parents=True)
    archive = run(["git", "archive", "HEAD", "cs231n", "tests", "pyproject.toml", "docs"], cwd=TOP)
    subprocess.run(["tar", "-x", "-C", str(TREE)], input=archive, check=True)
    kernels = TREE / "cs231n" / "kernels"
    run([sys.executable, "-m", "cython", "-3", "native.pyx"], cwd=kernels)
    sources = [kernels / "native.c", *sorted((kernels / "csrc").glob("*.c"))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, sources))
    flags = ("-shared", "-pthread", "-lm")
    run([CC, *flags, *map(str, objects), "-o", str(kernels / "native.abi3.so")])


def compile_one(source: Path) -> Path:
    """Compile one source, with the headers of the Python for Arm."""
    headers = ROOT / "usr" / "include"
    flags = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-pthread", "-fPIC", "-w")
    include = (f"-I{headers / python().name}", f"-I{headers}", "-DPy_LIMITED_API=0x030B0000")
    target = source.with_suffix(".o")
    run([CC, *flags, *include, "-c", str(source), "-o", str(target)])
    return target


def emulate(*arguments: str) -> int:
    """Run the Python for Arm on the compiled package."""
    return subprocess.run(
        [QEMU, "-L", str(ROOT), str(python()), *arguments],
        cwd=TREE,
        env={
            **os.environ,
            "PYTHONPATH": f"{TREE}{os.pathsep}{SITE}",
            "CS231N_REQUIRE_EXTENSION": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "2",
        },
    ).returncode


def run(command: list[str], cwd: Path | None = None) -> bytes:
    """Run a command and return what it prints; end with that if it fails."""
    done = subprocess.run(command, cwd=cwd, capture_output=True)
    if done.returncode:
        output = (done.stdout + done.stderr).decode(errors="replace")[-4000:]
        raise SystemExit(f"{output}\nemulate_arm64: failed: {' '.join(command)}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
