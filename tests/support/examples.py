"""One good call of every public function, from which the hostile ones are made.

`EXAMPLES` maps 'module.function' to a function that returns the arguments by name, new ones each
time.  Those of the layers come from the shared table in `cases`.  What is not for users is in
`INTERNAL`, with the reason.
"""

from __future__ import annotations

import importlib.util
import inspect
import pkgutil
import types
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np
from cases import LAYERS, LayerCase

import cs231n
from cs231n import fast_layers
from cs231n.augment import FlipAndShift
from cs231n.classifiers import ConvNet, FullyConnectedNet, ThreeLayerConvNet
from cs231n.data.normalization import Normalization
from cs231n.data_utils import data_from_arrays
from cs231n.solver import Solver

Arguments = dict[str, Any]

INTERNAL = {
    "core.checks": "the checks themselves",
    "core.extras": "called with the names of packages",
    "search.": "starts processes; tests/searching has its wrong arguments",
    "searching": "called by search, which checks",
    "training.bar": "a progress bar, drawn by Solver and search",
    "kernels.threads.share_processors": "called by the Solver",
    "classifiers.network.Network.replaced": "called by the Solver",
    "parallel": "called by the Solver",
    "training.arguments.flat": "called by the Solver",
    "training.arguments.shared": "called by the Solver",
    "training.arguments.whole_fingerprint": "called by the Solver",
    "core.window": "called by the layers, which check",
    "data.cifar100": "read by get_CIFAR100_data, which checks",
    "data.idx": "read by get_MNIST_data, which checks",
    "data.download.fetch_": "called by the downloads, which check",
    "data.download.is_complete": "as fetch_archive",
    "data.load.holds_": "called by the command line",
    "data.mat": "read by get_SVHN_data, which checks",
    "data.sets.find_": "called by the loaders",
    "data.sets.limited": "called by load_data",
    "data.sets.read_svhn": "called by get_SVHN_data",
    "data.cifar10.": "names and places of files, for the loaders",
    "commands.": "the command line checks its own arguments",
    "kernels.advice": "called where the kernels are missing",
    "kernels.backend.kernels_for": "called by the fast layers",
    "kernels.fast_optim": "called by the Solver with arrays of its own",
    "data.glyphs": "drawn by get_builtin_data, which checks",
    "data.dataset": "made and filled by the loaders, which check",
    "data.imagenet.class_words": "called by load_tiny_imagenet",
    "data.imagenet.read_": "called by load_tiny_imagenet and load_imagenet_val, which check",
    "data.normalization.Normalization.apply_in_place": "called by the loaders",
    "data.normalization.Normalization.divided_by": "called by standardize",
    "data.pictures": "called by load_image and load_image_folder, which check",
    "checking.calls": "called by check_layer",
    "checking.report": "called by check_layer",
    "checking.search": "called by check_layer",
    "checking.slopes": "called by check_layer",
    "checking.counterparts": "called by torch_bridge with layers of a network",
    "image_utils.image_from_url": "needs a server, tested in test_download",
    "checking.rel_error": "any numbers, as notebooks call it",
    "classifiers.architecture": "called by ConvNet",
    "classifiers.blank": "called by load_model",
    "classifiers.chain": "called by Network",
    "classifiers.description": "called by load_model and Network.save",
    "classifiers.folding": "called by Network",
    "classifiers.initial.set_identity": "called by ConvNet with filters of its own",
    "classifiers.inputs": "called by Network.predict",
    "classifiers.network.Network.take": "called by load_model",
    "classifiers.summary": "called by Network",
    "core.specs": "called by the layers, which check",
    "core.contract": "what the layers are decorated with",
    "files.lock": "called by checkpoint",
    "measuring": "used by commands, notebooks and benchmarks",
    "kernels.native": "kernels get arrays that the fast layers have checked",
    "kernels.numpy_kernels": "as native",
    "net_visualization.climb": "called with checked arguments",
    "notebook": "helpers of the project's own notebooks",
    "files.npz": "called by storage",
    "files.regular": "called by storage and by the readers of files",
    "files.storage.sweep": "called by replacing",
    "files.storage.write_bytes": "called by commands",
    "files.storage.write_figure": "called by commands",
    "files.storage.write_text": "called by commands",
    "files.safe_pickle.parse_pickle": "called by load_pickle",
    "torch_bridge": "of PyTorch models, tested in test_torch_bridge",
    "onnx_bridge": "needs an extra, tested in test_export",
    "net_visualization_pytorch": "of PyTorch tensors, tested in its own file",
    "optim.find": "called by the Solver",
    "training.arguments": "called by the Solver",
    "training.averages": "called by the Solver",
    "training.minibatch": "called by the Solver",
    "training.groups": "called by the Solver",
    "training.checkpoint.tidy": "called by the command line",
    "training.checkpoint.take_over": "called by the Solver",
    "training.generators": "called by the Solver",
    "solver.Solver.count_callback": "called by the callbacks",
    "solver.Solver.print_line": "any text",
    "solver.Solver.stop": "any text",
    "learning_rate.RateSearch": "made by find_learning_rate",
    "core.tables": "called by those who show tables",
    "training.callback": "called by the Solver",
    "training.csv_log.CSVLog.": "called by the Solver",
    "training.live.LiveCurves.": "called by the Solver",
    "training.progress_bar": "used by the Solver",
    "training.stopping.EarlyStopping.": "called by the Solver",
    "training.tensorboard_log": "needs an extra, tested in test_callbacks",
    "training.update_ratios.UpdateRatios.": "called by the Solver",
    "training.inputs": "the checks of the Solver",
    "training.signals": "used by the Solver",
    "training.state": "called by the Solver",
    "kernels.workspace": "called by the fast layers",
    "visual.figures": "the look of figures, for those who draw",
    "visual.grids.as_images": "the checks of those who draw",
    "visual.grids.mosaic": "called with checked images",
    "visual.grids.own_range": "as mosaic",
    "visual.history": "read by plot_history and compare_runs",
}


