"""Training: minibatches, update rules, accuracy checks, and the best parameters at the end."""

from __future__ import annotations

import copy
import inspect
import math
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import nullcontext
from typing import Any, Generic, TypeVar, overload

import numpy as np
from tqdm import tqdm

from cs231n import optim
from cs231n.core import checks
from cs231n.files import storage
from cs231n.kernels import fast_optim, workspace
from cs231n.schedules import Schedule
from cs231n.training import arguments, checkpoint, generators
from cs231n.training.arguments import SPLITS
from cs231n.training.state import RunState, check_model

__all__ = ["DivergedError", "Solver"]

T = TypeVar("T")


class DivergedError(FloatingPointError):
    """The loss of a training step was NaN or infinite."""


class _Kept(Generic[T]):
    """An attribute of the Solver that is kept in its state, and so in checkpoints."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, solver: None, owner: type) -> _Kept[T]: ...

    @overload
    def __get__(self, solver: Solver, owner: type) -> T: ...

    def __get__(self, solver: Solver | None, owner: type) -> Any:
        return self if solver is None else getattr(solver.state, self._name)

    def __set__(self, solver: Solver, value: T) -> None:
        setattr(solver.state, self._name, value)


class Solver:
    """Trains a classifier by stochastic gradient descent with minibatches.

    The model is any object with a dict ``model.params`` of arrays and a method
    ``model.loss(X, y)`` that returns the loss and a dict of gradients with the same names, or
    scores (N, C) when y is left out.  Running statistics in a list of dicts ``model.bn_params``
    are kept together with the best parameters.

    Parameters
    ----------
    model : object
        As above.
    data : mapping
        'X_train', 'X_val' : ndarray of shape (N, d1, ..., dk), and 'y_train', 'y_val' : ndarray of
        shape (N,), labels.
    update_rule : str or callable
        Name of a rule in `cs231n.optim`, or a function of the same form.
    optim_config : dict, optional
        Hyperparameters of the rule, such as 'learning_rate'; a copy is made for each parameter.
    lr_decay : float
        Factor on the learning rate after each epoch.
    batch_size : int
        Samples in a minibatch.
    num_epochs : int
        Epochs to train for.
    num_train_samples, num_val_samples : int or None
        Samples drawn to estimate the training and the validation accuracy; None takes all.
    checkpoint_name : str, optional
        Keep a checkpoint ``<name>.npz``, from which `resume` goes on, and the one before it; a
        missing folder is made when training starts.
    print_every : int
        Iterations between printed losses.
    verbose : bool
        Whether anything is printed.
    replace : bool
        True draws every minibatch from all samples, so that in an epoch some come twice and some
        not at all; with False an epoch takes every sample once, in a new random order.
    progress : bool, optional
        Whether a progress bar is drawn on standard error; by default if that is a terminal and
        `verbose` is on.
    rng : numpy.random.Generator, optional
        Source of all random draws of the solver, instead of NumPy's global generator.
    augment : callable, optional
        Called on the images of each minibatch, it returns those to train on; for example a
        `cs231n.augment.FlipAndShift`.
    schedule : callable, optional
        Factor on the learning rate as a function of the progress in [0, 1), such as the functions
        of `cs231n.schedules`.
    weight_decay : float
        Strength of decoupled weight decay: each update of a weight (not of biases, scales and
        shifts) also takes ``learning_rate * weight_decay * w`` away from it.
    clip_norm : float, optional
        Where all gradients together have a larger norm than this, they are scaled down to it.
    checkpoint_every : int, optional
        Iterations between checkpoints; by default one is written at the end of each epoch.

    Attributes
    ----------
    loss_history : list of float
        Loss of each iteration.
    train_acc_history, val_acc_history : list of float
        Accuracies after the first iteration and at the end of each epoch.
    accuracy_iterations : list of int
        How many iterations had been made when each of these was measured.
    best_val_acc : float
        Best validation accuracy so far, -inf at first.
    best_params : dict of str to ndarray
        Copies of the parameters that gave it.
    epoch : int
        Epochs done.
    optim_configs : dict of str to dict
        Hyperparameters and state of the update rule of each parameter.
    train_seconds : float
        Time spent in `train`, also before the run was resumed.
    state : cs231n.training.state.RunState
        All that changes while the run goes on, the attributes above among it.

    Raises
    ------
    ValueError, TypeError
        If an argument is unknown or not sensible, or the data do not fit together.

    Notes
    -----
    The solver puts copies of the parameters into ``model.params`` at its first step and from then
    on steps these in place: arrays that the user held before are never overwritten, those taken
    from ``model.params`` in the midst of training are.

    With a schedule the learning rate of an iteration is ``learning_rate * lr_decay ** epoch *
    schedule(progress)``, and `optim_configs` show it.

    References
    ----------
    Loshchilov and Hutter, Decoupled Weight Decay Regularization, ICLR 2019.

    Pascanu, Mikolov and Bengio, On the Difficulty of Training Recurrent Neural Networks, ICML 2013
    (clipping of the norm).
    """

    loss_history = _Kept[list[float]]()
    train_acc_history = _Kept[list[float]]()
    val_acc_history = _Kept[list[float]]()
    accuracy_iterations = _Kept[list[int]]()
    best_val_acc = _Kept[float]()
    best_params = _Kept[dict[str, np.ndarray]]()
    epoch = _Kept[int]()
    optim_configs = _Kept[dict[str, dict[str, Any]]]()

    def __init__(
        self,
        model: Any,
        data: Mapping[str, np.ndarray],
        update_rule: str | optim.Rule = "sgd",
        optim_config: Mapping[str, Any] | None = None,
        lr_decay: float = 1.0,
        batch_size: int = 100,
        num_epochs: int = 10,
        num_train_samples: int | None = 1000,
        num_val_samples: int | None = None,
        checkpoint_name: str | None = None,
        print_every: int = 10,
        verbose: bool = True,
        replace: bool = True,
        progress: bool | None = None,
        rng: np.random.Generator | None = None,
        augment: Callable[[np.ndarray], np.ndarray] | None = None,
        schedule: Schedule | None = None,
        weight_decay: float = 0.0,
        clip_norm: float | None = None,
        checkpoint_every: int | None = None,
        **unknown: Any,
    ) -> None:
        _refuse_unknown(unknown)
        checks.attributes("Solver", "model", model, "params", "loss")
        self.model = model
        self.X_train, self.y_train, self.X_val, self.y_val = _checked_data(data)
        self.update_rule = _checked_rule(update_rule)
        self.optim_config = dict(checks.mapping("Solver", "optim_config", optim_config or {}))
        if isinstance(update_rule, str):
            _check_hyperparameters(update_rule, self.optim_config)
        self.lr_decay = checks.number("Solver", "lr_decay", lr_decay, low=0)
        self.batch_size = checks.integer("Solver", "batch_size", batch_size, least=1)
        self.num_epochs = checks.integer("Solver", "num_epochs", num_epochs, least=0)
        self.num_train_samples = _count("num_train_samples", num_train_samples)
        self.num_val_samples = _count("num_val_samples", num_val_samples)
        self.checkpoint_name = _checked_name(checkpoint_name)
        self.print_every = checks.integer("Solver", "print_every", print_every, least=1)
        self.verbose = verbose
        self.replace = replace
        self.progress = progress
        checks.generator("Solver", rng)
        self._own_rng = rng  # NumPy's global generator is a module, which cannot be copied
        self.augment = _checked_function("augment", augment)
        self.schedule = _checked_function("schedule", schedule)
        self.weight_decay = checks.number("Solver", "weight_decay", weight_decay, low=0)
        self.clip_norm = None if clip_norm is None else _positive("clip_norm", clip_norm)
        self.checkpoint_every = _count("checkpoint_every", checkpoint_every)
        self._check_rate()
        self._reset()

    def _check_rate(self) -> None:
        """See to it that there is a learning rate where schedule and weight decay multiply it."""
        if self.schedule is not None:
            _factor(self.schedule, 0.0)  # a wrong one fails here
        elif not self.weight_decay:
            return
        if isinstance(self.update_rule, str):
            self.optim_config.setdefault(
                "learning_rate", optim.DEFAULTS[self.update_rule]["learning_rate"]
            )
        if "learning_rate" not in self.optim_config:
            raise ValueError(
                f"Solver: optim_config has {sorted(self.optim_config)}; expected 'learning_rate',"
                f" which schedule and weight_decay multiply"
            )

    def _reset(self) -> None:
        """Start the books: histories, best parameters and the state of the update rule."""
        configs = {name: copy.deepcopy(self.optim_config) for name in self.model.params}
        self.state = RunState(configs)
        self._owned: dict[str, np.ndarray] = {}
        self._fingerprints: dict[str, str] = {}  # of the data, for checkpoints
        self._resumed = False
        self._clock = 0.0  # when the seconds were last added up
        self._told_lost = False
        self._trouble = ""  # what was last said about checkpoints that cannot be written

    @classmethod
    def resume(
        cls,
        path: str | os.PathLike[str],
        model: Any,
        data: Mapping[str, np.ndarray],
        **changes: Any,
    ) -> Solver:
        """Return a solver whose `train` goes on from a checkpoint as if it had never stopped.

        Parameters
        ----------
        path : str or path
            Checkpoint, as `checkpoint_name`; the same file gets the next ones.
        model : object
            Network of the same form; its parameters are replaced.
        data : mapping
            The same data.
        **changes
            Arguments of the Solver that may differ (`num_epochs`, `print_every`, `verbose`,
            `progress`, `checkpoint_name`, `checkpoint_every`), functions that the run was given
            (a file holds none, so they must be given again), and `rng`, whose state is set.

        Returns
        -------
        solver : Solver

        Raises
        ------
        FileNotFoundError
            If there is no checkpoint.
        ValueError
            If the checkpoint is damaged, or its network, dtype, data or functions are others;
            says what differs.
        TypeError
            If an argument is changed that has to stay.

        Notes
        -----
        Parameters, histories and the best accuracy become those of a run that was never
        interrupted, bit for bit, on the same machine.  That takes the state of NumPy's global
        generator too, from which layers draw: this function sets it.
        """
        tree = checkpoint.load(path)
        given = arguments.of_resumed(tree.get("configuration"), changes)
        solver = cls(model, data, **{"checkpoint_name": os.fspath(path), **given})
        solver._go_on(tree)
        return solver

    def _go_on(self, tree: Mapping[str, Any]) -> None:
        """Take the place of the solver that left a checkpoint; one that does not fit is refused."""
        sources = self._known_sources(tree)
        arguments.compare(self._configuration(sources), tree["configuration"])
        check_model(tree, self.model)
        state = RunState.from_tree(tree, self.iterations_per_epoch, len(self.X_train))
        generators.set_states(sources, tree["generators"])
        self.state, self._resumed = state, True
        self.model.params = {name: tree["params"][name] for name in self.model.params}
        _put_statistics(self.model, tree["bn_params"])

    def _known_sources(self, tree: Mapping[str, Any]) -> generators.Sources:
        """Return the sources of draws; those that older versions did not look for are mentioned."""
        sources = self._sources()
        if "run" in tree:
            return sources
        stored = tree["configuration"]["generators"]
        unknown = [name for name, _ in sources.kept if name not in (*stored, "solver", "dropout")]
        if unknown:
            print(
                f"Solver.resume: the checkpoint is of an older version, which did not keep the"
                f" random draws of {', '.join(unknown)}: these do not go on from where they were",
                file=sys.stderr,
            )
        return generators.without(sources, unknown)

    def _tree(self) -> dict[str, Any]:
        """Return everything that the further course of the run depends on, for a checkpoint."""
        sources = self._sources()
        return {
            **{"configuration": self._configuration(sources), **self.state.tree()},
            "params": dict(self.model.params),
            "bn_params": list(getattr(self.model, "bn_params", [])),
            "generators": generators.states(sources),
        }

    def _configuration(self, sources: generators.Sources) -> dict[str, Any]:
        """Return what the run is made of: network, data, arguments, generators."""
        if not self._fingerprints:
            self._fingerprints = {
                name: arguments.fingerprint(getattr(self, name)) for name in SPLITS
            }
        given = {name: getattr(self, name) for name in arguments.NAMES}
        kinds = generators.kinds(sources)
        return arguments.configuration(self.model, self._fingerprints, given, kinds)

    def _sources(self) -> generators.Sources:
        """Return all that the run draws at random from."""
        names = ("augment", "schedule", "update_rule")
        given = {name: getattr(self, name) for name in names}
        functions = {name: value for name, value in given.items() if callable(value)}
        return generators.find(self._rng, functions, self.model)

    @property
    def train_seconds(self) -> float:
        """Time spent in `train`, in seconds, also before the run was resumed."""
        return self.state.seconds

    @property
    def _rng(self) -> Any:
        """What all draws of the solver come from."""
        return np.random if self._own_rng is None else self._own_rng

    @property
    def iterations_per_epoch(self) -> int:
        """Number of minibatches in an epoch."""
        N = len(self.X_train)
        if self.replace:
            return max(N // self.batch_size, 1)
        return math.ceil(N / self.batch_size)

    def train(self) -> None:
        """Train the model for `num_epochs` epochs and leave the best parameters in it.

        The printed lines go to standard output, a progress bar to standard error.  After an
        interruption by Ctrl-C or an error, too, the model has the best parameters so far.

        Raises
        ------
        DivergedError
            If the loss becomes NaN or infinite.
        LockedError
            If another process writes checkpoints of the same name.
        """
        name = self.checkpoint_name
        with nullcontext() if name is None else checkpoint.alone(name):
            self._clock = time.perf_counter()
            try:
                self._train()
            finally:
                self._add_seconds()

    def _add_seconds(self) -> None:
        """Add the time since this was last done to that of the run."""
        now = time.perf_counter()
        self.state.seconds += now - self._clock
        self._clock = now

    def _train(self) -> None:
        """Train, and put the best parameters into the model whatever happens."""
        if not self._resumed:
            self.state.iteration = 0
            self.state.order = self.state.order[:0]  # an interrupted epoch is not continued
        self._resumed = False
        try:
            for t in self._iterations():
                self._step()
                if t % self.print_every == 0:
                    self._print(
                        f"(Iteration {t + 1} / {self._num_iterations})"
                        f" loss: {self.loss_history[-1]:f}"
                    )
                epoch_end = (t + 1) % self.iterations_per_epoch == 0
                if epoch_end:
                    self._end_epoch()
                if t == 0 or epoch_end:
                    self._check()
                if self._checkpoint_is_due(epoch_end):
                    self._save_checkpoint()
        finally:
            self._keep_best()

    @property
    def _num_iterations(self) -> int:
        """Number of iterations of a call of `train`."""
        return self.num_epochs * self.iterations_per_epoch

    def _iterations(self) -> Iterator[int]:
        """Count the iterations, drawing a progress bar where one is wanted."""
        wanted = self.verbose and sys.stderr.isatty() if self.progress is None else self.progress
        first, last = self.state.iteration, self._num_iterations
        with tqdm(total=last, initial=first, unit="it", disable=not wanted) as bar:
            for t in range(first, last):
                yield t
                bar.set_postfix(epoch=self.epoch, loss=self.loss_history[-1], refresh=False)
                bar.update()

    def _print(self, line: str) -> None:
        """Print a line to standard output, clear of the progress bar."""
        if self.verbose:
            tqdm.write(line, file=sys.stdout)

    def _step(self) -> None:
        """Make one update of the parameters from one minibatch."""
        self._schedule_rate()
        batch = self._next_batch()
        X, y = _take(self.X_train, batch), self.y_train[batch]
        if self.augment is not None:
            X = self.augment(X)
        loss, grads, l2 = self._loss(X, y)
        self._refuse_divergence(loss)
        _require_gradients(grads, self.model.params)
        self.loss_history.append(float(loss))
        decayed = _weight_names(self.model) if self.weight_decay else ()
        for name, w in self.model.params.items():
            if self._owned.get(name) is not w:
                w = np.array(w, order="C")
            config = self.optim_configs[name]
            if name in decayed:
                w *= 1 - config["learning_rate"] * self.weight_decay
            w = fast_optim.update(self.update_rule, w, grads[name], config, l2.get(name, 0.0))
            self.model.params[name] = self._owned[name] = w
        self.state.iteration += 1

    def _schedule_rate(self) -> None:
        """Give all parameters the learning rate that the schedule has for this iteration."""
        if self.schedule is None:
            return
        progress = min(self.state.iteration / max(self._num_iterations, 1), 1.0)
        rate = self.optim_config["learning_rate"] * self.lr_decay**self.epoch
        rate *= _factor(self.schedule, progress)
        for config in self.optim_configs.values():
            config["learning_rate"] = rate

    def _loss(
        self, X: np.ndarray, y: np.ndarray
    ) -> tuple[float, dict[str, np.ndarray], dict[str, float]]:
        """Return loss and gradients, and the strengths of the L2 terms that these leave out."""
        if self.clip_norm is not None:  # the norm is that of the whole gradient
            loss, grads = self.model.loss(X, y)
            return loss, optim.clip_gradients(grads, self.clip_norm), {}
        if _can_leave_l2(self.model.loss):
            loss, grads = self.model.loss(X, y, l2_gradient=False)
            return loss, grads, self.model.l2_strengths()
        loss, grads = self.model.loss(X, y)
        return loss, grads, {}

    def _next_batch(self) -> np.ndarray:
        """Draw the indices of a minibatch."""
        N = len(self.X_train)
        if self.replace:
            return self._rng.choice(N, self.batch_size)
        if len(self.state.order) == 0:
            self.state.order = self._rng.permutation(N)
        batch, self.state.order = np.split(self.state.order, [self.batch_size])
        return batch

    def _refuse_divergence(self, loss: float) -> None:
        """Raise a DivergedError for a loss that is no finite number."""
        if math.isfinite(loss):
            return
        rates = {config.get("learning_rate") for config in self.optim_configs.values()}
        shown = ", ".join(f"{rate:g}" for rate in rates if rate is not None) or "the rule's default"
        raise DivergedError(
            f"Solver: the loss is {loss} at iteration {len(self.loss_history) + 1}"
            f" (epoch {self.epoch}, learning rate {shown}); the parameters were not updated."
            f" Try a learning rate ten times smaller, a smaller weight_scale, or look for NaN"
            f" and very large numbers in the data"
        )

    def _end_epoch(self) -> None:
        """Count an epoch and let the learning rates decay."""
        self.epoch += 1
        for config in self.optim_configs.values():
            if "learning_rate" in config:
                config["learning_rate"] *= self.lr_decay

    def _check(self) -> None:
        """Measure the accuracies, write them down and keep the parameters if they are the best."""
        train_acc = self.check_accuracy(
            self.X_train, self.y_train, num_samples=self.num_train_samples
        )
        val_acc = self.check_accuracy(self.X_val, self.y_val, num_samples=self.num_val_samples)
        self.train_acc_history.append(train_acc)
        self.val_acc_history.append(val_acc)
        self.accuracy_iterations.append(len(self.loss_history))
        self._print(
            f"(Epoch {self.epoch} / {self.num_epochs})"
            f" train acc: {train_acc:f}; val_acc: {val_acc:f}"
        )
        if val_acc > self.best_val_acc:
            self.best_val_acc = val_acc
            self.best_params = {name: w.copy() for name, w in self.model.params.items()}
            self.state.best_bn_params = copy.deepcopy(getattr(self.model, "bn_params", []))

    def _keep_best(self) -> None:
        """Put copies of the best parameters, and their running statistics, into the model."""
        if not self.best_params:
            return
        self.model.params = {name: w.copy() for name, w in self.best_params.items()}
        for param, best in zip(getattr(self.model, "bn_params", []), self.state.best_bn_params):
            param.update(copy.deepcopy(best))

    def _checkpoint_is_due(self, epoch_end: bool) -> bool:
        """Tell whether a checkpoint is to be written now.

        The first and the last iteration always have one: the first shows early whether it works.
        """
        if self.checkpoint_name is None:
            return False
        if self.state.iteration in (1, self._num_iterations):
            return True
        every = self.checkpoint_every
        return epoch_end if every is None else self.state.iteration % every == 0

    def _save_checkpoint(self) -> None:
        """Write a checkpoint, or say that it cannot be done: training goes on all the same."""
        self._add_seconds()
        try:
            path = checkpoint.save(str(self.checkpoint_name), self._tree())
        except (OSError, MemoryError) as error:
            self._complain(f"{error}" or type(error).__name__)
            return
        self._trouble = ""
        self._tell_lost(self._sources().lost)
        self._print(f"Saving checkpoint to {path}")

    def _tell_lost(self, lost: list[str]) -> None:
        """Say once on standard error which random draws no checkpoint can keep."""
        if lost and not self._told_lost:
            tqdm.write(
                f"Solver: {'; '.join(lost)}: no checkpoint can keep that, and a run that is resumed"
                f" will draw other numbers there (a numpy.random.Generator would go on)",
                file=sys.stderr,
            )
        self._told_lost = True

    def _complain(self, trouble: str) -> None:
        """Say once on standard error why no checkpoint can be written."""
        if trouble != self._trouble:
            tqdm.write(
                f"Solver: the checkpoint {self.checkpoint_name} cannot be written ({trouble});"
                f" training goes on without it, and the last good one stays",
                file=sys.stderr,
            )
        self._trouble = trouble

    def check_accuracy(
        self, X: np.ndarray, y: np.ndarray, num_samples: int | None = None, batch_size: int = 100
    ) -> float:
        """Measure the accuracy of the model.

        Parameters
        ----------
        X : ndarray of shape (N, d1, ..., dk)
            Samples.
        y : ndarray of shape (N,)
            Labels.
        num_samples : int, optional
            Draw this many samples, if there are more.
        batch_size : int
            Samples scored at once, to bound the memory.

        Returns
        -------
        accuracy : float
            Fraction of the samples whose largest score is their label's; with a nan among its
            scores a sample has no largest one.

        Raises
        ------
        ValueError, TypeError
            If there are no samples, or y does not hold a label for each.
        """
        where = "Solver.check_accuracy"
        X, y = checks.any_array(where, "X", X), checks.real_array(where, "y", y)
        _check_labelled(where, X=X, y=y)
        batch_size = checks.integer(where, "batch_size", batch_size, least=1)
        if num_samples is not None:
            num_samples = checks.integer(where, "num_samples", num_samples, least=1)
            if num_samples < len(X):
                drawn = self._rng.choice(len(X), num_samples)
                X, y = X[drawn], y[drawn]
        starts = range(0, len(X), batch_size)
        scores = (self.model.loss(X[start : start + batch_size]) for start in starts)
        predicted = np.concatenate([_predicted(batch) for batch in scores])
        return float(np.mean(predicted == y))


def _put_statistics(model: Any, stored: list[dict[str, Any]]) -> None:
    """Replace the running statistics of a model, in the dicts that its layers hold."""
    for param, found in zip(getattr(model, "bn_params", []), stored):
        param.clear()
        param.update(copy.deepcopy(found))


def _refuse_unknown(unknown: Mapping[str, Any]) -> None:
    """Raise a TypeError that names unknown arguments and the known ones that look like them."""
    if not unknown:
        return
    known = [name for name in inspect.signature(Solver).parameters if name != "unknown"]
    raise TypeError(
        f"Solver: unrecognized arguments {checks.hints(unknown, known)}; expected some of"
        f" {', '.join(known)}"
    )


def _checked_data(data: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Return X_train, y_train, X_val and y_val, which have as many labels as samples."""
    checks.mapping("Solver", "data", data)
    missing = [name for name in SPLITS if name not in data]
    if missing:
        raise ValueError(
            f"Solver: data lacks {', '.join(missing)}; found {sorted(map(str, data))},"
            f" expected {', '.join(SPLITS)}"
        )
    arrays = {name: checks.any_array("Solver", name, data[name]) for name in SPLITS}
    for split in ("train", "val"):
        _check_labelled("Solver", **{name: arrays[name] for name in (f"X_{split}", f"y_{split}")})
    return list(arrays.values())


