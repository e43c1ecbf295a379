"""Winner takes all, and what becomes of ties.

    y = the largest of x along one axis, which is gone afterwards

Asked: the gradient of x, of the shape of x. Where k elements are equally large, each is given 1/k of it: then no
element is preferred for its place, and the shares add up to g. g is ∂L/∂y, of the shape of y.

Hint: a number that is not the largest may move a little, and y does not notice. Which are? Compare x with y, with
the axis back.

Check with: python -m minigrad.exercises --check max.py
"""

import numpy as np

import minigrad as mg


@mg.rule()
def max(x, /, axis):
    y = np.max(x, axis=axis)

    def pull_x(g):
        return ...  # the gradient of x

    return y, (pull_x,)
