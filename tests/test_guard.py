"""An array that is written into between forward and backward: an error, or the right gradient; never another one."""

import contextlib
import copy
import gc
import threading
from array import array as typed_array
from collections import UserList, deque

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F
from minigrad import guard, nn, optim
from minigrad.rule import RULES

from .rules.test_every_rule import SAMPLES, as_list, drawn


def leaf(*values):
    return mg.tensor(list(values), requires_grad=True)


def refused(operation, which="", what="was written into"):
    return pytest.raises(RuntimeError, match=f"(?s)^{operation}.*{which}.*{what} between forward and backward")


def test_writing_into_a_leaf_that_the_gradient_needs_raises():
    x = leaf(1.0, 2.0)
    y = np.sum(x * x)
    x.data[0] = 5
    with refused("multiply", r"its input x, float32 of shape \(2,\)"):
        y.backward()
    assert x.grad is None
    x.data[0] = 1
    y.backward()  # nothing was lost
    assert x.grad.tolist() == [2, 4]


def test_a_write_that_does_not_matter_is_no_error():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    for z, expected in (
        (x + y, 1), (np.exp(x), np.exp([1.0, 2.0])), (np.sqrt(x), 0.5 / np.sqrt([1.0, 2.0])), (x.reshape(2, 1), 1),
    ):  # fmt: skip
        x.grad = None
        x.data[...] = 7
        np.sum(z).backward()
        x.data[...] = 1, 2
        np.testing.assert_allclose(x.grad.data, np.broadcast_to(expected, 2), rtol=1e-6)


@pytest.mark.parametrize("mean", [0.0, 1e6])
@pytest.mark.parametrize("names", ["bias", "x", "x bias"])
@pytest.mark.parametrize("norm", [nn.LayerNorm(4), nn.BatchNorm1d(4)])
def test_norms_need_neither_their_bias_nor_what_they_standardise(norm, names, mean):
    x = mg.tensor(mean + np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32), requires_grad=True)
    g = np.arange(24.0).reshape(6, 4)
    gradients = []
    for written in ("", names):
        leaves = {"x": x, "bias": norm.bias, "weight": norm.weight}
        for t in leaves.values():
            t.grad = None
        y = norm(x)
        for name in written.split():
            leaves[name].data[...] += 1
        y.backward(g)
        gradients.append([t.grad.data for t in leaves.values()])
        for name in written.split():
            leaves[name].data[...] -= 1
    assert all(np.array_equal(*pair) for pair in zip(*gradients, strict=True))


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3)])
def test_the_gradients_of_a_batch_norm_are_nobody_elses(shape):
    norm = nn.BatchNorm1d(4)
    y = norm(mg.randn(*shape))
    y.backward(np.ones(shape), retain_graph=True)
    assert not any(guard.holds(y.node.pullbacks, t.grad._array) for t in (norm.weight, norm.bias))


def test_the_same_values_written_again_are_no_error():
    x = leaf(1.0, 2.0)
    y = np.sum(x * x)
    x.data[...] = 1, 2
    y.backward()
    assert x.grad.tolist() == [2, 4]


def test_an_array_used_as_an_operand_is_guarded():
    x, w = leaf(1.0, 2.0), np.array([3.0, 4.0], np.float32)
    y = np.sum(x * w)
    w[1] = 0
    with refused("multiply", "its input y"):
        y.backward()


def test_what_a_tensor_was_made_from():
    a = np.array([1.0, 2.0])
    copied, wrapped = mg.tensor(a, requires_grad=True), mg.Tensor(a, requires_grad=True)
    y, z = np.sum(copied * copied), np.sum(wrapped * wrapped)
    a[:] = 0
    y.backward()
    assert copied.grad.tolist() == [2, 4]
    with refused("multiply"):
        z.backward()


def test_a_view_that_was_there_before():
    a = np.array([1.0, 2.0, 3.0])
    view = a[1:]
    x = mg.Tensor(a, requires_grad=True)
    y = np.sum(x * x)
    view[0] = 0
    with refused("multiply"):
        y.backward()


