"""Right input is taken: each row is an input of a user that a check has once refused."""

import copy
from argparse import Namespace
from contextlib import nullcontext
from unittest.mock import patch

import cv2
import numpy as np
import pytest
import torch

import lakd_mm  # noqa: F401  (first: it repairs what the lines below import)

# isort: split
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.dataset import InfiniteSampler, RepeatDataset
from mmengine.hooks import EarlyStoppingHook
from mmengine.model import BaseModel
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmpretrain.models import BaseClassifier, TimmClassifier
from mmpretrain.structures import DataSample
from mmrazor.models.architectures.connectors import ConvModuleConnector
from mmrazor.models.distillers import ConfigurableDistiller
from mmrazor.registry import MODELS, TRANSFORMS
from networks import cifar_resnet_cfg, classifier_cfg
from torch import nn
from torch.utils.data import DataLoader

from lakd_mm.datasets import Digits, InMemory
from lakd_mm.engine import (
    check_amp,
    check_data_folders,
    check_options,
    export_student,
    load_network,
)
from lakd_mm.engine.config_values import check_fits, check_numbers
from lakd_mm.engine.hooks import ModelForMetricsHook
from lakd_mm.engine.hooks.check_data_hook import _check_length, heads
from lakd_mm.engine.networks import choose_checkpoint
from lakd_mm.engine.plain_config import image_shape
from lakd_mm.engine.torch_export import export_program
from lakd_mm.errors import ConfigError, check_positive
from lakd_mm.evaluation import TeacherAgreement
from lakd_mm.evaluation.corruptions import CORRUPTIONS, Corrupt
from lakd_mm.evaluation.features import record
from lakd_mm.evaluation.run_log import run_config
from lakd_mm.evaluation.sample_images import check_normalization, sample_images
from lakd_mm.models.connectors import SaliencyMask
from lakd_mm.models.losses import (
    ContrastiveRepresentationLoss,
    FactorTransferLoss,
    VariationalInformationLoss,
)
from lakd_mm.models.places.logits import find_logits
from lakd_mm.models.places.taps import resolve_taps
from lakd_mm.models.teachers import brings_weights, load_teacher
from lakd_mm.visualization.attention_maps import class_activation_maps

KD = dict(loss_kd=dict(loss=dict(type='mmrazor.KLDivergence', tau=4), at='logits'))
FEATURE = dict(type='mmrazor.L2Loss')


def distill(transfers=None, **model):
    parts = dict(architecture=cifar_resnet_cfg(8), teacher=cifar_resnet_cfg(14))
    more = {} if transfers is None else dict(transfers=copy.deepcopy(transfers))
    return MODELS.build({**dict(type='mmrazor.Distill'), **parts, **more, **model})


def at_stages(**transfer):
    return distill(dict(loss_l2=dict(loss=FEATURE, **transfer)))


def training(**keys):
    loader = dict(batch_size=4, num_workers=0, dataset=dict(type='mmrazor.Digits'))
    model = dict(type='mmpretrain.ImageClassifier', head=dict(num_classes=10))
    wrapper = dict(optimizer=dict(type='SGD', lr=0.1))
    evaluator = dict(type='mmpretrain.Accuracy')
    cfg = dict(model=model, train_dataloader=loader, val_dataloader=loader, optim_wrapper=wrapper)
    cfg.update(train_cfg=dict(by_epoch=True, max_epochs=2), val_cfg={}, val_evaluator=evaluator)
    return Config({**cfg, **keys})


def checked(**keys):
    cfg = training(**keys)
    check_numbers(cfg, ('train', 'val'))
    check_fits(cfg, ('train', 'val'))


def option(old, key, new):
    cfg = Config(dict(a=dict(key=old) if old is not None else {}))
    cfg.a[key] = cfg.a.pop('key')
    check_options(cfg, {f'a.{key}': new})
    cfg.merge_from_dict({f'a.{key}': new})
    return cfg.a[key]


ROWS = {}


def row(function):
    """Add a row: a function of an empty folder that returns what its name says is taken."""
    ROWS[function.__name__] = function
    return function


# Numbers.


