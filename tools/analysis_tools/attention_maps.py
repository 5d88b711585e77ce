"""Draw attention maps of a teacher and its students on test images."""

import argparse
import math
import os
from collections.abc import Sequence
from typing import Optional

# Set before torch is imported: with spinning threads, shared cores are 10 times slower.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

import lakd_mm  # noqa: F401  (first: it repairs what the lines below import)

# isort: split
import torch

from lakd_mm.engine import clear_errors
from lakd_mm.errors import ConfigError
from lakd_mm.evaluation.comparison import (
    add_picture,
    add_teacher_and_students,
    add_test_images,
    check_names,
    load_teacher_and_students,
)
from lakd_mm.evaluation.features import layer_label
from lakd_mm.evaluation.sample_images import class_names, inputs_of, sample_images
from lakd_mm.models import NDAMFeatureLoss
from lakd_mm.models.places.cams import cam_place
from lakd_mm.models.places.taps import resolve_taps, stage_blocks
from lakd_mm.visualization import make_visualizer, save_figure
from lakd_mm.visualization.attention_maps import (
    WEIGHT,
    attention_figure,
    check_grad_cam,
    class_activation_maps,
    feature_maps,
    grad_cam_maps,
    ndam_maps,
)

LABELS = {
    'feature': 'sum of absolute activations over channels',
    'ndam': 'sum of absolute activations over channels, without and with the weight W',
    'cam': "class activation map of the image's class",
    'gradcam': "Grad-CAM of the image's class",
}
MOST_IMAGES = 40


