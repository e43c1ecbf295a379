"""The transformer's encoder. B sequences of T tokens of D = d_model features.

Vaswani et al.: Attention Is All You Need (2017); norm_first: Xiong et al.: On Layer Normalization in the Transformer
Architecture (2020).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad import checks, nn
from minigrad.functional.attention import real_tokens, without_padding
from minigrad.functional.validation import validate_floats
from minigrad.rules.indexing import index_update

MOST_LAYERS = 10_000
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "gelu": lambda: nn.GELU("tanh")}


class BatchNormTokens(nn.Module):
    """BatchNorm1d of each feature over all tokens of all sequences; x: (B, T, D).

    real: boolean (B, T), the tokens to norm; the others count nothing, and give zeros.
    """

    def __init__(self, d_model: int) -> None:
        self.norm = nn.BatchNorm1d(d_model)

    def forward(self, x: Any, real: Any = None) -> Any:
        if real is not None:
            return index_update(np.zeros(x.shape, x.dtype), real, self.norm(x[real]))
        return np.reshape(self.norm(np.reshape(x, (math.prod(x.shape[:-1]), x.shape[-1]))), x.shape)


NORMS: dict[str, Callable[[int], nn.Module]] = {
    "layer": nn.LayerNorm,
    "batch": BatchNormTokens,
    "rms": nn.RMSNorm,
    "none": lambda d_model: nn.Identity(),
}


def choice(name: str, value: str, table: dict[str, Any]) -> Any:
    """table[value], or a ValueError that lists what there is."""
    if not isinstance(value, str) or value not in table:
        raise ValueError(f"{name} must be one of {', '.join(table)}, not {checks.shown(value)}")
    return table[value]


class FeedForward(nn.Module):
    """W₂ activation(W₁ x + b₁) + b₂, each token for itself; x: (B, T, D), gives (B, T, D).

    >>> import minigrad as mg
    >>> FeedForward(8, 32)(mg.zeros(2, 3, 8)).shape
    (2, 3, 8)
    """

    def __init__(
        self,
        d_model: int,
        dim_feedforward: int,
        activation: str = "relu",
        dropout: float = 0.0,
        *,
        rng: np.random.Generator | None = None,
    ) -> None:
        checks.positive("FeedForward", d_model=d_model, dim_feedforward=dim_feedforward)
        checks.probability("FeedForward", dropout=dropout)
        self.linear1 = nn.Linear(d_model, dim_feedforward, rng=rng)
        self.activation = choice("activation", activation, ACTIVATIONS)()
        self.dropout = nn.Dropout(dropout, rng=rng)
        self.linear2 = nn.Linear(dim_feedforward, d_model, rng=rng)

    def forward(self, x: Any) -> Any:
        return self.linear2(self.dropout(self.activation(self.linear1(x))))


def normed(norm: nn.Module, x: Any, real: Any) -> Any:
    """norm(x), over the real tokens if it is one over tokens."""
    return norm(x, real) if isinstance(norm, BatchNormTokens) else norm(x)


def given(**masks: Any) -> dict[str, Any]:
    """Those that say something: what stands in for a layer need not know the others."""
    return {name: mask for name, mask in masks.items() if mask is not None and mask is not False}


def real_tokens_of(name: str, padding_mask: Any, x: Any) -> Any:
    """Which tokens of x: (B, T, D) are real, None for all of them."""
    if padding_mask is None:
        return None
    validate_floats(name, x=x)
    return real_tokens(name, padding_mask, x.shape[:2])


class Branch(nn.Module):
    """dropout(sublayer(norm(x))): what a residual connection is laid around."""

    def __init__(self, norm: nn.Module, sublayer: Any, dropout: nn.Dropout) -> None:
        self.norm = norm
        self.sublayer = sublayer
        self.dropout = dropout

    def forward(self, x: Any, real: Any = None, **kwargs: Any) -> Any:
        return self.dropout(self.sublayer(normed(self.norm, x, real), **kwargs))


class EncoderLayer(nn.Module):
    """Self-attention, Add & Norm, feed-forward, Add & Norm; x: (B, T, D), gives (B, T, D).

    norm_first puts each norm before its sublayer instead of after the addition. norm: "layer", "batch" (each feature
    over all tokens of the batch), "rms" or "none". residual=False leaves the additions out, to see what they are good
    for. padding_mask: boolean (B, T), True = a real token; what stands at the others is of no influence, and what comes
    out there means nothing. mask: boolean, True = may attend, and is_causal, as MultiHeadAttention's.

    >>> import minigrad as mg
    >>> EncoderLayer(8, 2, 32)(mg.randn(2, 3, 8)).shape
    (2, 3, 8)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int,
        dropout: float = 0.0,
        activation: str = "relu",
        norm_first: bool = True,
        norm: str = "layer",
        residual: bool = True,
        *,
        rng: np.random.Generator | None = None,
    ) -> None:
        checks.positive("EncoderLayer", d_model=d_model, nhead=nhead, dim_feedforward=dim_feedforward)
        checks.flag("EncoderLayer", norm_first=norm_first, residual=residual)
        if d_model % nhead:
            raise ValueError(f"EncoderLayer: d_model={d_model} cannot be cut into nhead={nhead} equal parts")
        make_norm = choice("norm", norm, NORMS)
        before, after = (make_norm, NORMS["none"]) if norm_first else (NORMS["none"], make_norm)
        add: Callable[[nn.Module], nn.Module] = nn.ResidualAdd if residual else lambda branch: branch
        attention = nn.MultiHeadAttention(d_model, nhead, dropout, rng=rng)
        feed_forward = FeedForward(d_model, dim_feedforward, activation, dropout, rng=rng)
        self.attention = add(Branch(before(d_model), attention, nn.Dropout(dropout, rng=rng)))
        self.norm1 = after(d_model)
        self.feed_forward = add(Branch(before(d_model), feed_forward, nn.Dropout(dropout, rng=rng)))
        self.norm2 = after(d_model)

    def forward(self, x: Any, mask: Any = None, padding_mask: Any = None, is_causal: bool = False) -> Any:
        checks.flag("EncoderLayer", is_causal=is_causal)
        real = real_tokens_of("EncoderLayer", padding_mask, x)
        x = without_padding(x, real)
        x = self.attention(x, mask=mask, **given(real=real, padding_mask=real, is_causal=is_causal))
        x = self.feed_forward(normed(self.norm1, x, real), **given(real=real))
        return normed(self.norm2, x, real)

    def attention_weights(self, x: Any, mask: Any = None, padding_mask: Any = None, is_causal: bool = False) -> Any:
        """Who attends to whom: (B, nhead, T, T), each row of sum 1, or 0 where nothing is allowed."""
        branch: Any = self.attention.sublayer if isinstance(self.attention, nn.ResidualAdd) else self.attention
        real = real_tokens_of("EncoderLayer", padding_mask, x)
        x = normed(branch.norm, without_padding(x, real), real)
        return branch.sublayer(x, mask=mask, padding_mask=real, is_causal=is_causal, need_weights=True)[1]


