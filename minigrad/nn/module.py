"""Module: what layers have in common. Parameters are found by walking attributes, and nothing is passed over."""

from __future__ import annotations

import gc
import reprlib
import sys
import weakref
from collections import UserDict, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from types import (
    CellType,
    FunctionType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    NoneType,
)
from typing import Any, NamedTuple, Self

import numpy as np

from minigrad import checks, trace
from minigrad.tensor import Array, Tensor, detached


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
    """A layer: parameters as attributes, and `forward`; called like a function. No super().__init__() is needed.

    Attributes are walked, whatever their names, and the lists, tuples, deques, dicts and dataclasses in them, to any
    depth. Each Parameter there is trained and saved, as is any other leaf tensor that requires a gradient (it becomes a
    Parameter); each Module is walked in its turn. What could hide one is refused at the first call, and when the module
    is asked for its parts: a set, a class attribute, an object of another kind, a function whose closure, defaults or
    object holds a layer that is nowhere else in the model. Arrays, and tensors without a gradient, are constants or
    only kept to be looked at: they are saved if register_buffer declares them (and not trained), and else not.

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
    _buffer_names: tuple[str, ...] = ()
    _was_looked_at = _was_called = False

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(f"{type(self).__name__} has no forward method: define forward(self, x)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            if not self._was_called:
                _before_the_first_call(self)
            if trace.this_thread.tracer is not None:
                return trace.call(self, *args, **kwargs)
            return self.forward(*args, **kwargs)
        except RecursionError as error:
            raise ValueError(
                f"{type(self).__name__}: calls nested deeper than Python's limit of {sys.getrecursionlimit()}: lay the "
                "layers one after the other, in a list, or raise sys.setrecursionlimit; or something calls itself"
            ) from error
        except Exception as error:
            with suppress(Exception):  # a layer that cannot be shown, say, must not hide it
                _add_path(error, self)
            raise

    # ---- what it is made of ----

    def register_buffer(self, name: str, value: Any) -> None:
        """Set this attribute to an array that is saved but not trained; also a list or a dict of arrays, or None.

        It stays a buffer whatever array the attribute is given later. TypeError for what is no array.

        >>> import numpy as np, minigrad as mg
        >>> class Counted(mg.nn.Module):
        ...     def __init__(self):
        ...         self.register_buffer("calls", np.zeros((), np.int64))
        ...     def forward(self, x):
        ...         self.calls += 1
        ...         return x
        >>> Counted().state_dict()
        {'calls': array(0)}
        """
        if not isinstance(name, str) or not name.isidentifier() or hasattr(Module, name):
            raise ValueError(f"register_buffer: name must be one that an attribute may have, not {checks.shown(name)}")
        if isinstance(getattr(self, name, None), Parameter | Module):
            raise ValueError(f"register_buffer: {name} is a {type(getattr(self, name)).__name__} already")
        value = np.asarray(value) if isinstance(value, np.generic) else value
        here, rest = _flat([(name, value, True)])
        _refuse_as_buffers(type(self).__name__, [*rest, *((n, v, True) for n, v in here if _is_trained(v))])
        setattr(self, name, value)
        if name not in self._buffer_names:
            self._buffer_names = (*self._buffer_names, name)

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """This module under the name "", and all below it with their paths, each once."""
        return iter(_found_in(self).modules)

    def modules(self) -> Iterator[Module]:
        return (module for _, module in self.named_modules())

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """The parameters with their paths, each once, also where it is shared."""
        return iter([(name, v) for name, v in _found_in(self).arrays if isinstance(v, Tensor) and v.is_parameter])

    def parameters(self) -> Iterator[Tensor]:
        return iter([parameter for _, parameter in self.named_parameters()])

    def named_buffers(self) -> Iterator[tuple[str, Tensor | Array]]:
        return iter([(name, v) for name, v in _found_in(self).arrays if not getattr(v, "is_parameter", False)])

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
        return {name: detached(v).copy() for name, v in _found_in(self).arrays}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Write these values into the parameters and buffers; all of them, or none if anything does not fit.

        strict=False passes over names that only one side has. ValueError names everything that does not fit.
        """
        checks.flag("load_state_dict", strict=strict)
        if not isinstance(state, Mapping):
            raise TypeError(f"load_state_dict: state must be a dict of state_dict(), not {checks.shown(state)}")
        found = _found_in(self)
        own = {name: detached(v) for name, v in found.arrays}
        missing = [name for name in own if name not in state]
        unexpected = [name for name in state if name not in own]
        problems = [f"missing: {', '.join(missing)}"] * bool(strict and missing)
        if strict and unexpected:
            problems.append(f"unexpected: {', '.join(map(str, unexpected))}")
            modules = dict(found.modules)
            for name in map(str, unexpected):
                path, _, last = name.rpartition(".")
                if path in modules and isinstance(vars(modules[path]).get(last), Tensor | np.ndarray):
                    problems.append(f"{name}: an array is saved only if declared: self.register_buffer({last!r}, ...)")
        values = {}  # copies: what is given may be this module's own arrays
        for name in [name for name in own if name in state]:
            try:
                values[name] = _fitting(detached(state[name]), own[name])
            except (TypeError, ValueError) as error:
                problems.append(f"{name}: {error}")
        if problems:
            raise ValueError(f"this state does not fit {type(self).__name__}:\n  " + "\n  ".join(problems))
        for name, value in values.items():
            own[name][...] = value
        return IncompatibleKeys(missing, unexpected)

    @reprlib.recursive_repr("...")
    def __repr__(self) -> str:
        return _text(self, set(), 0)


