"""The scripts around the recipes: what they run, what they record, what they tell of it."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from cs231n import optim
from cs231n.__main__ import main
from cs231n.commands.recipes import files
from cs231n.commands.train import build
from cs231n.commands.train.options import refuse_unsuited
from cs231n.data_utils import get_builtin_data
from cs231n.measuring.timing import load_torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def loaded(monkeypatch, name):
    """Return a script as a module."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module(name)


def by_sgd(name):
    """Return the words of a recipe as it might be: with Nesterov's momentum and averages."""
    words = [word for word in files.words(name) if not word.startswith("b1:")]
    by = ["--update-rule", "nesterov_momentum", "--momentum", "0.85", "--average", "lookahead"]
    return [*words, *by, "--groups", "beta*:rate=64"]


def by_muon(name):
    """Return the words of a recipe as it might be: with Muon, and without averages."""
    return [*by_sgd(name), "--update-rule", "muon", "--average", "none", "--learning-rate", "0.2"]


RECIPES = {"sgd": by_sgd, "muon": by_muon}


@pytest.fixture(params=RECIPES.values(), ids=RECIPES)
def ablation(request, monkeypatch):
    """Return the script, for a recipe of each kind."""
    script = loaded(monkeypatch, "ablation")
    words = {name: request.param(name) for name in files.names()}
    monkeypatch.setattr(files, "words", words.get)
    yield script
    sys.modules.pop("ablation", None)


@pytest.fixture
def recipes(monkeypatch):
    yield loaded(monkeypatch, "recipes")
    sys.modules.pop("recipes", None)


@pytest.fixture(scope="module")
def data():
    return get_builtin_data(num_training=40, num_test=10)


def test_each_trick_is_taken_out_by_one_option_of_train(ablation):
    whole = ablation.options_of(ablation.words_of(ablation.Run(("none",), 0))[1:])
    for trick in ablation.tricks():
        words = ablation.words_of(ablation.Run((trick.name,), 0))
        assert len([word for word in words if word.startswith("--")]) == 3  # recipe and seed, too
        found = ablation.options_of(words[1:])
        refuse_unsuited(found)
        changed = {name for name in vars(whole) if getattr(found, name) != getattr(whole, name)}
        changed -= {"given", "of_recipe"}
        assert changed, trick


def names_of(ablation):
    """Return all that can be taken out."""
    return [trick.name for trick in (*ablation.tricks(), *ablation.rivals())]


def test_networks_without_tricks_can_be_built(ablation, data):
    for run in ablation.runs("both", [0], names_of(ablation)):
        found = ablation.options_of(ablation.words_of(run)[1:])
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
    count = len(ablation.tricks()) + len(ablation.rivals()) + 1
    assert len(trained) == count
    with open(path, "a", encoding="utf-8") as file:
        file.write("every-sample,1,0.")  # a line that was cut off
    assert ablation.main([*words, "0", "1"]) == 0
    assert len(trained) == 2 * count
    assert ablation.main([*words, "0", "1"]) == 0
    assert len(trained) == 2 * count
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
    told = {name: ablation.worth(ablation.read(path), name) for name in ("dirac", "gelu")}
    assert told["dirac"] == (
        "identity filters: taken out by --init he: +25.00 ± 0.00 (seeds: 2) points lost"
    )
    assert told["gelu"].endswith("--activation relu: diverges")
    assert ablation.worth([], "decay").endswith("--weight-decay 0: not measured yet")


def test_lines_of_older_settings_are_measured_again_and_not_told(
    ablation, trained, tmp_path, monkeypatch
):
    words = ["--results", str(tmp_path / "a.csv"), "--kind", "out", "--seeds", "0"]
    assert ablation.main(words) == 0
    assert ablation.main([*words, "--", "--num-training", "100"]) == 0
    count = len(ablation.tricks()) + len(ablation.rivals()) + 1
    assert [options.num_training for options in trained] == [None] * count + [100] * count
    rows = ablation.read(tmp_path / "a.csv")
    assert all("--num-training 100" in row["command"] for row in ablation.newest(rows))
    assert ablation.cells(rows)[""].count == 1


