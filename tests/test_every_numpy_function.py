"""Every NumPy function that works on Tensors, with one argument at a time replaced by a bad one, beside NumPy itself.

What is accepted must be what NumPy makes of the same arrays; what is refused is a TypeError, ValueError or IndexError,
or what NumPy says itself. NUMPY holds the calls that are not simply f(x) or f(x, y).
"""

import time
import warnings

import numpy as np
import pytest

import minigrad as mg
from minigrad.tensor import HANDLERS, Tensor, detached
from tests.test_every_callable import BAD, REFUSALS, SECONDS, bounded, of, started

assert bounded  # a fixture

X = np.random.default_rng(0).uniform(0.2, 0.8, (3, 3)).astype(np.float32)
SQUARE = (X @ X.T + np.eye(3, dtype=np.float32)).astype(np.float32)


def x(array=X):
    return mg.tensor(array, requires_grad=True)


AXIS = (np.sum, np.mean, np.prod, np.max, np.amax, np.min, np.amin, np.ptp, np.median, np.all, np.any)
ALONG = (np.cumsum, np.cumprod, np.sort, np.argsort)

NUMPY = {
    **{f: lambda f=f: of(f, x(), axis=0, keepdims=False) for f in (*AXIS, np.argmax, np.argmin)},
    **{f: lambda f=f: of(f, x(), axis=0) for f in ALONG},
    **{f: lambda f=f: of(f, x(), axis=0, ddof=1, keepdims=False) for f in (np.var, np.std)},
    np.all: lambda: of(np.all, x(), axis=0, keepdims=False),
    np.count_nonzero: lambda: of(np.count_nonzero, x(), axis=0),
    np.average: lambda: of(np.average, x(), axis=0, weights=np.ones(3, np.float32)),
    np.clip: lambda: of(np.clip, x(), 0.3, 0.6),
    np.where: lambda: of(np.where, X > 0.5, x(), x()),
    np.full_like: lambda: of(np.full_like, x(), 0.5),
    np.astype: lambda: of(np.astype, x(), np.float64),
    np.round: lambda: of(np.round, x(), 1),
    np.around: lambda: of(np.around, x(), 1),
    np.isclose: lambda: of(np.isclose, x(), X, rtol=1e-5, atol=1e-8, equal_nan=False),
    np.allclose: lambda: of(np.allclose, x(), X, rtol=1e-5, atol=1e-8, equal_nan=False),
    np.array_equal: lambda: of(np.array_equal, x(), X, equal_nan=False),
    np.searchsorted: lambda: of(np.searchsorted, mg.tensor([0.1, 0.5]), X, side="left"),
    np.digitize: lambda: of(np.digitize, x(), [0.3, 0.6], right=False),
    np.can_cast: lambda: of(np.can_cast, x(), np.float64),
    np.take: lambda: of(np.take, x(), [0, 1], axis=0),
    np.take_along_axis: lambda: of(np.take_along_axis, x(), np.zeros((3, 1), np.int64), axis=1),
    np.diagonal: lambda: of(np.diagonal, x(), 0, 0, 1),
    np.diag: lambda: of(np.diag, x(), 0),
    np.trace: lambda: of(np.trace, x(), 0, 0, 1),
    np.tensordot: lambda: of(np.tensordot, x(), x(), axes=1),
    np.linalg.multi_dot: lambda: of(np.linalg.multi_dot, [x(), x(), x()]),
    np.einsum: lambda: of(np.einsum, "ij,jk->ik", x(), x()),
    **{f: lambda f=f: of(f, x(SQUARE)) for f in (np.linalg.inv, np.linalg.det, np.linalg.slogdet, np.linalg.cholesky)},
    np.linalg.solve: lambda: of(np.linalg.solve, x(SQUARE), x()),
    np.linalg.matrix_power: lambda: of(np.linalg.matrix_power, x(SQUARE), 2),
    np.linalg.norm: lambda: of(np.linalg.norm, x(), ord=2, axis=0, keepdims=False),
    np.reshape: lambda: of(np.reshape, x(), (9,)),
    np.transpose: lambda: of(np.transpose, x(), (1, 0)),
    np.swapaxes: lambda: of(np.swapaxes, x(), 0, 1),
    np.moveaxis: lambda: of(np.moveaxis, x(), 0, 1),
    np.rollaxis: lambda: of(np.rollaxis, x(), 1, 0),
    np.expand_dims: lambda: of(np.expand_dims, x(), 0),
    np.squeeze: lambda: of(np.squeeze, mg.ones(1, 3), axis=0),
    np.broadcast_to: lambda: of(np.broadcast_to, x(), (2, 3, 3)),
    np.tile: lambda: of(np.tile, x(), (2, 1)),
    np.repeat: lambda: of(np.repeat, x(), 2, axis=0),
    np.concatenate: lambda: of(np.concatenate, [x(), x()], axis=0),
    np.stack: lambda: of(np.stack, [x(), x()], axis=0),
    np.vstack: lambda: of(np.vstack, [x(), x()]),
    np.hstack: lambda: of(np.hstack, [x(), x()]),
    np.split: lambda: of(np.split, x(), 3, axis=0),
    np.array_split: lambda: of(np.array_split, x(), 2, axis=0),
    np.unstack: lambda: of(np.unstack, x(), axis=0),
    np.pad: lambda: of(np.pad, x(), 1),
    np.flip: lambda: of(np.flip, x(), axis=0),
    np.roll: lambda: of(np.roll, x(), 1, axis=0),
    np.rot90: lambda: of(np.rot90, x(), 1, (0, 1)),
    np.tril: lambda: of(np.tril, x(), 0),
    np.triu: lambda: of(np.triu, x(), 0),
    np.kron: lambda: of(np.kron, x(), x()),
    **{
        f: lambda f=f: of(f, x() > 0.5, x() > 0.4)
        for f in (np.logical_and, np.logical_or, np.logical_xor, np.bitwise_and, np.bitwise_or, np.bitwise_xor)
    },
    **{f: lambda f=f: of(f, x() > 0.5) for f in (np.logical_not, np.invert)},
    np.arccosh: lambda: of(np.arccosh, x(X + 1)),
    **{f: lambda f=f: of(f, x(), x()) for f in (np.dot, np.inner, np.outer, np.vdot, np.vecdot, np.matmul)},
    Tensor.__getitem__: lambda: of(lambda x, index: x[index], x(), 0),
}
TEXTS = (np.array_repr, np.array_str, np.array2string)  # a Tensor looks like one
FUNCTIONS = [f for f in HANDLERS if f not in (Tensor.backward, Tensor.register_hook, np.empty_like, *TEXTS)]

