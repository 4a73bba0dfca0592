"""Build of the compiled kernels; everything else about the project is in pyproject.toml.

The extension is optional: without a C compiler the installation succeeds, and NumPy does the work.
Environment variables:

CS231N_REQUIRE_EXTENSION=1  a build that fails is an error
CS231N_CHECKED=1            bounds checks of the Cython code on, for running the tests on
CS231N_SANITIZE=1           address and undefined-behaviour sanitizers on
CS231N_SANITIZE=thread      thread sanitizer on
"""

import os
import sys
from glob import glob

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

CHECKED = os.environ.get("CS231N_CHECKED") == "1"
SANITIZE = os.environ.get("CS231N_SANITIZE", "")
REQUIRED = os.environ.get("CS231N_REQUIRE_EXTENSION") == "1"

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": CHECKED,
    "wraparound": False,
    "initializedcheck": CHECKED,
    "cdivision": True,
    "freethreading_compatible": True,
}
# Without errno and traps, square roots and comparisons are vectorised.  No flag names an
# instruction set: the sources in csrc do, and the package chooses among them at run time.
FLAGS = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-pthread"]
# The checks left out find nothing that the address sanitizer does not, and checks as calls instead
# of code in place are slower but compile in seconds instead of minutes.
SANITIZERS = {
    "": [],
    "1": [
        "-fsanitize=address,undefined",
        "-fno-sanitize=null,object-size,pointer-overflow",
        "-fno-sanitize-recover=all",
        "--param=asan-instrumentation-with-call-threshold=0",
        "-g1",
        "-O1",
    ],
    "thread": ["-fsanitize=thread", "-g1", "-O1"],
}


class OptionalBuild(build_ext):
    """Builds the kernels if there is a compiler, and says what it means if there is none."""

    def build_extensions(self):
        """Choose the flags of the compiler found."""
        if self.compiler.compiler_type != "msvc":
            for extension in self.extensions:
                extension.extra_compile_args = FLAGS + SANITIZERS[SANITIZE]
                extension.extra_link_args = ["-pthread", *SANITIZERS[SANITIZE][:1]]
        super().build_extensions()

    def build_extension(self, extension):
        """Build, and go on without the extension if that fails and nobody asked for more."""
        try:
            super().build_extension(extension)
        except Exception as error:
            if REQUIRED:
                raise
            print(
                f"cs231n: the compiled kernels were not built ({error}).\n"
                "cs231n: the package works without them: NumPy does the convolutions and poolings,"
                " several times more slowly.\n"
                "cs231n: to have them, install a C compiler and run:"
                " python setup.py build_ext --inplace",
                file=sys.stderr,
            )

    def copy_extensions_to_source(self):
        """Copy what was built; after a failed build there is nothing to copy."""
        self.extensions = [
            extension
            for extension in self.extensions
            if os.path.exists(os.path.join(self.build_lib, self.get_ext_filename(extension.name)))
        ]
        super().copy_extensions_to_source()


def extensions():
    """Translate the Cython sources."""
    try:
        from Cython.Build import cythonize
    except ModuleNotFoundError:
        raise SystemExit(
            "setup.py: Cython is missing; install it with: python -m pip install 'Cython>=3.1'"
        ) from None

    kernels = sorted(glob("cs231n/kernels/csrc/*.c"))
    headers = sorted(glob("cs231n/kernels/csrc/*.h") + glob("cs231n/kernels/csrc/*.inc"))
    modules = [
        Extension("cs231n.im2col_cython", ["cs231n/im2col_cython.pyx"]),
        Extension(
            "cs231n.kernels.native", ["cs231n/kernels/native.pyx", *kernels], depends=headers
        ),
    ]
    return cythonize(modules, compiler_directives=DIRECTIVES, force=CHECKED, quiet=True)


setup(ext_modules=extensions(), cmdclass={"build_ext": OptionalBuild})
