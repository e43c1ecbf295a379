"""Parameters that get a gradient and that no optimiser holds are noticed, at whatever step; all else raises no alarm."""

import copy
import gc
import warnings
import weakref

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
from minigrad.optim import strays

X = mg.ones(4, 2)


def step(optimizer, *losses):
    optimizer.zero_grad()
    for loss in losses:
        np.sum(loss).backward()
    optimizer.step()


class Net(nn.Module):
    def __init__(self):
        self.body, self.head = nn.Linear(2, 3), nn.Linear(3, 1)

    def forward(self, x):
        return self.head(self.body(x))


def test_a_head_that_is_swapped_after_the_first_step_is_noticed_once():
    net = Net()
    optimizer = optim.Adam(net.parameters())
    step(optimizer, net(X))
    for shape in ((1, 3), (5, 3), (5, 3)):
        net.head = nn.Linear(3, shape[0])
        with pytest.warns(
            RuntimeWarning,
            match=rf"Adam: 2 parameters have a gradient, and no optimiser holds them, the first of shape \({shape[0]}, 3\)"
            r".*optimizer\.add_param_group.*p\.requires_grad = False",
        ) as caught:
            step(optimizer, net(X))
        assert len(caught) == 1
        assert caught[0].filename == __file__
        step(optimizer, net(X))  # said once
        step(optimizer, net(X))


def test_a_layer_that_is_made_inside_of_forward_is_noticed_once():
    class Forgetful(nn.Module):
        def __init__(self):
            self.body = nn.Linear(2, 3)

        def forward(self, x):
            return nn.Linear(3, 1)(self.body(x))

    net = Forgetful()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    words = (
        r"SGD: 2 parameters that have got a gradient are gone, and no optimiser held them, the first of shape \(1, 3\): "
        r"make layers in __init__, not in forward"
    )
    with pytest.warns(RuntimeWarning, match=words):
        step(optimizer, net(X))
    for _ in range(3):
        step(optimizer, net(X))
        step(optimizer, net(X), net(X))


def test_a_layer_that_is_made_in_a_later_forward_is_noticed():
    net, made = nn.Linear(2, 3), []
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    step(optimizer, net(X))
    with pytest.warns(RuntimeWarning, match="2 parameters that have got a gradient are gone"):
        step(optimizer, nn.Linear(3, 1)(net(X)))
    made.append(nn.Linear(3, 1))
    with pytest.warns(RuntimeWarning, match="2 parameters have a gradient, and no optimiser holds them"):
        step(optimizer, made[0](net(X)))


def test_a_swapped_head_in_the_first_of_two_backward_passes_is_noticed():
    net, other = Net(), nn.Linear(3, 2)
    optimizer = optim.SGD([*net.parameters(), *other.parameters()], lr=0.1)
    step(optimizer, net(X), other(net.body(X)))
    net.head = nn.Linear(3, 1)
    with pytest.warns(RuntimeWarning, match="2 parameters have a gradient, and no optimiser holds them"):
        step(optimizer, net(X), other(net.body(X)))


def test_once_it_is_added_there_is_nothing_to_warn_of():
    net = Net()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    step(optimizer, net(X))
    net.head = nn.Linear(3, 1)
    loss = np.sum(net(X))
    loss.backward()
    optimizer.add_param_group({"params": net.head.parameters()})
    optimizer.step()
    step(optimizer, net(X))


def test_plain_tensors_may_be_what_the_optimiser_holds():
    w, head = mg.ones(2, 3, requires_grad=True), nn.Linear(3, 1)
    optimizer = optim.SGD([w], lr=0.1)
    step(optimizer, X @ w)
    with pytest.warns(RuntimeWarning, match="2 parameters have a gradient"):
        step(optimizer, head(X @ w))