class Encoder(nn.Module):
    """num_layers EncoderLayers one after the other, with norm_first a last norm behind them; x: (B, T, D).

    The options and masks are EncoderLayer's.

    >>> import minigrad as mg
    >>> Encoder(2, 8, 2, 32)(mg.randn(2, 3, 8)).shape
    (2, 3, 8)
    """

    def __init__(self, num_layers: int, d_model: int, nhead: int, dim_feedforward: int, **options: Any) -> None:
        checks.whole("Encoder", 1, MOST_LAYERS, num_layers=num_layers)
        self.layers = [EncoderLayer(d_model, nhead, dim_feedforward, **options) for _ in range(num_layers)]
        norm = options.get("norm", "layer") if options.get("norm_first", True) else "none"
        self.norm = NORMS[norm](d_model)

    def forward(self, x: Any, mask: Any = None, padding_mask: Any = None, is_causal: bool = False) -> Any:
        checks.flag("Encoder", is_causal=is_causal)
        real = real_tokens_of("Encoder", padding_mask, x)
        for layer in self.layers:
            x = layer(x, mask, **given(padding_mask=real, is_causal=is_causal))
        return normed(self.norm, x, real)

    def attention_weights(
        self, x: Any, mask: Any = None, padding_mask: Any = None, is_causal: bool = False
    ) -> list[Any]:
        """Each layer's weights, (B, nhead, T, T)."""
        weights = []
        for layer in self.layers:
            weights.append(layer.attention_weights(x, mask, padding_mask, is_causal))
            x = layer(x, mask, **given(padding_mask=padding_mask, is_causal=is_causal))
        return weights
