"""The exercises, in an order where each brings one new thing; the right gradients are the library's own.

An exercise draws its inputs, and names the mistakes that are its own: a wrong pullback in a line, beside the words for
it. Mistakes that are possible everywhere stand in grading.py.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any, NamedTuple, cast

import numpy as np

from minigrad import functional as F
from minigrad import strategies
from minigrad.autograd import Rule
from minigrad.tensor import Array

NUMBERS = (1.0, 2.0, 3.0, -1.0, 0.5, -2.0, 0.0, -0.5, 1.5)  # simple ones first, as failing inputs shrink towards them
UPSTREAM = (0.0, 1.0, 2.0, -1.0, 0.5)  # 0 first: what is left of a gradient is what the mistake is about

Inputs = tuple[tuple[Array, ...], dict[str, Any]]  # those before the slash, and the settings after it


class Draw:
    """What exercises draw their inputs with."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self.draw = draw

    def one_of(self, choices: Sequence[Any]) -> Any:
        from hypothesis import strategies as st

        return self.draw(st.sampled_from(choices))

    def side(self, low: int = 1, high: int = 3) -> int:
        return cast(int, self.one_of(range(low, high + 1)))

    def shape(self, low: int, high: int) -> tuple[int, ...]:
        """From low to high axes, of 1 to 3 elements."""
        return cast(tuple[int, ...], self.draw(strategies.shapes(low, high, 1, 3)))

    def array(self, *shape: int, of: Sequence[float] = NUMBERS) -> Array:
        return np.array([self.one_of(of) for _ in range(int(np.prod(shape)))], np.float64).reshape(shape)

    def upstream(self, shape: tuple[int, ...]) -> Array:
        return self.array(*shape, of=UPSTREAM)


class Mistake(NamedTuple):
    """A wrong gradient of one input, of (g, *inputs, **settings), and what to say of it."""

    input: str
    words: str
    gradient: Callable[..., Any]


@dataclass(frozen=True)
class Exercise:
    """name: of its sheet and its rule. function: the library's own, whose gradients are right."""

    name: str
    function: Callable[..., Any]
    draw: Callable[[Draw], Inputs]
    mistakes: tuple[Mistake, ...] = ()

    @cached_property
    def sheet(self) -> ModuleType:
        return importlib.import_module(f"minigrad.explain.exercises.sheets.{self.name}")

    @property
    def rule(self) -> Rule:
        return cast(Rule, getattr(self.sheet, self.name))

    @property
    def teaches(self) -> str:
        return (self.sheet.__doc__ or "").partition("\n")[0]


def _two_alike(draw: Draw) -> Inputs:
    shape = draw.shape(1, 2)
    return (draw.array(*shape), draw.array(*shape)), {}


EXERCISES = (
    Exercise(
        "multiply",
        np.multiply,
        _two_alike,
        (
            Mistake(
                "x", "x itself is a factor too many: the slope of x · y in x is y alone.", lambda g, x, y: g * x * y
            ),
            Mistake(
                "y", "y itself is a factor too many: the slope of x · y in y is x alone.", lambda g, x, y: g * x * y
            ),
        ),
    ),
)
