"""A training step on a device other than the CPU: ``meta``, which every machine has.

It holds no numbers, so a step fails where it would wait for a GPU to read one (``item``, ``bool``,
shapes that depend on data) or mixes the two devices. Copies between devices don't fail; they are
returned.
"""

import contextlib
from unittest import mock

import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmpretrain.structures import DataSample
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META = torch.device('meta')


class Copies(TorchDispatchMode):
    """Collects what is copied from one device to another."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, out)) if isinstance(t, torch.Tensor)]
        if len({tensor.device for tensor in tensors}) > 1:
            self.found.append(str(func))
        return out


def copies_of_a_step(model, cfg: Config, size: int = 32, number: int = 4) -> list[str]:
    """Move a model to ``meta``, train one step on images there, and return what was copied."""
    for module in model.modules():
        if hasattr(module, '_device'):  # of a data preprocessor
            module._device = META
    model.to(META)
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    labels = torch.zeros(number, dtype=torch.long, device=META)
    samples = [
        DataSample(gt_label=labels[i : i + 1], metainfo=dict(sample_idx=labels[i]))
        for i in range(number)
    ]
    images = torch.zeros(number, 3, size, size, dtype=torch.uint8, device=META)
    autocast, enabled = torch.autocast, torch.is_autocast_enabled
    # There is no autocast on it.
    with (
        mock.patch(
            'torch.autocast',
            lambda device, *args, **kwargs: (
                contextlib.nullcontext() if device == 'meta' else autocast(device, *args, **kwargs)
            ),
        ),
        mock.patch('torch.is_autocast_enabled', lambda *args: args != ('meta',) and enabled(*args)),
    ):
        # What is made once, such as the teacher's fast copy, may be copied.
        model.train_step(dict(inputs=images, data_samples=samples), wrapper)
        with Copies() as copies:
            log = model.train_step(dict(inputs=images, data_samples=samples), wrapper)
    assert {value.device for value in log.values()} == {META}
    return copies.found
