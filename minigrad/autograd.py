"""The engine: what is recorded when a rule is applied, and how gradients are pulled back through the record.

A rule returns its value and, for each input, a pullback: the function that turns a gradient of the value into a
gradient of that input. Applying a rule to Tensors makes a Node, which keeps the pullbacks and where the inputs came
from. `backward` visits the nodes from the youngest to the oldest; as a node is always younger than its inputs, every
gradient is complete before it is passed on. The engine knows no operation by name, and broadcasting is undone here
and nowhere else.

To differentiate a gradient, the rules of the graph are run again, on Tensors instead of arrays: the same NumPy code
then records itself. Stored pullbacks close over arrays, so they could not tell how they depend on the inputs.
"""

from __future__ import annotations

import contextvars
import copy
import functools
import inspect
import itertools
import operator
import os
import sys
import threading
import weakref
from collections.abc import (
    Callable,
    Iterable,
    Mapping,
    MutableMapping,
    MutableSequence,
    MutableSet,
    Sequence,
)
from contextlib import ContextDecorator
from operator import attrgetter
from types import FrameType
from typing import Any, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike

from minigrad import checks, guard
from minigrad.guard import OUTSIDE, Snapshot
from minigrad.tensor import HANDLERS, Array, Tensor, beside, detached, needs_float, refuse_foreign, wrapped

F = TypeVar("F", bound=Callable[..., Any])
Pullback = Callable[[Any], Any]
Hook = Callable[[Tensor], Tensor | None]
Hooks = dict[int, Hook]

stamps = itertools.count()


class Node:
    """One application of a rule: what went in, and how a gradient of what came out is pulled back.

    inputs: for each input the vertex that it came from (the node that made it, or the leaf itself), or the array or
    number itself where no gradient is wanted. pullbacks: one for each input; None once the node has been freed.
    stamp: grows with every node, so sorting by it is a topological order.
    memory, snapshots, value: who can write into what came out, what must be as it was in backward, and what a linear
    rule gave where its inputs may change; see guard.py.
    """

    __slots__ = (
        "dtype", "hooks", "inputs", "memory", "pullbacks", "rule", "settings", "shape", "snapshots", "stamp", "value"
    )  # fmt: skip

    hooks: Hooks | None
    memory: Node | None
    pullbacks: Sequence[Pullback | None] | None
    snapshots: list[Snapshot] | None
    value: Array | None

    def __init__(
        self,
        rule: Rule,
        inputs: Sequence[Any],
        settings: dict[str, Any],
        pullbacks: Sequence[Pullback | None],
        value: Array,
    ) -> None:
        self.rule = rule
        self.inputs = inputs
        self.settings = settings
        self.pullbacks = pullbacks
        self.shape = value.shape
        self.dtype = value.dtype
        if self.dtype.kind != "f":
            needs_float(f"the gradient of {rule.name}", self.dtype)
        self.stamp = next(stamps)
        self.hooks = self.memory = self.snapshots = self.value = None

    def expose(self, array: Array) -> None:
        """Somebody gets hold of the array that came out."""
        guard.expose(self, array)


Vertex = Node | Tensor  # what a gradient arrives at: a node, or a leaf that requires one


def vertex(x: Tensor) -> Vertex:
    """Where the gradient of this tensor arrives."""
    return x.node or x


# ---- recording -------------------------------------------------------------------------------------------------------


class Stray(NamedTuple):
    """A parameter that backward gave a gradient, though no optimiser holds it."""

    leaf: weakref.ref[Tensor]
    shape: tuple[int, ...]
    beside: list[weakref.ref[Tensor]]  # held leaves that got one in the same pass


_held: dict[int, weakref.ref[Tensor]] = {}  # by id, the leaves of hold


class _Local(threading.local):
    """What belongs to one thread."""

    def __init__(self) -> None:
        self.recomputing = False  # whether a checkpoint runs its function again: then nothing is to be counted twice
        self.strays: list[Stray] = []  # what take_strays gives


_local = _Local()


