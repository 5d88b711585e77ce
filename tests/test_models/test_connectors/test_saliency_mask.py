"""Masks of where a teacher's feature matters, against whole backward passes."""

import copy

import pytest
import torch
import torch.nn as nn
from mmpretrain.structures import DataSample
from networks import cifar_resnet_cfg, cifar_wrn_cfg, classifier_cfg

from lakd_mm.models.connectors import SaliencyMask, integrated_gradients
from lakd_mm.models.places.upper_part import upper_part

TAP = 'backbone.layer2.0'
MASK_METHODS = ('gradient', 'grad_cam', 'layer_cam', 'integrated_gradients')


@pytest.fixture
def teacher(build):
    """A network in float64 whose statistics are not those of its start."""
    network = build(cifar_resnet_cfg(8)).double()
    network.train()
    with torch.no_grad():
        network(torch.randn(8, 3, 32, 32, dtype=torch.float64), mode='tensor')
    network.eval()
    return network


@pytest.fixture
def samples(batch):
    return batch['data_samples']


def record(network, images, tap=TAP):
    """A tap's output, with the graph of the whole network behind it."""
    records = []
    handle = network.get_submodule(tap).register_forward_hook(
        lambda module, args, output: records.append(output)
    )
    logits = network(images, mode='tensor')
    handle.remove()
    return records[0], logits


def mask_of(network, tap=TAP, **arguments):
    mask = SaliencyMask(tap, **arguments)
    mask.attach(network)
    return mask


class TestUpperPart:
    @pytest.mark.parametrize('tap', ['backbone.layer1.0', TAP, 'backbone.layer3', 'backbone.relu'])
    def test_gives_the_networks_logits(self, teacher, batch, tap):
        feature, logits = record(teacher, batch['inputs'].double(), tap)
        found = upper_part(teacher, tap, (3, 32, 32))(feature)
        torch.testing.assert_close(found, logits, rtol=1e-12, atol=1e-12)

    def test_runs_nothing_below_and_shares_everything_above(self, teacher, batch):
        part = upper_part(teacher, TAP, (3, 32, 32))
        ran = []
        for name, module in teacher.named_modules():
            module.register_forward_hook(lambda *_, name=name: ran.append(name))
        with torch.no_grad():
            teacher.head.fc.bias += 1
            feature, logits = record(teacher, batch['inputs'].double())
            ran.clear()
            torch.testing.assert_close(part(feature), logits, rtol=1e-12, atol=1e-12)
        assert 'backbone.layer3.0.conv1' in ran and 'head.fc' in ran
        assert not any(name.startswith(('backbone.conv1', 'backbone.layer1')) for name in ran)

    def test_pre_activation_networks_and_copies(self, build, batch):
        network = build(cifar_wrn_cfg(16)).eval()
        tap = 'backbone.layer2.1'
        mask = mask_of(network, tap)
        copied = copy.deepcopy(nn.ModuleDict(dict(network=network, mask=mask)))
        with torch.no_grad():
            copied['network'].head.fc.weight.mul_(2)
            feature, logits = record(copied['network'], batch['inputs'], tap)
            torch.testing.assert_close(copied['mask']._logits(feature), logits)
            feature, logits = record(network, batch['inputs'], tap)
            torch.testing.assert_close(mask._logits(feature), logits)

    def test_stages_beside_containers_that_do_not_run(self, build, batch):
        backbone = dict(type='mmpretrain.ConvNeXt', arch=dict(depths=[1] * 4, channels=[8] * 4))
        network = build(classifier_cfg(dict(backbone, out_indices=3), in_channels=8)).eval()
        network.neck = None
        tap = 'backbone.stages.1'
        feature, logits = record(network, batch['inputs'], tap)
        found = upper_part(network, tap, (3, 32, 32))(feature)
        torch.testing.assert_close(found, logits)

    @pytest.mark.parametrize('images', [1, 3])
    def test_code_between_modules_below_the_tap(self, build, images):
        arch = dict(embed_dims=8, num_layers=2, num_heads=2, feedforward_channels=8)
        backbone = dict(
            type='mmpretrain.VisionTransformer',
            arch=arch,
            img_size=32,
            patch_size=8,
            final_norm=False,
        )
        network = build(classifier_cfg(backbone, in_channels=8)).eval()
        network.neck = None
        tap = 'backbone.layers.0'
        feature, logits = record(network, torch.randn(images, 3, 32, 32), tap)
        found = upper_part(network, tap, (3, 32, 32))(feature)
        torch.testing.assert_close(found, logits)

    def test_a_network_that_goes_around_the_tap(self, teacher):
        with pytest.raises(ValueError, match=r"above 'backbone.layer2.0.conv1' cannot be run by"):
            upper_part(teacher, 'backbone.layer2.0.conv1', (3, 32, 32))

    def test_a_network_without_gradients(self, teacher):
        teacher.head.fc.register_forward_hook(lambda module, args, output: output.detach())
        with pytest.raises(ValueError, match="SaliencyMask.*'gradient'.*lets no gradient through"):
            mask_of(teacher)
        assert mask_of(teacher, method='none')._logits is None

    def test_training_mode_is_left_as_it_was(self, teacher):
        teacher.train()
        teacher.backbone.bn1.eval()
        before = copy.deepcopy(teacher.state_dict())
        upper_part(teacher, TAP, (3, 32, 32))
        assert [m for m in teacher.modules() if not m.training] == [teacher.backbone.bn1]
        for name, value in teacher.state_dict().items():
            assert torch.equal(value, before[name]), name


