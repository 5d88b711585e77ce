import os

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmpretrain.structures import DataSample
from networks import cifar_resnet_cfg

from lakd_mm.errors import ConfigError

VIEWS = 2
PREPROCESSOR = dict(
    type='mmrazor.CropFlipDataPreprocessor', mean=[78.0] * 3, std=[96.0] * 3, num_views=VIEWS
)
KD = dict(loss_kd=dict(loss=dict(type='mmrazor.KLDivergence', tau=4), at='logits'))
CAMS = dict(loss_cat=dict(loss=dict(type='mmrazor.CATLoss'), at='cams'))
METHODS = {
    'kd': dict(type='mmrazor.Distill', transfers=KD),
    'cat_kd': dict(type='mmrazor.Distill', transfers=CAMS),
    'lakd': dict(type='mmrazor.LAKD'),
}


def cfg(method='kd', keep=None, **kwargs):
    return (
        dict(
            METHODS[method],
            architecture=cifar_resnet_cfg(8),
            teacher=cifar_resnet_cfg(14),
            data_preprocessor=PREPROCESSOR,
            keep_teacher=keep,
        )
        | kwargs
    )


def images():
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (12, 3, 32, 32), generator=generator, dtype=torch.uint8)


def train(model, epochs, monkeypatch, kind=OptimWrapper):
    """Train epochs of three batches in another order each; return losses, and teacher's runs."""
    pixels, logs, runs = images(), [], []
    lean = getattr(model.run_teacher, 'lean', model.run_teacher)
    run = lean._run
    monkeypatch.setattr(lean, '_run', lambda *args: runs.append(len(logs)) or run(*args))
    optimizer = torch.optim.SGD(model.student.parameters(), lr=0.05, momentum=0.9)
    wrapper = kind(optimizer=optimizer)
    for epoch in range(epochs):
        MessageHub.get_current_instance().update_info('epoch', epoch)
        order = torch.randperm(12, generator=torch.Generator().manual_seed(epoch))
        for rows in order.split(4):
            samples = [
                DataSample(metainfo=dict(sample_idx=i)).set_gt_label(i % 10) for i in rows.tolist()
            ]
            data = dict(inputs=pixels[rows], data_samples=samples)
            logs.append(model.train_step(data, optim_wrapper=wrapper))
    return logs, runs


@pytest.mark.parametrize('method', METHODS)
def test_the_same_losses_with_one_run_for_each_view(build, tmp_path, monkeypatch, method):
    keep = dict(folder=tmp_path / 'kept', images=12)
    plain, all_runs = train(build(cfg(method)), 5, monkeypatch)
    kept, runs = train(build(cfg(method, keep)), 5, monkeypatch)
    assert len(all_runs) == 15
    assert runs == list(range(3 * VIEWS))
    for a, b in zip(plain, kept):
        assert a.keys() == b.keys()
        assert [name for name in a if not torch.equal(a[name].detach(), b[name].detach())] == []
    # A later training does not run the teacher at all.
    again, runs = train(build(cfg(method, keep)), 5, monkeypatch)
    assert runs == []
    assert torch.equal(again[-1]['loss'].detach(), plain[-1]['loss'].detach())


def test_float16_is_half_the_size_and_close(build, tmp_path, monkeypatch):
    folders = tmp_path / 'float32', tmp_path / 'float16'
    losses = []
    for folder, half in zip(folders, (False, True)):
        model = build(cfg('lakd', dict(folder=folder, images=12, half=half)))
        losses.append(train(model, 3, monkeypatch)[0][-1])
    whole, half = (sum(f.stat().st_size for f in d.glob('[0-9]*.bin')) for d in folders)
    assert whole == 2 * half
    for name, value in losses[0].items():
        torch.testing.assert_close(losses[1][name], value, rtol=0.01, atol=1e-3)


