import mmengine.dist.utils
import pytest
import torch
from mmengine.model import MMDistributedDataParallel

from lakd_mm.compat import mmengine_dist


@pytest.mark.slow
def test_two_processes_without_a_gpu(train_toy):
    """Under the Runner's defaults, which ask for nccl and name a GPU."""
    cpu = dict(CUDA_VISIBLE_DEVICES='')
    printed = train_toy("work_dir='two'", "launcher='pytorch'", ranks=2, **cpu)
    assert printed[:2] == ['START epoch=0 iter=0'] * 2
    # 16 images in batches of 4 for each of 2 processes, which end with the same weights.
    assert printed[2].startswith('END epoch=2 iter=4 ')
    assert printed[2].endswith('model=MMDistributedDataParallel')
    assert printed[3] == printed[2]

    # A wrapper of the config's choice, and metrics over the images of both processes.
    options = ("load_from='two/epoch_2.pth'", 'only_test=True', "work_dir='test'")
    wrapper = "model_wrapper_cfg={'broadcast_buffers': True}"
    two = train_toy("launcher='pytorch'", wrapper, *options, ranks=2, **cpu)
    one = train_toy(*options, **cpu)
    assert "'images': 16" in one[0]
    assert two == one * 2


def test_model_on_a_gpu_keeps_its_number(monkeypatch):
    given = {}
    monkeypatch.setattr(
        torch.nn.parallel.DistributedDataParallel,
        '__init__',
        lambda self, module, **kwargs: given.update(kwargs),
    )
    monkeypatch.setattr(MMDistributedDataParallel, '__setattr__', object.__setattr__)
    # A GPU cannot be had everywhere; the meta device is as good as any that is not the CPU.
    for device, number in (('cpu', None), ('meta', [1])):
        MMDistributedDataParallel(torch.nn.Linear(1, 1, device=device), device_ids=[1])
        assert given['device_ids'] == number


@pytest.fixture
def calls(monkeypatch):
    """What the launchers ask of torch, with no process started."""
    calls = []
    monkeypatch.setattr(
        mmengine.dist.utils.torch_dist,
        'init_process_group',
        lambda backend, **kwargs: calls.append(backend),
    )
    monkeypatch.setattr(torch.cuda, 'set_device', lambda device: calls.append(f'cuda:{device}'))
    environment = {
        'RANK': '1',
        'LOCAL_RANK': '1',
        'WORLD_SIZE': '2',
        'MASTER_ADDR': 'localhost',
        'OMPI_COMM_WORLD_LOCAL_RANK': '1',
        'OMPI_COMM_WORLD_SIZE': '2',
        'OMPI_COMM_WORLD_RANK': '1',
        'SLURM_PROCID': '1',
        'SLURM_NTASKS': '2',
        'SLURM_NODELIST': 'localhost',
        'SLURM_LOCALID': '1',
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return calls


@pytest.mark.parametrize('launcher', ['pytorch', 'mpi', 'slurm'])
class TestLaunchers:
    def test_without_a_gpu(self, launcher, calls, monkeypatch):
        monkeypatch.setattr(mmengine_dist, 'get_device', lambda: 'cpu')
        set_device = torch.cuda.set_device
        mmengine.dist.utils.init_dist(launcher)
        assert calls == ['gloo']
        assert torch.cuda.set_device is set_device
        mmengine.dist.utils.init_dist(launcher, backend='mpi')
        assert calls == ['gloo', 'mpi']

    def test_with_a_gpu_nothing_changes(self, launcher, calls, monkeypatch):
        monkeypatch.setattr(mmengine_dist, 'get_device', lambda: 'cuda')
        mmengine.dist.utils.init_dist(launcher)
        assert calls == ['cuda:1', 'nccl']
