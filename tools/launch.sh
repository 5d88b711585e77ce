# The other scripts source this file. PYTHON is the caller's, else that of the checkout's environment.

TOOLS="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python
    if [ -z "${VIRTUAL_ENV:-}" ] && [ -x "$TOOLS/../.venv/bin/python" ]; then
        PYTHON="$TOOLS/../.venv/bin/python"
    fi
fi

# Print the first comment block of the calling script and end it, if arguments are missing.
need_arguments() {  # need_arguments COUNT "$@"
    if [ $(($# - 1)) -lt "$1" ]; then
        sed -n '2,/^$/s/^# \?//p' "$0" >&2
        exit 2
    fi
}

# End the calling script if a file does not exist; package::path and addresses may be anywhere.
need_file() {  # need_file WHAT PATH
    if [[ "$2" != *::* && "$2" != *://* && ! -f "$2" ]]; then
        echo "error: $1 $2 does not exist; give the path of a file" >&2
        exit 2
    fi
}

# End the calling script if a number of processes is none.
need_count() {  # need_count WHAT NUMBER
    if ! [[ "$2" =~ ^[1-9][0-9]{0,4}$ ]]; then
        echo "error: $1 is '$2': give a whole number of at least 1" >&2
        exit 2
    fi
}

# Run a tool in several processes. On several machines set NNODES, NODE_RANK, MASTER_ADDR, PORT.
launch() {  # launch TOOL PROCESSES [ARGUMENTS]
    need_count GPUS "$2"
    "$PYTHON" -m torch.distributed.run \
        --nnodes="${NNODES:-1}" \
        --node_rank="${NODE_RANK:-0}" \
        --master_addr="${MASTER_ADDR:-127.0.0.1}" \
        --master_port="${PORT:-29500}" \
        --nproc_per_node="$2" \
        "$TOOLS/$1" "${@:3}" --launcher pytorch
}
