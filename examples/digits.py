"""The handwritten digits that the examples learn: 1,797 grey images of 8 × 8 pixels, and how they are split.

E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning Repository (1998), its test
part; the images of scikit-learn's `load_digits()`, in the same order. Licence: CC BY 4.0. See digits.md.
"""

from pathlib import Path

import numpy as np


def load_digits():
    """(images, labels) to train on, and held out: every fifth. Images (N, 8, 8) from 0 to 1 in float32."""
    with np.load(Path(__file__).parent / "digits.npz", allow_pickle=False) as file:
        images, labels = file["images"].astype(np.float32) / 16, file["labels"].astype(np.int64)
    held_out = np.arange(len(labels)) % 5 == 0
    return (images[~held_out], labels[~held_out]), (images[held_out], labels[held_out])


def patches(images, size=4):
    """Each image cut into squares of size × size pixels: (N, 8, 8) gives (N, (8 / size)², size²)."""
    n, side = len(images), images.shape[1] // size
    return images.reshape(n, side, size, side, size).swapaxes(2, 3).reshape(n, side * side, size * size)


def shifted(images, rng, most=0.7):
    """Each image moved by up to `most` of a pixel, up or down and left or right: a digit is still the same digit."""
    images = np.pad(images, ((0, 0), (1, 1), (1, 1)))
    for axis in (1, 2):
        shift = rng.uniform(-most, most, (len(images), 1, 1)).astype(np.float32)
        neighbour = np.where(shift > 0, np.roll(images, 1, axis), np.roll(images, -1, axis))
        images = (1 - abs(shift)) * images + abs(shift) * neighbour
    return images[:, 1:-1, 1:-1]
