"""Data sets in the official forms, made by the tests: what is read is what was written."""

import gzip
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from batches import write_folder
from formats import (
    cifar100_pickle,
    idx_bytes,
    mat_array,
    mat_bytes,
    mat_element,
    write_cifar100,
    write_mnist,
    write_svhn,
)
from PIL import Image

from cs231n.data import cifar100, idx, mat, sets
from cs231n.data_utils import (
    BUILTIN_CLASSES,
    DataError,
    Dataset,
    data_from_arrays,
    get_CIFAR100_data,
    get_MNIST_data,
    get_SVHN_data,
    load_data,
    load_npz,
)
from cs231n.files.safe_pickle import parse_pickle

HEADER = b"MATLAB".ljust(124) + b"\0\1IM"
KEYS = ["X_train", "y_train", "X_val", "y_val", "X_test", "y_test"]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """Let data sets be searched in this folder only."""
    monkeypatch.setattr("cs231n.data.sets.data_folders", lambda: [tmp_path / "home"])
    monkeypatch.setattr("cs231n.data.cifar10.data_folders", lambda: [tmp_path / "home"])
    return tmp_path / "home"


def check_form(data, shape, sizes):
    """Fail unless this is the dict that the Solver takes."""
    assert isinstance(data, Dataset)
    assert list(data) == KEYS
    for part, size in zip(("train", "val", "test"), sizes):
        X, y = data[f"X_{part}"], data[f"y_{part}"]
        assert X.shape == (size, *shape)
        assert X.dtype == np.float32
        assert X.flags.c_contiguous
        assert X.flags.writeable
        assert y.shape == (size,)
        assert y.dtype == np.int64


class TestCifar100:
    @pytest.mark.parametrize("labels", ["fine", "coarse"])
    def test_the_official_form(self, home, rng, labels):
        X, fine, coarse, X_test, fine_test, coarse_test = write_cifar100(
            home / "cifar-100-python", rng
        )
        data = get_CIFAR100_data(50, 10, 20, subtract_mean=False, labels=labels)
        check_form(data, (3, 32, 32), (50, 10, 20))
        y, y_test = (fine, fine_test) if labels == "fine" else (coarse, coarse_test)
        np.testing.assert_array_equal(np.concatenate([data["X_train"], data["X_val"]]), X)
        np.testing.assert_array_equal(np.concatenate([data["y_train"], data["y_val"]]), y)
        np.testing.assert_array_equal(data["X_test"], X_test)
        np.testing.assert_array_equal(data["y_test"], y_test)
        assert len(data.class_names) == (100 if labels == "fine" else 20)
        assert data.class_names[7] == f"{labels} 7"

    def test_the_mean_is_subtracted_and_known(self, home, rng):
        X, *_ = write_cifar100(home, rng)
        data = get_CIFAR100_data(50, 10, 20)
        np.testing.assert_allclose(data.normalization.mean, X[:50].mean(axis=0))
        np.testing.assert_array_equal(data.normalization.apply(X[50:]), data["X_val"])

    def test_a_file_as_large_as_the_official_one_can_be_read(self):
        """50,000 names and two lists of labels take some 200,000 steps of the pickle machine."""
        count = 50_000
        labels = [number % 100 for number in range(count)]
        whole = cifar100_pickle(np.zeros((1, 3072), np.uint8), labels, labels)
        content = parse_pickle(bytearray(whole), "train")
        assert len(content["filenames"]) == len(content["coarse_labels"]) == count

    @pytest.mark.parametrize(
        ("part", "message"),
        [("train", "no list 'fine_labels'"), ("meta", "no list of 100 names")],
    )
    def test_what_is_no_cifar100_is_refused(self, home, rng, part, message):
        write_cifar100(home, rng)
        pixels = rng.integers(0, 256, (4, 3072), dtype=np.uint8)
        wrong = cifar100_pickle(pixels, [1, 2, 3, 100], [1, 2, 3, 4])
        (home / part).write_bytes(wrong)
        with pytest.raises(DataError, match=rf"{part}: has {message}.*; download CIFAR-100 again"):
            get_CIFAR100_data(3, 1, 1)

    def test_an_altered_official_file_is_refused(self, home, rng, monkeypatch):
        write_cifar100(home, rng)
        monkeypatch.setitem(cifar100.BYTES, "train", (home / "train").stat().st_size)
        with pytest.raises(DataError, match="train: altered"):
            get_CIFAR100_data(3, 1, 1)

    def test_missing(self, home):
        with pytest.raises(FileNotFoundError, match="CIFAR-100 is not there: looked for"):
            get_CIFAR100_data()

    def test_more_than_there_is(self, home, rng):
        write_cifar100(home, rng)
        with pytest.raises(ValueError, match=r"get_CIFAR100_data: 61 training and .* there are 60"):
            get_CIFAR100_data(51, 10, 20)
        with pytest.raises(ValueError, match=r"get_CIFAR100_data: 21 test images .* there are 20"):
            get_CIFAR100_data(50, 10, 21)


