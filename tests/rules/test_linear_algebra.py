"""What NumPy refuses is refused, before anything large is computed."""

import numpy as np
import pytest

import minigrad as mg

WRONG = [
    (
        lambda x: np.linalg.multi_dot([x(2, 2), x(2), x(2, 2)]),
        r"multi_dot: \(2, 2\), \(2,\), \(2, 2\) must be matrices",
    ),
    (lambda x: np.linalg.multi_dot([x(2, 2, 2), x(2, 2), x(2, 2)]), "must be matrices that fit each other"),
    (lambda x: np.linalg.multi_dot([x(2, 2), x(2, 2), x(2, 2, 2)]), "must be matrices that fit each other"),
    (lambda x: np.linalg.multi_dot([x(2), x(3, 2)]), "must be matrices that fit each other"),
    (lambda x: np.linalg.multi_dot([x(2, 3), x(2, 2)]), "must be matrices that fit each other"),
    (lambda x: np.linalg.multi_dot([x(), x(2, 2), x(2, 2)]), "must be matrices that fit each other"),
    (lambda x: np.einsum("...i->i", x(2, 3)), r"the axes of the ellipsis of '\.\.\.i->i' must be in its result"),
    (lambda x: np.einsum("i...,i->", x(2, 3), x(2)), "the axes of the ellipsis"),
    (lambda x: np.tensordot(x(2, 2), x(2, 2), 2**40), "tensordot: axes=1099511627776 is more than x of shape"),
    (lambda x: np.tensordot(x(2, 2), x(2), np.int64(2)), "axes=2 is more than"),
]


@pytest.mark.parametrize(("call", "words"), WRONG)
def test_what_numpy_refuses_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call(lambda *shape: mg.tensor(np.ones(shape), requires_grad=True))
    if 2**40 in call.__code__.co_consts:
        return  # NumPy refuses it after some seconds
    with pytest.raises((ValueError, IndexError, np.linalg.LinAlgError)):
        call(lambda *shape: np.ones(shape))


def test_what_numpy_takes_is_taken():
    x = mg.tensor(np.arange(6.0).reshape(2, 3))
    assert np.einsum("...i->i", x[0]).tolist() == [0, 1, 2]  # the ellipsis stands for no axes
    assert np.tensordot(x, x, np.int64(2)).item() == 55
    assert np.tensordot(x, x, ([0, 1], [0, 1])).item() == 55
    assert np.linalg.multi_dot([x[0], x[1]]).item() == 14
    assert np.linalg.multi_dot([x, x[0]]).tolist() == [5, 14]
    y = np.clip(x, None, None)
    assert y.tolist() == x.tolist()
    assert not np.shares_memory(y.data, x.data)
    assert mg.tensor([True]).copy().tolist() == [True]
