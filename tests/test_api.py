"""The names that public notebooks use: modules, functions, positions of arguments, defaults.

More arguments may follow at the end, if they have defaults.
"""

import importlib
import inspect
import pkgutil
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from children import environment
from conftest import KERNELS

import cs231n
from cs231n.checking.layer_table import LAYERS, SANDWICHES
from cs231n.layer_utils import Stage

BACKWARD = "dout, cache"
SIGNATURES = {
    "layers": {
        "affine_forward": "x, w, b",
        "affine_backward": BACKWARD,
        "relu_forward": "x",
        "relu_backward": BACKWARD,
        "softmax_loss": "x, y",
        "svm_loss": "x, y",
        "batchnorm_forward": "x, gamma, beta, bn_param",
        "batchnorm_backward": BACKWARD,
        "batchnorm_backward_alt": BACKWARD,
        "layernorm_forward": "x, gamma, beta, ln_param",
        "layernorm_backward": BACKWARD,
        "dropout_forward": "x, dropout_param",
        "dropout_backward": BACKWARD,
        "global_avg_pool_forward": "x",
        "global_avg_pool_backward": BACKWARD,
        "global_max_pool_forward": "x",
        "global_max_pool_backward": BACKWARD,
        "conv_forward_naive": "x, w, b, conv_param",
        "conv_backward_naive": BACKWARD,
        "max_pool_forward_naive": "x, pool_param",
        "max_pool_backward_naive": BACKWARD,
        "spatial_batchnorm_forward": "x, gamma, beta, bn_param",
        "spatial_batchnorm_backward": BACKWARD,
        "spatial_groupnorm_forward": "x, gamma, beta, G, gn_param",
        "spatial_groupnorm_backward": BACKWARD,
    },
    "modern_layers": {
        "leaky_relu_forward": "x, slope=0.01",
        "leaky_relu_backward": BACKWARD,
        "gelu_forward": "x, form='exact'",
        "gelu_backward": BACKWARD,
        "silu_forward": "x",
        "silu_backward": BACKWARD,
        "shortcut_forward": "x, shortcut, stride=1",
        "shortcut_backward": BACKWARD,
        "scale_forward": "x, factor",
        "scale_backward": BACKWARD,
    },
    "fast_layers": {
        "backend": "",
        "conv_forward_fast": "x, w, b, conv_param",
        "conv_forward_im2col": "x, w, b, conv_param",
        "conv_forward_strides": "x, w, b, conv_param",
        "conv_backward_fast": BACKWARD,
        "conv_backward_im2col": BACKWARD,
        "conv_backward_strides": BACKWARD,
        "max_pool_forward_fast": "x, pool_param",
        "max_pool_forward_reshape": "x, pool_param",
        "max_pool_forward_im2col": "x, pool_param",
        "max_pool_backward_fast": BACKWARD,
        "max_pool_backward_reshape": BACKWARD,
        "max_pool_backward_im2col": BACKWARD,
    },
    "layer_utils": {
        "affine_relu_forward": "x, w, b",
        "affine_relu_backward": BACKWARD,
        "affine_bn_relu_forward": "x, w, b, gamma, beta, bn_param",
        "affine_bn_relu_backward": BACKWARD,
        "affine_ln_relu_forward": "x, w, b, gamma, beta, ln_param",
        "affine_ln_relu_backward": BACKWARD,
        "conv_relu_forward": "x, w, b, conv_param",
        "conv_relu_backward": BACKWARD,
        "conv_bn_relu_forward": "x, w, b, gamma, beta, conv_param, bn_param",
        "conv_bn_relu_backward": BACKWARD,
        "conv_relu_pool_forward": "x, w, b, conv_param, pool_param",
        "conv_relu_pool_backward": BACKWARD,
        "conv_bn_relu_pool_forward": "x, w, b, gamma, beta, conv_param, bn_param, pool_param",
        "conv_bn_relu_pool_backward": BACKWARD,
    },
    "im2col": {
        "get_im2col_indices": "x_shape, field_height, field_width, padding=1, stride=1",
        "im2col_indices": "x, field_height, field_width, padding=1, stride=1",
        "col2im_indices": "cols, x_shape, field_height=3, field_width=3, padding=1, stride=1",
        "get_num_fields": "x_shape, field_height, field_width, padding, stride",
        "field_coords": "H, W, field_height, field_width, padding, stride",
        "im2col_naive": "x, field_height=3, field_width=3, padding=1, stride=1",
        "col2im": "cols, x_shape, field_height=3, field_width=3, padding=1, stride=1",
    },
    "im2col_cython": {
        "im2col_cython": "x, field_height, field_width, padding, stride",
        "col2im_cython": "cols, N, C, H, W, field_height, field_width, padding, stride",
        "col2im_6d_cython": "cols, N, C, H, W, HH, WW, pad, stride",
    },
    "classifiers.fc_net": {
        "TwoLayerNet": (
            "input_dim=3 * 32 * 32, hidden_dim=100, num_classes=10, weight_scale=1e-3, reg=0.0"
        ),
        "FullyConnectedNet": (
            "hidden_dims, input_dim=3 * 32 * 32, num_classes=10, dropout_keep_ratio=1,"
            " normalization=None, reg=0.0, weight_scale=1e-2, dtype=np.float32, seed=None"
        ),
    },
    "classifiers.cnn": {
        "ThreeLayerConvNet": (
            "input_dim=(3, 32, 32), num_filters=32, filter_size=7, hidden_dim=100,"
            " num_classes=10, weight_scale=1e-3, reg=0.0, dtype=np.float32"
        ),
    },
    "optim": {
        "sgd": "w, dw, config=None",
        "sgd_momentum": "w, dw, config=None",
        "nesterov_momentum": "w, dw, config=None",
        "rmsprop": "w, dw, config=None",
        "adam": "w, dw, config=None",
    },
    "solver": {
        # The published default of optim_config is an empty dict, which None stands for.
        "Solver": (
            "model, data, update_rule='sgd', optim_config=None, lr_decay=1.0, batch_size=100,"
            " num_epochs=10, num_train_samples=1000, num_val_samples=None, checkpoint_name=None,"
            " print_every=10, verbose=True"
        ),
        "Solver.train": "self",
        "Solver.check_accuracy": "self, X, y, num_samples=None, batch_size=100",
        "Solver._step": "self",
    },
    "data_utils": {
        "get_CIFAR10_data": (
            "num_training=49000, num_validation=1000, num_test=1000, subtract_mean=True"
        ),
        "load_CIFAR10": "ROOT",
        "load_CIFAR_batch": "filename",
        "load_pickle": "f",
        "load_tiny_imagenet": "path, dtype=np.float32, subtract_mean=True",
        "load_imagenet_val": "num=None",
        "load_models": "models_dir",
    },
    "gradient_check": {
        "eval_numerical_gradient": "f, x, verbose=True, h=0.00001",
        "eval_numerical_gradient_array": "f, x, df, h=1e-5",
        "eval_numerical_gradient_blobs": "f, inputs, output, h=1e-5",
        "eval_numerical_gradient_net": "net, inputs, output, h=1e-5",
        "grad_check_sparse": "f, x, analytic_grad, num_checks=10, h=1e-5",
        "rel_error": "x, y",
    },
    "image_utils": {
        "blur_image": "X",
        "preprocess_image": "img",
        "deprocess_image": "img, rescale=False",
        "image_from_url": "url",
        "load_image": "filename, size=None",
    },
    "vis_utils": {
        "visualize_grid": "Xs, ubound=255.0, padding=1",
        "vis_grid": "Xs",
        "vis_nn": "rows",
    },
}
NAMES = [(module, name) for module, names in SIGNATURES.items() for name in names]
OFFERED_BY = {
    "layer_utils": ["layers", "modern_layers", "fast_layers"],
    "classifiers.fc_net": ["layers", "layer_utils"],
    "classifiers.cnn": ["layers", "layer_utils", "fast_layers"],
}
STARRED = [(module, other) for module, others in OFFERED_BY.items() for other in others]


