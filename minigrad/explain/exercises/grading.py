"""A pullback held to the library's own rule: whether it is right, and if not, which mistake explains it.

Hypothesis draws inputs, small and whole numbers first. The right gradients are those of the engine. An answer that is
wrong somewhere is compared, on all inputs where it is wrong, with what each known mistake would give there; only one
that gives the same to rounding everywhere is named. It is shown on the smallest failing input.
"""

from __future__ import annotations

import contextlib
import io
import linecache
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from minigrad.autograd import Rule, grad
from minigrad.explain.exercises.catalogue import Draw, Exercise
from minigrad.tensor import Array, Tensor
from minigrad.testing import _difference

TRIED = 200  # inputs
CLOSE = 1e-8  # of the largest entry: what rounding may take in float64


class Case(NamedTuple):
    """One input: the arrays to be differentiated, the settings after the slash, and the gradient that comes back."""

    inputs: tuple[Array, ...]
    settings: dict[str, Any]
    g: Array


@dataclass(frozen=True)
class Answer:
    """What a pullback gave: an array, or else what is the matter with it, in words."""

    array: Array | None = None
    trouble: str = ""


Gradient = Callable[..., Any]  # of (g, *inputs, **settings)


def grade(path: Path, rule: Rule, exercise: Exercise, following: str | None) -> tuple[bool, str]:
    """Whether the rule in this file passes, and the report."""
    grading = Grading(path, rule, exercise)
    with _quiet_hypothesis():
        return grading.report(following)


class Grading:
    """One rule, held to one exercise."""

    def __init__(self, path: Path, rule: Rule, exercise: Exercise) -> None:
        self.path = path
        self.rule = rule
        self.exercise = exercise
        self.names = exercise.rule.inputs

    # ---- inputs ------------------------------------------------------------------------------------------------------

    @cached_property
    def strategy(self) -> Any:
        from hypothesis import strategies as st

        @st.composite
        def build(draw: Any) -> Case:
            inputs, settings = self.exercise.draw(Draw(draw))
            value = np.asarray(self.exercise.function(*inputs, **settings))
            return Case(inputs, settings, Draw(draw).upstream(value.shape))

        return build()

    def find(self, condition: Callable[[Case], bool]) -> Case | None:
        """The smallest input of those that Hypothesis tries where this holds; the same in every run."""
        import hypothesis

        settings = hypothesis.settings(
            max_examples=TRIED,
            database=None,
            deadline=None,
            derandomize=True,
            verbosity=hypothesis.Verbosity.quiet,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        try:
            return hypothesis.find(self.strategy, condition, settings=settings, random=Random(0))
        except hypothesis.errors.NoSuchExample:
            return None

    @cached_property
    def survey(self) -> list[Case]:
        """The inputs that every answer is tried on."""
        cases: list[Case] = []

        def keep(case: Case) -> bool:
            cases.append(case)
            return False

        self.find(keep)
        return cases

    # ---- answers -----------------------------------------------------------------------------------------------------

    def right(self, case: Case, g: Array | None = None) -> tuple[Array, ...]:
        """The library's gradient of every input."""
        return gradients(self.exercise.function, case, g)

    def forward(self, case: Case) -> tuple[Sequence[Any], str]:
        """The pullbacks, and what is the matter with the forward pass, in words."""
        inputs = tuple(x.copy() for x in case.inputs)
        try:
            returned = self.rule.function(*inputs, **case.settings)
        except Exception as error:
            return (), self.raised(self.rule.name, error)
        if not isinstance(returned, tuple) or len(returned) != 2:
            return (), f"{self.rule.name} must return a value and its pullbacks, as in `return z, (pull_x, pull_y)`."
        value, pullbacks = returned
        right = np.asarray(self.exercise.function(*case.inputs, **case.settings))
        if not isinstance(value, np.ndarray | np.generic | float) or not same(np.asarray(value), right):
            return (), f"The value is not {self.rule.name}'s any more: put the forward pass back as it was."
        if not isinstance(pullbacks, tuple | list):
            return (), f"The pullbacks must be a tuple; for one alone with a comma: `(pull_{self.names[0]},)`."
        n = len(self.names)
        if len(pullbacks) != n:
            inputs_ = f"{n} input{'s' * (n > 1)} before the slash, {', '.join(self.names)}"
            return (
                (),
                f"{self.rule.name} has {inputs_}, and returns {len(pullbacks)} pullbacks: one for each, in order.",
            )
        return pullbacks, ""

    def answer(self, case: Case, place: int) -> Answer:
        """What the pullback of the input at this place gives."""
        case = Case(tuple(x.copy() for x in case.inputs), case.settings, case.g.copy())
        kept = Case(tuple(x.copy() for x in case.inputs), case.settings, case.g.copy())
        try:
            pullback = self.rule.function(*case.inputs, **case.settings)[1][place]
            name = getattr(pullback, "__name__", "<lambda>")
            name = f"the pullback of {self.names[place]}" if name == "<lambda>" else name
            if not callable(pullback):
                return Answer(trouble=f"The pullback of {self.names[place]} is {pullback!r}, not a function of g.")
            returned = pullback(case.g)
        except Exception as error:
            return Answer(trouble=self.raised(f"the pullback of {self.names[place]}", error))
        for what, now, before in zip(("g", *self.names), (case.g, *case.inputs), (kept.g, *kept.inputs), strict=True):
            if not np.array_equal(now, before, equal_nan=True):
                return Answer(
                    trouble=f"{name} writes into {what}. Others still need it: make a new array, `a * b` for `a *= b`."
                )
        if returned is None:
            return Answer(trouble=f"{name} is not filled in yet: it returns nothing.")
        if not isinstance(returned, np.ndarray | np.generic | float):
            return Answer(trouble=f"{name} returns a {type(returned).__name__}, not an array.")
        return Answer(np.asarray(returned))

    def raised(self, who: str, error: Exception) -> str:
        """An exception, with the user's own line."""
        frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename) == self.path]
        text = f"{who} raises {type(error).__name__}: {error}"
        if not frames:
            return text[0].upper() + text[1:]
        line = linecache.getline(str(self.path), frames[-1].lineno or 0).strip()
        return f"{text[0].upper()}{text[1:]}\n{self.path.name}, line {frames[-1].lineno}: {line}"

    def wrong(self, case: Case, place: int) -> bool:
        array = self.answer(case, place).array
        return array is None or not same(array, self.right(case)[place])

    # ---- the report --------------------------------------------------------------------------------------------------

    def report(self, following: str | None) -> tuple[bool, str]:
        with warnings.catch_warnings(), np.errstate(all="ignore"), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            case = self.find(lambda case: bool(self.forward(case)[1]))
            if case:
                return False, self.text(self.forward(case)[1], case)
            answers = [[self.answer(case, i) for case in self.survey] for i in range(len(self.names))]
            if all(a.trouble.endswith("it returns nothing.") for row in answers for a in row):
                return False, f"{self.path.name} is not filled in yet: its pullbacks return nothing."
            found = [self.judge(place, answers[place]) for place in range(len(self.names))]
        lines = [text for text in found if text]
        if lines:
            good = [name for name, text in zip(self.names, found, strict=True) if not text]
            if good:
                lines.append(f"The gradient{'s' * (len(good) > 1)} of {' and '.join(good)}: right.")
            return False, "\n\n".join(lines)
        after = f" Next: python -m minigrad.explain --exercise {following}" if following else " That was the last one."
        return True, f"{self.path.name}: right, on {len(self.survey)} inputs.{after}"

    def text(self, words: str, case: Case) -> str:
        return "\n    ".join([f"{self.path.name}: {words}", *shown(self.names, case)])

    def judge(self, place: int, answers: list[Answer]) -> str:
        """What is wrong with one pullback, or ""."""
        name = self.names[place]
        rights = [self.right(case)[place] for case in self.survey]
        failing = [
            k for k, (a, r) in enumerate(zip(answers, rights, strict=True)) if a.array is None or not same(a.array, r)
        ]
        if not failing:
            return ""
        smallest = self.find(lambda case: self.wrong(case, place)) or self.survey[failing[0]]
        answer = self.answer(smallest, place)
        right = self.right(smallest)[place]
        lines = [f"{self.path.name}: the gradient of {name} is wrong.", *shown(self.names, smallest)]
        if answer.array is None:
            lines += answer.trouble.splitlines()
        else:
            lines += [f"yours   {plain(answer.array)}", f"right   {plain(right)}"]
        return "\n    ".join(lines)


