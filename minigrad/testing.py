"""Proofs of gradients, for users' own rules, functions and layers as for ours; `strategies` for Hypothesis tests.

A gradient is compared element by element with differences of the function itself, in float64, under a random
cotangent: the sum of a softmax has the gradient 0, so checking that would prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from minigrad import checks
from minigrad import strategies as strategies
from minigrad.autograd import grad as _grad
from minigrad.creation import default_generator
from minigrad.modes import enable_grad
from minigrad.nn.module import Module
from minigrad.rule import unwritten
from minigrad.tensor import Array, Tensor, as_array
from minigrad.trace import Made, Tracer, stands_before
from minigrad.transforms import tree_leaves

MOST_ORDERS = 9  # each takes several times as long as the one before
ENTRIES = 32  # of one input that are compared: all of a small one, of a large one as many drawn at random


def check_gradients(
    f: Callable[..., Any],
    *inputs: Any,
    order: int = 2,
    method: str = "central",
    rtol: float | None = None,
    flat: bool = False,
) -> None:
    """Raise AssertionError unless the gradients of f at the inputs are right, to this order of differentiation.

    f: a function of Tensors that gives a Tensor, or a tuple, list or dict of them; it must do the same at each call.
    inputs: arrays or Tensors; floating-point ones are differentiated, as float64; others are handed on as they are.
    method: "central" compares with five-point differences, to a relative rtol of 1e-6 (order 1) or 1e-5; "complex"
    with Im f(x + ih) / h, to 1e-10, for functions that are analytic and work on complex arrays.
    flat: a gradient that is 0 everywhere is meant; otherwise it is an error, as such a check proves nothing.

    >>> import numpy as np, minigrad as mg
    >>> mg.testing.check_gradients(lambda x, y: np.tanh(x @ y), np.ones((2, 3)), np.ones(3))
    """
    checks.function("check_gradients", f=f)
    checks.one_of("check_gradients", ("central", "complex"), method=method)
    checks.whole("check_gradients", 1, MOST_ORDERS, order=order)
    if rtol is not None:
        checks.positive_number("check_gradients", rtol=rtol)
    checks.flag("check_gradients", flat=flat)
    arrays = [x.data if isinstance(x, Tensor) else x for x in inputs]
    arrays = [as_array(x) if isinstance(x, float | np.floating) else x for x in arrays]
    places = [i for i, x in enumerate(arrays) if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
    if not places:
        raise ValueError("check_gradients: none of the inputs is floating-point, so there is no gradient to check")
    for i in places:
        if not np.isfinite(arrays[i]).all():
            raise ValueError(f"check_gradients: inputs[{i}] is not finite, so there are no differences to take")
    points = [np.asarray(arrays[i], np.float64) for i in places]  # in the memory layout that they came in

    def function(*xs: Any) -> list[Any]:
        full = list(arrays)
        for i, x in zip(places, xs, strict=True):
            full[i] = x
        return tree_leaves(f(*full))

    _check(function, points, order, method, rtol, flat, np.random.default_rng(0), "gradient")


def _check(
    f: Callable[..., list[Any]],
    points: list[Array],
    order: int,
    method: str,
    rtol: float | None,
    flat: bool,
    rng: np.random.Generator,
    what: str,
) -> None:
    weights = [
        rng.uniform(0.5, 1.5, np.shape(y)) * rng.choice([-1.0, 1.0], np.shape(y)) for y in f(*map(_leaf, points))
    ]

    def weighted(ys: list[Any]) -> Any:
        return sum(np.sum(y * w) for y, w in zip(ys, weights, strict=True))

    def gradient(*xs: Tensor, create_graph: bool = True) -> list[Any]:
        with enable_grad():
            y = weighted(f(*xs))
        found: Any = [None] * len(xs)
        if isinstance(y, Tensor) and y.requires_grad:
            found = _grad(y, list(xs), create_graph=create_graph, allow_unused=True)
        return [np.zeros(x.shape) if g is None else g for x, g in zip(xs, found, strict=True)]

    reader = _Reader()
    reader.start()
    try:
        analytic = [_values(g) for g in gradient(*map(_leaf, points), create_graph=False)]
    finally:
        reader.stop()
    if not flat and not any(np.abs(g).max(initial=0) > 1e-9 for g in analytic) and any(x.size for x in points):
        raise AssertionError(
            f"the {what} is 0 everywhere, so this check proves nothing: has the result left the graph on its way? "
            "If 0 is meant, check_gradients takes flat=True"
        )

    def value(xs: list[Array]) -> Any:
        y = weighted(f(*xs)) if method == "complex" and what == "gradient" else weighted(f(*map(_leaf, xs)))
        return _values(y)

    if not np.array_equal(value(points), value(points), equal_nan=True):
        raise ValueError("check_gradients: the function gives another result when it is called again")
    _compare(
        value, points, analytic, "complex" if method == "complex" and what == "gradient" else "central", rtol, rng, what
    )
    if order > 1:
        _check(gradient, points, order - 1, method, rtol, True, rng, f"gradient of the {what}")


class _Reader(Tracer):
    """Sees to it that pullbacks only read the gradient that they are handed."""

    def operation(self, rule: Any, run: Callable[..., Made], inputs: Any, settings: dict[str, Any]) -> Made:
        value, pullbacks = run(*inputs, **settings)

        def reading(pullback: Any) -> Any:
            return pullback and stands_before(pullback, lambda g: unwritten(f"rule {rule.name}", pullback, g))

        return value, tuple(map(reading, pullbacks))


def _leaf(x: Array) -> Tensor:
    return Tensor(x, requires_grad=True)


def _values(x: Any) -> Any:
    return x.data if isinstance(x, Tensor) else x


def _compare(
    value: Callable[[list[Array]], Any],
    points: list[Array],
    analytic: list[Array],
    method: str,
    rtol: float | None,
    rng: np.random.Generator,
    what: str,
) -> None:
    """Hold each entry of the analytic gradient against a difference; the message shows the worst one."""
    if rtol is None:
        rtol = 1e-10 if method == "complex" else 1e-6 if what == "gradient" else 1e-5
    rounding = 1e-10 * abs(float(np.real(value(points))))  # of the differences
    worst: tuple[float, str] = (0.0, "")
    wrong = total = 0
    for i, (x, g) in enumerate(zip(points, analytic, strict=True)):
        scale = float(np.abs(g).max(initial=0))
        entries = list(np.ndindex(x.shape))
        if len(entries) > ENTRIES:
            entries = [entries[k] for k in rng.choice(len(entries), ENTRIES, replace=False)]
        for at in entries:
            numeric, kinked = _difference(value, points, i, at, method)
            error = float(abs(g[at] - numeric))
            bound = rtol * max(abs(numeric), 1e-2 * scale) + rounding + 1e-12
            total += 1
            if not error <= bound:
                wrong += 1
                if not error / bound <= worst[0]:
                    text = f"input {i} at {list(at)}: the {what} is {g[at]:.9g}, differences give {numeric:.9g}"
                    if numeric:
                        text += f" (ratio {g[at] / numeric:.6g})"
                    if kinked:
                        text += "; the function has a kink or a jump there: move the input away from it"
                    worst = (error / bound, text)
    if wrong:
        raise AssertionError(f"{wrong} of {total} entries are wrong, the worst: {worst[1]}")


def _difference(
    value: Callable[[list[Array]], Any], points: list[Array], i: int, at: Any, method: str
) -> tuple[float, bool]:
    """The derivative by this entry from values of the function, and whether two step lengths disagree about it."""

    def moved(step: Any) -> Any:
        x = points[i].astype(np.result_type(points[i], type(step)))
        x[at] += step
        return value([*points[:i], x, *points[i + 1 :]])

    if method == "complex":
        return float(np.imag(moved(1e-30j))) / 1e-30, False
    h = 1e-3 * max(1.0, abs(float(points[i][at])))
    near, far = (moved(h) - moved(-h)) / (2 * h), (moved(2 * h) - moved(-2 * h)) / (4 * h)
    return float((4 * near - far) / 3), bool(abs(near - far) > 1e-3 * max(abs(near), abs(far)))


def check_layer(layer: Module, *inputs: Any, order: int = 1) -> None:
    """Raise AssertionError unless a layer's gradients are right for its inputs and its parameters, in both modes.

    Also: the inputs are left as they are, inputs in another memory layout give the same, parameters are found and all
    get a gradient. Randomness is replayed at each call; parameters, buffers and mode are put back at the end.

    >>> import numpy as np, minigrad as mg
    >>> mg.testing.check_layer(mg.nn.Linear(3, 2), np.ones((4, 3)))
    """
    if not isinstance(layer, Module):
        raise TypeError(
            f"check_layer checks a Module, not {type(layer).__name__}: for functions there is check_gradients"
        )
    checks.whole("check_layer", 1, MOST_ORDERS, order=order)
    named = [(name, p) for name, p in layer.named_parameters() if p.requires_grad]
    parameters = [p for _, p in named]
    arrays = [_values(x) for x in inputs]
    arrays = [x.astype(np.float64) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x for x in arrays]
    before = [x.copy() if isinstance(x, np.ndarray) else x for x in arrays]
    with _replaying(layer) as start_again:

        def run(*xs: Any) -> Any:
            """The layer's output, with the first of xs in place of its parameters."""
            start_again()
            for p, x in zip(parameters, xs, strict=False):
                stand_in = +x
                p._array, p.node = stand_in._array, stand_in.node
            return layer(*xs[len(parameters) :])

        values = [p.data.astype(np.float64) for p in parameters]
        for mode in (True, False):
            layer.train(mode)
            check_gradients(run, *values, *arrays, order=order)
            tensors = [Tensor(x, requires_grad=True) for x in values]
            strided = [np.repeat(x, 2, -1)[..., ::2] if isinstance(x, np.ndarray) and x.ndim else x for x in arrays]
            y, again = tree_leaves(run(*tensors, *arrays)), tree_leaves(run(*tensors, *strided))
            for a, b in zip(y, again, strict=True):
                np.testing.assert_allclose(
                    b.data, a.data, rtol=1e-9, atol=1e-12, err_msg="of inputs in another memory layout"
                )
            if tensors:
                total = sum((np.sum(np.sin(leaf)) for leaf in y), start=Tensor(0.0))
                found = _grad(total, tensors, allow_unused=True)
                unused = [name for (name, _), g in zip(named, found, strict=True) if g is None]
                if unused:
                    raise AssertionError(f"parameters that the output does not depend on: {', '.join(unused)}")
            for i, (x, original) in enumerate(zip(arrays, before, strict=True)):
                if not np.array_equal(x, original):
                    raise AssertionError(f"the layer has written into its input {i}")


@contextmanager
def _replaying(layer: Module) -> Iterator[Callable[[], None]]:
    """Gives a function that puts buffers and random generators back; at the end, all of the layer is put back."""
    attributes = [(module, dict(vars(module))) for module in layer.modules()]
    data = [(p, p.data) for p in layer.parameters()]
    for p, array in data:
        p.data = array.astype(np.float64)
    buffers = [(_values(b), _values(b).copy()) for _, b in layer.named_buffers()]
    generators = [v for _, found in attributes for v in found.values() if isinstance(v, np.random.Generator)]
    states = [(g, g.bit_generator.state) for g in [default_generator(), *generators]]

    def start_again() -> None:
        for module, found in attributes:  # a buffer may also be replaced
            vars(module).update(found | {"training": module.training})
        for array, values in buffers:
            array[...] = values
        for generator, state in states:
            generator.bit_generator.state = state

    try:
        yield start_again
    finally:
        start_again()
        for p, array in data:
            p._array, p.node = array, None
        for module, found in attributes:
            vars(module).clear()
            vars(module).update(found)
