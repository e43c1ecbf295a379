"""Learning rates over time: each schedule multiplies every group's rate with a factor of the number of steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from minigrad import checks
from minigrad.optim.optimizers import Optimizer

MOST_STEPS = (1 << 63) - 1  # what a file can hold


@dataclass
class Rates:
    """What a schedule sets; the optimiser keeps those of its latest one.

    by: the name of the schedule. of: each group, its rate before it is multiplied, and what it was set to last.
    """

    by: str
    of: list[tuple[dict[str, Any], float, float]]


class Schedule:
    """What the schedules share; `step()` after each step of the optimiser (or each epoch, if that is the unit).

    The optimiser's rates are the ones that are multiplied; of a group that is added later, the one that it has then. An
    optimiser has one schedule: a new one goes on from the same rates as the old one, which must not step any more.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        name = type(self).__name__
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{name}: optimizer must be an Optimizer, not {checks.shown(optimizer)}")
        self.optimizer = optimizer
        self.steps = 0
        before: Rates | None = optimizer.scheduled
        self._rates = Rates(name, before.of if before else [])
        self._set()
        optimizer.scheduled = self._rates

    def factor(self, step: int) -> float:
        """What the rates are multiplied with at this step, counted from 0."""
        raise TypeError(f"{type(self).__name__} has no factor method: define factor(self, step)")

    def _full(self) -> list[float]:
        """The rate of each group that there is now, before it is multiplied."""
        self.optimizer._parameters()  # groups put there by hand are completed
        # a rate that is no longer as it was set here was meant by whoever changed it
        known = {id(group): full for group, full, now in self._rates.of if group["lr"] == now}
        return [known.get(id(group), float(group["lr"])) for group in self.optimizer.param_groups]

    def _set(self) -> None:
        factor = self.factor(self.steps)
        self._rates.of = [
            (group, full, full * factor) for group, full in zip(self.optimizer.param_groups, self._full(), strict=True)
        ]
        for group, _, now in self._rates.of:
            group["lr"] = now

    def _refuse_if_replaced(self) -> None:
        latest = self.optimizer.scheduled
        if latest is not self._rates:
            raise ValueError(
                f"{type(self).__name__}: {latest.by}, made since for the same optimiser, sets its rates now, and two "
                "would overwrite each other's: for both at once, define one Schedule whose factor(step) is the product "
                "of theirs"
            )

    def step(self) -> None:
        """On to the next step's rates."""
        self._refuse_if_replaced()
        self.steps += 1
        self._set()

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, **{f"rate.{i}": rate for i, rate in enumerate(self._full())}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same schedule; ValueError if it does not fit, and then nothing changes."""
        if not isinstance(state, Mapping):
            raise TypeError(f"{type(self).__name__}: state must be a dict of state_dict(), not {checks.shown(state)}")
        self._refuse_if_replaced()
        own = self.state_dict()
        if state.keys() != own.keys():
            raise ValueError(
                f"this state does not fit {type(self).__name__}: it has {', '.join(state)}, expected {', '.join(own)}"
            )
        steps, *rates = (state[name] for name in own)
        if not isinstance(steps, int | np.integer) or isinstance(steps, bool) or not 0 <= steps <= MOST_STEPS:
            raise ValueError(
                f"this state does not fit {type(self).__name__}: steps must be a whole number from 0 on, not {steps!r}"
            )
        if not all(isinstance(rate, int | float | np.number) and 0 <= rate < math.inf for rate in rates):
            raise ValueError(
                f"this state does not fit {type(self).__name__}: rates must be finite and not negative, not {rates}"
            )
        self.steps = int(steps)
        groups = self.optimizer.param_groups
        self._rates.of = [(g, float(rate), g["lr"]) for g, rate in zip(groups, rates, strict=True)]
        self._set()


class LinearWarmup(Schedule):
    """(step + 1) / warmup_steps, up to 1. Goyal et al. (2017)."""

    def __init__(self, optimizer: Optimizer, warmup_steps: int) -> None:
        checks.whole("LinearWarmup", 1, MOST_STEPS, warmup_steps=warmup_steps)
        self.warmup_steps = warmup_steps
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return min((step + 1) / self.warmup_steps, 1.0)


class WarmupCosine(Schedule):
    """A linear warm-up over warmup_steps, then half a cosine down to 0 at total_steps; warmup_steps may be 0.

    Loshchilov, Hutter: SGDR (2017).
    """

    def __init__(self, optimizer: Optimizer, warmup_steps: int, total_steps: int) -> None:
        checks.whole("WarmupCosine", 0, MOST_STEPS, warmup_steps=warmup_steps, total_steps=total_steps)
        if warmup_steps >= total_steps:
            raise ValueError(f"WarmupCosine: warmup_steps={warmup_steps} must be below total_steps={total_steps}")
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        if step < self.warmup_steps:
            return (step + 1) / self.warmup_steps
        share = min((step - self.warmup_steps) / (self.total_steps - self.warmup_steps), 1.0)
        return 0.5 * (1 + math.cos(math.pi * share))


class StepLR(Schedule):
    """gamma to the power of step // step_size."""

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        checks.whole("StepLR", 1, MOST_STEPS, step_size=step_size)
        checks.number("StepLR", checks.SMALLEST, 1.0, " must be above 0 and at most 1", gamma=gamma)
        self.step_size = step_size
        self.gamma = gamma
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return float(self.gamma ** (step // self.step_size))


class OneCycleLR(Schedule):
    """Half a cosine up from 1 / div_factor to 1 over the share pct_start of total_steps, and down to almost 0.

    The optimiser's rates are the highest ones; the last is 1 / (div_factor final_div_factor) of them, as PyTorch's.
    Smith, Topin: Super-Convergence (2018).
    """

    def __init__(
        self,
        optimizer: Optimizer,
        total_steps: int,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        checks.whole("OneCycleLR", 2, MOST_STEPS, total_steps=total_steps)
        between = checks.SMALLEST, checks.BELOW_ONE
        checks.number("OneCycleLR", *between, " must lie between 0 and 1", pct_start=pct_start)
        divisors = {"div_factor": div_factor, "final_div_factor": final_div_factor}
        checks.number("OneCycleLR", 1.0, checks.LARGEST, " must be at least 1", **divisors)
        self.top = pct_start * total_steps - 1
        self.end = total_steps - 1
        self.first = 1 / div_factor
        self.last = 1 / (div_factor * final_div_factor)
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        if step < self.top:
            return _cosine(self.first, 1.0, step / self.top)
        if step < self.end:
            return _cosine(1.0, self.last, (step - self.top) / (self.end - self.top))
        return self.last


def _cosine(start: float, end: float, share: float) -> float:
    """Half a cosine from start to end."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))
