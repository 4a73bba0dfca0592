"""Searches: one table whatever runs them, in any order; killed workers, resumption, pruning."""

import csv
import subprocess
import sys

import pytest
import trials
from children import environment
from trials import Inline

from cs231n.core import extras
from cs231n.files import lock
from cs231n.files.lock import LockedError
from cs231n.search import Range, _Search, search
from cs231n.searching.job import STOP

pytest.importorskip("optuna")

SPACE = {
    "learning_rate": Range(1e-4, 1e-1, log=True),
    "units": Range(4, 9),
    "rule": ["adam", "sgd"],
}
QUIET = {"verbose": False, "progress": False}


def run(folder, executor=None, trial=trials.small, **changes):
    settings = {"trials": 4, "data": trials.data(), **QUIET, **changes}
    if executor is None:
        executor = Inline()
    return search(trial, SPACE, folder, executor=executor, **settings)


def table(folder):
    return (folder / "trials.csv").read_bytes()


def rows(folder):
    with open(folder / "trials.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def pictures():
    """Let a search draw, which takes longer than these trials."""


@pytest.fixture(autouse=True)
def _no_pictures(request, monkeypatch):
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr(_Search, "_draw", lambda self, rows: None)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Return the table of one process, trial after trial."""
    folder = tmp_path_factory.mktemp("one")
    run(folder)
    return table(folder)


def epochs(folder, number):
    return (folder / f"trial-{number:04d}" / "epochs.txt").read_text().split()


def test_the_table_does_not_depend_on_the_order_of_ending(tmp_path, expected, pictures):
    executor = Inline(at_once=4)
    results = run(tmp_path, executor, jobs=4)
    assert executor.order == [3, 2, 1, 0]
    assert table(tmp_path) == expected
    reached = [float(row["best_val_acc"]) for row in rows(tmp_path)]
    assert results.best.best_val_acc == max(reached) > min(reached)
    for name in ("accuracy", "parallel", "importance", "curves"):
        assert (tmp_path / f"{name}.png").stat().st_size > 5000


def test_another_seed_gives_another_table(tmp_path, expected):
    run(tmp_path, seed=1)
    assert table(tmp_path) != expected


@pytest.mark.long
def test_a_killed_process_costs_an_epoch_and_changes_nothing(tmp_path, expected):
    """Four processes, one of which dies: all go on from their last checkpoints."""
    search(trials.killed_once, SPACE, tmp_path, trials=4, data=trials.data(), jobs=4, **QUIET)
    assert (tmp_path / "trial-0001" / "killed").exists()
    assert table(tmp_path) == expected
    assert epochs(tmp_path, 1) in (["0", "1", "3"], ["0", "1", "2", "3"])


@pytest.mark.long
def test_a_killed_dask_worker_costs_an_epoch_and_changes_nothing(tmp_path, expected):
    distributed = pytest.importorskip("distributed")
    from cs231n.searching.workers import Dask

    cluster = distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    )
    with cluster:
        address = cluster.scheduler_address
        run(tmp_path, lambda: Dask(address), trials.killed_once)
    assert (tmp_path / "trial-0001" / "killed").exists()
    assert table(tmp_path) == expected
    assert len(epochs(tmp_path, 1)) <= 4


def test_nobody_answers_at_the_address_of_a_scheduler(tmp_path):
    pytest.importorskip("distributed")
    from cs231n.searching import workers

    with pytest.raises(OSError, match="no Dask scheduler answers at tcp"):
        workers.Dask("tcp://127.0.0.1:9", timeout=0.5)


@pytest.mark.long
@pytest.mark.parametrize("when", ["between", "within"])
def test_an_interrupted_search_leaves_its_table_and_goes_on(tmp_path, expected, when):
    def interrupted(job):
        if job.number == 2 and when == "between":
            raise KeyboardInterrupt
        report = job.report

        def stop(solver):
            if job.number == 2 and solver.epoch == 2:
                raise KeyboardInterrupt
            report(solver)

        job.report = stop
        return trials.small(job)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, trial=interrupted)
    assert [row["state"] for row in rows(tmp_path)] == ["done", "done", "unfinished"]
    assert table(tmp_path) != expected
    run(tmp_path, resume=True)
    assert table(tmp_path) == expected
    counts = {number: epochs(tmp_path, number) for number in (0, 2)}
    assert counts[0] == ["0", "1", "2", "3"]
    assert counts[2][-1] == "3"
    assert len(counts[2]) <= 5


def test_more_trials_may_follow(tmp_path, expected):
    run(tmp_path, trials=2)
    with pytest.raises(FileExistsError, match="holds a search already"):
        run(tmp_path)
    run(tmp_path, trials=4, resume=True)
    assert table(tmp_path) == expected


@pytest.mark.long
@pytest.mark.parametrize(
    ("prune", "storage"), [("median", "sqlite:///{}/study.db"), ("halving", None)]
)
def test_hopeless_trials_are_pruned(tmp_path, prune, storage):
    space = {"height": Range(0.0, 1.0)}
    address = storage and storage.format(tmp_path)
    settings = {"trials": 8, "prune": prune, "storage": address, **QUIET}
    results = search(trials.hopeless, space, tmp_path / "s", executor=Inline(), **settings)
    states = {row.state: row for row in results.rows}
    assert set(states) == {"done", "pruned"}
    assert "pruned after epoch" in states["pruned"].message
    heights = [row.values["height"] for row in results.rows]
    assert results.best.best_val_acc == max(heights)


def interrupted(job):
    raise KeyboardInterrupt


def test_searches_that_share_a_study_keep_off_each_other_s_trials(tmp_path):
    """One begins while the other's first trial has not ended, and does what is left."""
    settings = {"trials": 3, "storage": f"sqlite:///{tmp_path}/study.db", "study_name": "one"}
    settings |= {"executor": Inline(), **QUIET}
    space = {"height": Range(0.0, 1.0)}
    with pytest.raises(KeyboardInterrupt):
        search(interrupted, space, tmp_path / "a", **settings)
    search(trials.hopeless, space, tmp_path / "b", **settings)
    assert [row["state"] for row in rows(tmp_path / "b")] == ["unfinished", "done", "done"]
    assert not (tmp_path / "b" / "trial-0000").exists()
    results = search(trials.hopeless, space, tmp_path / "a", resume=True, **settings)
    assert [row.state for row in results.rows] == ["done"] * 3


@pytest.mark.long
@pytest.mark.parametrize("sampler", ["tpe", "grid"])
def test_other_samplers(tmp_path, sampler):
    settings = {"sampler": sampler, "points": 2, "trials": 30, "verbose": False}
    space = {"height": Range(0.0, 1.0), "kind": ["a", "b"]}
    results = search(trials.hopeless, space, tmp_path, executor=Inline(), **settings)
    found = {tuple(row.values.values()) for row in results.rows}
    if sampler == "grid":
        assert found == {(0.0, "a"), (0.0, "b"), (1.0, "a"), (1.0, "b")}
        assert len(results.rows) == 4
    else:
        assert len(found) == len(results.rows) == 30
        late = [row.values["height"] for row in results.rows[15:]]
        assert sum(height > 0.7 for height in late) > 8  # where random sampling has 4.5


def test_a_failing_trial_is_told_and_the_others_go_on(tmp_path, capsys):
    settings = {"trials": 3, "data": trials.data()}
    results = search(trials.failing, SPACE, tmp_path, executor=Inline(), **settings)
    assert [row.state for row in results.rows] == ["failed", "done", "failed"]
    assert rows(tmp_path)[0]["message"] == "ValueError: trial 0 is no good"
    assert "trial 2 failed: with" in capsys.readouterr().out
    with pytest.raises(ValueError, match="every trial has failed, the first by ValueError"):
        search(trials.failing, SPACE, tmp_path / "b", executor=Inline(), trials=1, **QUIET)


def test_a_missing_package_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'cs231n\[search\]'"):
        run(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="f needs nowhere, which is not installed"):
        extras.need("nowhere.at_all", "x", "f")


def test_optuna_comes_silently_into_a_notebook_without_widgets():
    lines = [
        "import sys, types",
        "kernel = types.SimpleNamespace(config={'IPKernelApp': {}})",
        "sys.modules['IPython'] = types.SimpleNamespace(get_ipython=lambda: kernel)",
        "sys.modules['ipykernel.zmqshell'] = types.ModuleType('zmqshell')",
        "sys.modules['ipywidgets'] = None",
        "from cs231n.searching import study",
        "study.optuna().create_study()",
    ]
    child = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert child.stderr == ""


@pytest.mark.parametrize("name", ["trials", "jobs", "threads", "points"])
def test_wrong_numbers_are_refused(tmp_path, name):
    with pytest.raises(ValueError, match=f"search: {name} is 0"):
        run(tmp_path, **{name: 0})


@pytest.mark.parametrize(("name", "value"), [("sampler", "best"), ("prune", "all")])
def test_unknown_names_are_refused(tmp_path, name, value):
    with pytest.raises(ValueError, match=f"search: {name} is '{value}'; expected"):
        run(tmp_path, **{name: value})


def test_a_journal_that_is_a_link_is_refused(tmp_path):
    run(tmp_path, trials=1)
    (tmp_path / "study.journal").rename(tmp_path / "elsewhere")
    (tmp_path / "study.journal").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="is a link"):
        run(tmp_path, resume=True)


def test_a_search_that_another_process_ends_is_not_told_to_go_on(tmp_path):
    (tmp_path / STOP).touch()
    with lock.hold(tmp_path / "search.lock", "this test"), pytest.raises(LockedError):
        run(tmp_path, resume=True)
    assert (tmp_path / STOP).exists()
    assert len(run(tmp_path, resume=True).rows) == 4
    assert not (tmp_path / STOP).exists()
