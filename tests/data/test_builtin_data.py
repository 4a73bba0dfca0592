"""The built-in data set: its form, that it is reproducible, and how hard it is."""

import numpy as np
import pytest

from cs231n import data_utils
from cs231n.data import glyphs
from cs231n.data_utils import BUILTIN_CLASSES, CIFAR10_CLASSES, get_builtin_data

SIZES = (300, 60, 40)


@pytest.fixture(scope="module")
def data():
    """Return a small data set, as drawn."""
    return get_builtin_data(*SIZES, subtract_mean=False)


def test_form(data):
    assert list(data) == ["X_train", "y_train", "X_val", "y_val", "X_test", "y_test"]
    for name, size in zip(("train", "val", "test"), SIZES):
        X, y = data[f"X_{name}"], data[f"y_{name}"]
        assert X.shape == (size, 3, 32, 32)
        assert X.dtype == np.float32
        assert y.shape == (size,)
        assert y.dtype == np.int64
        assert X.flags.c_contiguous
        assert X.flags.writeable
        assert X.min() >= 0
        assert X.max() <= 255
        np.testing.assert_array_equal(X, np.rint(X))
    assert len(BUILTIN_CLASSES) == len(CIFAR10_CLASSES) == 10
    assert len(set(BUILTIN_CLASSES)) == 10


def test_default_sizes(monkeypatch):
    asked = []

    def count(num, seed, part, dtype):
        asked.append((num, seed))
        return np.zeros((num, 3, 32, 32), dtype), np.zeros(num, np.int64)

    monkeypatch.setattr("cs231n.data.builtin.draw_glyphs", count)
    get_builtin_data()
    assert asked == [(10000, 0), (1000, 0), (1000, 0)]


def test_same_seed_same_images(data):
    again = get_builtin_data(*SIZES, subtract_mean=False)
    for key in data:
        np.testing.assert_array_equal(again[key], data[key])


def test_seeds_and_parts_differ(data):
    other = get_builtin_data(*SIZES, subtract_mean=False, seed=1)
    assert np.mean(other["X_train"] == data["X_train"]) < 0.1
    assert np.mean(data["X_train"][:40] == data["X_test"]) < 0.1
    assert np.mean(data["X_val"][:40] == data["X_test"]) < 0.1
    assert np.mean(data["X_train"][:50] == data["X_train"][250:]) < 0.1


def test_first_images_do_not_depend_on_the_sizes(data):
    fewer = get_builtin_data(70, 60, 7, subtract_mean=False)
    np.testing.assert_array_equal(fewer["X_train"], data["X_train"][:70])
    np.testing.assert_array_equal(fewer["y_train"], data["y_train"][:70])
    np.testing.assert_array_equal(fewer["X_val"], data["X_val"])
    np.testing.assert_array_equal(fewer["X_test"], data["X_test"][:7])


def test_global_generator_is_left_alone():
    np.random.seed(3)
    expected = np.random.rand(2)
    np.random.seed(3)
    np.random.rand()
    get_builtin_data(20, 0, 0)
    assert np.random.rand() == expected[1]


def test_classes_are_balanced():
    _, y = glyphs.draw_glyphs(500, 4, 0, np.dtype(np.float32))
    assert np.bincount(y).tolist() == [50] * 10
    assert len(set(y[:10])) > 3


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_mean_subtraction_and_dtype(data, dtype):
    centred = get_builtin_data(*SIZES, dtype=dtype)
    mean = data["X_train"].astype(np.float64).mean(axis=0)
    for key in ("X_train", "X_val", "X_test"):
        expected = (data[key].astype(np.float64) - mean).astype(dtype)
        np.testing.assert_array_equal(centred[key], expected, strict=True)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"num_training": 0}, ValueError),
        ({"num_validation": -1}, ValueError),
        ({"num_test": 2.0}, TypeError),
        ({"seed": -3}, ValueError),
        ({"seed": None}, TypeError),
        ({"dtype": np.int32}, TypeError),
    ],
)
def test_bad_arguments(arguments, error):
    with pytest.raises(error, match=f"get_builtin_data: {next(iter(arguments))} is"):
        get_builtin_data(**{"num_training": 5, **arguments})


def test_empty_parts():
    data = get_builtin_data(3, 0, 0)
    assert data["X_val"].shape == (0, 3, 32, 32)
    assert data["y_test"].shape == (0,)


def test_every_glyph_of_every_font_is_drawn_whole():
    tiles = glyphs._tiles()
    assert tiles.shape == (len(glyphs.FONTS), 10, glyphs.TILE, glyphs.TILE)
    ink = tiles.mean(axis=(2, 3))
    assert ink.min() > 0.02
    assert ink.max() < 0.4
    for edge in (tiles[:, :, 0], tiles[:, :, -1], tiles[..., 0], tiles[..., -1]):
        assert edge.max() == 0
    flat = tiles.reshape(len(glyphs.FONTS) * 10, -1)
    assert len(np.unique(flat, axis=0)) == len(flat)  # no font lacks a glyph or stands in