class _Recording:
    """What `no_grad` and `enable_grad` share: a `with`, or a decorator."""

    value: bool

    def __init__(self, *undecorated: Any) -> None:
        if undecorated:
            raise TypeError(f"write @mg.{type(self).__name__}(), with brackets")

    def __enter__(self) -> None:
        _modes.set((*_modes.get(), (self, _generator_around(sys._getframe(1)))))

    def __exit__(self, *_: object) -> None:
        modes = _modes.get()
        mine = [i for i, (mode, _) in enumerate(modes) if mode is self]
        if mine:  # a generator may be closed in another thread or task than it was opened in
            _modes.set(modes[: mine[-1]] + modes[mine[-1] + 1 :])

    def __call__(self, function: F) -> F:
        mode = self

        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            with mode:
                return await function(*args, **kwargs)

        def generator(*args: Any, **kwargs: Any) -> Any:
            with mode:
                return (yield from function(*args, **kwargs))

        async def asynchronous(*args: Any, **kwargs: Any) -> Any:
            with mode:
                async for made in function(*args, **kwargs):
                    yield made

        def plain(*args: Any, **kwargs: Any) -> Any:
            with mode:
                return function(*args, **kwargs)

        decorated = next(
            (made for is_one, made in (
                (inspect.iscoroutinefunction, coroutine),
                (inspect.isgeneratorfunction, generator),
                (inspect.isasyncgenfunction, asynchronous),
            ) if is_one(function)),
            plain,
        )  # fmt: skip
        return cast(F, functools.wraps(function)(decorated))


# What each `with` that this thread, or asyncio task, is in says of recording, the innermost last; and the frame of the
# generator that it stands in, if it does: while that waits at a yield, the mode is not that of whoever runs.
_modes: contextvars.ContextVar[tuple[tuple[_Recording, FrameType | None], ...]] = contextvars.ContextVar(
    "modes", default=()
)
_YIELDS = inspect.CO_GENERATOR | inspect.CO_ITERABLE_COROUTINE | inspect.CO_ASYNC_GENERATOR


def _generator_around(frame: FrameType | None) -> FrameType | None:
    """The frame of a `with` if it is a generator's; of one in a context manager made of a generator, its user's."""
    while frame is not None:
        if frame.f_globals.get("__name__") != "contextlib":
            managed = frame.f_back is not None and frame.f_back.f_globals.get("__name__") == "contextlib"
            if not (managed and frame.f_code.co_flags & _YIELDS):
                break
        frame = frame.f_back
    return frame if frame is not None and frame.f_code.co_flags & _YIELDS else None


class no_grad(_Recording):  # noqa: N801  a keyword rather than a class, as everywhere
    """Record nothing inside of this `with`, or inside of the function it decorates, in this thread or asyncio task.

    In a generator, or as its decorator, it holds while that runs, and not for whoever runs while it waits at a yield.

    >>> import minigrad as mg
    >>> x = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> with mg.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    value = False


class enable_grad(_Recording):  # noqa: N801
    """Record inside of this `with` (or decorated function), even within `no_grad`; otherwise as that."""

    value = True


class _OwnRecording(_Recording):
    """The engine's own, of which no `with` stands in a generator: that spares 2 µs in each backward pass."""

    def __init__(self, value: bool) -> None:
        self.value = value

    def __enter__(self) -> None:
        _modes.set((*_modes.get(), (self, None)))


_OWN = {value: _OwnRecording(value) for value in (True, False)}


class recomputing(ContextDecorator):  # noqa: N801
    """Inside of this `with` a function is run again only for its gradient: running statistics stay as they are."""

    def __enter__(self) -> None:
        self.before, _local.recomputing = _local.recomputing, True

    def __exit__(self, *_: object) -> None:
        _local.recomputing = self.before


def hold(leaf: Tensor) -> None:
    """From now on an optimiser holds this leaf."""
    key, forget = id(leaf), _held.pop
    _held[key] = weakref.ref(leaf, lambda _: forget(key, None))


def take_strays(leaves: Iterable[Tensor]) -> list[Stray]:
    """The strays of backward passes in this thread that reached one of these leaves, and that are not held since.

    Of those that are gone by now, the last pass's alone.
    """
    if not _local.strays:
        return []
    ids = set(map(id, leaves))
    found: list[Stray] = []
    others: list[Stray] = []
    for stray in _local.strays:
        concerned = any(id(leaf) in ids for reference in stray.beside if (leaf := reference()) is not None)
        (found if concerned else others).append(stray)
    _local.strays = others
    return [stray for stray in found if (leaf := stray.leaf()) is None or id(leaf) not in _held]


