"""Losses, each reduced to a mean or a sum, or left as they are. V classes lie along the last axis."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from minigrad.functional.activations import softplus
from minigrad.functional.definition import X, define, kernel_of
from minigrad.functional.matrices import as_rows, constant_vector
from minigrad.functional.softmax import log_softmax
from minigrad.functional.validation import (
    validate_binary_cross_entropy_with_logits,
    validate_cross_entropy,
    validate_huber_loss,
    validate_l1_loss,
    validate_mse_loss,
    validate_nll_loss,
)
from minigrad.tensor import Array, Tensor, detached


def _reduce(losses: X, reduction: str) -> X:
    if reduction == "mean":
        return np.mean(losses)
    return np.sum(losses) if reduction == "sum" else losses


# ---- of classes ------------------------------------------------------------------------------------------------------


def _at_targets(x: X, target: Array, counted: Array) -> X:
    """In each row of x what stands at its target, or at 0 where that is not counted."""
    return np.squeeze(np.take_along_axis(x, np.where(counted, target, 0)[..., None].astype(np.int64), axis=-1), -1)


def _reduce_counted(losses: X, counted: Array, reduction: str) -> X:
    losses = np.where(counted, losses, 0.0)
    return np.sum(losses) / max(int(np.sum(counted)), 1) if reduction == "mean" else _reduce(losses, reduction)


@define(validate_cross_entropy)
def cross_entropy(
    input: X,
    target: ArrayLike | Tensor,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> X:
    """−ln softmax(input)[target]: of logits (..., V), the class axis last, and integer targets (...).

    label_smoothing ε mixes in −mean ln softmax(input) with the weight ε. Targets equal to ignore_index count nothing;
    the mean is over the others, and 0 with a warning where there are none. reduction: "mean", "sum", or "none" for
    losses of the shape of target. IndexError for a target outside of 0 to V − 1.
    """
    target = np.asarray(detached(target))
    counted = target != ignore_index
    logp = log_softmax(np.where(counted[..., None], input, 0.0))  # an ignored row may hold anything, NaN as well
    losses = -_at_targets(logp, target, counted)
    if label_smoothing:
        losses = (1.0 - label_smoothing) * losses - label_smoothing * np.mean(logp, axis=-1)
    return _reduce_counted(losses, counted, reduction)


@kernel_of(cross_entropy)
def cross_entropy_kernel(input, /, target, ignore_index, reduction, label_smoothing):
    z = np.ascontiguousarray(as_rows(input))
    classes = z.shape[1]
    target = np.asarray(detached(target), np.int64).ravel()
    skipped = target == ignore_index
    if skipped.any():
        target = np.where(skipped, 0, target)
    else:
        skipped = None
    picked = np.arange(len(target)) * classes + target  # of all logits in a row
    z = z - z.max(-1, keepdims=True, initial=-np.inf)
    p = np.exp(z)
    at_target = p.ravel()[picked]
    p.ravel()[picked] = 0
    others = p @ constant_vector(classes, 1, z.dtype)  # without the target's: a small sum would be lost beside a 1
    total = others + at_target
    losses = np.log1p(others + (at_target - 1))
    losses -= (1 - label_smoothing) * z.ravel()[picked]
    if label_smoothing:
        losses -= label_smoothing * z.mean(-1)
    n = len(losses)
    if skipped is not None:
        losses[skipped] = 0
        n -= int(skipped.sum())
    n = max(n, 1) if reduction == "mean" else 1
    value = losses.reshape(input.shape[:-1]) if reduction == "none" else losses.sum(dtype=np.float64) / n

    def pull(g):
        g = np.broadcast_to(np.ravel(g / n), losses.shape)
        h = p * (g / total)[:, None]
        if label_smoothing:
            h -= (label_smoothing / classes * g)[:, None]
        h.ravel()[picked] -= (others / total - label_smoothing) * g  # the others' probability, for 1 less the target's
        if skipped is not None:
            h[skipped] = 0
        return h.reshape(input.shape)

    return np.asarray(value, input.dtype), (pull,)


@define(validate_nll_loss)
def nll_loss(input: X, target: ArrayLike | Tensor, *, ignore_index: int = -100, reduction: str = "mean") -> X:
    """−input[target]: of log-probabilities (..., V) and integer targets (...); otherwise as cross_entropy.

    ValueError for an input above 0, which is the logarithm of no probability.
    """
    target = np.asarray(detached(target))
    counted = target != ignore_index
    return _reduce_counted(-_at_targets(input, target, counted), counted, reduction)


# ---- of pairs of equal shapes ----------------------------------------------------------------------------------------


@define(validate_mse_loss)
def mse_loss(input: X, target: X, *, reduction: str = "mean") -> X:
    """(input − target)², of equal shapes."""
    return _reduce((input - target) ** 2, reduction)


@define(validate_l1_loss)
def l1_loss(input: X, target: X, *, reduction: str = "mean") -> X:
    """|input − target|, of equal shapes."""
    return _reduce(np.abs(input - target), reduction)


@define(validate_huber_loss)
def huber_loss(input: X, target: X, *, reduction: str = "mean", delta: float = 1.0) -> X:
    """½ d² where |d| ≤ delta, delta (|d| − ½ delta) elsewhere, of d = input − target. Huber (1964)."""
    d = input - target
    return _reduce(np.where(np.abs(d) <= delta, 0.5 * d * d, delta * (np.abs(d) - 0.5 * delta)), reduction)


@define(validate_binary_cross_entropy_with_logits)
def binary_cross_entropy_with_logits(input: X, target: X, *, reduction: str = "mean") -> X:
    """−t ln σ(x) − (1 − t) ln(1 − σ(x)), of logits x and targets t from 0 to 1, of equal shapes.

    ValueError for a target below 0 or above 1.
    """
    if target.dtype.kind != "f":
        target = target.astype(input.dtype)
    right = detached(input) > 0  # softplus(x) − t x on the left, softplus(−x) + (1 − t) x on the right: nothing cancels
    sign = np.where(right, -1, 1).astype(input.dtype)
    return _reduce(softplus(sign * input) + (right - target) * input, reduction)
