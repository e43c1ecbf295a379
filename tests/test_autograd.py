"""Sentences about the engine."""

import asyncio
import collections
import contextlib
import gc
import inspect
import os
import signal
import sys
import threading
import weakref

import numpy as np
import pytest

import minigrad as mg
from minigrad.graph import toposort, vertex
from minigrad.rule import RULES
from minigrad.tensor import HANDLERS


def leaf(*values):
    return mg.tensor(np.array(values if len(values) > 1 else values[0], np.float64), requires_grad=True)


# ---- the graph -------------------------------------------------------------------------------------------------------


def test_a_value_used_twice_counts_twice():
    x = leaf(3.0)
    (x * x).backward()
    assert x.grad.item() == 6


def test_a_node_waits_for_all_its_consumers():
    a = leaf(1.0)
    b = a + a
    c = b + b
    (c * b).backward()  # 8 a²
    assert a.grad.item() == 16


def test_fifty_doublings_visit_fifty_nodes():
    x = y = leaf(1.0)
    for _ in range(50):
        y = y + y
    assert len(toposort([vertex(y)])) == 50
    y.backward()
    assert x.grad.item() == 2.0**50


def test_a_chain_of_100000_operations_needs_no_deep_stack():
    x = y = leaf(1.0)
    for _ in range(100_000):
        y = y + 1.0
    y.backward(retain_graph=True)
    assert x.grad.item() == 1
    (g,) = mg.autograd.grad(y, x, create_graph=True)
    assert g.item() == 1
    del y, g  # thrown away without having been freed


def test_constants_get_no_gradient():
    x, c = leaf(2.0), mg.tensor(3.0)
    (x * c).backward()
    assert c.grad is None


def test_gradients_are_summed_back_to_the_shape_of_the_input():
    x, y = leaf(*np.ones((3, 1))), leaf(2.0)
    np.sum((x + np.zeros((2, 3, 4))) * y).backward()
    assert x.grad.data.tolist() == [[16], [16], [16]]
    assert y.grad.item() == 24


def test_gradients_have_the_dtype_of_their_leaf():
    x = mg.tensor(np.ones(2, np.float16), requires_grad=True)
    y = mg.tensor(np.ones(2), requires_grad=True)
    np.sum(x * y).backward()
    assert (x.grad.dtype, y.grad.dtype) == (np.float16, np.float64)


def test_leaves_never_share_the_memory_of_their_gradients():
    x, y, g = leaf(1.0, 2.0), leaf(3.0, 4.0), np.ones(2)
    z = x + y
    z.backward(g)
    x.grad.data[0] = 7
    assert y.grad.data[0] == g[0] == 1


def test_gradients_of_a_view_can_be_written_into():
    x = leaf(1.0, 2.0)
    np.sum(x).backward()
    x.grad.data *= 2
    assert x.grad.data.tolist() == [2, 2]


# ---- backward --------------------------------------------------------------------------------------------------------


def test_backward_adds_to_the_gradient():
    x = leaf(2.0)
    (x * 3).backward()
    first = x.grad
    (x * 4).backward()
    assert (x.grad.item(), first.item()) == (7, 3)


def test_backward_starts_from_a_scalar_or_a_gradient_of_the_same_shape():
    x = leaf(1.0, 2.0)
    with pytest.raises(ValueError, match=r"starts from a scalar, this tensor has shape \(2,\)"):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"the gradient has shape \(1,\), the tensor \(2,\)"):
        (x * 2).backward(np.ones(1))
    (x * 2).backward([1.0, 10.0])
    assert x.grad.data.tolist() == [2, 20]


def test_backward_of_a_constant_is_an_error():
    with pytest.raises(ValueError, match="depends on nothing that requires a gradient"):
        mg.tensor(1.0).backward()


def test_backward_of_a_leaf():
    x = leaf(2.0)
    x.backward()
    assert x.grad.item() == 1


def test_a_second_backward_needs_retain_graph():
    x = leaf(2.0)
    y = x * x
    y.backward()
    with pytest.raises(RuntimeError, match="retain_graph=True"):
        y.backward()
    assert x.grad.item() == 4
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.item() == 12


def test_a_freed_part_is_found_before_anything_is_added():
    x, w = leaf(2.0), leaf(5.0)
    shared = x * x
    (shared * 1.0).backward()
    with pytest.raises(RuntimeError, match="freed"):
        (shared * w).backward()
    assert w.grad is None


