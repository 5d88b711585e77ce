"""Logs of runs alone, gone on with, cut short, and of members of a cohort."""

import json

from lakd_mm.evaluation.run_log import log_records


def write(folder, records, end=''):
    path = folder / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True)
    path.write_text('\n'.join([*map(json.dumps, records), end]))


def test_runs_one_after_the_other(tmp_path):
    write(tmp_path / '2', [dict(step=3, loss=1.0), 4])
    write(tmp_path / '1', [dict(step=3, loss=2.0)], '{"step": 4, "lo')
    assert [record['loss'] for record in log_records(tmp_path)] == [2.0, 1.0]


def test_members_of_a_cohort(tmp_path):
    shared = dict(step=3, time=0.5)
    of_training = {'kd.loss': 1.5, 'kd.student.loss': 1.0, 'kd2.loss': 9.0}
    write(tmp_path / '1', [{**shared, **of_training}, {'kd/accuracy/top1': 7.0, 'step': 1}])
    (tmp_path / 'kd').mkdir()
    assert list(log_records(tmp_path / 'kd')) == [
        {**shared, 'loss': 1.5, 'student.loss': 1.0},
        {'step': 1, 'accuracy/top1': 7.0},
    ]
    assert list(log_records(tmp_path / 'absent')) == []
