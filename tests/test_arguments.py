"""No argument is dropped in silence: of no registered class, and of no tool."""

import ast
import importlib.util
import inspect
import re
import sys
import textwrap
from pathlib import Path

import mmengine.registry
import mmpretrain.registry
import mmrazor.registry
import pytest
import torch
from mmengine.registry import Registry, init_default_scope
from mmrazor.registry import MODELS
from networks import cifar_resnet_cfg

import lakd_mm
import lakd_mm.evaluation
import lakd_mm.models
import lakd_mm.visualization
from lakd_mm.errors import ConfigError
from lakd_mm.models import GradientDetachStudent

ROOT = Path(__file__).parents[1]
PACKAGE = Path(lakd_mm.__file__).parent


def registered():
    """Collect everything of this package that a config can name, by name."""
    found = {}
    for module in (mmengine.registry, mmpretrain.registry, mmrazor.registry):
        for registry in vars(module).values():
            if isinstance(registry, Registry):
                for name, item in registry.module_dict.items():
                    if item.__module__.startswith('lakd_mm.'):
                        found[name] = item
    return found


REGISTERED = registered()


def wrapped():
    return GradientDetachStudent(MODELS.build(cifar_resnet_cfg(8)), [1, 2, 3])


def local_model():
    model = torch.nn.Linear(1, 1)
    model.backward = 'local'
    return model


PAIR = dict(architecture=cifar_resnet_cfg(8), teacher=cifar_resnet_cfg(8))
PLAIN = dict(avg_weight=0, max_weight=0)
KD = dict(loss_kd=dict(loss=dict(type='mmrazor.KLDivergence'), at='logits'))
FC = dict(type='mmrazor.ModuleOutputs', source='head.fc')
LOGITS = dict(
    type='mmrazor.ConfigurableDistiller',
    student_recorders=dict(fc=dict(type='mmrazor.ModuleOutputs', source='head.fc')),
    teacher_recorders=dict(fc=dict(type='mmrazor.ModuleOutputs', source='head.fc')),
    distill_losses=dict(loss_kd=dict(type='mmrazor.KLDivergence')),
    loss_forward_mappings=dict(
        loss_kd=dict(
            preds_S=dict(recorder='fc', from_student=True),
            preds_T=dict(recorder='fc', from_student=False),
        )
    ),
)
AT = dict(type='mmrazor.AttentionTransferLoss')
CAUSAL = dict(type='mmrazor.CausalATLoss')
REGRESSOR = dict(type='mmrazor.ConvModuleConnector', in_channel=64, out_channel=64)


PACK = [dict(type='PackInputs')]
WIDTHS = dict(student_channels=4, teacher_channels=4)
EMBEDDED = dict(WIDTHS, kernel='neighbours')


def transfer(**kwargs):
    return dict(transfers=dict(loss_x=dict(dict(loss=AT, at='stages'), **kwargs)))


def masked(**mask):
    return transfer(loss=CAUSAL, at=[2], mask=mask)


# Required arguments.
NEEDED = {
    'CBAMCIFARResNet': dict(depth=8),
    'CBAMResNet': dict(depth=18),
    'CBAMResNet_CIFAR': dict(depth=18),
    'CIFARResNet': dict(depth=8),
    'CIFAR10': dict(data_root='.', pipeline=[], lazy_init=True),
    'CIFAR100': dict(data_root='.', pipeline=[], lazy_init=True),
    'CIFARVGG': dict(depth=8),
    'CIFARWideResNet': dict(depth=10),
    'CanKDLoss': dict(in_channels=4),
    'Cohort': dict(members=dict(a=cifar_resnet_cfg(8))),
    'CohortCheckpointHook': dict(configs=dict()),
    'CohortEvaluator': dict(metrics=dict()),
    'CohortOptimWrapperConstructor': dict(optim_wrapper_cfg=dict()),
    'Corrupt': dict(name='jpeg', severity=1),
    'Distill': dict(PAIR),
    'FGDLoss': dict(in_channels=4),
    'FactorTransferLoss': WIDTHS,
    'GradientDetachStudent': dict(architecture=cifar_resnet_cfg(8), taps=[1]),
    'FusedSGD': dict(params=[torch.zeros(1)], lr=0.1),
    'InMemory': dict(dataset=dict(type='mmrazor.Digits', indices=4)),
    'LAKD': dict(PAIR),
    'LocalDistributedDataParallel': lambda: dict(module=local_model()),
    'MarginConnector': dict(norm='backbone.bn1'),
    'ModuleClassifier': dict(factory='torchvision.models.resnet18', num_classes=10),
    'PictureVisBackend': dict(save_dir='.'),
    'ReviewKDLoss': dict(student_channels=[4, 4], teacher_channels=[4, 4]),
    'SaliencyMask': dict(tap='backbone.layer3'),
    'TeacherEnsemble': dict(members=[cifar_resnet_cfg(8), cifar_resnet_cfg(8)]),
    'VariationalInformationLoss': WIDTHS,
    'class_share': dict(dataset=dict(type='mmrazor.Digits'), share=0.5),
    'whole_batch': dict(batch=None),
}
TEACHER = (dict(teacher_ckpt='a.pth'), 'give teacher and data_preprocessor too', {})
STYLE = (dict(style='caffe'), "style='caffe' would be ignored", dict(style='pytorch'))

