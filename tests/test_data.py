import numpy as np
import pytest

import minigrad as mg
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


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize("given", range(8))
def test_a_loaded_state_goes_on_where_it_was_taken(shuffle, drop_last, given):
    def batches(loader):
        while True:
            yield from (x.tolist() for (x,) in loader)

    options = {"batch_size": 4, "shuffle": shuffle, "drop_last": drop_last}
    loader = DataLoader(np.arange(10), rng=np.random.default_rng(1), **options)
    run = batches(loader)
    [next(run) for _ in range(given)]
    state = loader.state_dict()
    expected = [next(run) for _ in range(8)]
    other = DataLoader(np.arange(10), rng=np.random.default_rng(2), **options)
    other.load_state_dict(state)
    run = batches(other)
    assert [next(run) for _ in range(8)] == expected


def test_a_pass_that_was_left_is_not_gone_on_with():
    loader = DataLoader(np.arange(10), batch_size=4, shuffle=False)
    assert [next(iter(loader))[0].tolist() for _ in range(2)] == [[0, 1, 2, 3]] * 2
    assert loader.state_dict()["left"].tolist() == [4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"left": np.array([3, 10])}, "it is of other data than these 10"),
        ({"left": np.array([-1])}, "it is of other data than these 10"),
        ({"left": np.array([0.5])}, "expected generator, left, length, batch_size, shuffle, drop_last"),
        ({"left": None}, "expected generator, left"),
        ({"more": 1}, "it has generator, left, length, batch_size, shuffle, drop_last, more, expected generator, left"),
        ({"generator": np.random.MT19937(0).state}, "it has no generator of PCG64"),
        ({"generator": {"bit_generator": "PCG64"}}, "it has no generator of PCG64"),
        ({"batch_size": [1, 2]}, r"batch_size is \[1, 2\] in it, and 4 here"),
        ({"generator": 3}, "it has no generator of PCG64"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, words):
    loader = DataLoader(np.arange(10), batch_size=4, rng=np.random.default_rng(1))
    next(iter(loader))
    before = loader.state_dict()
    with pytest.raises(ValueError, match=words):
        loader.load_state_dict(DataLoader(np.arange(10), batch_size=4).state_dict() | change)
    assert str(loader.state_dict()) == str(before)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"batch_size": 5}, "batch_size is 4 in it, and 5 here"),
        ({"drop_last": True}, "drop_last is False in it, and True here"),
        ({"shuffle": False}, "shuffle is True in it, and False here"),
        (
            {"batch_size": 2, "shuffle": False},
            "batch_size is 4 in it, and 2 here, shuffle is True in it, and False here",
        ),
    ],
)
@pytest.mark.parametrize("given", [0, 1])
def test_the_state_of_a_loader_with_other_options_is_refused_and_changes_nothing(given, options, words):
    loader = DataLoader(np.arange(10), batch_size=4)
    run = iter(loader)
    [next(run) for _ in range(given)]
    other = DataLoader(np.arange(10), **{"batch_size": 4, **options}, rng=np.random.default_rng(1))
    before = other.state_dict()
    with pytest.raises(ValueError, match=f"this state does not fit DataLoader: {words}"):
        other.load_state_dict(loader.state_dict())
    assert str(other.state_dict()) == str(before)


def test_the_state_of_other_data_is_refused_also_between_two_passes():
    state = DataLoader(np.arange(10), batch_size=4).state_dict()
    with pytest.raises(ValueError, match="this state does not fit DataLoader: length is 10 in it, and 11 here"):
        DataLoader(np.arange(11), batch_size=4).load_state_dict(state)
    DataLoader(np.ones((10, 2)), np.arange(10), batch_size=4).load_state_dict(state)  # more of each is the same order


@pytest.mark.parametrize("path", ["run.npz", "run.safetensors"])
def test_a_state_goes_through_a_file(tmp_path, path):
    if path.endswith("safetensors"):
        pytest.importorskip("safetensors")
    options = {"batch_size": np.int64(4), "shuffle": np.True_, "drop_last": np.False_}
    loader = DataLoader(np.arange(10), **options, rng=np.random.default_rng(1))
    next(iter(loader))
    mg.save(tmp_path / path, {"data": loader.state_dict()})
    other = DataLoader(np.arange(10), batch_size=4, rng=np.random.default_rng(2))
    other.load_state_dict(mg.load(tmp_path / path)["data"])
    assert [x.tolist() for (x,) in other] == [loader.arrays[0][part].tolist() for part in np.split(loader._left, [4])]


def test_a_generator_state_that_is_cut_short_changes_nothing():
    loader = DataLoader(np.arange(10), batch_size=4, rng=np.random.Generator(np.random.MT19937(1)))
    before = loader.state_dict()
    short = np.random.MT19937(2).state["state"]["key"][:10]
    generator = before["generator"] | {"state": {"key": short, "pos": 3}}
    with pytest.raises(ValueError, match="it has no generator of MT19937"):
        loader.load_state_dict(before | {"generator": generator})
    np.testing.assert_array_equal(loader.state_dict()["generator"]["state"]["key"], before["generator"]["state"]["key"])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: DataLoader(batch_size=2), "arrays of one length"),
        (lambda: DataLoader(np.ones(2), np.ones(3), batch_size=2), r"got the shapes \[\(2,\), \(3,\)\]"),
        (lambda: DataLoader(np.ones(2), batch_size=0), "batch_size must be at least 1, not 0"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
