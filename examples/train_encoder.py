"""Train a small transformer encoder to read handwritten digits.

An image of 8 × 8 pixels becomes four tokens, its quarters; the encoder lets them attend to each other, and the mean
of what comes out says which digit it is. Every fifth image is held out: the encoder never learns from it.

    python examples/train_encoder.py                    10 to 15 seconds on two cores
    python examples/train_encoder.py --plot digits.png  draws how it learned, and where it looks
    python examples/train_encoder.py --save run.npz     writes the run there after each epoch; Ctrl-C stops it, and
    python examples/train_encoder.py --resume run.npz   goes on, to the same numbers as if it had never stopped
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from checkpoints import Checkpoint
from digits import load_digits, patches, shifted
from tqdm import tqdm

import minigrad as mg
import minigrad.functional as F
from minigrad import optim
from minigrad.data import DataLoader
from minigrad.models import SequenceClassifier


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=60, help="times that each image is seen")
    parser.add_argument("--batch-size", type=int, default=64, help="images for each step")
    parser.add_argument("--d-model", type=int, default=64, help="features of a token")
    parser.add_argument("--heads", type=int, default=4, help="heads of the attention")
    parser.add_argument("--layers", type=int, default=2, help="layers of the encoder")
    parser.add_argument("--norm", choices=["layer", "batch", "rms", "none"], default="layer", help="what is normalised")
    parser.add_argument(
        "--norm-first", action=argparse.BooleanOptionalAction, default=True, help="norm before each sublayer"
    )
    parser.add_argument("--no-residual", action="store_true", help="leave out the residual connections")
    parser.add_argument("--dropout", type=float, default=0.0, help="share of features dropped in training")
    parser.add_argument("--lr", type=float, default=3e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn at random")
    parser.add_argument(
        "--save", type=Path, metavar="PATH", help="write the run there after each epoch (.npz or .safetensors)"
    )
    parser.add_argument(
        "--resume", type=Path, metavar="PATH", help="go on with the run that is there, and save it there unless --save"
    )
    parser.add_argument("--plot", type=Path, metavar="PATH", help="draw curves and attention there (needs matplotlib)")
    args = parser.parse_args()
    for name in ("epochs", "batch_size", "d_model", "heads", "layers"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if args.d_model % args.heads:
        parser.error(f"--d-model {args.d_model} cannot be cut into --heads {args.heads} equal parts")
    if not 0 <= args.dropout < 1 or args.lr <= 0 or args.seed < 0:
        parser.error("--dropout must be from 0 to below 1, --lr positive, --seed not negative")
    args.save = args.save or args.resume
    for path in (args.save, args.plot):
        if path is not None and path.exists() and not path.is_file():
            parser.error(f"{path} is a folder or a device")
        if path is not None and not path.absolute().parent.is_dir():
            parser.error(f"there is no folder {path.absolute().parent}")
    return args


def build(args):
    """The model with these options, its parameters drawn from the seed."""
    return SequenceClassifier(
        in_features=16,
        num_classes=10,
        max_tokens=4,
        num_layers=args.layers,
        d_model=args.d_model,
        nhead=args.heads,
        dim_feedforward=2 * args.d_model,
        dropout=args.dropout,
        norm=args.norm,
        norm_first=args.norm_first,
        residual=not args.no_residual,
    )


def evaluate(model, images, labels):
    """The loss, and what the model takes each image for."""
    model.eval()
    with mg.no_grad():
        logits = model(patches(images))
        return F.cross_entropy(logits, labels).item(), np.argmax(logits, axis=-1)


def train(model, args, train_set, held_out_set, checkpoint):
    """Train the model; returns for each epoch the loss and the accuracy, in training and held out."""
    rng = mg.default_generator()
    loader = DataLoader(*train_set, batch_size=args.batch_size, rng=rng)
    optimizer = optim.AdamW(model.parameters(), lr=args.lr)
    steps = args.epochs * len(loader)
    schedule = optim.WarmupCosine(optimizer, warmup_steps=min(3 * len(loader), steps // 2), total_steps=steps)
    history = checkpoint.begin(model=model, optimizer=optimizer, schedule=schedule, data=loader)
    hidden = not sys.stdout.isatty()
    with tqdm(total=steps, initial=schedule.steps, unit="step", disable=hidden, file=sys.stdout, leave=False) as bar:
        for epoch in range(len(history), args.epochs):
            model.train()
            losses, right = [], 0
            for images, labels in loader:
                logits = model(patches(shifted(images, rng)))
                loss = F.cross_entropy(logits, labels, label_smoothing=0.1)
                optimizer.zero_grad()
                loss.backward()
                optim.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                losses.append(loss.item() * len(labels))
                right += int(np.sum(np.argmax(logits, axis=-1) == labels))
                bar.update()
            n = len(train_set[1])
            held_out_loss, found = evaluate(model, *held_out_set)
            history.append((sum(losses) / n, right / n, held_out_loss, np.mean(found == held_out_set[1])))
            checkpoint.keep(history)
            bar.write(
                "epoch {:3d}  training: loss {:.4f}, accuracy {:.4f}   held out: loss {:.4f}, accuracy {:.4f}".format(
                    epoch + 1, *history[-1]
                ),
                file=sys.stdout,
            )
    return history


def plot(path, model, history, images):
    """Curves of loss and accuracy, and for some digits how much each quarter is attended to in the last layer."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    history = np.array(history)
    epochs = np.arange(1, len(history) + 1)
    figure = plt.figure(figsize=(11, 7), layout="constrained")
    curves, digits = figure.subfigures(2, 1, height_ratios=[1.1, 1])
    for axes, column, name in zip(curves.subplots(1, 2), (0, 1), ("loss", "accuracy"), strict=True):
        axes.plot(epochs, history[:, column], label="training (shifted images, smoothed labels)", color="tab:grey")
        axes.plot(epochs, history[:, column + 2], label="held out", color="tab:blue")
        axes.set(xlabel="epoch", ylabel=name, **({"yscale": "log"} if name == "loss" else {"ylim": (0.8, 1.0)}))
        axes.grid(alpha=0.3)
        axes.legend()
    with mg.no_grad():
        weights = model.encoder.attention_weights(model.embed(patches(images)))[-1].data  # (B, H, T, T)
    digits.suptitle("Held-out digits, and the attention that each quarter gets (last layer, mean of the heads)")
    axes = digits.subplots(2, len(images))
    for column, (image, weight) in enumerate(zip(images, weights, strict=True)):
        received = weight.mean((0, 1)).reshape(2, 2)
        axes[0, column].imshow(image, cmap="gray_r")
        axes[1, column].imshow(received, cmap="Blues", vmin=0, vmax=0.6)
        for (i, j), share in np.ndenumerate(received):
            axes[1, column].text(
                j, i, f"{share:.2f}", ha="center", va="center", color="white" if share > 0.4 else "black"
            )
        for row in (0, 1):
            axes[row, column].set(xticks=[], yticks=[])
    figure.savefig(path, dpi=120)


