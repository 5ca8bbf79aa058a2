"""Activations in three parts that share no document."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

PARTS = (0.5, 0.2, 0.3)  # training, validation, test


def split(group: Tensor, seed: int) -> list[Tensor]:
    """Rows of training, validation and test, each in random order; no group is in two of them."""
    draw = torch.Generator().manual_seed(seed)
    names = group.unique()
    names = names[torch.randperm(len(names), generator=draw)]
    order = torch.randperm(len(group), generator=draw)
    ends = [0, *(round(sum(PARTS[: i + 1]) * len(names)) for i in range(len(PARTS)))]
    return [order[torch.isin(group[order], names[a:b])] for a, b in pairwise(ends)]
