"""What all tests share: the generator, the kernels in turn, the real CIFAR-10, the tolerances."""

import collections
import functools
import gc
import os
import signal
from pathlib import Path

# Before NumPy is loaded: small products gain nothing from BLAS threads, which on a busy machine
# wait for one another.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pytest

from cs231n import fast_layers
from cs231n.data import builtin, glyphs
from cs231n.kernels import backend

# Largest difference allowed, as a part of the largest number expected.
TOLERANCE = {"float32": 2e-4, "float64": 1e-10}


def assert_close(found, expected, looser=1.0, scale=None):
    """Fail where the arrays differ in shape, or by more than the coarser dtype's tolerance.

    The scale is the size of the numbers compared, where they are not as large as what they are
    the sum of.
    """
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    tolerance = looser * max(TOLERANCE.get(array.dtype.name, 0.0) for array in (found, expected))
    if scale is None:
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale, equal_nan=True)


@pytest.hookimpl(tryfirst=True)  # before the long ones are left out
def pytest_collection_modifyitems(items):
    """Mark as long what a test of many cases leaves to `make test-long`."""
    seen = collections.Counter()
    for item in items:
        sampled = item.get_closest_marker("sampled")
        if sampled is not None:
            if seen[item.function] % sampled.args[0]:
                item.add_marker("long")
            seen[item.function] += 1


def pytest_collection_finish():
    """Spare the collector of garbage the tests themselves: it would go through all at each run."""
    gc.collect()
    gc.freeze()


def pytest_make_parametrize_id(val):
    """Name bytes by their length: a packed file holds the time, and two workers must agree."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None


# A job in the background of a shell is started with Ctrl-C ignored, and one under nohup with
# SIGHUP: the tests of signals take them as they are in a terminal.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

KERNELS = backend.available()


@pytest.fixture
def rng():
    """Return a generator that gives every test the same numbers in every run."""
    return np.random.default_rng(231)


@pytest.fixture(params=KERNELS)
def backend_name(request, monkeypatch):
    """Run the test once with each set of kernels that is there, which small arrays take too."""
    monkeypatch.setattr(fast_layers, "_FEW", 0)
    previous = backend.select(request.param)
    yield request.param
    backend.select(previous)


@functools.cache
def _glyphs(num: int, seed: int, part: int, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    return glyphs.draw_glyphs(num, seed, part, dtype)


@pytest.fixture
def glyphs_drawn_once(monkeypatch):
    """Hand out copies of the built-in images: the trainings of many tests differ in all else."""
    monkeypatch.setattr(
        builtin, "draw_glyphs", lambda *given: tuple(one.copy() for one in _glyphs(*given))
    )


@pytest.fixture
def read_only_folder(tmp_path):
    """Return a folder in which no file can be made; for root that is one of the kernel's own."""
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    if not os.access(folder, os.W_OK):
        yield folder
        folder.chmod(0o700)
    elif Path("/sys").is_mount():
        yield Path("/sys")
    else:
        pytest.skip("this user may write to read-only folders")


@pytest.fixture(scope="session")
def cifar10_dir():
    """Return the folder of the real CIFAR-10 batches, which CS231N_DATA names."""
    named = os.environ.get("CS231N_DATA")
    if not named:
        pytest.skip("needs the real CIFAR-10: set CS231N_DATA to its folder")
    for folder in (Path(named), Path(named) / "cifar-10-batches-py"):
        if (folder / "data_batch_1").is_file():
            return folder
    return pytest.fail(f"CS231N_DATA is {named}, but no CIFAR-10 batches are there")