def load(module):
    """Import a module of the package."""
    if module == "im2col_cython" and KERNELS == ["numpy"]:
        pytest.skip("the extension is not built")
    return importlib.import_module(f"cs231n.{module}")


def public_modules():
    """Return the modules that can be imported and whose names have no underscore."""
    found = pkgutil.walk_packages(cs231n.__path__, "cs231n.")
    names = [module.name for module in found if not module.ispkg]
    # Importing the build script would build, and the other one registers names for good.
    hidden = ("._", ".setup", ".relaid")
    return [name for name in names if not any(part in name for part in hidden)]


@pytest.mark.parametrize(("module", "name"), NAMES, ids=[f"{m}.{n}" for m, n in NAMES])
def test_signature(module, name):
    found = load(module)
    for part in name.split("."):
        found = getattr(found, part)
    expected = eval(f"lambda {SIGNATURES[module][name]}: 0", {"np": np})
    wanted = list(inspect.signature(expected).parameters.values())
    parameters = list(inspect.signature(found).parameters.values())
    own, further = parameters[: len(wanted)], parameters[len(wanted) :]
    for parameter, published in zip(own, wanted, strict=True):
        assert parameter.name == published.name
        assert parameter.kind == published.kind
        assert parameter.default == published.default
    for parameter in further:
        assert parameter.default is not parameter.empty or parameter.kind == parameter.VAR_KEYWORD


