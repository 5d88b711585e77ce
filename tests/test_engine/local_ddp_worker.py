"""Run by two processes: the gradients of a distillation under a wrapper, saved by rank.

Usage: local_ddp_worker.py OUT_DIR WRAPPER ACCUMULATIVE_COUNTS ALGORITHM
"""

import sys
from pathlib import Path

import torch

import lakd_mm  # noqa: F401

# isort: split
from mmengine.dist import get_rank, init_dist
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import MODEL_WRAPPERS, init_default_scope
from mmpretrain.structures import DataSample
from mmrazor.registry import MODELS
from networks import cifar_resnet_cfg

# Statistics over a batch would differ between one process and two, so no BatchNorm here.
GROUP_NORM = dict(norm_cfg=dict(type='GN', num_groups=4))
IMAGES = 8
MASKED = dict(at=[2, 3], mask=dict(percentile=85))
ALGORITHMS = dict(
    lakd=dict(type='mmrazor.LAKD'),
    causal=dict(
        type='mmrazor.Distill',
        transfers=dict(
            loss_fa=dict(loss=dict(type='mmrazor.CausalFALoss'), **MASKED),
            loss_at=dict(loss=dict(type='mmrazor.CausalATLoss', loss_weight=10.0), **MASKED),
        ),
    ),
)


class KeepGrads(OptimWrapper):
    def step(self, **kwargs):
        pass

    def zero_grad(self, **kwargs):
        pass


def build(algorithm):
    init_default_scope('mmpretrain')
    torch.manual_seed(0)
    student, teacher = cifar_resnet_cfg(8, **GROUP_NORM), cifar_resnet_cfg(14, **GROUP_NORM)
    if algorithm in ('cohort', 'cohort that diverges in one process'):
        members = {name: dict(cfg, architecture=student) for name, cfg in ALGORITHMS.items()}
        cfg = dict(type='mmrazor.Cohort', members=dict(members, scratch=student), teacher=teacher)
    else:
        cfg = dict(ALGORITHMS[algorithm], architecture=student, teacher=teacher)
    model = MODELS.build(dict(cfg, data_preprocessor=dict(type='mmpretrain.ClsDataPreprocessor')))
    model.init_weights()
    return model


def keep_grads(model, accumulative_counts):
    wrapper = KeepGrads(
        torch.optim.SGD(model.parameters(), lr=0.1), accumulative_counts=accumulative_counts
    )
    wrapper.initialize_count_status(model, 0, accumulative_counts)
    return wrapper


def gradients(model, rank, world, accumulative_counts):
    """Gradients of ``accumulative_counts`` batches of which this rank gets its share."""
    inner = getattr(model, 'module', model)
    if hasattr(inner, 'members'):
        parts = {name: keep_grads(m, accumulative_counts) for name, m in inner.members.items()}
        wrapper = OptimWrapperDict(**parts)
    else:
        wrapper = keep_grads(inner, accumulative_counts)
    generator = torch.Generator().manual_seed(1)
    for _ in range(accumulative_counts):
        images = torch.randn(IMAGES, 3, 32, 32, generator=generator)
        samples = [DataSample().set_gt_label(i % 10) for i in range(IMAGES)]
        data = dict(inputs=list(images[rank::world]), data_samples=samples[rank::world])
        log = model.train_step(data, optim_wrapper=wrapper)
    grads = {name: p.grad for name, p in inner.named_parameters() if 'teacher.' not in name}
    return grads, {name: value.item() for name, value in log.items()}


def main():
    out, wrapper, accumulative_counts, algorithm = sys.argv[1:]
    init_dist('pytorch', backend='nccl')  # gloo where there is no GPU, and a quiet end
    model = MODEL_WRAPPERS.build(
        dict(
            type=wrapper,
            module=build(algorithm),
            broadcast_buffers=False,
            find_unused_parameters=False,
        )
    )
    assert isinstance(model, MMDistributedDataParallel)
    if 'diverges' in algorithm and get_rank() == 1:
        member = model.module.members['causal']
        parse = member.parse_losses
        member.parse_losses = lambda losses: (parse(losses)[0] * torch.nan, {})
    found = gradients(model, get_rank(), 2, int(accumulative_counts))
    torch.save(found, Path(out) / f'{get_rank()}.pt')


if __name__ == '__main__':
    main()
