"""Arrays that are written into between forward and backward: noticed, so that no gradient is wrong in silence.

When an operation is recorded, the bytes of those inputs are kept that external code can write into: leaves, NumPy's
own arrays, views of them, and results whose `.data` was taken. What only the graph can reach needs no guard, so the
parameters and the data of a training step are all there is to keep. Before anything is pulled back, the bytes are
compared; where they differ and a pullback holds that memory, backward raises. (Read-only flags would miss views that
are there already; version counters would miss what is written past the Tensor.)

A node's `memory` says whose it is that came out: nobody else's (None), another node's, of whose result it is a view, or
EXTERNAL. Its `snapshots` are the arrays to compare. A linear rule needs none, and keeps its `value` for a replay.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import suppress
from types import BuiltinFunctionType, CodeType, ModuleType
from typing import Any

import numpy as np

from minigrad import graph
from minigrad.graph import Node
from minigrad.tensor import Array, Tensor, owner

EXTERNAL: Any = object()  # stands for all code that is not the graph's
Snapshot = tuple[Array, Any, tuple[int, ...], np.dtype[Any]]  # an array, and the bytes, shape and dtype that it had

asked_in: dict[int, tuple[weakref.ref[Array], str]] = {}  # under debug: the line that last asked for an array

_LARGE = 4096  # bytes from which on what an array holds is kept once for all operations that use it


class Bytes:
    """What a large array held: an object of its own, which is gone with the last graph that needs it."""

    __slots__ = ("__weakref__", "content")

    def __init__(self, content: bytes) -> None:
        self.content = content

    def __eq__(self, now: object) -> bool:
        return self.content == now


_large: weakref.WeakValueDictionary[int, Bytes] = weakref.WeakValueDictionary()  # by the id of an array in a snapshot


def content(array: Array) -> bytes | Bytes:
    """What the array holds now; to be kept beside the array itself, so that its id is not another's."""
    now = array.tobytes()
    if len(now) < _LARGE:
        return now
    known = _large.get(id(array))
    if known is None or known != now:
        known = _large[id(array)] = Bytes(now)
    return known


def snapshot(array: Array) -> Snapshot:
    """The array as it is now."""
    return array, content(array), array.shape, array.dtype


_frozen: weakref.WeakValueDictionary[int, Array] = weakref.WeakValueDictionary()  # by id


def freeze(array: Array) -> Array:
    """The array, made read-only: no external code has it, so no copy need be kept of what it holds."""
    array.setflags(write=False)
    _frozen[id(array)] = array
    return array


def is_external(array: Array) -> bool:
    """Whether external code might write into it: that it is read-only says little, for there may be older views."""
    return array.base is not None or array.flags.writeable or _frozen.get(id(array)) is not array


class ContentGuard(graph.Guard):
    """Notes what external code could write into, and compares before gradients are pulled back."""

    def recorded(self, node: Node, inputs: Sequence[Any], value: Array) -> None:
        """Note what must not be written into: of the inputs those in reach of external code, and the settings."""
        for v in node.inputs:
            if type(v) is Node:
                if v.memory is not EXTERNAL:
                    continue
                array = next(x._array for x in inputs if isinstance(x, Tensor) and x.node is v)
            elif isinstance(v, Tensor):
                array = v._array
            elif type(v) is np.ndarray and is_external(v):
                array = v
            else:
                continue
            if node.rule.linear:
                node.value = value
                break
            # content does the same, and takes half as long again
            before = array.tobytes() if array.nbytes < _LARGE else content(array)
            node.snapshots = [*(node.snapshots or ()), (array, before, array.shape, array.dtype)]
        if node.settings:
            for setting in node.settings.values():
                if isinstance(setting, np.ndarray) and is_external(setting):
                    node.snapshots = [*(node.snapshots or ()), snapshot(setting)]
        base = value.base
        if base is not None and node.rule.may_view:
            for x in inputs:
                array = x._array if isinstance(x, Tensor) else x
                # who can write into the one can write into the other; NumPy's views of views have one base, mostly
                if array is base or getattr(array, "base", None) is base or owner(array) is owner(value):
                    made_by = x.node if isinstance(x, Tensor) else None
                    node.memory = EXTERNAL if made_by is None or made_by.memory is EXTERNAL else made_by

    def not_recorded(self, inputs: Sequence[Any], value: Array) -> None:
        """The value may be a view of inputs that are recorded, and so in reach of external code."""
        for x in inputs:
            if isinstance(x, Tensor) and x.node is not None and owner(x._array) is owner(value):
                self.exposed(x.node, x._array)

    def exposed(self, node: Node, array: Array) -> None:
        """From now on a write into the array would be noticed, and into those of which it is a view."""
        at: Any = node
        while at is not None and at is not EXTERNAL and at.pullbacks is not None:
            if at.memory is not EXTERNAL and isinstance(owner(array), np.ndarray):
                array = owner(array)  # which is in reach as array.base
            if not any(array is seen for seen, *_ in at.snapshots or ()):
                at.snapshots = [*(at.snapshots or ()), snapshot(array)]
            at.memory, at = EXTERNAL, at.memory

    def verify(self, nodes: Sequence[Node], create_graph: bool, needed: Container[Any] | None = None) -> None:
        """Raise RuntimeError if an array has changed that a backward pass through these nodes needs.

        needed: the vertices whose gradients are pulled back, if not all are. create_graph: the values are needed, too.
        """
        harmless: set[int] = set()  # arrays that have changed, and that no pullback holds
        for node in nodes:
            for array, before, shape, dtype in node.snapshots or ():
                same = array.tobytes() == before and array.shape == shape and array.dtype is dtype
                if not same and id(array) not in harmless:
                    _refuse(node, array, nodes, create_graph, needed)
                    harmless.add(id(array))
        if create_graph:
            for node in nodes:
                arrays = [array for array, *_ in node.snapshots or ()]
                for v in node.inputs if not node.rule.linear else ():
                    if isinstance(v, Tensor) and not any(v._array is array for array in arrays):
                        _refuse(node, v._array, nodes, create_graph, needed, "was put in the place of another")


