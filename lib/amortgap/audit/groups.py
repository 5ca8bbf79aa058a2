"""What the bootstrap draws."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

#: rows in a row that count as one unit where documents are unknown or those scored are fewer than FEWEST
BLOCK, FEWEST = 32, 12


def check_documents(document: Any, n: int) -> None:
    """Raises ValueError unless `document` is None or says for each of n activations which document it is of."""
    if document is None:
        return
    if not isinstance(document, Tensor) or tuple(document.shape) != (n,) or document.is_complex():
        raise ValueError(f"document must be a tensor ({n},), the document of each activation")
    if document.is_floating_point() and not document.isfinite().all():
        raise ValueError("document contains NaN or infinite entries")


def groups(document: Tensor | None, n: int, *scored: Tensor) -> tuple[Tensor, str]:
    """For each of n activations its group, and what a group is: a document, or a block of neighbouring rows.

    scored: rows of each part that is resampled by itself; otherwise all.
    """
    check_documents(document, n)
    if document is not None:
        parts = [document[part] for part in scored] or [document]
        if min(len(part.unique()) for part in parts) >= FEWEST:
            return document.cpu(), "documents"
    return torch.arange(n) // BLOCK, "blocks"
