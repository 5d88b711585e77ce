"""Stages, cuts and class maps found by running a network."""

import pytest
import torch
from mmengine.model import BaseModel
from mmpretrain.models import LinearClsHead
from mmrazor.registry import MODELS
from networks import cifar_resnet_cfg, cifar_vgg_cfg, cifar_wrn_cfg, classifier_cfg
from torch import nn

from lakd_mm.models.places.cams import cam_place
from lakd_mm.models.places.layouts import Layout, layout_of
from lakd_mm.models.places.logits import find_logits
from lakd_mm.models.places.taps import stage_blocks
from lakd_mm.models.places.trace import (
    _outermost,
    find_stages,
    modules_passed,
    paired_stages,
)

IMAGE = (3, 32, 32)
VIT = dict(
    type='mmpretrain.VisionTransformer',
    arch=dict(embed_dims=16, num_layers=6, num_heads=2, feedforward_channels=16),
    img_size=32,
    patch_size=8,
)
MOBILENET = dict(type='mmpretrain.MobileNetV2', widen_factor=0.1)


def names(stages):
    return [[block.name for block in stage] for stage in stages]


def vit(out_type='cls_token', **kwargs):
    cfg = classifier_cfg(dict(VIT, out_type=out_type, **kwargs), in_channels=16)
    if out_type != 'featmap':
        cfg.pop('neck')
    return MODELS.build(cfg)


@pytest.mark.parametrize(
    'cfg',
    [
        cifar_resnet_cfg(14),
        cifar_wrn_cfg(16),
        classifier_cfg(
            dict(type='mmpretrain.ResNet', depth=18, base_channels=8, stem_channels=8),
            in_channels=64,
        ),
    ],
)
def test_running_finds_the_blocks_of_residual_networks_as_their_names_do(cfg):
    network = MODELS.build(cfg)
    passed = modules_passed(network, IMAGE)
    found = sorted(_outermost(network.backbone, 'backbone.', passed, False), key=lambda x: -x[0])
    named = stage_blocks(network)
    assert [block.name for _, block in found] == [name for stage in named for name in stage]
    assert names(find_stages(network, IMAGE)) == named


def test_names_decide_on_stages_of_one_resolution():
    network = MODELS.build(cifar_vgg_cfg(8))
    stages = find_stages(network, IMAGE)
    assert names(stages) == stage_blocks(network)
    assert [stage[-1].layout.size[0] for stage in stages] == [16, 8, 4, 4]


def test_stages_pair_by_resolution_where_their_numbers_differ():
    student = MODELS.build(classifier_cfg(MOBILENET, in_channels=1280))
    teacher = MODELS.build(
        classifier_cfg(
            dict(type='mmpretrain.ResNet', depth=18, base_channels=8, stem_channels=8),
            in_channels=64,
        )
    )
    of_student, of_teacher = paired_stages(student, teacher, (3, 64, 64))
    ends = [stage[-1] for stage in of_student]
    assert [end.layout.size for end in ends] == [s[-1].layout.size for s in of_teacher]
    assert [end.name for end in ends] == [
        'backbone.layer2.1',
        'backbone.layer3.2',
        'backbone.layer5.2',
        'backbone.layer7.0',
    ]


def test_a_network_of_one_resolution_is_divided_by_depth():
    stages = find_stages(vit(), IMAGE)
    layers = [f'backbone.layers.{i}' for i in range(6)]
    assert names(stages) == [layers[:2], layers[2:3], layers[3:4], layers[4:]]
    assert stages[0][0].layout == Layout((4, 4), 16, 'tokens')
    resnet = MODELS.build(cifar_resnet_cfg(8))
    of_student, of_teacher = paired_stages(vit(), resnet, IMAGE)
    assert names(of_student) == [layers[:2], layers[2:4], layers[4:]]
    assert names(of_teacher) == stage_blocks(resnet)


