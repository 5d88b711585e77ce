"""Repairs of MMEngine's reading of checkpoints; :mod:`.mmengine_whole` has those of writing."""

import errno
import functools
import inspect
import os.path as osp
import re
import struct
from pickle import UnpicklingError
from typing import Any, Callable, Optional, Union

import mmengine.runner.checkpoint
import torch
from mmengine.runner import CheckpointLoader

from ..errors import (
    DamagedCheckpointError,
    DivergedError,
    MissingCheckpointError,
    RefusedCheckpointError,
    UnreachableCheckpointError,
)
from .mmengine_whole import changed, oversized, whole_beside

# Errors of torch.load for bytes that are not a checkpoint, or only a part of one.
DAMAGE = (
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OverflowError,
    RecursionError,
    TypeError,
    UnpicklingError,
    ValueError,
    struct.error,
)
DAMAGE_TEXT = re.compile(
    r'PytorchStreamReader|inline_container|[Cc]orrupt|magic number|unexpected EOF|record size|'
    r"[Ss]torage|can't allocate memory|TorchScript|to be true, but got"
)
# How torch.load and our stand-ins name a type that is not on the allow-list.
REFUSAL = re.compile(r'GLOBAL (\S+) |refused: (.+)|(Can only .+|Trying to call .+)')


def missing(filename: str) -> MissingCheckpointError:
    """Return the error for a checkpoint that does not exist."""
    return MissingCheckpointError(
        f"checkpoint '{filename}' does not exist. Check the path that load_from, --resume, "
        'teacher_ckpt or init_cfg.checkpoint names.'
    )


def unreachable(filename: str, error: OSError) -> UnreachableCheckpointError:
    """Return the error for a checkpoint that cannot be downloaded."""
    return UnreachableCheckpointError(
        f"checkpoint '{filename}' cannot be downloaded ({error}). Download it where there is a "
        'connection, and name the local file instead of the address.'
    )


def refused(filename: str, what: str) -> RefusedCheckpointError:
    """Return the error for a checkpoint that holds more than data."""
    return RefusedCheckpointError(
        f"checkpoint '{filename}' is refused: it holds more than data, {what}, and reading it "
        'could run code. Save it again with only tensors, numbers, strings, lists and dicts, such '
        "as torch.save(model.state_dict(), 'weights.pth'). If you trust its source, set the "
        'environment variable TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 to read it as it is.'
    )


def damaged(filename: str, error: Union[Exception, str]) -> DamagedCheckpointError:
    """Return the error for a file that is truncated, changed or is not a checkpoint at all."""
    advice = 'Copy or download it again, or name an earlier checkpoint.'
    if re.match('https?://', filename):
        cached = osp.join(torch.hub.get_dir(), 'checkpoints', osp.basename(filename))
        advice = f"Delete '{cached}' to download it again."
    elif good := whole_beside(filename):
        advice = f"The newest whole one beside it is '{good}': name that."
    if isinstance(error, str):
        return DamagedCheckpointError(f"checkpoint '{filename}' is damaged: {error}. {advice}")
    # Leave torch's text out: for every UnpicklingError it advises to switch the protection off.
    cause = '' if isinstance(error, UnpicklingError) else f' ({type(error).__name__}: {error})'
    return DamagedCheckpointError(
        f"checkpoint '{filename}' cannot be read: the file is truncated, or no checkpoint{cause}. "
        + advice
    )


def checked(filename: str, checkpoint: Any) -> Any:
    """Return what a file holds, without the text that a resuming runner would run as Python.

    That is ``meta['config']``, in which all releases look for the number of GPUs.

    Raises:
        DamagedCheckpointError: If it holds no dict, or a tensor that is larger than the file.
    """
    if not isinstance(checkpoint, dict):
        raise damaged(filename, f'it holds a {type(checkpoint).__name__}, no dict')
    if isinstance(checkpoint.get('meta'), dict):
        checkpoint['meta'].pop('config', None)
    size = osp.getsize(filename) if osp.isfile(filename) else float('inf')
    left, seen = [checkpoint], set()
    while left:
        value = left.pop()
        if isinstance(value, torch.Tensor):
            # Strides of 0 make much of little.
            if value.layout == torch.strided and value.nbytes > size and not value.is_meta:
                raise damaged(filename, f'a tensor of it claims {value.nbytes:,} bytes')
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            left.extend(value.values() if isinstance(value, dict) else value)
    return checkpoint


def refuse_nan(filename: str, checkpoint: object) -> None:
    """Raise an error for weights that are not numbers: those of a training that had diverged."""
    weights = checkpoint.get('state_dict', checkpoint) if isinstance(checkpoint, dict) else {}
    if not isinstance(weights, dict):
        return
    wrong = [
        name
        for name, value in weights.items()
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.isnan().any()
    ]
    if wrong:
        raise DivergedError(
            f"checkpoint '{filename}' holds what is not a number (NaN) in {len(wrong)} of "
            f'{len(weights)} tensors, first in {wrong[0]}: its training had diverged. Name an '
            f'earlier one.'
        )


def distrust_downloads() -> None:
    """Read a download like a local file: tensors and data only, unless the user lifts the rule.

    ``torch.hub``, MMEngine's downloader, trusts every download (all releases to 2.11).
    """
    load_url = mmengine.runner.checkpoint.load_url
    if inspect.signature(load_url).parameters['weights_only'].default is False:
        mmengine.runner.checkpoint.load_url = functools.partial(load_url, weights_only=None)


def explain_errors() -> None:
    """Raise one clear error for each checkpoint that cannot be loaded, whoever asks for it.

    Every path of MMEngine, MMPretrain and MMRazor (``resume``, ``load_from``, ``load_checkpoint``,
    ``Pretrained``, ``teacher_ckpt``; local files and addresses) uses this method.
    """
    load = CheckpointLoader.load_checkpoint.__func__

    @functools.wraps(load)
    def load_or_explain(
        cls: type,
        filename: str,
        map_location: Union[str, torch.device, Callable, None] = None,
        logger: Optional[str] = 'current',
    ) -> dict:
        filename = str(filename)
        if why := changed(filename) or oversized(filename):
            raise damaged(filename, why)
        try:
            checkpoint = load(cls, filename, map_location, logger)
        except FileNotFoundError:
            raise missing(filename) from None
        except DAMAGE as error:
            refusal = isinstance(error, UnpicklingError) and REFUSAL.search(str(error))
            if refusal:
                raise refused(filename, next(filter(None, refusal.groups()))) from None
            raise damaged(filename, error) from None
        except RuntimeError as error:
            if DAMAGE_TEXT.search(str(error)):
                raise damaged(filename, error) from None
            raise
        except OSError as error:
            if '://' in filename:
                raise unreachable(filename, error) from error
            if error.errno == errno.EINVAL:  # a seek before the start of a short file
                raise damaged(filename, error) from None
            raise
        checkpoint = checked(filename, checkpoint)
        refuse_nan(filename, checkpoint)
        return checkpoint

    CheckpointLoader.load_checkpoint = classmethod(load_or_explain)


def apply() -> None:
    """Apply every repair of this module."""
    distrust_downloads()
    explain_errors()
