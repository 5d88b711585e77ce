"""Draw distances between student and teacher features over training, tap by tap."""

import argparse
import json
import os
from pathlib import Path
from typing import Optional

# Set before torch is imported: with spinning threads, shared cores are 10 times slower.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

import lakd_mm  # noqa: F401  (first: it repairs what the lines below import)

# isort: split
from lakd_mm.engine import (
    check_data_folders,
    check_options,
    clear_errors,
    load_network,
    refuse_ignored_options,
)
from lakd_mm.errors import ConfigError
from lakd_mm.evaluation.comparison import add_picture, add_runs, add_test_images, check_names
from lakd_mm.evaluation.run_log import check_run, epoch_checkpoints, run_config
from lakd_mm.evaluation.sample_images import test_split
from lakd_mm.evaluation.tap_curves import logged_distances, measured_distances
from lakd_mm.visualization import curves, make_visualizer, save_figure

# Options that only say how checkpoints are measured.
MEASURING = (
    'teacher',
    'student_taps',
    'teacher_taps',
    'images',
    'batch_size',
    'seed',
    'cfg_options',
)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_runs(parser, 'a curve')
    parser.add_argument(
        '--source',
        choices=['auto', 'log', 'checkpoints'],
        default='auto',
        help='distances that mmrazor.TapDistances logged, or distances of the saved epoch_*.pth, '
        'measured now (default: the log if it has distances)',
    )
    measure = parser.add_argument_group('measuring checkpoints')
    measure.add_argument(
        '--teacher',
        nargs=2,
        metavar=('CONFIG', 'CHECKPOINT'),
        help="a teacher for all runs, instead of each distillation's own",
    )
    measure.add_argument('--student-taps', nargs='+', help='module names or numbers of blocks')
    measure.add_argument('--teacher-taps', nargs='+', help="(default: the run's, or stage ends)")
    measure.add_argument('--images', type=int, default=1000, help='test images (default: 1000)')
    measure.add_argument('--batch-size', type=int, default=250)
    add_test_images(measure, "the runs' configs")
    add_picture(parser, 'work_dirs/tap_distances.png', '; writes a .json too')
    args = parser.parse_args()
    if args.source == 'log':
        refuse_ignored_options(parser, args, MEASURING, 'with --source log; leave it out')
    args.measuring = [name for name in MEASURING if getattr(args, name) != parser.get_default(name)]
    return args


def main() -> None:
    """Read or measure every run, then draw."""
    args = parse_args()
    with clear_errors():
        draw(args)


def draw(args: argparse.Namespace) -> None:
    """Draw the distances of all runs.

    Raises:
        ConfigError: If a run has neither distances in its log nor usable checkpoints.
    """
    check_names('--run', [name for name, _ in args.run])
    visualizer = make_visualizer(args.out, args.vis_backends)
    runs = {name: distances(Path(work_dir), args) for name, work_dir in args.run}
    taps = list(dict.fromkeys(tap for run in runs.values() for tap in run['distances']))
    panels = {
        tap.replace('tap', 'tap '): {
            name: (list(run['distances'][tap]), list(run['distances'][tap].values()))
            for name, run in runs.items()
            if tap in run['distances']
        }
        for tap in taps
    }
    figure = curves(panels, 'epoch', 'mean squared distance')
    save_figure(figure, args.out, visualizer)
    data = args.out.with_suffix('.json')
    data.write_text(json.dumps(runs, indent=1) + '\n', encoding='utf-8')
    print(f'-> {args.out}\n-> {data}')


def distances(work_dir: Path, args: argparse.Namespace) -> dict:
    """Return a run's distances by tap and epoch, their source, and what was compared."""
    check_run(work_dir)
    found = {} if args.source == 'checkpoints' else logged_distances(work_dir)
    if found and args.measuring:
        options = ', '.join(f'--{name.replace("_", "-")}' for name in args.measuring)
        raise ConfigError(
            f'{options} would be ignored: {work_dir} has distances in its log; add --source '
            f'checkpoints to measure them, or leave it out'
        )
    if found:
        print(f'{work_dir}: distances of {max(map(len, found.values()))} epochs in its log')
        return dict(source='log', distances=found)
    if args.source == 'log':
        raise ConfigError(
            f'{work_dir}: no distances in its log; train with mmrazor.TapDistances in '
            f'val_evaluator, or use --source checkpoints'
        )
    checkpoints = epoch_checkpoints(work_dir)
    if not checkpoints:
        raise ConfigError(f'{work_dir}: neither distances in its log nor any epoch_<n>.pth')
    print(f'{work_dir}: measuring {", ".join(path.name for path in checkpoints.values())}')
    cfg = run_config(work_dir)
    check_options(cfg, args.cfg_options)
    cfg.merge_from_dict(args.cfg_options)
    check_data_folders(cfg, splits=[test_split(cfg)])
    found, pairs = measured_distances(
        cfg,
        checkpoints,
        load_network(*args.teacher)[0] if args.teacher else None,
        student_taps=_taps(args.student_taps),
        teacher_taps=_taps(args.teacher_taps),
        images=args.images,
        batch_size=args.batch_size,
        seed=args.seed,
    )
    for tap, (student, teacher) in zip(found, pairs):
        print(f'{tap}: {student} of the student, {teacher} of the teacher')
    return dict(source='checkpoints', images=args.images, taps=pairs, distances=found)


def _taps(taps: Optional[list]) -> Optional[list]:
    return taps and [int(tap) if tap.isdigit() else tap for tap in taps]


if __name__ == '__main__':
    main()