@pytest.mark.parametrize("view", [lambda x: x.T, lambda x: x[0], lambda x: x.reshape(-1), lambda x: x[None].mT[:, 1:]])
def test_writing_into_a_leaf_reaches_its_views_in_the_graph(view):
    x = mg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    v = view(x)
    y = np.sum(v * v)
    x.data[...] = 0
    with refused("multiply"):
        y.backward()


def test_writing_into_a_result_that_the_gradient_needs():
    def graph():
        x = leaf(1.0, 2.0)
        y = np.exp(x)
        return y, np.sum(y * 3)

    with mg.no_grad():
        quiet = [lambda y: y[:1].data, lambda y: y.detach().reshape(2, 1).data]
    doors = [
        lambda y: y.data, lambda y: y.numpy(), lambda y: y.detach().data, lambda y: y[:1].data,
        lambda y: y.reshape(1, 2).mT.data, lambda y: mg.no_grad()(lambda: y.reshape(1, 2))().data, *quiet,
    ]  # fmt: skip
    for door in doors:
        y, z = graph()
        array = door(y)
        array.flat[0] = 9
        with refused("exp"):
            z.backward()


def test_a_result_written_into_before_it_is_used_raises_where_its_own_rule_needs_it():
    x = leaf(1.0, 2.0)
    y = np.exp(x)
    y.data[0] = 9
    with refused("exp"):
        np.sum(y * y).backward()


def test_looking_at_results_changes_no_gradient():
    x = leaf(1.0, 2.0)
    y = np.exp(x)
    assert y.data.shape == (2,)
    assert repr(y)
    assert y.tolist()
    np.sum(y).backward()
    np.testing.assert_allclose(x.grad.data, np.exp([1.0, 2.0]), rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "call", "operation"),
    [
        (np.array([0, 1]), lambda w, ids: w[ids] * 2, "getitem"),
        (np.array([True, False, True]), lambda w, mask: w[mask] * 2, "getitem"),
        (np.array([0, 1]), F.embedding.__call__, "embedding"),
        (np.array([0, 1, 0]), F.cross_entropy, "cross_entropy"),
        (np.eye(3, dtype=bool), lambda w, mask: F.scaled_dot_product_attention(w, w, w, mask), "attention"),
        (np.array([True, False]), lambda w, mask: np.where(mask, w, 0.0), "where"),
    ],
)
def test_indices_targets_and_masks_are_guarded(settings, call, operation):
    """Or the gradient does not depend on them any more."""
    w = mg.tensor([[0.1, 0.4], [-0.2, 0.3], [0.5, 0.6]], requires_grad=True)

    def run():
        y = call(settings, w) if operation == "embedding" else call(w, settings)
        return np.sum(y * y)

    run().backward()
    expected, w.grad = w.grad.data, None
    loss = run()
    settings[...] = settings[::-1].copy()
    message = operation
    try:
        loss.backward()
        np.testing.assert_array_equal(w.grad.data, expected)
    except RuntimeError as error:
        message = str(error)
    assert operation in message


def test_an_optimiser_step_or_a_loaded_state_in_between_raises():
    for change in ("step", "load"):
        model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
        optimizer = optim.SGD(model.parameters(), lr=0.1)
        state = {name: array + 1 for name, array in model.state_dict().items()}
        first, second = np.sum(model(mg.ones(4, 2))), np.sum(model(mg.ones(4, 2)))
        first.backward()
        optimizer.step() if change == "step" else model.load_state_dict(state)
        with refused("linear", "its input weight"):
            second.backward()


def test_a_second_backward_after_a_step_raises():
    w = leaf(1.0, 2.0)
    optimizer = optim.SGD([w], lr=0.1)
    loss = np.sum(w * w)
    loss.backward(retain_graph=True)
    optimizer.step()
    with refused("multiply"):
        loss.backward()


