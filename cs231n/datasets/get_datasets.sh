#!/bin/sh
# Download CIFAR-10 and the 25 images of load_imagenet_val, unless they are here already, and link
# the batches to this folder, where notebooks look; options go to `python -m cs231n download`.
# Notebooks run this in its own folder; the command must run where `cs231n` can be imported.
set -eu
cd "$(dirname "$0")/../.."
for python in "${PYTHON:-}" python python3; do
    if [ -n "$python" ] && command -v "$python" >/dev/null; then
        [ "$#" -gt 0 ] || set -- --link cs231n/datasets --imagenet-val
        exec "$python" -m cs231n download "$@"
    fi
done
echo "get_datasets.sh: no python found; set PYTHON to its path" >&2
exit 1
