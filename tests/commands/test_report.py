"""The report of a run: a page that stands alone, whatever the names in it are."""

import argparse
import json
import re
import shlex
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from batches import write_folder
from test_train_data import pets

from cs231n.__main__ import main
from cs231n.classifiers import load_model
from cs231n.commands import evaluation
from cs231n.commands.train import options as train_options
from cs231n.files import storage
from cs231n.training import checkpoint

pytestmark = pytest.mark.usefixtures("glyphs_drawn_once")

TRAIN = ["train", "--model", "two-layer", "--hidden-dims", "4", "--batch-size", "10"]
HOSTILE = ("<script>alert(1)</script>", 'a" onerror="alert(2)', "&amp; $\\frac", "\x1b[2J\u202e")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """What is in a page; fails where an element is not closed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    def text(self):
        return "".join(self.texts)


def page_of(folder):
    """Return the report in a folder, which may lead nowhere and run nothing."""
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert not {"script", "iframe", "object", "link", "a", "form"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    addresses = [value for name, value in page.attributes if name in ("src", "href", "srcset")]
    assert all(value.startswith("data:image/png;base64,") for value in addresses)
    assert "url(" not in text
    assert "default-src 'none'" in text
    return page


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the folder of a run on pictures."""
    folder = tmp_path_factory.mktemp("report")
    pets(folder / "pets", side=8)
    words = ["--data", str(folder / "pets"), "--image-size", "8", "--output", str(folder / "run")]
    assert main([*TRAIN, *words, "--learning-rate", "1e-9"]) == 0  # so that there are mistakes
    return folder / "run"


