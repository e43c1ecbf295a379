"""What a user will try, for functions: the right error, with the shapes and the cure. Layers: see nn/test_layers.py."""

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F

X = mg.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)
ROW = X.data[0]
INTS = mg.tensor([[1, 2], [3, 4]])


class Tensor:
    """Another library's."""


FUNCTIONAL = [
    (lambda: F.relu([1.0]), TypeError, "relu: x must be a Tensor or an ndarray, not list"),
    (lambda: F.relu(Tensor()), TypeError, "relu: x must be a Tensor or an ndarray, not tests.Tensor"),
    (lambda: F.sigmoid(INTS), TypeError, r"sigmoid: x must be floating-point, not int64: use .astype\(np.float32\)"),
    (lambda: F.softmax(INTS), TypeError, "softmax: x must be floating-point"),
    (lambda: F.softmax(X, axis=2), ValueError, "axis 2 is out of bounds"),
    (lambda: F.softmax(X, dim=1), TypeError, "unexpected keyword argument 'dim'"),
    (lambda: F.softmax(), TypeError, "missing a required argument: 'x'"),
    (lambda: F.softmax(X, -1, 3), TypeError, "too many positional arguments"),
    (lambda: F.softmax(X, x=X), TypeError, "multiple values for argument 'x'"),
    (lambda: F.gelu(X, "erf"), ValueError, "approximate must be 'none' or 'tanh', not 'erf'"),
    (lambda: F.masked_softmax(X, np.ones((2, 3))), TypeError, "a mask must be boolean"),
    (lambda: F.masked_softmax(X, np.ones(2, bool)), ValueError, r"a mask of shape \(2,\) does not broadcast to the scores'"),
    (lambda: F.masked_softmax(X, True), TypeError, "a mask must be boolean.*not bool"),
    (lambda: F.layer_norm(X, 4), ValueError, r"expected x of shape \(\.\.\., 4\), got \(2, 3\)"),
    (lambda: F.layer_norm(X, (2, 3, 1)), ValueError, r"expected x of shape \(\.\.\., 2, 3, 1\)"),
    (lambda: F.layer_norm(X, 3, mg.ones(2)), ValueError, r"expected weight of shape \(3,\), got \(2,\)"),
    (lambda: F.layer_norm(X, 3, eps=-1.0), ValueError, "eps must be a positive number, not -1.0"),
    (lambda: F.rms_norm(X, 2), ValueError, "rms_norm: expected x of shape"),
    (lambda: F.batch_norm(X, training=True, weight=mg.ones(2)), ValueError, r"weight has shape \(2,\), but x \(2, 3\) has C=3 at axis 1"),
    (lambda: F.batch_norm(ROW), ValueError, r"x must be \(N, C\) or \(N, C, L\), got \(3,\)"),
    (lambda: F.batch_norm(X[:1], training=True), ValueError, "one value per channel"),
    (lambda: F.group_norm(X, 2), ValueError, "has no axis 1 that num_groups=2 divides"),
    (lambda: F.group_norm(X, 3), ValueError, "one value per group"),
    (lambda: F.instance_norm(X), ValueError, r"x must be \(N, C, L\)"),
    (lambda: F.linear(X, mg.ones(2, 4)), ValueError, r"linear: expected x of shape \(\.\.\., 4\), got \(2, 3\)"),
    (lambda: F.linear(X, mg.ones(2, 3), mg.ones(3)), ValueError, r"expected bias of shape \(2,\), got \(3,\)"),
    (lambda: F.linear(X, mg.ones(3)), ValueError, r"weight must be \(out_features, in_features\), got \(3,\)"),
    (lambda: F.linear(X, np.ones((2, 3))), TypeError, "x is float32, weight is float64, they must be of one dtype: use"),
    (lambda: F.embedding([5], X), IndexError, r"ids\[0\] is 5, but there are only 0 to 1"),
    (lambda: F.embedding([True], X), TypeError, "ids must be integers, not bool"),
    (lambda: F.embedding([0], X, padding_idx=2), IndexError, "padding_idx is 2"),
    (lambda: F.one_hot([3], 3), IndexError, r"one_hot: ids\[0\] is 3"),
    (lambda: F.dropout(X, 2.0), ValueError, "a probability lies between 0 and 1, not 2.0"),
    (lambda: F.scaled_dot_product_attention(X, X, X[:1]), ValueError, r"query \(2, 3\), key \(2, 3\) and value \(1, 3\) must be"),
    (lambda: F.scaled_dot_product_attention(X, X[:, :2], X), ValueError, r"must be \(\.\.\., Tq, E\)"),
    (lambda: F.scaled_dot_product_attention(X, X, X, np.ones((3, 3), bool)), ValueError, "does not broadcast to the scores' shape"),
    (lambda: F.scaled_dot_product_attention(X, X, X, np.zeros((2, 2))), TypeError, "True where attention is allowed, not float64"),
    (lambda: F.cross_entropy(X, [0, 3]), IndexError, r"target\[1\] is 3, but there are only 0 to 2"),
    (lambda: F.cross_entropy(X, [0, -1]), IndexError, r"target\[1\] is -1"),
    (lambda: F.cross_entropy(X, [0.0, 1.0]), TypeError, "target must be integers, not float64"),
    (lambda: F.cross_entropy(X, [0, 1, 2]), ValueError, r"input has shape \(2, 3\) and target \(3,\); expected .*the class axis is the last"),
    (lambda: F.cross_entropy(X, [0, 1], reduction="avg"), ValueError, "reduction must be 'mean', 'sum' or 'none', not 'avg'"),
    (lambda: F.cross_entropy(X, [0, 1], label_smoothing=1.5), ValueError, "between 0 and 1"),
    (lambda: F.nll_loss(X, [0, 9]), IndexError, r"nll_loss: target\[1\] is 9"),
    (lambda: F.nll_loss(X, [0, 1]), ValueError, "nll_loss: input must be log-probabilities, never above 0, not .*: take log_softmax first, or cross_entropy"),
    (lambda: F.nll_loss(F.softmax(mg.zeros(2, 500)), [0, 1]), ValueError, "nll_loss: input must be log-probabilities, never above 0, not 0.002"),
    (lambda: F.mse_loss(X, X[:1]), ValueError, r"input has shape \(2, 3\) and target \(1, 3\); they must be equal"),
    (lambda: F.mse_loss(X, 1.0), TypeError, "target must be a Tensor or an ndarray, not float"),
    (lambda: F.huber_loss(X, X, delta=0.0), ValueError, "delta must be a positive number, not 0.0"),
    (lambda: F.binary_cross_entropy_with_logits(X, X.data[:, :1]), ValueError, "broadcasting would average the wrong pairs"),
    (lambda: F.binary_cross_entropy_with_logits(X, np.full((2, 3), 1.5)), ValueError, "binary_cross_entropy_with_logits: target must be from 0 to 1, not 1.5"),
    (lambda: F.binary_cross_entropy_with_logits(X, mg.full((2, 3), -0.1)), ValueError, "target must be from 0 to 1, not -0.1"),
    (lambda: F.binary_cross_entropy_with_logits(X, np.full((2, 3), 2)), ValueError, "target must be from 0 to 1, not 2"),
    (lambda: F.binary_cross_entropy_with_logits(X, np.full((2, 3), np.nan)), ValueError, "target must be from 0 to 1, not nan"),
]  # fmt: skip

