"""Data sets, registered in MMRazor's ``DATASETS``."""

from .cifar import CIFAR10, CIFAR100
from .class_share import class_share
from .digits import Digits
from .in_memory import InMemory, whole_batch
