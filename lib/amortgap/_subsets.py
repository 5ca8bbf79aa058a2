"""All k-subsets of range(N), in blocks that fit in memory."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor


def subsets(N: int, k: int, block: int = 20_000) -> Iterator[Tensor]:
    """Blocks (m, k), m <= block, of the k-subsets of range(N), sorted, in lexicographic order."""
    flat = itertools.chain.from_iterable(itertools.combinations(range(N), k))
    for done in range(0, math.comb(N, k), block):
        m = min(block, math.comb(N, k) - done)
        yield torch.from_numpy(np.fromiter(flat, dtype=np.int64, count=m * k).reshape(m, k))


def all_subsets(N: int, k: int) -> Tensor:
    """Every k-subset of range(N), (C(N, k), k)."""
    return torch.cat(list(subsets(N, k)))
