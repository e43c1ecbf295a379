"""Elements picked by their index, and written there: getitem and put are each the other's pullback."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad import checks
from minigrad.rule import FIXED, Rule, implements, rule
from minigrad.rules.reductions import is_only_axis
from minigrad.tensor import Array, Tensor, as_array, beside

# ---- reading ---------------------------------------------------------------------------------------------------------


@rule(linear=True)
def getitem(x, /, index):
    """x[index]; the gradients of an element picked several times add up"""
    shape = x.shape
    return x[index], (lambda g: put(g, index=index, shape=shape),)


@rule(linear=True)
def put(x, /, index, shape):
    """Zeros of a shape, with x added at an index"""
    y = np.zeros(shape, x.dtype)
    if _picks_once(index):
        y[index] = x
    else:
        y = _add(y, index, x)
    return y, (lambda g: getitem(g, index=index),)


@implements(Tensor.__getitem__)
def _getitem(x: Any, index: Any) -> Any:
    try:
        return getitem.apply(x, index=index)
    except OverflowError:
        raise _beyond("x[index]", x, index) from None


def _beyond(name: str, x: Any, index: Any) -> IndexError:
    """For a number that no C integer holds; NumPy has an OverflowError, which nobody expects of an index."""
    return IndexError(f"{name}: index {checks.shown(index)} is out of bounds for x of shape {x.shape}")


def _picks_once(index: Any) -> bool:
    """Whether an index picks no element twice: numbers, slices, None, an ellipsis, and masks."""
    for part in index if isinstance(index, tuple) else (index,):
        kind = type(part)
        if kind in FIXED or kind is slice or (isinstance(part, np.ndarray) and part.dtype == np.bool_):
            continue
        if kind is bool or not isinstance(part, (int, np.integer)):
            return False
    return True


def _add(y: Array, index: Any, values: Array) -> Array:
    """y with values, of the shape of y[index], added there, maybe in place; many in float32 would lose 4 %."""
    if y.dtype != np.float16 and (y.dtype != np.float32 or values.size <= 128):  # wide enough, or too few to matter
        np.add.at(y, index, values)
        return y
    values = values.astype(np.float64)  # a cast within np.add.at would take 5 times as long
    if y.size <= 16 * values.size:
        sums = y.astype(np.float64)
        np.add.at(sums, index, values)
        return sums.astype(y.dtype)
    if isinstance(index, tuple) and len(index) == 1:
        (index,) = index
    if isinstance(index, np.ndarray) and index.dtype.kind in "iu":  # whole rows
        rows, numbers = y, index % len(y)
    else:
        axes = (np.broadcast_to(along, y.shape)[index] for along in np.ogrid[tuple(map(slice, y.shape))])
        rows, numbers = y.reshape(-1), np.ravel_multi_index(tuple(axes), y.shape)
    places, turn = np.unique(numbers, return_inverse=True)
    sums = rows[places].astype(np.float64)
    np.add.at(sums, turn.ravel(), values.reshape(turn.size, *rows.shape[1:]))
    rows[places] = sums
    return y


@implements(np.take)
def take(x: Any, indices: Any, axis: int | None = None) -> Any:
    """The slices at these indices along an axis (None: of the flattened array)."""
    if axis is None or (x.ndim == 0 and is_only_axis(axis)):
        x, axis = np.ravel(x), 0
    indices = indices if isinstance(indices, np.ndarray | Tensor) else np.asarray(indices)
    if indices.dtype == np.bool_:
        raise TypeError("take: indices must be integers, not booleans: for a mask write x[mask]")
    if indices.dtype.kind not in "iu" and indices.size:
        raise TypeError(f"take: indices must be integers, not {indices.dtype.name}")
    return x[(slice(None),) * checks.normalize_axis_index(axis, x.ndim) + (indices,)]


@implements(np.take_along_axis)
def take_along_axis(x: Any, indices: Any, axis: int | None = -1) -> Any:
    """For each position, the element at this index along an axis."""
    indices = as_array(indices)
    if axis is None:
        x, axis = np.ravel(x), 0
    axis = checks.normalize_axis_index(axis, x.ndim)
    if indices.ndim != x.ndim:
        raise ValueError(
            f"take_along_axis: indices of shape {indices.shape} and x of shape {x.shape} need the same number of axes"
        )
    index: list[Any] = list(np.ogrid[tuple(slice(n) for n in x.shape)])
    index[axis] = indices
    return x[tuple(index)]


@implements(np.diagonal)
def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The elements on a diagonal of two axes, as a new last axis."""
    offset = checks.integer("diagonal", "offset", offset, checks.MOST)
    x = np.moveaxis(x, (axis1, axis2), (-2, -1))
    rows, columns = np.nonzero(np.eye(x.shape[-2], x.shape[-1], offset, dtype=bool))
    return x[..., rows, columns]


