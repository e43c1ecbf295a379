"""Every definition: its gradients to the second order, and its kernel against it in value, gradient, second derivative."""

import ast
import inspect
import sys

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F
from minigrad.functional import validation
from minigrad.functional.definition import DEFINITIONS, Definition
from minigrad.tensor import Tensor
from minigrad.testing import check_gradients


def A(*shape, low=-2.0, high=2.0, seed=0):
    if not shape:
        return np.array(0.7)
    rng = np.random.default_rng([seed, *shape])
    return rng.permutation(np.linspace(low, high, int(np.prod(shape)) + 2)[1:-1]).reshape(shape)


MASK = np.array([[True, False, True], [True, True, False], [False, False, False]])
TARGET = np.array([[1, 0, 3], [2, -100, 1]])
WEIGHT = {"weight": A(3, seed=1), "bias": A(3, seed=2)}

# for each definition: its arguments; those that are floating-point arrays are differentiated
SAMPLES = {
    F.relu: [{"x": A(2, 3)}, {"x": A()}, {"x": A(0, 3)}],
    F.leaky_relu: [{"x": A(2, 3)}, {"x": A(4), "negative_slope": 0.3}],
    F.elu: [{"x": A(2, 3)}, {"x": A(4), "alpha": 0.3}],
    F.gelu: [{"x": A(2, 3)}, {"x": A(2, 3), "approximate": "tanh"}, {"x": A()}],
    F.sigmoid: [{"x": A(2, 3)}],
    F.silu: [{"x": A(2, 3)}],
    F.softplus: [{"x": A(2, 3)}],
    F.softmax: [{"x": A(2, 3)}, {"x": A(2, 3), "axis": 0}, {"x": A(2, 3), "axis": None}, {"x": A(2, 0)}, {"x": A(0, 2)}],
    F.log_softmax: [
        {"x": A(2, 3)},
        {"x": A(2, 3, 2), "axis": 1},
        {"x": A(2, 3, 2), "axis": -3},
        {"x": A(2, 3), "axis": None},
        {"x": A(2, 0)},
        {"x": A(0, 2), "axis": 0},
        {"x": np.array([[1.0, 1.0, 0.0], [-30.0, 30.0, 0.0]])},
    ],
    F.masked_softmax: [{"x": A(2, 3, 3), "mask": MASK}, {"x": A(3, 3), "mask": MASK, "axis": 0}],
    F.layer_norm: [
        {"x": A(2, 3), "normalized_shape": 3, **WEIGHT},
        {"x": A(2, 3), "normalized_shape": (3,), "weight": WEIGHT["weight"]},
        {"x": A(4, 2, 3), "normalized_shape": (2, 3), "weight": A(2, 3), "bias": A(2, 3, seed=4)},
        {"x": A(2, 3), "normalized_shape": 3, "eps": 0.1},
        {"x": A(0, 3), "normalized_shape": 3, **WEIGHT},
    ],
    F.rms_norm: [{"x": A(2, 3), "normalized_shape": 3, "weight": A(3)}, {"x": A(2, 2, 3), "normalized_shape": (2, 3)}],
    F.batch_standardise: [
        {"x": A(4, 3), **WEIGHT, "eps": 1e-5},
        {"x": A(2, 3, 2), **WEIGHT, "eps": 0.1},
        {"x": A(4, 3), "weight": None, "bias": None, "eps": 1e-5},
        {"x": A(0, 3), **WEIGHT, "eps": 1e-5},
    ],
    F.group_norm: [{"x": A(2, 4, 3), "num_groups": 2, "weight": A(4), "bias": A(4, seed=1)}, {"x": A(2, 4), "num_groups": 1}],
    F.instance_norm: [{"x": A(2, 3, 4), **WEIGHT}, {"x": A(2, 1, 3)}],
    F.linear: [
        {"x": A(2, 3), "weight": A(4, 3), "bias": A(4)},
        {"x": A(2, 2, 3), "weight": A(1, 3)},
        {"x": A(3), "weight": A(2, 3), "bias": A(2)},
        {"x": A(0, 3), "weight": A(2, 3), "bias": A(2)},
    ],
    F.embedding: [
        {"ids": [[1, 1, 2], [0, 1, 4]], "weight": A(5, 2)},
        {"ids": np.array([3, 0, 3], np.uint8), "weight": A(4, 2), "padding_idx": 0},
        {"ids": 2, "weight": A(4, 2)},
        {"ids": [], "weight": A(4, 2)},
    ],
    F.attention: [
        {"q": A(2, 3, 2), "k": A(2, 3, 2), "v": A(2, 3, 4), "mask": None, "dropout_mask": None, "scale": 0.7},
        {"q": A(2, 3, 2), "k": A(3, 2), "v": A(2, 3, 4), "mask": MASK, "dropout_mask": None, "scale": 0.7},
        {"q": A(3, 2), "k": A(3, 2), "v": A(3, 4), "mask": MASK, "dropout_mask": (A(3, 3) > -1) * 1.5, "scale": 0.7},
        {"q": A(3, 2) * 60, "k": A(3, 2), "v": A(3, 4), "mask": MASK, "dropout_mask": None, "scale": 1.0},
        {"q": A(3, 2) * 60, "k": A(3, 2), "v": A(3, 4), "mask": None, "dropout_mask": None, "scale": 1.0},
    ],
    F.self_attention: [
        {"qkv": A(2, 3, 12), "num_heads": 2, "mask": None, "dropout_mask": None, "scale": 0.7},
        {"qkv": A(1, 3, 6), "num_heads": 1, "mask": MASK, "dropout_mask": (A(3, 3) > -1) * 1.5, "scale": 0.7},
    ],
    F.cross_entropy: [
        {"input": A(2, 3, 4), "target": TARGET},
        {"input": A(2, 4), "target": [1, 3], "label_smoothing": 0.2},
        {"input": A(2, 3, 4), "target": TARGET, "reduction": "none", "label_smoothing": 0.1},
        {"input": A(2, 4), "target": np.array([1, 3], np.int8), "reduction": "sum", "ignore_index": 3},
        {"input": A(4), "target": 2},
    ],
    F.nll_loss: [{"input": A(2, 3, 4) - 2, "target": TARGET}, {"input": A(2, 4) - 2, "target": [1, 3], "reduction": "none"}],
    F.mse_loss: [{"input": A(2, 3), "target": A(2, 3, seed=1)}, {"input": A(3), "target": A(3, seed=1), "reduction": "none"}],
    F.l1_loss: [{"input": A(2, 3), "target": A(2, 3, seed=1) + 0.1}],
    F.huber_loss: [{"input": A(2, 3), "target": A(2, 3, seed=1)}, {"input": A(9), "target": A(9, seed=1), "delta": 0.45, "reduction": "sum"}],
    F.binary_cross_entropy_with_logits: [
        {"input": A(2, 3), "target": A(2, 3, low=0.0, high=1.0)},
        {"input": np.array([0.0, 0.0, 12.0]), "target": np.array([0.0, 1.0, 1.0]), "reduction": "sum"},
    ],
}  # fmt: skip
SETTINGS = {"mask", "dropout_mask", "target", "ids"}
CASES = [pytest.param(f, case, id=f"{f.__name__}-{i}") for f, cases in SAMPLES.items() for i, case in enumerate(cases)]
KERNELS = [case for case in CASES if case.values[0].kernel is not None]


