"""Locks between processes: one holder, a clear message for the next, nothing left by a kill."""

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from children import environment
from plants import plant

from cs231n.classifiers import TwoLayerNet
from cs231n.files import lock
from cs231n.solver import Solver

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")

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
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, path],
            env=environment(),
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
    path, flock = tmp_path / "a.lock", lock.lock_descriptor

    def late(descriptor, blocking):
        if path.exists():  # the holder gives back after the file was opened, before the lock
            path.unlink()
            monkeypatch.setattr(lock, "lock_descriptor", flock)
        return flock(descriptor, blocking=blocking)

    monkeypatch.setattr(lock, "lock_descriptor", late)
    with lock.hold(path, "the place"), pytest.raises(lock.LockedError):
        take(path)


def test_a_folder_that_vanishes_is_no_trouble_at_the_end(tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    with lock.hold(folder / "a.lock", "the place"):
        (folder / "a.lock").unlink()
        folder.rmdir()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EIO])
def test_a_file_system_without_locks_locks_nothing_and_other_errors_are_told(
    number, tmp_path, monkeypatch
):
    def fail(descriptor, blocking):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(lock, "lock_descriptor", fail)
    if number == errno.EIO:
        with pytest.raises(OSError, match=r"the place cannot be locked .Input/output error"):
            take(tmp_path / "a.lock")
        return
    with lock.hold(tmp_path / "a.lock", "the place") as first:
        with lock.hold(tmp_path / "a.lock", "it") as second:
            assert second.still_ours()
        assert list(tmp_path.iterdir()) == []  # neither leaves or removes what is the other's
        first.require()
        replace(tmp_path)
        with pytest.raises(lock.LostFolderError, match="the place is no longer this run's"):
            first.require()


def replace(folder):
    """Put another folder in the place of this one, as whoever starts anew does."""
    shutil.move(folder, f"{folder}.old")
    folder.mkdir()


class TestLostFolder:
    """Run 1 trains in z, z is removed, run 2 starts in z: run 1 must notice."""

    @pytest.mark.parametrize("how", ["removed", "removed, taken", "moved, taken", "file removed"])
    def test_the_one_who_lost_the_folder_notices_and_the_other_keeps_it(self, how, tmp_path):
        folder = tmp_path / "z"
        folder.mkdir()
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(lock.hold(folder / "run.lock", "the run folder z"))
            first.require()
            if how == "file removed":
                (folder / "run.lock").unlink()
            elif how.startswith("removed"):
                shutil.rmtree(folder)
            else:
                shutil.move(folder, tmp_path / "old")
            if how.endswith("taken"):
                folder.mkdir()
                second = Holder(folder / "run.lock")
                stack.callback(second.kill)
            with pytest.raises(lock.LostFolderError, match="the run folder z is no longer this"):
                first.require()
            assert not first.still_ours()
            first.release()
            if how.endswith("taken"):  # what the first gives back is not the second's
                with pytest.raises(lock.LockedError, match=str(second.process.pid)):
                    take(folder / "run.lock")

    def test_two_threads_and_forty_replaced_folders(self, tmp_path):
        """However often the folder is replaced, at most one of two believes to have it."""
        folder, both, stop = tmp_path / "z", [], threading.Event()
        folder.mkdir()

        def run(own):
            while not stop.is_set():
                with (
                    contextlib.suppress(OSError),
                    lock.hold(folder / "run.lock", "z") as held,
                ):
                    for _ in range(20):
                        own.append(held)
                        others = [each[-1] for each in owners if each is not own and each]
                        # In this order: a folder that the second got is lost to the first.
                        if any(other.still_ours() for other in others) and held.still_ours():
                            both.append(held)
                        own.clear()

        owners = [[], []]
        threads = [threading.Thread(target=run, args=(own,)) for own in owners]
        for thread in threads:
            thread.start()
        for index in range(40):
            with contextlib.suppress(OSError):
                os.rename(folder, tmp_path / f"old {index}")
            folder.mkdir(exist_ok=True)
        stop.set()
        for thread in threads:
            thread.join()
        assert both == []


FORK = """
import ctypes, os, sys, time
from cs231n.files import lock
with lock.hold(sys.argv[1], "the place"):
    child = os.fork() if sys.argv[2] == "by Python" else ctypes.CDLL(None).fork()
    if child == 0:
        os.close(1)
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
    sys.stdin.read()
"""


class TestFork:
    @pytest.fixture
    def family(self, tmp_path):
        """Return a function that starts a holder and its child, and kills the holder."""
        started = []

        def start(how):
            process = subprocess.Popen(
                [sys.executable, "-c", FORK, tmp_path / "a.lock", how],
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            started.append(child := int(process.stdout.readline()))
            with pytest.raises(lock.LockedError, match=f"by process {process.pid} on"):
                take(tmp_path / "a.lock")
            process.kill()
            process.communicate(timeout=60)
            return process.pid, child

        yield start
        for child in started:
            os.kill(child, signal.SIGKILL)

    def test_a_child_of_a_killed_holder_holds_nothing(self, family, tmp_path):
        family("by Python")
        take(tmp_path / "a.lock")

    @pytest.mark.skipif(not Path("/proc/self/fdinfo").is_dir(), reason="needs Linux's /proc")
    def test_a_child_that_python_does_not_know_of_is_named(self, family, tmp_path):
        holder, child = family("by C")
        with pytest.raises(lock.LockedError) as caught:
            take(tmp_path / "a.lock")
        assert f"in use by process {child} on" in str(caught.value)
        assert f"process {holder}, now ended, has left its lock" in str(caught.value)

    def test_a_child_that_leaves_the_body_gives_back_nothing_of_its_parent(self, tmp_path):
        path = tmp_path / "a.lock"
        with lock.hold(path, "the place") as held:
            child = os.fork()
            if child == 0:
                held.release()
                os._exit(held.still_ours())
            assert os.waitpid(child, 0)[1] == 0
            held.require()
            with pytest.raises(lock.LockedError):
                take(path)


@pytest.mark.parametrize(
    "kind", ["link", "link to nothing", "hard link", "pipe", "socket", "device", "folder"]
)
def test_a_lock_that_leads_elsewhere_writes_nothing_there(kind, tmp_path):
    path, victim = tmp_path / "run.lock", tmp_path / "victim"
    if kind != "link to nothing":
        victim.write_bytes(b"precious")
    with plant(kind, path, victim):
        before = sorted(tmp_path.iterdir())
        with pytest.raises(OSError, match=r"cannot be locked: .*run\.lock is a link, a folder"):
            take(path)
        assert sorted(tmp_path.iterdir()) == before
    assert not victim.exists() or victim.read_bytes() == b"precious"


@pytest.mark.parametrize(
    "content", [b"", b"\xff\0" * 50, b"\nprocess 1 on \x1b[2J\n", b"x" * 10**6]
)
def test_what_stands_in_the_file_of_a_lock_is_not_repeated(content, tmp_path, holder):
    (tmp_path / "a.lock").write_bytes(content)
    with pytest.raises(lock.LockedError, match="the place is in use by another process; wait"):
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
