"""Callbacks: when they are called, what they write, and that they harm no run."""

import copy
import csv
import itertools
import os
import pickle
import signal
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from runs import images, network, outcome
from test_interrupt import Tripwire, arguments, end

from cs231n.augment import FlipAndShift
from cs231n.callbacks import (
    Callback,
    CSVLog,
    EarlyStopping,
    LiveCurves,
    TensorBoard,
    UpdateRatios,
)
from cs231n.solver import Solver
from cs231n.training import checkpoint, progress_bar

PER_EPOCH = 7  # iterations of 50 samples in minibatches of 8


def solver(*callbacks, seed=7, **given):
    """Return a Solver that draws at random wherever it can, with these callbacks."""
    np.random.seed(seed)
    return Solver(network(), images(), **arguments(**given), callbacks=callbacks)


def resumed(path, *callbacks, **given):
    """Return the Solver that goes on from a checkpoint with these callbacks."""
    np.random.seed(99)
    given = {"augment": FlipAndShift(pad=1), **given}
    return Solver.resume(path, network(), images(), callbacks=callbacks, **given)


class Recorder(Callback):
    """Writes down what it is called for, and counts steps in a state."""

    def __init__(self):
        self.calls, self.steps = [], 0

    def on_train_begin(self, solver):
        """Record."""
        self.calls.append(("begin", len(solver.loss_history)))

    def on_step_end(self, solver):
        """Record and count."""
        self.steps += 1
        self.calls.append(("step", len(solver.loss_history), solver.accuracy_iterations[-1]))

    def on_epoch_end(self, solver):
        """Record."""
        self.calls.append(("epoch", solver.epoch, len(solver.val_loss_history)))

    def on_train_end(self, solver):
        """Record that the best parameters are in the model."""
        best = solver.model.params["W1"], solver.best_params.get("W1")
        self.calls.append(("end", np.array_equal(*best)))

    def state_dict(self):
        """Return the count."""
        return {"steps": self.steps}

    def load_state_dict(self, state):
        """Take the count."""
        self.steps = state["steps"]


class AtStep:
    """Does something at the end of a step, once."""

    def __init__(self, step, action):
        self.step, self.action = step, action

    def on_step_end(self, solver):
        """Act, if it is the step."""
        if len(solver.loss_history) == self.step:
            self.action(solver)


def interrupt(solver):
    """Press Ctrl-C."""
    signal.raise_signal(signal.SIGINT)


def fail(solver):
    """Raise an error."""
    raise LookupError("no such thing")


def test_callbacks_are_called_in_order_with_what_was_measured():
    watch = Recorder()
    solver(watch, num_epochs=2).train()
    assert watch.calls[0] == ("begin", 0)
    assert watch.calls[-1] == ("end", True)
    assert [call[1:] for call in watch.calls if call[0] == "epoch"] == [(1, 2), (2, 3)]
    steps = [call[1:] for call in watch.calls if call[0] == "step"]
    assert steps == [(n, {7: 7, 14: 14}.get(n, 1 if n < 7 else 7)) for n in range(1, 15)]
    assert watch.calls.index(("epoch", 1, 2)) == watch.calls.index(("step", 7, 7)) + 1


def library(folder):
    """Return all callbacks that need no extra, and a recorder."""
    return [EarlyStopping(9), CSVLog(folder / "log.csv"), LiveCurves(), UpdateRatios(2), Recorder()]


def test_callbacks_leave_the_numbers_of_a_run_as_they_are(tmp_path, capsys):
    expected, plain = outcome_of(solver()), capsys.readouterr().out
    assert outcome_of(solver(*library(tmp_path))) == expected
    assert plain == ""
    assert "epoch 3: loss" in capsys.readouterr().out  # LiveCurves


def outcome_of(solver):
    """Train, and return all numbers."""
    solver.train()
    return outcome(solver)


