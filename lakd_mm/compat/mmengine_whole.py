"""Repairs of MMEngine's checkpoints on disk: each is whole or absent, and the newest is found.

A checkpoint carries its SHA-256 as the comment of its zip archive, so that the digest goes wherever
the file goes.
"""

import contextlib
import functools
import hashlib
import os
import os.path as osp
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Optional, Union

import mmengine.runner._flexible_runner
import mmengine.runner.checkpoint
import mmengine.runner.runner
from mmengine.dist import is_main_process
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook

from ..errors import DamagedCheckpointError

# Modules that hold `find_latest_checkpoint`; three of them import it by name.
HOLDERS = (
    mmengine.runner.checkpoint,
    mmengine.runner,
    mmengine.runner.runner,
    mmengine.runner._flexible_runner,
)
# The checkpoint of a run that was asked to stop: newer than any other while it exists.
INTERRUPTED = 'interrupted.pth'
NAME = b'sha256:'
LENGTH = len(NAME) + 64
# An archive ends with the length of its comment, and the comment.
EMPTY_END, SEALED_END = (n.to_bytes(2, 'little') for n in (0, LENGTH))
_told: set[str] = set()


def seal(content: bytes) -> bytes:
    """Return the bytes of a zip archive with their SHA-256 as its comment; others unchanged."""
    end = content[-zipfile.sizeEndCentDir :]
    if not (content[:2] == b'PK' and end[:4] == b'PK\5\6' and end[-2:] == EMPTY_END):
        return content
    body = memoryview(content)[:-2]
    return b''.join((body, SEALED_END, NAME, hashlib.sha256(body).hexdigest().encode()))


def changed(path: str) -> Optional[str]:
    """Return why a file is not what was saved, or None; also for one without a digest."""
    if not osp.isfile(path):
        return None
    with open(path, 'rb') as file:
        left = file.seek(0, os.SEEK_END) - LENGTH - len(SEALED_END)
        file.seek(max(0, left))
        end = file.read()
        if not end.startswith(SEALED_END + NAME):
            return None
        file.seek(0)
        digest = hashlib.sha256()
        while left:
            part = file.read(min(left, 1 << 20))
            digest.update(part)
            left -= len(part)
    same = digest.hexdigest().encode() == end[-64:]
    return None if same else 'its bytes are not those that were written (SHA-256)'


def oversized(path: str) -> Optional[str]:
    """Return why a local archive would take more memory than it has bytes, or None."""
    try:
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError):
        return None
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        return 'its parts are compressed, which those of torch.save are not'
    total = sum(part.file_size for part in parts)
    size = osp.getsize(path)
    return f'it claims to hold {total:,} bytes, and has {size:,}' if total > size else None


def fault(path: str) -> Optional[str]:
    """Return why a local checkpoint is not whole, or None.

    One with a digest is compared with it; an older archive with the checksums of its parts. What is
    no file, such as a folder of another framework, is not judged.
    """
    if not osp.isfile(path):
        return None
    with open(path, 'rb') as file:
        start = file.read(2)
    if not start:
        return 'it is empty'
    if start != b'PK':
        # What torch.save wrote before 1.6, a pickle, has no mark of its end.
        return None if start[:1] == b'\x80' else 'it is no checkpoint'
    try:
        with zipfile.ZipFile(path) as archive:
            sealed = archive.comment.startswith(NAME)
            if damage := oversized(path):
                return damage
            damage = changed(path) if sealed else archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, RuntimeError):
        return f'it is cut short at {osp.getsize(path)} bytes'
    return damage if sealed or not damage else f'its part {damage} does not match its checksum'


def write_whole_files():
    """Write each file under another name and then rename it, so that it is whole or absent.

    All releases write in place: a kill while a checkpoint is saved leaves half a checkpoint under
    the name that a resumed run looks for, or spoils an existing one.
    """
    put = LocalBackend.put

    @functools.wraps(put)
    def put_whole(self: LocalBackend, obj: bytes, filepath: Union[str, Path]) -> None:
        partial = f'{filepath}.partial'
        try:
            put(self, seal(obj) if osp.splitext(filepath)[1] == '.pth' else obj, partial)
            os.replace(partial, filepath)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.remove(partial)
            # An error of a full disk does not name the file by itself.
            error.filename = str(filepath)
            raise

    LocalBackend.put = put_whole


def newest_first(folder: str) -> list[str]:
    """List the checkpoints of a training in ``folder``, the one with the most steps first."""
    steps = {}
    for file in Path(folder).glob('*.pth'):
        if match := re.fullmatch(r'(?:epoch|iter)_(\d+)', file.stem):
            steps[int(match[1])] = str(file)
        elif file.name == INTERRUPTED:
            steps[float('inf')] = str(file)
    return [steps[step] for step in sorted(steps, reverse=True)]


def whole_beside(path: str) -> Optional[str]:
    """Return the newest whole checkpoint in the folder of ``path`` other than that, or None."""
    others = newest_first(osp.dirname(path) or '.')
    return next((o for o in others if not osp.samefile(o, path) and not fault(o)), None)


