"""
Flipped and shifted
===================

The first row holds images of the built-in data, the rows below what `FlipAndShift` makes of them.
"""

import matplotlib.pyplot as plt
import numpy as np

from cs231n.augment import FlipAndShift
from cs231n.data_utils import get_builtin_data
from cs231n.vis_utils import vis_nn

images = get_builtin_data(8, 0, 0, subtract_mean=False)["X_train"]
augment = FlipAndShift(pad=6, rng=np.random.default_rng(231))
rows = [images, *(augment(images) for _ in range(3))]

plt.figure(figsize=(8, 4))
plt.imshow(vis_nn([list(row.transpose(0, 2, 3, 1)) for row in rows]))
plt.axis("off")
plt.show()