def is_built(name: str) -> bool:
    """Tell whether a module of the package is there, which a compiled one need not be."""
    return importlib.util.find_spec(f"cs231n.{name}") is not None


def public_functions(internal: Iterable[str] = INTERNAL) -> dict[str, Callable[..., Any]]:
    """Return the functions, classes and methods that users call, by module and name."""
    found = {}
    for module in pkgutil.walk_packages(cs231n.__path__, "cs231n."):
        home = module.name.removeprefix("cs231n.")
        # Importing the build script would build, and relaid registers names for good.
        if module.ispkg or home.startswith("_") or home in ("setup", "relaid"):
            continue
        names = importlib.import_module(module.name).__all__
        for name in names:
            value = getattr(importlib.import_module(module.name), name)
            is_own = getattr(value, "__module__", module.name) == module.name
            if is_own and getattr(value, "__name__", "") == name and is_called(value):
                found[f"{home}.{name}"] = value
                found.update(methods(f"{home}.{name}", value))
    return {name: f for name, f in found.items() if not name.startswith(tuple(internal))}


def is_called(value: Any) -> bool:
    """Tell whether this is a function with arguments, or a class that is more than a record."""
    if isinstance(value, type):
        records = issubclass(value, (tuple, BaseException)) or hasattr(
            value, "__dataclass_fields__"
        )
        return not records
    return callable(value) and bool(inspect.signature(value).parameters)


def methods(name: str, value: Any) -> dict[str, Callable[..., Any]]:
    """Return the methods with arguments that a class defines itself, for users to call."""
    if not isinstance(value, type):
        return {}
    public = [key for key in vars(value) if not key.startswith("_") or key == "__call__"]
    found = {key: getattr(value, key) for key in public}
    return {
        f"{name}.{key}": method
        for key, method in found.items()
        if inspect.isroutine(method) and set(inspect.signature(method).parameters) - {"self"}
    }


def parameters(function: Callable[..., Any]) -> list[str]:
    """Return the names of a function's parameters."""
    return list(inspect.signature(function).parameters)


