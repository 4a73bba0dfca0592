"""The published functions for PyTorch models, on a small model without downloaded weights."""

import copy
import inspect
import itertools
import os
import sys

import numpy as np
import pytest
from conftest import assert_close
from PIL import Image

from cs231n import net_visualization, net_visualization_pytorch
from cs231n.classifiers import ThreeLayerConvNet
from cs231n.image_utils import SQUEEZENET_MEAN, SQUEEZENET_STD
from cs231n.net_visualization_pytorch import (
    blur_image,
    class_visualization_update_step,
    compute_saliency_maps,
    deprocess,
    jitter,
    make_fooling_image,
    preprocess,
    rescale,
)
from cs231n.torch_bridge import to_torch

if os.environ.get("CS231N_REQUIRE_TORCH") == "1":
    import torch
else:
    torch = pytest.importorskip("torch")

IMAGE = (3, 8, 8)


@pytest.fixture
def ours():
    """Return a network of ours."""
    np.random.seed(231)
    return ThreeLayerConvNet(IMAGE, 8, 3, 50, weight_scale=0.2, dtype=np.float64)


@pytest.fixture
def model():
    """Return a small PyTorch model in training mode, with parts whose modes matter."""
    torch.manual_seed(231)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, padding=1),
        torch.nn.BatchNorm2d(16),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.5),
        torch.nn.AdaptiveAvgPool2d(2),
        torch.nn.Flatten(),
        torch.nn.Linear(64, 10),
    ).train()


@pytest.fixture
def X(rng):  # noqa: N802
    """Return three random images."""
    return torch.from_numpy(rng.standard_normal((3, *IMAGE)).astype(np.float32))


