"""The mutation test itself: what it breaks, what it leaves alone, and how it judges."""

import pytest

from tests import mutate

SOURCE = '''"""A module of 1 < 2."""

from __future__ import annotations


def f(x: int, n: int = 3, *, flag: bool = False) -> int:
    """Gives x + 1."""
    if not flag and x < n:
        raise ValueError(f"f: x must be at least {n + 1}, not {x - 1}")
    total = [y * 2 for y in range(x) if y]
    total.append(max(x, n, key=abs))
    return sum(total)
'''


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "f.py").write_text(SOURCE)
    monkeypatch.setattr(mutate, "ROOT", tmp_path)
    (tmp_path / "tests").mkdir()
    monkeypatch.setattr(mutate, "ALSO", {"package/": "test_first"})
    return tmp_path


def test_what_is_broken_and_what_is_not(project):
    lines = SOURCE.splitlines()
    found = set()
    for number, ways in mutate.mutants("package/f.py").items():
        for way in ways:
            changed = mutate.replaced(SOURCE, *way).splitlines()[number - 1 : number - len(lines) or None]
            found.add("\n".join(line.strip() for line in changed))
    assert {
        "def f(x: int, n: int = 4, *, flag: bool = False) -> int:",
        "def f(x: int, n: int = 3, *, flag: bool = True) -> int:",
        "if flag and x < n:",
        "if (not flag or x < n):",
        "if not flag and (x <= n):",
        "if (not flag):",
        "if (not (not flag and x < n)):",
        "pass",
        "total = [(y / 2) for y in range(x) if y]",
        "total = [y * 2 for y in range(x) if True]",
        "total.append((max(n, x, key=abs)))",
        "total.append((max(x, n)))",
        "return None",
    } <= found
    text = "\n".join(found)
    assert "A module" not in text
    assert "Gives" not in text
    assert "must be" not in text


def test_the_same_seed_draws_the_same_mutants_each_of_a_line_of_its_own(project):
    first, again, other = (mutate.drawn(["package/f.py"], 4, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert len({mutant.line for mutant in first}) == 4
    assert all(mutate.is_another(mutant.source, SOURCE) for mutant in first)
    assert len(mutate.drawn(["package/f.py"], 99, 0)) == 6  # lines that can be broken


def test_a_folder_that_is_linked_into_the_package_is_broken_there_too(project):
    (project / "models").mkdir()
    (project / "models" / "f.py").write_text(SOURCE)
    (project / "package" / "models").symlink_to("../models")
    judge = mutate.Judge(project.parent / "linked", [])
    judge.write(judge.copy / "models" / "f.py", "broken = True\n")
    assert (judge.copy / "package" / "models" / "f.py").read_text() == "broken = True\n"
    assert (project / "models" / "f.py").read_text() == SOURCE


def test_mutants_are_killed_by_the_first_tests_by_the_suite_by_time_or_not_at_all(project, capsys):
    (project / "setup.cfg").write_text("[tool:pytest]\naddopts = --import-mode=importlib\n")
    (project / "tests" / "test_first.py").write_text("from package.f import f\ndef test_f():\n    assert f(3) == 9\n")
    (project / "tests" / "test_rest.py").write_text(
        "from package.f import f\ndef test_f():\n    assert f(1, flag=True) == 3\n"
    )
    broken = {
        "return sum(total)": "return 0",
        "not flag and x < n": "x < n",
        "key=abs": "key=float",
        "total = [": "while x == 3: pass\n    total = [",
    }
    mutants = [mutate.Mutant("package/f.py", 1, SOURCE.replace(*change)) for change in broken.items()]
    judge = mutate.Judge(project.parent / "copy", [])
    first = ("package/f.py", "tests/test_first.py")
    judge.limits = {first: 600.0, (): 600.0}
    assert [judge.verdict(mutant) for mutant in mutants[:3]] == ["first", "suite", "survived"]
    judge.limits[first] = 2.0
    assert judge.verdict(mutants[3]) == "time"
    assert (judge.copy / "package" / "f.py").read_text() == SOURCE
    assert (project / "package" / "f.py").read_text() == SOURCE
    mutate.report(mutants, ["first", "suite", "survived", "time"])
    said = capsys.readouterr().out
    assert "package/f.py                                    4      1      1         1         1   75.0%" in said
    assert (
        "survived: package/f.py:1\n-    total.append(max(x, n, key=abs))\n+    total.append(max(x, n, key=float))"
        in said
    )
