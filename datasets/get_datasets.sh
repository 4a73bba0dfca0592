#!/bin/sh
# Download the data sets unless they are here already; options go to `python -m cs231n download`.
exec sh "$(dirname "$0")/../cs231n/datasets/get_datasets.sh" "$@"
