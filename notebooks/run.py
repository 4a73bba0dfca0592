"""Execute notebooks from top to bottom; fail on any exception and on any warning.

python notebooks/run.py --short                      all of them, quickly, on the built-in data
python notebooks/run.py --in-place Dropout.ipynb     run one in full and store its outputs
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

FOLDER = Path(__file__).resolve().parent
TIMEOUT = 3600  # seconds for one cell: a training run is one cell
NO_TORCH = "PyTorch is missing"  # as `cs231n.torch_bridge.require_torch` says
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Execute the notebooks and return the exit status: 1 if any of them failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("notebooks", nargs="*", type=Path, help="notebooks to execute; by default all of them")
    add("--short", action="store_true", help="short mode, on the built-in data")
    add("--in-place", action="store_true", help="store the outputs in the notebooks")
    options = parser.parse_args(arguments)
    if options.short and options.in_place:
        parser.error("--short writes nothing back; --in-place stores the outputs of a full run")
    known = sorted(FOLDER.glob("*.ipynb"))
    paths = [path if path.is_file() else FOLDER / path for path in options.notebooks] or known
    for path in paths:
        if not path.is_file():
            names = ", ".join(one.name for one in known)
            parser.error(f"there is no {path.name}; expected the path of a notebook, or of {names}")
    failures = 0
    for path in paths:
        start = time.perf_counter()
        problem = execute(path, options)
        print(f"{path.name}: {problem or 'ok'} ({time.perf_counter() - start:.0f} s)", flush=True)
        failures += problem.startswith("FAILED")
    return 1 if failures else 0


def execute(path: Path, options: argparse.Namespace) -> str:
    """Execute a notebook in its folder, and say what went wrong."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT,
        kernel_name=KERNEL["name"],
        resources={"metadata": {"path": str(path.parent)}},
        coalesce_streams=True,  # of a progress bar, the last state stays
        record_timing=False,
    )
    stored = {"CS231N_STORED": "1"} if options.in_place else {}
    try:
        client.execute(env={**environment(options.short), **stored})
    except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
        if lacks_torch(error):
            return f"skipped, {error.evalue}"
        return f"FAILED\n{error}"
    warned = warnings_of(notebook)
    if options.in_place and not warned:
        strip(notebook)
        nbformat.write(notebook, path)
    return f"FAILED, for a cell wrote to standard error:\n{warned}" if warned else ""


def lacks_torch(error: Exception) -> bool:
    """Tell whether a notebook may be left out for want of PyTorch, which is optional."""
    required = os.environ.get("CS231N_REQUIRE_TORCH") == "1"
    return NO_TORCH in getattr(error, "evalue", "") and not required


def environment(short: bool) -> dict[str, str]:
    """Return the environment of the kernels."""
    # Kernels draw into the notebook, whatever backend was chosen for other programs.
    unwanted = {"MPLBACKEND", *(("CS231N_DATA",) if short else ("CS231N_SHORT",))}
    kept = {name: value for name, value in os.environ.items() if name not in unwanted}
    return {**kept, "CS231N_SHORT": "1"} if short else kept


def warnings_of(notebook: Any) -> str:
    """Return all that the cells wrote to standard error."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "".join(output["text"] for output in outputs if output.get("name") == "stderr")


def strip(notebook: Any) -> None:
    """Remove what differs from run to run or machine to machine, and says nothing."""
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    )
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
        for output in cell.get("outputs", []):
            if "metadata" in output:
                output["metadata"] = nbformat.from_dict({})


if __name__ == "__main__":
    sys.exit(main())
