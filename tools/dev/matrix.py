"""Install and run the package beside many releases of Python, torch and OpenMMLab; keep a table.

A cell of the matrix is an environment of its own. In it: the package is installed from a wheel as a
user would, imported, trains LAKD on a few digits, is killed and resumed, tests, and exports. What
comes out is written to docs/compatibility_matrix.json after each cell, from which the docs take
their table; a cell that is there is not run again without --again.

    python tools/dev/matrix.py --python 3.12 3.13 --torch 2.11.0 --checks doctor train pytest
"""

import argparse
import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / 'docs' / 'compatibility_matrix.json'
PYTHONS = ('3.10', '3.11', '3.12', '3.13')
TORCHES = ('2.6.0', '2.8.0', '2.11.0', '2.15.0')
STACKS = {
    'classic': ['mmcv-lite==2.1.0'],
    'onedl': ['onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain'],
}
# OneDL's packages hold the modules of these under other names, so that these must stay away.
REPLACED = {'classic': (), 'onedl': ('mmengine', 'mmpretrain')}
SHOWN = ('torch', 'torchvision', 'numpy', 'opencv-python', 'scikit-learn', 'setuptools')
TEACHER = """
_base_ = 'lakd_mm::teachers/resnet32_digits.py'
model = dict(backbone=dict(depth=14))
train_dataloader = dict(batch_size=16, dataset=dict(indices=64))
train_cfg = dict(max_epochs=1)
"""
LAKD = """
_base_ = 'lakd_mm::lakd/lakd_r32_r14_digits.py'
model = dict(
    architecture=dict(backbone=dict(depth=8)),
    teacher=dict(backbone=dict(depth=14)),
    teacher_ckpt='teacher/epoch_1.pth',
    taps=[1, 2, 3],
    teacher_taps=[2, 4, 6],
)
train_dataloader = dict(batch_size=16, dataset=dict(indices=64))
train_cfg = dict(max_epochs=3)
"""
SAME = """
import sys, torch
one, other = (torch.load(path, weights_only=False)['state_dict'] for path in sys.argv[1:])
sys.exit(not all(torch.equal(one[name], other[name]) for name in one | other))
"""
RELEASES = """
import json
from importlib import metadata
print(json.dumps({d.metadata['Name'].lower(): d.version for d in metadata.distributions()}))
"""


class Failed(Exception):
    """A step of a cell that failed; the message is its reason in one line."""


def reason_of(output: str) -> str:
    """Return the line of a command's output that says why it failed."""
    plain = re.sub(r'\x1b\[[\d;]*m', '', output)
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    telling = re.compile(r'^(\w+\.)*\w*(Error|Exception|error|Interrupt)\b|^\d+ failed|×|╰')
    found = [line for line in lines if telling.search(line)] or lines or ['no output']
    return found[-1][:300]


