"""A definition owns its name, and a fast kernel is attached below it."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, cast

import numpy as np

from minigrad.autograd import Pullback, Rule, grad, shared
from minigrad.tensor import Tensor

P = ParamSpec("P")
R = TypeVar("R")


class Definition(Generic[P, R]):
    """A function in a few lines of NumPy that read like its formula; a fast kernel may stand in for it.

    Without a kernel, the lines themselves are run, and record the operations that they are made of. With one, they
    are what the kernel is held to by the tests, and what is run to differentiate a gradient.
    """

    __name__: str

    def __init__(self, function: Callable[P, R]) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.fast: Rule | None = None
        self.check: Callable[..., None] | None = None
        self.__signature__ = inspect.signature(function)
        parameters = self.__signature__.parameters.values()
        self.names = tuple(p.name for p in parameters)
        self.positional = sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)
        self.defaults = {p.name: p.default for p in parameters if p.default is not p.empty}
        DEFINITIONS.append(self)

    def __repr__(self) -> str:
        return f"<function {self.__name__}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        given = {**self.defaults, **dict(zip(self.names, args, strict=False)), **kwargs}
        if (
            len(args) > self.positional
            or len(given) != len(self.names)
            or not kwargs.keys().isdisjoint(self.names[: len(args)])
        ):
            self.__signature__.bind(*args, **kwargs)  # says what is wrong
        if self.check is not None:
            self.check(**given)
        if self.fast is None:
            return self.function(**given)  # type: ignore[call-arg]
        inputs = [given.pop(name) for name in self.fast.inputs]
        return cast(R, self.fast(*inputs, **given))

    def refuses(self, check: Callable[..., None]) -> Callable[..., None]:
        """Decorator: called with every argument by name before anything else, to raise for what makes no sense."""
        self.check = check
        return check

    def kernel(self, function: Callable[..., Any]) -> Rule:
        """Decorator: a rule on arrays that gives the same, faster; arguments under the same names."""

        def definition(*inputs: Any, **settings: Any) -> Any:
            return self.function(**dict(zip(self.fast.inputs, inputs, strict=True)), **settings)  # type: ignore

        @functools.wraps(function)
        def wide(*inputs: Any, **settings: Any) -> Any:
            """float16 is computed in float32."""
            halves = [isinstance(x, np.ndarray | np.generic) and x.dtype == np.float16 for x in inputs]
            if not any(halves):
                return function(*inputs, **settings)
            widened = (x.astype(np.float32) if half else x for x, half in zip(inputs, halves, strict=True))
            value, pullbacks = function(*widened, **settings)
            return value.astype(np.float16), pullbacks

        self.fast = Rule(wide, _local(definition))
        self.fast.name = self.__name__
        return self.fast


DEFINITIONS: list[Definition[..., Any]] = []  # every definition, so that the tests can hold each kernel to its own


def _local(definition: Callable[..., Any]) -> Callable[..., Any]:
    """What a rule returns for Tensors, value and pullbacks, from a definition that only gives the value."""

    def function(*inputs: Any, **settings: Any) -> tuple[Any, tuple[Pullback | None, ...]]:
        inputs = tuple(+x if isinstance(x, Tensor) else x for x in inputs)  # new nodes: where this graph begins
        value = definition(*inputs, **settings)
        starts = [x for x in inputs if isinstance(x, Tensor)]

        @shared
        def gradients(g: Tensor) -> dict[int, Any]:
            return dict(zip(map(id, starts), grad(value, starts, g, create_graph=True, allow_unused=True), strict=True))

        def pullback(x: Any) -> Pullback | None:
            if not isinstance(x, Tensor):
                return None
            return lambda g: gradients(g)[id(x)] if gradients(g)[id(x)] is not None else np.zeros(x.shape, x.dtype)

        return value, tuple(map(pullback, inputs))

    return function
