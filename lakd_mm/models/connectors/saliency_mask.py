"""Masks that show where a teacher's feature matters for a class."""

import weakref
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from numbers import Integral, Real
from typing import Any, Optional, Union

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmrazor.registry import MODELS

from ...errors import ConfigError, near_names, refuse_ignored
from ..places.upper_part import upper_part
from .attached_connector import AttachedConnector

Function = Callable[[torch.Tensor], torch.Tensor]


def gradient_saliency(
    logits: Function, feature: torch.Tensor, choose: Function, method: str = 'gradient'
) -> torch.Tensor:
    r"""Compute saliency from the gradient of a logit.

    With :math:`g = \partial z_c / \partial F`, 'gradient' (gradient times activation) is
    :math:`[\sum_C g F]_+`, 'grad_cam' is :math:`[\sum_C \overline{g} F]_+` with the mean of g over
    positions (`Grad-CAM <https://arxiv.org/abs/1610.02391>`_, Eq. 1 and 2), and 'layer_cam'
    is :math:`[\sum_C [g]_+ F]_+` (`LayerCAM <https://ieeexplore.ieee.org/document/9462463>`_, Eq. 5
    and 6).

    Args:
        logits (Callable): From features to logits (N, K).
        feature (torch.Tensor): Shape (N, C, H, W).
        choose (Callable): From logits to weights of the classes, shape (N, K), such as one-hot
            labels.
        method (str): One of the three. Defaults to 'gradient'.

    Returns:
        torch.Tensor: Shape (N, 1, H, W); no value is below zero.
    """
    feature = feature.detach().requires_grad_()
    found = logits(feature)
    (gradient,) = torch.autograd.grad((found * choose(found.detach())).sum(), feature)
    if method == 'grad_cam':
        gradient = gradient.mean(dim=(2, 3), keepdim=True)
    elif method == 'layer_cam':
        gradient = gradient.relu()
    return (gradient * feature.detach()).sum(dim=1, keepdim=True).relu()


def integrated_gradients(
    logits: Function, feature: torch.Tensor, choose: Function, steps: int = 16
) -> torch.Tensor:
    r"""Compute integrated gradients of a logit over a feature, starting from zeros.

    .. math::
        F \odot \int_0^1 \frac{\partial z_c}{\partial F}(\alpha F) \, d\alpha

    Its sum is :math:`z_c(F) - z_c(0)` (completeness). From `Axiomatic Attribution for Deep
    Networks <https://arxiv.org/abs/1703.01365>`_ (ICML 2017, Eq. 1); computed by captum,
    with Gauss-Legendre quadrature.

    Args:
        logits (Callable): From features to logits (N, K).
        feature (torch.Tensor): Shape (N, C, H, W).
        choose (Callable): From the logits of ``feature`` to weights of the classes, shape (N, K).
        steps (int): Number of points at which the gradient is taken. Defaults to 16.

    Returns:
        torch.Tensor: Shape (N, C, H, W), signed.
    """
    from captum.attr import IntegratedGradients

    feature = feature.detach()
    with torch.no_grad():
        chosen = choose(logits(feature))
    integrate = IntegratedGradients(lambda x, weights: (logits(x) * weights).sum(dim=1))
    return integrate.attribute(
        feature,
        additional_forward_args=(chosen,),
        n_steps=steps,
        # One step at a time takes no more memory than one backward.
        internal_batch_size=len(feature),
    ).to(feature.dtype)


def _is_whole(value: Any) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


MASK_METHODS = ('gradient', 'grad_cam', 'layer_cam', 'integrated_gradients', 'none')


