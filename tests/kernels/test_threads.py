"""Threads change the time that the kernels take, never what they compute."""

import concurrent.futures
import os
import shutil
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from cases import DTYPES, FAST_LAYERS, ConvCase, conv_by_kernels
from conftest import KERNELS

from cs231n import fast_layers, optim
from cs231n.kernels import backend, fast_optim

COMPILED = KERNELS[:-1]
needs_kernels = pytest.mark.skipif(not COMPILED, reason="the extension is not built")

# More images, channels, blocks of filters and pixels than there are threads.
LARGE = {
    "affine fast": ((65, 40), (40, 33), (33,)),
    "relu fast": ((7, 11, 43, 41),),
    "batchnorm fast, train": ((301, 133), (133,), (133,)),
    "layernorm fast": ((301, 133), (133,), (133,)),
    "conv fast": ((7, 19, 12, 13), (37, 19, 3, 2), (37,)),
    "conv_relu fast": ((7, 19, 12, 13), (37, 19, 3, 2), (37,)),
    "max pool fast": ((7, 19, 12, 13),),
    "spatial batchnorm fast, train": ((7, 19, 12, 13), (19,), (19,)),
    "spatial batchnorm_relu fast, train": ((7, 19, 12, 13), (19,), (19,)),
    "spatial groupnorm fast": ((7, 20, 12, 13), (1, 20, 1, 1), (1, 20, 1, 1)),
}
MORE_CONVS = {
    "3x3, stride 1": ((3, 32, 16, 16), (32, 32, 3, 3), (32,), {"stride": 1, "pad": 1}),
    "one image": ((1, 17, 20, 18), (33, 17, 3, 3), (33,), {"stride": 1, "pad": 1}),
    "many images": ((33, 3, 9, 9), (5, 3, 3, 3), (5,), {"stride": 2, "pad": 1}),
    "7x7": ((5, 3, 20, 20), (9, 3, 7, 7), (9,), {"stride": 1, "pad": 3}),
}
WINDOWS = {"max pool fast, 2x2": {"pool_height": 2, "pool_width": 2, "stride": 2}}
CASES = {
    **{name: FAST_LAYERS[name]._replace(shapes=shapes) for name, shapes in LARGE.items()},
    **{
        f"conv fast, {name}": FAST_LAYERS["conv fast"]._replace(shapes=shapes, options=(param,))
        for name, (*shapes, param) in MORE_CONVS.items()
    },
    **{
        name: FAST_LAYERS["max pool fast"]._replace(shapes=((7, 19, 12, 13),), options=(param,))
        for name, param in WINDOWS.items()
    },
}


@pytest.fixture(autouse=True)
def number_of_threads():
    """Put the number of threads back after each test."""
    previous = fast_layers.get_num_threads()
    yield
    fast_layers.set_num_threads(previous)


@pytest.fixture(params=COMPILED or [pytest.param("", marks=needs_kernels)])
def compiled(request):
    """Run the test once with each set of compiled kernels."""
    previous = backend.select(request.param)
    yield
    backend.select(previous)


def run_layer(case, arrays, dtype):
    """Return the bytes of the output and of all gradients."""
    out, cache = case.run(*arrays)
    dout = np.random.default_rng(7).standard_normal(out.shape).astype(dtype)
    return [result.tobytes() for result in (out, *case.gradients(dout, cache))]


