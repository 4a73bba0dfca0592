"""
What is taken for what
======================

A confusion matrix on the validation images: rows are the truth, columns what the network says.
"""

import numpy as np

from cs231n.classifiers import FullyConnectedNet
from cs231n.data_utils import get_builtin_data
from cs231n.solver import Solver
from cs231n.vis_utils import plot_confusion

np.random.seed(231)
data = get_builtin_data(num_training=800, num_validation=400, num_test=0)
model = FullyConnectedNet([64])
solver = Solver(
    model, data, "adam", {"learning_rate": 1e-3}, num_epochs=6, verbose=False, progress=False
)
solver.train()

said = model.loss(data["X_val"]).argmax(axis=1)
counts = np.zeros((10, 10), dtype=int)
np.add.at(counts, (data["y_val"], said), 1)
figure = plot_confusion(counts, data.class_names)
