"""A backward pass over an existing graph, recorded: every value, every contribution to every gradient, in order.

Nodes keep neither the values that went into them nor what came out, so the rules are run again on the leaves, oldest
first; what they give must be the output, bit by bit. The gradients are then pulled back by the node's own pullbacks,
in the engine's order and with the engine's arithmetic, so they are those of `backward`. How a recording is shown is the
matter of others: nothing here knows of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from minigrad import checks, graph
from minigrad.autograd import initial_cotangent, pull
from minigrad.explain.words import entry, in_names_of
from minigrad.functional.definition import DEFINITIONS, Definition
from minigrad.graph import Node, Vertex, toposort, vertex
from minigrad.modes import enable_grad, no_grad
from minigrad.nn.module import Module
from minigrad.rule import Rule
from minigrad.tensor import Array, Tensor, detached, owner


@dataclass(eq=False)
class Value:
    """An array of the graph, and the gradient that arrived there.

    kind: "leaf", "constant" (no gradient is wanted), or "result" of an operation. gradient: None where none arrived;
    before_hooks: what it was before hooks changed it. contributions: what arrived, in order. differences: at each
    index that was probed, the finite difference. faults: the nearest contributions that made it wrong.
    """

    name: str
    kind: str
    array: Array
    operation: Operation | None = None
    gradient: Array | None = None
    before_hooks: Array | None = None
    seed: Array | None = None
    contributions: list[Contribution] = field(default_factory=list)
    differences: dict[tuple[int, ...], float] = field(default_factory=dict)
    faults: list[Contribution] = field(default_factory=list)

    @property
    def called(self) -> str:
        """Its name in a formula or a call: of a parameter's path the last part."""
        return self.name.rpartition(".")[2] if self.kind == "leaf" else self.name

    def apart(self, index: tuple[int, ...]) -> bool:
        """Whether gradient and difference at this index are further apart than rounding and a step explain."""
        assert self.gradient is not None
        g, d = float(self.gradient[index]), self.differences[index]
        largest = max((abs(x) for x in self.differences.values() if np.isfinite(x)), default=0.0)
        upstream = (
            c.operation.output.gradient for c in self.contributions
        )  # of which sums may cancel to their rounding
        rounding = sum(float(np.sum(np.abs(u))) for u in upstream if u is not None) * np.finfo(self.gradient.dtype).eps
        return not (abs(g - d) <= 1e-4 * max(abs(g), abs(d), 1e-2 * largest) + rounding + 1e-9 or g == d)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.name}, {self.array.dtype.name} {self.array.shape}>"


@dataclass(eq=False)
class Operation:
    """One application of a rule. inputs: by the rule's names for them; None for an input that is no array.

    file, line: of the user's program, and module: the path of the module that called it; None and "" where unknown.
    contributions: what it gave its inputs, in order; empty where no gradient came.
    """

    number: int
    rule: Rule
    arguments: list[Any]
    settings: dict[str, Any]
    inputs: dict[str, Value | None]
    output: Value
    file: str | None
    line: int | None
    module: str
    contributions: list[Contribution] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.rule.name

    @property
    def definition(self) -> Definition[..., Any] | None:
        """What the rule is the fast kernel of; None for any other rule."""
        return next((d for d in DEFINITIONS if d.kernel is self.rule), None)

    @property
    def formula(self) -> str:
        """The first line of the docstring of the rule, or of the definition that it is the kernel of."""
        return ((self.definition or self.rule).__doc__ or "").strip().partition("\n")[0]

    @property
    def written(self) -> str:
        """The formula, in the names of the inputs."""
        return in_names_of(self.formula, {p: None if v is None else v.called for p, v in self.inputs.items()})

    @property
    def call(self) -> str:
        """The operation as it would be called: "multiply(w, x)"."""
        inputs = [v.called for v in self.inputs.values() if v is not None]
        settings = [
            f"{name}={setting.name if isinstance(setting, np.dtype) else checks.shown(setting)}"
            for name, setting in self.settings.items()
            if setting is not None
        ]
        return f"{self.name}({', '.join(inputs + settings)})"

    @property
    def source(self) -> str:
        """The line as "train.py:12", or "" where it is unknown."""
        return "" if self.file is None else f"{Path(self.file).name}:{self.line}"

    @property
    def code(self) -> str:
        """The text of that line, where the file is there."""
        import linecache

        return "" if self.file is None or self.line is None else linecache.getline(self.file, self.line).strip()

    def __repr__(self) -> str:
        return f"<operation {self.number}: {self.output.name} = {self.call}>"


