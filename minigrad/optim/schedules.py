"""Learning rates over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from minigrad.optim.optimizers import Optimizer


class WarmupCosine:
    """A learning rate that rises linearly over warmup_steps and falls as a cosine to 0 at total_steps.

    `step()` after each step of the optimiser. Goyal et al. (2017); Loshchilov, Hutter: SGDR (2017).
    """

    def __init__(self, optimizer: Optimizer, warmup_steps: int, total_steps: int) -> None:
        if not 0 <= warmup_steps < total_steps:
            raise ValueError(f"warmup_steps={warmup_steps} must be at least 0 and below total_steps={total_steps}")
        self.optimizer = optimizer
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.peak = optimizer.lr
        self.steps = 0
        optimizer.lr = self.rate(0)

    def rate(self, step: int) -> float:
        """The learning rate of this step, counted from 0."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        share = min((step - self.warmup_steps) / (self.total_steps - self.warmup_steps), 1.0)
        return float(self.peak * 0.5 * (1 + np.cos(np.pi * share)))

    def step(self) -> None:
        """On to the next step's rate."""
        self.steps += 1
        self.optimizer.lr = self.rate(self.steps)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "peak": self.peak}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.steps, self.peak = int(state["steps"]), float(state["peak"])
        self.optimizer.lr = self.rate(self.steps)
