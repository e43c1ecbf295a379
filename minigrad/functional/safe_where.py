"""A `where` whose branch not taken has no say in the gradient."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from minigrad.functional.definition import X
from minigrad.functional.validation import validate_safe_where
from minigrad.tensor import Array, detached


def safe_where(condition: Array, function: Callable[[X], X], x: X, fill: float = 0.0) -> X:
    """function(x) where the condition holds, fill elsewhere, and there with the gradient 0, whatever function does.

    np.where(condition, function(x), fill) has NaN as its gradient where function is not defined on the branch not
    taken, for 0 · ∞ is none. Here function, which acts on each element for itself, only sees elements where the
    condition holds, repeated in place of the others. condition: a boolean array that broadcasts with x. TypeError for
    another one, ValueError for a function that changes the shape.

    >>> import numpy as np, minigrad as mg
    >>> x = mg.tensor([0.0, 4.0], requires_grad=True)
    >>> np.sum(mg.safe_where(x > 0, np.sqrt, x, 0.0)).backward()
    >>> x.grad
    tensor([0.  , 0.25])
    """
    validate_safe_where(condition, function, x, fill)
    holds, values = np.broadcast_arrays(detached(condition), detached(x))
    if not holds.any():
        return np.where(holds, x, fill)
    safe = np.where(holds, x, values[holds][0].item())
    result = function(safe)
    if np.shape(result) != safe.shape:
        raise ValueError(f"safe_where: function made {np.shape(result)} of {safe.shape}, it must keep the shape")
    return np.where(holds, result, fill)
