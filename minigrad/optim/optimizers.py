"""SGD, RMSprop, Adam and AdamW, on flat arrays: in order of increasing complexity.

An optimiser lays the parameters of one dtype side by side in one buffer, of which each parameter's array becomes a
view; a step is then a few operations on that buffer, however many parameters there are. A parameter without a
gradient stays as it is in that step, and so do its averages.
"""

from __future__ import annotations

import gc
import itertools
import math
import operator
import sys
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.lib import array_utils

from minigrad import checks
from minigrad.optim.strays import Stray, hold, take_strays
from minigrad.tensor import Array, Tensor
from minigrad.trace import this_thread

_NO_LIST = (np.ndarray, dict, set, frozenset, str)  # what can be iterated over, and gives no parameters in an order
_CHUNK = 1 << 17  # numbers updated at a time, which stay in the cache: 1.5 times as fast for 4.7 million of them


class Buffer:
    """Parameters of one dtype in one array, and arrays of the same layout for what the optimiser remembers."""

    def __init__(self, parameters: list[Tensor], memories: Iterable[str]) -> None:
        self.parameters = parameters
        ends = np.cumsum([p.size for p in parameters]).tolist()
        self.slices = [slice(a, b) for a, b in zip([0, *ends], ends, strict=False)]
        self.values = np.concatenate([p.data.ravel() for p in parameters])
        self.gradients = np.zeros_like(self.values)
        self.memory = {name: np.zeros_like(self.values) for name in memories}
        self.steps = np.zeros(len(parameters), np.int64)
        self._lay_out()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """In a deep copy the views are arrays of their own: they are made anew."""
        self.__dict__.update(state)
        for p, part in zip(self.parameters, self.slices, strict=True):
            self.values[part] = p.data.ravel()
        self._lay_out()

    def _lay_out(self) -> None:
        """Make the parameters' arrays views into the buffer."""
        self.views = [  # of each parameter: its values, its gradient, their shape
            (self.values[part].reshape(p.shape), self.gradients[part].reshape(p.shape), p.shape)
            for p, part in zip(self.parameters, self.slices, strict=True)
        ]
        for p, (value, _, _) in zip(self.parameters, self.views, strict=True):
            p.data = value
            hold(p)

    def recall(self, i: int, other: Buffer, j: int) -> None:
        """Remember of parameter i what another buffer remembers of it as its parameter j."""
        self.steps[i] = other.steps[j]
        for name, array in self.memory.items():
            array[self.slices[i]] = other.memory[name][other.slices[j]]

    def gather(self) -> tuple[list[int], list[int]]:
        """Take the gradients over; gives which parameters have one, and which of these have got another array.

        ValueError if one does not fit.
        """
        present: list[int] = []
        replaced: list[int] = []
        for i, (p, (value, gradient, shape)) in enumerate(zip(self.parameters, self.views, strict=True)):
            if p._grad is None:
                continue
            g = p._grad._array
            if p._array is not value:
                if p.shape != shape or p.dtype != value.dtype:
                    raise ValueError(
                        f"a parameter is {p.shape} {p.dtype.name}, and the optimiser has {shape} {value.dtype.name} "
                        "for it: build it after any conversion"
                    )
                replaced.append(i)
            if g.shape != shape:
                raise ValueError(
                    f"a parameter is {shape} {value.dtype.name}, its gradient {g.shape}: they must be equal"
                )
            gradient[...] = g
            present.append(i)
        return present, replaced

    def take_over(self, replaced: list[int]) -> None:
        """Bring the values of these parameters' arrays into the buffer."""
        for i in replaced:
            p, value = self.parameters[i], self.views[i][0]
            value[...] = p._array
            p.data = value

    def count(self, present: list[int]) -> list[tuple[slice, int]]:
        """One more step for these parameters; gives the longest stretches of the buffer of as many steps, and these."""
        self.steps[present] += 1
        steps = self.steps.tolist()
        runs: list[tuple[slice, int]] = []
        for i in present:
            part, step = self.slices[i], steps[i]
            if runs and runs[-1][0].stop == part.start and runs[-1][1] == step:
                part = slice(runs.pop()[0].start, part.stop)
            runs.append((part, step))
        return runs


def _same(now: list[Tensor], before: list[Tensor]) -> bool:
    """Whether these are the same parameters: == would compare their numbers."""
    return len(now) == len(before) and all(map(operator.is_, now, before))