class TestSaliency:
    @pytest.mark.parametrize('method', MASK_METHODS[:3])
    def test_equals_a_backward_through_the_whole_network(self, teacher, batch, samples, method):
        feature, logits = record(teacher, batch['inputs'].double())
        labels = torch.tensor([int(sample.gt_label) for sample in samples])
        (g,) = torch.autograd.grad(logits.gather(1, labels[:, None]).sum(), feature)
        weight = {
            'gradient': g,
            'grad_cam': g.flatten(2).mean(2)[..., None, None],
            'layer_cam': g.clamp(min=0),
        }[method]
        saliency = torch.einsum('nchw,nchw->nhw', weight.expand_as(g), feature).clamp(min=0)
        teacher.float()
        mask = mask_of(teacher, method=method)(feature.float(), samples)
        for i, image in enumerate(saliency):
            expected = (image - image.min()) / (image.max() - image.min())
            torch.testing.assert_close(mask[i, 0], expected.float(), rtol=1e-3, atol=1e-4)

    def test_integrated_gradients_are_complete(self, teacher, batch):
        feature, logits = record(teacher, batch['inputs'].double())
        part = upper_part(teacher, TAP, (3, 32, 32))
        chosen = torch.eye(10, dtype=torch.float64)[[3, 1, 4, 1]]
        change = ((part(feature) - part(torch.zeros_like(feature))) * chosen).sum(1)
        errors = []
        for steps in (4, 64):
            found = integrated_gradients(part, feature, lambda logits: chosen, steps)
            errors.append((found.flatten(1).sum(1) - change).abs().max() / change.abs().min())
        assert errors[1] < 0.02
        assert errors[1] < errors[0]

    def test_integrated_gradients_of_a_linear_part_are_exact(self, teacher, batch, samples):
        feature, _ = record(teacher, batch['inputs'].double(), 'backbone.layer3')
        part = upper_part(teacher, 'backbone.layer3', (3, 32, 32))
        labels = torch.tensor([int(sample.gt_label) for sample in samples])
        weight = teacher.head.fc.weight[labels][..., None, None] / 64
        found = integrated_gradients(part, feature, lambda z: torch.eye(10).to(z)[labels], 2)
        torch.testing.assert_close(found, weight * feature, rtol=1e-9, atol=1e-12)
        teacher.float()
        mask = mask_of(teacher, 'backbone.layer3', method='integrated_gradients', steps=2)
        saliency = (weight * feature).sum(1).abs().detach().float()
        expected = torch.stack([(s - s.min()) / (s.max() - s.min()) for s in saliency])
        torch.testing.assert_close(
            mask(feature.float(), samples)[:, 0], expected, rtol=1e-3, atol=1e-4
        )

    def test_targets(self, teacher, batch):
        teacher.float()
        feature, logits = record(teacher, batch['inputs'])
        predicted = [DataSample().set_gt_label(int(i)) for i in logits.argmax(1)]
        by_label = mask_of(teacher)(feature, predicted)
        assert torch.equal(mask_of(teacher, target='prediction')(feature), by_label)
        fours = [DataSample().set_gt_label(4)] * 4
        by_index = mask_of(teacher, target=4)(feature)
        assert torch.equal(by_index, mask_of(teacher)(feature, fours))
        soft = [DataSample().set_gt_score(torch.eye(10)[4])] * 4
        assert torch.equal(mask_of(teacher)(feature, soft), by_index)
        assert not torch.equal(by_index, by_label)


