"""Every config parses, builds and takes a training step with the right normalisation."""

import re
from pathlib import Path

import pytest
import torch
from elsewhere import copies_of_a_step
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample
from mmrazor.registry import MODELS

from lakd_mm.engine import check_options

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[1] / 'configs'
FILES = sorted(
    path.relative_to(CONFIGS).as_posix()
    for path in CONFIGS.rglob('*.py')
    if '_base_' not in path.parts
    # tests/test_dense has those that need MMDetection and MMSegmentation.
    and not path.stem.endswith(('_coco', '_cityscapes'))
)
NAME = r'((_240e|_30e)?_(cifar10|cifar100|digits)|(_step)?_imagenet)'
NETWORK = r'(r\d+(x4)?(cbam)?|wrn\d+_\d|vgg\d+|mv2|shuv[12])'
METHODS = ('lakd', 'kd', 'cat_kd', 'fitnet', 'at', 'rkd', 'crd', 'ofd', 'cankd')
# Of these there are ResNet-56 -> ResNet-20 on CIFAR-100, and pairs with published weights.
LITERATURE = (
    *('ab', 'cc', 'cwd', 'dist', 'dkd', 'ft', 'kdsvd', 'lskd', 'mgd', 'nst', 'pkd', 'pkt'),
    *('reviewkd', 'sp', 'vid', 'wsld'),
)
PAIRS = (
    'r56_r20_cifar100',
    'r110_r32_cifar100',
    'r32x4_r8x4_cifar100',
    'wrn40_2_wrn16_2_cifar100',
    'wrn40_2_wrn40_1_cifar100',
    'vgg13_vgg8_cifar100',
    'r50_mv2_cifar100',
    'vgg13_mv2_cifar100',
    'r32x4_shuv1_cifar100',
    'r32x4_shuv2_cifar100',
    'wrn40_2_shuv1_cifar100',
    'r56_r20_cifar10',
    'r34_r18_imagenet',
)
NAMES = {
    'teachers': rf'(resnet\d+(x4)?(_cbam)?|wrn\d+_\d|vgg\d+|mobilenetv2|shufflenetv[12]){NAME}',
    'ablations': r'table[35]_\w+|kd(_fa)?(_at)?_(no_mask|soft|integrated_gradients|contrast)',
    'causal': r'causal_(baseline|kd(_fa)?(_at)?_r\d+cbam)_r\d+_cifar10',
    'hmat': rf'hmat_{NETWORK}_{NETWORK}{NAME}',
    'kd': rf'kd_(ensemble_{NETWORK}_)?{NETWORK}_{NETWORK}{NAME}',
    **{
        method: rf'(lakd_)?{method}_{NETWORK}_{NETWORK}{NAME}'
        for method in ({*METHODS, *LITERATURE} - {'kd'})
    },
}
SLOW = (
    'resnet110',
    'resnet50',
    'r50',
    '32x4',
    'resnet56',
    'resnet44',
    'wrn40',
    'vgg13',
    'crd_r34',
    'r50cbam',
)
# Of these, the parts take a step together in the group that has both.
SLOW += ('kd_at_', 'kd_fa_no', 'kd_fa_soft', 'kd_fa_int', 'kd_fa_con')


def load(name):
    init_default_scope('mmpretrain')
    return Config.fromfile(CONFIGS / name)


def build(cfg):
    cfg.model.data_preprocessor = cfg.data_preprocessor
    if 'teacher_ckpt' in cfg.model:
        cfg.model.teacher_ckpt = None
    if 'input_shape' in cfg.model:
        cfg.model.input_shape = (3, 64, 64)  # a tenth of the time of 224
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()
    return model


def test_every_method_is_there_for_every_pair_under_both_recipes():
    for method in METHODS:
        for pair in PAIRS:
            networks, _, dataset = pair.rpartition('_')
            step = 'step' if dataset == 'imagenet' else '240e'
            for recipe in ('', f'_{step}'):
                assert f'{method}/{method}_{networks}{recipe}_{dataset}.py' in FILES
    for method in LITERATURE:
        for recipe in ('', '_240e'):
            assert f'{method}/{method}_r56_r20{recipe}_cifar100.py' in FILES


