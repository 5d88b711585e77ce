import importlib.util
import sys

from lakd_mm.compat import mmcls


def test_mmcls_is_mmpretrain(run_code):
    printed = run_code("""
        import lakd_mm
        import sys
        import torch
        import mmcls.models.backbones.resnet_cifar as old
        import mmpretrain.models.backbones.resnet_cifar as new
        from mmcls.datasets.transforms.formatting import PackClsInputs
        from mmcls.models import ImageClassifier
        from mmcls.models.losses.cross_entropy_loss import soft_cross_entropy
        from mmcls.structures import ClsDataSample
        from mmpretrain import datasets, models, structures

        assert old is new and new.__spec__.name == 'mmpretrain.models.backbones.resnet_cifar'
        assert PackClsInputs is datasets.PackInputs
        assert ImageClassifier is models.ImageClassifier
        assert ClsDataSample is structures.DataSample
        assert 'mmcls.models' in sys.modules and sys.modules['mmcls'] is sys.modules['mmpretrain']

        # MMRazor's own parts that import it.
        from mmrazor.datasets.transforms.formatting import PackCRDClsInputs
        from mmrazor.models import KDSoftCELoss
        assert issubclass(PackCRDClsInputs, datasets.PackInputs)
        student, teacher = torch.tensor([[1.0, -1.0]]), torch.tensor([[0.5, 2.0]])
        target = torch.softmax(teacher / 2, 1)
        expected = 4 * -(target * torch.log_softmax(student / 2, 1)).sum()
        assert torch.isclose(KDSoftCELoss(tau=2.0)(student, teacher), expected)
        print('done')
    """)
    assert printed == 'done\n'


def test_mmcls_scopes_and_bases(run_code, tmp_path):
    (tmp_path / 'heir.py').write_text("_base_ = 'mmcls::resnet/resnet18_8xb16_cifar10.py'\n")
    printed = run_code("""
        import lakd_mm
        import mmrazor.registry
        import os
        from mmengine.config import Config
        from mmengine.registry import MODELS, TRANSFORMS
        from mmpretrain.models import ImageClassifier, ResNet_CIFAR

        cfg = Config.fromfile('heir.py')
        assert cfg.model._scope_ == 'mmcls'
        assert isinstance(MODELS.build(cfg.model), ImageClassifier)
        backbone = dict(type='mmcls.ResNet_CIFAR', depth=18)
        for registry in (MODELS, mmrazor.registry.MODELS):
            assert type(registry.build(backbone)) is ResNet_CIFAR
        for pack in (
            dict(type='mmcls.PackClsInputs'), dict(type='PackClsInputs', _scope_='mmcls')
        ):
            assert type(TRANSFORMS.build(pack)).__name__ == 'PackInputs'

        # A config that MMRazor ships, on mmcls bases.
        configs = os.path.join(os.path.dirname(mmrazor.__file__), '.mim', 'configs')
        name = 'distill/mmcls/kd/kd_logits_resnet34_resnet18_8xb32_in1k.py'
        cfg = Config.fromfile(os.path.join(configs, name))
        cfg.model.teacher_ckpt = None
        model = MODELS.build(cfg.model)
        assert type(model.student) is ImageClassifier and model.teacher.backbone.depth == 34
        print('done')
    """)
    assert printed.splitlines()[-1] == 'done'


def test_installed_mmcls_is_left_alone(tmp_path, monkeypatch):
    (tmp_path / 'mmcls.py').write_text('REAL = True\n')
    monkeypatch.setattr(sys, 'path', [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, 'meta_path', [f for f in sys.meta_path if f is not mmcls._AliasFinder])
    monkeypatch.delitem(sys.modules, 'mmcls', raising=False)
    finders = list(sys.meta_path)
    mmcls.apply()
    assert sys.meta_path == finders
    assert importlib.util.find_spec('mmcls').origin == str(tmp_path / 'mmcls.py')
