"""A distillation's checkpoint in, a plain classifier out."""

import copy
import json
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.apis import get_model
from mmpretrain.structures import DataSample
from mmrazor.registry import MODELS
from networks import cifar_resnet_cfg, classifier_cfg

from lakd_mm.engine import ConfigError, ExportStudentHook, export_student
from lakd_mm.engine.networks import choose_checkpoint, load_network
from lakd_mm.engine.onnx_export import check_onnx_packages, export_onnx
from lakd_mm.engine.plain_config import plain_config

PREPROCESSOR = dict(
    type='mmpretrain.ClsDataPreprocessor',
    mean=[120.0, 110.0, 100.0],
    std=[60.0, 61.0, 62.0],
    to_rgb=True,
)
CROP_FLIP = dict(PREPROCESSOR, type='mmrazor.CropFlipDataPreprocessor', padding=2, flip_prob=1.0)
PACK = dict(type='mmpretrain.PackInputs')
READ = dict(type='LoadImageFromFile')
FILES = dict(type='mmpretrain.CustomDataset', data_root='data', pipeline=[READ, PACK])
MMPRETRAIN_NET = classifier_cfg(
    dict(
        type='mmpretrain.ResNet_CIFAR',
        depth=18,
        stem_channels=8,
        base_channels=8,
        init_cfg=dict(type='Pretrained', checkpoint='/nowhere/start.pth'),
    )
)
WRAPPED = dict(type='mmrazor.GradientDetachStudent', architecture=cifar_resnet_cfg(8), taps=[1, 3])
LAKD = dict(type='mmrazor.LAKD', teacher=cifar_resnet_cfg(14), teacher_taps=[2, 4, 6])
logits = dict(type='mmrazor.ModuleOutputs', source='head.fc')
KD = dict(
    type='mmrazor.SingleTeacherDistill',
    teacher=cifar_resnet_cfg(8),
    distiller=dict(
        type='mmrazor.ConfigurableDistiller',
        student_recorders=dict(logits=logits),
        teacher_recorders=dict(logits=logits),
        distill_losses=dict(loss_kd=dict(type='mmrazor.KLDivergence')),
        loss_forward_mappings=dict(
            loss_kd=dict(
                preds_S=dict(recorder='logits', from_student=True),
                preds_T=dict(recorder='logits', from_student=False),
            )
        ),
    ),
)


def config(model, preprocessor=PREPROCESSOR, dataset=FILES, **keys):
    return Config(
        dict(
            default_scope='mmpretrain',
            custom_imports=dict(imports=['lakd_mm'], allow_failed_imports=False),
            data_preprocessor=preprocessor,
            model=model,
            test_dataloader=dict(batch_size=4, dataset=dataset, num_workers=0),
            test_evaluator=dict(type='mmpretrain.Accuracy', topk=(1,)),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            **keys,
        )
    )


CASES = {
    'ours': config(dict(LAKD, architecture=cifar_resnet_cfg(8))),
    'wrapped': config(dict(LAKD, architecture=WRAPPED, teacher_taps=[2, 6])),
    'mmpretrain': config(dict(KD, architecture=dict(MMPRETRAIN_NET, train_cfg=dict()))),
    'cfg_path': config(
        dict(KD, architecture=dict(cfg_path='mmpretrain::resnet/resnet18_8xb16_cifar10.py'))
    ),
    'in_memory': config(
        dict(KD, architecture=MMPRETRAIN_NET),
        CROP_FLIP,
        dict(type='mmrazor.InMemory', dataset=dict(FILES, pipeline=[READ])),
    ),
}


def trained(cfg, path, classes=tuple('abcdefghij'), **more):
    """An algorithm after two forwards, saved as MMEngine saves it; in eval mode."""
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    model = copy.deepcopy(cfg.model)
    model.setdefault('data_preprocessor', copy.deepcopy(cfg.data_preprocessor))
    algorithm = MODELS.build(model).train()
    for _ in range(2):  # away from BatchNorm's initial statistics
        algorithm.architecture(torch.randn(4, 3, 32, 32) * 3 + 1)
    meta = dict(cfg=cfg.pretty_text, epoch=7, iter=70, dataset_meta=dict(classes=classes))
    checkpoint = dict(meta=meta, state_dict=algorithm.state_dict(), optimizer={}, message_hub={})
    torch.save(dict(checkpoint, **more), path)
    # As loading does, or convolutions may round otherwise.
    return algorithm.to(memory_format=torch.contiguous_format).eval()