def _fitting(given: Any, own: Array) -> Array:
    """A copy of what is given, of the dtype of what it is to be written into; ValueError where it does not fit."""
    array: Array = np.asarray(given)
    if array.shape != own.shape or not np.can_cast(array.dtype, own.dtype, "same_kind"):
        raise ValueError(f"expected {own.shape} {own.dtype.name}, got {array.shape} {array.dtype.name}")
    if not own.flags.writeable:
        raise ValueError("read-only here, so nothing can be written into it: give the model a copy of the array")
    return array.astype(own.dtype)


# ---- the walk ----

# What holds nothing, or does not own what it leads to.
_PLAIN = {int, float, complex, bool, str, bytes, NoneType, *np.sctypeDict.values(), np.random.Generator, type,
          weakref.ref, weakref.ProxyType, weakref.CallableProxyType}  # fmt: skip
_WALKED = {list, tuple, deque, dict}
_NAMED = (dict, UserDict, MappingProxyType)  # of other mappings each look might be dear, as of a file's arrays


class _Found(NamedTuple):
    """What there is in a tree of modules, by paths; rest: what may hide something, and whether it is to be a buffer."""

    modules: list[tuple[str, Module]]
    arrays: list[tuple[str, Tensor | Array]]
    rest: list[tuple[str, Any, bool]]


def _is_trained(x: Any) -> bool:
    """Whether this is a module or a parameter."""
    return isinstance(x, Module) or (isinstance(x, Tensor) and x.is_parameter)


def _attributes(x: Any) -> dict[str, Any]:
    """What an object's attributes hold, also those in slots."""
    found = dict(getattr(x, "__dict__", {}))
    for kind in type(x).__mro__:
        if "__slots__" in vars(kind):
            slots = [name for name, slot in vars(kind).items() if isinstance(slot, MemberDescriptorType)]
            found |= {name: getattr(x, name) for name in slots if hasattr(x, name)}
    return found


def _entries(x: Any) -> Iterable[tuple[Any, Any]] | None:
    """What is walked in x, with names; None where nothing is."""
    if isinstance(x, list | tuple | deque):
        return list(enumerate(x))  # a copy: another thread may run a forward that grows it
    if isinstance(x, _NAMED):
        return list(x.items())
    return _attributes(x).items() if hasattr(type(x), "__dataclass_fields__") else None


