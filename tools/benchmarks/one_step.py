"""Compare the losses and gradients of one step on two devices."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from unittest import mock

import torch
from common import Training  # noqa: I001  (it imports lakd_mm first)
from mmengine.structures import InstanceData

from lakd_mm.models.losses import FGDLoss

# Several times what sums in another order do, which the other memory format shows on a CPU: at most
# 4e-5, 0.008 and 0.01, where a ReLU's input passes zero.
LIMITS = dict(loss=1e-3, gradient=0.03, parameter=0.1)


@contextmanager
def in_float32() -> Iterator[None]:
    """Compute in float32 without TF32, and draw random numbers on the CPU, whatever the device."""

    def drawn_on_cpu(draw: Callable) -> Callable:
        return lambda *args, device=None, **kwargs: draw(*args, **kwargs).to(device or 'cpu')

    names = ('rand', 'randint', 'randn', 'randperm')
    patched = {name: drawn_on_cpu(getattr(torch, name)) for name in names}
    allowed = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        with mock.patch.multiple(torch, **patched):
            yield
    finally:
        torch.backends.cudnn.allow_tf32 = allowed


def one_step(training: Training) -> tuple[dict[str, float], list[torch.Tensor]]:
    """Return the losses and gradients of a step that changes no weights."""
    wrapper = training.optim_wrapper
    wrapper.step = wrapper.zero_grad = lambda **kwargs: None
    losses = {name: value.detach().item() for name, value in training.step().items()}
    parameters = training.model.parameters()
    return losses, [p.grad.double().cpu() for p in parameters if p.grad is not None]


def fgd_step(device: str, memory_format: torch.memory_format) -> tuple:
    """Return FGD's loss and gradients: its configs need MMDetection."""
    torch.manual_seed(0)
    loss = FGDLoss(in_channels=8)
    for parameter in loss.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    student, teacher = (torch.randn(2, 8, 32, 32).to(memory_format=memory_format) for _ in 'ST')
    boxes = [[[12.0, 8.0, 100.0, 140.0], [30.0, 20.0, 60.0, 50.0]], [[0.0, 0.0, 255.0, 200.0]]]
    samples = [
        SimpleNamespace(
            gt_instances=InstanceData(bboxes=torch.tensor(box, device=device)), img_shape=(256, 256)
        )
        for box in boxes
    ]
    loss, student = loss.to(device), student.to(device).requires_grad_()
    value = loss(student, teacher.to(device), samples)
    value.backward()
    gradients = [student.grad, *(p.grad for p in loss.parameters() if p.grad is not None)]
    return dict(fgd=value.item()), [gradient.double().cpu() for gradient in gradients]


def compare(expected: tuple, found: tuple) -> tuple[dict, bool]:
    """Compare what two steps have given; return the differences and whether they are small."""
    (losses, gradients), (others, other_gradients) = expected, found
    if losses.keys() != others.keys() or len(gradients) != len(other_gradients):
        return dict(error='other losses or parameters'), False
    loss = max(abs(losses[key] - others[key]) / max(abs(losses[key]), 1e-6) for key in losses)
    norms = torch.stack([gradient.norm() for gradient in gradients])
    changes = torch.stack([(a - b).norm() for a, b in zip(gradients, other_gradients)])
    values = dict(
        loss=loss,
        gradient=(changes.norm() / norms.norm()).item(),
        parameter=(changes / (norms + 0.01 * norms.norm())).max().item(),
    )
    # A comparison with NaN is false.
    return values, all(value <= LIMITS[name] for name, value in values.items())