@row
def whole_floats_of_a_schedule(folder):
    checked(train_cfg=dict(by_epoch=False, max_iters=8e4, val_interval=8e3))
    checked(train_cfg=dict(by_epoch=True, max_epochs=1e2, val_begin=0.0))
    checked(default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1e3)))
    checked(param_scheduler=[dict(type='StepLR', step_size=1e1, gamma=0.1)])


@row
def numbers_of_numpy(folder):
    optimizer = dict(type='SGD', lr=np.float32(0.1), weight_decay=np.float16(0.5))
    checked(
        optim_wrapper=dict(optimizer=optimizer),
        train_cfg=dict(by_epoch=True, max_epochs=np.int64(2)),
        randomness=dict(seed=np.int32(3)),
    )
    check_positive('a', b=np.float32(0.5), c=np.int64(2))
    assert distill(KD, ce_weight=np.float32(0.5)).ce_weight == 0.5
    SaliencyMask('a', target=np.int64(3), percentile=np.float32(85))
    model = at_stages(at=np.arange(1, 3).tolist() + [np.int64(3)])
    assert len(model.distiller.distill_losses) == 3


@row
def taps_from_an_array_or_a_generator(folder):
    network = MODELS.build(cifar_resnet_cfg(14))
    names = ['backbone.layer1.0', 'backbone.layer2.0']
    assert resolve_taps(network, np.array([1, 3])) == names
    assert resolve_taps(network, (tap for tap in (1, 3))) == names


@row
def a_warmup_of_half_an_epoch(folder):
    model = distill(dict(loss_kd=dict(KD['loss_kd'], warmup=2.5)))
    assert model.distiller.warmup == {'loss_kd': 2.5}


# Names.


@row
def log_levels_of_python(folder):
    checked(log_level='WARN')
    checked(log_level='FATAL')


@row
def a_monitor_of_another_kind_of_hook(folder):
    hooks = [dict(type='MyGradientHook', monitor='train/loss'), dict(type='B', monitor=True)]
    checked(custom_hooks=hooks)
    for kind in ('EarlyStoppingHook', 'mmengine.EarlyStoppingHook', EarlyStoppingHook):
        with pytest.raises(ConfigError, match='does not report train/loss'):
            checked(custom_hooks=[dict(type=kind, monitor='train/loss')])


@row
def mixed_precision_for_a_wrapper_by_its_class(folder):
    from train import merge_args

    for kind in (OptimWrapper, 'mmengine.OptimWrapper', 'mmengine.optim.OptimWrapper'):
        cfg = training(optim_wrapper=dict(type=kind, optimizer=dict(type='SGD', lr=0.1)))
        merge_args(cfg, Namespace(no_validate=False, seed=None, auto_scale_lr=False, amp='bf16'))
        assert cfg.optim_wrapper.type == 'AmpOptimWrapper'
    members = {name: dict(optimizer=dict(type='SGD', lr=0.1)) for name in 'ab'}
    cfg = training(optim_wrapper=dict(constructor='CohortOptimWrapperConstructor', members=members))
    merge_args(cfg, Namespace(no_validate=False, seed=None, auto_scale_lr=False, amp='bf16'))
    assert [one.type for one in cfg.optim_wrapper.members.values()] == 2 * ['AmpOptimWrapper']
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match='a CPU trains in bfloat16'):
            check_amp(training(optim_wrapper=dict(type=AmpOptimWrapper, dtype='float16')), 'x')


@row
def connectors_and_distillers_by_their_class(folder):
    found = []
    for kind in (ConvModuleConnector, 'mmrazor.ConvModuleConnector'):
        # No convolution makes these sizes agree; the larger map is pooled.
        at = dict(student=['backbone.layer1'], teacher=['backbone.layer3'])
        model = at_stages(at=at, connector=dict(type=kind))
        found.append({name: type(c).__name__ for name, c in model.distiller.connectors.items()})
    assert found[0] == found[1] != {}
    recorder = dict(fc=dict(type='mmrazor.ModuleOutputs', source='head.fc'))
    mapping = {
        argument: dict(from_student=side, recorder='fc')
        for argument, side in (('preds_S', True), ('preds_T', False))
    }
    long = dict(
        type=ConfigurableDistiller,
        student_recorders=recorder,
        teacher_recorders=recorder,
        distill_losses=dict(loss_kl=dict(type='mmrazor.KLDivergence')),
        loss_forward_mappings=dict(loss_kl=mapping),
    )
    assert type(distill(distiller=long).distiller).__name__ == 'LocalDistiller'