def _note_strays(arrived: dict[Tensor, Tensor]) -> None:
    strays = [leaf for leaf in arrived if id(leaf) not in _held and leaf.is_parameter]
    if strays or _local.strays:
        before = [(stray, stray.leaf()) for stray in _local.strays]
        _local.strays = [stray for stray, leaf in before if leaf is not None and leaf not in arrived]
        beside = [weakref.ref(leaf) for leaf in arrived if id(leaf) in _held]
        if beside:
            _local.strays += [Stray(weakref.ref(leaf), leaf.shape, beside) for leaf in strays]


def is_recomputing() -> bool:
    """Whether this thread runs a function again only for its gradient."""
    return _local.recomputing


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread or asyncio task."""
    for mode, generator in reversed(_modes.get()):
        if generator is None or generator.f_back is not None:  # which one has that runs
            return mode.value
    return True


class Rule:
    """A NumPy function with its derivative; called with Tensors, it records a Node.

    replay: the same function in NumPy calls that work on Tensors, too; a fast kernel takes it from its definition.
    linear: the pullbacks close over no input, and are their own replay. may_view: the value may be a view of an input.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        replay: Callable[..., Any] | None = None,
        linear: bool = False,
        may_view: bool = True,
    ) -> None:
        self.function = function
        self.replay = replay or function
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
        """What a call does, as a plain function: that spares 0.3 of the 2.5 µs that a small addition takes."""
        return _recorder(self)

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


def _is_fixed(setting: Any) -> bool:
    """Whether this is an index or a shape of which nobody can change a part."""
    kind = type(setting)
    if kind is tuple:
        return FIXED.issuperset(map(type, setting)) or all(map(_is_fixed, setting))
    if kind is slice:
        return type(setting.start) in FIXED and type(setting.stop) in FIXED and type(setting.step) in FIXED
    return kind in FIXED


def _frozen(setting: Any) -> Any:
    """A setting as it is now: whoever holds it may change it before backward, which reads it again."""
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


def _recorder(rule: Rule) -> Callable[..., Any]:
    """The function that applies a rule to arrays and Tensors, and records it where a gradient is wanted."""
    arity, linear, may_view = rule.arity, rule.linear, rule.may_view

    def apply(*inputs: Any, **settings: Any) -> Any:
        if settings or len(inputs) != arity:
            inputs, settings = rule.bind(inputs, settings)
        for x in inputs:
            if isinstance(x, Tensor):
                break
        else:  # arrays alone
            return _made(rule, rule.function(*(_alone(x, inputs) for x in inputs), **settings))[0]
        arrays: list[Any] = []
        vertices: list[Any] = []
        outside: list[Array] = []  # those that somebody outside can write into before backward
        wanted = integers = False
        for x in inputs:
            if isinstance(x, Tensor):
                array = x._array
                node = x.node
                if node is not None:
                    wanted = True
                    vertices.append(node)
                    if node.memory is OUTSIDE:
                        outside.append(array)
                else:
                    if x._requires_grad:
                        wanted = True
                        vertices.append(x)
                    else:
                        vertices.append(array)
                        if array.dtype is not _FLOAT32 and array.dtype.kind in "iu":
                            integers = True
                    outside.append(array)
            else:
                array = x if type(x) in _PLAIN else _operand(x, inputs)
                vertices.append(array)
                if type(array) is np.ndarray:
                    if array.dtype is not _FLOAT32 and array.dtype.kind in "iu":
                        integers = True
                    if guard.is_open(array):
                        outside.append(array)
            arrays.append(array)
        value, pullbacks = _made(rule, rule.function(*arrays, **settings))
        if type(value) is not np.ndarray:
            if not isinstance(value, (np.generic, int, float)):  # NumPy makes scalars of 0-d arrays
                raise TypeError(f"rule {rule.name} must return one array and its pullbacks, not {type(value).__name__}")
            value = np.asarray(value)
        elif may_view and (
            value is arrays[0] or value is arrays[-1] or (len(arrays) > 2 and id(value) in map(id, arrays))
        ):
            value = value.view()  # so that it is seen to be one
        if integers and value.dtype.kind == "f":
            value = _unwidened(value, arrays)
        result = wrapped(value)
        if wanted and (not _modes.get() or is_grad_enabled()):
            if len(pullbacks) != len(vertices):
                raise TypeError(f"rule {rule.name} has {len(vertices)} inputs and returned {len(pullbacks)} pullbacks")
            result.node = node = Node(rule, vertices, settings, pullbacks, value)
            result._requires_grad = True
            if outside and linear:
                node.value = value
                outside = []
            if outside or settings or value.base is not None:
                guard.watch(node, outside, inputs, value)
        elif wanted and value.base is not None:
            guard.expose_views(inputs, value)
        return result

    return apply


