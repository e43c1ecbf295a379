"""What the explanations are looked at on, from one expression to an encoder."""

import numpy as np

import minigrad as mg
import minigrad.functional as F
from minigrad import models


def leaf(array, dtype=np.float64):
    return mg.tensor(np.asarray(array, dtype), requires_grad=True)


def expression():
    w, x, b = leaf(0.5), leaf(2.0), leaf(-0.3)
    return np.tanh(w * x + b), {"w": w, "x": x, "b": b}


def twice():
    a = leaf(1.5)
    b = a + a
    return b + b, {"a": a}


def network():
    rng = np.random.default_rng(0)
    x, t = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([[1.0], [1.0], [0.0]])
    v, b, w, c = leaf(rng.normal(size=(2, 3))), leaf(np.zeros(3)), leaf(rng.normal(size=(3, 1))), leaf([0.1])
    return np.mean((np.tanh(x @ v + b) @ w + c - t) ** 2), {"v": v, "b": b, "w": w, "c": c}


def batch_norm():
    x, scale, shift = leaf([[3.0], [5.0], [-2.0]]), leaf([2.0]), leaf([3.0])
    y = F.batch_norm(x, weight=scale, bias=shift, training=True)
    return np.sum(y * np.array([[1.0], [0.5], [0.2]])), {"x": x, "scale": scale, "shift": shift}


def encoder_layer():
    layer = models.EncoderLayer(8, 2, 16, rng=np.random.default_rng(0))
    x = leaf(np.random.default_rng(1).normal(size=(2, 3, 8)), np.float32)
    return np.mean(layer(x) ** 2), {"x": x, **dict(layer.named_parameters())}


def digits():
    rng = np.random.default_rng(0)
    model = models.SequenceClassifier(16, 10, 4, 2, 32, 4, 64, rng=rng)
    x = rng.normal(size=(8, 4, 16)).astype(np.float32)
    return F.cross_entropy(model(x), rng.integers(0, 10, 8)), dict(model.named_parameters())


@mg.rule()
def wrong_cube(x, /):
    """x³, whose pullback lacks the factor 3"""
    return x**3, (lambda g: g * x**2,)


@mg.rule()
def wrong_leaky(x, /):
    """0.1 x below 0, where the pullback gives nothing"""
    return np.where(x > 0, x, 0.1 * x), (lambda g: g * (x > 0),)


def guilty():
    """One operation is wrong: the gradients of w, x and h are wrong with it, those of y, u and v are right."""
    w, x, u = leaf(0.5), leaf(2.0), leaf(0.7)
    h = w * x
    y = wrong_cube(h)
    v = np.tanh(y) * u
    return v + 0.5 * y, {"w": w, "x": x, "u": u, "h": h, "y": y, "v": v}


PROGRAMS = [expression, twice, network, batch_norm, encoder_layer, digits]