@pytest.mark.parametrize('change', ['teacher', 'pixels', 'padding', 'precision'])
def test_what_has_changed_is_computed_anew(build, tmp_path, monkeypatch, change):
    keep = dict(folder=tmp_path / 'kept', images=12)
    train(build(cfg(keep=keep)), VIEWS, monkeypatch)
    other = cfg(keep=keep)
    if change == 'padding':
        other['data_preprocessor'] = dict(PREPROCESSOR, padding=3)
    model, reference = build(other), build(dict(other, keep_teacher=None))
    if change == 'teacher':
        for one in (model, reference):
            one.teacher.head.fc.weight.data.mul_(2)
    if change == 'pixels':
        original = images
        monkeypatch.setitem(globals(), 'images', lambda: original() ^ 1)
    kind = AmpOptimWrapper if change == 'precision' else OptimWrapper
    found, runs = train(model, VIEWS, monkeypatch, kind)
    expected, _ = train(reference, VIEWS, monkeypatch, kind)
    assert set(runs) == set(range(3 * VIEWS))
    assert all(torch.equal(a['loss'].detach(), b['loss'].detach()) for a, b in zip(found, expected))


@pytest.mark.parametrize(
    ('keep', 'change', 'message'),
    [
        (dict(images=12), {}, 'keep_teacher.folder is missing'),
        (dict(folder='k'), {}, 'keep_teacher.images is missing'),
        (dict(folder='k', images=12, hlaf=True), {}, "no 'hlaf'; did you mean 'half'"),
        (dict(folder='k', images=0), {}, 'images=0 is not a positive number'),
        (dict(folder='k', images=10**9), {}, 'more than max_gb=8.0'),
        (dict(folder='k', images=10**12, max_gb=10**9), {}, 'k has room for'),
        (dict(folder='file/k', images=12), {}, 'keep_teacher.folder='),
        (
            dict(folder='k', images=12),
            dict(data_preprocessor=dict(PREPROCESSOR, num_views=None)),
            'set data_preprocessor.num_views',
        ),
        (
            dict(folder='k', images=12),
            dict(data_preprocessor=dict(PREPROCESSOR, num_views=0)),
            'num_views=0 is no whole number',
        ),
    ],
)
def test_wrong_input_is_one_clear_error(build, tmp_path, monkeypatch, keep, change, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'file').write_text('')
    with pytest.raises(ConfigError, match=message):
        build(cfg(keep=keep, **change))


def test_the_size_is_said_before_training_and_another_teacher_in_it(build, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        'lakd_mm.models.teachers.kept_teacher.print_log', lambda text, *_: said.append(text)
    )
    keep = dict(folder=tmp_path / 'kept', images=12)
    model = build(cfg(keep=keep))
    # Ten logits in float32, and a checksum.
    size = f'keep_teacher: 48 bytes for each of 12 images x 2 views, 0.00 GB in {tmp_path}/kept'
    assert said == [size]
    train(model, 1, monkeypatch)
    other = build(cfg(keep=keep))
    other.teacher.head.fc.weight.data.mul_(2)
    train(other, 1, monkeypatch)
    assert said == [size, size, f'{tmp_path}/kept is of another teacher; it is made anew.']


def test_a_folder_without_the_right_to_write_is_one_clear_error(build, tmp_path, monkeypatch):
    monkeypatch.setattr(os, 'access', lambda path, mode: mode != os.W_OK)
    with pytest.raises(ConfigError, match='kept.* cannot be written'):
        build(cfg(keep=dict(folder=tmp_path / 'kept', images=12)))


def test_a_full_disk_is_one_clear_error(build, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, 'No space left on device')

    model = build(cfg(keep=dict(folder=tmp_path / 'kept', images=12)))
    monkeypatch.setattr(os, 'posix_fallocate', full)
    with pytest.raises(ConfigError, match='No space left on device'):
        train(model, 1, monkeypatch)


def test_more_images_than_said(build, tmp_path, monkeypatch):
    model = build(cfg(keep=dict(folder=tmp_path / 'kept', images=5)))
    with pytest.raises(ConfigError, match='set keep_teacher.images to the size'):
        train(model, 1, monkeypatch)
