"""Hypothesis strategies: arrays as NumPy hands them around, with shapes, axes and memory layouts of all kinds.

Hypothesis is needed when one of them is called (the extra `test`), not to import this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad import checks
from minigrad.tensor import Array

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


def shapes(
    min_dims: int = 0, max_dims: int = 3, min_side: int = 0, max_side: int = 4
) -> SearchStrategy[tuple[int, ...]]:
    """Shapes, also () and those with a side of 0."""
    checks.whole("shapes", 0, 32, min_dims=min_dims, max_dims=max_dims)
    checks.whole("shapes", 0, checks.MOST, min_side=min_side, max_side=max_side)
    if min_dims > max_dims or min_side > max_side:
        raise ValueError(f"shapes: no numbers from {(min_dims, min_side)} to {(max_dims, max_side)}: min_ above max_")
    from hypothesis.extra import numpy as hnp

    return hnp.array_shapes(min_dims=min_dims, max_dims=max_dims, min_side=min_side, max_side=max_side)


def arrays(
    shape: Any, low: float = -3.0, high: float = 3.0, gap: float = 0.0, dtype: Any = np.float64
) -> SearchStrategy[Array]:
    """Arrays of distinct values from low to high, in any memory layout: negative strides, gaps, Fortran order.

    shape: a shape or a strategy for shapes. gap: how far values keep away from 0, and from each other; for functions
    with a kink. Values are evenly spread and shuffled, so that no tie and no cancellation is left to chance.
    """
    from hypothesis import strategies as st

    checks.number("arrays", low=low, high=high)
    checks.not_negative("arrays", gap=gap)
    if not low < high:
        raise ValueError(f"arrays: low={low} must be below high={high}")
    dtype = np.dtype(dtype)
    if dtype.kind != "f":
        raise TypeError(f"arrays: dtype must be floating-point, not {dtype.name}")
    if not isinstance(shape, st.SearchStrategy):
        shape = checks.shape("arrays", shape)

    @st.composite
    def build(draw: Any) -> Any:
        size = draw(shape) if not isinstance(shape, tuple) else shape
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        n = int(np.prod(size))
        values = np.linspace(low, high, n + 2)[1:-1] + rng.uniform(-0.2, 0.2, n) * (high - low) / (n + 2)
        values = np.where(np.abs(values) < gap, np.copysign(gap, values) + values, values)
        x = rng.permutation(values).astype(dtype).reshape(size)
        return draw(layouts(x))

    return build()


def layouts(x: Array) -> SearchStrategy[Array]:
    """The same values in other memory layouts."""
    from hypothesis import strategies as st

    if not isinstance(x, np.ndarray):
        raise TypeError(f"layouts: x must be an ndarray, not {checks.shown(x)}")
    made = [x]
    if x.ndim:
        made += [
            np.asfortranarray(x),
            np.flip(np.flip(x).copy()),
            np.repeat(x, 2, -1)[..., ::2],
            np.repeat(x, 2, 0)[1::2],
        ]
    return st.sampled_from(made)


def broadcastable(shape: tuple[int, ...]) -> SearchStrategy[tuple[int, ...]]:
    """Shapes that broadcast to this one."""
    from hypothesis import strategies as st

    shape = checks.shape("broadcastable", shape)
    sides = st.tuples(*(st.sampled_from([1, n]) for n in shape))
    return st.builds(lambda s, lead: s[min(lead, len(s)) :], sides, st.integers(0, len(shape)))


def axes(ndim: int, many: bool = True) -> SearchStrategy[Any]:
    """What `axis` may be for this many axes: None, a number from −ndim on, or (many) a tuple of different ones."""
    from hypothesis import strategies as st

    checks.whole("axes", 0, 64, ndim=ndim)
    checks.flag("axes", many=many)
    single = st.integers(-ndim, ndim - 1) if ndim else st.nothing()
    tuples = st.lists(st.integers(0, ndim - 1), unique=True).map(tuple) if many and ndim else st.nothing()
    return st.none() | single | tuples
