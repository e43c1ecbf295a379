"""Activations as layers: of any shape, without parameters."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad import checks
from minigrad import functional as F
from minigrad.functional.validation import validate_floats
from minigrad.nn.module import Module


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Any) -> Any:
        return F.relu(x)


class GELU(Module):
    """x Φ(x), or its approximation with approximate="tanh"."""

    def __init__(self, approximate: str = "none") -> None:
        checks.one_of("GELU", ("none", "tanh"), approximate=approximate)
        self.approximate = approximate

    def forward(self, x: Any) -> Any:
        return F.gelu(x, self.approximate)


class Tanh(Module):
    """tanh x."""

    def forward(self, x: Any) -> Any:
        validate_floats("Tanh", x=x)
        return np.tanh(x)


class Sigmoid(Module):
    """1 / (1 + e⁻ˣ)."""

    def forward(self, x: Any) -> Any:
        return F.sigmoid(x)


class SiLU(Module):
    """x / (1 + e⁻ˣ)."""

    def forward(self, x: Any) -> Any:
        return F.silu(x)


class Softplus(Module):
    """ln(1 + eˣ)."""

    def forward(self, x: Any) -> Any:
        return F.softplus(x)


class LeakyReLU(Module):
    """x where x > 0, negative_slope · x elsewhere."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        checks.number("LeakyReLU", negative_slope=negative_slope)
        self.negative_slope = negative_slope

    def forward(self, x: Any) -> Any:
        return F.leaky_relu(x, self.negative_slope)


class ELU(Module):
    """x where x > 0, alpha (eˣ − 1) elsewhere."""

    def __init__(self, alpha: float = 1.0) -> None:
        checks.number("ELU", alpha=alpha)
        self.alpha = alpha

    def forward(self, x: Any) -> Any:
        return F.elu(x, self.alpha)


class Softmax(Module):
    """exp xᵢ / Σⱼ exp xⱼ along an axis."""

    def __init__(self, axis: int | None = -1) -> None:
        if axis is not None:
            checks.whole("Softmax", -64, 63, axis=axis)  # as many axes as an ndarray may have
        self.axis = axis

    def forward(self, x: Any) -> Any:
        return F.softmax(x, self.axis)
