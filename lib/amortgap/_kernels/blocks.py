"""Samples laid out as the kernels read them, and kernels run a thread a model."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

BLOCK = 256  # samples worked on at once
NOTHING = np.empty(0, np.float32)


def blocks(a: Tensor) -> np.ndarray:
    """a (..., n, width) -> (..., n width): block after block, samples last in each."""
    parts = [part.mT.flatten(-2) for part in a.split(BLOCK, dim=-2)]
    return torch.cat(parts, -1).contiguous().numpy()


def unblocks(flat: np.ndarray, width: int) -> Tensor:
    """The inverse of `blocks`: (..., n width) -> (..., n, width)."""
    parts = torch.from_numpy(flat).split(BLOCK * width, dim=-1)
    return torch.cat([p.unflatten(-1, (width, -1)).mT for p in parts], -2)


def suits(*tensors: Tensor) -> bool:
    """Whether all are float32 on the CPU."""
    return all(t.device.type == "cpu" and t.dtype == torch.float32 for t in tensors)


def each(kernel: Any, jobs: list[tuple[Any, ...]]) -> None:
    """kernel(*job) for every job, a thread a job, as many at once as torch may use."""
    threads = min(len(jobs), torch.get_num_threads())
    if threads == 1:
        for job in jobs:
            kernel(*job)
        return
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(kernel, *job) for job in jobs]:
            done.result()
