"""A pullback held to the library's own rule: whether it is right, and if not, which mistake explains it.

Hypothesis draws inputs, small and whole numbers first. The right gradients are those of the engine. An answer that is
wrong somewhere is compared, on all inputs where it is wrong, with what each known mistake would give there; only one
that gives the same to rounding everywhere is named. It is shown on the smallest failing input.
"""

from __future__ import annotations

import contextlib
import io
import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, cast

import numpy as np

from minigrad.autograd import grad
from minigrad.exercises.catalogue import Draw, Exercise, Mistake
from minigrad.rule import Rule
from minigrad.tensor import Array, Tensor

TRIED = 100  # inputs
REMARK = (
    "The engine makes float32 of it, but that takes time. NumPy's numbers, new arrays, and integers beside float32",
    "are to blame: write `n ** -0.5` for `1 / np.sqrt(n)`, np.zeros(x.shape, x.dtype), and counts.astype(x.dtype).",
)
STEP = 6e-6  # the cube root of float64's rounding: there a central difference errs least
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
    empty: bool = False

    @property
    def shape(self) -> tuple[int, ...] | None:
        return None if self.array is None else self.array.shape

    def gives(self, right: Array) -> bool:
        return self.array is not None and same(self.array, right)


Suspect = Callable[[Case, Answer, Array], str]  # whether a mistake gives this answer in place of that: its words, or ""


def grade(path: Path, rule: Rule, exercise: Exercise, following: str | None) -> tuple[bool, str]:
    """Whether the rule in this file passes, and the report."""
    grading = Grading(path, rule, exercise)
    with _hypothesis_elsewhere():
        return grading.report(following)