class Optimizer:
    """What the optimisers share: groups of parameters with options of their own, and state that can be saved.

    parameters: leaf tensors, or dicts {"params": [...], "lr": ...} with options that differ from the others'. The
    groups are in `param_groups`; an option that is changed there, or a parameter put into a group or taken out of it,
    takes effect at the next step. A parameter stands in one place: ValueError otherwise.
    The parameters' arrays become views into a buffer of the optimiser's; change them in place (p.data[...] = v). They
    part from whatever shared their memory before, so two that do are refused: what is tied is one Parameter, in both
    places.
    """

    memories: tuple[str, ...] = ()

    def __init__(self, parameters: Iterable[Tensor] | Iterable[dict[str, Any]], options: dict[str, Any]) -> None:
        name = type(self).__name__
        if not isinstance(parameters, Iterable) or isinstance(parameters, Tensor | np.ndarray | dict | set | frozenset):
            raise TypeError(
                f"{name} needs a list of parameters, not {type(parameters).__name__}: pass model.parameters()"
            )
        if not isinstance(options, dict):
            raise TypeError(f"{name}: options must be a dict of the options' defaults, not {checks.shown(options)}")
        given: list[Any] = list(parameters)
        groups = given if given and all(isinstance(g, dict) for g in given) else [{"params": given}]
        self._defaults = dict(options)
        self.scheduled: Any = None  # what its latest schedule notes here
        self._has_learned = False
        self._told: set[tuple[tuple[int, ...], ...]] = set()  # the shapes of those that were gone, and warned of
        self._laid_out: list[tuple[dict[str, Any], list[Tensor]]] = []  # the groups, and what stood in them then
        self._all: list[Tensor] = []  # the same in one list
        self.buffers: list[tuple[dict[str, Any], Buffer]] = []
        self.param_groups: list[dict[str, Any]] = [dict(group) for group in groups]
        if not self._parameters():
            raise ValueError(f"{name} got no parameters: model.parameters() is empty, or was used up before")

    def add_param_group(self, group: dict[str, Any]) -> None:
        """Train more parameters from the next step on: group is {"params": [...]}, maybe with options of their own.

        >>> import numpy as np, minigrad as mg
        >>> body, head = mg.nn.Linear(2, 2), mg.nn.Linear(2, 1)
        >>> optimizer = mg.optim.SGD(head.parameters(), lr=0.1)
        >>> optimizer.add_param_group({"params": body.parameters(), "lr": 0.01})
        >>> [len(group["params"]) for group in optimizer.param_groups]
        [2, 2]
        """
        if not isinstance(group, dict):
            raise TypeError(
                f"add_param_group: group must be a dict {{'params': [...], ...}}, not {checks.shown(group)}"
            )
        self.param_groups.append(dict(group))
        try:
            self._parameters()
        except BaseException:
            self.param_groups.pop()
            raise

    def _parameters(self) -> list[Tensor]:
        """The parameters of all groups; whatever has been changed in `param_groups` is taken over first."""
        if len(self.param_groups) != len(self._laid_out) or not all(
            group is known and type(group.get("params")) is list and _same(group["params"], parameters)
            for group, (known, parameters) in zip(self.param_groups, self._laid_out, strict=True)
        ):
            self._lay_out()
        return self._all

    def _lay_out(self) -> None:
        """Bring the parameters that now stand in `param_groups` into buffers; nothing changes if one does not fit."""
        before = {id(group): parameters for group, parameters in self._laid_out}
        completed = [self._completed(i, group, id(group) in before) for i, group in enumerate(self.param_groups)]
        places: dict[int, str] = {}
        for i, group in enumerate(completed):
            for j, p in enumerate(group["params"]):
                place = f"parameter {j} of group {i}"
                if places.setdefault(id(p), place) != place:
                    raise ValueError(
                        f"{type(self).__name__}: {place}, of shape {p.shape}, is also {places[id(p)]}, and would be "
                        "changed twice in a step: let it stand in one place, as in list(dict.fromkeys(parameters))"
                    )
        self._refuse_shared_memory([group["params"] for group in completed])
        known = {id(p): (buffer, i) for _, buffer in self.buffers for i, p in enumerate(buffer.parameters)}
        buffers = []
        for group, new in zip(self.param_groups, completed, strict=True):
            group.update(new)
            if id(group) in before and _same(new["params"], before[id(group)]):
                buffers += [(owner, buffer) for owner, buffer in self.buffers if owner is group]
                continue
            for dtype in dict.fromkeys(p.dtype for p in new["params"]):
                buffer = Buffer([p for p in new["params"] if p.dtype == dtype], self.memories)
                for i, p in enumerate(buffer.parameters):
                    if id(p) in known:
                        buffer.recall(i, *known[id(p)])
                buffers.append((group, buffer))
        self.buffers = buffers
        self._laid_out = [(group, list(group["params"])) for group in self.param_groups]
        self._all = [p for _, parameters in self._laid_out for p in parameters]

    def _completed(self, i: int, group: Any, known: bool) -> dict[str, Any]:
        """Group i with a list of its parameters and, unless it is known, the defaults of what it leaves out."""
        name = type(self).__name__
        if not isinstance(group, dict):
            raise TypeError(f"{name}: group {i} must be a dict {{'params': [...], ...}}, not {checks.shown(group)}")
        if "params" not in group or not group.keys() <= {"params", *self._defaults}:
            raise self._misnamed(group)
        options = group if known else self._defaults | group
        self._options(options)
        parameters = [group["params"]] if isinstance(group["params"], Tensor) else group["params"]
        if not isinstance(parameters, Iterable) or isinstance(parameters, _NO_LIST):
            raise TypeError(
                f"{name}: the params of group {i} must be a list of parameters, not {checks.shown(parameters)}"
            )
        parameters = list(parameters)
        for p in parameters:
            if not isinstance(p, Tensor) or p.node is not None or p.dtype.kind != "f":
                raise TypeError(
                    f"{name} needs floating-point leaf tensors, not {type(p).__name__}: pass model.parameters()"
                )
            if p.dtype == np.float16:
                raise TypeError(f"{name}: in float16 small changes are lost: keep the parameters in float32")
        return {**options, "params": parameters}

    def _options(self, group: dict[str, Any]) -> dict[str, Any]:
        """The options of a group, as Python's numbers: NumPy's would make float64 of float32 on the way."""
        options = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in group.items()
            if name != "params"
        }
        if options.keys() != self._defaults.keys():
            raise self._misnamed(group)
        self._check(**options)
        return options

    def _misnamed(self, group: dict[str, Any]) -> ValueError:
        options, given = ", ".join(self._defaults), ", ".join(map(str, group))
        return ValueError(f"{type(self).__name__}: a group has 'params' and maybe {options}, not {given}")

    def _refuse_shared_memory(self, groups: list[list[Tensor]]) -> None:
        """Refuse parameters of which one was given the memory of another: in the buffer they would part."""
        placed = [(i, j, p._array) for i, group in enumerate(groups) for j, p in enumerate(group)]
        bounds = sorted((*array_utils.byte_bounds(array), n) for n, (_, _, array) in enumerate(placed))
        for k, (_, end, n) in enumerate(bounds):
            for start, _, m in itertools.islice(bounds, k + 1, None):
                if start >= end:
                    break
                (i, j, first), (g, h, second) = sorted((placed[n], placed[m]), key=lambda place: place[:2])
                if np.shares_memory(first, second):
                    raise self._tied(f"parameter {j} of group {i} and parameter {h} of group {g}")
        probe = Tensor(np.empty(0))  # whose array nothing else refers to; to find what does takes milliseconds
        *counts, least = [sys.getrefcount(array) for _, _, array in [*placed, (0, 0, probe._array)]]
        held = {id(p) for group in groups for p in group}
        for (i, j, array), count in zip(placed, counts, strict=True):
            others = gc.get_referrers(array) if count > least else []
            if any(isinstance(p, Tensor) and p.is_parameter and id(p) not in held for p in others):
                raise self._tied(f"parameter {j} of group {i} and one that this optimiser does not hold")

    def _tied(self, which: str) -> ValueError:
        return ValueError(
            f"{type(self).__name__}: {which} share memory (one's .data was given to the other, or one array to both), "
            "and a step would part them: to tie them, put one Parameter in both places (b.weight = a.weight); to part "
            "them, give one a copy (b.data = a.data.copy())"
        )

    def _check(self, lr: float, weight_decay: float, **_: Any) -> None:
        """Refuse options that make no sense."""
        checks.not_negative(type(self).__name__, lr=lr, weight_decay=weight_decay)

    def zero_grad(self) -> None:
        """Forget the gradients: `.grad` becomes None."""
        parameters = self._parameters()
        take_strays(parameters)
        for p in parameters:
            p._grad = None

    def step(self) -> None:
        """Change each parameter that has a gradient."""
        tracer = this_thread.tracer
        if tracer is None:
            self._step()
        else:
            tracer.step(self, Optimizer._step)

    def _step(self) -> None:
        parameters = self._parameters()
        if strays := take_strays(parameters):
            self._warn_of_strays(strays)
        if not self._has_learned:
            self._has_learned = any(p.grad is not None for p in parameters)
            if not self._has_learned:
                warnings.warn(
                    f"{type(self).__name__}: no parameter has a gradient, so this step changes nothing: call "
                    "loss.backward() before it (and zero_grad() before that)",
                    RuntimeWarning,
                    stacklevel=3,
                )
        options = {id(group): self._options(group) for group in self.param_groups}
        gathered = [(group, buffer, *buffer.gather()) for group, buffer in self.buffers]  # all fit, or nothing changes
        if any(replaced for *_, replaced in gathered):
            self._refuse_shared_memory([group for _, group in self._laid_out])
            for _, buffer, _, replaced in gathered:
                buffer.take_over(replaced)
        for group, buffer, present, _ in gathered:
            arrays = [buffer.memory[name] for name in self.memories]
            for part, step in buffer.count(present):
                for start in range(part.start, part.stop, _CHUNK):
                    chunk = slice(start, min(start + _CHUNK, part.stop))
                    memories = (array[chunk] for array in arrays)
                    self._update(options[id(group)], buffer.values[chunk], buffer.gradients[chunk], step, *memories)

    def _warn_of_strays(self, strays: list[Stray]) -> None:
        """Warn of parameters that no optimiser holds: once of each, and once of all of these shapes that are gone."""
        name = type(self).__name__
        there = [p for stray in strays if (p := stray.leaf()) is not None and p.grad is not None]
        gone = tuple(stray.shape for stray in strays if stray.leaf() is None)
        if there:
            for p in there:
                hold(p)  # it was said
            warnings.warn(
                f"{name}: {len(there)} parameters have a gradient, and no optimiser holds them, the first of shape "
                f"{there[0].shape}: pass them to the optimiser, as optimizer.add_param_group does, or freeze them: "
                "p.requires_grad = False",
                RuntimeWarning,
                stacklevel=4,
            )
        if gone and gone not in self._told:
            self._told.add(gone)
            warnings.warn(
                f"{name}: {len(gone)} parameters that have got a gradient are gone, and no optimiser held them, the "
                f"first of shape {gone[0]}: make layers in __init__, not in forward",
                RuntimeWarning,
                stacklevel=4,
            )

    def _update(self, group: dict[str, Any], p: Array, g: Array, step: int, *memories: Array) -> None:
        """Change the values p in place by their gradient g (to be overwritten at will) and the memories."""
        raise TypeError(f"{type(self).__name__} does not say how to update")

    def _arrays(self) -> dict[str, Array]:
        self._parameters()
        arrays = ({**buffer.memory, "steps": buffer.steps} for _, buffer in self.buffers)
        return {f"{i}.{name}": array for i, named in enumerate(arrays) for name, array in named.items()}

    def state_dict(self) -> dict[str, Any]:
        """Copies of all that a resumed run needs beside the parameters."""
        arrays = self._arrays()
        rates = {f"lr.{i}": group["lr"] for i, group in enumerate(self.param_groups)}
        return rates | {name: array.copy() for name, array in arrays.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same optimiser on the same parameters; ValueError if it does not fit.

        All of it is taken over, or nothing.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"{type(self).__name__}: state must be a dict of state_dict(), not {checks.shown(state)}")
        own = {name: np.asarray(value) for name, value in self.state_dict().items()}
        given = {name: np.asarray(value) for name, value in state.items()}
        problems = [f"missing: {name}" for name in own if name not in given]
        problems += [f"unexpected: {name}" for name in given if name not in own]
        problems += [
            f"{name}: expected {own[name].shape} {own[name].dtype.name}, got {v.shape} {v.dtype.name}"
            for name, v in given.items()
            if name in own and (v.shape != own[name].shape or not np.can_cast(v.dtype, own[name].dtype, "same_kind"))
        ]
        if not problems:
            problems = [
                f"{name}: must be {'finite and ' * (v.ndim == 0)}not negative"
                for name, v in given.items()
                if (v.ndim == 0 or name.endswith("steps")) and not np.all((v >= 0) & (v < np.inf))
            ]
        if problems:
            raise ValueError(
                f"this state does not fit {type(self).__name__}: it is of another optimiser or other parameters:\n  "
                + "\n  ".join(problems)
            )
        for i, group in enumerate(self.param_groups):
            group["lr"] = float(state[f"lr.{i}"])
        for name, array in self._arrays().items():
            array[...] = state[name]


