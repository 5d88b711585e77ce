"""Contrastive representation distillation."""

import math
from typing import Optional

import torch
import torch.nn as nn
from mmengine.dist import all_gather, all_reduce
from mmrazor.registry import MODELS
from torch.utils.data import Dataset

from ...errors import ConfigError


def noise_contrastive_loss(scores: torch.Tensor, num_data: int, eps: float = 1e-7) -> torch.Tensor:
    r"""Compute noise contrastive estimation over one positive and m negatives.

    .. math::
        -\frac{1}{N} \sum_n \Big[ \log \frac{x_{n0}}{x_{n0} + m / M + \epsilon}
            + \sum_{j=1}^{m} \log \frac{m / M}{x_{nj} + m / M + \epsilon} \Big]

    where M is the number of data (`CRD <https://arxiv.org/abs/1910.10699>`_, Eq. 18).

    Args:
        scores (torch.Tensor): Unnormalised probabilities, shape (N, 1 + m), the positive first.
        num_data (int): M.
        eps (float): Defaults to 1e-7.

    Returns:
        torch.Tensor: A scalar.
    """
    noise = (scores.shape[1] - 1) / num_data
    positive, negatives = scores[:, 0], scores[:, 1:]
    log_positive = (positive / (positive + noise + eps)).log()
    log_negatives = (noise / (negatives + noise + eps)).log()
    return -(log_positive.sum() + log_negatives.sum()) / len(scores)


def _of_all_processes(tensor: torch.Tensor) -> torch.Tensor:
    """Gather the rows of all processes, so that their banks stay the same."""
    return torch.cat(all_gather(tensor.contiguous()))


