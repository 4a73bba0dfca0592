#!/bin/sh
# Download CIFAR-10 and the 25 images of load_imagenet_val, unless they are here already, and link
# the batches to this folder, where notebooks look; options go to `python -m cs231n download`.
# Notebooks run this in its own folder; the command must run where `cs231n` can be imported.
# PYTHON names the Python to use; else the first one is taken that has what the download needs.
set -eu
cd "$(dirname "$0")/../.."
[ "$#" -gt 0 ] || set -- --link cs231n/datasets --imagenet-val
if [ -n "${PYTHON:-}" ]; then
    exec "$PYTHON" -m cs231n download "$@"
fi
any=
for python in python .venv/bin/python python3; do
    command -v "$python" >/dev/null || continue
    any=$python
    if "$python" -c "import numpy, imageio, filelock, pooch, tqdm" 2>/dev/null; then
        exec "$python" -m cs231n download "$@"
    fi
done
if [ -n "$any" ]; then
    exec "$any" -m cs231n download "$@" # which says in one line what is missing
fi
echo "get_datasets.sh: no python found; set PYTHON to its path" >&2
exit 1