_FLOAT32 = np.dtype(np.float32)  # what most operands are: asking for that first spares 0.1 µs
_PLAIN = frozenset((np.ndarray, float, int, bool, type(None)))


def _operand(x: Any, inputs: Sequence[Any]) -> Any:
    """An operand beside a Tensor: NumPy's scalars count as Python numbers, and lists are as weak as these."""
    if isinstance(x, np.generic):
        return x.item()
    refuse_foreign(x)
    return beside(x, inputs)


def _unwidened(value: Array, arrays: Sequence[Any]) -> Array:
    """The value in the dtype of its floating-point inputs: beside these, arrays of integers are as weak as numbers."""
    floats = [x.dtype for x in arrays if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
    return value.astype(np.result_type(*floats), copy=False) if floats else value


def _alone(x: Any, inputs: Sequence[Any]) -> Any:
    """An operand among arrays alone: NumPy's scalars stay what they are."""
    return x if type(x) in _PLAIN or isinstance(x, np.generic) else beside(x, inputs)


def _made(rule: Rule, made: Any) -> tuple[Any, Sequence[Pullback | None]]:
    """What the function of a rule returned, if it is what it must be."""
    if type(made) is not tuple or len(made) != 2 or callable(made[1]):
        raise TypeError(
            f"rule {rule.name} must return its value and a tuple of pullbacks, as in `return y, (lambda g: 2 * g,)`, "
            f"not {checks.shown(made)}"
        )
    return made


def rule(*numpy_functions: Callable[..., Any], linear: bool = False) -> Callable[[Callable[..., Any]], Rule]:
    """Make a function that returns (value, pullbacks) an operation, and what these NumPy functions do on Tensors.

    Inputs stand before the slash, and each has one pullback (None where no gradient exists); settings follow it.
    A pullback returns a fresh array, its argument, or a view of it. A rule is pure: it draws nothing at random and
    writes to no input, as it is run again to differentiate a gradient; so it is written in NumPy functions and
    operators, which work on arrays and Tensors alike. Arrays come in as inputs or settings: of those, writes before
    backward are noticed; of others that it might close over, under `mg.debug()` alone. Broadcasting needs no word:
    the engine undoes it.
    linear: the pullbacks close over no input; then the function itself may write into arrays of its own making, and
    nobody minds when an input is written into before backward.

    >>> import numpy as np, minigrad as mg
    >>> @mg.rule()
    ... def cube(x, /):
    ...     return x**3, (lambda g: g * 3 * x**2,)
    >>> x = mg.tensor(2.0, requires_grad=True)
    >>> cube(x).backward()
    >>> x.grad
    tensor(12.)
    """

    checks.flag("rule", linear=linear)

    def register(function: Callable[..., Any]) -> Rule:
        if not inspect.isfunction(function):
            raise TypeError(
                f"a rule is made of a function, not {type(function).__name__}: write @mg.rule(), with brackets"
            )

        made = Rule(function, linear=linear)
        HANDLERS.update(dict.fromkeys(numpy_functions, made.apply))
        RULES.append(made)
        return made

    return register


RULES: list[Rule] = []  # every rule, so that the tests can hold each to its numerical derivative


def implements(*numpy_functions: Callable[..., Any]) -> Callable[[F], F]:
    """Make a function, written with other operations, what these NumPy functions do on Tensors."""

    def register(function: F) -> F:
        HANDLERS.update(dict.fromkeys(numpy_functions, function))
        return function

    return register


def shared(function: Pullback) -> Pullback:
    """Remember the last call: for work that several pullbacks of one node have in common, as all get the same g."""
    checks.function("shared", function=function)
    last: list[Any] = [None, None]

    def remembering(g: Any) -> Any:
        if last[0] is not g:
            last[:] = g, function(g)
        return last[1]

    return remembering


# ---- pulling back ----------------------------------------------------------------------------------------------------


def history(vertices: Iterable[Vertex], since: int = -1) -> list[Node]:
    """The nodes made after the stamp `since` that lead to these vertices, oldest first, each once."""
    seen = {v for v in vertices if type(v) is Node and v.stamp > since}
    stack = list(seen)
    while stack:
        for v in stack.pop().inputs:
            if type(v) is Node and v not in seen and v.stamp > since:
                seen.add(v)
                stack.append(v)
    return sorted(seen, key=attrgetter("stamp"))


def unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """Sum g over the axes along which NumPy stretched an array of this shape."""
    lead = len(g.shape) - len(shape)
    axes = tuple(range(lead)) + tuple(lead + i for i, n in enumerate(shape) if n == 1 and g.shape[lead + i] != 1)
    # in float64: NumPy adds rows one by one, which in float32 loses 1 % over 10⁶ of them
    return np.reshape(np.sum(g, axis=axes, dtype=np.promote_types(g.dtype, np.float64)), shape).astype(g.dtype)


def propagate(
    nodes: list[Node],
    cotangents: dict[Vertex, Any],
    targets: Mapping[Vertex, Tensor | None] | None,
    needed: set[Vertex] | None,
    retain_graph: bool,
    create_graph: bool,
) -> dict[Vertex, Any]:
    """Pull cotangents back through these nodes; returns what arrives at the targets, or (None) at every leaf.

    targets: vertices, each with its Tensor where there is one; needed: `leading_to` them. The nodes are taken from the
    list, youngest first. create_graph: what arrives is part of a graph that goes on into these nodes.
    """
    pullbacks = _replay(nodes, needed, targets or {}) if create_graph else None
    arrived: dict[Vertex, Any] = {}
    while nodes:
        node = nodes.pop()  # from the list, too, so that what is freed below is gone at once
        g = cotangents.pop(node, None)
        if g is not None and (needed is None or node in needed):
            if g.dtype is not node.dtype:
                g = g.astype(node.dtype)
            if node.hooks:
                g = call_hooks(node, g)
                guard.verify([*nodes, node], create_graph, None if create_graph else needed)
            if targets is not None and node in targets:
                arrived[node] = g
            made: Any = node.pullbacks if pullbacks is None else pullbacks[node]
            for v, pullback in zip(node.inputs, made):  # noqa: B905  counted when it was recorded
                if type(v) is Node:
                    shape, dtype = v.shape, v.dtype
                elif isinstance(v, Tensor):
                    shape, dtype = v._array.shape, v._array.dtype
                else:
                    continue
                if pullback is None or (needed is not None and v not in needed):
                    continue
                h = pullback(g)
                if type(h) is not np.ndarray or h.dtype is not dtype:
                    h = _gradient(h, node)
                if h.shape != shape:
                    h = fit(h, shape, node)
                if h.dtype is not dtype:  # at last: sums of float16 would overflow
                    h = h.astype(dtype)
                others = cotangents.get(v)
                cotangents[v] = h if others is None else added(others, h)
        if not retain_graph:
            node.pullbacks = node.snapshots = node.memory = node.value = None
            node.inputs = ()
            node.settings = {}
    for v, g in cotangents.items():
        if g.dtype != v.dtype:
            cotangents[v] = g.astype(v.dtype)
    return arrived | cotangents


def added(g: Any, h: Any) -> Any:
    """g + h of one dtype; of float16 in float32, to be rounded when all have arrived: in float16 2048 + 1 is 2048."""
    return (g.astype(np.float32) if h.dtype == np.float16 else g) + h


def leading_to(targets: Iterable[Vertex], nodes: list[Node]) -> set[Vertex]:
    """The targets, and those of the nodes (oldest first) whose gradient is wanted on the way to them."""
    needed = set(targets)
    for node in nodes:
        if not needed.isdisjoint(v for v in node.inputs if isinstance(v, (Node, Tensor))):
            needed.add(node)
    return needed


def _replay(nodes: list[Node], needed: set[Vertex] | None, targets: Mapping[Vertex, Tensor | None]) -> dict[Node, Any]:
    """Pullbacks that record: the rules are run again on Tensors, which hang on the graph where the first ones did."""
    tensors = {v: t for v, t in targets.items() if type(v) is Node and t is not None}
    wanted = set(nodes if needed is None else needed)
    for node in reversed(nodes):
        if node in wanted:
            wanted.update(v for v in node.inputs if type(v) is Node and v not in tensors)
    pullbacks = {}
    for node in nodes:
        if node in wanted:
            inputs = [tensors[v] if type(v) is Node else v for v in node.inputs]
            if node.rule.linear:
                pullbacks[node] = node.pullbacks
                value = node.value
                if value is None:
                    value = node.rule.function(*map(detached, inputs), **node.settings)[0]
            else:
                value, pullbacks[node] = node.rule.replay(*inputs, **node.settings)
            tensors.setdefault(node, hung_on(np.asarray(detached(value)), node))
    return pullbacks


def hung_on(value: Array, node: Node) -> Tensor:
    """The tensor of this value that this node made."""
    tensor = wrapped(value)
    tensor.node, tensor._requires_grad = node, True
    return tensor


def _gradient(g: Any, node: Node) -> Any:
    """What a pullback gave, as an array or a Tensor of real numbers."""
    if isinstance(g, np.generic):  # NumPy makes scalars of 0-d arrays
        g = np.asarray(g)
    if not isinstance(g, np.ndarray | Tensor) or g.dtype.kind == "c":
        raise TypeError(f"rule {node.rule.name}: a pullback must give an array of real numbers, not {checks.shown(g)}")
    return g


def fit(g: Any, shape: tuple[int, ...], node: Node) -> Any:
    try:
        return unbroadcast(g, shape)
    except (ValueError, IndexError):
        raise ValueError(
            f"rule {node.rule.name}: a pullback gave a gradient of shape {g.shape} "
            f"for an input of shape {shape}, which it cannot be summed to"
        ) from None


def call_hooks(at: Vertex, g: Any) -> Any:
    """The gradient g after this vertex's hooks; an array again where it was one."""
    for hook in list((at.hooks or {}).values()):
        found = hook(g if isinstance(g, Tensor) else Tensor(np.array(g)))  # a copy: others may share g
        if found is not None:
            if not isinstance(found, Tensor) or found.shape != at.shape:
                raise ValueError(f"a hook must return None or a Tensor of shape {at.shape}, not {found!r}")
            g = found.astype(at.dtype) if isinstance(g, Tensor) else found.data.astype(at.dtype)
    return g


def seed_of(output: Tensor, gradient: ArrayLike | Tensor | None, create_graph: bool) -> Any:
    """The cotangent to start from: as given, or 1 for a scalar."""
    if not isinstance(output, Tensor):
        raise TypeError(f"only a Tensor has a gradient, not {type(output).__name__}")
    if not output.requires_grad:
        raise ValueError(
            "this tensor depends on nothing that requires a gradient: make its leaves with requires_grad=True"
        )
    if gradient is None:
        if output.size != 1:
            raise ValueError(
                f"backward starts from a scalar, this tensor has shape {output.shape}: "
                "reduce it (np.sum, np.mean), or give a gradient of that shape"
            )
        gradient = np.ones(output.shape, output.dtype)
    if not isinstance(gradient, Tensor):
        try:
            gradient = Tensor(np.asarray(gradient))
        except ValueError as error:
            raise ValueError(
                f"the gradient has shape {output.shape} to be, and rows of equal length: {error}"
            ) from None
    if gradient.shape != output.shape:
        raise ValueError(f"the gradient has shape {gradient.shape}, the tensor {output.shape}: they must be equal")
    needs_float("gradient", gradient.dtype)
    return gradient.astype(output.dtype) if create_graph else gradient.data.astype(output.dtype)


def _pull(
    outputs: Sequence[Tensor],
    gradients: Sequence[Any],
    targets: dict[Vertex, Tensor | None] | None,
    retain_graph: bool,
    create_graph: bool,
) -> dict[Vertex, Any]:
    """Gradients of the outputs by vertex, as Tensors, none of which shares memory with another."""
    with _OWN[create_graph]:
        cotangents: dict[Vertex, Any] = {}
        for output, gradient in zip(outputs, gradients, strict=True):
            g = seed_of(output, gradient, create_graph)
            v = vertex(output)
            cotangents[v] = cotangents[v] + g if v in cotangents else g
        nodes = history(cotangents)
        needed = None if targets is None else leading_to(targets, nodes)
        guard.verify(nodes, create_graph, None if create_graph else needed)
        arrived = propagate(nodes, cotangents, targets, needed, retain_graph or create_graph, create_graph)
        taken: set[int] = set()
        for v, g in arrived.items():
            if v.hooks and isinstance(v, Tensor):
                g = call_hooks(v, g)
            if not isinstance(g, Tensor):
                g = wrapped(np.asarray(g))
            if g._array.base is not None or id(g._array) in taken:  # it may be written into, so it must be its own
                g = g.copy() if create_graph else wrapped(g._array.copy())
            taken.add(id(g._array))
            arrived[v] = g
        return arrived


_adding = threading.Lock()  # two threads may add to the gradient of one leaf


def _renew_lock() -> None:
    """In a child that was forked while another thread held the lock nobody would ever let it go."""
    global _adding
    _adding = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


@implements(Tensor.backward)
def backward(output: Tensor, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
    """`output.backward(...)`."""
    arrived = cast(dict[Tensor, Tensor], _pull([output], [gradient], None, retain_graph, create_graph))
    with _adding:
        for leaf, g in arrived.items():
            before = leaf._grad
            if before is not None:
                if before.shape != g.shape:
                    raise ValueError(
                        f"a leaf of shape {leaf.shape} has a .grad of shape {before.shape}: set it to None"
                    )
                if create_graph:
                    with _OWN[True]:
                        arrived[leaf] = before + g
                else:
                    arrived[leaf] = wrapped(np.asarray(before._array + g._array))
        for leaf, g in arrived.items():  # not before all sums are made: every leaf gets its gradient, or none does
            leaf._grad = g
    _note_strays(arrived)


def grad(
    outputs: Tensor | Sequence[Tensor],
    inputs: Tensor | Sequence[Tensor],
    grad_outputs: Any = None,
    retain_graph: bool = False,
    create_graph: bool = False,
    allow_unused: bool = False,
) -> tuple[Any, ...]:
    """The gradients of outputs (summed, weighted with grad_outputs) with respect to inputs; `.grad` stays as it is.

    Only what lies between the outputs and the inputs is computed. Raises ValueError for an input that no output
    depends on, or with allow_unused=True gives None for it. create_graph=True makes the gradients differentiable.

    >>> import minigrad as mg
    >>> x = mg.tensor(3.0, requires_grad=True)
    >>> (dy,) = mg.autograd.grad(x**3, x, create_graph=True)
    >>> mg.autograd.grad(dy, x)
    (tensor(18.),)
    """
    checks.flag("grad", retain_graph=retain_graph, create_graph=create_graph, allow_unused=allow_unused)
    for what, tensors in {"outputs": outputs, "inputs": inputs}.items():
        if not isinstance(tensors, Tensor) and not isinstance(tensors, Iterable):
            raise TypeError(f"grad: {what} must be a Tensor or a list of them, not {checks.shown(tensors)}")
    outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
    inputs = [inputs] if isinstance(inputs, Tensor) else list(inputs)
    if grad_outputs is None:
        grad_outputs = [None] * len(outputs)
    elif not isinstance(grad_outputs, list | tuple):
        grad_outputs = [grad_outputs]
    if len(grad_outputs) != len(outputs):
        raise ValueError(f"{len(outputs)} outputs need as many grad_outputs, not {len(grad_outputs)}")
    for i, x in enumerate(inputs):
        if not isinstance(x, Tensor) or not x.requires_grad:
            raise ValueError(f"input {i} is no Tensor that requires a gradient")
    arrived = _pull(outputs, grad_outputs, {vertex(x): x for x in inputs}, retain_graph, create_graph)
    found = tuple(arrived.get(vertex(x)) for x in inputs)
    for i, g in enumerate(found):
        if g is None and not allow_unused:
            raise ValueError(f"no output depends on input {i}: with allow_unused=True its gradient is None")
    return found


@implements(Tensor.register_hook)
def register_hook(x: Tensor, hook: Hook) -> Callable[[], None]:
    """`x.register_hook(hook)`."""
    checks.function("register_hook", hook=hook)
    if not x.requires_grad:
        raise ValueError("a hook is called with a gradient, and this tensor requires none")
    at = vertex(x)
    if at.hooks is None:
        at.hooks = {}
    hooks, key = at.hooks, next(stamps)
    hooks[key] = hook

    def remove() -> None:
        hooks.pop(key, None)

    return remove
