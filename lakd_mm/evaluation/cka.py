"""Centered kernel alignment: how similarly two layers arrange the same images.

Linear CKA is from `Similarity of Neural Network Representations Revisited
<https://arxiv.org/abs/1905.00414>`_. Its unbiased form, summed over batches, is from `Do Wide and
Deep Networks Learn the Same Things? <https://arxiv.org/abs/2010.15327>`_, section 2.
"""

from collections.abc import Sequence

import torch

from ..errors import ConfigError

# With fewer images the unbiased estimator divides by zero.
MIN_IMAGES = 4


def gram(features: torch.Tensor) -> torch.Tensor:
    """Compute the inner products of all pairs of images.

    Args:
        features (torch.Tensor): Shape (N, …); all dimensions after N form one vector.

    Returns:
        torch.Tensor: Shape (N, N), float64.
    """
    features = features.flatten(1).double()
    return features @ features.T


def centered(grams: torch.Tensor, unbiased: bool = True) -> torch.Tensor:
    """Center Gram matrices, so that their inner products are multiples of HSIC.

    Args:
        grams (torch.Tensor): Shape (…, N, N).
        unbiased (bool): Whether to leave out the diagonal and center the rest ("U-centering"), for
            HSIC_1, or to center all of it, for HSIC_0. Defaults to True.

    Returns:
        torch.Tensor: The same shape.

    Raises:
        ConfigError: If there are fewer than 4 images and ``unbiased``.
    """
    n = grams.size(-1)
    if not unbiased:
        rows = grams.mean(-1, keepdim=True)
        return grams - rows - rows.mT + rows.mean(-2, keepdim=True)
    if n < MIN_IMAGES:
        raise ConfigError(f'unbiased CKA needs batches of at least {MIN_IMAGES} images, not {n}')
    diagonal = torch.eye(n, dtype=torch.bool, device=grams.device)
    grams = grams.masked_fill(diagonal, 0)
    rows = grams.sum(-1, keepdim=True) / (n - 2)
    result = grams - rows - rows.mT + rows.sum(-2, keepdim=True) / (n - 1)
    return result.masked_fill(diagonal, 0)


def hsic(grams_x: torch.Tensor, grams_y: torch.Tensor, unbiased: bool = True) -> torch.Tensor:
    """Compute the Hilbert-Schmidt independence criterion of all pairs of Gram matrices.

    Args:
        grams_x (torch.Tensor): Shape (L, N, N).
        grams_y (torch.Tensor): Shape (M, N, N).
        unbiased (bool): Whether to compute HSIC_1, whose expectation does not depend on N, or the
            plain HSIC_0. Defaults to True.

    Returns:
        torch.Tensor: Shape (L, M).
    """
    n = grams_x.size(-1)
    x, y = (centered(grams, unbiased).flatten(1) for grams in (grams_x, grams_y))
    return x @ y.T / (n * (n - 3) if unbiased else (n - 1) ** 2)


class CKASums:
    """CKA of all pairs of layers over many batches: sums that are divided at the end.

    A batch has the weight of its number of images. If ``unbiased``, batches of fewer than 4 images
    are left out.

    Args:
        unbiased (bool): Whether to use HSIC_1, which suits batches. With HSIC_0 the result is
            linear CKA if one batch holds all images; otherwise it depends on the batches. Defaults
            to True.
    """

    def __init__(self, unbiased: bool = True):
        self.unbiased = unbiased
        self.sums = None

    def add(self, grams_x: Sequence[torch.Tensor], grams_y: Sequence[torch.Tensor]):
        """Add a batch.

        Args:
            grams_x (Sequence[torch.Tensor]): A Gram matrix for each layer, shape (N, N).
            grams_y (Sequence[torch.Tensor]): The other network's, for the same images.
        """
        x, y = (torch.stack(tuple(grams)) for grams in (grams_x, grams_y))
        n = x.size(-1)
        if self.unbiased and n < MIN_IMAGES:
            return
        new = [n * hsic(x, y, self.unbiased)]
        for grams in (x, y):
            own = [hsic(one[None], one[None], self.unbiased).flatten() for one in grams]
            new.append(n * torch.cat(own))
        self.sums = new if self.sums is None else [a + b for a, b in zip(self.sums, new)]

    def matrix(self) -> torch.Tensor:
        """Compute the CKA so far, shape (L, M).

        It is 1 for layers that are equal up to rotation and scale. The unbiased estimate can be
        slightly below 0. It is not a number if a layer is the same for all images.

        Raises:
            ConfigError: If no batch has been added.
        """
        if self.sums is None:
            raise ConfigError(f'CKA needs a batch of at least {MIN_IMAGES} images')
        xy, xx, yy = self.sums
        return xy / (xx.sqrt()[:, None] * yy.sqrt())


def cka(x: torch.Tensor, y: torch.Tensor, unbiased: bool = False) -> torch.Tensor:
    """Compute the CKA of two layers on one batch: linear CKA unless ``unbiased``.

    Args:
        x (torch.Tensor): Features of shape (N, …).
        y (torch.Tensor): Features of the same images, shape (N, …).
        unbiased (bool): Whether to use HSIC_1. Defaults to False.

    Returns:
        torch.Tensor: A scalar, float64.
    """
    sums = CKASums(unbiased)
    sums.add([gram(x)], [gram(y)])
    return sums.matrix()[0, 0]