@pytest.fixture
def images():
    generator = np.random.default_rng(0)
    return torch.from_numpy(generator.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8))


@pytest.mark.parametrize('case', CASES)
def test_the_exported_student_predicts_the_same(case, tmp_path, images):
    algorithm = trained(CASES[case], tmp_path / 'epoch_7.pth')
    export_student(tmp_path / 'epoch_7.pth', tmp_path / 'out' / 'student.pth')
    plain = get_model(str(tmp_path / 'out/student.py'), str(tmp_path / 'out/student.pth'))
    assert type(plain).__name__ == 'ImageClassifier'
    inputs = images.float()
    with torch.no_grad():
        expected = algorithm(inputs, mode='tensor')
        assert torch.equal(plain(inputs), expected)
        assert expected.std() > 0
        batch = dict(inputs=images, data_samples=[DataSample() for _ in images])
        scores = [s.pred_score for s in algorithm.test_step(copy.deepcopy(batch))]
        found = [s.pred_score for s in plain.test_step(batch)]
    if case == 'in_memory':  # Its images are channels-last, in which convolutions round otherwise.
        torch.testing.assert_close(scores, found, rtol=1e-5, atol=1e-7)
    else:
        assert all(torch.equal(a, b) for a, b in zip(scores, found, strict=True))
    assert plain._dataset_meta == dict(classes=tuple('abcdefghij'))

    text = (tmp_path / 'out' / 'student.py').read_text()
    ours = case in ('ours', 'wrapped')
    assert ('lakd_mm' in text) == ('mmrazor' in text) == ours
    assert 'Pretrained' not in text and 'teacher' not in text and 'optim' not in text
    cfg = Config.fromfile(tmp_path / 'out' / 'student.py')
    assert [step.type.split('.')[-1] for step in cfg.test_dataloader.dataset.pipeline] == [
        'LoadImageFromFile',
        'PackInputs',
    ]
    assert cfg.model.data_preprocessor.mean == PREPROCESSOR['mean']


def test_nothing_but_the_student_is_kept(tmp_path):
    algorithm = trained(CASES['ours'], tmp_path / 'epoch_7.pth')
    made = export_student(tmp_path / 'epoch_7.pth', tmp_path / 'student.pth')
    saved = torch.load(tmp_path / 'student.pth', weights_only=True)
    assert saved.keys() == {'meta', 'state_dict'}
    assert saved['state_dict'].keys() == algorithm.student.state_dict().keys()
    assert saved['meta'].keys() == {'cfg', 'epoch', 'iter', 'dataset_meta'}
    assert saved['meta']['epoch'] == 7
    # Read back by our own tools too, with the config that is inside.
    network, _ = load_network(str(made.files[1]), str(made.files[0]))
    for name, tensor in algorithm.student.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor)


def test_moving_averages(tmp_path):
    path, out = tmp_path / 'epoch_1.pth', tmp_path / 'student.pth'
    algorithm = trained(CASES['ours'], path)
    with pytest.raises(ConfigError, match='holds no moving averages'):
        export_student(path, out, averaged=True)
    # As MMEngine saves them: the averages are the weights, the weights lie where the averages did.
    raw = {f'module.{k}': v + 1 for k, v in algorithm.state_dict().items() if k.endswith('.weight')}
    trained(CASES['ours'], path, ema_state_dict=dict(raw, steps=torch.tensor(5)))
    name = 'backbone.conv1.weight'
    expected = algorithm.student.state_dict()[name]
    for averaged, weight in ((None, expected), (True, expected), (False, expected + 1)):
        made = export_student(path, out, averaged=averaged, force=True)
        assert torch.equal(made.network.state_dict()[name], weight)
        assert made.averaged is (averaged is not False)


