"""Time a whole training step: minibatch, forward, backward, regularisation and update."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from common import Bench, run_script

from cs231n.classifiers import ConvNet, Network, ThreeLayerConvNet
from cs231n.kernels import fast_optim
from cs231n.torch_bridge import to_torch

# PyTorch twice: images as (N, C, H, W), and as channels_last, where its convolutions may be faster.
COMPETITORS = ("ours", "torch", "torch nhwc")
# The deep ConvNet, with batch normalisation.
_DEEP = "conv32-conv32-pool-conv64-conv64-pool-fc10"
_SAMPLES = 1000
_AGREED_STEPS = 3
_CONFIG = {"adam": {"learning_rate": 1e-3}, "nesterov_momentum": {"learning_rate": 1e-3}}


class Training:
    """Our network in training: call it for a step, which returns the loss of the data."""

    def __init__(self, model: Network, rule: str, images: np.ndarray, labels: np.ndarray) -> None:
        self.model = model
        self._rule, self._images, self._labels = rule, images, labels
        self._configs = {name: dict(_CONFIG[rule]) for name in model.params}

    def __call__(self, batch: np.ndarray) -> float:
        """Step once."""
        model, l2 = self.model, self.model.l2_strengths()
        loss, grads = model.loss(self._images[batch], self._labels[batch], l2_gradient=False)
        for name, w in model.params.items():
            config, strength = self._configs[name], l2.get(name, 0.0)
            model.params[name] = fast_optim.update(self._rule, w, grads[name], config, strength)
        return loss

    def scores(self, batch: np.ndarray) -> np.ndarray:
        """Return the scores of a minibatch in train mode."""
        return self.model.forward(self._images[batch], "train")[0]


class TorchTraining:
    """The same network in PyTorch, with the same parameters."""

    def __init__(
        self, torch: Any, ours: Training, rule: str, channels_last: bool, compiled: bool = False
    ) -> None:
        self._torch = torch
        layout = torch.channels_last if channels_last else torch.contiguous_format
        images, labels = ours._images, ours._labels
        self._images = torch.from_numpy(images).to(memory_format=layout)
        self._labels = torch.from_numpy(labels)
        net = to_torch(ours.model).train().to(memory_format=layout)
        self._net = torch.compile(net) if compiled else net
        self._optimizer = torch_optimizer(torch, net, rule, ours.model.reg)

    def __call__(self, batch: np.ndarray) -> float:
        """Step once."""
        rows = self._torch.from_numpy(batch)
        scores = self._net(self._images[rows])
        loss = self._torch.nn.functional.cross_entropy(scores, self._labels[rows])
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        return loss.item()

    def scores(self, batch: np.ndarray) -> np.ndarray:
        """Return the scores of a minibatch in train mode."""
        with self._torch.no_grad():
            return self._net(self._images[self._torch.from_numpy(batch)]).numpy()


def torch_optimizer(torch: Any, net: Any, rule: str, reg: float) -> Any:
    """Return the fused optimizer of a rule, with L2 regularisation of all weights W folded in."""
    weights = [parameter for parameter in net.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in net.parameters() if parameter.ndim == 1]
    groups = [{"params": weights, "weight_decay": reg}, {"params": others}]
    rate = _CONFIG[rule]["learning_rate"]
    if rule == "adam":
        return torch.optim.Adam(groups, lr=rate, fused=True)
    return torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True, fused=True)


def competitors(
    torch: Any, model: Network, rule: str, images: np.ndarray, labels: np.ndarray
) -> dict[str, Any]:
    """Return the network in training, by us and, where there is PyTorch, by that."""
    trainings: dict[str, Any] = {"ours": Training(model, rule, images, labels)}
    if torch is not None:
        for name, channels_last in (("torch", False), ("torch nhwc", True)):
            trainings[name] = TorchTraining(torch, trainings["ours"], rule, channels_last)
    return trainings


def compare_steps(bench: Bench, title: str, model: Network, rule: str, batch_size: int) -> None:
    """Compare the scores after some steps, and then time steps."""
    rng = np.random.default_rng(231)
    images = rng.standard_normal((_SAMPLES, 3, 32, 32)).astype(model.dtype)
    labels = rng.integers(10, size=_SAMPLES)
    batch = rng.integers(_SAMPLES, size=batch_size)
    trainings = competitors(bench.torch, model, rule, images, labels)

    def after_steps(training: Any) -> Callable[[], np.ndarray]:
        def run() -> np.ndarray:
            for _ in range(_AGREED_STEPS):
                training(batch)
            return training.scores(batch)

        return run

    def step(training: Any) -> Callable[[], float]:
        return lambda: training(batch)

    dtype = model.dtype.name
    checked = {name: after_steps(training) for name, training in trainings.items()}
    steps = {name: step(training) for name, training in trainings.items()}
    # Batch norm, relu and maxima make more of a rounding error with every step.
    bench.compare(title, dtype, steps, checked=checked, slack=10)


def run(bench: Bench) -> None:
    """Compare the steps of both networks in all dtypes."""
    for dtype in bench.dtypes:
        np.random.seed(231)
        three = ThreeLayerConvNet(hidden_dim=500, reg=0.001, dtype=dtype)
        compare_steps(bench, "ThreeLayerConvNet, batch 50, Adam", three, "adam", 50)
        deep = ConvNet(_DEEP, normalization="batchnorm", dtype=dtype)
        compare_steps(bench, "deep ConvNet, batch 64, Nesterov", deep, "nesterov_momentum", 64)


if __name__ == "__main__":
    run_script(__doc__, COMPETITORS, run)
