"""Ctrl-C and SIGTERM: nothing that was learnt is lost, and the run goes on bit for bit."""

import functools
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from children import environment
from runs import images, network, outcome

from cs231n.augment import FlipAndShift
from cs231n.solver import Solver
from cs231n.training import checkpoint
from cs231n.training.signals import Signals, Terminated

SETTINGS = {"batch_size": 8, "num_epochs": 3, "num_train_samples": 30, "num_val_samples": 15}


def arguments(**given):
    """Return the arguments of a run that draws at random wherever it can."""
    rest = {"augment": FlipAndShift(pad=1), "lr_decay": 0.9, "replace": False, "verbose": False}
    return {**SETTINGS, **rest, **given}


def end(solver):
    """Return the outcome of a run, and the last parameters and statistics, not only the best."""
    found = outcome(solver)
    last = checkpoint.load(solver.checkpoint_name)
    for index, param in enumerate((last["params"], *last["bn_params"])):
        arrays = {name: value for name, value in param.items() if isinstance(value, np.ndarray)}
        found |= {f"last {index} {name}": value.tolist() for name, value in arrays.items()}
    return found


def whole(folder, **given):
    """Return the end of a run that nothing interrupts."""
    np.random.seed(7)
    given = arguments(checkpoint_name=folder / "whole", **given)
    solver = Solver(network(), images(), **given)
    solver.train()
    return end(solver)


def gone_on(path, **given):
    """Return the outcome of what goes on from a checkpoint."""
    np.random.seed(99)
    solver = Solver.resume(path, network(), images(), augment=FlipAndShift(pad=1), **given)
    solver.train()
    return end(solver)


class Tripwire:
    """Raises a KeyboardInterrupt when so many lines of the package have been run."""

    def __init__(self, lines):
        self.left = lines
        self.place = None

    def __call__(self, frame, event, argument):
        """Trace the functions of the Solver and what they call in the package."""
        if f"{os.sep}cs231n{os.sep}" not in frame.f_code.co_filename:
            return None
        if event == "line" and self.left >= 0:
            self.left -= 1
            if self.left < 0:
                self.place = frame.f_code.co_qualname
                signal.raise_signal(signal.SIGINT)
        return self


TRACED = {"all": {}, "momentum": {"update_rule": "sgd_momentum", "weight_decay": 0.01}}


@pytest.mark.parametrize("given", TRACED.values(), ids=TRACED)
def test_an_interrupt_at_any_line_goes_on_bit_for_bit(given, tmp_path):
    expected = whole(tmp_path, **given)
    rng, places = np.random.default_rng(1), set()
    for number, lines in enumerate(rng.integers(200, 12_000, size=30)):
        path = tmp_path / str(number)
        np.random.seed(7)
        solver = Solver(network(), images(), checkpoint_name=path, **arguments(**given))
        wire = Tripwire(lines)
        sys.settrace(wire)
        try:
            with pytest.raises(KeyboardInterrupt):
                solver.train()
        finally:
            sys.settrace(None)
        places.add(wire.place)
        assert outcome(solver)["best_val_acc"] == solver.best_val_acc
        if solver.loss_history:
            assert gone_on(path) == expected, f"interrupted in {wire.place} after {lines} lines"
    assert len(places) > 4  # most lines are spent in looking for generators


def failing_rule(after):
    """Return an update rule that is interrupted in the midst of a step, once."""
    left = [after]

    def rule(w, dw, config=None):
        config["calls"] = config.get("calls", 0) + 1
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        return w - 0.05 * dw / config["calls"], config

    return rule


@pytest.mark.long
def test_a_rule_of_ones_own_that_is_interrupted_has_stepped_no_parameter(tmp_path):
    rule = failing_rule(-1)
    expected = whole(tmp_path, update_rule=rule)
    given = arguments(checkpoint_name=tmp_path / "run")
    for after in (1, 47, 50, 58, 111):
        np.random.seed(7)
        rule.__closure__[0].cell_contents[0] = after
        solver = Solver(network(), images(), rule, **given)
        with pytest.raises(KeyboardInterrupt):
            solver.train()
        if solver.loss_history:
            assert gone_on(tmp_path / "run", update_rule=rule) == expected


@pytest.mark.sampled(7)
@pytest.mark.parametrize("interrupted_in", ["step", "check", "augment"])
@pytest.mark.parametrize("step", [1, 2, 5, 7, 8, 14, 18])
def test_an_interrupt_that_a_function_raises_goes_on_bit_for_bit(step, interrupted_in, tmp_path):
    expected = whole(tmp_path)
    np.random.seed(7)
    model, calls = network(), []
    loss = model.loss

    @functools.wraps(loss)
    def interrupted(X, y=None, **options):
        calls.append(y is not None)
        result = loss(X, y, **options)
        if sum(calls) == step and calls[-1] == (interrupted_in == "step"):
            calls.append(True)
            raise KeyboardInterrupt
        return result

    model.loss = interrupted
    path = tmp_path / "run"
    solver = Solver(model, images(), checkpoint_name=path, **arguments())
    try:
        solver.train()
    except KeyboardInterrupt:
        if solver.loss_history:
            assert checkpoint.load(path)["loss_history"].size == len(solver.loss_history)
    if solver.loss_history:
        assert gone_on(path) == expected