class Cell:
    """An environment, and the commands that are run in it."""

    def __init__(self, args: argparse.Namespace, python: str, torch: str, stack: str):
        self.args, self.python, self.torch, self.stack = args, python, torch, stack
        self.folder = args.folder / f'{stack}-{python}-{torch}'
        self.bin, self.work = self.folder / 'bin', self.folder / 'work'
        self.log = args.folder / f'{self.folder.name}.log'

    def start(self, *command: object, cwd: Path, **variables: str) -> subprocess.Popen:
        """Start a command, in the middle of whose log it writes."""
        with self.log.open('a') as log:
            line = ' '.join(str(part) for part in command).replace('\n', '; ')
            print(f'$ {line}', file=log, flush=True)
            path = f'{self.bin}:{os.environ["PATH"]}'
            return subprocess.Popen(
                [str(part) for part in command],
                cwd=cwd,
                # Without bytecode, which a shell may forbid, each import takes a minute.
                env={
                    **{**os.environ, 'OMP_NUM_THREADS': '1', 'PYTHONDONTWRITEBYTECODE': ''},
                    **{'PATH': path, **variables},
                },
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def run(self, *command: object, cwd: Path = None, limit: int = 0, **variables: str) -> str:
        """Run a command to its end and return what it printed, or raise Failed."""
        before, cwd = self.log.stat().st_size if self.log.exists() else 0, cwd or self.work
        process, limit = self.start(*command, cwd=cwd, **variables), limit or self.args.limit
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise Failed(f'not done after {limit} s') from None
        output = self.log.read_bytes()[before:].decode(errors='replace').partition('\n')[2]
        if code:
            raise Failed(reason_of(output))
        return output

    def install(self) -> None:
        """Make the environment."""
        base = self.args.folder
        self.run(self.args.uv, 'venv', '-q', '--python', self.python, self.folder, cwd=base)
        self.work.mkdir()
        left_out = self.work / 'left_out.txt'
        left_out.write_text(
            ''.join(f"{name}; python_version < '3'\n" for name in REPLACED[self.stack])
        )
        names = [f'torch=={self.torch}', f'{self.args.wheel}[export]', *STACKS[self.stack]]
        # mmcv's operators take hours to compile, and nothing here uses them.
        self.add('--override', left_out, *names, MMCV_WITH_OPS='0')

    def add(self, *names: object, **variables: str) -> None:
        """Install packages."""
        install = (self.args.uv, 'pip', 'install', '-q', '--python', self.bin / 'python')
        self.run(*install, *names, limit=1800, **variables)

    def doctor(self) -> None:
        """Import it, and ask it what is wrong here."""
        self.run('lakd-mm', 'doctor')

    def train(self) -> None:
        """Train a teacher, and LAKD, on digits."""
        (self.work / 'teacher.py').write_text(TEACHER)
        (self.work / 'lakd.py').write_text(LAKD)
        self.run('lakd-mm', 'train', 'teacher.py', '--work-dir', 'teacher')
        self.run('lakd-mm', 'train', 'lakd.py', '--work-dir', 'whole')

    def resume(self) -> None:
        """Kill a training after an epoch, and resume it: the weights are those of the unbroken."""
        command = ('lakd-mm', 'train', 'lakd.py', '--work-dir', 'killed')
        process, end = self.start(*command, cwd=self.work), time.monotonic() + self.args.limit
        while process.poll() is None and time.monotonic() < end:
            if (self.work / 'killed' / 'epoch_1.pth').exists():
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.01)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        if process.wait() != -signal.SIGKILL:
            raise Failed('the training ended before it could be killed')
        self.run(*command, '--resume')
        last = [f'{folder}/epoch_3.pth' for folder in ('whole', 'killed')]
        try:
            self.run('python', '-W', 'ignore', '-c', SAME, *last)
        except Failed as error:
            raise Failed('the resumed weights are not those of the unbroken training') from error

    def test(self) -> None:
        """Test what was trained."""
        if 'accuracy/top1' not in self.run('lakd-mm', 'test', 'lakd.py', 'whole/epoch_3.pth'):
            raise Failed('no accuracy was printed')

    def export(self) -> None:
        """Export the student."""
        self.run('lakd-mm', 'export', 'whole', 'plain.pth', '--exported', 'plain.pt2', '--force')

    def onnx(self) -> None:
        """Export it as ONNX."""
        self.run('lakd-mm', 'export', 'whole', 'onnx.pth', '--onnx', 'student.onnx', '--force')

    def pytest(self) -> str:
        """Run the quick tests of the checkout."""
        lines = (ROOT / 'requirements' / 'tests.txt').read_text().splitlines()
        names = [re.split('=', line)[0] for line in lines if re.match('[a-z]', line)]
        self.add(*names, 'pip', 'wheel', f'torch=={self.torch}')
        marks, workers = 'not slow and not dense and not gpu', self.args.workers
        options = ('-m', marks, '-n', workers, '--dist', 'worksteal', '-p', 'no:cacheprovider')
        variables = dict(PYTHONDONTWRITEBYTECODE='1')
        output = self.run(*('python', '-m', 'pytest', *options), cwd=ROOT, limit=3600, **variables)
        return re.findall(r'\d+ passed', output)[-1]