def test_refusals(tmp_path):
    path, out = tmp_path / 'epoch_1.pth', tmp_path / 'student.pth'
    trained(CASES['ours'], path)
    made = export_student(path, out)
    with pytest.raises(ConfigError, match='student.pth exists; .*--force'):
        export_student(path, out)
    with pytest.raises(ConfigError, match='is the checkpoint to read'):
        export_student(path, path, force=True)
    with pytest.raises(ConfigError, match='is a folder'):
        export_student(path, tmp_path)
    with pytest.raises(ConfigError, match='name a .pth'):
        export_student(path, tmp_path / 'student2.py')
    with pytest.raises(ConfigError, match='plain classifier already'):
        export_student(out, tmp_path / 'again.pth')
    with pytest.raises(ConfigError, match=r'student.py: model is a .*Classifier, .* no student'):
        export_student(path, tmp_path / 'again.pth', config=str(made.files[1]))
    deeper = config(dict(LAKD, architecture=cifar_resnet_cfg(14)))
    with pytest.raises(ConfigError, match=r'(?s)not fit the student.*depth=14.*layer1.1.conv1'):
        export_student(path, tmp_path / 'again.pth', config=deeper)
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        'epoch_1.pth',
        'student.pth',
        'student.py',
    ]


@pytest.mark.parametrize(
    'text, message',
    [
        ('', 'not in it; name it with --config'),
        ("__import__('pathlib').Path('{}/ran').touch()", 'line 1 is no assignment'),
        ("model = __import__('pathlib').Path('{}/ran').touch()", 'more than values .line 1 calls'),
        ("model = dict(type=open('{}/ran', 'w'))", 'line 1 calls open'),
    ],
)
def test_the_config_in_a_checkpoint_is_not_run(tmp_path, text, message):
    path = tmp_path / 'epoch_1.pth'
    state = {'architecture.head.fc.weight': torch.zeros(1)}
    torch.save(dict(meta=dict(cfg=text.format(tmp_path)), state_dict=state), path)
    with pytest.raises(ConfigError, match=message):
        export_student(path, tmp_path / 'student.pth')
    assert [file.name for file in tmp_path.iterdir()] == ['epoch_1.pth']


def test_the_config_in_a_checkpoint_is_read_as_mmengine_writes_it(tmp_path):
    path = tmp_path / 'epoch_1.pth'
    odd = {'a key': (1,), 2: [None, True, -1e-5, 'two\nlines', float('inf')], 'empty': dict()}
    cfg = config(dict(LAKD, architecture=cifar_resnet_cfg(8)), odd=odd)
    trained(cfg, path)
    assert export_student(path, tmp_path / 'student.pth').image_shape == (3, 32, 32)


def test_checkpoints_of_a_work_folder(tmp_path):
    with pytest.raises(ConfigError, match='holds no checkpoint'):
        choose_checkpoint(str(tmp_path))
    for name in ('epoch_9.pth', 'epoch_10.pth', 'student.pth'):
        torch.save({}, tmp_path / name)
    assert choose_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_10.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_9.pth'))
    assert choose_checkpoint(str(tmp_path)) == str(tmp_path / 'epoch_9.pth')
    for name in ('best_accuracy_top1_epoch_9.pth', 'best_accuracy_top1_epoch_10.pth'):
        torch.save({}, tmp_path / name)
    best = str(tmp_path / 'best_accuracy_top1_epoch_10.pth')
    assert choose_checkpoint(str(tmp_path)) == choose_checkpoint(best) == best
    (tmp_path / 'best_auto_iter_5.pth').touch()
    with pytest.raises(ConfigError, match='several metrics, name one: best_acc.*_10.pth, best_au'):
        choose_checkpoint(str(tmp_path))


