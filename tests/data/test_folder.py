"""A folder of pictures: what is found, how it is divided, and an answer to every wrong turn."""

import os
import sys
import unicodedata
import warnings

import numpy as np
import pytest
from PIL import Image

from cs231n import data_utils
from cs231n.data import folder, pictures
from cs231n.data_utils import load_image_folder

COLOURS = {"ant": (200, 0, 0), "bee": (0, 200, 0), "cat": (0, 0, 200)}


def fill(root, name, count, colour=(90, 90, 90), form="png", size=(8, 8)):
    """Write pictures of one colour into the folder of a class; the red channel numbers them."""
    (root / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        red = colour[0] + number
        Image.new("RGB", size, (red, *colour[1:])).save(root / name / f"{number:03}.{form}")


@pytest.fixture
def root(tmp_path):
    """Return a folder with ten pictures of each of three classes."""
    for name, colour in COLOURS.items():
        fill(tmp_path / "data", name, 10, colour)
    return tmp_path / "data"


def load(root, **options):
    """Load without the mean subtracted, so that colours are what the files have."""
    return load_image_folder(root, **{"size": 8, "subtract_mean": False, **options})


def left_out(root, **options):
    """Load, and return the one warning."""
    with pytest.warns(UserWarning, match="load_image_folder: left out") as caught:
        data = load(root, **options)
    assert len(caught) == 1
    return data, str(caught[0].message)


class TestForm:
    def test_as_get_cifar10_data(self, root):
        data = load_image_folder(root, size=16)
        assert list(data) == ["X_train", "y_train", "X_val", "y_val", "X_test", "y_test"]
        for part, size in (("train", 24), ("val", 3), ("test", 3)):
            X, y = data[f"X_{part}"], data[f"y_{part}"]
            assert X.shape == (size, 3, 16, 16)
            assert X.dtype == np.float32
            assert X.flags.c_contiguous
            assert X.flags.writeable
            assert y.dtype == np.int64
            assert np.bincount(y).tolist() == [size // 3] * 3
        assert data.class_names == ("ant", "bee", "cat")
        assert data.skipped == ()
        np.testing.assert_allclose(data["X_train"].mean(axis=0), 0, atol=1e-4)

    def test_each_image_has_the_label_of_its_folder(self, root):
        data = load(root)
        for part in ("train", "val", "test"):
            for image, label in zip(data[f"X_{part}"], data[f"y_{part}"]):
                colour = image[:, 4, 4]
                assert 1 + np.argmax(colour > 150) == label + 1
        reds = np.concatenate([data[f"X_{part}"][data[f"y_{part}"] == 1, 0, 0, 0]
                               for part in ("train", "val", "test")])  # fmt: skip
        assert sorted(reds) == list(range(10))  # each once, in one part only

    def test_grey_size_and_dtype(self, root):
        data = load(root, size=(6, 10), grey=True, dtype=np.float64)
        assert data["X_train"].shape == (24, 1, 6, 10)
        assert data["X_train"].dtype == np.float64
        bees = data["X_train"][data["y_train"] == 1]
        assert abs(bees.mean() - 0.587 * 200) < 3

    def test_the_normalisation_is_what_was_done(self, root):
        raw, data = load(root), load_image_folder(root, size=8)
        for name in ("X_train", "X_val", "X_test"):
            np.testing.assert_array_equal(data.normalization.apply(raw[name]), data[name])

    def test_fit(self, tmp_path):
        for name in "ab":
            fill(tmp_path, name, 3, (10, 20, 30), size=(16, 8))
        assert load(tmp_path)["X_train"][:, 2].min() == 30
        boxed = load(tmp_path, fit="letterbox", background=(1, 2, 3))["X_train"]
        assert boxed[0, :, 0, 0].tolist() == [1, 2, 3]
        assert boxed[0, 1:, 4, 4].tolist() == [20, 30]

    @pytest.mark.parametrize("form", ["jpg", "png", "webp", "bmp", "gif", "tiff"])
    def test_formats(self, tmp_path, form):
        for name, colour in COLOURS.items():
            fill(tmp_path, name, 3, colour, form)
        data = load(tmp_path)
        found = data["X_train"][np.argsort(data["y_train"]), :, 4, 4]
        np.testing.assert_allclose(found, list(COLOURS.values()), atol=6)

    def test_the_result_does_not_depend_on_threads(self, root):
        for number in range(40):
            fill(root, f"class {number}", 5, (number, 5, 5))
        one, four = load(root, workers=1), load(root, workers=4)
        for key in one:
            np.testing.assert_array_equal(one[key], four[key], strict=True)

    def test_a_progress_bar_is_drawn_for_a_terminal_or_if_asked_for(self, root, capsys):
        load(root, progress=True)
        assert "30/30" in capsys.readouterr().err
        load(root)
        assert capsys.readouterr().err == ""


class TestSplit:
    def test_a_seed_divides_alike_and_another_one_otherwise(self, root):
        first, again, other = load(root), load(root), load(root, seed=1)
        for key in first:
            np.testing.assert_array_equal(first[key], again[key])
        assert any((first[key] != other[key]).any() for key in ("X_val", "X_test"))

    def test_the_global_generator_is_left_alone(self, root):
        np.random.seed(3)
        before = np.random.get_state()[1].copy()
        load(root)
        np.testing.assert_array_equal(np.random.get_state()[1], before)

    def test_another_class_leaves_the_parts_of_the_others(self, root):
        before = load(root)
        fill(root, "aardvark", 10)
        after = load(root)
        for part in ("train", "val", "test"):
            for label in range(3):
                np.testing.assert_array_equal(
                    before[f"X_{part}"][before[f"y_{part}"] == label],
                    after[f"X_{part}"][after[f"y_{part}"] == label + 1],
                )

    @pytest.mark.parametrize(
        ("count", "shares"),
        [(1, (1, 0, 0)), (2, (2, 0, 0)), (3, (1, 1, 1)), (10, (8, 1, 1)), (30, (24, 3, 3))],
    )
    def test_small_classes(self, tmp_path, count, shares):
        fill(tmp_path, "large", 20)
        fill(tmp_path, "small", count)
        data = load(tmp_path)
        found = tuple(int((data[f"y_{part}"] == 1).sum()) for part in ("train", "val", "test"))
        assert found == shares

    def test_no_parts_at_all(self, root):
        data = load(root, validation=0, test=0)
        assert len(data["X_train"]) == 30
        assert data["X_val"].shape == data["X_test"].shape == (0, 3, 8, 8)

    @pytest.mark.parametrize("name", ["val", "valid", "Validation"])
    def test_folders_divide(self, tmp_path, name):
        for part, count in (("train", 5), (name, 2), ("test", 3)):
            for label, colour in COLOURS.items():
                fill(tmp_path / part, label, count, colour)
        data = load(tmp_path)
        assert [len(data[f"y_{part}"]) for part in ("train", "val", "test")] == [15, 6, 9]
        assert data["y_test"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]

    def test_what_has_no_folder_is_split_off(self, tmp_path):
        for part, count in (("train", 10), ("test", 3)):
            for label, colour in COLOURS.items():
                fill(tmp_path / part, label, count, colour)
        data = load(tmp_path, validation=0.2)
        assert [len(data[f"y_{part}"]) for part in ("train", "val", "test")] == [24, 6, 9]

    def test_a_class_may_be_called_train(self, tmp_path):
        for name in ("car", "train"):
            fill(tmp_path, name, 3)
        assert load(tmp_path).class_names == ("car", "train")

    def test_a_test_folder_without_labels_is_left_out(self, tmp_path):
        for label in "ab":
            fill(tmp_path / "train", label, 10)
        fill(tmp_path, "test", 3)
        data, message = left_out(tmp_path)
        assert "test: has no folder for each class" in message
        assert len(data["y_test"]) == 2


class TestWhatIsFound:
    def test_nested_folders_belong_to_their_class(self, root):
        fill(root / "ant" / "more", "deep", 5, (200, 0, 0))
        data = load(root)
        assert sum((data[f"y_{part}"] == 0).sum() for part in ("train", "val", "test")) == 15

    def test_hidden_and_left_behind_files_are_passed_over(self, root):
        fill(root, ".hidden", 3)
        fill(root, "__MACOSX", 3)
        for name in (".x.png", "Thumbs.db", "desktop.ini"):
            (root / "ant" / name).write_bytes(b"x")
        data = load(root)
        assert data.class_names == ("ant", "bee", "cat")
        assert data.skipped == ()

    def test_a_text_file_among_the_pictures_is_told(self, root):
        (root / "ant" / "notes.txt").write_text("hello")
        (root / "labels.png").write_bytes(b"x")
        data, message = left_out(root)
        assert "2 of 32 files" in message
        assert "ant/notes.txt: is no picture by its name" in message
        assert "labels.png: is in no class" in message
        assert len(data.skipped) == 2

    def test_a_picture_without_ending_is_known_by_its_content(self, root):
        (root / "ant" / "000.png").rename(root / "ant" / "000")
        assert sum(len(load(root)[f"y_{part}"]) for part in ("train", "val", "test")) == 30

    def test_broken_pictures_are_left_out_by_name(self, root):
        whole = (root / "bee" / "004.png").read_bytes()
        for number in range(2, 8):
            (root / "bee" / f"00{number}.png").write_bytes(whole[:50])
        data, message = left_out(root)
        assert "6 of 30 files: bee/002.png: is not a whole picture" in message
        assert message.endswith("and 3 more")
        assert str(root) not in message
        assert len(data.skipped) == 6
        kept = sorted(
            red
            for part in ("train", "val", "test")
            for red in data[f"X_{part}"][data[f"y_{part}"] == 1, 0, 0, 0]
        )
        assert kept == [0, 1, 8, 9]
        for part in ("train", "val", "test"):
            assert len(data[f"X_{part}"]) == len(data[f"y_{part}"])

    def test_numbers_of_unknown_range_are_left_out_by_name(self, root):
        Image.fromarray(np.full((8, 8), 300.0, np.float32)).save(root / "bee" / "x.tiff")
        _, message = left_out(root)
        assert "bee/x.tiff: holds floats from 300 to 300" in message

    @pytest.mark.parametrize("content", [b"no picture", b""])
    def test_strict_refuses_the_first(self, root, content):
        (root / "bee" / "005.png").write_bytes(content)
        with pytest.raises(ValueError, match=r"load_image_folder: .*005\.png is not a whole"):
            load(root, strict=True)

    def test_strict_refuses_other_files_too(self, root):
        (root / "bee" / "notes.txt").write_text("hello")
        with pytest.raises(ValueError, match=r"load_image_folder: .*bee/notes\.txt: is no picture"):
            load(root, strict=True)

    @pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
    def test_links_that_lead_out_are_not_followed(self, root, tmp_path):
        fill(tmp_path / "private", "x", 2)
        os.symlink(tmp_path / "private" / "x" / "000.png", root / "ant" / "out.png")
        os.symlink(root / "ant" / "000.png", root / "ant" / "in.png")
        os.symlink(tmp_path / "private" / "x", root / "dog")
        os.symlink(root, root / "ant" / "loop")
        data, message = left_out(root)
        assert data.class_names == ("ant", "bee", "cat")
        assert sorted(data.skipped) == [
            "ant/loop: is a link to a folder",
            "ant/out.png: is a link that leads out of the folder",
            "dog: is in no class",
        ]
        assert sum((data[f"y_{part}"] == 0).sum() for part in ("train", "val", "test")) == 11
        assert "3 of 34 files" in message

    @pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
    def test_the_folder_itself_may_be_a_link(self, root, tmp_path):
        os.symlink(root, tmp_path / "link")
        assert len(load(tmp_path / "link")["y_train"]) == 24

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes in folders")
    def test_a_pipe_is_no_picture(self, root):
        os.mkfifo(root / "ant" / "x.png")
        _, message = left_out(root)
        assert "ant/x.png: is no file" in message

    def test_names_in_unicode(self, tmp_path):
        composed, decomposed = "Bär", unicodedata.normalize("NFD", "Bär")
        for name in (decomposed, "猫", "naïve café"):
            fill(tmp_path, name, 3)
        (tmp_path / decomposed / "000.png").rename(tmp_path / decomposed / "ü 猫.png")
        assert load(tmp_path).class_names == (composed, "naïve café", "猫")

    @pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
    def test_names_that_cannot_be_shown_are_refused(self, tmp_path):
        for name in (b"ok", b"\xff\xfe"):
            os.mkdir(os.path.join(os.fsencode(tmp_path), name))
        with pytest.raises(ValueError, match=r"has a folder named '\\udcff\\udcfe'"):
            load(tmp_path)
        os.rmdir(os.path.join(os.fsencode(tmp_path), b"\xff\xfe"))
        fill(tmp_path, "a\x1b[31m", 3)
        with pytest.raises(ValueError, match=r"has a folder named 'a\\x1b\[31m'"):
            load(tmp_path)

    def test_classes_are_sorted_as_text(self, tmp_path):
        for name in ("2", "10", "b", "A"):
            fill(tmp_path, name, 3)
        assert load(tmp_path).class_names == ("10", "2", "A", "b")


class TestWrongTurns:
    """Each is answered in one line."""

    def answer(self, root, **options):
        with pytest.raises((ValueError, OSError)) as caught:
            load(root, **options)
        message = str(caught.value)
        assert message.startswith("load_image_folder: ")
        assert "\n" not in message
        return message.replace(str(root), "ROOT")

    def test_a_missing_folder(self, tmp_path):
        assert "gone is not there; expected a folder with" in self.answer(
            tmp_path / "gone"
        ).replace("ROOT", "gone")

    def test_a_file(self, tmp_path):
        (tmp_path / "x.png").write_bytes(b"x")
        assert "ROOT is no folder; expected a folder" in self.answer(tmp_path / "x.png")

    def test_no_class(self, tmp_path):
        Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
        assert "ROOT has no folders; expected a folder of pictures for each" in self.answer(
            tmp_path
        )

    def test_one_class(self, tmp_path):
        fill(tmp_path, "ant", 5)
        assert "ROOT has only the class ant; expected" in self.answer(tmp_path)

    def test_an_empty_class(self, root):
        (root / "dog").mkdir()
        assert "the class dog in ROOT has no pictures" in self.answer(root)

    def test_a_class_that_is_all_broken(self, root):
        fill(root, "dog", 3)
        for path in (root / "dog").iterdir():
            path.write_bytes(b"x")
        assert "no training picture of the class dog in ROOT is whole" in self.answer(root)

    def test_no_training_folder(self, tmp_path):
        for part in ("val", "test"):
            fill(tmp_path / part, "ant", 2)
        assert "ROOT has test, val but no train folder" in self.answer(tmp_path)

    def test_more_than_train_and_test(self, tmp_path):
        for part in ("train", "test", "extra"):
            fill(tmp_path / part, "ant", 2)
        assert "ROOT has extra, test, train; expected train, val and test" in self.answer(tmp_path)

    def test_a_class_that_training_lacks(self, tmp_path):
        for label in "ab":
            fill(tmp_path / "train", label, 2)
        fill(tmp_path / "test", "c", 2)
        assert "the test folder of ROOT has the class c, which the" in self.answer(tmp_path)

    def test_pictures_of_three_pixels_load(self, tmp_path):
        for name, size in (("wide", (3, 1)), ("tall", (1, 3))):
            fill(tmp_path, name, 3, size=size)
        assert load(tmp_path, size=32)["X_train"].shape == (2, 3, 32, 32)

    @pytest.mark.long
    def test_ten_thousand_classes_load(self, tmp_path):
        one = tmp_path / "one.png"
        Image.new("RGB", (4, 4), (9, 9, 9)).save(one)
        for number in range(10_000):
            (tmp_path / "data" / f"c{number:05}").mkdir(parents=True)
            os.link(one, tmp_path / "data" / f"c{number:05}" / "x.png")
        data = load(tmp_path / "data", size=4)
        assert len(data.class_names) == 10_000
        np.testing.assert_array_equal(data["y_train"], np.arange(10_000))

    def test_more_images_than_memory(self, root, monkeypatch):
        monkeypatch.setattr("os.sysconf", lambda name: 2**10)
        assert "30 images (3, 128, 128) of float32 take 0.0 GB, more than there is" in self.answer(
            root, size=128
        )

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"size": 0}, "size is 0"),
            ({"size": (8, 8, 8)}, r"size is \(8, 8, 8\)"),
            ({"size": 10**6}, "size is 1000000"),
            ({"fit": "stretch"}, "fit is 'stretch'; expected 'cover' or 'letterbox'"),
            ({"validation": 0.6, "test": 0.4}, r"validation is 0\.6 and test 0\.4"),
            ({"validation": -0.1}, r"validation is -0\.1"),
            ({"background": (0, 0, 256)}, "background is 256"),
            ({"background": (0, 0)}, r"background \(0, 0\)"),
            ({"seed": -1}, "seed is -1"),
            ({"workers": -1}, "workers is -1"),
            ({"max_pixels": 0}, "max_pixels is 0"),
        ],
    )
    def test_wrong_options(self, root, options, message):
        with pytest.raises(ValueError, match=rf"^load_image_folder: .*{message}"):
            load(root, **options)


def test_an_interrupt_does_not_wait_for_the_rest(root, monkeypatch):
    """Pictures that no thread has begun are not decoded any more."""
    for number in range(40):
        fill(root, f"class {number}", 16)
    opened = []

    def interrupted(*args):
        opened.append(args)
        raise KeyboardInterrupt

    monkeypatch.setattr(pictures, "open_picture", interrupted)
    with pytest.raises(KeyboardInterrupt):
        load(root, workers=1)
    assert len(opened) < 20


def test_warnings_of_pillow_are_silent_in_every_thread(root):
    Image.new("P", (8, 8)).save(root / "ant" / "x.png", transparency=bytes(range(256)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        load(root)
    assert caught == []


def test_the_function_is_offered_by_data_utils():
    assert data_utils.load_image_folder is folder.load_image_folder
