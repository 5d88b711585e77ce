"""Write the config of a distillation on your own images, for any teacher and student."""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Optional

# Set before torch is imported: with spinning threads, shared cores are 10 times slower.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

import lakd_mm  # noqa: F401  (first: it repairs what the lines below import)

# isort: split
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope

from lakd_mm.engine import ConfigError, clear_errors, refuse_ignored_options
from lakd_mm.engine.command_line import at_least, public_path
from lakd_mm.visualization.markdown import markdown_table
from own_images import folder, methods, networks, pairing, recipe, writing


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--data',
        required=True,
        help='folder with a folder of images for each class, or with train/ and val/ of such',
    )
    network = 'as resnet34, mmpretrain::resnet/resnet34_8xb32_in1k.py or mine.py'
    parser.add_argument('--teacher', required=True, help=f'a classifier, {network}')
    parser.add_argument(
        '--teacher-ckpt',
        metavar='FILE',
        help='its weights, a path or URL, or "none" (default: those that MMPretrain publishes)',
    )
    parser.add_argument('--student', required=True, help='a classifier, likewise')
    parser.add_argument(
        '--method', default='lakd', help='a folder of configs/, as kd (default: lakd)'
    )
    parser.add_argument(
        '--size',
        type=at_least(8),
        help='side of the images for the networks (default: near theirs)',
    )
    parser.add_argument('--out', metavar='FILE', help='the config to write, my.py')
    parser.add_argument('--force', action='store_true', help='overwrite it')
    parser.add_argument('--dry-run', action='store_true', help='show the pairing, write nothing')
    args = parser.parse_args()
    if args.dry_run:
        refuse_ignored_options(parser, args, ['force'], 'with --dry-run, which writes nothing')
    elif not args.out:
        parser.error('--out: name the config to write, as my.py, or add --dry-run')
    if args.out and not args.out.endswith('.py'):
        parser.error(f'--out {args.out}: the name of a config ends in .py')
    return args


def check_out(paths: list[Path], force: bool) -> None:
    """Raise a ConfigError for files that exist, or cannot be written."""
    for path in paths:
        if path.exists() and not force:
            raise ConfigError(f'--out: {path} exists; name another file, or add --force')
        if not path.parent.is_dir():
            raise ConfigError(f'--out: there is no folder {path.parent}; make it first')


def weights_of_teacher(
    teacher: networks.Network, given: Optional[str]
) -> tuple[Optional[str], Optional[int]]:
    """Return a checkpoint, if there is one, and how many classes it has."""
    if given == 'none' or (given is None and teacher.weights is None):
        return None, None
    if given is None or '://' in given:
        return given or teacher.weights, teacher.classes
    return str(Path(given).resolve()), networks.classes_of(teacher, given)


def main() -> None:
    """Look at the data and the networks, and write what fits."""
    args = parse_args()
    with clear_errors():
        run(args)


def run(args: argparse.Namespace) -> None:
    """Do what the options ask for."""
    out = Path(args.out or 'my.py')
    of_teacher = out.with_name(f'{out.stem}_teacher.py')
    if not args.dry_run:
        check_out([out], args.force)
    init_default_scope('mmpretrain')
    images = folder.look_at(args.data)
    print(f'{args.data}: {images.summary()}.')
    teacher = networks.find_network('--teacher', args.teacher)
    student = networks.find_network('--student', args.student)
    with _quiet():
        checkpoint, classes = weights_of_teacher(teacher, args.teacher_ckpt)
    trained = checkpoint is not None and classes == len(images.classes)
    if not args.dry_run and not trained:
        check_out([of_teacher], args.force)

    epochs = writing.epochs_of(checkpoint)
    later = f'work_dirs/{of_teacher.stem}/epoch_{epochs}.pth'
    # Weights go with the images that they have learned from.
    normalization = teacher.normalization if checkpoint else {}
    weights = checkpoint if trained else later
    plan = make_plan(args, images, teacher, student, weights, normalization)
    print(_of_weights(checkpoint, classes, len(images.classes)))
    texts = {out: writing.pair_text(plan)}
    if not trained:
        text = writing.teacher_text(out, teacher, checkpoint, plan.batch_size)
        texts = {of_teacher: text, **texts}
    if args.dry_run:
        print(f'Nothing is written (--dry-run); else: {", ".join(map(str, texts))}')
        return
    print('Train:')
    for path, text in texts.items():
        path.write_text(text, encoding='utf-8')
        print(f'  python {public_path(str(Path(__file__).parent))}/train.py {path}')


def make_plan(
    args: argparse.Namespace,
    images: folder.Images,
    teacher: networks.Network,
    student: networks.Network,
    teacher_ckpt: str,
    normalization: dict,
) -> writing.Plan:
    """Build both networks and the method, print what they compare, and choose sizes."""
    size = args.size or recipe.choose_size(images.side, [teacher.image_size, student.image_size])
    shape, classes = (3, size, size), len(images.classes)
    pair = dict(
        architecture=student.model(classes), teacher=teacher.model(classes), input_shape=shape
    )
    with _quiet():
        base, key, method, changes = methods.find_method(
            args.method, images.n_train, lambda: pairing.count_stages(pair)
        )
    names = f'{args.method} from {teacher.name} to {student.name}'
    with _quiet():
        model, left_out = pairing.build_pair({**method, **pair}, names)
    rows = pairing.pairing(model, shape)
    memory = recipe.free_memory()
    of_image, fixed = pairing.bytes_of_a_step(model, shape, names)
    batch_size = recipe.choose_batch(images.n_train, of_image, fixed, memory)
    print(f'{names}, {size}x{size} images in batches of {batch_size}:\n')
    print(markdown_table(rows, aligned=True), end='\n\n')
    if left_out:
        print(f'Without class attention (attention_loss=None): {left_out}.')
        changes = [*changes, 'model.attention_loss = None  # there are no class activation maps']
    side = pairing.smallest_side(rows)
    if side and side < 4:
        print(f'The smallest maps have {side} positions a side; --size {size * 2} doubles that.')
    pair['teacher_ckpt'] = teacher_ckpt
    if hasattr(model, 'teacher_tap_names'):
        pair.update(taps=list(model.student.tap_names), teacher_taps=list(model.teacher_tap_names))
    n = images.n_train + images.n_val
    return writing.Plan(
        title=f'{names}, written by tools/new_config.py',
        base=base,
        key=key,
        changes=changes,
        networks=pair,
        images=images,
        size=size,
        in_memory=recipe.in_memory(images.side, size, n, memory),
        batch_size=batch_size,
        workers=recipe.workers(),
        student=student,
        normalization=normalization,
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Log errors only: a table shows the connectors."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel('ERROR')
    try:
        yield
    finally:
        logger.setLevel(level)


def _of_weights(checkpoint: Optional[str], classes: Optional[int], of_data: int) -> str:
    """Say which weights the teacher has, and whether it has to be trained."""
    if checkpoint is None:
        return 'The teacher has no weights: it is trained first.'
    if classes == of_data:
        return (
            f'The teacher has weights of {classes} classes, which are taken for those of the data.'
        )
    return (
        f"The teacher's weights are of {classes} classes and the data have {of_data}: it is "
        f'fine-tuned first.'
    )


if __name__ == '__main__':
    main()
