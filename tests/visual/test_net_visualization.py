"""Saliency maps, fooling images and class images by the backward passes of our networks."""

import copy

import numpy as np
import pytest
from conftest import assert_close

from cs231n.classifiers import FullyConnectedNet, ThreeLayerConvNet
from cs231n.image_utils import blur_image
from cs231n.net_visualization import (
    climb,
    compute_saliency_maps,
    create_class_visualization,
    make_fooling_image,
)
from cs231n.solver import Solver

IMAGE = (3, 8, 8)


NETWORKS = {
    "three layers": lambda: ThreeLayerConvNet(IMAGE, 8, 3, 50, weight_scale=0.1, dtype=np.float64),
    "batch norm": lambda: FullyConnectedNet(
        [50], 192, normalization="batchnorm", weight_scale=0.1, dtype=np.float64
    ),
}


@pytest.fixture(scope="module", params=NETWORKS)
def trained(request):
    """Return a network that tells ten noisy patterns apart."""
    np.random.seed(231)
    model, rng = NETWORKS[request.param](), np.random.default_rng(231)
    y = rng.integers(10, size=300)
    X = rng.standard_normal((10, *IMAGE))[y] + 0.5 * rng.standard_normal((300, *IMAGE))
    data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    solver = Solver(model, data, "adam", {"learning_rate": 2e-3}, num_epochs=8, verbose=False)
    solver.train()
    assert solver.best_val_acc > 0.95
    return model


@pytest.fixture
def model(trained):
    """Return a copy of the network, for tests that change it."""
    return copy.deepcopy(trained)


def score(model, X, y):
    """Return the scores of the labels."""
    return model.loss(X)[np.arange(len(y)), y]


def frozen(model, *arrays):
    """Make weights, statistics and arrays read-only, so that whoever writes to them fails."""
    statistics = [a for param in model.bn_params for a in param.values() if np.ndim(a)]
    for array in (*model.params.values(), *statistics, *arrays):
        array.flags.writeable = False


def test_saliency_is_the_largest_slope_of_a_pixels_channels(model, rng):
    X, y = rng.standard_normal((3, *IMAGE)), np.array([4, 0, 9])
    frozen(model, X, y)
    saliency = compute_saliency_maps(X, y, model)
    assert saliency.shape == (3, 8, 8)
    h = 1e-6
    for i, j in rng.integers(8, size=(10, 2)):
        slopes = []
        for channel in range(3):
            moved = np.zeros(IMAGE)
            moved[channel, i, j] = h
            slopes.append((score(model, X + moved, y) - score(model, X - moved, y)) / (2 * h))
        assert_close(saliency[:, i, j], np.abs(slopes).max(axis=0), looser=1e5)


def test_saliency_does_not_depend_on_the_other_images(model, rng):
    X, y = rng.standard_normal((3, *IMAGE)), np.array([4, 0, 9])
    together = compute_saliency_maps(X, y, model)
    alone = [compute_saliency_maps(X[n : n + 1], y[n : n + 1], model)[0] for n in range(3)]
    assert_close(together, np.stack(alone))


def test_the_fooling_image_fools_by_a_little(model, rng):
    X = rng.standard_normal((1, *IMAGE))
    frozen(model, X)
    found = int(model.loss(X).argmax())
    for target in range(10):
        fooling = make_fooling_image(X, target, model, learning_rate=0.2)
        assert model.loss(fooling).argmax() == target
        steps = np.linalg.norm(fooling - X) / 0.2
        assert steps < 60
        assert (steps == 0) == (target == found)


def test_fooling_takes_steps_of_the_asked_length_along_the_gradient(model, rng):
    X = rng.standard_normal((1, *IMAGE))
    target = int(model.loss(X).argmin())
    step = make_fooling_image(X, target, model, learning_rate=1e-4, max_iterations=1) - X
    assert np.linalg.norm(step) == pytest.approx(1e-4)
    # Along the gradient the score rises by its length, on any other way by less.
    rise = score(model, X + step, [target]) - score(model, X, [target])
    for _ in range(5):
        other = rng.standard_normal(X.shape)
        other *= 1e-4 / np.linalg.norm(other)
        assert rise > score(model, X + other, [target]) - score(model, X, [target])


def test_the_fooling_image_stays_within_its_bounds(model, rng):
    X = rng.uniform(-1, 1, (1, *IMAGE))
    low, high = X[0] - 0.3, 1.0
    target = int(model.loss(X).argmin())
    fooling = make_fooling_image(X, target, model, 0.5, bounds=(low, high))
    assert np.all(fooling >= low)
    assert np.all(fooling <= high)
    assert np.any(fooling == low)


def test_the_class_image_has_a_large_score_for_its_class(model, rng):
    classes = np.arange(10)
    images = create_class_visualization(
        classes, model, IMAGE, learning_rate=0.3, num_iterations=30, max_jitter=0
    )
    assert images.shape == (10, *IMAGE)
    np.testing.assert_array_equal(model.loss(images).argmax(axis=1), classes)


def test_the_class_image_depends_on_the_generator_alone(model):
    arguments = {"shape": IMAGE, "learning_rate": 0.3, "num_iterations": 5}
    np.random.seed(1)
    first = create_class_visualization(3, model, **arguments)
    again = create_class_visualization(3, model, **arguments)
    np.testing.assert_array_equal(first, again)
    other = create_class_visualization(3, model, **arguments, rng=np.random.default_rng(5))
    assert np.abs(other - first).max() > 0.1
    drawn = np.random.rand()
    np.random.seed(1)
    assert drawn == np.random.rand()


