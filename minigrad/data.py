"""Shuffled minibatches of arrays."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike

from minigrad.creation import default_generator
from minigrad.tensor import Array


class DataLoader:
    """Minibatches: each iteration goes once through the arrays, along their first axes, in a new random order.

    Gives tuples of ndarrays, one for each array. drop_last leaves out a last batch that is not full. The order is
    drawn from rng, or from minigrad's generator. ValueError for arrays of different lengths.

    >>> import numpy as np, minigrad as mg
    >>> x, y = next(iter(mg.data.DataLoader(np.zeros((10, 2)), np.arange(10), batch_size=4)))
    >>> x.shape, y.shape
    ((4, 2), (4,))
    """

    def __init__(
        self,
        *arrays: ArrayLike,
        batch_size: int,
        shuffle: bool = True,
        drop_last: bool = False,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.arrays = [np.asarray(a) for a in arrays]
        if not self.arrays or any(a.ndim == 0 for a in self.arrays) or len({len(a) for a in self.arrays}) > 1:
            raise ValueError(f"DataLoader needs arrays of one length, got the shapes {[a.shape for a in self.arrays]}")
        if not isinstance(batch_size, int | np.integer) or batch_size < 1:
            raise ValueError(f"DataLoader: batch_size must be a whole number from 1 on, not {batch_size!r}")
        self.batch_size = int(batch_size)
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.rng = rng

    def __len__(self) -> int:
        """The number of minibatches."""
        n = len(self.arrays[0])
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        n = len(self.arrays[0])
        order = (self.rng or default_generator()).permutation(n) if self.shuffle else np.arange(n)
        for i in range(len(self)):
            batch = order[i * self.batch_size : (i + 1) * self.batch_size]
            yield tuple(a[batch] for a in self.arrays)
