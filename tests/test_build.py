"""What `setup.py` says where a build cannot work: one line, and nothing of a traceback.

And that what it installs is found from everywhere, and that `make clean-runs` removes runs.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import cs231n

TOP = Path(__file__).resolve().parents[1]


def build(folder, **modules):
    """Run setup.py in a folder, with modules of one line each in the place of installed ones."""
    for name, line in modules.items():
        (folder / f"{name}.py").write_text(line + "\n")
    return subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


def refused(result):
    """Return the one line of a build that stopped."""
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        ({"setuptools": "__version__ = '59.6.0'"}, "setuptools 59.6.0 is too old (at least 61.0)"),
        ({"setuptools": "raise ImportError"}, "setuptools is missing"),
        ({"Cython": "__version__ = '0.29.37'"}, "Cython 0.29.37 is too old (at least 3.0)"),
        ({"Cython": "raise ImportError"}, "Cython is missing"),
    ],
    ids=["old setuptools", "no setuptools", "old Cython", "no Cython"],
)
def test_tools_that_are_too_old_are_told_in_one_line(tmp_path, modules, words):
    shutil.copy(TOP / "setup.py", tmp_path)
    line = refused(build(tmp_path, **modules))
    assert line.startswith(f"setup.py: {words}; install it with: ")
    (name,) = modules
    assert f"-m pip install '{name}>=" in line


def test_a_package_copied_alone_is_told_what_is_missing(tmp_path):
    (tmp_path / "cs231n").mkdir()
    shutil.copy(TOP / "cs231n" / "setup.py", tmp_path / "cs231n")
    line = refused(build(tmp_path / "cs231n"))
    assert str(tmp_path) in line
    assert "setup.py, pyproject.toml, README.md" in line


def test_the_setup_of_another_project_is_not_run(tmp_path):
    (tmp_path / "cs231n").mkdir()
    shutil.copy(TOP / "cs231n" / "setup.py", tmp_path / "cs231n")
    (tmp_path / "setup.py").write_text("print('another project')\n")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"\n')
    (tmp_path / "README.md").write_text("Other\n")
    assert "is not the project that cs231n/ belongs to" in refused(build(tmp_path / "cs231n"))


def test_a_folder_of_data_with_the_name_of_the_package_does_not_hide_it(tmp_path):
    # Of an editable installation too, which is what continuous integration runs this in.
    (tmp_path / "cs231n" / "datasets").mkdir(parents=True)
    environment = {**os.environ, "CS231N_BACKEND": "auto"}
    result = subprocess.run(
        [sys.executable, "-m", "cs231n", "--version"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (result.returncode, result.stdout) == (0, f"cs231n {cs231n.__version__}\n"), (
        result.stderr
    )


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_clean_runs_removes_runs_and_nothing_else(tmp_path):
    for name in ("runs/one", "notebooks/runs/two", "elsewhere/three", "data"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "best_model.npz").touch()
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "data")
    command = ["make", "-f", TOP / "Makefile", "clean-runs"]
    for _ in range(2):  # where there are none any more, it has nothing to do
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
        left = sorted(path.parent.name for path in tmp_path.rglob("best_model.npz"))
        assert left == ["data", "three"]
        assert not (tmp_path / "runs").exists()