@dataclass(eq=False, repr=False)
class Contribution:
    """What one operation gave to the gradient of one of its inputs.

    pulled: what the pullback made of the upstream gradient; axes: those that this was summed over because the input
    had been broadcast; array: after that. total: the gradient with all that had arrived by then; waiting: how many
    contributions were still to come. fault: where the finite differences of the rule say otherwise.
    """

    operation: Operation
    position: int
    to: Value
    pulled: Array
    axes: tuple[int, ...]
    array: Array
    total: Array
    waiting: int = 0
    fault: Fault | None = None

    def __repr__(self) -> str:
        return f"<contribution of {self.operation!r} to {self.to.name}>"

    @property
    def accusation(self) -> str:
        """What is wrong with it, in words; "" where nothing is known to be."""
        if self.fault is None:
            return ""
        where = f", {self.operation.source}," if self.operation.source else ""
        to, given = entry(self.to.name, self.fault.index), f"{self.fault.given:.5g}"
        return (
            f"wrong: {self.operation.name}{where} gives {to} {given}, by finite differences {self.fault.difference:.5g}"
        )


@dataclass(frozen=True)
class Fault:
    """At this index a pullback gives something else than the finite difference of its rule."""

    index: tuple[int, ...]
    given: float
    difference: float


class Step(NamedTuple):
    """One thing that happens, in the order in which it does.

    kind: "forward" (an operation gives its output), "start" (the gradient of the output is given), "pull" (a pullback
    gives a contribution), "sum" (over the axes along which the input had been broadcast), "add" (the contribution
    joins what had arrived), "hook" (hooks change a gradient). value: what it happens to, array: what comes out.
    waiting: after "add", how many contributions are still to come.
    """

    kind: str
    operation: Operation | None
    value: Value
    array: Array
    axes: tuple[int, ...] = ()
    waiting: int = 0


@dataclass(eq=False, repr=False)
class Recording:
    """values: all arrays of the graph, leaves and constants first; operations: oldest first; output: the value that the
    pass began at; vertices: the value of each node and leaf of the graph.
    """

    values: list[Value]
    operations: list[Operation]
    output: Value
    vertices: dict[Any, Value]

    def __repr__(self) -> str:
        kind = type(self).__name__.lower()
        return f"<{kind} of {self.output.name}: {len(self.operations)} operations, {len(self.values)} values>"

    @property
    def steps(self) -> list[Step]:
        """All that happened, in order: the forward pass, then the backward pass."""
        return [*self._forward(), *self._backward()]

    def _forward(self) -> Iterator[Step]:
        return (Step("forward", operation, operation.output, operation.output.array) for operation in self.operations)

    def _backward(self) -> Iterator[Step]:
        assert self.output.seed is not None
        yield Step("start", None, self.output, self.output.seed)
        yield from self._hooks(self.output)
        for operation in reversed(self.operations):
            for c in operation.contributions:
                yield Step("pull", operation, c.to, c.pulled)
                if c.axes:
                    yield Step("sum", operation, c.to, c.array, c.axes)
                yield Step("add", operation, c.to, c.total, waiting=c.waiting)
                if not c.waiting:
                    yield from self._hooks(c.to)

    def _hooks(self, value: Value) -> Iterator[Step]:
        if value.before_hooks is not None and value.gradient is not None:
            yield Step("hook", None, value, value.gradient)

    def value(self, of: Tensor | Value | str) -> Value:
        """The value of a tensor of the graph, or of this name."""
        if isinstance(of, Value):
            return of
        if isinstance(of, Tensor):
            found = self.vertices.get(vertex(of))
            if found is None:
                raise ValueError(
                    f"this tensor of shape {of.shape} is not in the graph that was explained: no path leads from it to "
                    f"{self.output.name}, so its gradient is None"
                )
            return found
        if not isinstance(of, str):
            raise TypeError(f"value: a Tensor, or the name of one, not {checks.shown(of)}")
        found = next((v for v in self.values if v.name == of), None)
        if found is None:
            known = ", ".join(v.name for v in self.values[:20])
            raise ValueError(f"no value is called {of!r}; there are {known}{', ...' * (len(self.values) > 20)}")
        return found

    def gradient(self, of: Tensor | Value | str) -> Array | None:
        """The gradient that arrived at this value."""
        return self.value(of).gradient

    def groups(self, depth: int | None) -> list[tuple[str, list[Operation]]]:
        """Runs of operations of one module, whose path is cut after `depth` names; with None each stands alone."""
        if depth is None:
            return [("", [operation]) for operation in self.operations]
        found: list[tuple[str, list[Operation]]] = []
        for operation in self.operations:
            path = ".".join(operation.module.split(".")[:depth])
            if found and path and found[-1][0] == path:
                found[-1][1].append(operation)
            else:
                found.append((path, [operation]))
        return found


