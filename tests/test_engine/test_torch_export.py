"""Students of several families out of a distillation's checkpoint, in every format."""

import json

import onnxruntime
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.apis import get_model
from mmrazor.registry import MODELS
from networks import classifier_cfg, scatter_statistics

from lakd_mm.engine import ConfigError, export_student
from lakd_mm.engine.onnx_export import OnnxClassifier, export_onnx, quantize_onnx
from lakd_mm.engine.torch_export import export_program, trace

VIT = dict(embed_dims=16, num_layers=2, num_heads=2, feedforward_channels=32)
SWIN = dict(embed_dims=8, depths=[1, 1, 2, 1], num_heads=[1, 1, 2, 2])
FAMILIES = {
    'resnet': classifier_cfg(
        dict(type='mmpretrain.ResNet', depth=18, base_channels=8, stem_channels=8), 5
    ),
    'mobilenet': classifier_cfg(dict(type='mmpretrain.MobileNetV2', widen_factor=0.1), 5, 1280),
    'vit': dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(type='mmpretrain.VisionTransformer', arch=VIT, img_size=64, patch_size=16),
        head=dict(type='mmpretrain.VisionTransformerClsHead', num_classes=5, in_channels=16),
    ),
    'swin': classifier_cfg(
        dict(
            type='mmpretrain.SwinTransformer', arch=SWIN, img_size=64, patch_size=2, window_size=4
        ),
        5,
    ),
}


def checkpoint(architecture, path):
    """Save a distillation's checkpoint of that student, and return the student."""
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    network = scatter_statistics(MODELS.build(Config(architecture)))
    preprocessor = dict(type='mmpretrain.ClsDataPreprocessor', mean=[1.0, 2.0, 3.0], std=[4.0] * 3)
    model = dict(type='mmrazor.LAKD', architecture=architecture, input_shape=(3, 64, 64))
    cfg = Config(dict(model=model, data_preprocessor=preprocessor))
    state = {f'architecture.{key}': value for key, value in network.state_dict().items()}
    meta = dict(cfg=cfg.pretty_text, dataset_meta=dict(classes=tuple('abcde')))
    torch.save(dict(meta=meta, state_dict=state), path)
    return network


@pytest.mark.slow
@pytest.mark.parametrize('family', FAMILIES)
def test_a_student_of_any_family_computes_the_same(family, tmp_path):
    network = checkpoint(FAMILIES[family], tmp_path / 'epoch_1.pth')
    made = export_student(tmp_path / 'epoch_1.pth', tmp_path / 'student.pth')
    plain = get_model(str(tmp_path / 'student.py'), str(tmp_path / 'student.pth'))
    images = torch.randn(5, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = network(images)
        assert torch.equal(plain(images), expected)
        assert expected.std() > 0.01 * expected.abs().mean() > 0
        near = 1e-4 * expected.abs().max()

        file = tmp_path / 'student.pt2'
        assert export_program(made.network, file, made.image_shape, made.classes) <= 1e-4
        facts = dict(classes='', mean='', std='')
        program = torch.export.load(file, extra_files=facts).module()
        for count in (1, 5):
            assert (program(images[:count]) - expected[:count]).abs().max() <= near
    facts = {key: json.loads(value) for key, value in facts.items()}
    assert facts == dict(classes=list('abcde'), mean=[1.0, 2.0, 3.0], std=[4.0] * 3)

    if family in ('mobilenet', 'swin'):  # test_onnx has a residual network
        file = tmp_path / 'student.onnx'
        assert export_onnx(made.network, file, made.image_shape) <= 1e-4
        session = onnxruntime.InferenceSession(str(file), providers=['CPUExecutionProvider'])
        (found,) = session.run(['logits'], {'images': images.numpy()})
        assert (torch.from_numpy(found) - expected).abs().max() <= near
        assert torch.equal(OnnxClassifier(file)(images), torch.from_numpy(found))


def test_int8_leaves_group_normalization_alone(tmp_path):
    """PoolFormer's; what ONNX Runtime makes of it, it cannot run."""
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    arch = dict(
        layers=[1] * 4, embed_dims=[8, 12, 16, 20], mlp_ratios=[2] * 4, layer_scale_init_value=0.5
    )
    backbone = dict(type='mmpretrain.PoolFormer', arch=arch)
    network = MODELS.build(Config(classifier_cfg(backbone, 5, 20))).eval()
    images, files = torch.randn(4, 3, 64, 64), (tmp_path / 'float32.onnx', tmp_path / 'int8.onnx')
    export_onnx(network, files[0], (3, 64, 64))
    quantize_onnx(*files, [images])
    with torch.no_grad():
        expected = network(images)
    error = (OnnxClassifier(files[1])(images) - expected).abs().max() / expected.abs().max()
    assert 0 < error < 0.2


class Mean(torch.nn.Module):
    """The smallest thing from images to logits."""

    data_preprocessor = None

    def forward(self, images):
        return images.mean(dim=(2, 3))


class Branch(Mean):
    """What it computes depends on the numbers in the images."""

    def forward(self, images):
        return super().forward(images) * (2 if images.sum() > 0 else 1)


class Tasks(Mean):
    """Several tasks."""

    def forward(self, images):
        return dict(one=super().forward(images))


def test_what_cannot_be_traced_is_refused(tmp_path):
    with pytest.raises(ConfigError, match='torch.export cannot trace this Branch: Could not guard'):
        export_program(Branch(), tmp_path / 'a.pt2', (3, 4, 4))
    with pytest.raises(ConfigError, match='Tasks returns a dict, not the logits of one task'):
        trace(Tasks(), (3, 4, 4))
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_an_opset_that_is_too_old_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r'ONNX: opset 7 is too old for .* operators; take \d\d'):
        export_onnx(Mean(), tmp_path / 'a.onnx', (3, 4, 4), opset=7)
    assert not list(tmp_path.iterdir())


def test_what_onnx_runtime_cannot_run_is_refused():
    with pytest.raises(ConfigError, match='ONNX Runtime .* cannot run this ONNX'):
        OnnxClassifier(b'no model')
