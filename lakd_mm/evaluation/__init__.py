"""Metrics of student and teacher, calibration, corrupted images and efficiency."""

from .calibration import CalibrationError
from .cka import CKASums, cka, gram
from .corruptions import CORRUPTIONS, Corrupt, corrupt
from .features import layer_label, record, stem_and_blocks
from .tap_metrics import TapCKA, TapDistances
from .teacher_predictions import ExtracurricularKnowledge, TeacherAgreement