def by_inputs(f, case):
    """f as a function of its differentiable inputs, and these."""
    names = [n for n, v in case.items() if isinstance(v, np.ndarray) and v.dtype.kind == "f" and n not in SETTINGS]
    rest = {n: v for n, v in case.items() if n not in names}
    return lambda *xs: f(**rest, **dict(zip(names, xs, strict=True))), [case[n] for n in names]


def test_no_definition_is_without_a_sample():
    assert [f.__name__ for f in DEFINITIONS if f.__module__.startswith("minigrad") and f not in SAMPLES] == []


def test_a_definition_looks_like_the_function_that_it_is():
    assert repr(F.softmax) == "<function softmax>"
    assert F.softmax.__doc__.startswith("exp xᵢ")


@pytest.mark.parametrize("f", SAMPLES, ids=lambda f: f.__name__)
def test_a_kernel_stands_directly_below_its_definition_and_a_validator_has_its_name(f):
    if f.kernel is not None:
        body = ast.parse(inspect.getsource(sys.modules[f.__module__])).body
        (at,) = [i for i, node in enumerate(body) if getattr(node, "name", "") == f.__name__]
        assert body[at + 1].name == f.kernel.function.__name__ == f"{f.__name__}_kernel"
    if f.validator is not None:
        assert (f.validator.__module__, f.validator.__name__) == (validation.__name__, f"validate_{f.__name__}")


