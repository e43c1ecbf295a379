"""The finite difference beside the gradient, at every value of a recording."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.autograd import no_grad
from minigrad.explain.recording import Explanation, Operation, Value
from minigrad.explain.why import widened
from minigrad.tensor import Array, detached

STEP = 6e-6  # the cube root of float64's rounding: there a central difference errs least


def differences(explanation: Explanation, most: int) -> None:
    """Fill `Value.differences`: (f(v + h) − f(v − h)) / 2h, where f is the output, weighted with the gradient given.

    Values that lead through a checkpoint are left out: it takes what its function has, not what it is given.
    """
    seed = explanation.output.seed
    assert seed is not None
    with no_grad(), np.errstate(all="ignore"):
        base = _rerun(explanation.operations, {v: _wide(v.array) for v in explanation.values if not v.operation})
        for value in explanation.values:
            if value.gradient is None or not value.gradient.size:
                continue
            later = _depending(explanation.operations, value)
            if any(operation.name == "checkpoint" for operation in later):
                continue
            largest = np.argsort(-np.abs(value.gradient), axis=None, kind="stable")[:most]
            for at in sorted(largest):
                index = tuple(int(i) for i in np.unravel_index(at, value.gradient.shape))
                h = STEP * max(1.0, abs(float(value.array[index])))
                up, down = (
                    _weighted(_rerun(later, base | {value: _moved(base[value], index, d)}), explanation.output, seed)
                    for d in (h, -h)
                )
                value.differences[index] = (up - down) / (2 * h)


def _wide(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _moved(array: Array, index: tuple[int, ...], by: float) -> Array:
    moved = array.copy()
    moved[index] += by
    return moved


def _depending(operations: list[Operation], value: Value) -> list[Operation]:
    """The operations that this value leads to, oldest first."""
    moved, found = {value}, []
    for operation in operations:
        if not moved.isdisjoint(v for v in operation.inputs.values() if v is not None):
            moved.add(operation.output)
            found.append(operation)
    return found


def _rerun(operations: list[Operation], values: dict[Value, Array]) -> dict[Value, Array]:
    for operation in operations:
        given: list[Any] = [
            values[v] if v in values and isinstance(x, np.ndarray) else x
            for v, x in zip(operation.inputs.values(), operation.arguments, strict=True)
        ]
        values[operation.output] = np.asarray(
            detached(operation.rule.function(*given, **widened(operation.settings))[0])
        )
    return values


def _weighted(values: dict[Value, Array], output: Value, seed: Array) -> float:
    return float(np.sum(values[output] * seed.astype(np.float64)))
