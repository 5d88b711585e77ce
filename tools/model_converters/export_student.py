"""Export the student of a distillation: plain checkpoint and config, ONNX, torch.export, int8."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

# Set before torch is imported: with spinning threads, shared cores are 10 times slower.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

import lakd_mm  # noqa: F401  (first: it repairs what the lines below import)

# isort: split
import torch
from mmengine.config import Config
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn
from torch.utils.data import DataLoader

from lakd_mm.engine import (
    ConfigError,
    check_data_folders,
    clear_errors,
    export_student,
    refuse_ignored_options,
)
from lakd_mm.engine.command_line import at_least
from lakd_mm.engine.dumped_config import config_in_checkpoint
from lakd_mm.engine.export import check_outputs
from lakd_mm.engine.hardware import hardware
from lakd_mm.engine.networks import choose_checkpoint, read_config
from lakd_mm.engine.onnx_export import (
    OnnxClassifier,
    check_onnx_packages,
    export_onnx,
    quantize_onnx,
)
from lakd_mm.engine.torch_export import export_program
from lakd_mm.evaluation.sample_images import inputs_of, sample_images, test_split

# Images in a batch for calibration and testing.
BATCH = 64


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
        '--exported',
        type=Path,
        metavar='FILE',
        help="write it by torch.export too (.pt2), which runs without its network's code",
    )
    parser.add_argument(
        '--int8',
        type=Path,
        metavar='FILE',
        help='write it as ONNX in int8 too, calibrated with training images; its accuracy on the '
        'test images beside that in float32 is printed and becomes FILE.json',
    )
    parser.add_argument(
        '--shape',
        type=at_least(1),
        nargs='+',
        metavar='SIZE',
        help='height and width of the images for --onnx and --exported (default: what the config '
        'says)',
    )
    parser.add_argument(
        '--opset', type=int, help="version of ONNX's operators (default: PyTorch's choice)"
    )
    parser.add_argument(
        '--calibration',
        type=at_least(1),
        default=256,
        metavar='N',
        help='training images for --int8 (default: 256)',
    )
    parser.add_argument('--force', action='store_true', help='replace files that exist')
    args = parser.parse_args()
    if args.shape and len(args.shape) > 2:
        parser.error('--shape: give a height and a width, or one number for both')
    if not (args.onnx or args.exported or args.int8):
        why = 'without --onnx, --exported or --int8; add one'
        refuse_ignored_options(parser, args, ['shape'], why)
    if not (args.onnx or args.int8):
        refuse_ignored_options(parser, args, ['opset'], 'without --onnx or --int8; add one')
    if not args.int8:
        refuse_ignored_options(parser, args, ['calibration'], 'without --int8; add that')
    elif args.shape:
        parser.error('--shape would be ignored with --int8: its images have the size of the config')
    return args


def main() -> None:
    """Check everything, then write."""
    args = parse_args()
    with clear_errors():
        source = choose_checkpoint(args.source)
        files = [args.out, args.out.with_suffix('.py'), args.onnx, args.exported, args.int8]
        if args.int8:
            files.append(args.int8.with_suffix('.json'))
        check_outputs(source, [file for file in files if file], args.force)
        if args.onnx or args.int8:
            check_onnx_packages()
        config = args.config
        if args.int8:
            config = read_config(config or stored_config(source))
            loaders = calibration_and_test(config, args.calibration)
        made = export_student(source, args.out, config, args.ema, args.force)
        number = sum(parameter.numel() for parameter in made.network.parameters())
        averages = ', moving averages' if made.averaged else ''
        print(f'{made.source}: the student, {number:,} parameters{averages}')
        for file in made.files:
            print(f'-> {file}, {size_of(file)}')
        if made.note:
            print(made.note)
        shape = made.image_shape
        if args.shape:
            shape = (shape[0], args.shape[0], args.shape[-1])
        if args.exported:
            args.exported.parent.mkdir(parents=True, exist_ok=True)
            difference = export_program(made.network, args.exported, shape, made.classes)
            print_export(args.exported, shape, difference)
        with TemporaryDirectory() as folder:
            onnx = args.onnx or Path(folder) / 'student.onnx'
            if args.onnx or args.int8:
                onnx.parent.mkdir(parents=True, exist_ok=True)
                difference = export_onnx(made.network, onnx, shape, made.classes, args.opset)
            if args.onnx:
                print_export(onnx, shape, difference)
            if args.int8:
                write_int8(made.network.data_preprocessor, onnx, args.int8, *loaders)


def print_export(file: Path, shape: tuple, difference: float) -> None:
    """Say what was written, and how near it is."""
    print(
        f'-> {file}, {size_of(file)}: images of {shape}, logits as in PyTorch to {difference:.0e} '
        f'of the largest'
    )


def size_of(file: Path) -> str:
    """Return the size of a file for people."""
    return f'{file.stat().st_size / 1e3:,.0f} kB'


def stored_config(source: str) -> Config:
    """Return the config in a checkpoint."""
    checkpoint = CheckpointLoader.load_checkpoint(source, 'cpu', logger='silent')
    return config_in_checkpoint(checkpoint, source)


def calibration_and_test(cfg: Config, count: int) -> tuple[DataLoader, DataLoader]:
    """Load ``count`` training images, prepared as test images are, and all test images.

    Raises:
        ConfigError: If the config lacks one of the two, or they are absent.
    """
    check_data_folders(cfg, splits=['train', test_split(cfg)])
    training = sample_images(cfg, count, BATCH, split='train')
    return training, sample_images(cfg, sys.maxsize, BATCH)


def write_int8(
    preprocessor: nn.Module, onnx: Path, out: Path, training: DataLoader, test: DataLoader
) -> None:
    """Write the student in int8, and its accuracy before and after."""
    out.parent.mkdir(parents=True, exist_ok=True)
    quantize_onnx(onnx, out, (inputs_of(batch, preprocessor) for batch in training))
    classifiers = dict(float32=OnnxClassifier(onnx), int8=OnnxClassifier(out))
    top1 = accuracies(classifiers, prepared(test, preprocessor))
    print(
        f'-> {out}, {size_of(out)} (float32: {size_of(onnx)}): top-1 {top1["int8"]:.2f} %, in '
        f'float32 {top1["float32"]:.2f} %, on {len(test.dataset):,} test images; calibrated with '
        f'{len(training.dataset):,} training images'
    )
    facts = dict(
        hardware(),
        top1=top1,
        bytes={'float32': onnx.stat().st_size, 'int8': out.stat().st_size},
        test_images=len(test.dataset),
        calibration_images=len(training.dataset),
    )
    out.with_suffix('.json').write_text(json.dumps(facts, indent=2) + '\n')
    print(f'-> {out.with_suffix(".json")}')


def prepared(
    loader: DataLoader, preprocessor: nn.Module
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield prepared images (N, C, H, W) and their classes (N,).

    Raises:
        ConfigError: If an image has other than one class.
    """
    for batch in loader:
        labels = [sample.gt_label.flatten() for sample in batch['data_samples']]
        if any(len(label) != 1 for label in labels):
            raise ConfigError('--int8: the test images have several classes each; top-1 needs one')
        yield inputs_of(batch, preprocessor), torch.cat(labels).cpu()


def accuracies(classifiers: dict[str, Callable], batches: Iterator) -> dict[str, float]:
    """Return top-1 accuracies in percent on the same images."""
    right, count = dict.fromkeys(classifiers, 0), 0
    for images, labels in batches:
        count += len(labels)
        for name, classifier in classifiers.items():
            right[name] += int((classifier(images).argmax(dim=1) == labels).sum())
    return {name: 100 * number / count for name, number in right.items()}


if __name__ == '__main__':
    main()