def test_an_error_on_the_way_leaves_the_gradients_as_they_were():
    @mg.rule()
    def breaks(x, /):
        return x + 0.0, (lambda g: 1 / 0,)

    x, y = leaf(1.0), leaf(1.0)
    with pytest.raises(ZeroDivisionError):
        (breaks(x) + y).backward()
    assert x.grad is None
    assert y.grad is None
    assert mg.is_grad_enabled()


def test_backward_frees_what_a_node_saved_as_soon_as_it_is_done():
    seen = []

    @mg.rule()
    def saves(x, /):
        big = np.ones(1000)
        finalizer = weakref.finalize(big, seen.append, "freed")
        assert finalizer.alive
        return x * 1.0, (lambda g: g * big[0],)

    @mg.rule()
    def looks(x, /):
        def pull(g):
            seen.append("earlier node")
            return g

        return x * 1.0, (pull,)

    x = leaf(1.0)
    saves(looks(x)).backward()
    assert seen == ["freed", "earlier node"]


def test_a_finished_graph_is_freed_without_the_cycle_collector():
    gc.collect()
    gc.disable()
    try:
        x = leaf(*np.ones((3, 3)))
        for create_graph in (False, True):
            y = np.sum(np.tanh(x @ x))
            node = weakref.ref(y)
            (g,) = mg.autograd.grad(y, x, create_graph=create_graph)
            del y, g
            assert node() is None
        y = mg.functional.layer_norm(x, 3)
        alive = weakref.ref(y)
        del y
        assert alive() is None
    finally:
        gc.enable()


# ---- higher order ----------------------------------------------------------------------------------------------------


def test_gradients_of_gradients():
    x = leaf(2.0)
    y = x**4
    for expected in (32, 48, 48, 24, 0):
        (y,) = mg.autograd.grad(y, x, create_graph=True)
        assert y.item() == expected


def test_backward_with_create_graph_makes_a_differentiable_gradient():
    x = leaf(2.0)
    (x**3).backward(create_graph=True)
    g = x.grad
    x.grad = None
    g.backward()
    assert x.grad.item() == 12


def test_a_gradient_depends_on_intermediate_inputs_that_are_named():
    x = leaf(3.0)
    z = x * x
    gz, gx = mg.autograd.grad(z**3, [z, x], create_graph=True)
    assert mg.autograd.grad(gz, z, retain_graph=True)[0].item() == 6 * 9
    assert mg.autograd.grad(gx, x)[0].item() == 30 * 3.0**4


def test_differentiable_gradients_do_not_share_memory_either():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    np.sum((x + y) * 2).backward(create_graph=True)
    x.grad.data[...] = 9
    assert y.grad.tolist() == [2, 2]
    z = leaf(1.0, 2.0)
    np.sum(z).backward(create_graph=True)
    z.grad.data[...] = 9


def test_a_gradient_goes_on_into_the_graph_it_came_from():
    w, x = leaf(3.0), leaf(5.0)
    h = w * 2
    seen = []
    h.register_hook(lambda g: seen.append(g.item()))
    (gx,) = mg.autograd.grad(h**2 * x, x, create_graph=True)
    (gx + h).backward()
    assert seen == [13.0]
    assert w.grad.item() == 26


def test_what_an_output_does_not_depend_on_has_no_gradient_at_any_order():
    x, w = leaf(2.0), leaf(3.0)
    assert mg.autograd.grad(w * w, x, create_graph=True, allow_unused=True) == (None,)
    assert mg.grad(lambda x: w * w)(np.array(1.0)).item() == 0
    both = mg.jacobian(lambda x: {"a": w * w, "b": x * w})(np.array(1.0))
    assert (both["a"].item(), both["b"].item()) == (0, 3)
    assert mg.grad(lambda a: mg.grad(lambda b: a * a)(1.0) + a)(2.0).item() == 1


# ---- grad ------------------------------------------------------------------------------------------------------------


def test_grad_leaves_the_leaves_alone_and_computes_only_what_is_asked_for():
    called = []

    @mg.rule()
    def watched(x, /):
        return x * 1.0, (lambda g: called.append(1) or g,)

    x, w = leaf(2.0), leaf(3.0)
    (g,) = mg.autograd.grad(watched(w) * x, x)
    assert g.item() == 3
    assert x.grad is None
    assert not called


def test_grad_of_several_outputs():
    x = leaf(2.0)
    (g,) = mg.autograd.grad([x * 3, x * x], x, grad_outputs=[1.0, 10.0])
    assert g.item() == 43
    with pytest.raises(ValueError, match="2 outputs need as many grad_outputs, not 1"):
        mg.autograd.grad([x * 3, x * x], x, grad_outputs=[1.0])


