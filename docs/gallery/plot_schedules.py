"""
Learning rates over a training
==============================

The factor on the learning rate, from the start of a training to its end.
"""

import matplotlib.pyplot as plt
import numpy as np

from cs231n import schedules

progress = np.linspace(0, 1, 400, endpoint=False)
curves = {
    "step": schedules.step(progress),
    "cosine, with a warm-up": schedules.cosine(progress, warmup=0.1),
    "one cycle": schedules.one_cycle(progress),
}
for (name, factor), line in zip(curves.items(), ("-", "--", "-.")):
    plt.plot(progress, factor, line, label=name)
plt.xlabel("part of the training that is done")
plt.ylabel("factor")
plt.legend()
plt.show()