def test_some_tricks_alone_can_be_measured(ablation, trained, tmp_path):
    words = ["--results", str(tmp_path / "a.csv"), "--kind", "out", "--seeds", "1", "--tricks"]
    assert ablation.main([*words, "dirac", "decay"]) == 0
    rows = ablation.read(tmp_path / "a.csv")
    assert [row["without"] for row in rows] == ["", "dirac", "decay"]


def test_a_table_of_nothing_invents_nothing(ablation, tmp_path):
    lines = list(ablation.table(ablation.read(tmp_path / "none.csv")))
    assert len(lines) == len(ablation.tricks()) + len(ablation.rivals()) + 5
    assert "%" not in "".join(lines)
    assert ablation.draw([]).axes


SMALL = (
    *("--data", "builtin", "--num-training", "60", "--num-test", "20", "--batch-size", "20"),
    # As many layers as the recipes have, whose groups name them.
    *("--architecture", "whiten2-conv4p-conv4-conv4p-conv4-conv4p-conv4-pool3-fc10/9"),
    *("--epochs", "2"),
)


@pytest.fixture
def places(recipes, monkeypatch, tmp_path):
    """Let the script write elsewhere, and a small run pass as one by its recipe."""
    of_recipe = recipes.options_of
    monkeypatch.setattr(recipes, "options_of", lambda words: of_recipe([*words, *SMALL]))
    monkeypatch.setattr(recipes, "MEASURED", tmp_path / "measured.csv")
    monkeypatch.setattr(recipes, "RESULTS", tmp_path / "results")
    return tmp_path


