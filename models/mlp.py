"""A multilayer perceptron, to compare with."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from minigrad import checks, nn
from minigrad.functional.validation import validate_floats


class MLP(nn.Module):
    """Linear layers of these sizes with ReLU between; x: (B, ...), flattened to (B, sizes[0]), gives (B, sizes[-1]).

    >>> import minigrad as mg
    >>> MLP(64, 128, 10)(mg.zeros(5, 8, 8)).shape
    (5, 10)
    """

    def __init__(self, *sizes: int, rng: np.random.Generator | None = None) -> None:
        if len(sizes) < 2:
            raise ValueError(f"MLP needs at least the sizes of its input and its output, got {sizes}")
        checks.positive("MLP", **{f"sizes[{i}]": n for i, n in enumerate(sizes)})
        self.layers = [nn.Linear(n, m, rng=rng) for n, m in pairwise(sizes)]
        self.activation = nn.ReLU()

    def forward(self, x: Any) -> Any:
        validate_floats("MLP", x=x)
        if x.ndim < 2:
            raise ValueError(f"MLP: x must be (batch, ...), got {x.shape}")
        x = np.reshape(x, (x.shape[0], math.prod(x.shape[1:])))
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return self.layers[-1](x)
