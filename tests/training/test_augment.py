"""Data augmentation: what comes out, where it is drawn from, and what stays as it was."""

import numpy as np
import pytest
from cases import DTYPES, LAYOUTS

from cs231n.augment import (
    FlipAndShift,
    alternating_flip,
    augmented_scores,
    mirrored_scores,
    random_cutout,
    random_flip,
    random_shift,
)
from cs231n.solver import Solver

N, C, H, W = 64, 3, 7, 6


@pytest.fixture
def images(rng):
    """Return images no two pixels of which are equal."""
    return rng.permutation(N * C * H * W).reshape(N, C, H, W).astype(float)


def shifted_by_hand(image, row, column, mode):
    """Return one image (C, H, W) moved by rows and columns, pixel by pixel."""
    moved = np.zeros_like(image)
    for i, j in np.ndindex(H, W):
        y, x = i + row, j + column
        if mode == "reflect":
            y, x = mirrored(y, H), mirrored(x, W)
        if 0 <= y < H and 0 <= x < W:
            moved[:, i, j] = image[:, y, x]
    return moved


def mirrored(place, size):
    """Return the place inside an axis that a place outside it mirrors."""
    return -place if place < 0 else 2 * (size - 1) - place if place >= size else place


def test_every_image_is_flipped_or_not(images, rng):
    flipped = random_flip(images, rng)
    backwards = images[..., ::-1]
    same = [np.array_equal(found, image) for found, image in zip(flipped, images)]
    mirror = [np.array_equal(found, image) for found, image in zip(flipped, backwards)]
    assert [one != other for one, other in zip(same, mirror)] == [True] * N
    assert N / 4 < sum(same) < 3 * N / 4


@pytest.mark.parametrize("pad", [1, 4])
@pytest.mark.parametrize("mode", ["reflect", "zero"])
def test_every_image_is_shifted_by_a_few_pixels(mode, pad, images, rng):
    seen = set()
    shifts = [(i, j) for i in range(-pad, pad + 1) for j in range(-pad, pad + 1)]
    for found, image in zip(random_shift(images, pad, mode, rng), images):
        fits = [s for s in shifts if np.array_equal(found, shifted_by_hand(image, *s, mode))]
        assert len(fits) == 1
        seen.update(fits)
    for axis in (0, 1):
        assert {shift[axis] for shift in seen} == set(range(-pad, pad + 1))


def test_no_shift(images, rng):
    np.testing.assert_array_equal(random_shift(images, 0, rng=rng), images)


def test_flip_and_shift_does_both(images):
    found = FlipAndShift(pad=2, mode="zero", rng=np.random.default_rng(3))(images)
    rng = np.random.default_rng(3)
    np.testing.assert_array_equal(found, random_flip(random_shift(images, 2, "zero", rng), rng))
    unflipped = FlipAndShift(flip=False, pad=2, rng=np.random.default_rng(3))(images)
    expected = random_shift(images, 2, rng=np.random.default_rng(3))
    np.testing.assert_array_equal(unflipped, expected)


