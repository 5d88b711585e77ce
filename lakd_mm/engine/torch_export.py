"""Write a classifier by ``torch.export``, checked against PyTorch."""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Union

import torch
from mmengine import fileio
from mmengine.model import BaseModel

from ..compat.dense import EXTRAS
from ..errors import ConfigError

# Relative to the largest logit.
TOLERANCE = 1e-4


class Traced(NamedTuple):
    """Result of :func:`trace`."""

    program: torch.export.ExportedProgram  # From images (N, C, H, W) to logits (N, K), any N.
    images: torch.Tensor  # Noise (3, C, H, W).
    logits: torch.Tensor  # PyTorch's logits for them, (3, K).


def export_program(
    network: BaseModel, out: Union[str, Path], shape: Sequence[int], classes: Sequence[str] = ()
) -> float:
    """Write a classifier by ``torch.export``, load it again and compare its logits with PyTorch's.

    ``torch.export.load(out).module()`` needs PyTorch alone, neither MMPretrain nor this package. It
    takes prepared images (N, C, H, W) with any N, and returns logits (N, K). The file's extra files
    ``mean``, ``std`` (in RGB order) and ``classes`` hold the preparation of images and the names of
    the classes, each in JSON.

    Args:
        network (BaseModel): The classifier in eval mode, with its data preprocessor.
        out (str | Path): The file to write, ``student.pt2``.
        shape (Sequence[int]): Shape (C, H, W) of an image.
        classes (Sequence[str]): Names of the classes. Defaults to none.

    Returns:
        float: The largest difference of a logit, relative to the largest logit.

    Raises:
        ConfigError: If the network cannot run on such images or be traced, or the difference is
            above 1e-4.
    """
    traced = trace(network, shape)
    written = io.BytesIO()
    with quiet():
        torch.export.save(traced.program, written, extra_files=preparation(network, classes))
        written.seek(0)
        loaded = torch.export.load(written).module()
    difference = check_logits(loaded, traced, 'torch.export', out)
    fileio.put(written.getvalue(), out)
    return difference


def trace(network: BaseModel, shape: Sequence[int]) -> Traced:
    """Trace a classifier for any number of images.

    Raises:
        ConfigError: If the network cannot run on images of the ``shape`` (C, H, W) or be traced.
    """
    name = type(network).__name__
    if type(network).__module__.partition('.')[0] in EXTRAS:
        raise ConfigError(f'{name} is not a classifier; export the student with MMDeploy')
    images = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), quiet():
        try:
            logits = network(images)
        except (RuntimeError, AssertionError, ValueError) as error:
            raise ConfigError(f'images of the shape {tuple(shape)}: {error}') from None
        if not isinstance(logits, torch.Tensor):
            raise ConfigError(
                f'{name} returns a {type(logits).__name__}, not the logits of one task, and cannot '
                f'be exported'
            )
        try:
            batch = ({0: torch.export.Dim('batch')},)
            program = torch.export.export(network, (images,), dynamic_shapes=batch)
        except Exception as error:  # noqa: BLE001  (it raises many kinds)
            name = type(getattr(network, 'backbone', network)).__name__
            reason = str(error).strip().partition('\n')[0]
            raise ConfigError(f'torch.export cannot trace this {name}: {reason}') from error
    return Traced(program, images, logits)


def check_logits(
    run: Callable[[torch.Tensor], torch.Tensor], traced: Traced, name: str, out: Union[str, Path]
) -> float:
    """Compare logits with PyTorch's, and return the difference relative to the largest.

    Raises:
        ConfigError: If it is above 1e-4.
    """
    with torch.no_grad():
        # Other numbers of images than in tracing.
        found = torch.cat([run(traced.images[:2]), run(traced.images[2:])])
    difference = float((found - traced.logits).abs().max() / traced.logits.abs().max())
    if not difference <= TOLERANCE:
        raise ConfigError(
            f'{name}: the logits differ from PyTorch by {difference:.1e} of the largest, more than '
            f'{TOLERANCE:.0e}; {out} is not written'
        )
    return difference


def preparation(network: BaseModel, classes: Sequence[str]) -> dict[str, str]:
    """Return facts for users of the exported file, mean, std and classes, each in JSON."""
    preprocessor = network.data_preprocessor
    facts = dict(classes=list(classes))
    for key in ('mean', 'std') if getattr(preprocessor, '_enable_normalize', False) else ():
        facts[key] = getattr(preprocessor, key).flatten().tolist()
    return {key: json.dumps(value) for key, value in facts.items()}


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the exporters' messages, which are for their developers."""
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(level)
