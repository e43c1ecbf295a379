"""Random programs in minigrad and in PyTorch: `python -m tests.fuzz_against_torch --programs 100000`.

Prints what differs as the smallest program that does. With --against numpy it needs no PyTorch, and changes arrays
between forward and backward, too. Runs from the repository's root.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from typing import Any

import numpy as np

from tests.programs import (
    NAMED,
    OPS,
    Grower,
    Ours,
    Program,
    called,
    check,
    close,
    code,
    compiled,
    direction,
    shrunk,
)


class Theirs:
    """One run of a program by PyTorch; a checkpoint is run as it stands, and what changes arrays is left out."""

    def __init__(self, program: Program) -> None:
        import torch

        self.torch, self.program = torch, program
        self.values: list[Any] = []
        with torch.enable_grad():
            self.forward()
            self.backward()

    def forward(self) -> None:
        torch = self.torch
        for step in self.program.steps:
            args = [self.values[k] for k in step.args]
            made = None
            if step.op in OPS:
                with torch.set_grad_enabled(step.recorded):
                    made = called(THEIRS[step.op], step, args)
                    if not step.recorded:
                        made = made.detach()  # permute of one axis is a view that claims to require a gradient
                    elif any(made is x for x in args):  # ravel, positive: one tensor, whose hooks would be of both
                        made = made.clone()
            elif step.op == "leaf":
                made = torch.tensor(step.settings["value"], requires_grad=step.settings["requires_grad"])
            elif step.op in ("array", "number"):
                made = torch.tensor(step.settings["value"], dtype=None if step.op == "array" else torch.float64)
            elif step.op == "detach":
                made = args[0].detach()
            elif step.op == "hook" and step.settings["scale"] is not None and args[0].requires_grad:
                scale = step.settings["scale"]  # a gradient of nothing comes as None
                args[0].register_hook(lambda g, scale=scale: g if g is None else g * scale)
            self.values.append(made)

    def backward(self) -> None:
        torch, program = self.torch, self.program
        roots = [self.values[i] for i, _ in program.roots]
        self.first: dict[int, Any] = {}
        self.second: dict[int, Any] | None = None
        if not all(r.requires_grad for r in roots):
            return
        weights = [torch.tensor(w) for _, w in program.roots]
        targets = [self.values[i] for i in program.targets]
        twice = program.mode == "second" and not hooked_between(program)
        grads = torch.autograd.grad(roots, targets, weights, create_graph=twice, allow_unused=True)
        self.first = {i: None if g is None else numbers(g) for i, g in zip(program.targets, grads, strict=True)}
        if twice:
            s = sum(
                (g * torch.tensor(direction(i, g.shape))).sum()
                for i, g in zip(program.targets, grads, strict=True)
                if g is not None
            )
            again = [None] * len(targets)
            if isinstance(s, torch.Tensor) and s.requires_grad:
                again = torch.autograd.grad(s, targets, allow_unused=True)
            self.second = {i: None if g is None else numbers(g) for i, g in zip(program.targets, again, strict=True)}


def numbers(g: Any) -> Any:
    """A tensor as an ndarray; one of PyTorch's symbolic zeros has no memory, and its `.numpy()` crashes 2.13."""
    return np.zeros(g.shape) if g._is_zerotensor() else g.numpy(force=True)


THEIRS: dict[str, Any] = {}


def load_torch() -> None:
    import torch

    torch.set_num_threads(1)

    def entropy(x: Any, y: Any, smoothing: float, reduction: str) -> Any:
        losses = torch.nn.functional.cross_entropy(
            x.reshape(-1, x.shape[-1]), y.ravel(), ignore_index=1, label_smoothing=smoothing, reduction=reduction
        )
        return losses.reshape(y.shape if reduction == "none" else ())

    def masked(x: Any, mask: Any) -> Any:  # softmax of a row of −inf has NaN in its second derivative
        e = torch.exp(x - x.detach().amax(-1, keepdim=True)) * mask
        total = e.sum(-1, keepdim=True)
        return e / torch.where(total == 0, 1.0, total)

    for name, op in OPS.items():
        text = op.theirs or op.ours.replace("np.", "T.")
        THEIRS[name] = compiled(text, T=torch, TF=torch.nn.functional, entropy=entropy, masked=masked)


