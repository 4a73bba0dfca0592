"""The advice where compiled kernels are missing fits how the package was installed."""

from importlib.machinery import EXTENSION_SUFFIXES

import pytest

from cs231n.kernels.advice import missing_extension


@pytest.fixture
def source(tmp_path, monkeypatch):
    """Return the package of a source folder that was not built, and is alone on the path."""
    package = tmp_path / "source" / "cs231n"
    package.mkdir(parents=True)
    (package.parent / "setup.py").touch()
    (package.parent / "pyproject.toml").write_text('[project]\nname = "cs231n"\n')
    monkeypatch.setattr("sys.path", [str(package.parent)])
    return package


@pytest.fixture
def installed(tmp_path):
    """Return an installed package that has compiled kernels."""
    package = tmp_path / "site" / "cs231n"
    (package / "kernels").mkdir(parents=True)
    (package / "kernels" / f"native{EXTENSION_SUFFIXES[0]}").touch()
    return package


def test_a_source_folder_is_built_in_place(source):
    line = missing_extension(source)
    assert "python setup.py build_ext --inplace" in line
    assert str(source.parent) in line
    assert "pip" not in line


def test_an_installed_package_is_installed_anew(tmp_path):
    line = missing_extension(tmp_path / "site-packages" / "cs231n")
    assert "pip install --force-reinstall --no-cache-dir --no-binary cs231n cs231n" in line
    assert "build_ext" not in line


@pytest.mark.parametrize(
    ("record", "told"),
    [
        (
            '{"dir_info": {}, "url": "file:///src/my%20sources"}',
            "--no-deps '/src/my sources'",
        ),
        (
            '{"archive_info": {}, "url": "file:///src/cs231n.tar.gz"}',
            "--no-deps /src/cs231n.tar.gz",
        ),
        ('{"archive_info": {}, "url": "file:///c/cs231n.whl"}', "--no-binary cs231n cs231n"),
        ('{"vcs_info": {}, "url": "https://example.org/cs231n"}', "--no-binary cs231n cs231n"),
        ('{"url": 5}', "--no-binary cs231n cs231n"),
        ("[]", "--no-binary cs231n cs231n"),
        ("{", "--no-binary cs231n cs231n"),
    ],
)
def test_what_was_installed_from_a_folder_is_installed_from_there_again(tmp_path, record, told):
    place = tmp_path / "cs231n-1.0.0.dist-info" / "direct_url.json"
    place.parent.mkdir()
    place.write_text(record)
    line = missing_extension(tmp_path / "cs231n")
    assert line.endswith(f"python -m pip install --force-reinstall --no-cache-dir {told}")


def test_the_source_of_another_project_is_not_a_source_folder(source):
    (source.parent / "pyproject.toml").write_text('[project]\nname = "other"\n')
    assert "pip install" in missing_extension(source)


def test_a_source_folder_in_front_of_an_installed_package_is_told(source, installed, monkeypatch):
    monkeypatch.setattr("sys.path", ["", str(source.parent), str(installed.parent)])
    line = missing_extension(source)
    assert f"{source} comes before the installed package {installed}" in line
    assert "from another folder" in line


def test_an_installed_package_without_kernels_is_no_better(source, installed, monkeypatch):
    monkeypatch.setattr("sys.path", [str(source.parent), str(installed.parent)])
    (installed / "kernels" / f"native{EXTENSION_SUFFIXES[0]}").unlink()
    assert "build_ext" in missing_extension(source)


def test_it_is_one_line_that_the_tests_of_others_can_ignore(source, installed, monkeypatch):
    monkeypatch.setattr("sys.path", [str(installed.parent)])
    for package in (source, installed):
        (line,) = missing_extension(package).splitlines()
        assert line.startswith("cs231n: the compiled extension is missing")
