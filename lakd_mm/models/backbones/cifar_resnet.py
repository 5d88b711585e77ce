"""The CIFAR ResNets of the distillation literature."""

from mmpretrain.models.backbones import ResNet_CIFAR
from mmpretrain.models.backbones.resnet import BasicBlock
from mmrazor.registry import MODELS

from ...errors import ConfigError
from .checks import refuse_style


@MODELS.register_module()
class CIFARResNet(ResNet_CIFAR):
    """Three-stage ResNet for 32x32 images: ResNet-8 … ResNet-110 and the x4 widths.

    The network of `Deep Residual Learning <https://arxiv.org/abs/1512.03385>`_, section 4.2, as
    the distillation literature uses it: shortcuts are 1x1 convolution + BatchNorm wherever the
    stride or the width changes ("option B"), and widths are 16-16-32-64, or 32-64-128-256 for x4.
    It keeps MMPretrain's blocks and parameter names. A classifier with this backbone also reads
    checkpoints with the literature's names (``conv1``, ``layer1.0.conv1``, ``fc``).

    Args:
        depth (int): 6n + 2 for n blocks in each stage: 8, 14, 20, 32, 44, 56, 110.
        widen_factor (int): 1 or 4; 4 makes the networks called 8x4 and 32x4. Defaults to 1.
        stem_channels (int, optional): Width of the stem. Defaults to 16, or 32 for the x4 widths.
        zero_init_residual (bool): Whether each block starts as the identity. Defaults to False, as
            in the literature.
        out_indices (Sequence[int]): Stages to return, from 0, 1, 2. Defaults to ``(2, )``.
        **kwargs: Further arguments of :class:`mmpretrain.models.ResNet`.

    Shape:
        Input (N, 3, H, W); stages (N, 16w, H, W), (N, 32w, H/2, W/2), (N, 64w, H/4, W/4), where
        w is the widen factor.

    Raises:
        ConfigError: If the depth is not 6n + 2, the widen factor is not one of the literature's, or
            an argument would be ignored.
    """

    arch_settings = {depth: (BasicBlock, ((depth - 2) // 6,) * 3) for depth in range(8, 1203, 6)}

    def __init__(
        self,
        depth,
        widen_factor=1,
        stem_channels=None,
        zero_init_residual=False,
        out_indices=(2,),
        **kwargs,
    ):
        if depth not in self.arch_settings:
            raise ConfigError(
                f'CIFARResNet: depth={depth!r} is not 6n + 2, such as 8, 14, 20, 32, 44, 56, 110 '
                f'(for ResNet-8x4 and -32x4 add widen_factor=4)'
            )
        if widen_factor not in (1, 4):
            raise ConfigError(f'CIFARResNet: widen_factor={widen_factor!r} is neither 1 nor 4')
        refuse_style(CIFARResNet, kwargs)
        if zero_init_residual and 'Pretrained' in str(kwargs.get('init_cfg')):
            raise ConfigError(
                'CIFARResNet: zero_init_residual=True would be ignored with the weights of a '
                'Pretrained init_cfg; leave it out'
            )
        if stem_channels is None:
            stem_channels = 16 if widen_factor == 1 else 32
        kwargs.update(stem_channels=stem_channels, base_channels=16 * widen_factor)
        kwargs.update(out_indices=out_indices, zero_init_residual=zero_init_residual)
        super().__init__(depth, num_stages=3, strides=(1, 2, 2), dilations=(1, 1, 1), **kwargs)
