"""Reductions where NumPy has ways of its own: arrays of shape (), medians of integers, norms of any order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
import minigrad.functional as F
from minigrad.strategies import arrays
from minigrad.testing import check_gradients

FOLDED = [
    np.sum, np.prod, np.max, np.amax, np.min, np.amin, np.ptp, np.cumsum, np.cumprod, np.argmax, np.argmin, np.all, np.any,
    np.argsort, np.mean, np.var, np.std, np.median, np.average, np.sort, np.flip,
]  # fmt: skip
ARGUMENTS = {np.take: (0,), np.repeat: (2,)}


@pytest.mark.parametrize("axis", [0, -1, np.int64(0), None, 1, (), (0,), True])
@pytest.mark.parametrize("function", [*FOLDED, np.take, np.repeat], ids=lambda f: f.__name__)
def test_an_array_without_axes_has_those_that_numpy_gives_it(function, axis):
    """np.sum(x, axis=0) works on shape (), np.mean(x, axis=0) does not."""
    x = np.array(3.0)
    arguments = ARGUMENTS.get(function, ())
    try:
        expected = function(x, *arguments, axis=axis)
    except (np.exceptions.AxisError, TypeError):
        with pytest.raises((ValueError, TypeError), match="axis|integer"):
            function(mg.tensor(x), *arguments, axis=axis)
        return
    if axis is True and function not in (np.all, np.any):
        return  # which counts as 1 or 0 there, and is no axis here
    leaf = mg.tensor(x, requires_grad=True)
    y = function(leaf, *arguments, axis=axis)
    np.testing.assert_array_equal(y.data if isinstance(y, mg.Tensor) else y, expected)
    assert y.shape == np.shape(expected)
    if isinstance(y, mg.Tensor):
        check_gradients(lambda x: function(x, *arguments, axis=axis), x, flat=True)


@pytest.mark.parametrize("axis", [0, -1])
def test_softmax_and_its_kin_of_a_single_number(axis):
    for function in (
        F.softmax, F.log_softmax, F.logsumexp, lambda x, axis: F.masked_softmax(x, np.array(True), axis=axis),
    ):  # fmt: skip
        check_gradients(lambda x, f=function: f(x, axis=axis), np.array(3.0), flat=True)


@pytest.mark.parametrize("function", [np.var, np.std])
def test_complex_numbers_have_no_variance_here(function):
    with pytest.raises(TypeError, match="only real numbers have a variance or a norm here, not complex128"):
        function(mg.tensor(np.array([1j, 1])))


def test_the_median_of_integers_is_a_float():
    for n in (3, 4):
        x = np.arange(n)
        assert np.median(mg.tensor(x)).dtype == np.median(x).dtype == np.float64


@given(order=st.sampled_from([0.5, 1, 1.5, 3, 4, -1, -2.5]), data=st.data())
def test_norms_of_any_order(order, data):
    x = data.draw(arrays((2, 3), 0.3, 2.0, gap=0.3)) * data.draw(st.sampled_from([1, -1]))
    for keepdims in (False, True):
        np.testing.assert_allclose(
            np.linalg.norm(mg.tensor(x), order, axis=-1, keepdims=keepdims).data,
            np.linalg.norm(x, order, axis=-1, keepdims=keepdims),
        )
    check_gradients(lambda x: np.linalg.norm(x, order, axis=0), x)


@pytest.mark.parametrize("order", [0.5, 3, -1, -2])
def test_a_norm_beside_zeros_has_a_gradient_without_a_warning(order):
    x = mg.tensor(np.array([[0.0, 2.0], [0.0, 0.0], [1.0, 0.0]]), requires_grad=True)
    np.sum(np.linalg.norm(x, order, axis=1)).backward()
    alone = 1.0 if order > 0 else 0.0  # what is alone is the norm, unless that is 0
    assert x.grad.tolist() == [[0, alone], [0, 0], [alone, 0]]