def rng() -> np.random.Generator:
    """Return a generator that gives the same numbers to every call."""
    return np.random.default_rng(231)


def forward(case: LayerCase) -> Arguments:
    """Return arguments of a forward pass."""
    values = [*case.draw(rng()), *case.options]
    values = [dict(value) if isinstance(value, dict) else value for value in values]
    return dict(zip(parameters(case.forward), values, strict=True))


def backward(case: LayerCase) -> Arguments:
    """Return arguments of a backward pass."""
    out, cache = case.run(*case.draw(rng()))
    return {"dout": rng().standard_normal(out.shape), "cache": cache}


def scores() -> Arguments:
    """Return arguments of a loss."""
    return {"x": rng().standard_normal((4, 3)), "y": np.array([0, 2, 1, 1])}


def step() -> Arguments:
    """Return arguments of an update rule."""
    w, dw = rng().standard_normal((2, 3, 4))
    return {"w": w, "dw": dw, "config": {"learning_rate": 0.1}}


def images(*names: str, shape: tuple[int, ...] = (2, 3, 6, 5), **more: Any) -> Arguments:
    """Return images under these names, and what else there is."""
    return {**{name: rng().standard_normal(shape) for name in names}, **more}


def blob() -> Any:
    """Return what has values and gradients."""
    return types.SimpleNamespace(vals=np.ones(2), diffs=np.ones(2))


def history() -> Any:
    """Return what a Solver leaves behind."""
    return types.SimpleNamespace(
        loss_history=[1.0, 0.5], train_acc_history=[0.5], val_acc_history=[0.5]
    )


def small_convnet() -> ThreeLayerConvNet:
    """Return a network of small images."""
    return ThreeLayerConvNet(
        input_dim=(3, 6, 4), num_filters=2, filter_size=3, hidden_dim=4, num_classes=3
    )


def whitening_convnet() -> ConvNet:
    """Return a network of small images whose first filters are to be set."""
    return ConvNet("whiten2-fc3", input_dim=(3, 6, 4))


def solver() -> Arguments:
    """Return arguments of a Solver."""
    X, y = rng().standard_normal((6, 4)), np.array([0, 1, 2, 0, 1, 2])
    return {
        "model": FullyConnectedNet([3], input_dim=4, num_classes=3),
        "data": {"X_train": X, "y_train": y, "X_val": X, "y_val": y},
        "update_rule": "adam",
        "optim_config": {"learning_rate": 1e-3},
        "lr_decay": 0.9,
        "batch_size": 2,
        "num_epochs": 1,
        "num_train_samples": 3,
        "num_val_samples": 3,
        "print_every": 2,
        "weight_decay": 0.1,
        "clip_norm": 1.0,
        "groups": {"b*": {"rate": 2.0}},
        "average": "ema",
        "average_config": {"decay": 0.9},
        "checkpoint_every": 2,
        "checkpoint_name": PATH,
        "rng": rng(),
    }


def network_backward() -> Arguments:
    """Return arguments of a network's backward pass."""
    model = small_convnet()
    scores, caches = model.forward(images("X", shape=(2, 3, 6, 4))["X"], "train")
    return {"self": model, "dscores": np.ones(scores.shape), "caches": caches, "need_dx": True}


def net(**more: Any) -> Arguments:
    """Return what the constructors of all networks take."""
    return {"reg": 0.1, "dtype": np.float32, **more}


def prediction() -> Arguments:
    """Return a network and normalised images for it."""
    return images("images", shape=(2, 3, 6, 4), self=small_convnet(), normalized=True)


WINDOW = {"field_height": 3, "field_width": 2, "padding": 1, "stride": 2}
PATH = "no/such/place/x"