def hooked_between(program: Program) -> set[int]:
    """The values, none of them a leaf, whose gradients a hook scales.

    PyTorch gives the gradient of such a value before the hook if it has to go on behind it, and after it otherwise;
    ours is always that after it. And PyTorch's second derivative depends on whether a derivative formula keeps an
    operation's input or its result (exp keeps the result, and its hook scales twice): no function of the program. Ours
    is held to NumPy instead.
    """
    hooked = [step.args[0] for step in program.steps if step.op == "hook" and step.settings["scale"] is not None]
    return {i for i in hooked if program.steps[i].op != "leaf"}


def same(found: Any, expected: Any, tolerance: float) -> bool:
    if found is None or expected is None:  # nothing depends on it: None for us, None or zeros for PyTorch
        return all(g is None or not np.any(g) for g in (found, expected))
    return close(found, expected, tolerance)


def compare(program: Program) -> str:
    """What differs between minigrad and PyTorch; empty for nothing."""
    ours, theirs = Ours(program), Theirs(program)
    for i, step in enumerate(program.steps):
        if step.op in OPS and not close(ours.outputs[i], theirs.values[i].detach().numpy(), 1e-9):
            return f"value of step {i} ({step.op}): {ours.outputs[i]}, PyTorch {theirs.values[i]}"
    if ours.first.keys() != theirs.first.keys():
        return f"gradients of {sorted(ours.first)}, PyTorch of {sorted(theirs.first)}"
    hooked = hooked_between(program)
    for i, g in ours.first.items():
        if i not in hooked and not same(g, theirs.first[i], 1e-8):
            return f"gradient of step {i}: {g}, PyTorch {theirs.first[i]}"
    if ours.second is not None and theirs.second is not None and not hooked:
        for i, g in ours.second.items():
            if not same(g, theirs.second[i], 1e-7):
                return f"second derivative of step {i}: {g}, PyTorch {theirs.second[i]}"
    return ""


def difference(program: Program, against: str) -> str:
    try:
        if against == "torch":
            return compare(program)
        check(program)
    except Exception as error:  # whatever it is, it is to be reported and the next program to be run
        return f"{type(error).__name__}: {error}"
    return ""


def grown(seed: int, n: int, writes: bool) -> Program:
    choices = iter(np.random.default_rng([seed, n]).integers(0, 1 << 30, 8000).tolist())
    return Grower(lambda bound: next(choices) % bound, writes).program()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=int, default=1000)
    parser.add_argument("--against", choices=["torch", "numpy"], default="torch")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first program")
    parser.add_argument("--show", type=int, default=10, help="how many discrepancies to shrink and print")
    parser.add_argument("--stop", action="store_true", help="stop at the first discrepancy")
    args = parser.parse_args()
    if args.against == "torch":
        load_torch()
    used: Counter[str] = Counter()
    modes: Counter[str] = Counter()
    found = 0
    start = time.perf_counter()
    n = 0
    for n in range(args.first, args.first + args.programs):
        program = grown(args.seed, n, writes=args.against == "numpy")  # PyTorch lets many a write pass
        used.update(step.op for step in program.steps)
        used["checkpoint"] += len(program.blocks)
        modes[program.mode] += 1
        what = difference(program, args.against)
        if what:
            found += 1
            print(f"\nprogram {n}: {what}", flush=True)
            if found <= args.show:
                kind = what.split(":")[0].rstrip("0123456789 ")
                small = shrunk(program, lambda p, kind=kind: difference(p, args.against).startswith(kind))
                print(f"{code(small)}\n# {difference(small, args.against)}", flush=True)
            if args.stop:
                break
        if (n + 1) % 5000 == 0:
            print(f"{n + 1} programs, {sum(used[k] for k in NAMED)} operations, {found} discrepancies, "
                  f"{time.perf_counter() - start:.0f} s", flush=True)  # fmt: skip
    seconds = time.perf_counter() - start
    count = n + 1 - args.first
    print(f"{count} programs, {sum(used[k] for k in NAMED)} operations, {found} discrepancies, {seconds:.1f} s, "
          f"{seconds / count * 1e3:.2f} ms each")  # fmt: skip
    print("modes:", dict(modes))
    print("steps:", dict(used.most_common()))
    print("never used:", sorted(set(NAMED) - set(used)))
    sys.exit(found > 0)


if __name__ == "__main__":
    main()
