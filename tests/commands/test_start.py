"""`train --from`: another run's weights, with another rate or another last layer."""

import argparse
import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from test_train_data import pets

from cs231n.__main__ import main
from cs231n.classifiers import ConvNet, load_model
from cs231n.commands import trained
from cs231n.commands.train import add_options, build, run_folder, start
from cs231n.data_utils import load_image_folder, standardize
from cs231n.files import storage
from cs231n.training import checkpoint

pytestmark = pytest.mark.usefixtures("glyphs_drawn_once")

SMALL = ["--batch-size", "10", "--learning-rate", "1e-9", "--update-rule", "sgd"]
MODELS = {
    "convnet": ["--architecture", "conv4-pool-fc6-fc3", "--normalization", "batchnorm"],
    "fully-connected": ["--hidden-dims", "6", "5", "--dropout", "0.5"],
    "three-layer-conv": ["--num-filters", "2", "--filter-size", "3", "--hidden-dims", "4"],
    "two-layer": ["--hidden-dims", "4", "--dtype", "float64", "--reg", "0.25"],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a folder with pictures of two kinds, and a run of each model on one of them."""
    folder = tmp_path_factory.mktemp("start")
    pets(folder / "pets", count=10, side=8)
    pets(folder / "birds", ("jay", "owl"), count=10, side=9)
    for model, words in MODELS.items():
        words = ["--model", model, *words, "--data", str(folder / "pets"), "--image-size", "8"]
        assert main(["train", *words, "--batch-size", "10", "--output", str(folder / model)]) == 0
    return folder


@pytest.fixture
def work(finished, monkeypatch, tmp_path):
    """Work beside these folders."""
    monkeypatch.chdir(tmp_path)
    return finished


def parameters(folder):
    """Return the parameters and running statistics of a run."""
    arrays = storage.read_npz(Path(folder) / "best_model")
    return {name: array for name, array in arrays.items() if name != "network"}


def last_layer(folder):
    """Return the names of the parameters of the last layer."""
    return set(load_model(folder).last_weights())


@pytest.mark.long
@pytest.mark.parametrize("model", MODELS)
def test_the_same_classes_keep_all_weights(work, model, capsys):
    words = ["train", "--from", str(work / model), "--data", str(work / "pets"), *SMALL]
    assert main([*words, "--output", "run"]) == 0
    assert f"starting from {work / model}\n" in capsys.readouterr().out
    before, after = parameters(work / model), parameters("run")
    for name, array in before.items():
        if not name.startswith("bn_params"):  # which move with each minibatch
            np.testing.assert_allclose(after[name], array, rtol=1e-4, atol=1e-6, err_msg=name)
            assert after[name].dtype == array.dtype
    old, new = load_model(work / model), load_model("run")
    assert new.form() == old.form()


@pytest.mark.long
@pytest.mark.parametrize("model", MODELS)
def test_other_classes_get_a_new_last_layer(work, model, capsys):
    words = ["train", "--from", str(work / model), "--data", str(work / "birds"), *SMALL]
    assert main([*words, "--output", "run"]) == 0
    last = last_layer("run")
    line = f"but for {' and '.join(sorted(last))}, which are new: there are other classes"
    assert line in capsys.readouterr().out
    before, after = parameters(work / model), parameters("run")
    assert before.keys() == after.keys()
    for name, array in before.items():
        if name in last:
            assert after[name].shape == (*array.shape[:-1], 2)
        elif not name.startswith(("bn_params", "normalization")):
            np.testing.assert_allclose(after[name], array, rtol=1e-4, atol=1e-6, err_msg=name)
    assert load_model("run").inputs.class_names == ("jay", "owl")


def test_running_statistics_come_too_as_copies(work):
    other = trained.load(work / "convnet")
    data = load_image_folder(work / "birds", 8)
    model = ConvNet("conv4-pool-fc6-fc2", (3, 8, 8), "batchnorm")
    start.take_weights(argparse.Namespace(start="there"), other, model, data)
    for key in ("running_mean", "running_var"):
        theirs = other.model.bn_params[0][key]
        np.testing.assert_array_equal(model.bn_params[0][key], theirs)
        assert not np.shares_memory(model.bn_params[0][key], theirs)
        assert np.abs(theirs).max() > 0


def test_names_of_classes_and_their_number_tell_whether_they_are_the_same(work):
    shutil.copytree(work / "pets", "kin")
    shutil.move("kin/emu", "kin/fox")
    words = ["train", "--from", str(work / "two-layer"), "--data", "kin", *SMALL]
    assert main([*words, "--output", "run"]) == 0
    before, after = parameters(work / "two-layer"), parameters("run")
    np.testing.assert_allclose(after["W1"], before["W1"], rtol=1e-4)
    assert not np.allclose(after["W2"], before["W2"], rtol=0.1)


@pytest.mark.parametrize("classes", [("jay", "owl", "emu"), ("jay", "owl")])
def test_a_last_layer_whose_scores_are_divided_is_new_for_other_classes(classes, tmp_path, capsys):
    folder = pets(tmp_path / "data", classes, count=10, side=8)
    other = ConvNet("conv4-gmax-fc3/9", (3, 8, 8))
    other.remember(load_image_folder(pets(tmp_path / "pets", count=5, side=8), 8))
    other.save(tmp_path / "own")
    words = ["--from", str(tmp_path / "own.npz"), "--data", str(folder), *SMALL]
    assert main(["train", *words, "--output", str(tmp_path / "run")]) == 0
    assert "but for W2 and b2, which are new: there are other classes" in capsys.readouterr().out
    new = load_model(tmp_path / "run")
    assert new.arguments()["architecture"] == f"conv4-gmax-fc{len(classes)}/9"
    assert new.params["W2"].shape == (4, len(classes))
    np.testing.assert_allclose(new.params["W1"], other.params["W1"], rtol=1e-4, atol=1e-6)
    if len(classes) == 3:
        assert not np.allclose(new.params["W2"], other.params["W2"], rtol=0.1)


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [("conv4-fc8-fc10", "conv4-fc8-fc5"), ("conv4-fc10/9", "conv4-fc5/9"), ("fc10", "fc5")],
)
def test_an_architecture_ends_in_other_scores(architecture, expected):
    assert build.ending_in(architecture, 5) == expected


def test_weights_of_another_shape_are_refused(tmp_path):
    data = load_image_folder(pets(tmp_path / "pets", count=5, side=8), 8)
    other = ConvNet("conv4-gmax-fc3", (3, 8, 8))
    other.remember(data)
    model = ConvNet("conv5-gmax-fc3", (3, 8, 8))
    message = r"--from there: W1 has shape \(4, 3, 3, 3\); expected \(5, 3, 3, 3\)"
    with pytest.raises(ValueError, match=message):
        start.take_weights(
            argparse.Namespace(start="there"), trained.Trained(other, other.inputs), model, data
        )


def options(*words):
    """Return the options of a new run."""
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(words)


@pytest.fixture
def standardized(tmp_path):
    """Return a network of standardized images, with what it knows of them."""
    model, data = ConvNet("conv4-gmax-fc3", (3, 8, 8), reg=0.5), pictures(tmp_path)
    standardize(data)
    model.remember(data)
    model.save(tmp_path / "own")
    return trained.load(tmp_path / "own.npz")


def pictures(folder):
    """Return the images of a folder that is made where it is missing."""
    if not (folder / "pets").exists():
        pets(folder / "pets", count=5, side=8)
    return load_image_folder(folder / "pets", 8)


def test_images_are_normalised_as_those_of_the_other_run(standardized, tmp_path):
    words = ["--from", str(tmp_path / "own.npz"), "--data", str(tmp_path / "pets")]
    chosen, other_way = options(*words), options(*words, "--no-standardize")
    for one in (chosen, other_way):
        start.described(one)
    assert (chosen.standardize, other_way.standardize) == (True, False)
    plain = ConvNet("conv4-gmax-fc3", (3, 8, 8))
    plain.remember(pictures(tmp_path))
    plain.save(tmp_path / "own")
    chosen = options(*words)
    start.described(chosen)
    assert chosen.standardize is False


def test_the_command_that_makes_a_run_again_gives_what_the_other_run_has_otherwise(
    standardized, tmp_path
):
    words = ["--from", str(tmp_path / "own.npz"), "--data", str(tmp_path / "pets")]
    chosen = options(*words, "--no-standardize", "--reg", "0.001")
    start.described(chosen)
    again = options(*run_folder.words(chosen))
    start.described(again)
    assert (again.reg, again.standardize) == (chosen.reg, chosen.standardize) == (0.001, False)
    assert {name for name in vars(again) if vars(again)[name] != vars(chosen)[name]} == {"given"}


def test_another_normalisation_is_told(standardized, tmp_path, capsys):
    data, model = pictures(tmp_path), ConvNet("conv4-gmax-fc3", (3, 8, 8))
    there = argparse.Namespace(start="there")
    start.take_weights(there, standardized, model, data)
    assert capsys.readouterr().out == (
        "--from there was trained on images from 0 to 255 less their mean divided by their"
        " deviation; these are images from 0 to 255 less their mean\nstarting from there\n"
    )
    standardize(data)
    start.take_weights(there, standardized, model, data)
    assert capsys.readouterr().out == "starting from there\n"


def test_a_run_without_a_checkpoint_goes_on_with_its_own_options(standardized, tmp_path):
    chosen = options("--from", str(tmp_path / "own.npz"), "--data", str(tmp_path / "pets"))
    vars(chosen).update(resume=tmp_path / "run", reg=0.25, given=set())
    start.described(chosen)
    assert (chosen.reg, chosen.standardize) == (0.25, False)


@pytest.mark.long
def test_the_run_goes_on_without_the_other_and_can_be_made_again(work):
    shutil.copytree(work / "convnet", "base")
    words = ["train", "--from", "base", "--data", str(work / "birds"), "--batch-size", "8"]
    assert main([*words, "--output", "run", "--reg", "0.5"]) == 0
    page = Path("run/report.html").read_text(encoding="utf-8")
    command = shlex.split(re.search(r"python -m cs231n (train [^\n<]*)", page)[1])
    assert main([*command, "--output", "again"]) == 0
    assert all(np.array_equal(a, parameters("again")[n]) for n, a in parameters("run").items())
    shutil.rmtree("base")
    options = json.loads(Path("run/config.json").read_text())["options"]
    assert options["architecture"] == "conv4-pool-fc6-fc2"
    assert options["normalization"] == "batchnorm"
    assert main(["train", "--resume", "run", "--epochs", "2"]) == 0
    assert load_model("run").reg == 0.5


@pytest.mark.long
def test_a_run_that_was_stopped_before_its_first_checkpoint_starts_there_again(work, monkeypatch):
    words = ["--from", str(work / "two-layer"), "--data", str(work / "birds"), "--batch-size", "8"]
    assert main(["train", *words, "--output", "whole"]) == 0
    shutil.copytree("whole", "run")
    for path in Path("run").iterdir():
        if path.name != "config.json":
            path.unlink()
    assert not checkpoint.exists("run/checkpoint")
    assert main(["train", "--resume", "run"]) == 0
    assert all(np.array_equal(a, parameters("run")[n]) for n, a in parameters("whole").items())


def test_arguments_that_do_nothing_in_the_other_network_are_no_obstacle(work):
    other = ConvNet("conv4-gmax-fc2", (3, 8, 8), bn_momentum=0.6, learn_scale=False)
    other.remember(load_image_folder(work / "birds", 8))
    other.save("own")
    words = ["--from", "own.npz", "--data", str(work / "birds"), "--batch-size", "8"]
    assert main(["train", *words, "--epochs", "0", "--output", "run"]) == 0


def test_wrong_turns_are_answered_in_a_line(work, capsys):
    ConvNet("conv4-fc3", (3, 8, 8), "groupnorm", num_groups=2).save("own")
    for words, message in (
        (["--from", "nothing"], "nothing; expected the folder of a run"),
        (["--from", str(work / "two-layer"), "--model", "two-layer"], "found --model too"),
        (["--from", str(work / "two-layer"), "--hidden-dims", "9"], "found --hidden-dims too"),
        (["--from", str(work / "convnet"), "--image-size", "9"], "(3, 8, 8); found (3, 9, 9)"),
        (["--from", "own.npz"], "own.npz does not tell what its images were"),
        (
            ["--resume", str(work / "convnet"), "--from", "x"],
            "--from too, expected none but --epochs",
        ),
    ):
        capsys.readouterr()
        assert main(["train", "--data", str(work / "birds"), *words]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
    assert not list(Path().glob("runs/*"))
