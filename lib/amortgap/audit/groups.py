"""What the bootstrap draws."""

from __future__ import annotations

import torch
from torch import Tensor

#: rows in a row that count as one unit where documents are unknown or those scored are fewer than FEWEST
BLOCK, FEWEST = 32, 12


def groups(document: Tensor | None, n: int, *scored: Tensor) -> tuple[Tensor, str]:
    """For each of n activations its group, and what a group is: a document, or a block of neighbouring rows.

    scored: rows of each part that is resampled by itself; otherwise all.
    """
    if document is not None:
        parts = [document[part] for part in scored] or [document]
        if min(len(part.unique()) for part in parts) >= FEWEST:
            return document.cpu(), "documents"
    return torch.arange(n) // BLOCK, "blocks"
