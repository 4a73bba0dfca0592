"""The command line: what it writes, prints and returns, and what it says about mistakes."""

import csv
import functools
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from children import environment
from PIL import Image

import cs231n
from cs231n import data_utils, fast_layers, layer_utils, layers, modern_layers, schedules
from cs231n.__main__ import main
from cs231n.checking.layer_table import LAYERS, SANDWICHES
from cs231n.classifiers import ConvNet, FullyConnectedNet, ThreeLayerConvNet, TwoLayerNet
from cs231n.commands import bench
from cs231n.commands.train import build
from cs231n.kernels import backend
from cs231n.measuring import competitors

pytestmark = pytest.mark.usefixtures("glyphs_drawn_once")

FILES = {
    *("config.json", "history.csv", "results.json", "best_model.npz"),
    *("training_curves.png", "filters.png", "checkpoint.npz", "evaluation.npz", "report.html"),
}
PREVIOUS = {"checkpoint.previous.npz"}  # stays in a run that is not at its end
PRINTED = FILES - {"results.json"}
SMALL = ["--num-training", "200", "--num-filters", "4", "--filter-size", "3"]
SMALL += ["--hidden-dims", "20", "--print-every", "2"]


def started(folder, *arguments):
    """Start the command in a process of its own, in a folder that knows no data set."""
    surroundings = environment(PYTHONUNBUFFERED="1")
    surroundings.pop("CS231N_DATA", None)
    return subprocess.Popen(
        [sys.executable, "-m", "cs231n", *arguments],
        cwd=folder,
        env=surroundings,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_signals if os.name == "posix" else None,
    )


def heed_signals():
    """Undo what background jobs of a shell and those under nohup inherit: signals are ignored."""
    for name in (signal.SIGINT, signal.SIGHUP):
        signal.signal(name, signal.SIG_DFL)


def finished(process):
    """Wait for a process; return its exit status and what it printed."""
    try:
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, out, err