@implements(np.diag)
def diag(x: Any, k: int = 0) -> Any:
    """The k-th diagonal of a matrix, or the matrix with this diagonal."""
    k = checks.integer("diag", "k", k, checks.MOST)
    if x.ndim == 2:
        return diagonal(x, k)
    if x.ndim != 1:
        raise ValueError(f"diag takes one axis or two, x has shape {x.shape}")
    n = x.shape[0] + abs(k)
    return put(x, index=np.nonzero(np.eye(n, k=k, dtype=bool)), shape=(n, n))


@implements(np.trace)
def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The sum of a diagonal."""
    return np.sum(diagonal(x, offset, axis1, axis2), axis=-1)


# ---- writing: a new array each time ----------------------------------------------------------------------------------


@rule(linear=True)
def overwrite(x, values, /, index):
    """x with values in place of x[index]; of several values for one element the last one lasts"""
    y = x.copy()
    y[index] = values
    return y, (
        lambda g: overwrite(g, 0.0, index=index),
        lambda g: getitem(g, index=index) * _last_writer_mask(index, y.shape),
    )


def _last_writer_mask(index: Any, shape: tuple[int, ...]) -> Any:
    """True for each value that is not overwritten by a later one."""
    if _picks_once(index):
        return True
    writer = np.zeros(shape, np.int64)
    turn = np.arange(writer[index].size).reshape(writer[index].shape)
    writer[index] = turn
    return writer[index] == turn


@rule(linear=True)
def increase(x, values, /, index):
    """x with values added to x[index], also to one element several times"""
    values = np.broadcast_to(values, x[index].shape)  # np.add.at itself stretches some of them wrongly
    return _add(x.copy(), index, values), (lambda g: g, lambda g: getitem(g, index=index))


def index_update(x: Any, index: Any, values: Any) -> Any:
    """A copy of x in which x[index] = values; where an element is written several times, the last value lasts.

    Raises IndexError for an index out of range, ValueError for values that do not broadcast to x[index], TypeError
    for values that the dtype of x cannot hold.

    >>> import minigrad as mg
    >>> mg.index_update(mg.tensor([1.0, 2.0, 3.0]), slice(1, None), 0.0)
    tensor([1., 0., 0.])
    """
    return _written("index_update", overwrite, x, index, values)


def index_add(x: Any, index: Any, values: Any) -> Any:
    """A copy of x in which values are added to x[index]; to an element named several times, several values.

    Raises as index_update does.

    >>> import minigrad as mg
    >>> mg.index_add(mg.zeros(3), [0, 0, 2], mg.tensor([1.0, 2.0, 3.0]))
    tensor([3., 0., 3.])
    """
    return _written("index_add", increase, x, index, values)


def _written(name: str, write: Rule, x: Any, index: Any, values: Any) -> Any:
    x, values = beside(x, (values,)), beside(values, (x,))
    if not np.can_cast(values.dtype, x.dtype, "same_kind"):
        raise TypeError(f"{name}: values of dtype {values.dtype.name} cannot be written into x of dtype {x.dtype.name}")
    leading = next((i for i, n in enumerate(values.shape) if n != 1), values.ndim)
    if leading:  # NumPy passes over axes of length 1 before those of x[index]
        values = np.reshape(values, values.shape[leading:])
    try:
        return write(x, values, index=index)
    except OverflowError:
        raise _beyond(name, x, index) from None
    except ValueError:
        picked = getitem(np.zeros(x.shape, np.int8), index=index).shape
        raise ValueError(f"{name}: values of shape {values.shape} do not broadcast to x[index] of {picked}") from None