def test_a_callback_stops_the_run_at_a_step(tmp_path, capsys):
    stopping = AtStep(9, lambda solver: solver.stop("enough"))
    run = solver(stopping, checkpoint_name=tmp_path / "run", verbose=True, print_every=100)
    run.train()
    assert (len(run.loss_history), run.stopped) == (9, "enough")
    out, err = capsys.readouterr()
    assert "Stopped after iteration 9: enough" in out
    assert "Solver: stopped after iteration 9 with val_acc" in err
    assert len(checkpoint.load(tmp_path / "run")["loss_history"]) == 9
    assert run.last_val_acc == run.check_accuracy(run.X_val, run.y_val) or run.best_val_acc
    again = resumed(tmp_path / "run")
    again.train()
    assert len(again.loss_history) == 9  # it is at its end
    longer = resumed(tmp_path / "run", num_epochs=4)
    longer.train()
    assert len(longer.loss_history) == 4 * PER_EPOCH


@pytest.mark.sampled(5)
@pytest.mark.parametrize("hook", ["on_train_begin", "on_step_end", "on_epoch_end", "on_train_end"])
def test_an_error_is_told_with_its_name_and_loses_nothing(hook, tmp_path, capsys):
    expected = outcome_of(solver(checkpoint_name=tmp_path / "plain"))
    broken = type("Broken", (Callback,), {hook: lambda self, solver: fail(solver)})()
    watch = Recorder()
    run = solver(broken, watch, checkpoint_name=tmp_path / "run")
    assert outcome_of(run) == expected
    assert watch.steps == 3 * PER_EPOCH
    assert len(checkpoint.load(tmp_path / "run")["loss_history"]) == 3 * PER_EPOCH
    err = capsys.readouterr().err
    assert f"Solver: the callback Broken failed in {hook} (LookupError: no such thing)" in err
    assert "goes on without it" in err
    assert err.count("the callback Broken") == 1  # and it is not called any more
    assert "test_callbacks.py" in err  # where


def test_early_stopping_counts_epochs_without_a_better_value():
    def seen(values, **given):
        stop, run = EarlyStopping(**given), SimpleNamespace(state=SimpleNamespace(iteration=0))
        reasons = []
        run.stop = reasons.append
        stop.on_train_begin(run)
        for n in range(len(values)):
            run.val_acc_history = run.val_loss_history = values[: n + 1]
            stop.on_epoch_end(run)
            if reasons:
                return n + 1, reasons[0]
        return None

    assert seen([0.1, 0.2, 0.2, 0.3, 0.3, 0.1], patience=2) == (
        6,
        "val_acc was not better than 0.3 for 2 epochs",
    )
    assert seen([0.1, 0.2, 0.2, 0.3, 0.3, 0.1], patience=3) is None
    assert seen([3, 2, 2.5, 1.9], patience=1, monitor="val_loss")[0] == 3
    assert seen([0.1, 0.15, 0.19, 0.3], patience=2, min_delta=0.1)[0] == 3
    assert seen([np.nan, np.nan], patience=2)[0] == 2


def test_early_stopping_ends_a_run_and_keeps_the_best_parameters():
    run = solver(EarlyStopping(1), num_epochs=30, num_val_samples=None)
    run.model = network(None, 1.0)
    run.optim_configs = {name: {"learning_rate": 0.0} for name in run.model.params}
    run.train()
    assert run.epoch == 2  # nothing changes with a rate of 0
    assert "val_acc was not better" in run.stopped
    np.testing.assert_array_equal(run.model.params["W1"], run.best_params["W1"])
    run.train()
    assert run.epoch == 4  # a new training counts anew


