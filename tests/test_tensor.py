import copy
import math
import pickle
import re
from array import array as typed_array

import numpy as np
import pytest

import minigrad as mg
from minigrad.rules.elementwise import clip
from minigrad.tensor import Tensor

# ---- dtypes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "dtype"),
    [
        (1.5, np.float32),
        ([1.0, 2.0], np.float32),
        ([[1, 2]], np.int64),
        (True, np.bool_),
        (np.ones(2), np.float64),
        (np.ones(2, np.float16), np.float16),
        (np.float64(2.0), np.float32),
        (np.int8(2), np.int8),
        (1j, np.complex128),
    ],
)
def test_python_floats_are_float32_and_arrays_keep_their_dtype(data, dtype):
    assert mg.tensor(data).dtype == dtype


def test_float32_stays_float32_beside_numbers():
    x = mg.tensor([1.0, 2.0])
    for y in (
        x * 2,
        2.0 * x,
        x / np.float64(3.0),
        np.float64(3.0) - x,
        x ** np.float64(2.0),
        np.sqrt(64) * x,
        x + True,
    ):
        assert y.dtype == np.float32
    assert (x * np.ones(2)).dtype == np.float64  # an array is not a number


def test_lists_beside_a_tensor_are_float32():
    assert (mg.tensor([1.0, 2.0]) + [1.0, 2.0]).dtype == np.float32


def test_what_has_a_dtype_keeps_it():
    class Column:
        dtype = np.dtype(np.float64)

        def __array__(self, dtype=None, copy=None):
            return np.array([0.1, 0.2])

    for data in (Column(), typed_array("d", [0.1, 0.2]), memoryview(np.array([0.1, 0.2]))):
        assert mg.tensor(data).tolist() == [0.1, 0.2]
        assert (mg.tensor(np.ones(2)) * data).tolist() == [0.1, 0.2]
        assert (mg.tensor([1.0, 1.0]) * data).dtype == np.float64


def test_only_floats_require_gradients():
    for data in (1, True, 1j, np.ones(2, int)):
        with pytest.raises(TypeError, match="only floating-point tensors have gradients"):
            mg.tensor(data, requires_grad=True)
    x = mg.tensor([1, 2])
    with pytest.raises(TypeError, match="int64"):
        x.requires_grad = True


def test_a_tensor_copies_its_data():
    data = np.ones(3)
    x = mg.tensor(data)
    data[0] = 5
    assert x.data[0] == 1


@pytest.mark.parametrize("data", ["text", None, object(), [1, "a"], [None]])
def test_what_is_not_numbers_is_refused(data):
    with pytest.raises(TypeError, match="a tensor holds numbers"):
        mg.tensor(data)


def test_ragged_lists_are_refused():
    with pytest.raises(ValueError, match="rows of equal length"):
        mg.tensor([[1.0], [1.0, 2.0]])


# ---- creation --------------------------------------------------------------------------------------------------------


def test_creation_helpers():
    assert mg.zeros(2, 3).shape == mg.zeros((2, 3)).shape == (2, 3)
    assert mg.ones(2).data.tolist() == [1, 1]
    assert mg.full((2,), 3.0).data.tolist() == [3, 3]
    assert mg.full((2,), 3.0).dtype == np.float32
    assert mg.arange(3).dtype == np.int64
    assert mg.arange(0.0, 1.0, 0.5).data.tolist() == [0.0, 0.5]
    assert mg.arange(0.0, 1.0, 0.5).dtype == np.float32
    assert mg.arange(10**12, 10**12 + 4, 2).tolist() == [10**12, 10**12 + 2]
    assert [mg.arange(2.0, dtype=dtype).dtype for dtype in (np.float64, np.int16)] == [np.float64, np.int16]
    assert mg.eye(2, 3).data.tolist() == [[1, 0, 0], [0, 1, 0]]
    x = mg.ones(2, 2, dtype=np.float64)
    assert mg.zeros_like(x).dtype == mg.ones_like(x).dtype == np.float64
    assert mg.randn(2, 3).dtype == mg.rand(()).dtype == np.float32
    assert mg.randn().shape == ()
    assert mg.zeros(2, requires_grad=True).requires_grad


def test_the_same_seed_draws_the_same():
    mg.seed(3)
    a = mg.randn(5)
    mg.seed(3)
    assert np.array_equal(mg.randn(5), a)
    assert not np.array_equal(mg.randn(5), a)
    assert np.array_equal(mg.randn(5, rng=np.random.default_rng(1)), mg.randn(5, rng=np.random.default_rng(1)))


