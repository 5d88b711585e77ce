"""What is in a folder of images: classes, counts, sizes, and files that cannot be read."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from multiprocessing.pool import ThreadPool
from pathlib import Path
from statistics import median
from typing import Optional

from mmcv.transforms import LoadImageFromFile
from mmpretrain.datasets import CustomDataset

from lakd_mm.engine import ConfigError

TRAIN = ('train', 'training')
VAL = ('val', 'valid', 'validation', 'test')
# More images would take minutes to read.
MOST_READ = 20000


@dataclass(frozen=True)
class Images:
    """A folder of images."""

    train: Path  # Holds a folder for each class.
    val: Optional[Path]  # None where a part of the former validates.
    share: float  # What is trained on where val is None.
    classes: tuple[str, ...]
    n_train: int
    n_val: int
    side: int  # Median of the shorter sides.
    sizes: str  # For people.
    n_read: int

    def summary(self) -> str:
        """Say what was found, in a line or two."""
        where = self.val.name if self.val else f'{1 - self.share:.0%} of each class'
        n = self.n_train + self.n_val
        read = 'all read' if self.n_read == n else f'{self.n_read:,} of them read'
        return (
            f'{len(self.classes)} classes, {self.n_train:,} images to train and {self.n_val:,} to '
            f'validate ({where}), {self.sizes}; {read}'
        )


def look_at(data: str) -> Images:
    """Look at a folder that holds a folder for each class, or one for ``train`` and for ``val``.

    Args:
        data (str): The folder.

    Returns:
        Images: What is in it.

    Raises:
        ConfigError: If there is no such folder, it has no or only one class, a class has no image
            or is in one of the two folders only, or an image cannot be read.
    """
    root = Path(data).expanduser().resolve()
    if not root.is_dir():
        what = 'is a file' if root.exists() else 'does not exist'
        raise ConfigError(f'--data {data}: {root} {what}; name a folder with a folder a class')
    inside = {path.name.lower(): path for path in sorted(root.iterdir()) if path.is_dir()}
    train = next((inside[name] for name in TRAIN if name in inside), root)
    val = next((inside[name] for name in VAL if name in inside), None)
    val = None if train == root else val
    classes, of_train = _listed(train)
    share = 1.0
    if val is None:
        of_val: dict[str, list[Path]] = {}
        share = _share(train, of_train)
        n_train = sum(ceil(round(share * len(files), 6)) for files in of_train.values())
    else:
        others, of_val = _listed(val)
        differ = sorted(set(classes) ^ set(others))
        if differ:
            there, absent = (train, val) if differ[0] in classes else (val, train)
            raise ConfigError(
                f'--data {data}: class {differ[0]!r} is in {there.name}/ and not in '
                f'{absent.name}/ ({len(differ)} such classes); labels count the folders, so both '
                f'must have the same'
            )
        n_train = sum(map(len, of_train.values()))
    files = [file for part in (of_train, of_val) for one in part.values() for file in one]
    read = _evenly(files, MOST_READ)
    shapes = _shapes(data, read)
    side = int(median(min(shape) for shape in shapes))
    return Images(
        train,
        val,
        share,
        tuple(classes),
        n_train,
        len(files) - n_train,
        side,
        _describe(shapes),
        len(read),
    )


def _listed(folder: Path) -> tuple[Sequence[str], dict[str, list[Path]]]:
    """Return the classes of a folder, and the images of each, as the data set will find them."""
    inside = [p.name for p in folder.iterdir() if p.is_dir()]
    if len(inside) < 2:
        found = f'only one, {inside[0]!r}' if inside else 'none'
        raise ConfigError(
            f'--data: {folder} must hold a folder of images for each of at least 2 classes, and '
            f'has {found}; see docs/get_started/own_images.md'
        )
    try:
        dataset = CustomDataset(data_root=str(folder), pipeline=[])
    except RuntimeError:
        raise ConfigError(
            f'--data: the {len(inside)} folders of {folder} hold no image (.jpg, .jpeg, .png, '
            f'.ppm, .bmp, .pgm, .tif); convert other files to one of these'
        ) from None
    classes = dataset.metainfo['classes']
    files: dict[str, list[Path]] = {name: [] for name in classes}
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        files[classes[info['gt_label']]].append(Path(info['img_path']))
    empty = [name for name, found in files.items() if not found]
    if empty:
        raise ConfigError(
            f'--data: class {empty[0]!r} of {folder} has no image that is read (.jpg, .jpeg, '
            f'.png, .ppm, .bmp, .pgm, .tif); add some, or delete the folder'
        )
    return classes, files


def _share(folder: Path, files: dict[str, list[Path]]) -> float:
    """Return how much of each class to train on, such that each has an image to validate on."""
    name, least = min(((n, len(f)) for n, f in files.items()), key=lambda item: item[1])
    for share in (0.9, 0.8, 0.5):
        if ceil(round(share * least, 6)) < least:
            return share
    raise ConfigError(
        f'--data: class {name!r} of {folder} has 1 image, none of which can validate; add images, '
        f'or make the folders train/ and val/'
    )


def _evenly(files: Sequence[Path], most: int) -> list[Path]:
    """Return at most so many of the files, evenly spaced."""
    n = min(len(files), most)
    return [files[i * len(files) // n] for i in range(n)]


def _shapes(data: str, files: Sequence[Path]) -> list[tuple[int, int]]:
    """Return heights and widths, of images as training reads them."""
    load = LoadImageFromFile()

    def shape_of(path: Path):
        try:
            return load(dict(img_path=str(path)))['img_shape'][:2]
        except ConfigError:
            return path

    with ThreadPool(os.cpu_count()) as pool:
        found = pool.map(shape_of, files)
    bad = [path for path in found if isinstance(path, Path)]
    if bad:
        named = ', '.join(map(str, bad[:3])) + (', …' if len(bad) > 3 else '')
        raise ConfigError(
            f'--data {data}: {len(bad)} of {len(files):,} images cannot be read: {named}. Replace '
            f'or delete them'
        )
    return found


def _describe(shapes: Sequence[tuple[int, int]]) -> str:
    heights, widths = zip(*shapes)
    low, high = (f'{f(widths)}x{f(heights)}' for f in (min, max))
    return f'{low} pixels' if low == high else f'{low} to {high} pixels'
