"""Pullbacks to fill in, and to have graded: `python -m minigrad.explain --exercise`."""

from __future__ import annotations

import importlib.util
import inspect
import runpy
from pathlib import Path

from minigrad.autograd import Rule
from minigrad.explain.exercises.catalogue import EXERCISES, Exercise

NAMES = tuple(exercise.name for exercise in EXERCISES)


def listing() -> str:
    """The exercises, a line each."""
    width = max(map(len, NAMES))
    return "\n".join(f"{exercise.name:{width}}  {exercise.teaches}" for exercise in EXERCISES)


def hand_out(name: str, folder: Path) -> Path:
    """Write NAME.py into this folder; ValueError for an unknown name, and where there is such a file already."""
    exercise = _named(name)
    path = folder / f"{name}.py"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(inspect.getsource(exercise.sheet))
    except FileExistsError:
        raise ValueError(
            f"{path.name} is there already, and left as it is: grade it with --check {path.name}, "
            "or move it away to start afresh"
        ) from None
    return path


def _named(name: str) -> Exercise:
    for exercise in EXERCISES:
        if exercise.name == name:
            return exercise
    raise ValueError(f"there is no exercise {name!r}, only:\n{listing()}")


def check(path: Path) -> tuple[bool, str]:
    """Whether the rule in this file is right, and the report on it."""
    if importlib.util.find_spec("hypothesis") is None:
        return False, "--check draws its inputs with Hypothesis, which is not installed: pip install 'minigrad[test]'"
    from minigrad.explain.exercises.grading import grade

    scope = runpy.run_path(str(path))
    for place, exercise in enumerate(EXERCISES):
        rule = scope.get(exercise.name)
        if isinstance(rule, Rule):
            following = NAMES[place + 1] if place + 1 < len(NAMES) else None
            return grade(path, rule, exercise, following)
    return False, f"{path.name} has no rule"
