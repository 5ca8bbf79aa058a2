"""How every kernel is compiled. numba takes half a second to import: import a kernel where it is used."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

jit: Any = numba.njit(
    cache=True, nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz", "arcp"}
)
ONE, ZERO = np.float32(1), np.float32(0)
