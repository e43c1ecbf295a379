"""The product rule, and what g is.

    z = x · y, element by element; x, y and z have one shape

Somewhere behind z there is a loss L, one number. What comes back from there is g = ∂L/∂z: an array of the shape of
z that says how much L grows with each entry of z. A pullback turns it into the gradient of one input:

    ∂L/∂x = g · ∂z/∂x

Asked: the gradient of x, and that of y. A pullback may use g, x, y and z.

Hint: let one entry of x grow by a little h. By how much does z grow there, and so L?

Check with: python -m minigrad.exercises --check multiply.py
"""

import numpy as np

import minigrad as mg


@mg.rule()
def multiply(x, y, /):
    z = np.multiply(x, y)

    def pull_x(g):
        return ...  # the gradient of x

    def pull_y(g):
        return ...  # the gradient of y

    return z, (pull_x, pull_y)
