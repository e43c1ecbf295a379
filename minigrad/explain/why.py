"""One entry of a gradient taken apart: upstream gradients times local derivatives, and where each came through."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from minigrad import checks
from minigrad.explain.derivatives import PROBES, local_derivatives, probed
from minigrad.explain.recording import Contribution, Operation, Value
from minigrad.explain.words import entry, legible
from minigrad.explain.zeros import reasons
from minigrad.functional.linear import linear
from minigrad.rules.elementwise import multiply
from minigrad.rules.linear_algebra import matmul
from minigrad.tensor import Array


@dataclass(frozen=True)
class Term:
    """upstream × local = value; the upstream gradient is that of `output` at `index`, None for what has no parts.

    local_name: what the local derivative is, where it is a value of the graph: "y[0, 1]".
    """

    operation: Operation | None
    output: Value | None
    index: tuple[int, ...]
    upstream: float
    local: float
    local_name: str
    value: float

    def __str__(self) -> str:
        if self.operation is None or self.output is None:
            return "the gradient that the pass began with"
        where = f", {self.operation.source}" if self.operation.source else ""
        local = f"{self.local_name} {self.local:.4g}" if self.local_name else f"local derivative {self.local:.4g}"
        upstream = f"upstream {entry(self.output.name + '.grad', self.index)} {self.upstream:.4g}"
        return f"through {self.operation.name}{where}: {upstream} × {local}"


@dataclass(frozen=True)
class Why:
    """gradient[index] as a sum. terms: the largest; rest: the sum of the others, of which there are `others`.

    real: what the backward pass gave; total: the sum of all terms, in float64; adds_up: whether the two differ by no
    more than the rounding of the gradient's dtype can explain.
    """

    of: Value
    index: tuple[int, ...]
    terms: list[Term]
    rest: float
    others: int
    total: float
    real: float
    adds_up: bool
    hooked: float | None

    @property
    def zero(self) -> list[str]:
        """Why there is no term, in words; empty where there are terms, and where it is not known."""
        return [] if self.terms else reasons(self.of, self.index)

    def __repr__(self) -> str:  # what a notebook and the prompt show
        return str(self)

    def __str__(self) -> str:
        lines = [f"{entry(self.of.name + '.grad', self.index)} = {self.real:.4g}"]
        parts = [(term.value, str(term)) for term in self.terms]
        if self.others:
            parts.append((self.rest, f"in {self.others} smaller term{'s' * (self.others > 1)}"))
        if not parts:
            lines.append(f"  = 0: {'; '.join(self.zero) or 'no term differs from 0'}")
        for i, (value, words) in enumerate(parts):
            lines.append(
                f"  {'=' if not i else '-' if value < 0 else '+'} {value if not i else abs(value):.4g}  {words}"
            )
        if not self.adds_up:
            lines.append(
                f"  these add up to {self.total:.7g}, not to the gradient: the rule is wrong, or not linear in g"
            )
        if self.hooked is not None:
            lines.append(f"  hooks made it {self.hooked:.4g}")
        lines += [f"  {c.accusation}" for c in self.of.faults]
        return legible("\n".join(lines))


def as_index(value: Value, index: Any) -> tuple[int, ...]:
    """The index as a tuple of numbers from 0."""
    index = index if isinstance(index, tuple) else (index,)
    checks.whole("why", -np.inf, **{f"index[{i}]": n for i, n in enumerate(index)})
    shape = value.array.shape
    if len(index) != len(shape) or not all(-n <= i < n for i, n in zip(index, shape, strict=True)):
        raise IndexError(f"why: index {checks.shown(index)} names no entry of {value.name}, whose shape is {shape}")
    return tuple(int(i) % n for i, n in zip(index, shape, strict=True))


def why(value: Value, index: Any, most: int) -> Why:
    """This entry of the gradient as a sum, of which `most` terms are listed, the largest first."""
    checks.whole("why", 1, most=most)
    index = as_index(value, index)
    if value.gradient is None:
        raise ValueError(f"why: no gradient arrived at {value.name}, a {value.kind}")
    starts = [] if value.seed is None else [_start(value, index)]
    made = [_products(c, index) for c in value.contributions]
    with np.errstate(all="ignore"):
        numbers = np.concatenate([[start.value for start in starts], *(p.upstream * p.local for p in made)])
        complete = value.gradient if value.before_hooks is None else value.before_hooks
        real, total = float(complete[index]) + 0.0, float(numbers.sum()) + 0.0
        # a saturated softmax rounds on the scale of its upstream gradient, however small its derivatives
        scale = float(np.abs(numbers).sum()) + max(
            (float(np.abs(p.upstream).max(initial=0)) for p in made), default=0.0
        )
        slack = 64 * np.finfo(complete.dtype).eps * scale
        adds_up = bool(abs(real - total) <= slack + 64 * np.finfo(complete.dtype).tiny) or real == total
        order = np.argsort(np.where(np.isnan(numbers), -np.inf, -np.abs(numbers)), kind="stable")
        rest = float(numbers[order[most:]].sum()) + 0.0
    adds_up = adds_up or bool(np.isnan(real) and np.isnan(total))
    ends = np.cumsum([len(starts), *(len(p.at) for p in made)])

    def term(i: int) -> Term:
        part = int(np.searchsorted(ends, i, side="right"))
        return starts[i] if part == 0 else made[part - 1].term(i - int(ends[part - 1]), index)

    hooked = None if value.before_hooks is None else float(value.gradient[index]) + 0.0
    terms = [term(int(i)) for i in order[:most]]
    return Why(value, index, terms, rest, len(numbers) - len(terms), total, real, adds_up, hooked)


def _start(value: Value, index: tuple[int, ...]) -> Term:
    assert value.seed is not None
    seed = float(value.seed[index]) + 0.0
    return Term(None, None, index, seed, 1.0, "", seed)


class _Products(NamedTuple):
    """upstream[i] × local[i] for each entry at[i] of the output that this contribution came through."""

    contribution: Contribution
    at: Array
    upstream: Array
    local: Array

    def term(self, i: int, index: tuple[int, ...]) -> Term:
        operation, k = self.contribution.operation, tuple(map(int, self.at[i]))
        upstream, local = float(self.upstream[i]) + 0.0, float(self.local[i]) + 0.0
        name = "" if np.isnan(local) else _other_factor(operation, self.contribution.position, index, k)
        return Term(operation, operation.output, k, upstream, local, name, upstream * local + 0.0)


def _products(c: Contribution, index: tuple[int, ...]) -> _Products:
    """The products that make up this contribution at this index, without those that are 0."""
    upstream = c.operation.output.gradient
    assert upstream is not None
    g = upstream.astype(np.float64)
    column = local_derivatives(c, index)
    there = (column != 0) & ((g != 0) | ~np.isfinite(column))  # 0 · ∞ is how a NaN begins
    doubtful = (column == 0) & ~np.isfinite(g)  # a derivative of 0, which makes NaN of ∞, or no way between the two
    if 0 < doubtful.sum() <= PROBES:
        there |= np.isnan(probed(c, index, doubtful, np.inf))
    return _Products(c, np.argwhere(there), g[there], column[there])


def _other_factor(operation: Operation, position: int, index: tuple[int, ...], at: tuple[int, ...]) -> str:
    """In a product, the local derivative of the one factor is the other: its entry that met this one."""
    factors = list(operation.inputs.values())[:2]
    if operation.rule not in (multiply, matmul, linear.kernel) or position > 1 or None in factors:
        return ""
    x, y = (v.array.ndim for v in factors if v is not None)
    if operation.name == "multiply":
        met = at
    elif operation.name == "linear":  # of the weight at [j, k] and x at [..., k]
        met = (at[-1], index[-1]) if position == 0 else (*at[:-1], index[-1])
    elif position == 0:  # of x at [..., i, k] and y at [..., k, j], and at [k] where it is a vector
        met = (*at[: len(at) - (x > 1) - 1], index[-1], at[-1]) if y > 1 else (index[-1],)
    else:
        inner = index[-2] if y > 1 else index[-1]
        met = (*(at[:-1] if y > 1 else at), inner) if x > 1 else (inner,)
    other = factors[1 - position]
    assert other is not None
    shape = other.array.shape
    met = tuple(0 if n == 1 else i for i, n in zip(met[len(met) - len(shape) :], shape, strict=True))
    name = entry(other.name, met)
    return "" if name == f"{other.array[met] + 0.0:.4g}" else name
