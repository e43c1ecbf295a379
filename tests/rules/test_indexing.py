"""Elements read and written: index_update and index_add beside loops, and gradients of many reads of one element."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import minigrad as mg
from minigrad.strategies import arrays, broadcastable, shapes
from minigrad.testing import check_gradients


@st.composite
def written(draw):
    """An array, an index into it of any kind, and values that broadcast to what it picks."""
    x = draw(arrays(shapes(min_dims=1, min_side=1)))
    index = draw(
        hnp.basic_indices(x.shape, allow_newaxis=True)
        | hnp.integer_array_indices(x.shape)
        | hnp.arrays(bool, x.shape)
        | st.integers(1, x.ndim).flatmap(lambda n: hnp.integer_array_indices(x.shape[:n]))
        | st.integers(0, x.shape[0] - 1).map(lambda i: (i, ..., None))
        | st.lists(st.integers(-x.shape[-1], x.shape[-1] - 1)).map(lambda i: (..., i and np.array(i)))
    )
    values = draw(arrays(draw(broadcastable(x[index].shape))))
    leading = (1,) * draw(st.integers(0, 2))  # which NumPy passes over
    return x, index, values.reshape(leading + values.shape)


def one_by_one(x, index, values, add):
    """What a loop makes of it."""
    places = np.arange(x.size).reshape(x.shape)[index]
    y = x.ravel().copy()
    stretched = np.broadcast_to(values.reshape(values.shape[max(0, values.ndim - places.ndim) :]), places.shape)
    for place, value in zip(places.ravel(), stretched.ravel(), strict=True):
        y[place] = y[place] + value if add else value
    return y.reshape(x.shape)


@pytest.mark.parametrize("function", [mg.index_update, mg.index_add])
@given(case=written())
def test_what_is_written_is_what_a_loop_writes(function, case):
    x, index, values = case
    expected = one_by_one(x, index, values, add=function is mg.index_add)
    np.testing.assert_allclose(function(mg.tensor(x), index, values).data, expected, rtol=1e-12, atol=1e-12)
    check_gradients(lambda x, values: function(x, index, values), x, values, flat=True)


def test_index_add_of_values_to_be_stretched():
    """np.add.at itself gives [10, 20, 0], and of other shapes what was never initialised."""
    index = [[0, 1], [0, 1]]
    assert mg.index_add(mg.zeros(3), index, [10.0, 20.0]).tolist() == [20, 40, 0]
    assert mg.index_add(mg.zeros(3), index, 1.0).tolist() == [2, 2, 0]
    assert mg.index_add(mg.zeros(2, 2), ([0, 0], [[0], [1]]), [1.0, 2.0]).tolist() == [[3, 3], [0, 0]]


READS = {
    "x[ids]": lambda x, n: x[np.zeros(n, int)],
    "negative ids": lambda x, n: x[np.full(n, -len(x))],
    "x[:, ids]": lambda x, n: x[None][:, np.zeros(n, int)],
    "take": lambda x, n: np.take(x, np.zeros(n, int)),
    "repeat": lambda x, n: np.repeat(x[:1], n),
    "tile": lambda x, n: np.tile(x[:1], n),
    "broadcast_to": lambda x, n: np.broadcast_to(x[:1], (n,)),
    "cumsum": lambda x, n: np.cumsum(np.concatenate([x[:1], np.zeros(n - 1, x.dtype)])),
    "index_update": lambda x, n: mg.index_update(mg.zeros(n, dtype=x.dtype), np.arange(n), x[:1]),
    "index_add": lambda x, n: mg.index_add(mg.zeros(n, dtype=x.dtype), np.arange(n), x[0]),
    "embedding": lambda x, n: mg.functional.embedding(np.zeros(n, int), x[:, None]),
}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize(("dtype", "n"), [(np.float16, 5000), (np.float32, 1 << 22)])
@pytest.mark.parametrize("others", [2, 1 << 17])
def test_gradients_of_many_reads_of_one_element_add_up(read, dtype, n, others):
    """In float16 a sum of ones ends at 2048; in float32 one of tenths loses 4 % over 4 million."""
    if others > 2:
        n //= 64  # few reads of a large array take another way
    x = mg.tensor(np.ones(others, dtype), requires_grad=True)
    y = READS[read](x, n)
    term = dtype(0.1 if dtype is np.float32 else 1)
    y.backward(np.full(y.shape, term))
    assert x.grad.dtype == dtype
    np.testing.assert_allclose(float(x.grad.data[0]), n * float(term), rtol=2e-3 if dtype is np.float16 else 1e-6)
    assert not x.grad.data[1:].any()


def test_running_sums_keep_their_precision():
    n = 1 << 22
    assert np.cumsum(mg.ones(5000, dtype=np.float16)).data[-1] == 5000
    np.testing.assert_allclose(np.cumsum(mg.full(n, 0.1)).data[-1], n * 0.1, rtol=1e-6)


def test_values_are_added_under_a_mask_of_a_large_array():
    mask = np.zeros(10_000, bool)
    mask[::50] = True
    for index in (mask, (mask,)):
        y = mg.index_add(mg.zeros(10_000), index, np.arange(200, dtype=np.float32))
        np.testing.assert_array_equal(y.data[mask], np.arange(200))
        assert not y.data[~mask].any()


def test_values_added_to_one_element_keep_their_precision():
    n = 1 << 20
    y = mg.index_add(mg.zeros(2), np.zeros(n, int), np.full(n, 0.1, np.float32))
    np.testing.assert_allclose(y.data, [n * 0.1, 0], rtol=1e-6)
    y = mg.index_add(mg.zeros(2, dtype=np.int64), np.zeros(n, int), np.full(n, (1 << 42) + 1))
    assert y.data[0] == n * ((1 << 42) + 1)  # to the last bit, as of integers
