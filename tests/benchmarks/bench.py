"""Times minigrad beside its peers, those of them that are installed (pip install -e '.[peers]').

    python tests/benchmarks/bench.py                              everything, in less than half an hour
    python tests/benchmarks/bench.py --only steps --sizes XS S    the training step at two sizes

What is timed stands in steps.py. Each contestant runs in a process of its own, on two cores; they take turns, and in
each of its turns a contestant warms up first. Medians over all turns count; as the speed of a machine drifts, what is
to be quoted are ratios within one run. The matmul floor is the matrix products of the same step and nothing else.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import math
import multiprocessing
import os
import platform
import statistics
import subprocess
import sys
import time
import tracemalloc
from dataclasses import dataclass, field
from pathlib import Path

import steps
from steps import OPTIONS, SIZES, THREADS, Work

# ---- contests --------------------------------------------------------------------------------------------------------


@dataclass
class Contestant:
    """A function that builds a step, its arguments, and what was measured."""

    name: str
    package: str
    build: str
    arguments: tuple = ()
    options: dict = field(default_factory=dict)
    seconds: list = field(default_factory=list)
    peak: float = 0.0  # MiB, of the whole process
    error: str = ""

    @property
    def ms(self):
        return 1e3 * statistics.median(self.seconds) if self.seconds else math.nan


def contest(contestants, rounds, seconds):
    """Let those that are installed take turns in processes of their own, and note what was measured."""
    spawn = multiprocessing.get_context("spawn")
    playing = []
    for contestant in contestants:
        if importlib.util.find_spec(contestant.package) is None:
            contestant.error = "not installed"
            continue
        here, there = spawn.Pipe()
        process = spawn.Process(target=take_turns, args=(there, contestant, seconds), daemon=True)
        process.start()
        there.close()
        playing.append((contestant, here, process))
        ask(contestant, here)  # one builds after the other, and alone
    for _ in range(rounds):
        for contestant, pipe, _process in playing:
            if not contestant.error:
                contestant.seconds += ask(contestant, pipe, "go") or []
    for contestant, pipe, process in playing:
        if not contestant.error:
            contestant.peak = ask(contestant, pipe, "stop") or 0.0
        pipe.close()
        process.join()
    for contestant in contestants:
        if contestant.error not in ("", "not installed"):
            print(f"\n{contestant.name} failed: {contestant.error}", flush=True)
            FAILED.add(contestant.package)
    return contestants


FAILED = set()  # the packages of those who did not get through


def ask(contestant, pipe, question=None):
    """What the contestant answers; its error is noted."""
    try:
        if question:
            pipe.send(question)
        answer = pipe.recv()
    except (EOFError, OSError):
        answer = "the process died"
    if isinstance(answer, str):
        contestant.error = answer
        return None
    return answer


def take_turns(pipe, contestant, seconds):
    """In its own process: build the step, and in each turn warm up and run it for so many seconds, 3 times at least."""
    try:
        run = getattr(steps, contestant.build)(*contestant.arguments, **contestant.options)
        for _ in range(3):
            run()
        pipe.send([])
        while pipe.recv() == "go":
            time.sleep(0.3)  # the threads of whoever was before spin for 0.2 seconds after their last work
            run()
            taken = []
            while len(taken) < 3 or sum(taken) < seconds:
                start = time.perf_counter()
                run()
                taken.append(time.perf_counter() - start)
            pipe.send(taken)
        pipe.send(peak_memory())
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}".splitlines()[0][:200])


def peak_memory():
    """The most memory that this process has held, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # of this program alone; getrusage also counts what its parent held before it was started
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def alone(function, *arguments):
    """What this function returns in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


# ---- tables ----------------------------------------------------------------------------------------------------------


def table(title, header, rows):
    """Print rows of texts and numbers under their header."""
    rows = [[cell if isinstance(cell, str) else number(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    print(f"\n{title}\n")
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = (
            cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        )
        print("| " + " | ".join(cells) + " |")
    sys.stdout.flush()


def number(x):
    if math.isnan(x):
        return "–"
    return f"{x:.2f}" if x < 100 else f"{x:.0f}"


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def ratio(ours, others):
    """Ours over the least of the others; NaN where there is none."""
    others = [x for x in others if not math.isnan(x)]
    return ours / min(others) if others else math.nan


def record(contestants):
    """What the JSON file keeps of a contest."""
    return {
        c.name: {"error": c.error}
        if c.error
        else {"ms": c.ms, "steps": len(c.seconds), "fastest_ms": 1e3 * min(c.seconds), "peak_MiB": c.peak}
        for c in contestants
    }


# ---- what is compared ------------------------------------------------------------------------------------------------

PYTORCH = {"PyTorch, fused Adam": {}, "PyTorch, default Adam": {"fused": False}}


def eager(work):
    """minigrad and PyTorch without a compiler."""
    ours = Contestant("minigrad", "minigrad", "minigrad", (work,))
    return [ours, *(Contestant(name, "torch", "pytorch", (work,), options) for name, options in PYTORCH.items())]


def floor(work):
    return Contestant("matmul floor", "numpy", "matmul_floor", (work,))


def training(args):
    """The training step at each size: time, and peak memory of the process."""
    found = {}
    for name in args.sizes:
        progress(f"training step, size {name}")
        work = Work(SIZES[name])
        contestants = [
            *eager(work),
            Contestant("torch.compile, fused Adam", "torch", "pytorch", (work,), {"compiled": True}),
            Contestant("JAX, jit", "jax", "jax", (work,)),
            Contestant("HIPS autograd", "autograd", "hips_autograd", (work,)),
            Contestant("MyGrad", "mygrad", "mygrad", (work,)),
            Contestant("tinygrad, TinyJit", "tinygrad", "tinygrad", (work,)),
            floor(work),
        ]
        found[name] = {c.name: c for c in contest(contestants, args.rounds, args.seconds)}
    names = list(found[args.sizes[0]])
    rows = [[f"{name} (ms)", *(found[size][name].ms for size in args.sizes)] for name in names]
    peers = names[1:-1]
    ours = {size: found[size]["minigrad"] for size in args.sizes}
    rows += [
        ["minigrad / best peer", *(ratio(ours[s].ms, [found[s][n].ms for n in peers]) for s in args.sizes)],
        ["minigrad / matmul floor", *(ours[s].ms / found[s][names[-1]].ms for s in args.sizes)],
    ]
    table("A training step, medians", ["", *args.sizes], rows)
    held = {n: [found[s][n].peak or math.nan for s in args.sizes] for n in names}
    rows = [[f"{name} (MiB)", *held[name]] for name in names]
    pytorch = zip(*(held[name] for name in PYTORCH), strict=True)
    rows.append(["minigrad / PyTorch", *(ratio(m, p) for m, p in zip(held["minigrad"], pytorch, strict=True))])
    table("Peak memory of the whole process", ["", *args.sizes], rows)
    return {size: record(found[size].values()) for size in args.sizes}


def options(args):
    """The training step with the options that people use."""
    rows, kept = [], {}
    for size in [s for s in ("S", "M") if s in args.sizes] or args.sizes:
        for option in OPTIONS:
            progress(f"{option}, size {size}")
            contestants = contest(eager(Work(SIZES[size], option)), args.rounds, args.seconds)
            times = [c.ms for c in contestants]
            rows.append([f"{size}, {option}", *times, ratio(times[0], times[1:])])
            kept[f"{size}, {option}"] = record(contestants)
    table("A training step with one option (ms)", ["", "minigrad", *PYTORCH, "minigrad / best"], rows)
    return kept


def inference(args):
    """A forward pass for its result alone."""
    rows, kept = [], {}
    for size in args.sizes:
        progress(f"inference, size {size}")
        work = Work(SIZES[size], inference=True)
        contestants = [
            Contestant("minigrad", "minigrad", "minigrad", (work,)),
            Contestant("PyTorch", "torch", "pytorch", (work,)),
            Contestant("JAX", "jax", "jax", (work,)),
            floor(work),
        ]
        times = [c.ms for c in contest(contestants, args.rounds, args.seconds)]
        rows.append([size, *times, ratio(times[0], [times[1]]), ratio(times[0], [times[3]])])
        kept[size] = record(contestants)
    header = ["", "minigrad, no_grad", "PyTorch, inference_mode", "JAX, jit", "matmul floor", "/ PyTorch", "/ floor"]
    table("Inference (ms)", header, rows)
    return kept


def small(args):
    """Small operations, forward and backward, in microseconds each."""
    rows, kept = [], {}
    peers = {"PyTorch": "torch", "MyGrad": "mygrad", "HIPS autograd": "autograd"}
    builders = ("minigrad_small", "pytorch_small", "mygrad_small", "hips_autograd_small")
    for name in steps.SMALL:
        progress(f"small operations, {name}")
        packages = zip(["minigrad", *peers], ["minigrad", *peers.values()], builders, strict=True)
        contestants = [Contestant(peer, package, build, (name,)) for peer, package, build in packages]
        contest(contestants, args.rounds, args.seconds / 3)
        times = [1e3 * c.ms / steps.COUNT for c in contestants]
        rows.append([name, *times, ratio(times[0], [times[1]])])
        kept[name] = dict(zip((c.name for c in contestants), times, strict=True))
    table("Small operations, forward and backward (µs)", ["", "minigrad", *peers, "minigrad / PyTorch"], rows)
    return kept


def imports(args):
    """What an import costs beyond NumPy's."""
    packages = [
        p for p in ("minigrad", "mygrad", "autograd", "tinygrad", "jax", "torch") if importlib.util.find_spec(p)
    ]
    program = "import time, numpy; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"
    found = {package: [] for package in packages}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for turn in range(3 * args.rounds + 1):
        progress(f"imports, turn {turn}")
        for package in packages:
            command = [sys.executable, "-c", program.format(package)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=package == "minigrad")
            if turn and not done.returncode:  # the first one compiles
                found[package].append(1e3 * float(done.stdout))
    times = {package: statistics.median(ms) if ms else math.nan for package, ms in found.items()}
    table("Import, beyond NumPy's", ["", "ms"], list(times.items()))
    return times


