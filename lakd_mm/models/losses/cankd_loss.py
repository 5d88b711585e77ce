"""Cross-attention non-local distillation."""

from typing import Optional

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmrazor.registry import MODELS
from torch.utils.checkpoint import checkpoint

from ...errors import ConfigError, refuse_ignored
from .feature_loss import FeatureLoss, check_equal_maps

_ATTENTION = ('dot', 'gaussian', 'embedded_gaussian')


def dot_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    r"""Compute non-local attention without a softmax, ``(Q K^T / M) V`` for M keys.

    It is computed as ``Q (K^T V) / M``. The result is the same, but memory holds D x D' numbers for
    each sample, not one for each pair of a query and a key.

    Args:
        query (torch.Tensor): Shape (N, L, D).
        key (torch.Tensor): Shape (N, M, D).
        value (torch.Tensor): Shape (N, M, D').

    Returns:
        torch.Tensor: Shape (N, L, D').
    """
    return query @ (key.transpose(1, 2) @ value / key.shape[1])


def softmax_attention(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, max_scores: int
) -> torch.Tensor:
    """Compute non-local attention with a softmax over keys, ``softmax(Q K^T) V``.

    Above ``max_scores`` scores it splits the queries into blocks that stay below, and computes each
    block again in the backward instead of keeping it.

    Args:
        query (torch.Tensor): Shape (N, L, D).
        key (torch.Tensor): Shape (N, M, D).
        value (torch.Tensor): Shape (N, M, D').
        max_scores (int): How many scores of a batch to hold in memory at once.

    Returns:
        torch.Tensor: Shape (N, L, D').
    """
    length = max(1, max_scores // (len(key) * key.shape[1]))
    if length >= query.shape[1]:
        return _softmax_attention(query, key, value)
    blocks = [
        checkpoint(_softmax_attention, block, key, value, use_reentrant=False)
        for block in query.split(length, dim=1)
    ]
    return torch.cat(blocks, dim=1)


def _softmax_attention(query, key, value):
    return (query @ key.transpose(1, 2)).softmax(dim=-1) @ value


@MODELS.register_module()
class CanKDLoss(FeatureLoss):
    r"""Cross-attention non-local knowledge distillation (CanKD).

    .. math::
        Y = \frac{1}{M} \theta(S)^T \phi(T) \, g(T)^T, \quad Z = S + W(Y), \quad
        L = \frac{1}{2 N C H W} \| IN(Z) - IN(T) \|_2^2

    Each position of the student attends to M pooled positions of the teacher; phi and g are
    followed by max-pooling, W is a 1x1 convolution and BatchNorm that starts at zero, and IN is
    instance normalization without weights. From `CanKD: Cross-Attention-based Non-local operation
    for Feature-based Knowledge Distillation <https://arxiv.org/abs/2511.21503>`_.

    Parameters are named ``theta``, ``phi``, ``g``, ``W.0`` and ``W.1``. Loading maps the names of
    the authors' checkpoints (``non_local_att.att.phi.0``) to these.

    Args:
        in_channels (int): C of both features.
        inner_channels (int, optional): Width of theta, phi and g. Defaults to C // 2.
        pool_size (int): Size and stride of the max-pooling. Defaults to 2.
        attention (str): 'dot' as above; 'embedded_gaussian', with a softmax over the M positions
            instead of 1 / M; 'gaussian', the same without theta and phi. Defaults to 'dot'.
        norm (bool): Whether IN is applied. Defaults to True.
        residual (bool): Whether S is added. Defaults to True.
        resize (bool): Whether a student's map of another size is resized (bilinear) to the
            teacher's. Defaults to False.
        max_scores (int): If a batch has more pairs of positions, the softmax is computed in blocks.
            Not for 'dot', which never holds them. Defaults to 2 ** 24.
        loss_weight (float): Defaults to 10.0, as in the authors' code. With the factor 1/2 it is
            the 5 of their paper.

    Raises:
        ConfigError: If an option is unknown, not positive or would be ignored.

    Examples:
        >>> loss = dict(type='mmrazor.CanKDLoss', in_channels=256)
    """

    def __init__(
        self,
        in_channels: int,
        inner_channels: Optional[int] = None,
        pool_size: int = 2,
        attention: str = 'dot',
        norm: bool = True,
        residual: bool = True,
        resize: bool = False,
        max_scores: int = 2**24,
        loss_weight: float = 10.0,
    ):
        super().__init__(loss_weight)
        if attention not in _ATTENTION:
            raise ConfigError(
                f'CanKDLoss: attention={attention!r} is none of {", ".join(map(repr, _ATTENTION))}'
            )
        if inner_channels is None:
            inner_channels = max(in_channels // 2, 1)
        if min(in_channels, inner_channels, pool_size, max_scores) < 1:
            raise ConfigError(
                f'CanKDLoss: in_channels={in_channels}, inner_channels={inner_channels}, '
                f'pool_size={pool_size} and max_scores={max_scores} must be positive'
            )
        if attention == 'dot':
            refuse_ignored(CanKDLoss, "with attention='dot'; leave it out", max_scores=max_scores)
        self.in_channels, self.pool_size, self.attention = in_channels, pool_size, attention
        self.norm, self.residual, self.resize = norm, residual, resize
        self.max_scores = max_scores
        if attention != 'gaussian':
            self.theta = nn.Conv2d(in_channels, inner_channels, 1)
            self.phi = nn.Conv2d(in_channels, inner_channels, 1)
        self.g = nn.Conv2d(in_channels, inner_channels, 1)
        self.W = nn.Sequential(
            nn.Conv2d(inner_channels, in_channels, 1), nn.BatchNorm2d(in_channels)
        )
        nn.init.zeros_(self.W[1].weight)
        self._register_load_state_dict_pre_hook(_map_published_keys)

    def compare(self, s_feature: torch.Tensor, t_feature: torch.Tensor) -> torch.Tensor:
        """Compare the student, enriched by attention to the teacher, with the teacher."""
        if self.resize and s_feature.shape[2:] != t_feature.shape[2:]:
            s_feature = F.interpolate(s_feature, t_feature.shape[2:], mode='bilinear')
        self._check(s_feature, t_feature)
        enriched = self.W(self._attend(s_feature, t_feature))
        if self.residual:
            enriched = enriched + s_feature
        if self.norm:
            enriched, t_feature = F.instance_norm(enriched), F.instance_norm(t_feature)
        return 0.5 * F.mse_loss(enriched, t_feature)

    def _attend(self, student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
        """Gather the teacher's values for each position, shape (N, inner_channels, H, W)."""
        embed = self.attention != 'gaussian'
        query = (self.theta(student) if embed else student).flatten(2).transpose(1, 2)
        key = self._pool(self.phi(teacher) if embed else teacher)
        value = self._pool(self.g(teacher))
        if self.attention == 'dot':
            gathered = dot_attention(query, key, value)
        else:
            gathered = softmax_attention(query, key, value, self.max_scores)
        return gathered.transpose(1, 2).unflatten(2, student.shape[2:])

    def _pool(self, feature: torch.Tensor) -> torch.Tensor:
        """Pool and flatten shape (N, C, H, W) to (N, M, C)."""
        if self.pool_size > 1:
            feature = F.max_pool2d(feature, self.pool_size)
        return feature.flatten(2).transpose(1, 2)

    def _check(self, student: torch.Tensor, teacher: torch.Tensor):
        remedy = 'resize=True for the size'
        check_equal_maps('CanKDLoss', student, teacher, self.in_channels, remedy)
        if min(student.shape[2:]) < self.pool_size or (
            self.norm and student.shape[2] * student.shape[3] == 1
        ):
            raise ConfigError(
                f'CanKDLoss: maps of {tuple(student.shape[2:])} are too small for pool_size='
                f'{self.pool_size} or for norm=True; tap an earlier stage, or change these'
            )


def _map_published_keys(state_dict: dict, prefix: str, *_):
    """Turn the parameter names of the authors' checkpoints into ours, in place."""
    published = f'{prefix}non_local_att.'
    for key in [key for key in state_dict if key.startswith(published)]:
        name = key[len(published) :].replace('att.', '', 1)
        name = name.replace('phi.0.', 'phi.').replace('g.0.', 'g.')
        state_dict[prefix + name] = state_dict.pop(key)
