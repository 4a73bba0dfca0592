"""Attacks on the fast layers: `python attack_kernels.py ATTACK KERNELS SECONDS [SEED]`.

caches     entries of caches are edited at random, and the backward passes run on what comes of it;
           allowed are an error that names the function, and gradients: those of the reference where
           that takes the same entries
doors      the compiled kernels are called with arrays whose sizes do not belong together; allowed
           are an error, and the results of NumPy's kernels
options    layers and im2col get options of any size; allowed are an error that names the function,
           and results, equal for both twins, within two seconds of work (of small results) and 1 GB
switching  threads choose other kernels and numbers of threads while others compute; all results are
           right

Each tells of what it tries before it is tried, so that the last line of a process that crashed
names the culprit, and ends with a line that counts.  `python attack_kernels.py all all SECONDS`
runs every attack in a process of its own.
"""

import copy
import os
import re
import resource
import subprocess
import sys
import threading
import time
import warnings
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
from cases import FAST_LAYERS

from cs231n import fast_layers, im2col, layers, optim
from cs231n.core.window import Window
from cs231n.kernels import backend, fast_optim, numpy_kernels

# The reference of each layer whose cache has a documented form, which both take as a plain tuple.
REFERENCES = {
    "affine fast": layers.affine_backward,
    "relu fast": layers.relu_backward,
    "conv fast": layers.conv_backward_naive,
    "max pool fast": layers.max_pool_backward_naive,
}
STRAYS = [None, "x", 3, [], (), {}, {"stride": 1}, object(), np.float64(2), [[1.0], [1.0, 2.0]]]
NUMBERS = [-1, 0, 1, 2, 3, 7, 48, 10**4, 10**9, 10**30, 0.5, np.nan, None, "2", True, [2]]


def reshaped_in_place(array, rng):
    """Give the array another shape without making another array."""
    sizes = [size for size in range(1, array.size + 1) if array.size % size == 0] or [0]
    first = int(rng.choice(sizes))
    rest = array.size // max(first, 1)
    shape = (first, rest, 1, 1) if array.ndim == 4 else (first, rest)
    np.ndarray.shape.__set__(array, tuple(map(int, rng.permutation(shape))))
    return array


def read_only(array, rng):
    """Return a copy that cannot be written to."""
    array = np.array(array)
    array.flags.writeable = False
    return array


OTHER_DTYPES = ["f2", "f4", "f8", ">f4", "i1", "i8", "u1", "c8", "O", "U3", "?", "g"]

ARRAY_EDITS = {
    "reshaped in place": reshaped_in_place,
    "flat": lambda array, rng: array.reshape(-1),
    "one axis more": lambda array, rng: array[None],
    "a number": lambda array, rng: np.float64(1),
    "empty": lambda array, rng: array[:0],
    "shorter": lambda array, rng: array[..., :-1],
    "longer": lambda array, rng: np.concatenate([array, array], axis=0) if array.ndim else array,
    "transposed": lambda array, rng: array.T,
    "reversed": lambda array, rng: array[::-1] if array.ndim else array,
    "broadcast": lambda array, rng: np.broadcast_to(array.dtype.type(1), array.shape),
    "every other": lambda array, rng: np.repeat(array, 2, axis=-1)[..., ::2],
    "huge by strides of zero": lambda array, rng: np.broadcast_to(array, (500, *array.shape)),
    "read-only": read_only,
    "infinite": lambda array, rng: np.full(array.shape, np.inf).astype(array.dtype),
    "not numbers": lambda array, rng: np.full(array.shape, np.nan).astype(array.dtype, copy=False),
    "negative": lambda array, rng: -abs(array) - 1,
    "other dtype": lambda array, rng: (
        array if array.dtype.kind == "U" else array.astype(str(rng.choice(OTHER_DTYPES)))
    ),  # of a text, which may be a number cut off, no number can be made
}
PLACE_EDITS = {
    "out of range": lambda places, rng: rng.integers(-(2**31), 2**31, places.shape).astype("i4"),
    "a little out of range": lambda places, rng: places + places.dtype.type(200),
    "negative": lambda places, rng: (places.astype("i4") - 2**20).astype("i4"),
    "shorter": lambda places, rng: places[..., :-1],
    "longer": lambda places, rng: np.concatenate([places, places]),
    "reshaped": lambda places, rng: places.reshape(-1),
    "other dtype": lambda places, rng: places.astype(str(rng.choice(["i1", "u1", "i8", "f8"]))),
    "a string": lambda places, rng: "places",
    "broadcast": lambda places, rng: np.broadcast_to(places.dtype.type(3), places.shape),
}


