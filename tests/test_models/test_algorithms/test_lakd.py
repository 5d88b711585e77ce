import copy
import weakref

import pytest
import torch
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmrazor.models.algorithms import SingleTeacherDistill
from mmrazor.registry import MODELS
from networks import cifar_resnet_cfg, classifier_cfg

from lakd_mm.errors import ConfigError
from lakd_mm.models import CATLoss, GradientDetachStudent, NDAMFeatureLoss
from lakd_mm.models.nested import tensors_in

PREPROCESSOR = dict(type='mmpretrain.ClsDataPreprocessor', mean=[0.0] * 3, std=[1.0] * 3)


def lakd_cfg(student=20, teacher=32, **kwargs):
    return dict(
        type='mmrazor.LAKD',
        architecture=cifar_resnet_cfg(student) if isinstance(student, int) else student,
        teacher=cifar_resnet_cfg(teacher) if isinstance(teacher, int) else teacher,
        data_preprocessor=PREPROCESSOR,
        **kwargs,
    )


@pytest.fixture
def lakd(build):
    return build(lakd_cfg())


def raw(batch):
    return dict(inputs=list(batch['inputs']), data_samples=batch['data_samples'])


class KeepGrads(OptimWrapper):
    """Steps and zeroes nothing, so that the gradients can be looked at."""

    def step(self, **kwargs):
        self.steps = getattr(self, 'steps', 0) + 1

    def zero_grad(self, **kwargs):
        pass


def optim_wrapper(model, cls=KeepGrads, **kwargs):
    return cls(optimizer=torch.optim.SGD(model.parameters(), lr=0.1), **kwargs)


def test_defaults_are_the_papers_rule(lakd):
    assert lakd.student.tap_names == ['backbone.layer1.0', 'backbone.layer2.0', 'backbone.layer3.2']
    sources = [r.source for r in lakd.distiller.teacher_recorders.recorders.values()]
    assert sources == ['backbone.layer1.4', 'backbone.layer2.4', 'backbone.layer3.4', 'backbone']
    assert lakd.backward == 'local'


def test_losses_by_hand(lakd, batch):
    """Every logged term from the two networks' own maps."""
    losses = lakd(**batch, mode='loss')
    student, teacher = lakd.student.architecture, lakd.teacher
    with torch.no_grad():
        taps = {}
        for side, network, names in (
            ('s', student, ('layer1.0', 'layer2.0', 'layer3.2')),
            ('t', teacher, ('layer1.4', 'layer2.4', 'layer3.4')),
        ):
            for i, name in enumerate(names):
                network.backbone.get_submodule(name).register_forward_hook(
                    lambda m, a, out, key=f'{side}{i}': taps.__setitem__(key, out)
                )
            network(batch['inputs'])
        expected = {}
        for i in range(3):
            s, t = taps[f's{i}'], taps[f't{i}']
            expected[f'distill.loss_module{i + 1}'] = NDAMFeatureLoss()(s, t)
        cams = [
            torch.einsum('kc,nchw->nkhw', n.head.fc.weight, taps[k])
            for n, k in ((student, 's2'), (teacher, 't2'))
        ]
        expected['distill.loss_cat'] = CATLoss()(*cams)
        logits = student(batch['inputs'])
        labels = torch.tensor([int(d.gt_label) for d in batch['data_samples']])
        expected['student.loss'] = torch.nn.functional.cross_entropy(logits, labels)
        # The maps are CAT-KD's: pooled they are the logits without the bias.
        torch.testing.assert_close(cams[0].mean((2, 3)) + student.head.fc.bias, logits)
    assert losses.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(losses[name].detach(), value, msg=name)


