"""float32 kernels beside a float64 reference: within 4 units in the last place times the root of what is summed."""

import decimal
import math
from decimal import Decimal
from importlib import import_module

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F
from minigrad.functional.definition import DEFINITIONS

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
    "log_softmax": (F.log_softmax, [3 * normal(B, T, D)], D),
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
    kernels = {d.__name__ for d in DEFINITIONS if d.kernel is not None and d.__module__.startswith(F.__name__)}
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


@pytest.mark.parametrize("momentum", [1.0, None])  # None begins with the whole first batch
@pytest.mark.parametrize("scale", [1e-4, 1e-12])
def test_small_statistics_take_the_place_of_large_ones_whole(scale, momentum):
    """Not by a difference: 1 + (10⁻⁸ − 1) is 0 in float32."""
    x = (scale * RNG.standard_normal((64, 3))).astype(np.float32)
    wide = x.astype(np.float64)
    layer = mg.nn.BatchNorm1d(3, momentum=momentum)
    arrays = np.full(3, 7, np.float32), np.ones(3, np.float32)
    layer(x)
    F.batch_norm(x, *arrays, training=True, momentum=1.0)
    for mean, var in ((layer.running_mean, layer.running_var), arrays):
        np.testing.assert_allclose(mean, wide.mean(0), rtol=1e-6, atol=1e-6 * scale)
        np.testing.assert_allclose(var, wide.var(0, ddof=1), rtol=1e-6)


@pytest.mark.parametrize("affine", [True, False])
def test_the_statistics_of_a_layer_in_float64_lose_nothing(affine):
    layer, x = mg.nn.BatchNorm1d(3, affine=affine), RNG.standard_normal((64, 3)) + 1
    for p in layer.parameters():
        p.data = p.data.astype(np.float64)
    layer(x)
    mean, var = 0.1 * x.mean(0), 0.9 + 0.1 * x.var(0, ddof=1)
    np.testing.assert_allclose(layer.running_mean, mean, rtol=1e-14)
    np.testing.assert_allclose(layer.running_var, var, rtol=1e-14)
    copy = mg.nn.BatchNorm1d(3, affine=affine).eval()
    copy.load_state_dict(layer.state_dict())
    for p in copy.parameters():
        p.data = p.data.astype(np.float64)
    np.testing.assert_allclose(copy(x).data, (x - mean) / np.sqrt(var + 1e-5), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("block", [1, 2 * 2 * 5 * 5])  # one sequence at a time; two, then one
@pytest.mark.parametrize("shape", [None, (3, 1, 1, 5), (1, 1, 5, 5), (2, 5, 5), (5, 5), (3, 2, 5, 5)])
@pytest.mark.parametrize("dropped", [False, True])
def test_attention_in_blocks_is_attention(monkeypatch, block, shape, dropped):
    x = normal(3, 5, 3 * 8)
    mask = None if shape is None else np.random.default_rng(2).random(shape) < 0.6
    kept = np.random.default_rng(3).choice([0, 2], (3, 2, 5, 5)).astype(np.float32) if dropped else None
    monkeypatch.setattr(import_module("minigrad.functional.attention"), "_BLOCK", block)
    found = []
    for attention in (F.self_attention, F.self_attention.reference):
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


# ---- far out ---------------------------------------------------------------------------------------------------------

NEAR_AND_FAR = np.array([-1e4, -87, -50, -20, -12, -5, -3, -1, -0.01, 0, 0.01, 1, 3, 5, 12, 20, 50, 87, 1e4])


def derivatives(function, x):
    """The value, the derivative by the kernel and by the definition, and the second one, of each element for itself."""
    x = mg.tensor(x, requires_grad=True)
    y = function(x)
    once = mg.autograd.grad(np.sum(y), [x])[0]
    first = mg.autograd.grad(np.sum(function(x)), [x], create_graph=True)[0]
    second = mg.autograd.grad(np.sum(first), [x])[0]
    return y.data, once.data, first.data, second.data


def by_differences(formula):
    """The value and both derivatives of a formula in decimals, by a step of 10⁻³⁰."""

    def exactly(x):
        with decimal.localcontext(prec=400, Emin=-(10**6), Emax=10**6):
            h = Decimal(10) ** -30
            left, middle, right = (formula(Decimal(float(x)) + shift) for shift in (-h, 0, h))
            return [float(v) for v in (middle, (right - left) / (2 * h), (right - 2 * middle + left) / (h * h))]

    return lambda x: np.array([exactly(v) for v in x]).T


def exact_softplus(x):
    return (1 + x.exp()).ln() if x < 500 else x


def exact_binary(target):
    return lambda x: (1 - Decimal(target)) * exact_softplus(x) + Decimal(target) * exact_softplus(-x)


def exact_gelu(x):
    x = x.astype(np.float64)
    below = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x])
    density = np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return np.array([x * below, below + x * density, density * (2 - x * x)])


