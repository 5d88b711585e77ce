"""The frozen teacher: loading it, and running no more of it than distillation needs."""

from .ensemble import TeacherEnsemble, brings_weights, build_teacher
from .kept_teacher import KeptTeacher
from .lean_teacher import LeanTeacher, fold_batchnorms
from .loading import keep_teacher_out, load_teacher

__all__ = [
    'KeptTeacher',
    'LeanTeacher',
    'TeacherEnsemble',
    'brings_weights',
    'build_teacher',
    'fold_batchnorms',
    'keep_teacher_out',
    'load_teacher',
]