def test_each_loss_stays_in_its_module(lakd, batch):
    losses = lakd(**batch, mode='loss')
    backbone = lakd.student.backbone
    stages = [list(getattr(backbone, f'layer{i}')) for i in (1, 2, 3)]
    modules = [
        [backbone.conv1, backbone.bn1, stages[0][0]],
        [*stages[0][1:], stages[1][0]],
        [*stages[1][1:], *stages[2]],
        [lakd.student.head],
    ]
    modules = [[p for layer in layers for p in layer.parameters()] for layers in modules]
    assert [sum(p.numel() for p in m) for m in modules[:2]] == [5136, 23872]
    reached = {}
    for name, loss in losses.items():
        reached[name] = []
        for i, parameters in enumerate(modules):
            grads = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
            if any(g is not None for g in grads):
                reached[name].append(i)
                assert any(g.abs().sum() > 0 for g in grads if g is not None), (name, i)
        teacher = list(lakd.teacher.parameters())
        assert not any(p.requires_grad for p in teacher)
    assert reached == {
        'student.loss': [2, 3],
        'distill.loss_module1': [0],
        'distill.loss_module2': [1],
        'distill.loss_module3': [2],
        'distill.loss_cat': [2, 3],
    }


@pytest.mark.parametrize('kwargs', [dict(), dict(accumulative_counts=2)])
def test_local_backward_gives_the_joint_gradients_to_the_bit(build, batch, kwargs):
    logs, grads = [], []
    for backward in ('local', 'joint'):
        model = build(lakd_cfg(backward=backward))
        wrapper = optim_wrapper(model, **kwargs)
        wrapper.initialize_count_status(model, 0, 4)
        logs.append([model.train_step(raw(batch), optim_wrapper=wrapper) for _ in range(2)])
        grads.append([p.grad for p in model.student.parameters()])
        assert all(p.grad is None for p in model.teacher.parameters())
        assert wrapper.steps == 2 // kwargs.get('accumulative_counts', 1)
        assert wrapper._inner_count == 2
    assert all(torch.equal(a, b) for a, b in zip(*grads))
    assert all(g.abs().sum() > 0 for g in grads[0])
    for local, joint in zip(*logs):
        assert local.keys() == joint.keys()
        assert all(torch.equal(local[k].detach(), joint[k].detach()) for k in local)
        parts = sum(v for k, v in local.items() if 'loss' in k and k != 'loss')
        torch.testing.assert_close(local['loss'], parts)


def test_local_backward_with_clipping_trains_alike(build, batch):
    states = []
    for backward in ('local', 'joint'):
        model = build(lakd_cfg(backward=backward))
        wrapper = optim_wrapper(model, OptimWrapper, clip_grad=dict(max_norm=0.1))
        for _ in range(3):
            model.train_step(raw(batch), optim_wrapper=wrapper)
        states.append(model.state_dict())
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])


def test_local_backward_under_bf16_and_a_gradient_scale(build, batch):
    """The scale is applied to every module's loss and the backward is that of the sum."""

    class KeepScaledGrads(AmpOptimWrapper):
        def step(self, **kwargs):
            pass

        def zero_grad(self, **kwargs):
            pass

    grads = []
    for backward in ('local', 'joint'):
        model = build(lakd_cfg(backward=backward))
        wrapper = optim_wrapper(model, KeepScaledGrads, dtype='bfloat16', loss_scale=4.0)
        model.train_step(raw(batch), optim_wrapper=wrapper)
        grads.append([p.grad for p in model.student.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads))
    plain = build(lakd_cfg())
    plain.train_step(raw(batch), optim_wrapper=optim_wrapper(plain))
    scaled, unscaled = grads[0][-1].flatten(), plain.student.head.fc.bias.grad.flatten()
    assert (scaled.norm() / unscaled.norm()).item() == pytest.approx(4, rel=0.05)


def test_losses_reduce_in_float32_under_bf16(lakd, batch, monkeypatch):
    seen = {}
    for name, loss in lakd.distiller.distill_losses.items():
        loss.register_forward_pre_hook(
            lambda module, args, kwargs, name=name: seen.update(
                {name: {v.dtype for v in kwargs.values() if isinstance(v, torch.Tensor)}}
            ),
            with_kwargs=True,
        )
    plain = lakd(**batch, mode='loss')
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = lakd(**batch, mode='loss')
    assert set(seen) == {'loss_module1', 'loss_module2', 'loss_module3', 'loss_cat'}
    half = {name for name, dtypes in seen.items() if torch.bfloat16 in dtypes}
    assert half == {'loss_module1', 'loss_module2', 'loss_module3'}  # which widens by itself
    assert all(value.dtype == torch.float32 for value in losses.values())
    for name, value in plain.items():
        torch.testing.assert_close(losses[name], value, rtol=0.05, atol=0.005, msg=name)