class Grading:
    """One rule, held to one exercise."""

    def __init__(self, path: Path, rule: Rule, exercise: Exercise) -> None:
        self.path = path
        self.rule = rule
        self.exercise = exercise
        self.names = exercise.rule.inputs

    # ---- inputs ------------------------------------------------------------------------------------------------------

    def find(self, condition: Callable[[Case], bool]) -> Case | None:
        return smallest(self.exercise, condition)

    @property
    def survey(self) -> tuple[Case, ...]:
        """The inputs that every answer is tried on."""
        return surveyed(self.exercise)

    # ---- answers -----------------------------------------------------------------------------------------------------

    def right(self, case: Case, g: Array | None = None) -> tuple[Array, ...]:
        """The library's gradient of every input."""
        return gradients(self.exercise.function, case, g)

    def right_one(self, place: int, case: Case) -> Array:
        return self.right(case)[place]

    def forward(self, case: Case) -> str:
        """What is the matter with the forward pass, in words."""
        inputs = tuple(x.copy() for x in case.inputs)
        try:
            returned = self.rule.function(*inputs, **case.settings)
        except (Exception, SystemExit) as error:
            return self.raised(self.rule.name, error)
        if not isinstance(returned, tuple) or len(returned) != 2:
            return f"{self.rule.name} must return a value and its pullbacks, as in `return z, (pull_x, pull_y)`."
        value, pullbacks = returned
        right = np.asarray(self.exercise.function(*case.inputs, **case.settings))
        if not isinstance(value, np.ndarray | np.generic | float) or not same(np.asarray(value), right):
            return f"The value is not {self.rule.name}'s any more: put the forward pass back as it was."
        if not isinstance(pullbacks, tuple | list):
            return f"The pullbacks must be a tuple; for one alone with a comma: `(pull_{self.names[0]},)`."
        n = len(self.names)
        if len(pullbacks) != n:
            inputs_ = f"{n} input{'s' * (n > 1)} before the slash, {', '.join(self.names)}"
            return f"{self.rule.name} has {inputs_}, and returns {len(pullbacks)} pullbacks: one for each, in order."
        return ""

    def answer(self, case: Case, place: int) -> Answer:
        """What the pullback of the input at this place gives."""
        case = Case(tuple(x.copy() for x in case.inputs), case.settings, case.g.copy())
        original = Case(tuple(x.copy() for x in case.inputs), case.settings, case.g.copy())
        try:
            value, pullbacks = self.rule.function(*case.inputs, **case.settings)
            value, pullback, made = np.asarray(value), pullbacks[place], np.array(value)
            name = getattr(pullback, "__name__", "<lambda>")
            name = f"the pullback of {self.names[place]}" if name == "<lambda>" else name
            if not callable(pullback):
                return Answer(trouble=f"The pullback of {self.names[place]} is {pullback!r}, not a function of g.")
            returned = pullback(case.g)
            first = np.array(returned)
            again = np.asarray(pullback(case.g))
        except (Exception, SystemExit) as error:
            text = self.raised(f"The pullback of {self.names[place]}", error)
            if isinstance(error, ValueError) and re.search("shape|dimension|broadcast|axis|axes", str(error)):
                shapes = dict(zip((*self.names, "g"), (*original.inputs, original.g), strict=True))
                text += f"\nA mistake of shape: {', '.join(f'{name} has {x.shape}' for name, x in shapes.items())}."
            return Answer(trouble=text)
        for what, now, before in zip(
            ("g", *self.names, "the value"),
            (case.g, *case.inputs, value),
            (original.g, *original.inputs, made),
            strict=True,
        ):
            if not np.array_equal(now, before, equal_nan=True):
                return Answer(
                    trouble=f"{name} writes into {what}. Others still need it: make a new array, `a * b` for `a *= b`."
                )
        if returned is None or returned is ...:
            return Answer(trouble=f"{name} is not filled in yet: it returns nothing.", empty=True)
        if not isinstance(returned, np.ndarray | np.generic | float):
            return Answer(trouble=f"{name} returns a {type(returned).__name__}, not an array.")
        if first.dtype.kind not in "fiub":
            return Answer(trouble=f"{name} returns {first.dtype.name}, not real numbers.")
        if not np.array_equal(first, again, equal_nan=True):
            return Answer(trouble=f"{name} gives another gradient when it is called again: it changes what it keeps.")
        return Answer(first)

    def raised(self, who: str, error: BaseException) -> str:
        """An exception, with the user's own line."""
        text = f"{who} raises {type(error).__name__}: {error}"
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(self.path)]
        if not frames:
            return text
        return f"{text}\n{self.path.name}, line {frames[-1].lineno}: {frames[-1].line}"

    # ---- the report --------------------------------------------------------------------------------------------------

    def report(self, following: str | None) -> tuple[bool, str]:
        with warnings.catch_warnings(), np.errstate(all="ignore"), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            refused = next((case for case in self.survey if self.forward(case)), None)
            if refused:
                case = self.find(lambda case: bool(self.forward(case))) or refused
                return False, self.text([self.forward(case)], case)
            answers = [[self.answer(case, i) for case in self.survey] for i in range(len(self.names))]
            if all(a.empty for row in answers for a in row):
                return False, f"{self.path.name} is not filled in yet: its pullbacks return nothing."
            found = [self.judged(place, answers[place]) for place in range(len(self.names))]
            remarks = [] if any(found) else [self.of_dtype(place) for place in range(len(self.names))]
        if any(found):
            good = [name for name, text in zip(self.names, found, strict=True) if not text]
            lines = [text for text in found if text]
            if good:
                lines.append(f"Right: the gradient{'s' * (len(good) > 1)} of {' and '.join(good)}.")
            return False, "\n\n".join(lines)
        after = f"Next: python -m minigrad.exercises {following}" if following else "That was the last exercise."
        right = f"{self.path.name}: right, on all of {len(self.survey)} inputs."
        return True, "\n".join([right, *filter(None, remarks), after]) if any(remarks) else f"{right} {after}"

    def text(self, lines: Sequence[str], case: Case) -> str:
        first, *rest = [*lines[0].splitlines(), *lines[1:]]
        return "\n    ".join([f"{self.path.name}: {first}", *shown(self.names, case), *rest])

    def judged(self, place: int, answers: list[Answer]) -> str:
        """What is wrong with the pullback at this place, in words, or ""."""
        rights = [self.right(case)[place] for case in self.survey]
        failing = [i for i, (a, r) in enumerate(zip(answers, rights, strict=True)) if not a.gives(r)]
        if not failing:
            return ""
        name = self.names[place]
        arrays = [i for i in failing if answers[i].array is not None]
        misshapen = {i for i in arrays if cast(Array, answers[i].array).shape != rights[i].shape}
        suspect = next(
            (
                s
                for s in self.suspects(place, [(self.survey[i], answers[i], rights[i]) for i in arrays])
                if arrays and all(s(self.survey[i], answers[i], rights[i]) for i in failing)
            ),
            None,
        )

        def shows(case: Case) -> bool:
            answer, right = self.answer(case, place), self.right(case)[place]
            if suspect:
                return answer.array is not None and not answer.gives(right) and bool(suspect(case, answer, right))
            if len(arrays) < len(failing):
                return answer.array is None
            return answer.shape != right.shape if misshapen else not answer.gives(right)

        case = self.find(lambda case: bool(case.g.any()) and shows(case)) or self.find(shows)
        case = case or next((case for case in self.survey if shows(case)), self.survey[failing[0]])
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            answer = self.answer(case, place)
        right = self.right(case)[place]
        lines = [f"the gradient of {name} is wrong."]
        if answer.array is None:
            lines += answer.trouble.splitlines()
        else:
            lines += beside(answer.array, right)
            lines += [suspect(case, answer, right)] if suspect else self.differs(case, place, answer.array, right)
        lines += self.only_where(failing)
        lines += [f"It prints: {line}" for line in printed.getvalue().splitlines()]
        return self.text(lines, case)

    def differs(self, case: Case, place: int, yours: Array, right: Array) -> list[str]:
        """What can be said of a mistake that is none of those known."""
        if yours.shape != right.shape:
            return [f"A mistake of shape: it must be that of {self.names[place]}, {right.shape}."]
        at = np.unravel_index(np.argmax(~np.isclose(yours, right, rtol=CLOSE, atol=CLOSE)), right.shape)

        def loss(step: float) -> float:
            inputs = [x.copy() for x in case.inputs]
            inputs[place][at] += step
            return float(np.sum(case.g * self.exercise.function(*inputs, **case.settings)))

        h = STEP * max(1.0, abs(float(case.inputs[place][at])))
        numeric = (loss(h) - loss(-h)) / (2 * h)
        smooth = np.isclose(numeric, right[at], rtol=1e-4, atol=1e-6)  # else it is a kink, and has no derivative
        witness = "" if not smooth else f"; Σ g · {self.rule.name} itself grows at the rate {numeric + 0.0:.6g} there"
        where = ", ".join(str(int(i)) for i in at)
        given, wanted = (f"{x[at] + 0.0:.6g}" for x in (yours, right))
        lines = [f"None of the known mistakes. At [{where}] yours is {given}, right is {wanted}{witness}."]
        if not np.isfinite(yours).all():
            lines.append("Not finite: is something divided by 0, or is it the logarithm of 0?")
        return lines

    def only_where(self, failing: list[int]) -> list[str]:
        """What all inputs have in common on which it is wrong, if the others do not have it."""
        signs = [set(self.signs(case)) for case in self.survey]
        common = set.intersection(*(signs[i] for i in failing))
        spread = {sign: sum(sign in s for s in signs) for sign in sorted(common)}
        told = [sign for sign, n in spread.items() if n <= 0.9 * len(signs) and len(failing) >= max(4, 0.4 * n)]
        if not told:
            return []
        sign = min(told, key=lambda sign: spread[sign])
        return [f"It is wrong only where {sign}: on {len(failing)} of {len(signs)} inputs."]

    def signs(self, case: Case) -> Iterator[str]:
        """What may be said of an input."""
        inputs = dict(zip(self.names, case.inputs, strict=True))
        for name, x in (inputs | case.settings).items():
            if not isinstance(x, np.ndarray):
                yield f"{name} = {x!r}"
                continue
            if self.exercise.function is np.add and x.shape != case.g.shape:
                yield f"{name} is broadcast"
            yield f"{name} has {x.ndim} {'axis' if x.ndim == 1 else 'axes'}"
            yield from (f"{name}.shape[{k}] > 1" for k, n in enumerate(x.shape) if n > 1)
            if len(np.unique(x)) < x.size:
                yield f"{name} holds a number twice"
            if x.dtype.kind == "f" and (x == 0).any():
                yield f"{name} holds a 0"
            if (x < 0).any():
                yield f"{name} holds negative numbers"
        if (case.g < 0).any():
            yield "g holds negative numbers"

    def of_dtype(self, place: int) -> str:
        """What may be said of the dtype of the gradient of float32."""
        for case in sorted(self.survey, key=lambda case: sum(x.size for x in case.inputs)):
            narrow = Case(tuple(x.astype(np.float32) for x in case.inputs), case.settings, case.g.astype(np.float32))
            array = self.answer(narrow, place).array
            if array is not None and array.dtype != np.float32:
                name = self.names[place]
                return "\n    ".join(
                    [f"    A remark: of float32 the gradient of {name} is {array.dtype.name}.", *REMARK]
                )
        return ""

    # ---- mistakes ----------------------------------------------------------------------------------------------------

    def suspects(self, place: int, wrong: list[tuple[Case, Answer, Array]]) -> Iterator[Suspect]:
        """The mistakes that are known: first those of shape, then the exercise's own, then those possible anywhere."""
        name = self.names[place]

        def of_arrays(words: Callable[[Case, Array, Array], str]) -> Suspect:
            return lambda case, answer, right: "" if answer.array is None else words(case, answer.array, right)

        def of_gradient(words: str, gradient: Callable[[Case], Any]) -> Suspect:
            def suspect(case: Case, answer: Answer, right: Array) -> str:
                try:
                    made = np.asarray(gradient(case))
                except (ValueError, IndexError):  # shapes do not fit; then they do not in the answer either
                    return words if answer.array is None and answer.trouble else ""
                return words if answer.gives(made) else ""

            return suspect

        yield of_arrays(lambda case, yours, right: other_shape(name, yours, right))
        yield of_arrays(lambda case, yours, right: missing_sum(name, yours, right))
        yield of_arrays(lambda case, yours, right: not_handed_back(name, yours, right))
        for mistake in self.exercise.mistakes:
            if mistake.input == name:
                yield of_gradient(mistake.words, partial(_made, mistake))
        yield of_gradient("The sign is wrong.", lambda case: -self.right(case)[place])
        for other, its_name in enumerate(self.names):
            if other != place:
                words = f"This is the gradient of {its_name}: pullbacks stand in the order of the inputs."
                yield of_gradient(words, partial(self.right_one, other))
        ones = "g is ignored, as if it were 1 everywhere: a gradient is g times the slope."
        yield of_gradient(ones, lambda case: self.right(case, np.ones(case.g.shape))[place])
        yield of_gradient(f"g is handed on as it is: the slope in {name} is missing.", lambda case: case.g)
        yield of_gradient("Transposed: the rows are the columns.", lambda case: self.right(case)[place].mT)
        yield of_gradient("It is 0 everywhere.", lambda case: np.zeros(case.inputs[place].shape))
        if wrong:
            yield from self.factors(place, of_gradient, *wrong[0])

    def factors(
        self, place: int, of_gradient: Callable[..., Suspect], first: Case, answer: Answer, right: Array
    ) -> Iterator[Suspect]:
        """A number, or a length, that the right gradient is multiplied with."""
        if answer.array is None or answer.array.shape != right.shape or not right.any():
            return
        top = np.unravel_index(np.argmax(np.abs(right)), right.shape)
        factor = float(answer.array[top]) / float(right[top])
        for sign in (1, -1):
            for length, of in self.lengths(first).items():
                for words, power in (("n", 1.0), ("1/n", -1.0), ("√n", 0.5), ("1/√n", -0.5)):
                    if of(first) > 1 and np.isclose(factor, sign * of(first) ** power):
                        text = f"A wrong factor: yours is {'−' * (sign < 0)}{words} times the right one, n = {length}."
                        yield of_gradient(
                            text,
                            lambda case, sign=sign, of=of, power=power: (
                                sign * of(case) ** power * self.right(case)[place]
                            ),
                        )
        text = f"A wrong factor: yours is {factor:.10g} times the right one."
        yield of_gradient(text, lambda case: factor * self.right(case)[place])

    def lengths(self, case: Case) -> dict[str, Callable[[Case], int]]:
        """The lengths and sizes that a factor may come from, by what they are called."""
        found: dict[str, Callable[[Case], int]] = {}
        if "axis" in case.settings:
            found["x.shape[axis]"] = lambda case: case.inputs[0].shape[case.settings["axis"]]
        for i, name in enumerate(self.names):
            found[f"{name}.size"] = lambda case, i=i: case.inputs[i].size  # type: ignore[misc]
            for k in range(case.inputs[i].ndim):
                found[f"{name}.shape[{k}]"] = lambda case, i=i, k=k: (*case.inputs[i].shape, 1, 1)[k]  # type: ignore[misc]
            found[f"g.size / {name}.size"] = lambda case, i=i: case.g.size / case.inputs[i].size  # type: ignore[misc]
        found["g.size"] = lambda case: case.g.size
        return found


