"""Networks of the distillation literature that MMPretrain lacks."""

from .cifar_resnet import CIFARResNet, map_literature_keys

__all__ = ['CIFARResNet', 'map_literature_keys']
