"""Writers that meet in one file, and what a stranger may have put in a file's place.

Short here; `SECONDS=300 make attack` goes on for so long.
"""

import contextlib
import io
import os
import stat
import zipfile
from pathlib import Path

import attack
import numpy as np
import pytest
from plants import KINDS, plant

from cs231n.files import npz, regular, storage

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a POSIX system")


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", attack.ATTACKS)
def test_nothing_gets_through(name):
    figures = attack.run(name, seconds=1.5)
    assert figures.pop("failures") == []
    assert all(figures.values())


class TestHarness:
    """The attacks see what they are there to see."""

    def test_parts_named_by_the_process(self, monkeypatch):
        @contextlib.contextmanager
        def replacing(path):
            part = path.with_name(f"{path.name}.{os.getpid()}.part")
            with part.open("wb") as file:
                yield file
            os.replace(part, path)

        monkeypatch.setattr(storage, "replacing", replacing)
        failures = attack.run("one id", seconds=1.5)["failures"]
        assert any("writing" in each or "reading" in each or "two" in each for each in failures)

    @pytest.mark.parametrize("use", ["read_text", "write_text"])
    def test_files_that_are_opened_as_they_come(self, use, monkeypatch):
        uses = {
            "read_text": lambda path: path.read_bytes(),
            "write_text": lambda path: path.write_bytes(b"text"),
        }
        monkeypatch.setattr(attack, "MOST_SECONDS", 0.5)
        monkeypatch.setattr(attack, "MORE_MEMORY", 2**27)
        monkeypatch.setattr(attack, "USES", {use: uses[use]})
        failures = "".join(attack.run("strangers", seconds=0)["failures"])
        expected = {
            "read_text": ["a pipe: hangs", "a hole: raised Mem"],
            "write_text": ["a pipe: hangs", "a link wrote over", "a hard link wrote over"],
        }
        for each in expected[use]:
            assert each in failures

    def test_names_that_savez_takes_for_its_own(self, monkeypatch):
        def savez(path, arrays):
            np.savez(path := path.with_suffix(".npz"), **{str(k): a for k, a in arrays.items()})
            return path

        monkeypatch.setattr(storage, "write_npz", savez)
        assert len(attack.run("names", seconds=0)["failures"]) > 10


class TestWriting:
    """What `replacing` promises, of one file."""

    @pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
    def test_a_file_gets_the_mode_of_any_other(self, umask, tmp_path):
        before = os.umask(umask)
        try:
            storage.write_text(tmp_path / "a", "text")
            (tmp_path / "b").touch()
        finally:
            os.umask(before)
        modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "ab"}
        assert modes == {0o666 & ~umask}

    @pytest.mark.parametrize("length", [100, 250, 255])
    def test_a_name_may_be_as_long_as_the_system_allows(self, length, tmp_path):
        assert storage.write_text(tmp_path / ("x" * length), "text").read_text() == "text"

    @pytest.mark.parametrize("name", ["x" * 256, "x/y"])
    def test_a_name_that_cannot_be_is_told(self, name, tmp_path):
        with pytest.raises(OSError, match=r"cannot write .*x") as caught:
            storage.write_text(tmp_path / name, "text")
        assert "[Errno" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("kind", KINDS)
    def test_what_stands_in_the_place_of_a_part_is_let_alone(self, kind, tmp_path):
        victim, place = tmp_path / "victim", tmp_path / "run"
        place.mkdir()
        victim.write_bytes(b"precious")
        with plant(kind, place / ".cs231n-0123456789abcdef.part", victim):
            storage.write_text(place / "a", "text")
            assert (place / "a").read_text() == "text"
            assert victim.read_bytes() == b"precious"

    def test_a_drawn_name_that_is_taken_is_drawn_again(self, tmp_path, monkeypatch):
        drawn = iter(["0" * 16, "0" * 16, "1" * 16])
        monkeypatch.setattr(storage.secrets, "token_hex", lambda _: next(drawn))
        (tmp_path / f".cs231n-{'0' * 16}.part").symlink_to(tmp_path / "victim")
        storage.write_text(tmp_path / "a", "text")
        assert not (tmp_path / "victim").exists()
        assert list(drawn) == []

    def test_a_part_that_was_swept_before_its_lock_is_made_anew(self, tmp_path, monkeypatch):
        lock = storage.lock_descriptor

        def late(descriptor, blocking):
            monkeypatch.setattr(storage, "lock_descriptor", lock)
            storage.sweep(tmp_path)  # of another writer, between the two steps of this one
            return lock(descriptor, blocking=blocking)

        monkeypatch.setattr(storage, "lock_descriptor", late)
        storage.write_text(tmp_path / "a", "text")
        assert [path.name for path in tmp_path.iterdir()] == ["a"]

    def test_without_locks_files_are_written_and_nothing_is_swept(self, tmp_path, monkeypatch):
        def fail(descriptor, blocking):
            raise OSError(38, "Function not implemented")

        monkeypatch.setattr(storage, "lock_descriptor", fail)
        with storage.replacing(tmp_path / "a"):
            storage.write_text(tmp_path / "b", "text")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]

    def test_a_figure_is_written_whole_in_the_format_of_its_name(self, tmp_path):
        from matplotlib.figure import Figure

        for ending, magic in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")):
            path = storage.write_figure(tmp_path / f"a.{ending}", Figure(), dpi=20)
            assert path.read_bytes().startswith(magic)
        with pytest.raises(ValueError, match="nosuch"):
            storage.write_figure(tmp_path / "a.nosuch", Figure())
        assert len(list(tmp_path.iterdir())) == 3


