"""The experiments behind two claims: residual connections keep gradients alive, and normalization steadies training.

    python examples/04_what_keeps_gradients_alive.py                   tables
    python examples/04_what_keeps_gradients_alive.py --plot deep.png   and curves

A network is a linear layer, then `depth` times W ReLU(x) + b on 32 features, then a linear layer to the ten digits:
with and without ResidualAdd around each of these, with no norm, batch norm or layer norm, before it or after it.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from digits import load_digits
from tqdm import tqdm

import minigrad as mg
import minigrad.functional as F
from minigrad import nn, optim
from minigrad.data import DataLoader

WIDTH = 32
DEPTHS = (2, 4, 8, 16, 32, 64)
SHALLOW, DEEP = 4, 32  # the depths that are trained
NORMS = {"no": nn.Identity, "batch": lambda: nn.BatchNorm1d(WIDTH), "layer": lambda: nn.LayerNorm(WIDTH)}
KINDS = ["no norm", "batch norm before", "batch norm after", "layer norm before", "layer norm after"]
RESIDUAL = [f"residual, {kind}" for kind in KINDS]
PLAIN = [f"plain, {kind}" for kind in KINDS]
HE = "plain, no norm, He's weights"  # larger at first: of variance 2 / WIDTH, six times that of nn.Linear
VARIANTS = [*RESIDUAL, *PLAIN, HE]


class Net(nn.Module):
    """x: (B, 64), gives (B, 10)."""

    def __init__(self, depth, variant):
        make = NORMS[variant.split(", ")[1].split()[0]]
        add = nn.ResidualAdd if variant in RESIDUAL else lambda f: f
        before = variant.endswith("before")
        self.embedding = nn.Linear(64, WIDTH)
        self.linears = [nn.Linear(WIDTH, WIDTH) for _ in range(depth)]
        if variant == HE:
            for linear in self.linears:
                nn.init.kaiming_normal_(linear.weight)
        self.layers = [
            add(nn.Sequential(make(), nn.ReLU(), linear))
            if before
            else nn.Sequential(add(nn.Sequential(nn.ReLU(), linear)), make())
            for linear in self.linears
        ]
        self.norm = make() if before else nn.Identity()
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, x):
        x = self.embedding(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


def gradient_norms(depth, variant, seed, images, labels):
    """The norm of the loss's gradient by the weight of each layer, before the first step, on 64 images."""
    mg.seed(seed)
    model = Net(depth, variant)
    batch = np.random.default_rng(seed).choice(len(labels), 64, replace=False)
    F.cross_entropy(model(images[batch]), labels[batch]).backward()
    # in float64: the squares of small float32 numbers are 0
    return [np.linalg.norm(linear.weight.grad.data.astype(np.float64)) for linear in model.linears]


def train(depth, variant, seed, steps, train_set, held_out_set):
    """The training loss at each step, and the held-out accuracy at the end."""
    mg.seed(seed)
    model = Net(depth, variant)
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    loader = DataLoader(*train_set, batch_size=64, drop_last=True)
    losses = []
    while len(losses) < steps:
        for images, labels in loader:
            loss = F.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if len(losses) == steps:
                break
    model.eval()
    with mg.no_grad():
        right = np.argmax(model(held_out_set[0]), axis=-1) == held_out_set[1]
    return losses, float(np.mean(right))


