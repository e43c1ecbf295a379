import copy
import math

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim

OPTIMIZERS = [
    lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5),
    lambda p: optim.Adam(p, lr=0.1),
    lambda p: optim.AdamW(p, lr=0.1, weight_decay=0.0),
]


def parameters():
    return [
        nn.Parameter(np.array([3.0, -2.0])),
        nn.Parameter(np.array([[1.0]], np.float32)),
        nn.Parameter(np.zeros((2, 1))),
    ]


def loss(ps):
    return np.sum(ps[0] ** 2) + np.sum((ps[1] - 2.0) ** 2) + np.sum(ps[2] * ps[2])


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_they_find_the_minimum_of_parameters_of_mixed_dtypes(make):
    ps = parameters()
    optimizer = make(ps)
    for _ in range(400):
        optimizer.zero_grad()
        loss(ps).backward()
        optimizer.step()
    np.testing.assert_allclose(ps[0].data, 0, atol=2e-2)
    np.testing.assert_allclose(ps[1].data, 2, atol=2e-2)
    assert (ps[0].dtype, ps[1].dtype) == (np.float64, np.float32)


def test_an_adam_step_by_hand():
    p = nn.Parameter(np.array([1.0]))
    optimizer = optim.Adam([p], lr=0.1, betas=(0.9, 0.99), eps=1e-8)
    m = v = 0.0
    x = 1.0
    for t in range(1, 4):
        optimizer.zero_grad()
        (p**2).backward(np.ones(1))
        optimizer.step()
        g = 2 * x
        m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g * g
        x -= 0.1 * (m / (1 - 0.9**t)) / (math.sqrt(v / (1 - 0.99**t)) + 1e-8)
        assert p.item() == pytest.approx(x, rel=1e-12)


def test_a_parameter_without_a_gradient_stays():
    a, b = nn.Parameter(np.ones(2)), nn.Parameter(np.ones(2))
    optimizer = optim.AdamW([a, b], lr=0.1, weight_decay=0.5)
    np.sum(a * 2).backward()
    optimizer.step()
    assert (a.data != 1).all()
    assert (b.data == 1).all()
    np.sum(a * b).backward()
    optimizer.step()
    assert (b.data != 1).all()


def test_the_step_leaves_the_gradients_alone():
    p = nn.Parameter(np.array([1.0, 2.0]))
    optimizer = optim.Adam([p])
    np.sum(p * 3).backward()
    optimizer.step()
    assert p.grad.tolist() == [3, 3]


def test_parameters_that_got_another_array_are_taken_over():
    p = nn.Parameter(np.ones(2))
    optimizer = optim.SGD([p], lr=1.0)
    p.data = np.full(2, 5.0)
    np.sum(p).backward()
    optimizer.step()
    assert p.tolist() == [4, 4]


def test_shared_parameters_are_updated_once():
    p = nn.Parameter(np.ones(1))
    model = nn.Module()
    model.weight = model.tied = p
    optimizer = optim.SGD(model.parameters(), lr=1.0)
    np.sum(p).backward()
    optimizer.step()
    assert p.item() == 0


@pytest.mark.parametrize("make", OPTIMIZERS)
def test_a_resumed_run_is_the_same_to_the_last_bit(make):
    def steps(ps, optimizer, n):
        for _ in range(n):
            optimizer.zero_grad()
            loss(ps).backward()
            optimizer.step()

    ps = parameters()
    first = make(ps)
    steps(ps, first, 5)
    values, state = [p.data.copy() for p in ps], first.state_dict()
    steps(ps, first, 5)
    again = [nn.Parameter(v) for v in values]
    second = make(again)
    second.load_state_dict(state)
    steps(again, second, 5)
    for p, q in zip(ps, again, strict=True):
        np.testing.assert_array_equal(p.data, q.data)


def test_groups_have_options_of_their_own():
    a, b = nn.Parameter(np.ones(1)), nn.Parameter(np.ones(1))
    optimizer = optim.SGD([{"params": [a]}, {"params": [b], "lr": 0.5}], lr=0.1)
    np.sum(a + b).backward()
    optimizer.step()
    assert (a.item(), b.item()) == (0.9, 0.5)
    optimizer.param_groups[0]["lr"] = 0.4
    optimizer.step()
    assert (a.item(), b.item()) == (0.5, 0.0)
    with pytest.raises(
        ValueError, match="a group has 'params' and maybe lr, momentum, weight_decay, nesterov, not params, rate"
    ):
        optim.SGD([{"params": [a], "rate": 1.0}])


def rates(schedule, n):
    found = []
    for _ in range(n):
        found.append(schedule.optimizer.param_groups[0]["lr"])
        schedule.step()
    return found


def sgd(lr=1.0):
    return optim.SGD([nn.Parameter(np.ones(1))], lr=lr)


