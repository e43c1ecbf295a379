"""Learning rates over time: each schedule multiplies every group's rate with a factor of the number of steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from minigrad import checks
from minigrad.optim.optimizers import Optimizer

MOST_STEPS = (1 << 63) - 1  # what a file can hold


class Schedule:
    """What the schedules share; `step()` after each step of the optimiser (or each epoch, if that is the unit)."""

    def __init__(self, optimizer: Optimizer) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(self).__name__}: optimizer must be an Optimizer, not {checks.shown(optimizer)}")
        self.optimizer = optimizer
        self.rates = [float(group["lr"]) for group in optimizer.param_groups]
        self.steps = 0
        self._set()

    def factor(self, step: int) -> float:
        """What the rates are multiplied with at this step, counted from 0."""
        raise TypeError(f"{type(self).__name__} has no factor method: define factor(self, step)")

    def _set(self) -> None:
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * self.factor(self.steps)

    def step(self) -> None:
        """On to the next step's rates."""
        self.steps += 1
        self._set()

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, **{f"rate.{i}": rate for i, rate in enumerate(self.rates)}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same schedule; ValueError if it does not fit, and then nothing changes."""
        if not isinstance(state, Mapping):
            raise TypeError(f"{type(self).__name__}: state must be a dict of state_dict(), not {checks.shown(state)}")
        own = self.state_dict()
        if state.keys() != own.keys():
            raise ValueError(
                f"this state does not fit {type(self).__name__}: it has {', '.join(state)}, expected {', '.join(own)}"
            )
        steps, *rates = (state[name] for name in own)
        if not isinstance(steps, int | np.integer) or isinstance(steps, bool) or steps < 0:
            raise ValueError(
                f"this state does not fit {type(self).__name__}: steps must be a whole number from 0 on, not {steps!r}"
            )
        if not all(isinstance(rate, int | float | np.number) and 0 <= rate < math.inf for rate in rates):
            raise ValueError(
                f"this state does not fit {type(self).__name__}: rates must be finite and not negative, not {rates}"
            )
        self.steps, self.rates = int(steps), [float(rate) for rate in rates]
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
        if step <= self.top:
            return _cosine(self.first, 1.0, step / self.top)
        return _cosine(1.0, self.last, min((step - self.top) / (self.end - self.top), 1.0))


def _cosine(start: float, end: float, share: float) -> float:
    """Half a cosine from start to end."""
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * share))
