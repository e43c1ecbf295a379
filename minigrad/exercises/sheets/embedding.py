"""Rows picked by number, some of them twice.

    y = weight[ids];  weight (V, D), ids (T,) whole numbers from 0 to V − 1, y (T, D)

Asked: the gradient of weight, of the shape of weight. The ids are a setting: nothing flows to them. g is ∂L/∂y, of
the shape of y.

Hint: a row that was picked twice is in y twice, and moves the loss from both places. d[ids] += g adds to each row
once only, however often it is among the ids: look for `at` among the methods of np.add.

Check with: python -m minigrad.exercises --check embedding.py
"""

import numpy as np

import minigrad as mg


@mg.rule()
def embedding(weight, /, ids):
    y = np.take(weight, ids, axis=0)

    def pull_weight(g):
        return ...  # the gradient of weight

    return y, (pull_weight,)
