"""Kill trainings on digits at random moments, resume them, and compare with unbroken ones.

Each kill is a SIGKILL, at a random time or in front of a random change of a file (the seed says
which). What a training leaves at its end has to be the same to the bit: weights, statistics of
BatchNorm, momentum, moving averages, learning rates, memory banks, the best checkpoint, losses and
metrics of the log, and which files there are.

    python tools/dev/kill_test.py --kills 100 --out kills.json
"""

import argparse
import gc
import json
import multiprocessing
import os
import random
import runpy
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

# Set before torch is imported: with spinning threads, shared cores are 10 times slower.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

import lakd_mm  # noqa: F401  (first: it repairs what the lines below import)

# isort: split
import mmengine.config.config
import mmpretrain.utils
import mmrazor.utils
import numpy as np
import sklearn.datasets  # noqa: F401
import torch
from mmengine.config import Config
from mmrazor.registry import MODELS

from lakd_mm.visualization.markdown import markdown_table

TOOLS = Path(__file__).resolve().parents[1]
FORK = multiprocessing.get_context('fork')
# A training takes a second or two, most of it around the networks: 3 iterations an epoch.
IMAGES, BATCH, EPOCHS = 24, 8, 4
# What no two runs have in common, by the last part of a name.
OWN = ('cfg', 'time', 'data_time', 'memory', 'eta', 'experiment_name', 'seconds', 'hardware')


def network(depth):
    return dict(
        type='mmpretrain.ImageClassifier',
        backbone=dict(type='mmrazor.CIFARResNet', depth=depth),
        neck=dict(type='mmpretrain.GlobalAveragePooling'),
        head=dict(
            type='mmpretrain.LinearClsHead',
            num_classes=10,
            in_channels=64,
            loss=dict(type='mmpretrain.CrossEntropyLoss'),
        ),
    )


def model(transfers=None):
    pair = dict(architecture=network(8), teacher=network(8), teacher_ckpt='teacher.pth')
    if transfers is None:
        return dict(type='mmrazor.LAKD', **pair)
    return dict(type='mmrazor.Distill', transfers=transfers, **pair)


KD = dict(loss_kd=dict(loss=dict(type='mmrazor.KLDivergence', tau=4), at='logits'))
CRD = dict(
    loss_crd=dict(
        loss=dict(
            type='mmrazor.ContrastiveRepresentationLoss', num_data=IMAGES, num_negatives=16, dim=8
        ),
        at='pooled',
        connector=dict(type='mmrazor.CRDConnector', dim_out=8),
        teacher_connector=dict(type='mmrazor.CRDConnector', dim_out=8),
    )
)
CROP_FLIP = dict(type='mmrazor.CropFlipDataPreprocessor', mean=[78.0] * 3, std=[96.0] * 3)
PLAIN = dict(CROP_FLIP, type='mmpretrain.ClsDataPreprocessor')
STEPS = ('RandomCrop', dict(crop_size=32, padding=4)), ('RandomFlip', dict(prob=0.5))


def loader(train, memory, workers=0):
    dataset = dict(type='mmrazor.Digits', split='train' if train else 'test', indices=IMAGES)
    if memory:
        dataset = dict(type='mmrazor.InMemory', dataset=dataset)
    else:
        steps = [dict(type=f'mmpretrain.{name}', **options) for name, options in STEPS * train]
        dataset['pipeline'] = [*steps, dict(type='mmpretrain.PackInputs')]
    return dict(
        batch_size=BATCH,
        num_workers=workers,
        persistent_workers=workers > 0,
        dataset=dataset,
        collate_fn=dict(type='whole_batch' if memory else 'default_collate'),
        sampler=dict(type='DefaultSampler', shuffle=train),
    )


