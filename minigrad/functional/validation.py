"""What the inputs of each function must be, asked once, before anything is computed.

First what several functions ask, then a validator for each function, with its arguments in its order. A layer that
has more to ask calls the validator in its own name, and then what computes without asking. Options: see checks.py.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minigrad import checks
from minigrad.functional.definition import X
from minigrad.graph import Node
from minigrad.rules.elementwise import astype
from minigrad.rules.shapes import reshape
from minigrad.tensor import Array, Tensor, detached

ARRAYS = (Tensor, np.ndarray)


# ---- what several functions ask --------------------------------------------------------------------------------------


def validate_floats(name: str, optional: tuple[str, ...] = (), /, **inputs: X) -> None:
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
        f"use {first}.astype(np.{kinds[last]}){_where_its_dtype_began(first, inputs[first])}"
    )


def _where_its_dtype_began(what: str, x: X) -> str:
    """For a message: the first operation on the way to x that gave its dtype, as far as the graph is there."""
    node: Any = x.node if isinstance(x, Tensor) else None
    while isinstance(node, Node):
        alike = [v for v in node.inputs if isinstance(v, Node | Tensor) and v.dtype == x.dtype]
        if not alike and node.inputs:
            return f" ({what} is {x.dtype.name} since {node.rule.name}, which an array of that dtype went into)"
        node = alike[0] if alike else None
    return ""


def validate_axis(name: str, axis: int | None, ndim: int) -> None:
    """An axis is None or a number of one; also a 0-d array has a last one."""
    if axis is not None and not (type(axis) is int and -ndim <= axis < ndim):
        checks.whole(name, -math.inf, axis=axis)
        if not -max(ndim, 1) <= axis < max(ndim, 1):
            raise ValueError(f"{name}: axis {checks.shown(axis)} is out of bounds for an array of {ndim} axes")


def validate_integers(name: str, ids: ArrayLike | Tensor, what: str) -> Array:
    """ids as an integer array."""
    try:
        array = np.asarray(detached(ids))
    except ValueError:
        raise ValueError(f"{name}: {what} must be integers in rows of equal length, not {checks.shown(ids)}") from None
    if array.size == 0 and array.dtype.kind == "f":  # as an empty list's is
        return array.astype(np.int64)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: {what} must be integers, not {array.dtype.name}")
    return array


def validate_ids(name: str, ids: Array, size: int, what: str, ignore: int | None = None) -> None:
    """Integers are from 0 to size − 1, or equal to ignore."""
    if ids.size and (ids.min() < 0 or ids.max() >= size):
        wrong = (ids < 0) | (ids >= size)
        if ignore is not None:
            wrong &= ids != ignore
        if wrong.any():
            at = tuple(int(i) for i in np.argwhere(wrong)[0])
            where = f"{what}[{', '.join(map(str, at))}]"
            raise IndexError(f"{name}: {where} is {ids[at]}, but there are only 0 to {size - 1}")


def validate_mask(name: str, mask: X, shape: tuple[int, ...]) -> None:
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


# ---- activations -----------------------------------------------------------------------------------------------------


def validate_relu(x: X) -> None:
    validate_floats("relu", x=x)


def validate_leaky_relu(x: X, negative_slope: float) -> None:
    validate_floats("leaky_relu", x=x)
    checks.number("leaky_relu", negative_slope=negative_slope)


def validate_elu(x: X, alpha: float) -> None:
    validate_floats("elu", x=x)
    checks.number("elu", alpha=alpha)


def validate_sigmoid(x: X) -> None:
    validate_floats("sigmoid", x=x)


def validate_silu(x: X) -> None:
    validate_floats("silu", x=x)


def validate_softplus(x: X) -> None:
    validate_floats("softplus", x=x)


def validate_gelu(x: X, approximate: str) -> None:
    validate_floats("gelu", x=x)
    checks.one_of("gelu", ("none", "tanh"), approximate=approximate)


# ---- softmax ---------------------------------------------------------------------------------------------------------


def validate_softmax(x: X, axis: int | None) -> None:
    validate_floats("softmax", x=x)
    validate_axis("softmax", axis, x.ndim)


def validate_log_softmax(x: X, axis: int | None) -> None:
    validate_floats("log_softmax", x=x)
    validate_axis("log_softmax", axis, x.ndim)


def validate_masked_softmax(x: X, mask: X, axis: int | None) -> None:
    validate_floats("masked_softmax", x=x)
    validate_axis("masked_softmax", axis, x.ndim)
    validate_mask("masked_softmax", mask, x.shape)


# ---- normalisation ---------------------------------------------------------------------------------------------------


def as_shape(shape: int | tuple[int, ...]) -> tuple[int, ...]:
    """A normalized_shape, given as a number or as a tuple or list of them, as a tuple."""
    if isinstance(shape, (int, np.integer)) and type(shape) is not bool:
        return (shape,)
    if not isinstance(shape, (tuple, list)):
        raise TypeError(f"normalized_shape must be a whole number or a tuple of them, not {checks.shown(shape)}")
    return tuple(shape)


def _last_axes(name: str, x: X, normalized_shape: int | tuple[int, ...], **vectors: X | None) -> None:
    shape = as_shape(normalized_shape)
    if not shape or x.shape[-len(shape) :] != shape:
        raise ValueError(f"{name}: expected x of shape (..., {', '.join(map(str, shape))}), got {x.shape}")
    for what, v in vectors.items():
        if v is not None and v.shape != shape:
            raise ValueError(f"{name}: expected {what} of shape {shape}, got {v.shape}")


def validate_layer_norm(
    x: X, normalized_shape: int | tuple[int, ...], weight: X | None, bias: X | None, eps: float
) -> None:
    validate_floats("layer_norm", ("weight", "bias"), x=x, weight=weight, bias=bias)
    checks.positive_number("layer_norm", eps=eps)
    _last_axes("layer_norm", x, normalized_shape, weight=weight, bias=bias)


def validate_rms_norm(x: X, normalized_shape: int | tuple[int, ...], weight: X | None, eps: float) -> None:
    validate_floats("rms_norm", ("weight",), x=x, weight=weight)
    checks.positive_number("rms_norm", eps=eps)
    _last_axes("rms_norm", x, normalized_shape, weight=weight)


def _channels(name: str, x: X, **vectors: X | None) -> None:
    for what, v in vectors.items():
        if v is not None and v.shape != x.shape[1:2]:
            raise ValueError(f"{name}: {what} has shape {v.shape}, but x {x.shape} has C={x.shape[1]} at axis 1")


def validate_batch_norm(
    x: X,
    running_mean: Array | None,
    running_var: Array | None,
    weight: X | None,
    bias: X | None,
    training: bool,
    momentum: float,
    eps: float,
) -> None:
    checks.flag("batch_norm", training=training)
    checks.probability("batch_norm", momentum=momentum)
    validate_batch(x, running_mean, running_var, weight, bias, training, eps)


def validate_batch(
    x: X,
    running_mean: Array | None,
    running_var: Array | None,
    weight: X | None,
    bias: X | None,
    training: bool,
    eps: float,
    layer: str = "batch_norm",
    num_features: int | None = None,
) -> None:
    """What batch_norm asks, and its layer for num_features channels."""
    validate_floats(layer, ("weight", "bias"), x=x, weight=weight, bias=bias)
    checks.positive_number("batch_norm", eps=eps)
    if num_features is not None and (x.ndim not in (2, 3) or x.shape[1] != num_features):
        raise ValueError(f"{layer}: expected C={num_features} at axis 1 of (N, C) or (N, C, L), got {x.shape}")
    if x.ndim not in (2, 3):
        raise ValueError(f"batch_norm: x must be (N, C) or (N, C, L), got {x.shape}")
    for what, v in {"running_mean": running_mean, "running_var": running_var}.items():
        if v is not None and (type(v) is not np.ndarray or v.dtype.kind != "f"):
            raise TypeError(f"batch_norm: {what} must be a floating-point ndarray, not {checks.shown(v)}")
    _channels("batch_norm", x, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    of_batch = training or running_mean is None or running_var is None
    if of_batch and x.size and x.size == x.shape[1]:
        raise ValueError(
            f"batch_norm: one value per channel, x {x.shape}, has no variance in training: "
            "leave out a last batch of one (drop_last=True), call eval(), or use LayerNorm"
        )


def validate_group_norm(
    x: X,
    num_groups: int,
    weight: X | None,
    bias: X | None,
    eps: float,
    layer: str = "group_norm",
    num_channels: int | None = None,
) -> None:
    """What group_norm asks, and its layer for num_channels channels."""
    validate_floats(layer, ("weight", "bias"), x=x, weight=weight, bias=bias)
    checks.positive("group_norm", num_groups=num_groups)
    checks.positive_number("group_norm", eps=eps)
    if num_channels is not None and (x.ndim < 2 or x.shape[1] != num_channels):
        raise ValueError(f"{layer}: expected C={num_channels} at axis 1, got {x.shape}")
    if x.ndim < 2 or x.shape[1] % num_groups:
        raise ValueError(f"group_norm: x {x.shape} has no axis 1 that num_groups={num_groups} divides")
    _channels("group_norm", x, weight=weight, bias=bias)
    if x.size and x.size == x.shape[0] * num_groups:
        raise ValueError(f"group_norm: one value per group, x {x.shape} in {num_groups} groups, has no variance")


def validate_instance_norm(
    x: X,
    weight: X | None,
    bias: X | None,
    eps: float,
    layer: str = "instance_norm",
    num_features: int | None = None,
) -> None:
    """What instance_norm asks, and its layer for num_features channels."""
    validate_floats(layer, ("weight", "bias"), x=x, weight=weight, bias=bias)
    checks.positive_number("instance_norm", eps=eps)
    if num_features is not None and (x.ndim != 3 or x.shape[1] != num_features):
        raise ValueError(f"{layer}: expected x of shape (N, {num_features}, L), got {x.shape}")
    if x.ndim != 3:
        raise ValueError(f"instance_norm: x must be (N, C, L), got {x.shape}")
    _channels("instance_norm", x, weight=weight, bias=bias)
    if x.size and x.shape[2] == 1:
        raise ValueError(f"instance_norm: one value per channel, x {x.shape}, has no variance")


# ---- linear, embedding, dropout, where -------------------------------------------------------------------------------


def validate_linear(x: X, weight: X, bias: X | None) -> None:
    validate_floats("linear", ("bias",), x=x, weight=weight, bias=bias)
    if weight.ndim != 2:
        raise ValueError(f"linear: weight must be (out_features, in_features), got {weight.shape}")
    if x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ValueError(f"linear: expected x of shape (..., {weight.shape[1]}), got {x.shape}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"linear: expected bias of shape {weight.shape[:1]}, got {bias.shape}")


def validate_embedding(ids: ArrayLike | Tensor, weight: X, padding_idx: int | None) -> None:
    validate_floats("embedding", weight=weight)
    if weight.ndim != 2:
        raise ValueError(f"embedding: weight must be (num_embeddings, embedding_dim), got {weight.shape}")
    validate_ids("embedding", validate_integers("embedding", ids, "ids"), weight.shape[0], "ids")
    if padding_idx is not None:
        checks.whole("embedding", -math.inf, padding_idx=padding_idx)
        if not 0 <= padding_idx < weight.shape[0]:
            raise IndexError(f"embedding: padding_idx is {padding_idx}, but there are only 0 to {weight.shape[0] - 1}")


def validate_one_hot(ids: ArrayLike | Tensor, num_classes: int) -> Array:
    """The ids as an array."""
    checks.positive("one_hot", num_classes=num_classes)
    array = validate_integers("one_hot", ids, "ids")
    validate_ids("one_hot", array, num_classes, "ids")
    checks.shape("one_hot", (*array.shape, num_classes))
    return array


def validate_dropout(x: X, p: float, training: bool, rng: np.random.Generator | None) -> None:
    validate_floats("dropout", x=x)
    checks.probability("dropout", p=p)
    checks.flag("dropout", training=training)
    checks.generator("dropout", rng)


def validate_safe_where(condition: Any, function: Callable[[X], X], x: X, fill: float) -> None:
    validate_floats("safe_where", x=x)
    checks.function("safe_where", function=function)
    checks.number("safe_where", fill=fill)
    # a bool, or a NumPy scalar, is what the comparison of an x without axes gives
    if not isinstance(condition, bool | np.bool_) and not (
        isinstance(condition, ARRAYS) and condition.dtype == np.bool_
    ):
        raise TypeError(f"safe_where: condition must be a boolean array, not {checks.shown(condition)}")
    try:
        np.broadcast_shapes(np.shape(condition), x.shape)
    except ValueError:
        shape = np.shape(condition)
        raise ValueError(f"safe_where: condition {shape} does not broadcast with x {x.shape}") from None


# ---- attention -------------------------------------------------------------------------------------------------------


def validate_attention_options(
    name: str,
    shape: tuple[int, ...],
    attn_mask: X | None,
    is_causal: bool,
    dropout_p: float,
    rng: np.random.Generator | None,
) -> None:
    """shape: the scores'."""
    checks.probability(name, dropout_p=dropout_p)
    checks.flag(name, is_causal=is_causal)
    checks.generator(name, rng)
    if attn_mask is not None:
        validate_mask(name, attn_mask, shape)


