"""A teacher that keeps its records on disk, and reads them when the same image returns."""

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Optional, Union

import torch
from mmengine.logging import print_log

from ...errors import ConfigError, check_positive
from ..nested import map_tensors, tensors_in
from .lean_teacher import LeanTeacher, autocast_dtype


class KeptTeacher:
    """Run a teacher once for each image and view, and read its records from disk after that.

    The records are memory-mapped files with one row for each image and view. A checksum of the
    preprocessed image shows whether a row is valid, so changed data and transforms are computed
    anew. If the teacher, its precision or the recorders change, all rows are.

    Args:
        teacher (LeanTeacher): The teacher.
        sample (torch.Tensor): Images that show the size of a row, shape (N, C, H, W).
        folder (str | Path): Folder of the files.
        images (int): Number of images in the training set.
        views (int): Number of views of an image. Defaults to 1.
        half (bool): Whether to keep records in float16, half the size, instead of exact values in
            float32. Defaults to False.
        max_gb (float): Limit of the files' size, in units of 10^9 bytes. Defaults to 8.

    Raises:
        ConfigError: If a number is not positive, the files would be too large, the disk has no
            room for them, the folder cannot be written, or a record has no row for each image.
    """

    def __init__(
        self,
        teacher: LeanTeacher,
        sample: torch.Tensor,
        folder: Union[str, Path],
        images: int,
        views: int = 1,
        half: bool = False,
        max_gb: float = 8.0,
    ):
        check_positive('keep_teacher', images=images, views=views, max_gb=max_gb)
        self.lean = teacher
        self.folder = Path(folder)
        self.images, self.views = images, views
        self.dtype = torch.float16 if half else torch.float32
        # The recorders' nested tensors after a run, kept for their nesting only.
        teacher(sample)
        self._template = self._records()
        self._shapes = [tensor.shape[1:] for tensor in tensors_in(self._template)]
        if any(len(tensor) != len(sample) for tensor in tensors_in(self._template)):
            raise ConfigError('keep_teacher: a record of the teacher has no row for each image')
        row = sum(shape.numel() for shape in self._shapes) * self.dtype.itemsize + 8
        self._check_room(row, max_gb)
        self._state: Optional[list] = None
        self._kept: list[torch.Tensor] = []
        self._sums = torch.empty(0, dtype=torch.int64)

    def __call__(
        self,
        inputs: torch.Tensor,
        awaited: Optional[Collection[str]] = None,
        samples: Optional[Sequence[Any]] = None,
    ):
        """Fill the recorders, as :class:`LeanTeacher` does.

        Args:
            inputs (torch.Tensor): Images, shape (N, C, H, W).
            awaited (Collection[str], optional): As there. Such a run is not kept.
            samples (Sequence[DataSample], optional): The batch's, with a ``sample_idx`` and, if
                there are several views, a ``view``. A run without them is not kept.
        """
        if awaited is not None or samples is None:
            self.lean(inputs, awaited)
            return
        self._open(str(autocast_dtype(inputs)))
        rows = torch.tensor([self._row(sample) for sample in samples])
        sums = _checksums(inputs)
        if torch.equal(self._sums[rows], sums):
            self._read(rows, inputs)
            return
        self.lean(inputs)
        for kept, tensor in zip(self._kept, tensors_in(self._records())):
            kept[rows] = tensor.to('cpu', self.dtype)
        self._sums[rows] = sums

    def _row(self, sample: Any) -> int:
        index, view = getattr(sample, 'sample_idx', None), getattr(sample, 'view', 0)
        if index is None or not 0 <= index < self.images or not 0 <= view < self.views:
            raise ConfigError(
                f'keep_teacher: image {index}, view {view}, of {self.images} images and '
                f'{self.views} views; set keep_teacher.images to the size of the training set'
            )
        return index * self.views + view

    def _read(self, rows: torch.Tensor, like: torch.Tensor):
        maps = torch.channels_last if self.lean.channels_last else torch.contiguous_format
        tensors = [kept[rows].to(like) for kept in self._kept]
        found = iter(t.contiguous(memory_format=maps) if t.ndim == 4 else t for t in tensors)
        for recorder, buffer in zip(self.lean.recorders.recorders.values(), self._template):
            recorder._data_buffer = map_tensors(lambda _: next(found), buffer)

    def _records(self) -> list:
        return [recorder.data_buffer for recorder in self.lean.recorders.recorders.values()]

    def _check_room(self, row: int, max_gb: float):
        """Log the size of the files, and raise if they are too large."""
        total = row * self.images * self.views
        text = f'{row:,} bytes for each of {self.images:,} images x {self.views} views'
        print_log(f'keep_teacher: {text}, {total / 1e9:.2f} GB in {self.folder}', 'current')
        if total > max_gb * 1e9:
            raise ConfigError(
                f'keep_teacher: {text} are {total / 1e9:.2f} GB, more than max_gb={max_gb}; raise '
                f'that, keep fewer views, or set half=True'
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            held = sum(file.stat().st_size for file in self.folder.glob('*.bin'))
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise ConfigError(f'keep_teacher.folder={str(self.folder)!r}: {error}') from None
        if not os.access(self.folder, os.W_OK):
            raise ConfigError(f'keep_teacher.folder={str(self.folder)!r} cannot be written')
        if total - held > free:
            raise ConfigError(
                f'keep_teacher: {text} need {total / 1e9:.2f} GB, {self.folder} has room for '
                f'{(free + held) / 1e9:.2f} GB; name another folder, or keep fewer views'
            )

    def _open(self, precision: str):
        """Open the files; empty them first if they are of another teacher."""
        state = [precision, *self.lean.watched_state()]
        if state == self._state:
            return
        self._state = state
        facts = self.folder / 'facts.json'
        wanted = json.dumps(self._facts(precision))
        known = facts.read_text() if facts.exists() else None
        if known != wanted:
            if known is not None:
                print_log(f'{self.folder} is of another teacher; it is made anew.', 'current')
            facts.unlink(missing_ok=True)
            for file in self.folder.glob('*.bin'):
                file.unlink()
        rows = self.images * self.views
        self._sums = _mapped(self.folder / 'sums.bin', [rows], torch.int64)
        self._kept = [
            _mapped(self.folder / f'{i}.bin', [rows, *shape], self.dtype)
            for i, shape in enumerate(self._shapes)
        ]
        facts.write_text(wanted)

    def _facts(self, precision: str) -> dict:
        digest = hashlib.sha256()
        for name, tensor in self.lean.teacher.state_dict().items():
            digest.update(name.encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        recorders = self.lean.recorders.recorders.values()
        return dict(
            teacher=digest.hexdigest(),
            records=[[type(recorder).__name__, recorder.source] for recorder in recorders],
            shapes=[list(shape) for shape in self._shapes],
            rows=[self.images, self.views],
            dtype=str(self.dtype),
            precision=precision,
            changes=[change.__name__ for change in self.lean.changes],
        )


def _mapped(file: Path, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """Map a file into memory; a new one holds zeros and has its room on the disk reserved."""
    count = torch.Size(shape).numel()
    size = count * dtype.itemsize
    if file.is_symlink():
        # It would be written to, wherever it leads.
        raise ConfigError(f'keep_teacher: {file} is a link; delete it, or name another folder')
    try:
        with open(file, 'ab') as opened:
            if opened.tell() < size:
                os.posix_fallocate(opened.fileno(), 0, size)
    except OSError as error:
        raise ConfigError(f'keep_teacher: {file} of {size / 1e9:.2f} GB: {error}') from None
    return torch.from_file(str(file), shared=True, size=count, dtype=dtype).view(*shape)


def _checksums(images: torch.Tensor) -> torch.Tensor:
    """Return a number for the pixels of each image, never 0, shape (N,)."""
    bits = images.float().contiguous().flatten(1).view(torch.int32).long()
    generator = torch.Generator().manual_seed(0)
    weights = torch.randint(2**40, (bits.shape[1],), generator=generator).to(bits.device)
    return ((bits * weights).sum(1) | 1).cpu()
