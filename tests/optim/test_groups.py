"""Parameter groups tell the truth: what stands in them is what is trained, once, with the options that stand there."""

import copy

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim

MAKERS = [optim.SGD, optim.RMSprop, optim.Adam, optim.AdamW]


def ones(n=1, dtype=np.float64):
    return nn.Parameter(np.ones(n, dtype))


def run(optimizer, *parameters, steps=1):
    """Steps along gradients of 1."""
    for _ in range(steps):
        for p in parameters:
            p.grad = np.ones(p.shape)
        optimizer.step()
    return [p.data.flat[0] for p in parameters]


# ---- a parameter stands in one place ----


@pytest.mark.parametrize("make", MAKERS)
def test_a_parameter_in_two_places_is_refused(make):
    a, b, c = ones(1), ones(2), ones(3)
    name = make.__name__
    with pytest.raises(
        ValueError, match=rf"{name}: parameter 1 of group 1, of shape \(2,\), is also parameter 1 of group 0"
    ):
        make([{"params": [a, b]}, {"params": [c, b]}])
    with pytest.raises(ValueError, match=r"parameter 2 of group 0, of shape \(1,\), is also parameter 0 of group 0.*"
                       r"list\(dict\.fromkeys\(parameters\)\)"):  # fmt: skip
        make([a, b, a])
    make(list(dict.fromkeys([a, b, a])))


def test_parameters_of_a_model_that_shares_layers_stand_there_once():
    layer = nn.Linear(2, 2, rng=np.random.default_rng(0))
    model = nn.Sequential(layer, nn.ReLU(), layer)
    assert len(optim.SGD(model.parameters()).param_groups[0]["params"]) == 2


# ---- what is changed in a group afterwards is honoured ----


@pytest.mark.parametrize("make", MAKERS)
def test_what_is_appended_is_trained_and_what_is_popped_is_not(make):
    a, b, c = ones(1), ones(2), ones(3)
    optimizer, never = make([a, b]), make([kept := ones(2)])
    run(optimizer, a, b, steps=2)
    run(never, kept, steps=2)
    optimizer.param_groups[0]["params"].append(c)
    assert optimizer.param_groups[0]["params"].pop(0) is a
    before = a.data.copy()
    run(optimizer, a, b, c, steps=3)
    run(never, kept, steps=3)
    np.testing.assert_array_equal(a.data, before)
    np.testing.assert_array_equal(b.data, kept.data)  # what it remembers of b is still there
    new = ones(3)
    run(make([new]), new, steps=3)
    np.testing.assert_array_equal(c.data, new.data)
    a.grad = np.ones(1)
    optimizer.zero_grad()
    assert (a.grad is None, b.grad, c.grad) == (False, None, None)


@pytest.mark.parametrize("make", MAKERS)
def test_a_parameter_that_moves_to_another_group_keeps_what_is_remembered(make):
    a, b, c = ones(), ones(), ones()
    optimizer, never = make([{"params": [a, b]}, {"params": [c]}]), make([kept := ones()])
    for first in (True, False):
        run(optimizer, a, b, c, steps=2)
        run(never, kept, steps=2)
        if first:
            optimizer.param_groups[1]["params"].append(optimizer.param_groups[0]["params"].pop())
    for p in (a, b, c):
        np.testing.assert_array_equal(p.data, kept.data)