def _flat(entries: list[tuple[str, Any, bool]]) -> tuple[list[tuple[str, Any]], list[tuple[str, Any, bool]]]:
    """The modules, parameters and buffers that these hold, and the rest that may hide some.

    entries, rest: name, value, and whether what is there is declared to be a buffer.
    """
    here, rest = [], []
    entered: dict[tuple[int, bool], Any] = {}  # a list may hold itself
    stack = entries[::-1]
    while stack:
        name, x, declared = stack.pop()
        kind = type(x)
        if kind in _PLAIN:
            rest += [(name, x, True)] * (declared and x is not None)
        elif issubclass(kind, Module):
            here.append((name, x))
        elif issubclass(kind, Tensor):
            if _is_trained(x) or (declared and x.node is None):
                here.append((name, x))
            elif declared or (x.requires_grad and x.node is None):
                rest.append((name, x, declared))
        elif issubclass(kind, np.ndarray):
            if x.dtype.hasobject:
                rest.append((name, x, declared))
            elif declared:
                here.append((name, x))
        elif (id(x), declared) not in entered:
            entered[id(x), declared] = x
            inside = _entries(x)
            if inside is None or kind not in _WALKED:  # a class of the user's own may hold more than its entries
                rest.append((name, x, declared and inside is None))
            if isinstance(x, _NAMED):
                rest += [(f"a key of {name}", key, False) for key in x if type(key) not in _PLAIN]
            stack += [(f"{name}.{k}", v, declared) for k, v in inside or () if declared or type(v) not in _PLAIN][::-1]
    return here, rest


def _own(module: Module) -> tuple[list[tuple[str, Any]], list[tuple[str, Any, bool]]]:
    """The same of a module's attributes, not of the modules below it."""
    buffers = module._buffer_names
    for name in buffers:
        if isinstance(getattr(module, name, None), np.generic):  # what NumPy makes of 0-d arrays
            setattr(module, name, np.asarray(getattr(module, name)))
    entries = list(_attributes(module).items())
    if isinstance(module, (list, tuple, deque, *_NAMED)):
        entries += [(str(name), x) for name, x in _entries(module) or ()]
    return _flat([(name, x, name in buffers) for name, x in entries if type(x) not in _PLAIN or name in buffers])


def _walk(root: Module) -> _Found:
    """All that there is in this module and below it, each once; whatever may hide something is only collected."""
    found = _Found([], [], [])
    seen: set[int] = set()
    stack = [("", root)]
    while stack:
        path, module = stack.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        found.modules.append((path, module))
        here, rest = _own(module)
        before = f"{path}." if path else ""
        found.rest.extend((before + name, x, declared) for name, x, declared in rest)
        stack += [(before + name, x) for name, x in reversed(here) if isinstance(x, Module)]
        for name, x in here:
            if not isinstance(x, Module) and id(x) not in seen:
                seen.add(id(x))
                found.arrays.append((before + name, x))
    return found


# ---- what is refused ----


def _found_in(root: Module) -> _Found:
    """What _walk finds; an error where two things have one path, or where something would be passed over.

    What is not walked may hold what is found in another way, or the model that root is a part of, which finds it all.
    """
    found = _walk(root)
    plain = [x for _, x, declared in found.rest if type(x) is Tensor and not declared]
    if plain and not root._was_looked_at:
        for tensor in plain:
            tensor.__class__ = Parameter  # of those that come later, forward keeps them to look at
        found = _walk(root)
    model = type(root).__name__
    paths: dict[str, Any] = {}
    for path, x in [*found.modules, *found.arrays]:
        if path in paths:
            raise ValueError(f"{model}: both {_named(paths[path])} and {_named(x)} are called {path!r}: rename one")
        if " at 0x" in path:
            raise ValueError(f"{model}: {path!r} is called otherwise in each run: use texts or numbers as keys")
        paths[path] = x
    _refuse_as_buffers(model, found.rest)
    if not root._was_looked_at:
        _refuse_hidden(root, found, {id(x) for x in paths.values()})
        for _, module in found.modules:
            vars(module)["_was_looked_at"] = True
    return found


