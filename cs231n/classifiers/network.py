"""The part that all networks share: a list of stages, walked forward and back."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from cs231n.classifiers import blank, chain, description, folding, summary
from cs231n.classifiers.inputs import Inputs, arranged
from cs231n.classifiers.layer import Layer
from cs231n.core import checks
from cs231n.data.dataset import Dataset
from cs231n.files import storage
from cs231n.kernels import fast_optim
from cs231n.layer_utils import Stage, softmax_loss_selected

__all__ = ["Network"]

_BATCH = 100  # images that are predicted at once: more gain nothing, and take memory


class Network:
    """A chain of layers that ends in class scores and the softmax loss.

    A subclass adds its layers in its constructor, in forward order.

    Parameters
    ----------
    reg : float
        Strength of L2 regularisation: ``0.5 * reg * sum(W ** 2)`` is added to the loss for every
        weight W, biases, scales and shifts excepted.
    dtype : dtype
        np.float32 or np.float64; parameters are kept and scores computed in it.
    label_smoothing : float
        Part of the target that all classes share, as for `cs231n.layers.softmax_loss`.

    Attributes
    ----------
    params : dict of str to ndarray
        Parameters by name; they may be read, replaced and changed in place.
    bn_params : list of dict
        Options and running statistics of the normalisation layers.
    reg : float
        As the parameter; may be set at any time.
    frozen : set of str
        Names of the parameters that do not learn: no gradient is computed for them.
    input_shape : tuple of int
        Shape of a sample.
    inputs : Inputs or None
        What `predict` knows of the images: shape, normalisation, class names; see `remember`.

    Raises
    ------
    ValueError, TypeError
        If reg or label_smoothing is no number in range or dtype is neither float32 nor float64.
    """

    input_shape: tuple[int, ...]
    inputs: Inputs | None = None
    frozen: set[str] | frozenset[str] = frozenset()  # also of networks that were pickled without
    _arguments: dict[str, Any] | None = None  # that make it anew, but for those in attributes

    def __init__(
        self, reg: float = 0.0, dtype: Any = np.float32, label_smoothing: float = 0.0
    ) -> None:
        self._name = type(self).__name__
        self.dtype = checks.float_dtype(self._name, dtype, ("float32", "float64"))
        self.reg = checks.number(self._name, "reg", reg, low=0)
        self.label_smoothing = checks.number(self._name, "label_smoothing", label_smoothing, 0, 1)
        self.params: dict[str, np.ndarray] = {}
        self.bn_params: list[dict[str, Any]] = []
        self.dropout_param: dict[str, Any] = {}
        self.frozen = set()
        self._layers: list[Layer] = []

    def _add(self, stage: Stage, *options: Any, **weights: np.ndarray) -> None:
        """Append a layer; its weights are cast to the network's dtype and become parameters."""
        for name, weight in weights.items():
            self.params[name] = blank.parameter(self._name, name, weight, self.dtype)
        self._layers.append(Layer(stage, tuple(weights), options))

    def loss(
        self,
        X: np.ndarray,
        y: np.ndarray | None = None,
        need_dx: bool = False,
        l2_gradient: bool = True,
    ) -> Any:
        """Compute the scores, or the loss and its gradients.

        Parameters
        ----------
        X : ndarray of shape (N, d1, ..., dk)
            Images, cast once to the network's dtype.
        y : ndarray of shape (N,), optional
            Labels.  Without labels the network runs in test mode, with labels in train mode.
        need_dx : bool
            Whether the gradients include 'X', that of the images; it costs extra time.
        l2_gradient : bool
            Whether the gradients include that of the L2 term.  The Solver leaves it to the update
            rules, which add it while they have the weights at hand.

        Returns
        -------
        scores : ndarray of shape (N, C)
            If y is None.
        loss, grads : float and dict of str to ndarray
            Otherwise; the gradients have the names of those `params` that are not frozen.

        Raises
        ------
        ValueError, TypeError
            If X or y do not have the shape or dtype that the network expects.
        """
        need_dx = checks.flag(f"{self._name}.loss", "need_dx", need_dx)
        l2_gradient = checks.flag(f"{self._name}.loss", "l2_gradient", l2_gradient)
        if y is None:
            return self._test_scores(X)
        scores, caches = self.forward(X, "train")
        held = [*caches] if type(caches) is tuple else caches
        del caches  # of the list each one goes when it has been used
        loss, dscores = softmax_loss_selected(scores, y, self.label_smoothing)
        dx, grads = self.backward(dscores, held, need_dx)
        for name, strength in self.l2_strengths().items():
            weight = self.params[name]
            loss += 0.5 * strength * sum_of_squares(weight)
            if l2_gradient and name in grads:
                grads[name] = fast_optim.add_scaled(grads[name], strength, weight)
        if dx is not None:
            grads["X"] = dx
        return loss, grads

    def l2_strengths(self) -> dict[str, float]:
        """Return the strength of L2 regularisation of each parameter that has any."""
        if self.reg == 0:
            return {}
        learning = (name for name in self.weight_names() if name not in self.frozen)
        return dict.fromkeys(learning, float(self.reg))

    def summary(self) -> str:
        """Describe the network in a table.

        Returns
        -------
        table : str
            A line for each layer: its options where they are not the usual ones, such as 3x3
            filters that keep the size, its output's shape, its number of parameters, the
            multiplications and additions with its weights, and the bytes of its output, all for
            one sample; then the sums.
        """
        return summary.table(self._layers, self.params, self.input_shape, self.dtype, self.frozen)

    def __repr__(self) -> str:
        """Say what goes in and out, of which layers it is, and how large."""
        layers = ", ".join(layer.stage.name for layer in self._layers)
        size = sum(w.size for w in self.params.values())
        return (
            f"{type(self).__name__}({' x '.join(map(str, self.input_shape))} -> {self.num_classes}"
            f" classes: {layers}; {size:,} parameters, {self.dtype})"
        )

    def _repr_html_(self) -> str:
        """Return the summary as a table, for notebooks."""
        of_this = self._layers, self.params, self.input_shape, self.dtype, self.frozen
        table = summary.html(*of_this)
        return f"<p><b>{escape(type(self).__name__)}</b></p>{table}"

    def activations(self, X: np.ndarray) -> dict[str, np.ndarray]:
        """Compute what each layer gives in test mode, for a look inside.

        Parameters
        ----------
        X : ndarray of shape (N, d1, ..., dk)
            Images, normalised as in training.

        Returns
        -------
        activations : dict of str to ndarray of shape (N, ...)
            In forward order, by names such as "2 relu"; the last are the scores.  No running
            statistic changes, and nothing is drawn.

        Raises
        ------
        ValueError, TypeError
            If X does not have the shape or dtype that the network expects.
        """
        (X,) = checks.float_arrays(f"{self._name}.activations", X=X)
        outputs = summary.outputs(self._layers, self.params, X.astype(self.dtype, copy=False))
        return {
            f"{number} {summary.layer_name(layer)}": out
            for number, (layer, out) in enumerate(zip(self._layers, outputs), start=1)
        }

    @property
    def num_classes(self) -> int:
        """Number of scores that the network gives for each sample, after its last layer."""
        return len(self.params[self.last_weights()[-1]])

    def weight_names(self) -> list[str]:
        """Return the names of the weights, which are all parameters but biases, scales, shifts."""
        return [
            name
            for layer in self._layers
            for name, role in zip(layer.weights, layer.stage.weights)
            if role == "w"
        ]

    def form(self) -> dict[str, Any]:
        """Return what tells this network from others, in numbers and texts: layers and options."""
        return {
            "dtype": self.dtype.name,
            "reg": self.reg,
            "label_smoothing": self.label_smoothing,
            "input_shape": list(self.input_shape),
            "layers": [
                {"name": layer.stage.name, "options": [_settings(item) for item in layer.options]}
                for layer in self._layers
            ],
            **({"frozen": sorted(self.frozen)} if self.frozen else {}),
        }

    def forward(self, X: np.ndarray, mode: str = "test") -> tuple[np.ndarray, tuple[Any, ...]]:
        """Compute the scores (N, C) of images X, and the caches that `backward` needs.

        Parameters
        ----------
        X : ndarray of shape (N, d1, ..., dk)
            Images.
        mode : {'test', 'train'}
            How batch normalisation and dropout work.

        Returns
        -------
        scores : ndarray of shape (N, C)
        caches : tuple

        Raises
        ------
        ValueError, TypeError
            If X does not have the shape or dtype that the network expects.
        """
        out = self._prepared(X, mode)
        caches = []
        for step in chain.forward_steps(self._layers, self.params, out):
            out = step.out
            caches.append(step.cache)
        return out, tuple(caches)

    def _prepared(self, X: np.ndarray, mode: str) -> np.ndarray:
        """Return images in the dtype of the network, whose layers are put into the mode."""
        where = f"{self._name}.loss"
        checks.choice(where, "mode", mode, ("train", "test"))
        (X,) = checks.float_arrays(where, X=X)
        for param in (*self.bn_params, self.dropout_param):
            param["mode"] = mode
        return X.astype(self.dtype, copy=False)

    def _test_scores(self, X: np.ndarray) -> np.ndarray:
        """Return the scores of images in test mode, and keep nothing for a backward pass."""
        out = self._prepared(X, "test")
        layers, params = folding.folded(self._layers, self.params, out.shape)
        for step in chain.forward_steps(layers, params, out):
            out = step.out
        return out

    def backward(
        self, dscores: np.ndarray, caches: tuple[Any, ...] | list[Any], need_dx: bool = False
    ) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
        """Back-propagate a gradient of the scores to the parameters and, if needed, the images.

        Parameters
        ----------
        dscores : ndarray of shape (N, C)
            Upstream gradient.
        caches : tuple or list
            From `forward`.  A list of them, such as `loss` gives, is used up: each goes when it has
            been used, and its memory serves the layers before.
        need_dx : bool
            Whether to compute the gradient of the images.

        Returns
        -------
        dx : ndarray of the images' shape, or None if not needed
        grads : dict of str to ndarray
            By the names of those `params` that are not frozen, without regularisation.

        Raises
        ------
        ValueError, TypeError
            If dscores does not have the scores' shape or the caches are another network's.
        """
        need_dx = checks.flag(f"{self._name}.backward", "need_dx", need_dx)
        count = len(self._layers)
        if not isinstance(caches, (tuple, list)) or len(caches) != count:
            raise TypeError(
                f"{self._name}.backward: caches are not those of {count} layers that"
                f" {self._name}.forward returns"
            )
        held = caches if isinstance(caches, list) else [*caches]
        return chain.backward(self._layers, dscores, held, self.frozen, need_dx)

    def remember(self, data: Dataset) -> None:
        """Note what `predict` has to know of the data: image shape, normalisation, class names.

        The Solver does so for the data that it trains on.

        Parameters
        ----------
        data : Dataset

        Raises
        ------
        TypeError, ValueError
            If it is none, or one of other images or of more classes, or its images were changed
            after they were loaded.
        """
        where = f"{self._name}.remember"
        checks.attributes(where, "data", data, "normalization", "class_names", "changed")
        if data.changed:
            raise ValueError(
                f"{where}: the images of data were changed after they were loaded, so it is not"
                f" known what was done to them; expected a data set as load_data gives it"
            )
        inputs = Inputs(data["X_train"].shape[1:], data.normalization, tuple(data.class_names))
        self.inputs = inputs.checked(where, self.input_shape, self.num_classes)

    def predict(self, images: Any, normalized: bool = False) -> np.ndarray:
        """Return the most probable label of each image.

        Parameters
        ----------
        images, normalized
            As for `predict_proba`.

        Returns
        -------
        labels : ndarray of shape (N,)
            int64; ``model.inputs.name(label)`` is the name of one.

        Raises
        ------
        ValueError, TypeError
            As `predict_proba`.
        """
        # Of the scores: probabilities that differ by less than their rounding would be a tie.
        return np.argmax(self._scores("predict", images, normalized), axis=1)

    def predict_proba(self, images: Any, normalized: bool = False) -> np.ndarray:
        """Return the probability that the network gives to each class.

        Parameters
        ----------
        images : array_like of shape (N, C, H, W) or (N, H, W, C)
            Pictures as they are: integers from 0 to 255, or floats in the range that the training
            images had before they were normalised.  Grey ones may be (N, H, W), and those of a
            network without `inputs` of any form that it takes.  Where the shape fits both ways,
            channels come first.
        normalized : bool
            True for images that are normalised already, such as ``data["X_test"]`` of a data set.

        Returns
        -------
        probabilities : ndarray of shape (N, C)
            Softmax of the scores, in the network's dtype.

        Raises
        ------
        ValueError, TypeError
            If these are no such images, by their shape or by their range.

        Notes
        -----
        The normalisation in `inputs`, if there is one, is applied to a hundred images at a time.
        """
        scores = self._scores("predict_proba", images, normalized)
        scores -= scores.max(axis=1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=1, keepdims=True)
        return scores

    def _scores(self, name: str, images: Any, normalized: bool) -> np.ndarray:
        """Return the scores of raw images, for a function of this name."""
        where, inputs = f"{self._name}.{name}", self.inputs
        normalized = checks.flag(where, "normalized", normalized)
        shape = self.input_shape if inputs is None else inputs.image_shape
        X = arranged(where, images, shape)
        if inputs is not None and not normalized:
            inputs.check_range(where, X)
        out = np.empty((len(X), self.num_classes), self.dtype)
        for start in range(0, len(X), _BATCH):
            part = X[start : start + _BATCH]
            if inputs is not None and not normalized:
                part = inputs.prepared(part, self.dtype)
            out[start : start + _BATCH] = self._test_scores(part.reshape(-1, *self.input_shape))
        return out

    @contextmanager
    def replaced(self, stage: Callable[[Layer], Stage]) -> Iterator[None]:
        """Let the layers be what a function makes of them, for the body.

        Parameters
        ----------
        stage : callable
            Function of a layer that returns the stage to run in its place.
        """
        layers = self._layers
        self._layers = [one._replace(stage=stage(one)) for one in layers]
        try:
            yield
        finally:
            self._layers = layers

    def save(self, fname: str | os.PathLike[str]) -> Path:
        """Write parameters, running statistics and what the network is to a `.npz` file.

        The file describes network, normalisation and class names, so that `cs231n.load_model` can
        make the network anew; a network of another class, or with layers that were changed, is
        written without, for whoever builds it and calls `load`.

        Parameters
        ----------
        fname : str or path
            File; `.npz` is added where it is missing.

        Returns
        -------
        path : Path
            The file written.

        Raises
        ------
        OSError
            If the file cannot be written; an old one is then still there.
        """
        # Before the first training batch they are zeros, and are written all the same: a file
        # without them would tell nothing of what they are.
        statistics = {
            name: param.get(key, np.zeros(shape, self.dtype))
            for name, (param, key, shape) in self._statistics().items()
        }
        return storage.write_npz(fname, {**self.params, **statistics, **self._description()})

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that make a network of this form, plain values by their names."""
        own: dict[str, Any] = {"reg": float(self.reg), "dtype": self.dtype.name}
        return {**(self._arguments or {}), **own}

    def last_weights(self) -> tuple[str, ...]:
        """Return the names of the parameters of the last layer that has any, for the scores."""
        return [layer.weights for layer in self._layers if layer.weights][-1]

    def _description(self) -> dict[str, Any]:
        """Return the arrays that describe the network, or none where they would be untrue."""
        if self._arguments is None or not type(self).__module__.startswith("cs231n.classifiers."):
            return {}
        arguments = self.arguments()
        try:
            with blank.given(self.params):
                twin = type(self)(**arguments)
        except (TypeError, ValueError):
            return {}
        if twin.form() != self.form() or list(twin.params) != list(self.params):
            return {}
        return description.written(self._name, arguments, self.inputs)

    def load(self, fname: str | os.PathLike[str], statistics: str = "file") -> None:
        """Read parameters and running statistics that `save` wrote for a network of this form.

        Parameters
        ----------
        fname : str or path
            File; `.npz` is added where it is missing.
        statistics : {'file', 'reset'}
            Where the running statistics of batch normalisation come from.  'reset' is for files
            that have none, such as ``np.savez(fname, **model.params)``: they are as in a new
            network, and of use in test mode only after some batches in train mode.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file is damaged, belongs to a network of another form, or lacks running
            statistics; this network is then as it was.
        """
        where = f"{self._name}.load"
        arrays = storage.read_npz(fname)
        found = description.split_off(f"{where}: {fname}", arrays)
        inputs = self.inputs
        if found is not None and found.inputs is not None:
            inputs = found.inputs.checked(f"{where}: {fname}", self.input_shape, self.num_classes)
        self.take(where, fname, arrays, statistics)
        self.inputs = inputs

    def take(
        self,
        where: str,
        fname: str | os.PathLike[str],
        arrays: dict[str, np.ndarray],
        statistics: str = "file",
    ) -> None:
        """Take parameters and running statistics out of the arrays of a file.

        Parameters
        ----------
        where : str
            Name of the calling function, for messages.
        fname : str or path
            The file, for messages.
        arrays : dict of str to ndarray
        statistics : {'file', 'reset'}
            As for `load`.

        Raises
        ------
        ValueError
            As `load`.
        """
        checks.choice(where, "statistics", statistics, ("file", "reset"))
        places = self._statistics()
        shapes = {name: w.shape for name, w in self.params.items()}
        if {"digest", "state"} <= set(arrays):
            raise ValueError(
                f"{where}: {fname} is a checkpoint of training, which Solver.resume reads;"
                f" expected a file that {self._name}.save wrote"
            )
        if not set(shapes) <= set(arrays) <= {*shapes, *places}:
            optional = f" and perhaps {', '.join(places)}" if places else ""
            raise ValueError(
                f"{where}: {fname} holds {', '.join(sorted(arrays))};"
                f" expected {', '.join(shapes)}{optional}"
            )
        lacking = [name for name in places if name not in arrays]
        if lacking and statistics == "file":
            raise ValueError(
                f"{where}: {fname} lacks the running statistics {', '.join(lacking)}, with which"
                f" batch normalisation works in test mode; expected a file that {self._name}.save"
                f" wrote, or statistics='reset' to begin them anew"
            )
        if statistics == "reset":
            arrays = {name: array for name, array in arrays.items() if name in shapes}
        shapes.update((name, shape) for name, (_, _, shape) in places.items())
        for name, array in arrays.items():
            checks.exact_shape(where, f"{name} in {fname}", array, shapes[name])
            if array.dtype.kind not in "biuf":
                raise ValueError(f"{where}: {name} in {fname} is {array.dtype}; expected numbers")
        try:
            with np.errstate(over="raise"):
                cast = {name: array.astype(self.dtype) for name, array in arrays.items()}
        except FloatingPointError as error:
            raise ValueError(f"{where}: {fname} holds numbers beyond {self.dtype}") from error
        self.params = {name: cast[name] for name in self.params}
        for name, (param, key, _) in places.items():
            param.pop(key, None)
            if name in cast:
                param[key] = cast[name]

    def _statistics(self) -> dict[str, tuple[dict[str, Any], str, tuple[int, ...]]]:
        """Return dict, key and shape of each running statistic, by its name in a file.

        The names are such as 'bn_params/0/running_mean'.  Only batch normalisation keeps any.
        """
        normalisations = [layer for layer in self._layers if "gamma" in layer.stage.weights]
        return {
            f"bn_params/{index}/{key}": (param, key, self.params[layer.weights[0]].shape)
            for index, (layer, param) in enumerate(zip(normalisations, self.bn_params))
            if "bn_param" in layer.stage.options
            for key in ("running_mean", "running_var")
        }


def _settings(option: Any) -> Any:
    """Return an option of a layer without what changes in training: its mode and its statistics."""
    if not isinstance(option, dict):
        return repr(option)
    return {
        name: value
        for name, value in option.items()
        if name != "mode" and isinstance(value, (bool, int, float, str))
    }


def sum_of_squares(weight: np.ndarray) -> float:
    """Return the sum of squares: rows in the weight's dtype, their sum in float64.

    One float32 sum over millions of numbers would lose digits, and a float64 copy would cost time.
    """
    rows = weight.reshape(len(weight), weight[:1].size)
    return float(np.einsum("ij,ij->i", rows, rows).sum(dtype=np.float64))


def gaussian(
    weight_scale: float, rng: np.random.Generator | None = None
) -> Callable[..., np.ndarray]:
    """Return a function of a shape that draws weights of this standard deviation.

    Without a generator it draws from NumPy's global one, so that a seed gives the numbers of
    published logs.
    """
    if blank.in_use():
        return blank.zeros
    if rng is not None:
        return lambda *shape: weight_scale * rng.standard_normal(shape)
    return lambda *shape: weight_scale * np.random.randn(*shape)
