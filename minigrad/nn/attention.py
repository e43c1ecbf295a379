"""Multi-head attention."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad import functional as F
from minigrad.nn.linear import Linear, positive, uniform
from minigrad.nn.module import Module, Parameter


class MultiHeadAttention(Module):
    """softmax(Q Kᵀ / √E) V in num_heads heads of width E = embed_dim / num_heads side by side, then W^O.

    query: (B, Tq, D), key and value: (B, Tk, D), by default the query and the key; gives (B, Tq, D).
    attn_mask: boolean, True = may attend; it broadcasts to (B, num_heads, Tq, Tk), so a mask of padding (B, Tk) goes
    in as mask[:, None, None, :]. A query that may attend to nothing gives zeros before W^O.
    in_proj_weight: (3 D, D), for Q, K and V one below the other, Glorot-uniform; out_proj is W^O.
    Vaswani et al.: Attention Is All You Need (2017).

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
        rng: np.random.Generator | None = None,
    ) -> None:
        positive("MultiHeadAttention", embed_dim=embed_dim, num_heads=num_heads)
        if embed_dim % num_heads:
            raise ValueError(
                f"MultiHeadAttention: embed_dim={embed_dim} cannot be cut into num_heads={num_heads} equal parts"
            )
        F._probability("MultiHeadAttention: dropout", dropout)
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.head_dim = embed_dim // num_heads
        self.dropout = dropout
        self.in_proj_weight = Parameter(uniform((6 / (4 * embed_dim)) ** 0.5, (3 * embed_dim, embed_dim), rng))
        self.in_proj_bias = Parameter(np.zeros(3 * embed_dim, np.float32)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, rng)
        self._rng = rng

    def forward(
        self, query: Any, key: Any = None, value: Any = None, attn_mask: Any = None, is_causal: bool = False
    ) -> Any:
        dropout = self.dropout if self.training else 0.0
        if key is None and value is None:
            self._check(query=query)
            b, t, _ = query.shape
            masks = (attn_mask, is_causal, dropout, self._rng, query.dtype)
            mask, kept = F.attention_masks("MultiHeadAttention", (b, self.num_heads, t, t), *masks)
            qkv = F.linear(query, self.in_proj_weight, self.in_proj_bias)  # (B, T, 3 D)
            x = F.self_attention(qkv, self.num_heads, mask, kept, self.head_dim**-0.5)  # (B, T, D)
        else:
            q, k, v = self._heads(query, key, value)  # each (B, H, T, E)
            x = F.scaled_dot_product_attention(q, k, v, attn_mask, dropout, is_causal, rng=self._rng)
            x = np.reshape(np.swapaxes(x, 1, 2), query.shape)  # (B, Tq, D)
        return self.out_proj(x)

    def attention_weights(self, query: Any, key: Any = None, attn_mask: Any = None) -> Any:
        """Who attends to whom: (B, num_heads, Tq, Tk), each row of sum 1, or 0 where nothing may be attended to."""
        q, k, _ = self._heads(query, key, None)
        scores = (q @ np.swapaxes(k, -1, -2)) * self.head_dim**-0.5
        return F.softmax(scores) if attn_mask is None else F.masked_softmax(scores, attn_mask)

    def _heads(self, query: Any, key: Any, value: Any) -> list[Any]:
        """Queries, keys and values, projected and cut into heads."""
        key = query if key is None else key
        value = key if value is None else value
        self._check(query=query, key=key, value=value)
        if key.shape[:2] != value.shape[:2] or key.shape[0] != query.shape[0]:
            raise ValueError(
                f"MultiHeadAttention: query {query.shape}, key {key.shape} and value {value.shape} must agree "
                "in the batch, key and value also in the tokens"
            )
        heads = []
        for i, x in enumerate((query, key, value)):
            rows = slice(i * self.embed_dim, (i + 1) * self.embed_dim)
            bias = None if self.in_proj_bias is None else self.in_proj_bias[rows]
            y = F.linear(x, self.in_proj_weight[rows], bias)  # (B, T, D)
            heads.append(np.swapaxes(np.reshape(y, (*y.shape[:2], self.num_heads, self.head_dim)), 1, 2))
        return heads

    def _check(self, **inputs: Any) -> None:
        for name, x in inputs.items():
            if x.ndim != 3 or x.shape[2] != self.embed_dim:
                raise ValueError(f"MultiHeadAttention: {name} must be (batch, tokens, {self.embed_dim}), got {x.shape}")
