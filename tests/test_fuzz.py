"""Random programs held to NumPy's complex step: values, gradients, second derivatives, and what must be refused."""

import inspect
import re
import sys
from collections import Counter
from functools import cache

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad import graph
from minigrad.rule import RULES

from . import programs
from .programs import LEAVES, MODES, Grower, check, code, shrunk

pytestmark = pytest.mark.filterwarnings("ignore:cross_entropy. the input comes from a softmax:RuntimeWarning")


@st.composite
def random_programs(draw):
    """Programs of a few steps, each choice drawn by Hypothesis, so that a failure shrinks by itself."""
    return Grower(lambda n: draw(st.integers(0, n - 1))).program()


@given(random_programs())
def test_every_value_and_gradient_of_a_random_program_is_that_of_numpy(program):
    try:
        check(program)
    except Exception as error:
        raise AssertionError(f"{error}\n{code(program)}") from error


def grown(seed):
    choices = iter(np.random.default_rng(seed).integers(0, 1 << 30, 8000).tolist())
    return Grower(lambda n: next(choices) % n).program()


def why(program):
    """The kind of the error that a program ends with, and what it says; nothing if it is as it must be."""
    try:
        check(program)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def fails(program):
    return bool(why(program))


def test_programs_use_every_operation_every_mode_and_every_other_step():
    grown_programs = [grown(seed) for seed in range(800)]
    steps = [step for program in grown_programs for step in program.steps]
    assert {step.op for step in steps} >= {*programs.OPS, "leaf", "array", "number", "detach", "hook", "attempt"}
    assert {program.mode for program in grown_programs} == set(MODES)
    assert {step.settings["made"] for step in steps if step.op == "leaf"} == set(LEAVES)
    assert any(program.blocks for program in grown_programs)
    assert any(not step.recorded for step in steps)


def test_every_operation_is_right_in_three_programs_that_came_to_an_end():
    left = Counter(dict.fromkeys(programs.OPS, 3))
    for program in map(grown, range(5000)):
        if not +left:
            return
        ops = {step.op for step in program.steps if left[step.op] > 0}
        if ops and (run := check(program)).finite and not run.refused:
            left.subtract(ops)
    assert not +left


@cache
def sound_programs():
    return [program for program in map(grown, range(100)) if not fails(program)]


def rule_named(name):
    return next(rule for rule in RULES if rule.name == name)


def wrong_sign(monkeypatch):
    sin = rule_named("sin")
    monkeypatch.setattr(sin, "function", lambda x, /: (np.sin(x), (lambda g: -g * np.cos(x),)))


def forgotten_unbroadcast(monkeypatch):
    def first(g, shape):
        return g[tuple(slice(0, n) for n in (1,) * (g.ndim - len(shape)) + shape)].reshape(shape)

    monkeypatch.setattr(sys.modules["minigrad.rule"], "unbroadcast", first)


def hook_ignored(monkeypatch):
    monkeypatch.setattr(mg.autograd, "call_hooks", lambda at, g: g)


def gradient_overwritten(monkeypatch):
    real = mg.autograd.backward_through

    class Overwriting(dict):
        def get(self, key, default=None):
            return default  # nothing has arrived yet, each time

    def backward_through(nodes, cotangents, *rest):
        return real(nodes, Overwriting(cotangents), *rest)

    monkeypatch.setattr(mg.autograd, "backward_through", backward_through)


def with_retain_graph(monkeypatch, value):
    real = mg.autograd.backward_through
    place = [*inspect.signature(real).parameters].index("retain_graph")
    monkeypatch.setattr(
        mg.autograd, "backward_through", lambda *args: real(*(value if i == place else x for i, x in enumerate(args)))
    )


def retained_freed(monkeypatch):
    with_retain_graph(monkeypatch, False)


def freed_retained(monkeypatch):
    with_retain_graph(monkeypatch, True)


def detach_that_does_not(monkeypatch):
    monkeypatch.setattr(mg.Tensor, "detach", lambda self: self)


def second_order_of_the_first(monkeypatch):
    real = mg.autograd.replay

    def replay(nodes, needed, targets):
        return {
            node: [lambda g, p=p: mg.Tensor(p(g.data)) for p in node.pullbacks] for node in real(nodes, needed, targets)
        }

    monkeypatch.setattr(mg.autograd, "replay", replay)


def writes_unnoticed(monkeypatch):
    monkeypatch.setattr(graph, "guard", graph.Guard())


GRADIENT = r"^Wrong: step \d+: gradient .*, expected"
BROKEN = {  # each with what is said when it is caught: not any failure will do
    wrong_sign: GRADIENT,
    forgotten_unbroadcast: GRADIENT,
    hook_ignored: GRADIENT,
    gradient_overwritten: GRADIENT,
    retained_freed: "^RuntimeError: the graph of .* has already been freed",
    freed_retained: "^Wrong: a second backward without retain_graph was not refused",
    detach_that_does_not: GRADIENT,
    second_order_of_the_first: r"^Wrong: step \d+: second derivative .*, expected",
    writes_unnoticed: GRADIENT,
}


@pytest.mark.parametrize("break_it", BROKEN, ids=lambda f: f.__name__)
def test_a_broken_engine_is_caught_within_a_hundred_programs(break_it, monkeypatch):
    sound = sound_programs()
    break_it(monkeypatch)
    reasons = [reason for program in sound if (reason := why(program))]
    assert any(re.search(BROKEN[break_it], reason, re.DOTALL) for reason in reasons), reasons


def test_a_failing_program_shrinks_to_the_operation_that_is_wrong(monkeypatch):
    wrong_sign(monkeypatch)

    def fails_by_sin(program):
        return program.has("sin") and fails(program)

    small = shrunk(next(filter(fails_by_sin, map(grown, range(400)))), fails_by_sin)
    assert small.operations == 1
    assert "np.sin(v" in code(small)


def test_what_is_printed_is_python():
    for seed in range(50):
        compile(code(grown(seed)), "program", "exec")
