"""Training: minibatches, update rules, accuracy checks, and the best parameters at the end."""

from __future__ import annotations

import copy
import inspect
import math
import os
import secrets
import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, Generic, NamedTuple, TypeVar, overload

import numpy as np

from cs231n import __version__, optim
from cs231n.core import checks
from cs231n.data.dataset import Dataset
from cs231n.files.lock import Lock, LostFolderError
from cs231n.kernels import fast_optim, threads, workspace
from cs231n.parallel.gradients import whole_loss
from cs231n.parallel.ranks import Ranks
from cs231n.schedules import Schedule
from cs231n.training import (
    arguments,
    averages,
    checkpoint,
    generators,
    inputs,
    minibatch,
    progress_bar,
)
from cs231n.training import (
    groups as parameter_groups,
)
from cs231n.training.arguments import SPLITS
from cs231n.training.callback import Callbacks
from cs231n.training.signals import Signals
from cs231n.training.state import TASKS, RunState, check_model

__all__ = ["DivergedError", "Solver"]

T = TypeVar("T")

_PROCESS = secrets.token_hex(8)
# Attributes that no copy has.
_OF_PROCESS = ("_bar", "_drawn_from", "_lock", "on_check", "_ranks", "_sharing", "_ahead")
_DIVERGENCE = ("warn", "raise", "stop")


class DivergedError(FloatingPointError):
    """The loss of a training step was NaN or infinite."""


