from argparse import ArgumentParser
from urllib.error import URLError

import pytest
from torch._utils import ExceptionWrapper

from lakd_mm.engine import ConfigError, add_common_arguments, clear_errors, load_config


@pytest.fixture
def load(monkeypatch, tmp_path):
    """Reads a config as the tools do with these arguments."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('LOCAL_RANK', '0')
    parser = ArgumentParser()
    add_common_arguments(parser)
    return lambda *arguments: load_config(parser.parse_args([str(one) for one in arguments]))


def test_config_of_a_package(load):
    cfg = load('lakd_mm::teachers/resnet14_digits.py', '--cfg-options', 'model.backbone.depth=8')
    assert cfg.model.backbone.depth == 8
    assert cfg.work_dir == 'work_dirs/resnet14_digits'
    assert cfg.launcher == 'none'
    with pytest.raises(
        ConfigError, match='lakd_mm::teachers/resnet14_digit.py.*resnet14_digits.py'
    ):
        load('lakd_mm::teachers/resnet14_digit.py')


def test_work_dir(load, tmp_path):
    path = tmp_path / 'some.config.py'
    path.write_text("model = dict(type='X')\nwork_dir = 'w'")
    assert load(path).work_dir == 'w'
    assert load(path, '--work-dir', 'x').work_dir == 'x'
    assert load(path, '--cfg-options', 'work_dir=y').work_dir == 'y'
    path.write_text("model = dict(type='X')")
    assert load(path).work_dir == 'work_dirs/some.config'


def test_dataloader_defaults(load, tmp_path):
    """Those that MMPretrain's own tool sets; what a config says stays."""
    path = tmp_path / 'config.py'
    path.write_text(
        'model = dict(type="X")\n'
        'train_dataloader = dict(num_workers=2)\n'
        'val_dataloader = dict(num_workers=0, collate_fn=dict(type="pseudo_collate"))\n'
        'test_dataloader = None'
    )
    cfg = load(path)
    assert cfg.train_dataloader.persistent_workers is True
    assert cfg.train_dataloader.collate_fn.type == 'default_collate'
    assert cfg.val_dataloader.persistent_workers is False
    assert cfg.val_dataloader.collate_fn.type == 'pseudo_collate'
    assert cfg.test_dataloader is None


@pytest.mark.parametrize(
    'error, message',
    [
        (ConfigError('what is wrong'), '^error: what is wrong$'),
        (URLError('no such host'), r'^error: .* download failed \(no such host\).*data_root'),
    ],
)
def test_clear_errors(error, message):
    with pytest.raises(SystemExit, match=message), clear_errors():
        raise error


def test_other_errors_keep_their_traceback():
    with pytest.raises(KeyError), clear_errors():
        raise KeyError('x')


def test_a_dict_on_the_command_line_is_refused(capsys):
    parser = ArgumentParser()
    add_common_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(['a.py', '--cfg-options', 'model.at=dict(student=[4],teacher=[18])'])
    assert 'a dict cannot be given here; set its keys' in capsys.readouterr().err


def test_brackets_that_do_not_close(capsys):
    parser = ArgumentParser()
    add_common_arguments(parser)
    with pytest.raises(SystemExit):
        parser.parse_args(['a.py', '--cfg-options', 'model.taps=[1,2'])
    assert 'Imbalanced brackets exist in [1,2' in capsys.readouterr().err


def test_an_error_in_a_worker_is_one_line():
    """As torch hands it on."""
    try:
        raise ConfigError('image a.png cannot be read')
    except ConfigError:
        sent = ExceptionWrapper(where='in DataLoader worker process 0')
    with pytest.raises(SystemExit, match='^error: image a.png cannot be read$'), clear_errors():
        sent.reraise()