def validate_padding_mask(name: str, padding_mask: X, shape: tuple[int, ...]) -> None:
    """A padding mask is boolean and of the shape (B, T) of the tokens."""
    if not isinstance(padding_mask, ARRAYS) or padding_mask.dtype != np.bool_:
        got = padding_mask.dtype.name if isinstance(padding_mask, ARRAYS) else type(padding_mask).__name__
        raise TypeError(f"{name}: padding_mask must be boolean, True for a real token, not {got}")
    if padding_mask.shape != shape:
        raise ValueError(
            f"{name}: padding_mask has shape {padding_mask.shape}, it must be {shape}: the batch and the tokens"
        )


def validate_scaled_dot_product_attention(query: X, key: X, value: X, scale: float | None) -> tuple[int, ...]:
    """The shape of the scores."""
    name = "scaled_dot_product_attention"
    validate_floats(name, query=query, key=key, value=value)
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
    return (*lead, query.shape[-2], key.shape[-2])


def validate_attention_inputs(
    name: str,
    weights: list[X],
    bias: X | None,
    biases: int,
    query: X,
    key: X | None = None,
    value: X | None = None,
) -> None:
    """What a layer asks of its query, key and value, the last two unless they are the first, and of what projects them.

    weights: of each of the three; bias: of all of them together, so many numbers.
    """
    _tokens(name, "query", query, weights[0])
    if key is not None and value is not None:
        _tokens(name, "key", key, weights[1])
        _tokens(name, "value", value, weights[2])
        if key.shape[:2] != value.shape[:2] or key.shape[0] != query.shape[0]:
            raise ValueError(
                f"{name}: query {query.shape}, key {key.shape} and value {value.shape} must agree "
                "in the batch, key and value also in the tokens"
            )
        _goes_with(key, weights[1], bias)
        _goes_with(value, weights[2], bias)
    _goes_with(query, weights[0], bias)
    if bias is not None and bias.shape != (biases,):
        raise ValueError(f"linear: expected bias of shape {(biases,)}, got {bias.shape}")


