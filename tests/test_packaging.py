"""What `make dist-check` refuses, that it tries the oldest versions, and that a release agrees."""

import importlib.util
import io
import os
import re
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import cs231n

TOP = Path(__file__).resolve().parents[1]
METADATA = """\
Metadata-Version: 2.4
Name: cs231n
Author: The cs231n developers
License: MIT
Keywords: NumPy
Project-URL: Course, https://example.org
Classifier: Typing :: Typed
Requires-Python: >=3.10
"""

if not (TOP / "packaging").is_dir():
    pytest.skip("needs the folder packaging", allow_module_level=True)


def script(name):
    """Return a script of the folder as a module."""
    spec = importlib.util.spec_from_file_location(name, TOP / "packaging" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(TOP / "packaging")  # where a script finds those beside it
        spec.loader.exec_module(module)
    return module


check_dist, release_notes = script("check_dist"), script("release_notes")


def wheel(folder, *names, metadata=METADATA):
    """Write a wheel of what every one needs, with more files, or without those after a "-"."""
    files = {*check_dist.NEEDED, *names} - {name[1:] for name in names if name[0] == "-"}
    path = folder / "cs231n-1.0.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(name for name in files if name[0] != "-"):
            archive.writestr(name, "")
        archive.writestr("cs231n-1.0.0.dist-info/METADATA", metadata)
    return path


KERNELS = ("cs231n/im2col_cython.abi3.so", "cs231n/kernels/native.abi3.so")


@pytest.mark.parametrize(("names", "compiled"), [((), False), (KERNELS, True)])
def test_a_wheel_of_what_is_expected_passes(names, compiled, tmp_path):
    path = wheel(tmp_path, *names)
    check_dist.check_contents(path, compiled)
    check_dist.check_metadata(path)


@pytest.mark.parametrize(
    ("name", "compiled"),
    [
        ("tests/test_api.py", False),
        ("cs231n/tests/test_api.py", False),
        ("cs231n/setup.py", False),
        ("cs231n/im2col_cython.pyx", False),
        ("cs231n/kernels/csrc/relu.h", False),
        ("cs231n/kernels/native.abi3.so", False),
        ("cs231n.libs/libgomp.so", True),
        ("-cs231n/py.typed", False),
        ("-cs231n/kernels/native.abi3.so", True),
    ],
)
def test_a_wheel_with_more_or_less_is_refused(name, compiled, tmp_path):
    path = wheel(tmp_path, *(KERNELS if compiled else ()), name)
    with pytest.raises(SystemExit, match="holds"):
        check_dist.check_contents(path, compiled)


def test_all_data_of_the_package_may_be_in_a_wheel():
    tomllib = pytest.importorskip("tomllib")  # of Python 3.11
    data = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    files = [
        path.relative_to(TOP).as_posix()
        for package, patterns in data.items()
        for pattern in patterns
        for path in (TOP / package.replace(".", "/")).glob(pattern)
    ]
    assert [name for name in files if not check_dist.matches(name, check_dist.ALLOWED)] == []
    assert {f"cs231n/commands/recipes/{name}" for name in ("quick.txt", "measured.csv")} <= {*files}


def test_all_modules_of_the_package_may_be_in_a_wheel():
    package = Path(cs231n.__file__).parent
    modules = {f"cs231n/{path.relative_to(package).as_posix()}" for path in package.rglob("*.py")}
    refused = [
        name
        for name in modules - {"cs231n/setup.py"}  # which builds in place
        if not check_dist.matches(name, check_dist.ALLOWED)
        or check_dist.matches(name, check_dist.FORBIDDEN)
    ]
    assert refused == []


@pytest.mark.parametrize("line", METADATA.splitlines()[2:])
def test_metadata_that_lack_a_field_are_refused(line, tmp_path):
    path = wheel(tmp_path, metadata=METADATA.replace(f"{line}\n", ""))
    with pytest.raises(SystemExit, match=line.split(":")[0]):
        check_dist.check_metadata(path)


@pytest.mark.parametrize("name", [None, "-tests/conftest.py", "cs231n/kernels/native.c"])
def test_an_sdist_holds_what_its_tests_need_and_nothing_built(name, tmp_path):
    path = tmp_path / "cs231n-1.0.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for each in ({*check_dist.IN_SDIST} | {name or "setup.py"}) - {f"{name}"[1:]}:
            archive.addfile(tarfile.TarInfo(f"cs231n-1.0.0/{each}"), io.BytesIO())
    if name is None:
        return check_dist.check_sdist(path)
    with pytest.raises(SystemExit, match=name.lstrip("-")):
        check_dist.check_sdist(path)


def test_the_oldest_versions_that_are_tried_are_the_oldest_allowed():
    project = (TOP / "pyproject.toml").read_text()
    (listed,) = re.findall(r"^dependencies = \[(.*?)^\]", project, re.M | re.S)
    allowed = dict(re.findall(r'"(\w+)>=([\d.]+)"', listed))
    tried = dict(re.findall(r"^(\w+)==([\d.]+)$", (TOP / "packaging/oldest.txt").read_text(), re.M))
    assert tried.keys() == allowed.keys()
    for name, version in allowed.items():
        assert f"{tried[name]}.0".startswith(f"{version}.")


def test_pythons_of_pyenv_are_found_before_its_commands_which_may_refuse(tmp_path, monkeypatch):
    own = tmp_path / "versions" / "3.10.13" / "bin"
    own.mkdir(parents=True)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path / "shims"))
    finder = check_dist.find_python
    tells = (sys.executable, "-c", "import os; print(os.environ['PATH'])")
    monkeypatch.setitem(finder.__globals__, "UV", tells)
    assert finder("3.10") == f"{own}{os.pathsep}{tmp_path / 'shims'}"


