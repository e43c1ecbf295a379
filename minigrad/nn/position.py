"""Where a token stands: attention by itself does not know."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad import checks
from minigrad.functional.validation import validate_floats
from minigrad.nn import init
from minigrad.nn.module import Module, Parameter


def _tokens(name: str, x: Any, d_model: int, **parameters: Parameter) -> int:
    validate_floats(name, (), x=x, **parameters)
    if x.ndim < 2 or x.shape[-1] != d_model:
        raise ValueError(f"{name}: expected x of shape (..., tokens, {d_model}), got {x.shape}")
    return int(x.shape[-2])


class SinusoidalPositionalEncoding(Module):
    """x + sin(t / 10000^(2i/D)) in the even features 2i, and cos of the same in the odd ones; x: (..., T, D).

    Any number of tokens, any D. Vaswani et al.: Attention Is All You Need (2017).

    >>> import numpy as np, minigrad as mg
    >>> np.round(mg.nn.SinusoidalPositionalEncoding(3)(mg.zeros(2, 3)), 3)
    tensor([[0.   , 1.   , 0.   ],
            [0.841, 0.54 , 0.002]])
    """

    def __init__(self, d_model: int) -> None:
        checks.positive("SinusoidalPositionalEncoding", d_model=d_model)
        self.d_model = d_model

    def forward(self, x: Any) -> Any:
        t = np.arange(_tokens("SinusoidalPositionalEncoding", x, self.d_model))[:, None]
        feature = np.arange(self.d_model)
        angle = t / 10000 ** (2 * (feature // 2) / self.d_model)
        return x + np.where(feature % 2, np.cos(angle), np.sin(angle)).astype(x.dtype)


class LearnedPositionalEncoding(Module):
    """x + weight[:T]; x: (..., T, D) with at most max_tokens tokens. weight: (max_tokens, D), from N(0, 0.1²)."""

    def __init__(self, max_tokens: int, d_model: int, *, rng: np.random.Generator | None = None) -> None:
        checks.positive("LearnedPositionalEncoding", max_tokens=max_tokens, d_model=d_model)
        self.max_tokens = max_tokens
        self.d_model = d_model
        self.weight = Parameter(np.empty((max_tokens, d_model), np.float32))
        init.normal_(self.weight, std=0.1, rng=rng)  # a place must not drown what stands there

    def forward(self, x: Any) -> Any:
        tokens = _tokens("LearnedPositionalEncoding", x, self.d_model, weight=self.weight)
        if tokens > self.max_tokens:
            raise ValueError(f"LearnedPositionalEncoding: {tokens} tokens are more than max_tokens={self.max_tokens}")
        return x + self.weight[:tokens]
