"""Damaged and hostile files: refused by an error that names them, at no cost.

Pickles that name other globals are in test_data_utils, archives with links and foreign paths in
test_download.
"""

import contextlib
import io
import json
import os
import pickle
import signal
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import mutations
import numpy as np
import pytest
from batches import array_pickle
from children import environment
from mutations import MUTATIONS, mutants, try_all, verdict
from PIL import Image
from readers import READERS, Reader

from cs231n import data_utils, image_utils
from cs231n.data import download, pictures
from cs231n.data_utils import DataError
from cs231n.files import npz, storage
from cs231n.training import checkpoint

COUNTS = {
    "npz": 900,
    "network": 400,
    "model": 400,
    "checkpoint": 500,
    "batch": 900,
    "imagenet": 500,
    "image": 1200,
    "tar": 500,
    "tar.gz": 400,
    "idx": 400,
    "cifar100": 500,
    "mat": 500,
    "arrays": 400,
    "tables": 500,
}


@pytest.mark.long
@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_refused_or_make_sense(name):
    command = [sys.executable, str(Path(mutations.__file__)), name]
    result = subprocess.run(
        [*command, str(COUNTS[name])],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode in (0, 1), result.stderr[-2000:]
    figures = json.loads(result.stdout)
    assert figures["failures"] == []
    assert figures["refused"] > 0.1 * COUNTS[name]
    assert figures["tried"] == figures["refused"] + figures["accepted"] == COUNTS[name]


def test_the_mutants_are_many_and_the_same_each_time():
    files = READERS["npz"].files()
    found = list(mutants(files, 300, seed=1))
    assert found == list(mutants(files, 300, seed=1))
    assert len({data for _, data in found}) == len(found) == 300
    for mutate in MUTATIONS:
        assert any(mutate.__name__ in history for history, _ in found)


class TestHarness:
    """The harness sees what it is there to see."""

    @pytest.fixture
    def judge(self, tmp_path):
        class Quiet:
            seen = []
            on = False

        def judge(read, check=lambda result: True):
            tracemalloc.start()
            try:
                reader = Reader("x", read, dict, check)
                return verdict(reader, tmp_path / "x", Quiet())
            finally:
                tracemalloc.stop()

        return judge

    def test_an_error_that_names_the_file_is_a_refusal(self, judge):
        def refuse(path):
            raise ValueError(f"read: {path} is damaged")

        assert judge(refuse) == "refused"
        assert judge(lambda path: 1) == "accepted"

    def test_whatever_else_is_a_failure(self, judge):
        def fail(error):
            raise error

        assert "does not name" in judge(lambda path: fail(ValueError("bad magic")))
        assert "raised KeyError" in judge(lambda path: fail(KeyError(str(path))))
        assert "no sense" in judge(lambda path: 1, lambda result: False)
        assert "held" in judge(lambda path: len(bytearray(30 * 2**20)))

    def test_memory_that_ran_out_is_a_failure_also_behind_another_error(self, judge):
        def fail(path):
            try:
                raise MemoryError
            except MemoryError as error:
                raise ValueError(f"{path} is damaged") from error

        assert "ran out of memory" in judge(fail)

    def test_programs_and_foreign_files_are_seen(self, tmp_path):
        code = (
            "import mutations, os, subprocess, sys, tracemalloc; from pathlib import Path\n"
            "folder = Path(sys.argv[1]); tracemalloc.start()\n"
            "watch = mutations.Watch(folder / 'own'); os.mkdir(folder / 'own')\n"
            "from readers import Reader\n"
            "for read in (lambda p: subprocess.call(['true']), lambda p: os.system('true'),\n"
            "             lambda p: open(folder / 'foreign', 'w').close(),\n"
            "             lambda p: os.mkdir(folder / 'foreign folder'),\n"
            "             lambda p: open(folder / 'own' / 'file', 'w').close()):\n"
            "    reader = Reader('x', read, dict, lambda result: True)\n"
            "    print(mutations.verdict(reader, folder / 'own' / 'x', watch).split()[0])\n"
        )
        output = subprocess.check_output(
            [sys.executable, "-c", code, str(tmp_path)],
            env=environment(),
            text=True,
        )
        assert output.split() == ["did", "did", "did", "did", "accepted"]


@contextlib.contextmanager
def little_memory(most=2**22):
    """Fail if Python and NumPy hold more than so many bytes meanwhile."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


def header(descr, shape):
    """Return the header of an array in the .npy format."""
    file = io.BytesIO()
    fields = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, fields)
    return file.getvalue()


def archive(path, members, method=zipfile.ZIP_STORED):
    """Write a zip file."""
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members:
            file.writestr(name, content)


class TestArrays:
    @pytest.mark.parametrize("shape", [(10**15,), (2**40, 2**40), (2**63 - 1,), (10**15, 0, 10**9)])
    def test_a_shape_is_not_believed(self, shape, tmp_path):
        archive(tmp_path / "a.npz", [("x.npy", header("<f8", shape) + bytes(800))])
        with little_memory(), pytest.raises(ValueError, match=r"a\.npz is damaged.*x promises"):
            storage.read_npz(tmp_path / "a")

    def test_an_item_of_a_gigabyte_is_not_believed(self, tmp_path):
        archive(tmp_path / "a.npz", [("x.npy", header("<U536870911", ()) + bytes(8))])
        with little_memory(), pytest.raises(ValueError, match=r"a\.npz is damaged.*x promises"):
            storage.read_npz(tmp_path / "a")

    @pytest.mark.parametrize(
        "shape", ["1, " * 3000, "9" * 3000 + ",", "((((" * 500, "-1,", "1 + 1,"]
    )
    def test_a_header_is_no_program(self, shape, tmp_path):
        text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({shape}), }}\n".encode()
        content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(8)
        archive(tmp_path / "a.npz", [("x.npy", content)])
        with little_memory(), pytest.raises(ValueError, match=r"a\.npz is damaged"):
            storage.read_npz(tmp_path / "a")

    def test_a_zip_bomb_is_not_unpacked(self, tmp_path, monkeypatch):
        monkeypatch.setattr(npz, "MAX_GROWTH", 2**24)
        content = header("|u1", (2**23,)) + bytes(2**23)
        members = [(f"{name}.npy", content) for name in "xyz"]
        archive(tmp_path / "a.npz", members, zipfile.ZIP_DEFLATED)
        assert (tmp_path / "a.npz").stat().st_size < 2**16
        with little_memory(), pytest.raises(ValueError, match=r"a\.npz .* unpack to more than"):
            storage.read_npz(tmp_path / "a")

    def test_a_member_that_expands_beyond_what_it_declares(self, tmp_path):
        """The declared size is the limit; what follows it is an error, not memory."""
        path = tmp_path / "a.npz"
        archive(path, [("x.npy", header("|u1", (8,)) + bytes(2**25))], zipfile.ZIP_DEFLATED)
        declared = struct.pack("<I", 2**25 + 128)
        data = path.read_bytes()
        assert data.count(declared) == 2
        path.write_bytes(data.replace(declared, struct.pack("<I", 136)))
        with little_memory(), pytest.raises(ValueError, match=r"a\.npz is damaged"):
            storage.read_npz(path)

    @pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
    def test_methods_that_unpack_in_one_step_are_refused(self, method, tmp_path):
        archive(tmp_path / "a.npz", [("x.npy", header("|u1", (2**25,)) + bytes(2**25))], method)
        with little_memory(), pytest.raises(ValueError, match=r"a\.npz .*x\.npy is no array"):
            storage.read_npz(tmp_path / "a")

    def test_a_directory_of_a_million_members_is_not_read(self, tmp_path):
        entry = struct.pack("<4s4B4HL2L5H2L", b"PK\x01\x02", 20, 0, 20, 0, 0, 0, 0, 33, 0, 0, 0,
                            1, 0, 0, 0, 0, 0, 0) + b"x"  # fmt: skip
        directory = entry * 50_000
        end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65535, 65535, len(directory), 0, 0)
        (tmp_path / "a.npz").write_bytes(directory + end)
        with little_memory(), pytest.raises(ValueError, match=r"a\.npz .* directory has"):
            storage.read_npz(tmp_path / "a")

    def test_two_members_of_one_name_are_refused(self, tmp_path):
        content = header("<f8", (1,)) + bytes(8)
        with pytest.warns(UserWarning, match="Duplicate"):
            archive(tmp_path / "a.npz", [("x.npy", content), ("x.npy", content)])
        with pytest.raises(ValueError, match=r"a\.npz is damaged .*two members of one name"):
            storage.read_npz(tmp_path / "a")

    def test_text_with_characters_that_are_none(self, tmp_path):
        archive(tmp_path / "a.npz", [("x.npy", header("<U1", ()) + b"\xff\xff\xff\x7f")])
        with pytest.raises(ValueError, match=r"a\.npz is damaged .*x holds characters"):
            storage.read_npz(tmp_path / "a")

    @pytest.mark.parametrize("descr", ["<f8", ">f4", "<i8", "|b1", "<c16", "|S3", "<U2", ">U2"])
    def test_every_plain_dtype_comes_back(self, descr, tmp_path):
        array = np.arange(6).reshape(2, 3).astype(descr)
        np.savez(tmp_path / "a.npz", x=array, y=array.T)
        found = storage.read_npz(tmp_path / "a")
        np.testing.assert_array_equal(found["x"], array, strict=True)
        np.testing.assert_array_equal(found["y"], array.T, strict=True)
        assert found["x"].flags.writeable

    def test_numbers_that_overflow_the_network_are_refused(self, tmp_path):
        model = READERS["network"]
        path = tmp_path / model.name
        path.write_bytes(model.files()["network"])
        arrays = storage.read_npz(path)
        np.savez(path, **{**arrays, "W1": np.full((6, 4), 1e300)})
        with pytest.raises(ValueError, match=r"model\.npz holds numbers beyond float32"):
            model.read(path)


@contextlib.contextmanager
def seconds(number):
    """Fail, instead of waiting for ever, after so many seconds."""

    def stop(*args):
        raise TimeoutError("it hangs")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, number)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


BY_PATH = {
    "npz": ("a.npz", storage.read_npz),
    "network": ("model.npz", READERS["network"].read),
    "checkpoint": ("run.npz", checkpoint.load),
    "batch": ("data_batch_1", data_utils.load_CIFAR_batch),
    "CIFAR-10": ("data_batch_1", lambda path: data_utils.load_CIFAR10(path.parent)),
    "imagenet": ("imagenet_val_25.npz", READERS["imagenet"].read),
    "image": ("x.png", image_utils.load_image),
    "tables": ("wnids.txt", lambda path: data_utils.load_tiny_imagenet(path.parent)),
    "archive": (
        "cifar-10-python.tar.gz",
        lambda path: download.download_cifar10(path.parent, [], progress=False),
    ),
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes in folders")
@pytest.mark.parametrize("name", BY_PATH)
@pytest.mark.parametrize("kind", ["pipe", "device without end"])
def test_what_is_no_file_is_not_read(kind, name, tmp_path):
    path = tmp_path / BY_PATH[name][0]
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero")
    with seconds(10), pytest.raises((ValueError, OSError)) as caught:
        BY_PATH[name][1](path)
    assert str(path.parent) in str(caught.value)


class TestPickles:
    def test_one_string_is_not_the_data_of_a_thousand_arrays(self, tmp_path):
        """Each array takes five opcodes, and would copy 64 KB."""
        rows = 20
        whole = array_pickle(np.zeros((rows, 3072), np.uint8))
        make, _, state = whole.partition(b"(K\x01J")
        start = b"\x80\x02(" + make + b"(K\x01J" + state[:-1]  # the state lies on the stack
        data = start + b"q\x20b" + 200 * (make + b"h\x20b") + b"t."
        path = tmp_path / "data_batch_1"
        path.write_bytes(data)
        with little_memory(), pytest.raises(DataError, match=r"data_batch_1.*more arrays than"):
            data_utils.load_CIFAR_batch(path)

    def test_long_text_is_refused(self, tmp_path):
        path = tmp_path / "data_batch_1"
        path.write_bytes(pickle.dumps("x" * 70_000 + "\U0001f600", 4))
        with pytest.raises(DataError, match=r"data_batch_1.*text of 70004 bytes"):
            data_utils.load_CIFAR_batch(path)

    def test_what_cannot_be_sought_is_a_type_error(self):
        reading, writing = os.pipe()
        os.close(writing)
        with (
            open(reading, "rb") as file,
            pytest.raises(TypeError, match=r"load_pickle: f is"),
        ):
            data_utils.load_pickle(file)


def png(width, height, *chunks):
    """Return a PNG file that declares this size."""

    def chunk(kind, content):
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    head = chunk(b"IHDR", struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0))
    body = b"".join(chunk(*each) for each in chunks)
    return b"\x89PNG\r\n\x1a\n" + head + body + chunk(b"IDAT", zlib.compress(bytes(99)))


class TestPictures:
    @pytest.mark.parametrize("size", [(2**31 - 1, 2**31 - 1), (2**31 - 1, 1), (50_000, 50_000)])
    def test_a_size_is_not_believed(self, size, tmp_path):
        (tmp_path / "x.png").write_bytes(png(*size))
        with little_memory(), pytest.raises(ValueError, match=r"x\.png is not a whole picture"):
            image_utils.load_image(tmp_path / "x.png")

    def test_the_length_of_a_chunk_is_not_believed(self, tmp_path):
        data = png(5, 5).replace(b"\0\0\0\x0cIDAT", b"\x7f\xff\xff\xffIDAT")
        assert b"\x7f\xff\xff\xff" in data
        (tmp_path / "x.png").write_bytes(data)
        with little_memory(), contextlib.suppress(ValueError):
            assert image_utils.load_image(tmp_path / "x.png").shape == (5, 5, 3)

    def test_a_compressed_text_is_not_unpacked_without_end(self, tmp_path):
        text = b"key\0\0" + zlib.compress(bytes(2**25))
        (tmp_path / "x.png").write_bytes(png(5, 5, *[(b"zTXt", text)] * 8))
        with little_memory(), contextlib.suppress(ValueError):
            assert image_utils.load_image(tmp_path / "x.png").shape == (5, 5, 3)

    @pytest.mark.parametrize("form", ["EPS", "PCX", "TGA", "ICO", "SGI"])
    def test_only_the_formats_that_are_listed_are_opened(self, form, tmp_path):
        """Pillow hands PostScript to another program."""
        Image.new("RGB", (8, 8)).save(tmp_path / "x.png", form)
        with pytest.raises(ValueError, match=r"x\.png is not a whole picture .*none of JPEG, PNG"):
            image_utils.load_image(tmp_path / "x.png")

    def test_a_file_that_is_too_large_is_not_read(self, tmp_path):
        with open(tmp_path / "x.png", "wb") as file:
            file.truncate(pictures.MAX_BYTES + 1)
        with little_memory(), pytest.raises(ValueError, match=r"x\.png has more than"):
            image_utils.load_image(tmp_path / "x.png")


def test_an_archive_whose_header_claims_gigabytes(tmp_path, monkeypatch):
    """A long name is read at once: no further than an archive may unpack to."""
    monkeypatch.setattr(download, "MAX_UNPACKED", 2**20)
    reader = READERS["tar"]
    data = bytearray(reader.files()["GNU"])
    start = data.index(b"././@LongLink")
    data[start + 124 : start + 136] = b"77777777777\0"
    head = data[start : start + 512]
    head[148:156] = b" " * 8
    data[start + 148 : start + 156] = b"%06o\0 " % sum(head)
    path = tmp_path / reader.name
    path.write_bytes(bytes(data) + bytes(2**22))
    with little_memory(2**24), pytest.raises(DataError, match="unpacks to more than 1048576 bytes"):
        reader.read(path)


def test_try_all_refuses_to_start_with_files_that_do_not_load(monkeypatch):
    broken = READERS["npz"]._replace(check=lambda result: False)
    monkeypatch.setitem(READERS, "npz", broken)
    with pytest.raises(SystemExit, match="the undamaged file is not accepted"):
        try_all("npz", 1)


def test_the_limits_of_npz_files_leave_room_for_networks():
    assert npz.MAX_READ // 100 > 10_000
