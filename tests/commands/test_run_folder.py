"""Run folders: their names, folders of strangers, and results that outlive what comes after."""

import argparse
import errno
import json
import os
import re
import shutil
import threading
import time
from pathlib import Path

import pytest
from test_commands import FILES, history, read_json

from cs231n import vis_utils
from cs231n.__main__ import main
from cs231n.classifiers import Network, TwoLayerNet
from cs231n.commands import evaluation
from cs231n.commands.train import options as train_options
from cs231n.commands.train import run_folder
from cs231n.solver import Solver
from cs231n.training import checkpoint

pytestmark = pytest.mark.usefixtures("glyphs_drawn_once")

RUN = ["train", "--model", "two-layer", "--num-training", "60", "--hidden-dims", "4"]
RUN += ["--num-test", "20", "--batch-size", "20"]
LEARNED = {"best_model.npz", "history.csv", "results.json"}
POSIX = pytest.mark.skipif(os.name != "posix", reason="links and pipes of POSIX systems")


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """Return the folder of a finished run."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert main([*RUN, "--output", str(folder)]) == 0
    return folder


@pytest.fixture
def run(finished_run, tmp_path):
    """Return a copy of the folder of a finished run."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def parsed(*words):
    """Return the options that the words give."""
    parser = argparse.ArgumentParser()
    train_options.add_options(parser)
    return parser.parse_args(words)


def test_runs_that_start_at_once_get_folders_of_their_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda form: "20260102-030405")
    start, folders = threading.Barrier(8), []

    def claim():
        start.wait()
        with run_folder.claimed(parsed()) as (folder, _):
            folders.append(folder)
            (folder / "config.json").touch()

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    name = "20260102-030405-three-layer-conv-builtin"
    expected = {name, *(f"{name}-{number}" for number in range(2, 9))}
    assert {folder.name for folder in folders} == expected
    assert {path.name for path in (tmp_path / "runs").iterdir()} == expected


def test_a_run_that_fails_early_leaves_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*RUN, "--data", "cifar10", "--data-dir", "none"]) == 1
    assert main([*RUN, "--learning-rate", "-1"]) == 1
    assert main([*RUN, "--learning-rate", "-1", "--output", "a/b"]) == 1
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "runs").mkdir()
    assert main([*RUN, "--learning-rate", "-1", "--output", "mine"]) == 1
    assert main([*RUN, "--learning-rate", "-1", "--output", "mine/a/b"]) == 1
    assert main([*RUN, "--learning-rate", "-1"]) == 1
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [
        "mine",
        "runs",
    ]


