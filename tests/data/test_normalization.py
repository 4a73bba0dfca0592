"""What training did to its images is done to further ones, bit for bit, and survives storing."""

import copy
import pickle

import numpy as np
import pytest

from cs231n.classifiers import TwoLayerNet
from cs231n.data_utils import (
    BUILTIN_CLASSES,
    Dataset,
    Normalization,
    get_builtin_data,
    standardize,
)

KEYS = ["X_train", "y_train", "X_val", "y_val", "X_test", "y_test"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("divided", [False, True])
@pytest.mark.parametrize("subtract_mean", [False, True])
def test_the_data_functions_say_what_they_did(dtype, divided, subtract_mean):
    raw = get_builtin_data(300, 40, 40, subtract_mean=False, dtype=dtype)
    data = get_builtin_data(300, 40, 40, subtract_mean=subtract_mean, dtype=dtype)
    if divided:
        standardize(data)
    for name in ("X_train", "X_val", "X_test"):
        found = data.normalization.apply(raw[name])
        np.testing.assert_array_equal(found, data[name], strict=True)
        pixels = raw[name].astype(np.uint8)
        again = data.normalization.apply_pixels(pixels, dtype)
        np.testing.assert_array_equal(again, data[name], strict=True)
        np.testing.assert_allclose(data.normalization.undo(data[name]), raw[name], atol=1e-4)


def test_deviations_add_up():
    data = get_builtin_data(50, 5, 5)
    raw = get_builtin_data(50, 5, 5, subtract_mean=False)
    standardize(data)
    data["X_train"] *= 3
    standardize(data)
    data.normalization = Normalization(
        data.normalization.mean, data.normalization.deviation / 3, data.normalization.white
    )
    np.testing.assert_allclose(data.normalization.apply(raw["X_val"]) / data["X_val"], 3, rtol=1e-5)


class TestDataset:
    def test_iterating_meets_arrays_only(self):
        data = get_builtin_data(20, 5, 5)
        assert list(data) == KEYS
        assert all(isinstance(value, np.ndarray) for value in data.values())
        assert len(data) == 6
        assert "class_names" not in data

    def test_attributes_can_be_had_like_keys(self):
        data = get_builtin_data(20, 5, 5)
        assert data["class_names"] == data.class_names == BUILTIN_CLASSES
        assert data["normalization"] is data.normalization
        assert data["skipped"] == ()
        with pytest.raises(KeyError, match="X_trian"):
            data["X_trian"]
        assert data.get("class_names") is None

    @pytest.mark.parametrize(
        "duplicate", [copy.copy, copy.deepcopy, lambda d: pickle.loads(pickle.dumps(d)),
                      Dataset.copy]
    )  # fmt: skip
    def test_copies_keep_what_they_know(self, duplicate):
        data = get_builtin_data(20, 5, 5)
        data.skipped = ("x: is broken",)
        found = duplicate(data)
        assert isinstance(found, Dataset)
        assert found.class_names == data.class_names
        assert found.normalization == data.normalization
        assert found.skipped == data.skipped
        for key in KEYS:
            np.testing.assert_array_equal(found[key], data[key])

    def test_it_says_what_it_is(self):
        assert repr(get_builtin_data(20, 5, 4)) == (
            "Dataset(20 train, 5 val, 4 test images (3, 32, 32) of 10 classes,"
            " Normalization(mean image (3, 32, 32), white=255))"
        )


class TestStoring:
    @pytest.mark.parametrize(
        "normalization",
        [
            Normalization(),
            Normalization(np.arange(24.0).reshape(2, 3, 4), [1.5, 2]),
            Normalization([1, 2, 3], [[[4]], [[5]], [[6.5]]], white=1),
        ],
    )
    def test_arrays_there_and_back(self, normalization, tmp_path):
        np.savez(tmp_path / "x.npz", **normalization.to_arrays())
        with np.load(tmp_path / "x.npz") as stored:
            found = Normalization.from_arrays(dict(stored))
        assert found == normalization
        assert found != Normalization([7, 8, 9])
        assert repr(found) == repr(normalization)

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"mean": np.full(3, np.nan)}, "mean is not finite"),
            ({"mean": np.ones((3, 4))}, r"mean has shape \(3, 4\); expected \(C,\) or \(C, H, W\)"),
            ({"mean": np.array(["a"])}, "mean has dtype <U1"),
            ({"mean": np.ones(0)}, r"mean has shape \(0,\)"),
            ({"deviation": np.array([1.0, 0.0])}, "deviation is not positive"),
            ({"deviation": np.array([1.0, -2.0])}, "deviation is not positive"),
            ({"deviation": np.ones((1, 2, 2))}, r"deviation has shape \(1, 2, 2\)"),
            ({"mean": np.ones(3), "deviation": np.ones(2)}, "mean has 3 channels but deviation 2"),
            ({"white": np.array(0.0)}, "white is 0.0"),
            ({"white": np.array(np.nan)}, "white is nan"),
            ({"white": np.ones(2)}, r"white has shape \(2,\)"),
            ({"white": np.array("x")}, "white has shape"),
            ({"maen": np.ones(3)}, r"unknown array 'maen' \(did you mean 'mean'\?\)"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, arrays, message):
        with pytest.raises((ValueError, TypeError), match=rf"^Normalization.*: {message}"):
            Normalization.from_arrays(arrays)

    def test_the_constants_cannot_be_changed(self):
        normalization = Normalization([1.0, 2.0])
        with pytest.raises(ValueError, match="read-only"):
            normalization.mean[0] = 5