def edited_entry(entry, rng):
    """Return another value for an entry of a cache, and what was done."""
    if rng.random() < 0.15:
        at = rng.integers(len(STRAYS))
        return STRAYS[at], f"stray {at}"
    if isinstance(entry, np.ndarray):
        name = str(rng.choice([*ARRAY_EDITS]))
        return ARRAY_EDITS[name](entry, rng), name
    if isinstance(entry, dict):
        key, value = str(rng.choice([*entry])), NUMBERS[rng.integers(len(NUMBERS))]
        return {**entry, key: value}, f"{key} = {value!r}"
    if isinstance(entry, tuple):
        place = int(rng.integers(len(entry)))
        value, name = edited_entry(entry[place], rng)
        return entry._replace(**{entry._fields[place]: value}), f"{entry._fields[place]} {name}"
    at = rng.integers(len(NUMBERS))
    return NUMBERS[at], f"{NUMBERS[at]!r}"


def edited(cache, rng):
    """Return an edited copy of a cache, and what was done."""
    cache = copy.deepcopy(cache)
    if isinstance(cache, np.ndarray) or rng.random() < 0.02:
        return edited_entry(cache, rng)
    if hasattr(cache, "argmax") and rng.random() < 0.4:
        name = str(rng.choice([*PLACE_EDITS]))
        cache.argmax = PLACE_EDITS[name](cache.argmax, rng)
        return cache, f"argmax {name}"
    if rng.random() < 0.2:  # in place, so that extra attributes stay
        arrays = [entry for entry in cache if isinstance(entry, np.ndarray)]
        if arrays:
            reshaped_in_place(arrays[rng.integers(len(arrays))], rng)
            return cache, "an array reshaped in place"
    return edited_entry(cache, rng)


def attempt(case, dout, cache, reference):
    """Run the backward pass, complain about anything but what is allowed, and say which it was."""
    try:
        found = case.gradients(dout, cache)
    except (ValueError, TypeError) as error:
        if str(error).startswith(f"{case.backward.__name__}: "):
            return "refused"
        raise
    if reference is None:
        assert all(isinstance(gradient, np.ndarray) for gradient in found)
        return "answered"
    plain = cache if isinstance(cache, np.ndarray) else tuple(cache)
    expected = reference(dout, plain)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for gradient, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(gradient, wanted, rtol=1e-3, atol=1e-3)
    return "as the reference"


def caches(rng, seconds):
    """Edit the caches of all fast layers."""
    tally, end = Counter(), time.monotonic() + seconds
    while not tally or time.monotonic() < end:
        for name, case in FAST_LAYERS.items():
            dtype = str(rng.choice(["float32", "float64"]))
            out, cache = case.run(*case.draw(rng, dtype))
            dout = rng.standard_normal(out.shape).astype(dtype)
            for _ in range(20):
                changed, what = edited(cache, rng)
                print(f"{name}, {dtype}: {what}", flush=True)
                tally[attempt(case, dout, changed, REFERENCES.get(name))] += 1
    return tally


def recorded_calls(rng):
    """Return the calls of compiled kernels that all fast layers and update rules make."""
    native, calls = backend.kernels(), []

    def recording(name, function):
        def record(*args, **kwargs):
            calls.append((name, copy.deepcopy(args), kwargs))
            return function(*args, **kwargs)

        return record

    with mock.patch.multiple(
        native,
        **{name: recording(name, getattr(native, name)) for name in native.__all__
           if name not in ("instruction_sets", "select")},
    ):  # fmt: skip
        for case in FAST_LAYERS.values():
            out, cache = case.run(*case.draw(rng, "float32"))
            case.gradients(out, cache)
        fast_layers.softmax_loss_fast(rng.standard_normal((4, 3)), np.arange(4) % 3)
        for rule in optim.RULES:
            fast_optim.update(rule, np.ones((2, 3)), np.ones((2, 3)), {})
        call_parts_of_batchnorm(native, rng)
    return calls


def call_parts_of_batchnorm(kernels, rng):
    """Call what networks on many processes call."""
    dout, x, dx = rng.standard_normal((3, 2, 4, 6)).astype("float32")
    gamma, beta, mean, var, *sums = rng.random((6, 4)).astype("float32")
    kernels.batchnorm_statistics(x, mean, var)
    kernels.batchnorm_sums(dout, x, gamma, beta, mean, var, *sums, 1e-5, "relu")
    kernels.batchnorm_rest(dout, x, gamma, beta, mean, var, dx, *sums, 24.0, 1e-5, "relu")


