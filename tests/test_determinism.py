"""The same seed gives the same bits: again, in another process, and in two threads at once."""

import functools
import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F
from minigrad.models import Encoder


def trained(rng=None, steps=20):
    """The bits of all that a training with dropout, batch norm, shuffling, clipping and a schedule has changed."""
    draws = rng or mg.default_generator()
    x = draws.standard_normal((48, 5, 8)).astype(np.float32)
    labels = draws.integers(0, 3, 48)
    model = mg.nn.Sequential(
        Encoder(1, 8, 2, 16, dropout=0.1, norm="batch", rng=rng),
        Encoder(1, 8, 2, 16, rng=rng),
        mg.nn.Linear(8, 3, rng=rng),
    )
    optimizer = mg.optim.AdamW(model.parameters(), lr=0.01)
    schedule = mg.optim.OneCycleLR(optimizer, steps)
    losses = []
    for _ in range(steps // 4):
        for batch, target in mg.data.DataLoader(x, labels, batch_size=12, rng=rng):
            optimizer.zero_grad()
            loss = F.cross_entropy(np.mean(model(mg.tensor(batch)), axis=1), target)
            loss.backward()
            mg.optim.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
    assert losses[-1] < losses[0]
    state = {**model.state_dict(), **optimizer.state_dict(), "losses": losses}
    return hashlib.sha256(b"".join(np.asarray(v).tobytes() for v in state.values())).hexdigest()


def test_the_same_seed_gives_the_same_bits_again_and_another_does_not():
    found = []
    for seed in (1, 1, 2):
        mg.seed(seed)
        found.append(trained())
    assert found[0] == found[1] != found[2]


def test_another_process_with_the_same_seed_gives_the_same_bits():
    mg.seed(1)
    here = trained()
    run = functools.partial(subprocess.run, cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True)
    there = [run([sys.executable, "-m", "tests.test_determinism"]).stdout for _ in range(2)]
    assert there == [here + "\n"] * 2


def side_by_side(*functions):
    """What these give when each runs in a thread of its own, all at once and interrupted often."""
    found = [None] * len(functions)
    start = threading.Barrier(len(functions))

    def run(i):
        start.wait()
        try:
            found[i] = functions[i]()
        except BaseException as error:
            found[i] = error

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=run, args=(i,)) for i in range(len(functions))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    return found


def test_two_threads_train_two_models_at_once_as_each_would_alone():
    alone = [trained(np.random.default_rng(seed)) for seed in (1, 2)]
    found = side_by_side(*(lambda seed=seed: trained(np.random.default_rng(seed)) for seed in (1, 2)))
    assert found == alone


def test_a_thread_that_records_and_one_that_does_not_stay_apart():
    x = mg.ones(3, requires_grad=True)

    def records(inside):
        seen = set()
        for _ in range(2000):
            if inside:
                with mg.no_grad():
                    seen.add((x * 2.0).requires_grad)
            else:
                seen.add((x * 2.0).requires_grad)
        return seen, mg.is_grad_enabled()

    assert side_by_side(lambda: records(True), lambda: records(False)) == [({False}, True), ({True}, True)]


def test_an_error_under_no_grad_in_one_thread_changes_no_other():
    def fails():
        for _ in range(500):
            with pytest.raises(KeyError), mg.no_grad(), mg.enable_grad(), mg.no_grad():
                raise KeyError
        return mg.is_grad_enabled()

    with mg.no_grad():
        assert side_by_side(fails, fails) == [True, True]
        assert not mg.is_grad_enabled()


FORKED = """
import os, sys, threading, time
import numpy as np, minigrad as mg

def children(n, draw):
    "What draw gives in each of n forked children."
    found = []
    for _ in range(n):
        r, w = os.pipe()
        child = os.fork()
        if not child:
            os.write(w, draw().tobytes())
            os._exit(0)
        os.close(w)
        with open(r, "rb") as pipe:
            found.append(np.frombuffer(pipe.read(), np.float32))
        assert os.waitpid(child, 0)[1] == 0
    return found

def distinct(found):
    return len({x.tobytes() for x in found}) == len(found)

draw = lambda: mg.randn(4).data
"""

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system forks no processes")


def forked(script):
    """Run a script that forks, on one thread, as a process with more of them may not."""
    run = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED + script],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout


@forks
def test_forked_children_draw_numbers_of_their_own():
    forked("""
held = mg.default_generator()
mg.seed(1)
found = children(3, draw) + children(2, lambda: children(1, draw)[0])
found += children(2, lambda: held.standard_normal(4).astype(np.float32))
found += children(1, lambda: mg.nn.Linear(2, 2).weight.data) + [draw()]
assert distinct(found), found
batches = children(2, lambda: next(iter(mg.data.DataLoader(np.arange(64, dtype=np.float32), batch_size=64)))[0])
assert distinct(batches)
""")


@forks
def test_a_fork_leaves_what_the_parent_draws_as_it_is_and_the_same_seed_gives_the_same_children():
    forked("""
mg.seed(1)
found = [*children(3, draw), draw(), *children(1, draw)]
mg.seed(1)
assert np.array_equal(found, [*children(3, draw), draw(), *children(1, draw)])
mg.seed(1)
draws = [draw(), draw()]
assert np.array_equal(found[3], draws[0])
""")
    script = "mg.seed(1); print([x.tolist() for x in children(2, draw)])"
    assert forked(script) == forked(script)


@forks
def test_a_child_that_seeds_draws_what_the_seed_says():
    forked("""
def seeded():
    mg.seed(5)
    return draw()
a, b = children(2, seeded)
assert np.array_equal(a, b) and np.array_equal(a, seeded())
""")


@forks
def test_children_of_a_thread_with_a_generator_of_its_own():
    forked("""
def run():
    mg.seed(3)
    found.extend(children(2, draw))
    mg.seed(3)
    again.extend(children(2, draw))
    found.append(draw())
found, again = [], []
thread = threading.Thread(target=run)
thread.start()
thread.join()
assert distinct(found) and len(found) == 3, found
assert np.array_equal(again, found[:2])
""")


@forks
def test_a_child_can_draw_though_another_thread_held_the_lock():
    forked("""
from minigrad import creation
mg.seed(1)
held = threading.Event()
def hold():
    with creation._lock:
        held.set()
        time.sleep(0.5)
thread = threading.Thread(target=hold)
thread.start()
held.wait()
assert children(1, draw)[0].size == 4
thread.join()
""")


@forks
def test_a_fork_before_anything_was_drawn():
    forked("""
assert distinct(children(2, draw) + [draw()])
""")


if __name__ == "__main__":
    mg.seed(1)
    print(trained())
