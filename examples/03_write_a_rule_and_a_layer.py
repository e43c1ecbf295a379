"""Write a rule and a layer, have them checked, break them, and see it caught."""

import numpy as np

import minigrad as mg
from minigrad import nn
from minigrad.testing import check_gradients, check_layer

x = np.random.default_rng(0).standard_normal((4, 3))

print("1. A rule: the value of x σ(x), and how a gradient is pulled back through it.")


@mg.rule()
def swish(x, /):
    s = 1 / (1 + np.exp(-x))
    return x * s, (lambda g: g * (s + x * s * (1 - s)),)


point = mg.tensor(1.0, requires_grad=True)
swish(point).backward()
print(f"   swish(1) = {swish(1.0).item():.4f}, swish'(1) = {point.grad.item():.4f}")
check_gradients(swish, x)
print("   check_gradients holds each entry of it, and of its own gradient, against differences of the value: right.")

print("\n2. A layer: forward in plain NumPy; its gradient needs no line.")


class Standardise(nn.Module):
    """weight · (x − mean x) / √(var x + eps) over the last axis, then swish."""

    def __init__(self, features):
        self.weight = nn.Parameter(np.ones(features, np.float32))

    def forward(self, x):
        centred = x - np.mean(x, axis=-1, keepdims=True)
        variance = np.mean(centred**2, axis=-1, keepdims=True)
        return swish(self.weight * centred / np.sqrt(variance + 1e-5))


check_layer(Standardise(3), x)
print("   check_layer does so for its input and each parameter, when training and when not: right.")

print("\n3. Broken on purpose, and what the checks say:")


def caught(what, check, *arguments):
    """The message of a check that must fail."""
    try:
        check(*arguments)
    except AssertionError as error:
        print(f"\n   {what}:\n      {error}")
        return str(error)
    raise SystemExit(f"not caught: {what}")


@mg.rule()
def half_swish(x, /):
    s = 1 / (1 + np.exp(-x))
    return x * s, (lambda g: g * s,)  # the product rule has a second term


@mg.rule()
def double_swish(x, /):
    s = 1 / (1 + np.exp(-x))
    return x * s, (lambda g: 2 * g * (s + x * s * (1 - s)),)


class DetachedMean(Standardise):
    """As if the mean were a number that has nothing to do with x."""

    def forward(self, x):
        centred = x - np.mean(x, axis=-1, keepdims=True).detach()
        variance = np.mean(centred**2, axis=-1, keepdims=True)
        return swish(self.weight * centred / np.sqrt(variance + 1e-5))


class Forgetful(Standardise):
    """The weight is read as an array, so no gradient arrives there."""

    def forward(self, x):
        return swish(self.weight.data * x)


term = caught("a term of the derivative is forgotten", check_gradients, half_swish, x)
factor = caught("a factor 2 too much: the ratio shows it", check_gradients, double_swish, x)
mean = caught("the gradient ignores that the mean depends on x", check_layer, DetachedMean(3), x)
unused = caught("a parameter is cut out of the graph", check_layer, Forgetful(3), x)
assert "entries are wrong" in term
assert "ratio 2)" in factor
assert "entries are wrong" in mean
assert "input 0" in unused
print("\n   Which input? Of a layer the parameters come first, by the order of named_parameters(), then its arguments.")

print("\n4. A check that cannot fail is worth nothing: a softmax always has the sum 1.")
flat = caught("the sum of a softmax", check_gradients, lambda x: np.sum(mg.functional.softmax(x, axis=-1)), x)
assert "proves nothing" in flat
