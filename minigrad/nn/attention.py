"""Multi-head attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad import checks
from minigrad import functional as F
from minigrad.nn import init
from minigrad.nn.linear import Linear
from minigrad.nn.module import Module, Parameter


class MultiHeadAttention(Module):
    """softmax(Q Kᵀ / √E) V in num_heads heads of width E = embed_dim / num_heads side by side, then W^O.

    query: (B, Tq, D), key: (B, Tk, kdim), value: (B, Tk, vdim), by default the query and the key; gives (B, Tq, D).
    mask: boolean, True = may attend; it broadcasts to (B, num_heads, Tq, Tk), so a mask of padding (B, Tk) goes in as
    mask[:, None, None, :]. A query that may attend to nothing gives zeros before W^O. is_causal: token i sees 0 to i.
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
        is_causal: bool = False,
        need_weights: bool = False,
    ) -> Any:
        checks.flag("MultiHeadAttention", need_weights=need_weights)
        of_itself = key is None and value is None and not need_weights and hasattr(self, "in_proj_weight")
        self._check("query", query, self.embed_dim)
        key = query if key is None else key
        value = key if value is None else value
        if not of_itself:
            self._check("key", key, self.kdim)
            self._check("value", value, self.vdim)
            if key.shape[:2] != value.shape[:2] or key.shape[0] != query.shape[0]:
                raise ValueError(
                    f"MultiHeadAttention: query {query.shape}, key {key.shape} and value {value.shape} must agree "
                    "in the batch, key and value also in the tokens"
                )
        b, tq, _ = query.shape
        dropout = self.dropout if self.training else 0.0
        shape = (b, self.num_heads, tq, key.shape[1])
        mask, kept = F.attention_masks("MultiHeadAttention", shape, mask, is_causal, dropout, self._rng, query.dtype)
        scale = self.head_dim**-0.5
        if of_itself:
            qkv = F.linear(query, self.in_proj_weight, self.in_proj_bias)  # (B, T, 3 D)
            return self.out_proj(F.self_attention(qkv, self.num_heads, mask, kept, scale))
        q, k, v = self._heads(query, key, value)  # each (B, H, T, E)
        x = F.attention(q, k, v, mask, kept, scale)
        y = self.out_proj(np.reshape(np.swapaxes(x, 1, 2), query.shape))  # (B, Tq, D)
        if not need_weights:
            return y
        scores = (q @ np.swapaxes(k, -1, -2)) * scale
        return y, F.softmax(scores) if mask is None else F.masked_softmax(scores, mask)

    def _heads(self, query: Any, key: Any, value: Any) -> list[Any]:
        """Queries, keys and values, projected and cut into heads."""
        weights: list[Any]
        if hasattr(self, "in_proj_weight"):
            weights = np.split(self.in_proj_weight, 3)
        else:
            weights = [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        biases = [None] * 3 if self.in_proj_bias is None else np.split(self.in_proj_bias, 3)
        heads = []
        for x, weight, bias in zip((query, key, value), weights, biases, strict=True):
            y = F.linear(x, weight, bias)  # (B, T, D)
            heads.append(np.swapaxes(np.reshape(y, (*y.shape[:2], self.num_heads, self.head_dim)), 1, 2))
        return heads

    def _check(self, name: str, x: Any, width: int) -> None:
        F.floats("MultiHeadAttention", **{name: x})
        if x.ndim != 3 or x.shape[2] != width:
            raise ValueError(f"MultiHeadAttention: {name} must be (batch, tokens, {width}), got {x.shape}")
