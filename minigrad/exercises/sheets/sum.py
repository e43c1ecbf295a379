"""One number made of many: the gradient is handed back to each.

    y = Σ x along one axis, which is gone afterwards: (2, 3) with axis=1 becomes (2,)

Asked: the gradient of x, of the shape of x. What stands after the slash is a setting: it has no gradient. g is
∂L/∂y, of the shape of y.

Hint: if one of the numbers grows by h, so does the sum. g has an axis less than x: put it back with np.expand_dims,
then stretch it with np.broadcast_to.

Check with: python -m minigrad.exercises --check sum.py
"""

import numpy as np

import minigrad as mg


@mg.rule()
def sum(x, /, axis):
    y = np.sum(x, axis=axis)

    def pull_x(g):
        return ...  # the gradient of x

    return y, (pull_x,)
