"""How every kernel is compiled. numba takes half a second to import: import a kernel where it is used."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

FAST = {"reassoc", "contract", "nsz", "arcp"}
jit: Any = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=FAST)
# for functions whose sums must not be ordered anew when the kernel around them is loaded from the cache
inlined: Any = numba.njit(nogil=True, inline="always", error_model="numpy", fastmath=FAST)
ONE, ZERO = np.float32(1), np.float32(0)
