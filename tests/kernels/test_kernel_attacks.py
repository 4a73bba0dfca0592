"""Edited caches, arrays of wrong sizes at the kernels' doors, kernels exchanged during calls.

Short here, and in processes of their own, which may crash; `SECONDS=300 make attack` goes on.
"""

import contextlib
import sys

import attack_kernels
import numpy as np
import pytest
from conftest import KERNELS

from cs231n import fast_layers, layers
from cs231n.core.window import Window
from cs231n.kernels import backend, fast_optim, numpy_kernels

RUNS = [("caches", KERNELS[0]), ("caches", "numpy"), ("doors", KERNELS[0]), ("switching", "auto")]
RUNS += [("options", KERNELS[0])] if sys.platform.startswith("linux") else []


@pytest.mark.parametrize(("name", "kernels"), dict.fromkeys(RUNS))
def test_nothing_gets_through(name, kernels):
    status, told, error = attack_kernels.in_a_process(name, kernels, seconds=0.3)
    assert status == 0, f"{told}\n{error}"


class TestHarness:
    """The attacks see what they are there to see."""

    def test_places_that_are_believed(self, monkeypatch):
        unpool = numpy_kernels.max_pool_backward
        monkeypatch.setattr(
            numpy_kernels, "max_pool_backward", lambda *given: (unpool(*given), True)[1]
        )
        with pytest.raises(AssertionError):
            attack_kernels.attack("caches", "numpy", 0)

    def test_errors_that_name_no_function(self, monkeypatch):
        monkeypatch.setattr(fast_layers.FastConvReluCache, "out_shape", property(lambda _: 1 / 0))
        with pytest.raises(ZeroDivisionError):
            attack_kernels.attack("caches", "numpy", 0)

    @pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
    def test_options_that_end_in_an_error_of_nobody(self, monkeypatch):
        monkeypatch.setattr(attack_kernels.resource, "setrlimit", lambda *_: None)
        monkeypatch.setattr(fast_layers.Window, "over", lambda *_: (1 << 40, 1))
        with pytest.raises((ValueError, MemoryError), match=r"^((?!conv_|max_pool_).)*$"):
            attack_kernels.attack("options", "numpy", 0)

    @pytest.mark.skipif(len(backend.available()) < 2, reason="needs kernels to switch to")
    def test_kernels_that_compute_something_else(self, monkeypatch):
        monkeypatch.setattr(numpy_kernels, "sum_channels", lambda a, out: out.fill(7))
        with pytest.raises(AssertionError, match="affine fast"):
            attack_kernels.attack("switching", "auto", 0.3)


def test_update_rules_run_where_networks_run_on_the_reference(rng):
    w, dw = rng.standard_normal((2, 5, 3)).astype("float32")
    previous = backend.select(backend.REFERENCE)
    try:
        stepped = fast_optim.update("sgd", w.copy(), dw, {"learning_rate": 0.5})
    finally:
        backend.select(previous)
    assert stepped == pytest.approx(w - 0.5 * dw)


def test_a_ragged_relu_in_a_cache_is_named(rng):
    x, w = rng.standard_normal((2, 3, 4, 4)), rng.standard_normal((2, 3, 3, 3))
    out, cache = fast_layers.conv_relu_forward_fast(x, w, np.ones(2), {"stride": 1, "pad": 1})
    with pytest.raises(ValueError, match=r"^conv_relu_backward_fast: relu is not a rectangular"):
        fast_layers.conv_relu_backward_fast(out, cache._replace(relu=[[1.0], [1.0, 2.0]]))


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((1, 2, 4, 4), "x has 2 samples but relu has 1 "),
        ((3, 2, 4, 4), "x has 2 samples but relu has 3 "),
        ((2, 2, 4, 5), r"relu has shape \(2, 2, 4, 5\); expected \(2, 2, 4, 4\)"),
    ],
)
def test_a_relu_of_other_images_in_a_cache_is_refused(shape, told, backend_name, rng):
    x, w = rng.standard_normal((2, 3, 4, 4)), rng.standard_normal((2, 3, 3, 3))
    out, cache = fast_layers.conv_relu_forward_fast(x, w, np.ones(2), {"stride": 1, "pad": 1})
    other = np.ones(shape)
    with pytest.raises(ValueError, match=f"^conv_relu_backward_fast: {told}"):
        fast_layers.conv_relu_backward_fast(other, cache._replace(relu=other))
    if backend_name != "numpy":  # whose kernels trust what calls them
        dx, dw, db = np.empty_like(x), np.empty_like(w), np.empty(2)
        with pytest.raises(ValueError, match=r"native: .* sizes"):
            backend.kernels().conv_backward(x, w, out, dx, dw, db, (3, 3, 1, 1), other)


