"""The scripts around the recipes: what they run, what they record, what they tell of it."""

import importlib
import json
import sys
from pathlib import Path

import pytest

from cs231n.commands.train import build
from cs231n.commands.train.options import refuse_unsuited
from cs231n.data_utils import get_builtin_data

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def loaded(monkeypatch, name):
    """Return a script as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(name)


@pytest.fixture
def ablation(monkeypatch):
    yield loaded(monkeypatch, "ablation")
    sys.modules.pop("ablation", None)


@pytest.fixture(scope="module")
def data():
    return get_builtin_data(num_training=40, num_test=10)


def test_each_trick_is_taken_out_by_one_option_of_train(ablation):
    whole = ablation._options(ablation.words_of(ablation.Run(("none",), 0))[1:])
    for trick in ablation.TRICKS:
        words = ablation.words_of(ablation.Run((trick.name,), 0))
        assert len([word for word in words if word.startswith("--")]) == 3  # recipe and seed, too
        found = ablation._options(words[1:])
        refuse_unsuited(found)
        changed = {name for name in vars(whole) if getattr(found, name) != getattr(whole, name)} - {
            "given"
        }
        assert changed, trick


def test_networks_without_tricks_can_be_built(ablation, data):
    for run in ablation.runs("both", [0]):
        found = ablation._options(ablation.words_of(run)[1:])
        refuse_unsuited(found)
        model = build.network(found, data)
        assert len(model.params["W1"]) == 24, run
        assert ("whitening" in run.without) == ("W1" not in model.frozen)
        assert ("scale" in run.without) == ("gamma2" not in model.frozen)
        assert ("scores" in run.without) == ("scale" not in [la.stage.name for la in model._layers])


@pytest.fixture
def trained(ablation, monkeypatch):
    """Let runs take no time; return the options of those that were made."""
    made = []

    def train(options, load):
        made.append(options)
        if options.activation == "relu":
            raise ablation.DivergedError("nan")
        accuracy = 0.5 + 0.01 * options.seed - (0.25 if options.init == "he" else 0)
        found = {"test_acc": accuracy, "best_val_acc": 0.4, "iterations": 9, "train_seconds": 1.5}
        options.output.mkdir()
        (options.output / "results.json").write_text(json.dumps(found), encoding="utf-8")

    monkeypatch.setattr(ablation, "train", train)
    return made


def test_an_ablation_that_was_killed_goes_on_where_it_was(ablation, trained, tmp_path, capsys):
    path = tmp_path / "ablation.csv"
    words = ["--results", str(path), "--kind", "out", "--seeds"]
    assert ablation.main([*words, "0"]) == 0
    assert len(trained) == len(ablation.TRICKS) + 1
    with open(path, "a", encoding="utf-8") as file:
        file.write("every-sample,1,0.")  # a line that was cut off
    assert ablation.main([*words, "0", "1"]) == 0
    assert len(trained) == 2 * (len(ablation.TRICKS) + 1)
    assert ablation.main([*words, "0", "1"]) == 0
    assert len(trained) == 2 * (len(ablation.TRICKS) + 1)
    told = capsys.readouterr().out
    assert "python -m cs231n train --recipe quick --init he --seed 1" in told
    assert "none: diverged" in told
    lines = list(ablation.table(ablation.read(path)))
    assert "50.50 ± 0.71 % (seeds: 2)" in lines[0]
    (dirac,) = (line for line in lines if line.startswith("identity filters"))
    assert "+25.00 ± 0.00 (seeds: 2)" in dirac
    assert "not measured yet" in dirac
    (gelu,) = (line for line in lines if line.startswith("GELU"))
    assert "diverges" in gelu
    assert ablation.draw(ablation.read(path)).axes


def test_lines_of_older_settings_are_measured_again_and_not_told(
    ablation, trained, tmp_path, monkeypatch
):
    words = ["--results", str(tmp_path / "a.csv"), "--kind", "out", "--seeds", "0"]
    assert ablation.main(words) == 0
    assert ablation.main([*words, "--", "--num-training", "100"]) == 0
    count = len(ablation.TRICKS) + 1
    assert [options.num_training for options in trained] == [None] * count + [100] * count
    rows = ablation.read(tmp_path / "a.csv")
    assert all("--num-training 100" in row["command"] for row in ablation.newest(rows))
    assert ablation.cells(rows)[""].seeds == 1


def test_a_table_of_nothing_invents_nothing(ablation, tmp_path):
    lines = list(ablation.table(ablation.read(tmp_path / "none.csv")))
    assert len(lines) == len(ablation.TRICKS) + 5
    assert "%" not in "".join(lines)
    assert ablation.draw([]).axes
