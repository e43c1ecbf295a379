"""Normalisation: over each token, over the batch, or over groups of channels. N is a batch, C channels, D features."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad.checkpoint import is_recomputing
from minigrad.functional.definition import X, define, kernel_of
from minigrad.functional.matrices import as_rows, column_sums, constant_vector
from minigrad.functional.validation import (
    as_shape,
    validate_batch_norm,
    validate_group_norm,
    validate_instance_norm,
    validate_layer_norm,
    validate_rms_norm,
)
from minigrad.rule import shared
from minigrad.tensor import Array, detached


def standardise(x: X, axis: tuple[int, ...], eps: float) -> X:
    """(x − mean x) / √(var x + eps) along the axes, with the biased variance.

    Computed in float64: beside a mean of 10⁶ the spread of float32 values drowns, and the square of 10²⁰ overflows.
    """
    if not x.size:
        return x
    wide = x.astype(np.float64)
    c = wide - np.mean(wide, axis=axis, keepdims=True)
    return (c / np.sqrt(np.mean(c * c, axis=axis, keepdims=True) + eps)).astype(x.dtype)


def scale_and_shift(x: X, weight: X | None, bias: X | None, axis: int) -> X:
    """weight · x + bias, whose first axis lies along this axis of x; either may be None."""

    def along(v: X) -> X:
        return np.reshape(v, v.shape + (1,) * (x.ndim - axis - v.ndim))

    x = x if weight is None else x * along(weight)
    return x if bias is None else x + along(bias)


# ---- each token for itself -------------------------------------------------------------------------------------------


@define(validate_layer_norm)
def layer_norm(
    x: X, normalized_shape: int | tuple[int, ...], weight: X | None = None, bias: X | None = None, eps: float = 1e-5
) -> X:
    """weight · (x − mean x) / √(var x + eps) + bias over the last axes, each token for itself; same shape as x.

    x: (..., *normalized_shape); weight, bias: normalized_shape. Ba, Kiros, Hinton: Layer Normalization (2016).
    """
    k = len(as_shape(normalized_shape))
    return scale_and_shift(standardise(x, tuple(range(-k, 0)), eps), weight, bias, x.ndim - k)


@kernel_of(layer_norm)
def layer_norm_kernel(x, weight, bias, /, normalized_shape, eps):
    shape = as_shape(normalized_shape)
    n = math.prod(shape)
    rows = x.reshape(x.size // max(n, 1), n)
    averaging = constant_vector(n, 1 / max(n, 1), x.dtype)
    m = rows @ averaging
    c = rows - m[:, None]
    with np.errstate(over="ignore"):
        r = np.vecdot(c, c)
        r *= 1 / max(n, 1)
        r = _reciprocal_root(r, eps)
        if _is_far(m, r):
            return _in_float64(layer_norm_kernel, x, weight, bias, normalized_shape, eps)
    r = r[:, None]
    c *= r  # standardised
    w = None if weight is None else weight.reshape(-1)
    y = c.copy() if w is None else c * w
    if bias is not None:
        y += bias.reshape(-1)

    def pull_x(g):
        h = g.reshape(c.shape).copy() if w is None else g.reshape(c.shape) * w
        along = np.vecdot(h, c)
        along *= 1 / max(n, 1)
        h -= (h @ averaging)[:, None]
        h -= c * along[:, None]
        h *= r
        return h.reshape(g.shape)

    def sums(z):
        return column_sums(z) if len(shape) == 1 else column_sums(z).reshape(shape)

    return y.reshape(x.shape), (
        pull_x,
        lambda g: sums(g.reshape(c.shape) * c),
        lambda g: sums(g.reshape(c.shape)),
    )


@define(validate_rms_norm)
def rms_norm(x: X, normalized_shape: int | tuple[int, ...], weight: X | None = None, eps: float = 1e-6) -> X:
    """weight · x / √(mean x² + eps) over the last axes; same shape as x. Zhang, Sennrich (2019)."""
    k = len(as_shape(normalized_shape))
    wide = x.astype(np.float64)
    r = np.sqrt(np.mean(wide * wide, axis=tuple(range(-k, 0)), keepdims=True) + eps)
    return scale_and_shift((wide / r).astype(x.dtype), weight, None, x.ndim - k)


# ---- each channel over the batch -------------------------------------------------------------------------------------


@define()
def batch_standardise(x: X, weight: X | None, bias: X | None, eps: float) -> X:
    """weight · (x − mean x) / √(var x + eps) + bias for each channel, over the batch: x is (N, C) or (N, C, L)."""
    return scale_and_shift(standardise(x, (0, 2)[: x.ndim - 1], eps), weight, bias, 1)


@kernel_of(batch_standardise)
def batch_standardise_kernel(x, weight, bias, /, eps):
    if x.ndim == 3:
        return _batch_standardise_along(x, weight, bias, eps)
    n = max(len(x), 1)
    averaging = constant_vector(len(x), 1 / n, x.dtype)
    m = averaging @ x
    c = x - m
    with np.errstate(over="ignore"):
        r = _reciprocal_root(averaging @ (c * c), eps)
        if _is_far(m, r):
            return _in_float64(batch_standardise_kernel, x, weight, bias, eps)
    scale = r if weight is None else r * weight
    y = c * scale
    if bias is not None:
        y += bias

    @shared
    def sums(g):  # of g, and of g times x centred
        return column_sums(g), column_sums(g * c)

    def pull_x(g):
        total, along = sums(g)
        h = c * (along * r * r / -n)
        h += g
        h -= total / n
        h *= scale
        return h

    return y, (pull_x, lambda g: sums(g)[1] * r, lambda g: sums(g)[0].copy())


def _batch_standardise_along(x, weight, bias, eps):
    """The same of (N, C, L): channels last, as rows of a matrix, and back again."""
    n, c, length = x.shape

    @shared
    def rows(z):
        return as_rows(np.moveaxis(z, 1, 2))

    def back(y):
        return np.moveaxis(y.reshape(n, length, c), 2, 1).copy()

    y, pullbacks = batch_standardise_kernel.function(rows(x), weight, bias, eps)
    return back(y), (
        lambda g: back(pullbacks[0](rows(g))),
        lambda g: pullbacks[1](rows(g)),
        lambda g: pullbacks[2](rows(g)),
    )


def standardise_by(x: X, mean: Array, var: Array, weight: X | None, bias: X | None, eps: float) -> X:
    """weight · (x − mean) / √(var + eps) + bias for each channel, by statistics (C,) that are given."""
    dtype = np.promote_types(x.dtype, np.float32)  # float16 is computed in float32
    std = np.sqrt(var.astype(np.float64) + eps)
    shape = (len(mean),) + (1,) * (x.ndim - 2)
    standard = (x - np.reshape(mean, shape).astype(dtype)) / np.reshape(std, shape).astype(dtype)
    return scale_and_shift(standard, weight, bias, 1).astype(x.dtype, copy=False)


def batch_norm(
    x: X,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: X | None = None,
    bias: X | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> X:
    """weight · (x − mean) / √(var + eps) + bias for each channel; x: (N, C) or (N, C, L), all others (C,).

    training, or without running statistics: mean and biased variance of the batch; the running statistics, where
    given, move towards the batch's mean and unbiased variance by the fraction momentum, in place, unless these are not
    finite. Otherwise the running statistics are used. ValueError for a single value per channel in training, which has
    no variance.
    Ioffe, Szegedy: Batch Normalization (2015).
    """
    validate_batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
    if not training and running_mean is not None and running_var is not None:
        return standardise_by(x, running_mean, running_var, weight, bias, eps)
    y = batch_standardise(x, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        update_running_statistics(x, running_mean, running_var, momentum)  # after all that may raise
    return y


def update_running_statistics(x: X, running_mean: Any, running_var: Any, momentum: float) -> bool:
    """Move both running statistics towards those of a batch, or neither: whether they moved."""
    if not x.size or is_recomputing():
        return False
    mean, var = _moments(detached(x))
    n = x.size // x.shape[1]
    with np.errstate(all="ignore"):
        # of two products, not by adding a difference, which would round what is small beside the old value
        mean = ((1 - momentum) * running_mean + momentum * mean).astype(running_mean.dtype)
        var = ((1 - momentum) * running_var + momentum * (n / (n - 1)) * var).astype(running_var.dtype)
    if not (np.isfinite(mean).all() and np.isfinite(var).all()):  # one NaN would stay in them for ever
        return False
    running_mean[...], running_var[...] = mean, var
    return True


def _moments(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of each channel; in float64 where the mean is large beside the deviation."""
    if x.dtype == np.float16:
        return _moments(x.astype(np.float32))
    rows = np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])
    averaging = np.full(len(rows), 1 / len(rows), x.dtype)  # a product with it is 5 times as fast as np.mean over rows
    with np.errstate(over="ignore"):
        mean = averaging @ rows
        c = rows - mean
        var = averaging @ (c * c)
        near = (mean * mean <= 16 * var).all() and np.isfinite(var).all()
    return (mean, var) if near or x.dtype == np.float64 else _moments(x.astype(np.float64))


