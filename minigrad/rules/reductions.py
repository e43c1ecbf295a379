"""Functions that fold an axis, several axes or the whole array into less, and running ones along an axis.

float16 is summed in float32. A maximum shared by several elements shares its gradient evenly among them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad import checks
from minigrad.rule import implements, rule
from minigrad.tensor import Tensor, as_array, detached

Axis = int | tuple[int, ...] | None


def axes_of(shape: tuple[int, ...], axis: Axis) -> tuple[int, ...]:
    """The axes meant, as a tuple of numbers from 0; None means all, and so do 0 and −1 of a number without axes."""
    if axis is None or (shape == () and is_only_axis(axis)):
        return tuple(range(len(shape)))
    return checks.normalize_axis_tuple(axis, len(shape))


def is_only_axis(axis: Any) -> bool:
    """Whether NumPy folds an array of shape () along this axis, as if it had one."""
    return type(axis) is not bool and isinstance(axis, int | np.integer) and axis in (0, -1)


def keep_dims(y: Any, shape: tuple[int, ...], axis: Axis) -> Any:
    """What folding axes of this shape made, with these axes at length 1: as keepdims leaves it, to broadcast again."""
    axes = axes_of(shape, axis)
    return np.reshape(y, tuple(1 if i in axes else n for i, n in enumerate(shape)))


def count(shape: tuple[int, ...], axis: Axis) -> int:
    """How many elements are folded into one."""
    return math.prod(shape[i] for i in axes_of(shape, axis))


def _wide(x: Any) -> Any:
    """float16 as float32 and integers as float64, in which to accumulate; everything else as it is."""
    if x.dtype.kind != "f":
        return x.astype(np.float64)
    return x.astype(np.float32) if x.dtype == np.float16 else x


def _double(x: Any) -> Any:
    """In float64 at least: beside a mean of 10⁶ the spread of float32 drowns, and the square of 10²⁰ overflows."""
    if x.dtype.kind == "c":
        raise TypeError(f"only real numbers have a variance or a norm here, not {x.dtype.name}")
    wide = np.promote_types(x.dtype, np.float64)
    return x if x.dtype == wide else x.astype(wide)


def _narrow(y: Any, x: Any) -> Any:
    """In the dtype of x again, unless x is of integers."""
    return y.astype(x.dtype) if x.dtype.kind == "f" and y.dtype != x.dtype else y


def _accumulator(x: Any, axis: Axis) -> Any:
    """What to add up in: of float16 float32; float64 where NumPy adds many rows one by one: 1 % is lost over 10⁶."""
    if x.dtype == np.float16:
        return np.float32
    if x.size <= 128 or x.dtype != np.float32:  # too few to matter
        return None
    axes = axes_of(x.shape, axis)
    leading = any(i < x.ndim - len(axes) for i in axes)
    return np.float64 if leading and count(x.shape, axis) > 128 else None


@rule(np.sum, linear=True)
def sum(x, /, axis=None, dtype=None, keepdims=False):
    """Σ x"""
    y = np.sum(x, axis=axis, dtype=dtype or _accumulator(x, axis), keepdims=keepdims)
    y = _narrow(y, x) if dtype is None else y
    shape = x.shape
    return y, (lambda g: np.broadcast_to(keep_dims(g, shape, axis), shape),)


@rule(np.mean, linear=True)
def mean(x, /, axis=None, dtype=None, keepdims=False):
    """Σ x / n"""
    shape = x.shape
    n = count(shape, axis) or 1
    y = np.mean(x, axis=axis, dtype=dtype or _accumulator(x, axis), keepdims=keepdims)
    return y if dtype is not None else _narrow(y, x), (
        lambda g: np.broadcast_to(keep_dims(g, shape, axis) * (1.0 / n), shape),
    )


@implements(np.average)
def average(x: Any, axis: Any = None, weights: Any = None, *, keepdims: bool = False) -> Any:
    """Σ w x / Σ w; weights of the shape of x, or along one axis."""
    if axis is not None:
        checks.normalize_axis_tuple(axis, np.ndim(x))
    if weights is None:
        return np.mean(x, axis=axis, keepdims=keepdims)
    if np.shape(weights) != np.shape(x):
        along = checks.normalize_axis_index(axis, np.ndim(x)) if isinstance(axis, int) else None
        if along is None or np.shape(weights) != (np.shape(x)[along],):
            raise ValueError(
                f"average: weights of shape {np.shape(weights)} must have the shape of x {np.shape(x)}, "
                "or its length along one axis"
            )
        weights = np.reshape(weights, tuple(-1 if i == along else 1 for i in range(np.ndim(x))))
        weights = np.broadcast_to(weights, np.shape(x))
    return np.sum(x * weights, axis=axis, keepdims=keepdims) / np.sum(weights, axis=axis, keepdims=keepdims)


@rule(np.prod)
def prod(x, /, axis=None, keepdims=False):
    """Π x; the derivative is the product of the others, right also beside zeros"""

    def pull(g):
        axes = axes_of(x.shape, axis)
        rest = tuple(i for i in range(x.ndim) if i not in axes)
        order = rest + axes
        shape = (*(x.shape[i] for i in rest), count(x.shape, axis))
        flat = np.reshape(np.transpose(x, order), shape)
        ones = np.ones((*flat.shape[:-1], 1), flat.dtype)
        before = np.cumprod(np.concatenate((ones, flat[..., :-1]), axis=-1), axis=-1)
        after = np.flip(np.cumprod(np.concatenate((ones, np.flip(flat[..., 1:], -1)), axis=-1), axis=-1), -1)
        others = np.reshape(before * after, tuple(x.shape[i] for i in order))
        return keep_dims(g, x.shape, axis) * np.transpose(others, tuple(np.argsort(order)))

    return np.prod(x, axis=axis, keepdims=keepdims), (pull if x.size else lambda g: np.zeros(x.shape, x.dtype),)


@rule(np.max, np.amax)
def max(x, /, axis=None, keepdims=False):
    """max x; equals share the gradient evenly, NaN goes to the NaN"""
    _some(x, axis, "max")
    y = np.max(x, axis=axis, keepdims=keepdims)
    return y, (lambda g: keep_dims(g, x.shape, axis) * _extreme(x, y, axis),)


@rule(np.min, np.amin)
def min(x, /, axis=None, keepdims=False):
    """min x; equals share the gradient evenly, NaN goes to the NaN"""
    _some(x, axis, "min")
    y = np.min(x, axis=axis, keepdims=keepdims)
    return y, (lambda g: keep_dims(g, x.shape, axis) * _extreme(x, y, axis),)


def _some(x: Any, axis: Any, name: str) -> None:
    if count(x.shape, axis) == 0:
        raise ValueError(f"{name} of no elements: axis {axis} of shape {x.shape}")


def _extreme(x, y, axis):
    """1 / k at each of the k elements that are equal to the extreme, 0 elsewhere."""
    y = keep_dims(y, x.shape, axis)
    hit = (x == y) | np.isnan(x) & np.isnan(y)
    return np.divide(hit, np.sum(hit, axis=axes_of(x.shape, axis), keepdims=True), dtype=x.dtype)


@implements(np.ptp)
def ptp(x: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """max x − min x."""
    return np.max(x, axis=axis, keepdims=keepdims) - np.min(x, axis=axis, keepdims=keepdims)


@rule(np.var)
def var(x, /, axis=None, ddof=0, keepdims=False):
    """Σ (x − mean x)² / (n − ddof)"""
    n = _freedom(x, axis, ddof, "var")
    wide = _double(x)
    c = wide - np.mean(wide, axis=axis, keepdims=True)
    y = _narrow(np.sum(c * c, axis=axis, keepdims=keepdims) / n, x)
    return y, (lambda g: keep_dims(g, x.shape, axis) * c * (2.0 / (n or 1)),)


@rule(np.std)
def std(x, /, axis=None, ddof=0, keepdims=False):
    """√(Σ (x − mean x)² / (n − ddof)); the gradient of elements that are equal, but for rounding, is 0"""
    n = _freedom(x, axis, ddof, "std")
    wide = _double(x)
    spread = np.std(wide, axis=axis, ddof=ddof, keepdims=True)

    def pull(g):
        mean = np.mean(wide, axis=axis, keepdims=True)
        rounding = spread <= np.finfo(np.float64).eps * np.absolute(mean)
        return (wide - mean) * keep_dims(g, x.shape, axis) / np.where(rounding, np.inf, spread) / n

    return np.sum(_narrow(spread, x), axis=axis, keepdims=keepdims), (pull,)  # of one element each


def _freedom(x: Any, axis: Any, ddof: float, name: str) -> float:
    n = count(x.shape, axis) - ddof
    if not n > 0 and x.size:  # nor is NaN above 0
        raise ValueError(
            f"{name} with ddof={ddof} needs more than {ddof} elements along axis {axis}, got {count(x.shape, axis)}"
        )
    return n if x.size else 0  # nothing over nothing is NaN


@rule(np.cumsum, linear=True)
def cumsum(x, /, axis=None):
    """Running sums, of many numbers in float64: one by one in float32 4 million lose 4 %"""
    shape = x.shape

    def pull(g):
        if axis is None:
            return np.reshape(np.flip(cumsum(np.flip(g))), shape)
        return np.flip(cumsum(np.flip(g, axis), axis=axis), axis)

    few = x.dtype.kind != "f" or (x.size <= 128 and x.dtype != np.float16)
    return _narrow(np.cumsum(x, axis=axis, dtype=None if few else np.promote_types(x.dtype, np.float64)), x), (pull,)


@rule(np.cumprod)
def cumprod(x, /, axis=None):
    """Running products; the gradient costs the square of the length, and is right also beside zeros"""
    y = np.cumprod(x, axis=axis)
    axis = axis if x.ndim else None

    def pull(g):
        rows = np.reshape(x, (-1,)) if axis is None else np.moveaxis(x, axis, -1)
        n = rows.shape[-1]
        # one row for each factor i, with a 1 in its place: the running products of the others, from i on
        others = (
            np.cumprod(np.where(np.eye(n, dtype=bool), 1.0, rows[..., None, :]), axis=-1) * np.tri(n, dtype=x.dtype).T
        )
        g = g if axis is None else np.moveaxis(g, axis, -1)
        h = np.sum(others * g[..., None, :], axis=-1)
        return np.reshape(h, x.shape) if axis is None else np.moveaxis(h, -1, axis)

    return y, (pull,)


@implements(np.sort)
def sort(x: Any, axis: int | None = -1, kind: Any = None, *, stable: bool | None = None) -> Any:
    """Sorted values; each element's gradient comes from where it went."""
    if axis is None:
        x, axis = np.ravel(x), -1
    return np.take_along_axis(x, np.argsort(x, axis=axis, kind=kind or "stable"), axis=axis)


