"""A definition owns its name: a formula in NumPy, who validates its inputs, and a fast kernel that stands in for it."""

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

X = Any  # a Tensor or an ndarray: what comes in decides what comes out
P = ParamSpec("P")
R = TypeVar("R")


class Definition(Generic[P, R]):
    """A function in a few lines of NumPy that read like its formula: its reference.

    validator: called with every argument, in order, before anything is computed, to raise for what makes no sense.
    kernel: a rule on arrays that gives the same as the reference, faster. Without one, the reference itself is run, and
    records the operations that it is made of; with one, it is what the tests hold the kernel to, and what is run to
    differentiate a gradient.
    """

    __name__: str

    def __init__(self, reference: Callable[P, R], validator: Callable[..., None] | None = None) -> None:
        functools.update_wrapper(self, reference)
        self.reference = reference
        self.validator = validator
        self.kernel: Rule | None = None
        self.in_kernel_order: Callable[[tuple[Any, ...]], tuple[Any, ...]] | None = None  # None where it is the same
        code = reference.__code__
        self.positional = code.co_argcount
        self.arguments = code.co_varnames[: self.positional + code.co_kwonlyargcount]
        self.defaults = (reference.__defaults__ or ()) + tuple((reference.__kwdefaults__ or {}).values())
        self.required = len(self.arguments) - len(self.defaults)
        self.dtype_argument = 0  # the position of the argument whose dtype is the result's
        DEFINITIONS.append(self)

    def __repr__(self) -> str:
        return f"<function {self.__name__}>"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        values: tuple[Any, ...] = args
        if kwargs or not len(args) == self.positional == len(self.arguments):
            values = self._bind(args, kwargs)
        if self.validator is not None:
            self.validator(*values)
        return self.compute(*values)

    def compute(self, *values: Any) -> R:
        """What a call gives, for a caller that has validated the values: those of all arguments, in order."""
        x = values[self.dtype_argument]
        dtype = x._array.dtype if isinstance(x, Tensor) else getattr(x, "dtype", None)
        half = dtype is not None and dtype.char == "e"
        if half:  # computed in float32
            values = tuple(np.astype(x, np.float32) if getattr(x, "dtype", None) == np.float16 else x for x in values)
        result: Any
        if self.kernel is None:
            n = self.positional
            result = self.reference(*values[:n], **dict(zip(self.arguments[n:], values[n:], strict=True)))
        else:
            result = self.kernel.apply(*(values if self.in_kernel_order is None else self.in_kernel_order(values)))
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
        return inspect.signature(self.reference)


DEFINITIONS: list[Definition[..., Any]] = []  # every definition, so that the tests can hold each kernel to its own


def define(validator: Callable[..., None] | None = None) -> Callable[[Callable[P, R]], Definition[P, R]]:
    """Decorator: make a definition of a formula."""
    return functools.partial(Definition, validator=validator)


def kernel_of(definition: Definition[..., Any]) -> Callable[[Callable[..., Any]], Rule]:
    """Decorator: make the definition's kernel of a rule on arrays of float32 or float64; arguments are named alike."""

    def attach(function: Callable[..., Any]) -> Rule:
        def reference(*inputs: Any, **settings: Any) -> Any:
            return definition.reference(**dict(zip(kernel.inputs, inputs, strict=True)), **settings)

        kernel = Rule(function, _with_pullbacks(reference), may_view=False)  # a kernel's value is an array of its own
        kernel.name = definition.__name__
        definition.kernel = kernel
        order = [definition.arguments.index(name) for name in kernel.inputs + kernel.settings]
        definition.dtype_argument = order[0]
        if order != sorted(order):
            definition.in_kernel_order = operator.itemgetter(*order)
        return kernel

    return attach


def _with_pullbacks(reference: Callable[..., Any]) -> Callable[..., Any]:
    """What a rule returns for Tensors, value and pullbacks, from a reference that only gives the value."""

    def function(*inputs: Any, **settings: Any) -> tuple[Any, tuple[Pullback | None, ...]]:
        inputs = tuple(+x if isinstance(x, Tensor) else x for x in inputs)  # new nodes: where this graph begins
        value = reference(*inputs, **settings)
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
