"""`python -m minigrad.exercises`: what is right passes, and what is wrong is told by the mistake that was made."""

import os
import re
import subprocess
import sys

import pytest

from minigrad import exercises
from minigrad.exercises import grading
from minigrad.exercises.__main__ import main
from minigrad.exercises.catalogue import EXERCISES
from minigrad.testing import check_gradients

NAMES = [exercise.name for exercise in EXERCISES]
BACK = "np.expand_dims(g, axis)"
DS = "p * (g @ v.mT - np.sum(g @ v.mT * p, axis=-1, keepdims=True))"
UNBROADCAST = "sum_to(g, np.shape({}))"
HELPERS = """

def sum_to(g, shape):
    lead = np.ndim(g) - len(shape)
    axes = tuple(range(lead)) + tuple(lead + i for i, n in enumerate(shape) if n == 1)
    return np.reshape(np.sum(g, axis=axes), shape)


def add_at(g, shape, ids):
    d = np.zeros(shape, g.dtype)
    np.add.at(d, ids, g)
    return d


def last_at(g, shape, ids):
    d = np.zeros(shape, g.dtype)
    d[ids] = g
    return d
"""


def norm(axis):
    h = "(g * weight)"
    mean, moment = (f"np.mean({x}, axis={axis}, keepdims=True)" for x in (h, f"{h} * n"))
    return {"x": f"({h} - {mean} - n * {moment}) / std", "weight": "np.sum(g * n, axis=0)", "bias": "np.sum(g, axis=0)"}


# Each exercise, filled in by hand.
RIGHT = {
    "multiply": {"x": "g * y", "y": "g * x"},
    "tanh": {"x": "g * (1 - y * y)"},
    "divide": {"x": "g / y", "y": "-g * z / y"},
    "relu": {"x": "g * (x > 0)"},
    "add": {"x": UNBROADCAST.format("x"), "y": UNBROADCAST.format("y")},
    "sum": {"x": f"np.broadcast_to({BACK}, x.shape)"},
    "mean": {"x": f"np.broadcast_to({BACK}, x.shape) / x.shape[axis]"},
    "matmul": {"x": "g @ y.mT", "y": "x.mT @ g"},
    "max": {
        "x": f"{BACK} * np.divide(x == np.expand_dims(y, axis), "
        "np.sum(x == np.expand_dims(y, axis), axis=axis, keepdims=True), dtype=x.dtype)"
    },
    "embedding": {"weight": "add_at(g, weight.shape, ids)"},
    "softmax": {"x": "p * (g - np.sum(g * p, axis=-1, keepdims=True))"},
    "cross_entropy": {"x": "g * (p - np.eye(x.shape[1], dtype=x.dtype)[target]) / len(x)"},
    "layer_norm": norm(-1),
    "batch_norm": norm(0),
    "attention": {"q": f"{DS} @ k * scale", "k": f"({DS}).mT @ q * scale", "v": "p.mT @ g"},
}

