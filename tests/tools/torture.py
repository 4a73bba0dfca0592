"""Kill training runs at random moments, and see that they end as if nothing had happened.

A child process trains a small network and writes checkpoints all the time.  It is killed by
SIGKILL, or ended by SIGTERM or Ctrl-C, after a random time, also while it starts, loads a
checkpoint or writes one; another child goes on.
The run that ends must equal, in every bit, one that nobody disturbed.

    PYTHONPATH=tests/support python tests/tools/torture.py --kills 100
"""

import argparse
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import runs
from runs import SHAPE, images, network, outcome

import cs231n
from cs231n import schedules
from cs231n.augment import FlipAndShift
from cs231n.classifiers import ConvNet, ThreeLayerConvNet
from cs231n.files import storage
from cs231n.solver import Solver
from cs231n.training import checkpoint

MOST_LIVES = 300  # of one run: more means that it does not get on
PATIENCE = 120  # seconds for a child to come up
LIFE = 0.5  # most seconds from the start of training to the kill
ENDS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def convolution(**settings):
    """Return a small convolutional network."""
    return ThreeLayerConvNet(SHAPE, 4, 3, 8, 3, weight_scale=0.1, reg=0.01, **settings)


def deep():
    """Return a deeper one with batch norm and dropout."""
    return ConvNet("conv4-pool-conv5-gavg-fc6-fc3", SHAPE, "batchnorm", 0.8)


# Networks and arguments of the Solver.  Every update rule, both orders of the samples, all that
# draws at random, and checkpoints after every iteration, some iterations and every epoch.
CASES = {
    "sgd": (network, lambda: {"update_rule": "sgd", "checkpoint_every": 1, "replace": False}),
    "sgd_momentum": (
        convolution,
        lambda: {
            **{"update_rule": "sgd_momentum", "checkpoint_every": 2, "lr_decay": 0.95},
            "augment": FlipAndShift(pad=1),
        },
    ),
    "nesterov_momentum": (
        lambda: network("layernorm", dtype=np.float32),
        lambda: {
            **{"update_rule": "nesterov_momentum", "checkpoint_every": 1, "replace": False},
            "rng": np.random.default_rng(5),
        },
    ),
    "rmsprop": (
        lambda: network(dtype=np.float32),
        lambda: {
            **{"update_rule": "rmsprop", "checkpoint_every": None, "weight_decay": 0.01},
            "schedule": functools.partial(schedules.one_cycle, peak=0.25),
        },
    ),
    "adam": (
        deep,
        lambda: {
            **{"update_rule": "adam", "checkpoint_every": 1, "replace": False, "clip_norm": 1.0},
            "augment": FlipAndShift(pad=1, rng=np.random.default_rng(6)),
            "schedule": schedules.cosine,
        },
    ),
}


def arguments(case):
    """Return the Solver's arguments in a case."""
    fixed = {"batch_size": 6, "num_epochs": 8, "num_train_samples": 30, "verbose": False}
    return {**fixed, "optim_config": {"learning_rate": 0.01}, **CASES[case][1]()}


def undisturbed(case, seed):
    """Return the outcome of a run that nobody disturbs, as JSON gives it back."""
    np.random.seed(seed)
    given = {**arguments(case), "checkpoint_every": None}
    solver = Solver(CASES[case][0](), images(), **given)
    solver.train()
    return json.loads(json.dumps(outcome(solver)))


def live(case, seed, folder):
    """Train in a child process: from the checkpoint, if there is one, to the end, if it lives."""
    path, given = folder / "run", arguments(case)
    np.random.seed(seed)
    model = CASES[case][0]()
    if checkpoint.exists(path):
        again = {name: given[name] for name in ("augment", "schedule") if name in given}
        solver = Solver.resume(path, model, images(), **again)
    else:
        solver = Solver(model, images(), checkpoint_name=path, **given)
    print("ready", flush=True)
    solver.train()
    with storage.replacing(folder / "outcome.json") as file:
        file.write(json.dumps(outcome(solver)).encode())


def start(case, seed, folder):
    """Start a child process."""
    words = [sys.executable, __file__, "--child", case, "--seed", str(seed), "--folder", folder]
    places = (Path(cs231n.__file__).parents[1], Path(runs.__file__).parent)
    place = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(words, env=place, **pipes)


def end(process, rng):
    """Let a child live for a random time, then end it; tell whether that came in time."""
    how = ENDS[rng.integers(len(ENDS))]
    starts = rng.random() < 0.2  # this one may die while it starts
    if starts and how == signal.SIGINT:
        how = signal.SIGTERM  # Python itself fails in many ways if Ctrl-C comes that early
    try:
        if starts:
            time.sleep(rng.uniform(0, 0.5))
        elif not process.stdout.readline():
            return False  # it failed: the exit status will tell
        else:
            time.sleep(rng.uniform(0, LIFE))
        killed = process.poll() is None
    finally:
        process.send_signal(how)
    process.wait(PATIENCE)
    return killed and process.returncode == -how


def stamp(path):
    """Return when a file was last written, 0 where there is none."""
    return path.stat().st_mtime_ns if path.exists() else 0


def torment(case, seed, folder, rng, tally):
    """Kill a run and let it go on until it has ended; return its outcome."""
    for _ in range(MOST_LIVES):
        before = stamp(folder / "run.part.npz")  # what an earlier kill left
        with start(case, seed, folder) as process:
            killed = end(process, rng)
            trouble = process.stderr.read()
        tally["kills"] += killed
        tally["kills while writing"] += killed and stamp(folder / "run.part.npz") not in (0, before)
        if not killed and process.returncode != 0:
            raise RuntimeError(f"{case}: a child failed\n{trouble}")
        if (folder / "outcome.json").exists():
            return json.loads((folder / "outcome.json").read_text(encoding="utf-8"))
    raise RuntimeError(f"{case}: the run has not ended after {MOST_LIVES} lives")


def torture(kills, seed=0, cases=tuple(CASES)):
    """Torment runs until so many kills are done; return how many, and how many runs ended wrong."""
    rng, tally = np.random.default_rng(seed), Counter()
    while tally["kills"] < kills:
        case = cases[tally["runs"] % len(cases)]
        run_seed = seed + tally["runs"]
        before = tally["kills"]
        with tempfile.TemporaryDirectory() as folder:
            found = torment(case, run_seed, Path(folder), rng, tally)
        expected = undisturbed(case, run_seed)
        wrong = [name for name in expected if found.get(name) != expected[name]]
        tally["runs"] += 1
        tally["wrong runs"] += bool(wrong)
        result = f"differs in {', '.join(wrong)}" if wrong else "equal in every bit"
        print(f"{case:18} {tally['kills'] - before:3} kills, {result}", flush=True)
    return tally


def main():
    """Read the command line, and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="at least so many")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", choices=CASES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        live(options.child, options.seed, options.folder)
        return 0
    start, tally = time.perf_counter(), torture(options.kills, options.seed)
    print(
        f"{tally['kills']} kills ({tally['kills while writing']} while a checkpoint was written)"
        f" in {tally['runs']} runs, {tally['wrong runs']} of which ended otherwise than undisturbed"
        f" ones; {time.perf_counter() - start:.0f} s"
    )
    return min(tally["wrong runs"], 1)


if __name__ == "__main__":
    sys.exit(main())
