"""Networks out of files that describe them, and what they say about pictures."""

import json

import numpy as np
import pytest

import cs231n
from cs231n.classifiers import (
    ConvNet,
    FullyConnectedNet,
    Network,
    ThreeLayerConvNet,
    TwoLayerNet,
)
from cs231n.data_utils import data_from_arrays
from cs231n.files import storage
from cs231n.layer_utils import AFFINE
from cs231n.solver import Solver

SHAPE = (3, 6, 5)
NAMES = ("cat", "dog", "emu")
NETWORKS = {
    "two-layer": lambda: TwoLayerNet(90, 7, 3, 0.1, reg=0.25),
    "fully-connected": lambda: FullyConnectedNet(
        [8, 7], 90, 3, 0.5, "batchnorm", 0.5, rng=np.random.default_rng(3)
    ),
    "layernorm": lambda: FullyConnectedNet([8], 90, 3, 0.5, "layernorm", seed=4, dtype="float64"),
    "without hidden layers": lambda: FullyConnectedNet([], 90, 3),
    "three-layer-conv": lambda: ThreeLayerConvNet(SHAPE, 4, 3, 7, 3, 0.1, reg=0.125),
    "convnet": lambda: ConvNet(
        "conv8x5-pool-conv8s2-fc9-fc3", SHAPE, "batchnorm", 0.75, label_smoothing=0.125
    ),
    "groupnorm": lambda: ConvNet("conv8-gmax-fc4", SHAPE, "groupnorm", num_groups=4),
}


@pytest.fixture
def pixels(rng):
    """Return images that look different by class, and their labels."""
    y = np.arange(60) % 3
    X = rng.integers(0, 120, (60, *SHAPE), dtype=np.uint8)
    X[np.arange(60), y] += 120
    return X, y


@pytest.fixture
def data(pixels):
    """Return a data set whose mean image is far from zero."""
    return data_from_arrays(*pixels, class_names=NAMES)


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS)
def trained(request, data):
    """Return a network that has seen the data."""
    np.random.seed(3)
    model = request.param()
    model.dropout_param.pop("seed", None) if isinstance(model, ConvNet) else None
    for _ in range(3):
        model.loss(data["X_train"][:20], data["y_train"][:20])
    model.remember(data)
    return model


def test_a_file_is_the_network_again(trained, data, pixels, tmp_path):
    path = trained.save(tmp_path / "model")
    before = np.random.get_state()[1].copy()
    other = cs231n.load_model(path)
    assert np.array_equal(np.random.get_state()[1], before)
    assert type(other) is type(trained)
    assert other.form() == trained.form()
    assert other.inputs == trained.inputs
    assert other.inputs.class_names == NAMES
    assert list(other.params) == list(trained.params)
    assert all(w.flags.writeable and w.dtype == other.dtype for w in other.params.values())
    X = data["X_test"]
    np.testing.assert_array_equal(other.loss(X), trained.loss(X))
    np.testing.assert_array_equal(other.predict(pixels[0]), trained.predict(pixels[0]))
    loss, grads = other.loss(X, data["y_test"])  # it can be trained on
    assert np.isfinite(loss)
    assert list(grads) == list(other.params)


def test_pictures_are_normalised_as_in_training(trained, data, pixels):
    X, _ = pixels
    normal = data.normalization.apply(X, trained.dtype)
    scores = trained.loss(normal)
    probabilities = trained.predict_proba(X)
    expected = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4, atol=1e-6)
    assert probabilities.dtype == trained.dtype
    np.testing.assert_array_equal(trained.predict(X), scores.argmax(axis=1))
    without = trained.loss(X.astype(trained.dtype))  # what forgetting the mean gives
    assert np.abs(without - scores).max() > 1e-4
    for same in (X.transpose(0, 2, 3, 1), X.astype(float), X.tolist(), X.reshape(60, -1)):
        np.testing.assert_array_equal(trained.predict_proba(same), probabilities)
    np.testing.assert_array_equal(trained.predict_proba(normal, normalized=True), probabilities)


def test_any_number_of_images_gives_the_same(trained, rng):
    X = rng.integers(0, 256, (230, *SHAPE), dtype=np.uint8)
    whole = trained.predict_proba(X)
    assert trained.predict(X).dtype == np.int64
    assert trained.predict_proba(X[:0]).shape == (0, trained.num_classes)
    assert trained.predict(X[:0]).shape == (0,)
    pieces = np.concatenate(
        [trained.predict_proba(X[start : start + 7]) for start in range(0, 230, 7)]
    )
    np.testing.assert_allclose(whole, pieces, rtol=1e-4, atol=1e-6)


