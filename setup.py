"""Build of the compiled kernels; everything else about the project is in pyproject.toml.

The extension is optional: without a C compiler the installation succeeds, and NumPy does the work.
Hosted notebooks and long-lived distributions bring old tools, so the oldest that can read
pyproject.toml are enough.  Environment variables:

CS231N_REQUIRE_EXTENSION=1  a build that fails is an error
CS231N_CHECKED=1            bounds checks of the loops in Cython on, for running the tests on
CS231N_SANITIZE=1           address and undefined-behaviour sanitizers on
CS231N_SANITIZE=thread      thread sanitizer on
CS231N_ABI3=1               one extension for Python 3.11 and all newer ones (takes Cython 3.1)
CS231N_PURE=1               no extension: a wheel for every platform, with NumPy's kernels
"""

import os
import sys
import sysconfig
import warnings
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from importlib import import_module

OLDEST = {"setuptools": (61, 0), "Cython": (3, 0)}


def require(package):
    """Return the version of a build tool, or stop with a line that says how to get a newer one."""
    oldest = ".".join(map(str, OLDEST[package]))
    try:
        version = import_module(package).__version__
    except ImportError:
        version, found = "0", "is missing"
    else:
        found = f"{version} is too old (at least {oldest})"
    numbers = tuple(int(number) for number in version.split(".")[:2] if number.isdigit())
    if numbers < OLDEST[package]:
        raise SystemExit(
            f"setup.py: {package} {found}; install it with: "
            f"{os.path.basename(sys.executable)} -m pip install '{package}>={oldest}'"
        )
    return numbers


if sys.version_info < (3, 10):  # noqa: UP036 (setup.py asks nobody who knows requires-python)
    raise SystemExit(f"setup.py: Python {sys.version.split()[0]} is too old (at least 3.10)")
require("setuptools")
# Old ones call pyproject.toml experimental, new ones the only form of a licence that old ones read.
warnings.filterwarnings("ignore", ".*(pyproject.toml|project.license)")

from setuptools import Extension, setup  # noqa: E402
from setuptools.command.build_ext import build_ext  # noqa: E402
from setuptools.command.build_py import build_py  # noqa: E402

CHECKED = os.environ.get("CS231N_CHECKED") == "1"
SANITIZE = os.environ.get("CS231N_SANITIZE", "")
# Python 3.10 lacks what the kernels take of the stable interface, a free-threaded one has none.
ABI3 = (
    os.environ.get("CS231N_ABI3") == "1"
    and sys.version_info >= (3, 11)
    and not sysconfig.get_config_var("Py_GIL_DISABLED")
)
PURE = os.environ.get("CS231N_PURE") == "1"
REQUIRED = os.environ.get("CS231N_REQUIRE_EXTENSION") == "1"

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": CHECKED,
    "wraparound": False,
    "initializedcheck": CHECKED,
    "cdivision": True,
}
if require("Cython") >= (3, 1):
    DIRECTIVES["freethreading_compatible"] = True
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


class Modules(build_py):
    """Leaves the script out that builds in place: an installed package has nothing to build."""

    def find_package_modules(self, package, package_dir):
        """Return the modules of a package that are installed."""
        found = super().find_package_modules(package, package_dir)
        return [module for module in found if module[:2] != ("cs231n", "setup")]


class OptionalBuild(build_ext):
    """Builds the kernels if there is a compiler, and says what it means if there is none."""

    def build_extensions(self):
        """Choose the flags of the compiler found, and let it run once for each processor."""
        if self.compiler.compiler_type == "msvc":  # prepares itself at the first call, not twice
            for extension in self.extensions:
                extension.extra_compile_args = ["/O2", "/std:c11"]
            super().build_extensions()
            return
        for extension in self.extensions:
            extension.extra_compile_args = FLAGS + SANITIZERS[SANITIZE]
            extension.extra_link_args = ["-pthread", *SANITIZERS[SANITIZE][:1]]
        jobs = self.parallel if type(self.parallel) is int else os.cpu_count()
        self.parallel = None
        with ThreadPoolExecutor(jobs) as pool:
            self.compiler.compile = in_parallel(self.compiler.compile, pool)
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
                "cs231n: to have them, install a C compiler and Python's headers (Debian, Ubuntu:"
                " apt install build-essential python3-dev; macOS: xcode-select --install; Windows:"
                " Build Tools for Visual Studio) and run: python setup.py build_ext --inplace",
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


def in_parallel(compile_all, pool):
    """Return a compiler's `compile` that hands its sources to the threads of a pool, one by one."""

    def compile_one_by_one(sources, *args, **kwargs):
        objects = pool.map(lambda source: compile_all([source], *args, **kwargs), sources)
        return [path for paths in objects for path in paths]

    return compile_one_by_one


def extensions():
    """Translate the Cython sources."""
    from Cython.Build import cythonize

    limited = {"py_limited_api": True, "define_macros": [("Py_LIMITED_API", "0x030B0000")]}
    common = limited if ABI3 else {}
    kernels = sorted(glob("cs231n/kernels/csrc/*.c"))
    headers = sorted(glob("cs231n/kernels/csrc/*.h"))
    modules = [
        Extension("cs231n.im2col_cython", ["cs231n/im2col_cython.pyx"], **common),
        Extension(
            "cs231n.kernels.native",
            ["cs231n/kernels/native.pyx", *kernels],
            depends=headers,
            **common,
        ),
    ]
    return cythonize(modules, compiler_directives=DIRECTIVES, force=CHECKED, quiet=True)


setup(
    ext_modules=[] if PURE else extensions(),
    cmdclass={"build_ext": OptionalBuild, "build_py": Modules},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if ABI3 else {},
)
