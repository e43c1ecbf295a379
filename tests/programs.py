"""Random programs as data: grown from choices, run by minigrad, by NumPy's complex numbers and by PyTorch.

A program is a list of steps, each with the numbers of the steps that it takes its inputs from, so the same list runs
everywhere, shrinks by replacing steps with their values, and prints as code. A Hypothesis state machine would have to
write such a list down as well, to run it again for each perturbed element.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import minigrad as mg
import minigrad.functional as F  # noqa: F401  named in the text of the operations
from minigrad.functional.dropout import draw_dropout_mask
from minigrad.graph import toposort

TINY = 1e-30  # a complex step: its square is lost beside any value, so the imaginary part is an exact derivative
STEP = 1e-5  # a real one, for the second derivative: its central difference is good to 1e-10 of the fifth derivative

# ---- operations ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Op:
    """One operation, three times, as expressions of x, y, z, w (or xs) and settings.

    takes: how its inputs and settings are chosen (a method of Grower). ours: on Tensors. theirs: in PyTorch; as ours
    with T for np unless given. plain: in NumPy, analytic, on complex arrays; as ours unless given. safe: on arrays,
    whether the inputs are away from kinks, ties and poles: there the conventions of minigrad and PyTorch differ on
    purpose (tests/edge_cases.md), and a difference means nothing.
    """

    takes: str
    ours: str
    theirs: str = ""
    plain: str = ""
    safe: str = "True"


NAMES = "x y z w xs"
SETTINGS = "axis keepdims shape index k value indices widths subscripts heads target ignore reduction smoothing n"


def apart(x: Any) -> Any:
    """Whether no two elements are nearly equal."""
    return x.size < 2 or np.diff(np.sort(x, axis=None)).min() > 0.02


def away(x: Any, *points: float) -> Any:
    """Whether no element is near one of these points, where a derivative jumps."""
    return all(np.all(abs(x - p) > 0.02) for p in points)


def within(x: Any, low: float, high: float) -> Any:
    return ((x > low) & (x < high)).all()


def sign(x: Any) -> Any:
    return np.where(x.real < 0, -1.0, 1.0)


def first_order(value: Any, slope: Any, x: Any) -> Any:
    """A function that NumPy has for real numbers only, near the real axis."""
    return value + 1j * slope * x.imag


def picked(x: Any, order: Any, axis: Any) -> Any:
    return np.take_along_axis(x, order, axis)


def flat(x: Any, axis: Any) -> tuple[Any, int]:
    return (x.ravel(), 0) if axis is None else (x, axis)


def arranged(x: Any, axis: Any) -> Any:
    """x sorted by its real part."""
    x, axis = flat(x, axis)
    return np.take_along_axis(x, np.argsort(x.real, axis), axis)


def extreme(x: Any, axis: Any, keepdims: Any, largest: bool) -> Any:
    """The element with the largest (smallest) real part over the axes."""
    axes = tuple(range(x.ndim)) if axis is None else tuple(a % x.ndim for a in np.atleast_1d(axis))
    rest = tuple(a for a in range(x.ndim) if a not in axes)
    rows = x.transpose(rest + axes).reshape(*(x.shape[a] for a in rest), -1)
    y = arranged(rows, -1)[..., -1 if largest else 0]
    return np.expand_dims(y, axes) if keepdims else y


def middle(x: Any, axis: Any) -> Any:
    rows = np.moveaxis(arranged(x, axis), 0 if axis is None else axis, -1)
    n = rows.shape[-1]
    return (rows[..., (n - 1) // 2] + rows[..., n // 2]) / 2


def softmax(x: Any, axis: Any, mask: Any = True) -> Any:
    e = np.exp(x - x.real.max(axis, keepdims=True)) * mask
    s = e.sum(axis, keepdims=True)
    return e / np.where(s == 0, 1.0, s)


def standard(x: Any, axis: Any, eps: float = 1e-5) -> Any:
    c = x - x.mean(axis, keepdims=True)
    return c / np.sqrt((c * c).mean(axis, keepdims=True) + eps)


def affine(x: Any, weight: Any, bias: Any) -> Any:
    """Scale and shift of each channel, at axis 1."""
    along = (-1,) + (1,) * (x.ndim - 2)
    return x * weight.reshape(along) + bias.reshape(along)


def grouped(x: Any, n: int) -> Any:
    return standard(x.reshape(len(x), n, -1), 2).reshape(x.shape)


def attend(q: Any, k: Any, v: Any, mask: Any) -> Any:
    return softmax(q @ np.swapaxes(k, -1, -2) * q.shape[-1] ** -0.5, -1, mask) @ v


def attend_heads(x: Any, heads: int, mask: Any) -> Any:
    b, t, d = x.shape
    q, k, v = x.reshape(b, t, 3, heads, -1).transpose(2, 0, 3, 1, 4)
    return np.swapaxes(attend(q, k, v, mask), 1, 2).reshape(b, t, d // 3)


def picks(x: Any, target: Any, ignore: Any, reduction: str, smoothing: float = 0.0, logits: bool = True) -> Any:
    p = x - np.log(np.exp(x).sum(-1, keepdims=True)) if logits else x
    counted = target != ignore
    at = -np.take_along_axis(p, np.where(counted, target, 0)[..., None], -1)[..., 0]
    losses = np.where(counted, (1 - smoothing) * at - smoothing * p.mean(-1), 0)
    return reduced(losses, reduction) if reduction != "mean" else losses.sum() / max(counted.sum(), 1)


def reduced(losses: Any, reduction: str) -> Any:
    return losses.mean() if reduction == "mean" else losses.sum() if reduction == "sum" else losses


def written(x: Any, index: Any, values: Any, add: bool = False) -> Any:
    y = np.array(x, np.result_type(x, values))
    if add:
        np.add.at(y, index, values)
    else:
        y[index] = values
    return y


def positions(shape: Any, index: Any) -> Any:
    """Where in the flattened array the elements of x[index] stand."""
    return np.array(np.arange(np.prod(shape, dtype=int)).reshape(shape)[index], order="C")


def lasting(shape: Any, index: Any) -> Any:
    """For each element of the flattened x, which of (x, values) flattened and joined stands there after writing."""
    at = positions(shape, index)
    n = np.prod(shape, dtype=int)
    source = np.arange(n)
    source[at.ravel()] = n + np.arange(at.size)  # NumPy: of several the last
    return source


def dims(x: Any, axis: Any) -> tuple[int, ...]:
    return tuple(range(x.ndim)) if axis is None else tuple(np.atleast_1d(axis).tolist())


def square(x: Any) -> Any:
    """Whether x is one well-conditioned matrix."""
    return x.ndim == 2 and x.shape[0] == x.shape[1] > 0 and np.linalg.cond(x) < 50


def bound(iop: Callable[..., Any], x: Any, y: Any) -> Any:
    """x += y where that binds a new tensor; a leaf to be trained refuses it, and an array is written into."""
    inner = isinstance(x, mg.Tensor) and x.node is not None
    return (iop if inner else getattr(operator, iop.__name__[1:]))(x, y)


def dropout_mask(shape: Any, n: int) -> Any:
    return draw_dropout_mask(shape, 0.5, np.random.default_rng(n), np.float64)


# Functions of one input, all of them elementwise: NumPy's, with PyTorch's of the same name unless it is given.
UNARY = {
    "negative": "", "positive": "", "square": "", "exp": "x.size == 0 or x.max() < 4",
    "exp2": "x.size == 0 or x.max() < 4", "expm1": "x.size == 0 or x.max() < 4", "sin": "", "cos": "", "tanh": "",
    "arctan": "", "arcsinh": "", "sinh": "within(x, -3, 3)", "cosh": "within(x, -3, 3)",
    "log": "within(x, 0.2, 99)", "log2": "within(x, 0.2, 99)", "log10": "within(x, 0.2, 99)",
    "log1p": "within(x, -0.8, 99)", "sqrt": "within(x, 0.1, 99)", "reciprocal": "(abs(x) > 0.3).all()",
    "tan": "within(x, -1.2, 1.2)", "arcsin": "within(x, -0.9, 0.9)", "arccos": "within(x, -0.9, 0.9)",
    "arctanh": "within(x, -0.9, 0.9)", "arccosh": "within(x, 1.2, 99)",
}  # fmt: skip

OPS = {name: Op("one", f"np.{name}(x)", safe=safe or "True") for name, safe in UNARY.items()}
OPS |= {
    "cbrt": Op("one", "np.cbrt(x)", "T.sign(x) * T.abs(x) ** (1 / 3)", "sign(x) * (sign(x) * x) ** (1 / 3)", "away(x, 0)"),
    "absolute": Op("one", "np.abs(x)", plain="sign(x) * x", safe="away(x, 0)"),
    "fabs": Op("one", "abs(x)", plain="sign(x) * x", safe="away(x, 0)"),
    "erf": Op("one", "F.erf(x)", "T.erf(x)", "first_order(F.erf(x.real), 2 / np.pi**0.5 * np.exp(-(x.real**2)), x)"),
    "rounded": Op("one", "x - np.floor(x)", "x - T.floor(x)", "x - np.floor(x.real)", "away(x - np.floor(x), 0, 1)"),
    "nan_to_num": Op("one", "np.nan_to_num(x)"),
    "power_2": Op("one", "x**2"),
    "power_3": Op("one", "x**3"),
    "power_inverse": Op("one", "x**-1", safe="(abs(x) > 0.3).all()"),
    "power_half": Op("one", "x**0.5", safe="within(x, 0.1, 99)"),
    "relu": Op("one", "F.relu(x)", "TF.relu(x)", "np.where(x.real > 0, x, 0)", "away(x, 0)"),
    "leaky_relu": Op("one", "F.leaky_relu(x, 0.1)", "TF.leaky_relu(x, 0.1)", "np.where(x.real > 0, x, 0.1 * x)", "away(x, 0)"),
    "elu": Op("one", "F.elu(x)", "TF.elu(x)", "np.where(x.real > 0, x, np.expm1(x))", "away(x, 0)"),
    "erfc": Op("one", "F.erfc(x)", "T.special.erfc(x)", "first_order(F.erfc(x.real), -2 / np.pi**0.5 * np.exp(-(x.real**2)), x)"),
    "gelu": Op("one", "F.gelu(x)", "TF.gelu(x)", "x * first_order(0.5 + 0.5 * F.erf(x.real * 0.5**0.5), (2 * np.pi) ** -0.5 * np.exp(-0.5 * x.real**2), x)"),
    "gelu_tanh": Op("one", "F.gelu(x, 'tanh')", "TF.gelu(x, approximate='tanh')", "0.5 * x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3)))"),
    "sigmoid": Op("one", "F.sigmoid(x)", "T.sigmoid(x)", "1 / (1 + np.exp(-x))"),
    "silu": Op("one", "F.silu(x)", "TF.silu(x)", "x / (1 + np.exp(-x))"),
    "softplus": Op("one", "F.softplus(x)", "T.logaddexp(x, T.zeros_like(x))", "np.log(1 + np.exp(x))"),
    "dropout": Op("number", "F.dropout(x, 0.5, rng=np.random.default_rng(n))", "x * T.tensor(dropout_mask(x.shape, n))", "x * dropout_mask(x.shape, n)", "x.size > 0"),
    # two inputs
    "add": Op("two", "x + y"),
    "subtract": Op("two", "x - y"),
    "multiply": Op("two", "x * y"),
    "divide": Op("two", "x / y", safe="np.all(abs(y) > 0.3)"),
    "np_add": Op("two", "np.add(x, y)"),
    "np_subtract": Op("two", "np.subtract(x, y)"),
    "np_multiply": Op("two", "np.multiply(x, y)"),
    "np_divide": Op("two", "np.divide(x, y)", safe="np.all(abs(y) > 0.3)"),
    "iadd": Op("two", "bound(operator.iadd, x, y)", "x + y", "x + y"),
    "imul": Op("two", "bound(operator.imul, x, y)", "x * y", "x * y"),
    "power": Op("two", "x**y", safe="within(np.asarray(x), 0.2, 9) and within(np.asarray(y), -3, 3)"),
    "maximum": Op("two", "np.maximum(x, y)", plain="np.where(x.real > y.real, x, y)", safe="away(x - y, 0)"),
    "minimum": Op("two", "np.minimum(x, y)", plain="np.where(x.real < y.real, x, y)", safe="away(x - y, 0)"),
    "fmax": Op("two", "np.fmax(x, y)", plain="np.where(x.real > y.real, x, y)", safe="away(x - y, 0)"),
    "fmin": Op("two", "np.fmin(x, y)", plain="np.where(x.real < y.real, x, y)", safe="away(x - y, 0)"),
    "logaddexp": Op("two", "np.logaddexp(x, y)", plain="np.log(np.exp(x) + np.exp(y))"),
    "logaddexp2": Op("two", "np.logaddexp2(x, y)", plain="np.log2(2**x + 2**y)"),
    "hypot": Op("two", "np.hypot(x, y)", plain="np.sqrt(x * x + y * y)", safe="np.all(x * x + y * y > 0.04)"),
    "arctan2": Op("two", "np.arctan2(x, y)", "T.arctan2(x, y)", "first_order(np.arctan2(x.real, y.real), 1 / (x.real**2 + y.real**2), (np.conj(y) * x))", "np.all(x * x + y * y > 0.04) and away(x, 0)"),
    "where_compare": Op("two", "np.where(x > 0.5, x, y)", plain="np.where(x.real > 0.5, x, y)", safe="away(x, 0.5)"),
    "where": Op("mask_two", "np.where(z, x, y)"),
    "safe_where": Op("mask_two", "np.where(z, np.sqrt(np.where(z, abs(x) + 0.5, 1.0)), y)", "T.where(z, T.sqrt(T.where(z, abs(x) + 0.5, 1.0)), y)", "np.where(z, np.sqrt(sign(x) * x + 0.5), y)", "away(x, 0)"),
    "clip": Op("one", "np.clip(x, -0.5, 1.0)", plain="np.where(x.real < -0.5, -0.5, np.where(x.real > 1, 1, x))", safe="away(x, -0.5, 1)"),
    "clip_below": Op("two", "np.clip(x, y, None)", "T.maximum(x, y)", "np.where(x.real < y.real, y, x)", "away(x - y, 0)"),
    # reductions
    "sum": Op("reduction", "np.sum(x, axis=axis, keepdims=keepdims)", "T.sum(x, dims(x, axis), keepdim=keepdims)"),
    "mean": Op("reduction", "np.mean(x, axis=axis, keepdims=keepdims)", "T.mean(x, dims(x, axis), keepdim=keepdims)", safe="x.size > 0"),
    "max": Op("reduction", "np.max(x, axis=axis, keepdims=keepdims)", "T.amax(x, dims(x, axis), keepdim=keepdims)", "extreme(x, axis, keepdims, True)", "x.size > 0 and apart(x)"),
    "min": Op("reduction", "np.min(x, axis=axis, keepdims=keepdims)", "T.amin(x, dims(x, axis), keepdim=keepdims)", "extreme(x, axis, keepdims, False)", "x.size > 0 and apart(x)"),
    "var": Op("reduction", "np.var(x, axis=axis, keepdims=keepdims)", "T.var(x, dims(x, axis), correction=0, keepdim=keepdims)", "np.mean((x - np.mean(x, axis=axis, keepdims=True)) ** 2, axis=axis, keepdims=keepdims)", "x.size > 0"),
    "std": Op("reduction", "np.std(x, axis=axis, keepdims=keepdims)", "T.std(x, dims(x, axis), correction=0, keepdim=keepdims)", "np.sqrt(np.mean((x - np.mean(x, axis=axis, keepdims=True)) ** 2, axis=axis, keepdims=keepdims))", "x.size > 0 and (np.std(x, axis=axis) > 0.1).all()"),
    "logsumexp": Op("reduction", "F.logsumexp(x, axis=axis, keepdims=keepdims)", "T.logsumexp(x, dims(x, axis), keepdim=keepdims)", "np.log(np.sum(np.exp(x), axis=axis, keepdims=keepdims))", "x.size > 0"),
    "ptp": Op("reduction", "np.ptp(x, axis=axis, keepdims=keepdims)", "T.amax(x, dims(x, axis), keepdim=keepdims) - T.amin(x, dims(x, axis), keepdim=keepdims)", "extreme(x, axis, keepdims, True) - extreme(x, axis, keepdims, False)", "x.size > 0 and apart(x)"),
    "norm": Op("one", "np.linalg.norm(x)", "T.sqrt(T.sum(x * x))", "np.sqrt(np.sum(x * x))", "x.size > 0 and 0 < x.ndim < 3 and (x * x).sum() > 0.04"),
    "norm_1": Op("axis", "np.linalg.norm(x, 1, axis=axis)", "T.sum(abs(x), axis)", "np.sum(sign(x) * x, axis=axis)", "axis is not None and away(x, 0)"),
    "prod": Op("axis", "np.prod(x, axis=axis)", "T.prod(x) if axis is None else T.prod(x, axis)"),
    "cumsum": Op("axis", "np.cumsum(x, axis=axis)", "T.cumsum(x.ravel(), 0) if axis is None else T.cumsum(x, axis)"),
    "cumprod": Op("axis", "np.cumprod(x, axis=axis)", "T.cumprod(x.ravel(), 0) if axis is None else T.cumprod(x, axis)"),
    "sort": Op("axis", "np.sort(x, axis=axis)", "T.sort(x.ravel())[0] if axis is None else T.sort(x, axis)[0]", "arranged(x, axis)", "apart(x)"),
    "median": Op("axis", "np.median(x, axis=axis)", "T.quantile(x, 0.5) if axis is None else T.quantile(x, 0.5, dim=axis)", "middle(x, axis)", "x.size > 0 and apart(x)"),
    "average": Op("rows", "np.average(x, axis=-1, weights=y)", "(x * y).sum(-1) / y.sum()", "(x * y).sum(-1) / y.sum()", "np.ndim(x) > 0 and abs(y.sum()) > 0.3"),
    # shapes
    "reshape": Op("reshaped", "np.reshape(x, shape)"),
    "method_reshape": Op("reshaped", "x.reshape(shape)"),
    "ravel": Op("one", "np.ravel(x)"),
    "transpose": Op("permuted", "np.transpose(x, axis)", "T.permute(x, axis)"),
    "T": Op("one", "x.T", "T.permute(x, tuple(range(x.ndim))[::-1])"),
    "mT": Op("one", "x.mT", safe="x.ndim > 1"),
    "swapaxes": Op("one", "np.swapaxes(x, 0, -1)", safe="x.ndim > 0"),
    "moveaxis": Op("one", "np.moveaxis(x, 0, -1)", safe="x.ndim > 0"),
    "expand_dims": Op("axis", "np.expand_dims(x, axis)", "T.unsqueeze(x, axis)", safe="axis is not None"),
    "squeeze": Op("one", "np.squeeze(x)"),
    "broadcast_to": Op("one", "np.broadcast_to(x, (2, *x.shape))", safe="x.size < 20"),
    "tile": Op("one", "np.tile(x, (2, 1))", safe="x.size < 20"),
    "repeat": Op("axis", "np.repeat(x, 2, axis=axis)", "T.repeat_interleave(x.ravel() if axis is None else x, 2, dim=axis or 0)", safe="x.size < 20"),
    "flip": Op("axis", "np.flip(x, axis)", "T.flip(x, dims(x, axis))"),
    "roll": Op("axis", "np.roll(x, 1, axis)", "T.roll(x, 1, axis)"),
    "rot90": Op("one", "np.rot90(x)", safe="x.ndim > 1"),
    "tril": Op("one", "np.tril(x)", safe="x.ndim > 1"),
    "triu": Op("one", "np.triu(x, 1)", safe="x.ndim > 1"),
    "pad": Op("one", "np.pad(x, 1)", "TF.pad(x, (1, 1) * x.ndim)", safe="x.ndim > 0 and x.size < 10"),
    "diag": Op("one", "np.diag(x)", safe="0 < x.ndim < 3 and x.size < 7"),
    "diagonal": Op("one", "np.diagonal(x)", safe="x.ndim > 1"),
    "trace": Op("one", "np.trace(x)", safe="x.ndim == 2"),
    "concatenate": Op("joined", "np.concatenate(xs, axis=axis)", "T.cat(xs, axis)"),
    "stack": Op("alike", "np.stack(xs, axis=axis)", "T.stack(xs, axis)"),
    "vstack": Op("alike", "np.vstack(xs)", "T.vstack(xs)"),
    "hstack": Op("alike", "np.hstack(xs)", "T.hstack(xs)"),
    "split": Op("one", "np.split(x, 2)[1] * np.split(x, 2)[0]", "T.chunk(x, 2)[1] * T.chunk(x, 2)[0]", safe="x.ndim > 0 and len(x) > 0 and len(x) % 2 == 0"),
    "iterate": Op("one", "sum(row * i for i, row in enumerate(x))", safe="x.ndim > 0 and len(x) > 1"),
    # indexing
    "getitem": Op("indexed", "x[index]", "x.reshape(-1)[T.tensor(positions(x.shape, index))]"),
    "getitem_rows": Op("rows_of", "x[y]"),
    "getitem_mask": Op("masked", "x[y]"),
    "take": Op("rows_of", "np.take(x, y, axis=0)", "x[y]"),
    "take_along_axis": Op("one", "np.take_along_axis(x, np.zeros((1,) * x.ndim, int), -1)", "T.take_along_dim(x, T.zeros((1,) * x.ndim, dtype=T.int64), -1)", safe="x.ndim == 1 and x.size > 0"),
    "index_update": Op("written", "mg.index_update(x, index, y)", "T.cat([x.ravel(), y.broadcast_to(positions(x.shape, index).shape).ravel()])[lasting(x.shape, index)].reshape(x.shape)", "written(x, index, y)"),
    "index_add": Op("written", "mg.index_add(x, index, y)", "x.ravel().index_add(0, T.tensor(positions(x.shape, index).ravel()), y.broadcast_to(positions(x.shape, index).shape).ravel()).reshape(x.shape)", "written(x, index, y, True)"),
    # linear algebra
    "matmul": Op("product", "x @ y"),
    "np_matmul": Op("product", "np.matmul(x, y)"),
    "dot": Op("product", "np.dot(x, y)", "x @ y", safe="np.ndim(y) < 3"),
    "inner": Op("rows", "np.inner(x, y)", "x @ y", safe="np.ndim(x) > 0"),
    "vecdot": Op("rows", "np.vecdot(x, y)", "T.sum(x * y, -1)", "np.sum(x * y, axis=-1)"),
    "outer": Op("two", "np.outer(x, y)", "T.outer(x.ravel(), y.ravel())", safe="np.size(x) * np.size(y) < 40"),
    "tensordot": Op("two", "np.tensordot(x, y, 0)", safe="np.size(x) * np.size(y) < 40 and np.ndim(x) + np.ndim(y) < 4"),
    "einsum": Op("summed", "np.einsum(subscripts, *xs)", "T.einsum(subscripts, *xs)"),
    "inv": Op("one", "np.linalg.inv(x)", safe="square(x)"),
    "det": Op("one", "np.linalg.det(x)", safe="square(x)"),
    "logdet": Op("one", "np.linalg.slogdet(x)[1]", plain="np.log(np.linalg.det(x) * np.sign(np.linalg.det(x.real)))", safe="square(x)"),
    "solve": Op("product", "np.linalg.solve(x, y)", safe="square(x) and y.ndim == x.ndim == 2"),
    # functional
    "softmax": Op("axis", "F.softmax(x, axis)", "TF.softmax(x.ravel(), 0).reshape(x.shape) if axis is None else TF.softmax(x, axis)", "softmax(x, axis)", "x.size > 0"),
    "log_softmax": Op("axis", "F.log_softmax(x, axis)", "TF.log_softmax(x.ravel(), 0).reshape(x.shape) if axis is None else TF.log_softmax(x, axis)", "np.log(softmax(x, axis))", "x.size > 0 and np.ptp(x) < 30"),
    "masked_softmax": Op("masked", "F.masked_softmax(x, y)", "masked(x, y)", "softmax(x, -1, y)", "x.size > 0"),
    "layer_norm": Op("normed", "F.layer_norm(x, x.shape[-1:], y, z)", "TF.layer_norm(x, x.shape[-1:], y, z)", "standard(x, -1) * y + z", "x.size > 0 and (np.std(x, -1) > 0.1).all()"),
    "layer_norm_bare": Op("one", "F.layer_norm(x, x.shape)", "TF.layer_norm(x, x.shape)", "standard(x, None)", "x.ndim > 0 and x.size > 1 and np.std(x) > 0.1"),
    "rms_norm": Op("normed", "F.rms_norm(x, x.shape[-1:], y) + z", "TF.rms_norm(x, x.shape[-1:], y, 1e-6) + z", "x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-6) * y + z", "x.size > 0 and ((x * x).mean(-1) > 0.01).all()"),
    "batch_norm": Op("channels", "F.batch_norm(x, None, None, y, z, training=True)", "TF.batch_norm(x, None, None, y.contiguous(), z, training=True)", "affine(standard(x, (0, 2)[: x.ndim - 1]), y, z)", "x.size > x.shape[1] and (np.std(x, (0, 2)[: x.ndim - 1]) > 0.1).all()"),
    # PyTorch 2.13 reads a weight with gaps (a diagonal) as if it had none, in backward: so it gets a copy
    "batch_norm_running": Op("channels", "F.batch_norm(x, np.full(len(y), 0.5), np.full(len(y), 2.0), y, z)", "TF.batch_norm(x, T.full(y.shape, 0.5, dtype=x.dtype), T.full(y.shape, 2.0, dtype=x.dtype), y.contiguous(), z)", "affine((x - 0.5) / np.sqrt(2 + 1e-5), y, z)"),
    "group_norm": Op("channels", "F.group_norm(x, 1, y, z)", "TF.group_norm(x, 1, y, z)", "affine(grouped(x, 1), y, z)", "x.size > len(x) and (np.std(x.reshape(len(x), -1), 1) > 0.1).all()"),
    "instance_norm": Op("channels", "F.instance_norm(x, y, z)", "TF.instance_norm(x, weight=y, bias=z)", "affine(standard(x, 2), y, z)", "x.ndim == 3 and x.shape[2] > 1 and (np.std(x, 2) > 0.1).all()"),
    "linear": Op("layer", "F.linear(x, y, z)", "TF.linear(x, y, z)", "x @ y.T + z"),
    "embedding": Op("rows_of", "F.embedding(y, x)", "TF.embedding(y, x)", "x[y]", "x.ndim == 2"),
    "embedding_padded": Op("rows_of", "F.embedding(y, x, 0)", "TF.embedding(y, x, 0)", "np.where((y == 0)[:, None], x[y].real, x[y])", "x.ndim == 2"),
    "attention": Op("attended", "F.scaled_dot_product_attention(x, y, z, w)", "masked(x @ y.mT * x.shape[-1] ** -0.5, w) @ z", "attend(x, y, z, w)"),
    "attention_causal": Op("attended", "F.scaled_dot_product_attention(x, y, z, is_causal=True)", "TF.scaled_dot_product_attention(x, y, z, is_causal=True)", "attend(x, y, z, np.tri(x.shape[-2], y.shape[-2], dtype=bool))"),
    "self_attention": Op("heads", "F.self_attention(x, 2, y, None, 1.0)", "T.cat([masked(x[..., i : i + 1] @ x[..., 2 + i : 3 + i].mT, y[:, 0]) @ x[..., 4 + i : 5 + i] for i in range(2)], -1)", "attend_heads(x, 2, y)"),
    "cross_entropy": Op("classed", "F.cross_entropy(x, y, ignore_index=1, label_smoothing=smoothing, reduction=reduction)", "entropy(x, y, smoothing, reduction)", "picks(x, y, 1, reduction, smoothing)", "(y != 1).any()"),
    "nll_loss": Op("classed", "F.nll_loss(-x * x, y, ignore_index=1, reduction=reduction)", "TF.nll_loss(-x.reshape(-1, x.shape[-1]) ** 2, y.ravel(), ignore_index=1, reduction=reduction).reshape(y.shape if reduction == 'none' else ())", "picks(-x * x, y, 1, reduction, logits=False)", "(y != 1).any()"),
    "mse_loss": Op("pair", "F.mse_loss(x, y, reduction=reduction)", "TF.mse_loss(x, y, reduction=reduction)", "reduced((x - y) ** 2, reduction)", "x.size > 0"),
    "l1_loss": Op("pair", "F.l1_loss(x, y, reduction=reduction)", "TF.l1_loss(x, y, reduction=reduction)", "reduced(sign(x - y) * (x - y), reduction)", "x.size > 0 and away(x - y, 0)"),
    "huber_loss": Op("pair", "F.huber_loss(x, y, reduction=reduction)", "TF.huber_loss(x, y, reduction=reduction)", "reduced(np.where(abs((x - y).real) < 1, 0.5 * (x - y) ** 2, sign(x - y) * (x - y) - 0.5), reduction)", "x.size > 0 and away(x - y, -1, 1)"),
    "bce_loss": Op("pair", "F.binary_cross_entropy_with_logits(x, y, reduction=reduction)", "TF.binary_cross_entropy_with_logits(x, y, reduction=reduction)", "reduced(np.log(1 + np.exp(x)) - x * y, reduction)", "x.size > 0 and within(np.asarray(y), 0, 1)"),
}  # fmt: skip


def compiled(text: str, **more: Any) -> Callable[..., Any]:
    settings = ", ".join(f"{name}=None" for name in SETTINGS.split())
    made: Callable[..., Any] = eval(
        f"lambda x=None, y=None, z=None, w=None, *, xs=None, {settings}: {text}", globals() | more
    )
    return made


OURS = {name: compiled(op.ours) for name, op in OPS.items()}
PLAIN = {name: compiled(op.plain or op.ours) for name, op in OPS.items()}
SAFE = {name: compiled(op.safe) for name, op in OPS.items()}


def called(function: Callable[..., Any], step: Step, inputs: Any) -> Any:
    return function(xs=inputs, **step.settings) if "xs" in OPS[step.op].ours else function(*inputs, **step.settings)


# ---- programs --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One step of a program; its value is known by the step's number.

    op: one of OPS, or: "leaf", "array", "number" (settings: value; of leaves made, requires_grad), "detach",
    "hook" (scale; None only looks on), "attempt" (how: a write that must be refused), "mutate" (how), "nothing".
    args: the numbers of the steps whose values go in. recorded: False under no_grad.
    """

    op: str
    args: tuple[int, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    recorded: bool = True


@dataclass(frozen=True)
class Program:
    """Steps, and what is done with their values.

    blocks: (first, last, inputs) of runs of steps that are one mg.checkpoint, of whose values only the last is used
    outside; inputs: what is handed to its function, which takes everything else from around it.
    roots: steps whose values are differentiated, each with its cotangent. mode: one of MODES.
    targets: steps whose gradients are asked for: all leaves that require one, and perhaps a value between.
    """

    steps: tuple[Step, ...]
    blocks: tuple[tuple[int, int, tuple[int, ...]], ...]
    roots: tuple[tuple[int, Any], ...]
    targets: tuple[int, ...]
    mode: str

    def has(self, op: str) -> bool:
        return any(step.op == op for step in self.steps)

    @property
    def operations(self) -> int:
        return sum(step.op in OPS for step in self.steps)


MODES = ("backward", "each", "twice", "grad", "create_graph", "second")
LEAVES = ("tensor", "Tensor", "view")
MUTATIONS = ("data", "row", "source", "detach", "transposed", "no_grad_view", "rebind")
ATTEMPTS = ("setitem", "iadd", "out")
TABLE = np.random.default_rng(0).permutation(np.linspace(-2, 2, 4001))  # no two alike, so ties are no accident
TABLE = np.where(abs(TABLE) < 0.05, TABLE + 0.3, TABLE)


class NoFit(Exception):  # noqa: N818  no error: another operation is tried
    """There is nothing among the values that this operation could take."""


class Grower:
    """Grows a program from choices: choose(n) is any number from 0 to n − 1, drawn by Hypothesis or by NumPy.

    Every operation is run on arrays as it is chosen, to know the shapes, and that its inputs are safe.
    writes: whether arrays are written into between operations and before backward.
    """

    def __init__(self, choose: Callable[[int], int], writes: bool = True) -> None:
        self.choose = choose
        self.writes = writes
        self.steps: list[Step] = []
        self.values: list[Any] = []
        self.visible: list[int] = []  # floats that may be used
        self.live: set[int] = set()  # those that a gradient flows through
        self.inner: set[int] = set()  # of these, what a checkpoint makes on the way

    # -- what there is --

    def add(self, step: Step, value: Any, live: bool = False, visible: bool = True) -> int:
        self.steps.append(step)
        self.values.append(value)
        n = len(self.steps) - 1
        if visible:
            self.visible.append(n)
        if live:
            self.live.add(n)
        return n

    def maybe(self, one_in: int) -> bool:
        return self.choose(one_in) == one_in - 1

    def among(self, things: Any) -> Any:
        if not things:
            raise NoFit
        return things[self.choose(len(things))]

    def numbers(self, shape: tuple[int, ...]) -> Any:
        n = int(np.prod(shape))
        start = self.choose(4001 - n)
        x = TABLE[start : start + n].reshape(shape)
        return np.array(abs(x) * 0.5 + 0.25 if self.maybe(2) else x)

    def fresh(self, shape: tuple[int, ...]) -> int:
        """A leaf (three times of four with a gradient), an array, or for () perhaps a number."""
        kind = self.choose(8)
        value = self.numbers(shape)
        if kind == 7 and shape == ():
            return self.add(Step("number", (), {"value": float(value)}), float(value), visible=False)
        if kind >= 6:
            return self.add(Step("array", (), {"value": value}), value.copy(), visible=False)
        made, live = self.among(LEAVES), kind < 5
        return self.add(Step("leaf", (), {"value": value, "made": made, "requires_grad": live}), value.copy(), live)

    def any(self, fits: Callable[[Any], Any] = lambda x: True) -> int:
        """A value of the program; the youngest are the likeliest."""
        found = [i for i in self.visible if fits(self.values[i])]
        if not found:
            raise NoFit
        n = len(found)
        return found[n - 1 - min(self.choose(n), self.choose(n))]

    def other(self, shape: tuple[int, ...], exactly: bool = True) -> int:
        """A value of this shape (or one that broadcasts to it), made where there is none or by chance."""

        def fits(x: Any) -> bool:
            if np.shape(x) == shape or exactly:
                return np.shape(x) == shape
            return x.ndim <= len(shape) and all(a in (1, b) for a, b in zip(x.shape[::-1], shape[::-1], strict=False))

        if not self.maybe(3):
            try:
                return self.any(fits)
            except NoFit:
                pass
        if not exactly:
            shape = tuple(1 if self.maybe(4) else n for n in shape[self.choose(len(shape) + 1) :])
        return self.fresh(shape)

    def constant(self, value: Any) -> int:
        return self.add(Step("array", (), {"value": value}), value.copy(), visible=False)

    def booleans(self, shape: tuple[int, ...]) -> int:
        n = int(np.prod(shape))
        bits = self.choose(1 << min(n, 16))
        return self.constant(((bits >> np.arange(n) % 16) & 1).astype(bool).reshape(shape))

    def whole(self, shape: tuple[int, ...], size: int) -> int:
        n = int(np.prod(shape))
        return self.constant(np.array([self.choose(size) for _ in range(n)], np.int64).reshape(shape))

    # -- inputs and settings, as the column `takes` of OPS names them --

    def one(self) -> Any:
        return (self.any(),), {}

    def number(self) -> Any:
        return (self.any(),), {"n": self.choose(10)}

    def two(self) -> Any:
        x = self.any()
        y = self.other(self.values[x].shape, exactly=False)
        return ((x, y), (y, x))[self.choose(2)], {}

    def mask_two(self) -> Any:
        (x, y), _ = self.two()
        shape = np.broadcast_shapes(np.shape(self.values[x]), np.shape(self.values[y]))
        return (x, y, self.booleans(shape)), {}

    def pair(self) -> Any:
        x = self.any()
        y = self.other(self.values[x].shape)
        if isinstance(self.values[y], float):
            raise NoFit
        return (x, y), {"reduction": self.among(("mean", "sum", "none"))}

    def axis_of(self, x: Any) -> Any:
        return self.among([None, *range(x.ndim), *range(-x.ndim, 0)])

    def axis(self) -> Any:
        x = self.any()
        return (x,), {"axis": self.axis_of(self.values[x])}

    def reduction(self) -> Any:
        (x,), settings = self.axis()
        if self.values[x].ndim > 1 and self.maybe(4):
            settings = {"axis": (0, -1)}
        return (x,), settings | {"keepdims": self.maybe(2)}

    def rows(self) -> Any:
        x = self.any(lambda x: x.ndim > 0 and x.size > 0)
        y = self.other(self.values[x].shape[-1:])
        return (x, y), {}

    def reshaped(self) -> Any:
        x = self.any()
        shape, size = self.values[x].shape, self.values[x].size
        shapes = [shape[::-1], (size,), (1, *shape)] + [(n, size // n) for n in (2, 3) if size % n == 0]
        return (x,), {"shape": self.among(shapes)}

    def permuted(self) -> Any:
        x = self.any()
        axes = list(range(self.values[x].ndim))
        return (x,), {"axis": tuple(axes.pop(self.choose(len(axes))) for _ in range(len(axes)))}

    def joined(self) -> Any:
        x = self.any(lambda x: x.ndim > 0)
        ys = [x, *(self.other(self.values[x].shape) for _ in range(1 + self.choose(2)))]
        return tuple(ys), {"axis": self.choose(self.values[x].ndim)}

    alike = joined

    def an_index(self, shape: tuple[int, ...]) -> Any:
        """Basic or advanced, of several forms, of an array with at least one axis."""
        n, last = shape[0], shape[-1]

        def ids(k: int, n: int) -> Any:
            return np.array([self.choose(n) - n * self.maybe(3) for _ in range(k)], np.int64)

        forms: list[Callable[[], Any]] = [
            lambda: slice(None, None, -1),
            lambda: slice(self.choose(n + 1), None),
            lambda: (..., slice(None, None, 2)),
            lambda: (None, ..., slice(1, None)),
        ]
        if min(shape) > 0:
            forms += [
                lambda: self.choose(n) - n,
                lambda: (..., self.choose(last)),
                lambda: ids(3, n),
                lambda: ids(3, n).tolist(),
                lambda: (..., ids(3, last)),
                lambda: np.arange(n) % 2 == 0,
                lambda: tuple(ids(3, k) for k in shape),
                lambda: (ids(2, n)[:, None], None, *(ids(2, k) for k in shape[1:2])),
                lambda: np.arange(np.prod(shape)).reshape(shape) % 3 == 0,
            ]
        if len(shape) > 1 and min(shape) > 0:
            forms += [lambda: (slice(None), ids(3, shape[1])), lambda: (ids(2, n), slice(None, None, -1))]
            forms += [  # mixed: numbers, slices, arrays, masks, None and an ellipsis beside each other
                lambda: (self.choose(n), None, ..., ids(3, last).tolist()),
                lambda: (ids(2, n), ..., None, ids(2, last)),
                lambda: (None, np.arange(n) % 2 == 0, ..., slice(None, None, -1)),
                lambda: (ids(2, n)[:, None], *(slice(None),) * (len(shape) - 2), ids(3, last)),
                lambda: (slice(1, None), ..., None, np.arange(last) % 2 == 0),
            ]
        return self.among(forms)()

    def indexed(self) -> Any:
        x = self.any(lambda x: x.ndim > 0)
        return (x,), {"index": self.an_index(self.values[x].shape)}

    def written(self) -> Any:
        x = self.any(lambda x: x.ndim > 0)
        index = self.an_index(self.values[x].shape)
        return (x, self.other(self.values[x][index].shape, exactly=False)), {"index": index}

    def rows_of(self) -> Any:
        x = self.any(lambda x: x.ndim > 0 and len(x) > 0)
        return (x, self.whole((3,), len(self.values[x]))), {}

    def masked(self) -> Any:
        x = self.any(lambda x: x.ndim > 0)
        return (x, self.booleans(self.values[x].shape)), {}

    def product(self) -> Any:
        x = self.any(lambda x: x.ndim > 0)
        n = self.values[x].shape[-1]
        return (x, self.other(self.among([(n,), (n, 2), (n, 3), (n, n)]))), {}

    def summed(self) -> Any:
        x = self.any(lambda x: 0 < x.ndim < 3)
        a, b = self.values[x].shape[0], self.values[x].shape[-1]
        if self.values[x].ndim == 1:
            forms = [("i->", ()), ("i,i->i", (a,)), ("i,j->ji", (2,)), ("i,ij->j", (a, 3)), ("i,jj->ij", (2, 2))]
        else:
            forms = [("ij->j", ()), ("ij,jk->ik", (b, 2)), ("ij,kj->ki", (3, b)), ("ij,ij->", (a, b)), ("ij,j->", (b,))]
            forms += [("...j,j", (b,))] + [("ii,i->i", (a,)), ("ii", ())] * (a == b)
        text, shape = self.among(forms)
        return (x, self.other(shape)) if "," in text else (x,), {"subscripts": text}

    def normed(self) -> Any:
        x = self.any(lambda x: x.ndim > 0 and x.shape[-1] > 1)
        shape = self.values[x].shape[-1:]
        return (x, self.other(shape), self.other(shape)), {}

    def channels(self) -> Any:
        x = self.any(lambda x: x.ndim in (2, 3) and x.size > 0)
        shape = self.values[x].shape[1:2]
        return (x, self.other(shape), self.other(shape)), {}

    def layer(self) -> Any:
        x = self.any(lambda x: x.ndim > 0)
        return (x, self.other((2, self.values[x].shape[-1])), self.other((2,))), {}

    def attended(self) -> Any:
        x = self.any(lambda x: x.ndim in (2, 3) and x.size > 0)
        *_, t, e = shape = self.values[x].shape
        k = self.other((*shape[:-2], 3, e))
        return (x, k, self.other((*shape[:-2], 3, 2)), self.booleans((t, 3))), {}

    def heads(self) -> Any:
        x = self.other((2, 3, 6))
        if x not in self.visible:
            raise NoFit  # of arrays alone a loss is a NumPy scalar, which is refused as an input
        return (x, self.booleans((2, 1, 3, 3))), {}

    def classed(self) -> Any:
        x = self.any(lambda x: x.ndim > 0 and x.shape[-1] > 1)
        shape = self.values[x].shape
        settings = {"reduction": self.among(("mean", "sum", "none")), "smoothing": self.among((0.0, 0.1))}
        return (x, self.whole(shape[:-1], shape[-1])), settings

    # -- growing --

    def operation(self) -> bool:
        """Add one operation; False where the one chosen fits nothing, or what there is would not be safe."""
        name = self.among(NAMED)
        before = len(self.steps), len(self.visible)
        try:
            args, settings = getattr(self, OPS[name].takes)()
            inputs = [self.values[i] for i in args]
            if name in ONLY_TENSORS and args[0] not in self.visible:
                raise NoFit
            step = Step(name, args, settings, recorded=not self.maybe(16))
            with np.errstate(all="ignore"):
                if not called(SAFE[name], step, inputs):
                    raise NoFit
                value = np.asarray(called(PLAIN[name], step, inputs))
                value = value.real if value.dtype.kind == "c" else value
            if value.size > 64 or value.ndim > 4 or (value.size and not abs(value).max() < 20):
                raise NoFit
        except NoFit:
            for i in range(before[0], len(self.steps)):
                self.live.discard(i)
            del self.steps[before[0] :], self.values[before[0] :], self.visible[before[1] :]
            return False
        self.add(step, value, step.recorded and not self.live.isdisjoint(args))
        return True

    def operations(self, wanted: int) -> None:
        for _ in range(4 * wanted):
            wanted -= self.operation()
            if not wanted:
                break

    def checkpointed(self, blocks: list[Any]) -> None:
        """A few operations whose values are forgotten, all but the last."""
        first, seen = len(self.steps), len(self.visible)
        self.operations(1 + self.choose(3))
        made = self.visible[seen:]
        leaves = any(step.op == "leaf" for step in self.steps[first:])
        if not made or made[-1] not in self.live or leaves or len(self.steps) - 1 != made[-1]:
            return  # a leaf that is made inside is another one each time: not what a checkpoint is for
        del self.visible[seen:-1]
        self.inner.update(range(first, made[-1]))
        blocks.append((first, made[-1], tuple(i for i in self.taken(first, made[-1]) if not self.maybe(3))))

    def extra(self) -> None:
        """Something that makes no value: a hook, a detached part, a forbidden write, or a mutation."""
        kind = self.among(("hook", "detach", "attempt", "mutate"))
        x = self.any()
        if kind == "detach" and x in self.live:
            self.add(Step("detach", (x,)), self.values[x])
        elif kind == "hook" and x in self.live:
            self.add(Step("hook", (x,), {"scale": self.among((None, 0.5, -2.0))}), None, visible=False)
        elif kind == "attempt" and x in self.live:
            self.add(Step("attempt", (x,), {"how": self.among(ATTEMPTS)}), None, visible=False)
        elif kind == "mutate" and self.writes:
            self.mutation()

    def mutation(self) -> None:
        kept = [i for i, v in enumerate(self.values) if isinstance(v, np.ndarray) and v.size and i not in self.inner]
        if not kept:
            return
        x = self.among(kept)
        how = "data" if self.steps[x].op == "array" else self.among(MUTATIONS)
        if how == "rebind" and self.steps[x].op != "leaf":  # which a result refuses
            how = "data"
        self.values = [v.copy() if isinstance(v, np.ndarray) else v for v in self.values]  # no chain of views here
        self.values[x] = changed(self.values[x])
        self.add(Step("mutate", (x,), {"how": how}), None, visible=False)

    def program(self) -> Program:
        blocks: list[Any] = []
        for _ in range(1 + self.choose(3)):
            self.live.add(self.leaf())
        for _ in range(3 + self.choose(10)):
            kind = self.choose(12)
            if kind < 9:
                self.operations(1)
            elif kind < 11:
                self.extra()
            else:
                self.checkpointed(blocks)
        if self.writes and self.maybe(3):
            self.mutation()
        used = {i for step in self.steps if step.op in OPS for i in step.args}
        sinks = [i for i in self.visible if i not in used and i in self.live]
        sinks = sinks or [i for i in self.visible if i in self.live][-1:]
        roots = tuple((i, self.numbers(self.values[i].shape)) for i in sinks[-3:])
        mode = self.among(MODES)
        leaves = [i for i, s in enumerate(self.steps) if s.op == "leaf" and s.settings["requires_grad"]]
        middle = [i for i in self.visible if i in self.live and self.steps[i].op in OPS]
        targets = leaves + ([self.among(middle)] if mode == "grad" and middle else [])
        if mode == "second" and any(step.op in ("mutate", "embedding_padded") for step in self.steps):
            # the second derivative is that of a program in which later values move, too, or a row must not
            mode = "create_graph"
        if mode in ("create_graph", "second"):  # a checkpoint is then to be handed all that it uses
            blocks = [(first, last, self.taken(first, last)) for first, last, _ in blocks]
        return Program(tuple(self.steps), tuple(blocks), roots, tuple(targets), mode)

    def taken(self, first: int, last: int) -> tuple[int, ...]:
        """The steps before the first from which those up to the last take values that have a gradient."""
        used = {i for step in self.steps[first : last + 1] for i in step.args if i < first and i in self.live}
        return tuple(sorted(used))

    def leaf(self) -> int:
        value = self.numbers(self.among(SHAPES))
        made = self.among(LEAVES)
        return self.add(Step("leaf", (), {"value": value, "made": made, "requires_grad": True}), value.copy(), True)


SHAPES = ((3,), (2, 3), (3, 3), (), (2, 1), (2, 2, 3), (1, 3), (4,), (0,), (2, 0))
NAMED = tuple(OPS)
ONLY_TENSORS = frozenset(name for name, op in OPS.items() if re.search(r"\bx\.(reshape|mT|T)\b|index_", op.ours))


def changed(x: Any) -> Any:
    """Other values, in the range of the first: of whole numbers the same ones, elsewhere."""
    if x.dtype.kind == "f":
        return np.asarray(x * 1.25 + 0.1)
    return ~x if x.dtype.kind == "b" else np.flip(x).copy()


def direction(n: int, shape: tuple[int, ...]) -> Any:
    """What the gradient of target n is multiplied with, before it is differentiated again."""
    start = 100 * n % 3900
    return TABLE[start : start + int(np.prod(shape))].reshape(shape)


# ---- run by minigrad -------------------------------------------------------------------------------------------------


class Wrong(AssertionError):  # noqa: N818  as NoFit
    """minigrad did what it must not do."""


def data(x: Any) -> Any:
    return x.data if isinstance(x, mg.Tensor) else x


def copied(x: Any) -> Any:
    x = data(x)
    return x.copy() if isinstance(x, np.ndarray) else x


class Ours:
    """One run of a program by minigrad; with the inputs and the value of each operation as they were at its time."""

    def __init__(self, program: Program, backward: bool = True) -> None:
        self.program = program
        n = len(program.steps)
        self.values: list[Any] = [None] * n
        self.sources: dict[int, Any] = {}
        self.inputs: list[Any] = [None] * n
        self.outputs: list[Any] = [None] * n
        self.first: dict[int, Any] = {}
        self.second: dict[int, Any] | None = None
        self.refused = ""
        with np.errstate(all="ignore"):
            self.forward()
            if backward and self.finite:
                self.backward()

    @property
    def finite(self) -> bool:
        """Whether all that was computed is: a mutation may lead out of a function's domain."""
        return all(out is None or np.isfinite(out).all() for out in self.outputs)

    def forward(self) -> None:
        blocks = {first: (last, inputs) for first, last, inputs in self.program.blocks}
        i = 0
        while i < len(self.program.steps):
            if i in blocks:
                last, inputs = blocks[i]
                self.values[last] = mg.checkpoint(self.block(i, last, inputs), *(self.values[k] for k in inputs))
                i = last
            else:
                self.run(i, self.values)
            i += 1

    def block(self, first: int, last: int, inputs: tuple[int, ...]) -> Callable[..., Any]:
        around = list(self.values)

        def function(*given: Any) -> Any:
            local = list(around)
            for k, x in zip(inputs, given, strict=True):
                local[k] = x
            for i in range(first, last + 1):
                self.run(i, local)
            return local[last]

        return function

    def run(self, i: int, values: list[Any]) -> None:
        step = self.program.steps[i]
        args = [values[k] for k in step.args]
        if step.op in OPS:
            first_time = self.outputs[i] is None  # not when a checkpoint runs its function again
            if first_time:
                self.inputs[i] = [copied(x) for x in args]
            if step.recorded:
                values[i] = called(OURS[step.op], step, args)
            else:
                with mg.no_grad():
                    values[i] = called(OURS[step.op], step, args)
            if first_time:
                self.outputs[i] = copied(values[i])
        elif step.op in ("number", "array"):
            values[i] = copied(step.settings["value"])
            self.outputs[i] = copied(values[i])
        elif step.op == "leaf":
            values[i], self.sources[i] = self.made(step)
            self.outputs[i] = copied(values[i])
        elif step.op == "detach":
            values[i] = args[0].detach()
            self.outputs[i] = copied(values[i])
        elif step.op == "hook":
            if args[0].requires_grad:
                scale = step.settings["scale"]
                args[0].register_hook(lambda g: None if scale is None else g * scale)
                args[0].register_hook(lambda g: g * 1e3)()  # removed at once
        elif step.op == "attempt":
            self.attempt(step.settings["how"], args[0])
        elif step.op == "mutate":
            self.mutate(step.settings["how"], step.args[0])

    @staticmethod
    def made(step: Step) -> tuple[Any, Any]:
        array, requires_grad = step.settings["value"].copy(), step.settings["requires_grad"]
        if step.settings["made"] == "tensor":
            return mg.tensor(array, requires_grad=requires_grad), array
        if step.settings["made"] == "view":
            array = np.stack([array, array])[1, ...]  # of no axes still an array, not a NumPy scalar
        return mg.Tensor(array, requires_grad=requires_grad), array

    def attempt(self, how: str, x: Any) -> None:
        before = [copied(v) for v in self.values]
        trained = x.node is None and x.requires_grad
        try:
            if how == "setitem":
                x[...] = 0.0
            elif how == "out":
                np.add(x, 1.0, out=x)
            elif how == "iadd":
                y = x
                y += 1.0
                if y is x or trained:
                    raise Wrong("x += y changed x itself")
        except TypeError:
            pass
        else:
            if how != "iadd":
                raise Wrong(f"{how}: a write into a tensor was not refused")
        for was, now in zip(before, self.values, strict=True):
            if not np.array_equal(np.asarray(was, object), np.asarray(data(now), object)):
                raise Wrong(f"{how}: a refused write changed a value")

    def mutate(self, how: str, n: int) -> None:
        x = self.values[n]
        if how == "rebind":
            x.data = changed(x.data)
            return
        if how == "source":
            array = self.sources.get(n, data(x))
        elif how == "row":
            array = x.data[:1] if x.ndim else x.data
        elif how == "detach":
            array = x.detach().data
        elif how == "transposed":
            array = x.T.data
        elif how == "no_grad_view":
            with mg.no_grad():
                array = np.ravel(x).data
        else:
            array = data(x)
        if array.flags.writeable:
            array[...] = changed(array)

    def backward(self) -> None:
        program = self.program
        roots = [(self.values[i], w) for i, w in program.roots]
        leaves = [self.values[i] for i, step in enumerate(program.steps) if step.op == "leaf"]
        if not all(r.requires_grad for r, _ in roots):
            return
        nodes = toposort([r.node or r for r, _ in roots])
        names = {node.rule.name for node in nodes} | {"multiply"}  # the roots are weighted
        try:
            self.differentiate(roots, leaves)
        except RuntimeError as error:
            if not any(step.op == "mutate" for step in program.steps):
                raise
            self.refused = str(error)
            if not any(name in self.refused for name in names):
                raise Wrong(f"the error names none of {sorted(names)}: {error}") from None
            if self.program.mode != "each" and any(leaf.grad is not None for leaf in leaves):
                raise Wrong("backward was refused, and yet it left gradients") from None

    def differentiate(self, roots: Any, leaves: Any) -> None:
        mode = self.program.mode
        targets = [(i, self.values[i]) for i in self.program.targets]
        if mode in ("backward", "twice"):
            total = sum(np.sum(r * w) for r, w in roots)
            total.backward(retain_graph=mode == "twice")
            if mode == "twice":
                once = {i: copied(x.grad) for i, x in targets}
                total.backward()
                for i, x in targets:
                    if once[i] is not None and not np.allclose(x.grad.data, 2 * once[i], rtol=1e-12, atol=0):
                        raise Wrong("a second backward did not add the same gradient")
            elif total.node is not None:
                try:
                    total.backward()
                except RuntimeError as error:
                    if "retain_graph" not in str(error):
                        raise
                else:
                    raise Wrong("a second backward without retain_graph was not refused")
            self.first = {i: None if x.grad is None else x.grad.data / (1 + (mode == "twice")) for i, x in targets}
        elif mode == "each":
            for n, (r, w) in enumerate(roots):
                r.backward(w, retain_graph=n + 1 < len(roots))
            self.first = {i: copied(x.grad) for i, x in targets}
        else:
            outputs, weights = [r for r, _ in roots], [w for _, w in roots]
            inputs = [x for _, x in targets]
            grads = mg.autograd.grad(outputs, inputs, weights, create_graph=mode != "grad", allow_unused=True)
            self.first = {i: copied(g) for (i, _), g in zip(targets, grads, strict=True)}
            if any(leaf.grad is not None for leaf in leaves):
                raise Wrong("autograd.grad changed .grad")
            if mode == "create_graph":
                again = mg.autograd.grad(outputs, inputs, weights, allow_unused=True)
                for g, h in zip(grads, again, strict=True):
                    if g is not None and not close(g.data, h.data, 1e-9):
                        raise Wrong("the gradient with create_graph differs from that without")
            elif mode == "second":
                parts = [
                    np.sum(g * direction(i, g.shape)) for (i, _), g in zip(targets, grads, strict=True) if g is not None
                ]
                s = sum(parts)
                if isinstance(s, mg.Tensor) and s.requires_grad:
                    s.backward()
                self.second = {i: copied(x.grad) for i, x in targets}


def close(a: Any, b: Any, tolerance: float) -> bool:
    """Whether two arrays are equal up to a share of the largest element."""
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        return False
    return not a.size or bool(abs(a - b).max() <= tolerance * max(1.0, abs(b).max()))


# ---- the reference: NumPy, by complex step -------------------------------------------------------------------------------


def deviations(run: Ours, start: dict[int, Any]) -> list[Any]:
    """How far each value moves when the values of some steps move by these small complex numbers; None for nowhere.

    An operation is run on the inputs that it had, each moved: so what is changed later, or shares memory, has no
    part in it. A hook that scales the gradient of a value scales what moves it, and detach stops it.
    """
    program = run.program
    scales: dict[int, float] = {}
    for step in program.steps:
        if step.op == "hook" and step.settings["scale"] is not None:
            scales[step.args[0]] = scales.get(step.args[0], 1.0) * step.settings["scale"]
    moved: list[Any] = [None] * len(program.steps)
    for i, step in enumerate(program.steps):
        if i in start:
            moved[i] = start[i] * scales.get(i, 1.0)
        elif step.op in OPS and step.recorded and any(moved[k] is not None for k in step.args):
            inputs = [x if moved[k] is None else x + moved[k] for k, x in zip(step.args, run.inputs[i], strict=True)]
            moved[i] = (called(PLAIN[step.op], step, inputs) - run.outputs[i]) * scales.get(i, 1.0)
    return moved


def slope(run: Ours, start: dict[int, Any]) -> float:
    """The derivative of the roots, weighted, along the imaginary part of start."""
    moved = deviations(run, start)
    return sum(float(np.sum(moved[i].imag * w)) for i, w in run.program.roots if moved[i] is not None) / TINY


def units(shape: tuple[int, ...]) -> Any:
    """One array for each element, 1 there and 0 elsewhere."""
    n = int(np.prod(shape))
    return np.eye(n).reshape(n, *shape)


def check(program: Program) -> Ours:
    """Run a program and hold each value, gradient and second derivative to NumPy. Wrong if one is not as it must be."""
    run = Ours(program)
    if not run.finite or run.refused:
        return run
    with np.errstate(all="ignore"):
        if not all(called(SAFE[s.op], s, run.inputs[i]) for i, s in enumerate(program.steps) if s.op in OPS):
            return run  # an array was written into that others share: a tie, say, that the grower could not see
        for i, step in enumerate(program.steps):
            if step.op in OPS:
                value = np.real(called(PLAIN[step.op], step, run.inputs[i]))
                if not close(run.outputs[i], value, 1e-10):
                    raise Wrong(f"step {i}, {step.op}: value {run.outputs[i]}, expected {value}")
        for i, found in run.first.items():
            shape = run.outputs[i].shape
            expected = np.array([slope(run, {i: TINY * 1j * e}) for e in units(shape)]).reshape(shape)
            if not close(0 * expected if found is None else found, expected, 1e-8):
                raise Wrong(f"step {i}: gradient {found}, expected {expected}")
        if run.second is not None:
            along = {i: TINY * 1j * direction(i, run.outputs[i].shape) for i in run.first}
            for i, found in run.second.items():
                shape = run.outputs[i].shape

                def at(e: Any, i: int = i) -> float:
                    return slope(run, along | {i: along[i] + e})

                expected = np.array([(at(STEP * e) - at(-STEP * e)) / (2 * STEP) for e in units(shape)]).reshape(shape)
                if not close(0 * expected if found is None else found, expected, 1e-5):
                    raise Wrong(f"step {i}: second derivative {found}, expected {expected}")
    return run


# ---- made smaller, and printed ---------------------------------------------------------------------------------------


def shrunk(program: Program, fails: Callable[[Program], bool]) -> Program:
    """A smaller program that still fails: each step becomes nothing, or a leaf, an array or a detached copy."""

    def attempts(p: Program) -> Any:
        try:
            outputs = Ours(p, backward=False).outputs
        except Exception:  # it fails on the way: only steps that nothing needs are taken out
            outputs = [None] * len(p.steps)
        for k in range(len(p.blocks)):
            yield replace(p, blocks=p.blocks[:k] + p.blocks[k + 1 :])
        for k in range(len(p.roots)):
            if len(p.roots) > 1:
                yield replace(p, roots=p.roots[:k] + p.roots[k + 1 :])
        leaves = tuple(i for i in p.targets if p.steps[i].op == "leaf")
        for mode in MODES[: MODES.index(p.mode)]:  # the simplest first
            yield replace(p, mode=mode, targets=leaves)
        inside = {i for first, last, _ in p.blocks for i in range(first, last + 1)}
        needed = {i for i, _ in p.roots} | {k for step in p.steps for k in step.args} | set(p.targets)
        for i in reversed(range(len(p.steps))):
            step = p.steps[i]
            ways: list[Step] = []
            if step.op != "nothing" and i not in inside:
                if i not in needed:
                    ways.append(Step("nothing"))
                elif (step.op in OPS or step.op == "detach") and (value := outputs[i]) is not None:
                    ways.append(Step("array", (), {"value": value}))
                    ways.append(Step("leaf", (), {"value": value, "made": "tensor", "requires_grad": True}))
                if not step.recorded:
                    ways.append(replace(step, recorded=True))
                if step.op == "leaf" and i in p.targets and len(p.targets) > 1:
                    ways.append(Step("array", (), {"value": step.settings["value"]}))
            for way in ways:
                targets = p.targets
                if i in targets and way.op != "leaf":
                    targets = tuple(k for k in targets if k != i)
                elif way.op == "leaf":
                    targets = tuple(sorted({*targets, i}))
                yield replace(p, steps=(*p.steps[:i], way, *p.steps[i + 1 :]), targets=targets)

    smaller = True
    while smaller:
        smaller = False
        for candidate in attempts(program):
            if fails(candidate):
                program, smaller = candidate, True
                break
    return program


def text(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"np.array({value.tolist()}, np.{value.dtype.name if value.dtype != bool else 'bool_'}).reshape({value.shape})"
    if isinstance(value, tuple):
        return f"({', '.join(map(text, value))}{',' * bool(value)})"
    return repr(value)


def code(program: Program) -> str:
    """The program as Python."""
    lines = []
    blocks = {first: last for first, last, _ in program.blocks}
    last = -1
    for i, step in enumerate(program.steps):
        args = [f"v{k}" for k in step.args]
        settings = step.settings
        indent = "    " if i <= last else ""
        if i in blocks:
            last, indent = blocks[i], "    "
            lines.append(f"def f{i}():")
        if step.op in OPS:
            names = dict(zip(NAMES.split(), args, strict=False)) | {name: text(v) for name, v in settings.items()}
            if "xs" in OPS[step.op].ours:
                names["xs"] = f"[{', '.join(args)}]" if "*xs" not in OPS[step.op].ours else f"({', '.join(args)},)"
            body = re.sub(r"\b(\w+)\b(?!=[^=])", lambda m, names=names: names.get(m[1], m[1]), OPS[step.op].ours)
            if not step.recorded:
                lines.append(f"{indent}with mg.no_grad():")
            lines.append(f"{indent}{'    ' * (not step.recorded)}v{i} = {body}")
        elif step.op == "leaf":
            how = {"tensor": "mg.tensor", "Tensor": "mg.Tensor", "view": "mg.Tensor"}[settings["made"]]
            lines.append(f"{indent}v{i} = {how}({text(settings['value'])}, requires_grad={settings['requires_grad']})")
        elif step.op in ("array", "number"):
            lines.append(f"{indent}v{i} = {text(settings['value'])}")
        elif step.op == "detach":
            lines.append(f"{indent}v{i} = {args[0]}.detach()")
        elif step.op == "hook":
            scaled = "None" if settings["scale"] is None else f"g * {settings['scale']}"
            lines.append(f"{args[0]}.register_hook(lambda g: {scaled})")
        elif step.op == "attempt":
            lines.append(f"# {args[0]} is written into, by {settings['how']}: TypeError")
        elif step.op == "mutate":
            array = args[0] if program.steps[step.args[0]].op == "array" else f"{args[0]}.data"
            lines.append(f"{array}[...] = changed({array})  # {settings['how']}")
        if i == last:
            lines += [f"    return v{i}", f"v{i} = mg.checkpoint(f{blocks_start(program, i)})"]
    roots = ", ".join(f"(v{i}, {text(w)})" for i, w in program.roots)
    return "\n".join([*lines, f"# {program.mode} of {roots} to {', '.join(f'v{i}' for i in program.targets)}"])


def blocks_start(program: Program, last: int) -> int:
    return next(first for first, end, _ in program.blocks if end == last)
