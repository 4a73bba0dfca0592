"""
Training curves
===============

A small network learns ten glyphs, with two learning rates.
"""

import numpy as np

from cs231n.classifiers import FullyConnectedNet
from cs231n.data_utils import get_builtin_data
from cs231n.solver import Solver
from cs231n.vis_utils import compare_runs

data = get_builtin_data(num_training=800, num_validation=200, num_test=0)
runs = {}
for rate in (1e-3, 1e-4):
    np.random.seed(231)
    model = FullyConnectedNet([64])
    solver = Solver(
        model, data, "adam", {"learning_rate": rate}, num_epochs=8, verbose=False, progress=False
    )
    solver.train()
    runs[f"learning rate {rate:g}"] = solver

figure = compare_runs(runs)
