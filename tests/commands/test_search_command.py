"""The command `search`: what it writes and prints, and how it goes on."""

import argparse
import csv
import json
import sys

import pytest
from trials import Inline

from cs231n.__main__ import main
from cs231n.classifiers import ConvNet
from cs231n.commands import search
from cs231n.data_utils import get_builtin_data, standardize
from cs231n.search import Choice, Range, _Search

pytest.importorskip("optuna")

SMALL = ["--model", "two-layer", "--hidden-dims", "5", "--num-training", "100", "--num-test", "0"]
SEARCHED = ["--learning-rate", "1e-4:1e-2:log", "--augment", "on,off"]


@pytest.fixture
def in_process(monkeypatch):
    """Run the trials in this process: a new one takes longer than these trials."""
    monkeypatch.setattr(_Search, "_draw", lambda self, rows: None)
    monkeypatch.setattr(search.workers, "Dask", lambda address: search.workers.Given(Inline(), 1))
    return ["--dask", "in-process"]


def parse(*words):
    parser = argparse.ArgumentParser()
    search.add_options(parser)
    return parser.parse_args(words)


def rows(folder):
    with open(folder / "trials.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_every_option_of_train_takes_what_it_can():
    options = parse(
        *("--hidden-dims", "50:100", "20,30", "7", "--update-rule", "adam,sgd", "--augment"),
        *("--batch-size", "10:100:log", "--standardize", "on,off", "--epochs", "2"),
    )
    assert options.hidden_dims == [Range(50, 100), Choice((20, 30)), 7]
    assert options.update_rule == Choice(("adam", "sgd"))
    assert options.augment is True
    assert options.standardize == Choice((True, False))
    space, fixed = search._split(options)
    assert list(space) == [
        *("hidden_dims.1", "hidden_dims.2", "standardize", "batch_size", "update_rule"),
    ]
    job = argparse.Namespace(
        seed=3, values={"hidden_dims.1": 60, "hidden_dims.2": 30, "batch_size": 20}
    )
    chosen = search._options(fixed, job)
    assert (chosen.hidden_dims, chosen.batch_size, chosen.epochs) == ([60, 30, 7], 20, 2)


def test_what_is_searched_is_read_as_it_was_written(tmp_path):
    words = ["--weight-decay", "0,5e-4", "--label-smoothing", "0.0,1.0", "--epochs", "1,0,2"]
    options = parse(*words, "--augment", "on,off", "--learning-rate", "1e-5:1:log", "--standardize")
    search._write_configuration(tmp_path, options)
    read = search._read_configuration(tmp_path)
    assert search._split(read) == search._split(options)
    assert read.augment.values == (True, False)
    assert str(read.weight_decay.values) == "(0.0, 0.0005)"


def test_defaults_that_are_given_to_a_search_that_goes_on_are_given(tmp_path):
    start = parse("--trials", "50", "--threads", "3", "--epochs", "2", "--reg", "0.1,0.2")
    search._write_configuration(tmp_path, start)
    found = search._resumed(parse("--resume", str(tmp_path), "--trials", "20"))
    assert (found.trials, found.threads, found.epochs) == (20, 3, 2)
    for word in ("--epochs=1", "--augment=off", "--dtype=float32", "--sampler=random"):
        with pytest.raises(ValueError, match=f"found {word.partition('=')[0]} too"):
            search._resumed(parse("--resume", str(tmp_path), word))


def test_trials_start_from_another_network_with_their_own_options(tmp_path):
    data = get_builtin_data(40, 20, 10)
    standardize(data)
    other = ConvNet("conv4-gmax-fc10", data["X_train"].shape[1:], reg=0.5)
    other.remember(data)
    other.save(tmp_path / "own")
    words = ["--from", str(tmp_path / "own.npz"), "--reg", "0.1,0.2", "--label-smoothing", "0.1"]
    search._write_configuration(tmp_path, parse(*words, "--standardize", "off"))
    fixed = search._split(search._read_configuration(tmp_path))[1]
    job = argparse.Namespace(seed=3, values={"reg": 0.2})
    chosen = search._fitting(search._options(fixed, job), {"reg"})
    assert (chosen.model, chosen.architecture) == ("convnet", "conv4-gmax-fc10")
    assert (chosen.reg, chosen.label_smoothing, chosen.standardize) == (0.2, 0.1, False)
    fixed = search._split(parse(*words[:2], "--epochs", "1,2"))[1]
    job.values = {"epochs": 1}
    chosen = search._fitting(search._options(fixed, job), {"epochs"})
    assert (chosen.reg, chosen.standardize) == (0.5, True)


OF_SOME = {
    "momentum": (
        ["--update-rule", "adam,nesterov_momentum", "--momentum", "0.8:0.95"],
        ({"update_rule": "adam", "momentum": 0.9}, {"momentum": None}),
        ({"update_rule": "nesterov_momentum", "momentum": 0.9}, {"momentum": 0.9}),
    ),
    "warmup": (
        ["--schedule", "constant,cosine", "--warmup", "0.1"],
        ({"schedule": "constant"}, {"warmup": None}),
        ({"schedule": "cosine"}, {"warmup": 0.1}),
    ),
    "shift": (
        ["--augment", "on,off", "--shift", "2"],
        ({"augment": False}, {"shift": 4}),
        ({"augment": True}, {"shift": 2}),
    ),
    "average": (
        ["--average", "none,ema,lookahead", "--average-every", "3"],
        ({"average": "ema"}, {"average_every": None}),
        ({"average": "lookahead"}, {"average_every": 3}),
    ),
    "model": (
        ["--model", "two-layer,convnet", "--activation", "gelu", "--hidden-dims", "9"],
        ({"model": "two-layer"}, {"activation": "relu", "hidden_dims": [9]}),
        ({"model": "convnet"}, {"activation": "gelu", "hidden_dims": [500]}),
    ),
}


@pytest.mark.parametrize(("words", "without", "having"), OF_SOME.values(), ids=OF_SOME)
def test_what_only_some_of_those_tried_have_is_for_these(words, without, having):
    fixed = search._split(parse(*words))[1]
    for values, expected in (without, having):
        options = search._options(fixed, argparse.Namespace(seed=3, values=values))
        found = vars(search._fitting(options, search._searched(fixed)))
        assert {name: found[name] for name in expected} == expected
    fixed.update(without[0])  # of one value, given for all trials
    options = search._options(fixed, argparse.Namespace(seed=3, values={}))
    with pytest.raises(ValueError, match=words[2]):
        search._fitting(options, search._searched(fixed))


def test_the_help_tells_what_no_trial_may_have_otherwise(capsys):
    with pytest.raises(SystemExit):
        main(["search", "--help"])
    told = "".join(capsys.readouterr().out.split())  # a line may end after any hyphen
    but = "--print-every,--checkpoint-every,--mirror,--data-dir,--dtype,--groups"
    assert f"aflagon,off,butfor{but}" in told
    assert "--find-learning-rate" not in told


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--update-rule", "adam,adm"], "no choice 'adm'; expected ad"),
        (["--learning-rate", "1:2:lin"], "is no range"),
        (["--augment", "yes"], "no choice 'yes'"),
        (["--epochs", "3.5"], "invalid literal"),
        (["--seed", "1:2"], "--seed"),
    ],
)
def test_a_wrong_word_is_refused(words, message, capsys):
    with pytest.raises(SystemExit) as end:
        main(["search", *words])
    assert end.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.long
