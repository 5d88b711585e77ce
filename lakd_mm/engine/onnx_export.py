"""Export of a classifier as ONNX, checked against PyTorch."""

import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Union

import torch
from mmengine import fileio
from mmengine.model import BaseModel

from ..compat.dense import EXTRAS
from ..errors import ConfigError, check_installed

_PACKAGES = ('onnx', 'onnxruntime', 'onnxscript')
# Relative to the largest logit.
TOLERANCE = 1e-4


def check_onnx_packages():
    """Raise a ConfigError if a package to write and check ONNX is missing."""
    check_installed('ONNX needs', 'onnx', dict(zip(_PACKAGES, _PACKAGES)))


def export_onnx(
    network: BaseModel, out: Union[str, Path], shape: Sequence[int], classes: Sequence[str] = ()
) -> float:
    """Write a classifier as ONNX, and compare onnxruntime's logits with PyTorch's.

    The input ``images`` (N, C, H, W) are prepared images with any N; the output is ``logits`` (N,
    K). The file's metadata hold the preparation of images (``mean``, ``std``, in RGB order) and the
    ``classes``, each in JSON.

    Args:
        network (BaseModel): The classifier in eval mode, with its data preprocessor.
        out (str | Path): The file to write.
        shape (Sequence[int]): Shape (C, H, W) of an image.
        classes (Sequence[str]): Names of the classes. Defaults to none.

    Returns:
        float: The largest difference of a logit, relative to the largest logit.

    Raises:
        ConfigError: If a package is missing, the network cannot run on such images, or the
            difference is above 1e-4.
    """
    check_onnx_packages()
    if type(network).__module__.partition('.')[0] in EXTRAS:
        raise ConfigError(
            f'ONNX: {type(network).__name__} is not a classifier; export the student with MMDeploy'
        )
    import onnx
    import onnxruntime

    images = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        try:
            expected = network(images)[:2]
        except RuntimeError as error:
            raise ConfigError(f'images of the shape {tuple(shape)}: {error}') from None
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            logging.getLogger('torch.onnx').setLevel(logging.ERROR)
            options = dict(dynamic_shapes=({0: torch.export.Dim('batch')},), verbose=False)
            names = dict(input_names=['images'], output_names=['logits'])
            program = torch.onnx.export(network, (images,), dynamo=True, **names, **options)
    model = program.model_proto
    preprocessor = network.data_preprocessor
    facts = dict(classes=list(classes))
    for key in ('mean', 'std') if getattr(preprocessor, '_enable_normalize', False) else ():
        facts[key] = getattr(preprocessor, key).flatten().tolist()
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in facts.items()})
    written = model.SerializeToString()
    session = onnxruntime.InferenceSession(written, providers=['CPUExecutionProvider'])
    # Use another number of images than in tracing.
    (found,) = session.run(None, {'images': images[:2].numpy()})
    difference = (torch.from_numpy(found) - expected).abs().max() / expected.abs().max()
    if not difference <= TOLERANCE:
        raise ConfigError(
            f'ONNX: the logits differ from PyTorch by {difference:.1e} of the largest, more than '
            f'{TOLERANCE:.0e}; {out} is not written'
        )
    fileio.put(written, out)
    return float(difference)
