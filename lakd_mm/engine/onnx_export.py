"""Write a classifier as ONNX, checked against PyTorch, and quantise it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Optional, Union

import torch
from mmengine import fileio
from mmengine.model import BaseModel
from mmengine.utils import digit_version

from ..errors import ConfigError, check_installed
from .torch_export import check_logits, preparation, quiet, trace

_PACKAGES = ('onnx', 'onnxruntime', 'onnxscript')
# The exporter of torch 2.6 fails beside today's onnxscript.
_TORCH = '2.7'


def check_onnx_packages():
    """Raise a ConfigError if a package for ONNX is missing, or torch is too old."""
    check_installed('ONNX needs', 'onnx', dict(zip(_PACKAGES, _PACKAGES)))
    if digit_version(torch.__version__) < digit_version(_TORCH):
        raise ConfigError(
            f'ONNX needs torch {_TORCH} or newer, and this is {torch.__version__}; install a newer '
            f'one, or write the student by --exported'
        )


def export_onnx(
    network: BaseModel,
    out: Union[str, Path],
    shape: Sequence[int],
    classes: Sequence[str] = (),
    opset: Optional[int] = None,
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
        opset (int, optional): Version of ONNX's operators. Defaults to PyTorch's choice.

    Returns:
        float: The largest difference of a logit, relative to the largest logit.

    Raises:
        ConfigError: If a package is missing, the network cannot run on such images, be traced or be
            written in that ``opset``, or the difference is above 1e-4.
    """
    check_onnx_packages()
    import onnx

    traced = trace(network, shape)
    with torch.no_grad(), quiet():
        names = dict(input_names=['images'], output_names=['logits'])
        options = dict(dynamo=True, verbose=False, opset_version=opset)
        program = torch.onnx.export(traced.program, (traced.images,), **names, **options)
    model = program.model_proto
    (found,) = (domain.version for domain in model.opset_import if not domain.domain)
    if opset is not None and found != opset:
        # The exporter keeps its own version where it cannot convert the operators.
        raise ConfigError(
            f"ONNX: opset {opset} is too {'old' if opset < found else 'new'} for this network's "
            f'operators; take {found}'
        )
    onnx.helper.set_model_props(model, preparation(network, classes))
    written = model.SerializeToString()
    difference = check_logits(OnnxClassifier(written), traced, 'ONNX', out)
    fileio.put(written, out)
    return difference


def quantize_onnx(
    source: Union[str, Path], out: Union[str, Path], batches: Iterable[torch.Tensor]
) -> None:
    """Write a classifier in ONNX with weights and activations in int8.

    ONNX Runtime's static quantisation: scales of weights by output channel; of activations by the
    smallest and largest value on the images for calibration.

    Args:
        source (str | Path): The classifier, from :func:`export_onnx`.
        out (str | Path): The file to write.
        batches (Iterable[Tensor]): Prepared images (N, C, H, W) for calibration.

    Raises:
        ConfigError: If a package is missing, or ONNX Runtime cannot quantise the file
            or run the result.
    """
    check_onnx_packages()
    from onnxruntime.quantization import quantize_static
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
    from onnxruntime.quantization.shape_inference import quant_pre_process

    inputs = ({'images': images.cpu().numpy()} for images in batches)
    reader = SimpleNamespace(get_next=lambda: next(inputs, None))
    with TemporaryDirectory() as folder, quiet():
        prepared, made = Path(folder) / 'prepared.onnx', Path(folder) / 'int8.onnx'
        try:
            # Shapes are in the file already.
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
            # What it makes of a GroupNorm (an InstanceNormalization) it cannot run.
            kinds = {*QLinearOpsRegistry, *QDQRegistry} - {'InstanceNormalization'}
            quantize_static(
                str(prepared),
                str(made),
                reader,
                per_channel=True,
                op_types_to_quantize=sorted(kinds),
            )
        except ValueError as error:
            raise ConfigError(f'int8: ONNX Runtime cannot quantise {source}: {error}') from error
        written = made.read_bytes()
        OnnxClassifier(written)  # it must run
        fileio.put(written, out)


class OnnxClassifier:
    """A classifier in ONNX, called like PyTorch's, which ONNX Runtime runs on the CPU.

    It uses as many threads as PyTorch.

    Args:
        model (bytes | str | Path): The file from :func:`export_onnx`, or what it contains.

    Raises:
        ConfigError: If this ONNX Runtime cannot run it.
    """

    def __init__(self, model: Union[bytes, str, Path]):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        model, cpu = model if isinstance(model, bytes) else str(model), ['CPUExecutionProvider']
        try:
            self.session = onnxruntime.InferenceSession(model, options, providers=cpu)
        except Exception as error:  # noqa: BLE001  (its own kinds have no common base)
            raise ConfigError(
                f'ONNX Runtime {onnxruntime.__version__} cannot run this ONNX: {error}'
            ) from error

    def __call__(self, images: torch.Tensor, mode: str = 'tensor') -> torch.Tensor:
        """Return logits (N, K) of prepared images (N, C, H, W); ``mode`` is as MMPretrain's."""
        (logits,) = self.session.run(None, {'images': images.cpu().numpy()})
        return torch.from_numpy(logits)
