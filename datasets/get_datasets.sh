#!/bin/sh
# Download CIFAR-10 unless it is here already; options go to `python -m cs231n download`.
exec sh "$(dirname "$0")/../cs231n/datasets/get_datasets.sh" "$@"
