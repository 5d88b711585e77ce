"""Classifiers of OpenMMLab around networks that are not."""

from .module_classifier import ModuleClassifier
