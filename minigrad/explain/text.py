"""A recording as tables for a terminal, at most 100 columns wide."""

from __future__ import annotations

import numpy as np

from minigrad import checks
from minigrad.explain.arrays import shown, summary
from minigrad.explain.recording import Contribution, Operation, Recording, Value
from minigrad.explain.words import cut, entry, legible, short, tail
from minigrad.explain.zeros import of_share, of_whole

WIDTH = 100
MOST_OPERATIONS = 60  # beyond that modules are folded


def text(recording: Recording, module: str | None) -> str:
    """The tables, of one module if its path is given."""
    return legible("\n".join(_tables(recording, module)))


def _tables(recording: Recording, module: str | None) -> list[str]:
    operations = recording.operations
    if module is None and len(operations) > MOST_OPERATIONS and any(o.module for o in operations):
        return _folded(recording)
    if module is not None:
        operations = [o for o in operations if (o.module + ".").startswith(module + ".")]
        if not operations:
            paths = sorted({o.module for o in recording.operations if o.module})
            checks.one_of("text", paths or ("(none is known: run the forward pass under mg.debug())",), module=module)
    used = {id(v): v for o in operations for v in o.inputs.values() if v is not None} | {
        id(recording.output): recording.output
    }
    shown_here = set(operations)
    starts = [v for v in used.values() if v.operation is None or v.operation not in shown_here]
    lines = ["forward", *_forward(starts, operations), "", "backward"]
    if module is None:
        seed = recording.output.seed
        assert seed is not None
        lines.append(f"     {recording.output.name}.grad starts as {shown(seed, 60)}")
    for operation in reversed(operations):
        lines += _backward(operation)
    if module is None:
        lines += ["", "gradients", *_gradients([v for v in recording.values if v.kind == "leaf"])]
    if any(v.differences for v in recording.values):
        lines += ["", "finite differences", *difference_table(recording.values)]
    return lines


def _forward(starts: list[Value], operations: list[Operation]) -> list[str]:
    starts = [v for v in starts if v.kind != "constant" or v.array.ndim]
    names = [tail(v.name, 48) for v in starts]
    width = max(map(len, names), default=0)
    lines = [
        f"     {name:{width}}  {v.kind:8}  {shown(v.array, WIDTH - width - 17)}"
        for name, v in zip(names, starts, strict=True)
    ]
    rows = [(tail(o.output.name, 20), cut(o.call, 36), short(o.written), o.output.array) for o in operations]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(2)]
    free = WIDTH - sum(widths) - 11
    values = min(max((len(shown(row[3], 56)) for row in rows), default=0), free)  # the formula gives way to the values
    formulas = max(min(max((len(row[2]) for row in rows), default=0), free - values), 0)
    place = ""
    for (name, called, formula, array), o in zip(rows, operations, strict=True):
        here = "  ".join(filter(None, (o.module, o.source)))
        if here and here != place:
            lines.append(cut(f"  -- {here}  {o.code}", WIDTH))
        place = here
        cells = f"{o.number:>3}  {name:{widths[0]}}  {called:{widths[1]}}"
        if formulas > 4:
            cells += f"  {cut(formula, formulas):{formulas}}"
        lines.append(f"{cells}  {shown(array, values)}".rstrip())
    return lines


def _backward(operation: Operation) -> list[str]:
    g = operation.output.gradient
    head = f"{operation.number:>3}  {operation.name}"
    if g is None:
        return [cut(f"{head}: no gradient is wanted", WIDTH)]
    where = f"  {operation.source}" if operation.source else ""
    head += f": upstream {tail(operation.output.name, 24)}.grad = "
    lines = [cut(head + shown(g, WIDTH - len(head) - len(where)) + where, WIDTH)]
    if operation.output.before_hooks is not None:
        lines.append("       after hooks had changed it")
    for c in operation.contributions:
        lines += [cut(line, WIDTH) for line in _contribution(c)]
    return lines


def _contribution(c: Contribution) -> list[str]:
    to = f"       → {tail(c.to.name, 24)}: "
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
        joins = f"           joins what had arrived: {tail(c.to.name, 24)}.grad = "
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

    width = max((len(tail(v.name, 40)) for v in values), default=0)
    return [
        cut(
            f"     {tail(v.name, 40):{width}}  " + told(v, 93 - width),
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
        name = tail(entry(v.name + ".grad", index), 32)
        gradient, difference = float(v.gradient[index]) + 0.0, v.differences[index]
        lines.append(f"     {name:32}  {gradient:14.7g}  {difference:14.7g}  {apart[index]:9.1e}{many}")
        lines += [cut(f"         {c.accusation}", WIDTH) for c in v.faults]
        if not v.faults and any(map(v.apart, v.differences)):
            lines.append("         apart, though no rule differs from its own: by a hook, a kink, or rounding")
    return lines


def _folded(recording: Recording) -> list[str]:
    """One line for each run of operations of one module."""
    lines = [
        f"{len(recording.operations)} operations, by module; explanation.text(module=...) opens one",
        "",
        f"{'module':44}  {'ops':>4}  {'gives':>14}  {'norm':>9}  {'gradient':>9}",
    ]
    for path, operations in recording.groups(99):
        out = operations[-1].output
        norm = summary(out.array).get("norm", 0.0)
        gradient = "none" if out.gradient is None else f"{summary(out.gradient).get('norm', 0.0):.3g}"
        name = tail(path or operations[0].call, 44)
        shape = "×".join(map(str, out.array.shape)) or "1"
        lines.append(f"{name:44}  {len(operations):4}  {shape:>14}  {norm:9.3g}  {gradient:>9}")
    lines += ["", "gradients", *_gradients([v for v in recording.values if v.kind == "leaf"])]
    return lines