def test_schedules():
    root = math.sqrt(0.125)
    cosine = [0.25, 0.5, 0.75, 1.0, 1.0, 0.5 + root, 0.5, 0.5 - root, 0.0, 0.0]
    np.testing.assert_allclose(rates(optim.WarmupCosine(sgd(), 4, 8), 10), cosine, atol=1e-12)
    np.testing.assert_allclose(rates(optim.LinearWarmup(sgd(2.0), 4), 6), [0.5, 1.0, 1.5, 2.0, 2.0, 2.0])
    np.testing.assert_allclose(rates(optim.StepLR(sgd(), 2, gamma=0.5), 6), [1, 1, 0.5, 0.5, 0.25, 0.25])


def test_a_schedule_goes_on_from_its_state():
    first = optim.WarmupCosine(sgd(), 2, 20)
    rates(first, 5)
    second = optim.WarmupCosine(sgd(7.0), 2, 20)
    second.load_state_dict(first.state_dict())
    assert rates(first, 5) == rates(second, 5)
    with pytest.raises(ValueError, match="does not fit WarmupCosine"):
        second.load_state_dict({"steps": 1})


def test_the_state_of_a_schedule_holds_whole_steps_and_finite_rates():
    schedule = optim.StepLR(sgd(), 2)
    for steps, rate in ((np.int64(3), 0.5), (0, 0.0), (5, 2), (5, np.float32(0.5))):
        schedule.load_state_dict({"steps": steps, "rate.0": rate})
        assert (type(schedule.steps), schedule.state_dict()) == (int, {"steps": steps, "rate.0": rate})
        assert type(schedule.state_dict()["rate.0"]) is float
    before = schedule.state_dict()
    for steps in (True, 3.0, np.float64(3), -1, "3", None):
        with pytest.raises(ValueError, match="steps must be a whole number from 0 on"):
            schedule.load_state_dict({"steps": steps, "rate.0": 0.1})
    for rate in (math.inf, math.nan, -0.1, "0.1", None):
        with pytest.raises(ValueError, match="rates must be finite and not negative"):
            schedule.load_state_dict({"steps": 1, "rate.0": rate})
    assert schedule.state_dict() == before


def test_classes_that_say_too_little_are_refused_by_name():
    class Idle(optim.Optimizer):
        pass

    optimizer = Idle([p := nn.Parameter(np.ones(1))], {"lr": 0.1, "weight_decay": 0.0})
    p.grad = mg.tensor(np.ones(1))
    with pytest.raises(TypeError, match="Idle does not say how to update"):
        optimizer.step()
    assert p.item() == 1

    class Silent(optim.Schedule):
        pass

    with pytest.raises(TypeError, match=r"Silent has no factor method: define factor\(self, step\)"):
        Silent(sgd())


def test_values_are_clipped():
    p = nn.Parameter(np.zeros(3))
    p.grad = mg.tensor(np.array([-2.0, 0.3, 5.0]))
    optim.clip_grad_value_([p], 1.0)
    assert p.grad.tolist() == [-1, 0.3, 1]
    with pytest.raises(ValueError, match="clip_value must be a positive number"):
        optim.clip_grad_value_([p], -1.0)


def test_large_gradients_are_clipped_and_not_mistaken_for_infinite_ones():
    p = nn.Parameter(np.zeros(2, np.float32))
    p.grad = mg.tensor([1e30, 0.0])
    assert optim.clip_grad_norm_([p], 1.0) == pytest.approx(1e30)
    assert p.grad.tolist() == pytest.approx([1, 0])


