"""new_config.py: from a folder of images and two names to configs that train at once."""

import ast
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner.checkpoint import save_checkpoint
from mmpretrain.registry import DATASETS
from mmrazor.registry import MODELS

import lakd_mm  # noqa: F401
from lakd_mm.engine import check_config, check_data_folders
from lakd_mm.errors import ConfigError
from own_images import folder, methods, networks, pairing, recipe, writing

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
STUDENT, TEACHER = 'lakd_mm::teachers/resnet14_digits.py', 'lakd_mm::teachers/resnet32_digits.py'
RESNET18 = 'mmpretrain::resnet/resnet18_8xb32_in1k.py'


def draw(path: Path, classes: dict, sides=(32,)):
    """Draw images, so many of each class, of sides that take turns; a class has its brightness."""
    for label, (name, count) in enumerate(classes.items()):
        (path / name).mkdir(parents=True)
        for i in range(count):
            side = sides[i % len(sides)]
            image = np.random.default_rng(i).integers(0, 99, (side, side, 3)) + 70 * label
            cv2.imwrite(str(path / name / f'{i}.png'), image.astype(np.uint8))


@pytest.fixture
def data(tmp_path):
    draw(tmp_path / 'data/train', dict(cat=20, dog=20, eel=20))
    draw(tmp_path / 'data/val', dict(cat=4, dog=4, eel=4))
    return tmp_path / 'data'


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpretrain')


@pytest.fixture
def new_config(tool, data):
    """Calls the tool for the data; what it ends with, or None."""

    def call(*arguments, teacher=TEACHER, student=STUDENT):
        names = ('--teacher', teacher, '--student', student)
        return tool('new_config', '--data', data, *names, *arguments)

    return call


def built(cfg, part):
    return DATASETS.build(cfg[f'{part}_dataloader'].dataset)


@pytest.mark.parametrize('name', ['lakd', pytest.param('kd', marks=pytest.mark.slow)])
def test_the_configs_hold_what_was_found(new_config, tmp_path, capsys, data, name):
    assert new_config('--method', name, '--out', 'my.py') is None
    shown = capsys.readouterr().out
    assert '3 classes, 60 images to train and 12 to validate (val), 32x32 pixels; all read' in shown
    assert shown.splitlines()[-2].endswith('train.py my_teacher.py')
    assert shown.splitlines()[-1].endswith('train.py my.py')
    cfg, of_teacher = (Config.fromfile(tmp_path / f'my{end}.py') for end in ('', '_teacher'))
    for one in (cfg, of_teacher):
        check_config(one)
        check_data_folders(one)
        assert one.train_dataloader.batch_size == 8
        assert one.default_hooks.check_data.type == 'mmrazor.CheckDataHook'
    assert cfg.model.type == f'mmrazor.{"LAKD" if name == "lakd" else "Distill"}'
    assert cfg.model.teacher == of_teacher.model and of_teacher.model.head.num_classes == 3
    assert cfg.model.architecture.head.num_classes == 3
    assert cfg.model.architecture.backbone.depth == 14 and of_teacher.model.backbone.depth == 32
    assert cfg.model.teacher_ckpt == 'work_dirs/my_teacher/epoch_100.pth'
    assert of_teacher.train_cfg.max_epochs == 100
    # The rate of the networks' own config, 0.05 for 64 images, at 8.
    assert cfg.optim_wrapper.optimizer.lr == of_teacher.optim_wrapper.optimizer.lr == 0.0063
    train, val = built(cfg, 'train'), built(cfg, 'val')
    assert (len(train), len(val)) == (60, 12) and train.metainfo['classes'] == ('cat', 'dog', 'eel')
    assert train.images.shape == (60, 3, 32, 32)
    first = cv2.imread(str(data / 'train/cat/0.png'))
    assert (train.images[0].permute(1, 2, 0).numpy() == first).all()


