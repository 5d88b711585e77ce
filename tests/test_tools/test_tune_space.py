"""What a search may set: read, checked against a config, proposed and put into it."""

import optuna
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

import lakd_mm  # noqa: F401
from lakd_mm.errors import ConfigError
from tuning.space import Parameter, check_space, read_points, read_space, with_values

LR = 'optim_wrapper.optimizer.lr'


@pytest.fixture
def cfg(tiny_config):
    cfg = Config.fromfile(tiny_config)
    cfg.train_dataloader.dataset.indices = 320
    init_default_scope('mmpretrain')
    return cfg


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('a.b=log:0.1:100', Parameter('a.b', 'log', (0.1, 100.0))),
        ('a=float:-1:1e-3', Parameter('a', 'float', (-1.0, 0.001))),
        ('a=int:1:9', Parameter('a', 'int', (1, 9))),
        ('a=choice:1,x,1e-3,null', Parameter('a', 'choice', (1, 'x', 0.001, None))),
        ('a=choice:[1, 4],[2, 5]', Parameter('a', 'choice', ([1, 4], [2, 5]))),
        ('a=choice:{type: A},no', Parameter('a', 'choice', ({'type': 'A'}, False))),
    ],
)
def test_a_space_is_read(text, expected):
    assert read_space([text]) == [expected]


def test_a_space_in_a_file(tmp_path):
    path = tmp_path / 'space.yml'
    path.write_text('a.b: log:0.1:100\nc: [1, 2]\n')
    assert read_space([str(path), 'd=int:1:2']) == [
        Parameter('a.b', 'log', (0.1, 100.0)),
        Parameter('c', 'choice', (1, 2)),
        Parameter('d', 'int', (1, 2)),
    ]
    with pytest.raises(ConfigError, match=r'--space c: it is given twice'):
        read_space([str(path), 'c=int:1:2'])


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('a=log:100:0.1', 'a=log:100:0.1: the range is empty'),
        ('a=int:3:3', 'the range is empty'),
        ('a=log:0:1', 'a logarithm needs numbers above 0'),
        ('a=float:1:x', "'x' is no number"),
        ('a=float:1:inf', "'inf' is no number"),
        ('a=int:1:2.5', "'2.5' is no whole number"),
        ('a=float:1', 'give two numbers, as in float:1:100'),
        ('a=float:1:2:3', 'give two numbers'),
        ('a=uniform:1:2', "'uniform' is no kind of range; write log:LOW:HIGH"),
        ('a=choice:1', 'at least two choices, each once'),
        ('a=choice:1,1', 'at least two choices, each once'),
        ('a=choice:[1', 'the choices cannot be read'),
        ('absent.yml', 'absent.yml: no KEY=KIND:… and no YAML file'),
    ],
)
def test_a_wrong_space(text, message):
    with pytest.raises(ConfigError, match=message):
        read_space([text])


def test_keys_of_the_config_and_arguments_of_what_it_names(cfg):
    texts = [f'{LR}=log:0.1:1', 'optim_wrapper.optimizer.weight_decay=float:0:1']
    texts += ['model.backbone.depth=choice:8,14', 'param_scheduler.0.milestones.0=int:1:2']
    # Of a base class, too.
    texts += ['model.head.init_cfg=choice:null,{type: Normal}', 'model.train_cfg=choice:null,{}']
    assert check_space(read_space(texts), cfg) is None
    assert check_space(read_space(texts), cfg, together=2) is None


@pytest.mark.parametrize(
    ('text', 'together', 'message'),
    [
        ('optim_wrapper.optimizer.lrr=int:1:2', 1, "no key 'lrr'; did you mean 'lr'"),
        ('optim_wraper.lr=int:1:2', 1, "config has no key 'optim_wraper'; did you .*optim_wrapper"),
        ('model.backbone.depht.x=int:1:2', 1, "model.backbone has no key 'depht'.*'depth'"),
        ('model.backbone.depth.x=int:1:2', 1, 'model.backbone.depth is 8 in the config, without'),
        ('param_scheduler.1.gamma=int:1:2', 1, 'is a list of 1, and .1. is no index'),
        ('model.backbone=int:1:2', 1, 'no number; use one of its keys: type, depth'),
        ('model.backbone.type=float:1:2', 1, "'mmrazor.CIFARResNet' there, no number"),
        ('train_cfg.max_epochs=int:1:2', 1, 'the search itself needs it; use --cfg-options'),
        ('val_dataloader.batch_size=int:1:2', 1, 'the search itself needs it'),
        (
            'train_dataloader.batch_size=int:1:2',
            2,
            'share data and teacher .* leave out --together',
        ),
        ('model.teacher.backbone.depth=int:1:2', 2, 'share data and teacher'),
    ],
)
def test_a_key_that_cannot_be_searched(cfg, text, together, message):
    with pytest.raises(ConfigError, match=message):
        check_space(read_space([text]), cfg, together)


POINTS = ['a=log:0.1:10', 'b=int:1:9', 'c=choice:[1,4,9],null,1e-3,x']


def test_points_that_are_tried_first(tmp_path):
    path, space = tmp_path / 'first.yml', read_space(POINTS)
    path.write_text('- {a: 1, b: 9, c: [1, 4, 9]}\n- {a: 1e-1, c: null}\n- {c: 1e-3}\n')
    points = read_points(str(path), space)
    assert points == [dict(a=1, b=9, c='[1, 4, 9]'), dict(a=0.1, c=None), dict(c=0.001)]
    study = optuna.create_study()
    for point in points:
        study.enqueue_trial(point)
    trial = study.ask()
    assert [one.suggest(trial) for one in space] == [1.0, 9, [1, 4, 9]]
    assert space[2].suggest(study.ask()) is None


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('- {a: 11}', r'a=11 is not in a=log:0.1:10'),
        ('- {b: 1.5}', r'b=1.5 is not in b=int:1:9'),
        ('- {b: true}', r'b=True is not in'),
        ('- {c: [1, 4]}', r'c=\[1, 4\] is not in'),
        ('- {d: 1}', 'd is not searched'),
        ('a: 1', 'a file holds a list of points'),
        ('[', 'first.yml: while parsing'),
    ],
)
def test_a_wrong_point(tmp_path, text, message):
    path = tmp_path / 'first.yml'
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_points(str(path), read_space(POINTS))


def test_batch_sizes_are_searched_alone(cfg):
    assert check_space(read_space(['train_dataloader.batch_size=int:1:2']), cfg) is None


def test_values_are_set_in_a_copy(cfg):
    changed = with_values(cfg, {LR: 3.0, 'param_scheduler.0.milestones': [2], 'randomness.x': 1})
    assert (changed.optim_wrapper.optimizer.lr, cfg.optim_wrapper.optimizer.lr) == (3.0, 0.1)
    assert changed.param_scheduler[0].milestones == [2] and changed.randomness == dict(seed=0, x=1)
    changed = with_values(cfg, {'param_scheduler.0.milestones.0': 5})
    assert (changed.param_scheduler[0].milestones, cfg.param_scheduler[0].milestones) == ([5], [1])


def test_proposals_are_in_the_space():
    study = optuna.create_study()
    space = read_space(['a=log:0.1:10', 'b=int:1:3', 'c=choice:[1],[2]', 'd=float:-1:0'])
    for _ in range(12):
        trial = study.ask()
        values = {one.key: one.suggest(trial) for one in space}
        assert 0.1 <= values['a'] <= 10 and values['b'] in (1, 2, 3) and -1 <= values['d'] <= 0
        assert values['c'] in ([1], [2])
        assert {one.key: one.value_of(trial.params) for one in space} == values
