"""SGD, Adam and AdamW, on one flat array: in order of increasing complexity.

An optimiser lays the parameters of one dtype side by side in one buffer, of which each parameter's array becomes a
view; a step is then a few operations on that buffer, however many parameters there are. A parameter without a
gradient stays as it is in that step, and so do its averages.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from minigrad.tensor import Array, Tensor


class Group:
    """Parameters of one dtype in one buffer, and buffers of the same layout for what the optimiser remembers."""

    def __init__(self, parameters: list[Tensor], memories: Iterable[str]) -> None:
        self.parameters = parameters
        ends = np.cumsum([p.size for p in parameters]).tolist()
        self.slices = [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]
        self.values = np.concatenate([p.data.ravel() for p in parameters])
        for p, part in zip(parameters, self.slices, strict=True):
            p.data = self.values[part].reshape(p.shape)
        self.gradients = np.zeros_like(self.values)
        self.memory = {name: np.zeros_like(self.values) for name in memories}
        self.steps = np.zeros(len(parameters), np.int64)

    def runs(self) -> list[tuple[slice, int]]:
        """Gather the gradients; gives the longest stretches of the buffer that have them, and their count of steps."""
        runs: list[tuple[slice, int]] = []
        for i, (p, part) in enumerate(zip(self.parameters, self.slices, strict=True)):
            if p.grad is None:
                continue
            if p.data.base is not self.values:  # somebody gave the parameter another array: take its values over
                self.values[part] = p.data.ravel()
                p.data = self.values[part].reshape(p.shape)
            self.gradients[part] = p.grad.data.ravel()
            self.steps[i] += 1
            if runs and runs[-1][0].stop == part.start and runs[-1][1] == self.steps[i]:
                runs[-1] = slice(runs[-1][0].start, part.stop), runs[-1][1]
            else:
                runs.append((part, int(self.steps[i])))
        return runs


class Optimizer:
    """What the optimisers share: the parameters, the learning rate `lr`, and state that can be saved.

    The parameters' arrays become views into a buffer of the optimiser's; change them in place (p.data[...] = v).
    """

    memories: tuple[str, ...] = ()

    def __init__(self, parameters: Iterable[Tensor], lr: float, weight_decay: float) -> None:
        parameters = [parameters] if isinstance(parameters, Tensor) else list(parameters)
        name = type(self).__name__
        if not parameters:
            raise ValueError(f"{name} got no parameters: model.parameters() is empty, or was used up before")
        for p in parameters:
            if not isinstance(p, Tensor) or p.node is not None or p.dtype.kind != "f":
                raise TypeError(
                    f"{name} needs floating-point leaf tensors, not {type(p).__name__}: pass model.parameters()"
                )
        if not lr >= 0 or not weight_decay >= 0:
            raise ValueError(f"{name}: lr and weight_decay must not be negative, got {lr} and {weight_decay}")
        self.lr = lr
        self.weight_decay = weight_decay
        unique = list({id(p): p for p in parameters}.values())
        dtypes = dict.fromkeys(p.dtype for p in unique)
        self.groups = [Group([p for p in unique if p.dtype == dtype], self.memories) for dtype in dtypes]

    @property
    def parameters(self) -> list[Tensor]:
        return [p for group in self.groups for p in group.parameters]

    def zero_grad(self) -> None:
        """Forget the gradients: `.grad` becomes None."""
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """Change each parameter that has a gradient."""
        for group in self.groups:
            for part, step in group.runs():
                self._update(
                    group.values[part],
                    group.gradients[part],
                    step,
                    *(group.memory[name][part] for name in self.memories),
                )

    def _update(self, p: Array, g: Array, step: int, *memories: Array) -> None:
        """Change the values p in place by their gradient g (to be overwritten at will) and the memories."""
        raise TypeError(f"{type(self).__name__} does not say how to update")

    def state_dict(self) -> dict[str, Any]:
        """Copies of all that a resumed run needs beside the parameters."""
        state: dict[str, Any] = {"lr": self.lr}
        for i, group in enumerate(self.groups):
            state |= {f"{i}.{name}": array.copy() for name, array in {**group.memory, "steps": group.steps}.items()}
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same optimiser on the same parameters; ValueError if it does not fit."""
        own = {
            f"{i}.{n}": a
            for i, group in enumerate(self.groups)
            for n, a in {**group.memory, "steps": group.steps}.items()
        }
        if state.keys() != own.keys() | {"lr"} or any(np.shape(state[n]) != a.shape for n, a in own.items()):
            raise ValueError(
                f"this state does not fit {type(self).__name__}: it is of another optimiser or other parameters"
            )
        self.lr = float(state["lr"])
        for name, array in own.items():
            array[...] = state[name]


class SGD(Optimizer):
    """v ← momentum v + g + weight_decay p;  p ← p − lr v.

    As PyTorch's: with nesterov, p ← p − lr (g + weight_decay p + momentum v).
    """

    memories = ("velocity",)

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        if not 0 <= momentum < 1 or (nesterov and not momentum):
            raise ValueError(f"SGD: momentum={momentum} must be at least 0 and below 1, and above 0 for nesterov")
        self.momentum = momentum
        self.nesterov = nesterov
        super().__init__(parameters, lr, weight_decay)

    def _update(self, p: Array, g: Array, step: int, *memories: Array) -> None:
        (v,) = memories
        if self.weight_decay:
            g += self.weight_decay * p
        if self.momentum:
            v *= self.momentum
            v += g
            g = g + self.momentum * v if self.nesterov else v
        p -= self.lr * g


class Adam(Optimizer):
    """m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;  p ← p − lr m̂ / (√v̂ + eps).

    m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ) after t steps; g includes weight_decay p.
    Kingma, Ba: Adam (2015).
    """

    memories = ("mean", "square")

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        if not all(0 <= beta < 1 for beta in betas) or not eps > 0:
            raise ValueError(f"{type(self).__name__}: betas={betas} must be from 0 to below 1, and eps={eps} positive")
        self.betas = betas
        self.eps = eps
        super().__init__(parameters, lr, weight_decay)

    def _decay(self, p: Array, g: Array) -> None:
        g += self.weight_decay * p

    def _update(self, p: Array, g: Array, step: int, *memories: Array) -> None:
        m, v = memories
        if self.weight_decay:
            self._decay(p, g)
        b1, b2 = self.betas
        m *= b1
        v *= b2
        v += (1 - b2) * g * g
        g *= 1 - b1
        m += g
        root = np.sqrt(v, out=g)  # g has done its work
        root *= (1 - b2**step) ** -0.5
        root += self.eps
        np.divide(m, root, out=root)
        root *= self.lr / (1 - b1**step)
        p -= root


class AdamW(Adam):
    """Adam with weight decay beside the gradient instead of in it: p ← p − lr weight_decay p first.

    Loshchilov, Hutter: Decoupled Weight Decay Regularization (2019).
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay)

    def _decay(self, p: Array, g: Array) -> None:
        p *= 1 - self.lr * self.weight_decay
