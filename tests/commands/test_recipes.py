"""Recipes: files of options, what they build, and what is told of them."""

import argparse
import csv
import json
import os
import time

import numpy as np
import pytest
from test_commands import finished, started
from test_resume_command import numbers

from cs231n.__main__ import main
from cs231n.classifiers import ConvNet
from cs231n.commands.recipes import files
from cs231n.commands.train import add_options, build, run_folder
from cs231n.commands.train.options import refuse_unsuited
from cs231n.commands.train.recipe import followed
from cs231n.commands.train.test_curve import TestCurve
from cs231n.data_utils import get_builtin_data
from cs231n.solver import Solver

NAMES = ("quick", "resnet20", "speedrun94", "ten-minutes")
SMALL = (
    *("--data", "builtin", "--num-training", "60", "--num-test", "20", "--batch-size", "20"),
    # As many layers as the recipes have, whose groups name them.
    *("--architecture", "whiten2-conv4p-conv4-conv4p-conv4-conv4p-conv4-pool3-fc10/9"),
    *("--learning-rate", "0.05"),
    *("--activation", "relu"),  # the reference's erf takes seconds for the validation images
)


def options(*words):
    """Return the options of a new run."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    return followed(parser.parse_args(words))


@pytest.fixture(scope="module")
def data():
    """Return a few glyphs, which have the shape of CIFAR's images."""
    return get_builtin_data(num_training=40, num_test=10)


def test_there_are_these_recipes():
    assert files.names() == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_builds_a_network_and_a_solver(name, data, tmp_path):
    chosen = options("--recipe", name, "--batch-size", "40")
    refuse_unsuited(chosen)
    model = build.network(chosen, data)
    solver = build.solver(chosen, model, data, tmp_path / "run.npz")
    assert isinstance(model, ConvNet)
    assert solver.num_epochs == chosen.epochs >= 1
    assert chosen.data == "cifar10"
    assert chosen.num_test == 10000
    assert solver.draw_ahead
    assert model.params["W1"].std() > 0


def test_the_speed_run_has_the_numbers_of_the_record(data, tmp_path):
    chosen = options("--recipe", "speedrun94", "--batch-size", "40")
    model = build.network(chosen, data)
    assert model.frozen >= {"W1", "gamma2", "gamma7"}
    assert model.params["W1"].shape == (24, 3, 2, 2)
    assert [len(model.params[f"W{i}"]) for i in range(2, 8)] == [64, 64, 256, 256, 256, 256]
    solver = build.solver(chosen, model, data, tmp_path / "run.npz")
    rates = {name: config["learning_rate"] for name, config in solver.optim_configs.items()}
    assert rates["W2"] == rates["W7"] == pytest.approx(0.24)
    assert (solver.update_rule, chosen.momentum) == ("muon", 0.6)
    # Through the momenta, the shifts learn as fast as in the record, 64 times its rate of the mean.
    of_record = 64 * 11.5 / (1 + 1 / (1 - 0.85)) / (1 - 0.85)
    assert rates["beta3"] / (1 - 0.6) == pytest.approx(of_record, rel=0.1)
    assert solver.groups["beta*"]["weight_decay"] == 0
    assert solver.groups["b1"]["until"] == pytest.approx(3 / 9.9, abs=0.03)  # the record's epochs
    found = [float(solver.schedule(progress)) for progress in (0, 0.25, 1)]
    np.testing.assert_allclose(found, [1, 0.75, 0])
    assert repr(solver.augment) == "FlipAndShift(flip='alternating', pad=2, mode='reflect')"


def test_what_stands_on_the_command_line_takes_precedence():
    chosen = options("--epochs", "3", "--recipe", "quick", "--no-augment", "--no-fixed-scale")
    assert (chosen.epochs, chosen.augment, chosen.fixed_scale) == (3, False, False)
    assert (chosen.every_sample, chosen.momentum, chosen.keep) == (True, 0.6, "last")
    plain = options("--recipe", "quick")
    assert (plain.epochs, plain.augment, plain.fixed_scale) == (1, True, True)