def test_gradients_of_gradients_are_of_the_values_that_were_there():
    x = leaf(1.0, 2.0)
    y = x + 1
    z = np.sum(y * y * y)
    x.data[...] = 0  # y was made by a linear rule, and is what it was
    (g,) = mg.autograd.grad(z, x, create_graph=True)
    np.testing.assert_allclose(g.data, [12, 27])
    assert mg.autograd.grad(np.sum(g), x)[0].tolist() == [12, 18]


def test_gradients_of_gradients_see_that_an_array_was_replaced():
    x = leaf(1.0, 2.0)
    y = np.sum(x * x)
    x.data = np.zeros(2, np.float32)
    assert mg.autograd.grad(y, x, retain_graph=True)[0].tolist() == [2, 4]
    with refused("multiply", what="was put in the place of another"):
        mg.autograd.grad(y, x, create_graph=True)


def test_a_checkpoint_needs_all_that_its_function_takes_from_outside():
    for write in (lambda x, w: x.data.fill(9), lambda x, w: w.fill(9)):
        x, w = leaf(0.0, 0.0), np.array([1.0, 2.0], np.float32)
        y = np.sum(mg.checkpoint(lambda x, w=w: (x + 0) * w, x))  # 0 either way: the value tells nothing
        write(x, w)
        with refused("checkpoint"):
            y.backward()


def test_a_hook_that_writes_in_the_middle_is_noticed():
    x = leaf(1.0, 2.0)
    y = x * x
    z = y * 3
    z.register_hook(lambda g: x.data.fill(0))
    with refused("multiply"):
        np.sum(z).backward()


def test_arrays_of_one_operation_each_are_kept_once():
    before = set(guard._large)  # of graphs that other tests keep
    w = mg.tensor(np.ones((64, 64)), requires_grad=True)
    h = mg.ones(1, 64, requires_grad=True).astype(np.float64)
    for _ in range(20):
        h = h @ w
    node, kept = h.node, set()
    while node.rule.name == "matmul":
        kept.add(id(node.snapshots[0][1]))
        node = node.inputs[0]
    assert len(kept) == 1
    assert len(set(guard._large) - before) == 1
    del h, node, w
    gc.collect()
    assert set(guard._large) <= before


def test_nothing_is_kept_where_nothing_is_recorded():
    x, w = mg.ones(3), leaf(1.0, 2.0, 3.0)
    with mg.no_grad():
        y = x * w
    assert y.node is None
    z = np.exp(w)
    assert (z * z).node.snapshots is None  # nobody outside has the array of z


def test_linear_rules_close_over_no_input():
    from hypothesis import given
    from hypothesis import strategies as st

    seen = set()

    @given(data=st.data())
    def collect(data):
        for function in SAMPLES:
            inputs, call, _ = drawn(function, data)
            leaves = [mg.tensor(x, requires_grad=True) for x in inputs]
            for y in as_list(call(*leaves)):
                assert not any(y._array is x._array and y is not x for x in leaves), f"{function}: not a new array"
                if y.node is not None and y.node.rule.linear:
                    seen.add(y.node.rule)
                    arrays = [v._array for v in y.node.inputs if isinstance(v, mg.Tensor)]
                    assert not any(guard.holds(y.node.pullbacks, array) for array in arrays if array.size)

    collect()
    assert {r.name for r in RULES if r.linear} - {r.name for r in seen} <= {"put", "expand_dims"}


def test_two_threads_are_guarded_each_for_itself():
    errors, both = [], np.ones((64, 64))
    shared = both + 1

    def work(i):
        x = mg.tensor(both, requires_grad=True)
        for _ in range(50):
            y = np.sum(x * shared * x)
            if i:
                x.data[0] += 1
            try:
                y.backward()
            except RuntimeError:
                errors.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [1] * 50


def test_the_array_of_a_result_cannot_be_replaced():
    y = np.exp(leaf(1.0))
    with pytest.raises(ValueError, match=r"data can be replaced on leaves only: use x\.detach\(\)"):
        y.data = np.zeros(1, np.float32)


