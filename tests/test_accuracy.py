"""float32 kernels beside a float64 reference: within 4 units in the last place times the root of what is summed."""

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


B, T, D, H, V = 16, 64, 128, 4, 50
IDS = RNG.integers(0, V, (B, T))
MASK = RNG.random((B, 1, T, T)) < 0.7
FUNCTIONS = {  # the function, its inputs, and how many numbers are summed for an element at most, forward or backward
    "relu": (F.relu, [normal(B, T, D)], 1),
    "gelu, tanh": (lambda x: F.gelu(x, "tanh"), [3 * normal(B, T, D)], 1),
    "gelu, erf": (F.gelu, [3 * normal(B, T, D)], 1),
    "softmax": (F.softmax, [3 * normal(B, T, D)], D),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, D, w, b), [normal(B, T, D) + 1, normal(D), normal(D)], B * T),
    "batch_standardise": (
        lambda x, w, b: F.batch_standardise(x, w, b, 1e-5),
        [normal(B * T, D) + 1, normal(D), normal(D)],
        B * T,
    ),
    "layer_norm, far mean": (lambda x: F.layer_norm(x, D), [normal(B, T, D) + 1000], D),
    "batch_standardise, far mean": (
        lambda x: F.batch_standardise(x, None, None, 1e-5),
        [normal(B * T, D) - 1000],
        B * T,
    ),
    "linear": (F.linear, [normal(B, T, D), normal(2 * D, D), normal(2 * D)], B * T),
    "embedding": (lambda w: F.embedding(IDS, w), [normal(V, D)], B * T),
    "embedding, sorted": (lambda w: F.embedding(IDS, w), [normal(500, D)], B * T),
    "attention": (
        lambda q, k, v: F.attention(q, k, v, MASK, None, 0.3),
        [normal(B, H, T, 32), normal(B, H, T, 32), normal(B, H, T, 32)],
        T,
    ),
    "self_attention": (lambda x: F.self_attention(x, H, None, None, 0.3), [normal(B, T, 3 * D)], T),
    # scores up to 250: half a unit in their last place is 64 units in that of their exponential, whoever computes it
    "self_attention, far scores": (lambda x: F.self_attention(x, H, MASK, None, 9.0), [normal(B, T, 3 * D)], T * 64**2),
    "cross_entropy": (lambda x: F.cross_entropy(x, IDS), [3 * normal(B, T, V)], B * T),
}


def test_every_kernel_is_here():
    kernels = {d.__name__ for d in mg.definitions.DEFINITIONS if d.fast is not None and d.__module__ == F.__name__}
    assert kernels == {name.split(",")[0] for name in FUNCTIONS}