GROWTH = {"tokens": (8, 16, 32, 64, 128, 256, 512), "width": (32, 64, 128, 256, 512)}
GROWTH |= {"layers": (1, 2, 4, 8, 16, 24), "batch": (1, 4, 16, 64, 256)}


def growth(args):
    """How time grows with each dimension of the step, beside the matmul floor; with a graph's nodes; and memory."""
    base = SIZES["S"]._replace(batch=8, tokens=32)
    rows, kept = [], {}
    for dimension, values in GROWTH.items():
        ratios = []
        for n in values:
            progress(f"growth, {dimension} = {n}")
            size = base._replace(**{dimension: n})
            size = size._replace(hidden=4 * size.width)
            contestants = [Contestant("minigrad", "minigrad", "minigrad", (Work(size),)), floor(Work(size))]
            ours, least = (c.ms for c in contest(contestants, args.rounds, args.seconds / 3))
            ratios.append(ours / least)
            rows.append([f"{dimension} = {n}", ours, least, ours / least])
            kept[f"{dimension} = {n}"] = {"ms": ours, "floor_ms": least}
    title = "Growth of a training step from B = 8, T = 32, d = 64, h = 4, f = 4 d, L = 2: steeper where the ratio rises"
    table(title, ["", "minigrad (ms)", "matmul floor (ms)", "ratio"], rows)
    rows = []
    for exponent in range(3, 7):
        progress(f"growth, 10^{exponent} nodes")
        contestant = Contestant("minigrad", "minigrad", "minigrad_graph", (10**exponent,))
        contest([contestant], 1, args.seconds)
        rows.append([f"10^{exponent} nodes", 1e3 * contestant.ms / 10**exponent])
        kept[rows[-1][0]] = {"µs a node": rows[-1][1]}
    table("Forward and backward of a graph of n additions", ["", "µs a node"], rows)
    progress("memory of a long run")
    memory = dict(alone(long_run, 3000))
    rows = [[f"after {n} steps", mib] for n, mib in memory.items()]
    table("Memory of a long run at size XS", ["", "MiB"], rows)
    return kept | {"long run, MiB": memory}


