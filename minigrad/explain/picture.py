"""A recording as a picture: an SVG that needs nothing else, and DOT for Graphviz.

The layout is Sugiyama's: boxes in layers, each below all that it depends on; long edges led through the layers
between, those from one box by one way; the order within a layer improved by sweeps towards the mean of the neighbours.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections import defaultdict
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from typing import Any

import numpy as np

from minigrad import checks
from minigrad.explain.recording import Contribution, Explanation, Operation, Value, call, legible, short
from minigrad.explain.text import _cut, _tail, shown
from minigrad.explain.zeros import of_whole
from minigrad.tensor import Array

MOST_BOXES = 60  # beyond that modules are folded, unless asked for
LETTER = 7.1  # the width of one, in the 11 px monospace font
ROW, GAP, BETWEEN = 15, 26, 46  # of text; between boxes of a layer; between layers
CELLS = 24  # of a heat map along one side, at most
INK = {"leaf": "#dbe9ff", "constant": "#eceef1", "result": "#ffffff", "group": "#fff4d6"}
LINE = {"leaf": "#2f6fd0", "constant": "#9aa3ad", "result": "#5b6673", "group": "#c08a00"}
GRADIENT = "#b3261e"
WRONG = "#d00000"


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


def _graph(explanation: Explanation, depth: int | None) -> tuple[list[Box], list[Edge]]:
    """The boxes and the edges between them, folded to this depth of the modules' paths."""
    if depth is not None:
        checks.whole("to_svg", depth=depth)
        return _boxes(explanation, depth)
    deepest = max((o.module.count(".") + 1 for o in explanation.operations), default=0)
    for depth in (0, *range(deepest, 0, -1)):
        found = _boxes(explanation, depth)
        if len(found[0]) <= MOST_BOXES:
            break
    return found


def _boxes(explanation: Explanation, depth: int) -> tuple[list[Box], list[Edge]]:
    groups = explanation.groups(depth or None)
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
        made.append(_box(explanation.output))
    return made, list(edges.values())


def _box(v: Value) -> Box:
    o = v.operation
    lines = [(_tail(v.name, 30) + (f" = {_cut(call(o), 36)}" if o else ""), "name")]
    title = [v.name if o is None else f"{v.name} = {call(o)}", f"{v.array.dtype.name} {v.array.shape}"]
    if o is not None:
        lines.append((_cut("\u2003".join(filter(None, (short(o.written), o.source))), 44), "note"))
        title += [o.written, f"{o.source}  {o.code}".strip(), o.module]
    lines.append((shown(v.array, 34), "value"))
    faults = _faults([o] if o else [])
    if v.gradient is not None:
        zero = of_whole(v)
        ends = ", wrong" if v.faults else f": {zero}" if zero else ""
        lines.append((_cut("∂ " + shown(v.gradient, 34) + ends, 60), "gradient"))
        title.append(f"gradient: {shown(v.gradient)}{ends}")
    elif v.kind != "constant":
        lines.append(("∂ none", "gradient"))
    maps = [(v.array, "value")] + ([(v.gradient, "gradient")] if v.gradient is not None else [])
    large = v.array.size > 8 and v.array.dtype.kind == "f"
    lines += faults
    return Box(v.kind, lines, "\n".join(filter(None, title)), maps if large else [], bool(faults))


def _faults(operations: list[Operation]) -> list[tuple[str, str]]:
    return [(_cut(f"✗ {c.accusation}", 90), "fault") for o in operations for c in o.contributions if c.fault]


def _folded(path: str, operations: list[Operation]) -> Box:
    out = operations[-1].output
    lines = [(_tail(path, 40), "name"), (f"{len(operations)} operations", "note"), (shown(out.array, 34), "value")]
    if out.gradient is not None:
        lines.append(("∂ " + shown(out.gradient, 34), "gradient"))
    faults = _faults(operations)
    title = "\n".join([path, *(f"{o.output.name} = {call(o)}" for o in operations)])
    return Box("group", lines + faults, title, [], bool(faults))


# ---- layout ----------------------------------------------------------------------------------------------------------


