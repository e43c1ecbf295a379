"""Every layer: gradients of inputs and parameters in both modes, and what it refuses."""

import sys
import warnings

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn
from minigrad.functional.validation import validate_floats
from minigrad.testing import check_layer


def A(*shape):
    return np.random.default_rng(shape).standard_normal(shape)


LAYERS = {
    nn.Linear: [(lambda: nn.Linear(3, 2), [A(4, 3)]), (lambda: nn.Linear(3, 2, bias=False), [A(2, 2, 3)])],
    nn.Embedding: [(lambda: nn.Embedding(5, 3), [np.array([[1, 1], [4, 0]])])],
    nn.MultiHeadAttention: [
        (lambda: nn.MultiHeadAttention(4, 2), [A(2, 3, 4)]),
        (lambda: nn.MultiHeadAttention(4, 1, bias=False, kdim=3, vdim=5), [A(2, 3, 4), A(2, 2, 3), A(2, 2, 5)]),
        (lambda: nn.MultiHeadAttention(4, 2, dropout=0.3), [A(2, 3, 4), A(2, 5, 4)]),
    ],
    nn.LayerNorm: [(lambda: nn.LayerNorm(4), [A(3, 4)]), (lambda: nn.LayerNorm((2, 2), bias=False), [A(3, 2, 2)])],
    nn.RMSNorm: [(lambda: nn.RMSNorm(4), [A(3, 4)])],
    nn.BatchNorm1d: [
        (lambda: nn.BatchNorm1d(3), [A(4, 3)]),
        (lambda: nn.BatchNorm1d(3, momentum=None), [A(2, 3, 2)]),
        (lambda: nn.BatchNorm1d(3, affine=False, track_running_stats=False), [A(4, 3)]),
    ],
    nn.GroupNorm: [(lambda: nn.GroupNorm(2, 4), [A(2, 4, 3)])],
    nn.InstanceNorm1d: [
        (lambda: nn.InstanceNorm1d(3), [A(2, 3, 4)]),
        (lambda: nn.InstanceNorm1d(3, affine=True), [A(2, 3, 4)]),
    ],
    nn.Dropout: [(lambda: nn.Dropout(0.4), [A(5, 4)]), (lambda: nn.Dropout(0.4, np.random.default_rng(1)), [A(5, 4)])],
    nn.ResidualAdd: [(lambda: nn.ResidualAdd(nn.Linear(3, 3)), [A(2, 3)])],
    nn.Sequential: [(lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh(), np.sin, nn.Linear(4, 2)), [A(2, 3)])],
    nn.Identity: [(nn.Identity, [A(2, 3)])],
    nn.ReLU: [(nn.ReLU, [A(2, 3)])],
    nn.GELU: [(nn.GELU, [A(2, 3)]), (lambda: nn.GELU("tanh"), [A(2, 3)])],
    nn.Tanh: [(nn.Tanh, [A(2, 3)])],
    nn.Sigmoid: [(nn.Sigmoid, [A(2, 3)])],
    nn.SiLU: [(nn.SiLU, [A(2, 3)])],
    nn.Softplus: [(nn.Softplus, [A(2, 3)])],
    nn.LeakyReLU: [(nn.LeakyReLU, [A(2, 3)])],
    nn.ELU: [(nn.ELU, [A(2, 3)])],
    nn.Softmax: [(nn.Softmax, [A(2, 3)]), (lambda: nn.Softmax(0), [A(2, 3)])],
    nn.SinusoidalPositionalEncoding: [(lambda: nn.SinusoidalPositionalEncoding(5), [A(2, 3, 5)])],
    nn.LearnedPositionalEncoding: [(lambda: nn.LearnedPositionalEncoding(4, 3), [A(2, 4, 3)])],
}
CASES = [
    pytest.param(*case, id=f"{layer.__name__}-{i}") for layer, cases in LAYERS.items() for i, case in enumerate(cases)
]


def test_no_layer_is_without_a_sample():
    layers = {v for v in vars(nn).values() if isinstance(v, type) and issubclass(v, nn.Module)}
    assert layers - {nn.Module} == set(LAYERS)


@pytest.mark.parametrize(("make", "inputs"), CASES)
def test_gradients(make, inputs):
    check_layer(make(), *inputs, order=2)


