# `make train` and `make test` set everything up by themselves, in a virtual environment of the
# project's own: only Python and a C compiler must be there.
PYTHON ?= python3
VENV ?= .venv
THREADS ?= 2
SECONDS ?= 60
READERS ?= npz network model checkpoint batch imagenet image tar tar.gz tables idx cifar100 mat arrays
PROCESSES ?= auto
PYTHONS ?= 3.10 3.14t
KILLS ?= 100
BIN := $(VENV)/bin
SOURCES := setup.py pyproject.toml $(wildcard cs231n/*.pyx cs231n/kernels/*.pyx cs231n/kernels/csrc/*)

.PHONY: setup train test test-long bench benchmarks check lint clean clean-runs docs dist dist-check other-processors torture attack fuzz sanitize-threads notebooks notebooks-run notebooks-test

setup: $(VENV)/.installed

$(VENV)/.installed: $(SOURCES)
	@echo "cs231n: making the environment $(VENV)"
	$(PYTHON) -m venv $(VENV)
	@echo "cs231n: installing NumPy and the other packages, then compiling the kernels on all processors;"
	@echo "cs231n: both together take one to three minutes, and only the first time"
	$(BIN)/python -m pip install --disable-pip-version-check --editable '.[test]'
	@echo "cs231n: installed; . $(BIN)/activate lets python and cs231n be those of $(VENV)"
	touch $@

train: setup
	$(BIN)/python -m cs231n train

# In a few minutes, something of everything; test-long runs the other tests.
test: setup
	$(BIN)/python -m pytest -q --numprocesses $(PROCESSES) -m "not long"

test-long: setup
	$(BIN)/python -m pytest -q --numprocesses $(PROCESSES) -m long

bench: setup
	$(BIN)/python -m cs231n bench

benchmarks: setup
	$(BIN)/python benchmarks/kernels.py --threads $(THREADS)
	$(BIN)/python benchmarks/paths.py --threads $(THREADS)
	$(BIN)/python benchmarks/step.py --threads $(THREADS)
	$(BIN)/python benchmarks/epoch.py --threads $(THREADS) --dtype float32
	$(BIN)/python benchmarks/scaling.py --threads $(THREADS)

# Installs Jupyter and opens the notebooks.  What is installed here and below is what an extra adds:
# the package itself is there, and would be compiled anew if it was named by its folder.
notebooks: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'cs231n[notebooks]'
	$(BIN)/jupyter lab notebooks

$(VENV)/.execute: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'cs231n[execute]'
	touch $@

# Runs all of them in full and stores their outputs, on the real CIFAR-10 where it is found.
notebooks-run: $(VENV)/.execute
	$(BIN)/python notebooks/run.py --in-place

# Runs all of them in their short mode, on the built-in data, and stores nothing.
notebooks-test: $(VENV)/.execute
	$(BIN)/python notebooks/run.py --short

check: setup
	$(BIN)/python -m cs231n check

# Kills training runs until there were at least so many kills, and compares what they end in.
torture: setup
	PYTHONPATH=tests/support $(BIN)/python tests/tools/torture.py --kills $(KILLS)

# Attacks the files wing for so many seconds each: writers with one id, kills, strangers' links, names;
# then the fast layers: edited caches, wrong arrays at the kernels' doors, options of any size, kernels
# exchanged during calls.
attack: setup
	PYTHONPATH=tests/support $(BIN)/python tests/tools/attack.py $(SECONDS)
	PYTHONPATH=tests/support $(BIN)/python tests/tools/attack_kernels.py all all $(SECONDS)

# Fuzzes every reader of files for so many seconds each; a failure leaves its file in build/fuzz.
fuzz: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris
	mkdir -p build/fuzz
	cd build/fuzz && for reader in $(READERS); do \
	    PYTHONPATH=$(CURDIR)/tests/support $(abspath $(BIN))/python $(CURDIR)/tests/tools/fuzz.py $$reader $(SECONDS) || exit 1; done

# Runs the kernels from eight Python threads under the thread sanitizer (gcc or clang), in a copy.
sanitize-threads: setup
	rm -rf build/tsan && mkdir -p build/tsan && git archive HEAD | tar -x -C build/tsan
	cd build/tsan && CS231N_SANITIZE=thread $(abspath $(BIN))/python setup.py --quiet build_ext --inplace
	cd build/tsan && env LD_PRELOAD=$$($(CC) -print-file-name=libtsan.so) PYTHONPATH=. \
	    TSAN_OPTIONS="halt_on_error=1 report_signal_unsafe=0" OPENBLAS_NUM_THREADS=1 \
	    $(abspath $(BIN))/python -m pytest -q -s tests/kernels/test_threads.py -k "different_kernels or eight"

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'cs231n[docs]'
	touch $@

# Builds the site, warnings being errors, runs its examples, and looks at it in a browser, if there is one.
docs: $(VENV)/.docs
	$(BIN)/python docs/build_site.py
	CS231N_SITE=build/docs/html $(BIN)/python -m pytest -q tests/docs

$(VENV)/.dist: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'cs231n[dist]'
	touch $@

# Builds what is released, from what is committed: an sdist, a wheel with kernels, one without.
dist: $(VENV)/.dist
	$(BIN)/python packaging/make_dist.py $(PYTHONS)

# Looks into them, installs each in a fresh environment and uses it from another folder.
dist-check: $(VENV)/.dist
	$(BIN)/python packaging/check_dist.py $(if $(QUICK),--quick)

# Builds the kernels for Arm and Windows, and runs the tests of agreement under emulation; on Debian, with
# gcc-aarch64-linux-gnu, qemu-user-static and gcc-mingw-w64-x86-64.  Says what it skips.
other-processors: setup
	$(BIN)/python -m pytest -q -rs tests/kernels/test_sources.py
	$(BIN)/python packaging/emulate_arm64.py

lint: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-lint.txt
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-forms .github/ISSUE_TEMPLATE/[!c]*.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-issue-config .github/ISSUE_TEMPLATE/config.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.citation-file-format CITATION.cff

clean:
	rm -rf $(VENV) build dist *.egg-info cs231n/*.so cs231n/*.c cs231n/kernels/*.so cs231n/kernels/*.c

# Removes the folders of all training runs, and what they have learnt; those of the notebooks, too.
clean-runs:
	rm -rf runs notebooks/runs