def test_the_class_image_stays_within_its_bounds(model):
    images = create_class_visualization(
        [3, 7], model, IMAGE, learning_rate=5, bounds=(-0.5, 0.25), blur_every=0
    )
    assert images.min() == -0.5
    assert images.max() == 0.25


@pytest.mark.parametrize("steps", [1, 4])
def test_the_class_image_is_within_bounds_that_differ_by_pixel_after_a_blur(steps, model, rng):
    low = rng.uniform(-3, 3, IMAGE)
    images = create_class_visualization(
        [3, 7], model, IMAGE, learning_rate=5, num_iterations=steps, bounds=(low, low + 0.1)
    )
    assert np.all(images >= low)
    assert np.all(images <= low + 0.1)


def test_a_class_image_is_made_of_jitter_step_and_blur(model):
    """One iteration is written out: shift, step, shift back, blur."""
    start = np.random.default_rng(3).standard_normal(IMAGE)
    rng = np.random.default_rng(11)
    (image,) = create_class_visualization(
        2, model, IMAGE, 1e-3, 0.3, 1, max_jitter=3, start=start, rng=np.random.default_rng(11)
    )
    oy, ox = rng.integers(-3, 3, size=2, endpoint=True)
    assert (oy, ox) != (0, 0)
    shifted = np.roll(np.roll(start, oy, axis=1), ox, axis=2)[np.newaxis]
    _, caches = model.forward(shifted)
    dX, _ = model.backward(np.eye(10)[[2]], caches, need_dx=True)
    dX -= 2e-3 * shifted
    stepped = shifted + 0.3 * dX / np.linalg.norm(dX)
    back = np.roll(np.roll(stepped, -oy, axis=2), -ox, axis=3)
    assert_close(image, blur_image(back)[0])


def test_the_l2_term_pulls_to_zero(model):
    weak, strong = (
        create_class_visualization(3, model, IMAGE, reg, 0.3, 200, blur_every=0)
        for reg in (0, 10.0)
    )
    assert np.linalg.norm(strong) < 0.1 * np.linalg.norm(weak)


def test_a_flat_score_moves_nothing(rng):
    X = rng.standard_normal((2, *IMAGE))
    still = climb(lambda images, targets: (None, np.zeros_like(images)), X, [0, 1], 3.0)
    np.testing.assert_array_equal(still, X)


def test_the_networks_dtype_is_kept(rng):
    np.random.seed(231)
    model = ThreeLayerConvNet(IMAGE, 8, 3, 50, weight_scale=0.2, dtype=np.float32)
    X = rng.standard_normal((1, *IMAGE))
    assert compute_saliency_maps(X, [1], model).dtype == np.float32
    bounds = (np.full(IMAGE, -3.0), 3)
    assert make_fooling_image(X, 1, model, 0.1, bounds=bounds).dtype == np.float32
    image = create_class_visualization(1, model, IMAGE, num_iterations=2, bounds=bounds)
    assert image.dtype == np.float32


BAD = {
    "a single image without a batch": (
        lambda m: compute_saliency_maps(np.zeros(IMAGE), [1], m),
        r"compute_saliency_maps: X has shape \(3, 8, 8\); expected \(N, C, H, W\)",
    ),
    "too few labels": (
        lambda m: compute_saliency_maps(np.zeros((2, *IMAGE)), [1], m),
        r"compute_saliency_maps: y has shape \(1,\); expected \(2,\)",
    ),
    "an unknown class": (
        lambda m: make_fooling_image(np.zeros((1, *IMAGE)), 10, m),
        "make_fooling_image: y has labels from 10 to 10; expected 0 to 9",
    ),
    "two images": (
        lambda m: make_fooling_image(np.zeros((2, *IMAGE)), 1, m),
        r"make_fooling_image: X has shape \(2, 3, 8, 8\); expected \(1, C, H, W\)",
    ),
    "bounds of another image": (
        lambda m: make_fooling_image(np.zeros((1, *IMAGE)), 1, m, bounds=(np.zeros((3, 9, 9)), 1)),
        r"make_fooling_image: bounds are no \(low, high\) that fit images \(1, 3, 8, 8\)",
    ),
    "one bound": (
        lambda m: create_class_visualization(1, m, IMAGE, bounds=(1,)),
        r"create_class_visualization: bounds are no \(low, high\)",
    ),
    "a start of another shape": (
        lambda m: create_class_visualization(1, m, IMAGE, start=np.zeros((3, 9, 9))),
        r"start has shape \(3, 9, 9\); expected \(3, 8, 8\), or \(1, 3, 8, 8\) for 1 classes",
    ),
    "a negative rate": (
        lambda m: create_class_visualization(1, m, IMAGE, learning_rate=-1),
        "create_class_visualization: learning_rate is -1",
    ),
    "half a step": (
        lambda m: create_class_visualization(1, m, IMAGE, num_iterations=0.5),
        "num_iterations is 0.5",
    ),
    "no network": (
        lambda m: compute_saliency_maps(np.zeros((1, *IMAGE)), [1], m.params),
        "model is a dict; expected a Network",
    ),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_explained(call, message):
    model = ThreeLayerConvNet(IMAGE, 4, 3, 6)
    with pytest.raises((ValueError, TypeError), match=message):
        call(model)
