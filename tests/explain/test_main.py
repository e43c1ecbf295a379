"""`python -m minigrad.explain`: what it works out, and what it does not run."""

import subprocess
import sys

import numpy as np
import pytest

import minigrad as mg
from minigrad.explain.__main__ import FUNCTIONS, evaluate, main
from tests.explain.programs import leaf


def test_an_expression_is_explained(capsys):
    assert main(["tanh(w * x + b)", "w=0.5", "x=2", "b=-0.3", "--why", "w", "--finite-differences"]) == 0
    said = capsys.readouterr().out
    assert "3  t3  tanh(t2)        tanh x  0.60437" in said
    assert "∂x → w: 1.2695" in said
    assert "w.grad = 1.269\n  = 1.269  through multiply: upstream t1.grad 0.6347 × x 2" in said
    assert "finite differences" in said


def test_it_runs_as_a_module():
    command = [sys.executable, "-m", "minigrad.explain", "b = a + a; c = b + b", "a=1.5"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "joins what had arrived: a.grad = 4, complete" in done.stdout
    assert done.stderr == ""


def test_arrays_indices_and_options(capsys):
    assert main(["sum((x @ w.T)[-1, :1]) + gelu(s, approximate='tanh')", "x=[[1,2],[3,4]]", "w=[[1,0]]", "s=0"]) == 0
    assert "w  [[3, 4]]" in capsys.readouterr().out
    assert main(["softmax(x, axis=0)", "x=[1,2]", "--why", "x[-1]", "--inside", "t1"]) == 0
    assert "x.grad[1] = 0" in capsys.readouterr().out


def test_an_expression_gives_what_python_gives():
    text = "-x ** 2 / 3 + (x - 1) @ w - sum([x, w][0]) * where(x > 1, x, 0) + reshape(x, (2, 1))[:, 0]"
    x, w = leaf([1.0, 2.0]), leaf([0.5, 3.0])
    names = {"x": x, "w": w}
    x, w = x.data, w.data
    expected = -(x**2) / 3 + (x - 1) @ w - np.sum([x, w][0]) * np.where(x > 1, x, 0) + np.reshape(x, (2, 1))[:, 0]
    np.testing.assert_allclose(evaluate(text, names).data, expected)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "().__class__",
        "x.__class__",
        "x.data",
        "[y for y in x]",
        "lambda: x",
        "f'{x}'",
        "x if x else x",
        "import os",
        "del x",
        "sum(x, **x)",
        "sum(*x)",
        "'a' * x",
        "x[x]",
        "(y := x)",
        "x.T = x",
        "exec('1')",
        "sum(x, key=open)",
        "globals()",
        "9**9**9**9 * x",
        "0" + "-" * 3000 + "x",
        "(" * 3000 + "x" + ")" * 3000,
        "x +" * 9999,
        "x\0",
        "",
    ],
)
def test_whatever_is_not_listed_is_refused(text, capsys):
    assert main(["--", text, "x=2"]) == 1
    error = capsys.readouterr().err
    assert error.startswith(("ValueError", "TypeError", "OverflowError", "RecursionError"))
    assert "Traceback" not in error


def test_what_is_allowed_is_harmless():
    assert set(FUNCTIONS) & {"load", "save", "fromfile", "eval", "zeros", "ones", "broadcast_to", "memmap"} == set()


@pytest.mark.parametrize("value", ["x", "x=a", "x=[1,[2]]", "x=__import__('os')", "1x=2", "x=10**9", "x="])
def test_values_are_numbers_and_lists_of_them(value, capsys):
    with pytest.raises(SystemExit):
        main(["x * 2", value])
    assert "name=value" in capsys.readouterr().err


def test_a_missing_value_is_asked_for(capsys):
    assert main(["x * y", "x=1"]) == 1
    assert capsys.readouterr().err == "ValueError: y has no value: add y=1.5 (or y=[1,2,3]) to the command\n"


PROGRAM = """
import numpy as np
scale = 3.0
def loss(x, y=2.0):
    h = np.exp(x)  # here
    return h * y * scale
def text(x):
    return "no tensor"
"""


def test_a_function_of_a_file_is_explained_with_its_lines(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = tmp_path / "mine.py"
    path.write_text(PROGRAM)
    assert main([f"{path}:loss", "x=2", "--save", str(tmp_path / "graph.svg")]) == 0
    said = capsys.readouterr().out
    assert "-- mine.py:5  h = np.exp(x)  # here" in said
    assert "x  44.334" in said
    assert "1  h   exp(x)" in said  # by the names of its own variables
    assert (tmp_path / "graph.svg").read_text(encoding="utf-8").startswith("<svg")
    for program, words in {"nothing": "no function 'nothing'; it has loss, text", "text": "returned str"}.items():
        assert main([f"{path}:{program}", "x=2"]) == 1
        assert words in capsys.readouterr().err
    assert main([f"{path}:loss", "z=2"]) == 1
    assert "missing a required argument: 'x'" in capsys.readouterr().err
    assert main([f"{tmp_path / 'none.py'}:loss", "x=2"]) == 1
    assert "No such file" in capsys.readouterr().err


def test_functions_are_listed(capsys):
    assert main(["--functions"]) == 0
    assert set(capsys.readouterr().out.split()) == set(FUNCTIONS)
    assert mg.functional.relu is FUNCTIONS["relu"]