@pytest.fixture
def prepared(tmp_path):
    """Return a folder with copies of what names the version."""
    (tmp_path / "cs231n").mkdir()
    shutil.copy(cs231n.__file__, tmp_path / "cs231n")  # which may be installed elsewhere
    for name in ("CITATION.cff", "CHANGELOG.md"):
        shutil.copy(TOP / name, tmp_path / name)
    return tmp_path


def test_version_date_and_notes_of_the_release_agree(prepared, capsys):
    assert release_notes.main([f"v{cs231n.__version__}"], prepared) == 0
    notes = capsys.readouterr().out
    assert "### Added" in notes
    assert not re.search("^## ", notes, re.M)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("cs231n/__init__.py", '__version__ = "', '__version__ = "9', "CITATION.cff has"),
        ("CITATION.cff", "date-released: 2", "date-released: 1", "CHANGELOG.md has 0 of"),
        ("CITATION.cff", "\nversion: ", "\nversion: 9", "CITATION.cff has 9"),
        ("CHANGELOG.md", "\n## [1", "\n## [9", "CHANGELOG.md has 0 of"),
    ],
)
def test_a_release_that_does_not_agree_is_refused(name, old, new, message, prepared):
    text = (prepared / name).read_text(encoding="utf-8")
    assert text.count(old) == 1
    (prepared / name).write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(SystemExit, match=re.escape(message)):
        release_notes.main([], prepared)


def test_a_tag_of_another_version_is_refused(prepared):
    with pytest.raises(SystemExit, match=r"the tag is v0\.9; expected v"):
        release_notes.main(["v0.9"], prepared)


def test_no_trial_gets_what_another_one_built(tmp_path, monkeypatch):
    commands, sdist = [], tmp_path / "cs231n-1.0.0.tar.gz"
    sdist.write_bytes(b"")
    monkeypatch.setattr(check_dist, "run", lambda command, *_, **__: commands.append(command))
    for name in ("with", "without"):
        (tmp_path / name).mkdir()
        check_dist.install(check_dist.Trial(name, sdist, True), tmp_path / name)
    sources = [word for command in commands for word in command if word.startswith("cs231n[")]
    assert len({*sources}) == 2
