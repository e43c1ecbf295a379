"""Whether operations are recorded: `no_grad` and `enable_grad`, for a thread, an asyncio task or a generator."""

from __future__ import annotations

import contextvars
import functools
import inspect
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


class _Mode:
    """What `no_grad` and `enable_grad` share: a `with`, or a decorator."""

    records: bool

    def __init__(self, *undecorated: Any) -> None:
        if undecorated:
            raise TypeError(f"write @mg.{type(self).__name__}(), with brackets")

    def __enter__(self) -> None:
        modes.set((*modes.get(), (self, _generator_around(sys._getframe(1)))))

    def __exit__(self, *_: object) -> None:
        now = modes.get()
        mine = [i for i, (mode, _) in enumerate(now) if mode is self]
        if mine:  # a generator may be closed in another thread or task than it was opened in
            modes.set(now[: mine[-1]] + now[mine[-1] + 1 :])

    def __call__(self, function: F) -> F:
        mode = self

        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            with mode:
                return await function(*args, **kwargs)

        def generator(*args: Any, **kwargs: Any) -> Any:
            with mode:
                return (yield from function(*args, **kwargs))

        async def asynchronous(*args: Any, **kwargs: Any) -> Any:
            with mode:
                async for made in function(*args, **kwargs):
                    yield made

        def plain(*args: Any, **kwargs: Any) -> Any:
            with mode:
                return function(*args, **kwargs)

        decorated = next(
            (made for is_one, made in (
                (inspect.iscoroutinefunction, coroutine),
                (inspect.isgeneratorfunction, generator),
                (inspect.isasyncgenfunction, asynchronous),
            ) if is_one(function)),
            plain,
        )  # fmt: skip
        return cast(F, functools.wraps(function)(decorated))


# What each `with` that this thread, or asyncio task, is in says of recording, the innermost last; and the frame of the
# generator that it stands in, if it does: while that waits at a yield, the mode is not that of whoever runs.
modes: contextvars.ContextVar[tuple[tuple[_Mode, FrameType | None], ...]] = contextvars.ContextVar("modes", default=())
_YIELDS = inspect.CO_GENERATOR | inspect.CO_ITERABLE_COROUTINE | inspect.CO_ASYNC_GENERATOR


def _generator_around(frame: FrameType | None) -> FrameType | None:
    """The frame of a `with` if it is a generator's; of one in a context manager made of a generator, its user's."""
    while frame is not None:
        if frame.f_globals.get("__name__") != "contextlib":
            managed = frame.f_back is not None and frame.f_back.f_globals.get("__name__") == "contextlib"
            if not (managed and frame.f_code.co_flags & _YIELDS):
                break
        frame = frame.f_back
    return frame if frame is not None and frame.f_code.co_flags & _YIELDS else None


class no_grad(_Mode):  # noqa: N801  a keyword rather than a class, as everywhere
    """Record nothing inside of this `with`, or inside of the function it decorates, in this thread or asyncio task.

    In a generator, or as its decorator, it holds while that runs, and not for whoever runs while it waits at a yield.

    >>> import minigrad as mg
    >>> x = mg.tensor([1.0, 2.0], requires_grad=True)
    >>> with mg.no_grad():
    ...     y = x * 2
    >>> y.requires_grad
    False
    """

    records = False


class enable_grad(_Mode):  # noqa: N801
    """Record inside of this `with` (or decorated function), even within `no_grad`; otherwise as that."""

    records = True


class _EngineMode(_Mode):
    """The engine's own, of which no `with` stands in a generator: that spares 2 µs in each backward pass."""

    def __init__(self, records: bool) -> None:
        self.records = records

    def __enter__(self) -> None:
        modes.set((*modes.get(), (self, None)))


RECORDING = {records: _EngineMode(records) for records in (True, False)}


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread or asyncio task."""
    for mode, generator in reversed(modes.get()):
        if generator is None or generator.f_back is not None:  # which one has that runs
            return mode.records
    return True
