"""Shuffled minibatches of arrays, and where in them a run is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from minigrad import checks
from minigrad.creation import generator
from minigrad.tensor import Array, Tensor

_NONE = np.arange(0)


class DataLoader:
    """Minibatches: each iteration goes once through the arrays, along their first axes, in a new random order.

    Gives tuples of ndarrays, one for each array. drop_last leaves out a last batch that is not full. The order is
    drawn from rng, or from minigrad's generator. ValueError for arrays of different lengths.

    After load_state_dict the next iteration goes on where the state was taken, also in the middle of a pass, and those
    after it are as they would have been.

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
        self.arrays = [_array(i, a) for i, a in enumerate(arrays)]
        if not self.arrays or any(a.ndim == 0 for a in self.arrays) or len({len(a) for a in self.arrays}) > 1:
            raise ValueError(f"DataLoader needs arrays of one length, got the shapes {[a.shape for a in self.arrays]}")
        checks.whole("DataLoader", 1, batch_size=batch_size)
        checks.flag("DataLoader", shuffle=shuffle, drop_last=drop_last)
        checks.generator("DataLoader", rng)
        self.batch_size = int(batch_size)
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.rng = rng
        self._left = _NONE  # what the pass at hand has not yet given
        self._resumed = _NONE  # what the next pass is to begin with, if that was loaded

    def __len__(self) -> int:
        """The number of minibatches."""
        n = len(self.arrays[0])
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Array, ...]]:
        n = len(self.arrays[0])
        left, self._resumed = self._resumed, _NONE
        if not left.size:
            left = self._generator().permutation(n) if self.shuffle else np.arange(n)
            left = left[: len(self) * self.batch_size]
        while left.size:
            batch, left = left[: self.batch_size], left[self.batch_size :]
            self._left = left  # before the batch is handed out: a state that is taken then is from after it
            yield tuple(a[batch] for a in self.arrays)

    def _generator(self) -> np.random.Generator:
        return generator("DataLoader", self.rng)

    def state_dict(self) -> dict[str, Any]:
        """The generator's state, and the indices that are left of the pass at hand: none between two passes.

        A pass that was left by `break` is at hand until the next one begins.
        """
        return {
            "generator": self._generator().bit_generator.state,
            "left": self._left.copy(),
            **self._options(),
        }

    def _options(self) -> dict[str, Any]:
        """What the batches to come depend on, beside the generator and what is left."""
        return {
            "length": len(self.arrays[0]),
            "batch_size": self.batch_size,
            "shuffle": bool(self.shuffle),
            "drop_last": bool(self.drop_last),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there, with the generator too; ValueError for a state that does not fit, and nothing changes."""
        if not isinstance(state, Mapping):
            raise TypeError(f"DataLoader: state must be a dict of state_dict(), not {checks.shown(state)}")
        n = len(self.arrays[0])
        drawn_from = self._generator().bit_generator
        left = np.asarray(state.get("left"))
        own = self.state_dict()
        if state.keys() != own.keys() or left.ndim != 1 or left.dtype.kind != "i":
            raise ValueError(
                f"this state does not fit DataLoader: it has {', '.join(map(str, state))}, expected {', '.join(own)}"
            )
        other = [
            f"{name} is {checks.shown(state[name])} in it, and {value!r} here"
            for name, value in self._options().items()
            if not np.array_equal(state[name], value)
        ]
        if other:
            raise ValueError(f"this state does not fit DataLoader: {', '.join(other)}")
        if left.size and not (left.min() >= 0 and left.max() < n):
            raise ValueError(f"this state does not fit DataLoader: it is of other data than these {n}")
        try:
            type(drawn_from)(0).state = state["generator"]  # a trial: it may fail half-way
        except (TypeError, ValueError, LookupError, OverflowError) as error:
            raise ValueError(
                f"this state does not fit DataLoader: it has no generator of {type(drawn_from).__name__} ({error})"
            ) from None
        drawn_from.state = state["generator"]
        self._left = self._resumed = left.copy()


def _array(i: int, data: ArrayLike) -> Array:
    if isinstance(data, Tensor):
        raise TypeError(f"DataLoader: arrays[{i}] is a Tensor, and batches are ndarrays: pass its .data")
    try:
        return np.asarray(data)
    except ValueError:
        raise ValueError(f"DataLoader: arrays[{i}] must have rows of equal length") from None
