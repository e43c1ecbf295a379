"""Steps without an optimiser: arrays changed by gradients, and gradients set from outside."""

import copy
import math
import operator

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim

# ---- writes into an array, by tensors ----

OPERATORS = [
    operator.iadd,
    operator.isub,
    operator.imul,
    operator.itruediv,
    operator.ipow,
    operator.ifloordiv,
    operator.imod,
    operator.imatmul,
]


def test_a_step_by_hand_as_the_error_recommends_it():
    p = nn.Parameter(np.array([3.0, -2.0], np.float32))
    with pytest.raises(TypeError, match=r"x\.data -= \.\.\. to change the leaf itself"):
        p -= p * 0.1
    before = p.data
    for _ in range(3):
        p.grad = None
        np.sum(p**2).backward()
        p.data -= 0.25 * p.grad
    assert p.data is before
    np.testing.assert_array_equal(p.data, np.array([3.0, -2.0], np.float32) / 8)
    y = np.sum(p**2)
    p.data -= p.grad
    with pytest.raises(RuntimeError, match="written into between forward and backward"):
        y.backward()


@pytest.mark.parametrize("change", OPERATORS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_constant_tensor_changes_an_array_as_its_array_does(change, dtype):
    constant = np.array([[1.5, 2.0], [0.5, 3.0]], dtype)
    found, expected = (np.array([[4.0, 1.0], [2.0, 5.0]], dtype) for _ in range(2))
    same = found
    found = change(found, mg.tensor(constant))
    assert found is same
    np.testing.assert_array_equal(found, change(expected, constant))


@pytest.mark.parametrize("change", OPERATORS, ids=lambda f: f.__name__)
def test_what_requires_a_gradient_changes_no_array(change):
    array, x = np.ones((2, 2)), mg.ones(2, 2, requires_grad=True)
    for t in (x, x * 2):
        with pytest.raises(TypeError, match=r"out= writes .*bind the result to a name.*, or x\.detach\(\) if"):
            change(array, t)
        with mg.no_grad():
            change(array.copy(), t)
    np.testing.assert_array_equal(array, 1)


@pytest.mark.parametrize(
    "write",
    [
        lambda t, out: np.add(out, t, out=out),
        lambda t, out: np.add(t, 1.0, out=out),
        lambda t, out: np.multiply(t, t, out, where=[True, False, True]),
        lambda t, out: np.exp(t, out=out),
        lambda t, out: np.sign(t, out=out),
        lambda t, out: np.clip(out, t - 1, t, out=out),
        lambda t, out: np.clip(t, 0.0, 1.0, out=out),
        lambda t, out: np.cumsum(t, out=out),
        lambda t, out: np.concatenate([t[:1], np.ones(1), t[2:]], out=out),
        lambda t, out: np.stack(list(t), out=out),
        lambda t, out: np.matmul(mg.eye(3), t, out=out),
        lambda t, out: np.sum(np.eye(3) * t, axis=0, out=out),
    ],
)
def test_out_is_an_array_outside_of_the_graph(write):
    class Plain:  # the same calls with arrays
        eye = staticmethod(lambda n: np.eye(n, dtype=np.float32))

    values = [0.5, -2.0, 3.0]
    found, expected = np.full(3, 2.0), np.full(3, 2.0)
    assert write(mg.tensor(np.array(values)), found) is found
    write.__globals__["mg"], kept = Plain, mg
    try:
        write(np.array(values), expected)
    finally:
        write.__globals__["mg"] = kept
    np.testing.assert_array_equal(found, expected)
    x = mg.tensor(np.array(values), requires_grad=True)
    with pytest.raises(TypeError, match=r"out= writes .*, or x\.detach\(\) if"):
        write(x, found)
    with pytest.raises(TypeError, match=r"out= writes into a Tensor"):
        write(mg.tensor(np.array(values)), mg.tensor(np.ones(3)))
    np.testing.assert_array_equal(found, expected)


# ---- gradients set from outside ----


@pytest.mark.parametrize(
    "given", [np.ones((2, 3)), np.ones((2, 3), np.float32), np.ones((2, 3), int), [[1, 1, 1], [1.0, 1, 1]]]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_array_becomes_the_gradient(given, dtype):
    p = nn.Parameter(np.zeros((2, 3), dtype))
    p.grad = given
    assert type(p.grad) is mg.Tensor
    assert (p.grad.dtype, p.grad.shape, p.grad.requires_grad) == (dtype, (2, 3), False)
    assert not np.may_share_memory(np.asarray(given), p.grad.data)
    np.sum(p * 2.0).backward()
    np.testing.assert_array_equal(p.grad.data, 3)
    np.testing.assert_array_equal(given, 1)
    optim.clip_grad_value_([p], 0.5)
    np.testing.assert_array_equal(given, 1)
    optim.SGD([p], lr=1.0).step()
    np.testing.assert_array_equal(p.data, -0.5)


def test_numbers_are_gradients_of_scalars_and_keep_their_digits():
    p = nn.Parameter(np.array(2.0))
    p.grad = 0.1
    assert p.grad.item() == 0.1
    p.grad = np.float64(0.2)
    assert p.grad.item() == 0.2


def test_a_tensor_that_fits_is_the_gradient_itself():
    p, g = nn.Parameter(np.zeros(2)), mg.tensor(np.ones(2))
    p.grad = g
    assert p.grad is g
    p.grad = mg.ones(2)  # float32
    assert p.grad.dtype == np.float64
    p.grad = None
    assert p.grad is None


def test_a_gradient_may_be_part_of_a_graph():
    p, x = nn.Parameter(np.ones(2)), mg.tensor(np.array([2.0, 3.0]), requires_grad=True)
    p.grad = x * x
    np.sum(p.grad).backward()
    assert x.grad.tolist() == [4, 6]


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        (np.ones((2, 1)), ValueError, r"grad must have the shape \(2,\) of its tensor, float32, not \(2, 1\)"),
        (mg.ones(3), ValueError, r"grad must have the shape \(2,\) of its tensor, float32, not \(3,\)"),
        (1.0, ValueError, r"grad must have the shape \(2,\) of its tensor, float32, not \(\)"),
        (np.ones(2, complex), TypeError, r"grad must be real numbers of shape \(2,\), float32, not complex128"),
        (mg.tensor([True, False]), TypeError, r"grad must be real numbers of shape \(2,\), float32, not bool"),
        ("ab", TypeError, r"grad must be real numbers of shape \(2,\), float32, not 'ab'"),
        ([None, 1], TypeError, r"grad must be real numbers of shape \(2,\), float32, not \[None, 1\]"),
        ([[1.0], [1.0, 2.0]], TypeError, r"grad must be real numbers of shape \(2,\), float32"),
        (object(), TypeError, r"grad must be real numbers of shape \(2,\), float32, not <object "),
    ],
)
def test_what_is_no_gradient_is_refused_and_the_old_one_stays(given, error, words):
    p = nn.Parameter([1.0, 2.0])
    p.grad = old = mg.ones(2)
    with pytest.raises(error, match=words):
        p.grad = given
    assert p.grad is old


