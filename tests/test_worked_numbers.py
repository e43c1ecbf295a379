"""The numbers of the text that the project grew out of: residual connection, batch and layer normalization."""

import numpy as np

import minigrad as mg
import minigrad.functional as F
from minigrad import nn


def test_residual_connection():
    attention = lambda x: mg.tensor([2.0, 3.0])
    assert nn.ResidualAdd(attention)(mg.tensor([1.0, 4.0])).tolist() == [3.0, 7.0]


def test_batch_normalization():
    x = np.array([[3.0], [5.0], [-2.0]])
    centred = x - x.mean()
    assert x.mean() == 2
    assert centred.ravel().tolist() == [1, 3, -4]
    assert np.sum(centred**2) == 26
    y = F.batch_norm(x, weight=np.array([2.0]), bias=np.array([3.0]), training=True, eps=1e-12)
    np.testing.assert_allclose(y, 2 * centred / np.sqrt(26 / 3) + 3)
    np.testing.assert_allclose([y.mean(), y.var()], [3, 4])
    by_length = 2 * centred / np.sqrt(26) + 3  # the text divides by the length of the centred vector
    np.testing.assert_allclose([by_length.mean(), by_length.var()], [3, 4 / 3])


def test_layer_normalization():
    tokens = np.array([[4.0, 2.0, 3.0, 5.0], [2.0, 1.0, -3.0, 2.0]])  # "thinking", "machine"
    weight, bias = np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.1, 0.2, 0.3, 0.4])
    y = F.layer_norm(tokens, 4, weight, bias, eps=1e-12)
    thinking = np.array([0.5, -1.5, -0.5, 1.5]) / np.sqrt(1.25)
    machine = np.array([1.5, 0.5, -3.5, 1.5]) / np.sqrt(4.25)
    np.testing.assert_allclose(y, np.stack([thinking, machine]) * weight + bias)
