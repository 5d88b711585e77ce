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


def best_epoch(epochs: list[dict], metric: str = 'accuracy/top1') -> dict:
    """Return the first epoch with the highest value of a metric."""

    def value(epoch: dict) -> float:
        found = epoch['metrics'].get(metric)
        return float('-inf') if found is None else found

    return max(epochs, key=value)