# ---- what it shows ---------------------------------------------------------------------------------------------------


def test_repr_names_the_rule():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    assert repr(x) == "tensor([1., 2.], requires_grad=True)"
    assert repr(x * 2) == "tensor([2., 4.], rule=multiply)"
    assert repr(mg.tensor(np.ones(1))) == "tensor([1.], dtype=float64)"
    assert f"{mg.tensor(0.123456):.3f}" == "0.123"
    assert f"{x}" == repr(x)


def test_properties_and_conversions():
    x = mg.tensor([[1.0, 2.0, 3.0]])
    assert (x.shape, x.ndim, x.size, len(x)) == ((1, 3), 2, 3, 1)
    assert x.T.shape == (3, 1)
    assert x.mT.shape == (3, 1)
    assert x.numpy() is x.data
    assert x.tolist() == [[1.0, 2.0, 3.0]]
    assert [row.shape for row in x] == [(3,)]
    assert mg.tensor([2.5]).item() == float(mg.tensor(2.5)) == 2.5
    assert int(mg.tensor(2.5)) == 2
    assert [10, 20, 30][mg.tensor(1)] == 20
    assert bool(mg.tensor(1.0))
    assert {x: 1}[x] == 1


@pytest.mark.parametrize("method", ["item", "__float__", "__int__", "__bool__"])
def test_only_one_element_is_a_number(method):
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        getattr(mg.ones(2), method)()


def test_only_one_integer_is_an_index():
    assert list(range(mg.tensor([2]))) == [0, 1]
    for data in ([1, 2], [1.0]):
        with pytest.raises(TypeError, match="only an integer tensor of one element can be an index, not"):
            range(mg.tensor(data))


def test_a_scalar_is_no_sequence():
    for operation in (len, iter):
        with pytest.raises(TypeError, match="shape \\(\\)"):
            operation(mg.tensor(1.0))


# ---- nothing leaves the graph in silence -----------------------------------------------------------------------------

LEAF = mg.tensor([1.0, 2.0], requires_grad=True)


@pytest.mark.parametrize(
    "leave",
    [
        np.asarray,
        np.array,
        lambda x: np.array([x, x]),
        lambda x: np.add.reduce(x),
        lambda x: np.multiply.outer(x, x),
        lambda x: np.add.at(x, 0, 1.0),
        lambda x: np.add(x, x, out=np.zeros(2)),
        lambda x: np.sum(x, out=np.zeros(())),
        lambda x: np.fft.fft(x),
        lambda x: np.linalg.svd(np.outer(x, x)),
        lambda x: np.sinc(x),
        lambda x: np.unique(x),
        lambda x: mg.tensor(x),
        lambda x: mg.full((2, 2), x),
        lambda x: np.bincount([0, 1], weights=x),
        lambda x: np.zeros(2).__setitem__(slice(None), x),
        lambda x: np.add(np.zeros(2), 1.0, out=x),
        lambda x: np.random.default_rng().permutation(x),
        lambda x: pickle.dumps(x),
    ],
)
def test_every_other_door_raises(leave):
    with pytest.raises(TypeError):
        leave(LEAF)


@pytest.mark.parametrize("leave", [math.exp, float, int])
def test_a_number_that_requires_a_gradient_does_not_slip_out(leave):
    x = mg.tensor(1.0, requires_grad=True) * 2
    with pytest.raises(TypeError, match="would cut the tensor out of the graph"):
        leave(x)
    with pytest.raises(ValueError):  # NumPy's words for our TypeError
        np.zeros(2)[0] = x


def test_data_is_an_array_of_floats():
    x = mg.tensor([1.0], requires_grad=True)
    with pytest.raises(TypeError, match="data is an ndarray, not Tensor"):
        x.data = x.data - 0.1 * x
    with pytest.raises(TypeError, match="only floating-point tensors have gradients"):
        x.data = np.ones(1, int)
    with pytest.raises(ValueError, match=r"data has shape \(1, 1\), this tensor \(1,\), which may stand in a graph"):
        x.data = np.ones((1, 1))
    assert x.tolist() == [1.0]


def test_complex_results_have_no_gradients():
    with pytest.raises(TypeError, match="the gradient of multiply: only floating-point"):
        LEAF * 1j


