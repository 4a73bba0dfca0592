"""Notebooks of a re-laid layout: one line, and every module is where they look for it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import cs231n

CELL = """
import cs231n.relaid
from base.solver import Solver
from classifiers.cnn import *
from classifiers.fc_net import FullyConnectedNet
from layers.fast_conv_layers import *
from layers.layer_utils import *
from layers.layers import *
import layers.layers as reference
import utils.vis_utils
from optim import adam
from utils.data_utils import get_CIFAR10_data
from utils.gradient_check import eval_numerical_gradient_array
from utils.metrics_utils import rel_error
from utils.vis_utils import visualize_grid

import cs231n.layers, cs231n.solver
assert reference is cs231n.layers and Solver is cs231n.solver.Solver
assert affine_forward is cs231n.layers.affine_forward
assert ThreeLayerConvNet.__module__ == 'cs231n.classifiers.cnn'
assert rel_error(1.0, 1.0) == 0
print('ran')
"""


def ran(cell, folder):
    """Run a cell in a folder, as a notebook there; return its status, output and last line."""
    environment = {**os.environ, "CS231N_BACKEND": "auto"}
    environment["PYTHONPATH"] = str(Path(cs231n.__file__).parents[1])
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", cell],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return result.returncode, result.stdout, result.stderr.strip().rpartition("\n")[2]


def test_a_notebook_runs_unchanged_after_one_line(tmp_path):
    assert ran(CELL, tmp_path) == (0, "ran\n", "")


def test_a_second_import_and_a_reload_change_nothing(tmp_path):
    again = "import importlib\nimportlib.reload(cs231n.relaid)\nimport layers.layers as second\n"
    again += "assert second is reference\n"
    assert ran(CELL + again, tmp_path) == (0, "ran\n", "")


@pytest.mark.parametrize(
    "file", ["utils.py", "utils/__init__.py", "utils/data_utils.py", "optim.py"]
)
def test_modules_that_exist_are_not_hidden(tmp_path, file):
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    path.write_text("MINE = 1\n")
    status, _, line = ran("import cs231n.relaid", tmp_path)
    assert status == 1
    assert line.startswith("ImportError: cs231n.relaid: would hide modules that exist: ")
    assert f"{file[:5]} ({tmp_path}" in line


def test_a_refused_import_registers_nothing(tmp_path):
    (tmp_path / "optim.py").write_text("MINE = 1\n")
    cell = "try:\n    import cs231n.relaid\nexcept ImportError:\n    pass\n"
    cell += "import sys, optim\nprint(optim.MINE, 'layers' in sys.modules)"
    assert ran(cell, tmp_path) == (0, "1 False\n", "")


def test_folders_without_modules_hide_nothing(tmp_path):
    (tmp_path / "layers").mkdir()
    (tmp_path / "layers" / "notes.txt").write_text("none\n")
    assert ran(CELL, tmp_path) == (0, "ran\n", "")