SHAPE_EDITS = [
    "flat", "one axis more", "empty", "shorter", "longer", "transposed",
    "every other", "huge by strides of zero", "read-only", "other dtype",
]  # fmt: skip


def wrong_call(args, rng):
    """Return the arguments of a call with one or two of them edited, and what was done."""
    args, done = list(copy.deepcopy(args)), []
    for _ in range(rng.integers(1, 3)):
        place = int(rng.integers(len(args)))
        if isinstance(args[place], np.ndarray):
            name = str(rng.choice(SHAPE_EDITS))
            edit = ARRAY_EDITS[name](args[place], rng)
            args[place] = np.require(edit, None, ["C"] if rng.random() < 0.8 else [])
        elif isinstance(args[place], Window):
            window, at = list(args[place]), int(rng.integers(4))
            window[at] = NUMBERS[rng.integers(len(NUMBERS))]
            args[place], name = args[place]._make(window), f"window {window}"
        else:
            continue
        done.append(f"{place} {name}")
    return args, done


def knock(name, args, kwargs):
    """Call a compiled kernel, and NumPy's where that answers; say what came of it."""
    twin, same = getattr(numpy_kernels, name, None), copy.deepcopy(args)
    try:
        getattr(backend.kernels(), name)(*args, **kwargs)
    except (ValueError, TypeError, BufferError, OverflowError):
        return "refused"
    if twin is None:
        return "answered"
    twin(*same, **kwargs)
    for found, wanted in zip(args, same, strict=True):
        if isinstance(found, np.ndarray):
            np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)
    return "as NumPy"


def doors(rng, seconds):
    """Call the compiled kernels with wrong arrays and windows."""
    if backend.backend() == "numpy":
        return Counter({"no doors": 1})
    calls, tally, end = recorded_calls(rng), Counter(), time.monotonic() + seconds
    while not tally or time.monotonic() < end:
        for name, args, kwargs in calls:
            for _ in range(10):
                changed, what = wrong_call(args, rng)
                print(f"{name}: {', '.join(what)}", flush=True)
                tally[knock(name, changed, kwargs)] += 1
    return tally


# Most stand for nothing sensible; those up to 300 may be pads of a result that is worth its time.
SIZES = [*range(-1, 8), 11, 100, 300, 20_000, 30_000, 10**6, 10**9, 2**31 - 1, 2**31, 2**62, 10**30]
LITTLE = [1, 2, 3, 4, 5, 7]


def wild(rng, share):
    """Return a small size, or one of any size in so many cases."""
    sizes = SIZES if rng.random() < share else LITTLE
    return sizes[rng.integers(len(sizes))]


