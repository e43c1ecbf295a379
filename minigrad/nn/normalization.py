"""Layers that standardise: over the batch, over each token, or over groups of channels.

Parameters are in float32, the running statistics of a batch norm in float64, for a layer made to be of float64, too.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from minigrad import checks
from minigrad import functional as F
from minigrad.functional.normalization import standardise_by, update_running_statistics
from minigrad.functional.validation import as_shape, validate_batch, validate_group_norm, validate_instance_norm
from minigrad.nn.module import Module, Parameter
from minigrad.tensor import Array


def _affine(shape: int | tuple[int, ...], weight: bool, bias: bool) -> tuple[Parameter | None, Parameter | None]:
    return (
        Parameter(np.ones(shape, np.float32)) if weight else None,
        Parameter(np.zeros(shape, np.float32)) if bias else None,
    )


class LayerNorm(Module):
    """weight · (x − mean x) / √(var x + eps) + bias over the last axes; x: (..., *normalized_shape), gives the same.

    weight: ones, bias: zeros of normalized_shape. Ba, Kiros, Hinton: Layer Normalization (2016).

    >>> import numpy as np, minigrad as mg
    >>> np.round(mg.nn.LayerNorm(4)(mg.tensor([[4.0, 2.0, 3.0, 5.0]])), 3)
    tensor([[ 0.447, -1.342, -0.447,  1.342]], rule=round)
    """

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        self.normalized_shape = as_shape(normalized_shape)
        checks.positive("LayerNorm", **{f"normalized_shape[{i}]": n for i, n in enumerate(self.normalized_shape)})
        if not self.normalized_shape:
            raise ValueError("LayerNorm: normalized_shape must have an axis, not ()")
        checks.positive_number("LayerNorm", eps=eps)
        checks.flag("LayerNorm", elementwise_affine=elementwise_affine, bias=bias)
        if self.normalized_shape == (1,):
            warnings.warn("LayerNorm over one feature gives its bias, whatever the input", RuntimeWarning, stacklevel=2)
        self.eps = eps
        self.weight, self.bias = _affine(self.normalized_shape, elementwise_affine, elementwise_affine and bias)

    def forward(self, x: Any) -> Any:
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


class RMSNorm(Module):
    """weight · x / √(mean x² + eps) over the last axes; x: (..., *normalized_shape), gives the same.

    Zhang, Sennrich: Root Mean Square Layer Normalization (2019).
    """

    def __init__(
        self, normalized_shape: int | tuple[int, ...], eps: float = 1e-6, elementwise_affine: bool = True
    ) -> None:
        self.normalized_shape = as_shape(normalized_shape)
        checks.positive("RMSNorm", **{f"normalized_shape[{i}]": n for i, n in enumerate(self.normalized_shape)})
        if not self.normalized_shape:
            raise ValueError("RMSNorm: normalized_shape must have an axis, not ()")
        checks.positive_number("RMSNorm", eps=eps)
        checks.flag("RMSNorm", elementwise_affine=elementwise_affine)
        self.eps = eps
        self.weight, _ = _affine(self.normalized_shape, elementwise_affine, False)

    def forward(self, x: Any) -> Any:
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)


class BatchNorm1d(Module):
    """weight · (x − mean) / √(var + eps) + bias for each channel; x: (N, C) or (N, C, L), gives the same.

    In training, mean and biased variance of the batch are used, and the running ones move by the fraction momentum
    towards the batch's mean and unbiased variance (momentum=None: their average over all batches). In evaluation the
    running ones are used, unless track_running_stats=False. They are also updated under no_grad, but not by a batch
    whose mean or variance is not finite; num_batches_tracked counts those that have moved them.
    Ioffe, Szegedy: Batch Normalization (2015).

    >>> import numpy as np, minigrad as mg
    >>> np.round(mg.nn.BatchNorm1d(1)(mg.tensor([[3.0], [5.0], [-2.0]])), 3)
    tensor([[ 0.34 ],
            [ 1.019],
            [-1.359]], rule=round)
    """

    running_mean: Array | None
    running_var: Array | None
    num_batches_tracked: Array | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        checks.positive("BatchNorm1d", num_features=num_features)
        checks.positive_number("BatchNorm1d", eps=eps)
        if momentum is not None:
            checks.probability("BatchNorm1d", momentum=momentum)
        checks.flag("BatchNorm1d", affine=affine, track_running_stats=track_running_stats)
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.weight, self.bias = _affine(num_features, affine, affine)
        self.register_buffer("running_mean", np.zeros(num_features) if track_running_stats else None)
        self.register_buffer("running_var", np.ones(num_features) if track_running_stats else None)
        self.register_buffer("num_batches_tracked", np.zeros((), np.int64) if track_running_stats else None)

    def forward(self, x: Any) -> Any:
        mean, var = (None, None) if self.training else (self.running_mean, self.running_var)
        affine = self.weight, self.bias
        validate_batch(x, mean, var, *affine, self.training, self.eps, "BatchNorm1d", self.num_features)
        if mean is not None and var is not None:
            return standardise_by(x, mean, var, *affine, self.eps)
        y = F.batch_standardise(x, *affine, self.eps)
        if self.num_batches_tracked is not None and self.training:  # after all that may raise
            batches = int(self.num_batches_tracked) + 1
            momentum = 1 / batches if self.momentum is None else self.momentum
            if update_running_statistics(x, self.running_mean, self.running_var, momentum):
                self.num_batches_tracked[...] = batches
        return y


class GroupNorm(Module):
    """weight · (x − mean x) / √(var x + eps) + bias over each of num_groups groups of channels; x: (N, C, ...).

    Wu, He: Group Normalization (2018).
    """

    def __init__(self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True) -> None:
        checks.positive("GroupNorm", num_groups=num_groups, num_channels=num_channels)
        checks.positive_number("GroupNorm", eps=eps)
        checks.flag("GroupNorm", affine=affine)
        if num_channels % num_groups:
            raise ValueError(
                f"GroupNorm: num_channels={num_channels} cannot be cut into num_groups={num_groups} equal groups"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.weight, self.bias = _affine(num_channels, affine, affine)

    def forward(self, x: Any) -> Any:
        values = x, self.num_groups, self.weight, self.bias, self.eps
        validate_group_norm(*values, layer="GroupNorm", num_channels=self.num_channels)
        return F.group_norm.compute(*values)


class InstanceNorm1d(Module):
    """weight · (x − mean x) / √(var x + eps) + bias over each channel of each instance; x: (N, C, L).

    Without weight and bias unless affine=True. Ulyanov, Vedaldi, Lempitsky: Instance Normalization (2016).
    """

    def __init__(self, num_features: int, eps: float = 1e-5, *, affine: bool = False) -> None:
        checks.positive("InstanceNorm1d", num_features=num_features)
        checks.positive_number("InstanceNorm1d", eps=eps)
        checks.flag("InstanceNorm1d", affine=affine)
        self.num_features = num_features
        self.eps = eps
        self.weight, self.bias = _affine(num_features, affine, affine)

    def forward(self, x: Any) -> Any:
        values = x, self.weight, self.bias, self.eps
        validate_instance_norm(*values, layer="InstanceNorm1d", num_features=self.num_features)
        return F.instance_norm.compute(*values)
