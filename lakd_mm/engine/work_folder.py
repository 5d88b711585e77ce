"""The work folder of a training: one run at a time, and one error when it cannot be written."""

import errno
import json
import logging
import os
import os.path as osp
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from glob import escape, glob
from pathlib import Path
from typing import Union

from filelock import FileLock, Timeout

from .config_checks import ConfigError

LOCK, HOLDER = '.lock', '.holder.json'
# Errors of the disk itself, whatever file is written.
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.ESTALE)


@contextmanager
def work_folder(folder: str, rank: int = 0) -> Iterator[None]:
    """Lock a work folder while a training writes into it; the lock ends with the process.

    Files that a killed run has left half written, ``*.partial``, are deleted.

    Args:
        folder (str): The folder; it is made if it does not exist.
        rank (int): Only rank 0 locks. Defaults to 0.

    Raises:
        ConfigError: If another run holds the folder, or writing into it fails now or later.
    """
    handle_error = logging.Handler.handleError
    logging.Handler.handleError = _raise_of_disk(handle_error)
    lock = FileLock(osp.join(folder, LOCK))
    holder = osp.join(folder, HOLDER)
    held = False
    refuse_file(folder)
    try:
        os.makedirs(folder, exist_ok=True)
        if rank == 0:
            held = _acquire(lock, folder)
            me = dict(pid=os.getpid(), host=socket.gethostname(), since=time.strftime('%F %T'))
            Path(holder).write_text(json.dumps(me))
            for path in glob(osp.join(escape(folder), '*.partial')):
                os.remove(path)
        yield
    except OSError as error:
        if isinstance(error, ConfigError) or not _of_folder(error, folder):
            raise
        raise ConfigError(describe(folder, error)) from None
    finally:
        logging.Handler.handleError = handle_error
        if held:
            # Before the release: afterwards the file may be the next holder's.
            Path(holder).unlink(missing_ok=True)
            lock.release()


def refuse_file(folder: Union[str, Path], option: str = '--work-dir'):
    """Raise a ConfigError if a folder cannot be made because it, or one above it, is a file."""
    for path in (Path(folder), *Path(folder).parents):
        if path.exists() and not path.is_dir():
            where = 'is a file' if path == Path(folder) else f'is below {path}, a file'
            raise ConfigError(f'folder {folder} {where}; name another with {option}')


def _acquire(lock: FileLock, folder: str) -> bool:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        try:
            who = json.loads(Path(folder, HOLDER).read_text())
            who = f'process {who["pid"]} on {who["host"]}, since {who["since"]}'
        except (OSError, ValueError, KeyError):
            who = 'which has left no name'
        raise ConfigError(
            f'work folder {folder} is in use by another training: {who}. Wait for it or stop it, '
            f'or give this one a folder of its own with --work-dir.'
        ) from None
    except NotImplementedError:
        print(f'{folder}: its file system has no locks; see to it yourself that one run is in it.')
        return False
    return True


def _of_folder(error: OSError, folder: str) -> bool:
    inside = str(error.filename or '')
    inside = inside and osp.abspath(inside).startswith(osp.abspath(folder) + os.sep)
    first = osp.abspath(error.filename) if isinstance(error.filename, str) else None
    at_start = bool(first) and osp.abspath(folder).startswith(first)
    return error.errno in DISK or bool(inside) or at_start


def describe(folder: str, error: OSError) -> str:
    """Return the message for a failed write: what happened, what is left, what to do."""
    where = error.filename or folder
    if not osp.isdir(folder) and not osp.exists(folder) and error.errno == errno.ENOENT:
        return (
            f'work folder {folder} is gone: something deleted or moved it, or its disk was taken '
            f'away, while the training wrote {where}. Bring it back, then go on with --resume.'
        )
    return (
        f'{where} cannot be written: {error.strerror}. What was saved before is whole. Free space '
        f'or change the rights, or copy the folder elsewhere and name it with --work-dir; then go '
        f'on with --resume.'
    )


def _raise_of_disk(handle_error):
    """Let a failed write of the log end the run, instead of printing a traceback for each line."""

    def handle(self: logging.Handler, record: logging.LogRecord):
        error = sys.exc_info()[1]
        if isinstance(error, OSError) and error.errno in DISK:
            raise error
        handle_error(self, record)

    return handle


def rank_of(launcher: str) -> int:
    """Return this process's rank from the launcher's variables, before processes connect."""
    names = dict(pytorch='RANK', slurm='SLURM_PROCID', mpi='OMPI_COMM_WORLD_RANK')
    return int(os.environ.get(names.get(launcher, ''), 0))
