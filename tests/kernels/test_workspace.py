"""Memory is used again, and never while anybody can still see what is in it."""

import gc
import threading
import tracemalloc

import numpy as np
import pytest
from cases import FAST_LAYERS
from conftest import KERNELS
from hypothesis import given, settings
from hypothesis import strategies as st

from cs231n.classifiers.cnn import ConvNet
from cs231n.kernels import workspace
from cs231n.solver import Solver

LARGE = (1 << 18) // 8  # float64 numbers in the smallest array that has a block of its own
SIZES = [LARGE, LARGE + 1, LARGE + 700, 2 * LARGE, 3 * LARGE]


@pytest.fixture(autouse=True)
def nothing_free():
    """Start and end every test without free blocks."""
    gc.collect()
    workspace.clear()
    yield
    gc.collect()
    workspace.clear()


def address(array):
    """Return where the array's numbers are."""
    return array.__array_interface__["data"][0]


def free_bytes():
    """Return how much memory is kept for later arrays."""
    return sum(block.nbytes for block in workspace._free)


@pytest.mark.sampled(5)
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int32"])
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 4), (5,), (3, 50, 1000), (70_001,)])
def test_arrays_are_what_was_asked_for(shape, dtype):
    array = workspace.empty(shape, dtype)
    assert array.shape == shape
    assert array.dtype == dtype
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert array.flags.aligned


def test_large_arrays_start_at_a_cache_line():
    arrays = [workspace.empty((size,), np.float64) for size in SIZES]
    assert {address(array) % 64 for array in arrays} == {0}


def test_views_and_copies_of_what_an_array_lives_in_give_nothing_back():
    array = workspace.empty((LARGE,), np.float64)
    lease = memoryview(array.base.base).obj
    assert isinstance(lease, workspace._Lease)
    view, copy = lease[8:], lease.copy()
    del view, copy
    assert not workspace._free
    del array
    assert not workspace._free
    del lease
    assert len(workspace._free) == 1


def test_memory_is_used_again_once_the_array_is_gone():
    array = workspace.empty((3, LARGE), np.float64)
    first = address(array)
    other = workspace.empty((3, LARGE), np.float64)
    assert not np.shares_memory(array, other)
    del array
    assert address(workspace.empty((LARGE, 3), np.float64)) == first
    assert address(workspace.empty((6 * LARGE,), np.float32)) == first


def test_a_block_is_not_wasted_on_an_array_of_less_than_half_its_size():
    array = workspace.empty((4 * LARGE,), np.float64)
    first = address(array)
    del array
    small = workspace.empty((LARGE,), np.float64)
    assert address(small) != first
    assert address(workspace.empty((2 * LARGE,), np.float64)) == first


def test_the_smallest_block_that_fits_is_taken():
    arrays = {size: workspace.empty((size,), np.float64) for size in (9 * LARGE, 7 * LARGE)}
    addresses = {size: address(array) for size, array in arrays.items()}
    arrays.clear()
    assert address(workspace.empty((6 * LARGE,), np.float64)) == addresses[7 * LARGE]


@pytest.mark.parametrize(
    "view",
    [
        lambda array: array[5:6],
        lambda array: array.reshape(-1, 2).T,
        lambda array: array.view(np.uint8)[::7],
        lambda array: memoryview(array),
        lambda array: np.broadcast_to(array, (2, *array.shape)),
        lambda array: np.frombuffer(array),
    ],
    ids=["slice", "transpose", "other dtype", "memoryview", "broadcast", "frombuffer"],
)
def test_a_view_keeps_the_memory(view):
    array = workspace.empty((2 * LARGE,), np.float64)
    array[:] = np.arange(array.size)
    first, kept = address(array), view(array)
    expected = np.array(kept)
    del array
    later = workspace.empty((2 * LARGE,), np.float64)
    later[:] = -1
    assert address(later) != first
    np.testing.assert_array_equal(kept, expected)
    del kept, later
    assert first in {address(workspace.empty((2 * LARGE,), np.float64))} | {
        address(block) for block in workspace._free
    }


def test_memory_that_there_is_not_is_not_counted(monkeypatch):
    def no_memory(size):
        raise MemoryError

    workspace.clear()
    before = workspace._total
    monkeypatch.setattr(workspace, "_aligned", no_memory)
    with pytest.raises(MemoryError):
        workspace.empty((LARGE,), np.float64)
    assert workspace._total == before


def test_an_array_in_a_cycle_is_kept_until_the_cycle_is_collected():
    holder = {"array": workspace.empty((LARGE,), np.float64)}
    holder["itself"] = holder
    first = address(holder["array"])
    assert address(workspace.empty((LARGE,), np.float64)) != first
    del holder
    gc.collect()
    arrays = [workspace.empty((LARGE,), np.float64) for _ in range(2)]
    assert first in {address(array) for array in arrays}


