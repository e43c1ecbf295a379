"""Softmax and its logarithm, along an axis or over all elements; logsumexp is a rule, in rules/reductions.py."""

from __future__ import annotations

import numpy as np

from minigrad.functional.activations import softplus
from minigrad.functional.definition import X, define, kernel_of
from minigrad.functional.validation import validate_log_softmax, validate_masked_softmax, validate_softmax
from minigrad.rules.reductions import logsumexp
from minigrad.tensor import Array, detached


@define(validate_softmax)
def softmax(x: X, axis: int | None = -1) -> X:
    """exp xᵢ / Σⱼ exp xⱼ along axis; same shape as x. None is over all elements. A row of −∞ alone gives NaN."""
    axis = axis if x.ndim else None
    e = np.exp(x - np.max(detached(x), axis=axis, keepdims=True, initial=-np.inf))  # less the maximum: no overflow
    return e / np.sum(e, axis=axis, keepdims=True)


@kernel_of(softmax)
def softmax_kernel(x, /, axis):
    axis = axis if x.ndim else None
    p = np.asarray(x - x.max(axis, keepdims=True, initial=-np.inf))
    np.exp(p, out=p)
    p /= p.sum(axis, keepdims=True)
    return p, (lambda g: p * (g - (g * p).sum(axis, keepdims=True)),)


@define(validate_masked_softmax)
def masked_softmax(x: X, mask: Array, axis: int | None = -1) -> X:
    """The softmax over the elements where mask is True; 0 elsewhere, and in rows where none is; same shape as x."""
    top = np.max(detached(x), axis=axis, keepdims=True, initial=-np.inf, where=mask)
    e = np.where(mask, np.exp(np.where(mask, x - np.where(np.isinf(top), 0.0, top), 0.0)), 0.0)
    total = np.sum(e, axis=axis, keepdims=True)
    return e / np.where(total == 0, 1.0, total)


@define(validate_log_softmax)
def log_softmax(x: X, axis: int | None = -1) -> X:
    """xᵢ − ln Σⱼ exp xⱼ along axis; same shape as x."""
    axis = axis if x.ndim else None
    x = x - np.max(detached(x), axis=axis, keepdims=True, initial=-np.inf)  # or beside 10⁶ the difference would round
    largest = _first_maximum(detached(x), axis)
    top = np.sum(np.where(largest, x, 0.0), axis=axis, keepdims=True)
    others = logsumexp(np.where(largest, -np.inf, x), axis=axis, keepdims=True)
    # ln Σ exp xⱼ = top + softplus(others − top): of a sure class nothing is lost beside a 1
    return np.where(largest, 0.0, x - top) - softplus(others - top)


@kernel_of(log_softmax)
def log_softmax_kernel(x, /, axis):
    shape = x.shape
    if axis is None or not x.ndim:
        x, axis = x.reshape(-1), 0
    y = x - x.max(axis, keepdims=True, initial=-np.inf)
    top = y.argmax(axis, keepdims=True) if x.size else np.zeros_like(y, int)
    e = np.exp(y)
    np.put_along_axis(e, top, 0, axis)
    others = e.sum(axis, keepdims=True)
    y -= np.log1p(others)
    e /= others + 1  # the softmax, but for the largest, which is 1 less that of the others

    def pull(g):
        h = g.reshape(x.shape).copy()
        at_top = np.take_along_axis(h, top, axis)
        np.put_along_axis(h, top, 0, axis)
        rest = h.sum(axis, keepdims=True)
        h -= e * (rest + at_top)
        np.put_along_axis(h, top, (at_top * others - rest) / (others + 1), axis)
        return h.reshape(shape)

    return y.reshape(shape), (pull,)


def _first_maximum(x: Array, axis: int | None) -> Array:
    """True at one largest element along axis (None: of all), False elsewhere."""
    if not x.size:
        return np.zeros(x.shape, bool)
    if axis is None:
        places = np.arange(x.size).reshape(x.shape)
    else:
        places = np.arange(x.shape[axis]).reshape(-1, *(1,) * (x.ndim - 1 - axis % x.ndim))
    first: Array = np.argmax(x, axis=axis, keepdims=True) == places
    return first