@pytest.mark.parametrize(
    'shape, layout',
    [
        ((2, 8, 4, 4), Layout((4, 4), 8, 'map')),
        ((2, 4, 4, 8), Layout((4, 4), 8, 'channels_last')),
        ((2, 16, 8), Layout((4, 4), 8, 'tokens')),
        ((2, 17, 8), Layout((4, 4), 8, 'tokens')),
        ((2, 18, 8), Layout((4, 4), 8, 'tokens')),
        ((2, 19, 8), None),
        ((2, 16, 1), None),
        ((2, 8), None),
    ],
)
def test_layouts(shape, layout):
    assert layout_of(shape, IMAGE) == layout


def test_layouts_of_oblong_images():
    assert layout_of((2, 8, 16), (3, 64, 32)) == Layout((4, 2), 16, 'tokens')


def maps_of(network, image=IMAGE):
    """The class activation maps of noise, and the logits without their bias."""
    place = cam_place(network.eval(), image, 'it', trained=False)
    records, of_inputs = [], place['recorder']['type'] == 'mmrazor.ModuleInputs'
    source = network.get_submodule(place['recorder']['source'])
    source.register_forward_hook(lambda m, args, out: records.append(args if of_inputs else out))
    images = torch.rand(2, *image)
    logits = network(images, mode='tensor')
    record = records[0][place['record']['data_idx']] if place['record'] else records[0]
    connector = MODELS.build(place['connector'])
    for module in connector.modules():
        if hasattr(module, 'attach'):
            module.attach(network)
    zero = network.head
    bias = zero.fc.bias if hasattr(zero, 'fc') else None
    return connector(record), logits - bias if bias is not None else logits


class PoolInside(nn.Module):
    def __init__(self, num_classes, norm):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.Conv2d(8, 6, 3, 2))
        self.norm = nn.LayerNorm(6) if norm else nn.Identity()
        self.fc = nn.Linear(6, num_classes, bias=False)

    def forward(self, x):
        return self.fc(self.norm(self.layers(x).mean((2, 3))))


def module_classifier(norm):
    return MODELS.build(
        dict(type='mmrazor.ModuleClassifier', factory=PoolInside, num_classes=5, norm=norm)
    )


class SharesItsActivation(nn.Module):
    """Its last map is that which the pooling gets, as in EfficientNet-lite; squeezes inside."""

    def __init__(self, num_classes):
        super().__init__()
        self.stem, self.top = nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 6, 3, 2)
        self.act, self.squeeze, self.pool = nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.AvgPool2d(7)
        self.fc = nn.Linear(6, num_classes, bias=False)

    def forward(self, x):
        x = self.act(self.stem(x))
        x = x * self.squeeze(x)
        return self.fc(self.pool(self.act(self.top(x))).flatten(1))


def test_the_map_that_is_pooled():
    cfg = dict(type='mmrazor.ModuleClassifier', factory=SharesItsActivation, num_classes=5)
    place = cam_place(MODELS.build(cfg), IMAGE, 'it', trained=True)
    assert place['recorder'] == dict(type='mmrazor.ModuleInputs', source='backbone.pool')
    maps, logits = maps_of(MODELS.build(cfg))
    assert maps.shape == (2, 5, 7, 7)
    assert torch.allclose(maps.mean((2, 3)), logits, atol=1e-5)


def fused():
    """The neck makes one map of those of all resolutions, as HRNet's does."""
    backbone = dict(type='mmpretrain.ResNet', depth=18, base_channels=8, stem_channels=8)
    cfg = classifier_cfg(dict(backbone, out_indices=range(4)), in_channels=2048)
    cfg['neck'] = [dict(type='mmpretrain.HRFuseScales', in_channels=(8, 16, 32, 64)), cfg['neck']]
    return MODELS.build(cfg)


@pytest.mark.parametrize(
    'make',
    [
        lambda: MODELS.build(cifar_resnet_cfg(8)),
        fused,
        lambda: vit('featmap', with_cls_token=False),
        lambda: module_classifier(False),
    ],
)
def test_the_mean_of_class_maps_is_the_logits(make):
    torch.manual_seed(0)
    maps, logits = maps_of(make(), (3, 64, 64) if make is fused else IMAGE)
    assert maps.ndim == 4 and maps.shape[2] > 1
    assert torch.allclose(maps.mean((2, 3)), logits, atol=1e-5)


