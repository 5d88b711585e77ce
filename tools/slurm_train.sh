#!/usr/bin/env bash
# Train on a Slurm cluster.
# Usage: GPUS=8 bash tools/slurm_train.sh PARTITION JOB_NAME CONFIG WORK_DIR [options of train.py]
# Environment: GPUS, GPUS_PER_NODE, CPUS_PER_TASK, SRUN_ARGS, PORT, PYTHON
# In a batch job with `#SBATCH --signal=USR1@120 --requeue`, a training whose time is over saves, and
# the job is queued again and goes on.

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
need_arguments 4 "$@"
need_file config "$3"
GPUS=${GPUS:-8}
need_count GPUS "$GPUS"
GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}
need_count GPUS_PER_NODE "$GPUS_PER_NODE"
need_count CPUS_PER_TASK "${CPUS_PER_TASK:-5}"
[ -z "${PORT:-}" ] || export MASTER_PORT="$PORT"

options=("${@:5}")
if [ "${SLURM_RESTART_COUNT:-0}" -gt 0 ] && [[ " ${*:5} " != *" --resume"* ]]; then
    options+=(--resume)
fi

code=0
# SRUN_ARGS holds several options, so it is split on purpose.
srun -p "$1" \
    --job-name="$2" \
    --gres=gpu:"$GPUS_PER_NODE" \
    --ntasks="$GPUS" \
    --ntasks-per-node="$GPUS_PER_NODE" \
    --cpus-per-task="${CPUS_PER_TASK:-5}" \
    --kill-on-bad-exit=1 \
    ${SRUN_ARGS:-} \
    "$PYTHON" -u "$TOOLS/train.py" "$3" --work-dir="$4" --launcher=slurm \
    ${options[@]+"${options[@]}"} || code=$?
# 128 + SIGUSR1. Not 128 + SIGTERM: that is scancel, or SLURM itself, which queues again as it likes.
if [ "$code" -eq 138 ] && [ -n "${SLURM_JOB_ID:-}" ]; then
    echo "Saved; job $SLURM_JOB_ID is queued again."
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