def history(folder):
    """Return the rows of the history."""
    with open(folder / "history.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_json(path):
    """Return the content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the folder and the output of one training run."""
    parent = tmp_path_factory.mktemp("train")
    process = started(parent, "train", *SMALL, "--epochs", "2", "--output", "run")
    status, out, err = finished(process)
    assert (status, err) == (0, "")
    return parent / "run", out


def test_train_writes_the_run_folder_and_prints_where(trained):
    folder, out = trained
    assert {path.name for path in folder.iterdir()} == FILES
    for name in PRINTED:
        assert str(Path("run", name)) in out
    assert "built-in" in out
    assert "not CIFAR-10" in out
    assert "200 training" in out


def test_train_prints_the_solvers_lines(trained):
    lines = [line for line in trained[1].splitlines() if line.startswith("(")]
    assert [line.split(")")[0] for line in lines] == [
        *("(Iteration 1 / 8", "(Epoch 0 / 2", "(Iteration 3 / 8", "(Epoch 1 / 2"),
        *("(Iteration 5 / 8", "(Iteration 7 / 8", "(Epoch 2 / 2"),
    ]


def test_history_has_a_row_for_each_iteration(trained):
    folder, out = trained
    rows = history(folder)
    assert list(rows[0]) == ["iteration", "epoch", "loss", "train_acc", "val_acc", "val_loss"]
    assert [int(row["iteration"]) for row in rows] == list(range(1, 9))
    assert [float(row["epoch"]) for row in rows] == [number / 4 for number in range(1, 9)]
    for number, loss in re.findall(r"\(Iteration (\d+) / 8\) loss: (\S+)", out):
        assert float(rows[int(number) - 1]["loss"]) == pytest.approx(float(loss), abs=5e-7)
    checks = [row for row in rows if row["val_acc"]]
    assert [row["iteration"] for row in checks] == ["1", "4", "8"]
    printed = re.findall(r"train acc: (\S+); val_acc: (\S+)", out)
    found = [(float(row["train_acc"]), float(row["val_acc"])) for row in checks]
    assert np.array(found) == pytest.approx(np.array(printed, dtype=float), abs=5e-7)


def test_the_best_parameters_give_the_accuracies_of_the_results(trained):
    folder, out = trained
    results = read_json(folder / "results.json")
    model = ThreeLayerConvNet(num_filters=4, filter_size=3, hidden_dim=20)
    model.load(folder / "best_model.npz")
    data = data_utils.get_builtin_data(num_training=200)
    for split, key in (("val", "best_val_acc"), ("test", "test_acc")):
        predicted = np.argmax(model.loss(data[f"X_{split}"]), axis=1)
        assert np.mean(predicted == data[f"y_{split}"]) == pytest.approx(results[key])
        assert f"{results[key]:.4f}" in out
    assert results["best_val_acc"] == max(float(row["val_acc"] or 0) for row in history(folder))
    assert results["iterations"] == 8
    assert results["train_seconds"] > 0


@pytest.mark.long
def test_the_configuration_tells_how_to_repeat_the_run(trained, tmp_path):
    folder, _ = trained
    config = read_json(folder / "config.json")
    options = config["options"]
    assert options["num_filters"] == 4
    assert options["learning_rate"] == 1e-3
    assert options["seed"] == 231
    assert config["numpy"] == np.__version__
    assert cs231n.__version__ in config["cs231n"]
    again = tmp_path / "again"
    assert main(["train", *SMALL, "--epochs", "2", "--output", str(again)]) == 0
    found, expected = ([float(row["loss"]) for row in history(one)] for one in (again, folder))
    assert found == pytest.approx(expected, rel=1e-4)


def test_the_pictures_show_something(trained):
    folder, _ = trained
    for name in ("training_curves.png", "filters.png"):
        with Image.open(folder / name) as image:
            pixels = np.asarray(image.convert("RGB"))
        assert min(pixels.shape[:2]) >= 100
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20


MODELS = {
    "fully-connected": (
        ["--model", "fully-connected", "--hidden-dims", "9", "8"],
        lambda: FullyConnectedNet([9, 8]),
    ),
    "batchnorm": (
        [
            *("--model", "fully-connected", "--hidden-dims", "9", "--dropout", "0.7"),
            *("--normalization", "batchnorm", "--update-rule", "nesterov_momentum"),
        ],
        lambda: FullyConnectedNet([9], normalization="batchnorm"),
    ),
    "two-layer": (
        ["--model", "two-layer", "--hidden-dims", "9", "--dtype", "float64", "--every-sample"],
        lambda: TwoLayerNet(hidden_dim=9),
    ),
}


DEEP = ["--model", "convnet", "--architecture", "conv8s2-pool-conv16-gmax-fc9-fc10"]
RECIPE = ["--schedule", "one-cycle", "--update-rule", "nesterov_momentum", "--every-sample"]
RECIPE += ["--momentum", "0.8", "--dampening", "0.3"]
RECIPE += ["--learning-rate", "0.1", "--augment", "--shift", "2", "--standardize", "--reg", "0"]
RECIPE += ["--weight-decay", "0.01", "--label-smoothing", "0.1", "--clip-norm", "5"]
RECIPE += ["--dropout", "0.8", "--normalization", "groupnorm", "--mirror", "--num-test", "130"]


@pytest.mark.long
def test_a_convnet_with_everything(tmp_path, capsys):
    folder = tmp_path / "run"
    small = ["--num-training", "200", "--epochs", "3", "--output", str(folder)]
    assert main(["train", *DEEP, *RECIPE, *small]) == 0
    printed = capsys.readouterr()
    assert "200 training, 1000 validation and 130 test images" in printed.out
    assert {path.name for path in folder.iterdir()} == FILES
    model, results = (
        ConvNet(DEEP[-1], normalization="groupnorm"),
        read_json(folder / "results.json"),
    )
    model.load(folder / "best_model.npz")
    data = data_utils.get_builtin_data(num_training=200, num_test=130)
    data_utils.standardize(data)
    scores = model.loss(data["X_test"])
    mirrored = scores + model.loss(data["X_test"][..., ::-1])
    for found, key in ((scores, "test_acc"), (mirrored, "test_acc_mirror")):
        accuracy = np.mean(np.argmax(found, axis=1) == data["y_test"])
        assert accuracy == pytest.approx(results[key])
        assert f"test accuracy {accuracy:.4f}" in printed.out
    assert 0 < results["val_acc_mirror"] < 1


def test_the_options_of_training_reach_the_solver(tmp_path, monkeypatch):
    seen = {}

    class Recorded(build.Solver):
        def __init__(self, model, data, **arguments):
            seen.update(arguments, model=model)
            super().__init__(model, data, **arguments)

    monkeypatch.setattr(build, "Solver", Recorded)
    arguments = [*DEEP, *RECIPE, "--num-training", "50", "--output", str(tmp_path / "run")]
    assert main(["train", *arguments]) == 0
    assert repr(seen["augment"]) == "FlipAndShift(flip=True, pad=2, mode='reflect')"
    assert seen["schedule"] is schedules.one_cycle
    assert (seen["weight_decay"], seen["clip_norm"]) == (0.01, 5.0)
    assert (seen["replace"], seen["update_rule"]) == (False, "nesterov_momentum")
    config = {"learning_rate": 0.1, "momentum": 0.8, "dampening": 0.3}
    assert seen["optim_config"] == config
    model = seen["model"]
    assert (model.label_smoothing, model.dropout_param["p"], model.reg) == (0.1, 0.8, 0)


@pytest.mark.sampled(5)
@pytest.mark.parametrize(("arguments", "build"), MODELS.values(), ids=MODELS)
def test_every_model_can_be_trained_and_loaded(arguments, build, tmp_path, capsys):
    folder = tmp_path / "run"
    small = ["--num-training", "130", "--batch-size", "50", "--output", str(folder)]
    assert main(["train", *arguments, *small]) == 0
    assert capsys.readouterr().err == ""
    assert {path.name for path in folder.iterdir()} == FILES
    assert len(history(folder)) == (3 if "--every-sample" in arguments else 2)
    model = build()
    model.load(folder / "best_model.npz")
    data = data_utils.get_builtin_data(num_training=130)
    accuracy = np.mean(np.argmax(model.loss(data["X_val"]), axis=1) == data["y_val"])
    assert accuracy == pytest.approx(read_json(folder / "results.json")["best_val_acc"])


@pytest.mark.long
@pytest.mark.parametrize("architecture", ["pool-fc12-fc10", "gavg-fc10"])
def test_a_network_whose_first_weights_see_no_image_has_no_picture_of_them(architecture, tmp_path):
    folder = tmp_path / "run"
    words = ["--model", "convnet", "--architecture", architecture, "--num-training", "120"]
    assert main(["train", *words, "--output", str(folder)]) == 0
    assert {path.name for path in folder.iterdir()} == FILES - {"filters.png"}


@pytest.mark.long
def test_history_of_epochs_of_one_iteration(tmp_path, capsys):
    small = ["--model", "two-layer", "--num-training", "40", "--epochs", "3"]
    assert main(["train", *small, "--output", str(tmp_path / "run")]) == 0
    printed = re.findall(r"train acc: (\S+); val_acc: (\S+)", capsys.readouterr().out)
    rows = history(tmp_path / "run")
    found = [(float(row["train_acc"]), float(row["val_acc"])) for row in rows]
    assert np.array(found) == pytest.approx(np.array(printed, dtype=float), abs=5e-7)
    assert [row["epoch"] for row in rows] == ["1.0", "2.0", "3.0"]


@pytest.mark.long
def test_without_output_a_new_folder_is_made_in_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *SMALL, "--epochs", "1"]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    assert {path.name for path in folder.iterdir()} == FILES
    assert "three-layer-conv-builtin" in folder.name
    assert str(Path("runs", folder.name, "best_model.npz")) in capsys.readouterr().out


