"""Build the kernels from inside this folder, as a cell of many notebooks does.

``cd cs231n`` and ``python setup.py build_ext --inplace`` run the project's own setup.py, one
folder up.
"""

import os
import runpy
from pathlib import Path

NEEDED = ("setup.py", "pyproject.toml", "README.md")


def main() -> None:
    """Run the build of the project that this folder belongs to."""
    folder = Path(__file__).resolve().parent
    top = folder.parent
    missing = [name for name in NEEDED if not (top / name).is_file()]
    if missing or 'name = "cs231n"' not in (top / "pyproject.toml").read_text(encoding="utf-8"):
        raise SystemExit(
            f"setup.py: {top} is not the project that {folder.name}/ belongs to, for it lacks its"
            f" {', '.join(missing or NEEDED)}.  Copy these beside {folder.name}/ too, or install"
            " the project where it came from (python -m pip install .).  Without the build"
            " everything works as well, in NumPy and more slowly."
        )
    os.chdir(top)
    runpy.run_path("setup.py", run_name="__main__")


if __name__ == "__main__":
    main()
