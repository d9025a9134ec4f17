"""Freed memory kept at hand: how the C library serves the large, short-lived tensors of a network's updates."""

from __future__ import annotations

import ctypes
import platform
from functools import cache

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # glibc's malloc.h
NEVER = 2**31 - 1
PAD = 64 * 2**20


@cache
def keep_freed_memory() -> bool:
    """Let glibc reuse freed blocks of megabytes instead of handing each back to the system; once per process.

    By default every tensor above a few megabytes is mapped, faulted in page by page and unmapped again, which more
    than doubles the time of elementwise operations. Affects memory held, never a result.

    Returns:
        Whether the C library took it (False where it is not glibc).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    library = ctypes.CDLL(None)
    settings = ((M_MMAP_THRESHOLD, 2**30), (M_TRIM_THRESHOLD, NEVER), (M_TOP_PAD, PAD))
    return all(library.mallopt(*setting) for setting in settings)