class SGD(Optimizer):
    """v ← momentum v + g + weight_decay p;  p ← p − lr v.

    As PyTorch's: with nesterov, p ← p − lr (g + weight_decay p + momentum v).
    """

    memories = ("velocity",)

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        *,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(
            parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "nesterov": nesterov}
        )

    def _check(self, lr: float, weight_decay: float, momentum: float = 0.0, nesterov: bool = False, **_: Any) -> None:
        super()._check(lr, weight_decay)
        checks.below_one("SGD", momentum=momentum)
        checks.flag("SGD", nesterov=nesterov)
        if nesterov and not momentum:
            raise ValueError("SGD: momentum must be above 0 for nesterov, not 0")

    def _update(self, group: dict[str, Any], p: Array, g: Array, step: int, *memories: Array) -> None:
        (v,) = memories
        momentum = group["momentum"]
        if group["weight_decay"]:
            g += group["weight_decay"] * p
        if momentum:
            v *= momentum
            v += g
            g = g + momentum * v if group["nesterov"] else v
        p -= group["lr"] * g


class RMSprop(Optimizer):
    """s ← α s + (1 − α) g²;  v ← momentum v + g / (√s + eps);  p ← p − lr v; g includes weight_decay p.

    Tieleman, Hinton: Lecture 6.5, Neural Networks for Machine Learning (2012).
    """

    memories = ("square", "velocity")

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
    ) -> None:
        super().__init__(
            parameters, {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum}
        )

    def _check(
        self, lr: float, weight_decay: float, alpha: float = 0.0, eps: float = 1.0, momentum: float = 0.0, **_: Any
    ) -> None:
        super()._check(lr, weight_decay)
        checks.below_one("RMSprop", alpha=alpha, momentum=momentum)
        checks.positive_number("RMSprop", eps=eps)

    def _update(self, group: dict[str, Any], p: Array, g: Array, step: int, *memories: Array) -> None:
        s, v = memories
        if group["weight_decay"]:
            g += group["weight_decay"] * p
        s *= group["alpha"]
        s += (1 - group["alpha"]) * g * g
        g /= np.sqrt(s) + group["eps"]
        if group["momentum"]:
            v *= group["momentum"]
            v += g
            g = v
        p -= group["lr"] * g


