"""What the picture draws: boxes for values and folded modules, and the edges between them."""

from __future__ import annotations

from dataclasses import dataclass, field

from minigrad import checks
from minigrad.explain.arrays import shown
from minigrad.explain.recording import Contribution, Operation, Recording, Value
from minigrad.explain.words import cut, short, tail
from minigrad.explain.zeros import of_whole
from minigrad.tensor import Array

MOST_BOXES = 60  # beyond that modules are folded, unless asked for
LETTER = 7.1  # the width of one, in the 11 px monospace font
ROW = 15  # the height of a line of text


@dataclass(eq=False)
class Box:
    """What is drawn: a value with the operation that made it, or a folded module."""

    kind: str
    lines: list[tuple[str, str]]  # the text, and its class: name, note, value or gradient
    title: str
    maps: list[tuple[Array, str]] = field(default_factory=list)
    wrong: bool = False
    layer: int = 0
    x: float = 0.0
    y: float = 0.0

    @property
    def width(self) -> float:
        return max([LETTER * len(text) for text, _ in self.lines] + [60.0 * len(self.maps)]) + 16

    @property
    def height(self) -> float:
        return ROW * len(self.lines) + 10 + (46 if self.maps else 0)


@dataclass(eq=False)
class Bend:
    """Where a long edge passes through a layer."""

    layer: int
    x: float = 0.0
    y: float = 0.0
    width: float = 8.0
    height: float = 0.0


@dataclass(eq=False)
class Edge:
    """bends: from layer to layer; shared with the other edges from the same box, the longest of which leads."""

    start: Box
    end: Box
    contributions: list[Contribution]
    bends: list[Bend] = field(default_factory=list)
    leads: bool = False


def graph(recording: Recording, depth: int | None) -> tuple[list[Box], list[Edge]]:
    """The boxes and the edges between them, folded to this depth of the modules' paths."""
    if depth is not None:
        checks.whole("to_svg", depth=depth)
        return _boxes(recording, depth)
    deepest = max((o.module.count(".") + 1 for o in recording.operations), default=0)
    for depth in (0, *range(deepest, 0, -1)):
        found = _boxes(recording, depth)
        if len(found[0]) <= MOST_BOXES:
            break
    return found


def _boxes(recording: Recording, depth: int) -> tuple[list[Box], list[Edge]]:
    groups = recording.groups(depth or None)
    boxes: dict[int, Box] = {}
    edges: dict[tuple[int, int], Edge] = {}
    made: list[Box] = []
    for path, operations in groups:
        alone = len(operations) == 1
        box = _box(operations[0].output) if alone else _folded(path, operations)
        box_inputs = [(o, v) for o in operations for v in o.inputs.values() if v is not None]
        for operation in operations:
            boxes[id(operation.output)] = box
        for operation, v in box_inputs:
            if (v.kind == "leaf" and not alone) or (v.kind == "constant" and not v.array.ndim):
                continue  # the parameters of a folded module are inside; a number is in the call
            if id(v) not in boxes:
                made.append(boxes.setdefault(id(v), _box(v)))
            start = boxes[id(v)]
            if start is box:
                continue
            edge = edges.setdefault((id(start), id(box)), Edge(start, box, []))
            edge.contributions += [c for c in operation.contributions if c.to is v and c not in edge.contributions]
        made.append(box)
    if not made:
        made.append(_box(recording.output))
    return made, list(edges.values())


def _box(v: Value) -> Box:
    o = v.operation
    lines = [(tail(v.name, 30) + (f" = {cut(o.call, 36)}" if o else ""), "name")]
    title = [v.name if o is None else f"{v.name} = {o.call}", f"{v.array.dtype.name} {v.array.shape}"]
    if o is not None:
        lines.append((cut("\u2003".join(filter(None, (short(o.written), o.source))), 44), "note"))
        title += [o.written, f"{o.source}  {o.code}".strip(), o.module]
    lines.append((shown(v.array, 34), "value"))
    faults = _faults([o] if o else [])
    if v.gradient is not None:
        zero = of_whole(v)
        ends = ", wrong" if v.faults else f": {zero}" if zero else ""
        lines.append((cut("∂ " + shown(v.gradient, 34) + ends, 60), "gradient"))
        title.append(f"gradient: {shown(v.gradient)}{ends}")
    elif v.kind != "constant":
        lines.append(("∂ none", "gradient"))
    maps = [(v.array, "value")] + ([(v.gradient, "gradient")] if v.gradient is not None else [])
    large = v.array.size > 8 and v.array.dtype.kind == "f"
    lines += faults
    return Box(v.kind, lines, "\n".join(filter(None, title)), maps if large else [], bool(faults))


def _faults(operations: list[Operation]) -> list[tuple[str, str]]:
    return [(cut(f"✗ {c.accusation}", 90), "fault") for o in operations for c in o.contributions if c.fault]


def _folded(path: str, operations: list[Operation]) -> Box:
    out = operations[-1].output
    lines = [(tail(path, 40), "name"), (f"{len(operations)} operations", "note"), (shown(out.array, 34), "value")]
    if out.gradient is not None:
        lines.append(("∂ " + shown(out.gradient, 34), "gradient"))
    faults = _faults(operations)
    title = "\n".join([path, *(f"{o.output.name} = {o.call}" for o in operations)])
    return Box("group", lines + faults, title, [], bool(faults))