def state(model):
    """Return copies of all parameters and statistics."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def test_saliency_agrees_with_that_of_our_network(ours, rng):
    X, y = rng.standard_normal((3, *IMAGE)), np.array([4, 0, 9])
    found = compute_saliency_maps(torch.from_numpy(X), torch.from_numpy(y), to_torch(ours))
    assert_close(found.numpy(), net_visualization.compute_saliency_maps(X, y, ours))


def test_fooling_agrees_with_that_of_our_network(ours, rng):
    X = rng.standard_normal((1, *IMAGE))
    target = int(ours.loss(X).argmin())
    found = make_fooling_image(torch.from_numpy(X), target, to_torch(ours))
    expected = net_visualization.make_fooling_image(X, target, ours, learning_rate=1)
    assert ours.loss(expected).argmax() == target
    assert_close(found.numpy(), expected)


def test_a_step_to_a_class_image_agrees_with_that_of_our_network(ours, rng):
    start = rng.standard_normal((1, *IMAGE))
    img = torch.from_numpy(start.copy()).requires_grad_()
    assert class_visualization_update_step(img, to_torch(ours), 3, 1e-2, 2.0) is None
    expected = net_visualization.create_class_visualization(
        3, ours, IMAGE, 1e-2, 2.0, 1, blur_every=0, max_jitter=0, start=start
    )
    assert_close(img.detach().numpy(), expected)
    assert img.requires_grad
    assert img.grad is None


def test_models_and_images_are_left_as_they_were(model, X):
    before, pixels = state(model), X.clone()
    compute_saliency_maps(X, torch.tensor([1, 2, 3]), model)
    make_fooling_image(X[:1], 7, model)
    class_visualization_update_step(X[:1].clone(), model, 3, 1e-3, 1.0)
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    after = model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert torch.equal(X, pixels)
    model[1].eval()  # modes of parts are kept, too
    compute_saliency_maps(X, torch.tensor([1, 2, 3]), model)
    assert [module.training for module in model] == [True, False, *[True] * 5]


def test_the_fooling_image_fools_in_evaluation_mode(model, X):
    for target in range(10):
        fooling = make_fooling_image(X[:1], target, model)
        assert not fooling.requires_grad
        assert model.eval()(fooling).argmax() == target
        assert (fooling - X[:1]).norm() <= 101


def test_the_fooling_image_fools_with_dropout_on_as_well(X):
    torch.manual_seed(231)
    model = torch.nn.Sequential(
        torch.nn.Flatten(),
        torch.nn.Linear(192, 100),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.5),
        torch.nn.Linear(100, 10),
    ).train()
    rates = []
    for target in range(10):
        seed = torch.random.get_rng_state()
        fooling = make_fooling_image(X[:1], target, model)
        assert torch.equal(torch.random.get_rng_state(), seed)
        seen = model(fooling.repeat(500, 1, 1, 1)).argmax(dim=1)
        rates.append((seen == target).float().mean().item())
        assert model.eval()(fooling).argmax() == target
        model.train()
    assert np.mean(rates) > 0.95  # 0.52 on the border
    assert min(rates) > 0.8


@pytest.mark.long
def test_a_model_in_evaluation_mode_is_fooled_by_the_fewest_steps(model, X):
    model.eval()
    for target in range(10):
        few = make_fooling_image(X[:1], target, model, 0.1)
        steps = round(((few - X[:1]).norm() / 0.1).item())
        assert (
            steps == 0
            or model(
                make_fooling_image(X[:1], target, model, 0.1, max_iterations=max(steps - 1, 0))
            ).argmax()
            != target
        )


def test_steps_make_a_class_image(model):
    img = torch.zeros(1, *IMAGE)
    for _ in range(20):
        class_visualization_update_step(img, model, 5, 1e-3, 1.0)
    assert model.eval()(img).argmax() == 5


def test_preprocess_scales_the_shorter_side_and_normalises(rng):
    pixels = rng.integers(256, size=(30, 45, 3)).astype(np.uint8)
    x = preprocess(Image.fromarray(pixels), size=10)
    assert x.shape == (1, 3, 10, 15)
    assert x.dtype == torch.float32
    same = preprocess(pixels, size=30)
    expected = (pixels / 255 - SQUEEZENET_MEAN) / SQUEEZENET_STD
    assert_close(same[0].numpy(), expected.transpose(2, 0, 1).astype(np.float32))
    assert preprocess(pixels).shape == (1, 3, 224, 336)
    assert preprocess(Image.fromarray(pixels[..., 0]), size=10).shape == (1, 3, 10, 15)


def test_deprocess_undoes_preprocess(rng):
    pixels = rng.integers(256, size=(12, 9, 3)).astype(np.uint8)
    pixels.flat[:2] = 0, 255
    x = preprocess(pixels, size=9).requires_grad_()
    for should_rescale in (True, False):
        np.testing.assert_array_equal(np.asarray(deprocess(x, should_rescale)), pixels)
    dim = (pixels // 2).astype(np.uint8)
    assert np.asarray(deprocess(preprocess(dim, size=9))).max() == 255
    assert np.asarray(deprocess(preprocess(dim, size=9), should_rescale=False)).max() == 127


def test_rescale(X):
    for values in (X, X.numpy()):
        scaled = rescale(values)
        assert (float(scaled.min()), float(scaled.max())) == (0, 1)
        spread, least = values.max() - values.min(), values.min()
        assert float(abs(scaled * spread + least - values).max()) < 1e-6
    assert torch.equal(rescale(torch.full((2, 2), 7.0)), torch.zeros(2, 2))


@pytest.mark.parametrize(("ox", "oy"), [(0, 0), (3, 0), (0, 2), (-1, 5), (8, -8)])
def test_jitter_shifts_along_x_and_y_and_can_be_undone(ox, oy, X):
    shifted = jitter(X, ox, oy)
    for i in range(8):
        for j in range(8):
            assert torch.equal(shifted[:, :, (i + oy) % 8, (j + ox) % 8], X[:, :, i, j])
    assert torch.equal(jitter(shifted, -ox, -oy), X)


def test_blur_is_a_gaussian_with_mirrored_edges():
    X = torch.zeros(1, 2, 41, 41, dtype=torch.float64)
    X[0, 0, 20, 20], X[0, 1, 0, 0] = 1, 1
    assert blur_image(X, sigma=2) is X
    spot, corner = X[0].numpy()
    places = np.arange(41) - 20
    assert spot.sum() == pytest.approx(1)
    assert (spot.sum(axis=0) * places**2).sum() == pytest.approx(4, rel=0.02)  # the variance
    assert spot[20, 22] / spot[20, 20] == pytest.approx(np.exp(-0.5))
    assert spot[22, 22] / spot[20, 20] == pytest.approx(np.exp(-1))
    assert corner.sum() == pytest.approx(1)
    # The corner's own share, its mirror images' to the side and below, and that of the one across.
    assert corner[0, 0] == pytest.approx(spot[20, 20] + 2 * spot[20, 21] + spot[21, 21])


def test_images_of_bfloat16_are_taken(X):
    half = X.bfloat16()
    assert_close(blur_image(half.clone()).float(), blur_image(half.float()), looser=1e4)
    one = half[:1]
    np.testing.assert_array_equal(deprocess(one), deprocess(one.float()))


def test_blur_leaves_flat_images_and_autograd_alone(X):
    flat = torch.full((1, 1, 6, 6), 0.7)
    assert_close(blur_image(flat, sigma=3).numpy(), np.full((1, 1, 6, 6), 0.7, np.float32))
    assert torch.equal(blur_image(X.clone(), sigma=0), X)
    img = X.clone().requires_grad_()
    blur_image(img.data, sigma=0.5)
    assert img.grad_fn is None
    assert not torch.equal(img, X)


PUBLISHED = {
    "preprocess": "img, size=224",
    "deprocess": "img, should_rescale=True",
    "rescale": "x",
    "blur_image": "X, sigma=1",
    "jitter": "X, ox, oy",
    "compute_saliency_maps": "X, y, model",
    "make_fooling_image": "X, target_y, model",
    "class_visualization_update_step": "img, model, target_y, l2_reg, learning_rate",
}


BAD = {
    "labels": (
        lambda m, X: compute_saliency_maps(X, torch.tensor([1]), m),
        r"compute_saliency_maps: y has shape \(1,\); expected \(3,\)",
    ),
    "fooling of a batch": (
        lambda m, X: make_fooling_image(X, 1, m),
        r"make_fooling_image: X has shape \(3, 3, 8, 8\); expected \(1, C, H, W\)",
    ),
    "step of a batch": (
        lambda m, X: class_visualization_update_step(X, m, 1, 0, 1),
        r"class_visualization_update_step: img has shape \(3, 3, 8, 8\)",
    ),
    "no picture": (
        lambda m, X: preprocess(np.zeros((4, 4))),
        r"preprocess: img has shape \(4, 4\); expected a picture or \(H, W, 3\)",
    ),
    "no size": (lambda m, X: preprocess(np.zeros((4, 4, 3)), size=0), "preprocess: size is 0"),
    "a grey tensor": (lambda m, X: deprocess(X[:, :1]), r"deprocess: img has shape \(3, 1, 8, 8\)"),
    "a flat tensor": (lambda m, X: blur_image(X[0]), r"blur_image: X has shape \(3, 8, 8\)"),
    "a negative blur": (lambda m, X: blur_image(X, -1), "blur_image: sigma is -1"),
}


@pytest.mark.parametrize(("call", "message"), BAD.values(), ids=BAD)
def test_bad_input_is_explained(call, message, model, X):
    with pytest.raises(ValueError, match=message):
        call(model, X)
    assert model.training


GOOD = {
    preprocess: lambda m, X: {"img": np.zeros((4, 6, 3)), "size": 3},
    deprocess: lambda m, X: {"img": X},
    rescale: lambda m, X: {"x": X},
    blur_image: lambda m, X: {"X": X, "sigma": 0.5},
    jitter: lambda m, X: {"X": X, "ox": -1, "oy": 2},
    compute_saliency_maps: lambda m, X: {"X": X, "y": torch.tensor([1, 0, 9]), "model": m},
    make_fooling_image: lambda m, X: {
        **{"X": X[:1], "target_y": 2, "model": m, "learning_rate": 0.1, "max_iterations": 2}
    },
    class_visualization_update_step: lambda m, X: {
        **{"img": X[:1], "model": m, "target_y": 2, "l2_reg": 0.1, "learning_rate": 0.1}
    },
}
HOSTILE = {
    **{"None": None, "an object": object(), "text": "no such thing", "a list": [], "a dict": {}},
    **{"-1": -1, "1.5": 1.5, "nan": np.nan, "infinity": np.inf, "10**30": 10**30, "complex": 1j},
    "an array": np.ones((1, 3, 4, 4)),
    "pixels beyond 255": np.full((4, 4, 3), 256),
    "pixels that are nan": np.full((4, 4, 3), np.nan),
    "no pixels": np.zeros((0, 4, 3)),
    "a scalar": torch.tensor(1.5),
    "integers": torch.ones((1, 3, 8, 8), dtype=torch.int64),
    "no images": torch.ones((0, 3, 8, 8)),
    "images without pixels": torch.ones((1, 3, 0, 8)),
    "two images": torch.ones((2, 3, 8, 8)),
    "a vector": torch.ones(3),
    "other labels": torch.tensor([0, 1, 10]),
    "negative labels": torch.tensor([0, 1, -1]),
    "a module without scores": torch.nn.Identity(),
}


@pytest.mark.parametrize("function", GOOD)
def test_wrong_arguments_are_refused_by_name_or_answered(function, model, X):
    function(**GOOD[function](model, X.clone()))
    failures = []
    for argument, (what, wrong) in itertools.product(GOOD[function](model, X), HOSTILE.items()):
        if (argument, what) == ("max_iterations", "10**30"):
            continue  # a right call that takes for ever
        try:
            function(**{**GOOD[function](model, X.clone()), argument: copy.deepcopy(wrong)})
        except (ValueError, TypeError) as error:
            if not str(error).startswith(f"{function.__name__}: "):
                failures.append(f"{argument} is {what}: {error!r}")
        except Exception as error:
            failures.append(f"{argument} is {what}: {error!r}")
    assert failures == []
    assert model.training


def test_a_missing_pytorch_is_named(monkeypatch, X, model):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match="make_fooling_image: PyTorch is missing"):
        make_fooling_image(X[:1], 1, model)


@pytest.mark.parametrize(("name", "arguments"), PUBLISHED.items())
def test_names_and_arguments_are_those_published(name, arguments):
    assert name in net_visualization_pytorch.__all__
    parameters = inspect.signature(getattr(net_visualization_pytorch, name)).parameters.values()
    shown = [p.name if p.default is p.empty else f"{p.name}={p.default}" for p in parameters]
    further = shown[len(arguments.split(", ")) :]
    assert ", ".join(shown[: len(shown) - len(further)]) == arguments
    assert all("=" in one for one in further)
