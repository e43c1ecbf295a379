"""debug: NaN and infinity reported where they are first made, and who wrote into an array.

NaN spreads: the one in a loss was made long before, often in the backward pass of an earlier step. Under `mg.debug()`
every value and every gradient is looked at as it is made.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import ContextDecorator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

from minigrad import guard
from minigrad.graph import Node
from minigrad.optim.optimizers import Optimizer
from minigrad.rule import Rule, unwritten
from minigrad.tensor import Array, Tensor, detached
from minigrad.trace import Made, Tracer, module_path, parameter_name, stands_before


class debug(ContextDecorator):  # noqa: N801  a keyword rather than a class, as no_grad is
    """Inside of this `with` (or decorated function), in this thread, raise where NaN or infinity is first made.

    What is recorded here is looked at, also when backward runs later, in this thread.
    FloatingPointError says the operation and its direction, the line and the module that called it, the ranges of
    what went in, and what to try. What comes in infinite may stay infinite, and NaN may be replaced; but no operation
    may make an infinity out of finite numbers, or give a NaN. A gradient that is not of its input's kind and shape
    raises TypeError or ValueError, and an array written into between forward and backward is reported with both
    lines: here also one that a rule of your own closes over. An optimiser's step on a gradient that is not finite is
    refused, with the parameter's name in the modules that were called. Each operation takes some tens of microseconds
    longer, and whatever its gradient holds is kept a second time. The environment variable MINIGRAD_DEBUG=1 does this
    for a whole program, in all of its threads.

    >>> import numpy as np, minigrad as mg
    >>> with mg.debug():
    ...     np.log(mg.tensor([1.0, 0.0]))
    Traceback (most recent call last):
    FloatingPointError: log, forward, in ...: made -inf (1 of 2 numbers, first at [1]) out of x, float32 (2,) from 0 ...
    The logarithm of 0 is infinite and below it NaN: keep the input above 0, or use mg.safe_where.
    """

    def __enter__(self) -> Self:
        watch = None if _local.watching or _everywhere else _Watch(threading.get_ident())
        if watch is not None:
            watch.start()
        _local.watching.append(watch)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        watch = _local.watching.pop()
        if watch is not None:
            watch.stop()


class Place(NamedTuple):
    """Where an operation was called: a line of the user's program, and the path of a module, "" outside of any."""

    file: str
    line: int
    module: str

    def __str__(self) -> str:
        return f"{Path(self.file).name}:{self.line}" + (f", {self.module}" if self.module else "")


_LIBRARIES = tuple(str(Path(file).parent) + os.sep for file in (__file__, np.__file__))
_MODELS = str(Path(__file__).parent / "models") + os.sep  # whose lines are told like a user's


def _is_library(path: str) -> bool:
    return path.startswith(_LIBRARIES) and not path.startswith(_MODELS)


def place() -> Place:
    """The innermost line outside of this package and of NumPy that led here, and the module that is being called."""
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_library(frame.f_code.co_filename):
        frame = frame.f_back
    return Place(frame.f_code.co_filename, frame.f_lineno, module_path())


class _Local(threading.local):
    def __init__(self) -> None:
        self.watching: list[_Watch | None] = []  # one for each `with` that this thread is in


_local = _Local()


_at_first: weakref.WeakKeyDictionary[Optimizer, float] = weakref.WeakKeyDictionary()  # the largest of its parameters


