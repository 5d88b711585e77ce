"""Train a detector's or segmenter's config for some steps on small images, and draw its losses.

It needs neither a GPU nor the data: images are drawn by dataset_converters/shapes.py and weights
are random, also the teacher's unless --teacher-ckpt is given. It shows that training works, but
nothing about accuracy.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

# Set before torch is imported: with spinning threads, shared cores are 10 times slower.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

import lakd_mm  # noqa: F401  (first: it repairs what the lines below import)

# isort: split
from mmengine.config import Config
from mmengine.runner import Runner

from lakd_mm.engine import clear_errors
from lakd_mm.engine.command_line import at_least
from lakd_mm.engine.config_file import read_config_file
from lakd_mm.engine.hardware import hardware
from lakd_mm.visualization.figures import curves, save_figure

ROOTS = ('data/coco/', 'data/cityscapes/')


def shrink(cfg: Config, data: Path, size: int, batch_size: int) -> Config:
    """Change a config for small images on a CPU, with random weights.

    Args:
        cfg (Config): A distillation's config, with MMDetection's or MMSegmentation's data sets.
        data (Path): The folder that replaces ``data/coco`` or ``data/cityscapes``.
        size (int): Height and width of the images.
        batch_size (int): Images in a batch.
    """
    cfg = Config(_small(cfg.to_dict(), f'{data}/', size), filename=cfg.filename)
    cfg.model.teacher_ckpt = None
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(num_workers=0, persistent_workers=False)
    cfg.train_dataloader.batch_size = batch_size
    return cfg


def _small(value: Any, data: str, size: int) -> Any:
    if isinstance(value, str):
        for root in ROOTS:
            value = value.replace(root, data)
        return value
    if isinstance(value, (list, tuple)):
        return type(value)(_small(item, data, size) for item in value)
    if not isinstance(value, dict):
        return value
    value = {key: _small(item, data, size) for key, item in value.items() if key != 'pretrained'}
    if str(value.get('init_cfg', {})).find('Pretrained') >= 0:
        value['init_cfg'] = None
    kind = str(value.get('type'))
    if kind in ('Resize', 'RandomResize'):
        value['scale'] = (size, size)
    elif kind == 'RandomChoiceResize':
        value['scales'] = [(size, size)]
    elif kind == 'RandomCrop':
        value['crop_size'] = (size, size)
    elif kind == 'SegDataPreProcessor':
        value['size'] = (size, size)
    return value


def train(cfg: Config, steps: int, learning_rate: float, folder: str) -> list[dict]:
    """Train, and return the log of each step."""
    cfg.work_dir = folder
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=steps, val_interval=steps + 1)
    cfg.param_scheduler = None
    cfg.optim_wrapper.optimizer.lr = learning_rate
    for key in ('cfg', 'dataloader', 'evaluator'):
        cfg[f'val_{key}'] = cfg[f'test_{key}'] = None
    cfg.log_processor = dict(by_epoch=False, window_size=1)
    cfg.default_hooks.logger.update(interval=1, log_metric_by_epoch=False)
    cfg.default_hooks.checkpoint.update(interval=steps, by_epoch=False)
    runner = Runner.from_cfg(cfg)
    runner.train()
    (log,) = Path(folder).glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in log.read_text(encoding='utf-8').splitlines()]


def main() -> None:
    """Train, print and write the losses."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('config', help='such as configs/cankd/cankd_retinanet_r101_r50_2x_coco.py')
    parser.add_argument(
        '--data', type=Path, required=True, help='folder that shapes.py has written'
    )
    parser.add_argument('--steps', type=at_least(1), default=50)
    parser.add_argument('--size', type=at_least(1), default=128, help='of an image')
    parser.add_argument('--batch-size', type=at_least(1), default=2)
    parser.add_argument('--lr', type=float, default=0.005, help='constant (default: %(default)s)')
    parser.add_argument('--teacher-ckpt', help='path or URL (default: random weights)')
    parser.add_argument('--out', type=Path, required=True, help='JSON; a PNG is written beside it')
    args = parser.parse_args()
    with clear_errors(), tempfile.TemporaryDirectory() as folder:
        cfg = shrink(read_config_file(args.config), args.data.resolve(), args.size, args.batch_size)
        cfg.model.teacher_ckpt = args.teacher_ckpt
        start = time.perf_counter()
        logged = train(cfg, args.steps, args.lr, folder)
        seconds = time.perf_counter() - start
    losses = {name: [step[name] for step in logged] for name in logged[0] if 'loss' in name}
    for name, values in losses.items():
        tenth = max(1, len(values) // 10)
        first, last = sum(values[:tenth]) / tenth, sum(values[-tenth:]) / tenth
        print(f'{name}: first {tenth} steps {first:.4g}, last {tenth} {last:.4g}')
    facts = dict(
        hardware(),
        config=args.config,
        data=f'drawn rectangles, {args.size}x{args.size}',
        batch=args.batch_size,
        steps=args.steps,
        lr=args.lr,
        student='random weights',
        teacher=args.teacher_ckpt or 'random weights',
        seconds=round(seconds),
        losses=losses,
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(facts, indent=1) + '\n', encoding='utf-8')
    steps = list(range(1, args.steps + 1))
    parts = ('distillation', 'task')
    panels = {
        part: {
            name.partition('.')[2]: (steps, values)
            for name, values in losses.items()
            if name.startswith(prefix)
        }
        for part, prefix in zip(parts, ('distill.', 'student.'))
    }
    save_figure(curves(panels, 'step', 'loss'), args.out.with_suffix('.png'))
    print(f'-> {args.out}, {args.out.with_suffix(".png")}')


if __name__ == '__main__':
    main()