@pytest.mark.long
@pytest.mark.usefixtures("glyphs_drawn_once")
def test_a_run_is_recorded_with_its_curve_and_confusions(recipes, places, capsys):
    run, words = places / "run", ["train", "--recipe", "ten-minutes", *SMALL]
    assert main([*words, "--seed", "3", "--test-curve", "--output", str(run)]) == 0
    recipes.write(
        places / "measured.csv", recipes.COLUMNS, [row_of("quick", 0), row_of("quick", 1)]
    )
    for rate in (100.0, 200.0):  # the second record takes the place of the first
        row = recipes.record(run, rate)
    results = json.loads((run / "results.json").read_text(encoding="utf-8"))
    assert row["seed"] == 3
    assert row["test_accuracy"] == results["test_acc"]
    assert row["test_accuracy_augmented"] == results["test_acc_augmented"]
    # Products an image: 24 filters of 2x2x3, 4 of 3x3x24, then of 3x3x4, and 4x10 at the end.
    products = 31**2 * (24 * 12 + 4 * 216) + 36 * 4 * (2 * 15**2 + 2 * 7**2 + 3**2) + 40
    work = 6 * 20 * 6 * products
    assert row["seconds_at_product_rate"] == round(work / 200e9, 1)
    assert row["gflops_per_second"] == round(1e-9 * work / results["train_seconds"], 1)
    found = recipes.read(places / "measured.csv")
    assert [(one["recipe"], one["seed"]) for one in found] == [
        ("quick", "0"),
        ("quick", "1"),
        ("ten-minutes", "3"),
    ]
    curve = recipes.read(places / "results" / "curve-ten-minutes-3.csv")
    assert [one["iteration"] for one in curve] == ["1", "3", "6"]
    assert float(curve[-1]["test_acc"]) == results["test_acc"]
    history = [float(one["loss"]) for one in recipes.read(run / "history.csv")]
    assert float(curve[1]["loss"]) == pytest.approx((history[1] + history[2]) / 2, rel=1e-4)
    confusion = recipes.read(places / "results" / "confusion-ten-minutes-3.csv")
    counts = [[int(one[name["class"]]) for name in confusion] for one in confusion]
    assert sum(map(sum, counts)) == 20
    assert sum(counts[i][i] for i in range(10)) == round(20 * results["test_acc"])
    recipes.write(places / "results" / "confusion-ten-minutes-4.csv", confusion[0], confusion)
    summed = recipes.confusion("ten-minutes")
    assert (summed.runs, summed.matrix.tolist()) == (2, (2 * np.array(counts)).tolist())
    assert summed.certainty == pytest.approx([float(one["certainty"]) for one in confusion])
    assert main([*words, "--no-augment", "--output", str(places / "other")]) == 0
    with pytest.raises(ValueError, match=r"augment False instead of True.* no run by ten-min"):
        recipes.record(places / "other", 100.0)
    history = (run / "history.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (run / "history.csv").write_text("".join(history[:-1]), encoding="utf-8")
    with pytest.raises(ValueError, match="was not finished; expected 2 epochs"):
        recipes.record(run, 100.0)


def row_of(name, seed):
    """Return a line that was measured."""
    return {
        **{"recipe": name, "seed": seed, "test_accuracy": 0.75 + 0.01 * seed},
        **{"train_seconds": 50 + 20 * seed, "steps_per_second": 3.2, "gflops_per_second": 200},
        **{"product_gflops_per_second": 250, "seconds_at_product_rate": 48, "processor": "x"},
    }


def test_the_readme_gets_one_table_and_one_figure(recipes, places):
    recipes.write(
        places / "measured.csv", recipes.COLUMNS, [row_of("quick", 0), row_of("quick", 1)]
    )
    curve = {"iteration": 9, "epoch": 1, "seconds": 30, "loss": 1, "train_acc": 0.7, "val_acc": 0.6}
    recipes.write(places / "results" / "curve-quick-0.csv", recipes.CURVE, [curve])
    steps = [
        {"recipe": "quick", "way": way, "ratio": ratio}
        for way, ratio in {"ours": 1, "torch": 1.5, "torch nhwc": 1.25}.items()
    ]
    recipes.write(places / "results" / "steps.csv", ("recipe", "way", "ratio"), steps)
    readme, figure = places / "README.md", places / "recipes.svg"
    readme.write_text("# Title\n\n## Troubleshooting\n\nrest\n", encoding="utf-8")
    recipes.show(readme, figure)
    first = readme.read_text(encoding="utf-8")
    assert "| `quick` | 2 | 75.50 ± 0.71 % |  | 60 s | 75 s (1.25 times) | 3.2 |" in first
    assert "of one epoch is its point. The machine: x.\n" in first
    assert "resnet20" not in first
    assert first.endswith("\n\n## Troubleshooting\n\nrest\n")
    assert "](docs/recipes.svg)" in first
    drawn = figure.read_text(encoding="utf-8")
    assert "<svg" in drawn
    recipes.show(readme, figure)
    assert readme.read_text(encoding="utf-8") == first
    assert figure.read_text(encoding="utf-8") == drawn


def test_nothing_is_told_of_recipes_that_were_not_measured(recipes, tmp_path):
    assert recipes.table(tmp_path / "none.csv", tmp_path) == []
    assert recipes.draw(tmp_path, tmp_path / "none.csv") is None
    assert recipes.confusion("quick", tmp_path) is None


@pytest.fixture
def steps(monkeypatch):
    yield loaded(monkeypatch, "recipe_steps")
    sys.modules.pop("recipe_steps", None)


@pytest.mark.skipif(load_torch() is None, reason="needs PyTorch")
def test_pytorch_s_twin_of_a_recipe_has_our_loss_and_gradients(steps, monkeypatch):
    of_recipe = steps.options_of
    small = [*by_sgd("quick"), "--no-augment", "--no-draw-ahead", "--batch-size", "8"]
    small += ["--architecture", "whiten2-conv4p-conv4-gmax-fc10/9"]
    monkeypatch.setattr(steps, "options_of", lambda words: of_recipe([*words, *small]))
    steps.check("quick")
    twin = steps.TorchTraining(steps.solver_of("quick", 8), "torch nhwc")
    before = {name: tensor.detach().clone() for name, tensor in twin.named.items()}
    twin.step()
    moved = {name for name, tensor in twin.named.items() if not tensor.equal(before[name])}
    assert {"W2", "beta2", "W3", "beta3"} <= moved
    assert moved.isdisjoint({"W1", "gamma2", "gamma3"})
    rates = {group["lr"] for group in twin._optimizers[0].param_groups}
    assert max(rates) == pytest.approx(64 * min(rates))
    smoothing = steps.TorchTraining.loss
    monkeypatch.setattr(
        steps.TorchTraining, "loss", lambda self, rows: smoothing(self, rows) * 1.000001
    )
    with pytest.raises(ArithmeticError, match="quick: PyTorch differs from ours"):
        steps.check("quick")


def test_steps_are_timed_in_turns_and_kept_by_recipe_batch_and_way(
    steps, monkeypatch, tmp_path, capsys
):
    turns = []
    seconds = {"ours": 2.0, "torch": 3.0, "torch nhwc": 2.5}

    def in_process(recipe, way, options, changes):
        turns.append((way, bool(changes)))
        slow = 2 if len(turns) > 3 and changes else 1  # the whole second round
        return {"seconds": [seconds[way] * slow] * options.steps, "megabytes": 10.0}

    monkeypatch.setattr(steps, "_in_process", in_process)
    monkeypatch.setattr(steps, "check", lambda recipe: None)
    monkeypatch.setattr(steps, "product_rate", lambda: 100.0)
    monkeypatch.setattr(steps, "load_torch", lambda: steps)
    words = ["speedrun94", "--results", str(tmp_path / "steps.csv"), "--ways", *seconds]
    assert steps.main(words) == 0
    assert turns[:6] == [(way, True) for way in [*seconds, *reversed(seconds)]]
    assert turns[6:] == [(way, False) for way in seconds]
    assert steps.main(words) == 0
    assert steps.main([*words, "--batch", "512"]) == 0
    rows = steps.read(tmp_path / "steps.csv")
    assert [row["batch"] for row in rows] == ["1024"] * 3 + ["512"] * 3
    ratios = {row["way"]: float(row["ratio"]) for row in rows}
    assert ratios == {"ours": 1.0, "torch": 1.5, "torch nhwc": 1.25}
    whole = {(row["batch"], row["way"]): float(row["seconds_of_the_recipe"]) for row in rows}
    assert whole["512", "ours"] == 2 * whole["1024", "ours"]
    epochs = steps.options_of(["--recipe", "speedrun94"]).epochs
    assert {row["recipe_steps"] for row in rows} == {str(epochs * 48)}  # of 49,000 images


def test_an_unknown_recipe_is_named(steps, capsys):
    with pytest.raises(SystemExit):
        steps.main(["slow"])
    assert "there is no recipe slow; expected some of" in capsys.readouterr().err


def test_a_recipe_has_its_own_tricks(ablation):
    names = {trick.name for trick in ablation.tricks()}
    is_muon = "muon" in names
    assert names >= {"whitening", "dirac", "gelu", "groups", "augment", "scores", "schedule"}
    assert ("nesterov" in names, "average" in names) == (not is_muon, not is_muon)
    assert ("does without it" in ablation.worth([], "nesterov")) == is_muon
    assert len(ablation.rivals()) == is_muon
    runs = list(ablation.runs("in", [0], []))
    rules = [ablation.options_of(ablation.words_of(run)[1:]).update_rule for run in runs]
    by = ["nesterov_momentum", "muon"] if is_muon else ["sgd_momentum", "nesterov_momentum"]
    assert rules == sorted(rules, key=by.index)
    assert {*rules} == {*by}
    assert (runs[0].without, runs[-1].without) == (tuple(t.name for t in ablation.tricks()), ())


@pytest.mark.skipif(load_torch() is None, reason="needs PyTorch")
@pytest.mark.parametrize("shape", [(6, 2, 3, 3), (24, 2, 3, 3), (5, 8), (8, 5)])
def test_muon_steps_there_as_here(shape, steps, rng):
    torch = load_torch()
    w, grads, config = rng.standard_normal(shape), rng.standard_normal((3, *shape)), {}
    # An affine layer's matrix lies the other way round in PyTorch.
    turn = np.transpose if len(shape) == 2 else np.array
    tensor = torch.from_numpy(turn(w).copy())
    muon = steps.Muon(torch, {(0.1, 0.5): [tensor]}, 0.6)
    for grad in grads:
        tensor.grad = torch.from_numpy(turn(grad).copy())
        muon.step()
        config = {**config, "learning_rate": 0.1, "momentum": 0.6}
        w, config = optim.muon(w * (1 - 0.1 * 0.5), grad, config)
    np.testing.assert_allclose(turn(tensor.numpy()), w, rtol=1e-9, atol=1e-12)
