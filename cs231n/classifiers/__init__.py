"""Networks: fully connected and convolutional classifiers with a softmax loss."""

from cs231n.classifiers.cnn import ThreeLayerConvNet
from cs231n.classifiers.architecture import ConvNet
from cs231n.classifiers.fc_net import FullyConnectedNet, TwoLayerNet
from cs231n.classifiers.network import Network

__all__ = ["ConvNet", "FullyConnectedNet", "Network", "ThreeLayerConvNet", "TwoLayerNet"]