def config(which, memory=True, workers=0, seed=0, hooks=(), accumulate=1):
    """A whole training."""
    return dict(
        default_scope='mmpretrain',
        custom_imports=dict(imports=['lakd_mm']),
        model=which,
        data_preprocessor=CROP_FLIP if memory else PLAIN,
        train_dataloader=loader(True, memory, workers),
        val_dataloader=loader(False, memory),
        val_evaluator=dict(type='mmpretrain.Accuracy', topk=(1,)),
        train_cfg=dict(by_epoch=True, max_epochs=EPOCHS, val_interval=1),
        val_cfg=dict(),
        optim_wrapper=dict(
            optimizer=dict(type='SGD', lr=0.05, momentum=0.9), accumulative_counts=accumulate
        ),
        param_scheduler=[
            dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=5),
            dict(type='MultiStepLR', milestones=[2, 3], gamma=0.3),
        ],
        default_hooks=dict(
            logger=dict(type='LoggerHook', interval=1),
            checkpoint=dict(
                type='CheckpointHook', interval=1, max_keep_ckpts=2, save_best='accuracy/top1'
            ),
        ),
        custom_hooks=[
            dict(type='EMAHook', momentum=0.1),
            dict(type='mmrazor.CheckDataHook'),
            dict(type='mmrazor.KeepPreviousHook'),
            *hooks,
        ],
        env_cfg=dict(dist_cfg=dict(backend='gloo')),
        model_wrapper_cfg=dict(type='mmrazor.LocalDistributedDataParallel'),
        randomness=dict(seed=seed),
        log_level='WARNING',
    )


def by_iteration():
    cfg = config(model(KD), memory=False)
    cfg['train_cfg'] = dict(by_epoch=False, max_iters=12, val_interval=4)
    cfg['train_dataloader']['sampler']['type'] = 'InfiniteSampler'
    cfg['param_scheduler'][1].update(by_epoch=False, milestones=[6, 9])
    cfg['default_hooks']['checkpoint'].update(by_epoch=False, interval=2)
    cfg['optim_wrapper']['accumulative_counts'] = 3
    cfg['log_processor'] = dict(by_epoch=False)
    return [cfg]


STOP = dict(type='EarlyStoppingHook', monitor='accuracy/top1', patience=3, min_delta=2.0)
RECORD = dict(type='mmrazor.EpochRecordHook')
# By name: the configs, of which several make a cohort, and the number of processes.
VARIANTS = {
    'epochs': lambda: ([config(model(), memory=False, hooks=[RECORD, STOP])], 1),
    'iterations': lambda: (by_iteration(), 1),
    'workers': lambda: ([config(model(KD), memory=False, workers=2, accumulate=2)], 1),
    'in memory, CRD': lambda: ([config(model(CRD), hooks=[RECORD])], 1),
    'cohort': lambda: ([config(model()), config(model(KD), seed=1)], 1),
    'cohort, two processes': lambda: ([config(model()), config(model(KD), seed=1)], 2),
    'two processes': lambda: ([config(model(), accumulate=2)], 2),
}


class CountChanges:
    """Counts what changes a file in a folder, and kills the process in front of one of these."""

    def __init__(self, folder, count, kill_at=None):
        self.folder, self.count, self.kill_at = str(folder), count, kill_at
        self.pid = os.getpid()

    def __call__(self, event, args):
        if event == 'open':
            changes = isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        else:
            changes = event in ('os.rename', 'os.remove', 'os.mkdir', 'os.truncate')
        if not changes or self.folder not in str(args[0]) or os.getpid() != self.pid:
            return
        if self.count.value == self.kill_at:
            os.kill(self.pid, signal.SIGKILL)
        self.count.value += 1


