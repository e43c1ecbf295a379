"""Where the time goes: each operation timed, forward and backward, by name and by module.

A profile is a tracer of all threads, with a clock; the pullbacks of what is recorded meanwhile have one, too.
"""

from __future__ import annotations

import functools
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from minigrad.optim.optimizers import Optimizer
from minigrad.rule import Rule
from minigrad.trace import Made, Tracer, module_path, stands_before


class Event(NamedTuple):
    """One run of an operation. module: the path of the layer that called it. start, seconds: by time.perf_counter.

    own: the seconds less those of other operations inside. bytes: of the arrays that came out.
    """

    operation: str
    direction: str  # forward, backward, or step for an optimiser's
    module: str
    start: float
    seconds: float
    own: float
    bytes: int
    thread: int


class profile(Tracer):  # noqa: N801  a context manager, named as no_grad is
    """Times every operation inside of this `with`; printed, it is a table by operation and one by module.

    What was seen is in `events`; `trace(path)` writes it for chrome://tracing or ui.perfetto.dev. An operation's row
    has the calls (backward, of the pullbacks: one for each input), the milliseconds, their share of all that passed,
    and the MiB of the arrays that it made; a module's includes those below it, but for the outermost's, which has a row
    for operations of its own. Backward is counted where the graph was made inside, too. Between operations lie Python,
    random masks and running statistics; each operation takes a few microseconds longer meanwhile.

    >>> import numpy as np, minigrad as mg
    >>> x = mg.ones(3, requires_grad=True)
    >>> with mg.profile() as profiler:
    ...     np.sum(np.exp(x)).backward()
    >>> [(event.operation, event.direction) for event in profiler.events]
    [('exp', 'forward'), ('sum', 'forward'), ('sum', 'backward'), ('exp', 'backward')]
    """

    _running = threading.Lock()

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.seconds = 0.0

    def __enter__(self) -> Self:
        if not profile._running.acquire(blocking=False):
            raise RuntimeError("another profile is running: one at a time")
        self._inside = _Inside()
        self._open = True
        self.start(everywhere=True)
        self._start = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds += time.perf_counter() - self._start
        self._open = False
        self.stop()
        profile._running.release()

    # ---- the clock ----

    def _timed(self, operation: str, direction: str, module: str, function: Callable[[], Any]) -> Any:
        inside, self._inside.seconds = self._inside.seconds, 0.0
        start = time.perf_counter()
        try:
            result = function()
        except BaseException:
            self._inside.seconds = inside
            raise
        seconds = time.perf_counter() - start
        own, self._inside.seconds = seconds - self._inside.seconds, inside + seconds
        array = result[0] if isinstance(result, tuple) else result
        size = getattr(array, "nbytes", 0)
        self.events.append(Event(operation, direction, module, start, seconds, own, size, threading.get_ident()))
        return result

    def operation(self, rule: Rule, run: Callable[..., Made], inputs: Any, settings: dict[str, Any]) -> Made:
        module = module_path()

        def timed(pullback: Callable[[Any], Any] | None) -> Any:
            if pullback is None:
                return None

            def pull(g: Any) -> Any:
                timed_run = functools.partial(pullback, g)
                return self._timed(rule.name, "backward", module, timed_run) if self._open else timed_run()

            return stands_before(pullback, pull)

        value, pullbacks = self._timed(rule.name, "forward", module, lambda: run(*inputs, **settings))
        return value, tuple(map(timed, pullbacks))

    def step(self, optimizer: Optimizer, step: Callable[[Optimizer], None]) -> None:
        self._timed(type(optimizer).__name__, "step", "", lambda: step(optimizer))

    # ---- what was seen ----

    def __str__(self) -> str:
        rest = self.seconds - sum(event.own for event in self.events)
        return "\n\n".join(
            [
                self._table("operation", lambda event: (f"{event.operation}, {event.direction}",), rest),
                self._table("module", lambda event: _above(event.module), rest),
            ]
        )

    def _table(self, what: str, groups: Callable[[Event], Iterable[str]], rest: float) -> str:
        found: defaultdict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
        for event in self.events:
            for group in groups(event):
                row = found[group]
                row[0] += 1
                row[1] += event.own
                row[2] += event.bytes
        rows = sorted(found.items(), key=lambda item: -item[1][1])
        width = max([len(name) for name in found] + [len("between operations")])
        lines = [f"{what:{width}} {'calls':>8} {'ms':>10} {'share':>7} {'MiB':>10}"]
        share = 100 / max(self.seconds, 1e-12)
        for name, (calls, seconds, size) in rows:
            lines.append(
                f"{name:{width}} {int(calls):8} {1e3 * seconds:10.3f} {share * seconds:6.1f}% {size / 2**20:10.1f}"
            )
        lines.append(f"{'between operations':{width}} {'':8} {1e3 * rest:10.3f} {share * rest:6.1f}%")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"<profile of {len(self.events)} events in {self.seconds:.3f} s>"

    def trace(self, path: str | os.PathLike[str]) -> None:
        """Write the events as JSON for chrome://tracing or ui.perfetto.dev, times in microseconds."""
        import json  # here, for few need it, and it is a twentieth of the time of `import minigrad`

        start = min((event.start for event in self.events), default=0.0)
        events = [
            {
                "name": event.operation,
                "cat": event.direction,
                "ph": "X",
                "ts": round(1e6 * (event.start - start), 3),
                "dur": round(1e6 * event.seconds, 3),
                "pid": os.getpid(),
                "tid": event.thread,
                "args": {"module": event.module, "bytes": event.bytes},
            }
            for event in self.events
        ]
        Path(path).write_text(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}))


class _Inside(threading.local):
    seconds = 0.0  # of the operations inside of the one that this thread is timing


def _above(module: str) -> list[str]:
    """The module and all that it is part of."""
    parts = module.split(".") if module else []
    return [".".join(parts[: i + 1]) for i in range(len(parts))] or ["(no module)"]