# The place of a file, and what the message says.
PLACES = {
    "a folder": ("folder/a.npz", r"cannot write .*a\.npz: it is a folder; expected a file or none"),
    "in a file": ("README.md/a.npz", r"cannot write .*: .*README\.md is a file; expected a folder"),
    "nowhere": ("no/a.npz", r"cannot write .*no/a\.npz: there is no folder .*no$"),
    "a kernel's": ("/proc/a.npz", r"cannot write /proc/a\.npz: /proc takes no new files"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_place_where_no_file_can_be_is_named_and_left_alone(place, tmp_path):
    path, message = PLACES[place]
    (tmp_path / "folder" / "a.npz").mkdir(parents=True)
    (tmp_path / "folder" / "a.npz" / "kept").touch()
    (tmp_path / "README.md").write_text("kept", encoding="utf-8")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(OSError, match=message) as caught:
        storage.write_npz(tmp_path / path, {"x": np.ones(2)})
    assert "[Errno" not in str(caught.value)
    assert caught.value.errno is None or isinstance(caught.value, PermissionError)
    assert sorted(tmp_path.rglob("*")) == before


class TestReading:
    def test_a_file_is_as_large_as_it_may_be(self, tmp_path):
        (tmp_path / "a").write_bytes(b"x" * 100)
        assert regular.read_bytes("f", tmp_path / "a", 100) == b"x" * 100
        with pytest.raises(ValueError, match=r"f: .*a has more than 99 bytes"):
            regular.read_bytes("f", tmp_path / "a", 99)

    @pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's /proc")
    def test_a_file_that_hides_its_size_is_read_no_further_than_allowed(self):
        """Those of the kernel have the size 0 and any content."""
        assert Path("/proc/self/smaps").stat().st_size == 0
        with pytest.raises(ValueError, match="smaps has more than 1000 bytes"):
            regular.read_bytes("f", Path("/proc/self/smaps"), 1000)

    def test_text_that_is_none_is_told(self, tmp_path):
        (tmp_path / "a").write_bytes(b"\xff\xfe")
        with pytest.raises(ValueError, match=r"f: .*a is not text in UTF-8"):
            regular.read_text("f", tmp_path / "a")

    def test_links_to_regular_files_are_followed(self, tmp_path):
        (tmp_path / "a").write_bytes(b"text")
        (tmp_path / "b").symlink_to("a")
        assert regular.read_text("f", tmp_path / "b") == "text"

    def test_a_file_that_becomes_a_pipe_meanwhile_is_not_waited_for(self, tmp_path, monkeypatch):
        os.mkfifo(tmp_path / "a")
        monkeypatch.setattr(regular.checks, "regular_file", lambda where, path: None)
        with pytest.raises(ValueError, match=r"f: .*a is a pipe"):
            regular.open_regular("f", tmp_path / "a")

    def test_holes_are_not_bytes_that_are_there(self, tmp_path):
        with open(tmp_path / "a", "wb") as file:
            for place in (0, 2**20, 2**30):
                file.seek(place)
                file.write(b"x" * 4096)
        with open(tmp_path / "a", "rb") as file:
            there = regular.bytes_there(file.fileno())
            assert 3 * 4096 <= there < 2**18 or there == os.fstat(file.fileno()).st_size
            assert file.read(1) == b"x"
        (tmp_path / "b").touch()
        with open(tmp_path / "b", "rb") as file:
            assert regular.bytes_there(file.fileno()) == 0

    def test_an_archive_of_a_hole_is_refused(self, tmp_path):
        """A whole .npz file, checksums included, whose numbers are one hole."""
        size = 2**28 + 2**20
        file = io.BytesIO()
        header = {"descr": "|u1", "fortran_order": False, "shape": (size,)}
        np.lib.format.write_array_header_1_0(file, header)
        with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
            archive.writestr("x.npy", file.getvalue() + bytes(2**10))
        self.stretch(tmp_path / "a.npz", size - 2**10)
        with pytest.raises(ValueError, match=r"a\.npz is damaged .* unpack to more than"):
            storage.read_npz(tmp_path / "a")

    @staticmethod
    def stretch(path, by):
        """Put a hole before the directory of an archive, into its only member."""
        with zipfile.ZipFile(path) as archive:
            start, entry = archive.start_dir, archive.infolist()[0]
        data = path.read_bytes()
        old = entry.file_size.to_bytes(4, "little")
        directory = data[start:].replace(
            old + old, 2 * (entry.file_size + by).to_bytes(4, "little")
        )
        directory = directory.replace(
            start.to_bytes(4, "little"), (start + by).to_bytes(4, "little")
        )
        with path.open("wb") as file:
            file.write(data[:start])
            file.seek(start + by)
            file.write(directory)


class TestNames:
    GOOD = (
        "file",
        "allow_pickle",
        "a/b",
        "../a",
        "/etc/passwd",
        "W1",
        "w1",
        "x.npy",
        "ä",
        " ",
        ".",
    )

    def test_names_that_other_programs_take_for_something_come_back(self, tmp_path):
        arrays = {name: np.array(index) for index, name in enumerate(self.GOOD)}
        path = storage.write_npz(tmp_path / "a", arrays)
        assert storage.read_npz(path) == arrays
        with np.load(path) as archive:
            assert {name: archive[name] for name in archive.files} == arrays
        assert [entry.name for entry in tmp_path.iterdir()] == ["a.npz"]

    @pytest.mark.parametrize(
        "name", ["", "a\0b", "a\\b", "\ud800", "x" * 1001, "ä" * 501, 3, None, b"a", ("a",)]
    )
    def test_names_that_would_not_come_back_are_refused(self, name, tmp_path):
        with pytest.raises((TypeError, ValueError), match="write_npz: a") as caught:
            storage.write_npz(tmp_path / "a", {"x": np.ones(2), name: np.ones(2)})
        assert repr(name)[:40] in str(caught.value)
        assert len(str(caught.value)) < 250
        assert list(tmp_path.iterdir()) == []

    def test_more_names_than_can_be_read_are_not_written(self, tmp_path):
        arrays = {f"{index:0990d}": np.zeros(()) for index in range(1500)}
        with pytest.raises(ValueError, match="write_npz: 1500 names are too many or too long"):
            storage.write_npz(tmp_path / "a", arrays)
        few = dict(list(arrays.items())[:900])
        assert storage.read_npz(storage.write_npz(tmp_path / "a", few)) == few

    def test_the_file_is_what_savez_writes(self, tmp_path):
        arrays = {"W1": np.eye(3).T, "text": np.array("ä"), "f": np.asfortranarray(np.eye(2, 3))}
        np.savez(tmp_path / "theirs.npz", **arrays)
        ours = storage.write_npz(tmp_path / "ours", arrays)
        assert ours.read_bytes() == (tmp_path / "theirs.npz").read_bytes()
        assert npz.MAX_NAME * 100 < npz.MAX_READ