class TestMask:
    def test_binary_masks_hold_the_share_above_the_percentile(self, teacher, batch, samples):
        teacher.float()
        feature, _ = record(teacher, batch['inputs'])
        soft = mask_of(teacher, method='integrated_gradients', steps=2)(feature, samples)
        binary = mask_of(teacher, method='integrated_gradients', steps=2, percentile=85)
        mask = binary(feature, samples)
        assert mask.shape == (4, 1, 16, 16)
        # The percentile lies at 0.85 * 255 = 216.75, so values 217 to 255 of 0 to 255 are above.
        assert [int(m.sum()) for m in mask] == [39] * 4
        for m, s in zip(mask, soft):
            assert s[m == 1].min() > s[m == 0].max()

    @pytest.mark.parametrize('percentile', [None, 85])
    @pytest.mark.parametrize('method', MASK_METHODS)
    def test_from_zero_to_one_and_another_for_each_image(
        self, teacher, batch, samples, method, percentile
    ):
        teacher.float()
        feature, _ = record(teacher, batch['inputs'])
        steps = dict(steps=2) if method == 'integrated_gradients' else {}
        mask = mask_of(teacher, method=method, percentile=percentile, **steps)(feature, samples)
        assert (mask.amin((1, 2, 3)) == 0).all() and (mask.amax((1, 2, 3)) == 1).all()
        assert all(not torch.equal(mask[i], mask[j]) for i in range(4) for j in range(i))
        assert not mask.requires_grad

    def test_of_an_image_does_not_depend_on_its_batch(self, teacher, batch, samples):
        teacher.float()
        feature, _ = record(teacher, batch['inputs'])
        mask = mask_of(teacher)
        whole = mask(feature, samples)
        halves = [mask(feature[i].clone(), samples[i]) for i in (slice(2), slice(2, 4))]
        torch.testing.assert_close(torch.cat(halves), whole)

    def test_none_is_ones(self, teacher):
        mask = mask_of(teacher, method='none')(torch.rand(2, 3, 4, 5))
        assert torch.equal(mask, torch.ones(2, 1, 4, 5))

    def test_nothing_salient_is_a_mask_of_zeros(self, teacher, samples):
        teacher.float()
        for percentile in (None, 85):
            mask = mask_of(teacher, percentile=percentile)(torch.zeros(4, 32, 16, 16), samples)
            assert torch.equal(mask, torch.zeros(4, 1, 16, 16))

    def test_one_feature_is_worked_on_once(self, teacher, batch, samples):
        teacher.float()
        feature, _ = record(teacher, batch['inputs'])
        mask = mask_of(teacher)
        calls = []
        teacher.head.fc.register_forward_hook(lambda *_: calls.append(1))
        assert mask(feature, samples) is mask(feature, samples)
        assert len(calls) == 1
        mask(feature + 1, samples)
        assert len(calls) == 2

    def test_without_gradients_around_and_in_half_precision(self, teacher, batch, samples):
        teacher.float()
        feature, _ = record(teacher, batch['inputs'])
        expected = mask_of(teacher)(feature, samples)
        with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
            assert torch.equal(mask_of(teacher)(feature, samples), expected)
            half = mask_of(teacher)(feature.bfloat16(), samples)
        assert half.dtype == torch.float32
        assert (half - expected).abs().mean() < 0.01

    def test_the_teacher_gets_no_gradient(self, teacher, batch, samples):
        teacher.float()
        feature, _ = record(teacher, batch['inputs'])
        mask_of(teacher)(feature, samples)
        assert all(parameter.grad is None for parameter in teacher.parameters())


class TestBadInput:
    @pytest.mark.parametrize('percentile', [0, 100, -3, '85'])
    def test_percentile(self, percentile):
        with pytest.raises(ValueError, match=f'percentile={percentile!r} is not between 0 and 100'):
            SaliencyMask(TAP, percentile=percentile)

    def test_arguments(self):
        with pytest.raises(ValueError, match="method='gradcam'.*did you mean 'grad_cam'"):
            SaliencyMask(TAP, method='gradcam')
        with pytest.raises(ValueError, match="target='lable' is neither"):
            SaliencyMask(TAP, target='lable')
        with pytest.raises(ValueError, match='steps=0'):
            SaliencyMask(TAP, steps=0)
        with pytest.raises(ValueError, match="percentile=85 would be ignored with method='none'"):
            SaliencyMask(TAP, method='none', percentile=85)
        with pytest.raises(ValueError, match='method=None'):
            SaliencyMask(TAP, method=None)

    def test_records_of_another_place(self):
        for source, from_student in (('backbone.layer2', False), (TAP, True)):
            with pytest.raises(ValueError, match=f'follows a recorder of the .* {source!r}'):
                SaliencyMask(TAP).check_record(source, from_student)

    def test_captum_is_named(self, monkeypatch):
        monkeypatch.setitem(__import__('sys').modules, 'captum', None)
        with pytest.raises(ValueError, match='needs captum; pip install captum'):
            SaliencyMask(TAP, method='integrated_gradients')

    def test_class_and_labels(self, teacher):
        teacher.float()
        feature = torch.rand(2, 32, 16, 16)
        for target in (10, -1):
            with pytest.raises(ValueError, match=f'target={target} is none of the 10 classes'):
                mask_of(teacher, target=target)(feature)
        with pytest.raises(ValueError, match="needs labels; set target='prediction'"):
            mask_of(teacher)(feature)

    def test_tap(self, teacher):
        with pytest.raises(ValueError, match="no module 'backbone.layr2'.*did you mean 'backbone"):
            mask_of(teacher, 'backbone.layr2')
        for shape in ((2, 64), (2, 64, 1, 1)):
            with pytest.raises(ValueError, match='a mask needs positions'):
                mask_of(teacher, method='none')(torch.rand(shape))