@pytest.fixture
def run(finished, tmp_path):
    """Return a copy of the folder of this run."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_what_was_run_and_how_it_went(run):
    page = page_of(run)
    text = page.text()
    assert page.texts[2:].count("two-layer on pets")
    results = json.loads((run / "results.json").read_text())
    assert f"{results['test_acc']:.2%}" in text
    for part in ("Images of 3 x 8 x 8", "3 classes", "cat, dog, emu", "affine W1 b1", "adam"):
        assert part in text
    for heading in ("What was run", "Training curves", "Accuracy by class", "Confusions"):
        assert heading in page.texts
    assert "6 test images of pets: accuracy" in text
    mistakes = len(evaluation.read(run / "evaluation.npz").mistakes(99))
    assert 0 < mistakes < 6
    # Curves, matrix and filters, and the picture of each mistake.
    assert page.tags.count("img") == 3 + mistakes
    assert text.count("taken for") == mistakes + 1


def test_the_command_makes_the_run_again(run, tmp_path):
    command = re.search(r"python -m cs231n train [^\n]*", page_of(run).text())[0]
    words = shlex.split(command)[3:]
    parser = argparse.ArgumentParser()
    train_options.add_options(parser)
    assert words[0] == "train"
    assert "--learning-rate" in words
    assert "--output" not in words
    assert main([*words, "--output", str(tmp_path / "again")]) == 0
    for name in ("history.csv", "best_model.npz"):
        first, again = ((folder / name).read_bytes() for folder in (run, tmp_path / "again"))
        assert name.endswith("npz") or first == again
    first, again = (storage.read_npz(folder / "best_model") for folder in (run, tmp_path / "again"))
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_report_draws_it_again_from_the_files(run, capsys):
    before = (run / "report.html").read_bytes()
    (run / "report.html").unlink()
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().out == f"{run / 'report.html'}\n"
    after = (run / "report.html").read_bytes()
    old, new = (
        [t for t in Page(p.decode()).texts if "cs231n report" not in t] for p in (before, after)
    )
    assert old == new


@pytest.mark.long
@pytest.mark.parametrize(
    "names",
    [["history.csv"], ["evaluation.npz"], ["results.json"], ["best_model.npz"]],
)
def test_what_is_missing_or_damaged_is_left_out(run, names, capsys):
    for name in names:
        (run / name).unlink()
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().err == ""
    whole = page_of(run).text()
    for name in names:
        (run / name).write_bytes(b"{'damaged")
    assert main(["report", str(run)]) == 0
    assert capsys.readouterr().err.startswith("cs231n report: nothing is shown of the ")
    assert page_of(run).text() == whole


def test_no_run(tmp_path, run, capsys):
    for folder, message in (
        (tmp_path / "nothing", "is no run folder"),
        (run / "config.json", "is a file; expected the folder of a run"),
    ):
        assert main(["report", str(folder)]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line


def hostile_run(run):
    """Give classes and data names that would be code in a page that believed them."""
    model = load_model(run)
    model.inputs = model.inputs._replace(class_names=HOSTILE[:3])
    model.save(run / "best_model")
    found = evaluation.read(run / "evaluation.npz")._replace(
        title=HOSTILE[0], class_names=(HOSTILE[0], HOSTILE[1], HOSTILE[3])
    )
    evaluation.write(run / "evaluation.npz", found)
    content = json.loads((run / "config.json").read_text())
    content["options"]["data"] = HOSTILE[1]
    content["numpy"] = HOSTILE[0]
    (run / "config.json").write_text(json.dumps(content), encoding="utf-8")
    (run / "results.json").write_text('{"test_acc": "<b>", "best_val_acc": 1}', encoding="utf-8")
    assert main(["report", str(run)]) == 0


def test_names_from_outside_are_text(run):
    hostile_run(run)
    page = page_of(run)
    text = page.text()
    assert HOSTILE[0] in text
    assert HOSTILE[1] in text
    assert HOSTILE[2] in text
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\\x1b[2J\\u202e" in text


@pytest.mark.long
@pytest.mark.skipif(CHROMIUM is None, reason="without chromium the parser has judged the page")
def test_a_browser_shows_it_without_complaint(run, tmp_path):
    hostile_run(run)
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr"]
    command += ["--v=0", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    result = subprocess.run(
        [*command, (run / "report.html").as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "CONSOLE" not in result.stderr
    assert result.stdout.count("<section>") == 7
    assert "<script" not in result.stdout
    bad = run / "bad.html"  # that the browser would complain
    bad.write_text(
        (run / "report.html").read_text(encoding="utf-8").replace("</main>", "<script>1</script>"),
        encoding="utf-8",
    )
    result = subprocess.run(
        [*command, bad.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    assert "CONSOLE" in result.stderr


@pytest.mark.long
def test_pictures_of_cifar10_are_not_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "batches", np.random.default_rng(3), num=300)
    words = ["--data", "batches", "--num-training", "20", "--num-test", "30", "--output", "run"]
    assert main([*TRAIN, *words]) == 0
    assert evaluation.read(tmp_path / "run" / "evaluation.npz").pictures is None
    page = page_of(tmp_path / "run")
    assert page.tags.count("img") == 3  # curves, matrix, filters
    assert "airplane" in page.text()
    assert "probability" in page.text()


@pytest.mark.long
def test_many_classes_make_a_short_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    X = np.random.default_rng(3).integers(0, 256, (1200, 1, 2), dtype=np.uint8)
    np.savez("many.npz", x_train=X, y_train=np.arange(1200) % 400)
    assert main([*TRAIN, "--data", "many.npz", "--output", "run", "--batch-size", "200"]) == 0
    page = page_of(tmp_path / "run")
    assert "the 30 classes that are recognised least often" in page.text()
    assert page.tags.count("tr") <= 2 * 31
    assert (tmp_path / "run" / "report.html").stat().st_size < 500_000


def test_a_finished_run_keeps_what_is_needed_and_says_so(finished, run, capsys, tmp_path):
    assert not (run / "checkpoint.previous.npz").exists()
    capsys.readouterr()
    assert main(["train", "--resume", str(run), "--epochs", "3"]) == 0
    out = capsys.readouterr().out
    size = sum((run / name).stat().st_size for name in ("best_model.npz", "checkpoint.npz"))
    assert f"kept {size / 1e6:.1f} MB: best_model.npz to predict with, checkpoint.npz" in out
    assert f"train --resume {run} --epochs 6" in out
    assert not (run / "checkpoint.previous.npz").exists()
    assert len((run / "history.csv").read_text().splitlines()) == 1 + 3 * 4


def test_tidy_removes_nothing_that_may_be_needed(tmp_path):
    def previous():
        return (tmp_path / "a.previous.npz").exists()

    assert checkpoint.tidy(tmp_path / "a") == 0
    checkpoint.save(tmp_path / "a", {"run": "one", "n": 1})
    checkpoint.save(tmp_path / "a", {"run": "one", "n": 2})
    good = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(good[:-40])
    assert checkpoint.tidy(tmp_path / "a") == 0
    assert previous()  # the only whole one
    checkpoint.save(tmp_path / "b", {"run": "two", "n": 3})
    (tmp_path / "a.npz").write_bytes((tmp_path / "b.npz").read_bytes())
    checkpoint.tidy(tmp_path / "a")
    assert previous()  # another run's
    (tmp_path / "a.npz").write_bytes(good)
    assert checkpoint.tidy(tmp_path / "a") == len(good)
    assert not previous()
    assert checkpoint.load(tmp_path / "a")["n"] == 2
