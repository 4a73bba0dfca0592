"""Runs that follow each other under one name: each keeps its checkpoints, and none is mistaken."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from children import environment
from runs import images, network, outcome
from test_resume import InterruptedError, interrupt, stopped

from cs231n.solver import Solver
from cs231n.training import checkpoint
from cs231n.training.state import identity

DATED = re.compile(r"run\.\d{8}-\d{6}(-\d+)?(\.previous|\.part)?\.npz")


def solver_of(path, seed=7, **given):
    """Return a solver of a small run."""
    np.random.seed(seed)
    settings = {"batch_size": 8, "num_epochs": 2, "verbose": False, **given}
    return Solver(network(), images(), checkpoint_name=path, **settings)


def names(folder):
    """Return the names of the files in a folder."""
    return sorted(path.name for path in folder.iterdir())


def aside(folder):
    """Return the names of the files that were kept aside."""
    return [name for name in names(folder) if DATED.fullmatch(name)]


def test_a_finished_run_is_kept_aside_when_its_cell_is_run_again(tmp_path, capsys):
    first = solver_of(tmp_path / "run")
    first.train()
    assert capsys.readouterr().err == ""
    solver_of(tmp_path / "run", seed=8).train()
    kept = aside(tmp_path)
    assert [DATED.fullmatch(name)[2] for name in kept] == [None, ".previous"]
    assert names(tmp_path) == sorted([*kept, "run.npz", "run.previous.npz"])
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"another run has left checkpoints under this name, which are kept as {tmp_path}" in told
    again = Solver.resume(tmp_path / kept[0], network(), images())
    again.train()
    assert again.loss_history == first.loss_history
    third = solver_of(tmp_path / "run", seed=9)
    third.train()
    assert len(aside(tmp_path)) == 4


def test_the_same_run_keeps_its_name(tmp_path, capsys):
    path = stopped(tmp_path)
    Solver.resume(path, network(), images()).train()
    solver = Solver.resume(path, network(), images())
    solver.train()
    solver.train()
    assert names(tmp_path) == ["run.npz", "run.previous.npz"]
    assert capsys.readouterr().err == ""


def test_what_cannot_be_read_is_kept_aside_too(tmp_path):
    (tmp_path / "run.npz").write_bytes(b"somebody's")
    (tmp_path / "run.previous.npz").write_bytes(b"else's")
    solver_of(tmp_path / "run").train()
    kept = aside(tmp_path)
    assert [(tmp_path / name).read_bytes() for name in kept] == [b"somebody's", b"else's"]


def test_a_folder_of_the_name_is_left_alone_and_told(tmp_path, capsys):
    for name in ("run.npz", "other.previous.npz"):
        (tmp_path / name).mkdir()
        solver = solver_of(tmp_path / name.split(".")[0])
        solver.train()
        assert len(solver.loss_history) == 12
        assert (tmp_path / name).is_dir()
        assert f"{name} is a folder; expected a file" in capsys.readouterr().err
    assert aside(tmp_path) == []


def test_links_are_moved_and_never_written_through(tmp_path):
    mine = tmp_path / "mine"
    mine.write_bytes(b"precious")
    for name in ("run.npz", "run.part.npz", "run.previous.npz", "run.owner.npz"):
        (tmp_path / name).symlink_to(mine)
    solver_of(tmp_path / "run").train()
    assert mine.read_bytes() == b"precious"
    assert checkpoint.load(tmp_path / "run")["iteration"] == 12


def test_a_damaged_one_never_takes_the_place_of_the_good_one(tmp_path, monkeypatch):
    path = stopped(tmp_path, after=14)
    good = (tmp_path / "run.previous.npz").read_bytes()
    (tmp_path / "run.npz").write_bytes(b"damaged")
    replace = os.replace

    def last(source, target):
        if Path(target).name == "run.npz":
            assert (tmp_path / "run.previous.npz").read_bytes() == good
            raise OSError("the end")
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", last)
        with pytest.raises(OSError, match="the end"):
            checkpoint.save(path, checkpoint.load(path))
    assert checkpoint.load(path)["iteration"] == 6
    checkpoint.save(path, checkpoint.load(path))
    assert (tmp_path / "run.previous.npz").read_bytes() == good


CHILD = """
import os, sys
from test_identity import solver_of

deadline, name = int(sys.argv[2]), sys.argv[3]
calls = 0

def deadly(function):
    def call(*args, **kwargs):
        global calls
        calls += 1
        if calls == deadline:
            os._exit(9)
        return function(*args, **kwargs)
    return call