class TestMnist:
    @pytest.mark.parametrize("packed", [False, True])
    @pytest.mark.parametrize("dotted", [False, True])
    @pytest.mark.parametrize(
        ("name", "place"), [("mnist", "MNIST/raw"), ("fashion-mnist", "FashionMNIST/raw")]
    )
    def test_the_official_form(self, home, rng, name, place, packed, dotted):
        X, y, X_test, y_test = write_mnist(home / place, rng, packed, dotted)
        data = get_MNIST_data(num_validation=10, subtract_mean=False, name=name)
        check_form(data, (1, 28, 28), (50, 10, 20))
        np.testing.assert_array_equal(np.concatenate([data["X_train"], data["X_val"]])[:, 0], X)
        np.testing.assert_array_equal(np.concatenate([data["y_train"], data["y_val"]]), y)
        np.testing.assert_array_equal(data["X_test"][:, 0], X_test)
        np.testing.assert_array_equal(data["y_test"], y_test)
        assert data.class_names[9] == ("9" if name == "mnist" else "Ankle boot")

    def test_one_is_not_taken_for_the_other(self, home, rng):
        write_mnist(home / "MNIST" / "raw", rng)
        with pytest.raises(FileNotFoundError, match="fashion-mnist is not there"):
            get_MNIST_data(name="fashion-mnist")

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "no idx file of bytes with 3 axes"),
            (idx_bytes(np.zeros((3, 4), np.uint8)), "no idx file of bytes with 3 axes"),
            (b"\0\0\x0d\3" + bytes(12), "no idx file of bytes"),
            (idx_bytes(np.zeros((3, 4, 4), np.uint8))[:-1], "promises 48 numbers, 47 are there"),
            (idx_bytes(np.zeros((3, 4, 4), np.uint8)) + b"x", "more bytes than the 48"),
            (b"\0\0\x08\3" + b"\x7f\xff\xff\xff" * 3, "promises"),
            (b"\0\0\x08\3" + bytes(12), "promises"),
            (gzip.compress(idx_bytes(np.zeros((3, 4, 4), np.uint8)))[:-9], "no whole gzip file"),
            (gzip.compress(b"\0\0\x08\3" + b"\0\0\0\1" * 3 + bytes(2**25)), "more bytes than the"),
        ],
    )
    def test_damaged_files(self, home, rng, content, message):
        write_mnist(home / "MNIST", rng)
        path = home / "MNIST" / "train-images-idx3-ubyte"
        path.write_bytes(content)
        tracemalloc.start()
        with pytest.raises(DataError, match=rf"get_MNIST_data: .*{path.name} .*{message}"):
            get_MNIST_data()
        assert tracemalloc.get_traced_memory()[1] < 2**23
        tracemalloc.stop()

    def test_labels_that_do_not_fit(self, home, rng):
        write_mnist(home / "MNIST", rng)
        for labels in (np.full(60, 10, np.uint8), np.zeros(59, np.uint8)):
            (home / "MNIST" / idx.FILES[1]).write_bytes(idx_bytes(labels))
            with pytest.raises(DataError, match=r"labels up to .*expected 60 from 0 to 9"):
                get_MNIST_data()