def test_a_function_without_a_rule_says_how_to_add_one():
    with pytest.raises(TypeError, match=r"np.spacing has no derivative rule: add one with @mg.rule\(np.spacing\)"):
        np.spacing(LEAF)
    with pytest.raises(TypeError, match=r"np\.linalg\.svd has no derivative rule"):
        np.linalg.svd(mg.ones(2, 2))


def test_where_and_dtype_arguments_are_refused_by_name():
    with pytest.raises(TypeError, match="add of Tensors takes no argument 'where'"):
        np.add(LEAF, 1.0, where=np.array([True, False]))


def test_functions_without_a_gradient_give_arrays():
    for y in (LEAF > 1, np.argmax(LEAF), np.isnan(LEAF), np.shape(LEAF), np.argsort(LEAF), LEAF == LEAF):
        assert not isinstance(y, Tensor)
    assert np.sign(LEAF).requires_grad  # zero gradients, so that a graph goes on


def test_writing_into_a_tensor_says_what_to_do():
    with pytest.raises(TypeError, match="mg.index_update"):
        LEAF[0] = 1.0


def test_augmented_assignment_makes_a_new_tensor_except_on_a_leaf_in_training():
    total = before = mg.tensor(1.0)
    total += LEAF.sum()
    assert (total.item(), before.item()) == (4.0, 1.0)
    x = LEAF
    for sign in ("+", "-", "*", "/", "**"):
        with pytest.raises(TypeError, match="would leave the leaf behind"):
            exec(f"x {sign}= 2.0", {"x": x})


@pytest.mark.parametrize("sign", ["+", "-", "*", "/", "**", "@"])
def test_every_augmented_assignment_is_its_operator(sign):
    x, y = mg.tensor([2.0, 3.0]), np.array([1.0, 2.0], np.float32)
    names = {"x": x, "y": y}
    exec(f"x {sign}= y", names)  # the signs themselves are what is tried
    np.testing.assert_array_equal(names["x"].data, eval(f"x {sign} y", {"x": x.data, "y": y}))
    assert x.tolist() == [2, 3]
    names["x"] = mg.nn.Parameter([2.0, 3.0])
    with pytest.raises(TypeError, match=re.escape(f"x {sign}= y on a leaf to be trained")):
        exec(f"x {sign}= y", names)


def test_settings_are_constants():
    with pytest.raises(TypeError, match="no gradient flows through the setting 'decimals'"):
        np.round(LEAF, mg.tensor(1.0, requires_grad=True))


def test_requires_grad_is_for_leaves():
    with pytest.raises(ValueError, match="leaves only"):
        (LEAF * 2).requires_grad = False


# ---- NumPy's functions from both sides -------------------------------------------------------------------------------


def test_arrays_and_numbers_on_either_side():
    x, a = mg.tensor([1.0, 2.0], requires_grad=True), np.array([3.0, 4.0], np.float32)
    for y, z in [(a + x, a + x.data), (a @ x, a @ x.data), (2 - x, 2 - x.data), (a / x, a / x.data), (2**x, 2**x.data)]:
        assert isinstance(y, Tensor)
        np.testing.assert_array_equal(y.data, z)
    y = a
    y = y + x
    assert y.requires_grad


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x.sum(0), lambda x: x.mean(axis=1, keepdims=True), lambda x: x.var(ddof=1), lambda x: x.std(0),
        lambda x: x.max(), lambda x: x.min(-1), lambda x: x.prod(), lambda x: x.reshape(3, 2), lambda x: x.reshape((6,)),
        lambda x: x.transpose(), lambda x: x.transpose(1, 0), lambda x: x.swapaxes(0, 1), lambda x: x.squeeze(),
        lambda x: x.ravel(), lambda x: x.flatten(), lambda x: x.argmax(0), lambda x: x.argmin(), lambda x: x.clip(0, 1),
        lambda x: x.dot(x.T), lambda x: x.cumsum(1), lambda x: x.cumprod(0), lambda x: x.all(), lambda x: x.any(),
        lambda x: x.repeat(2, 0), lambda x: x.take([0, 1]), lambda x: x.diagonal(), lambda x: x.trace(),
        lambda x: x.copy(), lambda x: x.argsort(), lambda x: x.nonzero(), lambda x: x.round(1), lambda x: x.astype(np.float64), lambda x: -x, lambda x: +x, lambda x: abs(x), lambda x: x // 2,
    ],
)  # fmt: skip
def test_methods_are_numpys(call):
    x = np.array([[-1.0, 0.5, 2.0], [3.0, -0.5, 8.0]], np.float32)  # no sum of them is rounded
    y = call(mg.tensor(x))
    y = y.data if isinstance(y, Tensor) else y
    np.testing.assert_array_equal(y, call(x))


