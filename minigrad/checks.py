"""What options and sizes must be, each in one place: the message names the function, the argument and what was met.

A TypeError for what is of the wrong kind, a ValueError for what lies out of bounds. True is no number, 1 is no flag,
and NaN lies in no interval. Arrays are checked in functional/validation.py.
"""

from __future__ import annotations

import math
import reprlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.lib import array_utils

LARGEST = sys.float_info.max  # the bounds of what is finite
SMALLEST = math.ulp(0.0)  # of the numbers above 0
BELOW_ONE = math.nextafter(1.0, 0.0)
MOST = (1 << 31) - 1  # a larger size of a layer is a mistake, and would ask for memory that no machine has
MOST_NUMBERS = 1 << 36  # in one array, likewise

_WHOLE = (int, np.integer)


def shown(value: object) -> str:
    """A value for a message, in few letters whatever it is."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and not isinstance(value, np.generic):
        return f"{type(value).__name__} of shape {shape}"
    return reprlib.repr(value)


def number(
    name: str, low: float = -LARGEST, high: float = LARGEST, words: str = " must be a finite number", /, **numbers: Any
) -> None:
    """Refuse what is no number from low to high."""
    for what, n in numbers.items():
        n = n.item() if isinstance(n, np.number) else n  # a float32 would be compared in float32
        if type(n) is not float and (not isinstance(n, (float, int)) or type(n) is bool):
            cure = ": use .item()" if hasattr(n, "item") else ""
            raise TypeError(f"{name}: {what}{words}, not {shown(n)}{cure}")
        if not low <= n <= high:
            raise ValueError(f"{name}: {what}{words}, not {shown(n)}")


def positive_number(name: str, /, **numbers: Any) -> None:
    for n in numbers.values():
        if type(n) is not float or not 0 < n <= LARGEST:  # what is right costs a third of a call of number
            number(name, SMALLEST, LARGEST, " must be a positive number", **numbers)


def not_negative(name: str, /, **numbers: Any) -> None:
    number(name, 0.0, LARGEST, " must be a number from 0 on", **numbers)


def below_one(name: str, /, **numbers: Any) -> None:
    number(name, 0.0, BELOW_ONE, " must be from 0 to below 1", **numbers)


def probability(name: str, /, **numbers: Any) -> None:
    for n in numbers.values():
        if type(n) is not float or not 0 <= n <= 1:
            number(name, 0.0, 1.0, ": a probability lies between 0 and 1", **numbers)


def whole(name: str, least: float = 0, most: float = math.inf, /, **counts: Any) -> None:
    """Refuse what is no whole number from least to most."""
    for what, n in counts.items():
        if type(n) is not int and (not isinstance(n, _WHOLE) or type(n) is bool):
            raise TypeError(f"{name}: {what} must be a whole number, not {shown(n)}")
        if not least <= n <= most:
            bound = f"at least {least}" if n < least else f"at most {most}"
            raise ValueError(f"{name}: {what} must be {bound}, not {shown(n)}")


def positive(name: str, /, **sizes: Any) -> None:
    """Refuse sizes of a layer that are no whole numbers from 1 on, or absurdly large."""
    whole(name, 1, MOST, **sizes)


def flag(name: str, /, **flags: Any) -> None:
    """Refuse what is neither True nor False: `bias="no"` would count as True, and so would a generator in its place."""
    for what, f in flags.items():
        if f is not True and f is not False and not isinstance(f, np.bool_):
            raise TypeError(f"{name}: {what} must be True or False, not {shown(f)}")


def one_of(name: str, options: Any, /, **choices: Any) -> None:
    """Refuse what is none of these texts."""
    for what, choice in choices.items():
        if not isinstance(choice, str) or choice not in options:
            *most, last = map(repr, options)
            raise ValueError(f"{name}: {what} must be {', '.join(most)} or {last}, not {shown(choice)}")


def generator(name: str, rng: Any) -> None:
    """Refuse what is neither None nor a generator: `rng or ...` would pass over a seed of 0."""
    if rng is not None and not isinstance(rng, np.random.Generator):
        raise TypeError(
            f"{name}: rng must be a numpy.random.Generator, not {shown(rng)}: use np.random.default_rng(seed)"
        )


def function(name: str, /, **functions: Callable[..., Any]) -> None:
    """Refuse what cannot be called."""
    for what, f in functions.items():
        if not callable(f):
            raise TypeError(f"{name}: {what} must be a function, not {shown(f)}")


def shape(name: str, given: Any) -> tuple[int, ...]:
    """A shape, given as a number or as a tuple or list of them, as a tuple."""
    sides = tuple(given) if isinstance(given, tuple | list) else (given,)
    whole(name, **{f"shape[{i}]": n for i, n in enumerate(sides)})
    if math.prod(sides) > MOST_NUMBERS:
        raise ValueError(f"{name}: shape {shown(sides)} has more numbers than memory holds")
    return sides


def integer(name: str, what: str, n: Any, most: int = (1 << 63) - 1) -> int:
    """n as a Python number, if it is a whole one of at most this size."""
    whole(name, -most - 1, most, **{what: n})
    return int(n)


def normalize_axis_tuple(axis: Any, ndim: int) -> tuple[int, ...]:
    """NumPy's, which takes sets and generators too; a ValueError also for what no C integer holds."""
    if not (isinstance(axis, tuple | list) or hasattr(axis, "__index__") or isinstance(axis, Sequence)):
        raise TypeError(f"axis must be a whole number or a tuple of them, not {shown(axis)}")
    try:
        return array_utils.normalize_axis_tuple(axis, ndim)
    except OverflowError:
        raise ValueError(f"axis {shown(axis)} is out of bounds for array of dimension {ndim}") from None


def normalize_axis_index(axis: Any, ndim: int) -> int:
    """NumPy's, likewise, and True is no axis."""
    try:
        if isinstance(axis, bool | np.bool_):
            raise TypeError
        return array_utils.normalize_axis_index(axis, ndim)
    except TypeError:
        raise TypeError(f"axis must be a whole number, not {shown(axis)}") from None
    except OverflowError:
        raise ValueError(f"axis {shown(axis)} is out of bounds for array of dimension {ndim}") from None
