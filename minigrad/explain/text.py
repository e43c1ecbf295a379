"""A recording as tables for a terminal, at most 100 columns wide, and as JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from minigrad import checks
from minigrad.explain.recording import Contribution, Explanation, Operation, Value, call, entry, legible, short
from minigrad.explain.zeros import of_share, of_whole
from minigrad.tensor import Array

WIDTH = 100
MOST_OPERATIONS = 60  # beyond that modules are folded
FEW = 8  # numbers that are written out


def summary(array: Array) -> dict[str, Any]:
    """Shape, dtype, and of the finite numbers the extremes, mean and norm; the shares of zeros and of non-finite."""
    finite = array[np.isfinite(array)].astype(np.float64) if array.dtype.kind == "f" else array.astype(np.float64)
    found: dict[str, Any] = {"shape": array.shape, "dtype": array.dtype.name}
    if finite.size:
        found |= {k: float(f(finite)) + 0.0 for k, f in (("min", np.min), ("mean", np.mean), ("max", np.max))}  # no −0
        with np.errstate(over="ignore"):
            found["norm"] = float(np.sqrt(np.sum(finite * finite)))
    share = 1 / max(array.size, 1)
    found["zeros"] = float(np.count_nonzero(array == 0) * share)
    return found | {"non_finite": (array.size - finite.size) * share}


def shown(array: Array, room: int = WIDTH) -> str:
    """The numbers, if they are few; else where they lie."""
    if array.size <= FEW:
        text = _numbers(array)
        if len(text) <= room:
            return text
    s = summary(array)
    shares = "".join(f", {_share(s[k])} {w}" for k, w in (("zeros", "0"), ("non_finite", "not finite")) if s[k])
    shape = "×".join(map(str, array.shape))
    if "min" not in s:
        return f"{shape}{shares}"
    lies = f"{shape}: {s['min']:.3g} to {s['max']:.3g}"
    ways = [f"{lies}, mean {s['mean']:.2g}, norm {s['norm']:.3g}{shares}", f"{lies}, norm {s['norm']:.3g}{shares}"]
    ways += [f"{lies}, norm {s['norm']:.3g}", lies, f"{shape} of norm {s['norm']:.3g}"]
    return next((way for way in ways if len(way) <= room), shape)  # no number is cut in two


def _share(share: float) -> str:
    return "all" if share == 1 else f"{100 * share:.2g} %"


def _numbers(array: Array) -> str:
    if array.ndim == 0:
        return f"{array.item() + 0.0:.5g}" if array.dtype.kind == "f" else str(array.item())
    return f"[{', '.join(map(_numbers, array))}]"


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: max(room - 1, 0)] + "…" * (room > 0)


def _tail(name: str, room: int) -> str:
    """A long path by its end, which says more than its beginning."""
    return name if len(name) <= room else "…" + name[1 - room :]


def text(explanation: Explanation, module: str | None) -> str:
    """What `Explanation.text` does."""
    return legible("\n".join(_tables(explanation, module)))


def _tables(explanation: Explanation, module: str | None) -> list[str]:
    operations = explanation.operations
    if module is None and len(operations) > MOST_OPERATIONS and any(o.module for o in operations):
        return _folded(explanation)
    if module is not None:
        operations = [o for o in operations if (o.module + ".").startswith(module + ".")]
        if not operations:
            paths = sorted({o.module for o in explanation.operations if o.module})
            checks.one_of("text", paths or ("(none is known: run the forward pass under mg.debug())",), module=module)
    used = {id(v): v for o in operations for v in o.inputs.values() if v is not None} | {
        id(explanation.output): explanation.output
    }
    shown_here = set(operations)
    starts = [v for v in used.values() if v.operation is None or v.operation not in shown_here]
    lines = ["forward", *_forward(starts, operations), "", "backward"]
    if module is None:
        seed = explanation.output.seed
        assert seed is not None
        lines.append(f"     {explanation.output.name}.grad starts as {shown(seed, 60)}")
    for operation in reversed(operations):
        lines += _backward(operation)
    if module is None:
        lines += ["", "gradients", *_gradients([v for v in explanation.values if v.kind == "leaf"])]
    if any(v.differences for v in explanation.values):
        lines += ["", "finite differences", *difference_table(explanation.values)]
    return lines


def _forward(starts: list[Value], operations: list[Operation]) -> list[str]:
    starts = [v for v in starts if v.kind != "constant" or v.array.ndim]
    names = [_tail(v.name, 48) for v in starts]
    width = max(map(len, names), default=0)
    lines = [
        f"     {name:{width}}  {v.kind:8}  {shown(v.array, WIDTH - width - 17)}"
        for name, v in zip(names, starts, strict=True)
    ]
    rows = [(_tail(o.output.name, 20), _cut(call(o), 36), short(o.written), o.output.array) for o in operations]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(2)]
    free = WIDTH - sum(widths) - 11
    values = min(max((len(shown(row[3], 56)) for row in rows), default=0), free)  # the formula gives way to the values
    formulas = max(min(max((len(row[2]) for row in rows), default=0), free - values), 0)
    place = ""
    for (name, called, formula, array), o in zip(rows, operations, strict=True):
        here = "  ".join(filter(None, (o.module, o.source)))
        if here and here != place:
            lines.append(_cut(f"  -- {here}  {o.code}", WIDTH))
        place = here
        cells = f"{o.number:>3}  {name:{widths[0]}}  {called:{widths[1]}}"
        if formulas > 4:
            cells += f"  {_cut(formula, formulas):{formulas}}"
        lines.append(f"{cells}  {shown(array, values)}".rstrip())
    return lines


def _backward(operation: Operation) -> list[str]:
    g = operation.output.gradient
    head = f"{operation.number:>3}  {operation.name}"
    if g is None:
        return [_cut(f"{head}: no gradient is wanted", WIDTH)]
    where = f"  {operation.source}" if operation.source else ""
    head += f": upstream {_tail(operation.output.name, 24)}.grad = "
    lines = [_cut(head + shown(g, WIDTH - len(head) - len(where)) + where, WIDTH)]
    if operation.output.before_hooks is not None:
        lines.append("       after hooks had changed it")
    for c in operation.contributions:
        lines += [_cut(line, WIDTH) for line in _contribution(c)]
    return lines


def _contribution(c: Contribution) -> list[str]:
    to = f"       → {_tail(c.to.name, 24)}: "
    lines = []
    if c.axes:
        lines.append(to + shown(c.pulled, WIDTH - len(to)))
        axes = ", ".join(map(str, c.axes))
        to = f"           summed over axis {axes}, along which it was broadcast: "
    first = c.to.contributions[0] is c and c.to.seed is None
    waits = f"waits for {c.waiting} more" if c.waiting else ""
    ends = (f"; {waits}" if first and waits else "") + (f"; {zero}" if (zero := of_share(c)) else "")
    lines.append(to + shown(c.array, WIDTH - len(to) - len(waits) - 2) + ends)
    if not first:
        joins = f"           joins what had arrived: {_tail(c.to.name, 24)}.grad = "
        end = f"; {waits}" if waits else ", complete"
        lines.append(joins + shown(c.total, WIDTH - len(joins) - len(end)) + end)
    if c.fault:
        lines.append(f"           {c.accusation}")
    return lines


def _gradients(values: list[Value]) -> list[str]:
    def told(v: Value, room: int) -> str:
        zero = of_whole(v)
        ends = ", wrong" if v.faults else f": {zero}" if zero else ""
        return "none" if v.gradient is None else shown(v.gradient, room) + ends

    width = max((len(_tail(v.name, 40)) for v in values), default=0)
    return [
        _cut(
            f"     {_tail(v.name, 40):{width}}  " + told(v, 93 - width),
            WIDTH,
        )
        for v in values
    ]


def difference_table(values: list[Value]) -> list[str]:
    """Of each value the entry where gradient and difference are furthest apart, and what is to blame."""
    lines = [f"     {'entry':32}  {'gradient':>14}  {'difference':>14}  {'apart':>9}"]
    for v in values:
        if not v.differences:
            continue
        assert v.gradient is not None
        apart = {index: abs(float(v.gradient[index]) - d) for index, d in v.differences.items()}
        index = max(apart, key=lambda index: np.nan_to_num(apart[index], nan=np.inf))
        many = f"  the worst of {len(apart)}" if len(apart) > 1 else ""
        name = _tail(entry(v.name + ".grad", index), 32)
        gradient, difference = float(v.gradient[index]) + 0.0, v.differences[index]
        lines.append(f"     {name:32}  {gradient:14.7g}  {difference:14.7g}  {apart[index]:9.1e}{many}")
        lines += [_cut(f"         {c.accusation}", WIDTH) for c in v.faults]
        if not v.faults and any(map(v.apart, v.differences)):
            lines.append("         apart, though no rule differs from its own: by a hook, a kink, or rounding")
    return lines


def _folded(explanation: Explanation) -> list[str]:
    """One line for each run of operations of one module."""
    lines = [
        f"{len(explanation.operations)} operations, by module; explanation.text(module=...) opens one",
        "",
        f"{'module':44}  {'ops':>4}  {'gives':>14}  {'norm':>9}  {'gradient':>9}",
    ]
    for path, operations in explanation.groups(99):
        out = operations[-1].output
        norm = summary(out.array).get("norm", 0.0)
        gradient = "none" if out.gradient is None else f"{summary(out.gradient).get('norm', 0.0):.3g}"
        name = _tail(path or call(operations[0]), 44)
        shape = "×".join(map(str, out.array.shape)) or "1"
        lines.append(f"{name:44}  {len(operations):4}  {shape:>14}  {norm:9.3g}  {gradient:>9}")
    lines += ["", "gradients", *_gradients([v for v in explanation.values if v.kind == "leaf"])]
    return lines


# ---- JSON ------------------------------------------------------------------------------------------------------------


def to_json(explanation: Explanation, most: int) -> str:
    """What `Explanation.to_json` does."""
    numbers = {id(v): i for i, v in enumerate(explanation.values)}

    def array(a: Array | None) -> Any:
        if a is None:
            return None
        found = {k: _plain(x) for k, x in summary(a).items()}
        return found | ({"values": _plain(a.tolist())} if a.size <= most else {})

    def value(v: Value) -> dict[str, Any]:
        return {
            "name": v.name,
            "kind": v.kind,
            "array": array(v.array),
            "gradient": array(v.gradient),
            "before_hooks": array(v.before_hooks),
            "operation": v.operation and v.operation.number,
            "differences": [{"index": list(i), "value": _plain(d)} for i, d in v.differences.items()],
        }

    def operation(o: Operation) -> dict[str, Any]:
        return {
            "number": o.number,
            "rule": o.name,
            "formula": o.formula,
            "call": call(o),
            "inputs": {name: None if v is None else numbers[id(v)] for name, v in o.inputs.items()},
            "output": numbers[id(o.output)],
            "faults": [c.accusation for c in o.contributions if c.fault],
            "source": o.source,
            "code": o.code,
            "module": o.module,
        }

    found = json.dumps(
        {
            "output": numbers[id(explanation.output)],
            "values": [value(v) for v in explanation.values],
            "operations": [operation(o) for o in explanation.operations],
            "steps": [
                {
                    "kind": step.kind,
                    "operation": step.operation and step.operation.number,
                    "value": numbers[id(step.value)],
                    "array": array(step.array),
                    "axes": list(step.axes),
                    "waiting": step.waiting,
                }
                for step in explanation.steps
            ],
        },
        ensure_ascii=False,
        allow_nan=False,
    )
    return legible(found)


def _plain(x: Any) -> Any:
    """For JSON, which has no NaN and no infinity: these as text; and 0 without a sign."""
    if isinstance(x, list | tuple):
        return [_plain(y) for y in x]
    if not isinstance(x, float):
        return x
    return x + 0.0 if math.isfinite(x) else str(x)
