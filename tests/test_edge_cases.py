"""The value and the gradient at kinks, ties, infinities and empty inputs, as the README's table promises them."""

import math

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F

INF, NAN = math.inf, math.nan
pytestmark = pytest.mark.filterwarnings("ignore:(divide by zero|invalid value|overflow):RuntimeWarning")

# function, input, value, gradient of the sum of the result
CASES = {
    "softmax of huge logits": (lambda x: F.softmax(x)[0], [1e4, -1e4], 1.0, [0, 0]),
    "softmax with some -inf": (lambda x: F.softmax(x)[1], [-INF, 0.0, 0.0], 0.5, [0, 0.25, -0.25]),
    "masked_softmax of nothing": (lambda x: F.masked_softmax(x, np.zeros(2, bool)), [1.0, 2.0], [0, 0], [0, 0]),
    "softmax of a number": (F.softmax, 3.0, 1.0, 0.0),
    "softmax of nothing": (F.softmax, [], [], []),
    "logsumexp of -inf": (F.logsumexp, [-INF, -INF], -INF, [0, 0]),
    "logsumexp with +inf": (F.logsumexp, [INF, 1.0], INF, [1, 0]),
    "logsumexp of huge values": (F.logsumexp, [1e4, 1e4], 1e4 + math.log(2), [0.5, 0.5]),
    "logaddexp of -inf": (lambda x: np.logaddexp(x[0], x[1]), [-INF, -INF], -INF, [0.5, 0.5]),
    "cross_entropy of huge logits": (lambda x: F.cross_entropy(x, 1), [1e4, 0.0], 1e4, [1, -1]),
    "cross_entropy, -inf beside the target": (lambda x: F.cross_entropy(x, 0), [0.0, -INF], 0.0, [0, 0]),
    "cross_entropy, -inf at the target": (lambda x: F.cross_entropy(x, 1), [0.0, -INF], INF, [1, -1]),
    "bce with huge logits": (lambda x: F.binary_cross_entropy_with_logits(x, np.zeros(1)), [1000.0], 1000.0, [1]),
    "layer_norm of a constant row": (lambda x: F.layer_norm(x, 3), [7.0, 7.0, 7.0], [0, 0, 0], [0, 0, 0]),
    "layer_norm of one feature": (lambda x: F.layer_norm(x, 1), [7.0], [0], [0]),
    "maximum of equals": (lambda x: np.maximum(x[0], x[1]), [2.0, 2.0], 2.0, [0.5, 0.5]),
    "minimum of equals": (lambda x: np.minimum(x[0], x[1]), [2.0, 2.0], 2.0, [0.5, 0.5]),
    "maximum(x, 0) at 0": (lambda x: np.maximum(x, 0.0), 0.0, 0.0, 0.5),
    "relu at 0": (F.relu, 0.0, 0.0, 0.0),
    "relu of NaN": (F.relu, NAN, NAN, 1.0),
    "relu of -inf": (F.relu, -INF, 0.0, 0.0),
    "max of equals": (np.max, [1.0, 3.0, 3.0], 3.0, [0, 0.5, 0.5]),
    "max along an axis, equals": (lambda x: np.max(x, axis=1), [[2.0, 2.0]], [2], [[0.5, 0.5]]),
    "max with NaN": (np.max, [1.0, NAN], NAN, [0, 1]),
    "median with NaN": (np.median, [1.0, NAN, 2.0], NAN, [0, 1, 0]),
    "clip at its bounds": (lambda x: np.clip(x, 0.0, 1.0), [0.0, 0.5, 1.0], [0, 0.5, 1], [0, 1, 0]),
    "abs at 0": (np.abs, 0.0, 0.0, 0.0),
    "sign at 0": (np.sign, 0.0, 0.0, 0.0),
    "x**0 at 0": (lambda x: x**0, 0.0, 1.0, 0.0),
    "x**0.0 at 0": (lambda x: x**0.0, 0.0, 1.0, 0.0),
    "x**array 0 at 0": (lambda x: x ** np.zeros(1), [0.0], [1], [0]),
    "x**2 at 0": (lambda x: x**2, 0.0, 0.0, 0.0),
    "x**0.5 at 0": (lambda x: x**0.5, 0.0, 0.0, INF),
    "sqrt at 0": (np.sqrt, 0.0, 0.0, INF),
    "x**-1 at 0": (lambda x: x**-1, 0.0, INF, -INF),
    "power(0, 0)": (lambda x: np.power(x[0], x[1]), [0.0, 0.0], 1.0, [0, 0]),
    "power(-2, 2) by its exponent": (lambda x: np.power(x[0], x[1]), [-2.0, 2.0], 4.0, [-4, NAN]),
    "norm at 0": (np.linalg.norm, [0.0, 0.0], 0.0, [0, 0]),
    "norm, p = 3, at 0": (lambda x: np.linalg.norm(x, 3), [0.0, 0.0], 0.0, [0, 0]),
    "sqrt(sum(x²)) at 0": (lambda x: np.sqrt(np.sum(x * x)), [0.0, 0.0], 0.0, [NAN, NAN]),
    "std of a constant": (np.std, [3.0, 3.0], 0.0, [0, 0]),
    "std of a constant that rounds": (np.std, [0.1] * 7, 0.0, [0] * 7),
    "prod with one zero": (np.prod, [0.0, 2.0, 3.0], 0.0, [6, 0, 0]),
    "prod with two zeros": (np.prod, [0.0, 0.0, 3.0], 0.0, [0, 0, 0]),
    "cumprod with a zero": (np.cumprod, [2.0, 0.0, 3.0], [2, 0, 0], [1, 8, 0]),
    "prod of nothing": (np.prod, [], 1.0, []),
    "arctan2(0, 0)": (lambda x: np.arctan2(x[0], x[1]), [0.0, 0.0], 0.0, [0, 0]),
    "hypot(0, 0)": (lambda x: np.hypot(x[0], x[1]), [0.0, 0.0], 0.0, [0, 0]),
    "det of a singular matrix": (np.linalg.det, [[1.0, 2.0], [2.0, 4.0]], 0.0, [[4, -2], [-2, 1]]),
    "where and the branch not taken": (lambda x: np.where(x > 0, np.sqrt(x), 0.0), [0.0, 4.0], [0, 2], [NAN, 0.25]),
    "where, doubled": (lambda x: np.where(x > 0, np.sqrt(np.where(x > 0, x, 1.0)), 0.0), [0.0, 4.0], [0, 2], [0, 0.25]),
    "nan_to_num of log": (lambda x: np.nan_to_num(np.log(x), neginf=0.0), [0.0, 1.0], [0, 0], [NAN, 1]),
    "sum of nothing": (np.sum, [], 0.0, []),
    "(3, 1) + (1, 0)": (lambda x: x + np.zeros((1, 0)), [[1.0], [2.0], [3.0]], [[], [], []], [[0], [0], [0]]),
    "(2, 0) @ (0, 3)": (lambda x: x @ np.zeros((0, 3)), np.zeros((2, 0)), np.zeros((2, 3)), np.zeros((2, 0))),
    "repeated indices": (lambda x: x[[0, 0, 1]], [1.0, 2.0, 3.0], [1, 1, 2], [2, 1, 0]),
    "no element selected": (lambda x: x[np.zeros(2, bool)], [1.0, 2.0], [], [0, 0]),
    "index_update twice at one place": (
        lambda x: mg.index_update(np.zeros(1), [0, 0], x), [1.0, 2.0], [2], [0, 1],
    ),
    "index_add twice at one place": (lambda x: mg.index_add(np.zeros(1), [0, 0], x), [1.0, 2.0], [3], [1, 1]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_at_the_edges(name):
    f, x, value, gradient = CASES[name]
    leaf = mg.tensor(np.array(x, np.float64), requires_grad=True)
    y = f(leaf)
    np.testing.assert_allclose(y.data, value, atol=1e-12)
    np.sum(y).backward()
    np.testing.assert_allclose(leaf.grad.data, gradient, atol=1e-12)
    assert leaf.grad.shape == leaf.shape


def test_the_third_derivative_of_a_square_at_zero():
    f = lambda x: x**2
    for expected in (0, 2, 0):
        f = mg.grad(f)
        assert f(np.array(0.0)).item() == expected


def test_integers_to_negative_powers_are_floats():
    assert (mg.tensor([2, 4]) ** -1).data.tolist() == [0.5, 0.25]


def test_logits_in_float16():
    x = mg.tensor(np.array([6e4, -6e4], np.float16), requires_grad=True)
    y = F.softmax(x)
    assert y.dtype == np.float16
    np.testing.assert_array_equal(y.data, [1, 0])


def test_float16_is_summed_in_float32():
    assert np.mean(mg.full((70000,), np.float16(1.0), np.float16)).item() == 1
    assert np.sum(mg.full((4096, 2), np.float16(1.0), np.float16), axis=0).data.tolist() == [4096, 4096]
    assert np.isfinite(np.std(mg.tensor(np.array([6e4, -6e4], np.float16))).data)
    np.testing.assert_allclose(F.layer_norm(np.array([6e4, -6e4], np.float16), 2), [1, -1])


def test_attention_in_float16():
    q, k, v = (np.array(a, np.float16) for a in ([[10.0], [0.1]], [[4.0], [3.0]], [[1.0], [2.0]]))
    for mask in (None, np.ones((2, 2), bool)):
        y = F.scaled_dot_product_attention(q, k, v, mask)
        assert y.dtype == np.float16
        np.testing.assert_allclose(y[:, 0], [1.0, 1.475], rtol=2e-3)


def test_long_sums_in_float16_and_float32():
    x = mg.tensor(np.float16(0.0) + np.zeros((), np.float16), requires_grad=True)
    np.sum(x + np.zeros(4097, np.float16)).backward()
    assert x.grad.item() == 4096  # the nearest there is
    b = mg.zeros(2, requires_grad=True)
    np.sum((b + np.zeros((1_000_000, 2), np.float32)) * 0.1).backward()
    np.testing.assert_allclose(b.grad.data, 1e5, rtol=1e-6)
    np.testing.assert_allclose(F.log_softmax(np.zeros(70000, np.float16))[0], -np.log(70000), rtol=1e-3)


@pytest.mark.parametrize(("dtype", "v"), [(np.float32, 1e25), (np.float32, 1e-25), (np.float16, 300.0)])
def test_pullbacks_do_not_square_what_is_large_or_small(dtype, v):
    x, y = (mg.tensor(np.array(a, dtype), requires_grad=True) for a in (v, v))
    (x / y).backward()
    np.testing.assert_allclose(y.grad.data, dtype(-1) / dtype(v), rtol=1e-3)
    x, y = (mg.tensor(np.array(a, dtype), requires_grad=True) for a in (v, v))
    np.arctan2(y, x).backward()
    np.testing.assert_allclose(y.grad.data, 0.5 / v, rtol=1e-2)


def test_integers_have_the_spread_that_numpy_gives_them():
    x = mg.tensor([1, 1, 2])
    for f in (np.var, np.std, np.linalg.norm):
        np.testing.assert_allclose(f(x).data, f(x.data))


def test_an_ignored_row_may_hold_anything():
    x = mg.tensor(np.array([[-INF, -INF], [NAN, 1.0], [0.0, 0.0]]), requires_grad=True)
    F.cross_entropy(x, [-100, -100, 0]).backward()
    np.testing.assert_allclose(x.grad.data, [[0, 0], [0, 0], [-0.5, 0.5]])


@pytest.mark.parametrize("f", [lambda x: F.layer_norm(x, 4), F.layer_norm.function])
def test_layer_norm_beside_a_large_mean(f):
    x = np.array([[1e6, 1e6 + 1, 1e6 + 2, 1e6 + 3], [1, 2, 3, 4]], np.float32)
    y = f(x) if f is not F.layer_norm.function else f(x, 4)
    np.testing.assert_allclose(y[0], [-1.341635, -0.447212, 0.447212, 1.341635], rtol=1e-5)
    np.testing.assert_allclose(y[1], y[0], rtol=1e-5)


def test_layer_norm_beside_rounding_and_overflow():
    np.testing.assert_allclose(F.layer_norm(np.full((1, 100), 0.1, np.float32), 100), 0, atol=1e-6)
    np.testing.assert_allclose(F.layer_norm(np.array([[1e20, -1e20]], np.float32), 2), [[1, -1]])


def test_batch_norm_beside_a_large_mean():
    x = np.array([[1e6, 5.0], [1e6 + 1, 5.0], [1e6 + 2, 5.0]], np.float32)
    y = F.batch_norm(x, training=True)
    np.testing.assert_allclose(y[:, 0], [-1.224736, 0, 1.224736], atol=1e-5)
    np.testing.assert_array_equal(y[:, 1], 0)
    mean, var = np.zeros(2, np.float32), np.ones(2, np.float32)
    F.batch_norm(x, mean, var, training=True, momentum=1.0)
    np.testing.assert_allclose(var, [1, 0], atol=1e-5)


def test_batch_norm_of_an_empty_batch_leaves_the_statistics():
    layer = mg.nn.BatchNorm1d(3)
    assert layer(mg.zeros(0, 3)).shape == (0, 3)
    assert layer.num_batches_tracked == 0
    assert not layer.running_mean.any()


def test_everything_ignored_is_zero_with_a_warning():
    x = mg.randn(2, 3, requires_grad=True)
    with pytest.warns(RuntimeWarning, match="no target is left"):
        loss = F.cross_entropy(x, [-100, -100])
    loss.backward()
    assert loss.item() == 0
    assert not x.grad.data.any()


def test_a_query_that_sees_nothing_gives_zeros_and_gets_no_gradient():
    q, k, v = (mg.randn(2, 3, requires_grad=True) for _ in range(3))
    mask = np.array([[False, False], [True, True]])
    y = F.scaled_dot_product_attention(q, k, v, mask)
    np.sum(np.sin(y + 1.0)).backward()
    assert not y.data[0].any()
    assert not q.grad.data[0].any()
    assert q.grad.data[1].any()
    assert np.isfinite(k.grad.data).all()


def test_what_is_masked_may_be_infinite():
    q, k = np.ones((1, 2)), np.array([[INF, 1.0], [1.0, 1.0]])
    y = F.scaled_dot_product_attention(q, k, np.eye(2), np.array([[False, True]]))
    np.testing.assert_array_equal(y, [[0, 1]])


def test_empty_means_warn():
    with pytest.warns(RuntimeWarning, match="Mean of empty slice"):
        assert np.isnan(np.mean(mg.zeros(0)).item())


def test_an_unused_parameter_has_no_gradient():
    x, unused = mg.ones(2, requires_grad=True), mg.ones(2, requires_grad=True)
    np.sum(x).backward()
    assert unused.grad is None
