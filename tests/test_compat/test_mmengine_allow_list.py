import argparse
import collections
import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from lakd_mm.compat import mmengine_allow_list as allow_list

# NumPy 2 and NumPy 1.
RECONSTRUCT = (np._core if hasattr(np, '_core') else np.core).multiarray._reconstruct


class Call:
    """Pickles as a call of ``function``, which a reader that trusts the file would make."""

    def __init__(self, function, *args, state=None):
        self.reduced = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.reduced

    def __call__(self):
        """Lets the result of one call be called by another."""


def numbers_that_are_pointers():
    """An array of numbers whose data type says, behind NumPy's back, that they are objects."""
    state = (3, '|', None, ('a',), {'a': (np.dtype('O'), 0)}, 8, 1, 0)
    dtype = Call(np.dtype, 'V8', False, True, state=state)
    array_state = (1, (1,), dtype, False, b'A' * 8)
    return Call(RECONSTRUCT, np.ndarray, (0,), b'b', state=array_state)


def poisoned_history():
    history = HistoryBuffer([1.0], [1])
    history._log_history = [1.0]
    return history


@pytest.fixture
def load(tmp_path):
    """Saves an object as a checkpoint and reads it with ``torch.load`` as it is by default."""

    def save_and_load(value):
        torch.save({'value': value}, tmp_path / 'checkpoint.pth')
        return torch.load(tmp_path / 'checkpoint.pth')['value']

    return save_and_load


@pytest.mark.parametrize(
    'value, refused',
    [
        (Call(os.system, 'touch hacked'), 'posix.system'),
        (Call(eval, 'open("hacked", "w")'), 'GLOBAL eval'),
        (Call(getattr, collections.OrderedDict, 'fromkeys'), "getattr(OrderedDict, 'fromkeys')"),
        (Call(getattr, 'text', 'format'), "getattr(str, 'format')"),
        (Call(getattr, HistoryBuffer, '__init__'), "getattr(PlainHistory, '__init__')"),
        (Call(getattr, HistoryBuffer, '__class__'), "getattr(PlainHistory, '__class__')"),
        (Call(getattr, HistoryBuffer, 'register_statistics'), "'register_statistics')"),
        (
            Call(getattr, Call(getattr, HistoryBuffer, 'mean'), '__globals__'),
            "getattr(mean, '__globals__')",
        ),
        (Call(Call(getattr, HistoryBuffer, 'mean'), 'x'), 'Trying to call reduce'),
        (Call(HistoryBuffer), 'a call of HistoryBuffer'),
        (poisoned_history(), 'HistoryBuffer._log_history is no array'),
        (Call(np.ndarray, 4), 'a call of numpy.ndarray'),
        (numbers_that_are_pointers(), "numpy.dtype of 'V8'"),
        (np.array([{}], dtype=object), "numpy.dtype of 'O8'"),
        (np.zeros(1, dtype=[('a', 'i4')]), "numpy.dtype of 'V4'"),
        (Call(np.dtype, 'f8', state=(3, '<', None, ('a',), {}, 8, 1, 0)), 'with the structure'),
        (Call(RECONSTRUCT, dict, (0,), b'b'), 'dict'),
        (Call(bytes, 10**12), 'a call of bytes'),
        (Call(bytearray, 10**12), 'a bytearray of a number'),
        (argparse.Namespace(lr=1), 'argparse.Namespace'),
    ],
)
def test_more_than_data_is_refused(load, tmp_path, monkeypatch, value, refused):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(pickle.UnpicklingError) as error:
        load(value)
    assert refused in str(error.value)
    assert not os.path.exists('hacked')


def test_history_survives(load):
    history = HistoryBuffer([1.0, 2.0, 6.0], [1, 1, 1], max_length=7)
    loaded = load(history)
    assert type(loaded) is HistoryBuffer
    assert [type(data) for data in loaded.data] == [np.ndarray] * 2
    assert loaded.statistics('mean') == 3.0 and loaded.statistics('max', 2) == 6.0
    assert loaded.max_length == 7
    loaded.update(3.0)
    assert loaded.current() == 3.0
    assert load(HistoryBuffer()).data[0].shape == (0,)


def test_statistics_are_not_taken_from_the_file(load):
    history = HistoryBuffer([1.0], [1])
    history._statistics_methods = {'mean': collections.OrderedDict}
    mean = HistoryBuffer._statistics_methods['mean']
    assert load(history).statistics('mean') == 1.0
    assert HistoryBuffer._statistics_methods['mean'] is mean is HistoryBuffer.mean


@pytest.mark.parametrize(
    'array',
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        np.arange(3, dtype='>i4'),
        np.array([True, False]),
        np.array([1 + 2j], dtype=np.complex64),
        np.array(['a', 'bcd']),
        np.array([b'a', b'bcd']),
        np.array(5, dtype=np.uint8),
        np.zeros((0, 3), dtype=np.float16),
    ],
    ids=lambda array: str(array.dtype),
)
def test_arrays_of_plain_data_survive(load, array):
    loaded = load(array)
    # NumPy reads into the byte order of the machine.
    assert loaded.dtype == array.dtype.newbyteorder('=') and loaded.shape == array.shape
    assert np.array_equal(loaded, array)
    # Saved again, they need nothing of ours to be read.
    assert b'lakd_mm' not in pickle.dumps(loaded)
    assert type(pickle.loads(pickle.dumps(loaded, protocol=2))) is np.ndarray


@pytest.mark.parametrize('scalar', [np.float64(0.1), np.int32(-3), np.bool_(True), np.str_('a')])
def test_scalars_survive(load, scalar):
    loaded = load(scalar)
    assert type(loaded) is type(scalar) and loaded == scalar


def test_names_of_numpy_1_are_known():
    for name in ('_reconstruct', 'scalar'):
        stand_ins = [
            allow_list.STAND_INS[f'numpy.{core}.multiarray.{name}'] for core in ('core', '_core')
        ]
        assert stand_ins[0] is stand_ins[1]


def test_memory_shared_with_a_tensor_is_kept():
    array = allow_list.reconstruct(allow_list.PlainArray, (0,), b'b')
    state = (1, (2,), allow_list.PlainDtype('f8'), False, np.ones(2).tobytes())
    array.__setstate__(state)
    tensor = torch.from_numpy(array)
    with pytest.raises(pickle.UnpicklingError, match='filled twice'):
        array.__setstate__(state)
    assert tensor.tolist() == [1.0, 1.0]


def test_nothing_that_runs_code_is_on_the_list(run_code):
    printed = run_code("""
        import lakd_mm
        import torch

        for entry in torch.serialization.get_safe_globals():
            if isinstance(entry, tuple):
                print(entry[1], entry[0].__module__)
            else:  # what torch itself adds when it is imported
                assert entry.__module__.startswith('torch.'), entry
    """)
    ours = 'lakd_mm.compat.mmengine_allow_list'
    expected = {name: ours for name in allow_list.STAND_INS}
    assert dict(line.split() for line in printed.splitlines()) == expected