def _made(mistake: Mistake, case: Case) -> Any:
    return mistake.gradient(case.g, *case.inputs, **case.settings)


def missing_sum(name: str, yours: Array, right: Array) -> str:
    """Whether the right gradient is this one, summed over axes along which the input was broadcast."""
    lead = yours.ndim - right.ndim
    if lead < 0:
        return ""
    axes = [k for k in range(yours.ndim) if yours.shape[k] > (1 if k < lead else right.shape[k - lead]) or k < lead]
    if not axes or any(k >= lead and right.shape[k - lead] != 1 for k in axes):
        return ""
    total = yours.sum(tuple(axes), keepdims=True)
    if total.size != right.size or not same(total.reshape(right.shape), right):
        return ""
    which = f"axis {axes[0]}" if len(axes) == 1 else f"the axes {' and '.join(map(str, axes))}"
    return f"Missing: the sum over {which}, along which {name} was broadcast."


def other_shape(name: str, yours: Array, right: Array) -> str:
    """Whether only the shape is another one."""
    if yours.shape == right.shape or yours.size != right.size or not same(yours.reshape(right.shape), right):
        return ""
    said = f"the shape is {yours.shape}, and {name} has {right.shape}"
    cure = "keepdims=True" if yours.ndim < right.ndim else "without keepdims"
    return f"The numbers are right, but {said}: {cure}, or np.reshape."