# An exercise, an input, a wrong pullback, and the words for it.
WRONG = [
    ("multiply", "x", "g * x * y", "x is a factor too many"),
    ("multiply", "y", "g * x * y", "y is a factor too many"),
    ("multiply", "x", "g + y", "y is added, where g · y belongs"),
    ("multiply", "y", "g + x", "x is added, where g · x belongs"),
    ("multiply", "x", "g * x", "This is the gradient of y"),
    ("multiply", "y", "g * y", "This is the gradient of x"),
    ("multiply", "x", "y", "g is ignored, as if it were 1"),
    ("multiply", "x", "g", "g is handed on as it is"),
    ("multiply", "x", "-g * y", "The sign is wrong."),
    ("multiply", "x", "2 * g * y", "yours is 2 times the right one"),
    ("multiply", "x", "-0.5 * g * y", "yours is -0.5 times the right one"),
    ("multiply", "x", "0 * g * y", "It is 0 everywhere."),
    ("multiply", "x", "g * y * x.size", "yours is n times the right one, n = x.size."),
    ("multiply", "x", "g * y / np.sqrt(x.size)", "yours is 1/√n times the right one, n = x.size."),
    ("multiply", "x", "g * y + x", "; Σ g · multiply itself grows at the rate"),
    ("multiply", "x", "g * np.where(y < 0, 1, y)", "It is wrong only where y holds negative numbers"),
    (
        "multiply",
        "x",
        "np.reshape(g * y, (1, *x.shape))",
        "The numbers are right, but the shape is (1, ",
    ),
    ("relu", "x", "np.ravel(g * (x > 0))", "The numbers are right"),
    ("softmax", "x", "np.sum(g * p, axis=-1)", "A mistake of shape: it must be that of x, ("),
    ("matmul", "x", "y.mT * 1.0", "A mistake of shape: it must be that of x, ("),
    ("layer_norm", "weight", "np.sum(g * n, axis=0, keepdims=True)", "without keepdims, or np.reshape"),
    ("layer_norm", "weight", "np.sum(g * n, axis=1)", "A mistake of shape: it must be that of weight, ("),
    ("batch_norm", "bias", "np.sum(g)", "A mistake of shape: it must be that of bias, ("),
    ("tanh", "x", "g * (1 - x**2)", "x stands where y belongs"),
    ("tanh", "x", "g * (1 - y)", "The square is missing: 1 − y for"),
    ("tanh", "x", "g * y**2", "Not subtracted from 1"),
    ("tanh", "x", "g * (1 - np.tanh(y) ** 2)", "tanh of y where y belongs"),
    ("tanh", "x", "g / np.cosh(x)", "The square is missing: 1 / cosh x"),
    ("tanh", "x", "g * y * (1 - y)", "slope of a sigmoid"),
    ("tanh", "x", "1 - y**2", "g is ignored"),
    ("divide", "x", "g * y", "Multiplied by y, where it is divided"),
    ("divide", "y", "-g * x / y", "The square is missing: −x / y for"),
    ("divide", "y", "g * x / y", "The square and the sign are missing"),
    ("divide", "y", "-g / y**2", "x is missing: −1 / y²"),
    ("divide", "y", "g * x", "This is the slope of x · y in y"),
    ("divide", "y", "g * x / y**2", "The sign is wrong."),
    ("divide", "y", "g / y", "This is the gradient of x"),
    ("relu", "x", "g * (x >= 0)", "At x = 0 the gate is open"),
    ("relu", "x", "g * ((x > 0) + (x >= 0) * 1.0) / 2", "At x = 0 yours is ½ of g"),
    ("relu", "x", "np.maximum(g, 0)", "relu was applied to g"),
    ("relu", "x", "g * y", "y stands where its slope belongs"),
    ("relu", "x", "g * (x < 0)", "open where it should be shut"),
    ("relu", "x", "g * np.sign(x)", "the slope of |x|"),
    ("add", "x", "g", "along which x was broadcast."),
    ("add", "y", "g", "along which y was broadcast."),
    ("add", "x", "g[(0,) * (g.ndim - x.ndim) + tuple(slice(n) for n in x.shape)]", "Only the first of the places"),
    ("add", "y", "g[(0,) * (g.ndim - y.ndim) + tuple(slice(n) for n in y.shape)]", "Only the first of the places"),
    ("add", "x", "np.full(x.shape, g.sum())", "All of g is summed"),
    ("add", "y", "np.full(y.shape, g.sum())", "All of g is summed"),
    ("add", "x", "sum_to(g, x.shape) * (x.size / g.size)", "yours is 1/n times the right one, n = g.size / x.size."),
    ("add", "x", "np.ravel(sum_to(g, x.shape))", "The numbers are right, but the shape is"),
    ("add", "x", "g * y", "y is a factor: that is multiply"),
    ("add", "y", "g * x", "x is a factor: that is multiply"),
    ("sum", "x", "g", "Not handed back to each"),
    ("sum", "x", BACK, "Not handed back to each"),
    ("sum", "x", "np.broadcast_to(g, x.shape)", "Stretched along the wrong axis"),
    ("sum", "x", "np.full(x.shape, g.sum())", "All of g is summed"),
    ("sum", "x", f"{BACK} * x", "x is a factor"),
    ("sum", "x", f"{BACK} * np.ones(x.shape) / x.shape[axis]", "mean where sum belongs"),
    ("sum", "x", "np.ones(x.shape)", "g is ignored"),
    ("mean", "x", f"{BACK} * np.ones(x.shape)", "sum where mean belongs"),
    ("mean", "x", f"{BACK} * np.ones(x.shape) / x.size", "Divided by x.size"),
    ("mean", "x", f"{BACK} * np.ones(x.shape) / x.shape[axis - 1]", "Divided by the length of the other axis"),
    ("mean", "x", "np.broadcast_to(g, x.shape)", "Stretched along the wrong axis"),
    ("mean", "x", "np.full(x.shape, g.sum())", "All of g is summed"),
    ("matmul", "x", "g @ y", "y is not transposed: g @ y"),
    ("matmul", "y", "x @ g", "x is not transposed: x @ g"),
    ("matmul", "x", "y.mT @ g", "The factors are the wrong way round: y.mT @ g"),
    ("matmul", "y", "g @ x.mT", "The factors are the wrong way round: g @ x.mT"),
    ("matmul", "x", "y @ g", "wrong way round, and y is not transposed"),
    ("matmul", "y", "g @ x", "wrong way round, and x is not transposed"),
    ("matmul", "x", "g * y", "Multiplied element by element"),
    ("matmul", "y", "g * x", "Multiplied element by element"),
    ("matmul", "x", "y @ g.mT", "Transposed: the rows are the columns."),
    ("matmul", "y", "g.mT @ x", "Transposed: the rows are the columns."),
    ("matmul", "x", "x.mT @ g", "This is the gradient of y"),
    ("max", "x", f"{BACK} * (x == np.expand_dims(y, axis))", "Each of several equals gets all of g"),
    (
        "max",
        "x",
        f"{BACK} * (np.indices(x.shape)[axis] == np.expand_dims(np.argmax(x, axis), axis))",
        "The first of several",
    ),
    ("max", "x", f"{BACK} * np.ones(x.shape)", "Every element gets g"),
    ("max", "x", f"{BACK} * (x == x.max())", "The largest of the whole array gets g"),
    ("max", "x", "RIGHT * x", "y is a factor"),
    ("embedding", "weight", "last_at(g, weight.shape, ids)", "Duplicates are not accumulated"),
    ("embedding", "weight", "g", "g has a row for each id"),
    (
        "embedding",
        "weight",
        "RIGHT / np.maximum(np.bincount(ids, minlength=len(weight)), 1)[:, None]",
        "mean of its gradients",
    ),
    ("embedding", "weight", "g[ids]", "g is picked from"),
    ("softmax", "x", "g * p * (1 - p)", "Only pᵢ (1 − pᵢ) is there"),
    ("softmax", "x", "g * p", "Missing: the denominator depends on x"),
    ("softmax", "x", "p * (g - np.sum(g, axis=-1, keepdims=True))", "p is missing in the sum"),
    ("softmax", "x", "p * (g - np.mean(g * p, axis=-1, keepdims=True))", "mean where sum belongs"),
    ("softmax", "x", "p * (g - np.sum(g * p))", "The sum runs over all of the array"),
    ("softmax", "x", "p * (g - np.sum(g * p, axis=0))", "The sum runs along the first axis"),
    ("softmax", "x", "g - np.sum(g * p, axis=-1, keepdims=True)", "The factor p in front is missing"),
    ("softmax", "x", "g - p * np.sum(g, axis=-1, keepdims=True)", "This is the gradient of ln p"),
    ("cross_entropy", "x", "RIGHT * len(x)", "sum where mean belongs"),
    ("cross_entropy", "x", "RIGHT * len(x) / x.size", "Divided by x.size"),
    ("cross_entropy", "x", "g * p / len(x)", "Missing: the target's own term"),
    ("cross_entropy", "x", "RIGHT - g * p / len(x)", "Missing: ln Σ exp xⱼ depends on x"),
    ("cross_entropy", "x", "(RIGHT - g * p / len(x)) / p", "it has yet to go through the softmax"),
    ("attention", "q", "RIGHT / scale", "The scale 1/√E is missing"),
    ("attention", "k", "RIGHT / scale", "The scale 1/√E is missing"),
    ("attention", "q", "RIGHT * scale", "The scale is there twice"),
    ("attention", "k", "RIGHT * scale", "The scale is there twice"),
    ("attention", "k", f"({DS}) @ q * scale", "The scores' gradient is not transposed"),
    ("attention", "q", f"({DS}).mT @ k * scale", "The scores' gradient is transposed"),
    ("attention", "v", "p @ g", "p is not transposed"),
    ("attention", "v", "s.mT @ g", "The scores stand where their softmax belongs"),
    ("attention", "q", "(g @ v.mT * p) @ k * scale", "the softmax's denominator depends on the scores"),
    ("attention", "k", "(g @ v.mT * p).mT @ q * scale", "the softmax's denominator depends on the scores"),
    ("attention", "q", "g @ v.mT @ k * scale", "The softmax is skipped"),
    ("attention", "k", "(g @ v.mT).mT @ q * scale", "The softmax is skipped"),
    ("attention", "q", "(g @ v.mT * p * (1 - p)) @ k * scale", "Only pᵢ (1 − pᵢ) of the softmax is there"),
    ("attention", "k", "(g @ v.mT * p * (1 - p)).mT @ q * scale", "Only pᵢ (1 − pᵢ) of the softmax is there"),
]
for name, axis, other in (("layer_norm", -1, 0), ("batch_norm", 0, -1)):
    mean = f"np.mean(g * weight, axis={axis}, keepdims=True)"
    moment = f"np.mean(g * weight * n, axis={axis}, keepdims=True)"
    WRONG += [
        (name, "x", f"(g * weight - n * {moment}) / std", "Missing: the mean depends on x"),
        (name, "x", f"(g * weight - {mean}) / std", "Missing: the variance depends on x"),
        (name, "x", "g * weight / std", "Missing: the mean and the variance depend on x"),
        (name, "x", RIGHT[name]["x"].replace(" * weight", ""), "Missing: the weight."),
        (name, "x", RIGHT[name]["x"].replace("np.mean", "np.sum"), "sum where mean belongs"),
        (name, "x", RIGHT[name]["x"].replace(f"axis={axis}", f"axis={other}"), "The means run along the wrong axis"),
        (name, "weight", "np.sum(g * x, axis=0)", "x stands where the normalised x belongs"),
        (name, "weight", "np.sum(g * y, axis=0)", "y stands where n belongs"),
        (name, "weight", "np.sum(g, axis=0)", "This is the gradient of bias"),
        (name, "weight", "g * n", "Missing: the sum over axis 0, along which weight was broadcast"),
        (name, "bias", "np.sum(g * weight, axis=0)", "The weight is a factor too many"),
        (name, "bias", "g", "Missing: the sum over axis 0, along which bias was broadcast"),
    ]