def _check_labelled(where: str, **arrays: np.ndarray) -> None:
    """Raise a ValueError unless the arrays, samples and labels, are as many, and at least one."""
    (X_name, X), (y_name, y) = arrays.items()
    if X.ndim == 0 or y.shape != X.shape[:1] or len(X) == 0:
        raise ValueError(
            f"{where}: {X_name} has shape {X.shape} and {y_name} {y.shape};"
            f" expected (N, ...) and (N,) with N >= 1"
        )


def _checked_rule(update_rule: str | optim.Rule) -> str | optim.Rule:
    """Return the update rule, a known name or a function."""
    if callable(update_rule) or (isinstance(update_rule, str) and update_rule in optim.RULES):
        return update_rule
    known = ", ".join(sorted(optim.RULES))
    raise ValueError(f"Solver: unknown update rule {update_rule!r}; known rules: {known}")


def _checked_name(checkpoint_name: Any) -> Any:
    """Return the name of a checkpoint, or None for none."""
    if checkpoint_name is not None:
        storage.npz_path(checkpoint_name, "Solver", "checkpoint_name")
    return checkpoint_name


def _check_hyperparameters(rule: str, config: Mapping[str, Any]) -> None:
    """Raise an error for hyperparameters that are wrong, or that no rule knows.

    Those of other rules pass, so that one configuration may serve to compare rules.
    """
    known = {name for names in (*optim.DEFAULTS.values(), *optim.STATE.values()) for name in names}
    unknown = [name for name in config if name not in known | {"t"}]
    if unknown:
        raise ValueError(
            f"Solver: optim_config has {checks.hints(unknown, known)}, which no update rule knows;"
            f" {rule} takes {', '.join(optim.DEFAULTS[rule])}"
        )
    optim.hyperparameters(rule, dict(config))
    checks.number("Solver", "learning_rate", config.get("learning_rate", 0), low=0)