def test_a_convolution_in_a_cache_is_checked_as_its_own_backward_pass_does(rng):
    x, w = rng.standard_normal((2, 3, 4, 4)), rng.standard_normal((2, 3, 3, 3))
    out, cache = fast_layers.conv_relu_forward_fast(x, w, np.ones(2), {"stride": 1, "pad": 1})
    backward = fast_layers.conv_relu_backward_fast
    with pytest.raises(ValueError, match=r"^conv_relu_backward_fast: x has 3 channels but w has 2"):
        backward(out, cache._replace(conv=cache.conv._replace(w=w[:, :2])))
    with pytest.raises(
        TypeError, match=r"^conv_relu_backward_fast: cache is a \w+; expected the Fa"
    ):
        backward(out, cache._replace(conv=cache))
    for one, other in zip(backward(out, cache), backward(out, (tuple(cache.conv), cache.relu))):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("module", [layers, fast_layers])
def test_groups_in_a_cache_that_do_not_divide_the_channels_are_refused(module, rng):
    suffix = "_fast" if module is fast_layers else ""
    forward = getattr(module, f"spatial_groupnorm_forward{suffix}")
    backward = getattr(module, f"spatial_groupnorm_backward{suffix}")
    weights = np.ones((2, 1, 6, 1, 1))
    out, cache = forward(rng.standard_normal((2, 6, 4, 4)), *weights, 2, {})
    statistics = [name for name in ("mean", "var", "std") if name in cache._fields]
    edited = cache._replace(**dict.fromkeys(statistics, np.ones((2, 4))))
    message = rf"^{backward.__name__}: {statistics[0]} has shape \(2, 4\); .* divisor of the 6 chan"
    with pytest.raises(ValueError, match=message):
        backward(out, edited)


@pytest.mark.parametrize("places", [3, -1, 7 * 6])
def test_places_beside_the_windows_are_found_again(places, backend_name, rng):
    x, param = rng.standard_normal((2, 3, 7, 6)), {"pool_height": 2, "pool_width": 3, "stride": 1}
    out, cache = fast_layers.max_pool_forward_fast(x, param)
    expected = fast_layers.max_pool_backward_fast(out, cache)
    cache.argmax = np.full_like(cache.argmax, places)
    np.testing.assert_array_equal(fast_layers.max_pool_backward_fast(out, cache), expected)
    cache.argmax = np.broadcast_to(cache.argmax[..., :1], out.shape)
    np.testing.assert_array_equal(fast_layers.max_pool_backward_fast(out, cache), expected)


@pytest.mark.parametrize("at", range(11))
@pytest.mark.parametrize("place", [4, 128])
def test_a_place_outside_its_window_is_seen_wherever_it_lies(at, place, backend_name, rng):
    dout, dx = rng.standard_normal((1, 1, 1, 11)), np.full((1, 1, 2, 22), 5.0)
    places, window = rng.integers(0, 4, dout.shape).astype(np.uint8), Window(2, 2, 2, 0)
    assert backend.kernels().max_pool_backward(dout, places, dx, window)
    np.testing.assert_allclose(dx.sum(), dout.sum())
    dx[...], places[..., at] = 5, place
    assert not backend.kernels().max_pool_backward(dout, places, dx, window)
    if backend_name != "numpy":  # which finds out while it writes
        assert (dx == 5).all()


