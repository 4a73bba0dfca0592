"""Files: replaced as a whole or left alone, and refused when they are damaged or hostile."""

import errno
import os
import pickle
import stat
import zipfile

import numpy as np
import pytest

from cs231n.files import storage
from cs231n.training import checkpoint

ARRAYS = {"W1": np.arange(6.0).reshape(2, 3), "params/b1": np.ones(3, np.float32)}


def assert_holds(path, expected):
    """Fail unless the file holds exactly the expected arrays."""
    found = storage.read_npz(path)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_arrays_come_back_as_they_were(tmp_path):
    path = storage.write_npz(tmp_path / "a.npz", ARRAYS)
    assert path == tmp_path / "a.npz"
    assert_holds(path, ARRAYS)
    with np.load(path, allow_pickle=False) as archive:
        assert set(archive.files) == set(ARRAYS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("array", [np.float32(2), np.empty((0, 4)), np.array("text"), np.eye(3).T])
def test_unusual_arrays_come_back(array, tmp_path):
    path = storage.write_npz(tmp_path / "a", {"x": array})
    found = storage.read_npz(path)["x"]
    assert (found.shape, found.dtype) == (array.shape, array.dtype)
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("given", ["a", "a.npz", "a.b"])
def test_the_ending_is_added_where_it_is_missing(given, tmp_path):
    path = storage.write_npz(str(tmp_path / given), ARRAYS)
    assert path.name == (given if given.endswith(".npz") else f"{given}.npz")
    assert_holds(tmp_path / given, ARRAYS)


def test_a_new_file_replaces_the_old_one_as_a_whole(tmp_path):
    path = storage.write_npz(tmp_path / "a", {"x": np.zeros(10_000)})
    with path.open("rb") as reader:
        storage.write_npz(path, ARRAYS)
        with np.load(reader) as old:  # whoever reads still has the whole old file
            assert old["x"].shape == (10_000,)
    assert_holds(path, ARRAYS)


class Interruption(BaseException):
    """What may come at any moment and is no error, as Ctrl-C is not."""


def write_half(path, error):
    """Begin to replace a file, then fail."""
    with storage.replacing(path) as file:
        file.write(b"half of the new")
        file.flush()
        raise error


@pytest.mark.parametrize("error", [RuntimeError, OSError, Interruption, KeyboardInterrupt])
@pytest.mark.parametrize("old", [b"the old file", None])
def test_an_error_while_writing_keeps_the_old_file_and_leaves_no_part(error, old, tmp_path):
    path = tmp_path / "history.csv"
    if old is not None:
        path.write_bytes(old)
    with pytest.raises(error):
        write_half(path, error)
    assert (path.read_bytes() if path.exists() else None) == old
    assert [entry.name for entry in tmp_path.iterdir()] == ([] if old is None else ["history.csv"])


@pytest.mark.skipif(not hasattr(os, "O_DIRECTORY"), reason="cannot open folders")
@pytest.mark.parametrize("write", [storage.write_npz, checkpoint.save])
def test_the_file_and_then_its_name_are_flushed_to_the_disk(write, tmp_path, monkeypatch):
    flushed, fsync = [], os.fsync

    def record(descriptor):
        flushed.append(stat.S_ISDIR(os.fstat(descriptor).st_mode))
        flushed.append((tmp_path / "a.npz").exists())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    write(tmp_path / "a", ARRAYS)
    assert flushed == [False, False, True, True]


def test_a_full_disk_keeps_the_old_file_and_leaves_no_part(tmp_path, monkeypatch):
    path = storage.write_npz(tmp_path / "a", ARRAYS)

    def no_space(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        storage.write_npz(path, {"x": np.ones(3)})
    assert_holds(path, ARRAYS)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npz"]


def test_the_target_is_untouched_until_the_end(tmp_path):
    path = tmp_path / "results.json"
    path.write_bytes(b"old")
    with storage.replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_a_read_only_folder_is_an_error_that_names_it(read_only_folder):
    before = sorted(read_only_folder.iterdir())
    with pytest.raises(PermissionError, match=str(read_only_folder)):
        storage.write_npz(read_only_folder / "a", ARRAYS)
    assert sorted(read_only_folder.iterdir()) == before


def test_a_missing_folder_and_a_folder_in_the_way_are_errors_that_name_them(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        storage.write_npz(tmp_path / "nowhere" / "a", ARRAYS)
    (tmp_path / "a.npz").mkdir()
    with pytest.raises(OSError, match=r"a\.npz"):
        storage.write_npz(tmp_path / "a", ARRAYS)
    with pytest.raises(OSError, match=r"a\.npz"):
        storage.read_npz(tmp_path / "a")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.npz"]


@pytest.mark.parametrize("dtype", [object, "M8[D]", "m8[s]", "V3", [("a", "f8")]])
def test_what_could_not_be_read_is_not_written(dtype, tmp_path):
    with pytest.raises(TypeError, match="write_npz: y is an array of"):
        storage.write_npz(tmp_path / "a", {"x": np.ones(2), "y": np.zeros(2, dtype)})
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"read_npz: there is no file .*gone\.npz"):
        storage.read_npz(tmp_path / "gone")


class Trap:
    """An object whose unpickling has an effect."""

    def __reduce__(self):
        return os.mkdir, ("sprung",)


def test_pickles_are_refused_and_run_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("object.npz", W1=np.ones(2), b1=np.array([Trap()], dtype=object))
    with open("bare.npz", "wb") as file:
        pickle.dump(Trap(), file)
    with zipfile.ZipFile("inside.npz", "w") as archive:
        archive.writestr("W1.npy", pickle.dumps(Trap()))
    for name in ("object.npz", "bare.npz"):
        with pytest.raises(ValueError, match=f"read_npz: {name} is damaged or is no"):
            storage.read_npz(name)
    assert not (tmp_path / "sprung").exists()


def test_what_is_no_array_in_an_archive_is_not_taken_for_one(tmp_path):
    path = tmp_path / "a.npz"
    for content in (b"no array", pickle.dumps(Trap()), b"\x93NUMPY\x01\x00\x04\x00{1:\n"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("W1.npy", content)
        with pytest.raises(ValueError, match=r"a\.npz is damaged or is no"):
            storage.read_npz(path)


def test_one_bare_array_is_refused(tmp_path):
    with open(tmp_path / "a.npz", "wb") as file:
        np.save(file, np.ones(3))
    with pytest.raises(ValueError, match=r"a\.npz is damaged or is no \.npz file"):
        storage.read_npz(tmp_path / "a")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_truncated_file_is_refused(save, tmp_path):
    path = tmp_path / "a.npz"
    save(path, **ARRAYS)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"read_npz: .*a\.npz is damaged"):
            storage.read_npz(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_wrong_byte_anywhere_is_refused_or_does_no_harm(save, tmp_path):
    """The zip format's checksums guard the contents; its directory has bytes that do not matter."""
    path = tmp_path / "a.npz"
    save(path, W1=ARRAYS["W1"])
    whole = path.read_bytes()
    refused = 0
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= 0x81
        path.write_bytes(content)
        try:
            found = storage.read_npz(path)
        except ValueError:
            refused += 1
            continue
        for array in found.values():
            np.testing.assert_array_equal(array, ARRAYS["W1"])
    assert refused > len(whole) / 2
