"""Draw small images of rectangles, in the format of COCO or Cityscapes, to try configs."""

import argparse
import json
from pathlib import Path

import lakd_mm  # noqa: F401  (first: it repairs what the lines below import)

# isort: split
import cv2
import numpy as np
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from lakd_mm.engine import clear_errors
from lakd_mm.engine.command_line import at_least

# Names of COCO's categories by id, and the ids of the three colours: person, car, dog.
CATEGORIES = {
    i: name
    for i, name in enumerate(FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta['categories'])
    if name not in ('__background__', 'N/A')
}
DRAWN = (1, 3, 18)
COLOURS = ((220, 60, 60), (60, 200, 80), (70, 90, 230))


def draw(random: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray, list[tuple]]:
    """Draw one image, its map of labels and its boxes.

    Args:
        random (Generator): Source of all random numbers.
        size (int): Height and width.

    Returns:
        tuple: The image, shape (size, size, 3); a label for each pixel, 0 for the background and
        1 to 3 for the shapes; and (x, y, width, height, label) of each rectangle.
    """
    image = random.normal(128, 12, (size, size, 3))
    labels = np.zeros((size, size), dtype=np.uint8)
    boxes = []
    for _ in range(random.integers(1, 5)):
        width, height = (int(side) for side in random.integers(size // 5, size // 2, 2))
        x, y = (int(random.integers(0, size - side)) for side in (width, height))
        label = int(random.integers(1, 4))
        image[y : y + height, x : x + width] = COLOURS[label - 1] + random.normal(0, 12, 3)
        labels[y : y + height, x : x + width] = label
        boxes.append((x, y, width, height, label))
    return image.clip(0, 255).astype(np.uint8), labels, boxes


def write_coco(folder: Path, images: int, size: int, seed: int = 0) -> None:
    """Write ``train2017``, ``val2017`` and their ``annotations``."""
    random = np.random.default_rng(seed)
    (folder / 'annotations').mkdir(parents=True, exist_ok=True)
    for split in ('train2017', 'val2017'):
        (folder / split).mkdir(exist_ok=True)
        described, annotations = [], []
        for i in range(images):
            image, _, boxes = draw(random, size)
            name = f'{i:012d}.jpg'
            cv2.imwrite(str(folder / split / name), image)
            described.append(dict(id=i, file_name=name, width=size, height=size))
            for x, y, width, height, label in boxes:
                annotations.append(
                    dict(
                        id=len(annotations) + 1,
                        image_id=i,
                        category_id=DRAWN[label - 1],
                        bbox=[x, y, width, height],
                        area=width * height,
                        iscrowd=0,
                    )
                )
        categories = [dict(id=i, name=name) for i, name in CATEGORIES.items()]
        contents = dict(images=described, annotations=annotations, categories=categories)
        file = folder / 'annotations' / f'instances_{split}.json'
        file.write_text(json.dumps(contents), encoding='utf-8')


def write_cityscapes(folder: Path, images: int, size: int, seed: int = 0) -> None:
    """Write ``leftImg8bit`` and ``gtFine``, with the labels that training takes."""
    random = np.random.default_rng(seed)
    for split in ('train', 'val'):
        for i in range(images):
            image, labels, _ = draw(random, size)
            for kind, suffix, pixels in (
                ('leftImg8bit', 'leftImg8bit', image),
                ('gtFine', 'gtFine_labelTrainIds', labels),
            ):
                file = folder / kind / split / 'shapes' / f'shapes_{i:06d}_000000_{suffix}.png'
                file.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(file), pixels)


FORMATS = {'coco': write_coco, 'cityscapes': write_cityscapes}


def main() -> None:
    """Write a data set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('format', choices=FORMATS)
    parser.add_argument('folder', type=Path)
    parser.add_argument('--images', type=at_least(1), default=32, help='in each of two splits')
    parser.add_argument('--size', type=at_least(10), default=128, help='height and width')
    parser.add_argument('--seed', type=at_least(0), default=0)
    args = parser.parse_args()
    with clear_errors():
        FORMATS[args.format](args.folder, args.images, args.size, args.seed)
    print(f'{args.format}: {args.images} images of {args.size}x{args.size} twice -> {args.folder}')


if __name__ == '__main__':
    main()