ARRAYS = [
    (lambda: X + np.ones((4, 5)), ValueError, "could not be broadcast"),
    (lambda: X @ X, ValueError, "matmul"),
    (lambda: X.reshape(4, 4), ValueError, "cannot reshape"),
    (lambda: np.sum(X, axis=2), ValueError, "axis 2 is out of bounds"),
    (lambda: np.max(X, axis=(0, 0)), ValueError, "repeated axis|duplicate"),
    (lambda: np.max(mg.zeros(2, 0), axis=1), ValueError, r"max of no elements: axis 1 of shape \(2, 0\)"),
    (lambda: np.median(mg.zeros(0)), ValueError, "median of no elements"),
    (lambda: np.var(mg.ones(1), ddof=1), ValueError, "var with ddof=1 needs more than 1 elements along axis None, got 1"),
    (lambda: np.var(X, ddof=np.nan), ValueError, "var with ddof=nan needs more than nan elements"),
    (lambda: np.std(X, axis=0, ddof=2), ValueError, "std with ddof=2 needs more than 2 elements along axis 0, got 2"),
    (lambda: np.average(X, weights=np.ones(2)), ValueError, r"weights of shape \(2,\) must have the shape of x \(2, 3\)"),
    (lambda: np.linalg.norm(X, 2), ValueError, "ord=2 has no derivative rule here"),
    (lambda: np.linalg.norm(X[0], 0), ValueError, "a count has no derivative"),
    (lambda: np.transpose(X, (0,)), ValueError, "axes"),
    (lambda: np.transpose(X, {0, 1}), TypeError, r"axis must be a whole number or a tuple of them, not \{0, 1\}"),
    (lambda: np.matrix_transpose(X[0]), ValueError, "needs two axes"),
    (lambda: np.concatenate([X, X[0]]), ValueError, "same number of dimensions"),
    (lambda: np.concatenate([mg.tensor(1.0)]), ValueError, "only stacked"),
    (lambda: np.concatenate([X, X], axis=True), TypeError, "axis must be a whole number, not True"),
    (lambda: np.repeat(X, 2, axis=7), ValueError, "axis 7 is out of bounds"),
    (lambda: np.repeat(X, 2, axis=0.5), TypeError, "axis must be a whole number, not 0.5"),
    (lambda: np.average(X, axis=7, weights=np.ones(3)), ValueError, "axis 7 is out of bounds"),
    (lambda: np.stack([X, X[0]]), ValueError, r"the shapes must be equal, not \(2, 3\), \(3,\)"),
    (lambda: np.split(X, 2, axis=1), ValueError, "axis 1 of shape .2, 3. cannot be cut into 2 equal parts"),
    (lambda: np.split(X, 2, axis=7), ValueError, "axis 7 is out of bounds"),
    (lambda: np.array_split(X, 0), ValueError, "must be positive, not 0"),
    (lambda: np.pad(X, 1, mode="edge"), ValueError, "mode 'edge' has no derivative rule"),
    (lambda: np.reshape(X, 6, order="F"), ValueError, "reads in order 'C', not 'F'"),
    (lambda: X[2], IndexError, "out of bounds"),
    (lambda: X[2**63], IndexError, r"x\[index\]: index 9223372036854775808 is out of bounds for x of shape \(2, 3\)"),
    (lambda: X[0.5], IndexError, "integers"),
    (lambda: X[np.ones(3, bool)], IndexError, "boolean"),
    (lambda: np.take(X, 7), IndexError, "out of bounds"),
    (lambda: np.take_along_axis(X, [0, 1], 0), ValueError, "same number of axes"),
    (lambda: np.take_along_axis(X, [[0], [1]], None), ValueError, "same number of axes"),
    (lambda: np.take_along_axis(X, [[0], [1]], 7), ValueError, "axis 7 is out of bounds"),
    (lambda: np.trace(X, 2**40), ValueError, "offset must be at most 2147483647, not 1099511627776"),
    (lambda: np.diag(mg.zeros(1, 1, 1)), ValueError, "takes one axis or two"),
    (lambda: mg.index_update(X, 5, 0.0), IndexError, "out of bounds"),
    (lambda: mg.index_update(X, (0, 2**63), 0.0), IndexError, r"index_update: index \(0, 9223372036854775808\) is out"),
    (lambda: mg.index_add(X, 2**63, 0.0), IndexError, "index_add: index 9223372036854775808 is out of bounds for x"),
    (lambda: mg.index_update(X, 0, np.ones(4)), ValueError, "broadcast"),
    (lambda: mg.index_add(mg.zeros(3), [0, 1], np.ones(3)), ValueError, r"index_add: values of shape \(3,\) do not broadcast to x\[index\] of \(2,\)"),
    (lambda: mg.index_update(mg.zeros(3), (mg.tensor([0, 1]),), [1.0, 2.0, 3.0]), ValueError, r"index_update: values of shape \(3,\) do not"),
    (lambda: mg.no_grad(len), TypeError, r"write @mg\.no_grad\(\), with brackets"),
    (lambda: mg.nn.Sequential([mg.nn.ReLU()]), TypeError, r"layers\[0\] must be a layer, not a list of them: Sequential\(\*layers\) unpacks it"),
    (lambda: mg.nn.Sequential(len, mg.nn.ReLU), TypeError, r"layers\[1\] must be a layer, not the class ReLU: write ReLU\(\.\.\.\)"),
    (lambda: mg.optim.clip_grad_norm_(iter([]), 1.0), ValueError, "clip_grad_norm_ got no parameters: .* or was used up before"),
    (lambda: mg.index_update(INTS, 0, 0.5), TypeError, "values of dtype float64 cannot be written into x of dtype int64"),
    (lambda: np.einsum("ij,jk", X), ValueError, "names 2 operands, got 1"),
    (lambda: np.einsum("i", X), ValueError, "'i' of 'i' does not fit an operand of 2 axes"),
    (lambda: np.einsum(X, [0, 1]), TypeError, "takes its subscripts as a string"),
    (lambda: np.tensordot(X, X, 1), ValueError, "differ in length"),
    (lambda: np.linalg.multi_dot([X]), ValueError, "at least two arrays, got 1"),
    (lambda: np.linalg.inv(X), np.linalg.LinAlgError, "square"),
    (lambda: np.linalg.inv(mg.zeros(2, 2)), np.linalg.LinAlgError, "Singular"),
    (lambda: np.astype(X, int), TypeError, r"astype\(int64\) of a tensor that requires a gradient"),
    (lambda: np.astype(X, X), TypeError, "astype: dtype must be a dtype, not a Tensor: use its .dtype"),
    (lambda: np.fabs(mg.tensor([1j])), TypeError, "fabs"),
    (lambda: F.erf(mg.tensor([1j])), TypeError, "erf: x must be real numbers, not complex128"),
    (lambda: F.erfc(mg.tensor([1j])), TypeError, "erfc: x must be real numbers, not complex128"),
    (lambda: F.logsumexp(np.ones(2, np.complex64)), TypeError, "logsumexp: x must be real numbers, not complex64"),
    (lambda: mg.zeros(-1), ValueError, r"zeros: shape\[0\] must be at least 0, not -1"),
    (lambda: np.swapaxes(X, 0, 1, 2), TypeError, "positional argument"),
    (lambda: mg.rules.elementwise.exp(X, 1, 2), TypeError, "exp takes at most 1 arguments, got 3"),
    (lambda: mg.rules.elementwise.multiply(X), TypeError, "multiply needs 2 inputs"),
    (lambda: mg.autograd.grad(1.0, X), TypeError, "grad: outputs must be a Tensor or a list of them, not 1.0"),
    (lambda: mg.autograd.grad([1.0], X), TypeError, "only a Tensor has a gradient, not float"),
    (lambda: np.linalg.norm(mg.ones(1, 1, 1), 1), ValueError, "ord=1 needs an axis"),
    (lambda: mg.rules.shapes.stack([]), ValueError, "stack needs at least one array"),
    (lambda: np.unstack(mg.tensor(1.0)), ValueError, "unstack needs an axis"),
    (lambda: [1, 2][mg.tensor(1.0)], TypeError, "only an integer tensor of one element can be an index, not float32"),
    (lambda: F.group_norm(mg.ones(1, 4, 2), 2, mg.ones(2)), ValueError, r"weight has shape \(2,\), but x \(1, 4, 2\) has C=4"),
    (lambda: F.embedding([0], X[0]), ValueError, r"weight must be \(num_embeddings, embedding_dim\), got \(3,\)"),
    (lambda: mg.nn.GroupNorm(1, 4)(X), ValueError, r"GroupNorm: expected C=4 at axis 1, got \(2, 3\)"),
    (lambda: mg.tensor([1.0], dtype="text"), TypeError, "text"),
    (lambda: mg.seed("a"), TypeError, "seed"),
    (lambda: X + "a", TypeError, "a tensor holds numbers"),
    (lambda: X + None, TypeError, "unsupported"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "words"), FUNCTIONAL + ARRAYS)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()