@pytest.mark.slow
def test_both_commands_train(new_config, run_tool, tmp_path, capsys):
    assert new_config('--out', 'my.py', teacher=STUDENT) is None
    commands = re.findall(r'train.py (my\w*\.py)', capsys.readouterr().out)
    assert commands == ['my_teacher.py', 'my.py']
    short, trained = 'train_cfg.max_epochs=1', 'model.teacher_ckpt=work_dirs/my_teacher/epoch_1.pth'
    for config, options in zip(commands, ([short], [short, trained])):
        done = run_tool('train.py', config, '--cfg-options', *options)
        assert done.returncode == 0, done.stdout
    assert 'random weights' not in done.stdout
    assert (tmp_path / 'work_dirs/my/epoch_1.pth').is_file()


def test_one_folder_is_split(tmp_path):
    draw(tmp_path / 'one', dict(a=6, b=25), sides=(40, 50))
    found = folder.look_at(str(tmp_path / 'one'))
    # Of 6 images 0.9 leaves none: 0.8 of each class, rounded up, is 5 and 20.
    assert (found.share, found.n_train, found.n_val, found.side) == (0.8, 25, 6, 40)
    assert found.sizes == '40x40 to 50x50 pixels'
    for held in (True, False):
        plan = plan_of(found, in_memory=held)
        (tmp_path / 'one.py').write_text(writing.pair_text(plan))
        cfg = Config.fromfile(tmp_path / 'one.py')
        train, val = built(cfg, 'train'), built(cfg, 'val')
        assert (len(train), len(val)) == (25, 6)
        if held:
            assert train.images.shape[2:] == (64, 64)
        else:
            infos = [[part.get_data_info(i) for i in range(len(part))] for part in (train, val)]
            paths = {info['img_path'] for part in infos for info in part}
            assert len(paths) == 31


def plan_of(images, **changes):
    network = networks.find_network('--student', STUDENT)
    pair = dict(architecture=network.model(2), teacher=network.model(2), input_shape=(3, 64, 64))
    pair['teacher_ckpt'] = 'a.pth'
    given = dict(title='a', base='classification', key='kd', changes=[], networks=pair)
    given.update(
        images=images,
        size=64,
        normalization={},
        batch_size=8,
        workers=0,
        student=network,
        in_memory=True,
    )
    return writing.Plan(**{**given, **changes})


def test_images_that_are_read_one_by_one(data, tmp_path):
    found = folder.look_at(str(data))
    (tmp_path / 'a.py').write_text(writing.pair_text(plan_of(found, in_memory=False)))
    cfg = Config.fromfile(tmp_path / 'a.py')
    item, tested = built(cfg, 'train')[59], built(cfg, 'val')[0]
    assert item['inputs'].shape == tested['inputs'].shape == (3, 64, 64)
    assert item['data_samples'].gt_label.item() == 2
    assert cfg.data_preprocessor.type == 'mmpretrain.ClsDataPreprocessor'


def break_data(path, how):
    """Make one thing wrong in a folder of images."""
    if how == 'unreadable':
        (path / 'train/cat/0.png').write_text('no image')
    elif how == 'differ':
        (path / 'val/dog').rename(path / 'val/fox')
    elif how == 'empty':
        (path / 'train/ant').mkdir()
        (path / 'val/ant').mkdir()
    elif how == 'one':
        return path / 'train/cat/..' / 'cat'
    elif how == 'single':
        draw(path / 'few', dict(a=1, b=5))
        return path / 'few'
    elif how == 'no images':
        for name in ('a', 'b'):
            (path / 'text' / name).mkdir(parents=True)
            (path / 'text' / name / 'a.txt').write_text('a')
        return path / 'text'
    return path


