"""A derivative that is told by the output alone.

    y = tanh x, element by element;  dy/dx = 1 − tanh² x

Asked: the gradient of x. A pullback is a function inside of the rule, so it sees x and y, and whatever it uses is
kept until backward comes. Use as little as you can: no second tanh is needed. g is ∂L/∂y, of the shape of y.

Hint: what does 1 − tanh² x look like, written with y?

Check with: python -m minigrad.exercises --check tanh.py
"""

import numpy as np

import minigrad as mg


@mg.rule()
def tanh(x, /):
    y = np.tanh(x)

    def pull_x(g):
        return ...  # the gradient of x

    return y, (pull_x,)
