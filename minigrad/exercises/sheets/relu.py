"""A gate, and a kink where there is no derivative.

    y = x where x > 0, else 0, element by element

Asked: the gradient of x. At x = 0 the slope is 0 on the left and 1 on the right; any number between is a
subgradient, and this library takes 0 there, as y then is no larger than 0. g is ∂L/∂y, of the shape of y.

Hint: where the gate is open, what comes back passes as it is. Where it is shut, nothing does. Is it x that decides,
or g?

Check with: python -m minigrad.exercises --check relu.py
"""

import numpy as np

import minigrad as mg


@mg.rule()
def relu(x, /):
    y = np.maximum(x, 0)

    def pull_x(g):
        return ...  # the gradient of x

    return y, (pull_x,)
