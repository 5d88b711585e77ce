"""Files of others: they load or give an error; nothing of them runs, and nothing else is touched.

``FLIPS=1000 pytest tests/test_hostile_files.py`` tries as many damaged checkpoints.
"""

import contextlib
import json
import os
import random
import signal
import struct
import sys
import zipfile
import zlib
from argparse import ArgumentParser

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.runner.checkpoint import CheckpointLoader
from mmrazor.registry import DATASETS
from networks import cifar_resnet_cfg
from small_run import small_runner, validation

from lakd_mm.compat.mmengine_whole import EMPTY_END, LENGTH, SEALED_END, fault
from lakd_mm.engine import ConfigError, export_student
from lakd_mm.engine.command_line import OptionsAction
from lakd_mm.engine.dumped_config import config_in_checkpoint
from lakd_mm.engine.hooks.epoch_record_hook import read_epochs
from lakd_mm.errors import DamagedCheckpointError
from lakd_mm.evaluation.corrupted_files import CorruptedFiles
from lakd_mm.models.teachers.kept_teacher import _mapped
from lakd_mm.visualization.markdown import html_page
from reproduction.runs import read_json

FLIPS = int(os.environ.get('FLIPS', 60))
RUNS_CODE = ('os.system', 'os.exec', 'os.fork', 'os.posix_spawn', 'subprocess.Popen', 'os.remove')
_watched: list = []


def _watch(event, args):
    if _watched and (event in RUNS_CODE or event.startswith('socket.')):
        _watched.append((event, args))


sys.addaudithook(_watch)


@contextlib.contextmanager
def nothing_runs(seconds=20):
    """Fails if what is inside runs a program, connects, deletes or hangs."""

    def hangs(*_):
        raise AssertionError('it hangs')

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(seconds)
    _watched[:] = ['watching']
    try:
        yield
    finally:
        found, _watched[:] = _watched[1:], []
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert found == []


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """A checkpoint with everything in it: weights, averages, optimizer, schedulers, log."""
    folder = tmp_path_factory.mktemp('small') / 'run'
    small_runner(
        folder,
        custom_hooks=[dict(type='EMAHook')],
        param_scheduler=[dict(type='LinearLR', by_epoch=False, end=2)],
    ).train()
    return folder / 'epoch_1.pth'


def without_digest(path):
    """The bytes of a checkpoint as MMEngine alone writes them."""
    content = path.read_bytes()
    assert content[-LENGTH - 2 : -LENGTH] == SEALED_END
    return content[: -LENGTH - 2] + EMPTY_END


def use(path, runner):
    """Read a checkpoint and put in place all that a resumed run would."""
    checkpoint = CheckpointLoader.load_checkpoint(str(path), 'cpu', logger='silent')
    with contextlib.suppress(Exception):
        runner.message_hub.load_state_dict(checkpoint['message_hub'])
    with contextlib.suppress(Exception):
        runner.optim_wrapper.load_state_dict(checkpoint['optimizer'])
    with contextlib.suppress(Exception):
        runner.model.load_state_dict(checkpoint['state_dict'], strict=False)


