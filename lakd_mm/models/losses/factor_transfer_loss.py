"""Factor transfer."""

import torch
import torch.nn.functional as F
from mmrazor.models.architectures.connectors import Paraphraser, Translator
from mmrazor.models.losses import FTLoss
from mmrazor.registry import MODELS

from ...errors import ConfigError
from .feature_loss import FeatureLoss, check_maps


@MODELS.register_module()
class FactorTransferLoss(FeatureLoss):
    r"""Factor transfer (FT), whose paraphraser learns along with the student.

    .. math::
        L = w \, \frac{1}{N K H W} \Big\| \frac{F^S}{\|F^S\|_2} - \frac{F^T}{\|F^T\|_2} \Big\|_1
            + \frac{1}{N C H W} \| D(E(t)) - t \|_2^2, \quad F^T = \mathrm{sg}[E(t)], \;
            F^S = R(s)

    with E and D the paraphraser's encoder and decoder, R the translator, and factors of K channels,
    a ``rate`` of the teacher's. From `Paraphrasing Complex Network: Network Compression via Factor
    Transfer <https://arxiv.org/abs/1802.04977>`_ (NeurIPS 2018), with the mean of its
    authors' code. The paper trains the paraphraser before the student; here it is trained in the
    same steps by its own term only (our reading), so that one training does.

    Networks and comparison are MMRazor's ``Paraphraser``, ``Translator`` and ``FTLoss``, which are
    right; with them alone a method takes two trainings and a checkpoint in between.

    Args:
        student_channels (int): Channels of the student's feature.
        teacher_channels (int): Channels C of the teacher's.
        rate (float): Channels of a factor as a share of the teacher's. Defaults to 0.5.
        loss_weight (float): Weight w. Defaults to 500.0, as in the paper.

    Examples:
        >>> transfers = dict(
        ...     loss_ft=dict(
        ...         loss=dict(type='mmrazor.FactorTransferLoss'), at=[3], connector=None))
    """

    def __init__(
        self,
        student_channels: int,
        teacher_channels: int,
        rate: float = 0.5,
        loss_weight: float = 500.0,
    ):
        super().__init__(loss_weight)
        if not 0 < rate <= 1 or round(rate * teacher_channels) < 1:
            raise ConfigError(
                f'FactorTransferLoss: rate={rate} leaves no channel of {teacher_channels}, or is '
                f'above 1'
            )
        channels = round(rate * teacher_channels)
        self.paraphraser = Paraphraser(teacher_channels, channels)
        self.translator = Translator(student_channels, channels)
        self.distance = FTLoss()

    def forward(self, s_feature: torch.Tensor, t_feature: torch.Tensor) -> torch.Tensor:
        """Compare factors, and reconstruct the teacher's feature.

        Args:
            s_feature (torch.Tensor): The student's feature, shape (N, C', H, W).
            t_feature (torch.Tensor): The teacher's feature, shape (N, C, H, W); a constant.

        Returns:
            torch.Tensor: The weighted loss and the reconstruction's, a scalar.

        Raises:
            ConfigError: If the two are no maps of one size.
        """
        check_maps('FactorTransferLoss', s_feature, t_feature, of_one=True)
        if s_feature.shape[2:] != t_feature.shape[2:]:
            raise ConfigError(
                f'FactorTransferLoss: maps of {tuple(s_feature.shape[2:])} and of '
                f'{tuple(t_feature.shape[2:])}; pair taps of one size, or give a connector'
            )
        teacher = t_feature.detach()
        factor = self.paraphraser.encoder(teacher)
        reconstruction = F.mse_loss(self.paraphraser.decoder(factor), teacher)
        factors = self.translator(s_feature), factor.detach()
        # MMRazor's flatten with view.
        distance = self.distance(*(f.contiguous() for f in factors))
        return self.loss_weight * distance + reconstruction
