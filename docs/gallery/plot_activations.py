"""
Why the scale of weights matters
================================

What eight layers of 200 relu units make of normal numbers, with weights that are small and with
those of He et al., 2015.
"""

import numpy as np

from cs231n.layers import affine_forward, relu_forward
from cs231n.vis_utils import plot_activations

rng = np.random.default_rng(231)
activations = {}
for name, scale in (("small", 0.05), ("He", np.sqrt(2 / 200))):
    x = rng.normal(size=(500, 200))
    for layer in range(1, 9):
        w = rng.normal(scale=scale, size=(200, 200))
        x, _ = relu_forward(affine_forward(x, w, np.zeros(200))[0])
        if layer % 2 == 0:
            activations[f"{name}, layer {layer}"] = x

figure = plot_activations(activations)