def exact_gelu_tanh(x):
    u = (2 / Decimal(math.pi)).sqrt() * (x + Decimal("0.044715") * x**3)
    return x / (1 + (-2 * u).exp()) if u > -(10**5) else Decimal(0)


def binary(target):
    return lambda x: F.binary_cross_entropy_with_logits(x, np.full(x.shape, target, x.dtype), reduction="none")


def of_three(x):
    return np.stack((x, np.zeros(x.shape, x.dtype), np.full(x.shape, -1, x.dtype)), -1)


def exact_of_three(x):
    return (1 + (-x).exp() + (-1 - x).exp()).ln() if x > -500 else -x + (1 + Decimal(-1).exp()).ln()


def cross_entropy(x):
    return F.cross_entropy(of_three(x), np.zeros(x.shape, int), reduction="none")


def nll_of_log_softmax(x):
    return F.nll_loss(F.log_softmax(of_three(x)), np.zeros(x.shape, int), reduction="none")


FAR = {
    "sigmoid": (F.sigmoid, by_differences(lambda x: 1 / (1 + (-x).exp()))),
    "silu": (F.silu, by_differences(lambda x: x / (1 + (-x).exp()))),
    "softplus": (F.softplus, by_differences(exact_softplus)),
    "elu": (F.elu, by_differences(lambda x: x if x > 0 else x.exp() - 1)),
    "elu, alpha": (lambda x: F.elu(x, 0.25), by_differences(lambda x: x if x > 0 else (x.exp() - 1) / 4)),
    "gelu": (F.gelu, exact_gelu),
    "gelu, tanh": (lambda x: F.gelu(x, "tanh"), by_differences(exact_gelu_tanh)),
    **{f"binary, {t}": (binary(t), by_differences(exact_binary(t))) for t in (0, 0.25, 0.5, 1)},
    "cross_entropy": (cross_entropy, by_differences(exact_of_three)),
    "log_softmax": (nll_of_log_softmax, by_differences(exact_of_three)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FAR)
def test_far_out_small_numbers_are_as_accurate_as_large_ones(name, dtype):
    """Where 1 and a small number are added and 1 is taken away again, nothing is left: a right answer teaches nothing."""
    function, exactly = FAR[name]
    x = NEAR_AND_FAR.astype(dtype)
    x = x[x != 0] if "elu" in name else x  # where elu has a kink
    with np.errstate(over="ignore"):
        found = derivatives(function, x)
    right = exactly(x)[[0, 1, 1, 2]]
    size = np.maximum(np.abs(right), np.where(np.abs(x) < 4, 0.1, 1e3 * float(np.finfo(dtype).smallest_normal)))
    units = 4 * np.maximum(25, np.abs(np.log(size)))  # a power has the rounding of its exponent
    assert (np.abs(found - right) <= units * np.finfo(dtype).eps * size).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("keys", [1, 4])  # one there is, or one that is allowed
@pytest.mark.parametrize("size", [1, 300])  # of the scores
def test_the_weight_of_a_single_key_is_1_and_its_gradient_0(keys, size, dtype):
    """What moves by rounding noise alone is moved by Adam as far as by a gradient."""
    x = np.random.default_rng(0).standard_normal((3, 5, keys, 30)).astype(dtype) * size**0.5
    allowed = np.array([2, 0, 3])[:, None, None, None]
    mask = None if keys == 1 else np.arange(keys) == allowed
    q, k, v = (mg.tensor(a, requires_grad=True) for a in (x, 2 * x, x - 1))
    only = v.data if keys == 1 else np.take_along_axis(v.data, allowed, 2)
    for attention in (F.attention, F.attention.reference):
        y = attention(q, k, v, mask, None, 1.0)
        np.testing.assert_array_equal(y.data, np.broadcast_to(only, y.shape))
        for g in mg.autograd.grad(np.sum(np.sin(y)), [q, k]):
            assert not g.data.any()
    qkv = mg.tensor(x.reshape(3, keys, 150), requires_grad=True)
    for attention in (F.self_attention, F.self_attention.reference):
        (g,) = mg.autograd.grad(np.sum(np.sin(attention(qkv, 5, mask, None, 1.0))), [qkv])
        assert not g.data[..., :100].any()
        assert g.data[..., 100:].any()


def test_erf_to_the_last_bits_in_each_of_its_ranges():
    near, middle, far = np.linspace(0, 0.46875, 200), np.linspace(0.46876, 4.0, 400), np.linspace(4.0001, 6.5, 400)
    for xs in (near, middle, far, np.array([7.0, 30.0, 31.0, 1e300, np.inf])):
        right = np.array([math.erf(x) for x in xs])
        np.testing.assert_allclose(F.erf(xs), right, rtol=5e-16)
        np.testing.assert_allclose(F.erf(-xs), -right, rtol=5e-16)
        np.testing.assert_allclose(F.erf(mg.tensor(xs)).data, right, rtol=5e-16)
