"""The engine on one screen is the definition of the library's: over random programs the two agree to the last bit."""

import ast
import importlib.util
import re
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad.rule import RULES
from minigrad.tensor import HANDLERS
from tests import programs
from tests.programs import OPS, OURS, Grower, called

EXAMPLES = Path(__file__).parents[2] / "examples"
LESSON = EXAMPLES / "00_the_engine_in_one_screen.py"


@pytest.fixture(scope="module")
def lesson():
    sys.path.insert(0, str(EXAMPLES))
    try:
        spec = importlib.util.spec_from_file_location("lesson_zero", LESSON)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(EXAMPLES))
    module.BY_NAME |= {rule.name: rule for rule in RULES if rule.function.__module__.startswith("minigrad.rules.")}
    return module  # without the rules of other tests


def of_rules_alone(lesson):
    """The operations of the random programs that are written in NumPy functions and operators with a rule."""

    def is_rule(name):  # and not a function that sorts the arguments first, as np.pad does
        return name in lesson.BY_NAME and HANDLERS.get(getattr(np, name)) is lesson.BY_NAME[name].apply

    def is_one(text):
        rest = re.sub(r"np\.\w+|axis|keepdims|shape", "", text)
        return all(map(is_rule, re.findall(r"np\.(\w+)", text))) and re.fullmatch(
            r"[xyz*/+@(),=\d\s.-]*|abs\(x\)", rest
        )

    return tuple(name for name, op in OPS.items() if is_one(op.ours))


def run(program, kind):
    """The leaves after a backward pass from the weighted sum of the roots; None if nothing leads from it to one."""
    values = []
    for step in program.steps:
        args = [values[i] for i in step.args]
        if step.op == "leaf":
            values.append(kind(step.settings["value"].copy(), requires_grad=step.settings["requires_grad"]))
        elif step.op in ("array", "number"):
            values.append(step.settings["value"])
        elif step.op == "detach":
            values.append(kind(args[0].data, requires_grad=False))
        elif step.op in OPS:
            value = called(OURS[step.op], step, args)
            values.append(value if step.recorded else kind(value.data, requires_grad=False))
        else:
            values.append(None)
    leaves = [values[i] for i, step in enumerate(program.steps) if step.op == "leaf"]
    total = sum(np.sum(values[i] * weight) for i, weight in program.roots)
    if total.requires_grad:
        total.backward()
    found = [leaf.grad for leaf in leaves]
    return [g.data if isinstance(g, mg.Tensor) else g for g in found]


def test_over_random_programs_gradients_are_the_library_s_to_the_last_bit(lesson, monkeypatch):
    names = of_rules_alone(lesson)
    assert len(names) >= 60
    monkeypatch.setattr(programs, "NAMED", names)
    rng = np.random.default_rng(0)
    seen = Counter()
    for _ in range(1000):
        program = Grower(lambda n: int(rng.integers(n)), writes=False).program()
        with np.errstate(all="ignore"):
            ours, theirs = run(program, lesson.Tensor), run(program, mg.Tensor)
        for a, b in zip(ours, theirs, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                assert (a.shape, a.dtype, a.tobytes()) == (b.shape, b.dtype, np.ascontiguousarray(b).tobytes())
        seen.update(step.op for step in program.steps if step.op in OPS)
        seen["gradients"] += sum(a is not None for a in ours)
    assert seen["gradients"] > 400
    assert set(seen) - {"gradients"} >= set(names) - {"solve", "inv", "det"}  # few matrices are square


def test_an_engine_with_a_mistake_is_noticed(lesson, monkeypatch):
    monkeypatch.setattr(lesson, "unbroadcast", lambda g, shape: g[(0,) * (g.ndim - len(shape))].reshape(shape))
    with pytest.raises((AssertionError, ValueError)):
        test_over_random_programs_gradients_are_the_library_s_to_the_last_bit(lesson, monkeypatch)


def test_the_engine_is_seventy_lines_at_most():
    lines = LESSON.read_text(encoding="utf-8").splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("# ---- the engine"))
    last = next(i for i, line in enumerate(lines) if line.startswith("# ---- an encoder"))
    assert last - first <= 70
    readme = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    assert f"is a complete engine in {10 * round((last - first) / 10)} lines" in readme
    assert ast.parse("\n".join(lines[first:last]))