@pytest.mark.parametrize(
    'how, message',
    [
        ('unreadable', r'1 of 72 images cannot be read: .*cat/0.png. Replace or delete them'),
        ('differ', r"class 'dog' is in train/ and not in val/ \(2 such classes\)"),
        ('empty', r"class 'ant' of .*train has no image that is read \(.jpg"),
        ('one', r'cat must hold a folder .* each of at least 2 classes, and has none'),
        ('single', r"class 'a' of .*few has 1 image, none of which can validate"),
        ('no images', r'the 2 folders of .*text hold no image \(.jpg'),
    ],
)
def test_wrong_data(data, how, message):
    with pytest.raises(ConfigError, match=message):
        folder.look_at(str(break_data(data, how)))


def test_one_class(tmp_path):
    draw(tmp_path / 'data', dict(cat=3))
    with pytest.raises(ConfigError, match="at least 2 classes, and has only one, 'cat'"):
        folder.look_at(str(tmp_path / 'data'))


def test_only_so_many_images_are_read(data, monkeypatch):
    monkeypatch.setattr(folder, 'MOST_READ', 10)
    found = folder.look_at(str(data))
    assert found.n_read == 10 and found.summary().endswith('; 10 of them read')
    assert folder._evenly(range(100), 4) == [0, 25, 50, 75]


@pytest.mark.parametrize(
    'side, of_networks, expected',
    [(32, [None, None], 32), (28, [None], 32), (64, [], 64), (100, [], 96), (500, [None], 224)]
    + [(64, [224, None], 224), (500, [192, 256], 256)],
)
def test_sizes(side, of_networks, expected):
    assert recipe.choose_size(side, of_networks) == expected


@pytest.mark.parametrize(
    'n_train, of_image, fixed, memory, expected',
    [
        (100_000, 1, 0, 1 << 30, 128),
        (2000, 1, 0, 1 << 30, 64),  # 31 steps an epoch
        (100_000, 10 << 20, 100 << 20, 1 << 30, 32),  # 412 MiB for 10 each
        (100_000, 1 << 30, 0, 1 << 30, 8),
        (20, 1, 0, 1 << 30, 8),
    ],
)
def test_batches(n_train, of_image, fixed, memory, expected):
    assert recipe.choose_batch(n_train, of_image, fixed, memory) == expected


def test_what_is_held_in_memory():
    mib = 1 << 20
    assert recipe.in_memory(96, 128, 1000, 200 * mib)  # 47 MiB of a quarter, 50
    assert not recipe.in_memory(96, 128, 1100, 200 * mib)
    assert not recipe.in_memory(97, 128, 1000, 200 * mib)
    assert recipe.free_memory() > mib


@pytest.mark.slow
@pytest.mark.parametrize(
    'name, found',
    [
        ('resnet18', 'resnet18_8xb32_in1k'),
        ('ResNet50', 'resnet50_8xb32_in1k'),
        ('mobilenet_v3_small', 'mobilenet-v3-small_8xb128_in1k'),
        ('swin-tiny', 'swin-tiny_16xb64_in1k'),
        ('resnet18_8xb16_cifar10', 'resnet18_8xb16_cifar10'),
        (RESNET18, RESNET18),
    ],
)
def test_networks_by_name(name, found):
    network = networks.find_network('--student', name)
    assert network.name == found and network.classes == (10 if 'cifar' in name else 1000)
    assert str(network.weights).startswith('https://download.openmmlab.com/')


@pytest.mark.slow
@pytest.mark.parametrize('name', ['vgg11', 'mobilenet_v3_small', 'swin-tiny', 'deit3-small-p16'])
def test_another_number_of_classes(name):
    model = networks.find_network('--student', name).model(7)
    assert not {'train_cfg', 'data_preprocessor', 'pretrained'} & set(model)
    assert '1000' not in str(model) and 'use_sigmoid' not in str(model)
    network = MODELS.build(model)
    images, samples = torch.zeros(2, 3, 224, 224), pairing._samples(2)
    assert network.eval()(images, mode='tensor').shape == (2, 7)
    assert network(images, samples, mode='loss')['loss'].isfinite()


