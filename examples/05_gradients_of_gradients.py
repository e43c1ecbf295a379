"""Gradients of gradients: Newton's method, a Hessian, and the curvature of an encoder's loss."""

import numpy as np
from digits import load_digits, patches

import minigrad as mg
import minigrad.functional as F
from minigrad.models import SequenceClassifier

print("1. Newton's method: x − f(x) / f'(x) doubles the right digits at each step. √2, the root of x² − 2:")
f = lambda x: x**2 - 2  # noqa: E731  one formula after the other
x = mg.tensor(np.array(1.0))
for step in range(1, 6):
    x = x - f(x) / mg.grad(f)(x)
    print(f"   step {step}: {x.item():.15f}, off by {abs(x.item() - 2**0.5):.0e}")
assert abs(x.item() - 2**0.5) < 1e-15


def rosenbrock(x):
    """A bent valley with its lowest point, 0, at (1, 1)."""
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2


print("\n2. The same to a minimum, where the gradient is 0: its derivative is the Hessian. Down Rosenbrock's valley:")
x = mg.tensor(np.array([-1.2, 1.0]))
print(f"   start:  ({x[0].item():7.4f}, {x[1].item():7.4f}), f = {rosenbrock(x).item():.2e}")
steps = 0
while rosenbrock(x).item() > 1e-20:
    x = x - np.linalg.solve(mg.hessian(rosenbrock)(x), mg.grad(rosenbrock)(x))
    steps += 1
    print(f"   step {steps}: ({x[0].item():7.4f}, {x[1].item():7.4f}), f = {rosenbrock(x).item():.2e}")
slow = np.array([-1.2, 1.0])
for _ in range(1000):
    slow = slow - 0.001 * mg.grad(rosenbrock)(slow).data
print(f"   After 1,000 steps of 0.001 times the gradient f is still {rosenbrock(slow):.4f}.")
assert steps < 10
assert rosenbrock(slow) > 1e-3

print("\n3. The Hessian at the minimum: its eigenvalues are the curvatures.")
H = mg.hessian(rosenbrock)(np.array([1.0, 1.0])).data
curvatures = np.linalg.eigvalsh(H)
print(f"   {H.tolist()}: {curvatures[0]:.2f} along the valley, {curvatures[1]:.2f} across")
print("   so a step along the gradient that is short enough for the one is far too short for the other.")
assert np.allclose(H, [[802, -400], [-400, 200]])

print("\n4. An encoder's loss has too many parameters for a Hessian; H v costs a few gradients, whatever the number.")
mg.seed(0)
(images, labels), _ = load_digits()
model = SequenceClassifier(16, 10, max_tokens=4, num_layers=1, d_model=16, nhead=4, dim_feedforward=32)
images, labels = patches(images[:64]).astype(np.float64), labels[:64]
parameters = list(model.parameters())
for p in parameters:
    p.data = p.data.astype(np.float64)
n = model.num_parameters()


def loss():
    return F.cross_entropy(model(images), labels)


def gradient(create_graph=False):
    return mg.autograd.grad(loss(), parameters, create_graph=create_graph)


def product(v):
    """The Hessian of the loss times v: the derivative of the gradient along v."""
    along = sum(np.sum(g * u) for g, u in zip(gradient(create_graph=True), v, strict=True))
    return [h.data for h in mg.autograd.grad(along, parameters)]


def dot(u, v):
    return sum(float(np.sum(a * b)) for a, b in zip(u, v, strict=True))


def moved(v, length):
    """The gradient somewhere else: at the parameters + length · v."""
    for p, u in zip(parameters, v, strict=True):
        p.data += length * u
    there = [g.data for g in gradient()]
    for p, u in zip(parameters, v, strict=True):
        p.data -= length * u
    return there


rng = np.random.default_rng(0)
u, v = ([rng.standard_normal(p.shape) for p in parameters] for _ in range(2))
u, v = ([a / dot(w, w) ** 0.5 for a in w] for w in (u, v))
Hv = product(v)
h = 1e-4
numeric = [(a - b) / (2 * h) for a, b in zip(moved(v, h), moved(v, -h), strict=True)]
off = max(float(np.abs(a - b).max()) for a, b in zip(Hv, numeric, strict=True))
print(f"   {n:,} parameters: the Hessian has {n**2:,} entries, H v has {n:,}.")
print(f"   For a random v of length 1, H v is {dot(Hv, Hv) ** 0.5:.4f} long, and differences are off by {off:.0e}.")
print(f"   H is symmetric: u · H v = {dot(u, Hv):.6e}, v · H u = {dot(v, product(u)):.6e}")
assert off < 1e-7
assert abs(dot(u, Hv) - dot(v, product(u))) < 1e-12

print("\n5. H v again and again leads to the direction in which the loss is bent most (power iteration):")
for i in range(1, 31):
    Hv = product(v)
    curvature = dot(v, Hv)
    length = dot(Hv, Hv) ** 0.5
    if i in (1, 3, 10, 30):
        print(f"   after {i - 1:2d}: curvature v · H v = {curvature:8.4f}, and H v is {length:.4f} long")
    v = [a / length for a in Hv]
print(f"   Gradient descent along it is stable up to a learning rate of 2 / {curvature:.2f} = {2 / curvature:.3f}.")
assert abs(curvature - length) < 0.01 * length
