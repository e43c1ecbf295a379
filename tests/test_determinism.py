"""The same seed gives the same bits: again, in another process, and in two threads at once."""

import functools
import hashlib
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg
import minigrad.functional as F
from models import Encoder


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


if __name__ == "__main__":
    mg.seed(1)
    print(trained())