# For each class with arguments: arguments without effect, what the error says, and correct ones. An
# empty list says that every argument has an effect in every combination.
CASES = {
    'AttentionTransferLoss': [],
    'CAMConnector': [],
    'CATLoss': [],
    'CBAMCIFARResNet': [STYLE],
    'CIFAR10': [],
    'CIFAR100': [],
    'Cohort': [],
    'CohortCheckpointHook': [],
    'CohortEvaluator': [],
    'CohortOptimWrapperConstructor': [
        (
            dict(paramwise_cfg=dict()),
            'paramwise_cfg of a cohort belongs into optim_wrapper.members.NAME',
            {},
        )
    ],
    'EpochRecordHook': [],
    'CBAMResNet': [STYLE, (dict(style='what'), 'style', dict(depth=50, style='caffe'))],
    'CBAMResNet_CIFAR': [STYLE],
    'CIFARResNet': [
        STYLE,
        (
            dict(zero_init_residual=True, init_cfg=dict(type='Pretrained', checkpoint='a.pth')),
            'zero_init_residual=True would be ignored',
            dict(init_cfg=dict(type='Pretrained', checkpoint='a.pth')),
        ),
    ],
    'CIFARMobileNetV2': [],
    'CIFARShuffleNetV1': [],
    'CIFARShuffleNetV2': [],
    'CIFARVGG': [],
    'CIFARWideResNet': [],
    'CalibrationError': [],
    'CanKDLoss': [
        (
            dict(max_scores=9),
            "max_scores=9 would be ignored with attention='dot'",
            dict(max_scores=9, attention='gaussian'),
        )
    ],
    'CausalATLoss': [],
    'CausalFALoss': [],
    'ChannelAttentionLoss': [],
    'ContrastiveAttentionLoss': [],
    'ContrastiveRepresentationLoss': [],
    'CorrelationCongruenceLoss': [
        (
            dict(EMBEDDED, order=3),
            "order=3 would be ignored with kernel='neighbours'",
            dict(order=3),
        ),
        (
            dict(EMBEDDED, gamma=1.0),
            "gamma=1.0 would be ignored with kernel='neighbours'",
            dict(gamma=1.0),
        ),
        (dict(dim=64), "dim=64 would be ignored with kernel='gaussian'", dict(EMBEDDED, dim=64)),
    ],
    # Some corruptions use no random numbers; they accept a seed, so that one serves all of them.
    'Corrupt': [],
    'CropFlipDataPreprocessor': [
        (
            dict(pad_value=1),
            'pad_value=1 would be ignored without pad_size_divisor',
            dict(pad_value=1, pad_size_divisor=32),
        )
    ],
    'DecoupledKDLoss': [],
    'Digits': [
        (dict(data_root='data'), "data_root='data' would be ignored", dict(data_root='')),
        (dict(data_prefix='x'), "data_prefix='x' would be ignored", {}),
        (dict(filter_cfg=dict(a=1)), 'filter_cfg=.* would be ignored', {}),
    ],
    'Distill': [
        ({}, 'give either transfers or a distiller', dict(transfers=KD)),
        (dict(transfers=KD, distiller=LOGITS), 'give either', dict(distiller=LOGITS)),
        (dict(transfers=KD, teacher_trainable=True), 'has no teacher_trainable', transfer()),
        (
            dict(transfers=KD, teacher_twice=True),
            "teacher_twice=True is for backward='local'",
            dict(transfers=KD, teacher_twice=False),
        ),
        (
            dict(transfers=KD, architecture=wrapped(), input_shape=(3, 64, 64)),
            r'input_shape=\(3, 64, 64\) would be ignored',
            dict(transfers=KD, architecture=wrapped()),
        ),
        (
            dict(transfers=KD, lean_teacher=dict(fold=True)),
            "lean_teacher has no 'fold'",
            transfer(),
        ),
        (dict(transfers=KD, backward=''), "backward='' is neither", transfer()),
        *(
            (
                dict(distiller={**LOGITS, key: {**LOGITS.get(key, {}), 'unused': part}}),
                part_error,
                {'distiller': LOGITS},
            )
            for key, part, part_error in (
                ('student_recorders', FC, 'student_recorders.unused would be ignored'),
                ('teacher_recorders', FC, 'teacher_recorders.unused would be ignored'),
                ('connectors', REGRESSOR, 'connectors.unused would be ignored'),
                (
                    'distill_losses',
                    dict(type='mmrazor.KLDivergence'),
                    'distill_losses.unused would be ignored',
                ),
            )
        ),
        (
            transfer(at=[3], growth=2.0),
            'growth=2.0 would be ignored with one place',
            transfer(at=[2, 3], growth=2.0),
        ),
        (
            transfer(teacher_connector='auto'),
            "teacher_connector='auto' would be ignored",
            transfer(teacher_connector=None),
        ),
        (
            transfer(at='logits', position='pre_relu'),
            "position would be ignored with at='logits'",
            transfer(position='pre_relu'),
        ),
        (
            masked(method='none', target='prediction'),
            "target='prediction' would be ignored with method='none'",
            masked(method='none'),
        ),
    ],
    'ExportStudentHook': [],
    'ExtracurricularKnowledge': [TEACHER],
    'FusedSGD': [],
    'FactorTransferLoss': [],
    'FiniteLossHook': [],
    'FGDLoss': [
        (
            dict(alpha=0, beta=0, frame='img_shape'),
            "frame='img_shape' would be ignored with alpha=0 and beta=0",
            dict(alpha=0, frame='img_shape'),
        ),
        (
            dict(alpha=0, beta=0, gamma=0, temperature=1.0),
            'temperature=1.0 would be ignored with alpha=beta=gamma=0',
            dict(alpha=0, beta=0, temperature=1.0),
        ),
    ],
    'GradientDetachStudent': [],
    'InMemory': [],
    'LAKD': [
        (dict(compile=dict(backend='eager')), 'compile would be ignored', {}),
        (dict(transfers=KD), 'give either transfers or a distiller', {}),
        (dict(teacher_taps=[]), r'teacher_taps=\[\]: give a list', dict(teacher_taps=[1, 2, 3])),
        (dict(feature_loss={}), 'loss={}: give a dict with a type', {}),
        *(
            (
                dict(distiller=LOGITS, **kwargs),
                f'{name}.* would be ignored beside a distiller',
                dict(distiller=LOGITS),
            )
            for name, kwargs in (
                ('attention_loss=None', dict(attention_loss=None)),
                ('attention_loss', dict(attention_loss=dict(type='mmrazor.CATLoss', pool_size=3))),
                ('connectors', dict(connectors=dict(module1=REGRESSOR))),
                ('feature_at_last=False', dict(feature_at_last=False)),
                ('feature_loss', dict(feature_loss=dict(type='mmrazor.L1Loss'))),
                ('feature_weights', dict(feature_weights=[1, 2, 3])),
                ('extra_losses', dict(extra_losses=KD)),
                ("ndam_source='cam'", dict(ndam_source='cam')),
                ('paper_mix=0.5', dict(paper_mix=True)),
                ("tap_position='pre_relu'", dict(tap_position='pre_relu')),
                ('teacher_taps', dict(teacher_taps=[1, 2, 3])),
            )
        ),
        (
            dict(ce_weight=2.0, paper_mix=0.25),
            r'ce_weight=2.0 would be ignored with paper_mix=0.25',
            dict(paper_mix=0.25),
        ),
        (
            lambda: dict(architecture=wrapped(), taps=[1, 2, 3]),
            'taps would be ignored beside a GradientDetachStudent',
            lambda: dict(architecture=wrapped()),
        ),
        (
            lambda: dict(architecture=wrapped(), detach=False),
            'detach=False would be ignored beside a GradientDetachStudent',
            dict(detach=False),
        ),
        (
            lambda: dict(architecture=wrapped(), input_shape=(3, 64, 64)),
            'input_shape would be ignored beside a GradientDetachStudent',
            lambda: dict(architecture=wrapped(), input_shape=[3, 32, 32]),
        ),
        (
            dict(feature_at_last=False, connectors=dict(module3=REGRESSOR)),
            'connectors.module3 would be ignored with feature_at_last=False',
            dict(connectors=dict(module3=REGRESSOR)),
        ),
        (
            dict(feature_weights=[1, 2, 3], feature_at_last=False),
            r'feature_weights=\[1, 2, 3\]: give 2 numbers',
            dict(feature_weights=[1, 2], feature_at_last=False),
        ),
        (
            dict(taps=[3], teacher_taps=[3], feature_at_last=False),
            'feature_at_last=False leaves no feature loss',
            dict(taps=[3], teacher_taps=[3]),
        ),
        (
            dict(taps=[3], teacher_taps=[3], ndam_source='prev'),
            "ndam_source='prev' would be ignored",
            dict(taps=[3], teacher_taps=[3], ndam_source='cam'),
        ),
        (
            dict(feature_loss=dict(type='mmrazor.NDAMFeatureLoss', **PLAIN), ndam_source='cam'),
            'attention would be ignored with avg_weight=0 and max_weight=0',
            dict(feature_loss=dict(type='mmrazor.NDAMFeatureLoss', **PLAIN)),
        ),
    ],
    'LocalDistiller': [],
    'LocalDistributedDataParallel': [
        (dict([option]), f'{option[0]}=.* would be ignored with backward', {option[0]: False})
        for option in (
            ('broadcast_buffers', True),
            ('detect_anomalous_params', True),
            ('find_unused_parameters', True),
            ('gradient_as_bucket_view', True),
            ('static_graph', True),
        )
    ]
    + [(dict(bucket_cap_mb=1), 'bucket_cap_mb=1 would be ignored with backward', {})],
    'MapConnector': [
        (
            dict(grid=(2, 2)),
            r"grid=\(2, 2\) would be ignored with kind='map'",
            dict(kind='tokens', grid=(2, 2)),
        )
    ],
    'MarginConnector': [],
    'ModuleClassifier': [],
    'NDAMFeatureLoss': [
        (dict(PLAIN, kernel_size=5), 'kernel_size=5 would be ignored', dict(kernel_size=5)),
        (dict(PLAIN, use_abs=False), 'use_abs=False would be ignored', dict(use_abs=False)),
        (dict(PLAIN, apply='feature'), "apply='feature' would be", dict(apply='feature')),
        (
            dict(PLAIN, count_include_pad=True),
            'count_include_pad=True would be ignored with avg_weight=0',
            dict(max_weight=0, count_include_pad=True),
        ),
        (
            dict(kernel_size=1, count_include_pad=True),
            'count_include_pad=True would be ignored with kernel_size=1',
            dict(kernel_size=1),
        ),
    ],
    'NeuronSelectivityLoss': [],
    'PictureVisBackend': [],
    'PositionAttentionLoss': [],
    'ResidentTrainLoop': [],
    'ProbabilisticTransferLoss': [],
    'RKDAngleLoss': [],
    'RKDDistanceLoss': [],
    'ReviewKDLoss': [],
    'SaliencyMask': [
        (
            dict(steps=4),
            "steps=4 would be ignored with method='gradient'",
            dict(method='integrated_gradients', steps=4),
        ),
        *(
            (
                dict({name: value}, method='none'),
                f"{name}.* would be ignored with method='none'",
                {name: value},
            )
            for name, value in (
                ('target', 'prediction'),
                ('percentile', 85),
                ('input_shape', [3, 64, 64]),
            )
        ),
    ],
    'SimilarityPreservingLoss': [],
    'SingularVectorLoss': [],
    'StandardizedKLLoss': [],
    'StopHook': [],
    'TapCKA': [TEACHER],
    'TapDistances': [TEACHER],
    'TeacherAgreement': [TEACHER],
    'TeacherEnsemble': [],
    'VariationalInformationLoss': [],
    'class_share': [
        (dict(share=1, seed=2), 'seed=2 would be ignored with share=1', dict(share=1)),
        (
            dict(dataset=dict(type='mmrazor.Digits', pipeline=[]), pipeline=PACK),
            'pipeline would be ignored',
            dict(pipeline=PACK),
        ),
    ],
    'whole_batch': [],
}
WRONG_CALLS = [(name, case) for name, cases in CASES.items() for case in cases]


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')


