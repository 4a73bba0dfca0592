"""`train --data` on everything that is data: pictures, official files, arrays, grey images."""

import argparse
import json

import numpy as np
import pytest
from batches import write_folder
from formats import write_cifar100, write_mnist
from PIL import Image

from cs231n import data_utils
from cs231n.__main__ import main
from cs231n.commands.train import build, run_folder
from cs231n.commands.train.options import add_options
from cs231n.files import storage

pytestmark = pytest.mark.usefixtures("glyphs_drawn_once")


@pytest.fixture
def work(tmp_path, monkeypatch):
    """Work in an empty folder, where data sets are searched too."""
    monkeypatch.setenv("CS231N_DATA", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pets(folder, classes=("cat", "dog", "emu"), count=20, side=24):
    """Write pictures that differ by class in colour."""
    rng = np.random.default_rng(3)
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 60, (side, side, 3))
            pixels[..., label % 3] += 150
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number}.png")
    return folder


def train(*words, output="run"):
    """Train a little; return the status and the parameters, if there are any."""
    status = main(["train", *words, "--output", output, "--batch-size", "10"])
    return status, storage.read_npz(f"{output}/best_model.npz") if status == 0 else None


def scores(params):
    """Return the number of scores: the biases of the last layer."""
    last = max(int(name[1:]) for name in params if name[:1] == "b" and name[1:].isdigit())
    return len(params[f"b{last}"])


@pytest.mark.long
@pytest.mark.parametrize("model", ["three-layer-conv", "convnet", "fully-connected", "two-layer"])
def test_pictures_give_the_network_its_input_and_its_classes(work, model, capsys):
    pets(work / "pets")
    words = ["--data", "pets", "--image-size", "12", "--model", model]
    if model == "convnet":
        words += ["--architecture", "conv4-pool-fc3"]
    status, params = train(*words, "--epochs", "3")
    assert status == 0
    assert scores(params) == 3
    assert params["W1"].shape[:2] == {
        "three-layer-conv": (32, 3), "convnet": (4, 3)
    }.get(model, (3 * 12 * 12, 500))  # fmt: skip
    assert (
        f"{model} on pets: 48 training, 6 validation and 6 test images" in capsys.readouterr().out
    )
    results = json.loads((work / "run" / "results.json").read_text())
    assert results["test_acc"] == 1.0


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "classes", "channels"),
    [("mnist", 10, 1), ("fashion-mnist", 10, 1), ("cifar100", 100, 3)],
)
def test_names(work, name, classes, channels):
    rng = np.random.default_rng(3)
    write_mnist(work / "home" / "MNIST" / "raw", rng, num=(1030, 20))
    write_mnist(work / "home" / "FashionMNIST" / "raw", rng, packed=True, num=(1030, 20))
    write_cifar100(work / "home" / "cifar-100-python", rng, num=(1030, 20))
    status, params = train("--data", name)
    assert status == 0
    assert scores(params) == classes
    assert params["W1"].shape[1] == channels


@pytest.mark.long
def test_the_default_convnet_ends_in_as_many_scores_as_there_are_classes(work):
    pets(work / "pets", [f"class {number}" for number in range(13)], 3, 8)
    status, params = train("--data", "pets", "--image-size", "8", "--model", "convnet")
    assert status == 0
    assert scores(params) == 13


def test_an_architecture_for_fewer_classes_is_refused(work, capsys):
    pets(work / "pets")
    words = ["--data", "pets", "--model", "convnet", "--architecture", "conv4-pool-fc2"]
    assert train(*words)[0] != 0
    assert (
        "the network ends in 2 scores, but there are 3 classes; expected an architecture that ends"
        " in fc3"
    ) in capsys.readouterr().err
    assert not (work / "run").exists()


@pytest.mark.long
def test_arrays_and_a_folder_of_cifar10(work):
    X = np.random.default_rng(3).integers(0, 256, (60, 9, 7), dtype=np.uint8)
    np.savez(work / "x.npz", x_train=X, y_train=np.arange(60) % 4)
    status, params = train("--data", "x.npz", "--filter-size", "3")
    assert status == 0
    assert params["W1"].shape == (32, 1, 3, 3)
    write_folder(work / "batches", np.random.default_rng(3), num=300)
    words = ["--data", "batches", "--num-training", "20", "--num-test", "30"]
    assert train(*words, output="other")[0] == 0


def test_a_folder_of_cifar10_is_found_from_other_folders_too(work):
    (work / "config.json").write_text('{"options": {"data": "cifar10", "data_dir": "batches"}}')
    parser = argparse.ArgumentParser()
    add_options(parser)
    given = parser.parse_args(["--data", "cifar10", "--data-dir", "batches"])
    assert given.data_dir == str(work / "batches")
    (work / "run").mkdir()
    run_folder.write_configuration(work / "run", given)
    assert run_folder.read_configuration(work / "run").data_dir == str(work / "batches")
    assert run_folder.read_configuration(work).data_dir == str(work / "batches")  # of old versions