def test_gradients_stand_on_floating_point_leaves():
    x = mg.ones(2, requires_grad=True)
    y = x * 2
    with pytest.raises(ValueError, match=r"grad can be set on leaves only.*mg\.autograd\.grad.*register_hook"):
        y.grad = mg.ones(2)
    y.grad = None
    with pytest.raises(TypeError, match="grad: only floating-point tensors have gradients, not int64"):
        mg.tensor([1, 2]).grad = np.ones(2)


def test_a_copied_leaf_has_a_gradient_of_its_own():
    p = nn.Parameter([1.0, 2.0])
    p.grad = [3, 4]
    other = copy.deepcopy(p)
    other.grad.data[...] = 0
    assert p.grad.tolist() == [3, 4]


# ---- clipping ----


def test_a_parameter_given_twice_counts_once():
    p = nn.Parameter(np.zeros(2))
    p.grad = np.array([3.0, 4.0])
    assert optim.clip_grad_norm_([p, p], 1.0) == 5
    np.testing.assert_allclose(p.grad.data, [0.6, 0.8])


def test_a_gradient_of_two_parameters_counts_twice_and_is_scaled_once():
    p, q, g = nn.Parameter(np.zeros(2)), nn.Parameter(np.zeros(2)), mg.tensor(np.array([3.0, 4.0]))
    p.grad = q.grad = g
    assert optim.clip_grad_norm_([p, q], 1.0) == pytest.approx(math.sqrt(50))
    np.testing.assert_allclose(g.data, np.array([3, 4]) / math.sqrt(50))