def _checked_function(name: str, value: Any) -> Any:
    """Return a function, or None for none."""
    if value is None or callable(value):
        return value
    raise TypeError(f"Solver: {name} is {value!r}; expected a function or None")


def _factor(schedule: Schedule, progress: float) -> float:
    """Return the factor that a schedule puts on the learning rate."""
    return checks.number("Solver", f"schedule({progress})", schedule(progress), low=0)


def _require_gradients(grads: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Raise a ValueError where the model's loss gave no gradient of a parameter."""
    missing = [name for name in params if name not in grads]
    if missing:
        raise ValueError(
            f"Solver: model.loss gives gradients of {', '.join(map(str, grads)) or 'nothing'};"
            f" expected those of {', '.join(missing)} too, for they are in model.params"
        )


def _weight_names(model: Any) -> Collection[str]:
    """Return the names of the parameters that decay: a network's weights.

    Another model does not tell them from biases and scales; these have but one axis.
    """
    if hasattr(model, "weight_names"):
        return model.weight_names()
    return [name for name, w in model.params.items() if w.ndim > 1]


def _can_leave_l2(loss: Callable[..., Any]) -> bool:
    """Tell whether a loss can leave the gradient of its L2 term to the update rules.

    Networks of this package can; a user's own loss, in a class or put on the model, need not.
    """
    return "l2_gradient" in inspect.signature(loss, follow_wrapped=False).parameters


def _predicted(scores: np.ndarray) -> np.ndarray:
    """Return the class of the largest score in each row, or -1, which is none, beside a nan."""
    return np.where(np.isnan(scores).any(axis=1), -1, np.argmax(scores, axis=1))


def _take(X: np.ndarray, batch: np.ndarray) -> np.ndarray:
    """Return the samples of a batch, in memory that is used again."""
    out = workspace.empty((len(batch), *X.shape[1:]), X.dtype)
    # "clip" lets NumPy write straight into out; the indices are in range.
    return np.take(X, batch, axis=0, out=out, mode="clip")


def _positive(name: str, value: float) -> float:
    """Return a positive number."""
    return checks.number("Solver", name, value, low=0, low_open=True)


def _count(name: str, value: int | None) -> int | None:
    """Return a positive number, or None for the default."""
    return None if value is None else checks.integer("Solver", name, value, least=1)
