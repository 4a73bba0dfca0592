"""Networks in other libraries: the same scores for the same pixels, from ONNX and from PyTorch."""

import json
import shutil
import sys

import numpy as np
import pytest

from cs231n.__main__ import main
from cs231n.checking.layer_table import LAYERS
from cs231n.classifiers import ConvNet, FullyConnectedNet, Network, ThreeLayerConvNet, TwoLayerNet
from cs231n.classifiers.inputs import Inputs
from cs231n.data.normalization import Normalization
from cs231n.layer_utils import AFFINE, Stage

pytestmark = pytest.mark.usefixtures("glyphs_drawn_once")

SHAPE = (3, 9, 7)
MEAN = Normalization(np.linspace(90, 140, 189).reshape(SHAPE), [50.0, 60.0, 70.0])
UNIT = Normalization([0.4, 0.5, 0.6], white=1)
NAMES = ("cat", "dog", "emu")
NETWORKS = {
    "two layers": (lambda: TwoLayerNet(189, 8, 3, 0.1), MEAN),
    "fully connected": (lambda: FullyConnectedNet([8, 7], 189, 3, 0.5), UNIT),
    "batch norm": (lambda: FullyConnectedNet([8, 7], 189, 3, normalization="batchnorm"), MEAN),
    "layer norm": (
        lambda: FullyConnectedNet([8], 189, 3, normalization="layernorm", dtype="float64"),
        MEAN,
    ),
    "three layers": (lambda: ThreeLayerConvNet(SHAPE, 4, 4, 7, 3, 0.1), Normalization()),
    "convolutions": (lambda: ConvNet("conv8x5s2-conv4-pool-fc6-fc3", SHAPE), MEAN),
    "spatial batch norm": (
        lambda: ConvNet("conv8-pool-conv4s2-gavg-fc3", SHAPE, "batchnorm"),
        UNIT,
    ),
    "group norm": (
        lambda: ConvNet("conv8-pool-conv4s2-gmax-fc5-fc3", SHAPE, "groupnorm", 0.5, num_groups=2),
        MEAN,
    ),
    "speed-run": (
        lambda: ConvNet(
            "whiten2-conv8p-conv8-pool-fc3/9",
            SHAPE,
            "batchnorm",
            activation="gelu",
            learn_scale=False,
        ),
        MEAN,
    ),
    "residual blocks": (
        lambda: ConvNet("conv4-res(conv4-conv4)x2-res(conv8s2-conv8)-gavg-fc3", SHAPE, "batchnorm"),
        MEAN,
    ),
    "residual blocks without normalisation": (
        lambda: ConvNet("res(conv4s2-conv5s2)-res(conv5)-gmax-fc3", SHAPE, activation="silu"),
        UNIT,
    ),
    "residual blocks of groups": (
        lambda: ConvNet(
            "conv4-res(conv8-conv8s3)-fc3",
            SHAPE,
            "groupnorm",
            num_groups=2,
            activation="leaky_relu",
        ),
        UNIT,
    ),
    "gelu of the tanh form": (
        lambda: ConvNet("conv4p-conv4v-fc6-fc3/2", SHAPE, "batchnorm", activation="gelu_tanh"),
        MEAN,
    ),
}
# Layers that cannot stand alone, with the reason.
NOT_ALONE = {"shortcut": "adds what a fork has kept; the residual blocks above have both"}
ALONE = {
    f"{name} {kind}".strip(): (row.stage, example)
    for name, row in LAYERS.items()
    if row.stage is not None and name not in NOT_ALONE
    for kind, example in row.examples.items()
}


class Alone(Network):
    """A layer, and scores of what it gives."""

    def __init__(self, stage, example, rng):
        super().__init__()
        x, *weights = example.draw(rng, self.dtype)
        options = [{**o, "mode": "test"} if isinstance(o, dict) else o for o in example.options]
        out, _ = stage.run(x, [*weights, *options])
        self.input_shape = x.shape[1:]
        self._add(stage, *options, **dict(zip(stage.weights, weights)))
        self._add(AFFINE, W1=rng.standard_normal((out[0].size, 3)), b1=rng.standard_normal(3))


def trained(build, normalization, rng):
    """Return images, and a network whose parameters and statistics are not as they began."""
    np.random.seed(3)
    model = build()
    X = rng.integers(0, 256, (30, *SHAPE), dtype=np.uint8)
    for _ in range(3):
        model.loss(normalization.apply_pixels(X), rng.integers(0, 3, 30))
    for name, w in model.params.items():
        if not name.startswith("W"):
            w += 0.5 * rng.standard_normal(w.shape)
    for param in model.bn_params:
        param["eps"] = 1e-3
    model.inputs = Inputs(SHAPE, normalization, NAMES)
    return model, X