@pytest.fixture
def process_group(tmp_path):
    """Start a group of one process, which a model wrapper needs."""
    store = f'file://{tmp_path}/store'
    torch.distributed.init_process_group('gloo', init_method=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def build(name, kwargs):
    needed = NEEDED.get(name, {})
    needed, kwargs = (part() if callable(part) else part for part in (needed, kwargs))
    torch.manual_seed(0)
    return REGISTERED[name](**{**needed, **kwargs})


def parameters_of(item):
    return inspect.signature(item).parameters


def test_every_class_with_arguments_is_in_the_table():
    assert len(REGISTERED) > 30
    with_arguments = {name for name, item in REGISTERED.items() if parameters_of(item)}
    absent = sorted(with_arguments - set(CASES))
    assert not absent, f'{absent}: add to CASES which arguments have no effect, and when, or []'
    assert set(CASES) <= with_arguments


@pytest.mark.parametrize(
    'name, case', WRONG_CALLS, ids=[f'{n}-{c[1][:30]}' for n, c in WRONG_CALLS]
)
def test_an_argument_without_effect_is_refused(process_group, name, case):
    wrong, message, right = case
    with pytest.raises(ConfigError, match=message):
        build(name, wrong)
    build(name, right)


@pytest.mark.parametrize('name', sorted(REGISTERED))
def test_an_unknown_argument_is_refused(process_group, name):
    with pytest.raises((TypeError, ConfigError), match='nonsense|takes no arguments'):
        build(name, dict(nonsense=1))


def test_without_a_mask_there_is_no_label_to_know():
    """Then the teacher may have other classes."""
    teacher = cifar_resnet_cfg(8, num_classes=100)
    with pytest.raises(ConfigError, match="target='label', but the teacher has 100 classes"):
        build('Distill', dict(masked(percentile=85), teacher=teacher))
    build('Distill', dict(masked(method='none'), teacher=teacher))


def own_functions(item):
    """Return the constructors of a class that this package defines, or the function itself."""
    if not inspect.isclass(item):
        return [item]
    classes = [cls for cls in item.__mro__ if cls.__module__.startswith('lakd_mm.')]
    return [vars(cls)['__init__'] for cls in classes if '__init__' in vars(cls)]


def nodes_of(*paths):
    return [node for path in paths for node in ast.walk(ast.parse(path.read_text()))]


@pytest.fixture(scope='module')
def attributes_read():
    """Collect attributes that this package reads anywhere, by name or by ``getattr``."""
    nodes = nodes_of(*PACKAGE.rglob('*.py'))
    found = {n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load)}
    calls = [n for n in nodes if isinstance(n, ast.Call) and getattr(n.func, 'id', '') == 'getattr']
    return found | {getattr(call.args[1], 'value', None) for call in calls}


