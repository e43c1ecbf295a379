"""An exception in the middle of something leaves the state as it was before, or as it is after: never half."""

import copy

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F
from minigrad import nn
from minigrad.checkpoint import is_recomputing


class BrokenError(Exception):
    pass


def fails(*_):
    raise BrokenError


@mg.rule()
def breaks(x, /):
    raise BrokenError


@mg.rule()
def breaks_back(x, /):
    return x * 1.0, (fails,)


def leaf(*values):
    return mg.tensor(np.array(values), requires_grad=True)


def state(*modules):
    """All that training changes, in copies."""
    found = []
    for module in modules:
        gradients = [None if p.grad is None else p.grad.data.tobytes() for p in module.parameters()]
        modes = [m.training for m in module.modules()]
        found.append(({k: v.tobytes() for k, v in module.state_dict().items()}, gradients, modes))
    return found, mg.is_grad_enabled(), is_recomputing(), str(mg.default_generator().bit_generator.state)


@pytest.fixture
def model():
    model = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 2))
    np.sum(model(mg.ones(4, 3))).backward()
    return model


# ---- forward ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("context", [mg.no_grad, mg.enable_grad])
def test_a_context_ends_with_the_exception(context, model):
    before = state(model)
    with pytest.raises(BrokenError), mg.no_grad(), context(), mg.enable_grad(), context():
        breaks(leaf(1.0))
    with pytest.raises(BrokenError):
        context()(fails)()
    assert state(model) == before


def test_a_checkpoint_whose_function_fails_when_it_is_called_again_leaves_nothing_behind(model):
    before, again = state(model), []

    def fails_again(x):
        again.append(is_recomputing())
        return breaks(x) if is_recomputing() else x * 2.0

    y = np.sum(mg.checkpoint(fails_again, leaf(1.0)))
    with pytest.raises(BrokenError):
        y.backward()
    assert again == [False, True]
    assert state(model) == before


def test_a_rule_that_fails_leaves_the_graph_before_it(model):
    h = model(mg.ones(4, 3))
    before = state(model)
    with pytest.raises(BrokenError):
        breaks(h)
    assert state(model) == before
    np.sum(h).backward()
    assert state(model) != before


def test_a_module_that_fails_keeps_its_mode_and_its_next_error_has_its_own_path(model):
    model[0].eval()
    outer = nn.Sequential(model[0], lambda x: x[:, :2], model[2])
    before = state(outer)
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"^linear: expected.*\nin layers\.2 \(Linear\(in_features=3, out_features=2\)\)$"
        ):
            outer(mg.ones(4, 3))
    assert state(outer) == before


def test_a_layer_that_fails_behind_batch_norm_leaves_a_whole_update_and_before_it_none():
    norm = nn.BatchNorm1d(2)
    x = mg.randn(4, 2)
    with pytest.raises(BrokenError):
        nn.Sequential(fails, norm)(x)
    assert (norm.num_batches_tracked, norm.running_mean.tolist(), norm.running_var.tolist()) == (0, [0, 0], [1, 1])
    with pytest.raises(BrokenError):
        nn.Sequential(norm, fails)(x)
    whole = nn.BatchNorm1d(2)
    whole(x)
    assert state(norm) == state(whole)


def test_batch_norm_that_fails_itself_updates_nothing(monkeypatch):
    norm, x = nn.BatchNorm1d(2), mg.randn(4, 2)
    before = state(norm)
    monkeypatch.setattr(F, "batch_standardise", fails)
    with pytest.raises(BrokenError):
        norm(x)
    assert state(norm) == before


@pytest.mark.parametrize("transform", [mg.grad, mg.value_and_grad, mg.jacobian, mg.hessian])
def test_a_transform_of_what_fails_leaves_the_mode(transform, model):
    before = state(model)
    for function in (lambda x: breaks(x), lambda x: np.sum(breaks_back(x))):
        with mg.no_grad(), pytest.raises(BrokenError):
            transform(function)(np.ones(2))
        with pytest.raises(BrokenError):
            transform(function)(np.ones(2))
    assert state(model) == before


# ---- backward --------------------------------------------------------------------------------------------------------


def backwards(model):
    """Loss functions of the model of which a backward pass fails somewhere."""

    def hooked(where):
        h = model[0](mg.ones(4, 3))
        y = np.sum(model[2](h))
        remove = (h if where == "inside" else model[0].weight).register_hook(fails)
        return y, remove

    yield np.sum(breaks_back(model(mg.ones(4, 3)))), lambda: None
    yield np.sum(model(breaks_back(leaf([1.0, 2.0, 3.0]).astype(np.float32)))), lambda: None
    yield hooked("inside")
    yield hooked("leaf")


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("retain_graph", [False, True])
def test_a_backward_pass_that_fails_adds_to_no_gradient(model, create_graph, retain_graph):
    before = state(model)
    for y, remove in backwards(model):
        with pytest.raises(BrokenError):
            y.backward(retain_graph=retain_graph, create_graph=create_graph)
        with pytest.raises(BrokenError):
            mg.autograd.grad(next(iter(backwards(model)))[0], list(model.parameters()))
        remove()
        assert state(model) == before


