"""The study: what Optuna keeps of a search, for this worker and others."""

import os
import re
import socket
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lakd_mm.errors import ConfigError

# Seconds between two signs of life of a worker, and after which one without them counts as gone.
HEARTBEAT, GONE = 30, 120


def check_optuna() -> None:
    """Raise a ConfigError if Optuna is not installed."""
    if find_spec('optuna') is None:
        raise ConfigError(
            'the search needs optuna, not installed here: pip install "lakd_mm[tune]", or '
            'pip install optuna'
        )


def make_pruner(name: str, warmup: int) -> Any:
    """Return the pruner of that name, which leaves each trial ``warmup`` epochs at least."""
    from optuna import pruners

    if name == 'none':
        return pruners.NopPruner()
    if name == 'halving':
        return pruners.SuccessiveHalvingPruner(min_resource=warmup)
    return pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=warmup - 1)


def open_study(
    url: str, name: str, direction: str, pruner: Any, settings: Mapping[str, Any]
) -> Any:
    """Open a study, or begin it.

    Args:
        url (str): Of the storage, as SQLAlchemy writes it.
        name (str): Of the study in it.
        direction (str): 'maximize' or 'minimize'.
        pruner (BasePruner): Gives up bad trials.
        settings (Mapping[str, Any]): What has to be the same in every call for this study.

    Raises:
        ConfigError: If the storage cannot be opened, or the study was begun with other settings.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter('ignore', optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings('ignore', 'Heartbeat of storage')
    engine = {}
    with storage_errors(url, opening=True):
        if url.startswith('sqlite:///'):
            path = Path(url.removeprefix('sqlite:///').partition('?')[0])
            path.parent.mkdir(parents=True, exist_ok=True)
            # Workers wait for each other; a timeout in the URL counts.
            engine = {} if 'timeout=' in url else dict(connect_args=dict(timeout=60))
        storage = optuna.storages.RDBStorage(
            url,
            engine_kwargs=engine,
            heartbeat_interval=HEARTBEAT,
            grace_period=GONE,
            heartbeat_stale_trial_callback=_ask_anew,
        )
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            direction=direction,
            load_if_exists=True,
            sampler=optuna.samplers.TPESampler(constant_liar=True),
            pruner=pruner,
        )
        begun = study.user_attrs
        if not begun and not study.trials:
            for key, value in settings.items():
                study.set_user_attr(key, value)
            begun = settings
    for key, value in settings.items():
        if begun.get(key) != value:
            raise ConfigError(
                f'the study {name!r} was begun with another {key} ({begun.get(key)}, now {value}), '
                f'so that their results cannot be compared; give another --study or --work-dir'
            )
    return study


@contextmanager
def storage_errors(url: str, opening: bool = False) -> Iterator[None]:
    """Turn errors of a storage into a ConfigError, without a password; all errors if opening."""
    try:
        yield
    except Exception as error:
        if not (opening or is_storage_error(error)):
            raise
        shown = re.sub(r'://([^:/@]+):[^@]*@', r'://\1:***@', url)
        text = (str(error.__cause__ or error).strip().splitlines() or [''])[0]
        raise ConfigError(
            f'--storage {shown}: {type(error.__cause__ or error).__name__}: {text}. Is the address '
            f'right, its server up, the file free and writable? The same command goes on.'
        ) from None


def is_storage_error(error: BaseException) -> bool:
    """Tell whether an error is one of Optuna's storage or of the data base behind it."""
    from optuna.exceptions import StorageInternalError

    return isinstance(error, StorageInternalError) or type(error).__module__ == 'sqlalchemy.exc'


def worker() -> str:
    """Name this process among all workers."""
    return f'{socket.gethostname()}:{os.getpid()}'


def fail_interrupted(study: Any) -> int:
    """Mark trials of workers that are gone as failed, to be asked anew; return how many."""
    import optuna

    # Of other machines, those without a sign of life.
    optuna.storages.fail_stale_trials(study)
    failed = 0
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):
        host, _, process = trial.user_attrs.get('worker', '').rpartition(':')
        if host == socket.gethostname() and not _alive(int(process)):
            failed += give_up(study, trial.number)
    return failed


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def give_up(study: Any, number: int, anew: bool = True) -> bool:
    """Mark a running trial as failed and have it asked anew; return False if it had ended."""
    import optuna

    try:
        frozen = study.tell(number, state=optuna.trial.TrialState.FAIL)
    except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
        return False
    if anew:
        _ask_anew(study, frozen)
    return True


def _ask_anew(study: Any, trial: Any) -> None:
    if trial.params:
        study.enqueue_trial(trial.params)


def counted(study: Any) -> int:
    """Count the trials that have ended well or are running somewhere."""
    from optuna.trial import TrialState

    return len(
        study.get_trials(False, (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING))
    )


@contextmanager
def heartbeat(study: Any, trials: Sequence[Any]) -> Iterator[None]:
    """Give signs of life of running trials, from a thread."""
    stop = threading.Event()

    def beat():
        while True:
            for trial in trials:
                study._storage.record_heartbeat(trial._trial_id)
            if stop.wait(HEARTBEAT):
                return

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