@pytest.mark.parametrize('name', sorted(REGISTERED))
def test_every_argument_is_read(attributes_read, name):
    """An argument that is only stored must be read elsewhere as an attribute."""
    for function in own_functions(REGISTERED[name]):
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
        stored, used = {}, set()
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Assign)
                and isinstance(node.targets[0], ast.Attribute)
                and isinstance(node.value, ast.Name)
            ):
                stored[node.value] = node.targets[0].attr
        for node in ast.walk(tree):
            read = isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
            if read and (node not in stored or stored[node] in attributes_read):
                used.add(node.id)
        arguments = {a.arg for a in (*tree.args.args, *tree.args.kwonlyargs)} - {'self'}
        if tree.args.kwarg:
            arguments.add(tree.args.kwarg.arg)
        assert arguments <= used, f'{name} does not read {sorted(arguments - used)}'


# The tools. ``reproduce.py`` has its own.
TOOLS = {
    path.relative_to(ROOT / 'tools').as_posix(): path
    for path in sorted((ROOT / 'tools').rglob('*.py'))
    if 'ArgumentParser(' in path.read_text()
    and path.name != 'reproduce.py'
    and not {'dev', 'reproduction'} & set(path.relative_to(ROOT).parts)
}
STUDENT = ['a.py', 'a.pth', '--student', 'b', 'b.py', 'b.pth']
RUN = ['--run', 'a', '.', '--source', 'log']
NEW = ['--data', 'a', '--teacher', 'a.py', '--student', 'b.py']
OPTION = '--cfg-options'
REFUSED = {
    'train.py': [
        (['a.py', '--work-dir', 'w', OPTION, 'work_dir=v'], 'work_dir .* beside --work-dir'),
        (['a.py', OPTION, 'launcher=pytorch'], 'launcher would be ignored beside --launcher'),
        (['a.py', '--local-rank', '1'], '--local-rank would be ignored without --launcher pytorch'),
        (['a.py', '--resume', OPTION, 'load_from=b'], 'load_from would .* beside --resume'),
        (['a.py', '--resume', 'b', OPTION, 'resume=False'], 'resume would .* beside --resume'),
        (['a.py', '--seed', '0', OPTION, 'randomness.seed=1'], 'seed would .* beside --seed'),
        (['a.py', '--no-validate', OPTION, 'val_dataloader.batch_size=1'], 'beside --no-validate'),
    ],
    'train_cohort.py': [
        (['a.py'], '--work-dir: name a folder'),
        (['a.py', '--work-dir', 'w', '--resume', OPTION, 'resume=False'], 'beside --resume'),
    ],
    'test.py': [
        (['a.py', 'a.pth', '--out-item', 'metrics'], '--out-item would be ignored without --out'),
        (['a.py', 'a.pth', OPTION, 'load_from=b.pth'], 'load_from would .* beside the checkpoint'),
        (['a.py', 'a.pth', '--work-dir', 'w', OPTION, 'work_dir=v'], 'beside --work-dir'),
    ],
    'tune.py': [
        (
            ['a.py', '--space', 'a=int:1:2', '--trials', '1', '--pruner', 'none', '--warmup', '2'],
            '--warmup would be ignored with --pruner none',
        ),
        (['a.py', '--space', 'a=int:1:2', '--trials', '0'], '--trials: 0: give a whole number'),
    ],
    'demo.py': [(['--epochs', '0'], '--epochs: 0: give a whole number of at least 1')],
    'new_config.py': [
        ([*NEW, '--dry-run', '--force'], '--force would be ignored with --dry-run'),
        (NEW, '--out: name the config to write, as my.py, or add --dry-run'),
    ],
    'model_converters/export_student.py': [
        (['a.pth', 'b.pth', '--shape', '8'], '--shape would be ignored without --onnx'),
        (
            ['a.pth', 'b.pth', '--int8', 'c.onnx', '--shape', '8'],
            '--shape would be ignored with --int8',
        ),
        (
            ['a.pth', 'b.pth', '--exported', 'c.pt2', '--opset', '18'],
            '--opset would be ignored without --onnx or --int8',
        ),
        (
            ['a.pth', 'b.pth', '--onnx', 'c.onnx', '--calibration', '8'],
            '--calibration would be ignored without --int8',
        ),
    ],
    'analysis_tools/cka.py': [
        ([*STUDENT, '--linear', '--batch-size', '9'], '--batch-size would be ignored with --linear')
    ],
    'analysis_tools/tap_distances.py': [
        ([*RUN, '--teacher', 'a.py', 'a.pth'], '--teacher would be ignored with --source log'),
        ([*RUN, '--student-taps', '1'], '--student-taps would be ignored with --source log'),
        ([*RUN, '--teacher-taps', '1'], '--teacher-taps would be ignored with --source log'),
        ([*RUN, '--images', '9'], '--images would be ignored with --source log'),
        ([*RUN, '--batch-size', '9'], '--batch-size would be ignored with --source log'),
        ([*RUN, '--seed', '9'], '--seed would be ignored with --source log'),
        ([*RUN, OPTION, 'a=1'], '--cfg-options would be ignored with --source log'),
    ],
    # Its own tests cover its checks.
    'analysis_tools/attention_maps.py': [],
    'analysis_tools/robustness.py': [],
    'analysis_tools/run_report.py': [],
    'benchmarks/cohort_time.py': [],
    'benchmarks/dense_steps.py': [],
    'benchmarks/gpu_check.py': [
        (['--checks', 'memory', '--methods', 'kd'], '--methods would be .* --checks memory'),
        (['--checks', 'bf16', '--rounds', '2'], '--rounds would be .* without the check steps'),
        (['--deadline', '0'], '--deadline 0: give a positive number of seconds'),
    ],
    'benchmarks/history_cost.py': [],
    'benchmarks/input_speed.py': [],
    'benchmarks/latency.py': [(['a.py', '--calls', '0'], '--calls: 0: give a whole number')],
    'benchmarks/memory.py': [(['--batch-size', '0'], '--batch-size: 0: give a whole number')],
    'benchmarks/step_time.py': [
        (['--compile', '--rows', 'KD'], '--compile would be ignored: add .*compiled.* to --rows')
    ],
    'dataset_converters/shapes.py': [],
    'model_converters/literature_to_mmpretrain.py': [],
}
CALLS = [(name, *case) for name, cases in REFUSED.items() for case in cases]


