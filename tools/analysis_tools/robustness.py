"""Compare checkpoints on corrupted test images, by calibration and by cost."""

import argparse
import json
import math
import os

# Set before torch is imported: with spinning threads, shared cores are 10 times slower.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

import lakd_mm  # noqa: F401  (first: it repairs what the lines below import)

# isort: split
import torch
from mmengine.device import get_device
from mmengine.utils import ProgressBar

from lakd_mm.engine import clear_errors, load_network
from lakd_mm.engine.command_line import public_path
from lakd_mm.evaluation.calibration import check_torchmetrics
from lakd_mm.evaluation.comparison import (
    add_picture,
    add_test_images,
    check_names,
    load_others,
    read_test_config,
)
from lakd_mm.evaluation.corrupted_files import CorruptedFiles
from lakd_mm.evaluation.corruptions import (
    CORRUPTIONS,
    SEVERITIES,
    check_corruption,
    check_severities,
)
from lakd_mm.evaluation.efficiency import CALLS, PERCENTILES, cost, latencies
from lakd_mm.evaluation.robustness import (
    CLEAN,
    corrupted_batches,
    corruption_error_against,
    errors_of,
    mean_corruption_error,
    scores,
)
from lakd_mm.evaluation.sample_images import class_names, inputs_of, sample_images
from lakd_mm.visualization import curves, make_visualizer, save_figure
from lakd_mm.visualization.markdown import markdown_table

# Numbers of images in a call for which latency is measured.
LATENCY_BATCHES = (1, 32)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--model',
        nargs=3,
        action='append',
        required=True,
        metavar=('NAME', 'CONFIG', 'CHECKPOINT'),
        help='a network, or the student of a distillation; may be repeated. The first one is the '
        'reference for the others, and its test images are used',
    )
    parser.add_argument(
        '--corruptions',
        nargs='+',
        metavar='NAME',
        help=f"{', '.join(CORRUPTIONS)}, or of --cifar-c's files (default: all)",
    )
    parser.add_argument(
        '--severities', nargs='+', type=int, default=SEVERITIES, help='1 to 5 (default: all)'
    )
    parser.add_argument('--samples', type=int, default=1000, help='test images (default: 1000)')
    parser.add_argument(
        '--batch-size', type=int, default=100, help='images in a batch (default: 100)'
    )
    parser.add_argument(
        '--cifar-c',
        metavar='FOLDER',
        help='read the corrupted images of CIFAR-10-C or CIFAR-100-C, <corruption>.npy and '
        'labels.npy, instead of making them',
    )
    parser.add_argument('--latency', action='store_true', help='also measure the time for an image')
    add_test_images(parser, "the first model's config")
    add_picture(parser, 'work_dirs/robustness.png', '; writes a .md and a .json too')
    return parser.parse_args()


def compare(args: argparse.Namespace) -> None:
    """Load the networks, run all of them on the same images, and write the results.

    Raises:
        ConfigError: If options, configs, checkpoints or data do not fit.
    """
    check_names('--model', [name for name, *_ in args.model])
    check_torchmetrics()
    names, severities, files = corruptions_of(args)
    visualizer = make_visualizer(args.out, args.vis_backends)
    (first, config, checkpoint), *others = args.model
    cfg = read_test_config(config, args.cfg_options)
    network = load_network(cfg, checkpoint)[0].to(get_device())
    preprocessor = network.data_preprocessor
    networks = {first: network, **load_others(others, preprocessor, cfg)}
    loader = sample_images(cfg, args.samples, args.batch_size, args.seed)
    images = inputs_of(next(iter(loader)), preprocessor)[:1]
    class_names(loader, networks, images)
    costs = {name: cost(network, images.shape[1:]) for name, network in networks.items()}

    batches = corrupted_batches(loader, preprocessor.to_rgb, names, severities, args.seed, files)
    count = len(loader) * (1 + len(names) * len(severities))
    found = scores(networks, shown(batches, count), preprocessor)
    if args.latency:
        for batch in LATENCY_BATCHES:
            times = latencies(networks, images.expand(batch, -1, -1, -1).contiguous(), CALLS)
            for name in networks:
                costs[name].setdefault('latency_ms', {})[f'batch_{batch}'] = times[name]

    facts = facts_of(args, len(loader.dataset), names, severities, found, costs)
    save_figure(figure_of(found, names, severities), args.out, visualizer)
    text = report(facts)
    print(f'\n\n{text}')
    for suffix, content in (('.md', text), ('.json', json.dumps(facts, indent=1) + '\n')):
        args.out.with_suffix(suffix).write_text(content, encoding='utf-8')
        print(f'-> {args.out.with_suffix(suffix)}')
    print(f'-> {args.out}')


def corruptions_of(args: argparse.Namespace) -> tuple:
    """Return names, severities, and the files if there are any.

    Raises:
        ConfigError: If a corruption, severity or file does not exist.
    """
    severities = sorted(set(args.severities))
    if args.cifar_c is not None:
        check_severities(severities)
        files = CorruptedFiles(args.cifar_c, args.corruptions)
        return files.names, severities, files
    names = list(dict.fromkeys(args.corruptions or CORRUPTIONS))
    for name in names:
        for severity in severities:
            check_corruption(name, severity, args.seed)
    return names, severities, None


