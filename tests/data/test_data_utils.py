"""Loading: right files give the right arrays, hostile files give an error and nothing else."""

import builtins
import contextlib
import copyreg
import io
import os
import pickle
import shutil
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from batches import BATCHES, array_pickle, batch_pickle, random_batch, write_folder
from PIL import Image

from cs231n import data_utils
from cs231n.data_utils import DataError, get_CIFAR10_data, load_CIFAR_batch, load_pickle
from cs231n.files import safe_pickle

KEYS = ["X_train", "y_train", "X_val", "y_val", "X_test", "y_test"]


@pytest.fixture
def folder(tmp_path):
    """Return a folder of six small batches."""
    write_folder(tmp_path / "batches", np.random.default_rng(5))
    return tmp_path / "batches"


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """Let the loader search only inside tmp_path."""
    monkeypatch.delenv("CS231N_DATA", raising=False)
    monkeypatch.setattr("platformdirs.user_data_path", lambda name, **_: tmp_path / "home" / name)
    monkeypatch.setattr("cs231n.data.cifar10.__file__", str(tmp_path / "site/cs231n/data/x.py"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def read(data, name="data_batch_1"):
    """Unpickle bytes as a file of that name would be."""
    file = io.BytesIO(data)
    file.name = name
    return load_pickle(file)


class TestPickle:
    @pytest.mark.parametrize("module", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
    def test_reads_the_official_form(self, rng, module):
        pixels, labels = random_batch(rng, 30)
        batch = read(batch_pickle(pixels, labels, module))
        assert list(batch) == ["batch_label", "labels", "data"]
        assert batch["labels"] == labels
        assert batch["batch_label"] == "testing batch 1 of 1"
        np.testing.assert_array_equal(batch["data"], pixels)
        assert batch["data"].dtype == np.uint8
        assert batch["data"].flags.writeable

    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    @pytest.mark.parametrize("seed", range(25))
    def test_agrees_with_pickle_on_plain_values(self, seed, protocol):
        value = random_value(np.random.default_rng(seed), depth=4, with_bytes=protocol > 2)
        assert read(pickle.dumps(value, protocol)) == value

    @pytest.mark.parametrize("protocol", [3, 4])
    @pytest.mark.parametrize("shape", [(), (0,), (7,), (3, 0), (2, 3, 4, 5)])
    def test_agrees_with_pickle_on_arrays(self, rng, shape, protocol):
        array = rng.integers(0, 256, shape, dtype=np.uint8)
        for value in (array, np.asfortranarray(array)):
            found = read(pickle.dumps({"a": value, "again": [value, value]}, protocol))
            for each in (found["a"], *found["again"]):
                np.testing.assert_array_equal(each, value, strict=True)

    def test_long_python_2_string_stays_bytes(self):
        text = bytes(range(256)) * 300
        assert read(b"\x80\x02T" + struct.pack("<I", len(text)) + text + b".") == text

    def test_shared_list_stays_shared(self):
        inner = [1]
        found = read(pickle.dumps([inner, inner], 2))
        assert found[0] is found[1]

    def test_reads_from_the_current_position(self, tmp_path):
        (tmp_path / "two").write_bytes(b"head" + pickle.dumps([1, 2], 2))
        with open(tmp_path / "two", "rb") as file:
            file.read(4)
            assert load_pickle(file) == [1, 2]

    def test_text_mode_is_a_type_error(self, tmp_path):
        (tmp_path / "x").write_bytes(b"\x80\x02N.")
        with open(tmp_path / "x") as file, pytest.raises(TypeError, match="text mode"):
            load_pickle(file)

    def test_bytes_after_the_end_are_refused(self):
        with pytest.raises(DataError, match="3 bytes after its end"):
            read(b"\x80\x02N.abc")

    def test_large_file_is_refused_unread(self, tmp_path):
        with open(tmp_path / "large", "wb") as file:
            file.truncate(safe_pickle.MAX_BYTES + 1)
        tracemalloc.start()
        with open(tmp_path / "large", "rb") as file, pytest.raises(DataError, match="large: "):
            load_pickle(file)
        assert tracemalloc.get_traced_memory()[1] < 2**20
        tracemalloc.stop()


def random_value(rng, depth, with_bytes):
    """Return nested containers of plain values."""
    kind = rng.integers(0, 11 if depth else 7)
    count = int(rng.choice([0, 1, 2, 3, 4, 300 if depth == 4 else 5]))
    scalars = [
        lambda: None,
        lambda: bool(rng.integers(2)),
        lambda: int(rng.integers(-(2**31), 2**31)),
        lambda: int(rng.integers(0, 70000)),
        lambda: "".join(map(chr, rng.integers(1, 0xD000, count))),
        lambda: rng.bytes(count) if with_bytes else "b",
        lambda: "x" * int(rng.integers(0, 400)),
    ]
    if kind < 7:
        return scalars[kind]()
    items = [random_value(rng, depth - 1, with_bytes) for _ in range(count)]
    if kind == 7:
        return items
    if kind == 8:
        return tuple(items)
    return dict(zip((scalars[4]() + str(i) if i % 2 else i for i in range(count)), items))


class Payload:
    """What a pickle runs when it is loaded by the standard library."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class TestHostilePickle:
    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    @pytest.mark.parametrize(
        "payload",
        [
            pytest.param(lambda path: (os.system, f"echo > '{path}'"), id="os.system"),
            pytest.param(
                lambda path: (builtins.eval, f"__import__('os').mkdir({path!r})"), id="eval"
            ),
            pytest.param(lambda path: (os.mkdir, path), id="mkdir"),
            pytest.param(lambda path: (subprocess.call, ["touch", path]), id="subprocess"),
            pytest.param(lambda path: (np.save, path, 1), id="numpy.save"),
        ],
    )
    def test_nothing_runs(self, tmp_path, payload, protocol):
        path = str(tmp_path / "sentinel.npy")
        data = pickle.dumps({"data": Payload(*payload(path))}, protocol)
        with pytest.raises(DataError, match=r"data_batch_1: the pickle has the name \w+\.\w+"):
            read(data)
        assert not os.path.exists(path)
        pickle.loads(data)
        assert os.path.exists(path)  # the payload is a live one

    @pytest.mark.parametrize(
        "opcodes",
        {
            "the attribute of a name": b"\x8c\x05numpy\x8c\x0dndarray.dumps\x93.",
            "another numpy name": b"cnumpy.core.multiarray\nscalar\n.",
            "a name that is no text": b"K\x01K\x02\x93.",
            "an endless name": b"c" + b"x" * 5000,
            "a persistent id": b"K\x01Q.",
            "a text persistent id": b"Pabc\n.",
            "an extension code": b"\x82\x01.",
            "INST": b"(ios\nsystem\n.",
            "OBJ": b"(cnumpy\nndarray\no.",
            "NEWOBJ": b"cnumpy\nndarray\n)\x81.",
            "a buffer": b"\x97.",
            "a set": b"\x8f.",
            "protocol 1": b"\x80\x01N.",
            "ndarray called": b"cnumpy\nndarray\nK\x05\x85\x85R.",
            "dtype called with text": b"cnumpy\ndtype\nU\x01O\x85R.",
            "objects": b"cnumpy\ndtype\nU\x02O8K\x00K\x01\x87R.",
            "wide numbers": b"cnumpy\ndtype\nU\x02f8K\x00K\x01\x87R.",
            "fields": b"cnumpy\ndtype\n]U\x01aU\x02u1\x86aK\x00K\x01\x87R.",
            "reconstructed text": (
                b"cnumpy.core.multiarray\n_reconstruct\nU\x03strK\x00\x85U\x01b\x87R."
            ),
            "attributes of a name": b"cnumpy\nndarray\n}U\x01aK\x01sb.",
            "slots of a name": b"cnumpy\ndtype\nN}U\x0c__defaults__K\x01s\x86b.",
            "attributes of an array": array_pickle(np.zeros((1, 1), np.uint8)) + b"}b.",
            "a called number": b"K\x01)R.",
            "an append to a number": b"K\x01K\x02a.",
            "appends to a tuple": b")(K\x02e.",
            "items of a list": b"]K\x01K\x02s.",
            "an odd number of items": b"}(K\x01u.",
            "a tuple as key": b"}K\x01\x85K\x01s.",
            "a list as key": b"}]K\x01s.",
            "an empty stack": b".",
            "a pop from an empty stack": b"\x86.",
            "two values": b"NN.",
            "an open mark": b"N(N.",
            "no mark": b"Nt.",
            "an unknown memo": b"h\x05.",
            "broken UTF-8": b"\x8c\x01\xff.",
        }.items(),
        ids=lambda case: case[0],
    )
    def test_refused(self, opcodes):
        with pytest.raises(DataError, match="data_batch_1: "):
            read(b"\x80\x02" + opcodes[1])

    def test_extension_registry_is_not_asked(self, tmp_path):
        path = tmp_path / "sentinel"
        name = os.system.__module__, "system"
        copyreg.add_extension(*name, 240)
        try:
            data = pickle.dumps(Payload(os.system, f"echo > '{path}'"), 2)
            assert b"\x82\xf0" in data
            with pytest.raises(DataError):
                read(data)
        finally:
            copyreg.remove_extension(*name, 240)
        assert not path.exists()

    @pytest.mark.parametrize(
        "value",
        [
            np.zeros(3),
            np.zeros(3, ">i4"),
            np.zeros(3, np.int8),
            np.array([None, {}]),
            np.array({}),
            np.zeros(2, [("a", "u1")]),
            np.array(["a"]),
            np.uint8(3),
        ],
        ids=str,
    )
    def test_other_arrays_are_refused(self, value):
        with pytest.raises(DataError):
            read(pickle.dumps(value, 4))

    @pytest.mark.parametrize(
        "opcodes",
        {
            "string": b"T\xff\xff\xff\x7fabc",
            "unicode": b"X\xff\xff\xff\xffabc",
            "bytes": b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7fabc",
            "memo": b"Nr\xff\xff\xff\xff.",
            "frame": b"\x95\xff\xff\xff\xff\xff\xff\xff\xff",
        }.items(),
        ids=lambda case: case[0],
    )
    def test_huge_lengths_allocate_nothing(self, opcodes):
        tracemalloc.start()
        try:
            assert read(b"\x80\x04" + opcodes[1]) is None  # a memo is as large as its entries
        except DataError:
            assert opcodes[0] != "memo"
        assert tracemalloc.get_traced_memory()[1] < 2**20
        tracemalloc.stop()

    @pytest.mark.parametrize(
        "shape",
        [(2**31 - 1, 2**31 - 1), (2**31 - 1, 0), (-1, -4), (1, 5), (2, 2, 1, 1, 1, 1), (4.0,), 4],
        ids=str,
    )
    def test_shapes_must_fit_the_data(self, shape):
        data = pickle.dumps(np.arange(4, dtype=np.uint8).reshape(2, 2), 3)
        assert data.count(b"K\x02K\x02\x86") == 1
        opcodes = pickle.dumps(shape, 2)[2:-1].replace(b"q\x00", b"")
        tracemalloc.start()
        with pytest.raises(DataError, match="data_batch_1"):
            read(data.replace(b"K\x02K\x02\x86", opcodes))
        assert tracemalloc.get_traced_memory()[1] < 2**20
        tracemalloc.stop()

    def test_array_inside_its_own_state(self):
        state = b"(K\x01K\x01\x85h\x01\x89h\x01tb."
        with pytest.raises(DataError):
            read(
                b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b"
                b"\x87Rq\x01" + state
            )

    @pytest.mark.long
    def test_deep_nesting_neither_crashes_nor_hangs(self):
        depth = 200_000
        value = read(b"\x80\x02N" + b"\x85" * depth + b".")
        for _ in range(depth):
            (value,) = value
        assert value is None
        with pytest.raises(DataError, match="dict key"):
            read(b"\x80\x02}N" + b"\x85" * depth + b"Ns.")

    def test_too_many_opcodes(self):
        with pytest.raises(DataError, match="opcodes"):
            read(b"\x80\x02(" + b"]" * 300_000 + b"t.")


class TestBatch:
    def test_images_and_labels(self, tmp_path, rng):
        pixels, labels = random_batch(rng, 7)
        (tmp_path / "any_name").write_bytes(batch_pickle(pixels, labels))
        X, Y = load_CIFAR_batch(tmp_path / "any_name")
        assert X.shape == (7, 32, 32, 3)
        assert X.dtype == np.float32
        assert X.flags.c_contiguous
        assert Y.dtype == np.int64
        assert Y.tolist() == labels
        for n, channel, row, column in [(0, 0, 0, 0), (6, 2, 31, 31), (3, 1, 4, 17), (2, 2, 30, 1)]:
            assert X[n, row, column, channel] == pixels[n, channel * 1024 + row * 32 + column]

    def test_truncated_anywhere_names_file_and_fix(self, tmp_path, rng):
        data = batch_pickle(*random_batch(rng, 2))
        path = tmp_path / "data_batch_4"
        for length in [*range(300), *range(300, len(data), 161), *range(len(data) - 20, len(data))]:
            path.write_bytes(data[:length])
            with pytest.raises(DataError, match=r"data_batch_4.*python -m cs231n download"):
                load_CIFAR_batch(path)

    def test_flipped_bits_load_or_are_refused(self, tmp_path, rng):
        data = bytearray(batch_pickle(*random_batch(rng, 2)))
        start = data.index(b"T") + 5
        path = tmp_path / "data_batch_2"
        loaded = 0
        places = [*range(start), *range(start + 2 * 3072, len(data))]
        for place in [*places, *rng.integers(start, start + 6144, 20)]:
            flipped = bytearray(data)
            flipped[place] ^= 1 << rng.integers(8)
            path.write_bytes(flipped)
            with contextlib.suppress(DataError):
                X, Y = load_CIFAR_batch(path)
                assert X.shape == (len(Y), 32, 32, 3)
                assert set(Y) <= set(range(10))
                loaded += 1
        assert 20 <= loaded < len(places)

    @pytest.mark.parametrize(
        "change",
        {
            "no dict": lambda batch: [batch],
            "no data": lambda batch: {"labels": batch["labels"]},
            "data as bytes": lambda batch: {**batch, "data": bytes(6144)},
            "one axis": lambda batch: {**batch, "data": batch["data"].ravel()},
            "too narrow": lambda batch: {**batch, "data": batch["data"][:, 1:].copy()},
            "no labels": lambda batch: {"data": batch["data"], "fine_labels": batch["labels"]},
            "one label too many": lambda batch: {**batch, "labels": [1, 2, 3]},
            "label 10": lambda batch: {**batch, "labels": [1, 10]},
            "label -1": lambda batch: {**batch, "labels": [-1, 1]},
            "label True": lambda batch: {**batch, "labels": [True, 1]},
            "label text": lambda batch: {**batch, "labels": ["1", 1]},
            "labels as tuple": lambda batch: {**batch, "labels": (1, 1)},
        }.items(),
        ids=lambda case: case[0],
    )
    def test_wrong_structure(self, tmp_path, rng, change):
        pixels, labels = random_batch(rng, 2)
        path = tmp_path / "test_batch"
        path.write_bytes(pickle.dumps(change[1]({"data": pixels, "labels": labels}), 4))
        with pytest.raises(DataError, match=r"test_batch: no .*batch.*python -m cs231n download"):
            load_CIFAR_batch(path)

    def test_missing_file(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=r"data_batch_3 is not there.*cs231n download"):
            load_CIFAR_batch(tmp_path / "data_batch_3")


class TestCifar10:
    def test_splits_mean_and_order(self, tmp_path, rng):
        X, y, X_test, y_test = write_folder(tmp_path, rng)
        data = get_CIFAR10_data(40, 15, 9, cifar10_dir=tmp_path)
        assert list(data) == KEYS
        mean = sum(X[:40].astype(object)) / 40  # exact integers
        for name, images in (("train", X[:40]), ("val", X[40:55]), ("test", X_test[:9])):
            expected = (images - mean.astype(np.float64)).astype(np.float32)
            np.testing.assert_array_equal(data[f"X_{name}"], expected, strict=True)
            assert data[f"X_{name}"].flags.c_contiguous
            assert data[f"X_{name}"].flags.writeable
            assert data[f"y_{name}"].dtype == np.int64
        np.testing.assert_array_equal(data["y_train"], y[:40])
        np.testing.assert_array_equal(data["y_val"], y[40:55])
        np.testing.assert_array_equal(data["y_test"], y_test[:9])
        np.testing.assert_array_equal(data_utils.cifar10_mean_image(40, tmp_path), mean)

    @pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
    def test_dtype(self, folder, dtype):
        exact = get_CIFAR10_data(30, 10, 5, dtype=np.float64, cifar10_dir=folder)
        data = get_CIFAR10_data(30, 10, 5, dtype=dtype, cifar10_dir=folder)
        for key in ("X_train", "X_val", "X_test"):
            np.testing.assert_array_equal(data[key], exact[key].astype(dtype), strict=True)

    def test_without_mean_subtraction(self, tmp_path, rng):
        X, _, X_test, _ = write_folder(tmp_path, rng)
        data = get_CIFAR10_data(30, 10, 5, False, cifar10_dir=tmp_path)
        np.testing.assert_array_equal(data["X_train"], X[:30])
        np.testing.assert_array_equal(data["X_val"], X[30:40])
        np.testing.assert_array_equal(data["X_test"], X_test[:5])

    def test_path_may_come_first(self, folder):
        expected = get_CIFAR10_data(20, 6, 4, False, cifar10_dir=folder)
        for found in (
            get_CIFAR10_data(str(folder), 20, 6, 4, False),
            get_CIFAR10_data(folder, num_training=20, num_validation=6, num_test=4,
                             subtract_mean=False),
        ):  # fmt: skip
            for key in KEYS:
                np.testing.assert_array_equal(found[key], expected[key], strict=True)
        with pytest.raises(TypeError, match="cifar10_dir"):
            get_CIFAR10_data(folder, 20, cifar10_dir=folder)

    def test_load_all(self, tmp_path, rng):
        X, y, X_test, y_test = write_folder(tmp_path / "cifar-10-batches-py", rng)
        for root in (tmp_path, str(tmp_path / "cifar-10-batches-py")):
            Xtr, Ytr, Xte, Yte = data_utils.load_CIFAR10(root)
            np.testing.assert_array_equal(Xtr, X.transpose(0, 2, 3, 1))
            np.testing.assert_array_equal(Xte, X_test.transpose(0, 2, 3, 1))
            assert Xtr.dtype == Xte.dtype == np.float32
            assert Xtr.flags.c_contiguous
            assert Ytr.tolist() == y.tolist()
            assert Yte.tolist() == y_test

    def test_reads_only_the_batches_it_needs(self, folder):
        for name in BATCHES[2:]:
            (folder / name).unlink()
        (folder / "test_batch").write_bytes(b"broken")
        data = get_CIFAR10_data(20, 4, 0, cifar10_dir=folder)
        assert data["X_test"].shape == (0, 3, 32, 32)
        with pytest.raises(FileNotFoundError, match="data_batch_3"):
            get_CIFAR10_data(20, 5, 0, cifar10_dir=folder)

    @pytest.mark.parametrize("sizes", [(50, 11, 1), (60, 0, 13), (49001, 1000, 10), (1, 0, 10001)])
    def test_more_images_than_there_are(self, folder, sizes):
        with pytest.raises(ValueError, match=r"get_CIFAR10_data: \d+ images asked for; .* have \d"):
            get_CIFAR10_data(*sizes, cifar10_dir=folder)

    @pytest.mark.parametrize("sizes", [(0, 1, 1), (-5, 1, 1), (5, -1, 1), (5, 1, -1)])
    def test_sizes_below_the_least(self, folder, sizes):
        with pytest.raises(ValueError, match=r"num_\w+ is -?\d; expected an integer"):
            get_CIFAR10_data(*sizes, cifar10_dir=folder)

    def test_types_of_arguments(self, folder):
        with pytest.raises(TypeError, match="num_training is 2"):
            get_CIFAR10_data(2.5, cifar10_dir=folder)
        with pytest.raises(TypeError, match="dtype is uint8; expected a float"):
            get_CIFAR10_data(5, 1, 1, dtype=np.uint8, cifar10_dir=folder)

    @pytest.mark.parametrize(
        "place",
        [
            "site/datasets/cifar-10-batches-py",
            "site/cs231n/datasets/cifar-10-batches-py",
            "work/datasets/cifar-10-batches-py",
            "home/cs231n/datasets/cifar-10-batches-py",
        ],
    )
    def test_places_that_are_searched(self, nowhere, place, rng):
        write_folder(nowhere / place, rng)
        assert len(get_CIFAR10_data(20, 1, 1)["X_train"]) == 20

    @pytest.mark.parametrize("inside", ["", "cifar-10-batches-py"])
    def test_environment_variable_comes_first(self, nowhere, monkeypatch, rng, inside):
        write_folder(nowhere / "work/datasets/cifar-10-batches-py", rng)
        _, y, *_ = write_folder(nowhere / "named" / inside, rng)
        monkeypatch.setenv("CS231N_DATA", str(nowhere / "named"))
        np.testing.assert_array_equal(get_CIFAR10_data(30, 1, 1)["y_train"], y[:30])

    def test_missing_data_says_that_the_variable_names_no_folder(self, nowhere, monkeypatch):
        monkeypatch.setenv("CS231N_DATA", str(nowhere / "named"))
        with pytest.raises(FileNotFoundError, match=r"CS231N_DATA is .*named', which is no folder"):
            get_CIFAR10_data()

    def test_missing_data_says_where_it_looked(self, nowhere, monkeypatch):
        (nowhere / "named").mkdir()
        monkeypatch.setenv("CS231N_DATA", str(nowhere / "named"))
        with pytest.raises(FileNotFoundError) as error:
            get_CIFAR10_data()
        for text in ("named", "site/datasets", "site/cs231n/datasets", "work/datasets",
                     "python -m cs231n download", "CS231N_DATA"):  # fmt: skip
            assert text in str(error.value)
        found, advice = str(error.value).splitlines()
        places = found.partition(" in ")[2].split(", ")
        assert len(places) == len(set(places)) == 6
        assert sum("site/datasets" in place for place in places) == 1
        assert advice.startswith("Get it with: ")
        with pytest.raises(FileNotFoundError, match="elsewhere"):
            get_CIFAR10_data(nowhere / "elsewhere")

    def test_broken_batch_is_named(self, folder):
        path = folder / "data_batch_2"
        path.write_bytes(path.read_bytes()[:20000])
        with pytest.raises(DataError, match=r"data_batch_2.*truncated.*python -m cs231n download"):
            get_CIFAR10_data(30, 5, 5, cifar10_dir=folder)


MEMORY_SCRIPT = """
import resource, sys, tracemalloc
from cs231n.data_utils import get_CIFAR10_data
def resident():
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
start = resident()
tracemalloc.start()
data = get_CIFAR10_data(cifar10_dir=sys.argv[1])
returned = sum(array.nbytes for array in data.values())
print(returned, tracemalloc.get_traced_memory()[1], resident() - start)
"""


class TestRealCifar10:
    def test_published_facts(self, cifar10_dir):
        Xtr, Ytr, Xte, Yte = data_utils.load_CIFAR10(cifar10_dir)
        assert Xtr.shape == (50000, 32, 32, 3)
        assert Xte.shape == (10000, 32, 32, 3)
        assert np.bincount(Ytr).tolist() == [5000] * 10
        assert np.bincount(Yte).tolist() == [1000] * 10
        assert [data_utils.CIFAR10_CLASSES[label] for label in Ytr[:4]] == [
            "frog", "truck", "truck", "deer"]  # fmt: skip
        means = Xtr.mean(axis=(0, 1, 2), dtype=np.float64) / 255
        np.testing.assert_allclose(means, [0.4914, 0.4822, 0.4465], atol=5e-5)

    @pytest.mark.long
    def test_default_splits(self, cifar10_dir):
        data = get_CIFAR10_data(cifar10_dir=cifar10_dir)
        assert [data[key].shape[0] for key in KEYS] == [49000, 49000, 1000, 1000, 1000, 1000]
        assert abs(data["X_train"].mean(dtype=np.float64)) < 1e-4
        last, labels = load_CIFAR_batch(Path(cifar10_dir) / "data_batch_5")
        mean = data_utils.cifar10_mean_image(cifar10_dir=cifar10_dir)
        np.testing.assert_array_equal(data["y_val"], labels[9000:])
        np.testing.assert_array_equal(
            data["X_val"], (last[9000:].transpose(0, 3, 1, 2) - mean).astype(np.float32)
        )

    @pytest.mark.long
    def test_peak_memory(self, cifar10_dir):
        pytest.importorskip("resource", reason="the system does not count resident memory")
        output = subprocess.run(
            [sys.executable, "-c", MEMORY_SCRIPT, str(cifar10_dir)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        returned, traced, resident = map(int, output.split())
        assert returned > 600_000_000
        assert traced < returned + 45_000_000  # one raw batch, never two
        assert resident < 1.5 * returned + 31_100_000

    def test_altered_pixel_is_found(self, cifar10_dir, tmp_path):
        path = tmp_path / "data_batch_1"
        shutil.copy(Path(cifar10_dir) / "data_batch_1", path)
        with open(path, "r+b") as file:
            file.seek(20_000_000)
            byte = file.read(1)[0]
            file.seek(20_000_000)
            file.write(bytes([byte ^ 4]))
        with pytest.raises(DataError, match=r"data_batch_1: altered.*python -m cs231n download"):
            load_CIFAR_batch(path)

    def test_truncated_official_batch(self, cifar10_dir, tmp_path):
        path = tmp_path / "test_batch"
        shutil.copy(Path(cifar10_dir) / "test_batch", path)
        for length in (31_000_000, 12_345_678, 20_300, 150, 0):
            os.truncate(path, length)
            with pytest.raises(DataError, match=r"test_batch.*python -m cs231n download"):
                load_CIFAR_batch(path)


def write_picture(path, rng, shape=(64, 64, 3)):
    """Write a random PNG (whatever the suffix says); return its RGB pixels."""
    pixels = rng.integers(0, 256, shape, dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, "PNG")
    return pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)


@pytest.fixture
def tiny_imagenet(tmp_path, rng):
    """Write a Tiny ImageNet of two classes; return its folder and its pictures."""
    root = tmp_path / "tiny"
    pictures = {}
    for wnid in ("n02", "n01"):
        for i in range(3):
            path = root / "train" / wnid / "images" / f"{wnid}_{i}.JPEG"
            pictures[path.name] = write_picture(path, rng, (64, 64) if i == 1 else (64, 64, 3))
    for i in range(4):
        for part in ("val", "test"):
            path = root / part / "images" / f"{part}_{i}.JPEG"
            pictures[path.name] = write_picture(path, rng)
    (root / "wnids.txt").write_text("n02\nn01\n")
    (root / "words.txt").write_text("n00\tentity\nn01\tgoldfish, Carassius auratus\nn02\tnewt\n")
    (root / "val" / "val_annotations.txt").write_text(
        "".join(f"val_{i}.JPEG\t{wnid}\t0\t0\t9\t9\n" for i, wnid in
                ((2, "n01"), (0, "n02"), (3, "n02"), (1, "n01")))
    )  # fmt: skip
    return root, pictures


class TestTinyImagenet:
    def test_loads(self, tiny_imagenet):
        root, pictures = tiny_imagenet
        data = data_utils.load_tiny_imagenet(root, subtract_mean=False)
        assert data["class_names"] == [["newt"], ["goldfish", "Carassius auratus"]]
        assert data["y_train"].tolist() == [0, 0, 0, 1, 1, 1]
        assert data["y_val"].tolist() == [1, 0, 0, 1]
        assert data["y_test"] is None
        assert data["X_train"].dtype == np.float32
        names = {
            "X_train": ["n02_0", "n02_1", "n02_2", "n01_0", "n01_1", "n01_2"],
            "X_val": ["val_2", "val_0", "val_3", "val_1"],
            "X_test": ["test_0", "test_1", "test_2", "test_3"],
        }
        for key, files in names.items():
            expected = [pictures[f"{name}.JPEG"].transpose(2, 0, 1) for name in files]
            np.testing.assert_array_equal(data[key], expected)
        mean = np.mean(data["X_train"], axis=0, dtype=np.float64)
        np.testing.assert_array_equal(data["mean_image"], mean)
        centred = data_utils.load_tiny_imagenet(root, dtype=np.float64)
        np.testing.assert_array_equal(centred["X_val"], data["X_val"] - mean)

    def test_labels_of_the_test_images_where_known(self, tiny_imagenet):
        root, _ = tiny_imagenet
        table = root / "test" / "test_annotations.txt"
        table.write_text("test_1.JPEG\tn01\ntest_0.JPEG\tn02\ntest_3.JPEG\tn01\ntest_2.JPEG\tn02\n")
        assert data_utils.load_tiny_imagenet(root)["y_test"].tolist() == [0, 1, 0, 1]
        table.write_text("test_1.JPEG\tn01\n")
        with pytest.raises(DataError, match=r"test_annotations\.txt: has no line for test_0"):
            data_utils.load_tiny_imagenet(root)

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("val_0.JPEG\tn99\n", "n99"),
            ("../../secret\tn01\n", "not the name of a file"),
            ("..\tn01\n", "not the name of a file"),
        ],
    )
    def test_broken_table(self, tiny_imagenet, line, message):
        root, _ = tiny_imagenet
        (root / "val" / "val_annotations.txt").write_text(line)
        with pytest.raises(DataError, match=rf"val_annotations\.txt: .*{message}"):
            data_utils.load_tiny_imagenet(root)

    def test_broken_pictures_and_missing_files(self, tiny_imagenet, rng):
        root, _ = tiny_imagenet
        write_picture(root / "val" / "images" / "val_3.JPEG", rng, (64, 60, 3))
        with pytest.raises(DataError, match=r"val_3\.JPEG: has shape \(64, 60, 3\)"):
            data_utils.load_tiny_imagenet(root)
        (root / "train" / "n01" / "images" / "n01_1.JPEG").write_bytes(b"no picture")
        with pytest.raises(ValueError, match=r"n01_1\.JPEG"):
            data_utils.load_tiny_imagenet(root)
        (root / "wnids.txt").unlink()
        with pytest.raises(FileNotFoundError, match=r"wnids\.txt"):
            data_utils.load_tiny_imagenet(root)


@pytest.mark.parametrize("beside", ["site/datasets", "work/datasets", "work/cs231n/datasets"])
@pytest.mark.parametrize("inside", ["", "/cifar-10-batches-py"])
@pytest.mark.parametrize("named", ["cs231n/datasets", "./cs231n/../cs231n/datasets", "datasets"])
def test_a_usual_place_stands_for_all_of_them(nowhere, named, inside, beside):
    write_folder(nowhere / beside / "cifar-10-batches-py", np.random.default_rng(5))
    Xtr, _, Xte, _ = data_utils.load_CIFAR10(named + inside)
    assert (len(Xtr), len(Xte)) == (60, 12)
    assert len(get_CIFAR10_data(named + inside, 3, 1, 1)["X_train"]) == 3
    assert len(get_CIFAR10_data(3, 1, 1)["X_train"]) == 3


def test_another_place_stands_for_itself(nowhere):
    write_folder(nowhere / "work/datasets/cifar-10-batches-py", np.random.default_rng(5))
    for named in ("data", "datasets/other", "cs231n", "cs231n/datasets/cifar-10-batches-py/x"):
        with pytest.raises(FileNotFoundError, match="CIFAR-10 is not there"):
            data_utils.load_CIFAR10(named)


def test_the_named_place_comes_first(nowhere):
    for place, seed in (("work/datasets", 5), ("work/cs231n/datasets", 6)):
        write_folder(nowhere / place / "cifar-10-batches-py", np.random.default_rng(seed))
    named = data_utils.load_CIFAR10("cs231n/datasets")[0]
    other = data_utils.load_CIFAR10("datasets")[0]
    assert not np.array_equal(named, other)


def test_models_are_loaded_where_they_are_data(tmp_path, rng):
    params = {"W1": rng.integers(0, 9, (3, 2), dtype=np.uint8)}
    (tmp_path / "a").write_bytes(pickle.dumps({"model": params}, 4))
    (tmp_path / "README.txt").write_text("none")
    (tmp_path / "evil").write_bytes(pickle.dumps({"model": Payload(os.system, "exit 1")}))
    (tmp_path / "list").write_bytes(pickle.dumps([1]))
    with pytest.warns(UserWarning, match="load_models: .* is left out") as warned:
        models = data_utils.load_models(tmp_path)
    assert [Path(str(w.message).split()[1]).name for w in warned] == ["README.txt", "evil", "list"]
    assert list(models) == ["a"]
    np.testing.assert_array_equal(models["a"]["W1"], params["W1"], strict=True)


class TestImagenetVal:
    @pytest.fixture
    def place(self, nowhere):
        folder = nowhere / "work" / "datasets"
        folder.mkdir()
        return folder / "imagenet_val_25.npz"

    @pytest.fixture
    def arrays(self, rng):
        return {
            "X": rng.integers(0, 256, (5, 9, 9, 3), dtype=np.uint8),
            "y": rng.integers(0, 1000, 5),
            "label_map": {0: "tench, Tinca tinca", 999: "toilet tissue"},
        }

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_loads(self, place, arrays, save):
        save(place, **arrays)
        X, y, class_names = data_utils.load_imagenet_val()
        np.testing.assert_array_equal(X, arrays["X"], strict=True)
        np.testing.assert_array_equal(y, arrays["y"], strict=True)
        assert class_names == arrays["label_map"]
        X, y, _ = data_utils.load_imagenet_val(num=2)
        assert X.shape == (2, 9, 9, 3)
        assert y.shape == (2,)

    def test_missing_file_says_how_to_get_it(self, nowhere):
        with pytest.raises(FileNotFoundError, match=r"work/datasets.*\n.*http://cs231n") as found:
            data_utils.load_imagenet_val()
        assert len(str(found.value).splitlines()) == 2

    def test_nothing_runs(self, place, arrays, tmp_path):
        sentinel = tmp_path / "sentinel"
        arrays["label_map"] = {0: Payload(os.system, f"echo > '{sentinel}'")}
        np.savez(place, **arrays)
        with pytest.raises(DataError, match=r"imagenet_val_25\.npz: label_map"):
            data_utils.load_imagenet_val()
        assert not sentinel.exists()

    def test_truncated_or_flipped(self, place, arrays, rng):
        np.savez(place, **arrays)
        data = place.read_bytes()
        for length in range(0, len(data), 37):
            place.write_bytes(data[:length])
            with pytest.raises(DataError, match="imagenet_val_25"):
                data_utils.load_imagenet_val()
        for position in rng.integers(0, len(data), 200):
            flipped = bytearray(data)
            flipped[position] ^= 1 << rng.integers(8)
            place.write_bytes(flipped)
            try:
                X, y, class_names = data_utils.load_imagenet_val()
            except DataError:
                continue
            assert (X.ndim, y.ndim, type(class_names)) == (4, 1, dict)

    @pytest.mark.parametrize(
        "change",
        [
            {"X": np.zeros((2**10, 0))},
            {"y": np.zeros(3)},
            {"label_map": [1, 2]},
            {"label_map": np.zeros(3)},
            {"X": np.zeros(4, "U3")},
        ],
    )
    def test_wrong_members(self, place, arrays, change):
        np.savez(place, **{**arrays, **change})
        with pytest.raises(DataError, match="imagenet_val_25"):
            data_utils.load_imagenet_val()

    def test_huge_shape_is_not_allocated(self, place, arrays):
        np.savez(place, **arrays)
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "|u1", "fortran_order": False, "shape": (2**20, 2**20, 2**10, 3)}
        )
        with zipfile.ZipFile(place) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(place, "w") as archive:
            for name, data in members.items():
                archive.writestr(name, header.getvalue() + b"abc" if name == "X.npy" else data)
        with pytest.raises(DataError, match=r"X promises \(1048576"):
            data_utils.load_imagenet_val()
