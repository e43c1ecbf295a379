"""Gradients kept within bounds."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from minigrad.tensor import Tensor


def clip_grad_norm_(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale the gradients so that their common norm is at most max_norm; returns the norm that they had.

    Pascanu, Mikolov, Bengio (2013). ValueError for gradients that are not finite, which no scaling would mend.
    """
    if not max_norm > 0:
        raise ValueError(f"clip_grad_norm_: max_norm must be positive, not {max_norm!r}")
    gradients = [p.grad.data for p in parameters if p.grad is not None]
    with np.errstate(over="ignore"):
        squares = [float(np.vdot(g, g)) for g in gradients]
    if not np.isfinite(sum(squares)):  # too large for their dtype, or not finite themselves
        squares = [float(np.linalg.norm(g.astype(np.float64))) ** 2 for g in gradients]
    norm = math.sqrt(sum(squares))
    if not np.isfinite(norm):
        raise ValueError(f"clip_grad_norm_: the gradients' norm is {norm}: look for the first NaN or infinity")
    if norm > max_norm:
        for g in gradients:
            g *= max_norm / norm
    return norm


def clip_grad_value_(parameters: Iterable[Tensor], clip_value: float) -> None:
    """Bring each element of the gradients to between −clip_value and clip_value."""
    if not clip_value > 0:
        raise ValueError(f"clip_grad_value_: clip_value must be positive, not {clip_value!r}")
    for p in parameters:
        if p.grad is not None:
            np.clip(p.grad.data, -clip_value, clip_value, out=p.grad.data)
