"""`train --resume`: from the command line, after kills, on full disks, and what it refuses."""

import errno
import json
import os
import re
import shutil
import signal
from unittest import mock

import numpy as np
import pytest
from test_commands import FILES, PREVIOUS, finished, read_json, started

from cs231n.__main__ import main
from cs231n.commands.train import build
from cs231n.commands.train.run_folder import read_configuration
from cs231n.solver import Solver
from cs231n.training import checkpoint

pytestmark = pytest.mark.usefixtures("glyphs_drawn_once")

SMALL = ["--num-training", "120", "--num-test", "100", "--hidden-dims", "6", "--print-every", "1"]
LIVELY = [
    *("--model", "fully-connected", "--normalization", "batchnorm", "--dropout", "0.7"),
    *("--augment", "--schedule", "cosine", "--every-sample", "--weight-decay", "0.01"),
    *("--clip-norm", "5", "--lr-decay", "0.9", "--epochs", "6", "--batch-size", "25"),
]
RUN = ["train", *SMALL, *LIVELY]


def numbers(folder):
    """Return all numbers that a run wrote."""
    results = read_json(folder / "results.json")
    del results["train_seconds"]
    history = (folder / "history.csv").read_text(encoding="utf-8")
    with np.load(folder / "best_model.npz") as archive:
        return results, history, {name: archive[name].tobytes() for name in archive.files}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return the folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main([*RUN, "--output", str(folder)]) == 0
    assert {path.name for path in folder.iterdir()} == FILES
    return folder


def killed(parent, line, *more):
    """Start a run, and kill it when it has printed a line."""
    process = started(parent, *RUN, *more, "--output", "run")
    while line not in (printed := process.stdout.readline()) and printed:
        pass
    assert printed
    process.kill()
    finished(process)
    return parent / "run"


@pytest.mark.sampled(5)
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_run_goes_on_bit_for_bit(whole, tmp_path):
    folder = killed(tmp_path, "(Iteration 14 ", "--checkpoint-every", "4")
    assert not (folder / "history.csv").exists()
    status, out, err = finished(started(tmp_path, "train", "--resume", "run"))
    assert (status, err) == (0, "")
    lines = [line for line in out.splitlines() if line.startswith("(Iteration")]
    assert "going on after iteration 1" in out
    assert len(lines) < 20
    assert {path.name for path in folder.iterdir()} == FILES
    assert numbers(folder) == numbers(whole)
    options = read_json(folder / "config.json")["options"]
    assert options["checkpoint_every"] == 4
    assert "resume" not in options


@pytest.mark.long
def test_a_run_without_a_checkpoint_starts_anew(whole, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    shutil.copy(whole / "config.json", folder)
    assert main(["train", "--resume", str(folder)]) == 0
    assert numbers(folder) == numbers(whole)


def copied(folder, tmp_path):
    """Return a copy of a run folder."""
    shutil.copytree(folder, tmp_path / "run")
    return tmp_path / "run"


@pytest.mark.long
def test_a_finished_run_gives_its_results_again_and_can_be_extended(whole, tmp_path, capsys):
    folder = copied(whole, tmp_path)
    assert main(["train", "--resume", str(folder)]) == 0
    printed = capsys.readouterr().out
    assert "going on after iteration 30" in printed
    assert "(Iteration" not in printed
    assert numbers(folder) == numbers(whole)
    assert main(["train", "--resume", str(folder), "--epochs", "7", "--print-every", "2"]) == 0
    assert "(Iteration 33 / 35)" in capsys.readouterr().out
    assert len((folder / "history.csv").read_text(encoding="utf-8").splitlines()) == 36
    assert read_json(folder / "config.json")["options"]["epochs"] == 7


@pytest.mark.long
def test_an_earlier_checkpoint_serves_where_the_last_one_is_damaged(
    whole, tmp_path, capsys, monkeypatch
):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "tidy", lambda path: 0)  # as if killed just before
        assert main([*RUN, "--output", str(folder)]) == 0
    content = bytearray((folder / "checkpoint.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "checkpoint.npz").write_bytes(content)
    assert main(["train", "--resume", str(folder)]) == 0
    printed = capsys.readouterr()
    assert "checkpoint.npz is damaged" in printed.err
    assert "going on after iteration 25" in printed.out
    assert numbers(folder) == numbers(whole)


def edited(folder, **options):
    """Change options in the configuration of a run."""
    path = folder / "config.json"
    content = read_json(path)
    content["options"].update(options)
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"learning_rate": 0.5}, r"run with optim_config \{'learning_rate': 0\.001\}; .* 0\.5"),
        ({"batch_size": 26}, "run with batch_size 25; its configuration says 26"),
        ({"hidden_dims": [7]}, "Solver.resume: the checkpoint is that of another run: .* W1"),
        ({"normalization": "layernorm"}, "name is ln, in the checkpoint bn"),
        ({"dtype": "float64"}, "network dtype is float64, in the checkpoint float32"),
        ({"num_training": 130}, r"data X_train is float32 \(130, 3, 32, 32\)"),
        ({"shift": 3}, "augment is FlipAndShift"),
        ({"schedule": "step"}, r"schedules\.step, in the checkpoint cs231n\.schedules\.cosine"),
        ({"schedule": "constant"}, r"the run used schedule=cs231n\.schedules\.cosine"),
        ({"model": "resnet"}, "config.json: model is 'resnet'; expected three-layer-conv"),
        ({"epochs": "many"}, "config.json: epochs is 'many'; expected a whole number"),
        ({"no_such": 1}, "config.json: there is no option 'no_such'"),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(options, message, whole, tmp_path, capsys):
    folder = copied(whole, tmp_path)
    edited(folder, **options)
    before = numbers(folder)
    capsys.readouterr()
    assert main(["train", "--resume", str(folder)]) == 1
    assert re.search(message, capsys.readouterr().err)
    assert numbers(folder) == before


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '{"options": 3}', "{}", "[" * 100_000])
def test_a_damaged_configuration_is_named(content, tmp_path, capsys):
    (tmp_path / "config.json").write_text(content, encoding="utf-8")
    assert main(["train", "--resume", str(tmp_path)]) == 1
    assert "config.json is damaged" in capsys.readouterr().err


