"""What a profile sees, what it writes, and that nothing is left of it."""

import json

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F
from minigrad import nn, optim
from minigrad.functional.definition import DEFINITIONS
from minigrad.models import Encoder
from minigrad.rule import RULES


class Model(nn.Module):
    def __init__(self):
        self.embedding = nn.Embedding(5, 8)
        self.encoder = Encoder(2, 8, 2, 16)
        self.head = nn.Linear(8, 5)

    def forward(self, ids):
        return self.head(self.encoder(self.embedding(ids)))


IDS = np.arange(12).reshape(3, 4) % 5


def training_step(model, optimizer):
    loss = F.cross_entropy(model(IDS), IDS)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


def profiled(steps=1):
    mg.seed(0)
    model = Model()
    optimizer = optim.Adam(model.parameters())
    with mg.profile() as profiler:
        losses = [training_step(model, optimizer) for _ in range(steps)]
    return profiler, losses


def test_every_operation_is_seen_where_it_was_called():
    profiler, _ = profiled()
    seen = {(e.operation, e.direction, e.module) for e in profiler.events}
    path = "encoder.layers.1.feed_forward.sublayer.sublayer.linear1"
    assert {("linear", "forward", path), ("linear", "backward", path)} <= seen
    assert ("embedding", "backward", "embedding") in seen
    assert ("cross_entropy", "forward", "") in seen
    assert ("Adam", "step", "") in seen
    layers = [e for e in profiler.events if (e.operation, e.direction) == ("layer_norm", "forward")]
    assert len(layers) == 5
    assert all(e.bytes == 3 * 4 * 8 * 4 for e in layers)


def test_own_times_add_up_to_no_more_than_what_passed():
    profiler, _ = profiled(3)
    assert 0 < sum(e.own for e in profiler.events) <= profiler.seconds
    assert all(0 <= e.own <= e.seconds for e in profiler.events)


def test_operations_inside_of_others_are_counted_once():
    x = mg.ones(4, requires_grad=True)
    with mg.profile() as profiler:
        np.sum(mg.checkpoint(lambda x: np.exp(np.sin(x)), x)).backward()
    names = [(e.operation, e.direction) for e in profiler.events]
    assert names.count(("sin", "forward")) == 2  # once more for the backward pass
    assert names.count(("sin", "backward")) == 1
    assert sum(e.own for e in profiler.events) <= profiler.seconds


def test_the_tables_are_by_operation_and_by_module():
    profiler, _ = profiled(2)
    operations, modules = str(profiler).split("\n\n")
    assert operations.splitlines()[0].split() == ["operation", "calls", "ms", "share", "MiB"]
    (row,) = [line for line in operations.splitlines() if line.startswith("self_attention, forward")]
    assert row.split()[2] == "4"
    names = [line.split()[0] for line in modules.splitlines()]
    assert {"encoder", "encoder.layers.0", "head"} <= set(names)
    encoder, head = (float(line.split()[2]) for line in modules.splitlines() if line.split()[0] in ("encoder", "head"))
    assert encoder > head


def test_the_results_are_the_same_under_a_profile():
    _, losses = profiled(3)
    mg.seed(0)
    model = Model()
    optimizer = optim.Adam(model.parameters())
    assert losses == [training_step(model, optimizer) for _ in range(3)]


def test_a_trace_is_what_chrome_reads(tmp_path):
    profiler, _ = profiled()
    profiler.trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert len(events) == len(profiler.events)
    assert {"name", "ph", "ts", "dur", "pid", "tid"} <= events[0].keys()
    assert all(e["ph"] == "X" and e["ts"] >= 0 and e["dur"] >= 0 for e in events)


def test_nothing_is_left_of_a_profile_even_after_an_error():
    kernels = [d.kernel for d in DEFINITIONS if d.kernel is not None]
    before = [rule.function for rule in RULES + kernels], nn.Module.__call__, optim.Optimizer.step
    with pytest.raises(ValueError, match="expected x of shape"), mg.profile() as profiler:
        nn.Linear(3, 2)(mg.ones(4, 5))
    assert ([rule.function for rule in RULES + kernels], nn.Module.__call__, optim.Optimizer.step) == before
    seen = len(profiler.events)
    np.exp(mg.ones(3))
    assert len(profiler.events) == seen


def test_one_profile_at_a_time():
    with mg.profile(), pytest.raises(RuntimeError, match="another profile is running"), mg.profile():
        pass
    with mg.profile() as profiler:
        np.exp(mg.ones(3))
    assert len(profiler.events) == 1


def test_the_shape_of_a_module_that_is_called_by_itself():
    with mg.profile() as profiler:
        nn.Linear(3, 2)(mg.ones(4, 3))
    assert [e.module for e in profiler.events] == ["Linear"]
    assert repr(profiler).startswith("<profile of 1 events in ")


def test_a_backward_pass_after_the_profile_is_not_counted():
    x = mg.ones(3, requires_grad=True)
    with mg.profile() as profiler:
        y = np.sum(np.exp(x))
    y.backward()
    assert [(e.operation, e.direction) for e in profiler.events] == [("exp", "forward"), ("sum", "forward")]