def test_a_folder_that_holds_something_is_refused(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    assert main(["train", *SMALL, "--output", str(tmp_path)]) == 1
    printed = capsys.readouterr()
    assert f"cs231n train: {tmp_path} is not empty" in printed.err
    assert "(Iteration" not in printed.out
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.long
def test_an_empty_folder_is_taken(tmp_path):
    assert main(["train", *SMALL, "--epochs", "1", "--output", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == FILES


def test_cifar10_that_is_not_there(tmp_path):
    (tmp_path / "empty").mkdir()
    arguments = ["--data", "cifar10", "--data-dir", "empty", "--output", "run"]
    status, out, err = finished(started(tmp_path, "train", *arguments))
    assert status == 1
    assert "python -m cs231n download" in err
    assert "Traceback" not in out + err
    # After the download the same command must not find its own folder in the way.
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_cifar10_that_is_there(cifar10_dir, tmp_path, capsys):
    arguments = ["--data", "cifar10", "--data-dir", str(cifar10_dir), "--output"]
    assert main(["train", *SMALL, *arguments, str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert "on CIFAR-10: 200 training, 1000 validation and 1000 test images" in printed
    assert "built-in" not in printed
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "; did you mean 'train'?\n"),
        (["tensor"], "invalid choice: 'tensor' (choose"),
        (["train", "--epocs", "1"], "unrecognized arguments: '--epocs' (did you mean '--epochs'?)"),
        (["train", "--epochs", "one"], "invalid int value: 'one'"),
        (["train", "--model", "resnet"], "invalid choice: 'resnet'"),
        (["train", "--update-rule", "adm"], "; did you mean 'adam'?\n"),
        (["check", "--sed", "1"], "unrecognized arguments: '--sed' (did you mean '--seed'?)\nHelp"),
        (["bench", "--dtype", "float16"], "invalid choice: 'float16'"),
    ],
)
def test_typing_errors_exit_with_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert printed.err.startswith("cs231n")
    assert "usage" not in printed.err  # that of train would push the message out of sight
    assert "--help" in printed.err.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "two-layer", "--dropout", "0.5"], "--model two-layer has no --dropout"),
        (["--normalization", "batchnorm"], "--model three-layer-conv has no --normalization; "),
        ([*DEEP[:2], "--normalization", "layernorm"], "ConvNet: normalization is 'layernorm'"),
        ([*DEEP[:3], "conv4-fcc"], "ConvNet: token 'fcc' at position 2"),
        (["--architecture", "fc10"], "has no --architecture; expected --model convnet with it"),
        (["--label-smoothing", "0.1"], "has no --label-smoothing; expected --model convnet with"),
        ([*DEEP, "--num-filters", "4"], "--model convnet has no --num-filters"),
        ([*DEEP, "--hidden-dims", "4"], "--model convnet has no --hidden-dims; expected .*two-lay"),
        ([*DEEP[:3], "conv4-fc9"], "ends in 9 scores, but there are 10 classes; expected .* fc10"),
        (["--data-dir", "x"], "--data-dir is the folder of CIFAR-10; expected --data cifar10"),
        (["--shift", "2"], "--shift is for --augment; expected --augment with it"),
        (["--learning-rate", "-1"], "learning_rate is -1"),
        (["--num-training", "1000000000"], "llocate"),
        (["--weight-decay", "-1"], "weight_decay is -1"),
        (["--clip-norm", "0"], "clip_norm is 0"),
        (["--augment", "--shift", "-1"], "--shift is -1 for images of 32x32; expected 0 to 31"),
        (["--augment", "--shift", "32"], "--shift is 32 for images of 32x32; expected 0 to 31"),
        (["--augment", "--cutout", "33"], "--cutout is 33 for images of 32x32; expected 0 to 32"),
        (["--test-shift", "32"], "--test-shift is 32 for images of 32x32; expected 0 to 31"),
        (["--test-shift", "-1"], "--test-shift is -1 for images of 32x32; expected 0 to 31"),
        (["--test-shift", "1", "--num-test", "0"], "--test-shift .* expected --num-test above 0"),
        (["--num-test", "-2"], "num_test is -2"),
        (["--hidden-dims", "5", "6"], "has one hidden layer; found --hidden-dims 5 6"),
        (["--batch-size", "0"], "batch_size is 0"),
        (["--epochs", "-1"], "num_epochs is -1"),
        (["--learning-rate", "nan"], "learning_rate"),
        (["--num-filters", "0"], "num_filters is 0"),
        (["--reg", "-1"], "reg is -1"),
        (["--num-training", "0"], "(num_training|X_train)"),
        (["--seed", "-1"], "[Ss]eed"),
    ],
)
def test_wrong_values_exit_with_1_and_leave_no_folder(arguments, message, tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["train", *SMALL[:2], *arguments, "--output", str(folder)]) == 1
    printed = capsys.readouterr()
    assert re.search(rf"^cs231n train: .*{message}", printed.err)
    assert "Traceback" not in printed.err
    assert not folder.exists()