def test_the_command_of_a_report_gives_the_options_of_a_run_by_a_recipe():
    defaults = ("--data", "builtin", "--normalization", "none", "--no-augment")  # in its place
    chosen = options("--recipe", "quick", *defaults)
    again = vars(options(*run_folder.words(chosen)))
    apart = {"recipe", "given", "of_recipe"}
    assert {name for name in again if again[name] != getattr(chosen, name, None)} <= apart


@pytest.mark.long
def test_a_run_by_a_recipe_goes_on_without_it(tmp_path, capsys):
    folder = tmp_path / "run"
    words = ["train", "--recipe", "ten-minutes", *SMALL]
    assert main([*words, "--epochs", "2", "--output", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "with mirror images and shifted copies: test accuracy" in told
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    assert 0 <= results["test_acc_augmented"] <= 1
    again = ["train", "--resume", str(folder)]
    assert main([*again, "--recipe", "quick"]) == 1
    assert "found --recipe too" in capsys.readouterr().err
    assert main([*again, "--epochs", "3"]) == 0
    stored = json.loads((folder / "config.json").read_text(encoding="utf-8"))["options"]
    momentum = options("--recipe", "ten-minutes").momentum
    assert (stored["recipe"], stored["momentum"]) == ("ten-minutes", momentum)


@pytest.mark.long
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_killed_run_goes_on_with_averages_groups_and_the_thread(tmp_path):
    words = ["train", "--recipe", "quick", *SMALL, "--epochs", "4", "--print-every", "1"]
    words += ["--checkpoint-every", "2"]
    assert main([*words, "--output", str(tmp_path / "whole")]) == 0
    process = started(tmp_path, *words, "--output", "run")
    while "(Iteration 8 " not in (printed := process.stdout.readline()) and printed:
        pass
    process.kill()
    finished(process)
    assert not (tmp_path / "run" / "results.json").exists()
    assert main(["train", "--resume", str(tmp_path / "run")]) == 0
    assert numbers(tmp_path / "run") == numbers(tmp_path / "whole")


def test_the_list_tells_what_was_measured_and_nothing_else(monkeypatch, capsys):
    head = "recipe,seed,test_accuracy,test_accuracy_augmented,train_seconds,steps_per_second\n"
    rows = "quick,0,0.75,,50,4\nquick,1,0.77,,70,4\nspeedrun94,0,0.93,0.94,1500,0.3\n"
    read = files.storage.read_text
    monkeypatch.setattr(
        files.storage,
        "read_text",
        lambda where, path: head + rows if path.name == "measured.csv" else read(where, path),
    )
    assert main(["recipes"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    for title in ("test accuracy", "training", "what it is"):  # a column begins there in all lines
        places = {lines[name][lines["recipe"].index(title) - 2 :][:2] for name in NAMES}
        assert places == {"  "}, title
    assert "76.00 % (seeds: 2)" in lines["quick"]
    assert "60 s" in lines["quick"]
    assert "93.00 %, 94.00 % with copies (seeds: 1)" in lines["speedrun94"]
    assert "not measured" in lines["resnet20"]
    assert "%" not in lines["resnet20"]


def test_a_recipe_can_be_read(capsys):
    assert main(["recipes", "quick"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("# A narrow network")
    assert "--average lookahead --keep last" in shown


DEEP = ("--model", "convnet", "--architecture", "conv8f-gmax-fc10")
WRONG = {
    "flip": (["--flip", "none"], "--flip is for --augment"),
    "warmup": (["--warmup", "0.1"], "has no --warmup; expected --schedule cosine or one-cycle"),
    "first": (["--first-factor", "0.1", "--schedule", "cosine"], "has no --first-factor"),
    "decay": (["--average-decay", "0.9"], "--average-decay is for --average ema or lookahead"),
    "every": (["--average-every", "2", "--average", "ema"], "is for --average lookahead"),
    "momentum": (["--momentum", "0.9"], "--update-rule adam has no --momentum; expected --update-"),
    "dampening": (
        ["--update-rule", "muon", "--dampening", "0.5"],
        "muon has no --dampening; expected --update-rule sgd_momentum or nesterov_momentum with it",
    ),
    "activation": (["--activation", "gelu"], "has no --activation; expected --model convnet"),
    "group": (["--groups", "b*:rate=x"], "--groups b*:rate=x is no group"),
    "field": (["--groups", "b*:speed=1"], "has 'speed'; expected some of rate"),
    "warmup of 2": (
        ["--schedule", "cosine", "--warmup", "2"],
        "train: --warmup is 2.0; expected a",
    ),
    "rise": (
        ["--schedule", "one-cycle", "--first-factor", "-1"],
        "cs231n train: --first-factor is -1.0; expected a number in [0, 1]",
    ),
    "average of 2": (["--average", "ema", "--average-decay", "2"], ": --average-decay is 2.0; exp"),
    "looks": (["--average", "lookahead", "--average-every", "0"], ": --average-every is 0; expec"),
    "no layers": ([*DEEP[:3], ""], "ConvNet: token '' at position 1 of '' is no layer"),
    "no setting": (["--groups", "b1"], "--groups b1 is no group; expected settings, each once"),
    "setting": (["--groups", "b1:rate=1:rate=2"], "--groups b1:rate=1:rate=2 is no group"),
    "pattern": (["--groups", "b1:rate=2", "b1:until=0.5"], "--groups has b1 twice; expected"),
    "none and more": (["--groups", "none", "b1:rate=2"], "--groups none stands alone; found"),
    "no parameter": (["--groups", "W8:rate=2"], "--groups W8:rate=2 fits no parameter that learns"),
    "no parameter to search a rate for": (
        ["--find-learning-rate", "--groups", "W8:rate=2"],
        "--groups W8:rate=2 fits no parameter that learns",
    ),
    "frozen": ([*DEEP, "--groups", "W1:rate=2"], "--groups W1:rate=2 fits no parameter that learn"),
    "scale": ([*DEEP, "--fixed-scale"], "--normalization none has no --fixed-scale; expected --no"),
    "statistics": ([*DEEP, "--bn-momentum", "0.5"], "none has no --bn-momentum; expected --normal"),
    "of groups": (
        [*DEEP, "--normalization", "groupnorm", "--bn-momentum", "0.5"],
        "--normalization groupnorm has no --bn-momentum; expected --normalization batchnorm",
    ),
}


@pytest.mark.parametrize(("words", "message"), WRONG.values(), ids=WRONG)
def test_wrong_options_are_named(words, message, tmp_path, capsys):
    small = ["--num-training", "20", "--num-test", "0", "--output", str(tmp_path / "run")]
    assert main(["train", *small, *words]) == 1
    assert message in capsys.readouterr().err


LADEN = (
    *("--data", "builtin", "--model", "convnet", "--normalization", "batchnorm"),
    *("--fixed-scale", "--bn-momentum", "0.6"),
    *("--architecture", "conv4-gmax-fc10", "--update-rule", "nesterov_momentum"),
    *("--momentum", "0.85", "--schedule", "one-cycle", "--warmup", "0.23"),
    *("--first-factor", "0.2", "--groups", "beta*:rate=64", "--average", "lookahead"),
    *("--average-decay", "0.95", "--average-every", "5", "--average-power", "3"),
    *("--augment", "--flip", "alternating", "--shift", "2", "--test-shift", "1"),
)
TAKEN_OUT = {
    "augmentation": (["--no-augment"], {"shift": 4, "flip": "random"}),
    "schedule": (["--schedule", "constant"], {"warmup": None, "first_factor": None}),
    "another schedule": (["--schedule", "cosine"], {"first_factor": None, "warmup": 0.23}),
    "average": (["--average", "none"], {"average_decay": None, "average_every": None}),
    "another average": (["--average", "ema"], {"average_decay": 0.95, "average_power": None}),
    "momentum": (["--update-rule", "sgd"], {"momentum": None}),
    "groups": (["--groups", "none"], {}),
    "normalisation": (["--normalization", "none"], {"fixed_scale": False, "bn_momentum": 0.9}),
    "test images": (["--num-test", "0"], {"test_shift": 0}),
}


@pytest.mark.parametrize(("words", "left"), TAKEN_OUT.values(), ids=TAKEN_OUT)
def test_one_option_takes_a_trick_out_of_a_recipe(words, left, data, tmp_path, monkeypatch):
    monkeypatch.setattr(files, "words", {"quick": LADEN}.get)
    chosen = options("--recipe", "quick", "--batch-size", "40", *words)
    refuse_unsuited(chosen)
    assert {name: getattr(chosen, name) for name in left} == left
    model = build.network(chosen, data)
    build.fit_groups(chosen, model)
    solver = build.solver(chosen, model, data, tmp_path / "run.npz")
    assert (solver.augment is None) == ("--no-augment" in words)
    averages = {"none": None, "ema": "ema"}
    assert solver.average == (averages[words[1]] if words[0] == "--average" else "lookahead")
    assert bool(solver.groups) == (words[0] not in ("--groups", "--normalization"))


LEFT_OUT = {
    "some": (
        ("quick", "--architecture", "whiten2-conv8-gmax-fc10", "--normalization", "none"),
        (["b1:rate=1000:until=0.4"], "beta*:rate=1000:weight_decay=0 W8:rate=0.3:weight_decay=0,"),
    ),
    "all": (
        ("resnet20", "--architecture", "conv8-gmax-fc10", "--normalization", "none"),
        (["none"], "gamma*:rate=10:weight_decay=0 beta*:rate=10:weight_decay=0 W20:rate=0.2"),
    ),
}


@pytest.mark.parametrize(("words", "expected"), LEFT_OUT.values(), ids=LEFT_OUT)
def test_groups_of_a_recipe_that_fit_nothing_are_left_out(words, expected, data, capsys):
    chosen = options("--batch-size", "40", "--recipe", *words)
    model = build.network(chosen, data)
    build.fit_groups(chosen, model)
    (line,) = capsys.readouterr().out.splitlines()
    left, told = expected
    assert line.startswith(f"--recipe {words[0]}: left out of its groups {told}")
    assert chosen.groups == left
    typed = options("--batch-size", "40", "--recipe", *words, "--groups", "W8:rate=2")
    with pytest.raises(ValueError, match=r"--groups W8:rate=2 fits no parameter that learns; ex"):
        build.fit_groups(typed, model)


def test_what_is_given_beside_a_recipe_is_not_dropped_in_silence():
    chosen = options("--recipe", "quick", "--no-augment", "--flip", "random", "--shift", "3")
    with pytest.raises(ValueError, match="--shift is for --augment"):
        refuse_unsuited(chosen)


def test_a_search_for_the_rate_has_the_momentum_of_the_run():
    chosen = options("--update-rule", "sgd_momentum", "--momentum", "0.5", "--dampening", "0.25")
    config = build.settings_of_search(chosen, 100)["optim_config"]
    assert (config["momentum"], config["dampening"]) == (0.5, 0.25)


def test_a_search_for_the_rate_of_a_recipe_has_its_groups_and_not_its_schedule():
    chosen = options("--recipe", "quick", "--find-learning-rate")
    refuse_unsuited(chosen)
    left = {"schedule": "constant", "warmup": None, "average": None, "draw_ahead": False}
    assert {name: getattr(chosen, name) for name in left} == left
    settings = build.settings_of_search(chosen, 512)
    assert settings["groups"]["beta*"] == {"rate": 1000, "weight_decay": 0}
    assert settings["augment"] is not None


@pytest.mark.parametrize(
    "words",
    [
        ["--schedule", "cosine"],
        ["--average", "ema"],
        ["--early-stopping", "3"],
        ["--csv-log"],
        ["--test-curve"],
        ["--learning-rate", "0.5"],
    ],
)
@pytest.mark.parametrize("recipe", [[], ["--recipe", "quick"]])
def test_a_search_for_the_rate_refuses_what_it_does_not_use(recipe, words):
    chosen = options(*recipe, "--find-learning-rate", *words)
    with pytest.raises(ValueError, match=f"has no use for {words[0]}; expected it without"):
        refuse_unsuited(chosen)


def curve(folder):
    """Return the rows of the accuracy of the test images along the way."""
    with open(folder / "test_curve.csv", encoding="utf-8", newline="") as file:
        return [{name: float(x) for name, x in row.items()} for row in csv.DictReader(file)]


@pytest.mark.long
@pytest.mark.usefixtures("glyphs_drawn_once")
def test_test_images_are_measured_along_the_way_and_change_nothing(tmp_path, monkeypatch):
    words = ["train", "--recipe", "speedrun94", *SMALL, "--epochs", "2", "--test-shift", "0"]
    words += ["--average", "ema", "--keep", "last"]
    assert main([*words, "--output", str(tmp_path / "plain")]) == 0
    check = Solver.check_accuracy
    clock, late, tested = time.perf_counter, [], []

    def slow(self, X, y, *rest):
        if len(X) == 20:
            late.append(1e6)
            tested.append(self.model.params["W2"].tobytes())
        return check(self, X, y, *rest)

    monkeypatch.setattr(Solver, "check_accuracy", slow)
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + sum(late))
    assert main([*words, "--test-curve", "--output", str(tmp_path / "run")]) == 0
    assert len(late) == 2
    assert numbers(tmp_path / "run") == numbers(tmp_path / "plain")
    assert tested[-1] in numbers(tmp_path / "run")[2].values()  # the average, which is kept
    results = json.loads((tmp_path / "run" / "results.json").read_text(encoding="utf-8"))
    rows = curve(tmp_path / "run")
    assert [(row["iteration"], row["epoch"]) for row in rows] == [(3, 1), (6, 2)]
    assert rows[-1]["test_acc"] == results["test_acc"]
    assert 0 < rows[0]["seconds"] < rows[1]["seconds"] <= results["train_seconds"] + 0.01 < 1e6


@pytest.mark.long
@pytest.mark.usefixtures("glyphs_drawn_once")
def test_a_resumed_run_goes_on_with_its_curve(tmp_path):
    words = ["train", "--recipe", "quick", *SMALL, "--test-curve", "--epochs"]
    assert main([*words, "1", "--output", str(tmp_path / "run")]) == 0
    assert main(["train", "--resume", str(tmp_path / "run"), "--epochs", "2"]) == 0
    assert [row["epoch"] for row in curve(tmp_path / "run")] == [1, 2]


def test_there_is_no_curve_without_test_images(tmp_path, capsys):
    words = ["train", *SMALL[:4], "--num-test", "0", "--test-curve"]
    assert main([*words, "--output", str(tmp_path / "run")]) == 1
    assert "expected --num-test above 0" in capsys.readouterr().err


@pytest.mark.parametrize("rows", [None, [[1, 2, 3]], [[1, 1, 0.5, "x"]], [[1, 1, -1, 0.5]]])
def test_a_curve_from_a_strange_checkpoint_is_refused(rows, tmp_path):
    callback = TestCurve(tmp_path / "curve.csv", np.zeros((1, 3)), np.zeros(1))
    with pytest.raises((TypeError, ValueError), match="TestCurve"):
        callback.load_state_dict({"rows": rows})
