"""Networks: fully connected and convolutional classifiers with a softmax loss."""

import sys

from cs231n.classifiers import cnn
from cs231n.classifiers.cnn import ConvNet, ThreeLayerConvNet
from cs231n.classifiers.fc_net import FullyConnectedNet, TwoLayerNet
from cs231n.classifiers.network import Network
from cs231n.classifiers.stored import load_model

__all__ = [
    "ConvNet",
    "FullyConnectedNet",
    "Network",
    "ThreeLayerConvNet",
    "TwoLayerNet",
    "load_model",
]

# The name of the module that ConvNet stood in at first stands in pickled networks.
convnet = sys.modules[f"{__name__}.convnet"] = cnn
