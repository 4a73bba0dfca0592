"""Run folders from a stranger: nothing outside is written, and nothing is waited for."""

import contextlib
import json
import os

import pytest
from plants import plant

from cs231n.__main__ import main
from cs231n.training import checkpoint

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a POSIX system")

TRAIN = ("train", "--data", "builtin", "--model", "two-layer", "--epochs", "1", "--num-training",
         "100", "--num-test", "20", "--hidden-dims", "5")  # fmt: skip


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe", "socket", "device", "folder"])
def test_the_part_of_a_checkpoint_is_never_another_file(kind, tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    with plant(kind, tmp_path / "run.part.npz", victim):
        with contextlib.suppress(OSError):
            checkpoint.save(tmp_path / "run", {"x": 1})
            assert checkpoint.load(tmp_path / "run") == {"x": 1}
        assert victim.read_bytes() == b"precious"


def test_a_folder_in_the_place_of_a_checkpoint_stays(tmp_path):
    (tmp_path / "run.npz").mkdir()
    with pytest.raises(IsADirectoryError, match=r"run\.npz is a folder; expected a file"):
        checkpoint.save(tmp_path / "run", {"x": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["run.npz"]


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs Linux's /proc")
def test_a_folder_that_takes_no_checkpoint_is_told_without_the_name_of_a_part():
    with pytest.raises(PermissionError, match=r"cannot write /proc/a\.npz: /proc takes no new"):
        checkpoint.save("/proc/a", {"x": 1})


@pytest.mark.long
def test_links_at_every_name_of_a_run_are_not_followed(tmp_path, capsys):
    """The folder says that it is to be gone on with, so that all of it is believed."""
    folder, victim = tmp_path / "z", tmp_path / "victim"
    assert main([*TRAIN, "--output", str(folder)]) == 0
    names = [path.name for path in folder.iterdir() if path.name != "config.json"]
    for path in folder.iterdir():
        if path.name != "config.json":
            path.unlink()
    victim.write_bytes(b"precious")
    for name in {*names, "checkpoint.part.npz"} - {"checkpoint.npz", "checkpoint.previous.npz"}:
        (folder / name).symlink_to(victim)
    assert main(["train", "--resume", str(folder)]) == 0
    assert victim.read_bytes() == b"precious"
    json.loads((folder / "results.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", ["pipe", "socket", "device", "folder", "hole"])
def test_a_configuration_that_is_no_file_of_sensible_size_is_refused(kind, tmp_path, capsys):
    folder = tmp_path / "z"
    folder.mkdir()
    with plant(kind, folder / "config.json", tmp_path / "victim"):
        assert main(["train", "--resume", str(folder)]) == 1
    assert "config.json" in capsys.readouterr().err