@pytest.mark.parametrize('name', FILES)
def test_builds_and_steps(name):
    path = Path(name)
    assert re.fullmatch(NAMES[path.parent.name], path.stem), 'the name does not follow the scheme'
    cfg = load(name)
    assert cfg.custom_imports['imports'] == ['lakd_mm']
    other_recipe = re.sub(r'_240e|_step', '', name)
    if other_recipe != name and other_recipe in FILES:
        # Nothing to build twice: only the schedule is another.
        other = load(other_recipe)
        assert cfg.model == other.model and cfg.val_dataloader == other.val_dataloader
        assert cfg.param_scheduler != other.param_scheduler
        assert not cfg.optim_wrapper.optimizer.nesterov and other.optim_wrapper.optimizer.nesterov
        return
    num_classes = cfg.data_preprocessor['num_classes']
    model = build(cfg)
    assert model.data_preprocessor._enable_normalize
    networks = [model] if not hasattr(model, 'teacher') else [model.student, model.teacher]
    assert all(network.head.num_classes == num_classes for network in networks)
    model.train()
    if any(part in path.stem for part in SLOW):
        stays_on_its_device(model, cfg, name)
        return
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    size = 64 if 'imagenet' in name else 32
    images = torch.randint(0, 256, (4, 3, size, size), dtype=torch.uint8)
    samples = [
        DataSample(metainfo=dict(sample_idx=i)).set_gt_label(i % num_classes) for i in range(4)
    ]
    log = model.train_step(dict(inputs=images, data_samples=samples), optim_wrapper=wrapper)
    assert log['loss'].isfinite()
    changed = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    weights = {k for k, p in model.named_parameters() if p.requires_grad and p.ndim > 1}
    weights = {k.replace('architecture.architecture.', 'architecture.') for k in weights}
    assert weights <= changed
    assert not any(k.startswith('teacher.') for k in changed)
    stays_on_its_device(model, cfg, name)


def stays_on_its_device(model, cfg, name):
    """Nothing of a step waits for a GPU."""
    size = 64 if 'imagenet' in name else 32
    copies = copies_of_a_step(model, cfg, size)
    # Captum copies the weights of its steps, several times.
    assert copies == [] or 'integrated_gradients' in name


@pytest.mark.parametrize('folder', sorted({Path(name).parent for name in FILES}))
def test_a_training_can_write_its_config_down(folder):
    cfg = load(next(name for name in FILES if Path(name).parent == folder))
    assert Config.fromstring(cfg.dump(), '.py').model == cfg.model


@pytest.mark.parametrize(
    'name', [n for n in FILES if n.startswith('lakd/') and ('r56' in n or 'ablations' in n)]
)
def test_ablations_are_what_their_names_say(name):
    cfg = load(name)
    feature = cfg.model.feature_loss
    stem = Path(name).stem
    taps = re.search(r'taps(\d)(\d)(\d)', stem)
    expected = [int(t) for t in taps.groups()] if taps else [3, 6, 9]
    assert cfg.model.taps == ([1, 4, 9] if 'ablations' not in name else expected)
    assert cfg.model.teacher_taps == [9, 18, 27]
    assert cfg.model.get('detach', True) == ('no_detach' not in stem)
    ndam = re.search(r'avg(\d+)_max(\d+)', stem)
    weights = tuple(int(w) / 100 for w in ndam.groups()) if ndam else (0.25, 0.75)
    if 'table3' in stem or stem.endswith('ndam_off'):
        weights = (0.0, 0.0)
    assert (feature.avg_weight, feature.max_weight) == weights
    if 'table5' in stem and weights != (0.0, 0.0):
        assert feature.use_abs == ('no_abs' not in stem)


@pytest.mark.parametrize(
    'name, epochs, scheduler, lr',
    [
        ('lakd/lakd_r56_r20_cifar100.py', 300, 'PolyLR', 0.05),
        ('lakd/lakd_r56_r20_240e_cifar100.py', 240, 'MultiStepLR', 0.05),
        ('lakd/lakd_r50_mv2_cifar100.py', 300, 'PolyLR', 0.01),
        ('kd/kd_r32x4_shuv1_240e_cifar100.py', 240, 'MultiStepLR', 0.01),
        ('teachers/shufflenetv2_240e_cifar100.py', 240, 'MultiStepLR', 0.01),
        ('teachers/resnet50_240e_cifar100.py', 240, 'MultiStepLR', 0.05),
    ],
)
def test_recipes(name, epochs, scheduler, lr):
    cfg = load(name)
    assert cfg.train_cfg.max_epochs == epochs and cfg.train_dataloader.batch_size == 64
    assert cfg.param_scheduler.type == scheduler
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.lr == lr and optimizer.momentum == 0.9 and optimizer.weight_decay == 5e-4
    assert optimizer.nesterov == (epochs == 300)


