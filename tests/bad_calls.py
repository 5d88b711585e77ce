"""Wrong calls of the tools, each with what its one line of error has to say.

``weights.pth`` are those of ``tiny.py``, ``nan.pth`` too but for one, ``other.pth`` those of a
deeper network, ``distilled.pth`` those of a student and a teacher; ``half.pth`` is truncated,
``text.pth`` a text, ``list.pth`` a list; ``file`` is a file, ``folder`` an empty folder.
"""

STUDENT = ['--student', 's', 'tiny.py', 'weights.pth']
SPACE = ['--space', 'optim_wrapper.optimizer.lr=log:0.01:0.1', '--trials', '1']
MODEL = ['--model', 'm', 'tiny.py', 'weights.pth']
NETWORKS = ['--teacher', 'tiny.py', '--student', 'tiny.py', '--out', 'a.py']
LR = 'optim_wrapper.optimizer.lr'

# By tool: arguments, message; exit status 1.
REFUSED = {
    'train.py': [
        (['absent.py'], 'config absent.py.*absent.py'),
        (['folder'], 'config folder'),
        (['weights.pth'], 'config weights.pth.*py'),
        (['lakd_mm::absent.py'], 'no such config'),
        (['tiny.py', '--resume', 'absent.pth'], "checkpoint 'absent.pth' does not exist"),
        (['tiny.py', '--resume', 'half.pth'], "'half.pth' cannot be read: the file is truncated"),
        (['tiny.py', '--work-dir', 'file'], 'folder file is a file.*--work-dir'),
        (
            ['tiny.py', '--work-dir', 'file/inside'],
            'file/inside is below file, a file',
        ),
        (['tiny.py', '--work-dir', '/proc/w'], '/proc/w'),
        (['tiny.py', '--seed', '-1'], 'randomness.seed=-1: give a whole number of at least 0'),
        (['tiny.py', '--launcher', 'pytorch'], '--launcher pytorch: .*RANK.*torchrun'),
        (['tiny.py', '--launcher', 'slurm'], '--launcher slurm: .*SLURM_PROCID.*srun'),
        (['tiny.py', '--launcher', 'mpi'], '--launcher mpi: .*OMPI_COMM_WORLD_RANK.*mpirun'),
        (['tiny.py', '--cfg-options', 'load_from=nan.pth'], 'nan.pth.*not a number.*conv1.weight'),
        (['tiny.py', '--cfg-options', 'load_from=other.pth'], 'other.pth.*keys .* fit'),
        (['tiny.py', '--cfg-options', 'load_from=text.pth'], "'text.pth' cannot be read"),
        (['tiny.py', '--cfg-options', 'model={a:1}'], 'the config has a dict. Set one of its keys'),
        (
            ['tiny.py', '--auto-scale-lr', '--cfg-options', 'auto_scale_lr.base_batch_size=-1'],
            'auto_scale_lr.base_batch_size=-1',
        ),
    ],
    'train_cohort.py': [
        (['tiny.py', 'tiny.py', '--work-dir', 'w'], 'tiny: two members have this name'),
        (['absent.py', '--work-dir', 'w'], 'config absent.py'),
        (['tiny.py', '--work-dir', 'file', '--seeds', '0', '1'], 'folder file is a file'),
        (['tiny.py', '--work-dir', 'w', '--seeds', '-1'], 'randomness.seed=-1'),
        (['a/b=tiny.py', '--work-dir', 'w'], "'a/b' is no name"),
        (['=tiny.py', '--work-dir', 'w'], 'member =tiny.py: write NAME=CONFIG'),
        (['tiny.py', '--work-dir', 'w', '--resume', 'weights.pth'], 'weights.pth.*0 of .* fit'),
        (['tiny.py', '--work-dir', 'w', '--cfg-options', f'{LR}=nan'], f'{LR}=nan'),
    ],
    'test.py': [
        (['tiny.py', 'absent.pth'], "checkpoint 'absent.pth' does not exist"),
        (['tiny.py', 'half.pth'], "'half.pth' cannot be read"),
        (['tiny.py', 'text.pth'], "'text.pth' cannot be read"),
        (['tiny.py', 'nan.pth'], 'nan.pth.*not a number'),
        (['tiny.py', 'other.pth'], 'checkpoint other.pth is not one of this config'),
        (['tiny.py', 'folder'], 'folder'),
        (['absent.py', 'weights.pth'], 'config absent.py'),
        (['tiny.py', 'weights.pth', '--out', 'a.txt'], '--out a.txt: .*pkl.*json'),
        (['tiny.py', 'weights.pth', '--out', 'file/a.pkl'], '--out file/a.pkl'),
        (
            ['tiny.py', 'weights.pth', '--cfg-options', 'test_dataloader.batch_size=0'],
            'test_dataloader.batch_size=0',
        ),
        (['tiny.py', 'weights.pth', '--cfg-options', 'test_dataloader=None'], 'test_dataloader is'),
        (['tiny.py', 'weights.pth', '--cfg-options', 'test_evaluator.type=A'], "no 'A' among"),
    ],
    'tune.py': [
        (['tiny.py', '--space', 'lr', '--trials', '1'], '--space.*lr'),
        (['tiny.py', '--space', f'{LR}=log:1', '--trials', '1'], f'{LR}'),
        (['tiny.py', '--space', f'{LR}=log:0:1', '--trials', '1'], f'{LR}'),
        (['tiny.py', '--space', f'{LR}=log:2:1', '--trials', '1'], f'{LR}'),
        (['tiny.py', '--space', f'{LR}=log:a:b', '--trials', '1'], f'{LR}'),
        (['tiny.py', '--space', f'{LR}=float:-1:1', '--trials', '1'], f'{LR}=-1'),
        (['tiny.py', '--space', 'absent.yml', '--trials', '1'], 'absent.yml'),
        (['tiny.py', '--space', 'optim_wrapper.optimizer.lrr=log:1:2', '--trials', '1'], "'lrr'"),
        (['absent.py', *SPACE], 'config absent.py'),
        (['tiny.py', *SPACE, '--held-out', '0'], '--held-out 0'),
        (['tiny.py', *SPACE, '--held-out', '1'], '--held-out 1'),
        (['tiny.py', *SPACE, '--metric', 'accuracy/top7'], '--metric accuracy/top7.*accuracy/top1'),
        (
            ['tiny.py', *SPACE, '--held-out', '0.5', '--warmup', '9'],
            '--warmup 9: trials of 1 epochs',
        ),
        (['tiny.py', *SPACE, '--held-out', '0.5', '--storage', 'nothing'], '--storage nothing'),
        (['tiny.py', *SPACE, '--work-dir', 'file'], 'file'),
    ],
    'reproduce.py': [
        (['table9'], "target 'table9'.*table1"),
        (['table1', '--methods', 'ladk'], '--methods ladk.*lakd'),
        (['table1', '--pairs', 'r9_r8'], '--pairs r9_r8'),
        (['table1', '--teacher-ckpt', 'absent.pth'], '--teacher-ckpt absent.pth: there is no such'),
        (['table1', '--teacher-ckpt', 'text.pth'], '--teacher-ckpt text.pth: it is no checkpoint'),
        (['table1', '--teacher-ckpt', 'r9=weights.pth'], 'no run has a teacher of that name'),
        (
            ['table1', '--methods', 'kd', '--cfg-options', 'train_cfg.max_epochs=2'],
            'set this, with --epochs',
        ),
        (['table1', '--work-dir', 'file', '--report-only'], 'file'),
        (['table1', '--report-only', '--out', 'file'], 'file'),
    ],
    'model_converters/export_student.py': [
        (['absent.pth', 'a.pth'], "checkpoint 'absent.pth' does not exist"),
        (['folder', 'a.pth'], 'folder holds no checkpoint'),
        (['weights.pth', 'folder'], 'folder is a folder; name a file'),
        (['weights.pth', 'weights.pth'], 'weights.pth is the checkpoint to read'),
        (['weights.pth', 'nan.pth'], 'nan.pth exists; name another file'),
        (['weights.pth', 'a.pth'], 'weights.pth holds no student.*plain classifier already'),
        (['distilled.pth', 'a.pth'], 'the config of its training is not in it.*--config'),
        (['distilled.pth', 'a.pth', '--config', 'absent.py'], 'config absent.py'),
        (['distilled.pth', 'a.pth', '--config', 'tiny.py', '--ema'], 'distilled.pth.*averages'),
        (['weights.pth', 'a.py', '--config', 'tiny.py'], 'name a .pth'),
    ],
    'new_config.py': [
        (['--data', 'absent', *NETWORKS], '--data absent: .*absent does not exist; name a folder'),
        (['--data', 'file', *NETWORKS], '--data file: .*file is a file; name a folder'),
        (['--data', 'folder', *NETWORKS], 'at least 2 classes, and has none'),
        (['--data', 'folder', *NETWORKS[:-1], 'file/a.py'], '--out: there is no folder file'),
        (['--data', 'folder', *NETWORKS[:-1], 'tiny.py'], '--out: tiny.py exists; .*--force'),
    ],
    'model_converters/literature_to_mmpretrain.py': [
        (['absent.pth', 'a.pth'], "checkpoint 'absent.pth' does not exist"),
        (['text.pth', 'a.pth'], "'text.pth' cannot be read"),
        (['weights.pth', 'nan.pth'], 'nan.pth exists'),
        (['weights.pth', 'a.pth'], 'no parameters named'),
        (['literature.pth', 'file/a.pth'], 'file'),
        (['list.pth', 'a.pth'], 'list.pth holds a list where weights should be'),
    ],
    'dataset_converters/shapes.py': [
        (['coco', 'file'], 'file'),
    ],
    'analysis_tools/attention_maps.py': [
        (['tiny.py', 'absent.pth'], "checkpoint 'absent.pth' does not exist"),
        (['tiny.py', 'other.pth'], 'other.pth does not fit'),
        (['tiny.py', 'nan.pth'], 'nan.pth.*not a number'),
        (
            ['tiny.py', 'weights.pth', '--images', '0'],
            '--images 0: a picture has room for 1 to',
        ),
        (
            ['tiny.py', 'weights.pth', '--kind', 'ndam', '--avg-weight', 'nan'],
            '--avg-weight nan: give a finite number',
        ),
        (['tiny.py', 'weights.pth', '--out', '/proc/a.png'], '/proc/a.png: the picture cannot be'),
        (['tiny.py', 'weights.pth', '--vis-backends', 'X'], 'X is not in the .* registry'),
        (
            ['tiny.py', 'weights.pth', '--out', 'a.xyz'],
            'a.xyz: the name of the picture must end in .png',
        ),
        (['tiny.py', 'weights.pth', '--out', 'file/a.png'], 'file'),
        (['tiny.py', 'weights.pth', *STUDENT, '--taps', '9', '--teacher-taps', '1'], 'no.*block 9'),
    ],
    'analysis_tools/cka.py': [
        (
            ['tiny.py', 'weights.pth', *STUDENT, '--images', '0'],
            '0 images in batches of 250: both must be positive',
        ),
        (['tiny.py', 'weights.pth', *STUDENT, '--batch-size', '0'], 'batches of 0.*positive'),
        (['tiny.py', 'weights.pth', *STUDENT, '--batch-size', '3'], '4'),
        (['tiny.py', 'weights.pth', *STUDENT, '--student-layers', 'x'], "--student-layers.*'?x"),
        (['tiny.py', 'weights.pth', *STUDENT, *STUDENT], '--student: the names s, s must differ'),
    ],
    'analysis_tools/robustness.py': [
        ([*MODEL, '--samples', '0'], '0 images.*positive'),
        ([*MODEL, '--severities', '6'], '6'),
        ([*MODEL, '--corruptions', 'fogg'], "no corruption 'fogg'; there are"),
        ([*MODEL, '--cifar-c', 'absent'], 'absent'),
        ([*MODEL, '--cifar-c', 'folder'], 'folder.*labels.npy'),
        (['--model', 'm', 'absent.py', 'weights.pth'], 'config absent.py'),
    ],
    'analysis_tools/run_report.py': [
        (['--run', 'a', 'absent'], '--run: absent is not a folder'),
        (['--run', 'a', 'folder'], 'folder: it holds 0 configs'),
        (['--run', 'a', 'folder', '--run', 'a', 'folder'], '--run: the names a, a must differ'),
    ],
    'analysis_tools/tap_distances.py': [
        (['--run', 'a', 'absent'], '--run: absent is not a folder'),
        (['--run', 'a', 'folder'], 'folder: neither distances in its log nor any'),
        (['--run', 'a', 'folder', '--run', 'a', 'folder'], '--run: the names a, a must differ'),
    ],
    'benchmarks/dense_steps.py': [
        (['absent.py', '--data', 'folder', '--out', 'a.json'], 'absent.py')
    ],
}

