"""MPI, which is imported only where it is asked for."""

from __future__ import annotations

from typing import Any

from cs231n.core import extras

__all__ = ["world"]


def world() -> Any:
    """Return the communicator of all processes that ``mpiexec`` has started.

    Returns
    -------
    communicator : mpi4py.MPI.Comm

    Raises
    ------
    ModuleNotFoundError
        If mpi4py is not installed.
    OSError
        If it finds no MPI library.
    """
    try:
        return extras.need("mpi4py.MPI", "mpi", "training over MPI").COMM_WORLD
    except (RuntimeError, ImportError) as error:
        if isinstance(error, ModuleNotFoundError):
            raise
        line = " ".join(f"{error}".split())
        raise OSError(
            f"mpi4py finds no MPI library ({line:.200});"
            " install one with: pip install 'cs231n[mpi]'"
        ) from error