# There is nothing to call where the extension was not built.
COMPILED: dict[str, Callable[[], Arguments]] = {
    "im2col_cython.im2col_cython": partial(images, "x", **WINDOW),
    "im2col_cython.col2im_cython": lambda: {
        "cols": rng().standard_normal((18, 18)), "N": 2, "C": 3, "H": 6, "W": 5, **WINDOW,
    },
    "im2col_cython.col2im_6d_cython": lambda: {
        "cols": rng().standard_normal((3, 3, 2, 2, 3, 3)), "N": 2, "C": 3, "H": 6, "W": 5,
        "HH": 3, "WW": 2, "pad": 1, "stride": 2,
    },
} if is_built("im2col_cython") else {}  # fmt: skip
EXAMPLES: dict[str, Callable[[], Arguments]] = {
    "augment.FlipAndShift": lambda: {"pad": 2, "mode": "zero", "rng": rng()},
    "augment.FlipAndShift.__call__": partial(images, "X", self=FlipAndShift(pad=2)),
    "augment.FlipAndShift.of_samples": lambda: images(
        "X", self=FlipAndShift("alternating", pad=2), samples=np.array([4, 1]), epoch=1
    ),
    "augment.alternating_flip": lambda: images("X", samples=np.array([4, 1]), epoch=1, seed=3),
    "augment.augmented_scores": lambda: images(
        "X", shape=(2, 3, 6, 4), model=small_convnet(), shift=1, weight=0.5, batch_size=1
    ),
    "augment.random_cutout": lambda: images("X", size=2, rng=rng()),
    "augment.mirrored_scores": lambda: images(
        "X", shape=(2, 3, 6, 4), model=small_convnet(), batch_size=1
    ),
    "augment.random_flip": lambda: images("X", rng=rng()),
    "augment.random_shift": lambda: images("X", pad=2, mode="zero", rng=rng()),
    "kernels.backend.backend": lambda: {"name": "numpy"},
    "kernels.backend.select": lambda: {"name": "numpy"},
    "training.checkpoint.alone": lambda: {"path": PATH},
    "training.checkpoint.exists": lambda: {"path": PATH},
    "training.checkpoint.load": lambda: {"path": PATH},
    "training.checkpoint.save": lambda: {"path": PATH, "state": {"x": np.ones(2)}},
    "classifiers.cnn.ThreeLayerConvNet": lambda: net(
        input_dim=(3, 6, 4), num_filters=2, filter_size=3, hidden_dim=4, num_classes=3,
        weight_scale=0.1,
    ),
    "classifiers.cnn.ConvNet": lambda: net(
        architecture="conv4-pool-fc5-fc3", input_dim=(3, 6, 4), normalization="batchnorm",
        dropout_keep_ratio=0.5, weight_scale=0.1, label_smoothing=0.1, seed=3, num_groups=2,
        activation="gelu", learn_scale=False, bn_momentum=0.6, init="dirac",
    ),
    "classifiers.cnn.ConvNet.whiten": lambda: images(
        "images", shape=(5, 3, 6, 4), self=whitening_convnet(), eps=1e-3
    ),
    "classifiers.initial.whitening_filters": lambda: images(
        "images", shape=(5, 3, 6, 4), size=2, eps=1e-3
    ),
    "classifiers.fc_net.FullyConnectedNet": lambda: net(
        hidden_dims=[4], input_dim=6, num_classes=3, dropout_keep_ratio=0.5,
        normalization="batchnorm", weight_scale=0.1, seed=3,
    ),
    "classifiers.fc_net.TwoLayerNet": lambda: net(
        input_dim=6, hidden_dim=4, num_classes=3, weight_scale=0.1
    ),
    "classifiers.network.Network": lambda: net(label_smoothing=0.1),
    "classifiers.network.Network.backward": network_backward,
    "classifiers.network.Network.forward": lambda: images(
        "X", shape=(2, 3, 6, 4), self=small_convnet(), mode="train"
    ),
    "classifiers.network.Network.load": lambda: {"self": small_convnet(), "fname": PATH},
    "classifiers.network.Network.loss": lambda: images(
        "X", shape=(2, 3, 6, 4), self=small_convnet(), y=np.array([0, 2])
    ),
    "classifiers.network.Network.predict": prediction,
    "classifiers.network.Network.predict_proba": prediction,
    "classifiers.network.Network.remember": lambda: {
        "self": FullyConnectedNet([4], input_dim=12, num_classes=2, seed=3),
        "data": data_from_arrays(rng().uniform(0, 255, (6, 2, 2, 3)), np.arange(6) % 2, seed=3),
    },
    "classifiers.network.Network.save": lambda: {"self": small_convnet(), "fname": PATH},
    "classifiers.stored.load_model": lambda: {"path": PATH, "statistics": "file"},
    "data.cifar10_batches.cifar10_mean_image": lambda: {"num_training": 2, "cifar10_dir": PATH},
    "data.cifar10_batches.get_CIFAR10_data": lambda: {
        "num_training": 2, "num_validation": 1, "num_test": 1, "dtype": np.float32,
        "cifar10_dir": PATH,
    },
    "data.builtin.get_builtin_data": lambda: {
        "num_training": 2, "num_validation": 1, "num_test": 1, "dtype": np.float32, "seed": 3,
    },
    "data.cifar10_batches.load_CIFAR10": lambda: {"ROOT": PATH},
    "data.cifar10_batches.load_CIFAR_batch": lambda: {"filename": PATH},
    "data_utils.load_models": lambda: {"models_dir": PATH},
    "data_utils.load_imagenet_val": lambda: {"num": 3},
    "data.imagenet.load_tiny_imagenet": lambda: {"path": PATH, "dtype": np.float32},
    "data_utils.standardize": lambda: {
        "data": images("X_train", "X_val", "X_test", shape=(2, 3, 4, 4))
    },
    "data.download_sets.download_data": lambda: {
        "name": "mnist", "folder": "/dev/null/x", "urls": [],
    },
    "data.folder.load_image_folder": lambda: {
        "path": PATH, "size": 8, "fit": "cover", "background": (0, 0, 0), "validation": 0.2,
        "test": 0.2, "seed": 3, "dtype": np.float32, "max_pixels": 100, "workers": 1,
    },
    "data.load.load_data": lambda: {
        "source": "builtin", "num_training": 3, "num_validation": 2, "num_test": 2, "seed": 1,
        "dtype": np.float32,
    },
    "data.sets.data_from_arrays": lambda: {
        "X_train": rng().uniform(0, 255, (6, 5, 4)), "y_train": np.arange(6) % 2,
        "X_val": None, "X_test": np.ones((2, 5, 4)), "y_test": np.array([0, 1]),
        "class_names": ["cat", "dog"], "validation": 0.2, "test": 0.1, "seed": 3,
        "dtype": np.float32, "layout": "auto",
    },
    "data.sets.get_CIFAR100_data": lambda: {
        "num_training": 2, "num_validation": 1, "num_test": 1, "dtype": np.float32,
        "cifar100_dir": PATH, "labels": "fine",
    },
    "data.sets.get_MNIST_data": lambda: {
        "num_training": 2, "num_validation": 1, "num_test": 1, "dtype": np.float32,
        "folder": PATH, "name": "mnist",
    },
    "data.sets.get_SVHN_data": lambda: {
        "num_training": 2, "num_validation": 1, "num_test": 1, "dtype": np.float32, "folder": PATH,
    },
    "data.sets.load_npz": lambda: {
        "path": PATH, "validation": 0.2, "test": 0.1, "seed": 3, "dtype": np.float32,
        "layout": "auto",
    },
    "data.normalization.Normalization": lambda: {
        "mean": np.ones((3, 6, 4)), "deviation": np.ones(3), "white": 255.0,
    },
    "data.normalization.Normalization.apply": lambda: images(
        "X", shape=(2, 3, 6, 4), self=Normalization(np.ones(3)), dtype=np.float32
    ),
    "data.normalization.Normalization.apply_pixels": lambda: images(
        "pixels", shape=(2, 3, 6, 4), self=Normalization(np.ones(3), white=1), dtype=np.float32
    ),
    "data.normalization.Normalization.from_arrays": lambda: {
        "arrays": {"mean": np.ones(3), "deviation": np.ones(3)}
    },
    "data.normalization.Normalization.undo": lambda: images(
        "X", shape=(2, 3, 6, 4), self=Normalization(np.ones(3))
    ),
    "data.download.download_cifar10": lambda: {"folder": "/dev/null/x", "urls": []},
    "data.download.download_imagenet_val": lambda: {"folder": "/dev/null/x", "urls": []},
    "data.download.link_cifar10": lambda: {"folder": "/dev/null/x", "batches": "/dev/null"},
    "fast_layers.softmax_loss_fast": lambda: {**scores(), "label_smoothing": 0.1},
    "gradient_check.eval_numerical_gradient": lambda: {
        "f": np.sum, "x": np.ones((2, 2)), "verbose": False, "h": 1e-5,
    },
    "gradient_check.eval_numerical_gradient_array": lambda: {
        "f": np.square, "x": np.ones((2, 2)), "df": np.ones((2, 2)), "h": 1e-5,
    },
    "gradient_check.eval_numerical_gradient_blobs": lambda: {
        "f": lambda *blobs: None, "inputs": [blob()], "output": blob(), "h": 1e-5,
    },
    "gradient_check.eval_numerical_gradient_net": lambda: {
        "net": types.SimpleNamespace(forward=lambda: None), "inputs": [blob()], "output": blob(),
        "h": 1e-5,
    },
    "gradient_check.grad_check_sparse": lambda: {
        "f": np.sum, "x": np.ones((2, 2)), "analytic_grad": np.ones((2, 2)), "num_checks": 2,
        "h": 1e-5, "rng": rng(),
    },
    "im2col.get_im2col_indices": lambda: {"x_shape": (2, 3, 6, 5), **WINDOW},
    "im2col.im2col_indices": partial(images, "x", **WINDOW),
    "im2col.col2im_indices": lambda: {
        "cols": rng().standard_normal((18, 18)), "x_shape": (2, 3, 6, 5), **WINDOW,
    },
    "im2col.get_num_fields": lambda: {"x_shape": (2, 3, 6, 5), **WINDOW},
    "im2col.field_coords": lambda: {"H": 6, "W": 5, **WINDOW},
    "im2col.im2col_naive": partial(images, "x", **WINDOW),
    "im2col.col2im": lambda: {
        "cols": rng().standard_normal((18, 18)), "x_shape": (2, 3, 6, 5), **WINDOW,
    },
    **COMPILED,
    "image_utils.blur_image": partial(images, "X"),
    "image_utils.deprocess_image": partial(images, "img", shape=(6, 5, 3)),
    "image_utils.load_image": lambda: {"filename": PATH, "size": 8},
    "image_utils.preprocess_image": partial(images, "img", shape=(6, 5, 3)),
    "checking.check_layer.check_layer": lambda: {
        "forward": fast_layers.relu_forward_fast, "backward": fast_layers.relu_backward_fast,
        "x": rng().standard_normal((3, 2)), "h": 1e-5, "directions": 2, "tolerance": 1e-6, "rng": 3,
        "names": ["x"],
    },
    "layer_utils.sandwich": lambda: {},
    "layers.softmax_loss": lambda: {**scores(), "label_smoothing": 0.1},
    "layers.svm_loss": scores,
    "net_visualization.compute_saliency_maps": lambda: images(
        "X", shape=(2, 3, 6, 4), y=np.array([0, 2]), model=small_convnet()
    ),
    "net_visualization.create_class_visualization": lambda: {
        "target_y": 1, "model": small_convnet(), "shape": (3, 6, 4), "l2_reg": 0.1,
        "learning_rate": 1.0, "num_iterations": 2, "blur_every": 1, "max_jitter": 1,
        "bounds": (-3, 3), "start": np.ones((3, 6, 4)), "rng": rng(),
    },
    "net_visualization.make_fooling_image": lambda: images(
        "X", shape=(1, 3, 6, 4), target_y=1, model=small_convnet(), learning_rate=1.0,
        max_iterations=2, bounds=(-3, 3),
    ),
    "optim.adagrad": step,
    "optim.adam": step,
    "optim.clip_gradients": lambda: {"grads": {"W": np.ones(3)}, "max_norm": 1.0},
    "optim.muon": step,
    "optim.nesterov_momentum": step,
    "optim.rmsprop": step,
    "optim.sgd": step,
    "optim.sgd_momentum": step,
    "files.safe_pickle.load_pickle": lambda: {"f": None},
    "schedules.constant": lambda: {"progress": 0.5},
    "schedules.cosine": lambda: {"progress": 0.5, "warmup": 0.1, "final": 0.1},
    "schedules.one_cycle": lambda: {"progress": 0.5, "peak": 0.3, "start": 0.1, "final": 0.1},
    "schedules.step": lambda: {"progress": 0.5, "at": (0.3, 0.6), "factor": 0.1},
    "solver.Solver": solver,
    "solver.Solver.check_accuracy": lambda: {
        "self": Solver(**solver()), "X": np.ones((5, 4)), "y": np.arange(5) % 3,
        "num_samples": 3, "batch_size": 2,
    },
    "solver.Solver.resume": lambda: {
        "path": PATH, **{name: solver()[name] for name in ("model", "data")}
    },
    "classifiers.network.Network.activations": lambda: images(
        "X", shape=(2, 3, 6, 4), self=small_convnet()
    ),
    "learning_rate.find_learning_rate": lambda: {
        **{name: solver()[name] for name in ("model", "data")},
        "lowest": 1e-4, "highest": 1.0, "steps": 10, "batch_size": 2,
    },
    "training.csv_log.CSVLog": lambda: {"path": PATH, "every": 2},
    "training.live.LiveCurves": lambda: {"seconds": 2.0},
    "training.stopping.EarlyStopping": lambda: {
        "patience": 3, "monitor": "val_loss", "min_delta": 0.1,
    },
    "training.update_ratios.UpdateRatios": lambda: {"every": 2, "samples": 3, "bins": 4},
    "files.storage.read_npz": lambda: {"path": PATH},
    "files.storage.replacing": lambda: {"path": PATH},
    "files.storage.write_npz": lambda: {"path": PATH, "arrays": {"x": np.ones(2)}},
    "kernels.threads.set_num_threads": lambda: {"num_threads": 2},
    "visual.curves.compare_runs": lambda: {"runs": {"first": history(), "second": history()}},
    "visual.curves.plot_history": lambda: {"history": history()},
    "visual.filters.plot_activations": lambda: {
        "activations": {"relu": rng().standard_normal((2, 3))}, "bins": 4,
    },
    "visual.filters.plot_filters": partial(images, "w", shape=(2, 3, 4, 4)),
    "visual.graph.plot_graph": lambda: {
        "nodes": {"x": (0.0, 0.0), "f": (1.0, 0.0)}, "edges": [("x", "f")],
        "gradients": {"x": "2"},
    },
    "visual.grids.vis_grid": partial(images, "Xs", shape=(2, 4, 4, 3)),
    "visual.grids.vis_nn": partial(images, "rows", shape=(2, 2, 4, 4, 3)),
    "visual.grids.visualize_grid": partial(
        images, "Xs", shape=(2, 4, 4, 3), ubound=255.0, padding=1
    ),
    "visual.mistakes.plot_confusion": lambda: {
        "matrix": np.array([[2, 1], [0, 3]]), "class_names": ["a", "b"],
    },
    "visual.mistakes.show_mistakes": lambda: images(
        "images", shape=(3, 3, 4, 4), labels=np.array([0, 1, 0]), predicted=np.array([1, 1, 0]),
        scores=rng().standard_normal((3, 2)), class_names=["a", "b"], count=2,
    ),
}  # fmt: skip


def _name(function: Callable[..., Any]) -> str:
    """Return 'module.function' of a layer's function, whose home a sandwich does not know."""
    return f"{function.__module__.removeprefix('cs231n.')}.{function.__name__}"


for _case in LAYERS.values():
    EXAMPLES.setdefault(_name(_case.forward), partial(forward, _case))
    EXAMPLES.setdefault(_name(_case.backward), partial(backward, _case))
