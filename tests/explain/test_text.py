"""The tables hold the numbers, and fit a terminal."""

import json
import re

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.explain.arrays import shown, summary
from minigrad.explain.words import short
from minigrad.models import SequenceClassifier
from tests.explain.programs import PROGRAMS, guilty, leaf


@pytest.mark.parametrize("program", PROGRAMS)
def test_no_line_is_longer_than_a_hundred_columns(program):
    with mg.debug():
        output, leaves = program()
    text = str(mg.explain(output, leaves, finite_differences=program is not PROGRAMS[-1]))
    assert max(map(len, text.split("\n"))) <= 100
    assert "forward\n" in text
    assert "\nbackward\n" in text


def test_the_tables_of_one_expression():
    w, x, b = leaf(0.5), leaf(2.0), leaf(-1.0)
    y = np.square(w * x + b + 3.0)
    assert str(mg.explain(y, [w])) == (
        "forward\n"
        "     w  leaf      0.5\n"
        "     x  leaf      2\n"
        "     b  leaf      -1\n"
        "  1  t1  multiply(w, x)  w · x   1\n"
        "  2  t2  add(t1, b)      t1 + b  0\n"
        "  3  t3  add(t2, 3)      t2 + 3  3\n"
        "  4  y   square(t3)      t3²     9\n"
        "\n"
        "backward\n"
        "     y.grad starts as 1\n"
        "  4  square: upstream y.grad = 1\n"
        "       → t3: 6\n"
        "  3  add: upstream t3.grad = 6\n"
        "       → t2: 6\n"
        "  2  add: upstream t2.grad = 6\n"
        "       → t1: 6\n"
        "  1  multiply: upstream t1.grad = 6\n"
        "       → w: 12\n"
        "\n"
        "gradients\n"
        "     w  12\n"
        "     x  none\n"
        "     b  none"
    )


def test_broadcasts_and_sums_of_gradients_are_told():
    x, b = leaf([[1.0, 2.0], [3.0, 4.0]]), leaf([1.0, 1.0])
    text = str(mg.explain(np.sum(x * x + b)))
    assert "→ b: [[1, 1], [1, 1]]\n           summed over axis 0, along which it was broadcast: [2, 2]" in text
    assert "→ x: [[1, 2], [3, 4]]; waits for 1 more\n" in text
    assert "joins what had arrived: x.grad = [[2, 4], [6, 8]], complete" in text


NAMES = {
    "x ** 2.0": "x^2", "v / u": "v / u", "np.exp(u)": "e^u", "np.maximum(v, -2.0)": "max(v, (-2))",
    "F.linear(m, n)": "m nᵀ", "np.where(u > 0, u, v)": "u where c1 holds, v elsewhere", "F.relu(u)": "max(u, 0)",
    "np.linalg.solve(n, m)": "x with n x = m", "F.softmax(u)": "exp uᵢ / Σⱼ exp uⱼ along axis",
}  # fmt: skip


@pytest.mark.parametrize(("program", "formula"), NAMES.items())
def test_a_formula_is_in_the_names_of_the_program(program, formula):
    x, y, u, v = (leaf([[2.0]]) for _ in range(4))
    m, n = leaf(np.eye(2)), leaf(np.eye(2))
    output = eval(program, {"np": np, "F": mg.functional, "x": x, "y": y, "u": u, "v": v, "m": m, "n": n})
    explanation = mg.explain(output, gradient=np.ones(output.shape))
    assert short(explanation.value(output).operation.written) == formula
    assert "∂" not in explanation.text()


def test_a_zero_has_no_sign():
    x = leaf([-0.0, 0.0])
    y = np.negative(x) * -0.0 + np.where(x > 0, -x, -0.0) - 0.0
    explanation = mg.explain(y, gradient=np.full(2, -0.0), finite_differences=True)
    whys = [str(explanation.why(v, (0,))) for v in explanation.values if v.gradient is not None]
    for shown_ in (explanation.text(), explanation.to_svg(), explanation.to_dot(), explanation.to_json(), *whys):
        assert not re.search(
            r"(?<![\w.-])[-−]0(\.0*)?(?![\w.])", re.sub(r"translate.*|d=\"[^\"]*\"|refX.*", "", shown_)
        )


def test_a_wrong_gradient_is_marked_at_the_guilty_operation():
    output, leaves = guilty()
    explanation = mg.explain(output, leaves, finite_differences=True)
    text = str(explanation)
    accusation = "wrong: wrong_cube gives h 0.79398, by finite differences 2.3819"
    assert f"       → h: 0.79398\n           {accusation}\n" in text
    assert "     w  1.588, wrong\n     x  0.39699, wrong\n     u  0.76159" in text
    assert text.count(accusation) == 4  # at the operation, and beside the differences of w, x and h
    assert str(explanation.why("w")).endswith(f"\n  {accusation}")
    assert "wrong" not in str(explanation.why("u"))
    assert json.loads(explanation.to_json())["operations"][1]["faults"] == [accusation]
    assert "wrong:" not in str(mg.explain(output, leaves))  # nothing was compared


def test_a_zero_is_explained_where_it_arises_and_at_the_leaf():
    w, x = leaf(0.5), leaf(-2.0)
    h = w * x
    gate = mg.functional.relu(h)
    text = str(mg.explain(gate * 3.0))
    assert "       → h: 0; relu's gate at gate is shut\n" in text
    assert text.endswith("     w  0: relu's gate at gate is shut\n     x  0: relu's gate at gate is shut")


def test_large_arrays_are_told_by_where_they_lie_and_no_number_is_cut():
    array = np.linspace(-1, 1, 101).reshape(1, 101)
    array[0, :10] = np.nan, np.inf, *[0.0] * 8
    full = shown(array)
    assert full == "1×101: -0.8 to 1, mean 0.092, norm 5.1, 8.9 % 0, 2 % not finite"
    shorter = {full, full.replace(", mean 0.092", ""), "1×101: -0.8 to 1, norm 5.1", "1×101: -0.8 to 1"}
    for room in range(5, 70):
        text = shown(array, room)
        assert text in shorter | {"1×101 of norm 5.1", "1×101"}
        assert len(text) <= room
    assert summary(np.zeros(0))["zeros"] == 0.0


def test_of_a_large_model_each_module_is_a_line_that_can_be_opened():
    model = SequenceClassifier(4, 3, 4, 6, 8, 2, 16, rng=np.random.default_rng(0))
    with mg.debug():
        y = np.sum(model(np.ones((2, 4, 4), np.float32)))
    explanation = mg.explain(y)
    text = str(explanation)
    assert len(explanation.operations) > 60
    assert "backward\n" not in text
    assert max(map(len, text.split("\n"))) <= 100
    opened = explanation.text("encoder.layers.3")
    assert opened.count("layer_norm(") == 2
    assert "self_attention: upstream" in opened
    with pytest.raises(ValueError, match="text: module must be .*'encoder.layers.5.*, not 'decoder'"):
        explanation.text("decoder")


@pytest.mark.parametrize("operations", [60, 61])
def test_a_graph_is_folded_from_61_operations_on(operations):
    class Many(nn.Module):
        def forward(self, x):
            for _ in range(operations):
                x = np.tanh(x)
            return x

    with mg.debug():
        y = nn.Sequential(Many())(leaf(0.5))
    assert ("tanh(t58)" in mg.explain(y).text()) == (operations == 60)