def test_a_seed_gives_the_same_images(images):
    one, same, other = (FlipAndShift(rng=np.random.default_rng(seed))(images) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_the_global_generator_is_the_default_and_else_left_alone(images):
    np.random.seed(4)
    one = FlipAndShift()(images)
    np.random.seed(4)
    np.testing.assert_array_equal(FlipAndShift()(images), one)
    before = np.random.get_state()[1].tolist()
    FlipAndShift(rng=np.random.default_rng(0))(images)
    assert np.random.get_state()[1].tolist() == before


@pytest.mark.parametrize("dtype", [*DTYPES, "uint8"])
@pytest.mark.parametrize("layout", [np.asarray, *LAYOUTS.values()])
def test_the_input_stays_and_the_output_is_new(layout, dtype, rng):
    images = layout(rng.integers(256, size=(5, 3, 6, 8)).astype(dtype))
    before = images.copy()
    found = FlipAndShift(rng=rng)(images)
    assert found.dtype == images.dtype
    assert found.shape == images.shape
    assert found.flags.c_contiguous
    assert not np.shares_memory(found, images)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("shape", [(0, 3, 6, 6), (1, 1, 5, 9)])
def test_small_batches(shape, rng):
    assert FlipAndShift(rng=rng)(np.ones(shape)).shape == shape


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: FlipAndShift(pad=-1), "FlipAndShift: pad is -1"),
        (lambda: FlipAndShift(mode="wrap"), "FlipAndShift: mode is 'wrap'; .*'reflect' or 'zero'"),
        (lambda: random_shift(np.ones((2, 3, 4, 9)), 4), "pad is 4 for images of 4x9"),
        (lambda: random_shift(np.ones((2, 3, 4)), 1), r"random_shift: X has shape \(2, 3, 4\)"),
        (lambda: random_flip(np.ones((3, 4))), r"random_flip: X has shape \(3, 4\)"),
        (lambda: random_shift(np.ones((2, 3, 4, 4)), 1.5), r"random_shift: pad is 1\.5"),
    ],
)
def test_wrong_arguments_are_named(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()


class Leftmost:
    """A model whose scores are the numbers of each image's first column."""

    def loss(self, X):
        """Return scores (N, C * H)."""
        self.most = len(X)
        return X[..., 0].reshape(len(X), -1)


@pytest.mark.parametrize("batch_size", [1, 10, 64, 100])
def test_scores_of_the_mirror_image_are_added(batch_size, images):
    model = Leftmost()
    scores = mirrored_scores(model, images, batch_size)
    np.testing.assert_array_equal(scores, (images[..., 0] + images[..., -1]).reshape(N, -1))
    assert model.most <= batch_size


@pytest.mark.parametrize(
    ("X", "batch_size", "message"),
    [
        (np.ones((3, 4)), 10, r"X has shape \(3, 4\)"),
        (np.ones((0, 3, 4, 4)), 10, r"X has shape \(0, 3, 4, 4\); expected at least one"),
        (np.ones((2, 3, 4, 4)), 0, "batch_size is 0"),
    ],
)
def test_there_must_be_something_to_mirror(X, batch_size, message):
    with pytest.raises(ValueError, match=f"mirrored_scores: {message}"):
        mirrored_scores(Leftmost(), X, batch_size)


def test_the_words_for_it():
    assert repr(FlipAndShift(pad=3)) == "FlipAndShift(flip=True, pad=3, mode='reflect')"


def test_alternating_flips_show_each_side_every_other_epoch(images):
    samples = np.arange(100, 100 + N)
    first, second = (alternating_flip(images, samples, epoch) for epoch in (0, 1))
    flipped = np.array([not np.array_equal(one, image) for one, image in zip(first, images)])
    assert N / 4 < flipped.sum() < 3 * N / 4
    np.testing.assert_array_equal(first[flipped], images[flipped][..., ::-1])
    np.testing.assert_array_equal(second, first[..., ::-1])
    np.testing.assert_array_equal(alternating_flip(images, samples, 6), first)
    order = np.random.default_rng(2).permutation(N)  # it depends on the sample, not on its place
    np.testing.assert_array_equal(alternating_flip(images[order], samples[order], 0), first[order])
    assert not np.array_equal(alternating_flip(images, samples, 0, seed=1), first)
    with pytest.raises(ValueError, match=r"alternating_flip: samples has shape \(3,\)"):
        alternating_flip(images, samples[:3], 0)
    with pytest.raises(TypeError, match="alternating_flip: samples are float64; expected integers"):
        alternating_flip(images, samples * 1.0, 0)


def test_cutout_blots_out_a_square_anywhere(images, rng):
    images += 1  # no pixel is zero
    found = random_cutout(images, 3, rng)
    seen = np.zeros((H, W), bool)
    for one, image in zip(found, images):
        blotted = one == 0
        assert (blotted == blotted[0]).all()  # in all channels
        np.testing.assert_array_equal(one[~blotted], image[~blotted])
        rows, columns = (np.flatnonzero(blotted[0].any(axis=axis)) for axis in (1, 0))
        assert blotted[0][rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        for places, size in ((rows, H), (columns, W)):
            whole = places[0] > 0 and places[-1] < size - 1
            assert len(places) == 3 if whole else 2 <= len(places) <= 3
        seen |= blotted[0]
    assert seen.all()
    np.testing.assert_array_equal(random_cutout(images, 0, rng), images)
    assert random_cutout(images.astype("f4"), 3, rng).dtype == np.float32
    assert random_cutout(images[:0], 3, rng).shape == (0, C, H, W)


def test_flip_and_shift_with_all_of_it(images):
    augment = FlipAndShift("alternating", pad=2, cutout=3, rng=np.random.default_rng(7))
    found = augment.of_samples(images, np.arange(N), 3)
    rng = np.random.default_rng(7)
    expected = alternating_flip(random_shift(images, 2, rng=rng), np.arange(N), 3)
    np.testing.assert_array_equal(found, random_cutout(expected, 3, rng))
    assert repr(augment) == "FlipAndShift(flip='alternating', pad=2, mode='reflect', cutout=3)"
    assert repr(FlipAndShift()) == "FlipAndShift(flip=True, pad=4, mode='reflect')"
    with pytest.raises(ValueError, match="alternating flips depend on the samples and the epoch"):
        augment(images)
    with pytest.raises(ValueError, match="FlipAndShift: flip is 'odd'"):
        FlipAndShift("odd")


def test_the_solver_tells_which_samples_they_are(rng):
    seen = []

    class Spy:
        def of_samples(self, X, samples, epoch):
            np.testing.assert_array_equal(X, images[samples])
            seen.append((epoch, sorted(samples)))
            return X

        def __call__(self, X):
            raise AssertionError("of_samples is the one to call")

    class Model:
        def __init__(self):
            self.params = {"w": np.zeros(1)}

        def loss(self, X, y=None):
            return np.ones((len(X), 2)) if y is None else (1.0, {"w": np.zeros(1)})

    images, y = rng.standard_normal((6, 1, 2, 2)), np.zeros(6, int)
    data = {"X_train": images, "y_train": y, "X_val": images, "y_val": y}
    options = {"batch_size": 6, "num_epochs": 2, "replace": False, "verbose": False}
    Solver(Model(), data, augment=Spy(), **options).train()
    assert seen == [(0, list(range(6))), (1, list(range(6)))]


class Corner:
    """A model whose scores are the pixel in the upper left corner, and that in the lower right."""

    def loss(self, X):
        return np.stack([X[:, 0, 0, 0], X[:, 0, -1, -1]], axis=1)


def test_augmented_scores_by_hand(images):
    found = augmented_scores(Corner(), images, shift=1, weight=0.25, batch_size=7)
    x = images[:, 0]
    plain = np.stack([x[:, 0, 0] + x[:, 0, -1], x[:, -1, -1] + x[:, -1, 0]], axis=1) / 2
    # A shifted corner shows its inner neighbour, or what was mirrored at the edge: the same.
    up = np.stack([x[:, 1, 1] + x[:, 1, -2], x[:, -2, -2] + x[:, -2, 1]], axis=1) / 2
    np.testing.assert_allclose(found, 0.75 * plain + 0.25 * up)
    np.testing.assert_allclose(augmented_scores(Corner(), images, shift=0), plain)
    np.testing.assert_allclose(augmented_scores(Corner(), images, weight=0), plain)
    with pytest.raises(ValueError, match=r"augmented_scores: shift is 6 for images"):
        augmented_scores(Corner(), images, shift=6)
