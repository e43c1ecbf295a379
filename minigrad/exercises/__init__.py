"""Pullbacks to fill in, and to have graded: `python -m minigrad.exercises`.

catalogue.py says what is asked, sheets/ is what is handed out; grading.py tells whether an answer is right and which
mistake was made, in a process of its own (apart.py).
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import runpy
import subprocess
import sys
import traceback
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from minigrad.exercises.catalogue import EXERCISES, Exercise
from minigrad.exercises.grading import grade
from minigrad.rule import Rule

SECONDS = 60  # that a check may take; most take 1 to 4
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


def check_apart(path: Path, seconds: float = SECONDS) -> tuple[bool, str]:
    """What `check` says, from a process of its own: there the file may take for ever, crash, or end the program."""
    with TemporaryDirectory() as folder:
        verdict, trace = Path(folder, "verdict"), Path(folder, "trace")
        command = [sys.executable, "-m", "minigrad.exercises.apart", *map(str, (path, verdict, trace, seconds))]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment).returncode
        if verdict.exists():
            right, report = json.loads(verdict.read_text("utf-8"))
            return right, report
        said = trace.read_text("ascii") if trace.exists() else ""
    named = re.escape(str(path).encode("ascii", "backslashreplace").decode())
    line = re.search(f'File "{named}", line ([0-9]+)', said)
    where = f"{path.name}, line {line[1]}" if line else path.name
    if said.startswith("Timeout"):
        return False, f"{where}: no answer within {seconds:g} seconds. Is there a loop that does not end?"
    return False, (
        f"{where}: Python was ended (exit code {ended}) before all inputs were tried: by os._exit, or a crash. "
        "A pullback returns the gradient, and ends nothing."
    )


def check(path: Path) -> tuple[bool, str]:
    """Whether the rule in this file is right, and the report on it."""
    if importlib.util.find_spec("hypothesis") is None:
        return False, "--check draws inputs with Hypothesis: pip install hypothesis, which is in the extra 'test'"
    if path.suffix != ".py":
        return False, f"{path} is no Python file: --check takes the file that was handed out, as in multiply.py"
    try:
        scope = runpy.run_path(str(path))
    except OSError as error:
        return False, f"{path} cannot be read: {error.strerror}"
    except SyntaxError as error:
        return False, f"{path.name}, line {error.lineno}: {error.msg}\n    {(error.text or '').strip()}"
    except (Exception, SystemExit) as error:
        lines = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        where = f", line {lines[-1].lineno}" if lines else ""
        at = f"\n    {lines[-1].line}" if lines else ""
        return False, f"{path.name}{where}: {type(error).__name__}: {error}{at}"
    named = [exercise for exercise in EXERCISES if exercise.name in scope]
    exercise = next((e for e in named if e.name == path.stem), named[0] if named else None)
    if exercise is None:
        wanted = f"function {path.stem}" if path.stem in NAMES else "function with the name of an exercise"
        return False, f"{path.name} has no {wanted}: keep its name, and the line @mg.rule() above it."
    rule = scope[exercise.name]
    if not isinstance(rule, Rule):
        return False, f"{path.name}: {exercise.name} is no rule: put the line @mg.rule() back above it."
    if (rule.inputs, rule.settings[: len(exercise.rule.settings)]) != (exercise.rule.inputs, exercise.rule.settings):
        return False, f"{path.name}: {exercise.name} has other inputs: put the line back, {_signature(exercise)}"
    following = dict(pairwise(NAMES)).get(exercise.name)
    return grade(path, rule, exercise, following)


def _signature(exercise: Exercise) -> str:
    return f"def {exercise.name}({', '.join((*exercise.rule.inputs, '/', *exercise.rule.settings))}):"
