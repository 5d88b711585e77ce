"""What the benchmarks share: the trainings that they compare, and their reports."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Optional

import lakd_mm  # noqa: F401  (first: it repairs what the lines below import)

# isort: split
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample
from mmrazor.registry import MODELS

from lakd_mm.engine.hardware import hardware
from lakd_mm.models.algorithms.memory_format import keep_contiguous
from lakd_mm.models.data_preprocessor import without_crop_flip
from lakd_mm.visualization.markdown import markdown_table

CONFIGS = Path(__file__).parents[2] / 'configs'
LAKD = 'lakd/lakd_r56_r20_cifar100.py'
BF16 = {'optim_wrapper.type': 'AmpOptimWrapper', 'optim_wrapper.dtype': 'bfloat16'}
# LAKD does this by default; it is not a key of a config.
CHANNELS_LAST = {'channels_last': True}
# MMRazor's own algorithm and distiller for a plain teacher; not a key of a config either.
AS_RELEASED = {'as_released': True}
# keep_teacher in a folder that is gone with the training; not a key of a config either.
KEPT = {'kept': True}
IMAGENET = 'lakd/lakd_r34_r18_imagenet.py'
CAUSAL = 'causal/causal_kd_fa_at_r56cbam_r20_cifar10.py'


def _masked(**mask) -> tuple[str, dict]:
    """Return the row of a causal mask."""
    losses = ('loss_fa', 'loss_at')
    return CAUSAL, {f'model.transfers.{loss}.mask': dict(mask, _delete_=True) for loss in losses}


def methods() -> dict[str, str]:
    """Return a config of each method for classifiers, by its name."""
    pair = '_r56_r20_cifar100'
    paths = {p.stem.removesuffix(pair): p for p in sorted(CONFIGS.glob(f'*/*{pair}.py'))}
    return dict(
        scratch='teachers/resnet20_cifar100.py',
        **{name: str(path.relative_to(CONFIGS)) for name, path in paths.items()},
        causal_kd_fa_at=CAUSAL,
    )


# Rows of the LAKD paper's Table 4, and the joint backward. A row: a config and changes to it.
COMPARISONS = {
    'r56_r20': dict(
        size=32,
        batch_size=1024,
        rows={
            'from scratch': ('teachers/resnet20_cifar100.py', {}),
            'from scratch, channels-last': ('teachers/resnet20_cifar100.py', CHANNELS_LAST),
            'KD': ('kd/kd_r56_r20_cifar100.py', {}),
            'KD, MMRazor as released': ('kd/kd_r56_r20_cifar100.py', AS_RELEASED),
            'KD, teacher kept': ('kd/kd_r56_r20_cifar100.py', KEPT),
            'CAT-KD': ('cat_kd/cat_kd_r56_r20_cifar100.py', {}),
            'CanKD': ('cankd/cankd_r56_r20_cifar100.py', {}),
            'FitNet, 3 taps': (
                'fitnet/fitnet_r56_r20_cifar100.py',
                {'model.transfers.loss_fitnet.at': 'stages'},
            ),
            'LAKD joint [1,4,9]': (LAKD, {'model.backward': 'joint'}),
            'LAKD local [3,6,9]': (LAKD, {'model.taps': [3, 6, 9]}),
            'LAKD local [2,5,9]': (LAKD, {'model.taps': [2, 5, 9]}),
            'LAKD local [1,4,9]': (LAKD, {}),
        },
    ),
    'methods': dict(
        size=32,
        batch_size=64,
        rows={name: (config, {}) for name, config in methods().items()},
    ),
    'r34_r18': dict(
        size=224,
        batch_size=128,
        rows={
            'from scratch': ('teachers/resnet18_imagenet.py', {}),
            'from scratch, channels-last': ('teachers/resnet18_imagenet.py', CHANNELS_LAST),
            'CAT-KD': ('cat_kd/cat_kd_r34_r18_imagenet.py', {}),
            'FitNet, 4 taps': (
                'fitnet/fitnet_r34_r18_imagenet.py',
                {'model.transfers.loss_fitnet.at': 'stages'},
            ),
            'LAKD joint [1,2,4,8]': (
                IMAGENET,
                {'model.backward': 'joint', 'model.teacher_twice': False},
            ),
            'LAKD local [1,3,5,8]': (
                IMAGENET,
                {'model.taps': [1, 3, 5, 8], 'model.teacher_taps': [3, 7, 13, 16]},
            ),
            'LAKD local [1,2,4,8], teacher once': (IMAGENET, {'model.teacher_twice': False}),
            'LAKD local [1,2,4,8]': (IMAGENET, {}),
        },
    ),
    'r56cbam_r20': dict(
        size=32,
        batch_size=64,
        rows={
            'from scratch': ('causal/causal_baseline_r20_cifar10.py', {}),
            'KD': ('causal/causal_kd_r56cbam_r20_cifar10.py', {}),
            'KD + FA + AT, no mask': _masked(method='none'),
            'gradient x activation': _masked(method='gradient', percentile=85),
            'gradient x activation, soft': _masked(method='gradient'),
            'Grad-CAM': _masked(method='grad_cam', percentile=85),
            'LayerCAM': _masked(method='layer_cam', percentile=85),
            'integrated gradients, 4 steps': _masked(
                method='integrated_gradients', percentile=85, steps=4
            ),
            'integrated gradients, 8 steps': _masked(
                method='integrated_gradients', percentile=85, steps=8
            ),
            'integrated gradients, 16 steps': _masked(
                method='integrated_gradients', percentile=85, steps=16
            ),
        },
    ),
}


def _as_released(model: dict) -> dict:
    """Return the config of a KD training as MMRazor has it."""
    logits = dict(logits=dict(type='mmrazor.ModuleOutputs', source='head.fc'))
    inputs = {
        name: dict(recorder='logits', from_student=name == 'preds_S')
        for name in ('preds_S', 'preds_T')
    }
    return dict(
        type='mmrazor.SingleTeacherDistill',
        architecture=model['architecture'],
        teacher=model['teacher'],
        distiller=dict(
            type='mmrazor.ConfigurableDistiller',
            student_recorders=logits,
            teacher_recorders=logits,
            distill_losses=dict(loss_kd=model['transfers']['loss_kd']['loss']),
            loss_forward_mappings=dict(loss_kd=inputs),
        ),
    )


def in_precisions(rows: dict, amp: Optional[str]) -> dict:
    """Return the rows, with ``amp`` each in mixed precision too, under a name of its own."""
    if not amp:
        return rows
    mixed = {
        name: {name: row, f'{name}, {amp}': (row[0], {**row[1], **BF16})}
        for name, row in rows.items()
    }
    return {name: row for both in mixed.values() for name, row in both.items()}


class Training:
    """A row: a model with random weights, its optimizer, and a batch of noise.

    Args:
        config (str): Path under ``configs``.
        options (dict): Changes, like ``--cfg-options``.
        batch_size (int): Images in the batch.
        size (int): Their height and width.
        device (str, optional): Defaults to the GPU if there is one, else the CPU.
    """

    def __init__(
        self,
        config: str,
        options: dict,
        batch_size: int,
        size: int,
        device: Optional[str] = None,
    ):
        cfg = Config.fromfile(CONFIGS / config)
        cfg.merge_from_dict(options)
        channels_last = cfg.pop('channels_last', False)
        if cfg.pop('as_released', False):
            cfg.model = _as_released(cfg.model)
            cfg.optim_wrapper.optimizer.type = 'SGD'
        if cfg.pop('kept', False):
            self.folder = TemporaryDirectory()
            cfg.model.keep_teacher = dict(folder=self.folder.name, images=batch_size)
        init_default_scope(cfg.default_scope)
        if 'teacher_ckpt' in cfg.model:
            cfg.model.teacher_ckpt = None
        torch.manual_seed(0)
        # The step alone: augmenting, and the channels-last images that come of it, are the input's.
        preprocessor = without_crop_flip(cfg.data_preprocessor)
        model = MODELS.build(dict(cfg.model, data_preprocessor=preprocessor))
        device = device or get_device()
        self.model = model.to(device).train()
        # As the Runner does.
        torch.backends.cudnn.benchmark = cfg.get('env_cfg', {}).get('cudnn_benchmark', False)
        if channels_last:
            self.model.to(memory_format=torch.channels_last)
        keep_contiguous(self.model)
        self.optim_wrapper = build_optim_wrapper(self.model, cfg.optim_wrapper)
        num_classes = cfg.data_preprocessor.num_classes
        images = torch.randint(0, 256, (batch_size, 3, size, size), dtype=torch.uint8)
        samples = [
            DataSample(metainfo=dict(sample_idx=i)).set_gt_label(i % num_classes)
            for i in range(batch_size)
        ]
        # InMemory holds them on the device.
        self.batch = dict(
            inputs=images.to(device), data_samples=[sample.to(device) for sample in samples]
        )

    def step(self) -> dict[str, torch.Tensor]:
        """Run one training step, like the Runner, and return what is logged."""
        return self.model.train_step(self.batch, optim_wrapper=self.optim_wrapper)


def report(title: str, rows: list[dict], out: Optional[Path], **settings):
    """Print a table, and write it with its settings and the hardware as JSON."""
    facts = dict(hardware(), **settings)
    print(f'\n{title}\n{", ".join(f"{key}: {value}" for key, value in facts.items())}\n')
    print(markdown_table([list(rows[0]), *(list(row.values()) for row in rows)], aligned=True))
    write(title, rows, out, **settings)
    if out is not None:
        print(f'\n-> {out}')


def write(title: str, rows: list[dict], out: Optional[Path], **settings):
    """Write a table with its settings and the hardware as JSON, if ``out`` names a file."""
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        facts = dict(hardware(), **settings, title=title, rows=rows)
        out.write_text(json.dumps(facts, indent=2) + '\n')