def test_a_search_and_its_continuation(tmp_path, in_process, capsys):
    folder = tmp_path / "s"
    words = ["--output", str(folder), "--trials", "2", "--epochs", "1", *in_process]
    assert main(["search", *SMALL, *SEARCHED, *words]) == 0
    out = capsys.readouterr().out
    first = rows(folder)
    assert [row["state"] for row in first] == ["done", "done"]
    best = max(first, key=lambda row: float(row["best_val_acc"]))
    assert f"best run         {folder / best['folder']}" in out
    assert f"train --resume {folder / best['folder']} --epochs 3" in out
    config = json.loads((folder / best["folder"] / "config.json").read_text())["options"]
    assert config["learning_rate"] == float(best["learning_rate"])
    assert config["augment"] is (best["augment"] == "True")
    assert config["seed"] == int(best["seed"])
    results = json.loads((folder / best["folder"] / "results.json").read_text())
    assert results["best_val_acc"] == float(best["best_val_acc"])
    assert main(["search", "--resume", str(folder), "--trials", "3", *in_process]) == 0
    assert rows(folder)[:2] == first
    assert len(rows(folder)) == 3
    assert main(["train", "--resume", str(folder / best["folder"]), "--epochs", "2"]) == 0


@pytest.mark.long
def test_a_run_alone_comes_to_what_its_trial_did(tmp_path, in_process):
    """A trial depends on nothing but its options: `train` with them gives its accuracy."""
    folder = tmp_path / "s"
    words = ["--output", str(folder), "--trials", "1", *in_process]
    assert main(["search", *SMALL, "--reg", "0.01,0.1", *words]) == 0
    (row,) = rows(folder)
    given = ["--reg", row["reg"], "--seed", row["seed"], "--output", str(tmp_path / "t")]
    assert main(["train", *SMALL, *given]) == 0
    ours, theirs = (place / "history.csv" for place in (folder / row["folder"], tmp_path / "t"))
    assert ours.read_text() == theirs.read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--learning-rate", "0.1"], "nothing is searched"),
        (["--find-learning-rate", "--reg", "1:2"], "--find-learning-rate trains nothing to comp"),
        (["--resume", "{}", "--epochs", "3"], "found --epochs too"),
        (["--resume", "{}"], "is no folder of a search"),
        (["--from", "{}", "--model", "two-layer,convnet"], "takes the network from there; found"),
        (["--output", "{}", "--reg", "0:1", "--shift", "2"], "every trial has failed"),
    ],
)
def test_what_cannot_be_searched_is_told(tmp_path, words, message, in_process, capsys):
    words = [word.format(tmp_path) for word in words]
    assert main(["search", *words, "--trials", "1", *in_process]) == 1
    assert message in capsys.readouterr().err


def test_a_normalisation_that_is_tried_need_not_have_all_options(tmp_path, in_process):
    words = ["--num-training", "20", "--num-test", "0", "--epochs", "1", "--bn-momentum", "0.6"]
    model = ["--model", "convnet", "--architecture", "conv8-gmax-fc10", "--batch-size", "20"]
    tried = ["--normalization", "none,batchnorm,groupnorm", "--sampler", "grid", "--trials", "3"]
    assert main(["search", *words, *model, *tried, "--output", f"{tmp_path}/s", *in_process]) == 0
    assert [row["state"] for row in rows(tmp_path / "s")] == ["done"] * 3


def test_a_missing_extra_is_told_with_what_installs_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["search", "--reg", "0:1"]) == 2
    assert capsys.readouterr().err == (
        "cs231n search: a search needs optuna, which is not installed;"
        " get it with: pip install 'cs231n[search]'\n"
    )


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"words": 3}', '{"words": [3]}', '{"words": ["--reg", "x"]}', "[" * 9999],
)
def test_a_damaged_configuration_is_refused(tmp_path, text, capsys):
    (tmp_path / "search.json").write_text(text)
    assert main(["search", "--resume", str(tmp_path)]) == 1
    assert "search.json is damaged" in capsys.readouterr().err
