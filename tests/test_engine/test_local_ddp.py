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