def test_flipped_bytes_load_or_are_an_error(checkpoint, tmp_path):
    """Without the digest, which would notice each of them."""
    whole = without_digest(checkpoint)
    path = tmp_path / 'flipped.pth'
    path.write_bytes(whole)
    with zipfile.ZipFile(path) as archive:
        pickle = next(part for part in archive.infolist() if part.filename.endswith('data.pkl'))
        # Behind the header of the part, and the central directory at the end.
        places = [
            (0, len(whole)),
            (pickle.header_offset, pickle.header_offset + 60 + pickle.file_size),
            (archive.start_dir, len(whole)),
        ]
    runner = small_runner(tmp_path / 'use')
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    outcomes = dict(loads=0, error=0)
    for number in range(FLIPS):
        rng = random.Random(number)
        flipped = bytearray(whole)
        for _ in range(rng.choice([1, 1, 2, 8])):
            flipped[rng.randrange(*rng.choice(places))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        with nothing_runs():
            fault(str(path))
            try:
                use(path, runner)
                outcomes['loads'] += 1
            except ConfigError:
                outcomes['error'] += 1
    print(outcomes)
    assert outcomes['error'] and sum(outcomes.values()) == FLIPS


class Call:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.reduced = (function, args)

    def __reduce__(self):
        return self.reduced


def huge(size, stride):
    """A tensor that claims more than its storage has."""
    storage = torch.ones(4)._typed_storage()
    return Call(torch._utils._rebuild_tensor_v2, storage, 0, size, stride, False, {})


def rewritten(path, change, **options):
    """The parts of an archive, changed."""
    with zipfile.ZipFile(path) as archive:
        parts = {part: archive.read(part) for part in archive.namelist()}
    with zipfile.ZipFile(path, 'w', **options) as archive:
        for name, content in parts.items():
            archive.writestr(name, change(name, content))


def claim(name, content):
    """Have the pickle say that a storage has 250 billion numbers."""
    if not name.endswith('data.pkl'):
        return content
    count = b'\x8a\x06' + (10**12 // 4).to_bytes(6, 'little')
    assert content.count(b'K\x04t') == 1
    return content.replace(b'K\x04t', count + b't')


@pytest.mark.parametrize(
    ('value', 'change', 'message'),
    [
        (huge((10**12 // 4,), (1,)), None, 'cannot be read'),
        (huge((10**12 // 4,), (0,)), None, 'a tensor of it claims 1,000,000,000,000 bytes'),
        (torch.ones(4), claim, 'does not match expected size'),
        (Call(bytes, 10**12), None, 'a call of bytes'),
        (Call(bytearray, 10**12), None, 'a bytearray of a number'),
    ],
)
def test_a_checkpoint_takes_no_more_memory_than_it_has_bytes(tmp_path, value, change, message):
    path = tmp_path / 'huge.pth'
    torch.save(dict(value=value), path)
    if change:
        rewritten(path, change)
    with nothing_runs(), pytest.raises(ConfigError, match=message):
        CheckpointLoader.load_checkpoint(str(path), 'cpu', logger='silent')


def test_a_compressed_archive_is_not_opened(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(value=torch.zeros(10**6)), path)
    rewritten(path, lambda _, content: content, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(DamagedCheckpointError, match='its parts are compressed'):
        CheckpointLoader.load_checkpoint(str(path), 'cpu', logger='silent')
    assert 'compressed' in fault(str(path))


@pytest.mark.parametrize('part', ['version', 'byteorder', 'data.pkl', 'data/0', '.format'])
def test_a_part_that_is_not_there(tmp_path, part):
    """One bit of a name is enough, in the archive's directory and in front of the part."""
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(value=torch.ones(4)), path)
    content = path.read_bytes()
    name = f'epoch_1/{part}'.encode()
    assert content.count(name) == 2
    path.write_bytes(content.replace(name, name[:-1] + bytes([name[-1] ^ 1])))
    try:
        value = CheckpointLoader.load_checkpoint(str(path), 'cpu', logger='silent')['value']
    except DamagedCheckpointError:
        assert part in ('version', 'data.pkl', 'data/0')
    else:
        assert torch.equal(value, torch.ones(4))


def test_what_is_no_dict_is_no_checkpoint(tmp_path):
    torch.save([1], tmp_path / 'list.pth')
    with pytest.raises(DamagedCheckpointError, match='it holds a list, no dict'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'list.pth'), 'cpu', logger='silent')


def test_a_resumed_checkpoint_runs_no_text_and_deletes_nothing_elsewhere(checkpoint, tmp_path):
    """MMEngine runs meta['config'], and deletes the file or folder that was the best so far."""
    saved = torch.load(checkpoint)
    victim = tmp_path / 'victim'
    victim.mkdir()
    saved['meta']['config'] = f"open({str(tmp_path / 'ran')!r}, 'w')"
    info = saved['message_hub']['runtime_info']
    info.update(best_ckpt=str(victim), best_score=-1.0, keep_ckpt_ids=['/../../victim', 1])
    saved['message_hub']['resumed_keys'].update(dict.fromkeys(info, True))
    (tmp_path / 'run').mkdir()
    torch.save(saved, tmp_path / 'run' / 'epoch_1.pth')
    runner = small_runner(
        tmp_path / 'run',
        epochs=2,
        resume=True,
        load_from=str(tmp_path / 'run' / 'epoch_1.pth'),
        checkpoint=dict(save_best='accuracy/top1', max_keep_ckpts=1),
        **validation(),
        custom_hooks=[dict(type='EMAHook')],
        param_scheduler=[dict(type='LinearLR', by_epoch=False, end=2)],
    )
    runner.train()
    assert victim.is_dir() and not (tmp_path / 'ran').exists()
    assert [path.name for path in (tmp_path / 'run').glob('epoch_*')] == ['epoch_2.pth']
    assert len(list((tmp_path / 'run').glob('best_*'))) == 1


STUDENT = dict(type='mmrazor.LAKD', architecture=cifar_resnet_cfg(8), teacher=cifar_resnet_cfg(8))


@pytest.mark.parametrize(
    ('config', 'message'),
    [
        (dict(custom_imports=dict(imports=['evil'])), "custom_imports of 'evil'"),
        (dict(architecture=dict(type='evil')), "type='evil'.*not registered"),
        (dict(architecture=dict(type='os.system', command='touch ran')), "type='os.system'"),
        (dict(architecture=dict(type='mmengine.dump', obj={}, file='ran.json')), 'not registered'),
        (dict(architecture=dict(cfg_path='mmpretrain::../../../evil.py')), 'cfg_path='),
        (dict(architecture=dict(cifar_resnet_cfg(8), trust_remote_code=True)), 'trust_remote'),
    ],
)
def test_the_config_in_a_checkpoint_runs_nothing(tmp_path, monkeypatch, config, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / 'evil.py').write_text("open('ran', 'w')\n")
    values = dict(model=dict(STUDENT, **{k: v for k, v in config.items() if k in STUDENT}))
    values.update({k: v for k, v in config.items() if k not in STUDENT})
    text = ''.join(f'{key} = {value!r}\n' for key, value in values.items())
    state = {'architecture.head.fc.bias': torch.zeros(10)}
    torch.save(dict(meta=dict(cfg=text), state_dict=state), 'student.pth')
    with nothing_runs(), pytest.raises(ConfigError, match=message):
        export_student('student.pth', 'out.pth')
    left = {path.name for path in tmp_path.iterdir()} - {'evil.py', 'student.pth', '__pycache__'}
    assert left == set()


plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text())
values = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner), st.tuples(inner, inner), st.dictionaries(st.text(), inner)
    ),
    max_leaves=20,
)


@settings(max_examples=FLIPS, deadline=None, derandomize=True)
@given(values)
def test_values_of_a_dumped_config_are_read_as_they_are(value):
    text = f'model = dict(type="a", key={value!r})'
    try:
        found = config_in_checkpoint(dict(meta=dict(cfg=text)), 'a.pth')
    except ConfigError:
        # MMEngine's own keys, such as _delete_, and inf as it is written by repr.
        assert '_' in text or 'inf' in text
        return
    assert found.to_dict()['model']['key'] == value


@settings(max_examples=FLIPS, deadline=None, derandomize=True)
@given(st.one_of(st.text(), values.map(repr), st.just('(' * 3000), st.just('model = ' + '[' * 200)))
def test_any_text_as_a_dumped_config_is_read_or_refused(text):
    with nothing_runs(), contextlib.suppress(ConfigError):
        config_in_checkpoint(dict(meta=dict(cfg=text)), 'a.pth')


@settings(max_examples=FLIPS, deadline=None, derandomize=True)
@given(st.one_of(st.text(), values.map(repr), st.text('[]{}(),=\'"ab1 ')))
def test_any_value_of_cfg_options_is_read_or_refused(text):
    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=OptionsAction)
    with nothing_runs(), contextlib.suppress(SystemExit):
        parser.parse_args(['--cfg-options', f'a.b={text}'])


@settings(max_examples=FLIPS, deadline=None, derandomize=True)
@given(st.lists(st.one_of(values, st.fixed_dictionaries(dict(epoch=values)))))
def test_any_records_of_epochs_are_read(tmp_path_factory, records):
    path = tmp_path_factory.getbasetemp() / 'epochs.jsonl'
    lines = [json.dumps(record) for record in records]
    path.write_text('\n'.join([*lines, '[' * 10**5]), encoding='utf-8')
    found = [record['epoch'] for record in read_epochs(path)]
    assert found == list(range(1, len(found) + 1))
    assert read_json(path) is None


def test_a_report_has_no_files_of_other_folders(tmp_path):
    (tmp_path / 'secret.png').write_bytes(b'secret')
    (tmp_path / 'report').mkdir()
    with pytest.raises(FileNotFoundError):
        html_page('# a\n\n![b](../secret.png)', tmp_path / 'report')
    page = html_page('# a\n\n<script>alert(1)</script>', tmp_path)
    assert '<script>' not in page


def test_pickles_of_a_data_folder_are_not_read(tmp_path, monkeypatch):
    """Those that are not CIFAR's, by its MD5."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / 'cifar-10-batches-py'
    folder.mkdir()
    import pickle

    for name in ('test_batch', 'batches.meta', *(f'data_batch_{i}' for i in range(1, 6))):
        (folder / name).write_bytes(pickle.dumps(Call(os.system, 'touch ran')))
    with nothing_runs(), pytest.raises(RuntimeError, match='Cannot find CIFAR10'):
        cfg = dict(type='mmrazor.CIFAR10', data_root=str(tmp_path), download=False, pipeline=[])
        DATASETS.build(cfg)
    assert not (tmp_path / 'ran').exists()


def test_arrays_of_a_data_folder_are_data(tmp_path):
    np.save(tmp_path / 'labels.npy', np.array([Call(os.system, 'true')]), allow_pickle=True)
    np.save(tmp_path / 'fog.npy', np.zeros((5, 2, 2, 3), np.uint8))
    with nothing_runs(), pytest.raises(ConfigError, match=r'labels\.npy is not an array'):
        CorruptedFiles(tmp_path)
    np.save(tmp_path / 'labels.npy', np.zeros(5, np.int64))
    content = (tmp_path / 'fog.npy').read_bytes()
    assert b'(5, 2, 2, 3), }    ' in content
    huge = content.replace(b'(5, 2, 2, 3), }    ', b'(5, 99999, 99999, 3), }', 1)[: len(content)]
    (tmp_path / 'fog.npy').write_bytes(huge)
    with nothing_runs(), pytest.raises(ConfigError, match=r'fog\.npy'):
        CorruptedFiles(tmp_path)


def png(size):
    """An image file of a few bytes that claims to be a square of that size."""

    def part(name, content):
        checksum = struct.pack('>I', zlib.crc32(name + content))
        return struct.pack('>I', len(content)) + name + content + checksum

    header = struct.pack('>IIBBBBB', size, size, 8, 2, 0, 0, 0)
    data = part(b'IDAT', zlib.compress(bytes(100)))
    return b'\x89PNG\r\n\x1a\n' + part(b'IHDR', header) + data + part(b'IEND', b'')


@pytest.mark.parametrize('size', [20_000, 100_000])
def test_an_image_of_too_many_pixels_is_named(run_file, tmp_path, size):
    """In a process of its own, since OpenCV takes its limit when it is imported."""
    (tmp_path / 'large.png').write_bytes(png(size))
    script = tmp_path / 'read.py'
    script.write_text(
        'import resource\n'
        'from mmcv.transforms import LoadImageFromFile\n'
        'try:\n    LoadImageFromFile().transform(dict(img_path="large.png"))\n'
        'except ValueError as error:\n    print(error)\n'
        'print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2**20)\n'
    )
    result = run_file(script)
    assert result.returncode == 0, result.stdout
    assert "image 'large.png' cannot be read: " in result.stdout and 'pixels' in result.stdout
    assert result.stdout.rstrip().endswith('True')


def test_kept_records_are_not_written_through_links(tmp_path):
    (tmp_path / 'victim').write_bytes(b'')
    (tmp_path / '0.bin').symlink_to(tmp_path / 'victim')
    with pytest.raises(ConfigError, match='0.bin is a link'):
        _mapped(tmp_path / '0.bin', [3], torch.float32)
    assert (tmp_path / 'victim').read_bytes() == b''


def test_a_cohorts_files_stay_in_its_folder(run_tool, tiny_config, tmp_path):
    options = ['--work-dir', tmp_path / 'work']
    result = run_tool('train_cohort.py', f'../out={tiny_config}', *options)
    assert result.returncode == 1, result.stdout
    assert "'../out' is no name" in result.stdout and 'Traceback' not in result.stdout
    assert not (tmp_path / 'out').exists()


@pytest.mark.slow
def test_a_network_is_built_from_registered_parts_in_a_fresh_process(run):
    """MMRazor imports the rest of itself at the first look-up, which looks names up too."""
    code = (
        'import lakd_mm\n'
        'from lakd_mm.engine.dumped_config import registered_only\n'
        'from mmrazor.registry import MODELS\n'
        'with registered_only():\n'
        "    print(MODELS.build(dict(type='mmrazor.KLDivergence', tau=4.0)).tau)\n"
    )
    result = run(sys.executable, '-c', code)
    assert result.returncode == 0 and result.stdout.endswith('4.0\n'), result.stdout