def survive_kills():
    """Resume from the newest checkpoint that is whole, whatever ``last_checkpoint`` says.

    All releases delete an old checkpoint, write the new one and then the file that names it. A kill
    in between leaves the name of a file that does not exist. So does moving the work directory.
    """
    find_latest = mmengine.runner.checkpoint.find_latest_checkpoint

    @functools.wraps(find_latest)
    def find_latest_whole(path: str) -> Optional[str]:
        named = find_latest(path)
        found = [file for file in newest_first(path) if file != named]
        if named and osp.exists(named):
            found.insert(0, named)
        faults = {}
        for file in found:
            faults[file] = fault(file)
            if faults[file] is None:
                break
        else:
            if not found:
                # An empty name without a checkpoint beside it means that nothing was saved yet.
                return named or None
            raise DamagedCheckpointError(
                f'no checkpoint in {path} is whole ({_list(faults)}). Copy one there from '
                'elsewhere, or train without --resume to start anew; these then go to a folder '
                'previous_….'
            )
        del faults[file]
        if faults and file not in _told and os.environ.get('RANK', '0') == '0':
            _told.add(file)
            print(f'Left out, not whole: {_list(faults)}. The newest whole checkpoint is {file}.')
        return file

    for holder in HOLDERS:
        holder.find_latest_checkpoint = find_latest_whole


def _list(faults: dict[str, str]) -> str:
    return '; '.join(f'{osp.basename(file)}: {why}' for file, why in faults.items())


def keep_inside(before_train: Callable) -> Callable:
    """Let no checkpoint name files outside its folder, and go on with the last one.

    All releases take from it which file, or folder, is the best one so far, and delete that when
    there is a better one. They do not take which one is the last, into which a validation that
    comes next writes what it has found best.
    """

    @functools.wraps(before_train)
    def start_inside(self: CheckpointHook, runner):
        hub = runner.message_hub
        if 'keep_ckpt_ids' in hub.runtime_info:
            steps = [step for step in hub.get_info('keep_ckpt_ids') if isinstance(step, int)]
            if steps and len(steps) == self.max_keep_ckpts:
                # A kill may have come in front of this one's deletion, which upstream does now.
                steps.insert(0, steps[0] - self.interval)
            hub.update_info('keep_ckpt_ids', steps)
        before_train(self, runner)

        def inside(path: Optional[str]) -> Optional[str]:
            name = osp.basename(str(path))
            best = name.startswith('best_') and name.endswith('.pth')
            return self.file_backend.join_path(self.out_dir, name) if best else None

        last = osp.basename(str(hub.runtime_info.get('last_ckpt')))
        last = self.file_backend.join_path(self.out_dir, last)
        if self.last_ckpt is None and last.endswith('.pth') and self.file_backend.isfile(last):
            self.last_ckpt = last
        best = getattr(self, 'best_ckpt_path_dict', {})
        best.update((key, inside(path)) for key, path in best.items())
        if hasattr(self, 'best_ckpt_path'):
            self.best_ckpt_path = inside(self.best_ckpt_path)
        for path in filter(None, (getattr(self, 'best_ckpt_path', None), *best.values())):
            delete_superseded(path)

    return start_inside


def delete_superseded(best: str):
    """Delete what ``best`` has replaced, where a kill came in front of that."""
    name = re.fullmatch(r'(best_.*_)(\d+)\.pth', osp.basename(best))
    if name and is_main_process() and osp.exists(best) and not fault(best):
        for path in Path(best).parent.iterdir():
            other = re.fullmatch(re.escape(name[1]) + r'(\d+)\.pth', path.name)
            if other and int(other[1]) < int(name[2]):
                path.unlink()


class DeleteLater:
    """A file backend that puts off what it is asked to delete."""

    def __init__(self, backend):
        self.backend = backend
        self.put_off: list[tuple[Callable, str]] = []

    def __getattr__(self, name: str):
        return getattr(self.backend, name)

    def remove(self, path: str):
        """Note a file."""
        self.put_off.append((self.backend.remove, path))

    def rmtree(self, path: str):
        """Note a folder."""
        self.put_off.append((self.backend.rmtree, path))


def save_before_deleting(save: Callable) -> Callable:
    """Delete outdated checkpoints only when what replaces them is whole on the disk.

    All releases delete first: with ``max_keep_ckpts=1`` a failed save leaves nothing.
    """

    @functools.wraps(save)
    def save_first(self: CheckpointHook, *args, **kwargs):
        backend = self.file_backend
        self.file_backend = DeleteLater(backend)
        try:
            save(self, *args, **kwargs)
            put_off = self.file_backend.put_off
        finally:
            self.file_backend = backend
        best = getattr(self, 'best_ckpt_path_dict', None) or {}
        saved = [self.last_ckpt, getattr(self, 'best_ckpt_path', None), *best.values()]
        outdated = [(delete, path) for delete, path in put_off if path not in saved]
        for path in filter(None, saved if outdated else ()):
            if why := fault(path):
                raise DamagedCheckpointError(
                    f"checkpoint '{path}', just saved, cannot be read back: {why}. The earlier "
                    f'ones are kept; check the disk, then resume.'
                )
        for delete, path in outdated:
            delete(path)

    return save_first


def apply():
    """Apply every repair of this module once."""
    if hasattr(LocalBackend.put, '__wrapped__'):
        return
    write_whole_files()
    survive_kills()
    CheckpointHook.before_train = keep_inside(CheckpointHook.before_train)
    for name in ('_save_checkpoint_with_step', '_save_best_checkpoint'):
        setattr(CheckpointHook, name, save_before_deleting(getattr(CheckpointHook, name)))