def value_and_gradients(function, inputs, weights, dtype):
    xs = [mg.tensor(x.astype(dtype), requires_grad=True) for x in inputs]
    y = function(*xs)
    np.sum(y * weights.astype(dtype)).backward()
    return [y.data, *(x.grad.data for x in xs)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_float32_kernels_are_as_accurate_as_float32_allows(name):
    function, inputs, n = FUNCTIONS[name]
    weights = np.random.default_rng(1).standard_normal(function(*inputs).shape)
    found = value_and_gradients(function, inputs, weights, np.float32)
    right = value_and_gradients(function, inputs, weights, np.float64)
    for a, b in zip(found, right, strict=True):
        assert a.dtype == np.float32
        assert b.dtype == np.float64
        unit = np.spacing(np.float32(np.abs(b).max()))
        assert np.abs(a - b).max() <= 4 * np.sqrt(n) * unit


def test_logits_in_any_order_in_memory_have_the_same_gradient():
    logits, targets = normal(7, 5), np.arange(7) % 5
    found = []
    for x in (logits, np.asfortranarray(logits)):
        leaf = mg.Tensor(x, requires_grad=True)
        F.cross_entropy(leaf, targets).backward()
        found.append(leaf.grad.data)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("odd", [np.nan, np.inf])
@pytest.mark.parametrize("words", [10, 500])
def test_a_gradient_that_is_not_finite_reaches_the_row_of_its_id_alone(words, odd):
    weight = mg.tensor(normal(words, 3), requires_grad=True)
    g = np.ones((4, 3), np.float32)
    g[1] = odd
    F.embedding([1, 2, 1, 5], weight).backward(g)
    expected = np.zeros((words, 3), np.float32)
    expected[1], expected[2], expected[5] = 2, odd, 1
    np.testing.assert_array_equal(weight.grad.data, expected)


@pytest.mark.parametrize(("shift", "scale", "dtype"), [(0, 1, "f4"), (1e6, 1, "f4"), (0, 1e20, "f4"), (2, 1, "f2")])
def test_running_statistics_are_those_of_the_batch(shift, scale, dtype):
    x = (RNG.standard_normal((64, 3)) * scale + shift).astype(dtype)
    running = np.zeros(3, np.float64), np.ones(3, np.float64)
    F.batch_norm(x, *running, training=True, momentum=1.0)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(running[0], wide.mean(0), rtol=1e-6, atol=1e-6 * scale)
    np.testing.assert_allclose(running[1], wide.var(0, ddof=1), rtol=1e-5)


@pytest.mark.parametrize("block", [1, 2 * 2 * 5 * 5])  # one sequence at a time; two, then one
@pytest.mark.parametrize("shape", [None, (3, 1, 1, 5), (1, 1, 5, 5), (2, 5, 5), (5, 5), (3, 2, 5, 5)])
@pytest.mark.parametrize("dropped", [False, True])
def test_attention_in_blocks_is_attention(monkeypatch, block, shape, dropped):
    x = normal(3, 5, 3 * 8)
    mask = None if shape is None else np.random.default_rng(2).random(shape) < 0.6
    kept = np.random.default_rng(3).choice([0, 2], (3, 2, 5, 5)).astype(np.float32) if dropped else None
    monkeypatch.setattr(mg.kernels, "_BLOCK", block)
    found = []
    for attention in (F.self_attention, F.self_attention.function):
        leaf = mg.Tensor(x, requires_grad=True)
        y = attention(leaf, 2, mask, kept, 0.5)
        np.sum(y * np.arange(y.size, dtype=np.float32).reshape(y.shape)).backward()
        found.append((y.data, leaf.grad.data))
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-4)


def test_layer_norm_of_no_features_has_a_gradient_of_none():
    x, w = (mg.Tensor(np.ones(shape, np.float32), requires_grad=True) for shape in ((3, 0), (0,)))
    np.sum(F.layer_norm(x, 0, w, w)).backward()
    assert (x.grad.shape, w.grad.shape) == ((3, 0), (0,))


def test_gelu_of_a_single_number():
    x = mg.tensor(1.0, requires_grad=True)
    F.gelu(x, "tanh").backward()
    np.testing.assert_allclose(x.grad.data, 1.0829641, rtol=1e-6)


def test_gradients_of_biases_hold_over_many_rows():
    """Added one by one in float32, 10⁵ equal rows are off by 5,000 units in the last place."""
    n = 100_000
    bias = mg.zeros(2, requires_grad=True)
    y = F.linear(mg.zeros(n, 1), mg.zeros(2, 1), bias)
    y.backward(np.full(y.shape, 0.1, np.float32))
    exact = n * np.float64(np.float32(0.1))
    assert np.abs(bias.grad.data - exact).max() <= 4 * np.sqrt(n) * np.spacing(np.float32(exact))


def test_the_gradient_of_gelu_is_0_or_1_far_out():
    x = mg.tensor([-1e30, -1e19, 1e19, 1e30], requires_grad=True)
    F.gelu(x, "tanh").backward(np.ones(4))
    assert x.grad.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("shape", [(3, 1), (3, 1, 1)])
def test_a_batch_norm_of_large_numbers_and_large_gradients_stays_in_float32(shape):
    x = mg.tensor(np.reshape(np.float32([1e10, -2e10, 4e10]), shape), requires_grad=True)
    g = np.reshape(np.float32([1e30, 0, 3e30]), shape)
    F.batch_standardise(x, None, None, 1e-5).backward(g)
    wide = mg.tensor(x.data.astype(np.float64), requires_grad=True)
    F.batch_standardise(wide, None, None, 1e-5).backward(g)
    assert np.allclose(x.grad.data, wide.grad.data, rtol=1e-6)
