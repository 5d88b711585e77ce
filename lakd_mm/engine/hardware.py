"""The hardware of this process, for records of runs."""

import platform
from pathlib import Path

import torch


def hardware() -> dict:
    """Return the device's name, the threads of PyTorch and its release.

    Of a GPU, also whether convolutions may round float32 to TF32, as they do by default.
    """
    on_gpu = torch.cuda.is_available()
    facts = dict(
        device=torch.cuda.get_device_name() if on_gpu else cpu_name(),
        threads=torch.get_num_threads(),
        torch=torch.__version__,
    )
    return dict(facts, tf32=torch.backends.cudnn.allow_tf32) if on_gpu else facts


def cpu_name() -> str:
    """Return the name of the processor, as far as the system tells."""
    try:
        text = Path('/proc/cpuinfo').read_text(encoding='utf-8')
    except OSError:
        text = ''
    names = [line.split(':', 1)[1].strip() for line in text.splitlines() if 'model name' in line]
    return names[0] if names else platform.processor() or platform.machine()
