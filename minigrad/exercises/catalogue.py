"""The exercises, in an order where each brings one new thing; the right gradients are the library's own.

An exercise draws its inputs, and names the mistakes that are its own: a wrong pullback in a line, beside the words for
it. Mistakes that are possible everywhere stand in grading.py.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from types import ModuleType
from typing import Any, NamedTuple, cast

import numpy as np

from minigrad import functional as F
from minigrad.autograd import grad
from minigrad.rule import Rule
from minigrad.tensor import Array, Tensor

NUMBERS = (1.0, 2.0, 3.0, -1.0, 0.5, -2.0, 0.0, -0.5, 1.5)  # simple ones first, as failing inputs shrink towards them
UPSTREAM = (0.0, 1.0, 2.0, -1.0, 0.5)  # 0 first: what is left of a gradient is what the mistake is about
EPS = 1e-5  # of the norms

Inputs = tuple[tuple[Array, ...], dict[str, Any]]  # those before the slash, and the settings after it


class Draw:
    """What exercises draw their inputs with."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self.draw = draw

    def one_of(self, choices: Sequence[Any]) -> Any:
        return self.draw(_sampled(tuple(choices)))

    def need(self, condition: Any) -> None:
        """Draw again unless this holds."""
        from hypothesis import assume

        assume(bool(condition))

    def side(self, low: int = 1, high: int = 3) -> int:
        return cast(int, self.one_of(range(low, high + 1)))

    def shape(self, low: int, high: int) -> tuple[int, ...]:
        """From low to high axes, of 1 to 3 elements."""
        return tuple(self.side() for _ in range(self.one_of(range(low, high + 1))))

    def array(self, *shape: int, of: Sequence[float] = NUMBERS) -> Array:
        return np.array([self.one_of(of) for _ in range(int(np.prod(shape)))], np.float64).reshape(shape)

    def upstream(self, shape: tuple[int, ...]) -> Array:
        return self.array(*shape, of=UPSTREAM)


@cache
def _sampled(choices: tuple[Any, ...]) -> Any:
    """One strategy for all draws: to make one takes longer than to draw from it."""
    from hypothesis import strategies as st

    return st.sampled_from(choices)


class Mistake(NamedTuple):
    """A wrong gradient of one input, of (g, *inputs, **settings), and what to say of it."""

    input: str
    words: str
    gradient: Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Exercise:
    """name: of its sheet and its rule. function: the library's own, whose gradients are right."""

    name: str
    function: Callable[..., Any]
    draw: Callable[[Draw], Inputs]
    mistakes: tuple[Mistake, ...] = ()

    @cached_property
    def sheet(self) -> ModuleType:
        return importlib.import_module(f"minigrad.exercises.sheets.{self.name}")

    @property
    def rule(self) -> Rule:
        return cast(Rule, getattr(self.sheet, self.name))

    @property
    def teaches(self) -> str:
        return (self.sheet.__doc__ or "").partition("\n")[0]


def of_function(words: str, function: Callable[..., Any]) -> Mistake:
    """The gradient of another function in x, the first input, given for that of the right one."""

    def gradient(g: Array, *inputs: Array, **settings: Any) -> Array:
        leaves = [Tensor(x, requires_grad=True) for x in inputs]
        return cast(Array, grad(function(*leaves, **settings), leaves[0], Tensor(g))[0].data)

    return Mistake("x", words, gradient)


# ---- inputs ----------------------------------------------------------------------------------------------------------


def _one(draw: Draw) -> Inputs:
    return (draw.array(*draw.shape(1, 2)),), {}


def _two_alike(draw: Draw) -> Inputs:
    shape = draw.shape(1, 2)
    return (draw.array(*shape), draw.array(*shape)), {}


def _two_to_divide(draw: Draw) -> Inputs:
    shape = draw.shape(1, 2)
    return (draw.array(*shape), draw.array(*shape, of=[n for n in NUMBERS if n])), {}


def _two_broadcast(draw: Draw) -> Inputs:
    shape = draw.shape(0, 2)
    other = tuple(draw.one_of((n, 1)) for n in shape)[draw.one_of(range(len(shape) + 1)) :]
    x, y = draw.array(*shape), draw.array(*other)
    return ((x, y) if draw.one_of((True, False)) else (y, x)), {}