def _layout(boxes: list[Box], edges: list[Edge]) -> tuple[float, float]:
    """Place boxes and bends; returns the size of the picture."""
    into, out = defaultdict(list), defaultdict(list)
    for edge in edges:
        into[edge.end].append(edge.start)
        out[edge.start].append(edge.end)
    for box in boxes:  # in topological order, as they were recorded
        box.layer = max((b.layer + 1 for b in into[box]), default=0)
    for box in reversed(boxes):
        if not into[box] and out[box]:  # a leaf right above the first that needs it
            box.layer = min(b.layer for b in out[box]) - 1
    layers: list[list[Any]] = [[] for _ in range(max(b.layer for b in boxes) + 1)]
    for box in boxes:
        layers[box.layer].append(box)
    up: dict[Any, list[Any]] = defaultdict(list)
    down: dict[Any, list[Any]] = defaultdict(list)
    ways: dict[Box, list[Bend]] = {}
    for edge in sorted(edges, key=lambda edge: edge.start.layer - edge.end.layer):
        edge.leads = edge.start not in ways
        if edge.leads:
            ways[edge.start] = way = [Bend(layer) for layer in range(edge.start.layer + 1, edge.end.layer)]
            for bend in way:
                layers[bend.layer].append(bend)
            for a, b in pairwise([edge.start, *way]):
                down[a].append(b)
                up[b].append(a)
        edge.bends = ways[edge.start][: edge.end.layer - edge.start.layer - 1]
        last = edge.bends[-1] if edge.bends else edge.start
        down[last].append(edge.end)
        up[edge.end].append(last)
    for layer in layers:
        _apart(layer)
    for sweep in range(12):
        near = up if sweep % 2 == 0 else down
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            for box in layer:
                if near[box]:
                    box.x = sum(_pull(b) * b.x for b in near[box]) / sum(map(_pull, near[box]))
            if sweep < 8:
                layer.sort(key=lambda b: b.x)
            _apart(layer)
    left = min(b.x - b.width / 2 for layer in layers for b in layer)
    y = 14.0
    for layer in layers:
        height = max(b.height for b in layer)
        for b in layer:
            b.x += 14 - left
            b.y = y + height / 2
            if isinstance(b, Bend):
                b.height = height
        y += height + BETWEEN
    return max(b.x + b.width / 2 for layer in layers for b in layer) + 14, y - BETWEEN + 14


def _pull(b: Box | Bend) -> float:
    """How strongly others are drawn below or above it: so that what follows from one another stands in a column."""
    return 0.2 if isinstance(b, Bend) else 0.1 if b.kind in ("leaf", "constant") else 1.0


def _apart(layer: list[Any]) -> None:
    """Move apart what overlaps, in this order; who pulls strongest stays where it is."""
    middle = max(range(len(layer)), key=lambda i: _pull(layer[i]))
    for i in range(middle + 1, len(layer)):
        layer[i].x = max(layer[i].x, layer[i - 1].x + (layer[i - 1].width + layer[i].width) / 2 + GAP)
    for i in range(middle - 1, -1, -1):
        layer[i].x = min(layer[i].x, layer[i + 1].x - (layer[i + 1].width + layer[i].width) / 2 - GAP)


# ---- SVG -------------------------------------------------------------------------------------------------------------


def to_svg(explanation: Explanation, depth: int | None) -> str:
    """What `Explanation.to_svg` does."""
    boxes, edges = _graph(explanation, depth)
    width, height = _layout(boxes, edges)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" '
        'font-size="11">',
        f"<title>{escape(repr(explanation)[1:-1])}</title>",
        '<rect width="100%" height="100%" fill="#f7f8fa"/>',
        '<defs><marker id="to" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#5b6673"/></marker></defs>',
    ]
    parts += [_edge(edge) for edge in edges]
    parts += [_drawn(box) for box in boxes]
    parts += [_label(edge) for edge in edges]
    return legible("\n".join([*parts, "</svg>"]))


def _edge(edge: Edge) -> str:
    """The way through other layers, once; then one line for each time that the one is used by the other."""
    parts = []
    last: Any = edge.start
    if edge.bends and edge.leads:
        path = f"M{last.x:.1f} {last.y + last.height / 2:.1f}"
        for bend in edge.bends:  # past other boxes it runs straight down
            path += _curve(last, last.x, bend, bend.x) + f"V{bend.y + bend.height / 2:.1f}"
            last = bend
        parts.append(f'<path d="{path}" fill="none" stroke="#5b6673"/>')
    last = edge.bends[-1] if edge.bends else edge.start
    times = max(len(edge.contributions), 1) if edge.start.kind != "group" and edge.end.kind != "group" else 1
    for i in range(times):
        aside = 18.0 * (i - (times - 1) / 2)
        x = last.x + (0 if edge.bends else aside / 2)
        path = f"M{x:.1f} {last.y + last.height / 2:.1f}"
        path += _curve(last, x, edge.end, edge.end.x + 1.5 * aside + _enters(edge), aside)
        parts.append(f'<path d="{path}" fill="none" stroke="#5b6673" marker-end="url(#to)"/>')
    return "".join(parts)


def _curve(above: Box | Bend, x: float, below: Box | Bend, to_x: float, aside: float = 0.0) -> str:
    """From the lower side of one to the upper side of another."""
    top = below.y - below.height / 2
    middle = (above.y + above.height / 2 + top) / 2
    return f"C{x + aside:.1f} {middle:.1f} {to_x + aside:.1f} {middle:.1f} {to_x:.1f} {top:.1f}"


def _enters(edge: Edge) -> float:
    """How far from the middle of its end an edge arrives: on the side that it comes from."""
    start = edge.bends[-1].x if edge.bends else edge.start.x
    reach = edge.end.width / 2 - 12
    return max(-reach, min(reach, (start - edge.end.x) / 3))