class Adam(Optimizer):
    """m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;  p ← p − lr m̂ / (√v̂ + eps).

    m̂ = m / (1 − β₁ᵗ) and v̂ = v / (1 − β₂ᵗ) after t steps; g includes weight_decay p.
    Kingma, Ba: Adam (2015).
    """

    memories = ("mean", "square")

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    def _check(
        self, lr: float, weight_decay: float, betas: tuple[float, float] = (0, 0), eps: float = 1.0, **_: Any
    ) -> None:
        super()._check(lr, weight_decay)
        name = type(self).__name__
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise TypeError(f"{name}: betas must be two numbers, not {checks.shown(betas)}")
        checks.below_one(name, **{f"betas[{i}]": beta for i, beta in enumerate(betas)})
        checks.positive_number(name, eps=eps)

    def _decay(self, group: dict[str, Any], p: Array, g: Array) -> None:
        g += group["weight_decay"] * p

    def _update(self, group: dict[str, Any], p: Array, g: Array, step: int, *memories: Array) -> None:
        m, v = memories
        if group["weight_decay"]:
            self._decay(group, p, g)
        b1, b2 = map(float, group["betas"])
        bias = math.sqrt(1 - b2**step)
        m *= b1
        m += (1 - b1) * g
        v *= b2
        g *= g
        g *= 1 - b2
        v += g
        root = np.sqrt(v, out=g)  # g has done its work
        root += group["eps"] * bias
        np.divide(m, root, out=root)
        root *= group["lr"] * bias / (1 - b1**step)
        p -= root


class AdamW(Adam):
    """Adam with weight decay beside the gradient instead of in it: p ← p − lr weight_decay p first.

    Loshchilov, Hutter: Decoupled Weight Decay Regularization (2019).
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay)

    def _decay(self, group: dict[str, Any], p: Array, g: Array) -> None:
        p *= 1 - group["lr"] * group["weight_decay"]