def test_an_unused_input_is_an_error_or_none():
    x, y = leaf(1.0), leaf(1.0)
    with pytest.raises(ValueError, match="no output depends on input 1"):
        mg.autograd.grad(x * 2, [x, y])
    assert mg.autograd.grad(x * 2, [x, y], allow_unused=True)[1] is None
    with pytest.raises(ValueError, match="input 0 is no Tensor that requires a gradient"):
        mg.autograd.grad(x * 2, mg.tensor(1.0))


# ---- no_grad ---------------------------------------------------------------------------------------------------------


def test_no_grad_records_nothing_and_ends():
    x = leaf(1.0)
    context = mg.no_grad()
    with context, context:
        assert not (x * 2).requires_grad
        with mg.enable_grad():
            assert (x * 2).requires_grad
    assert (x * 2).requires_grad
    with pytest.raises(KeyError), mg.no_grad():
        raise KeyError
    assert mg.is_grad_enabled()


def test_no_grad_is_a_decorator():
    @mg.no_grad()
    def f(x):
        """Docs."""
        return x * 2

    assert not f(leaf(1.0)).requires_grad
    assert f.__doc__ == "Docs."


def test_no_grad_is_of_one_thread():
    recording = []
    with mg.no_grad():
        thread = threading.Thread(target=lambda: recording.append(mg.is_grad_enabled()))
        thread.start()
        thread.join()
    assert recording == [True]


def test_no_grad_is_of_one_asyncio_task():
    async def quiet(seen):
        with mg.no_grad():
            await asyncio.sleep(0)
            seen.append(mg.is_grad_enabled())
            await asyncio.sleep(0)

    async def loud(seen):
        for _ in range(3):
            seen.append(mg.is_grad_enabled())
            await asyncio.sleep(0)

    async def both():
        await asyncio.gather(quiet(inside), loud(outside))

    inside, outside = [], []
    asyncio.run(both())
    assert inside == [False]
    assert outside == [True, True, True]


def test_a_decorated_coroutine_function_records_nothing():
    @mg.no_grad()
    async def quiet():
        before = mg.is_grad_enabled()
        await asyncio.sleep(0)
        return before, mg.is_grad_enabled()

    async def main():
        return await asyncio.gather(quiet(), loud())

    async def loud():
        return mg.is_grad_enabled()

    assert inspect.iscoroutinefunction(quiet)
    assert asyncio.run(main()) == [(False, False), True]


def test_a_decorated_generator_records_nothing_while_it_runs():
    log = []

    @mg.no_grad()
    def quiet(n):
        """Docs."""
        try:
            for i in range(n):
                log.append(mg.is_grad_enabled())
                try:
                    log.append((yield i))
                except KeyError:
                    log.append(mg.is_grad_enabled())
            return "end"
        finally:
            log.append(mg.is_grad_enabled())

    def outer():
        return (yield from quiet(1))

    assert quiet.__doc__ == "Docs."
    steps = quiet(3)
    assert next(steps) == 0
    assert mg.is_grad_enabled()
    assert steps.send("sent") == 1
    assert steps.throw(KeyError()) == 2
    assert mg.is_grad_enabled()
    steps.close()
    assert log[:-1] == [False, "sent", False, False, False]
    assert mg.is_grad_enabled()
    turn = outer()
    next(turn)
    with pytest.raises(StopIteration) as end:
        next(turn)
    assert end.value.value == "end"
    with pytest.raises(ZeroDivisionError):
        list(mg.no_grad()(lambda: (1 / i for i in [0]))())


@contextlib.contextmanager
def without_gradients():
    with mg.no_grad():
        yield


def entered(mode):
    with contextlib.ExitStack() as stack:
        stack.enter_context(mode)
        yield mg.is_grad_enabled()
        yield mg.is_grad_enabled()


def opened(mode):
    with mode:
        yield mg.is_grad_enabled()
        yield mg.is_grad_enabled()


@mg.no_grad()
def decorated(_):
    yield mg.is_grad_enabled()
    yield mg.is_grad_enabled()