CHECKS = ('doctor', 'train', 'resume', 'test', 'export', 'onnx')
# What cannot be run after it failed.
NEEDED = ('install', 'doctor', 'train')


def run_cell(cell: Cell, found: dict) -> dict:
    """Run checks of a cell, and return what came out: yes, a number, or the reason.

    Args:
        cell (Cell): The cell.
        found (dict): What came out of checks that were run before.
    """
    checks, releases = dict(found.get('checks', {})), found.get('releases', {})
    for name in ('install', *cell.args.checks):
        if name == 'install' and cell.work.exists():
            continue
        try:
            checks[name] = getattr(cell, name)() or 'yes'
        except Failed as error:
            reason = str(error).replace(str(cell.folder), '…').replace(str(ROOT), '…')
            checks[name] = f'no: {reason}'
        print(f'{cell.folder.name}: {name}: {checks[name]}', flush=True)
        if name in NEEDED and checks[name] != 'yes':
            break
    else:
        every = json.loads(cell.run('python', '-c', RELEASES))
        shown = {*SHOWN, *(name for name in every if re.match('(onedl-)?mm', name))}
        releases = {name: every[name] for name in sorted(shown & {*every})}
    if not cell.args.keep:
        shutil.rmtree(cell.folder, ignore_errors=True)
    where = dict(python=cell.python, torch=cell.torch, stack=cell.stack)
    return dict(**where, checks=checks, releases=releases)


def read_table() -> dict:
    """Return the cells that have been run."""
    return json.loads(TABLE.read_text()) if TABLE.exists() else {}


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--python', nargs='+', default=PYTHONS, help='releases, or paths')
    parser.add_argument('--torch', nargs='+', default=TORCHES)
    parser.add_argument('--stack', nargs='+', default=['classic'], choices=STACKS)
    checks = (*CHECKS, 'pytest')
    parser.add_argument(
        '--checks', nargs='+', choices=checks, default=CHECKS, help=', '.join(checks)
    )
    parser.add_argument('--again', action='store_true', help='run checks in the table again')
    parser.add_argument('--keep', action='store_true', help='keep environments (5 GB each)')
    parser.add_argument('--folder', type=Path, help='of environments and logs (default: temporary)')
    parser.add_argument('--limit', type=int, default=300, help='seconds of a check, default 300')
    parser.add_argument('--workers', default='2', help='processes of the tests, default 2')
    parser.add_argument('--uv', default=shutil.which('uv'), help='default: the one on the path')
    args = parser.parse_args()
    if not args.uv:
        parser.error('uv is not on the path: pip install uv, or name it by --uv')
    args.folder = (args.folder or Path(tempfile.mkdtemp(prefix='matrix-'))).resolve()
    return args


def main() -> None:
    """Run the cells that are asked for."""
    args = parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    built = args.folder / f'wheel-{os.getpid()}'
    # From a clone, as a build leaves folders behind: what is committed is what is run.
    source = args.folder / f'source-{os.getpid()}'
    subprocess.run(['git', 'clone', '-q', '--depth', '1', f'file://{ROOT}', source], check=True)
    subprocess.run([args.uv, 'build', '-q', '--wheel', '--out-dir', built, source], check=True)
    shutil.rmtree(source)
    (args.wheel,) = built.glob('*.whl')
    for stack, torch, python in itertools.product(args.stack, args.torch, args.python):
        name = f'{stack} {python} {torch}'
        known = read_table().get(name, {})
        if {*args.checks} <= {*known.get('checks', {})} and not args.again:
            print(f'{name}: known; --again runs it again')
            continue
        found = run_cell(Cell(args, python, torch, stack), known)
        # Read again: another process may have added cells.
        cells = sorted({**read_table(), name: found}.items())
        TABLE.write_text(json.dumps(dict(cells), indent=1) + '\n')


if __name__ == '__main__':
    main()