def test_arrays_in_rgb_order_are_pointed_out(tmp_path):
    cifar = dict(type='mmpretrain.CIFAR10', data_root='data', pipeline=[PACK])
    preprocessor = dict(PREPROCESSOR, to_rgb=False)
    cfg = config(dict(KD, architecture=MMPRETRAIN_NET), preprocessor, cifar)
    trained(cfg, tmp_path / 'epoch_1.pth')
    note = export_student(tmp_path / 'epoch_1.pth', tmp_path / 'student.pth').note
    assert 'data_preprocessor=dict(to_rgb=True)' in note
    assert f'# {note}\n' in (tmp_path / 'student.py').read_text()
    files = (str(tmp_path / 'student.py'), str(tmp_path / 'student.pth'))
    assert not get_model(*files).data_preprocessor.to_rgb
    told = get_model(*files, data_preprocessor=dict(to_rgb=True)).data_preprocessor
    assert told.to_rgb and told.mean.flatten().tolist() == PREPROCESSOR['mean']
    trained(CASES['ours'], tmp_path / 'epoch_1.pth')
    assert export_student(tmp_path / 'epoch_1.pth', tmp_path / 'other.pth').note is None


def test_data_of_ours_become_those_of_mmpretrain(tmp_path):
    ours = dict(type='mmrazor.CIFAR10', data_root='data', pipeline=[])
    held = dict(type='mmrazor.InMemory', dataset=ours)
    cfg = config(dict(KD, architecture=MMPRETRAIN_NET), dict(CROP_FLIP, to_rgb=False), held)
    trained(cfg, tmp_path / 'epoch_1.pth')
    note = export_student(tmp_path / 'epoch_1.pth', tmp_path / 'student.pth').note
    assert 'arrays in RGB order' in note
    plain = Config.fromfile(tmp_path / 'student.py')
    dataset = plain.test_dataloader.dataset
    assert (dataset.type, dataset.data_root) == ('mmpretrain.CIFAR10', 'data')
    assert dataset.pipeline == [dict(type='PackInputs')] and 'custom_imports' not in plain


def test_published_weights_are_not_downloaded_again():
    backbone = dict(type='mmpretrain.TIMMBackbone', model_name='resnet18', pretrained=True)
    network = dict(classifier_cfg(backbone), pretrained='somewhere.pth')
    found = plain_config(config(dict(KD, architecture=network))).model
    assert found.backbone == dict(type='mmpretrain.TIMMBackbone', model_name='resnet18')
    assert 'pretrained' not in found


def test_image_shapes(tmp_path):
    steps = [READ, dict(type='mmpretrain.CenterCrop', crop_size=(48, 40)), PACK]
    cases = [
        (config(dict(KD, architecture=MMPRETRAIN_NET), dataset=dict(FILES, pipeline=steps)), 40),
        (config(dict(LAKD, architecture=cifar_resnet_cfg(8), input_shape=(3, 24, 24))), 24),
    ]
    for i, (cfg, height) in enumerate(cases):
        trained(cfg, tmp_path / 'epoch_1.pth')
        made = export_student(tmp_path / 'epoch_1.pth', tmp_path / f'{i}.pth')
        assert made.image_shape == (3, height, {40: 48, 24: 24}[height])


def test_onnx(tmp_path, images):
    import onnx
    import onnxruntime

    trained(CASES['ours'], tmp_path / 'epoch_1.pth')
    made = export_student(tmp_path / 'epoch_1.pth', tmp_path / 'student.pth')
    file = tmp_path / 'student.onnx'
    assert export_onnx(made.network, file, made.image_shape, made.classes) <= 1e-4
    facts = {prop.key: json.loads(prop.value) for prop in onnx.load(file).metadata_props}
    assert facts == dict(
        classes=list('abcdefghij'), mean=PREPROCESSOR['mean'], std=PREPROCESSOR['std']
    )
    session = onnxruntime.InferenceSession(str(file), providers=['CPUExecutionProvider'])
    mean, std = (torch.tensor(facts[key]).view(3, 1, 1) for key in ('mean', 'std'))
    batch = dict(inputs=images, data_samples=[DataSample() for _ in images])
    with torch.no_grad():
        expected = torch.stack([s.pred_score for s in made.network.test_step(batch)])
    # Test images are in BGR order, what goes into the file is in RGB order.
    prepared = (images.flip(1) - mean) / std
    for count in (1, 4):
        (found,) = session.run(['logits'], {'images': prepared[:count].numpy()})
        scores = torch.from_numpy(found).softmax(dim=1)
        assert torch.allclose(scores, expected[:count], atol=1e-5)

    with pytest.raises(ConfigError, match=r'images of the shape \(1, 32, 32\)'):
        export_onnx(made.network, file, (1, 32, 32))


