import copy
import math

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.runner import save_checkpoint
from mmpretrain.models import ClsDataPreprocessor
from networks import cifar_resnet_cfg

from lakd_mm.errors import ConfigError
from lakd_mm.evaluation import ExtracurricularKnowledge, TeacherAgreement

PREPROCESSOR = dict(mean=[120.0] * 3, std=[60.0] * 3)


@torch.no_grad()
def evaluate(metrics, model, batches):
    """What the validation loop does with them."""
    evaluator = Evaluator(metrics)
    for batch in batches:
        evaluator.process(model.val_step(batch), batch)
    return evaluator.evaluate(sum(len(batch['inputs']) for batch in batches))


def classes(network, batch):
    """What a network predicts, image by image."""
    images = (torch.stack(list(batch['inputs'])).float() - 120) / 60
    with torch.no_grad():
        return [network(image[None]).argmax().item() for image in images]


def expected(algorithm, batches):
    counts = dict(wrong=0, learnt=0, same=0, right=0, images=0)
    for batch in batches:
        pairs = zip(classes(algorithm.student, batch), classes(algorithm.teacher, batch))
        for (student, teacher), sample in zip(pairs, batch['data_samples']):
            label = sample.gt_label.item()
            counts['wrong'] += teacher != label
            counts['learnt'] += teacher != label and student == label
            counts['same'] += student == teacher
            counts['right'] += teacher == label
            counts['images'] += 1
    return counts


@pytest.fixture
def calls(algorithm, monkeypatch):
    """Images that the teacher predicted, by call."""
    made = []
    predict = type(algorithm.teacher).predict

    def count(self, inputs, *args, **kwargs):
        if self is algorithm.teacher:
            made.append(len(inputs))
        return predict(self, inputs, *args, **kwargs)

    monkeypatch.setattr(type(algorithm.teacher), 'predict', count)
    return made


def test_numbers_of_the_paper():
    """Table 5 of LAKD: EK of 32.82 % at 582 errors of the teacher is 191 images."""
    truth = torch.zeros(10000, dtype=torch.long)
    teacher = truth.clone()
    teacher[:582] = 1
    student = torch.ones_like(truth)
    student[391:9000] = 0
    found = ExtracurricularKnowledge().compare(student, teacher, truth)
    assert found == dict(
        percent=pytest.approx(32.82, abs=0.005), teacher_wrong=582, student_right=191
    )
    agreement = TeacherAgreement().compare(student, teacher, truth)
    assert agreement == dict(
        agreement=pytest.approx(100 * (391 + 8418) / 10000), top1=pytest.approx(94.18)
    )


def test_a_teacher_without_errors():
    truth = torch.arange(3)
    found = ExtracurricularKnowledge().compare(truth, truth, truth)
    assert math.isnan(found['percent']) and found['teacher_wrong'] == found['student_right'] == 0


@pytest.mark.parametrize('collated', [True, False])
def test_in_a_distillation(algorithm, batches, calls, collated):
    if not collated:
        batches = [dict(batch, inputs=list(batch['inputs'])) for batch in batches]
    for batch in batches:  # by turns the student is right, the teacher, and neither
        found = zip(classes(algorithm.student, batch), classes(algorithm.teacher, batch))
        for i, (sample, (student, teacher)) in enumerate(zip(batch['data_samples'], found)):
            sample.set_gt_label((student, teacher, (student + 1) % 10)[i % 3])
    counts = expected(algorithm, batches)
    assert 0 < counts['learnt'] < counts['wrong'] < 14 and counts['same'] < 14
    metrics = [ExtracurricularKnowledge(), TeacherAgreement()]
    for metric in metrics:
        metric.use_model(algorithm, batches[0])
    found = {
        'extracurricular_knowledge/percent': pytest.approx(
            100 * counts['learnt'] / counts['wrong']
        ),
        'extracurricular_knowledge/teacher_wrong': counts['wrong'],
        'extracurricular_knowledge/student_right': counts['learnt'],
        'teacher/agreement': pytest.approx(100 * counts['same'] / 14),
        'teacher/top1': pytest.approx(100 * counts['right'] / 14),
    }
    for _ in range(2):
        assert evaluate(metrics, algorithm, batches) == found
    # Each image once, for two metrics and two epochs.
    assert calls == [5, 5, 4]


def test_images_that_changed_are_predicted_again(algorithm, batches, calls):
    metric = TeacherAgreement()
    metric.use_model(algorithm, batches[0])
    evaluate(metric, algorithm, batches[:1])
    batches[1]['data_samples'] = copy.deepcopy(batches[0]['data_samples'])
    evaluate(metric, algorithm, batches[:2])
    assert calls == [5, 5]
    algorithm.teacher.head.fc.weight.requires_grad_(True)
    evaluate(metric, algorithm, batches[:1])
    assert calls == [5, 5, 5]


def test_predictions_of_the_student_are_left_alone(algorithm, batches):
    metric = TeacherAgreement()
    metric.use_model(algorithm, batches[0])
    outputs = algorithm.val_step(batches[0])
    before = [sample.pred_score.clone() for sample in outputs]
    evaluator = Evaluator(metric)
    evaluator.process(outputs, batches[0])
    for sample, score in zip(outputs, before):
        assert torch.equal(sample.pred_score, score)


def test_a_teacher_of_its_own(algorithm, resnet, batches, tmp_path):
    """In a plain training, from a checkpoint, with the data's preprocessor."""
    path = str(tmp_path / 'teacher.pth')
    save_checkpoint(dict(state_dict=algorithm.teacher.state_dict()), path)
    student = resnet(8)
    student.data_preprocessor = ClsDataPreprocessor(**PREPROCESSOR)
    counts = expected(algorithm, batches)
    metric = ExtracurricularKnowledge(
        teacher=cifar_resnet_cfg(14), teacher_ckpt=path, data_preprocessor=dict(PREPROCESSOR)
    )
    found = evaluate(metric, student, batches)
    assert found['extracurricular_knowledge/student_right'] == counts['learnt']
    assert found['extracurricular_knowledge/teacher_wrong'] == counts['wrong']
    # The hook does not replace it.
    algorithm.teacher = resnet(8, seed=3)
    metric.use_model(algorithm, batches[0])
    assert not metric.uses_runs_teacher
    assert evaluate(metric, student, batches) == found


def test_mistakes(algorithm, resnet, batches, tmp_path):
    path = str(tmp_path / 'teacher.pth')
    save_checkpoint(dict(state_dict=algorithm.teacher.state_dict()), path)
    with pytest.raises(ConfigError, match='ExtracurricularKnowledge: give data_preprocessor too'):
        ExtracurricularKnowledge(teacher=cifar_resnet_cfg(14))
    with pytest.raises(ConfigError, match='TeacherAgreement: give teacher and data_preprocessor'):
        TeacherAgreement(teacher_ckpt=path)
    with pytest.raises(ConfigError, match='not a checkpoint of the configured teacher'):
        TeacherAgreement(
            teacher=cifar_resnet_cfg(8), teacher_ckpt=path, data_preprocessor=dict(PREPROCESSOR)
        )
    with pytest.raises(ConfigError, match='needs a teacher.*ModelForMetricsHook'):
        evaluate(TeacherAgreement(), algorithm, batches)
    with pytest.raises(ConfigError, match='TeacherAgreement needs a teacher'):
        TeacherAgreement().use_model(resnet(8), batches[0])
    for sample in batches[0]['data_samples']:
        del sample.sample_idx
    with pytest.raises(ConfigError, match="Leave 'sample_idx' in the meta_keys of PackInputs"):
        TeacherAgreement().use_model(algorithm, batches[0])
