"""A recording as a picture: an SVG that needs nothing else, and DOT for Graphviz."""

from __future__ import annotations

from html import escape
from typing import Any

from minigrad.explain.arrays import heat_map, matrix, shown
from minigrad.explain.boxes import ROW, Bend, Box, Edge, graph
from minigrad.explain.layout import layout
from minigrad.explain.recording import Recording
from minigrad.explain.words import legible
from minigrad.tensor import Array

INK = {"leaf": "#dbe9ff", "constant": "#eceef1", "result": "#ffffff", "group": "#fff4d6"}
LINE = {"leaf": "#2f6fd0", "constant": "#9aa3ad", "result": "#5b6673", "group": "#c08a00"}
GRADIENT = "#b3261e"
WRONG = "#d00000"


# ---- SVG -------------------------------------------------------------------------------------------------------------


def to_svg(recording: Recording, depth: int | None) -> str:
    """The picture, folded to this depth of the modules' paths; None: to the one that shows most in 60 boxes."""
    boxes, edges = graph(recording, depth)
    width, height = layout(boxes, edges)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="img" font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" '
        'font-size="11">',
        f"<title>{escape(repr(recording)[1:-1])}</title>",
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


def _size(array: Array) -> tuple[int, int]:
    rows, columns = matrix(array).shape
    return (
        (54, max(6, min(40, round(54 * rows / columns))))
        if columns >= rows
        else (max(6, round(54 * columns / rows)), 40)
    )


# ---- DOT -------------------------------------------------------------------------------------------------------------


def to_dot(recording: Recording, depth: int | None) -> str:
    """The same graph, in the language of Graphviz."""
    boxes, edges = graph(recording, depth)
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