def train(command, folder, variables, count, kill_at):
    """Run a tool in this process, a fork."""
    output = os.open(folder / 'output.txt', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for target in (1, 2):
        os.dup2(output, target)
    os.chdir(folder.parent)
    os.environ.update(variables)
    if count is not None:
        sys.addaudithook(CountChanges(folder / 'work', count, kill_at))
    sys.argv[:] = command
    sys.path.insert(0, str(TOOLS))
    try:
        runpy.run_path(command[0], run_name='__main__')
    finally:
        # A fork's exit would wait for these, which outlive a first SIGTERM.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for worker in multiprocessing.active_children():
            worker.kill()


class Training:
    """A training in a folder of its own, as its processes."""

    def __init__(self, folder, configs, ranks):
        self.folder, self.ranks = folder, ranks
        folder.mkdir(parents=True)
        paths = [folder / f'member{i}.py' for i in range(len(configs))]
        for path, cfg in zip(paths, configs):
            Config(cfg).dump(path)
        tool = 'train_cohort.py' if len(configs) > 1 else 'train.py'
        self.command = [str(TOOLS / tool), *map(str, paths), '--work-dir', f'{folder}/work']
        if ranks > 1:
            self.command += ['--launcher', 'pytorch']
        self.changes = FORK.Value('i', 0)
        self.processes = []

    def start(self, *options, kill_at=None):
        self.changes.value = 0
        with socket.socket() as probe:
            probe.bind(('127.0.0.1', 0))
            meet = dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(probe.getsockname()[1]))
        self.processes = []
        for rank in range(self.ranks):
            variables = dict(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(self.ranks))
            variables = {**meet, **variables} if self.ranks > 1 else {}
            count = None if rank else self.changes
            arguments = ([*self.command, *options], self.folder, variables, count, kill_at)
            self.processes.append(FORK.Process(target=train, args=arguments))
            self.processes[-1].start()

    def end(self, limit=None):
        """Wait; once one process has ended otherwise than well, kill the others, as torchrun does.

        Return the exit codes, or None if it takes longer than a limit.
        """
        until = time.monotonic() + (limit or 600)
        while time.monotonic() < until:
            codes = [process.exitcode for process in self.processes]
            if any(codes):
                break
            if None not in codes:
                return codes
            time.sleep(0.01)
        else:
            if limit is not None:
                return None
        self.kill()
        return [process.exitcode for process in self.processes]

    def kill(self, which=None):
        for process in self.processes if which is None else [which]:
            process.kill()
        for process in self.processes if which is None else [which]:
            process.join()


def flat(value, name, folder, found):
    """Write nested values under names into a dict, with tensors as bytes."""
    if name.rpartition('/')[2] in OWN or name.endswith(('/time', 'data_time', 'record_to_come')):
        return
    if isinstance(value, dict):
        for key, part in value.items():
            flat(part, f'{name}/{key}', folder, found)
    elif isinstance(value, (list, tuple)):
        for index, part in enumerate(value):
            flat(part, f'{name}/{index}', folder, found)
    elif hasattr(value, 'data') and isinstance(value.data, tuple):  # a HistoryBuffer
        found[name] = [array.tolist() for array in value.data]
    elif isinstance(value, torch.Tensor):
        array = value.detach().contiguous().flatten().view(torch.uint8).numpy()
        found[name] = (str(value.dtype), tuple(value.shape), array.tobytes())
    elif isinstance(value, (np.ndarray, np.generic)):
        found[name] = (str(value.dtype), value.tobytes())
    else:
        found[name] = repr(value).replace(str(folder), '')


def left(folder):
    """What a training has left, by name."""
    found = {}
    for path in sorted((folder / 'work').rglob('*')):
        name = str(path.relative_to(folder / 'work'))
        if 'previous_' in name:
            continue  # what a training killed before its first checkpoint had left, put aside
        if path.suffix == '.pth':
            flat(torch.load(path), name, folder, found)
        elif path.suffix == '.partial' or path.name == 'last_checkpoint':
            found[name] = path.read_text(errors='replace').replace(str(folder), '')
        elif path.name == 'epochs.jsonl':
            records = {}
            for line in path.read_text().splitlines():
                record = json.loads(line)
                records[record['epoch'], record.get('stopped', False)] = record
            flat(records, name, folder, found)
    return found


def differing(found, expected):
    names = [name for name in expected if found.get(name) != expected[name]]
    return names + [name for name in found if name not in expected]