def rows(path):
    """Return the rows of a table."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_csv_log_has_a_line_for_each_iteration(tmp_path):
    run = solver(CSVLog(tmp_path / "new" / "log.csv"), num_epochs=2, clip_norm=1e-3)
    lines = []
    watch = AtStep(3, lambda _: lines.extend(rows(tmp_path / "new" / "log.csv")))
    run._callbacks.given = (*run._callbacks.given, watch)
    run.train()
    assert len(lines) == 3  # at once, not at the end
    table = rows(tmp_path / "new" / "log.csv")
    assert [float(row["loss"]) for row in table] == run.loss_history
    rates = [float(row["learning_rate"]) for row in table]
    np.testing.assert_allclose(rates, [1e-2] * 7 + [0.9e-2] * 7)
    assert all(float(row["gradient_norm"]) > 0.01 for row in table)  # before clipping
    seconds = [float(row["seconds"]) for row in table]
    assert seconds == sorted(seconds)
    measured = {int(row["iteration"]): float(row["val_loss"]) for row in table if row["val_loss"]}
    assert measured == dict(zip([1, 7, 14], run.val_loss_history))
    assert [float(row["val_acc"]) for row in table if row["val_acc"]] == run.val_acc_history


def test_the_gradient_norm_is_that_of_the_whole_gradient():
    seen = []
    run = solver(CSVLogless(seen), num_epochs=1, augment=None)
    run.model = spied = network(None, 1.0, reg=0.5)
    run._owned, run.state.optim_configs = {}, {name: {} for name in spied.params}
    run.optim_config = {}
    loss, norms = spied.loss, []

    def watched(X, y=None, l2_gradient=True):
        if y is not None:
            grads = loss(X, y)[1]
            norms.append(np.sqrt(sum((dw**2).sum() for dw in grads.values())))
        return loss(X, y, l2_gradient=l2_gradient)

    spied.loss = watched
    run.train()
    np.testing.assert_allclose(seen, norms, rtol=1e-9)


class CSVLogless(Callback):
    """Keeps the norms of the gradients."""

    needs_gradient_norm = True

    def __init__(self, seen):
        self._seen = seen

    def on_step_end(self, solver):
        """Keep it."""
        self._seen.append(solver.gradient_norm)


def test_a_table_of_another_kind_is_not_gone_on_with(tmp_path, capsys):
    run = solver(checkpoint_name=tmp_path / "run", num_epochs=1)
    run.train()
    (tmp_path / "log.csv").write_text("a,b\n1,2\n")
    resumed(tmp_path / "run", CSVLog(tmp_path / "log.csv"), num_epochs=2).train()
    assert "the callback CSVLog failed in on_train_begin" in capsys.readouterr().err
    assert (tmp_path / "log.csv").read_text() == "a,b\n1,2\n"


def test_update_ratios_are_those_of_the_steps():
    seen, ratios = [], UpdateRatios(every=3, samples=20, bins=7)
    run = solver(ratios, Keeper(seen), num_epochs=2)
    run.train()
    assert ratios.iterations == [3, 6, 9, 12]
    for index, iteration in enumerate(ratios.iterations):
        before, after = seen[iteration - 2], seen[iteration - 1]
        expected = np.linalg.norm(after - before) / np.linalg.norm(before)
        assert ratios.ratios["W2"][index] == pytest.approx(expected)
    assert set(ratios.dead) == {"3 relu", "7 relu"}
    assert all(len(shares) == 2 for shares in ratios.dead.values())
    counts, edges = ratios.histograms["9 affine W3 b3"][-1]
    assert (counts.sum(), len(edges)) == (20 * 3, 8)
    updates, dead = ratios.plot().axes
    assert len(updates.lines) == 1 + len(run.model.params)
    assert len(dead.lines) == 2


def test_the_ratios_of_a_second_training_begin_with_the_best_parameters():
    seen, ratios = [], UpdateRatios(every=1)
    run = solver(ratios, Keeper(seen), num_epochs=1)
    run.train()
    run.model.params["W2"][...] += 1  # as the best parameters are put into the model
    before = run.model.params["W2"].copy()
    done = len(seen)
    run.train()
    expected = np.linalg.norm(seen[done] - before) / np.linalg.norm(before)
    assert ratios.ratios["W2"][done] == pytest.approx(expected)


def test_a_ratio_that_was_measured_once_is_seen():
    ratios = UpdateRatios(every=4)
    solver(ratios, num_epochs=1).train()
    assert len(ratios.iterations) == 1
    updates = ratios.plot().axes[0]
    assert all(line.get_marker() == "." for line in updates.lines[: len(ratios.ratios)])


class Keeper:
    """Keeps copies of a weight after each step."""

    def __init__(self, seen):
        self.seen = seen

    def on_step_end(self, solver):
        """Keep it."""
        self.seen.append(solver.model.params["W2"].copy())


def test_a_dead_relu_is_seen():
    run = solver(ratios := UpdateRatios(), num_epochs=1)
    run.model = network(None, 1.0)
    run.model.params["b1"][:3] = -1e9
    run.best_params, run._owned = {}, {}
    run.optim_configs = {name: {"learning_rate": 0.0} for name in run.model.params}
    run.train()
    assert ratios.dead["2 relu"] == [pytest.approx(3 / 8, abs=0.2)]
    assert ratios.dead["2 relu"][0] >= 3 / 8


def test_what_a_callback_cannot_be():
    for wrong, message in [
        (EarlyStopping, "callbacks is <class"),
        ([EarlyStopping], "EarlyStopping is a class; expected an object"),
        ([3], "the callback 3 has none of the methods on_train_begin"),
        (EarlyStopping(), "expected a list of callbacks"),
        (None, "callbacks is a NoneType; expected a sequence"),
    ]:
        with pytest.raises(TypeError, match=message):
            Solver(network(), images(), callbacks=wrong)


def test_a_run_that_is_killed_goes_on_with_its_callbacks_bit_for_bit(tmp_path):
    given = {"checkpoint_every": 5, "num_epochs": 3}
    expected = solver(*library(tmp_path), checkpoint_name=tmp_path / "whole", **given)
    expected.train()
    wanted = end(expected)
    (tmp_path / "killed").mkdir()
    killed = solver(
        *library(tmp_path / "killed"),
        AtStep(13, lambda solver: lose_power(tmp_path)),
        checkpoint_name=tmp_path / "run",
        **given,
    )
    killed.train()  # what it does after the copy is lost
    again = library(tmp_path / "lost")
    run = resumed(tmp_path / "lost" / "run", *again)
    assert again[-1].steps == 10  # the last checkpoint
    run.train()
    assert end(run) == wanted
    assert end_of_callbacks(run, tmp_path / "lost") == end_of_callbacks(expected, tmp_path)


def lose_power(folder):
    """Keep what is on the disk at this moment."""
    (folder / "lost").mkdir()
    for path in (folder / "run.npz", folder / "killed" / "log.csv"):
        (folder / "lost" / path.name).write_bytes(path.read_bytes())


def end_of_callbacks(run, folder):
    """Return what the callbacks of `library` have seen in the end."""
    stop, _, _, ratios, watch = run.callbacks
    table = [
        {key: text for key, text in row.items() if key != "seconds"}
        for row in rows(folder / "log.csv")
    ]
    state = repr(listed(ratios.state_dict()))  # in which nan is equal to nan
    return stop.state_dict(), table, state, watch.steps


def listed(value):
    """Return a state with lists instead of arrays."""
    if isinstance(value, dict):
        return {key: listed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [listed(item) for item in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


class CallbackTripwire(Tripwire):
    """Counts lines of the callbacks, and of what calls them, alone."""

    FILES = ("callback.py", "csv_log.py", "live.py", "stopping.py", "update_ratios.py")

    def __call__(self, frame, event, argument):
        """Trace what is in these files, or is called so in the Solver."""
        code = frame.f_code
        watched = os.path.basename(code.co_filename) in self.FILES
        if watched or code.co_name in ("_call_back", "count_callback", "_done"):
            return super().__call__(frame, event, argument)
        return None


@pytest.mark.long
def test_an_interrupt_at_any_line_goes_on_bit_for_bit_with_callbacks(tmp_path, capsys):
    np.random.seed(7)
    expected = solver(*library(tmp_path), checkpoint_name=tmp_path / "whole")
    expected.train()
    wanted, places = (end(expected), end_of_callbacks(expected, tmp_path)), set()
    for number, lines in enumerate(np.random.default_rng(2).integers(50, 2500, size=8)):
        folder = tmp_path / str(number)
        folder.mkdir()
        run = solver(*library(folder), checkpoint_name=folder / "run")
        wire = CallbackTripwire(lines)
        sys.settrace(wire)
        try:
            run.train()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        places.add(wire.place)
        if run.loss_history:
            again = resumed(folder / "run", *library(folder))
            again.train()
            found = end(again), end_of_callbacks(again, folder)
            assert found == wanted, f"interrupted in {wire.place} after {lines} lines"
    assert len(places) > 4


@pytest.mark.parametrize("step", [1, 6, 7, 8])
def test_an_interrupt_in_a_callback_calls_it_again(step, tmp_path):
    first, second = Recorder(), Recorder()
    run = solver(
        first, AtStep(step, interrupt), second, checkpoint_name=tmp_path / "run", num_epochs=2
    )
    with pytest.raises(KeyboardInterrupt):
        run.train()
    assert (first.steps, second.steps) == (step, step - 1)
    assert first.calls[-1] == ("end", True)
    first, second = Recorder(), Recorder()
    run = resumed(tmp_path / "run", first, AtStep(0, interrupt), second)
    run.train()
    assert first.steps == second.steps == 2 * PER_EPOCH
    assert ("step", step, 1 if step < 7 else 7) in second.calls
    assert ("step", step, 1 if step < 7 else 7) not in first.calls


def test_callbacks_that_are_not_given_again_are_named(tmp_path, capsys):
    solver(EarlyStopping(2), Recorder(), checkpoint_name=tmp_path / "run", num_epochs=1).train()
    run = resumed(tmp_path / "run", Recorder())
    assert run.callbacks[0].steps == PER_EPOCH
    assert "the run had the callbacks EarlyStopping, which were not" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"best": "x", "waited": 0}, "EarlyStopping refuses its state in the checkpoint: Early"),
        ({"best": 0.5, "waited": -1}, "waited is -1"),
        ({"best": 0.5}, "EarlyStopping refuses"),
        ([], "callbacks are no list of names and states"),
    ],
)
def test_a_state_that_is_none_is_refused(state, message, tmp_path):
    solver(EarlyStopping(2), checkpoint_name=tmp_path / "run", num_epochs=1).train()
    tree = checkpoint.load(tmp_path / "run")
    tree["callbacks"] = [{"name": "EarlyStopping", "state": state}]
    checkpoint.save(tmp_path / "run", tree)
    with pytest.raises(ValueError, match=message):
        resumed(tmp_path / "run", EarlyStopping(2))


def test_a_state_of_update_ratios_comes_back_and_a_wrong_one_does_not():
    ratios, again = UpdateRatios(2), UpdateRatios(2)
    solver(ratios, num_epochs=1).train()
    state = ratios.state_dict()
    again.load_state_dict(copy.deepcopy(state))
    assert listed(again.state_dict()) == listed(state)
    for key in set(state) - {"before"}:
        with pytest.raises((ValueError, TypeError), match=r"UpdateRatios\.load_state_dict"):
            again.load_state_dict({**state, key: {"x": [[[1]]]}})
    assert listed(again.state_dict()) == listed(state)


class Display:
    """What a notebook would show, picture by picture."""

    def __init__(self, monkeypatch):
        self.shown, self.updates = [], []
        ipython = SimpleNamespace(Image=lambda data: data, display=self.display)
        monkeypatch.setitem(sys.modules, "IPython.display", ipython)
        monkeypatch.setattr(progress_bar, "in_notebook", lambda: True)

    def display(self, picture, display_id):
        """Show a picture in a new place."""
        assert display_id
        self.shown.append(picture)
        return SimpleNamespace(update=self.updates.append)


def test_live_curves_update_one_picture_in_a_notebook(monkeypatch):
    display = Display(monkeypatch)
    solver(LiveCurves(seconds=1e9), num_epochs=1, batch_size=25).train()
    assert len(display.shown) == 1
    assert len(display.updates) == 2  # the epoch and the end
    assert all(picture.startswith(b"\x89PNG") for picture in display.shown + display.updates)
    assert display.shown[0] != display.updates[0]


@pytest.mark.parametrize(
    ("seconds", "drawing", "drawn"),
    [
        (0, 0, [1, 2, 3, 4, 5, 6, 7]),
        (0, 0.55, [1, 7]),  # ten times what a drawing takes
        (3, 0, [1, 4, 7]),
        (1e9, 0, [1]),
    ],
)
def test_live_curves_are_drawn_when_it_is_time(seconds, drawing, drawn, monkeypatch):
    display, clock, seen = Display(monkeypatch), SimpleNamespace(now=0.0), []
    monkeypatch.setattr("time.monotonic", lambda: clock.now)

    def draw(run):
        clock.now += drawing
        return Drawing(run, seen)

    monkeypatch.setattr("cs231n.training.live.plot_history", draw)
    solver(Second(clock), LiveCurves(seconds), num_epochs=1).train()
    assert seen == [*drawn, PER_EPOCH, PER_EPOCH]  # the epoch and the end
    assert len(display.shown) + len(display.updates) == len(seen)


class Second(Callback):
    """Lets a second pass with each step."""

    def __init__(self, clock):
        self.clock = clock

    def on_step_end(self, solver):
        """Turn the clock on."""
        self.clock.now += 1


def test_live_curves_go_on_after_a_kill(monkeypatch, tmp_path):
    solver(LiveCurves(), checkpoint_name=tmp_path / "run", num_epochs=1).train()
    display, drawn = Display(monkeypatch), []
    monkeypatch.setattr("cs231n.training.live.plot_history", lambda run: Drawing(run, drawn))
    resumed(tmp_path / "run", LiveCurves(), num_epochs=2).train()
    assert len(display.shown) == 1
    assert (drawn[0], drawn[-1]) == (PER_EPOCH + 1, 2 * PER_EPOCH)  # the whole curve


class Drawing:
    """A figure that only tells how much it shows."""

    def __init__(self, run, drawn):
        drawn.append(len(run.loss_history))

    def _repr_png_(self):
        return b""


def test_a_line_in_a_terminal_rises_and_falls(capsys):
    run = solver(LiveCurves(), num_epochs=1)
    run.train()
    line = capsys.readouterr().out
    assert f"val_acc {run.val_acc_history[-1]:.4f}" in line
    curve = line.split()[0]
    assert len(curve) == PER_EPOCH
    assert {"\u2581", "\u2588"} <= set(curve)


def test_tensorboard_writes_what_tensorboard_reads(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

    run = solver(TensorBoard(tmp_path / "tb"), checkpoint_name=tmp_path / "run", num_epochs=1)
    run.train()
    resumed(tmp_path / "run", TensorBoard(tmp_path / "tb"), num_epochs=2).train()
    files = sorted((tmp_path / "tb").iterdir())
    assert len(files) == 2
    first, second = ([*LegacyEventFileLoader(str(path)).Load()] for path in files)
    found = {
        (event.step, value.tag): value.simple_value
        for event in first
        for value in event.summary.value
    }
    for iteration, loss in enumerate(run.loss_history, start=1):
        assert found[iteration, "loss/training"] == pytest.approx(loss)
    for iteration, loss in zip((1, 7), run.val_loss_history):
        assert found[iteration, "loss/validation"] == pytest.approx(loss)
    assert found[7, "learning rate"] == pytest.approx(1e-2)
    starts = [e.step for e in second if e.HasField("session_log")]
    assert starts == [PER_EPOCH + 1]  # what a killed session wrote from there on is taken back


def test_tensorboard_says_how_to_install_it(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto", None)
    with pytest.raises(ModuleNotFoundError, match=r'TensorBoard: .* pip install "cs231n\[tensor'):
        TensorBoard(tmp_path)


def test_solvers_with_callbacks_can_be_copied(tmp_path):
    run = solver(*library(tmp_path), num_epochs=1)
    run.train()
    again = copy.deepcopy(run)
    assert again.callbacks[3] is not run.callbacks[3]
    assert pickle.loads(pickle.dumps(run)).callbacks[0].best == run.callbacks[0].best


def test_the_validation_loss_is_that_of_the_samples_of_the_accuracy():
    run = solver(num_val_samples=None, num_epochs=1)
    run.train()
    run.train()
    scores = run.model.loss(run.X_val)
    logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    expected = -logs[np.arange(len(scores)), run.y_val].mean()
    best = run.val_acc_history.index(run.best_val_acc)
    assert run.val_loss_history[best] == pytest.approx(expected)
    assert len(run.val_loss_history) == len(run.val_acc_history)
    assert all(a != b for a, b in itertools.pairwise(run.val_loss_history[:2]))


def test_a_notebook_without_widgets_gets_its_bar_outside_of_the_red_box(monkeypatch, capsys):
    monkeypatch.setattr(progress_bar, "in_notebook", lambda: True)
    monkeypatch.setattr(progress_bar, "_widget", lambda: None)
    assert not progress_bar.is_useful()
    solver(num_epochs=1, progress=True).train()
    out, err = capsys.readouterr()
    assert "val_loss=" in out
    assert "val_acc=" in out
    assert err == ""
