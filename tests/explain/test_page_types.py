"""The types of the page's scripts: TypeScript checks them, strictly, and that Python writes what they say is read."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
from minigrad.explain import page
from tests.explain.programs import PROGRAMS, guilty, leaf
from tests.explain.test_page import data

FOLDER = Path(page.__file__).parent

pytestmark = pytest.mark.skipif(
    shutil.which("tsc") is None, reason="TypeScript is not installed: npm install --global typescript"
)


@pytest.fixture
def faults(tmp_path):
    """A function that gives what TypeScript finds wrong in the page's scripts with these behind them, line by line."""

    def faults_(*scripts):
        paths = [tmp_path / f"{i}.js" for i in range(len(scripts))]
        for path, script in zip(paths, scripts, strict=True):
            path.write_text(script, encoding="utf-8")
        config = {"extends": os.fspath(FOLDER / "jsconfig.json"), "include": [os.fspath(FOLDER / "*.js"), "*.js"]}
        (tmp_path / "jsconfig.json").write_text(json.dumps(config), encoding="utf-8")
        command = [shutil.which("tsc"), "--project", tmp_path / "jsconfig.json", "--pretty", "false"]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=300)
        assert (done.returncode == 0) == (not done.stdout), done
        return [line for line in done.stdout.splitlines() if line[:1] != " "]

    return faults_


def test_the_scripts_have_types_that_hold(faults):
    assert faults() == []


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("state.position = 3;", "read-only property"),
        ('state.folded.add("");', "'add' does not exist on type 'ReadonlySet<string>'"),
        ("operations[0].outptu;", "Did you mean 'output'?"),
        ("arrays[0].numbers.length;", "possibly 'undefined'"),
        ("operations[steps[0].operation];", "'null' cannot be used as an index type"),
        ("export const f = (x) => x;", "implicitly has an 'any' type"),
    ],
)
def test_what_would_be_wrong_is_found(script, told, faults):
    (fault,) = faults(script)
    assert told in fault


def written():
    yield from (mg.explain(*program()) for program in PROGRAMS[:-1])
    x = leaf([1.0, 0.0])
    y = x * [[1.0], [2.0]]
    y.register_hook(lambda g: g * 3)
    yield mg.explain(y, gradient=np.array([[np.inf, 1.0], [0.0, np.nan]]))
    yield mg.explain(leaf([3.0, 4.0]) * np.array([True, False]), gradient=np.ones(2))
    yield mg.explain(leaf(np.full(100, 1e300)) * np.full(100, np.nan), gradient=np.ones(100))
    yield mg.explain(leaf(2.0))


def test_python_writes_what_the_types_say(faults):
    explained = mg.explain(guilty()[0], finite_differences=True)
    recordings = [data(explanation) for explanation in (explained, *written())]
    scripts = [f"/** @type {{Recording}} */\nexport const written = {json.dumps(found)};" for found in recordings]
    assert faults(*scripts) == []
    for path in (("steps", 0, "kind"), ("values", 0, "differences"), ("operations", 0, "contributions", 0, "local")):
        *way, last = path
        found = data(explained)
        inner = found
        for key in way:
            inner = inner[key]
        inner[f"{last}_"] = inner.pop(last)
        (fault,) = faults(f"/** @type {{Recording}} */\nexport const written = {json.dumps(found)};")
        assert last in fault
