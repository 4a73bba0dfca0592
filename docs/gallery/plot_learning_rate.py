"""
Which learning rate?
====================

Rising rates, a step each: a good one lies where the loss falls fastest, well before it explodes.
"""

import numpy as np

from cs231n.classifiers import FullyConnectedNet
from cs231n.data_utils import get_builtin_data
from cs231n.learning_rate import find_learning_rate

np.random.seed(231)
data = get_builtin_data(num_training=1000, num_validation=100, num_test=0)
model = FullyConnectedNet([64, 64])
search = find_learning_rate(model, data, update_rule="adam", batch_size=50)

figure = search.plot("Adam on the built-in glyphs")