def test_a_run_without_epochs_says_that_there_are_no_results(tmp_path, capsys):
    folder = tmp_path / "run"
    assert main(["train", *SMALL[:2], "--epochs", "0", "--output", str(folder)]) == 0
    assert "no iteration was made: there are no results\n" in capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} == {"config.json"}


@pytest.mark.long
def test_a_diverging_run_keeps_its_history(tmp_path):
    arguments = ["--update-rule", "sgd", "--learning-rate", "1e9", "--epochs", "20"]
    status, out, err = finished(started(tmp_path, "train", *SMALL, *arguments, "--output", "run"))
    assert status == 1
    assert re.search(r"cs231n train: Solver: the loss is (nan|inf) at iteration \d+", err)
    assert "learning rate 1e+09" in err
    assert "Traceback" not in out + err
    rows = history(tmp_path / "run")
    assert f"at iteration {len(rows) + 1} " in err
    written = {path.name for path in (tmp_path / "run").iterdir()}
    assert written == FILES
    model = ThreeLayerConvNet(num_filters=4, filter_size=3, hidden_dim=20)
    model.load(tmp_path / "run" / "best_model.npz")
    assert all(np.isfinite(w).all() for w in model.params.values())


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX systems")
def test_ctrl_c_writes_the_results_so_far(tmp_path):
    process = started(tmp_path, "train", *SMALL, "--epochs", "100000", "--output", "run")
    while "(Iteration 21 " not in (line := process.stdout.readline()) and line:
        pass
    process.send_signal(signal.SIGINT)
    status, out, err = finished(process)
    assert status == 130
    assert "interrupted" in err
    assert "To go on from the last checkpoint: python -m cs231n train --resume run\n" in err
    assert "Traceback" not in out + err
    assert "best validation accuracy" in out
    folder = tmp_path / "run"
    assert {path.name for path in folder.iterdir()} == FILES | PREVIOUS
    rows = history(folder)
    results = read_json(folder / "results.json")
    assert len(rows) == results["iterations"] >= 21
    line = rf"stopped after iteration {len(rows)} of \d+ with validation accuracy (\S+)\n"
    accuracies = [float(re.search(line, out)[1]), *(float(row["val_acc"] or 0) for row in rows)]
    assert results["best_val_acc"] == pytest.approx(max(accuracies), abs=5e-5)
    epochs = str(len(rows) // 4 + 1)
    again = started(tmp_path, "train", "--resume", "run", "--epochs", epochs)
    status, out, _ = finished(again)
    assert status == 0
    assert f"going on after iteration {len(rows)}\n" in out
    assert history(folder)[: len(rows)] == rows


def layer_names():
    """Return the names of all layers, from those of the public functions."""
    twins = {name for name in fast_layers.__all__ if name.endswith("_fast")}
    public = {*layers.__all__, *modern_layers.__all__, *layer_utils._OWN, *twins}
    forwards = {name for name in public if "_forward" in name}
    losses = {name for name in public if "_loss" in name}
    return {*(name.replace("_forward", "") for name in forwards), *losses, "batchnorm_alt"}


def test_check_lists_every_layer(capsys):
    assert main(["check"]) == 0
    lines = capsys.readouterr().out.splitlines()
    checked = {line.split()[0]: line.split()[-1] for line in lines[2:-1]}
    assert set(checked) == layer_names()
    assert set(checked.values()) == {"ok"}
    assert lines[-1] == "all gradients are right"


def slightly_off(backward):
    """Return a backward pass whose last gradient is off by a thousandth."""

    @functools.wraps(backward)
    def wrong(*args, **kwargs):
        result = backward(*args, **kwargs)
        if not isinstance(result, tuple):
            return result * 1.001
        return (*result[:-1], result[-1] * 1.001)

    return wrong


def spoil(monkeypatch, name, way, **passes):
    """Let the table of layers have other functions for one of them."""
    table = LAYERS if name in LAYERS else SANDWICHES
    spoiled = getattr(table[name], way)._replace(**passes)
    monkeypatch.setitem(table, name, table[name]._replace(**{way: spoiled}))


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    ("name", "way", "layer"),
    [
        ("relu", "reference", "relu"),
        ("batchnorm_alt", "reference", "batchnorm_alt"),
        ("conv", "reference", "conv_naive"),
        ("max_pool", "fast", "max_pool_fast"),
        ("batchnorm", "fast", "batchnorm_fast"),
        ("affine_ln_relu", "fast", "affine_ln_relu"),
    ],
)
def test_check_finds_a_wrong_gradient(name, way, layer, monkeypatch, capsys):
    backward = getattr({**SANDWICHES, **LAYERS}[name], way).backward
    spoil(monkeypatch, name, way, backward=slightly_off(backward))
    assert main(["check"]) == 1
    lines = capsys.readouterr().out.splitlines()
    wrong = [line.split()[0] for line in lines if line.endswith("WRONG")]
    assert wrong == [layer]
    assert lines[-1] == "1 of the layers are wrong"


