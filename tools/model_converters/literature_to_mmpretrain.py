"""Rename the parameters of the distillation literature's CIFAR networks for MMPretrain.

It knows ResNets, wide ResNets, VGGs, MobileNetV2 and ShuffleNets. This project's configs read such
weights directly; the tool is for use elsewhere, and for files that keep them under 'model'.
"""

import argparse
from pathlib import Path

import lakd_mm  # noqa: F401  (first: it repairs what the lines below import)

# isort: split
from mmengine.runner.checkpoint import CheckpointLoader, save_checkpoint

from lakd_mm.engine import clear_errors
from lakd_mm.errors import ConfigError
from lakd_mm.models.backbones import map_literature_keys


def main():
    """Read a checkpoint, rename its parameters, and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('source', help='path or URL of the checkpoint')
    parser.add_argument('target', type=Path, help='file to write')
    args = parser.parse_args()
    with clear_errors():
        convert(args.source, args.target)


def convert(source: str, target: Path) -> None:
    """Convert a checkpoint.

    Raises:
        ConfigError: If it is none of the literature's, or the target exists.
    """
    if target.exists():
        raise ConfigError(f'{target} exists; name another file or move it away')
    checkpoint = CheckpointLoader.load_checkpoint(source, map_location='cpu')
    # RepDistiller and mdistiller keep the weights under 'model', others under 'state_dict'.
    weights = next((checkpoint[k] for k in ('state_dict', 'model') if k in checkpoint), checkpoint)
    if not isinstance(weights, dict):
        raise ConfigError(
            f'{source} holds a {type(weights).__name__} where weights should be, no dict of tensors'
        )
    before = set(weights)
    weights = map_literature_keys(dict(weights))
    if before == set(weights):
        raise ConfigError(
            f'{source} has no parameters named conv1.weight, fc.weight (linear.weight) as the '
            f'CIFAR ResNets and ShuffleNets of the literature have, nor block0.0.weight … '
            f'classifier.weight as its VGGs, nor conv1.0.weight … classifier.0.weight as its '
            f'MobileNetV2, but {", ".join(sorted(before)[:5])} …'
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    save_checkpoint(dict(meta={}, state_dict=weights), str(target))
    print(f'{len(weights)} tensors -> {target}')


if __name__ == '__main__':
    main()
