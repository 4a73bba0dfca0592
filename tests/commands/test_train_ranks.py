"""`train --mpi` up to its first step, on ranks that are threads, and what goes with ranks alone."""

import argparse
import contextlib
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from thread_ranks import run_ranks

from cs231n.__main__ import main
from cs231n.classifiers import ConvNet
from cs231n.commands import train
from cs231n.commands.train import add_options, build
from cs231n.commands.train.options import actions
from cs231n.commands.train.recipe import followed
from cs231n.data_utils import get_builtin_data

pytestmark = pytest.mark.usefixtures("glyphs_drawn_once")

SMALL = ("--data", "builtin", "--num-training", "40", "--num-test", "0", "--mpi")


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """Return a function of words that gives options and network of each rank, or its error."""
    here, made = threading.local(), {}

    def solver(options, model, data, path, ranks):
        made[ranks.rank] = options, model
        return SimpleNamespace(train=lambda: None, loss_history=[])

    def on_rank(communicator, words):
        here.world = communicator
        parser = argparse.ArgumentParser()
        add_options(parser)
        train._train_on_ranks(followed(parser.parse_args([*SMALL, *words])))
        return made[communicator.Get_rank()]

    # One process has one standard output and one generator, whatever its threads are.
    monkeypatch.setattr(train, "_quiet", lambda wanted: contextlib.nullcontext())
    monkeypatch.setattr(train.mpi, "world", lambda: here.world)
    monkeypatch.setattr(train.build, "solver", solver)
    monkeypatch.chdir(tmp_path)
    return lambda *words: run_ranks(2, lambda communicator: on_rank(communicator, words))


def test_all_ranks_start_from_the_weights_of_the_other_run(begun):
    data = get_builtin_data(40, 20, 10)
    other = ConvNet("conv4-gmax-fc10/3", data["X_train"].shape[1:])
    other.remember(data)
    other.save("own")
    for options, model in begun("--from", "own.npz"):
        assert options.architecture == "conv4-gmax-fc10/3"
        for name, array in other.params.items():
            np.testing.assert_array_equal(model.params[name], array)


def test_groups_of_a_recipe_that_fit_nothing_are_left_out_on_all_ranks(begun):
    words = ("--recipe", "quick", "--architecture", "conv8-gmax-fc10", "--num-validation", "20")
    for options, model in begun(*words):
        assert options.groups == ["beta*:rate=1000:weight_decay=0", "b1:rate=1000:until=0.4"]
        assert {"b1", "beta1"} < model.params.keys()


def test_statistics_of_each_rank_are_refused_without_ranks_in_a_new_run(tmp_path, capsys):
    words = ["train", *SMALL[:-1], "--statistics-per-rank"]
    assert main([*words, "--output", str(tmp_path / "run")]) == 1
    assert "--statistics-per-rank is for --mpi; expected --mpi with it" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    options = argparse.Namespace(**{name: action.default for name, action in actions().items()})
    vars(options).update(data="builtin", num_training=40, num_test=0, statistics_per_rank=True)
    options.resume = tmp_path  # of an older version
    train._begun(options, tmp_path, build.load_data, None)


@pytest.mark.parametrize("command", ["train", "check"])
@pytest.mark.parametrize(("seed", "expected"), [("-1", ">= 0"), (str(2**32), "<= 4294967295")])
def test_a_seed_out_of_range_is_named(command, seed, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([command, f"--seed={seed}"]) == 1
    message = f"cs231n {command}: --seed is {seed}; expected an integer {expected}\n"
    assert capsys.readouterr().err == message


def test_a_search_for_the_rate_is_refused_before_it_hangs(begun):
    for error in begun("--find-learning-rate"):
        assert "--find-learning-rate is for one process; expected no --mpi" in str(error)