def main():
    args = arguments()
    mg.seed(args.seed)
    train_set, held_out_set = load_digits()
    model = build(args)
    counts = len(train_set[1]), len(held_out_set[1])
    print("{:,} parameters, {} images to learn from, {} held out".format(model.num_parameters(), *counts))
    start = time.perf_counter()
    options = {name: value for name, value in vars(args).items() if name not in ("save", "resume", "plot")}
    checkpoint = Checkpoint(args.save, args.resume, options)
    try:
        history = train(model, args, train_set, held_out_set, checkpoint)
    except KeyboardInterrupt:
        print(f"\n{checkpoint.how_to_go_on()}")
        sys.exit(130)  # as a shell says of a program that Ctrl-C has stopped
    seconds = time.perf_counter() - start
    _, found = evaluate(model, *held_out_set)
    labels = held_out_set[1]
    print("\ndigit   right      taken for another")
    for digit in range(10):
        taken_for = found[labels == digit]
        mistakes = [f"{m} ({np.sum(taken_for == m)})" for m in np.unique(taken_for[taken_for != digit])]
        print(f"  {digit}    {np.sum(taken_for == digit):3d} of {len(taken_for)}   {', '.join(mistakes)}")
    if args.save:
        where = checkpoint.finish()
        print(f"\nthe run and its model are in {where}" if where else "\nnothing is saved: no file could be written")
    if args.plot:
        first = [np.argmax(labels == digit) for digit in range(10)]
        plot(args.plot, model, history, held_out_set[0][first])
        print(f"the picture is in {args.plot}")
    right = int(np.sum(found == labels))
    print(f"\nheld-out accuracy {right / len(labels):.4f} ({right}/{len(labels)}) in {seconds:.1f} s")


if __name__ == "__main__":
    main()
