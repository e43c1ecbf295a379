"""An encoder that says what a sequence is."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad import checks, nn
from minigrad.functional.attention import without_padding
from minigrad.functional.validation import validate_floats
from minigrad.models.encoder import Encoder, real_tokens_of


class SequenceClassifier(nn.Module):
    """Tokens of real numbers → embedding + learned position → encoder → mean over the tokens → a logit for each class.

    x: (B, T, in_features) with at most max_tokens tokens, gives (B, num_classes). padding_mask: boolean (B, T), True =
    a real token; all, unless given. The other options are Encoder's.

    >>> import minigrad as mg
    >>> model = SequenceClassifier(4, 10, max_tokens=16, num_layers=1, d_model=8, nhead=2, dim_feedforward=32)
    >>> model(mg.zeros(5, 16, 4)).shape
    (5, 10)
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        max_tokens: int,
        num_layers: int,
        d_model: int,
        nhead: int,
        dim_feedforward: int,
        rng: np.random.Generator | None = None,
        **options: Any,
    ) -> None:
        sizes = {"in_features": in_features, "num_classes": num_classes, "max_tokens": max_tokens, "d_model": d_model}
        checks.positive("SequenceClassifier", **sizes)
        self.max_tokens = max_tokens
        self.embedding = nn.Linear(in_features, d_model, rng=rng)
        self.positions = nn.LearnedPositionalEncoding(max_tokens, d_model, rng=rng)
        self.encoder = Encoder(num_layers, d_model, nhead, dim_feedforward, rng=rng, **options)
        self.head = nn.Linear(d_model, num_classes, rng=rng)

    def embed(self, x: Any) -> Any:
        """Each token's content and place; (B, T, in_features) gives (B, T, d_model)."""
        validate_floats("SequenceClassifier", x=x)
        if x.ndim != 3:
            raise ValueError(f"SequenceClassifier: expected (batch, tokens, features), got {x.shape}")
        return self.positions(self.embedding(x))

    def forward(self, x: Any, padding_mask: Any = None) -> Any:
        real = real_tokens_of("SequenceClassifier", padding_mask, x)
        x = self.encoder(self.embed(without_padding(x, real)), padding_mask=real)  # (B, T, D)
        if real is None:
            return self.head(np.mean(x, axis=1))
        weight = real / np.maximum(np.sum(real, axis=1, keepdims=True), 1)
        return self.head(np.sum(x * weight[..., None].astype(x.dtype), axis=1))