def gradients(function: Callable[..., Any], case: Case, g: Array | None = None) -> tuple[Array, ...]:
    """The engine's gradient of each input of a function."""
    leaves = [Tensor(x, requires_grad=True) for x in case.inputs]
    y = function(*leaves, **case.settings)
    found = grad(y, leaves, Tensor(case.g if g is None else g), allow_unused=True)
    return tuple(np.zeros(x.shape, x.dtype) if d is None else d.data for x, d in zip(leaves, found, strict=True))


def same(x: Array, y: Array) -> bool:
    """Equal in shape, and in value to rounding."""
    if x.shape != y.shape or x.dtype.kind not in "fiub":
        return False
    scale = float(np.max(np.abs(y), initial=1.0))
    return bool(np.allclose(x, y, rtol=CLOSE, atol=CLOSE * scale, equal_nan=True))


def shown(names: Sequence[str], case: Case) -> list[str]:
    """The input, on one line."""
    parts = dict(zip(names, case.inputs, strict=True)) | case.settings | {"g": case.g}
    return ["  ".join(f"{name} = {plain(x)}" for name, x in parts.items())]


def plain(x: Any, digits: int = 4) -> str:
    """An array on one line."""
    if not isinstance(x, np.ndarray):
        return repr(x)
    return " ".join(np.array2string(x, precision=digits, max_line_width=10_000, suppress_small=True).split())


@contextlib.contextmanager
def _quiet_hypothesis() -> Iterator[None]:
    """Hypothesis with its files in a folder that goes away again."""
    from hypothesis import configuration

    before = configuration.__hypothesis_home_directory  # type: ignore[attr-defined]
    with TemporaryDirectory() as folder:
        configuration.set_hypothesis_home_dir(folder)
        try:
            yield
        finally:
            configuration.set_hypothesis_home_dir(before)
