"""One caller at a time in a folder."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import lock_descriptor

from lakd_mm.errors import ConfigError

# Seconds that trainings may take to end whose caller was killed.
PATIENCE = 15.0


@contextmanager
def locked(folder: Path, patience: float = PATIENCE) -> Iterator[int]:
    """Hold ``folder/lock`` for as long as this process, or one that inherits the lock, lives.

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
    deadline = time.monotonic() + patience
    with open(folder / 'lock', 'a+', encoding='utf-8') as file:
        # A FileLock would release it for those who inherited it, too.
        while not lock_descriptor(file.fileno(), blocking=False):
            file.seek(0)
            holder = file.read().strip()
            alive = _alive(holder)
            if alive or time.monotonic() > deadline:
                gone = '' if alive else ', which is gone, but its trainings are not'
                raise ConfigError(
                    f'{folder} is in use by process {holder or "(unknown)"}{gone}. Wait for it, '
                    'end it, or name another --work-dir.'
                )
            time.sleep(0.2)
        file.truncate(0)
        file.write(f'{os.getpid()}\n')
        file.flush()
        yield file.fileno()


def _alive(process: str) -> bool:
    try:
        os.kill(int(process), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        pass
    return True
