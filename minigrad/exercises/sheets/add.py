"""Broadcasting, and the sum that undoes it.

    z = x + y, where NumPy stretches axes of length 1, and puts missing ones in front

Asked: the gradient of x, and that of y, each of the shape of its input: x may be (3, 1) where g is (3, 4), or (4,).
In this library the engine does this for every rule, in one place, so no rule mentions it; here you write it
yourself, once. g is ∂L/∂z, of the shape of z.

Hint: an entry of x that was stretched over 4 places moves the loss in 4 places at once. Which axes of g are too
many, and which have length 1 in x? np.sum takes several axes, and keepdims=True keeps them.

Check with: python -m minigrad.exercises --check add.py
"""

import numpy as np

import minigrad as mg


@mg.rule()
def add(x, y, /):
    z = np.add(x, y)

    def pull_x(g):
        return ...  # the gradient of x

    def pull_y(g):
        return ...  # the gradient of y

    return z, (pull_x, pull_y)