def test_lists_and_arrays_in_an_index_are_copied():
    for rows in ([0, 0], np.array([0, 0])):
        x = leaf(1.0, 2.0)
        y = np.sum(x[None][:, rows] * 3)
        rows[1] = 1
        y.backward()
        assert x.grad.tolist() == [6, 0]


class Whole:
    """A number that may change."""

    def __init__(self, n):
        self.n = n

    def __index__(self):
        return self.n


class Like:
    """Another library's tensor."""

    def __init__(self, *numbers):
        self.numbers = np.array(numbers)

    def __array__(self, dtype=None, copy=None):
        return self.numbers

    def __setitem__(self, i, n):
        self.numbers[i] = n


@pytest.mark.parametrize(
    "ids",
    [
        deque([0, 1]), UserList([0, 1]), typed_array("q", [0, 1]), bytearray([0, 1]), memoryview(typed_array("q", [0, 1])),
        Like(0, 1), [0, 1], np.array([0, 1]), mg.tensor([0, 1]),
    ],
    ids=lambda ids: type(ids).__name__,
)  # fmt: skip
@pytest.mark.parametrize("debugging", [False, True])
@pytest.mark.parametrize(
    "use",
    [
        lambda x, ids: x[ids], lambda x, ids: x[None][:, ids], lambda x, ids: x[None][0, ids], lambda x, ids: np.take(x, ids),
        lambda x, ids: F.embedding(ids, x[:, None]),
        lambda x, ids: mg.index_update(x, ids, 0.0), lambda x, ids: mg.index_add(-x, ids, x[:2]),
        lambda x, ids: F.cross_entropy(np.stack([x, x]), ids),
    ],
)  # fmt: skip
def test_ids_of_any_kind_are_those_of_the_forward_pass(ids, use, debugging):
    def gradient(change):
        mine = memoryview(typed_array("q", ids)) if isinstance(ids, memoryview) else copy.deepcopy(ids)
        x = leaf(0.1, 0.2, 0.3)
        with mg.debug() if debugging else contextlib.nullcontext():
            y = use(x, mine)
            y = np.sum(y * np.arange(1.0, 1 + y.size, dtype=np.float32).reshape(y.shape))
            if change:
                (mine.data if isinstance(mine, mg.Tensor) else mine)[0] = 2
            y.backward()
        return x.grad.tolist()

    expected = gradient(change=False)
    try:
        assert gradient(change=True) == expected
    except RuntimeError:
        assert isinstance(ids, np.ndarray | mg.Tensor)  # others are copied


def test_numbers_of_any_kind_are_those_of_the_forward_pass():
    for index in (lambda n: n, lambda n: slice(n, None), lambda n: (slice(None, n), None), lambda n: (n, ...)):
        n, x = Whole(1), leaf(1.0, 2.0, 4.0)
        y = np.sum(x[index(n)])
        n.n = 2
        y.backward()
        assert np.sum(x.grad * x).item() == y.item()
    n, x = np.array(1), leaf(1.0, 2.0, 4.0)
    y = np.sum(x[n:])
    n[...] = 2
    y.backward()
    assert x.grad.tolist() == [0, 1, 1]


def test_a_pullback_that_is_a_method_of_an_array_or_has_it_as_a_default_holds_it():
    x = np.eye(2)
    for pullback in (x.dot, lambda g, y=x: y @ g, lambda g, *, y=x: y @ g):

        @mg.rule()
        def product(a, b, /, pullback=pullback):
            return a @ b, (None, pullback)

        b = mg.tensor(np.ones(2), requires_grad=True)
        y = np.sum(product(x, b))
        x[0, 0] = 5
        with refused("product"):
            y.backward()
        x[0, 0] = 1