@row
def the_scope_of_a_loss(folder):
    loss = dict(type='L2Loss', _scope_='mmrazor')
    assert list(at_stages_of(loss).distiller.distill_losses) == ['loss_l2']


def at_stages_of(loss):
    return distill(dict(loss_l2=dict(loss=loss, at=[3])))


@row
def keys_of_mmrazor_that_say_what_is_done_anyway(folder):
    same = dict(teacher_trainable=False, teacher_norm_eval=True, student_trainable=True)
    assert not any(p.requires_grad for p in distill(KD, **same).teacher.parameters())
    assert distill(KD, calculate_student_loss=True).ce_weight == 1.0
    with pytest.raises(ConfigError, match='has no calculate_student_loss=False'):
        distill(KD, calculate_student_loss=False)


@row
def values_of_several_kinds_on_the_command_line(folder):
    assert option('stages', 'at', [1, 2]) == [1, 2]
    assert option([1, 2], 'at', 'logits') == 'logits'
    assert option('auto', 'save_best', ['accuracy/top1']) == ['accuracy/top1']
    assert option((1, 5), 'topk', 1) == 1
    assert option(256, 'scale', (224, 256)) == (224, 256)
    assert option('dynamic', 'loss_scale', 512.0) == 512.0
    assert option(True, 'paper_mix', 0.3) == 0.3
    assert option('label', 'target', 3) == 3
    assert option('a.pth', 'teacher_ckpt', ['a.pth', 'b.pth']) == ['a.pth', 'b.pth']
    assert option(64, 'indices', [0, 1]) == [0, 1]
    assert option('VERY_LOW', 'priority', 90) == 90


@row
def compile_from_the_command_line(folder):
    with patch.object(nn.Module, 'compile') as compiled:
        distill(KD, compile=True)
        assert compiled.call_count > 3
        compiled.reset_mock()
        distill(KD, compile=False)
        assert not compiled.called


@row
def names_of_members_from_files(folder):
    from train_cohort import member_of

    path = folder / 'lr=0.1' / '2x.py'
    path.parent.mkdir()
    path.touch()
    assert member_of('configs/resnet18-kd_8xb16.py') == (
        'resnet18_kd_8xb16', 'configs/resnet18-kd_8xb16.py')  # fmt: skip
    assert member_of(str(path)) == ('m2x', str(path))
    assert member_of(f'kd={path}') == ('kd', str(path))
    assert member_of('kd=c.py') == ('kd', 'c.py')


# Paths.


@row
def paths_of_pathlib_and_of_home(folder):
    import os

    (folder / 'c.py').write_text(f'model = {cifar_resnet_cfg(8)!r}\n')
    network = MODELS.build(cifar_resnet_cfg(8))
    torch.save(dict(state_dict=network.state_dict()), folder / 'a.pth')
    loaded = load_network(folder / 'c.py', folder / 'a.pth')[0]
    assert torch.equal(loaded.head.fc.weight, network.head.fc.weight)
    other = MODELS.build(cifar_resnet_cfg(8))
    load_teacher(other, folder / 'a.pth')
    assert torch.equal(other.head.fc.weight, network.head.fc.weight)
    (folder / 'a.pth').rename(folder / 'epoch_1.pth')
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_1.pth'))
    before, os.environ['HOME'] = os.environ['HOME'], str(folder)
    try:
        assert choose_checkpoint('~') == str(folder / 'epoch_1.pth')
    finally:
        os.environ['HOME'] = before


@row
def images_on_a_server_and_several_lists(folder):
    def check(**dataset):
        kind = dict(type='mmpretrain.CustomDataset', data_root='data/absent')
        check_data_folders(Config(dict(train_dataloader=dict(dataset={**kind, **dataset}))))

    mapped = dict(backend='petrel', path_mapping={'data/': 's3://bucket/'})
    check(backend_args=mapped)
    check(pipeline=[dict(type='LoadImageFromFile', backend_args=mapped)])
    (folder / 'a.txt').touch()
    check(data_root=str(folder), ann_file=['a.txt', 'a.txt'])
    with pytest.raises(ConfigError, match='ann_file: b.txt does not exist'):
        check(data_root=str(folder), ann_file=['a.txt', 'b.txt'])
    with pytest.raises(ConfigError, match='data_root: data/absent'):
        check(pipeline=[dict(type='LoadImageFromFile', backend_args=dict(backend='local'))])


