"""Codes of which only the k largest entries stay."""

from __future__ import annotations

import torch
from torch import Tensor


def largest(s: Tensor, k: int) -> Tensor:
    """s (..., N) with all but the k largest entries of the last dimension zero; of equals, any."""
    values, indices = s.topk(k, dim=-1)
    return torch.zeros_like(s).scatter(-1, indices, values)


def first_largest(s: Tensor, k: int) -> Tensor:
    """The same; of equals, those that come first. Slower: it sorts."""
    order = torch.sort(s, dim=-1, descending=True, stable=True).indices[..., :k]
    return torch.zeros_like(s).scatter(-1, order, s.gather(-1, order))
