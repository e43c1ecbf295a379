"""Functions beside their exact values, in units in the last place, over the range of float32 and float16.

The reference is the formula in decimals of 60 digits, of the inputs as they are: what float32 has rounded before is no
error here. A unit is that of the largest number in the result. Where n numbers are summed 4 √n of them are allowed, as in
test_accuracy.py; what rounds more than that on the way is named. `python tests/test_ulps.py` prints the whole table.
"""

import decimal
from decimal import Decimal

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F

decimal.getcontext().prec = 60
N, C = 8, 64  # rows, and numbers in a row


def exact(x):
    return np.vectorize(lambda v: Decimal(float(v)), otypes=[object])(x)


EPS = exact(1e-5).item()
exp, ln, sqrt = (np.vectorize(f, otypes=[object]) for f in (Decimal.exp, Decimal.ln, Decimal.sqrt))


# ---- the formulas, each with its pullbacks ---------------------------------------------------------------------------


def total(z):
    return z.sum(-1, keepdims=True)


def mean(z):
    return total(z) / z.shape[-1]


def exact_sum(x, g):
    return x.sum(-1), [g[:, None] + 0 * x]


def exact_mean(x, g):
    return x.sum(-1) / C, [g[:, None] / C + 0 * x]


def exact_var(x, g):
    c = x - mean(x)
    return mean(c * c)[:, 0], [g[:, None] * c * 2 / C]


def exact_std(x, g):
    c = x - mean(x)
    y = sqrt(mean(c * c))
    return y[:, 0], [g[:, None] * c / C / np.where(y == 0, 1, y)]


def exact_norm(x, g):
    y = sqrt(total(x * x))
    return y[:, 0], [g[:, None] * x / y]


def exact_softmax(x, g):
    e = exp(x - x.max(-1, keepdims=True))
    p = e / total(e)
    return p, [p * (g - total(g * p))]


def exact_masked_softmax(x, g):
    x = np.where(MASK, x, x.min())
    e = exp(x - x.max(-1, keepdims=True)) * MASK
    p = e / total(e)
    return p, [p * (g - total(g * p))]


def exact_log_softmax(x, g):
    top = x.max(-1, keepdims=True)
    e = exp(x - top)
    return x - top - ln(total(e)), [g - e / total(e) * total(g)]


def exact_logsumexp(x, g):
    top = x.max(-1, keepdims=True)
    e = exp(x - top)
    return (top + ln(total(e)))[:, 0], [g[:, None] * e / total(e)]


def exact_cross_entropy(x, g):
    logp, (pulled,) = exact_log_softmax(x, -np.eye(C, dtype=int)[TARGETS] * g[:, None])
    return -logp[np.arange(N), TARGETS], [pulled]


def exact_layer_norm(x, w, b, g):
    c = x - mean(x)
    r = 1 / sqrt(mean(c * c) + EPS)
    c, h = c * r, g * w
    return c * w + b, [(h - mean(h) - c * mean(h * c)) * r, (g * c).sum(0), g.sum(0)]


def exact_rms_norm(x, w, g):
    r = 1 / sqrt(mean(x * x) + EPS)
    c, h = x * r, g * w
    return c * w, [(h - c * mean(h * c)) * r, (g * c).sum(0)]


def exact_batch_norm(x, w, b, g):
    ones = exact(np.ones(len(x)))
    y, (pulled, _, _) = exact_layer_norm(x.T, ones, 0 * ones, (g * w).T)
    return y.T * w + b, [pulled.T, (g * y.T).sum(0), g.sum(0)]


def exact_evaluation(x, w, b, g):
    r = 1 / sqrt(exact(VAR) + EPS)
    c = (x - exact(MEAN)) * r
    return c * w + b, [g * w * r, (g * c).sum(0), g.sum(0)]


