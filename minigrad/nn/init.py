"""Initial values: each function fills a tensor in place, outside of the graph, and returns it.

Drawn from rng, or from minigrad's generator. fan_in and fan_out are the lengths of the last and the first axis of a
weight (out, in). gain: by how much the activation behind the layer shrinks the spread, to be made up for.
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np

from minigrad import checks
from minigrad.creation import generator
from minigrad.tensor import Array, Tensor

Rng: TypeAlias = "np.random.Generator | None"


def _fill(tensor: Tensor, values: Array | float) -> Tensor:
    tensor.data[...] = values
    return tensor


def _check(name: str, tensor: Tensor, **numbers: float) -> None:
    if not isinstance(tensor, Tensor) or tensor.dtype.kind != "f":
        raise TypeError(f"{name}: tensor must be a floating-point Tensor, not {checks.shown(tensor)}")
    checks.number(name, **numbers)


def _fans(name: str, tensor: Tensor, gain: float) -> tuple[int, int]:
    _check(name, tensor)
    checks.not_negative(name, gain=gain)
    if tensor.ndim < 2 or not tensor.size:
        raise ValueError(
            f"{name}: tensor must be a weight of two axes or more, none empty, not of shape {tensor.shape}"
        )
    return tensor.shape[-1], tensor.shape[0]


def constant_(tensor: Tensor, value: float) -> Tensor:
    """Every element the same."""
    _check("constant_", tensor, value=value)
    return _fill(tensor, value)


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, *, rng: Rng = None) -> Tensor:
    """U(a, b)."""
    _check("uniform_", tensor, a=a, b=b)
    if not 0 <= b - a < math.inf:
        raise ValueError(f"uniform_: a={a} must be at most b={b}, and their distance finite")
    return _fill(tensor, generator("uniform_", rng).uniform(a, b, tensor.shape))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, *, rng: Rng = None) -> Tensor:
    """N(mean, std²)."""
    _check("normal_", tensor, mean=mean)
    checks.not_negative("normal_", std=std)
    return _fill(tensor, generator("normal_", rng).normal(mean, std, tensor.shape))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, *, rng: Rng = None) -> Tensor:
    """U(−a, a) with a = gain √(6 / (fan_in + fan_out)). Glorot, Bengio (2010)."""
    bound = gain * math.sqrt(6 / sum(_fans("xavier_uniform_", tensor, gain)))
    return uniform_(tensor, -bound, bound, rng=rng)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, *, rng: Rng = None) -> Tensor:
    """N(0, σ²) with σ = gain √(2 / (fan_in + fan_out)). Glorot, Bengio (2010)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(_fans("xavier_normal_", tensor, gain))), rng=rng)


def kaiming_uniform_(tensor: Tensor, gain: float = math.sqrt(2), *, rng: Rng = None) -> Tensor:
    """U(−a, a) with a = gain √(3 / fan_in), for ReLU. He, Zhang, Ren, Sun (2015)."""
    bound = gain * math.sqrt(3 / _fans("kaiming_uniform_", tensor, gain)[0])
    return uniform_(tensor, -bound, bound, rng=rng)


def kaiming_normal_(tensor: Tensor, gain: float = math.sqrt(2), *, rng: Rng = None) -> Tensor:
    """N(0, σ²) with σ = gain / √fan_in, for ReLU. He, Zhang, Ren, Sun (2015)."""
    return normal_(tensor, 0.0, gain / math.sqrt(_fans("kaiming_normal_", tensor, gain)[0]), rng=rng)