@pytest.mark.parametrize(("make", "inputs"), CASES)
def test_float32_in_float32_out(make, inputs):
    layer = make()
    inputs = [x.astype(np.float32) if x.dtype == np.float64 else x for x in inputs]
    for mode in (True, False):
        y = layer.train(mode)(*(mg.tensor(x, requires_grad=True) if x.dtype == np.float32 else x for x in inputs))
        assert y.dtype == np.float32
        np.sum(y).backward()
    assert all(p.grad.dtype == p.dtype == np.float32 and p.grad.shape == p.shape for p in layer.parameters())


@pytest.mark.parametrize(("make", "inputs"), CASES)
def test_an_empty_batch_comes_out_empty(make, inputs):
    y = make()(
        *(
            mg.tensor(x[:0].astype(np.float32) if x.dtype == np.float64 else x[:0], requires_grad=x.dtype != np.int64)
            for x in inputs
        )
    )
    assert len(y) == 0


# ---- what they do ----------------------------------------------------------------------------------------------------


def test_batch_norm_in_training_and_evaluation():
    layer, x = nn.BatchNorm1d(3), A(8, 3).astype(np.float32)
    y = layer(x)
    np.testing.assert_allclose(y.data.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(y.data.std(0), 1, rtol=1e-3)
    assert layer.num_batches_tracked == 1
    layer.eval()
    np.testing.assert_allclose(
        layer(x[:1]).data, (x[:1] - layer.running_mean) / np.sqrt(layer.running_var + 1e-5), rtol=1e-5
    )
    assert layer.num_batches_tracked == 1
    fresh = nn.BatchNorm1d(3).eval()
    np.testing.assert_allclose(fresh(x[:1]).data, x[:1], rtol=1e-4)
    with mg.no_grad():
        before = layer.train().running_mean.copy()
        layer(x)
        assert not np.array_equal(before, layer.running_mean)


def test_a_batch_whose_variance_cannot_be_held_moves_nothing():
    layer = nn.BatchNorm1d(1, affine=False)
    layer(mg.tensor(np.array([[1e200], [-1e200]])))
    assert (layer.running_mean.tolist(), layer.running_var.tolist(), layer.num_batches_tracked) == ([0], [1], 0)
    x, mean, var = np.array([[1e30], [-1e30]], np.float32), np.zeros(1, np.float32), np.ones(1, np.float32)
    mg.functional.batch_norm(x, mean, var, training=True)
    assert (mean.tolist(), var.tolist()) == ([0], [1])


def test_a_layer_holds_the_variance_of_any_float32():
    layer, x = nn.BatchNorm1d(1, momentum=1.0), np.array([[1e30], [-1e30]], np.float32)
    layer(x)
    assert layer.running_var == pytest.approx(2e60)
    np.testing.assert_allclose(layer.eval()(x).data, x / np.float32(2e60**0.5), rtol=1e-6)


def test_batch_norm_with_momentum_none_averages_over_batches():
    layer = nn.BatchNorm1d(2, momentum=None)
    batches = [A(4, 2), A(5, 2), A(6, 2)]
    for x in batches:
        layer(x.astype(np.float32))
    np.testing.assert_allclose(layer.running_mean, np.mean([x.mean(0) for x in batches], axis=0), rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_batch_norm_counts_the_batches_that_moved_its_statistics(bad):
    layer = nn.BatchNorm1d(2, momentum=None)
    batches = [A(4, 2).astype(np.float32), np.full((4, 2), bad, np.float32), np.zeros((0, 2), np.float32)]
    batches.append(A(5, 2).astype(np.float32))
    with np.errstate(invalid="ignore"):
        counts = [(layer(x), int(layer.num_batches_tracked))[1] for x in batches]
    assert counts == [1, 1, 1, 2]
    np.testing.assert_allclose(layer.running_mean, (batches[0].mean(0) + batches[3].mean(0)) / 2, rtol=1e-5)
    variances = [x.var(0, ddof=1) for x in (batches[0], batches[3])]
    np.testing.assert_allclose(layer.running_var, np.mean(variances, axis=0), rtol=1e-5)


def test_attention_weights_are_who_attends_to_whom():
    layer, x = nn.MultiHeadAttention(4, 2), mg.randn(2, 3, 4)
    mask = np.array([[True, True, False], [True, True, True], [False, False, False]])
    w = layer(x, mask=mask, need_weights=True)[1].data
    assert w.shape == (2, 2, 3, 3)
    np.testing.assert_allclose(w.sum(-1), np.broadcast_to([1, 1, 0], (2, 2, 3)), rtol=1e-6)
    assert not w[:, :, 0, 2].any()
    np.testing.assert_allclose(layer(x, need_weights=True)[1].data.sum(-1), 1, rtol=1e-6)


def test_a_masked_layer_has_the_right_gradients():
    mask = np.array([[True, False, True], [True, True, True], [False, False, False]])

    class Masked(nn.Module):
        def __init__(self):
            self.attention = nn.MultiHeadAttention(4, 2)

        def forward(self, x):
            return self.attention(x, mask=mask, need_weights=True)

    check_layer(Masked(), A(2, 3, 4))


THERE = np.array([[True, True, False], [True, True, True]])


@pytest.mark.parametrize("content", [0, 100, np.nan, np.inf])
@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("other", [False, True])
def test_what_stands_at_padding_is_of_no_influence(content, need_weights, other):
    """Neither on what comes out nor on a gradient: of no other token, and of no parameter."""
    layer, tokens, queries = nn.MultiHeadAttention(4, 2), A(2, 3, 4).astype(np.float32), A(2, 5, 4).astype(np.float32)
    results = []
    for c in (1.5, content):
        tokens[~THERE] = c
        x, q = mg.tensor(tokens, requires_grad=True), mg.tensor(queries, requires_grad=True)
        layer.zero_grad()
        y = layer(q if other else x, x, padding_mask=THERE, need_weights=need_weights)
        y, *weights = y if need_weights else [y]
        kept = y if other else y[THERE]
        np.sum(np.sin(kept)).backward()
        results.append([kept, *weights, x.grad, *([q.grad] if other else []), *(p.grad for p in layer.parameters())])
        assert not x.grad.data[~THERE].any()
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a.data, b.data)


def test_padding_hides_values_of_their_own_too():
    layer, query, key, value = nn.MultiHeadAttention(4, 2), *(A(2, 3, 4).astype(np.float32) for _ in range(3))
    y = layer(query, key, value, padding_mask=THERE).data
    value[~THERE] = np.nan
    np.testing.assert_array_equal(layer(query, key, value, padding_mask=THERE).data, y)


def test_padding_mask_mask_and_is_causal_allow_what_all_of_them_allow():
    layer, x, mask = nn.MultiHeadAttention(4, 2), mg.randn(2, 3, 4), np.array([[1, 1, 1], [0, 1, 1], [1, 1, 1]], bool)
    for masks, allowed in [
        ({"padding_mask": THERE}, THERE[:, None, None]),
        ({"padding_mask": THERE, "is_causal": True}, THERE[:, None, None] & np.tri(3, dtype=bool)),
        ({"padding_mask": THERE, "mask": mask}, THERE[:, None, None] & mask),
        ({"padding_mask": mg.Tensor(THERE), "mask": mask, "is_causal": True}, THERE[:, None, None] & mask & np.tri(3, dtype=bool)),
        ({"mask": mask[None]}, mask),
        ({"padding_mask": np.ones((2, 3), bool), "mask": mask}, mask),
    ]:  # fmt: skip
        y, weights = layer(x, **masks, need_weights=True)
        allowed = np.broadcast_to(allowed, (2, 2, 3, 3))
        assert np.array_equal(weights.data > 0, allowed)
        np.testing.assert_allclose(y.data[THERE], layer(x, mask=allowed).data[THERE], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(y.data, layer(x, **masks).data, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("heads", "shape", "mask", "words"),
    [
        (2, (3, 3), (3, 3), r"a mask of shape \(3, 3\) can be read two ways: padding_mask=mask if .*, is_causal=True or mask\[None, None\]"),
        (3, (3, 5), (3, 5, 5), r"a mask of shape \(3, 5, 5\) can be read two ways: mask\[:, None\] for \(B, Tq, Tk\), mask\[None\] for \(num_heads"),
        (3, (3, 5), (3, 1, 5), r"a mask of shape \(3, 1, 5\) can be read two ways"),
        (2, (3, 5), (3, 5), r"a mask of shape \(3, 5\) does not broadcast to the scores' shape \(3, 2, 5, 5\): padding_mask=mask if True is a real token"),
        (2, (3, 5), (3, 5, 5), r"a mask of shape \(3, 5, 5\) does not broadcast to the scores' shape \(3, 2, 5, 5\): mask\[:, None\] for"),
        (2, (3, 5), (5, 5, 5), r"a mask of shape \(5, 5, 5\) does not broadcast"),
    ],
)  # fmt: skip
def test_a_mask_that_may_mean_the_batch_is_refused(heads, shape, mask, words):
    layer, x = nn.MultiHeadAttention(6, heads), mg.randn(*shape, 6)
    with pytest.raises(ValueError, match=words):
        layer(x, mask=np.ones(mask, bool))


@pytest.mark.parametrize(
    ("heads", "shape", "mask"),
    [
        (2, (3, 3), (1, 1, 3, 3)),
        (2, (3, 3), (1, 3)),
        (2, (3, 3), (3, 1)),
        (2, (3, 3), (3,)),
        (2, (3, 5), (5, 5)),
        (2, (1, 1), (1, 1)),
        (2, (1, 5), (1, 5)),
        (2, (3, 5), (2, 5, 5)),  # per head
        (3, (3, 5), (1, 3, 5, 5)),
        (3, (3, 5), (3, 1, 5, 5)),
        (1, (1, 5), (1, 5, 5)),
    ],
)
def test_a_mask_that_can_be_read_in_one_way_is_read_as_numpy_reads_it(heads, shape, mask):
    layer, x = nn.MultiHeadAttention(6, heads), mg.randn(*shape, 6)
    mask = np.random.default_rng(0).random(mask) < 0.6
    weights = layer(x, mask=mask, need_weights=True)[1].data
    assert np.array_equal(weights > 0, np.broadcast_to(mask, weights.shape))


def test_initial_values_come_from_the_generator_that_is_passed():
    a, b = (nn.Linear(3, 2, rng=np.random.default_rng(7)) for _ in range(2))
    np.testing.assert_array_equal(a.weight.data, b.weight.data)
    bound = 1 / np.sqrt(200)
    w = nn.Linear(200, 100).weight.data
    assert abs(w).max() <= bound
    assert abs(w.std() - bound / np.sqrt(3)) < 0.02 * bound


def test_sinusoidal_positions():
    y = nn.SinusoidalPositionalEncoding(4)(np.zeros((3, 4)))
    for t in range(3):
        np.testing.assert_allclose(y[t], [np.sin(t), np.cos(t), np.sin(t / 100), np.cos(t / 100)])


def test_initial_values_have_the_spread_that_they_promise():
    w = nn.Parameter(np.empty((300, 200)))
    for fill, std in [
        (nn.init.xavier_uniform_, (2 / 500) ** 0.5),
        (nn.init.xavier_normal_, (2 / 500) ** 0.5),
        (nn.init.kaiming_uniform_, (2 / 200) ** 0.5),
        (nn.init.kaiming_normal_, (2 / 200) ** 0.5),
        (nn.init.normal_, 1.0),
        (nn.init.uniform_, (1 / 12) ** 0.5),
    ]:
        assert fill(w) is w
        assert w.data.std() == pytest.approx(std, rel=0.02)
    assert nn.init.constant_(w, 2.0).data.min() == 2


# ---- what they refuse ------------------------------------------------------------------------------------------------

X = np.ones((2, 3), np.float32)


def with_bias(attention, bias):
    attention.in_proj_bias = bias
    return attention


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: nn.Linear(0, 2), ValueError, "Linear: in_features must be at least 1, not 0"),
        (lambda: nn.Linear(2.0, 2), TypeError, "Linear: in_features must be a whole number, not 2.0"),
        (lambda: nn.Linear(4, 2)(X), ValueError, r"expected x of shape \(\.\.\., 4\), got \(2, 3\)"),
        (
            lambda: nn.Linear(3, 2)(X.astype(np.float64)),
            TypeError,
            r"linear: x is float64, weight is float32, bias is float32, they must be of one dtype: use x.astype\(np.float32\)",
        ),
        (lambda: nn.Linear(3, 2)(X.astype(int)), TypeError, "x must be floating-point, not int64"),
        (lambda: nn.Linear(3, 2)([1.0, 2.0, 3.0]), TypeError, "x must be a Tensor or an ndarray, not list"),
        (lambda: nn.Embedding(3, 2)([[0, 3]]), IndexError, r"embedding: ids\[0, 1\] is 3, but there are only 0 to 2"),
        (lambda: nn.Embedding(3, 2)([-1]), IndexError, r"ids\[0\] is -1"),
        (lambda: nn.Embedding(3, 2)([0.5]), TypeError, "ids must be integers, not float64"),
        (lambda: nn.Embedding(3, 2, padding_idx=3), ValueError, "padding_idx=3 is no id"),
        (lambda: nn.MultiHeadAttention(5, 2), ValueError, "embed_dim=5 cannot be cut into num_heads=2 equal parts"),
        (
            lambda: nn.MultiHeadAttention(4, 2, dropout=2),
            ValueError,
            "MultiHeadAttention: dropout: a probability lies between 0 and 1, not 2",
        ),
        (lambda: nn.BatchNorm1d(3, affine="no"), TypeError, "BatchNorm1d: affine must be True or False, not 'no'"),
        (lambda: nn.Sequential(nn.ReLU(), 3), TypeError, r"Sequential: layers\[1\] must be a function, not 3"),
        (
            lambda: nn.Linear(3, 2).requires_grad_("no"),
            TypeError,
            "requires_grad_: requires_grad must be True or False, not .no.",
        ),
        (lambda: nn.init.uniform_(mg.zeros(2), "low"), TypeError, "uniform_: a must be a finite number, not 'low'"),
        (lambda: nn.init.uniform_(mg.zeros(2, dtype=int)), TypeError, "uniform_"),
        (lambda: nn.MultiHeadAttention(4, 2)(X), ValueError, r"query must be \(batch, tokens, 4\), got \(2, 3\)"),
        (lambda: nn.MultiHeadAttention(4, 2)(A(2, 3, 4), A(1, 3, 4)), ValueError, "must agree in the batch"),
        (
            lambda: nn.MultiHeadAttention(4, 2)(A(2, 3, 4), A(2, 5, 4), A(2, 5, 3)),
            ValueError,
            r"MultiHeadAttention: value must be \(batch, tokens, 4\), got \(2, 5, 3\)",
        ),
        (
            lambda: nn.MultiHeadAttention(4, 2)(mg.randn(2, 3, 4), mask=np.ones((3, 3))),
            TypeError,
            "a mask must be boolean, True where attention is allowed, not float64",
        ),
        (
            lambda: nn.MultiHeadAttention(4, 2)(mg.randn(2, 3, 4), mask=np.ones((2, 3), bool)),
            ValueError,
            r"a mask of shape \(2, 3\) does not broadcast to the scores' shape \(2, 2, 3, 3\)",
        ),
        (
            lambda: nn.MultiHeadAttention(4, 2)(mg.randn(2, 3, 4), padding_mask=np.ones((2, 3))),
            TypeError,
            "MultiHeadAttention: padding_mask must be boolean, True for a real token, not float64",
        ),
        (
            lambda: nn.MultiHeadAttention(4, 2)(mg.randn(2, 3, 4), padding_mask=np.ones((3, 2), bool)),
            ValueError,
            r"padding_mask has shape \(3, 2\), it must be \(2, 3\): the batch and the tokens",
        ),
        (
            lambda: nn.MultiHeadAttention(4, 2)(A(2, 3, 4)),
            TypeError,
            r"linear: x is float64, weight is float32, bias is float32, they must be of one dtype: use x.astype\(np.float32\)",
        ),
        (
            lambda: nn.MultiHeadAttention(4, 2)(mg.randn(2, 3, 4), mg.randn(2, 3, 4), A(2, 3, 4)),
            TypeError,
            "linear: x is float64, weight is float32",
        ),
        (
            lambda: with_bias(nn.MultiHeadAttention(4, 2), mg.ones(1))(mg.randn(2, 3, 4)),
            ValueError,
            r"linear: expected bias of shape \(12,\), got \(1,\)",
        ),
        (lambda: nn.MultiHeadAttention(4, 2)([1.0]), TypeError, "query must be a Tensor or an ndarray, not list"),
        (lambda: nn.LearnedPositionalEncoding(1, 3)(X), ValueError, "2 tokens are more than max_tokens=1"),
        (
            lambda: nn.SinusoidalPositionalEncoding(4)(X),
            ValueError,
            r"expected x of shape \(\.\.\., tokens, 4\), got \(2, 3\)",
        ),
        (lambda: nn.init.kaiming_normal_(nn.Parameter(np.ones(3))), ValueError, "a weight of two axes or more"),
        (lambda: nn.LayerNorm(4)(X), ValueError, r"expected x of shape \(\.\.\., 4\), got \(2, 3\)"),
        (lambda: nn.LayerNorm(()), ValueError, r"LayerNorm: normalized_shape must have an axis, not \(\)"),
        (lambda: nn.RMSNorm(()), ValueError, r"RMSNorm: normalized_shape must have an axis, not \(\)"),
        (lambda: nn.LayerNorm((3, 0)), ValueError, r"normalized_shape\[1\] must be at least 1, not 0"),
        (lambda: nn.RMSNorm((3, 0)), ValueError, r"RMSNorm: normalized_shape\[1\] must be at least 1, not 0"),
        (lambda: nn.LayerNorm(3, eps=0), ValueError, "eps must be a positive number, not 0"),
        (lambda: nn.BatchNorm1d(3, eps=0), ValueError, "BatchNorm1d: eps must be a positive number, not 0"),
        (lambda: nn.BatchNorm1d(3)(X[:1]), ValueError, r"one value per channel.*drop_last=True.*eval\(\).*LayerNorm"),
        (lambda: nn.BatchNorm1d(4)(X), ValueError, r"expected C=4 at axis 1 of \(N, C\) or \(N, C, L\), got \(2, 3\)"),
        (lambda: nn.BatchNorm1d(3)(X[0]), ValueError, r"got \(3,\)"),
        (lambda: nn.BatchNorm1d(3, momentum=2), ValueError, "lies between 0 and 1, not 2"),
        (lambda: nn.GroupNorm(2, 3), ValueError, "num_channels=3 cannot be cut into num_groups=2"),
        (lambda: nn.GroupNorm(3, 3)(X), ValueError, "one value per group"),
        (lambda: nn.InstanceNorm1d(3)(X), ValueError, r"expected x of shape \(N, 3, L\), got \(2, 3\)"),
        (lambda: nn.InstanceNorm1d(3)(X[..., None]), ValueError, "has no variance"),
        (lambda: nn.Dropout(1.5), ValueError, "a probability lies between 0 and 1, not 1.5"),
        (lambda: nn.GELU("erf"), ValueError, "approximate must be 'none' or 'tanh', not 'erf'"),
        (
            lambda: nn.ResidualAdd(nn.Linear(3, 1))(X),
            ValueError,
            r"made \(2, 1\) of \(2, 3\).*W\^O",
        ),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_a_layer_norm_over_one_feature_warns():
    with pytest.warns(RuntimeWarning, match="gives its bias, whatever the input"):
        nn.LayerNorm(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nn.LayerNorm(2)


def test_what_is_no_array_or_no_float_is_refused_also_where_nothing_would_be_computed():
    with pytest.raises(ValueError, match=r"the sublayer made \(\) of \(3,\)"):
        nn.ResidualAdd(lambda x: 2.0)(mg.ones(3))
    with pytest.raises(TypeError, match="dropout: x must be floating-point, not int64"):
        nn.Dropout(0.5).eval()(mg.arange(3))


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(3, 2), (2, 3)),
        (nn.LayerNorm(3), (2, 3)),
        (nn.RMSNorm(3), (2, 3)),
        (nn.BatchNorm1d(3), (2, 3)),
        (nn.BatchNorm1d(3).eval(), (2, 3)),
        (nn.GroupNorm(1, 3), (2, 3)),
        (nn.InstanceNorm1d(3), (2, 3, 4)),
        (nn.SiLU(), (2, 3)),
        (nn.Softmax(), (2, 3)),
        (nn.Dropout(), (2, 3)),
        (nn.LearnedPositionalEncoding(5, 3), (2, 3)),
        (nn.MultiHeadAttention(3, 1), (2, 4, 3)),
        (nn.MultiHeadAttention(3, 1, kdim=4), (2, 4, 3)),
    ],
)
def test_what_the_input_must_be_is_asked_once(layer, shape):
    x, asked = mg.Tensor(A(*shape).astype(np.float32)), []

    def count(frame, event, _):
        if event == "call" and frame.f_code is validate_floats.__code__:
            asked.extend(what for what, given in frame.f_locals["inputs"].items() if given is x)

    other = (mg.zeros(2, 4, 4), mg.zeros(2, 4, 3)) if getattr(layer, "kdim", 3) == 4 else ()
    sys.setprofile(count)
    try:
        layer(x, *other)
    finally:
        sys.setprofile(None)
    assert len(asked) == 1, asked


def test_attention_may_tie_the_projections_of_its_query_and_key():
    layer, x, value = nn.MultiHeadAttention(4, 2, vdim=3), A(2, 5, 4).astype(np.float32), A(2, 5, 3).astype(np.float32)
    layer.k_proj_weight.data[...] = layer.q_proj_weight.data
    expected = layer(x, x, value).data
    layer.k_proj_weight = layer.q_proj_weight
    np.testing.assert_array_equal(layer(x, x, value).data, expected)
