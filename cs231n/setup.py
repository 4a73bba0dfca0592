"""Build the kernels from inside this folder, as a cell of many notebooks does.

``cd cs231n`` and ``python setup.py build_ext --inplace`` run the project's own setup.py, one
folder up.
"""

import os
import runpy
from pathlib import Path

if __name__ == "__main__":
    os.chdir(Path(__file__).resolve().parent.parent)
    runpy.run_path("setup.py", run_name="__main__")