@MODELS.register_module()
class ContrastiveRepresentationLoss(nn.Module):
    """Contrastive representation distillation (CRD) with memory banks.

    The loss pulls an image's student embedding to its teacher embedding and pushes it away from the
    teacher embeddings of images of other classes, and does the same with the roles exchanged. Two
    memory banks hold the embeddings. From `Contrastive Representation Distillation
    <https://arxiv.org/abs/1910.10699>`_ (ICLR 2020).

    It differs from MMRazor's ``CRDLoss``: the weight has an effect; the loss itself draws
    negatives, on the device, so any data set with ``sample_idx`` and labels works; scores are
    products with a whole bank, not with gathered copies of 16,384 rows for each image; and all
    processes of a distributed training have the same banks. In the first epoch the labels of unseen
    images are unknown, so a negative may have the same class. Negatives are drawn with replacement
    (our reading; the literature's code draws without).

    Args:
        num_data (int): Images in the training set; ``sample_idx`` counts them. Defaults to 50000.
        num_negatives (int): Negatives for each image. Defaults to 16384.
        temperature (float): Defaults to 0.07.
        momentum (float): How much of a bank's row an update keeps. Defaults to 0.5.
        dim (int): Width of the embeddings. Defaults to 128.
        loss_weight (float): Defaults to 0.8, as in the literature.

    Raises:
        ConfigError: If an option is out of range.

    Examples:
        >>> transfers = dict(
        ...     loss_crd=dict(
        ...         loss=dict(type='mmrazor.ContrastiveRepresentationLoss', num_data=50000),
        ...         at='pooled',
        ...         connector=dict(type='mmrazor.CRDConnector'),
        ...         teacher_connector=dict(type='mmrazor.CRDConnector')))
    """

    def __init__(
        self,
        num_data: int = 50000,
        num_negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
        dim: int = 128,
        loss_weight: float = 0.8,
    ):
        super().__init__()
        if num_data < 2 or num_negatives < 1 or temperature <= 0 or not 0 <= momentum < 1:
            raise ConfigError(
                f'ContrastiveRepresentationLoss: num_data={num_data}, num_negatives='
                f'{num_negatives}, temperature={temperature}, momentum={momentum}; they must be '
                f'at least 2, at least 1, positive, and in [0, 1)'
            )
        self.num_data = num_data
        self.num_negatives = num_negatives
        self.temperature = temperature
        self.momentum = momentum
        self.loss_weight = loss_weight
        bound = 1 / math.sqrt(dim / 3)
        for side in ('student', 'teacher'):
            bank = torch.empty(num_data, dim).uniform_(-bound, bound)
            self.register_buffer(f'{side}_bank', bank)
            # Normalizer of the scores; the first batch sets it.
            self.register_buffer(f'{side}_normalizer', torch.tensor(-1.0))
        self.register_buffer('labels', torch.full((num_data,), -1))

    def forward(
        self, s_feature: torch.Tensor, t_feature: torch.Tensor, data_samples: Optional[list] = None
    ) -> torch.Tensor:
        """Contrast embeddings.

        Args:
            s_feature (torch.Tensor): The student's embeddings, shape (N, dim), of unit norm.
            t_feature (torch.Tensor): The teacher's embeddings, shape (N, dim), of unit norm. Not a
                constant: the layer that makes them is trained too.
            data_samples (List[DataSample], optional): With ``sample_idx`` and labels.

        Returns:
            torch.Tensor: The weighted loss, a scalar.

        Raises:
            ConfigError: If there are no sample indices, or one of them is ``num_data`` or more.
        """
        index, labels = self._identify(data_samples, s_feature.device)
        if self.training:
            self.labels[_of_all_processes(index)] = _of_all_processes(labels)
        drawn = torch.cat([index[:, None], self._draw(index, labels)], dim=1)
        # Half precision cannot hold sums of thousands of exponentials.
        with torch.autocast(s_feature.device.type, enabled=False):
            features = [f.to(self.student_bank.dtype) for f in (s_feature, t_feature)]
            loss = sum(
                noise_contrastive_loss(self._scores(feature, side, drawn), self.num_data)
                for feature, side in zip(features, ('student', 'teacher'))
            )
            if self.training:
                for feature, bank in zip(features, (self.student_bank, self.teacher_bank)):
                    self._remember(index, feature, bank)
        return self.loss_weight * loss

    def check_data(self, dataset: Dataset):
        """Check before training that the training set fits into the banks.

        Raises:
            ConfigError: If it has more than ``num_data`` images.
        """
        while hasattr(dataset, 'dataset'):
            # Such as RepeatDataset, whose samples have the index of the image.
            dataset = dataset.dataset
        if len(dataset) > self.num_data:
            raise ConfigError(
                f'ContrastiveRepresentationLoss: the training set has {len(dataset)} images, the '
                f'banks have num_data={self.num_data} rows; set num_data to {len(dataset)}'
            )

    def _identify(self, data_samples: Optional[list], device) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the indices of the images, and their labels."""
        if not data_samples or 'sample_idx' not in data_samples[0]:
            raise ConfigError(
                'ContrastiveRepresentationLoss: the data samples have no sample_idx; the data '
                "pipeline's PackInputs must not drop it from its meta_keys"
            )
        index = torch.cat([torch.as_tensor(s.sample_idx).reshape(-1) for s in data_samples])
        # It would wait for a GPU; :meth:`check_data` has counted the images.
        if index.device.type == 'cpu' and index.max() >= self.num_data:
            raise ConfigError(
                f'ContrastiveRepresentationLoss: image {int(index.max())} of a training set of '
                f'num_data={self.num_data}; set num_data to its number of images'
            )
        return index.to(device), torch.cat([sample.gt_label for sample in data_samples]).to(device)

    def _draw(self, index: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Draw indices of images of other classes, shape (N, num_negatives).

        Sorted by class, the others of a class are one run that starts behind it, in a circle, so
        none has to be drawn again and no shape depends on data. If there is one class only, all
        images are drawn from.
        """
        known = self.labels.index_put((index,), labels)
        in_order, order = known.sort()
        start = torch.searchsorted(in_order, labels)
        end = torch.searchsorted(in_order, labels, right=True)
        others = self.num_data - (end - start)
        others = torch.where(others > 0, others, self.num_data)[:, None]
        size = (len(index), self.num_negatives)
        # In float32 a draw from a million images would not be even.
        drawn = (torch.rand(size, device=index.device, dtype=torch.float64) * others).long()
        return order.repeat(2)[end[:, None] + drawn.minimum(others - 1)]

    def _scores(self, feature: torch.Tensor, side: str, drawn: torch.Tensor) -> torch.Tensor:
        """Score one side against the other side's bank, shape (N, 1 + num_negatives)."""
        bank = self.teacher_bank if side == 'student' else self.student_bank
        # Clone it: the bank is updated before the backward.
        products = (feature @ bank.clone().T).gather(1, drawn)
        scores = (products / self.temperature).exp()
        normalizer = getattr(self, f'{side}_normalizer')
        if not self.training:
            return scores / (scores.mean() * self.num_data)
        mean = scores.detach().mean()
        all_reduce(mean, 'mean')
        normalizer.copy_(torch.where(normalizer < 0, mean * self.num_data, normalizer))
        return scores / normalizer

    @torch.no_grad()
    def _remember(self, index: torch.Tensor, feature: torch.Tensor, bank: torch.Tensor):
        index, feature = _of_all_processes(index), _of_all_processes(feature.detach())
        row = self.momentum * bank[index] + (1 - self.momentum) * feature
        bank[index] = nn.functional.normalize(row, dim=1)