def shown(batches, count: int):
    """Yield the same batches while a bar shows how many are done."""
    bar = ProgressBar(count)
    for batch in batches:
        yield batch
        bar.update()


def facts_of(args, count: int, names: list, severities: list, found: dict, costs: dict) -> dict:
    """Collect all measurements, and how they were made."""
    first = args.model[0][0]
    errors = {name: errors_of(sets) for name, sets in found.items()}
    models = []
    for name, config, checkpoint in args.model:
        sets = found[name]
        of_names = {n: [sets[n, severity] for severity in severities] for n in names}
        models.append(
            dict(
                name=name,
                config=public_path(config),
                checkpoint=public_path(checkpoint),
                clean=sets[CLEAN]._asdict(),
                mean_corruption_error=mean_corruption_error(errors[name]),
                corruption_error_against_first=finite(
                    corruption_error_against(errors[name], errors[first])
                ),
                corrupted={
                    n: {key: [getattr(one, key) for one in many] for key in ('top1', 'ece')}
                    for n, many in of_names.items()
                },
                **costs[name],
            )
        )
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'
    return dict(
        images=count,
        seed=args.seed,
        source='files of CIFAR-C' if args.cifar_c else 'lakd_mm.evaluation.corruptions',
        severities=severities,
        hardware=f'{device}, threads: {torch.get_num_threads()}, torch {torch.__version__}',
        models=models,
    )


def finite(value: float):
    """Return the value, or None if it is not a number, which JSON cannot hold."""
    return value if math.isfinite(value) else None


def figure_of(found: dict, names: list, severities: list):
    """Draw accuracy over severity, a panel for each corruption and one for their mean."""
    panels = {
        name.replace('_', ' '): {
            model: (
                [0, *severities],
                [sets[CLEAN].top1, *(sets[name, severity].top1 for severity in severities)],
            )
            for model, sets in found.items()
        }
        for name in names
    }
    if len(names) > 1:
        parts = list(panels.values())
        panels[f'mean of {len(names)}'] = {
            model: ([0, *severities], [mean(y) for y in zip(*(part[model][1] for part in parts))])
            for model in found
        }
    return curves(panels, 'severity (0: clean)', 'top-1 (%)', share_y=True)


def report(facts: dict) -> str:
    """Write the measurements as Markdown."""
    models = facts['models']
    first = models[0]['name']
    names = list(models[0]['corrupted'])
    batches = models[0].get('latency_ms', {})
    head = ['model', 'top-1, clean (%)', 'mCE (%)', f"mCE, of {first}'s (%)"]
    head += ['ECE, clean (%)', 'ECE, corrupted (%)', 'parameters (M)', 'MACs (M)', 'weights (MB)']
    head += [f'ms an image, {batch.replace("_", " ")}' for batch in batches]
    lines = [head]
    for model in models:
        against = model['corruption_error_against_first']
        clean = model['clean']
        line = [model['name'], f'{clean["top1"]:.2f}', f'{model["mean_corruption_error"]:.2f}']
        line += ['' if against is None else f'{against:.1f}', f'{clean["ece"]:.2f}']
        line += [f'{mean([e for one in model["corrupted"].values() for e in one["ece"]]):.2f}']
        line += [f'{model[key] / 1e6:.3f}' for key in ('parameters', 'macs', 'bytes')]
        for batch in batches:
            line.append(' / '.join(f'{value:.3f}' for value in model['latency_ms'][batch].values()))
        lines.append(line)
    of_corruptions = [
        ['top-1 (%), mean of severities', *(name.replace('_', ' ') for name in names)]
    ]
    for model in models:
        means = [mean(model['corrupted'][name]['top1']) for name in names]
        of_corruptions.append([model['name'], *(f'{value:.2f}' for value in means)])
    parts = [markdown_table(lines), markdown_table(of_corruptions), notes(facts, bool(batches))]
    return '\n\n'.join(parts) + '\n'


def notes(facts: dict, latency: bool) -> str:
    """Explain the columns."""
    severities = ', '.join(map(str, facts['severities']))
    text = (
        f'{facts["images"]} test images, seed {facts["seed"]}, severities {severities}, '
        f'corruptions of {facts["source"]}. mCE: mean error over corruptions and severities; of '
        f"the first model's: for each corruption the sum over severities divided by that model's, "
        f'then the mean. ECE: expected calibration error, 15 bins. MACs: multiply-adds of an '
        f'image, one each, as MMEngine counts them. Weights: of the network alone, as a file of '
        f'PyTorch.'
    )
    if latency:
        text += (
            f' ms an image: {" / ".join(f"p{p}" for p in PERCENTILES)} of {CALLS} calls, the '
            f"batch's time divided by its images, without preparing them; on {facts['hardware']}."
        )
    return text


def mean(values) -> float:
    """Return the mean of a list of numbers."""
    return sum(values) / len(values)


def main() -> None:
    """Check everything, then compare."""
    args = parse_args()
    with clear_errors():
        compare(args)


if __name__ == '__main__':
    main()
