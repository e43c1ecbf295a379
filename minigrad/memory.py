"""Memory kept between steps.

A training step makes and frees the same arrays each time. glibc hands large ones back to the kernel when they are
freed, and the next step faults every page in again: two fifths of the time of a step with 64 × 16 tokens.
"""

from __future__ import annotations

import ctypes
import os
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # glibc's malloc.h
_KEPT = 1 << 30  # free bytes at the top of the heap before any go back
_LARGEST = 1 << 25  # arrays up to this size come from the heap: 32 MiB, the most that glibc takes


def keep_memory(keep: bool = True) -> bool:
    """Let the process keep the memory of freed arrays for the next ones, or (False) hand it back as by default.

    A setting of the whole process, made when minigrad is imported, unless the environment says MINIGRAD_KEEP_MEMORY=0.
    It needs glibc; elsewhere (macOS, Windows, musl) nothing happens. Returns whether it was set.
    """
    if keep is not True and keep is not False:
        raise TypeError(f"keep_memory: keep must be True or False, not {type(keep).__name__}")
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
        ctypes.CDLL(None).gnu_get_libc_version  # noqa: B018  musl has a mallopt in name only
    except (OSError, AttributeError):
        return False
    values = (_KEPT, 1 << 26, _LARGEST) if keep else (1 << 17, 0, 1 << 17)
    names = (_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD)
    return bool(sum(mallopt(name, value) for name, value in zip(names, values, strict=True)) == len(names))


if os.environ.get("MINIGRAD_KEEP_MEMORY", "1") != "0":
    keep_memory()
