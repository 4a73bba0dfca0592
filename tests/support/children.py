"""The surroundings of a process that a test starts."""

import os
import sys


def environment(**changes):
    """Return the environment of a child: it finds every module that the test finds.

    Naming the kernels keeps a child from hinting at a missing extension.
    """
    return {
        "CS231N_BACKEND": "auto",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        **changes,
    }
