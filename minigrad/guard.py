"""Arrays that are written into between forward and backward: noticed, so that no gradient is wrong in silence.

When an operation is recorded, the bytes of those inputs are kept that somebody outside can write into: leaves, NumPy's
own arrays, views of them, and results whose `.data` was taken. What only the graph can reach needs no guard, so the
parameters and the data of a training step are all there is to keep. Before anything is pulled back, the bytes are
compared; where they differ and a pullback holds that memory, backward raises. (Read-only flags would miss views that
are there already; version counters would miss what is written past the Tensor.)

A node's `memory` says whose it is that came out: nobody else's (None), another node's, of whose result it is a view, or
OUTSIDE's. Its `snapshots` are the arrays to compare. A linear rule needs none, and keeps its `value` for a replay.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Container, Iterable, Iterator, Sequence
from contextlib import suppress
from types import BuiltinFunctionType, CodeType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad.tensor import Array, Tensor, owner

if TYPE_CHECKING:
    from minigrad.autograd import Node

OUTSIDE: Any = object()  # stands for whoever is not the graph
Snapshot = tuple[Array, Any, tuple[int, ...], np.dtype[Any]]  # an array, and the bytes, shape and dtype that it had

asked_in: dict[int, tuple[weakref.ref[Array], str]] = {}  # under debug: the line that last asked for an array

_SHARED = 4096  # bytes from which on what an array holds is kept once for all operations that use it


class Bytes:
    """What a large array held: an object of its own, which is gone with the last graph that needs it."""

    __slots__ = ("__weakref__", "held")

    def __init__(self, held: bytes) -> None:
        self.held = held

    def __eq__(self, now: object) -> bool:
        return self.held == now


_kept: weakref.WeakValueDictionary[int, Bytes] = weakref.WeakValueDictionary()  # by the id of an array in a snapshot


def snapshot(array: Array) -> bytes | Bytes:
    """What the array holds now; to be kept beside the array itself, so that its id is not another's."""
    now = array.tobytes()
    if len(now) < _SHARED:
        return now
    known = _kept.get(id(array))
    if known is None or known != now:
        known = _kept[id(array)] = Bytes(now)
    return known


def noted(array: Array) -> Snapshot:
    """The array as it is now."""
    return array, snapshot(array), array.shape, array.dtype


_own: weakref.WeakValueDictionary[int, Array] = weakref.WeakValueDictionary()  # by id


def own(array: Array) -> Array:
    """The array, made read-only: nobody outside has it, so no copy need be kept of what it holds."""
    array.setflags(write=False)
    _own[id(array)] = array
    return array


def is_open(array: Array) -> bool:
    """Whether somebody outside might write into the array: read-only says little, for there may be older views."""
    return array.base is not None or array.flags.writeable or _own.get(id(array)) is not array


def watch(node: Node, outside: list[Array], inputs: Sequence[Any], value: Array) -> None:
    """Note of a new node what must not be written into: of its inputs those from outside, and its settings."""
    taken: list[Snapshot] = []
    for array in outside:
        # snapshot does the same, and takes half as long again
        before = array.tobytes() if array.nbytes < _SHARED else snapshot(array)
        taken.append((array, before, array.shape, array.dtype))
    if node.settings:
        for setting in node.settings.values():
            if isinstance(setting, np.ndarray) and is_open(setting):
                taken.append(noted(setting))
    node.snapshots = taken
    base = value.base
    if base is not None and node.rule.may_view:
        for x in inputs:
            array = x._array if isinstance(x, Tensor) else x
            # whoever can write into the one can write into the other; NumPy's views of views have one base, mostly
            if array is base or getattr(array, "base", None) is base or owner(array) is owner(value):
                made_by = x.node if isinstance(x, Tensor) else None
                node.memory = OUTSIDE if made_by is None or made_by.memory is OUTSIDE else made_by


def expose(node: Node | None, array: Array) -> None:
    """Somebody outside gets hold of the array that a node made: from now on a write into it would be noticed."""
    while node is not None and node is not OUTSIDE and node.pullbacks is not None:
        if node.memory is not OUTSIDE and isinstance(owner(array), np.ndarray):
            array = owner(array)  # which is in reach as array.base
        if not any(array is seen for seen, *_ in node.snapshots or ()):
            node.snapshots = [*(node.snapshots or ()), noted(array)]
        whose, node.memory = node.memory, OUTSIDE
        node = whose


def expose_views(inputs: Sequence[Any], value: Array) -> None:
    """The same of a result that is not recorded, and is a view of inputs that are."""
    for x in inputs:
        if isinstance(x, Tensor) and x.node is not None and owner(x._array) is owner(value):
            expose(x.node, x._array)


def verify(nodes: Sequence[Node], create_graph: bool, needed: Container[Any] | None = None) -> None:
    """Raise RuntimeError if these nodes were freed, or an array has changed that a backward pass through them needs.

    needed: the vertices whose gradients are pulled back, if not all are. create_graph: the values are needed, too.
    """
    harmless: set[int] = set()  # arrays that have changed, and that no pullback holds
    for node in nodes:
        if node.pullbacks is None:
            raise RuntimeError(
                f"the graph of {node.rule.name} has already been freed by a backward pass: "
                "for a second one, call the first with retain_graph=True"
            )
        if not node.snapshots:
            continue
        for array, before, shape, dtype in node.snapshots:
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
    made_at = next((f" {line}" for pull in needs.pullbacks or () if (line := getattr(pull, "made_at", ""))), "")
    raise changed(needs.rule.name + made_at, which, array, what)


def changed(where: str, which: str, array: Array, what: str = "was written into") -> RuntimeError:
    """The error that says so."""
    arrays = [(taken(), line) for taken, line in list(asked_in.values())]
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
    return any(x is None or np.may_share_memory(x, array) for x in held(pullbacks))


def held(pullbacks: Any) -> Iterator[Array | None]:
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
            stack.append(getattr(x, "__wrapped__", None))
            if x.__module__ in ("minigrad.debug", "minigrad.profiler"):  # they only stand in front
                continue
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