@implements(np.median)
def median(x: Any, axis: Any = None, *, keepdims: bool = False) -> Any:
    """The middle value, or the mean of the two; the gradient goes to these. NaN where there is a NaN."""
    axes = tuple(range(x.ndim)) if axis is None else checks.normalize_axis_tuple(axis, x.ndim)
    rest = tuple(i for i in range(x.ndim) if i not in axes)
    n = count(x.shape, axis)
    _some(x, axis, "median")
    shape = (*(x.shape[i] for i in rest), n)
    rows = np.sort(np.reshape(np.transpose(x, rest + axes), shape), axis=-1)
    y = rows[..., n // 2] if n % 2 else (rows[..., n // 2 - 1] + rows[..., n // 2]) / 2
    y = np.astype(y, np.float64) if x.dtype.kind in "iub" else y
    y = np.where(np.isnan(rows[..., -1]), rows[..., -1], y)  # NaN is sorted to the end
    return keep_dims(y, x.shape, axis) if keepdims else y


@rule()
def logsumexp(x, /, axis=None, keepdims=False):
    """ln Σ eˣ without overflow; the derivative is the softmax: 0 where all are −∞, shared among +∞"""
    x = x if isinstance(x, Tensor | np.ndarray) else as_array(x)
    if x.dtype.kind not in "fiub":
        raise TypeError(f"logsumexp: x must be real numbers, not {x.dtype.name}")
    axes = axes_of(x.shape, axis)
    given, x = x, _wide(x)
    top = np.max(detached(x), axis=axes, keepdims=True, initial=-np.inf)
    endless = top == np.inf
    e = np.where(endless, x == top, np.exp(np.where(endless, 0.0, x) - np.where(np.isinf(top), 0.0, top)))
    s = np.sum(e, axis=axes, keepdims=True)
    s = np.where(s == 0, 1.0, s)
    y = _narrow(np.log(s) + top, given)
    return y if keepdims else np.squeeze(y, axis=axes), (lambda g: keep_dims(g, x.shape, axis) * (e / s),)


@implements(np.linalg.norm)
def norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Any:
    """(Σ |x|ᵖ)^(1/p) of vectors, the Frobenius norm of matrices; the gradient at 0 is 0."""
    if x.dtype.kind == "c":
        raise TypeError("norm: x must be real numbers, not complex ones: the norm of np.abs(x) is the same")
    matrix = (isinstance(axis, tuple) and len(axis) == 2) or (axis is None and x.ndim == 2)
    if (matrix and ord not in (None, "fro")) or (not matrix and isinstance(ord, str)):
        raise ValueError(
            f"norm: ord={ord!r} has no derivative rule here: None and 'fro' for matrices, numbers for vectors"
        )
    if axis is None and ord is not None and x.ndim > 2:
        raise ValueError(f"norm: ord={ord!r} needs an axis for x of shape {x.shape}")
    if ord == np.inf:
        return np.max(np.absolute(x), axis=axis, keepdims=keepdims)
    if ord == -np.inf:
        return np.min(np.absolute(x), axis=axis, keepdims=keepdims)
    if ord == 0:
        raise ValueError("norm: ord=0 counts, and a count has no derivative")
    return p_norm(x, p=2 if ord in (None, "fro") else ord, axis=axis, keepdims=keepdims)


@rule()
def p_norm(x, /, p=2, axis=None, keepdims=False):
    """(Σ |x|ᵖ)^(1/p); elements that are 0 have the gradient 0, and where the norm is 0, all derivatives are 0"""
    wide = _double(x)
    with np.errstate(divide="ignore"):  # 1/0 of a negative p, and 1/∞ is 0 again
        y = np.linalg.norm(wide, None if p == 2 else p, axis, keepdims)

    def pull(g):
        norm = keep_dims(np.where(y == 0, np.inf, y), x.shape, axis)
        if p == 2:
            return keep_dims(g, x.shape, axis) * (wide / norm)
        flat = (wide == 0) | keep_dims(y == 0, x.shape, axis)
        power = np.absolute(np.where(flat, 1.0, wide / norm)) ** (p - 1)
        return keep_dims(g, x.shape, axis) * np.where(flat, 0.0, np.sign(wide) * power)

    return _narrow(y, x), (pull,)
