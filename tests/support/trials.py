"""Trials of searches that workers can import: small, and some that die or are slow on purpose."""

import os
import signal
from concurrent.futures import Executor, Future

import numpy as np

from cs231n.classifiers import FullyConnectedNet
from cs231n.solver import Solver


def data():
    """Return sixty samples of three classes."""
    rng = np.random.default_rng(3)
    y = rng.integers(3, size=60)
    X = rng.standard_normal((60, 6)) + y[:, None]
    return {"X_train": X[:40], "y_train": y[:40], "X_val": X[40:], "y_val": y[40:]}


def small(job, epochs=3):
    """Train a small network on the job's data, and leave a line for each epoch."""
    np.random.seed(job.seed)
    model = FullyConnectedNet([job.values["units"]], input_dim=6, num_classes=3, dtype=float)
    settings = {"num_epochs": epochs, "verbose": False, "batch_size": 10}
    name = job.folder / "checkpoint.npz"
    if name.exists():
        solver = Solver.resume(name, model, job.data, **{"num_epochs": epochs})
    else:
        rate = {"learning_rate": job.values["learning_rate"]}
        rule = job.values["rule"]
        solver = Solver(model, job.data, rule, rate, checkpoint_name=str(name), **settings)

    def note(found):
        with open(job.folder / "epochs.txt", "a") as file:
            file.write(f"{found.epoch}\n")
        job.report(found)

    solver.on_check = note
    solver.train()
    return solver


def killed_once(job):
    """Die by SIGKILL after the second epoch of trial 1, at the first attempt."""
    report = job.report

    def die(solver):
        marker = job.folder / "killed"
        if job.number == 1 and solver.epoch == 2 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        report(solver)

    job.report = die
    return small(job)


def hopeless(job):
    """Report accuracies that grow with a number."""

    class Run:
        val_acc_history = []
        epoch = 0

    run = Run()
    for run.epoch in range(1, 5):
        run.val_acc_history = [job.values["height"] * run.epoch / 4]
        job.report(run)
    return job.values["height"]


def failing(job):
    """Fail, but for the second trial."""
    if job.number != 1:
        raise ValueError(f"trial {job.number} is\nno good")
    return 0.5


class Inline(Executor):
    """Runs a call where it is submitted, or some calls at once, the last one first."""

    def __init__(self, at_once=1):
        self._at_once, self._held, self.order = at_once, [], []

    def submit(self, function, /, *arguments):
        future = Future()
        self._held.append((future, function, arguments))
        if len(self._held) == self._at_once:
            self.flush()
        return future

    def flush(self):
        held, self._held = self._held[::-1], []
        for future, function, arguments in held:
            self.order.append(arguments[1].number)
            try:
                future.set_result(function(*arguments))
            except BaseException as error:
                future.set_exception(error)
