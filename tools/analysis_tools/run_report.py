"""Write one HTML file about a run or several: curves, losses, speed, mistakes, maps."""

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

# Set before torch is imported: with spinning threads, shared cores are 10 times slower.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

import lakd_mm  # noqa: F401  (first: it repairs what the lines below import)

# isort: split
import attention_maps
import cka
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmpretrain.evaluation import ConfusionMatrix

from lakd_mm.engine import clear_errors, load_network
from lakd_mm.engine.command_line import at_least
from lakd_mm.errors import ConfigError
from lakd_mm.evaluation.comparison import add_runs, check_names
from lakd_mm.evaluation.run_log import check_run, epoch_checkpoints, log_records, run_config
from lakd_mm.evaluation.sample_images import class_names, inputs_of, sample_images
from lakd_mm.visualization import confusion_figure, curves, save_figure
from lakd_mm.visualization.markdown import html_page, markdown_table

# Records that a curve is drawn through; more are averaged.
POINTS = 100
# More classes than this are told by their commonest mistakes, not as a matrix.
MOST_CLASSES = 20
MISTAKES = 8


class Run:
    """What a work folder says.

    Args:
        name (str): As the report calls it.
        work_dir (Path): The work folder of a training.

    Raises:
        ConfigError: If the folder is absent, or has no config or no log.
    """

    def __init__(self, name: str, work_dir: Path):
        check_run(work_dir)
        self.name, self.cfg = name, run_config(work_dir)
        steps, validations = {}, {}
        for record in log_records(work_dir):
            # Of a step that was repeated after a kill, the last counts.
            kind = steps if 'loss' in record else validations
            kind[record.get('step')] = record
        self.steps, self.validations = list(steps.values()), list(validations.values())
        if not self.steps:
            raise ConfigError(f'--run: {work_dir} has no log of a training')
        checkpoints = epoch_checkpoints(work_dir)
        self.checkpoint = checkpoints[max(checkpoints)] if checkpoints else None

    def curve(self, key: str) -> tuple[list, list]:
        """Return iterations and values of a logged number; means of a share of them each."""
        records = [record for record in self.steps if record.get(key) is not None]
        share = -(-len(records) // POINTS) or 1
        parts = [records[i : i + share] for i in range(0, len(records), share)]
        return (
            [part[-1]['step'] for part in parts],
            [statistics.fmean(record[key] for record in part) for part in parts],
        )

    def metrics(self) -> list[str]:
        """Return the names of what validation reports, in percent or not, without times."""
        names = dict.fromkeys(key for record in self.validations for key in record)
        return [key for key in names if key not in ('step', 'time', 'data_time')]

    def losses(self) -> list[str]:
        """Return the names of the logged losses."""
        names = dict.fromkeys(key for record in self.steps for key in record)
        return [key for key in names if 'loss' in key]


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_runs(parser, 'a run')
    parser.add_argument(
        '--images',
        type=at_least(0),
        default=1000,
        help='test images for mistakes and similarity; 0: of the logs alone (default: 1000)',
    )
    parser.add_argument('--out', type=Path, default=Path('work_dirs/report.html'))
    args = parser.parse_args()
    if args.out.suffix.lower() not in ('.html', '.htm'):
        parser.error(f'--out {args.out}: its name must end in .html')
    return args


def write(args: argparse.Namespace) -> None:
    """Write the report.

    Raises:
        ConfigError: If a run has no log, or its checkpoint does not fit its config.
    """
    check_names('--run', [name for name, _ in args.run])
    runs = [Run(name, Path(work_dir)) for name, work_dir in args.run]
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        blocks = [f'# Training of {", ".join(run.name for run in runs)}', summary(runs)]
        blocks += curve_blocks(runs, folder)
        saved = [run for run in runs if run.checkpoint]
        if args.images and saved:
            blocks += image_blocks(saved, args.images, folder)
        page = html_page('\n\n'.join(blocks), folder)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(page, encoding='utf-8')
    print(f'-> {args.out}')


def summary(runs: list[Run]) -> str:
    """Tabulate the runs: what was reached, and how fast."""
    metrics = list(dict.fromkeys(key for run in runs for key in run.metrics()))
    head = ['run', 'iterations', *(f'{key}, last' for key in metrics)]
    lines = [[*head, 'ms an iteration', 'of it waiting for data', 'images a second']]
    for run in runs:
        last = run.validations[-1] if run.validations else {}
        times = {
            key: statistics.median(values)
            for key in ('time', 'data_time')
            if (values := [record[key] for record in run.steps if key in record])
        }
        line = [run.name, run.steps[-1]['step']]
        line += [f'{last[key]:.2f}' if key in last else '' for key in metrics]
        line += [
            f'{1000 * times[key]:.1f}' if key in times else '' for key in ('time', 'data_time')
        ]
        batch = run.cfg.get('train_dataloader', {}).get('batch_size')
        line.append(f'{batch / times["time"]:.0f}' if batch and times.get('time') else '')
        lines.append(line)
    return markdown_table(lines)


def curve_blocks(runs: list[Run], folder: Path) -> list[str]:
    """Draw validation, losses, learning rate and time."""
    blocks = []
    metrics = list(dict.fromkeys(key for run in runs for key in run.metrics()))
    panels = {
        metric: {
            run.name: ([r['step'] for r in found], [r[metric] for r in found])
            for run in runs
            if (found := [r for r in run.validations if metric in r])
        }
        for metric in metrics
    }
    if panels:
        by_epoch = all(run.cfg.train_cfg.get('by_epoch', True) for run in runs)
        blocks += ['## Validation']
        figure = curves(panels, 'epoch' if by_epoch else 'iteration', '')
        blocks += picture(folder, 'validation', figure, 'as logged after each validation')
    losses = {run.name: {loss: run.curve(loss) for loss in run.losses()} for run in runs}
    words = 'as back-propagated, each with its weight; loss is their sum'
    blocks += ['## Losses', *picture(folder, 'losses', curves(losses, 'iteration', 'loss'), words)]
    panels = {
        title: {run.name: curve for run in runs if (curve := run.curve(key))[0]}
        for title, key in (('learning rate', 'lr'), ('seconds an iteration', 'time'))
    }
    panels = {title: lines for title, lines in panels.items() if lines}
    if panels:
        blocks += ['## Learning rate and speed']
        figure = curves(panels, 'iteration', '')
        blocks += picture(folder, 'speed', figure, 'time as logged, on the machine of the training')
    return blocks


def picture(folder: Path, name: str, figure, words: str) -> list[str]:
    """Save a figure, and return the block that shows it, with words under it."""
    save_figure(figure, folder / f'{name}.png')
    return [f'![{words}]({name}.png)']


def image_blocks(runs: list[Run], images: int, folder: Path) -> list[str]:
    """Show what the last checkpoints make of test images, beside the teacher if there is one."""
    blocks = []
    for run in runs:
        blocks += [f'## Mistakes of {run.name}', *mistakes(run, images, folder)]
    teacher = next((run for run in runs if 'teacher' in run.cfg.model), None)
    if teacher is None:
        return blocks
    config = teacher.cfg
    given = [config.filename, str(config.model.get('teacher_ckpt') or teacher.checkpoint)]
    for run in runs:
        given += ['--student', run.name, run.cfg.filename, str(run.checkpoint)]
    title = f"Similarity of layers with those of {teacher.name}'s teacher"
    words = f'unbiased CKA on {images} test images'
    command = [*given, '--images', str(images), '--out', f'{folder}/similarity.png']
    blocks += drawn(title, words, 'similarity', lambda: cka.compare(cka.parse_args(command)))
    maps = [*given, '--out', f'{folder}/maps.png']
    title, words = 'Activations of the last block', 'sum of absolute values over channels'
    draw = attention_maps.draw
    return blocks + drawn(title, words, 'maps', lambda: draw(attention_maps.parse_args(maps)))


def drawn(title: str, words: str, name: str, draw: Callable) -> list[str]:
    """Have a picture drawn, and return its section; one that cannot be drawn says why."""
    try:
        draw()
    except ConfigError as error:
        return [f'## {title}', f'Not drawn: {" ".join(str(error).split())}']
    return [f'## {title}', f'![{words}]({name}.png)']


def mistakes(run: Run, images: int, folder: Path) -> list[str]:
    """Say which classes a run's last checkpoint takes for which."""
    matrix, names = confusion(run.cfg, run.checkpoint, images)
    total, right = int(matrix.sum()), int(matrix.trace())
    text = f'`{run.checkpoint.name}`: {right} of {total} test images right ({right / total:.2%}).'
    if len(names) <= MOST_CLASSES:
        index = f'confusion-{run.name.replace(" ", "-").replace("/", "-")}'
        figure = confusion_figure(matrix.numpy(), names)
        return [text, *picture(folder, index, figure, 'counts of images; colour: share of a class')]
    wrong = matrix - torch.diag(matrix.diagonal())
    counts, places = wrong.flatten().topk(min(MISTAKES, wrong.count_nonzero().item()))
    lines = [['class', 'taken for', 'images', 'of']]
    for count, place in zip(counts.tolist(), places.tolist()):
        row, column = divmod(place, len(names))
        lines.append([names[row], names[column], count, int(matrix[row].sum())])
    return [text, markdown_table(lines)]


def confusion(cfg: Config, checkpoint: Path, images: int) -> tuple[torch.Tensor, list[str]]:
    """Count the classes (rows) that are taken for others (columns), and name them."""
    network = load_network(cfg, str(checkpoint))[0].to(get_device())
    loader = sample_images(cfg, images)
    images = inputs_of(next(iter(loader)), network.data_preprocessor)
    names = class_names(loader, {'the network': network}, images)
    matrix = torch.zeros(len(names), len(names), dtype=torch.long)
    for batch in loader:
        with torch.no_grad():
            scores = network(inputs_of(batch, network.data_preprocessor), mode='tensor')
        labels = torch.tensor([int(sample.gt_label) for sample in batch['data_samples']])
        matrix += ConfusionMatrix.calculate(scores.cpu(), labels)
    return matrix, names


def main() -> None:
    """Read the runs, then write."""
    args = parse_args()
    with clear_errors():
        write(args)


if __name__ == '__main__':
    main()