def test_compiled_blocks_give_the_same(build, batch):
    """All blocks but those that are tapped or follow a tap, in a way that leaves copies alone."""
    models = [build(lakd_cfg(compile=compile)) for compile in (None, dict(backend='aot_eager'))]
    logs = [m.train_step(raw(batch), optim_wrapper=optim_wrapper(m)) for m in models]
    for name, value in logs[0].items():
        torch.testing.assert_close(logs[1][name], value, msg=name)
    for a, b in zip(*(m.student.parameters() for m in models)):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)

    def compiled(network):
        blocks = [block for i in (1, 2, 3) for block in getattr(network.backbone, f'layer{i}')]
        return [i + 1 for i, b in enumerate(blocks) if b._compiled_call_impl is not None]

    assert compiled(models[1].student) == [3, 6, 7, 8]
    assert compiled(models[1].run_teacher._copy) == [i for i in range(1, 15) if i % 5]
    assert compiled(models[1].teacher) == compiled(models[0].student) == []
    assert compiled(copy.deepcopy(models[1].student)) == []


def test_graphs_are_freed_before_the_next_module_runs(lakd, batch):
    """When module 2 starts, nothing that module 1 saved for its backward is alive."""
    alive = {}

    def pack(tensor):
        box = [tensor]
        alive[id(box)] = tensor.numel()
        return Box(box)

    class Box:
        def __init__(self, box):
            self.box = box

        def __del__(self):
            alive.pop(id(self.box), None)

    seen = []
    lakd.student.backbone.layer1[1].register_forward_pre_hook(
        lambda *_: seen.append(sum(alive.values()))
    )
    for backward in ('local', 'joint'):
        lakd.backward = backward
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda packed: packed.box[0]):
            lakd.train_step(raw(batch), optim_wrapper=optim_wrapper(lakd))
    assert seen[0] == 0 < seen[1]


@pytest.mark.parametrize('twice', [False, True])
def test_the_backward_frees_what_was_recorded(build, batch, twice):
    """When a gradient reaches the stem, the teacher's first tap is gone, not those still needed.

    Those are not there yet where the teacher runs again behind the first module.
    """
    lakd = build(lakd_cfg(teacher_twice=twice))
    recorders = lakd.distiller.teacher_recorders.recorders
    compute = lakd.distiller.compute_ready_losses
    taps, alive = {}, []

    def watch(done, samples):
        for name in recorders.keys() - taps.keys():
            if recorders[name].data_buffer:
                taps[name] = weakref.ref(*tensors_in(recorders[name].data_buffer))
        return compute(done, samples)

    lakd.distiller.compute_ready_losses = watch
    lakd.student.backbone.conv1.weight.register_hook(
        lambda _: alive.append({name for name, tap in taps.items() if tap() is not None})
    )
    lakd.train_step(raw(batch), optim_wrapper=optim_wrapper(lakd))
    assert alive == [set() if twice else {'module2', 'module3', 'cat'}]
    assert set(taps) == {'module1', 'module2', 'module3', 'cat'}


def test_a_teacher_that_runs_twice_teaches_the_same(build, batch):
    found = []
    for twice in (False, True):
        model = build(lakd_cfg(teacher_twice=twice))
        log = model.train_step(raw(batch), optim_wrapper=optim_wrapper(model))
        found.append((log, {name: p.grad for name, p in model.student.named_parameters()}))
    assert model._teacher_first == {'module1'}
    (log, gradients), (log_of_two, of_two) = found
    assert all(torch.equal(log[name], log_of_two[name]) for name in log)
    assert all(torch.equal(gradients[name], of_two[name]) for name in gradients)
    # Without the hooks that stop it early, the whole of it just runs a second time.
    model = build(lakd_cfg(teacher_twice=True, lean_teacher=dict(stop_early=False)))
    whole = model.train_step(raw(batch), optim_wrapper=optim_wrapper(model))
    assert all(torch.equal(log[name], whole[name]) for name in log)