class TestSvhn:
    def test_the_official_form(self, home, rng):
        X, y, X_test, y_test = write_svhn(home / "SVHN", rng)
        data = get_SVHN_data(num_validation=10, subtract_mean=False)
        check_form(data, (3, 32, 32), (50, 10, 20))
        np.testing.assert_array_equal(np.concatenate([data["X_train"], data["X_val"]]), X)
        np.testing.assert_array_equal(np.concatenate([data["y_train"], data["y_val"]]), y)
        np.testing.assert_array_equal(data["X_test"], X_test)
        np.testing.assert_array_equal(data["y_test"], y_test)
        assert data.class_names == tuple("0123456789")

    @pytest.mark.parametrize("compress", [False, True])
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_byte_orders_and_compression(self, tmp_path, rng, compress, order):
        data, X, y = mat_bytes(rng, 7, compress, order)
        (tmp_path / "x.mat").write_bytes(data)
        found, digits = sets.read_svhn("f", tmp_path / "x.mat")
        np.testing.assert_array_equal(found, X)
        np.testing.assert_array_equal(digits, y)

    @pytest.mark.parametrize("compress", [False, True])
    def test_reads_what_scipy_writes(self, tmp_path, rng, compress):
        io = pytest.importorskip("scipy.io")
        arrays = {
            "X": rng.integers(0, 256, (4, 5, 3, 2), dtype=np.uint8),
            "y": np.arange(3.0)[:, None],
            "n": np.array([[5]], np.int16),
            "a_long_name": np.ones((2, 2), np.float32),
            "text": "no numbers",
            "cell": np.array([[1, "x"]], object),
            "z": np.array([[1j]]),
        }
        io.savemat(tmp_path / "x.mat", arrays, do_compression=compress)
        found = mat.read_mat("f", tmp_path / "x.mat", arrays)
        assert sorted(found) == ["X", "a_long_name", "n", "y"]
        for name, array in found.items():
            np.testing.assert_array_equal(array, arrays[name])

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"", "its header is another one"),
            (b"\x89HDF\r\n\x1a\n" + bytes(200), "its header is another one"),
            (HEADER + struct.pack("<2I", 14, 2**31), "promises 2147483648 bytes, 0 are there"),
            (HEADER + struct.pack("<2I", 15, 9) + zlib.compress(bytes(99))[:9], "breaks off"),
            (HEADER + mat_element(15, zlib.compress(bytes(2**23))), "unpacks to more than"),
            (HEADER + b"\0\0\0", "buffer"),
        ],
    )
    def test_damaged_files(self, home, rng, content, message, monkeypatch):
        monkeypatch.setattr(mat, "MAX_GROWTH", 2**21)
        write_svhn(home, rng)
        (home / "train_32x32.mat").write_bytes(content)
        match = rf"get_SVHN_data: .*train_32x32\.mat is no whole .mat file .*{message}"
        with pytest.raises(DataError, match=match):
            get_SVHN_data()

    def test_mat_files_of_other_arrays(self, home, rng):
        write_svhn(home, rng)
        wrong = mat_array("X", np.zeros((2, 2))) + mat_array("y", np.zeros((2, 1)))
        (home / "train_32x32.mat").write_bytes(HEADER + wrong)
        with pytest.raises(DataError, match=r"train_32x32\.mat does not hold images X"):
            get_SVHN_data()


