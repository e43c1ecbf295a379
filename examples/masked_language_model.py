"""Teach a small transformer encoder to fill in masked characters of English text.

The text is in every Python: what `help()` says on its topics, in `pydoc_data.topics`. Of each 32 characters 5 are
masked, and the encoder, which sees the others on both sides, says for each of the 5 which character it was. Every
tenth block of 1,000 characters is held out: the encoder never learns from it.

It is compared with counts of single characters, pairs and triples (unigram, bigram, trigram) in the same training
text, at the same masked places. These predict from the left: from nothing, from the one character before, and from the
two before. They are given what truly stands there, even where it is masked for the encoder, but not what comes after.
Counts of n are smoothed with those of n − 1 (Witten and Bell's way: as much for them as there are different
characters that have been seen to follow).

    python examples/masked_language_model.py    a bit more than a minute on one core
"""

import argparse
import re
import sys
import time
from pydoc_data.topics import topics

import numpy as np
from tqdm import tqdm

import minigrad as mg
import minigrad.functional as F
from minigrad import nn, optim
from minigrad.models import Encoder

BLOCK = 1000  # characters
WINDOW = 32  # characters that the encoder sees at a time
MASKED = 5  # of them
BATCH = 32
STEPS = 2000


class MaskedLanguageModel(nn.Module):
    """Characters 0 to V − 1, and V for a masked one → embedding + position → encoder → a logit for each character."""

    def __init__(self, num_chars, d_model=128):
        self.num_chars = num_chars
        self.embedding = nn.Embedding(num_chars + 1, d_model)
        self.embedding.weight.data *= 0.5  # what stands there must not drown its place
        self.positions = nn.SinusoidalPositionalEncoding(d_model)
        self.encoder = Encoder(num_layers=1, d_model=d_model, nhead=8, dim_feedforward=4 * d_model)
        self.head = nn.Linear(d_model, num_chars)

    def forward(self, x, masked):
        """x: (B, T) characters, masked: (B, T) booleans; gives logits (N, V) of the N masked ones."""
        x = self.encoder(self.positions(self.embedding(np.where(masked, self.num_chars, x))))  # (B, T, D)
        return self.head(x[masked])


def draw_masks(n, rng):
    """MASKED places in each of n windows: (n, WINDOW) booleans."""
    return np.argsort(rng.random((n, WINDOW)), axis=1) < MASKED


def ngram_bits(text, learned, places, num_chars):
    """Mean −log₂ p of the characters at these places of the text, from counts of 1, of 2 and of 3 characters."""
    p, found = np.full((len(places), num_chars), 1 / num_chars), []
    for n in (1, 2, 3):
        ends = np.arange(n - 1, len(text))
        ends = ends[np.all([learned[ends - k] for k in range(n)], axis=0)]
        counts = np.zeros((num_chars,) * n)
        np.add.at(counts, tuple(text[ends - k] for k in reversed(range(n))), 1)
        seen = np.broadcast_to(counts[tuple(text[places - k] for k in reversed(range(1, n)))], p.shape)
        total, kinds = np.sum(seen, axis=1, keepdims=True), np.sum(seen > 0, axis=1, keepdims=True)
        p = np.where(total > 0, (seen + kinds * p) / np.maximum(total + kinds, 1), p)
        found.append(-np.mean(np.log2(p[np.arange(len(places)), text[places]])))
    return found


def evaluate(model, windows, masks):
    """Mean −log₂ p of the masked characters."""
    with mg.no_grad():
        return F.cross_entropy(model(windows, masks), windows[masks]).item() / np.log(2)


def train(model, text, starts, held_out, steps, rng):
    optimizer = optim.AdamW(model.parameters(), lr=3e-3)
    schedule = optim.WarmupCosine(optimizer, warmup_steps=min(100, steps // 2), total_steps=steps)
    hidden = not sys.stdout.isatty()
    losses = []
    with tqdm(total=steps, unit="step", disable=hidden, file=sys.stdout, leave=False) as bar:
        for step in range(1, steps + 1):
            windows = text[rng.choice(starts, BATCH)[:, None] + np.arange(WINDOW)]
            masks = draw_masks(BATCH, rng)
            loss = F.cross_entropy(model(windows, masks), windows[masks])
            optimizer.zero_grad()
            loss.backward()
            optim.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(loss.item() / np.log(2))
            bar.update()
            if step % 250 == 0 or step == steps:
                found = evaluate(model, *held_out)
                bar.write(
                    f"step {step:5d}  training: {np.mean(losses[-250:]):.3f} bits   held out: {found:.3f} bits",
                    file=sys.stdout,
                )


def fill_in(model, sentence, chars, rng):
    """A sentence with masked characters, as the encoder fills it in, and what is wrong in it: three lines."""
    padded = sentence.ljust(-(-len(sentence) // WINDOW) * WINDOW)
    windows = np.searchsorted(chars, list(padded)).reshape(-1, WINDOW)
    masks = draw_masks(len(windows), rng)
    filled = windows.copy()
    with mg.no_grad():
        filled[masks] = np.argmax(model(windows, masks), axis=-1)
    lines = np.where(masks, "_", chars[windows]), chars[filled], np.where(filled == windows, " ", "^")
    return ["".join(line.ravel()[: len(sentence)]) for line in lines]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps")
    parser.add_argument("--seed", type=int, default=0, help="of all that is drawn at random")
    args = parser.parse_args()
    if args.steps < 1 or args.seed < 0:
        parser.error("--steps must be at least 1, --seed not negative")
    mg.seed(args.seed)
    rng = mg.default_generator()

    written = "".join(text for _, text in sorted(topics.items()))
    chars, text = np.unique(list(written), return_inverse=True)
    learned = np.arange(len(text)) // BLOCK % 10 != 9
    starts = np.flatnonzero(learned[: 1 - WINDOW] & learned[WINDOW - 1 :])  # of windows with nothing held out
    blocks = range(9 * BLOCK, len(text) - BLOCK + 1, 10 * BLOCK)  # held out
    places = np.concatenate([np.arange(start, start + BLOCK // WINDOW * WINDOW) for start in blocks])
    places = places.reshape(-1, WINDOW)
    masks = draw_masks(len(places), np.random.default_rng(0))  # the same whatever the seed
    counted = ngram_bits(text, learned, places[masks], len(chars))

    model = MaskedLanguageModel(len(chars))
    print(f"{np.sum(learned):,} characters to learn from, {places.size:,} held out, {np.sum(masks):,} of them masked")
    print(f"{len(chars)} different characters, {model.num_parameters():,} parameters\n")
    start = time.perf_counter()
    train(model, text, starts, (text[places], masks), args.steps, rng)
    seconds = time.perf_counter() - start

    print("\nheld-out sentences, with 5 of each 32 characters masked, as the encoder fills them in (^ is wrong):")
    sentences = [re.search(r"(?<=\s)[A-Z][a-z, \n]{45,90}\.", written[start : start + BLOCK]) for start in blocks]
    for sentence in [match[0] for match in sentences if match][:5]:
        print("\n   " + "\n   ".join(fill_in(model, " ".join(sentence.split()), chars, rng)))

    found = evaluate(model, text[places], masks)
    print("\nbits for each held-out masked character (less is better):")
    for name, value in zip(("unigram", "bigram", "trigram"), counted, strict=True):
        print(f"   {name:8} {value:.3f}")
    print(f"   encoder  {found:.3f}   after {args.steps} steps in {seconds:.1f} s")
    if args.steps >= STEPS:
        assert found < counted[2]


if __name__ == "__main__":
    main()