def test_a_teacher_runs_twice_for_a_local_backward_only(build):
    with pytest.raises(ValueError, match="teacher_twice=True is for backward='local'"):
        build(lakd_cfg(teacher_twice=True, backward='joint'))


def test_nothing_is_recorded_after_a_step(lakd, batch):
    lakd.train_step(raw(batch), optim_wrapper=optim_wrapper(lakd))
    for manager in (lakd.distiller.student_recorders, lakd.distiller.teacher_recorders):
        assert all(recorder.data_buffer == [] for recorder in manager.recorders.values())


def test_modes(lakd):
    lakd.teacher.add_module('dropout', torch.nn.Dropout())
    assert lakd.train() is lakd and lakd.student.training
    assert not any(m.training for m in lakd.teacher.modules())
    assert lakd.eval() is lakd and not lakd.student.training
    assert not any(m.inplace for m in lakd.modules() if hasattr(m, 'inplace'))


def test_predictions_are_the_students(lakd, batch):
    lakd.eval()
    with torch.no_grad():
        predicted = lakd(batch['inputs'], mode='predict')
        logits = lakd.student.architecture(batch['inputs'])
    scores = torch.stack([p.pred_score for p in predicted])
    torch.testing.assert_close(scores, logits.softmax(1))


def test_the_papers_ablation_without_detaching(build, batch):
    model = build(lakd_cfg(detach=False))
    assert model.backward == 'joint'
    model(**batch, mode='loss')['student.loss'].backward()
    assert model.student.backbone.conv1.weight.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="set backward='joint'"):
        build(lakd_cfg(detach=False, backward='local'))


def test_without_a_feature_loss_at_the_last_tap(build, batch):
    losses = build(lakd_cfg(feature_at_last=False))(**batch, mode='loss')
    assert list(losses) == [
        'student.loss',
        'distill.loss_module1',
        'distill.loss_module2',
        'distill.loss_cat',
    ]


def test_weights_of_the_feature_loss_by_tap(build, batch):
    loss = dict(type='mmrazor.NDAMFeatureLoss', loss_weight=2.0)
    plain = build(lakd_cfg(feature_loss=loss))(**batch, mode='loss')
    weighted = build(lakd_cfg(feature_loss=loss, feature_weights=[10, 0.5, 3]))(
        **batch, mode='loss'
    )
    factors = dict(zip(('module1', 'module2', 'module3'), (10, 0.5, 3)))
    for name in plain:
        factor = factors.get(name.rpartition('_')[2], 1)
        torch.testing.assert_close(weighted[name], plain[name] * factor)


def test_paper_mix(build, batch):
    plain = build(lakd_cfg(attention_loss=dict(type='mmrazor.CATLoss', loss_weight=2.0)))
    mixed = build(
        lakd_cfg(attention_loss=dict(type='mmrazor.CATLoss', loss_weight=2.0), paper_mix=0.25)
    )
    plain, mixed = plain(**batch, mode='loss'), mixed(**batch, mode='loss')
    factors = {'student.loss': 0.25, 'distill.loss_cat': 0.75}
    for name in plain:
        torch.testing.assert_close(mixed[name], plain[name] * factors.get(name, 1.0))
    half = build(lakd_cfg(paper_mix=True))
    assert half.ce_weight == half.distiller.distill_losses.loss_cat.loss_weight == 0.5
    assert build(lakd_cfg(paper_mix=False)).ce_weight == 1
    with pytest.raises(ValueError, match='paper_mix=2'):
        build(lakd_cfg(paper_mix=2))


def test_pre_relu_taps_are_signed(build, batch):
    model = build(lakd_cfg(tap_position='pre_relu'))
    seen = []
    model.distiller.distill_losses.loss_module1.register_forward_pre_hook(
        lambda m, args, kwargs: seen.append(kwargs), with_kwargs=True
    )
    model(**batch, mode='loss')
    features = []
    model.student.backbone.layer1[0].register_forward_hook(lambda m, a, out: features.append(out))
    model.student(batch['inputs'])
    assert (seen[0]['s_feature'] < 0).any() and (seen[0]['t_feature'] < 0).any()
    assert torch.equal(seen[0]['s_feature'].relu(), features[0])