def test_what_did_nothing_in_a_run_of_an_older_version_is_no_obstacle(tmp_path):
    stored = {"test_shift": 1, "num_test": 0, "augment": False, "flip": "none", "epochs": 3}
    (tmp_path / "config.json").write_text(json.dumps({"options": stored}), encoding="utf-8")
    found = read_configuration(tmp_path)
    assert (found.test_shift, found.num_test, found.flip, found.epochs) == (0, 0, "random", 3)


def test_what_older_versions_took_is_still_resumed(tmp_path, capsys):
    folder = tmp_path / "run"
    words = ["--num-training", "60", "--num-test", "20", "--model", "convnet", "--augment"]
    words += ["--architecture", "conv2-gmax-fc10", "--cutout", "40", "--groups", "b1:rate=1"]
    with mock.patch.object(build, "refuse_beyond_images"):
        assert main(["train", *words, "--epochs", "1", "--output", str(folder)]) == 0
    edited(folder, groups=["b1:until=0.5", "b1:rate=1"])
    assert main(["train", "--resume", str(folder), "--epochs", "2"]) == 0
    assert "going on after iteration" in capsys.readouterr().out
    edited(folder, architecture="", groups=["b1"])
    found = read_configuration(folder)
    assert (found.architecture, build.groups(found.groups)) == (None, {"b1": {}})


def test_a_folder_without_a_run_is_named(tmp_path, capsys):
    assert main(["train", "--resume", str(tmp_path / "none")]) == 1
    assert "none is no run folder" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


@pytest.mark.long
def test_an_option_that_may_change_is_taken_though_it_is_the_default(whole, tmp_path, capsys):
    folder = copied(whole, tmp_path)
    assert main(["train", "--resume", str(folder), "--epochs", "1", "--print-every", "20"]) == 0
    options = read_json(folder / "config.json")["options"]
    assert (options["epochs"], options["print_every"]) == (1, 20)
    assert "given" not in options


def test_options_that_cannot_change_are_named(whole, capsys):
    assert main(["train", "--resume", str(whole), "--batch-size", "7", "--every-sample"]) == 1
    error = capsys.readouterr().err
    assert "found --batch-size, --every-sample too, expected none but --epochs" in error
    # The default is another value than that of the run, too.
    assert main(["train", "--resume", str(whole), "--batch-size", "50"]) == 1
    assert "found --batch-size too" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "--resume", str(whole), "--output", "x"])
    assert "not allowed with argument" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")