class TwoClassifiers(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(64)
        self.a, self.b = nn.Linear(64, 10), nn.Linear(64, 10)

    def forward(self, features):
        x = self.norm(features[-1])
        return (self.a(x) + self.b(x)) / 2


def test_a_plain_head_behind_features_that_vanish():
    """Untrained deep networks shrink their features to where sums with a bias lose them."""
    network = MODELS.build(cifar_resnet_cfg(8))
    for norm in (m for m in network.backbone.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.weight.data.mul_(1e-4)
    network.head.fc.bias.data.fill_(1.0)
    place = cam_place(network, IMAGE, 'of the student', trained=True)
    assert place['connector'] == dict(type='mmrazor.CAMConnector', classifier='head.fc')


def test_a_head_of_several_linear_layers():
    torch.manual_seed(0)
    network = MODELS.build(cifar_resnet_cfg(8))
    network.head = TwoClassifiers()
    network.head.norm.running_mean.uniform_(-1, 1)
    maps, logits = maps_of(network)
    constant = network.head((torch.zeros(1, 64),))
    assert torch.allclose(maps.mean((2, 3)), logits - constant, atol=1e-5)
    with pytest.raises(ValueError, match='BatchNorm behind the pooling is not linear in training'):
        cam_place(network, IMAGE, 'it', trained=True)


HIDDEN = dict(
    type='mmpretrain.StackedLinearClsHead', num_classes=10, in_channels=64, mid_channels=[32]
)


def untrained_hidden():
    """With so small weights the hidden layer is nearly linear."""
    head = dict(HIDDEN, act_cfg=dict(type='HSwish'))
    network = MODELS.build(dict(cifar_resnet_cfg(8), head=head))
    for parameter in network.head.parameters():
        torch.nn.init.normal_(parameter, std=0.01)
    return network


class SeveralLogits(LinearClsHead):
    def forward(self, feats):
        score = super().forward(feats)
        return score, score


def several_logits(network):
    network.head.__class__ = SeveralLogits
    return network


@pytest.mark.parametrize(
    'make, reason',
    [
        (vit, 'predicts from a class token'),
        (lambda: several_logits(MODELS.build(cifar_resnet_cfg(8))), 'predicts with a tuple, not'),
        (lambda: several_logits(vit()), 'predicts with a tuple, not'),
        (lambda: MODELS.build(dict(cifar_resnet_cfg(8), head=HIDDEN)), 'hidden layer behind the'),
        (untrained_hidden, 'hidden layer behind the pooling'),
        (lambda: module_classifier(True), 'a normalization or hidden layer behind the pooling'),
        (
            lambda: MODELS.build(
                dict(cifar_resnet_cfg(8), neck=dict(type='mmpretrain.GeneralizedMeanPooling'))
            ),
            'more than the mean of its last map',
        ),
    ],
)
def test_why_there_are_no_class_maps(make, reason):
    with pytest.raises(ValueError, match=f'it: .*{reason}.*attention_loss=None'):
        cam_place(make(), IMAGE, 'it', trained=True)


def test_logits_of_a_head_with_a_margin():
    head = dict(type='mmpretrain.ArcFaceClsHead', num_classes=10, in_channels=64)
    network = MODELS.build(dict(cifar_resnet_cfg(8), head=head))
    assert find_logits(network, IMAGE) == 'head'
    assert find_logits(MODELS.build(cifar_resnet_cfg(8)), IMAGE) == 'head.fc'


def test_logits_of_a_head_that_only_predicts():
    head = dict(type='mmpretrain.EfficientFormerClsHead', num_classes=10, in_channels=64)
    network = MODELS.build(dict(cifar_resnet_cfg(8), head=head))
    assert find_logits(network, IMAGE, trained=False) == 'head'
    with pytest.raises(ValueError, match='EfficientFormerClsHead cannot be trained: MMPretrain'):
        find_logits(network, IMAGE)


class ChannelsLast(nn.Module):
    def forward(self, x):
        return x.permute(0, 2, 3, 1).contiguous()


class ViewsItsMap(nn.Module):
    """Behind its last map, where the channels may come last, it needs one piece of memory."""

    def __init__(self, num_classes, channels_last):
        super().__init__()
        last = ChannelsLast() if channels_last else nn.ReLU()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 8, 8), last)
        self.fc = nn.Linear(8 * 16, num_classes)

    def forward(self, x):
        return self.fc(self.layers(x).view(len(x), -1))


