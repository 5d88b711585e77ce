import mmrazor.models  # noqa: F401  (its classes)
import pytest
import torch
from mmengine.model import BaseModule
from mmpretrain.evaluation import Accuracy
from mmpretrain.models import LeNet5, MobileNetV2, ResNet_CIFAR
from mmpretrain.models.backbones.mixmim import MixMIMBlock
from mmpretrain.models.utils import ShiftWindowMSA

from lakd_mm.compat.mmpretrain import return_self, subclasses, window_reverse


def test_train_and_eval_return_the_network(run_code):
    printed = run_code("""
        import lakd_mm
        from mmpretrain.models import ResNet_CIFAR
        from torchvision.models.feature_extraction import create_feature_extractor

        net = ResNet_CIFAR(depth=18, base_channels=2, stem_channels=2)
        assert net.eval() is net and not net.training and not net.layer1[0].bn1.training
        assert net.train() is net and net.training and net.layer1[0].bn1.training
        # torchvision relies on the returned network.
        print(type(create_feature_extractor(net, ['layer2'])).__name__)
    """)
    assert printed == 'ResNet_CIFAR\n'


@pytest.mark.parametrize('package', ['mmpretrain', 'mmrazor'])
def test_no_override_is_left_out(package):
    overrides = [
        cls
        for cls in set(subclasses(BaseModule))
        if 'train' in vars(cls) and cls.__module__.startswith(f'{package}.')
    ]
    assert overrides
    assert all(hasattr(cls.train, '__wrapped__') for cls in overrides)


def test_what_upstream_does_in_train_is_kept():
    frozen = ResNet_CIFAR(depth=18, base_channels=2, stem_channels=2, frozen_stages=1)
    assert not frozen.train().layer1.training
    assert frozen.layer2.training
    norm_eval = MobileNetV2(norm_eval=True)
    assert not norm_eval.train().conv1.bn.training


def test_returned_value_of_healthy_train_is_kept():
    assert return_self(lambda self, mode: 'healthy')(None, True) == 'healthy'
    assert return_self(lambda self, mode: None)('net', True) == 'net'


def test_windows_become_the_map_again():
    maps = torch.arange(2 * 8 * 12 * 3).view(2, 8, 12, 3)
    for cls in (ShiftWindowMSA, MixMIMBlock):
        assert cls.window_reverse is window_reverse
        assert torch.equal(cls.window_reverse(cls.window_partition(maps, 4), 8, 12, 4), maps)


def test_accuracy_moves_a_batch_from_a_gpu_at_once():
    """From a pretended one."""

    class OnGPU(torch.Tensor):
        is_cuda = True
        moves = 0

        def cpu(self):
            OnGPU.moves += 1
            return self.as_subclass(torch.Tensor)

    scores = torch.tensor([[0.1, 0.6, 0.3], [0.5, 0.2, 0.3], [0.2, 0.3, 0.5], [0.3, 0.4, 0.3]])
    labels = torch.tensor([[1], [2], [0], [1]])
    found = []
    for kind in (torch.Tensor, OnGPU):
        samples = [
            dict(pred_score=s.as_subclass(kind), gt_label=label.as_subclass(kind))
            for s, label in zip(scores, labels)
        ]
        metric = Accuracy(topk=(1, 2))
        metric.process(None, samples)
        assert all(type(sample['gt_label']) is kind for sample in samples)
        found.append(metric.evaluate(4))
    assert OnGPU.moves == 2
    assert found[0] == found[1] == {'accuracy/top1': 50.0, 'accuracy/top2': 75.0}


def test_lenet_classifies_one_image_as_it_does_several():
    network, images = LeNet5(num_classes=10).eval(), torch.randn(2, 1, 32, 32)
    (logits,) = network(images)
    (one,) = network(images[:1])
    assert one.shape == (1, 10) and torch.allclose(one, logits[:1], atol=1e-6)
    assert LeNet5()(images)[0].shape == (2, 120, 1, 1)
