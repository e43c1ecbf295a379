"""Layers made of layers, and layers that do little."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minigrad import checks
from minigrad import functional as F
from minigrad.functional.validation import ARRAYS
from minigrad.nn.module import Module


class Sequential(Module):
    """Layers (modules or functions) one after the other."""

    def __init__(self, *layers: Callable[[Any], Any]) -> None:
        for i, layer in enumerate(layers):
            if isinstance(layer, list | tuple):
                raise TypeError(
                    f"Sequential: layers[{i}] must be a layer, not a list of them: Sequential(*layers) unpacks it"
                )
            if isinstance(layer, type):
                name = layer.__name__
                raise TypeError(f"Sequential: layers[{i}] must be a layer, not the class {name}: write {name}(...)")
            checks.function("Sequential", **{f"layers[{i}]": layer})
        self.layers = list(layers)

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer(x)
        return x

    def __len__(self) -> int:
        return len(self.layers)

    def __getitem__(self, i: int) -> Any:
        return self.layers[i]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.layers)


class ResidualAdd(Module):
    """x + sublayer(x, ...): the sublayer learns h − x, and gradients have a way round it.

    The sublayer's output must have the shape of x: it is never broadcast.
    He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition (2016).

    >>> import minigrad as mg
    >>> mg.nn.ResidualAdd(lambda x: mg.tensor([2.0, 3.0]))(mg.tensor([1.0, 4.0]))
    tensor([3., 7.])
    """

    def __init__(self, sublayer: Callable[..., Any]) -> None:
        checks.function("ResidualAdd", sublayer=sublayer)
        self.sublayer = sublayer

    def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        y = self.sublayer(x, *args, **kwargs)
        made, given = (z.shape if isinstance(z, ARRAYS) else np.shape(z) for z in (y, x))
        if made != given:
            raise ValueError(
                f"ResidualAdd: the sublayer made {made} of {given}, and added shapes must be equal: "
                f"a last projection to {given[-1:]} features (in attention W^O) makes them so"
            )
        return x + y


class Identity(Module):
    """x itself."""

    def forward(self, x: Any) -> Any:
        return x


class Dropout(Module):
    """In training, each element set to 0 with probability p and the others divided by 1 − p; x itself in evaluation.

    Drawn from rng, or from minigrad's generator. Srivastava et al.: Dropout (2014).
    """

    def __init__(self, p: float = 0.5, rng: np.random.Generator | None = None) -> None:
        checks.probability("Dropout", p=p)
        checks.generator("Dropout", rng)
        self.p = p
        self._rng = rng

    def forward(self, x: Any) -> Any:
        return F.dropout(x, self.p, self.training, self._rng)
