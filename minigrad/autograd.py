"""What users call to differentiate: `backward`, `grad` and hooks, over the one loop of graph.py."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import ArrayLike

from minigrad import checks, graph
from minigrad.graph import Node, Vertex, added, backward_pass, replay, stamps, toposort, vertex
from minigrad.modes import RECORDING
from minigrad.rule import implements
from minigrad.tensor import Hook, Tensor, needs_float, wrapped


class Observer(Protocol):
    """Who is told what happens in a backward pass."""

    def complete(self, v: Vertex, before_hooks: Any, g: Any) -> None:
        """All contributions to the gradient of this vertex have arrived, and its hooks were called."""

    def contributed(self, node: Node, place: int, pulled: Any, h: Any, total: Any) -> None:
        """The pullback of this input of the node gave `pulled`; h is what came of it, and total the sum so far."""


def needed_vertices(targets: Iterable[Vertex], nodes: list[Node]) -> set[Vertex]:
    """The targets, and those of the nodes (oldest first) whose gradient is wanted on the way to them."""
    needed = set(targets)
    for node in nodes:
        if not needed.isdisjoint(v for v in node.inputs if isinstance(v, (Node, Tensor))):
            needed.add(node)
    return needed


def backward_through(
    nodes: list[Node],
    cotangents: dict[Vertex, Any],
    targets: Mapping[Vertex, Tensor | None] | None,
    needed: set[Vertex] | None,
    retain_graph: bool,
    create_graph: bool,
    observer: Observer | None = None,
) -> dict[Vertex, Any]:
    """`backward_pass` with hooks and an observer; gives the gradients of the targets, or (None) of all leaves.

    targets: vertices, each with its Tensor where there is one; needed: the `needed_vertices` of them. create_graph:
    what arrives is part of a graph that goes on into these nodes.
    """
    arrived: dict[Vertex, Any] = {}

    def complete(node: Node, g: Any) -> Any:
        before_hooks = g
        if node.hooks:
            g = call_hooks(node, g)
            graph.guard.verify([*nodes, node], create_graph, needed)
        if targets is not None and node in targets:
            arrived[node] = g
        if observer is not None:
            observer.complete(node, before_hooks, g)
        return g

    pullbacks = None
    if create_graph:
        known = {v: tensor for v, tensor in (targets or {}).items() if type(v) is Node and tensor is not None}
        pullbacks = replay(nodes, needed, known)
    every = targets is not None or observer is not None
    observe = None if observer is None else observer.contributed
    free = not (retain_graph or create_graph)
    return arrived | backward_pass(nodes, cotangents, needed, pullbacks, free, complete, every, observe)


def call_hooks(at: Vertex, g: Any) -> Any:
    """The gradient g after this vertex's hooks; an array again where it was one."""
    for hook in list((at.hooks or {}).values()):
        found = hook(g if isinstance(g, Tensor) else Tensor(np.array(g)))  # a copy: others may share g
        if found is not None:
            if not isinstance(found, Tensor) or found.shape != at.shape:
                raise ValueError(f"a hook must return None or a Tensor of shape {at.shape}, not {found!r}")
            g = found.astype(at.dtype) if isinstance(g, Tensor) else found.data.astype(at.dtype)
    return g


def initial_cotangent(output: Tensor, gradient: ArrayLike | Tensor | None, create_graph: bool) -> Any:
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
        ones = np.ones(output.shape, output.dtype)
        return wrapped(ones) if create_graph else ones
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


def pull(
    outputs: Sequence[Tensor],
    gradients: Sequence[Any],
    targets: Mapping[Vertex, Tensor | None] | None,
    retain_graph: bool,
    create_graph: bool,
    observer: Observer | None = None,
) -> dict[Vertex, Any]:
    """Gradients of the outputs by vertex, as Tensors, none of which shares memory with another."""
    with RECORDING[create_graph]:
        cotangents: dict[Vertex, Any] = {}
        for output, gradient in zip(outputs, gradients, strict=True):
            g = initial_cotangent(output, gradient, create_graph)
            v = output.node or output
            cotangents[v] = added(cotangents[v], g) if v in cotangents else g
        nodes = toposort(cotangents)
        needed = None if targets is None else needed_vertices(targets, nodes)
        graph.guard.verify(nodes, create_graph, needed)
        arrived = backward_through(nodes, cotangents, targets, needed, retain_graph, create_graph, observer)
        given_away: set[int] = set()
        for v, g in arrived.items():
            if isinstance(v, Tensor):
                before_hooks = g
                g = call_hooks(v, g) if v.hooks else g
                if observer is not None:
                    observer.complete(v, before_hooks, g)
            if not isinstance(g, Tensor):
                g = wrapped(np.asarray(g))
            if g._array.base is not None or id(g._array) in given_away:  # it may be written into, so it must be its own
                g = g.copy() if create_graph else wrapped(g._array.copy())
            given_away.add(id(g._array))
            arrived[v] = g
        return arrived


_adding = threading.Lock()  # two threads may add to the gradient of one leaf


def _renew_lock() -> None:
    """In a child that was forked while another thread held the lock nobody would ever let it go."""
    global _adding
    _adding = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def _delivered(gradients: Mapping[Tensor, Tensor]) -> None:
    """Told which leaves backward has given a gradient; the optimisers put their own in the place of this one."""


delivered = _delivered


@implements(Tensor.backward)
def backward(output: Tensor, gradient: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
    """`output.backward(...)`."""
    arrived = cast(dict[Tensor, Tensor], pull([output], [gradient], None, retain_graph, create_graph))
    with _adding:
        for leaf, g in arrived.items():
            before = leaf._grad
            if before is not None:
                if before.shape != g.shape:
                    raise ValueError(
                        f"a leaf of shape {leaf.shape} has a .grad of shape {before.shape}: set it to None"
                    )
                if create_graph:
                    with RECORDING[True]:
                        arrived[leaf] = before + g
                else:
                    arrived[leaf] = wrapped(np.asarray(before._array + g._array))
        for leaf, g in arrived.items():  # not before all sums are made: every leaf gets its gradient, or none does
            leaf._grad = g
    delivered(arrived)


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
    arrived = pull(outputs, grad_outputs, {vertex(x): x for x in inputs}, retain_graph, create_graph)
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
