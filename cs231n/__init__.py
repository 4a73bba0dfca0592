"""cs231n: neural network layers to read, gradient-check and train, in NumPy.

Start with `cs231n.layers` (the reference), `cs231n.fast_layers` (its fast twin),
`cs231n.classifiers` (networks) and `cs231n.solver` (training); ``python -m cs231n --help`` lists
the commands.
"""

__version__ = "0.1.0"
