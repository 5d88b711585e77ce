"""Networks of the distillation literature that MMPretrain lacks."""

from .cbam import CBAM, CBAMCIFARResNet, CBAMResNet, CBAMResNet_CIFAR
from .cifar_mobilenet import CIFARMobileNetV2
from .cifar_resnet import CIFARResNet
from .cifar_shufflenet import CIFARShuffleNetV1, CIFARShuffleNetV2
from .cifar_vgg import CIFARVGG
from .cifar_wrn import CIFARWideResNet
from .literature_keys import map_literature_keys
