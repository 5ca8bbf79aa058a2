"""What the methods with CPU kernels do not do, said in one sentence each."""

from __future__ import annotations

import torch
from torch import Tensor

MEMORY = 4 * 2**30  # bytes the Gram matrix D'D may take


def kernel_refusal(
    method: str, x: Tensor, N: int = 0, *, itemsize: int = 0, instead: str = "fista"
) -> str | None:
    """Why a method with a CPU kernel does not do this, or None where it does.

    N, itemsize: columns, and bytes of an entry, of the Gram matrix that it keeps.  instead: the method to use.
    """
    if x.device.type != "cpu":
        return f"{method} runs on a CPU, but x is on {x.device}; use {instead}"
    if x.dtype not in (torch.float32, torch.float64):
        return f"{method} takes float32 or float64, not {x.dtype}; use {instead}"
    if itemsize * N * N > MEMORY:
        return (
            f"{method} needs more than {MEMORY >> 30} GiB for the Gram matrix of {N} columns; use {instead}"
        )
    return None


def refuse(why: str | None) -> None:
    """Raises ValueError with this sentence, unless there is none."""
    if why is not None:
        raise ValueError(why)
