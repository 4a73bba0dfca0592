#!/bin/sh
# Download CIFAR-10 unless it is here already; options go to `python -m cs231n download`.
# Notebooks run this in its own folder; the command must run where `cs231n` can be imported.
set -eu
cd "$(dirname "$0")/../.."
for python in "${PYTHON:-}" python python3; do
    if [ -n "$python" ] && command -v "$python" >/dev/null; then
        exec "$python" -m cs231n download "$@"
    fi
done
echo "get_datasets.sh: no python found; set PYTHON to its path" >&2
exit 1