@row
def a_work_folder_with_an_exported_student(folder):
    (folder / 'a.py').write_text("model = dict(type='A')\n")
    for name in ('student.py', 'student.pth'):
        (folder / name).write_text("model = dict(type='B')\n")
    assert run_config(folder).model.type == 'A'


@row
def folders_of_images_in_capitals(folder):
    from own_images.folder import look_at

    for split in ('Train', 'VAL'):
        for name in ('cat', 'dög é'):
            (folder / split / name).mkdir(parents=True)
            for i in range(2):
                cv2.imwrite(str(folder / split / name / f'{i}.PNG'), np.zeros((8, 9, 3), np.uint8))
    images = look_at(str(folder))
    assert (images.classes, images.n_train, images.n_val) == (('cat', 'dög é'), 4, 4)


@row
def a_report_in_capitals(folder):
    from run_report import parse_args

    command = ['run_report.py', '--run', 'a', 'folder', '--out', 'A.HTML']
    with patch('sys.argv', command):
        assert parse_args().out.name == 'A.HTML'


# Data.


@TRANSFORMS.register_module()
class OneChannel(BaseTransform):
    """Drop the colours, as ``LoadImageFromFile(color_type='grayscale')`` does."""

    def transform(self, results):
        return dict(results, img=results['img'][..., 0])


@row
def grey_images(folder):
    grey = dict(type='mmrazor.OneChannel')
    data = InMemory(dict(type='mmrazor.Digits', indices=3, pipeline=[grey]), device='cpu')
    plain = InMemory(dict(type='mmrazor.Digits', indices=3), device='cpu')
    assert torch.equal(data.images, plain.images[:, :1])
    image = np.arange(1024, dtype=np.uint8).reshape(32, 32)
    for name in CORRUPTIONS:
        for order in ('bgr', 'rgb'):
            corrupt = Corrupt(name, 3, channel_order=order)
            found = corrupt(dict(img=image))['img']
            with_axis = corrupt(dict(img=image[..., None]))['img']
            assert found.shape == (32, 32) and np.array_equal(found, with_axis[..., 0])
    cfg = classifier_cfg(dict(type='mmrazor.CIFARVGG', depth=8, in_channels=1), in_channels=512)
    pipeline = [dict(type='Resize', scale=28)]
    loader = dict(dataset=dict(pipeline=pipeline))
    network = MODELS.build(cfg)
    assert image_shape(Config(dict(model=cfg, test_dataloader=loader)), network) == (1, 28, 28)
    wrapped = dict(architecture=cfg, input_shape=(1, 32, 32))
    assert image_shape(Config(dict(model=wrapped, test_dataloader=loader)), network) == (1, 28, 28)


@row
def several_data_sets_in_memory(folder):
    parts = [dict(type='mmrazor.Digits', split=split, indices=3) for split in ('train', 'test')]
    data = InMemory(dict(type='ConcatDataset', datasets=parts), device='cpu')
    labels = [label for part in parts for label in digits_of(part).get_gt_labels()]
    assert data.labels.tolist() == labels and len(data.images) == 6


def digits_of(cfg):
    return Digits(**{key: value for key, value in cfg.items() if key != 'type'}, pipeline=[])


@row
def a_repeated_training_set_with_memory_banks(folder):
    data = Digits(indices=6, pipeline=[])
    loss = ContrastiveRepresentationLoss(num_data=6, num_negatives=2, dim=4)
    loss.check_data(RepeatDataset(data, times=5))
    with pytest.raises(ConfigError, match='has 6 images'):
        ContrastiveRepresentationLoss(num_data=5, dim=4).check_data(RepeatDataset(data, times=5))


@row
def fewer_images_than_a_batch_without_end(folder):
    data = [0, 1, 2]
    loader = DataLoader(data, batch_size=4, sampler=InfiniteSampler(data), drop_last=True)
    _check_length('train_dataloader', loader)
    assert len(next(iter(loader))) == 4
    with pytest.raises(ConfigError, match='has no batch'):
        _check_length('a', DataLoader(data, batch_size=4, drop_last=True))


