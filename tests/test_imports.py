"""No file imports from what stands on it: there is no circle among the imports of the package, wherever they are written.

All imports count, those within functions and those for the type checker alone, too. That a package's __init__ runs
before its files is not an import: `from minigrad.nn.module import Module` leads to nn/module.py only.
"""

import ast
import os
from collections import deque
from pathlib import Path

import minigrad

ROOT = Path(minigrad.__file__).parent


def modules():
    """The files of the package by the names of their modules."""
    found = {}
    for folder, _, names in os.walk(ROOT, followlinks=True):
        for path in (Path(folder, name) for name in names if name.endswith(".py")):
            parts = path.relative_to(ROOT.parent).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(path, known):
    """The modules among these that a file imports, each with the first line that does, and the names from there."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        pairs = []
        if isinstance(node, ast.Import):
            pairs = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: an import that begins with a dot"
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                pairs.append((inside, None) if inside in known else (node.module, alias.name))
        for module, name in pairs:
            if module in known:
                line, names = found.setdefault(module, (node.lineno, []))
                names.append(name)
                found[module] = min(line, node.lineno), names
    return found


def shortest(start, end, edges):
    """The shortest way along the edges, both ends included; [] if there is none."""
    before, waiting = {start: None}, deque([start])
    while waiting:
        at = waiting.popleft()
        if at == end:
            way = []
            while at is not None:
                way.append(at)
                at = before[at]
            return way[::-1]
        for other in edges[at]:
            if other not in before:
                before[other] = at
                waiting.append(other)
    return []


def circles(edges):
    """Of each edge that lies on a circle the shortest one; each circle once, beginning at its first name."""
    found = set()
    for start, others in edges.items():
        for other in others:
            if way := shortest(other, start, edges):
                first = way.index(min(way))
                found.add((*way[first:], *way[:first]))
    return sorted(found, key=lambda circle: (len(circle), circle))


def told(circle, edges):
    """A line for a circle: "tensor.py:12 → autograd.py:40 → tensor.py"."""
    places = [f"{a}:{edges[a][b][0]}" for a, b in zip(circle, (*circle[1:], circle[0]), strict=True)]
    return " → ".join([*places, circle[0]])


def test_no_circle_is_left_among_the_imports():
    known = modules()
    edges = {name: imported(path, known) for name, path in known.items()}
    found = circles(edges)
    assert not found, "\n".join([f"{len(found)} circles:", *(told(circle, edges) for circle in found)])


def test_no_private_name_crosses_files():
    known = modules()
    crossing = [
        f"{name}:{line} imports {private} from {module}"
        for name, path in known.items()
        for module, (line, names) in imported(path, known).items()
        for private in names
        if private and private.startswith("_") and not private.endswith("__")
    ]
    assert not crossing, "\n".join(crossing)


def test_nothing_below_imports_what_looks_at_all_of_it():
    """explain, exercises and the models stand on the rest: only the package itself names explain, for its users."""
    known = modules()
    upper = ("minigrad.explain", "minigrad.exercises", "minigrad.models")

    def layer(name):
        return next((u for u in upper if (name + ".").startswith(u + ".")), "below")

    found = {
        (layer(name), layer(module), name)
        for name, path in known.items()
        for module in imported(path, known)
        if layer(module) not in ("below", layer(name))
    }
    assert found == {("below", "minigrad.explain", "minigrad")}


def test_circles_are_found_wherever_the_import_is(tmp_path):
    sources = {
        "p": "from p.a import x as x",
        "p.a": "from p import b",
        "p.b": "def f():\n    import p.c as c\n    return c",
        "p.c": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.a import x",
        "p.d": "from p.a import x\nfrom p.e import y",
        "p.e": "import numpy",
    }
    paths = {name: tmp_path / name for name in sources}
    for name, source in sources.items():
        paths[name].write_text(source)
    edges = {name: imported(path, paths) for name, path in paths.items()}
    assert [told(circle, edges) for circle in circles(edges)] == ["p.a:1 → p.b:2 → p.c:3 → p.a"]
