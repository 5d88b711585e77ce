"""Train a small teacher, a student from scratch and the same student with LAKD, on digits.

Called again, it resumes where it was stopped and skips finished trainings.
"""

import argparse
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import lakd_mm  # noqa: F401  (first: it repairs what the lines below import)

# isort: split
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

from lakd_mm.engine.command_line import at_least
from lakd_mm.visualization.markdown import markdown_table

TOOLS = Path(__file__).parent
CONFIGS = TOOLS.parent / 'configs'
RUNS = {
    'ResNet-32, the teacher': 'teachers/resnet32_digits.py',
    'ResNet-14 from scratch': 'teachers/resnet14_digits.py',
    'ResNet-14 with LAKD': 'lakd/lakd_r32_r14_digits.py',
}
VALIDATED = re.compile(r'Epoch\(val\) \[(\d+)\].*accuracy/top1: (\S+)')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/demo'))
    epochs = 'number of epochs (default: as in each config)'
    parser.add_argument('--epochs', type=at_least(1), help=epochs)
    return parser.parse_args()


def count_parameters(cfg: Config) -> int:
    """Count the parameters of the network that predicts; of a pair this is the student."""
    init_default_scope(cfg.default_scope)
    model = MODELS.build(
        {**cfg.model, **({'teacher_ckpt': None} if 'teacher' in cfg.model else {})}
    )
    return sum(p.numel() for p in getattr(model, 'architecture', model).parameters())


def read_record(work_dir: Path, epochs: int) -> dict:
    """Read the record of an earlier call with the same number of epochs, or start a new one."""
    path = work_dir / 'demo.json'
    if path.exists():
        record = json.loads(path.read_text(encoding='utf-8'))
        if record['epochs'] == epochs and Path(record['checkpoint']).exists():
            return record
    return dict(epochs=epochs, epoch=0, seconds=0.0)


def train(config: Path, work_dir: Path, epochs: int, options: list) -> dict:
    """Train in a separate process, and print a line for each epoch.

    Returns:
        dict: epochs, epoch (the last one), accuracy (%), seconds and checkpoint.
    """
    record = read_record(work_dir, epochs)
    if record['epoch'] == epochs:
        print(f'  done before: {record["checkpoint"]}')
        return record
    resumed = record['epoch'] > 0
    command = [sys.executable, TOOLS / 'train.py', config, '--work-dir', work_dir]
    command += ['--resume'] if resumed else []
    command += ['--cfg-options', f'train_cfg.max_epochs={epochs}', *options]
    print('  $', *command, flush=True)
    start, output = time.monotonic() - record['seconds'], []
    for line in run([str(word) for word in command]):
        output.append(line)
        validated = VALIDATED.search(line)
        if validated:
            record.update(
                epoch=int(validated.group(1)),
                accuracy=float(validated.group(2)),
                seconds=round(time.monotonic() - start, 1),
                checkpoint=str(work_dir / f'epoch_{validated.group(1)}.pth'),
            )
            (work_dir / 'demo.json').write_text(json.dumps(record), encoding='utf-8')
            print(
                f'  epoch {record["epoch"]:2}/{epochs}   accuracy {record["accuracy"]:6.2f} %'
                f'   {record["seconds"]:5.0f} s',
                flush=True,
            )
    if record['epoch'] == epochs:
        return record
    if resumed and 'resumed epoch' in ''.join(output):
        # It was stopped between the last checkpoint and its validation: no training was left.
        (work_dir / 'demo.json').unlink()
        return train(config, work_dir, epochs, options)
    raise SystemExit(f'{"".join(output[-25:])}\nerror: the command above failed.')


def run(command: list) -> Iterator[str]:
    """Yield the lines that a command prints; end the command with this program."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield from process.stdout
        except BaseException:
            process.kill()
            raise


def format_table(results: list) -> str:
    """Format the results as a Markdown table."""
    lines = [['network', 'accuracy (%)', 'parameters', 'seconds']]
    for row in results:
        accuracy, parameters = f'{row["accuracy"]:.2f}', f'{row["parameters"]:,}'
        lines.append([row['network'], accuracy, parameters, f'{row["seconds"]:.0f}'])
    return markdown_table(lines, aligned=True)


def main() -> None:
    """Run the three trainings and summarise them."""
    args = parse_args()
    # Exit normally, so that the training is stopped too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit('error: terminated'))
    results, teacher_option = [], []
    for network, name in RUNS.items():
        config = CONFIGS / name
        cfg = Config.fromfile(config)
        print(f'\n{network}: configs/{name}', flush=True)
        is_pair = 'teacher' in cfg.model
        record = train(
            config,
            args.work_dir / config.stem,
            args.epochs or cfg.train_cfg.max_epochs,
            teacher_option if is_pair else [],
        )
        teacher_option = teacher_option or [f'model.teacher_ckpt={record["checkpoint"]}']
        results.append(dict(network=network, parameters=count_parameters(cfg), **record))

    table = format_table(results)
    (args.work_dir / 'results.md').write_text(table + '\n', encoding='utf-8')
    (args.work_dir / 'results.json').write_text(json.dumps(results, indent=2), encoding='utf-8')
    print(f'\nAccuracy on the 355 test digits after the last epoch:\n\n{table}\n')
    print(f'The table as {args.work_dir}/results.md and results.json; checkpoints and logs:')
    for row in results:
        print(f'  {row["checkpoint"]}   {Path(row["checkpoint"]).parent}/<time>/<time>.log')


if __name__ == '__main__':
    main()