def _tokens(name: str, what: str, x: X, weight: X) -> None:
    """x is (batch, tokens, features), as many as the weight projects."""
    validate_floats(name, **{what: x})
    shape = x.shape
    if len(shape) != 3 or shape[2:] != weight.shape[1:]:
        raise ValueError(f"{name}: {what} must be (batch, tokens, {weight.shape[-1]}), got {shape}")


def _goes_with(x: X, weight: X, bias: X | None) -> None:
    """x has the dtype of what projects it."""
    dtype = x.dtype
    if dtype != weight.dtype or (bias is not None and dtype != bias.dtype):
        validate_linear(x, weight, bias)  # says which is of which dtype


def validate_mask_reading(name: str, mask: Any, shape: tuple[int, ...]) -> None:
    """NumPy would take the first axis of a mask for the queries or the heads, where the batch may be meant."""
    b, h, tq, tk = shape
    if not isinstance(mask, ARRAYS) or mask.dtype != np.bool_ or b == 1 or mask.shape[:1] != (b,):
        return
    if mask.shape == (b, tk):
        two = b == tq
        cures = "padding_mask=mask if True is a real token (B, Tk)", "is_causal=True or mask[None, None] for (Tq, Tk)"
    elif mask.ndim == 3:
        two = b == h
        cures = "mask[:, None] for (B, Tq, Tk)", "mask[None] for (num_heads, Tq, Tk)"
    else:
        return
    if two:
        raise ValueError(f"{name}: a mask of shape {mask.shape} can be read two ways: {', '.join(cures)}")
    raise ValueError(
        f"{name}: a mask of shape {mask.shape} does not broadcast to the scores' shape {shape}: {cures[0]}"
    )


