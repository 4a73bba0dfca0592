"""Checkpoint files: any state comes back, damage is found, and one good file is always there."""

import errno
import os
import signal

import numpy as np
import pytest

from cs231n.classifiers import TwoLayerNet
from cs231n.files import storage
from cs231n.solver import Solver
from cs231n.training import checkpoint

STATE = {
    "params": {"W1": np.arange(6.0).reshape(2, 3), "b1": np.ones(3, np.float32)},
    "order": np.arange(4),
    "accuracy": -np.inf,
    "rate": 0.1,
    "huge": 2**200,
    "flags": [True, False, None],
    "pair": (1, np.float32(0.1)),
    "text": "naïve \U0001f600",
    "empty": {},
    "nested": [{"velocity": np.zeros((0, 3))}, np.array(2.5), np.array("text")],
}


def assert_same(found, expected):
    """Fail unless two states are equal in every value and type."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for pair in zip(found, expected):
            assert_same(*pair)
    elif isinstance(expected, np.ndarray):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        np.testing.assert_array_equal(found, expected)
    else:
        assert found == expected


def numbered(number):
    """Return a small state with a number."""
    return {"number": number, "w": np.full(1000, float(number))}


def names(folder):
    """Return the names of the files in a folder."""
    return sorted(path.name for path in folder.iterdir())


def test_a_state_comes_back_as_it_was(tmp_path):
    path = checkpoint.save(tmp_path / "run", STATE)
    assert path == tmp_path / "run.npz"
    assert_same(checkpoint.load(tmp_path / "run"), STATE)
    assert_same(checkpoint.load(path), STATE)
    assert names(tmp_path) == ["run.npz"]


def test_layouts_in_memory_come_back_as_numbers(tmp_path, rng):
    x = rng.standard_normal((4, 6))
    views = {"transposed": x.T, "strided": x[::2, ::3], "fortran": np.asfortranarray(x)}
    checkpoint.save(tmp_path / "run", views)
    for name, array in checkpoint.load(tmp_path / "run").items():
        np.testing.assert_array_equal(array, views[name])


def test_the_file_holds_plain_arrays_and_says_where_it_comes_from(tmp_path):
    path = checkpoint.save(tmp_path / "run", STATE)
    with np.load(path, allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["params/W1"], STATE["params"]["W1"])
        assert archive["format"] == checkpoint.FORMAT
        assert str(archive["version"])
        assert len(str(archive["digest"])) == 64
        assert all(archive[name].dtype.kind in "biufU" for name in archive.files)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": {"b": object()}}, "a/b is a object"),
        ({"a": [1, {2, 3}]}, "a/1 is a set"),
        ({"a": 1j}, "a is a complex"),
        ({"a": {1: 2}}, "a is a dict"),
        ({"a": {"$array": "b"}}, "a is a dict"),
        ({"a": np.array([None])}, "a is an array of object; expected numbers or text"),
        ({"a": np.array(["2020"], "M8[D]")}, r"a is an array of datetime64\[D\]"),
        ({"a": [np.timedelta64(1, "s")]}, r"a/0 is an array of timedelta64\[s\]"),
        ({"a": np.zeros(2, [("b", "f8")])}, r"a is an array of \[\('b', '<f8'\)\]"),
        ({"a": {"b/c": np.ones(1)}, "a/b": {"c": np.ones(1)}}, "the name a/b/c is taken"),
        ({"state": np.ones(1)}, "the name state is taken"),
        ({"file": np.ones(1)}, "the name file is taken"),
    ],
)
def test_what_cannot_be_stored_is_named_and_leaves_no_file(state, message, tmp_path):
    with pytest.raises(TypeError, match=f"checkpoint.save: {message}"):
        checkpoint.save(tmp_path / "run", state)
    assert names(tmp_path) == []


def test_the_one_before_is_kept(tmp_path):
    for number in range(4):
        checkpoint.save(tmp_path / "run", numbered(number))
        assert checkpoint.load(tmp_path / "run")["number"] == number
    assert names(tmp_path) == ["run.npz", "run.previous.npz"]
    assert checkpoint.load(tmp_path / "run.previous")["number"] == 2


def damage(path, place):
    """Change one byte of a file."""
    content = bytearray(path.read_bytes())
    content[place] ^= 0x40
    path.write_bytes(content)


def test_a_damaged_one_gives_way_to_the_one_before(tmp_path, capsys):
    for number in range(2):
        checkpoint.save(tmp_path / "run", numbered(number))
    damage(tmp_path / "run.npz", 3000)
    assert checkpoint.load(tmp_path / "run")["number"] == 0
    printed = capsys.readouterr().err
    assert "run.npz is damaged" in printed
    assert "going on from" in printed
    assert "run.previous.npz" in printed
    (tmp_path / "run.npz").unlink()
    assert checkpoint.load(tmp_path / "run")["number"] == 0
    assert checkpoint.exists(tmp_path / "run")


def test_one_that_the_disk_does_not_give_gives_way_to_the_one_before(tmp_path, capsys, monkeypatch):
    for number in range(2):
        checkpoint.save(tmp_path / "run", numbered(number))
    read = storage.read_npz

    def read_on_a_bad_disk(path):
        if path.name == "run.npz":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return read(path)

    monkeypatch.setattr(storage, "read_npz", read_on_a_bad_disk)
    assert checkpoint.load(tmp_path / "run")["number"] == 0
    assert "Input/output error" in capsys.readouterr().err
    (tmp_path / "run.previous.npz").unlink()
    with pytest.raises(OSError, match="Input/output error"):
        checkpoint.load(tmp_path / "run")


def test_one_whose_new_name_a_kill_prevented_is_found(tmp_path):
    path = checkpoint.save(tmp_path / "run", numbered(5))
    os.rename(path, tmp_path / "run.part.npz")
    (tmp_path / "run.previous.npz").write_bytes(b"damaged")
    assert checkpoint.load(tmp_path / "run")["number"] == 5


def test_all_damaged_is_an_error_that_names_the_first(tmp_path):
    for number in range(2):
        checkpoint.save(tmp_path / "run", numbered(number))
    for name in names(tmp_path):
        damage(tmp_path / name, 3000)
    with pytest.raises(ValueError, match=r"run\.npz is damaged"):
        checkpoint.load(tmp_path / "run")


def test_none_at_all_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"run\.npz"):
        checkpoint.load(tmp_path / "run")
    assert not checkpoint.exists(tmp_path / "run")


def rewritten(path, **changes):
    """Replace members of a checkpoint, or leave them out, with what was there as the rest."""
    members = {**storage.read_npz(path), **changes}
    storage.write_npz(path, {name: x for name, x in members.items() if x is not None})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"digest": None}, "no checkpoint of training, for it lacks digest"),
        ({"format": np.array(2)}, r"its format is 2, .*expected format 1"),
        ({"format": np.array([1, 1])}, r"its format is \[1, 1\]"),
        ({"w": np.zeros(1000)}, "its contents do not have the digest"),
        ({"w": np.ones(1000, np.float32)}, "its contents do not have the digest"),
        ({"w": np.ones((10, 100))}, "its contents do not have the digest"),
        ({"w": None}, "its contents do not have the digest"),
        ({"more": np.ones(1)}, "its contents do not have the digest"),
        ({"version": np.array("9.9")}, "its contents do not have the digest"),
        ({"digest": np.ones(3)}, "its contents do not have the digest"),
    ],
)
def test_changed_contents_are_refused(changes, message, tmp_path):
    path = checkpoint.save(tmp_path / "run", {"w": np.ones(1000)})
    rewritten(path, **changes)
    with pytest.raises(ValueError, match=rf"checkpoint\.load: .*run\.npz: .*{message}"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "[1]", "7", '{"w": {"$array": "x"}}', '{"w": {"$array": [1]}}'),
        *('{"w": {"$tuple": 3}}', "[" * 100_000),
    ],
)
def test_contents_with_a_digest_of_their_own_are_no_state_either(text, tmp_path):
    path = checkpoint.save(tmp_path / "run", {"w": np.ones(3)})
    members = {**storage.read_npz(path), "state": np.array(text)}
    del members["digest"]
    storage.write_npz(path, {**members, "digest": np.array(checkpoint._digest(members))})
    with pytest.raises(ValueError, match=r"checkpoint\.load: .*run\.npz"):
        checkpoint.load(path)


@pytest.mark.long
def test_truncated_files_and_flipped_bytes_are_refused_or_harmless(tmp_path):
    state = {"w": np.arange(3.0), "t": 4}
    path = checkpoint.save(tmp_path / "run", state)
    whole = path.read_bytes()
    for length in range(0, len(whole), 11):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"run\.npz"):
            checkpoint.load(path)
    refused = 0
    for place in range(0, len(whole), 7):
        path.write_bytes(whole)
        damage(path, place)
        try:
            assert_same(checkpoint.load(path), state)
        except ValueError:
            refused += 1
    assert refused > len(whole) / 7 / 2


class DiskError:
    """Fails at the n-th call of a function of the system, then at every one."""

    def __init__(self, function, calls):
        self.function, self.left = function, calls

    def __call__(self, *args, **kwargs):
        """Call the function, or fail."""
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.function(*args, **kwargs)


@pytest.mark.parametrize(("name", "calls"), [("fsync", 0), ("replace", 0), ("replace", 1)])
def test_a_full_disk_leaves_a_good_one_whatever_fails(name, calls, tmp_path, monkeypatch):
    for number in range(2):
        checkpoint.save(tmp_path / "run", numbered(number))
    with monkeypatch.context() as patch:
        patch.setattr(os, name, DiskError(getattr(os, name), calls))
        with pytest.raises(OSError, match="No space left"):
            checkpoint.save(tmp_path / "run", numbered(2))
    assert checkpoint.load(tmp_path / "run")["number"] == 1
    assert "run.part.npz" not in names(tmp_path)
    checkpoint.save(tmp_path / "run", numbered(3))
    assert checkpoint.load(tmp_path / "run")["number"] == 3


LIES = {
    "zeros": (lambda content: bytes(len(content)), "does not read back"),
    "short": (lambda content: content[:-1], "does not read back"),
    "long": (lambda content: bytes(content) + b"x", "is longer"),
}


@pytest.mark.parametrize(("change", "message"), LIES.values(), ids=LIES)
def test_a_disk_that_lies_is_found_out(change, message, tmp_path, monkeypatch):
    checkpoint.save(tmp_path / "run", numbered(1))
    write = checkpoint._write
    monkeypatch.setattr(checkpoint, "_write", lambda path, content: write(path, change(content)))
    with pytest.raises(OSError, match=message):
        checkpoint.save(tmp_path / "run", numbered(2))
    assert checkpoint.load(tmp_path / "run")["number"] == 1
    assert names(tmp_path) == ["run.npz"]


@pytest.fixture
def small_files():
    """Let no file of this process grow beyond 20,000 bytes: the disk is full for real."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_file_that_cannot_grow_leaves_the_last_good_one(tmp_path, small_files):
    checkpoint.save(tmp_path / "run", numbered(1))
    with pytest.raises(OSError, match="File too large"):
        checkpoint.save(tmp_path / "run", {"w": np.zeros(10_000)})
    assert checkpoint.load(tmp_path / "run")["number"] == 1
    assert names(tmp_path) == ["run.npz"]