def exact_group_norm(x, w, b, g):
    def cut(z):
        return z.reshape(-1, C // 4)

    ones = exact(np.ones(C // 4))
    y, (pulled, _, _) = exact_layer_norm(cut(x), ones, 0 * ones, cut(g * w))
    y = y.reshape(x.shape)
    return y * w + b, [pulled.reshape(x.shape), (g * y).sum(0), g.sum(0)]


def exact_instance_norm(x, g):
    ones = exact(np.ones(x.shape[-1]))
    y, (pulled, _, _) = exact_layer_norm(x, ones, 0 * ones, g)
    return y, [pulled]


def exact_attention(q, k, v, g):
    p, (pulled,) = exact_softmax(q.dot(k.T) * SCALE, g.dot(v.T))
    terms = p * abs(g).dot(abs(v).T) * SCALE  # of which little is left where all of v is alike
    sizes = [0, terms.dot(abs(k)).max(), terms.T.dot(abs(q)).max(), 0]
    return p.dot(v), [pulled.dot(k) * SCALE, pulled.T.dot(q) * SCALE, p.T.dot(g)], sizes


def exact_attention_of_values(v, q, k, g):
    y, (pulled_q, pulled_k, pulled_v), (size, size_q, size_k, size_v) = exact_attention(q, k, v, g)
    return y, [pulled_v, pulled_q, pulled_k], [size, size_v, size_q, size_k]


# ---- the ranges ------------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
Z, G = RNG.standard_normal((N, C)), RNG.standard_normal((N, C))
W, B = RNG.standard_normal(C), RNG.standard_normal(C)
Q, K = RNG.standard_normal((2, N, C))
TARGETS = RNG.integers(0, C, N)
MASK = RNG.random((N, C)) < 0.7
SCALE = Decimal("0.125")
MEAN, VAR = B.astype(np.float32), (W * W).astype(np.float32)

RANGES = {
    "float32": {
        "N(0, 1)": Z,
        "N(0, 30²)": 30 * Z,
        "10³ + N(0, 1)": 1e3 + Z,
        "10⁶ + N(0, 1)": 1e6 + Z,
        "10⁻⁶ N(0, 1)": 1e-6 * Z,
        "1 + 10⁻⁶ N(0, 1)": 1 + 1e-6 * Z,
        "10³⁰ N(0, 1)": 1e30 * Z,
        "10⁻³⁰ N(0, 1)": 1e-30 * Z,
        "10⁻⁴⁰ N(0, 1)": 1e-40 * Z,  # denormals
        "0.1 everywhere": np.full((N, C), 0.1),
        "10⁶ among N(0, 1)": np.where(np.arange(C) == 5, 1e6, Z),
    },
    "float16": {
        "N(0, 1)": Z,
        "N(0, 30²)": 30 * Z,
        "10³ + N(0, 1)": 1e3 + Z,
        "10⁴ N(0, 1)": 1e4 * Z,
        "1 + 10⁻³ N(0, 1)": 1 + 1e-3 * Z,
        "10⁻³ N(0, 1)": 1e-3 * Z,
        "10⁻⁶ N(0, 1)": 1e-6 * Z,  # denormals
        "0.1 everywhere": np.full((N, C), 0.1),
        "6 · 10⁴ among N(0, 1)": np.where(np.arange(C) == 5, 6e4, Z),
    },
}


def instance(x):
    return F.instance_norm(np.reshape(x, (1, N, C)))[0]


FUNCTIONS = {  # the function, the same exactly, and its inputs beside x
    "sum": (lambda x: np.sum(x, -1), exact_sum, []),
    "mean": (lambda x: np.mean(x, -1), exact_mean, []),
    "var": (lambda x: np.var(x, -1), exact_var, []),
    "std": (lambda x: np.std(x, -1), exact_std, []),
    "norm": (lambda x: np.linalg.norm(x, axis=-1), exact_norm, []),
    "softmax": (F.softmax, exact_softmax, []),
    "log_softmax": (F.log_softmax, exact_log_softmax, []),
    "masked_softmax": (lambda x: F.masked_softmax(x, MASK), exact_masked_softmax, []),
    "logsumexp": (lambda x: F.logsumexp(x, -1), exact_logsumexp, []),
    "cross_entropy": (lambda x: F.cross_entropy(x, TARGETS, reduction="none"), exact_cross_entropy, []),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, C, w, b), exact_layer_norm, [W, B]),
    "rms_norm": (lambda x, w: F.rms_norm(x, C, w, eps=1e-5), exact_rms_norm, [W]),
    "batch_norm": (lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), exact_batch_norm, [W, B]),
    "batch_norm, evaluation": (lambda x, w, b: F.batch_norm(x, MEAN, VAR, w, b), exact_evaluation, [W, B]),
    "group_norm": (lambda x, w, b: F.group_norm(x, 4, w, b), exact_group_norm, [W, B]),
    "instance_norm": (instance, exact_instance_norm, []),
    "attention, as v": (lambda v, q, k: F.attention(q, k, v, None, None, 0.125), exact_attention_of_values, [Q, K]),
    "attention, as q": (lambda q, k, v: F.attention(q, k, v, None, None, 0.125), exact_attention, [K, G]),
}  # fmt: skip


