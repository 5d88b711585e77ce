"""Runs Python files, each in a process of its own that need not import the package again.

``python tool_server.py`` reads a job a line from its standard input, as JSON: ``argv`` (the file
and its arguments), ``cwd``, ``output`` (the file that takes what it prints) and ``environments``,
one for each process that is to run it at the same time. It answers with the exit codes, and ends at
an empty line.
"""

import atexit
import gc
import json
import os
import runpy
import sys
import threading

import lakd_mm  # noqa: F401

# isort: split
# What nearly every tool imports later, some of it only when a registry is first asked.
import mmpretrain.utils
import mmrazor.utils
import sklearn.datasets  # noqa: F401

mmpretrain.utils.register_all_modules(init_default_scope=False)
mmrazor.utils.register_all_modules(init_default_scope=False)


def fork(job):
    """Start the processes of a job; in each of them, return the number of its environment."""
    pids = []
    for number in range(len(job['environments'])):
        pid = os.fork()
        if pid == 0:
            return number
        pids.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    print(json.dumps(codes), flush=True)
    return None


def become(job, number):
    """Make this process what ``python FILE ARGUMENTS`` would be."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    output = os.open(job['output'], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.chdir(job['cwd'])
    os.environ.clear()
    os.environ.update(job['environments'][number])
    sys.argv[:] = job['argv']
    # Behind the file's own folder, what tests share.
    sys.path.insert(0, os.path.dirname(job['argv'][0]))


if __name__ == '__main__':
    # A collection in a fork would copy all that the package has made.
    gc.freeze()
    started = None
    while started is None:
        line = sys.stdin.readline()
        if not line.strip():
            sys.exit()
        job = json.loads(line)
        started = fork(job)
    become(job, started)
    # Exit code and traceback as any program's, but for Python taking itself apart: it would copy
    # all memory that the fork shares.
    try:
        runpy.run_path(sys.argv[0], run_name='__main__')
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if not isinstance(end.code, (int, type(None))):
            print(end.code, file=sys.stderr)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
