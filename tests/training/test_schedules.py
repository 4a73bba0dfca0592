"""Learning-rate schedules: their values, arrays and numbers, and what they refuse."""

import functools
import math

import numpy as np
import pytest

from cs231n import schedules

SCHEDULES = {
    "constant": schedules.constant,
    "step": schedules.step,
    "cosine": schedules.cosine,
    "cosine, warm-up": functools.partial(schedules.cosine, warmup=0.2, final=0.1),
    "cosine, nothing but warm-up": functools.partial(schedules.cosine, warmup=1),
    "one cycle": schedules.one_cycle,
    "one cycle, peak at the start": functools.partial(schedules.one_cycle, peak=0),
    "one cycle, peak at the end": functools.partial(schedules.one_cycle, peak=1),
}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_an_array_gives_what_its_numbers_give(schedule):
    progress = np.linspace(0, 1, 41)
    factors = schedule(progress)
    assert factors.shape == progress.shape
    assert factors == pytest.approx([schedule(p) for p in progress.tolist()], rel=1e-14)
    assert all(isinstance(schedule(p), float) for p in (0, 1, 0.3, np.float32(0.5)))
    assert factors.min() >= 0
    assert factors.max() <= 1


@pytest.mark.parametrize(
    ("schedule", "progress", "factor"),
    [
        (schedules.constant, 0.7, 1),
        (schedules.step, 0.49, 1),
        (schedules.step, 0.5, 0.1),
        (schedules.step, 0.75, 0.01),
        (functools.partial(schedules.step, at=[0.3], factor=0.5), 1, 0.5),
        (functools.partial(schedules.step, at=[]), 1, 1),
        (schedules.cosine, 0, 1),
        (schedules.cosine, 1 / 3, 0.75),
        (schedules.cosine, 0.5, 0.5),
        (schedules.cosine, 1, 0),
        (SCHEDULES["cosine, warm-up"], 0, 0),
        (SCHEDULES["cosine, warm-up"], 0.05, 0.25),
        (SCHEDULES["cosine, warm-up"], 0.2, 1),
        (SCHEDULES["cosine, warm-up"], 0.6, 0.55),
        (SCHEDULES["cosine, warm-up"], 1, 0.1),
        (SCHEDULES["cosine, nothing but warm-up"], 0.4, 0.4),
        (schedules.one_cycle, 0, 0.04),
        (schedules.one_cycle, 0.15, 0.52),
        (schedules.one_cycle, 0.3, 1),
        (schedules.one_cycle, 0.65, 0.5),
        (schedules.one_cycle, 1, 0),
        (functools.partial(schedules.one_cycle, peak=0.5, start=0, final=0.2), 0.25, 0.5),
        (functools.partial(schedules.one_cycle, peak=0.5, start=0, final=0.2), 0.75, 0.6),
        (SCHEDULES["one cycle, peak at the start"], 0.25, 0.75),
    ],
)
def test_factors(schedule, progress, factor):
    assert schedule(progress) == pytest.approx(factor, abs=1e-15)


@pytest.mark.parametrize(
    ("schedule", "arguments", "message"),
    [
        (schedules.step, {"at": (0.5, 1.5)}, r"step: at is 1\.5; expected a number in \[0, 1\]"),
        (schedules.step, {"at": (0.7, 0.5)}, r"step: at is \[0\.7, 0\.5\]; .*ascending"),
        (schedules.step, {"factor": -1}, r"step: factor is -1\.0"),
        (schedules.cosine, {"warmup": 2}, r"cosine: warmup is 2\.0"),
        (schedules.cosine, {"final": math.nan}, "cosine: final is nan"),
        (schedules.one_cycle, {"peak": 1.1}, r"one_cycle: peak is 1\.1"),
        (schedules.one_cycle, {"start": "x"}, "one_cycle: start is 'x'"),
        (schedules.one_cycle, {"final": -0.1}, r"one_cycle: final is -0\.1"),
    ],
)
def test_wrong_arguments_are_named(schedule, arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        schedule(0.5, **arguments)
