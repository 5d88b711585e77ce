"""The types, other than tensors, that a checkpoint of MMEngine may hold.

``torch.load`` reads with ``weights_only=True`` since release 2.6 and refuses every name that is not
on its allow-list. MMEngine stores its log history beside the weights (``HistoryBuffer``, of NumPy
arrays), so without this module none of its checkpoints can be resumed.

The real classes must not be on the list. ``numpy.dtype`` takes its memory layout from the file, so
the file could turn numbers into pointers; ``getattr`` reaches everything. So each name gets a
stand-in that checks its arguments and builds plain data. For anything else it raises
``UnpicklingError``, as ``torch.load`` does.
"""

import re
from pickle import UnpicklingError
from typing import Callable

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from torch import _weights_only_unpickler

# Booleans, numbers and strings of a fixed size: no Python objects, no fields.
PLAIN_DTYPE = re.compile(r'[biufcSU]\d+')
STATISTICS = ('min', 'max', 'mean', 'current')


def check(condition: bool, message: str) -> None:
    """Refuse the checkpoint unless ``condition`` holds."""
    if not condition:
        raise UnpicklingError(f'refused: {message}')


class PlainDtype:
    """Stand in for ``numpy.dtype``: a data type without Python objects, fields or metadata."""

    def __init__(self, code: str, align: bool = False, copy: bool = False) -> None:
        plain = isinstance(code, str) and PLAIN_DTYPE.fullmatch(code) is not None
        check(plain, f'numpy.dtype of {code!r}, which is not a plain number or string')
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        _, byte_order, *structure = state[:5]
        check(structure == [None] * 3, f'numpy.dtype with the structure {structure}')
        self.dtype = self.dtype.newbyteorder(byte_order)


class PlainArray(np.ndarray):
    """Stand in for ``numpy.ndarray``, and become one when it is saved again."""

    def __new__(cls, *args) -> 'PlainArray':
        """Refuse the direct call: NumPy's own pickles use ``reconstruct``."""
        raise UnpicklingError('refused: a call of numpy.ndarray')

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, is_fortran, data = state
        check(isinstance(dtype, PlainDtype), 'numpy.ndarray of an unknown data type')
        check(isinstance(data, bytes), 'numpy.ndarray whose data is not bytes')
        # A tensor may share the memory, so it is never freed.
        check(self.size == 0, 'numpy.ndarray filled twice')
        super().__setstate__((1, shape, dtype.dtype, is_fortran, data))

    def __reduce__(self) -> tuple:
        return self.view(np.ndarray).__reduce__()


def reconstruct(array_type: type, shape: tuple, code: bytes) -> PlainArray:
    """Stand in for NumPy's ``_reconstruct``: an empty array, which the file then fills."""
    check(array_type is PlainArray, f'an array of the class {array_type!r}')
    return np.ndarray.__new__(PlainArray, 0, np.int8)


def scalar(dtype: PlainDtype, data: bytes) -> np.generic:
    """Stand in for NumPy's ``scalar``."""
    check(isinstance(dtype, PlainDtype), 'a NumPy scalar of an unknown data type')
    check(isinstance(data, bytes), 'a NumPy scalar whose data is not bytes')
    return np.frombuffer(data, dtype.dtype, count=1)[0]


class PlainHistory(HistoryBuffer):
    """Stand in for ``HistoryBuffer``, and become one once it is filled."""

    def __init__(self, *args) -> None:
        raise UnpicklingError('refused: a call of HistoryBuffer')

    def __setstate__(self, state: dict) -> None:
        self.__class__ = HistoryBuffer
        for name in ('_log_history', '_count_history'):
            check(isinstance(state.get(name), PlainArray), f'HistoryBuffer.{name} is no array')
            setattr(self, name, state[name].view(np.ndarray))
        check(isinstance(state.get('max_length'), int), 'HistoryBuffer.max_length is no number')
        self.max_length = state['max_length']
        # Upstream would take the statistics from the file, for all buffers of the process.
        self._set_default_statistics()


def empty_bytes(*args) -> bytes:
    """Stand in for ``bytes``: no data. Of a number, they would be as large as it."""
    check(not args, 'a call of bytes')
    return b''


def written_bytearray(*args) -> bytearray:
    """Stand in for ``bytearray``, of bytes that the file holds; see :func:`empty_bytes`."""
    check(not any(isinstance(arg, int) for arg in args), 'a bytearray of a number')
    return bytearray(*args)


def get_statistic(owner: type, name: str) -> Callable:
    """Stand in for ``getattr``: return the statistics of ``HistoryBuffer`` and nothing else."""
    owner_name = getattr(owner, '__name__', type(owner).__name__)
    allowed = owner is PlainHistory and isinstance(name, str) and name in STATISTICS
    check(allowed, f'builtins.getattr({owner_name}, {name!r})')
    return getattr(HistoryBuffer, name)


STAND_INS = {
    'builtins.bytes': empty_bytes,
    'builtins.getattr': get_statistic,
    'mmengine.logging.history_buffer.HistoryBuffer': PlainHistory,
    'numpy.dtype': PlainDtype,
    'numpy.ndarray': PlainArray,
    # NumPy 1 and NumPy 2.
    'numpy.core.multiarray._reconstruct': reconstruct,
    'numpy._core.multiarray._reconstruct': reconstruct,
    'numpy.core.multiarray.scalar': scalar,
    'numpy._core.multiarray.scalar': scalar,
}


def apply() -> None:
    """Add the stand-ins to the allow-list of ``torch.load`` (needed since torch 2.6)."""
    torch.serialization.add_safe_globals([(value, name) for name, value in STAND_INS.items()])
    # Torch's own list comes first, and is made once.
    own = _weights_only_unpickler._get_allowed_globals()
    if own.get('builtins.bytearray') is bytearray:
        own['builtins.bytearray'] = written_bytearray