# ---- losses ----------------------------------------------------------------------------------------------------------


def _reduction(name: str, reduction: str) -> None:
    checks.one_of(name, ("mean", "sum", "none"), reduction=reduction)


def _classes(name: str, input: X, target: ArrayLike | Tensor, ignore_index: int, reduction: str) -> None:
    validate_floats(name, input=input)
    _reduction(name, reduction)
    checks.whole(name, -math.inf, ignore_index=ignore_index)
    target = validate_integers(name, target, "target")
    if input.ndim == 0 or target.shape != input.shape[:-1]:
        raise ValueError(
            f"{name}: input has shape {input.shape} and target {target.shape}; "
            "expected (..., V) and (...): the class axis is the last one"
        )
    validate_ids(name, target, input.shape[-1], "target", ignore_index)
    if reduction == "mean" and not np.any(target != ignore_index):
        warnings.warn(f"{name}: no target is left to average over, the loss is 0", RuntimeWarning, stacklevel=4)


def validate_cross_entropy(
    input: X, target: ArrayLike | Tensor, ignore_index: int, reduction: str, label_smoothing: float
) -> None:
    _classes("cross_entropy", input, target, ignore_index, reduction)
    checks.probability("cross_entropy", label_smoothing=label_smoothing)
    if isinstance(input, Tensor) and _comes_from_softmax(input):
        warnings.warn(
            "cross_entropy: the input comes from a softmax, which cross_entropy takes itself: pass the logits",
            RuntimeWarning,
            stacklevel=3,
        )


