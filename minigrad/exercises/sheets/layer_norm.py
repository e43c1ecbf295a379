"""An input that acts through three doors: itself, the mean and the variance of its row.

    n = (x − mean) / √(var + eps), each row for itself;  y = n · weight + bias
    x, n, y (N, D);  weight, bias (D,)

Asked: the gradients of x, weight and bias, each of the shape of its input. g is ∂L/∂y, of the shape of y.

Hint: begin with bias, then weight: add.py and multiply.py. For x, let h be what comes back to n. Then h / std is
the part through the first door. Through the mean, all of a row loses one number; through the variance, a multiple
of n. Both are means along the row: of what?

Check with: python -m minigrad.exercises --check layer_norm.py
"""

import numpy as np

import minigrad as mg


@mg.rule()
def layer_norm(x, weight, bias, /):
    std = np.sqrt(np.var(x, axis=-1, keepdims=True) + 1e-5)
    n = (x - np.mean(x, axis=-1, keepdims=True)) / std
    y = n * weight + bias

    def pull_x(g):
        return ...  # the gradient of x

    def pull_weight(g):
        return ...  # the gradient of weight

    def pull_bias(g):
        return ...  # the gradient of bias

    return y, (pull_x, pull_weight, pull_bias)
