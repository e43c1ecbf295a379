"""How a NumPy function becomes a rule, and what is said when it is wrongly made."""

from __future__ import annotations

import copy
import functools
import inspect
import operator
from collections.abc import Callable, MutableMapping, MutableSequence, MutableSet, Sequence
from typing import Any, TypeVar

import numpy as np

from minigrad import checks
from minigrad.graph import PLAIN, Node, Pullback, recorder, unbroadcast
from minigrad.tensor import HANDLERS, Array, Tensor, beside, detached, refuse_foreign
from minigrad.trace import this_thread

F = TypeVar("F", bound=Callable[..., Any])


class Rule:
    """A NumPy function with its derivative; called with Tensors, it records a Node.

    reference: the same function in NumPy calls that work on Tensors, too; a fast kernel takes it from its definition.
    linear: the pullbacks close over no input, and are their own replay. may_view: the value may be a view of an input.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        reference: Callable[..., Any] | None = None,
        linear: bool = False,
        may_view: bool = True,
    ) -> None:
        self.function = function
        self.reference = reference or function
        self.linear = linear
        self.may_view = may_view
        self.name = function.__name__
        self.__name__ = function.__name__
        self.__doc__ = function.__doc__
        code = inspect.unwrap(function).__code__  # inspect.signature would be a tenth of the time of `import minigrad`
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        self.variadic = bool(code.co_flags & inspect.CO_VARARGS)
        self.inputs = names[: code.co_posonlyargcount]
        self.settings = names[code.co_posonlyargcount :]
        self.arity = len(self.inputs)
        if not self.inputs and not self.variadic:
            raise TypeError(
                f"rule {self.name}: the inputs to differentiate stand before a '/': def {self.name}(x, /, ...)"
            )

    def __repr__(self) -> str:
        return f"<rule {self.name}>"

    def __call__(self, *inputs: Any, **settings: Any) -> Any:
        return self.apply(*inputs, **settings)

    @functools.cached_property
    def apply(self) -> Callable[..., Any]:
        """What a call does, as a plain function: that spares 0.1 of the 2.5 µs that a small addition takes."""
        return recorder(self)

    def bind(self, inputs: tuple[Any, ...], settings: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Sort the arguments into inputs and settings by name; settings are constants, so a Tensor there is refused."""
        if not self.variadic and len(inputs) != self.arity:
            rest = inputs[self.arity :]
            if len(inputs) < self.arity:
                raise TypeError(f"{self.name} needs {self.arity} inputs {self.inputs} by position, got {len(inputs)}")
            if len(rest) > len(self.settings):
                raise TypeError(
                    f"{self.name} takes at most {self.arity + len(self.settings)} arguments, got {len(inputs)}"
                )
            inputs, settings = inputs[: self.arity], dict(zip(self.settings, rest, strict=False)) | settings
        for name, setting in settings.items():
            if name not in self.settings:
                raise TypeError(
                    f"{self.name} of Tensors takes no argument {name!r}, only {', '.join(self.settings) or 'inputs'}"
                )
            if type(setting) in _CONSTANT or _is_fixed(setting):
                continue
            if isinstance(setting, Tensor):
                if setting.requires_grad:
                    raise TypeError(
                        f"{self.name}: no gradient flows through the setting {name!r}: pass {name}.detach()"
                    )
                settings = settings | {name: setting._array}
            else:
                settings = settings | {name: _frozen(setting)}
        return inputs, settings

    def operand(self, x: Any, inputs: Sequence[Any]) -> Any:
        """An operand beside a Tensor: NumPy's scalars count as Python numbers, and lists are as weak as these."""
        if isinstance(x, np.generic):
            return x.item()
        if not any(isinstance(other, Tensor) for other in inputs):
            return x  # of_arrays has its own way with it
        refuse_foreign(x)
        return beside(x, inputs)

    def of_arrays(self, inputs: Sequence[Any], settings: dict[str, Any]) -> Any:
        """The value among arrays alone, where NumPy's scalars stay what they are; nothing is recorded."""
        inputs = [x if type(x) in PLAIN or isinstance(x, np.generic) else beside(x, inputs) for x in inputs]
        tracer = this_thread.tracer
        function = self.function if tracer is None else tracer.around(self)
        return self.pair(function(*inputs, **settings), len(inputs))[0]

    def checked(self, made: Any, arrays: Sequence[Any]) -> tuple[Array, Sequence[Pullback | None]]:
        """What the function made of these arrays: a value (its own array or a view) and a pullback for each."""
        if type(made) is not tuple or len(made) != 2 or type(made[1]) is not tuple or len(made[1]) != len(arrays):
            self.pair(made, len(arrays))
        value, pullbacks = made
        if type(value) is not np.ndarray:
            if not isinstance(value, (np.generic, int, float)):  # NumPy makes scalars of 0-d arrays
                raise TypeError(f"rule {self.name} must return one array and its pullbacks, not {type(value).__name__}")
            value = np.asarray(value)
        first, last = arrays[0], arrays[-1]
        if value is first or value is last or (len(arrays) > 2 and self.may_view and id(value) in map(id, arrays)):
            value = value.view()  # so that it is seen to be one
        if getattr(last if type(first) is float else first, "dtype", None) is not value.dtype:
            value = _unwidened(value, arrays)
        return value, pullbacks

    def pair(self, made: Any, n: int) -> tuple[Any, Sequence[Pullback | None]]:
        """What the function made of n inputs, if it is a value and a pullback for each; else TypeError."""
        if type(made) is not tuple or len(made) != 2 or not isinstance(made[1], tuple | list):
            raise TypeError(
                f"rule {self.name} must return its value and a tuple of pullbacks, as in "
                f"`return y, (lambda g: 2 * g,)`, not {checks.shown(made)}"
            )
        if len(made[1]) != n:
            raise TypeError(f"rule {self.name} has {n} inputs and returned {len(made[1])} pullbacks")
        return made

    def conform(self, g: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """What a pullback gave, as a gradient of an input of this shape and dtype."""
        if isinstance(g, np.generic):  # NumPy makes scalars of 0-d arrays
            g = np.asarray(g)
        if not isinstance(g, np.ndarray | Tensor) or g.dtype.kind == "c":
            raise TypeError(f"rule {self.name}: a pullback must give an array of real numbers, not {checks.shown(g)}")
        if g.shape != shape:
            try:
                g = unbroadcast(g, shape)
            except (ValueError, IndexError):
                raise ValueError(
                    f"rule {self.name}: a pullback gave a gradient of shape {g.shape} for an input of shape {shape}, "
                    "which it cannot be summed to"
                ) from None
        return g if g.dtype is dtype else g.astype(dtype)  # at last: sums of float16 would overflow

    def replay(self, node: Node, inputs: Sequence[Any]) -> tuple[Array, Any]:
        """The value that the rule gave at this node, and pullbacks that record, from its inputs as Tensors."""
        if not self.linear:
            value, pullbacks = self.reference(*inputs, **node.settings)
        else:
            value, pullbacks = node.value, node.pullbacks
            if value is None:
                value = self.function(*map(detached, inputs), **node.settings)[0]
        return np.asarray(detached(value)), pullbacks


def _is_fixed(setting: Any) -> bool:
    """Whether this is an index or a shape of which nobody can change a part."""
    kind = type(setting)
    if kind is tuple:
        return FIXED.issuperset(map(type, setting)) or all(map(_is_fixed, setting))
    if kind is slice:
        return type(setting.start) in FIXED and type(setting.stop) in FIXED and type(setting.step) in FIXED
    return kind in FIXED


def _frozen(setting: Any) -> Any:
    """A setting as it is now: external code may change it before backward, which reads it again."""
    kind = type(setting)
    if isinstance(setting, Tensor):
        return setting._array.copy()
    if issubclass(kind, tuple):
        return tuple(map(_frozen, setting))
    if kind is slice:
        return slice(_frozen(setting.start), _frozen(setting.stop), _frozen(setting.step))
    if issubclass(kind, np.generic | bool):
        return setting  # before NumPy 2.3 also np.False_ could be an index
    if hasattr(kind, "__array__") or kind is memoryview:
        return np.array(np.asarray(setting))  # twice: not every library's __array__ copies when it is asked to
    if issubclass(kind, MutableSequence | MutableMapping | MutableSet):
        return copy.deepcopy(setting)
    return operator.index(setting) if hasattr(kind, "__index__") else setting


FIXED = frozenset((int, type(None), type(...)))  # parts of an index or a shape that nobody can change
_CONSTANT = FIXED | {float, bool, str, np.ndarray}  # settings that stay as they are; arrays are watched


def _unwidened(value: Array, arrays: Sequence[Any]) -> Array:
    """The value in the dtype of its floating-point inputs: beside these, arrays of integers are as weak as numbers."""
    kinds = [x.dtype for x in arrays if type(x) is np.ndarray]
    floats = [dtype for dtype in kinds if dtype.kind == "f"]
    if value.dtype.kind != "f" or not floats or not any(dtype.kind in "iu" for dtype in kinds):
        return value
    return value.astype(np.result_type(*floats), copy=False)


def rule(
    *numpy_functions: Callable[..., Any], linear: bool = False, override: bool = False
) -> Callable[[Callable[..., Any]], Rule]:
    """Make a function that returns (value, pullbacks) an operation, and what these NumPy functions do on Tensors.

    Inputs stand before the slash, and each has one pullback (None where no gradient exists); settings follow it.
    A pullback returns a fresh array, its argument, or a view of it, and does not write into its argument, which others
    are handed, too. A rule is pure: it draws nothing at random and writes to no input, as it is run again to
    differentiate a gradient; so it is written in NumPy functions and operators, which work on arrays and Tensors alike.
    Arrays come in as inputs or settings: of those, writes before backward are noticed; of others that it might close
    over, under `mg.debug()` alone. Broadcasting needs no word: the engine undoes it.
    linear: the pullbacks close over no input; then the function itself may write into arrays of its own making, and an
    input may be written into before backward. override: replace the rule that minigrad itself has for one of these
    functions, for the whole program; ValueError without it.

    >>> import numpy as np, minigrad as mg
    >>> @mg.rule()
    ... def cube(x, /):
    ...     return x**3, (lambda g: g * 3 * x**2,)
    >>> x = mg.tensor(2.0, requires_grad=True)
    >>> cube(x).backward()
    >>> x.grad
    tensor(12.)
    """

    checks.flag("rule", linear=linear, override=override)

    def register(function: Callable[..., Any]) -> Rule:
        if not inspect.isfunction(function):
            raise TypeError(
                f"a rule is made of a function, not {type(function).__name__}: write @mg.rule(), with brackets"
            )

        made = Rule(function, linear=linear)
        _register(numpy_functions, made.apply, function.__module__ or "", "" if override else "rule")
        RULES.append(made)
        return made

    return register


RULES: list[Rule] = []  # every rule, so that the tests can hold each to its numerical derivative


def implements(*numpy_functions: Callable[..., Any], override: bool = False) -> Callable[[F], F]:
    """Make a function, written with other operations, what these NumPy functions do on Tensors; override: as rule."""
    checks.flag("implements", override=override)

    def register(function: F) -> F:
        _register(numpy_functions, function, function.__module__ or "", "" if override else "implements")
        return function

    return register


_homes: dict[Any, str] = {}  # the module in which each handler was written


def _register(functions: Sequence[Any], handler: Callable[..., Any], home: str, refusing: str) -> None:
    """Make this what the functions do on Tensors; ValueError where refusing and minigrad itself has a rule."""
    for function in functions if refusing and not home.startswith("minigrad.") else ():
        if _homes.get(function, "").startswith("minigrad."):
            name = f"{(getattr(function, '__module__', None) or 'np').replace('numpy', 'np')}.{function.__name__}"
            raise ValueError(
                f"{refusing}: {name} has a rule already; @mg.{refusing}({name}, override=True) replaces it for the "
                "whole program"
            )
    HANDLERS.update(dict.fromkeys(functions, handler))
    _homes.update(dict.fromkeys(functions, home))


def unwritten(where: str, pullback: Pullback, g: Any) -> Any:
    """What the pullback gives; ValueError if it writes into g, which others are handed, too."""
    array = detached(g)
    before = np.array(array)
    h = pullback(g)
    if not np.array_equal(array, before, equal_nan=True):
        raise ValueError(
            f"{where}: the pullback writes into the gradient that it is handed, and others are handed the same: write "
            "g = g * y, not g *= y"
        )
    return h


def shared(function: Pullback) -> Pullback:
    """Remember the last call: for work that several pullbacks of one node have in common, as all get the same g."""
    checks.function("shared", function=function)
    last: list[Any] = [None, None]

    def remembering(g: Any) -> Any:
        if last[0] is not g:
            last[:] = g, function(g)
        return last[1]

    return remembering