def plot(path, norms, curves):
    """The gradient's norm by layer at every depth, and the training curves; all seeds: the middle one and the range."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    colours = ["black", "tab:blue", "tab:cyan", "tab:red", "tab:orange"]
    colour_of = dict(zip(RESIDUAL + PLAIN, colours * 2, strict=True)) | {HE: "tab:grey"}
    figure = plt.figure(figsize=(13, 9), layout="constrained")
    above, below = figure.subfigures(2, 1)
    above.suptitle("Before the first step: norm of the loss's gradient by the weight of each layer")
    below.suptitle("Training loss (mean of ten steps)")
    panels = above.subplots(1, len(DEPTHS), sharey=True), below.subplots(1, 2, sharey=True)
    for variant in VARIANTS:
        style = {"color": colour_of[variant], "linestyle": "solid" if variant in RESIDUAL else "dashed"}
        for axes, depth in zip(panels[0], DEPTHS, strict=True):
            draw(axes, np.arange(1, depth + 1), norms[depth, variant], style)
            axes.set(title=f"{depth} layers", xlabel="layer", yscale="log", xticks=[1, depth // 2, depth][depth == 2 :])
        for axes, depth in zip(panels[1], (SHALLOW, DEEP), strict=True):
            losses = np.stack([losses for losses, _ in curves[depth, variant]])
            smooth = np.stack([np.convolve(loss, np.full(10, 0.1), "valid") for loss in losses])
            draw(axes, np.arange(10, losses.shape[1] + 1), smooth, style, label=variant)
            axes.set(title=f"{depth} layers", xlabel="step", yscale="log", yticks=[0.2, 0.5, 1, 2])
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter("")
    for axes in (*panels[0], *panels[1]):
        axes.grid(alpha=0.3)
    handles, labels = panels[1][0].get_legend_handles_labels()
    below.legend(handles, labels, loc="outside right center")
    figure.savefig(path, dpi=110)


def draw(axes, x, seeds, style, **options):
    axes.plot(x, np.median(seeds, axis=0), **style, **options)
    axes.fill_between(x, np.min(seeds, axis=0), np.max(seeds, axis=0), color=style["color"], alpha=0.15, linewidth=0)


def spread(values, digits="{:.0e}"):
    """From the lowest to the highest."""
    low, high = digits.format(np.min(values)), digits.format(np.max(values))
    return low if low == high else f"{low} to {high}"


def compared(values, others):
    if np.max(values) < np.min(others):
        return "lower with every seed"
    return "higher with every seed" if np.min(values) > np.max(others) else "not told apart"


def say_what_was_seen(norms, curves):
    """In words, with what is claimed of all seeds asserted of all seeds."""

    def first(depth, variant):
        return norms[depth, variant][:, 0]

    def share(variants):
        """Of the gradient at the last layer, what arrives at the first, in all networks of 64 layers."""
        return np.concatenate([norms[64, v][:, 0] / norms[64, v][:, -1] for v in variants])

    def final_loss(depth, variant):
        return [np.mean(losses[-10:]) for losses, _ in curves[depth, variant]]

    def accuracies(depth, variants):
        return [accuracy for variant in variants for _, accuracy in curves[depth, variant]]

    plain, residual = PLAIN[0], RESIDUAL[0]
    print("\n1. Residual connections keep gradients from vanishing: this holds.")
    left, times = spread(share([plain])), spread(share(RESIDUAL), "{:.1f}")
    print(f"   Through 64 plain layers without a norm {left} of the gradient is left; with ResidualAdd, and any")
    print(f"   norm or none, the first layer gets {times} times what the last one gets.")
    print("   But they do not keep it from growing: without a norm it is")
    print(f"   {spread(first(64, residual), '{:.1f}')} at 64 layers, and {spread(first(2, residual), '{:.1f}')} at 2.")
    print("   And they are not the only cure: weights of He's size, in plain layers without a norm, leave")
    print(f"   {spread(share([HE]))} of it. nn.Linear's are smaller by √6, which 64 layers make {6**-32:.0e}.")
    assert share([plain]).max() < 1e-15
    assert share(RESIDUAL).min() > 0.05
    assert first(64, residual).min() > 5 * first(2, residual).max()
    assert share([HE]).min() > 1e-4

    batch, layer = PLAIN[1:3], PLAIN[3:]
    together = np.concatenate([first(depth, variant) for depth in DEPTHS for variant in RESIDUAL[1:]])
    print("\n2. Normalization steadies gradients: by itself it does not, together with ResidualAdd it does.")
    print("   Batch norm in plain layers makes them explode: through 64 of them they become")
    print(f"   {spread(share(batch))} times as large; with layer norm {spread(share(layer))} of them is left.")
    print("   With ResidualAdd and either, the gradient at the first of 2, 4, ... 64 layers is always between")
    print(f"   {together.min():.2f} and {together.max():.2f}.")
    assert share(batch).min() > 1e3
    assert together.min() > 0.01
    assert together.max() < 10

    learned, failed = accuracies(DEEP, RESIDUAL), accuracies(DEEP, [*PLAIN, HE])
    shallow = [spread(accuracies(SHALLOW, variants[1:]), "{:.3f}") for variants in (PLAIN, RESIDUAL)]
    healthy = spread(np.concatenate([first(DEEP, variant) for variant in layer]), "{:.2f}")
    print(f"\n3. In training, at {DEEP} layers, the worst residual network is ahead of the best plain one:")
    print(f"   held-out accuracy {spread(learned, '{:.3f}')}, and {spread(failed, '{:.3f}')}.")
    print(f"   At {SHALLOW} layers it is not needed: with a norm, plain networks reach {shallow[0]},")
    print(f"   and residual ones {shallow[1]}.")
    print(f"   The gradient's size does not explain it all: plain layers with layer norm have {healthy} at the first")
    print(f"   of {DEEP}, and an accuracy of {spread(accuracies(DEEP, layer), '{:.3f}')} (guessing: 0.1).")
    assert min(learned) > max(failed)

    print("\n4. Normalization speeds training. With ResidualAdd, the loss compared with that without a norm is,")
    print(f"   at {SHALLOW} and at {DEEP} layers:")
    for variant in RESIDUAL[1:]:
        words = [compared(final_loss(depth, variant), final_loss(depth, residual)) for depth in (SHALLOW, DEEP)]
        print(f"   {variant.removeprefix('residual, '):18} {words[0]}; {words[1]}")
    print("   (One width, one optimiser and learning rate, few steps: with others the order may be another.)")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=3, help="networks of each kind")
    parser.add_argument("--steps", type=int, default=60, help="training steps of each")
    parser.add_argument("--plot", type=Path, metavar="PATH", help="draw curves there (needs matplotlib)")
    args = parser.parse_args()
    if args.seeds < 1 or args.steps < 10:
        parser.error("--seeds must be at least 1, --steps at least 10")
    train_set, held_out_set = ((images.reshape(-1, 64), labels) for images, labels in load_digits())
    seeds = range(args.seeds)

    hidden = not sys.stdout.isatty()
    jobs = [(depth, variant) for depth in DEPTHS for variant in VARIANTS]
    bar = tqdm(jobs, desc="gradients", unit="kind", disable=hidden, file=sys.stdout, leave=False)
    norms = {job: np.array([gradient_norms(*job, seed, *train_set) for seed in seeds]) for job in bar}
    print("Norm of the gradient at the first layer before training, the middle one of the seeds, by depth:\n")
    print(" " * 28 + "".join(f"{depth:9d}" for depth in DEPTHS))
    for variant in VARIANTS:
        first = [np.median(norms[depth, variant][:, 0]) for depth in DEPTHS]
        print(f"{variant:28}" + "".join(f"{norm:9.0e}" for norm in first))

    jobs = [(depth, variant) for depth in (SHALLOW, DEEP) for variant in VARIANTS]
    bar = tqdm(jobs, desc="training", unit="kind", disable=hidden, file=sys.stdout, leave=False)
    curves = {job: [train(*job, seed, args.steps, train_set, held_out_set) for seed in seeds] for job in bar}
    print(
        f"\nAfter {args.steps} steps of Adam: the training loss (mean of the last ten steps) and the held-out accuracy,"
    )
    print("from the lowest to the highest of the seeds, by depth:\n")
    print(" " * 28 + "".join(f"{f'{depth} layers':^29}" for depth in (SHALLOW, DEEP)))
    for variant in VARIANTS:
        row = ""
        for depth in (SHALLOW, DEEP):
            losses = [np.mean(losses[-10:]) for losses, _ in curves[depth, variant]]
            right = [accuracy for _, accuracy in curves[depth, variant]]
            row += f"   {min(losses):.2f}–{max(losses):.2f}  {min(right):.3f}–{max(right):.3f} "
        print(f"{variant:28}{row}")
    say_what_was_seen(norms, curves)
    if args.plot:
        plot(args.plot, norms, curves)
        print(f"\nthe picture is in {args.plot}")


if __name__ == "__main__":
    main()