class Known:
    """A model that knows more and more of the validation samples, one with each update."""

    def __init__(self, interrupts=()):
        self.params = {"w": np.zeros(1)}
        self.calls, self.interrupts = 0, interrupts

    def loss(self, X, y=None):
        """Return scores by the parameter, or a gradient of -1."""
        self.calls += 1
        if (y is None, self.calls) in self.interrupts:
            raise KeyboardInterrupt
        if y is not None:
            return 1.0, {"w": np.array([-1.0])}
        known = np.arange(len(X)) < self.params["w"][0]
        return np.stack([~known, known], axis=1).astype(float)


def knowing(interrupts, **given):
    """Return a Solver of such a model; at its fifth step 4 of 10 are known, checked were 1."""
    data = {"X_train": np.zeros((20, 1)), "y_train": np.ones(20, int)}
    data |= {"X_val": np.zeros((10, 1)), "y_val": np.ones(10, int)}
    config = {"optim_config": {"learning_rate": 1.0}, "batch_size": 2, "num_epochs": 2}
    return Solver(Known(interrupts), data, **{**config, "verbose": False, **given})


def test_the_better_of_the_last_and_the_best_parameters_stays(tmp_path):
    solver = knowing([(False, 7)], checkpoint_name=tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        solver.train()
    assert solver.val_acc_history == [0.1]  # as long as they were
    assert solver.best_val_acc == 0.4
    assert solver.model.params["w"] == solver.best_params["w"] == [4]
    tree = checkpoint.load(tmp_path / "run")
    assert (len(tree["loss_history"]), tree["params"]["w"], tree["best_val_acc"]) == (4, [4], 0.1)


def test_a_second_interrupt_skips_the_measurement(tmp_path):
    solver = knowing([(False, 7), (True, 8)], checkpoint_name=tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        solver.train()
    assert solver.best_val_acc == 0.1
    assert solver.model.params["w"] == [1]
    assert checkpoint.load(tmp_path / "run")["params"]["w"] == [4]


def test_the_interrupt_tells_what_was_measured(capsys):
    solver = knowing([(False, 7)], verbose=True)
    assert np.isnan(solver.last_val_acc)
    with pytest.raises(KeyboardInterrupt):
        solver.train()
    assert solver.last_val_acc == 0.4
    assert 0.4 not in solver.val_acc_history
    told = capsys.readouterr()
    assert "interrupted after iteration 4 with val_acc 0.400000; the best before" in told.err
    assert "0.400000" not in told.out


def test_an_error_is_no_interrupt_and_measures_nothing():
    solver = knowing([])
    solver.model.loss = lambda X, y=None: 1 / 0
    with pytest.raises(ZeroDivisionError):
        solver.train()
    assert solver.loss_history == []


def test_handlers_are_what_they_were_afterwards():
    seen = []

    def mine(number, frame):
        seen.append(number)

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    knowing([]).train()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    signal.signal(signal.SIGTERM, mine)
    try:
        solver = knowing([])
        loss = solver.model.loss

        def terminating(X, y=None):
            if y is not None and len(solver.loss_history) == 3 and not seen:
                signal.raise_signal(signal.SIGTERM)
            return loss(X, y)

        solver.model.loss = terminating
        solver.train()
        assert len(solver.loss_history) == 20
        assert seen == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before[1])


def test_signals_wait_while_they_are_held():
    signals, done = Signals(), []

    def interrupted():
        with signals, signals.held:
            signal.raise_signal(signal.SIGINT)
            with signals.held:
                done.append(1)
            done.append(2)
        done.append(3)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done == [1, 2]


def test_a_run_in_another_thread_leaves_signals_alone():
    ended = []
    thread = threading.Thread(target=lambda: ended.append(knowing([]).train()))
    before = signal.getsignal(signal.SIGTERM)
    thread.start()
    thread.join()
    assert ended == [None]
    assert signal.getsignal(signal.SIGTERM) == before


TERMINATED = """
import sys
import numpy as np
from children import environment
from runs import images, network
from cs231n.augment import FlipAndShift
from cs231n.solver import Solver
from test_interrupt import arguments

np.random.seed(7)
settings = arguments(num_epochs=4000, checkpoint_name=sys.argv[1], verbose=True, print_every=5)
solver = Solver(network(), images(), **settings)
try:
    solver.train()
finally:
    print("cleaned up", len(solver.loss_history), flush=True)
"""


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_a_terminated_process_leaves_a_checkpoint_and_ends_with_the_usual_status(tmp_path):
    words = [sys.executable, "-u", "-c", TERMINATED, str(tmp_path / "run")]
    with subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith("(Iteration 46 "):
                break
        time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        rest = process.stdout.read()
    assert process.returncode == -signal.SIGTERM
    steps = int(rest.rsplit("cleaned up", 1)[1])
    assert len(checkpoint.load(tmp_path / "run")["loss_history"]) == steps
    epochs = steps // 7 + 1
    assert gone_on(tmp_path / "run", num_epochs=epochs) == whole(tmp_path, num_epochs=epochs)


def test_the_exception_of_termination_is_an_exit_with_its_status():
    assert issubclass(Terminated, SystemExit)
    assert Terminated(128 + signal.SIGTERM).code == 143