COURSE = [f"{layer} {way}" for layer in ("conv", "max_pool") for way in ("forward", "backward")]


def bench_tables(capsys):
    """Return the two tables that bench prints: a dict of numbers for each row, by its title."""
    assert main(["bench", "--batch", "2", "--rounds", "1"]) == 0
    out = capsys.readouterr().out
    assert np.__version__ in out
    return [table(part) for part in out.split("\n\n")[1:]]


def table(part):
    """Read a table, whose cells stand right-aligned under the ends of its headings."""
    _, head, *lines = part.splitlines()
    ends = {match.group(): match.end() for match in re.finditer(r"\S+", head)}
    width = min(ends.values()) - 10
    rows = {}
    for line in lines:
        cells = {
            name: line[:end].rsplit(" ", 1)[-1] for name, end in ends.items() if end <= len(line)
        }
        rows[line[:width].strip()] = {name: float(cell) for name, cell in cells.items() if cell}
    return rows


def test_bench_prints_ratios(capsys):
    course, _ = bench_tables(capsys)
    assert list(course) == COURSE
    for cells in course.values():
        assert min(cells.values()) > 0
        ratio = cells["naive"] / cells["fast"]
        assert cells["naive/fast"] == pytest.approx(ratio, rel=0.2, abs=1)


