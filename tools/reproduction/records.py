"""Reading and writing what a run leaves behind, so that a crash at any moment does no harm."""

import json
import os
from pathlib import Path
from typing import Any, Optional

VERSION = 1
# What a result must have to count as one.
NEEDED = {'version', 'run', 'metrics', 'seconds', 'hardware'}


def write_json(path: Path, content: Any) -> None:
    """Write a whole file or none: beside it first, then in its place."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + '\n')


def write_text(path: Path, text: str) -> None:
    """As :func:`write_json`, for text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f'{path.name}.{os.getpid()}.tmp')
    with open(beside, 'w', encoding='utf-8') as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, path)


def read_json(path: Path) -> Optional[Any]:
    """Read a file; None if it is absent or cut short."""
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None


def read_result(path: Path) -> Optional[dict]:
    """Read the result of a run; None if it is absent, cut short or of another version."""
    result = read_json(path)
    whole = isinstance(result, dict) and result.keys() >= NEEDED and result['version'] == VERSION
    return result if whole else None


def read_epochs(path: Path) -> list[dict]:
    """Read the lines of ``mmrazor.EpochRecordHook``, in the order of the epochs, from 1.

    Where a training went on from an earlier epoch, the later lines count. A line that was cut short
    is left out, and so is whatever comes behind a gap.
    """
    lines = path.read_text(encoding='utf-8', errors='replace') if path.exists() else ''
    epochs: list[dict] = []
    for line in lines.splitlines():
        try:
            record = json.loads(line)
            epoch = record['epoch']
        except (ValueError, KeyError, TypeError):
            continue
        epochs = epochs[: epoch - 1]
        if len(epochs) == epoch - 1:
            epochs.append(record)
    return epochs


def best_epoch(epochs: list[dict], metric: str = 'accuracy/top1') -> dict:
    """Return the first epoch with the highest value of a metric."""

    def value(epoch: dict) -> float:
        found = epoch['metrics'].get(metric)
        return float('-inf') if found is None else found

    return max(epochs, key=value)