def test_it_is_the_optimiser_of_that_pass_that_warns():
    net, other = Net(), nn.Linear(2, 1)
    optimizer, its = (optim.SGD(part.parameters(), lr=0.1) for part in (net, other))
    net.head = nn.Linear(3, 1)
    np.sum(other(X)).backward()
    np.sum(net(X)).backward()
    its.step()
    its.zero_grad()
    with pytest.warns(RuntimeWarning, match="2 parameters have a gradient"):
        optimizer.step()


# ---- no false alarms: here warnings are errors ----


def test_two_optimisers_for_two_halves():
    net = Net()
    optimizers = [optim.SGD(part.parameters(), lr=0.1) for part in (net.body, net.head)]
    for _ in range(3):
        for optimizer in optimizers:
            optimizer.zero_grad()
        np.sum(net(X)).backward()
        for optimizer in optimizers:
            optimizer.step()


def test_frozen_parts():
    net = Net()
    optimizer = optim.SGD(net.head.parameters(), lr=0.1)
    net.body.requires_grad_(False)
    for _ in range(3):
        step(optimizer, net(X))


def test_alternating_as_two_adversaries_do():
    generator, critic = nn.Linear(2, 3), nn.Linear(3, 1)
    makes, judges = optim.Adam(generator.parameters()), optim.Adam(critic.parameters())
    for _ in range(3):
        step(judges, critic(mg.tensor(generator(X).data)))
        step(makes, critic(generator(X)))


def test_gradient_accumulation():
    net = Net()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        step(optimizer, net(X), net(X) * 2, net(X))


def test_a_deleted_optimiser():
    net = Net()
    step(optim.SGD(net.parameters(), lr=0.1), net(X))
    gc.collect()
    optimizer = optim.SGD(net.head.parameters(), lr=0.1)
    for _ in range(2):
        step(optimizer, net(X))


def test_a_head_and_its_optimiser_that_are_gone_by_the_time_of_the_step():
    body = nn.Linear(2, 3)
    optimizer = optim.SGD(body.parameters(), lr=0.1)

    def phase():
        head = nn.Linear(3, 1)
        its = optim.SGD(head.parameters(), lr=0.1)
        np.sum(head(body(X))).backward()
        its.step()

    for _ in range(2):
        phase()
        gc.collect()
        optimizer.step()


def test_what_was_taken_out_of_a_group():
    net = Net()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    step(optimizer, net(X))
    del optimizer.param_groups[0]["params"][2:]
    for _ in range(2):
        step(optimizer, net(X))


def test_another_pass():
    net, probe = Net(), nn.Linear(3, 1)
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        np.sum(nn.Linear(2, 1)(X)).backward()  # of nothing that the optimiser holds
        np.sum(net(X)).backward()
        np.sum(nn.Linear(2, 1)(X)).backward()
        optimizer.step()
        np.sum(probe(net.body(X))).backward()  # forgotten before the next step
        np.sum(nn.Linear(3, 1)(net.body(X))).backward()
        step(optimizer, net(X))
        np.sum(probe(net.body(X))).backward()
        probe.zero_grad()
        optimizer.step()


def test_a_copied_model_has_its_own_optimiser():
    net = Net()
    optimizer = optim.SGD(net.parameters(), lr=0.1)
    step(optimizer, net(X))
    other, its = copy.deepcopy((net, optimizer))
    step(its, other(X))
    average = copy.deepcopy(net)
    step(optimizer, net(X), net(X) - average.requires_grad_(False)(X))


def test_nothing_is_kept_of_passes_without_a_step():
    net = Net()
    optim.SGD(net.body.parameters(), lr=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.sum(net(X)).backward()
        gone = [weakref.ref(p) for p in net.head.parameters()]
        net.head = nn.Linear(3, 1)
        gc.collect()
        assert [reference() for reference in gone] == [None, None]
        for _ in range(50):
            np.sum(nn.Linear(3, 1)(net.body(X))).backward()
            np.sum(net(X)).backward()
            np.sum(nn.Linear(2, 1)(X)).backward()
        assert len(strays._local.strays) == 2
