"""A mutation test: breaks the source in one small place at a time and reports what no test notices.

`python -m tests.mutate minigrad/rules/reductions.py` from the repository's root; several files (or folders) share the
number of mutants by their lines. What follows `--` goes to pytest, as in `-- -n 2`. Each mutant meets the tests of its
file first and, if it survives them, the whole suite, in copies of the project in a temporary folder. A run that takes
several times as long as without the mutant counts as killed. Needs nothing but pytest and the tests' own requirements.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib.util
import itertools
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "dist")
MEMORY = 8 << 30  # bytes that one process of a run may ask for

# Tests that are likely to kill a mutant, beside those of the file's own name and those in the folder of its own.
RULES = "test_edge_cases test_accuracy test_fuzz test_every_numpy_function"
ENGINE = "test_autograd test_guard test_fuzz test_tensor test_debug"
FUNCTIONS = "test_functional test_accuracy test_edge_cases test_bad_input test_fuzz"
ALSO = {
    "minigrad/": "test_bad_input test_defaults",
    "minigrad/rules/": RULES,
    "minigrad/functional/": FUNCTIONS,
    "minigrad/tensor": f"{ENGINE} test_every_numpy_function",
    "minigrad/autograd": ENGINE,
    "minigrad/graph": f"{ENGINE} test_seams",
    "minigrad/rule": f"{ENGINE} test_every_callable",
    "minigrad/modes": ENGINE,
    "minigrad/guard": ENGINE,
    "minigrad/checks": "test_every_callable test_every_numpy_function",
    "minigrad/creation": "test_tensor test_determinism",
    "minigrad/nn/": "test_exceptions test_against_torch",
    "minigrad/optim/": "test_against_torch",
    "minigrad/strategies": "test_testing",
    "minigrad/trace": "test_debug test_profiler test_seams",
}

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    path: str  # from the root
    line: int
    source: str  # of the whole file


# ---- making mutants --------------------------------------------------------------------------------------------------


def changed(node: ast.AST, **fields: Any) -> Any:
    """A copy of a node with other fields."""
    return type(node)(**{**dict(ast.iter_fields(node)), **fields})


def variants(node: ast.AST) -> Iterator[tuple[Any, ast.AST]]:
    """What could have been written here by mistake: pairs of a node, this one or one in it, and what replaces it."""
    match node:
        case ast.Compare(ops=[op, *others]) if type(op) in COMPARISONS:
            yield node, changed(node, ops=[COMPARISONS[type(op)](), *others])
        case ast.BinOp(left=left, op=op, right=right):
            if type(op) in OPERATORS:
                yield node, changed(node, op=OPERATORS[type(op)]())
            yield node, left
            yield node, right
        case ast.AugAssign(op=op):
            if type(op) in OPERATORS:
                yield node, changed(node, op=OPERATORS[type(op)]())
            yield node, ast.Pass()
        case ast.BoolOp(op=op, values=values):
            yield node, changed(node, op=ast.Or() if isinstance(op, ast.And) else ast.And())
            for value in values:
                yield node, value
        case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert(), operand=operand):
            yield node, operand
        case ast.Constant(value=bool(value)):
            yield node, ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            for other in (value + 1, value - 1, 0 * value):
                yield node, ast.Constant(other)
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test):
            yield test, ast.UnaryOp(ast.Not(), test)
        case ast.comprehension(ifs=tests):
            for test in tests:
                yield test, ast.Constant(True)
        case ast.Return(value=ast.expr() as value) if not (isinstance(value, ast.Constant) and value.value is None):
            yield value, ast.Constant(None)
        case ast.Raise() | ast.Expr() | ast.Delete() | ast.Assert() | ast.Continue() | ast.Break():
            yield node, ast.Pass()
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):
            yield node, ast.Pass()
        case ast.Call(args=args, keywords=keywords):
            for i, pair in enumerate(itertools.pairwise(args)):
                if not any(isinstance(arg, ast.Starred) for arg in pair):
                    yield node, changed(node, args=[*args[:i], *reversed(pair), *args[i + 2 :]])
            for i, keyword in enumerate(keywords):
                if keyword.arg != "strict":  # of zip, which checks and gives the same without
                    yield node, changed(node, keywords=keywords[:i] + keywords[i + 1 :])


def breakable(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes below this one, without docstrings, annotations, blocks for type checkers and the text of messages."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "exc"):
            continue
        for child in value if isinstance(value, list) else [value]:
            match child:
                case ast.Expr(value=ast.Constant()) | ast.JoinedStr() | ast.Import() | ast.ImportFrom():
                    continue
                case ast.If(test=ast.Name(id="TYPE_CHECKING")) | ast.keyword(arg="strict"):
                    continue
                case ast.AST():
                    yield child
                    yield from breakable(child)


def replaced(source: str, node: Any, other: ast.AST) -> str:
    """The source with another node in the place of this one; everything else stays as it is written."""
    lines = source.encode().splitlines(keepends=True)
    start = sum(map(len, lines[: node.lineno - 1])) + node.col_offset
    stop = sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset
    text = ast.unparse(ast.fix_missing_locations(other))
    text = f"({text})" if isinstance(other, ast.expr) and not isinstance(other, ast.Name | ast.Constant) else text
    code = source.encode()
    return (code[:start] + text.encode() + code[stop:]).decode()


def mutants(path: str) -> dict[int, list[tuple[Any, ast.AST]]]:
    """For each line of a file, the nodes that begin there and what they could be replaced by."""
    found = defaultdict(list)
    for node in breakable(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        for place, other in variants(node):
            found[place.lineno].append((place, other))
    return found


def is_another(mutated: str, source: str) -> bool:
    """Whether it is Python and does not compile to the same."""
    try:
        return compile(mutated, "", "exec") != compile(source, "", "exec")
    except SyntaxError:
        return False


def drawn(paths: list[str], number: int, seed: int) -> list[Mutant]:
    """So many mutants of these files, each of a line of its own: a long file gets more, a dense line does not."""
    rng = random.Random(seed)
    lines = [(path, line, ways) for path in paths for line, ways in sorted(mutants(path).items())]
    chosen: list[Mutant] = []
    for path, line, ways in rng.sample(lines, len(lines)):
        if len(chosen) == number:
            break
        source = (ROOT / path).read_text(encoding="utf-8")
        for way in rng.sample(ways, len(ways)):
            if is_another(mutated := replaced(source, *way), source):
                chosen.append(Mutant(path, line, mutated))
                break
    return chosen


def diff(mutant: Mutant) -> str:
    before = (ROOT / mutant.path).read_text(encoding="utf-8").splitlines()
    changes = difflib.unified_diff(before, mutant.source.splitlines(), lineterm="", n=0)
    return "\n".join(line for line in changes if line[:3] not in ("---", "+++") and line[0] in "-+")


# ---- running the tests -----------------------------------------------------------------------------------------------


def first_tests(path: str) -> list[str]:
    """The file itself, for its doctests, and the tests that are most likely to kill a mutant of it."""
    parts = Path(path).with_suffix("").parts
    also = " ".join(names for start, names in ALSO.items() if path.startswith(start)).split()
    folder = ROOT / "tests" / parts[1 if parts[0] == "minigrad" else 0]
    files = {
        file for name in (parts[-1], *also) for file in (ROOT / "tests").rglob(f"test_{name.removeprefix('test_')}.py")
    }
    files |= {folder} if folder.is_dir() else set()
    return [
        path,
        *sorted(file.relative_to(ROOT).as_posix() for file in files if file == folder or folder not in file.parents),
    ]


def _limit() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.RLIM_INFINITY))


def passes(copy: Path, arguments: list[str], seconds: float | None = None) -> bool | None:
    """Whether the tests pass in this copy of the project; None if they have not ended in time."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *arguments]
    with subprocess.Popen(
        command, cwd=copy, env=os.environ | {"PYTHONPATH": str(copy)}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=_limit if os.name == "posix" else None,
    ) as process:  # fmt: skip
        try:
            return process.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            return None
        finally:
            if process.poll() is None and os.name == "posix":
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()


