#!/usr/bin/env bash
# Train in several processes: one per GPU, or on the CPU if there is none.
# Usage: bash tools/dist_train.sh CONFIG GPUS [options of tools/train.py]
# Environment: NNODES, NODE_RANK, MASTER_ADDR, PORT, PYTHON

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
need_arguments 2 "$@"
need_file config "$1"
launch train.py "$2" "$1" "${@:3}"
