"""Local derivatives: how each entry of what an operation made moves with one entry of what went in."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.autograd import grad
from minigrad.explain.recording import Contribution
from minigrad.modes import enable_grad, no_grad
from minigrad.tensor import Array, Tensor, detached

PROBES = 4096  # entries of an upstream gradient that are probed one by one


def local_derivatives(c: Contribution, index: tuple[int, ...], everywhere: bool = False) -> Array:
    """∂ output[k] / ∂ input[index] for every k, in the shape of the output.

    A pullback is linear in g, so the derivative of its own entry at this index by g holds all of them: the rule is run
    again on Tensors, and what its pullback does is pulled back in turn. Where a rule works on arrays only, and where
    0 · ∞ would hide a derivative, its pullback is asked for each g that is 1 at one place; unless everywhere is True,
    at none where the upstream gradient is 0.
    """
    try:
        column = _differentiated(c, index)
    except (TypeError, ValueError, RuntimeError, AttributeError):
        g = np.asarray(c.operation.output.gradient)
        return probed(c, index, np.full(g.shape, everywhere) | (g != 0))
    hidden = ~np.isfinite(column)
    return np.where(hidden, probed(c, index, hidden), column) if 0 < hidden.sum() <= PROBES else column


def _differentiated(c: Contribution, index: tuple[int, ...]) -> Array:
    operation = c.operation
    arguments = [wide(x) for x in operation.arguments]
    settings = widened(operation.settings)
    with enable_grad(), np.errstate(all="ignore"):
        inputs = [
            Tensor(x, requires_grad=True) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x for x in arguments
        ]
        pull = operation.rule.reference(*inputs, **settings)[1][c.position]
        g = Tensor(np.ones(operation.output.array.shape), requires_grad=True)
        pulled = pull(g)
        (column,) = grad(_sum_at(pulled, c.to.array.shape, index), g, allow_unused=True)
        return np.zeros(g.shape) if column is None else np.asarray(detached(column))


def _sum_at(pulled: Any, shape: tuple[int, ...], index: tuple[int, ...]) -> Any:
    """The sum of the entries that undoing the broadcast adds up at this index."""
    return np.sum(pulled[_before_sum(np.shape(pulled), shape, index)])


def _before_sum(pulled: tuple[int, ...], shape: tuple[int, ...], index: tuple[int, ...]) -> tuple[Any, ...]:
    lead = len(pulled) - len(shape)
    return (
        *(slice(None) for _ in range(lead)),
        *(slice(None) if n == 1 else i for i, n in zip(index, shape, strict=True)),
    )


def probed(c: Contribution, index: tuple[int, ...], where: Any, g_there: float = 1.0) -> Array:
    """The derivatives of these entries of the output, times the g that is put there; 0 for the others."""
    operation, g = c.operation, c.operation.output.gradient
    assert g is not None
    n = np.count_nonzero(where)
    if n > PROBES:
        raise ValueError(
            f"why: {operation.name} works on arrays only, and its upstream gradient has {n} entries to probe, more "
            f"than {PROBES}: write the rule in NumPy functions, which work on Tensors"
        )
    with no_grad(), np.errstate(all="ignore"):
        pull = operation.rule.function(*operation.arguments, **operation.settings)[1][c.position]
        column = np.zeros(g.shape)
        for at in map(tuple, np.argwhere(where)):
            one = np.zeros_like(g)
            one[at] = g_there
            pulled = np.asarray(pull(one))
            column[at] = pulled[_before_sum(pulled.shape, c.to.array.shape, index)].sum(dtype=np.float64)
    return column


def wide(x: Any) -> Any:
    """In float64, so that what is shown is exact to the digits shown; integers and booleans as they are."""
    return x.astype(np.float64) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


def widened(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with float64 for any other floating-point dtype among them."""
    narrow = {k for k, v in settings.items() if k == "dtype" and v is not None and np.dtype(v).kind == "f"}
    return {k: np.dtype(np.float64) if k in narrow else v for k, v in settings.items()}