def parse_args(command: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Read the command line, or a command."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_teacher_and_students(parser, required=False)
    parser.add_argument(
        '--kind',
        choices=list(LABELS),
        default='feature',
        help='sum of absolute activations (feature, default), the same without and with the '
        "weight of LAKD's loss (ndam), class activation maps (cam), or Grad-CAM (gradcam)",
    )
    parser.add_argument(
        '--taps',
        nargs='+',
        help='taps of students: residual blocks or module names (default: the last block)',
    )
    parser.add_argument(
        '--teacher-taps', nargs='+', help='taps of the teacher, one for each of --taps'
    )
    parser.add_argument('--avg-weight', type=float, help="alpha of NDAM (default: its loss's)")
    parser.add_argument('--max-weight', type=float, help="beta of NDAM (default: its loss's)")
    parser.add_argument('--images', type=int, default=6, help='number of test images (default: 6)')
    add_test_images(parser)
    parser.add_argument(
        '--shared-scale',
        action='store_true',
        help='a colour means the same value for all networks at a tap (default: it is relative to '
        "the map's own range)",
    )
    add_picture(parser, 'work_dirs/attention_maps.png')
    return parser.parse_args(command)


def check_args(args: argparse.Namespace) -> None:
    """Check the options before anything is loaded.

    Raises:
        ConfigError: If they do not fit together.
    """
    check_names('--student', ['teacher', *(name for name, *_ in args.student)])
    if not 1 <= args.images <= MOST_IMAGES:
        raise ConfigError(f'--images {args.images}: a picture has room for 1 to {MOST_IMAGES}')
    if args.kind == 'cam' and (args.taps or args.teacher_taps):
        raise ConfigError(
            '--taps: class activation maps are of the last map before the pooling; leave it out'
        )
    taps, teacher_taps = len(args.taps or ()), len(args.teacher_taps or ())
    if args.student and taps != teacher_taps:
        raise ConfigError(
            f'--taps and --teacher-taps must pair up, but there are {taps} and {teacher_taps}'
        )
    if taps and not args.student:
        raise ConfigError("--taps: there is no --student; --teacher-taps are the teacher's")
    weights = {'avg_weight': args.avg_weight, 'max_weight': args.max_weight}
    if args.kind != 'ndam' and any(value is not None for value in weights.values()):
        raise ConfigError('--avg-weight and --max-weight belong to --kind ndam')
    for name, value in weights.items():
        if value is not None and not math.isfinite(value):
            raise ConfigError(f'--{name.replace("_", "-")} {value}: give a finite number')
    if args.kind == 'gradcam':
        check_grad_cam()


def layers_of(network, taps: list, option: str, kind: str, images: torch.Tensor) -> list:
    """Return the module names of the layers to draw."""
    if kind == 'cam':
        whose = f'--kind cam: {type(network).__name__}'
        place = cam_place(network, images.shape[1:], whose, trained=False)
        return [place['recorder']['source']]
    if not taps:
        blocks = [name for stage in stage_blocks(network) for name in stage]
        return [blocks[-1] if blocks else 'backbone']
    return resolve_taps(network, [int(tap) if tap.isdigit() else tap for tap in taps], option)


def draw(args: argparse.Namespace) -> None:
    """Load the networks, run all of them on the same images, and draw.

    Raises:
        ConfigError: If configs, checkpoints, layers or data do not fit.
    """
    check_args(args)
    visualizer = make_visualizer(args.out, args.vis_backends)
    cfg, teacher, students = load_teacher_and_students(args)
    networks = {'teacher': teacher, **students}
    loader = sample_images(cfg, args.images, args.images, args.seed)
    (batch,) = loader
    preprocessor = teacher.data_preprocessor
    images = inputs_of(batch, preprocessor)
    layers = {}
    for name, network in networks.items():
        of_teacher = name == 'teacher'
        taps = args.teacher_taps if of_teacher else args.taps
        option = '--teacher-taps' if of_teacher else '--taps'
        layers[name] = layers_of(network, taps, option, args.kind, images)
    labels = torch.tensor([int(sample.gt_label) for sample in batch['data_samples']])
    # Other maps than these two do not depend on an image's class.
    names = class_names(loader, networks, images, must_fit=args.kind in ('cam', 'gradcam'))
    groups = groups_of_maps(args, networks, layers, images, labels.to(images.device))
    pictures = batch['inputs'].flip(1) if preprocessor.to_rgb else batch['inputs']
    figure = attention_figure(
        pictures.expand(-1, 3, -1, -1).permute(0, 2, 3, 1).cpu().numpy(),
        [names[label] for label in labels.tolist()],
        groups,
        args.shared_scale,
        {
            title_of(name, layers[name][0]): predictions(network, images, names)
            for name, network in networks.items()
        },
    )
    save_figure(figure, args.out, visualizer)
    print(f'-> {args.out}')


def title_of(name: str, layer: str) -> str:
    """Return a column's title: the network and the layer."""
    return f'{name}\n{layer_label(layer)}'


def predictions(network, images: torch.Tensor, names: list) -> list:
    """Return a network's class for each image, and its confidence."""
    with torch.no_grad():
        logits = network(images, mode='tensor')
    scores, classes = logits.softmax(dim=1).max(dim=1)
    if logits.shape[1] != len(names):
        names = [f'class {number}' for number in range(logits.shape[1])]
    return [f'{names[c]} {s:.0%}' for c, s in zip(classes.tolist(), scores.tolist())]


def groups_of_maps(args, networks: dict, layers: dict, images, labels) -> list:
    """Compute for each tap the maps of all networks, by the titles of their columns."""
    groups = []
    for places in zip(*layers.values()):
        at = dict(zip(networks, places))
        titles = {name: title_of(name, layer) for name, layer in at.items()}
        if args.kind == 'ndam':
            given = {'avg_weight': args.avg_weight, 'max_weight': args.max_weight}
            loss = NDAMFeatureLoss(**{key: v for key, v in given.items() if v is not None})
            students = {name: (networks[name], at[name]) for name in at if name != 'teacher'}
            maps = ndam_maps(networks['teacher'], at['teacher'], students, images, loss)
        elif args.kind == 'feature':
            maps = {name: feature_maps(networks[name], at[name], images) for name in at}
        elif args.kind == 'gradcam':
            maps = {name: grad_cam_maps(networks[name], at[name], images, labels) for name in at}
        else:
            maps = {name: class_activation_maps(networks[name], images, labels) for name in at}
        columns = {titles.get(key, key): map_.cpu().numpy() for key, map_ in maps.items()}
        if args.kind == 'ndam':
            groups.append(('weight W of NDAM', {WEIGHT: columns.pop(WEIGHT)}))
        groups.append((LABELS[args.kind], columns))
    return groups


def main() -> None:
    """Check everything, then draw."""
    args = parse_args()
    with clear_errors():
        draw(args)


if __name__ == '__main__':
    main()
