"""A thousand steps take no more memory than ten, also without the collector of cycles."""

import gc
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F

STEPS = 1000


def training():
    """A function that does one step of a training in which everything takes part."""
    mg.seed(0)
    model = mg.nn.Sequential(mg.nn.Linear(64, 64), mg.nn.BatchNorm1d(5), mg.nn.MultiHeadAttention(64, 2, dropout=0.1))
    optimizer = mg.optim.AdamW(model.parameters())
    x, labels = np.ones((4, 5, 64), np.float32), np.arange(4)
    total = 0.0

    def step():
        nonlocal total
        optimizer.zero_grad()
        h = mg.checkpoint(model, mg.tensor(x))
        h.register_hook(lambda g: g * 1.0)
        loss = F.cross_entropy(np.mean(h, axis=1), labels)
        loss.backward()
        mg.optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        total += loss.item()
        w = model[1].weight
        (g,) = mg.autograd.grad(np.sum(w**3), w, create_graph=True)
        mg.autograd.grad(np.sum(g * g), w)

    return step


def resident():
    """The bytes that this process has in memory (Linux)."""
    import resource

    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def measured():
    """What STEPS steps leave behind: bytes as Python and as the system see them, and cycles for the collector."""
    step = training()
    gc.disable()
    tracemalloc.start()
    for _ in range(50):
        step()
    gc.collect()  # also empties the lists of freed tuples that Python keeps
    traced, before = tracemalloc.get_traced_memory()[0], resident()
    for _ in range(STEPS):
        step()
    cycles = gc.collect()
    return {"cycles": cycles, "traced": tracemalloc.get_traced_memory()[0] - traced, "resident": resident() - before}


@pytest.mark.skipif(sys.platform != "linux", reason="/proc says what is resident")
def test_a_thousand_steps_are_flat():
    done = subprocess.run(
        [sys.executable, "-m", "tests.test_long_runs"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["cycles"] == 0
    assert found["traced"] < 16 * STEPS  # not an object a step
    assert found["resident"] < 1 << 20


if __name__ == "__main__":
    print(json.dumps(measured()))