class TestArrays:
    def arrays(self, rng, count=100, shape=(6, 5, 3)):
        return rng.integers(0, 256, (count, *shape), dtype=np.uint8), np.arange(count) % 4

    @pytest.mark.parametrize(
        ("shape", "layout", "axes"),
        [
            ((6, 5), "auto", None),
            ((6, 5, 3), "auto", (2, 0, 1)),
            ((6, 5, 1), "auto", (2, 0, 1)),
            ((3, 6, 5), "auto", (0, 1, 2)),
            ((3, 6, 3), "NCHW", (0, 1, 2)),
            ((3, 6, 3), "NHWC", (2, 0, 1)),
        ],
    )
    def test_layouts(self, rng, shape, layout, axes):
        X, y = self.arrays(rng, 40, shape)
        before = X.copy()
        data = data_from_arrays(X, y, subtract_mean=False, validation=0, test=0, layout=layout)
        expected = X[:, None] if axes is None else X.transpose(0, *(1 + a for a in axes))
        np.testing.assert_array_equal(data["X_train"], expected)
        np.testing.assert_array_equal(data["y_train"], y)
        np.testing.assert_array_equal(X, before)

    def test_what_is_missing_is_split_off_by_class(self, rng):
        X, y = self.arrays(rng)
        data = data_from_arrays(X, y, seed=3)
        check_form(data, (3, 6, 5), (84, 8, 8))
        for part in ("val", "test"):
            assert np.bincount(data[f"y_{part}"]).tolist() == [2, 2, 2, 2]
        everything = np.concatenate(
            [data.normalization.undo(data[f"X_{part}"]) for part in ("train", "val", "test")]
        )
        found = sorted(map(tuple, np.rint(everything).reshape(100, -1).tolist()))
        assert found == sorted(map(tuple, X.transpose(0, 3, 1, 2).reshape(100, -1).tolist()))

    def test_given_parts_stay(self, rng):
        X, y = self.arrays(rng)
        data = data_from_arrays(X, y, X[:10], y[:10], subtract_mean=False, test=0.2)
        np.testing.assert_array_equal(data["X_val"], X[:10].transpose(0, 3, 1, 2))
        assert (len(data["y_train"]), len(data["y_test"])) == (80, 20)

    def test_labels_as_text(self, rng):
        X, _ = self.arrays(rng, 8)
        data = data_from_arrays(X, ["dog", "cat"] * 4, validation=0, test=0)
        assert data.class_names == ("cat", "dog")
        assert data["y_train"].tolist() == [1, 0] * 4
        named = data_from_arrays(X, ["dog", "cat"] * 4, class_names=["dog", "cat", "emu"])
        assert named.class_names == ("dog", "cat", "emu")

    def test_floats_from_0_to_1_say_so(self, rng):
        X, y = self.arrays(rng)
        data = data_from_arrays(X / 255, y, validation=0, test=0)
        assert data.normalization.white == 1
        pixels = X.transpose(0, 3, 1, 2)
        np.testing.assert_allclose(
            data.normalization.apply_pixels(pixels), data["X_train"], atol=1e-6
        )
        assert data_from_arrays(X, y).normalization.white == 255

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"X_train": np.zeros((8, 5))}, r"X_train has shape \(8, 5\); expected images"),
            ({"X_train": np.zeros((8, 3, 6, 3))}, 'expected layout="NCHW" or "NHWC"'),
            ({"X_train": np.full((8, 6, 5), np.nan)}, "X_train has pixels that are not finite"),
            ({"y_train": np.zeros(7, int)}, r"y_train has shape \(7,\); expected \(8,\)"),
            ({"y_train": np.eye(8)[:, :4]}, r"y_train has shape \(8, 4\); expected \(8,\)"),
            ({"y_train": np.zeros(8)}, "y_train has dtype float64; expected integers or text"),
            ({"y_train": np.arange(8) - 1}, "labels from -1 to 6"),
            ({"y_train": None}, "y_train is missing"),
            ({"y_train": np.zeros(8, int)}, "the classes are 0; expected at least two"),
            ({"y_train": np.full(8, 2**40)}, "there is a label 1099511627776"),
            ({"X_val": np.zeros((2, 6, 5))}, "y_val is missing"),
            ({"X_val": np.zeros((2, 7, 5)), "y_val": [0, 1]}, r"X_val has images \(1, 7, 5\) but"),
            ({"class_names": ["a", "a"]}, "the classes are a, a; expected at least two"),
            ({"class_names": ["a", "b"]}, "labels from 0 to 3"),
            ({"validation": 0.5, "test": 0.5}, r"validation is 0\.5 and test 0\.5"),
            ({"layout": "HWC"}, "layout is 'HWC'"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, change, message):
        good = {"X_train": np.zeros((8, 6, 5), np.uint8), "y_train": np.arange(8) % 4}
        with pytest.raises((ValueError, TypeError), match=rf"^data_from_arrays: .*{message}"):
            data_from_arrays(**{**good, **change})


class TestNpz:
    @pytest.mark.parametrize("x", ["x", "X"])
    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_as_keras_writes_it(self, tmp_path, rng, x, save):
        X, y = (
            rng.integers(0, 256, (60, 28, 28), dtype=np.uint8),
            np.arange(60, dtype=np.uint8) % 10,
        )
        X_test, y_test = X[:20] // 2, y[:20, None]  # CIFAR's labels are a column there
        save(
            tmp_path / "mnist.npz",
            **{f"{x}_train": X, "y_train": y, f"{x}_test": X_test, "y_test": y_test},
        )
        data = load_npz(tmp_path / "mnist.npz", subtract_mean=False)
        check_form(data, (1, 28, 28), (50, 10, 20))
        np.testing.assert_array_equal(data["X_test"][:, 0], X_test)
        np.testing.assert_array_equal(data["y_test"], y[:20])

    def test_class_names(self, tmp_path, rng):
        X = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
        np.savez(tmp_path / "x.npz", x_train=X, y_train=[0, 1] * 3, class_names=["cat", "dog"])
        assert load_npz(tmp_path / "x.npz").class_names == ("cat", "dog")

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"a": np.ones(3)}, r"x\.npz has the arrays a; expected x_train and y_train"),
            ({"x_train": np.ones((2, 8, 8))}, r"x\.npz: y_train is missing"),
            ({"x_train": np.ones(2), "y_train": [0, 1]}, r"x\.npz: X_train has shape \(2,\)"),
        ],
    )
    def test_other_files_are_refused_by_name(self, tmp_path, arrays, message):
        np.savez(tmp_path / "x.npz", **arrays)
        with pytest.raises(DataError, match=rf"^load_npz: .*{message}"):
            load_npz(tmp_path / "x.npz")

    def test_pickled_objects_are_not_read(self, tmp_path):
        np.savez(tmp_path / "x.npz", x_train=np.array([{}]), y_train=[0])
        with pytest.raises(ValueError, match=r"x\.npz is damaged or is no \.npz file of plain"):
            load_npz(tmp_path / "x.npz")