@pytest.mark.parametrize("steps", [entered, opened, decorated])
@pytest.mark.parametrize("mode", [mg.no_grad, without_gradients])
def test_a_generator_keeps_its_mode_to_itself(steps, mode):
    x, turns = leaf(1.0), steps(mode())
    assert next(turns) is False
    assert mg.is_grad_enabled()
    assert (x * 2).requires_grad
    with mg.no_grad(), mg.enable_grad():
        assert mg.is_grad_enabled()
    with mg.no_grad():
        assert not mg.is_grad_enabled()
        assert not (x * 2).requires_grad
    assert next(turns) is False
    assert list(turns) == []
    assert mg.is_grad_enabled()
    turns = steps(mode())
    next(turns)
    del turns  # closed where it waits
    gc.collect()
    assert mg.is_grad_enabled()


def test_a_mode_that_ends_before_a_generator_goes_on_ends_for_it_alone():
    turns = opened(mg.no_grad())
    outside = mg.no_grad()
    with outside:
        next(turns)
    assert mg.is_grad_enabled()
    with mg.enable_grad():
        assert list(turns)[-1:] == [True]  # which was entered later
        assert mg.is_grad_enabled()
    assert mg.is_grad_enabled()


def test_an_asynchronous_generator_keeps_its_mode_to_itself():
    @mg.no_grad()
    async def decorated():
        yield mg.is_grad_enabled()
        await asyncio.sleep(0)
        yield mg.is_grad_enabled()

    async def opened():
        with mg.no_grad():
            yield mg.is_grad_enabled()
            await asyncio.sleep(0)
            yield mg.is_grad_enabled()

    async def main():
        seen = []
        for steps in (decorated, opened):
            async for inside in steps():
                seen.append((inside, mg.is_grad_enabled()))
        return seen

    assert asyncio.run(main()) == [(False, True)] * 4


def test_a_with_around_what_a_generator_computes_is_its_own_affair():
    def predictions(xs):
        for x in xs:
            with mg.no_grad():
                y = x * 2
            yield y, x * 2

    for y, z in predictions([leaf(1.0), leaf(2.0)]):
        assert (y.requires_grad, z.requires_grad) == (False, True)


def test_a_context_manager_made_of_a_generator_may_hold_no_grad():
    @contextlib.contextmanager
    def evaluating():
        with mg.no_grad():
            yield

    @contextlib.asynccontextmanager
    async def serving():
        with mg.no_grad():
            yield

    async def main():
        async with serving():
            return mg.is_grad_enabled()

    with evaluating():
        assert not mg.is_grad_enabled()
    assert mg.is_grad_enabled()
    with contextlib.ExitStack() as stack:
        stack.enter_context(evaluating())
        assert not mg.is_grad_enabled()
    assert mg.is_grad_enabled()
    assert asyncio.run(main()) is False


def test_two_threads_add_to_one_gradient():
    x, n = leaf(1.0), 2000
    y = x * 1.0

    def add():
        for _ in range(n):
            y.backward(retain_graph=True)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=add) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert x.grad.item() == 2 * n


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_that_was_forked_while_a_gradient_was_added_adds_its_own():
    x = leaf(2.0)
    with mg.autograd._adding:
        child = os.fork()
        if not child:
            signal.alarm(10)
            (x * x).backward()
            os._exit(0 if x.grad.item() == 4 else 1)
    assert os.waitpid(child, 0)[1] == 0


# ---- hooks -----------------------------------------------------------------------------------------------------------


def test_hooks_see_and_replace_gradients():
    x = leaf(1.0, 2.0)
    h = x * 3
    seen = []
    remove = h.register_hook(lambda g: seen.append(g.data.copy()))
    h.register_hook(lambda g: g * 10)
    x.register_hook(lambda g: g + 1)
    np.sum(h).backward()
    assert [s.tolist() for s in seen] == [[1, 1]]
    assert x.grad.data.tolist() == [31, 31]
    remove()
    remove()
    y = np.sum(x * 3)
    (g,) = mg.autograd.grad(y, x, create_graph=True)
    assert g.data.tolist() == [4, 4]
    assert len(seen) == 1


def test_hooks_take_part_in_higher_orders():
    x = leaf(2.0)
    h = x * x
    h.register_hook(lambda g: g * x)  # 1 · x in place of 1
    (g,) = mg.autograd.grad(h, x, create_graph=True)
    assert g.item() == 8
    assert mg.autograd.grad(g, x)[0].item() == 8  # d 2x² / dx


def test_a_hook_that_writes_into_its_gradient_harms_nobody_else():
    a, b = leaf(1.0), leaf(1.0)
    h, k = a * 1.0, b * 1.0

    def writes(g):
        g.data *= 10

    k.register_hook(writes)
    (h + k).backward()
    assert (a.grad.item(), b.grad.item()) == (1, 1)


