"""Two inputs whose derivatives differ.

    z = x / y, element by element; x, y and z have one shape

Asked: the gradient of x, and that of y. They stand in the order of the inputs. g is ∂L/∂z, of the shape of z.

Hint: z is x · (1 / y): for x, multiply.py has the answer. What is the slope of 1 / y, and which sign has it?

Check with: python -m minigrad.exercises --check divide.py
"""

import numpy as np

import minigrad as mg


@mg.rule()
def divide(x, y, /):
    z = np.divide(x, y)

    def pull_x(g):
        return ...  # the gradient of x

    def pull_y(g):
        return ...  # the gradient of y

    return z, (pull_x, pull_y)
