"""The engine's one idea: applying a rule makes a Node, and gradients are pulled back through the nodes, youngest first.

A rule returns its value and, for each input, a pullback: the function that turns a gradient of the value into one of
that input. A node keeps the pullbacks and where its inputs came from. It is younger than they are, so when nodes are
visited from the youngest to the oldest, every gradient is complete before it is passed on. Broadcasting is undone
here and nowhere else.

To differentiate a gradient (`create_graph=True`) `replay` runs the rules again, on Tensors instead of arrays: the same
NumPy code then records itself. Stored pullbacks close over arrays, and could not tell how they depend on the inputs.

On to rule.py (how a function becomes a rule), autograd.py (what users call), guard.py and trace.py (layers over this).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

import numpy as np

from minigrad.modes import is_grad_enabled, modes
from minigrad.tensor import Array, Tensor, needs_float, wrapped
from minigrad.trace import this_thread

Pullback = Callable[[Any], Any]

stamps = itertools.count()
_NOTHING: Any = None


class Node:
    """One application of a rule: what went in, and how a gradient of what came out is pulled back.

    inputs: for each the vertex that it came from (the node that made it, or the leaf itself), or the array or number
    itself where no gradient is wanted. pullbacks: one for each input; None once the node has been freed. stamp: grows
    with every node, so sorting by it is a topological order. The other slots belong to autograd.py, trace.py, guard.py.
    """

    __slots__ = ("dtype", "hooks", "inputs", "made_at", "memory", "pullbacks",
                 "rule", "settings", "shape", "snapshots", "stamp", "value")  # fmt: skip

    def __init__(self, rule: Any, inputs: Sequence[Any], settings: Any, pullbacks: Any, value: Array) -> None:
        self.rule = rule
        self.inputs = inputs
        self.settings = settings
        self.pullbacks = pullbacks
        self.shape = value.shape
        self.dtype = dtype = value.dtype
        if dtype.kind != "f":
            needs_float(f"the gradient of {rule.name}", dtype)
        self.stamp = next(stamps)
        self.hooks = self.made_at = self.memory = self.snapshots = self.value = _NOTHING

    def expose(self, array: Array) -> None:
        """External code gets the array that came out, and may write into it."""
        guard.exposed(self, array)


Vertex = Node | Tensor  # what a gradient arrives at: a node, or a leaf that requires one


def vertex(x: Tensor) -> Vertex:
    """Where the gradient of this tensor arrives."""
    return x.node or x


class Guard:
    """A layer over the graph, and what it is told; guard.py puts its own in the place of this one, which does nothing.

    recorded: a node was made, of these inputs this value. not_recorded: a value was made outside of the graph, maybe a
    view of inputs in it. exposed: external code gets the array of a node. verify: before gradients are pulled back.
    """

    def recorded(self, node: Node, inputs: Sequence[Any], value: Array) -> None: ...
    def not_recorded(self, inputs: Sequence[Any], value: Array) -> None: ...
    def exposed(self, node: Node, array: Array) -> None: ...
    def verify(self, nodes: Sequence[Node], create_graph: bool, needed: Any) -> None: ...


guard = Guard()

# ---- forward: recording ----------------------------------------------------------------------------------------------

PLAIN = frozenset((np.ndarray, float, int, bool, type(None)))


def recorder(rule: Any) -> Callable[..., Any]:
    """The function that applies a rule to arrays and Tensors, and records it where a gradient is wanted."""
    arity = rule.arity

    def apply(*inputs: Any, **settings: Any) -> Any:
        if settings or len(inputs) != arity:
            inputs, settings = rule.bind(inputs, settings)  # arguments sorted into the two
        arrays: list[Any] = []
        vertices: list[Any] = []
        tensors = wanted = False
        for x in inputs:
            if isinstance(x, Tensor):
                tensors = True
                array = x._array
                v = (x.node or x) if x._requires_grad else array
                wanted = wanted or x._requires_grad
            else:
                v = array = x if type(x) in PLAIN else rule.operand(x, inputs)  # a list, say, as an array
            arrays.append(array)
            vertices.append(v)
        if not tensors:
            return rule.of_arrays(inputs, settings)  # the plain value
        tracer = this_thread.tracer  # profile, or debug; nearly always nobody
        function = rule.function if tracer is None else tracer.around(rule)
        value, pullbacks = rule.checked(function(*arrays, **settings), arrays)  # which is what a rule must give
        if wanted and (not modes.get() or is_grad_enabled()):  # no mode is set, mostly: 0.06 µs
            node = Node(rule, vertices, settings, pullbacks, value)
            guard.recorded(node, inputs, value)
            if tracer is not None:
                tracer.recorded(node)
            return wrapped(value, node)
        if wanted and value.base is not None:  # a view
            guard.not_recorded(inputs, value)
        return wrapped(value)

    return apply


# ---- backward: pulling gradients back --------------------------------------------------------------------------------


def toposort(vertices: Iterable[Vertex], since: int = -1) -> list[Node]:
    """The nodes made after the stamp `since` that lead to these vertices, oldest first, each once; no freed ones."""
    seen = {v for v in vertices if type(v) is Node and v.stamp > since}
    stack = list(seen)
    while stack:
        node = stack.pop()
        if node.pullbacks is None:
            raise freed(node)
        for v in node.inputs:
            if type(v) is Node and v not in seen and v.stamp > since:
                seen.add(v)
                stack.append(v)
    return sorted(seen, key=attrgetter("stamp"))


def freed(node: Node) -> RuntimeError:
    return RuntimeError(f"the graph of {node.rule.name} has already been freed: the first pass needs retain_graph=True")


def unbroadcast(g: Any, shape: tuple[int, ...]) -> Any:
    """Sum g over the axes along which NumPy stretched an array of this shape."""
    lead = len(g.shape) - len(shape)
    axes = tuple(range(lead)) + tuple(lead + i for i, n in enumerate(shape) if n == 1 and g.shape[lead + i] != 1)
    # in float64: NumPy adds rows one by one, which in float32 loses 1 % over 10⁶ of them
    return np.reshape(np.sum(g, axis=axes, dtype=np.promote_types(g.dtype, np.float64)), shape).astype(g.dtype)


def backward_pass(
    nodes: list[Node],
    cotangents: dict[Vertex, Any],
    needed: set[Vertex] | None = None,
    pullbacks: dict[Node, Any] | None = None,
    free: bool = True,
    complete: Callable[[Node, Any], Any] | None = None,
    every: bool = False,
    observe: Callable[..., None] | None = None,
) -> dict[Vertex, Any]:
    """Pull cotangents (gradients on their way) back through these nodes, oldest first, which are taken from the list.

    What is left of the cotangents are the gradients of the leaves: returned, for `backward` to add to their `.grad`.
    needed: the vertices on the way to what is wanted, if not all are. pullbacks: in place of the nodes' own.
    complete(node, g): gives the gradient to go on with, at a node with hooks, or at every one.
    observe(node, i, pulled, h, total): told what the pullback of input i gave, what came of it, and the sum so far.
    """
    while nodes:
        node = nodes.pop()  # so that what is freed below is gone at once
        g = cotangents.pop(node, None)
        if g is not None and (needed is None or node in needed):
            if g.dtype is not node.dtype:
                g = g.astype(node.dtype)
            if complete is not None and (every or node.hooks):
                g = complete(node, g)
            if node.pullbacks is None:  # by a hook, or another thread
                raise freed(node)
            made: Any = node.pullbacks if pullbacks is None else pullbacks[node]
            for i, v in enumerate(node.inputs):
                pullback = made[i]
                if pullback is None or not isinstance(v, (Node, Tensor)) or (needed is not None and v not in needed):
                    continue
                h = pulled = pullback(g)
                at = v._array if isinstance(v, Tensor) else v  # a Tensor's own properties take 0.04 µs more each
                if type(h) is not np.ndarray or h.shape != at.shape or h.dtype is not at.dtype:
                    h = node.rule.conform(h, at.shape, at.dtype)  # unbroadcast, or an error that says why not
                total = cotangents.get(v)
                cotangents[v] = total = h if total is None else added(total, h)
                if observe is not None:
                    observe(node, i, pulled, h, total)
        if free:
            node.inputs, node.settings, node.pullbacks = (), {}, None
            node.memory = node.snapshots = node.value = None
    return {v: g if g.dtype == v.dtype else g.astype(v.dtype) for v, g in cotangents.items()}


def added(total: Any, h: Any) -> Any:
    """The sum; of float16 in float32, to be rounded when all have arrived: in float16 2048 + 1 is 2048."""
    return (total.astype(np.float32) if h.dtype.char == "e" else total) + h  # "e" is float16


def replay(nodes: list[Node], needed: set[Vertex] | None, tensors: dict[Node, Tensor]) -> dict[Node, Any]:
    """Pullbacks that record: rules are run on Tensors, in the graph where the first ones are; tensors: those known."""
    wanted = set(nodes if needed is None else needed)
    for node in reversed(nodes):
        if node in wanted:
            wanted.update(v for v in node.inputs if type(v) is Node and v not in tensors)
    pullbacks = {}
    for node in nodes:
        if node in wanted:
            inputs = [tensors[v] if type(v) is Node else v for v in node.inputs]
            value, pullbacks[node] = node.rule.replay(node, inputs)
            tensors.setdefault(node, wrapped(value, node))
    return pullbacks