def test_clipping_leaves_small_gradients_alone():
    p = nn.Parameter(np.zeros(2))
    p.grad = mg.tensor(np.array([0.3, 0.4]))
    assert optim.clip_grad_norm_([p], 1.0) == pytest.approx(0.5)
    assert p.grad.tolist() == [0.3, 0.4]
    assert optim.clip_grad_norm_([p], 0.05) == pytest.approx(0.5)
    np.testing.assert_allclose(p.grad.data, [0.03, 0.04])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: optim.Adam([]), ValueError, r"Adam got no parameters: model.parameters\(\) is empty, or was used up"),
        (lambda: optim.SGD([np.ones(2)]), TypeError, "SGD needs floating-point leaf tensors, not ndarray"),
        (lambda: optim.SGD([mg.ones(2, requires_grad=True) * 2]), TypeError, "leaf tensors"),
        (lambda: optim.Adam([nn.Parameter(1.0)], lr=-1), ValueError, "lr must be a number from 0 on, not -1"),
        (
            lambda: optim.Adam([nn.Parameter(1.0)], betas=(0.9, 1.0)),
            ValueError,
            r"betas\[1\] must be from 0 to below 1, not 1.0",
        ),
        (
            lambda: optim.SGD([nn.Parameter(1.0)], momentum=1.0),
            ValueError,
            "momentum must be from 0 to below 1, not 1.0",
        ),
        (lambda: optim.SGD([nn.Parameter(1.0)], nesterov=True), ValueError, "above 0 for nesterov"),
        (lambda: optim.WarmupCosine(sgd(), 5, 5), ValueError, "warmup_steps=5 must be below total_steps=5"),
        (lambda: optim.LinearWarmup(sgd(), 0), ValueError, "warmup_steps must be at least 1, not 0"),
        (lambda: optim.StepLR(sgd(), 1, 2.0), ValueError, "gamma must be above 0"),
        (lambda: optim.OneCycleLR(sgd(), 10, pct_start=1.0), ValueError, "pct_start must lie between 0 and 1, not 1.0"),
        (lambda: optim.RMSprop([nn.Parameter(1.0)], alpha=1.0), ValueError, "alpha must be from 0 to below 1, not 1.0"),
        (lambda: optim.Adam(nn.Linear(2, 2)), TypeError, "needs a list of parameters, not Linear"),
        (lambda: optim.SGD({nn.Parameter(1.0)}), TypeError, "SGD needs a list of parameters, not set"),
        (lambda: optim.SGD([nn.Parameter(np.ones(1, np.float16))]), TypeError, "in float16 small changes are lost"),
        (lambda: optim.clip_grad_norm_([], 0), ValueError, "max_norm must be a positive number, not 0"),
        (lambda: optim.Adam([nn.Parameter(1.0)]).load_state_dict({"lr": 1.0}), ValueError, "does not fit Adam"),
    ],
)
def test_bad_input(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_clipping_refuses_what_is_not_finite():
    p = nn.Parameter(np.zeros(1))
    p.grad = mg.tensor([math.nan])
    with pytest.raises(ValueError, match="norm is nan"):
        optim.clip_grad_norm_([p], 1.0)


def test_a_gradient_of_another_shape_and_a_converted_parameter_are_refused():
    p = nn.Parameter(np.zeros(2))
    optimizer = optim.SGD([p])
    p.grad = np.ones(2)
    p.grad.data.resize(1, refcheck=False)
    with pytest.raises(ValueError, match=r"a parameter is \(2,\) float64, its gradient \(1,\)"):
        optimizer.step()
    p.grad, p.data = mg.ones(2), p.data.astype(np.float32)
    with pytest.raises(ValueError, match="build it after any conversion"):
        optimizer.step()


def test_a_deep_copy_of_model_and_optimiser_goes_on_by_itself():
    model = nn.Linear(2, 1)
    optimizer = optim.Adam(model.parameters(), lr=0.1)

    def step(model, optimizer):
        model.zero_grad()
        np.sum(model(mg.ones(1, 2)) ** 2).backward()
        optimizer.step()
        return model.weight.data.copy()

    step(model, optimizer)
    other, its_optimizer = copy.deepcopy((model, optimizer))
    before = model.weight.data.copy()
    moved = step(other, its_optimizer)
    np.testing.assert_array_equal(model.weight.data, before)
    np.testing.assert_array_equal(moved, step(model, optimizer))
    assert not np.array_equal(moved, before)


@pytest.mark.parametrize("make", [optim.SGD, optim.RMSprop, optim.Adam, optim.AdamW])
def test_a_step_in_pieces_is_a_step(monkeypatch, make):
    found = []
    for piece in (1 << 17, 3):
        monkeypatch.setattr("minigrad.optim.optimizers._CHUNK", piece)
        p = nn.Parameter(np.linspace(-1, 1, 10, dtype=np.float32))
        optimizer = make([p])
        for _ in range(3):
            p.grad = mg.Tensor(np.sin(p.data * 5))
            optimizer.step()
        found.append(p.data.copy())
    np.testing.assert_array_equal(*found)


def test_a_step_before_any_backward_is_warned_of():
    w = mg.ones(2, requires_grad=True)
    optimizer = optim.SGD([w], lr=0.1)
    with pytest.warns(RuntimeWarning, match=r"SGD: no parameter has a gradient.*call loss\.backward\(\) before it"):
        optimizer.step()
    np.sum(w).backward()
    optimizer.step()
    optimizer.zero_grad()
    optimizer.step()  # it has learned before: that may be meant


def test_parameters_that_no_optimiser_holds_are_warned_of():
    body, head = mg.nn.Linear(2, 3), mg.nn.Linear(3, 1)
    optimizer = optim.SGD(body.parameters(), lr=0.1)
    np.sum(head(body(mg.ones(4, 2)))).backward()
    with pytest.warns(RuntimeWarning, match=r"2 parameters have a gradient, and no optimiser holds them.*\(1, 3\)"):
        optimizer.step()
    optimizer.step()  # said once


def test_parameters_of_another_optimiser_or_another_pass_are_no_mistake():
    body, head = mg.nn.Linear(2, 3), mg.nn.Linear(3, 1)
    optimizers = [optim.SGD(layer.parameters(), lr=0.1) for layer in (body, head)]
    np.sum(mg.nn.Linear(2, 1)(mg.ones(1, 2))).backward()  # a third one, looked at by hand
    np.sum(head(body(mg.ones(4, 2)))).backward()
    for optimizer in optimizers:
        optimizer.step()