def _matrix_and_axis(draw: Draw) -> Inputs:
    shape = draw.shape(1, 2)
    return (draw.array(*shape),), {"axis": draw.one_of(range(len(shape)))}


def _two_matrices(draw: Draw) -> Inputs:
    n, k, m = draw.side(), draw.side(), draw.side()
    return (draw.array(n, k), draw.array(k, m)), {}


def _rows_picked(draw: Draw) -> Inputs:
    words, features, n = draw.side(), draw.side(1, 2), draw.side(1, 4)
    ids = np.array([draw.one_of(range(words)) for _ in range(n)])
    return (draw.array(words, features),), {"ids": ids}


def _logits(draw: Draw) -> Inputs:
    rows, classes = draw.side(), draw.side(2, 3)
    return (draw.array(rows, classes),), {"target": np.array([draw.one_of(range(classes)) for _ in range(rows)])}


def _to_normalise(axis: int) -> Callable[[Draw], Inputs]:
    """Inputs of a norm along this axis, with three or more there: of two the one is always 1 and the other −1."""

    def drawn(draw: Draw) -> Inputs:
        shape = [draw.side(2), draw.side(2)]
        shape[axis] = draw.side(3, 4)
        x = draw.array(*shape)
        draw.need(np.ptp(x, 0).all() and np.ptp(x, 1).all())  # equals have no spread
        return (x, draw.array(shape[1]), draw.array(shape[1])), {}

    return drawn


def _queries_keys_values(draw: Draw) -> Inputs:
    queries, keys, e, d = draw.side(), draw.side(), draw.side(), draw.side()
    return (draw.array(queries, e), draw.array(keys, e), draw.array(keys, d)), {}


# ---- mistakes --------------------------------------------------------------------------------------------------------


def _first(g: Array, shape: tuple[int, ...]) -> Array:
    """The entries of g at the first place along each axis that was stretched."""
    lead = g.ndim - len(shape)
    return g[(0,) * lead + tuple(slice(n) for n in shape)]


def _back(g: Array, x: Array, axis: int) -> Array:
    """g, stretched over the axis that was folded."""
    return np.broadcast_to(np.expand_dims(g, axis), x.shape)


_of_folding = (
    Mistake(
        "x",
        "Stretched along the wrong axis: put the one that was folded back first, np.expand_dims(g, axis).",
        lambda g, x, axis: np.broadcast_to(g, x.shape) if x.ndim > 1 else np.full(x.shape, g),
    ),
    Mistake(
        "x",
        "All of g is summed: each entry of x moves one entry of y only.",
        lambda g, x, axis: np.full(x.shape, g.sum()),
    ),
)


def _largest(x: Array, axis: int) -> Array:
    return cast(Array, x == x.max(axis, keepdims=True))


def _foremost(x: Array, axis: int) -> Array:
    hit = np.zeros(x.shape)
    np.put_along_axis(hit, np.expand_dims(x.argmax(axis), axis), 1.0, axis)
    return hit


def _right_share(x: Array, axis: int) -> Array:
    return cast(Array, _largest(x, axis) / _largest(x, axis).sum(axis, keepdims=True))


def _written(g: Array, weight: Array, ids: Array) -> Array:
    """The last one for each row lasts."""
    d = np.zeros(weight.shape)
    d[ids] = g
    return d


def _added(g: Array, weight: Array, ids: Array) -> Array:
    d = np.zeros(weight.shape)
    np.add.at(d, ids, g)
    return d


def _p(x: Array) -> Array:
    return cast(Array, F.softmax(x))


def _hot(x: Array, target: Array) -> Array:
    """1 at each row's target."""
    return np.eye(x.shape[1])[target]


def _norm(axis: int, *fixed: str) -> Callable[..., Any]:
    """The normalisation of these exercises, with some of what depends on x taken for a constant."""

    def function(x: Any, weight: Any, bias: Any) -> Any:
        mean = np.mean(x, axis=axis, keepdims=True)
        var = np.mean((x - mean) ** 2, axis=axis, keepdims=True)
        mean = mean.detach() if "mean" in fixed else mean
        var = var.detach() if "var" in fixed else var
        return (x - mean) / np.sqrt(var + EPS) * weight + bias

    return function