@pytest.mark.parametrize('source', ['cam', 'prev'])
def test_where_the_mapping_comes_from(build, batch, source):
    model = build(lakd_cfg(ndam_source=source))
    seen = {}
    for name, loss in model.distiller.distill_losses.items():
        loss.register_forward_pre_hook(
            lambda m, args, kwargs, name=name: seen.__setitem__(name, kwargs), with_kwargs=True
        )
    model(**batch, mode='loss')
    if source == 'cam':
        cam = seen['loss_cat']['preds_T']
        assert all(torch.equal(seen[f'loss_module{i}']['attention'], cam) for i in (1, 2, 3))
    else:
        assert 'attention' not in seen['loss_module1']
        for i in (2, 3):
            expected = seen[f'loss_module{i - 1}']['t_feature']
            assert torch.equal(seen[f'loss_module{i}']['attention'], expected)


def test_the_long_form_gives_the_same(build, batch):
    short = build(lakd_cfg())
    tap = dict(type='mmrazor.ModuleOutputs', source='backbone.layer1.0')
    long = build(
        lakd_cfg(
            taps=[1, 4, 9],
            distiller=dict(
                type='mmrazor.LocalDistiller',
                student_recorders=dict(first=tap),
                teacher_recorders=dict(first=dict(tap, source='backbone.layer1.4')),
                distill_losses=dict(loss_first=dict(type='mmrazor.NDAMFeatureLoss')),
                loss_forward_mappings=dict(
                    loss_first=dict(
                        s_feature=dict(recorder='first', from_student=True),
                        t_feature=dict(recorder='first', from_student=False),
                    )
                ),
            ),
        )
    )
    long.load_state_dict(short.state_dict())
    expected = short(**batch, mode='loss')['distill.loss_module1']
    log = long.train_step(raw(batch), optim_wrapper=optim_wrapper(long))
    assert torch.equal(log['distill.loss_first'], expected.detach())


@pytest.mark.parametrize('loss', ['ChannelWiseDivergence', 'FTLoss', 'L2Loss', 'PKDLoss'])
def test_mmrazors_losses_and_distiller_in_the_long_form(build, batch, loss):
    """Losses that use ``view``, on networks that compute channels-last."""
    by_logits = loss in ('ChannelWiseDivergence', 'PKDLoss')
    names = ('preds_S', 'preds_T') if by_logits else ('s_feature', 't_feature')
    distiller = dict(
        type='mmrazor.ConfigurableDistiller',
        student_recorders=dict(tap=dict(type='mmrazor.ModuleOutputs', source='backbone.layer1')),
        teacher_recorders=dict(tap=dict(type='mmrazor.ModuleOutputs', source='backbone.layer1')),
        distill_losses=dict(loss_tap=dict(type=f'mmrazor.{loss}')),
        loss_forward_mappings=dict(
            loss_tap={
                name: dict(recorder='tap', from_student=student)
                for name, student in zip(names, (True, False))
            }
        ),
    )
    values = []
    models = [
        build(lakd_cfg(taps=[3], distiller=distiller, channels_last=channels_last))
        for channels_last in (True, False)
    ]
    models[1].load_state_dict(models[0].state_dict())
    for model in models:
        log = model.train_step(raw(batch), optim_wrapper=optim_wrapper(model))
        values.append(log['distill.loss_tap'].detach())
        assert model.student.backbone.layer1[2].conv1.weight.grad is not None
    torch.testing.assert_close(*values)


def test_a_preprocessor_may_leave_out_its_type(build):
    """As MMPretrain's data configs do."""
    model = build(dict(lakd_cfg(), data_preprocessor=dict(mean=[1.0] * 3, std=[2.0] * 3)))
    assert model.data_preprocessor._enable_normalize
    student = GradientDetachStudent(cifar_resnet_cfg(8), [1], data_preprocessor=dict(num_classes=9))
    assert student.data_preprocessor.num_classes == 9


