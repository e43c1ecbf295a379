"""Learning rates over time: at the edges of short and long runs, beside another schedule, with groups that change."""

import copy
import math

import numpy as np
import pytest

from minigrad import nn, optim


def ones():
    return nn.Parameter(np.ones(1))


def sgd(lr=1.0):
    return optim.SGD([ones()], lr=lr)


def rate(optimizer, group=0):
    return optimizer.param_groups[group]["lr"]


def rates(schedule, n):
    found = []
    for _ in range(n):
        found.append(rate(schedule.optimizer))
        schedule.step()
    return found


# ---- edges ----


@pytest.mark.parametrize("total", [2, 3, 4, 5, 10, 100])
def test_one_cycle_whose_way_up_is_its_first_step_begins_at_the_top(total):
    schedule = optim.OneCycleLR(sgd(), total, pct_start=1 / total)
    found = rates(schedule, total + 3)
    assert found[0] == 1
    assert found[total - 1 :] == [1 / (25 * 1e4)] * 4
    assert sorted(found, reverse=True) == found


def test_one_cycle_that_goes_up_until_its_last_step():
    total = 1 << 60
    schedule = optim.OneCycleLR(sgd(), total, pct_start=math.nextafter(1, 0))
    assert schedule.factor(total - 1) == schedule.factor(total) == schedule.factor(2 * total) == 1 / (25 * 1e4)
    assert schedule.factor(total // 2) == pytest.approx(0.52)


@pytest.mark.parametrize(
    "make",
    [
        *(lambda o, n=n, p=p: optim.OneCycleLR(o, n, p) for n in (2, 3, 7) for p in (1e-300, 0.1, 0.3, 0.5, 0.999)),
        *(lambda o, n=n: optim.LinearWarmup(o, n) for n in (1, 2, 7)),
        *(lambda o, n=n, w=w: optim.WarmupCosine(o, w, n) for n in (1, 2, 7) for w in (0, 1, 6) if w < n),
        *(lambda o, n=n, g=g: optim.StepLR(o, n, g) for n in (1, 7) for g in (5e-324, 0.1, 1.0)),
    ],
)
def test_every_rate_of_every_schedule_is_a_number_from_0_to_the_highest(make):
    schedule = make(sgd())
    found = rates(schedule, 10) + [schedule.factor(step) for step in (100, 10**9, (1 << 63) - 1)]
    assert all(0 <= r <= 1 for r in found)
    assert max(found[:8]) > 0
    assert found[8] == found[9] or isinstance(schedule, optim.StepLR)  # beyond the end nothing changes


@pytest.mark.parametrize("total", [2, 3, 4, 5, 10, 31])
@pytest.mark.parametrize("pct_start", [0.05, 0.1, 0.25, 0.3, 0.5, 0.9, 0.999])
def test_one_cycle_is_pytorchs(total, pct_start):
    torch = pytest.importorskip("torch")
    if pct_start * total == 1:
        pytest.skip("there PyTorch divides by zero")
    ours, theirs = sgd(0.5), torch.optim.SGD([torch.ones(1)], lr=0.5)
    schedule = optim.OneCycleLR(ours, total, pct_start)
    other = torch.optim.lr_scheduler.OneCycleLR(
        theirs, max_lr=0.5, total_steps=total, pct_start=pct_start, cycle_momentum=False
    )
    for step in range(total):
        assert rate(ours) == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-12, abs=1e-15)
        if step < total - 1:
            theirs.step()
            other.step()
            schedule.step()


def test_a_state_of_more_steps_than_a_file_can_hold_is_refused_and_changes_nothing():
    schedule = optim.WarmupCosine(sgd(), 2, 20)
    before = schedule.state_dict()
    with pytest.raises(ValueError, match="steps must be a whole number from 0 on"):
        schedule.load_state_dict({**before, "steps": 10**400})
    assert schedule.state_dict() == before


# ---- two schedules ----