class TestLoadData:
    def test_names(self, home, rng):
        write_folder(home / "cifar-10-batches-py", rng)
        write_cifar100(home / "cifar-100-python", rng)
        write_mnist(home / "MNIST" / "raw", rng)
        write_mnist(home / "FashionMNIST" / "raw", rng, packed=True)
        write_svhn(home / "SVHN", rng)
        found = {
            name: load_data(name, num_training=40, num_validation=10, num_test=5)
            for name in ("builtin", "cifar10", "cifar100", "mnist", "Fashion_MNIST", "svhn")
        }
        for name, data in found.items():
            grey = "mnist" in name.lower()
            check_form(data, (1, 28, 28) if grey else (3, 32, 32), (40, 10, 5))
        assert found["builtin"].class_names == BUILTIN_CLASSES
        assert len(found["cifar100"].class_names) == 100
        assert found["Fashion_MNIST"].class_names[0] == "T-shirt/top"

    @pytest.mark.parametrize("kind", ["cifar10", "cifar100", "mnist", "fashion", "svhn"])
    @pytest.mark.parametrize("inside", [False, True])
    def test_folders_are_known_by_their_files(self, tmp_path, rng, kind, inside):
        write, names = {
            "cifar10": (write_folder, ("x", "x/cifar-10-batches-py")),
            "cifar100": (write_cifar100, ("x", "x/cifar-100-python")),
            "mnist": (write_mnist, ("x", "x/raw")),
            "fashion": (write_mnist, ("FashionMNIST", "FashionMNIST/raw")),
            "svhn": (write_svhn, ("x", "x/SVHN")),
        }[kind]
        write(tmp_path / names[inside], rng)
        data = load_data(tmp_path / names[0], num_training=40, num_validation=10, num_test=5)
        assert len(data["y_train"]) == 40
        assert ("Sandal" in data.class_names) == (kind == "fashion")
        assert len(data.class_names) == (100 if kind == "cifar100" else 10)

    def test_a_folder_that_holds_two_sets(self, tmp_path, rng):
        write_folder(tmp_path / "cifar-10-batches-py", rng)
        write_cifar100(tmp_path / "cifar-100-python", rng)
        with pytest.raises(ValueError, match="holds cifar10 and cifar100; expected the folder of"):
            load_data(tmp_path)

    def test_pictures_and_arrays_are_drawn_from(self, tmp_path):
        for name in ("cat", "dog"):
            (tmp_path / name).mkdir()
            for number in range(30):
                Image.new("RGB", (9, 9), (number, 0, 0)).save(tmp_path / name / f"{number}.png")
        data = load_data(tmp_path, size=8, num_training=20, num_test=4, num_validation=5)
        check_form(data, (3, 8, 8), (20, 5, 4))
        assert set(data["y_train"]) == {0, 1}
        again = load_data(tmp_path, size=8, num_training=20, num_test=4, num_validation=5)
        np.testing.assert_array_equal(data["X_train"], again["X_train"])
        with pytest.raises(ValueError, match="load_data: 49 train images asked for; there are 48"):
            load_data(tmp_path, size=8, num_training=49)
        X = np.zeros((20, 8, 8), np.uint8)
        np.savez(tmp_path / "x.npz", x_train=X, y_train=np.arange(20) % 2)
        assert len(load_data(tmp_path / "x.npz", num_training=10)["y_train"]) == 10

    @pytest.mark.parametrize(
        ("source", "message"),
        [
            ("cifar11", r"no file or folder 'cifar11' \(did you mean 'cifar10'\?\); expected buil"),
            ("/nowhere", "no file or folder '/nowhere'; expected builtin, cifar10"),
        ],
    )
    def test_what_is_not_there(self, home, source, message):
        with pytest.raises(FileNotFoundError, match=f"^load_data: .*{message}"):
            load_data(source)

    def test_a_file_of_another_kind(self, tmp_path):
        (tmp_path / "x.csv").write_text("1,2")
        with pytest.raises(ValueError, match=r"^load_data: .*x\.csv is no \.npz file"):
            load_data(tmp_path / "x.csv")