def solver_in(folder, on_step=None, **arguments):
    """Return a solver that writes checkpoints of a small network into a folder."""
    rng = np.random.default_rng(4)
    data = {
        **{"X_train": rng.standard_normal((20, 6)), "y_train": rng.integers(3, size=20)},
        **{"X_val": rng.standard_normal((8, 6)), "y_val": rng.integers(3, size=8)},
    }
    np.random.seed(0)
    model = TwoLayerNet(6, 5, 3)
    solver = Solver(
        model, data, "adam", batch_size=4, num_epochs=4, verbose=False, rng=rng,
        checkpoint_name=folder / "run", **arguments,
    )  # fmt: skip
    step = solver._step

    def watched():
        step()
        if on_step is not None:
            on_step(solver.state.iteration)

    solver._step = watched
    return solver


def expected_losses(folder):
    """Return the losses of a run without trouble."""
    solver = solver_in(folder)
    solver.checkpoint_name = None
    solver.train()
    assert len(solver.loss_history) == 20
    return solver.loss_history


def test_training_goes_on_in_memory_while_the_disk_is_full(tmp_path, monkeypatch, capsys):
    expected = expected_losses(tmp_path)
    fsync = os.fsync

    def on_step(iteration):
        full = DiskError(fsync, 0)
        monkeypatch.setattr(os, "fsync", full if 6 <= iteration < 16 else fsync)

    solver = solver_in(tmp_path, on_step, checkpoint_every=1)
    solver.train()
    assert solver.loss_history == expected
    printed = capsys.readouterr()
    assert printed.err.count("cannot be written") == 1  # said once, not at each of ten attempts
    assert "No space left on device" in printed.err
    assert str(tmp_path / "run") in printed.err
    assert printed.out == ""
    assert checkpoint.load(tmp_path / "run")["iteration"] == 20
    assert checkpoint.load(tmp_path / "run.previous")["iteration"] == 19