def test_a_second_process_is_kept_out_of_the_run_folder(tmp_path):
    first = started(tmp_path, *RUN, "--epochs", "100000", "--output", "run")
    while "(Iteration 3 " not in first.stdout.readline():
        pass
    try:
        status, out, err = finished(started(tmp_path, "train", "--resume", "run"))
        assert status == 1
        assert f"the run folder run is in use by process {first.pid} on" in err
        assert "(Iteration" not in out
        status, _, err = finished(started(tmp_path, *RUN, "--output", "run"))
        assert status == 1
        assert "run is not empty" in err
    finally:
        first.send_signal(signal.SIGKILL)
        finished(first)
    assert (tmp_path / "run" / "run.lock").exists()
    edited(tmp_path / "run", epochs=1)
    assert finished(started(tmp_path, "train", "--resume", "run"))[0] == 0
    assert not (tmp_path / "run" / "run.lock").exists()


@pytest.mark.long
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")
def test_of_two_that_start_at_once_one_gets_the_folder(whole, tmp_path):
    both = [started(tmp_path, *RUN, "--output", "run") for _ in range(2)]
    results = sorted(finished(process) for process in both)
    assert [status for status, _, _ in results] == [0, 1]
    assert "is in use by process" in results[1][2] or "is not empty" in results[1][2]
    assert "Traceback" not in results[1][2]
    assert numbers(tmp_path / "run") == numbers(whole)


def no_space(*args):
    """Fail as a full disk does."""
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.long
def test_a_disk_that_fills_up_keeps_what_was_written(whole, tmp_path, capsys, monkeypatch):
    folder = copied(whole, tmp_path)
    before = numbers(folder)
    train = Solver.train

    def then_full(solver):
        train(solver)
        monkeypatch.setattr(os, "fsync", no_space)

    with monkeypatch.context() as patch:
        patch.setattr(Solver, "train", then_full)
        assert main(["train", "--resume", str(folder), "--epochs", "8"]) == 1
        monkeypatch.undo()
    assert "No space left on device" in capsys.readouterr().err
    assert numbers(folder) == before
    assert checkpoint.load(folder / "checkpoint")["iteration"] == 40
    assert {path.name for path in folder.iterdir()} == FILES | PREVIOUS
    assert main(["train", "--resume", str(folder)]) == 0
    assert len((folder / "history.csv").read_text(encoding="utf-8").splitlines()) == 41


@pytest.mark.long
def test_a_folder_that_vanishes_is_made_again_for_the_results(whole, tmp_path, capsys, monkeypatch):
    step, folder = Solver._step, tmp_path / "run"

    def vanishing(solver):
        step(solver)
        if solver.state.iteration == 12:
            shutil.rmtree(folder)

    monkeypatch.setattr(Solver, "_step", vanishing)
    assert main([*RUN, "--output", str(folder)]) == 0
    assert "cannot be written" in capsys.readouterr().err
    assert numbers(folder) == numbers(whole)


@pytest.mark.long
def test_callbacks_by_options_go_on_too(tmp_path, capsys):
    given = ("--model", "two-layer", "--early-stopping", "1", "--csv-log", "--learning-rate", "0")
    folder = str(tmp_path / "run")
    assert main(["train", *SMALL, "--epochs", "9", *given, "--output", folder]) == 0
    out = capsys.readouterr().out
    assert "stopped after iteration 4 of 18 with validation accuracy" in out
    assert "val_acc was not better than" in out
    table = (tmp_path / "run" / "log.csv").read_text()
    assert table.count("\n") == 5
    assert main(["train", "--resume", folder]) == 0
    assert "stopped after iteration 4 of 18" in capsys.readouterr().out
    assert (tmp_path / "run" / "log.csv").read_text() == table
    history = (tmp_path / "run" / "history.csv").read_text().splitlines()
    assert history[0] == "iteration,epoch,loss,train_acc,val_acc,val_loss"
    assert float(history[1].split(",")[5]) > 0


def test_event_files_are_not_written_through_a_link(tmp_path, capsys):
    pytest.importorskip("tensorboard")
    given = [*SMALL, "--model", "two-layer", "--tensorboard", "--output", str(tmp_path / "run")]
    assert main(["train", *given]) == 0
    (events,) = (tmp_path / "run" / "tensorboard").iterdir()
    events.unlink()
    events.parent.rmdir()
    (tmp_path / "elsewhere").mkdir()
    events.parent.symlink_to(tmp_path / "elsewhere")
    assert main(["train", "--resume", str(tmp_path / "run"), "--epochs", "2"]) == 1
    assert "tensorboard is a link; expected a folder or none" in capsys.readouterr().err
    assert not list((tmp_path / "elsewhere").iterdir())