@pytest.mark.parametrize(
    'name, message',
    [
        ('resnet_18x', r'--student resnet_18x: MMPretrain has no classifier of this name; did you'),
        ('absent.py', r'config absent.py: .*absent.py'),
        ('lakd_mm::kd/kd_r32_r14_digits.py', r'no such config'),
        ('lakd_mm::lakd/lakd_r32_r14_digits.py', r'its model is a distillation'),
        ('mmpretrain::mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py', 'how many classes'),
    ],
)
def test_wrong_networks(name, message):
    with pytest.raises(ConfigError, match=message):
        networks.find_network('--student', name)


def test_an_optimizer_for_a_batch_size():
    network = networks.find_network('--student', RESNET18)
    wrapper = network.optim_wrapper(32, 0.1)  # 0.1 for 256
    assert wrapper == dict(optimizer=dict(type='SGD', lr=0.0013, momentum=0.9, weight_decay=0.0001))
    config = Config(dict(network.config, auto_scale_lr=dict()))
    plain = networks.Network('a', config, None, 1000)
    assert plain.optim_wrapper(32) is None
    assert "optimizer=dict(type='SGD', lr=0.025," in writing._training(plain, 32, 1, 9)[1]
    base = Config.fromfile(CONFIGS / '_base_/schedules/imagenet_100e_linear.py')
    # FusedSGD there is SGD to the bit.
    assert dict(base.optim_wrapper.optimizer, type='SGD') == writing.SGD
    assert base.auto_scale_lr.base_batch_size == 128


def test_a_teacher_without_an_optimizer_does_not_get_the_students(new_config, tmp_path):
    student = Config.fromfile(f'{CONFIGS}/teachers/resnet14_digits.py')
    bare = tmp_path / 'bare.py'
    bare.write_text(Config(dict(model=student.model)).pretty_text)
    rms = tmp_path / 'rms.py'
    optimizer = dict(type='RMSprop', lr=0.1)
    wrapper = dict(optim_wrapper=dict(optimizer=optimizer), auto_scale_lr=dict(base_batch_size=8))
    rms.write_text(Config(dict(model=student.model, **wrapper)).pretty_text)
    assert new_config('--method', 'kd', '--out', 'my.py', teacher=bare, student=rms) is None
    cfg, of_teacher = (Config.fromfile(tmp_path / f'my{end}.py') for end in ('', '_teacher'))
    assert cfg.optim_wrapper.optimizer == optimizer
    assert of_teacher.optim_wrapper.optimizer == dict(writing.SGD, lr=0.0063)


@pytest.mark.parametrize(
    'name, expected',
    [
        (RESNET18, {}),
        # Arrays: their order of colours says nothing about files.
        (STUDENT, dict(mean=[77.822] * 3, std=[95.878] * 3)),
        (
            'mmpretrain::efficientnet/efficientnet-b0_8xb32-01norm_in1k.py',
            dict(mean=[127.5] * 3, std=[127.5] * 3),
        ),
    ],
)
def test_weights_keep_their_normalization(tmp_path, data, name, expected):
    found = networks.find_network('--teacher', name).normalization
    assert found == expected
    images = folder.look_at(str(data))
    for held in (True, False):
        text = writing.pair_text(plan_of(images, in_memory=held, normalization=found))
        (tmp_path / 'a.py').write_text(text)
        written = Config.fromfile(tmp_path / 'a.py').data_preprocessor
        wanted = {**networks.NORMALIZATION, **expected}
        assert {key: written[key] for key in wanted} == wanted


def save_teacher(path, classes):
    network = MODELS.build(networks.find_network('--teacher', TEACHER).model(classes))
    save_checkpoint(dict(state_dict=network.state_dict()), str(path))


def test_a_teacher_with_the_classes_of_the_data_teaches_at_once(new_config, tmp_path, capsys):
    save_teacher(tmp_path / 't.pth', 3)
    assert new_config('--teacher-ckpt', 't.pth', '--out', 'my.py') is None
    assert 'weights of 3 classes, which are taken for those of the data' in capsys.readouterr().out
    assert not (tmp_path / 'my_teacher.py').exists()
    cfg = Config.fromfile(tmp_path / 'my.py')
    assert cfg.model.teacher_ckpt == str(tmp_path / 't.pth')
    assert cfg.data_preprocessor.mean == [77.822] * 3  # what its config has
    MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))


