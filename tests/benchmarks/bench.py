"""Times minigrad beside PyTorch (where it is installed): small operations, and training steps of an encoder.

    python tests/benchmarks/bench.py                  all sizes
    python tests/benchmarks/bench.py --sizes XS S     some

A step: token embedding, pre-norm encoder layers, a linear head over the vocabulary, mean cross entropy on every
token, backward, Adam; float32, no dropout. Each framework runs in a process of its own, in alternating rounds; the
median over all rounds counts, and the ratio in one run is what to quote.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import time

SIZES = {  # batch, tokens, width, heads, feed-forward width, layers, vocabulary
    "XS": (32, 8, 32, 4, 64, 2, 16),
    "S": (64, 16, 64, 4, 256, 2, 16),
    "M": (32, 64, 128, 4, 512, 4, 64),
    "L": (16, 128, 256, 8, 1024, 6, 64),
}


def minigrad_step(size):
    import numpy as np

    import minigrad as mg
    import minigrad.functional as F
    from minigrad import nn, optim
    from models import Encoder

    b, t, d, heads, f, layers, v = SIZES[size]
    model = nn.Sequential(nn.Embedding(v, d), Encoder(layers, d, heads, f), nn.Linear(d, v))
    optimizer = optim.Adam(model.parameters(), lr=1e-3)
    ids, targets = (np.random.default_rng(i).integers(0, v, (b, t)) for i in (0, 1))
    mg.seed(0)

    def step():
        loss = F.cross_entropy(model(ids), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def torch_step(size, fused=True):
    import torch

    torch.set_num_threads(2)
    b, t, d, heads, f, layers, v = SIZES[size]
    layer = torch.nn.TransformerEncoderLayer(d, heads, f, 0.0, norm_first=True, batch_first=True)
    encoder = torch.nn.TransformerEncoder(layer, layers, torch.nn.LayerNorm(d), enable_nested_tensor=False)
    model = torch.nn.Sequential(torch.nn.Embedding(v, d), encoder, torch.nn.Linear(d, v))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=fused)
    ids, targets = (torch.randint(0, v, (b, t)) for _ in range(2))

    def step():
        loss = torch.nn.functional.cross_entropy(model(ids).reshape(-1, v), targets.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def chain_of(x, one, n=1000):
    def chain():
        y = x
        for _ in range(n):
            y = y + one
        y.sum().backward()

    return chain


def minigrad_chain():
    import minigrad as mg

    return chain_of(mg.tensor([1.0, 2.0, 3.0], requires_grad=True), mg.tensor([1.0, 1.0, 1.0]))


def torch_chain():
    import torch

    torch.set_num_threads(2)
    return chain_of(torch.tensor([1.0, 2.0, 3.0], requires_grad=True), torch.tensor([1.0, 1.0, 1.0]))


FRAMEWORKS = {
    "minigrad": (minigrad_step, minigrad_chain),
    "torch, fused Adam": (torch_step, torch_chain),
    "torch, default Adam": (lambda size: torch_step(size, fused=False), torch_chain),
}


def measure(framework, what, steps):
    """Seconds of each of these steps, after a warm-up; in this process."""
    make_step, make_chain = FRAMEWORKS[framework]
    run = make_chain() if what == "chain" else make_step(what)
    for _ in range(max(3, steps // 4)):
        run()
    seconds = []
    for _ in range(steps):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


def in_processes(frameworks, what, rounds, steps):
    """The median milliseconds of each framework, over rounds that take turns."""
    found = {name: [] for name in frameworks}
    threads = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "2")
    for _ in range(rounds):
        for name in frameworks:
            command = [sys.executable, __file__, "--measure", name, what, str(steps)]
            done = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(f"{name} failed at {what}:\n{done.stderr}")
            found[name] += json.loads(done.stdout)
    return {name: 1e3 * statistics.median(seconds) for name, seconds in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--rounds", type=int, default=3, help="processes of each framework for each size")
    parser.add_argument("--steps", type=int, default=0, help="steps timed in each (0: as many as suit the size)")
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        framework, what, steps = args.measure
        print(json.dumps(measure(framework, what, int(steps))))
        return
    frameworks = [name for name in FRAMEWORKS if importlib.util.find_spec(name.split(",")[0])]
    if len(frameworks) == 1:
        print("PyTorch is not installed (pip install torch==2.13.0): there is nothing to compare with")
    default_steps = {"XS": 200, "S": 100, "M": 12, "L": 4, "chain": 50}
    print(f"{'':8}" + "".join(f"{name:>22}" for name in frameworks) + f"{'minigrad / best':>18}")
    for what in ["chain", *args.sizes]:
        rounds = (
            3 * args.rounds if what == "chain" else args.rounds
        )  # the quickest, and the most at the mercy of others
        times = in_processes(frameworks, what, rounds, args.steps or default_steps[what])
        others = [times[name] for name in frameworks[1:]]
        ratio = f"{times['minigrad'] / min(others):18.2f}" if others else ""
        unit = "µs an op" if what == "chain" else "ms"
        print(f"{what:8}" + "".join(f"{times[name]:13.2f} {unit:8}" for name in frameworks) + ratio, flush=True)
    print("chain: forward and backward of additions of 3 numbers, per addition; the rest: one training step")


if __name__ == "__main__":
    main()