def test_groups_may_be_put_in_and_taken_out_by_hand():
    a, b = ones(), ones()
    optimizer = optim.SGD([a], lr=0.5)
    optimizer.param_groups.append({"params": iter([b])})
    assert run(optimizer, a, b) == [0.5, 0.5]
    assert optimizer.param_groups[1] == {
        "params": [b], "lr": 0.5, "momentum": 0.0, "weight_decay": 0.0, "nesterov": False
    }  # fmt: skip
    del optimizer.param_groups[0]
    assert run(optimizer, a, b) == [0.5, 0.0]
    optimizer.param_groups[0]["params"] = a
    assert run(optimizer, a, b) == [0.0, 0.0]
    optimizer.param_groups[0]["params"] = []
    assert run(optimizer, a, b) == [0.0, 0.0]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (lambda g, a: g["params"].append(a), ValueError, "SGD: parameter 2 of group 0.*is also parameter 0 of group 0"),
        (lambda g, a: g["params"].append(a * 2), TypeError, "SGD needs floating-point leaf tensors, not Tensor"),
        (lambda g, a: g["params"].append(3), TypeError, "SGD needs floating-point leaf tensors, not int"),
        (lambda g, a: g.update(params={a}), TypeError, "SGD: the params of group 0 must be a list of parameters, not"),
        (lambda g, a: g.update(params=None), TypeError, "SGD: the params of group 0 must be a list of parameters, not"),
        (lambda g, a: g.pop("params"), ValueError, "a group has 'params' and maybe lr"),
        (lambda g, a: g.pop("lr"), ValueError, "a group has 'params' and maybe lr.*, not params, momentum"),
        (
            lambda g, a: (g.pop("lr"), g["params"].pop()),
            ValueError,
            "a group has 'params' and maybe lr.*, not params, mo",
        ),
        (lambda g, a: g.update(learning_rate=1), ValueError, "a group has 'params' and maybe.*nesterov, learning_rate"),
        (lambda g, a: g.update(lr=mg.tensor(0.1)), TypeError, r"lr must be.*, not Tensor of shape \(\): use \.item"),
        (lambda g, a: g.update(lr=np.array(0.1)), TypeError, r"lr must be.*not ndarray of shape \(\): use \.item"),
        (lambda g, a: g.update(lr="fast"), TypeError, "lr must be a number from 0 on, not 'fast'"),
        (lambda g, a: g.update(lr=float("nan")), ValueError, "lr must be a number from 0 on, not nan"),
        (lambda g, a: g.update(momentum=1.5), ValueError, "momentum must be from 0 to below 1"),
    ],
)
def test_nonsense_in_a_group_is_refused_at_the_next_step(change, error, words):
    a, b = ones(), ones()
    optimizer = optim.SGD([a, b], lr=0.5)
    run(optimizer, a, b)
    change(optimizer.param_groups[0], a)
    with pytest.raises(error, match=words):
        run(optimizer, a, b)
    assert (a.item(), b.item()) == (0.5, 0.5)


# ---- add_param_group ----


@pytest.mark.parametrize("make", MAKERS)
def test_an_added_group_is_trained_from_then_on_with_its_options(make):
    a, b = ones(2), ones(3)
    optimizer = make([a], lr=0.5)
    run(optimizer, a)
    optimizer.add_param_group({"params": [b], "lr": 0.25})
    run(optimizer, a, b, steps=3)
    for p, lr, steps in ((a, 0.5, 4), (b, 0.25, 3)):
        alone = ones(p.shape)
        run(make([alone], lr=lr), alone, steps=steps)
        np.testing.assert_array_equal(p.data, alone.data)
    assert [g["lr"] for g in optimizer.param_groups] == [0.5, 0.25]


@pytest.mark.parametrize(
    ("group", "error", "words"),
    [
        ([1], TypeError, r"add_param_group: group must be a dict \{'params': \[\.\.\.\], \.\.\.\}, not \[1\]"),
        ({"params": [mg.tensor([1])]}, TypeError, "SGD needs floating-point leaf tensors"),
        ({"params": [1.0]}, TypeError, "SGD needs floating-point leaf tensors, not float"),
        ({"params": [ones(1)], "rate": 1.0}, ValueError, "a group has 'params' and maybe lr.*, not params, rate"),
        ({"lr": 1.0}, ValueError, "a group has 'params' and maybe lr.*, not lr"),
        ({"params": [ones(1)], "lr": -1.0}, ValueError, "lr must be a number from 0 on, not -1.0"),
    ],
)
def test_a_group_that_is_none_is_not_added(group, error, words):
    a = ones()
    optimizer = optim.SGD([a], lr=0.5)
    for given, kind, said in (
        (group, error, words),
        ({"params": [a]}, ValueError, "parameter 0 of group 1, of shape .*is also parameter 0 of group 0"),
    ):
        with pytest.raises(kind, match=said):
            optimizer.add_param_group(given)
    assert len(optimizer.param_groups) == 1
    assert run(optimizer, a) == [0.5]


