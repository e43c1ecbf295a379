"""Dropout. The mask is drawn outside of any rule, so that a replay sees the same one."""

from __future__ import annotations

from typing import Any

import numpy as np

from minigrad import guard
from minigrad.creation import generator
from minigrad.functional.definition import X
from minigrad.functional.validation import validate_dropout
from minigrad.tensor import Array


def dropout(x: X, p: float = 0.5, training: bool = True, rng: np.random.Generator | None = None) -> X:
    """x with each element set to 0 with probability p and the others divided by 1 − p; x itself unless training.

    Drawn from rng, or from minigrad's generator. Srivastava et al.: Dropout (2014).
    """
    validate_dropout(x, p, training, rng)
    return x if not training or p == 0 else x * draw_dropout_mask(x.shape, p, rng, x.dtype)


def draw_dropout_mask(shape: tuple[int, ...], p: float, rng: np.random.Generator | None, dtype: Any) -> Array:
    """What dropout multiplies with: 0 with probability p, else 1 / (1 − p)."""
    is_kept = generator("dropout", rng).random(shape, np.float32) >= p
    return guard.freeze(np.asarray(np.multiply(is_kept, 1 / (1 - p) if p < 1 else 0.0, dtype=dtype)))
