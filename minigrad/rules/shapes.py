"""Functions that move, join, cut and repeat elements. All are linear: each pullback is the move back."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad import checks
from minigrad.graph import unbroadcast
from minigrad.rule import implements, rule
from minigrad.rules.reductions import is_only_axis
from minigrad.tensor import beside

# ---- the same elements under another shape ---------------------------------------------------------------------------


@rule(linear=True)
def reshape(x, /, shape):
    """The elements in order, under another shape"""
    before = x.shape
    return x.reshape(shape), (lambda g: g.reshape(before),)


@implements(np.reshape)
def _reshape(x: Any, /, shape: Any, order: str = "C", *, copy: bool | None = None) -> Any:
    if order != "C":
        raise ValueError(f"reshape of Tensors reads in order 'C', not {order!r}")
    if type(shape) is not tuple:
        shape = (shape,) if type(shape) is int or not np.ndim(shape) else tuple(shape)
    return reshape.apply(x, shape=shape)


@implements(np.ravel)
def ravel(x: Any, order: str = "C") -> Any:
    return _reshape(x, -1, order)


@rule(linear=True)
def transpose(x, /, axes):
    """The axes in another order"""
    return np.transpose(x, axes), (lambda g: np.transpose(g, tuple(np.argsort(axes))),)


@implements(np.transpose, np.permute_dims)
def _transpose(x: Any, axes: Any = None) -> Any:
    axes = tuple(reversed(range(x.ndim))) if axes is None else checks.normalize_axis_tuple(axes, x.ndim)
    if len(axes) != x.ndim:
        raise ValueError(f"transpose: axes {axes} do not match x of shape {x.shape}")
    return transpose(x, axes=axes)


@rule(np.swapaxes, linear=True)
def swapaxes(x, /, axis1, axis2):
    """Two axes swapped"""
    return np.swapaxes(x, axis1, axis2), (lambda g: np.swapaxes(g, axis1, axis2),)


@implements(np.matrix_transpose)
def matrix_transpose(x: Any, /) -> Any:
    if x.ndim < 2:
        raise ValueError(f"a matrix transpose needs two axes, x has shape {x.shape}")
    return swapaxes(x, axis1=-1, axis2=-2)


@rule(np.moveaxis, linear=True)
def moveaxis(x, /, source, destination):
    """Axes moved to other places"""
    return np.moveaxis(x, source, destination), (lambda g: np.moveaxis(g, destination, source),)


@implements(np.rollaxis)
def rollaxis(x: Any, axis: int, start: int = 0) -> Any:
    axis = checks.normalize_axis_index(axis, x.ndim)
    start = x.ndim if start == x.ndim else checks.normalize_axis_index(start, x.ndim)
    return moveaxis(x, source=axis, destination=start - (axis < start))


@rule(np.expand_dims, linear=True)
def expand_dims(x, /, axis):
    """New axes of length 1"""
    before = x.shape
    return np.expand_dims(x, axis), (lambda g: np.reshape(g, before),)


@rule(np.squeeze, linear=True)
def squeeze(x, /, axis=None):
    """Axes of length 1 taken away"""
    before = x.shape
    return np.squeeze(x, axis), (lambda g: np.reshape(g, before),)


@implements(np.atleast_1d)
def atleast_1d(*xs: Any) -> Any:
    return _each(xs, lambda x: x if x.ndim >= 1 else np.reshape(x, (1,)))


@implements(np.atleast_2d)
def atleast_2d(*xs: Any) -> Any:
    return _each(xs, lambda x: x if x.ndim >= 2 else np.reshape(x, (1, x.size)))


def _each(xs: Any, f: Any) -> Any:
    ys = tuple(f(beside(x, xs)) for x in xs)
    return ys[0] if len(ys) == 1 else ys


# ---- stretching ------------------------------------------------------------------------------------------------------


@rule(np.broadcast_to, linear=True)
def broadcast_to(x, /, shape):
    """x stretched to a shape; the engine sums the gradient back"""
    return np.broadcast_to(x, shape), (lambda g: g,)


@rule(linear=True)
def tile(x, /, reps):
    """x repeated as a block"""
    before = x.shape
    shape = (1,) * (len(reps) - x.ndim) + before
    reps = (1,) * (len(shape) - len(reps)) + reps
    cut = tuple(m for pair in zip(reps, shape, strict=True) for m in pair)
    once = tuple(m for n in shape for m in (1, n))
    return np.tile(x, reps), (lambda g: np.reshape(unbroadcast(np.reshape(g, cut), once), before),)


@implements(np.tile)
def _tile(x: Any, reps: Any) -> Any:
    return tile(x, reps=tuple(reps) if np.ndim(reps) else (reps,))


@implements(np.repeat)
def repeat(x: Any, repeats: Any, axis: int | None = None) -> Any:
    """Each element (or slice along axis) repeated."""
    if axis is None or (x.ndim == 0 and is_only_axis(axis)):
        x, axis = np.ravel(x), 0
    axis = checks.normalize_axis_index(axis, x.ndim)
    return np.take(x, np.repeat(np.arange(x.shape[axis]), repeats), axis=axis)


# ---- joining and cutting ---------------------------------------------------------------------------------------------


@rule(linear=True)
def concatenate(*xs, axis=0):
    """Arrays one behind the other along an axis"""

    def pullback(start, stop):
        index = (slice(None),) * axis + (slice(start, stop),)
        return lambda g: g[index]

    ends = np.cumsum([x.shape[axis] for x in xs]).tolist()
    return np.concatenate(xs, axis=axis), tuple(map(pullback, [0, *ends[:-1]], ends))


def _arrays(name: str, xs: Any) -> list[Any]:
    xs = list(xs)
    arrays = [beside(x, xs) for x in xs]
    if not arrays:
        raise ValueError(f"{name} needs at least one array")
    return arrays


@implements(np.concatenate)
def _concatenate(xs: Any, /, axis: int | None = 0) -> Any:
    xs = _arrays("concatenate", xs)
    if axis is None:
        xs, axis = [np.ravel(x) for x in xs], 0
    if any(x.ndim == 0 for x in xs):
        raise ValueError("concatenate: arrays of shape () cannot be concatenated, only stacked")
    return concatenate(*xs, axis=checks.normalize_axis_index(axis, xs[0].ndim))


@implements(np.stack)
def stack(xs: Any, axis: int = 0) -> Any:
    """Arrays of one shape along a new axis."""
    xs = _arrays("stack", xs)
    if len({x.shape for x in xs}) > 1:
        raise ValueError(f"stack: the shapes must be equal, not {', '.join(str(x.shape) for x in xs)}")
    axis = checks.normalize_axis_index(axis, xs[0].ndim + 1)
    return concatenate(*(np.expand_dims(x, axis) for x in xs), axis=axis)


@implements(np.vstack)
def vstack(xs: Any) -> Any:
    return _concatenate([np.atleast_2d(x) for x in _arrays("vstack", xs)], axis=0)


@implements(np.hstack)
def hstack(xs: Any) -> Any:
    xs = [np.atleast_1d(x) for x in _arrays("hstack", xs)]
    return _concatenate(xs, axis=0 if xs[0].ndim == 1 else 1)


@implements(np.array_split)
def array_split(x: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """x cut along an axis at these indices, or into this many parts as equal as can be."""
    axis = checks.normalize_axis_index(axis, x.ndim)
    if np.ndim(indices_or_sections) == 0:
        parts = checks.integer("array_split", "indices_or_sections", indices_or_sections)
        if parts <= 0:
            raise ValueError(f"array_split: the number of parts must be positive, not {parts}")
        size, longer = divmod(x.shape[axis], parts)
        ends = np.cumsum([size + 1] * longer + [size] * (parts - longer))[:-1].tolist()
    else:
        ends = [checks.integer("array_split", "indices_or_sections", i) for i in indices_or_sections]
    return [x[(slice(None),) * axis + (slice(a, b),)] for a, b in zip([0, *ends], [*ends, None], strict=True)]


@implements(np.split)
def split(x: Any, indices_or_sections: Any, axis: int = 0) -> Any:
    """As array_split, into equal parts only."""
    axis = checks.normalize_axis_index(axis, x.ndim)
    if np.ndim(indices_or_sections) == 0:
        parts = checks.integer("split", "indices_or_sections", indices_or_sections)
        if parts < 1 or x.shape[axis] % parts:
            raise ValueError(f"split: axis {axis} of shape {x.shape} cannot be cut into {parts} equal parts")
    return array_split(x, indices_or_sections, axis)


@implements(np.unstack)
def unstack(x: Any, /, *, axis: int = 0) -> Any:
    """The slices along an axis."""
    if x.ndim == 0:
        raise ValueError("unstack needs an axis, x has shape ()")
    return tuple(np.moveaxis(x, axis, 0))


@rule(linear=True)
def pad(x, /, widths, value=0.0):
    """x within a frame of a constant"""
    inside = tuple(slice(before, before + n) for (before, _), n in zip(widths, x.shape, strict=True))
    return np.pad(x, widths, constant_values=value), (lambda g: g[inside],)


@implements(np.pad)
def _pad(x: Any, pad_width: Any, mode: str = "constant", *, constant_values: float = 0.0) -> Any:
    if mode != "constant":
        raise ValueError(f"pad: mode {mode!r} has no derivative rule here, only 'constant' has")
    widths = tuple(
        (checks.integer("pad", "pad_width", a), checks.integer("pad", "pad_width", b))
        for a, b in np.broadcast_to(pad_width, (x.ndim, 2))
    )
    return pad(x, widths=widths, value=constant_values)


# ---- turning over ----------------------------------------------------------------------------------------------------


@rule(np.flip, linear=True)
def flip(x, /, axis=None):
    """x backwards along the axes"""
    return np.flip(x, axis), (lambda g: np.flip(g, axis),)


@implements(np.flipud)
def flipud(x: Any) -> Any:
    return np.flip(x, 0)


@implements(np.fliplr)
def fliplr(x: Any) -> Any:
    return np.flip(x, 1)


@rule(np.roll, linear=True)
def roll(x, /, shift, axis=None):
    """x turned round along the axes"""
    return np.roll(x, shift, axis), (lambda g: np.roll(g, np.negative(shift), axis),)


@rule(np.rot90, linear=True)
def rot90(x, /, k=1, axes=(0, 1)):
    """x turned by k right angles in the plane of two axes"""
    return np.rot90(x, k, axes), (lambda g: np.rot90(g, -k, axes),)


# ---- triangles -------------------------------------------------------------------------------------------------------


@rule(np.tril, linear=True)
def tril(x, /, k=0):
    """The part on and below the k-th diagonal, zeros elsewhere"""
    return np.tril(x, k), (lambda g: np.tril(g, k),)


@rule(np.triu, linear=True)
def triu(x, /, k=0):
    """The part on and above the k-th diagonal, zeros elsewhere"""
    return np.triu(x, k), (lambda g: np.triu(g, k),)
