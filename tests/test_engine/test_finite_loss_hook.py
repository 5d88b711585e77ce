"""A loss that is not finite ends the training with a message that says where it began."""

import math
import re
import time

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from networks import cifar_resnet_cfg
from small_run import small_runner

from lakd_mm.engine import ConfigError, FiniteLossHook
from lakd_mm.engine.guards import add_guards
from lakd_mm.errors import DivergedError


class Break(Hook):
    """Calls something with the network before an iteration."""

    def __init__(self, iteration, what):
        self.iteration, self.what = iteration, what

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == self.iteration:
            self.what(runner.model)


def overflow(model):
    """One layer gives infinite numbers from finite weights."""
    model.backbone.layer2[0].conv2.weight.data.fill_(3e38)


def spoil_loss(model):
    model.head.loss_module.loss_weight = math.inf


def spoil_loss_outside_modules(model):
    loss = model.head.loss
    model.head.loss = lambda *args: dict(loss_a=loss(*args)['loss'] * math.inf)


def spoil_weights(model):
    model.backbone.layer3[0].conv1.weight.data[0, 0, 0, 0] = math.nan


@pytest.mark.parametrize(
    'what, where',
    [
        (overflow, r'first module whose output is not finite is backbone.layer2.0.conv2 .Conv2d'),
        (spoil_loss, r'first module whose output is not finite is head.loss_module .CrossEnt'),
        (spoil_loss_outside_modules, r'Every module gives finite numbers; the loss loss_a does'),
        (spoil_weights, r'weights backbone.layer3.0.conv1.weight are not finite already'),
    ],
)
def test_names_where_it_began(tmp_path, what, where):
    hooks = [FiniteLossHook(), Break(4, what)]
    runner = small_runner(tmp_path, epochs=3, custom_hooks=hooks)
    with pytest.raises(DivergedError) as error:
        runner.train()
    message = str(error.value)
    assert message.startswith('the loss is not finite at iteration 5 of epoch 2: loss ')
    assert '; learning rate 0.05. ' in message and 'clip_grad' in message
    assert re.search(where, message), message
    # Before the step: what the optimizer holds is still good.
    momenta = [s['momentum_buffer'] for s in runner.optim_wrapper.optimizer.state.values()]
    assert all(torch.isfinite(momentum).all() for momentum in momenta)
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_1.pth']


def test_in_a_module_of_the_student_of_a_distillation(tmp_path):
    algorithm = dict(
        type='mmrazor.LAKD',
        data_preprocessor=dict(
            type='mmrazor.CropFlipDataPreprocessor', mean=[78.0] * 3, std=[96.0] * 3
        ),
        architecture=cifar_resnet_cfg(8),
        teacher=cifar_resnet_cfg(14),
    )
    hooks = [FiniteLossHook(), Break(1, lambda model: overflow(model.student))]
    runner = small_runner(tmp_path, model=algorithm, custom_hooks=hooks)
    with pytest.raises(DivergedError, match=r'at iteration 2 of .*distill\..* nan') as error:
        runner.train()
    assert re.search(r'first module .* architecture\.\S*layer2.0.conv2 .Conv2d', str(error.value))


def test_noted_on_the_device(tmp_path, monkeypatch):
    """As on a GPU: read every few iterations and before a checkpoint, never in between."""
    hook = FiniteLossHook(interval=4)
    runner = small_runner(tmp_path, epochs=3, custom_hooks=[hook])
    runner.train_loop, runner.optim_wrapper  # noqa: B018
    total = torch.tensor(1.0)
    parse = hook._looking(runner, lambda losses: (losses['loss'], losses))

    class Elsewhere(torch.Tensor):
        device = torch.device('meta')

    read = []
    monkeypatch.setattr(FiniteLossHook, '_stop', lambda self, runner, first: read.append(first))
    monkeypatch.setattr(torch, 'full', lambda shape, value, device: torch.tensor(value))
    for iteration, value in enumerate([1.0, math.nan, 2.0, math.inf]):
        runner.train_loop._iter = iteration
        parse(dict(loss=(total * value).as_subclass(Elsewhere)))
        assert read == []
        if iteration < 3:
            hook.after_train_iter(runner)
    hook.before_save_checkpoint(runner, {})
    assert read == [1]
    hook.after_train_iter(runner)
    assert read == [1, 1]


def test_skip_needs_a_loss_scaler(tmp_path):
    with pytest.raises(ConfigError, match="on_nan='no' is neither"):
        FiniteLossHook('no')
    runner = small_runner(tmp_path, custom_hooks=[FiniteLossHook('skip')])
    with pytest.raises(ConfigError, match="'skip' needs a loss scaler"):
        runner.train()


def test_model_is_left_as_it_was_and_the_look_is_cheap(tmp_path):
    """Less than 1 % of a step of the smallest network here."""
    runner = small_runner(tmp_path, custom_hooks=[FiniteLossHook()])
    start = time.process_time()
    runner.train()
    step = (time.process_time() - start) / 3
    assert 'parse_losses' not in vars(runner.model)
    hook = FiniteLossHook()
    losses = dict(loss=torch.tensor(1.0))
    look = hook._looking(runner, lambda losses: (losses['loss'], losses))
    start = time.process_time()
    for _ in range(1000):
        look(losses)
    assert (time.process_time() - start) / 1000 < 0.01 * step


def test_every_config_is_guarded_once():
    cfg = Config(dict(custom_hooks=[dict(type='mmrazor.FiniteLossHook', interval=5)]))
    add_guards(cfg)
    expected = [dict(type='mmrazor.FiniteLossHook', interval=5), dict(type='mmrazor.StopHook')]
    expected.append(dict(type='mmrazor.CheckDataHook'))
    assert cfg.custom_hooks == expected
    add_guards(cfg)
    assert cfg.custom_hooks == expected
    switched_off = Config(dict(default_hooks=dict(check_data=None)))
    add_guards(switched_off)
    assert 'mmrazor.CheckDataHook' not in [hook['type'] for hook in switched_off.custom_hooks]
