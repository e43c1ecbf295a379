"""Affine maps, and tables of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad import functional as F
from minigrad.creation import default_generator
from minigrad.nn.module import Module, Parameter
from minigrad.tensor import Array, Tensor


def uniform(bound: float, shape: tuple[int, ...], rng: np.random.Generator | None) -> Array:
    """Draws from −bound to bound, in float32."""
    return (rng or default_generator()).uniform(-bound, bound, shape).astype(np.float32)


def positive(layer: str, **sizes: int) -> None:
    """Refuse sizes that are no whole number from 1 on."""
    for name, n in sizes.items():
        if not isinstance(n, int | np.integer) or isinstance(n, bool):
            raise TypeError(f"{layer}: {name} must be a whole number, not {n!r}")
        if n < 1:
            raise ValueError(f"{layer}: {name} must be at least 1, not {n}")


class Linear(Module):
    """x weightᵀ + bias; x: (..., in_features), gives (..., out_features).

    weight: (out_features, in_features), bias: (out_features,), both from U(−1/√in_features, 1/√in_features).

    >>> import minigrad as mg
    >>> mg.nn.Linear(3, 2)(mg.zeros(5, 3)).shape
    (5, 2)
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, rng: np.random.Generator | None = None
    ) -> None:
        positive("Linear", in_features=in_features, out_features=out_features)
        self.in_features = in_features
        self.out_features = out_features
        bound = in_features**-0.5
        self.weight = Parameter(uniform(bound, (out_features, in_features), rng))
        self.bias = Parameter(uniform(bound, (out_features,), rng)) if bias else None

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
        rng: np.random.Generator | None = None,
    ) -> None:
        positive("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        if padding_idx is not None and not 0 <= padding_idx < num_embeddings:
            raise ValueError(f"Embedding: padding_idx={padding_idx} is no id, they go from 0 to {num_embeddings - 1}")
        self.num_embeddings = num_embeddings
        self.embedding_dim = embedding_dim
        self.padding_idx = padding_idx
        weight = (rng or default_generator()).standard_normal((num_embeddings, embedding_dim)).astype(np.float32)
        if padding_idx is not None:
            weight[padding_idx] = 0
        self.weight = Parameter(weight)

    def forward(self, ids: Any) -> Tensor:
        return F.embedding(ids, self.weight, self.padding_idx)  # type: ignore[no-any-return]
