"""How every kernel is compiled. numba takes half a second to import: import a kernel where it is used."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numba
import numpy as np

FAST = {"reassoc", "contract", "nsz", "arcp"}
ONE, ZERO = np.float32(1), np.float32(0)
# Functions that kernels call. Compiled by themselves, they would round otherwise in the process that compiles
# a kernel, which calls them, than in later ones, which call their copies in the cached kernel: `reassoc` and
# `contract` leave the order of sums to each compilation. So they become part of the kernel: `inlined`
# before its types are known, for what takes tuples of arrays; `fused` after, which compiles in less time.
inlined: Any = numba.njit(nogil=True, inline="always", error_model="numpy", fastmath=FAST)
fused: Any = numba.njit(nogil=True, forceinline=True, error_model="numpy", fastmath=FAST)


def sources() -> str:
    """Digest of all files whose functions the kernels are made of."""
    lib = Path(__file__).parents[1]
    patterns = (
        "_kernels/*.py",
        "solvers/kernels/*.py",
        "training/kernel.py",
        "heads/_kernels.py",
        "heads/_select.py",
    )
    files = [file for pattern in patterns for file in sorted(lib.glob(pattern))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


SOURCES = sources()


def jit(function: Any) -> Any:
    """`function` compiled, and kept in numba's cache until one of `sources` changes.

    A compiled kernel holds the code of the functions that it calls, but numba looks only at the file of the kernel
    itself: after a change in another file it would go on with the old code.
    """
    kernel: Any = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)(function)
    if (file := getattr(getattr(kernel, "_cache", None), "_cache_file", None)) is not None:
        file._source_stamp = SOURCES
    return kernel
