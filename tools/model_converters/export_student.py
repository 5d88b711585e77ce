"""Export the student of a distillation: a plain checkpoint, its config, and optionally ONNX."""

import argparse
import os
from pathlib import Path

# Set before torch is imported: with spinning threads, shared cores are 10 times slower.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

import lakd_mm  # noqa: F401  (first: it repairs what the lines below import)

# isort: split
from lakd_mm.engine import clear_errors, export_student, refuse_ignored_options
from lakd_mm.engine.command_line import at_least
from lakd_mm.engine.export import check_outputs
from lakd_mm.engine.networks import choose_checkpoint
from lakd_mm.engine.onnx_export import check_onnx_packages, export_onnx


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        'source',
        help="a distillation's checkpoint, or its work folder: the best one there, else the last",
    )
    parser.add_argument('out', type=Path, help='the checkpoint to write; its config becomes OUT.py')
    parser.add_argument(
        '--config', help='config of the distillation (default: the one in the checkpoint)'
    )
    parser.add_argument(
        '--ema',
        action=argparse.BooleanOptionalAction,
        help="use an EMAHook's moving averages of the weights, or the weights themselves "
        '(default: the averages if there are any, as MMEngine tests them)',
    )
    parser.add_argument('--onnx', type=Path, metavar='FILE', help='write the student as ONNX too')
    parser.add_argument(
        '--shape',
        type=at_least(1),
        nargs='+',
        metavar='SIZE',
        help='height and width of the images for --onnx (default: what the config says)',
    )
    parser.add_argument('--force', action='store_true', help='replace files that exist')
    args = parser.parse_args()
    if args.shape and len(args.shape) > 2:
        parser.error('--shape: give a height and a width, or one number for both')
    if not args.onnx:
        refuse_ignored_options(parser, args, ['shape'], 'without --onnx; add that')
    return args


def main() -> None:
    """Check everything, then write."""
    args = parse_args()
    with clear_errors():
        source = choose_checkpoint(args.source)
        if args.onnx:
            check_onnx_packages()
            check_outputs(source, [args.out, args.out.with_suffix('.py'), args.onnx], args.force)
        made = export_student(source, args.out, args.config, args.ema, args.force)
        number = sum(parameter.numel() for parameter in made.network.parameters())
        averages = ', moving averages' if made.averaged else ''
        print(f'{made.source}: the student, {number:,} parameters{averages}')
        for file in made.files:
            print(f'-> {file}, {size_of(file)}')
        if made.note:
            print(made.note)
        if args.onnx:
            shape = made.image_shape
            if args.shape:
                shape = (shape[0], args.shape[0], args.shape[-1])
            args.onnx.parent.mkdir(parents=True, exist_ok=True)
            difference = export_onnx(made.network, args.onnx, shape, made.classes)
            print(
                f'-> {args.onnx}, {size_of(args.onnx)}: images of {shape}, logits as in PyTorch '
                f'to {difference:.0e} of the largest'
            )


def size_of(file: Path) -> str:
    """Return the size of a file for people."""
    return f'{file.stat().st_size / 1e3:,.0f} kB'


if __name__ == '__main__':
    main()