def not_handed_back(name: str, yours: Array, right: Array) -> str:
    """Whether the right gradient is this one, stretched."""
    if yours.shape == right.shape:
        return ""
    for full in (yours, *(np.expand_dims(yours, k) for k in range(right.ndim) if yours.ndim == right.ndim - 1)):
        with contextlib.suppress(ValueError):
            if same(np.broadcast_to(full, right.shape), right):
                said = f"the shape is {yours.shape}, and {name} has {right.shape}"
                return f"Not handed back to each: {said}. Put the axis back (np.expand_dims), then np.broadcast_to."
    return ""


@cache
def strategy(exercise: Exercise) -> Any:
    """The inputs of an exercise, for Hypothesis."""
    from hypothesis import strategies as st

    @st.composite
    def build(draw: Any) -> Case:
        inputs, settings = exercise.draw(Draw(draw))
        value = np.asarray(exercise.function(*inputs, **settings))
        return Case(inputs, settings, Draw(draw).upstream(value.shape))

    return build()


def smallest(exercise: Exercise, condition: Callable[[Case], bool]) -> Case | None:
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
        return cast(Case, hypothesis.find(strategy(exercise), condition, settings=settings, random=Random(0)))
    except (hypothesis.errors.NoSuchExample, hypothesis.errors.Flaky):  # flaky: another answer each time
        return None