def test_glyphs_stand_out_from_their_ground():
    rng = np.random.default_rng(0)
    ground, ink = glyphs._two_colours(rng)
    difference = ink.mean(axis=1) - ground.mean(axis=1)
    assert np.abs(difference).min() > glyphs.CONTRAST[0] - 0.01
    assert np.abs(difference).max() < glyphs.CONTRAST[1] + 0.01
    assert 0.85 < np.mean(difference > 0) < 1
    assert min(ground.min(), ink.min()) > -40
    assert max(ground.max(), ink.max()) < 295


def test_placed_tile_is_where_it_should_be():
    tiles = np.zeros((glyphs.CHUNK, glyphs.TILE, glyphs.TILE), np.float32)
    tiles[:, 16:32, 16:32] = 1
    zeros = np.zeros(glyphs.CHUNK)
    along, down = zeros + 4, zeros - 3
    coverage = glyphs._place(np.random.default_rng(1), tiles, along, down, zeros)
    mass = coverage.sum(axis=(1, 2))
    low, high = (16 * scale for scale in glyphs.SCALE)
    assert low**2 * 0.9 < mass.min() < mass.max() < high**2 * 1.1
    column = (coverage.sum(axis=1) * np.arange(32)).sum(axis=1) / mass
    row = (coverage.sum(axis=2) * np.arange(32)).sum(axis=1) / mass
    np.testing.assert_allclose(column, 15.5 + 4, atol=0.01)
    np.testing.assert_allclose(row, 15.5 - 3, atol=0.01)


def test_turned_tile_keeps_its_area_and_turns_clockwise():
    tiles = np.zeros((glyphs.CHUNK, glyphs.TILE, glyphs.TILE), np.float32)
    tiles[:, 20:28, 26:32] = 1  # right of the middle
    zeros = np.zeros(glyphs.CHUNK)
    places = {}
    for degrees in (0, 45, 90):
        turn = np.deg2rad(zeros + degrees)
        coverage = glyphs._place(np.random.default_rng(1), tiles, zeros, zeros, turn)
        mass = coverage.sum(axis=(1, 2))
        places[degrees] = np.stack(
            [
                (coverage * glyphs._ALONG).sum(axis=(1, 2)) / mass,
                (coverage * glyphs._DOWN).sum(axis=(1, 2)) / mass,
                mass / 10,
            ]
        )
    along, down, mass = places[0]
    diagonal = along / np.sqrt(2)
    np.testing.assert_allclose(down, 0, atol=0.01)
    np.testing.assert_allclose(places[90], [down, along, mass], atol=0.02)
    np.testing.assert_allclose(places[45], [diagonal, diagonal, mass], atol=0.3)


def test_missing_font_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Gone\.ttf.*reinstall matplotlib"):
        glyphs._tile(tmp_path / "Gone.ttf", "A")


def test_linear_classifier_is_above_chance_and_far_from_perfect():
    data = get_builtin_data(2000, 0, 1000)
    X, X_test = (data[key].reshape(-1, 3072) / 255 for key in ("X_train", "X_test"))
    targets = np.eye(10, dtype=np.float32)[data["y_train"]] - 0.1
    # Ridge regression in its dual form: one unknown for each training image.
    dual = np.linalg.solve(X @ X.T + 300 * np.eye(2000, dtype=np.float32), targets)
    accuracy = np.mean((X_test @ (X.T @ dual)).argmax(axis=1) == data["y_test"])
    assert 0.25 < accuracy < 0.45


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("subtract_mean", [True, False])
def test_standardized_channels_have_deviation_one(subtract_mean, dtype):
    sizes = 600, 20, 30  # more images than are summed at once
    data = get_builtin_data(*sizes, subtract_mean=subtract_mean, dtype=dtype)
    before = {name: array.astype(np.float64) for name, array in data.items()}
    deviation = data_utils.standardize(data)
    expected = before["X_train"].std(axis=(0, 2, 3))
    np.testing.assert_allclose(deviation, expected, rtol=1e-12)
    for name, array in data.items():
        scale = expected[:, None, None] if name.startswith("X") else 1
        assert array.dtype == (dtype if name.startswith("X") else "int64")
        np.testing.assert_allclose(array, before[name] / scale, rtol=1e-6)


def test_a_channel_that_is_the_same_everywhere_stays():
    X = {name: np.zeros((4, 2, 3, 3), "float32") for name in ("X_train", "X_val", "X_test")}
    X["X_train"][:2, 1] = 8
    np.testing.assert_array_equal(data_utils.standardize(X), [1, 4])
    assert X["X_train"].max() == 2