@row
def a_config_with_validation_images_only(folder):
    pipeline = [dict(type='mmpretrain.PackInputs')]
    data = dict(type='mmrazor.Digits', split='test', pipeline=pipeline)
    loader = dict(dataset=data, num_workers=0, collate_fn=dict(type='default_collate'))
    cfg = Config(dict(val_dataloader=loader, train_dataloader=loader, test_dataloader=None))
    assert len(sample_images(cfg, 5).dataset) == 5


@row
def means_that_are_rounded_otherwise(folder):
    def made(*mean):
        return MODELS.build(dict(type='mmpretrain.ClsDataPreprocessor', mean=mean, std=[50.0] * 3))

    check_normalization(made(125.307, 122.961, 113.8575), made(125.31, 122.96, 113.86), 'a')
    with pytest.raises(ConfigError, match='was trained on images normalised by'):
        check_normalization(made(125.307, 122.961, 113.8575), made(123.675, 116.28, 103.53), 'a')


# Networks.


@row
def features_before_a_head_of_other_classes(folder):
    """MMRazor's distiller records what goes into a layer of the head, not its logits."""
    sides = dict(teacher=cifar_resnet_cfg(14, num_classes=100), architecture=cifar_resnet_cfg(8))
    mapping = {
        argument: dict(from_student=side, recorder='fc', data_idx=0)
        for argument, side in (('s_feature', True), ('t_feature', False))
    }

    def parts(kind):
        recorder = dict(fc=dict(type=f'mmrazor.{kind}', source='head.fc'))
        distiller = dict(
            type='mmrazor.ConfigurableDistiller',
            student_recorders=recorder,
            teacher_recorders=recorder,
            distill_losses=dict(loss_l2=FEATURE),
            loss_forward_mappings=dict(loss_l2=mapping),
        )
        model = dict(type='mmrazor.SingleTeacherDistill', distiller=distiller, **sides)
        return [name for name, _ in heads(MODELS.build(copy.deepcopy(model)))]

    assert parts('ModuleInputs') == ['model.architecture']
    assert parts('ModuleOutputs') == ['model.architecture', 'model.teacher']


@row
def maps_of_one_position(folder):
    student, teacher = torch.randn(4, 6, 1, 1), torch.randn(4, 8, 1, 1)
    for cls in (FactorTransferLoss, VariationalInformationLoss):
        loss = cls(student_channels=6, teacher_channels=8)
        assert torch.isfinite(loss(student, teacher))