# Usage: exit status 2.
USAGE = {
    'train.py': [
        ([], 'config'),
        (['tiny.py', '--seed', 'x'], '--seed'),
        (['tiny.py', '--amp', 'fp8'], '--amp'),
        (['tiny.py', '--launcher', 'ssh'], '--launcher'),
        (['tiny.py', '--cfg-options', 'lr'], 'lr: write KEY=VALUE'),
        (['tiny.py', '--cfg-options', '=5'], '=5: write KEY=VALUE'),
        (['tiny.py', '--cfg-options', 'a.b = 5'], 'write KEY=VALUE'),
    ],
    'train_cohort.py': [(['tiny.py', '--work-dir', 'w', '--seeds', 'x'], '--seeds')],
    'test.py': [(['tiny.py'], 'checkpoint')],
    'tune.py': [
        (['tiny.py', *SPACE, '--study', ''], '--study: the name is empty'),
        (['tiny.py', *SPACE, '--together', '0'], '--together: 0: give a whole number'),
        (['tiny.py', '--space', 'a=int:1:2', '--trials', 'x'], '--trials'),
    ],
    'reproduce.py': [
        (['table1', '--epochs', '0'], '--epochs: 0: give a whole number'),
        (['table1', '--fraction', '2'], '--fraction 2'),
        (['table1', '--jobs', '0'], '--jobs: 0: give a whole number'),
        (['table1', '--val-interval', '0'], '--val-interval: 0: give a whole number'),
        (['table1', '--deadline', '-1'], '--deadline -1'),
        (['table1', '--deadline', 'nan'], '--deadline nan'),
        (['table1', '--seeds', '-1'], '-1: give a whole number'),
        (['table1', '--data', 'x'], '--data'),
    ],
    'model_converters/export_student.py': [
        (
            ['weights.pth', 'a.pth', '--onnx', 'a.onnx', '--shape', '0'],
            '0: give a whole number',
        ),
        (['weights.pth', 'a.pth', '--onnx', 'a.onnx', '--shape', '1', '2', '3'], '--shape'),
    ],
    'dataset_converters/shapes.py': [
        (['coco', 'a', '--images', '0'], '0: give a whole number'),
        (['coco', 'a', '--size', '4'], '4: give a whole number'),
        (['coco', 'a', '--seed', '-1'], '-1: give a whole number'),
        (['voc', 'a'], "'voc'"),
    ],
    'analysis_tools/cka.py': [(['tiny.py', 'weights.pth'], '--student')],
    'analysis_tools/run_report.py': [
        ([], '--run'),
        (['--run', 'a', 'folder', '--images', '-1'], '-1: give a whole number of at least 0'),
        (['--run', 'a', 'folder', '--out', 'a.png'], '--out a.png: its name must end in .html'),
    ],
    'benchmarks/step_time.py': [
        (['--rows', 'x'], "no rows .'x'.; there are"),
        (['--batch-size', '0'], '0: give a whole number'),
        (['--rounds', '0'], '0: give a whole number'),
    ],
    'benchmarks/memory.py': [(['--batch-size', '0'], '0: give a whole number')],
    'benchmarks/input_speed.py': [
        (['--batch-size', '0'], '0: give a whole number'),
        (['--rounds', '0'], '0: give a whole number'),
    ],
    'benchmarks/history_cost.py': [(['--iterations', '0'], '0: give a whole number')],
    'benchmarks/cohort_time.py': [
        (['--batch-size', '0'], '0: give a whole number'),
        (['--rounds', '-1'], '-1: give a whole number'),
    ],
    'benchmarks/dense_steps.py': [
        (
            ['a.py', '--data', 'b', '--out', 'c', '--steps', '0'],
            '0: give a whole number',
        )
    ],
    'demo.py': [(['--epochs', '0'], '--epochs: 0: give a whole number')],
    'new_config.py': [
        (NETWORKS, '--data'),
        (['--data', 'folder', *NETWORKS, '--size', '7'], '7: give a whole number of at least 8'),
        (['--data', 'folder', *NETWORKS[:-1], 'a.txt'], '--out a.txt: the name of a config ends'),
    ],
}

# Shell scripts: exit status 2.
SCRIPTS = [
    (['dist_train.sh'], 'Usage: bash tools/dist_train.sh CONFIG GPUS'),
    (['dist_train.sh', 'tiny.py', 'two'], "error: GPUS is 'two'"),
    (['dist_train.sh', 'tiny.py', '0'], "error: GPUS is '0'"),
    (['dist_train.sh', 'tiny.py', '9' * 20], f"error: GPUS is '{'9' * 20}'"),
    (['dist_train.sh', 'absent.py', '2'], 'error: config absent.py does not exist'),
    (['dist_test.sh', 'tiny.py', 'weights.pth'], 'Usage: bash tools/dist_test.sh CONFIG'),
    (['dist_test.sh', 'tiny.py', 'weights.pth', '-1'], "error: GPUS is '-1'"),
    (['dist_test.sh', 'tiny.py', 'absent.pth', '2'], 'error: checkpoint absent.pth does not exist'),
    (['slurm_train.sh', 'partition', 'job', 'tiny.py'], 'Usage: GPUS=8 bash tools/slurm_train.sh'),
    (['slurm_train.sh', 'partition', 'job', 'absent.py', 'w'], 'error: config absent.py does not'),
]
