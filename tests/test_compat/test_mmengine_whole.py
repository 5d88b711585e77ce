"""Checkpoints on disk are whole, and what is not whole is left out."""

import os
import re
import shutil
import zipfile

import mmengine.runner
import pytest
import torch
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.runner import CheckpointLoader, save_checkpoint
from small_run import small_runner

from lakd_mm.compat.mmengine_whole import fault, whole_beside
from lakd_mm.errors import DamagedCheckpointError


def save(path, value=1.0):
    save_checkpoint(dict(state_dict=dict(w=torch.full((300,), value))), str(path))


def flip(path, place=-600):
    """Change one byte; the default lies in the tensors or the archive's list of parts."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def test_kill_while_writing_keeps_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / 'epoch_1.pth'
    LocalBackend().put(b'old', path)
    with monkeypatch.context() as patch:

        def die(*args):
            raise KeyboardInterrupt

        patch.setattr(os, 'replace', die)
        with pytest.raises(KeyboardInterrupt):
            LocalBackend().put(b'new', path)
    assert path.read_bytes() == b'old'
    LocalBackend().put(b'new', path)
    assert path.read_bytes() == b'new'
    assert os.listdir(tmp_path) == ['epoch_1.pth']


@pytest.mark.parametrize(
    'files, named, found',
    [
        (['epoch_2.pth', 'epoch_10.pth'], 'epoch_2.pth', 'epoch_2.pth'),
        (['epoch_2.pth', 'epoch_10.pth', 'best_epoch_11.pth'], 'gone.pth', 'epoch_10.pth'),
        (['iter_500.pth', 'iter_1000.pth'], '', 'iter_1000.pth'),
        (['epoch_2.pth'], None, 'epoch_2.pth'),
        ([], 'gone.pth', 'gone.pth'),
        ([], '', None),
        ([], None, None),
    ],
)
def test_latest_checkpoint(tmp_path, files, named, found):
    for name in files:
        save(tmp_path / name)
    if named is not None:
        (tmp_path / 'last_checkpoint').write_text(str(tmp_path / named) if named else '')
    latest = mmengine.runner.find_latest_checkpoint(str(tmp_path))
    assert latest == (str(tmp_path / found) if found else None)


def test_digest_is_in_the_file(tmp_path):
    """Any reader of torch's archives reads it; it goes with a copy and a new name."""
    path = tmp_path / 'epoch_1.pth'
    save(path)
    assert torch.load(path)['state_dict']['w'].tolist() == [1.0] * 300
    assert torch.load(path, mmap=True)['state_dict']['w'].sum() == 300
    assert re.fullmatch(rb'sha256:[0-9a-f]{64}', zipfile.ZipFile(path).comment)
    shutil.copy(path, tmp_path / 'copy.pth')
    assert fault(str(tmp_path / 'copy.pth')) is None
    assert sorted(os.listdir(tmp_path)) == ['copy.pth', 'epoch_1.pth']


def test_every_changed_byte_is_found(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    save(path)
    whole = path.read_bytes()
    for place in range(0, len(whole) - 73, 7):  # the rest is the digest
        flip(path, place)
        assert fault(str(path)), place
        path.write_bytes(whole)
    assert fault(str(path)) is None


def older(path):
    """Write a checkpoint as an earlier release of this package has, without a digest."""
    torch.save(dict(state_dict=dict(w=torch.ones(300))), path)


@pytest.mark.parametrize('write', [save, older])
def test_faults_by_name(tmp_path, write):
    path = tmp_path / 'epoch_1.pth'
    write(path)
    assert fault(str(path)) is None
    content = path.read_bytes()
    flip(path, content.index(b'\x00\x00\x80?') + 40)
    assert 'SHA-256' in fault(str(path)) or 'data/0 does not match' in fault(str(path))
    path.write_bytes(content[:700])
    assert fault(str(path)) == 'it is cut short at 700 bytes'
    path.write_bytes(b'')
    assert fault(str(path)) == 'it is empty'
    path.write_bytes(bytes(len(content)))
    assert fault(str(path)) == 'it is no checkpoint'


def test_resume_leaves_out_what_is_broken(tmp_path, capsys):
    for epoch in (1, 2, 3, 4):
        save(tmp_path / f'epoch_{epoch}.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_4.pth'))
    os.truncate(tmp_path / 'epoch_4.pth', 900)
    flip(tmp_path / 'epoch_3.pth', 800)
    found = mmengine.runner.find_latest_checkpoint(str(tmp_path))
    assert found == str(tmp_path / 'epoch_2.pth')
    line = (
        'Left out, not whole: epoch_4.pth: it is cut short at 900 bytes; epoch_3.pth: its bytes '
        f'are not those that were written (SHA-256). The newest whole checkpoint is {found}.\n'
    )
    assert capsys.readouterr().out == line
    # Asked again, by MMEngine this time.
    assert mmengine.runner.find_latest_checkpoint(str(tmp_path)) == found
    assert capsys.readouterr().out == ''
    assert len(list(tmp_path.glob('*.pth'))) == 4

    for epoch in (1, 2):
        os.truncate(tmp_path / f'epoch_{epoch}.pth', 0)
    with pytest.raises(DamagedCheckpointError, match=r'no checkpoint in .* epoch_1.pth: it is em'):
        mmengine.runner.find_latest_checkpoint(str(tmp_path))


