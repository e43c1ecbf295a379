"""Backprop by hand on one expression, and why it goes through the graph in topological order."""

import math
from collections import Counter

import numpy as np

import minigrad as mg

print("1. One expression: y = tanh(w x + b) at w = 0.5, x = 2, b = −0.3.")
w, x, b = 0.5, 2.0, -0.3
product = w * x
total = product + b
y = math.tanh(total)
print(f"   forward:  w x = {product:.4f}, w x + b = {total:.4f}, y = tanh({total:.4f}) = {y:.4f}")

# Each step knows only its own derivative; the chain rule multiplies them on the way back.
to_total = 1.0 * (1 - y**2)  # tanh' = 1 − tanh²
to_product, to_b = to_total * 1, to_total * 1  # a sum hands the gradient on to each of its terms
to_w, to_x = to_product * x, to_product * w  # a factor gets the gradient times the other factor
print(f"   backward: dy/dy = 1, dy/d(w x + b) = 1 − y² = {to_total:.4f}, and the sum hands it on: dy/db = {to_b:.4f};")
print(f"             dy/dw = {to_product:.4f} · x = {to_w:.4f}, dy/dx = {to_product:.4f} · w = {to_x:.4f}")

leaves = [mg.tensor(value, requires_grad=True) for value in (np.array(w), np.array(x), np.array(b))]  # float64
np.tanh(leaves[0] * leaves[1] + leaves[2]).backward()
found = [leaf.grad.item() for leaf in leaves]
h = 1e-6
numeric = (math.tanh((w + h) * x + b) - math.tanh((w - h) * x + b)) / (2 * h)
print(f"   minigrad: dy/dw = {found[0]:.4f}, dy/dx = {found[1]:.4f}, dy/db = {found[2]:.4f}")
print(f"   and a difference, with nothing of all that: (y(w + 10⁻⁶) − y(w − 10⁻⁶)) / (2 · 10⁻⁶) = {numeric:.4f}")
assert np.allclose([to_w, to_x, to_b], found, rtol=1e-12)
assert abs(numeric - to_w) < 1e-9

print("\n2. Why the order matters: b = a + a; c = b + b. As c = 4 a, dc/da is 4.")
INPUTS = {"c": ("b", "b"), "b": ("a", "a"), "a": ()}  # all sums: each hands its gradient on as it is


def at_each_arrival():
    """Hand on all there is whenever something arrives: what came first is handed on twice."""
    gradient = Counter(c=1)

    def visit(name):
        for source in INPUTS[name]:
            gradient[source] += gradient[name]
            visit(source)

    visit("c")
    return gradient["a"]


def once_at_the_first_arrival():
    """Hand on at the first arrival and never again: what comes later is lost."""
    gradient, done = Counter(c=1), set()

    def visit(name):
        done.add(name)
        for source in INPUTS[name]:
            gradient[source] += gradient[name]
            if source not in done:
                visit(source)

    visit("c")
    return gradient["a"]


def when_all_has_arrived():
    """Hand on once, when nothing more is waited for: topological order."""
    gradient = Counter(c=1)
    waiting = Counter(source for sources in INPUTS.values() for source in sources)
    ready = ["c"]
    while ready:
        name = ready.pop()
        for source in INPUTS[name]:
            gradient[source] += gradient[name]
            waiting[source] -= 1
            print(f"   {name} hands {gradient[name]} to {source}, which has {gradient[source]}", end=" ")
            print(f"and is waiting for {waiting[source]} more" if waiting[source] else "and is complete")
            if not waiting[source]:
                ready.append(source)
    return gradient["a"]


right = when_all_has_arrived()
print(f"   in this order                          dc/da = {right}")
print(f"   handing on at each arrival             dc/da = {at_each_arrival()}: b's first 1 is passed on twice")
print(f"   handing on at the first arrival only   dc/da = {once_at_the_first_arrival()}: b's second 1 is lost")
a = mg.tensor(1.0, requires_grad=True)
b = a + a
c = b + b
assert b.node.stamp < c.node.stamp
print("   minigrad numbers the operations as they run and goes back from the youngest: whatever uses a value")
print("   is younger than it, so its gradient is complete by then:")
c.backward()
print(f"   minigrad                               dc/da = {a.grad.item():.0f}")
assert (right, at_each_arrival(), once_at_the_first_arrival(), a.grad.item()) == (4, 6, 2, 4)

print("\n3. Following every path on its own would be right too, but their number doubles with each line.")
a = mg.tensor(np.array(1.0), requires_grad=True)
c = a
for _ in range(50):
    c = c + c
c.backward()
print(f"   50 doublings: 2^50 = {2**50:,} paths lead from c to a, and 50 operations are each visited once:")
print(f"   dc/da = {a.grad.item():,.0f}")
assert a.grad.item() == 2**50