def test_bad_hooks():
    x = leaf(1.0)
    with pytest.raises(ValueError, match="this tensor requires none"):
        mg.tensor(1.0).register_hook(print)
    x.register_hook(lambda g: mg.ones(3))
    with pytest.raises(ValueError, match=r"a hook must return None or a Tensor of shape \(\)"):
        (x * 2).backward()


# ---- rules -----------------------------------------------------------------------------------------------------------


def test_a_rule_needs_inputs_before_a_slash():
    with pytest.raises(TypeError, match="stand before a '/'"):

        @mg.rule()
        def f(x):
            return x, (lambda g: g,)


def test_a_rule_gives_one_array():
    @mg.rule()
    def two(x, /):
        return (x, x), (lambda g: g,)

    with pytest.raises(TypeError, match="rule two must return one array and its pullbacks, not tuple"):
        two(leaf(1.0))
    with pytest.raises(TypeError, match="with brackets"):
        mg.rule(two)(leaf(1.0))


def test_a_rule_with_too_few_pullbacks_says_so():
    @mg.rule()
    def f(x, y, /):
        return x + y, (lambda g: g,)

    with pytest.raises(TypeError, match="rule f has 2 inputs and returned 1 pullbacks"):
        f(leaf(1.0), leaf(2.0))


@pytest.mark.parametrize("x", [np.ones(2, np.float32), mg.ones(2), mg.ones(2, requires_grad=True)])
@pytest.mark.parametrize("returned", [lambda x: x * 2, lambda x: (x * 2, (lambda g: g * 2)), lambda x: (x,)])  # fmt: skip
def test_a_rule_that_returns_no_tuple_of_pullbacks_is_named(x, returned):
    @mg.rule()
    def twice(x, /):
        return returned(x)

    with pytest.raises(
        TypeError, match="^rule twice must return its value and a tuple of pullbacks, as in `return y, "
    ):
        twice(x)


@pytest.mark.parametrize(
    ("given", "shown"), [(None, "None"), (1.0, "1.0"), (1j * np.ones(2), r"ndarray of shape \(2,\)")]
)
@pytest.mark.parametrize("create_graph", [False, True])
def test_a_pullback_that_gives_no_array_of_real_numbers_is_named(given, shown, create_graph):
    @mg.rule()
    def f(x, /):
        return x * 2, (lambda g: given,)

    x = mg.ones(2, requires_grad=True)
    with pytest.raises(TypeError, match=f"^rule f: a pullback must give an array of real numbers, not {shown}$"):
        f(x).backward(np.ones(2), create_graph=create_graph)
    assert x.grad is None


def test_a_pullback_of_the_wrong_shape_is_named():
    @mg.rule()
    def f(x, /):
        return x * 1.0, (lambda g: np.ones(5),)

    with pytest.raises(
        ValueError, match=r"rule f: a pullback gave a gradient of shape \(5,\) for an input of shape \(2,\)"
    ):
        np.sum(f(leaf(1.0, 2.0))).backward()


def test_shared_work_is_done_once():
    calls = []

    @mg.rule()
    def f(x, y, /):
        @mg.shared
        def both(g):
            calls.append(1)
            return g * 2.0

        return x + y, (lambda g: both(g), lambda g: both(g))

    x, y = leaf(1.0), leaf(1.0)
    f(x, y).backward()
    assert len(calls) == 1
    x.grad.data[...] = 9
    assert y.grad.item() == 2


def test_a_rule_works_on_arrays_alone():
    assert isinstance(mg.rules.elementwise.multiply(np.ones(2), 3.0), np.ndarray)


# ---- checkpointing ---------------------------------------------------------------------------------------------------


def test_a_checkpoint_gives_the_same_and_keeps_less():
    w = leaf(*np.full((4, 4), 0.1))

    def f(x):
        for _ in range(5):
            x = np.tanh(x @ w)
        return x

    x = leaf(*np.ones((4, 4)))
    plain = mg.autograd.grad(np.sum(f(x) ** 2), [x, w], create_graph=True)
    y = mg.checkpoint(f, x)
    assert len(toposort([vertex(y)])) == 1
    again = mg.autograd.grad(np.sum(y**2), [x, w], create_graph=True)
    for a, b in zip(plain, again, strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-12)
    second = [mg.autograd.grad(np.sum(g[0] * g[1]), [x, w]) for g in (plain, again)]
    for a, b in zip(*second, strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-12)


