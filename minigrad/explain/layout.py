"""Where the boxes of the picture stand.

The layout is Sugiyama's: boxes in layers, each below all that it depends on; long edges led through the layers
between, those from one box by one way; the order within a layer improved by sweeps towards the mean of the neighbours.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import Any

from minigrad.explain.boxes import Bend, Box, Edge

GAP, BETWEEN = 26, 46  # between boxes of a layer; between layers


def layout(boxes: list[Box], edges: list[Edge]) -> tuple[float, float]:
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
                    box.x = sum(_weight(b) * b.x for b in near[box]) / sum(map(_weight, near[box]))
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


def _weight(b: Box | Bend) -> float:
    """How strongly others are drawn below or above it: so that what follows from one another stands in a column."""
    return 0.2 if isinstance(b, Bend) else 0.1 if b.kind in ("leaf", "constant") else 1.0


def _apart(layer: list[Any]) -> None:
    """Move apart what overlaps, in this order; who pulls strongest stays where it is."""
    middle = max(range(len(layer)), key=lambda i: _weight(layer[i]))
    for i in range(middle + 1, len(layer)):
        layer[i].x = max(layer[i].x, layer[i - 1].x + (layer[i - 1].width + layer[i].width) / 2 + GAP)
    for i in range(middle - 1, -1, -1):
        layer[i].x = min(layer[i].x, layer[i + 1].x - (layer[i + 1].width + layer[i].width) / 2 - GAP)