SOFTMAX = "comes from a softmax, which cross_entropy takes itself: pass the logits"


@pytest.mark.parametrize(
    "softmax",
    [
        F.softmax,
        lambda x: F.softmax(x, axis=1),
        lambda x: F.softmax(x).reshape(4).reshape(2, 2),
        lambda x: F.softmax(x.reshape(2, 1, 2)).reshape(-1, 2),
        lambda x: F.softmax(x.astype(np.float16)),
        lambda x: F.softmax(x.astype(np.float16)).reshape(2, 2).astype(np.float64),
    ],
)
def test_a_softmax_before_cross_entropy_is_warned_of(softmax):
    logits = mg.tensor([[1.0, 2.0], [0.0, 1.0]], requires_grad=True)
    with pytest.warns(RuntimeWarning, match=SOFTMAX):
        F.cross_entropy(softmax(logits), [0, 1])


def test_no_softmax_is_suspected_where_it_need_not_be_one_of_the_classes():
    logits = mg.tensor([[1.0, 2.0], [0.0, 1.0]], requires_grad=True)
    F.cross_entropy(logits, [0, 1])
    F.cross_entropy(logits.astype(np.float16).reshape(1, 4), [3])
    F.cross_entropy(F.softmax(logits, axis=0), [0, 1])
    F.cross_entropy(F.softmax(logits, axis=None), [0, 1])
    F.cross_entropy(F.softmax(logits).reshape(1, 4), [3])
    F.cross_entropy(F.softmax(logits.reshape(4)).reshape(2, 2), [0, 1])
    F.cross_entropy(F.softmax(logits) * 2.0, [0, 1])
    y = F.softmax(logits).reshape(2, 2)
    np.sum(y).backward()  # after which the graph has nothing more to tell
    with mg.no_grad():
        F.cross_entropy(y, [0, 1])


