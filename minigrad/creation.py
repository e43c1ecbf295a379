"""Making tensors, and the one random generator that everything draws from unless it is handed another."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from minigrad.tensor import Tensor, as_array


class _Local(threading.local):
    generator: np.random.Generator | None = None  # made when it is first asked for: importing NumPy's takes 10 ms


_local = _Local()  # each thread draws from its own, so that what two threads draw does not depend on who is first


def seed(n: int | None = None) -> None:
    """Start this thread's generator anew from n; the same n, the same numbers. None: from the system's entropy."""
    if n is not None and (not isinstance(n, int | np.integer) or n < 0):
        raise TypeError(f"a seed is a whole number from 0 on, not {n!r}")
    default_generator().bit_generator.state = np.random.default_rng(n).bit_generator.state


def default_generator() -> np.random.Generator:
    """The generator, one in each thread, that is drawn from where none is passed in."""
    if _local.generator is None:
        _local.generator = np.random.default_rng()
    return _local.generator


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
    return Tensor(array.copy() if isinstance(data, np.ndarray | Tensor) else array, requires_grad)


def _constant(data: Any) -> Any:
    if isinstance(data, Tensor) and data.requires_grad:
        raise TypeError(
            "this would cut the tensor out of the graph: use x.detach() if that is meant, or np.broadcast_to"
        )
    return data


def _shape(args: tuple[Any, ...]) -> Any:
    return args[0] if len(args) == 1 else args


def zeros(*shape: Any, dtype: DTypeLike = np.float32, requires_grad: bool = False) -> Tensor:
    """Zeros; the shape as a tuple or as separate numbers, as in all of these."""
    return Tensor(np.zeros(_shape(shape), dtype), requires_grad)


def ones(*shape: Any, dtype: DTypeLike = np.float32, requires_grad: bool = False) -> Tensor:
    """Ones."""
    return Tensor(np.ones(_shape(shape), dtype), requires_grad)


def full(shape: Any, fill_value: Any, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """An array full of one value, of that value's dtype."""
    return Tensor(np.broadcast_to(as_array(_constant(fill_value), dtype), shape).copy(), requires_grad)


def arange(*args: Any, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """start (0), stop, step (1), as `np.arange`; floats make float32, integers int64."""
    array = np.arange(*args, dtype=dtype)
    return Tensor(array.astype(np.float32) if dtype is None and array.dtype == np.float64 else array, requires_grad)


def eye(n: int, m: int | None = None, dtype: DTypeLike = np.float32, requires_grad: bool = False) -> Tensor:
    """Ones on the diagonal of an n × m matrix (m = n unless given), zeros elsewhere."""
    return Tensor(np.eye(n, m, dtype=dtype), requires_grad)


def zeros_like(x: Any, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """Zeros of the shape and dtype of x."""
    return Tensor(np.zeros_like(as_array(x), dtype), requires_grad)


def ones_like(x: Any, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """Ones of the shape and dtype of x."""
    return Tensor(np.ones_like(as_array(x), dtype), requires_grad)


def randn(
    *shape: Any, dtype: DTypeLike = np.float32, rng: np.random.Generator | None = None, requires_grad: bool = False
) -> Tensor:
    """Draws from the normal distribution of mean 0 and variance 1."""
    return Tensor(np.asarray((rng or default_generator()).standard_normal(_shape(shape))).astype(dtype), requires_grad)


def rand(
    *shape: Any, dtype: DTypeLike = np.float32, rng: np.random.Generator | None = None, requires_grad: bool = False
) -> Tensor:
    """Draws from the uniform distribution on [0, 1)."""
    return Tensor(np.asarray((rng or default_generator()).random(_shape(shape))).astype(dtype), requires_grad)
