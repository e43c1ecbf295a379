"""Gradient checkpointing: activations are computed again in the backward pass instead of being kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from minigrad.autograd import backward_through, needed_vertices
from minigrad.creation import default_generator
from minigrad.graph import Node, Pullback, Vertex, stamps, toposort, vertex
from minigrad.guard import Snapshot, snapshot
from minigrad.modes import enable_grad, is_grad_enabled, no_grad
from minigrad.rule import Rule, shared
from minigrad.tensor import Tensor, detached, wrapped


class _Local(threading.local):
    recomputing = False


_local = _Local()


def is_recomputing() -> bool:
    """Whether this thread runs a function again only for its gradient: then nothing is to be counted twice."""
    return _local.recomputing


def checkpoint(f: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """f(*inputs), keeping only the inputs: whatever f computes on the way is computed again for the backward pass.

    f may use parameters of its own. What it draws from minigrad's generator is drawn again; should it do something
    else when it is called again (another generator, a counter), backward raises RuntimeError. Batch norm counts once.
    Chen, Xu, Zhang, Guestrin: Training Deep Nets with Sublinear Memory Cost (2016).

    >>> import numpy as np, minigrad as mg
    >>> x = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> np.sum(mg.checkpoint(lambda x: np.exp(np.sin(x)), x)).backward()
    >>> np.round(x.grad, 4)
    tensor([ 1.2534, -1.0331])
    """
    if not is_grad_enabled():
        return f(*inputs)
    state = default_generator().bit_generator.state
    value, nodes, ends = _run(f, inputs)
    if not nodes:
        return value
    result, done = value._array, _done(nodes, ends)
    given = {vertex(x): x for x in inputs if isinstance(x, Tensor) and x.requires_grad}

    def again() -> tuple[Tensor, list[Node]]:
        generator = default_generator().bit_generator
        now, generator.state = generator.state, state
        before, _local.recomputing = _local.recomputing, True
        try:
            repeated, nodes, ends_again = _run(f, inputs)
        finally:
            generator.state, _local.recomputing = now, before
        same_ends = list(map(id, ends_again)) == list(map(id, ends))  # == of Tensors compares their elements
        same_result = np.array_equal(repeated._array, result, equal_nan=True)
        if not same_ends or not same_result or _done(nodes, ends) != done:
            raise RuntimeError(
                "checkpoint: the function did something else when it was called again for the backward pass: it must "
                "use the same tensors, operations and constants, and draw from minigrad's generator alone"
            )
        return repeated, nodes

    def recompute(*_: Any) -> tuple[Tensor, tuple[Pullback, ...]]:
        return again()[0], pullbacks()

    def pullbacks() -> tuple[Pullback, ...]:
        @shared
        def gradients(g: Any) -> dict[Vertex, Any]:
            repeated, nodes = again()
            record = isinstance(g, Tensor)
            if record and any(type(v) is Node and v not in given for v in ends):
                raise RuntimeError(
                    "checkpoint: its gradient can be differentiated only where each tensor that the function uses "
                    "is a leaf or is handed to it: mg.checkpoint(f, x, y)"
                )
            targets = {v: given.get(v) for v in ends}
            with enable_grad() if record else no_grad():
                needed = needed_vertices(targets, nodes)
                return backward_through(nodes, {vertex(repeated): g}, targets, needed, record, record)

        return tuple(lambda g, v=v: gradients(g)[v] for v in ends)

    rule = Rule(recompute)
    rule.name = "checkpoint"
    node = Node(rule, ends, {}, pullbacks(), result)
    node.snapshots = _snapshots(nodes)
    node.memory = value.node.memory if value.node is not None else None
    return wrapped(result, node)


def _snapshots(nodes: list[Node]) -> list[Snapshot]:
    """What must not change until these operations are run again: whatever they took from outside, each once."""
    found = {id(noted[0]): noted for n in nodes for noted in n.snapshots or ()}
    for n in nodes:
        for v in n.inputs:
            array = detached(v)
            if isinstance(array, np.ndarray) and id(array) not in found:
                found[id(array)] = snapshot(array)
    return list(found.values())


def _done(nodes: list[Node], ends: list[Vertex]) -> int:
    """A hash of what was done: the operations, what each was applied to, constants and settings."""
    known: dict[Any, int] = {v: i for i, v in enumerate([*ends, *nodes])}
    done: list[Any] = []
    for node in nodes:
        done.append((node.rule.name, node.shape, len(node.inputs)))
        parts = [*node.inputs, *node.settings.values()]
        for x in parts:  # grows while it is walked
            if isinstance(x, tuple | list):
                parts += [len(x), *x]
            elif isinstance(x, (Node, Tensor)):
                done.append(known[x])
            elif isinstance(x, np.ndarray):
                done.append((x.shape, x.dtype, hash(x.tobytes())))
            elif isinstance(x, (int, float, str, slice, np.generic)) or x is None:  # repr of others may vary
                done.append(repr(x))
    return hash(tuple(done))


def _run(f: Callable[..., Tensor], inputs: tuple[Any, ...]) -> tuple[Tensor, list[Node], list[Vertex]]:
    """f's value, the nodes made inside of f, and the vertices outside of f that they start from."""
    since = next(stamps)
    with enable_grad():
        value = f(*inputs)
    if not isinstance(value, Tensor):
        raise TypeError(f"checkpoint: the function returned {type(value).__name__}, not a Tensor")
    nodes = toposort([vertex(value)], since)
    inside = set(nodes)
    ends = dict.fromkeys(v for n in nodes for v in n.inputs if isinstance(v, (Node, Tensor)) and v not in inside)
    return value, nodes, list(ends)
