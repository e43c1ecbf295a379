"""Lesson zero: a complete engine on one screen, and an encoder in plain NumPy that learns digits with it.

The engine below runs the library's own rules (minigrad/rules/), each of which gives a value and, for each input, the
function that pulls a gradient back to it. What minigrad adds to these lines (guards, fast kernels, higher orders, words
for mistakes) makes it trustworthy and quick; what it computes is this. Read on in minigrad/graph.py.

    python examples/00_the_engine_in_one_screen.py     2 seconds
"""

import itertools
import math
import time

import numpy as np
from digits import load_digits, patches
from numpy.lib.mixins import NDArrayOperatorsMixin

import minigrad as mg
import minigrad.functional as F
from minigrad.rule import RULES

# ---- the engine ------------------------------------------------------------------------------------------------------

BY_NAME = {rule.name: rule for rule in RULES}
ages = itertools.count()


class Tensor(NDArrayOperatorsMixin):
    """An array, its gradient, and how it was made: of what, how a gradient goes back to each of these, and when."""

    def __init__(self, data, inputs=(), pullbacks=(), requires_grad=True):
        self.data, self.grad, self.requires_grad = np.asarray(data), None, requires_grad
        self.inputs, self.pullbacks, self.age = inputs, pullbacks, next(ages)

    shape, dtype = (property(lambda self, name=name: getattr(self.data, name)) for name in ("shape", "dtype"))
    __hash__ = object.__hash__

    def __array_ufunc__(self, ufunc, method, *inputs, **settings):  # NumPy asks here what np.exp of a Tensor is
        return apply(BY_NAME[ufunc.__name__], *inputs, **settings)

    def __array_function__(self, function, types, inputs, settings):  # and here for np.sum and its like
        return apply(BY_NAME[function.__name__], *inputs, **settings)

    def __getitem__(self, index):
        return apply(BY_NAME["getitem"], self, index)

    def backward(self, gradient=1.0):
        """Add to each leaf's grad how much this value, weighted with the gradient, changes with it."""
        order, stack = {self}, [self]
        while stack:  # all that this was made of
            new = {x for x in stack.pop().inputs if isinstance(x, Tensor) and x.requires_grad} - order
            order |= new
            stack += new
        gradients = {self: np.full(self.shape, gradient, self.dtype)}
        for tensor in sorted(order, key=lambda x: -x.age):  # what uses a value is younger: its gradient is complete
            g = gradients.pop(tensor)
            if not tensor.inputs:
                tensor.grad = g if tensor.grad is None else tensor.grad + g
            for x, pullback in zip(tensor.inputs, tensor.pullbacks, strict=True):
                if isinstance(x, Tensor) and x.requires_grad:
                    h = unbroadcast(np.asarray(pullback(g)), x.shape).astype(x.dtype, copy=False)
                    gradients[x] = gradients[x] + h if x in gradients else h


def apply(rule, *inputs, **settings):
    """Run a rule on the arrays; the Tensor of its value remembers the pullbacks."""
    n = len(inputs) if rule.variadic else rule.arity
    settings = dict(zip(rule.settings, inputs[n:], strict=False)) | settings
    inputs = inputs[:n]
    value, pullbacks = rule.function(*(x.data if isinstance(x, Tensor) else x for x in inputs), **settings)
    wanted = any(isinstance(x, Tensor) and x.requires_grad for x in inputs)
    return Tensor(value, inputs, pullbacks) if wanted else Tensor(value, requires_grad=False)


def unbroadcast(g, shape):
    """NumPy stretched x along these axes, so each of its numbers moved many of the output: sum what comes back."""
    lead = g.ndim - len(shape)
    axes = (*range(lead), *(lead + i for i, n in enumerate(shape) if n == 1 != g.shape[lead + i]))
    return np.sum(g, axis=axes, dtype=np.float64).reshape(shape) if axes else g


# ---- an encoder ------------------------------------------------------------------------------------------------------

D, HEADS, HIDDEN, LAYERS = 32, 4, 64, 2  # features of a token, heads, features within a feed-forward, layers


def parameters(rng):
    """By name: a matrix for each product, the tokens' places, and for each norm a scale and a shift."""
    shapes = {"embedding": (16, D), "places": (4, D), "head": (D, 10)}
    for i in range(LAYERS):
        shapes |= {f"{name}{i}": (D, D) for name in "qkvo"} | {f"in{i}": (D, HIDDEN), f"out{i}": (HIDDEN, D)}
    drawn = {name: rng.standard_normal(shape) / math.sqrt(shape[0]) for name, shape in shapes.items()}
    norms = [f"{place}{i}" for i in range(LAYERS) for place in ("attended", "fed")]
    drawn |= {f"scale_{name}": np.ones(D) for name in norms} | {f"shift_{name}": np.zeros(D) for name in norms}
    return {name: array.astype(np.float32) for name, array in drawn.items()}


def softmax(x):
    e = np.exp(x - np.max(x.data, axis=-1, keepdims=True))
    return e / np.sum(e, axis=-1, keepdims=True)


