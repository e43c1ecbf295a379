"""The engine without what protects it, and those who are told what it does: the seams hold."""

import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F
from minigrad import graph, nn, optim, trace
from minigrad.explain import explain
from minigrad.rule import RULES, Rule
from tests import test_autograd

# ---- the guard -------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _null_guard(request, monkeypatch):
    if request.function.__module__ == test_autograd.__name__:
        monkeypatch.setattr(graph, "guard", graph.Guard())


# The engine's own sentences are true without a guard, too.
globals().update({name: f for name, f in vars(test_autograd).items() if name.startswith("test_")})


def test_without_a_guard_nothing_is_kept_and_nothing_noticed(monkeypatch):
    monkeypatch.setattr(graph, "guard", graph.Guard())
    array = np.array([2.0, 3.0])
    x = mg.tensor(np.array([1.0, 1.0]), requires_grad=True)
    y = np.sum(x * array)
    assert y.node.inputs[0].snapshots is None
    array[0] = 5
    y.backward()
    assert x.grad.tolist() == [5, 3]


# ---- tracers ---------------------------------------------------------------------------------------------------------


class Told(trace.Tracer):
    def __init__(self):
        self.told = []

    def operation(self, rule, run, inputs, settings):
        self.told.append((rule.name, trace.module_path()))
        return run(*inputs, **settings)

    def recorded(self, node):
        node.made_at = len(self.told)

    def step(self, optimizer, step):
        self.told.append((type(optimizer).__name__, "step"))
        step(optimizer)

    def handed_out(self, tensor):
        self.told.append(("data", ""))


def work(n=1):
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    for _ in range(n):
        optimizer.zero_grad()
        loss = np.mean(model(mg.ones(4, 2)))
        loss.backward()
        optimizer.step()
    return loss


def test_a_tracer_is_told_of_its_own_thread():
    tracer, others = Told(), []
    tracer.start()
    thread = threading.Thread(target=lambda: others.append((work(), trace.this_thread.tracer)))
    thread.start()
    thread.join()
    assert tracer.told == []
    ((loss, its),) = others
    assert loss.node.made_at is its is None
    loss = work()
    tracer.stop()
    assert [told for told in tracer.told if told[0] != "data"] == [
        ("linear", "layers.0"), ("relu", "layers.1"), ("linear", "layers.2"), ("mean", ""), ("SGD", "step"),
    ]  # fmt: skip
    seen = len(tracer.told)
    assert loss.node.made_at is not None
    work()
    assert len(tracer.told) == seen
    assert trace.this_thread.tracer is None


def test_a_tracer_of_all_threads_is_told_of_each_and_stands_beside_others():
    everywhere, own = Told(), Told()
    everywhere.start(everywhere=True)
    own.start()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert own.told == []
    seen = len(everywhere.told)
    assert seen
    work()
    everywhere.stop()
    assert own.told == everywhere.told[seen:]
    np.exp(mg.ones(2))
    own.stop()
    np.exp(mg.ones(2))
    assert own.told[-1] == ("exp", "")
    assert len(own.told) == len(everywhere.told) - seen + 1
    assert trace.this_thread.tracer is None


def test_one_thread_debugs_while_another_trains():
    trained, stop, began = [], threading.Event(), threading.Event()

    def train():
        while not stop.is_set():
            with np.errstate(all="ignore"):
                np.log(mg.zeros(2) - 1.0)  # NaN, which is this thread's own affair
            trained.append(work())
            began.set()

    thread = threading.Thread(target=train)
    thread.start()
    began.wait(10)
    with mg.debug():
        for _ in range(20):
            with pytest.raises(FloatingPointError, match=r"log, forward, in test_seams\.py:\d+: made -inf"):
                np.log(mg.zeros(2))
            loss = work()
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
    assert loss.node.made_at.file == __file__
    assert all(x.node is None or x.node.made_at is None for x in trained)


def test_no_class_is_changed_while_they_are_told():
    classes = Rule, nn.Module, optim.Optimizer, optim.SGD, mg.Tensor, graph.Node
    before = [dict(vars(c)) for c in classes], [vars(rule).copy() for rule in RULES]
    with mg.profile(), mg.debug():
        explain(np.exp(mg.tensor(1.0, requires_grad=True)))
        F.softmax(mg.ones(2, 2))
        work()
        during = [dict(vars(c)) for c in classes], [vars(rule).copy() for rule in RULES]
    assert during[0] == before[0]
    functions = [[rule["function"] for rule in rules[1]] for rules in (before, during)]
    assert functions[0] == functions[1]


# ---- what a newcomer reads -------------------------------------------------------------------------------------------

WALK = {  # of (x * y + x).backward(); properties and comprehensions apart
    "tensor.py": {"_binary.<locals>.method", "wrapped", "Tensor.backward"},
    "graph.py": {"recorder.<locals>.apply", "Node.__init__", "toposort", "backward_pass", "added"},
    "autograd.py": {"backward", "pull", "initial_cotangent", "backward_through"},
}
BESIDE = {"rules/elementwise.py", "rule.py", "modes.py", "optim/strays.py"}  # two rules, and what protects


def test_a_newcomer_walks_through_twelve_functions_in_three_files(monkeypatch):
    monkeypatch.setattr(graph, "guard", graph.Guard())
    x, y = mg.tensor(2.0, requires_grad=True), mg.tensor(3.0, requires_grad=True)
    (x * y + x).backward()
    root, walked = Path(mg.__file__).parent, {}

    def see(frame, event, _):
        code = frame.f_code
        path = Path(code.co_filename)
        if event == "call" and path.is_relative_to(root):
            walked.setdefault(path.relative_to(root).as_posix(), set()).add(code.co_qualname)

    sys.setprofile(see)
    try:
        (x * y + x).backward()
    finally:
        sys.setprofile(None)
    plain = {f"Tensor.{name}" for name, of in vars(mg.Tensor).items() if isinstance(of, property)}
    null = {f"Guard.{name}" for name in vars(graph.Guard)}
    walked = {
        file: {name for name in names - plain - null if not name.endswith(("comp>", "<genexpr>"))}
        for file, names in walked.items()
    }
    assert {file: names for file, names in walked.items() if file not in BESIDE} == WALK
    assert walked.keys() == WALK.keys() | BESIDE
    assert sum(map(len, WALK.values())) == 12


def test_the_idea_fits_in_220_lines_and_the_readme_says_how_many():
    lines = len(Path(graph.__file__).read_text(encoding="utf-8").splitlines())
    assert lines <= 220
    readme = Path(__file__).parent.parent / "README.md"
    assert f"[`graph.py`](minigrad/graph.py), {lines} lines" in readme.read_text(encoding="utf-8")