def test_a_named_broken_file_names_the_good_one_beside_it(tmp_path):
    for epoch in (1, 2, 3):
        save(tmp_path / f'epoch_{epoch}.pth')
    broken, good = tmp_path / 'epoch_2.pth', str(tmp_path / 'epoch_1.pth')
    flip(broken, 800)
    os.truncate(tmp_path / 'epoch_3.pth', 900)
    assert whole_beside(str(broken)) == good
    text = f"'{broken}' is damaged: its bytes .* whole one beside it is '{good}': name that"
    with pytest.raises(DamagedCheckpointError, match=text):
        CheckpointLoader.load_checkpoint(str(broken))
    text = f"epoch_3.pth' cannot be read: the file is truncated.* beside it is '{good}'"
    with pytest.raises(DamagedCheckpointError, match=text):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'epoch_3.pth'))


class TestDeletion:
    """Of outdated checkpoints, by ``max_keep_ckpts`` and of the earlier best."""

    @pytest.fixture
    def hooked(self, tmp_path):
        """A runner and its hook after two epochs, of which the second is kept."""
        options = dict(max_keep_ckpts=1, save_best='score', rule='greater')
        runner = small_runner(tmp_path, epochs=2, checkpoint=options)
        runner.train()
        hook = next(hook for hook in runner.hooks if isinstance(hook, CheckpointHook))
        hook._save_best_checkpoint(runner, dict(score=0.5))
        return runner, hook

    def kept(self, folder):
        return sorted(path.name for path in folder.glob('epoch_*.pth'))

    def test_one_is_kept(self, hooked, tmp_path):
        assert self.kept(tmp_path) == ['epoch_2.pth']
        assert len(list(tmp_path.glob('best_score_*.pth'))) == 1

    def test_not_before_the_next_is_saved(self, hooked, tmp_path, monkeypatch):
        runner, hook = hooked
        best = [path.name for path in tmp_path.glob('best_*')]

        def full(*args, **kwargs):
            raise OSError(28, 'No space left on device')

        monkeypatch.setattr(mmengine.runner.runner, 'save_checkpoint', full)
        with pytest.raises(OSError, match='No space left'):
            hook._save_checkpoint_with_step(runner, 3, dict(epoch=3, iter=12))
        with pytest.raises(OSError, match='No space left'):
            hook._save_best_checkpoint(runner, dict(score=1e9))
        assert self.kept(tmp_path) == ['epoch_2.pth']
        assert [path.name for path in tmp_path.glob('best_*')] == best

    def test_not_if_the_next_is_broken(self, hooked, tmp_path, monkeypatch):
        runner, hook = hooked

        def lose_bytes(checkpoint, path, **kwargs):
            save_checkpoint(checkpoint, path)
            os.truncate(path, 1000)

        monkeypatch.setattr(mmengine.runner.runner, 'save_checkpoint', lose_bytes)
        with pytest.raises(DamagedCheckpointError, match='cannot be read back: it is cut short at'):
            hook._save_checkpoint_with_step(runner, 3, dict(epoch=3, iter=12))
        assert self.kept(tmp_path) == ['epoch_2.pth', 'epoch_3.pth']
        assert fault(str(tmp_path / 'epoch_2.pth')) is None