def assert_near(found, expected):
    """Compare to 1e-5 of the largest number."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def session_of(model):
    """Return what runs a network's ONNX model."""
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from cs231n.onnx_bridge import to_onnx

    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    written = to_onnx(model).SerializeToString()
    return runtime.InferenceSession(written, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize(("build", "normalization"), NETWORKS.values(), ids=NETWORKS)
def test_onnx_gives_the_same_scores(build, normalization, rng):
    model, X = trained(build, normalization, rng)
    session = session_of(model)
    (images,) = session.get_inputs()
    assert (images.name, images.type) == ("images", "tensor(float)")
    assert json.loads(session.get_modelmeta().custom_metadata_map["class_names"]) == list(NAMES)
    for part in (X, X[:1], X[:3]):
        scores, probabilities = session.run(None, {"images": part.astype(np.float32)})
        expected = model.loss(normalization.apply_pixels(part, model.dtype))
        assert np.ptp(expected) > 1e-3
        assert_near(scores, expected)
        assert_near(probabilities, model.predict_proba(part))


@pytest.mark.parametrize(("stage", "example"), ALONE.values(), ids=ALONE)
def test_each_layer_of_the_table_gives_the_same_scores_in_onnx(stage, example, rng):
    model = Alone(stage, example, rng)
    session = session_of(model)
    for N in (1, 3):
        X = 2 * rng.standard_normal((N, *model.input_shape)).astype(np.float32)
        scores, _ = session.run(None, {"images": X})
        assert_near(scores, model.loss(X))


def test_a_layer_without_a_counterpart_in_onnx_is_named(rng):
    pytest.importorskip("onnx", reason="the extra onnx is not installed")
    from cs231n.onnx_bridge import to_onnx

    model, _ = trained(*NETWORKS["two layers"], rng)
    model._add(Stage("wobble", lambda x: (x, None), lambda dout, cache: dout))
    with pytest.raises(ValueError, match="to_onnx: 'wobble' has no counterpart in ONNX"):
        to_onnx(model)


@pytest.mark.long
def test_torch_gives_the_same_scores(rng, tmp_path, capsys):
    # One network, of the most kinds of layers: PyTorch takes seconds to load what exports.
    # tests/classifiers/test_torch_bridge.py compares every layer.
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    model, X = trained(*NETWORKS["group norm"], rng)
    for param in model.bn_params:
        del param["eps"]
    model.save(tmp_path / "best_model")
    assert main(["export", str(tmp_path), "--to", "torch"]) == 0
    path = tmp_path / "model.pt2"
    assert capsys.readouterr().out.startswith(f"{path} takes images (N, 3, 9, 7) as float32")
    net = torch.export.load(path).module()
    for part in (X, X[:1], X[:7]):
        found = net(torch.from_numpy(part.astype(np.float32))).detach().numpy()
        assert_near(found, model.loss(MEAN.apply_pixels(part, model.dtype)))


def test_the_command_writes_onnx(rng, tmp_path, capsys, monkeypatch):
    onnx = pytest.importorskip("onnx", reason="the extra onnx is not installed")
    model, _ = trained(*NETWORKS["two layers"], rng)
    model.save(tmp_path / "best_model")
    for words, path in (([], "model.onnx"), (["--output", str(tmp_path / "x.onnx")], "x.onnx")):
        assert main(["export", str(tmp_path), "--to", "onnx", *words]) == 0
        assert capsys.readouterr().out.startswith(str(tmp_path / path))
        onnx.checker.check_model(onnx.load(tmp_path / path))


@pytest.mark.parametrize(("form", "package"), [("onnx", "onnx"), ("torch", "PyTorch")])
def test_a_missing_package_is_told_in_a_line(form, package, rng, tmp_path, capsys, monkeypatch):
    model, _ = trained(*NETWORKS["two layers"], rng)
    model.save(tmp_path / "best_model")
    monkeypatch.setitem(sys.modules, form, None)
    assert main(["export", str(tmp_path), "--to", form]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{package} is missing" in line
    assert f"`pip install {form}` installs it" in line
    assert [path.name for path in tmp_path.iterdir()] == ["best_model.npz"]


def test_no_run(tmp_path, capsys):
    assert main(["export", str(tmp_path / "gone"), "--to", "onnx"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "gone; expected the folder of a run" in line
    shutil.copy(__file__, tmp_path / "best_model.npz")
    assert main(["export", str(tmp_path), "--to", "torch"]) == 1
    assert "is damaged" in capsys.readouterr().err
