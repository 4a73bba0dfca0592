"""The C sources of the kernels, as other compilers and processors see them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from cs231n.kernels import backend

SOURCES = Path(backend.__file__).parent / "csrc"
UNITS = [path.name for path in sorted(SOURCES.glob("*.c"))]
# What a compiler does that knows C11 and none of GNU's extensions, such as Microsoft's.
FOREIGN = """
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#undef __GNUC__
#undef __x86_64__
#undef __aarch64__
#define _WIN32 1
"""
CROSS = ["aarch64-linux-gnu-gcc", "x86_64-w64-mingw32-gcc"]  # `make other-processors` needs both


def errors(compiler, text, *flags):
    """Return what a compiler has against a C source."""
    return subprocess.run(
        [compiler, "-Wall", "-fsyntax-only", f"-I{SOURCES}", *flags, "-x", "c", "-"],
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
    ).stderr


@pytest.mark.skipif(not UNITS or not shutil.which("gcc"), reason="needs the sources, and gcc")
@pytest.mark.parametrize("unit", UNITS)
def test_a_compiler_without_extensions_takes_the_sources(unit):
    flags = ("-std=c11", "-pedantic-errors", "-Werror=vla", "-Wno-unknown-pragmas")
    assert errors("gcc", f'{FOREIGN}#include "{unit}"\n', *flags) == ""


@pytest.mark.skipif(not UNITS or not shutil.which("gcc"), reason="needs the sources, and gcc")
def test_a_source_with_an_extension_would_be_noticed():
    text = FOREIGN + "int f(int n) { return ({ n; }); }\n"
    assert "braced-groups" in errors("gcc", text, "-std=c11", "-pedantic-errors")


@pytest.mark.skipif(not UNITS, reason="needs the sources")
@pytest.mark.parametrize("compiler", CROSS)
def test_cross_compilers_take_the_sources(compiler):
    if not shutil.which(compiler):
        pytest.skip(f"needs {compiler}")
    found = [errors(compiler, f'#include "{unit}"\n') for unit in UNITS]
    assert "".join(found) == ""