@pytest.fixture
def tool(monkeypatch, tmp_path):
    """Load a tool as if it were called with arguments."""

    def load(name, arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.syspath_prepend(str(TOOLS[name].parent))
        monkeypatch.setattr(sys, 'argv', [name, *arguments])
        spec = importlib.util.spec_from_file_location(f'tool_{Path(name).stem}', TOOLS[name])
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


def test_every_tool_is_in_the_table():
    absent = sorted(set(TOOLS) - set(REFUSED))
    assert not absent, f'{absent}: add to REFUSED which options have no effect, and when, or []'
    assert set(REFUSED) <= set(TOOLS)


@pytest.mark.parametrize('name, arguments, message', CALLS, ids=[f'{c[0]}-{c[2]}' for c in CALLS])
def test_an_option_without_effect_is_refused(tool, capsys, name, arguments, message):
    module = tool(name, arguments)
    with pytest.raises(SystemExit) as end:
        module.main()
    assert end.value.code == 2
    assert re.search(message, capsys.readouterr().err)


ENGINE = (PACKAGE / 'engine/command_line.py', PACKAGE / 'evaluation/comparison.py')


@pytest.mark.parametrize('paths', [*((path,) for path in TOOLS.values()), ENGINE])
def test_every_option_is_read(paths):
    """By the tool, or by code that tools share."""
    read = {
        node.attr
        for node in nodes_of(*ENGINE, *(TOOLS.values() if paths == ENGINE else paths))
        if isinstance(node, ast.Attribute) and getattr(node.value, 'id', '') == 'args'
    }
    options = [
        node.args[0].value.lstrip('-').replace('-', '_')
        for node in nodes_of(*paths)
        if isinstance(node, ast.Call) and getattr(node.func, 'attr', '') == 'add_argument'
    ]
    assert options and set(options) <= read


def test_measured_distances_are_not_taken_from_the_log(tool, tmp_path, capsys):
    scalars = tmp_path / 'run/time/vis_data/scalars.json'
    scalars.parent.mkdir(parents=True)
    scalars.write_text('{"tap_distance/tap1": 1.0, "step": 1}\n')
    arguments = ['--run', 'a', 'run', '--images', '9', '--out', 'a.png']
    with pytest.raises(SystemExit, match='--images would be ignored: run has distances in its log'):
        tool('analysis_tools/tap_distances.py', arguments).main()
    assert tool('analysis_tools/tap_distances.py', arguments[:3] + arguments[5:]).main() is None
    assert (tmp_path / 'a.png').exists()


@pytest.mark.parametrize('checkpoint', [None, 'epoch_1.pth'])
def test_resuming_nothing_starts_from_what_the_config_loads(tool, tmp_path, checkpoint):
    text = "model = dict(type='M')\noptim_wrapper = dict()\nload_from = 'b.pth'\n"
    (tmp_path / 'a.py').write_text(text)
    module = tool('train.py', ['a.py', '--work-dir', 'w', '--resume'])
    if checkpoint:
        (tmp_path / 'w').mkdir()
        (tmp_path / 'w/last_checkpoint').write_text(checkpoint)
    args = module.parse_args()
    cfg = module.load_config(args)
    module.merge_args(cfg, args)
    module.merge_resume(cfg, args)
    assert cfg.resume == bool(checkpoint)
    assert cfg.load_from == (None if checkpoint else 'b.pth')