def _label(edge: Edge) -> str:
    """The numbers that flow back along the edge, where there is one number each."""
    texts = [shown(c.array) for c in edge.contributions if c.array.size == 1]
    if not texts or len(texts) < len(edge.contributions):
        return ""
    last = edge.bends[-1] if edge.bends else edge.start
    x0, y0 = last.x, last.y + last.height / 2
    x1, y1 = edge.end.x + _enters(edge), edge.end.y - edge.end.height / 2
    place = f'x="{(x0 + x1) / 2:.1f}" y="{(y0 + y1) / 2 + 4:.1f}" text-anchor="middle"'
    words = escape("↑ " + " + ".join(texts))
    halo = f'<text {place} stroke="#f7f8fa" stroke-width="5" stroke-linejoin="round">{words}</text>'
    return halo + f'<text {place} fill="{GRADIENT}">{words}</text>'


_THICK = ' stroke-width="3"'


def _drawn(box: Box) -> str:
    left, top = box.x - box.width / 2, box.y - box.height / 2
    fill = {"name": "#16191d", "note": "#5b6673", "value": "#16191d", "gradient": GRADIENT, "fault": WRONG}
    parts = [
        f"<g><title>{escape(box.title)}</title>"
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="5" '
        f'fill="{INK[box.kind]}" stroke="{WRONG if box.wrong else LINE[box.kind]}"{_THICK * box.wrong}/>'
    ]
    for i, (text, what) in enumerate(box.lines):
        bold = ' font-weight="bold"' if what in ("name", "fault") else ""
        y = top + 5 + ROW * (i + 1) - 4
        parts.append(f'<text x="{left + 8:.1f}" y="{y:.1f}" fill="{fill[what]}"{bold}>{escape(text)}</text>')
    for i, (array, what) in enumerate(box.maps):
        w, h = _size(array)
        x, y = left + 8 + 60 * i, top + ROW * len(box.lines) + 9
        parts.append(
            f'<image x="{x:.1f}" y="{y:.1f}" width="{w}" height="{h}" href="{heat_map(array, w, h)}">'
            f"<title>{what}</title></image>"
        )
    return "".join(parts) + "</g>"


def _matrix(array: Array) -> Array:
    """All axes but the last as rows; a vector as a single one."""
    return array.reshape(-1, array.shape[-1]) if array.ndim else array.reshape(1, 1)


def _size(array: Array) -> tuple[int, int]:
    rows, columns = _matrix(array).shape
    return (
        (54, max(6, min(40, round(54 * rows / columns))))
        if columns >= rows
        else (max(6, round(54 * columns / rows)), 40)
    )


def heat_map(array: Array, width: int, height: int) -> str:
    """A PNG of this size as a data URL: blue below 0, white at 0, red above, black where not finite.

    Each cell is the mean of a block.
    """
    m = _matrix(array).astype(np.float64)
    starts = [
        np.arange(k) * n // k for n, k in zip(m.shape, map(min, m.shape, (CELLS,) * 2, (height, width)), strict=True)
    ]
    with np.errstate(all="ignore"):
        cells = np.add.reduceat(np.add.reduceat(m, starts[0], 0), starts[1], 1)
        cells /= np.outer(*(np.diff(s, append=n) for s, n in zip(starts, m.shape, strict=True)))
    finite = np.isfinite(cells)
    top = np.max(np.abs(cells[finite]), initial=0.0) or 1.0
    share = np.where(finite, cells, 0.0) / top
    fade = (255 * (1 - np.abs(share))).astype(np.uint8)
    full = np.full_like(fade, 255)
    rgb = np.where((share < 0)[..., None], np.stack([fade, fade, full], -1), np.stack([full, fade, fade], -1))
    rgb[~finite] = 0
    down, across = (np.arange(pixels) * n // pixels for n, pixels in zip(cells.shape, (height, width), strict=True))
    lines = b"".join(b"\0" + row.tobytes() for row in rgb[np.ix_(down, across)].astype(np.uint8))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode()


# ---- DOT -------------------------------------------------------------------------------------------------------------


def to_dot(explanation: Explanation, depth: int | None) -> str:
    """What `Explanation.to_dot` does."""
    boxes, edges = _graph(explanation, depth)
    numbers = {box: f"n{i}" for i, box in enumerate(boxes)}

    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

    lines = ["digraph backprop {", '  node [shape=box, style="rounded,filled", fontname="monospace"];']
    for box, n in numbers.items():
        label = quoted("\n".join(text for text, _ in box.lines))
        lines.append(
            f'  {n} [label={label}, fillcolor="{INK[box.kind]}", color="{WRONG if box.wrong else LINE[box.kind]}"];'
        )
    for edge in edges:
        label = quoted(" + ".join(shown(c.array, 30) for c in edge.contributions))
        lines.append(f'  {numbers[edge.start]} -> {numbers[edge.end]} [label={label}, fontcolor="{GRADIENT}"];')
    return legible("\n".join([*lines, "}"]))