def _refuse_hidden(root: Module, found: _Found, reached: set[int]) -> None:
    """Refuse what was not walked and holds something that is trained, saved or switched, and was not reached."""
    model = type(root).__name__
    kinds = dict.fromkeys(kind for _, module in found.modules for kind in type(module).__mro__)
    places: list[tuple[str, Any, type | None]] = [(path, x, None) for path, x, _ in found.rest]
    places += [
        (f"{kind.__name__}.{name}", x, kind)
        for kind in kinds
        if kind not in (Module, object)
        for name, x in vars(kind).items()
        if type(x) not in _PLAIN
    ]
    for path, place, of_class in places:
        reached_here = list(_in_reach(place))
        if not isinstance(place, FunctionType | MethodType | partial) and any(x is root for x in reached_here):
            continue  # a trainer, say, which has its own reasons to know of other models
        for x in reached_here:
            if x is place and of_class:
                pass  # found in this module, too, as an attribute that it has not set
            elif id(x) in reached or (of_class and isinstance(x, of_class)):  # a class may list its instances
                continue
            if not _matters(x) or (isinstance(x, Module) and any(module is root for _, module in _walk(x).modules)):
                continue
            what, kind = _named(x), type(place).__name__
            if of_class and not hasattr(place, "__get__"):
                why = f"a class attribute and holds {what}, which all instances would share: set it in __init__"
            elif isinstance(place, set | frozenset):
                why = f"a set and holds {what}, to which a set can give no name: make it a list"
            else:
                why = (
                    f"of type {kind} and holds {what} that is nowhere else in this {model}, so it would be neither "
                    "trained nor saved: set it as an attribute (lists, dicts and dataclasses there are walked, too), "
                    "or if it belongs to a larger model, ask that one first; a weakref.ref is passed over"
                )
            raise TypeError(f"{model}: {path} is {why}")


def _matters(x: Module | Tensor) -> bool:
    """Whether this can be trained, saved or switched; a ReLU, say, may be hidden as well as any function."""
    if isinstance(x, Tensor):
        return True
    found = _walk(x)
    own = [f for _, module in found.modules for kind in type(module).__mro__[:-2] for f in vars(kind).values()]
    return bool(found.arrays) or any("training" in f.__code__.co_names for f in own if isinstance(f, FunctionType))


def _named(x: Any) -> str:
    """What a module or an array is, for a message."""
    return f"a {type(x).__name__}" + ("" if isinstance(x, Module) else f" of shape {x.shape}")


def _refuse_as_buffers(model: str, rest: list[tuple[str, Any, bool]]) -> None:
    for path, x, declared in rest:
        if declared:
            cure = "which is found without being declared" if _is_trained(x) else "no array of numbers"
            if isinstance(x, Tensor) and x.node is not None:
                cure = "in a graph, which a state cannot hold: use y.data, or y.detach()"
            raise TypeError(f"{model}: the buffer {path} is {checks.shown(x)}, {cure}")


def _before_the_first_call(root: Module) -> None:
    """Look at all of it, once; TypeError where parameters are of different dtypes."""
    found = _found_in(root)
    dtypes = {x.dtype.name: path for path, x in reversed(found.arrays) if isinstance(x, Tensor) and x.requires_grad}
    if len(dtypes) > 1:
        (one, first), (other, second), *_ = dtypes.items()
        raise TypeError(
            f"{type(root).__name__}: parameters of different dtypes, {first} is {one} and {second} {other}: make them "
            "alike, as in np.random.randn(3).astype(np.float32), or convert all: p.data = p.data.astype(dtype)"
        )
    for _, module in found.modules:
        vars(module)["_was_called"] = True