ROUNDED_ON_THE_WAY = {  # into this many units of the result, whoever computes it
    ("attention, as q", "N(0, 30²)"): 10,  # half a unit of a score around 100 is 64 units of its exponential
    ("layer_norm", "10⁻⁴⁰ N(0, 1)"): 100,  # the mean of denormals has fewer bits
    ("batch_norm", "10⁻⁴⁰ N(0, 1)"): 100,
}


def errors(name, x, dtype):
    """The worst error of the value, and of the gradients, in units in the last place."""
    function, formula, others = FUNCTIONS[name]
    inputs = [np.asarray(a, dtype) for a in (x, *others)]
    leaves = [mg.tensor(a, requires_grad=True) for a in inputs]
    with np.errstate(all="ignore"):
        y = function(*leaves)
        g = np.asarray(G.ravel()[: y.size].reshape(y.shape), dtype)
        y.backward(g)
    value, pulled, *sizes = formula(*map(exact, inputs), exact(g))
    found = [y.data, *(leaf.grad.data for leaf in leaves)]
    units = [ulps(*three) for three in zip(found, [value, *pulled], *(sizes or [[0] * len(found)]), strict=True)]
    return units[0], max(units[1:])


def ulps(found, right, size):
    """The worst error, in units of the largest number there, or of the size of what it is the difference of."""
    top = max(size, *(abs(v) for v in right.ravel()))
    limits = np.finfo(found.dtype)
    if top > Decimal(float(limits.max)):
        near = np.array([float(v) for v in right.ravel()])
        with np.errstate(over="ignore"):
            return 0.0 if np.array_equal(found.ravel(), near.astype(found.dtype)) else np.inf
    if not np.isfinite(found).all():
        return np.inf
    unit = Decimal(float(np.spacing(max(found.dtype.type(float(top)), limits.smallest_normal))))
    return float(max(abs(v) for v in (exact(found) - right).ravel()) / unit)


CASES = [(name, label, dtype) for dtype, ranges in RANGES.items() for label in ranges for name in FUNCTIONS]


@pytest.mark.parametrize(("name", "label", "dtype"), CASES)
def test_functions_are_as_near_to_the_exact_value_as_their_dtype_allows(name, label, dtype):
    allowed = 4 * np.sqrt(C) * (ROUNDED_ON_THE_WAY.get((name, label), 1) if dtype == "float32" else 1)
    assert max(errors(name, RANGES[dtype][label], dtype)) <= allowed


if __name__ == "__main__":
    for dtype, ranges in RANGES.items():
        print(f"\n{dtype}: units in the last place, of the value and of the gradients\n")
        print("| |", " | ".join(ranges), "|")
        print("|---" * (len(ranges) + 1), end="|\n")
        for name in FUNCTIONS:
            found = [errors(name, x, dtype) for x in ranges.values()]
            print(f"| {name} |", " | ".join(f"{a:.2g}, {b:.2g}" for a, b in found), "|")