def test_a_name_that_was_never_bound_hides_nothing():
    @mg.rule()
    def odd(x, /):
        def pull(g):
            return g * x if x.size else later

        if not x.size:
            later = x
        return x * x / 2, (pull,)

    x = leaf(1.0, 2.0)
    y = np.sum(odd(x))
    x.data[0] = 9
    with refused("odd"):
        y.backward()


def test_lists_as_settings_are_copied():
    x = mg.tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    w = np.arange(6.0).reshape(2, 3)
    shift, axes = [1, 1], [0]
    y, z = np.sum(np.roll(x, shift, (0, 1)) * w), np.sum(np.flip(x, axes) * w)
    shift[0], axes[0] = 0, 1
    (y + z).backward()
    np.testing.assert_array_equal(x.grad.data, np.roll(w, (-1, -1), (0, 1)) + np.flip(w, 0))


def test_the_memory_behind_a_view_is_guarded_too():
    x = leaf(1.0, 2.0, 3.0)
    y = np.exp(x)
    y[:2].data.base[2] = 100
    with refused("exp"):
        np.sum(y).backward()


def test_writing_through_an_augmented_assignment_of_data():
    x = leaf(1.0, 2.0)
    y = np.exp(x)
    y.data += 1  # an array put in its own place
    with refused("exp"):
        np.sum(y).backward()


def test_nothing_of_a_step_is_kept_after_it():
    before = set(guard._large)
    model = nn.Linear(64, 64)
    x = np.ones((256, 64), np.float32)
    loss = np.sum(model(x) ** 2)
    assert not set(guard._large) <= before
    loss.backward()
    assert set(guard._large) <= before


def test_a_view_of_ids_is_guarded_though_it_is_read_only():
    tokens = np.array([0, 1, 2, 0])
    w = mg.tensor(np.eye(3), requires_grad=True)
    for ids in (np.lib.stride_tricks.sliding_window_view(tokens, 2), np.broadcast_to(tokens, (2, 4))):
        y = np.sum(F.embedding(ids, w))
        tokens[...] = 2
        with refused("embedding", "its input ids"):
            y.backward()
        tokens[...] = 0, 1, 2, 0


def test_a_memory_map_is_guarded(tmp_path):
    x = leaf(1.0, 1.0, 1.0)
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=(3,))
    mapped[...] = 2
    y = np.sum(x * mapped)
    mapped[...] = 5
    with refused("multiply"):
        y.backward()
    assert mg.Tensor(mapped).reshape(3, 1).shape == (3, 1)


def test_a_rule_whose_value_is_its_input():
    @mg.rule(linear=True)
    def reverse(x, /):
        return x, (lambda g: -g,)

    x = leaf(1.0, 2.0)
    y = reverse(x)
    z = np.sum(y * y)
    x.data[...] = 9
    with refused("multiply"):
        z.backward()
    x.data[...] = 1, 2
    h = x * 1.0
    z = np.sum(h * h)
    with mg.no_grad():
        reverse(h).data[...] = 9
    with refused("multiply"):
        z.backward()


def test_a_rule_whose_value_is_its_middle_input():
    @mg.rule()
    def middle(x, y, z, /):
        return y, (None, lambda g: g, None)

    x = leaf(1.0, 2.0)
    for mode in (mg.enable_grad, mg.no_grad):
        h = x * 1.0
        z = np.sum(h * h)
        with mode():
            middle(x, h, 1.0).data[...] = 9
        with refused("multiply"):
            z.backward()


def test_a_pullback_that_nobody_calls_needs_nothing():
    layer, x, target = nn.Linear(3, 2), np.ones((8, 3), np.float32), np.zeros(8, int)
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    first, second = F.cross_entropy(layer(x), target), F.cross_entropy(layer(x[:4]), target[:4])
    first.backward()
    optimizer.step()
    second.backward()  # the weight's gradient needs x, and x wants none
    embedding = nn.Embedding(5, 2)
    y = np.sum(embedding(np.array([0, 1])))
    embedding.weight.data[...] = 0
    y.backward()
    assert embedding.weight.grad.tolist() == [[1, 1], [1, 1], [0, 0], [0, 0], [0, 0]]