class _Moment(NamedTuple):
    """What a step or a check changes before it is done: it is taken back where one is not."""

    draws: dict[str, dict[str, Any]]
    order: np.ndarray
    statistics: list[dict[str, Any]]


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
        Iterations between printed losses; a negative number prints none.
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
        `cs231n.augment.FlipAndShift`.  One with a method ``of_samples(X, samples, epoch)`` is told
        which training images they are, and in which epoch.
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
    on_divergence : {'warn', 'raise', 'stop'}
        What to do at a loss that is NaN or infinite.  Its step is never made.  'warn' says so once
        and goes on, as the course's Solver does; 'raise' raises a `DivergedError`; 'stop' says so
        and ends the training.
    callbacks : sequence of objects
        What is called while training goes on, such as those of `cs231n.callbacks`: objects with
        some of the methods ``on_train_begin``, ``on_step_end``, ``on_epoch_end`` and
        ``on_train_end``, each of which gets the Solver.  An error in one is told with its name, and
        training goes on without it.  Of several ranks the first one calls them.
    groups : mapping of str to mapping, optional
        What is different for some parameters, by their names or patterns such as 'beta*' (of
        several that fit, later ones add to earlier ones): 'rate', a factor on the learning rate;
        'weight_decay', in place of the Solver's, for biases, scales and shifts, too; 'until', the
        part of the training after which they stay as they are.
    average : {None, 'ema', 'lookahead'}
        Average of the parameters, which is tested in place of them and ends in the model; see
        `cs231n.training.averages.Averaging`.
    average_config : dict, optional
        'decay', share of the average that is kept at each step, default 0.999 for 'ema' and 0.95
        for 'lookahead', which also has 'every', default 5, and 'power', default 3.
    keep : {'best', 'last'}
        Whether the model gets the parameters with the best validation accuracy in the end, or the
        last ones; of both the average, where there is one.
    draw_ahead : bool
        Whether minibatches are drawn and augmented in a thread of its own, while the step before
        is made, with the same numbers; for no augmentation, or a `cs231n.augment.FlipAndShift`.
    communicator : mpi4py.MPI.Comm, optional
        Train on all its processes (ranks) together: each takes its share of every minibatch, and
        the first one prints and writes.  All must be given the same.
    sync_statistics : bool
        With a communicator, whether batch normalisation takes its statistics over all ranks, or
        each its own.

    Attributes
    ----------
    loss_history : list of float
        Loss of each iteration.
    train_acc_history, val_acc_history : list of float
        Accuracies after the first iteration and at the end of each epoch.
    val_loss_history : list of float
        Mean cross-entropy of the softmax of the scores of the same validation samples, without
        regularisation or label smoothing; nan where labels are no classes.
    accuracy_iterations : list of int
        How many iterations had been made when each of these was measured.
    last_val_acc : float
        Validation accuracy after the last step, also where it was interrupted; nan if unknown.
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
    on_check : callable or None
        Called with the Solver each time the accuracies were measured, after the checkpoint if one
        was due; an exception in it ends the training.
    learning_rate : float
        Rate of the last step (of the first parameter, should they have several); nan before.
    gradient_norm : float
        Norm of all gradients of the last step together, before they were clipped; measured where a
        callback has ``needs_gradient_norm``, else nan.
    stopped : str
        Why training was stopped by `stop`, '' if it was not.
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
    val_loss_history = _Kept[list[float]]()
    learning_rate = _Kept[float]()
    gradient_norm = _Kept[float]()
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
        on_divergence: str = "warn",
        callbacks: Sequence[Any] = (),
        communicator: Any = None,
        sync_statistics: bool = True,
        groups: Mapping[str, Mapping[str, float]] | None = None,
        average: str | None = None,
        average_config: Mapping[str, float] | None = None,
        keep: str = "best",
        draw_ahead: bool = False,
        **unknown: Any,
    ) -> None:
        _refuse_unknown(unknown)
        checks.attributes("Solver", "model", model, "params", "loss")
        self.model = model
        self._take_data(data)
        self.update_rule, self._rule = update_rule, optim.find("Solver", update_rule)
        self.optim_config = dict(checks.mapping("Solver", "optim_config", optim_config or {}))
        if isinstance(self._rule, str):
            inputs.check_hyperparameters(self._rule, self.optim_config)
        self.lr_decay = checks.number("Solver", "lr_decay", lr_decay, low=0)
        self.batch_size = checks.integer("Solver", "batch_size", batch_size, least=1)
        self.num_epochs = checks.integer("Solver", "num_epochs", num_epochs, least=0)
        self.num_train_samples = inputs.count_or_none("num_train_samples", num_train_samples)
        self.num_val_samples = inputs.count_or_none("num_val_samples", num_val_samples)
        self.checkpoint_name = inputs.checked_name(checkpoint_name)
        self.print_every = inputs.checked_interval(print_every)
        self.verbose = checks.flag("Solver", "verbose", verbose)
        self.replace = checks.flag("Solver", "replace", replace)
        self.progress = checks.optional_flag("Solver", "progress", progress)
        checks.generator("Solver", rng)
        self._own_rng = rng  # NumPy's global generator is a module, which cannot be copied
        self.augment = inputs.checked_function("augment", augment)
        self.schedule = inputs.checked_function("schedule", schedule)
        self.weight_decay = checks.number("Solver", "weight_decay", weight_decay, low=0)
        self.clip_norm = None if clip_norm is None else inputs.positive("clip_norm", clip_norm)
        self.checkpoint_every = inputs.count_or_none("checkpoint_every", checkpoint_every)
        self.on_divergence = checks.choice("Solver", "on_divergence", on_divergence, _DIVERGENCE)
        self._callbacks = Callbacks(callbacks, self._tell)
        self.groups = parameter_groups.checked({} if groups is None else groups, model.params)
        self._groups = parameter_groups.of_parameters(self.groups, model.params)
        self.average, config = average, {} if average_config is None else average_config
        self.average_config = dict(checks.mapping("Solver", "average_config", config))
        self._averaging = averages.Averaging.checked(average, self.average_config)
        self.keep = checks.choice("Solver", "keep", keep, ("best", "last"))
        self.draw_ahead = checks.flag("Solver", "draw_ahead", draw_ahead)
        if draw_ahead and not minibatch.can_be_ahead(self.augment):
            raise ValueError(
                f"Solver: draw_ahead is for an augmentation of FlipAndShift; found {self.augment!r}"
            )
        self._check_rate()
        self.sync_statistics = checks.flag("Solver", "sync_statistics", sync_statistics)
        self._join(communicator)
        self._reset()

    def _take_data(self, data: Mapping[str, Any]) -> None:
        """Take the samples, and let the model know what it will need of them to predict."""
        self.X_train, self.y_train, self.X_val, self.y_val = inputs.checked_data(data)
        classes = getattr(self.model, "num_classes", None)
        if classes is not None:
            inputs.check_labels(y_train=self.y_train, y_val=self.y_val, classes=classes)
        if isinstance(data, Dataset) and hasattr(self.model, "remember"):
            # Changed images, or some of the classes, are trained on as well: `predict` then says
            # that the network does not know its inputs.
            with suppress(ValueError):
                self.model.remember(data)

    def _join(self, communicator: Any) -> None:
        """Be one of several ranks, of which the first one alone prints, writes and is watched."""
        self._ranks = None if communicator is None else Ranks.of(communicator)
        self._sharing: Ranks | None = None  # during `train`, if there are several
        self._is_watched = False  # whether the first of them has callbacks
        if self._ranks is not None and not self._ranks.is_first:
            self.verbose, self.progress, self.checkpoint_name = False, False, None
            self._callbacks = Callbacks((), self._tell)

    def _check_rate(self) -> None:
        """See to it that there is a learning rate where other arguments multiply it."""
        if self.schedule is not None:
            inputs.schedule_factor(self.schedule, 0.0)  # a wrong one fails here
        elif not self.weight_decay and not self.groups:
            return
        if isinstance(self._rule, str):
            self.optim_config.setdefault(
                "learning_rate", optim.DEFAULTS[self._rule]["learning_rate"]
            )
        if "learning_rate" not in self.optim_config:
            raise ValueError(
                f"Solver: optim_config has {sorted(self.optim_config)}; expected 'learning_rate',"
                f" which schedule, weight_decay and groups multiply"
            )

    def _reset(self) -> None:
        """Start the books: histories, best parameters and the state of the update rule."""
        configs = {name: copy.deepcopy(self.optim_config) for name in self.model.params}
        for name, group in self._groups.items():
            if group.rate != 1:
                rate = checks.number("Solver", "learning_rate", configs[name]["learning_rate"])
                configs[name]["learning_rate"] = rate * group.rate
        self.state = RunState(configs)
        self._owned: dict[str, np.ndarray] = {}
        self._fingerprints: dict[str, str] = {}  # of the data, for checkpoints
        self._resumed = False
        self._signals = Signals()
        self._drawn_from: generators.Sources | None = None  # as found when training started
        self._warned: set[str] = set()  # of what the user was told already
        self._classes = 0  # for which the model last gave scores
        self._scored_loss = math.nan  # of these scores
        self._saved: tuple[int, ...] = ()  # the moment of the last checkpoint
        self._at_interrupt = (0, math.nan)  # iterations, and the validation accuracy after these
        self._clock = 0.0  # when the seconds were last added up
        self._told_lost = False
        self._bar: Any = None
        self._ahead: minibatch.Ahead | None = None  # during `train`
        self._lock: Lock | None = None  # on the name of the checkpoint, during `train`
        self._trouble = ""  # what was last said about checkpoints that cannot be written
        self.on_check: Callable[[Solver], object] | None = None

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
            (a file holds none, so they must be given again), `callbacks`, which get the state that
            those of their class had, and `rng`, whose state is set.

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
        ranks = changes.get("communicator")
        if ranks is None:
            tree = checkpoint.load(path)
        else:
            changes["communicator"] = ranks = Ranks.of(ranks)
            tree = ranks.from_first(lambda: checkpoint.load(path))
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
        if self._ranks is None or self._ranks.is_first:
            self._callbacks.set_states(tree.get("callbacks", []))
        generators.set_states(sources, tree["generators"])
        self.state, self._resumed = state, True
        if self.num_epochs > tree["configuration"]["arguments"].get("num_epochs", 0):
            self.state.stop = ""  # more is wanted than the run that was stopped was to make
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
            "callbacks": self._callbacks.states(),
        }

    def _configuration(self, sources: generators.Sources) -> dict[str, Any]:
        """Return what the run is made of: network, data, arguments, generators."""
        if not self._fingerprints:
            self._fingerprints = {
                name: arguments.fingerprint(getattr(self, name)) for name in SPLITS
            }
        given = {name: getattr(self, name) for name in arguments.NAMES}
        kinds = generators.kinds(sources)
        found = arguments.configuration(self.model, self._fingerprints, given, kinds)
        if isinstance(self.update_rule, str) and callable(self._rule):
            found["rule"] = arguments.name_of(self._rule)
        return found

    def __repr__(self) -> str:
        """Say what is trained on what, and how far it has come."""
        rule = self._rule if isinstance(self._rule, str) else arguments.name_of(self._rule)
        best = f", best val_acc {self.best_val_acc:.4f}" if self.val_acc_history else ""
        data = f"{len(self.X_train)} samples {self.X_train.shape[1:]}"
        return (
            f"Solver({type(self.model).__name__} on {data},"
            f" {rule}, batch size {self.batch_size}, epoch {self.epoch} of {self.num_epochs},"
            f" {len(self.loss_history)} iterations{best})"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs, NumPy's global generator as it is now included."""
        left_out = {"_signals", *_OF_PROCESS}
        kept = {name: value for name, value in vars(self).items() if name not in left_out}
        return {**kept, "global draws": (_process(), np.random.get_state(legacy=False))}

    def __setstate__(self, kept: dict[str, Any]) -> None:
        """Become a copy, which in another process draws what the first one would have drawn."""
        kept = dict(kept)
        process, draws = kept.pop("global draws")
        fresh = dict.fromkeys(_OF_PROCESS)
        vars(self).update(kept, _signals=Signals(), **fresh)
        if process != _process():
            np.random.set_state(draws)

    def _sources(self) -> generators.Sources:
        """Return all that the run draws at random from."""
        given = {"augment": self.augment, "schedule": self.schedule, "update_rule": self._rule}
        functions = {name: value for name, value in given.items() if callable(value)}
        return generators.find(self._rng, functions, self.model)

    @property
    def train_seconds(self) -> float:
        """Time spent in `train`, in seconds, also before the run was resumed."""
        return self.state.seconds

    @property
    def stopped(self) -> str:
        """Why training was stopped by `stop`, '' if it was not."""
        return self.state.stop

    @property
    def callbacks(self) -> tuple[Any, ...]:
        """What is called while training goes on."""
        return tuple(self._callbacks.given)

    @property
    def last_val_acc(self) -> float:
        """Validation accuracy of the parameters as the last step left them, nan if not measured.

        After an interruption, too; the histories hold only what is measured without one.
        """
        done = len(self.loss_history)
        if self.accuracy_iterations[-1:] == [done]:
            return self.val_acc_history[-1]
        iteration, val_acc = self._at_interrupt
        return val_acc if iteration == done else math.nan

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
        """Train the model for `num_epochs` epochs and leave the parameters to `keep` in it.

        The printed lines go to standard output, a progress bar to standard error.

        At Ctrl-C a checkpoint of the very moment is written, if there is to be any, from which
        `resume` goes on bit for bit.  Then the validation accuracy of the parameters as they are
        is measured (a second Ctrl-C skips that), and the exception goes on.  SIGTERM does the same
        where nobody else handles it, and raises a SystemExit with the status of that signal.
        After these and after an error the model has the best parameters so far, or the last ones.

        Raises
        ------
        DivergedError
            If the loss becomes NaN or infinite and `on_divergence` is 'raise'.
        LockedError
            If another process writes checkpoints of the same name.
        """
        self._warn_of_seed()
        name = self.checkpoint_name
        with self._signals, nullcontext() if name is None else checkpoint.alone(name) as self._lock:
            self._clock = time.perf_counter()
            try:
                self._take_over()
                with workspace.kept(), self._over_ranks():
                    self._train()
            finally:
                self._lock = None
                self._add_seconds()

    @contextmanager
    def _over_ranks(self) -> Iterator[None]:
        """Train on all ranks together: those that differ are refused, an error of one ends all."""
        ranks = self._ranks
        if ranks is None or ranks.size == 1:
            yield
            return
        try:
            ranks.require_same("Solver", self._what_must_agree())
            threads.share_processors(*ranks.neighbours())
            self._is_watched = ranks.from_first(lambda: bool(self._callbacks.given))
            self._sharing = ranks
            yield
        except DivergedError:  # on all of them at once
            raise
        except BaseException as error:
            ranks.fail(error)
            raise
        finally:
            self._sharing = None

    def _what_must_agree(self) -> dict[str, Any]:
        """Return what must be the same on all ranks, as texts by name."""
        sources = self._sources()
        arrays = {f"data {name}": getattr(self, name) for name in SPLITS}
        params = self.model.params
        return {
            **self._versions(),
            **arguments.flat(arguments.shared(self._configuration(sources))),
            **{name: arguments.whole_fingerprint(array) for name, array in arrays.items()},
            **{f"parameters {name}": arguments.whole_fingerprint(w) for name, w in params.items()},
            **arguments.flat({"random draws": generators.states(sources)}),
            "iterations": len(self.loss_history),
        }

    def _versions(self) -> dict[str, str]:
        """Return the versions of what computes."""
        return {"cs231n": __version__, "numpy": np.__version__, "python": sys.version.split()[0]}

    def _take_over(self) -> None:
        """Keep aside what other runs have left under the name of the checkpoint."""
        if self._lock is None:
            return
        try:
            with self._signals.held:
                checkpoint.take_over(str(self.checkpoint_name), self.state.run)
        except (OSError, MemoryError) as error:
            self._complain(f"{error}" or type(error).__name__)

    def _add_seconds(self) -> None:
        """Add the time since this was last done to that of the run."""
        now = time.perf_counter()
        self.state.seconds += now - self._clock
        self._clock = now

    def _train(self) -> None:
        """Train, and put the parameters to keep into the model whatever happens."""
        if not self._resumed:
            self.state.iteration, self.state.pending = 0, []
            self.state.called, self.state.stop = 0, ""
            self.state.order = self.state.order[:0]  # an interrupted epoch is not continued
            self.state.average, self.state.average_bn_params = {}, []
        self._resumed = False
        self._drawn_from = self._sources()
        self._warned.discard("divergence")
        try:
            with self._alone():
                self._callbacks.begin(self)
            if self.draw_ahead and self._sharing is None:
                self._ahead = minibatch.Ahead()
            self._loop()
        except DivergedError as error:
            if self.on_divergence != "stop":
                raise
            self._warn("divergence", str(error), RuntimeWarning)
        except BaseException as error:
            if not isinstance(error, Exception):  # Ctrl-C, SIGTERM, or what the user's handler says
                self._keep_moment()
            raise
        finally:
            with self._signals.held:
                if self._ahead is not None:
                    self._ahead.close()
                    self._ahead = None
                self._put_kept()
            self._add_seconds()
            with self._alone():
                self._callbacks.end(self)

    def _loop(self) -> None:
        """Make the iterations; what an interrupted run has left of its last one comes first."""
        if self.state.pending:
            self._end_iteration()
        for t in self._iterations():
            if self._is_stopped():
                break
            self._step()
            if self.print_every > 0 and t % self.print_every == 0:
                self._print(
                    f"(Iteration {t + 1} / {self._num_iterations}) loss: {self.loss_history[-1]:f}"
                )
            self._end_iteration()
        if self.state.stop and self.loss_history:
            self._end_early()

    def _is_stopped(self) -> bool:
        """Tell whether training is to end here; of several ranks the first one decides."""
        if self._sharing is not None and self._is_watched:
            self.state.stop = self._sharing.from_first(lambda: self.state.stop)
        return bool(self.state.stop)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let callbacks measure what they want without other ranks, which do not call them."""
        sharing, self._sharing = self._sharing, None
        try:
            yield
        finally:
            self._sharing = sharing

    def stop(self, reason: str = "stop was called") -> None:
        """End the training after the step that is under way; callbacks may call this.

        What is due after the step is done first, a checkpoint is written, and the model gets the
        parameters to keep, as at the end of a whole training.

        Parameters
        ----------
        reason : str
            Printed, and kept in `stopped`.
        """
        self.state.stop = str(reason) or "stop was called"

    def _end_early(self) -> None:
        """Keep what a training that was stopped has come to."""
        self._print(f"Stopped after iteration {len(self.loss_history)}: {self.state.stop}")
        if self.checkpoint_name is not None and self._saved != self._now():
            self._save_checkpoint()
        if self.accuracy_iterations[-1:] != [len(self.loss_history)]:
            self._measure_now("stopped")

    @contextmanager
    def undisturbed(self) -> Iterator[None]:
        """Let what is measured in the block leave draws and running statistics as they were.

        Yields
        ------
        None
        """
        before = self._moment()
        try:
            yield
        finally:
            with self._signals.held:
                self._take_back(before)

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Let what is measured in the block be no part of the run, its time included.

        The model has the parameters that are tested, averages where there are any; draws, running
        statistics and `train_seconds` stay as they were.

        Yields
        ------
        None
        """
        self._add_seconds()
        try:
            with self.undisturbed(), self._averaged():
                yield
        finally:
            self._clock = time.perf_counter()

    @contextmanager
    def uninterrupted(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM wait in the block, which should be short, for callbacks.

        Yields
        ------
        None
        """
        with self._signals.held:
            yield

    def _call_back(self, task: str) -> None:
        """Call the callbacks that were not called yet, and count the task as done."""
        if task not in self.state.pending:
            return
        self._add_seconds()
        hook = {"step end": "on_step_end", "epoch end": "on_epoch_end"}[task]
        for index in range(self.state.called, len(self._callbacks.given)):
            with self._alone():
                self._callbacks.call(index, hook, self, count=True)
        with self._signals.held:
            self._done(task)

    def count_callback(self, index: int) -> None:
        """Count the callback of this index as called, for `cs231n.training.callback`.

        Parameters
        ----------
        index : int
        """
        with self._signals.held:
            self.state.called = index + 1

    def _done(self, task: str) -> None:
        """Take a task off those that are pending."""
        self.state.pending = [one for one in self.state.pending if one != task]
        self.state.called = 0

    def _end_iteration(self) -> None:
        """Do what is due after an update: count the epoch, check, and write a checkpoint."""
        if "epoch" in self.state.pending:
            with self._signals.held:
                self._end_epoch()
                self._done("epoch")
        is_check = "check" in self.state.pending
        if is_check:
            self._check()
        self._call_back("step end")
        self._call_back("epoch end")
        if self._checkpoint_is_due():
            self._save_checkpoint()
        if is_check and self.on_check is not None:
            self.on_check(self)

    def _keep_moment(self) -> None:
        """Write a checkpoint of this moment, and see whether its parameters are the best."""
        if not self.loss_history:
            return
        try:
            if self.checkpoint_name is not None and self._saved != self._now():
                self._save_checkpoint()
            is_known = self.accuracy_iterations[-1:] == [len(self.loss_history)]
            if not is_known and self._sharing is None:  # the other ranks may be gone
                self._measure_now()
        except KeyboardInterrupt:
            return  # the second one: nothing more is measured
        except Exception as error:
            self._tell(f"Solver: the accuracy at the interrupt cannot be measured ({error})")

    def _averaged(self) -> AbstractContextManager[None]:
        """Let the model have the averages in the block, where there are any."""
        return averages.swapped(self.model, self.state, self._signals.held)

    def _measure_now(self, what: str = "interrupted") -> None:
        """Measure the validation accuracy between two checks; nothing but the best may change."""
        before, best = self._moment(), self.best_val_acc
        try:
            with self._averaged():
                val_acc = self.check_accuracy(self.X_val, self.y_val, self.num_val_samples)
        finally:
            with self._signals.held:
                self._take_back(before)
        with self._signals.held:
            self._keep_if_best(val_acc)
        self._at_interrupt = len(self.loss_history), val_acc
        if self.verbose:
            self._tell(
                f"Solver: {what} after iteration {len(self.loss_history)} with val_acc"
                f" {val_acc:f}; the best before was {best:f}"
            )

    def _now(self) -> tuple[int, ...]:
        """Return what tells a moment of the run from others."""
        state = self.state
        return len(self.loss_history), state.iteration, len(state.pending), state.called

    def _moment(self) -> _Moment:
        """Return what a step or a check changes before it is done."""
        if self._drawn_from is None:
            self._drawn_from = self._sources()
        statistics = [_copied(param) for param in getattr(self.model, "bn_params", [])]
        return _Moment(generators.states(self._drawn_from), self.state.order, statistics)

    def _take_back(self, moment: _Moment) -> None:
        """Let draws, order and running statistics be what they were."""
        if self._drawn_from is not None:
            generators.put_back(self._drawn_from, moment.draws)
        self.state.order = moment.order
        _put_statistics(self.model, moment.statistics)

    @property
    def _num_iterations(self) -> int:
        """Number of iterations of a call of `train`."""
        return self.num_epochs * self.iterations_per_epoch

    def _iterations(self) -> Iterator[int]:
        """Count the iterations, drawing a progress bar where one is wanted."""
        first, last = self.state.iteration, self._num_iterations
        wanted = self.progress
        if wanted is None:
            wanted = self.verbose and progress_bar.is_useful()
        if not wanted:
            yield from range(first, last)
            return
        with progress_bar.new(total=last, initial=first, unit="it") as self._bar:
            try:
                for t in range(first, last):
                    yield t
                    self._bar.set_postfix(**self._told_by_bar(), refresh=False)
                    self._bar.update()
            finally:
                self._bar = None

    def _told_by_bar(self) -> dict[str, Any]:
        """Return what stands behind the progress bar."""
        told = {"epoch": self.epoch, "loss": self.loss_history[-1]}
        if self.val_acc_history:
            told.update(val_loss=self.val_loss_history[-1], val_acc=self.val_acc_history[-1])
        return told

    def print_line(self, line: str) -> None:
        """Print a line to standard output, clear of the progress bar, for callbacks.

        Parameters
        ----------
        line : str
        """
        self._write(line, sys.stdout)

    def _print(self, line: str) -> None:
        """Print a line of the log."""
        if self.verbose:
            self._write(line, sys.stdout)

    def _tell(self, line: str) -> None:
        """Print a line to standard error, clear of the progress bar."""
        self._write(line, sys.stderr)

    def _write(self, line: str, stream: Any) -> None:
        """Print a line, clear of the progress bar."""
        if self._bar is None:
            print(line, file=stream)
        else:
            self._bar.write(line, file=stream)

    def _warn(self, subject: str, text: str, category: type[Warning] = UserWarning) -> None:
        """Warn of something, once."""
        if subject not in self._warned:
            self._warned.add(subject)
            warnings.warn(text, category, stacklevel=3)

    def _warn_of_seed(self) -> None:
        """Warn where dropout's seed, made for gradient checks, spoils the draws of training."""
        param = getattr(self.model, "dropout_param", None) or {}
        seed, keep = param.get("seed"), param.get("p", 1)
        if seed is None or keep == 1 or param.get("rng") is not None:
            return
        harm = (
            "every step drops the same units"
            if self._own_rng is not None
            else "the Solver, which draws from it too, sees a few minibatches again and again"
        )
        self._warn(
            "seed",
            f"Solver: model.dropout_param has 'seed' {seed}, and by it dropout seeds NumPy's global"
            f" generator anew at each step: {harm}. A seed is for gradient checks; take it out with"
            f" del model.dropout_param['seed']. For runs that can be repeated, call"
            f" np.random.seed({seed}) once before, or give the network and the Solver"
            f" rng=np.random.default_rng({seed})",
        )

    def step(self) -> None:
        """Make one update of the parameters from one minibatch, and nothing else.

        For loops of one's own: nothing is checked, printed, counted as an epoch or kept as best.

        Raises
        ------
        DivergedError
            If the loss becomes NaN or infinite and `on_divergence` is not 'warn'.
        """
        self._step()

    def _step(self) -> None:
        """Make one update of the parameters from one minibatch, or none at all."""
        self._schedule_rate()
        before, made = self._moment(), False
        try:
            batch = self._minibatch()
            with self._spared():
                loss, grads, l2 = self._loss(*batch)
            is_finite = self._is_finite(loss)
            inputs.require_gradients(grads, self._learning())
            rate, norm = self._rate(), self._norm(grads, l2)
            if is_finite and self.clip_norm is not None:
                grads = optim.clip_gradients(grads, self.clip_norm)
            with self._signals.held:
                self.learning_rate, self.gradient_norm = rate, norm
                if is_finite:
                    self._update(grads, l2)
                else:  # what the numbers would spoil stays as it was
                    _put_statistics(self.model, before.statistics)
                self._count(float(loss))
                made = True
        except BaseException:
            if not made:
                with self._signals.held:
                    self._take_back(before)
            raise

    def _rate(self) -> float:
        """Return the learning rate of this step, nan where a rule of the user's has none."""
        default = (
            optim.DEFAULTS[self._rule]["learning_rate"] if isinstance(self._rule, str) else None
        )
        rates = [config.get("learning_rate", default) for config in self.optim_configs.values()]
        return float(rates[0]) if rates and rates[0] is not None else math.nan

    def _norm(self, grads: Mapping[str, np.ndarray], l2: Mapping[str, float]) -> float:
        """Return the norm of all gradients with their L2 terms, where a callback wants it."""
        if not self._callbacks.need_gradient_norm:
            return math.nan
        squares = (
            inputs.square_with_l2(grads[name], l2.get(name, 0.0), w)
            for name, w in self._learning().items()
        )
        return math.sqrt(max(sum(squares), 0.0))

    def _minibatch(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Draw a minibatch, or take the one that was drawn ahead; its size comes with it."""
        wanted = self._wanted(self.epoch)
        ahead = self._ahead
        found = (None if ahead is None else ahead.take(wanted)) or minibatch.drawn(wanted)
        self.state.order = found.order
        done = self.state.iteration + 1
        if ahead is not None and done < self._num_iterations:
            ahead.begin(self._wanted(self.epoch + (done % self.iterations_per_epoch == 0)))
        return found.X, found.y, found.samples

    def _wanted(self, epoch: int) -> minibatch.Wanted:
        """Return what the next minibatch is made from."""
        wanted = minibatch.Wanted(
            X=self.X_train,
            y=self.y_train,
            order=self.state.order,
            size=self.batch_size,
            replace=self.replace,
            epoch=epoch,
            augment=self.augment,
            rng=self._rng,
        )
        return wanted if self._sharing is None else wanted._replace(share=self._sharing.share)

    def _update(self, grads: Mapping[str, np.ndarray], l2: Mapping[str, float]) -> None:
        """Step all parameters; where a rule of the user's fails, none of them."""
        decays = self._decays()
        is_ours = isinstance(self._rule, str)
        configs = self.optim_configs if is_ours else copy.deepcopy(self.optim_configs)
        params = {}
        if self._averaging is not None:
            self._averaging.begin(self.state, _learning(self.model))
        for name, w in self._learning().items():
            if not is_ours or self._owned.get(name) is not w:
                w = np.array(w, order="C")
            config = configs[name]
            if decays.get(name):
                w *= 1 - config["learning_rate"] * decays[name]
            params[name] = fast_optim.update(self._rule, w, grads[name], config, l2.get(name, 0.0))
        self.model.params.update(params)
        self._owned.update(params)
        self.optim_configs = configs
        self._average()

    def _average(self) -> None:
        """Move the average of the parameters after an update, and the parameters if it wants so."""
        if self._averaging is None:
            return
        step = self.state.iteration + 1
        params = self._averaging.after_step(self.state, self.model, step, self._num_iterations)
        self.model.params.update(params)
        self._owned.update(params)

    def _decays(self) -> dict[str, float]:
        """Return the strength of weight decay of the parameters that have any."""
        found = dict.fromkeys(_weight_names(self.model), self.weight_decay)
        for name, group in self._groups.items():
            if group.weight_decay is not None:
                found[name] = group.weight_decay
        return found

    def _resting(self) -> set[str]:
        """Return the names of the parameters that stay as they are from here on."""
        progress = self._progress()
        return {name for name, group in self._groups.items() if progress >= group.until < 1}

    def _learning(self) -> dict[str, np.ndarray]:
        """Return the parameters that this iteration steps."""
        resting = self._resting()
        return {name: w for name, w in _learning(self.model).items() if name not in resting}

    @contextmanager
    def _spared(self) -> Iterator[None]:
        """Let the model compute no gradient, in the block, of parameters that rest."""
        frozen, resting = getattr(self.model, "frozen", None), self._resting()
        if not resting or frozen is None:
            yield
            return
        self.model.frozen = {*frozen, *resting}
        try:
            yield
        finally:
            self.model.frozen = frozen

    def _count(self, loss: float) -> None:
        """Count an iteration, and note what is due after it."""
        self.loss_history.append(loss)
        self.state.iteration += 1
        epoch_end = self.state.iteration % self.iterations_per_epoch == 0
        watched = bool(self._callbacks.given)
        due = {
            "epoch": epoch_end,
            "check": epoch_end or self.state.iteration == 1,
            "step end": watched,
            "epoch end": watched and epoch_end,
        }
        self.state.pending, self.state.called = [task for task in TASKS if due[task]], 0

    def _schedule_rate(self) -> None:
        """Give all parameters the learning rate that the schedule has for this iteration."""
        if self.schedule is None:
            return
        rate = self.optim_config["learning_rate"] * self.lr_decay**self.epoch
        rate *= inputs.schedule_factor(self.schedule, self._progress())
        for name, config in self.optim_configs.items():
            config["learning_rate"] = rate * self._groups[name].rate

    def _progress(self) -> float:
        """Return the part of the training that is done, in [0, 1]."""
        return min(self.state.iteration / max(self._num_iterations, 1), 1.0)

    def _loss(
        self, X: np.ndarray, y: np.ndarray, count: int
    ) -> tuple[float, dict[str, np.ndarray], dict[str, float]]:
        """Return loss and gradients, and the strengths of the L2 terms that these leave out."""
        if self._sharing is not None:
            return self._loss_of_all(self._sharing, X, y, count)
        if self.clip_norm is not None:  # the norm is that of the whole gradient
            loss, grads = self.model.loss(X, y)
            return loss, grads, {}
        if _can_leave_l2(self.model.loss):
            loss, grads = self.model.loss(X, y, l2_gradient=False)
            return loss, grads, self.model.l2_strengths()
        loss, grads = self.model.loss(X, y)
        return loss, grads, {}

    def _loss_of_all(
        self, ranks: Ranks, X: np.ndarray, y: np.ndarray, count: int
    ) -> tuple[float, dict[str, np.ndarray], dict[str, float]]:
        """Return the same for a minibatch of which this rank has its share."""
        leaves = _can_leave_l2(self.model.loss)
        settings = {"l2_gradient": False} if leaves else {}
        given = self.model, X, y, count, settings, self.sync_statistics
        loss, grads = whole_loss(ranks, *given)
        l2 = self.model.l2_strengths() if leaves else {}
        if self.clip_norm is None:
            return loss, grads, l2
        for name, strength in l2.items():  # the norm is that of the whole gradient
            grads[name] = fast_optim.add_scaled(grads[name], strength, self.model.params[name])
        return loss, grads, {}

    def _is_finite(self, loss: float) -> bool:
        """Tell whether a loss is a finite number; another one is an error or, once, a warning."""
        if math.isfinite(loss):
            return True
        rates = {config.get("learning_rate") for config in self.optim_configs.values()}
        shown = ", ".join(f"{rate:g}" for rate in rates if rate is not None) or "the rule's default"
        text = (
            f"Solver: the loss is {loss} at iteration {len(self.loss_history) + 1}"
            f" (epoch {self.epoch}, learning rate {shown}); the parameters were not updated."
            f" Try a learning rate ten times smaller, a smaller weight_scale, or look for NaN"
            f" and very large numbers in the data"
        )
        if self.on_divergence != "warn":
            raise DivergedError(text)
        self._warn("divergence", text, RuntimeWarning)
        return False

    def _end_epoch(self) -> None:
        """Count an epoch and let the learning rates decay."""
        self.epoch += 1
        for config in self.optim_configs.values():
            if "learning_rate" in config:
                config["learning_rate"] *= self.lr_decay

    def _check(self) -> None:
        """Measure the accuracies, write them down and keep the parameters if they are the best."""
        if self._sharing is not None and not self.sync_statistics:
            kept = getattr(self.model, "bn_params", [])
            _put_statistics(self.model, self._sharing.from_first(lambda: kept))
            averaged = self.state.average_bn_params
            self.state.average_bn_params = self._sharing.from_first(lambda: averaged)
        before, made = self._moment(), False
        try:
            with self._averaged():
                train_acc = self.check_accuracy(self.X_train, self.y_train, self.num_train_samples)
                val_acc = self.check_accuracy(self.X_val, self.y_val, self.num_val_samples)
            val_loss = self._scored_loss
            # Of a model that says so only by its scores; a rank without a share has seen none.
            if self.y_val.dtype.kind in "iu" and self._classes:
                inputs.check_labels(y_val=self.y_val, classes=self._classes)
            with self._signals.held:
                self._write_down(train_acc, val_acc, val_loss)
                made = True
        except BaseException:
            if not made:
                with self._signals.held:
                    self._take_back(before)
            raise

    def _write_down(self, train_acc: float, val_acc: float, val_loss: float) -> None:
        """Write measured accuracies down, and print them."""
        self.train_acc_history.append(train_acc)
        self.val_acc_history.append(val_acc)
        self.val_loss_history.append(val_loss)
        self.accuracy_iterations.append(len(self.loss_history))
        self._keep_if_best(val_acc)
        self._done("check")
        self._print(
            f"(Epoch {self.epoch} / {self.num_epochs})"
            f" train acc: {train_acc:f}; val_acc: {val_acc:f}"
        )

    def _keep_if_best(self, val_acc: float) -> None:
        """Keep copies of the parameters if they are the best, and finite."""
        if not val_acc > self.best_val_acc:
            return
        tested = {**self.model.params, **self.state.average}
        params = {name: np.array(w) for name, w in tested.items()}
        if all(np.isfinite(w).all() for w in params.values()):
            self.best_val_acc, self.best_params = val_acc, params
            with self._averaged():
                statistics = copy.deepcopy(getattr(self.model, "bn_params", []))
            self.state.best_bn_params = statistics

    def _put_kept(self) -> None:
        """Put copies of the parameters to be kept, and their running statistics, into the model."""
        if self.keep == "last":
            averages.put(self.model, self.state)
            return
        if not self.best_params:
            return
        self.model.params = {name: w.copy() for name, w in self.best_params.items()}
        for param, best in zip(getattr(self.model, "bn_params", []), self.state.best_bn_params):
            param.update(copy.deepcopy(best))

    def _checkpoint_is_due(self) -> bool:
        """Tell whether a checkpoint is to be written now.

        The first and the last iteration always have one: the first shows early whether it works.
        """
        if self.checkpoint_name is None:
            return False
        iteration, every = self.state.iteration, self.checkpoint_every
        if iteration in (1, self._num_iterations):
            return True
        return iteration % (self.iterations_per_epoch if every is None else every) == 0

    def _save_checkpoint(self) -> None:
        """Write a checkpoint, or say that it cannot be done: training goes on all the same."""
        self._add_seconds()
        try:
            with self._signals.held:
                if self._lock is not None:
                    self._lock.require()
                path = checkpoint.save(str(self.checkpoint_name), self._tree())
                self._saved = self._now()
        except LostFolderError as error:
            self._complain(f"{error}", "the results stay in memory")
            return
        except (OSError, MemoryError) as error:
            self._complain(f"{error}" or type(error).__name__)
            return
        self._trouble = ""
        self._tell_lost(self._sources().lost)
        self._print(f"Saving checkpoint to {path}")

    def _tell_lost(self, lost: list[str]) -> None:
        """Say once on standard error which random draws no checkpoint can keep."""
        if lost and not self._told_lost:
            self._tell(
                f"Solver: {'; '.join(lost)}: no checkpoint can keep that, and a run that is resumed"
                f" will draw other numbers there (a numpy.random.Generator would go on)"
            )
        self._told_lost = True

    def _complain(self, trouble: str, rest: str = "the last good one stays") -> None:
        """Say once on standard error why no checkpoint can be written."""
        if trouble != self._trouble:
            self._tell(
                f"Solver: the checkpoint {self.checkpoint_name} cannot be written ({trouble});"
                f" training goes on without it, and {rest}"
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
        inputs.check_labelled(where, X=X, y=y)
        batch_size = checks.integer(where, "batch_size", batch_size, least=1)
        if num_samples is not None:
            num_samples = checks.integer(where, "num_samples", num_samples, least=1)
            if num_samples < len(X):
                drawn = self._rng.choice(len(X), num_samples)
                X, y = X[drawn], y[drawn]
        count, ranks = len(X), self._sharing
        if ranks is None:
            return self._right(X, y, batch_size) / count
        share = ranks.share(count)
        X, y = X[share], y[share]
        right = self._right(X, y, batch_size) if len(X) else 0
        mine = [right, self._scored_loss * len(X) if len(X) else 0.0]
        total, loss = ranks.gather(np.array(mine)).sum(axis=0)
        self._scored_loss = float(loss) / count
        return float(total) / count

    def _right(self, X: np.ndarray, y: np.ndarray, batch_size: int) -> int:
        """Return how many samples are scored right."""
        starts = range(0, len(X), batch_size)
        scores = [self.model.loss(X[start : start + batch_size]) for start in starts]
        self._classes = scores[0].shape[1]
        self._scored_loss = inputs.cross_entropy(scores, y)
        predicted = np.concatenate([_predicted(batch) for batch in scores])
        return int(np.sum(predicted == y))


def _learning(model: Any) -> dict[str, np.ndarray]:
    """Return the parameters that are to be stepped: all that the model does not call frozen."""
    frozen = getattr(model, "frozen", ())
    return {name: w for name, w in model.params.items() if name not in frozen}


def _process() -> tuple[str, int]:
    """Return what tells this process from others, also from those that it forks."""
    return _PROCESS, os.getpid()


def _copied(param: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a dict, and of the arrays in it."""
    return {key: x.copy() if isinstance(x, np.ndarray) else x for key, x in param.items()}


def _put_statistics(model: Any, stored: list[dict[str, Any]]) -> None:
    """Replace the running statistics of a model, in the dicts that its layers hold."""
    for param, found in zip(getattr(model, "bn_params", []), stored):
        param.clear()
        param.update(_copied(found))


def _refuse_unknown(unknown: Mapping[str, Any]) -> None:
    """Raise a TypeError that names unknown arguments and the known ones that look like them."""
    if not unknown:
        return
    known = [name for name in inspect.signature(Solver).parameters if name != "unknown"]
    raise TypeError(
        f"Solver: unrecognized arguments {checks.hints(unknown, known)}; expected some of"
        f" {', '.join(known)}"
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
