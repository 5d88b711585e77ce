#!/usr/bin/env bash
# Test in several processes: one per GPU, or on the CPU if there is none.
# Usage: bash tools/dist_test.sh CONFIG CHECKPOINT GPUS [options of tools/test.py]
# Environment: NNODES, NODE_RANK, MASTER_ADDR, PORT, PYTHON

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
need_arguments 3 "$@"
need_file config "$1"
need_file checkpoint "$2"
launch test.py "$3" "$1" "$2" "${@:4}"