def test_a_gradient_that_nobody_asked_for_needs_nothing():
    a, b, x = leaf(1.0, 2.0), leaf(3.0, 4.0), np.ones(2, np.float32)
    y = np.sum(a * x + b * b)
    x[:] = 5
    (g,) = mg.autograd.grad(y, [b], retain_graph=True)
    assert g.tolist() == [6, 8]
    with refused("multiply"):
        mg.autograd.grad(y, [a])
    h = np.exp(b)
    y = np.sum(a * h)
    h.data[0] = 0  # noted at exp, of which no gradient is wanted
    with refused("multiply"):
        mg.autograd.grad(y, [a])


@pytest.mark.filterwarnings("ignore:Setting the:DeprecationWarning")
@pytest.mark.parametrize("change", [("shape", (1, 4)), ("dtype", np.dtype(np.int32))])
def test_an_array_that_is_read_another_way_than_before(change):
    b = np.arange(1, 5, dtype=np.float32).reshape(4, 1).copy()
    y = np.sum(mg.ones(4, 4, requires_grad=True) * b)
    setattr(b, *change)
    with refused("multiply", "its input y"):
        y.backward()


def test_a_read_only_array_may_be_written_into_through_an_older_view():
    b = np.ones(2, np.float32)
    before = b[:]
    b.setflags(write=False)
    y = np.sum(leaf(1.0, 2.0) * b)
    before[0] = 5
    with refused("multiply", "its input y"):
        y.backward()


def test_a_large_array_written_into_between_two_graphs_is_of_each_as_it_was():
    w = mg.tensor(np.ones(2000), requires_grad=True)  # more than 4 KB, whose bytes are kept once
    first = np.sum(w * w)
    w.data[0] = 2
    second = np.sum(w * w)
    with refused("multiply"):
        first.backward()
    second.backward()
    assert w.grad[0].item() == 4


def test_a_hook_that_writes_into_what_its_own_operation_holds_is_noticed():
    x = leaf(1.0, 2.0)
    y = x * x
    y.register_hook(lambda g: x.data.fill(9))
    with refused("multiply"):
        np.sum(y).backward()


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_hook_that_writes_into_what_an_earlier_operation_holds_is_noticed(create_graph):
    x = leaf(1.0, 2.0)
    y = np.sin(x * x)
    y.register_hook(lambda g: x.data.fill(9))
    with refused("multiply"):
        mg.autograd.grad(np.sum(y * y), x, create_graph=create_graph)


def test_a_hook_that_writes_into_what_no_wanted_gradient_needs_is_let_be():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    y = a * b
    y.register_hook(lambda g: b.data.fill(9))
    (found,) = mg.autograd.grad(np.sum(y), b)  # which is a
    assert found.tolist() == [1, 2]
    b = leaf(3.0, 4.0)
    y = a * b
    y.register_hook(lambda g: b.data.fill(9))
    with refused("multiply"):
        mg.autograd.grad(np.sum(y), b, create_graph=True)  # which is to be differentiated again


def test_a_write_that_matters_to_none_of_many_operations_is_looked_into_once(monkeypatch):
    asked = []
    monkeypatch.setattr(guard, "holds", lambda pulls, array, holds=guard.holds: asked.append(1) or holds(pulls, array))
    w, c = leaf(1.0, 2.0), np.ones(2, np.float32)
    y = np.sum(sum(w * c for _ in range(50)))
    w.data[0] = 5
    y.backward()
    assert w.grad.tolist() == [50, 50]
    assert len(asked) < 200  # operations, not operations times operations


def test_a_checkpoint_whose_value_is_a_view():
    h = leaf(1.0, 2.0, 3.0) * 1.0
    y = mg.checkpoint(lambda a: a.reshape(-1), h)
    z = np.sum(h * h)
    y.data[...] = 9
    with refused("multiply"):
        z.backward()