def test_a_given_group_is_not_written_into():
    group = {"params": ones()}
    optim.SGD([group]).add_param_group(other := {"params": ones()})
    assert list(group) == list(other) == ["params"]


def test_a_state_with_an_added_group_fits_where_it_was_added():
    def made(added):
        ps = ones(2), ones(3)
        optimizer = optim.Adam([ps[0]], lr=0.5)
        if added:
            optimizer.add_param_group({"params": [ps[1]], "lr": 0.25})
        return ps, optimizer

    ps, optimizer = made(True)
    run(optimizer, *ps, steps=3)
    state, values = optimizer.state_dict(), [p.data.copy() for p in ps]
    qs, other = made(True)
    for q, value in zip(qs, values, strict=True):
        q.data[...] = value
    other.load_state_dict(state)
    assert run(optimizer, *ps) == run(other, *qs)
    with pytest.raises(ValueError, match=r"does not fit Adam: .*\n  unexpected: lr\.1"):
        made(False)[1].load_state_dict(state)
    with pytest.raises(ValueError, match=r"does not fit Adam: .*\n  missing: lr\.1"):
        other.load_state_dict(made(False)[1].state_dict())


def test_a_state_tells_of_what_was_appended():
    a, b = ones(2), ones(3)
    optimizer = optim.Adam([a])
    run(optimizer, a, steps=2)
    optimizer.param_groups[0]["params"].append(b)
    state = optimizer.state_dict()
    assert state["0.steps"].tolist() == [2, 0]
    run(optimizer, a, b)
    optimizer.load_state_dict(state)
    assert optimizer.state_dict()["0.steps"].tolist() == [2, 0]


# ---- options ----


@pytest.mark.parametrize("make", MAKERS)
def test_numpy_scalars_are_options_to_the_last_bit(make):
    found = []
    for number in (float, np.float64):
        p = nn.Parameter(np.linspace(-1, 1, 7, dtype=np.float32))
        optimizer = make([p], lr=number(0.1), weight_decay=number(0.3))
        group = optimizer.param_groups[0]
        for name in ("momentum", "alpha", "eps"):
            if name in group:
                group[name] = number(0.7)
        if "betas" in group:
            group["betas"] = (number(0.7), number(0.9))
        for step in range(3):
            p.grad = np.sin(step + p.data)
            optimizer.step()
        found.append(p.data.copy())
    np.testing.assert_array_equal(*found)


# ---- parameters that share memory ----


@pytest.mark.parametrize(
    "share",
    [
        lambda a: a,
        lambda a: a.T,
        lambda a: a[::-1],
        lambda a: a[1:],
        lambda a: a.reshape(-1)[:1],
    ],
)
def test_parameters_that_share_memory_are_refused(share):
    a = nn.Parameter(np.ones((3, 3)))
    b = nn.Parameter(share(a.data))
    words = (
        r"parameter 0 of group 0 and parameter 1 of group 0 share memory.*put one Parameter in both places.*copy\(\)"
    )
    with pytest.raises(ValueError, match=rf"SGD: {words}"):
        optim.SGD([a, b])
    with pytest.raises(ValueError, match="parameter 0 of group 0 and parameter 0 of group 1 share memory"):
        optim.SGD([{"params": [a]}, {"params": [b]}])
    assert np.shares_memory(a.data, b.data)
    b.data = b.data.copy()
    optim.SGD([a, b])


