from types import SimpleNamespace

import pytest
from mmengine.runner import BaseLoop
from torch import nn

from lakd_mm.engine import CheckDataHook, ConfigError
from lakd_mm.models import ContrastiveRepresentationLoss


class Loop(BaseLoop):
    """A built loop over a data set of some classes."""

    def __init__(self, classes):
        dataset = SimpleNamespace(metainfo=dict(classes=classes), data_root='data/x')
        self.dataloader = SimpleNamespace(dataset=dataset)

    def run(self):
        raise AssertionError('never run')


class Classifier(nn.Module):
    """A model with a head of ``num_classes``."""

    def __init__(self, num_classes):
        super().__init__()
        self.head = nn.Module()
        self.head.num_classes = num_classes


class Algorithm(nn.Module):
    """A student and a teacher."""

    def __init__(self, student, teacher):
        super().__init__()
        self.architecture = student
        self.teacher = teacher


def runner(model, train=None, val=None, test=None):
    return SimpleNamespace(model=model, _train_loop=train, _val_loop=val, _test_loop=test)


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_classifier(split):
    CheckDataHook().before_run(runner(Classifier(3), **{split: Loop('abc')}))
    message = (
        f'{split}_dataloader.dataset has 2 classes .from data/x., but the head of model has '
        'num_classes=3'
    )
    with pytest.raises(ConfigError, match=message):
        CheckDataHook().before_run(runner(Classifier(3), **{split: Loop('ab')}))


def test_student_and_teacher():
    fits, other = Classifier(2), Classifier(5)
    loops = dict(train=Loop('ab'), test=dict(type='TestLoop'))
    CheckDataHook().before_run(runner(Algorithm(fits, fits), **loops))
    for model, part in [
        (Algorithm(other, fits), 'model.architecture'),
        (Algorithm(fits, other), 'model.teacher'),
    ]:
        with pytest.raises(ConfigError, match=f'head of {part} has num_classes=5'):
            CheckDataHook().before_run(runner(model, **loops))


def test_unknown_numbers_pass():
    CheckDataHook().before_run(runner(nn.Linear(1, 1), train=Loop('ab')))
    CheckDataHook().before_run(runner(Classifier(2), train=Loop(None)))


def test_a_loss_sees_the_training_set():
    """CRD's banks have a row for each of its images."""
    loop = Loop('ab')
    loop.dataloader.dataset = range(4)
    CheckDataHook().before_run(runner(ContrastiveRepresentationLoss(4, dim=2), train=loop))
    CheckDataHook().before_run(runner(ContrastiveRepresentationLoss(3, dim=2), val=loop))
    with pytest.raises(ConfigError, match='has 4 images.*num_data=3 rows; set num_data to 4'):
        CheckDataHook().before_run(runner(ContrastiveRepresentationLoss(3, dim=2), train=loop))