def test_a_new_schedule_begins_from_the_rates_that_the_old_one_lowered():
    optimizer = sgd(2.0)
    first = optim.WarmupCosine(optimizer, 4, 8)
    assert rate(optimizer) == 0.5
    again = optim.WarmupCosine(optimizer, 4, 8)  # as when a notebook's cell is run again
    assert rates(again, 9) == rates(optim.WarmupCosine(sgd(2.0), 4, 8), 9)
    assert rate(optimizer) == 0
    assert rates(optim.StepLR(optimizer, 2, 0.5), 3) == [2, 2, 1]
    optimizer.param_groups[0]["lr"] = 8.0  # a rate that somebody sets is meant
    assert rates(optim.StepLR(optimizer, 2, 0.5), 3) == [8, 8, 4]
    del first


def test_two_schedules_at_once_are_refused_and_change_nothing():
    optimizer = sgd()
    first, second = optim.LinearWarmup(optimizer, 4), optim.StepLR(optimizer, 2, 0.5)
    state = first.state_dict()
    words = (
        "LinearWarmup: StepLR, made since for the same optimiser, sets its rates now, and two would overwrite each "
        r"other's: for both at once, define one Schedule whose factor\(step\) is the product of theirs"
    )
    for call in (first.step, lambda: first.load_state_dict(state)):
        with pytest.raises(ValueError, match=words):
            call()
        assert first.state_dict() == state
        assert rate(optimizer) == 1
    assert rates(second, 3) == [1, 1, 0.5]


def test_the_cure_for_two_schedules():
    class Both(optim.Schedule):
        def factor(self, step):
            return min((step + 1) / 4, 1) * 0.5 ** (step // 2)

    assert rates(Both(sgd()), 5) == [0.25, 0.5, 0.375, 0.5, 0.25]


def test_copies_have_schedules_of_their_own():
    optimizer = sgd()
    schedule = optim.StepLR(optimizer, 1, 0.5)
    other, its = copy.deepcopy((optimizer, schedule))
    assert rates(its, 3) == [1, 0.5, 0.25]
    assert rate(other) == 0.125
    assert rates(schedule, 2) == [1, 0.5]
    alone = copy.deepcopy(schedule)
    assert rates(alone, 2) == [0.25, 0.125]
    assert rate(optimizer) == 0.25


# ---- groups that change ----


def test_groups_that_come_and_go_keep_their_own_rates():
    optimizer = sgd()
    schedule = optim.StepLR(optimizer, 1, 0.5)
    schedule.step()
    optimizer.add_param_group({"params": [ones()], "lr": 8.0})
    assert (rate(optimizer), rate(optimizer, 1)) == (0.5, 8)
    schedule.step()
    assert (rate(optimizer), rate(optimizer, 1)) == (0.25, 2)
    assert schedule.state_dict() == {"steps": 2, "rate.0": 1.0, "rate.1": 8.0}
    del optimizer.param_groups[0]
    schedule.step()
    assert rate(optimizer) == 1
    assert schedule.state_dict() == {"steps": 3, "rate.0": 8.0}


def test_a_group_that_is_put_in_by_hand_has_the_optimisers_rate():
    optimizer = sgd(2.0)
    schedule = optim.StepLR(optimizer, 1, 0.5)
    optimizer.param_groups.append({"params": [ones()]})
    schedule.step()
    assert (rate(optimizer), rate(optimizer, 1)) == (1, 1)
    optimizer.param_groups.append({"params": [ones()]})
    optim.StepLR(optimizer, 1, 0.5)
    assert rate(optimizer, 2) == 2


def test_a_state_with_an_added_group_goes_on_where_it_was_added():
    def made():
        optimizer = sgd()
        schedule = optim.StepLR(optimizer, 1, 0.5)
        return optimizer, schedule

    optimizer, schedule = made()
    schedule.step()
    optimizer.add_param_group({"params": [ones()], "lr": 8.0})
    schedule.step()
    state = schedule.state_dict()
    other, its = made()
    with pytest.raises(ValueError, match="this state does not fit StepLR"):
        its.load_state_dict(state)
    other.add_param_group({"params": [ones()], "lr": 1.0})
    its.load_state_dict(state)
    assert (rate(other), rate(other, 1)) == (0.25, 2)


def test_a_rate_that_was_set_by_hand_is_the_one_that_is_multiplied_from_then_on():
    optimizer = optim.SGD([ones()], lr=1.0)
    schedule = optim.StepLR(optimizer, 2, gamma=0.5)
    optimizer.param_groups[0]["lr"] = 0.01
    seen = []
    for _ in range(4):
        schedule.step()
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == [0.01, 0.005, 0.005, 0.0025]