def test_a_run_that_fails_early_is_not_in_the_way_of_one_that_starts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make, made = os.mkdir, []

    def removed_once(path, mode=0o777):
        make(path, mode)
        made.append(Path(path))
        if made == [Path("runs")]:  # as the other run does that has made it, too
            os.rmdir(path)

    monkeypatch.setattr(os, "mkdir", removed_once)
    with run_folder.claimed(parsed()) as (folder, _):
        assert folder.is_dir()
    assert len(made) == 3
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "README.md"], "--output README.md is a file; expected a folder"),
        (["--output", "README.md/run"], r"README.md/run cannot be made \(Not a directory\)"),
        (["--output", "x" * 300], r"x cannot be made \(File name too long\)"),
    ],
)
def test_a_place_that_is_no_folder_is_named(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("mine", encoding="utf-8")
    assert main([*RUN, *words]) == 1
    error = capsys.readouterr().err
    assert re.search(message.replace("/", re.escape(os.sep)), error)
    assert "Errno" not in error


def test_a_folder_in_which_nothing_can_be_written_is_named(tmp_path, monkeypatch, capsys):
    def refused(*args, **kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", refused)
        assert main([*RUN, "--output", str(tmp_path / "run")]) == 1
    assert "run cannot be made (Permission denied)" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refused)
        assert main([*RUN, "--output", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert f"the run folder {tmp_path} cannot be locked" in error
    assert "Errno" not in error


def test_a_file_is_no_run_to_go_on_with(run, capsys):
    for name, hint in (("best_model.npz", f"perhaps {run}"), ("config.json", f"perhaps {run}")):
        assert main(["train", "--resume", str(run / name)]) == 1
        error = capsys.readouterr().err
        assert f"{run / name} is a file; expected the folder of a run, {hint}" in error


ODD_VALUES = {
    "hidden_dims": [[], 5, "5", [5.5], [True], ["5"], [[5]], [5, "--output=x"], [5] * 2000, None],
    "learning_rate": ["1e-3", True, None, [0.1], {}, 10**400],
    "every_sample": [0, 1, "yes", None],
    "model": ["", 7, ["two-layer"], None],
    "epochs": [1.5, "1", True, None],
    "data_dir": [7, "a\0b", "x" * 5000, ["/"]],
    "architecture": [7, "x" * 5000],
    "seed": ["1", 1.5, None],
}


@pytest.mark.parametrize("name", ODD_VALUES)
def test_every_value_of_a_configuration_is_checked(name, run, capsys):
    content = read_json(run / "config.json")
    for value in ODD_VALUES[name]:
        content["options"] = {**content["options"], name: value}
        (run / "config.json").write_text(json.dumps(content), encoding="utf-8")
        assert main(["train", "--resume", str(run)]) == 1
        error = capsys.readouterr().err
        assert f"config.json: {name} is " in error
        assert "; expected " in error
        assert len(error) < 400
        assert not Path("x").exists()


@pytest.mark.long
def test_a_configuration_that_lacks_newer_options_has_their_defaults(run):
    content = read_json(run / "config.json")
    for name in ("mirror", "standardize", "clip_norm", "label_smoothing"):
        del content["options"][name]
    (run / "config.json").write_text(json.dumps(content), encoding="utf-8")
    before = history(run)
    assert main(["train", "--resume", str(run), "--epochs", "2"]) == 0
    assert history(run)[: len(before)] == before
    assert len(history(run)) == 2 * len(before)


@pytest.mark.long
@POSIX
@pytest.mark.parametrize("name", sorted(FILES - {"config.json"}))
def test_nothing_is_written_through_a_link(name, run, tmp_path):
    victim = tmp_path / "victim"
    if (run / name).exists():
        (run / name).rename(victim)
    before = victim.read_bytes()
    (run / name).symlink_to(victim)
    assert main(["train", "--resume", str(run), "--epochs", "2"]) == 0
    assert victim.read_bytes() == before
    assert not (run / name).is_symlink()


@POSIX
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_a_configuration_that_is_no_file_is_refused(make, run, capsys):
    (run / "config.json").unlink()
    make(run / "config.json")
    assert main(["train", "--resume", str(run)]) == 1
    assert "config.json is a pipe" in capsys.readouterr().err


def test_a_configuration_without_end_is_refused(run, capsys):
    with open(run / "config.json", "wb") as file:
        file.truncate(10**12)
    assert main(["train", "--resume", str(run)]) == 1
    assert "config.json has more than" in capsys.readouterr().err


@pytest.mark.long
@POSIX
def test_a_run_whose_folder_became_anothers_keeps_its_results_beside_it(
    tmp_path, monkeypatch, capsys
):
    train, folder = Solver.train, tmp_path / "z"

    def replaced(solver):
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / "config.json").write_text("of another run", encoding="utf-8")
        train(solver)

    monkeypatch.setattr(Solver, "train", replaced)
    assert main([*RUN, "--output", str(folder)]) == 0
    assert f"{folder} was taken away meanwhile; the results go to {folder}-2" in (
        capsys.readouterr().err
    )
    assert (folder / "config.json").read_text(encoding="utf-8") == "of another run"
    assert not LEARNED & {path.name for path in folder.iterdir()}
    assert {"config.json", *LEARNED} <= {path.name for path in (tmp_path / "z-2").iterdir()}


@pytest.mark.long
def test_a_run_without_test_images(tmp_path, capsys):
    folder = tmp_path / "run"
    words = [*RUN, "--num-test", "0", "--mirror", "--output", str(folder)]
    assert main(words) == 0
    assert "no test images" in capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} >= LEARNED
    results = read_json(folder / "results.json")
    assert results["test_acc"] is None
    assert "test_acc_mirror" not in results
    assert main(["train", "--resume", str(folder), "--epochs", "2"]) == 0


def failing(*args, **kwargs):
    """Fail as a full disk, a broken library or too little memory may."""
    raise RuntimeError("broken")


def test_a_picture_that_cannot_be_drawn_is_a_warning(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(vis_utils, "plot_history", failing)
    assert main([*RUN, "--output", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr()
    assert "there is no picture of the training curves (RuntimeError('broken'))" in printed.err
    assert "best validation accuracy" in printed.out
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES - {"training_curves.png"}


@pytest.mark.long
def test_a_failing_test_leaves_what_was_learned(tmp_path, monkeypatch, capsys):
    def short_of_memory(*args, **kwargs):
        raise MemoryError

    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "evaluated", short_of_memory)
        assert main([*RUN, "--output", str(folder)]) == 1
    assert capsys.readouterr().err == "cs231n train: MemoryError\n"
    assert {path.name for path in folder.iterdir()} >= LEARNED
    assert read_json(folder / "results.json")["iterations"] == 3
    assert main(["train", "--resume", str(folder)]) == 0
    assert read_json(folder / "results.json")["test_acc"] >= 0


def test_the_test_images_are_looked_at_once(tmp_path, monkeypatch):
    seen, loss = [], TwoLayerNet.loss

    def counted(model, X, y=None, **options):
        seen.append(len(X))
        return loss(model, X, y, **options)

    monkeypatch.setattr(TwoLayerNet, "loss", counted)
    assert main([*RUN, "--batch-size", "30", "--output", str(tmp_path / "run")]) == 0
    assert seen.count(20) == 1


@pytest.mark.long
def test_parameters_that_cannot_be_written_do_not_take_the_history_with_them(
    tmp_path, monkeypatch, capsys
):
    def no_space(*args):
        raise OSError(errno.ENOSPC, "cannot write best_model.npz (No space left on device)")

    monkeypatch.setattr(Network, "save", no_space)
    assert main([*RUN, "--output", str(tmp_path / "run")]) == 1
    printed = capsys.readouterr()
    assert "No space left on device" in printed.err
    assert "best validation accuracy" in printed.out
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert written == FILES - {"best_model.npz"} | {"checkpoint.previous.npz"}


def test_an_error_while_results_are_written_does_not_hide_why_training_ended(
    tmp_path, monkeypatch, capsys
):
    def interrupted(solver):
        solver._step()
        raise KeyboardInterrupt

    monkeypatch.setattr(Solver, "train", interrupted)
    monkeypatch.setattr(Network, "save", failing)
    assert main([*RUN, "--output", str(tmp_path / "run")]) == 130
    error = capsys.readouterr().err
    assert "cs231n train: broken\n" in error
    assert error.endswith("cs231n: interrupted\n")


@pytest.mark.long
def test_the_time_of_a_run_is_that_of_all_its_sessions(run):
    earlier = round(checkpoint.load(run / "checkpoint")["seconds"], 2)
    assert 0 < earlier <= read_json(run / "results.json")["train_seconds"]
    for epochs in ("1", "3"):  # the first has nothing left to do
        assert main(["train", "--resume", str(run), "--epochs", epochs]) == 0
        seconds = read_json(run / "results.json")["train_seconds"]
        assert seconds >= earlier
        earlier = seconds


@pytest.mark.long
def test_a_minibatch_has_no_more_samples_than_there_are(tmp_path, capsys):
    words = [*RUN[:-2], "--output", str(tmp_path / "run")]
    assert main([*words, "--batch-size", "61"]) == 1
    assert "--batch-size is 61, but there are 60 training images" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main([*words, "--num-training", "30"]) == 0  # the default is 50
    assert read_json(tmp_path / "run" / "config.json")["options"]["batch_size"] == 30


def test_an_older_run_with_larger_minibatches_goes_on(run):
    content = read_json(run / "config.json")
    content["options"]["batch_size"] = 90
    (run / "config.json").write_text(json.dumps(content), encoding="utf-8")
    (run / "checkpoint.npz").unlink()
    assert main(["train", "--resume", str(run)]) == 0
    assert len(history(run)) == 1
