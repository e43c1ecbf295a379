"""Affine maps, and tables of vectors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from minigrad import checks
from minigrad import functional as F
from minigrad.nn import init
from minigrad.nn.module import Module, Parameter
from minigrad.tensor import Tensor


class Linear(Module):
    """x weightᵀ + bias; x: (..., in_features), gives (..., out_features).

    weight: (out_features, in_features), bias: (out_features,), both from U(−1/√in_features, 1/√in_features).

    >>> import minigrad as mg
    >>> mg.nn.Linear(3, 2)(mg.zeros(5, 3)).shape
    (5, 2)
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, rng: np.random.Generator | None = None
    ) -> None:
        checks.positive("Linear", in_features=in_features, out_features=out_features)
        checks.flag("Linear", bias=bias)
        self.in_features = in_features
        self.out_features = out_features
        bound = in_features**-0.5
        self.weight = Parameter(np.empty((out_features, in_features), np.float32))
        init.uniform_(self.weight, -bound, bound, rng=rng)
        self.bias = Parameter(np.empty(out_features, np.float32)) if bias else None
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound, rng=rng)

    def forward(self, x: Any) -> Any:
        return F.linear(x, self.weight, self.bias)


class Embedding(Module):
    """A learned vector for each id; ids: integers (...), gives (..., embedding_dim).

    weight: (num_embeddings, embedding_dim), from N(0, 1). The row padding_idx is 0 and gets no gradient.
    IndexError for an id outside of 0 to num_embeddings − 1.

    >>> import minigrad as mg
    >>> mg.nn.Embedding(10, 4)([[1, 2, 3]]).shape
    (1, 3, 4)
    """

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        rng: np.random.Generator | None = None,
    ) -> None:
        checks.positive("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        if padding_idx is not None:
            checks.whole("Embedding", -math.inf, padding_idx=padding_idx)
            if not 0 <= padding_idx < num_embeddings:
                raise ValueError(
                    f"Embedding: padding_idx={padding_idx} is no id, they go from 0 to {num_embeddings - 1}"
                )
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx
        self.weight = Parameter(np.empty((num_embeddings, embedding_dim), np.float32))
        init.normal_(self.weight, rng=rng)
        if padding_idx is not None:
            self.weight.data[padding_idx] = 0

    def forward(self, ids: Any) -> Tensor:
        return F.embedding(ids, self.weight, self.padding_idx)  # type: ignore[no-any-return]
