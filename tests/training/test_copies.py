"""Copies of a Solver, in this process and in others, go on bit for bit."""

import copy
import io
import multiprocessing
import pickle
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
from children import environment
from runs import images, network, outcome
from test_resume import InterruptedError, interrupt

from cs231n.augment import FlipAndShift
from cs231n.classifiers import ConvNet, ThreeLayerConvNet, TwoLayerNet
from cs231n.solver import Solver

COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda one: pickle.loads(pickle.dumps(one))}
NETWORKS = {
    "fully connected": network,
    "two layers": lambda: TwoLayerNet(32, 8, 3),
    "convolution": lambda: ThreeLayerConvNet((2, 4, 4), 4, 3, 8, 3),
    "deep": lambda: ConvNet("conv4-pool-conv5-gavg-fc6-fc3", (2, 4, 4), "batchnorm", 0.8),
}


def solver_of(make=network, **given):
    """Return a solver of a small run."""
    np.random.seed(7)
    settings = {"batch_size": 8, "num_epochs": 2, "verbose": False, "update_rule": "adam"}
    return Solver(make(), images(), **{**settings, "augment": FlipAndShift(pad=1), **given})


@pytest.mark.sampled(5)
@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("own", [False, True])
def test_a_copy_goes_on_bit_for_bit(own, make, copied):
    given = {"rng": np.random.default_rng(3), "replace": False} if own else {}
    solver, found = solver_of(make, **given), []
    for _ in range(4):
        solver._step()
    for one in (copied(solver), solver):
        np.random.seed(1)
        one.train()
        found.append(outcome(one))
    assert found[0] == found[1]


def test_a_copy_shares_nothing_with_its_original():
    solver = solver_of()
    other = copy.deepcopy(solver)
    before = outcome(solver)
    other.train()
    after = outcome(solver)
    del before["next draw"], after["next draw"]
    assert before == after
    assert solver.loss_history == []


def test_an_interrupted_solver_can_be_copied():
    solver = solver_of()
    loss = solver.model.loss
    interrupt(solver.model, 9)
    with pytest.raises(InterruptedError):
        solver.train()
    del solver.model.loss
    assert solver.model.loss == loss
    found = []
    for one in (pickle.loads(pickle.dumps(solver)), solver):
        np.random.seed(2)
        one.train()
        found.append(outcome(one))
    assert found[0] == found[1]


def trained(solver):
    """Train, and return what it ends in."""
    solver.train()
    return outcome(solver)


def test_pools_of_processes_go_on_bit_for_bit():
    # Before the pool begins: a thread of its own pickles them, with what NumPy draws next by then.
    solvers = [solver_of() for _ in range(2)]
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        runs = [pool.submit(trained, solver) for solver in solvers]
        found = [run.result(timeout=300) for run in runs]
    expected = trained(solver_of())
    assert found == [expected, expected]


LEAKING = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor
from test_copies import solver_of, trained

def printed(progress):
    solver = solver_of(verbose=True, progress=progress)
    return len(trained(solver)["loss_history"])

if __name__ == "__main__":
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        print(list(pool.map(printed, [False, True])), file=sys.stderr)
    printed(True)
"""


@pytest.mark.long
def test_pools_report_no_leaked_semaphores(tmp_path):
    script = tmp_path / "pool.py"
    script.write_text(LEAKING, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, script], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "[12, 12]" in done.stderr
    assert "leaked" not in done.stderr


def test_no_semaphore_is_made_for_a_bar(capsys, monkeypatch):
    monkeypatch.setattr("multiprocessing.RLock", lambda: pytest.fail("made a semaphore"))
    for progress in (True, False):
        solver_of(verbose=True, progress=progress).train()
    assert "12/12" in capsys.readouterr().err


class Closed(io.StringIO):
    """A stream that was closed."""

    def isatty(self):
        """Fail, as a closed file does."""
        raise ValueError("I/O operation on closed file")


@pytest.mark.parametrize("stream", [None, Closed(), object()])
def test_a_strange_standard_error_is_no_terminal(stream, monkeypatch):
    monkeypatch.setattr(sys, "stderr", stream)
    solver = solver_of(verbose=True)
    solver.train()
    assert len(solver.loss_history) == 12