@pytest.mark.long
def test_bench_prints_small_calls(capsys):
    threads = fast_layers.get_num_threads()
    _, small = bench_tables(capsys)
    assert fast_layers.get_num_threads() == threads
    for name, row in LAYERS.items():
        for title in (
            [name] if not next(row.passes).backward else [f"{name} forward", f"{name} backward"]
        ):
            assert ("reference" in small[title]) == (row.reference is not None)
            assert ("fast" in small[title]) == (row.fast is not None)
            assert min(small[title].values()) >= 0
            if "kernels" in small[title]:
                cells = small[title]
                around = max(cells["fast"] - cells["kernels"], 0)
                assert cells["around"] == pytest.approx(around, abs=0.16)
                assert cells["calls"] >= 1
    alone = {title for title, cells in small.items() if "kernels" in cells}
    # Those of so few numbers are left to NumPy.
    assert not alone & {"affine forward", "affine backward", "relu forward", "relu backward"}
    assert {"leaky_relu backward", "conv forward", "softmax_loss"} <= alone
    assert small["conv_relu backward"]["calls"] == 1  # its relu, too


def test_the_kernels_alone_are_those_that_the_layer_calls(rng):
    x, w, b = (rng.standard_normal(shape) for shape in ((2, 3, 4, 4), (5, 3, 3, 3), (5,)))
    run = functools.partial(fast_layers.conv_forward_fast, x, w, b, {"stride": 1, "pad": 1})
    made = []
    (alone,) = competitors.kernels_alone(lambda: made.append(run()[0]))
    (out,) = made
    expected = out.copy()
    out[...] = 0
    alone()
    np.testing.assert_array_equal(out, expected)
    assert competitors.kernels_alone(lambda: None) == []
    assert backend.kernels() is not None