def test_a_graph_whose_backward_pass_failed_is_whole_if_retained_and_refused_otherwise():
    x, failing = leaf(2.0), [True]

    def sometimes(g):
        if failing:
            raise BrokenError

    for retain in (True, False):
        h = x * 3.0
        y = np.sum(h * h)
        h.register_hook(sometimes)
        failing[:] = [True]
        with pytest.raises(BrokenError):
            y.backward(retain_graph=retain)
        failing.clear()
        assert x.grad is None
        if retain:
            y.backward()
            assert x.grad.data.tolist() == [36]
            x.grad = None
        else:
            with pytest.raises(RuntimeError, match="already been freed"):
                y.backward()


@pytest.mark.parametrize("create_graph", [False, True])
def test_a_gradient_that_cannot_be_added_to_keeps_all_others_as_they_were(create_graph):
    leaves = [leaf(1.0, 2.0) for _ in range(3)]
    leaves[1].grad = mg.ones(2)
    leaves[1].grad.data.resize(5, refcheck=False)
    with pytest.raises(ValueError, match=r"a leaf of shape \(2,\) has a .grad of shape \(5,\): set it to None"):
        np.sum(leaves[0] * leaves[1] * leaves[2]).backward(create_graph=create_graph)
    assert leaves[0].grad is None
    assert leaves[2].grad is None
    assert leaves[1].grad.shape == (5,)


def test_a_hook_that_fails_stays_until_it_is_removed():
    x = leaf(1.0)
    remove = x.register_hook(fails)
    for _ in range(2):
        with pytest.raises(BrokenError):
            np.sum(x * 2.0).backward()
    remove()
    np.sum(x * 2.0).backward()
    assert x.grad.data.tolist() == [2]


# ---- checkpoints -----------------------------------------------------------------------------------------------------


def test_a_checkpoint_that_fails_at_first_leaves_nothing(model):
    before = state(model)
    with pytest.raises(BrokenError):
        mg.checkpoint(lambda x: breaks(model(x)), mg.ones(4, 3))
    assert state(model) == before


def test_a_checkpoint_that_fails_when_it_is_run_again_restores_the_generator_and_adds_nothing(model):
    norm, times = nn.BatchNorm1d(3), []

    def f(x):
        y = model(F.dropout(norm(x), 0.5))
        times.append(1)
        return y if len(times) == 1 else breaks(y)

    y = np.sum(mg.checkpoint(f, mg.randn(4, 3, requires_grad=True)))
    mg.default_generator().random(5)
    before = state(model, norm)
    with pytest.raises(BrokenError):
        y.backward()
    assert state(model, norm) == before
    assert norm.num_batches_tracked == 1


# ---- steps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", [mg.optim.SGD, mg.optim.RMSprop, mg.optim.Adam, mg.optim.AdamW])
def test_a_step_with_a_gradient_of_the_wrong_shape_changes_no_parameter_of_any_group(optimizer, model):
    opt = optimizer([{"params": list(model[0].parameters())}, {"params": list(model[2].parameters()), "lr": 0.1}])
    opt.step()
    before, averages = state(model), {k: np.copy(v) for k, v in opt.state_dict().items()}
    gradient = model[2].bias.grad
    model[2].bias.grad = mg.ones(2)
    model[2].bias.grad.data.resize(7, refcheck=False)
    with pytest.raises(ValueError, match=r"its gradient \(7,\)"):
        opt.step()
    model[2].bias.grad = gradient
    assert state(model) == before
    for name, value in opt.state_dict().items():
        np.testing.assert_array_equal(value, averages[name])
    opt.step()
    assert state(model) != before


def test_clipping_that_refuses_a_gradient_changes_none(model):
    model[2].bias.grad.data[0] = np.nan
    before = state(model)
    with pytest.raises(ValueError, match="the gradients' norm is nan"):
        mg.optim.clip_grad_norm_(model.parameters(), 1e-3)
    assert state(model) == before


def test_a_state_that_does_not_fit_changes_nothing(model):
    opt = mg.optim.Adam(model.parameters())
    opt.step()
    before, averages = state(model), copy.deepcopy(opt.state_dict())
    with pytest.raises(ValueError, match="does not fit Sequential"):
        model.load_state_dict({**model.state_dict(), "layers.2.bias": np.ones(9)})
    with pytest.raises(ValueError, match="does not fit Adam"):
        opt.load_state_dict({**opt.state_dict(), "0.steps": np.ones(9)})
    assert state(model) == before
    for name, value in opt.state_dict().items():
        np.testing.assert_array_equal(value, averages[name])
