"""Who is told what happens in a thread: `profile` and `debug` are tracers.

The recorder, the call of a module, an optimiser's step and `x.data` ask `this_thread.tracer` once, which takes some
35 ns; nearly always it is None, and nothing is in the way.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

Made = tuple[Any, tuple[Any, ...]]  # what a rule's function returns: the value and its pullbacks


class Tracer:
    """Override what is to be told; whatever is run is handed in, and what comes out is to be returned."""

    def operation(self, rule: Any, run: Callable[..., Made], inputs: Any, settings: dict[str, Any]) -> Made:
        """A rule is applied; run is its function, or the tracer that stands nearer to it."""
        return run(*inputs, **settings)

    def recorded(self, node: Any) -> None:
        """The operation has been recorded."""

    def step(self, optimizer: Any, step: Callable[[Any], None]) -> None:
        """An optimiser changes its parameters."""
        step(optimizer)

    def handed_out(self, tensor: Any) -> None:
        """External code asks for `tensor.data`, and may write into it."""

    def start(self, everywhere: bool = False) -> None:
        """Be told from now on of this thread, or of all."""
        with _lock:
            self._among = _everywhere if everywhere else this_thread.tracers
            self._among.append(self)
            _running.append(self)
            if everywhere:
                _Thread.tracer = _Chain([])
            else:
                this_thread.tracer = _Chain(self._among)

    def stop(self) -> None:
        """Be told nothing any more."""
        with _lock:
            self._among.remove(self)
            _running.remove(self)
            if not _everywhere:
                _Thread.tracer = None
            if not this_thread.tracers:
                vars(this_thread).pop("tracer", None)
            if not _running:
                _outermost.clear()


class _Chain:
    """The tracers of one thread, and inside of them those of all threads; of each the last started is outermost."""

    def __init__(self, tracers: list[Tracer]) -> None:
        self.tracers = tracers

    def around(self, rule: Any) -> Callable[..., Made]:
        """The rule's function, with all of them in front of it."""
        run: Callable[..., Made] = functools.partial(_checked, rule)
        for tracer in (*_everywhere, *self.tracers):
            run = functools.partial(_operation, tracer, rule, run)
        return run

    def recorded(self, node: Any) -> None:
        for tracer in (*_everywhere, *self.tracers):
            tracer.recorded(node)

    def step(self, optimizer: Any, step: Callable[[Any], None]) -> None:
        for tracer in (*_everywhere, *self.tracers):
            step = functools.partial(tracer.step, step=step)
        step(optimizer)

    def handed_out(self, tensor: Any) -> None:
        for tracer in (*_everywhere, *self.tracers):
            tracer.handed_out(tensor)


def _checked(rule: Any, /, *inputs: Any, **settings: Any) -> Made:
    return rule.pair(rule.function(*inputs, **settings), len(inputs))  # type: ignore[no-any-return]


def _operation(tracer: Tracer, rule: Any, run: Callable[..., Made], /, *inputs: Any, **settings: Any) -> Made:
    return tracer.operation(rule, run, inputs, settings)


class _Thread(threading.local):
    """What belongs to one thread; the class's tracer is that of every thread that has none of its own."""

    tracer: _Chain | None = None

    def __init__(self) -> None:
        self.tracers: list[Tracer] = []
        self.modules: list[str] = []  # the paths of the modules that are being called
        self.paths: dict[int, str] = {}  # by id, of the modules in the outermost of them


this_thread = _Thread()

_lock = threading.Lock()
_running: list[Tracer] = []
_everywhere: list[Tracer] = []
_outermost: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()  # by id, modules called from outside


def call(module: Any, *args: Any, **kwargs: Any) -> Any:
    """module.forward(...), and meanwhile `module_path` is that of this module."""
    if not this_thread.modules:
        this_thread.paths = {id(child): path for path, child in module.named_modules()}
        _outermost[id(module)] = module
    this_thread.modules.append(this_thread.paths.get(id(module), "") or type(module).__name__)
    try:
        return module.forward(*args, **kwargs)
    finally:
        this_thread.modules.pop()


def module_path() -> str:
    """The path of the module that is being called in this thread; "" outside of any."""
    return this_thread.modules[-1] if this_thread.modules else ""


def parameter_name(array: Any) -> str:
    """The path of the parameter of this array in the outermost module that has it, of those called; "" if none has."""
    found = [""]
    for module in list(_outermost.values()):
        with suppress(TypeError, ValueError):  # a module that cannot be walked
            found += [
                f"{path} of {type(module).__name__}" for path, p in module.named_parameters() if p._array is array
            ]
    return max(found, key=lambda name: (bool(name), name.count(".")))


def stands_before(pullback: Callable[[Any], Any], wrapper: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The wrapper, marked as one: what it closes over of its own is nothing that a gradient needs."""
    wrapper.stands_before = pullback  # type: ignore[attr-defined]
    return wrapper
