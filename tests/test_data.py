import numpy as np
import pytest

from minigrad.data import DataLoader


def test_each_pass_sees_everything_once_in_a_new_order():
    x = np.arange(10)
    loader = DataLoader(x, x * 2, batch_size=4)
    first, second = ([np.concatenate(part) for part in zip(*loader, strict=True)] for _ in range(2))
    assert sorted(first[0]) == list(x)
    np.testing.assert_array_equal(first[0] * 2, first[1])
    assert list(first[0]) != list(second[0])
    assert len(loader) == 3


def test_the_last_batch_can_be_dropped():
    assert [len(x) for (x,) in DataLoader(np.arange(10), batch_size=4, drop_last=True)] == [4, 4]
    assert [len(x) for (x,) in DataLoader(np.arange(10), batch_size=4)] == [4, 4, 2]
    assert [x.tolist() for (x,) in DataLoader(np.arange(3), batch_size=2, shuffle=False)] == [[0, 1], [2]]
    assert list(DataLoader(np.zeros((0, 2)), batch_size=2)) == []


def test_the_order_comes_from_the_generator():
    a, b = (next(iter(DataLoader(np.arange(10), batch_size=10, rng=np.random.default_rng(1))))[0] for _ in range(2))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: DataLoader(batch_size=2), "arrays of one length"),
        (lambda: DataLoader(np.ones(2), np.ones(3), batch_size=2), r"got the shapes \[\(2,\), \(3,\)\]"),
        (lambda: DataLoader(np.ones(2), batch_size=0), "batch_size must be a whole number from 1 on, not 0"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