def filled(folder, name, **pulls):
    """The sheet with these pullbacks in place of the right ones."""
    path = exercises.hand_out(name, folder)
    text = path.read_text(encoding="utf-8")
    for input, right in RIGHT[name].items():
        answer = pulls.get(input, right).replace("RIGHT", f"({right})")
        text = text.replace(f"return ...  # the gradient of {input}\n", f"return {answer}\n")
    path.write_text(text + HELPERS, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", NAMES)
def test_what_is_filled_in_rightly_passes(name, tmp_path):
    passed, said = exercises.check(filled(tmp_path, name))
    assert passed, said
    assert said.startswith(f"{name}.py: right, on all of ")


@pytest.fixture
def without_shrinking(monkeypatch):
    """The first failing input for the smallest: to find that takes most of the time."""
    monkeypatch.setattr(grading, "smallest", lambda exercise, condition: None)


def judged(path):
    passed, said = exercises.check(path)
    assert not passed
    return said


@pytest.fixture(scope="module", autouse=True)
def inputs_drawn():
    for exercise in EXERCISES:
        grading.surveyed(exercise)


@pytest.mark.parametrize(("name", "input", "answer", "words"), WRONG)
def test_a_mistake_is_told_by_its_name(name, input, answer, words, tmp_path, without_shrinking):
    said = judged(filled(tmp_path, name, **{input: answer}))
    assert words in said, said
    assert said.startswith(f"{name}.py: the gradient of {input} is wrong.\n    ")
    assert "yours" in said
    others = [other for other in RIGHT[name] if other != input]
    assert said.endswith(" and ".join(others) + "." if others else "") or words in said.splitlines()[-1]


def test_every_mistake_named_in_the_catalogue_is_made_here():
    for exercise in EXERCISES:
        for mistake in exercise.mistakes:
            assert any(
                (exercise.name, mistake.input) == (name, input) and words.strip(".") in mistake.words
                for name, input, _, words in WRONG
            ), (exercise.name, mistake.input, mistake.words)


SMALLEST = [
    ("multiply", "x", "g * x", "x = [1.]  y = [2.]  g = [1.]\n    yours   [1.]\n    right   [2.]"),
    ("tanh", "x", "g * (1 - x**2)", "x = [1.]  g = [1.]\n    yours   [0.]\n    right   [0.42]"),
    ("add", "x", "g", "x = 1.  y = [1. 1.]  g = [0. 1.]\n    yours   shape (2,)  [0. 1.]\n    right   shape ()  1."),
    ("relu", "x", "g * (x >= 0)", "x = [0.]  g = [1.]"),
    ("embedding", "weight", "last_at(g, weight.shape, ids)", "weight = [[1.]]  ids = [0 0]"),
    ("softmax", "x", "g * p", "x = [1.]  g = [1.]\n    yours   [1.]\n    right   [0.]"),
]


@pytest.mark.parametrize(("name", "input", "answer", "shown"), SMALLEST)
def test_the_smallest_failing_input_is_shown(name, input, answer, shown, tmp_path):
    said = judged(filled(tmp_path, name, **{input: answer}))
    assert shown in said, said
    (tmp_path / f"{name}.py").unlink()
    assert judged(filled(tmp_path, name, **{input: answer})) == said  # the same in every run


@pytest.mark.parametrize("name", NAMES)
def test_a_sheet_as_handed_out_is_not_filled_in(name, tmp_path):
    path = exercises.hand_out(name, tmp_path)
    assert exercises.check(path) == (False, f"{name}.py is not filled in yet: its pullbacks return nothing.")


def test_one_of_two_filled_in(tmp_path, without_shrinking):
    said = judged(filled(tmp_path, "multiply", y="None"))
    assert "pull_y is not filled in yet: it returns nothing.\n\nRight: the gradient of x." in said


HOSTILE = [
    ("return g * y", "return g * ", "multiply.py, line 27: invalid syntax"),
    ("def multiply", "def times", "multiply.py has no function multiply: keep its name"),
    ("@mg.rule()", "", "multiply is no rule: put the line @mg.rule() back above it."),
    ("multiply(x, y, /)", "multiply(x, /, y)", "put the line back, def multiply(x, y, /):"),
    ("@mg.rule()", "1 / 0\n", "ZeroDivisionError: division by zero\n    1 / 0"),
    ("@mg.rule()", "raise SystemExit(3)", "SystemExit: 3"),
    ("(pull_x, pull_y)", "(pull_x,)", "has 2 inputs before the slash, x, y, and returns 1 pullback"),
    ("(pull_x, pull_y)", "pull_x", "The pullbacks must be a tuple"),
    ("(pull_x, pull_y)", "(pull_x, 3)", "The pullback of y is 3, not a function of g."),
    ("return z, (pull_x, pull_y)", "return z", "multiply must return a value and its pullbacks"),
    ("np.multiply(x, y)", "np.multiply(x, 2 * y)", "The value is not multiply's any more"),
    ("np.multiply(x, y)", "np.multiply(x, w)", "multiply.py, line 24: z = np.multiply(x, w)"),
    (
        "return g * y",
        "return g * w",
        "raises NameError: name 'w' is not defined\n    multiply.py, line 27: return g * w",
    ),
    ("return g * y", "return list(g * y)", "pull_x returns a list, not an array."),
    ("return g * y", "return g * y / 0", "Not finite: is something divided by 0"),
    ("return g * y", "g *= y\n        return g", "pull_x writes into g."),
    ("return g * y", "x[...] = 0\n        return g * y", "pull_x writes into x."),
    ("return g * y", "raise SystemExit(0)", "The pullback of x raises SystemExit: 0"),
    ("return g * y", "z.fill(7)\n        return g * y", "pull_x writes into the value."),
    ("return g * y", "return g.sum()", "the gradient of x is wrong."),
    (
        "return g * y",
        "multiply.calls = getattr(multiply, 'calls', 0) + 1\n        return g * y * multiply.calls",
        "pull_x gives another gradient when it is called again: it changes what it keeps.",
    ),
    ("return g * y", "return np.array(['a'] * g.size).reshape(g.shape)", "not real numbers."),
    ("return g * y", "print('seen')\n        return g", "It prints: seen"),
    ("def pull_x(g)", "def pull_x()", "raises TypeError: multiply.<locals>.pull_x() takes 0 positional arguments"),
]


@pytest.mark.parametrize(("text", "instead", "words"), HOSTILE)
def test_a_broken_file_gets_one_clear_message(text, instead, words, tmp_path, without_shrinking, capsys):
    path = filled(tmp_path, "multiply")
    source = path.read_text(encoding="utf-8")
    assert text in source
    path.write_text(source.replace(text, instead), encoding="utf-8")
    said = judged(path)
    assert words in said, said
    assert said.startswith("multiply.py")
    assert capsys.readouterr() == ("", "")


TROUBLE = [("matmul", "x", "g @ g @ y"), ("sum", "x", "np.sum(g, axis=7)"), ("add", "x", "np.reshape(g, (7, 7))")]


@pytest.mark.parametrize(("name", "input", "answer"), TROUBLE)
def test_an_exception_of_shapes_is_named_as_one(name, input, answer, tmp_path, without_shrinking):
    said = judged(filled(tmp_path, name, **{input: answer}))
    assert re.search(r"raises (Value|Axis)Error: .*\n.*\n    A mistake of shape: x has \(.*, g has \(", said), said


FLOAT64 = [
    ("cross_entropy", "x", "g * (p - np.eye(x.shape[1])[target]) / len(x)"),
    ("cross_entropy", "x", "np.float64(g) * (p - (np.arange(x.shape[1]) == target[:, None])) / len(x)"),
    ("embedding", "weight", "add_at(g.astype(np.float64), weight.shape, ids)"),
    ("multiply", "x", "(g * y).astype(np.float64)"),
]


@pytest.mark.parametrize(("name", "input", "answer"), FLOAT64)
def test_a_right_answer_in_float64_is_right_with_a_remark(name, input, answer, tmp_path, without_shrinking):
    passed, said = exercises.check(filled(tmp_path, name, **{input: answer}))
    assert passed, said
    assert said.startswith(
        f"{name}.py: right, on all of 100 inputs.\n    A remark: of float32 the gradient of {input} is float64."
    )
    assert said.splitlines()[-1].startswith("Next: ")


@pytest.mark.parametrize(("name", "axis"), [("layer_norm", 1), ("batch_norm", 0)])
def test_counterexamples_of_norms_have_three_entries_or_more(name, axis, tmp_path):
    assert (
        min(case.inputs[0].shape[axis] for case in grading.surveyed(next(e for e in EXERCISES if e.name == name))) == 3
    )
    said = judged(filled(tmp_path, name, x="g * weight / std"))
    x = re.search(r"x = (\[\[.*?\]\])", said)[1]
    rows = [row.split() for row in re.findall(r"\[([^\[\]]+)\]", x)]
    assert (len(rows), len(rows[0]))[axis] == 3, said


ENDING = [
    ("import os; os._exit(0)", "multiply.py: Python was ended (exit code 0) before all inputs were tried: by os._exit"),
    ("import os; os.abort()", "multiply.py, line 27: Python was ended"),
    ("import sys; sys.exit(0)", "The pullback of x raises SystemExit: 0"),
    ("while True: pass", "multiply.py, line 27: no answer within 10 seconds. Is there a loop that does not end?"),
    ("input('more?')", "The pullback of x raises EOFError"),
]


@pytest.mark.parametrize(("line", "words"), ENDING)
def test_a_pullback_that_ends_the_program_or_does_not_end_has_failed(line, words, tmp_path):
    path = filled(tmp_path, "multiply")
    path.write_text(path.read_text(encoding="utf-8").replace("return g * y", line), encoding="utf-8")
    passed, said = exercises.check_apart(path, 10.0 if "10 seconds" in words else 60.0)
    assert not passed
    assert words in said, said


def test_the_command_counts_an_early_end_as_a_failure(tmp_path, capsys):
    path = filled(tmp_path, "multiply", x="__import__('os')._exit(0)")
    assert main(["--check", str(path)]) == 1
    assert "Python was ended" in capsys.readouterr().out


def test_a_file_that_is_there_is_left_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["tanh"]) == 0
    (tmp_path / "tanh.py").write_text("mine", encoding="utf-8")
    assert main(["tanh"]) == 1
    assert "tanh.py is there already, and left as it is" in capsys.readouterr().err
    assert (tmp_path / "tanh.py").read_text(encoding="utf-8") == "mine"


