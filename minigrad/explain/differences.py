"""Finite differences beside the gradients of a recording, and which pullback is to blame where the two disagree.

A gradient is wrong from the guilty operation on, all the way back to the leaves. So each pullback is held to the
differences of its own rule, under the upstream gradient that it got, whatever that is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad.explain.derivatives import wide, widened
from minigrad.explain.recording import Contribution, Fault, Operation, Recording, Value
from minigrad.explain.text import difference_table
from minigrad.graph import unbroadcast
from minigrad.modes import no_grad
from minigrad.rules.linear_algebra import cholesky
from minigrad.tensor import Array, detached

STEP = 6e-6  # the cube root of float64's rounding: there a central difference errs least
NEARER = 1 / 256  # of it: the second step, to tell a kink
ALIKE = 1e-2  # slopes that differ by less are those of a smooth function
CLOSE = 1e-4  # a gradient that differs by more is wrong
SEARCH = 1e-7  # a sum of many that differs by more is looked into
MOST_FAULTS = 3  # that are told of one value, the nearest
ROUNDING = 64 * np.finfo(np.float64).eps


@dataclass(frozen=True)
class Differences:
    """The table of finite differences, as it prints; the numbers are in `Value.differences`."""

    values: list[Value]

    def __str__(self) -> str:
        return "\n".join(difference_table(self.values))

    __repr__ = __str__


def differences(recording: Recording, most: int) -> Differences:
    """Fill `Value.differences`: (f(v + h) − f(v − h)) / 2h, where f is the output, weighted with the gradient given.

    Values that lead through a checkpoint are left out: it takes what its function has, not what it is given.
    """
    seed = recording.output.seed
    assert seed is not None
    with no_grad(), np.errstate(all="ignore"):
        for operation in recording.operations:
            for contribution in operation.contributions:
                contribution.fault = _fault(contribution, most)
        base = _rerun(recording.operations, {v: wide(v.array) for v in recording.values if not v.operation})
        for value in recording.values:
            if value.gradient is None or not value.gradient.size:
                continue
            later = _depending(recording.operations, value)
            if any(operation.name == "checkpoint" for operation in later):
                continue
            moved = {_index(at, value.gradient) for at in _largest(value.gradient, most)}
            for index in sorted(moved | {c.fault.index for c in value.contributions if c.fault}):
                h = STEP * max(1.0, abs(float(value.array[index])))
                up, down = (
                    _weighted(_rerun(later, base | {value: _moved(base[value], index, d)}), recording.output, seed)
                    for d in (h, -h)
                )
                value.differences[index] = (up - down) / (2 * h) + 0.0
    _spread(recording.operations)
    return Differences(recording.values)


def _largest(array: Array, most: int) -> Array:
    return np.argsort(-np.abs(array), axis=None, kind="stable")[:most]


def _index(at: Any, array: Array) -> tuple[int, ...]:
    return tuple(int(i) for i in np.unravel_index(at, array.shape))


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
        given = [
            values[v] if v in values and isinstance(x, np.ndarray) else x
            for v, x in zip(operation.inputs.values(), operation.arguments, strict=True)
        ]
        values[operation.output] = np.asarray(
            detached(operation.rule.function(*given, **widened(operation.settings))[0])
        )
    return values


def _weighted(values: dict[Value, Array], output: Value, seed: Array) -> float:
    return float(np.sum(values[output] * seed.astype(np.float64)))


# ---- who is to blame -------------------------------------------------------------------------------------------------


def _spread(operations: list[Operation]) -> None:
    """Fill `Value.faults`: where a gradient that differs from its difference became wrong."""
    passed: dict[Value, list[Contribution]] = {}
    for operation in reversed(operations):
        for c in operation.contributions:
            guilty = [c] if c.fault else []
            guilty += passed.get(operation.output, [])
            known = passed.setdefault(c.to, [])
            known += [g for g in guilty if g not in known][: MOST_FAULTS - len(known)]
    for value, guilty in passed.items():
        value.faults = guilty if any(map(value.apart, value.differences)) else []


def _fault(c: Contribution, most: int) -> Fault | None:
    """The entry where this pullback is furthest from the difference quotient of its own rule, if it is wrong.

    The entries of a large input are moved all at once, each up or down; where that disagrees, half of them, and so on.
    """
    if c.operation.name == "checkpoint" or c.operation.rule is cholesky or not c.to.array.size:
        return None  # the gradient of a Cholesky factor is for inputs that stay symmetric, so no entry moves alone
    function, x, given = _alone(c)
    sizes = np.maximum(1.0, np.abs(x)).reshape(-1)
    signs = np.random.default_rng(0).choice((-1.0, 1.0), sizes.shape)

    def tried(places: Array, close: float = SEARCH) -> tuple[bool, float]:
        direction = np.zeros(sizes.shape)
        direction[places] = (sizes * signs)[places]
        along = direction.reshape(x.shape)
        slope = _slope(lambda h: function(x + h * along))
        if slope is None:
            return False, np.nan
        claimed = float(np.sum(np.where(along == 0, 0.0, given * along)))
        return not abs(claimed - slope[0]) <= close * max(abs(claimed), abs(slope[0])) + slope[1], slope[0]

    places = np.arange(x.size)
    if x.size > most:
        if tried(places)[0]:
            while len(places) > 1:
                half = places[: len(places) // 2]
                places = half if tried(half)[0] else places[len(half) :]
        else:
            places = _largest(given, most)
    faults = []
    for place in places:
        wrong, difference = tried(np.array([place]), CLOSE)
        if wrong:
            index = _index(place, x)
            slope = difference / float((sizes * signs)[place])
            faults.append(Fault(index, float(given[index]) + 0.0, slope + 0.0))
    return max(faults, key=lambda f: np.nan_to_num(abs(f.given - f.difference), nan=np.inf), default=None)


def _alone(c: Contribution) -> tuple[Callable[[Array], tuple[float, float]], Array, Array]:
    """Σ g · rule(x) as a function of this one input, beside Σ |g · rule(x)|; where it is; what the pullback gives."""
    operation = c.operation
    assert operation.output.gradient is not None
    g = wide(operation.output.gradient)
    arguments = [wide(x) for x in operation.arguments]
    settings = widened(operation.settings)

    def function(x: Array) -> tuple[float, float]:
        given = [*arguments[: c.position], np.asarray(x), *arguments[c.position + 1 :]]
        weighted = np.asarray(detached(operation.rule.function(*given, **settings)[0])) * g
        return float(np.sum(weighted)), float(np.sum(np.abs(weighted)))

    pulled = np.asarray(operation.rule.function(*arguments, **settings)[1][c.position](g))
    x = arguments[c.position]
    return function, x, pulled if pulled.shape == x.shape else unbroadcast(pulled, x.shape)


def _slope(function: Callable[[float], tuple[float, float]]) -> tuple[float, float] | None:
    """The derivative at 0, and how much of it may be rounding; None at a kink or a jump, and where it is infinite."""
    at, size = function(0.0)
    sides, noises = [], []
    for h in (STEP, STEP * NEARER):
        sides.append(((function(h)[0] - at) / h, (at - function(-h)[0]) / h))
        noises.append(ROUNDING * size / h)
    if not np.isfinite(sides).all():
        return None
    means = [(up + down) / 2 for up, down in sides]
    smooth = [_alike(up, down, noise) for (up, down), noise in zip(sides, noises, strict=True)]
    if smooth[0] and _alike(means[0], means[1], noises[1]):
        return means[0], noises[0]
    nearest = min(max(means[1], min(sides[0])), max(sides[0]))
    if smooth[1] and _alike(means[1], nearest, noises[1]):
        return means[1], noises[1]  # a kink, or a pole, lies near
    return None


def _alike(x: float, y: float, noise: float) -> bool:
    return abs(x - y) <= ALIKE * max(abs(x), abs(y)) + noise
