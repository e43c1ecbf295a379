"""Three inputs, and all that came before.

    p = softmax of each row of q kᵀ / √E;  y = p v
    q (Tq, E), k (Tk, E), v (Tk, D), p (Tq, Tk), y (Tq, D)

Asked: the gradients of q, k and v. g is ∂L/∂y, of the shape of y.

Hint: walk back. v is a factor of p @ v: matmul.py. So is p; what comes back to p goes through the rows of
softmax.py to the scores, and from there, with the scale, to q and k. What q and k have in common may be a function
of its own.

Check with: python -m minigrad.exercises --check attention.py
"""

import numpy as np

import minigrad as mg


@mg.rule()
def attention(q, k, v, /):
    scale = q.shape[-1] ** -0.5
    s = q @ k.mT * scale
    e = np.exp(s - np.max(s, axis=-1, keepdims=True))
    p = e / np.sum(e, axis=-1, keepdims=True)
    y = p @ v

    def pull_q(g):
        return ...  # the gradient of q

    def pull_k(g):
        return ...  # the gradient of k

    def pull_v(g):
        return ...  # the gradient of v

    return y, (pull_q, pull_k, pull_v)
