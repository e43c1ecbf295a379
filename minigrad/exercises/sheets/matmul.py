"""Matrices: which factor is transposed, and on which side it stands.

    z = x @ y:  zᵢⱼ = Σₖ xᵢₖ yₖⱼ;  x (n, k), y (k, m), z (n, m)

Asked: the gradient of x, and that of y. g is ∂L/∂z, of the shape of z.

Hint: ∂L/∂xᵢₖ = Σⱼ gᵢⱼ yₖⱼ: read it as a matrix product. Or let the shapes say it: there is one way only to make (n,
k) from g (n, m) and y (k, m). y.mT is y transposed.

Check with: python -m minigrad.exercises --check matmul.py
"""

import numpy as np

import minigrad as mg


@mg.rule()
def matmul(x, y, /):
    z = np.matmul(x, y)

    def pull_x(g):
        return ...  # the gradient of x

    def pull_y(g):
        return ...  # the gradient of y

    return z, (pull_x, pull_y)