def norm(x, scale, shift):
    c = x - np.mean(x, axis=-1, keepdims=True)
    return c / np.sqrt(np.mean(c * c, axis=-1, keepdims=True) + 1e-5) * scale + shift


def cross_entropy(logits, labels):
    z = logits - np.max(logits.data, axis=-1, keepdims=True)
    return np.mean(np.log(np.sum(np.exp(z), axis=-1)) - z[np.arange(len(labels)), labels])


def encoder(x, p, softmax=softmax, norm=norm):
    """Logits (B, 10) of tokens x: (B, T, 16), with the parameters p by name."""
    b, t, _ = x.shape

    def heads(y):
        return np.swapaxes(np.reshape(y, (b, t, HEADS, D // HEADS)), 1, 2)  # (B, H, T, E)

    h = x @ p["embedding"] + p["places"]  # (B, T, D)
    for i in range(LAYERS):
        q, k, v = (heads(h @ p[f"{name}{i}"]) for name in "qkv")
        weights = softmax(q @ np.swapaxes(k, 2, 3) * (D // HEADS) ** -0.5)  # (B, H, T, T)
        mixed = np.reshape(np.swapaxes(weights @ v, 1, 2), (b, t, D)) @ p[f"o{i}"]
        h = norm(h + mixed, p[f"scale_attended{i}"], p[f"shift_attended{i}"])  # Add & Norm
        fed = np.maximum(h @ p[f"in{i}"], 0.0) @ p[f"out{i}"]
        h = norm(h + fed, p[f"scale_fed{i}"], p[f"shift_fed{i}"])
    return np.mean(h, axis=1) @ p["head"]


# ---- what it learns, and how it compares -----------------------------------------------------------------------------


def train(p, images, labels, rng, epochs=15, lr=3e-3):
    """Adam, on batches of 64 that are drawn anew in each epoch; gives the loss of each."""
    mean, square = ({name: np.zeros(x.shape, np.float32) for name, x in p.items()} for _ in range(2))
    steps = itertools.count(1)
    for _ in range(epochs):
        losses = []
        for batch in np.split(rng.permutation(len(labels)), range(64, len(labels), 64)):
            loss = cross_entropy(encoder(images[batch], p), labels[batch])
            loss.backward()
            losses.append(loss.data)
            step = next(steps)
            for name, x in p.items():
                mean[name] += 0.1 * (x.grad - mean[name])
                square[name] += 0.001 * (x.grad**2 - square[name])
                x.data -= lr * mean[name] / (1 - 0.9**step) / (np.sqrt(square[name] / (1 - 0.999**step)) + 1e-8)
                x.grad = None
        yield float(np.mean(losses))


def compare(drawn, images, labels):
    """Print how far gradients and time are from the library's, for the same lines and for its kernels."""

    def layer_norm(x, scale, shift):
        return F.layer_norm(x, x.shape[-1:], scale, shift)

    ways = {
        "this engine": (Tensor, lambda p: cross_entropy(encoder(images, p), labels)),
        "minigrad, the same lines": (mg.Tensor, lambda p: cross_entropy(encoder(images, p), labels)),
        "minigrad's kernels": (mg.Tensor, lambda p: F.cross_entropy(encoder(images, p, F.softmax, layer_norm), labels)),
    }
    expected = {}
    for way, (kind, loss) in ways.items():
        p = {name: kind(array.copy(), requires_grad=True) for name, array in drawn.items()}
        seconds = []
        for _ in range(20):
            for x in p.values():
                x.grad = None
            start = time.perf_counter()
            loss(p).backward()
            seconds.append(time.perf_counter() - start)
        gradients = {name: x.grad if kind is Tensor else x.grad.data for name, x in p.items()}
        expected = expected or gradients
        apart = max(float(np.max(np.abs(g - expected[name]))) for name, g in gradients.items())
        largest = max(float(np.max(np.abs(g))) for g in gradients.values())
        print(f"  {way:<25} {1e3 * np.median(seconds):6.2f} ms   gradients apart by {apart:.1e} of {largest:.1e}")
        yield apart


def main():
    (images, labels), (held_out, answers) = load_digits()
    images, held_out = patches(images), patches(held_out)
    rng = np.random.default_rng(0)
    drawn = parameters(rng)
    print(f"forward and backward of {len(drawn)} parameters, 64 images:")
    same, rounding = list(compare(drawn, images[:64], labels[:64]))[1:]
    assert same == 0, "the engine of one screen and the library's run the same rules in the same order"
    assert rounding < 1e-5

    p = {name: Tensor(array) for name, array in drawn.items()}
    print("\nthe encoder learns, with this engine alone:")
    for epoch, loss in enumerate(train(p, images, labels, rng), 1):
        found = np.argmax(encoder(held_out, p).data, axis=-1)
        print(f"  epoch {epoch:2d}   loss {loss:.4f}   held-out accuracy {np.mean(found == answers):.4f}")
    assert np.mean(found == answers) > 0.95


if __name__ == "__main__":
    main()
