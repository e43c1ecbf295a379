"""The same, with a factor.

    y = (Σ x) / n along one axis, n numbers each

Asked: the gradient of x, of the shape of x. g is ∂L/∂y, of the shape of y.

Hint: sum.py, and each of the n numbers moves their mean by a share only. Which n: x.size, or the length of the
axis?

Check with: python -m minigrad.exercises --check mean.py
"""

import numpy as np

import minigrad as mg


@mg.rule()
def mean(x, /, axis):
    y = np.mean(x, axis=axis)

    def pull_x(g):
        return ...  # the gradient of x

    return y, (pull_x,)