# ---- recording -------------------------------------------------------------------------------------------------------


def record(output: Tensor, inputs: Any, gradient: Any, scopes: Sequence[Mapping[str, Any]]) -> Recording:
    """Run the backward pass and keep what passes; scopes: where names of tensors are looked up."""
    given, targets = _targets(inputs)
    with no_grad():
        seed = initial_cotangent(output, gradient, False)
        nodes = toposort([vertex(output)])
        graph.guard.verify(nodes, True, None)  # strictly, for the values are shown, too
        names = _Names(given, scopes)
        values, operations = _forward(nodes, names)
        start = values.get(vertex(output))
        if start is None:  # the output is a leaf
            start = values[vertex(output)] = Value(names.of(output, "leaf"), "leaf", output._array.copy())
        if not np.array_equal(start.array, output._array, equal_nan=True):
            raise RuntimeError(
                "explain: the forward pass, run again, gives another output: an array was written into since, or a "
                "rule does something else when it is called again; explain before the optimiser's step"
            )
        for i, x in enumerate(targets or ()):
            if vertex(x) not in values:
                raise ValueError(f"explain: the output does not depend on inputs[{i}]")
        wanted = None if targets is None else {vertex(x): x for x in targets}
        pull([output], [seed], wanted, retain_graph=True, create_graph=False, observer=_Observer(values))
        start.seed = next(g for g in (start.before_hooks, start.gradient, seed) if g is not None)
    everything = {id(v): v for o in operations for v in o.inputs.values() if v is not None}
    everything |= {id(v): v for v in values.values()}
    made = sorted(everything.values(), key=lambda v: v.operation.number if v.operation else 0)
    return Recording(made, operations, start, values)


def inside(value: Value) -> Recording:
    """A recording of the definition whose fast kernel made this value, run in its place."""
    operation = value.operation
    if operation is None or operation.definition is None:
        raise ValueError(f"inside: {value.name} was not made by a kernel that stands for several operations")
    if value.gradient is None:
        raise ValueError(f"inside: no gradient arrived at {value.name}")
    scope = {v: Tensor(v.array, requires_grad=bool(v.contributions)) for v in operation.inputs.values() if v}
    with enable_grad():
        given = {name: v and scope[v] for name, v in operation.inputs.items()}
        output = cast(Any, operation.definition.reference)(**given, **operation.settings)
    names = {v.name: x for v, x in scope.items()}
    leaves = {name: x for name, x in names.items() if x.requires_grad}
    return record(output, leaves, value.gradient, [{value.name: output}, names])


def _targets(inputs: Any) -> tuple[dict[str, Tensor], list[Tensor] | None]:
    if inputs is None:
        return {}, None
    named = dict(inputs) if isinstance(inputs, Mapping) else {}
    if isinstance(inputs, Tensor):
        tensors = [inputs]
    elif isinstance(inputs, Mapping | list | tuple):
        tensors = list(inputs.values() if isinstance(inputs, Mapping) else inputs)
    else:
        raise TypeError(f"explain: inputs must be Tensors, or a dict of them by name, not {checks.shown(inputs)}")
    for i, x in enumerate(tensors):
        if not isinstance(x, Tensor) or not x.requires_grad:
            raise ValueError(f"explain: inputs[{i}] is no Tensor that requires a gradient")
    return named, tensors


class _Names:
    """Names for values: as given, else those of the variables in scope, else t1, leaf1 and c1."""

    def __init__(self, given: Mapping[str, Tensor], scopes: Sequence[Mapping[str, Any]]) -> None:
        self.known = {id(vertex(x)): str(name) for name, x in given.items()}
        variables = [(n, x) for scope in scopes for n, x in list(scope.items()) if n.isidentifier() and n[0] != "_"]
        for name, x in variables:
            if isinstance(x, Module):
                for path, p in x.named_parameters():
                    self.known.setdefault(id(p), f"{name}.{path}")
        for name, x in variables:
            if isinstance(x, Tensor) or type(x) is np.ndarray:
                self.known.setdefault(id(vertex(x) if isinstance(x, Tensor) else x), name)
        self.used: set[str] = set()
        self.counts = {"t": 0, "leaf": 0, "c": 0}

    def of(self, x: Any, else_: str) -> str:
        name = self.known.get(id(x))
        while name is None or name in self.used:
            self.counts[else_] += 1
            name = f"{else_}{self.counts[else_]}"
            if name in self.known.values():
                name = None
        self.used.add(name)
        return name