@pytest.mark.parametrize("module", SIGNATURES)
def test_a_star_import_brings_the_names(module):
    load(module)
    namespace = {}
    exec(f"from cs231n.{module} import *", namespace)
    missing = [name for name in SIGNATURES[module] if name.split(".")[0] not in namespace]
    assert missing == []


@pytest.mark.parametrize(("module", "other"), STARRED, ids=[f"{m} of {o}" for m, o in STARRED])
def test_a_star_import_brings_what_other_modules_offer(module, other):
    namespace, home = {}, load(other)
    exec(f"from cs231n.{module} import *", namespace)
    for name in home.__all__:
        assert name in load(module).__all__
        assert namespace[name] is getattr(home, name)


def layer_functions(way):
    """Return the names of all functions of the reference or the fast layers, from the table."""
    rows = (getattr(row, way) for row in LAYERS.values())
    return {f.__name__ for passes in rows if passes for f in passes if f is not None}


def test_a_star_import_brings_nothing_but_public_names():
    namespace = {}
    exec("from cs231n.layers import *\nfrom cs231n.modern_layers import *", namespace)
    assert set(namespace) - {"__builtins__"} == layer_functions("reference")


def test_the_table_has_all_layers():
    reference = {*load("layers").__all__, *load("modern_layers").__all__}
    assert reference == layer_functions("reference")
    twins = {name for name in load("fast_layers").__all__ if name.endswith("_fast")}
    assert twins == layer_functions("fast")
    composed = {name for name in load("layer_utils").__all__ if name.startswith(tuple(SANDWICHES))}
    passes = [function.__name__ for row in SANDWICHES.values() for function in row.fast]
    assert {name for name in passes if name not in vars(load("layer_utils"))} == set()
    assert {name for name in composed if name in load("layer_utils")._OWN} == set(passes)
    stages = {value for value in vars(load("layer_utils")).values() if isinstance(value, Stage)}
    assert stages == {row.stage for row in LAYERS.values() if row.stage}
    fused = {
        row.stage: tuple(LAYERS[part].stage for part in row.parts)
        for row in LAYERS.values()
        if row.parts
    }
    assert fused == load("layer_utils").PARTS


NAIVE = {"conv": "conv_{}_naive", "max_pool": "max_pool_{}_naive"}


@pytest.mark.parametrize("name", [name for name, row in LAYERS.items() if row.reference])
def test_the_reference_of_a_row_is_the_layer_of_its_name(name):
    forward, backward = LAYERS[name].reference
    title = name.removesuffix("_alt")
    if backward is None:
        assert forward.__name__ == title
        return
    assert forward.__name__ == NAIVE.get(title, f"{title}_{{}}").format("forward")
    ending = "_alt" if name.endswith("_alt") else ""
    assert backward.__name__ == NAIVE.get(title, f"{title}_{{}}").format("backward") + ending