class _Watch(Tracer):
    """Looks at what passes in one thread, or (None) in all of them."""

    def __init__(self, thread: int | None) -> None:
        self.thread = thread
        self.stepped: weakref.WeakSet[Optimizer] = weakref.WeakSet()

    def start(self, everywhere: bool = False) -> None:
        super().start(everywhere)
        _watches.append(self)

    def stop(self) -> None:
        super().stop()
        _watches.remove(self)
        if not _watches:
            guard.asked_in.clear()

    def recorded(self, node: Node) -> None:
        node.made_at = place()

    def operation(self, rule: Rule, run: Callable[..., Made], inputs: Any, settings: dict[str, Any]) -> Made:
        here = f"in {place()}"
        with np.errstate(all="ignore"):  # what NumPy would warn of is reported here
            value, pullbacks = run(*inputs, **settings)
        names = _names(rule, inputs)
        given = {name: np.asarray(detached(x)) for name, x in zip(names, inputs, strict=True) if x is not None}
        made = np.asarray(detached(value))
        numbers = [np.asarray(setting) for setting in settings.values() if isinstance(setting, float | np.ndarray)]
        if _first_made(made, [*given.values(), *numbers]):
            raise FloatingPointError(
                f"{rule.name}, forward, {here}: made {_how_many(made)} out of {_ranges(given)}.\n"
                + (_spoilt(given) or self._diverges() or _hint_forward(rule.name, made, given))
            )

        def watched(name: str, pullback: Callable[[Any], Any] | None) -> Any:
            if pullback is None or name not in given:
                return None
            closed_over = [(x, _layout(x), guard.content(x)) for x in guard.arrays_in(pullback) if x is not None]

            def pull(g: Any) -> Any:
                if self.thread is not None and self.thread != threading.get_ident():
                    return pullback(g)
                for x, layout, before in closed_over:
                    if _layout(x) != layout or x.tobytes() != before:
                        which = next((f"its input {n}" for n, y in given.items() if y is x), "an array that it holds")
                        raise guard.changed(f"{rule.name}, backward, {here}", which, x, "was changed")
                with np.errstate(all="ignore"):
                    h = unwritten(f"{rule.name}, backward, {here}", pullback, g)
                where = f"{rule.name}, backward, {here}"
                _check_gradient(where, name, made, given, detached(g), detached(h), self._diverges)
                return h

            return stands_before(pullback, pull)

        return value, tuple(map(watched, names, pullbacks))

    def step(self, optimizer: Optimizer, step: Callable[[Optimizer], None]) -> None:
        name, parameters = type(optimizer).__name__, optimizer._parameters()
        self.stepped.add(optimizer)
        if optimizer not in _at_first:
            _at_first[optimizer] = max(map(_largest, parameters), default=0.0)
        for i, group in enumerate(optimizer.param_groups):
            for j, p in enumerate(group["params"]):
                if p.grad is not None and not np.isfinite(p.grad._array).all():
                    raise FloatingPointError(
                        f"{name}, step, in {place()}: the gradient of {_named(p)}, {p.dtype.name} {p.shape}, "
                        f"parameter {j} of group {i}, holds {_how_many(p.grad._array)}, and nothing was changed.\n"
                        "With forward and backward under mg.debug() too it is reported where it is made, unless a hook "
                        "or a write into .grad has made it."
                    )
        finite = [bool(np.isfinite(p._array).all()) for p in parameters]
        with np.errstate(all="ignore"):  # likewise
            step(optimizer)
        for p, was_finite in zip(parameters, finite, strict=True):
            self.handed_out(p)
            if was_finite and not np.isfinite(p._array).all():
                raise FloatingPointError(
                    f"{name}, step, in {place()}: made {_how_many(p._array)} of {_named(p)}, of shape {p.shape}: "
                    "a smaller lr, or clip_grad_norm_"
                )

    def _diverges(self) -> str:
        """What to try where steps have made a parameter a thousand times as large as any was, in what runs now."""
        for optimizer, at_first in list(_at_first.items()):
            p = max(optimizer._parameters(), key=_largest, default=None)
            if p is None or (now := _largest(p)) <= 1000 * max(at_first, 1.0):
                continue
            if optimizer in self.stepped or parameter_name(p._array):
                rates = " or ".join(f"{lr:g}" for lr in dict.fromkeys(group["lr"] for group in optimizer.param_groups))
                return (
                    f"The run diverges: since the first step parameters have grown from at most {at_first:.4g} to "
                    f"{now:.4g} ({_named(p)}): a lr below {rates}, a warm-up, or clip_grad_norm_."
                )
        return ""

    def handed_out(self, tensor: Tensor) -> None:
        key = id(tensor._array)
        gone = weakref.ref(tensor._array, lambda _: guard.asked_in.pop(key, None))
        file, line, _ = place()
        guard.asked_in[key] = gone, f"{Path(file).name}:{line}"


_watches: list[_Watch] = []  # that are running


def _largest(p: Tensor) -> float:
    """The largest finite number in it, without its sign."""
    return float(np.max(np.abs(p._array), where=np.isfinite(p._array), initial=0.0))


def _named(p: Tensor) -> str:
    return parameter_name(p._array) or "a parameter"


def _spoilt(given: dict[str, Array]) -> str:
    """What to try where a parameter of a module is not finite."""
    for x in given.values():
        if x.dtype.kind == "f" and not np.isfinite(x).all() and (name := parameter_name(x)):
            return (
                f"The parameter {name} is not finite, {_how_many(x)}: an earlier step made it so, or it was loaded so. "
                "Begin anew, or from what was saved before, with a smaller lr or clip_grad_norm_."
            )
    return ""


