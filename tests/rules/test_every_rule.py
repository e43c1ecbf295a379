"""Every NumPy function that works on Tensors, against numerical derivatives to the second order.

SAMPLES says of each how to draw a call of it; a function or rule without a sample fails the suite.
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minigrad as mg
from minigrad.graph import toposort, vertex
from minigrad.rule import RULES
from minigrad.rules.elementwise import CONSTANTS, erf, erfc
from minigrad.rules.reductions import logsumexp
from minigrad.strategies import arrays, axes, broadcastable, shapes
from minigrad.tensor import HANDLERS, Tensor
from minigrad.testing import check_gradients

SAMPLES = {}


def sample(*functions, **options):
    """Register how to draw (inputs, call) for these functions; options go to check_gradients."""

    def register(draw):
        for function in functions:
            SAMPLES[function] = draw, options
        return draw

    return register


def unary(function, low=-2.0, high=2.0, gap=0.0, **options):
    @sample(function, **options)
    def draw(data, function=function):
        return [data.draw(arrays(shapes(), low, high, gap))], function


def binary(function, low=-2.0, high=2.0, gap=0.0, **options):
    @sample(function, **options)
    def draw(data, function=function):
        shape = data.draw(shapes())
        x, y = data.draw(arrays(shape, low, high, gap)), data.draw(arrays(broadcastable(shape), low, high, gap))
        if function in (np.maximum, np.minimum, np.fmax, np.fmin):  # far from ties, which are kinks
            x, y = np.asarray(np.round(x, 1)), np.asarray(np.round(y, 1) + 0.05)
        return data.draw(st.permutations([x, y])), function


def reduction(function, low=-2.0, high=2.0, gap=0.0, many=True, keepdims=True, empty=True, min_side=None, **options):
    @sample(function, **options)
    def draw(data, function=function):
        x = data.draw(arrays(shapes(min_side=min_side if min_side is not None else 0 if empty else 1), low, high, gap))
        kwargs = {"axis": data.draw(axes(x.ndim, many))}
        if keepdims:
            kwargs["keepdims"] = data.draw(st.booleans())
        return [x], lambda x: function(x, **kwargs)


COMPLEX = {"method": "complex"}

# ---- elementwise -----------------------------------------------------------------------------------------------------

for f in (
    np.negative,
    np.positive,
    np.copy,
    np.square,
    np.exp,
    np.exp2,
    np.expm1,
    np.sin,
    np.cos,
    np.sinh,
    np.cosh,
    np.tanh,
    np.arctan,
    np.arcsinh,
):
    unary(f, -0.9, 0.9, **COMPLEX)
for f in (np.sqrt, np.log, np.log2, np.log10, np.log1p, np.reciprocal):
    unary(f, 0.3, 3.0, **COMPLEX)
for f in (np.tan, np.arcsin, np.arccos, np.arctanh):
    unary(f, -0.9, 0.9, **COMPLEX)
unary(np.arccosh, 1.3, 3.0, **COMPLEX)
unary(np.cbrt, 0.3, 3.0)
unary(np.nan_to_num)
unary(erf)
unary(erfc)
for f in (np.absolute, np.fabs):
    unary(f, gap=0.1)
for f in (np.sign, np.floor, np.ceil, np.trunc, np.rint, np.round, np.around):
    unary(f, 0.1, 0.4, flat=True)


@sample(np.floor_divide, flat=True)
def _(data):
    shape = data.draw(shapes())
    return [data.draw(arrays(shape, 1.1, 1.4)), data.draw(arrays(broadcastable(shape), 0.75, 1.0))], np.floor_divide


for f in (np.add, np.subtract, np.multiply):
    binary(f, **COMPLEX)
for f in (np.divide, np.power):
    binary(f, 0.3, 2.0, **COMPLEX)
for f in (np.logaddexp, np.logaddexp2):
    binary(f)
for f in (np.maximum, np.minimum, np.fmax, np.fmin):
    binary(f, gap=0.05)
for f in (np.hypot, np.arctan2):
    binary(f, 0.3, 2.0)


@sample(np.clip)
def _(data):
    shape = data.draw(shapes())
    x = np.asarray(np.round(data.draw(arrays(shape)), 1))
    low, high = data.draw(arrays(broadcastable(shape), -1.5, -0.5)), data.draw(arrays(broadcastable(shape), 0.5, 1.5))
    case = data.draw(st.integers(0, 2))
    return [x, np.asarray(np.round(low, 1) + 0.05), np.asarray(np.round(high, 1) + 0.05)], [
        np.clip,
        lambda x, low, high: np.clip(x, low, None) + 0.0 * np.sum(high),
        lambda x, low, high: np.clip(x, a_min=None, a_max=high) + 0.0 * np.sum(low),
    ][case]


@sample(np.where)
def _(data):
    shape = data.draw(shapes())
    x, y = data.draw(arrays(shape)), data.draw(arrays(broadcastable(shape)))
    mask = data.draw(arrays(broadcastable(shape))) > 0
    return [x, y], lambda x, y: np.where(mask, x, y)


@sample(np.full_like)
def _(data):
    return [data.draw(arrays((2, 3))), data.draw(arrays(broadcastable((2, 3))))], lambda x, v: np.full_like(x, v) * x


@sample(np.astype)
def _(data):
    return [data.draw(arrays(shapes()))], lambda x: np.astype(x * 2.0, np.float64)


# ---- reductions ------------------------------------------------------------------------------------------------------

reduction(np.sum, **COMPLEX)
reduction(np.mean, empty=False, **COMPLEX)
reduction(np.prod, **COMPLEX)
for f in (np.max, np.amax, np.min, np.amin, np.ptp, np.median):
    reduction(f, empty=False)
SAMPLES[np.ptp] = SAMPLES[np.ptp][0], {"flat": True}
reduction(np.average, empty=False)
reduction(logsumexp, empty=False)
for f in (np.cumsum, np.cumprod):
    reduction(f, many=False, keepdims=False, **COMPLEX)
reduction(np.sort, many=False, keepdims=False)


@sample(np.var, np.std)
def _(data, function=np.var):
    x = data.draw(arrays(shapes(min_dims=1, min_side=2)))
    kwargs = {
        "axis": data.draw(axes(x.ndim).filter(lambda axis: axis != ())),
        "ddof": data.draw(st.sampled_from([0, 0.5])),
        "keepdims": data.draw(st.booleans()),
    }
    return [x], lambda x: function(x, **kwargs)


@sample(np.linalg.norm)
def _(data):
    x = data.draw(arrays(shapes(min_side=1), gap=0.1))
    axis = data.draw(st.none() | st.integers(-x.ndim, x.ndim - 1)) if x.ndim else None
    orders = [None] if axis is None and x.ndim != 1 else [None, 1, 2, 3, 1.5, np.inf, -np.inf]
    order = data.draw(st.sampled_from(orders))
    if x.ndim > 1 and data.draw(st.booleans()):
        axis, order = (0, -1), data.draw(st.sampled_from([None, "fro"]))
    if order in (np.inf, -np.inf):  # far from ties, which are kinks
        x = data.draw(arrays(x.shape, 0.1, 3.0))
    kwargs = {"ord": order, "axis": axis, "keepdims": data.draw(st.booleans())}
    return [x], lambda x: np.linalg.norm(x, **kwargs)


@pytest.mark.parametrize("order", [None, 1, 1.5, 2, 3, 4.0, 0.5, -1, -2.5, np.inf, -np.inf])
def test_the_norm_of_every_order(order):
    x = np.array([[1.0, -2.0, 0.5], [0.3, 0.7, -0.9]])
    for axis, keepdims in ((1, False), (0, True)):
        check_gradients(lambda x: np.linalg.norm(x, order, axis, keepdims), x)
    check_gradients(lambda x: np.linalg.norm(x, order), x[0])
    for matrix in (None, "fro"):
        check_gradients(lambda x: np.linalg.norm(x, matrix), x)


def test_orders_of_a_norm_without_a_derivative_are_refused():
    x = mg.tensor([[1.0, 2.0]])
    with pytest.raises(ValueError, match="ord=0 counts, and a count has no derivative"):
        np.linalg.norm(x[0], 0)
    for matrix, order in ((x, 1), (x, "nuc"), (x[0], "fro")):
        with pytest.raises(ValueError, match=f"ord={order!r} has no derivative rule here"):
            np.linalg.norm(matrix, order)
    with pytest.raises(ValueError, match=r"ord=2 needs an axis for x of shape \(1, 1, 2\)"):
        np.linalg.norm(x[None], 2)


def test_sort_hands_its_kind_on_and_equals_keep_their_order():
    x = np.random.default_rng(0).integers(0, 3, 100).astype(float)
    g = np.arange(100.0)
    right = np.empty(100)
    right[np.argsort(x, kind="stable")] = g
    for kwargs in ({}, {"kind": "stable"}, {"stable": True}):
        leaf = mg.tensor(x, requires_grad=True)
        np.sort(leaf, **kwargs).backward(g)
        np.testing.assert_array_equal(leaf.grad.data, right)
    with pytest.raises(ValueError, match="sort kind must be one of"):
        np.sort(mg.tensor(x), kind="bubble")


OF_NO_AXIS = [
    np.sum, np.prod, np.max, np.amax, np.min, np.amin, np.ptp, np.mean, np.median, np.var, np.std, np.average, np.cumsum,
    np.cumprod, np.sort, np.flip, logsumexp, lambda x, axis: np.take(x, [0, 0], axis), lambda x, axis: np.repeat(x, 2, axis),
]  # fmt: skip


@pytest.mark.parametrize("axis", [0, -1, 1, -2, (0,), ()])
@pytest.mark.parametrize("function", OF_NO_AXIS, ids=lambda f: f.__name__)
def test_an_axis_of_a_number_is_taken_where_numpy_takes_it(function, axis):
    x = np.array(0.7)
    numpys = function if function is not logsumexp else lambda x, axis: np.logaddexp.reduce(x, axis)
    try:
        right = numpys(x, axis=axis)
    except (TypeError, ValueError, IndexError):
        with pytest.raises((TypeError, ValueError, IndexError)):
            function(mg.tensor(x, requires_grad=True), axis=axis)
        return
    np.testing.assert_allclose(function(mg.tensor(x), axis=axis).data, right)
    check_gradients(lambda x: function(x, axis=axis), x, flat=function in (np.ptp, np.var, np.std))


# ---- shapes ----------------------------------------------------------------------------------------------------------


def moved(*functions, min_dims=0, min_side=0, **options):
    """For functions that move elements: the body gives the call for an x that it is shown."""

    def register(body):
        for function in functions:

            def draw(data, function=function):
                x = data.draw(arrays(shapes(min_dims=min_dims, min_side=min_side)))
                return [x], body(data, x, function)

            sample(function, **(COMPLEX | options))(draw)
        return body

    return register


def an_axis(data, x):
    return data.draw(st.integers(-x.ndim, x.ndim - 1))


@moved(np.reshape)
def _(data, x, f):
    shape = data.draw(st.permutations(x.shape)) + data.draw(st.sampled_from([[], [1]]))
    return lambda x: f(x, tuple(shape))


@moved(np.ravel, np.atleast_1d, np.atleast_2d)
def _(data, x, f):
    return f


@moved(np.transpose, np.permute_dims)
def _(data, x, f):
    order = data.draw(st.none() | st.permutations(range(x.ndim)).map(tuple))
    return lambda x: f(x, order)


@moved(np.matrix_transpose, np.fliplr, np.tril, np.triu, np.trace, np.diagonal, min_dims=2)
def _(data, x, f):
    if f in (np.tril, np.triu, np.trace, np.diagonal):
        k = data.draw(st.integers(-2, 2))
        return lambda x: f(x, k)
    return f


@moved(np.flipud, min_dims=1)
def _(data, x, f):
    return f


@moved(np.swapaxes, np.moveaxis, min_dims=1)
def _(data, x, f):
    a, b = an_axis(data, x), an_axis(data, x)
    return lambda x: f(x, a, b)


@moved(np.rollaxis, min_dims=1)
def _(data, x, f):
    a, b = an_axis(data, x), data.draw(st.integers(-x.ndim, x.ndim))
    return lambda x: f(x, a, b)


@moved(np.expand_dims)
def _(data, x, f):
    axis = data.draw(st.integers(-x.ndim - 1, x.ndim) | st.just((0, -1)))
    return lambda x: f(x, axis)


@moved(np.squeeze)
def _(data, x, f):
    axis = data.draw(st.sampled_from([None, 0, (0, -1)]))
    return lambda x: f(np.reshape(x, (1, *x.shape, 1)), axis)


@moved(np.broadcast_to)
def _(data, x, f):
    lead = data.draw(shapes(max_dims=2))
    return lambda x: f(np.expand_dims(x, 0), (*lead, 2, *x.shape))


@moved(np.tile)
def _(data, x, f):
    reps = data.draw(st.integers(0, 3) | st.lists(st.integers(0, 2), max_size=4))
    return lambda x: f(x, reps)


@moved(np.repeat, min_dims=1)
def _(data, x, f):
    axis = data.draw(st.none() | st.just(-1))
    n = x.size if axis is None else x.shape[-1]
    repeats = data.draw(st.integers(0, 3) | st.lists(st.integers(0, 2), min_size=n, max_size=n))
    return lambda x: f(x, repeats, axis)


@moved(np.flip)
def _(data, x, f):
    axis = data.draw(axes(x.ndim))
    return lambda x: f(x, axis)


@moved(np.roll)
def _(data, x, f):
    axis = data.draw(axes(x.ndim, many=False))
    shift = data.draw(st.integers(-5, 5))
    return lambda x: f(x, shift, axis) if axis is not None else f(x, shift)


@moved(np.rot90, min_dims=2)
def _(data, x, f):
    k = data.draw(st.integers(-2, 5))
    return lambda x: f(x, k, axes=(0, -1))


@moved(np.pad)
def _(data, x, f):
    width = data.draw(st.sampled_from([1, (0, 2)])) if x.ndim else 0
    return lambda x: f(x, width, constant_values=2.0) if x.ndim else x * 1.0


@sample(np.concatenate, np.stack, np.vstack, np.hstack, **COMPLEX)
def _(data, function=None):
    shape = data.draw(shapes(min_dims=1))
    xs = [data.draw(arrays(shape)) for _ in range(data.draw(st.integers(1, 3)))]
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    if function in (np.vstack, np.hstack):
        return xs, lambda *xs: function(xs)
    if function is np.concatenate and data.draw(st.booleans()):
        axis = None
    return xs, lambda *xs: function(xs, axis=axis)


@moved(np.split, np.array_split, np.unstack, min_dims=1)
def _(data, x, f):
    axis = an_axis(data, x)
    if f is np.unstack:
        return lambda x: f(x, axis=axis) or (np.sum(x),)
    parts = (
        data.draw(st.integers(1, 3) | st.just([1, 2])) if f is np.array_split else data.draw(st.sampled_from([1, [1]]))
    )
    return lambda x: f(x, parts, axis)


@moved(np.diag)
def _(data, x, f):
    k = data.draw(st.integers(-2, 2))
    return lambda x: f(np.ravel(x), k)


# ---- indexing --------------------------------------------------------------------------------------------------------

INDICES = [
    0, -1, (1, 2), slice(None, None, -1), slice(1, None), ..., (..., 0), None, (None, 0, ..., None), (slice(None), -1),
    [0, 0, 1], ([0, 1, 1], [2, 2, 0]), (slice(None), [0, 0, 2]), ([[0, 1], [1, 1]], slice(0, 2)), np.array([], int),
    (0, ..., [1, 1]), ([1, 0], None, slice(1, 3)), True, np.array([True, False]), (np.array([False, False]), 1),
]  # fmt: skip


@st.composite
def indices(draw, shape):
    """An index of an array of this shape: numbers, slices, arrays of numbers, masks, None and `...` in any mixture."""
    common = draw(st.sampled_from([(1,), (2,), (3,), (2, 1), (2, 3)]))  # what the arrays in it broadcast to

    def part(i):
        n = shape[i]
        kinds = [
            st.builds(slice, *(st.none() | st.integers(-n - 1, n + 1),) * 2, st.sampled_from([None, 1, 2, -1, -2]))
        ]
        kinds += [st.lists(st.booleans(), min_size=n, max_size=n).map(lambda bits: np.array(bits, bool))]
        if n:
            size = draw(broadcastable(common))
            numbers = st.lists(st.integers(-n, n - 1), min_size=int(np.prod(size)), max_size=int(np.prod(size)))
            array = numbers.map(lambda numbers: np.array(numbers, int).reshape(size))
            kinds += [st.integers(-n, n - 1), array, array.map(lambda a: a.tolist()), array]
        return draw(st.one_of(kinds))

    parts = [part(i) for i in range(draw(st.integers(0, len(shape))))]
    if len(shape) > 1 and draw(st.integers(0, 4)) == 0:  # a mask of two axes at once
        bits = draw(st.lists(st.booleans(), min_size=(n := shape[0] * shape[1]), max_size=n))
        parts = [np.array(bits, bool).reshape(shape[:2]), *parts[2:]]
    if draw(st.booleans()):
        parts.insert(draw(st.integers(0, len(parts))), ...)
        if parts[0] is ...:  # then they are of the last axes
            count = sum(
                1 for p in parts if p is not ... and not (isinstance(p, np.ndarray) and p.ndim > 1 and p.dtype == bool)
            )
            parts = [..., *(part(i) for i in range(len(shape) - count, len(shape)))]
    for _ in range(draw(st.integers(0, 2))):
        parts.insert(draw(st.integers(0, len(parts))), None)
    return tuple(parts) if len(parts) != 1 or draw(st.booleans()) else parts[0]


def index_of(data, shape):
    """One of INDICES or a mixture; one that NumPy takes."""

    def is_taken(index):
        try:
            np.empty(shape)[index]
        except IndexError:
            return False
        return True

    return data.draw(indices(shape).filter(is_taken))


@sample(Tensor.__getitem__, **COMPLEX)
def _(data):
    if data.draw(st.booleans()):
        index = data.draw(st.sampled_from(INDICES))
        return [data.draw(arrays((2, 3, 2)))], lambda x: x[index]
    x = data.draw(arrays(shapes()))
    index = index_of(data, x.shape)
    return [x], lambda x: x[index]


@sample(np.take, **COMPLEX)
def _(data):
    x = data.draw(arrays(shapes(min_dims=1, min_side=1)))
    axis = data.draw(axes(x.ndim, many=False))
    n = x.size if axis is None else x.shape[axis]
    ids = data.draw(st.integers(0, n - 1) | st.lists(st.integers(-n, n - 1), max_size=5))
    ids = ids if isinstance(ids, int) else np.array(ids, int)
    return [x], lambda x: np.take(x, ids, axis)


@sample(np.take_along_axis, **COMPLEX)
def _(data):
    x = data.draw(arrays(shapes(min_dims=1, min_side=1)))
    axis = an_axis(data, x)
    ids = np.argsort(data.draw(arrays(x.shape)), axis)[(slice(None),) * (axis % x.ndim) + (slice(0, 2),)]
    return [x], lambda x: np.take_along_axis(x, ids, axis)


@sample(mg.index_update, mg.index_add)
def _(data, function=None):
    if data.draw(st.booleans()):
        x, index = data.draw(arrays((2, 3, 2))), data.draw(st.sampled_from(INDICES))
    else:
        x = data.draw(arrays(shapes()))
        index = index_of(data, x.shape)
    shape = data.draw(broadcastable(x[index].shape))
    if function is mg.index_update and len(shape) == x[index].ndim:  # in front of all NumPy takes more axes of length 1
        shape = (1,) * data.draw(st.integers(0, 2)) + shape
    values = data.draw(arrays(shape))
    return [x, values], lambda x, v: written(function, x, index, v)


def test_values_are_stretched_to_an_index_of_more_axes_before_they_are_added():
    index = [[0, 1], [0, 1]]
    for values in (np.array([10.0, 20.0]), np.array([[10.0, 20.0]]), np.array(10.0)):
        right = np.zeros(3)
        np.add.at(right, np.array(index), np.broadcast_to(values, (2, 2)))
        for x in (np.zeros(3), mg.zeros(3, dtype=np.float64)):
            np.testing.assert_array_equal(np.asarray(mg.index_add(mg.tensor(x), index, values).data), right)
    check_gradients(lambda x, v: mg.index_add(x, index, v), np.zeros(3), np.array([10.0, 20.0]))


def written(function, x, index, values):
    """What function makes; of arrays alone, what NumPy does, whose add.at goes wrong where it broadcasts."""
    if not (isinstance(x, np.ndarray) and isinstance(values, np.ndarray)):
        return function(x, index, values)
    y = np.array(x)
    values = np.broadcast_to(values.reshape(values.shape[max(values.ndim - y[index].ndim, 0) :]), y[index].shape)
    if function is mg.index_add:
        np.add.at(y, index, values)
    else:
        y[index] = values
    return y


# ---- linear algebra --------------------------------------------------------------------------------------------------


@sample(np.matmul, **COMPLEX)
def _(data):
    a, b = data.draw(
        st.sampled_from([
            ((3,), (3,)), ((3,), (3, 2)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)),
            ((5, 1, 2, 3), (2, 3, 1)), ((3,), (2, 3, 4)), ((2, 2, 3), (3,)), ((2, 0), (0, 3)), ((0, 2, 3), (3, 1)),
        ])
    )  # fmt: skip
    return [data.draw(arrays(a)), data.draw(arrays(b))], np.matmul


@sample(np.dot, np.inner, np.tensordot, **COMPLEX)
def _(data, function=None):
    pairs = {
        np.dot: [
            ((), (2, 3)),
            ((2, 3), ()),
            ((3,), (3,)),
            ((2, 3), (3,)),
            ((2, 3), (3, 2)),
            ((2, 3), (4, 3, 2)),
            ((3,), (2, 3, 1)),
        ],
        np.inner: [((), (3,)), ((3,), ()), ((3,), (3,)), ((2, 3), (3,)), ((2, 3), (4, 3))],
        np.tensordot: [((2, 3), (2, 3)), ((4, 2, 3), (2, 3)), ((2, 3), (2, 3, 4))],
    }[function]
    a, b = data.draw(st.sampled_from(pairs))
    return [data.draw(arrays(a)), data.draw(arrays(b))], function


AXES = [  # the shapes of two operands, and the axes that are summed over
    ((2, 3), (3, 2), [[0, 1], [1, 0]]), ((2, 3), (4, 3), [1, 1]), ((2, 3), (4, 3), ((1,), (-1,))), ((2, 3), (4,), 0),
    ((2, 3), (3, 4), 1), ((2, 3), (3, 4), np.int64(1)), ((4, 2, 3), (3, 5, 4), [(0, 2), (2, 0)]), ((2, 3), (4, 2), [[-2], [1]]),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b", "over"), AXES)
def test_tensordot_over_axes_that_are_named(a, b, over):
    x, y = np.random.default_rng(0).standard_normal(a), np.random.default_rng(1).standard_normal(b)
    right = np.tensordot(x, y, over)
    for u, v in ((mg.tensor(x), mg.tensor(y)), (mg.tensor(x), y), (x, mg.tensor(y)), (mg.tensor(x), mg.tensor(y).data)):
        found = np.tensordot(u, v, axes=over)
        np.testing.assert_allclose(found.data, right, rtol=1e-12)
        assert found.shape == right.shape
    check_gradients(lambda x, y: np.tensordot(x, y, over), x, y)


@sample(np.outer, np.kron, np.vdot)  # vdot conjugates, which is not analytic
def _(data, function=None):
    a, b = data.draw(shapes(max_dims=2)), data.draw(shapes(max_dims=2))
    return [data.draw(arrays(a)), data.draw(arrays(a if function is np.vdot else b))], function


@sample(np.vecdot)
def _(data):
    shape = data.draw(shapes(min_dims=1))
    axis = data.draw(st.sampled_from([-1, 0])) if len(shape) < 3 else -1
    x, y = data.draw(arrays(shape)), data.draw(arrays(shape[-1:] if axis == -1 else shape[:1]))
    return [x, y], lambda x, y: np.vecdot(x, y, axis=axis)


EINSUMS = [
    ("i->", (3,)), ("ij->ji", (2, 3)), ("ii", (3, 3)), ("ii->i", (3, 3)), ("iij->j", (2, 2, 3)), ("iii->", (2, 2, 2)),
    ("i,i", (3,), (3,)), ("ij,jk", (2, 3), (3, 4)), ("ij,kj->ki", (2, 3), (4, 3)), ("bij,bjk->bik", (2, 3, 2), (2, 2, 1)),
    ("ij,j,k->i", (2, 3), (3,), (2,)), ("...i,...i->...", (2, 3), (4, 1, 3)), ("i...,ij->j...", (2, 3), (2, 4)),
    ("ij,ij,ij->", (2, 3), (2, 3), (2, 3)), ("i,j,k,l->lk", (2,), (3,), (2,), (1,)), ("...ij->...ji", (2, 3)), ("ij,ij", (2, 3), (2, 3)),
    ("ii,i...->...", (2, 2), (2, 3)), ("ij,ij->", (3, 4), (1, 4)), ("ij,jk->ik", (2, 1), (3, 4)), ("...i,...i", (2, 3), (3, 1, 3)), (",i->i", (), (3,)), ("...,...", (2, 1), (3,)), ("ij,jk->ik", (2, 0), (0, 3)),
]  # fmt: skip


@sample(np.einsum, **COMPLEX)
def _(data):
    text, *sizes = data.draw(st.sampled_from(EINSUMS))
    return [data.draw(arrays(size)) for size in sizes], lambda *xs: np.einsum(text, *xs)


def matrices(data, n=None, lead=None):
    """Stacks of matrices far from singular."""
    n = n or data.draw(st.integers(1, 3))
    lead = data.draw(shapes(max_dims=1, min_side=1)) if lead is None else lead
    return data.draw(arrays((*lead, n, n), -0.4, 0.4)) + 1.5 * np.eye(n)


@sample(np.linalg.inv, np.linalg.det, **COMPLEX)
def _(data, function=None):
    return [matrices(data)], function


@sample(np.linalg.slogdet)
def _(data):
    return [matrices(data)], lambda x: np.linalg.slogdet(x).logabsdet


@sample(np.linalg.cholesky)
def _(data):
    return [matrices(data)], lambda x: np.linalg.cholesky(x @ x.mT)


@sample(np.linalg.matrix_power, **COMPLEX)
def _(data):
    n = data.draw(st.integers(-3, 5).filter(bool))
    return [matrices(data)], lambda x: np.linalg.matrix_power(x, n)


@sample(np.linalg.solve, **COMPLEX)
def _(data):
    a = matrices(data)
    n = a.shape[-1]
    b = data.draw(arrays(data.draw(st.sampled_from([(n,), (n, 2), (*a.shape[:-1], 2)]))))
    return [a, b], np.linalg.solve


@sample(np.linalg.multi_dot, **COMPLEX)
def _(data):
    sizes = data.draw(
        st.sampled_from(
            [[(2, 3), (3, 1)], [(3,), (3, 4), (4, 2)], [(1, 3), (3, 4), (4, 2), (2,)], [(9, 2), (2, 9), (9, 1)]]
        )
    )
    return [data.draw(arrays(size)) for size in sizes], lambda *xs: np.linalg.multi_dot(xs)


# ---- the tests -------------------------------------------------------------------------------------------------------

BESIDE_HANDLERS = {erf, erfc, logsumexp}
NAMES = {f: getattr(f, "__qualname__", f.__name__) for f in SAMPLES}


def drawn(function, data):
    draw, options = SAMPLES[function]
    takes_function = "function" in draw.__code__.co_varnames[: draw.__code__.co_argcount]
    inputs, call = draw(data, function) if takes_function else draw(data)
    return inputs, call, options


@pytest.mark.parametrize("function", SAMPLES, ids=NAMES.get)
@given(data=st.data())
def test_value_and_gradients(function, data):
    inputs, call, options = drawn(function, data)
    values = call(*map(mg.Tensor, inputs))
    if function not in BESIDE_HANDLERS:  # these call themselves on arrays
        expected = call(*inputs)
        for y, z in zip(as_list(values), as_list(expected), strict=True):
            np.testing.assert_allclose(y.data, z, rtol=1e-12, atol=1e-12)
            assert y.data.shape == np.shape(z)
    empty = any(np.size(x) == 0 for x in inputs) or any(np.size(y) == 0 for y in as_list(values))
    may_be_flat = function in (np.tril, np.triu, np.trace, np.tile, np.repeat, np.where, np.take_along_axis)
    check_gradients(call, *inputs, **{"flat": empty or may_be_flat, **options})


def as_list(values):
    return values if isinstance(values, list | tuple) else [values]


@pytest.mark.parametrize("function", SAMPLES, ids=NAMES.get)
@given(data=st.data())
def test_float32_stays_float32(function, data):
    inputs, call, _ = drawn(function, data)
    leaves = [mg.tensor(x.astype(np.float32), requires_grad=True) for x in inputs]
    values = call(*leaves)
    for y in as_list(values):
        assert y.dtype == (np.float64 if function is np.astype else np.float32)
        if y.requires_grad:
            np.sum(y).backward(retain_graph=True)
    assert all(x.grad is None or (x.grad.dtype == np.float32 and x.grad.shape == x.shape) for x in leaves)


OPERANDS = {
    "leaf": lambda x: mg.tensor(x, requires_grad=True),
    "tensor": mg.Tensor,
    "array": lambda x: x,
    "list": lambda x: x.tolist() if x.size else x,  # an empty list would not tell the shape
}


@pytest.mark.parametrize("function", SAMPLES, ids=NAMES.get)
@given(data=st.data())
def test_every_operand_may_be_a_tensor_an_array_or_a_list(function, data):
    inputs, call, _ = drawn(function, data)
    kinds = [data.draw(st.sampled_from([*OPERANDS])) for _ in inputs]
    kinds[data.draw(st.integers(0, len(inputs) - 1))] = "leaf"
    if function is np.full_like:  # NumPy asks the first one alone whose function it is
        kinds[0] = "leaf"

    def values_and_gradients(kinds):
        xs = [OPERANDS[kind](x) for x, kind in zip(inputs, kinds, strict=True)]
        ys, leaves = as_list(call(*xs)), [x for x in xs if isinstance(x, Tensor) and x.requires_grad]
        gradients = [None] * len(leaves)
        if all(y.requires_grad for y in ys):
            weights = [np.cos(np.arange(y.size)).reshape(y.shape) for y in ys]
            gradients = mg.autograd.grad(ys, leaves, weights, allow_unused=True)
        return [y.data for y in ys], gradients

    values, gradients = values_and_gradients(kinds)
    right, all_gradients = values_and_gradients(["leaf"] * len(inputs))
    for y, z in zip(values, right, strict=True):
        np.testing.assert_allclose(y, z, rtol=1e-12, atol=1e-12)
        assert (y.dtype, y.shape) == (z.dtype, z.shape)
    wanted = [g for g, kind in zip(all_gradients, kinds, strict=True) if kind == "leaf"]
    for g, h in zip(gradients, wanted, strict=True):
        assert (g is None) == (h is None)
        if g is not None:
            np.testing.assert_allclose(g.data, h.data, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("function", SAMPLES, ids=NAMES.get)
@given(data=st.data())
def test_no_gradient_shares_memory_with_another_or_with_what_it_came_from(function, data):
    inputs, call, _ = drawn(function, data)
    leaves = [mg.Tensor(x, requires_grad=True) for x in inputs]
    ys = [y for y in as_list(call(*leaves)) if y.requires_grad]
    if not ys:
        return
    seeds = [np.ones(y.shape) for y in ys]
    for create_graph in (False, True):
        found = mg.autograd.grad(ys, leaves, seeds, retain_graph=True, create_graph=create_graph, allow_unused=True)
        apart([g.data for g in found if g is not None], [*seeds, *inputs, *(y.data for y in ys)])
    for y, seed in zip(ys, map(mg.Tensor, seeds), strict=True):
        y.backward(seed, retain_graph=True)
    apart([x.grad.data for x in leaves if x.grad is not None], [*seeds, *inputs, *(y.data for y in ys)])


def apart(gradients, others):
    for i, g in enumerate(gradients):
        assert g.flags.writeable
        for other in (*gradients[:i], *others):
            assert not np.shares_memory(g, other)


def test_no_function_is_without_a_sample():
    constant_or_engine = {*CONSTANTS, Tensor.backward, Tensor.register_hook}
    assert {f.__name__ for f in HANDLERS if f not in SAMPLES and f not in constant_or_engine} == set()


def test_no_rule_is_without_a_sample():
    used = set()

    @given(data=st.data())
    def collect(data):
        for function in SAMPLES:
            inputs, call, _ = drawn(function, data)
            values = call(*(mg.tensor(x, requires_grad=True) for x in inputs))
            for y in as_list(values):
                used.update(node.rule for node in toposort([vertex(y)]))
                if y.requires_grad:
                    gradient = mg.autograd.grad(np.sum(y * y), [y], create_graph=True)
                    used.update(node.rule for node in toposort(map(vertex, gradient)))

    collect()
    ours = [r for r in RULES if r.function.__module__.startswith("minigrad.rules.")]
    assert len(ours) > 80
    assert [r.name for r in ours if r not in used and r.name != "put"] == []