def test_defaults_of_numpys_functions_are_numpys():
    x = np.arange(6.0).reshape(2, 3)
    for function in (
        np.tril,
        np.triu,
        np.trace,
        np.diagonal,
        np.flip,
        np.rot90,
        np.squeeze,
        np.ravel,
        np.sort,
        np.median,
    ):
        np.testing.assert_array_equal(function(mg.tensor(x)).data, function(x))
    for shape in (6, np.int64(6), [3, 2], (-1,), -1):
        np.testing.assert_array_equal(np.reshape(mg.tensor(x), shape).data, np.reshape(x, shape))


def test_a_rule_has_the_name_and_the_words_of_its_function():
    @mg.rule()
    def twice(x, /):
        """2 x"""
        return 2 * x, (lambda g: 2 * g,)

    assert (twice.__name__, twice.__doc__, repr(twice)) == ("twice", "2 x", "<rule twice>")


def test_zero_dimensional_results_are_arrays():
    x = mg.tensor(2.0, requires_grad=True)
    y = x * x
    y.backward()
    assert isinstance(y.data, np.ndarray)
    assert isinstance(x.grad.data, np.ndarray)
    assert x.grad.shape == ()


# ---- copies ----------------------------------------------------------------------------------------------------------


def test_deep_copies_are_of_leaves():
    x = mg.tensor([1.0], requires_grad=True)
    (x * 2).backward()
    y = copy.deepcopy(x)
    assert y.requires_grad
    assert y.grad.item() == 2
    y.data[0] = 7
    assert x.item() == 1
    with pytest.raises(TypeError, match="only leaves can be deep-copied"):
        copy.deepcopy(x * 2)


def test_a_shallow_copy_stands_at_the_same_place():
    x = mg.nn.Parameter([1.0, 2.0])
    y = copy.copy(x)
    assert type(y) is mg.nn.Parameter
    assert y.requires_grad
    assert y.data is x.data
    z = copy.copy(x * 3)
    np.sum(z).backward()
    assert x.grad.tolist() == [3, 3]
    assert y.grad is None


@pytest.mark.parametrize("wrap", [Tensor, mg.nn.Parameter, mg.tensor])
def test_a_tensor_in_a_graph_is_not_cut_out_of_it_silently(wrap):
    y = mg.tensor([1.0], requires_grad=True) * 2
    with pytest.raises(TypeError, match=r"would cut .* out of the graph: use x\.detach\(\)"):
        wrap(y)
    assert wrap(y.detach()).item() == 2


def test_a_leaf_is_in_no_graph():
    x = mg.tensor([1.0], requires_grad=True)
    for wrap in (Tensor, mg.nn.Parameter):
        assert wrap(x).data is x.data


class Labelled:
    """An array of another library, which combines itself with what it does not know."""

    def __init__(self, data):
        self.data = data

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.data)

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        return Labelled(getattr(ufunc, method)(*(x.data if isinstance(x, Labelled) else x for x in inputs)))

    def __rmul__(self, other):
        return Labelled(other * self.data)


def test_an_array_of_another_library_keeps_its_labels():
    x, labelled = mg.tensor([1.0, 2.0], requires_grad=True), Labelled(np.array([3.0, 4.0], np.float32))
    for y in (x * labelled, np.multiply(x, labelled), np.multiply(labelled, x), np.hypot(labelled, x)):
        assert isinstance(y, Labelled)
        assert y.data.requires_grad
    with pytest.raises(TypeError, match="unsupported operand"):
        x - labelled
    y = x
    with pytest.raises(TypeError, match="unsupported operand"):
        y = (x * 1) @ labelled
    with pytest.raises(TypeError, match=r"Labelled would lose what it knows beside its numbers: pass np\.asarray\(x\)"):
        clip(x, labelled, None)
    assert (x * np.asarray(labelled)).tolist() == [3, 8]
    assert mg.tensor(labelled).tolist() == [3, 4]


def test_detach_shares_the_array():
    y = (LEAF * 2).detach()
    assert not y.requires_grad
    assert y.node is None
