"""`python -m minigrad.explain`: what it works out, and what it does not run."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import minigrad as mg
from minigrad.explain.__main__ import FUNCTIONS, evaluate, main
from tests.explain.programs import leaf


def test_an_expression_is_explained(capsys):
    assert main(["tanh(w * x + b)", "w=0.5", "x=2", "b=-0.3", "--why", "w", "--finite-differences"]) == 0
    said = capsys.readouterr().out
    assert "3  t3  tanh(t2)        tanh t2  0.60437" in said
    assert "→ w: 1.2695" in said
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


MANY = "x=[" + ",".join(["1"] * 4000) + "]"


@pytest.mark.parametrize(
    ("text", "value", "words"),
    [
        ("x" + " + x" * 1624, "x=1", "an expression of 1624 operations: at most 500 are explained here"),
        ("y = x;" + "y = y + x;" * 999 + "y", "x=1", "an expression of 999 operations"),
        ("x = silu(elu(x));" * 200 + "x", "x=1", "operations: at most 500 are explained here"),  # each is several
        ("-" * 600 + "x", "x=1", "of 600 operations"),
        ("x[:, None] * x", MANY, "'x[:, None] * x' would bring the numbers in this expression to 16004000: at most"),
        ("maximum(x[:, None], x)", MANY, "'maximum(x[:, None], x)' would bring the numbers"),
        ("x[:, None] @ x[None]", MANY, "would bring the numbers in this expression to 16008000"),
        ("dot(x[:, None], x[None])", MANY, "would bring the numbers"),
        ("linear(x[:, None], x[:, None])", MANY, "would bring the numbers"),
        ("stack([" + "x, " * 300 + "])", MANY, "would bring the numbers in this expression to 1200000"),
        ("sum([[x, x, x, x, x, x], [x, x, x, x, x, x]]);" * 20 + "x", MANY, "would bring the numbers"),
        ("y = tanh(x);" * 300 + "y", MANY, "would bring the numbers in this expression to 1052000"),
        ("y = x[1:];" * 300 + "sum(y)", MANY, "would bring the numbers"),  # of each the gradient is as large as x
    ],
)
def test_what_would_grow_too_large_is_refused_beforehand(text, value, words, capsys, tmp_path):
    path = tmp_path / "graph.svg"
    assert main(["--save", str(path), text, value]) == 1
    error = capsys.readouterr().err
    assert words in error
    assert "Traceback" not in error
    assert not path.exists()


def test_what_is_large_but_not_too_large_is_explained(capsys, tmp_path):
    path = tmp_path / "graph.svg"
    assert main(["--save", str(path), "x" + " + x" * 490, "x=1"]) == 0
    assert path.stat().st_size < 1e6  # each of them has an edge through all that stands between
    assert (
        main(["sum(linear(x, w)) + sum(x @ w.T) + sum(x * x) + sum(x[:, None] * x)", "x=[[1,2],[3,4]]", "w=[[1,2]]"])
        == 0
    )
    assert main(["sum(concatenate([x, x[1:]]) * 2)", MANY]) == 0


def test_an_expression_may_begin_with_a_minus(capsys):
    for text, gradient in {"-log(x)": "-0.5", "-x": "-1", "-0.5*x": "-0.5", "(--x)": "1", "- -x": "1"}.items():
        assert main([text, "x=2"]) == 0
        assert capsys.readouterr().out.endswith(f"gradients\n     x  {gradient}\n")
    with pytest.raises(SystemExit):
        main(["--x", "x=2"])
    assert "begins with two minuses goes into brackets: '(--x)'" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["[0]", "t", "[0.0]"])
def test_targets_are_whole_numbers(target, capsys):
    assert main([f"cross_entropy(x, {target})", "x=[[1,2]]", "t=[0]"]) == 0
    assert "x  [[-0.73106, 0.73106]]" in capsys.readouterr().out
    assert main([f"cross_entropy(x, {target} + 0.5)", "x=[[1,2]]", "t=[0]"]) == 1
    assert "target must be integers" in capsys.readouterr().err


def test_what_is_no_number_is_refused_with_the_cure(capsys):
    for value in ("None", "True"):
        with pytest.raises(SystemExit):
            main(["clip(x, 0, y)", "x=2", f"y={value}"])
        assert f"write {value} into the expression itself, as in clip(x, None, 1)" in capsys.readouterr().err
    for value in ("[1,None]", "'1'", "b'1'", "['1']", "[True]", "1j"):
        with pytest.raises(SystemExit):
            main(["x", f"x={value}"])
        assert "is no number and no list of numbers" in capsys.readouterr().err
    assert main(["clip(x, None, 1)", "x=2"]) == 0


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


def test_an_error_in_a_model_is_told_with_its_path(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = tmp_path / "mine.py"
    path.write_text("from minigrad import nn\ndef loss(x):\n    return nn.Sequential(nn.Linear(3, 2))(x)\n")
    assert main([f"{path}:loss", "x=[1,2]"]) == 1
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("mine.py:3, return nn.Sequential(nn.Linear(3, 2))(x): ValueError: linear: expected")
    assert said[1:] == ["in layers.0 (Linear(in_features=3, out_features=2))"]


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


@pytest.fixture
def undecodable(tmp_path):
    """A file whose name is no UTF-8."""
    path = tmp_path / "m\udcff.py"
    try:
        path.touch()
    except (OSError, UnicodeError):
        pytest.skip("this file system takes UTF-8 alone")
    return path


@pytest.mark.parametrize("ending", ["svg", "html", "json", "txt", "dot"])
def test_a_file_name_that_is_no_utf_8_is_told(undecodable, ending, capsys):
    undecodable.write_text(PROGRAM)
    saved = undecodable.with_suffix(f".{ending}")
    assert main([f"{undecodable}:loss", "x=2", "--save", str(saved)]) == 0
    assert saved.stat().st_size > 0
    saved.read_text(encoding="utf-8").encode()
    assert "\udcff" not in capsys.readouterr().out


def test_a_command_with_a_name_that_is_no_utf_8_gets_an_answer(undecodable):
    for given in ([f"{undecodable}:loss", "x=2"], ["x\udcff", "x=1"], ["x", "x\udcff=1"]):
        done = subprocess.run([sys.executable, "-m", "minigrad.explain", *given], capture_output=True, check=False)
        assert done.returncode
        assert done.stdout + done.stderr
        assert b"Traceback" not in done.stderr


def test_control_characters_in_a_source_line_do_no_harm(tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(PROGRAM.replace("# here", "# \x0c\x01\x1b[31m\x9b\ufffe\there"), encoding="utf-8")
    for ending in ("svg", "html", "txt", "dot", "json"):
        assert main([f"{path}:loss", "x=2", "--save", str(tmp_path / f"one.{ending}")]) == 0
        text = (tmp_path / f"one.{ending}").read_text(encoding="utf-8")
        assert "here" in text or ending == "dot"
        assert not set(text) & set("\x0c\x01\x1b\x9b\ufffe\t")
    ET.parse(tmp_path / "one.svg")
    assert "\x1b" not in capsys.readouterr().out


def test_a_function_of_a_file_may_use_layers(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    path = tmp_path / "train.py"
    path.write_text(
        "import numpy as np, minigrad as mg\nmodel = mg.nn.Linear(2, 1)\n\ndef loss(x):\n    return np.sum(model(x))\n"
    )
    assert main([f"{path}:loss", "x=[1,2]"]) == 0
    assert "model.weight" in capsys.readouterr().out


def test_functions_are_listed(capsys):
    assert main(["--functions"]) == 0
    assert set(capsys.readouterr().out.split()) == set(FUNCTIONS)
    assert mg.functional.relu is FUNCTIONS["relu"]


def test_values_may_be_written_as_tuples(capsys):
    assert main(["sum(x * x)", "x=(3, 4)"]) == 0
    assert "x  [6, 8]" in capsys.readouterr().out


def test_a_longer_expression_is_not_read():
    longest = "-x".ljust(10_000)
    assert evaluate(longest, {"x": leaf(1.0)}).item() == -1
    with pytest.raises(ValueError, match="an expression of 10001 letters: at most 10000"):
        evaluate(longest + " ", {"x": leaf(1.0)})


def test_a_terminal_without_the_signs_gets_others():
    command = [sys.executable, "-m", "minigrad.explain", "tanh(w * x)", "w=1", "x=2"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "? w: " in done.stdout