def long_run(n):
    run = steps.minigrad(Work(SIZES["XS"]))
    found = []
    for i in range(1, n + 1):
        run()
        if i in (n // 30, n // 10, n // 3, n):
            found.append((i, held_memory()))
    return found


def held_memory():
    """The memory that this process holds now, in MiB; its peak where the system does not say."""
    status = Path("/proc/self/status")
    return int(status.read_text().split("VmRSS:")[1].split()[0]) / 1024 if status.exists() else peak_memory()


def checkpointing(args):
    """The largest size with and without gradient checkpointing."""
    size = args.sizes[-1]
    works = {name: Work(SIZES[size], checkpoint=name == "checkpointed") for name in ("kept", "checkpointed")}
    contestants = [Contestant(name, "minigrad", "minigrad", (work,)) for name, work in works.items()]
    progress(f"checkpointing at {size}")
    contest(contestants, args.rounds, args.seconds)
    memory = [alone(activations, work) for work in works.values()]
    rows = [[name, c.ms, m] for name, c, m in zip(works, contestants, memory, strict=True)]
    rows.append(["ratio", contestants[1].ms / contestants[0].ms, memory[1] / memory[0]])
    table(f"Gradient checkpointing of each layer at size {size}", ["activations", "ms", "peak of their MiB"], rows)
    return {name: {"ms": c.ms, "MiB": m} for name, c, m in zip(works, contestants, memory, strict=True)}


def activations(work):
    """The most bytes of arrays that a step holds beyond what there was before it, in MiB."""
    run = steps.minigrad(work)
    run()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    run()
    return (tracemalloc.get_traced_memory()[1] - before) / 2**20


def profile(args):
    """Where the time of a training step goes."""
    return {size: alone(profile_of, Work(SIZES[size]), args.seconds, size) for size in args.sizes}


def profile_of(work, seconds, size):
    import minigrad as mg

    run = steps.minigrad(work)
    for _ in range(5):
        run()
    start, n = time.perf_counter(), 0
    with mg.profile() as profiler:
        while n < 3 or time.perf_counter() - start < seconds:
            run()
            n += 1
    print(f"\nProfile of {n} training steps at size {size}\n\n{profiler}", flush=True)
    return str(profiler)


SECTIONS = {
    "steps": training,
    "options": options,
    "inference": inference,
    "small": small,
    "imports": imports,
    "growth": growth,
    "checkpointing": checkpointing,
    "profile": profile,
}


# ---- the machine, the picture, the command ---------------------------------------------------------------------------


def machine():
    """What the figures depend on."""
    packages = ("minigrad", "numpy", "torch", "jax", "autograd", "mygrad", "tinygrad")
    versions = {p: importlib.metadata.version(p) for p in packages if importlib.util.find_spec(p)}
    return {
        "machine": f"{platform.machine()}, {platform.system()}",
        "cores": os.cpu_count(),
        "threads": THREADS,
        "python": platform.python_version(),
        **versions,
    }


def draw(found, path):
    """Time against size, and the ratio to the matmul floor."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    sizes = list(found)
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), layout="constrained")
    for i, name in enumerate(found[sizes[0]]):
        times = [found[size][name].get("ms", math.nan) for size in sizes]
        if all(map(math.isnan, times)):
            continue
        is_floor, ours = name == "matmul floor", name == "minigrad"
        style = {"color": "black" if ours else "grey" if is_floor else f"C{i}", "lw": 3 if ours else 1.3}
        style |= {"marker": "o", "ls": "--" if is_floor else "-", "label": name}
        left.plot(sizes, times, **style)
        ratios = [t / found[size]["matmul floor"]["ms"] for t, size in zip(times, sizes, strict=True)]
        right.plot(sizes, ratios, **style)
    left.set(yscale="log", xlabel="size", ylabel="milliseconds", title="A training step")
    right.set(yscale="log", xlabel="size", ylabel="times the matmul floor", title="... over its matrix products alone")
    right.set_yticks(ticks := [1, 1.5, 2, 3, 5, 10, 20], map(str, ticks))
    right.minorticks_off()
    for axes in (left, right):
        axes.grid(alpha=0.3)
    left.legend()
    figure.savefig(path, dpi=110)
    print(f"\ndrawn: {path}")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="what to measure")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES), help="of the model and its batch")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contestant")
    parser.add_argument(
        "--seconds",
        type=float,
        default=0.7,
        help="the length of a turn, after its imports and warm-up; 3 steps at least",
    )
    parser.add_argument("--json", type=Path, metavar="PATH", help="write what was measured there")
    parser.add_argument("--plot", type=Path, metavar="PATH", help="draw the training steps there (needs matplotlib)")
    parser.add_argument("--must-run", nargs="+", default=[], metavar="PACKAGE", help="peers whose failure is an error")
    args = parser.parse_args()
    if args.rounds < 1 or args.seconds < 0:
        parser.error("--rounds must be at least 1, --seconds not negative")
    if args.plot and "steps" not in args.only:
        parser.error("--plot draws the training steps: leave out --only, or add steps to it")
    if args.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install matplotlib")
    for path in (args.json, args.plot):
        if path is not None and not path.absolute().parent.is_dir():
            parser.error(f"there is no folder {path.absolute().parent}")
    for name in ("OPENBLAS_NUM", "OMP_NUM", "MKL_NUM", "VECLIB_MAXIMUM"):
        os.environ[f"{name}_THREADS"] = str(THREADS)
    if hasattr(os, "sched_setaffinity"):  # for those that ask the machine how many threads to start
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    else:
        print("this system keeps no process on two cores: JAX and tinygrad may use all")
    found = machine()
    print(", ".join(f"{name} {value}" for name, value in found.items()))
    for name in args.sizes:
        print(f"{name}: {', '.join(f'{what} {n}' for what, n in SIZES[name]._asdict().items())}")
    print("matmul floor: the matrix products of the same step, and nothing else")
    if hasattr(os, "getloadavg") and (load := os.getloadavg()[0]) > 0.5:
        print(f"other programs are running (load {load:.1f}): these figures will not be worth much")
    sys.stdout.flush()
    for section in SECTIONS:
        if section in args.only:
            found[section] = SECTIONS[section](args)
            if args.json:
                args.json.write_text(json.dumps(found, indent=1))
            if section == "steps" and args.plot:
                draw(found["steps"], args.plot)
    progress("")
    if FAILED & {"minigrad", "numpy", *args.must_run}:
        sys.exit(f"failed: {', '.join(sorted(FAILED))}")


if __name__ == "__main__":
    main()