graph.guard = ContentGuard()


def _refuse(
    node: Node,
    array: Array,
    nodes: Iterable[Node],
    create_graph: bool,
    needed: Container[Any] | None,
    what: str = "was written into",
) -> None:
    """Raise, unless no pullback holds the memory that was written into."""
    needs = node if create_graph else next((n for n in (node, *nodes) if holds(_wanted(n, needed), array)), None)
    if needs is None:
        return
    which = next((f"its input {name}" for name, x in _named(needs) if x is array), "an array in its graph")
    where = "" if needs.made_at is None else f" in {needs.made_at}"
    raise changed(needs.rule.name + where, which, array, what)


def changed(where: str, which: str, array: Array, what: str = "was written into") -> RuntimeError:
    """The error that says so."""
    arrays = [(reference(), line) for reference, line in list(asked_in.values())]
    lines = [f" (handed out in {line})" for x, line in arrays if x is not None and np.may_share_memory(x, array)]
    return RuntimeError(
        f"{where}: {which}, {array.dtype.name} of shape {array.shape}, {what} between forward and "
        f"backward{''.join(lines[-1:])}, and the gradient needs the values that it had: write after backward(), or "
        "give the operation a copy (x.copy(), mg.tensor(array))"
    )


def _wanted(node: Node, needed: Container[Any] | None) -> list[Any]:
    """The pullbacks of a node for what requires a gradient."""
    pairs = zip(node.inputs, node.pullbacks or (), strict=False)
    return [
        pull for v, pull in pairs if isinstance(v, Tensor) or type(v) is type(node) if needed is None or v in needed
    ]


def _named(node: Node) -> Iterable[tuple[str, Any]]:
    """The inputs and settings of a node, the arrays of its leaves among them, with their names."""
    names = node.rule.inputs or [str(i) for i in range(len(node.inputs))]
    for name, x in zip(names, node.inputs, strict=False):
        yield name, x._array if isinstance(x, Tensor) else x
    yield from node.settings.items()


def holds(pullbacks: Any, array: Array) -> bool:
    """Whether these functions close over memory of the array, at any depth, or over something that may hold it."""
    return any(x is None or np.may_share_memory(x, array) for x in arrays_in(pullbacks))


def arrays_in(pullbacks: Any) -> Iterator[Array | None]:
    """The arrays that these functions close over, at any depth; None for something that may hold any array."""
    seen: set[int] = set()
    stack = [pullbacks]
    while stack:
        x = stack.pop()
        if id(x) in seen:
            continue
        seen.add(id(x))
        if isinstance(x, Tensor):
            x = x._array
        if isinstance(x, np.ndarray):
            yield x
        elif isinstance(x, (tuple, list, set)):
            stack += x
        elif isinstance(x, dict):
            stack += x.values()
        elif inspect.isfunction(x):
            if hasattr(x, "stands_before"):  # a tracer's
                stack.append(x.stands_before)
                continue
            stack.append(getattr(x, "__wrapped__", None))
            codes = [x.__code__]
            for code in codes:  # grows while it is walked: functions inside of this one
                codes += [part for part in code.co_consts if isinstance(part, CodeType)]
            known = {name: x.__globals__.get(name) for code in codes for name in code.co_names}
            stack += [y for y in known.values() if isinstance(y, (np.ndarray, Tensor))]
            for cell in x.__closure__ or ():
                with suppress(ValueError):  # a name that was never bound
                    stack.append(cell.cell_contents)
            stack += x.__defaults__ or ()
            stack += (x.__kwdefaults__ or {}).values()
        elif isinstance(x, BuiltinFunctionType):
            stack.append(x.__self__)  # an array, of a method of its own; else a module
        elif not isinstance(x, _HOLDS_NOTHING):
            yield None


_HOLDS_NOTHING = (
    type(None), bool, int, float, complex, str, bytes, slice, range, type, type(...), np.generic, np.dtype, np.ufunc,
    ModuleType,
)  # fmt: skip