class Chain:
    """A layer that is run over and over, whose results the user keeps or drops."""

    def __init__(self, name, shapes):
        self.layer = FAST_LAYERS[name]._replace(shapes=shapes)
        self.dtype = "float64"

    def call(self, seed):
        """Return a few results of a forward and a backward pass."""
        rng = np.random.default_rng(seed)
        out, cache = self.layer.run(*self.layer.draw(rng, self.dtype))
        return [out, *self.layer.gradients(rng.standard_normal(out.shape), cache)]


# Sizes that share blocks, with results above the size at which blocks are used.
IMAGES = (3, 4, 30, 30)
CHAINS = [
    Chain("conv fast", (IMAGES, (8, 4, 3, 3), (8,))),
    Chain("conv_relu fast", (IMAGES, (20, 4, 3, 3), (20,))),
    Chain("max pool fast", ((9, 4, 20, 20),)),
    Chain("relu fast", (IMAGES,)),
    Chain("spatial batchnorm fast, train", ((3, 3, 30, 31), (3,), (3,))),
    Chain("spatial batchnorm_relu fast, train", ((3, 3, 30, 31), (3,), (3,))),
    Chain("spatial groupnorm fast", (IMAGES, (1, 4, 1, 1), (1, 4, 1, 1))),
    Chain("batchnorm fast, train", ((200, 50), (50,), (50,))),
    Chain("layernorm fast", ((200, 55), (55,), (55,))),
    Chain("affine fast", ((90, 100), (100, 95), (95,))),
]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(range(len(CHAINS))), st.integers(0, 99), st.lists(st.integers(0, 30))
    ),
    min_size=3,
    max_size=12,
)


@settings(derandomize=True, max_examples=40, deadline=None, database=None)
@given(steps=STEPS)
def test_what_the_user_holds_is_never_written_to(steps):
    held = []
    for chain, seed, drops in steps:
        held += [(result, result.copy()) for result in CHAINS[chain].call(seed)]
        for index in drops:
            if index < len(held):
                del held[index]
        for result, before in held:
            np.testing.assert_array_equal(result, before)
    for index, (result, _) in enumerate(held):
        for other, _ in held[:index]:
            assert not np.shares_memory(result, other)


