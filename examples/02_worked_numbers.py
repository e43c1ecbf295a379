"""Residual connection, batch and layer normalization on numbers that fit on paper."""

import numpy as np

import minigrad as mg
from minigrad import nn

print("1. Residual connection: the output of a sublayer is added to its input.")
x, attention = mg.tensor([1.0, 4.0]), mg.tensor([2.0, 3.0])
y = nn.ResidualAdd(lambda x: attention)(x)
print(f"   {x.tolist()} + {attention.tolist()} = {y.tolist()}")
assert y.tolist() == [3.0, 7.0]
try:
    nn.ResidualAdd(nn.Linear(2, 3))(x)
except ValueError as error:
    print(f"   The shapes must be equal, which W^O is there for:\n   {error}")

print("\n2. Batch normalization: one feature, over a batch of three.")
batch = mg.tensor([[3.0], [5.0], [-2.0]])
centred = batch - np.mean(batch)
print(f"   {batch.data.ravel()} has mean {np.mean(batch):.0f}; centred: {centred.data.ravel()}")
length, std = np.linalg.norm(centred), np.std(batch)
print(f"   The length of that is √26 = {length:.4f}, its standard deviation √(26/3) = {std:.4f}.")
print("   Divided by its length, the variance is 1/3; divided by its standard deviation, it is 1:")
print(f"   variance {np.var(centred / length):.4f} and {np.var(centred / std):.4f}")
layer = nn.BatchNorm1d(1, eps=1e-12)
layer.weight.data[:], layer.bias.data[:] = 2, 3
y = layer(batch)
print(f"   So BatchNorm1d divides by the standard deviation. With scale 2 and shift 3: {y.data.ravel().round(4)},")
print(f"   mean {np.mean(y):.0f} and variance {np.var(y):.0f}; by the length: {np.var(2 * centred / length + 3):.4f}.")
assert np.allclose([np.mean(y).item(), np.var(y).item()], [3, 4])

print("\n3. Layer normalization: each token for itself.")
tokens = {"thinking": [4.0, 2.0, 3.0, 5.0], "machine": [2.0, 1.0, -3.0, 2.0]}
y = nn.LayerNorm(4)(mg.tensor(list(tokens.values())))
for (word, vector), row in zip(tokens.items(), y, strict=True):
    print(f"   {word:8} {vector} -> {row.data.round(4)}, mean {np.mean(row) + 0.0:.4f}, variance {np.var(row):.4f}")
assert np.allclose(np.mean(y, axis=1).data, 0, atol=1e-6)
assert np.allclose(np.var(y, axis=1).data, 1, atol=1e-4)
