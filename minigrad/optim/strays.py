"""Parameters that backward gives a gradient, though no optimiser holds them: a layer that was forgotten."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from minigrad import autograd
from minigrad.tensor import Tensor


class Stray(NamedTuple):
    """A parameter that backward gave a gradient, though no optimiser holds it."""

    leaf: weakref.ref[Tensor]
    shape: tuple[int, ...]
    beside: list[weakref.ref[Tensor]]  # held leaves that got one in the same pass


class _Local(threading.local):
    def __init__(self) -> None:
        self.strays: list[Stray] = []


_local = _Local()
_held: dict[int, weakref.ref[Tensor]] = {}  # by id, the leaves of hold


def hold(leaf: Tensor) -> None:
    """From now on an optimiser holds this leaf."""
    key, forget = id(leaf), _held.pop
    _held[key] = weakref.ref(leaf, lambda _: forget(key, None))


def take_strays(leaves: Iterable[Tensor]) -> list[Stray]:
    """The strays of backward passes in this thread that reached one of these leaves, and that are not held since.

    Of those that are gone by now, the last pass's alone.
    """
    if not _local.strays:
        return []
    ids = set(map(id, leaves))
    found: list[Stray] = []
    others: list[Stray] = []
    for stray in _local.strays:
        concerned = any(id(leaf) in ids for reference in stray.beside if (leaf := reference()) is not None)
        (found if concerned else others).append(stray)
    _local.strays = others
    return [stray for stray in found if (leaf := stray.leaf()) is None or id(leaf) not in _held]


def _note(gradients: Mapping[Tensor, Tensor]) -> None:
    strays = [leaf for leaf in gradients if id(leaf) not in _held and leaf.is_parameter]
    if strays or _local.strays:
        before = [(stray, stray.leaf()) for stray in _local.strays]
        _local.strays = [stray for stray, leaf in before if leaf is not None and leaf not in gradients]
        beside = [weakref.ref(leaf) for leaf in gradients if id(leaf) in _held]
        if beside:
            _local.strays += [Stray(weakref.ref(leaf), leaf.shape, beside) for leaf in strays]


autograd.delivered = _note