def test_bench_without_pytorch_has_no_column_of_it(monkeypatch, capsys):
    monkeypatch.setattr(bench, "load_torch", lambda: None)
    course, small = bench_tables(capsys)
    assert list(course["conv forward"]) == ["naive", "fast", "naive/fast"]
    assert list(small["conv forward"]) == [
        "reference", "fast", "kernels", "calls", "around",
    ]  # fmt: skip


def test_bench_times_nothing_that_is_wrong(monkeypatch, capsys):
    forward = fast_layers.max_pool_forward_fast

    def wrong(*args):
        out, cache = forward(*args)
        return out * 1.01, cache

    spoil(monkeypatch, "max_pool", "fast", forward=wrong)
    assert main(["bench", "--batch", "2", "--rounds", "1"]) == 1
    assert "max_pool forward: fast differs from naive" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--batch", "0"]])
def test_bench_needs_something_to_time(arguments, capsys):
    assert main(["bench", *arguments]) == 1
    assert f"{arguments[0]} is 0" in capsys.readouterr().err


def test_version_and_help(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == f"cs231n {cs231n.__version__}\n"
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert all(command in printed for command in ("train", "check", "bench", "download"))


def test_the_help_of_train_tells_defaults_and_the_language_of_architectures(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "10000")
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    entries = re.split(r"\n  (?=--)", capsys.readouterr().out)
    told = {entry.split()[0]: " ".join(entry.split()) for entry in entries}
    defaults = {
        "--momentum": "0.9 for sgd_momentum, 0.9 for nesterov_momentum, 0.95 for muon",
        "--dampening": "0 for sgd_momentum, 0 for nesterov_momentum",
        "--warmup": "0 for cosine, 0.3 for one-cycle",
        "--first-factor": "0.04",
        "--final-factor": "0 for cosine, 0 for one-cycle",
        "--average-decay": "0.999 for ema, 0.95 for lookahead",
        "--average-every": "5",
        "--average-power": "3",
    }
    assert all(told[name].endswith(f" (default: {text})") for name, text in defaults.items())
    words = "conv32 conv32x5s2 whiten2 res(conv64-conv64)x3 resnet20 pool pool3 gavg gmax fc100"
    for word in [*words.split(), "conv32x2vpf"]:
        assert word in told["--architecture"]
        ConvNet(f"{word}-fc10")
