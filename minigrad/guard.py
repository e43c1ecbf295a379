"""Arrays that are written into between forward and backward: noticed, so that no gradient is wrong in silence.

When an operation is recorded, the bytes of those inputs are kept that somebody outside can write into: leaves, NumPy's
own arrays, views of them, and results whose `.data` was taken. What only the graph can reach needs no guard, so the
parameters and the data of a training step are all there is to keep. Before anything is pulled back, the bytes are
compared; where they differ and a pullback holds that memory, backward raises. (Read-only flags would miss views that
are there already; version counters would miss what is written past the Tensor.)

A node's `memory` says whose it is that came out: nobody else's (None), another node's, of whose result it is a view, or
OUTSIDE's. Its `snapshots` are the arrays to compare.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Iterable, Sequence
from types import BuiltinFunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from minigrad.tensor import Array, Tensor, detached, owner

if TYPE_CHECKING:
    from minigrad.autograd import Node

OUTSIDE: Any = object()  # stands for whoever is not the graph
Snapshot = tuple[Array, bytes | None]  # an array, and what it held; None: a linear rule's value, kept for a replay

handed_out: dict[int, tuple[weakref.ref[Array], str]] = {}  # under debug: the line that last asked for an array

_SHARED = 4096  # bytes from which on an array that several operations use is kept once for all of them
_kept: dict[int, tuple[weakref.ref[Array], bytes]] = {}


def snapshot(array: Array) -> bytes:
    """What the array holds now."""
    now = array.tobytes()
    if len(now) < _SHARED:
        return now
    key = id(array)
    known = _kept.get(key)
    if known is not None and known[0]() is array and known[1] == now:
        return known[1]
    _kept[key] = weakref.ref(array, lambda _: _kept.pop(key, None)), now
    return now


def watch(node: Node, open_arrays: list[Array], inputs: Sequence[Any], value: Array) -> None:
    """Note of a new node what must not be written into: of its inputs those that are open to it, and its settings."""
    taken: list[Snapshot] = []
    if open_arrays and node.rule.linear:
        taken.append((value, None))
    else:
        for array in open_arrays:
            taken.append((array, array.tobytes() if array.nbytes < _SHARED else snapshot(array)))
    if node.settings:
        for setting in node.settings.values():
            if type(setting) is np.ndarray and setting.flags.writeable:
                taken.append((setting, snapshot(setting)))
    node.snapshots = taken
    if value.base is not None and node.rule.may_view:
        memory = owner(value)
        for x in inputs:
            if owner(detached(x)) is memory:  # whoever can write into the one can write into the other
                made_by = x.node if isinstance(x, Tensor) else None
                node.memory = OUTSIDE if made_by is None or made_by.memory is OUTSIDE else made_by


def expose(node: Node | None, array: Array) -> None:
    """Somebody outside gets hold of the array that a node made: from now on a write into it would be noticed."""
    while node is not None and node is not OUTSIDE and node.pullbacks is not None:
        if not any(array is seen and before is not None for seen, before in node.snapshots or ()):
            node.snapshots = [*(node.snapshots or ()), (array, snapshot(array))]
        whose, node.memory = node.memory, OUTSIDE
        node = whose


def expose_views(inputs: Sequence[Any], value: Array) -> None:
    """The same of a result that is not recorded, and is a view of inputs that are."""
    for x in inputs:
        if isinstance(x, Tensor) and x.node is not None and owner(x._array) is owner(value):
            expose(x.node, x._array)


def verify(nodes: Iterable[Node], create_graph: bool) -> None:
    """Raise RuntimeError if these nodes were freed, or an array has changed that a backward pass through them needs."""
    for node in nodes:
        if node.pullbacks is None:
            raise RuntimeError(
                f"the graph of {node.rule.name} has already been freed by a backward pass: "
                "for a second one, call the first with retain_graph=True"
            )
        for array, before in node.snapshots or ():
            if before is not None and array.tobytes() != before:
                _refuse(node, array, nodes, create_graph)
    if create_graph:
        for node in nodes:
            arrays = [array for array, _ in node.snapshots or ()]
            for v in node.inputs if not node.rule.linear else ():
                if isinstance(v, Tensor) and not any(v._array is array for array in arrays):
                    _refuse(node, v._array, nodes, create_graph)  # another array was put in its place


def _refuse(node: Node, array: Array, nodes: Iterable[Node], create_graph: bool) -> None:
    """Raise, unless no pullback holds the memory that was written into."""
    needs = node if create_graph else next((n for n in (node, *nodes) if holds(n.pullbacks, array)), None)
    if needs is None:
        return
    which = next((f"its input {name}" for name, x in _named(needs) if x is array), "an array in its graph")
    made_at = next((f" {line}" for pull in needs.pullbacks or () if (line := getattr(pull, "made_at", ""))), "")
    arrays = [(taken(), line) for taken, line in handed_out.values()]
    lines = [f" (handed out in {line})" for x, line in arrays if x is not None and np.may_share_memory(x, array)]
    raise RuntimeError(
        f"{needs.rule.name}{made_at}: {which}, {array.dtype.name} of shape {array.shape}, was written into between "
        f"forward and backward{''.join(lines[-1:])}, and the gradient needs the values that it had: write after "
        "backward(), or give the operation a copy (x.copy(), mg.tensor(array))"
    )


def _named(node: Node) -> Iterable[tuple[str, Any]]:
    """The inputs and settings of a node, the arrays of its leaves among them, with their names."""
    names = node.rule.inputs or [str(i) for i in range(len(node.inputs))]
    for name, x in zip(names, node.inputs, strict=False):
        yield name, x._array if isinstance(x, Tensor) else x
    yield from node.settings.items()


def holds(pullbacks: Any, array: Array) -> bool:
    """Whether these functions close over memory of the array, at any depth, or over something that may hold it."""
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
            if np.may_share_memory(x, array):
                return True
        elif isinstance(x, (tuple, list, set)):
            stack += x
        elif isinstance(x, dict):
            stack += x.values()
        elif inspect.isfunction(x):
            x = inspect.unwrap(x)  # whoever watches stands in front
            stack += [cell.cell_contents for cell in x.__closure__ or ()]
            stack += x.__defaults__ or ()
        elif not isinstance(x, _HOLDS_NOTHING):
            return True
    return False


_HOLDS_NOTHING = (
    type(None), bool, int, float, complex, str, bytes, slice, range, type, type(...), np.generic, np.dtype, np.ufunc,
    BuiltinFunctionType, ModuleType,
)  # fmt: skip