@cache
def surveyed(exercise: Exercise) -> tuple[Case, ...]:
    """The inputs that every answer to an exercise is tried on."""
    cases: list[Case] = []
    smallest(exercise, lambda case: bool(cases.append(case)))  # type: ignore[func-returns-value]
    return tuple(cases)


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
    if x.dtype.kind == "f":
        x = np.round(x, digits) + 0.0  # no −0
    return " ".join(np.array2string(x, precision=digits, max_line_width=10_000, suppress_small=True).split())


def beside(yours: Array, right: Array) -> list[str]:
    """Both on a line, with as many digits as it takes to tell them apart."""
    digits = 4 if plain(yours) != plain(right) else 12
    shapes = [f"shape {x.shape}  " if yours.shape != right.shape else "" for x in (yours, right)]
    return [f"yours   {shapes[0]}{plain(yours, digits)}", f"right   {shapes[1]}{plain(right, digits)}"]


@contextlib.contextmanager
def _hypothesis_elsewhere() -> Iterator[None]:
    """Hypothesis with its folder in one that goes away again."""
    from hypothesis import configuration

    with TemporaryDirectory() as folder:
        configuration.set_hypothesis_home_dir(folder)
        try:
            yield
        finally:
            configuration.set_hypothesis_home_dir(None)