class TestImages:
    def test_images_of_another_size_are_refused(self):
        normalization = Normalization(np.ones((3, 8, 8)))
        with pytest.raises(ValueError, match=r"apply: X has images of \(3, 9, 8\); expected \(3,"):
            normalization.apply(np.ones((2, 3, 9, 8)))
        with pytest.raises(ValueError, match=r"X has images of \(1, 8, 8\); expected \(3, 8, 8\)"):
            normalization.apply(np.ones((2, 1, 8, 8)))
        with pytest.raises(ValueError, match=r"of \(1, 8, 8\); expected \(3, H, W\)"):
            Normalization([1, 2, 3]).apply(np.ones((2, 1, 8, 8)))

    def test_channels_are_told_apart(self, rng):
        X = rng.uniform(0, 255, (4, 3, 5, 6))
        found = Normalization([10, 20, 30], [1, 2, 4]).apply(X)
        for c in range(3):
            np.testing.assert_allclose(found[:, c], (X[:, c] - 10 * (c + 1)) / 2**c)

    def test_the_argument_stays(self, rng):
        X = rng.integers(0, 256, (4, 3, 5, 6), dtype=np.uint8)
        before = X.copy()
        found = Normalization([10, 20, 30]).apply(X)
        np.testing.assert_array_equal(X, before)
        assert found.dtype == np.float32
        assert found.min() < 0

    def test_pixels_are_brought_to_the_range_of_training(self):
        normalization = Normalization([0.5], [0.25], white=1)
        pixels = np.array([0, 51, 255], np.uint8).reshape(3, 1, 1, 1)
        found = normalization.apply_pixels(pixels).ravel()
        np.testing.assert_allclose(found, [-2, -1.2, 2], rtol=1e-6)


class TestChanged:
    def test_views_and_what_the_library_does_are_no_change(self):
        data = get_builtin_data(num_training=20, num_validation=5, num_test=5)
        data["X_train"], data["y_train"] = data["X_train"][:10], data["y_train"][:10]
        standardize(data)
        data.keep("val", np.array([3, 1]))
        data["notes"] = "mine"
        assert not data.changed
        assert len(data["X_val"]) == len(data["y_val"]) == 2

    @pytest.mark.parametrize("copied", [lambda data: data, copy.deepcopy, Dataset.copy])
    def test_other_images_and_sums_in_place_are(self, copied):
        for change in (lambda X: X / 255, lambda X: X.tolist(), lambda X: np.divide(X, 2, out=X)):
            data = get_builtin_data(num_training=20, num_validation=5, num_test=5)
            data["X_train"] = change(data["X_train"])
            assert copied(data).changed
            with pytest.raises(ValueError, match=r"^TwoLayerNet.remember: .* were changed"):
                TwoLayerNet().remember(copied(data))