def test_it_is_mmrazors_and_detaching_nothing_it_is_mmrazors_step(build, batch):
    """Without cuts the losses are those of ``SingleTeacherDistill`` with the same distiller."""
    plain = dict(fold_batchnorm=False, stop_early=False)
    model = build(lakd_cfg(detach=False, channels_last=False, lean_teacher=plain))
    assert isinstance(model, SingleTeacherDistill)
    ours = model(**batch, mode='loss')
    theirs = SingleTeacherDistill.loss(model, *batch.values())
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[k], theirs[k]) for k in ours)


def test_a_student_on_after_distillation_stopped(lakd, batch):
    lakd.distillation_stopped = True
    log = lakd.train_step(raw(batch), optim_wrapper=optim_wrapper(lakd))
    assert list(log) == ['loss', 'student.loss']
    assert lakd.student.backbone.conv1.weight.grad.abs().sum() > 0


def test_connectors_learn_from_their_module_alone(build, batch):
    wide = classifier_cfg(dict(type='mmrazor.CIFARResNet', depth=8, widen_factor=4), 10, 256)
    connectors = {
        f'module{i}': dict(
            type='mmrazor.ConvModuleConnector',
            in_channel=c,
            out_channel=4 * c,
            norm_cfg=dict(type='BN'),
        )
        for i, c in ((1, 16), (2, 32), (3, 64))
    }
    model = build(lakd_cfg(student=8, teacher=wide, connectors=connectors))
    model.train_step(raw(batch), optim_wrapper=optim_wrapper(model))
    for connector in list(model.distiller.connectors.values())[:3]:
        assert connector.conv_module.conv.weight.grad.abs().sum() > 0