for function in ("replace", "unlink", "fsync"):
    setattr(os, function, deadly(getattr(os, function)))
solver = solver_of(sys.argv[1], seed=8, optim_config={"learning_rate": 0.5})
if name == "first step":
    solver.model.loss = lambda *args, **kwargs: os._exit(9)
solver.train()
print(calls)
"""


def killed(path, deadline, name=""):
    """Train another run under a name, in a process that dies at a call; return its status."""
    words = [sys.executable, "-c", CHILD, str(path), str(deadline), name]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    assert done.returncode in (0, 9), done.stderr
    return done


@pytest.mark.long
def test_a_new_run_that_is_killed_never_gives_back_the_old_one(tmp_path):
    old = tmp_path / "old"
    old.mkdir()
    solver = solver_of(old / "run", optim_config={"learning_rate": 0.01})
    solver.train()
    for deadline in (*range(1, 14), 0):
        folder = tmp_path / str(deadline)
        shutil.copytree(old, folder)
        done = killed(folder / "run", deadline or 999, "" if deadline else "first step")
        assert done.returncode == 9
        try:
            found = Solver.resume(folder / "run", network(), images())
        except FileNotFoundError:
            assert not checkpoint.exists(folder / "run") or deadline == 1
        else:
            # At the very first call nothing has begun that could be told from the old run.
            expected = 0.01 if deadline == 1 else 0.5
            assert found.optim_config["learning_rate"] == expected, deadline
            found.train()
        kept = [folder / name for name in names(folder) if name.endswith("npz")]
        runs = [identity(checkpoint._read(one)) for one in kept if "owner" not in one.name]
        assert solver.state.run in runs, "the old run is never lost"
        # The next one tidies up.
        solver_of(folder / "run", seed=9).train()
        assert {"run.npz", "run.previous.npz"} < set(names(folder))
        assert not {"run.owner.npz", "run.part.npz"} & set(names(folder))


def test_a_run_whose_folder_was_replaced_writes_nothing_there(tmp_path, capsys):
    folder = tmp_path / "z"
    folder.mkdir()
    solver = solver_of(folder / "run", checkpoint_every=1)
    loss = solver.model.loss

    def replaced(X, y=None, **options):
        if y is not None and len(solver.loss_history) == 5:
            shutil.rmtree(folder)
            folder.mkdir()
            other = solver_of(folder / "run", seed=8)
            other.train()
            solver.other = outcome(other)
        return loss(X, y, **options)

    solver.model.loss = replaced
    solver.train()
    told = capsys.readouterr().err
    assert told.count("is no longer this run's") == 1
    assert "the results stay in memory" in told
    assert len(solver.loss_history) == 12
    assert solver.best_params
    found = checkpoint.load(folder / "run")
    assert found["run"] != solver.state.run
    assert found["loss_history"].tolist() == solver.other["loss_history"]


def test_old_checkpoints_of_one_run_are_of_one_run(tmp_path, capsys):
    path = stopped(tmp_path, after=14)
    trees = [checkpoint.load(tmp_path / name) for name in ("run.previous.npz", "run.npz")]
    for name in names(tmp_path):
        (tmp_path / name).unlink()
    for tree in trees:
        for key in ("run", "pending", "seconds", "accuracy_iterations"):
            del tree[key]
        del tree["configuration"]["arguments"]["on_divergence"]
        checkpoint.save(path, tree)
    capsys.readouterr()
    solver = Solver.resume(path, network(), images())
    assert solver.accuracy_iterations == [1, 6, 12]
    solver.train()
    assert names(tmp_path) == ["run.npz", "run.previous.npz"]
    assert capsys.readouterr().err == ""
    assert solver.accuracy_iterations == [1, 6, 12, 18, 24]


def test_identities_come_from_the_system_alone():
    np.random.seed(1)
    first = solver_of(None).state.run
    assert first != solver_of(None).state.run
    assert re.fullmatch("[0-9a-f]{32}", first)


def test_seconds_of_all_sessions_are_counted(tmp_path, monkeypatch):
    ticks = iter(np.arange(0.0, 1e6))
    monkeypatch.setattr("time.perf_counter", lambda: float(next(ticks)))
    solver = solver_of(tmp_path / "run")
    interrupt(solver.model, 8)
    with pytest.raises(InterruptedError):
        solver.train()
    stored = checkpoint.load(tmp_path / "run")["seconds"]
    assert stored > 0
    again = Solver.resume(tmp_path / "run", network(), images())
    assert again.train_seconds == stored
    again.train()
    assert again.train_seconds > stored
    assert checkpoint.load(tmp_path / "run")["seconds"] <= again.train_seconds
