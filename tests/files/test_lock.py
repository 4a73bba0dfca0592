"""Locks between processes: one holder, a clear message for the next, nothing left by a kill."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cs231n
from cs231n.classifiers import TwoLayerNet
from cs231n.files import lock
from cs231n.solver import Solver

pytestmark = pytest.mark.skipif(lock.fcntl is None, reason="needs a system with flock")

HOLDER = """
import sys
from cs231n.files import lock
with lock.hold(sys.argv[1], "the place"):
    print("held", flush=True)
    sys.stdin.read()
"""


class Holder:
    """A process that holds a lock until it is told to end."""

    def __init__(self, path):
        environment = {**os.environ, "PYTHONPATH": str(Path(cs231n.__file__).parents[1])}
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, path],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout.readline() == b"held\n"

    def end(self):
        """Let the process end by itself."""
        self.process.communicate(timeout=60)

    def kill(self):
        """Kill the process, which can do nothing more."""
        self.process.send_signal(signal.SIGKILL)
        self.end()


@pytest.fixture
def holder(tmp_path):
    """Return another process that holds the lock."""
    holder = Holder(tmp_path / "a.lock")
    yield holder
    holder.kill()


def take(path):
    """Take a lock and give it back."""
    with lock.hold(path, "the place"):
        assert path.exists()


def test_a_second_process_is_told_who_holds_the_lock(tmp_path, holder):
    path = tmp_path / "a.lock"
    with pytest.raises(lock.LockedError, match=r"the place is in use by process \d+ on .*; wait"):
        take(path)
    assert str(holder.process.pid) in path.read_text(encoding="utf-8")
    holder.end()
    assert not path.exists()
    take(path)
    assert not path.exists()


def test_a_killed_process_leaves_nothing_locked(tmp_path, holder):
    holder.kill()
    assert (tmp_path / "a.lock").exists()
    take(tmp_path / "a.lock")
    assert not (tmp_path / "a.lock").exists()


def test_a_second_caller_in_the_same_process_is_told_too(tmp_path):
    path = tmp_path / "a.lock"
    with lock.hold(path, "the place"), pytest.raises(lock.LockedError, match=str(os.getpid())):
        take(path)
    take(path)


def test_an_error_gives_the_lock_back(tmp_path):
    with pytest.raises(KeyError), lock.hold(tmp_path / "a.lock", "the place"):
        raise KeyError
    take(tmp_path / "a.lock")


def test_a_lock_whose_file_its_holder_removed_meanwhile_is_taken_anew(tmp_path, monkeypatch):
    path, flock = tmp_path / "a.lock", lock.fcntl.flock

    def late(descriptor, operation):
        if path.exists():  # the holder gives back after the file was opened, before the lock
            path.unlink()
            monkeypatch.setattr(lock.fcntl, "flock", flock)
        flock(descriptor, operation)

    monkeypatch.setattr(lock.fcntl, "flock", late)
    with lock.hold(path, "the place"), pytest.raises(lock.LockedError):
        take(path)


def test_a_folder_that_vanishes_is_no_trouble_at_the_end(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    with lock.hold(folder / "a.lock", "the place"):
        (folder / "a.lock").unlink()
        folder.rmdir()


def test_without_flock_nothing_is_locked(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "fcntl", None)
    with lock.hold(tmp_path / "a.lock", "the place"), lock.hold(tmp_path / "a.lock", "it"):
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EIO])
def test_a_file_system_without_flock_locks_nothing_and_other_errors_are_told(
    number, tmp_path, monkeypatch
):
    def fail(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock.fcntl, "flock", fail)
    if number == errno.EIO:
        with pytest.raises(OSError, match="Input/output error"):
            take(tmp_path / "a.lock")
    else:
        with lock.hold(tmp_path / "a.lock", "the place"):
            take(tmp_path / "a.lock")


def test_a_solver_does_not_write_where_another_process_does(tmp_path):
    X, y = np.ones((4, 6)), np.array([0, 1, 2, 0])
    data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
    solver = Solver(
        TwoLayerNet(6, 5, 3), data, checkpoint_name=tmp_path / "run", num_epochs=1, verbose=False
    )
    holder = Holder(tmp_path / "run.lock")
    try:
        with pytest.raises(
            lock.LockedError, match=r"checkpoint .*run\.npz is in use by process \d+"
        ):
            solver.train()
        assert solver.loss_history == []
    finally:
        holder.kill()
    solver.train()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.npz"]