def twins(rng):
    """Return two functions of the same meaning, arguments, and whether there are few windows."""
    N, C, F, H, W, HH, WW = (int(size) for size in rng.integers(1, 6, 7))
    x, w, b = (rng.standard_normal(s).astype("f4") for s in [(N, C, H, W), (F, C, HH, WW), F])
    stride, pad = wild(rng, 0.7), wild(rng, 0.5)
    conv, pool = {"stride": stride, "pad": pad}, {"stride": stride}
    pool |= {"pool_height": wild(rng, 0.3), "pool_width": wild(rng, 0.3)}
    columns = x, wild(rng, 0.2), wild(rng, 0.2), pad, stride
    fast, naive = fast_layers.conv_forward_fast, layers.conv_forward_naive
    few = pad <= 10 or (stride > 0 and pad // stride < 5)
    case = [
        (fast, naive, (x, w, b, conv)),
        (fast_layers.max_pool_forward_fast, layers.max_pool_forward_naive, (x, pool)),
        (im2col.im2col_indices, im2col.im2col_naive, columns),
        (passes(fast, fast_layers.conv_backward_fast), passes(naive, layers.conv_backward_naive),
         (x, w, b, conv)),
    ][rng.integers(4)]  # fmt: skip
    return *case, few


def passes(forward, backward):
    """Return a function that goes forward and back."""

    def gradient(*args):
        return backward(*forward(*args))[:2]

    return gradient


class TooSlowError(Exception):
    """A call took longer than its arrays can need."""


def answer(function, args):
    """Return the arrays of a call, or None where it refuses; complain of anything else."""
    try:
        found = function(*args)
    except (ValueError, TypeError) as error:
        if re.match(r"(conv|max_pool|im2col)_\w+: ", str(error)):
            return None
        raise
    if isinstance(found, np.ndarray):
        return (found,)
    return tuple(one for one in found if isinstance(one, np.ndarray))


def options(rng, seconds):
    """Give layers options of any size, in little memory and time."""
    tally, end = Counter(), time.monotonic() + seconds
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    most = pages * resource.getpagesize() + 2**30
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
    while not tally or time.monotonic() < end:
        for _ in range(40):
            fast, naive, args, few = twins(rng)
            print(fast.__name__, [getattr(arg, "shape", arg) for arg in args], flush=True)
            spent = time.process_time()
            found = answer(fast, args)
            spent = time.process_time() - spent
            if spent > 2 and (found is None or max(one.size for one in found) < 10**5):
                raise TooSlowError(f"{spent:.1f} s")
            tally["refused" if found is None else "answered"] += 1
            if found is not None and few and (expected := answer(naive, args)) is not None:
                tally["as the twin"] += 1
                for one, wanted in zip(found, expected, strict=True):
                    np.testing.assert_allclose(one, wanted, rtol=1e-3, atol=1e-3)
    return tally


def compute(case, arrays, dout):
    """Return output and gradients of a layer."""
    out, cache = case.run(*arrays)
    return out, *case.gradients(dout, cache)


def step(rule, w, dw):
    """Return the parameter after two steps of an update rule."""
    config = {}
    for _ in range(2):
        w = fast_optim.update(rule, w.copy(), dw, config)
    return (w,)


def jobs(rng):
    """Return a name for each thing to compute, with the function that does it."""
    for name, case in FAST_LAYERS.items():
        arrays = case.draw(rng, "float32")
        out = case.run(*arrays)[0]
        dout = rng.standard_normal(out.shape).astype("float32")
        yield name, lambda case=case, arrays=arrays, dout=dout: compute(case, arrays, dout)
    x, w, b = (rng.standard_normal(s).astype("f4") for s in [(6, 17, 12, 13), (33, 17, 3, 3), 33])
    large = FAST_LAYERS["conv fast"]._replace(options=({"stride": 1, "pad": 1},))
    dout = rng.standard_normal((6, 33, 12, 13)).astype("f4")
    yield "a larger conv fast", lambda: compute(large, (x, w, b), dout)
    for rule in optim.RULES:
        yield rule, lambda rule=rule: step(rule, w, w[::-1].copy())


def switching(rng, seconds):
    """Compute in four threads while a fifth chooses kernels and numbers of threads."""
    tasks = [(name, job, job()) for name, job in jobs(rng)]
    tally, failures, end = Counter(), [], time.monotonic() + seconds

    def work(seed):
        own, rounds = np.random.default_rng(seed), 0
        while not failures and (rounds < 2 * len(tasks) or time.monotonic() < end):
            name, job, expected = tasks[own.integers(len(tasks))]
            try:
                for found, wanted in zip(job(), expected, strict=True):
                    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)
            except Exception as error:
                failures.append(f"{name}: {error!r}")
            rounds += 1
        tally["computations"] += rounds

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        backend.select(str(rng.choice([*backend.available(), backend.REFERENCE])))
        fast_layers.set_num_threads(int(rng.integers(1, 6)))
        tally["switches"] += 1
        time.sleep(float(rng.random()) / 5000)
    assert not failures, failures[0]
    return tally


ATTACKS = {"caches": caches, "doors": doors, "options": options, "switching": switching}


def attack(name, kernels, seconds, seed=0):
    """Run one attack in this process, and return what it counted."""
    previous, number = backend.select(kernels), fast_layers.get_num_threads()
    try:
        # Small arrays take the kernels, too.
        few = mock.patch.object(fast_layers, "_FEW", 0)
        with few, np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of NumPy, about the numbers' range
            return ATTACKS[name](np.random.default_rng(seed), seconds)
    finally:
        fast_layers.set_num_threads(number)
        backend.select(previous)


def in_a_process(name, kernels, seconds, seed=0):
    """Run one attack in a process of its own; return its status and the ends of what it wrote."""
    words = [sys.executable, __file__, name, kernels, str(seconds), str(seed)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.run(
        words, env=environment, capture_output=True, text=True, timeout=seconds + 600, check=False
    )
    return child.returncode, child.stdout[-300:], child.stderr[-2000:]


def main(words):
    """Run one attack, or all of them in processes; return 1 if one of them got through."""
    name, kernels, seconds = words[0], words[1], float(words[2])
    seed = int(words[3]) if len(words) > 3 else 0
    if name != "all":
        print(dict(attack(name, kernels, seconds, seed)))
        return 0
    failed = 0
    for each in ATTACKS:
        for some in backend.available():
            status, told, error = in_a_process(each, some, seconds, seed)
            print(f"{each}, {some}: status {status}, {told.splitlines()[-1:]}")
            print(error if status else "", end="")
            failed |= status != 0
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
