"""Functions of the encoder, each a few lines of NumPy that read like its formula.

What an input must be is checked first (`refuses`); kernels.py holds fast twins of some of these. Arrays in, arrays
out; with a Tensor among the inputs, a Tensor comes out. N is a batch, C channels, T tokens, D features, V classes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minigrad import checks, guard
from minigrad.checkpoint import is_recomputing
from minigrad.creation import generator
from minigrad.definitions import Definition
from minigrad.graph import Node
from minigrad.rules.elementwise import astype
from minigrad.rules.elementwise import erf as erf
from minigrad.rules.elementwise import erfc as erfc
from minigrad.rules.indexing import index_update
from minigrad.rules.reductions import logsumexp as logsumexp
from minigrad.rules.shapes import reshape
from minigrad.tensor import Array, Tensor, detached

X = Any  # a Tensor or an ndarray: what comes in decides what comes out

# ---- what is refused -------------------------------------------------------------------------------------------------


ARRAYS = (Tensor, np.ndarray)


def floats(name: str, optional: tuple[str, ...] = (), **inputs: X) -> None:
    """Refuse what is no floating-point array, or is of another dtype than the others; the optional ones may be None."""
    common = None
    for what, x in inputs.items():
        dtype = x._array.dtype if isinstance(x, Tensor) else x.dtype if isinstance(x, np.ndarray) else None
        if (dtype is None or dtype is not common) and (x is not None or what not in optional):
            if dtype is None or dtype.kind != "f" or (common is not None and dtype != common):
                raise TypeError(f"{name}: {_what_is_wrong(inputs, optional)}")
            common = dtype


def _what_is_wrong(inputs: dict[str, X], optional: tuple[str, ...]) -> str:
    inputs = {what: x for what, x in inputs.items() if x is not None or what not in optional}
    for what, x in inputs.items():
        if not isinstance(x, ARRAYS):
            home = type(x).__module__.partition(".")[0]  # others have a Tensor, too
            whose = "" if home in ("builtins", "numpy") else f"{home}."
            return f"{what} must be a Tensor or an ndarray, not {whose}{type(x).__name__}"
        if x.dtype.kind != "f":
            return f"{what} must be floating-point, not {x.dtype.name}: use .astype(np.float32)"
    kinds = {what: x.dtype.name for what, x in inputs.items()}
    first, *_, last = kinds
    return (
        f"{', '.join(f'{what} is {kind}' for what, kind in kinds.items())}, they must be of one dtype: "
        f"use {first}.astype(np.{kinds[last]}){_where_it_began(first, inputs[first])}"
    )


def _where_it_began(what: str, x: X) -> str:
    """For a message: the first operation on the way to x that gave its dtype, as far as the graph is there."""
    node: Any = x.node if isinstance(x, Tensor) else None
    while isinstance(node, Node):
        alike = [v for v in node.inputs if isinstance(v, Node | Tensor) and v.dtype == x.dtype]
        if not alike and node.inputs:
            return f" ({what} is {x.dtype.name} since {node.rule.name}, which an array of that dtype went into)"
        node = alike[0] if alike else None
    return ""


def _equal_shapes(name: str, input: X, target: X) -> None:
    if np.shape(input) != np.shape(target):
        raise ValueError(
            f"{name}: input has shape {np.shape(input)} and target {np.shape(target)}; they must be equal, "
            "for broadcasting would average the wrong pairs: reshape one of them"
        )


def _reduction(name: str, reduction: str) -> None:
    checks.one_of(name, ("mean", "sum", "none"), reduction=reduction)


def _axis(name: str, axis: int | None, ndim: int) -> None:
    """An axis is None or a number of one; also a 0-d array has a last one."""
    if axis is not None and not (type(axis) is int and -ndim <= axis < ndim):
        checks.whole(name, -math.inf, axis=axis)
        if not -max(ndim, 1) <= axis < max(ndim, 1):
            raise ValueError(f"{name}: axis {checks.shown(axis)} is out of bounds for an array of {ndim} axes")


def _integers(name: str, ids: ArrayLike | Tensor, what: str) -> Array:
    try:
        array = np.asarray(detached(ids))
    except ValueError:
        raise ValueError(f"{name}: {what} must be integers in rows of equal length, not {checks.shown(ids)}") from None
    if array.size == 0 and array.dtype.kind == "f":  # as an empty list's is
        return array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: {what} must be integers, not {array.dtype.name}")
    return array


def whole_numbers(name: str, ids: ArrayLike | Tensor, size: int, what: str, ignore: int | None = None) -> Array:
    """ids as an integer array, each from 0 to size − 1 (or equal to ignore); else TypeError or IndexError."""
    ids = _integers(name, ids, what)
    if ids.size and (ids.min() < 0 or ids.max() >= size):
        wrong = (ids < 0) | (ids >= size)
        if ignore is not None:
            wrong &= ids != ignore
        if not wrong.any():
            return ids
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise IndexError(f"{name}: {what}[{', '.join(map(str, at))}] is {ids[at]}, but there are only 0 to {size - 1}")
    return ids


def _needs_floats(*definitions: Definition[..., Any]) -> None:
    for definition in definitions:
        definition.refuses(lambda x, *_, name=definition.__name__: floats(name, x=x))


# ---- activations -----------------------------------------------------------------------------------------------------


@Definition
def relu(x: X) -> X:
    """max(x, 0), with the derivative 0 at 0 (np.maximum(x, 0) has ½ there); any shape."""
    return np.where(x <= 0, 0.0, x)


@Definition
def leaky_relu(x: X, negative_slope: float = 0.01) -> X:
    """x where x > 0, negative_slope · x elsewhere; any shape."""
    return np.where(x > 0, x, negative_slope * x)


@Definition
def elu(x: X, alpha: float = 1.0) -> X:
    """x where x > 0, alpha (eˣ − 1) elsewhere; any shape. Clevert, Unterthiner, Hochreiter (2016)."""
    return np.where(x > 0, x, alpha * np.expm1(np.where(x > 0, 0.0, x)))


@Definition
def gelu(x: X, approximate: str = "none") -> X:
    """x Φ(x) = x/2 erfc(−x/√2), or with approximate="tanh" ½ x (1 + tanh(√(2/π) (x + 0.044715 x³))); any shape.

    Hendrycks, Gimpel: Gaussian Error Linear Units (2016).
    """
    if approximate == "tanh":
        return x * sigmoid(math.sqrt(8 / math.pi) * (x + 0.044715 * x * x * x))  # ½ (1 + tanh u) = σ(2 u)
    return 0.5 * x * erfc(x * -math.sqrt(0.5))  # 1 + erf would leave nothing far on the left


@Definition
def sigmoid(x: X) -> X:
    """1 / (1 + e⁻ˣ), accurate at both ends; any shape."""
    return np.exp(-np.logaddexp(0.0, -x))


@Definition
def silu(x: X) -> X:
    """x / (1 + e⁻ˣ); any shape. Elfwing, Uchibe, Doya (2018)."""
    return x * sigmoid(x)


@Definition
def softplus(x: X) -> X:
    """ln(1 + eˣ); any shape."""
    return np.logaddexp(0.0, x)


_needs_floats(relu, sigmoid, silu, softplus)


@leaky_relu.refuses
def _(x: X, negative_slope: float) -> None:
    floats("leaky_relu", x=x)
    checks.number("leaky_relu", negative_slope=negative_slope)


@elu.refuses
def _(x: X, alpha: float) -> None:
    floats("elu", x=x)
    checks.number("elu", alpha=alpha)


@gelu.refuses
def _(x: X, approximate: str) -> None:
    floats("gelu", x=x)
    checks.one_of("gelu", ("none", "tanh"), approximate=approximate)


# ---- where -----------------------------------------------------------------------------------------------------------


def safe_where(condition: Array, function: Callable[[X], X], x: X, fill: float = 0.0) -> X:
    """function(x) where the condition holds, fill elsewhere, and there with the gradient 0, whatever function does.

    np.where(condition, function(x), fill) has NaN as its gradient where function is not defined on the branch not
    taken, for 0 · ∞ is none. Here function, which acts on each element for itself, only sees elements where the
    condition holds, repeated in place of the others. condition: a boolean array that broadcasts with x. TypeError for
    another one, ValueError for a function that changes the shape.

    >>> import numpy as np, minigrad as mg
    >>> x = mg.tensor([0.0, 4.0], requires_grad=True)
    >>> np.sum(mg.safe_where(x > 0, np.sqrt, x, 0.0)).backward()
    >>> x.grad
    tensor([0.  , 0.25])
    """
    floats("safe_where", x=x)
    checks.function("safe_where", function=function)
    checks.number("safe_where", fill=fill)
    condition = np.asarray(condition) if isinstance(condition, bool | np.bool_) else condition  # of x without axes
    if not isinstance(condition, ARRAYS) or condition.dtype != np.bool_:
        raise TypeError(f"safe_where: condition must be a boolean array, not {checks.shown(condition)}")
    try:
        held, values = np.broadcast_arrays(detached(condition), detached(x))
    except ValueError:
        raise ValueError(f"safe_where: condition {condition.shape} does not broadcast with x {x.shape}") from None
    if not held.any():
        return np.where(held, x, fill)
    safe = np.where(held, x, values[held][0].item())
    result = function(safe)
    if np.shape(result) != safe.shape:
        raise ValueError(f"safe_where: function made {np.shape(result)} of {safe.shape}, it must keep the shape")
    return np.where(held, result, fill)


# ---- softmax ---------------------------------------------------------------------------------------------------------


@Definition
def softmax(x: X, axis: int | None = -1) -> X:
    """exp xᵢ / Σⱼ exp xⱼ along axis; same shape as x. None is over all elements. A row of −∞ alone gives NaN."""
    axis = axis if x.ndim else None
    e = np.exp(x - np.max(detached(x), axis=axis, keepdims=True, initial=-np.inf))  # less the maximum: no overflow
    return e / np.sum(e, axis=axis, keepdims=True)


@Definition
def log_softmax(x: X, axis: int | None = -1) -> X:
    """xᵢ − ln Σⱼ exp xⱼ along axis; same shape as x."""
    axis = axis if x.ndim else None
    x = x - np.max(detached(x), axis=axis, keepdims=True, initial=-np.inf)  # or beside 10⁶ the difference would round
    hit = _first_maximum(detached(x), axis)
    top = np.sum(np.where(hit, x, 0.0), axis=axis, keepdims=True)
    others = logsumexp(np.where(hit, -np.inf, x), axis=axis, keepdims=True)
    # ln Σ exp xⱼ = top + softplus(others − top): of a sure class nothing is lost beside a 1
    return np.where(hit, 0.0, x - top) - softplus(others - top)


def _first_maximum(x: Array, axis: int | None) -> Array:
    """True at one largest element along axis (None: of all), False elsewhere."""
    if not x.size:
        return np.zeros(x.shape, bool)
    if axis is None:
        places = np.arange(x.size).reshape(x.shape)
    else:
        places = np.arange(x.shape[axis]).reshape(-1, *(1,) * (x.ndim - 1 - axis % x.ndim))
    hit: Array = np.argmax(x, axis=axis, keepdims=True) == places
    return hit


@Definition
def masked_softmax(x: X, mask: Array, axis: int | None = -1) -> X:
    """The softmax over the elements where mask is True; 0 elsewhere, and in rows where none is; same shape as x."""
    top = np.max(detached(x), axis=axis, keepdims=True, initial=-np.inf, where=mask)
    e = np.where(mask, np.exp(np.where(mask, x - np.where(np.isinf(top), 0.0, top), 0.0)), 0.0)
    total = np.sum(e, axis=axis, keepdims=True)
    return e / np.where(total == 0, 1.0, total)


def _along_an_axis(definition: Definition[..., Any]) -> None:
    def check(x: X, axis: int | None) -> None:
        floats(definition.__name__, x=x)
        _axis(definition.__name__, axis, x.ndim)

    definition.refuses(check)


_along_an_axis(softmax)
_along_an_axis(log_softmax)


@masked_softmax.refuses
def _(x: X, mask: X, axis: int | None) -> None:
    floats("masked_softmax", x=x)
    _axis("masked_softmax", axis, x.ndim)
    _mask("masked_softmax", mask, x.shape)


def _mask(name: str, mask: X, shape: tuple[int, ...]) -> None:
    """A mask is boolean and broadcasts to the scores."""
    if not isinstance(mask, ARRAYS) or mask.dtype != np.bool_:
        got = mask.dtype.name if isinstance(mask, ARRAYS) else type(mask).__name__
        raise TypeError(f"{name}: a mask must be boolean, True where attention is allowed, not {got}")
    try:
        fits = np.broadcast_shapes(mask.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"{name}: a mask of shape {mask.shape} does not broadcast to the scores' shape {shape}")


# ---- normalisation ---------------------------------------------------------------------------------------------------


def standardise(x: X, axis: tuple[int, ...], eps: float) -> X:
    """(x − mean x) / √(var x + eps) along the axes, with the biased variance.

    Computed in float64: beside a mean of 10⁶ the spread of float32 values drowns, and the square of 10²⁰ overflows.
    """
    if not x.size:
        return x
    wide = x.astype(np.float64)
    c = wide - np.mean(wide, axis=axis, keepdims=True)
    return (c / np.sqrt(np.mean(c * c, axis=axis, keepdims=True) + eps)).astype(x.dtype)


def scale_and_shift(x: X, weight: X | None, bias: X | None, axis: int) -> X:
    """weight · x + bias, whose first axis lies along this axis of x; either may be None."""

    def along(v: X) -> X:
        return np.reshape(v, v.shape + (1,) * (x.ndim - axis - v.ndim))

    x = x if weight is None else x * along(weight)
    return x if bias is None else x + along(bias)


@Definition
def layer_norm(
    x: X, normalized_shape: int | tuple[int, ...], weight: X | None = None, bias: X | None = None, eps: float = 1e-5
) -> X:
    """weight · (x − mean x) / √(var x + eps) + bias over the last axes, each token for itself; same shape as x.

    x: (..., *normalized_shape); weight, bias: normalized_shape. Ba, Kiros, Hinton: Layer Normalization (2016).
    """
    k = len(as_shape(normalized_shape))
    return scale_and_shift(standardise(x, tuple(range(-k, 0)), eps), weight, bias, x.ndim - k)


@Definition
def rms_norm(x: X, normalized_shape: int | tuple[int, ...], weight: X | None = None, eps: float = 1e-6) -> X:
    """weight · x / √(mean x² + eps) over the last axes; same shape as x. Zhang, Sennrich (2019)."""
    k = len(as_shape(normalized_shape))
    wide = x.astype(np.float64)
    r = np.sqrt(np.mean(wide * wide, axis=tuple(range(-k, 0)), keepdims=True) + eps)
    return scale_and_shift((wide / r).astype(x.dtype), weight, None, x.ndim - k)


@Definition
def batch_standardise(x: X, weight: X | None, bias: X | None, eps: float) -> X:
    """weight · (x − mean x) / √(var x + eps) + bias for each channel, over the batch: x is (N, C) or (N, C, L)."""
    return scale_and_shift(standardise(x, (0, 2)[: x.ndim - 1], eps), weight, bias, 1)


def batch_norm(
    x: X,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: X | None = None,
    bias: X | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> X:
    """weight · (x − mean) / √(var + eps) + bias for each channel; x: (N, C) or (N, C, L), all others (C,).

    training, or without running statistics: mean and biased variance of the batch; the running statistics, where
    given, move towards the batch's mean and unbiased variance by the share momentum, in place, unless these are not
    finite. Otherwise the running statistics are used. ValueError for a single value per channel in training, which has
    no variance.
    Ioffe, Szegedy: Batch Normalization (2015).
    """
    floats("batch_norm", ("weight", "bias"), x=x, weight=weight, bias=bias)
    checks.flag("batch_norm", training=training)
    checks.probability("batch_norm", momentum=momentum)
    checks.positive_number("batch_norm", eps=eps)
    if x.ndim not in (2, 3):
        raise ValueError(f"batch_norm: x must be (N, C) or (N, C, L), got {x.shape}")
    channels = x.shape[1]
    for what, v in {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}.items():
        if v is None:
            continue
        if not isinstance(v, ARRAYS) or (what[0] == "r" and (type(v) is not np.ndarray or v.dtype.kind != "f")):
            raise TypeError(f"batch_norm: {what} must be a floating-point ndarray, not {checks.shown(v)}")
        if v.shape != (channels,):
            raise ValueError(f"batch_norm: {what} has shape {v.shape}, but x {x.shape} has C={channels} at axis 1")
    if not training and running_mean is not None and running_var is not None:
        dtype = np.promote_types(x.dtype, np.float32)  # float16 is computed in float32
        std = np.sqrt(running_var.astype(np.float64) + eps)
        shape = (channels,) + (1,) * (x.ndim - 2)
        standard = (x - np.reshape(running_mean, shape).astype(dtype)) / np.reshape(std, shape).astype(dtype)
        return scale_and_shift(standard, weight, bias, 1).astype(x.dtype, copy=False)
    n = x.size // channels if channels else 0
    if n == 1:
        raise ValueError(
            f"batch_norm: one value per channel, x {x.shape}, has no variance in training: "
            "leave out a last batch of one (drop_last=True), call eval(), or use LayerNorm"
        )
    y = batch_standardise(x, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        track_moments(x, running_mean, running_var, momentum)  # after all that may raise
    return y


def track_moments(x: X, running_mean: Any, running_var: Any, momentum: float) -> bool:
    """Move both running statistics towards those of a batch, or neither: whether they moved."""
    if not x.size or is_recomputing():
        return False
    mean, var = _moments(detached(x))
    n = x.size // x.shape[1]
    with np.errstate(all="ignore"):
        # of two products, not by adding a difference, which would round what is small beside the old value
        mean = ((1 - momentum) * running_mean + momentum * mean).astype(running_mean.dtype)
        var = ((1 - momentum) * running_var + momentum * (n / (n - 1)) * var).astype(running_var.dtype)
    if not (np.isfinite(mean).all() and np.isfinite(var).all()):  # one NaN would stay in them for ever
        return False
    running_mean[...], running_var[...] = mean, var
    return True


def _moments(x: Array) -> tuple[Array, Array]:
    """Mean and biased variance of each channel; in float64 where the mean is large beside the deviation."""
    if x.dtype == np.float16:
        return _moments(x.astype(np.float32))
    rows = np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])
    share = np.full(len(rows), 1 / len(rows), x.dtype)  # a product with it is 5 times as fast as np.mean over rows
    with np.errstate(over="ignore"):
        mean = share @ rows
        c = rows - mean
        var = share @ (c * c)
        near = (mean * mean <= 16 * var).all() and np.isfinite(var).all()
    return (mean, var) if near or x.dtype == np.float64 else _moments(x.astype(np.float64))


@Definition
def group_norm(x: X, num_groups: int, weight: X | None = None, bias: X | None = None, eps: float = 1e-5) -> X:
    """weight · (x − mean x) / √(var x + eps) + bias over each group of channels; x: (N, C, ...), weight, bias: (C,).

    Wu, He: Group Normalization (2018).
    """
    groups = np.reshape(x, (x.shape[0], num_groups, x.shape[1] // num_groups, *x.shape[2:]))
    return scale_and_shift(np.reshape(standardise(groups, tuple(range(2, groups.ndim)), eps), x.shape), weight, bias, 1)


@Definition
def instance_norm(x: X, weight: X | None = None, bias: X | None = None, eps: float = 1e-5) -> X:
    """weight · (x − mean x) / √(var x + eps) + bias over each channel of each instance; x: (N, C, L), weight: (C,).

    Ulyanov, Vedaldi, Lempitsky: Instance Normalization (2016).
    """
    return scale_and_shift(standardise(x, (2,), eps), weight, bias, 1)


def as_shape(shape: int | tuple[int, ...]) -> tuple[int, ...]:
    if isinstance(shape, (int, np.integer)) and type(shape) is not bool:
        return (shape,)
    if not isinstance(shape, (tuple, list)):
        raise TypeError(f"normalized_shape must be a whole number or a tuple of them, not {checks.shown(shape)}")
    return tuple(shape)


def _normalizes_last(name: str, x: X, normalized_shape: int | tuple[int, ...], **vectors: X | None) -> None:
    shape = as_shape(normalized_shape)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ValueError(f"{name}: expected x of shape (..., {', '.join(map(str, shape))}), got {x.shape}")
    for what, v in vectors.items():
        if v is not None and v.shape != shape:
            raise ValueError(f"{name}: expected {what} of shape {shape}, got {v.shape}")


@layer_norm.refuses
def _(x: X, normalized_shape: int | tuple[int, ...], weight: X | None, bias: X | None, eps: float) -> None:
    floats("layer_norm", ("weight", "bias"), x=x, weight=weight, bias=bias)
    checks.positive_number("layer_norm", eps=eps)
    _normalizes_last("layer_norm", x, normalized_shape, weight=weight, bias=bias)


@rms_norm.refuses
def _(x: X, normalized_shape: int | tuple[int, ...], weight: X | None, eps: float) -> None:
    floats("rms_norm", ("weight",), x=x, weight=weight)
    checks.positive_number("rms_norm", eps=eps)
    _normalizes_last("rms_norm", x, normalized_shape, weight=weight)


def _per_channel(name: str, x: X, **vectors: X | None) -> None:
    for what, v in vectors.items():
        if v is not None and v.shape != x.shape[1:2]:
            raise ValueError(f"{name}: {what} has shape {v.shape}, but x {x.shape} has C={x.shape[1]} at axis 1")


@group_norm.refuses
def _(x: X, num_groups: int, weight: X | None, bias: X | None, eps: float) -> None:
    floats("group_norm", ("weight", "bias"), x=x, weight=weight, bias=bias)
    checks.positive("group_norm", num_groups=num_groups)
    checks.positive_number("group_norm", eps=eps)
    if x.ndim < 2 or x.shape[1] % num_groups:
        raise ValueError(f"group_norm: x {x.shape} has no axis 1 that num_groups={num_groups} divides")
    _per_channel("group_norm", x, weight=weight, bias=bias)
    if x.size and x.size == x.shape[0] * num_groups:
        raise ValueError(f"group_norm: one value per group, x {x.shape} in {num_groups} groups, has no variance")


@instance_norm.refuses
def _(x: X, weight: X | None, bias: X | None, eps: float) -> None:
    floats("instance_norm", ("weight", "bias"), x=x, weight=weight, bias=bias)
    checks.positive_number("instance_norm", eps=eps)
    if x.ndim != 3:
        raise ValueError(f"instance_norm: x must be (N, C, L), got {x.shape}")
    _per_channel("instance_norm", x, weight=weight, bias=bias)
    if x.size and x.shape[2] == 1:
        raise ValueError(f"instance_norm: one value per channel, x {x.shape}, has no variance")


# ---- layers without their parameters ---------------------------------------------------------------------------------


@Definition
def linear(x: X, weight: X, bias: X | None = None) -> X:
    """x weightᵀ + bias; x: (..., in), weight: (out, in), bias: (out,); gives (..., out)."""
    y = x @ np.swapaxes(weight, 0, 1)
    return y if bias is None else y + bias


@linear.refuses
def _(x: X, weight: X, bias: X | None) -> None:
    floats("linear", ("bias",), x=x, weight=weight, bias=bias)
    if weight.ndim != 2:
        raise ValueError(f"linear: weight must be (out_features, in_features), got {weight.shape}")
    if x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"linear: expected x of shape (..., {weight.shape[1]}), got {x.shape}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"linear: expected bias of shape {weight.shape[:1]}, got {bias.shape}")


@Definition
def embedding(ids: ArrayLike | Tensor, weight: X, padding_idx: int | None = None) -> X:
    """The rows of weight at these ids; ids: integers (...), weight: (V, D); gives (..., D).

    The row padding_idx gets no gradient. IndexError for an id outside of 0 to V − 1.
    """
    ids = np.asarray(detached(ids), np.int64)
    rows = weight[ids]
    return rows if padding_idx is None else np.where((ids == padding_idx)[..., None], detached(rows), rows)


@embedding.refuses
def _(ids: ArrayLike | Tensor, weight: X, padding_idx: int | None) -> None:
    floats("embedding", weight=weight)
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight must be (num_embeddings, embedding_dim), got {weight.shape}")
    whole_numbers("embedding", ids, weight.shape[0], "ids")
    if padding_idx is not None:
        checks.whole("embedding", -math.inf, padding_idx=padding_idx)
        if not 0 <= padding_idx < weight.shape[0]:
            raise IndexError(f"embedding: padding_idx is {padding_idx}, but there are only 0 to {weight.shape[0] - 1}")


def one_hot(ids: ArrayLike | Tensor, num_classes: int) -> Tensor:
    """1 at each id, 0 elsewhere; ids: integers (...); gives (..., num_classes) in float32."""
    checks.positive("one_hot", num_classes=num_classes)
    ids = whole_numbers("one_hot", ids, num_classes, "ids")
    hot = np.zeros(checks.shape("one_hot", (*ids.shape, num_classes)), np.float32)
    np.put_along_axis(hot, ids[..., None], 1.0, axis=-1)
    return Tensor(hot)


def dropout_mask(shape: tuple[int, ...], p: float, rng: np.random.Generator | None, dtype: Any) -> Array:
    """What dropout multiplies with: 0 with probability p, else 1 / (1 − p)."""
    kept = generator("dropout", rng).random(shape, np.float32) >= p
    return guard.freeze(np.asarray(np.multiply(kept, 1 / (1 - p) if p < 1 else 0.0, dtype=dtype)))


def dropout(x: X, p: float = 0.5, training: bool = True, rng: np.random.Generator | None = None) -> X:
    """x with each element set to 0 with probability p and the others divided by 1 − p; x itself unless training.

    Drawn from rng, or from minigrad's generator. Srivastava et al.: Dropout (2014).
    """
    floats("dropout", x=x)
    checks.probability("dropout", p=p)
    checks.flag("dropout", training=training)
    checks.generator("dropout", rng)
    return x if not training or p == 0 else x * dropout_mask(x.shape, p, rng, x.dtype)


@Definition
def attention(q: X, k: X, v: X, mask: Array | None, kept: Array | None, scale: float) -> X:
    """softmax(q kᵀ scale) v; q: (..., Tq, E), k: (..., Tk, E), v: (..., Tk, Ev); gives (..., Tq, Ev).

    mask: True where attention is allowed; a query that may attend to nothing gives zeros. kept: a dropout mask for
    the attention's weights. Both broadcast to (..., Tq, Tk).
    """
    scores = (q @ np.swapaxes(k, -1, -2)) * scale
    weights = softmax(scores) if mask is None else masked_softmax(scores, mask)
    return (weights if kept is None else weights * kept) @ v


@Definition
def self_attention(qkv: X, num_heads: int, mask: Array | None, kept: Array | None, scale: float) -> X:
    """attention in num_heads heads side by side, of queries, keys and values that lie beside each other.

    qkv: (B, T, 3 D), gives (B, T, D); each head has E = D / num_heads features. mask, kept: as in attention.
    """
    b, t, width = qkv.shape
    parts = np.reshape(qkv, (b, t, 3, num_heads, width // (3 * num_heads)))  # (B, T, 3, H, E)
    q, k, v = np.transpose(parts, (2, 0, 3, 1, 4))  # each (B, H, T, E)
    y = attention(q, k, v, mask, kept, scale)
    return np.reshape(np.swapaxes(y, 1, 2), (b, t, width // 3))


def attention_masks(
    name: str,
    shape: tuple[int, ...],
    attn_mask: X | None,
    is_causal: bool,
    dropout_p: float,
    rng: np.random.Generator | None,
    dtype: Any,
) -> tuple[Array | None, Array | None]:
    """What scores of this shape may see, and what of the weights dropout has kept; None for everything."""
    checks.probability(name, dropout_p=dropout_p)
    checks.flag(name, is_causal=is_causal)
    checks.generator(name, rng)
    if attn_mask is not None:
        _mask(name, attn_mask, shape)
        attn_mask = detached(attn_mask)
    if is_causal:
        causal = np.tri(shape[-2], shape[-1], dtype=bool)
        attn_mask = causal if attn_mask is None else attn_mask & causal
    return attn_mask, dropout_mask(shape, dropout_p, rng, dtype) if dropout_p else None


def real_tokens(name: str, padding_mask: X | None, x: X) -> Array | None:
    """A padding mask (B, T) of x: (B, T, D), True = a real token, as an array; None if all are real."""
    if padding_mask is None:
        return None
    floats(name, x=x)
    if not isinstance(padding_mask, ARRAYS) or padding_mask.dtype != np.bool_:
        got = padding_mask.dtype.name if isinstance(padding_mask, ARRAYS) else type(padding_mask).__name__
        raise TypeError(f"{name}: padding_mask must be boolean, True for a real token, not {got}")
    if padding_mask.shape != x.shape[:2]:
        raise ValueError(
            f"{name}: padding_mask has shape {padding_mask.shape}, it must be {x.shape[:2]}: the batch and the tokens"
        )
    there: Array = detached(padding_mask)
    return None if there.all() else there


def without_padding(x: X, there: Array | None) -> X:
    """x with 0 in place of what is no real token, so that it is of no influence, not even if it is NaN."""
    return x if there is None else index_update(x, ~there, 0.0)


def scaled_dot_product_attention(
    query: X,
    key: X,
    value: X,
    attn_mask: X | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    rng: np.random.Generator | None = None,
) -> X:
    """softmax(query keyᵀ scale) value; query: (..., Tq, E), key: (..., Tk, E), value: (..., Tk, Ev).

    attn_mask: boolean, True = may attend, broadcasts to (..., Tq, Tk); a query that may attend to nothing gives zeros
    and gets zero gradients. is_causal: query i sees keys 0 to i (from the top left, if Tq and Tk differ), and what
    the mask allows. scale: 1/√E unless given. A NaN in a masked value is multiplied with 0, so it stays NaN.
    Vaswani et al.: Attention Is All You Need (2017).
    """
    name = "scaled_dot_product_attention"
    floats(name, query=query, key=key, value=value)
    if (
        min(query.ndim, key.ndim, value.ndim) < 2
        or query.shape[-1] != key.shape[-1]
        or key.shape[-2] != value.shape[-2]
    ):
        raise ValueError(
            f"{name}: query {query.shape}, key {key.shape} and value {value.shape} must be "
            "(..., Tq, E), (..., Tk, E) and (..., Tk, Ev)"
        )
    try:
        lead = np.broadcast_shapes(query.shape[:-2], key.shape[:-2])
        np.broadcast_shapes(lead, value.shape[:-2])
    except ValueError:
        raise ValueError(
            f"{name}: query {query.shape}, key {key.shape} and value {value.shape} must broadcast "
            "before their last two axes"
        ) from None
    if scale is not None:
        checks.number(name, scale=scale)
    shape = (*lead, query.shape[-2], key.shape[-2])
    mask, kept = attention_masks(name, shape, attn_mask, is_causal, dropout_p, rng, query.dtype)
    return attention(query, key, value, mask, kept, query.shape[-1] ** -0.5 if scale is None else scale)


# ---- losses ----------------------------------------------------------------------------------------------------------


def _reduce(losses: X, reduction: str) -> X:
    if reduction == "mean":
        return np.mean(losses)
    return np.sum(losses) if reduction == "sum" else losses


@Definition
def cross_entropy(
    input: X,
    target: ArrayLike | Tensor,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> X:
    """−ln softmax(input)[target]: of logits (..., V), the class axis last, and integer targets (...).

    label_smoothing ε mixes in −mean ln softmax(input) with the weight ε. Targets equal to ignore_index count nothing;
    the mean is over the others, and 0 with a warning where there are none. reduction: "mean", "sum", or "none" for
    losses of the shape of target. IndexError for a target outside of 0 to V − 1.
    """
    counted = np.asarray(detached(target)) != ignore_index
    logp = log_softmax(np.where(counted[..., None], input, 0.0))  # an ignored row may hold anything, NaN as well
    losses = nll_loss(logp, target, ignore_index=ignore_index, reduction="none")
    if label_smoothing:
        losses = (1.0 - label_smoothing) * losses - np.where(counted, label_smoothing * np.mean(logp, axis=-1), 0.0)
    return _over_counted(losses, counted, reduction)


@Definition
def nll_loss(input: X, target: ArrayLike | Tensor, *, ignore_index: int = -100, reduction: str = "mean") -> X:
    """−input[target]: of log-probabilities (..., V) and integer targets (...); otherwise as cross_entropy.

    ValueError for an input above 0, which is the logarithm of no probability.
    """
    target = np.asarray(detached(target))
    counted = target != ignore_index
    picked = np.take_along_axis(input, np.where(counted, target, 0)[..., None].astype(np.int64), axis=-1)
    return _over_counted(-np.squeeze(picked, -1), counted, reduction)


def _over_counted(losses: X, counted: Array, reduction: str) -> X:
    losses = np.where(counted, losses, 0.0)
    return np.sum(losses) / max(int(np.sum(counted)), 1) if reduction == "mean" else _reduce(losses, reduction)


def _classes(name: str, input: X, target: ArrayLike | Tensor, ignore_index: int, reduction: str) -> None:
    floats(name, input=input)
    _reduction(name, reduction)
    checks.whole(name, -math.inf, ignore_index=ignore_index)
    target = _integers(name, target, "target")
    if input.ndim == 0 or target.shape != input.shape[:-1]:
        raise ValueError(
            f"{name}: input has shape {input.shape} and target {target.shape}; "
            "expected (..., V) and (...): the class axis is the last one"
        )
    target = whole_numbers(name, target, input.shape[-1], "target", ignore_index)
    if reduction == "mean" and not np.any(target != ignore_index):
        warnings.warn(f"{name}: no target is left to average over, the loss is 0", RuntimeWarning, stacklevel=4)


@cross_entropy.refuses
def _(input: X, target: Any, ignore_index: int, reduction: str, label_smoothing: float) -> None:
    _classes("cross_entropy", input, target, ignore_index, reduction)
    checks.probability("cross_entropy", label_smoothing=label_smoothing)
    if isinstance(input, Tensor) and _comes_from_softmax(input):
        warnings.warn(
            "cross_entropy: the input comes from a softmax, which cross_entropy takes itself: pass the logits",
            RuntimeWarning,
            stacklevel=3,
        )


def _comes_from_softmax(x: Tensor) -> bool:
    """Whether each row of x, along its last axis, is what a softmax made: for certain, as far as the graph tells."""
    node: Any = x.node
    while isinstance(node, Node) and node.rule in _SAME_ELEMENTS:  # in the same order: rows of one length are the same
        node = node.inputs[0] if node.inputs else None  # none, once the graph has been freed
    if not isinstance(node, Node) or node.rule is not softmax.fast or not node.inputs:
        return False
    last = len(node.shape) - 1
    return node.shape[-1:] == x.shape[-1:] and node.settings["axis"] in ((-1, last) if last else (-1, 0, None))


_SAME_ELEMENTS = (reshape, astype)


@nll_loss.refuses
def _(input: X, target: Any, ignore_index: int, reduction: str) -> None:
    _classes("nll_loss", input, target, ignore_index, reduction)
    logp = detached(input)
    above = logp > float(np.finfo(logp.dtype).eps) ** 0.5  # more than the rounding of a difference of large numbers
    if above.any():
        above &= (np.asarray(detached(target)) != ignore_index)[..., None]
    if above.any():
        raise ValueError(
            f"nll_loss: input must be log-probabilities, never above 0, not {logp[above][0]:.6g}: "
            "take log_softmax first, or cross_entropy of the logits"
        )


@Definition
def mse_loss(input: X, target: X, *, reduction: str = "mean") -> X:
    """(input − target)², of equal shapes."""
    return _reduce((input - target) ** 2, reduction)


@Definition
def l1_loss(input: X, target: X, *, reduction: str = "mean") -> X:
    """|input − target|, of equal shapes."""
    return _reduce(np.abs(input - target), reduction)


@Definition
def huber_loss(input: X, target: X, *, reduction: str = "mean", delta: float = 1.0) -> X:
    """½ d² where |d| ≤ delta, delta (|d| − ½ delta) elsewhere, of d = input − target. Huber (1964)."""
    d = input - target
    return _reduce(np.where(np.abs(d) <= delta, 0.5 * d * d, delta * (np.abs(d) - 0.5 * delta)), reduction)


@Definition
def binary_cross_entropy_with_logits(input: X, target: X, *, reduction: str = "mean") -> X:
    """−t ln σ(x) − (1 − t) ln(1 − σ(x)), of logits x and targets t from 0 to 1, of equal shapes.

    ValueError for a target below 0 or above 1.
    """
    if target.dtype.kind != "f":
        target = target.astype(input.dtype)
    right = detached(input) > 0  # softplus(x) − t x on the left, softplus(−x) + (1 − t) x on the right: nothing cancels
    sign = np.where(right, -1, 1).astype(input.dtype)
    return _reduce(softplus(sign * input) + (right - target) * input, reduction)


def _pair(name: str, input: X, target: X, reduction: str) -> None:
    floats(name, input=input)
    if not isinstance(target, ARRAYS):
        raise TypeError(f"{name}: target must be a Tensor or an ndarray, not {type(target).__name__}")
    if target.dtype.kind not in "fiub":
        raise TypeError(f"{name}: target must be real numbers, not {target.dtype.name}")
    _equal_shapes(name, input, target)
    _reduction(name, reduction)


def _pairwise(definition: Definition[..., Any]) -> None:
    name = definition.__name__

    def check(input: X, target: X, reduction: str, delta: float = 1.0) -> None:
        _pair(name, input, target, reduction)
        checks.positive_number(name, delta=delta)

    definition.refuses(check)


for _definition in (mse_loss, l1_loss, huber_loss):
    _pairwise(_definition)


@binary_cross_entropy_with_logits.refuses
def _(input: X, target: X, reduction: str) -> None:
    name = "binary_cross_entropy_with_logits"
    _pair(name, input, target, reduction)
    t = detached(target)
    if t.dtype.kind != "b" and t.size:
        rounding = 4 * float(np.finfo(t.dtype).eps) if t.dtype.kind == "f" else 0
        low, high = np.min(t), np.max(t)
        if not (-rounding <= low and high <= 1 + rounding):  # as NaN, too
            wrong = high if -rounding <= low else low
            raise ValueError(f"{name}: target must be from 0 to 1, not {wrong:.6g}")