# ---- groups of channels of each instance -----------------------------------------------------------------------------


@define(validate_group_norm)
def group_norm(x: X, num_groups: int, weight: X | None = None, bias: X | None = None, eps: float = 1e-5) -> X:
    """weight · (x − mean x) / √(var x + eps) + bias over each group of channels; x: (N, C, ...), weight, bias: (C,).

    Wu, He: Group Normalization (2018).
    """
    groups = np.reshape(x, (x.shape[0], num_groups, x.shape[1] // num_groups, *x.shape[2:]))
    return scale_and_shift(np.reshape(standardise(groups, tuple(range(2, groups.ndim)), eps), x.shape), weight, bias, 1)


@define(validate_instance_norm)
def instance_norm(x: X, weight: X | None = None, bias: X | None = None, eps: float = 1e-5) -> X:
    """weight · (x − mean x) / √(var x + eps) + bias over each channel of each instance; x: (N, C, L), weight: (C,).

    Ulyanov, Vedaldi, Lempitsky: Instance Normalization (2016).
    """
    return scale_and_shift(standardise(x, (2,), eps), weight, bias, 1)


# ---- what the kernels share ------------------------------------------------------------------------------------------


def _reciprocal_root(v, eps):
    """1 / √(v + eps), in place."""
    v += eps
    np.sqrt(v, out=v)
    return np.divide(1, v, out=v)


def _is_far(m, r):
    """Whether float32 is too narrow for means m and deviations 1 / r, or one of them is NaN.

    Beside a mean of several deviations its rounding shows; beyond deviations of 10⁹ products may leave its range.
    """
    if r.dtype != np.float32 or not r.size:
        return False
    return not (np.minimum.reduce(r) > 1e-9 and np.maximum.reduce(np.abs(m * r)) < 4)


def _in_float64(kernel, *arguments):
    """What a kernel gives in float64, value and gradients rounded to float32."""
    y, pullbacks = kernel.function(*(x.astype(np.float64) if isinstance(x, np.ndarray) else x for x in arguments))

    @shared
    def wide(g):
        return g.astype(np.float64)

    def rounded(pull):
        return lambda g: pull(wide(g)).astype(np.float32)

    return y.astype(np.float32), tuple(map(rounded, pullbacks))
