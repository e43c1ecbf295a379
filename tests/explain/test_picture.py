"""The picture is whole in itself, and nothing in it covers anything else."""

import base64
import struct
import xml.etree.ElementTree as ET
import zlib

import numpy as np
import pytest

import minigrad as mg
from minigrad.explain.arrays import heat_map
from minigrad.explain.boxes import graph
from minigrad.explain.layout import layout
from minigrad.models import SequenceClassifier
from tests.explain.programs import PROGRAMS, guilty, leaf, twice

SVG = "{http://www.w3.org/2000/svg}"


def large(layers=6):
    model = SequenceClassifier(4, 3, 4, layers, 8, 2, 16, rng=np.random.default_rng(0))
    with mg.debug():
        return mg.explain(np.sum(model(np.ones((2, 4, 4), np.float32))))


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_picture_is_well_formed_and_asks_for_nothing(program):
    output, leaves = program()
    explanation = mg.explain(output, leaves)
    svg = explanation.to_svg()
    root = ET.fromstring(svg)
    assert all(image.get("href").startswith("data:image/png") for image in root.iter(f"{SVG}image"))
    assert svg.count("http") == 1  # the namespace
    words = " ".join("".join(text.itertext()) for text in root.iter(f"{SVG}text"))
    assert all(f"{o.output.name} = {o.name}(" in words for o in explanation.operations)


@pytest.mark.parametrize("explained", [*(lambda p=p: mg.explain(p()[0]) for p in PROGRAMS), large])
def test_no_box_covers_another_and_edges_lead_down(explained):
    boxes, edges = graph(explained(), None)
    width, height = layout(boxes, edges)
    for i, a in enumerate(boxes):
        assert a.x - a.width / 2 >= 0
        assert a.x + a.width / 2 <= width
        assert a.y - a.height / 2 >= 0
        assert a.y + a.height / 2 <= height
        for b in boxes[:i]:
            apart = abs(a.x - b.x) >= (a.width + b.width) / 2 or abs(a.y - b.y) >= (a.height + b.height) / 2
            assert apart, (a.lines, b.lines)
    for edge in edges:
        assert edge.start.y + edge.start.height / 2 < edge.end.y - edge.end.height / 2
        for bend in edge.bends:
            assert not any(abs(b.x - bend.x) < b.width / 2 and b.layer == bend.layer for b in boxes)


def test_two_uses_are_two_edges_that_carry_their_numbers():
    svg = mg.explain(twice()[0]).to_svg()
    assert svg.count("marker-end") == 4
    assert "↑ 1 + 1" in svg
    assert "↑ 2 + 2" in svg


def test_a_value_that_is_used_everywhere_has_one_way_through_the_picture():
    x = y = leaf(1.0)
    for _ in range(300):
        y = y + x
    boxes, edges = graph(mg.explain(y), None)
    layout(boxes, edges)
    assert len(edges) == 300 + 299
    assert len({id(bend) for edge in edges for bend in edge.bends}) == 299
    assert sum(edge.leads for edge in edges) == 300


def test_the_guilty_operation_stands_out():
    output, leaves = guilty()
    explanation = mg.explain(output, {name: leaves[name] for name in "wxuh"})
    before = explanation.to_svg()
    assert "wrong:" not in before
    explanation.finite_differences()
    svg = explanation.to_svg()
    ET.fromstring(svg)
    assert svg.count(">✗ wrong: wrong_cube gives h 0.79398, by finite differences 2.3819<") == 1
    assert svg.count('stroke-width="3"') == 1
    assert svg.count(", wrong</text>") == 3  # of w, x and h
    assert explanation.to_dot().count("✗ wrong: wrong_cube") == 1


def test_a_picture_says_why_a_gradient_is_0():
    x = leaf(-2.0)
    assert "∂ 0: relu's gate at t1 is shut" in mg.explain(mg.functional.relu(x) * 2.0).to_svg().replace("&#x27;", "'")


def test_names_cannot_break_out_of_the_picture():
    x = leaf(1.0)
    svg = mg.explain(np.exp(x), {'</svg><script>"&': x}).to_svg()
    assert "<script>" not in svg
    ET.fromstring(svg)


def test_a_large_model_is_folded_and_opens_to_any_depth():
    explanation = large()
    assert len(graph(explanation, None)[0]) <= 60
    assert "encoder.layers.5" in explanation.to_svg()
    assert len(graph(explanation, 1)[0]) < len(graph(explanation, 3)[0]) < len(graph(explanation, 0)[0])
    folded = explanation.to_svg(1)
    assert "encoder" in folded
    assert "layer_norm(" not in "".join(t.text or "" for t in ET.fromstring(folded).iter(f"{SVG}text"))
    with pytest.raises(ValueError, match="to_svg: depth must be at least 0, not -1"):
        explanation.to_svg(-1)


def test_a_heat_map_is_a_png_of_the_numbers():
    url = heat_map(np.array([[1.0, -1.0], [0.0, np.nan]]), 2, 2)
    png = base64.b64decode(url.partition(",")[2])
    assert struct.unpack(">II", png[16:24]) == (2, 2)
    at = png.index(b"IDAT")
    rows = zlib.decompress(png[at + 4 : at + 4 + struct.unpack(">I", png[at - 4 : at])[0]])
    assert rows == bytes([0, 255, 0, 0, 0, 0, 255, 0, 255, 255, 255, 0, 0, 0])


def test_dot_names_every_operation_and_every_edge():
    explanation = mg.explain(PROGRAMS[0]()[0])
    dot = explanation.to_dot()
    assert dot.startswith("digraph backprop {")
    assert dot.count(" -> ") == 5
    assert all(o.name in dot for o in explanation.operations)


def test_dot_keeps_quotes_and_backslashes_within_its_texts():
    w, x = (mg.tensor(v, requires_grad=True) for v in (2.0, 3.0))
    dot = mg.explain(w * x, {'a "b" \\n': w}).to_dot()
    assert '\\"b\\" \\\\n' in dot


@pytest.mark.parametrize(
    ("ending", "begins"),
    [("html", "<!DOCTYPE html>"), ("svg", "<svg"), ("dot", "digraph"), ("json", "{"), ("txt", "forward")],
)
def test_the_ending_says_what_is_saved(tmp_path, ending, begins):
    path = tmp_path / f"graph.{ending}"
    mg.explain(leaf(1.0) * 2.0).save(path)
    assert path.read_text(encoding="utf-8").startswith(begins)


def test_an_unknown_ending_is_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"save: ending must be '.html', '.svg', '.dot', '.json' or '.txt', not '.png'"
    ):
        mg.explain(leaf(1.0) * 2.0).save(tmp_path / "graph.png")
    assert list(tmp_path.iterdir()) == []
