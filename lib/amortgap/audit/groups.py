"""What the bootstrap draws."""

from __future__ import annotations

import torch
from torch import Tensor

#: rows in a row that count as one unit where documents are unknown or fewer than FEWEST
BLOCK, FEWEST = 32, 12


def groups(document: Tensor | None, n: int) -> tuple[Tensor, str]:
    """For each of n activations its group, and what a group is: a document, or a block of neighbouring rows."""
    if document is not None and len(document.unique()) >= FEWEST:
        return document.cpu(), "documents"
    return torch.arange(n) // BLOCK, "blocks"
