"""A recording in what JSON can hold: for programs that read it, and for the page.

A value is named by its place among the recording's values. What an array becomes is said by whoever writes: in a file
its numbers stand where it is used, the page has a table of all arrays.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from minigrad.explain.arrays import summary
from minigrad.explain.recording import Operation, Recording, Step, Value
from minigrad.explain.words import legible
from minigrad.tensor import Array


class Encoding:
    """What every JSON of a recording says of its values, operations and steps. array: what an array becomes."""

    def __init__(self, recording: Recording, array: Callable[[Array], Any]) -> None:
        self.places = {id(v): i for i, v in enumerate(recording.values)}
        self._array = array

    def array(self, a: Array | None) -> Any:
        return None if a is None else self._array(a)

    def place(self, v: Value | None) -> int | None:
        return None if v is None else self.places[id(v)]

    def value(self, v: Value) -> dict[str, Any]:
        return {
            "name": legible(v.name),
            "kind": v.kind,
            "array": self.array(v.array),
            "gradient": self.array(v.gradient),
        }

    def operation(self, o: Operation) -> dict[str, Any]:
        return {
            "rule": legible(o.name),
            "call": legible(o.call),
            "output": self.place(o.output),
            "source": legible(o.source),
            "code": legible(o.code),
            "module": legible(o.module),
        }

    def step(self, step: Step) -> dict[str, Any]:
        return {"kind": step.kind, "value": self.place(step.value)}


def plain(x: Any) -> Any:
    """For JSON, which has no NaN and no infinity: these as text; and 0 without a sign."""
    if isinstance(x, list | tuple):
        return [plain(y) for y in x]
    if not isinstance(x, float):
        return x
    return x + 0.0 if math.isfinite(x) else str(x)


def to_json(recording: Recording, most: int) -> str:
    """All of it; of arrays of more than `most` numbers only their summary."""

    def array(a: Array) -> dict[str, Any]:
        found = {k: plain(x) for k, x in summary(a).items()}
        return found | ({"values": plain(a.tolist())} if a.size <= most else {})

    encoding = Encoding(recording, array)

    def value(v: Value) -> dict[str, Any]:
        return encoding.value(v) | {
            "before_hooks": encoding.array(v.before_hooks),
            "operation": v.operation and v.operation.number,
            "differences": [{"index": list(i), "value": plain(d)} for i, d in v.differences.items()],
        }

    def operation(o: Operation) -> dict[str, Any]:
        return encoding.operation(o) | {
            "number": o.number,
            "formula": legible(o.formula),
            "inputs": {legible(name): encoding.place(v) for name, v in o.inputs.items()},
            "faults": [legible(c.accusation) for c in o.contributions if c.fault],
        }

    def step(step: Step) -> dict[str, Any]:
        return encoding.step(step) | {
            "operation": step.operation and step.operation.number,
            "array": encoding.array(step.array),
            "axes": list(step.axes),
            "waiting": step.waiting,
        }

    found = {
        "output": encoding.place(recording.output),
        "values": [value(v) for v in recording.values],
        "operations": [operation(o) for o in recording.operations],
        "steps": [step(s) for s in recording.steps],
    }
    return json.dumps(found, ensure_ascii=False, allow_nan=False)
