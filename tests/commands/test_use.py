"""From a folder of pictures to a prediction: predict, evaluate, and every wrong turn on the way."""

import csv
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from formats import write_mnist
from PIL import Image
from test_train_data import pets

import cs231n
from cs231n.__main__ import main
from cs231n.classifiers import TwoLayerNet
from cs231n.commands import evaluation
from cs231n.data_utils import load_image_folder
from cs231n.files import storage

pytestmark = pytest.mark.usefixtures("glyphs_drawn_once")

TRAIN = ["train", "--model", "two-layer", "--hidden-dims", "8", "--weight-scale", "0.01"]
TRAIN += ["--batch-size", "10", "--epochs", "4"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a folder with pictures and the run of a network that has learnt them a little."""
    folder = tmp_path_factory.mktemp("use")
    pets(folder / "pets")
    words = ["--data", str(folder / "pets"), "--image-size", "8", "--output", str(folder / "run")]
    assert main([*TRAIN, *words]) == 0
    return folder


@pytest.fixture
def work(finished, tmp_path, monkeypatch):
    """Work in a copy of this folder."""
    shutil.copytree(finished, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("CS231N_DATA", str(tmp_path / "home"))
    return tmp_path / "work"


def answer(capsys, *words, status=1):
    """Return the line that a command ends with, and that it prints nothing else."""
    capsys.readouterr()
    assert main(words) == status
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    return line


class TestPredict:
    def test_a_table_with_the_first_three_classes(self, work, capsys):
        capsys.readouterr()
        assert main(["predict", "run", "pets/dog/3.png", "pets/emu"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 21
        assert lines[0].split()[:2] == [str(Path("pets/dog/3.png")), "dog"]
        assert all(line.split()[1] == "emu" for line in lines[1:])
        assert all(len(line.split()) == 7 for line in lines)

    def test_the_same_as_from_python(self, work, capsys):
        model = cs231n.load_model("run")
        pixels = np.asarray(Image.open("pets/cat/5.png").resize((8, 8), Image.Resampling.BICUBIC))
        expected = model.predict_proba(pixels[None])[0]
        capsys.readouterr()
        assert main(["predict", "run/best_model.npz", "pets/cat/5.png", "--json"]) == 0
        (found,) = json.loads(capsys.readouterr().out)
        assert found["picture"] == str(Path("pets/cat/5.png"))
        assert [one["class"] for one in found["classes"]] == [
            model.inputs.class_names[label] for label in np.argsort(-expected)
        ]
        np.testing.assert_allclose(
            [one["probability"] for one in found["classes"]], -np.sort(-expected), rtol=1e-5
        )

    def test_csv_with_names_that_have_commas_and_quotes(self, work, capsys):
        shutil.copy("pets/cat/0.png", 'a,"b.png')
        capsys.readouterr()
        assert main(["predict", "run", 'a,"b.png', "pets/cat/1.png", "--csv"]) == 0
        head, *rows = csv.reader(io.StringIO(capsys.readouterr().out))
        assert head[:3] == ["picture", "class 1", "probability 1"]
        assert [row[0] for row in rows] == ['a,"b.png', str(Path("pets/cat/1.png"))]
        assert sorted(rows[0][1::2]) == ["cat", "dog", "emu"]
        assert 1 / 3 < float(rows[0][2]) <= 1

    def test_more_pictures_than_are_decoded_at_once(self, work, capsys, monkeypatch):
        monkeypatch.setattr("cs231n.commands.predict._BATCH", 7)
        assert main(["predict", "run", "pets", "--csv"]) == 0
        rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        assert [row["picture"] for row in rows] == sorted(row["picture"] for row in rows)
        assert len(rows) == 60
        right = [Path(row["picture"]).parent.name == row["class 1"] for row in rows]
        assert sum(right) > 50  # in another order hardly any would be

    def test_what_cannot_be_read_is_told_beside_the_rest(self, work, capsys):
        Path("pets/emu/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
        Path("pets/emu/notes.txt").write_text("of no class", encoding="utf-8")
        capsys.readouterr()
        assert main(["predict", "run", "pets/emu", "gone.png"]) == 1
        printed = capsys.readouterr()
        assert len(printed.out.splitlines()) == 20
        broken, gone = printed.err.splitlines()
        assert "broken.png is not a whole picture" in broken
        assert gone == "cs231n predict: there is no picture gone.png"

    def test_names_do_not_move_the_terminal(self, work, capsys):
        shutil.copy("pets/cat/0.png", "\x1b[2J.png")
        assert main(["predict", "run", "\x1b[2J.png", "\x1b[3J.png"]) == 1
        printed = capsys.readouterr()
        assert "\x1b" not in printed.out + printed.err
        assert "\\x1b[2J.png" in printed.out

    @pytest.mark.long
    def test_a_network_of_grey_images(self, work, capsys):
        write_mnist(work / "mnist", np.random.default_rng(3), num=(1030, 20))
        assert main([*TRAIN, "--data", "./mnist", "--num-training", "30", "--output", "grey"]) == 0
        capsys.readouterr()
        assert main(["predict", "grey", "pets/cat/0.png"]) == 0
        assert capsys.readouterr().out.split()[1] in "0123456789"
        assert "the images of" in answer(capsys, "evaluate", "run", "--data", "./mnist")


class TestEvaluate:
    def test_the_test_images_of_the_run(self, work, capsys):
        capsys.readouterr()
        assert main(["evaluate", "run", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        results = json.loads(Path("run/results.json").read_text())
        assert found["accuracy"] == results["test_acc"]
        assert (found["images"], found["title"]) == (6, "test images of pets")
        data = load_image_folder("pets", 8)
        loss, _ = TwoLayerNet.loss(
            cs231n.load_model("run"), data["X_test"], data["y_test"], l2_gradient=False
        )
        model = cs231n.load_model("run")
        model.reg = 0
        assert found["loss"] == pytest.approx(model.loss(data["X_test"], data["y_test"])[0])
        assert loss > found["loss"]

    def test_other_pictures_whose_classes_have_other_numbers(self, work, capsys):
        shutil.copytree("pets/dog", "some/dog")
        shutil.copytree("pets/emu", "some/emu")
        capsys.readouterr()
        assert main(["evaluate", "run", "--data", "some"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "40 images of some"
        assert lines[1].startswith("accuracy 1.0000, loss 0.")
        shutil.move("some/dog", "some/puppy")
        line = answer(capsys, "evaluate", "run", "--data", "some")
        assert "some has the class 'puppy', which the network does not know" in line
        assert "cat, dog, emu" in line

    def test_mistakes_and_confusions(self, work, capsys):
        shutil.move("pets/cat", "spare")
        shutil.copytree("pets/emu", "pets/cat")  # all emus pass for cats here
        capsys.readouterr()
        shutil.copytree("pets", "wrong")
        assert main(["evaluate", "run", "--data", "wrong"]) == 0
        out = capsys.readouterr().out
        assert "cat        20     0.000  emu (20)" in out
        assert "cat    .    .   20" in out
        assert "image 0: cat taken for emu" in out or "cat taken for emu" in out
        assert main(["evaluate", "run", "--data", "wrong", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["accuracy"] == pytest.approx(2 / 3)
        assert {"class": "cat", "predicted": "emu", "images": 20} in found["confusion"]
        certain = [one["probability"] for one in found["mistakes"]]
        assert certain == sorted(certain, reverse=True)
        assert len(certain) == 20

    def test_the_data_of_the_run_are_divided_as_in_training(self, work, capsys):
        # The configuration names the folder that the run was trained on, not its copy.
        pets_there = json.loads(Path("run/config.json").read_text())["options"]["data"]
        capsys.readouterr()
        for words, start in (
            (["--data", pets_there], "6 test images of pets"),
            (["--part", "val"], "6 validation images of pets"),
            (["--part", "train"], "48 training images of pets"),
        ):
            assert main(["evaluate", "run", *words]) == 0
            assert capsys.readouterr().out.startswith(start)

    @pytest.mark.long
    def test_arrays_in_another_range(self, work, capsys):
        X = np.random.default_rng(3).integers(0, 200, (40, 6, 5), dtype=np.uint8)
        X[::2] += 55
        y = np.tile([1, 0], 20)
        np.savez("unit.npz", x_train=X / 255.0, y_train=y)
        np.savez("bytes.npz", x_train=X, y_train=y)
        assert main([*TRAIN, "--data", "unit.npz", "--output", "unit"]) == 0
        losses = []
        for name in ("unit.npz", "bytes.npz"):
            shutil.copy(name, f"copy-{name}")
            capsys.readouterr()
            assert main(["evaluate", "unit", "--data", f"copy-{name}", "--json"]) == 0
            found = json.loads(capsys.readouterr().out)
            assert found["images"] == 40
            losses.append(found["loss"])
        assert losses[0] == pytest.approx(losses[1], rel=1e-5)

    @pytest.mark.long
    def test_many_classes_are_told_in_few_lines(self, work, capsys):
        X = np.random.default_rng(3).integers(0, 256, (6000, 1, 2), dtype=np.uint8)
        np.savez("many.npz", x_train=X, y_train=np.arange(6000) % 2000)
        words = [
            *TRAIN,
            "--data",
            "many.npz",
            "--output",
            "many",
            "--batch-size",
            "1500",
            "--epochs",
            "1",
        ]
        assert main(words) == 0
        capsys.readouterr()
        assert main(["evaluate", "many"]) == 0
        out = capsys.readouterr().out
        assert out.startswith("1000 test images of many.npz")
        assert len(out.splitlines()) < 70
        assert max(map(len, out.splitlines())) < 90
        assert main(["predict", "many", "pets/cat/0.png"]) == 0
        assert len(capsys.readouterr().out.split()) == 7


class TestWrongTurns:
    """Each is answered in one line."""

    @pytest.mark.parametrize("command", [["predict"], ["evaluate"]])
    def test_no_run(self, work, capsys, command):
        more = ["pets"] if command == ["predict"] else []
        line = answer(capsys, *command, "nothing", *more)
        assert f"{command[0]}: there is no nothing; expected the folder of a run" in line
        line = answer(capsys, *command, "pets", *more)
        assert "pets has no best_model.npz; expected the folder of a run" in line
        Path("run/best_model.npz").write_bytes(b"PK")
        assert "best_model.npz is damaged" in answer(capsys, *command, "run", *more)

    @pytest.mark.parametrize("command", [["predict"], ["evaluate"]])
    def test_a_network_that_does_not_know_its_images(self, work, capsys, command):
        TwoLayerNet(192, 8, 3).save("run/best_model")
        line = answer(capsys, *command, "run", *(["pets"] if command == ["predict"] else []))
        assert "run does not tell what its images were" in line
        arrays = storage.read_npz("run/best_model")
        del arrays["network"]
        storage.write_npz("run/best_model", arrays)
        line = answer(capsys, *command, "run", *(["pets"] if command == ["predict"] else []))
        assert "does not say what network it holds" in line

    def test_no_pictures(self, work, capsys):
        Path("notes.txt").write_text("no picture", encoding="utf-8")
        Path("empty").mkdir()
        assert answer(capsys, "predict", "run", "gone.png").endswith("there is no picture gone.png")
        assert "notes.txt is not a whole picture" in answer(capsys, "predict", "run", "notes.txt")
        assert "there are no pictures in empty" in answer(capsys, "predict", "run", "empty")

    def test_data_that_are_none(self, work, capsys):
        line = answer(capsys, "evaluate", "run", "--data", "gone")
        assert "no data set and no file or folder 'gone'" in line
        Path("one/cat").mkdir(parents=True)
        line = answer(capsys, "evaluate", "run", "--data", "one")
        assert "only the class cat" in line
        line = answer(capsys, "evaluate", "run/best_model.npz")
        assert "does not tell what it was trained on" in line
        Path("run/config.json").unlink()
        assert "does not tell what it was trained on" in answer(capsys, "evaluate", "run")
        line = answer(capsys, "evaluate", "run", "--data", "pets", "--part", "test")
        assert "pets has no test images; expected another --part" in line

    def test_too_few_pictures_to_validate(self, work, capsys):
        pets(work / "few", count=2)
        line = answer(capsys, *TRAIN, "--data", "few", "--output", "x")
        assert "few leaves no validation images: no class has three" in line
        assert not Path("x").exists()

    def test_a_text_file_among_the_pictures(self, work, capsys):
        Path("pets/cat/notes.txt").write_text("of no class", encoding="utf-8")
        capsys.readouterr()
        assert main([*TRAIN, "--data", "pets", "--image-size", "8", "--output", "x"]) == 0
        (line,) = capsys.readouterr().err.splitlines()
        assert "left out 1 of 61 files: cat/notes.txt: is no picture by its name" in line
        assert line.startswith("cs231n: load_image_folder: ")


class TestFilters:
    """The first layer is drawn wherever it can be seen, and silently not elsewhere."""

    def drawn(self, capsys, *words):
        capsys.readouterr()
        assert main(["train", *words, "--output", "drawn", "--batch-size", "10"]) == 0
        assert capsys.readouterr().err == ""
        return Path("drawn/filters.png").exists()

    @pytest.mark.long
    @pytest.mark.parametrize("model", ["two-layer", "three-layer-conv"])
    @pytest.mark.parametrize("shape", [(9, 7), (9, 7, 3)])
    def test_of_any_size(self, work, capsys, model, shape):
        X = np.random.default_rng(3).integers(0, 256, (40, *shape), dtype=np.uint8)
        np.savez("x.npz", x_train=X, y_train=np.arange(40) % 2)
        words = ["--data", "x.npz", "--model", model, "--hidden-dims", "4"]
        words += ["--filter-size", "3"] if model == "three-layer-conv" else []
        assert self.drawn(capsys, *words)

    @pytest.mark.long
    def test_not_of_two_channels_or_single_pixels(self, work, capsys):
        X = np.random.default_rng(3).integers(0, 256, (40, 9, 7, 4), dtype=np.uint8)
        np.savez("x.npz", x_train=X, y_train=np.arange(40) % 2)
        assert not self.drawn(capsys, "--data", "x.npz", "--filter-size", "3")
        shutil.rmtree("drawn")
        words = ["--model", "convnet", "--architecture", "conv4x1-gavg-fc3"]
        assert not self.drawn(capsys, "--data", "pets", *words)


def good_evaluation():
    """Return an evaluation of a few images."""
    y, predicted = np.array([0, 1, 1, 2], np.int32), np.array([0, 1, 2, 0], np.int32)
    certain = np.array([0.5, 0.75, 0.5, 0.875], np.float32)
    shown = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)
    return evaluation.Evaluation("images", ("a", "b", "c"), y, predicted, certain, 0.5, shown)


def test_an_evaluation_is_read_as_it_was_written(tmp_path):
    found = good_evaluation()
    evaluation.write(tmp_path / "e.npz", found)
    read = evaluation.read(tmp_path / "e.npz")
    assert read.content() == found.content()
    np.testing.assert_array_equal(read.pictures, found.pictures)
    assert found.mistakes(9).tolist() == [3, 2]
    assert found.accuracy == 0.5
    assert found.per_class() == [(0, 1, 1), (1, 2, 1), (2, 1, 0)]
    assert found.matrix().tolist() == [[1, 0, 0], [0, 1, 1], [1, 0, 0]]


TOP = Path(__file__).resolve().parents[2]
PAGES = [TOP / "README.md", *sorted((TOP / "docs" / "site" / "howto").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=[page.stem for page in PAGES])
def test_pages_use_the_runs_that_they_have_made(page):
    made = set()
    for line in page.read_text(encoding="utf-8").splitlines():
        made.update(re.findall(r"^(?:python -m )?cs231n train .*--output (\S+)", line))
        used = r"^(?:python -m )?cs231n (?:predict|evaluate|export|train --(?:from|resume)) (\S+)"
        assert made.issuperset(re.findall(used, line)), line


DAMAGE = {
    "no text": {"evaluation": np.array(3)},
    "no JSON": {"evaluation": np.array("x")},
    "no names": {"evaluation": np.array('{"title": "a", "class_names": [], "loss": 0.5}')},
    "names that are none": {
        "evaluation": np.array('{"title": "a", "class_names": [1, 2, 3], "loss": 0.5}')
    },
    "no loss": {
        "evaluation": np.array('{"title": "a", "class_names": ["a", "b", "c"], "loss": "x"}')
    },
    "labels beyond": {"y": np.array([0, 1, 1, 3])},
    "negative labels": {"predicted": np.array([0, -1, 1, 2])},
    "fractions": {"y": np.array([0.0, 1, 1, 2])},
    "no labels": dict.fromkeys(("y", "predicted", "probability"), np.empty(0, np.int32)),
    "fewer": {"y": np.array([0, 1])},
    "certain beyond": {"probability": np.array([0.5, 2, 0.5, 0.5])},
    "not a number": {"probability": np.array([0.5, np.nan, 0.5, 0.5])},
    "pictures of more": {"pictures": np.zeros((3, 3, 4, 5), np.uint8)},
    "pictures of floats": {"pictures": np.zeros((2, 3, 4, 5))},
    "empty pictures": {"pictures": np.zeros((2, 3, 0, 5), np.uint8)},
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE)
def test_an_evaluation_from_a_stranger_is_refused(change, tmp_path):
    evaluation.write(tmp_path / "e.npz", good_evaluation())
    arrays = storage.read_npz(tmp_path / "e.npz")
    storage.write_npz(tmp_path / "e.npz", {**arrays, **change})
    with pytest.raises(ValueError, match=r"e\.npz is damaged"):
        evaluation.read(tmp_path / "e.npz")