def _in_reach(place: Any) -> Iterator[Module | Tensor]:
    """The modules and trained tensors that a call of this, or an object in it, would come to.

    Followed are functions, containers, and the attributes of objects; not of objects in their attributes, for a logger
    leads to all that was ever logged.
    """
    seen: dict[int, Any] = {}
    stack = [(place, 0)]
    while stack:
        x, depth = stack.pop()
        if type(x) in _PLAIN or id(x) in seen or isinstance(x, type | ModuleType):
            continue
        seen[id(x)] = x
        inside: list[Any] = []
        if isinstance(x, Module | Tensor):
            if _is_trained(x):
                yield x
        elif isinstance(x, np.ndarray):
            inside = x.ravel().tolist() if x.dtype.hasobject else []
        elif isinstance(x, FunctionType):  # its globals are not its own
            cells = [cell.cell_contents for cell in x.__closure__ or () if not _is_empty(cell)]
            inside = [*cells, *(x.__defaults__ or ()), *(x.__kwdefaults__ or {}).values(), *vars(x).values()]
        elif isinstance(x, MethodType):
            inside = [x.__func__, x.__self__]
        elif isinstance(x, Iterator):
            inside = gc.get_referents(x)  # nothing else tells what it is going to give
        elif isinstance(x, partial):
            inside = [x.func, x.args, x.keywords]
        else:
            inside = list(x) if isinstance(x, list | tuple | deque | set | frozenset) else []
            inside += [*x.values(), getattr(x, "default_factory", None)] if isinstance(x, _NAMED) else []
            if depth < 2:
                wrapped = [
                    getattr(x, name, None) for name in ("__func__", "fget", "func")
                ]  # static methods, properties
                stack += [(y, depth + 1) for y in [*_attributes(x).values(), *wrapped]]
        stack += [(y, depth) for y in inside]


def _is_empty(cell: CellType) -> bool:
    try:
        return cell.cell_contents is None
    except ValueError:  # a name that was never bound
        return True


# ---- words ----

_DEEPEST = 20  # modules in each other that are shown
_SHOWN = (int, float, bool, str)


def _text(module: Module, shown: set[int], depth: int) -> str:
    """A module with those below it; what was shown before, or lies too deep, as Name(...)."""
    name = type(module).__name__
    children = [(path, child) for path, child in _own(module)[0] if isinstance(child, Module)]
    if children and (id(module) in shown or depth == _DEEPEST):
        return f"{name}(...)"
    shown.add(id(module))
    lines = [
        f"{k}={v}"
        for k, v in vars(module).items()
        if (type(v) in _SHOWN or (type(v) is tuple and all(type(n) in _SHOWN for n in v)))
        and k[0] != "_"
        and k != "training"
    ]
    if not children:
        return f"{name}({', '.join(lines)})"
    for path, child in children:
        own = type(child).__repr__ is not Module.__repr__
        lines.append(f"({path}): {repr(child) if own else _text(child, shown, depth + 1)}".replace("\n", "\n  "))
    return f"{name}(\n  " + "\n  ".join(lines) + "\n)"


class _Path(str):
    """A note on an exception: where in a model it arose. It knows no module, so that it keeps none alive."""

    parts: tuple[str, ...]
    layer: str
    depth: int  # which call of a module in the traceback, from the innermost on, is of the one that the path begins at


def _add_path(error: Exception, module: Module) -> None:
    """Add the path of the layer that failed as a note; at each module that the error passes it grows by a part."""
    calls, at = [], error.__traceback__
    while at is not None:
        if at.tb_frame.f_code is _CALL:
            calls.append(at.tb_frame)
        at = at.tb_next
    notes = getattr(error, "__notes__", [])
    before = next((note for note in notes if isinstance(note, _Path)), None)
    depth = 1 if before is None else before.depth
    if len(calls) <= depth:  # it arose in this module itself
        return
    child = calls[-depth].f_locals["self"]
    name = next((name for name, x in _own(module)[0] if x is child), None)
    if name is None:
        return
    if before is None:
        inside = any(isinstance(x, Module) for _, x in _own(child)[0])
        layer = type(child).__name__ if inside else repr(child)
    else:
        layer = before.layer
    parts = (name, *(before.parts if before else ()))
    shown = parts if len(parts) <= _DEEPEST else (*parts[:5], "...", *parts[-5:])
    note = _Path(f"in {'.'.join(shown)} ({layer})")
    note.parts, note.layer, note.depth = parts, layer, len(calls)
    if before is None:
        error.add_note(note)
    else:
        notes[notes.index(before)] = note


_CALL = Module.__call__.__code__
