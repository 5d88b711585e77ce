import argparse
import os
import pickle
import re
import shutil
import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import mmengine.runner.checkpoint
import pytest
import torch
from mmengine.model import BaseModule
from mmengine.runner import CheckpointLoader, load_checkpoint

from lakd_mm.compat import mmengine_checkpoint


@pytest.mark.slow
def test_resumed_training_equals_an_uninterrupted_one(train_toy, tmp_path):
    whole = train_toy("work_dir='whole'", 'train_cfg.max_epochs=3')
    assert whole[0] == 'START epoch=0 iter=0'
    assert whole[-1].startswith('END epoch=3 iter=12 losses=10 lr=0.00010000')

    # The state after a kill while the third checkpoint was written.
    work_dir = tmp_path / 'killed'
    work_dir.mkdir()
    for name in ('epoch_1.pth', 'epoch_2.pth'):
        shutil.copy(tmp_path / 'whole' / name, work_dir)
    (work_dir / 'epoch_3.pth.partial').write_bytes(b'half')
    (work_dir / 'last_checkpoint').write_text('')
    resumed = train_toy("work_dir='killed'", 'train_cfg.max_epochs=3', 'resume=True')
    assert resumed[0] == 'START epoch=2 iter=8'
    assert resumed[-1] == whole[-1]


class Net(BaseModule):
    """A network whose weights come from ``init_cfg``, as those of pretrained backbones do."""

    def __init__(self, checkpoint):
        super().__init__(init_cfg=dict(type='Pretrained', checkpoint=checkpoint))
        self.fc = torch.nn.Linear(2, 2)


def init_weights(path):
    Net(path).init_weights()


def load_from(path):
    load_checkpoint(Net(None), path)


@pytest.fixture
def checkpoint(tmp_path):
    path = str(tmp_path / 'net.pth')
    torch.save({'state_dict': Net(None).state_dict()}, path)
    return path


@pytest.mark.parametrize('load', [init_weights, load_from])
class TestOneClearError:
    """Whichever way a checkpoint is asked for."""

    def test_missing(self, load, tmp_path):
        path = str(tmp_path / 'absent.pth')
        with pytest.raises(FileNotFoundError, match=re.escape(f"'{path}' does not exist")) as error:
            load(path)
        assert error.value.__suppress_context__

    @pytest.mark.parametrize('part', [0.0, 0.1, 0.5, 0.99])
    @pytest.mark.parametrize('zip_format', [True, False])
    def test_truncated(self, load, checkpoint, part, zip_format):
        state = torch.load(checkpoint)
        torch.save(state, checkpoint, _use_new_zipfile_serialization=zip_format)
        os.truncate(checkpoint, int(part * os.path.getsize(checkpoint)))
        with pytest.raises(
            RuntimeError, match=re.escape(f"'{checkpoint}' cannot be read")
        ) as error:
            load(checkpoint)
        assert 'truncated' in str(error.value)
        assert 'weights_only' not in str(error.value)
        assert error.value.__suppress_context__

    def test_no_checkpoint_at_all(self, load, tmp_path):
        path = tmp_path / 'page.pth'
        path.write_text('<html>Not found</html>')
        with pytest.raises(RuntimeError, match='cannot be read: .* no checkpoint'):
            load(str(path))

    def test_refused(self, load, checkpoint):
        state = torch.load(checkpoint)
        torch.save({**state, 'args': argparse.Namespace(lr=1)}, checkpoint)
        with pytest.raises(pickle.UnpicklingError) as error:
            load(checkpoint)
        message = str(error.value)
        assert f"'{checkpoint}' is refused" in message
        assert 'argparse.Namespace' in message
        assert 'Save it again' in message and 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1' in message
        assert 'add_safe_globals' not in message


def test_trusted_checkpoint_is_read_on_demand(checkpoint, monkeypatch):
    torch.save({'args': argparse.Namespace(lr=1)}, checkpoint)
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    with pytest.warns(UserWarning, match='TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'):
        assert CheckpointLoader.load_checkpoint(checkpoint)['args'].lr == 1


def test_other_errors_pass_unchanged(checkpoint):
    with pytest.raises(RuntimeError, match="don't know how to restore data location"):
        CheckpointLoader.load_checkpoint(checkpoint, map_location='no_such_device')


@pytest.fixture
def address(tmp_path, monkeypatch):
    """The address of a server of the files in ``tmp_path``."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    monkeypatch.setattr(SimpleHTTPRequestHandler, 'log_message', lambda *args: None)
    with HTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


def test_downloads_obey_the_same_rules(address, checkpoint, tmp_path):
    assert CheckpointLoader.load_checkpoint(f'{address}/net.pth').keys() == {'state_dict'}

    torch.save({'args': argparse.Namespace(lr=1)}, tmp_path / 'more.pth')
    with pytest.raises(pickle.UnpicklingError, match=f"'{address}/more.pth' is refused.*Namespace"):
        CheckpointLoader.load_checkpoint(f'{address}/more.pth')

    os.truncate(checkpoint, 500)
    shutil.copy(checkpoint, tmp_path / 'half.pth')
    with pytest.raises(RuntimeError, match=f"'{address}/half.pth' cannot be read") as error:
        CheckpointLoader.load_checkpoint(f'{address}/half.pth')
    cached = tmp_path / 'cache' / 'hub' / 'checkpoints' / 'half.pth'
    assert cached.is_file() and f"Delete '{cached}'" in str(error.value)

    with pytest.raises(OSError, match=f"'{address}/absent.pth' cannot be downloaded .*404"):
        CheckpointLoader.load_checkpoint(f'{address}/absent.pth')


def test_healthy_downloader_is_left_alone(monkeypatch):
    def healthy(url, weights_only=True):
        """What a downloader that obeys the rules would be."""

    monkeypatch.setattr(mmengine.runner.checkpoint, 'load_url', healthy)
    mmengine_checkpoint.distrust_downloads()
    assert mmengine.runner.checkpoint.load_url is healthy