def _normalised(x: Array, axis: int) -> Array:
    return cast(Array, (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + EPS))


def _folded(fold: Callable[..., Array], along: int, h: Array, x: Array, axis: int) -> Array:
    """The right formula, with this fold along an axis in place of the mean."""
    n, std = _normalised(x, axis), np.sqrt(x.var(axis, keepdims=True) + EPS)
    return cast(Array, (h - fold(h, axis=along, keepdims=True) - n * fold(h * n, axis=along, keepdims=True)) / std)


def _of_norm(axis: int) -> tuple[Mistake, ...]:
    row = "row" if axis else "column"
    return (
        of_function(
            f"Missing: the mean depends on x. Each entry moves the mean of its {row}, and so all of the {row}.",
            _norm(axis, "mean"),
        ),
        of_function(
            f"Missing: the variance depends on x. Each entry moves the standard deviation of its {row}.",
            _norm(axis, "var"),
        ),
        of_function(
            "Missing: the mean and the variance depend on x. Only the first of the three doors is there.",
            _norm(axis, "mean", "var"),
        ),
        of_function(
            "Missing: the weight. What comes back to n is g · weight.",
            lambda x, weight, bias: _norm(axis)(x, np.ones(weight.shape), bias),
        ),
        Mistake(
            "x",
            f"sum where mean belongs: each entry moves mean and variance of its {row} by a share 1/n.",
            lambda g, x, weight, bias: _folded(np.sum, axis, g * weight, x, axis),
        ),
        Mistake(
            "x",
            f"The means run along the wrong axis: x was centred and scaled along axis {axis}, each {row} for itself.",
            lambda g, x, weight, bias: _folded(np.mean, -1 - axis, g * weight, x, axis),
        ),
        Mistake(
            "weight",
            "x stands where the normalised x belongs, n.",
            lambda g, x, weight, bias: np.sum(g * x, axis=0),
        ),
        Mistake(
            "weight",
            "y stands where n belongs: y is n · weight + bias.",
            lambda g, x, weight, bias: np.sum(g * (_normalised(x, axis) * weight + bias), axis=0),
        ),
        Mistake(
            "bias",
            "The weight is a factor too many: bias is added after it.",
            lambda g, x, weight, bias: np.sum(g * weight, axis=0),
        ),
    )


def _weights(q: Array, k: Array) -> Array:
    return cast(Array, F.softmax(q @ k.mT * q.shape[-1] ** -0.5))


def _scores(g: Array, q: Array, k: Array, v: Array) -> Array:
    """The right gradient of the scores, before the scale."""
    p = _weights(q, k)
    h = g @ v.mT
    return cast(Array, p * (h - np.sum(h * p, axis=-1, keepdims=True)))


def _through_scores(words: str, scores: Callable[..., Any]) -> tuple[Mistake, ...]:
    """A mistake on the way to the scores, which spoils q and k alike."""
    return (
        Mistake("q", words, lambda g, q, k, v: scores(g, q, k, v) @ k),
        Mistake("k", words, lambda g, q, k, v: scores(g, q, k, v).mT @ q),
    )


def _scale(q: Array) -> float:
    return float(q.shape[-1] ** -0.5)


