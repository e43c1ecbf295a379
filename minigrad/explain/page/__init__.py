"""A recording as a page to step through: one HTML file that needs nothing else.

page.html, page.css and the scripts are the page; here they are put together, with the recording as JSON. What the JSON
says is only ever shown as text, and the page's own policy forbids every other script and every request.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import suppress
from html import escape
from importlib.resources import files
from itertools import islice
from typing import Any

import numpy as np

from minigrad.definitions import DEFINITIONS
from minigrad.explain.picture import CELLS, _matrix, heat_map
from minigrad.explain.recording import Contribution, Explanation, Operation, Step, Value, call, legible
from minigrad.explain.text import _plain, summary
from minigrad.explain.why import Why, local_derivatives, why
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
SCRIPTS = ("recording.js", "boxes.js", "layout.js", "drawing.js", "panel.js", "controls.js")
HEIGHT = 720  # of the page in a notebook


def to_html(explanation: Explanation) -> str:
    """What `Explanation.to_html` does."""
    page, style = _text("page.html"), _text("page.css")
    script = "\n".join(map(_text, SCRIPTS))
    json_ = json.dumps(_data(explanation), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    filled = {
        "title": escape(f"Backprop of {explanation.output.name}"),
        "policy": f"default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
        f"style-src '{_hash(style)}'; script-src '{_hash(script)}'",
        "style": style,
        "script": script,
        "data": json_.replace("<", "\\u003c"),  # no name can end the element
    }
    return legible(re.sub(r"\{\{(\w+)\}\}", lambda found: filled[found[1]], page))


def _text(name: str) -> str:
    return files("minigrad.explain.page").joinpath(name).read_text("utf-8")


def notebook(explanation: Explanation) -> str:
    """The page in a frame of its own, which cannot touch the notebook."""
    return (
        f'<iframe title="{escape(repr(explanation)[1:-1])}" sandbox="allow-scripts" width="100%" height="{HEIGHT}" '
        f'frameborder="0" srcdoc="{escape(to_html(explanation))}"></iframe>'
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


# ---- the recording as JSON -------------------------------------------------------------------------------------------


class _Arrays:
    """Each array once, by its number."""

    def __init__(self) -> None:
        self.numbers: dict[int, int] = {}
        self.kept: list[Array] = []

    def number(self, array: Array | None) -> int | None:
        if array is None:
            return None
        if id(array) not in self.numbers:
            self.numbers[id(array)] = len(self.kept)
            self.kept.append(array)  # also so that its id stays its own
        return self.numbers[id(array)]


def _data(explanation: Explanation) -> dict[str, Any]:
    arrays = _Arrays()
    numbers = {id(v): i for i, v in enumerate(explanation.values)}
    places = {id(o): i for i, o in enumerate(explanation.operations)}
    locals_ = _locals(explanation.operations, arrays)
    return {
        "output": numbers[id(explanation.output)],
        "values": [_value(v, arrays, places) for v in explanation.values],
        "operations": [_operation(o, arrays, numbers, locals_) for o in explanation.operations],
        "steps": _steps(explanation, arrays, numbers, places),
        "whys": _whys(explanation, numbers, places),
        "arrays": [_array(a) for a in arrays.kept],
    }


def _value(v: Value, arrays: _Arrays, places: dict[int, int]) -> dict[str, Any]:
    return {
        "name": legible(v.name),
        "kind": v.kind,
        "array": arrays.number(v.array),
        "gradient": arrays.number(v.gradient),
        "operation": places[id(v.operation)] if v.operation else None,
        "differences": [
            {"index": list(i), "gradient": _plain(float(v.gradient[i])), "difference": _plain(d), "apart": v.apart(i)}
            for i, d in v.differences.items()
            if v.gradient is not None
        ],
        "faults": [legible(c.accusation) for c in v.faults],
    }


def _operation(
    o: Operation, arrays: _Arrays, numbers: dict[int, int], locals_: dict[int, dict[str, Any]]
) -> dict[str, Any]:
    return {
        "rule": o.name,
        "formula": legible(o.written),
        "call": legible(call(o)),
        "inputs": [numbers[id(v)] for v in o.inputs.values() if v is not None],
        "output": numbers[id(o.output)],
        "source": legible(o.source),
        "code": legible(o.code),
        "module": legible(o.module),
        "contributions": [
            {
                "to": numbers[id(c.to)],
                "local": locals_.get(id(c)),
                "pulled": arrays.number(c.pulled),
                "axes": list(c.axes),
                "array": arrays.number(c.array),
                "total": arrays.number(c.total),
                "waiting": c.waiting,
                "fault": legible(c.accusation),
            }
            for c in o.contributions
        ],
    }


def _steps(
    explanation: Explanation, arrays: _Arrays, numbers: dict[int, int], places: dict[int, int]
) -> list[dict[str, Any]]:
    """Pull, sum and add name the contribution; the arrays are there."""
    found: list[dict[str, Any]] = []
    pulls: dict[int, int] = {}
    for step in explanation.steps:
        at = None if step.operation is None else places[id(step.operation)]
        entry = {"kind": step.kind, "operation": at, "value": numbers[id(step.value)]}
        if at is not None and step.kind != "forward":
            pulls[at] = pulls.get(at, -1) + (step.kind == "pull")
            entry["contribution"] = pulls[at]
        else:
            entry["array"] = arrays.number(step.array)
        found.append(entry | _before(step, arrays))
    return found


def _before(step: Step, arrays: _Arrays) -> dict[str, Any]:
    return {"before": arrays.number(step.value.before_hooks)} if step.kind == "hook" else {}


def _array(a: Array) -> dict[str, Any]:
    """The numbers, if they are few; else what `summary` says of them. Beyond a handful, a heat map, a pixel a cell."""
    found: dict[str, Any] = {"shape": list(a.shape), "dtype": a.dtype.name}
    if a.dtype.kind not in "biuf":
        return found | {"numbers": [_number(x) for x in islice(a.flat, FEW)]}
    if a.size > HANDFUL:
        rows, columns = _matrix(a).shape
        found["map"] = heat_map(a, min(columns, CELLS), min(rows, CELLS))
    if a.size <= FEW:
        return found | {"numbers": [_number(x) for x in a.flat]}
    return found | {"summary": {k: _plain(x) for k, x in summary(a).items() if k not in found}}


def _number(x: Any) -> Any:
    """With no more digits than its dtype has."""
    if isinstance(x, np.floating):
        return _plain(float(str(x)))
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
    call = KERNEL if any(d.fast is o.rule for d in DEFINITIONS) else CALL
    return call + o.output.array.size + sum(np.size(x) for x in o.arguments)


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


def _whys(explanation: Explanation, numbers: dict[int, int], places: dict[int, int]) -> dict[int, list[dict[str, Any]]]:
    """By the number of the value: entries of its gradient taken apart, as many as may be."""
    work = _Work()
    zeros = MOST_ZEROS
    found: dict[int, dict[int, dict[str, Any]]] = {}
    for v, at in islice(_entries(explanation.values), MOST_WHYS):
        if not work.spend(v.contributions, 1):
            continue
        index = tuple(int(i) for i in np.unravel_index(at, v.array.shape))
        with suppress(ValueError):  # a rule for arrays only, with too much to probe: `explanation.why` says so
            taken = why(v, index, MOST_TERMS)
            zeros -= not taken.terms
            zero = taken.zero if zeros >= 0 else []
            found.setdefault(numbers[id(v)], {})[at] = _why(taken, zero, numbers, places)
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


def _why(w: Why, zero: list[str], numbers: dict[int, int], places: dict[int, int]) -> dict[str, Any]:
    return {
        "index": list(w.index),
        "terms": [
            {
                "operation": places[id(t.operation)] if t.operation else None,
                "output": numbers[id(t.output)] if t.output else None,
                "index": list(t.index),
                "upstream": _plain(t.upstream),
                "local": _plain(t.local),
                "name": t.local_name,
                "value": _plain(t.value),
            }
            for t in w.terms
        ],
        "rest": _plain(w.rest),
        "others": w.others,
        "total": _plain(w.total),
        "real": _plain(w.real),
        "addsUp": w.adds_up,
        "zero": [legible(words) for words in zero],
        "hooked": _plain(w.hooked),
    }