@pytest.mark.parametrize("name", LAYERS)
def test_all_implementations_of_a_layer_take_the_same_arguments(name):
    row = LAYERS[name]
    one, *others = [inspect.signature(passes.forward) for passes in row.passes]
    assert [list(other.parameters)[: len(one.parameters)] for other in others] == [
        list(one.parameters) for _ in others
    ]
    for passes in row.passes:
        found = list(inspect.signature(passes.forward).parameters.values())
        required = [parameter.name for parameter in found if parameter.default is parameter.empty]
        count = len(row.example.shapes) + len(row.example.options)
        # The option of an activation has a default, as label_smoothing has, which is in no example.
        assert len(required) <= count <= len(found)
        if row.stage is not None:
            names = [parameter.name for parameter in found]
            assert names == ["x", *row.stage.weights, *row.stage.options]
        if passes.backward is not None:
            assert list(inspect.signature(passes.backward).parameters)[:2] == ["dout", "cache"]


@pytest.mark.parametrize("module", public_modules())
def test_every_public_module_lists_its_names(module):
    home = importlib.import_module(module)
    assert len(home.__all__) == len(set(home.__all__)) > 0
    assert [name for name in home.__all__ if not hasattr(home, name)] == []


@pytest.mark.parametrize("module", SIGNATURES)
def test_public_functions_and_classes_are_documented(module):
    home = load(module)
    for name in SIGNATURES[module]:
        if "." not in name:
            assert inspect.getdoc(getattr(home, name)), name


def modules_after(statement):
    """Return the package's modules that are there after an import in a new interpreter."""
    code = f"import sys\n{statement}\nprint(*(m for m in sys.modules if m.startswith('cs231n')))"
    command = [sys.executable, "-W", "ignore", "-c", code]
    return set(subprocess.check_output(command, env=environment(), text=True).split())


def test_imports_point_one_way():
    core = {f"cs231n.core.{name}" for name in ("checks", "contract", "specs", "window")}
    lower = {"cs231n", "cs231n.core", *core}
    assert modules_after("import cs231n.im2col") <= lower | {"cs231n.im2col"}
    # So the reference layers never need the extension.
    assert modules_after("from cs231n.layers import *") == lower | {"cs231n.layers"}
    assert not modules_after("import cs231n.optim") & {"cs231n.layers", "cs231n.solver"}
    assert "cs231n.layer_utils" not in modules_after("import cs231n.fast_layers")
    assert "cs231n.classifiers" not in modules_after("import cs231n.layer_utils")
    assert "cs231n.classifiers" not in modules_after("import cs231n.solver")


@pytest.mark.parametrize("module", OFFERED_BY)
def test_editors_see_what_a_module_offers(module):
    home = load(module)
    assert set(home.__all__) <= set(dir(home)) & set(vars(home))


@pytest.mark.long
@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed")
def test_type_checkers_see_what_a_module_offers(tmp_path):
    """A call without arguments is an error for a function with types, none for what is unknown."""
    top, wrong = Path(cs231n.__file__).parents[1], {}
    for module, others in OFFERED_BY.items():
        names = {name for other in others for name in load(other).__all__}
        calls = sorted(name for name in names if "_forward_" in name or name.endswith("_loss"))
        for way, line in {"star": "*", "plain": ", ".join(calls)}.items():
            path = tmp_path / f"{module.replace('.', '_')}_{way}.py"
            path.write_text(
                "\n".join([f"from cs231n.{module} import {line}", *map("{}()".format, calls)])
            )
            wrong[path] = len(calls)
    command = [sys.executable, "-m", "mypy", "--no-error-summary", *wrong]
    found = subprocess.run(command, cwd=top, capture_output=True, text=True).stdout.splitlines()
    assert all(line.endswith("[call-arg]") for line in found), found
    # By name: what was found the last time comes from a cache, with the folder of that time.
    counts = Counter(Path(line.split(":")[0]).name for line in found)
    assert counts == {path.name: count for path, count in wrong.items()}


def test_the_mark_of_a_typed_package_is_there():
    assert (Path(cs231n.__file__).parent / "py.typed").is_file()


def test_a_version_is_there():
    assert cs231n.__version__