class Judge:
    """Runs mutants in a copy of the project, and knows how long the tests take without one."""

    def __init__(self, copy: Path, options: list[str]) -> None:
        self.copy, self.options = copy, options
        self.limits: dict[tuple[str, ...], float] = {}
        shutil.copytree(ROOT, copy, symlinks=True, ignore=LEFT_OUT)  # minigrad/models leads to the copy's

    def limit(self, arguments: list[str]) -> float:
        if (key := tuple(arguments)) not in self.limits:
            start = time.monotonic()
            if not passes(self.copy, arguments):
                raise SystemExit(f"without a mutant these do not pass: pytest {' '.join(arguments)}")
            self.limits[key] = 4 * (time.monotonic() - start) + 30
        return self.limits[key]

    def verdict(self, mutant: Mutant) -> str:
        target = self.copy / mutant.path
        original = target.read_text(encoding="utf-8")
        first = first_tests(mutant.path)
        for by, arguments in (("first", [*first, *self.options]), ("suite", self.options)):
            seconds = self.limit(arguments)
            try:
                self.write(target, mutant.source)
                passed = passes(self.copy, arguments, seconds)
            finally:
                self.write(target, original)
            if not passed:
                return "time" if passed is None else by
        return "survived"

    @staticmethod
    def write(target: Path, source: str) -> None:
        target.write_text(source, encoding="utf-8")
        # bytecode is told by a time in seconds and the length of the source, which two mutants may share
        Path(importlib.util.cache_from_source(str(target))).unlink(missing_ok=True)


