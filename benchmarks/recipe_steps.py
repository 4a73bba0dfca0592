"""Time a training step by each recipe, ours and PyTorch's of the same network and settings.

    python benchmarks/recipe_steps.py                          # all recipes
    python benchmarks/recipe_steps.py quick --steps 3 --batch 64 --rounds 1

Both start from the same parameters; that loss and gradients agree is seen first, in float64.  Then
the ways take turns, each turn in a process of its own: a step that warms up, and some that are
timed, of a batch from memory: forward, backward, update, and the average where the recipe has one.
Images are not augmented, on either side.  Printed are the medians of all steps and of the ratios
within a round, what the whole recipe would take, and how much memory a step needs beyond what the
process had before; benchmarks/results/steps.csv keeps them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from common import PROCESS
from recorded import RESULTS, flops, options_of, product_rate, read, write

from cs231n.classifiers import Network
from cs231n.commands.recipes import files
from cs231n.commands.train import build
from cs231n.data.dataset import Dataset
from cs231n.data_utils import data_from_arrays, standardize
from cs231n.measuring.machine import describe
from cs231n.measuring.timing import load_torch, require_agreement
from cs231n.solver import Solver

HERE = Path(__file__).resolve()
TABLE = RESULTS / "steps.csv"
WAYS = ("ours", "torch", "torch nhwc", "torch compile")
COLUMNS = (
    *("recipe", "batch", "way", "seconds_of_a_step", "least", "ratio", "recipe_steps"),
    *("seconds_of_the_recipe", "peak_megabytes", "gflops_per_second"),
    *("product_gflops_per_second", "rounds", "processor"),
)
_IMAGES = 49000  # of the training set, by which the steps of a recipe are counted
_CHECKED = 8  # images by which the two are compared
_TOLERANCE = 1e-8


def main(words: Sequence[str] | None = None) -> int:
    """Time all recipes that are named, or make the turn of one way."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("recipes", nargs="*", help=f"some of {', '.join(files.names())}; by default all")
    add("--steps", type=int, default=3, help="timed steps in a turn (default 3)")
    add("--rounds", type=int, default=2, help="turns of each way (default 2)")
    add("--batch", type=int, help="images in a batch, for a quick try; by default the recipe's")
    add("--ways", nargs="+", choices=WAYS, default=WAYS)
    add("--results", type=Path, default=TABLE)
    add("--turn", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args(words)
    unknown = sorted({*options.recipes} - {*files.names()})
    if unknown:
        parser.error(f"there is no recipe {unknown[0]}; expected some of {files.names()}")
    if options.turn is not None:
        print(json.dumps(turn(options.turn, solver_of(options.recipes[0], options.batch), options)))
        return 0
    for recipe in options.recipes or files.names():
        compare(recipe, options)
    return 0


def solver_of(recipe: str, batch: int | None, dtype: str = "float32") -> Solver:
    """Return a Solver by the recipe, on two batches of random images that nothing augments."""
    words = ["--recipe", recipe, "--no-augment", "--no-draw-ahead", "--dtype", dtype, "--seed", "0"]
    options = options_of(words if batch is None else [*words, "--batch-size", str(batch)])
    np.random.seed(options.seed)
    data = _data(2 * options.batch_size, dtype)
    model = build.network(options, data)
    return build.solver(options, model, data, Path("unused.npz"))


def _data(count: int, dtype: str) -> Dataset:
    """Return random images with labels of ten classes."""
    images = np.random.default_rng(231).integers(256, size=(count, 3, 32, 32)).astype(np.uint8)
    labels = np.arange(count) % 10
    few = {"X_val": images[:10], "y_val": labels[:10], "X_test": images[:10], "y_test": labels[:10]}
    data = data_from_arrays(images, labels, dtype=dtype, **few)
    standardize(data)
    return data


def turn(way: str, solver: Solver, options: argparse.Namespace) -> dict[str, Any]:
    """Make a turn: return the seconds of each step, and the memory that a step needs."""
    step = solver.step if way == "ours" else TorchTraining(solver, way).step
    before = resident()
    step()
    seconds = []
    for _ in range(options.steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return {"seconds": seconds, "megabytes": peak() - before}


def resident() -> float:
    """Return the memory of this process now, in megabytes; nan where nobody tells."""
    return _status("VmRSS")


def peak() -> float:
    """Return the most memory that this process had, in megabytes; nan where nobody tells."""
    return _status("VmHWM")


def _status(name: str) -> float:
    """Return a line of Linux's status of this process, in megabytes."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return float("nan")
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith(name)), np.nan)


class TorchTraining:
    """PyTorch's twin of a network in training, with the settings of a Solver.

    Weight decay is PyTorch's, in the gradient, where the Solver's is decoupled: it costs the same.

    Parameters
    ----------
    solver : Solver
        With the network, its settings and the data.
    way : str
        One of `WAYS`.
    """

    def __init__(self, solver: Solver, way: str) -> None:
        from cs231n.torch_bridge import to_torch

        self._torch = torch = load_torch()
        layout = torch.contiguous_format if way == "torch" else torch.channels_last
        self._images = torch.from_numpy(solver.X_train).to(memory_format=layout)
        self._labels = torch.from_numpy(np.asarray(solver.y_train, np.int64))
        self._size = solver.batch_size
        self._smoothing = getattr(solver.model, "label_smoothing", 0.0)
        self.net = to_torch(solver.model).train().to(memory_format=layout)
        self.named = _parameters(solver.model, self.net)
        self._called = torch.compile(self.net) if way == "torch compile" else self.net
        self._optimizers = self._make_optimizers(solver)
        self._learning = [one for one in self.named.values() if one.requires_grad]
        self._average = [one.detach().clone() for one in self._learning]
        self._averages, self._steps = solver.average is not None, 0

    def _make_optimizers(self, solver: Solver) -> list[Any]:
        """Return the optimizers, with a group for each rate and decay: Muon is for matrices."""
        decays, l2 = solver._decays(), solver.model.l2_strengths()
        groups: dict[bool, dict[tuple[float, float], list[Any]]] = {True: {}, False: {}}
        for name, tensor in self.named.items():
            if tensor.requires_grad:
                by_muon = solver.update_rule == "muon" and tensor.ndim > 1
                rate = solver.optim_config["learning_rate"] * solver._groups[name].rate
                decay = decays.get(name, 0.0) + l2.get(name, 0.0)
                groups[by_muon].setdefault((rate, decay), []).append(tensor)
        momentum = solver.optim_config.get("momentum", 0.9)
        found: list[Any] = [Muon(self._torch, groups[True], momentum)] if groups[True] else []
        return [*found, self._sgd(groups[False], momentum)]

    def _sgd(self, groups: dict[tuple[float, float], list[Any]], momentum: float) -> Any:
        """Return PyTorch's optimizer with Nesterov's momentum."""
        return self._torch.optim.SGD(
            [{"params": some, "lr": r, "weight_decay": d} for (r, d), some in groups.items()],
            lr=0.1,
            momentum=momentum,
            nesterov=True,
            fused=True,
        )

    def loss(self, rows: Any) -> Any:
        """Return the loss of some images, from which gradients can be had."""
        scores = self._called(self._images[rows])
        return self._torch.nn.functional.cross_entropy(
            scores, self._labels[rows], label_smoothing=self._smoothing
        )

    def step(self) -> None:
        """Step once, on a batch that is drawn anew."""
        loss = self.loss(self._torch.randperm(len(self._images))[: self._size])
        for tensor in self._learning:
            tensor.grad = None
        loss.backward()
        for optimizer in self._optimizers:
            optimizer.step()
        loss.item()
        self._steps += 1
        if self._averages and self._steps % 5 == 0:
            with self._torch.no_grad():
                self._torch._foreach_lerp_(self._average, self._learning, 0.5)
                self._torch._foreach_copy_(self._learning, self._average)


class Muon:
    """`cs231n.optim.muon` for PyTorch's filters and matrices.

    Parameters
    ----------
    torch : module
    groups : dict of (float, float) to list of Tensor
        Parameters by rate and weight decay.
    momentum : float
    """

    def __init__(
        self, torch: Any, groups: dict[tuple[float, float], list[Any]], momentum: float
    ) -> None:
        self._torch, self._momentum = torch, momentum
        self._groups = [
            (rate, decay, some, [torch.zeros_like(one) for one in some])
            for (rate, decay), some in groups.items()
        ]

    def step(self) -> None:
        """Step all parameters."""
        with self._torch.no_grad():
            for rate, decay, some, velocities in self._groups:
                grads = [one.grad for one in some]
                self._torch._foreach_mul_(velocities, self._momentum)
                self._torch._foreach_add_(velocities, grads)
                steps = self._torch._foreach_add(grads, velocities, alpha=self._momentum)
                self._torch._foreach_mul_(some, 1 - rate * decay)
                for one, step in zip(some, steps):
                    # In the layout that is ours, too, and with an affine layer's rows as ours.
                    matrix = step.T if step.ndim == 2 else step.reshape(len(step), -1)
                    length = max(1.0, len(matrix) / matrix.shape[1]) ** 0.5
                    turned = orthogonalised(matrix)
                    update = turned.T if step.ndim == 2 else turned.reshape(step.shape)
                    one.add_(update, alpha=-rate * length)


def orthogonalised(matrix: Any) -> Any:
    """Return a matrix with its singular values near 1, as `cs231n.optim.orthogonalised` does."""
    X = matrix.T if len(matrix) > matrix.shape[1] else matrix
    X = X / (X.norm() + 1e-7)
    for _ in range(5):
        A = X @ X.T
        X = 3.4445 * X + (-4.7750 * A + 2.0315 * A @ A) @ X
    return X.T if len(matrix) > matrix.shape[1] else X


def _parameters(model: Network, net: Any) -> dict[str, Any]:
    """Return PyTorch's parameters by our names."""
    from cs231n.torch_bridge import _pairs

    found = {}
    for layer, module in _pairs("recipe_steps", model, net):
        for name, tensor in zip(layer.weights, (module.weight, module.bias)):
            found[name] = tensor
    return found


def check(recipe: str) -> None:
    """Compare losses and gradients of both from the same parameters, in float64.

    Raises
    ------
    ArithmeticError
        If they do not agree.
    """
    solver = solver_of(recipe, _CHECKED, "float64")
    model, l2 = solver.model, solver.model.l2_strengths()
    X, y = solver.X_train[:_CHECKED], solver.y_train[:_CHECKED]
    whole, grads = model.loss(X, y, l2_gradient=False)
    squares = sum(strength * np.sum(model.params[name] ** 2) for name, strength in l2.items())
    theirs = TorchTraining(solver, "torch")
    loss = theirs.loss(slice(None, _CHECKED))
    loss.backward()
    # Together, for some are zero but for rounding: those of biases before batch normalisation.
    ours = np.concatenate([grads[name].ravel() for name in grads])
    their = [theirs.named[name].grad.numpy() for name in grads]
    turned = [one.T if w.ndim == 2 else one for one, w in zip(their, grads.values())]
    found = {
        "ours": lambda: (np.array(whole - squares / 2), ours),
        "PyTorch": lambda: (loss.detach().numpy(), np.concatenate([one.ravel() for one in turned])),
    }
    require_agreement(recipe, found, _TOLERANCE)


def compare(recipe: str, options: argparse.Namespace) -> None:
    """Let the ways take turns, print what came out, and keep it."""
    ways = [way for way in options.ways if way == "ours" or load_torch() is not None]
    if len(ways) > 1:
        check(recipe)
    found: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    rates = []
    for index in range(options.rounds):
        rates.append(product_rate())
        for way in list(ways)[:: -1 if index % 2 else 1]:
            found[way].append(_in_process(recipe, way, options, PROCESS))
    memory = {
        way: _in_process(recipe, way, argparse.Namespace(steps=1, batch=options.batch), {})
        for way in ways
    }
    rows = _rows(recipe, options, found, memory, median(rates))
    others = [row for row in read(options.results) if not _replaced(row, rows)]
    write(options.results, COLUMNS, [*others, *rows])
    print(f"{recipe}, batch {rows[0]['batch']}, product {median(rates):.0f} GFLOP/s")
    for row in rows:
        print(
            f"  {row['way']:<14} {row['seconds_of_a_step']:>9} s a step, {row['ratio']:>6} times"
            f" ours; the recipe {row['seconds_of_the_recipe']} s; {row['peak_megabytes']} MB",
            flush=True,
        )


def _replaced(row: dict[str, str], rows: Sequence[dict[str, Any]]) -> bool:
    """Tell whether one of the new rows takes the place of an old one."""
    keys = ("recipe", "batch", "way")
    return any(all(row[key] == str(new[key]) for key in keys) for new in rows)


def _in_process(
    recipe: str, way: str, options: argparse.Namespace, changes: dict[str, str]
) -> dict[str, Any]:
    """Let a way have its turn in a process of its own."""
    words = [sys.executable, str(HERE), recipe, "--turn", way, "--steps", str(options.steps)]
    if options.batch is not None:
        words += ["--batch", str(options.batch)]
    done = subprocess.run(
        words, env={**os.environ, **changes}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _rows(
    recipe: str,
    options: argparse.Namespace,
    found: dict[str, list[dict[str, Any]]],
    memory: dict[str, dict[str, Any]],
    rate: float,
) -> list[dict[str, Any]]:
    """Return a row for each way."""
    settings = options_of(["--recipe", recipe])
    batch = options.batch or settings.batch_size
    steps = settings.epochs * -(-_IMAGES // settings.batch_size)
    work = 1e-9 * batch * flops(solver_of(recipe, 10).model)
    middle: Callable[[dict[str, Any]], float] = lambda one: median(one["seconds"])  # noqa: E731
    rows = []
    for way, turns in found.items():
        seconds = median(second for one in turns for second in one["seconds"])
        ratios = [middle(one) / middle(ours) for one, ours in zip(turns, found.get("ours", turns))]
        rows.append(
            {
                "recipe": recipe,
                "batch": batch,
                "way": way,
                "seconds_of_a_step": f"{seconds:.4g}",
                "least": f"{min(second for one in turns for second in one['seconds']):.4g}",
                "ratio": f"{median(ratios):.3f}",
                "recipe_steps": steps,
                "seconds_of_the_recipe": f"{seconds * steps * settings.batch_size / batch:.0f}",
                "peak_megabytes": f"{memory[way]['megabytes']:.0f}",
                "gflops_per_second": f"{work / seconds:.1f}",
                "product_gflops_per_second": f"{rate:.1f}",
                "rounds": options.rounds,
                "processor": describe()["machine"],
            }
        )
    return rows


if __name__ == "__main__":
    sys.exit(main())