class Convolutional(nn.Module):
    """A network whose classifier is a convolution, as SqueezeNet's and those of segmenters."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.classifier = nn.Conv2d(4, 10, 1)
        self.flat = nn.Flatten()
        self.pool = nn.AdaptiveAvgPool2d(1)

    def forward(self, x):
        return self.flat(self.pool(self.classifier(self.stem(x))))


@row
def logits_of_a_convolution(folder):
    assert find_logits(Convolutional(), (3, 8, 8)) == 'flat'
    wrapped = dict(type='mmrazor.ModuleClassifier', factory=Convolutional, num_classes=10)
    model = distill(KD, architecture=wrapped, teacher=wrapped)
    assert list(model.distiller.distill_losses) == ['loss_kd']


@row
def a_list_of_one_teacher(folder):
    torch.save(MODELS.build(cifar_resnet_cfg(14)).state_dict(), folder / 'a.pth')
    model = distill(KD, teacher=[cifar_resnet_cfg(14)], teacher_ckpt=[str(folder / 'a.pth')])
    assert type(model.teacher).__name__ == 'ImageClassifier'


@row
def residual_networks_of_any_depth(folder):
    network = MODELS.build(dict(type='mmrazor.CIFARResNet', depth=26))
    assert len(network.layer1) == 4 and network.depth == 26


@row
def a_weight_of_zero_where_nothing_is_cut(folder):
    parts = dict(architecture=cifar_resnet_cfg(8), teacher=cifar_resnet_cfg(14))
    lakd = dict(type='mmrazor.LAKD', attention_loss=None, feature_weights=[0, 1, 0.5], **parts)
    model = MODELS.build(dict(copy.deepcopy(lakd), detach=False))
    weights = [model.distiller.distill_losses[f'loss_module{i}'].loss_weight for i in (1, 2, 3)]
    assert weights == [0, 1, 0.5]
    with pytest.raises(ConfigError, match='numbers above 0'):
        MODELS.build(lakd)


# Networks whose parts have other names.


class Levels(nn.Module):
    """A neck that does not say how many maps it makes, as those of YOLO."""

    def __init__(self, width):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(width, 6, 3, 2**i, 1) for i in range(3))

    def forward(self, feature):
        return tuple(conv(feature) for conv in self.convs)


class Detector(BaseModel):
    def __init__(self, width, neck=Levels):
        super().__init__()
        self.backbone, self.neck = nn.Conv2d(3, width, 3), neck(width)

    def extract_feat(self, images):
        return self.neck(self.backbone(images))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        levels = self.extract_feat(inputs)
        return dict(loss=levels[0].mean()) if mode == 'loss' else levels


@row
def necks_without_num_outs(folder):
    def losses(at, neck=Levels):
        networks = dict(architecture=Detector(4, neck), teacher=Detector(8, neck))
        model = distill(dict(loss_l2=dict(loss=FEATURE, at=at)), **networks)
        return list(model.distiller.distill_losses)

    assert losses('neck') == ['loss_l21', 'loss_l22', 'loss_l23']
    assert losses(dict(neck=[2])) == ['loss_l2']
    with pytest.raises(ConfigError, match=r'neck \(Levels\) has no level 3; it has 3, counted'):
        losses(dict(neck=[3]))
    with pytest.raises(ConfigError, match=r'the student \(Detector\) has no neck of several maps'):
        losses('neck', lambda width: nn.Conv2d(width, 6, 1))


def torchvision_cfg(**options):
    factory = dict(factory='torchvision.models.resnet18', num_classes=10)
    return dict(type='mmrazor.ModuleClassifier', **{**factory, **options})


def lenet_cfg():
    backbone = dict(type='mmpretrain.LeNet5', num_classes=10)
    head = dict(type='mmpretrain.ClsHead')
    return dict(type='mmpretrain.ImageClassifier', backbone=backbone, head=head)


@row
def class_activation_maps_of_any_linear_head(folder):
    stacked = dict(type='mmpretrain.StackedLinearClsHead', mid_channels=[16], act_cfg=None)
    stacked = dict(cifar_resnet_cfg(8), head=dict(stacked, num_classes=10, in_channels=64))
    networks = [MODELS.build(cfg).eval() for cfg in (torchvision_cfg(), stacked)]
    (weight,) = (m.weight for m in networks[0].modules() if isinstance(m, nn.Linear))
    first, second = (m.weight for m in networks[1].head.modules() if isinstance(m, nn.Linear))
    images, labels = torch.randn(2, 3, 64, 64), torch.tensor([3, 7])
    places = [('backbone.layer4', weight), ('backbone.layer3', second @ first)]
    for network, (source, weight) in zip(networks, places):
        feature = record(network, [source], images)[source]
        expected = torch.einsum('nc,nchw->nhw', weight[labels], feature).clamp(min=0)
        found = class_activation_maps(network, images, labels)
        assert torch.allclose(found, expected, atol=1e-5) and expected.std() > 0
    with pytest.raises(ConfigError, match='more than the mean of its last map'):
        class_activation_maps(MODELS.build(lenet_cfg()).eval(), images[:, :1, :32, :32], labels)


def trained(weights=None):
    """Make a network, with weights where a file has some, as torchvision's functions do."""
    network = Convolutional()
    if weights is not None:
        network.load_state_dict(torch.load(weights))
    return network