@pytest.mark.parametrize(("f", "case"), CASES)
def test_gradients(f, case):
    if "padding_idx" in case:
        pytest.skip("its gradient is 0 by decree: see test_the_padding_row_gets_no_gradient")
    call, inputs = by_inputs(f, case)
    check_gradients(call, *inputs, flat=any(x.size == 0 for x in inputs) or np.size(case.get("ids", 1)) == 0)


@pytest.mark.parametrize(("f", "case"), CASES)
def test_arrays_in_arrays_out_and_tensors_in_tensors_out(f, case):
    call, inputs = by_inputs(f, case)
    before = [x.copy() for x in inputs]
    y, z = call(*inputs), call(*map(mg.Tensor, inputs))
    assert isinstance(z, Tensor)
    assert not isinstance(y, Tensor)
    np.testing.assert_array_equal(z.data, y)
    for x, kept in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(x, kept)


@pytest.mark.parametrize(("f", "case"), KERNELS)
def test_a_kernel_s_value_is_an_array_of_its_own(f, case):
    call, inputs = by_inputs(f, case)
    y = call(*map(mg.Tensor, inputs)).data
    assert not any(np.shares_memory(y, x) for x in inputs)


@pytest.mark.parametrize(("f", "case"), CASES)
def test_no_gradient_shares_memory_with_another_or_with_what_it_came_from(f, case):
    call, inputs = by_inputs(f, case)
    leaves = [mg.Tensor(x, requires_grad=True) for x in inputs]
    y = call(*leaves)
    seed = np.ones(y.shape)
    for create_graph in (False, True):
        found = mg.autograd.grad(y, leaves, seed, retain_graph=True, create_graph=create_graph)
        gradients = [g.data for g in found]
        for i, g in enumerate(gradients):
            assert g.flags.writeable
            assert not any(np.shares_memory(g, other) for other in (*gradients[:i], seed, y.data, *inputs))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("f", "case"), KERNELS)
def test_kernels_are_held_to_their_definitions(f, case, dtype):
    if case.get("dropout_mask") is not None:
        case = {**case, "dropout_mask": case["dropout_mask"].astype(dtype)}
    kernel, inputs = by_inputs(f, case)
    definition, _ = by_inputs(Definition(f.reference), case)
    DEFINITIONS.pop()
    tolerance = {"rtol": 1e-10, "atol": 1e-12} if dtype == np.float64 else {"rtol": 2e-4, "atol": 2e-5}
    results = []
    for g in (kernel, definition):
        xs = [mg.tensor(x.astype(dtype), requires_grad=True) for x in inputs]
        y = g(*xs)
        w = np.random.default_rng(1).uniform(0.5, 1.5, y.shape).astype(dtype)
        first = mg.autograd.grad(np.sum(y * w), xs, create_graph=True, allow_unused=True)
        once = mg.autograd.grad(np.sum(g(*xs) * w), xs, allow_unused=True)
        found = [y, *once, *first]
        total = sum(
            (np.sum(np.sin(x) * h) for x, h in zip(xs, first, strict=True)), start=mg.Tensor(np.zeros((), dtype))
        )
        found += mg.autograd.grad(total, xs, allow_unused=True)
        results.append(found)
    for a, b in zip(*results, strict=True):
        assert a.dtype == b.dtype == dtype
        np.testing.assert_allclose(a.data, b.data, **tolerance)


# ---- values ----------------------------------------------------------------------------------------------------------


def test_softmax_and_its_relatives_add_up():
    x = A(3, 4)
    np.testing.assert_allclose(F.softmax(x).sum(-1), 1)
    np.testing.assert_allclose(np.exp(F.log_softmax(x, 0)).sum(0), 1)
    np.testing.assert_allclose(F.sigmoid(x), 1 / (1 + np.exp(-x)))
    assert F.softmax(np.asarray(3.0)) == 1