def _forward(nodes: list[Node], names: _Names) -> tuple[dict[Any, Value], list[Operation]]:
    """The values by vertex, and the operations: each rule run again on what it was run on."""
    now: dict[Node, Array] = {}  # as recomputed; a Value holds a copy of what others may write into
    values: dict[Any, Value] = {}
    constants: dict[int, Value] = {}
    operations: list[Operation] = []
    outside: set[int] = set()

    def value_of(v: Any) -> Value | None:
        if type(v) is Node:
            return values[v]
        if isinstance(v, Tensor):
            if v not in values:
                outside.add(id(owner(v._array)))
                values[v] = Value(names.of(v, "leaf"), "leaf", v._array.copy())
            return values[v]
        if isinstance(v, np.ndarray):
            if id(v) not in constants:
                outside.add(id(owner(v)))
                name = f"{v.item() + 0:.6g}" if v.ndim == 0 and id(v) not in names.known else names.of(v, "c")
                constants[id(v)] = Value(name, "constant", v.copy())
            return constants[id(v)]
        return (
            None
            if v is None
            else Value(f"{v + 0.0:.6g}" if isinstance(v, float) else str(v), "constant", np.asarray(v))
        )

    for number, node in enumerate(nodes, 1):
        inputs = [value_of(v) for v in node.inputs]
        given = [now[v] if type(v) is Node else detached(v) for v in node.inputs]
        with np.errstate(all="ignore"):  # it has warned when it ran first
            array = np.asarray(detached(node.rule.function(*given, **node.settings)[0]))
        before = array if node.value is None else node.value
        if array.shape != node.shape or not (before is array or np.array_equal(before, array, equal_nan=True)):
            raise RuntimeError(
                f"explain: {node.rule.name}, run again, gives another value: an array was written into since; "
                "explain before the optimiser's step"
            )
        now[node] = array
        if array.base is not None and id(owner(array)) in outside:
            array = array.copy()
        settings = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in node.settings.items()}
        file, line, module = node.made_at or (None, None, "")
        arguments = [x.array if isinstance(v, Node | Tensor | np.ndarray) and x else v
                     for v, x in zip(node.inputs, inputs, strict=True)]  # fmt: skip
        output = Value(names.of(node, "t"), "result", array)
        labels = node.rule.inputs or [f"input {i}" for i in range(len(inputs))]
        output.operation = Operation(
            number, node.rule, arguments, settings, dict(zip(labels, inputs, strict=True)), output, file, line, module
        )
        values[node] = output
        operations.append(output.operation)
    return values, operations


class _Observer:
    """Notes at the values what the engine's backward pass tells."""

    def __init__(self, values: dict[Any, Value]) -> None:
        self.values = values

    def contributed(self, node: Node, place: int, pulled: Any, h: Array, total: Any) -> None:
        operation, to = self.values[node].operation, self.values[node.inputs[place]]
        assert operation is not None  # of a node's value there is one
        pulled = np.asarray(detached(pulled))
        axes = _summed(pulled.shape, to.array.shape)
        contribution = Contribution(
            operation, place, to, pulled, axes, np.asarray(detached(h)), np.asarray(detached(total))
        )
        operation.contributions.append(contribution)
        to.contributions.append(contribution)

    def complete(self, v: Vertex, before_hooks: Any, g: Any) -> None:
        value = self.values[v]
        value.gradient = np.asarray(detached(g))
        if v.hooks:
            value.before_hooks = np.asarray(before_hooks)
        for waiting, contribution in enumerate(reversed(value.contributions)):
            contribution.waiting = waiting


def _summed(shape: tuple[int, ...], to: tuple[int, ...]) -> tuple[int, ...]:
    """The axes over which unbroadcast sums."""
    lead = len(shape) - len(to)
    return (*range(lead), *(lead + i for i, n in enumerate(to) if n == 1 and shape[lead + i] != 1))
