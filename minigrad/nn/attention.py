"""Multi-head attention."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from minigrad import checks
from minigrad import functional as F
from minigrad.functional.attention import attention_masks, real_tokens, without_padding
from minigrad.functional.validation import validate_attention_inputs, validate_mask_reading
from minigrad.nn import init
from minigrad.nn.linear import Linear
from minigrad.nn.module import Module, Parameter


class MultiHeadAttention(Module):
    """softmax(Q Kᵀ / √E) V in num_heads heads of width E = embed_dim / num_heads side by side, then W^O.

    query: (B, Tq, D), key: (B, Tk, kdim), value: (B, Tk, vdim), by default the query and the key; gives (B, Tq, D).
    padding_mask: boolean (B, Tk), True = a real token; what stands at the others is of no influence. mask: boolean,
    True = may attend, of shape (Tq, Tk), (num_heads, Tq, Tk) or (B, num_heads, Tq, Tk), each of which may be 1; one
    whose first axis may be the batch as well (Tq = B, num_heads = B) is refused. is_causal: token i sees 0 to i.
    A query attends to what all of them allow; if that is nothing, it gives zeros before W^O.
    need_weights: gives (output, weights), who attends to whom, (B, num_heads, Tq, Tk), before dropout.

    in_proj_weight: (3 D, D), Q's, K's and V's one below the other, or with other kdim or vdim three weights; all
    Glorot-uniform. out_proj is W^O. Vaswani et al.: Attention Is All You Need (2017).

    >>> import minigrad as mg
    >>> mg.nn.MultiHeadAttention(8, 2)(mg.randn(4, 5, 8)).shape
    (4, 5, 8)
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        *,
        rng: np.random.Generator | None = None,
    ) -> None:
        kdim, vdim = embed_dim if kdim is None else kdim, embed_dim if vdim is None else vdim
        checks.positive("MultiHeadAttention", embed_dim=embed_dim, num_heads=num_heads, kdim=kdim, vdim=vdim)
        if embed_dim % num_heads:
            raise ValueError(
                f"MultiHeadAttention: embed_dim={embed_dim} cannot be cut into num_heads={num_heads} equal parts"
            )
        checks.probability("MultiHeadAttention", dropout=dropout)
        checks.flag("MultiHeadAttention", bias=bias)
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.dropout = dropout
        self.kdim = kdim
        self.vdim = vdim

        def weight(rows: int, columns: int) -> Parameter:
            return init.xavier_uniform_(Parameter(np.empty((rows, columns), np.float32)), rng=rng)  # type: ignore

        if kdim == vdim == embed_dim:
            self.in_proj_weight = weight(3 * embed_dim, embed_dim)
        else:
            self.q_proj_weight = weight(embed_dim, embed_dim)
            self.k_proj_weight = weight(embed_dim, kdim)
            self.v_proj_weight = weight(embed_dim, vdim)
        self.in_proj_bias = Parameter(np.zeros(3 * embed_dim, np.float32)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, rng=rng)
        self._rng = rng

    def forward(
        self,
        query: Any,
        key: Any = None,
        value: Any = None,
        *,
        mask: Any = None,
        padding_mask: Any = None,
        is_causal: bool = False,
        need_weights: bool = False,
    ) -> Any:
        checks.flag("MultiHeadAttention", need_weights=need_weights)
        packed = hasattr(self, "in_proj_weight")
        weights = [self.in_proj_weight] * 3 if packed else [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        of_itself = packed and key is None and value is None and not need_weights
        key = query if key is None else key
        value = key if value is None else value
        inputs = (query,) if of_itself else (query, key, value)
        validate_attention_inputs("MultiHeadAttention", weights, self.in_proj_bias, 3 * self.embed_dim, *inputs)
        dropout = self.dropout if self.training else 0.0
        shape = (query.shape[0], self.num_heads, query.shape[1], key.shape[1])
        real = real_tokens("MultiHeadAttention", padding_mask, key.shape[:2])
        validate_mask_reading("MultiHeadAttention", mask, shape)
        mask, dropped = attention_masks("MultiHeadAttention", shape, mask, is_causal, dropout, self._rng, query.dtype)
        if real is not None:
            mask = real[:, None, None, :] if mask is None else mask & real[:, None, None, :]
            without = without_padding(key, real)
            value = without if value is key else without_padding(value, real)
            query, key = without if query is key else query, without
        scale = self.head_dim**-0.5
        if of_itself:
            qkv = F.linear.compute(query, self.in_proj_weight, self.in_proj_bias)  # (B, T, 3 D)
            return self.out_proj(F.self_attention(qkv, self.num_heads, mask, dropped, scale))
        each: list[Any] = np.split(self.in_proj_weight, 3) if packed else weights
        q, k, v = self._heads((query, key, value), each)  # each (B, H, T, E)
        x = F.attention(q, k, v, mask, dropped, scale)
        y = self.out_proj(np.reshape(np.swapaxes(x, 1, 2), query.shape))  # (B, Tq, D)
        if not need_weights:
            return y
        scores = (q @ np.swapaxes(k, -1, -2)) * scale
        return y, F.softmax(scores) if mask is None else F.masked_softmax(scores, mask)

    def _heads(self, inputs: Iterable[Any], weights: list[Any]) -> list[Any]:
        """Queries, keys and values, projected and cut into heads: each (B, H, T, E)."""
        biases = [None] * 3 if self.in_proj_bias is None else np.split(self.in_proj_bias, 3)
        heads = []
        for x, weight, bias in zip(inputs, weights, biases, strict=True):
            y: Any = F.linear.compute(x, weight, bias)  # (B, T, D)
            heads.append(np.swapaxes(np.reshape(y, (*y.shape[:2], self.num_heads, self.head_dim)), 1, 2))
        return heads