@MODELS.register_module()
class SaliencyMask(AttachedConnector):
    """Turn a teacher's feature into a mask of where it matters for a class, per image.

    This is the causal mask of masked attention transfer. The part of the teacher above the tap runs
    once more, in float32, to get the gradient of one logit with respect to the tap's output. The
    teacher's parameters get no gradient, and the mask carries none.

    A :class:`LocalDistiller` attaches it to the teacher and passes it the labels. A transfer with a
    ``mask`` sets all of this up (see :func:`write_distiller`). Transfers with equal masks at a tap
    share one mask, which is computed once.

    Args:
        tap (str): Name of the module whose output is masked.
        method (str): 'gradient', 'grad_cam', 'layer_cam' (see :func:`gradient_saliency`),
            'integrated_gradients' (the absolute value of its sum over channels) or 'none', ones
            everywhere. Defaults to 'gradient'.
        target (str | int): The class: 'label', the teacher's 'prediction', or an index. Defaults to
            'label'.
        percentile (float, optional): The mask is 1 where saliency is above this percentile of its
            image, and 0 elsewhere. Defaults to None, a soft mask: each image's saliency, scaled so
            that its smallest value is 0 and its largest is 1.
        steps (int): Steps of integrated gradients. Defaults to 16.
        input_shape (Sequence[int]): Shape (C, H, W) of an image, for one run on noise. Defaults to
            (3, 32, 32).

    Raises:
        ConfigError: If an argument is unknown or would be ignored, or captum is needed and missing.
            When it is attached: if the part above the tap cannot run by itself, lets no gradient
            through, or has no such class.
    """

    wanted = 'module'

    def __init__(
        self,
        tap: str,
        method: str = 'gradient',
        target: Union[str, int] = 'label',
        percentile: Optional[float] = None,
        steps: int = 16,
        input_shape: Sequence[int] = (3, 32, 32),
    ):
        super().__init__(tap)
        if method not in MASK_METHODS:
            near = near_names(str(method), MASK_METHODS)
            raise ConfigError(f'SaliencyMask: method={method!r}; {near}')
        if target not in ('label', 'prediction') and not _is_whole(target):
            raise ConfigError(
                f"SaliencyMask: target={target!r} is neither 'label', 'prediction' nor the index "
                f'of a class'
            )
        if method == 'none':
            useless = dict(target=target, percentile=percentile, input_shape=input_shape)
            refuse_ignored(SaliencyMask, "with method='none'; leave it out", **useless)
        number = isinstance(percentile, Real)
        if percentile is not None and not (number and 0 < percentile < 100):
            raise ConfigError(f'SaliencyMask: percentile={percentile!r} is not between 0 and 100')
        if not _is_whole(steps) or steps < 1:
            raise ConfigError(f'SaliencyMask: steps={steps!r} is not a positive integer')
        if method == 'integrated_gradients':
            if find_spec('captum') is None:
                what = "SaliencyMask: method='integrated_gradients'"
                raise ConfigError(f'{what} needs captum; pip install captum')
        else:
            refuse_ignored(SaliencyMask, f'with method={method!r}; leave it out', steps=steps)
        self.method, self.target, self.percentile = method, target, percentile
        self.steps, self.input_shape = steps, tuple(input_shape)
        self._logits: Optional[Function] = None
        self._latest: tuple = ()

    def __getstate__(self) -> dict:
        """Leave the latest mask out of copies, since its reference cannot be pickled."""
        return {**self.__dict__, '_latest': ()}

    @property
    def reads_classes(self) -> bool:
        """Whether it takes the images' labels for classes of the network above."""
        return self.method != 'none' and self.target == 'label'

    def check_record(self, source: str, from_student: bool):
        """Raise a ConfigError unless the records are the teacher's, of the mask's tap."""
        if from_student or source != self._layer_name:
            side = 'student' if from_student else 'teacher'
            raise ConfigError(
                f'SaliencyMask(tap={self._layer_name!r}) follows a recorder of the '
                f"{side}'s {source!r}; give it the teacher's records of its tap"
            )

    def fits(self, module: nn.Module) -> bool:
        """Accept any module."""
        return True

    def attach(self, model: nn.Module):
        """Compute the logits of ``model`` from now on."""
        super().attach(model)
        if self.method == 'none':
            return
        try:
            self._logits = upper_part(model, self._layer_name, self.input_shape)
        except ConfigError as error:
            raise ConfigError(f'SaliencyMask(method={self.method!r}): {error}') from error

    def forward_train(
        self, feature: torch.Tensor, data_samples: Optional[list] = None
    ) -> torch.Tensor:
        """Compute the mask.

        Args:
            feature (torch.Tensor): The tap's output, shape (N, C, H, W).
            data_samples (List[DataSample], optional): With the labels or soft labels, if these
                are the target.

        Returns:
            torch.Tensor: Shape (N, 1, H, W), from 0 to 1.

        Raises:
            ValueError: If the feature has no spatial extent, or the class does not exist.
        """
        if feature.ndim != 4 or feature[0, 0].numel() == 1:
            raise ValueError(
                f'a mask needs positions, but the feature has shape {tuple(feature.shape)}; tap a '
                f'layer whose map has more than one'
            )
        if not self._latest or self._latest[0]() is not feature:
            mask = self._mask(feature.detach().float(), data_samples)
            self._latest = (weakref.ref(feature), mask)
        return self._latest[1]

    forward = forward_train

    def _mask(self, feature: torch.Tensor, data_samples: Optional[list]) -> torch.Tensor:
        if self.method == 'none':
            return torch.ones_like(feature[:, :1])
        choose = partial(self._choose, data_samples)
        with torch.enable_grad(), torch.autocast(feature.device.type, enabled=False):
            if self.method == 'integrated_gradients':
                signed = integrated_gradients(self._logits, feature, choose, self.steps)
                saliency = signed.sum(dim=1, keepdim=True).abs()
            else:
                saliency = gradient_saliency(self._logits, feature, choose, self.method)
        flat = saliency.flatten(1)
        if self.percentile is not None:
            threshold = flat.quantile(self.percentile / 100, dim=1, keepdim=True)
            return (flat > threshold).to(feature).view_as(saliency)
        least, largest = flat.aminmax(dim=1, keepdim=True)
        span = (largest - least).clamp_min(torch.finfo(flat.dtype).tiny)
        return ((flat - least) / span).view_as(saliency)

    def _choose(self, data_samples: Optional[list], logits: torch.Tensor) -> torch.Tensor:
        """Return the weights of the classes, shape (N, K)."""
        classes = logits.shape[1]
        if self.target == 'prediction':
            index = logits.argmax(dim=1)
        elif self.target == 'label':
            if data_samples is None:
                raise ValueError("a mask for the label needs labels; set target='prediction'")
            if 'gt_score' in data_samples[0]:
                return torch.stack([sample.gt_score for sample in data_samples]).to(logits)
            index = torch.cat([sample.gt_label for sample in data_samples]).to(logits.device)
        else:
            target = self.target
            if not 0 <= target < classes:
                raise ValueError(
                    f'target={target} is none of the {classes} classes, counted from 0'
                )
            index = logits.new_full((len(logits),), target, dtype=torch.long)
        return F.one_hot(index, classes).to(logits)