def judged(chosen: list[Mutant], jobs: int, options: list[str]) -> list[str]:
    """The verdict on each mutant, told as it comes."""
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder, ThreadPoolExecutor(jobs) as pool:
        free: Queue[Judge] = Queue()
        for i in range(jobs):
            free.put(Judge(Path(folder) / str(i), options))
        done = 0

        def judge(mutant: Mutant) -> str:
            nonlocal done
            mine, start = free.get(), time.monotonic()
            try:
                verdict = mine.verdict(mutant)
            finally:
                free.put(mine)
            done += 1
            seconds = time.monotonic() - start
            print(f"{done:>4}/{len(chosen)} {verdict:<8} {seconds:6.1f} s  {mutant.path}:{mutant.line}", flush=True)
            if verdict == "survived":
                print(diff(mutant), flush=True)
            return verdict

        try:
            return list(pool.map(judge, chosen))
        finally:
            pool.shutdown(cancel_futures=True)  # Ctrl-C waits for the mutants at hand, not for all


def report(chosen: list[Mutant], verdicts: list[str]) -> None:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for mutant, verdict in zip(chosen, verdicts, strict=True):
        counts[mutant.path][verdict] += 1
    counts["all"] = sum(counts.values(), Counter())
    print("\nfile                                      mutants  first  suite  time-out  survived  killed")
    for path, n in counts.items():
        share = 1 - n["survived"] / n.total()
        print(f"{path:<42}{n.total():>7}{n['first']:>7}{n['suite']:>7}{n['time']:>10}{n['survived']:>10}{share:>8.1%}")
    for mutant, verdict in zip(chosen, verdicts, strict=True):
        if verdict == "survived":
            print(f"\nsurvived: {mutant.path}:{mutant.line}\n{diff(mutant)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("files", nargs="+", help="source files or folders, from the repository's root")
    parser.add_argument("--number", type=int, default=20, help="of mutants, in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="how many mutants at a time, each in a copy of its own")
    own, options = sys.argv[1:], []
    if "--" in own:
        own, options = own[: own.index("--")], own[own.index("--") + 1 :]
    args = parser.parse_args(own)
    named = [Path(name).resolve() for name in args.files]
    files = [file for path in named for file in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    chosen = drawn([file.relative_to(ROOT).as_posix() for file in files], args.number, args.seed)
    report(chosen, judged(chosen, args.jobs, options))


if __name__ == "__main__":
    main()
