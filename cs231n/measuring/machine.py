"""What a figure was measured on: processor, versions, kernels and threads."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np

from cs231n import __version__
from cs231n.kernels import backend

__all__ = ["describe"]


def describe() -> dict[str, str]:
    """Return the facts that belong beside every measured time."""
    return {
        "machine": f"{_processor()}, {_usable_cores()} cores",
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "numpy": np.__version__,
        "cs231n": f"{__version__}, {backend.backend()} kernels",
    }


def _processor() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _usable_cores() -> int:
    """Return the number of cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