def writable(flag):
    """Return three numbers that may, or may not, be written to."""
    array = np.ones(3)
    array.flags.writeable = flag
    return array


class TestDoors:
    """What the compiled kernels get: arrays of other kinds never reach them."""

    @staticmethod
    def sgd(w, dw):
        pytest.importorskip("cs231n.kernels.native").sgd(w, dw, 0.5)

    @pytest.mark.parametrize(
        ("w", "dw", "told"),
        [
            (np.ones((3, 1)), np.ones(3), "array of 2 axes; expected 1"),
            (np.ones(3, np.int64), np.ones(3), "array of type '[lq]'; expected one of 'fdg'"),
            (np.ones(3, ">f8"), np.ones(3), "array of type '>d'"),
            (np.ones(3, np.float16), np.ones(3), "array of type 'e'"),
            (np.ones(3, complex), np.ones(3), "array of type 'Zd'"),
            (np.ones(3, [("a", "f4"), ("b", "f4")]), np.ones(3), "array of type 'T{"),
            (np.ones(3), np.ones(3, np.float32), "do not belong together"),
            (np.ones(6)[::2], np.ones(3), "not C-contiguous"),
            (np.ones(3), np.ones(6)[::-2], "not C-contiguous"),
            (writable(False), np.ones(3), "read-only"),
            (np.ones(25, np.uint8)[1:].view(float), np.ones(3), "array of type '=d'"),
        ],
    )
    def test_refuse_what_is_no_array_for_them(self, w, dw, told):
        before = w.copy()
        with pytest.raises(ValueError, match=told):
            self.sgd(w, dw)
        np.testing.assert_array_equal(w, before)

    @pytest.mark.parametrize("stray", [None, 3.0, [1.0, 2.0, 3.0], "x"])
    def test_refuse_what_has_no_memory_to_show(self, stray):
        with pytest.raises(TypeError, match="bytes-like"):
            self.sgd(np.ones(3), stray)

    @pytest.mark.parametrize("dw", [np.ones(3), np.ones(4), np.ones((3, 1))])
    def test_let_go_of_the_arrays_whatever_happens(self, dw):
        w = np.ones(3)
        before = sys.getrefcount(w), sys.getrefcount(dw)
        with contextlib.suppress(ValueError):
            self.sgd(w, dw)
        assert (sys.getrefcount(w), sys.getrefcount(dw)) == before

    @pytest.mark.parametrize("shape", [(2, 6), (2, 3, 2, 1), (2, 3, 1), (3, 2, 2), (12,)])
    def test_refuse_images_of_different_shapes(self, shape):
        x, weights = np.ones((2, 3, 2)), np.ones((4, 3))
        forward = pytest.importorskip("cs231n.kernels.native").batchnorm_forward
        for pair in ((x, np.ones(shape)), (np.ones(shape), x)):
            with pytest.raises(ValueError, match="belong together"):
                forward(pair[0], *weights[:2], pair[1], *weights[2:], 1e-5)

    @pytest.mark.skipif(np.dtype("g").itemsize == 8, reason="long doubles are doubles here")
    def test_refuse_floats_of_another_size(self):
        with pytest.raises(ValueError, match="belong together"):
            self.sgd(np.ones(3, np.longdouble), np.ones(3, np.longdouble))

    def test_refuse_a_way_back_that_has_nowhere_to_write_to(self):
        x, weights = np.ones((2, 3, 2)), np.ones((6, 3))
        native = pytest.importorskip("cs231n.kernels.native")
        for passes, others in ((native.batchnorm_backward, ()), (native.batchnorm_rest, (4,))):
            with pytest.raises(TypeError, match="bytes-like"):
                passes(x, x, *weights[:4], None, *weights[4:], *others, 1e-5)

    def test_read_what_may_not_be_written_to(self):
        w = np.ones(3)
        self.sgd(w, writable(False))
        np.testing.assert_array_equal(w, 0.5)