def test_the_last_good_one_stays_on_a_disk_that_stays_full(tmp_path, monkeypatch, capsys):
    fsync = os.fsync

    def on_step(iteration):
        monkeypatch.setattr(os, "fsync", DiskError(fsync, 0) if iteration >= 7 else fsync)

    solver = solver_in(tmp_path, on_step, checkpoint_every=1)
    solver.train()
    assert len(solver.loss_history) == 20
    assert solver.best_params
    assert "the last good one stays" in capsys.readouterr().err
    assert checkpoint.load(tmp_path / "run")["iteration"] == 6
    assert names(tmp_path) == ["run.npz", "run.previous.npz"]


def test_a_folder_that_vanishes_stops_nothing(tmp_path, capsys):
    folder = tmp_path / "gone"
    folder.mkdir()

    def on_step(iteration):
        if iteration == 8:
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()

    solver = solver_in(folder, on_step)
    solver.train()
    assert solver.loss_history == expected_losses(tmp_path)
    told = capsys.readouterr().err
    assert "cannot be written (the checkpoint" in told
    assert "was removed or replaced" in told
    assert "the results stay in memory" in told
    assert not folder.exists()


def test_a_missing_folder_is_made(tmp_path, capsys):
    solver_in(tmp_path / "a" / "new" / "one").train()
    assert capsys.readouterr().err == ""
    assert checkpoint.load(tmp_path / "a" / "new" / "one" / "run")["iteration"] == 20


