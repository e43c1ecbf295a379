"""Operations watched from outside: what `profile` and `debug` stand on.

While somebody watches, the functions of all rules are called through the watchers, and it is noted which modules are
being called. At other times nothing is in the way: the engine knows nothing of watchers.
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from minigrad import guard
from minigrad.autograd import RULES, Rule
from minigrad.definitions import DEFINITIONS
from minigrad.nn.module import Module
from minigrad.optim.optimizers import Optimizer
from minigrad.tensor import Array, Tensor

Made = tuple[Any, tuple[Any, ...]]  # what a rule's function returns: the value and its pullbacks


class Watcher:
    """Override what is to be watched; each method calls on, and returns what came out."""

    def operation(self, rule: Rule, function: Callable[..., Made], inputs: Any, settings: dict[str, Any]) -> Made:
        return function(*inputs, **settings)

    def step(self, optimizer: Optimizer, step: Callable[[Optimizer], None]) -> None:
        step(optimizer)

    def handed_out(self, x: Tensor) -> None:
        """Somebody asks for `x.data`, and may write into it."""

    def start(self) -> None:
        """Begin to watch."""
        global _watchers
        with _lock:
            if not _watchers:
                _stand_between()
            _watchers = (*_watchers, self)

    def stop(self) -> None:
        """See nothing any more."""
        global _watchers
        with _lock:
            _watchers = tuple(w for w in _watchers if w is not self)
            if _watchers:
                return
            while _plain:
                owner, name, value = _plain.pop()
                setattr(owner, name, value)
            while _late:
                rule, function = _late.popitem()
                rule.function = function
            guard.asked_in.clear()
            _called.clear()


_lock = threading.Lock()
_watchers: tuple[Watcher, ...] = ()
_plain: list[tuple[Any, str, Any]] = []  # what stood there before, to be put back
_late: weakref.WeakKeyDictionary[Rule, Any] = weakref.WeakKeyDictionary()  # and in rules made since, as checkpoints do


_called: weakref.WeakValueDictionary[int, Module] = weakref.WeakValueDictionary()  # by id, those called from outside


class _Local(threading.local):
    def __init__(self) -> None:
        self.modules: list[str] = []  # the paths of the modules that this thread is calling
        self.names: dict[int, str] = {}


_local = _Local()


def module_path() -> str:
    """The path of the module that is being called in this thread; "" outside of any."""
    return _local.modules[-1] if _local.modules else ""


def parameter_name(array: Array) -> str:
    """The path of the parameter of this array in the outermost module that has it, of those called; "" if none has."""
    found = [""]
    for module in list(_called.values()):
        with suppress(TypeError, ValueError):  # a module that cannot be walked
            found += [
                f"{path} of {type(module).__name__}" for path, p in module.named_parameters() if p._array is array
            ]
    return max(found, key=lambda name: (bool(name), name.count(".")))


_LIBRARIES = tuple(str(Path(file).parent) + os.sep for file in (__file__, np.__file__))


def source() -> tuple[str, int]:
    """The innermost line outside of this package and of NumPy that led here: its file and its number."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_LIBRARIES):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


def shown(path: str, number: int) -> str:
    """That line as "train.py:12"."""
    return f"{Path(path).name}:{number}"


def _stand_between() -> None:
    def put(owner: Any, name: str, value: Any) -> None:
        _plain.append((owner, name, vars(owner)[name]))
        setattr(owner, name, value)

    def between(rule: Rule) -> Callable[..., Made]:
        function = rule.function

        def watched(*inputs: Any, **settings: Any) -> Made:
            run: Callable[..., Made] = function
            for watcher in _watchers:
                run = functools.partial(_through, watcher, rule, run)
            return run(*inputs, **settings)

        return watched

    for rule in [*RULES, *(definition.fast for definition in DEFINITIONS if definition.fast is not None)]:
        put(rule, "function", between(rule))
    made, call, step = Rule.__init__, Module.__call__, Optimizer.step

    def made_meanwhile(rule: Rule, *args: Any, **kwargs: Any) -> None:
        made(rule, *args, **kwargs)
        _late[rule] = rule.function
        rule.function = between(rule)

    def watched_call(module: Module, *args: Any, **kwargs: Any) -> Any:
        if not _local.modules:
            _local.names = {id(child): path for path, child in module.named_modules()}
            _called[id(module)] = module
        _local.modules.append(_local.names.get(id(module), "") or type(module).__name__)
        try:
            return call(module, *args, **kwargs)
        finally:
            _local.modules.pop()

    def watched_step(optimizer: Optimizer) -> None:
        run: Callable[[Optimizer], None] = step
        for watcher in _watchers:
            run = functools.partial(watcher.step, step=run)
        run(optimizer)

    def get_data(x: Tensor) -> Array:
        for watcher in _watchers:
            watcher.handed_out(x)
        return data.__get__(x)  # type: ignore[no-any-return]

    data: Any = Tensor.__dict__["data"]
    put(Tensor, "data", property(get_data, data.__set__, doc=data.__doc__))
    put(Rule, "__init__", made_meanwhile)
    put(Module, "__call__", watched_call)
    put(Optimizer, "step", watched_step)


def _through(watcher: Watcher, rule: Rule, run: Callable[..., Made], *inputs: Any, **settings: Any) -> Made:
    return watcher.operation(rule, run, inputs, settings)