# Where NumPy's integers overflow without a word and Python's do not, so that ours is right: what is to come out.
OVERFLOWS = {
    ("matrix_power", 1, "-2**63"): lambda: np.zeros((3, 3)),  # all eigenvalues of SQUARE are above 1; NumPy gives None
    ("var", "ddof", "-2**63"): lambda: (
        np.var(X, axis=0) * 3 / (3 + 2**63)
    ),  # the count wraps round in NumPy, which gives infinity
}


def default(f):
    two = isinstance(f, np.ufunc) and f.nin == 2
    return lambda: of(f, x(), x()) if two else of(f, x())


def run(function, args, kwargs):
    """What a call gives, and the exception if it gives none."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as NumPy's own
        try:
            return function(*args, **kwargs), None
        except Exception as error:
            return None, error


def plain(value):
    if isinstance(value, list | tuple) and any(isinstance(v, Tensor) for v in value):
        return [detached(v) for v in value]
    return detached(value)


def same(ours, theirs):
    if isinstance(theirs, list | tuple):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(theirs, str | np.dtype | type(None)) or np.asarray(theirs).dtype.kind not in "fiubc":
        return str(ours) == str(theirs)
    return np.shape(ours) == np.shape(theirs) and np.allclose(ours, theirs, rtol=1e-4, atol=1e-5, equal_nan=True)


def replaced(call, place, bad):
    function, args, kwargs = call()
    if isinstance(place, int):
        args = (*args[:place], bad, *args[place + 1 :])
    else:
        kwargs = kwargs | {place: bad}
    return function, args, kwargs


def fault(call, place, what):
    function, args, kwargs = replaced(call, place, BAD[what]())
    if not any(
        isinstance(v, Tensor) for arg in (*args, *kwargs.values()) for v in (arg if type(arg) is list else [arg])
    ):
        return None  # NumPy's own affair
    start = started()
    ours, error = run(function, args, kwargs)
    seconds = time.process_time() - start
    if seconds > SECONDS:
        return f"takes {seconds:.1f} s"
    if isinstance(error, REFUSALS):
        return None
    function, args, kwargs = replaced(call, place, BAD[what]())
    if (right := OVERFLOWS.get((function.__name__, place, what))) is not None:
        return None if error is None and same(plain(ours), right()) else f"gives {ours}, {error}"
    theirs, refusal = run(function, tuple(map(plain, args)), {key: plain(v) for key, v in kwargs.items()})
    if error is not None:
        return None if type(error) is type(refusal) else f"{type(error).__name__}: {error}"
    if refusal is not None:
        return f"is accepted, NumPy says {type(refusal).__name__}: {str(refusal)[:60]}"
    return None if same(plain(ours), theirs) else f"gives {str(plain(ours))[:50]!r}, NumPy {str(theirs)[:50]!r}"


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
@pytest.mark.usefixtures("bounded")
def test_bad_arguments_are_refused_or_taken_as_numpy_takes_them(function):
    call = NUMPY.get(function, default(function))
    f, args, kwargs = call()
    f(*args, **kwargs)
    places = [*range(len(args)), *kwargs]
    faults = [f"{place}={what}: {wrong}" for place in places for what in BAD if (wrong := fault(call, place, what))]
    assert not faults, f"{function.__name__}:\n" + "\n".join(faults)