def test_the_padding_row_gets_no_gradient():
    weight = mg.tensor(A(4, 2), requires_grad=True)
    np.sum(F.embedding([3, 0, 3], weight, padding_idx=0)).backward()
    assert weight.grad.tolist() == [[0, 0], [0, 0], [0, 0], [2, 2]]


def test_dropout_keeps_the_mean_and_is_silent_in_evaluation():
    x = np.ones(100_000)
    y = F.dropout(x, 0.25)
    assert abs(y.mean() - 1) < 0.02
    assert set(np.unique(y)) == {0.0, 1 / 0.75}
    assert F.dropout(x, 0.25, training=False) is x
    assert not F.dropout(x, 1.0).any()
    a, b = (F.dropout(x, 0.5, rng=np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(a, b)


def test_one_hot():
    assert F.one_hot([[0, 2]], 3).tolist() == [[[1, 0, 0], [0, 0, 1]]]


def test_batch_norm_moves_the_running_statistics():
    x = A(5, 3)
    mean, var = np.full(3, 3.0), np.full(3, 2.0)
    F.batch_norm(x, mean, var, training=True, momentum=0.1)
    np.testing.assert_allclose(mean, 2.7 + 0.1 * x.mean(0))
    np.testing.assert_allclose(var, 1.8 + 0.1 * x.var(0, ddof=1))
    kept = mean.copy(), var.copy()
    y = F.batch_norm(x, mean, var)
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-5))
    np.testing.assert_array_equal(mean, kept[0])
    np.testing.assert_array_equal(var, kept[1])
    np.testing.assert_allclose(F.batch_norm(x), F.batch_norm(x, training=True))


@pytest.mark.parametrize("what", ["running_mean", "running_var"])
def test_running_statistics_are_written_into_so_they_are_arrays(what):
    statistics = {"running_mean": np.zeros(3), "running_var": np.ones(3)}
    for wrong, shown in (([0.0] * 3, r"\[0.0, "), (mg.zeros(3), "Tensor|tensor"), (np.zeros(3, int), "int|array")):
        with pytest.raises(TypeError, match=f"batch_norm: {what} must be a floating-point ndarray, not .*({shown})"):
            F.batch_norm(A(5, 3), **statistics | {what: wrong}, training=True)


def test_batch_norm_in_evaluation_has_the_right_gradients():
    mean, var = A(3), A(3) ** 2 + 0.1
    check_gradients(lambda x, w, b: F.batch_norm(x, mean, var, w, b), A(2, 3, 2), A(3), A(3))


def test_causal_attention_sees_no_later_keys():
    q, k, v = A(2, 4, 3), A(2, 4, 3, seed=1), A(2, 4, 3, seed=2)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    np.testing.assert_allclose(y[:, 0], v[:, 0])
    k[:, 3], v[:, 3] = 9, 9
    np.testing.assert_allclose(F.scaled_dot_product_attention(q, k, v, is_causal=True)[:, :3], y[:, :3])
    masked = F.scaled_dot_product_attention(q, k, v, np.array([False, True, True, True]), is_causal=True)
    np.testing.assert_array_equal(masked[:, 0], 0)


def test_attention_with_dropout_is_right_on_average(rng):
    q, k, v = A(2, 3), A(4, 3), A(4, 3)
    mean = np.mean([F.scaled_dot_product_attention(q, k, v, dropout_p=0.5, rng=rng) for _ in range(4000)], axis=0)
    np.testing.assert_allclose(mean, F.scaled_dot_product_attention(q, k, v), atol=0.1)


def test_batch_norm_keeps_nan_out_of_its_running_statistics():
    for bad in (np.nan, np.inf):
        mean, var, x = np.ones(3), np.ones(3), A(5, 3)
        x[2, 1] = bad
        with np.errstate(invalid="ignore"):
            y = F.batch_norm(x, mean, var, training=True)
        assert np.isnan(y[:, 1]).all()
        np.testing.assert_array_equal([mean, var], 1)


