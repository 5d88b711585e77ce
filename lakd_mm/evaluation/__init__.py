"""Metrics that compare a student with its teacher."""

from .cka import CKASums, cka, gram
from .features import label, record, stem_and_blocks
from .tap_metrics import TapCKA, TapDistances
from .teacher_predictions import ExtracurricularKnowledge, TeacherAgreement

__all__ = [
    'CKASums',
    'ExtracurricularKnowledge',
    'TapCKA',
    'TapDistances',
    'TeacherAgreement',
    'cka',
    'gram',
    'label',
    'record',
    'stem_and_blocks',
]
