from pathlib import Path

import pytest
import torch

WORKER = Path(__file__).with_name('local_ddp_worker.py')


@pytest.mark.slow
@pytest.mark.parametrize(
    'wrapper, accumulative_counts, algorithm',
    [
        ('mmrazor.LocalDistributedDataParallel', 1, 'lakd'),
        ('mmrazor.LocalDistributedDataParallel', 2, 'lakd'),
        ('mmrazor.LocalDistributedDataParallel', 1, 'cohort'),
        ('mmrazor.LocalDistributedDataParallel', 2, 'cohort'),
        ('MMDistributedDataParallel', 1, 'lakd'),
        ('MMDistributedDataParallel', 1, 'causal'),
    ],
)
def test_two_processes_give_the_gradients_of_the_whole_batch(
    run_file, tmp_path, monkeypatch, wrapper, accumulative_counts, algorithm
):
    done = run_file(WORKER, tmp_path, wrapper, accumulative_counts, algorithm, ranks=2)
    assert done.returncode == 0, done.stdout[-3000:]

    monkeypatch.syspath_prepend(str(WORKER.parent))
    import local_ddp_worker

    model = local_ddp_worker.build(algorithm)
    expected, log = local_ddp_worker.gradients(model, 0, 1, accumulative_counts)
    (first, log0), (second, log1) = (torch.load(tmp_path / f'{rank}.pt') for rank in (0, 1))
    assert first.keys() == second.keys() == expected.keys()
    for name, gradient in expected.items():
        assert gradient.abs().sum() > 0, name
        assert torch.equal(first[name], second[name]), f'{name} is not synchronised'
        error = (first[name] - gradient).norm() / gradient.norm()
        assert error < 1e-5, (name, float(error))
    for name, value in log.items():
        assert (log0[name] + log1[name]) / 2 == pytest.approx(value, rel=1e-5), name


@pytest.mark.slow
def test_a_member_that_diverges_in_one_process_is_stopped_in_both(run_file, tmp_path, monkeypatch):
    wrapper = 'mmrazor.LocalDistributedDataParallel'
    done = run_file(WORKER, tmp_path, wrapper, 1, 'cohort that diverges in one process', ranks=2)
    assert done.returncode == 0, done.stdout[-3000:]
    assert "losses of member 'causal' are not finite" in done.stdout

    monkeypatch.syspath_prepend(str(WORKER.parent))
    import local_ddp_worker

    model = local_ddp_worker.build('cohort')
    model.stop('causal')
    expected, log = local_ddp_worker.gradients(model, 0, 1, 1)
    (first, log0), (second, log1) = (torch.load(tmp_path / f'{rank}.pt') for rank in (0, 1))
    assert log0.keys() == log1.keys() == log.keys()
    for name, gradient in expected.items():
        if gradient is None:
            assert first[name] is None and second[name] is None, name
        else:
            assert torch.equal(first[name], second[name]), f'{name} is not synchronised'
            assert (first[name] - gradient).norm() / gradient.norm() < 1e-5, name
    assert {name.split('.')[1] for name, g in expected.items() if g is not None} == {
        'lakd',
        'scratch',
    }