@pytest.mark.parametrize('name', [n for n in FILES if n.startswith('causal/')])
def test_causal_groups_are_what_their_names_say(name):
    cfg = load(name)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.lr, optimizer.momentum, optimizer.weight_decay) == (0.01, 0.9, 5e-4)
    assert not optimizer.nesterov and cfg.train_dataloader.batch_size == 64
    assert cfg.train_cfg.max_epochs == 30 and cfg.param_scheduler == []
    assert cfg.custom_hooks[0].type == 'EarlyStoppingHook'
    assert cfg.val_dataloader.dataset.dataset.rest
    assert cfg.test_dataloader.dataset.dataset.type == 'mmrazor.CIFAR10'
    stem = Path(name).stem
    transfers = cfg.model.get('transfers', {})
    wanted = {part for part in ('kd', 'fa', 'at', 'contrast') if part in stem.split('_')}
    assert set(transfers) == {f'loss_{part}' for part in wanted}
    if transfers:
        assert (cfg.model.ce_weight, transfers.loss_kd.loss.tau) == (0.1, 4)
    expected = dict(method='gradient', target='label', percentile=85)
    if 'no_mask' in stem:
        expected = dict(method='none')
    elif 'soft' in stem:
        expected['percentile'] = None
    elif 'integrated' in stem:
        expected.update(method='integrated_gradients', steps=4)
    masks = [transfer.mask for name, transfer in transfers.items() if name != 'loss_kd']
    assert masks == [expected] * len(wanted - {'kd'})


def test_fitnets_hints_can_be_chosen_on_the_command_line():
    """As its README says."""
    cfg = load('fitnet/fitnet_r56_r20_cifar100.py')
    options = {'model.transfers.loss_fitnet.at': [1, 2, 3]}
    check_options(cfg, options)
    cfg.merge_from_dict(options)
    losses = build(cfg).distiller.distill_losses
    assert list(losses) == ['loss_fitnet1', 'loss_fitnet2', 'loss_fitnet3']


def test_imagenet_has_weights_and_recipes_of_its_own():
    for name in ('ofd/ofd_r34_r18_imagenet.py', 'ofd/ofd_r34_r18_step_imagenet.py'):
        loss = load(name).model.transfers.loss_ofd.loss
        assert loss.loss_weight == 0.1 and loss.type == 'mmrazor.OFDLoss'  # which holds 1e-3
    for name, batch, lr in (('kd', 512, 0.2), ('crd', 256, 0.1)):
        cfg = load(f'{name}/{name}_r34_r18_step_imagenet.py')
        assert cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == batch
        assert cfg.optim_wrapper.optimizer.lr == lr
    assert cfg.model.transfers.loss_crd.loss.num_data == 1_281_167


@pytest.mark.parametrize(
    'pair, teacher, pool_size, weight',
    [
        ('r50_mv2', 'resnet50', 2, 40),
        ('vgg13_mv2', 'vgg13', 2, 15),
        ('r32x4_shuv1', 'resnet32x4', 4, 600),
        ('r32x4_shuv2', 'resnet32x4', 4, 600),
        ('wrn40_2_shuv1', 'wrn40_2', 4, 80),
    ],
)
def test_pairs_of_two_families(pair, teacher, pool_size, weight):
    """The teacher is the network of its own config; CAT-KD's weights are the published ones."""
    cat_kd, lakd = (load(f'{m}/{m}_{pair}_cifar100.py').model for m in ('cat_kd', 'lakd'))
    for loss in (cat_kd.transfers.loss_cat.loss, lakd.attention_loss):
        assert dict(loss) == dict(
            type='mmrazor.CATLoss', normalize=True, loss_weight=weight, **resolution(pool_size)
        )
    trained = load(f'teachers/{teacher}_240e_cifar100.py').model
    networks = [
        MODELS.build(dict(cfg, data_preprocessor=None)) for cfg in (cat_kd.teacher, trained)
    ]
    assert cat_kd.teacher_ckpt == f'work_dirs/{teacher}_240e_cifar100/epoch_240.pth'
    shapes = [{k: v.shape for k, v in n.state_dict().items()} for n in networks]
    assert shapes[0] == shapes[1] and str(networks[0].backbone) == str(networks[1].backbone)


def resolution(pool_size):
    return {} if pool_size == 2 else dict(pool_size=pool_size)  # which is the loss's own


def test_data_root_from_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv('CIFAR100_ROOT', str(tmp_path))
    cfg = load('lakd/lakd_r56_r20_cifar100.py')
    assert cfg.train_dataloader.dataset.dataset.data_root == str(tmp_path)
    assert cfg.test_dataloader.dataset.dataset.data_root == str(tmp_path)