def assert_same_for_any_number_of_threads(compute):
    """Call compute with one thread, and with several, and compare."""
    fast_layers.set_num_threads(1)
    expected = compute()
    for number in (2, 3, 5):
        fast_layers.set_num_threads(number)
        for _ in range(3):  # which thread takes which task differs from run to run
            assert compute() == expected


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
def test_layers_give_the_same_bits(name, dtype, compiled, rng):
    arrays = CASES[name].draw(rng, dtype)
    assert_same_for_any_number_of_threads(lambda: run_layer(CASES[name], arrays, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("path", ["direct", "winograd"])
@pytest.mark.parametrize(
    "sizes", [(3, 17, 23, 18, 150), (37, 20, 6, 7, 33), (37, 20, 6, 5, 33), (1, 18, 13, 40, 17)]
)
def test_both_ways_of_a_convolution_give_the_same_bits(sizes, path, dtype, compiled, rng):
    N, C, H, W, F = sizes
    arrays = ConvCase((N, C, H, W), (F, C, 3, 3), pad=1).draw(rng, dtype)
    assert_same_for_any_number_of_threads(
        lambda: [result.tobytes() for result in conv_by_kernels(arrays, 1, path)]
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sizes", [(130, 300, 70), (33, 600, 170), (2000, 40, 10)])
def test_matmuls_of_many_tasks_give_the_same_bits(sizes, dtype, compiled, rng):
    N, D, M = sizes
    case = FAST_LAYERS["affine fast"]._replace(shapes=((N, D), (D, M), (M,)))
    arrays = case.draw(rng, dtype)
    assert_same_for_any_number_of_threads(lambda: run_layer(case, arrays, dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_softmax_loss_gives_the_same_bits(dtype, compiled, rng):
    x, y = rng.standard_normal((1001, 11)).astype(dtype), rng.integers(11, size=1001)

    def compute():
        loss, dx = fast_layers.softmax_loss_fast(x, y)
        return loss, dx.tobytes()

    assert_same_for_any_number_of_threads(compute)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", optim.RULES)
def test_update_rules_give_the_same_bits(rule, dtype, compiled, rng):
    start, dw = rng.standard_normal((2, 100_003)).astype(dtype)

    def compute():
        w, config = start.copy(), {}
        for _ in range(2):
            w = fast_optim.update(rule, w, dw, config)
        return w.tobytes(), *(config[name].tobytes() for name in optim.STATE[rule])

    assert_same_for_any_number_of_threads(compute)


def test_set_num_threads_returns_the_previous_number():
    fast_layers.set_num_threads(3)
    assert fast_layers.set_num_threads(np.int64(2)) == 3
    assert fast_layers.get_num_threads() == 2


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (0, ValueError, "set_num_threads: num_threads is 0; expected an integer >= 1"),
        (-2, ValueError, "set_num_threads: num_threads is -2; expected an integer >= 1"),
        (1.5, TypeError, r"set_num_threads: num_threads is 1.5 \(float\); expected an integer"),
        ("2", TypeError, r"set_num_threads: num_threads is '2' \(str\); expected an integer"),
        (None, TypeError, r"set_num_threads: num_threads is None \(NoneType\); expected"),
    ],
)
def test_set_num_threads_refuses_what_is_no_number_of_threads(value, error, message):
    fast_layers.set_num_threads(2)
    with pytest.raises(error, match=message):
        fast_layers.set_num_threads(value)
    assert fast_layers.get_num_threads() == 2


@needs_kernels
def test_a_senseless_number_of_threads_costs_no_memory(rng):
    case = CASES["conv fast"]
    arrays = case.draw(rng, "float32")
    fast_layers.set_num_threads(1)
    expected = run_layer(case, arrays, "float32")
    fast_layers.set_num_threads(10**12)
    assert fast_layers.get_num_threads() == 256
    assert run_layer(case, arrays, "float32") == expected


def run_loss(rng, dtype):
    """Return the results of the softmax loss as bytes."""
    loss, dx = fast_layers.softmax_loss_fast(
        rng.standard_normal((301, 11)).astype(dtype), rng.integers(11, size=301)
    )
    return loss, dx.tobytes()


def run_rule(rule, rng, dtype):
    """Return the results of an update rule as bytes."""
    w, dw = rng.standard_normal((2, 70_003)).astype(dtype)
    config = {}
    w = fast_optim.update(rule, fast_optim.add_scaled(w, 0.5, dw), dw, config)
    return w.tobytes(), *(config[name].tobytes() for name in optim.STATE[rule])


JOBS = {
    **{name: partial(lambda case, rng, dtype: run_layer(case, case.draw(rng, dtype), dtype), case)
       for name, case in CASES.items()},
    "softmax loss": run_loss,
    **{rule: partial(run_rule, rule) for rule in optim.RULES},
}  # fmt: skip


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", JOBS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_eight_python_threads_at_once_agree_with_one(name, dtype, backend_name):
    def compute(seed):
        return JOBS[name](np.random.default_rng(seed), dtype)

    fast_layers.set_num_threads(3)
    expected = [compute(seed) for seed in range(8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for _ in range(2):
            assert list(pool.map(compute, range(8))) == expected


@needs_kernels
def test_python_threads_that_run_different_kernels_agree(rng):
    fast_layers.set_num_threads(3)
    jobs = [
        (CASES[name], CASES[name].draw(rng, dtype), dtype) for name in CASES for dtype in DTYPES
    ]
    expected = [run_layer(*job) for job in jobs]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            assert list(pool.map(lambda job: run_layer(*job), jobs)) == expected


def run(code, timeout=60, **environment):
    """Run code in a new interpreter, with these settings beside those that are not ours."""
    ours = "CS231N_BACKEND", "OMP_NUM_THREADS"
    settings = {name: value for name, value in os.environ.items() if name not in ours}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**settings, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


ASK = "from cs231n import fast_layers; print(fast_layers.get_num_threads())"


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("1", "1"),
        ("003", "3"),
        (" 5,2", "5"),
        ("99999", "256"),
        pytest.param("9" * 5000, "256", id="5,000 digits"),
    ],
)
def test_omp_num_threads_is_respected(setting, expected):
    assert run(ASK, OMP_NUM_THREADS=setting) == [expected]


@pytest.mark.sampled(5)
@pytest.mark.parametrize("setting", ["0", "", "many", "-1", "²", "\u0663", "0" * 99])
def test_a_senseless_omp_num_threads_counts_as_none(setting):
    assert run(ASK, OMP_NUM_THREADS=setting) == run(ASK)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_affinity_is_respected():
    limit = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    assert run(limit + ASK) == ["1"]
    assert run(ASK) == [str(len(os.sched_getaffinity(0)))]


FORK = """
import os, sys, threading, warnings
import numpy as np
from cs231n import fast_layers

warnings.simplefilter("ignore", DeprecationWarning)  # Python's, on forks of threaded processes
rng = np.random.default_rng(231)
x, w, b = (rng.standard_normal(s).astype("f4") for s in [(9, 8, 16, 16), (16, 8, 3, 3), (16,)])

def compute():
    out, cache = fast_layers.conv_forward_fast(x, w, b, {"stride": 1, "pad": 1})
    pooled, _ = fast_layers.max_pool_forward_fast(
        out, {"pool_height": 2, "pool_width": 2, "stride": 2})
    return [a.tobytes() for a in (pooled, *fast_layers.conv_backward_fast(out, cache))]

fast_layers.set_num_threads(3)
expected = compute()
stop = threading.Event()
def keep_busy():
    while not stop.is_set():
        compute()
others = [threading.Thread(target=keep_busy) for _ in range(2)]
for other in others:
    other.start()
codes = []
for _ in range(5):
    child = os.fork()
    if child == 0:
        os._exit(0 if compute() == expected else 1)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stop.set()
for other in others:
    other.join()
print(*codes, compute() == expected)
"""


FORK_WHILE_LOCKED = """
import os
from cs231n.kernels import workspace

with workspace._lock:
    child = os.fork()
    if child == 0:
        workspace.empty((1 << 20,), "u1")
        os._exit(0)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
# Where no thread can be made, and each handler of a fork is counted.
SHIM = """
#include <errno.h>
#include <stdlib.h>
static int handlers;
int pthread_create(void *thread, void *attributes, void *start, void *argument)
{
    (void)thread, (void)attributes, (void)start, (void)argument;
    return EAGAIN;
}
int pthread_atfork(void *prepare, void *parent, void *child)
{
    (void)prepare, (void)parent, (void)child;
    handlers++;
    return 0;
}
int __register_atfork(void *prepare, void *parent, void *child, void *library)
{
    (void)library;
    return pthread_atfork(prepare, parent, child);
}
int count_of_handlers(void) { return handlers; }
"""
ASK_SHIM = """
import ctypes, os
import numpy as np
from cs231n import fast_layers
fast_layers.set_num_threads(3)
count = ctypes.CDLL(None).count_of_handlers
x, w, b = np.ones((9, 8, 16, 16), "f4"), np.ones((16, 8, 3, 3), "f4"), np.ones(16, "f4")
before = count()
for _ in range(5):
    out, _ = fast_layers.conv_forward_fast(x, w, b, {"stride": 1, "pad": 1})
print(count() - before, round(out.max()))
"""
can_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system can't fork")


@needs_kernels
@can_fork
def test_kernels_work_in_a_forked_child():
    assert run(FORK) == ["0"] * 5 + ["True"]


@can_fork
def test_a_forked_child_does_not_wait_for_threads_that_it_does_not_have():
    assert run(FORK_WHILE_LOCKED, timeout=20) == ["0"]


@needs_kernels
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs LD_PRELOAD")
def test_forks_are_watched_once_where_no_thread_can_be_made(tmp_path):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    (tmp_path / "shim.c").write_text(SHIM, encoding="ascii")
    shim = tmp_path / "shim.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-o", shim, tmp_path / "shim.c"], check=True, timeout=60
    )
    assert run(ASK_SHIM, LD_PRELOAD=str(shim)) == ["1", "73"]


@pytest.mark.parametrize("setting", ["", "auto"])
def test_an_empty_name_of_kernels_is_none(setting):
    ask = "from cs231n.kernels import backend; print(backend.backend())"
    assert run(ask, CS231N_BACKEND=setting, PYTHONWARNINGS="ignore") == [KERNELS[0]]