def test_onnx_that_computes_something_else_is_not_written(tmp_path):
    class Forgetful(torch.nn.Module):
        """Computes something else when it is traced."""

        data_preprocessor = None

        def forward(self, images):
            factor = 1.001 if torch.compiler.is_compiling() else 1.0
            return images.mean(dim=(2, 3)) * factor

    with pytest.raises(ConfigError, match='differ from PyTorch by 1.0e-03'):
        export_onnx(Forgetful().eval(), tmp_path / 'a.onnx', (3, 8, 8))
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr('lakd_mm.errors.find_spec', {'onnx': 1}.get)
    with pytest.raises(ConfigError, match=r'needs onnxruntime, onnxscript, .*lakd_mm\[onnx\]'):
        check_onnx_packages()


def test_the_hook_refuses_before_training():
    hook = ExportStudentHook('tiny.pth')
    network = cifar_resnet_cfg(8)
    with pytest.raises(ConfigError, match='model is a mmpretrain.ImageClassifier, .* no student'):
        hook.before_train(SimpleNamespace(cfg=config(network)))
    cfg = CASES['ours']
    hook.before_train(SimpleNamespace(cfg=cfg))
    cfg = Config(cfg.to_dict(), cfg_text=cfg.pretty_text, filename='configs/tiny.py')
    with pytest.raises(ConfigError, match="would replace this training's own config tiny.py"):
        hook.before_train(SimpleNamespace(cfg=cfg))


IN_A_FRESH_PROCESS = """
import sys
if {blocked}:
    sys.modules['lakd_mm'] = sys.modules['mmrazor'] = None  # as if they were not installed
from mmpretrain.apis import ImageClassificationInferencer
inferencer = ImageClassificationInferencer('student.py', 'student.pth', device='cpu')
(result,) = inferencer('image.png')
assert ('lakd_mm' in sys.modules) and not {blocked} or sys.modules['lakd_mm'] is None
print()
print('RESULT', result['pred_class'], *map(float.hex, result['pred_scores'].astype(float)))
"""


@pytest.mark.parametrize('case', ['mmpretrain', 'ours'])
def test_the_inferencer_in_a_fresh_process(case, tmp_path, images, run):
    """MMPretrain alone loads a student of its own parts, and ours through its config."""
    trained(CASES[case], tmp_path / 'epoch_7.pth', classes=tuple(f'kind_{i}' for i in range(10)))
    made = export_student(tmp_path / 'epoch_7.pth', tmp_path / 'student.pth')
    image = images[0].permute(1, 2, 0).numpy()
    cv2.imwrite(str(tmp_path / 'image.png'), image)
    result = run(sys.executable, '-c', IN_A_FRESH_PROCESS.format(blocked=case == 'mmpretrain'))
    assert result.returncode == 0, result.stdout
    (line,) = [line for line in result.stdout.splitlines() if line.startswith('RESULT')]
    _, name, *scores = line.split()
    with torch.no_grad():
        batch = dict(inputs=images[:1], data_samples=[DataSample()])
        expected = made.network.test_step(batch)[0].pred_score
    found = torch.tensor([float.fromhex(score) for score in scores])
    assert torch.allclose(found, expected, atol=1e-6)
    assert name == f'kind_{int(expected.argmax())}'


def test_onnx_needs_a_torch_whose_exporter_works(monkeypatch):
    monkeypatch.setattr(torch, '__version__', '2.6.0+cu124')
    with pytest.raises(ConfigError, match=r'ONNX needs torch 2.7 or newer, and this is 2.6.0'):
        check_onnx_packages()
    monkeypatch.setattr(torch, '__version__', '2.8.0+cpu')
    check_onnx_packages()