def _names(rule: Rule, inputs: Any) -> tuple[str, ...]:
    return *rule.inputs, *(f"input {i}" for i in range(len(rule.inputs), len(inputs)))


def _layout(x: Array) -> Any:
    """What makes numbers of the bytes of an array."""
    return x.shape, x.strides, x.dtype


def _first_made(made: Array, given: Any) -> bool:
    """Whether there is a NaN, or an infinity where all that went in was finite."""
    if made.dtype.kind != "f" or np.isfinite(made).all():
        return False
    return bool(np.isnan(made).any()) or all(x.dtype.kind != "f" or np.isfinite(x).all() for x in given)


def _check_gradient(
    where: str, name: str, made: Array, given: dict[str, Array], g: Any, h: Any, diverges: Callable[[], str]
) -> None:
    x, h, g = given[name], np.asarray(h), np.asarray(g)
    if h.dtype.kind != "f":
        raise TypeError(f"{where}: the gradient of {name} is {h.dtype.name}, {name} is {x.dtype.name}")
    try:
        fits = np.broadcast_shapes(x.shape, h.shape) == h.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{where}: the gradient of {name} has shape {h.shape}, {name} has {x.shape}")
    if _first_made(h, [g]):
        raise FloatingPointError(
            f"{where}: made {_how_many(h)} as the gradient of {name}, out of {_ranges({'gradient': g, **given})}.\n"
            + (diverges() or _hint_backward(made, g, h))
        )


def _how_many(made: Array) -> str:
    """How many numbers are what, and where the first of them is."""
    wrong = np.isnan(made) if np.isnan(made).any() else np.isinf(made)
    at = tuple(int(i) for i in np.argwhere(wrong)[0])
    first = f", first at [{', '.join(map(str, at))}]" if at else ""
    return f"{made[at]} ({np.count_nonzero(wrong)} of {made.size} numbers{first})"


def _ranges(given: dict[str, Array]) -> str:
    def one(name: str, x: Array) -> str:
        numbers = x[~np.isnan(x)] if x.dtype.kind == "f" else x
        spread = f" from {numbers.min():.4g} to {numbers.max():.4g}" if numbers.size and x.dtype.kind in "fiu" else ""
        nan = f" with {x.size - numbers.size} NaN" if numbers.size < x.size else ""
        return f"{name}, {x.dtype.name} {x.shape}{spread}{nan}"

    return "; ".join(one(name, x) for name, x in given.items())


def _hint_forward(name: str, made: Array, given: dict[str, Array]) -> str:
    arrays = [x for x in given.values() if x.dtype.kind == "f"]
    if any(np.isnan(x).any() for x in arrays):
        return "The NaN came in with the data or a parameter: look at where they come from."
    if name in ("softmax", "log_softmax") and any(np.isneginf(x).any() for x in arrays):
        return "A fully masked row, all of it −∞, has no softmax: F.masked_softmax gives zeros there."
    if any(np.isinf(x).any() for x in arrays):
        return "∞ − ∞, 0 · ∞ or ∞ / ∞: an infinity came in."
    if name in ("log", "log2", "log10", "log1p"):
        return "The logarithm of 0 is infinite and below it NaN: keep the input above 0, or use mg.safe_where."
    if name in ("divide", "reciprocal", "power") and any((x == 0).any() for x in given.values()):
        return "Division by 0: add a small number below the line, or use mg.safe_where."
    if np.isnan(made).any():
        return "The input lies outside of where the function is defined: bring it inside, or use mg.safe_where."
    if made.dtype == np.float16:
        return "float16 ends at 65504: compute in float32."
    return f"{made.dtype.name} ends at {np.finfo(made.dtype).max:.3g}: make the input smaller first (less its maximum)."


def _hint_backward(made: Array, g: Array, h: Array) -> str:
    if made.shape == g.shape == h.shape and (np.isnan(h) & (g == 0)).any():
        return (
            "0 · ∞: a gradient of 0 met an infinite derivative, as in the branch of a where that is not taken, or "
            "under a mask that multiplies: use mg.safe_where(condition, function, x, fill)."
        )
    if h.dtype == np.float16:
        return "float16 ends at 65504: compute in float32."
    return "The derivative is infinite there, as that of a root or a logarithm at 0: keep away from it, or add an eps."


_everywhere = os.environ.get("MINIGRAD_DEBUG", "0") != "0"
if _everywhere:
    _Watch(None).start(everywhere=True)
