"""Why an entry of a gradient is 0: where on its way everything was stopped, in words."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minigrad import functional as F
from minigrad.explain.derivatives import local_derivatives
from minigrad.explain.recording import Contribution, Operation, Value
from minigrad.explain.words import entry
from minigrad.rule import Rule
from minigrad.rules import elementwise, indexing, linear_algebra, reductions, shapes

MOST_VISITED = 64  # entries on the way
MOST_NUMBERS = 1 << 20  # that go through the rules on the way
MOST_REASONS = 3  # that are told
FEW = 8  # entries of a gradient that is told about as a whole


def reasons(value: Value, index: tuple[int, ...]) -> list[str]:
    """Each place at which this entry's gradient was stopped, in words; empty where that is not known."""
    found: dict[str, None] = {}
    way, seen, numbers = [(value, index)], {(value, index)}, 0
    for v, at in way:  # grows while it is walked
        name = entry(f"{v.name}.grad", at)
        if v.before_hooks is not None and v.before_hooks[at]:
            found[f"a hook made {name} 0"] = None
            continue
        if v.seed is not None and not v.contributions:
            found["the gradient that the pass began with is 0 there"] = None
        above: dict[tuple[Value, tuple[int, ...]], bool] = {}
        for c in v.contributions:
            g = c.operation.output.gradient
            assert g is not None
            numbers += g.size + v.array.size
            if numbers > MOST_NUMBERS:
                return []
            try:
                column = local_derivatives(c, at, everywhere=True)
            except ValueError:  # a rule for arrays only, with too much to probe
                return []
            if not column.any():
                found[_stopped(c, at)] = None
            above |= {(c.operation.output, tuple(map(int, k))): bool(g[tuple(k)]) for k in np.argwhere(column)}
        if any(above.values()) or (v.seed is not None and v.seed[at]):
            found[f"the terms of {name} cancel"] = None
            continue
        new = [place for place in above if place not in seen]
        if len(way) + len(new) > MOST_VISITED:
            return []
        seen.update(new)
        way += new
    words = list(found)
    return words[:MOST_REASONS] + [f"and {len(words) - MOST_REASONS} more"] * (len(words) > MOST_REASONS)


def of_whole(value: Value) -> str:
    """Why all of a gradient is 0, in words; "" where it is not, where it is large, and where that is not known."""
    if value.gradient is None or value.gradient.any() or not 0 < value.gradient.size <= FEW:
        return ""
    found: dict[str, None] = {}
    for index in np.ndindex(value.gradient.shape):
        words = reasons(value, index)
        if not words:
            return ""
        found |= dict.fromkeys(words)
    return "; ".join(found)


def of_share(c: Contribution) -> str:
    """Why an operation gives nothing of what came to it, in words; "" where it does, nothing came, or it is large."""
    g = c.operation.output.gradient
    if g is None or not g.any() or c.array.any() or not 0 < c.array.size <= FEW:
        return ""
    entries = list(np.ndindex(c.array.shape))
    try:
        if any(local_derivatives(c, at, everywhere=True).any() for at in entries):
            return ""
    except ValueError:  # as above
        return ""
    return "; ".join(dict.fromkeys(_stopped(c, at) for at in entries))


def _stopped(c: Contribution, at: tuple[int, ...]) -> str:
    """Why no entry of the output moves with this entry of an input."""
    o = c.operation
    words = _WORDS.get(o.rule)
    here = entry(c.to.name, at)
    return (words and words(o, c.position, at, here)) or f"the derivative of {o.name} by {here} is 0"


Words = Callable[[Operation, int, tuple[int, ...], str], str]  # operation, position, index and name of the entry


def _out(o: Operation, at: tuple[int, ...]) -> str:
    """The entry of the output that belongs to this one of an input, or where broadcast, the output."""
    return entry(o.output.name, at) if len(at) == o.output.array.ndim else o.output.name


def _gate(o: Operation, position: int, at: tuple[int, ...], here: str) -> str:
    return f"{o.name}'s gate at {_out(o, at)} is shut"


def _loss(o: Operation, position: int, at: tuple[int, ...], here: str) -> str:
    ignored = bool(np.asarray(o.settings["target"])[at[:-1]] == o.settings["ignore_index"])
    return f"no path: the target of {here} is one to ignore" if ignored else _saturated(o, position, at, here)


def _saturated(o: Operation, position: int, at: tuple[int, ...], here: str) -> str:
    x = np.asarray(o.arguments[position])[at]
    return f"saturated: {o.name} is flat at {here} = {x + 0.0:.4g}"


def _other_taken(o: Operation, position: int, at: tuple[int, ...], here: str) -> str:
    other = list(o.inputs.values())[1 - position]
    return f"{o.name} at {_out(o, at)} takes {other.name if other else 'the other'}, not {here}"


def _not_the_extreme(o: Operation, position: int, at: tuple[int, ...], here: str) -> str:
    return f"{o.name} at {o.output.name} takes another entry than {here}"


def _branch(o: Operation, position: int, at: tuple[int, ...], here: str) -> str:
    return f"where at {_out(o, at)} takes the other branch, not {here}"


def _bound(o: Operation, position: int, at: tuple[int, ...], here: str) -> str:
    return f"clip at {_out(o, at)} is at a bound" if position == 0 else f"clip at {o.output.name} is not at {here}"


def _factor(o: Operation, position: int, at: tuple[int, ...], here: str) -> str:
    other = list(o.inputs.values())[1 - position]
    if other is None:
        return ""
    if other.kind == "constant" and other.array.ndim and other.array.any():
        return f"masked or dropped: {here} is multiplied by a 0 of {other.name}"
    return f"{here} is multiplied by {'0' if other.name == '0' else f'{other.name}, which is 0 there'}"


def _unpicked(o: Operation, position: int, at: tuple[int, ...], here: str) -> str:
    return f"no path: {o.name} at {o.output.name} leaves {here} out"


def _masked(o: Operation, position: int, at: tuple[int, ...], here: str) -> str:
    return f"masked, or its weight in attention is 0: {here}" if o.settings.get("mask") is not None else ""


_RULES: dict[Words, tuple[Rule | None, ...]] = {
    _gate: (F.relu.kernel,),
    _saturated: (
        elementwise.exp, elementwise.exp2, elementwise.expm1, elementwise.tanh, elementwise.erf, elementwise.logaddexp,
        F.gelu.kernel, F.softmax.kernel,
    ),
    _loss: (F.cross_entropy.kernel,),
    _other_taken: (elementwise.maximum, elementwise.minimum, elementwise.fmax, elementwise.fmin),
    _not_the_extreme: (reductions.max, reductions.min),
    _branch: (elementwise.where,),
    _bound: (elementwise.clip,),
    _factor: (elementwise.multiply, linear_algebra.matmul, F.linear.kernel),
    _unpicked: (indexing.getitem, indexing.overwrite, F.embedding.kernel, shapes.tril, shapes.triu),
    _masked: (F.attention.kernel, F.self_attention.kernel),
}  # fmt: skip
_WORDS = {rule: words for words, rules in _RULES.items() for rule in rules}