def test_a_checkpoint_behind_other_operations():
    x = leaf(2.0)
    h = x * x
    y = mg.checkpoint(lambda h: h * h * x, h)
    (y * 1.0).backward()
    assert x.grad.item() == 5 * 16


def test_a_checkpoint_draws_the_same_again():
    x = leaf(*np.ones(100))
    y = mg.checkpoint(lambda x: mg.functional.dropout(x, 0.5), x)
    after = mg.default_generator().random()
    np.sum(y).backward()
    np.testing.assert_array_equal(x.grad.data, y.data)
    mg.seed(0)
    mg.functional.dropout(x, 0.5)
    assert after == mg.default_generator().random()


def test_a_checkpoint_of_an_unsteady_function_is_an_error():
    x, own = leaf(*np.ones(10)), np.random.default_rng(0)
    y = mg.checkpoint(lambda x: mg.functional.dropout(x, 0.5, rng=own), x)
    with pytest.raises(RuntimeError, match="did something else when it was called again"):
        np.sum(y).backward()


def test_a_checkpoint_of_an_unsteady_function_whose_value_does_not_show_it_is_an_error():
    own, calls = np.random.default_rng(0), iter(range(99))
    for unsteady in (
        lambda x: mg.functional.dropout(x, 0.5, rng=own) * 0.0,
        lambda x: x * (next(calls) * 0.0 + next(calls)) - x * 0.0,
        lambda x: x * x if next(calls) % 2 else x * x.detach(),
        lambda x: x * own.random(3).astype(np.float32),
        lambda x: x[(i := next(calls) % 2) : i + 2],
        lambda x: x[np.int64(next(calls) % 2)],
        lambda x: x[[0, 1 + next(calls) % 2]],
        lambda x: (x - x.detach(), x.detach() - x)[next(calls) % 2],
        lambda x: (np.sinh(x), np.tan(x))[next(calls) % 2],
    ):
        x = leaf(0.0, 0.0, 0.0)
        y = np.sum(mg.checkpoint(unsteady, x))
        with pytest.raises(RuntimeError, match="did something else when it was called again"):
            y.backward()
        assert x.grad is None


def test_a_checkpoint_that_finds_another_parameter_is_an_error():
    x, weights = leaf(1.0, 2.0), [leaf(3.0, 4.0), leaf(3.0, 4.0)]
    y = mg.checkpoint(lambda x: x * weights.pop(), x)
    with pytest.raises(RuntimeError, match="did something else when it was called again"):
        np.sum(y).backward()


def test_a_checkpoint_counts_a_batch_once_and_is_freed():
    norm, x = mg.nn.BatchNorm1d(2), mg.randn(4, 2, requires_grad=True)
    y = mg.checkpoint(norm, x)
    before = norm.running_mean.copy()
    np.sum(y**2).backward()
    assert norm.num_batches_tracked == 1
    np.testing.assert_array_equal(norm.running_mean, before)
    gc.collect()
    gc.disable()
    try:
        y = mg.checkpoint(np.sin, x)
        alive = weakref.ref(y)
        del y
        assert alive() is None
        y = np.linalg.multi_dot([x.mT, x, x.mT])
        alive = weakref.ref(y)
        del y
        assert alive() is None
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_checkpoint_of_nothing_to_differentiate():
    assert not mg.checkpoint(np.sin, mg.tensor(1.0)).requires_grad
    with mg.no_grad():
        assert not mg.checkpoint(np.sin, leaf(1.0)).requires_grad
    with pytest.raises(TypeError, match="checkpoint: the function returned float, not a Tensor"):
        mg.checkpoint(lambda x: 1.0, leaf(1.0))


def test_the_time_of_a_graph_grows_with_its_nodes_and_not_its_paths():
    x = leaf(1.0)
    y = x
    for _ in range(1000):
        y = (y + y) * 0.5
    y.backward()  # over 2¹⁰⁰⁰ paths
    assert x.grad.item() == 1


