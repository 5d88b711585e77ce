"""One caller at a time in a folder."""

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lakd_mm.errors import ConfigError

# How long trainings may take to end whose caller was killed.
PATIENCE = 15.0


@contextmanager
def locked(folder: Path, patience: float = PATIENCE) -> Iterator[int]:
    """Holds ``folder/lock`` for as long as this process, or one that inherits the lock, lives.

    The system gives the lock up with its last holder, so a file left behind by a kill blocks no
    one.

    Args:
        folder (Path): Made if absent.
        patience (float): Seconds to wait for the lock where the process that took it is gone.

    Yields:
        int: The file descriptor to hand on (``pass_fds``) to processes that hold the lock too.

    Raises:
        ConfigError: If another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / 'lock'
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline = time.monotonic() + patience
        while not _take(descriptor):
            holder = _holder(path)
            if _alive(holder) or time.monotonic() > deadline:
                raise ConfigError(
                    f'{folder} is in use by process {holder or "(unknown)"}'
                    + ('' if _alive(holder) else ', which is gone, but its trainings are not')
                    + '. Wait for it, end it, or name another --work-dir.'
                )
            time.sleep(0.2)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f'{os.getpid()}\n'.encode(), 0)
        yield descriptor
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


def _holder(path: Path) -> int:
    text = path.read_text(encoding='utf-8').strip()
    return int(text) if text.isdigit() else 0


def _alive(process: int) -> bool:
    if not process:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