def test_a_teacher_of_other_classes_is_fine_tuned(new_config, tmp_path, capsys):
    save_teacher(tmp_path / 't.pth', 5)
    assert new_config('--teacher-ckpt', 't.pth', '--out', 'my.py') is None
    assert 'of 5 classes and the data have 3: it is fine-tuned first' in capsys.readouterr().out
    cfg = Config.fromfile(tmp_path / 'my_teacher.py')
    assert cfg.load_from == str(tmp_path / 't.pth') and cfg.load_strict is False
    assert cfg.train_cfg.max_epochs == 30 and cfg.optim_wrapper.optimizer.lr == 0.00063
    assert Config.fromfile(tmp_path / 'my.py').model.teacher_ckpt.endswith('_teacher/epoch_30.pth')


def test_a_checkpoint_of_another_network(new_config, tmp_path):
    student = networks.find_network('--student', STUDENT)
    state = MODELS.build(student.model(3)).state_dict()
    save_checkpoint(dict(state_dict=state), str(tmp_path / 's.pth'))
    error = new_config('--teacher-ckpt', 's.pth', '--out', 'my.py')
    assert error.startswith('error: checkpoint s.pth does not fit the teacher'), error
    assert not (tmp_path / 'my.py').exists()


def test_a_dry_run_shows_the_pairing_and_writes_nothing(new_config, tmp_path, capsys):
    before = set(tmp_path.rglob('*'))
    assert new_config('--dry-run', '--method', 'lakd') is None
    shown = capsys.readouterr().out
    rows = [
        [c.strip() for c in line.split('|')[1:-1]] for line in shown.splitlines() if '|' in line
    ]
    stage3 = 'backbone.layer3.'
    assert rows[2:] == [
        ['loss_module1', 'backbone.layer1.0', '16x32x32', '-', 'backbone.layer1.4', '16x32x32'],
        ['loss_module2', 'backbone.layer2.0', '32x16x16', '-', 'backbone.layer2.4', '32x16x16'],
        ['loss_module3', f'{stage3}1', '64x8x8', '-', f'{stage3}4', '64x8x8'],
        ['loss_cat', 'backbone', '64x8x8 to 3x8x8', 'CAMConnector', 'backbone', '64x8x8 to 3x8x8'],
    ]
    assert 'Nothing is written' in shown and set(tmp_path.rglob('*')) == before


def test_files_that_exist(new_config, tmp_path):
    (tmp_path / 'my_teacher.py').write_text('a')
    assert 'my_teacher.py exists; name another file, or add --force' in new_config('--out', 'my.py')
    assert not (tmp_path / 'my.py').exists()
    assert new_config('--out', 'my.py', '--force') is None
    assert (tmp_path / 'my_teacher.py').read_text().startswith('# Trains the teacher of my.py')
    assert '--out: my.py exists' in new_config('--out', 'my.py')
    assert 'no folder absent' in new_config('--out', 'absent/my.py')


@pytest.mark.parametrize(
    'method, message',
    [
        ('ladk', r"--method ladk: no such method; did you mean 'lakd'"),
        ('fgd', r'--method fgd: it is none for classifiers'),
        ('teachers', r'--method teachers: it is none for classifiers'),
    ],
)
def test_wrong_methods(method, message):
    with pytest.raises(ConfigError, match=message):
        methods.find_method(method, 60, lambda: 3)


def test_a_network_that_a_method_cannot_be_used_on(new_config, tmp_path):
    student = 'mmpretrain::lenet/lenet5_mnist.py'
    error = new_config('--out', 'my.py', student=student)
    assert re.match(
        rf'error: lakd from {TEACHER} to {student} does not work on 32x32 images: .*'
        r'Choose another network, --method or --size$',
        error,
    ), error
    assert not (tmp_path / 'my.py').exists()


