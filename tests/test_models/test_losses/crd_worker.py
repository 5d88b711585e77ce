"""Run by two processes: CRD's banks after two steps, saved by rank.

Usage: crd_worker.py OUT_DIR
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F

import lakd_mm  # noqa: F401

# isort: split
from mmengine.dist import get_rank, init_dist
from mmpretrain.structures import DataSample

from lakd_mm.models.losses import ContrastiveRepresentationLoss


def steps(rank, world):
    """Two steps on eight images, of which each process has its share."""
    torch.manual_seed(0)
    loss = ContrastiveRepresentationLoss(num_data=20, num_negatives=6, dim=8)
    # Negatives by image, so that they do not depend on who draws.
    loss._draw = lambda index, labels: (index[:, None] + torch.arange(1, 7)) % 20
    generator = torch.Generator().manual_seed(1)
    for step in range(2):
        features = F.normalize(torch.randn(2, 8, 8, generator=generator), dim=2)
        samples = [
            DataSample(metainfo=dict(sample_idx=8 * step + i)).set_gt_label(i) for i in range(8)
        ]
        value = loss(*features[:, rank::world], samples[rank::world])
    return dict(loss.state_dict(), value=value)


if __name__ == '__main__':
    init_dist('pytorch', backend='nccl')
    torch.save(steps(get_rank(), 2), Path(sys.argv[1]) / f'{get_rank()}.pt')
