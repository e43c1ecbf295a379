"""A definition owns its name, and a fast kernel is attached below it."""

from __future__ import annotations

import functools
import inspect
import operator
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, cast

import numpy as np

from minigrad.autograd import grad
from minigrad.graph import Pullback
from minigrad.rule import Rule, shared
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
        code = function.__code__
        self.positional = code.co_argcount
        self.names = code.co_varnames[: self.positional + code.co_kwonlyargcount]
        self.defaults = (function.__defaults__ or ()) + tuple((function.__kwdefaults__ or {}).values())
        self.first = 0  # which argument's dtype is that of the result
        self.required = len(self.names) - len(self.defaults)
        DEFINITIONS.append(self)

    def __repr__(self) -> str:
        return f"<function {self.__name__}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        values: tuple[Any, ...] = args
        if kwargs or not len(args) == self.positional == len(self.names):
            values = self._bind(args, kwargs)
        if self.check is not None:
            self.check(*values)
        dtype = getattr(values[self.first], "dtype", None)
        half = dtype is not None and dtype.char == "e"
        if half:  # computed in float32
            values = tuple(np.astype(x, np.float32) if getattr(x, "dtype", None) == np.float16 else x for x in values)
        result: Any = self.slow(*values) if self.fast is None else self.fast.apply(*self.order(values))
        return cast(R, np.astype(result, np.float16) if half else result)

    def _bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        """The values of all arguments, in order."""
        if not kwargs and self.required <= len(args) <= self.positional:
            return args + self.defaults[len(args) - self.required :]
        bound = self.signature.bind(*args, **kwargs)  # says what is wrong
        bound.apply_defaults()
        return tuple(bound.arguments.values())

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        return inspect.signature(self.function)

    def slow(self, *values: Any) -> R:
        """The definition itself, from the values of all its arguments."""
        n = self.positional
        return self.function(*values[:n], **dict(zip(self.names[n:], values[n:], strict=True)))

    def refuses(self, check: Callable[..., None]) -> Callable[..., None]:
        """Decorator: called with every argument in order before anything else, to raise for what makes no sense."""
        self.check = check
        return check

    def kernel(self, function: Callable[..., Any]) -> Rule:
        """Decorator: a rule on arrays of float32 or float64 that gives the same, faster; arguments are named alike."""

        def definition(*inputs: Any, **settings: Any) -> Any:
            return self.function(**dict(zip(rule.inputs, inputs, strict=True)), **settings)  # type: ignore[call-arg]

        rule = Rule(function, _local(definition), may_view=False)  # a kernel's value is an array of its own
        rule.name = self.__name__
        self.fast = rule
        order = [self.names.index(name) for name in rule.inputs + rule.settings]
        self.first = order[0]
        self.order = operator.itemgetter(*order) if len(order) > 1 else lambda values: values
        return rule


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