def trial(training, whole, rng, kills):
    """Kill a training some times, let it end, and compare."""
    moments, resume = [], []
    while len(moments) < kills:
        if rng.random() < 0.5:
            moment = rng.randrange(whole['changes'])
            training.start(*resume, kill_at=moment)
            codes = training.end()
            text = f'in front of change {moment} of a file'
        else:
            moment = round(rng.uniform(0, whole['seconds']), 3)
            training.start(*resume)
            codes = training.end(moment)
            text = f'after {moment} s'
            if codes is None:
                training.kill(rng.choice(training.processes))
                codes = training.end()
        resume = ['--resume']
        if -signal.SIGKILL in codes:
            moments.append(text)
        elif any(codes):
            return moments, [f'it ended with {codes}: {last_lines(training.folder)}']
        elif moments:
            break  # It has ended before the moment: what follows would be a resumed ended run.
    training.start('--resume')
    codes = training.end()
    if any(codes):
        return moments, [f'it ended with {codes}: {last_lines(training.folder)}']
    return moments, differing(left(training.folder), whole['left'])


def last_lines(folder):
    return (folder / 'output.txt').read_text(errors='replace')[-400:]


def unbroken(folder, configs, ranks):
    training = Training(folder, configs, ranks)
    started = time.monotonic()
    training.start()
    codes = training.end()
    seconds = time.monotonic() - started
    if any(codes):
        raise SystemExit(f'error: {folder} ended with {codes}: {last_lines(folder)}')
    return dict(seconds=seconds, changes=training.changes.value, left=left(folder))


def series(folder, names, kills, seed, tell):
    """Go round the variants until so many kills are done."""
    # What each training would import, and a config in yapf's layout with each checkpoint, take
    # longer than the training itself.
    mmpretrain.utils.register_all_modules()
    mmrazor.utils.register_all_modules(init_default_scope=False)
    mmengine.config.config.FormatCode = lambda text, **_: (text, False)
    gc.freeze()
    torch.manual_seed(5)
    for name in names:
        (folder / name).mkdir()
        torch.save(MODELS.build(network(8)).state_dict(), folder / name / 'teacher.pth')
    whole = {name: unbroken(folder / name / 'whole', *VARIANTS[name]()) for name in names}
    trials = []
    while (done := sum(len(t['moments']) for t in trials)) < kills:
        number = len(trials)
        name = names[number % len(names)]
        rng = random.Random(f'{seed} {number}')
        training = Training(folder / name / str(number), *VARIANTS[name]())
        wanted = min(kills - done, rng.choice((1, 1, 2, 3)))
        try:
            moments, names_of = trial(training, whole[name], rng, wanted)
        finally:
            training.kill()
        trials.append(dict(variant=name, number=number, moments=moments, differing=names_of))
        tell(trials[-1])
        if not moments and number > 2 * kills + len(names):
            raise SystemExit('error: trainings end before they are killed')
    return trials


def counts(trials):
    """How many kills there were, and how many were survived."""
    good = [t for t in trials if not t['differing']]
    return [sum(len(t['moments']) for t in some) for some in (trials, good)]


def table(names, trials):
    lines = [('variant', 'trainings', 'kills', 'survived', 'differs')]
    for name in [*names, 'all']:
        of_it = [t for t in trials if name in (t['variant'], 'all')]
        bad = [t['differing'][0][:60].replace('\n', ' ') for t in of_it if t['differing']]
        lines.append((name, len(of_it), *counts(of_it), '; '.join(dict.fromkeys(bad))))
    return markdown_table(lines, aligned=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--kills', type=int, default=100, help='how many (default: 100)')
    parser.add_argument('--seed', type=int, default=0, help='of the moments (default: 0)')
    parser.add_argument('--variants', nargs='+', choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument('--out', type=Path, help='JSON file of all trials')
    parser.add_argument('--keep', type=Path, help='new folder that keeps what trainings leave')
    args = parser.parse_args()
    torch.set_num_threads(1)

    trials = []

    def tell(found):
        print(json.dumps(found)[:300], flush=True)
        trials.append(found)
        if args.out:
            result = dict(zip(('seed', 'kills', 'survived'), (args.seed, *counts(trials))))
            args.out.write_text(json.dumps(dict(result, trials=trials), indent=1) + '\n')

    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep.resolve() if args.keep else Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        series(folder, args.variants, args.kills, args.seed, tell)
    print(table(args.variants, trials))
    # Also a training that has ended with an error before its kill.
    raise SystemExit(any(t['differing'] for t in trials))


if __name__ == '__main__':
    main()
