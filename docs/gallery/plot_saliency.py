"""
Where a network looks
=====================

Saliency maps: how much each pixel moves the score of the right class.
"""

import matplotlib.pyplot as plt
import numpy as np

from cs231n.classifiers import ThreeLayerConvNet
from cs231n.data_utils import get_builtin_data
from cs231n.net_visualization import compute_saliency_maps
from cs231n.solver import Solver

np.random.seed(231)
data = get_builtin_data(num_training=1000, num_validation=100, num_test=0)
model = ThreeLayerConvNet(num_filters=8, filter_size=5, hidden_dim=50, weight_scale=0.01)
Solver(
    model, data, "adam", {"learning_rate": 1e-3}, num_epochs=3, verbose=False, progress=False
).train()

X, y = data["X_val"][:6], data["y_val"][:6]
figure, axes = plt.subplots(2, 6, figsize=(9, 3))
for top, bottom, image, map_ in zip(*axes, X, compute_saliency_maps(X, y, model)):
    top.imshow(np.clip((image - X.min()) / np.ptp(X), 0, 1).transpose(1, 2, 0))
    bottom.imshow(map_, cmap="magma")
    top.axis("off"), bottom.axis("off")
plt.show()
