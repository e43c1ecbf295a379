"""What the page knows of a recording: all of it, its small local derivatives, and entries of its gradients taken apart.

The scripts of the page read this; arrays stand in one table, and what is the same array stands there once.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

import numpy as np

from minigrad.explain.arrays import CELLS, heat_map, matrix, summary
from minigrad.explain.derivatives import local_derivatives
from minigrad.explain.encoding import Encoding, plain
from minigrad.explain.recording import Contribution, Operation, Recording, Value
from minigrad.explain.why import Why, why
from minigrad.explain.words import legible
from minigrad.rules.elementwise import multiply
from minigrad.tensor import Array

FEW = 64  # numbers of an array that are shown one by one; of a larger one a heat map
HANDFUL = 4  # numbers that need no heat map
MOST_WHYS = 1000  # entries of gradients that are taken apart beforehand
LARGEST = 3  # of them for each larger array: those with the largest gradients
MOST_ZEROS = 100  # entries that are 0 of which it is told why
MOST_TERMS = 8  # of one entry; the rest is one sum
MOST_WORK = 20_000_000  # numbers that go through the rules for it, and as many for local derivatives
CALL, KERNEL = 2_500, 25_000  # numbers that take as long as what is around them; of a kernel the definition runs


def data(recording: Recording) -> dict[str, Any]:
    """By name: output, values, operations, steps, whys and arrays."""
    arrays = _Arrays()
    encoding = Encoding(recording, arrays.number)
    places = {id(o): i for i, o in enumerate(recording.operations)}
    locals_ = _locals(recording.operations, arrays)
    return {
        "output": encoding.place(recording.output),
        "values": [_value(v, encoding, places) for v in recording.values],
        "operations": [_operation(o, encoding, locals_) for o in recording.operations],
        "steps": _steps(recording, encoding, places),
        "whys": _whys(recording, encoding, places),
        "arrays": [_array(a) for a in arrays.table],
    }


class _Arrays:
    """Each array once, by its number."""

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}
        self.table: list[Array] = []

    def number(self, array: Array) -> int:
        if id(array) not in self.numbers:
            self.numbers[id(array)] = len(self.table)
            self.table.append(array)  # also so that its id stays its own
        return self.numbers[id(array)]


def _value(v: Value, encoding: Encoding, places: dict[int, int]) -> dict[str, Any]:
    return encoding.value(v) | {
        "operation": places[id(v.operation)] if v.operation else None,
        "differences": [
            {"index": list(i), "gradient": plain(float(v.gradient[i])), "difference": plain(d), "apart": v.apart(i)}
            for i, d in v.differences.items()
            if v.gradient is not None
        ],
        "faults": [legible(c.accusation) for c in v.faults],
    }


def _operation(o: Operation, encoding: Encoding, locals_: dict[int, dict[str, Any]]) -> dict[str, Any]:
    return encoding.operation(o) | {
        "formula": legible(o.written),
        "inputs": [encoding.place(v) for v in o.inputs.values() if v is not None],
        "contributions": [
            {
                "to": encoding.place(c.to),
                "local": locals_.get(id(c)),
                "pulled": encoding.array(c.pulled),
                "axes": list(c.axes),
                "array": encoding.array(c.array),
                "total": encoding.array(c.total),
                "waiting": c.waiting,
                "fault": legible(c.accusation),
            }
            for c in o.contributions
        ],
    }


def _steps(recording: Recording, encoding: Encoding, places: dict[int, int]) -> list[dict[str, Any]]:
    """Pull, sum and add name the contribution; the arrays are there."""
    found: list[dict[str, Any]] = []
    pulls: dict[int, int] = {}
    for step in recording.steps:
        at = None if step.operation is None else places[id(step.operation)]
        entry = encoding.step(step) | {"operation": at}
        if at is not None and step.kind != "forward":
            pulls[at] = pulls.get(at, -1) + (step.kind == "pull")
            entry["contribution"] = pulls[at]
        else:
            entry["array"] = encoding.array(step.array)
        if step.kind == "hook":
            entry["before"] = encoding.array(step.value.before_hooks)
        found.append(entry)
    return found


def _array(a: Array) -> dict[str, Any]:
    """The numbers, if they are few; else what `summary` says of them. Beyond a handful, a heat map, a pixel a cell."""
    found: dict[str, Any] = {"shape": list(a.shape), "dtype": a.dtype.name}
    if a.dtype.kind not in "biuf":
        return found | {"numbers": [_number(x) for x in islice(a.flat, FEW)]}
    if a.size > HANDFUL:
        rows, columns = matrix(a).shape
        found["map"] = heat_map(a, min(columns, CELLS), min(rows, CELLS))
    if a.size <= FEW:
        return found | {"numbers": [_number(x) for x in a.flat]}
    return found | {"summary": {k: plain(x) for k, x in summary(a).items() if k not in found}}


def _number(x: Any) -> Any:
    """With no more digits than its dtype has."""
    if isinstance(x, np.floating):
        return plain(float(str(x)))
    return x.item() if isinstance(x, np.bool | np.integer) else str(x)


# ---- local derivatives, and why --------------------------------------------------------------------------------------


class _Work:
    """What may still be spent on columns of local derivatives."""

    def __init__(self) -> None:
        self.left = MOST_WORK

    def spend(self, contributions: list[Contribution], columns: int) -> bool:
        """Whether there was enough left for this many columns."""
        cost = columns * sum(map(_cost, contributions))
        if cost > self.left:
            return False
        self.left -= cost
        return True


def _cost(c: Contribution) -> int:
    o = c.operation
    return (KERNEL if o.definition else CALL) + o.output.array.size + sum(np.size(x) for x in o.arguments)


def _locals(operations: list[Operation], arrays: _Arrays) -> dict[int, dict[str, Any]]:
    """The local derivatives of small operations, by the id of the contribution; the smallest first."""
    work = _Work()
    small = [c for o in operations for c in o.contributions if 0 < max(o.output.array.size, c.to.array.size) <= FEW]
    small.sort(key=lambda c: c.to.array.size)
    return {id(c): found for c in small if work.spend([c], c.to.array.size) and (found := _local(c, arrays))}


def _local(c: Contribution, arrays: _Arrays) -> dict[str, Any] | None:
    """In the smallest of three shapes.

    per: "output" where each entry of the output depends on one entry of the input at most, "input" the other way
    round, else "both", a matrix with a row for each entry of the output. name: of the value that they are.
    """
    shape, to = c.operation.output.array.shape, c.to.array.shape
    matrix = np.zeros((c.operation.output.array.size, c.to.array.size))
    for column, index in enumerate(np.ndindex(to)):
        try:
            matrix[:, column] = local_derivatives(c, index).reshape(-1)
        except ValueError:  # as below
            return None
    used = matrix != 0
    per, found = "both", matrix
    if np.all(used.sum(1) <= 1):
        per, found = "output", matrix.sum(1).reshape(shape)
    elif np.all(used.sum(0) <= 1):
        per, found = "input", matrix.sum(0).reshape(to)
    elif matrix.size > FEW:
        return None
    others = [v for i, v in enumerate(c.operation.inputs.values()) if i != c.position and v is not None]
    name = others[0].name if c.operation.rule is multiply and len(others) == 1 else ""
    return {"per": per, "array": arrays.number(found), "name": name}


def _whys(recording: Recording, encoding: Encoding, places: dict[int, int]) -> dict[int, list[dict[str, Any]]]:
    """By the number of the value: entries of its gradient taken apart, as many as may be."""
    work = _Work()
    zeros = MOST_ZEROS
    found: dict[int, dict[int, dict[str, Any]]] = {}
    for v, at in islice(_entries(recording.values), MOST_WHYS):
        if not work.spend(v.contributions, 1):
            continue
        index = tuple(int(i) for i in np.unravel_index(at, v.array.shape))
        with suppress(ValueError):  # a rule for arrays only, with too much to probe: `explanation.why` says so
            parts = why(v, index, MOST_TERMS)
            zeros -= not parts.terms
            zero = parts.zero if zeros >= 0 else []
            found.setdefault(encoding.places[id(v)], {})[at] = _why(parts, zero, encoding, places)
    return {v: [parts[at] for at in sorted(parts)] for v, parts in found.items()}


def _entries(values: list[Value]) -> Iterator[tuple[Value, int]]:
    """First the largest of every gradient, then the others of the small ones."""
    largest = {}
    for v in values:
        if v.gradient is not None:
            size = np.where(np.isfinite(v.gradient), np.abs(v.gradient), np.inf)
            largest[v] = np.argsort(-size, axis=None, kind="stable")[: max(LARGEST, FEW * (v.gradient.size <= FEW))]
    for part in (slice(LARGEST), slice(LARGEST, None)):
        for v, order in largest.items():
            yield from ((v, int(at)) for at in order[part])


def _why(w: Why, zero: list[str], encoding: Encoding, places: dict[int, int]) -> dict[str, Any]:
    return {
        "index": list(w.index),
        "terms": [
            {
                "operation": places[id(t.operation)] if t.operation else None,
                "output": encoding.place(t.output),
                "index": list(t.index),
                "upstream": plain(t.upstream),
                "local": plain(t.local),
                "name": t.local_name,
                "value": plain(t.value),
            }
            for t in w.terms
        ],
        "rest": plain(w.rest),
        "others": w.others,
        "total": plain(w.total),
        "real": plain(w.real),
        "addsUp": w.adds_up,
        "zero": [legible(words) for words in zero],
        "hooked": plain(w.hooked),
    }