def test_resnet18_from_resnet34(build, batch):
    pair = [
        classifier_cfg(
            dict(type='mmpretrain.ResNet', depth=depth, base_channels=8, stem_channels=8),
            in_channels=64,
        )
        for depth in (18, 34)
    ]
    by_rule = build(lakd_cfg(*pair))
    assert by_rule.student.tap_names == [
        'backbone.layer1.0',
        'backbone.layer2.0',
        'backbone.layer3.0',
        'backbone.layer4.1',
    ]
    paper = build(lakd_cfg(*pair, taps=[1, 2, 4, 8], teacher_taps=[1, 3, 7, 16]))
    for model in (by_rule, paper):
        log = model.train_step(raw(batch), optim_wrapper=optim_wrapper(model))
        assert all(log[f'distill.loss_module{i}'] > 0 for i in (1, 2, 3, 4))
        assert all(p.grad is not None for p in model.student.parameters())


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(taps=[1, 4, 10]), 'taps.*no residual block 10, the network has 9'),
        (dict(taps=[4, 1, 9]), 'does not come after'),
        (dict(taps=['backbone.layr1', 4, 9]), "no module 'backbone.layr1'; did you mean"),
        (dict(teacher_taps=[9, 18, 27]), r'teacher_taps.*no residual block 18.*has 15'),
        (dict(taps=[1, 9]), r'pair up, but there are 2 \(.*\) and 3'),
        (dict(connectors=dict(tap1=dict())), "no 'tap1', the modules are module1, module2"),
        (dict(tap_position='mid'), "tap_position='mid'"),
        (dict(ndam_source='x'), "ndam_source='x'"),
        (dict(backward='later'), "backward='later'"),
        (dict(teacher_trainable=True), 'LAKD has no teacher_trainable'),
        (dict(distiller=dict(type='x'), teacher_taps=[1]), 'teacher_taps would be ignored'),
        (
            dict(
                connectors=dict(
                    module2=dict(type='mmrazor.ConvModuleConnector', in_channel=7, out_channel=32)
                )
            ),
            "loss_module2 .*student's 'backbone.layer2.0'.*7",
        ),
        (dict(teacher=cifar_resnet_cfg(32, num_classes=100)), 'images and classes must agree'),
    ],
)
def test_bad_input_fails_when_the_model_is_built(build, kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(lakd_cfg(**kwargs))


@pytest.mark.parametrize(
    'options, named',
    [
        (dict(mode='reduce-overhead'), "mode='reduce-overhead'"),
        (dict(mode='max-autotune', dynamic=False), "mode='max-autotune'"),
        (dict(backend='cudagraphs'), "backend='cudagraphs'"),
        (dict(options={'triton.cudagraphs': True}), "options={'triton.cudagraphs': True}"),
    ],
)
def test_cuda_graphs_of_compile_are_refused(options, named):
    with pytest.raises(ConfigError) as error:
        MODELS.build(lakd_cfg(compile=options))
    assert str(error.value).startswith(f'compile=dict({named}) makes CUDA graphs')
    assert 'a local backward runs inside the forward' in str(error.value)


@pytest.mark.parametrize(
    'options',
    [
        dict(mode='max-autotune-no-cudagraphs'),
        dict(mode='default'),
        dict(options={'triton.cudagraphs': False}),
    ],
)
def test_compile_without_cuda_graphs_is_taken(build, options):
    assert build(lakd_cfg(compile=options)).run_teacher.compile == options


def test_a_given_wrapper_is_used_as_it_is(build):
    student = GradientDetachStudent(build(cifar_resnet_cfg(20)), [3, 6, 9])
    model = build(lakd_cfg(student=student))
    assert model.student is student


class TestTeacherCheckpoint:
    @pytest.fixture
    def save(self, build, tmp_path):
        def _save(cfg):
            path = str(tmp_path / 'teacher.pth')
            torch.save(dict(state_dict=build(cfg).state_dict()), path)
            return path

        return _save

    def test_is_loaded_and_kept(self, build, save):
        path = save(cifar_resnet_cfg(32))
        expected = torch.load(path)['state_dict']
        model = build(lakd_cfg(teacher_ckpt=path))
        state = model.teacher.state_dict()
        assert all(torch.equal(expected[k], state[k]) for k in expected)

    @pytest.mark.parametrize(
        'other, named',
        [
            (cifar_resnet_cfg(20), 'missing keys.*backbone.layer1.3.conv1.weight'),
            (cifar_resnet_cfg(44), 'unexpected key.*backbone.layer1.5.conv1.weight'),
            (cifar_resnet_cfg(32, num_classes=100), 'size mismatch for head.fc.weight|head.fc'),
        ],
    )
    def test_of_another_network_is_refused(self, build, save, other, named):
        path = save(other)
        with pytest.raises(ValueError, match=f'(?s)teacher_ckpt.*CIFARResNet.*depth=32.*{named}'):
            build(lakd_cfg(teacher_ckpt=path))

    def test_of_nowhere(self, build, tmp_path):
        with pytest.raises(FileNotFoundError, match='none.pth'):
            build(lakd_cfg(teacher_ckpt=str(tmp_path / 'none.pth')))
        with pytest.raises(FileNotFoundError, match='tools/train.py configs/teachers/wrn40_2.py'):
            build(lakd_cfg(teacher_ckpt=str(tmp_path / 'work_dirs/wrn40_2/epoch_240.pth')))


@pytest.mark.parametrize(
    'ce_weight, falling',
    [
        (1.0, ['loss', 'student.loss', *(f'distill.loss_module{i}' for i in (1, 2, 3))]),
        (0.0, ['loss', 'distill.loss_cat', *(f'distill.loss_module{i}' for i in (1, 2, 3))]),
    ],
)
def test_learns_what_it_is_shown(build, batch, ce_weight, falling):
    """Twenty steps on one batch bring the losses down, and the teacher stays what it was."""
    model = build(lakd_cfg(student=8, teacher=14, ce_weight=ce_weight))
    teacher = copy.deepcopy(model.teacher.state_dict())
    wrapper = optim_wrapper(model, OptimWrapper)
    logs = [model.train_step(raw(batch), optim_wrapper=wrapper) for _ in range(20)]
    for name in falling:
        assert logs[-1][name] < 0.9 * logs[0][name], name
    assert all(torch.equal(v, teacher[k]) for k, v in model.teacher.state_dict().items())