def test_lakd_without_class_activation_maps(new_config, tmp_path, capsys):
    """A head with a hidden layer has none; LAKD's features stay."""
    head = "dict(_delete_=True, type='StackedLinearClsHead', num_classes=10, in_channels=64, "
    text = f'_base_ = {STUDENT!r}\nmodel = dict(head={head}mid_channels=[32]))\n'
    (tmp_path / 'hidden.py').write_text(text)
    assert new_config('--out', 'my.py', student='hidden.py') is None
    shown = capsys.readouterr().out
    assert 'Without class attention (attention_loss=None): ' in shown and '| loss_cat' not in shown
    model = Config.fromfile(tmp_path / 'my.py').model
    assert model.attention_loss is None and len(model.taps) == 3
    assert len(MODELS.build(dict(model, teacher_ckpt=None)).distiller.distill_losses) == 3


FOLDERS = sorted(
    path.parent.name
    for path in methods.CONFIGS.glob('*/metafile.yml')
    if path.parent.name not in ('teachers', 'fgd')
)


def network_of_stages(count):
    """A residual network of three or four stages, as a config."""
    if count == 3:
        return networks.find_network('--student', STUDENT).model(3)
    model = networks.find_network('--student', RESNET18).model(3)
    model['backbone'].update(base_channels=8, stem_channels=8)
    model['head']['in_channels'] = 64
    return model


@pytest.mark.slow
@pytest.mark.parametrize('stages', [3, 4])
@pytest.mark.parametrize('name', FOLDERS)
def test_every_method(name, stages):
    network = network_of_stages(stages)
    pair = dict(architecture=network, teacher=network, input_shape=(3, 64, 64))
    base, key, model, lines = methods.find_method(name, 60, lambda: pairing.count_stages(pair))
    cfg = Config.fromfile(methods.CONFIGS / f'_base_/methods/{base}.py')
    changed = cfg.methods[key]
    exec('\n'.join(lines), dict(model=changed))
    assert changed.to_dict() == model
    built, left_out = pairing.build_pair({**model, **pair}, name)
    assert not left_out
    rows = pairing.pairing(built, (3, 64, 64))
    assert {row[0] for row in rows[1:]} == set(built.distiller.loss_forward_mappings)
    if key in methods.LAST_STAGE:
        assert rows[-1][1].startswith(f'backbone.layer{stages}.')
    assert ('loss_crd.loss.num_data = 60' in str(lines)) == (key == 'crd')
    of_image, fixed = pairing.bytes_of_a_step(built, (3, 64, 64), name)
    assert of_image > 0 and fixed > 0


def test_what_a_step_keeps():
    network = networks.find_network('--student', STUDENT).model(3)
    _, model = methods.read_methods()['kd']
    pair = dict(architecture=network, teacher=network, input_shape=(3, 32, 32))
    small, _ = pairing.build_pair({**model, **pair}, 'kd')
    of_image, fixed = pairing.bytes_of_a_step(small, (3, 32, 32), 'kd')
    trained = sum(p.numel() for p in small.student.parameters())
    frozen = sum(p.numel() for p in small.teacher.parameters())
    assert fixed == 4 * (3 * trained + frozen)
    # 13 convolutions, each with its input and its BatchNorm's, of 16 x 32 x 32 at most.
    assert 4 * 13 * 16 * 1024 / 2 < of_image < 4 * 3 * 13 * 16 * 1024


@pytest.mark.parametrize(
    'value',
    [
        dict(a=[1, (2,), ()], b=dict(type='X', c=None), d={'1x': 0.1}),
        [dict(name='a' * 40, other='b' * 40, third=['c' * 50])] * 2,
    ],
)
def test_values_are_written_as_python(value):
    text = writing.assign('a', value)
    assert eval(text.partition(' = ')[2]) == value and max(map(len, text.splitlines())) <= 100
    ast.parse(text)
