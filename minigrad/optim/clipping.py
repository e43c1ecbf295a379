"""Gradients kept within bounds."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from minigrad import checks
from minigrad.tensor import Array, Tensor


def clip_grad_norm_(parameters: Iterable[Tensor], max_norm: float) -> float:
    """Scale the gradients so that their common norm is at most max_norm; returns the norm that they had.

    Pascanu, Mikolov, Bengio (2013). ValueError for gradients that are not finite, which no scaling would mend.
    """
    checks.positive_number("clip_grad_norm_", max_norm=max_norm)
    gradients = _gradients("clip_grad_norm_", parameters)
    with np.errstate(over="ignore"):
        squares = [float(np.vdot(g, g)) for g in gradients]
    if not np.isfinite(sum(squares)):  # too large for their dtype, or not finite themselves
        squares = [float(np.linalg.norm(g.astype(np.float64))) ** 2 for g in gradients]
    norm = math.sqrt(sum(squares))
    if not np.isfinite(norm):
        raise ValueError(
            f"clip_grad_norm_: the gradients' norm is {norm}: mg.debug() finds what made the first NaN or infinity"
        )
    if norm > max_norm:
        for g in {id(g): g for g in gradients}.values():  # two parameters may have been given one gradient
            g *= max_norm / norm
    return norm


def clip_grad_value_(parameters: Iterable[Tensor], clip_value: float) -> None:
    """Bring each element of the gradients to between −clip_value and clip_value."""
    checks.positive_number("clip_grad_value_", clip_value=clip_value)
    for g in _gradients("clip_grad_value_", parameters):
        np.clip(g, -clip_value, clip_value, out=g)


def _gradients(name: str, parameters: Iterable[Tensor]) -> list[Array]:
    if isinstance(parameters, Tensor | np.ndarray) or not isinstance(parameters, Iterable):
        raise TypeError(f"{name} needs a list of parameters, not {checks.shown(parameters)}: pass model.parameters()")
    parameters = list(parameters)
    if not parameters:
        raise ValueError(f"{name} got no parameters: model.parameters() is empty, or was used up before")
    for p in parameters:
        if not isinstance(p, Tensor):
            raise TypeError(f"{name}: parameters must be Tensors, not {checks.shown(p)}: pass model.parameters()")
    return [p.grad.data for p in dict.fromkeys(parameters) if p.grad is not None]