def test_as_many_validation_images_as_are_wanted(work, capsys):
    write_folder(work / "batches", np.random.default_rng(3), num=300)
    words = ["--model", "two-layer", "--hidden-dims", "4", "--num-test", "30", "--num-validation"]
    assert train("--data", "batches", *words, "30", "--num-training", "20")[0] == 0
    assert "20 training, 30 validation and 30 test images" in capsys.readouterr().out
    assert train(*words, "40", "--num-training", "20", output="glyphs")[0] == 0
    assert "20 training, 40 validation and 30 test images" in capsys.readouterr().out
    for wrong in ("0", "-1"):
        assert train(*words, wrong, output="none")[0] != 0
        assert f"--num-validation is {wrong}; expected at least one" in capsys.readouterr().err
    assert train("--data", "batches", *words, "60000", output="none")[0] != 0
    assert "60001 images asked for" in capsys.readouterr().err
    assert not (work / "none").exists()


def test_other_sets_may_hold_back_more_than_cifar10_has():
    parser = argparse.ArgumentParser()
    add_options(parser)
    words = ["--num-validation", "50001", "--num-training", "1", "--num-test", "0"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_utils, "get_builtin_data", lambda **sizes: {"X_val": [0], **sizes})
        data = build.load_data(parser.parse_args(words))
    assert data["num_validation"] == 50_001


def test_what_is_not_held_back_of_cifar10_is_trained_on(work, monkeypatch):
    class AskedError(Exception):
        """The call that was made."""

    def ask(num_training, num_validation, **others):
        raise AskedError(num_training, num_validation)

    monkeypatch.setattr(data_utils, "get_CIFAR10_data", ask)
    parser = argparse.ArgumentParser()
    add_options(parser)
    with pytest.raises(AskedError) as found:
        build.load_data(parser.parse_args(["--data", "cifar10", "--num-validation", "100"]))
    assert found.value.args == (49_900, 100)


@pytest.mark.long
def test_no_more_test_images_than_there_are(work, capsys):
    pets(work / "pets")
    assert train("--data", "pets", "--num-test", "2", "--num-training", "12")[0] == 0
    assert "12 training, 6 validation and 2 test images" in capsys.readouterr().out


@pytest.mark.long
def test_no_test_images(work, capsys):
    pets(work / "pets")
    assert train("--data", "pets", "--num-test", "0")[0] == 0
    printed = capsys.readouterr().out
    assert "6 validation and 0 test images" in printed
    assert "no test images" in printed


@pytest.mark.long
def test_resume_finds_the_pictures_again_from_another_folder(work, monkeypatch):
    pets(work / "pets")
    assert train("--data", "pets", "--image-size", "8")[0] == 0
    (work / "elsewhere").mkdir()
    monkeypatch.chdir(work / "elsewhere")
    assert main(["train", "--resume", str(work / "run"), "--epochs", "2"]) == 0
    history = (work / "run" / "history.csv").read_text().splitlines()
    assert len(history) == 1 + 2 * (48 // 10)


@pytest.mark.long
def test_a_run_folder_has_the_name_of_the_data_without_its_path(work):
    pets(work / "my pets!")
    assert main(["train", "--data", str(work / "my pets!"), "--image-size", "8"]) == 0
    (run,) = (work / "runs").iterdir()
    assert "three-layer-conv-my-pets-" in run.name


class TestWrongTurns:
    """Each is answered in one line, and leaves no folder."""

    def answer(self, work, capsys, *words):
        status, _ = train(*words)
        assert status != 0
        assert not (work / "run").exists()
        (line,) = capsys.readouterr().err.splitlines()
        return line

    def test_nothing_there(self, work, capsys):
        assert "did you mean 'cifar10'?" in self.answer(work, capsys, "--data", "cifar11")
        assert "'pets'; expected builtin" in self.answer(work, capsys, "--data", "pets")

    def test_one_class(self, work, capsys):
        pets(work / "pets", ["cat"])
        assert "only the class cat" in self.answer(work, capsys, "--data", "pets")

    def test_an_empty_class(self, work, capsys):
        (pets(work / "pets") / "owl").mkdir()
        assert "the class owl in" in self.answer(work, capsys, "--data", "pets")

    def test_a_size_where_there_is_nothing_to_resize(self, work, capsys):
        line = self.answer(work, capsys, "--data", "builtin", "--image-size", "8")
        assert "--image-size is for a folder of pictures" in line

    def test_three_pixels(self, work, capsys):
        pets(work / "pets", side=1)
        line = self.answer(
            work, capsys, "--data", "pets", "--image-size", "3", "--model", "convnet"
        )
        assert "ConvNet: " in line

    @pytest.mark.parametrize("name", ["cifar10", "cifar100", "mnist", "fashion-mnist", "svhn"])
    def test_a_named_set_that_is_not_there(self, work, capsys, monkeypatch, name):
        monkeypatch.setattr("platformdirs.user_data_path", lambda name, **_: work / "own" / name)
        monkeypatch.setattr("cs231n.data.cifar10.__file__", str(work / "site/cs231n/data/x.py"))
        assert main(["train", "--data", name]) == 1
        line, advice = capsys.readouterr().err.splitlines()
        assert " is not there: looked for " in line
        assert str(work / "home") in line
        wanted = "download, or" if name == "cifar10" else f"download --data {name}, or"
        assert wanted in advice
        assert not list(work.glob("runs/*"))