@row
def teachers_of_metrics_that_bring_their_weights(folder):
    file = str(folder / 'a.pth')
    torch.save(trained().state_dict(), file)
    wrapped = torchvision_cfg(factory=trained)
    plain = cifar_resnet_cfg(8)
    torch.save(MODELS.build(plain).state_dict(), folder / 'b.pth')
    pretrained = dict(plain, init_cfg=dict(type='Pretrained', checkpoint=str(folder / 'b.pth')))
    own = dict(data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor'))
    for teacher, expected in (
        (dict(wrapped, weights=file), torch.load(file)['stem.weight']),
        (pretrained, torch.load(folder / 'b.pth')['backbone.conv1.weight']),
        ([pretrained, pretrained], torch.load(folder / 'b.pth')['backbone.conv1.weight']),
    ):
        metric = TeacherAgreement(teacher=teacher, **own)
        found = next(metric.teacher.get_submodule('backbone').parameters())
        assert torch.equal(found.cpu(), expected)
    for teacher in (wrapped, plain, [plain, pretrained]):
        with pytest.raises(ConfigError, match='give teacher_ckpt too'):
            TeacherAgreement(teacher=teacher, **own)
    # Of a distillation too, in training and in a test of the student's weights alone.
    for teacher, has_weights in ((dict(wrapped, weights=file), True), (wrapped, False)):
        model = distill(KD, architecture=wrapped, teacher=teacher)
        metric = Namespace(uses_runs_teacher=True, teacher=model.teacher)
        runner = Namespace(test_loop=Namespace(evaluator=Namespace(metrics=[metric])))
        with nullcontext() if has_weights else pytest.raises(ConfigError, match='random weights'):
            ModelForMetricsHook().before_test(runner)
        state = torch.get_rng_state()
        assert brings_weights(model.teacher) is has_weights
        assert torch.equal(torch.get_rng_state(), state)
        model = distill(KD, architecture=wrapped, teacher=teacher)
        with patch('lakd_mm.models.algorithms.distill.print_log') as said:
            model.init_weights()
        assert said.called is not has_weights


class Whole(BaseClassifier):
    """A classifier without backbone, neck and head, as ``TimmClassifier``."""

    def __init__(self):
        super().__init__()
        self.model = Convolutional()

    def forward(self, inputs, data_samples=None, mode='tensor'):
        logits = self.model(inputs)
        return logits if mode == 'tensor' else self._get_predictions(logits, data_samples)

    _get_predictions = TimmClassifier._get_predictions


@row
def classifiers_of_any_structure_in_an_ensemble(folder):
    images, samples = torch.randn(2, 3, 32, 32), [DataSample(), DataSample()]
    for first in (Whole, lambda: MODELS.build(torchvision_cfg())):
        members = [first(), Whole(), MODELS.build(cifar_resnet_cfg(8))]
        files = []
        for i, member in enumerate(members):
            files.append(str(folder / f'{i}.pth'))
            torch.save(member.state_dict(), files[-1])
        blank = [first(), Whole(), cifar_resnet_cfg(8)]
        model = distill(KD, teacher=blank, teacher_ckpt=files).eval()
        with torch.no_grad():
            mean = sum(member.eval()(images, mode='tensor') for member in members) / 3
            assert torch.allclose(model.teacher(images, mode='tensor'), mean, atol=1e-6)
            predicted = model.teacher(images, samples, mode='predict')
        assert [int(sample.pred_label) for sample in predicted] == mean.argmax(1).tolist()
        other = MODELS.build(cifar_resnet_cfg(8, num_classes=5))
        with pytest.raises(ConfigError, match='the teachers give 10, 5 logits'):
            distill(KD, teacher=[first(), other])


@row
def students_of_one_channel_that_do_not_say_so(folder):
    model = dict(architecture=lenet_cfg(), teacher=lenet_cfg())
    pipeline = [dict(type='mmpretrain.PackInputs')]
    loader = dict(dataset=dict(type='mmpretrain.MNIST', data_root='data', pipeline=pipeline))
    model = dict(type='mmrazor.SingleTeacherDistill', **model)
    cfg = Config(dict(model=model, test_dataloader=loader))
    student = MODELS.build(lenet_cfg())
    weights = {f'architecture.{key}': value for key, value in student.state_dict().items()}
    torch.save(dict(state_dict=weights), folder / 'epoch_1.pth')
    made = export_student(folder / 'epoch_1.pth', folder / 'student.pth', cfg)
    assert made.image_shape == (1, 32, 32) and made.note is None  # on the order of colours
    assert export_program(made.network, folder / 'a.pt2', made.image_shape) <= 1e-4


@pytest.fixture(autouse=True)
def tools(root, monkeypatch):
    for folder in ('analysis_tools', '.'):
        monkeypatch.syspath_prepend(str(root / 'tools' / folder))


@pytest.mark.parametrize('name', ROWS)
def test_right_input_is_taken(name, tmp_path):
    ROWS[name](tmp_path)
