"""Runs that train as one cohort."""

import io
import json

import pytest
import torch
from mmengine.config import Config

from reproduction.cohorts import form_cohorts
from reproduction.execution import environment, execute
from reproduction.planner import Settings, plan_runs
from reproduction.progress import Progress
from reproduction.targets import Budget

pytestmark = pytest.mark.slow


def test_runs_of_a_cohort_are_as_runs_alone(run_file, tiny_runs, tiny_root, tmp_path):
    """Stopped after its first epoch and gone on with, without a validation of the second.

    The first seed equals its run alone, which is validated each epoch.
    """
    runs = tiny_runs(seeds=(0, 1), epochs=3)
    (cohort,) = form_cohorts(runs)
    assert cohort.id.startswith('cohorts/digits-') and cohort.members == runs
    _, *command = cohort.prepare()
    config = Config.fromfile(cohort.folder / 'plan' / 'config.py')
    config.train_cfg.max_epochs = 1
    config.dump(cohort.folder / 'plan' / 'config.py')
    done = run_file(*command, **environment(1, 0, 0))
    assert done.returncode == 0, done.stdout
    assert [len(run.records()) for run in (*runs, cohort)] == [1, 1, 1]

    runs = tiny_runs(seeds=(0, 1), epochs=3, val_interval=3)
    (cohort,) = form_cohorts(runs)
    # Without the other it goes on alone, from its own checkpoint.
    assert form_cohorts(runs[:1]) == runs[:1] and '--resume' in runs[0].prepare()
    stream = io.StringIO()
    failed = execute([cohort], Progress(stream), threads=1)
    assert failed == [], stream.getvalue() + (cohort.folder / 'output.log').read_text()[-3000:]
    assert 'goes on after epoch 1' in stream.getvalue()
    assert form_cohorts(runs) == runs  # Both are done.
    for run, other in zip(runs, reversed(runs)):
        result = run.result()
        assert result['cohort'] == dict(others=[other.id], seed_of_data=0)
        assert [epoch['epoch'] for epoch in result['epochs']] == [1, 2, 3]
        assert [bool(epoch['metrics']) for epoch in result['epochs']] == [True, False, True]
        assert not (run.folder / 'epoch_2.pth').exists()
        assert all(epoch['loss'] > 0 and epoch['seconds'] > 0 for epoch in result['epochs'])
        assert (run.folder / 'epoch_3.pth').exists() and (run.folder / 'config.py').exists()
        assert len(list(run.folder.glob('best_accuracy_top1_epoch_*.pth'))) == 1
    assert runs[0].result()['metrics'].keys() == {'accuracy/top1'}

    settings = Settings(tiny_root, tmp_path / 'alone')
    (alone,) = plan_runs([runs[0].cell], Budget(epochs=3), (0,), settings)
    assert execute([alone], Progress(io.StringIO()), threads=1) == []
    found, wanted = (run.result()['epochs'] for run in (runs[0], alone))
    assert [epoch['loss'] for epoch in found] == [epoch['loss'] for epoch in wanted]
    assert [found[i]['metrics'] for i in (0, 2)] == [wanted[i]['metrics'] for i in (0, 2)]
    assert wanted[1]['metrics']
    weights, other, wanted = (
        torch.load(run.folder / 'epoch_3.pth')['state_dict'] for run in (*runs, alone)
    )
    assert all(torch.equal(weights[key], value) for key, value in wanted.items())
    assert not all(torch.equal(other[key], value) for key, value in wanted.items())


def test_a_cohort_that_is_not_validated_each_epoch(tiny_runs):
    """Killed in its fourth epoch, it goes on after the second, with another interval."""
    runs = tiny_runs(seeds=(0, 1), epochs=4, val_interval=2)
    (cohort,) = form_cohorts(runs)
    assert cohort.prepare()[-2:] == ['--work-dir', str(cohort.folder)]
    for run in (*runs, cohort):
        run.folder.mkdir(exist_ok=True)
        (run.folder / 'epoch_2.pth').touch()
    for run in runs:
        lines = [json.dumps(dict(epoch=epoch, metrics={})) for epoch in (1, 2, 3)]
        (run.folder / 'epochs.jsonl').write_text('\n'.join(lines))
    (cohort,) = form_cohorts(tiny_runs(seeds=(0, 1), epochs=4, val_interval=3))
    assert cohort.prepare()[-2:] == ['--resume', str(cohort.folder / 'epoch_2.pth')]
    assert [len(run.records()) for run in (*runs, cohort)] == [2, 2, 2]
    assert Config.fromfile(cohort.plan).train_cfg.val_interval == 3


def test_what_cannot_be_a_cohort_runs_alone(tiny_runs):
    runs = tiny_runs(seeds=(0, 1), epochs=2)
    runs[0].folder.mkdir(parents=True)
    line = json.dumps(dict(epoch=1, metrics={}))
    (runs[0].folder / 'epochs.jsonl').write_text(line)  # Begun alone.
    assert form_cohorts(runs) == runs
    (other,) = tiny_runs(seeds=(2,), epochs=3)
    assert form_cohorts([runs[1], other]) == [runs[1], other]
    stopping = tiny_runs(seeds=(3, 4), epochs=2)
    for run in stopping:
        run.cfg.custom_hooks = [dict(type='EarlyStoppingHook', monitor='accuracy/top1')]
    assert form_cohorts(stopping) == stopping