def test_exercises_are_listed_with_a_line_each(capsys):
    assert main([]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == NAMES
    assert main(["convolve"]) == 1
    assert "there is no exercise 'convolve', only:\nmultiply " in capsys.readouterr().err


def test_no_exercise_hides_a_module_of_the_standard_library():
    assert not set(NAMES) & sys.stdlib_module_names


def test_a_missing_file_and_a_foreign_one_are_told_apart(tmp_path, capsys):
    assert main(["--check", str(tmp_path / "multiply.py")]) == 1
    assert "cannot be read: No such file" in capsys.readouterr().out
    assert main(["--check", str(tmp_path / "multiply")]) == 1
    assert "is no Python file" in capsys.readouterr().out


def test_a_file_name_that_is_no_utf_8_gets_an_answer(tmp_path):
    path = tmp_path / "multiply\udcff.py"
    try:
        path.write_text("def loss(x): return x", encoding="utf-8")
    except (OSError, UnicodeError):
        pytest.skip("this file system takes UTF-8 alone")
    done = subprocess.run(
        [sys.executable, "-m", "minigrad.exercises", "--check", path], capture_output=True, check=False
    )
    assert done.returncode == 1
    assert b"has no function with the name of an exercise" in done.stdout
    assert b"Traceback" not in done.stderr


def test_without_hypothesis_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    passed, said = exercises.check(filled(tmp_path, "multiply"))
    assert not passed
    assert "pip install hypothesis" in said


def test_the_terminal_leaves_nothing_but_the_report(tmp_path):
    filled(tmp_path, "multiply")
    done = subprocess.run(
        [sys.executable, "-m", "minigrad.exercises", "--check", "multiply.py"],
        cwd=tmp_path, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.stdout == "multiply.py: right, on all of 100 inputs. Next: python -m minigrad.exercises tanh\n"
    assert done.stderr == ""
    assert [path.name for path in tmp_path.iterdir() if path.name != "__pycache__"] == ["multiply.py"]


@pytest.mark.parametrize("exercise", EXERCISES, ids=NAMES)
def test_the_right_answers_are_what_differences_give(exercise):
    for case in grading.surveyed(exercise)[5:60:18]:
        if exercise.name not in ("relu", "max"):  # with their kinks on the inputs drawn

            def f(*inputs, case=case):
                return exercise.function(*inputs, **case.settings)

            check_gradients(f, *case.inputs, order=1, flat=True)
