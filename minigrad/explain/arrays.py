"""How an array is shown where there is no room for its numbers: what they are like in words, and as a heat map."""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np

from minigrad.tensor import Array

FEW = 8  # numbers that are written out
CELLS = 24  # of a heat map along one side, at most


def summary(array: Array) -> dict[str, Any]:
    """Shape, dtype, and of the finite numbers the extremes, mean and norm; the shares of zeros and of non-finite."""
    finite = array[np.isfinite(array)].astype(np.float64) if array.dtype.kind == "f" else array.astype(np.float64)
    found: dict[str, Any] = {"shape": array.shape, "dtype": array.dtype.name}
    if finite.size:
        found |= {k: float(f(finite)) + 0.0 for k, f in (("min", np.min), ("mean", np.mean), ("max", np.max))}  # no −0
        with np.errstate(over="ignore"):
            found["norm"] = float(np.sqrt(np.sum(finite * finite)))
    share = 1 / max(array.size, 1)
    found["zeros"] = float(np.count_nonzero(array == 0) * share)
    return found | {"non_finite": (array.size - finite.size) * share}


def shown(array: Array, room: int = 100) -> str:
    """The numbers, if they are few; else where they lie."""
    if array.size <= FEW:
        text = _numbers(array)
        if len(text) <= room:
            return text
    s = summary(array)
    shares = "".join(f", {_percentage(s[k])} {w}" for k, w in (("zeros", "0"), ("non_finite", "not finite")) if s[k])
    shape = "×".join(map(str, array.shape))
    if "min" not in s:
        return f"{shape}{shares}"
    lies = f"{shape}: {s['min']:.3g} to {s['max']:.3g}"
    ways = [f"{lies}, mean {s['mean']:.2g}, norm {s['norm']:.3g}{shares}", f"{lies}, norm {s['norm']:.3g}{shares}"]
    ways += [f"{lies}, norm {s['norm']:.3g}", lies, f"{shape} of norm {s['norm']:.3g}"]
    return next((way for way in ways if len(way) <= room), shape)  # no number is cut in two


def _percentage(share: float) -> str:
    return "all" if share == 1 else f"{100 * share:.2g} %"


def _numbers(array: Array) -> str:
    if array.ndim == 0:
        return f"{array.item() + 0.0:.5g}" if array.dtype.kind == "f" else str(array.item())
    return f"[{', '.join(map(_numbers, array))}]"


def matrix(array: Array) -> Array:
    """All axes but the last as rows; a vector as a single one."""
    return array.reshape(-1, array.shape[-1]) if array.ndim else array.reshape(1, 1)


def heat_map(array: Array, width: int, height: int) -> str:
    """A PNG of this size as a data URL: blue below 0, white at 0, red above, black where not finite.

    Each cell is the mean of a block.
    """
    m = matrix(array).astype(np.float64)
    starts = [
        np.arange(k) * n // k for n, k in zip(m.shape, map(min, m.shape, (CELLS,) * 2, (height, width)), strict=True)
    ]
    with np.errstate(all="ignore"):
        cells = np.add.reduceat(np.add.reduceat(m, starts[0], 0), starts[1], 1)
        cells /= np.outer(*(np.diff(s, append=n) for s, n in zip(starts, m.shape, strict=True)))
    finite = np.isfinite(cells)
    top = np.max(np.abs(cells[finite]), initial=0.0) or 1.0
    share = np.where(finite, cells, 0.0) / top
    fade = (255 * (1 - np.abs(share))).astype(np.uint8)
    full = np.full_like(fade, 255)
    rgb = np.where((share < 0)[..., None], np.stack([fade, fade, full], -1), np.stack([full, fade, fade], -1))
    rgb[~finite] = 0
    down, across = (np.arange(pixels) * n // pixels for n, pixels in zip(cells.shape, (height, width), strict=True))
    lines = b"".join(b"\0" + row.tobytes() for row in rgb[np.ix_(down, across)].astype(np.uint8))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(png).decode()