def test_large_scores_give_probabilities():
    model = TwoLayerNet(4, 3, 2)
    model.params["b2"][:] = [1e4, -1e4]
    np.testing.assert_array_equal(model.predict_proba(np.zeros((1, 4))), [[1, 0]])


def test_pictures_that_a_normalisation_was_undone_of_are_taken(data):
    model = ThreeLayerConvNet(SHAPE, 2, 3, 4, 3)
    model.remember(data)
    pictures = data.normalization.undo(data["X_train"])
    pictures[0, 0, 0, 0] = -3.8e-6  # black, as float32 rounds it
    expected = model.predict_proba(data["X_train"], normalized=True)
    np.testing.assert_allclose(model.predict_proba(pictures), expected, rtol=1e-3, atol=1e-5)
    dark = np.zeros((1, *SHAPE), np.float32)
    dark[0, 0, 0, 0] = 1e-5
    assert model.predict(dark).shape == (1,)


WRONG = {
    "normalised already": (lambda X: X - 128.0, r"floats from -\d+ to \d+; .*normalized=True"),
    "scaled to one": (lambda X: X / 255.0, r"floats from .* to .*; expected pixels from 0 to 255"),
    "not finite": (lambda X: np.where(X > 230, np.nan, X), "not finite"),
    "one image": (lambda X: X[0], r"\(3, 6, 5\); expected \(N, 3, 6, 5\) .*images\[None\]"),
    "another size": (lambda X: X[..., :4], r"\(60, 3, 6, 4\); expected"),
    "two channels": (lambda X: X[:, :2], r"\(60, 2, 6, 5\); expected"),
    "text": (lambda X: X.astype(str), "images"),
    "a number": (lambda X: 7, r"\(\); expected"),
}


@pytest.mark.parametrize(("change", "message"), WRONG.values(), ids=WRONG)
def test_images_that_mean_something_else_are_refused(change, message, pixels, data):
    model = ThreeLayerConvNet(SHAPE, 2, 3, 4, 3)
    model.remember(data)
    with pytest.raises((ValueError, TypeError), match=rf"ThreeLayerConvNet\.predict: .*{message}"):
        model.predict(change(pixels[0]))


def test_floats_from_zero_to_one_and_grey_images(pixels, tmp_path):
    X, y = pixels[0][:, 0], pixels[1]
    data = data_from_arrays(X / 255.0, y, class_names=NAMES)
    model = ConvNet("conv4-pool-fc3", (1, 6, 5))
    model.remember(data)
    model = cs231n.load_model(model.save(tmp_path / "x"))
    expected = model.predict_proba(data.normalization.apply(X[:, None] / 255.0), normalized=True)
    for same in (X, X[:, None], X[..., None], X / 255.0):
        np.testing.assert_allclose(model.predict_proba(same), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="expected pixels from 0 to 1"):
        model.predict(X.astype(float))


def test_a_network_that_knows_nothing_of_its_images_takes_them_as_they_are(pixels):
    model = TwoLayerNet(90, 7, 3)
    np.testing.assert_array_equal(
        model.predict(pixels[0] - 128.0), model.loss(pixels[0] - 128.0).argmax(axis=1)
    )


def test_the_solver_lets_the_network_remember(data):
    model = TwoLayerNet(90, 7, 3)
    Solver(model, data, num_epochs=1, verbose=False)
    assert model.inputs == (SHAPE, data.normalization, NAMES)
    plain = TwoLayerNet(90, 7, 3)
    Solver(plain, dict(data), num_epochs=1, verbose=False)
    assert plain.inputs is None


def test_data_of_another_network_are_refused(data):
    with pytest.raises(ValueError, match=r"TwoLayerNet\.remember: the images are \(3, 6, 5\)"):
        TwoLayerNet(91, 7, 3).remember(data)
    with pytest.raises(ValueError, match=r"expected \(5, 6, 3\)"):
        ThreeLayerConvNet((5, 6, 3), 2, 3, 4, 3).remember(data)
    with pytest.raises(ValueError, match="3 class names; expected at most 2"):
        TwoLayerNet(90, 7, 2).remember(data)
    with pytest.raises(TypeError, match="normalization"):
        TwoLayerNet(90, 7, 3).remember(dict(data))


def test_more_scores_than_names(data, tmp_path):
    model = TwoLayerNet(90, 7, 5)
    model.remember(data)
    inputs = cs231n.load_model(model.save(tmp_path / "x")).inputs
    assert [inputs.name(label) for label in range(5)] == ["cat", "dog", "emu", "3", "4"]