@pytest.mark.parametrize("groups", [1, 2])
def test_parameters_that_come_to_share_memory_later_are_refused_before_anything_changes(groups):
    a, b, c = ones(2), ones(2), ones(2)
    optimizer = optim.SGD([a, b, c] if groups == 1 else [{"params": [a]}, {"params": [b, c]}], lr=0.5)
    run(optimizer, a, b, c)
    for tie in (
        lambda: setattr(b, "data", a.data),
        lambda: setattr(b, "data", setattr(a, "data", np.ones(2)) or a.data),
    ):
        tie()
        before = a.data.copy()
        with pytest.raises(ValueError, match="share memory"):
            run(optimizer, a, b, c)
        assert b.data is a.data
        np.testing.assert_array_equal(a.data, before)
        b.data = a.data.copy()
        run(optimizer, a, b, c)


def test_parts_of_one_array_that_do_not_overlap_are_parameters():
    whole = np.arange(12.0).reshape(3, 4)
    parts = [nn.Parameter(whole[:, i::2]) for i in range(2)] + [nn.Parameter(np.ones((0, 4)))]
    optim.SGD(parts, lr=1.0)
    np.testing.assert_array_equal(parts[1].data, whole[:, 1::2])


def test_a_parameter_that_was_given_a_view_of_itself_is_trained():
    p = nn.Parameter(np.array([1.0, 2.0]))
    optimizer = optim.SGD([p, ones()], lr=1.0)
    p.data = p.data[::-1]
    p.grad = np.array([0.5, 0.25])
    optimizer.step()
    assert p.tolist() == [1.5, 0.75]


def test_a_parameter_of_two_optimisers_is_trained_by_both():
    p = ones()
    first, second = optim.SGD([p], lr=0.5), optim.SGD([p], lr=0.25)
    assert [run(optimizer, p) for optimizer in (first, second, first, second)] == [[0.5], [0.25], [-0.25], [-0.5]]


# ---- deep copies ----


def test_a_copied_optimiser_notices_its_own_changes():
    model = nn.Linear(2, 1, rng=np.random.default_rng(0))
    optimizer = optim.SGD(model.parameters(), lr=0.5)
    other, its = copy.deepcopy((model, optimizer))
    q = ones()
    its.add_param_group({"params": [q]})
    assert its.param_groups[0]["params"].pop() is other.bias
    before = other.bias.data.copy()
    run(its, other.weight, other.bias, q)
    np.testing.assert_array_equal(other.bias.data, before)
    assert q.item() == 0.5
    assert len(optimizer.param_groups) == 1
    before = model.weight.data.copy(), other.weight.data.copy()
    run(optimizer, model.weight, model.bias)
    np.testing.assert_array_equal(model.weight.data, before[0] - 0.5)
    np.testing.assert_array_equal(other.weight.data, before[1])


def test_a_tie_to_a_parameter_that_no_optimiser_holds_is_refused():
    a, b = nn.Linear(2, 2), nn.Linear(2, 2)
    b.weight.data = a.weight.data
    seen = a.weight.data  # whoever looks at it ties nothing
    with pytest.raises(
        ValueError, match="parameter 0 of group 0 and one that this optimiser does not hold share memory"
    ):
        optim.SGD(a.parameters(), lr=0.1)
    assert a.weight.data is seen
    b.weight.data = a.weight.data.copy()
    optimizer = optim.SGD(a.parameters(), lr=0.1)
    np.sum(a(mg.ones(1, 2))).backward()
    b.weight.data = a.weight.data
    optimizer.step()  # b shows what the optimiser changes in place
    assert b.weight.data is a.weight.data


def test_what_is_put_among_the_groups_must_be_one():
    a = ones()
    a.grad = np.ones(a.shape)
    optimizer = optim.SGD([a])
    optimizer.param_groups.append([ones()])
    with pytest.raises(TypeError, match=r"SGD: group 1 must be a dict \{'params': \[\.\.\.\], \.\.\.\}, not \["):
        optimizer.step()
