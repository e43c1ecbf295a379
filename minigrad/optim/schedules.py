"""Learning rates over time: each schedule multiplies every group's rate with a factor of the number of steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from minigrad.optim.optimizers import Optimizer


class Schedule:
    """What the schedules share; `step()` after each step of the optimiser (or each epoch, if that is the unit)."""

    def __init__(self, optimizer: Optimizer) -> None:
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


def _counts(name: str, least: int, **counts: int) -> None:
    for what, n in counts.items():
        if not isinstance(n, int) or n < least:
            raise ValueError(f"{name}: {what} must be a whole number from {least} on, not {n!r}")


class LinearWarmup(Schedule):
    """(step + 1) / warmup_steps, up to 1. Goyal et al. (2017)."""

    def __init__(self, optimizer: Optimizer, warmup_steps: int) -> None:
        _counts("LinearWarmup", 1, warmup_steps=warmup_steps)
        self.warmup_steps = warmup_steps
        super().__init__(optimizer)

    def factor(self, step: int) -> float:
        return min((step + 1) / self.warmup_steps, 1.0)


class WarmupCosine(Schedule):
    """A linear warm-up over warmup_steps, then half a cosine down to 0 at total_steps; warmup_steps may be 0.

    Loshchilov, Hutter: SGDR (2017).
    """

    def __init__(self, optimizer: Optimizer, warmup_steps: int, total_steps: int) -> None:
        _counts("WarmupCosine", 0, warmup_steps=warmup_steps, total_steps=total_steps)
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
        _counts("StepLR", 1, step_size=step_size)
        if not 0 < gamma <= 1:
            raise ValueError(f"StepLR: gamma must be above 0 and at most 1, not {gamma!r}")
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
        _counts("OneCycleLR", 2, total_steps=total_steps)
        if not 0 < pct_start < 1 or not div_factor >= 1 or not final_div_factor >= 1:
            raise ValueError(f"OneCycleLR: pct_start={pct_start} must lie between 0 and 1, the divisors be at least 1")
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