@pytest.mark.parametrize(
    "call",
    [
        lambda x, y: x + y, lambda x, y: y - x, lambda x, y: x * y, lambda x, y: x // y, lambda x, y: np.maximum(x, y),
        lambda x, y: x @ y, lambda x, y: np.concatenate([x, y]), lambda x, y: np.stack([y, x]), lambda x, y: np.dot(y, x),
        lambda x, y: np.where([True, False], x, y), lambda x, y: mg.index_update(x, [1, 0], y), lambda x, y: mg.index_add(x, [1, 0], y),
        lambda x, y: np.einsum("i,i->i", x, y), lambda x, y: np.outer(x, y), lambda x, y: np.kron(y, x), lambda x, y: np.clip(x, y, None),
        lambda x, y: np.vstack([x, y]), lambda x, y: np.tensordot(x, y, 1), lambda x, y: np.linalg.multi_dot([y, x[:, None]]),
        lambda x, y: np.average(x, weights=y), lambda x, y: np.hypot(x, y), lambda x, y: x**y,
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_list_is_as_weak_as_a_number(call, dtype):
    """The same, to the bit, as an array of the tensor's dtype; of integers computed in float64, so to its rounding."""
    x = mg.tensor(np.array([1.1, 0.7], dtype), requires_grad=True)
    for y in ([0.1, 0.3], (0.1, 0.3), [3, 2], [np.float64(0.1), 0.3], collections.deque([0.1, 0.3])):
        found, expected = call(x, y), call(x, np.array(list(y), dtype))
        assert found.dtype == dtype
        np.testing.assert_allclose(found.data, expected.data, rtol=np.finfo(dtype).eps if y == [3, 2] else 0)
    assert (mg.tensor(np.array([1.0])) * [1e300]).item() == 1e300
    assert (mg.tensor(np.array([1, 2], np.int8)) + [1, 2]).dtype == np.int8


def test_many_gradients_of_float16_are_added_in_float32():
    """In float16 2048 + 1 is 2048."""
    x = mg.tensor(np.ones(1, np.float16), requires_grad=True)
    for create_graph in (False, True):
        for start in (x, x * 1):
            y = sum(np.sum(start.astype(np.float32)) for _ in range(5000))
            (g,) = mg.autograd.grad(y, [start], retain_graph=True, create_graph=create_graph)
            assert (g.dtype, g.item()) == (np.float16, 5000)
        (g,) = mg.autograd.grad(y, [x], retain_graph=True, create_graph=create_graph)
        assert (g.dtype, g.item()) == (np.float16, 5000)
    assert mg.explain(y).gradient(x).item() == 5000
    y.backward()
    assert (x.grad.dtype, x.grad.item()) == (np.float16, 5000)


def test_a_float_list_beside_float64_keeps_its_precision_in_the_gradient():
    x = leaf(1.0, 2.0)
    np.sum(x * [0.1, 0.3]).backward()
    assert x.grad.tolist() == [0.1, 0.3]


def test_integer_arrays_are_weak_beside_floats():
    """NumPy would compute in float64, which the next layer would refuse."""
    counts = np.array([3, 4])
    for dtype in (np.float16, np.float32, np.float64):
        x = mg.tensor(np.array([1.0, 2.0], dtype), requires_grad=True)
        for n in (counts, mg.tensor(counts), counts.astype(np.int16), counts.astype(np.uint32)):
            for y in (x / n, n * x, x @ n, np.concatenate([n, x]), np.where(n > 3, x, n), x**n, np.maximum(n, x)):
                assert y.dtype == dtype
        x.grad = None
        np.sum(x / counts).backward()
        np.testing.assert_array_equal(x.grad.data, 1 / counts.astype(dtype))
    small = mg.tensor(np.ones(1, np.float16)) / np.array([70_000])
    assert (small.dtype, small.data[0]) == (np.float16, np.float16(1 / 70_000))  # beyond float16 on the way
    ratio = mg.tensor(counts) / counts
    assert ratio.dtype == np.float64  # integers among themselves are NumPy's


def test_a_rule_may_take_integers_as_such():
    @mg.rule()
    def pick(x, ids, /):
        def pull(g):
            h = np.zeros(x.shape, g.dtype)
            np.add.at(h, ids, g)
            return h

        return x[ids], (pull, None)

    x = leaf(1.0, 2.0, 4.0)
    for ids in (np.array([2, 2]), mg.tensor([2, 2]), [2, 2]):
        x.grad = None
        np.sum(pick(x, ids)).backward()
        assert x.grad.tolist() == [0, 0, 2]


def test_numbers_keep_the_precision_of_what_they_stand_beside():
    x = mg.tensor(np.array(0.1), requires_grad=True)
    for _ in range(2):  # a second gradient is added to the first
        (x * 0.1).backward()
    assert x.grad.dtype == np.float64
    assert x.grad.item() == 0.2
    np.sum(x).backward(0.1)
    assert x.grad.item() == 0.2 + 0.1
    y = mg.tensor(np.array([1.0, 2.0]))
    assert np.dot(y, 0.1).data[0] == 0.1
    assert mg.index_update(y, 0, 0.1).data[0] == 0.1
    assert np.dot(0.1, mg.ones(2)).dtype == np.float32


def test_a_checkpoint_of_results_from_around_it_says_why_it_has_no_second_derivative():
    x = mg.tensor([1.0, 2.0], requires_grad=True)
    y = np.exp(x)
    z = mg.checkpoint(lambda: np.sum(y * y))
    with pytest.raises(RuntimeError, match=r"handed to it: mg\.checkpoint\(f, x, y\)"):
        mg.autograd.grad(z, x, create_graph=True)


def test_a_rule_of_minigrad_s_own_is_not_replaced_in_silence():
    homes = sys.modules["minigrad.rule"]._homes
    before, homes_before = dict(HANDLERS), dict(homes)

    def tanh(x, /):
        return np.tanh(x), (lambda g: 0.0 * g,)

    for decorator, name in ((mg.rule, "rule"), (mg.implements, "implements")):
        words = rf"{name}: np\.tanh has a rule already; @mg\.{name}\(np\.tanh, override=True\) replaces it"
        with pytest.raises(ValueError, match=words):
            decorator(np.tanh)(tanh)
        with pytest.raises(TypeError, match="override must be True or False"):
            decorator(np.tanh, override="yes")
    assert before == HANDLERS
    x = leaf(1.0)
    try:
        RULES.remove(mg.rule(np.tanh, override=True)(tanh))
        np.tanh(x).backward()
        assert x.grad.item() == 0
    finally:
        HANDLERS.update(before)
        homes.update(homes_before)


def test_a_rule_of_one_s_own_may_be_written_again():
    """As when a cell of a notebook is run twice."""
    for factor in (2.0, 3.0):

        @mg.rule(np.sinc)
        def sinc(x, /, factor=factor):
            return np.sinc(x), (lambda g: factor * g,)

        RULES.remove(sinc)
        x = leaf(1.0)
        np.sinc(x).backward()
        assert x.grad.item() == factor
    del HANDLERS[np.sinc]


@pytest.mark.parametrize("create_graph", [False, True])
def test_what_is_freed_during_the_pass_is_noticed(create_graph):
    """A hook that runs another backward pass through the same nodes would lose this pass's gradient."""
    x = leaf(1.0, 2.0)
    a = np.exp(x)
    y, z = a * 2, np.sum(a)
    y.register_hook(lambda g: z.backward() if a.node.pullbacks is not None else None)
    with pytest.raises(RuntimeError, match="the graph of exp has already been freed"):
        np.sum(y).backward(create_graph=create_graph)


def test_a_hook_that_is_registered_during_the_pass_is_called():
    seen = []
    x = leaf(1.0, 2.0)
    a = x * 1.0

    @mg.rule()
    def registers(x, /):
        def pull(g):
            a.register_hook(lambda g: seen.append(g.tolist()))
            return g

        return x * 1.0, (pull,)

    RULES.remove(registers)
    np.sum(registers(a * 1.0)).backward()
    assert seen == [[1, 1]]


@pytest.mark.parametrize("pullbacks", [None, lambda: None, 3, "g"])
@pytest.mark.parametrize("watch", [mg.enable_grad, mg.no_grad, mg.debug, mg.profile])
def test_what_is_no_tuple_of_pullbacks_is_refused_however_the_rule_is_run(pullbacks, watch):
    @mg.rule()
    def wrong(x, /):
        return x * 1.0, pullbacks

    RULES.remove(wrong)
    with watch(), pytest.raises(TypeError, match="rule wrong must return its value and a tuple of pullbacks"):
        wrong(leaf(1.0))

    @mg.rule()
    def surplus(x, /):
        return x * 1.0, (lambda g: g, lambda g: g)

    RULES.remove(surplus)
    with watch(), pytest.raises(TypeError, match="rule surplus has 1 inputs and returned 2 pullbacks"):
        surplus(leaf(1.0))


def test_a_rule_of_no_module_is_one():
    scope = {"mg": mg}
    exec("@mg.rule()\ndef double(x, /): return 2 * x, (lambda g: 2 * g,)", scope)
    RULES.remove(scope["double"])
    assert scope["double"](leaf(1.5)).item() == 3


def test_many_outputs_of_float16_are_added_in_float32():
    x = mg.tensor(np.ones(1, np.float16), requires_grad=True)
    (g,) = mg.autograd.grad([x * 1.0 for _ in range(1)] * 3000, x, [np.ones(1)] * 3000)
    assert (g.dtype, g.item()) == (np.float16, 3000)