def test_a_folder_that_cannot_be_made_is_told_early_and_stops_nothing(tmp_path, capsys):
    seen = []
    (tmp_path / "file").write_bytes(b"in the way")
    solver = solver_in(tmp_path / "file", lambda _: seen.append(capsys.readouterr().err))
    solver.train()
    assert "file is a file; expected a folder" in seen[1]
    assert len(solver.loss_history) == 20


def test_a_read_only_folder_stops_nothing(read_only_folder, capsys):
    before = names(read_only_folder)
    solver = solver_in(read_only_folder)
    solver.train()
    assert len(solver.loss_history) == 20
    assert "Permission denied" in capsys.readouterr().err
    assert names(read_only_folder) == before


def test_too_little_memory_for_a_checkpoint_stops_nothing(tmp_path, monkeypatch, capsys):
    def no_memory(state):
        raise MemoryError

    monkeypatch.setattr(checkpoint, "_content", no_memory)
    solver = solver_in(tmp_path)
    solver.train()
    assert len(solver.loss_history) == 20
    assert "cannot be written (MemoryError)" in capsys.readouterr().err


def test_a_network_that_is_given_a_checkpoint_names_what_reads_it(tmp_path):
    solver_in(tmp_path).train()
    message = r"TwoLayerNet\.load: .* is a checkpoint of training, which Solver\.resume reads"
    with pytest.raises(ValueError, match=message):
        TwoLayerNet(6, 5, 3).load(tmp_path / "run.npz")
