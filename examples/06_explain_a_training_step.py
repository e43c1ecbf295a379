"""One training step of the digits encoder explained: where its gradient comes from, as tables and as a page."""

import argparse
from pathlib import Path

import numpy as np
from digits import load_digits, patches

import minigrad as mg
import minigrad.functional as F
from minigrad.models import SequenceClassifier

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--page", type=Path, default=Path("backprop.html"), help="where the page is written")
args = parser.parse_args()

mg.seed(0)
(images, labels), _ = load_digits()
images, labels = patches(images[:32]), labels[:32]
model = SequenceClassifier(16, 10, max_tokens=4, num_layers=2, d_model=32, nhead=4, dim_feedforward=64)

print("1. A forward pass under mg.debug(), which notes the line and the module of each operation:")
with mg.debug():
    logits = model(images)
    loss = F.cross_entropy(logits, labels)
explanation = mg.explain(loss)
print(f"   {len(explanation.operations)} operations, {len(explanation.steps)} steps, loss {loss.item():.4f}")
print("   The graph is as it was: backward() gives every parameter the gradient that was recorded.")
loss.backward(retain_graph=True)
for name, p in model.named_parameters():
    assert np.array_equal(p.grad.data, explanation.gradient(p)), name

print("\n2. The gradient on its way back from the loss to the pixels, and how long it is at each operation:")
shown = [o for o in reversed(explanation.operations) if o.output.array.ndim]
lengths = [float(np.linalg.norm(o.output.gradient)) for o in shown]
for o, length in zip(shown, lengths, strict=True):
    bar = "█" * round(20 * length / max(lengths))
    print(f"   {o.module.replace('.sublayer', ''):42}  {o.name:14}  {length:6.4f}  {bar}")
print(
    "   An add passes on what it is given, so the way past a sublayer loses nothing; the way through it adds to that."
)

print("\n3. Where a residual connection forks, two gradients meet: the one that came straight back, and the branch's.")
fork = next(v for v in explanation.values if v.kind == "result" and len(v.contributions) == 2)
for c in fork.contributions:
    through = f"{c.operation.name} in {c.operation.module}"
    print(f"   {float(np.linalg.norm(c.array)):7.4f} through {through}; waits for {c.waiting} more")
print(f"   {float(np.linalg.norm(fork.gradient)):7.4f} together")
assert np.array_equal(fork.contributions[0].array + fork.contributions[1].array, fork.gradient)

print("\n4. One number: the gradient of a bias of the last layer says how much too sure the model is of that class.")
digit = 3
why = explanation.why(model.head.bias, digit)
print("   " + str(why).replace("\n", "\n   "))
with mg.no_grad():
    probabilities = F.softmax(logits).data
too_sure = (probabilities[:, digit] - (labels == digit)).mean()
print(
    f"   The formula says: the mean of softmax − (1 for a {digit}, else 0), over {len(labels)} images, {too_sure:.6f}"
)
assert abs(explanation.gradient(model.head.bias)[digit] - too_sure) < 1e-6

print("\n5. What the gradient promises: a step of −η g lowers the loss by η |g|², as long as the step is short.")
squares = sum(float(np.sum(p.grad.data.astype(np.float64) ** 2)) for p in model.parameters())
before = {p: p.data.copy() for p in model.parameters()}
for rate in (1.0, 0.1, 0.01):
    for p in model.parameters():
        p.data = before[p] - np.float32(rate) * p.grad.data
    with mg.no_grad():
        drop = loss.item() - F.cross_entropy(model(images), labels).item()
    print(f"   η = {rate:4}: promised {rate * squares:.5f}, lowered by {drop:.5f}")
assert abs(drop / (rate * squares) - 1) < 0.1

explanation.save(args.page)
size = args.page.stat().st_size / 1e6
print(f"\nAll of it, to step through in a browser: {args.page} ({size:.1f} MB, needs no network)")