EXERCISES = (
    Exercise(
        "multiply",
        np.multiply,
        _two_alike,
        (
            Mistake("x", "x is a factor too many: x · y grows with x at the rate y.", lambda g, x, y: g * x * y),
            Mistake("y", "y is a factor too many: x · y grows with y at the rate x.", lambda g, x, y: g * x * y),
            Mistake("x", "y is added, where g · y belongs.", lambda g, x, y: g + y),
            Mistake("y", "x is added, where g · x belongs.", lambda g, x, y: g + x),
        ),
    ),
    Exercise(
        "tanh",
        np.tanh,
        _one,
        (
            Mistake("x", "x stands where y belongs: 1 − x² for 1 − y².", lambda g, x: g * (1 - x**2)),
            Mistake("x", "The square is missing: 1 − y for 1 − y².", lambda g, x: g * (1 - np.tanh(x))),
            Mistake("x", "Not subtracted from 1: y² for 1 − y².", lambda g, x: g * np.tanh(x) ** 2),
            Mistake(
                "x", "tanh of y where y belongs: y is tanh x already.", lambda g, x: g * (1 - np.tanh(np.tanh(x)) ** 2)
            ),
            Mistake("x", "The square is missing: 1 / cosh x for 1 / cosh² x.", lambda g, x: g / np.cosh(x)),
            Mistake("x", "y (1 − y) is the slope of a sigmoid.", lambda g, x: g * np.tanh(x) * (1 - np.tanh(x))),
        ),
    ),
    Exercise(
        "divide",
        np.divide,
        _two_to_divide,
        (
            Mistake("x", "Multiplied by y, where it is divided.", lambda g, x, y: g * y),
            Mistake("y", "The square is missing: −x / y for −x / y².", lambda g, x, y: -g * x / y),
            Mistake("y", "The square and the sign are missing: x / y for −x / y².", lambda g, x, y: g * x / y),
            Mistake("y", "x is missing: −1 / y² for −x / y².", lambda g, x, y: -g / y**2),
            Mistake("y", "This is the slope of x · y in y.", lambda g, x, y: g * x),
        ),
    ),
    Exercise(
        "relu",
        F.relu,
        _one,
        (
            Mistake("x", "At x = 0 the gate is open: x >= 0 for x > 0.", lambda g, x: g * (x >= 0)),
            Mistake("x", "At x = 0 yours is ½ of g: 0 is asked for.", lambda g, x: g * np.heaviside(x, 0.5)),
            Mistake("x", "relu was applied to g: it is x that opens the gate, not g.", lambda g, x: np.maximum(g, 0)),
            Mistake("x", "y stands where its slope belongs: 1 where x > 0.", lambda g, x: g * np.maximum(x, 0)),
            Mistake("x", "The gate is open where it should be shut: x < 0 for x > 0.", lambda g, x: g * (x < 0)),
            Mistake("x", "−1 comes back where x < 0: that is the slope of |x|.", lambda g, x: g * np.sign(x)),
        ),
    ),
    Exercise(
        "add",
        np.add,
        _two_broadcast,
        (
            Mistake(
                "x", "Only the first of the places it was stretched to is counted.", lambda g, x, y: _first(g, x.shape)
            ),
            Mistake(
                "y", "Only the first of the places it was stretched to is counted.", lambda g, x, y: _first(g, y.shape)
            ),
            Mistake(
                "x", "All of g is summed, also along axes that x has itself.", lambda g, x, y: np.full(x.shape, g.sum())
            ),
            Mistake(
                "y", "All of g is summed, also along axes that y has itself.", lambda g, x, y: np.full(y.shape, g.sum())
            ),
            Mistake("x", "y is a factor: that is multiply.", lambda g, x, y: g * y),
            Mistake("y", "x is a factor: that is multiply.", lambda g, x, y: g * x),
        ),
    ),
    Exercise(
        "sum",
        np.sum,
        _matrix_and_axis,
        (
            *_of_folding,
            Mistake(
                "x",
                "Divided by n: mean where sum belongs.",
                lambda g, x, axis: _back(g, x, axis) / x.shape[axis],
            ),
            Mistake(
                "x",
                "x is a factor: but the slope of a sum in each of its terms is 1.",
                lambda g, x, axis: _back(g, x, axis) * x,
            ),
        ),
    ),
    Exercise(
        "mean",
        np.mean,
        _matrix_and_axis,
        (
            *_of_folding,
            Mistake(
                "x",
                "Divided by x.size: but each mean is over the length of the axis only.",
                lambda g, x, axis: _back(g, x, axis) / x.size,
            ),
            Mistake(
                "x",
                "Divided by the length of the other axis.",
                lambda g, x, axis: _back(g, x, axis) / x.shape[axis - 1],
            ),
            Mistake("x", "The factor 1/n is missing: sum where mean belongs.", lambda g, x, axis: _back(g, x, axis)),
        ),
    ),
    Exercise(
        "matmul",
        np.matmul,
        _two_matrices,
        (
            Mistake("x", "y is not transposed: g @ y for g @ y.mT.", lambda g, x, y: g @ y),
            Mistake("y", "x is not transposed: x @ g for x.mT @ g.", lambda g, x, y: x @ g),
            Mistake("x", "The factors are the wrong way round: y.mT @ g for g @ y.mT.", lambda g, x, y: y.mT @ g),
            Mistake("y", "The factors are the wrong way round: g @ x.mT for x.mT @ g.", lambda g, x, y: g @ x.mT),
            Mistake(
                "x",
                "The factors are the wrong way round, and y is not transposed: y @ g for g @ y.mT.",
                lambda g, x, y: y @ g,
            ),
            Mistake(
                "y",
                "The factors are the wrong way round, and x is not transposed: g @ x for x.mT @ g.",
                lambda g, x, y: g @ x,
            ),
            Mistake("x", "Multiplied element by element: it is a matrix product.", lambda g, x, y: g * y),
            Mistake("y", "Multiplied element by element: it is a matrix product.", lambda g, x, y: g * x),
        ),
    ),
    Exercise(
        "max",
        np.max,
        _matrix_and_axis,
        (
            Mistake(
                "x",
                "Each of several equals gets all of g: they share it, 1/k each.",
                lambda g, x, axis: _back(g, x, axis) * _largest(x, axis),
            ),
            Mistake(
                "x",
                "The first of several equals gets all of g: they share it, 1/k each.",
                lambda g, x, axis: _back(g, x, axis) * _foremost(x, axis),
            ),
            Mistake(
                "x", "Every element gets g: only the largest moves the maximum.", lambda g, x, axis: _back(g, x, axis)
            ),
            Mistake(
                "x",
                "The largest of the whole array gets g: each row or column has its own.",
                lambda g, x, axis: _back(g, x, axis) * (x == x.max()),
            ),
            Mistake(
                "x",
                "y is a factor: but the slope is 1 at the largest.",
                lambda g, x, axis: _back(g, x, axis) * _right_share(x, axis) * x,
            ),
        ),
    ),
    Exercise(
        "embedding",
        lambda weight, ids: F.embedding(ids, weight),
        _rows_picked,
        (
            Mistake(
                "weight",
                "Duplicates are not accumulated: a row that was picked twice gets one of its gradients only.",
                lambda g, weight, ids: _written(g, weight, ids),
            ),
            Mistake(
                "weight",
                "g is handed on as it is: g has a row for each id, weight one for each word.",
                lambda g, weight, ids: g,
            ),
            Mistake(
                "weight",
                "A row that was picked several times gets the mean of its gradients: they add up.",
                lambda g, weight, ids: (
                    _added(g, weight, ids) / np.maximum(np.bincount(ids, minlength=len(weight)), 1)[:, None]
                ),
            ),
            Mistake(
                "weight",
                "g is picked from, where its rows are to be put back: at row ids[t] of weight belongs g[t].",
                lambda g, weight, ids: g[ids],
            ),
        ),
    ),
    Exercise(
        "softmax",
        F.softmax,
        _one,
        (
            Mistake(
                "x",
                "Only pᵢ (1 − pᵢ) is there: each output depends on the other inputs of its row, too.",
                lambda g, x: g * _p(x) * (1 - _p(x)),
            ),
            Mistake(
                "x",
                "Missing: the denominator depends on x. Each entry moves the sum that its row is divided by.",
                lambda g, x: g * _p(x),
            ),
            Mistake(
                "x", "p is missing in the sum: Σ g for Σ g p.", lambda g, x: _p(x) * (g - g.sum(-1, keepdims=True))
            ),
            Mistake(
                "x", "mean where sum belongs: Σ g p.", lambda g, x: _p(x) * (g - (g * _p(x)).mean(-1, keepdims=True))
            ),
            Mistake(
                "x",
                "The sum runs over all of the array: each row has its own (axis=-1, keepdims=True).",
                lambda g, x: _p(x) * (g - (g * _p(x)).sum()),
            ),
            Mistake(
                "x",
                "The sum runs along the first axis: rows are along the last (axis=-1, keepdims=True).",
                lambda g, x: _p(x) * (g - (g * _p(x)).sum(0)),
            ),
            Mistake(
                "x",
                "The factor p in front is missing: p (g − Σ g p).",
                lambda g, x: g - (g * _p(x)).sum(-1, keepdims=True),
            ),
            of_function("This is the gradient of ln p.", F.log_softmax),
        ),
    ),
    Exercise(
        "cross_entropy",
        F.cross_entropy,
        _logits,
        (
            Mistake(
                "x",
                "The factor 1/n is missing, n = len(x): sum where mean belongs.",
                lambda g, x, target: g * (_p(x) - _hot(x, target)),
            ),
            Mistake(
                "x",
                "Divided by x.size: the mean is over the rows, len(x).",
                lambda g, x, target: g * (_p(x) - _hot(x, target)) / x.size,
            ),
            Mistake(
                "x", "Missing: the target's own term, −1 at x[t, target[t]].", lambda g, x, target: g * _p(x) / len(x)
            ),
            Mistake(
                "x",
                "Missing: ln Σ exp xⱼ depends on x. Only the target's own term is there.",
                lambda g, x, target: -g * _hot(x, target) / len(x),
            ),
            Mistake(
                "x",
                "This is the gradient of p, −1/p at the target: it has yet to go through the softmax.",
                lambda g, x, target: -g * _hot(x, target) / _p(x) / len(x),
            ),
        ),
    ),
    Exercise(
        "layer_norm",
        lambda x, weight, bias: F.layer_norm(x, x.shape[-1], weight, bias, EPS),
        _to_normalise(-1),
        _of_norm(-1),
    ),
    Exercise(
        "batch_norm",
        lambda x, weight, bias: F.batch_norm(x, None, None, weight, bias, True, eps=EPS),
        _to_normalise(0),
        _of_norm(0),
    ),
    Exercise(
        "attention",
        F.scaled_dot_product_attention,
        _queries_keys_values,
        (
            Mistake("q", "The scale 1/√E is missing.", lambda g, q, k, v: _scores(g, q, k, v) @ k),
            Mistake("k", "The scale 1/√E is missing.", lambda g, q, k, v: _scores(g, q, k, v).mT @ q),
            Mistake(
                "q",
                "The scale is there twice: 1/E for 1/√E.",
                lambda g, q, k, v: _scores(g, q, k, v) @ k * _scale(q) ** 2,
            ),
            Mistake(
                "k",
                "The scale is there twice: 1/E for 1/√E.",
                lambda g, q, k, v: _scores(g, q, k, v).mT @ q * _scale(q) ** 2,
            ),
            Mistake(
                "k",
                "The scores' gradient is not transposed: k belongs to its columns.",
                lambda g, q, k, v: _scores(g, q, k, v) @ q * _scale(q),
            ),
            Mistake(
                "q",
                "The scores' gradient is transposed: q belongs to its rows.",
                lambda g, q, k, v: _scores(g, q, k, v).mT @ k * _scale(q),
            ),
            Mistake("v", "p is not transposed: p @ g for p.mT @ g.", lambda g, q, k, v: _weights(q, k) @ g),
            Mistake(
                "v",
                "The scores stand where their softmax belongs, p.",
                lambda g, q, k, v: (q @ k.mT * _scale(q)).mT @ g,
            ),
            *_through_scores(
                "Missing: the softmax's denominator depends on the scores. Only g vᵀ · p is there.",
                lambda g, q, k, v: g @ v.mT * _weights(q, k) * _scale(q),
            ),
            *_through_scores(
                "The softmax is skipped: g vᵀ is what comes back to p, not yet to the scores.",
                lambda g, q, k, v: g @ v.mT * _scale(q),
            ),
            *_through_scores(
                "Only pᵢ (1 − pᵢ) of the softmax is there: each weight depends on all scores of its row.",
                lambda g, q, k, v: g @ v.mT * _weights(q, k) * (1 - _weights(q, k)) * _scale(q),
            ),
        ),
    ),
)