# ---- safe_where ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("function", [np.sqrt, np.log, np.reciprocal, lambda x: x**-0.5])
def test_safe_where_has_the_gradient_of_the_branch_taken(function):
    x = A(3, 4)
    x[0], x[1, 1] = 0, np.nan
    leaf = mg.tensor(x, requires_grad=True)
    y = mg.safe_where(x > 0, function, leaf, 7.0)
    np.testing.assert_array_equal(y.data, np.where(x > 0, function(np.where(x > 0, x, 1.0)), 7.0))
    np.sum(y).backward()
    alone = mg.tensor(x[x > 0], requires_grad=True)
    np.sum(function(alone)).backward()
    np.testing.assert_array_equal(leaf.grad.data[x > 0], alone.grad.data)
    np.testing.assert_array_equal(leaf.grad.data[~(x > 0)], 0)


def test_safe_where_where_nothing_holds_and_where_shapes_broadcast():
    x = mg.tensor(np.array([0.0, -1.0]), requires_grad=True)
    y = mg.safe_where(x > 0, np.log, x, 3.0)
    assert y.tolist() == [3, 3]
    np.sum(y).backward()
    assert x.grad.tolist() == [0, 0]
    assert mg.safe_where(np.array([[True], [False]]), np.exp, x, 0.0).shape == (2, 2)
    assert F.safe_where(np.zeros(0, bool), np.log, np.zeros(0)).shape == (0,)


def test_safe_where_in_second_order():
    check_gradients(lambda x: mg.safe_where(np.array([True, False, True]), np.sqrt, x, 0.0), np.array([1.0, -2.0, 3.0]))


def test_what_safe_where_refuses():
    with pytest.raises(TypeError, match="safe_where: condition must be a boolean array, not ndarray of shape"):
        mg.safe_where(np.ones(2), np.sqrt, np.ones(2))
    with pytest.raises(ValueError, match=r"condition \(3,\) does not broadcast with x \(2,\)"):
        mg.safe_where(np.ones(3, bool), np.sqrt, np.ones(2))
    with pytest.raises(ValueError, match=r"safe_where: function made \(\) of \(2,\), it must keep the shape"):
        mg.safe_where(np.ones(2, bool), np.sum, np.ones(2))


def test_the_softmax_of_a_graph_that_is_gone_is_warned_of_no_more():
    x = mg.ones(2, 3, requires_grad=True)
    p = F.softmax(x)
    np.sum(p * p).backward()
    assert F.cross_entropy(p, [0, 1]).item() == pytest.approx(np.log(3))


# ---- losses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.float32])
def test_binary_targets_of_any_dtype_leave_the_loss_that_of_the_logits(dtype):
    x, t = mg.tensor([[3.0, -2.0, 0.0]], requires_grad=True), np.array([[1, 0, 1]], dtype)
    for target in (t, mg.Tensor(t)):
        loss = F.binary_cross_entropy_with_logits(x, target, reduction="none")
        assert loss.dtype == np.float32
        np.testing.assert_allclose(loss.data, np.log1p(np.exp([[-3.0, -2.0, 0.0]])), rtol=1e-6)


def test_binary_targets_are_learned_too():
    x, t = A(5), A(5, low=0.1, high=0.9)
    target = mg.tensor(t, requires_grad=True)
    F.binary_cross_entropy_with_logits(x, target, reduction="sum").backward()
    np.testing.assert_array_equal(target.grad.data, -x)


def test_targets_that_rounding_took_out_of_bounds_are_none_of_the_refused():
    one = np.array([1.0000001, 1.0], np.float32)
    assert F.binary_cross_entropy_with_logits(np.zeros(2, np.float32), one) == pytest.approx(np.log(2))
    assert F.nll_loss(np.array([[1e-6, -3.0]], np.float32), [0]) == pytest.approx(-1e-6)
    assert np.isnan(F.nll_loss(np.array([[np.nan, -3.0]], np.float32), [0]))


def test_what_an_ignored_row_holds_is_no_log_probability():
    for ignored in ([5.0, 1.0], [5.0, np.nan]):
        assert F.nll_loss(np.array([ignored, [-1.0, -2.0]]), [-100, 1]) == 2
        with pytest.raises(ValueError, match="nll_loss: input must be log-probabilities, never above 0, not 0.5"):
            F.nll_loss(np.array([ignored, [0.5, -2.0]]), [-100, 1])
