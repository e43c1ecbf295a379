"""Making tensors, and the one random generator that everything draws from unless it is handed another."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minigrad import checks
from minigrad.tensor import Tensor, as_array

_generator: np.random.Generator | None = None  # made when it is first asked for: importing NumPy's takes 10 ms
_lock = threading.Lock()
_forks = 0  # how many children were forked since it was seeded
_of_thread = threading.local()  # .generator and .forks: the same of a thread that called seed itself


def seed(n: int | None = None) -> None:
    """Start minigrad's generator anew from n; the same n, the same numbers. None: from the system's entropy.

    In any other thread than the main one, that thread gets a generator of its own, so that several may each train a
    model; a thread that calls nothing draws from the main one's.

    A forked child draws other numbers than its parent and its siblings, and the same ones again in another run: they
    follow from the state of the parent's generator and how many forks there were since it was seeded. A generator of
    your own goes into each child as it is: hand them those of rng.spawn.
    """
    if n is not None:
        checks.whole("seed", n=n)
    global _forks
    if threading.current_thread() is not threading.main_thread():
        _of_thread.generator, _of_thread.forks = np.random.default_rng(n), 0
        return
    _forks = 0
    default_generator().bit_generator.state = np.random.default_rng(n).bit_generator.state


def default_generator() -> np.random.Generator:
    """The generator that is drawn from where none is passed in."""
    global _generator
    own: np.random.Generator | None = getattr(_of_thread, "generator", None)
    if own is not None:
        return own
    with _lock:
        if _generator is None:
            _generator = np.random.default_rng()
        return _generator


def _before_fork() -> None:
    global _forks
    _lock.acquire()  # so that no child has it held by a thread that is not there, and no two have one number
    _forks += 1
    _of_thread.forks = getattr(_of_thread, "forks", 0) + 1


def _in_child() -> None:
    """Start the generators anew, in place, as layers may hold them: two children's dropout must not be the same.

    Not from the system's entropy, as Python's own: the same seed then gives the same children again.
    """
    for copied, forks in ((_generator, _forks), (getattr(_of_thread, "generator", None), _of_thread.forks)):
        if copied is not None:
            entropy = [*copied.bit_generator.state["state"].values(), forks]
            copied.bit_generator.state = np.random.default_rng(entropy).bit_generator.state
    _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_lock.release, after_in_child=_in_child)


def generator(name: str, rng: np.random.Generator | None) -> np.random.Generator:
    """What the function of this name draws from: rng, or minigrad's generator."""
    checks.generator(name, rng)
    return default_generator() if rng is None else rng


def tensor(data: Any, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """A leaf tensor with a copy of data: a number, nested lists, an ndarray or a Tensor.

    Python floats become float32, an ndarray keeps its dtype. TypeError for what is not numbers, and for
    requires_grad with integers, booleans or complex numbers; ValueError for ragged lists.

    >>> import minigrad as mg
    >>> mg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    tensor([[1., 2.],
            [3., 4.]], requires_grad=True)
    """
    array = as_array(_constant(data), dtype)
    return _leaf("tensor", array.copy() if isinstance(data, np.ndarray | Tensor) else array, requires_grad)


def _constant(data: Any) -> Any:
    if isinstance(data, Tensor) and data.requires_grad:
        raise TypeError(
            "this would cut the tensor out of the graph: use x.detach() if that is meant, or np.broadcast_to"
        )
    return data


def _shape(name: str, args: tuple[Any, ...]) -> tuple[int, ...]:
    return checks.shape(name, args[0] if len(args) == 1 else args)


def _leaf(name: str, array: Any, requires_grad: bool) -> Tensor:
    checks.flag(name, requires_grad=requires_grad)
    return Tensor(array, requires_grad)


def zeros(*shape: Any, dtype: DTypeLike = np.float32, requires_grad: bool = False) -> Tensor:
    """Zeros; the shape as a tuple or as separate numbers, as in all of these."""
    return _leaf("zeros", np.zeros(_shape("zeros", shape), dtype), requires_grad)


def ones(*shape: Any, dtype: DTypeLike = np.float32, requires_grad: bool = False) -> Tensor:
    """Ones."""
    return _leaf("ones", np.ones(_shape("ones", shape), dtype), requires_grad)


def full(shape: Any, fill_value: Any, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """An array full of one value, of that value's dtype."""
    value, shape = as_array(_constant(fill_value), dtype), checks.shape("full", shape)
    try:
        array = np.broadcast_to(value, shape).copy()
    except ValueError:
        raise ValueError(f"full: fill_value of shape {value.shape} does not broadcast to shape {shape}") from None
    return _leaf("full", array, requires_grad)


def arange(*args: Any, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """start (0), stop, step (1), as `np.arange`; floats make float32, integers int64."""
    named = dict(zip(["stop"] if len(args) == 1 else ["start", "stop", "step"], args, strict=False))
    checks.number("arange", **named)
    step = named.get("step", 1)
    if step == 0 or abs((named.get("stop", 0) - named.get("start", 0)) / step) > checks.MOST_NUMBERS:
        raise ValueError(f"arange: a step of {step} does not lead from start to stop in any number that memory holds")
    array = np.arange(*args, dtype=dtype)
    array = array.astype(np.float32) if dtype is None and array.dtype == np.float64 else array
    return _leaf("arange", array, requires_grad)


def eye(n: int, m: int | None = None, dtype: DTypeLike = np.float32, requires_grad: bool = False) -> Tensor:
    """Ones on the diagonal of an n × m matrix (m = n unless given), zeros elsewhere."""
    n, m = checks.shape("eye", (n, n if m is None else m))
    return _leaf("eye", np.eye(n, m, dtype=dtype), requires_grad)


def zeros_like(x: Any, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """Zeros of the shape and dtype of x."""
    return _leaf("zeros_like", np.zeros_like(as_array(x), dtype), requires_grad)


def ones_like(x: Any, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """Ones of the shape and dtype of x."""
    return _leaf("ones_like", np.ones_like(as_array(x), dtype), requires_grad)


def _drawn(
    name: str, draw: Callable[..., Any], shape: tuple[Any, ...], dtype: DTypeLike, requires_grad: bool
) -> Tensor:
    dtype = np.dtype(dtype)
    if dtype.kind != "f":
        raise TypeError(f"{name}: dtype must be floating-point, not {dtype.name}")
    return _leaf(name, np.asarray(draw(_shape(name, shape))).astype(dtype), requires_grad)


def randn(
    *shape: Any, dtype: DTypeLike = np.float32, rng: np.random.Generator | None = None, requires_grad: bool = False
) -> Tensor:
    """Draws from the normal distribution of mean 0 and variance 1."""
    return _drawn("randn", generator("randn", rng).standard_normal, shape, dtype, requires_grad)


def rand(
    *shape: Any, dtype: DTypeLike = np.float32, rng: np.random.Generator | None = None, requires_grad: bool = False
) -> Tensor:
    """Draws from the uniform distribution on [0, 1)."""
    return _drawn("rand", generator("rand", rng).random, shape, dtype, requires_grad)
