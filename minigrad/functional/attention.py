"""Attention: of given queries, keys and values, and in several heads of a sequence with itself; its masks.

B is a batch, T tokens (Tq queries, Tk keys), H heads, E their features, D = H E.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad.functional.definition import X, define, kernel_of
from minigrad.functional.dropout import draw_dropout_mask
from minigrad.functional.matrices import as_rows, constant_vector
from minigrad.functional.softmax import masked_softmax, softmax, softmax_kernel
from minigrad.functional.validation import (
    validate_attention_options,
    validate_padding_mask,
    validate_scaled_dot_product_attention,
)
from minigrad.rule import shared
from minigrad.rules.indexing import index_update
from minigrad.tensor import Array, detached

# ---- of queries, keys and values -------------------------------------------------------------------------------------


@define()
def attention(q: X, k: X, v: X, mask: Array | None, dropout_mask: Array | None, scale: float) -> X:
    """softmax(q kᵀ scale) v; q: (..., Tq, E), k: (..., Tk, E), v: (..., Tk, Ev); gives (..., Tq, Ev).

    mask: True where attention is allowed; a query that may attend to nothing gives zeros. dropout_mask: what the
    attention's weights are multiplied with. Both broadcast to (..., Tq, Tk).
    """
    scores = (q @ np.swapaxes(k, -1, -2)) * scale
    weights = softmax(scores) if mask is None else masked_softmax(scores, mask)
    return (weights if dropout_mask is None else weights * dropout_mask) @ v


@kernel_of(attention)
def attention_kernel(q, k, v, /, mask, dropout_mask, scale):
    y, w, pull_scores = _attend(q, k, v, mask, dropout_mask, scale)
    pull_scores = shared(pull_scores)
    return y, (lambda g: pull_scores(g) @ k, lambda g: pull_scores(g).mT @ q, lambda g: w.mT @ g)


def _attend(q, k, v, mask, dropout_mask, scale, out=None):
    """softmax(q kᵀ scale) v, the weights that met v, and the function from its gradient to that of q kᵀ."""
    p = q @ k.mT
    p *= scale
    if p.size and p.min() > -40 and p.max() < 40:  # no power leaves float32, whatever a row's maximum: 5 times as fast
        np.exp(p, out=p)
        if mask is not None:
            p *= mask.astype(p.dtype)
        total = as_rows(p) @ constant_vector(p.shape[-1], 1, p.dtype)
        if mask is not None:
            total[total == 0] = 1
        p /= total.reshape(*p.shape[:-1], 1)  # not times 1 / total: of a single key the weight is 1
    elif mask is None:
        p = softmax_kernel.function(p, -1)[0]
    else:
        p = masked_softmax.reference(p, mask)
    w = p if dropout_mask is None else p * dropout_mask

    def pull_scores(g):
        h = g @ v.mT
        if dropout_mask is not None:
            h *= dropout_mask
        h -= np.vecdot(h, p)[..., None]
        h *= p
        h *= scale
        return h

    return np.matmul(w, v, out=out), w, pull_scores


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
    shape = validate_scaled_dot_product_attention(query, key, value, scale)
    name = "scaled_dot_product_attention"
    mask, dropped = attention_masks(name, shape, attn_mask, is_causal, dropout_p, rng, query.dtype)
    return attention(query, key, value, mask, dropped, query.shape[-1] ** -0.5 if scale is None else scale)


# ---- in several heads, of a sequence with itself ---------------------------------------------------------------------

_BLOCK = 1 << 18  # scores computed at a time, or those of one sequence: fewer leave the cache on the way


@define()
def self_attention(qkv: X, num_heads: int, mask: Array | None, dropout_mask: Array | None, scale: float) -> X:
    """attention in num_heads heads side by side, of queries, keys and values that lie beside each other.

    qkv: (B, T, 3 D), gives (B, T, D); each head has E = D / num_heads features. mask, dropout_mask: as in attention.
    """
    b, t, width = qkv.shape
    parts = np.reshape(qkv, (b, t, 3, num_heads, width // (3 * num_heads)))  # (B, T, 3, H, E)
    q, k, v = np.transpose(parts, (2, 0, 3, 1, 4))  # each (B, H, T, E)
    y = attention(q, k, v, mask, dropout_mask, scale)
    return np.reshape(np.swapaxes(y, 1, 2), (b, t, width // 3))


@kernel_of(self_attention)
def self_attention_kernel(qkv, /, num_heads, mask, dropout_mask, scale):
    b, t, width = qkv.shape
    shape = b, t, num_heads, width // (3 * num_heads)
    y = np.empty(shape, qkv.dtype)
    parts = (b, t, 3, *shape[2:])
    q, k, v = qkv.reshape(parts).transpose(2, 0, 3, 1, 4)  # each (B, H, T, E)
    n = max(1, _BLOCK // max(1, num_heads * t * t))
    blocks = [slice(i, i + n) for i in range(0, b, n)]

    def cut(array, block):
        return array[block] if array is not None and array.ndim == 4 and len(array) == b else array

    made = [
        _attend(q[i], k[i], v[i], cut(mask, i), cut(dropout_mask, i), scale, out=y[i].swapaxes(1, 2))[1:]
        for i in blocks
    ]

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


# ---- masks -----------------------------------------------------------------------------------------------------------


def attention_masks(
    name: str,
    shape: tuple[int, ...],
    attn_mask: X | None,
    is_causal: bool,
    dropout_p: float,
    rng: np.random.Generator | None,
    dtype: Any,
) -> tuple[Array | None, Array | None]:
    """What scores of this shape may see, None for everything; and the dropout mask of their weights, or None."""
    validate_attention_options(name, shape, attn_mask, is_causal, dropout_p, rng)
    mask = detached(attn_mask)
    if is_causal:
        causal = np.tri(shape[-2], shape[-1], dtype=bool)
        mask = causal if mask is None else mask & causal
    return mask, draw_dropout_mask(shape, dropout_p, rng, dtype) if dropout_p else None


def real_tokens(name: str, padding_mask: X | None, shape: tuple[int, ...]) -> Array | None:
    """A padding mask of tokens of this shape (B, T), True = a real token, as an array; None if all are real."""
    if padding_mask is None:
        return None
    validate_padding_mask(name, padding_mask, shape)
    real: Array = detached(padding_mask)
    return None if real.all() else real


def without_padding(x: X, real: Array | None) -> X:
    """x with 0 in place of what is no real token, so that it is of no influence, not even if it is NaN."""
    return x if real is None else index_update(x, ~real, 0.0)
