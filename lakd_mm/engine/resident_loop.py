"""A training loop over images on the device, without a data loader."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Optional, Union

import torch
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmrazor.registry import LOOPS
from torch.utils.data import DataLoader

from ..compat.mmengine_random import reseed, restore_random
from ..datasets.in_memory import InMemory, whole_batch
from ..errors import ConfigError
from ..models.data_preprocessor import CropFlipDataPreprocessor


@LOOPS.register_module()
class ResidentTrainLoop(EpochBasedTrainLoop):
    """Train on images on the device; the order and the crops of an epoch are drawn ahead.

    It trains as MMEngine's ``EpochBasedTrainLoop`` does, to the bit: weights, statistics, momentum,
    logs and checkpoints, also if a training resumes in the other loop. The data loader fetches no
    batches; its sampler and batch size still choose their images. Hooks run as always, except that
    the random numbers of the crops are already drawn in ``before_train_iter``.

    Args:
        runner (Runner): The runner.
        dataloader (dict | DataLoader): Of an :class:`InMemory` data set, with ``num_workers=0`` and
            ``collate_fn=dict(type='whole_batch')``.
        max_epochs (int): Epochs to train.
        val_begin (int): The epoch that begins validating. Defaults to 1.
        val_interval (int): Epochs between two validations. Defaults to 1.
        dynamic_intervals (List[Tuple[int, int]], optional): An epoch and the interval from it on.

    Raises:
        ConfigError: If the data are not an :class:`InMemory` of whole batches, the preprocessor is
            no :class:`CropFlipDataPreprocessor`, or the training is distributed.

    Examples:
        >>> train_cfg = dict(type='mmrazor.ResidentTrainLoop', max_epochs=300)
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: Union[dict, DataLoader],
        max_epochs: int,
        val_begin: int = 1,
        val_interval: int = 1,
        dynamic_intervals: Optional[Sequence[tuple[int, int]]] = None,
    ):
        super().__init__(runner, dataloader, max_epochs, val_begin, val_interval, dynamic_intervals)
        if is_model_wrapper(runner.model):
            raise ConfigError(
                'train_cfg.type=mmrazor.ResidentTrainLoop trains in one process: leave --launcher '
                'out, or train_cfg.type'
            )
        collate = getattr(self.dataloader.collate_fn, 'func', self.dataloader.collate_fn)
        self.preprocessor = getattr(runner.model, 'data_preprocessor', None)
        needs = {
            'data_preprocessor.type=mmrazor.CropFlipDataPreprocessor': isinstance(
                self.preprocessor, CropFlipDataPreprocessor
            ),
            'train_dataloader.dataset.type=mmrazor.InMemory': isinstance(
                self.dataloader.dataset, InMemory
            ),
            'train_dataloader.num_workers=0': self.dataloader.num_workers == 0,
            "train_dataloader.collate_fn=dict(type='whole_batch')": collate is whole_batch,
        }
        missing = [need for need, met in needs.items() if not met]
        if missing:
            raise ConfigError(
                f'train_cfg.type=mmrazor.ResidentTrainLoop needs {", ".join(missing)}; or leave '
                f'train_cfg.type out'
            )

    def run_epoch(self):
        """Train one epoch, or its rest after a checkpoint in the middle of it."""
        reseed(self.runner.seed, self._epoch)
        resumed = self.__dict__.pop('position', None)
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        # A loader's iterator draws a seed for workers, even without any.
        order = list(iter(self.dataloader)._sampler_iter)
        if resumed is not None:
            restore_random(resumed['random'])
        done = resumed['batches'] if resumed else 0
        for index, batch in enumerate(self._batches(order[done:]), done):
            self.run_iter(index, batch)
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def _batches(self, order: Sequence[Sequence[int]]) -> Iterator[dict]:
        """Yield batches, with the generator in the state that it has after the crops of each.

        The crops are drawn ahead, as long as nothing else draws random numbers.
        """
        dataset = self.dataloader.dataset
        places = torch.tensor(list(chain(*order)), dtype=torch.long, device=dataset.images.device)
        places = places.split([len(batch) for batch in order])
        generator = _generator(self.preprocessor.device)
        ahead, first = len(order), 0
        while first < len(order):
            for crops, state in self._draw(order[first : first + ahead], generator):
                generator.set_state(state)
                yield dict(dataset.batch(places[first], order[first]), crops=crops)
                first += 1
                if not torch.equal(generator.get_state(), state):
                    ahead = 1
                    break

    def _draw(self, order: Sequence[Sequence[int]], generator: torch.Generator) -> list[tuple]:
        """Draw the crops of batches; return each with the generator's state after it."""
        return [(self.preprocessor.draw(len(batch)), generator.get_state()) for batch in order]


def _generator(device: torch.device) -> torch.Generator:
    """Return the generator that random numbers on a device come from by default."""
    if device.type == 'cuda':
        return torch.cuda.default_generators[torch.cuda.current_device()]
    return torch.default_generator
