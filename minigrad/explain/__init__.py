"""explain: a backward pass recorded, so that each number in each gradient can be traced to what made it.

recording.py runs the pass and holds it as data; derivatives.py, zeros.py, why.py and differences.py find out what its
numbers are made of; text.py, picture.py, encoding.py and page/ show them; explanation.py joins all that in one object.
Nothing imports from what stands on it. `python -m minigrad.explain` tries an expression or a function in the terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from minigrad import checks
from minigrad.tensor import Tensor

if TYPE_CHECKING:
    from minigrad.explain.explanation import Explanation


def explain(
    output: Tensor,
    inputs: Tensor | Sequence[Tensor] | Mapping[str, Tensor] | None = None,
    gradient: Any = None,
    finite_differences: bool = False,
) -> Explanation:
    """Run a backward pass from output and record every step; the graph and every `.grad` stay as they are.

    inputs: the tensors whose gradients are wanted (all leaves, unless given); as a dict, with names for them. Other
    names are those of the caller's variables, and of the parameters of modules among these. gradient: as backward's.
    finite_differences: put the difference quotient beside the gradient, see `Explanation.finite_differences`. Hooks
    are called. Where the forward pass ran under `mg.debug()`, each operation has its source line and its module.
    RuntimeError where arrays were written into since, for then the values on the way are gone.

    >>> import numpy as np, minigrad as mg
    >>> w, x, b = (mg.tensor(v, requires_grad=True) for v in (0.5, 2.0, -0.25))
    >>> y = np.tanh(w * x + b)
    >>> print(mg.explain(y).why(w))
    w.grad = 1.193
      = 1.193  through multiply: upstream t1.grad 0.5966 × x 2
    """
    from minigrad.explain.explanation import Explanation  # here, for few programs need it
    from minigrad.explain.recording import record

    checks.flag("explain", finite_differences=finite_differences)
    frame = sys._getframe(1)
    explanation = Explanation.of(record(output, inputs, gradient, [frame.f_locals, frame.f_globals]))
    if finite_differences:
        explanation.finite_differences()
    return explanation