@pytest.mark.parametrize('channels_last', [False, True])
def test_maps_that_the_head_views_as_one_piece_of_memory(channels_last):
    cfg = dict(type='mmrazor.ModuleClassifier', factory=ViewsItsMap, num_classes=5)
    network = MODELS.build(dict(cfg, channels_last=channels_last))
    with pytest.raises(ValueError, match='it: it predicts from more than the mean of its last map'):
        cam_place(network, IMAGE, 'it', trained=True)


class Plain(nn.Module):
    """Layers without blocks, as in AlexNet."""

    def __init__(self, num_classes):
        super().__init__()
        layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(inplace=True)]
        layers += [nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2)]
        self.features, self.pool = nn.Sequential(*layers), nn.AdaptiveAvgPool2d(4)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(128, num_classes))

    def forward(self, x):
        return self.classifier(self.pool(self.features(x)))


def test_blocks_of_a_network_of_single_layers():
    cfg = dict(type='mmrazor.ModuleClassifier', factory=Plain, num_classes=5)
    stages = find_stages(MODELS.build(cfg), IMAGE)
    layers = 'backbone.features.'
    assert names(stages) == [[f'{layers}3', f'{layers}5'], [f'{layers}8']]


def test_blocks_of_a_network_inside_another():
    kwargs = dict(image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=8)
    cfg = dict(type='mmrazor.ModuleClassifier', factory='torchvision.models.VisionTransformer')
    stages = find_stages(MODELS.build(dict(cfg, num_classes=5, **kwargs)), IMAGE)
    layers = 'backbone.encoder.layers.encoder_layer_'
    assert names(stages) == [[f'{layers}0'], [f'{layers}1']]


class PatchesInTheBatch(nn.Module):
    """Runs a layer on every quarter of an image by itself."""

    def __init__(self, num_classes):
        super().__init__()
        self.stem, self.inner = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 8, 3, padding=1)
        self.last, self.fc = nn.Conv2d(8, 8, 1), nn.Linear(8, num_classes)

    def forward(self, x):
        x = self.stem(x)
        n, c, h, w = x.shape
        x = x.view(n, c, 2, h // 2, 2, w // 2).permute(0, 2, 4, 1, 3, 5).flatten(0, 2)
        x = self.inner(x)
        x = x.view(n, 2, 2, c, h // 2, w // 2).permute(0, 3, 1, 4, 2, 5).reshape(n, c, h, w)
        return self.fc(self.last(x).mean((2, 3)))


def test_parts_of_images_in_the_batch_are_no_place():
    cfg = dict(type='mmrazor.ModuleClassifier', factory=PatchesInTheBatch, num_classes=5)
    stages = find_stages(MODELS.build(cfg), IMAGE)
    assert sum(names(stages), []) == ['backbone.stem', 'backbone.last']


class Branches(BaseModel):
    """Two branches from the images, which nothing passes as a whole."""

    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 10)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.fc((self.left(inputs) + self.right(inputs)).mean((2, 3)))


def test_a_network_that_cannot_be_cut():
    cfg = dict(type='mmrazor.LAKD', teacher=cifar_resnet_cfg(8))
    with pytest.raises(ValueError, match=r'taps: Branches \(Branches\) cannot be cut: it has no'):
        MODELS.build(dict(cfg, architecture=Branches()))