@settings(derandomize=True, max_examples=40, deadline=None, database=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(SIZES), st.booleans(), st.integers(0, 20)), max_size=40
    )
)
def test_arrays_and_views_never_share_memory_with_later_arrays(steps):
    held = []
    for number, (size, as_view, drop) in enumerate(steps):
        array = workspace.empty((size,), np.float64)
        array[:] = number
        held.append((array[size // 2 : size // 2 + 9] if as_view else array, number))
        del array
        if drop < len(held):
            del held[drop]
        assert all((kept == value).all() for kept, value in held)


@pytest.mark.skipif(KERNELS == ["numpy"], reason="the extension is not built")
def test_a_second_pass_allocates_no_large_array():
    chain = Chain("conv_relu fast", ((16, 16, 40, 40), (16, 16, 3, 3), (16,)))
    arrays = chain.layer.draw(np.random.default_rng(231), "float32")
    dout = np.random.default_rng(7).standard_normal(chain.layer.run(*arrays)[0].shape)
    dout = dout.astype(np.float32)

    def step():
        _, cache = chain.layer.run(*arrays)
        chain.layer.gradients(dout, cache)

    for _ in range(2):
        step()
    addresses = {address(block) for block in workspace._free}
    tracemalloc.start()
    step()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 16
    assert {address(block) for block in workspace._free} == addresses


def test_arrays_of_several_threads_do_not_meet():
    failures = []

    def work(number):
        for _ in range(200):
            array = workspace.empty((LARGE,), np.float64)
            array[:] = number
            view = array[::3]
            del array
            if not (view == number).all():
                failures.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_scratch_is_the_same_memory_at_every_call_of_a_thread():
    first = workspace.scratch(1000)
    assert first.nbytes >= 1000
    assert address(first) % 64 == 0
    assert address(workspace.scratch(10)) == address(first)
    larger = workspace.scratch(5000)
    assert larger.nbytes >= 5000
    assert address(workspace.scratch(1000)) == address(larger)


def test_each_thread_has_scratch_of_its_own():
    barrier, blocks = threading.Barrier(4), []

    def work():
        blocks.append(workspace.scratch(10_000))
        barrier.wait(timeout=30)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    barrier.wait(timeout=30)
    for thread in threads:
        thread.join()
    blocks.append(workspace.scratch(10_000))
    assert len({address(block) for block in blocks}) == 4
    for index, block in enumerate(blocks):
        assert not any(np.shares_memory(block, other) for other in blocks[:index])


def test_clear_drops_free_blocks_and_scratch_but_nothing_that_is_held():
    kept, gone = (workspace.empty((2 * LARGE,), np.float64) for _ in range(2))
    kept[:] = np.arange(kept.size)
    del gone
    scratch = workspace.scratch(10_000)
    assert free_bytes() > 0
    workspace.clear()
    assert free_bytes() == 0
    assert not np.shares_memory(workspace.scratch(10_000), scratch)
    np.testing.assert_array_equal(kept, np.arange(2 * LARGE))


def test_the_number_of_free_blocks_is_bounded():
    arrays = [workspace.empty((LARGE,), np.float64) for _ in range(workspace._MOST_BLOCKS + 40)]
    arrays.clear()
    array = workspace.empty((4 * LARGE,), np.float64)
    assert len(workspace._free) <= workspace._MOST_BLOCKS
    del array


def test_the_memory_of_free_blocks_is_bounded(monkeypatch):
    monkeypatch.setattr(workspace, "_MOST_BYTES", 10 * 8 * LARGE)
    arrays = [workspace.empty((size,), np.float64) for size in [2 * LARGE] * 4 + [3 * LARGE] * 3]
    newest = {address(array) for array in arrays[-3:]}
    while arrays:
        arrays.pop(0)
    assert {address(block) for block in workspace._free} == newest  # 9 of 10, and 2 more don't fit


def test_an_array_larger_than_the_bound_is_given_back_to_the_system(monkeypatch):
    monkeypatch.setattr(workspace, "_MOST_BYTES", 8 * LARGE)
    array = workspace.empty((5 * LARGE,), np.float64)
    array[:] = 1
    assert array.sum() == array.size
    del array
    assert free_bytes() == 0


def test_the_bound_holds_over_many_rounds(monkeypatch):
    monkeypatch.setattr(workspace, "_MOST_BYTES", 10 * 8 * LARGE)
    for number in range(1, 30):
        arrays = [workspace.empty((LARGE * (1 + n % 7),), np.float64) for n in range(number)]
        del arrays
        assert free_bytes() <= 10 * 8 * LARGE
    assert workspace._total == free_bytes()


def test_a_training_keeps_what_its_steps_ask_for_again(monkeypatch):
    monkeypatch.setattr(workspace, "_MOST_BYTES", 8 * LARGE)
    with workspace.kept():
        step = [workspace.empty((size * LARGE,), np.float64) for size in (2, 5, 12)]
        first = {address(array) for array in step}
        step.clear()
        with workspace.kept():  # a training within a training ends earlier
            pass
        again = [workspace.empty((size * LARGE,), np.float64) for size in (12, 2, 5)]
        assert {address(array) for array in again} == first
        again.clear()
        assert free_bytes() == 19 * 8 * LARGE
    assert free_bytes() <= 8 * LARGE


def test_a_training_holds_little_more_than_its_fullest_moment_used(monkeypatch):
    monkeypatch.setattr(workspace, "_MOST_BYTES", 8 * LARGE)
    with workspace.kept():
        arrays = [workspace.empty((size * LARGE,), np.float64) for size in (3, 4, 13)]
        arrays.clear()
        for size in (28, 6, 1, 14, 28, 6):
            array = workspace.empty((size * LARGE,), np.float64)
            assert workspace._total <= 28 * 9 * LARGE
            del array


def test_arrays_of_nearly_one_size_live_in_one_block():
    workspace.clear()
    places = {address(workspace.empty((size * LARGE,), np.float64)) for size in (15, 16, 13)}
    assert len(places) == 1
    assert free_bytes() == 16 * 8 * LARGE


def test_the_solver_keeps_the_memory_of_a_step_while_it_trains(monkeypatch):
    held = []
    monkeypatch.setattr(workspace, "_MOST_BYTES", 0)
    model = ConvNet("conv8-pool-fc10", input_dim=(3, 16, 16))
    data = {"X_train": np.zeros((64, 3, 16, 16), "f4"), "y_train": np.zeros(64, int)}
    data |= {"X_val": data["X_train"][:2], "y_val": data["y_train"][:2]}
    solver = Solver(model, data, batch_size=64, num_epochs=2, verbose=False)
    solver.on_check = lambda _: held.append(free_bytes())
    solver.train()
    assert min(held) >= 64 * 8 * 16 * 16 * 4
    assert free_bytes() == 0


def test_the_bound_is_a_gibibyte():
    assert workspace._MOST_BYTES == 1 << 30