def test_load_brings_the_inputs_and_takes_files_of_the_older_form(data, tmp_path):
    model = TwoLayerNet(90, 7, 3)
    model.remember(data)
    model.save(tmp_path / "new")
    np.savez(tmp_path / "old.npz", **model.params)
    other = TwoLayerNet(90, 7, 3)
    other.load(tmp_path / "old")
    assert other.inputs is None
    other.load(tmp_path / "new")
    assert other.inputs == model.inputs
    other.load(tmp_path / "old")  # tells nothing of them: they stay
    assert other.inputs == model.inputs
    with pytest.raises(ValueError, match=r"old\.npz does not say what network it holds.*load"):
        cs231n.load_model(tmp_path / "old.npz")


def test_parameters_without_running_statistics(data, tmp_path):
    model = FullyConnectedNet([4], 90, 3, normalization="batchnorm")
    model.loss(data["X_train"], data["y_train"])
    arrays = storage.read_npz(model.save(tmp_path / "x"))
    kept = {name: array for name, array in arrays.items() if not name.startswith("bn_params")}
    storage.write_npz(tmp_path / "y", kept)
    with pytest.raises(ValueError, match=r"load_model: .*y\.npz lacks .*statistics='reset'"):
        cs231n.load_model(tmp_path / "y")
    fresh = cs231n.load_model(tmp_path / "y", statistics="reset")
    assert fresh.bn_params[0].keys() <= {"mode"}


class Own(FullyConnectedNet):
    """A network of the user's."""


def test_what_a_description_would_not_say_is_not_described(tmp_path):
    eps, deeper = TwoLayerNet(90, 7, 3), TwoLayerNet(90, 7, 3)
    norm = ConvNet("conv8-fc3", SHAPE, "batchnorm")
    norm.bn_params[0]["eps"] = 0.5
    deeper._add(AFFINE, W3=np.ones((3, 3)), b3=np.zeros(3))
    eps.params["W2"] = np.ones((7, 4))
    for model in (Own([4], 90, 3), Network(), norm, deeper, eps):
        path = model.save(tmp_path / "x")
        assert "network" not in storage.read_npz(path)
        with pytest.raises(ValueError, match="does not say what network"):
            cs231n.load_model(path)


def test_reg_is_stored_as_it_is(tmp_path):
    model = TwoLayerNet(90, 7, 3)
    model.reg = np.float32(0.5)
    assert cs231n.load_model(model.save(tmp_path / "x")).reg == 0.5