def test_erf_of_integers_is_no_integer():
    expected = [0.0, 0.8427007929497149, 0.9953222650189527]
    np.testing.assert_allclose(F.erf(np.array([0, 1, 2])), expected)
    np.testing.assert_allclose(F.erf(mg.tensor([0, 1, 2])).data, expected)
    np.testing.assert_allclose(F.erfc(np.array([0, 1, 2])), 1 - np.array(expected))


def test_the_variance_of_nothing_is_nan_and_its_gradient_empty():
    for ddof in (0, 1):
        x = mg.zeros(0, requires_grad=True)
        with pytest.warns(RuntimeWarning):
            y = np.var(x, ddof=ddof)
        y.backward()
        assert np.isnan(y.data)
        assert x.grad.shape == (0,)


def test_a_masked_array_does_not_lose_its_mask_in_silence():
    x = np.ma.masked_array([1.0, 99.0], mask=[False, True])
    for take in (mg.tensor, lambda x: np.sum(mg.ones(2) * x), lambda x: mg.functional.relu(mg.tensor(x))):
        with pytest.raises(TypeError, match=r"a tensor has no mask: fill the masked array first"):
            take(x)


def test_float64_that_creeps_in_is_named_where_it_began():
    layer, x = mg.nn.Linear(3, 2), mg.tensor(np.ones((2, 3), np.float32), requires_grad=True)
    y = np.tanh(x * np.linspace(0, 1, 3)) + 1.0
    words = r"x is float64, weight is float32.* \(x is float64 since multiply, which an array of that dtype went into\)"
    with pytest.raises(TypeError, match=words):
        layer(y)
    with pytest.raises(TypeError, match=r"use x\.astype\(np\.float32\)$"):
        layer(mg.tensor(np.ones((2, 3))))  # came in as such
    np.sum(y).backward()
    with pytest.raises(TypeError, match=r"use x\.astype\(np\.float32\)$"):
        layer(y)  # of a graph that has been freed