def _comes_from_softmax(x: Tensor) -> bool:
    """Whether each row of x, along its last axis, is what a softmax made, as far as the graph tells."""
    node: Any = x.node
    while isinstance(node, Node) and node.rule in (reshape, astype):  # neither changes the order
        node = node.inputs[0] if node.inputs else None  # none, once the graph has been freed
    if not isinstance(node, Node) or node.rule.name != "softmax" or node.shape[-1:] != x.shape[-1:]:
        return False
    return node.settings.get("axis") in (-1, len(node.shape) - 1)


def validate_nll_loss(input: X, target: ArrayLike | Tensor, ignore_index: int, reduction: str) -> None:
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


def _pair(name: str, input: X, target: X, reduction: str) -> None:
    validate_floats(name, input=input)
    if not isinstance(target, ARRAYS):
        raise TypeError(f"{name}: target must be a Tensor or an ndarray, not {type(target).__name__}")
    if target.dtype.kind not in "fiub":
        raise TypeError(f"{name}: target must be real numbers, not {target.dtype.name}")
    if input.shape != target.shape:
        raise ValueError(
            f"{name}: input has shape {input.shape} and target {target.shape}; they must be equal, "
            "for broadcasting would average the wrong pairs: reshape one of them"
        )
    _reduction(name, reduction)


def validate_mse_loss(input: X, target: X, reduction: str) -> None:
    _pair("mse_loss", input, target, reduction)


def validate_l1_loss(input: X, target: X, reduction: str) -> None:
    _pair("l1_loss", input, target, reduction)


def validate_huber_loss(input: X, target: X, reduction: str, delta: float) -> None:
    _pair("huber_loss", input, target, reduction)
    checks.positive_number("huber_loss", delta=delta)


def validate_binary_cross_entropy_with_logits(input: X, target: X, reduction: str) -> None:
    name = "binary_cross_entropy_with_logits"
    _pair(name, input, target, reduction)
    t = detached(target)
    if t.dtype.kind != "b" and t.size:
        rounding = 4 * float(np.finfo(t.dtype).eps) if t.dtype.kind == "f" else 0
        low, high = np.min(t), np.max(t)
        if not (-rounding <= low and high <= 1 + rounding):  # as NaN, too
            wrong = high if -rounding <= low else low
            raise ValueError(f"{name}: target must be from 0 to 1, not {wrong:.6g}")