def test_what_is_no_file_of_a_network(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"load_model: there is no .*nowhere; expected the"):
        cs231n.load_model(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"has no best_model\.npz; expected the folder of"):
        cs231n.load_model(tmp_path)
    (tmp_path / "checkpoint.npz").touch()
    with pytest.raises(FileNotFoundError, match=r"trained: .* train --resume .* ends this"):
        cs231n.load_model(tmp_path)
    TwoLayerNet(4, 3, 2).save(tmp_path / "best_model")
    assert cs231n.load_model(tmp_path).input_shape == (4,)
    assert cs231n.load_model(str(tmp_path / "best_model")).input_shape == (4,)
    (tmp_path / "best_model.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"best_model\.npz is damaged"):
        cs231n.load_model(tmp_path)


def convnet_arrays(data, folder):
    """Return the arrays in the file of a ConvNet, and what the description says."""
    model = ConvNet("conv4-pool-fc5-fc3", SHAPE, dropout_keep_ratio=0.5)
    model.remember(data)
    arrays = storage.read_npz(model.save(folder / "good"))
    return arrays, json.loads(str(arrays["network"]))


def deep(levels):
    """Return lists in lists, deeper than a parser may recurse."""
    return "[" * levels + "]" * levels


BILLION = 999_999_999
STRANGE = {
    "a module": {"class": "os.system"},
    "a base class": {"class": "Network"},
    "a class that is none": {"class": ["ConvNet"]},
    "another class": {"class": "ThreeLayerConvNet"},
    "a later format": {"format": 2},
    "no format": {"format": None},
    "arguments that are none": {"arguments": ["conv4-fc3"]},
    "an unknown argument": {"arguments.backdoor": 1},
    "a generator": {"arguments.rng": 1},
    "wide filters": {"arguments.architecture": f"conv{BILLION}-pool-fc5-fc3"},
    "wide affine layers": {"arguments.architecture": f"conv4-pool-fc{BILLION}-fc3"},
    "large filters": {"arguments.architecture": f"conv4x{BILLION}-pool-fc5-fc3"},
    "many layers": {"arguments.architecture": "-".join(["conv4"] * 10_000) + "-fc3"},
    "no architecture": {"arguments.architecture": "import os"},
    "an architecture of another type": {"arguments.architecture": 7},
    "an endless image": {"arguments.input_dim": [3, 10**18, 10**18]},
    "a large image": {"arguments.input_dim": [3, 2**14, 2**14]},
    "many channels": {"arguments.input_dim": [BILLION, 6, 5]},
    "a negative side": {"arguments.input_dim": [3, -6, 5]},
    "a side that is true": {"arguments.input_dim": [3, True, 5]},
    "another size": {"arguments.input_dim": [3, 8, 5]},
    "objects": {"arguments.dtype": "object"},
    "other floats": {"arguments.dtype": "float16"},
    "no number": {"arguments.reg": float("nan")},
    "no limit": {"arguments.reg": float("inf")},
    "a reg of text": {"arguments.reg": "1"},
    "a keep ratio of two": {"arguments.dropout_keep_ratio": 2.0},
    "a seed without end": {"arguments.seed": 10**400},
    "a seed that is none": {"arguments.seed": [1, 2]},
    "a normalisation it has not": {"arguments.normalization": "batchnorm"},
    "groups of none": {"arguments.num_groups": 0},
    "other images": {"image_shape": [3, 5, 6]},
    "images without end": {"image_shape": [3, 10**18, 5]},
    "no images": {"image_shape": None},
    "names that are numbers": {"class_names": [1, 2, 3]},
    "too many names": {"class_names": ["a", "b", "c", "d"]},
    "no names": {"class_names": []},
    "a name without end": {"class_names": ["x" * 10**5, "b"]},
}


@pytest.mark.parametrize("change", STRANGE.values(), ids=STRANGE)
def test_a_description_from_a_stranger_is_refused(change, data, tmp_path):
    arrays, content = convnet_arrays(data, tmp_path)
    for place, value in change.items():
        group, _, name = place.rpartition(".")
        (content[group] if group else content)[name] = value
    storage.write_npz(tmp_path / "bad", {**arrays, "network": np.array(json.dumps(content))})
    with pytest.raises(ValueError, match=r"load_model: .*bad\.npz") as refusal:
        cs231n.load_model(tmp_path / "bad")
    assert len(str(refusal.value)) < 600 + len(str(tmp_path))


ODD_ARRAYS = {
    "no JSON": {"network": np.array("import os")},
    "deep JSON": {"network": np.array(deep(100_000))},
    "a number": {"network": np.array(7)},
    "two texts": {"network": np.array(["{}", "{}"])},
    "a list": {"network": np.array("[1]")},
    "a mean of another size": {"normalization/mean": np.zeros((3, 7, 5))},
    "a mean that is not finite": {"normalization/mean": np.full((3, 6, 5), np.nan)},
    "a deviation of zero": {"normalization/deviation": np.zeros(3)},
    "an unknown part": {"normalization/code": np.zeros(3)},
    "a white of two": {"normalization/white": np.ones(2)},
    "a weight of another shape": {"W1": np.ones((4, 3, 3, 5))},
    "one weight more": {"W9": np.ones(3)},
    "text for a weight": {"b1": np.array(list("abcd"))},
}


@pytest.mark.parametrize("change", ODD_ARRAYS.values(), ids=ODD_ARRAYS)
def test_arrays_that_are_not_those_of_the_description_are_refused(change, data, tmp_path):
    arrays, _ = convnet_arrays(data, tmp_path)
    storage.write_npz(tmp_path / "bad", {**arrays, **change})
    with pytest.raises(ValueError, match=r"load_model: .*bad\.npz"):
        cs231n.load_model(tmp_path / "bad")


def test_a_missing_weight_is_named(data, tmp_path):
    arrays, _ = convnet_arrays(data, tmp_path)
    del arrays["W2"]
    storage.write_npz(tmp_path / "bad", arrays)
    with pytest.raises(ValueError, match="there is no W2"):
        cs231n.load_model(tmp_path / "bad")


def test_a_checkpoint_is_told_from_a_network(data, tmp_path):
    solver = Solver(
        TwoLayerNet(90, 4, 3),
        data,
        checkpoint_name=str(tmp_path / "run"),
        num_epochs=1,
        batch_size=20,
        verbose=False,
    )
    solver.train()
    with pytest.raises(ValueError, match=r"run\.npz is a checkpoint of training"):
        cs231n.load_model(tmp_path / "run.npz")
