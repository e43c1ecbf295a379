"""Module: what layers have in common. Parameters are found by walking attributes, lists, tuples and dicts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Self, TypeVar

import numpy as np

from minigrad import checks
from minigrad.tensor import Array, Tensor

M = TypeVar("M", bound="Module")


class Parameter(Tensor):
    """A leaf tensor that a layer learns. Wraps the array itself; float32 from Python floats."""

    __slots__ = ()
    is_parameter = True

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad)


class IncompatibleKeys(NamedTuple):
    """What load_state_dict(strict=False) passed over."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class Module:
    """A layer: parameters as attributes, and `forward`; called like a function.

    What is found in attributes, and in lists, tuples and dicts there, at any depth: Parameters (and other tensors that
    require a gradient), which are trained; Modules; and arrays or other tensors, the buffers, which are saved but not
    trained. Passed over are results of operations, and names with a leading underscore: for what is only to be looked
    at. No super().__init__() is needed.

    >>> import numpy as np, minigrad as mg
    >>> class Scale(mg.nn.Module):
    ...     def __init__(self, n):
    ...         self.weight = mg.nn.Parameter(np.ones(n, np.float32))
    ...     def forward(self, x):
    ...         return x * self.weight
    >>> [name for name, _ in Scale(3).named_parameters()]
    ['weight']
    """

    training: bool = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{type(self).__name__} has no forward method: define forward(self, x)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.forward(*args, **kwargs)
        except (TypeError, ValueError, IndexError) as error:
            _name_module(error, self)
            raise

    # ---- what it is made of ----

    def _items(self) -> Iterator[tuple[str, Any]]:
        """The modules and arrays in this module's own attributes, with their names."""
        stack = [(name, value) for name, value in reversed(list(vars(self).items())) if not name.startswith("_")]
        for name, value in vars(self).items():
            if isinstance(value, Parameter) and name.startswith("_"):
                raise TypeError(
                    f"{type(self).__name__}.{name} is a Parameter that would not be trained: rename it without _"
                )
        entered: set[int] = set()  # a list may hold itself
        while stack:
            name, value = stack.pop()
            if isinstance(value, Mapping | list | tuple):
                if id(value) in entered:
                    continue
                entered.add(id(value))
            if isinstance(value, Module | np.ndarray) or (isinstance(value, Tensor) and value.node is None):
                yield name, value
            elif isinstance(value, Mapping):
                stack += [(f"{name}.{key}", v) for key, v in reversed(list(value.items()))]
            elif isinstance(value, list | tuple):
                stack += [(f"{name}.{i}", v) for i, v in reversed(list(enumerate(value)))]

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """This module under the name "", and all below it with their paths, each once."""
        seen: set[int] = set()
        stack: list[tuple[str, Module]] = [("", self)]
        while stack:
            path, module = stack.pop()
            if id(module) not in seen:
                seen.add(id(module))
                yield path, module
                children = [(name, child) for name, child in module._items() if isinstance(child, Module)]
                stack += [(f"{path}.{name}" if path else name, child) for name, child in reversed(children)]

    def modules(self) -> Iterator[Module]:
        return (module for _, module in self.named_modules())

    def _arrays(self) -> Iterator[tuple[str, Tensor | Array]]:
        """Parameters and buffers with their paths, each once, also where it is shared."""
        seen: set[int] = set()
        for path, module in self.named_modules():
            for name, value in module._items():
                if not isinstance(value, Module) and id(value) not in seen:
                    seen.add(id(value))
                    yield (f"{path}.{name}" if path else name), value

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        for name, value in self._arrays():
            if isinstance(value, Tensor) and (value.is_parameter or value.requires_grad):
                yield name, value

    def parameters(self) -> Iterator[Tensor]:
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Tensor | Array]]:
        parameters = dict(self.named_parameters())
        return ((name, value) for name, value in self._arrays() if name not in parameters)

    # ---- mode and gradients ----

    def train(self, mode: bool = True) -> Self:
        """Training mode for this module and all below it: dropout drops, batch norm looks at the batch."""
        checks.flag("train", mode=mode)
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Evaluation mode: train(False)."""
        return self.train(False)

    def num_parameters(self) -> int:
        """How many numbers there are to be learned."""
        return sum(p.size for p in self.parameters())

    def zero_grad(self) -> None:
        """Forget the gradients: `.grad` becomes None."""
        for parameter in self.parameters():
            parameter.grad = None

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Train all parameters, or freeze them."""
        checks.flag("requires_grad_", requires_grad=requires_grad)
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    # ---- state ----

    def state_dict(self) -> dict[str, Array]:
        """Copies of all parameters and buffers, by path."""
        return {name: (v.data if isinstance(v, Tensor) else v).copy() for name, v in self._arrays()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Write these values into the parameters and buffers; all of them, or none if anything does not fit.

        strict=False passes over names that only one side has. ValueError names everything that does not fit.
        """
        checks.flag("load_state_dict", strict=strict)
        if not isinstance(state, Mapping):
            raise TypeError(f"load_state_dict: state must be a dict of state_dict(), not {checks.shown(state)}")
        own = {name: v.data if isinstance(v, Tensor) else v for name, v in self._arrays()}
        given = {name: v.data if isinstance(v, Tensor) else np.asarray(v) for name, v in state.items()}
        missing = [name for name in own if name not in given]
        unexpected = [name for name in given if name not in own]
        wrong = [
            f"{name}: expected {own[name].shape} {own[name].dtype.name}, got {v.shape} {v.dtype.name}"
            for name, v in given.items()
            if name in own and (v.shape != own[name].shape or not np.can_cast(v.dtype, own[name].dtype, "same_kind"))
        ]
        problems = [f"missing: {', '.join(missing)}"] * bool(strict and missing)
        problems += [f"unexpected: {', '.join(unexpected)}"] * bool(strict and unexpected) + wrong
        if problems:
            raise ValueError(f"this state does not fit {type(self).__name__}:\n  " + "\n  ".join(problems))
        for name, v in given.items():
            if name in own:
                own[name][...] = v
        return IncompatibleKeys(missing, unexpected)

    def __repr__(self) -> str:
        shown = [
            f"{k}={v}"
            for k, v in vars(self).items()
            if type(v) in (int, float, bool, str, tuple) and k[0] != "_" and k != "training"
        ]
        children = [
            f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self._items() if isinstance(child, Module)
        ]
        body = ", ".join(shown) if not children else "\n  " + "\n  ".join([*shown, *children]) + "\n"
        return f"{type(self).__name__}({body})"


def _name_module(error: Any, module: Module) -> None:
    """Put the path of the layer that failed before the message, a part at each level that the error passes."""
    if not hasattr(error, "passed"):
        error.passed, error.layer, error.text, error.path = module, module, str(error), []
        return
    name = next((name for name, child in module._items() if child is error.passed), None)
    if name is not None:
        inside = any(isinstance(child, Module) for _, child in error.layer._items())
        error.path.insert(0, name)
        error.passed = module
        layer = type(error.layer).__name__ if inside else repr(error.layer)
        error.args = (f"{'.'.join(error.path)} ({layer}): {error.text}",)
