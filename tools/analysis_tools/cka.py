"""Draw the similarity of the layers of students and of their teacher (CKA)."""

import argparse
import json
import os
from collections.abc import Sequence
from typing import Optional

# Set before torch is imported: with spinning threads, shared cores are 10 times slower.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

import lakd_mm  # noqa: F401  (first: it repairs what the lines below import)

# isort: split
from mmengine.utils import track_iter_progress

from lakd_mm.engine import clear_errors, refuse_ignored_options
from lakd_mm.engine.command_line import public_path
from lakd_mm.evaluation import CKASums, gram, layer_label, record, stem_and_blocks
from lakd_mm.evaluation.comparison import (
    add_picture,
    add_teacher_and_students,
    add_test_images,
    check_names,
    load_teacher_and_students,
)
from lakd_mm.evaluation.sample_images import inputs_of, sample_images
from lakd_mm.models.places.taps import resolve_taps
from lakd_mm.visualization import cka_heat_map, make_visualizer, save_figure


def parse_args(command: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line, or a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_teacher_and_students(parser, required=True)
    parser.add_argument('--images', type=int, default=1000, help='test images (default: 1000)')
    parser.add_argument(
        '--batch-size',
        type=int,
        default=250,
        help='images in a batch of the unbiased estimator (default: 250)',
    )
    add_test_images(parser)
    parser.add_argument(
        '--linear',
        action='store_true',
        help='linear CKA of all images at once, not the unbiased estimator over batches',
    )
    parser.add_argument('--teacher-layers', nargs='+', help='module names or numbers of blocks')
    parser.add_argument('--student-layers', nargs='+', help='(default: stem and residual blocks)')
    add_picture(parser, 'work_dirs/cka.png', '; writes a .json too')
    args = parser.parse_args(command)
    if args.linear:
        refuse_ignored_options(
            parser, args, ['batch_size'], 'with --linear, one batch of all images; leave it out'
        )
    return args


def layers_of(network, layers: list, option: str) -> list:
    """Return the module names of the layers to compare."""
    if not layers:
        return stem_and_blocks(network)
    return resolve_taps(network, [int(n) if n.isdigit() else n for n in layers], option)


def main() -> None:
    """Load the networks, run all of them on the same images, and draw."""
    args = parse_args()
    with clear_errors():
        compare(args)


def compare(args: argparse.Namespace) -> None:
    """Compare the layers and write the results.

    Raises:
        ConfigError: If configs, checkpoints, layers or data do not fit.
    """
    check_names('--student', [name for name, *_ in args.student])
    visualizer = make_visualizer(args.out, args.vis_backends)
    cfg, teacher, students = load_teacher_and_students(args)
    teacher_layers = layers_of(teacher, args.teacher_layers, '--teacher-layers')
    layers = {
        name: layers_of(student, args.student_layers, '--student-layers')
        for name, student in students.items()
    }
    batch_size = args.images if args.linear else args.batch_size
    loader = sample_images(cfg, args.images, batch_size, args.seed)
    sums = {name: CKASums(unbiased=not args.linear) for name in students}
    for batch in track_iter_progress((loader, len(loader))):
        # The teacher's preprocessor knows the order of these images' channels.
        images = inputs_of(batch, teacher.data_preprocessor)
        of_teacher = record(teacher, teacher_layers, images, gram).values()
        for name, student in students.items():
            sums[name].add(record(student, layers[name], images, gram).values(), of_teacher)

    matrices = {name: part.matrix().cpu() for name, part in sums.items()}
    labels = {name: [layer_label(layer) for layer in layers[name]] for name in layers}
    teacher_labels = [layer_label(layer) for layer in teacher_layers]
    figure = cka_heat_map(matrices, teacher_labels, labels)
    save_figure(figure, args.out, visualizer)
    facts = dict(
        estimator='linear CKA' if args.linear else f'unbiased CKA, batches of {batch_size}',
        images=len(loader.dataset),
        seed=args.seed,
        teacher=dict(
            config=public_path(args.config),
            checkpoint=public_path(args.checkpoint),
            layers=teacher_labels,
        ),
        students=[
            dict(
                name=name,
                config=public_path(config),
                checkpoint=public_path(checkpoint),
                layers=labels[name],
                cka=[[round(value, 6) for value in row] for row in matrices[name].tolist()],
            )
            for name, config, checkpoint in args.student
        ],
    )
    data = args.out.with_suffix('.json')
    data.write_text(json.dumps(facts) + '\n', encoding='utf-8')
    print(f'\n-> {args.out}\n-> {data}')


if __name__ == '__main__':
    main()
