"""Fast twins of functions in functional.py: the same values and gradients in fewer passes over memory.

A kernel sees arrays only, of float32 or float64, and may write into those that it made itself. Products with a vector
of ones stand for sums, and `vecdot` for sums of products: 2 to 13 times as fast as `np.sum` over the last axis.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from minigrad import functional as F
from minigrad.rule import shared
from minigrad.rules.elementwise import erfc
from minigrad.tensor import Array, detached


def _filled(n, value, dtype):
    """A vector of n equal numbers, not to be written into."""
    return _kept(n, value, dtype) if n <= 1 << 16 else np.full(n, value, dtype)


@functools.lru_cache(64)
def _kept(n, value, dtype):
    """Such a vector, kept: several times in each layer the same one is asked for."""
    vector = np.full(n, value, dtype)
    vector.setflags(write=False)
    return vector


def _column_sums(z, piece=1024):
    """The sum of all rows; of many rows in pieces added up in float64, for in float32 10⁵ of one sign lose 5 digits."""
    whole = len(z) // piece * piece
    if len(z) <= 2 * piece:
        return _filled(len(z), 1, z.dtype) @ z
    ones = _filled(piece, 1, z.dtype)
    pieces = ones @ z[:whole].reshape(-1, piece, z.shape[1])
    return (pieces.sum(0, dtype=np.float64) + ones[: len(z) - whole] @ z[whole:]).astype(z.dtype)


# ---- activations -----------------------------------------------------------------------------------------------------


@F.relu.kernel
def _relu(x, /):
    # a row of zeros: up to 2 times as fast as the number 0
    y = np.maximum(x, _filled(x.shape[-1], 0, x.dtype) if x.ndim else 0)
    return y, (lambda g: g * (y != 0),)


@F.gelu.kernel
def _gelu(x, /, approximate):
    if approximate == "tanh":
        return _gelu_tanh(x)
    share = 0.5 * erfc(x * -math.sqrt(0.5))

    def pull(g):  # Φ(x) + x φ(x)
        d = np.exp(-0.5 * x * x)
        d *= x
        d *= 1 / math.sqrt(2 * math.pi)
        d += share
        return g * d

    return x * share, (pull,)


def _gelu_tanh(x):
    """½ x (1 + tanh u) = x / (1 + e⁻²ᵘ) with u = a x + b x³: twice as fast as tanh, and nothing cancels."""
    a, b = math.sqrt(2 / math.pi), math.sqrt(2 / math.pi) * 0.044715
    with np.errstate(over="ignore"):
        e = np.asarray(x * x)
        e *= -2 * b
        e -= 2 * a
        e *= x
        np.exp(e, out=e)
        under = e + 1
    y = x / under

    def pull(g):  # (1 + y e⁻²ᵘ (2 a + 6 b x²)) / (1 + e⁻²ᵘ), where 0 comes before what may overflow
        d = np.asarray(np.minimum(e, np.finfo(e.dtype).max))
        d *= y
        cubic = d * x
        cubic *= x
        cubic *= 6 * b
        d *= 2 * a
        d += cubic
        d += 1
        d /= under
        d *= g
        return d

    return y, (pull,)


# ---- softmax ---------------------------------------------------------------------------------------------------------


@F.softmax.kernel
def _softmax(x, /, axis):
    axis = axis if x.ndim else None
    p = np.asarray(x - x.max(axis, keepdims=True, initial=-np.inf))
    np.exp(p, out=p)
    p /= p.sum(axis, keepdims=True)
    return p, (lambda g: p * (g - (g * p).sum(axis, keepdims=True)),)


@F.log_softmax.kernel
def _log_softmax(x, /, axis):
    shape = x.shape
    if axis is None or not x.ndim:
        x, axis = x.reshape(-1), 0
    y = x - x.max(axis, keepdims=True, initial=-np.inf)
    top = y.argmax(axis, keepdims=True) if x.size else np.zeros_like(y, int)
    e = np.exp(y)
    np.put_along_axis(e, top, 0, axis)
    others = e.sum(axis, keepdims=True)
    y -= np.log1p(others)
    e /= others + 1  # the softmax, but for the largest, whose share is what the others leave

    def pull(g):
        h = g.reshape(x.shape).copy()
        own = np.take_along_axis(h, top, axis)
        np.put_along_axis(h, top, 0, axis)
        rest = h.sum(axis, keepdims=True)
        h -= e * (rest + own)
        np.put_along_axis(h, top, (own * others - rest) / (others + 1), axis)
        return h.reshape(shape)

    return y.reshape(shape), (pull,)


# ---- normalisation ---------------------------------------------------------------------------------------------------


@F.layer_norm.kernel
def _layer_norm(x, weight, bias, /, normalized_shape, eps):
    shape = F.as_shape(normalized_shape)
    n = math.prod(shape)
    rows = x.reshape(x.size // max(n, 1), n)
    share = _filled(n, 1 / max(n, 1), x.dtype)
    m = rows @ share
    c = rows - m[:, None]
    with np.errstate(over="ignore"):
        r = np.vecdot(c, c)
        r *= 1 / max(n, 1)
        r = _reciprocal_root(r, eps)
        if _is_far(m, r):
            return _in_float64(_layer_norm, x, weight, bias, normalized_shape, eps)
    r = r[:, None]
    c *= r  # standardised
    w = None if weight is None else weight.reshape(-1)
    y = c.copy() if w is None else c * w
    if bias is not None:
        y += bias.reshape(-1)

    def pull_x(g):
        h = g.reshape(c.shape).copy() if w is None else g.reshape(c.shape) * w
        along = np.vecdot(h, c)
        along *= 1 / max(n, 1)
        h -= (h @ share)[:, None]
        h -= c * along[:, None]
        h *= r
        return h.reshape(g.shape)

    def sums(z):
        return _column_sums(z) if len(shape) == 1 else _column_sums(z).reshape(shape)

    return y.reshape(x.shape), (
        pull_x,
        lambda g: sums(g.reshape(c.shape) * c),
        lambda g: sums(g.reshape(c.shape)),
    )


@F.batch_standardise.kernel
def _batch_standardise(x, weight, bias, /, eps):
    if x.ndim == 3:
        return _batch_standardise_along(x, weight, bias, eps)
    n = max(len(x), 1)
    share = _filled(len(x), 1 / n, x.dtype)
    m = share @ x
    c = x - m
    with np.errstate(over="ignore"):
        r = _reciprocal_root(share @ (c * c), eps)
        if _is_far(m, r):
            return _in_float64(_batch_standardise, x, weight, bias, eps)
    scale = r if weight is None else r * weight
    y = c * scale
    if bias is not None:
        y += bias

    @shared
    def sums(g):  # of g, and of g times x centred
        return _column_sums(g), _column_sums(g * c)

    def pull_x(g):
        total, along = sums(g)
        h = c * (along * r * r / -n)
        h += g
        h -= total / n
        h *= scale
        return h

    return y, (pull_x, lambda g: sums(g)[1] * r, lambda g: sums(g)[0].copy())


def _batch_standardise_along(x, weight, bias, eps):
    """The same of (N, C, L): channels last, as rows of a matrix, and back again."""
    n, c, length = x.shape

    @shared
    def rows(z):
        return _rows(np.moveaxis(z, 1, 2))

    def back(y):
        return np.moveaxis(y.reshape(n, length, c), 2, 1).copy()

    y, pullbacks = _batch_standardise.function(rows(x), weight, bias, eps)
    return back(y), (
        lambda g: back(pullbacks[0](rows(g))),
        lambda g: pullbacks[1](rows(g)),
        lambda g: pullbacks[2](rows(g)),
    )


def _reciprocal_root(v, eps):
    """1 / √(v + eps), in place."""
    v += eps
    np.sqrt(v, out=v)
    return np.divide(1, v, out=v)


def _is_far(m, r):
    """Whether float32 is too narrow for means m and deviations 1 / r, or one of them is NaN.

    Beside a mean of several deviations its rounding shows; beyond deviations of 10⁹ products may leave its range.
    """
    if r.dtype != np.float32 or not r.size:
        return False
    return not (np.minimum.reduce(r) > 1e-9 and np.maximum.reduce(np.abs(m * r)) < 4)


def _in_float64(kernel, *arguments):
    """What a kernel gives in float64, value and gradients rounded to float32."""
    y, pullbacks = kernel.function(*(x.astype(np.float64) if isinstance(x, np.ndarray) else x for x in arguments))

    @shared
    def wide(g):
        return g.astype(np.float64)

    def rounded(pull):
        return lambda g: pull(wide(g)).astype(np.float32)

    return y.astype(np.float32), tuple(map(rounded, pullbacks))


# ---- layers without their parameters ---------------------------------------------------------------------------------


@F.linear.kernel
def _linear(x, weight, bias, /):
    rows, shape = _rows(x), x.shape
    y = rows @ weight.T
    if bias is not None:
        y += bias
    return y.reshape(*shape[:-1], len(weight)), (
        lambda g: (_rows(g) @ weight).reshape(shape),
        lambda g: _rows(g).T @ rows,
        lambda g: _column_sums(_rows(g)),
    )


def _rows(x: Array) -> Array:
    """As a matrix, along the last axis."""
    return x if x.ndim == 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


@F.embedding.kernel
def _embedding(weight, /, ids, padding_idx):
    ids, shape = np.asarray(detached(ids), np.int64), weight.shape

    def pull(g):
        rows, flat = _rows(g), ids.ravel()
        y = None
        if shape[0] <= 128 and len(flat) <= 1 << 14:  # 4 times as fast for 1024 ids as sorting them
            hot = np.zeros((len(flat), shape[0]), g.dtype)
            hot.ravel()[np.arange(len(flat)) * shape[0] + flat] = 1
            with np.errstate(invalid="ignore"):
                y = hot.T @ rows
        if y is None or not np.isfinite(y).all():  # 0 · NaN would reach the rows of other ids
            y = _sum_by_id(rows, flat, shape)
        if padding_idx is not None:
            y[padding_idx] = 0
        return y

    return weight[ids], (pull,)


def _sum_by_id(rows, ids, shape):
    """The sums of the rows that have the same id."""
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    starts = np.flatnonzero(np.diff(ids, prepend=-1))
    y = np.zeros(shape, rows.dtype)
    if len(ids):
        y[ids[starts]] = np.add.reduceat(rows[order], starts, axis=0)
    return y


def _attend(q, k, v, mask, kept, scale, out=None):
    """softmax(q kᵀ scale) v, the weights that met v, and the function from its gradient to that of q kᵀ."""
    p = q @ k.mT
    p *= scale
    if p.size and p.min() > -40 and p.max() < 40:  # no power leaves float32, whatever a row's maximum: 5 times as fast
        np.exp(p, out=p)
        if mask is not None:
            p *= mask.astype(p.dtype)
        total = _rows(p) @ _filled(p.shape[-1], 1, p.dtype)
        if mask is not None:
            total[total == 0] = 1
        p /= total.reshape(*p.shape[:-1], 1)  # not times 1 / total: of a single key the weight is 1
    elif mask is None:
        p = _softmax.function(p, -1)[0]
    else:
        p = F.masked_softmax.function(p, mask)
    w = p if kept is None else p * kept

    def pull_scores(g):
        h = g @ v.mT
        if kept is not None:
            h *= kept
        h -= np.vecdot(h, p)[..., None]
        h *= p
        h *= scale
        return h

    return np.matmul(w, v, out=out), w, pull_scores


@F.attention.kernel
def _attention(q, k, v, /, mask, kept, scale):
    y, w, pull_scores = _attend(q, k, v, mask, kept, scale)
    pull_scores = shared(pull_scores)
    return y, (lambda g: pull_scores(g) @ k, lambda g: pull_scores(g).mT @ q, lambda g: w.mT @ g)


_BLOCK = 1 << 18  # scores computed at a time, or those of one sequence: fewer leave the cache on the way


@F.self_attention.kernel
def _self_attention(qkv, /, num_heads, mask, kept, scale):
    b, t, width = qkv.shape
    shape = b, t, num_heads, width // (3 * num_heads)
    y = np.empty(shape, qkv.dtype)
    parts = (b, t, 3, *shape[2:])
    q, k, v = qkv.reshape(parts).transpose(2, 0, 3, 1, 4)  # each (B, H, T, E)
    n = max(1, _BLOCK // max(1, num_heads * t * t))
    blocks = [slice(i, i + n) for i in range(0, b, n)]

    def cut(array, block):
        return array[block] if array is not None and array.ndim == 4 and len(array) == b else array

    made = [_attend(q[i], k[i], v[i], cut(mask, i), cut(kept, i), scale, out=y[i].swapaxes(1, 2))[1:] for i in blocks]

    def pull(g):
        h = np.empty(parts, g.dtype)
        hq, hk, hv = h.transpose(2, 0, 3, 1, 4)
        g = g.reshape(shape).swapaxes(1, 2)
        for i, (w, pull_scores) in zip(blocks, made, strict=True):
            scores = pull_scores(g[i])
            np.matmul(scores, k[i], out=hq[i])
            np.matmul(scores.mT, q[i], out=hk[i])
            np.matmul(w.mT, g[i], out=hv[i])
        return h.reshape(qkv.shape)

    return y.reshape(b, t, width // 3), (pull,)


# ---- losses ----------------------------------------------------------------------------------------------------------


@F.cross_entropy.kernel
def _cross_entropy(input, /, target, ignore_index, reduction, label_smoothing):
    z = np.ascontiguousarray(_rows(input))
    classes = z.shape[1]
    target = np.asarray(detached(target), np.int64).ravel()
    skipped = target == ignore_index
    if skipped.any():
        target = np.where(skipped, 0, target)
    else:
        skipped = None
    picked = np.arange(len(target)) * classes + target  # of all logits in a row
    z = z - z.max(-1, keepdims=True, initial=-np.inf)
    p = np.exp(z)
    own = p.ravel()[picked]
    p.ravel()[picked] = 0
    others = p @ _filled(classes, 1, z.dtype)  # without the target's, for a small sum would be lost beside a 1
    total = others + own
    losses = np.log1p(others + (own - 1))
    losses -= (1 - label_smoothing) * z.ravel()[picked]
    if label_smoothing:
        losses -= label_smoothing * z.mean(-1)
    n = len(losses)
    if skipped is not None:
        losses[skipped] = 0
        n -= int(skipped.sum())
    n = max(n, 1) if reduction == "mean" else 1
    value = losses.reshape(input.shape[:-1]) if reduction == "none" else losses.sum(dtype=np.float64) / n

    def pull(g):
        g = np.broadcast_to(np.ravel(g / n), losses.shape)
        h = p * (g / total)[:, None]
        if label_smoothing:
            h -= (label_smoothing / classes * g)[:, None]
        h.ravel()[picked] -= (others / total - label_smoothing) * g  # the share of the others, for 1 less the target's
        if skipped is not None:
            h[skipped] = 0
        return h.reshape(input.shape)

    return np.asarray(value, input.dtype), (pull,)
